"""The quizzes: whole in their form; taken by mouse, by keyboard, without a script."""

import re

import chapters
import pages
import pytest
import quiz
import yaml
from browser import CONTRAST
from built import soup
from playwright.sync_api import expect
from sphinx.errors import ExtensionError

FOLDER = chapters.ROOT / "book" / "course"
PARTS = [p for p in chapters.toc_parts() if any("notebooks/" in f for f in p["files"])]
QUIZZES = [f"quiz_{n}" for n, _ in enumerate(PARTS, start=1)]


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """The questions of each quiz, with the numbers of the chapters in them."""
    folder = tmp_path_factory.mktemp("course")
    for name in QUIZZES:
        text = pages.filled((FOLDER / f"{name}.yml").read_text(), name)
        (folder / f"{name}.yml").write_text(text)
    return {name: quiz.load(folder / f"{name}.yml") for name in QUIZZES}


def page(name):
    return soup(f"course/{name}.html").find("article")


# --- their form --------------------------------------------------------------------


@pytest.mark.parametrize("name", QUIZZES)
def test_a_quiz_has_six_to_nine_whole_questions(questions, name):
    assert 6 <= len(questions[name]) <= 9
    for entry in questions[name]:
        reasons = [option["why"] for option in quiz.all_options(entry)]
        assert len(set(reasons)) == len(reasons) >= 3
        assert all(len(why.split()) >= 7 for why in reasons), entry["ask"]


@pytest.mark.parametrize(("name", "part"), list(zip(QUIZZES, PARTS)))
def test_a_quiz_says_which_chapters_it_asks_about(name, part):
    numbers = [int(n) for f in part["files"] for n in re.findall(r"notebooks/(\d+)", f)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    word = {1: "", 2: f" and {numbers[-1]}"}.get(len(numbers), f" to {numbers[-1]}")
    said = f"On chapter{'s' * (len(numbers) > 1)} {numbers[0]}{word}."
    assert said in (FOLDER / f"{name}.md").read_text()


def test_form_of_an_option_does_not_give_it_away(questions):
    """Neither its place nor its length tells which option is right."""
    choices = [q for qs in questions.values() for q in qs if "options" in q]
    ordered = [quiz.all_options(entry) for entry in choices]
    first = sum(options[0].get("right", False) for options in ordered)
    longest = [max(o, key=lambda each: len(each["say"])) for o in ordered]
    long = sum(option.get("right", False) for option in longest)
    assert 0.15 < first / len(choices) < 0.5 and 0.1 < long / len(choices) < 0.4


def test_numbers_of_the_chapters_stand_in_every_quiz():
    texts = [(FOLDER / f"{name}.yml").read_text() for name in QUIZZES]
    assert all(len(pages.FIELD.findall(text)) >= 5 for text in texts)


ONE, TWO = ({"say": text, "why": "because"} for text in ("one", "two"))
RIGHT = {"say": "three", "why": "because", "right": True}
MISTAKE = {"number": 2, "why": "it is twice as large"}


def made(tmp_path, *questions):
    path = tmp_path / "quiz_9.yml"
    path.write_text(yaml.safe_dump(list(questions)))
    return path


def choice(*options, **more):
    return {"ask": "Which?", "options": list(options), **more}


def number(*mistakes):
    entry = {"ask": "How many?", "number": 1, "within": 0.1, "why": "so it is"}
    return {**entry, "mistakes": list(mistakes)}


@pytest.mark.parametrize(
    ("questions", "complaint"),
    [
        ([choice(ONE, TWO, ONE)], "some options right, some wrong"),
        ([choice(RIGHT, RIGHT, RIGHT)], "some options right, some wrong"),
        ([choice(ONE, ONE, RIGHT)], "three different options"),
        ([choice(ONE, RIGHT)], "three different options"),
        ([choice(ONE, {"say": "two"}, RIGHT)], "needs `say` and `why`"),
        ([choice(ONE, TWO, RIGHT, hint="no")], "question 1: it has .*hint"),
        ([number()], "needs `number` and `why`"),
        ([number({**MISTAKE, "number": 1.1})], "counts as the answer"),
        ([number(MISTAKE, MISTAKE)], "two mistakes are the same"),
        ([choice(ONE, TWO, RIGHT)] * 2, "asks a question twice"),
    ],
)
def test_a_quiz_that_is_not_whole_is_refused(tmp_path, questions, complaint):
    with pytest.raises(ExtensionError, match=rf"quiz_9\.yml.*{complaint}"):
        quiz.load(made(tmp_path, *questions))


def test_a_broken_table_is_named_with_its_line(tmp_path):
    path = made(tmp_path)
    path.write_text("- ask: one\n- ask: one: two\n")
    with pytest.raises(ExtensionError, match=r"quiz_9\.yml, line 2"):
        quiz.load(path)


def test_a_whole_quiz_is_accepted(tmp_path):
    first, second = quiz.load(made(tmp_path, choice(ONE, TWO, RIGHT), number(MISTAKE)))
    assert quiz.kind(first) == "One is right." and quiz.kind(second) == "A number."
    assert [o.get("right") for o in quiz.all_options(second)] == [True, None]
    assert quiz.amount("\N{MINUS SIGN}0.5") == -0.5


# --- in the browser ----------------------------------------------------------------


@pytest.mark.parametrize("name", QUIZZES)
def test_every_question_is_on_the_page(questions, name):
    shown = page(name).select(".quiz .question")
    assert len(shown) == len(questions[name])
    for item, entry in zip(shown, questions[name], strict=True):
        options = item.select("details.option")
        assert len(options) == len(quiz.all_options(entry))
        answers = {"1": f"It is {entry.get('number')}.", "0": "Not right."}
        answers |= {} if "number" in entry else {"1": "Right."}
        for option in options:
            said = option.select_one(".why strong").text
            assert said == answers[option["data-right"]]


def choices(tab):
    return tab.locator(".question").filter(has_not=tab.locator("form"))


def numbers(tab):
    return tab.locator(".question").filter(has=tab.locator("form"))


def test_a_choice_by_mouse_is_judged_and_counted(visit):
    tab = visit().open("course/quiz_1.html")
    item = choices(tab).first
    item.locator('[data-right="0"] summary').first.click()
    expect(item.locator(".verdict")).to_contain_text("Not right")
    assert item.locator('[data-right="0"] .why').first.is_visible()
    item.locator('[data-right="1"] summary').click()
    expect(item.locator(".verdict")).to_have_text("Right.")
    score = tab.locator(".quiz .score").inner_text()
    assert re.match(r"Answered: 1 of \d\. Right at the first try: 0\.", score)


def test_a_choice_by_keyboard(visit):
    tab = visit().open("course/quiz_2.html")
    item = choices(tab).first
    item.locator('[data-right="1"] summary').focus()
    tab.keyboard.press("Enter")
    assert item.locator('[data-right="1"] .why').is_visible()
    assert item.locator(".verdict").get_attribute("role") == "status"
    expect(tab.locator(".quiz .score")).to_contain_text("Right at the first try: 1.")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(outline) == "solid"
    tab.get_by_role("button", name="Start again").focus()
    tab.keyboard.press("Space")
    assert not item.locator('[data-right="1"] .why').is_visible()
    expect(tab.locator(".quiz .score")).to_contain_text("Answered: 0")


def test_tab_goes_from_option_to_option(visit):
    """A formula in an option is no stop of its own."""
    tab = visit().open("course/quiz_1.html", until="networkidle")
    item = tab.locator(".question").filter(has=tab.locator("summary mjx-container"))
    summaries = item.first.locator("summary")
    summaries.first.focus()
    for place in range(1, summaries.count()):
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.tagName") == "SUMMARY"
        assert summaries.nth(place).evaluate("e => e === document.activeElement")


def test_a_number_is_judged_within_its_tolerance(visit):
    tab = visit().open("course/quiz_1.html")
    item = numbers(tab).first
    answer, field = item.locator('[data-right="1"]'), item.get_by_label("Your answer")
    mistake = item.locator('[data-right="0"]').first
    assert not mistake.is_visible() and answer.is_visible()
    for text, said in (("", "Please type"), ("x", "Please type"), ("77", "Try again")):
        field.fill(text)
        field.press("Enter")
        expect(item.locator(".verdict")).to_contain_text(said)
        assert answer.get_attribute("open") is None
    field.fill(mistake.get_attribute("data-number").replace(".", ","))
    item.get_by_role("button", name="Check").click()
    assert mistake.locator(".why").is_visible()
    expect(item.locator(".verdict")).to_contain_text("Not right")
    value = float(answer.get_attribute("data-number"))
    field.fill(str(value + 0.9 * float(answer.get_attribute("data-within"))))
    field.press("Enter")
    expect(item.locator(".verdict")).to_have_text("Right.")
    assert answer.locator(".why").is_visible()
    expect(tab.locator(".quiz .score")).to_contain_text("Right at the first try: 0.")


def test_who_looks_at_the_answer_has_not_answered(visit):
    tab = visit().open("course/quiz_1.html")
    numbers(tab).first.locator('[data-right="1"] summary').click()
    score = tab.locator(".quiz .score")
    expect(score).to_contain_text(re.compile("Answered: 1.*first try: 0."))


def test_two_right_options_must_both_be_found(visit):
    tab = visit().open("course/quiz_1.html")
    item = tab.locator(".question").filter(has_text="Two are right.").first
    item.locator('[data-right="1"] summary').first.click()
    expect(item.locator(".verdict")).to_have_text("Right. 1 more to find.")
    item.locator('[data-right="1"] summary').last.click()
    expect(item.locator(".verdict")).to_have_text("Right.")
    expect(tab.locator(".quiz .score")).to_contain_text("Right at the first try: 1.")


def test_without_javascript_every_option_unfolds(visit):
    seen = visit(java_script_enabled=False)
    seen.tab.goto(seen.base + "course/quiz_1.html")
    options = seen.tab.locator(".quiz .option")
    assert options.count() > 25 and seen.tab.locator(".quiz form").count() == 0
    for option in (options.first, options.last):
        option.locator("summary").click()
        assert option.locator(".why").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_can_be_read(visit, scheme):
    tab = visit(width=360, scheme=scheme).open("course/quiz_3.html")
    tab.evaluate("document.querySelectorAll('.option').forEach(e => e.open = true)")
    found = tab.evaluate(
        CONTRAST, ".quiz :is(summary, .why p, strong, p, input, button)"
    )
    assert len(found) > 60 and [x for x in found if x[0] < 4.5] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360

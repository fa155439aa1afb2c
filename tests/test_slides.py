"""The decks: what is on them, and that each slide holds what it shows, in a browser."""

import io
import re
from collections import Counter
from unicodedata import normalize

import chapters
import choice
import decks
import editions
import pytest
import slides
from browser import CONTRAST, Visit
from built import SITE, anchors, soup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from pypdf import PdfReader

DECKS = [file for file, _, _ in decks.decks()]
# Of every slide: its name, the size of its text, the smallest share of a formula, what
# leaves it, and the height of its picture.
MEASURE = """() => [...document.querySelectorAll('.page')].map(page => {
  Reveal.slide(...Object.values(Reveal.getIndices(page.parentElement)));
  const box = page.getBoundingClientRect(), scale = box.width / page.clientWidth;
  const out = [...page.querySelectorAll('*')].filter(e => {
    if (e.closest('mjx-assistive-mml, aside')) return false;
    if (e.parentElement.closest('svg, mjx-math')) return false;
    const r = e.getBoundingClientRect();
    return r.width && (r.left < box.left - 1 || r.right > box.right + 1
      || r.top < box.top - 1 || r.bottom > box.bottom + 1);
  }).map(e => e.outerHTML.slice(0, 100));
  const cut = [...page.querySelectorAll('mjx-container[display]')].filter(
    e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60));
  const sizes = [...page.querySelectorAll('mjx-container[display]')].map(
    e => parseFloat(getComputedStyle(e).fontSize));
  const svg = page.querySelector('svg.figure');
  return {name: page.parentElement.id, size: parseFloat(page.style.fontSize),
    formula: Math.min(99, ...sizes), out: [...out, ...cut],
    words: page.innerText.trim().length,
    figure: svg ? svg.getBoundingClientRect().height / scale : null};
})"""


@pytest.fixture(scope="module", params=DECKS)
def show(request, browser, base):
    """Each deck once, in a window as large as a slide."""
    seen = Visit(browser, base, width=1280)
    seen.tab.set_viewport_size({"width": 1280, "height": 720})
    seen.tab.goto(f"{base}slides/{request.param}")
    seen.tab.wait_for_selector("html.ready")
    yield seen
    seen.context.close()


def deck(file):
    return soup(f"slides/{file}")


def test_every_slide_holds_what_it_shows(show):
    found = show.tab.evaluate(MEASURE)
    assert 3 <= len(found) <= choice.MOST
    assert [each for each in found if each["out"]] == []
    assert [each for each in found if not each["words"]] == []
    assert min(each["size"] for each in found) >= 18  # of 720 pixels
    assert min(each["formula"] for each in found) >= 16
    assert all(each["figure"] is None or each["figure"] >= 300 for each in found)
    assert show.tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert show.trouble == []


def test_no_source_shows_through(show):
    text = show.tab.evaluate(
        "(() => { const a = document.querySelector('.slides').cloneNode(true);"
        " a.querySelectorAll('code, mjx-container').forEach(e => e.remove());"
        " return a.textContent })()"
    )
    assert not re.search(r"\$|\{\{|\}\}|\\[a-z]+\{|\{[a-z]+\}`|\*\*|picture \d", text)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_in_the_theme_of_the_pages(show, mode):
    tab = show.tab
    tab.evaluate("(mode) => localStorage.setItem('mode', mode)", mode)
    tab.evaluate("dress()")
    assert tab.evaluate("document.documentElement.dataset.theme") == mode
    tab.evaluate("Reveal.slide(2)")
    read = ".present p, .present li, .present a, .present h2, .present svg.figure"
    found = tab.evaluate(CONTRAST, f"{read}, .present h1, .present .caption")
    assert found and [(c, e) for c, e in found if c < 4.5] == []
    inks = "[...document.querySelectorAll('svg.figure')].map(e => getComputedStyle(e))"
    assert tab.evaluate(f"{inks}.every(s => s.fill === s.color)")


def test_keys_and_addresses_lead_through_a_deck(visit):
    seen = visit()
    tab = seen.tab
    tab.goto(f"{seen.base}slides/{DECKS[2]}#/optimal")
    tab.wait_for_selector("html.ready")
    here = "Reveal.getCurrentSlide().id"
    assert tab.evaluate(here) == "optimal"
    order = [s["id"] for s in deck(DECKS[2]).select("section section")]
    for key, step in (("ArrowRight", 1), ("Space", 2), ("ArrowLeft", 1)):
        tab.keyboard.press(key)
        assert tab.evaluate(here) == order[order.index("optimal") + step]
    tab.keyboard.press("Home")
    assert tab.evaluate(here) == order[0]
    tab.get_by_role("link", name="Generalisation").click()
    assert tab.evaluate(here) == "10_generalisation"
    tab.keyboard.press("Escape")
    assert tab.evaluate("Reveal.isOverview()")
    assert seen.trouble == []


def test_a_deck_prints_one_slide_on_a_page(visit):
    seen = visit(scheme="dark")
    seen.tab.goto(f"{seen.base}slides/{DECKS[3]}?print-pdf")
    seen.tab.wait_for_selector("html.ready .pdf-page")
    assert seen.tab.evaluate("document.documentElement.dataset.theme") == "light"
    made = seen.tab.pdf(prefer_css_page_size=True, print_background=True)
    pages = PdfReader(io.BytesIO(made)).pages
    shown = deck(DECKS[3]).select("section section")
    assert len(pages) == len(shown)
    for page, section in zip(pages, shown):
        assert page.mediabox.width > page.mediabox.height
        heading = section.find(["h1", "h2"]).get_text().split()
        text = normalize("NFKC", page.extract_text())  # "fi" may be one letter
        assert heading[-1] in text


@pytest.mark.parametrize("file", DECKS)
def test_links_and_numbers_are_those_of_the_pages(file):
    for link in deck(file).select("a[href]"):
        path, _, anchor = link["href"].partition("#")
        target = (SITE / "slides" / path).resolve() if path else None
        assert target is None or target.exists(), link
        if anchor and target:
            assert anchor in anchors(target), link
            assert link.get_text() in soup(target).get_text(), link


def test_course_page_links_every_deck():
    page = soup("course/index.html")
    links = [a["href"] for a in page.select('a[href*="/slides/"]')]
    assert links == [f"../slides/{file}" for file in DECKS]


def test_every_chapter_has_its_slides():
    counts = choice.references()
    for _, _, inside in decks.decks():
        for name, found in choice.deck(inside, "reader", counts):
            kinds = Counter(slide.kind for slide in found)
            assert kinds["chapter"] == kinds["exercise"] == 1, name
            assert kinds["figure"] >= 1, name
            assert found[0].text.count("- ") >= 3 and found[-1].kind == "exercise"
            assert not any(slide.notes for slide in found)


def test_only_the_instructor_has_notes():
    _, _, inside = decks.decks()[2]
    found = choice.deck(inside, "instructor", choice.references())
    notes = [slide.notes for _, several in found for slide in several if slide.notes]
    assert len(notes) == len(inside)
    told = "\n".join(
        c.source
        for name in inside
        for c in chapters.read(name).cells
        if "instructor" in editions.tags(c)
    )
    assert all(note.split("\n")[0][:20] in told for note in notes)


@pytest.mark.parametrize(("edition", "notes"), [("student", 0), ("instructor", 2)])
def test_notes_are_in_the_deck_of_the_instructor_only(
    tmp_path, monkeypatch, edition, notes
):
    for path in SITE.resolve().iterdir():
        if path.name != "slides":
            (tmp_path / path.name).symlink_to(path)
    only = decks.decks()[2:3]
    monkeypatch.setattr(decks, "decks", lambda: only)
    decks.write(tmp_path, edition)
    page = (tmp_path / "slides" / DECKS[2]).read_text()
    assert page.count('<aside class="notes">') == notes
    assert ('src="reveal/notes.js"' in page) == bool(notes)


SVG = '<svg width="9pt" viewBox="0 0 9 9"></svg>'
TEXT = """## A section

Take one.
So the whole is

$$
a = b ,
$$ (first)

because it is.
And therefore

$$
c = d
$$ (second)

which is all.

## Another

$$
e
$$

Nothing leads here.

$$
f
$$ (third)
"""


def figure(*tags):
    about = {"figure": {"name": "fig-one", "caption": "Small. Left: it\nis. More."}}
    output = new_output("display_data", {"image/svg+xml": SVG})
    metadata = {"mystnb": about | {"image": {"alt": "a\nb"}}, "tags": list(tags)}
    return new_code_cell("draw()", outputs=[output], metadata=metadata)


def test_equations_come_with_the_sentence_before_them():
    one, two, three = slides.candidates([new_markdown_cell(TEXT)])
    assert one.text.startswith("Take one.\nSo the whole is\n\n$$\na = b ,\n$$ (first)")
    assert one.text.endswith("because it is.") and one.title == "A section"
    assert two.labels == ("second",) and two.text.endswith("which is all.")
    assert (
        three.text.startswith("Nothing leads here.\n\n$$\nf")
        and "e\n" not in three.text
    )


def test_a_sentence_that_goes_on_stays_with_its_equation():
    text = TEXT.replace("because it is.\nAnd", "and")
    one, three = slides.candidates([new_markdown_cell(text)])
    assert one.labels == ("first", "second") and three.labels == ("third",)
    assert one.text.count("and therefore") == 1


def test_figures_come_with_the_first_sentence_of_the_caption():
    (found,) = slides.candidates([figure()])
    assert (found.text, found.alt, found.svg) == ("Small. Left: it is.", "a b", SVG)


def test_tags_correct_the_choice():
    counts = Counter({"first": 9, "second": 8, "third": 7})
    text = new_markdown_cell(TEXT)
    assert [
        s.kind for s in choice.chosen(slides.candidates([text, figure()]), counts, 1)
    ]
    kept = choice.chosen(slides.candidates([text, figure("slide")]), counts, 1)
    assert [s.labels for s in kept] == [("fig-one",)]
    assert slides.candidates([figure("skip-slide")]) == []
    code = new_code_cell("x = 1", metadata={"tags": ["slide"]})
    (shown,) = slides.candidates([code])
    assert shown.text == "```python\nx = 1\n```" and shown.forced


def test_of_many_those_come_that_are_referred_to_most():
    counts = Counter({"first": 1, "second": 2, "third": 3, "fig-one": 0})
    all_of_them = slides.candidates([new_markdown_cell(TEXT), figure()])
    kept = choice.chosen(all_of_them, counts, 3)
    assert [s.labels for s in kept] == [("second",), ("third",), ("fig-one",)]


def test_the_exercise_to_discuss_asks_for_a_prediction():
    text = "## Exercises\n\n### Exercise 1.1: A\n\nWhy? How?\n\n### Exercise 1.2: B\n\n"
    cell = new_markdown_cell(text + "Which one? Answer first.")
    note = new_markdown_cell("Five minutes.", metadata={"tags": ["instructor"]})
    (found,) = choice.discussed(slides.exercises([cell, note]))
    assert (found.title, found.notes) == ("Exercise 1.2: B", "Five minutes.")
    cell = new_markdown_cell(text + "One.")
    assert choice.discussed(slides.exercises([cell]))[0].title == "Exercise 1.1: A"

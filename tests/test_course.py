"""The course pages: plans whose minutes add up, objectives, rubrics, projects."""

import re
from itertools import pairwise

import chapters
import course
import pytest
import yaml
from built import anchors, soup
from sphinx.errors import ExtensionError

FOLDER = chapters.ROOT / "book" / "course"
PARTS = [p for p in chapters.toc_parts() if any("notebooks/" in f for f in p["files"])]
EXERCISES = re.compile(r"\{exercise\}`(\d+)\.(\d+)`")
SPOKEN = re.compile(r"^### Exercise (\d+\.\d+):|^(\d+)\. ", re.MULTILINE)


def table(name):
    return yaml.safe_load((FOLDER / name).read_text())


def page(name):
    return soup(f"course/{name}.html").find("article")


# --- plans ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["four_weeks", "one_day"])
def test_minutes_of_every_session_add_up(name):
    for session in table("plans.yml")[name]:
        assert sum(step["min"] for step in session["steps"]) == session["minutes"]
        assert {step["kind"] for step in session["steps"]} <= set(course.KINDS)
        works = [step for step in session["steps"] if step["kind"] == "work"]
        assert all("who" in step for step in works)


def test_four_weeks_are_eight_sessions_of_ninety_minutes():
    sessions = table("plans.yml")["four_weeks"]
    assert [session["minutes"] for session in sessions] == [90] * 8
    assert all(60 <= course.total(s["homework"]) <= 120 for s in sessions)


def test_the_day_has_six_hours_without_a_gap():
    blocks = table("plans.yml")["one_day"]
    assert course.total([{"min": block["minutes"]} for block in blocks]) == 360
    for now, after in pairwise(blocks):
        assert now["start"] + now["minutes"] == after["start"]
        assert now["steps"][-1]["kind"] == "break"
    titles = [block["title"].split()[0] for block in blocks]
    assert titles == [course.clock(block["start"]) for block in blocks]


def test_a_session_with_a_wrong_sum_stops_the_build():
    session = {"title": "One", "minutes": 90, "chapters": [], "steps": []}
    session["steps"] = [{"min": 80, "kind": "show", "do": "A picture."}]
    with pytest.raises(ExtensionError, match=r"'One'.*80 minutes, not 90"):
        course.session_text(session)
    session["steps"][0]["kind"] = "sing"
    with pytest.raises(ExtensionError, match=r"'One'.*no kind 'sing'"):
        course.session_text(session)


def test_page_shows_the_sums():
    cells = [
        td.text for td in page("plans").select("table:not(.plan) tr:last-child td")
    ]
    sessions = table("plans.yml")["four_weeks"]
    taught = sum(session["minutes"] for session in sessions)
    at_home = sum(course.total(session["homework"]) for session in sessions)
    assert cells[:3] == ["Together", str(taught), str(at_home)]


def test_each_step_begins_when_the_one_before_ends():
    clocks = r"(\d+):(\d\d)–(\d+):(\d\d)"
    tables = page("plans").select("table.plan")
    plans = table("plans.yml").values()
    assert len(tables) == sum(map(len, plans))
    for shown in tables:
        rows = [re.match(clocks, tr.td.text) for tr in shown.select("tbody tr")]
        times = [[60 * int(r[i]) + int(r[i + 1]) for i in (1, 3)] for r in rows]
        assert all(before[1] == after[0] for before, after in pairwise(times))


# --- exercises and objectives -----------------------------------------------------


def numbered(chapter) -> set[str]:
    """The exercises of a chapter, under headings of their own or as a list."""
    text = "".join(
        p.read_text() for p in chapters.ROOT.glob(f"notebooks/{chapter:02}_*")
    )
    section = text.split("\n## Exercises\n")[1].split("\n## ")[0]
    found = SPOKEN.findall(section)
    headings = {heading for heading, _ in found if heading}
    return headings or {f"{chapter}.{item}" for _, item in found}


def test_every_exercise_that_is_named_exists():
    texts = [path.read_text() for path in FOLDER.iterdir()]
    named = {(int(c), int(k)) for text in texts for c, k in EXERCISES.findall(text)}
    shown = {g["shows"] for part in table("objectives.yml") for g in part["goals"]}
    named |= {tuple(map(int, number.split("."))) for number in shown}
    assert len(named) > 40
    missing = [f"{c}.{k}" for c, k in named if f"{c}.{k}" not in numbered(c)]
    assert missing == []


def test_links_to_exercises_lead_there():
    links = page("index").select('a[href*="notebooks/"][href*="#exercise"]')
    assert len(links) == sum(len(part["goals"]) for part in table("objectives.yml"))
    for link in links:
        file, anchor = link["href"].removeprefix("../").split("#")
        assert anchor in anchors(file)


def test_every_part_has_objectives_of_its_own_chapters():
    parts = table("objectives.yml")
    assert [p["part"] for p in parts] == [p["caption"] for p in PARTS]
    for part, listed in zip(parts, PARTS, strict=True):
        own = {int(file.split("/")[1][:2]) for file in listed["files"]}
        assert {int(g["shows"].split(".")[0]) for g in part["goals"]} <= own
        assert len(part["goals"]) >= 3


# --- misconceptions, rubrics, projects --------------------------------------------


def sections(name) -> dict[str, str]:
    text = (FOLDER / f"{name}.md").read_text()
    found = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_every_misconception_has_its_counterexample():
    found = sections("misconceptions")
    assert len(found) >= 15
    for title, text in found.items():
        assert title.startswith("“") and title.endswith("”")
        heads = re.findall(r"^\*\*(.*?)\.\*\*", text, re.MULTILINE)
        assert heads == ["Why it is tempting", "What shows otherwise", "Ask"]
        shown = text.split("**What shows otherwise.**")[1].split("**Ask.**")[0]
        assert re.search(r"\{numref\}|\{eq\}|\{exercise\}|\{\{ ", shown), title


def test_every_project_can_be_begun_and_can_fail():
    found = sections("projects")
    assert 8 <= len(found) <= 10
    for text in found.values():
        heads = re.findall(r"^\*\*(.*?)\.\*\*", text, re.MULTILINE)
        first, refuted = "First step", "What would refute the expectation"
        last = "Hours and machine"
        assert heads == ["Question", first, "A good result", refuted, last]
        assert re.search(r"\*\*Hours and machine\.\*\* \d+", text)


def test_files_that_projects_and_index_name_exist():
    text = "".join((FOLDER / f"{n}.md").read_text() for n in ("projects", "index"))
    files = re.findall(r"\b(?:workflow|data|book)/[\w/.]+[\w/]", text)
    assert len(files) >= 4
    assert [f for f in files if not (chapters.ROOT / f).exists()] == []


@pytest.mark.parametrize("name", ["homework", "project"])
def test_rubric_has_a_hundred_points_and_four_levels(name):
    rubric = table("rubric.yml")[name]
    shares = [level["share"] for level in rubric["levels"]]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1 and shares[-1] == 0
    assert sum(each["points"] for each in rubric["criteria"]) == 100
    for each in rubric["criteria"]:
        assert len(set(each["levels"])) == len(rubric["levels"]) == 4
        shown = [course.worth(each, level) for level in rubric["levels"]]
        assert shown[0] == f"{each['points']} points" and len(set(shown)) == 4


def test_contents_have_every_course_page():
    listed = {f for f in chapters.toc_pages() if f.startswith("course/")}
    assert listed == {f"course/{path.stem}" for path in FOLDER.glob("*.md")}

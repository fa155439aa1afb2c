"""What helps a reader: landing page, map, tour, cards, and lines below figures."""

import json
import re

import chapters
import pages
import pytest
import yaml
from browser import CONTRAST, Visit
from built import soup
from chapter_map import parts, table

TOC = chapters.ROOT / "book" / "_toc.yml"
ABOUT = chapters.ROOT / "book" / "chapters.yml"


# --- numbers and figures of the chapters in pages ---------------------------------


def test_number_of_a_chapter_stands_in_a_page():
    results = pages.results("09_optimal_denoiser")["values"]
    text = pages.filled("All {{ optimal_denoiser.samples_cifar }}, {{ x }}", "p.md")
    assert text == f"All {results['samples_cifar']}, {{{{ x }}}}"


def test_unknown_number_names_page_and_key():
    with pytest.raises(chapters.BadProject, match=r"p\.md.*optimal_denoiser.*nokey"):
        pages.filled("{{ optimal_denoiser.nokey }}", "p.md")
    with pytest.raises(
        chapters.BadProject, match=r"p\.md.*no chapter is named nothing"
    ):
        pages.filled("{{ nothing.key }}", "p.md")


def test_figure_of_a_chapter_is_the_one_it_drew(tmp_path):
    (tmp_path / "notebooks").symlink_to(chapters.BUILD / "woven")
    text = "```{chapter-figure} fig-optimal-samples\n```"
    shown = pages.with_figures(text, "p.md", tmp_path)
    picture, alt = pages.drawn(tmp_path)["fig-optimal-samples"]
    assert (tmp_path / "_pictures/fig-optimal-samples.svg").read_text() == picture
    assert alt and alt in shown and "{figure}" in shown
    with pytest.raises(chapters.BadProject, match=r"p\.md shows fig-none"):
        pages.with_figures("```{chapter-figure} fig-none\n```", "p.md", tmp_path)


def test_limits_collect_every_chapter():
    page = soup("limits.html").find("article")
    links = {a["href"] for a in page.select("h3 a.internal")}
    assert links == {f"notebooks/{name}.html" for name in chapters.names()}


# --- the map ----------------------------------------------------------------------


def test_map_has_every_chapter_and_every_prerequisite():
    about = yaml.safe_load(ABOUT.read_text())
    page = soup("index.html").select_one(".chapter-map")
    links = [a["href"] for a in page.select("li a")]
    assert links == [f"notebooks/{name}.html" for name in chapters.names()]
    assert len(page.select("svg g")) == sum(len(a["needs"]) for a in about.values())


@pytest.mark.parametrize("name", chapters.names())
def test_map_agrees_with_the_chapter(name):
    """What the chapter's box says one needs is what the table says, or less."""
    about = yaml.safe_load(ABOUT.read_text())[name]
    box = re.search(r"^You need:(.*)$", chapters.source(name).read_text(), re.MULTILINE)
    named = set(re.findall(r"\{doc\}`(\d\d_\w+)`", box[1]))
    assert set(about["needs"]) <= named | {"01_forward_process"}


@pytest.mark.parametrize("name", chapters.names())
def test_minutes_are_those_of_the_text(name):
    """150 words a minute, one minute a formula, 45 seconds a figure; no exercises."""
    stage = chapters.BUILD / "stage"
    prose = re.sub(r"(?ms)^## Exercises.*?(?=^## |\Z)", "", pages.prose(stage, name))
    words = len(re.sub(r"\$\$.*?\$\$", "", prose, flags=re.DOTALL).split())
    drawn = [c["metadata"].get("mystnb", {}) for c in pages.cells(stage, name)]
    figures = sum("figure" in known for known in drawn)
    minutes = words / 150 + prose.count("$$") / 2 + 0.75 * figures
    typed = yaml.safe_load(ABOUT.read_text())[name]["minutes"]
    assert abs(typed - minutes) < 5 + 0.1 * minutes


def test_chapter_that_the_table_lacks_is_named(tmp_path):
    names = [n for _, chapters_of in parts(TOC) for n in chapters_of]
    about = yaml.safe_load(ABOUT.read_text())
    lacking = tmp_path / "chapters.yml"
    lacking.write_text(yaml.safe_dump({n: about[n] for n in names[1:]}))
    with pytest.raises(Exception, match=f"lacks {names[0]}"):
        table(lacking, names)
    lacking.write_text(yaml.safe_dump(about | {"99_gone": about[names[0]]}))
    with pytest.raises(Exception, match="99_gone, which"):
        table(lacking, names)
    lacking.write_text(
        yaml.safe_dump(about | {names[0]: about[names[0]] | {"needs": names[1:2]}})
    )
    with pytest.raises(Exception, match=f"{names[0]} needs {names[1]}"):
        table(lacking, names)


def test_map_is_reached_by_keyboard_and_lights_up(visit):
    tab = visit().open("index.html")
    link = tab.locator(".chapter-map li a").nth(8)
    link.focus()
    classes = link.locator("..").get_attribute("class")
    row = re.search(r"row-(\d+)", classes)[1]
    strength = "e => getComputedStyle(e).getPropertyValue('--arc').trim()"
    arcs = tab.locator(".chapter-map g")
    lit = [arcs.nth(k).evaluate(strength) for k in range(arcs.count())]
    mine = [arcs.nth(k).get_attribute("class") for k in range(arcs.count())]
    assert {a for a, c in zip(lit, mine) if c.endswith(f" to-{row}")} == {"1"}
    assert {a for a, c in zip(lit, mine) if row not in re.findall(r"\d+", c)} == {"0"}


# --- every figure says where it comes from ----------------------------------------


def is_figure_or_line(element) -> bool:
    return element.name == "figure" or "provenance" in element.get("class", [])


@pytest.mark.parametrize("name", chapters.names())
def test_every_figure_has_a_line_of_provenance(name):
    run = json.loads((chapters.BUILD / "executed" / f"{name}.json").read_text())
    figures = soup(f"notebooks/{name}.html").select("article figure:has(svg.figure)")
    assert figures
    for figure in figures:
        after = figure.find_next(is_figure_or_line)
        assert after and after.name == "p", figure.get("id")
        drawn = after.get_text().startswith("Drawn by cell [")
        assert drawn == (not after.get_text().startswith("Made by"))
        assert (
            not drawn or f"{run['date']} in the profile {run['profile']}" in after.text
        )


# --- cards ------------------------------------------------------------------------

CHAPTER = "notebooks/11_wiener_filter.html"
KINDS = {
    "equation": (
        "a.reference.internal[href*='#equation-wiener-normal']",
        "mjx-container",
    ),
    "equation elsewhere": ("a[href*='#equation-optimal-jacobian']", "mjx-container"),
    "figure": ("p a.reference[href*='#fig-wiener-fields']", "svg.figure"),
    "citation": ("a[href*='bibliography.html#']", "p"),
    "term": ("a:has(> .std-term)", "p.card-title"),
    "chapter": (
        "p a[href*='07_board_game.html'], p a[href*='09_optimal']",
        "p.card-title",
    ),
}


@pytest.fixture(scope="module")
def opened(browser, base):
    seen = Visit(browser, base)
    seen.open(CHAPTER)
    yield seen
    seen.context.close()


@pytest.fixture
def chapter(opened):
    """The chapter without a card; one visit for several tests."""
    opened.tab.mouse.move(2, 2)
    opened.tab.evaluate("document.activeElement.blur()")
    opened.tab.locator("#hover-card:not([hidden])").wait_for(state="hidden")
    yield opened
    assert opened.trouble == []


@pytest.mark.parametrize("kind", KINDS)
def test_focus_shows_a_card_and_escape_hides_it(chapter, kind):
    reference, content = KINDS[kind]
    tab = chapter.tab
    link = tab.locator(f".bd-article {reference}").first
    link.scroll_into_view_if_needed()
    tab.keyboard.press("Tab")  # the keyboard is in use, so focus is visible
    link.focus()
    card = tab.locator("#hover-card:not([hidden])")
    card.locator(content).first.wait_for(timeout=20_000)
    assert link.get_attribute("aria-describedby") == "hover-card"
    assert "\\" not in card.evaluate(VISIBLE)
    tab.keyboard.press("Escape")
    assert card.count() == 0
    assert link.get_attribute("aria-describedby") is None


def test_a_resting_pointer_leaves_the_card_of_the_keyboard(chapter):
    """Where the page scrolls below the pointer, it comes over something else."""
    tab = chapter.tab
    link = tab.locator(".bd-article p a.reference[href*='#fig-wiener-fields']").first
    link.scroll_into_view_if_needed()
    tab.keyboard.press("Tab")
    link.focus()
    card = tab.locator("#hover-card:not([hidden])")
    card.wait_for()
    tab.mouse.move(600, 5)
    tab.wait_for_timeout(600)
    assert card.count() == 1
    tab.keyboard.press("Escape")
    assert card.count() == 0


VISIBLE = """card => { const c = card.cloneNode(true);
  c.querySelectorAll('mjx-container, svg').forEach(e => e.remove());
  return c.textContent }"""


def test_card_does_not_cover_what_it_explains(chapter):
    tab = chapter.tab
    links = tab.locator(".bd-article p a.reference[href*='#fig-wiener']")
    for k in range(min(3, links.count())):
        link = links.nth(k)
        link.scroll_into_view_if_needed()
        link.hover()
        card = tab.locator("#hover-card:not([hidden])")
        card.wait_for()
        tab.wait_for_timeout(300)
        a, b = link.bounding_box(), card.bounding_box()
        assert b["y"] >= a["y"] + a["height"] or b["y"] + b["height"] <= a["y"]
        assert b["x"] >= 0 and b["x"] + b["width"] <= 1300
        card.hover()  # the pointer may go onto the card
        tab.wait_for_timeout(400)
        assert card.count() == 1
        tab.mouse.move(2, 2)
        tab.wait_for_timeout(500)
        assert tab.locator("#hover-card:not([hidden])").count() == 0


def test_no_id_is_there_twice_while_a_card_is_shown(chapter):
    tab = chapter.tab
    link = tab.locator(".bd-article p a.reference[href*='#fig-wiener-fields']").first
    link.hover()
    tab.locator("#hover-card svg.figure").wait_for()
    twice = tab.evaluate(
        "(() => { const ids = [...document.querySelectorAll('#hover-card [id]')]"
        ".map(e => e.id); return ids.filter(i =>"
        ' document.querySelectorAll(`[id="${i}"]`).length > 1) })()'
    )
    assert twice == []


def test_figure_in_a_card_has_its_letters_and_looks(visit):
    """They are shared by the figures of a page; the card brings them from there."""
    tab = visit().open("tour.html")
    elsewhere = ".bd-article p a.reference[href*='.html#fig-']"
    tab.locator(elsewhere).first.hover()
    tab.locator("#hover-card svg.figure").wait_for()
    lost = tab.evaluate(
        "[...document.querySelectorAll('#hover-card svg use')].filter(e =>"
        " !document.getElementById(e.getAttribute('href').slice(1))).length"
    )
    assert lost == 0 and tab.locator("#hover-card svg.figure use").count() > 20
    look = tab.locator("#hover-card svg.figure [class^='card-k']").first
    name = look.get_attribute("class")
    rules = tab.locator("#hover-card svg.letters style").text_content()
    assert f".figure .{name}{{" in rules


def test_finger_gets_no_card(visit):
    seen = visit(width=360, has_touch=True, is_mobile=True)
    tab = seen.open(CHAPTER)
    link = tab.locator(".bd-article p a.reference[href*='#fig-wiener-fields']").first
    link.scroll_into_view_if_needed()
    link.tap()
    tab.wait_for_timeout(600)
    assert tab.locator("#hover-card:not([hidden])").count() == 0
    assert seen.trouble == []


def test_card_is_readable_in_the_dark(visit):
    seen = visit(scheme="dark")
    tab = seen.open(CHAPTER)
    tab.locator(".bd-article a:has(> .std-term)").first.hover()
    tab.locator("#hover-card:not([hidden])").wait_for()
    tab.wait_for_timeout(300)
    weak = [e for c, e in tab.evaluate(CONTRAST, "#hover-card p") if c < 4.5]
    assert weak == []

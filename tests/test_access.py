"""Every reader: by keyboard, by screen reader, large letters, own colours, no motion.

axe-core looks at every page in test_site.py. What it cannot see, such as where the
keyboard goes or what is inside a figure, is tested here.
"""

import itertools
import re

import chapters
import pytest
from browser import CONTRAST
from built import soup

from helpers.plotting import STYLE

PAGES = [f"{page}.html" for page in chapters.toc_pages()]


def show(tab, theme, width):
    tab.evaluate("(t) => { document.documentElement.dataset.theme = t }", theme)
    tab.set_viewport_size({"width": width, "height": 900})
    tab.wait_for_timeout(400)  # boxes.js waits 0.2 s after a change of the width


@pytest.mark.parametrize("page", PAGES)
def test_headings_are_in_order_under_one_title(page):
    levels = [int(h.name[1]) for h in soup(page).select("h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def squeezed(text) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_has_words_of_its_own(page):
    """An alternative text says what is seen; the caption is something else."""
    for picture in soup(page).select("article svg.figure, article img, article canvas"):
        words = squeezed(picture.get("aria-label") or picture.get("alt") or "")
        assert len(words.split()) >= 4, picture.get("src", words)
        assert not re.search(r"\.(svg|png|webp|jpe?g)$|[/_]\w+_\w+", words), words
        figure = picture.find_parent("figure")
        caption = figure and figure.select_one(".caption-text")
        assert not caption or squeezed(caption.get_text()) != words


@pytest.mark.parametrize("page", PAGES)
def test_links_say_where_they_lead(page):
    vague = {"here", "this", "link", "click here", "more", "this page", ""}
    for link in soup(page).select("article a[href]"):
        text = squeezed(link.get_text()) or link.get("aria-label", "")
        inner = link.find("img")
        assert text.lower() not in vague or (inner and inner.get("alt")), link


def test_lines_stand_out_from_the_paper(visit):
    """Colours C0 to C4 of the figures: 3 to 1 on the paper of each theme."""
    cycle = re.search(r'cycler\("color", \[(.*?)\]', STYLE.read_text())[1]
    colours = re.findall(r'"(\w{6})"', cycle)
    assert len(colours) == 5
    for scheme in ("light", "dark"):
        tab = visit(scheme=scheme).open(PAGES[1])
        tab.evaluate(
            "(all) => document.querySelector('article figure').append(...all.map(c =>"
            " { const e = document.createElement('i'); e.className = 'probe';"
            " e.textContent = 'x'; e.style.color = '#' + c; return e }))",
            colours,
        )
        ratios = [ratio for ratio, _ in tab.evaluate(CONTRAST, ".probe")]
        assert len(ratios) == 5 and min(ratios) >= 3


def test_a_wide_formula_scrolls_by_the_arrow_keys(visit):
    tab = visit(width=360).open("notebooks/02_variational_bound.html")
    box = tab.locator('mjx-container[tabindex="0"]').first
    box.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(500)
    assert box.evaluate("e => e.scrollLeft") > 0


def test_the_skip_link_leads_to_the_text(visit):
    tab = visit(reduced_motion="reduce").open(PAGES[1])
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.hash") == "#main-content"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("!!document.activeElement.closest('#main-content')")


# Where the focus is, and whether the eye can see it.
FOCUS = """() => { const e = document.activeElement, s = getComputedStyle(e);
  const box = e.getBoundingClientRect();
  return [e.tagName, e.outerHTML.slice(0, 100),
    (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0)
      || s.boxShadow !== 'none', box.width > 0 && box.height > 0] }"""


def walk(tab, most=600):
    """Tab through a page until the focus leaves it."""
    for _ in range(most):
        tab.keyboard.press("Tab")
        tag, markup, marked, there = tab.evaluate(FOCUS)
        if tag == "BODY":
            return
        yield markup, marked, there
    raise AssertionError("the Tab key never leaves the page")


@pytest.mark.parametrize(
    "page", ["index.html", "notebooks/08_posterior_mean.html", "search.html"]
)
def test_tab_walks_through_the_page_and_is_seen(visit, page):
    tab = visit(reduced_motion="reduce").open(page)
    tab.evaluate("document.activeElement.blur()")
    stops = list(walk(tab))
    assert [markup for markup, marked, there in stops if not (marked and there)] == []
    every = tab.evaluate(
        "[...document.querySelectorAll('a[href], button, input, select, summary')]"
        ".filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled"
        " && e.tabIndex >= 0).length"
    )
    assert len(stops) >= every


def test_the_menu_opens_and_closes_by_the_keyboard(visit):
    tab = visit().open(PAGES[1])
    button, entry = tab.locator(".dropdown-toggle"), tab.locator(".dropdown-menu a")
    button.focus()
    tab.keyboard.press("Enter")
    assert entry.first.is_visible()
    assert button.get_attribute("aria-expanded") == "true"
    tab.keyboard.press("Tab")
    assert tab.evaluate("!!document.activeElement.closest('.dropdown-menu')")
    tab.keyboard.press("Escape")
    assert not entry.first.is_visible()
    assert tab.evaluate("document.activeElement.matches('.dropdown-toggle')")


def test_nothing_moves_for_those_who_asked(visit):
    tab = visit(reduced_motion="reduce").open("notebooks/08_posterior_mean.html")
    tab.locator(".explorer button").first.click()
    show(tab, "dark", 1300)
    assert tab.evaluate("document.getAnimations().length") == 0
    moving = tab.evaluate(
        "[...document.querySelectorAll('body, body *')].filter(e => { const s ="
        " getComputedStyle(e); return parseFloat(s.transitionDuration) > 0"
        " || s.animationName !== 'none' || s.scrollBehavior === 'smooth' }).length"
    )
    assert moving == 0


def test_the_readers_own_colours_keep_figures_and_controls(visit):
    tab = visit(forced_colors="active", scheme="dark").open(
        "notebooks/08_posterior_mean.html"
    )
    assert tab.evaluate("matchMedia('(forced-colors: active)').matches")
    weak = [e for c, e in tab.evaluate(CONTRAST, "svg.figure, button") if c < 4.5]
    assert weak == []
    borders = tab.evaluate(
        "[...document.querySelectorAll('.explorer button')].map(e =>"
        " getComputedStyle(e).borderStyle)"
    )
    assert borders and "none" not in borders

"""The finished pages in a real browser that can reach nothing but them.

Each page is loaded twice, on a desk and on a telephone, and all that is asked of every
page is asked there.
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

import axe
import chapters
import pytest
from browser import CONTRAST, Visit
from built import SITE, anchors, soup

PAGES = [f"{page}.html" for page in chapters.toc_pages()]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
# Pages of each kind, where axe looks at colours, too: it takes longer for them than for
# all else. On every page they are measured by a test of our own.
COLOURS = (
    "index.html",
    "symbols.html",
    "course/quiz_1.html",
    CHAPTERS[0],
    CHAPTERS[-2],
)

PAGE, WHOLE = 1.5e6, 60e6  # bytes, as they are on the disk, without compression
TRIES = 3  # the best of them counts: these machines are shared
# What scrolls sideways, without being a stop of the Tab key that has a name.
UNREACHED = """() => [...document.querySelectorAll('article *')].filter(e => {
  const style = getComputedStyle(e);
  return e.clientWidth && e.scrollWidth > e.clientWidth + 2
    && /auto|scroll/.test(style.overflowX) && !e.closest('svg, mjx-math')
    && !(e.tabIndex === 0 && (e.ariaLabel || e.querySelector('figcaption')));
}).map(e => e.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module", params=[*PAGES, "search.html"])
def desk(request, browser, base):
    """Each page once, wide and in the light theme."""
    seen = Visit(browser, base)
    seen.page, seen.seconds = request.param, seen.work(request.param)
    seen.tab.wait_for_load_state("networkidle")
    seen.tab.evaluate("window.formulasReady")
    yield seen
    seen.context.close()


@pytest.fixture(scope="module", params=[*PAGES, "search.html?q=noise"])
def phone(request, browser, base):
    """Each page once, on a telephone and in the dark theme."""
    seen = Visit(browser, base, width=360, scheme="dark")
    seen.page, _ = request.param, seen.open(request.param)
    yield seen
    seen.context.close()


def test_page_answers_within_a_second(desk, visit):
    """The best of some tries counts."""
    tries = [desk.seconds]
    while min(tries) > 1 and len(tries) < TRIES:
        tries.append(visit().work(desk.page))
    assert min(tries) <= 1


def test_page_is_light(desk):
    """With all that it loads, to the end of the page."""
    desk.tab.keyboard.press("End")
    desk.tab.wait_for_load_state("networkidle")
    paths = {urlsplit(url).path for url in desk.loaded if url.startswith(desk.base)}
    assert sum((SITE / unquote(p).lstrip("/")).stat().st_size for p in paths) <= PAGE


def test_page_is_whole(desk):
    """No request that fails or leaves, no error, all formulas and pictures there."""
    raw, shown = desk.tab.evaluate(
        "[[...document.querySelectorAll('.math')].length,"
        " document.querySelectorAll('mjx-container').length]"
    )
    assert shown >= raw
    assert desk.tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    bad_images = desk.tab.evaluate(
        "[...document.images].filter(i => !i.naturalWidth || !i.alt).map(i => i.src)"
    )
    assert bad_images == []
    assert desk.tab.locator("svg.figure:not([aria-label])").count() == 0
    assert desk.tab.locator('svg.figure[aria-label=""]').count() == 0
    assert desk.trouble == []


def test_no_source_shows_through(desk):
    """No unrendered formula, no unfilled field, in the text that a reader sees."""
    text = desk.tab.evaluate(
        "(() => { const a = document.querySelector('article, main').cloneNode(true);"
        " a.querySelectorAll('pre, code, mjx-container, script').forEach("
        "e => e.remove()); return a.textContent })()"
    )
    assert not re.search(r"\$[^$\n]+\$|\\\(|\\\[|\{\{|\}\}|\\[a-z]+\{", text)


def test_telephone_needs_no_sideways_scroll(phone):
    assert phone.tab.evaluate("document.documentElement.scrollWidth") <= 360
    wide = phone.tab.evaluate(
        "[...document.querySelectorAll('article *, .prev-next-area *, footer *')]"
        ".filter(e => {"
        " if (e.closest('mjx-container, svg, table, pre, figure, .math, .output'))"
        "   return false;"
        " return e.getBoundingClientRect().right > 361 }).map(e => e.outerHTML)"
    )
    assert wide == []


# Every element with words of its own; figures have one ink, and formulas the text's.
WORDS = """() => {
  for (const e of document.querySelectorAll(
      'body :not(svg *, mjx-container *, script, style, noscript, option)'))
    if ([...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
      e.dataset.words = '';
}"""


def assert_text_stands_out(tab, scheme):
    """Contrast of at least 4.5 for all text and figure text."""
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    tab.evaluate(WORDS)
    found = tab.evaluate(CONTRAST, "[data-words], svg.figure")
    assert found and [(c, e) for c, e in found if c < 4.5] == []


def test_text_stands_out_in_the_light_theme(desk):
    assert_text_stands_out(desk.tab, "light")


def test_text_stands_out_in_the_dark_theme(phone):
    assert_text_stands_out(phone.tab, "dark")


def test_what_scrolls_is_reached_by_the_keyboard(phone):
    phone.tab.evaluate("new Promise(requestAnimationFrame)")  # boxes.js has looked
    assert phone.tab.evaluate(UNREACHED) == []


def test_letters_of_twice_the_size_lose_nothing(desk):
    """Zoom 200 % on a screen of 1280 pixels leaves 640 of them."""
    desk.tab.set_viewport_size({"width": 640, "height": 900})
    assert desk.tab.evaluate("document.documentElement.scrollWidth") <= 640
    assert desk.tab.locator(".primary-toggle:visible").count() >= 1
    desk.tab.set_viewport_size({"width": 1300, "height": 900})


def test_axe_finds_nothing_serious_on_a_desk(desk):
    """In the light theme. The last test of a page: it takes the page apart."""
    assert axe.violations(desk.tab, desk.page in COLOURS) == []


def test_axe_finds_nothing_serious_on_a_telephone(phone):
    """In the dark theme."""
    assert axe.violations(phone.tab, phone.page in COLOURS) == []


def test_formulas_come_in_steps_and_all_of_them(visit):
    """The rest of a page is typeset while it answers: no step is a second long."""
    seen = visit()
    tab = seen.open("notebooks/02_variational_bound.html")
    raw, shown = tab.evaluate(
        "[document.querySelectorAll('.math').length,"
        " document.querySelectorAll('.math > mjx-container').length]"
    )
    assert raw == shown > 100
    assert tab.evaluate("document.documentElement.dataset.formulas") == "all"
    assert tab.locator("mjx-assistive-mml math").count() == raw


def test_search_finds_a_word(visit):
    seen = visit()
    tab = seen.open("search.html?q=denoiser")
    tab.wait_for_selector("#search-results li a")
    hits = tab.locator("#search-results li a").evaluate_all("a => a.map(e => e.href)")
    assert any("notebooks/" in address for address in hits)
    assert seen.trouble == []


def local_links(page):
    """(target file, anchor) of every link, image and script of a page."""
    for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src")):
        for element in soup(page).find_all(tag, attrs={attribute: True}):
            address = element[attribute]
            if not re.match(r"[a-z]+:|//", address):
                path, anchor = urldefrag(urljoin(page, address))
                yield unquote(path.split("?")[0]) or page, unquote(anchor)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_are_alive(page):
    for target, anchor in set(local_links(page)):
        assert (SITE / target).exists(), target
        if anchor and target.endswith(".html"):
            assert anchor in anchors(target), anchor


def test_nothing_is_fetched_from_outside():
    """No address of another host in any tag that a browser would load."""
    for path in SITE.resolve().rglob("*.html"):
        text = path.read_text()
        found = re.findall(
            r"<(?:script|link|img|iframe)[^>]+(?:https?:)?//[^>]*>", text
        )
        assert [f for f in found if "//" in re.sub(r'xmlns\S*="[^"]*"', "", f)] == []
    for path in (SITE / "_static").rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", path.read_text()), path


@pytest.mark.parametrize("page", CHAPTERS)
def test_executed_notebook_can_be_downloaded(base, page):
    address = soup(page).select_one("a.btn-download-source-button")["href"]
    with urlopen(urljoin(base + page, address)) as answer:
        notebook = json.load(answer)
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in cells if "".join(c["source"]).strip())
    assert any(c["outputs"] for c in cells)


def test_site_is_small_and_says_what_it_is():
    files = [p for p in SITE.resolve().rglob("*") if p.is_file()]
    mathjax = [p for p in files if "mathjax" in p.parts]
    assert sum(p.stat().st_size for p in mathjax) < 4e6
    assert sum(p.stat().st_size for p in files) <= WHOLE
    about = json.loads((SITE / "build.json").read_text())
    assert about["pages"] == len(PAGES)


def test_status_page_lists_every_chapter():
    text = soup("chapters.html").get_text(" ")
    links = {
        Path(a["href"]).stem for a in soup("chapters.html").select("article a[href]")
    }
    for name in chapters.names():
        assert name in links
    assert len(re.findall(r"\d+ of \d+ within tolerance", text)) == len(CHAPTERS)

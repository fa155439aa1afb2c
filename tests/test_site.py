"""The finished pages in a real browser that can reach nothing but them."""

import functools
import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import chapters
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

SITE = chapters.BUILD / "html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
PAGES = [f"{page}.html" for page in chapters.toc_pages()]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
NOISE = ("[PST]", "[togglebutton]")  # what the theme says of itself, not as an error


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def base():
    """The address of the built site, served on this machine."""
    assert (SITE / "index.html").exists(), "no site: run `make book` first"
    handler = functools.partial(Silent, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have Chromium, and there is none")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


class Visit:
    """A browser tab that blocks and counts whatever leaves the site."""

    def __init__(self, browser, base, width=1300, scheme="light"):
        size = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.base, self.trouble = base, []
        self.tab = self.context.new_page()
        self.context.route("**/*", self.only_local)
        self.tab.on("console", self.hear)
        self.tab.on("pageerror", lambda e: self.trouble.append(f"error {e}"))
        self.tab.on("response", self.answer)
        self.tab.on("requestfailed", lambda r: self.trouble.append(f"failed {r.url}"))

    def only_local(self, route):
        if route.request.url.startswith((self.base, "data:", "blob:")):
            return route.continue_()
        self.trouble.append(f"outside {route.request.url}")
        return route.abort()

    def hear(self, message):
        if message.type in ("error", "warning") and not message.text.startswith(NOISE):
            self.trouble.append(f"console {message.text}")

    def answer(self, response):
        if response.status >= 400:
            self.trouble.append(f"{response.status} {response.url}")

    def open(self, page, until="load"):
        self.tab.goto(self.base + page, wait_until=until)
        self.tab.wait_for_function(
            "!document.querySelector('.math') ||"
            " (window.MathJax && MathJax.startup && MathJax.startup.promise)"
        )
        self.tab.evaluate("window.MathJax?.startup?.promise?.then(() => 0)")
        return self.tab


@pytest.fixture
def visit(browser, base):
    opened = []

    def make(**options):
        opened.append(Visit(browser, base, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.context.close()


@pytest.mark.parametrize("page", [*PAGES, "search.html"])
def test_page_is_whole(visit, page):
    """No request that fails or leaves, no error, all formulas and pictures there."""
    seen = visit()
    tab = seen.open(page, until="networkidle")
    raw, shown = tab.evaluate(
        "[[...document.querySelectorAll('.math')].length,"
        " document.querySelectorAll('mjx-container').length]"
    )
    assert shown >= raw
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    bad_images = tab.evaluate(
        "[...document.images].filter(i => !i.naturalWidth || !i.alt).map(i => i.src)"
    )
    assert bad_images == []
    assert tab.locator("svg.figure:not([aria-label])").count() == 0
    assert tab.locator('svg.figure[aria-label=""]').count() == 0
    assert seen.trouble == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_no_source_shows_through(visit, page):
    """No unrendered formula, no unfilled field, in the text that a reader sees."""
    tab = visit().open(page)
    text = tab.evaluate(
        "(() => { const a = document.querySelector('article').cloneNode(true);"
        " a.querySelectorAll('pre, code, mjx-container, script').forEach("
        "e => e.remove()); return a.textContent })()"
    )
    assert not re.search(r"\$[^$\n]+\$|\\\(|\\\[|\{\{|\}\}|\\[a-z]+\{", text)


@pytest.mark.parametrize("page", PAGES)
def test_telephone_needs_no_sideways_scroll(visit, page):
    tab = visit(width=360).open(page)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    wide = tab.evaluate(
        "[...document.querySelectorAll('article *')].filter(e => {"
        " if (e.closest('mjx-container, svg, table, pre, figure, .math, .output'))"
        "   return false;"
        " return e.getBoundingClientRect().right > 361 }).map(e => e.outerHTML)"
    )
    assert wide == []


CONTRAST = """
(selector) => {
  const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = rgb(c).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const paper = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor, v = rgb(c);
    if (v.length < 4 || v[3] > 0.99) return c } return 'rgb(255, 255, 255)' };
  return [...document.querySelectorAll(selector)].filter(e => e.offsetParent
      || e.ownerSVGElement || e.tagName == 'svg').map(e => {
    const a = light(getComputedStyle(e).color), b = light(paper(e));
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05),
            e.outerHTML.slice(0, 80)] });
}
"""
READ = (
    "article p, article li, article td, article a, article h1, article h2, figcaption,"
    " svg.figure, .bd-links__title, nav.bd-links a, pre span"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_text_stands_out(visit, page, scheme):
    """Contrast of at least 4.5 for text and figure text, in both themes."""
    tab = visit(scheme=scheme).open(page)
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    weak = [(c, e) for c, e in tab.evaluate(CONTRAST, READ) if c < 4.5]
    assert weak == []


def test_search_finds_a_word(visit):
    seen = visit()
    tab = seen.open("search.html?q=denoiser")
    tab.wait_for_selector("#search-results li a")
    hits = tab.locator("#search-results li a").evaluate_all("a => a.map(e => e.href)")
    assert any("notebooks/" in address for address in hits)
    assert seen.trouble == []


@functools.cache
def soup(page) -> BeautifulSoup:
    return BeautifulSoup((SITE / page).read_text(), "html.parser")


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
            found = soup(target)
            assert found.find(id=anchor) or found.find(attrs={"name": anchor}), anchor


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
def test_executed_notebook_can_be_downloaded(visit, base, page):
    tab = visit().open(page)
    address = tab.locator("a.btn-download-source-button").first.get_attribute("href")
    answer = tab.request.get(urljoin(base + page, address))
    assert answer.status == 200
    cells = [c for c in answer.json()["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in cells if "".join(c["source"]).strip())
    assert any(c["outputs"] for c in cells)


def test_site_is_small_and_says_what_it_is():
    files = [p for p in SITE.resolve().rglob("*") if p.is_file()]
    mathjax = [p for p in files if "mathjax" in p.parts]
    assert sum(p.stat().st_size for p in mathjax) < 4e6
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

"""A browser that can reach nothing but the built site, for the tests of its pages."""

import os

import chromium
import pytest
from built import SITE

# When the formulas of the first screen stand, as formulas.js says.
FIRST_SCREEN = """
new MutationObserver(() => {
  if (document.documentElement.dataset.formulas) window.firstScreen = true;
}).observe(document, {subtree: true, attributeFilter: ['data-formulas']});
"""
NOISE = ("[PST]", "[togglebutton]")  # what the theme says of itself, not as an error
# Contrast of text and paper for each visible element: [[ratio, its HTML], ...].
CONTRAST = """
(selector) => {
  const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = rgb(c).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const known = new Map([[null, 'rgb(255, 255, 255)']]);
  const paper = e => { if (!known.has(e)) {
    const c = getComputedStyle(e).backgroundColor, v = rgb(c);
    known.set(e, v.length < 4 || v[3] > 0.99 ? c : paper(e.parentElement)) }
    return known.get(e) };
  return [...document.querySelectorAll(selector)].filter(e => e.offsetParent
      || e.ownerSVGElement || e.tagName == 'svg').map(e => {
    const a = light(getComputedStyle(e).color), b = light(paper(e));
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05),
            e.outerHTML.slice(0, 80)] });
}
"""


@pytest.fixture(scope="module")
def base():
    """The address of the built site, served on this machine."""
    assert (SITE / "index.html").exists(), "no site: run `make book` first"
    with chromium.served(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    if (path := chromium.path()) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have Chromium, and there is none")
        pytest.skip(f"no Chromium on this machine. {chromium.ADVICE}")
    with chromium.started(path) as browser:
        yield browser


class Visit:
    """A browser tab that blocks and counts whatever leaves the site."""

    def __init__(self, browser, base, width=1300, scheme="light", **context):
        size = {"width": width, "height": 900}
        self.context = browser.new_context(
            viewport=size, color_scheme=scheme, **context
        )
        self.base, self.trouble, self.loaded = base, [], set()
        self.tab = self.context.new_page()
        self.context.route("**/*", self.only_local)
        self.tab.on("console", self.hear)
        self.tab.on("pageerror", lambda e: self.trouble.append(f"error {e}"))
        self.tab.on("response", self.answer)
        self.tab.on("requestfailed", self.fail)

    def only_local(self, route):
        if route.request.url.startswith((self.base, "data:", "blob:")):
            return route.continue_()
        self.trouble.append(f"outside {route.request.url}")
        return route.abort()

    def fail(self, request):
        """What was still on its way when the page was left has not failed."""
        if request.failure != "net::ERR_ABORTED":
            self.trouble.append(f"failed {request.url}")

    def hear(self, message):
        if message.type in ("error", "warning") and not message.text.startswith(NOISE):
            self.trouble.append(f"console {message.text}")

    def answer(self, response):
        self.loaded.add(response.url)
        if response.status >= 400:
            self.trouble.append(f"{response.status} {response.url}")

    def open(self, page, until="load"):
        self.tab.goto(self.base + page, wait_until=until)
        self.tab.evaluate("window.formulasReady")
        return self.tab

    def work(self, page) -> float:
        """Open a page; seconds of work until it can be used, not the machine's time.

        That is: the document is there, its scripts have run, the formulas of the first
        screen are typeset. What the main thread computes for that is counted by its own
        clock, because on a shared machine the clock on the wall counts the neighbours.
        """
        self.tab.add_init_script(FIRST_SCREEN)
        devices = self.context.new_cdp_session(self.tab)
        devices.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.tab.goto(self.base + page, wait_until="domcontentloaded")
        ready = "window.firstScreen || !document.querySelector('.math')"
        self.tab.wait_for_function(ready)
        found = devices.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in found}["TaskDuration"]


@pytest.fixture
def visit(browser, base):
    opened = []

    def make(**options):
        opened.append(Visit(browser, base, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.context.close()

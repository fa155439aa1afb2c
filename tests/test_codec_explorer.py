"""The explorer of the codec: its data, and its use in the page of chapter 5."""

import json

import numpy as np
import pytest
from browser import CONTRAST

from helpers import data

PAGE = "notebooks/05_compression.html"


def opened(visit, **options):
    seen = visit(**options)
    seen.tab.goto(seen.base + PAGE, wait_until="domcontentloaded")
    seen.tab.wait_for_selector(".explorer svg")
    return seen, seen.tab


def said(tab):
    return tab.locator(".explorer .summary").inner_text()


def stored(tab):
    return json.loads(tab.locator("#codec-data").text_content())


READ = """
c => {
  const copy = new OffscreenCanvas(c.width, c.height).getContext('2d');
  copy.drawImage(c, 0, 0);
  return [...copy.getImageData(0, 0, c.width, c.height).data].filter(
    (_, i) => i % 4 === 0);
}
"""


def pixels(tab, place):
    """The red values of a canvas, as the eye sees them."""
    return tab.locator(".explorer canvas").nth(place).evaluate(READ)


def test_frames_are_those_of_real_digits(visit):
    """Each story ends with an image of the set, bits rise, and the error ends at 0."""
    _, tab = opened(visit)
    page = stored(tab)
    digits = {tuple(map(int, x)) for x in data.read("digits").images.reshape(-1, 64)}
    for image in page["images"]:
        frames = image["frames"]
        assert len(frames) == page["T"] + 2
        assert (np.diff([frame["bits"] for frame in frames]) > 0).all()
        assert frames[-1]["rmse"] == 0 and frames[0]["bits"] == 0
        assert frames[-2]["rmse"] < frames[0]["rmse"] / 2
        assert tuple(frames[-1]["guess"]) in digits
        assert all(len(f[key]) == 64 for f in frames for key in ("seen", "guess"))


def test_words_arrive_one_by_one(visit):
    seen, tab = opened(visit)
    frames = stored(tab)["images"][0]["frames"]
    slider = tab.get_by_role("slider", name="Words")
    slider.focus()
    tab.keyboard.press("Home")
    assert "Nothing has arrived" in said(tab)
    assert tab.locator(".explorer circle.dot").count() == 0
    for count in range(1, len(frames)):
        tab.keyboard.press("ArrowRight")
        assert tab.locator(".explorer circle.dot").count() == count
        assert pixels(tab, 1) == frames[count]["guess"]
    assert "every pixel has its grey value" in said(tab)
    assert pixels(tab, 1) == pixels(tab, 2) == frames[-1]["guess"]
    tab.get_by_role("button", name="less: words").click()
    assert f"{frames[-2]['rmse']:.0f} grey levels off" in said(tab)
    assert seen.trouble == []


def test_another_image(visit):
    seen, tab = opened(visit)
    images = stored(tab)["images"]
    tab.locator(".explorer").get_by_label("Image").select_option("3")
    assert pixels(tab, 2) == images[3]["frames"][-1]["guess"]
    assert f"{images[3]['frames'][5]['bits']:.0f} of" in tab.locator("dl").inner_text()
    assert seen.trouble == []


NAMELESS = """
[...document.querySelectorAll('.explorer :is(button, input, select)')].filter(
  e => !e.textContent.trim() && !e.labels?.length && !e.ariaLabel).length
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_telephone_and_theme(visit, scheme):
    seen, tab = opened(visit, width=360, scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    wide = """[...document.querySelectorAll('.explorer, .explorer *')].filter(
        e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML)"""
    assert tab.evaluate(wide) == []
    text = ".explorer :is(p, b, label, output, button, select, text, dt, dd)"
    assert [(c, e) for c, e in tab.evaluate(CONTRAST, text) if c < 4.5] == []
    assert tab.locator('.explorer svg:not([role="img"][aria-label])').count() == 0
    assert tab.locator(".explorer canvas:not([aria-label])").count() == 0
    assert tab.evaluate(NAMELESS) == 0
    fill = "getComputedStyle(document.querySelector('.explorer .dot')).fill"
    before = tab.evaluate(fill)
    other = {"light": "dark", "dark": "light"}[scheme]
    tab.evaluate(f"document.documentElement.dataset.theme = '{other}'")
    assert tab.evaluate(fill) != before
    assert seen.trouble == []


def test_without_javascript_the_figure_stands_in(visit):
    seen = visit(java_script_enabled=False)
    seen.tab.goto(seen.base + PAGE)
    host = seen.tab.locator('.explorer[data-explorer="codec"]')
    notice = host.evaluate("e => getComputedStyle(e, '::before').content")
    assert "needs JavaScript" in notice and "figure below" in notice
    assert host.locator("xpath=following::figure").first.is_visible()
    assert host.inner_html() == ""

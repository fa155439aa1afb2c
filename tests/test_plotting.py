"""The five verbs draw what they are given, in colours that everybody can read."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from helpers import plotting
from helpers.paths import ROOT

mpl.use("agg")
plt = plotting.plt
CSS = (ROOT / "book" / "_static" / "book.css").read_text()
DARK = re.search(r'"dark"\].*?--pst-color-background: (#\w+);', CSS, re.DOTALL)[1]
PAGES = {"light": "#ffffff", "dark": DARK}


@pytest.fixture(autouse=True)
def styled():
    with plt.style.context(plotting.STYLE):
        yield
    plt.close("all")


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    levels = np.array(to_rgb(colour))
    linear = np.where(
        levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def colours():
    return [f"#{e['color'].lstrip('#')}" for e in mpl.rcParams["axes.prop_cycle"]]


@pytest.mark.parametrize("page", PAGES)
def test_every_line_colour_stands_out_on_the_page(page):
    """3 : 1 is what WCAG asks of graphical objects."""
    for colour in colours():
        assert contrast(colour, PAGES[page]) >= 3, colour


# Viénot, Brettel & Mollon 1999: linear RGB as a person without one cone type sees it.
DICHROMATS = {
    "protan": [[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.004, -0.004, 1]],
    "deutan": [[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]],
}


@pytest.mark.parametrize("kind", DICHROMATS)
def test_colour_blind_readers_can_tell_lines_apart(kind):
    """By colour; grey, which is close to others for them, by its unbroken line."""
    seen = [np.array(DICHROMATS[kind]) @ np.array(to_rgb(c)) ** 2.2 for c in colours()]
    seen = [np.clip(s, 0, 1) ** (1 / 2.2) for s in seen]
    dashes = [entry["linestyle"] for entry in mpl.rcParams["axes.prop_cycle"]]
    for i in range(5):
        for j in range(i):
            if "#808080" in colours()[i] and dashes[i] != dashes[j]:
                continue
            assert np.abs(seen[i] - seen[j]).max() > 0.1


def test_no_two_lines_have_the_same_colour_or_dashes_and_colour():
    entries = [(e["color"], e["linestyle"]) for e in mpl.rcParams["axes.prop_cycle"]]
    assert len(set(entries)) == len({c for c, _ in entries}) == 5


def test_a_figure_has_only_the_two_marks_that_the_site_replaces():
    ax = plotting.curves([1, 2], {"a": [1, 2]}, "x", "y")
    text = io.StringIO()
    ax.figure.savefig(text, format="svg")
    assert "#000001" in text.getvalue() and "#fffffe" in text.getvalue()
    assert "fill: #000000" not in text.getvalue()


def test_images_keep_every_pixel():
    images = torch.rand(2, 3, 1, 4, 4) * 2 - 1
    ax = plotting.show_images(images, ["a", "b", "c"], ["one", "two"])
    picture = ax.images[0].get_array()
    expected = (images[1, 2, 0] + 1) / 2
    np.testing.assert_allclose(picture[5:9, 10:14, 0], expected, atol=1e-6)
    assert picture[4, :, 3].max() == 0  # the gap is transparent
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]


def test_colour_and_overshoot():
    images = torch.full((1, 3, 2, 2), 1.5)
    images[0, 1] = -1.5
    picture = plotting.show_images(images).images[0].get_array()
    np.testing.assert_allclose(picture[0, 0], [1, 0, 1, 1])


@pytest.mark.parametrize(
    ("images", "columns", "message"),
    [
        (torch.zeros(2, 2, 4, 4), (), "must be"),
        (torch.zeros(4, 4), (), "must be"),
        (torch.zeros(2, 1, 4, 4), ("a",), "as many labels"),
    ],
)
def test_images_of_another_shape(images, columns, message):
    with pytest.raises(ValueError, match=message):
        plotting.show_images(images, columns)


def test_trajectory_puts_time_to_the_right():
    states = [torch.full((2, 1, 3, 3), v) for v in (-1.0, 0.0, 1.0)]
    picture = plotting.show_trajectory(states, ["a", "b", "c"]).images[0].get_array()
    assert picture[0, [0, 4, 8], 0].tolist() == [0, 0.5, 1]


def test_curves_draw_their_numbers_and_bands():
    x, y = torch.arange(1.0, 4), torch.tensor([1.0, 4, 9])
    ax = plotting.curves(
        x, {"a": y, "b": y + 1}, "time", "size", bands={"a": (y - 1, y + 1)}, log="xy"
    )
    assert ax.lines[0].get_ydata().tolist() == [1, 4, 9]
    assert len(ax.collections) == 1 and len(ax.get_legend().get_texts()) == 2
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "size")
    assert plotting.curves(x, {"a": y}, "t", "s").get_legend() is None


def test_field_is_centred_on_zero():
    ax = plotting.show_field(torch.tensor([[0.5, -2.0], [0.0, 1.0]]), pixel=(0, 1))
    assert ax.images[0].get_clim() == (-2, 2)
    assert ax.lines[0].get_xdata().tolist() == [1]
    with pytest.raises(ValueError, match="shape"):
        plotting.show_field(torch.zeros(3))


def test_bars_have_whiskers():
    ax = plotting.bars(["a", "b"], [1.0, 2.0], "error", [(0.5, 1.5), (1.0, 4.0)])
    assert [bar.get_height() for bar in ax.patches] == [1, 2]
    segments = ax.collections[0].get_segments()
    assert [s[:, 1].tolist() for s in segments] == [[0.5, 1.5], [1, 4]]

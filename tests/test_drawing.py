"""A lighter drawing is the same drawing: its points, its pictures, its pixels."""

import base64
import io
import re

import drawing
import drawn
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers import plotting

NUMBER = st.floats(-600, 600, allow_nan=False)
POINT = st.tuples(NUMBER, NUMBER)


def written(points):
    """Points as matplotlib writes a line."""
    return " \n".join(
        f"{'L' if i else 'M'} {x:.6f} {y:.6f}" for i, (x, y) in enumerate(points)
    )


def walked(path):
    """The points of a path of relative m and l, one step after the other."""
    numbers = list(map(float, re.findall(r"-?(?:\d+\.?\d*|\.\d+)", path)))
    return np.cumsum(np.reshape(numbers, (-1, 2)), axis=0)


@given(st.lists(POINT, min_size=2, max_size=30))
def test_a_path_in_steps_passes_the_same_points(points):
    """Rounding does not add up on the way."""
    assert np.abs(walked(drawing.lighter_path(written(points))) - points).max() < 0.0051


def test_a_long_line_is_coarser_but_not_visibly():
    points = np.random.default_rng(0).uniform(0, 500, (200, 2))
    path = drawing.lighter_path(written(points))
    assert np.abs(walked(path) - points).max() < 0.026
    assert len(path) < len(written(points)) / 2


def test_a_curve_that_closes_goes_on_from_its_start():
    path = "M 10 10 C 11 10 12 11 12 12 Q 13 13 10 14 z M 20 20 L 21 20"
    assert drawing.lighter_path(path) == "m10 10c1 0 2 1 2 2q1 1-2 2zm10 10 1 0"


def test_a_path_of_another_hand_is_left_alone():
    assert drawing.lighter_path("M0 0 A 5 5 0 1 1 3 3") == "M0 0 A 5 5 0 1 1 3 3"


def test_a_packed_picture_has_the_same_pixels():
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 4), dtype=np.uint8)
    pixels[5:, :, 3] = 0  # colours under full transparency stay, too
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    code = base64.b64encode(file.getvalue()).decode()
    packed = drawing.packed(f"data:image/png;base64,{code}")
    back = Image.open(io.BytesIO(base64.b64decode(packed.split(",")[1])))
    assert np.array_equal(np.asarray(back.convert("RGBA")), pixels)


@pytest.fixture
def svg():
    """A figure with a cloud, lines, a shade, letters and an image, as in a chapter."""
    rng = np.random.default_rng(0)
    with plt.style.context(plotting.STYLE):
        figure, (left, right) = plt.subplots(1, 2)
        left.plot(*rng.normal(size=(2, 300)), ".", alpha=0.4)
        left.plot(*rng.normal(size=(2, 5)), "s")
        left.set(xlabel="first $x_0^2$", ylabel="second", title="cloud")
        plotting.curves(
            np.arange(99),
            {"one": rng.normal(size=99).cumsum(), "two": np.arange(99.0) / 9},
            "step",
            "value",
            ax=right,
            bands={"two": (np.zeros(99), np.arange(99.0))},
        )
        left.imshow(rng.uniform(size=(9, 9, 3)), extent=(-1, 1, -1, 1))
        file = io.StringIO()
        figure.savefig(file, format="svg")
        plt.close(figure)
    return file.getvalue()


def light_page(svg) -> str:
    letters = {}
    figure = drawn.inline(svg, "A cloud and lines.", "f1-", letters)
    return "".join(["".join(part) for part in drawn.on_one_page([figure], letters)])


STYLE = "<style>svg.figure{fill:currentColor;color:#000001;display:block}\
svg.figure *{stroke-linecap:butt;stroke-linejoin:round}\
.letters{position:absolute}svg{width:691px}body{margin:0}</style>"


def pixels(tab, markup):
    tab.set_viewport_size({"width": 720, "height": 330})
    tab.set_content(STYLE + markup)
    shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    return np.asarray(shot).astype(int)


def test_a_lighter_figure_looks_the_same_to_a_browser(visit, svg):
    """Two of 1,000 pixels change visibly at most, at half of the weight or less.

    One edge between two pixels of a picture may fall on the other side of a pixel of
    the screen: that is a column of 240 of the 240,000 that are compared.
    """
    tab, light = visit().tab, light_page(svg)
    before, after = pixels(tab, svg[svg.index("<svg") :]), pixels(tab, light)
    assert (before < 200).any(axis=2).mean() > 0.02  # there is something to see
    change = np.abs(before - after).max(axis=2)
    assert (change > 60).mean() < 2e-3
    assert len(light) < len(svg) / 2


def test_two_figures_of_a_page_share_letters_but_no_names(svg):
    letters = {}
    one, two = (drawn.inline(svg, "x", f"f{n}-", letters) for n in (1, 2))
    names = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert names[0] and not names[0] & names[1]
    known = names[0] | {f"L{place}" for place in range(len(letters))}
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one))
    assert used <= known and any(name.startswith("L") for name in used)


def test_figures_of_a_page_share_words(svg):
    """A word that is written often is kept once; the rest of a group stays."""
    letters = {}
    svgs = [drawn.inline(svg, "x", f"f{n}-", letters) for n in (1, 2)]
    words = drawn.shared_words(svgs)
    lighter, shared = drawn.on_one_page(svgs, letters)
    assert len(words) > 3
    for word, name in words.items():
        assert shared.count(f'<g id="{name}">{word}</g>') == 1
        assert sum(text.count(f'href="#{name}"') for text in lighter) > 1
        assert not any(f">{word}</g>" in text for text in lighter)
    assert len("".join([*lighter, shared])) < len("".join(svgs))


def test_one_name_for_two_letters_is_an_error(svg):
    letters = {}
    drawing.lighten(svg, letters)
    name = next(iter(letters))
    with pytest.raises(ValueError, match=name):
        drawing.lighten(svg, {name: ("m0 0 1 1", "")})

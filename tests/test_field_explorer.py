"""The explorer of the Wiener filter's field: its numbers, and its use in the page."""

import json
import re
import struct
from itertools import product

import pytest
import torch
from browser import CONTRAST, SITE, Visit
from safetensors.torch import load_file, save

from helpers import dead_leaves, fields, schedules, toy_faces
from helpers.lowrank import compress
from helpers.paths import DATA
from helpers.wiener import Wiener

PAGE = "notebooks/11_wiener_filter.html"
FILES = sorted((DATA / "moments").glob("*.safetensors"))
NAMES = {
    "dead_leaves": "Dead leaves",
    "toy_faces": "Toy faces",
    "digits": "Digits, 8 × 8",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "celeba32": "CelebA",
    "afhq_cat32": "AFHQ cats",
}


@pytest.fixture(scope="module")
def math_tab(browser, base):
    """An empty page of the site, in which the modules can be imported."""
    tab = browser.new_page()
    tab.goto(base + "_static/favicon.svg")
    yield tab
    tab.close()


def serve(tab, name, tensors):
    """Let the page find these moments under a name."""
    body = save({key: value.contiguous() for key, value in tensors.items()})
    tab.route(f"**/moments/{name}.safetensors", lambda r: r.fulfill(body=body))


# ---- The same numbers as the library -------------------------------------------------

ASK = """
async ([name, cases]) => {
  const f = await import('/_static/field.mjs');
  const moments = await f.load(name);
  return cases.map(([channel, pixel, sigma]) => {
    const v = f.output(moments, pixel, channel);
    const field = f.field(moments, v, sigma);
    return {
      field: [...field], bound: f.bound(moments, v, sigma),
      together: [...f.together(field, moments).slice(0, 64)],
      radius: f.effectiveRadius(field, moments, pixel),
      within: [1, 5, 63].map(k => f.energyWithin(field, moments, pixel, k)),
      mirror: [1, 3, 5].map(k => f.mirrorEnergy(field, moments, pixel, k)),
    };
  });
}
"""


def some_cases(shape):
    """Corners, the middle and an odd place; the outer channels and the mean of all."""
    C, H, W = shape
    pixels = [(0, 0), (H // 2, W // 2), (H - 1, W // 3), (H // 3, W // 2 - 1)]
    channels = [0, C - 1, "mean"]
    return list(product(channels, pixels, (0.02, 0.3, 4.0)))[::5]


def probe(case, shape):
    """The output as a direction in the flat image."""
    channel, (i, j), _ = case
    v = torch.zeros(shape, dtype=torch.float64)
    v[slice(None) if channel == "mean" else channel, i, j] = 1
    return (v / v.sum()).flatten()


def formula(tensors, v, sigma):
    """v' S from the definition of the file, in float64 by torch."""
    U = tensors["U"].double() * tensors["scale"].double()
    lam, common = tensors["lam"], tensors["rest"][1] / (tensors["rest"][1] + sigma**2)
    inside = U.T @ v
    kept = U @ (lam / (lam + sigma**2) * inside)
    return kept + common * (v - U @ inside)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_rows_agree_with_library(math_tab, file):
    """Every set, from the file of the site: to 1e-12, where 1e-5 is asked for."""
    assert (SITE / "_static/moments" / file.name).read_bytes() == file.read_bytes()
    tensors = load_file(file)
    wiener, shape = Wiener.from_moments(tensors), tuple(tensors["shape"].tolist())
    cases = some_cases(shape)
    for case, told in zip(cases, math_tab.evaluate(ASK, [file.stem, cases])):
        channel, (i, j), sigma = case
        row = torch.tensor(told["field"], dtype=torch.float64)
        exact = formula(tensors, probe(case, shape), sigma)
        assert (row - exact).abs().max() <= 1e-12 * (1 + exact.abs().max()), case
        if channel != "mean":
            other = wiener.row((channel, i, j), sigma)
            assert (row - other.flatten()).abs().max() < 1e-12
            error = wiener.row_error((channel, i, j), sigma)
            assert told["bound"] == pytest.approx(error, rel=1e-9, abs=1e-15)


def test_measures_agree_with_library(math_tab):
    """Radius, windows and mirror image, at borders and on the axis too."""
    generator = torch.Generator().manual_seed(1)
    shape, n = (3, 6, 7), 126
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    serve(math_tab, "random", compress(root[0], root @ root.T / n, n, shape))
    cases = [["mean", (i, j), 0.7] for i in (0, 3, 5) for j in range(7)]
    cases += [[1, (2, 6), 0.1]]
    for case, told in zip(cases, math_tab.evaluate(ASK, ["random", cases])):
        field = torch.tensor(told["field"], dtype=torch.float64).view(shape)
        _, pixel, _ = case
        assert told["together"] == pytest.approx(
            fields.channels(field, "sum").flatten().tolist(), abs=1e-15
        )
        radius = fields.effective_radius(field, pixel).item()
        assert told["radius"] == pytest.approx(radius, rel=1e-12)
        within = [fields.energy_within(field, pixel, k).item() for k in (1, 5, 63)]
        assert told["within"] == pytest.approx(within, rel=1e-12)
        mirror = [fields.mirror_energy(field, pixel, k).item() for k in (1, 3, 5)]
        assert told["mirror"] == pytest.approx(mirror, rel=1e-12, abs=1e-15)
        if pixel[1] == 3:
            assert told["mirror"] == [0, 0, 0]


@pytest.mark.parametrize(
    "moments, shape, ranks",
    [
        (toy_faces.moments(16), (1, 16, 16), (8, 30, 256)),
        (dead_leaves.moments(7, channels=3), (3, 7, 7), (20, 100, 147)),
    ],
    ids=["toy_faces", "dead_leaves"],
)
def test_bound_holds_for_the_whole_covariance(math_tab, moments, shape, ranks):
    """Against the exact filter: S = Sigma (Sigma + sigma^2 I)^-1, by a solver."""
    mu, cov = map(torch.from_numpy, moments)
    cases, ratios = some_cases(shape), []
    for r in ranks:
        serve(math_tab, f"rank{r}", compress(mu, cov, r, shape))
        for case, told in zip(cases, math_tab.evaluate(ASK, [f"rank{r}", cases])):
            noisy = cov + case[2] ** 2 * torch.eye(len(cov))
            exact = torch.linalg.solve(noisy, cov @ probe(case, shape))
            error = (torch.tensor(told["field"]) - exact).norm().item()
            assert error <= told["bound"] * (1 + 1e-9) + 1e-12, (r, case)
            ratios.append(error / told["bound"])
            assert r < len(cov) or error < 2e-4  # only the 16 bits are left
    assert max(ratios) > 0.1  # a bound, not a wall far away


def test_parse_reads_what_is_not_aligned(math_tab):
    """A header of odd length: typed arrays need copies."""
    header = {
        "a": {"dtype": "I16", "shape": [1, 3], "data_offsets": [0, 6]},
        "b": {"dtype": "F64", "shape": [2], "data_offsets": [6, 22]},
        "c": {"dtype": "I64", "shape": [1], "data_offsets": [22, 30]},
        "__metadata__": {"x": "y"},
    }
    text = json.dumps(header).encode() + b" "
    text += b" " * (1 - len(text) % 2)
    body = struct.pack("<3h", -1, 2, 32767) + struct.pack("<2dq", 0.1, -2.5, -7)
    raw = struct.pack("<Q", len(text)) + text + body
    found = math_tab.evaluate(
        """async bytes => {
      const { parse } = await import('/_static/field.mjs');
      const found = parse(new Uint8Array(bytes).buffer);
      return Object.entries(found).map(
        ([name, {shape, data}]) => [name, shape, [...data].map(Number)]);
    }""",
        list(raw),
    )
    assert found == [
        ["a", [1, 3], [-1, 2, 32767]],
        ["b", [2], [0.1, -2.5]],
        ["c", [1], [-7]],
    ]


def test_timestep_is_the_nearest(math_tab):
    sigmas = torch.logspace(-2.2, 2.2, 60, dtype=torch.float64)
    found = math_tab.evaluate(
        """async sigmas => (await import('/_static/field.mjs'), sigmas.map(
          (await import('/_static/field.mjs')).timestep))""",
        sigmas.tolist(),
    )
    steps = schedules.linear().sigma[1:].log()
    nearest = (steps[:, None] - sigmas.log()).abs().argmin(dim=0) + 1
    assert found == nearest.tolist()


def test_colours_are_those_of_the_figures(math_tab):
    from matplotlib import colormaps

    values = torch.linspace(-1, 1, 41).tolist()
    found = math_tab.evaluate(
        "async v => v.map((await import('/_static/field_view.mjs')).diverging)", values
    )
    figure = [colormaps["RdBu_r"]((v + 1) / 2, bytes=True)[:3] for v in values]
    for ours, theirs in zip(found, figure):
        assert ours == pytest.approx([int(c) for c in theirs], abs=3)


TIME = """
async name => {
  const f = await import('/_static/field.mjs');
  const moments = await f.load(name);
  const times = Array.from({length: 40}, (_, i) => {
    const v = f.output(moments, [i % moments.H, 5], 'mean');
    const begin = performance.now();
    f.field(moments, v, 0.1 + i / 10), f.bound(moments, v, 0.1 + i / 10);
    return performance.now() - begin;
  });
  return times.sort((a, b) => a - b)[20];
}
"""


def test_largest_set_is_quick(math_tab):
    largest = max(FILES, key=lambda file: file.stat().st_size)
    assert math_tab.evaluate(TIME, largest.stem) < 50  # a few, on a free machine


# ---- In the page ---------------------------------------------------------------------


def opened(visit, **options):
    seen = visit(**options)
    seen.tab.goto(seen.base + PAGE, wait_until="domcontentloaded")
    seen.tab.wait_for_selector(".explorer dd")
    return seen, seen.tab


@pytest.fixture(scope="module")
def field_page(browser, base):
    seen, _ = opened(lambda: Visit(browser, base))
    yield seen
    seen.context.close()


@pytest.fixture
def tab(field_page):
    """The explorer at one of its examples; one page for several tests."""
    press(field_page.tab, "An eye of a toy face")
    until(field_page.tab, "Toy faces, row")
    yield field_page.tab
    assert field_page.trouble == []


def press(tab, name):
    tab.get_by_role("button", name=name, exact=True).first.click()


def said(tab):
    return tab.locator(".explorer .summary").inner_text()


def until(tab, start):
    tab.locator(".explorer .summary", has_text=start).wait_for()


def fact(tab, name):
    return tab.locator(f".explorer dt:has-text('{name}') + dd").inner_text()


def numbers(text):
    text = text.replace("−", "-").replace(" × 10⁻", "e-")
    text = text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789"))
    return [float(n) for n in re.findall(r"-?\d[\d.]*(?:e-\d+)?", text)]


def test_eye_of_a_toy_face(tab):
    """What the page says is what the library says."""
    row, column, sigma = numbers(said(tab))[:3]
    assert sigma == 0.501
    pixel, sigma = (int(row), int(column)), 10**-0.3
    tensors = load_file(DATA / "moments/toy_faces.safetensors")
    wiener = Wiener.from_moments(tensors)
    field = wiener.row((0, *pixel), sigma)
    mirror = fields.mirror_energy(field, pixel, 3).item()
    assert mirror > 0.2  # the two eyes are alike
    for name, value in {
        "Value at": field[0, *pixel].item(),
        "Effective": fields.effective_radius(field, pixel).item(),
        "Energy within": 100 * fields.energy_within(field, pixel, 5).item(),
        "Energy near": 100 * mirror,
        "Error": wiener.row_error((0, *pixel), sigma),
    }.items():
        assert numbers(fact(tab, name))[0] == pytest.approx(value, rel=0.05), name
    picture = tab.locator(".explorer canvas >> visible=true").nth(1)
    low, high = numbers(picture.get_attribute("aria-label").split("from")[1])
    assert [low, high] == pytest.approx([field.min().item(), field.max().item()], 0.01)
    read = "c => [...c.getContext('2d').getImageData(0, 0, 32, 32).data]"
    colours = torch.tensor(picture.evaluate(read)).view(32, 32, 4)
    assert field.argmax() == torch.tensor(pixel[0] * 32 + pixel[1])
    assert colours[pixel].tolist() == [0x67, 0, 0x1F, 255]
    assert colours[0, 0].min() >= 0xF0


def test_pixel_by_keyboard_and_mouse(tab):
    mean = tab.get_by_role("application", name="Mean image")
    mean.focus()
    row, column = numbers(said(tab))[:2]
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
    assert numbers(said(tab))[:2] == [row + 1, column + 2]
    for place, expected in ((0.02, 0), (0.5, 16), (0.98, 31)):
        for picture in (mean, tab.locator(".explorer .raster >> visible=true").nth(1)):
            box = picture.bounding_box()
            tab.mouse.click(
                box["x"] + place * box["width"], box["y"] + place * box["height"]
            )
            assert numbers(said(tab))[:2] == [expected, expected]
    for key in ("ArrowDown", "ArrowRight"):  # the corner is an end
        mean.press(key)
    assert numbers(said(tab))[:2] == [31, 31]


def test_noise_by_keyboard(tab):
    slider = tab.get_by_role("slider", name="noise")
    assert slider.get_attribute("aria-valuetext") == "0.501, t = 145"
    within = fact(tab, "Energy within")
    slider.focus()
    tab.keyboard.press("Home")
    assert "σ = 0.0100" in said(tab) and fact(tab, "Energy within") != within
    tab.keyboard.press("End")
    assert "σ = 100" in said(tab)
    press(tab, "less: noise")
    assert "σ = 97.7" in said(tab)


def test_every_set_can_be_chosen(tab):
    for file in FILES:
        tab.get_by_label("Data set").select_option(file.stem)
        until(tab, f"{NAMES[file.stem]}, row")
        shape = load_file(file)["shape"].tolist()
        visible = tab.locator(".explorer canvas >> visible=true")
        assert visible.count() == (4 if shape[0] == 3 else 2)
        assert visible.last.evaluate("c => [c.height, c.width]") == shape[1:]
    assert {file.stem for file in FILES} == set(NAMES)


def test_colour_is_explicit(tab):
    press(tab, "Photographs")
    until(tab, "CIFAR-10, row")
    told = tab.locator(".explorer .results")
    assert "The output is green at the pixel" in told.inner_text()
    assert len(numbers(fact(tab, "Value at"))) == 3
    tab.get_by_label("Output channel").select_option("mean")
    assert "the mean of red, green and blue at the pixel" in told.inner_text()
    tab.get_by_label("Input channels").select_option("sum")
    assert "sum over the three input channels" in told.inner_text()
    wiener = Wiener.from_moments(load_file(DATA / "moments/cifar10.safetensors"))
    i, j = map(int, numbers(said(tab).split("row")[1])[:2])
    rows = [wiener.row((c, i, j), 10**0.5) for c in range(3)]
    value = sum(row[:, i, j].sum().item() for row in rows) / 3
    assert numbers(fact(tab, "Value at")) == [pytest.approx(value, rel=0.01)]
    top = tab.locator(".explorer .scale .numbers")
    before = numbers(top.inner_text())
    tab.get_by_label("Colours end at").select_option("4")
    assert numbers(top.inner_text())[2] == pytest.approx(before[2] / 4, rel=0.01)
    tab.get_by_label("Colours end at").select_option("1")
    press(tab, "An eye of a toy face")
    until(tab, "Toy faces, row")
    assert not tab.get_by_label("Output channel").is_visible()


def test_constant_pixel_has_no_field(tab):
    """A corner of the digits never changes: zero, said so, and no NaN."""
    tab.get_by_label("Data set").select_option("digits")
    until(tab, "Digits")
    for _ in range(4):
        for key in ("ArrowUp", "ArrowLeft"):
            tab.get_by_role("application").press(key)
    assert "the field is 0" in said(tab)
    assert "NaN" not in tab.locator(".explorer").inner_text()


def test_failing_and_slow_fetches(visit):
    """A failure is said, and can be tried again; of two sets the last choice wins."""
    seen, tab = opened(visit)
    chosen = tab.get_by_label("Data set").select_option
    held = []
    tab.route("**/moments/digits.safetensors", lambda r: r.fulfill(status=503))
    tab.route("**/moments/afhq_cat32.safetensors", lambda r: r.abort())
    tab.route("**/moments/cifar10.safetensors", lambda r: held.append(r))
    for name in ("digits", "afhq_cat32"):
        chosen(name)
        until(tab, f"moments of {NAMES[name]} could not be fetched")
        assert not tab.locator(".explorer .results").is_visible()
    tab.unroute("**/moments/digits.safetensors")
    chosen("digits")
    until(tab, "Digits, 8 × 8, row")
    assert tab.locator(".explorer .results").is_visible()
    chosen("cifar10")
    tab.get_by_role("slider", name="noise").press("Home")
    tab.get_by_role("application").press("ArrowDown")
    assert said(tab).startswith("Fetching the moments of CIFAR-10")
    chosen("toy_faces")
    until(tab, "Toy faces, row")
    with tab.expect_response("**/cifar10.safetensors"):
        held[0].continue_()
    tab.wait_for_timeout(200)
    assert said(tab).startswith("Toy faces")
    assert not [t for t in seen.trouble if t.startswith("error")]


NAMELESS = """
[...document.querySelectorAll('.explorer :is(button, input, select)')].filter(
  e => !e.textContent.trim() && !e.labels?.length && !e.ariaLabel).length
"""


def test_telephone_and_theme(visit):
    """No overflow, names for all, and text that stands out in both themes."""
    seen, tab = opened(visit, width=360)
    press(tab, "Photographs")
    until(tab, "CIFAR-10, row")
    tab.get_by_role("slider", name="noise").press("Home")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    wide = """[...document.querySelectorAll('.explorer, .explorer *')].filter(
        e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML)"""
    assert tab.evaluate(wide) == []
    assert tab.locator('.explorer canvas:not([role="img"][aria-label])').count() == 0
    assert tab.evaluate(NAMELESS) == 0
    assert tab.locator('.explorer .summary[aria-live="polite"]').count() == 1
    text = ".explorer :is(p, b, label, output, button, select, dt, dd, span)"
    for theme in ("light", "dark"):
        tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        assert [(c, e) for c, e in tab.evaluate(CONTRAST, text) if c < 4.5] == []
    assert seen.trouble == []


def test_without_javascript_the_figure_stands_in(visit):
    seen = visit(java_script_enabled=False)
    seen.tab.goto(seen.base + PAGE)
    host = seen.tab.locator('.explorer[data-explorer="field"]')
    notice = host.evaluate("e => getComputedStyle(e, '::before').content")
    assert "needs JavaScript" in notice and "figure below" in notice
    assert host.locator("xpath=following::figure").first.is_visible()
    assert host.inner_html() == ""

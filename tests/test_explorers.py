"""The explorers: their mathematics against the library, and their use in the pages."""

import itertools
import math
import random
import re
from fractions import Fraction

import pytest
import torch
from browser import CONTRAST, Visit

from helpers import board, mixtures, sampling, schedules
from helpers.forward import posterior_variance, step_variance

BOARD, POINTS = "notebooks/07_board_game.html", "notebooks/08_posterior_mean.html"
EXPLORERS = {BOARD: "board", POINTS: "two-point"}


@pytest.fixture(scope="module")
def math_tab(browser, base):
    """An empty page of the site, in which the modules can be imported."""
    tab = browser.new_page()
    tab.goto(base + "_static/favicon.svg")
    yield tab
    tab.close()


# ---- The board game: the same fractions as helpers.board -----------------------------

ASK = """
async (cases) => {
  const b = await import('/_static/board.mjs');
  const shares = p => Object.fromEntries(
    [...b.probabilities(p)].map(([x, share]) => [x, b.text(share)]));
  return cases.map(({starts, spinner, turns, square, at, list}) => {
    const game = {starts: b.law(starts), spinner: b.law(spinner)};
    try {
      const last = b.lastSpin(game, square, turns);
      const mass = list && [...b.histories(game, square, turns)];
      const all = list && mass.reduce((sum, h) => sum + h.weight, 0n);
      return {
        last: shares(last), previous: shares(b.previous(game, square, turns)),
        start: shares(b.start(game, square, turns)),
        earlier: shares(b.earlier(game, square, turns, at)),
        total: shares(b.total(game.spinner, turns)),
        squares: shares(b.squares(game, turns)),
        mean: b.text(b.mean(last)), variance: b.text(b.variance(last)),
        means: b.reverseMean(game, square, turns).map(b.text),
        count: String(b.count(game, square, turns)), entropy: b.entropy(last),
        histories: list && mass.map(
          h => [h.start, h.spins, b.text(b.fraction(h.weight, all))]),
      };
    } catch (error) {
      if (error instanceof b.Unreachable) return null;
      throw error;
    }
  });
}
"""


def shares(p):
    return {str(x): str(weight) for x, weight in p.items()}


def as_law(pairs):
    mass = sum(weight for _, weight in pairs)
    return board.law({x: Fraction(weight, mass) for x, weight in pairs})


def answer(case):
    """What helpers.board says of a case, in the form of ASK; None if unreachable."""
    game = board.Game(as_law(case["starts"]), as_law(case["spinner"]))
    turns, square = case["turns"], case["square"]
    try:
        last = board.last_spin(game, square, turns)
    except board.Unreachable:
        return None
    told = board.histories(game, square, turns) if case["list"] else {}
    return {
        "last": shares(last),
        "previous": shares(board.previous(game, square, turns)),
        "start": shares(board.start(game, square, turns)),
        "earlier": shares(board.earlier(game, square, turns, case["at"])),
        "total": shares(board.total(game.spinner, turns)),
        "squares": shares(board.squares(game, turns)),
        "mean": str(board.mean(last)),
        "variance": str(board.variance(last)),
        "means": [str(m) for m in board.reverse_mean(game, square, turns)][::-1],
        "count": str(board.count(game, square, turns)),
        "entropy": pytest.approx(board.entropy(last), abs=1e-12),
        "histories": case["list"]
        and [[x, list(spun), str(p)] for (x, spun), p in told.items()],
    }


def case(starts, turns, square, spinner=None, at=0, few=True):
    spinner = spinner or [(s, 1) for s in range(1, 11)]
    pairs = [s if isinstance(s, tuple) else (s, 1) for s in starts]
    return {
        "starts": pairs,
        "spinner": spinner,
        "turns": turns,
        "square": square,
        "at": at,
        "list": few and turns <= 3,
    }


def random_case(rng):
    """Up to 20 starts and 40 turns; half the priors and spinners are not uniform."""
    most_spin, most_prior = rng.choice([1, 9]), rng.choice([1, 9])
    sides = rng.choice([range(1, 11), range(1, 7), [1, 10], [2, 3, 7], range(-2, 4)])
    starts = rng.sample(range(-5, 60), rng.randint(1, 20))
    turns = rng.choice([1, 2, 3, rng.randint(4, 12), rng.randint(13, 40)])
    reached = rng.choice(starts) + sum(rng.choices(list(sides), k=turns))
    square = reached + rng.choice([0, 0, 0, 0, rng.randint(-9, 9)])
    pairs = [(x, rng.randint(1, most_prior)) for x in starts]
    spinner = [(s, rng.randint(1, most_spin)) for s in sides]
    return case(pairs, turns, square, spinner, rng.randint(0, turns), len(starts) < 4)


def test_board_agrees_with_library(math_tab):
    rng = random.Random(7)
    cases = [random_case(rng) for _ in range(50)]
    cases.append(case(range(0, 60, 3), 40, 230, at=20))
    found = math_tab.evaluate(ASK, cases)
    for each, told in zip(cases, found):
        assert told == answer(each), each
    assert 25 < sum(told is not None for told in found) < len(found)
    assert sum(bool(told and told["histories"]) for told in found) >= 5


def test_board_textbook_cases(math_tab):
    three, eleven, near, far, none = math_tab.evaluate(
        ASK,
        [
            case([0], 2, 18),
            case([0], 2, 11),
            case([0, 10], 2, 18),
            case([0, 40], 2, 18),
            case([0], 2, 1),
        ],
    )
    third = dict.fromkeys(["8", "9", "10"], "1/3")
    assert three["last"] == far["last"] == three["previous"] == third
    assert three["histories"] == [[0, [s, 18 - s], "1/3"] for s in (8, 9, 10)]
    assert (three["mean"], three["variance"]) == ("9", "2/3")
    assert three["entropy"] == pytest.approx(math.log2(3))
    uniform = {str(s): "1/10" for s in range(1, 11)}
    assert eleven["last"] == near["last"] == uniform
    assert near["start"] == {"0": "3/10", "10": "7/10"} and near["means"][0] == "7"
    assert near["mean"] == "11/2" and none is None


TIME = """
async () => {
  const b = await import('/_static/board.mjs');
  const { uniforms } = await import('/_static/random.mjs');
  const [random, spinner] = [uniforms(3), b.uniform(b.range(1, 10))];
  return Array.from({length: 40}, () => {
    const starts = new Set();
    while (starts.size < 20) starts.add(Math.floor(60 * random()));
    const game = {starts: b.uniform(starts), spinner};
    const square = b.play(game, 40, random, 1)[0][40];
    const begin = performance.now();
    b.lastSpin(game, square, 40), b.start(game, square, 40);
    b.count(game, square, 40), b.reverseMean(game, square, 40);
    for (let i = 0; i < 8; i++) b.reverse(game, square, 40, random);
    return performance.now() - begin;
  });
}
"""


def test_board_is_quick(math_tab):
    """20 new starts, 40 turns, exactly: no more than a frame or two."""
    assert sorted(math_tab.evaluate(TIME))[20] < 50


def test_reverse_walks_follow_the_posterior(math_tab):
    """Drawn step by step, walks end on a start as often as Bayes' rule says."""
    ends = math_tab.evaluate("""async () => {
      const b = await import('/_static/board.mjs');
      const { uniforms } = await import('/_static/random.mjs');
      const random = uniforms(5);
      const game = {starts: b.uniform([0, 10]), spinner: b.uniform(b.range(1, 10))};
      return Array.from({length: 4000}, () => b.reverse(game, 18, 2, random)[0]);
    }""")
    assert set(ends) == {0, 10}
    assert ends.count(10) / 4000 == pytest.approx(0.7, abs=4 * (0.21 / 4000) ** 0.5)


# ---- Two points: the same numbers as the library -------------------------------------


def test_schedule_agrees_with_library(math_tab):
    found = math_tab.evaluate("""async () => {
      const two = await import('/_static/two_point.mjs');
      const { beta, alphaBar, noise, snr } = two.linear();
      return { beta, alphaBar, noise, snr: snr.slice(1) };
    }""")
    schedule = schedules.linear()
    for name, value in (
        ("beta", schedule.beta),
        ("alphaBar", schedule.alpha_bar),
        ("noise", schedule.noise_variance),
        ("snr", schedule.snr[1:]),
    ):
        told = torch.tensor(found[name], dtype=value.dtype)
        assert len(told) == len(value) and torch.allclose(told, value, 1e-12, 0), name


CASES = list(itertools.product((1, 2, 100, 250, 500, 750, 1000), (-2.3, 0.1, 0.5)))


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_posterior_agrees_with_mixture(math_tab, p):
    found = math_tab.evaluate(
        """async ([cases, p]) => {
      const two = await import('/_static/two_point.mjs');
      const s = two.linear();
      return cases.map(([t, x]) => [two.posteriorMean(x, t, s, p),
        two.plus(x, t, s, p), two.score(x, t, s, p), two.density(x, t, s, p)]);
    }""",
        [CASES, p],
    )
    schedule, mixture = schedules.linear(), mixtures.two_point(p)
    for (t, x), (mean, plus, score, density) in zip(CASES, found):
        keep = schedule.alpha_bar[t].sqrt()
        scaled = (
            torch.full((1, 1, 1, 1), x, dtype=keep.dtype) / keep,
            schedule.sigma[t],
        )
        assert mean == pytest.approx(mixture(*scaled).item(), rel=1e-12)
        assert 2 * plus - 1 == pytest.approx(mean, abs=1e-12)
        assert score == pytest.approx((mixture.score(*scaled) / keep).item(), rel=1e-11)
        log = mixture.log_density(*scaled).item() - keep.log().item()
        assert density == pytest.approx(math.exp(log), rel=1e-11, abs=1e-300)
    if p == 0.5:
        at = [found[CASES.index((t, 0.5))][0] for t in (250, 500, 750)]
        assert at == pytest.approx([0.64141544670, 0.15095926308, 0.02903110724])


WALK = """
async ([x, t, stride, noise, larger]) => {
  const two = await import('/_static/two_point.mjs');
  const s = two.linear(), times = two.timesFrom(t, stride);
  const variance = larger ? two.stepVariance : two.posteriorVariance;
  return [two.ddim(x, times, s),
          two.ancestral(x, times, s, at => noise[at], 0.5, variance)];
}
"""


@pytest.mark.parametrize("t, stride, larger", [(1000, 10, False), (437, 1, True)])
def test_paths_agree_with_samplers(math_tab, t, stride, larger):
    z = torch.randn(1001, generator=torch.Generator().manual_seed(8)).double()
    found = math_tab.evaluate(WALK, [0.5, t, stride, z.tolist(), larger])
    grid = list(range(1, t, stride))[::-1]
    times, schedule, model = [t, *grid], schedules.linear(), mixtures.two_point()
    x, steps = torch.full((1, 1, 1, 1), 0.5, dtype=z.dtype), iter(times)
    variance = step_variance if larger else posterior_variance
    walks = (
        sampling.ddim(model, x, schedule, times),
        sampling.ancestral(
            model, x, schedule, lambda x: z[next(steps)] + 0 * x, times, variance
        ),
    )
    for points, walk in zip(found, map(list, walks)):
        expected = [[step.t, step.xt.item()] for step in walk]
        assert points[:-1] == [[s, pytest.approx(v, abs=1e-9)] for s, v in expected]
        assert points[-1] == [0, pytest.approx(walk[-1].x0_hat.item(), abs=1e-9)]
        assert abs(points[-1][1]) == pytest.approx(1, abs=1e-6)


def test_ends_of_paths(math_tab):
    """DDIM follows the sign; ancestral paths end on +1 as often as they should."""
    ends, share, exact = math_tab.evaluate("""async () => {
      const two = await import('/_static/two_point.mjs');
      const { gaussians } = await import('/_static/random.mjs');
      const s = two.linear(), gauss = gaussians(4), times = two.timesFrom(400);
      const ends = [];
      for (const stride of [1, 10]) for (const t of [1000, 600, 250, 3])
        for (const x of [-3, -0.5, -0.01, 0.01, 0.5, 3])
          ends.push([x, two.ddim(x, two.timesFrom(t, stride), s).at(-1)[1]]);
      const many = Array.from({length: 1000}, () =>
        two.ancestral(0.5, times, s, gauss).at(-1)[1]);
      return [ends, many.filter(x => x > 0).length / 1000, two.plus(0.5, 400, s)];
    }""")
    for x, end in ends:
        assert end == pytest.approx(math.copysign(1, x), abs=1e-3), x
    assert share == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 1000) ** 0.5)


# ---- In the pages --------------------------------------------------------------------


def opened(visit, page, **options):
    """A page with its explorer; the rest of the page is the matter of test_site."""
    seen = visit(**options)
    seen.tab.goto(seen.base + page, wait_until="domcontentloaded")
    seen.tab.wait_for_selector(".explorer svg")
    return seen, seen.tab


@pytest.fixture(scope="module")
def board_page(browser, base):
    seen, _ = opened(lambda: Visit(browser, base), BOARD)
    yield seen
    seen.context.close()


@pytest.fixture
def game_tab(board_page):
    """The board game at its first example; one page for several tests."""
    press(board_page.tab, "2 turns, square 18")
    yield board_page.tab
    assert board_page.trouble == []


def press(tab, name):
    tab.get_by_role("button", name=name).first.click()


def said(tab):
    return tab.locator(".explorer .summary").inner_text()


def ends(tab):
    return {
        float(e)
        for e in tab.locator(".walk").evaluate_all("w => w.map(e => e.dataset.end)")
    }


def test_board_examples(game_tab):
    tab = game_tab
    assert "3 histories" in said(tab) and "8, 9 or 10" in said(tab)
    assert tab.locator(".histories li").all_inner_texts() == [
        "0 + 8 + 10: 1/3",
        "0 + 9 + 9: 1/3",
        "0 + 10 + 8: 1/3",
    ]
    press(tab, "nothing learned")
    assert "says nothing" in said(tab)
    press(tab, "Two starts 10 apart")
    assert "says nothing" in said(tab)
    told = tab.locator(".explorer dl").inner_text()
    assert "11/2 = 5.5, which is no possible spin" in told
    assert "7, which is no possible start" in told
    press(tab, "Two starts 40 apart")
    assert "8, 9 or 10" in said(tab)
    press(tab, "10 turns")
    assert "square 55" in said(tab) and tab.locator(".histories li").count() == 0
    press(tab, "20 starts")
    assert "says nothing" in said(tab)
    tab.get_by_role("slider", name="Turns").press("End")
    tab.get_by_role("slider", name="Square of the piece").fill("230")
    assert "4.2 × 10³⁹ histories" in said(tab) and "not all are equally" in said(tab)


def test_board_by_keyboard(game_tab):
    """The square, the turns and the starts, without a mouse."""
    tab = game_tab
    square = tab.get_by_label("Square of the piece")
    square.focus()
    tab.keyboard.press("ArrowRight")
    assert "square 19" in said(tab) and "2 histories" in said(tab)
    tab.keyboard.press("Home")
    assert "No game from these starts is on square 0" in said(tab)
    assert "from 2 to 20" in said(tab)
    assert not tab.locator(".explorer .results").is_visible()
    press(tab, "2 turns, square 18")
    tab.get_by_role("button", name="square 0").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowRight", "Space"):
        tab.keyboard.press(key)
    chosen = tab.locator('.board [aria-pressed="true"]').all_inner_texts()
    assert chosen == ["0", "2"] and "square 18" in said(tab)
    tab.locator(".weights summary").press("Enter")
    # not the square of the board: while the list unfolds it is the last of that name
    tab.locator(".weights").get_by_label("square 2", exact=True).fill("3")
    tab.keyboard.press("Enter")
    assert "5/6" in tab.locator(".panels").inner_text()
    tab.get_by_role("slider", name="Turns").focus()
    tab.keyboard.press("Home")
    assert "No game" in said(tab)
    tab.get_by_role("slider", name="Square of the piece").press("Home")
    assert "Nobody has spun yet" in said(tab)


def test_games_that_are_kept_stand_on_the_square(game_tab):
    tab = game_tab
    tab.locator(".exact summary").click()
    for number in ("1\u202f000", "2\u202f000"):
        press(tab, "Play 1000 games")
        told = tab.locator(".kept").inner_text()
        assert told.startswith(f"Of {number} games")
    kept = int(re.search(r"games, (\d+) stand", told)[1])
    rows = tab.locator(".explorer tbody tr").evaluate_all(
        "r => r.map(e => [...e.children].map(c => c.textContent))"
    )
    for name in ("Last spin", "Previous square", "Start"):
        assert sum(int(row[4]) for row in rows if row[0] == name) == kept
    spins = [(int(row[1]), int(row[4])) for row in rows if row[0] == "Last spin"]
    mean = sum(spin * n for spin, n in spins) / kept
    assert f"answers {mean:.3f}; the exact mean is 9" in told
    assert tab.locator(".explorer circle.played").count() > 0
    press(tab, "10 turns")
    assert tab.locator(".kept").inner_text() == ""


def test_walks_back_end_on_starts_and_the_mean_does_not(game_tab):
    tab = game_tab
    press(tab, "Two starts 10 apart")
    found = set()
    for _ in range(6):
        press(tab, "Go back again")
        assert ends(tab) <= {0, 10}
        found |= ends(tab)
    assert found == {0, 10}
    label = tab.locator(".walks svg").get_attribute("aria-label")
    assert label.endswith("the mean of all walks is a straight line to 7")


def test_point_by_keyboard_and_mouse(visit):
    seen, tab = opened(visit, POINTS)
    assert "t = 400" in said(tab) and "+0.50" in said(tab)
    plane = tab.locator("[data-plane]")
    plane.focus()
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowUp")
    assert "t = 390" in said(tab) and "+0.55" in said(tab)
    box = plane.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7)
    tab.mouse.up()
    time = int(re.search(r"t = (\d+)", said(tab))[1])
    assert 500 < time < 650 and "the value −" in said(tab)
    tab.get_by_label("the noisy value").focus()
    tab.keyboard.press("End")
    assert "+3.00" in said(tab)
    assert seen.trouble == []


def test_paths_end_on_data_and_the_mean_does_not(visit):
    seen, tab = opened(visit, POINTS)
    tab.wait_for_selector("polyline.walk")
    close = {-1.0: 1e-3, 1.0: 1e-3}
    shapes = set()
    for _ in range(3):
        assert {round(e) for e in ends(tab)} == {-1, 1}
        assert all(abs(e - round(e)) < close[round(e)] for e in ends(tab))
        shapes.add(tab.locator(".walk").first.get_attribute("points"))
        press(tab, "New noise")
    assert len(shapes) == 3
    assert float(tab.locator(".ddim").get_attribute("data-end")) == pytest.approx(1)
    press(tab, "Send 1000 paths")
    share, exact = re.findall(r"([\d.]+) %", tab.locator(".tally").inner_text())[:2]
    assert float(share) == pytest.approx(float(exact), abs=7)
    assert seen.trouble == []


NAMELESS = """
[...document.querySelectorAll('.explorer :is(button, input, select)')].filter(
  e => !e.textContent.trim() && !e.labels?.length && !e.ariaLabel).length
"""


@pytest.mark.parametrize("page", EXPLORERS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_telephone_and_theme(visit, page, scheme):
    """No overflow, text stands out, names for all, and a new theme followed at once."""
    seen, tab = opened(visit, page, width=360, scheme=scheme)
    if page == BOARD:  # with the longest fractions
        press(tab, "20 starts")
        tab.get_by_role("slider", name="Turns").press("End")
        tab.get_by_role("slider", name="Square of the piece").fill("230")
        tab.locator(".exact summary").click()
        press(tab, "Play 1000 games")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    right = ".explorer, .explorer *:not(mask *)"
    wide = f"""[...document.querySelectorAll('{right}')].filter(
        e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML)"""
    assert tab.evaluate(wide) == []
    text = (
        ".explorer :is(p, b, label, output, button, select, text, td, th, dt, dd, li)"
    )
    assert [(c, e) for c, e in tab.evaluate(CONTRAST, text) if c < 4.5] == []
    assert tab.locator('.explorer svg:not([role="img"][aria-label])').count() == 0
    assert tab.evaluate(NAMELESS) == 0
    assert tab.locator('.explorer .summary[aria-live="polite"]').count() == 1
    fill = "getComputedStyle(document.querySelector('.explorer .bar')).fill"
    before = tab.evaluate(fill)
    other = {"light": "dark", "dark": "light"}[scheme]
    tab.evaluate(f"document.documentElement.dataset.theme = '{other}'")
    assert tab.evaluate(fill) != before
    assert seen.trouble == []


def test_motion_is_a_choice(game_tab):
    tab = game_tab
    press(tab, "Go back again")
    style = "getComputedStyle(document.querySelector('.walk')).animationName"
    for motion, name in (("no-preference", "explorer-draw"), ("reduce", "none")):
        tab.emulate_media(reduced_motion=motion)
        assert tab.evaluate(style) == name


@pytest.mark.parametrize("page", EXPLORERS)
def test_without_javascript_the_figure_stands_in(visit, page):
    seen = visit(java_script_enabled=False)
    seen.tab.goto(seen.base + page)
    host = seen.tab.locator(f'.explorer[data-explorer="{EXPLORERS[page]}"]')
    notice = host.evaluate("e => getComputedStyle(e, '::before').content")
    assert "needs JavaScript" in notice and "figure below" in notice
    assert host.locator("xpath=following::figure").first.is_visible()
    assert host.inner_html() == ""

"""Time of the exact posteriors of the board game, in Python and in the page.

    python benchmarks/board_game.py [--games 40]

Random games with 20 starts and 40 turns. Python: the last spin, the previous square,
the start and the number of histories, with an empty cache; the goal is 50 ms. The
browser (Chromium, and the built site): the explorer of chapter 7 with such a game, the
scripts, styles and layout between a moved slider and a page that is laid out again; the
goal is 16 ms. Times are processor times of the one thread that works, so that other
programs disturb little.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from helpers import board

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))
STARTS, TURNS = 20, 40
PARTS = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")


def report(name, times, goal):
    """Median, and the slowest of the games."""
    median, worst = statistics.median(times), max(times)
    print(f"{name:36s} median {median:6.1f} ms, worst {worst:6.1f} ms, goal {goal} ms")


def python_times(games, rng):
    """Milliseconds for all four answers about one game."""
    times = []
    for _ in range(games):
        starts = rng.choice(200, STARTS, replace=False).tolist()
        game = board.Game(board.uniform(starts))
        square = int(board.play(game, TURNS, rng, 1)[0, -1])
        board.spins.cache_clear()
        begin = time.process_time()
        for ask in (board.last_spin, board.previous, board.start, board.count):
            ask(game, square, TURNS)
        times.append(1000 * (time.process_time() - begin))
    return times


MOVE = """([slider, value]) => {
  const input = document.querySelectorAll('.explorer input[type=range]')[slider];
  input.value = value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
  document.body.offsetHeight;  // lays the page out again
}"""


def explorer(browser, address):
    """The explorer with 20 starts and 40 turns, on a square that can be reached."""
    tab = browser.new_page()
    tab.goto(f"{address}notebooks/07_board_game.html")
    tab.get_by_role("button", name="20 starts in a row").click()
    tab.evaluate(MOVE, [0, TURNS])
    tab.evaluate(MOVE, [1, 230])
    assert tab.locator(".explorer .results").is_visible()
    return tab


def browser_times(games):
    """Milliseconds of the main thread of the page for one move of a slider."""
    import chromium

    times = []
    with (
        chromium.served(ROOT / "_build" / "html") as address,
        chromium.started(chromium.path()) as browser,
    ):
        tab = explorer(browser, address)
        devtools = tab.context.new_cdp_session(tab)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent():
            found = devtools.send("Performance.getMetrics")["metrics"]
            found = {m["name"]: m["value"] for m in found}
            return sum(found[name] for name in PARTS)

        for k in range(games):
            begin = spent()
            tab.evaluate(MOVE, [1, 231 + k % 2])
            times.append(1000 * (spent() - begin))
    return times


def main(games):
    rng = np.random.default_rng(0)
    python_times(2, rng)  # the first calls load things
    report("Python, four answers", python_times(games, rng), 50)
    report("page, one move of a slider", browser_times(games), 16)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=40)
    main(parser.parse_args().games)

"""Tables and estimates as text."""

import math

import pytest
from bs4 import BeautifulSoup

from helpers import tables


def test_cells_stand_below_their_heads():
    text = tables.table(["net", "σ", "error"], [["MLP", 1, "<i>2</i>"], ["DiT", 3, 4]])
    page = BeautifulSoup(text, "html.parser")  # adds nothing that is missing
    rows = [[c.get_text() for c in r.find_all(["th", "td"])] for r in page("tr")]
    assert rows == [["net", "σ", "error"], ["MLP", "1", "2"], ["DiT", "3", "4"]]
    assert [c["scope"] for c in page("th")] == ["col"] * 3 + ["row"] * 2
    assert str(page) == text and page.i.get_text() == "2"


def test_table_without_rows_has_its_heads():
    assert tables.table(["a", "b"], []).count("<th") == 2 + 1  # and the <thead>


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ((0.979, 0.765, 1.19), "0.98 (0.77 to 1.19)"),
        ((-0.000667, -0.0107, 0.00937), "−0.001 (−0.011 to 0.009)"),
        ((47.2, 5.13, 89.4), "47 (5 to 89)"),
        ((1234.5, -500.0, 3000.0), "1234 (−500 to 3000)"),
        ((0.25, 0.25, 0.25), "0.25 (0.25 to 0.25)"),
    ],
)
def test_decimals_are_those_of_the_interval(span, said):
    found = tables.estimate(span)
    assert found.replace("\u00a0", " ") == said and found.count(" ") == 1


def test_sign_is_shown_when_asked():
    found = tables.estimate((0.32, -0.1, 0.74), "+")
    assert found == "+0.32 (−0.10\u00a0to\u00a0+0.74)"


def test_half_the_length_keeps_two_digits():
    for scale in (1e-4, 0.03, 0.999, 1.0, 7.0, 99.4):
        low = tables.estimate((0.0, -scale, scale)).split("−")[1].split()[0]
        assert math.isclose(float(low), scale, rel_tol=0.05), (low, scale)

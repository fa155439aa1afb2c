"""Tables and estimates as the cells of the chapters show them."""

import math
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table in HTML, for `IPython.display.HTML`.

    The first cell of each row is its head; words may have markup of their own.
    """
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    lines = [
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in rest)
        for first, *rest in rows
    ]
    body = "</tr>".join(lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tr></tbody></table>"


def estimate(span: Sequence[float], sign: str = "") -> str:
    """`0.98 (0.77 to 1.19)`: (value, low, high) of an estimate as text.

    All three have the decimals that show half the length of the interval with two
    digits, and true minus signs. With `sign="+"` positive numbers have a plus. No line
    breaks within the brackets, whose blanks are U+00A0.
    """
    _, low, high = span
    half = (high - low) / 2
    places = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 2
    value, low, high = (f"{number:{sign}.{places}f}" for number in span)
    return f"{value} ({low}\u00a0to\u00a0{high})".replace("-", "−")

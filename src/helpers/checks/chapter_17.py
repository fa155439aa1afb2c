"""Checks of the exercises of chapter 17, the claims."""

import json
import string

import numpy as np
import torch
import yaml

from helpers import data, paths
from helpers.checks import Property, close, given
from helpers.metrics import pearson, r2_score


def exercise_1(with_words):
    """with_words(claims, verdict, words): ids of the claims that have one of them."""
    rows = ("No GPU here.", "nets are small", "the NET", "A network.", "Not given")
    claims = [
        {"id": i, "verdict": v, "why": w, "statement": "a GPU net"}
        for i, w in enumerate(rows)
        for v in ("out of reach", "false")
    ]
    claims = [c for c in claims if c["verdict"] == "out of reach" or c["id"] == 1]
    yield Property(
        "other verdicts are left out",
        sorted(with_words(claims, "false", ["nets", "GPU"])) == [1],
        ("Each claim has a key `verdict`.",),
    )
    yield Property(
        "only the reason counts, and only whole words in it",
        sorted(with_words(claims, "out of reach", ["gpu", "net"])) == [0, 2],
        ("A regular expression knows borders of words.", "The reason is `why`."),
    )
    both = with_words(claims, "out of reach", ["small", "nets", "given"])
    yield Property(
        "one of the words is enough, and no claim comes twice",
        sorted(both) == [1, 4],
        ("Any of them, not all.",),
    )


def exercise_2(inception_score):
    """inception_score(p): a number, for p (images, classes)."""
    yield Property(
        "three classes that are equally frequent and recognised give exactly 3",
        close(inception_score(torch.eye(3).repeat(4, 1)), 3),
        (
            "A probability of 0 adds nothing: p log p is 0 there.",
            "Logarithm and exponential must be of the same kind.",
        ),
    )
    rng = np.random.default_rng(172)
    rows = rng.dirichlet(np.ones(5))
    yield Property(
        "images that all look alike give 1",
        close(inception_score(torch.tensor(rows).expand(20, 5)), 1),
        ("The image then says nothing that is not known before.",),
    )
    yield Property(
        "of sure answers it is what their frequencies give",
        close(inception_score(torch.eye(2)[[0, 0, 0, 1]]), 4 / 3**0.75),
        ("The exponential of an entropy, if each answer is sure.",),
    )
    p = torch.tensor(rng.dirichlet(np.full(6, 0.4), size=40))
    information = (p * (p / p.mean(0)).log()).sum(1).mean()
    yield Property(
        "of unsure answers, too, it follows from the divergence to the mean",
        close(inception_score(p), information.exp()),
        ("Of each row from the mean row: which of them takes the expectation?",),
    )


def exercise_3(on_a_gap):
    """on_a_gap(first, second, d): "holds", "fails" or "open"."""
    yield Property(
        "it is certain where intervals are short",
        on_a_gap((1.0, 1.01), (1.02, 1.03), 0.1) == "holds"
        and on_a_gap((1.0, 1.01), (1.52, 1.53), 0.1) == "fails",
        ("How large, how small can the difference be?",),
    )
    yield Property(
        "a second number that is smaller holds, whatever its size",
        on_a_gap((2.0, 2.1), (0.0, 0.1), 0.05) == "holds",
        ("Second less first, not the distance of the two.",),
    )
    yield Property(
        "it stays open if one end decides otherwise than the other",
        on_a_gap((1.0, 1.2), (1.1, 1.3), 0.25) == "open"
        and on_a_gap((1.0, 1.2), (1.1, 1.3), 0.0) == "open",
        (
            "The high end of the one belongs to the low end of the other.",
            "Intervals that overlap decide nothing by that alone.",
        ),
    )
    yield Property(
        "just at the limit it still holds",
        on_a_gap((1.0, 1.25), (1.25, 1.5), 0.5) == "holds"
        and on_a_gap((1.0, 1.25), (1.5, 1.75), 0.25) == "open",
        ("At most d: d itself is allowed.",),
    )


def exercise_4(error_in_grey_levels):
    """error_in_grey_levels(mse, r2, usual): root mean square error, 0 to 255."""
    two = [error_in_grey_levels(mse, 0.9, 0.2) for mse in (0.004, 0.016)]
    yield Property(
        "the same images have the same error in both units",
        close(*two),
        ("From 0 to 1 a variance is a quarter of that from -1 to 1.",),
    )
    grey = np.random.default_rng(174).integers(60, 200, size=(2, 5000))
    off = float(np.sqrt(np.mean((grey[0] - grey[1]) ** 2.0)))
    r2 = 1 - off**2 / grey[1].var()
    found = [error_in_grey_levels((off / k) ** 2, r2, 0.15) for k in (255, 127.5)]
    yield Property(
        "for images of grey levels it is what the levels themselves give",
        close(found, [off, off]),
        (
            "R^2 may be below 0: the variance is what matters.",
            "A step of one grey level is 1 / 255 or 1 / 127.5.",
        ),
    )
    edge = [error_in_grey_levels(s**2 * 0.1, 0.9, 0.25) for s in (0.34, 0.37)]
    yield Property(
        "the border lies where both units are equally far from usual, as a ratio",
        close(edge[0] / edge[1], 2 * 0.34 / 0.37),
        ("Half as much as usual and twice as much are equally far.",),
    )


def exercise_5(best_with):
    """best_with(r, u): an image of correlation r with u and the largest R^2."""
    digits = data.load("digits")[:3].double()
    cases = [(r, u[None]) for u in digits for r in (0.3, 0.95)]
    found = [torch.as_tensor(best_with(r, u)).double() for r, u in cases]
    yield Property(
        "it is an image like the given one, with the correlation that was asked for",
        all(
            a.shape == u.shape and close(pearson(a, u), [r])
            for a, (r, u) in zip(found, cases)
        ),
        (
            "Along u and across it: the share along is r.",
            "What is across must be orthogonal to u less its mean, and have no mean.",
        ),
    )
    yield Property(
        "its brightness is that of u",
        all(close(a.mean(), u.mean()) for a, (_, u) in zip(found, cases)),
        ("Which offset has the least squared error?",),
    )
    changes = [1 + d for d in (-1e-3, 1e-3)]
    yield Property(
        "more or less contrast makes R^2 smaller",
        all(
            r2_score(u.mean() + k * (a - a.mean()), u) < r2_score(a, u)
            for a, (_, u) in zip(found, cases)
            for k in changes
        ),
        ("Is there a contrast for which (r - q)^2 is zero?",),
    )


KEYS = {"id", "source", "where", "statement", "chapter", "results", "verdict", "why"}
VERDICTS = {"reproduced", "not reproduced", "unsupported", "false", "out of reach"}


def exercise_6(claim):
    """claim: a dictionary, a row as in data/claims.yml."""
    claim = given(claim)
    yield Property(
        "it is a dictionary with the eight keys of a row",
        isinstance(claim, dict) and set(claim) == KEYS,
        ("The head of data/claims.yml names them.",),
    )
    rows = yaml.safe_load((paths.DATA / "claims.yml").read_text())
    yield Property(
        "its id and its statement are not in the table",
        claim["id"] not in [row["id"] for row in rows]
        and claim["statement"] not in [row["statement"] for row in rows],
        ("Choose another id, and a claim that is new.",),
    )
    yield Property(
        "statement, place and reason are said in words, and the verdict is one of five",
        claim["verdict"] in VERDICTS
        and all(len(str(claim[key])) > 20 for key in ("statement", "why"))
        and len(str(claim["where"])) > 3,
        ("A sentence each.",),
    )
    stored = paths.DATA / "results" / "reference" / "laptop.json"
    stored = json.loads(stored.read_text())
    known = stored.get(claim["chapter"], {})
    yield Property(
        "the chapter has the results that it names",
        claim["chapter"] in stored and set(claim["results"]) <= set(known),
        ("Look for the name in the list of all results.",),
    )
    yield Property(
        "a claim that is reproduced names a result",
        claim["verdict"] != "reproduced" or len(claim["results"]) > 0,
        ("What was measured?",),
    )


def exercise_7(seal):
    """seal(protocol): 64 hexadecimal digits."""
    protocol = {"data": "digits", "seeds": [0, 1], "net": {"width": 32, "depth": 2}}
    turned = {"net": {"depth": 2, "width": 32}, "seeds": [0, 1], "data": "digits"}
    found = seal(protocol)
    yield Property(
        "it has 64 hexadecimal digits, each time the same",
        isinstance(found, str)
        and len(found) == 64
        and set(found) <= set(string.hexdigits)
        and found == seal(dict(protocol)),
        ("`hashlib.sha256(...).hexdigest()` has as many.",),
    )
    yield Property(
        "the order of the keys does not matter, inside either",
        seal(turned) == found,
        ("Spell the protocol in one agreed way first: `json.dumps` can sort keys.",),
    )
    changed = [
        protocol | {"seeds": [1, 0]},
        protocol | {"seeds": "[0, 1]"},
        protocol | {"net": {"width": 32, "depth": 3}},
        protocol | {"data": "digits "},
        protocol | {"more": None},
        {k: v for k, v in protocol.items() if k != "data"},
    ]
    seals = {seal(p) for p in [protocol, *changed]}
    yield Property(
        "any other change shows",
        len(seals) == len(changed) + 1,
        ("Values, and values inside of values, belong to the spelling.",),
    )

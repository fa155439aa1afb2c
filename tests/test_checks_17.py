"""Exercises of chapter 17: plausible wrong answers are refused."""

import hashlib
import json
import re

import pytest
import torch

from helpers.checks import check


def within(claims, verdict, words, key="why", every=False, part=False, flags=re.I):
    border = "" if part else r"\b"
    found = []
    for claim in claims:
        hits = [re.search(border + w + border, claim[key], flags) for w in words]
        if claim["verdict"] == verdict and (all(hits) if every else any(hits)):
            found.append(claim["id"])
    return found


WRONG_1 = {
    "parts of words": lambda *c: within(*c, part=True),
    "the statement": lambda *c: within(*c, key="statement"),
    "small letters alone": lambda *c: within(*c, flags=0),
    "all of the words": lambda *c: within(*c, every=True),
    "any verdict": lambda c, v, w: within(c, "false", w) + within(c, "out of reach", w),
    "one for each word": lambda c, v, w: [i for x in w for i in within(c, v, [x])],
    "how many": lambda *c: len(within(*c)),
}


@pytest.mark.parametrize("answer", WRONG_1.values(), ids=WRONG_1)
def test_sieves(answer):
    assert not check("17.1", answer)


def entropy(p):
    return torch.special.entr(p.double())


def information(p):
    return entropy(p.mean(0)).sum() - entropy(p).sum(1).mean()


def naive(p):
    return (p * (p / p.mean(0)).log()).sum(1).mean().exp()


def other_way(p):
    q = p.mean(0)
    return (q * (q.log() - p.clamp_min(1e-12).log())).sum(1).mean().exp()


WRONG_2 = {
    "0 log 0": naive,
    "nats, not a score": information,
    "base 2 and e": lambda p: (information(p) / 0.6931).exp(),
    "divergence the other way": other_way,
    "entropy of the mean alone": lambda p: entropy(p.mean(0)).sum().exp(),
    "the number of classes": lambda p: p.shape[1],
    "mean of the scores": lambda p: (
        (entropy(p.mean(0)).sum() - entropy(p).sum(1)).exp().mean()
    ),
}


@pytest.mark.parametrize("answer", WRONG_2.values(), ids=WRONG_2)
def test_scores(answer):
    assert not check("17.2", answer)


def on_ends(most, least, d, strict=False):
    if most < d or (most == d and not strict):
        return "holds"
    return "fails" if least > d else "open"


WRONG_3 = {
    "first less second": lambda a, b, d: on_ends(a[1] - b[0], a[0] - b[1], d),
    "distance": lambda a, b, d: on_ends(
        max(abs(b[1] - a[0]), abs(b[0] - a[1])), b[0] - a[1], d
    ),
    "like with like": lambda a, b, d: on_ends(b[1] - a[1], b[0] - a[0], d),
    "middles": lambda a, b, d: on_ends(*[sum(b) / 2 - sum(a) / 2] * 2, d),
    "overlap holds": lambda a, b, d: "holds" if b[0] <= a[1] + d else "fails",
    "below d": lambda a, b, d: on_ends(b[1] - a[0], b[0] - a[1], d, strict=True),
    "fails at d": lambda a, b, d: (
        "fails" if b[0] - a[1] >= d else on_ends(b[1] - a[0], b[0] - a[1], d)
    ),
}


@pytest.mark.parametrize("answer", WRONG_3.values(), ids=WRONG_3)
def test_gaps(answer):
    assert not check("17.3", answer)


def grey(mse, r2, usual, border=2**0.5, full=255, root=0.5):
    spread = (mse / (1 - r2)) ** root
    return (full if spread < border * usual else full / 2) * mse**0.5


WRONG_4 = {
    "always from 0 to 1": lambda mse, r2, usual: 255 * mse**0.5,
    "always from -1 to 1": lambda mse, r2, usual: 127.5 * mse**0.5,
    "256 levels": lambda *c: grey(*c, full=256),
    "variance for standard deviation": lambda *c: grey(*c, root=1.0),
    "the middle, not the ratio": lambda *c: grey(*c, border=1.3),
    "r2 for 1 - r2": lambda mse, r2, usual: grey(mse, 1 - r2, usual),
    "not the root": lambda mse, r2, usual: grey(mse, r2, usual) * mse**0.5,
    "upside down": lambda mse, r2, usual: 382.5 * mse**0.5 - grey(mse, r2, usual),
}


@pytest.mark.parametrize("answer", WRONG_4.values(), ids=WRONG_4)
def test_units(answer):
    assert not check("17.4", answer)


def mixed(r, u, along, across, offset=1.0):
    centred = u.double() - u.double().mean()
    w = centred.flip(-1)
    w = w - (w * centred).sum() / centred.square().sum() * centred
    w = w * centred.norm() / w.norm()
    return offset * u.double().mean() + along * centred + across * w


def slope(r):
    return r / (1 - r**2) ** 0.5


WRONG_5 = {
    "full contrast": lambda r, u: mixed(r, u, r, (1 - r**2) ** 0.5),
    "no mean": lambda r, u: mixed(r, u, r**2, r * (1 - r**2) ** 0.5, offset=0.0),
    "damped only": lambda r, u: mixed(r, u, r, 0.0),
    "r, not its square": lambda r, u: mixed(r, u, r**2, 1 - r**2),
    "too little contrast": lambda r, u: mixed(r, u, r**3, r**3 / slope(r)),
    "not orthogonal": lambda r, u: (
        u.mean()
        + r**2 * (u - u.mean())
        + r * (1 - r**2) ** 0.5 * (u - u.mean()).flip(-1)
    ),
    "the image itself": lambda r, u: u,
}


@pytest.mark.parametrize("answer", WRONG_5.values(), ids=WRONG_5)
def test_predictions(answer):
    assert not check("17.5", answer)


ROW = {
    "id": "a-new-row",
    "source": "nichol2021",
    "where": "Sec. 3.2",
    "statement": "The linear schedule is the first to lose half of the signal.",
    "chapter": "01_forward_process",
    "results": ["t_half_linear"],
    "verdict": "reproduced",
    "why": "It does so after 260 of a thousand steps.",
}
WRONG_6 = {
    "no reason": {k: v for k, v in ROW.items() if k != "why"},
    "one key more": ROW | {"page": 3},
    "a result that does not exist": ROW | {"results": ["t_half"]},
    "a result of another chapter": ROW | {"chapter": "02_variational_bound"},
    "a chapter that does not exist": ROW | {"chapter": "19_more"},
    "an id of the table": ROW | {"id": "ddpm-jump"},
    "no such verdict": ROW | {"verdict": "true"},
    "a word for a sentence": ROW | {"why": "see there"},
    "reproduced without a result": ROW | {"results": []},
    "a list": [ROW],
}


@pytest.mark.parametrize("answer", WRONG_6.values(), ids=WRONG_6)
def test_rows(answer):
    assert not check("17.6", answer)


def test_a_row_is_right_without_a_result_where_nothing_was_measured():
    assert check("17.6", ROW)
    assert check("17.6", ROW | {"results": [], "verdict": "out of reach"})


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


WRONG_7 = {
    "Python's hash": lambda p: hash(json.dumps(p, sort_keys=True)),
    "not sorted": lambda p: digest(json.dumps(p)),
    "sorted outside only": lambda p: digest(str(sorted(p.items(), key=str))),
    "only the keys": lambda p: digest(str(sorted(p))),
    "only the values": lambda p: digest(str(sorted(map(str, p.values())))),
    "letters in any order": lambda p: digest("".join(sorted(json.dumps(p)))),
    "too short": lambda p: digest(json.dumps(p, sort_keys=True))[:32],
    "numbers as texts": lambda p: digest(
        re.sub('"', "", json.dumps(p, sort_keys=True))
    ),
    "the protocol": lambda p: json.dumps(p, sort_keys=True),
}


@pytest.mark.parametrize("answer", WRONG_7.values(), ids=WRONG_7)
def test_seals(answer):
    assert not check("17.7", answer)

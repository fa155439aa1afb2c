"""Results against references, and how a value comes into the text."""

import json
import math

import chapters
import check
import pytest
import references
import weave


@pytest.mark.parametrize(
    "value, reference, limits, expected",
    [
        (1.0, 1.0, {}, True),
        (1.0 + 1e-7, 1.0, {}, True),
        (1.0 + 1e-5, 1.0, {}, False),
        (1.0 + 1e-5, 1.0, {"rtol": 1e-4}, True),
        (1e-9, 0.0, {}, False),
        (1e-9, 0.0, {"atol": 1e-8}, True),
        (math.nan, math.nan, {"rtol": 9.0}, False),
        (math.inf, math.inf, {}, False),
        ("yes", "yes", {}, True),
        ("yes", "no", {"rtol": 9.0}, False),
        ("1", 1, {}, False),
        (True, 1, {}, False),
        ([1.0, 2.0], [1.0, 2.0], {}, True),
        ([1.0, 2.0], [1.0], {}, False),
        ([1.0, math.nan], [1.0, math.nan], {}, False),
        (1.0, [1.0], {}, False),
    ],
)
def test_close(value, reference, limits, expected):
    assert check.close(value, reference, **limits) is expected


def test_compare_tells_every_kind_of_trouble():
    found = {"values": {"a": 1.0, "b": 2.0, "new": 3.0}, "skipped": {"s": "no set"}}
    known = {k: {"value": 1.0} for k in ("a", "b", "gone", "s")}
    verdicts = {row.key: row for row in check.compare("x", found, known)}
    assert not verdicts["a"].bad and not verdicts["s"].bad
    assert verdicts["b"].verdict == "OUT OF TOLERANCE"
    assert verdicts["new"].verdict == "NO REFERENCE"
    assert verdicts["gone"].verdict.startswith("MISSING")
    assert all(verdicts[k].bad for k in ("b", "new", "gone"))


@pytest.fixture
def one_chapter(tmp_path, monkeypatch):
    """A project of one chapter whose results can be set."""
    monkeypatch.setattr(references, "ROOT", tmp_path)
    monkeypatch.setattr(chapters, "names", lambda: ["x"])
    found = {"profile": "laptop", "values": {"a": 1.0}}
    monkeypatch.setattr(check, "results", lambda name: found)
    return found, tmp_path / "data/results/reference/laptop.json"


def accept(monkeypatch, *words):
    """As on the command line; what is printed is of no interest."""
    monkeypatch.setattr("sys.argv", ["check.py", *words])
    check.main()


def test_accept_keeps_tolerances_and_tells_why(one_chapter, monkeypatch):
    found, path = one_chapter
    accept(monkeypatch, "--accept", "first")
    accept(monkeypatch, "--accept", "wide", "--tolerance", "x:a=0.5")
    found["values"] = {"a": 2.0}
    accept(monkeypatch, "--accept", "second", "--only", "x")
    known = json.loads(path.read_text())
    assert known["x"]["a"] == {"rtol": 0.5, "value": 2.0}
    assert [e["why"] for e in known["accepted"]] == ["first", "wide", "second"]
    assert not any(row.bad for row in check.check("x", "laptop"))


def test_accept_keeps_the_reference_of_a_skipped_value(one_chapter, monkeypatch):
    found, path = one_chapter
    accept(monkeypatch, "--accept", "first")
    found |= {"values": {}, "skipped": {"a": "no set"}}
    accept(monkeypatch, "--accept", "second")
    assert json.loads(path.read_text())["x"]["a"]["value"] == 1.0


def test_a_tolerance_alone_accepts_no_result(one_chapter, monkeypatch):
    found, path = one_chapter
    accept(monkeypatch, "--accept", "first")
    found["values"] = {"a": 3.0}
    with pytest.raises(SystemExit, match="1 of 1 results"):
        accept(monkeypatch, "--accept", "wider", "--tolerance", "x:a=0.1")
    assert json.loads(path.read_text())["x"]["a"] == {"rtol": 0.1, "value": 1.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accept", " "], "only for a reason"),
        (["--accept", "why", "--tolerance", "x:b=1"], "no reference 'x:b'"),
        (["--accept", "why", "--only", "y"], "Not executed: y"),
    ],
)
def test_accept_refuses(one_chapter, monkeypatch, words, message):
    found, _ = one_chapter
    accept(monkeypatch, "--accept", "first")
    monkeypatch.setattr(check, "results", lambda name: found if name == "x" else {})
    with pytest.raises(SystemExit, match=message):
        accept(monkeypatch, *words)


@pytest.mark.parametrize("key", ["value", "rtol"])
def test_a_reference_edited_by_hand_is_found(one_chapter, monkeypatch, key):
    _, path = one_chapter
    accept(monkeypatch, "--accept", "first")
    known = json.loads(path.read_text())
    known["x"]["a"][key] = 0.9
    path.write_text(json.dumps(known))
    with pytest.raises(SystemExit, match="was edited by hand, for x"):
        accept(monkeypatch)
    with pytest.raises(chapters.BadProject, match="for x"):
        references.require_seals("laptop")


def test_the_references_of_this_book_are_sealed():
    for profile in ("laptop", "full"):
        references.require_seals(profile)
        assert set(references.seals(references.read(profile))) == set(chapters.names())


def test_results_of_another_profile_do_not_count(one_chapter):
    found, _ = one_chapter
    found |= {"profile": "full", "values": {"a": 1.0}}
    assert check.check("x", "laptop")[0].bad


@pytest.mark.parametrize(
    "text, expected",
    [
        ("{{ half }}", "0.5"),
        ("{{ half:.3f }}", "0.500"),
        ("{{ tiny }}", "1.25 × 10⁻⁷"),
        ("{{ tiny:.0e }}", "1 × 10⁻⁷"),
        ("{{ count:, }}", "50,000"),
        ("{{ less:.1f }}", "−0.5"),
        ("{{ name }}", "cat-9"),
        ("{{ list[1]:.1f }}", "2.0"),
        ("{{ table[1][0]:.1f }}", "3.0"),
        (r"$\frac{{a}}{{b}}$", r"$\frac{{a}}{{b}}$"),
        ("{{ real }}", "(not computed in this build: no set)"),
    ],
)
def test_fill(text, expected):
    values = {
        "half": 0.5,
        "tiny": 1.25e-7,
        "count": 50000,
        "name": "cat-9",
        "less": -0.5,
    }
    values |= {"list": [1, 2], "table": [[1, 2], [3, 4]]}
    results = {"values": values, "skipped": {"real": "no set"}}
    assert weave.fill(text, results, "here") == expected


def test_fill_names_what_is_missing():
    with pytest.raises(chapters.BadProject, match=r"here asks for \{\{ b \}\}.*: a"):
        weave.fill("{{ b }}", {"values": {"a": 1}}, "here")
    with pytest.raises(chapters.BadProject, match="a field that is none"):
        weave.fill("{{ a.0 }}", {"values": {"a": 1}}, "here")  # a typing error


def test_modules_follow_imports():
    found = chapters.modules("from helpers.denoisers import Optimal")
    names = {path.name for path in found}
    assert {"denoisers.py", "streaming.py"} <= names and "bound.py" not in names


def test_a_missing_artifact_says_what_to_run(monkeypatch):
    header = {"artifacts": ["results/none.json"]}
    monkeypatch.setattr(chapters, "header", lambda _: header)
    with pytest.raises(chapters.BadProject, match=r"none\.json.*git checkout"):
        chapters.artifacts("01_x")

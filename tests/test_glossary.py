"""The glossary and the table of symbols agree with the chapters and the code."""

import re

import chapters
import pytest
import yaml
from built import soup
from glossary_terms import entries, finder
from symbol_tables import symbol_table

BOOK = chapters.ROOT / "book"
GLOSSARY = yaml.safe_load((BOOK / "glossary.yml").read_text())
SYMBOLS = yaml.safe_load((BOOK / "symbols.yml").read_text())
ENTRIES = [e for group in SYMBOLS["groups"] for e in group["symbols"]]
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.DOTALL)
CODE = re.compile(r"```\{code-cell\}.*?```", re.DOTALL)


def text(name) -> str:
    return chapters.source(name).read_text()


def formulas(name) -> str:
    return " ".join(a or b for a, b in MATH.findall(CODE.sub("", text(name))))


@pytest.mark.parametrize("entry", GLOSSARY, ids=lambda e: e["term"])
def test_term_is_treated_where_it_says(entry):
    """Term or synonym occurs in each chapter named; one sentence; a Japanese word."""
    words = [entry["term"], *entry.get("also", [])]
    found = re.compile(
        "|".join(re.escape(w) for w in words).replace(r"\ ", r"\s+"), re.I
    )
    assert entry["where"]
    for name in entry["where"]:
        assert name in chapters.names() and found.search(text(name)), name
    assert entry["says"].endswith(".") and len(entry["says"]) < 160
    assert JAPANESE.search(entry["ja"]) or entry["ja"] == entry["term"] == "U-Net"


def test_terms_are_different():
    words = [w for e in GLOSSARY for w in (e["term"], *e.get("also", []))]
    assert len(words) == len(set(words)) and len(GLOSSARY) >= 100


def test_longest_term_wins_and_inner_words_do_not_count(tmp_path):
    path = tmp_path / "glossary.yml"
    path.write_text(
        "- {term: mean}\n- {term: posterior mean, also: [best answer]}\n"
        "- {term: KL}\n- {term: gain, link: false}\n"
    )
    found, terms = finder(str(path))
    prose = "Posterior means, the meaning, a mean-free KL, best\nanswers, kl, gain"
    hits = [(terms[m.lastindex - 1], m[0]) for m in found.finditer(prose)]
    assert hits == [
        ("posterior mean", "Posterior means"),
        ("KL", "KL"),
        ("posterior mean", "best\nanswers"),
    ]
    assert entries(str(tmp_path / "none.yml")) == []


@pytest.mark.parametrize("name", chapters.names())
def test_term_is_linked_once_and_only_in_prose(name):
    page = soup(f"notebooks/{name}.html").find("article")
    links = [s.parent for s in page.select("a > .std-term")]
    targets = [a["href"] for a in links]
    assert len(targets) == len(set(targets)) > 2
    for link in links:
        assert not link.find_parents(["h1", "h2", "h3", "figcaption", "pre", "table"])


def test_glossary_page_is_sorted_and_speaks_japanese():
    page = soup("glossary.html")
    terms = [dt.get_text().rstrip("#") for dt in page.select("dl.glossary dt")]
    assert [t.lower() for t in terms] == sorted(t.lower() for t in terms)
    assert len(terms) == len(GLOSSARY)
    spoken = [s.get_text() for s in page.select('dl.glossary [lang="ja"]')]
    assert sorted(spoken) == sorted(e["ja"] for e in GLOSSARY)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e["symbol"])
def test_symbol_stands_in_the_chapter_it_names(entry):
    wanted = entry.get("find") or re.search(r"\$(.+?)\$", entry["symbol"])[1]
    assert wanted in formulas(entry["first"])


@pytest.mark.parametrize(
    "name", sorted({name for e in ENTRIES for name in e.get("code", [])})
)
def test_name_in_the_code_is_one(name):
    """`wiener.Wiener.gain` is defined there; a bare `sigma` is used in the library."""
    module, _, path = name.rpartition(".")
    files = [chapters.HELPERS / f"{module.split('.')[0]}.py"]
    files = files if module else list(chapters.HELPERS.glob("*.py"))
    assert any(re.search(rf"\b{path}\b", f.read_text()) for f in files)
    for owner in module.split(".")[1:]:
        assert f"class {owner}" in files[0].read_text()


def test_every_group_is_on_the_page():
    page = soup("symbols.html")
    rows = page.select(".symbol-table tbody tr")
    assert len(rows) == len(ENTRIES)
    papers = page.select(".notation-map thead th")
    assert len(papers) == 1 + len(SYMBOLS["papers"])
    with pytest.raises(Exception, match="no group 'Nothing'"):
        symbol_table(SYMBOLS, "Nothing")


def test_notation_map_knows_its_papers():
    known = {"ours", *(p["key"] for p in SYMBOLS["papers"])}
    for line in SYMBOLS["notation"]:
        assert set(line) <= known and len(line) > 1

"""The table of claims: complete without JavaScript, and filtered in a real browser."""

import functools
import json
import re
from collections import Counter
from itertools import pairwise

import chapters
import pytest
import yaml
from browser import CONTRAST, Visit
from built import soup

PAGE = "notebooks/17_claims_audit.html"
OWN = "17_claims_audit"
CLAIMS = yaml.safe_load((chapters.ROOT / "data" / "claims.yml").read_text())
REFERENCE = chapters.ROOT / "data" / "results" / "reference" / "laptop.json"
IDS = {claim["id"] for claim in CLAIMS}


def squeezed(text) -> str:
    return re.sub(r"\s+", " ", text).strip()


@functools.cache
def rows() -> dict:
    """The rows of the page as it is served, without a browser: id -> element."""
    found = soup(PAGE).select("table.claims tbody tr")
    return {row["id"].removeprefix("claim-"): row for row in found}


# ---- The page as it is, without JavaScript -------------------------------------------


def test_every_claim_has_one_row():
    ids = [row["id"] for row in soup(PAGE).select("table.claims tbody tr")]
    assert Counter(ids) == Counter(f"claim-{id}" for id in IDS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["id"])
def test_a_row_says_all_of_its_claim(claim):
    row = rows()[claim["id"]]
    text = squeezed(row.get_text(" "))
    for key in ("statement", "where", "why"):
        assert squeezed(claim[key]) in text
    assert row.select_one(".verdict").get_text() == claim["verdict"]
    for key in ("source", "verdict", "chapter"):
        assert row[f"data-{key}"] == claim[key]
    names = [term.get_text() for term in row.select("dt")]
    assert names == claim["results"]
    links = [a["href"] for a in row.select("a[href]")]
    assert links == ([] if claim["chapter"] == OWN else [f"{claim['chapter']}.html"])


def numbers(text):
    """The numbers of a cell, with powers of ten: `[7.45 × 10<sup>−6</sup>, 2]`."""
    plain = text.replace("−", "-").strip("[] ")
    plain = re.sub(r" × 10<sup>(-?\d+)</sup>", r"e\1", plain)
    return [float(word.replace(",", "")) for word in plain.split(", ")]


def test_values_are_those_of_the_chapters():
    """Every number of every row, to the three digits that are shown."""
    stored, seen = json.loads(REFERENCE.read_text()), 0
    for claim in (c for c in CLAIMS if c["chapter"] != OWN):
        for key, cell in zip(claim["results"], rows()[claim["id"]].select("dd")):
            value = stored[claim["chapter"]][key]["value"]
            shown = cell.decode_contents()
            if isinstance(value, (bool, str)):
                continue
            if isinstance(value, int):
                assert shown == f"{value:,}"
                continue
            values = value if isinstance(value, list) else [value]
            assert numbers(shown) == pytest.approx(values, rel=6e-3, abs=1e-300)
            seen += len(values)
    assert seen > 200


def test_an_exact_value_and_a_small_one():
    text = {id: row.get_text(" ") for id, row in rows().items()}
    assert "35,746,307" in text["ddpm-parameters"]
    assert "7.45 × 10 −6" in text["ddpm-L-T"]
    assert "yes" in text["ddpm-posterior"] and "67/100" in text["game-candidates"]


def test_all_rows_are_readable_without_javascript(browser, base):
    seen = Visit(browser, base, java_script_enabled=False)
    seen.tab.goto(base + PAGE)
    shown = seen.tab.locator("table.claims tbody tr")
    assert shown.count() == len(IDS)
    assert all(row.is_visible() for row in shown.all()[:: len(IDS) // 7])
    host = seen.tab.locator('[data-explorer="claims"]')
    assert host.evaluate("e => getComputedStyle(e, '::before').content").startswith(
        '"With JavaScript'
    )
    seen.context.close()


# ---- With JavaScript -----------------------------------------------------------------


@pytest.fixture(scope="module")
def page(browser, base):
    seen = Visit(browser, base)
    opened(seen)
    yield seen
    assert seen.trouble == []
    seen.context.close()


@pytest.fixture
def tab(page):
    """The page with all claims shown; one visit for several tests."""
    if page.tab.get_by_role("button", name="Show all").is_enabled():
        page.tab.get_by_role("button", name="Show all").click()
    assert shown(page.tab) == IDS
    return page.tab


def opened(seen, query=""):
    seen.tab.goto(seen.base + PAGE + query, wait_until="domcontentloaded")
    seen.tab.wait_for_selector('[data-explorer="claims"] select')
    return seen.tab


def shown(tab):
    """The claims that a reader sees."""
    visible = (
        "r => r.filter(e => e.offsetParent && e.getBoundingClientRect().height > 0)"
        ".map(e => e.id.replace('claim-', ''))"
    )
    return set(tab.locator("table.claims tbody tr").evaluate_all(visible))


def having(**fields):
    return {
        claim["id"]
        for claim in CLAIMS
        if all(claim[key] == value for key, value in fields.items())
    }


def said(tab):
    return tab.locator('[data-explorer="claims"] [role=status]').inner_text()


def listed(tab, name):
    return tab.get_by_role("combobox", name=name)


def choose(tab, name, value):
    listed(tab, name).select_option(value)


@pytest.mark.parametrize("name", ["source", "verdict", "chapter"])
def test_each_choice_shows_exactly_its_rows(tab, name):
    values = listed(tab, name.capitalize()).locator("option")
    offered = values.evaluate_all("o => o.map(e => [e.value, e.textContent])")
    assert {v for v, _ in offered} == {claim[name] for claim in CLAIMS} | {""}
    for value, words in offered:
        choose(tab, name.capitalize(), value)
        expected = having(**{name: value}) if value else IDS
        assert shown(tab) == expected
        assert words.endswith(f"({len(expected)})")
        assert said(tab).startswith(f"{len(expected)} of {len(IDS)} claims")


def test_choices_combine(tab):
    choose(tab, "Source", "summary")
    choose(tab, "Verdict", "unsupported")
    assert shown(tab) == having(source="summary", verdict="unsupported") != set()
    choose(tab, "Chapter", "13_local_denoisers")
    three = having(
        source="summary", verdict="unsupported", chapter="13_local_denoisers"
    )
    assert shown(tab) == three and len(three) >= 4
    tab.get_by_label("Words").fill("fid CIFAR")
    assert shown(tab) == {f"summary-fid-{x}" for x in ("model", "kamb", "wiener")}
    assert said(tab) == f"3 of {len(IDS)} claims: 3 unsupported."


@pytest.mark.parametrize(
    "words", ["wiener", "U-Net", "fcd_50_10", "Kamb and  GANGULI", "0.95"]
)
def test_words_are_found_wherever_they_stand(tab, words):
    """In the statement, the reason, the source, or the name of a result."""
    tab.get_by_label("Words").fill(words)
    texts = {id: row.get_text().lower() for id, row in rows().items()}
    parts = words.lower().split()
    expected = {id for id, text in texts.items() if all(p in text for p in parts)}
    assert shown(tab) == expected and 0 < len(expected) < len(IDS)


def test_nothing_fits(tab):
    tab.get_by_label("Words").fill("phlogiston")
    assert shown(tab) == set()
    assert said(tab) == f"None of the {len(IDS)} claims fits."
    tab.get_by_role("button", name="Show all").click()
    assert shown(tab) == IDS and tab.get_by_label("Words").input_value() == ""


def test_counts_are_announced(tab):
    status = tab.locator('[data-explorer="claims"] [role=status]')
    assert status.get_attribute("aria-live") == "polite"

    def told():
        return {v: int(n) for n, v in re.findall(r"(\d+) ([a-z ]+)[,.]", said(tab))}

    assert told() == Counter(claim["verdict"] for claim in CLAIMS)
    choose(tab, "Source", "translation")
    few = [claim["verdict"] for claim in CLAIMS if claim["source"] == "translation"]
    assert said(tab).startswith(f"{len(few)} of {len(IDS)} claims: ")
    assert told() == Counter(few)


def test_keyboard_alone(tab):
    tab.get_by_label("Words").focus()
    tab.keyboard.type("inception")
    few = shown(tab)
    assert 0 < len(few) < len(IDS)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "SELECT"
    tab.keyboard.press("Tab")
    tab.keyboard.type("unsupported")  # a list takes the letters
    assert shown(tab) == few & having(verdict="unsupported")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Show all"
    tab.keyboard.press("Enter")
    assert shown(tab) == IDS


def test_the_address_keeps_the_question(visit):
    seen = visit()
    tab = opened(seen, "?verdict=false&source=summary&chapter=nonsense")
    assert shown(tab) == having(verdict="false", source="summary")
    assert listed(tab, "Chapter").input_value() == ""
    tab.get_by_label("Words").fill("five")
    again = tab.evaluate("location.href")
    assert "text=five" in again and "chapter" not in again.split("?")[1]
    tab.wait_for_load_state()  # leaving earlier would break off requests: trouble
    tab.goto(again, wait_until="domcontentloaded")
    tab.wait_for_selector('[data-explorer="claims"] select')
    assert shown(tab) == {"summary-three-sets"}
    tab.get_by_role("button", name="Show all").click()
    assert tab.evaluate("location.search") == "" and shown(tab) == IDS
    assert seen.trouble == []


def test_a_row_can_be_linked(visit):
    seen = visit()
    tab = opened(seen, "#claim-ddpm-fid")
    assert tab.locator("#claim-ddpm-fid").is_visible()
    assert seen.trouble == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_telephone(visit, scheme):
    """Cards instead of a wide table, and nothing that scrolls sideways."""
    seen = visit(width=360, scheme=scheme)
    tab = opened(seen)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    table = tab.locator("table.claims")
    assert table.evaluate("e => e.parentElement.scrollWidth") <= 360
    row = tab.locator("#claim-ddpm-fid")
    boxes = [cell.bounding_box() for cell in row.locator("td").all()]
    assert all(a["y"] + a["height"] <= b["y"] + 1 for a, b in pairwise(boxes))
    assert all(box["width"] > 250 for box in boxes)
    choose(tab, "Verdict", "out of reach")
    assert shown(tab) == having(verdict="out of reach")
    read = '.claims :is(p, dt, dd, a), [data-explorer="claims"] :is(p, span, button)'
    weak = [(c, e) for c, e in tab.evaluate(CONTRAST, read) if c < 4.5]
    assert weak == []
    assert seen.trouble == []


def test_roles_stay_those_of_a_table(visit):
    """Cards are laid out as blocks, which would otherwise be no table any more."""
    tab = opened(visit(width=360))
    assert tab.get_by_role("table", name="All claims with their verdicts").count() == 1
    assert tab.get_by_role("columnheader").count() == 4
    assert tab.get_by_role("table").get_by_role("row").count() == len(IDS) + 1


def test_matching_by_itself(page):
    """The function behind the filters, on rows that no table has."""
    found = page.tab.evaluate("""async () => {
      const { matches, summary } = await import('/_static/claims.mjs');
      const row = {source: 'a', verdict: 'false', chapter: '1', text: 'One  Two\\nΣ'};
      const asks = [{}, {source: 'a'}, {source: 'b'}, {text: 'two one'},
        {text: 'three'}, {text: '  '}, {text: 'σ'},
        {source: 'a', verdict: 'false', chapter: '2'}];
      return [asks.map(q => matches(row, q)), summary([row, row], [row, row, row])];
    }""")
    assert found[0] == [True, True, False, True, False, True, True, False]
    assert found[1] == "2 of 3 claims: 2 false."

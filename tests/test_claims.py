"""Each claim has a place in the book, a verdict, and measured values that exist."""

import json
import re

import chapters
import pytest
import yaml

FIELDS = ["id", "source", "where", "statement", "chapter", "results", "verdict", "why"]
VERDICTS = {"reproduced", "not reproduced", "unsupported", "false", "out of reach"}
SOURCES = {"ho2020", "song2021ddim", "translation", "unet_article", "game_article"}
SOURCES |= {"lukoianov2025", "biroli2024", "kadkhodaie2024", "summary", "kamb2025"}
SOURCES |= {"niedoba2025", "scarvelis2025", "shang2026"}
CLAIMS = yaml.safe_load((chapters.ROOT / "data" / "claims.yml").read_text())
REFERENCE = chapters.ROOT / "data" / "results" / "reference" / "laptop.json"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["id"])
def test_a_claim_is_complete(claim):
    assert list(claim) == FIELDS
    assert claim["verdict"] in VERDICTS and claim["source"] in SOURCES
    assert claim["chapter"] in chapters.names()
    assert len(claim["statement"]) > 20 and len(claim["why"]) > 20


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["id"])
def test_its_measured_values_exist(claim):
    measured = json.loads(REFERENCE.read_text())[claim["chapter"]]
    assert set(claim["results"]) <= set(measured)


def test_ids_are_unique():
    ids = [claim["id"] for claim in CLAIMS]
    assert len(set(ids)) == len(ids)


def test_a_reproduction_rests_on_a_number_or_on_an_assertion():
    for claim in CLAIMS:
        if claim["verdict"] == "reproduced" and not claim["results"]:
            text = chapters.source(claim["chapter"]).read_text()
            assert "assert_close" in text, claim["id"]


def test_sections_of_the_paper_that_are_treated_have_claims():
    places = " ".join(c["where"] for c in CLAIMS if c["source"] == "ho2020")
    for section in ("Sec. 2", "Sec. 3.2", "Sec. 3.3", "Sec. 3.4", "Sec. 4.1"):
        assert section in places
    assert {"A", "B", "D"} <= set(re.findall(r"App\. ([A-D])", places))
    assert "Sec. 4.4" in places

"""What is done once gives the same as what is done each time."""

import once
import pytest
from sphinx.domains.std import StandardDomain
from sphinx.search.en import SearchEnglish


class Environment:
    """Counts how often a page is read."""

    def __init__(self):
        self.read, self.config = [], "configured"

    def get_doctree(self, page):
        self.read.append(page)
        return object()


def test_a_page_is_read_once_and_all_else_is_the_environment():
    env = Environment()
    kept = once.Remembering(env)
    assert kept.get_doctree("a") is kept.get_doctree("a")
    assert kept.get_doctree("b") is not kept.get_doctree("a")
    assert env.read == ["a", "b"] and kept.config == "configured"


def test_numbers_are_resolved_with_the_pages_that_are_kept(monkeypatch):
    """Sphinx still has the method that is replaced, and it is given our environment."""
    seen = []
    old = StandardDomain._resolve_numref_xref
    assert old.__code__.co_varnames[:3] == ("self", "env", "fromdocname")
    monkeypatch.setattr(
        StandardDomain,
        "_resolve_numref_xref",
        lambda self, env, *args: seen.append((env, args)),
    )
    domain = once.Domain.__new__(once.Domain)
    domain.env = Environment()
    for _ in range(2):
        domain._resolve_numref_xref(domain.env, "page", "more")
    assert seen[0] == seen[1] == (domain.remembering, ("page", "more"))


@pytest.mark.parametrize("word", ["denoisers", "locality", "running"])
def test_the_stem_of_a_word_stays(word, monkeypatch):
    monkeypatch.setattr(SearchEnglish, "stem", SearchEnglish.stem)  # put back after
    plain = SearchEnglish({})
    before = plain.stem(word)
    once.remember_stems()
    assert plain.stem(word) == plain.stem(word) == before != word
    assert SearchEnglish.stem.cache_info().hits >= 1

"""The built site as files: each page is read once by the tests that need no browser."""

import functools

import chapters
from bs4 import BeautifulSoup

SITE = chapters.BUILD / "html"


@functools.cache
def soup(page) -> BeautifulSoup:
    """A page of the site, such as "notebooks/02_variational_bound.html"."""
    return BeautifulSoup((SITE / page).read_text(), "lxml")


@functools.cache
def anchors(page) -> set[str]:
    """What a link with a # can lead to."""
    found = soup(page).find_all(lambda e: e.has_attr("id") or e.has_attr("name"))
    return {e[key] for e in found for key in ("id", "name") if e.has_attr(key)}

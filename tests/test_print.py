"""The PDF of the book, from two small pages of the built site."""

import importlib.util

import chapters
import chromium
import pytest
from pypdf import PdfReader

PAGES = ["limits", "bibliography"]
spec = importlib.util.spec_from_file_location(
    "printing", chapters.ROOT / "workflow" / "print.py"
)
printing = importlib.util.module_from_spec(spec)
spec.loader.exec_module(printing)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    if chromium.path() is None:
        pytest.skip(f"no Chromium on this machine. {chromium.ADVICE}")
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    printing.make(PAGES, target)
    return PdfReader(target)


def titles(outline):
    return [item for item in outline if not isinstance(item, list)]


def test_contents_name_the_page_of_each_title(book):
    found = [
        (item.title, book.get_destination_page_number(item) + 1)
        for item in titles(book.outline)
    ]
    assert len(found) == len(PAGES)
    table = " ".join(book.pages[1].extract_text().split())
    for title, number in found:
        assert f"{title} {number}" in table or f"{title}{number}" in table
        assert title in book.pages[number - 1].extract_text()
    assert sorted({number for _, number in found}) == [number for _, number in found]


def test_the_text_of_the_pages_is_there(book):
    text = " ".join(page.extract_text() for page in book.pages)
    assert "Images of the size of a photograph" in text
    assert "Ho" in text and "CC BY 4.0" in text
    assert 4 <= len(book.pages) <= 12


def test_it_is_tagged_and_its_links_stay_inside(book):
    root = book.trailer["/Root"]
    assert "/StructTreeRoot" in root and root["/Lang"] == "en"
    for page in book.pages:
        for note in page.get("/Annots") or []:
            address = (note.get_object().get("/A") or {}).get("/URI", "")
            assert "127.0.0.1" not in address


def test_without_chromium_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(chromium.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="needs Chromium"), printing.printer():
        pass

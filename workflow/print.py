"""One PDF of the whole book, from the built site: `make pdf`.

Each page is opened as a reader would, and what it shows is taken over: formulas as
they are typeset, explorers as the still picture of the moment. All of it becomes one
document, which Chromium prints twice: the first time tells the page numbers of the
table of contents.
"""

import argparse
import html
import io
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import chapters
import chromium
import yaml
from chapters import BUILD, ROOT
from pypdf import PdfReader

SITE, TARGET = BUILD / "html", BUILD / "book.pdf"
WIDTH = 673  # pixels between the margins of A4, so that boxes are as wide as on paper
TAKE = Path(__file__).with_name("print.js").read_text()
FOOTER = (
    '<div style="font: 8pt sans-serif; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)


@contextmanager
def printer():
    """A tab of headless Chromium; ends the program with advice if there is none."""
    if (path := chromium.path()) is None:
        sys.exit(f"The PDF needs Chromium. {chromium.ADVICE}")
    with chromium.started(path) as browser:
        tab = browser.new_page(viewport={"width": WIDTH, "height": 950})
        tab.set_default_timeout(600_000)
        tab.emulate_media(media="print", color_scheme="light", reduced_motion="reduce")
        yield tab


def take(tab, base, page, pages) -> dict:
    """What a page shows: title, article, and the style sheets that it needs."""
    tab.goto(f"{base}{page}.html", wait_until="networkidle")
    tab.evaluate("window.formulasReady")
    return tab.evaluate(TAKE, [page, pages, base])


def contents(taken, numbers) -> str:
    """The table of contents; `numbers` are the first page numbers, in order."""
    rows, at = [], dict(zip(taken, numbers))
    for part in [{"caption": "", "files": ["index"]}, *chapters.toc_parts()]:
        known = [page for page in part["files"] if page in taken]
        if known and part["caption"]:
            rows.append(f'<li class="part">{html.escape(part["caption"])}</li>')
        for page in known:
            title = html.escape(taken[page]["title"])
            number = at.get(page, "000")
            rows.append(f'<li><a href="#{page}">{title}</a><span>{number}</span></li>')
    return f'<p class="heading">Contents</p><ul>{"".join(rows)}</ul>'


def document(taken, numbers=()) -> str:
    """The whole book as one page of HTML that needs no script."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    title = config["title"]
    sheets = dict.fromkeys(sheet for each in taken.values() for sheet in each["sheets"])
    formulas = "\n".join(each["formulas"] for each in taken.values())
    articles = "\n".join(each["article"] for each in taken.values())
    return (
        '<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8">'
        f"<title>{title}</title>{''.join(sheets)}<style>{formulas}</style><body>"
        f'<div class="printed-front"><p class="heading">{title}</p>'
        f"<p>{config['author']}, {config['copyright']}. Text and figures under CC BY "
        "4.0, code under the MIT License. Made from the site of the book, where "
        "explorers move.</p></div>"
        f'<div class="printed-front">{contents(taken, numbers)}'
        f'</div><main class="bd-content">{articles}</main></body></html>'
    )


def pdf(tab, base, text) -> bytes:
    """Let Chromium print a document, as if it were a page of the site."""
    answer = {"body": text, "content_type": "text/html; charset=utf-8"}
    tab.route(f"{base}book.html", lambda route: route.fulfill(**answer))
    tab.goto(f"{base}book.html", wait_until="load")
    tab.evaluate("document.fonts.ready.then(() => 0)")
    data = tab.pdf(
        prefer_css_page_size=True,
        print_background=True,
        outline=True,
        tagged=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER,
    )
    tab.unroute(f"{base}book.html")
    return data


def first_pages(data) -> list[int]:
    """The page numbers of the titles, which are the first level of the outline."""
    reader = PdfReader(io.BytesIO(data))
    titles = [item for item in reader.outline if not isinstance(item, list)]
    return [reader.get_destination_page_number(item) + 1 for item in titles]


def make(pages, target, site=SITE):
    """Print these pages of the site into one PDF file."""
    with chromium.served(site) as base, printer() as tab:
        taken = {}
        for page in pages:
            print(f"reading {page}", flush=True)
            taken[page] = take(tab, base, page, pages)
        print("printing", flush=True)
        numbers = first_pages(pdf(tab, base, document(taken)))
        if len(numbers) != len(pages):
            sys.exit(f"{len(pages)} pages have {len(numbers)} titles in the PDF.")
        target.write_bytes(pdf(tab, base, document(taken, numbers)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="only these, as notebooks/NAME")
    parser.add_argument("--to", type=Path, default=TARGET)
    options = parser.parse_args()
    start = time.perf_counter()
    make(options.pages or chapters.toc_pages(), options.to)
    size, took = options.to.stat().st_size, time.perf_counter() - start
    count = len(PdfReader(options.to).pages)
    print(f"{count} pages, {size / 1e6:.1f} MB, {took:.0f} s: {options.to}")

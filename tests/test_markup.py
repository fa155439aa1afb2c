"""A page in fewer letters is the same page, and a script does the same."""

import markup
import pytest
from browser import SITE
from bs4 import BeautifulSoup

PYGMENTS = """
html[data-theme="light"] .highlight{background: #fff; color: #080808}
html[data-theme="light"] .highlight .n{color: #080808}
html[data-theme="light"] .highlight .k{color: #111111}
html[data-theme="light"] .highlight .ow{color: #111111}
html[data-theme="light"] .highlight .o{color: #222222}
html[data-theme="light"] .highlight .c{color: #111111}
html[data-theme="dark"] .highlight{background: #000; color: #F8F8F2}
html[data-theme="dark"] .highlight .n{color: #F8F8F2}
html[data-theme="dark"] .highlight .k{color: #dcc6e0}
html[data-theme="dark"] .highlight .ow{color: #dcc6e0}
html[data-theme="dark"] .highlight .o{color: #00e0e0}
html[data-theme="dark"] .highlight .c{color: #ffd900}
"""


def test_words_that_look_the_same_share_a_mark():
    expected = {"n": "", "o": "", "k": "k", "ow": "k", "c": "c"}
    assert markup.kinds(PYGMENTS) == expected


def test_code_loses_only_marks_that_change_nothing():
    code = (
        '<span class="k">not</span> <span class="ow">in</span> <span class="n">x</span>'
        '<span class="o">+</span><span class="c"># c</span><span class="zz">?</span>'
    )
    thin = '<span class="k">not in</span> x+<span class="c"># c</span>'
    names = markup.kinds(PYGMENTS)
    assert markup.marked(code, names) == thin + '<span class="zz">?</span>'


def test_marks_outside_of_code_stay():
    page = '<p><span class="n">y</span> and <b>z</b>'
    assert "<span class=n>y</span> and <b>z</b>" in markup.short(page, {"n": ""})


TEXTS = "<div><p>one  two</p>\n<p><a href='#a'>three</a> <em>four</em></p></div>"


@pytest.mark.parametrize("gone", ["</p>", "\n", "'", "  "])
def test_a_page_keeps_its_words_in_less(gone):
    short = markup.short(TEXTS, {})
    words = BeautifulSoup(TEXTS, "lxml").get_text().split()
    assert BeautifulSoup(short, "lxml").get_text().split() != [] and gone not in short
    assert "".join(BeautifulSoup(short, "lxml").get_text().split()) == "".join(words)
    assert "three</a> <em>four" in short


def test_output_and_code_keep_their_blanks():
    page = "<div><pre>a  b\n   c\n</pre></div>"
    assert "<pre>a  b\n   c\n</pre>" in markup.short(page, {})


def test_scripts_and_sheets_lose_their_remarks(tmp_path):
    script, sheet = tmp_path / "a.mjs", tmp_path / "a.css"
    kept = tmp_path / "mathjax" / "a.js"
    kept.parent.mkdir()
    kept.write_text("// a remark\n")
    script.write_text(
        "// a remark\nexport const f = (x) => `${x}  // none` + '/* */';\n"
    )
    sheet.write_text("/* a */\np > b { color : red }\n")
    markup.shorten_scripts(tmp_path)
    markup.shorten_sheets(tmp_path)
    short = "export const f=(x)=>`${x}  // none`+'/* */';"
    assert script.read_text() == short
    assert sheet.read_text() == "p>b{color:red}"
    assert kept.read_text() == "// a remark\n"


def test_the_pages_were_shortened():
    for page in ("index.html", "notebooks/14_benchmark.html"):
        text = (SITE / page).read_text()
        assert "</td>" not in text and '<span class="n">' not in text

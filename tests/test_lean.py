"""What a page loads is trimmed to what it uses, and to nothing less."""

from pathlib import Path

import lean
import pytest
from fontTools.ttLib import TTFont
from matplotlib import font_manager

SHEET = """
/* a remark */
.seen, .gone { color: red }
.seen .gone { color: red }
p:not(.gone) { margin: 0 }
form, p > mjx-container { margin: 1px }
#here p::before, #there { margin: 2px }
@media print { .gone { top: 0 } .seen { top: 1px } }
@media screen { .gone { top: 0 } }
@font-face { font-family: F; src: url(a.woff2) }
@keyframes turn { from { top: 0 } }
:root { --icon: "\\f0c9" }
"""


def test_a_sheet_keeps_what_can_apply():
    text = lean.trim(SHEET, {"seen", "p", "here"})
    assert ".gone" not in text.replace(":not(.gone)", "")
    assert ".seen{color: red}" in text and "p:not(.gone)" in text
    assert "p > mjx-container{" in text and "form" not in text
    assert "#here p::before{margin: 2px}" in text and "there" not in text
    assert "@media print{.seen{top: 1px}}" in text and "screen" not in text
    assert "@font-face" in text and "@keyframes" in text
    assert lean.ICON.findall(text) == ["\uf0c9"]


def test_variables_stay_while_something_shows_them():
    sheets = [
        ":root{--a:1px;--b:var(--a);--c:var(--b);--d:var(--e);--e:2px;--f:3px}",
        "p{margin:var(--b);--g:url('x;y')}",
    ]
    first, second = lean.without_idle_variables(sheets, {"--f"})
    assert first == ":root{--a:1px;--b:var(--a);--f:3px}" and second == sheets[1]


def test_names_come_from_pages_and_scripts(tmp_path):
    (tmp_path / "_static" / "mathjax").mkdir(parents=True)
    page = '<p class="one two" id=six><b class=seven><script>x("five")</script>'
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "_static" / "s.js").write_text("e.classList.add('three', '--v')")
    (tmp_path / "_static" / "mathjax" / "m.js").write_text("four")
    used = lean.names_in_use(tmp_path)
    assert {"one", "two", "three", "five", "six", "seven", "p", "b", "--v"} <= used
    assert "four" not in used


def test_a_font_keeps_the_icons_in_use(tmp_path):
    font = tmp_path / "webfonts" / "f.ttf"
    font.parent.mkdir()
    font.write_bytes(Path(font_manager.findfont("DejaVu Sans")).read_bytes())
    size = font.stat().st_size
    lean.keep_icons(font, {ord("a"), ord("b")})
    small = font.with_suffix(".woff")
    assert set(TTFont(small).getBestCmap()) == {ord("a"), ord("b")}
    assert small.stat().st_size < size / 20 and not font.exists()
    sheet = 'src:url(../webfonts/f.woff2) format("woff2"),url(../webfonts/f.ttf)}'
    assert lean.to_woff(sheet) == 'src:url(../webfonts/f.woff) format("woff")}'


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_icons_of_the_pages_are_there(visit, theme):
    """Each icon is a character that the small font has, as wide as it is drawn."""
    tab = visit(scheme=theme).open("notebooks/01_forward_process.html")
    icons = tab.locator("i.fas:visible, i.fa-solid:visible, span.fa-solid:visible")
    assert icons.count() >= 3
    content = icons.evaluate_all(
        "all => all.map(e => getComputedStyle(e, '::before').content)"
    )
    assert all(lean.ICON.search(text) for text in content)
    assert tab.evaluate("document.fonts.check('900 16px \"Font Awesome 6 Free\"')")

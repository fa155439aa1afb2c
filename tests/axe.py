"""What axe-core finds in a tab, for the tests of every page."""

from axe_playwright_python.base import AXE_SCRIPT

SERIOUS = ("serious", "critical")
# axe needs minutes for ten thousand elements. A figure and a formula are one picture
# with a name to a reader, so their insides go; so do the colours of code (their
# contrast is tested in test_site.py) and the rows of a table after the sixth.
THIN = """() => {
  for (const e of document.querySelectorAll('svg.figure, svg.letters, mjx-container'))
    e.replaceChildren();
  for (const e of document.querySelectorAll('div.highlight pre'))
    e.replaceChildren(e.textContent);
  for (const e of document.querySelectorAll('tbody tr:nth-child(n + 7)')) e.remove();
}"""
RUN = """colours => axe.run({resultTypes: ['violations'], preload: false,
  rules: {'color-contrast': {enabled: colours}}})"""


def violations(tab, colours=True) -> list:
    """Serious violations: (rule, impact, where, markup). It takes the page apart."""
    tab.emulate_media(reduced_motion="reduce")
    tab.evaluate(THIN)
    tab.evaluate(AXE_SCRIPT)
    return [
        (v["id"], v["impact"], node["target"], node["html"][:120])
        for v in tab.evaluate(RUN, colours)["violations"]
        if v["impact"] in SERIOUS
        for node in v["nodes"]
    ]

"""A chapter keeps its number: `notebooks/09_optimal_denoiser` is chapter 9.

Sphinx would number the chapters in the order of the contents, and every later
equation and figure would change its number whenever a chapter is added before it.
"""

import re

from docutils import nodes
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

CHAPTER = re.compile(r"(?:^|/)(\d\d)_[^/]+$")


def renumber(numbers, chapter):
    """(3, 1) -> (9, 1); a heading without a number stays without."""
    return type(numbers)([chapter, *numbers[1:]]) if numbers else numbers


def renumber_page(env, page, chapter):
    """Set the chapter in the section numbers of one page, wherever they are kept."""
    table = env.toc_secnumbers[page]
    for anchor, numbers in table.items():
        table[anchor] = renumber(numbers, chapter)
    for link in env.tocs[page].findall(nodes.reference):
        link["secnumber"] = renumber(link.get("secnumber"), chapter)
    title = env.titles[page]
    title["secnumber"] = renumber(title.get("secnumber"), chapter)


def assign_section_numbers(collector, env):
    """Let Sphinx number the sections in order, then correct the first component."""
    rewrite = TocTreeCollector.assign_section_numbers(collector, env)
    for page in env.toc_secnumbers:
        if match := CHAPTER.search(page):
            renumber_page(env, page, int(match[1]))
    return rewrite


def setup(_app):
    TocTreeCollectorWithStyles.assign_section_numbers = assign_section_numbers
    return {"version": "1", "parallel_read_safe": True}

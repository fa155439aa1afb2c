"""What Sphinx would do hundreds of times in a build is done once.

For each number of a figure of another place it reads the whole page again; for each
citation the bibliography looks for its plug-ins among all packages; each page finds the
stems of its words anew; and tables in YAML are read letter by letter in Python. That
was a third of the time.
"""

import functools

import pybtex.plugin
import yaml
from sphinx.domains.std import StandardDomain
from sphinx.search.en import SearchEnglish


class Remembering:
    """An environment whose pages are read once; they are only looked at."""

    def __init__(self, env):
        self.env = env
        self.get_doctree = functools.cache(env.get_doctree)

    def __getattr__(self, name):
        return getattr(self.env, name)


class Domain(StandardDomain):
    """The standard domain; references are resolved when all pages are written down."""

    @functools.cached_property
    def remembering(self):
        return Remembering(self.env)

    def _resolve_numref_xref(self, env, *args):
        return super()._resolve_numref_xref(self.remembering, *args)


def remember_stems():
    SearchEnglish.stem = functools.cache(SearchEnglish.stem)


def setup(app):
    app.add_domain(Domain, override=True)
    pybtex.plugin._load_entry_point = functools.cache(pybtex.plugin._load_entry_point)
    remember_stems()
    yaml.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)
    return {"version": "1", "parallel_read_safe": True}

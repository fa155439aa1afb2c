"""Buttons that open a chapter on Colab or Binder, once the book has a public address.

The address is `repository.url` of `_config.yml`; without one there are no buttons, and
pages leave out what is inside `{only} launch`. The buttons are links: nothing is loaded
from outside before a reader follows one. They point to the branch that holds what
`workflow/notebooks.py` writes. Only the reader's edition has them: the notebooks there
have the solutions, which the student's edition must not lead to.
"""

import re
from pathlib import Path

import yaml
from sphinx.errors import ExtensionError

CONFIG = Path(__file__).resolve().parents[2] / "_config.yml"
READER = CONFIG.parent / "_build" / "stage"  # the sources of the reader's edition
GITHUB = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/?")
SERVICES = {
    "notebook_interface": "jupyterlab",
    "colab_url": "https://colab.research.google.com",
    "binderhub_url": "https://mybinder.org",
}


def repository() -> dict:
    """Address and branch, after a check that Colab can open what is there."""
    found = yaml.safe_load(CONFIG.read_text()).get("repository") or {}
    if (url := found.get("url")) and not GITHUB.fullmatch(url):
        raise ExtensionError(
            f"repository.url in _config.yml is {url}. The launch buttons need an "
            "address like https://github.com/OWNER/NAME, or none."
        )
    return found


def add_buttons(_app, config):
    found = repository()
    config.html_theme_options |= {
        "repository_url": found["url"].strip("/"),
        "repository_branch": found["branch"],
        "launch_buttons": SERVICES,
    }


def setup(app):
    if repository().get("url") and Path(app.srcdir) == READER:
        app.tags.add("launch")
        app.connect("config-inited", add_buttons)
    return {"version": "1", "parallel_read_safe": True}

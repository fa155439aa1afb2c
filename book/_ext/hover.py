"""Cards: a reference that is pointed at or focused shows what it refers to.

The work is done in the page by `_static/hover.mjs`, without a network but the site.
"""


def setup(app):
    app.add_js_file("hover.mjs", type="module")
    return {"version": "1", "parallel_read_safe": True}

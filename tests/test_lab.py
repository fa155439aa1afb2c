"""Chapters as notebooks: opened in JupyterLab, saved, run with the book's kernel."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from urllib.error import URLError
from urllib.request import Request, urlopen

import chapters
import check
import jupytext
import lab
import nbformat
import pytest
import references
import saving
from websocket import create_connection

from helpers import schedules

NAMES = chapters.names()
TOKEN = "for-the-test"
EDITED = "01_forward_process"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """JupyterLab on a copy of the book, and the requests that its page would send."""

    def __init__(self, root, folder):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in ("workflow", "src", "notebooks"):
            shutil.copytree(root / part, folder / part, ignore=ignore)
        self.folder, self.port = folder, free_port()
        options = [f"--port={self.port}", "--no-browser", "--allow-root"]
        command = [sys.executable, "workflow/lab.py", *options]
        self.log = open(folder / "log", "w")  # noqa: SIM115, closed with the server
        self.process = subprocess.Popen(
            [*command, f"--IdentityProvider.token={TOKEN}"],
            cwd=folder,
            stdout=self.log,
            stderr=self.log,
        )

    def ask(self, path, method="GET", body=None):
        address = f"http://127.0.0.1:{self.port}/api/{path}"
        raw = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {TOKEN}"}
        request = Request(address, raw, headers, method=method)
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def wait(self):
        end = time.monotonic() + 120
        while True:
            try:
                return self.ask("status")
            except (URLError, ConnectionError):
                said = (self.folder / "log").read_text()
                assert self.process.poll() is None, said
                assert time.monotonic() < end, said
                time.sleep(0.3)

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()

    def open(self, name):
        return self.ask(f"contents/notebooks/{name}.md?type=notebook&content=1")

    def save(self, name, content):
        body = {"type": "notebook", "format": "json", "content": content}
        self.ask(f"contents/notebooks/{name}.md", "PUT", body)

    def run(self, kernel, code) -> str:
        """Execute one cell and return what it printed; a traceback fails."""
        address = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        channel = create_connection(f"{address}?token={TOKEN}", timeout=120)
        number, printed = uuid.uuid4().hex, ""
        header = {"msg_id": number, "msg_type": "execute_request", "session": "test"}
        header |= {"username": "", "version": "5.3", "date": "2026-01-01T00:00:00Z"}
        content = {"code": code, "silent": False}
        message = {"channel": "shell", "header": header, "content": content}
        message |= {"parent_header": {}, "metadata": {}}
        channel.send(json.dumps(message))
        while True:
            got = json.loads(channel.recv())
            if got["parent_header"].get("msg_id") != number:
                continue
            assert got["msg_type"] != "error", got["content"]
            printed += got["content"].get("text", "")
            if got["content"].get("execution_state") == "idle":
                channel.close()
                return printed


@pytest.fixture(scope="module")
def server(root, tmp_path_factory):
    running = Server(root, tmp_path_factory.mktemp("lab"))
    try:
        running.wait()
        yield running
    finally:
        running.close()


def test_a_chapter_opens_as_a_notebook(server):
    content = server.open("03_unet")["content"]
    kinds = [cell["cell_type"] for cell in content["cells"]]
    assert kinds == [cell.cell_type for cell in chapters.read("03_unet").cells]


def test_the_only_kernel_is_the_books_and_lies_in_its_environment(server):
    specs = server.ask("kernelspecs")["kernelspecs"]
    assert [s["spec"]["display_name"] for s in specs.values()] == [lab.TITLE]
    named = server.open(EDITED)["content"]["metadata"]["kernelspec"]["name"]
    assert [named] == list(specs), "a chapter would ask for its kernel"
    spec = lab.HOME / "share/jupyter/kernels" / named / "kernel.json"
    assert json.loads(spec.read_text())["argv"][0] == sys.executable
    assert sys.prefix in str(lab.HOME)


def test_the_first_cells_run(server):
    cells = server.open(EDITED)["content"]["cells"]
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    where = {"path": "notebooks"}
    kernel = server.ask("kernels", "POST", {"name": lab.KERNEL, **where})["id"]
    for cell in code[:2]:
        server.run(kernel, cell)
    show = "import helpers, os; print(helpers.__file__); print(os.getcwd())"
    show += "; print(os.environ['HELPERS_OFFLINE'], os.environ['OMP_NUM_THREADS'])"
    library, folder, limits = server.run(kernel, show).split("\n")[:3]
    assert library == str(server.folder / "src/helpers/__init__.py")
    assert folder == str(server.folder / "notebooks")
    assert limits == f"1 {os.environ['OMP_NUM_THREADS']}"
    server.ask(f"kernels/{kernel}", "DELETE")


def test_a_save_without_a_change_changes_nothing(server):
    file = server.folder / "notebooks/03_unet.md"
    before = file.read_text()
    content = server.open("03_unet")["content"]
    content["metadata"]["kernelspec"]["display_name"] = lab.TITLE  # as Lab does
    content["metadata"]["language_info"] = {"name": "python", "version": "3.11.0"}
    server.save("03_unet", content)
    assert file.read_text() == before


def test_a_save_writes_what_was_changed_and_no_more(server):
    file = server.folder / f"notebooks/{EDITED}.md"
    before = file.read_text()
    content = server.open(EDITED)["content"]
    old = "schedule = schedules.linear()  # T = 1000, the schedule of Ho et al."
    new = "schedule = schedules.linear(beta_T=0.01)"
    cell = next(c for c in content["cells"] if old in c["source"])
    cell["source"] = cell["source"].replace(old, new)
    cell["outputs"] = [nbformat.v4.new_output("stream", text="seen")]
    server.save(EDITED, content)
    assert file.read_text() == before.replace(old, new) != before


@pytest.mark.parametrize("name", NAMES)
def test_every_chapter_is_kept_as_it_is(name):
    text = chapters.source(name).read_text()
    notebook = jupytext.reads(text, fmt="md:myst")
    notebook.metadata["kernelspec"]["display_name"] = lab.TITLE
    assert saving.kept(text, jupytext.writes(notebook, fmt="md:myst")) == text


def test_new_cells_and_tags_arrive_in_the_text():
    text = chapters.source(EDITED).read_text()
    notebook = jupytext.reads(text, fmt="md:myst")
    notebook.cells.insert(2, nbformat.v4.new_markdown_cell("A thought."))
    notebook.cells[1].metadata["tags"] = ["parameters", "hide-input"]
    new = jupytext.writes(notebook, fmt="md:myst")
    again = jupytext.reads(saving.kept(text, new), fmt="md:myst")
    assert again.cells[2].source == "A thought."
    assert again.cells[1].metadata["tags"] == ["parameters", "hide-input"]
    assert again.metadata["book"] == notebook.metadata["book"]


def test_the_text_editor_is_left_alone(tmp_path):
    (tmp_path / "a.md").write_text("---\ntitle: A\n---\none\n")
    model = {"type": "file", "content": "---\ntitle: B\n---\none\n"}
    manager = type("Manager", (), {"root_dir": str(tmp_path)})
    saving.keep_text(model, "a.md", manager)
    assert model["content"] == "---\ntitle: B\n---\none\n"


def test_a_taken_port_is_said(root):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "workflow/lab.py", "--port", str(port)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"Port {port} is taken. Choose another: make lab PORT={port + 1}"
    )


def test_a_missing_jupyterlab_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    with pytest.raises(SystemExit, match=r"JupyterLab is missing in .*`make lab`"):
        lab.lab_app()


def test_the_example_of_the_page_is_true(root):
    """What `make check` says of the changed schedule, as book/run.md shows it."""
    schedule = schedules.linear(beta_T=0.01)
    values = {
        "t_half_linear": int((schedule.snr < 1).nonzero()[0]),
        "alpha_bar_T": float(schedule.alpha_bar[-1]),
    }
    values["noisy_share"] = 1 - values["t_half_linear"] / schedule.T
    known = references.read("laptop")[EDITED]
    rows = check.compare(EDITED, {"values": values}, {k: known[k] for k in values})
    page = (root / "book/run.md").read_text()
    for line in check.table(rows).splitlines():
        assert line in page


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_says_what_the_profile_is(name, root):
    cells = (c for c in chapters.read(name).cells if c.cell_type == "code")
    first = next(c for c in cells if "parameters" in c.metadata.get("tags", []))
    assert first.source in (root / "book/run.md").read_text() and "#" in first.source

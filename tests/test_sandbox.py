"""What hostile programs do in the sandbox: nothing to this machine."""

import os
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest
import sandbox
from chapters import ROOT
from sandbox import Limits

try:
    sandbox.require()
except sandbox.NoSandbox as error:
    pytest.skip(f"no sandbox: {error}", allow_module_level=True)

QUICK = Limits(seconds=60, memory=512 << 20, processes=30, disk=32 << 20, output=1000)


def inside(code, limits=QUICK, shown=(), **environment):
    return sandbox.run([sys.executable, "-c", code], shown, environment, limits)


def test_it_computes_and_its_output_is_kept():
    end = inside("import numpy; print(numpy.arange(4).sum())")
    assert (end.reason, end.code, end.output) == ("", 0, "6\n")


def test_only_what_is_shown_can_be_seen(tmp_path):
    (tmp_path / "given").write_text("for you")
    places = [Path.home(), ROOT / "notebooks", ROOT / "src", ROOT / "_build", tmp_path]
    look = "import os; print(*[(p, os.path.exists(p)) for p in {}], sep='\\n')"
    end = inside(look.format([*map(str, places[1:]), str(ROOT / ".git")]))
    assert end.output.count("False") == 5 and "True" not in end.output
    code = f"print(open({str(tmp_path / 'given')!r}).read())"
    assert inside(code, shown=[tmp_path]).output == "for you\n"
    files = inside(f"import os; print(os.listdir({str(Path.home())!r}))").output
    seen = {p.name for p in Path.home().iterdir() if p.name in files}
    assert seen <= {Path(sys.base_prefix).relative_to(Path.home()).parts[0]} or (
        "Error" in files  # no such folder
    )


WRITE = """
import sys
for place in sys.argv[1:]:
    try:
        open(place, "w").write("mine")
        print("written", place)
    except OSError as error:
        print("refused", error)
"""


def test_it_writes_nowhere_but_in_its_own_tmp(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine alone")
    outside = [mine, Path.home() / "left", ROOT / "left", "/usr/left", "/etc/passwd"]
    places = [*map(str, outside), sys.prefix + "/left", "/tmp/left-by-a-test"]
    command = [sys.executable, "-c", WRITE, *places]
    end = sandbox.run(command, [tmp_path], {}, QUICK)
    assert end.output.count("refused") >= 5, end.output  # a book in /tmp is hidden
    assert "written /tmp/left-by-a-test" in end.output
    assert mine.read_text() == "mine alone"
    assert not [p for p in places if "left" in p and os.path.exists(p)]


def test_it_fills_no_disk():
    code = "open('/tmp/big', 'wb').write(b'0' * (64 << 20))"
    assert "Error" in inside(code).output


def test_there_is_no_network_not_even_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = "import socket; socket.create_connection(({!r}, {}), timeout=5)"
        assert "refused" in inside(code.format("127.0.0.1", port)).output
        assert "unreachable" in inside(code.format("192.0.2.1", 80)).output
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_has_no_rights_and_sees_no_other_process():
    code = """if True:
        import os, subprocess
        print([p for p in os.listdir("/proc") if p.isdigit()])
        tools = ["mount", "-t", "tmpfs", "a", "/tmp"], ["unshare", "--user", "true"]
        print([subprocess.run(t, capture_output=True).returncode != 0 for t in tools])
        os.kill(%d, 9)
    """
    end = inside(code % os.getpid())
    assert "['1']\n[True, True]\n" in end.output
    assert "ProcessLookupError" in end.output


def test_an_endless_loop_ends():
    end = inside("while True: pass", Limits(seconds=3))
    assert end.reason == "it took more than 3 s"
    assert end.seconds < 30


def test_ten_gigabytes_are_refused():
    ours = psutil.Process().memory_info().rss
    end = inside("print(len(bytearray(10 << 30)))")
    assert "MemoryError" in end.output
    assert end.peak < 512 << 20
    assert psutil.Process().memory_info().rss - ours < 100 << 20


def test_memory_of_many_processes_is_added_up():
    code = """if True:
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                block = b"1" * (200 << 20)
                time.sleep(60)
        time.sleep(60)
    """
    assert "0.5 GB of memory" in inside(code).reason


def test_a_fork_bomb_is_stopped():
    code = """if True:
        import os, time
        for _ in range(50):  # of fifty, for the sake of the machine that tests this
            if os.fork() == 0:
                time.sleep(60)
        time.sleep(60)
    """
    end = inside(code, Limits(seconds=50, processes=20))
    assert end.reason == "it started more than 20 processes"


def test_a_daemon_does_not_live_on():
    code = """if True:
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "61.25"])
        time.sleep(1)
    """
    assert inside(code).reason == ""
    assert not sleeping("61.25")


def sleeping(seconds) -> bool:
    for _ in range(20):
        lines = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
        if ["sleep", seconds] not in lines:
            return False
        time.sleep(0.1)
    return True


def test_who_kills_its_family_ends_alone():
    code = """if True:
        import os, signal, time
        if os.fork() == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            try:
                os.kill(-1, signal.SIGKILL)
            finally:
                print("still here", flush=True)
            os._exit(0)
        time.sleep(2)
        print("here, too")
    """
    output = inside(code).output
    assert "still here\n" in output and output.endswith("here, too\n")


def test_of_a_gigabyte_of_output_the_beginning_is_kept():
    ours = psutil.Process().memory_info().rss
    code = "import os\nfor _ in range(1 << 10): os.write(1, b'spam' * (1 << 18))"
    end = inside(code)
    assert end.output == "spam" * 250
    assert psutil.Process().memory_info().rss - ours < 100 << 20


def test_nothing_of_our_environment_goes_in(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert "secret" not in inside("import os; print(os.environ)").output


def test_where_nothing_can_be_shut_in_it_says_so(monkeypatch):
    monkeypatch.setattr(sandbox, "UNSHARE", ("sh", "-c", "echo not permitted; exit 1"))
    with pytest.raises(sandbox.NoSandbox, match="not permitted"):
        sandbox.require()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(sandbox.NoSandbox, match="needs Linux"):
        sandbox.require()

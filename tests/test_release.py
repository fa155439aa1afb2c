"""A release is the same to the byte each time, and says which file is not as it was."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

import figures
import nbformat
import pytest
import release

SITE, SOURCE = "locality-1.2.3-site.tar.gz", "locality-1.2.3-source.tar.gz"


def git(folder, *command):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    subprocess.run(
        ["git", *identity, *command], cwd=folder, check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A repository of four files, with a site and a figure."""
    root = tmp_path_factory.mktemp("book")
    for name, text in {
        ".gitignore": "/_build/\n",
        "pyproject.toml": '[project]\nname = "a"\nversion = "1.2.3"\n',
        "requirements.lock": "a==1\n",
        "run": "#!/bin/sh\n",
        "_build/sites/7/index.html": "<p>Hello</p>\n" * 900,
        "_build/sites/7/notebooks/one.html": "<p>One</p>\n",
        "_build/sites/7/build.json": '{"profile": "laptop", "pages": 2}\n',
        "_build/figures/fig-one.svg": "<svg/>\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "run").chmod(0o700)
    (root / "_build/html").symlink_to("sites/7")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "all")
    return root


@pytest.fixture
def made(book, tmp_path):
    release.make(tmp_path / "release", book)
    return tmp_path / "release"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_packed_twice_it_is_the_same_to_the_byte(book, made, tmp_path, monkeypatch):
    """Another day, another user, other rights, another order on the disk."""
    again = tmp_path / "elsewhere" / "book"
    shutil.copytree(book, again, symlinks=True)
    for path in again.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (1, 1))
            path.chmod(path.stat().st_mode ^ 0o020)
    monkeypatch.setattr("time.time", lambda: 5e8)
    release.make(tmp_path / "again", again)
    assert contents(tmp_path / "again") == contents(made)


def test_an_archive_tells_nothing_of_the_machine(made):
    for archive in made.glob("*.tar.gz"):
        assert archive.read_bytes()[3:8] == bytes(5), "no name and no time in gzip"
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert {(m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, "", "")}
        assert {m.mode for m in members} <= {0o644, 0o755}
        assert {m.name.split("/")[0] for m in members} == {archive.name[:-7]}


def test_the_manifest_says_what_it_is_made_of(book, made):
    manifest = json.loads((made / "manifest.json").read_text())
    head = release.git("rev-parse", "HEAD", root=book).strip()
    lock = hashlib.sha256((book / "requirements.lock").read_bytes()).hexdigest()
    assert (manifest["commit"], manifest["lock"]) == (head, lock)
    assert (manifest["profile"], manifest["version"]) == ("laptop", "1.2.3")
    files = manifest["archives"][SOURCE]["files"]
    assert set(files) == {".gitignore", "pyproject.toml", "requirements.lock", "run"}
    assert files["run"]["bytes"] == len("#!/bin/sh\n")
    site = manifest["archives"][SITE]["files"]
    assert set(site) == {"index.html", "notebooks/one.html", "build.json"}


def test_a_program_stays_a_program(made):
    with tarfile.open(made / SOURCE) as tar:
        assert tar.getmember("locality-1.2.3-source/run").mode == 0o755
        assert tar.getmember("locality-1.2.3-source/pyproject.toml").mode == 0o644


def test_others_can_check_the_sums_without_us(made):
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 4


def test_a_release_as_it_was_made_passes(made):
    assert release.verify(made) == "All 8 files in 3 archives are as they were made."


def said(folder):
    with pytest.raises(release.BadRelease) as error:
        release.verify(folder)
    return str(error.value)


def repack(archive, changes, level=0):
    """The archive again, with other files: what somebody could do on the way."""
    with tarfile.open(archive) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}
    top = archive.name.removesuffix(".tar.gz")
    files |= {f"{top}/{name}": content for name, content in changes.items()}
    with tarfile.open(archive, "w:gz", compresslevel=level) as tar:
        for name, content in files.items():
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"index.html": b"<p>Bye</p>"}, f"{SITE}: index.html is altered"),
        ({"notebooks/one.html": None}, f"{SITE}: notebooks/one.html is missing"),
        ({"evil.js": b"1"}, f"{SITE}: evil.js is not part of the release"),
        ({}, f"{SITE} is altered, but each file in it is as it was"),
    ],
)
def test_an_altered_file_is_named(made, changes, sentence):
    repack(made / SITE, changes)
    assert said(made) == sentence


def test_an_altered_file_is_named_in_a_smaller_archive_too(made):
    repack(made / SITE, {"index.html": b"", "notebooks/one.html": None}, level=9)
    assert said(made).splitlines() == [
        f"{SITE}: index.html is altered",
        f"{SITE}: notebooks/one.html is missing",
    ]


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99, 1])
def test_a_truncated_archive_is_called_so(made, share):
    """Even if only the last byte is missing."""
    whole = (made / SITE).read_bytes()
    size = min(int(share * len(whole)), len(whole) - 1)
    (made / SITE).write_bytes(whole[:size])
    assert said(made) == f"{SITE} is truncated: {size} of {len(whole)} bytes"


def test_a_damaged_archive_is_called_so(made):
    whole = bytearray((made / SITE).read_bytes())
    whole[20:60] = bytes(40)
    (made / SITE).write_bytes(whole)
    assert said(made).startswith(f"{SITE} is damaged and cannot be read")


@pytest.mark.parametrize("name", [SITE, "manifest.json"])
def test_a_file_that_is_gone_is_named(made, name):
    (made / name).unlink()
    assert said(made) == f"{name} is missing"


def test_an_altered_manifest_is_not_believed(made):
    text = (made / "manifest.json").read_text()
    (made / "manifest.json").write_text(text.replace("laptop", "full"))
    assert said(made).startswith("manifest.json is altered")


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_sums_that_lack_rows_are_not_believed(made, rows):
    text = (made / "SHA256SUMS").read_text().splitlines(keepends=True)
    (made / "SHA256SUMS").write_text("".join(text[:rows]))
    assert said(made) == "SHA256SUMS is damaged; get it again."


def test_each_archive_must_have_its_sum(made):
    text = (made / "SHA256SUMS").read_text().splitlines(keepends=True)
    (made / "SHA256SUMS").write_text("".join(r for r in text if SITE not in r))
    assert said(made) == "SHA256SUMS is damaged; get it again."


def test_a_folder_that_is_no_release_is_called_so(tmp_path):
    assert "not a release" in said(tmp_path)


def test_what_was_unpacked_beside_is_checked_too(made):
    with tarfile.open(made / SITE) as tar:
        tar.extractall(made, filter="data")
    assert release.verify(made)
    page = made / SITE.removesuffix(".tar.gz") / "notebooks/one.html"
    page.write_text("<p>Two</p>\n")
    assert said(made) == "locality-1.2.3-site: notebooks/one.html is altered"


def test_changed_files_are_not_released_under_a_commit(book, tmp_path):
    for name in ("new.txt", "run"):
        before = (book / name).read_text() if (book / name).exists() else None
        (book / name).write_text("changed\n")
        with pytest.raises(release.BadRelease, match=f"Commit or stash[^~]*{name}"):
            release.make(tmp_path / "release", book)
        if before is None:
            (book / name).unlink()
        else:
            (book / name).write_text(before)
    assert not (tmp_path / "release").exists()


def test_a_tag_must_name_the_version(book, tmp_path):
    with pytest.raises(release.BadRelease, match=r"v1\.2\.4.*version 1\.2\.3"):
        release.make(tmp_path / "release", book, tag="v1.2.4")
    assert release.make(tmp_path / "release", book, tag="v1.2.3")


def test_without_a_site_there_is_no_release(book, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(book, bare, ignore=shutil.ignore_patterns("_build"))
    with pytest.raises(release.BadRelease, match="No _build/html yet"):
        release.make(tmp_path / "release", bare)


def test_the_citation_has_the_version_of_the_release(root):
    citation = (root / "CITATION.cff").read_text().splitlines()
    assert f"version: {release.version(root)}" in citation


def figure(name, data):
    cell = nbformat.v4.new_code_cell("draw()")
    cell.metadata["mystnb"] = {"figure": {"name": name}} if name else {}
    cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    return cell


def test_figures_are_files_in_black_on_white(tmp_path, monkeypatch):
    svg = '<svg><path stroke="#000001" fill="#FFFFFE"/></svg>'
    cells = [figure("fig-a", {"image/svg+xml": svg}), figure(None, {"text/plain": "1"})]
    monkeypatch.setattr(figures.chapters, "BUILD", tmp_path)
    monkeypatch.setattr(figures.chapters, "names", lambda: ["01_one"])
    (tmp_path / "executed").mkdir()
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, tmp_path / "executed/01_one.ipynb")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/old.svg").write_text("")
    assert figures.write(tmp_path / "figures") == 1
    assert (tmp_path / "figures/fig-a.svg").read_text() == (
        '<svg><path stroke="#000000" fill="#ffffff"/></svg>'
    )

"""The workflows of GitHub, by the published schema, a linter, and our own rules.

Each rule takes a copy of `.github` and returns what is wrong with it; at the end each
is shown a copy that somebody spoilt.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import chapters
import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
SCHEMAS = {
    "workflows/*.yml": "vendor.github-workflows",
    "actions/*/action.yml": "vendor.github-actions",
    "dependabot.yml": "vendor.dependabot",
}
# Who may write what, and why: the reason stands beside each permission in the file.
WRITERS = {
    ("alarm.yml", "late", "issues"),
    ("canary.yml", "report", "issues"),
    ("full.yml", "site", "id-token"),
    ("full.yml", "site", "pages"),
    ("links.yml", "report", "issues"),
    ("publish.yml", "notebooks", "contents"),
    ("publish.yml", "site", "id-token"),
    ("publish.yml", "site", "pages"),
    ("release.yml", "publish", "contents"),
    ("weekly.yml", "report", "issues"),
}


def files(github) -> dict[str, dict]:
    """The workflows by name; YAML takes the key `on` for True."""
    found = sorted((github / "workflows").glob("*.yml"))
    return {path.name: yaml.safe_load(path.read_text()) for path in found}


def jobs(github):
    """(file, name, job) of each job."""
    for file, workflow in files(github).items():
        for name, job in workflow["jobs"].items():
            yield file, name, job


def steps(github):
    """(where, step) of each step, those of our own actions too."""
    for file, name, job in jobs(github):
        for step in job.get("steps", []):
            yield f"{file}, {name}", step
    for path in sorted((github / "actions").glob("*/action.yml")):
        for step in yaml.safe_load(path.read_text())["runs"]["steps"]:
            yield path.parent.name, step


def scripts(github):
    return [(where, step["run"]) for where, step in steps(github) if "run" in step]


def texts(github):
    paths = [*github.glob("workflows/*.yml"), *github.glob("actions/*/action.yml")]
    return {path: path.read_text() for path in sorted(paths)}


# --- the rules ------------------------------------------------------------------------


def schema(github):
    """The published schemas of GitHub, which check-jsonschema brings along."""
    wrong, run = [], "from check_jsonschema import main; main()"
    command = [sys.executable, "-c", chapters.WITHOUT_SLOW + run, "--builtin-schema"]
    for pattern, name in SCHEMAS.items():
        paths = [str(path) for path in github.glob(pattern)]
        done = subprocess.run([*command, name, *paths], capture_output=True, text=True)
        wrong += [done.stdout + done.stderr] if done.returncode or not paths else []
    return wrong


def linter(github):
    """zizmor: templates in scripts, credentials left behind, and much more."""
    tool = Path(sysconfig.get_path("scripts")) / "zizmor"
    command = [str(tool), "--offline", "--pedantic", "--strict-collection"]
    done = subprocess.run(
        [*command, "--config", str(ROOT / ".github/zizmor.yml"), str(github)],
        capture_output=True,
        text=True,
    )
    return [done.stdout + done.stderr] if done.returncode else []


def pinned(github):
    """Actions of others by their commit, one commit for each; our own ones exist."""
    rows = re.findall(r"uses: (.+)$", "\n".join(texts(github).values()), re.MULTILINE)
    ours = [row for row in rows if row.startswith("./")]
    others = {row for row in rows if not row.startswith("./")}
    wrong = [row for row in others if not PIN.fullmatch(row)]
    names = [row.split("@")[0] for row in others]
    wrong += [f"two versions: {name}" for name in names if names.count(name) > 1]
    wrong += [row for row in ours if not (github.parent / row).exists()]
    return wrong if others else ["no action found"]


def permissions(github):
    """Nothing by default, and for each job what it needs, with the reason beside it."""
    found = set()
    wrong = [f for f, w in files(github).items() if w.get("permissions") != {}]
    for file, name, job in jobs(github):
        given = job.get("permissions", {})
        if not isinstance(given, dict):
            wrong.append(f"{file}, {name}: {given}")
            continue
        found |= {(file, name, key) for key, v in given.items() if v == "write"}
    return wrong + sorted(map(str, found ^ WRITERS))


def limits(github):
    """Each job ends some time, and no two runs of a kind work at once."""
    wrong = [
        f"{file}, {name}: no time limit"
        for file, name, job in jobs(github)
        if "steps" in job and not isinstance(job.get("timeout-minutes"), int)
    ]
    for file, workflow in files(github).items():
        if "workflow_call" not in workflow[True] and "concurrency" not in workflow:
            wrong.append(f"{file}: no concurrency group")
    return wrong


def triggers(github):
    """Code of strangers runs in check.yml alone, where it can do nothing."""
    wrong = []
    for file, workflow in files(github).items():
        found = set(workflow[True])
        wrong += [f"{file}: {t}" for t in found & {"pull_request_target", "issues"}]
        if "pull_request" in found and file != "check.yml":
            wrong.append(f"{file}: pull_request")
    return wrong


def shell(github):
    """No expression becomes part of a script, and bash can read each script."""
    wrong = [where for where, script in scripts(github) if "${{" in script]
    for where, script in scripts(github):
        done = subprocess.run(["bash", "-n", "-c", script], capture_output=True)
        wrong += [f"{where}: {done.stderr}"] if done.returncode else []
    return wrong


def commands(github):
    """What a script calls is there: targets of the Makefile, and files."""
    makefile, wrong = (ROOT / "Makefile").read_text(), []
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE)) | {
        ".venv/.book-ready"
    }
    for where, script in scripts(github):
        called = re.findall(r"^make (\S+)", script, re.MULTILINE)
        wrong += [f"{where}: make {t}" for t in called if t not in targets]
        paths = re.findall(
            r"(?<!\S)((?:workflow|tests)/[\w/]+\.py|\.github/\S+)", script
        )
        wrong += [f"{where}: {p}" for p in paths if not (ROOT / p).exists()]
    return wrong


def pythons(github):
    """Every version of Python that is named is one that the book allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    text = "\n".join(texts(github).values())
    named = re.findall(r'python(?:-version)?: (\[.*\]|"[^"]*")', text)
    defaults = re.findall(r'default: "(\d\.\d+)"', text)
    versions = re.findall(r"\d+\.\d+", " ".join(named + defaults))
    return [v for v in versions if v not in allowed] if versions else ["none named"]


def gpu(github):
    """The runner is a variable; without it one job says so and the other is skipped."""
    full, wrong = files(github)["full.yml"]["jobs"], []
    if full["gpu"]["runs-on"] != "${{ vars.GPU_RUNNER }}":
        wrong.append("the runner is not GPU_RUNNER")
    if full["gpu"]["if"] != "vars.GPU_RUNNER != ''":
        wrong.append("the GPU run is not skipped")
    if full["skipped"]["if"] != "vars.GPU_RUNNER == ''":
        wrong.append("the notice is not given")
    if "::notice title=Full run skipped::" not in full["skipped"]["steps"][0]["run"]:
        wrong.append("the notice says nothing")
    return wrong


def same_commands(github):
    """Wherever the laptop book is built for others to see, it is checked and tested."""
    wrong = []
    for file, name in (("build.yml", "laptop"), ("release.yml", "pack")):
        job = files(github)[file]["jobs"][name]
        made = [step["run"] for step in job["steps"] if "run" in step]
        if made[:4] != ["make lint", "make book", "make check", "make test"]:
            wrong.append(f"{file} runs {made}")
    return wrong


RULES = [schema, linter, pinned, permissions, limits, triggers, shell, commands]
RULES += [pythons, gpu, same_commands]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule):
    assert not rule(ROOT / ".github")


# --- each rule finds what it is for ---------------------------------------------------

CHECKOUT = "actions/checkout@9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0 # v7.0.0"
SPOILT = [
    (schema, "weekly.yml", "runs-on: ubuntu-24.04", "run-on: ubuntu-24.04"),
    (schema, "alarm.yml", "issues: write", "issues: please"),
    (linter, "links.yml", "persist-credentials: false", "fetch-depth: 1"),
    (
        linter,
        "release.yml",
        'create "$GITHUB_REF_NAME"',
        "create ${{ github.ref_name }}",
    ),
    (pinned, "weekly.yml", CHECKOUT, "actions/checkout@v7"),
    (pinned, "weekly.yml", CHECKOUT, CHECKOUT[:57]),
    (pinned, "weekly.yml", CHECKOUT, CHECKOUT.replace("@9c", "@9d")),
    (pinned, "weekly.yml", CHECKOUT, CHECKOUT.replace("@9c091bb2", "@9c091bb")),
    (pinned, "check.yml", "/build.yml", "/built.yml"),
    (permissions, "weekly.yml", "permissions: {}", "permissions: read-all"),
    (permissions, "weekly.yml", "permissions: {}\n", ""),
    (permissions, "build.yml", "contents: read #", "contents: write #"),
    (permissions, "full.yml", "contents: read #", "actions: write #"),
    (limits, "links.yml", "    timeout-minutes: 90\n", ""),
    (limits, "check.yml", "concurrency:", "env:"),
    (triggers, "check.yml", "pull_request:", "pull_request_target:"),
    (triggers, "links.yml", "workflow_dispatch:", "pull_request:"),
    (shell, "full.yml", 'echo "::error title', 'echo "${{ github.ref }} title'),
    (shell, "build.yml", "          fi\n", ""),
    (commands, "build.yml", "make check", "make checks"),
    (commands, "weekly.yml", "upkeep.py", "uphold.py"),
    (commands, "links.yml", "r .github/lychee.txt", "r .github/lychees.txt"),
    (pythons, "weekly.yml", '"3.12"', '"3.10"'),
    (pythons, "build.yml", 'default: "3.11"', 'default: "3.9"'),
    (pythons, "canary.yml", 'python: "3.12"', 'python: "3.8"'),
    (gpu, "full.yml", "if: vars.GPU_RUNNER == ''", "if: vars.GPU_RUNNER == 'none'"),
    (gpu, "full.yml", "if: vars.GPU_RUNNER != ''", "if: always()"),
    (gpu, "full.yml", "${{ vars.GPU_RUNNER }}", "gpu"),
    (gpu, "full.yml", "::notice title=Full", "::debug title=Full"),
    (same_commands, "release.yml", "      - run: make test\n", ""),
    (same_commands, "build.yml", "run: make check", "run: make check || true"),
]


@pytest.mark.parametrize(("rule", "file", "old", "new"), SPOILT)
def test_rule_finds(tmp_path, rule, file, old, new):
    github = tmp_path / ".github"
    shutil.copytree(ROOT / ".github", github)
    path = github / "workflows" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert rule(github)


# --- scripts that can be run here -----------------------------------------------------


def script_of(file, job, name):
    found = files(ROOT / ".github")[file]["jobs"][job]["steps"]
    return next(step["run"] for step in found if step.get("name") == name)


def run(script, cwd, **variables):
    """As a runner does: bash that stops at the first error."""
    command = ["bash", "-e", "-c", script]
    environment = os.environ | variables
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_notice_is_seen(tmp_path):
    script = script_of("full.yml", "skipped", "Say so where it is seen")
    said = run(script, tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    assert said.startswith("::notice title=Full run skipped::The repository variable")
    summary = (tmp_path / "summary").read_text()
    assert "GPU_RUNNER is empty" in summary and "laptop profile" in summary


def test_the_branch_of_notebooks_is_replaced(tmp_path):
    """By one commit, whatever was there; GitHub is a folder here."""
    script = script_of("publish.yml", "notebooks", "Push the branch")
    (tmp_path / "gh").write_text('#!/bin/sh\ntest "$*" = "auth setup-git"\n')
    (tmp_path / "gh").chmod(0o755)
    remote = tmp_path / "owner" / "name"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    for name in ("first.ipynb", "second.ipynb"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text(json.dumps({}))
        run(
            script,
            folder,
            PATH=f"{tmp_path}:{os.environ['PATH']}",
            GITHUB_SERVER_URL=str(tmp_path),
            GITHUB_REPOSITORY="owner/name",
            GITHUB_SHA="0" * 40,
        )
    log = ["git", "-C", str(remote), "log", "--format=%s", "--name-only", "notebooks"]
    text = subprocess.run(log, check=True, capture_output=True, text=True).stdout
    assert text.split("\n\n") == [f"Executed notebooks of {'0' * 40}", "second.ipynb\n"]


@pytest.mark.parametrize("url", ["", "https://github.com/owner/name"])
def test_notebooks_wait_until_the_book_has_an_address(tmp_path, url):
    script = script_of("build.yml", "laptop", "Notebooks with outputs")
    (tmp_path / "_config.yml").write_text(f'repository:\n  url: "{url}"\n')
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    output = tmp_path / "output"
    output.touch()
    said = run(script, tmp_path, RUNNER_TEMP="/there", GITHUB_OUTPUT=str(output))
    if url:
        assert said == "workflow/notebooks.py /there/notebooks\n"
        assert output.read_text() == "made=true\n"
    else:
        assert said.startswith("::notice title=No notebooks published::repository.url")
        assert output.read_text() == ""


@pytest.mark.parametrize("failures", [0, 2, 3])
def test_links_are_dead_when_they_are_dead_three_times(tmp_path, failures):
    """Within 25 minutes; here the clock stands still."""
    script = "sleep() { echo pause $1; }\n" + script_of(
        "links.yml", "links", "Check every link"
    )
    (tmp_path / "_build/html").mkdir(parents=True)
    lychee = tmp_path / ".venv/bin/lychee"
    lychee.parent.mkdir(parents=True)
    lychee.write_text(
        f"#!/bin/sh\necho x >> asked; test $(wc -l < asked) -gt {failures}\n"
    )
    lychee.chmod(0o755)
    if failures == 3:
        with pytest.raises(AssertionError, match="pause 1200"):
            run(script, tmp_path)
    else:
        assert run(script, tmp_path).count("pause") == failures + 1
    assert len((tmp_path / "asked").read_text().split()) == min(failures + 1, 3)

"""What the scheduled runs do about trouble, and how the canary gets its versions."""

import json
import re
import shlex
import tomllib
from datetime import UTC, datetime
from itertools import pairwise

import newest
import pytest
import upkeep
from packaging.requirements import Requirement

NOW = datetime(2027, 3, 20, tzinfo=UTC)


class GitHub:
    """Stands for the command `gh`: a few answers, and what was asked of it."""

    def __init__(self, successes=(), since="2027-01-01T00:00:00Z", state="active"):
        self.issues, self.comments, self.labels = {}, [], set()
        self.successes, self.file = successes, {"created_at": since, "state": state}

    def __call__(self, *command):
        what, options = " ".join(command[:2]), dict(pairwise(command))
        if what == "issue list":
            assert options["--state"] == "open"
            return json.dumps(
                [{"number": n, "title": t} for n, (t, _) in self.issues.items()]
            )
        if what == "run list":
            assert options["--status"] == "success" and options["--branch"] == "main"
            return json.dumps([{"createdAt": s} for s in self.successes[:1]])
        if what == "issue create":
            assert options["--label"] in self.labels, "gh refuses an unknown label"
            self.issues[len(self.issues) + 1] = (options["--title"], options["--body"])
        elif what == "issue comment":
            self.comments.append((int(command[2]), options["--body"]))
        elif what == "label create":
            self.labels.add(command[2])
        else:
            assert what == "api repos/owner/name/actions/workflows/weekly.yml"
            return json.dumps(self.file)
        return ""


@pytest.fixture
def github(monkeypatch):
    def begin(**what):
        monkeypatch.setattr(upkeep, "gh", fake := GitHub(**what))
        return fake

    for key, value in {
        "SERVER_URL": "https://github.com",
        "REPOSITORY": "owner/name",
        "RUN_ID": "7",
        "REF_NAME": "main",
    }.items():
        monkeypatch.setenv(f"GITHUB_{key}", value)
    return begin


def test_the_second_report_is_a_comment(github):
    fake = github()
    for title in ("The links", "The lock", "The links"):
        upkeep.report(title, "A job failed.")
    assert [title for title, _ in fake.issues.values()] == ["The links", "The lock"]
    assert [number for number, _ in fake.comments] == [1]
    run = "https://github.com/owner/name/actions/runs/7"
    assert run in fake.issues[1][1] and run in fake.comments[0][1]


def test_after_the_issue_was_closed_there_is_a_new_one(github):
    fake = github()
    upkeep.report("The links", "A job failed.")
    fake.issues.clear()
    upkeep.report("The links", "A job failed.")
    assert len(fake.issues) == 1 and not fake.comments


@pytest.mark.parametrize(
    ("since", "state", "days", "sentence"),
    [
        ("2027-03-15T04:00:00Z", "active", 16, ""),
        ("2027-03-04T00:00:00Z", "active", 16, ""),
        ("2027-03-02T00:00:00Z", "active", 16, "has not succeeded for 18 days"),
        ("2027-03-15T04:00:00+01:00", "active", 3, "has not succeeded for 4 days"),
        ("2027-03-19T04:00:00Z", "disabled_inactivity", 16, "is switched off"),
    ],
)
def test_trouble(since, state, days, sentence):
    text = upkeep.trouble("weekly.yml", since, state, days, NOW)
    assert sentence in text and bool(text) == bool(sentence)


def test_an_old_success_raises_the_alarm_once(github):
    fake = github(successes=["2020-01-01T00:00:00Z"])
    assert upkeep.alarm("weekly.yml", 16) and upkeep.alarm("weekly.yml", 16)
    assert len(fake.issues) == 1 and len(fake.comments) == 1
    assert "weekly.yml has not succeeded for" in fake.issues[1][1]


def test_a_late_success_does_not(github):
    fake = github(successes=[datetime.now(UTC).isoformat()])
    assert not upkeep.alarm("weekly.yml", 16)
    assert not fake.issues


def test_without_a_success_the_age_of_the_workflow_counts(github):
    github(since=datetime.now(UTC).isoformat())
    assert not upkeep.alarm("weekly.yml", 16)
    fake = github(since="2020-01-01T00:00:00Z")
    assert upkeep.alarm("weekly.yml", 16) and len(fake.issues) == 1


def requirements(project):
    project = tomllib.loads(project)
    groups = project["dependency-groups"].values()
    rows = project["project"]["dependencies"] + [row for g in groups for row in g]
    return {r.name: r.specifier for r in map(Requirement, rows)}


def test_the_canary_takes_the_newest_versions(root):
    project = (root / "pyproject.toml").read_text()
    before, after = requirements(project), requirements(newest.loosened(project))
    assert set(after) == set(before)
    held = {name for name, specifier in after.items() if str(specifier)}
    assert held == {"uv", "jupyter-book"}
    assert after["uv"] == before["uv"]
    assert "1.9" in after["jupyter-book"] and "2.1.7" not in after["jupyter-book"]
    assert any("==" in str(s) for n, s in before.items() if n not in held)


def test_the_canary_locks_as_the_lock_says(root):
    lock = (root / "requirements.lock").read_text()
    _, *command = newest.resolving(lock)
    made_with = shlex.split(re.search(r"#\s+uv (pip compile .*)", lock)[1])
    assert command == ["-m", "uv", *made_with, "--upgrade", "-q"]
    assert {"--generate-hashes", "pyproject.toml", "requirements.lock"} <= set(command)

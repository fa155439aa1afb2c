"""Tell the maintainers, in one issue for each trouble, that something went wrong.

    python3 workflow/upkeep.py report TITLE              something has failed
    python3 workflow/upkeep.py alarm NAME.yml --days 16  has it succeeded lately?

While an issue of the same title is open, it gets a comment instead of a second issue.
Nothing is closed here. The GitHub command `gh` does the talking.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

LABEL = "upkeep"
ABOUT = "Found by a scheduled run"


def gh(*command) -> str:
    done = subprocess.run(["gh", *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"gh {command[0]} {command[1]} failed; its reason is above.")
    return done.stdout


def here() -> str:
    """The address of this run, from what GitHub tells every job."""
    server, name, run = (
        os.environ[f"GITHUB_{key}"] for key in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    return f"{server}/{name}/actions/runs/{run}"


def report(title: str, text: str):
    """Open an issue, or add to the open one of this title."""
    text = f"{text}\n\nSeen by {here()}"
    fields = ("--label", LABEL, "--limit", "100", "--json", "number,title")
    found = json.loads(gh("issue", "list", "--state", "open", *fields))
    same = [str(issue["number"]) for issue in found if issue["title"] == title]
    if same:
        gh("issue", "comment", same[0], "--body", text)
    else:
        gh("label", "create", LABEL, "--description", ABOUT, "--force")
        gh("issue", "create", "--title", title, "--label", LABEL, "--body", text)


def last_success(workflow: str) -> tuple[str, str]:
    """When it succeeded last on this branch, else since when it exists; its state."""
    name = os.environ["GITHUB_REPOSITORY"]
    file = json.loads(gh("api", f"repos/{name}/actions/workflows/{workflow}"))
    fields = ("--branch", os.environ["GITHUB_REF_NAME"], "--json", "createdAt")
    query = ("--workflow", workflow, "--status", "success", "--limit", "1")
    runs = json.loads(gh("run", "list", *query, *fields))
    return (runs[0]["createdAt"] if runs else file["created_at"]), file["state"]


def trouble(workflow: str, since: str, state: str, days: int, now=None) -> str:
    """One sentence if the workflow is off or has not succeeded for `days`; else ''."""
    age = ((now or datetime.now(UTC)) - datetime.fromisoformat(since)).days
    if state != "active":
        return f"{workflow} is switched off ({state}); nobody would see a failure."
    return f"{workflow} has not succeeded for {age} days." if age > days else ""


def alarm(workflow: str, days: int) -> bool:
    """Report a workflow that should have succeeded by now; whether there was one."""
    text = trouble(workflow, *last_success(workflow), days)
    print(text or f"{workflow} has succeeded lately, or is new.")
    if text:
        report(f"No success of {workflow} for too long", text)
    return bool(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("report").add_argument("title")
    late = kinds.add_parser("alarm")
    late.add_argument("workflows", nargs="+")
    late.add_argument("--days", type=int, required=True)
    args = parser.parse_args()
    if args.kind == "report":
        report(args.title, "A job failed or ran out of time; its log has the reason.")
    else:
        late = [alarm(workflow, args.days) for workflow in args.workflows]
        sys.exit(any(late))


if __name__ == "__main__":
    main()

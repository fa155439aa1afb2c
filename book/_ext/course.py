"""The course pages from their tables: plans, objectives, rubrics, and `{exercise}`.

`{course-plan} four_weeks`, `{objectives}` and `{rubric-table} homework` write sections
from `course/plans.yml`, `objectives.yml` and `rubric.yml`; every sum is computed here,
and a session whose steps do not fill its time stops the build. {exercise}`2.3` leads to
that exercise of its chapter.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from quiz import read
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

KINDS = ("show", "ask", "explain", "work", "discuss", "quiz", "break")
EXERCISE = re.compile(r"Exercise (\d+\.\d+): (.*)")
LOG = logging.getLogger(__name__)


def total(entries) -> int:
    return sum(entry["min"] for entry in entries)


def line(text) -> str:
    return " ".join(text.split())


def clock(minutes) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def check_session(session):
    """ExtensionError unless every step is of a known kind and the minutes add up."""
    title, steps = session["title"], session["steps"]
    if unknown := [s["kind"] for s in steps if s["kind"] not in KINDS]:
        raise ExtensionError(f"course/plans.yml, {title!r}: no kind {unknown[0]!r}.")
    if total(steps) != session["minutes"]:
        raise ExtensionError(
            f"course/plans.yml, {title!r}: its steps take {total(steps)} minutes, "
            f"not {session['minutes']}."
        )


def shares(steps) -> str:
    """`35 min work, 20 min show`: what the time goes into, the most first."""
    spent = {k: total([s for s in steps if s["kind"] == k]) for k in KINDS}
    known = sorted((kind for kind in KINDS if spent[kind]), key=lambda k: -spent[k])
    return ", ".join(f"{kind} {spent[kind]}" for kind in known)


def step_row(step, begin) -> str:
    """A row of the table: from when to when, what happens, what may go wrong."""
    who = f", {step['who']}" if "who" in step else ""
    wrong = f"\n\n    *May go wrong:* {line(step['wrong'])}" if "wrong" in step else ""
    what = f"**{step['kind'].capitalize()}{who}.** {line(step['do'])}{wrong}"
    return f"* - {clock(begin)}–{clock(begin + step['min'])}\n  - {what}\n"


def session_text(session) -> str:
    """What to read before, where the minutes go, the steps, and the homework."""
    check_session(session)
    begin, rows = session.get("start", 0), []
    for step in session["steps"]:
        rows.append(step_row(step, begin))
        begin += step["min"]
    table = "```{list-table}\n:class: plan\n:header-rows: 1\n:widths: auto\n\n"
    head = "* - Time\n  - What happens\n"
    read = " · ".join(f"{{doc}}`/notebooks/{name}`" for name in session["chapters"])
    lines = [f"Chapters: {read}\n", f"Minutes: {shares(session['steps'])}.\n"]
    return "\n".join([*lines, f"{table}{head}{''.join(rows)}```\n", homework(session)])


def homework(session) -> str:
    tasks = session.get("homework", [])
    listed = "\n".join(f"- {task['do'].strip()} ({task['min']} min)" for task in tasks)
    return f"Homework, {total(tasks)} minutes:\n\n{listed}\n" if tasks else ""


def overview(sessions) -> str:
    """All sessions with their minutes, and the sums."""
    head = "| session | minutes | homework |\n|---|---|---|\n"
    counts = [(s["minutes"], total(s.get("homework", []))) for s in sessions]
    names = [session["title"] for session in sessions]
    rows = [f"| {n} | {a} | {b or '–'} |" for n, (a, b) in zip(names, counts)]
    taught, at_home = map(sum, zip(*counts))
    return head + "\n".join([*rows, f"| **Together** | {taught} | {at_home or '–'} |"])


def goals_text(part) -> str:
    lines = [f"- {g['can'].strip()} {{exercise}}`{g['shows']}`" for g in part["goals"]]
    return "\n".join(lines)


def rubric_text(criterion, levels) -> str:
    """A criterion as a row of cards, one for each level."""
    heads = [f"{level['name']}: {worth(criterion, level)}" for level in levels]
    cards = [
        f":::{{grid-item-card}} {head}\n{says}\n:::\n"
        for head, says in zip(heads, criterion["levels"], strict=True)
    ]
    return f"::::{{grid}} 1 2 4 4\n:gutter: 2\n\n{''.join(cards)}::::\n"


def worth(criterion, level) -> str:
    points = criterion["points"] * level["share"]
    return f"{points:g} point{'' if points == 1 else 's'}"


class FromTable(SphinxDirective):
    """Sections made from a table of `course/`."""

    optional_arguments = 1

    def table(self, name):
        path = Path(self.env.srcdir) / "course" / name
        self.env.note_dependency(str(path))
        return read(path)

    def parsed(self, text) -> list:
        box = nodes.container()
        self.state.nested_parse(StringList(text.splitlines()), self.content_offset, box)
        return box.children

    def section(self, title, text):
        """A heading with what stands below it."""
        heading = nodes.title(title, title)
        section = nodes.section("", heading, *self.parsed(text))
        section["ids"] = [nodes.make_id(title)]
        section["names"] = [nodes.fully_normalize_name(title)]
        return section


class CoursePlan(FromTable):
    def run(self):
        sessions = self.table("plans.yml")[self.arguments[0]]
        sections = [self.section(s["title"], session_text(s)) for s in sessions]
        several = self.parsed(overview(sessions)) if len(sessions) > 1 else []
        return [*several, *sections]


class Objectives(FromTable):
    def run(self):
        parts = self.table("objectives.yml")
        return [self.section(part["part"], goals_text(part)) for part in parts]


class Rubric(FromTable):
    def run(self):
        rubric = self.table("rubric.yml")[self.arguments[0]]
        return [
            self.section(
                f"{each['name']} ({each['points']} points)",
                rubric_text(each, rubric["levels"]),
            )
            for each in rubric["criteria"]
        ]


class ExerciseLink(nodes.Inline, nodes.TextElement):
    """A link to an exercise, before all chapters are read."""


class ExerciseRole(SphinxRole):
    def run(self):
        words = f"exercise {self.text}"
        node = ExerciseLink("", words, number=self.text)
        self.set_source_info(node)
        return [node], []


def places(env, docname) -> dict:
    """Where the exercises of a chapter are: number -> (anchor, title)."""
    links = env.tocs[docname].findall(nodes.reference)
    found = ((EXERCISE.match(each.astext()), each["anchorname"]) for each in links)
    return {match[1]: (anchor, match[2]) for match, anchor in found if match}


def resolve(app, doctree, docname):
    """Turn each `{exercise}` into a link; a number that is none is a warning."""
    for node in list(doctree.findall(ExerciseLink)):
        begin = f"notebooks/{int(node['number'].split('.')[0]):02}_"
        chapter = next((d for d in app.env.found_docs if d.startswith(begin)), None)
        known = places(app.env, chapter) if chapter else {}
        if not chapter or (known and node["number"] not in known):
            LOG.warning("there is no exercise %s", node["number"], location=node)
            continue
        anchor, title = known.get(node["number"], ("#exercises", ""))
        uri = app.builder.get_relative_uri(docname, chapter) + anchor
        link = nodes.reference("", node.astext(), refuri=uri, internal=True)
        if title:
            link["reftitle"] = title
        node.replace_self(link)


def setup(app):
    app.add_directive("course-plan", CoursePlan)
    app.add_directive("objectives", Objectives)
    app.add_directive("rubric-table", Rubric)
    app.add_role("exercise", ExerciseRole())
    app.add_node(ExerciseLink)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True}

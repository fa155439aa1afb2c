"""The directive `{quiz} quiz_1`: the questions of `course/quiz_1.yml`.

A question has options, or asks for a number. Each option is a fold-out that says why it
is right or wrong, so a quiz needs no script. `quiz.mjs` adds a field for numbers, and
counts what was right at the first try.
"""

import hashlib
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

SCRIPT = '<script type="module" src="{}_static/quiz.mjs"></script>'
CHOICE = {"ask", "options"}
NUMBER = {"ask", "number", "within", "why", "mistakes"}
COUNT = ("No", "One", "Two", "Three", "Four", "Five")
MINUS = "\N{MINUS SIGN}"


class Tag(nodes.General, nodes.Element):
    """An HTML element with its attributes; what is in it are nodes of the page."""


def tag(name, *children, **attributes):
    classes = attributes.pop("classes", "").split()
    attributes = {k.replace("_", "-"): str(v) for k, v in attributes.items()}
    return Tag("", *children, tag=name, attributes_=attributes, classes=classes)


def open_tag(writer, node):
    writer.body.append(writer.starttag(node, node["tag"], **node["attributes_"]))


def close_tag(writer, node):
    writer.body.append(f"</{node['tag']}>\n")


def amount(value) -> float:
    """A number of the file; a page writes the minus of a result as a minus sign."""
    return float(str(value).replace(MINUS, "-"))


def need(fine, path, place, what):
    if not fine:
        raise ExtensionError(f"book/course/{path.name}, question {place}: {what}")


def check_options(options, path, place):
    """Three or more, each with its reason, one or more right, no two alike."""
    whole = all(set(o) - {"right"} == {"say", "why"} for o in options)
    need(whole, path, place, "each option needs `say` and `why`.")
    right = sum(option.get("right", False) for option in options)
    need(0 < right < len(options), path, place, "some options right, some wrong.")
    said = {" ".join(option["say"].split()).lower() for option in options}
    need(len(said) == len(options) > 2, path, place, "three different options.")


def check_number(entry, path, place):
    """The typical mistakes are numbers, and none of them passes for the answer."""
    answer, within = amount(entry["number"]), amount(entry["within"])
    values = [amount(mistake["number"]) for mistake in entry["mistakes"]]
    whole = all(set(mistake) == {"number", "why"} for mistake in entry["mistakes"])
    need(whole and values, path, place, "each mistake needs `number` and `why`.")
    apart = all(abs(value - answer) > 2 * within for value in values)
    need(apart and within > 0, path, place, "a mistake counts as the answer.")
    need(len(set(values)) == len(values), path, place, "two mistakes are the same.")


def read(path):
    """A table of the course; ExtensionError, with the line, if it is no YAML."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        where = f"book/course/{Path(path).name}, line {error.problem_mark.line + 1}"
        raise ExtensionError(f"{where}: {error.problem}.") from None


def load(path) -> list[dict]:
    """The questions of a file; ExtensionError, with the place, if one is not whole."""
    questions = read(path)
    for place, entry in enumerate(questions, start=1):
        known = set(entry) in (CHOICE, NUMBER)
        need(known, path, place, f"it has {', '.join(entry)}.")
        if "options" in entry:
            check_options(entry["options"], path, place)
        else:
            check_number(entry, path, place)
    asked = [" ".join(entry["ask"].split()) for entry in questions]
    if len(set(asked)) < len(asked):
        raise ExtensionError(f"book/course/{path.name} asks a question twice.")
    return questions


def shuffled(option) -> str:
    """A key that puts options into an order which tells nothing, always the same."""
    return hashlib.sha256(option["say"].encode()).hexdigest()


def all_options(entry) -> list[dict]:
    """The fold-outs of a question: its options, or its answer and the mistakes."""
    if "options" in entry:
        return sorted(entry["options"], key=shuffled)
    answer = {"say": "The answer", "right": True}
    wrong = [{"say": f"If you have {m['number']}", **m} for m in entry["mistakes"]]
    return [{**entry, **answer, "within": entry["within"]}, *wrong]


def said(option) -> str:
    """The first words of a reason; an answer that is a number says which."""
    if not option.get("right", False):
        return "Not right."
    return f"It is {option['number']}." if "number" in option else "Right."


def kind(entry) -> str:
    """What is asked for, in words."""
    if "number" in entry:
        return "A number."
    right = sum(option.get("right", False) for option in entry["options"])
    return "One is right." if right == 1 else f"{COUNT[right]} are right."


class Quiz(SphinxDirective):
    required_arguments = 1

    def run(self):
        path = Path(self.env.srcdir) / "course" / f"{self.arguments[0]}.yml"
        self.env.note_dependency(str(path))
        questions = [self.question(n, q) for n, q in enumerate(load(path), start=1)]
        up = "../" * self.env.docname.count("/")
        script = nodes.raw("", SCRIPT.format(up), format="html")
        return [tag("div", tag("ol", *questions), classes="quiz"), script]

    def parsed(self, text) -> list:
        """Markdown as nodes of the page."""
        box = nodes.container()
        self.state.nested_parse(StringList(text.splitlines()), self.content_offset, box)
        return box.children

    def words(self, text) -> list:
        """Markdown of one paragraph, without the paragraph."""
        (paragraph,) = self.parsed(text)
        return paragraph.children

    def question(self, number, entry):
        line = nodes.paragraph("", kind(entry), classes=["kind"])
        options = [self.option(each) for each in all_options(entry)]
        asked = tag("div", *self.parsed(entry["ask"]), classes="ask")
        item = tag("li", asked, line, *options, classes="question")
        item["ids"] = [f"question-{number}"]
        return item

    def option(self, option):
        right = option.get("right", False)
        verdict = nodes.strong("", said(option))
        first, *rest = self.parsed(option["why"])
        first[:0] = [verdict, nodes.Text(" ")]
        why = tag("div", first, *rest, classes="why")
        known = {"data-right": int(right)}
        if "number" in option:
            known["data-number"] = amount(option["number"])
            known["data-within"] = option.get("within", 0)
        summary = tag("summary", *self.words(option["say"]))
        return tag("details", summary, why, classes="option", **known)


def setup(app):
    app.add_node(Tag, html=(open_tag, close_tag))
    app.add_directive("quiz", Quiz)
    return {"version": "1", "parallel_read_safe": True}

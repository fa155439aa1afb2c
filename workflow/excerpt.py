"""The code of a chapter that its exercises stand on, and no more.

A chapter takes a minute, its exercises need a few of its names. Walking backwards from
the end, a statement stays if it gives or changes a name that something below it needs.
Imports stay, all of them.
"""

import ast
import builtins
import symtable
from dataclasses import dataclass, replace

RESULTS = "results"  # where a chapter notes what it found
IMPORTS = (ast.Import, ast.ImportFrom)
CERTAIN = (*IMPORTS, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
CERTAIN += (ast.With,)
DEFINED = (ast.FunctionDef, ast.ClassDef)
WEIGHTS = ("parameters", "modules", "children")  # of a net, which others may change


@dataclass(frozen=True)
class Statement:
    """A statement of the outermost level, with the comment above it."""

    text: str
    node: ast.stmt
    gives: frozenset  # names that it sets
    uses: frozenset  # names that it, or a function in it, looks up
    changes: frozenset  # names of objects that it may change

    @property
    def replaces(self) -> frozenset:
        """Names whose values from before nobody below can see."""
        return self.gives - self.uses if isinstance(self.node, CERTAIN) else frozenset()

    def matters(self, needed, shared) -> bool:
        """Whether the needed names would not be the same without it."""
        always = isinstance(self.node, IMPORTS) or "manual_seed(" in self.text
        return always or bool((self.gives | reach(self.changes, shared)) & needed)


def statements(code) -> list[Statement]:
    """The statements of a cell, in order."""
    found, lines, end = [], code.splitlines(), 0
    for node in ast.parse(code).body:
        text = "\n".join(lines[end : node.end_lineno])
        found.append(statement(node, text))
        end = node.end_lineno
    return found


def statement(node, text="") -> Statement:
    written, read = entries(node)
    given = names(node)[0] - loops(node) - caught(node)
    used = (reads(node) | read) - caught(node)
    return Statement(text, node, given | written, used, changed(node))


def reads(node) -> frozenset:
    """The names whose values from before a statement uses.

    What a loop sets at the start of each turn it does not take from before.
    """
    if isinstance(node, ast.For):
        inner = (wanted(node.body) | wanted(node.orelse)) - loops(node)
        return names(node.iter)[1] | inner
    if isinstance(node, ast.While | ast.If):
        return names(node.test)[1] | wanted(node.body) | wanted(node.orelse)
    if isinstance(node, ast.With):
        whole = frozenset().union(*(names(item.context_expr)[1] for item in node.items))
        opened = (base(i.optional_vars) for i in node.items if i.optional_vars)
        return whole | (wanted(node.body) - frozenset().union(*opened))
    return names(node)[1]


def wanted(body, needed=frozenset()) -> frozenset:
    """The names that statements, one after the other, take from before them."""
    for node in reversed([*body]):
        found = node if isinstance(node, Statement) else statement(node)
        needed = (needed - found.replaces) | found.uses
    return frozenset(needed)


def names(node) -> tuple[frozenset, frozenset]:
    """The names of the notebook that a piece of code sets, and those that it uses."""
    table = symtable.symtable(ast.unparse(node), "<cell>", "exec")
    symbols = table.get_symbols()
    gives = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
    uses = {s.get_name() for s in symbols if s.is_referenced()}
    return frozenset(gives), frozenset(uses | set(looked_up(table)))


def looked_up(table):
    """Names that functions inside a table take from the notebook."""
    for child in table.get_children():
        for symbol in child.get_symbols():
            if symbol.is_global() and symbol.is_referenced():
                yield symbol.get_name()
        yield from looked_up(child)


def loops(node) -> frozenset:
    """The names of a `for` loop, which it sets itself, and nobody needs after it."""
    targets = [n.target for n in ast.walk(node) if isinstance(n, ast.For)]
    stored = [n for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return frozenset(n.id for n in stored)


def caught(node) -> frozenset:
    """The names of errors, which are gone after `except ... as error`."""
    found = (n.name for n in ast.walk(node) if isinstance(n, ast.ExceptHandler))
    return frozenset(filter(None, found))


def entries(node) -> tuple[frozenset, frozenset]:
    """Results of the chapter that it writes, and those that it reads, one by one."""
    found = {ast.Store: set(), ast.Load: set(), ast.Del: set()}
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript) and base(part) == {RESULTS}:
            found[type(part.ctx)].add(f"{RESULTS}[{ast.unparse(part.slice)}]")
    return frozenset(found[ast.Store]), frozenset(found[ast.Load])


def changed(node) -> frozenset:
    """Names of objects with a place or field set, or with a method called for itself.

    `rows.append(1)` changes `rows`; so may `fit(net)`, and so may a loop over
    `train(net, data)`. `plotting.show(images)` only shows, and a definition changes
    nothing.
    """
    if isinstance(node, DEFINED):
        return frozenset()
    found = set()
    for part in ast.walk(node):
        match part:
            case ast.Subscript(ctx=ctx) | ast.Attribute(ctx=ctx):
                found |= set() if isinstance(ctx, ast.Load) else base(part)
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                found |= base(method)
            case ast.For(iter=called) | ast.Expr(value=ast.Call() as called):
                found |= handed(called)
    return frozenset(found - {RESULTS})


def handed(node) -> set[str]:
    """Names that are given to functions of the notebook, or whose weights are."""
    found = set()
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id not in dir(builtins):
            found |= {n.id for n in call.args if isinstance(n, ast.Name)}
        if getattr(call.func, "attr", "") in WEIGHTS:
            found |= base(call.func)
    return found


def base(node) -> set[str]:
    """The name at the start of `a.b[c].d`."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def modules(cells) -> set[str]:
    """Names that are imported: a call of theirs changes no value of the notebook."""
    found = (s for cell in cells for s in cell if isinstance(s.node, IMPORTS))
    return {name for s in found for name in s.gives}


def needs(codes) -> frozenset:
    """Names that cells, run one after the other, take from before them."""
    flat = [s for code in codes for s in statements(code)]
    ours = {name for s in flat if isinstance(s.node, DEFINED) for name in s.gives}
    found = wanted(map(at_once, flat)) | (wanted(flat) - ours)
    return found - set(dir(builtins))


def at_once(statement) -> Statement:
    """A definition without what it looks up later, when it is called."""
    if not isinstance(statement.node, ast.FunctionDef):
        return statement
    arguments = statement.node.args
    now = [*statement.node.decorator_list, *arguments.defaults, *arguments.kw_defaults]
    used = frozenset().union(*(names(n)[1] for n in now if n is not None))
    return replace(statement, uses=used)


def excerpt(codes, needed) -> list[str]:
    """Of each cell the part that the needed names stand on; "" where nothing is."""
    cells = [statements(code) for code in codes]
    return [joined(cell) for cell in keep(cells, frozenset(needed))]


def joined(cell) -> str:
    """The statements of a cell as code, with two empty lines around functions."""
    text = ""
    for before, statement in zip([None, *cell], cell):
        gap = "\n" * (1 + 2 * isinstance(before and before.node, ast.FunctionDef))
        text += gap + (statement.text.lstrip("\n") if len(gap) > 1 else statement.text)
    return text.strip("\n")


def keep(cells, needed) -> list[list[Statement]]:
    """The statements of each cell that matter for the names needed at the end."""
    flat = [s for cell in cells for s in cell]
    inner, shared, imported = functions(flat), partners(flat), modules(cells)
    needed, found = reach(needed, inner), []
    for cell in reversed(cells):
        kept = []
        for statement in reversed(cell):
            if statement.matters(needed - imported, shared):
                needed = reach((needed - statement.replaces) | statement.uses, inner)
                kept.insert(0, statement)
        found.insert(0, kept)
    return found


def functions(flat) -> dict[str, set]:
    """What each function of the chapter looks up when it is called."""
    found = {}
    for statement in flat:
        lambdas = any(isinstance(n, ast.Lambda) for n in ast.walk(statement.node))
        if lambdas or isinstance(statement.node, DEFINED):
            for name in statement.gives:
                found.setdefault(name, set()).update(statement.uses)
    return found


def partners(flat) -> dict[str, set]:
    """Names that change along with others: an optimiser's net, with its steps."""
    found = {}
    for statement in flat:
        if isinstance(statement.node, ast.Assign):
            owners = handed(statement.node.value) if weights(statement.node) else set()
            for name in statement.uses & set(found):
                owners |= {name}
            for name in statement.gives if owners else ():
                found.setdefault(name, set()).update(owners)
    return found


def weights(node) -> bool:
    return any(getattr(n, "attr", "") in WEIGHTS for n in ast.walk(node))


def reach(names, following) -> frozenset:
    """The names, those that they lead to, and so on."""
    todo, seen = list(names), set(names)
    while todo:
        new = following.get(todo.pop(), set()) - seen
        seen |= new
        todo += new
    return frozenset(seen)

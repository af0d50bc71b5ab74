"""Code as flat lists of statements that can be compared and looked for in a trace."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from common.workflow.freshness.vouching.names import token

CHOOSING = {"all", "any", "filter", "get", "getattr", "next", "setdefault", "suppress"}
CHOOSING |= {"choose", "clamp", "clip", "max", "maximum", "min", "minimum"}
CHOOSING |= {"piecewise", "select", "where"}
"""Functions that choose among values, as an `if` does, by the last part of their name."""


@dataclass(frozen=True)
class Statement:
    """One statement, or the head of one that holds others.

    Attributes:
        text: with names resolved.
        place: the heads around it, from the outside, within its function.
        source: the module, or the cell, that it stands in.
        lines: numbers of its first and last line; of a head, without what it holds.
        choices: what in it chooses: its effect may be another for other values.
        literals: (value, expression around it) of its literals, in order.
        leaves_trace: False for what runs without a trace, or need not run (`raise`).
    """

    text: str
    place: tuple[str, ...]
    source: str
    lines: tuple[int, int]
    choices: tuple[str, ...] = ()
    literals: tuple[tuple[str, str], ...] = ()
    leaves_trace: bool = True

    def rewritten(self, change: Callable[[str], str]) -> Statement:
        """The statement with all its texts changed."""
        return replace(
            self,
            text=change(self.text),
            place=tuple(map(change, self.place)),
            literals=tuple((value, change(around)) for value, around in self.literals),
        )

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two statements the same."""
        return (*self.place, self.text)


def flat(body: Iterable[ast.stmt], place: tuple[str, ...], source: str) -> Iterator[Statement]:
    """All statements in `body`, in order, those that hold others before what they hold."""
    taken: set[int] = set()
    for node in body:
        head = _head(node)
        text, last, parts, choice = head
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        yield _statement(node, text, place, source, (first, last), parts, choice, taken)
        for label, inner in _inside(node):
            yield from flat(inner, (*place, text, label) if label else (*place, text), source)
        for handler in getattr(node, "handlers", []):
            kind = ast.unparse(handler.type) if handler.type else ""
            caught = f"except {kind} as {handler.name}"
            lines = (handler.lineno, handler.type.end_lineno if handler.type else handler.lineno)
            yield Statement(caught, (*place, text), source, lines, choices=("except",))
            yield from flat(handler.body, (*place, text, caught), source)
        for case in getattr(node, "cases", []):
            guard = f" if {ast.unparse(case.guard)}" if case.guard else ""
            pattern = f"case {ast.unparse(case.pattern)}{guard}"
            ends = (case.guard or case.pattern).end_lineno
            lines = (case.pattern.lineno, ends)
            yield Statement(pattern, (*place, text), source, lines, choices=("case",))
            yield from flat(case.body, (*place, text, pattern), source)


def module_statement(node: ast.stmt, source: str) -> Statement:
    """A statement that runs when its module is imported: no trace tells what it does."""
    parts: list[ast.AST] = [node]
    lines = (node.lineno, end_line(node))
    found = _statement(node, ast.unparse(node), (), source, lines, parts, "", set())
    return replace(found, leaves_trace=False)


def _head(node: ast.stmt) -> tuple[str, int, list[ast.AST], str]:
    """Text, last line, expressions, and choice of a statement without what it holds."""
    end = node.end_lineno or node.lineno
    match node:
        case ast.If() | ast.While():
            word = "if" if isinstance(node, ast.If) else "while"
            return f"{word} {ast.unparse(node.test)}", end_line(node.test), [node.test], word
        case ast.For() | ast.AsyncFor():
            text = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
            return text, end_line(node.iter), [node.target, node.iter], ""
        case ast.With() | ast.AsyncWith():
            used = [one for item in node.items for one in (item.context_expr, item.optional_vars)]
            found: list[ast.AST] = [one for one in used if one is not None]
            text = ", ".join(map(ast.unparse, node.items))
            return f"with {text}", max(map(end_line, found)), found, ""
        case ast.Try() | ast.TryStar():
            return "try", node.lineno, [], ""
        case ast.Match():
            return (
                f"match {ast.unparse(node.subject)}",
                end_line(node.subject),
                [node.subject],
                "match",
            )
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            decorators = " ".join(ast.unparse(one) for one in node.decorator_list)
            text = f"{decorators} def {node.name}({ast.unparse(node.args)})"
            parts = [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]
            last = max(node.lineno, node.body[0].lineno - 1)
            return text, last, [one for one in parts if one], ""
        case ast.ClassDef():
            heads = [*node.decorator_list, *node.bases, *(one.value for one in node.keywords)]
            text = f"class {node.name}({', '.join(map(ast.unparse, heads))})"
            return text, max(node.lineno, node.body[0].lineno - 1), [*heads], ""
        case ast.Import() | ast.ImportFrom():
            every = "import *" if any(alias.name == "*" for alias in node.names) else ""
            return "import " + ", ".join(map(token, node.dotted)), end, [], every  # type: ignore[union-attr]
        case _:
            return ast.unparse(node), end, [node], ""


def end_line(node: ast.AST) -> int:
    """The last line of a node that has lines."""
    return int(getattr(node, "end_lineno", None) or getattr(node, "lineno", None) or 1)


def _inside(node: ast.stmt) -> Iterator[tuple[str, list[ast.stmt]]]:
    """What a statement holds, with a label where it holds several bodies."""
    for name in ("body", "orelse", "finalbody"):
        inner = getattr(node, name, None)
        if isinstance(inner, list) and inner:
            yield "" if name == "body" else name, inner


def _statement(
    node: ast.stmt,
    text: str,
    place: tuple[str, ...],
    source: str,
    lines: tuple[int, int],
    parts: list[ast.AST],
    choice: str,
    taken: set[int],
) -> Statement:
    if isinstance(node, ast.Raise):
        return Statement(text, place, source, lines, leaves_trace=False)
    choices = {choice} if choice else set()
    literals: list[tuple[str, str]] = []
    for part in parts:
        choices |= set(_choices(part))
        literals += _literals(part)
    if lines[0] in taken:
        choices.add("several statements on one line")
    taken.update(range(lines[0], end_line(node) + 1))
    silent = (ast.Global, ast.Nonlocal, ast.Pass)
    bare = isinstance(node, ast.AnnAssign) and node.value is None
    return Statement(
        text,
        place,
        source,
        lines,
        choices=tuple(sorted(choices)),
        literals=tuple(literals),
        leaves_trace=not isinstance(node, silent) and not bare,
    )


def _choices(part: ast.AST) -> Iterator[str]:
    for node in ast.walk(part):
        match node:
            case ast.IfExp():
                yield "conditional expression"
            case ast.BoolOp():
                yield "and/or"
            case ast.Compare():
                yield "comparison"
            case ast.comprehension(ifs=[_, *_]):
                yield "filter"
            case ast.Lambda():
                yield "lambda"
            case ast.Call(func=ast.Subscript() | ast.Call()):
                yield "table of functions"
            case ast.Call(func=ast.Name(id=name)) if _last(name) in CHOOSING:
                yield _last(name)
            case ast.Call(func=ast.Attribute(attr=name)) if name in CHOOSING:
                yield name
            case ast.Dict(values=values) if any(_is_function(one) for one in values):
                yield "table of functions"


def _is_function(node: ast.expr) -> bool:
    return isinstance(node, ast.Lambda) or (isinstance(node, ast.Name) and node.id[0] == "«")


def _last(name: str) -> str:
    return name.strip("«»").rpartition(".")[2]


def _literals(part: ast.AST) -> Iterator[tuple[str, str]]:
    """(value, expression around it) of every literal, in order."""
    waiting: list[tuple[ast.AST, ast.AST]] = [(part, part)]
    while waiting:
        node, around = waiting.pop()
        if isinstance(node, ast.Constant):
            yield repr(node.value), ast.unparse(around)
            continue
        inside = (
            node if isinstance(node, ast.expr) and not isinstance(node, ast.UnaryOp) else around
        )
        waiting += [(one, inside) for one in reversed(list(ast.iter_child_nodes(node)))]

"""Code as definitions that can be compared: no layout, no aliases, no docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from common.workflow.freshness.vouching.names import Resolver, token
from common.workflow.freshness.vouching.statements import (
    Statement,
    end_line,
    flat,
    module_statement,
)

OWN = ("common.", "papers.")
"""How dotted names of this project begin."""


@dataclass(frozen=True)
class Definition:
    """Something that a module defines.

    Attributes:
        name: dotted.
        module: that defines it.
        kind: "function", "class" (without its methods), "value", "import" (of a library) or
            "effect" (any other statement of a module).
        text: of all but `statements`; of a function, its signature without defaults.
        decorators: of a function.
        defaults: of a function's parameters.
        attributes: statements of a class's body that are no methods.
        statements: of a function.
        imports_mention: words in what runs when the module is imported.
        mentions: words in what runs when it is called. By a word, something may be meant.
        compiled: in a module where numba may compile it, or decorated by a compiler.
        inherits: a class with a base, whose attributes it may replace.
    """

    name: str
    module: str
    kind: str
    text: str
    decorators: list[str] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    imports_mention: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    compiled: bool = False
    inherits: bool = False

    @property
    def fixed(self) -> list[tuple[str, str]]:
        """What is decided when a function's module is imported."""
        return [("decorator", text) for text in self.decorators] + list(self.defaults.items())

    @property
    def tail(self) -> str:
        """The name within its module."""
        return self.name[len(self.module) + 1 :]


@dataclass
class Code:
    """All that a notebook runs of this project.

    Attributes:
        definitions: by dotted name.
        modules: dotted names of the modules.
    """

    definitions: dict[str, Definition] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    def add(self, definitions: Iterable[Definition]) -> None:
        for one in definitions:
            twin = self.definitions.get(one.name) if one.kind != "import" else None
            # Bound twice: both texts count, and nothing of it may change.
            self.definitions[one.name] = _joined(twin, one) if twin else one


def _joined(a: Definition, b: Definition) -> Definition:
    pieces = [a.text, b.text, *(part for one in (a, b) for pair in one.fixed for part in pair)]
    pieces += [text for one in (a, b) for text in one.attributes]
    pieces += [" / ".join(s.key) for one in (a, b) for s in one.statements]
    words = a.imports_mention | b.imports_mention | a.mentions | b.mentions
    return Definition(a.name, a.module, "value", "\n".join(pieces), imports_mention=words)


NEVER = token("typing.TYPE_CHECKING")
"""The condition of what is there for type checkers alone."""

CELLS = "cells"
"""The name under which a notebook's cells are one function."""


def read_code(modules: dict[str, str], packages: set[str], cells: dict[str, str]) -> Code:
    """Everything that modules and cells define.

    Args:
        modules: sources by dotted name.
        packages: which of them are packages.
        cells: sources of a notebook's code cells, in order, by the name that traces give them.
    """
    code, aliases = Code(modules=set(modules)), dict[str, str]()
    for name, source in modules.items():
        code.add(module_definitions(name, source, name in packages))
        aliases |= module_aliases(name, source, name in packages)
    statements: list[Statement] = []
    for tree, name in _parsed_cells(cells):
        statements += flat(tree.body, (), name)
    words = frozenset(word for one in statements for word in _words(one.text))
    code.definitions[CELLS] = Definition(
        CELLS, "", "function", "", statements=tuple(statements), imports_mention=words
    )
    _see_through(code, aliases)
    return code


def _see_through(code: Code, aliases: dict[str, str]) -> None:
    """Let what is imported through a module mean what that module imports."""

    def meant(found: re.Match[str]) -> str:
        parts, rest = found[1].split("."), ""
        while ".".join(parts) not in aliases and len(parts) > 1:
            rest = f".{parts.pop()}{rest}"
        seen, name = set[str](), ".".join(parts)
        while name in aliases and name not in seen:
            seen.add(name)
            name = aliases[name]
        return token(f"{name}{rest}") if seen else found[0]

    def seen_through(text: str) -> str:
        return re.sub("«([^»]+)»", meant, text)

    for name, one in code.definitions.items():
        statements = tuple(one.rewritten(seen_through) for one in one.statements)
        defaults = {key: seen_through(text) for key, text in one.defaults.items()}
        code.definitions[name] = replace(
            one,
            text=seen_through(one.text),
            decorators=[seen_through(text) for text in one.decorators],
            defaults=defaults,
            attributes=tuple(map(seen_through, one.attributes)),
            statements=statements,
        )


def _parsed_cells(cells: dict[str, str]) -> Iterator[tuple[ast.Module, str]]:
    """Every cell's tree, with the names of all cells resolved together."""
    trees = {}
    for name, source in cells.items():
        try:
            trees[name] = _without_docstrings(ast.parse(source))
        except SyntaxError:  # no Python: one literal, which has to stay as it is
            literal = ast.Module([ast.Expr(ast.Constant(source))], [])
            trees[name] = ast.fix_missing_locations(literal)
    whole = ast.Module([node for tree in trees.values() for node in tree.body], [])
    resolver = Resolver("", whole)
    for name, tree in trees.items():
        tree.body = [_resolved(node, resolver) for node in tree.body]
        yield tree, name


@cache
def module_definitions(module: str, source: str, package: bool = False) -> tuple[Definition, ...]:
    """What a module defines.

    Raises:
        SyntaxError: it is no Python.
    """
    return tuple(_definitions(module, source, package))


@cache
def module_aliases(module: str, source: str, package: bool = False) -> dict[str, str]:
    """What a module imports from this project, by the dotted name under which it then has it."""
    known = Resolver(module, ast.parse(source), package).scopes[0].known
    dotted = {f"{module}.{name}": meant for name, meant in known.items() if name != "*"}
    return {name: meant for name, meant in dotted.items() if name != meant and _is_own(meant)}


def _is_own(name: str) -> bool:
    return f"{name}.".startswith(OWN)


def _definitions(module: str, source: str, package: bool) -> Iterator[Definition]:
    tree = _without_docstrings(ast.parse(source))
    resolver = Resolver(module, tree, package)
    compiled = re.search(r"^\s*(import|from)\s+numba\b", source, re.MULTILINE) is not None
    body = [_resolved(node, resolver) for node in tree.body]
    effects = 0
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield _function(node, module, module, compiled)
            case ast.ClassDef():
                yield from _class(node, module, compiled)
            case ast.ImportFrom(names=[ast.alias(name="*")]):  # hides what its names mean
                text, effects = f"import {token(node.dotted[0])}", effects + 1  # type: ignore[attr-defined]
                yield Definition(f"{module}.statement {effects}", module, "effect", text)
            case ast.Import() | ast.ImportFrom():
                yield from _imports(node, module)
            case ast.If(test=ast.Name(id=test), orelse=[]) if test == NEVER:
                pass
            case _:
                names = _bound(node)
                if names == ["__all__"]:
                    continue
                text, words = ast.unparse(node), frozenset(_words(ast.unparse(node)))
                if not names:
                    names, effects = [f"statement {effects}"], effects + 1
                kind = "effect" if names[0].startswith("statement ") else "value"
                for name in names:
                    yield Definition(
                        f"{module}.{name}",
                        module,
                        kind,
                        text,
                        statements=(module_statement(node, module),),
                        imports_mention=words,
                        compiled=compiled,
                    )


def _resolved(node: ast.stmt, resolver: Resolver) -> ast.stmt:
    """The statement with its names resolved; imports say what they import."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            inner.dotted = [name for _, name in resolver.imported(inner)]  # type: ignore[union-attr]
            if isinstance(inner, ast.Import):
                inner.dotted = [alias.name for alias in inner.names]  # type: ignore[attr-defined]
    changed: ast.stmt = resolver.visit(node)
    return changed


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not _is_text(one)]
            node.body = kept or [] if isinstance(node, ast.Module) else kept or [_nothing(body)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _nothing(body: list[ast.stmt]) -> ast.Pass:
    return ast.copy_location(ast.Pass(), body[0])


def _bound(node: ast.stmt) -> list[str]:
    """Names of the module that a plain assignment binds; none for any other statement."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return []
    parts = [part for one in targets for part in getattr(one, "elts", [one])]
    if not all(isinstance(part, ast.Name) for part in parts):
        return []
    return [part.id.strip("«»").rpartition(".")[2] for part in parts if isinstance(part, ast.Name)]


def _imports(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[Definition]:
    """One definition per library that is imported; what is ours shows in the names."""
    names = node.dotted if isinstance(node, ast.Import) else [node.module or ""]  # type: ignore[attr-defined]
    for name in names:
        if name and name != "__future__" and not _is_own(name):
            lines = (node.lineno, node.end_lineno or node.lineno)
            ran = Statement(f"import {token(name)}", (), module, lines)
            dotted = f"{module}.import {name}"
            yield Definition(dotted, module, "import", token(name), statements=(ran,))


def _class(node: ast.ClassDef, module: str, compiled: bool) -> Iterator[Definition]:
    name = f"{module}.{node.name}"
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    rest = [ast.unparse(one) for one in node.body if one not in methods]
    heads = [*node.decorator_list, *node.bases, *(one.value for one in node.keywords)]
    head = ", ".join(ast.unparse(one) for one in heads)
    words = frozenset(word for text in (head, *rest) for word in _words(text))
    yield Definition(
        name,
        module,
        "class",
        head,
        attributes=tuple(text for text in rest if text != "pass"),
        imports_mention=words,
        compiled=compiled,
        inherits=bool(node.bases or node.keywords),
    )
    for method in methods:
        yield _function(method, name, module, compiled)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, owner: str, module: str, compiled: bool
) -> Definition:
    statements = tuple(flat(node.body, (), module))
    decorators = [ast.unparse(one) for one in node.decorator_list]
    defaults = dict(_defaults(node.args))
    signature = _signature(node)
    body = (node.body[0].lineno, end_line(node))
    entered = Statement(f"def {signature}", (), module, body)  # runs when a line of the body does
    return Definition(
        f"{owner}.{node.name}",
        module,
        "function",
        signature,
        decorators=decorators,
        defaults=defaults,
        statements=(entered, *statements),
        imports_mention=frozenset(_words(" ".join([*decorators, *defaults.values()]))),
        mentions=frozenset(word for one in statements for word in _words(one.text)),
        compiled=compiled or any(re.search(r"jit|compil", text) for text in decorators),
    )


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, str]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    given = positional[len(positional) - len(arguments.defaults) :]
    for argument, default in zip(given, arguments.defaults, strict=True):
        yield argument.arg, ast.unparse(default)
    for argument, keyword in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if keyword is not None:
            yield argument.arg, ast.unparse(keyword)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Parameters and annotations, without the name and the values of the defaults."""
    given = ast.Name("…")
    node.args.defaults = [given for _ in node.args.defaults]
    node.args.kw_defaults = [one and given for one in node.args.kw_defaults]
    kind = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{kind}({ast.unparse(node.args)}){returns}"


def _words(text: str) -> list[str]:
    """Whatever in a text may be a name: of a function, an attribute, or a key of a registry."""
    return re.findall(r"\w+", text)

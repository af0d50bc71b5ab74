"""Names in Python code, replaced by what they refer to.

`«common.stats.holm»` stands for the function wherever and under whatever alias it is used, so that
two versions of a statement are equal when they say the same of the same things.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def token(name: str) -> str:
    """How a dotted name stands in a text."""
    return f"«{name}»"


@dataclass
class Scope:
    """Names bound in a module, function, class or comprehension, and what they stand for.

    Attributes:
        known: dotted names by local name.
        local: names that stand for themselves.
        is_class: functions inside do not see its names.
    """

    known: dict[str, str] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)
    is_class: bool = False


class Resolver(ast.NodeTransformer):
    """Replaces names by dotted names, in place.

    Args:
        module: dotted name of the module; "" for the cells of a notebook, whose names are local.
        tree: the whole module.
        package: whether it is a package's `__init__`.
    """

    def __init__(self, module: str, tree: ast.Module, package: bool = False):
        self.module, self.package = module, package
        scope = self._scope(tree.body)
        if module:
            scope.known |= {name: f"{module}.{name}" for name in scope.local - scope.known.keys()}
            scope.local = set()
        self.scopes = [scope]

    def _scope(self, body: Iterable[ast.stmt], is_class: bool = False) -> Scope:
        """The scope of a module's, function's or class's body."""
        scope, outer = Scope(is_class=is_class), set()
        for node in _own_nodes(body):
            match node:
                case ast.Import() | ast.ImportFrom():
                    scope.known |= dict(self.imported(node))
                case ast.Global() | ast.Nonlocal():
                    outer |= set(node.names)
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    scope.local.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    scope.local.add(name)
                case ast.ClassDef(name=name):
                    scope.local.add(name)
                case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                    scope.local.add(name)
                case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                    scope.local.add(name)
        scope.local -= outer
        twice = scope.local & scope.known.keys()  # imported here, assigned there: as it stands
        scope.known = {name: known for name, known in scope.known.items() if name not in twice}
        return scope

    def imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
        """(local name, dotted name) of everything that an import binds."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
            return
        parts = self.module.split(".")
        above = parts[: len(parts) - node.level + self.package] if node.level else []
        package = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            yield alias.asname or alias.name, f"{package}.{alias.name}"

    def _found(self, name: str) -> str | None:
        """The dotted name that `name` stands for here; None when it stands for itself."""
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.is_class and depth:
                continue
            if name in scope.known:
                return scope.known[name]
            if name in scope.local:
                return None
        return None

    # ------------------------------------------------------------------------------- nodes

    def visit_Name(self, node: ast.Name) -> ast.AST:
        found = self._found(node.id)
        return ast.copy_location(ast.Name(token(found), node.ctx), node) if found else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.visit(node.value)
        base = node.value
        if (
            isinstance(base, ast.Name)
            and base.id.startswith("«")
            and isinstance(node.ctx, ast.Load)
        ):
            return ast.copy_location(
                ast.Name(token(f"{base.id[1:-1]}.{node.attr}"), node.ctx), node
            )
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._function(node)

    def _function(self, node: Function) -> ast.AST:
        arguments = node.args
        arguments.defaults = [self.visit(one) for one in arguments.defaults]
        arguments.kw_defaults = [one and self.visit(one) for one in arguments.kw_defaults]
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [one for one in (arguments.vararg, arguments.kwarg) if one]
        for one in named:
            one.annotation = one.annotation and self.visit(one.annotation)
        if isinstance(node, ast.Lambda):
            self.scopes.append(Scope(local={one.arg for one in named}))
            node.body = self.visit(node.body)
        else:
            node.decorator_list = [self.visit(one) for one in node.decorator_list]
            node.returns = node.returns and self.visit(node.returns)
            scope = self._scope(node.body)
            scope.local |= {one.arg for one in named}
            self.scopes.append(scope)
            node.body = [self.visit(one) for one in node.body]
        self.scopes.pop()
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for kind in ("decorator_list", "bases", "keywords"):
            setattr(node, kind, [self.visit(one) for one in getattr(node, kind)])
        self.scopes.append(self._scope(node.body, is_class=True))
        node.body = [self.visit(one) for one in node.body]
        self.scopes.pop()
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._comprehension(node)

    def _comprehension(self, node: Comprehension) -> ast.AST:
        first = node.generators[0]
        first.iter = self.visit(first.iter)  # in the scope around
        targets = [one for part in node.generators for one in ast.walk(part.target)]
        bound = {one.id for one in targets if isinstance(one, ast.Name)}
        self.scopes.append(Scope(local=bound))
        for index, part in enumerate(node.generators):
            part.target = self.visit(part.target)
            part.iter = part.iter if index == 0 else self.visit(part.iter)
            part.ifs = [self.visit(one) for one in part.ifs]
        for name in ("elt", "key", "value"):
            if hasattr(node, name):
                setattr(node, name, self.visit(getattr(node, name)))
        self.scopes.pop()
        return node


def _own_nodes(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes of a scope: what is bound in a function or comprehension inside is not its own.

    What `:=` binds in a comprehension is.
    """
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, Comprehension):
            waiting += [one.target for one in ast.walk(node) if isinstance(one, ast.NamedExpr)]
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)

"""What a notebook may depend on that its code hash does not see, for people who want to know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from common.workflow.base.project import ROOT
from common.workflow.freshness.closure import code_cells, reached_modules
from common.workflow.freshness.vouching.names import Resolver
from common.workflow.freshness.vouching.trees import sources

BY_NAME = {
    "__import__": "a module by a computed name",
    "importlib.import_module": "a module by a computed name",
    "runpy.run_module": "a module by a computed name",
    "runpy.run_path": "a file of code",
    "exec": "code in a text",
    "eval": "code in a text",
    "compile": "code in a text",
    "open": "a file",
    "os.environ": "the environment",
    "os.getenv": "the environment",
    "subprocess.run": "a command",
    "subprocess.Popen": "a command",
    "subprocess.check_output": "a command",
    "os.system": "a command",
}
"""Names, with imports resolved, behind which something lies that is not hashed."""

READING = {"read_text", "read_bytes", "read_csv", "read_parquet", "read_json", "safe_open"}
"""Functions and methods that read files."""


def unseen(notebook: Path) -> list[str]:
    """`module:line: what`, for everything that the code hash of a notebook does not see."""
    found = []
    cells = [ast.parse(source) for source in code_cells(notebook)]
    resolver = Resolver("", ast.Module([node for cell in cells for node in cell.body], []))
    for number, cell in enumerate(cells, start=1):
        found += [f"code cell {number}:{line}: {what}" for line, what in _unseen(cell, resolver)]
    modules, _ = sources(ROOT, reached_modules(notebook))
    for name, source in sorted(modules.items()):
        tree = ast.parse(source)
        found += [f"{name}:{line}: {what}" for line, what in _unseen(tree, Resolver(name, tree))]
    return found


def _unseen(tree: ast.Module, resolver: Resolver) -> Iterator[tuple[int, str]]:
    for node in ast.walk(resolver.visit(tree)):
        match node:
            case ast.Call(func=ast.Name(id="«importlib.import_module»"), args=[ast.Constant()]):
                continue  # a library's, or the import graph would not hold it
            case ast.Name(id=name):
                plain = name.strip("«»")
                hit = next((one for one in BY_NAME if f"{plain}.".startswith(f"{one}.")), None)
                if hit:
                    yield node.lineno, f"{BY_NAME[hit]} ({plain})"
                elif plain.rpartition(".")[2] in READING:
                    yield node.lineno, f"a file ({plain})"
            case ast.Attribute(attr=name) if name in READING:
                yield node.lineno, f"a file (.{name})"

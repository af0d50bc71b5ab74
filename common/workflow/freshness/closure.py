"""Code as a parameter: one hash over a notebook and every module that it reaches.

Comments and docstrings do not count; anything that can change what runs does. Imports inside
functions count, and those beside IPython's magics. What the hash cannot see is refused where it can
be told (`%run`, `!command`), and listed otherwise (`freshness/unseen.py`, provenance).
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import sha256, write_json, write_text
from common.workflow.base.notebooks import as_python, is_code, notebook_cells
from common.workflow.base.project import ROOT, Paper, relative

if TYPE_CHECKING:
    from grimp import ImportGraph

JUDGE = "common.workflow.claims.judging.judge"
"""The module behind the stage `judge`."""

_ENVIRONMENT = "common.workflow.running.kernel_environment"


def closure_hashes(paper: Paper) -> dict[str, str]:
    """The code hash of every stage of `paper`: its notebooks by stem, and `judge`."""
    graph = _import_graph()
    hashes = {path.stem: _hash_or_reason(path, graph) for path in paper.notebooks}
    return hashes | {"judge": _combined(_modules([JUDGE], graph))}


def _hash_or_reason(notebook: Path, graph: ImportGraph) -> str:
    """The hash; or why there is none, so that one broken notebook stops no other's stage."""
    try:
        return notebook_hash(notebook, graph)
    except ClaimbookError as error:
        return f"none: {error}"


def write_closure(paper: Paper) -> None:
    """Write `closure.json`, on which the stages of `paper` depend by key."""
    write_json(paper.folder / "closure.json", closure_hashes(paper))


def notebook_hash(notebook: Path, graph: ImportGraph | None = None) -> str:
    """The code hash of one notebook: its code cells and all modules that they reach."""
    sources = list(code_cells(notebook))
    graph = graph or _import_graph()
    roots = {name for source in sources for name in _imported(source)} | {_ENVIRONMENT}
    cells = {f"cell {i}": _fingerprint(source) for i, source in enumerate(sources)}
    return _combined(_modules(roots, graph) | cells)


def reached_modules(notebook: Path) -> list[str]:
    """The modules of this checkout that a notebook reaches, for people who ask why."""
    roots = {name for source in code_cells(notebook) for name in _imported(source)}
    return sorted(_modules(roots | {_ENVIRONMENT}, _import_graph()))


def imported_libraries(notebooks: Iterable[Path]) -> set[str]:
    """Third-party names that the notebooks import, themselves or through this checkout's modules.

    Some are no modules but something in one.
    """
    graph = _import_graph()
    sources: list[str] = []
    for notebook in notebooks:
        with suppress(ClaimbookError):  # its own stage says what is wrong with it
            sources += code_cells(notebook)
    reached = _modules({name for source in sources for name in _imported(source)}, graph)
    files = [_module_file(module) for module in reached]
    sources += [file.read_text() for file in files if file.is_file()]
    names = {name for source in sources for name in _imported(source)}
    own = ("common", "papers", *sys.stdlib_module_names)
    return {name for name in names if name.split(".")[0] not in own}


def compiled_hash() -> str:
    """One hash over all modules that may hold code compiled by numba, and what they reach.

    numba looks at the file of a function, but not at those of the functions that it calls.
    """
    graph = _import_graph()
    files = {name: _module_file(name) for name in graph.modules}
    compiling = {
        name for name, file in files.items() if file.is_file() and _compiles(file.read_text())
    }
    callers = {down for name in compiling for down in graph.find_downstream_modules(name)}
    return _combined(_modules(compiling | callers, graph))


def _compiles(source: str) -> bool:
    """Whether a line imports numba; a line of a docstring that looks like it does no harm."""
    return re.search(r"^\s*(import|from)\s+numba\b", source, re.MULTILINE) is not None


@cache
def _import_graph() -> ImportGraph:
    import grimp

    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    folder = ROOT / ".cache" / "grimp"
    try:
        return grimp.build_graph("common", "papers", cache_dir=str(folder))
    except OSError:  # a read-only checkout can be looked at, too
        return grimp.build_graph("common", "papers", cache_dir=None)


def code_cells(notebook: Path) -> Iterator[str]:
    """The code of every cell, as Python.

    Raises:
        ClaimbookError: the file is no notebook, or a cell is neither Python nor magics around it.
    """
    sources = ["".join(one["source"]) for one in notebook_cells(notebook) if is_code(one)]
    for number, source in enumerate(sources, start=1):
        try:
            yield as_python(source)
        except (SyntaxError, ValueError) as error:
            raise ClaimbookError(
                f"{relative(notebook)}: code cell {number} hides what it runs from the code hash: "
                f"{error}."
            ) from None


def _imported(source: str) -> Iterator[str]:
    """Names that may be modules, for every absolute import in `source`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules(roots: Iterable[str], graph: ImportGraph) -> dict[str, str]:
    """Fingerprints of what `roots` reach, with the `__init__` of every package on the way."""
    known = graph.modules
    found = {root for root in roots if root in known}
    found |= {up for root in found for up in graph.find_upstream_modules(root)}
    packages = {
        name.rsplit(".", depth)[0] for name in found for depth in range(1, name.count(".") + 1)
    }
    return {name: _file_fingerprint(_module_file(name)) for name in found | (packages & known)}


def _module_file(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _file_fingerprint(path: Path) -> str:
    return _fingerprint(path.read_text()) if path.is_file() else "namespace"


def _fingerprint(source: str) -> str:
    """`_hash_of_code`, remembered between runs."""
    remembered = _memory() / sha256(source)
    with suppress(OSError):
        return remembered.read_text()
    fingerprint = _hash_of_code(source)
    with suppress(OSError):
        write_text(remembered, fingerprint)
    return fingerprint


@cache
def _memory() -> Path:
    """Where fingerprints are remembered: other rules, or another Python, never see these."""
    rules = f"{sys.version_info[:2]} {Path(__file__).read_text()}"
    return ROOT / ".cache" / "code" / sha256(rules)[:16]


def _hash_of_code(source: str) -> str:
    """Hash of the code without comments, layout and docstrings; of the text if it is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return sha256(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [line for line in body if not _is_docstring(line)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return sha256(ast.unparse(tree))


def _is_docstring(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _combined(parts: dict[str, str]) -> str:
    return sha256(json.dumps(parts, sort_keys=True))

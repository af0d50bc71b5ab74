"""A notebook's parameters: what its tagged cell declares and what `params.yaml` gives.

The cell tagged `parameters` holds nothing but `name: type = default` lines; the type is what a
value from `params.yaml` is checked against, before any kernel starts.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from common.workflow.base.errors import ClaimbookError, did_you_mean
from common.workflow.base.notebooks import notebook_cells
from common.workflow.base.project import PROFILES, ROOT, check_profile, paper_of, relative
from common.workflow.base.yaml_source import load_yaml, plain

_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict)} | {
    "Literal": Literal,
    "None": None,
}


@dataclass(frozen=True)
class Declared:
    """One line of the parameters cell."""

    name: str
    annotation: str
    default: Any


def current_profile() -> str:
    """The profile that the root `params.yaml` chooses."""
    document = load_yaml(ROOT / "params.yaml").data
    if not isinstance(document, dict) or "profile" not in document:
        raise ClaimbookError("params.yaml: the key `profile` is missing; write `profile: cpu`.")
    return check_profile(str(document["profile"]))


def declared_parameters(notebook: Path) -> dict[str, Declared]:
    """What the cell tagged `parameters` declares, by name.

    Raises:
        ClaimbookError: no such cell or several, or a line that is no `name: type = literal`.
    """
    cells = [
        cell
        for cell in notebook_cells(notebook)
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    if len(cells) != 1:
        raise ClaimbookError(
            f"{relative(notebook)}: {len(cells)} cells are tagged `parameters`; tag exactly one."
        )
    source = "".join(cells[0]["source"])
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ClaimbookError(
            f"{relative(notebook)}: the parameters cell is no Python: {error}."
        ) from None
    imports = (ast.Import, ast.ImportFrom)
    lines = [_declared(notebook, line) for line in statements if not isinstance(line, imports)]
    return {line.name: line for line in lines}


def _declared(notebook: Path, statement: ast.stmt) -> Declared:
    try:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            raise ValueError
        default = ast.literal_eval(statement.value or ast.Constant(None))
    except ValueError:
        raise ClaimbookError(
            f"{relative(notebook)}: in the parameters cell, `{ast.unparse(statement)}` should "
            "read `name: type = literal`, for example `seeds: list[int] = [0, 1]`."
        ) from None
    annotation = ast.unparse(statement.annotation)
    try:
        kind = eval(annotation, {"__builtins__": {}}, _TYPES)
        satisfied = all(key is str for key in _dict_keys(kind))
    except (NameError, TypeError, SyntaxError):
        satisfied = False
    if not satisfied:
        raise ClaimbookError(
            f"{relative(notebook)}: `{statement.target.id}: {annotation}` in the parameters cell "
            f"is no type of a value in params.yaml. Use {', '.join(_TYPES)}, lists and dicts with "
            "texts as keys of them, and unions (`int | None`)."
        )
    return Declared(statement.target.id, annotation, default)


def _dict_keys(kind: Any) -> Iterator[Any]:
    """The types of the keys of all dicts in an annotation."""
    if get_origin(kind) is dict:
        yield get_args(kind)[0]
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _dict_keys(part)


def notebook_parameters(
    notebook: Path, profile: str, arm: dict[str, str] | None = None
) -> dict[str, Any]:
    """The checked parameters of `notebook` in `profile`.

    Args:
        notebook: a paper's notebook; its values stand in the paper's `params.yaml` under
            `<profile>.<notebook stem>`.
        profile: one of `PROFILES`.
        arm: values of a matrix stage, as text; they come on top of the file's values.

    Raises:
        ClaimbookError: unknown, missing or ill-typed parameters, all of them at once.
    """
    paper = paper_of(notebook)
    source = load_yaml(paper.params_file)
    keys = (profile, notebook.stem)
    given: dict[str, Any] = _block(source.data, source.where, keys)
    declared = declared_parameters(notebook)
    problems = [
        f"{source.where((*keys, name))}: no parameter of {notebook.name}"
        f"{did_you_mean(name, declared)}; it declares {', '.join(declared) or 'none'}."
        for name in given
        if name not in declared
    ]
    values = {}
    for name, parameter in declared.items():
        try:
            values[name] = _value(parameter, given, arm or {})
        except KeyError:
            problems.append(
                f"{source.where(keys)}: the parameter `{name}: {parameter.annotation}` of "
                f"{notebook.name} is missing; add it, for example `{name}: "
                f"{json.dumps(parameter.default)}`."
            )
        except ValueError as error:
            problems.append(f"{source.where((*keys, name))}: {error}")
    problems += [
        f"--arm {name}: no parameter of {notebook.name}{did_you_mean(name, declared)}."
        for name in arm or {}
        if name not in declared
    ]
    if problems:
        raise ClaimbookError("\n".join(problems))
    return values


def _block(data: Any, where: Any, keys: tuple[str, str]) -> dict[str, Any]:
    for depth, key in enumerate(keys):
        if not isinstance(data, dict) or data.get(key) is None:
            if isinstance(data, dict) and key in data and depth == 1:
                return {}  # `01_notebook:` with nothing below: a notebook without parameters
            known = [str(name) for name in data] if isinstance(data, dict) else []
            raise ClaimbookError(
                f"{where(keys[:depth])}: the key `{key}` is missing{did_you_mean(key, known)}. "
                f"The file holds {', '.join(PROFILES)} on top and one block per notebook below."
            )
        data = data[key]
    return dict(plain(data))


def _value(parameter: Declared, given: dict[str, Any], arm: dict[str, str]) -> Any:
    """The value of one parameter; KeyError when missing, ValueError when ill-typed."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kind = eval(parameter.annotation, {"__builtins__": {}}, _TYPES)
    if parameter.name in arm:
        adapter, value = TypeAdapter(kind), arm[parameter.name]
    else:
        adapter = TypeAdapter(kind, config=ConfigDict(strict=True))
        value = given[parameter.name]
    try:
        _check_finite(value)
        return adapter.validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        place = "".join(f"[{key}]" for key in problem["loc"])
        raise ValueError(
            f"`{parameter.name}{place}` should be {parameter.annotation}, got "
            f"{problem['input']!r} ({problem['msg'].lower()})."
        ) from None


def _check_finite(value: Any) -> None:
    """Results say in JSON what they were made from, and it knows no infinity.

    Raises:
        ValueError: a number in `value` is infinite or not a number.
    """
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _check_finite(part)
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} cannot be written down: use a finite number, or a text.")


def seeds_of(parameters: dict[str, Any]) -> list[int]:
    """The seeds among a notebook's parameters: `seeds` (a list) or `seed` (one)."""
    if "seeds" in parameters:
        return list(parameters["seeds"])
    return [parameters["seed"]] if "seed" in parameters else []

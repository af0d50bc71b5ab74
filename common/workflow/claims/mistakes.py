"""Validation errors in words: file, line, key, what is wrong and what to write."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from common.workflow.base.errors import did_you_mean
from common.workflow.base.yaml_source import YamlSource
from common.workflow.claims.kinds import TEST_KINDS

_KEY_MARK = "[key]"  # pydantic's mark for "the key itself is wrong"


def mistakes(error: ValidationError, source: YamlSource, model: type[BaseModel]) -> list[str]:
    """One message for each mistake, in the order of lines."""
    found = []
    for detail in error.errors(include_url=False):
        keys = _keys(detail["loc"], source.data)
        if detail["type"].startswith("union_tag"):
            keys.append("kind")
        text = f"{source.where(keys)}: {_words(detail, model)}."
        found.append((source.line(keys), text))
    return list(dict.fromkeys(text for _, text in sorted(found, key=lambda pair: pair[0])))


def _keys(location: tuple[int | str, ...], data: Any) -> list[int | str]:
    """The location without pydantic's own additions (the kind of a test, marks)."""
    keys: list[int | str] = []
    node = data
    for position, part in enumerate(location):
        if part == _KEY_MARK:
            continue
        inside = isinstance(node, dict) and part in node
        inside = inside or (isinstance(node, list) and isinstance(part, int) and part < len(node))
        if inside:
            node = node[part]
        elif part in TEST_KINDS and location[position - 1] == "test":
            continue
        keys.append(part)
    return keys


def _words(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong and the remedy; pydantic's own words where they are clear enough."""
    context = detail.get("ctx", {})
    given = detail["input"]
    match detail["type"]:
        case "missing" if isinstance(detail["loc"][-1], int):
            return "the list is too short"
        case "tuple_type" | "list_type":
            return f"expected a list, got {_short(given)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"expected keys and values, got {_short(given)}"
        case "missing":
            return "this key is missing; add it"
        case "extra_forbidden":
            known = _fields(detail["loc"][:-1], model)
            near = did_you_mean(str(detail["loc"][-1]), known)
            return f"unknown key{near}; known here: {', '.join(known)}"
        case "union_tag_not_found":
            return f"this key is missing; it is one of {', '.join(TEST_KINDS)}"
        case "union_tag_invalid":
            near = did_you_mean(str(context["tag"]), TEST_KINDS)
            return f"unknown kind {context['tag']!r}{near}; it is one of {', '.join(TEST_KINDS)}"
        case "literal_error":
            options = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            near = did_you_mean(str(given), options)
            return f"{given!r} is not allowed{near}; write {context['expected']}"
        case "string_type":
            return f"expected a text, got {given!r}; put it in quotes"
        case "string_pattern_mismatch":
            return "a claim is called C1, C2, C5a, ..."
        case "value_error":
            return str(context["error"])
    message = detail["msg"].removeprefix("Input should be ")
    return f"expected {message}, got {_short(given)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys that are allowed at a location of the model."""
    annotation: Any = model
    for part in location:
        annotation = _inside(annotation, part)
    fields = getattr(annotation, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _inside(annotation: Any, part: int | str) -> Any:
    """The type of the value at key `part` of a value of type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = next(
            (one for name, one in annotation.model_fields.items() if part in (name, one.alias)),
            None,
        )
        return _without_none(field.annotation) if field else None
    if get_origin(annotation) in (Union, UnionType):
        return TEST_KINDS.get(str(part))
    if get_origin(annotation) in (dict, list):
        return _without_none(get_args(annotation)[-1])
    return None


def _without_none(annotation: Any) -> Any:
    """`X | None` and `Annotated[X, ...]` as X."""
    options = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) in (Union, UnionType) and len(options) == 1:
        return options[0]
    return (
        getattr(annotation, "__origin__", annotation)
        if hasattr(annotation, "__metadata__")
        else annotation
    )

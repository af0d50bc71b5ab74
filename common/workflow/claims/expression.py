"""Formulas over named numbers, as text: checked and evaluated without executing code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS = ("abs", "exp", "log", "max", "mean", "min", "sqrt", "sum")
"""Functions that a formula may call, each on one or more values."""


def check_expression(text: str, names: Collection[str]) -> None:
    """Raise unless `text` is arithmetic over exactly `names`.

    Raises:
        ValueError: no formula, anything but arithmetic, an unknown or an unused name.
    """
    used = {node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)}
    used -= set(FUNCTIONS)
    if unknown := sorted(used - set(names)):
        raise ValueError(f"{unknown[0]!r} in `expression` is none of {sorted(names)}")
    if unused := sorted(set(names) - used):
        raise ValueError(f"{unused[0]!r} in `numbers` does not occur in `expression`")


def evaluate(text: str, values: Mapping[str, Any]) -> Any:
    """The value of the formula; `values` may be numbers or arrays of one shape.

    >>> evaluate("100 * (b / a - 1)", {"a": 2.0, "b": 3.0})
    50.0
    """
    return _value(_parse(text).body, values)


def _parse(text: str) -> ast.Expression:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no formula: {error.msg}") from None
    _check(tree.body, text)
    return tree


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Name() | ast.Constant(value=int() | float()):
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            _check(left, text)
            _check(right, text)
            return
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _check(operand, text)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]):
            if name in FUNCTIONS:
                for argument in args:
                    _check(argument, text)
                return
    raise ValueError(
        f"`{ast.unparse(node)}` in {text!r} is not allowed: use numbers, names, + - * / ** "
        f"and {', '.join(FUNCTIONS)}"
    )


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_value(operand, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _call(name, [_value(argument, values) for argument in args])
    raise AssertionError(f"unchecked formula: {ast.unparse(node)}")


def _call(name: str, arguments: list[Any]) -> Any:
    import numpy as np

    if name in ("abs", "exp", "log", "sqrt"):
        return getattr(np, name)(*arguments)
    stacked = np.stack(np.broadcast_arrays(*arguments))
    return getattr(stacked, name)(axis=0)

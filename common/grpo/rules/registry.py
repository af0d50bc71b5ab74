"""Named rules with their equations and sources, from which recipes are put together."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule(Generic[F]):
    """A registered function.

    Attributes:
        name: how recipes call it.
        function: pure; its keyword-only arguments are the rule's options.
        equation: LaTeX, without dollar signs.
        source: arXiv id and place.
        needs: what a trainer has to supply beside the rewards ("lengths", "entropies", "states",
            "old_logps", "answer_mask").
    """

    name: str
    function: F
    equation: str
    source: str
    needs: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """Options and their defaults (`inspect.Parameter.empty` where one must be given)."""
        parameters = inspect.signature(self.function).parameters.values()
        keyword_only = (p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
        return {p.name: p.default for p in keyword_only if p.name not in self.needs}

    def bind(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        """The function with these options.

        Raises:
            ValueError: an option is unknown, or one without a default is missing.
        """
        known = self.options
        for option in options:
            if option not in known:
                raise ValueError(f"{self.name}: {unknown('option', option, known)}")
        empty = inspect.Parameter.empty
        missing = [name for name in known if known[name] is empty and name not in options]
        if missing:
            raise ValueError(f"{self.name}: the options {missing} must be given")
        return functools.partial(self.function, **options)


class Registry(Mapping[str, Rule[F]]):
    """Rules by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._rules: dict[str, Rule[F]] = {}

    def register(
        self, name: str, *, equation: str, source: str, needs: tuple[str, ...] = ()
    ) -> Callable[[F], F]:
        """Decorator: make a function known under `name`."""

        def add(function: F) -> F:
            if name in self._rules:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._rules[name] = Rule(name, function, equation, source, needs)
            return function

        return add

    def __getitem__(self, name: str) -> Rule[F]:
        if name not in self._rules:
            raise KeyError(unknown(self.kind, name, self._rules))
        return self._rules[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rules

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


MOST = 20
"""Names that a message lists."""


def unknown(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """A message that guesses what was meant, and lists what there is or the nearest of it."""
    near = difflib.get_close_matches(name, list(known), n=MOST, cutoff=0.0)
    close = difflib.get_close_matches(name, list(known), n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    listed = sorted(near if len(known) > MOST else known)
    more = f" and {len(known) - MOST} more" if len(known) > MOST else ""
    return f"unknown {kind} {name!r}.{guess} Known: {', '.join(listed) or 'none'}{more}."

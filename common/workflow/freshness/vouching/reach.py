"""What a notebook may call, judged by the words that stand in what runs."""

from __future__ import annotations

import re
from collections import defaultdict

from common.workflow.freshness.vouching.definitions import CELLS, OWN, Code, Definition


def live(code: Code, words: set[str]) -> set[str]:
    """Names of the definitions that may run: everything else, nothing that runs mentions.

    What runs when modules are imported may, and whatever is mentioned there by a word that is its
    name: a call, an attribute, a text. Registered functions are called by names that stand in
    parameters, methods by whoever holds an object of their class.
    """
    waiting = set(words)
    for one in code.definitions.values():
        waiting |= one.imports_mention
    by_word: dict[str, list[Definition]] = defaultdict(list)
    found = set()
    for one in code.definitions.values():
        if one.kind != "function" or _is_hook(one):
            found.add(one.name)
            waiting |= one.mentions
        by_word[_called(one, code)].append(one)
    seen: set[str] = set()
    while waiting := waiting - seen:
        seen |= waiting
        meant = [one for word in waiting for one in by_word.get(word, [])]
        found |= {one.name for one in meant}
        waiting = {word for one in meant for word in one.mentions}
    return found


def asked_for_by_nobody(added: list[Definition], code: Code) -> set[str]:
    """Names of new functions that a decorator hands on, and nothing else mentions."""
    functions = {name for name, one in code.definitions.items() if one.kind == "function"}
    waiting = {}
    for one in added:
        tokens = [found for text in one.decorators for found in re.findall("«([^»]+)»", text)]
        # `f.register` gives an existing function another case; a library's may do anything.
        extends = any(found.rpartition(".")[0] in functions for found in tokens)
        extends |= not all(f"{found}.".startswith(OWN) for found in tokens)
        if one.decorators and not extends and "." not in one.tail:
            waiting[one.name] = one
    others = [one for name, one in code.definitions.items() if name not in waiting]
    while others:
        words = set().union(*(one.imports_mention | one.mentions for one in others))
        others = [one for one in waiting.values() if one.tail in words]
        waiting = {name: one for name, one in waiting.items() if one not in others}
    return set(waiting)


def unmentioned_values(added: list[Definition], code: Code) -> set[str]:
    """Names of new values that nothing else mentions."""
    values = {one.name: one.tail for one in added if one.kind == "value"}
    words: set[str] = set()
    for name, one in code.definitions.items():
        if name not in values:
            words |= one.imports_mention | one.mentions
    return {name for name, tail in values.items() if tail not in words}


def _is_hook(one: Definition) -> bool:
    """Whether others than those who mention it may call it."""
    return one.name == CELLS or one.tail.startswith("__") or bool(one.decorators)


def _called(one: Definition, code: Code) -> str:
    """The word by which it may be meant: its name; of a method, its class's name."""
    owner = code.definitions.get(one.name.rpartition(".")[0])
    name = owner.name if owner is not None and owner.kind == "class" else one.name
    return name.rpartition(".")[2]

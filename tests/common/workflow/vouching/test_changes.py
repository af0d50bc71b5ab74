"""What counts as a change, and what speaks against vouching for it."""

from __future__ import annotations

import pytest

from common.workflow.freshness.vouching.changes import Change, changes
from common.workflow.freshness.vouching.definitions import Code, read_code
from common.workflow.freshness.vouching.evidence import doubts, lasting_doubts

A = """
import numpy as np

FACTOR = 3


def scaled(x):
    return x * FACTOR


def total(x, axis=0):
    y = scaled(x)
    return np.sum(y, axis)
"""
CELL = "from common.a import total\nprint(total([1]))\n"


def code(modules: dict[str, str], cell: str = CELL) -> Code:
    return read_code(modules, set(), {"1.py": cell})


def between(old: dict[str, str], new: dict[str, str], cell: str = CELL) -> list[Change]:
    return changes(code(old), code(new, cell))


def edited(old: str, new: str, source: str = A) -> list[Change]:
    """What an edit of the module `common.a` changes."""
    assert old in source
    return between({"common.a": source}, {"common.a": source.replace(old, new)})


def reasons(found: list[Change]) -> list[str]:
    return [f"{one.name}: {one.reason}" for one in lasting_doubts(found)]


# --------------------------------------------------------------------------- nothing has changed


def test_how_it_is_written_does_not_count() -> None:
    aliased = A.replace("import numpy as np", "import numpy").replace("np.sum", "numpy.sum")
    assert between({"common.a": A}, {"common.a": aliased}) == []
    told = '    """Scale it."""\n\n    return x * FACTOR  # so'
    assert edited("    return x * FACTOR", told) == []


def test_what_moved_or_was_renamed_with_its_users_is_the_same() -> None:
    there = CELL.replace("common.a", "common.rooms.b")
    assert between({"common.a": A}, {"common.rooms.b": A}, there) == []
    renamed = A.replace("scaled", "stretched").replace("FACTOR", "STRETCH")
    assert between({"common.a": A}, {"common.a": renamed}) == []
    apart = "\ndef scaled(x):\n    return x * FACTOR\n\n"
    split = {
        "common.a": "from common.c import scaled\n"
        + A.replace(apart, "\n").replace("FACTOR = 3", ""),
        "common.c": "FACTOR = 3\n" + apart,
    }
    assert between({"common.a": A}, split) == []


def test_a_numba_module_may_move_but_not_change() -> None:
    compiled = "from numba import njit\n" + A.replace("def scaled", "@njit\ndef scaled")
    there = CELL.replace("common.a", "common.b")
    assert between({"common.a": compiled}, {"common.b": compiled}, there) == []
    assert "compiled" in reasons(edited("x * FACTOR", "FACTOR * x", compiled))[0]


def test_what_moved_and_changed_is_a_change_and_nothing_else() -> None:
    there = CELL.replace("common.a", "common.b")
    (change,) = between({"common.a": A}, {"common.b": A.replace("x * FACTOR", "FACTOR * x")}, there)
    assert (change.name, change.how) == ("common.b.scaled", "changed")
    assert [one.text for one in change.old] == ["return x * «common.b.FACTOR»"]


def test_a_rename_without_a_user_is_no_rename() -> None:
    """`total` goes on to mean another function by the old name."""
    trick = A.replace("def scaled", "def stretched") + "\ndef scaled(x):\n    return x + FACTOR\n"
    assert {one.name for one in between({"common.a": A}, {"common.a": trick})} == {
        "common.a.scaled"
    }


def test_an_import_from_elsewhere_changes_those_who_use_the_name() -> None:
    modules = {
        "common.a": "from common.b import f\n\ndef total(x):\n    return f(x)\n",
        "common.b": "def f(x):\n    return x\n",
        "common.c": "def f(x):\n    return -x\n",
    }
    other = modules | {"common.a": modules["common.a"].replace("common.b", "common.c")}
    (change,) = between(modules, other)
    assert change.name == "common.a.total"


# -------------------------------------------------------------------------- statement by statement


def test_only_the_changed_statement_has_to_run() -> None:
    branchy = A.replace("    y = scaled(x)\n", "    y = scaled(x)\n    if axis:\n        y = -y\n")
    found = edited("y = scaled(x)", "y = scaled(+x)", branchy)
    ran = {"common.a": {12}, "1.py": {1, 2}}
    assert doubts(found, ran, ran) == []
    (doubt,) = doubts(found, ran, {"common.a": {11, 13, 14, 15}})
    assert "new line 12 never ran in smoke" in doubt.reason
    (doubt,) = doubts(found, {}, ran)
    assert "old line 12 never ran in smoke" in doubt.reason


def test_what_stands_in_another_branch_has_changed() -> None:
    """The new condition is seen; what it now guards has to run, too."""
    branchy = A.replace("    y = scaled(x)\n", "    y = scaled(x)\n    if axis:\n        y = -y\n")
    (change,) = edited("if axis", "if axis + 0", branchy)
    assert [one.text for one in change.new] == ["if axis + 0", "y = -y"]


@pytest.mark.parametrize(
    ("new", "choice"),
    [
        ("scaled(x) if x else x", "conditional expression"),
        ("scaled(x or x)", "and/or"),
        ("scaled(x) * (x == x)", "comparison"),
        ("[scaled(z) for z in x if z]", "filter"),
        ("(lambda: scaled(x))()", "lambda"),
        ("min(scaled(x), x)", "min"),
        ("np.where(x, scaled(x), x)", "where"),
        ("dict(a=scaled).get(x)(x)", "get, table of functions"),
        ("(scaled, scaled)[x](x)", "table of functions"),
    ],
)
def test_a_choice_inside_one_line_is_seen_whatever_runs(new: str, choice: str) -> None:
    told = [one for one in reasons(edited("scaled(x)\n", f"{new}\n")) if "chooses" in one]
    assert told == [f"common.a.total: a changed statement chooses ({choice})"]


def test_new_branches_and_handlers_choose() -> None:
    for text in (
        "if x:\n        y = x",
        "while x:\n        y = x",
        "match x:\n        case []:\n            y = x",
    ):
        assert any(
            "chooses" in one
            for one in reasons(edited("y = scaled(x)", f"y = scaled(x)\n    {text}"))
        )
    tried = "try:\n        y = scaled(x)\n    except ValueError:\n        y = x"
    assert any("except" in one for one in reasons(edited("y = scaled(x)", tried)))
    two = edited("y = scaled(x)", "y = scaled(x); y = +y")
    assert any("several statements on one line" in one for one in reasons(two))


def test_a_changed_literal_is_seen_and_one_that_stays_is_not() -> None:
    source = A.replace("y = scaled(x)", "y = scaled(x)[:50] + 2")
    assert "literal changed (50, 60)" in reasons(edited("50", "60", source))[0]
    assert "literal changed (2)" in reasons(edited(" + 2", "", source))[0]
    assert reasons(edited("scaled(x)[:50] + 2", "(+scaled(x))[:50] + 2", source)) == []


def test_literals_that_move_into_a_new_function_with_what_is_around_them_stay() -> None:
    old = "def total(x):\n    y = x[:50]\n    return y\n"
    new = "def total(x):\n    y = first(x)\n    return y\n\ndef first(x):\n    return x[:50]\n"
    assert reasons(between({"common.a": old}, {"common.a": new})) == []
    other = new.replace("[:50]", "[:60]")
    assert len(reasons(between({"common.a": old}, {"common.a": other}))) == 2
    swapped = "def total(x):\n    return f(x)[2:] + g(x)[:3]\n"
    calls = "def total(x):\n    return f(x)[3:] + g(x)[:2]\n"
    assert reasons(between({"common.a": swapped}, {"common.a": calls})) != []


def test_raise_statements_need_not_run() -> None:
    source = A.replace(
        "y = scaled(x)", 'y = scaled(x)\n    if x is None:\n        raise ValueError("a")'
    )
    found = edited('ValueError("a")', 'TypeError("none")', source)
    assert len(found) == 1
    assert doubts(found, {}, {}) == []


def test_a_signature_counts_as_a_statement_of_the_body() -> None:
    found = edited("def total(x, axis=0)", "def total(axis, x=0)")
    assert found[0].new[0].text == "def (axis, x=…)"
    assert any("never ran" in one.reason for one in doubts(found, {}, {}))


# ----------------------------------------------------------------- fixed when modules are imported


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("FACTOR = 3", "FACTOR = 4", "common.a.FACTOR: is a value of its module"),
        ("axis=0", "axis=1", "common.a.total: has another default for axis"),
        ("def total", "@np.vectorize\ndef total", "common.a.total: has other decorators"),
    ],
)
def test_what_is_decided_at_import_cannot_be_vouched_for(old: str, new: str, reason: str) -> None:
    assert reason in reasons(edited(old, new))
    assert not any(
        one.arguable for one in lasting_doubts(edited(old, new)) if "literal" not in one.reason
    )


def test_added_values_and_parameters_do_no_harm() -> None:
    assert reasons(edited("FACTOR = 3", "FACTOR = 3\nOTHER = 4")) == []
    assert reasons(edited("def scaled(x)", "def scaled(x, other=4)")) == []
    assert "statement of its module" in reasons(edited("FACTOR = 3", "FACTOR = 3\nnp.seterr()"))[0]
    again = reasons(edited("FACTOR = 3", "FACTOR = 3\nFACTOR = 4"))
    assert again == ["common.a.FACTOR: is a value of its module"]


CLASS = "class Base:\n    size = 1\n\n    def run(self):\n        return self.size\n\n\n"
TOTAL = "def total(x):\n    return {}().run()\n"


def test_class_attributes_may_come_at_the_end_unless_they_replace_inherited_ones() -> None:
    """A counter-example to 'what is added does no harm': the attribute of a base is hidden."""
    source = CLASS + TOTAL.format("Base")
    assert reasons(edited("size = 1\n", "size = 1\n    other = 2\n", source)) == []
    assert "other attributes" in reasons(edited("size = 1", "size = 2", source))[0]
    assert "other attributes" in reasons(edited("size = 1", "new = 0\n    size = 1", source))[0]
    heir = CLASS + "class Heir(Base):\n    name = 'heir'\n\n\n" + TOTAL.format("Heir")
    (told,) = reasons(edited("name = 'heir'", "name = 'heir'\n    size = 2", heir))
    assert "may replace inherited ones" in told


def test_a_new_method_of_a_class_has_to_run() -> None:
    """A counter-example to 'nobody refers to it': callers of the base's method mean it."""
    heir = CLASS + "class Heir(Base):\n    name = 'heir'\n\n\n" + TOTAL.format("Heir")
    found = edited(
        "    name = 'heir'\n",
        "    name = 'heir'\n\n    def run(self):\n        return self\n",
        heir,
    )
    assert [one.name for one in found] == ["common.a.Heir.run"]
    assert any("never ran" in one.reason for one in doubts(found, {}, {}))


# --------------------------------------------------------------------------------- who is called


RULES = """
from common.registry import RULES

@RULES.register("mean")
def mean_rule(x):
    return x

def total(x):
    return RULES["mean"](x)
"""
REGISTRY = "RULES = dict()\n"


def test_a_newly_registered_function_holds_nobody_up() -> None:
    more = '\n@RULES.register("max")\ndef max_rule(x):\n    return max(x)\n'
    old = {"common.a": RULES, "common.registry": REGISTRY}
    assert between(old, old | {"common.a": RULES + more}) == []
    used = RULES.replace("return x\n", "return max_rule(x)\n", 1) + more
    names = {one.name for one in between(old, old | {"common.a": used})}
    assert names == {"common.a.mean_rule", "common.a.max_rule"}


def test_a_registered_function_that_changes_or_goes_has_to_run() -> None:
    """Its name may stand in parameters: nobody who runs need mention the function."""
    old = {"common.a": RULES, "common.registry": REGISTRY}
    other = old | {"common.a": RULES.replace("    return x\n", "    return +x\n", 1)}
    assert [one.name for one in between(old, other)] == ["common.a.mean_rule"]
    start, end = RULES.index("@RULES"), RULES.index("def total")
    gone = old | {"common.a": RULES[:start] + RULES[end:]}
    assert [(one.name, one.how) for one in between(old, gone)] == [
        ("common.a.mean_rule", "removed")
    ]


def test_another_case_of_an_existing_function_has_to_run() -> None:
    """A counter-example to 'a new registered function': `f.register` changes what `f` does."""
    single = (
        "from functools import singledispatch\n\n@singledispatch\ndef total(x):\n    return x\n"
    )
    more = "\n@total.register(float)\ndef _total_of_float(x):\n    return x + x\n"
    found = between({"common.a": single}, {"common.a": single + more})
    assert [one.name for one in found] == ["common.a._total_of_float"]


def test_what_the_notebook_cannot_reach_may_change() -> None:
    unused = A + "\n\ndef unused(x):\n    return x\n"
    assert edited("return x\n", "return -x\n", unused) == []
    mentioned = CELL + "name = 'unused'\n"
    old, new = (
        code({"common.a": unused}, mentioned),
        code({"common.a": unused.replace("return x\n", "return -x\n")}, mentioned),
    )
    assert [one.name for one in changes(old, new)] == ["common.a.unused"]
    assert [
        one.name
        for one in changes(
            code({"common.a": unused}),
            code({"common.a": unused.replace("return x\n", "return -x\n")}),
            words={"unused"},
        )
    ] == ["common.a.unused"]


# -------------------------------------------------------------------------------------- the others


def test_drawing_modules_may_change_values_choices_and_literals_but_have_to_run() -> None:
    figures = "SIZE = 3\n\n\ndef total(x):\n    return [SIZE, 2]\n"
    cell = CELL.replace("common.a", "papers.toy.figures")
    old = code({"papers.toy.figures": figures}, cell)
    new = code(
        {"papers.toy.figures": figures.replace("3", "4").replace("2]", "5 if x else 6]")}, cell
    )
    found = changes(old, new)
    assert lasting_doubts(found) == []
    ran = {"papers.toy.figures": {5}}
    assert doubts(found, ran, ran) == []
    assert len(doubts(found, ran, {})) == 1


def test_cells_are_one_function() -> None:
    old, new = code({"common.a": A}, CELL), code({"common.a": A}, CELL + "if 0:\n    x = 2\n")
    (change,) = changes(old, new)
    assert change.name == "cells"
    assert any("never ran" in one.reason for one in doubts([change], {}, {"1.py": {1, 2, 3}}))
    assert not any("never" in one.reason for one in doubts([change], {}, {"1.py": {1, 2, 3, 4}}))
    assert changes(code({}, "%matplotlib inline\n"), code({}, "%matplotlib inline\n")) == []
    assert lasting_doubts(changes(code({}, "%time f()\n"), code({}, "%time g()\n"))) != []


def test_local_names_are_not_taken_for_those_of_the_module() -> None:
    source = (
        "def g(x):\n    return x\n\n"
        "def total(x):\n    g = [g for g in x]\n    return [h(g) for h in x]\n\n"
        "def h(x):\n    return x\n"
    )
    renamed = source.replace("def g(", "def q(").replace("def h(", "def r(")
    assert {one.name for one in between({"common.a": source}, {"common.a": renamed})} <= {
        "common.a.g",
        "common.a.q",
        "common.a.h",
        "common.a.r",
    }


def test_a_value_that_takes_the_place_of_another_is_no_added_one() -> None:
    """A counter-example to 'added values do no harm': a constant under another name."""
    other = A.replace("FACTOR = 3", "STRETCH = 4").replace("x * FACTOR", "x * STRETCH")
    told = reasons(between({"common.a": A}, {"common.a": other}))
    assert "common.a.STRETCH: a literal changed (4)" in told
    moved = A.replace("FACTOR = 3\n", "").replace("x * FACTOR", "x * 3")
    assert any("literal" in one for one in reasons(between({"common.a": A}, {"common.a": moved})))


def test_what_is_imported_through_a_module_is_what_that_module_imports() -> None:
    """A counter-example to names alone: the user's text is the same, and means another function."""
    old = {
        "common.a": "from common.m import f\n\ndef total(x):\n    return f(x)\n",
        "common.m": "def f(x):\n    return x\n",
        "common.n": "def f(x):\n    return -x\n\ndef g(x):\n    return x\n",
    }
    other = old | {"common.m": "from common.n import f\n"}
    assert "common.a.total" in {one.name for one in between(old, other)}
    moved = old | {"common.m": "from common.k import f\n", "common.k": old["common.m"]}
    assert between(old, moved) == []


def test_a_library_s_decorator_registers_for_who_knows_whom() -> None:
    more = A + "\n\n@np.vectorize\ndef other(x):\n    return x\n"
    assert [one.name for one in between({"common.a": A}, {"common.a": more})] == ["common.a.other"]


def test_star_imports_and_what_type_checkers_do_not_see_may_not_change() -> None:
    star = "from common.b import *\n" + A
    modules = {"common.a": star, "common.b": "X = 1\n", "common.c": "X = 1\n"}
    other = modules | {"common.a": star.replace("common.b", "common.c")}
    assert any("statement of its module" in one for one in reasons(between(modules, other)))
    guard = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\nelse:\n"
    told = reasons(edited("B = 1", "B = 2", f"{guard}    B = 1\n{A}"))
    assert any("statement of its module" in one for one in told)
    cell = CELL.replace("import total", "import *")
    there = cell.replace("common.a", "common.b")
    found = changes(code(modules, cell), code(modules, there))
    assert any("import *" in one for one in reasons(found))

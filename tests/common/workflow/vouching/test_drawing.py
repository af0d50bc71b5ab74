"""Modules that may change their values without a re-run do nothing but draw."""

from __future__ import annotations

import ast

import grimp

from common.workflow.base.project import ROOT
from common.workflow.freshness.vouching.changes import is_drawing

RESULTS = {"Figure", "None", "tuple[Figure, list[Axes]]"}


def test_only_drawing_code_imports_drawing_modules() -> None:
    graph = grimp.build_graph("common", "papers", cache_dir=None)
    drawing = {name for name in graph.modules if is_drawing(name)}
    assert "common.plots" in drawing
    users = {user for one in drawing for user in graph.find_modules_that_directly_import(one)}
    assert users <= drawing


def test_drawing_modules_give_figures_and_nothing_that_could_stand_in_a_table() -> None:
    files = [ROOT / "common/plots.py", *sorted(ROOT.glob("papers/*/figures.py"))]
    for file in files:
        public = [
            one
            for one in ast.parse(file.read_text()).body
            if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
        ]
        for function in public:
            assert function.returns is not None, (file, function.name)
            assert ast.unparse(function.returns) in RESULTS, (file, function.name)

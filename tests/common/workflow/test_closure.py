"""What changes a notebook's code hash, and what does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.notebooks import read_notebook
from tests.conftest import Tree

NOTEBOOK = "papers/toy/01_measure.ipynb"


@pytest.fixture
def hashes(toy: Tree) -> Callable[[], dict[str, str]]:
    """The toy's hashes as they are now; its notebook imports `papers.toy.model`."""
    (toy.root / "papers/toy/model.py").write_text(
        '"""The model."""\n\n\ndef answer():\n    """Return it."""\n'
        "    from papers.toy.constant import ANSWER\n\n    return ANSWER\n"
    )
    (toy.root / "papers/toy/constant.py").write_text("ANSWER = 42  # the answer\n")
    source = "import numpy as np\nfrom papers.toy import model\n"
    toy.edit_cell(NOTEBOOK, "imports", source)

    def now() -> dict[str, str]:
        toy.ok("claimbook", "closure", "toy")
        return dict(json.loads((toy.root / "papers/toy/closure.json").read_text()))

    return now


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("papers/toy/constant.py", "  # the answer", "  # another comment"),
        ("papers/toy/model.py", '"""Return it."""', '"""Give it."""'),
        ("papers/toy/model.py", "\n\n\ndef", "\n\ndef"),
        (NOTEBOOK, "The error falls as", "The error decreases as"),
        ("common/compare_all.py", "", "A = 2\n"),
    ],
    ids=["comment", "docstring", "layout", "prose", "unreached module"],
)
def test_the_hash_stays(
    toy: Tree, hashes: Callable[[], dict[str, str]], file: str, old: str, new: str
) -> None:
    before = hashes()
    if not old:
        (toy.root / file).write_text(new)
    elif file == NOTEBOOK:
        toy.edit_cell(NOTEBOOK, "see", "Other prose.")
    else:
        toy.edit(file, old, new)
    assert hashes() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "judge_too"),
    [
        ("papers/toy/constant.py", "42", "43", False),
        ("papers/toy/__init__.py", "", "import math\n", False),
        (NOTEBOOK, "", "", False),
        ("common/workflow/running/kernel_environment.py", '"smoke": 2', '"smoke": 1', False),
        ("common/stats.py", "import", "import math\nimport", True),
    ],
    ids=["imported in a function", "package", "cell", "kernel environment", "statistics"],
)
def test_the_hash_changes(
    toy: Tree,
    hashes: Callable[[], dict[str, str]],
    file: str,
    old: str,
    new: str,
    judge_too: bool,
) -> None:
    before = hashes()
    if file == NOTEBOOK:
        toy.edit_cell(NOTEBOOK, "run", "x = 1")
    elif not old:
        (toy.root / file).write_text(new)
    else:
        path = toy.root / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    after = hashes()
    assert (after["01_measure"] != before["01_measure"]) is not judge_too
    assert (after["judge"] != before["judge"]) is judge_too


def test_compiled_code_is_kept_until_anything_changes_that_is_compiled(toy: Tree) -> None:
    """Callers and callees count: numba itself looks only at the file of each function."""
    code = {
        "constant": "ANSWER = 42\n",
        "kernel": "import numba\n\nfrom papers.toy.constant import ANSWER\n\n"
        "inner = numba.njit(lambda: ANSWER)\n",
        "caller": "from papers.toy.kernel import inner\n\n",
        "other": "B = 1\n",
    }
    for name, text in code.items():
        (toy.root / f"papers/toy/{name}.py").write_text(text)
    show = "from common.workflow.running.runner import compiled_code; print(compiled_code())"

    def folder() -> str:
        return toy.ok(sys.executable, "-c", show)

    before = folder()
    for name, changes in {"other": False, "constant": True, "kernel": True, "caller": True}.items():
        file = toy.root / f"papers/toy/{name}.py"
        file.write_text(code[name] + "ADDED = 1\n")
        assert (folder() != before) == changes, name
        file.write_text(code[name])
    assert folder() == before


@pytest.mark.parametrize(
    "cell",
    [
        "%matplotlib inline\nfrom papers.toy import model",
        "%%time\nfrom papers.toy import model",
        "%%capture out\n%matplotlib inline\nfrom papers.toy import model",
        "%timeit -n 1 -r 1 __import__('math')\nfrom papers.toy.model import answer",
        "answer?\nfrom papers.toy import model",
    ],
)
def test_imports_beside_magics_are_seen(
    toy: Tree, hashes: Callable[[], dict[str, str]], cell: str
) -> None:
    toy.edit_cell(NOTEBOOK, "imports", cell)
    before = hashes()
    toy.edit("papers/toy/constant.py", "42", "43")
    assert hashes()["01_measure"] != before["01_measure"]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("%run other.py", "%run brings in what is not hashed"),
        ("!ls", "!command runs what is not hashed"),
        ("names = !ls", "!command runs what is not hashed"),
        ("%%bash\nls", "%%bash runs what is no Python"),
        ("%%writefile x.py\na = 1", "%%writefile runs what is no Python"),
        ("%load_ext autoreload", "%load_ext brings in what is not hashed"),
        ("this is no Python", "invalid syntax"),
    ],
)
def test_what_hides_code_from_the_hash_is_refused(toy: Tree, cell: str, reason: str) -> None:
    toy.edit_cell(NOTEBOOK, "run", cell)
    printed = toy.fails("claimbook", "run", NOTEBOOK, "--profile", "smoke")
    assert f"{NOTEBOOK}: code cell 3 hides what it runs from the code hash: {reason}" in printed


def test_what_no_hash_sees_is_listed(toy: Tree) -> None:
    toy.edit_cell(NOTEBOOK, "run", "import os\nimport importlib\nx = importlib.import_module(y)")
    toy.edit_cell(NOTEBOOK, "figure", "open('a').read()\nos.environ['B']")
    printed = toy.ok("claimbook", "closure", "toy", "--show")
    assert "01_measure: common, common." in printed
    assert (
        "not hashed: code cell 3:3: a module by a computed name (importlib.import_module)"
        in printed
    )
    assert "not hashed: code cell 4:1: a file (open)" in printed
    assert "not hashed: code cell 4:2: the environment (os.environ)" in printed


BROKEN = {
    "empty": ("", "is no notebook"),
    "no JSON": ("{", "is no notebook"),
    "conflict": (
        "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n",
        "holds the marks of a merge conflict",
    ),
    "old": ('{"nbformat": 3, "worksheets": []}', "is a notebook of format 3, not 4"),
    "list": ("[]", "is no notebook: it names no format"),
    "no source": (
        '{"nbformat": 4, "cells": [{"cell_type": "code", "metadata": {}}]}',
        "no `source`",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_notebook_names_itself(tmp_path: Path, kind: str) -> None:
    text, told = BROKEN[kind]
    file = tmp_path / "01_broken.ipynb"
    file.write_text(text)
    with pytest.raises(ClaimbookError, match=f"01_broken.ipynb.*{told}"):
        read_notebook(file)


def test_a_broken_notebook_stops_nobody_else(toy: Tree) -> None:
    text, told = BROKEN["conflict"]
    toy.ok("claimbook", "new-paper", "other")
    stem, pipeline = "02_broken", toy.root / "papers/toy/dvc.yaml"
    stage = pipeline.read_text().split("  01_measure:\n")[1].split("  judge:\n")[0]
    more = "  02_broken:\n" + stage.replace("01_measure", stem) + "  judge:\n"
    pipeline.write_text(pipeline.read_text().replace("  judge:\n", more))
    params = toy.root / "papers/toy/params.yaml"
    params.write_text(params.read_text().replace("  01_measure:", "  02_broken: {}\n  01_measure:"))
    toy.edit("params.yaml", "profile: cpu", "profile: smoke")
    (toy.root / f"papers/toy/{stem}.ipynb").write_text(text)
    printed = toy.fails("dvc", "repro", "-k", "-R", "papers")
    assert f"papers/toy/{stem}.ipynb" in printed and told in printed
    lines = toy.fails("claimbook", "status", "--profile", "smoke").splitlines()
    assert sum("up to date" in line for line in lines) == 3  # toy/01_measure and all of other
    printed = toy.fails("claimbook", "normalise")
    assert f"papers/toy/{stem}.ipynb" in printed
    toy.ok("claimbook", "closure", "toy")
    toy.ok("claimbook", "scoreboard")

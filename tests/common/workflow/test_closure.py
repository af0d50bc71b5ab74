"""What changes a notebook's code hash, and what does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

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

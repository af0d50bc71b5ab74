"""Vouching: which changes keep results up to date, on planted ones, and what comes after."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Tree, copy_tree
from tests.pipeline.test_dvc import stages_run
from tests.pipeline.vouched import PAPER, PIPELINE, PLAIN, Case, module, plant, write_cases

RECEIPTS = f"{PAPER}/results/cpu/receipts"
NUMBA = """import numba


@numba.njit
def total(n):
    return {} * n


def measure(size):
    return [{{"i": 0, "x": total(size)}}]
"""
RULES = """RULES = {}


def register(function):
    RULES[function.__name__] = function
    return function


@register
def double(x):
    return 2 * x


def measure(size):
    return [{"i": i, "x": RULES["double"](i)} for i in range(size)]
"""
CONVERTED = """import os
from pathlib import Path


def measure(size):
    folder = os.environ.get("CLAIMBOOK_CACHE") or os.environ["PYTHONPATH"] + "/.cache"
    file = Path(folder) / "converted.txt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str({}))
    return [{{"i": 0, "x": float(file.read_text())}}]
"""
FIGURE = """import matplotlib.pyplot as plt

SIZE = {}


def drawn(frame):
    figure, axes = plt.subplots()
    axes.plot(frame["i"], frame["x"], linewidth=SIZE)
    return figure
"""
LARGE = module(
    "    x = [0.1 * i for i in range(size)]\n    if size > 50:\n        x = {}\n"
    '    return [{{"i": i, "x": y}} for i, y in enumerate(x)]\n'
)
SUM = module(
    '    x = 0.1\n    y = 0.2\n    z = 0.3\n    return [{{"i": i, "x": {}}} for i in range(size)]\n'
)
VOUCHED = "vouched for"

CASES = {
    "refactored": Case(
        PLAIN,
        module(
            "    return table(range(size))\n\n\ndef table(numbers):\n"
            '    rows = [{"i": i, "x": 0.1 * i} for i in numbers]\n    return rows\n'
        ),
        VOUCHED,
    ),
    "moved": Case(PLAIN, PLAIN, f"{VOUCHED} (0 definitions differ)", there="elsewhere"),
    "moved_numba": Case(
        NUMBA.format("2"),
        NUMBA.format("2"),
        f"{VOUCHED} (0 definitions differ)",
        there="numba_elsewhere",
    ),
    "renamed": Case(RULES, RULES.replace("register", "known"), f"{VOUCHED} (0 definitions differ)"),
    "new_rule": Case(
        RULES,
        RULES + "\n\n@register\ndef triple(x):\n    return 3 * x\n",
        f"{VOUCHED} (0 definitions differ)",
    ),
    "constant": Case(
        "STEP = 0.1\n" + PLAIN.replace("0.1", "STEP"),
        "STEP = 0.2\n" + PLAIN.replace("0.1", "STEP"),
        "STEP: is a value of its module",
    ),
    "unseen_constant": Case(
        "MOST = 50\n" + PLAIN.replace("range(size)", "range(min(size, MOST))"),
        "MOST = 40\n" + PLAIN.replace("range(size)", "range(min(size, MOST))"),
        "MOST: is a value of its module",
    ),
    "only_at_cpu": Case(
        LARGE.format("list(x)"), LARGE.format("x + x"), "measure: old line 6 never ran in smoke"
    ),
    "one_line": Case(
        PLAIN,
        PLAIN.replace("0.1 * i", "0.1 * i if size < 50 else -0.1 * i"),
        "chooses (comparison, conditional expression)",
    ),
    "literal": Case(
        PLAIN.replace("range(size)", "range(size)[:50]"),
        PLAIN.replace("range(size)", "range(size)[:40]"),
        "a literal changed (40, 50)",
    ),
    "restyled": Case(
        PLAIN,
        PLAIN,
        f"{VOUCHED} (1 definitions differ; old look: figure.png)",
        cell="from papers.toy.figures import drawn\n\nframe = pd.DataFrame(measure(size))\n"
        'save_figure(drawn(frame), "figure")',
    ),
    "compiled": Case(NUMBA.format("2"), NUMBA.format("n"), "is compiled"),
    "converted": Case(CONVERTED.format("0.5"), CONVERTED.format("-0.5"), "in smoke: table"),
    "float_order": Case(SUM.format("x + y + z"), SUM.format("z + y + x"), "in smoke: table"),
    "argued": Case(
        PLAIN,
        PLAIN.replace("0.1 * i", "0.1 * i if i or True else 0.1"),
        f"{VOUCHED} (1 definitions differ)",
    ),
}


def with_cases(folder: Path, cases: dict[str, Case]) -> Tree:
    """The toy with more notebooks, run at cpu and committed."""
    tree = copy_tree(folder, lambda name: not name.startswith("papers/") or name.count("/") == 1)
    tree.ok("claimbook", "new-paper", "toy")
    write_cases(tree, cases)
    (tree.root / PAPER / "figures.py").write_text(FIGURE.format(1))
    tree.commit("code")
    tree.warm("dvc", "repro", PIPELINE)
    tree.ok("claimbook", "scoreboard")
    tree.commit("results")
    return tree


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return with_cases(tmp_path_factory.mktemp("tree"), CASES)


@pytest.fixture(scope="module")
def planted(built: Tree, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, str]:
    """The changes planted and committed; and what vouching for them printed."""
    tree = copied(built, tmp_path_factory.mktemp("planted"))
    plant(tree, CASES)
    (tree.root / PAPER / "figures.py").write_text(FIGURE.format(3))
    tree.commit("changes")
    printed = tree.command(
        *("claimbook", "vouch", "toy"),
        *("--because", "papers.toy.argued.measure", "the condition is always true"),
    )
    assert printed.returncode == 1, printed.stdout + printed.stderr
    return tree, printed.stdout


def copied(tree: Tree, folder: Path) -> Tree:
    shutil.copytree(tree.root, folder / "tree", symlinks=True)
    return Tree(folder / "tree")


def said(printed: str) -> dict[str, str]:
    """What was said of every result, by its notebook's name."""
    found: dict[str, str] = {}
    name = ""
    for line in printed.splitlines():
        if line.startswith("toy/"):
            name, _, line = line.partition(": ")
        found[name[7:]] = found.get(name[7:], "") + line + "\n"
    return found


def test_planted_changes_get_their_receipts_or_not(planted: tuple[Tree, str]) -> None:
    told = said(planted[1])
    wrong = {
        name: told[name]
        for name, case in CASES.items()
        if case.says not in told[name] or (VOUCHED in told[name]) != case.says.startswith(VOUCHED)
    }
    assert wrong == {}


def test_what_is_vouched_for_is_up_to_date_and_the_rest_runs_again(
    planted: tuple[Tree, str], tmp_path: Path
) -> None:
    tree = copied(planted[0], tmp_path)
    lines = tree.command("claimbook", "status", "toy", "--profile", "cpu").stdout.splitlines()
    commit = git(tree, "rev-parse", "HEAD")[:7]
    for name, case in CASES.items():
        (line,) = [one for one in lines if re.search(rf"\d_{name} ", one)]
        if case.says.startswith(VOUCHED):
            assert f"up to date  (code changed since; same in smoke at {commit}" in line
        else:
            assert "stale" in line
    assert any("argued for: papers.toy.argued.measure" in line for line in lines)
    assert any("old look: figure.png" in line for line in lines)

    tree.ok("claimbook", "scoreboard")
    board = (tree.root / "SCOREBOARD.md").read_text()
    assert "argued for: papers.toy.argued.measure (the condition is always true)" in board

    ran = {name[3:] for name in stages_run(tree.warm("dvc", "repro", PIPELINE))}
    again = {name for name, case in CASES.items() if not case.says.startswith(VOUCHED)}
    assert again <= ran
    assert not ran & (CASES.keys() - again)
    tree.ok("claimbook", "status", "toy", "--profile", "cpu")
    assert "holds" in tree.ok("claimbook", "vouch", "toy", "--check")


def git(tree: Tree, *arguments: str) -> str:
    command = ["git", "-C", str(tree.root), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        [*command, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


# -------------------------------------------------------------------------------- what comes after

FEW = {
    "first": Case(PLAIN, PLAIN.replace("rows", "found"), VOUCHED),
    "second": Case(PLAIN, PLAIN, VOUCHED),
}


@pytest.fixture(scope="module")
def few_once(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return with_cases(tmp_path_factory.mktemp("tree"), FEW)


@pytest.fixture
def few(few_once: Tree, tmp_path: Path) -> Tree:
    return copied(few_once, tmp_path)


def change(tree: Tree, old: str, new: str, name: str = "first") -> None:
    tree.edit(f"{PAPER}/{name}.py", old, new)
    tree.commit(f"{old} -> {new}")


def status(tree: Tree, name: str = "first") -> str:
    lines = tree.command("claimbook", "status", "toy", "--profile", "cpu").stdout.splitlines()
    (line,) = [one for one in lines if f"_{name}" in one]
    return line


def test_uncommitted_code_is_refused_and_a_dry_run_only_tells(few: Tree) -> None:
    few.edit(f"{PAPER}/first.py", "rows", "found")
    told = few.fails("claimbook", "vouch", "toy")
    assert "uncommitted code (papers/toy/first.py): commit it first" in told
    few.commit()
    before = few.contents(f"{PAPER}/results")
    told = few.fails("claimbook", "vouch", "toy", "--dry")
    assert "toy: 1 results lack today's code, 1 may be vouched for; 2 runs in miniature" in told
    assert few.contents(f"{PAPER}/results") == before
    told = few.fails("claimbook", "vouch", "toy", "--because", "papers.toy.first.measur", "why not")
    assert "no such function changed (did you mean 'papers.toy.first.measure'?)" in told
    told = few.fails("claimbook", "vouch", "toy", "--because", "papers.toy.first.measure")
    assert "--because" in told


def test_receipts_form_a_chain_that_a_run_ends(few: Tree) -> None:
    """Vouched twice, then run by force, then the code goes back."""
    change(few, "rows", "found")
    few.ok("claimbook", "vouch", "toy")
    few.commit("receipt")
    change(few, "found", "table")
    few.ok("claimbook", "vouch", "toy")
    assert len(few.contents(RECEIPTS)) == 2
    assert "up to date" in status(few)
    assert "didn't change" in few.ok("dvc", "repro", "--single-item", f"{PIPELINE}:02_first")
    few.ok("dvc", "repro", "--force", "--single-item", f"{PIPELINE}:02_first")
    assert few.contents(RECEIPTS) == {}
    assert "same in smoke" not in status(few)
    few.commit("run by force")
    change(few, "table", "found")
    assert "stale" in status(few)
    few.ok("claimbook", "vouch", "toy")
    assert "same in smoke" in status(few)


@pytest.mark.slow
def test_the_code_may_go_back_without_a_run(few: Tree) -> None:
    change(few, "rows", "found")
    few.ok("claimbook", "vouch", "toy")
    few.commit("receipt")
    git(few, "revert", "--no-edit", "HEAD~1")
    assert "same in smoke" not in status(few)
    assert "up to date" in status(few)


def test_an_interrupted_call_leaves_nothing_and_the_next_one_goes_on(few: Tree) -> None:
    change(few, "rows", "found")
    process = subprocess.Popen(
        ["./claimbook", "vouch", "toy"],
        cwd=few.root,
        env=few.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()  # it has found what to run
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert few.contents(RECEIPTS) == {}
    assert "stale" in status(few)
    few.ok("claimbook", "vouch", "toy")
    # Killed between the receipt and DVC: the receipt stands, and only DVC is told.
    git(few, "checkout", f"{PAPER}/dvc.lock")
    told = few.ok("claimbook", "vouch", "toy")
    assert "02_first: had its receipt; DVC knows it now" in told
    assert "Running" not in few.ok("dvc", "repro", "--single-item", f"{PIPELINE}:02_first")


@pytest.mark.slow
def test_two_branches_that_were_vouched_for_can_be_merged(few: Tree) -> None:
    start = git(few, "rev-parse", "HEAD")
    git(few, "checkout", "-b", "other")
    change(few, "    return rows", "    rows = list(rows)\n    return rows")
    few.ok("claimbook", "vouch", "toy")
    few.commit("vouched there")
    git(few, "checkout", "-b", "here", start)
    few.edit(f"{PAPER}/first.py", "def measure", "def unused():\n    return None\n\n\ndef measure")
    few.commit("something new")
    few.ok("claimbook", "vouch", "toy")
    few.commit("vouched here")
    git(few, "merge", "--no-commit", "-X", "ours", "other")
    few.commit("merged")
    assert len(few.contents(RECEIPTS)) == 2
    assert "stale" in status(few)
    few.ok("claimbook", "vouch", "toy")
    assert "same in smoke" in status(few)
    assert len(few.contents(RECEIPTS)) == 3


def test_a_forged_receipt_is_found(few: Tree) -> None:
    change(few, "rows", "found")
    few.ok("claimbook", "vouch", "toy")
    (name,) = few.contents(RECEIPTS)
    file = few.root / RECEIPTS / name
    honest = json.loads(file.read_text())
    change(few, "0.1", "0.7")
    assert "stale" in status(few)
    few.ok("claimbook", "closure", "toy")
    today = json.loads((few.root / PAPER / "closure.json").read_text())["02_first"]

    forged = honest | {"code": honest["code"] | {"new": today}}
    file.write_text(json.dumps(forged))
    assert "damaged" in status(few) and "named after another receipt" in status(few)
    renamed = file.with_name(f"02_first-{today}.json")
    file.rename(renamed)
    renamed.write_text(json.dumps(forged | {"results": "0" * 64}))
    assert "vouches for other results" in status(few)
    renamed.write_text(json.dumps(forged))
    assert "up to date" in status(few)  # consistent in itself; repeating it tells
    assert "has another hash than the receipt says" in few.fails(
        "claimbook", "vouch", "toy", "--check"
    )
    commit = git(few, "rev-parse", "HEAD")
    renamed.write_text(json.dumps(forged | {"commits": honest["commits"] | {"new": commit}}))
    told = few.fails("claimbook", "vouch", "toy", "--check")
    assert "measure different things in smoke" in told


@pytest.mark.slow
def test_an_arm_that_is_added_after_a_vouch_runs_alone(few: Tree) -> None:
    few.edit(
        PIPELINE,
        "  02_first:\n",
        "  02_first:\n    matrix:\n      size: [3, 4]\n",
    )
    few.edit(
        PIPELINE,
        "02_first.ipynb --profile ${profile}",
        "02_first.ipynb --profile ${profile} --arm size=${item.size}",
    )
    folder = f"{PAPER}/results/${{profile}}/02_first"
    few.edit(PIPELINE, f"{folder}:", f"{folder}@${{item.size}}:")
    few.edit(PIPELINE, f"    - {folder}\n", f"    - {folder}@3\n    - {folder}@4\n")
    few.commit("arms")
    shutil.rmtree(few.root / PAPER / "results/cpu/02_first")
    few.ok("dvc", "repro", PIPELINE)
    few.commit("arms ran")
    change(few, "rows", "found")
    few.ok("claimbook", "vouch", "toy")
    assert len(few.contents(RECEIPTS)) == 2
    few.commit("vouched")
    few.edit(PIPELINE, "size: [3, 4]", "size: [3, 4, 5]")
    few.edit(PIPELINE, f"    - {folder}@4\n", f"    - {folder}@4\n    - {folder}@5\n")
    printed = few.ok("dvc", "repro", PIPELINE)
    assert stages_run(printed) == ["closure", "02_first@5", "judge"]
    few.commit("one more arm")
    change(few, "found", "table")
    few.ok("claimbook", "vouch", "toy")
    assert (
        few.command("claimbook", "status", "toy", "--profile", "cpu").stdout.count("same in smoke")
        == 3
    )


@pytest.mark.slow
def test_two_papers_at_once(few: Tree) -> None:
    few.ok("claimbook", "new-paper", "other")
    few.commit("two papers")
    few.ok("dvc", "repro", "papers/other/dvc.yaml")
    few.commit("two results")
    few.edit("papers/other/01_measure.ipynb", "import pandas as pd", "import pandas")
    few.edit("papers/other/01_measure.ipynb", "pd.DataFrame", "pandas.DataFrame")
    change(few, "rows", "found")
    calls = [
        subprocess.Popen(
            ["./claimbook", "vouch", slug],
            cwd=few.root,
            env=few.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for slug in ("toy", "other")
    ]
    for call in calls:
        told, _ = call.communicate(timeout=1500)
        assert call.returncode == 0, told
    few.ok("claimbook", "status", "--profile", "cpu")


def test_processes_that_a_notebook_starts_are_traced(tmp_path: Path) -> None:
    from common.workflow.freshness.vouching import line_trace

    shutil.copy(line_trace.__file__, tmp_path / "sitecustomize.py")
    (tmp_path / "common").mkdir()
    (tmp_path / "common/work.py").write_text(
        "import threading\n\n\ndef f(x):\n    y = x\n    return y\n\n\n"
        "def g(x):\n    return (lambda z: z)(x)\n\n\ndef never():\n    return 0\n"
    )
    (tmp_path / "main.py").write_text(
        "import threading\nfrom joblib import Parallel, delayed\nfrom common.work import f, g\n"
        "if __name__ == '__main__':\n"
        "    Parallel(n_jobs=2)(delayed(f)(i) for i in range(4))\n"
        "    thread = threading.Thread(target=g, args=(1,))\n"
        "    thread.start()\n    thread.join()\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "CLAIMBOOK_TRACE": str(tmp_path / "trace")}
    subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=environment, check=True)
    lines = {
        line for file in (tmp_path / "trace").iterdir() for line in file.read_text().split("\n")
    }
    ran = {int(line.partition("\t")[2]) for line in lines if line.startswith("common/work.py")}
    assert {5, 6, 10} <= ran
    assert 14 not in ran

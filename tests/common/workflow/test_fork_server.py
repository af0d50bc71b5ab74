"""Processes that start as forks of a warm server are what fresh ones would have been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from common.workflow.base.project import ROOT
from common.workflow.running.warm import forking
from tests.conftest import Tree

PROBE = """
import json, os, sys
print(json.dumps({
    "name": __name__, "arguments": sys.argv[1:], "folder": os.getcwd(), "path": sys.path,
    "warm": "colorsys" in sys.modules, "common": "common" in sys.modules,
    "said": sys.stdin.read(), "mark": os.environ.get("CLAIMBOOK_MARK"),
}))
"""

SPAWN = [sys.executable, "-m", "common.workflow.running.fork_client"]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment of those that may ask a server with two libraries."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME")}
    with forking(["colorsys", "numpy"], environment) as variable:
        yield environment | variable


@dataclass(frozen=True)
class Here:
    """A folder with modules to start, outside of the project."""

    folder: Path
    environment: dict[str, str]

    def module(self, code: str) -> None:
        (self.folder / "probe.py").write_text(code)

    def start(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SPAWN, "probe", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            input="something",
            timeout=60,
        )


@pytest.fixture
def here(tmp_path: Path, server: dict[str, str]) -> Here:
    made = Here(tmp_path, server | {"PYTHONPATH": str(ROOT)})
    made.module(PROBE)
    return made


def test_a_fork_is_the_process_that_was_asked_for(here: Here) -> None:
    seen = json.loads(here.start("a", "--b", CLAIMBOOK_MARK="mark").stdout)
    assert seen["warm"] and not seen["common"], "libraries are there, the project's code is not"
    assert (seen["name"], seen["arguments"]) == ("__main__", ["a", "--b"])
    assert (seen["said"], seen["mark"]) == ("something", "mark")
    assert seen["folder"] == str(here.folder)
    fresh = json.loads(here.start(CLAIMBOOK_FORK_SERVER="").stdout)
    assert not fresh["warm"]
    assert seen["path"] == fresh["path"]


@pytest.mark.parametrize(
    "other", [{"OMP_NUM_THREADS": "1"}, {"HOME": "/"}, {"CLAIMBOOK_FORK_SERVER": "/nowhere/fork"}]
)
def test_where_libraries_see_something_else_or_no_server_is_a_process_starts_afresh(
    here: Here, other: dict[str, str]
) -> None:
    assert not json.loads(here.start(**other).stdout)["warm"]


def test_a_variable_that_a_library_has_set_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    given = {"PATH": os.environ["PATH"]}
    for seen in (given, given | {"SET_BY_A_LIBRARY": "1"}):  # a process may hand it on, or not
        with forking(["colorsys", "tests.common.workflow.sets_a_variable"], given) as variable:
            here = Here(tmp_path, seen | variable | {"PYTHONPATH": str(ROOT)})
            assert json.loads(here.start().stdout)["warm"]


def test_what_asks_for_ipython_when_it_is_imported_finds_a_kernel(tmp_path: Path) -> None:
    """Pandas does, and shows wide tables otherwise to a terminal."""
    code = "import builtins, pandas\nprint(pandas.get_option('display.max_columns'), "
    code += "hasattr(builtins, 'get_ipython'))"
    (tmp_path / "probe.py").write_text(code)
    given = {"PATH": os.environ["PATH"]}
    with forking(["pandas"], given) as variable:
        here = Here(tmp_path, given | variable | {"PYTHONPATH": str(ROOT)})
        assert here.start().stdout == "20 False\n"
    assert here.start().stdout == "0 False\n"


def test_edited_code_is_what_runs(here: Here) -> None:
    for word in ("old", "newer"):
        here.module(f"print({word!r})")
        assert here.start().stdout == f"{word}\n"


def test_forks_do_not_share_random_numbers(here: Here) -> None:
    here.module("import numpy, random; print(numpy.random.rand(), random.random())")
    drawn = here.start().stdout.split() + here.start().stdout.split()
    assert len(set(drawn)) == 4


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('no luck')", 1, "no luck"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os.kill(os.getpid(), 15)", -15, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import atexit; atexit.register(print, 'left well')", 0, "left well"),
    ],
)
def test_the_caller_ends_as_the_fork_ends(here: Here, code: str, status: int, said: str) -> None:
    here.module(code)
    ended = here.start()
    assert ended.returncode == status
    assert said in ended.stdout + ended.stderr


WAITING = """
import os, signal, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("pid.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("pid.new", "pid")
time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["caller", "deaf caller", "parent"])
def test_a_fork_does_not_outlive_those_it_works_for(here: Here, victim: str) -> None:
    here.module(WAITING)
    line = f"{' '.join([*SPAWN, 'probe', *victim.split()])}; true"  # a shell stays above it
    with subprocess.Popen(["sh", "-c", line], cwd=here.folder, env=here.environment) as shell:
        fork = psutil.Process(_pid(here.folder / "pid"))
        (caller,) = psutil.Process(shell.pid).children()
        target = psutil.Process(shell.pid) if victim == "parent" else caller
        target.send_signal(signal.SIGTERM if victim == "caller" else signal.SIGKILL)
        fork.wait(timeout=20)


@pytest.mark.parametrize("killed", [False, True])
def test_a_fork_does_not_outlive_the_server(tmp_path: Path, killed: bool) -> None:
    environment = {"PATH": os.environ["PATH"]}
    (tmp_path / "probe.py").write_text(WAITING)
    with forking([], environment) as variable:
        seen = environment | variable | {"PYTHONPATH": str(ROOT)}
        caller = subprocess.Popen([*SPAWN, "probe"], cwd=tmp_path, env=seen)
        fork = psutil.Process(_pid(tmp_path / "pid"))
        if killed:
            fork.parent().kill()  # type: ignore[union-attr]
    fork.wait(timeout=20)
    assert caller.wait(timeout=20) == -signal.SIGKILL


def _pid(file: Path) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if file.exists():
            return int(file.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{file} was not written")


def test_a_notebook_and_its_runner_are_forked(toy: Tree) -> None:
    look = "import sys\nassert 'papermill' not in sys.modules, 'forked'"
    toy.edit_cell("papers/toy/01_measure.ipynb", "imports", look)
    run = ["run", "papers/toy/01_measure.ipynb", "--profile"]
    assert "AssertionError: forked" in toy.fails("claimbook", "warm", "./claimbook", *run, "smoke")
    gpu = {"CLAIMBOOK_WITHOUT_GPU": "1"}
    shown = toy.fails("claimbook", "warm", "./claimbook", *run, "gpu", environment=gpu)
    assert "NameError" in shown, "profile gpu sees another environment, and starts afresh"
    shown = toy.fails("claimbook", "warm", "./claimbook", "run", "papers/toy/nothing.ipynb")
    assert "does not exist" in shown


def test_warm_says_what_is_wrong_with_its_command(empty_tree: Tree) -> None:
    assert "name a command" in empty_tree.fails("claimbook", "warm")
    assert "no command `dcv`" in empty_tree.fails("claimbook", "warm", "dcv", "repro")
    assert empty_tree.command("claimbook", "warm", "sh", "-c", "exit 3").returncode == 3
    assert os.environ.get("CLAIMBOOK_FORK_SERVER") is None

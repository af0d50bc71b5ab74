"""Copies of the working tree to try things in, so that no test touches the tree itself."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.workflow.running.fork_client import VARIABLE
from common.workflow.running.warm import listening, serving
from tests.by_need import Budget, choices

ROOT = Path(__file__).resolve().parents[1]

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client


SHARED = "CLAIMBOOK_TEST_WARM"
"""Names the socket of the fork server that all workers share."""


DROPPED = ("PYTEST_", "COLUMNS", "LINES", "TRL_", "ACCELERATE_", SHARED)
"""What pytest, its workers, and trainings in earlier tests set for themselves."""


def plain_environment() -> dict[str, str]:
    """The environment of commands in trees, the same for all workers."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED)}
    # Tests run side by side: a thread that waits for another one must not hold its core.
    return kept | {
        "CLAIMBOOK_PYTHON": sys.executable,
        "DVC_NO_ANALYTICS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def pytest_configure(config: pytest.Config) -> None:
    """Let the first test that wants warm libraries start the server, once for all workers."""
    if hasattr(config, "workerinput") or SHARED in os.environ:
        return
    stack = ExitStack()
    listener, os.environ[SHARED] = stack.enter_context(listening())
    over = threading.Event()

    def serve() -> None:
        while not select.select([listener], [], [], 0.2)[0]:
            if over.is_set():
                return
        code = "import json, os\nfrom common.workflow.running.warm import *\n"
        code += "print(json.dumps([sorted(all_libraries()), warm_environment()]))"
        command = [sys.executable, "-c", code]
        told = subprocess.run(
            command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True, check=True
        )
        with serving(listener, *json.loads(told.stdout)):
            over.wait()

    server = threading.Thread(target=serve, daemon=True)
    server.start()

    def end() -> None:
        over.set()
        server.join()
        stack.close()

    config.add_cleanup(end)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which papers were taken in miniature, and which were left."""
    stats = terminalreporter.stats

    def slugs(outcome: str) -> list[str]:
        wanted = r"test_smoke\.py::test_a_paper_runs\[(\w+)\]"
        found = [re.search(wanted, one.nodeid) for one in stats.get(outcome, [])]
        return [match[1] for match in found if match]

    ran = {*slugs("passed"), *slugs("failed")}
    if not ran:
        return
    own = [one.slug for one in choices() if one.why == "own" and one.slug in ran]
    told = f"papers in miniature: {', '.join(sorted(ran))}"
    told += f" (whatever it costs, since they changed: {', '.join(own)})" if own else ""
    left = slugs("skipped")
    told += f"; left to `make test-all`: {', '.join(left)}" if left else ""
    terminalreporter.write_line(told)


@dataclass(frozen=True)
class Tree:
    """A checkout of its own, with its `./claimbook` and `dvc`."""

    root: Path

    def command(
        self, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 1700
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree's root; `claimbook` and `dvc` are the tree's own."""
        program = {
            "claimbook": ["./claimbook"],
            "dvc": [sys.executable, "-m", "dvc"],
        }.get(arguments[0], [arguments[0]])
        return subprocess.run(
            [*program, *arguments[1:]],
            cwd=self.root,
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    @property
    def environment(self) -> dict[str, str]:
        return plain_environment()

    def ok(self, *arguments: str, **options: object) -> str:
        """Run a command that has to succeed; what it printed."""
        done = self.command(*arguments, **options)  # type: ignore[arg-type]
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        return printed

    def fails(self, *arguments: str, **options: object) -> str:
        """Run a command that has to fail with a message and without a Python traceback."""
        done = self.command(*arguments, **options)  # type: ignore[arg-type]
        printed = done.stdout + done.stderr
        assert done.returncode != 0, printed
        assert 'File "' not in done.stderr, done.stderr
        return printed

    def warm(self, *arguments: str) -> str:
        """`ok`, with notebooks as forks of one process: for what is not about starting them."""
        if os.environ.get("CLAIMBOOK_TEST_FRESH"):  # benchmarks/warm_start.py compares
            return self.ok(*arguments)
        return self.ok(*arguments, environment={VARIABLE: os.environ[SHARED]})

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))

    def edit_cell(self, notebook: str, cell: str, source: str) -> None:
        """Replace the source of the cell with the id `cell`."""
        path = self.root / notebook
        document = json.loads(path.read_text())
        (found,) = [one for one in document["cells"] if one["id"] == cell]
        found["source"] = source.splitlines(keepends=True)
        path.write_text(json.dumps(document))

    def contents(self, folder: str) -> dict[str, bytes]:
        """Every file below a folder, by relative path."""
        top = self.root / folder
        files = (file for file in sorted(top.rglob("*")) if file.is_file())
        return {file.relative_to(top).as_posix(): file.read_bytes() for file in files}

    def commit(self, message: str = "a commit") -> None:
        git = ["git", "-C", str(self.root), "-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run([*git, "add", "-A"], check=True, capture_output=True)
        subprocess.run([*git, "commit", "-qm", message], check=True, capture_output=True)


def copy_tree(target: Path, keep: Callable[[str], bool]) -> Tree:
    """A copy of the working tree, uncommitted files included, as a git and DVC repository."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    for name in listed:
        if keep(name) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "init", "-q", str(target)], check=True)
    return Tree(target)


@pytest.fixture
def empty_tree(tmp_path: Path) -> Tree:
    """The project without any paper."""
    return copy_tree(tmp_path, lambda name: not name.startswith("papers/") or name.count("/") == 1)


@pytest.fixture
def toy(empty_tree: Tree) -> Tree:
    """The project with one paper, `toy`, fresh from the skeleton."""
    empty_tree.ok("claimbook", "new-paper", "toy")
    return empty_tree


@pytest.fixture(scope="session")
def smoke_budget(tmp_path_factory: pytest.TempPathFactory) -> Budget:
    """What all workers have spent on papers in miniature."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return Budget(shared / "smoke-seconds")


@pytest.fixture(scope="session")
def whole_tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The whole project, with the profile set to smoke."""
    tree = copy_tree(tmp_path_factory.mktemp("tree"), lambda name: True)
    tree.edit("params.yaml", "profile: cpu", "profile: smoke")
    return tree

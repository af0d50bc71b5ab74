"""A finished toy paper that many tests damage, each in a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Tree, copy_tree
from tests.pipeline.faults import REPRO, prepare


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The toy with checkpoints, tables and a figure, run and committed."""
    folder = tmp_path_factory.mktemp("finished")
    tree = copy_tree(folder, lambda name: not name.startswith("papers/") or name.count("/") == 1)
    tree.ok("claimbook", "new-paper", "toy")
    prepare(tree).ok(*REPRO)
    tree.commit()
    return tree


@pytest.fixture
def finished(finished_once: Tree, tmp_path: Path) -> Tree:
    """A copy of the finished toy."""
    shutil.copytree(finished_once.root, tmp_path / "tree", symlinks=True)
    return Tree(tmp_path / "tree")

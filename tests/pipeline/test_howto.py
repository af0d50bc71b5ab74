"""Every command of docs/dvc.md works."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Tree

BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/dvc.md").read_text(), flags=re.DOTALL)
LINES = [line.partition("  #") for block in BLOCKS for line in block.splitlines()]
COMMANDS = [(command.strip(), comment) for command, _, comment in LINES]


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 15
    assert sum("restored" in comment for _, comment in COMMANDS) == 3


@pytest.mark.slow
def test_every_command_works(toy: Tree, tmp_path: Path) -> None:
    programs = tmp_path / "bin"  # what activating the environment does
    programs.mkdir()
    (programs / "dvc").symlink_to(Path(sys.executable).parent / "dvc")
    environment = {"PATH": f"{programs}:{toy.environment['PATH']}"}
    toy.ok("dvc", "repro", "papers/toy/dvc.yaml")
    toy.commit()
    results = toy.contents("papers/toy/results/cpu/01_measure")
    for command, comment in COMMANDS:
        printed = toy.ok("bash", "-c", command, environment=environment)
        if "restored" in comment:
            assert "Running stage 'papers/toy/dvc.yaml:01_measure'" not in printed
    assert toy.contents("papers/toy/results/cpu/01_measure") == results

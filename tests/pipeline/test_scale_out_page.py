"""Every command and program of docs/scale-out.md works, on this machine alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.common import linear_training
from tests.conftest import ROOT, Tree

PAGE = (ROOT / "docs/scale-out.md").read_text()
BLOCKS = re.findall(r"```(?:bash|python)\n(.*?)```", PAGE, flags=re.DOTALL)
IDENTICAL = "identical: every measurement and verdict, to the bit"


def block(words: str) -> str:
    (found,) = [text for text in BLOCKS if words in text]
    return str(found)


@pytest.fixture
def home(toy: Tree, tmp_path: Path) -> dict[str, str]:
    """Variables of a user with certificates, whose `ssh` and `sbatch` stay on this machine."""
    toy.edit(
        "papers/toy/params.yaml",
        "sample_sizes: [16, 64, 256, 1024, 4096]",
        "sample_sizes: [16, 64]",
    )
    toy.ok("dvc", "repro", "papers/toy/dvc.yaml")
    toy.commit()
    programs, folder = tmp_path / "bin", tmp_path / "home"
    for path in (programs, folder, toy.root / ".venv/bin"):
        path.mkdir(parents=True)
    (toy.root / ".venv/bin/dask").symlink_to(Path(sys.executable).parent / "dask")
    for name, does in {"ssh": 'exec sh -c "$2"', "sbatch": SBATCH, "scancel": ":"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    variables = {"HOME": str(folder), "HEAD": "127.0.0.1", "NODES": "one two"}
    variables["PATH"] = f"{programs}:{os.environ['PATH']}"
    toy.ok("bash", "-euc", block("openssl req"), environment=variables)
    return variables


SBATCH = """\
cp "$1" "$HOME/job.sh"
sh "$1" >/dev/null 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_over_ssh(toy: Tree, home: dict[str, str]) -> None:
    printed = toy.ok("bash", "-c", block("ssh "), environment=home)
    assert printed.count(IDENTICAL) == 1
    assert "worker tls://127.0.0.1" in printed


@pytest.mark.slow
def test_on_slurm(toy: Tree, home: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", block("SLURMCluster")],
        cwd=home["HOME"],
        env=toy.environment | home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        call = next(line for line in process.stdout if line.startswith("./claimbook"))
        cpu = call.replace("--profile gpu", "--profile cpu")
        assert toy.ok("sh", "-c", cpu, environment=home).count(IDENTICAL) == 1
        process.communicate("\n", timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    script = Path(home["HOME"], "job.sh").read_text()
    assert "--resources GPU=1" in script and "#SBATCH --gres=gpu:1" in script


@pytest.mark.slow
def test_a_notebook_launches_two_processes_without_a_network(toy: Tree) -> None:
    """In a kernel of profile smoke, whose guard lets nothing but this machine be reached."""
    (toy.root / "papers/toy/train.py").write_text(Path(linear_training.__file__).read_text())
    toy.edit_cell("papers/toy/01_measure.ipynb", "figure", block("accelerate_launch"))
    toy.ok("claimbook", "run", "papers/toy/01_measure.ipynb", "--profile", "smoke")
    result = (toy.root / "papers/toy/results/smoke/01_measure/result.json").read_text()
    assert '"processes": 2' in result and '"sum": 3.0' in result


def test_nothing_of_the_page_is_left_untried() -> None:
    assert len(BLOCKS) == 5
    assert block("--workers 2")  # tests/pipeline/test_scale_out.py makes this call

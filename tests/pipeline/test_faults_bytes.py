"""Flipped bytes are found and mended, and clocks that jump change nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Tree
from tests.pipeline.faults import MEASURED, NOTEBOOK, REPRO, RUN, SMOKE, forget, lasting
from tests.pipeline.test_dvc import stages_run

pytestmark = pytest.mark.slow

INPUTS = f"{MEASURED}/inputs.json"
FILES = [
    f"{MEASURED}/errors.csv",
    f"{MEASURED}/draws.parquet",
    f"{MEASURED}/errors.png",
    f"{MEASURED}/01_measure.ipynb",
    INPUTS,
    f"{SMOKE}/verdicts.json",
    f"{SMOKE}/metrics.json",
]


def flip(file: Path, unseen: bool = False) -> None:
    """Flip a bit in the middle; `unseen` as a disk does it, with size and times kept."""
    state = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    file.chmod(state.st_mode)
    if unseen:
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def named(printed: str, tree: Tree) -> list[Path]:
    """What `verify` names, one path at the start of each line."""
    paths = [tree.root / line.split()[0].rstrip(":") for line in printed.splitlines() if line]
    return [path for path in paths if path.exists()]


def test_a_flipped_byte_in_a_result_is_found_and_mended(finished: Tree) -> None:
    before = lasting(finished)
    for names in (set(FILES) - {INPUTS}, {INPUTS}):  # no other file can be checked without it
        for name in names:
            flip(finished.root / name)
        printed = finished.fails("claimbook", "verify")
        assert {name for name in names if name in printed} == names
        finished.ok(*REPRO)
        assert lasting(finished) == before
    assert "0 damaged" in finished.ok("claimbook", "verify")


@pytest.mark.parametrize("name", [FILES[0], FILES[-2]], ids=["table", "verdicts"])
def test_a_bit_that_rots_on_the_disk_is_found(finished: Tree, name: str) -> None:
    before = lasting(finished)
    finished.ok(*REPRO)  # now DVC knows the file by size and times
    flip(finished.root / name, unseen=True)
    printed = finished.fails("claimbook", "verify")
    assert name in printed
    for path in named(printed, finished):
        path.unlink()
    finished.ok(*REPRO)
    assert lasting(finished) == before


def cached(tree: Tree, name: str) -> Path:
    """The object of DVC's cache that holds the bytes of a file."""
    md5 = hashlib.md5((tree.root / name).read_bytes()).hexdigest()
    return tree.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.mark.parametrize("name", [FILES[0], FILES[2]], ids=["table", "figure"])
def test_a_flipped_byte_in_the_cache_is_not_judged(finished: Tree, name: str) -> None:
    before = lasting(finished)
    damaged = cached(finished, name)
    flip(damaged, unseen=True)
    assert str(damaged.relative_to(finished.root)) in finished.fails("claimbook", "verify")
    shutil.rmtree(finished.root / SMOKE)
    (finished.root / "papers/toy/dvc.lock").unlink()
    printed = finished.command(*REPRO)
    assert "is cached - skipping run" in printed.stdout  # DVC hands out the damaged bytes
    assert printed.returncode != 0
    assert "01_measure is damaged" in printed.stdout + printed.stderr
    assert not (finished.root / SMOKE / "verdicts.json").exists()
    damaged.unlink()
    shutil.rmtree(finished.root / SMOKE)
    finished.ok(*REPRO)
    assert lasting(finished) == before
    assert "0 damaged" in finished.ok("claimbook", "verify")


@pytest.mark.parametrize("left", [0, 100])
def test_a_lock_file_cut_short_is_named(finished: Tree, left: int) -> None:
    """DVC writes `dvc.lock` in place: a kill or a full disk can cut it."""
    before = lasting(finished)
    lock = finished.root / "papers/toy/dvc.lock"
    lock.write_bytes(lock.read_bytes()[:left])
    assert "papers/toy/dvc.lock is damaged" in finished.fails("claimbook", "verify")
    lock.unlink()
    finished.ok(*REPRO)
    assert lasting(finished) == before


def keeping_times(file: Path, old: str, new: str) -> None:
    """Change the content and neither size nor modification time."""
    state = file.stat()
    text = file.read_text()
    assert old in text and len(old) == len(new)
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_times_of_files_mean_nothing(finished: Tree) -> None:
    finished.ok(*REPRO)
    before = lasting(finished)
    for seconds in (4_000_000_000, 0):  # 2096, then 1970
        for folder in ("papers", "common"):
            for file in (finished.root / folder).rglob("*"):
                os.utime(file, (seconds, seconds))
        assert finished.ok("claimbook", "status", "toy").count("up to date") == 2
        assert stages_run(finished.ok(*REPRO)) == ["closure"]
        assert lasting(finished) == before
    keeping_times(finished.root / NOTEBOOK, "seed-{seed}", "Seed-{seed}")
    assert "stale" in finished.fails("claimbook", "status", "toy")
    assert "01_measure" in stages_run(finished.ok(*REPRO))
    assert finished.ok("claimbook", "status", "toy").count("up to date") == 2


JUMPING = """
import os, time

def jumping(real=time.time):
    open(os.environ["CLOCK_JUMPED"], "a").close()
    return real() + (-1) ** int(real() / 0.4) * 10 * 365 * 86400

time.time = jumping
"""
"""Python imports a module called `sitecustomize` before anything else."""


def test_a_clock_that_jumps_during_a_run_changes_nothing(finished: Tree, tmp_path: Path) -> None:
    before = lasting(finished)
    forget(finished)
    site, jumped = finished.root / "sitecustomize.py", tmp_path / "jumped"
    site.write_text(JUMPING)
    jumping = {"PYTHONPATH": str(finished.root), "CLOCK_JUMPED": str(jumped)}
    finished.ok(*REPRO, environment=jumping)
    assert jumped.exists()
    site.unlink()
    assert lasting(finished) == before
    assert finished.ok("claimbook", "status", "toy").count("up to date") == 2
    assert stages_run(finished.ok(*REPRO)) == ["closure"]


def test_a_module_with_its_old_time_and_size_is_not_taken_from_bytecode(finished: Tree) -> None:
    module = finished.root / "papers/toy/numbers.py"
    module.write_text("VALUE = 1\n")
    source = "from papers.toy.numbers import VALUE\n"
    source += "save_table(pd.DataFrame({'a': [VALUE]}), 'a', keys=['a'])"
    finished.edit_cell(NOTEBOOK, "run", source)
    finished.edit_cell(NOTEBOOK, "figure", "")
    finished.ok(*RUN)
    assert finished.contents(MEASURED)["a.csv"] == b"a\n1\n"
    keeping_times(module, "1", "2")
    finished.ok(*RUN)
    assert finished.contents(MEASURED)["a.csv"] == b"a\n2\n"

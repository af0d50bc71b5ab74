"""Read-only places and full disks: a message that names the path, and what was there stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tree
from tests.pipeline.faults import MEASURED, PIPELINE, REPRO, RESULTS, RUN, SMOKE, lasting

pytestmark = pytest.mark.slow

JUDGE = ("claimbook", "judge", "toy", "--profile", "smoke")


def works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """A command that runs another one among mounts of its own."""
    for command in (("unshare", "-m"), ("unshare", "-rm")):
        if works(*command, "mount", "-t", "tmpfs", "none", "/mnt"):
            return command
    pytest.skip("no mount namespace may be made here")


def read_only(tree: Tree, folder: str, namespace: tuple[str, ...], *command: str) -> str:
    """What a command says that has to fail while a folder is mounted read-only."""
    place = str(tree.root / folder)
    mounted = f"mount --bind -o ro '{place}' '{place}' && cd '{tree.root}' && exec \"$@\""
    return tree.fails(*namespace, "sh", "-c", mounted, "sh", *started(command))


def started(command: tuple[str, ...]) -> tuple[str, ...]:
    python = os.environ.get("CLAIMBOOK_PYTHON") or shutil.which("python") or "python"
    program = {"claimbook": ("./claimbook",), "dvc": (python, "-m", "dvc")}[command[0]]
    return (*program, *command[1:])


@pytest.mark.parametrize(
    ("command", "path"),
    [(RUN, f"{RESULTS}/_partial"), (JUDGE, f"{SMOKE}/verdicts.json"), (REPRO, MEASURED)],
    ids=["run", "judge", "repro"],
)
def test_read_only_results(
    finished: Tree, namespace: tuple[str, ...], command: tuple[str, ...], path: str
) -> None:
    before = lasting(finished)
    finished.edit("papers/toy/params.yaml", "seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 2]")
    printed = read_only(finished, RESULTS, namespace, *command)
    assert "Read-only file system" in printed and path in printed
    assert {**lasting(finished), "dvc.lock": b""} == {**before, "dvc.lock": b""}


def test_a_read_only_checkout(finished: Tree, namespace: tuple[str, ...]) -> None:
    before = lasting(finished)
    (finished.root / "SCOREBOARD.md").write_text("old\n")
    printed = read_only(finished, ".", namespace, "claimbook", "scoreboard")
    assert "error: Read-only file system: SCOREBOARD.md" in printed
    assert "Read-only file system" in read_only(finished, ".", namespace, *RUN)
    assert "Read-only file system" in read_only(finished, ".", namespace, *REPRO)
    assert lasting(finished) == before


def test_a_read_only_checkout_can_be_asked_for_its_state(
    finished: Tree, namespace: tuple[str, ...]
) -> None:
    place = f"mount --bind -o ro '{finished.root}' '{finished.root}' && cd '{finished.root}'"
    status = ("sh", "-c", f"{place} && ./claimbook status toy")
    assert finished.ok(*namespace, *status).count("up to date") == 2


@pytest.fixture
def small_disk(finished: Tree, tmp_path: Path) -> Iterator[Tree]:
    """The finished toy on a disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not works("mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)):
        pytest.skip("no small file system may be mounted here")
    try:
        shutil.copytree(finished.root, disk, symlinks=True, dirs_exist_ok=True)
        yield Tree(disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(tree: Tree, free: int) -> None:
    """Leave `free` bytes on the disk."""
    block = b"\0" * 4096
    with (tree.root / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(block)
        except OSError:
            filler.truncate(max(0, filler.tell() - free))


def test_a_full_disk(small_disk: Tree) -> None:
    before = lasting(small_disk)
    (small_disk.root / "SCOREBOARD.md").write_text("old\n")
    fill(small_disk, 0)
    for command, path in [
        (RUN, f"{RESULTS}/_partial"),
        (JUDGE, f"{SMOKE}/verdicts.json"),
        (("claimbook", "closure", "toy"), "papers/toy/closure.json"),
        (("claimbook", "scoreboard"), "SCOREBOARD.md"),
    ]:
        printed = small_disk.fails(*command)
        assert "error: No space left on device" in printed and path in printed
    assert (small_disk.root / "SCOREBOARD.md").read_text() == "old\n"
    for free in (16_384, 40_960):  # for the first cells, and for the tables
        fill(small_disk, free)
        assert "No space left on device" in small_disk.fails(*RUN), free
        assert lasting(small_disk) == before, free
    (small_disk.root / "filler").unlink()
    assert "0 damaged" in small_disk.ok("claimbook", "verify")
    small_disk.ok(*RUN)
    assert lasting(small_disk) == before


def test_a_pipeline_on_a_full_disk_ends_the_same_when_there_is_space(small_disk: Tree) -> None:
    before = lasting(small_disk)
    for folder in (".dvc/cache", RESULTS):
        shutil.rmtree(small_disk.root / folder)
    fill(small_disk, 24_576)
    assert "No space left on device" in small_disk.fails("dvc", "repro", PIPELINE)
    assert not (small_disk.root / MEASURED).exists()
    (small_disk.root / "filler").unlink()
    small_disk.ok(*REPRO)
    assert lasting(small_disk) == before


def test_a_file_that_may_not_grow(finished: Tree) -> None:
    """The same without any right to mount: a limit on the size of files."""
    before = lasting(finished)
    for blocks in (1, 12):  # nearly nothing, and all but the executed notebook
        limited = ("sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *started(RUN))
        assert "File too large" in finished.fails(*limited)
        assert lasting(finished) == before
    finished.ok(*RUN)
    assert lasting(finished) == before

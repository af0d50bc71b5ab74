"""Kills at every moment: no half result, no second writer, and the next run ends the same."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.conftest import Tree
from tests.pipeline.faults import (
    MEASURED,
    REPRO,
    RESULTS,
    SMOKE,
    assert_no_half_result,
    assert_nothing_left_over,
    forget,
    kill,
    lasting,
    prepare,
    printed,
    runs,
    start,
    wait_for,
    wait_without_second_writers,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Undisturbed:
    """The tree before and after runs that nobody disturbed."""

    tree: Tree
    seconds: float
    earlier: dict[str, bytes]
    wanted: dict[str, bytes]


@pytest.fixture
def undisturbed(toy: Tree, monkeypatch: pytest.MonkeyPatch) -> Iterator[Undisturbed]:
    """Results of other parameters, then those that every interrupted run has to end with."""
    with tempfile.TemporaryDirectory(prefix="cf-") as short:  # kernels' socket paths are limited
        monkeypatch.setenv("TMPDIR", short)
        prepare(toy).edit("papers/toy/params.yaml", "seeds: [0, 1, 2, 3, 4]", "seeds: [7, 8, 9]")
        toy.ok(*REPRO)
        earlier = lasting(toy)
        shutil.copytree(toy.root / RESULTS, toy.root / "earlier")
        shutil.copy(toy.root / "papers/toy/dvc.lock", toy.root / "earlier.lock")
        toy.edit("papers/toy/params.yaml", "seeds: [7, 8, 9]", "seeds: [0, 1, 2]")
        forget(toy)
        started = time.monotonic()
        toy.ok(*REPRO)
        yield Undisturbed(toy, time.monotonic() - started, earlier, lasting(toy))


def begin(tree: Tree, from_earlier: bool) -> subprocess.Popen[str]:
    """Start a run from nothing, or from the results of other parameters."""
    forget(tree)
    if from_earlier:
        shutil.copytree(tree.root / "earlier", tree.root / RESULTS)
        shutil.copy(tree.root / "earlier.lock", tree.root / "papers/toy/dvc.lock")
    return start(tree, *REPRO)


def survive(tree: Tree, known: Undisturbed) -> None:
    """After a kill: nothing half, no second writer, and the same end."""
    assert_no_half_result(tree, [known.earlier, known.wanted])
    again = start(tree, *REPRO)
    assert wait_without_second_writers(tree, again) == 0, printed(tree)
    assert lasting(tree) == known.wanted
    assert_nothing_left_over(tree)


@dataclass(frozen=True)
class Kill:
    """A kill of a whole process group or of `dvc` alone, at a moment of a run."""

    moment: str
    reached: Callable[[Tree, float], object]
    whole_group: bool
    from_earlier: bool = False

    def __str__(self) -> str:
        return f"{'group' if self.whole_group else 'dvc alone'}, {self.moment}"

    def try_on(self, tree: Tree, known: Undisturbed) -> None:
        process = begin(tree, self.from_earlier)
        started = time.monotonic()
        wait_for(
            lambda: self.reached(tree, time.monotonic() - started) or process.poll() is not None
        )
        kill(process, self.whole_group)
        survive(tree, known)


def spread(known: Undisturbed, number: int) -> list[Kill]:
    """Kills spread over the duration of an undisturbed run."""
    parts = [(i + 0.5) / number for i in range(number)]
    return [
        Kill(
            f"at {part:.2f} of the run",
            lambda tree, seconds, part=part: seconds > part * known.seconds,
            whole_group=i % 2 == 0,
            from_earlier=i % 4 < 2,
        )
        for i, part in enumerate(parts)
    ]


PHASES: dict[str, Callable[[Tree], object]] = {
    "the runner starts": lambda tree: runs(tree, "run"),
    "there is a staging folder": lambda tree: list(tree.root.glob(f"{RESULTS}/_partial/smoke-*")),
    "there is a checkpoint": lambda tree: list(tree.root.glob("checkpoints/*/*.parquet")),
    "there is a table": lambda tree: list(tree.root.glob(f"{RESULTS}/_partial/smoke-*/errors.csv")),
    "there is a result": lambda tree: (tree.root / MEASURED).exists(),
    "the judge starts": lambda tree: runs(tree, "judge"),
    "there are verdicts": lambda tree: (tree.root / SMOKE / "verdicts.json").exists(),
}


def at_phases() -> list[Kill]:
    """Kills as soon as a phase of the run is seen."""
    return [
        Kill(
            f"as soon as {phase}",
            lambda tree, seconds, seen=seen: seen(tree),
            whole_group=i % 2 == 1,
        )
        for i, (phase, seen) in enumerate(PHASES.items())
    ]


def tried(kills: list[Kill], tree: Tree, known: Undisturbed) -> list[str]:
    """What went wrong, kill by kill."""
    failures = []
    for one in kills:
        try:
            one.try_on(tree, known)
        except AssertionError as error:
            failures.append(f"--- {one}\n{error}")
    return failures


def test_a_run_killed_at_any_moment(undisturbed: Undisturbed) -> None:
    kills = spread(undisturbed, 13) + at_phases()
    assert len(kills) >= 20
    other = Tree(undisturbed.tree.root.with_name("other"))
    shutil.copytree(undisturbed.tree.root, other.root, symlinks=True)
    with ThreadPoolExecutor(2) as pool:  # two kills are tried at once
        lanes = [
            pool.submit(tried, kills[i::2], tree, undisturbed)
            for i, tree in enumerate([undisturbed.tree, other])
        ]
        failures = [failure for lane in lanes for failure in lane.result()]
    assert not failures, "\n".join(failures)

"""Notebooks run in miniature with the code of a commit, traced, and remembered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.file_names import file_name, text_of
from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import hash_file, hash_tree, read_json, sha256, to_json, write_json
from common.workflow.base.parameters import notebook_parameters
from common.workflow.base.project import Paper
from common.workflow.freshness.records import (
    declared_data,
    environment_hash,
    matrix_arms,
    processor,
    stages,
)
from common.workflow.freshness.vouching import line_trace
from common.workflow.freshness.vouching.trees import MEMORY, Trees, git

PROFILE = "smoke"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """One notebook, with one arm, in the code of one commit."""

    commit: str
    code: str
    """The code hash there: runs with equal hashes are equal."""
    paper: Paper
    notebook: Path
    arm: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The name of its folder of results."""
        values = ",".join(file_name(value) for _, value in self.arm)
        return f"{self.notebook.stem}@{values}" if values else self.notebook.stem


@dataclass(frozen=True)
class Run:
    """What a job left behind.

    Attributes:
        folder: a copy of its results.
        lines: the lines that ran, by module or cell.
        seconds: how long it took.
        failure: the end of what it printed, where it failed; then there is nothing else.
    """

    folder: Path
    lines: dict[str, set[int]]
    seconds: float
    failure: str = ""

    def tables(self) -> dict[str, str]:
        """Hashes of the tables, and of how they were declared."""
        found = {
            name: value
            for name, value in hash_tree(self.folder).items()
            if name.endswith((".csv", ".parquet"))
        }
        return found | {"": sha256(to_json(read_json(self.folder / "inputs.json")["tables"]))}

    def figures(self) -> dict[str, str]:
        return {n: v for n, v in hash_tree(self.folder).items() if n.endswith((".png", ".svg"))}


def miniature(job: Job) -> dict[str, Any]:
    """The working tree's parameters of a job's notebook, in one process."""
    values = notebook_parameters(job.notebook, PROFILE, dict(job.arm))
    return values | ({"workers": 1} if "workers" in values else {})


class Runs:
    """Runs jobs that are not remembered, two at a time.

    Args:
        trees: checkouts.
        anew: forget what is remembered of these jobs.
    """

    def __init__(self, trees: Trees, anew: bool = False):
        self._trees, self._anew = trees, anew
        self._keys: dict[Job, str] = {}
        self._processes: list[subprocess.Popen[str]] = []

    # ----------------------------------------------------------------------------- remembered

    def remembered(self, job: Job) -> bool:
        return not self._anew and (self._memory(job) / "run.json").is_file()

    def seconds(self, job: Job) -> float | None:
        """How long the job, or its like with other code, took last time."""
        file = self._durations(job)
        return float(read_json(file)) if file.is_file() else None

    def of(self, job: Job) -> Run:
        """What a job that has run left behind."""
        memory = self._memory(job)
        failed = memory / "failure.txt"
        if not (memory / "run.json").is_file():
            return Run(
                memory, {}, 0.0, failed.read_text() if failed.is_file() else "it did not run"
            )
        told = read_json(memory / "run.json")
        lines = {name: set(numbers) for name, numbers in told["lines"].items()}
        return Run(memory / "results", lines, told["seconds"])

    def _memory(self, job: Job) -> Path:
        if job not in self._keys:
            made_from = {
                "code": job.code,
                "notebook": f"{job.paper.slug}/{job.notebook.stem}",
                "arm": dict(job.arm),
                "parameters": miniature(job),
                "data": {name: self._data(job, name) for name in _deps(job)},
                "needs": [self._memory(one).name for one in self._needs(job)],
                "environment": environment_hash(),
                "machine": [processor(), sys.version],
                "trace": hash_file(Path(line_trace.__file__)),
            }
            self._keys[job] = sha256(to_json(made_from))
        return MEMORY / "runs" / self._keys[job][:32]

    def _durations(self, job: Job) -> Path:
        return MEMORY / "seconds" / f"{job.paper.slug}-{job.name}.json"

    def _needs(self, job: Job) -> list[Job]:
        """Earlier jobs whose results a job reads, theirs before them."""
        folder = f"papers/{job.paper.slug}/results/{PROFILE}/"
        stems = {name.removeprefix(folder).partition("@")[0] for name in _deps(job)}
        earlier = [one for one in job.paper.notebooks if one.stem in stems]
        codes = self._trees.inspected(job.commit).get(job.paper.slug, {})
        jobs = [
            replace(job, notebook=one, code=codes.get(one.stem, {}).get("code", ""), arm=arm)
            for one in earlier
            for arm in arms(job.paper, one)
        ]
        return [needed for one in jobs for needed in (*self._needs(one), one)]

    def _data(self, job: Job, name: str) -> str:
        """The version of a file that a job reads."""
        try:
            return git("rev-parse", f"{job.commit}:{name}")
        except ClaimbookError:
            return f"not in git, in {job.commit}"

    # -------------------------------------------------------------------------------- running

    def run(self, jobs: Iterable[Job], workers: int = 2) -> None:
        """Run all jobs that are not remembered, those of a paper in the order of its notebooks."""
        groups: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            if not self.remembered(job):
                group = groups.setdefault((job.commit, job.paper.slug), [])
                group += [one for one in (*self._needs(job), job) if one not in group]
        for commit, _ in groups:
            self._prepare(commit)
        lanes: list[list[list[Job]]] = [[] for _ in range(workers)]

        def cost(group: list[Job]) -> float:
            return sum(self.seconds(job) or 6.0 for job in group)

        for group in sorted(groups.values(), key=cost, reverse=True):
            min(lanes, key=lambda lane: sum(map(cost, lane))).append(group)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for done in [pool.submit(self._lane, lane) for lane in lanes if lane]:
                    done.result()
            except BaseException:  # an interrupt included: the pool waits for what it started
                for process in self._processes:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                raise

    def _prepare(self, commit: str) -> None:
        tree = self._trees.at(commit)
        shutil.copyfile(line_trace.__file__, tree / "sitecustomize.py")

    def _lane(self, groups: list[list[Job]]) -> None:
        commits: dict[str, list[Job]] = {}
        for group in groups:
            commits.setdefault(group[0].commit, []).extend(group)
        for commit, jobs in commits.items():
            self._drive(self._trees.at(commit), jobs)

    def _drive(self, tree: Path, jobs: list[Job]) -> None:
        """Run jobs in one checkout, as forks of one warm process."""
        with tempfile.TemporaryDirectory(prefix="cb-") as name:
            folder = Path(name)
            for job in jobs:
                self._write_parameters(tree, job)
            tasks = [
                {
                    "arguments": [
                        *(f"papers/{job.paper.slug}/{job.notebook.name}", "--profile", PROFILE),
                        *(word for arm in job.arm for word in ("--arm", _encoded(arm))),
                    ],
                    "trace": str(folder / str(index)),
                    "log": str(folder / f"{index}.log"),
                }
                for index, job in enumerate(jobs)
            ]
            command = [sys.executable, "-m", "common.workflow", "warm", sys.executable]
            process = subprocess.Popen(
                [*command, str(HERE / "drive.py")],
                cwd=tree,
                env=self._environment(tree),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            self._processes.append(process)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(tasks))
            process.stdin.close()
            for index, job in enumerate(jobs):
                line = process.stdout.readline()
                told = json.loads(line) if line else {"status": 1, "seconds": 0.0}
                self._remember(tree, job, told, folder / str(index))
            process.wait()
            self._processes.remove(process)

    def _environment(self, tree: Path) -> dict[str, str]:
        dropped = ("CLAIMBOOK_", "DVC_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        # Caches of its own: what the other version converted or compiled proves nothing. Two
        # notebooks at a time on few cores: a thread that waits must not hold its core.
        return kept | {
            "PYTHONPATH": str(tree),
            "CLAIMBOOK_CACHE": str(tree.with_name(f"{tree.name}-cache")),
            "CLAIMBOOK_PYTHON": sys.executable,
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def _write_parameters(self, tree: Path, job: Job) -> None:
        """Give the checkout today's parameters in miniature: JSON is YAML, too."""
        file = tree / "papers" / job.paper.slug / "params.yaml"
        try:
            known = json.loads(file.read_text())
        except json.JSONDecodeError:
            known = {PROFILE: {}}
        values = {k: v for k, v in miniature(job).items() if k not in dict(job.arm)}
        known[PROFILE][job.notebook.stem] = values
        write_json(file, known)

    def _remember(self, tree: Path, job: Job, told: dict[str, Any], trace: Path) -> None:
        """Keep what a job left: whole or not at all, whoever else runs the same one."""
        memory = self._memory(job)
        partial = memory.with_name(f"{memory.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        label = f"{job.paper.slug}/{job.name} at {job.commit[:7]}"
        if told["status"]:
            log = trace.with_name(f"{trace.name}.log")
            end = log.read_text()[-2000:] if log.is_file() else "its process was killed"
            (partial / "failure.txt").write_text(end)
            say(f"{label}: failed")
        else:
            results = tree / "papers" / job.paper.slug / "results" / PROFILE / job.name
            shutil.copytree(results, partial / "results")
            write_json(self._durations(job), told["seconds"])
            lines = {name: sorted(numbers) for name, numbers in _read_lines(trace).items()}
            write_json(partial / "run.json", {"seconds": told["seconds"], "lines": lines})
            say(f"{label}: {told['seconds']:.1f} s")
        shutil.rmtree(memory, ignore_errors=True)
        with suppress(OSError):  # somebody else's was put there in between: it says the same
            os.replace(partial, memory)
        shutil.rmtree(partial, ignore_errors=True)


def _encoded(arm: tuple[str, str]) -> str:
    name, value = arm
    return f"{name}={file_name(value)}"


def _deps(job: Job) -> list[str]:
    return declared_data(job.notebook, PROFILE, dict(job.arm))


def arms(paper: Paper, notebook: Path) -> list[tuple[tuple[str, str], ...]]:
    """Every arm of the notebook's stage; one that is empty where the stage is no matrix."""
    found = matrix_arms(stages(paper).get(notebook.stem, {}))
    return [tuple((name, text_of(str(value))) for name, value in arm.items()) for arm in found]


def _read_lines(folder: Path) -> dict[str, set[int]]:
    """Lines that ran in any process, by dotted module or by cell."""
    found: dict[str, set[int]] = {}
    for file in folder.glob("*"):
        for line in file.read_text().splitlines():
            name, tab, number = line.partition("\t")
            if tab and number.isdigit():  # the last line of a killed process may be half of one
                found.setdefault(_dotted(name), set()).add(int(number))
    return found


def _dotted(name: str) -> str:
    if "/" not in name:
        return name
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def say(text: str) -> None:
    """Tell the user what goes on."""
    print(text, file=sys.stderr, flush=True)

"""The parts of scale-out that need no workers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import Paper
from common.workflow.reproducing.cluster import connect, fitness
from common.workflow.reproducing.cluster.progress import Progress
from common.workflow.reproducing.cluster.stage_task import run_stage
from common.workflow.reproducing.cluster.stages import StageTask, stage_tasks
from tests.conftest import Tree

A, B = "papers/toy/dvc.yaml:01_a", "papers/toy/dvc.yaml:02_b"


def test_a_task_for_each_notebook_with_what_it_needs(toy: Tree) -> None:
    folder = toy.root / "papers/toy"
    notebook = (folder / "01_measure.ipynb").read_text()
    (folder / "02_more.ipynb").write_text(notebook)
    more = "  02_more:\n    cmd: echo\n    deps:\n      - results/cpu/01_measure\n"
    toy.edit("papers/toy/dvc.yaml", "  judge:\n", f"{more}\n  judge:\n")
    first, second = "papers/toy/dvc.yaml:01_measure", "papers/toy/dvc.yaml:02_more"
    tasks = stage_tasks(toy.root, [Paper("toy")])
    assert tasks == [StageTask(first, ()), StageTask(second, (first,))]


def told(target: str, text: str) -> tuple[float, dict[str, Any]]:
    return 0.0, {"target": target, "by": "7", "text": text}


def outcome(target: str, state: str) -> Any:
    return {"target": target, "state": state, "seconds": 61.0, "message": "", "provenance": {}}


def test_the_view_without_a_terminal_is_lines() -> None:
    printed = io.StringIO()
    with Progress([A, B], Console(file=printed)) as progress:
        progress.on_event(told(A, "running"))
        progress.on_event(told(A, "cell 3/14"))
        progress.on_event(told(A, "running"))
        progress.finished(outcome(A, "done"))
    assert [line.split("  ", 1)[1] for line in printed.getvalue().splitlines()] == [
        "worker 7  running",
        "worker 7  cell 3/14",
        "worker 7  retried",
        "worker 7  done 1:01",
    ]
    assert progress.summary().startswith("1 waiting, 1 done (1 started again) in 0 s; the tasks")
    assert progress.summary().endswith("took 61 s together")


def test_the_view_on_a_terminal_is_one_table_with_what_runs_first() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=30)
    with Progress([A, B], console) as progress:
        progress.finished(outcome(A, "failed"))
        progress.on_event(told(B, "running"))
        progress.on_event(told(B, "cell 3/14"))
    shown = screen.getvalue().splitlines()
    rows = [line for line in shown if "dvc.yaml" in line][-2:]
    assert B in rows[0] and "running" in rows[0] and "cell 3/14" in rows[0]
    assert A in rows[1] and "failed" in rows[1] and "1:01" in rows[1]


def test_what_needs_a_failed_task_is_left_out() -> None:
    nothing: Any = None
    failed = [outcome(A, "failed"), outcome("dvc.yaml:data", "done")]
    left = run_stage(B, nothing, {}, [], "topic", failed)
    assert (left["state"], left["message"]) == ("left out", f"needs {A}")


class Client:
    """Answers as a Dask client with one worker."""

    def __init__(self, python: str = "3.11.7", sees: Any = None, gpus: int = 0):
        self.python, self.sees, self.gpus = python, sees, gpus

    def scheduler_info(self) -> Any:
        return {"workers": {"tcp://w": {"resources": {"GPU": self.gpus} if self.gpus else {}}}}

    def get_versions(self) -> Any:
        packages = dict.fromkeys(fitness.MUST_AGREE, "1")
        side = {"host": {"python": "3.11.7.final.0"}, "packages": packages}
        worker = side | {"host": {"python": self.python}}
        return {"client": side, "scheduler": side, "workers": {"tcp://w": worker}}

    def run(self, function: Any, on_error: str) -> Any:
        assert on_error == "return"
        return {"tcp://w": self.sees or function()}


@pytest.mark.parametrize(
    ("client", "resources", "said"),
    [
        (Client(python="3.12.1"), {}, r"worker tcp://w runs Python 3.12 \(here 3.11\)"),
        (Client(sees=FileNotFoundError()), {}, "worker tcp://w does not see .*--shared FOLDER"),
        (Client(), {"GPU": 1.0}, "none of the 1 workers declares a GPU"),
    ],
)
def test_a_worker_that_does_not_fit_is_named(
    client: Any, resources: dict[str, float], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ClaimbookError, match=said):
        fitness.check_workers(client, tmp_path, resources)
    fitness.check_workers(Client(gpus=1), tmp_path, resources)  # type: ignore[arg-type]


def test_gpus_are_divided_among_local_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5,7")
    assert connect.local_devices(3) == ["2,7", "3", "5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert connect.local_devices(2) == ["0,2", "1,3"]
    with pytest.raises(ClaimbookError, match="finds 4 GPUs for 5 workers"):
        connect.local_devices(5)

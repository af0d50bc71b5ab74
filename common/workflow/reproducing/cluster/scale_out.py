"""Spread the stages of papers over Dask workers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.workflow.base.project import Paper
from common.workflow.reproducing.cluster.connect import (
    Workers,
    local_client,
    local_devices,
    remote_client,
    without_gpu,
)
from common.workflow.reproducing.cluster.fitness import check_workers
from common.workflow.reproducing.cluster.progress import Progress
from common.workflow.reproducing.cluster.stages import StageTask, stage_tasks
from common.workflow.reproducing.fresh_clone import Source

if TYPE_CHECKING:
    from distributed import Client, Future

    from common.workflow.reproducing.cluster.stage_task import Outcome

RETRIES = 2
"""How often a task may start again after its worker could not do it; a lost worker has Dask's own
limit (`distributed.scheduler.allowed-failures`)."""


def run_on_workers(
    workers: Workers, source: Source, shared: Path, clone: Path, papers: list[Paper]
) -> list[Outcome]:
    """Run the notebooks of `papers` on `workers`, so that all is in the cache of `source`.

    Args:
        workers: where.
        source: what every task clones, and the caches that they share.
        shared: this run's folder, which all workers see.
        clone: the coordinator's own clone; it knows the stages.
        papers: whose notebooks.

    Raises:
        ClaimbookError: the workers cannot do this.
    """
    tasks = stage_tasks(clone, papers)
    gpu = source["profile"] == "gpu" and not without_gpu()
    resources = {"GPU": 1.0} if gpu else {}
    devices = local_devices(workers.local) if gpu and workers.local else []
    with _client(workers, shared, resources) as client:
        check_workers(client, shared, resources)
        with Progress([task.target for task in tasks]) as progress:
            outcomes = _run(client, tasks, source, devices, resources, progress)
        progress.console.print(progress.summary(), markup=False)
    return outcomes


@contextmanager
def _client(workers: Workers, shared: Path, resources: dict[str, float]) -> Iterator[Client]:
    chosen = (
        local_client(workers.local, shared / "workers", resources)
        if workers.local
        else remote_client(workers.scheduler)
    )
    with chosen as client:
        yield client


def _run(
    client: Client,
    tasks: list[StageTask],
    source: Source,
    devices: list[str],
    resources: dict[str, float],
    progress: Progress,
) -> list[Outcome]:
    from distributed import as_completed

    topic = f"claimbook-{uuid.uuid4().hex}"
    client.subscribe_topic(topic, progress.on_event)
    futures: dict[str, Future] = {}
    for task in tasks:
        needs = [futures[need] for need in task.needs]
        futures[task.target] = _submit(client, task, needs, source, devices, resources, topic)
    targets = {future.key: target for target, future in futures.items()}
    outcomes = []
    try:
        for future in as_completed(futures.values()):
            outcome = _outcome(future, targets[future.key])
            progress.finished(outcome)
            outcomes.append(outcome)
    finally:
        client.cancel(list(futures.values()))
        client.unsubscribe_topic(topic)
    return outcomes


def _submit(
    client: Client,
    task: StageTask,
    needs: list[Future],
    source: Source,
    devices: list[str],
    resources: dict[str, float],
    topic: str,
) -> Future:
    environment = {"CLAIMBOOK_WITHOUT_GPU": "1"} if without_gpu() else {}
    return client.submit(
        _by_value(),
        task.target,
        source,
        environment,
        devices,
        topic,
        needs,
        key=f"{task.target}-{topic}",
        retries=RETRIES,
        resources=resources,
    )


def _by_value() -> Callable[..., Outcome]:
    """`run_stage` as a function of no module: schedulers and workers may know no checkout."""
    import cloudpickle

    from common.workflow.reproducing import fresh_clone
    from common.workflow.reproducing.cluster import stage_task

    for module in (fresh_clone, stage_task):
        cloudpickle.register_pickle_by_value(module)
    copy: Callable[..., Outcome] = cloudpickle.loads(cloudpickle.dumps(stage_task.run_stage))
    return copy


def _outcome(future: Future, target: str) -> Outcome:
    """A task's result; one that no worker could finish has failed."""
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception() if future.status == "error" else "the scheduler has lost it"
    failed: Outcome = {
        "target": target,
        "state": "failed",
        "seconds": 0.0,
        "message": str(error),
        "provenance": {},
    }
    return failed

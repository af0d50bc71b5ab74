"""Whether the workers of a scheduler can do the work; said before anything runs."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.workflow.base.errors import ClaimbookError

if TYPE_CHECKING:
    from distributed import Client

MUST_AGREE = ("dask", "distributed", "cloudpickle")


def check_workers(client: Client, shared: Path, resources: dict[str, float]) -> None:
    """Check versions, the shared folder and GPUs of the workers that are there.

    Workers that come later are not checked; a task fails on one that does not fit.

    Args:
        client: of the scheduler.
        shared: the folder that every worker has to see.
        resources: what tasks ask for.

    Raises:
        ClaimbookError: something does not fit; the worker is named.
    """
    workers = client.scheduler_info()["workers"]
    if not workers:
        print("no worker is there yet: the tasks wait for the first.", file=sys.stderr)
    _check_versions(client.get_versions())
    _check_shared(client, shared)
    for name in resources:
        if workers and not any(worker["resources"].get(name) for worker in workers.values()):
            raise ClaimbookError(
                f"profile gpu: none of the {len(workers)} workers declares a {name}, so its tasks "
                f'would wait for ever. Start workers with `--resources "{name}=1"`, or set '
                "CLAIMBOOK_WITHOUT_GPU=1 to run the gpu parameters on processors."
            )


def _check_versions(versions: Any) -> None:
    here = _versions(versions["client"])
    sides = {"the scheduler": versions["scheduler"]}
    sides |= {f"worker {name}": answer for name, answer in versions["workers"].items()}
    for side, answer in sides.items():
        there = _versions(answer)
        if differing := [name for name in here if there[name] != here[name]]:
            told = ", ".join(f"{name} {there[name]} (here {here[name]})" for name in differing)
            raise ClaimbookError(
                f"{side} runs {told}: use the same environment everywhere (requirements.lock)."
            )


def _versions(answer: Any) -> dict[str, str]:
    python = ".".join(answer["host"]["python"].split(".")[:2])
    return {"Python": python} | {name: answer["packages"][name] for name in MUST_AGREE}


def _check_shared(client: Client, shared: Path) -> None:
    token, text = shared / "token", uuid.uuid4().hex
    token.write_text(text)
    # A function of the standard library: workers may know no checkout.
    for worker, seen in client.run(token.read_text, on_error="return").items():
        if seen != text:
            raise ClaimbookError(
                f"worker {worker} does not see {shared}. Name a folder of a file system that "
                "this machine and all workers share: --shared FOLDER."
            )

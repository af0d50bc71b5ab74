"""A paper's pipeline as tasks: its notebooks, and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from common.workflow.base.project import Paper


@dataclass(frozen=True)
class StageTask:
    """A stage that a worker runs."""

    target: str
    """As `dvc repro` takes it, from the repository's root."""
    needs: tuple[str, ...]
    """Targets that have to be done before."""


def stage_tasks(clone: Path, papers: list[Paper]) -> list[StageTask]:
    """The stages that run the notebooks of `papers`, and their ancestors, those first.

    Stages that always run (hashing the code) are part of every task; judging, which needs
    everything and takes seconds, comes after all tasks.

    Args:
        clone: whose `dvc.yaml` files count, with the profile that is set there.
        papers: whose notebooks.
    """
    from dvc.repo import Repo
    from dvc.repo.graph import get_subgraph_of_nodes

    notebooks_of = {
        f"papers/{paper.slug}/dvc.yaml": {
            file.stem for file in (clone / "papers" / paper.slug).glob("[0-9]*.ipynb")
        }
        for paper in papers
    }
    with Repo(str(clone)) as repo:
        graph = repo.index.graph
        needs = {
            stage: set(get_subgraph_of_nodes(graph, [stage])) - {stage}
            for stage in graph
            if _is_worth_it(stage)
        }
        notebooks = {stage for stage in needs if _runs_notebook(stage, notebooks_of)}
        wanted = notebooks.union(*(needs[stage] for stage in notebooks)) & needs.keys()
        targets = {
            _target(stage): sorted(_target(need) for need in needs[stage] & wanted)
            for stage in wanted
        }
    order = TopologicalSorter(dict(sorted(targets.items()))).static_order()
    return [StageTask(target, tuple(targets[target])) for target in order]


def _runs_notebook(stage: Any, notebooks: dict[str, set[str]]) -> bool:
    name = getattr(stage, "name", None) or ""
    return name.partition("@")[0] in notebooks.get(stage.path_in_repo, ())


def _is_worth_it(stage: Any) -> bool:
    return bool(stage.cmd) and not stage.always_changed


def _target(stage: Any) -> str:
    name = getattr(stage, "name", None)
    return f"{stage.path_in_repo}:{name}" if name else str(stage.path_in_repo)

"""Independent measurements on several processes: many seeds, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def parallel_map(
    measure: Callable[..., pd.DataFrame], pieces: Mapping[str, tuple[Any, ...]], workers: int = 2
) -> dict[str, pd.DataFrame]:
    """`measure(*arguments)` for every named piece, several at a time, each resumable.

    Every piece has a process's one thread of torch, so results do not depend on `workers`; small
    networks on few cores are done sooner side by side than with many threads each.

    Args:
        measure: a function at the top of a module; it has to seed whatever it draws.
        pieces: arguments by name; the name tells the pieces of one notebook apart.
        workers: processes; 1 runs here.

    Returns:
        One table per piece, in the order of `pieces`.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    jobs = (delayed(_piece)(name, measure, arguments) for name, arguments in pieces.items())
    results = Parallel(n_jobs=min(workers, len(pieces) or 1), return_as="generator")(jobs)
    return dict(zip(pieces, tqdm(results, total=len(pieces), desc=measure.__name__), strict=True))


def _piece(
    name: str, measure: Callable[..., pd.DataFrame], arguments: tuple[Any, ...]
) -> pd.DataFrame:
    import torch

    from common.checkpoints import resumable

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return resumable(name, measure, *arguments)
    finally:
        torch.set_num_threads(threads)

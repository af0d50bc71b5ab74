"""All tasks of a reproduction in one view: a live table, or lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from common.workflow.reproducing.cluster.stage_task import Outcome

ORDER = ("running", "retried", "failed", "left out", "waiting", "done")


@dataclass
class Row:
    """How far a task is."""

    target: str
    state: str = "waiting"
    worker: str = ""
    cell: str = ""
    started: float = 0.0
    seconds: float | None = None
    starts: int = 0

    @property
    def elapsed(self) -> str:
        running = self.state in ("running", "retried")
        seconds = time.monotonic() - self.started if running else self.seconds
        return "" if seconds is None else f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


class Progress:
    """Collects what the tasks tell, and shows it for as long as the context lasts."""

    def __init__(self, targets: list[str], console: Console | None = None):
        self.rows = {target: Row(target) for target in targets}
        self.console = console or Console(stderr=True, highlight=False)
        self.lock = threading.Lock()
        self.live: Live | None = None
        self.begun = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take in what a worker says about its task; called from Dask's thread."""
        told = event[1]
        with self.lock:
            row = self.rows[told["target"]]
            if told["text"] == "running":
                row.starts += 1
                row.state = "running" if row.starts == 1 else "retried"
                row.started, row.cell, row.worker = time.monotonic(), "", told["by"]
            else:
                row.cell = told["text"]
            self._say(row, told["text"] if row.state == "running" or row.cell else row.state)

    def finished(self, outcome: Outcome) -> None:
        """Take in a task's end."""
        with self.lock:
            row = self.rows[outcome["target"]]
            row.state, row.seconds = outcome["state"], outcome["seconds"]
            self._say(row, f"{row.state} {row.elapsed}")

    def _say(self, row: Row, text: str) -> None:
        if self.live is None:
            where = f"  worker {row.worker}" if row.worker else ""
            self.console.print(f"{row.target}{where}  {text}", markup=False, soft_wrap=True)

    def table(self) -> Table:
        """What runs first, what is done last, with the counts below."""
        table = Table("task", "worker", "state", "cell", "elapsed", caption=self.summary())
        with self.lock:
            for row in sorted(self.rows.values(), key=lambda row: ORDER.index(row.state)):
                table.add_row(row.target, row.worker, row.state, row.cell, row.elapsed)
        return table

    def summary(self) -> str:
        """Counts of states, the time since the start, and the tasks' own times added up."""
        counts = Counter(row.state for row in self.rows.values())
        told = ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])
        again = sum(max(0, row.starts - 1) for row in self.rows.values())
        retried = f" ({again} started again)" if again else ""
        spent = sum(row.seconds or 0.0 for row in self.rows.values())
        wall = time.monotonic() - self.begun
        return f"{told}{retried} in {wall:.0f} s; the tasks took {spent:.0f} s together"

"""Run one notebook of a paper headlessly, and leave a whole result or none."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.file_names import file_name
from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import (
    folder_lock,
    hash_file,
    naming,
    read_json,
    replace_folder,
    sha256,
    to_json,
    write_json,
    write_text,
)
from common.workflow.base.notebooks import is_code
from common.workflow.base.parameters import notebook_parameters
from common.workflow.base.project import ROOT, Paper, check_profile, paper_of, relative
from common.workflow.freshness.closure import reached_modules
from common.workflow.freshness.receipts import discard_receipts
from common.workflow.freshness.records import (
    current_inputs,
    data_files,
    finished_inputs,
    write_provenance,
)
from common.workflow.running.bytecode import check_by_content
from common.workflow.running.kernel_environment import kernel_environment, preamble
from common.workflow.running.notebook_form import dumps, executed_form
from common.workflow.running.processes import stop_cleanly_on_sigterm, stop_writers

TIME_LIMITS = {"smoke": 60.0, "cpu": 20 * 60.0, "gpu": 24 * 3600.0}
"""Seconds that one notebook may take, unless the stage says otherwise."""


def result_folder(paper: Paper, notebook: Path, profile: str, arm: dict[str, str]) -> Path:
    """Where a notebook's results go: `results/<profile>/<stem>[@<arm values>]`."""
    suffix = f"@{','.join(map(file_name, arm.values()))}" if arm else ""
    return paper.results(profile) / f"{notebook.stem}{suffix}"


def run_notebook(
    notebook: Path,
    profile: str,
    arm: dict[str, str] | None = None,
    time_limit: float | None = None,
) -> Path:
    """Run `notebook` with its parameters for `profile`; the folder of its results.

    Args:
        notebook: path of a paper's notebook in this checkout.
        profile: one of `project.PROFILES`.
        arm: parameters of one entry of a DVC matrix.
        time_limit: seconds for the whole notebook; None for the profile's `TIME_LIMITS`.

    Raises:
        ClaimbookError: bad parameters, missing data, no accelerator, a running twin, a cell that
            raised, or the time limit; earlier results stay as they were.
    """
    started = time.monotonic()
    notebook, arm = notebook.resolve(), arm or {}
    paper = paper_of(notebook)
    check_profile(profile)
    parameters = notebook_parameters(notebook, profile, arm)
    _require_accelerator(profile)
    inputs = current_inputs(notebook, profile, arm, parameters)
    final = result_folder(paper, notebook, profile, arm)
    stop_cleanly_on_sigterm()
    check_by_content(reached_modules(notebook))
    with _staging(final) as staging, naming(staging):
        limit = time_limit or TIME_LIMITS[profile]
        _execute(notebook, staging, inputs, limit, Progress(f"{final.name} [{profile}]"))
        tables = _taken(staging / "tables.json") or {}
        read = _undeclared(_taken(staging / READS) or "", notebook, profile, arm)
        write_json(staging / "inputs.json", finished_inputs(inputs, staging, tables))
        discard_receipts(final)
        replace_folder(staging, final)
    shutil.rmtree(checkpoint_folder(inputs), ignore_errors=True)
    seconds = time.monotonic() - started
    results = hash_file(final / "inputs.json")
    write_provenance(final.parent / "provenance" / f"{final.name}.json", seconds, results, read)
    if read:
        _say(f"note: read, but not declared under `deps` in dvc.yaml: {', '.join(read)}")
    _say(f"{final.name} [{profile}] done in {seconds:.1f} s -> {relative(final)}")
    return final


READS = "reads.txt"
"""Where a kernel notes the files of the checkout that it opened."""

RECORDER = """
import os as _os, sys as _sys
_reads = _os.open({file!r}, _os.O_WRONLY | _os.O_APPEND | _os.O_CREAT, 0o644)
def _note(event, args, _seen=set()):
    if event != "open" or not isinstance(args[0], (str, _os.PathLike)):
        return
    path = _os.path.abspath(args[0])
    if path.startswith({root!r}) and path not in _seen:
        _seen.add(path)
        _os.write(_reads, (path + chr(10)).encode())
_sys.addaudithook(_note)
"""
"""Runs in the kernel after the preamble. What libraries open in compiled code it does not see."""


def _taken(file: Path) -> Any:
    """What a file held that is no part of the results, and is taken away."""
    if not file.exists():
        return None
    value = read_json(file) if file.suffix == ".json" else file.read_text()
    file.unlink()
    return value


def _undeclared(reads: str, notebook: Path, profile: str, arm: dict[str, str]) -> list[str]:
    """Files of the checkout that were opened and are neither code nor declared as data."""
    declared = data_files(notebook, profile, arm)
    found = {relative(Path(line)) for line in reads.splitlines()}
    data = {
        name
        for name in found
        if not name.startswith((".", "checkpoints/"))
        and f"/results/{profile}/" not in name
        and "/results/_" not in name
        and not name.endswith((".py", ".pyc"))
        and not any(name == one or name.startswith(f"{one}/") for one in declared)
        and (ROOT / name).is_file()
    }
    return sorted(data)


def _require_accelerator(profile: str) -> None:
    if profile != "gpu" or os.environ.get("CLAIMBOOK_WITHOUT_GPU") == "1":
        return
    import torch

    if not torch.accelerator.is_available():
        raise ClaimbookError(
            "profile gpu: torch finds no accelerator on this machine. Use profile cpu (set "
            "`profile: cpu` in params.yaml), or set CLAIMBOOK_WITHOUT_GPU=1 to run the gpu "
            "parameters on the processor all the same. Nothing was changed."
        )


@contextmanager
def _staging(final: Path) -> Iterator[Path]:
    """A new folder that only this process writes, gone in the end unless it was moved."""
    working = final.parents[1] / "_partial"
    with folder_lock(final, working / "locks"):
        name = f"{final.parent.name}-{final.name}"
        for left_by_a_killed_run in working.glob(f"{name}-*"):
            stop_writers(left_by_a_killed_run)
            shutil.rmtree(left_by_a_killed_run, ignore_errors=True)
        # A name of its own: a kernel that could not be stopped (another user's) may still write.
        staging = working / f"{name}-{os.getpid()}"
        staging.mkdir(parents=True)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _execute(
    notebook: Path, staging: Path, inputs: dict[str, Any], time_limit: float, report: Progress
) -> None:
    from common.workflow.running.kernel import PapermillExecutionError, TimeLimitError, execute

    profile = inputs["profile"]
    executed = staging / notebook.name
    recorder = RECORDER.format(root=f"{ROOT}{os.sep}", file=str(staging / READS))
    try:
        execute(
            notebook,
            executed,
            inputs["parameters"],
            environment=kernel_environment(
                profile, ROOT, staging, compiled_code(), checkpoint_folder(inputs)
            ),
            preamble=preamble(profile, ROOT) + recorder,
            time_limit=time_limit,
            report=report,
            working_folder=str(notebook.parent),
            start_timeout=600,
        )
    except PapermillExecutionError as error:
        kept = _keep_partial(executed, notebook, profile)
        raise ClaimbookError(_failed_cell(error, notebook, kept)) from None
    except ClaimbookError as error:
        kept = _keep_partial(executed, notebook, profile)
        hint = ""
        if isinstance(error, TimeLimitError):
            hint = " Give the stage more time with `--time-limit SECONDS` in dvc.yaml."
        raise ClaimbookError(f"{relative(notebook)}: {error}{hint}{kept}") from None
    document = read_json(executed)
    if ended := _last_run(document):
        kept = _keep_partial(executed, notebook, profile)
        raise ClaimbookError(
            f"{relative(notebook)}: cell {ended} ended the notebook (`sys.exit`, say) before the "
            f"cells behind it had run. Nothing was replaced.{kept}"
        )
    write_text(executed, dumps(executed_form(document, str(ROOT))))


def _last_run(document: dict[str, Any]) -> int | None:
    """The number of the last cell that ran, if one behind it did not."""
    code = [
        (number, cell)
        for number, cell in enumerate(document["cells"], start=1)
        if is_code(cell) and "".join(cell["source"]).strip()
    ]
    waiting = [number for number, cell in code if cell.get("execution_count") is None]
    if not waiting:
        return None
    return max((number for number, _ in code if number < waiting[0]), default=0)


def compiled_code() -> Path:
    """Where compiled code is kept for all notebooks: another version of it never sees this."""
    from common.workflow.freshness.closure import compiled_hash

    folder = os.environ.get("CLAIMBOOK_CACHE") or Path.home() / ".cache" / "claimbook"
    return Path(folder) / "code" / compiled_hash()[:16]


def checkpoint_folder(inputs: dict[str, Any]) -> Path:
    """Where an interrupted run left its pieces: another version or parameter never sees them."""
    stem = Path(inputs["notebook"]).stem
    return ROOT / "checkpoints" / f"{stem}-{inputs['profile']}-{sha256(to_json(inputs))[:16]}"


def _keep_partial(executed: Path, notebook: Path, profile: str) -> str:
    """Keep what ran so far where neither git nor DVC takes it for a result."""
    if not executed.is_file():
        return ""
    kept = notebook.parent / "results" / "_failed" / profile / notebook.name
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(executed, kept)
    except OSError:  # a full disk, say: why the cell failed is what matters
        kept.unlink(missing_ok=True)
        return ""
    return f"\nThe notebook up to there: {relative(kept)}"


def _failed_cell(error: Any, notebook: Path, kept: str) -> str:
    source = error.source.strip().splitlines()
    shown = "\n".join(f"    {line}" for line in source[:12])
    more = f"\n    … {len(source) - 12} more lines" if len(source) > 12 else ""
    frames = [line for line in "\n".join(error.traceback).splitlines() if line.strip()]
    return (
        f"{relative(notebook)}: cell {error.cell_index + 1} raised {error.ename}: {error.evalue}\n"
        f"{shown}{more}\n  traceback (last lines):\n"
        + "\n".join(f"    {line}" for line in frames[-12:])
        + kept
    )


class Progress:
    """One line per cell: which, how long since the start, and the cell's first words."""

    def __init__(self, name: str):
        self.name, self.started, self.heading = name, time.monotonic(), ""

    def __call__(self, cell: int, cells: int, source: str) -> None:
        first = next((line for line in source.splitlines() if line.strip()), "")
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        _say(f"{self.name}  cell {cell}/{cells}  {minutes}:{seconds:02d}  {first[:60]}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

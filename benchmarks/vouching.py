"""What a change of the shared library costs: results that it makes stale, and vouching for them.

The rival is to run again what the change made stale: the minutes that those runs took when the
committed results were made. Every change is planted in a clone of the last commit; the first one
pays for the old code, which is remembered for the others.

    python -m benchmarks.vouching [FILE …]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.workflow.base.project import ROOT

RULE = '''

@ADVANTAGES.register("half", equation=r"A_i = r_i / 2", source="a benchmark")
def half_of_the_reward(rewards: torch.Tensor) -> torch.Tensor:
    """Half of the reward."""
    return rewards / 2
'''
EDITS = {
    "common/plots.py": ('"font.size": 10', '"font.size": 11'),
    "common/lm/small.py": (
        "    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}\n",
        "    known = [*SPECIAL_TOKENS, *words]\n"
        "    vocabulary = {word: index for index, word in enumerate(known)}\n",
    ),
    "common/grpo/rules/advantages.py": ("", RULE),
    "common/workflow/running/kernel_environment.py": ("libraries", "names"),
    "common/stats.py": (
        "    low, high = stats.ttest_1samp(x, 0).confidence_interval(level)\n",
        "    tested = stats.ttest_1samp(x, 0)\n    low, high = tested.confidence_interval(level)\n",
    ),
}
"""What is replaced in which file: a style, a refactoring, a new rule, two refactorings more."""


def plant(clone: Path, file: str) -> None:
    """Make a change and commit it."""
    old, new = EDITS[file]
    text = (clone / file).read_text()
    if old not in text:
        raise SystemExit(f"{file} does not hold {old!r} any more: bring EDITS up to date")
    (clone / file).write_text(text.replace(old, new) if old else text + new)
    git(clone, "commit", "-qam", f"change {file}")


def git(clone: Path, *arguments: str) -> str:
    """Run git in the clone."""
    who = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    command = ["git", "-C", str(clone), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def stale(clone: Path) -> dict[str, float]:
    """Minutes that every result took whose notebook has to run again."""
    environment = dict(os.environ) | {"CLAIMBOOK_PYTHON": sys.executable}
    command = ["./claimbook", "status", "--profile", "cpu"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    found = {}
    for slug, _, stage, state in (line.split()[:4] for line in done.stdout.splitlines()):
        if state == "stale" and stage != "judge":
            file = clone / f"papers/{slug}/results/cpu/provenance/{stage}.json"
            found[f"{slug}/{stage}"] = json.loads(file.read_text())["seconds"] / 60
    return found


def main() -> None:
    """Plant every change, one at a time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(EDITS), metavar="FILE")
    files = parser.parse_args().files
    environment = dict(os.environ) | {"CLAIMBOOK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory(prefix="claimbook-") as name:
        clone = Path(name) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        base = git(clone, "rev-parse", "HEAD").strip()
        if left := stale(clone):
            raise SystemExit(f"not up to date before any change: {', '.join(left)}")
        for file in files:
            git(clone, "reset", "-q", "--hard", base)
            git(clone, "clean", "-fdq", "papers")
            plant(clone, file)
            before = stale(clone)
            started = time.perf_counter()
            command = ["./claimbook", "vouch", "all"]
            done = subprocess.run(
                command, cwd=clone, env=environment, capture_output=True, text=True
            )
            seconds = time.perf_counter() - started
            after = stale(clone)
            print(
                f"{file}: {len(before)} results stale, {sum(before.values()):.0f} min at cpu; "
                f"vouching {seconds:.0f} s; {len(after)} left, {sum(after.values()):.0f} min",
                flush=True,
            )
            for line in done.stdout.splitlines():
                if after and ("run again" in line or line.startswith("    ")):
                    print(f"  {line}")


if __name__ == "__main__":
    main()

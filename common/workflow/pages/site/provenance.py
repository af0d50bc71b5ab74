"""When, where, from which commit and by which command a result was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.workflow.pages.site.markdown import facts_table
from common.workflow.pages.site.results import Results


def commit_link(provenance: dict[str, Any], repository: str | None) -> str:
    """The commit, as a link when the repository has an address; never an invented one."""
    sha = provenance.get("commit")
    if not sha:
        return "not written down"
    link = f"[`{sha}`]({repository}/commit/{sha})" if repository else f"`{sha}`"
    return f"{link}, with uncommitted changes" if provenance.get("uncommitted_changes") else link


def provenance_line(results: Results, folder: Path) -> str:
    """One line for a claim: commit, date and command."""
    provenance = results.provenance(folder)
    if not provenance:
        return f"{folder.name}: nothing was written down"
    return (
        f"{commit_link(provenance, results.repository)}, {day(provenance)}: "
        f"`{provenance.get('command')}`"
    )


def day(provenance: dict[str, Any]) -> str:
    """The date on which a result was finished."""
    return str(provenance.get("finished", "date unknown")).partition("T")[0]


def provenance_table(results: Results, folder: Path) -> str:
    """All that is known of one notebook's run."""
    provenance = results.provenance(folder)
    if not provenance:
        return "Nothing was written down."
    packages = ", ".join(f"{name} {of}" for name, of in provenance.get("packages", {}).items())
    machine = f"{provenance.get('processor')}, {provenance.get('cores')} cores"
    inputs = results.inputs(folder)
    facts = {
        "commit": commit_link(provenance, results.repository),
        "command": f"`{provenance.get('command')}`",
        "finished": f"{provenance.get('finished')}, after {provenance.get('seconds')} s",
        "machine": f"{machine}, {provenance.get('platform')}",
        "packages": f"python {provenance.get('python')}, {packages}",
        "seeds": seeds_text(inputs.get("seeds", [])),
        "code": f"`{inputs['code'][:16]}` (hash of the notebook's code and all that it imports)",
    }
    return facts_table(facts)


def seeds_text(seeds: list[int]) -> str:
    """Seeds with runs of neighbours drawn together: `0 to 9, 12`."""
    runs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return ", ".join(texts) or "none"

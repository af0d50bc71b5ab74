"""The claims of one paper in one profile: a section for each, with all that led to its verdict."""

from __future__ import annotations

from typing import Any

from common.workflow.base.project import relative
from common.workflow.claims.verdicts import effect_text
from common.workflow.pages.scoreboard import SIGNS, paper_says
from common.workflow.pages.site.definition import definition
from common.workflow.pages.site.markdown import cell, facts_table, one_line
from common.workflow.pages.site.provenance import provenance_line, seeds_text
from common.workflow.pages.site.results import Results
from common.workflow.pages.site.stage import Stage


def stage_claims(stage: Stage, results: Results) -> None:
    """Add the claims page of one judged paper and profile."""
    stage.page(f"{results.page}/claims", claims_page(results))


def claims_page(results: Results) -> str:
    """The page's Markdown. Every section's anchor is the claim's name in lower case."""
    verdicts = results.verdicts
    assert verdicts is not None
    paper = results.claims.paper
    claims = verdicts["claims"]
    parts = [
        f"# Claims: {paper.title} ({results.profile})",
        f"arXiv [{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv}) ({paper.version}) · "
        f"[the paper's page](/papers/{results.paper.slug}/index.md) · "
        f"[tables, figures and runs](/{results.page}/results.md)",
        _jumps(claims),
        *(_section(results, name, claim) for name, claim in claims.items()),
    ]
    retired = [f"* **{name}**: {one_line(reason)}" for name, reason in verdicts["retired"].items()]
    if retired:
        parts += ["## Taken back", "\n".join(retired)]
    return "\n\n".join(parts) + "\n"


def _jumps(claims: dict[str, Any]) -> str:
    """Links to the sections, by verdict."""
    lines = []
    for verdict, sign in SIGNS.items():
        names = [name for name, claim in claims.items() if claim["verdict"] == verdict]
        links = [f"[{name}](#{name.lower()})" for name in names]
        if names:
            lines.append(f"* {sign}: {', '.join(links)}")
    return "\n".join(lines)


def _section(results: Results, name: str, verdict: dict[str, Any]) -> str:
    kind = verdict["verdict"].replace(" ", "-")
    facts = _facts(verdict) | _traces(results, name) | _conduct(results, name, verdict)
    file = relative(results.paper.claims_file)
    parts = [
        f"## {name} {_sign(verdict)}",
        f":::{{container}} statement {kind}\n{one_line(verdict['statement'])}\n:::",
        facts_table(facts),
        one_line(verdict["takeaway"]),
        _groups(verdict),
        f"Defined in [`claims.yaml`](/{file}):",
        f"```yaml\n{definition(results, name)}\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _sign(verdict: dict[str, Any]) -> str:
    return SIGNS[verdict["verdict"]].partition(" ")[0]


def _facts(verdict: dict[str, Any]) -> dict[str, str]:
    """What the claim says and what came out."""
    source = verdict["source"]
    note = f" ({one_line(source['note'])})" if source.get("note") else ""
    level = (verdict.get("effect") or {}).get("level")
    interval = f" ({100 * level:g} % interval)" if level else ""
    return {
        "verdict": "; ".join([f"**{SIGNS[verdict['verdict']]}**", *verdict.get("marks", [])]),
        "the paper": f"{paper_says(verdict)}{note}",
        "ours": f"{effect_text(verdict)}{interval}",
        "measured on": verdict.get("stand_in") or "",
    }


def _traces(results: Results, name: str) -> dict[str, str]:
    """What one click leads to: the rows, the cell and the commit."""
    claim = results.claims.claims.get(name)
    if claim is None:
        return {"measurements": "unknown: the claim is no longer in claims.yaml"}
    if claim.measure is None:
        return {"measurements": "none: decided from the paper's own numbers, which stand below"}
    table = claim.measure.table
    folders = [file.parent for file in results.tables.get(table, [])]
    if not folders:
        return {"measurements": f"table `{table}` is not there"}
    return {
        "measurements": f"[rows of table `{table}`](<{results.table_link(table, name)}>)",
        "notebook cell": "<br>".join(results.cell_link(at, "save_table", table) for at in folders),
        "commit": "<br>".join(provenance_line(results, at) for at in folders),
    }


def _conduct(results: Results, name: str, verdict: dict[str, Any]) -> dict[str, str]:
    """How far the verdict can be trusted."""
    share = verdict.get("fragility")
    changes = [
        f"changed {entry['date']} (replaces `{entry['replaces']}`): {one_line(entry['reason'])}"
        for entry in verdict["history"]
    ]
    return {
        "seeds": seeds_text(verdict["seeds"]) if verdict.get("seeds") else "",
        "label flips": f"{100 * share:.1f} % would still say supported"
        if share is not None
        else "",
        "decidable from": f"profile {verdict['decidable_from']}",
        "full name": f"`{results.paper.slug}/{name}`",
        "history": "<br>".join(changes),
    }


def _groups(verdict: dict[str, Any]) -> str:
    groups = verdict.get("groups") or []
    if not groups:
        return ""
    lines = ["| group | ours | verdict |", "|---|---|---|"]
    for one in groups:
        group = ", ".join(f"{key} = {value}" for key, value in one["group"].items())
        lines.append(f"| {cell(group)} | {cell(effect_text(one))} | {SIGNS[one['verdict']]} |")
    return "\n".join(lines)

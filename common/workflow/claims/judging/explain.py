"""How a verdict came about, as text."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from common.workflow.claims.judging.decision import Decision
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.judge import Evidence, evidence, judge
from common.workflow.claims.judging.takeaway import sentence
from common.workflow.claims.schema import Claim, Claims
from common.workflow.claims.selection import NoResults

SHOWN_ROWS = 12
WIDTH = 100


def explain(claims: Claims, claim_id: str, results: Path, profile: str) -> str:
    """The claim, the rows used, the statistic, the interval and the sentence to take away.

    Raises:
        ClaimbookError: no such claim, or it names what its results do not hold.
    """
    claim = claims.claim(claim_id)
    name = claim_id.removeprefix(f"{claims.slug}/")
    verdict = judge(claims, results, profile)["claims"][name]
    parts = [_heading(claims, claim, name, profile)]
    try:
        found = evidence(claims, name, results, profile)
    except NoResults:
        return "\n\n".join([*parts, f"Verdict: {verdict['verdict']}. {verdict['takeaway']}"])
    parts += [_rows(claim, found), _statistics(claim, found), _outcome(claim, verdict)]
    return "\n\n".join(part for part in parts if part)


def _heading(claims: Claims, claim: Claim, name: str, profile: str) -> str:
    source = f"Source: {claim.source.place} of arXiv {claims.paper.arxiv}{claims.paper.version}"
    if claim.source.value is not None:
        source += f"; the paper's number: {claim.source.value:g}"
    lines = [f"{claims.slug}/{name}  [profile {profile}]", _wrapped(claim.statement), source]
    if claim.source.note:
        lines.append(_wrapped(claim.source.note))
    test = claim.test.model_dump(mode="json", exclude_defaults=True)
    kind = test.pop("kind")
    options = ", ".join(f"{key}: {value}" for key, value in test.items())
    return "\n".join([*lines, _wrapped(f"Test: {kind} ({options})")])


def _rows(claim: Claim, found: Evidence) -> str:
    if found.rows is None or claim.measure is None:
        return ""
    frame = pd.concat([group for _, group in found.rows.groups])
    where = "".join(f", {key} = {value}" for key, value in claim.measure.where.items())
    shown = frame.head(SHOWN_ROWS).to_string(index=False, max_colwidth=20, line_width=WIDTH)
    more = f"\n... and {len(frame) - SHOWN_ROWS} more rows" if len(frame) > SHOWN_ROWS else ""
    return (
        f"Rows: {len(frame)} of table `{claim.measure.table}` "
        f"({', '.join(found.rows.folders)}){where}; metric `{claim.measure.metric}`\n{shown}{more}"
    )


def _statistics(claim: Claim, found: Evidence) -> str:
    decisions = [decide(claim.test, sample) for sample in found.samples]
    lines = [f"  {_group(one)}{one.verdict}: {sentence(one)}" for one in decisions]
    p_values = [one.p_value for one in decisions if one.p_value is not None]
    if p_values:
        lines.append(f"  two-sided p at the edge of the claim: {max(p_values):.3g}")
    return "\n".join(["Statistic:", *lines])


def _group(decision: Decision) -> str:
    text = ", ".join(f"{name} = {value}" for name, value in decision.group.items())
    return f"{text}: " if text else ""


def _outcome(claim: Claim, verdict: dict[str, Any]) -> str:
    lines = [f"Verdict: {verdict['verdict']}", _wrapped(verdict["takeaway"])]
    if verdict.get("holm_p_value") is not None:
        lines.append(f"Holm's p over the paper's claims: {verdict['holm_p_value']:.3g}")
    if verdict.get("fragility") is not None:
        share = 100 * verdict["fragility"]
        lines.append(f"Label flips that would still say supported: {share:.1f} %")
    if compared := verdict.get("paper_value"):
        inside = "inside" if compared["inside_our_interval"] else "outside"
        lines.append(f"The paper's {compared['paper']:g} lies {inside} our interval.")
    if verdict.get("marks"):
        lines.append(f"Marks: {'; '.join(verdict['marks'])}")
    for entry in claim.history:
        lines.append(f"Changed {entry.date} (replaces {entry.replaces}): {entry.reason}")
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH)

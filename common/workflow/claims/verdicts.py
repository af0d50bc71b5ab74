"""A paper's verdicts: making, reading and printing them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import read_json, write_json
from common.workflow.base.project import ROOT, Paper, find_paper, relative
from common.workflow.claims.schema import load_claims
from common.workflow.freshness.status import judge_inputs


def judge_paper(paper: Paper, profile: str) -> dict[str, Any]:
    """Judge all claims of `paper` and write `verdicts.json` and `metrics.json`."""
    from common.workflow.claims.judging.judge import judge

    claims = load_claims(paper.claims_file)
    folder = paper.results(profile)
    inputs = judge_inputs(paper, profile)  # refuses damaged tables
    verdicts = judge(claims, folder.parent, profile, committed_verdicts(paper, profile))
    verdicts["inputs"] = inputs
    write_json(folder / "verdicts.json", verdicts)
    write_json(folder / "metrics.json", metrics(verdicts))
    return verdicts


def metrics(verdicts: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of each claim that `dvc metrics diff` compares."""
    table = {}
    for name, claim in verdicts["claims"].items():
        effect = claim.get("effect") or {}
        low, high = effect.get("interval") or (None, None)
        row = {"verdict": claim["verdict"], "estimate": effect.get("estimate")}
        table[name] = row | {"low": low, "high": high}
    return table


def committed_verdicts(paper: Paper, profile: str) -> dict[str, Any] | None:
    """The `verdicts.json` of the last commit, if there is one.

    Raises:
        ClaimbookError: git does not trust this checkout, which belongs to another user.
    """
    name = relative(paper.results(profile) / "verdicts.json")
    command = ["git", "-C", str(ROOT), "show", f"HEAD:./{name}"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # no git
        return None
    if "dubious ownership" in shown.stderr:
        raise ClaimbookError(f"whether a claim changed cannot be seen: {shown.stderr.strip()}")
    return dict(json.loads(shown.stdout)) if shown.returncode == 0 else None


def explain_claim(name: str, profile: str) -> str:
    """How the claim `<slug>/<id>` was decided in `profile`."""
    from common.workflow.claims.judging.explain import explain

    slug, slash, claim_id = name.partition("/")
    if not slash:
        raise ClaimbookError(f"{name!r}: write <paper>/<claim>, for example {slug}/C1.")
    paper = find_paper(slug)
    claims = load_claims(paper.claims_file)
    return explain(claims, claim_id, paper.folder / "results", profile)


def read_verdicts(paper: Paper, profile: str) -> dict[str, Any] | None:
    """The verdicts of `paper` in `profile`, claims in their own order; None if not judged there."""
    file = paper.results(profile) / "verdicts.json"
    if not file.is_file():
        return None
    verdicts: dict[str, Any] = read_json(file)
    claims = verdicts["claims"]
    order = verdicts.get("order", claims)  # older files have none
    return verdicts | {"claims": {name: claims[name] for name in order}}


def verdict_lines(verdicts: dict[str, Any]) -> list[str]:
    """The claims table for a terminal."""
    lines = [f"{verdicts['paper']['title']} (arXiv {verdicts['paper']['arxiv']})"]
    for name, claim in verdicts["claims"].items():
        lines.append(f"  {name:5} {claim['verdict']:18} {effect_text(claim)}")
    return lines


def effect_text(claim: dict[str, Any]) -> str:
    """The estimate with its interval, for tables."""
    effect = claim.get("effect")
    if not effect:
        return claim.get("reason", "")
    estimate = "none" if effect["estimate"] is None else f"{effect['estimate']:.4g}"
    text = f"{effect['name']} {estimate}"
    if effect["interval"]:
        low, high = ("∞" if end is None else f"{end:.4g}" for end in effect["interval"])
        text += f" [{low}, {high}]"
    return f"{text}, n = {claim['n']}"

"""From claims and measurements to verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from common import stats
from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import PROFILES
from common.workflow.claims.judging.building import build_samples
from common.workflow.claims.judging.decision import Decision, Verdict
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.samples import Headline, Sample
from common.workflow.claims.judging.takeaway import takeaway
from common.workflow.claims.kinds import Arithmetic, Bound, ClosedForm
from common.workflow.claims.schema import Claim, Claims
from common.workflow.claims.selection import NoResults, Rows, SelectionError, select_rows

NOT_DECIDABLE = "not decidable here"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Evidence:
    """What one claim is decided from: its samples, and the rows that they came from.

    Attributes:
        samples: one per group.
        rows: None for arithmetic on the paper's own numbers.
    """

    samples: list[Sample]
    rows: Rows | None


def judge(
    claims: Claims, results: Path, profile: str, earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The verdicts on all claims, as they stand in `verdicts.json`.

    Args:
        claims: a paper's claims.
        results: the paper's `results` folder, with one folder per profile.
        profile: which measurements to use.
        earlier: the committed `verdicts.json`, if there is one; a claim whose definition changed
            since has to say why.

    Raises:
        ClaimbookError: a claim names what its results do not hold, or changed without a reason.
    """
    check_history(claims, earlier or {})
    verdicts = {
        claim_id: _verdict(claims, claim_id, results, profile) for claim_id in claims.claims
    }
    _mark_multiplicity(claims, verdicts)
    return {
        "schema": 1,
        "paper": claims.paper.model_dump(mode="json", include={"arxiv", "version", "title"}),
        "profile": profile,
        "claims": verdicts,
        "order": list(verdicts),
        "retired": claims.retired,
    }


def evidence(claims: Claims, claim_id: str, results: Path, profile: str) -> Evidence:
    """The samples behind a verdict.

    Raises:
        NoResults: nothing was run in this profile.
        ClaimbookError: the claim names what its results do not hold, with file and line.
    """
    claim = claims.claim(claim_id)
    if isinstance(claim.test, Arithmetic):
        return Evidence([Sample(Headline(claim.test.headline))], None)
    rows = select_rows(claims, claim_id, results, profile)
    try:
        return Evidence(build_samples(claim, rows), rows)
    except SelectionError as error:
        raise ClaimbookError(f"{claims.place(claim_id, error.keys)}: {error}") from None


def combine(decisions: list[Decision]) -> Decision:
    """Intersection-union: supported when every group is, contradicted when any group is.

    The numbers of the group that is farthest from support stand for the claim.
    """
    order: tuple[Verdict, ...] = ("contradicted", "undecided", "supported")

    def strength(one: Decision) -> tuple[int, float, float]:
        """Against the claim, a small p-value and a large error or share of violations weigh."""
        p_value = one.p_value or 0.0
        error = one.interval.estimate if one.interval and one.p_value is None else 0.0
        sign = 1 if one.verdict == "contradicted" else -1
        return order.index(one.verdict), sign * p_value, -error

    weakest = min(decisions, key=strength)
    fragilities = [one.fragility for one in decisions if one.fragility is not None]
    return replace(
        weakest,
        marks=tuple(dict.fromkeys(mark for one in decisions for mark in one.marks)),
        fragility=max(fragilities, default=None),
    )


def _verdict(claims: Claims, claim_id: str, results: Path, profile: str) -> dict[str, Any]:
    claim = claims.claim(claim_id)
    told = {
        "statement": claim.statement,
        "source": claim.source.model_dump(mode="json"),
        "kind": claim.test.kind,
        "hash": claim.hash,
        "decidable_from": claim.decidable_from,
        "stand_in": claim.stand_in.get(profile),  # type: ignore[call-overload]
        "history": [entry.model_dump(mode="json") for entry in claim.history],
    }
    try:
        found = evidence(claims, claim_id, results, profile)
    except NoResults:
        return told | {"verdict": NOT_RUN, "takeaway": "Not run in this profile."}
    decisions = [decide(claim.test, sample) for sample in found.samples]
    whole = combine(decisions)
    seeds = found.rows.used_seeds if found.rows else []
    marks = [*whole.marks, *_seed_marks(claim, seeds)]
    measured = _described(whole) | {
        "marks": marks,
        "seeds": seeds,
        "groups": [_described(one) for one in decisions] if len(decisions) > 1 else [],
        "paper_value": _paper_value(claim, whole),
    }
    too_small = PROFILES.index(profile) < PROFILES.index(claim.decidable_from)
    # What a small profile computes shows that the code path works, and is no verdict.
    decided = {"verdict": NOT_DECIDABLE, "computed": whole.verdict} if too_small else {}
    verdict = told | measured | {"verdict": whole.verdict} | decided
    return verdict | {"takeaway": takeaway(claim, whole, profile, too_small)}


def _described(decision: Decision) -> dict[str, Any]:
    interval = decision.interval
    effect = None
    if interval is not None:
        ends = [_finite(interval.low), _finite(interval.high)]
        exact = interval.level == 1.0
        effect = {
            "name": decision.effect,
            "estimate": _finite(interval.estimate),
            "interval": None if exact and interval.low == interval.high else ends,
            "level": None if exact else interval.level,
        }
    plain = asdict(decision)
    kept = ("verdict", "reason", "p_value", "fragility", "detectable", "needed_n", "group")
    return {name: plain[name] for name in kept} | {
        "effect": effect,
        "n": interval.n if interval is not None else None,
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _paper_value(claim: Claim, decision: Decision) -> dict[str, Any] | None:
    """How ours compares in size with the number that the paper prints."""
    theirs, ours = claim.source.value, decision.interval
    if theirs is None or ours is None or isinstance(claim.test, ClosedForm | Bound):
        return None  # their effect is an error or a rate, which the paper's number is not
    return {
        "paper": theirs,
        "ours": _finite(ours.estimate),
        "ratio": _finite(ours.estimate / theirs) if theirs else None,
        "inside_our_interval": ours.low <= theirs <= ours.high,
    }


# ---------------------------------------------------------------------------- rules of conduct


def check_history(claims: Claims, earlier: Mapping[str, Any]) -> None:
    """Refuse a claim whose definition changed after results existed, unless it says why.

    Raises:
        ClaimbookError: the message holds the entry to add under `history`.
    """
    problems = []
    for claim_id, before in earlier.get("claims", {}).items():
        claim = claims.claims.get(claim_id)
        if before.get("verdict") == NOT_RUN or claim_id in claims.retired:
            continue
        if claim is None:
            problems.append(
                f"{claims.place(claim_id)}: {claim_id} was judged {before['verdict']} and is gone. "
                "A claim with a verdict is not dropped silently; put it back, or say why:\n"
                f"retired:\n  {claim_id}: ..."
            )
        elif before["hash"] != claim.hash and (
            not claim.history or claim.history[-1].replaces != before["hash"]
        ):
            problems.append(
                f"{claims.place(claim_id, ('history',))}: the test or measure of {claim_id} "
                "changed after results existed. Say why, and run on fresh seeds:\n"
                "    history:\n"
                "      - date: YYYY-MM-DD\n"
                f'        replaces: "{before["hash"]}"\n'
                f"        seeds: {before.get('seeds', [])}\n"
                "        reason: ..."
            )
    if problems:
        raise ClaimbookError("\n".join(problems))


def _seed_marks(claim: Claim, seeds: list[int]) -> list[str]:
    """A changed claim is only trusted on seeds that the old one was not judged on."""
    if not claim.history:
        return []
    seen = {seed for entry in claim.history for seed in entry.seeds}
    marks = ["definition changed after results existed"]
    return [*marks, "seeds reused after the change"] if seen & set(seeds) else marks


def _mark_multiplicity(claims: Claims, verdicts: dict[str, Any]) -> None:
    """Add Holm's p-values over the paper's claims, and mark what only holds without them."""
    tested = [
        name
        for name, one in verdicts.items()
        if one.get("p_value") is not None and one["verdict"] != NOT_DECIDABLE
    ]
    adjusted = stats.holm([verdicts[name]["p_value"] for name in tested])
    for name, p_value in zip(tested, adjusted, strict=True):
        level = getattr(claims.claims[name].test, "level", 0.95)
        verdicts[name]["holm_p_value"] = float(p_value)
        if verdicts[name]["verdict"] == "supported" and p_value > 1 - level:
            verdicts[name]["marks"].append("only without Holm's correction")

"""From a claim's rows to samples, for each kind of test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np

from common.stats import Floats, is_constant, kendall_tau, log_log_slope, slope
from common.workflow.claims.judging.samples import (
    Arms,
    Cases,
    GroupRows,
    Outcomes,
    Paired,
    Sample,
    Slopes,
    Survival,
    in_order,
    label,
)
from common.workflow.claims.kinds import (
    AnyTest,
    Bound,
    ClosedForm,
    DifferenceOfProportions,
    Equivalence,
    Exponent,
    MonotoneTrend,
    Ordering,
    PairedDifference,
    PairedRatio,
    Proportion,
    TimeToEvent,
    UnpairedDifference,
)
from common.workflow.claims.schema import Claim
from common.workflow.claims.selection import Rows, SelectionError, constant


def build_samples(claim: Claim, rows: Rows) -> list[Sample]:
    """One sample per group; for an ordering one per pair of neighbours in every group.

    Raises:
        SelectionError: the rows do not have the form that the claim needs.
    """
    assert claim.measure is not None
    metric, missing = claim.measure.metric, claim.measure.missing
    samples = []
    for group, frame in rows.groups:
        replaced = 0
        if isinstance(missing, float):
            replaced = int(frame[metric].isna().sum())
            frame = frame.assign(**{metric: frame[metric].fillna(missing)})
        for sample in _build(claim.test, GroupRows(claim, frame, rows.seeds)):
            whole = {**group, **sample.group}
            samples.append(replace(sample, group=whole, counted=sample.counted + replaced))
    return samples


@singledispatch
def _build(test: AnyTest, rows: GroupRows) -> list[Sample]:
    raise NotImplementedError(type(test).__name__)


# -------------------------------------------------------------------------------- paired arms


@_build.register
def _(test: PairedDifference, rows: GroupRows) -> list[Sample]:
    bound = rows.bound(test.expect.bound)
    return [_paired(rows, test.factor, test.compare, test.pair_by, np.subtract, bound)]


@_build.register
def _(test: PairedRatio, rows: GroupRows) -> list[Sample]:
    bound = rows.bound(test.expect.bound, default=1.0)
    sample = _paired(rows, test.factor, test.compare, test.pair_by, np.divide, bound)
    return [_with_positive_values(sample, test.compare)]


@_build.register
def _(test: Equivalence, rows: GroupRows) -> list[Sample]:
    if test.scale == "difference":
        return [_paired(rows, test.factor, test.compare, test.pair_by, np.subtract, 0.0)]
    sample = _paired(rows, test.factor, test.compare, test.pair_by, np.divide, 1.0)
    return [_with_positive_values(sample, test.compare)]


@_build.register
def _(test: Ordering, rows: GroupRows) -> list[Sample]:
    bound = rows.bound(test.expect.bound)
    samples = []
    for pair in zip(test.order, test.order[1:], strict=False):
        sample = _paired(rows, test.factor, pair, test.pair_by, np.subtract, bound)
        group = {test.factor: f"{pair[0]} {test.expect.side} {pair[1]}"}
        samples.append(replace(sample, group=group))
    return samples


def _paired(
    rows: GroupRows,
    factor: str,
    levels: tuple[Any, Any],
    pair_by: tuple[str, ...],
    effect: Callable[..., Any],
    bound: float,
) -> Sample:
    found = [rows.arm(factor, level).values(pair_by) for level in levels]
    units = in_order(set(found[0]) | set(found[1]))
    labels = [label(pair_by, unit) for unit in units]
    fill = rows.filling()
    arms: list[Floats] = []
    for arm, level in zip(found, levels, strict=True):
        where = [f"{text} at {factor} = {level}" for text in labels]
        values = [
            fill(arm.get(unit, np.nan), np.nan, at) for unit, at in zip(units, where, strict=True)
        ]
        arms.append(np.array(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        varies = len(units) < 2 or not is_constant(effect(*arms))
    return fill.sample(Paired(*arms), labels, bound, varies)


def _with_positive_values(sample: Sample, levels: tuple[Any, Any]) -> Sample:
    """Adds an obstacle for each value of which no ratio can be formed."""
    assert isinstance(sample.data, Paired)
    found = [
        f"a ratio needs positive values, but {unit} has {value:g} at {level}"
        for arm, level in zip((sample.data.a, sample.data.b), levels, strict=True)
        for unit, value in zip(sample.units, arm, strict=True)
        if value <= 0
    ]
    return replace(sample, obstacles=sample.obstacles + tuple(found))


# ------------------------------------------------------------------ arms with units of their own


@_build.register
def _(test: UnpairedDifference, rows: GroupRows) -> list[Sample]:
    return [_two_arms(test, rows, (np.nan, np.nan))]


@_build.register
def _(test: DifferenceOfProportions, rows: GroupRows) -> list[Sample]:
    _check_outcomes(rows)
    return [_two_arms(test, rows, (0.0, 1.0) if test.expect.side == "above" else (1.0, 0.0))]


def _two_arms(
    test: UnpairedDifference | DifferenceOfProportions,
    rows: GroupRows,
    against: tuple[float, float],
) -> Sample:
    fill = rows.filling()
    arms: list[Floats] = []
    labels: list[str] = []
    for level, worst in zip(test.compare, against, strict=True):
        found = rows.arm(test.factor, level).values(test.per)
        units = in_order(found)
        where = [f"{label(test.per, unit)} at {test.factor} = {level}" for unit in units]
        pairs = zip(units, where, strict=True)
        arms.append(np.array([fill(found[unit], worst, at) for unit, at in pairs]))
        labels += where
    fill.obstacles += _empty_arms(test.factor, test.compare, arms)
    # All successes in one arm and none in the other is a result, no sign of an unused seed.
    counts = isinstance(test, DifferenceOfProportions)
    varies = counts or bool(fill.obstacles) or not all(is_constant(arm) for arm in arms)
    return fill.sample(Arms(*arms), labels, rows.bound(test.expect.bound), varies)


def _empty_arms(factor: str, levels: tuple[Any, Any], arms: list[Floats]) -> list[str]:
    """An obstacle for each arm of which this group has no row."""
    pairs = zip(levels, arms, strict=True)
    return [f"no row for {factor} = {level}" for level, arm in pairs if not len(arm)]


@_build.register
def _(test: TimeToEvent, rows: GroupRows) -> list[Sample]:
    seen = rows.claim.model_copy(
        update={"measure": rows.measure.model_copy(update={"metric": test.event})}
    )
    fill = rows.filling()
    early, late = (0.0, 1.0), (test.horizon, 0.0)
    against = (early, late) if test.expect.side == "above" else (late, early)
    arms: list[Floats] = []
    labels: list[str] = []
    for level, worst in zip(test.compare, against, strict=True):
        arm = rows.arm(test.factor, level)
        times, events = arm.values(test.per), replace(arm, claim=seen).values(test.per)
        for unit in (unit for unit, event in events.items() if np.isnan(event)):
            times[unit] = np.nan  # without its flag a time says nothing
        lost = (1.0, worst[1])[fill.missing == "failure"]
        units = in_order(times)
        where = [f"{label(test.per, unit)} at {test.factor} = {level}" for unit in units]
        flags = [lost if np.isnan(times[unit]) else events[unit] for unit in units]
        pairs = zip(units, where, strict=True)
        arms += [np.array([fill(times[unit], worst[0], at) for unit, at in pairs]), np.array(flags)]
        labels += where
    fill.obstacles += _empty_arms(test.factor, test.compare, arms[::2])
    varies = bool(fill.obstacles) or not (is_constant(arms[0]) and is_constant(arms[2]))
    return [fill.sample(Survival(*arms), labels, rows.bound(test.expect.bound), varies)]


# ------------------------------------------------------------------------ one number per unit


@_build.register
def _(test: Proportion, rows: GroupRows) -> list[Sample]:
    _check_outcomes(rows)
    fill = rows.filling()
    found = rows.values(test.per)
    units = in_order(found)
    labels = [label(test.per, unit) for unit in units]
    worst = 0.0 if test.expect.side == "above" else 1.0
    values = [fill(found[unit], worst, text) for unit, text in zip(units, labels, strict=True)]
    bound = rows.bound(test.expect.bound)
    return [fill.sample(Outcomes(np.array(values)), labels, bound, varies=True)]


def _check_outcomes(rows: GroupRows) -> None:
    metric = rows.measure.metric
    if odd := sorted(set(rows.frame[metric].dropna()) - {0.0, 1.0}):
        raise SelectionError(
            ("measure", "metric"),
            f"a proportion needs 0 or 1, but column {metric!r} holds {odd[0]:g}",
        )


@_build.register
def _(test: MonotoneTrend, rows: GroupRows) -> list[Sample]:
    statistic = kendall_tau if test.statistic == "kendall" else slope
    sample = _slopes(rows, test.x, test.per, statistic)
    return [replace(sample, bound=rows.bound(test.expect.bound))]


@_build.register
def _(test: Exponent, rows: GroupRows) -> list[Sample]:
    return [_slopes(rows, test.x, test.per, log_log_slope)]


def _slopes(
    rows: GroupRows, x: str, per: tuple[str, ...], statistic: Callable[[Floats, Floats], float]
) -> Sample:
    found = rows.present((*per, x))
    xs = sorted({key[-1] for key in found})
    if len(xs) < 2 or isinstance(xs[0], str):
        raise SelectionError(("test", "x"), f"column {x!r} needs at least two different numbers")
    units = in_order({key[:-1] for key in found} | set(rows.absent(per)))
    labels = [label(per, unit) for unit in units]
    fill = rows.filling()
    curves = np.array(
        [
            [fill(found.get((*unit, at), np.nan), np.nan, f"{text} at {x} = {at:g}") for at in xs]
            for unit, text in zip(units, labels, strict=True)
        ]
    )
    values = np.full(len(units), np.nan)
    if not fill.obstacles:
        try:
            values = np.array([statistic(np.array(xs, dtype=float), curve) for curve in curves])
        except ValueError as error:
            fill.obstacles.append(str(error))
    varies = len(units) < 2 or bool(np.ptp(curves, axis=0).any())
    return fill.sample(Slopes(values), labels, 0.0, varies)


# ---------------------------------------------------------------------------------------- cases


@_build.register
def _(test: ClosedForm, rows: GroupRows) -> list[Sample]:
    return [_cases(rows, test.expected, test.per, "expected", np.inf)]


@_build.register
def _(test: Bound, rows: GroupRows) -> list[Sample]:
    worst = np.inf if test.side == "below" else -np.inf
    return [_cases(rows, test.limit, test.per, "limit", worst)]


def _cases(
    rows: GroupRows, reference: float | str, per: tuple[str, ...], key: str, worst: float
) -> Sample:
    """Every row is a case; with `reduce`, every unit."""
    frame, metric = rows.frame, rows.measure.metric
    if isinstance(reference, float):
        frame = frame.assign(_reference=reference)
    else:
        frame = frame.assign(_reference=frame[reference].astype(float))
    if not per:
        frame = frame.assign(_unit=0 if rows.measure.reduce else np.arange(len(frame)))
    by = per or ("_unit",)
    whole = replace(rows, frame=frame)
    numbers = frame.groupby(list(by), sort=True, dropna=False)
    unit = numbers.ngroup().to_numpy()
    measured, references = frame[metric].to_numpy(), frame["_reference"].to_numpy()
    labels = _case_labels(frame, {metric, str(reference), "_reference", "_unit"})
    if rows.measure.reduce:
        measured = np.array(list(whole.present(by).values()))
        references = np.array([constant(part, "_reference", ("test", key)) for _, part in numbers])
        labels = [label(per, unit) if per else "all rows" for unit in whole.present(by)]
        unit = np.arange(len(measured))
    absent = list(rows.absent(("seed",))) if "seed" in frame else []
    measured = np.append(measured, np.full(len(absent), np.nan))
    references = np.append(
        references, [reference if isinstance(reference, float) else 0.0] * len(absent)
    )
    unit = np.append(unit, unit.max() + 1 + np.arange(len(absent)))
    labels += [label(("seed",), one) for one in absent]
    fill = rows.filling()
    filled = [fill(value, worst, text) for value, text in zip(measured, labels, strict=True)]
    fill.obstacles += [
        f"column {reference!r} has no value for {text}"
        for value, text in zip(references, labels, strict=True)
        if not np.isfinite(value)
    ]
    cases = Cases(np.array(filled), references, unit.astype(np.int64))
    return fill.sample(cases, labels, 0.0, varies=True)


def _case_labels(frame: Any, without: set[str]) -> list[str]:
    """What tells the rows apart, from the columns that are no measurements."""
    columns = [
        name
        for name in frame.columns
        if name not in without and frame[name].dtype.kind != "f" and frame[name].nunique() > 1
    ][:4]
    if not columns:
        return [f"row {number + 1}" for number in range(len(frame))]
    rows = zip(*(frame[name] for name in columns), strict=True)
    return [label(columns, row) for row in rows]

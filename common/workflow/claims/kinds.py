"""The kinds of test that a claim can name, as they are written in `claims.yaml`.

Only the form stands here; how each kind is decided stands in `common.workflow.claims.judging`.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal, Union, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    model_validator,
)

Side = Literal["above", "below"]


class Model(BaseModel):
    """Unknown keys and silently converted types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _scalar(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError("expected a number, a text, true or false")


def _number_or_column(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number or the name of a column")
    if not isinstance(value, str) and not isfinite(value):
        raise ValueError(f"{value} is no number to compare with")
    return value if isinstance(value, str) else float(value)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Scalar = Annotated[bool | int | float | str, PlainValidator(_scalar)]
NumberOrColumn = Annotated[float | str, PlainValidator(_number_or_column)]
Columns = Annotated[tuple[str, ...], Strict(False), BeforeValidator(_as_list)]
"""One column, or a list of columns."""
Unit = Annotated[Columns, Field(min_length=1)]
"""The columns that name what was randomised."""
Pair = Annotated[tuple[Scalar, Scalar], Strict(False)]


class Expect(Model):
    """On which side of `bound` the claim puts the effect."""

    side: Side
    bound: NumberOrColumn | None = None
    """The smallest effect of interest; the default is "no effect" (0, for a ratio 1)."""


class Measured(Model):
    """What all kinds share that are decided from measurements."""

    for_each: Columns = ()
    """Columns; the claim has to hold in every group of equal values (intersection-union)."""


class Statistical(Measured):
    """What all kinds share that give an interval."""

    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Two-sided confidence level."""


class _Comparison(Statistical):
    factor: str
    """The column that tells the compared arms apart."""
    compare: Pair
    """Two values of `factor`; the effect is the first against the second."""

    @model_validator(mode="after")
    def _levels_differ(self) -> _Comparison:
        if self.compare[0] == self.compare[1]:
            raise ValueError(f"`compare` names {self.compare[0]!r} twice")
        return self


class PairedDifference(_Comparison):
    """The mean of the differences between two arms that share `pair_by`."""

    kind: Literal["paired_difference"]
    pair_by: Unit
    """The unit that was randomised and that both arms share, usually `seed`."""
    expect: Expect


class PairedRatio(_Comparison):
    """The geometric mean of the ratios of two arms that share `pair_by`; values positive."""

    kind: Literal["paired_ratio"]
    pair_by: Unit
    expect: Expect


class UnpairedDifference(_Comparison):
    """The difference of the means of two arms that share nothing (Welch)."""

    kind: Literal["unpaired_difference"]
    per: Unit
    """The unit that was randomised: one value per unit."""
    expect: Expect


class Equivalence(_Comparison):
    """Two arms differ by less than `margin`, or by less than a factor 1 + `margin`."""

    kind: Literal["equivalence"]
    pair_by: Unit
    margin: float = Field(gt=0)
    scale: Literal["difference", "ratio"] = "difference"


class Ordering(Statistical):
    """Several arms in a row: each lies on the expected side of the next one."""

    kind: Literal["ordering"]
    factor: str
    order: Annotated[tuple[Scalar, ...], Strict(False), Field(min_length=2)]
    pair_by: Unit
    expect: Expect

    @model_validator(mode="after")
    def _levels_differ(self) -> Ordering:
        if len(set(self.order)) < len(self.order):
            raise ValueError("`order` names a value twice")
        return self


class Proportion(Statistical):
    """The share of units whose metric is 1 (it is 0 or 1)."""

    kind: Literal["proportion"]
    per: Unit
    expect: Expect

    @model_validator(mode="after")
    def _bound_given(self) -> Proportion:
        bound = self.expect.bound
        if bound is None or (isinstance(bound, float) and not 0 <= bound <= 1):
            raise ValueError("a proportion needs `expect.bound` between 0 and 1, or a column")
        return self


class DifferenceOfProportions(_Comparison):
    """The share of units whose metric is 1 in the first arm minus that in the second."""

    kind: Literal["difference_of_proportions"]
    per: Unit
    expect: Expect


class TimeToEvent(_Comparison):
    """The mean time to an event up to `horizon`, first arm minus second; the metric is the time."""

    kind: Literal["time_to_event"]
    per: Unit
    event: str
    """Column: whether the event was seen (1) or observation ended before it (0)."""
    horizon: float = Field(gt=0)
    """End of the period that counts, in the unit of the metric."""
    expect: Expect


class MonotoneTrend(Statistical):
    """The metric rises (above) or falls (below) with `x`, by one statistic per unit."""

    kind: Literal["monotone_trend"]
    x: str
    per: Unit
    statistic: Literal["kendall", "slope"] = "kendall"
    expect: Expect


class Exponent(Statistical):
    """The metric grows as a power of `x` whose exponent lies in `range` (null: open end)."""

    kind: Literal["exponent"]
    x: str
    per: Unit
    range: Annotated[tuple[float | None, float | None], Strict(False)]

    @model_validator(mode="after")
    def _range_is_one(self) -> Exponent:
        low, high = self.range
        if low is None and high is None:
            raise ValueError("`range` is open at both ends: no exponent could contradict it")
        if low is not None and high is not None and low >= high:
            raise ValueError("`range` has to rise: [lowest, highest]")
        return self


class ClosedForm(Measured):
    """The metric agrees with `expected` in every row, up to a relative `tolerance`."""

    kind: Literal["closed_form"]
    expected: NumberOrColumn
    tolerance: float = Field(ge=0)
    floor: float = Field(default=0, ge=0)
    """Errors are relative to the larger of |expected| and this, so that 0 can be expected."""
    per: Columns = ()
    """With `measure.reduce`: what is reduced to one case each (default: the whole group)."""


class Bound(Measured):
    """The metric stays on one side of `limit` in every row, or in all but `max_rate` of units."""

    kind: Literal["bound"]
    side: Side
    limit: NumberOrColumn
    tolerance: float = Field(default=0, ge=0)
    """How far beyond the limit still counts as within, in the unit of the metric."""
    max_rate: float = Field(default=0, ge=0, lt=1)
    """0: any violation contradicts. Otherwise the exact interval of the rate lies below it."""
    per: Columns = ()
    """The unit of a rate (it violates when any of its rows does), or of `measure.reduce`."""
    level: float = Field(default=0.95, gt=0.5, lt=1)

    @model_validator(mode="after")
    def _rate_has_a_unit(self) -> Bound:
        if self.max_rate > 0 and not self.per:
            raise ValueError("a `max_rate` above 0 needs `per`: the unit that was randomised")
        return self


def _printed(value: Any) -> Any:
    """A printed number is a text, so that its last digit is known; an integer is exact."""
    from decimal import Decimal, InvalidOperation

    if isinstance(value, float):
        raise ValueError('put the number in quotes as it is printed, for example "0.440"')
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a printed number in quotes, or an integer that is exact")
    try:
        finite = Decimal(value).is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        raise ValueError(f"{value!r} is no number")
    return value


Printed = Annotated[int | str, PlainValidator(_printed)]


class Arithmetic(Model):
    """A headline that follows, or does not, from other numbers that the paper prints."""

    kind: Literal["arithmetic"]
    numbers: Annotated[dict[str, Printed], Field(min_length=1, max_length=16)]
    expression: str
    """For example `100 * (ours / theirs - 1)`; the names are those of `numbers`."""
    headline: Printed
    relation: Literal["equals", "at_least", "at_most"] = "equals"

    @model_validator(mode="after")
    def _expression_is_safe(self) -> Arithmetic:
        from common.workflow.claims.expression import check_expression

        check_expression(self.expression, set(self.numbers))
        return self


AnyTest = Union[  # noqa: UP007 - `|` on classes whose annotations are strings is no type here
    PairedDifference,
    PairedRatio,
    UnpairedDifference,
    Equivalence,
    Ordering,
    Proportion,
    DifferenceOfProportions,
    TimeToEvent,
    MonotoneTrend,
    Exponent,
    ClosedForm,
    Bound,
    Arithmetic,
]
Test = Annotated[AnyTest, Field(discriminator="kind")]

WITH_EVENTS = (Proportion, DifferenceOfProportions, TimeToEvent, ClosedForm, Bound)
"""Kinds for which `missing: failure` has a meaning."""

TEST_KINDS = {get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(AnyTest)}
"""The classes by the name that `test.kind` gives."""

"""A paper's claims as data: the form of `papers/<slug>/claims.yaml`, and reading it.

Every mistake is reported at once, each with file, line, key and remedy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.yaml_source import YamlSource, load_yaml, plain
from common.workflow.claims.kinds import WITH_EVENTS, Arithmetic, Model, Test

Profile = Literal["smoke", "cpu", "gpu"]
Reduce = Literal["mean", "median", "min", "max", "sum", "last"]
ClaimId = Annotated[str, StringConstraints(pattern=r"^[A-Z]+[0-9]+[a-z]?$")]

LAST = "last"
"""In `where`: the rows with the largest value of the column (within a `for_each` group)."""


def _missing(value: Any) -> Any:
    if value in ("undecided", "failure"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise ValueError("expected `undecided`, `failure` or the number that a missing value counts as")


def _wanted(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if values and all(isinstance(one, bool | int | float | str) for one in values):
        return tuple(values) if isinstance(value, list) else value
    raise ValueError("expected a value, a list of values, or `last`")


class Paper(Model):
    """Which paper, and which version of it, the claims are from."""

    arxiv: str
    version: str
    title: str
    authors: list[str] = []
    url: str | None = None


class Source(Model):
    """Where the paper makes the claim, and its number if it prints one."""

    place: str
    value: float | None = None
    """In the unit of our effect (a difference, a ratio, an exponent, ...)."""
    note: str | None = None


class Measure(Model):
    """Which measurements a claim is about."""

    table: str
    metric: str
    where: dict[str, Annotated[Any, PlainValidator(_wanted)]] = {}
    """By column, the value, or the tuple of values, of the rows that count."""
    reduce: Reduce | None = None
    """How several rows of one unit become one number; without it they are an error."""
    missing: Annotated[float | Literal["undecided", "failure"], PlainValidator(_missing)] = (
        "undecided"
    )
    """What a missing or infinite value counts as; `failure`: as what speaks against the claim."""

    @model_validator(mode="after")
    def _all_seeds(self) -> Measure:
        if "seed" in self.where:
            raise ValueError("`where` selects seeds; a claim uses all seeds of its results")
        return self


class HistoryEntry(Model):
    """One change of a claim after results existed."""

    date: date
    replaces: str
    """Hash of the definition that was replaced."""
    seeds: list[int] = []
    """Seeds on which the replaced definition had been judged."""
    reason: str


class Claim(Model):
    """One claim: what it says, where the paper says it, and what decides it."""

    statement: str
    source: Source
    measure: Measure | None = None
    test: Test
    decidable_from: Profile
    stand_in: dict[Profile, str] = {}
    history: list[HistoryEntry] = []

    @model_validator(mode="after")
    def _measure_fits_test(self) -> Claim:
        kind = self.test.kind
        if isinstance(self.test, Arithmetic):
            if self.measure is not None:
                raise ValueError("an arithmetic claim has no `measure`: it uses printed numbers")
        elif self.measure is None:
            raise ValueError(f"`measure` is missing: {kind} is decided from measurements")
        elif kind in ("proportion", "difference_of_proportions") and (
            self.measure.missing not in ("undecided", "failure", 0.0, 1.0)
        ):
            raise ValueError(f"`missing` of a {kind} is undecided, failure, 0 or 1")
        elif self.measure.missing == "failure" and not isinstance(self.test, WITH_EVENTS):
            raise ValueError(
                f"`missing: failure` means nothing for {kind}: "
                "write `undecided` or the number that a missing value counts as"
            )
        return self

    @property
    def hash(self) -> str:
        """Identifies what is measured and how it is decided, but not the prose.

        Values equal to their default are left out, so that a later schema can add keys without
        changing every hash; a default itself never changes within one `schema`.
        """
        parts = {"measure", "test", "decidable_from"}
        definition = self.model_dump(mode="json", include=parts, exclude_defaults=True)
        text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Claims(Model):
    """All claims of one paper, as loaded from its `claims.yaml`."""

    schema_version: Literal[1] = Field(alias="schema")
    paper: Paper
    claims: Annotated[dict[ClaimId, Claim], Field(min_length=1)]
    retired: dict[ClaimId, str] = {}
    """Claims that had a verdict and were taken back, with the reason."""
    _source: YamlSource = PrivateAttr()

    @property
    def slug(self) -> str:
        """The paper's folder name."""
        return self._source.path.resolve().parent.name

    def place(self, claim_id: str, keys: Sequence[str | int] = ()) -> str:
        """`file:line: claims.C5.measure.table`, the start of a message about a claim."""
        return self._source.where(["claims", claim_id, *keys])

    def claim(self, claim_id: str) -> Claim:
        """The claim called `claim_id`, written `C5` or `<slug>/C5`.

        Raises:
            ClaimbookError: there is none.
        """
        name = claim_id.removeprefix(f"{self.slug}/")
        if name not in self.claims:
            raise ClaimbookError(
                f"{self.slug} has no claim {claim_id!r}; it has {', '.join(self.claims)}."
            )
        return self.claims[name]


def load_claims(path: Path | str) -> Claims:
    """The checked claims of a `claims.yaml`.

    Raises:
        ClaimbookError: the file is missing, no YAML, or not of the form; one line per mistake.
    """
    from common.workflow.claims.mistakes import mistakes

    source = load_yaml(Path(path))
    try:
        claims = Claims.model_validate(plain(source.data))
    except ValidationError as error:
        raise ClaimbookError("\n".join(mistakes(error, source, Claims))) from None
    claims._source = source
    return claims

"""A method as a recipe: advantages, token weights, loss terms and TRL's own options, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from common.grpo.rules.advantages import ADVANTAGES
from common.grpo.rules.batches import GroupBatch, LossBatch
from common.grpo.rules.loss_terms import LOSS_TERMS
from common.grpo.rules.registry import Registry, Rule, unknown
from common.grpo.rules.token_weights import TOKEN_WEIGHTS

PARTS = ("advantage", "token_weights", "loss_terms", "trl", "description")

OURS = frozenset(
    [
        "bf16",
        "fp16",
        "use_cpu",
        "seed",
        "data_seed",
        "output_dir",
        "max_steps",
        "logging_steps",
        "save_steps",
        "save_strategy",
        "eval_strategy",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "steps_per_generation",
        "num_generations",
        "max_completion_length",
        "temperature",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "max_grad_norm",
    ]
)
"""Options of TRL that belong to a run: arms that differ in them do not compare."""


@dataclass(frozen=True)
class Part:
    """One rule with its options and its factor in the recipe."""

    rule: Rule[Any]
    options: Mapping[str, Any]
    weight: float = 1.0

    @property
    def call(self) -> Callable[..., Any]:
        """The rule's function with these options."""
        return self.rule.bind(self.options)

    def __str__(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.rule.name}({options})" if options else self.rule.name


@dataclass(frozen=True)
class Recipe:
    """A published method, or any combination of methods.

    An empty recipe is TRL's GRPO, untouched. Written in `params.yaml`, for instance:

        llds: {advantage: grpo, loss_terms: {llds: {weight: 0.2, gate: action}},
               trl: {loss_type: bnpo, beta: 0.001}}
        mixed: {advantage: [{name: passk_grpo, k: 4, weight: 0.2}, {name: grpo, weight: 0.8}]}

    Attributes:
        name: what tables and figures call it.
        advantage: rules whose weighted sum replaces TRL's advantages; none: TRL's own.
        token_weights: rules whose product multiplies the advantages token by token.
        loss_terms: rules that are added to TRL's loss, each times its weight.
        trl: options of `trl.GRPOConfig` that belong to the method (loss_type, epsilon, beta, ...).
        description: a sentence for readers.
    """

    name: str
    advantage: tuple[Part, ...] = ()
    token_weights: tuple[Part, ...] = ()
    loss_terms: tuple[Part, ...] = ()
    trl: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    @classmethod
    def parse(cls, name: str, entry: Mapping[str, Any]) -> Recipe:
        """Read a recipe, checking every name and option.

        Raises:
            ValueError: a part, rule or option is unknown (the message lists the known ones), a
                weight is missing or no number, or an option of TRL belongs to the run.
        """
        try:
            return cls._parse(name, dict(entry))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"recipe {name!r}: {error.args[0] if error.args else error}") from None

    @classmethod
    def _parse(cls, name: str, entry: dict[str, Any]) -> Recipe:
        for part in entry:
            if part not in PARTS:
                raise ValueError(unknown("part", part, dict.fromkeys(PARTS)))
        terms = [{"name": term, **(o or {})} for term, o in (entry.get("loss_terms") or {}).items()]
        for term in terms:
            if "weight" not in term:
                raise ValueError(f"the loss term {term['name']!r} needs a weight")
        return cls(
            name,
            _parts(ADVANTAGES, entry.get("advantage")),
            _parts(TOKEN_WEIGHTS, entry.get("token_weights"), weighted=False),
            _parts(LOSS_TERMS, terms),
            _trl_options(entry.get("trl") or {}),
            str(entry.get("description", "")),
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """All rules."""
        return self.advantage + self.token_weights + self.loss_terms

    def needs(self, what: str) -> bool:
        """Whether a rule has to be supplied with `what` (see `Rule.needs`)."""
        return any(what in part.rule.needs for part in self.parts)

    def advantages(self, batch: GroupBatch) -> torch.Tensor:
        """Advantages (B,) of a generation batch; rows without a reward get 0.

        Raises:
            FloatingPointError: a rule gave a value that is not finite.
        """
        shape = (batch.groups, batch.group_size)
        rewards = batch.rewards.view(shape)
        total = torch.zeros_like(rewards)
        for part in self.advantage:
            extra = {need: _per_row(batch, need).view(shape) for need in part.rule.needs}
            total = total + part.weight * part.call(rewards, **extra)
        return _finite(total.flatten(), "advantage rule", self.advantage)

    def weights(self, batch: GroupBatch, advantages: torch.Tensor) -> torch.Tensor | None:
        """Token weights (B, C), the product of all rules; None where the recipe has none.

        Raises:
            FloatingPointError: a rule gave a value that is not finite.
        """
        if not self.token_weights:
            return None
        total = torch.ones_like(batch.mask, dtype=advantages.dtype)
        for part in self.token_weights:
            total = total * part.call(batch, advantages)
        return _finite(total, "token weight", self.token_weights)

    def penalty(self, batch: LossBatch) -> tuple[torch.Tensor, dict[str, float]]:
        """The weighted sum of the loss terms, and what they want logged."""
        total, logged = batch.logps.sum() * 0.0, dict[str, float]()
        for part in self.loss_terms:
            value, stats = part.call(batch)
            total = total + part.weight * value
            logged |= {f"{part.rule.name}/{key}": float(number) for key, number in stats.items()}
        return total, logged

    def equations(self) -> str:
        """What the recipe computes, as Markdown with formulas and sources."""
        lines = [f"**{self.name}**" + (f": {self.description}" if self.description else "")]
        if not self.advantage:
            lines.append("- advantages: TRL's own")
        titles = ("advantages", "token weights", "loss term")
        for title, parts in zip(
            titles, (self.advantage, self.token_weights, self.loss_terms), strict=True
        ):
            for part in parts:
                factor = f"{part.weight:g} × " if part.weight != 1 else ""
                rule = part.rule
                lines.append(f"- {title}: {factor}`{part}`: ${rule.equation}$ ({rule.source})")
        if self.trl:
            options = ", ".join(f"`{key}={value}`" for key, value in self.trl.items())
            lines.append(f"- options of TRL: {options}")
        return "\n".join(lines)


def parse_recipes(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Recipe]:
    """The recipes of a notebook's parameter, by name.

    Raises:
        ValueError: one of them is wrong; the message names it.
    """
    return {name: Recipe.parse(name, entry or {}) for name, entry in entries.items()}


def _parts(registry: Registry[Any], entry: Any, weighted: bool = True) -> tuple[Part, ...]:
    """One name, one mapping with a name, or a list of these."""
    if entry is None:
        return ()
    entries = entry if isinstance(entry, Sequence) and not isinstance(entry, str) else [entry]
    return tuple(
        _part(registry, {"name": e} if isinstance(e, str) else e, weighted) for e in entries
    )


def _part(registry: Registry[Any], entry: Mapping[str, Any], weighted: bool) -> Part:
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise ValueError(f"expected the name of a rule or a mapping with `name`, not {entry!r}")
    options = {key: value for key, value in entry.items() if key != "name"}
    weight = float(options.pop("weight", 1.0)) if weighted else 1.0
    rule = registry[entry["name"]]
    rule.bind(options)
    return Part(rule, options, weight)


def _trl_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if not options:
        return {}
    from trl import GRPOConfig

    known = {f.name: None for f in dataclasses.fields(GRPOConfig)}
    for option in options:
        if option in OURS:
            raise ValueError(f"TRL's option {option!r} belongs to the run's settings, not here")
        if option not in known:
            raise ValueError(unknown("option of TRL", option, known))
    return dict(options)


def _per_row(batch: GroupBatch, need: str) -> torch.Tensor:
    """One number per row: the length, or the mean entropy over the policy's tokens."""
    length = batch.mask.sum(1).to(batch.rewards.dtype)
    if need == "lengths":
        return length
    if need == "entropies" and batch.entropies is not None:
        return (batch.entropies() * batch.mask).sum(1) / length.clamp(min=1)
    raise ValueError(f"this batch has no {need}")


def _finite(values: torch.Tensor, kind: str, parts: tuple[Part, ...]) -> torch.Tensor:
    if not torch.isfinite(values).all():
        names = ", ".join(str(part) for part in parts)
        raise FloatingPointError(f"{kind} {names} gave {values[~torch.isfinite(values)][0]}")
    return values

"""What a single step of plain gradient ascent does to the likelihood of a group's responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call

from common.lm.scoring import score_completions

if TYPE_CHECKING:
    from common.grpo.sampling.rollouts import Rollouts

Parameters = dict[str, Tensor]


def one_step_delta(
    model: Any,
    rollouts: Rollouts,
    advantages: Tensor,
    *,
    learning_rate: float,
    params: str = "all",
    temperature: float = 1.0,
) -> Tensor:
    r"""Change of every response's log-likelihood after one plain step on its own group.

    The step ascends the on-policy objective $\frac{1}{T}\sum_{j,k} A_{j,k}\ln\pi(y_{j,k})$ over the
    group's T tokens, as GRPO does at ratio 1 with the loss type bnpo: no clipping, no momentum, no
    preconditioning. The mean over the correct rows is Δ(x) of arXiv 2505.18830, section 3. The
    model itself is left as it is.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        rollouts: the responses of one prompt, B rows.
        advantages: (B, C), A: advantages times token weights; ignored outside the policy's tokens.
        learning_rate: size of the step.
        params: "all", or "head" for the unembedding alone (of tied weights: its use as such).
        temperature: divides the logits, as in sampling.

    Returns:
        (B,), in nats.

    Raises:
        ValueError: `params` is unknown, or `advantages` has another shape than the completions.
    """
    mask = rollouts.env_mask.bool()
    if advantages.shape != mask.shape:
        raise ValueError(
            f"advantages: shape {tuple(advantages.shape)}, completions {tuple(mask.shape)}"
        )
    scorers = {"all": _whole_model, "head": _head_alone}
    if params not in scorers:
        raise ValueError(f"params: unknown {params!r}; known: {', '.join(scorers)}")
    parameters, logps = scorers[params](model, rollouts, temperature)
    before = logps(parameters)
    objective = (advantages * before).masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)
    slopes = torch.autograd.grad(objective, list(parameters.values()), allow_unused=True)
    with torch.no_grad():
        moved = {
            name: value if slope is None else value + learning_rate * slope
            for (name, value), slope in zip(parameters.items(), slopes, strict=True)
        }
        return (logps(moved) - before).masked_fill(~mask, 0).sum(1)


Scorer = tuple[Parameters, Callable[[Parameters], Tensor]]


def _whole_model(model: Any, rollouts: Rollouts, temperature: float) -> Scorer:
    def logps(parameters: Parameters) -> Tensor:
        def moved(**inputs: Any) -> Any:
            return functional_call(model, parameters, (), inputs)

        return score_completions(moved, *rollouts.sequences, temperature=temperature)[0]

    return _leaves(model), logps


def _head_alone(model: Any, rollouts: Rollouts, temperature: float) -> Scorer:
    ids = torch.cat([rollouts.prompt_ids, rollouts.completion_ids], 1)
    mask = torch.cat([rollouts.prompt_mask, rollouts.completion_mask], 1)
    kept = rollouts.completion_ids.shape[1]
    head = model.get_output_embeddings()
    with torch.no_grad():
        states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    hidden = states.last_hidden_state[:, -kept - 1 : -1]

    def logps(parameters: Parameters) -> Tensor:
        logits = functional_call(head, parameters, (hidden,)).float() / temperature
        chosen = logits.log_softmax(-1).gather(-1, rollouts.completion_ids.unsqueeze(-1))
        return chosen.squeeze(-1)

    return _leaves(head), logps


def _leaves(module: torch.nn.Module) -> Parameters:
    """The parameters as leaves of their own, sharing storage with the module's."""
    return {name: p.detach().requires_grad_() for name, p in module.named_parameters()}

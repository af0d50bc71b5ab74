r"""How the update on one token moves the log-likelihood of the group's correct responses.

To first order in a step on the unembedding matrix $W$ alone, with the hidden states held fixed,
raising $\ln\pi$ of token $(j, k')$ raises $\ln\pi$ of response $i$ by

$$\kappa(i; j, k') = \sum_k \langle g_{i,k}, g_{j,k'}\rangle \langle h_{i,k}, h_{j,k'}\rangle,$$

where $h$ is the hidden state that predicts a token and $g = e_y - \pi$ its one-hot vector minus the
next-token distribution (arXiv 2505.18830, Theorem 4.4; arXiv 2510.03669, Theorem 3.1). All scores
here are weighted sums of $\kappa$ over a group's responses. Pairs of tokens are never formed: with
anchor weights w and $M = G^\top \mathrm{diag}(w) H$ the score of token t is $g_t^\top M h_t$, at a
cost of O(T V' d) for T tokens, V' columns of the vocabulary and d dimensions.

At a temperature T other than 1 all scores lack the common factor 1/T².
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.lm.scoring import TokenStates

TAU_RULES = ("min_pos", "mean_pos", "quantile")

CHUNK = 2**24
"""Largest number of entries of G that are held at once."""


def kernel_scores(
    states: TokenStates, anchor_weights: Tensor, mask: Tensor, group_size: int
) -> Tensor:
    r"""The kernel of every token with all anchors of its group, weighted and summed.

    $\sum_{i,k} w_{i,k} \langle g_{i,k}, g_t\rangle \langle h_{i,k}, h_t\rangle$ for token t, over
    the tokens of its group; with `group_size=1`, of its own response.

    Args:
        states: what predicted each token; the G rows of a prompt stand together.
        anchor_weights: (B, C), the weights w; ignored outside `mask`.
        mask: (B, C), true for tokens that the policy wrote.
        group_size: G.

    Returns:
        (B, C), zero outside `mask`, in float32 or better.

    Raises:
        ValueError: the shapes do not fit together.
    """
    rows, width = mask.shape
    check_groups(rows, group_size)
    if states.hidden.shape[:2] != mask.shape or anchor_weights.shape != mask.shape:
        raise ValueError(
            f"mask {tuple(mask.shape)}, anchor_weights {tuple(anchor_weights.shape)} and states "
            f"{tuple(states.hidden.shape[:2])} differ in their (B, C)"
        )
    tokens = group_size * width
    if not rows * tokens:
        return states.hidden.new_zeros(rows, width)

    def grouped(tensor: Tensor) -> Tensor:
        """(B, C, n) -> (P, G·C, n) without a copy."""
        return tensor.reshape(-1, tokens, tensor.shape[-1])

    real, weights = grouped(mask.bool().unsqueeze(-1)), grouped(anchor_weights.unsqueeze(-1))
    hidden, probs = grouped(states.hidden), grouped(states.probs)
    columns = grouped(states.columns.unsqueeze(-1))
    at_once = max(CHUNK // (tokens * probs.shape[-1]), 1)
    pieces = zip(*(x.split(at_once) for x in (real, weights, hidden, probs, columns)), strict=True)
    return torch.cat([_scores(*piece) for piece in pieces]).view(rows, width)


def _scores(
    real: Tensor, weights: Tensor, hidden: Tensor, probs: Tensor, columns: Tensor
) -> Tensor:
    """The scores of some groups, (P, T), from tensors of shape (P, T, n)."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    hidden = hidden.to(dtype).masked_fill(~real, 0)
    errors = -probs.to(dtype)
    errors.scatter_add_(-1, columns, torch.ones_like(columns, dtype=dtype))
    errors.masked_fill_(~real, 0)
    anchors = hidden * weights.to(dtype).masked_fill(~real, 0)
    moved = torch.bmm(errors, torch.bmm(errors.mT, anchors))
    return (moved * hidden).sum(-1)


def thr(
    states: TokenStates,
    rewards: Tensor,
    mask: Tensor,
    group_size: int,
    *,
    own_response: bool = True,
) -> Tensor:
    r"""Token hidden reward: does GRPO's update on a token raise the correct responses' likelihood?

    $\mathrm{THR}_{j,k'} = (2 r_j - 1) \sum_{i \in \mathrm{pos}} \frac{1}{|y_i^+|} \kappa(i; j, k')$
    (arXiv 2510.03669, its definition second-hand). The sign of the advantage is inside, its size is
    not.

    Args:
        states: what predicted each token; the G rows of a prompt stand together.
        rewards: (B,), correct above 0.5; NaN belongs to neither side.
        mask: (B, C), true for tokens that the policy wrote.
        group_size: G.
        own_response: whether a correct response counts among those that its tokens move; its
            self-term is never negative and dominates.

    Returns:
        (B, C), zero outside `mask`, in groups without a correct response, and in rows without a
        reward.
    """
    correct, wrong = correct_and_wrong(rewards)
    anchors = (correct.unsqueeze(1) * mask).to(_precision(states)) / lengths(mask)
    scores = kernel_scores(states, anchors, mask, group_size)
    if not own_response:
        scores = scores - kernel_scores(states, anchors, mask, 1)
    return scores * (correct.to(scores.dtype) - wrong.to(scores.dtype)).unsqueeze(1)


def nthr(states: TokenStates, rewards: Tensor, mask: Tensor, group_size: int) -> Tensor:
    r"""Negative token hidden reward, $s^-_{j,k'} = \sum_{i \in \mathrm{pos}} \kappa(i; j, k')$.

    Large where pushing down a token of a wrong response pushes down the correct ones (arXiv
    2505.18830, section 5). With equally long correct responses it is $-|y^+|$ times `thr`.

    Args:
        states: what predicted each token; the G rows of a prompt stand together.
        rewards: (B,), correct above 0.5; NaN belongs to neither side.
        mask: (B, C), true for tokens that the policy wrote.
        group_size: G.

    Returns:
        (B, C), zero outside the wrong responses.
    """
    correct, wrong = correct_and_wrong(rewards)
    scores = kernel_scores(states, correct.unsqueeze(1) * mask, mask, group_size)
    return scores * wrong.unsqueeze(1)


def gwhes(states: TokenStates, rewards: Tensor, mask: Tensor, group_size: int) -> Tensor:
    r"""Group-weighted hidden embedding score of every correct response (arXiv 2505.18830, sec. 4).

    $p^- \sum_{j \in \mathrm{neg}} \sum_{k'} \kappa(i; j, k')
    - p^+ \sum_{i' \in \mathrm{pos}} \sum_{k''} \kappa(i; i', k'')$ with
    $p^+ = (1-q)/\sqrt{q(1-q)}$, $p^- = q/\sqrt{q(1-q)}$ and the share q of correct responses: minus
    the rate at which GRPO's step on the unembedding matrix raises $\ln\pi(y_i^+)$. High scores warn
    that the likelihood of a correct response will fall.

    Args:
        states: what predicted each token; the G rows of a prompt stand together.
        rewards: (B,), correct above 0.5; NaN belongs to neither side.
        mask: (B, C), true for tokens that the policy wrote.
        group_size: G.

    Returns:
        (B,), zero for rows that are not correct and in groups without both sides.
    """
    correct, wrong = correct_and_wrong(rewards)
    mixed = is_mixed(rewards, group_size).repeat_interleave(group_size)
    pos, neg = (
        side.view(-1, group_size).sum(1).repeat_interleave(group_size).clamp(min=1)
        for side in (correct, wrong)
    )
    odds = (neg.to(_precision(states)) / pos).sqrt()  # p⁺; p⁻ is its inverse
    size = torch.where(correct, odds, -1 / odds) * (mixed & (correct | wrong))
    advantages = size.unsqueeze(1).expand(mask.shape)
    return -likelihood_change(states, advantages, mask, group_size) * correct


def likelihood_change(
    states: TokenStates, advantages: Tensor, mask: Tensor, group_size: int
) -> Tensor:
    r"""Rate at which a step on the unembedding matrix raises each response's log-likelihood.

    The derivative of $\ln\pi(y_i)$ with respect to the size of a step of gradient ascent on
    $\sum_{j,k} A_{j,k} \ln\pi(y_{j,k})$, at temperature 1 and hidden states held fixed.

    Args:
        states: what predicted each token; the G rows of a prompt stand together.
        advantages: (B, C), A.
        mask: (B, C), true for tokens that the policy wrote.
        group_size: G.

    Returns:
        (B,).
    """
    return kernel_scores(states, advantages, mask, group_size).sum(1)


def thr_threshold(
    scores: Tensor,
    rewards: Tensor,
    mask: Tensor,
    group_size: int,
    *,
    rule: str = "min_pos",
    beta: float = 1.0,
) -> Tensor:
    r"""The threshold τ of each group above which a token counts as dominant.

    `min_pos` and `mean_pos`: β times the smallest (the mean) over correct responses of the mean
    score of their tokens, $\bar s^+_{i'}$ (arXiv 2505.18830, section 5; with scores of `thr` the
    length normalisation is inside). `quantile`: β is the share of the group's tokens whose
    |score| does not exceed τ. A negative τ keeps every token.

    Args:
        scores: (B, C), of `thr`, or kernel scores of the correct responses' tokens.
        rewards: (B,), correct above 0.5; NaN belongs to neither side.
        mask: (B, C), true for tokens that the policy wrote.
        group_size: G.
        rule: one of `TAU_RULES`.
        beta: β.

    Returns:
        (P,), zero in groups without a correct response (`quantile`: without a token).

    Raises:
        ValueError: `rule` is unknown, or `beta` is no share in [0, 1) under `quantile`.
    """
    if rule not in TAU_RULES:
        raise ValueError(f"rule: unknown {rule!r}; known: {', '.join(TAU_RULES)}")
    check_groups(len(rewards), group_size)
    tokens = mask.bool()
    if rule == "quantile":
        if not 0 <= beta < 1:
            raise ValueError(f"beta: under the rule quantile it is a share in [0, 1), not {beta}")
        sizes = scores.abs().masked_fill(~tokens, torch.nan).view(-1, group_size * mask.shape[1])
        return sizes.nanquantile(beta, dim=1, interpolation="lower").nan_to_num(0.0)
    means = (scores * tokens).sum(1) / lengths(tokens).squeeze(1)
    counted = (correct_and_wrong(rewards)[0] & tokens.any(1)).view(-1, group_size)
    means = means.view(-1, group_size)
    if rule == "mean_pos":
        found = (means * counted).sum(1) / counted.sum(1).clamp(min=1)
    else:
        found = means.masked_fill(~counted, torch.inf).amin(1)
    return beta * found.masked_fill(~counted.any(1), 0)


def correct_and_wrong(rewards: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows are correct (reward above 0.5) and which wrong; NaN is neither. Two (B,)."""
    return rewards > 0.5, rewards <= 0.5


def is_mixed(rewards: Tensor, group_size: int) -> Tensor:
    """Which groups have correct and wrong responses, (P,)."""
    check_groups(len(rewards), group_size)
    correct, wrong = (side.view(-1, group_size).any(1) for side in correct_and_wrong(rewards))
    return correct & wrong


def share_of_correct(rewards: Tensor, group_size: int) -> Tensor:
    """Correct responses among those with a reward, (P,); zero where none has one."""
    check_groups(len(rewards), group_size)
    correct, wrong = (side.view(-1, group_size).sum(1) for side in correct_and_wrong(rewards))
    return correct / (correct + wrong).clamp(min=1)


def lengths(mask: Tensor) -> Tensor:
    """Tokens per row, (B, 1), at least 1 so that empty rows divide."""
    return mask.sum(1, keepdim=True).clamp(min=1)


def check_groups(rows: int, group_size: int) -> None:
    """Raises ValueError unless the rows are whole groups."""
    if group_size < 1 or rows % group_size:
        raise ValueError(f"group_size: {rows} rows are no whole groups of {group_size}")


def _precision(states: TokenStates) -> torch.dtype:
    """Float32, or float64 if the states are."""
    return torch.promote_types(states.hidden.dtype, torch.float32)

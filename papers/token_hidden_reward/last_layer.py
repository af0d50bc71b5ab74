"""A world whose only trained part is the unembedding matrix: where the theorems are exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from common.grpo.rules import kernel_scores as ks
from common.lm.scoring import TokenStates


@dataclass(frozen=True)
class LastLayer:
    """One group of responses with random hidden states, all in float64.

    Attributes:
        weight: (V, d), the unembedding matrix.
        hidden: (G, C, d), fixed.
        ids: (G, C), the tokens.
        mask: (G, C), true for real tokens.
        rewards: (G,), 0 or 1; both occur.
    """

    weight: Tensor
    hidden: Tensor
    ids: Tensor
    mask: Tensor
    rewards: Tensor

    @classmethod
    def draw(cls, seed: int, words: int, width: int, group: int, longest: int) -> LastLayer:
        """A random world; responses have 1 to `longest` tokens, sampled from the softmax."""
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(words, width, generator=generator, dtype=torch.float64)
        hidden = torch.randn(group, longest, width, generator=generator, dtype=torch.float64)
        lengths = torch.randint(1, longest + 1, (group,), generator=generator)
        correct = int(torch.randint(1, group, (1,), generator=generator))
        probs = (hidden @ weight.T).softmax(-1)
        ids = torch.multinomial(probs.flatten(0, 1), 1, generator=generator).view(group, longest)
        mask = torch.arange(longest) < lengths.unsqueeze(1)
        rewards = (torch.arange(group) < correct).to(torch.float64)
        return cls(weight, hidden, ids, mask, rewards)

    @property
    def advantages(self) -> Tensor:
        """(G, C), GRPO's, with the population's standard deviation as in the theory."""
        centred = self.rewards - self.rewards.mean()
        return (centred / self.rewards.std(correction=0)).unsqueeze(1).expand(self.mask.shape)

    def logps(self, weight: Tensor) -> Tensor:
        """(G,), the log-likelihood of every response."""
        log_probs = (self.hidden @ weight.T).log_softmax(-1)
        chosen = log_probs.gather(-1, self.ids.unsqueeze(-1)).squeeze(-1)
        return chosen.masked_fill(~self.mask, 0).sum(1)

    def states(self, sliced: bool = False) -> TokenStates:
        """Of the whole vocabulary, or of the tokens that occur in the responses."""
        words = torch.arange(len(self.weight))
        vocabulary = self.ids[self.mask].unique() if sliced else words
        probs = (self.hidden @ self.weight.T).softmax(-1)[..., vocabulary]
        columns = torch.searchsorted(vocabulary, self.ids).clamp(max=len(vocabulary) - 1)
        return TokenStates(self.hidden, probs, columns, vocabulary)

    def step(self, advantages: Tensor) -> Tensor:
        """(V, d), the gradient of the objective, Σ A ln π."""
        weight = self.weight.clone().requires_grad_()
        log_probs = (self.hidden @ weight.T).log_softmax(-1)
        chosen = log_probs.gather(-1, self.ids.unsqueeze(-1)).squeeze(-1)
        (advantages * chosen).masked_fill(~self.mask, 0).sum().backward()
        assert weight.grad is not None
        return weight.grad

    def rates(self, advantages: Tensor, step: float = 1e-4) -> Tensor:
        """(G,), d ln π(y_i) / dη by central differences along the gradient."""
        slope = self.step(advantages)
        up, down = (self.logps(self.weight + sign * step * slope) for sign in (1, -1))
        return (up - down) / (2 * step)


def token_by_token(states: TokenStates, weights: Tensor, mask: Tensor) -> Tensor:
    """Kernel scores of one group by their definition: one pair of tokens at a time."""
    scores = torch.zeros(mask.shape, dtype=states.hidden.dtype)
    words = states.probs.shape[-1]
    errors = torch.nn.functional.one_hot(states.columns, words) - states.probs
    tokens = [tuple(place) for place in mask.nonzero().tolist()]
    for here in tokens:
        for anchor in tokens:
            alpha = errors[anchor] @ errors[here]
            scores[here] += weights[anchor] * alpha * (states.hidden[anchor] @ states.hidden[here])
    return scores


def identities(seeds: list[int], words: int, width: int, group: int, longest: int) -> pd.DataFrame:
    """What is measured and what is predicted: columns identity, seed, item, measured, expected.

    `likelihood`: per response, the rate under random token advantages, and the sum of kernels.
    `gwhes`: per correct response, minus the rate under GRPO's advantages, and GWHES.
    `nthr`: per token of a wrong response, s⁻ and -|y⁺| THR, all responses equally long.
    `steering`: how the mean per token of the correct responses' rates grows with p, and Σ |A||THR|.
    `matrix`: per token, THR's kernel in matrix form and token by token.
    """
    rows = []
    for seed in seeds:
        world = LastLayer.draw(seed, words, width, group, longest)
        for identity, pair in _pairs(world, seed):
            for item, (measured, expected) in enumerate(zip(*pair, strict=True)):
                rows.append((identity, seed, item, float(measured), float(expected)))
    return pd.DataFrame(rows, columns=["identity", "seed", "item", "measured", "expected"])


def _pairs(world: LastLayer, seed: int) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    size, mask, rewards = len(world.rewards), world.mask, world.rewards
    states, correct = world.states(), world.rewards > 0.5
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(mask.shape, generator=generator, dtype=torch.float64)
    predicted = ks.likelihood_change(states, random, mask, size)
    yield "likelihood", (world.rates(random), predicted)

    warning = ks.gwhes(states, rewards, mask, size)
    yield "gwhes", (-world.rates(world.advantages)[correct], warning[correct])

    whole = torch.ones_like(mask)
    negative = ks.nthr(states, rewards, whole, size)[~correct].flatten()
    hidden_reward = ks.thr(states, rewards, whole, size)
    yield "nthr", (negative, -mask.shape[1] * hidden_reward[~correct].flatten())

    scores = ks.thr(states, rewards, mask, size)
    steered = [(1 + p * scores.sign()) * world.advantages for p in (0.5, -0.5)]
    per_token = correct / mask.sum(1)
    slopes = [(world.rates(advantages) * per_token).sum() for advantages in steered]
    sizes = (world.advantages.abs() * scores.abs()).sum()
    yield "steering", ((slopes[0] - slopes[1])[None], sizes[None])

    anchors = (correct.unsqueeze(1) * mask).double() / mask.sum(1, keepdim=True)
    found = ks.kernel_scores(states, anchors, mask, size)
    yield "matrix", (found[mask], token_by_token(states, anchors, mask)[mask])


def truncation(
    seeds: list[int], vocabularies: list[int], width: int, group: int, longest: int
) -> pd.DataFrame:
    """What slicing the vocabulary to the responses' tokens changes in THR.

    One row per seed and vocabulary: `left_out` is the mean probability of the columns that are
    sliced away, `error` the change of THR relative to its size (both summed over tokens), `sign`
    the share of tokens that keep their sign.
    """
    rows = []
    for words in vocabularies:
        for seed in seeds:
            world = LastLayer.draw(seed, words, width, group, longest)
            mask, rewards, sliced = world.mask, world.rewards, world.states(sliced=True)
            whole = ks.thr(world.states(), rewards, mask, group)
            found = ks.thr(sliced, rewards, mask, group)
            kept = (found.sign() == whole.sign())[mask].double().mean()
            error = (found - whole).abs().sum() / whole.abs().sum()
            left_out = 1 - sliced.probs[mask].sum(-1).mean()
            rows.append((words, seed, float(left_out), float(error), float(kept)))
    return pd.DataFrame(rows, columns=["words", "seed", "left_out", "error", "sign"])


def step_sizes(
    seeds: list[int], sizes: list[float], words: int, width: int, group: int, longest: int
) -> pd.DataFrame:
    """Mean change of the correct responses' log-likelihood after a step of GRPO of a given size.

    Columns seed, step_size (of the step on the whole matrix, as the norm of its change over that
    of the matrix), measured, predicted (to first order).
    """
    rows = []
    for seed in seeds:
        world = LastLayer.draw(seed, words, width, group, longest)
        correct, slope = world.rewards > 0.5, world.step(world.advantages)
        rate = ks.likelihood_change(world.states(), world.advantages, world.mask, group)
        unit = float(world.weight.norm() / slope.norm())
        before = world.logps(world.weight)
        for size in sizes:
            after = world.logps(world.weight + size * unit * slope)
            change = (after - before)[correct].mean()
            rows.append((seed, size, float(change), float(size * unit * rate[correct].mean())))
    return pd.DataFrame(rows, columns=["seed", "step_size", "measured", "predicted"])

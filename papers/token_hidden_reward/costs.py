"""What token hidden reward costs, in floating-point operations of a training step."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch

from common.grpo.rules import kernel_scores as ks
from common.grpo.sampling.rollouts import sample_groups
from common.lm.scoring import score_completions
from papers.token_hidden_reward.policies import Groups, Supervised, small_policy

GROUPS = 8


def step_costs(supervised: Supervised, seed: int, group_size: int, room: int) -> pd.DataFrame:
    """Columns seed, part, operations, share_of_step (relative to sampling, old and update).

    Parts: `sampling` (with cached keys and values every token is read once, so as many operations
    as in `old`), `old` (log-probabilities under the policy that sampled), `update` (forward and
    backward, every response once), `scores` (THR from states that are there), `scores and pass`
    (THR with a forward pass of its own).
    """
    policy = small_policy(supervised, seed)
    problems = policy.task.generate(40_000 + seed, GROUPS)
    rollouts = sample_groups(
        policy.model,
        [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems],
        group_size=group_size,
        max_new_tokens=room,
        eos_token_id=(),
        pad_token_id=policy.tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(seed),
    )
    rewards = (torch.arange(GROUPS * group_size) % 2).float()
    groups = Groups(policy, group_size, rollouts, rewards, GROUPS)
    old = _operations(lambda: groups.logps_and_entropies)
    counted = {"sampling": old, "old": old, "update": _operations(lambda: _update(groups))}
    forward = _operations(lambda: groups.states)
    scores = _operations(lambda: ks.thr(groups.states, rewards, groups.mask, group_size))
    step = sum(counted.values())
    counted |= {"scores": scores, "scores and pass": scores + forward}
    rows = [(seed, part, count, count / step) for part, count in counted.items()]
    return pd.DataFrame(rows, columns=["seed", "part", "operations", "share_of_step"])


def _update(groups: Groups) -> None:
    score_completions(groups.policy.model, *groups.rollouts.sequences)[0].sum().backward()
    groups.policy.model.zero_grad()


def _operations(work: Callable[[], object]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()

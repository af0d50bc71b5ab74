"""Training runs of one arm and seed, what is watched on the way, and one row per run after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from common.grpo.analysis.collapse import detect_collapse, lead_time
from common.grpo.analysis.likelihood import likelihood_stats, mixed_rows
from common.grpo.training.recipe import Recipe
from common.grpo.training.run import StepRecord, train
from common.grpo.training.settings import Settings
from common.tasks.lookup_qa import LookupQA
from papers.llds_grpo_collapse.base import Base, Weights, answer_span

SURGE = 3.0
"""A gradient surge is a norm of at least this many times the run's median before the collapse."""

TRAILING = 10
"""Steps of the trailing means by which runs are summed up."""


@dataclass(frozen=True)
class Run:
    """One training run: where it starts, its recipe, its settings and its questions.

    `two_hop` is the share of training questions that take two searches.
    """

    base: Base
    arm: str
    recipe: Mapping[str, Any]
    settings: Settings
    steps: int
    seed: int
    two_hop: float = 0.0


def measure_run(run: Run, weights: Weights) -> pd.DataFrame:
    """Train, and return one row per generation batch with what `watcher` saw."""
    tokenizer, model = run.base.tokenizer(), run.base.policy(weights)
    task = LookupQA(two_hop=run.two_hop)
    frame = train(
        model,
        tokenizer,
        task,
        Recipe.parse(run.arm, run.recipe),
        run.settings,
        steps=run.steps,
        seed=run.seed,
        environment=lambda problems: task.environment(problems, tokenizer),
        watch=watcher(task, tokenizer, run.settings.group_size),
        answer_span=answer_span(tokenizer),
    )
    return frame.assign(arm=run.arm, seed=run.seed)


def watcher(
    task: LookupQA, tokenizer: Any, group_size: int
) -> Callable[[StepRecord], dict[str, float]]:
    """What is looked at after every generation batch's updates.

    `lld_correct`: share of correct responses in mixed groups whose likelihood fell; `lld_actions`:
    of the actions of preserved responses; `searches`: valid ones per response; `match`: share of
    wrong responses whose first search brought up the right document; `logp_search` and
    `logp_answer`: mean log-likelihood per token of the first and the last action of correct
    responses, under the policy that sampled.
    """

    def watch(looked: StepRecord) -> dict[str, float]:
        old, mask, rewards = looked.old_logps, looked.mask, looked.rewards
        stats = likelihood_stats(old, looked.new_logps(), mask, rewards)
        kept = looked.batch.tensors["completion_mask"].bool()
        texts = [
            tokenizer.decode(ids[real], skip_special_tokens=True)
            for ids, real in zip(looked.completion_ids, kept, strict=True)
        ]
        read = [task.transcript(looked.problems[i // group_size], t) for i, t in enumerate(texts)]
        first, last = _action_logps(old, mask, stats.correct)
        wrong = [one for one, right in zip(read, stats.correct.tolist(), strict=True) if not right]
        return {
            "lld_correct": stats.row_share(stats.correct & mixed_rows(rewards, group_size)),
            "lld_actions": stats.action_share(looked.advantages >= 0),
            "searches": float(np.mean([one.valid_searches for one in read])),
            "match": float(np.mean([one.first_query_right for one in wrong])) if wrong else np.nan,
            "logp_search": first,
            "logp_answer": last,
        }

    return watch


def _action_logps(logps: Any, mask: Any, rows: Any) -> tuple[float, float]:
    """Mean log-likelihood per token of the first and of the last action of these rows."""
    from common.grpo.rules.segments import action_segments

    segments = action_segments(mask)[rows]
    chosen = logps[rows]
    ends = segments.amax(1, keepdim=True) if len(segments) else segments
    two = (segments == 1) & (ends > 1), (segments == ends) & (ends > 1)
    return tuple(float(chosen[p].mean()) if p.any() else np.nan for p in two)  # type: ignore[return-value]


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and seed.

    `collapsed` (0 or 1) and `time` (the step, or the run's length) by `detect_collapse`; `final`
    and `best`: mean reward of the last `TRAILING` steps and the best such mean; `surge`: 1 if the
    run collapsed and a gradient surge stood at most 30 steps before; `lead`: its lead in steps;
    `lazy`: 1 if, before the best reward, there are `TRAILING` steps over which the reward rose
    while the log-likelihood of correct responses fell; `searches`: in the last `TRAILING` steps.
    """
    rows = [
        {"arm": arm, "seed": seed} | _summed_up(run.sort_values("step"))
        for (arm, seed), run in curves.groupby(["arm", "seed"], sort=False)
    ]
    return pd.DataFrame(rows)


def _summed_up(run: pd.DataFrame) -> dict[str, float]:
    found = detect_collapse(run.reward)
    end = len(run) if found is None else found
    norms = run.grad_norm.to_numpy()
    lead = None
    if found is not None:
        lead = lead_time(norms >= SURGE * np.median(norms[: found + 1]), found)
    means = run.reward.rolling(min(TRAILING, len(run))).mean()
    return {
        "collapsed": int(found is not None),
        "time": end,
        "final": means.iloc[-1],
        "best": means.max(),
        "surge": int(lead is not None),
        "lead": np.nan if lead is None else lead,
        "lazy": int(_lazy(run, int(np.nanargmax(means)))),
        "searches": run.searches.tail(TRAILING).mean(),
    }


def _lazy(run: pd.DataFrame, peak: int) -> bool:
    """Whether the reward rose and correct responses lost likelihood over some stretch."""
    # Batches without a correct response have no likelihood of any.
    smooth = run[["reward", "logp_correct"]].rolling(TRAILING, min_periods=1).mean()
    change = smooth.diff(TRAILING).iloc[: peak + 1]
    return bool(((change.reward > 0) & (change.logp_correct < 0)).any())


def peak_and_end(curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Entropy, length and searches of every run at its best reward and at its end.

    The end is the collapse, or the last step of a run without one; each is a mean over the five
    steps up to there.
    """
    rows = []
    for (arm, seed), run in curves.groupby(["arm", "seed"], sort=False):
        run = run.sort_values("step").set_index("step")
        means = run[["entropy", "length", "searches"]].rolling(5, min_periods=1).mean()
        reward = run.reward.rolling(TRAILING, min_periods=1).mean()
        (end,) = runs[(runs.arm == arm) & (runs.seed == seed)].time
        last = min(int(end), len(run) - 1)
        for moment, step in (
            ("peak", int(reward[: max(last, 1)].to_numpy().argmax())),
            ("end", last),
        ):
            rows.append({"arm": arm, "seed": seed, "moment": moment, **means.loc[step]})
    return pd.DataFrame(rows)


def late_likelihoods(curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean log-likelihood of correct and of wrong responses in the second half up to the end."""
    rows = []
    for (arm, seed), run in curves.groupby(["arm", "seed"], sort=False):
        (end,) = runs[(runs.arm == arm) & (runs.seed == seed)].time
        late = run[(run.step >= end // 2) & (run.step <= end)]
        for response in ("correct", "wrong"):
            value = late[f"logp_{response}"].mean()
            rows.append({"arm": arm, "seed": seed, "response": response, "logp": value})
    return pd.DataFrame(rows)


def parts(curves: pd.DataFrame, runs: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """Means over `count` equal parts of every run up to its end, numbered from 1."""
    rows = []
    names = ["lld_correct", "lld_actions", "match", "logp_search", "logp_answer"]
    for (arm, seed), run in curves.groupby(["arm", "seed"], sort=False):
        (end,) = runs[(runs.arm == arm) & (runs.seed == seed)].time
        alive = run[run.step < max(end, 1)].sort_values("step")
        for part, chosen in enumerate(np.array_split(np.arange(len(alive)), count), start=1):
            rows.append(
                {"arm": arm, "seed": seed, "part": part, **alive.iloc[chosen][names].mean()}
            )
    frame = pd.DataFrame(rows)
    return frame.assign(search_minus_answer=frame.logp_search - frame.logp_answer)

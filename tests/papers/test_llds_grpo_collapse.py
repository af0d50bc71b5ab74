"""What the modules of this paper compute, apart from the notebooks."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.grpo.rules.batches import LossBatch
from common.grpo.rules.loss_terms import llds
from common.grpo.training.recipe import Recipe
from common.tasks.lookup_qa import LookupQA
from common.workflow.base.project import ROOT
from papers.llds_grpo_collapse import mechanism, printed, runs
from papers.llds_grpo_collapse.base import Base, answer_span, taught
from papers.llds_grpo_collapse.marginal import choose, collapse_shares
from papers.llds_grpo_collapse.one_iteration import (
    GRPO,
    Batch,
    after_update,
    loss,
    order,
    sample,
    score,
    update,
)
from papers.llds_grpo_collapse.rounds import paragraphs, questions, rounds_of

TINY = Base(two_hop=0.0, demonstrations=8, steps=1, width=16, layers=1)
LLDS = Recipe.parse(
    "LLDS", {"advantage": "grpo", "loss_terms": {"llds": {"weight": 5.0, "gate": "token"}}}
)


# --------------------------------------------------------------------------- the paper's numbers


def test_the_headline_does_not_follow_and_the_other_gains_do() -> None:
    gains = printed.gains().set_index(["model", "before", "after"])
    inside = (gains.low <= gains.printed) & (gains.printed <= gains.high)
    assert inside.sum() == 5
    headline = gains[~inside].iloc[0]
    assert (headline.printed, round(headline.recomputed, 1)) == (45.2, 41.0)
    assert round(headline.low, 1) == 40.6
    assert round(headline.high, 1) == 41.4


def test_printed_averages_are_those_of_their_columns() -> None:
    averages = printed.averages().set_index(["model", "method"])
    assert len(averages) == 11
    assert averages.error.max() < 0.001
    assert averages["mean"]["3B-Base", "GRPO"] == pytest.approx(0.3117, abs=5e-5)
    assert averages["mean"]["3B-Base", "GRPO + LLDS-MA"] == pytest.approx(0.4396, abs=5e-5)


# ------------------------------------------------------------------------------ marginal setting


def shares(*values: float) -> pd.DataFrame:
    rates = [0.001 * (1 + i) for i in range(len(values))]
    return pd.DataFrame({"learning_rate": rates, "minibatches": 4, "share": values})


def test_a_setting_with_a_share_in_the_range_is_marginal() -> None:
    assert choose(shares(0.0, 0.75, 1.0)) == {
        "learning_rate": 0.002,
        "minibatches": 4,
        "share": 0.75,
        "found": "marginal",
    }
    assert choose(shares(0.5, 0.9, 1.0))["learning_rate"] == 0.001, "equally near: the smaller"
    assert choose(shares(0.5, 0.75))["learning_rate"] == 0.002, "nearest to 70 %"


def test_without_a_marginal_setting_the_nearest_one_is_taken_and_said_to_be_so() -> None:
    assert choose(shares(0.0, 1.0)) | {"minibatches": 0} == {
        "learning_rate": 0.002,
        "minibatches": 0,
        "share": 1.0,
        "found": "nearest",
    }
    assert choose(shares(0.0, 0.0))["learning_rate"] == 0.001
    assert choose(shares(0.25, 1.0))["share"] == 1.0


def test_shares_count_runs_per_setting() -> None:
    found = collapse_shares(
        pd.DataFrame({"learning_rate": [1.0, 1.0, 2.0], "minibatches": 4, "collapsed": [1, 0, 1]})
    )
    assert found.share.tolist() == [0.5, 1.0]
    assert found.runs.tolist() == [2, 1]


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_arms_run_at_the_setting_that_the_search_chose(profile: str) -> None:
    import yaml

    folder = ROOT / "papers/llds_grpo_collapse"
    file = folder / f"results/{profile}/02_marginal_setting/marginal.csv"
    if not file.exists():
        pytest.skip("not run in this profile")
    chosen = pd.read_csv(file).iloc[0]
    arms = yaml.safe_load((folder / "params.yaml").read_text())[profile]["03_collapse"]
    assert arms["learning_rate"] == pytest.approx(chosen.learning_rate)
    assert arms["minibatches"] == chosen.minibatches


def test_pilots_take_no_part_in_verdicts() -> None:
    import yaml

    params = yaml.safe_load((ROOT / "papers/llds_grpo_collapse/params.yaml").read_text())
    for profile in ("smoke", "cpu", "gpu"):
        pilots = set(params[profile]["02_marginal_setting"]["pilot_seeds"])
        for notebook in ("03_collapse", "04_mechanism"):
            assert not pilots & set(params[profile][notebook]["seeds"])


# ---------------------------------------------------------------------------------- summing up


def curve(rewards: list[float], **columns: Any) -> pd.DataFrame:
    steps = len(rewards)
    known = {
        "arm": "GRPO",
        "seed": 0,
        "step": range(steps),
        "reward": rewards,
        "grad_norm": [1.0] * steps,
        "logp_correct": np.linspace(-1, -2, steps),
        "logp_wrong": -3.0,
        "entropy": np.linspace(1, 2, steps),
        "length": 20.0,
        "searches": 1.0,
        "lld_correct": np.linspace(0, 1, steps),
        "lld_actions": 0.5,
        "match": 0.5,
        "logp_search": -1.0,
        "logp_answer": np.linspace(-2, -1, steps),
    }
    return pd.DataFrame(known | columns)


RISE_AND_FALL = [0.02 * step for step in range(30)] + [0.0] * 30


def test_a_run_that_rises_and_dies_is_summed_up() -> None:
    norms = [1.0] * 25 + [4.0] + [1.0] * 34
    run = runs.summary(curve(RISE_AND_FALL, grad_norm=norms)).iloc[0]
    assert (run.collapsed, run.time) == (1, 30)
    assert (run.surge, run.lead) == (1, 5)
    assert run.lazy == 1
    assert run.best == pytest.approx(np.mean(RISE_AND_FALL[20:30]))
    assert run.final == 0


def test_a_run_that_lives_has_no_surge_and_its_length_as_time() -> None:
    run = runs.summary(curve([0.3] * 60, grad_norm=[9.0] * 60)).iloc[0]
    assert (run.collapsed, run.time, run.surge, run.lazy) == (0, 60, 0, 0)
    assert math.isnan(run.lead)


def test_likelihood_that_rises_with_the_reward_is_not_lazy() -> None:
    rising = curve([0.01 * step for step in range(40)], logp_correct=np.linspace(-2, -1, 40))
    assert runs.summary(rising).lazy.tolist() == [0]


def test_moments_parts_and_late_likelihoods_end_at_the_collapse() -> None:
    curves = curve(RISE_AND_FALL)
    summed = runs.summary(curves)
    moments = runs.peak_and_end(curves, summed).set_index("moment")
    assert moments.entropy["end"] > moments.entropy["peak"] or moments.entropy["peak"] <= 1.51
    assert moments.entropy["end"] == pytest.approx(curves.entropy[26:31].mean())
    parts = runs.parts(curves, summed)
    assert parts.part.tolist() == [1, 2, 3, 4]
    assert parts.lld_correct.is_monotonic_increasing
    assert parts.lld_correct.iloc[-1] < 0.5, "what comes after the collapse takes no part"
    assert parts.search_minus_answer.is_monotonic_decreasing
    late = runs.late_likelihoods(curves, summed).set_index("response").logp
    assert late["correct"] == pytest.approx(curves.logp_correct[15:31].mean())
    assert late["wrong"] == -3


# -------------------------------------------------------------------------------- one iteration


@pytest.fixture(scope="module")
def start() -> tuple[Any, torch.optim.Optimizer, Batch]:
    """A tiny policy, its optimiser after one update, and a batch with made-up rewards."""
    model, tokenizer = TINY.untrained(), TINY.tokenizer()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    task = LookupQA()
    for _ in range(2):
        batch = sample(model, tokenizer, task, task.generate(0, 3), 4, 10, generator)
        rewards = torch.tensor([1.0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
        advantages = torch.tensor([1.0, -1, -1, 1, -0.5, 1.5, -0.5, -0.5, 0, 0, 0, 0])
        batch = replace(batch, rewards=rewards, advantages=advantages)
        before = copy.deepcopy(model.state_dict()), copy.deepcopy(optimiser.state_dict())
        update(model, optimiser, batch, GRPO, order(12, 3, generator))
    model.load_state_dict(before[0])
    optimiser.load_state_dict(before[1])
    return model, optimiser, batch


def test_the_loss_against_a_loop_over_tokens(
    start: tuple[Any, torch.optim.Optimizer, Batch],
) -> None:
    _, _, batch = start
    noise = torch.randn(batch.old_logps.shape, generator=torch.Generator().manual_seed(1))
    new = batch.old_logps + 0.4 * noise
    total = 0.0
    for row, column in batch.mask.nonzero().tolist():
        ratio = math.exp(float(new[row, column] - batch.old_logps[row, column]))
        advantage = float(batch.advantages[row])
        total -= min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
    plain = total / int(batch.mask.sum())
    assert float(loss(new, batch, GRPO)) == pytest.approx(plain, rel=1e-4)
    term, _ = llds(LossBatch(new, batch.old_logps, batch.advantages, batch.mask), gate="token")
    assert float(loss(new, batch, LLDS)) == pytest.approx(plain + 5 * float(term), rel=1e-4)


def test_arms_start_alike_and_leave_everything_as_it_was(
    start: tuple[Any, torch.optim.Optimizer, Batch],
) -> None:
    model, optimiser, batch = start
    weights = copy.deepcopy(model.state_dict())
    split = order(12, 3, torch.Generator().manual_seed(2))
    first, other, again = (
        after_update(model, optimiser, batch, recipe, split) for recipe in (GRPO, LLDS, GRPO)
    )
    assert torch.equal(first.row_change, again.row_change)
    assert not torch.equal(first.row_change, other.row_change)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(score(model, batch.rollouts), batch.old_logps)


def test_a_strong_penalty_keeps_preserved_responses(
    start: tuple[Any, torch.optim.Optimizer, Batch],
) -> None:
    model, optimiser, batch = start
    split = order(12, 3, torch.Generator().manual_seed(2))
    change = {
        recipe.name: after_update(model, optimiser, batch, recipe, split).row_change
        for recipe in (GRPO, LLDS)
    }
    preserved = batch.advantages >= 0
    assert change["LLDS"][preserved].mean() > change["GRPO"][preserved].mean()


def test_rows_of_a_batch_keep_their_order() -> None:
    split = order(7, 3, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(split).tolist()) == list(range(7))


def test_the_answer_is_marked_with_its_tags() -> None:
    tokenizer = TINY.tokenizer()
    texts = [
        "<answer> ada baum </answer> <think> so </think> <answer> ada kant </answer> <eos>",
        "<think> so </think> <search> ada baum doctor </search> so so",
        "</answer> so <answer> ada baum so so so so so so",
    ]
    width = max(len(text.split()) for text in texts)
    padded = [text + " <pad>" * (width - len(text.split())) for text in texts]
    mark = answer_span(tokenizer)(torch.tensor(tokenizer(padded)["input_ids"]))
    assert [row.nonzero().flatten().tolist() for row in mark] == [[7, 8, 9, 10], [], []]


def test_displacement_of_a_hopeless_policy_is_reported_as_missing() -> None:
    weights, losses = taught(TINY)
    assert len(losses) == 1
    study = mechanism.Study(
        TINY, (0, 1), 1e-3, 1, 2, 2, 6, 1, 2, {"GRPO": {}, "LLDS": {}}, {"GRPO": {}}
    )
    first, again = (mechanism.measure_seed(study, weights, 3) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    displaced = first[first.table == "displacement"]
    assert displaced.delta.isna().all()
    assert displaced.checkpoint.tolist() == [0, 1]


def test_the_lowest_third_and_the_overlap_of_rankings() -> None:
    prompts = range(6)
    delta = [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]
    kept = [-2.0, -4.0, -9.0, -9.0, -9.0, -9.0]
    frame = pd.DataFrame(
        [
            {"seed": 0, "moment": "late", "prompt": p, "arm": arm, "delta": d, "gwhes": -g}
            for arm, values in (("GRPO", delta), ("positive only", kept))
            for p, d, g in zip(prompts, values, delta, strict=True)
        ]
    )
    lowest = mechanism.lowest_third(frame)
    assert lowest.prompt.tolist() == [0, 1]
    assert lowest.better.tolist() == [1.0, 0.0]
    found = mechanism.rank_overlap(frame, 2).set_index("ranking")
    assert found.share["GWHES"] == 1.0
    assert found.share["chance"] == pytest.approx(1 / 3)
    assert found.tau["GWHES"] == pytest.approx(1.0)
    assert mechanism.rank_overlap(frame, 6).share.isna().all()


# --------------------------------------------------------------------------- rounds of feedback


def test_entries_and_questions_are_seeded() -> None:
    texts = paragraphs(0, 5)
    assert texts == paragraphs(0, 5)
    assert texts != paragraphs(1, 5)
    assert all(question.endswith("?") for question in questions(texts, 3))


def test_rounds_are_measured_for_every_question_once() -> None:
    whole = [rounds_of("small", 0, 3, 2, 3, 10, (part, 2)) for part in range(2)]
    frame = pd.concat(whole)
    assert sorted(frame.question.unique()) == [0, 1, 2]
    assert frame.groupby("question")["round"].apply(list).tolist() == [[0, 1, 2]] * 3
    assert (frame.nll > 0).all()

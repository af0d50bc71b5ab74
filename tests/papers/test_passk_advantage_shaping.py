"""What the modules of this paper compute, apart from the notebooks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.grpo.analysis.surrogate import advantage_table
from common.grpo.training.comparison import SMALL, ShownDerivations, Study, compare
from common.grpo.training.recipe import Recipe
from common.tasks.derivations import Derivations
from papers.passk_advantage_shaping import algebra, bandit_study, reading

SMALL_BANDIT = bandit_study.Setting(12, 3, 8, 8, 15, 2.0)

# -------------------------------------------------------------------------------------- algebra


def test_gradients_agree_for_large_groups_only() -> None:
    rules = list(algebra.limits(4))
    found = {n: algebra.gradients(rules, 4, n, [0.2, 0.5]) for n in (16, 256)}
    worst = {
        n: frame.groupby("rule").bias.agg(lambda b: b.abs().max()) for n, frame in found.items()
    }
    unbiased = ["rloo", "passk_direct"]
    assert (worst[256] < 0.02).all() and (worst[256] < worst[16] / 8).drop(unbiased).all()
    assert (worst[16].drop(unbiased) > 0.01).all()
    assert (worst[16][unbiased] < 1e-8).all()


def test_bias_of_grpo_is_the_one_that_was_derived() -> None:
    found = algebra.gradients(["grpo"], 4, 400, [0.2, 0.5])
    expected = -1 / (8 * 400 * found.rate * (1 - found.rate))
    assert found.bias.to_numpy() == pytest.approx(expected.to_numpy(), rel=0.05)


def test_finite_weights() -> None:
    found = algebra.finite_weights([4], [16, 64], 0.25)
    assert found.error.tolist() == pytest.approx([0.10, 0.023], rel=0.03)
    assert found.halving[1] == pytest.approx(2, rel=0.05)


def test_only_rules_that_sum_to_zero_share_a_direction() -> None:
    found = algebra.directions(0, 4, 16, 24)
    centred = found[found.rule != "nsr"]
    assert centred.cosine.to_numpy() == pytest.approx(1.0)
    assert centred.length.to_numpy() == pytest.approx(centred.omega.to_numpy())
    assert (found[found.rule == "nsr"].cosine < 0.99).any()
    assert set(found.rule) == {*algebra.limits(4), "nsr"}


def test_recipes_give_back_the_published_rules() -> None:
    found = algebra.recipes(4, 12)
    assert found.derived.to_numpy() == pytest.approx(found.published.to_numpy(), abs=1e-10)
    assert len(found) == 4 * 2 * 11
    # Of the wrong K they do not.
    other = algebra.recipes(3, 12).derived.to_numpy()
    assert other != pytest.approx(found.derived.to_numpy(), abs=1e-3)


def test_direct_gradients() -> None:
    worst = algebra.direct_gradients([2, 4], [4, 8]).set_index(["rule", "k", "n"]).worst
    for rule in ("none", "leave_one_out", "subset"):
        assert worst[rule].max() < 1e-12
    assert worst["mean"].min() > 0.1 and worst[algebra.PLUG_IN].min() > 0.1
    assert ("leave_one_out", 4, 4) not in worst


def test_easy_prompts() -> None:
    off = algebra.switched_off([2, 3], 6)
    assert len(off) == 5 and not off.largest.any() and not off.centred.any()
    assert off.direct.tolist() == pytest.approx([1.0] * 5)
    ends = algebra.easy_end([2, 4])
    assert ends.power.to_numpy() == pytest.approx(ends.expected.to_numpy(), rel=1e-4)


def test_finite_surrogates_agree_with_enumeration() -> None:
    found = algebra.finite_surrogates({"grpo": "grpo", "nsr": "nsr"}, [3, 8], [0.1, 0.6])
    assert found["update"].to_numpy() == pytest.approx(found.slope.to_numpy(), rel=1e-6)


# -------------------------------------------------------------------------------------- reading


def test_known_rules_are_recognised() -> None:
    n = 128
    rules: dict[str, Any] = {
        "ρ": "rloo",
        "2 arcsin √ρ": algebra.GRPO,
        "Pass@4": {"name": "passk_direct", "k": 4},
        "arcsin √Pass@4": {"name": "passk_grpo", "k": 4},
        "ln ρ": "log_likelihood",
    }
    curves, rows = reading.read({name: advantage_table(rule, n) for name, rule in rules.items()})
    assert rows.nearest.tolist() == list(rules)
    assert (rows.cosine > 0.995).all() and rows.centred.all()
    assert set(curves.rule) == set(rules)
    arcsine = curves[curves.rule == "2 arcsin √ρ"]
    expected = 2 * (np.arcsin(np.sqrt(0.98)) - np.arcsin(np.sqrt(0.02)))
    assert arcsine.value.iloc[-1] == pytest.approx(expected, rel=0.05)


def test_dividing_by_kept_completions() -> None:
    n, p = 6, reading.RATES
    psr, nsr = (reading.curve(reading.per_kept(name, n)).slope for name in ("psr", "nsr"))
    assert psr.to_numpy() == pytest.approx((1 - (1 - p) ** n) / p)
    assert nsr.to_numpy() == pytest.approx((1 - p**n) / (1 - p))


def test_noise_of_one_completion() -> None:
    # PSR with N = 1: the update is 1/ρ with probability ρ, else 0.
    found = reading.update_deviation(advantage_table("psr", 1), 0.2)
    assert found == pytest.approx(np.sqrt(1 / 0.2 - 1))


def test_weights_of_prompts_multiply_the_slope() -> None:
    table = advantage_table("dr_grpo", 8)
    plain, weighted = reading.curve(table), reading.curve(table, lambda rate: 1 - rate)
    assert weighted.slope.to_numpy() == pytest.approx(plain.slope * (1 - plain.rate))
    assert reading.mixed_share(2)(np.array([0.5])) == pytest.approx([0.5])


def test_batch_scaling_keeps_the_weights_of_prompts() -> None:
    found = reading.batch_scaling(0, 20, 8).groupby("over").ratio
    assert found.max()["batch"] == pytest.approx(found.min()["batch"])
    assert found.max()["group"] > 1.2 * found.min()["group"]


# --------------------------------------------------------------------------------------- bandit


def test_scales_equalise_the_mean_weight() -> None:
    bandit = SMALL_BANDIT.bandit([0, 1])
    start = bandit.success_rates(bandit.start)
    means = []
    for rule in (algebra.GRPO, "rloo", {"name": "passk_grpo", "k": 4}):
        table = advantage_table(rule, 8)
        scale = bandit_study.scales(bandit, table)
        means.append(scale * table.mean_omega(start).mean(1))
    assert means[1] == pytest.approx(means[0]) and means[2] == pytest.approx(means[0])


def test_seeds_are_trained_independently() -> None:
    together = bandit_study.sampled(SMALL_BANDIT, "rloo", [3, 4], [4], looks=3)
    alone = bandit_study.sampled(SMALL_BANDIT, "rloo", [4], [4], looks=3)
    second = together[together.seed == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(second, alone, check_exact=True)
    assert sorted(set(together.step)) == [0, 5, 10, 15]


def test_training_raises_the_success_rate() -> None:
    found = bandit_study.sampled(SMALL_BANDIT, algebra.GRPO, [0, 1, 2], [4])
    means = found.groupby("step")[["pass_1", "pass_4"]].mean()
    assert means.pass_1[15] > means.pass_1[0] and (means.pass_4 > means.pass_1).all()


def test_prompts_that_do_not_compete_are_all_solved() -> None:
    setting = replace(SMALL_BANDIT, steps=100, learning_rate=50.0)
    found = bandit_study.control(setting, "rloo", [0, 1], [4])
    assert (found.pass_1 > 0.99).all() and not found.hopeless.any()


def test_step_sizes_are_tuned_on_pass_at_1() -> None:
    found = bandit_study.best_step_sizes(SMALL_BANDIT, {"rloo": "rloo"}, [0, 1], [1e-6, 1.0])
    assert found == {"rloo": 1.0}


def test_a_bandit_takes_one_advantage_rule() -> None:
    recipe = Recipe.parse("one", {"advantage": {"name": "passk_grpo", "k": 3}})
    assert bandit_study.group_rule(recipe) == {"name": "passk_grpo", "k": 3}
    for entry in ({}, {"advantage": ["grpo", "rloo"]}):
        with pytest.raises(ValueError, match="recipe 'wrong': a bandit needs one advantage rule"):
            bandit_study.group_rule(Recipe.parse("wrong", entry))


# -------------------------------------------------------------------------------------- decoder


def test_shown_problems_come_first_and_the_first_line_counts() -> None:
    task = ShownDerivations(Derivations(steps=(1,), modulus=5), shots=2)
    problem = task.generate(0, 1)[0]
    *shown, last = problem.prompt.splitlines()
    assert len(shown) == 2 and last == Derivations(steps=(1,), modulus=5).generate(0, 1)[0].prompt
    assert task.verify(problem, f" {problem.solution}\n<numbers> 1 2") == 1
    assert task.verify(problem, f"no\n{problem.solution}") == 0
    assert task.verify(problem, "") == 0


@pytest.mark.slow
def test_arms_share_a_start_and_repeat() -> None:
    study = Study(SMALL, (1,), 3, 50, 0.5, 5, 2, 4, 2, 1e-3, 4, 4, (2, 4))
    arms = {"grpo": {"advantage": "grpo"}, "same": {"advantage": "grpo"}}
    found = compare(study, arms, 0)
    tests = found[found.part == "test"].set_index("arm")
    assert list(tests.index) == ["base", "grpo", "same"]
    columns = ["greedy", "pass_at_1", "pass_at_2", "unsolved"]
    pd.testing.assert_series_equal(
        tests.loc["grpo", columns], tests.loc["same", columns], check_names=False
    )
    curve = found[(found.part == "training") & (found.arm == "grpo")]
    assert curve.step.tolist() == [0, 1]

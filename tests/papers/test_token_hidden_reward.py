"""What the notebooks on token hidden reward compute beside the shared library."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from common.grpo.training.recipe import parse_recipes
from common.workflow.base.project import ROOT
from papers.token_hidden_reward import anatomy, last_layer, one_step_arms, training
from papers.token_hidden_reward.policies import Supervised, mixed_groups, small_policy

TINY = Supervised(1, 16, 30, 0.03, 1, 2, examples=512)


@pytest.fixture(scope="module")
def groups():
    return mixed_groups(
        small_policy(TINY, 0), prompts=30, wanted=4, group_size=8, max_new_tokens=6, seed=0
    )


def test_identities_hold_and_would_not_hold_without_their_factors():
    found = last_layer.identities([0, 1], 8, 4, 4, 3)
    expected = found.expected.abs().clip(lower=1e-3)
    error = ((found.measured - found.expected).abs() / expected).groupby(found.identity).max()
    assert set(error.index) == {"likelihood", "gwhes", "nthr", "steering", "matrix"}
    assert error.max() < 1e-5
    doubled = (2 * found.measured - found.expected).abs() / expected
    assert doubled.groupby(found.identity).max().min() > 0.5


def test_slicing_the_vocabulary_costs_nothing_where_every_word_occurs():
    sliced = last_layer.truncation([0], [2, 200], 4, 8, 20)
    assert sliced.error[0] == pytest.approx(0, abs=1e-12)
    assert sliced.left_out[1] > 0.05 and sliced.error[1] > 0


def test_small_steps_are_predicted_and_large_ones_are_not():
    steps = last_layer.step_sizes([0, 1], [1e-5, 1.0], 12, 6, 6, 6)
    ratio = (steps.measured / steps.predicted).groupby(steps.step_size).median()
    assert ratio[1e-5] == pytest.approx(1, abs=1e-3)
    assert abs(ratio[1.0] - 1) > 0.1


def test_concentration_of_known_values():
    assert anatomy.gini(np.ones(7)) == pytest.approx(0)
    assert anatomy.gini(np.array([0.0, 0, 0, 1])) == pytest.approx(0.75)
    assert anatomy.gini(np.array([1.0, 2, 3])) == pytest.approx(2 / 9)
    assert anatomy.gini(np.zeros(3)) == 0
    assert anatomy.top_share(np.arange(1.0, 11)) == pytest.approx(10 / 55)
    assert anatomy.top_share(np.zeros(10)) == 0.1


def test_overlap_is_one_for_the_same_order_and_chance_for_an_unrelated_one():
    generator = np.random.default_rng(0)
    size = generator.random(2000)
    tokens = pd.DataFrame(
        {
            "seed": 0,
            "thr": size * generator.choice([-1, 1], 2000),
            "thr_others": generator.random(2000),
            "entropy": size,
            "surprise": generator.random(2000),
        }
    )
    found = anatomy.overlaps(tokens, "seed", [0.1, 0.5]).set_index(
        ["score", "proxy", "share", "source"]
    )
    assert (found.overlap["thr", "entropy"].unstack().measured == 1).all()
    assert found.overlap["thr", "surprise", 0.5, "measured"] == pytest.approx(0.5, abs=0.06)
    assert found.overlap["thr", "entropy", 0.1, "chance"] == 0.1


def test_only_mixed_groups_are_kept(groups):
    rewards = groups.rewards.view(groups.count, 8)
    assert 1 <= groups.count <= 4
    assert ((rewards.sum(1) > 0) & (rewards.sum(1) < 8)).all()
    texts = groups.texts()
    tokens = anatomy.token_table(groups)
    assert len(texts) == len(rewards.flatten()) and len(tokens) == int(groups.mask.sum())
    assert np.isfinite(tokens.select_dtypes("number")).all().all()


def test_controls_are_as_large_as_what_they_control(groups):
    arms = one_step_arms.arm_weights(groups, [-0.5, 0.0, 0.5])
    per_group = (groups.count, -1)
    masked = arms["random like thr"] * groups.mask
    assert (masked.view(per_group).sum(1) == arms["thr p=0"].view(per_group).sum(1)).all()
    weakened = {name: (arms[name] < 1).view(per_group).sum(1) for name in arms}
    assert (weakened["nthr"] == weakened["random like nthr"]).all()
    correct = groups.rewards > 0.5
    assert (arms["random like nthr"][correct] == 1).all()
    assert (arms["positive only"][~correct] == 0).all()


def test_comparisons_of_one_step_count_prompts():
    gains = {"thr p=0.5": [3, 3], "thr p=0": [2, 2], "thr p=-0.5": [1, 2.5]}
    gains |= {name.replace("thr", "all"): values for name, values in gains.items()}
    gains |= {"grpo": [2, 2], "nthr": [2.5, 1]}
    rows = [
        {"seed": 0, "prompt": prompt, "arm": arm, "delta": float(value)}
        for arm, values in gains.items()
        for prompt, value in enumerate(values)
    ]
    found = one_step_arms.shares(pd.DataFrame(rows), 0.5).set_index("comparison").share
    assert found["thr: p>0 above 0 above p<0"] == 0.5
    assert found["nthr above grpo"] == 0.5
    assert found["thr p=0.5 above grpo"] == 1


def test_warnings_are_counted_against_chance():
    found = pd.DataFrame(
        {
            "seed": 0,
            "arm": "grpo",
            "gwhes": np.arange(10.0),
            "delta": -np.arange(10.0),
            "head": np.arange(10.0),
        }
    )
    warned = one_step_arms.top_overlap(found, [3]).set_index(["step", "source"]).overlap
    assert warned["all", "gwhes"] == 1 and warned["head", "gwhes"] == 0
    assert warned["all", "random"] == pytest.approx(0.3)


def test_the_late_part_of_a_run_is_its_last_fifth():
    rows = pd.DataFrame({"arm": "grpo", "seed": 0, "step": range(10), "entropy": range(10)})
    rows = rows.assign(reward=0.0, length=0.0, kept=1.0, greedy=0.5)
    rows = pd.concat([rows, pd.DataFrame([{"arm": "start", "seed": 0, "step": -1, "greedy": 0.4}])])
    found = training.runs(rows).set_index("arm")
    assert found.entropy["grpo"] == 8.0  # of steps 7, 8 and 9
    assert found.kept["grpo"] == 1
    assert found.greedy["start"] == 0.4


def test_the_kept_share_counts_only_groups_that_teach():
    weighted = torch.tensor([[1.0, 0, 0], [-1, -1, 9], [0, 0, 0]])
    looked = SimpleNamespace(
        mask=torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1]]).bool(),
        advantages=torch.tensor([1.0, -1.0, 0.0]),
        batch=SimpleNamespace(tensors={"advantages": weighted}),
    )
    assert training.kept_share(looked)["kept"] == pytest.approx(3 / 5)
    looked.batch.tensors["advantages"] = looked.advantages
    assert training.kept_share(looked)["kept"] == 1
    looked.advantages = torch.zeros(3)
    assert np.isnan(training.kept_share(looked)["kept"])


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_profile_has_the_arms_that_claims_compare(profile):
    folder = ROOT / "papers" / "token_hidden_reward"
    block = yaml.safe_load((folder / "params.yaml").read_text())[profile]["04_training"]
    claims = yaml.safe_load((folder / "claims.yaml").read_text())["claims"]
    compared, others = block["recipes"], block["other_recipes"]
    parse_recipes(compared | others)
    for claim in claims.values():
        wanted = claim["measure"].get("where", {}).get("arm", [])
        table = claim["measure"]["table"]
        if table in ("runs", "pass_at_k"):
            assert set(np.atleast_1d(wanted)) <= set(compared)
        elif table.startswith("other_"):
            assert set(wanted) <= {"grpo", "explore", *others}

"""What the notebooks on layer importance compute beside the shared library."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.lm.small import small_decoder
from common.lm.text_tokenizer import text_tokenizer
from common.workflow.base.project import ROOT
from papers.layer_importance import comparisons, representations, scratch
from papers.layer_importance import similarity as sim
from papers.layer_importance.models import Scratch, base_model
from papers.layer_importance.profiles import BASE, Asked, block_profiles, component_profiles
from papers.layer_importance.questions import TASKS, ExactAnswer, block, of_length, pool
from papers.layer_importance.variants import Training, post_train, written_by_rule

TINY = Scratch(6, 16, 2, texts=5, largest=4)
ASKED = Asked("small", TINY, (0, 1, 2), 1, 3, None)

ADD1 = """.50 0 0 .38 .45 .65 .58 .48 .40 .25 .38 .02 0 .40 .05 .05 .48 .30 .60 .07 .17 .23 .22 .35
 .42 .15 .43 .35 .55 .35 .47"""
MUL1 = """.79 0 0 .46 .50 .79 .71 .62 .71 .17 .38 .08 0 .29 .17 0 .42 .54 .83 .04 .38 .04 .21 .12
 .25 .29 .33 .58 .67 .67 .38"""
FACT = """.83 0 0 .17 .75 .39 .64 .06 .78 0 .06 .31 0 .89 .81 .69 .19 .64 .61 .56 .17 .42 .22 .28
 0 .11 .67 .86 .78 .39 .19"""


def measured(text: str) -> np.ndarray:
    """A trial's accuracies of SmolLM2-135M-Instruct as one block: intact, then layers 0 to 29."""
    return np.array([[float(number) for number in text.split()]])


@pytest.mark.parametrize("task", TASKS)
def test_questions_and_answers_are_lines(task):
    questions = pool(task, 5)
    assert len(questions) > 10
    for question, answer in questions:
        line = question + answer
        assert line.count("\n") == 1 and line.endswith("\n") and "  " not in line
        if task in ("addition", "times_table"):
            left, right = line.split(" = ")
            assert eval(left) == int(right)


def test_an_unknown_task():
    with pytest.raises(ValueError, match="one of addition"):
        pool("division")


def test_answers_of_one_length():
    tokenizer = text_tokenizer(q + a for q, a in pool("addition"))
    kept = of_length(pool("addition"), tokenizer, 3)
    assert sorted(int(answer) for _, answer in kept) == sorted(
        a + b for a in range(10) for b in range(10) if a + b >= 10
    )
    assert of_length(pool("addition"), tokenizer, None) == pool("addition")
    with pytest.raises(ValueError, match="no answer has 7"):
        of_length(pool("addition"), tokenizer, 7)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), shots=st.integers(0, 5), items=st.integers(0, 5))
def test_blocks_draw_without_replacement(seed, shots, items):
    drawn = block(pool("capitals"), shots, items, seed)
    lines = [*drawn.prompt.splitlines(True), *(q + a for q, a in drawn.items)]
    assert len(lines) == len(set(lines)) == shots + items
    assert drawn == block(pool("capitals"), shots, items, seed)


def test_a_block_that_is_too_large():
    with pytest.raises(ValueError, match="fewer than 3"):
        block(pool("addition")[:5], 3, 3, 0)


def test_the_reward_needs_the_whole_answer_and_the_end_of_the_line():
    task = ExactAnswer([("8 + 7 = ", "15\n"), ("1 + 1 = ", "2\n")], 1)
    problems = task.generate(3, 4)
    assert problems == task.generate(3, 4)
    for problem in problems:
        assert problem.prompt.count("\n") == 1 and problem.prompt.endswith(" = ")
        right = problem.solution.strip()
        assert task.verify(problem, f"{right}\n4") == task.verify(problem, f"{right}\n") == 1
        assert task.verify(problem, right) == task.verify(problem, f"{right}0\n") == 0


def test_the_teacher_derives_the_sum():
    shown = "1 + 1 = 2\n8 + 7 = "
    assert written_by_rule([shown, "9 + 1 = ", "2 + 3 = "]) == [
        "15\n8 + 2 = 10\n10 + 5 = 15\n",
        "10\n",
        "5\n",
    ]
    prompts = [question for question, _ in pool("addition")]
    for prompt, written in zip(prompts, written_by_rule(prompts), strict=True):
        for line in (prompt + written).splitlines():
            left, right = line.split(" = ")
            assert eval(left) == int(right)


def test_unknown_methods():
    with pytest.raises(ValueError, match="sft, distil, rl"):
        Training("dpo", 1, 8, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "distil", "rl"])
def test_every_method_trains_in_place_and_repeatably(method):
    states = []
    for _ in range(2):
        model, tokenizer = base_model("small", TINY)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        questions = ASKED.questions("addition", tokenizer)
        post_train(model, tokenizer, questions, Training(method, 1, 8, 1e-2))
        states.append(model.state_dict())
        moved = [name for name in before if not before[name].equal(states[-1][name])]
        # Where no sampled answer is right, as here, there is no advantage to learn from.
        assert bool(moved) == (method != "rl")
        assert "model.embed_tokens.weight" not in moved
        assert model.get_input_embeddings().weight.requires_grad and not model.training
    assert all(states[0][name].equal(states[1][name]) for name in before)


def test_profiles_have_every_layer_of_every_block():
    tokenizer = text_tokenizer(q + a for q, a in pool("addition", 4))
    model = small_decoder(tokenizer, layers=6, width=16, seed=0).eval()
    frame = block_profiles(model, tokenizer, ASKED, "addition")
    assert len(frame) == 3 * 7 and set(frame.block) == {0, 1, 2}
    values = sim.by_block(frame, "logp")
    assert values.shape == (3, 7) and np.isfinite(values).all()
    intact = frame[frame.layer == -1].sort_values("block").logp.to_numpy()
    assert (values[:, 0] == intact).all() and len(np.unique(values[0])) > 3


@pytest.mark.slow
def test_zero_and_mean_ablation_differ_and_agree_on_the_intact_model():
    zero = component_profiles(ASKED, "addition", "block", False, [7])
    mean = component_profiles(ASKED, "addition", "block", True, [7])
    both = zero.merge(mean, on=["block", "layer"])
    assert (both.logp_x == both.logp_y)[both.layer == -1].all()
    assert (both.logp_x != both.logp_y)[both.layer >= 0].all()


def test_the_trial_that_claims_were_written_after():
    add, mul, fact = measured(ADD1), measured(MUL1), measured(FACT)
    assert sim.profile_correlation(add, mul, [0], [0]) == pytest.approx(0.79, abs=0.03)
    assert sim.profile_correlation(add, fact, [0], [0]) == pytest.approx(0.16, abs=0.03)
    assert sim.profile_correlation(mul, fact, [0], [0]) == pytest.approx(0.25, abs=0.03)
    assert set(sim.top_layers(sim.mean_drop(add, [0]), 5)) == {10, 11, 13, 14, 18}
    assert {8, 11, 23} < set(sim.top_layers(sim.mean_drop(fact, [0]), 5))


def test_middle_layers_leave_out_two_and_one():
    assert sim.middle(6).tolist() == [2, 3, 4]
    assert sim.middle(30)[[0, -1]].tolist() == [2, 28]


def test_drops_and_top_layers():
    values = np.array([[0.8, 0, 0, 0.7, 0.1, 0.8, 0.0], [0.6, 0, 0, 0.5, 0.3, 0.6, 0.0]])
    assert sim.mean_drop(values, [0, 1]) == pytest.approx([0.7, 0.7, 0.1, 0.5, 0, 0.7])
    assert sim.top_layers(sim.mean_drop(values, [0, 1]), 2) == [3, 2]
    assert sim.jaccard([1, 2, 3], [2, 3, 4]) == 0.5
    assert sim.spearman(np.ones(4), np.arange(4.0)) == 0


def test_halves_are_all_splits():
    assert halves_as_sets(4) == {frozenset({0, 1}), frozenset({0, 2}), frozenset({0, 3})}
    assert halves_as_sets(5) == halves_as_sets(4)
    assert len(sim.halves(8)) == 35


def halves_as_sets(blocks):
    for first, second in sim.halves(blocks):
        assert set(first) | set(second) == set(range(blocks - blocks % 2))
        assert len(first) == len(second)
    return {frozenset(first) for first, _ in sim.halves(blocks)}


def noisy(profile, scale, rng, blocks=8):
    """Blocks (B, L+1) whose drops are the profile plus noise."""
    drops = profile + scale * rng.normal(size=(blocks, len(profile)))
    return np.column_stack([np.zeros(blocks), -drops])


def test_the_ceiling_falls_with_noise_and_is_divided_out():
    rng = np.random.default_rng(0)
    profile = rng.normal(size=30)
    clear = noisy(profile, 0.01, rng), noisy(profile, 0.01, rng)
    blurred = noisy(profile, 2.0, rng), noisy(profile, 2.0, rng)
    assert sim.split_half(clear[0], clear[0]) > 0.98
    assert sim.split_half(*blurred) < 0.8
    assert sim.disattenuated(*blurred) == pytest.approx(1, abs=0.2)
    assert abs(sim.disattenuated(clear[0], noisy(rng.normal(size=30), 0.01, rng))) < 0.5


def test_intervals_over_blocks_cover():
    """Of a correlation and of a relative drop, within Monte-Carlo error of 95 %."""
    rng = np.random.default_rng(5)
    found = {"correlation": [], "drop": []}
    a = rng.normal(size=30)
    b = 0.6 * a + 0.8 * rng.normal(size=30)
    profile = np.array([*np.zeros(27), 0.6, 0.5, 0.0])
    for _ in range(100):
        found["correlation"].append(sim.block_correlations(noisy(a, 1, rng), noisy(b, 1, rng)))
        intact = 0.8 + 0.15 * rng.normal(size=8)
        left = intact[:, None] * (1 - profile) + 0.05 * rng.normal(size=(8, 30))
        values = np.column_stack([intact, left])
        found["drop"].append(sim.relative_drops([values], values, 2))
    truth = {"correlation": np.mean(found["correlation"]), "drop": 0.55}
    for name, samples in found.items():
        ends = [stats.ttest_1samp(one, 0).confidence_interval(0.95) for one in samples]
        covered = np.mean([low <= truth[name] <= high for low, high in ends])
        assert 0.85 <= covered <= 1, name


def test_noise_alone_makes_no_drop():
    rng = np.random.default_rng(2)
    chosen = []
    for _ in range(50):
        noise = np.column_stack([np.full(8, 0.5), 0.5 + 0.1 * rng.normal(size=(8, 30))])
        chosen.append(sim.relative_drops([noise], noise, 3).mean())
    assert np.mean(chosen) == pytest.approx(0, abs=0.02)
    low = np.column_stack([np.full(8, 0.2), np.zeros((8, 30))])
    assert np.isnan(sim.relative_drops([low], low, 3)).all()


def test_relative_drops_average_to_the_ratio_of_means():
    values = np.array([[0.4, 0, 0, 0.1, 0.4, 0], [0.8, 0, 0, 0.2, 0.8, 0], [0.6, 0, 0, 0, 0.6, 0]])
    found = sim.relative_drops([values], values, 1)
    assert found.mean() == pytest.approx((0.3 + 0.6 + 0.6) / 1.8)


def test_gini():
    assert sim.gini(np.ones(5)) == pytest.approx(0)
    assert sim.gini(np.array([0.0, 0, 0, 1])) == pytest.approx(0.75)
    assert sim.gini(np.zeros(3)) == 0


def fabricated(rng, blocks=8, layers=12):
    """Profiles in which sums and products share a profile that others do not."""
    maths, others = rng.random(layers) * 5, rng.random(layers) * 5
    maths[5], maths[[2, 3]] = 9.0, 0.0
    rows = []
    for variant in (BASE, "sft"):
        for task in TASKS:
            drop = maths if task in ("addition", "times_table") else others
            for one in range(blocks):
                lost = drop + 0.1 * rng.normal(size=layers)
                logp = [-0.5, *(-0.5 - lost)]
                accuracy = [0.8, *(0.8 * np.exp(-lost.clip(min=0) / 3))]
                rows += [
                    {"variant": variant, "task": task, "block": one, "layer": layer - 1,
                     "accuracy": accuracy[layer], "logp": logp[layer]}
                    for layer in range(layers + 1)
                ]  # fmt: skip
    return comparisons.Profiles(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def made():
    return fabricated(np.random.default_rng(3))


def test_tables_tell_what_was_put_in(made):
    critical = comparisons.critical_layers(made)
    means = critical.groupby(["task", "layer", "arm"]).accuracy.mean().unstack()
    assert means.measured["addition", "critical"] < means.bar["addition", "critical"]
    specificity = comparisons.specificity(made).groupby(["task", "compared_with"]).spearman.mean()
    assert specificity["maths", "other maths"] > 0.9
    assert specificity["maths", "other maths"] - specificity["maths", "capitals"] > 0.2
    both = specificity["maths"][["capitals", "copying"]].mean()
    assert specificity["maths", "capitals and copying"] == pytest.approx(both)
    invariance = comparisons.invariance(made).groupby(["compared_with"]).spearman.mean()
    assert (
        invariance["own base"] > 0.9 and invariance["ceiling"] > 0.9 and invariance["nothing"] == 0
    )
    pooled = comparisons.pooled(made)
    assert (pooled.spearman > 0.9).all() and (pooled.jaccard >= 0.6).all()
    assert pooled.disattenuated.between(0.9, 1.1).all()
    assert (comparisons.gains(made).accuracy == 0.8).all()
    drops = comparisons.drops_at_critical(made).groupby("task").relative_drop.mean()
    assert drops["maths"] > drops["capitals"]
    concentration = comparisons.concentration(made).set_index(["variant", "task"])
    assert concentration.top[BASE, "addition"].split()[0] == "5"


def test_an_elbow_next_to_a_critical_layer():
    curve = [1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.5, 0.49, 0.48, 0.47, 0.46, 0.45]
    curves = pd.DataFrame({"block": 0, "layer": range(12), "nmi": curve})
    near = representations.elbows(curves, [8]).set_index("elbow")
    assert near.layer["steepest fall"] == 6 and near.near["steepest fall"] == 1
    assert near.chance.unique() == pytest.approx([5 / 9])
    far = representations.elbows(curves, [9]).set_index("elbow")
    assert far.near["steepest fall"] == 0 and far.distance["steepest fall"] == 3
    rising = representations.elbows(curves.assign(nmi=curves.layer / 12), [8])
    assert rising.near[rising.elbow == "steepest fall"].tolist() == [0]


def test_unknown_texts():
    with pytest.raises(ValueError, match="word_problems or sums"):
        representations.solutions(ASKED, None, "poems", 1, 0)


def test_word_problems_are_read_with_their_solutions():
    texts = representations.solutions(ASKED, None, "word_problems", 4, 0)
    assert len(set(texts)) == 4 and all("####" in text for text in texts)
    assert texts != representations.solutions(ASKED, None, "word_problems", 4, 1)


def test_own_and_other_bases():
    layers = np.arange(10.0)
    profiles = {(0, BASE): layers, (0, "sft"): layers, (1, BASE): -layers, (1, "sft"): -layers}
    rows = [
        {"seed": seed, "variant": variant, "task": "addition", "block": 0, "layer": layer - 1,
         "accuracy": 0.5, "logp": 0.0 if layer == 0 else -drop[layer - 1]}
        for (seed, variant), drop in profiles.items()
        for layer in range(11)
    ]  # fmt: skip
    found = scratch.similarities(pd.DataFrame(rows))
    found = found.set_index(["seed", "variant", "compared_with"]).spearman
    assert found[:, "sft", "own base"].tolist() == [1, 1]
    assert found[:, "all", "other seeds"].tolist() == [-1, -1]
    accuracies = scratch.accuracies(pd.DataFrame(rows))
    assert len(accuracies) == 4 and (accuracies.accuracy == 0.5).all()


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu"])
def test_every_profile_measures_what_claims_name(profile):
    folder = ROOT / "papers" / "layer_importance"
    block = yaml.safe_load((folder / "params.yaml").read_text())[profile]
    assert set(block["01_profiles"]["tasks"]) == set(TASKS)
    assert {"addition", "times_table"} <= set(block["01_profiles"]["variant_tasks"])
    for name in ("01_profiles", "03_from_scratch"):
        assert [one["method"] for one in block[name]["trainings"]] == ["sft", "distil", "rl"]
    second = block["02_representations"]
    assert second["ablations"][:2] == [["block", "zero"], ["block", "mean"]]
    assert not set(second["blocks"]) & set(second["reference_blocks"])
    assert second["settings"][0]["reference"] == "embedding"

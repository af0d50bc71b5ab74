"""Gradient baselines and the retraining check of For-Value."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.lm.gradient_scores import scores
from common.lm.output_gradients import output_gradients
from common.lm.small import small_decoder, word_tokenizer
from papers.for_value import comparison
from papers.for_value import gradient_baselines as gb
from papers.for_value.lora_gradients import (
    Adapters,
    adapter_layers,
    attach,
    sample_gradients,
    token_losses,
)
from papers.for_value.one_step import head_changes, pair_table, rank_agreement, step_changes
from papers.for_value.texts import Batch, Sample, encode

WORDS = [f"w{index}" for index in range(12)]


def tiny_model(seed: int = 0):
    """In float64 throughout: the library's own norms compute in float32."""
    model = small_decoder(word_tokenizer(WORDS), layers=2, width=16, heads=2, seed=seed)
    for parent in [model.model, *model.model.layers]:
        for name, child in parent.named_children():
            if name.endswith("norm"):
                setattr(parent, name, torch.nn.RMSNorm(16, eps=child.variance_epsilon))
    return model.double().eval()


def tiny_batch(rows: int = 4, seed: int = 0) -> Batch:
    """Rows of unequal length: the first two tokens are the prompt."""
    rng = torch.Generator().manual_seed(seed)

    def words(count: int) -> str:
        return " ".join(WORDS[i] for i in torch.randint(12, (count,), generator=rng).tolist())

    samples = [Sample(words(2), words(2 + row % 3)) for row in range(rows)]
    return encode(word_tokenizer(WORDS), samples)


def random_gradients(seed: int, count: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    sizes = {"a": 3, "b": 5, "c": 2}
    return {
        name: torch.randn(count, size, generator=rng, dtype=torch.float64)
        for name, size in sizes.items()
    }


def dense(validation, training, inverse) -> Tensor:
    """Sum over tensors of v' H^-1 g, with `inverse(gradients, level)` of shape (P, P)."""
    total = torch.zeros(())
    for name, own in training.items():
        level = 0.1 * own.square().mean(1).mean()
        total = total + validation[name] @ inverse(own, level) @ own.T
    return total


def average_of_inverses(own: Tensor, level: Tensor) -> Tensor:
    eye = torch.eye(own.shape[1], dtype=own.dtype)
    return torch.stack([torch.linalg.inv(torch.outer(g, g) + level * eye) for g in own]).mean(0)


def inverse_of_average(own: Tensor, level: Tensor) -> Tensor:
    eye = torch.eye(own.shape[1], dtype=own.dtype)
    return torch.linalg.inv(own.T @ own / len(own) + level * eye)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), train=st.integers(1, 7), val=st.integers(1, 4))
def test_influences_equal_dense_inverses(seed, train, val):
    validation, training = random_gradients(seed, val), random_gradients(seed + 1, train)
    products = gb.grams(validation, training)
    expected = dense(validation, training, average_of_inverses)
    torch.testing.assert_close(gb.datainf(products), expected, rtol=1e-10, atol=1e-10)
    expected = dense(validation, training, inverse_of_average)
    torch.testing.assert_close(gb.inverse_fisher(products), expected, rtol=1e-9, atol=1e-9)


def test_datainf_is_exact_for_one_training_sample_only():
    validation = random_gradients(0, 2)
    one, many = (gb.grams(validation, random_gradients(1, count)) for count in (1, 6))
    torch.testing.assert_close(gb.datainf(one), gb.inverse_fisher(one))
    assert (gb.datainf(many) - gb.inverse_fisher(many)).abs().max() > 0.1


def test_dot_and_cosine_are_those_of_the_joined_gradients():
    validation, training = random_gradients(0, 3), random_gradients(1, 4)
    left, right = (torch.cat(list(side.values()), 1) for side in (validation, training))
    products = gb.grams(validation, training)
    torch.testing.assert_close(gb.gradient_dot(products), left @ right.T)
    expected = torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=-1)
    torch.testing.assert_close(gb.gradient_cosine(products), expected)


def test_dividing_the_products_is_dividing_the_gradients():
    validation, training = random_gradients(0, 2), random_gradients(1, 3)
    numbers = torch.tensor([4.0, 5]), torch.tensor([1.0, 2, 3])
    scaled = [
        {name: g / n[:, None] for name, g in side.items()}
        for side, n in zip((validation, training), numbers, strict=True)
    ]
    expected = gb.grams(*scaled)
    found = gb.grams(validation, training).divided(*numbers)
    for score in (gb.gradient_dot, gb.datainf, gb.inverse_fisher):
        torch.testing.assert_close(score(found), score(expected), check_dtype=False)
    torch.testing.assert_close(found.own, expected.own, check_dtype=False)


def test_tensors_and_samples_without_gradient_add_nothing():
    validation, training = random_gradients(0, 2), random_gradients(1, 3)
    rest = [{n: side[n] for n in ("a", "c")} for side in (validation, training)]
    without = gb.grams(*rest)
    training["b"].zero_()
    products = gb.grams(validation, training)
    for score in (gb.gradient_dot, gb.datainf, gb.inverse_fisher):
        torch.testing.assert_close(score(products), score(without))
    nothing = gb.grams(validation, {name: 0 * g for name, g in training.items()})
    for score in (gb.gradient_dot, gb.gradient_cosine, gb.datainf, gb.inverse_fisher):
        assert not score(nothing).any()


def test_bad_input_is_named():
    some = random_gradients(0, 2)
    products = gb.grams(some, some)
    with pytest.raises(ValueError, match="validation: needs the same tensors"):
        gb.grams({}, some)
    with pytest.raises(ValueError, match="damping"):
        gb.datainf(products, 0)
    with pytest.raises(ValueError, match="no training sample"):
        gb.datainf(replace(products, train=products.train[:, :0, :0]))
    with pytest.raises(ValueError, match="training: every sample"):
        products.divided(torch.ones(2), torch.zeros(2))
    with pytest.raises(ValueError, match="has no adapters"):
        adapter_layers(tiny_model())


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "default"])
def test_adapters_leave_the_model_as_it_was_and_are_all_that_is_trained(start):
    batch, model = tiny_batch(), tiny_model().float()
    before = token_losses(model, batch).detach()
    state = torch.get_rng_state()
    adapted = attach(model, Adapters(rank=2, alpha=8, start=start), seed=3)
    assert torch.get_rng_state().equal(state)
    torch.testing.assert_close(token_losses(adapted, batch).detach(), before, rtol=1e-4, atol=1e-5)
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert len(trained) == 8 and all(".lora_" in name for name in trained)
    gradients = sample_gradients(adapted, batch)["full"]
    vanish = {name for name, rows in gradients.items() if not rows.any()}
    half = {name for name in gradients if ".lora_A." in name}
    assert vanish == (half if start == "default" else set())


@pytest.fixture(scope="module")
def adapted():
    return attach(tiny_model().float(), Adapters(rank=2, alpha=8), seed=0).double()


@pytest.mark.parametrize("positions", ["full", "response"])
def test_batched_gradients_are_those_of_single_samples(adapted, positions):
    batch = tiny_batch(5)
    found = sample_gradients(adapted, batch, ("full", "response"))[positions]
    layers = adapter_layers(adapted)
    for row in range(5):
        one = batch.rows([row])
        loss = (token_losses(adapted, one) * one.labels(positions)).sum()
        expected = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
        for name, gradient in zip(layers, expected, strict=True):
            torch.testing.assert_close(found[name][row], gradient.flatten())


def test_gradients_agree_with_finite_differences(adapted):
    batch = tiny_batch(2)
    name, layer = list(adapter_layers(adapted).items())[1]
    direction = sample_gradients(adapted, batch)["full"][name][1].view_as(layer.weight)
    step, ends = 1e-5, []
    with torch.no_grad():
        for sign in (1, -1):
            layer.weight += sign * step * direction
            ends.append(token_losses(adapted, batch).sum(1))
            layer.weight -= sign * step * direction
    slope = (ends[0] - ends[1]) / (2 * step)
    products = sample_gradients(adapted, batch)["full"][name] @ direction.flatten()
    torch.testing.assert_close(slope, products, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("positions", ["full", "response"])
def test_small_steps_change_what_the_scores_say(positions):
    model, training, validation = tiny_model(), tiny_batch(4, 0), tiny_batch(3, 1)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    rate = 1e-8
    pairs = step_changes(model, training, validation, rate, positions)
    assert all(value.equal(kept[name]) for name, value in model.state_dict().items())
    slope = torch.tensor(pairs.whole / rate)
    torch.testing.assert_close(slope, torch.tensor(pairs.gradient_dot), rtol=1e-4, atol=1e-4)
    vocabulary = torch.arange(len(WORDS) + 4)
    sides = [
        output_gradients(
            model, b.input_ids, b.attention_mask, b.labels(positions), vocabulary=vocabulary
        )
        for b in (validation, training)
    ]
    head = head_changes(model, training, validation, rate, positions) / rate
    torch.testing.assert_close(head, scores(*sides), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head.flatten(), torch.tensor(pairs["head"] / rate))
    assert (slope - head.flatten()).abs().max() > 1e-2


def test_rank_agreement():
    truth = torch.tensor([[1.0, 2, 3], [3, 1, 2]])
    half = truth * torch.tensor([[1], [-1]])
    table = pair_table({"truth": truth, "same": truth.exp(), "half": half, "flat": 0 * truth})
    assert table.training.tolist() == [0, 1, 2] * 2
    found = rank_agreement(table, ["same", "half", "flat"], ["truth"]).set_index("score").spearman
    assert found.to_dict() == pytest.approx({"same": 1, "half": 0, "flat": 0})


def test_every_rival_is_scored_on_the_same_samples():
    plan = comparison.Plan("small", "cpu", training=2, validation=1, rank=2)
    rows = comparison.measure(plan, "math", 0)
    methods = {"for_value", "gradient_dot_sum", *comparison.GRADIENT_METHODS}
    sizes = rows.groupby(["positions", "method"]).validation.nunique()
    assert set(sizes.index) == {(where, m) for where in ("full", "response") for m in methods}
    assert set(sizes) == {10}
    pd.testing.assert_frame_equal(comparison.measure(plan, "math", 0), rows)
    table = comparison.by_seed(rows)
    assert len(table) == 12 and table.auc.between(0, 1).all()


def test_a_step_of_the_output_matrix_is_what_for_value_ranks():
    plan = comparison.StepPlan("small", "cpu", "math", 3, 2, 1e-4)
    found = comparison.one_step(plan, 0).set_index(["trained", "score"])
    assert found.spearman["head", "for_value"] > 0.95
    assert found.spearman["whole", "gradient_dot"] > 0.95
    assert found.spearman["whole", "for_value"] < 0.95
    assert (found.relative_change["whole"] == 1).all()
    assert 0 < found.relative_change["head", "for_value"] < 1

"""Streaming class statistics against the obvious two passes."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.collapse import class_statistics as module
from common.collapse.class_statistics import (
    ClassStatistics,
    ClassStatisticsAccumulator,
    class_statistics,
)

PARTS = [field.name for field in fields(ClassStatistics)]


def two_passes(features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Class by class and sample by sample, in float64; class-balanced global mean."""
    x = features.double()
    d = x.shape[-1]
    means = torch.stack([x[labels == k].mean(0) for k in range(num_classes)])
    mean = means.mean(0)
    within, between = torch.zeros(2, d, d, dtype=torch.float64)
    for row, label in zip(x, labels, strict=True):
        within += torch.outer(row - means[label], row - means[label]) / len(x)
    for own in means:
        between += torch.outer(own - mean, own - mean) / num_classes
    counts = torch.tensor([(labels == k).sum() for k in range(num_classes)]).double()
    return {
        "counts": counts,
        "class_means": means,
        "global_mean": mean,
        "within_class_covariance": within,
        "between_class_covariance": between,
    }


def sample(seed: int, rows: int = 60, d: int = 5, num_classes: int = 3) -> tuple[Tensor, Tensor]:
    """Features around class means, and labels in which every class occurs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (rows,), generator=generator)
    labels[:num_classes] = torch.arange(num_classes)
    labels = labels[torch.randperm(rows, generator=generator)]
    means = torch.randn(num_classes, d, generator=generator)
    return means[labels] + torch.randn(rows, d, generator=generator), labels


def assert_same(ours: ClassStatistics, theirs: ClassStatistics, tolerance: float = 1e-12) -> None:
    for name in PARTS:
        torch.testing.assert_close(
            getattr(ours, name), getattr(theirs, name), rtol=tolerance, atol=tolerance
        )


def test_a_small_example_by_hand() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 2.0]])
    result = class_statistics(features, torch.tensor([0, 0, 1]), 2)
    assert result.counts.tolist() == [2, 1]
    assert result.class_means.tolist() == [[1, 0], [5, 2]]
    assert result.global_mean.tolist() == [3, 1]
    torch.testing.assert_close(
        result.within_class_covariance, torch.tensor([[2 / 3, 0], [0, 0]], dtype=torch.float64)
    )
    torch.testing.assert_close(
        result.between_class_covariance, torch.tensor([[4, 2], [2, 1]], dtype=torch.float64)
    )
    assert result.centred_means.tolist() == [[-2, -1], [2, 1]]
    by_sample = class_statistics(features, torch.tensor([0, 0, 1]), 2, global_mean="sample")
    torch.testing.assert_close(by_sample.global_mean, features.double().mean(0))


@pytest.mark.parametrize("common_mean", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 7, 60, 1500])
def test_streaming_equals_two_passes(common_mean: float, dtype: torch.dtype, batch: int) -> None:
    features, labels = sample(1, rows=1500 if batch > 60 else 60)
    features = (features + common_mean).to(dtype)
    accumulator = ClassStatisticsAccumulator(3, 5)
    for x, y in zip(features.split(batch), labels.split(batch), strict=True):
        accumulator.update(x, y)
    result = accumulator.compute()
    for name, expected in two_passes(features, labels, 3).items():
        torch.testing.assert_close(getattr(result, name), expected, rtol=1e-10, atol=1e-11)
    assert torch.equal(result.within_class_covariance, result.within_class_covariance.mT)


def test_an_outlying_first_batch_costs_no_digits() -> None:
    features, labels = sample(2)
    features = features.double()
    features[:6] += 1e5
    accumulator = ClassStatisticsAccumulator(3, 5)
    for x, y in zip(features.split(6), labels.split(6), strict=True):
        accumulator.update(x, y)
    expected = two_passes(features, labels, 3)["within_class_covariance"]
    torch.testing.assert_close(
        accumulator.compute().within_class_covariance, expected, rtol=1e-12, atol=0
    )


def test_identical_features_have_no_scatter_at_all() -> None:
    means = torch.tensor([[1e4 + 0.1, 0.3], [1e4 - 0.7, 0.9]])
    labels = torch.arange(600) % 2
    accumulator = ClassStatisticsAccumulator(2, 2)
    for y in labels.split(7):
        accumulator.update(means[y], y)
    result = accumulator.compute()
    assert not result.within_class_covariance.any()
    assert torch.equal(result.class_means, means.double())


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    global_mean=st.sampled_from(["class_balanced", "sample"]),
)
def test_neither_order_nor_split_nor_merging_matters(
    seed: int, cuts: list[int], global_mean: module.GlobalMean
) -> None:
    features, labels = sample(seed)
    whole = class_statistics(features, labels, 3, global_mean=global_mean)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    features, labels = features[order], labels[order]
    split = ClassStatisticsAccumulator(3, 5, global_mean=global_mean)
    merged = ClassStatisticsAccumulator(3, 5, global_mean=global_mean)
    edges = [0, *sorted(cuts), 60]
    for start, end in pairwise(edges):
        split.update(features[start:end], labels[start:end])
        part = ClassStatisticsAccumulator(3, 5, global_mean=global_mean)
        part.update(features[start:end], labels[start:end])
        merged.merge(part)
    assert_same(split.compute(), whole)
    assert_same(merged.compute(), whole)


def test_merging_with_a_large_common_mean() -> None:
    features, labels = sample(3)
    features = features.double() + 1e4
    one, other = (ClassStatisticsAccumulator(3, 5) for _ in range(2))
    one.update(features[:20], labels[:20])
    other.update(features[20:], labels[20:])
    one.merge(other)
    expected = two_passes(features, labels, 3)["within_class_covariance"]
    torch.testing.assert_close(
        one.compute().within_class_covariance, expected, rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("own_labels", [False, True])
def test_many_models_are_measured_as_one_by_one(own_labels: bool) -> None:
    features = torch.stack([sample(seed)[0] for seed in range(6)]).view(2, 3, 60, 5)
    labels = torch.stack([sample(seed)[1] for seed in range(6)]).view(2, 3, 60)
    chosen = labels if own_labels else labels[0, 0]
    together = ClassStatisticsAccumulator(3, 5, batch_shape=(2, 3))
    for start in range(0, 60, 25):
        together.update(features[..., start : start + 25, :], chosen[..., start : start + 25])
    result = together.compute()
    for i, j in [(0, 0), (1, 2), (0, 1)]:
        alone = class_statistics(features[i, j], labels[i, j] if own_labels else labels[0, 0], 3)
        for name in PARTS:
            torch.testing.assert_close(getattr(result, name)[i, j], getattr(alone, name))


def test_with_the_sample_mean_the_covariances_add_up_to_the_total() -> None:
    features, labels = sample(4)
    result = class_statistics(features, labels, 3, global_mean="sample")
    total = torch.cov(features.double().T, correction=0)
    torch.testing.assert_close(
        result.within_class_covariance + result.between_class_covariance, total
    )
    assert torch.linalg.matrix_rank(result.between_class_covariance) == 2


def test_equal_data_give_equal_bits() -> None:
    runs = [class_statistics(*sample(5, rows=2000), 3) for _ in range(2)]
    assert all(torch.equal(getattr(runs[0], name), getattr(runs[1], name)) for name in PARTS)


def test_the_way_of_accelerators_gives_the_same() -> None:
    features, labels = sample(6)
    rows, places = features.double()[None], labels[None]
    by_index, by_matmul = torch.zeros(2, 1, 3, 5, dtype=torch.float64)
    module._add_sums(by_index, rows, places)
    module._add_sums_by_matmul(by_matmul, rows, places)
    torch.testing.assert_close(by_index, by_matmul)
    many = torch.zeros(2, 3, 5, dtype=torch.float64)
    module._add_sums_by_matmul(many, rows.expand(2, -1, -1), torch.stack([labels, labels + 3]))
    torch.testing.assert_close(many, by_index.expand(2, -1, -1))


@pytest.mark.gpu
def test_an_accelerator_gives_the_same_and_equal_bits_each_time() -> None:
    features, labels = sample(9, rows=3000)
    expected = class_statistics(features, labels, 3)
    runs = [class_statistics(features.cuda(), labels, 3) for _ in range(2)]
    for name in PARTS:
        first, second = (getattr(run, name) for run in runs)
        torch.testing.assert_close(first.cpu(), getattr(expected, name), rtol=1e-10, atol=1e-12)
        assert torch.equal(first, second)


def test_inputs_are_left_alone_and_gradients_cut() -> None:
    features, labels = sample(7)
    features = features.double().requires_grad_()
    before = features.detach().clone()
    result = class_statistics(features, labels, 3)
    assert torch.equal(features.detach(), before)
    assert not result.class_means.requires_grad


def test_what_compute_returned_does_not_change_afterwards() -> None:
    features, labels = sample(8)
    accumulator = ClassStatisticsAccumulator(3, 5)
    accumulator.update(features, labels)
    first = accumulator.compute()
    kept = [getattr(first, name).clone() for name in PARTS]
    accumulator.update(features + 1, labels)
    assert all(
        torch.equal(getattr(first, name), old) for name, old in zip(PARTS, kept, strict=True)
    )


GOOD, LABELS = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD, torch.tensor([0, 1, 0, 2]), r"labels: must lie in 0…1"),
        (GOOD, torch.tensor([0, 1, 0, -1]), r"labels: must lie in 0…1"),
        (GOOD, LABELS.float(), "labels: needs integers"),
        (GOOD, LABELS[:3], "labels: needs one label"),
        (GOOD[:, :1], LABELS, r"features.shape\[-1\] is 1, but num_features is 2"),
        (GOOD[None], LABELS, "features: needs shape"),
        (GOOD * torch.nan, LABELS, "features: an entry is NaN"),
        (torch.tensor([[0, 0], [0, 0], [0, torch.inf], [0, 0]]), LABELS, "features: an entry"),
        (torch.tensor([[0, 0], [0, 0], [0, -torch.inf], [0, 0]]), LABELS, "features: an entry"),
    ],
)
def test_bad_batches_are_refused_and_change_nothing(
    features: Tensor, labels: Tensor, message: str
) -> None:
    accumulator = ClassStatisticsAccumulator(2, 2)
    accumulator.update(GOOD, LABELS)
    before = accumulator.compute()
    with pytest.raises(ValueError, match=message):
        accumulator.update(features, labels)
    assert_same(accumulator.compute(), before, tolerance=0)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no samples of the classes \[1\]"):
        class_statistics(GOOD, torch.zeros(4, dtype=torch.long), 2)
    with pytest.raises(ValueError, match=r"no samples of the classes \[0, 1\]"):
        ClassStatisticsAccumulator(2, 2).compute()
    with pytest.raises(ValueError, match="num_classes"):
        ClassStatisticsAccumulator(1, 2)
    with pytest.raises(ValueError, match="num_features"):
        ClassStatisticsAccumulator(2, 0)
    with pytest.raises(ValueError, match="global_mean"):
        ClassStatisticsAccumulator(2, 2, global_mean="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_features is 3, ours is 2"):
        ClassStatisticsAccumulator(2, 2).merge(ClassStatisticsAccumulator(2, 3))


def test_an_empty_batch_adds_nothing() -> None:
    accumulator = ClassStatisticsAccumulator(2, 2)
    accumulator.update(GOOD, LABELS)
    before = accumulator.compute()
    accumulator.update(GOOD[:0], LABELS[:0])
    assert_same(accumulator.compute(), before, tolerance=0)

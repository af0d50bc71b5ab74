"""Metrics of neural collapse, each computed in a second way."""

from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.collapse.class_statistics import ClassStatistics, class_statistics
from common.collapse.etf import etf_frame
from common.collapse.metrics import (
    RatioMethod,
    collapse_metrics,
    logits_to_etf,
    mean_norm,
    means_to_etf,
    nearest_class_mean_accuracy,
    self_duality,
    weight_norm,
    weights_to_etf,
    within_between_ratio,
)

METHODS: tuple[RatioMethod, ...] = ("top_eigenvalues", "trace_quotient")


def data(
    seed: int, num_classes: int = 4, d: int = 6, rows: int = 80, spread: float = 0.5
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels and a classifier, float64."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % num_classes
    means = torch.randn(num_classes, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, d, generator=generator, dtype=torch.float64)
    weight = torch.randn(num_classes, d, generator=generator, dtype=torch.float64)
    return means[labels] + spread * noise, labels, weight


def rotation(d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]


def ratio_by_pinv(statistics: ClassStatistics) -> Tensor:
    """tr(Σ_W Σ_B^†) by the pseudo-inverse of the d × d matrix, in float64."""
    inverse = torch.linalg.pinv(statistics.between_class_covariance, rtol=1e-9, hermitian=True)
    return torch.trace(statistics.within_class_covariance @ inverse)


def cosine_error(a: Tensor, b: Tensor) -> float:
    """‖a/‖a‖ − b/‖b‖‖² as 2 − 2 cos."""
    return float(2 - 2 * (a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("global_mean", ["class_balanced", "sample"])
def test_the_ratio_is_the_trace_with_the_pseudo_inverse(global_mean: str) -> None:
    features, labels, _ = data(0)
    labels[40:] = labels[40:].clamp(max=2)  # unbalanced
    statistics = class_statistics(features, labels, 4, global_mean=global_mean)  # type: ignore[arg-type]
    ratio = within_between_ratio(statistics, divide_by_classes=False)
    torch.testing.assert_close(ratio, ratio_by_pinv(statistics), rtol=1e-10, atol=0)
    torch.testing.assert_close(within_between_ratio(statistics) * 4, ratio)
    quotient = within_between_ratio(statistics, method="trace_quotient")
    within, between = statistics.within_class_covariance, statistics.between_class_covariance
    torch.testing.assert_close(quotient, within.trace() / between.trace() / 4)


def test_two_classes_by_hand() -> None:
    features = torch.tensor([[0.0, 1.0], [2.0, 1.0], [10.0, 1.0], [10.0, 5.0]])
    statistics = class_statistics(features, torch.tensor([0, 0, 1, 1]), 2)
    # Means (1, 1), (10, 3); Σ_W = diag(2, 8)/4; Σ_B = vvᵀ, v = (4.5, 1), with inverse vvᵀ/‖v‖⁴.
    square = 4.5**2 + 1
    ratio = within_between_ratio(statistics, divide_by_classes=False)
    assert ratio.item() == pytest.approx((0.5 * 4.5**2 + 2) / square**2)
    assert within_between_ratio(statistics, method="trace_quotient").item() == pytest.approx(
        2.5 / square / 2
    )
    assert mean_norm(statistics).item() == pytest.approx(sqrt(square))
    # With two classes centred means always form an ETF.
    assert means_to_etf(statistics).item() == pytest.approx(0, abs=1e-12)
    weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert weight_norm(weight).item() == pytest.approx(3.5)
    centred = torch.tensor([[-4.5, -1.0], [4.5, 1.0]])
    assert self_duality(weight, statistics).item() == pytest.approx(cosine_error(weight, centred))


def test_the_other_metrics_by_cosines() -> None:
    features, labels, weight = data(1)
    statistics = class_statistics(features, labels, 4)
    means = torch.stack([features[labels == k].mean(0) for k in range(4)])
    means -= means.mean(0)
    etf = torch.eye(4, dtype=torch.float64) - 0.25
    ours = collapse_metrics(weight, statistics)
    for name, gram in [
        ("logits_to_etf", weight @ means.T),
        ("weights_to_etf", weight @ weight.T),
        ("means_to_etf", means @ means.T),
    ]:
        assert ours[name].item() == pytest.approx(sqrt(cosine_error(gram, etf))), name
    assert ours["self_duality"].item() == pytest.approx(cosine_error(weight, means))
    assert ours["weight_norm"].item() == pytest.approx(sum(w.norm().item() for w in weight) / 4)
    assert ours["mean_norm"].item() == pytest.approx(sum(m.norm().item() for m in means) / 4)
    assert ours["within_between_ratio"].item() == pytest.approx(ratio_by_pinv(statistics) / 4)


@pytest.mark.parametrize("d", [3, 12])
def test_perfect_collapse_gives_zeros(d: int) -> None:
    frame = etf_frame(4, d, torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 4
    statistics = class_statistics(3 * frame[labels] + 1e3, labels, 4)
    metrics = collapse_metrics(0.2 * frame, statistics)
    for name in ("within_between_ratio", "logits_to_etf", "weights_to_etf", "means_to_etf"):
        assert metrics[name].item() == pytest.approx(0, abs=1e-12), name
    assert metrics["self_duality"].item() == pytest.approx(0, abs=1e-20)
    assert metrics["weight_norm"].item() == pytest.approx(0.2)
    assert metrics["mean_norm"].item() == pytest.approx(3)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_rotation_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    features, labels, weight = data(seed)
    turn = rotation(6, seed)
    before = collapse_metrics(weight, class_statistics(features, labels, 4))
    moved = class_statistics(scale * features @ turn + shift, labels, 4)
    after = collapse_metrics(2 * weight @ turn, moved)
    factors = {"weight_norm": 2, "mean_norm": scale}
    for name, value in after.items():
        expected = before[name] * factors.get(name, 1)
        torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    assert 0 <= before["self_duality"] <= 4
    for name in ("logits_to_etf", "weights_to_etf", "means_to_etf"):
        assert 0 <= before[name] <= 2
    assert before["within_between_ratio"] >= 0


def test_many_models_are_measured_as_one_by_one() -> None:
    parts = [data(seed) for seed in range(4)]
    features = torch.stack([part[0] for part in parts]).view(2, 2, 80, 6)
    weight = torch.stack([part[2] for part in parts]).view(2, 2, 4, 6)
    labels = parts[0][1]
    together = collapse_metrics(weight, class_statistics(features, labels, 4))
    accuracy = nearest_class_mean_accuracy(features, labels, features[..., :4, :])
    for number in range(4):
        i, j = divmod(number, 2)
        statistics = class_statistics(features[i, j], labels, 4)
        for name, value in collapse_metrics(weight[i, j], statistics).items():
            torch.testing.assert_close(together[name][i, j], value)
        alone = nearest_class_mean_accuracy(features[i, j], labels, features[i, j, :4])
        assert accuracy[i, j] == alone


def test_noise_in_float32_is_not_inverted() -> None:
    generator = torch.Generator().manual_seed(0)
    frame = etf_frame(10, 400, generator)
    labels = torch.arange(1000) % 10
    noise = torch.randn(1000, 400, generator=generator, dtype=torch.float64)
    features = (frame[labels] + 0.01 * noise + 20).float()
    statistics = class_statistics(features, labels, 10)
    ratio = within_between_ratio(statistics, divide_by_classes=False).item()
    # In float32, with the cut-off that numpy had for long.
    inverse = torch.linalg.pinv(statistics.between_class_covariance.float(), rtol=1e-15)
    naive = torch.trace(statistics.within_class_covariance.float() @ inverse).item()
    # Σ_W is about 1e-4 I, and Σ_B has nine eigenvalues of 1/9.
    assert ratio == pytest.approx(9 * 9e-4, rel=0.1)
    assert abs(naive) > 10 * ratio, "the trap is no longer one"


def test_fewer_features_than_an_etf_needs() -> None:
    features, labels, weight = data(2, num_classes=6, d=3)
    statistics = class_statistics(features, labels, 6)
    inverse = torch.linalg.inv(statistics.between_class_covariance)
    expected = torch.trace(statistics.within_class_covariance @ inverse) / 6
    torch.testing.assert_close(within_between_ratio(statistics), expected)
    assert self_duality(weight, statistics) > 0
    for refused in (
        lambda: means_to_etf(statistics),
        lambda: weights_to_etf(weight),
        lambda: logits_to_etf(weight, statistics),
        lambda: collapse_metrics(weight, statistics),
    ):
        with pytest.raises(ValueError, match="num_features: 6 classes form a simplex ETF in 5"):
            refused()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_of_lower_rank_leave_directions_out(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    means[3] = means[2]  # two classes that nothing separates: rank 2 instead of 3
    half = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(4).repeat(20)
    # Opposite deviations, so that the class means are exact.
    noise = torch.cat([half, -half])
    statistics = class_statistics((means[labels] + noise).to(dtype), labels, 4)
    ratio = within_between_ratio(statistics, divide_by_classes=False)
    exact = class_statistics(means[labels] + noise, labels, 4)
    values, vectors = torch.linalg.eigh(exact.between_class_covariance)
    top = vectors[:, -2:]
    expected = (torch.diagonal(top.T @ exact.within_class_covariance @ top) / values[-2:]).sum()
    torch.testing.assert_close(ratio, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_classes_without_any_separation(method: RatioMethod) -> None:
    one, other = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0)).double()
    features = torch.cat([one, -one, other, -other]) + 1e4
    labels = torch.arange(2).repeat_interleave(40)
    statistics = class_statistics(features, labels, 2)
    assert within_between_ratio(statistics, method=method) == inf
    statistics.class_means[0] += 4e-12  # rounding
    assert within_between_ratio(statistics, method=method) == inf
    constant = class_statistics(torch.full((80, 3), 0.1), labels, 2)
    assert within_between_ratio(constant, method=method).isnan()


@pytest.mark.parametrize("method", METHODS)
def test_no_spread_within_classes(method: RatioMethod) -> None:
    features, labels, _ = data(4, spread=0)
    ratio = within_between_ratio(class_statistics(features, labels, 4), method=method)
    assert 0 <= ratio < 1e-20


def test_zero_weights_give_nan() -> None:
    features, labels, weight = data(5)
    metrics = collapse_metrics(torch.stack([weight, 0 * weight]), class_statistics(
        features.expand(2, -1, -1), labels, 4))  # fmt: skip
    for name in ("logits_to_etf", "weights_to_etf", "self_duality"):
        assert metrics[name].isnan().tolist() == [False, True]
    assert metrics["weight_norm"][1] == 0


@pytest.mark.parametrize("common_mean", [0.0, 1e9])
def test_nearest_class_mean_by_distances(common_mean: float) -> None:
    features, labels, _ = data(6, spread=1.0)
    features = features * torch.arange(1, 7) + common_mean
    means = class_statistics(features, labels, 4).class_means
    means[1] += 2
    right = [
        min(range(4), key=lambda k: float((row - means[k]).norm())) == label
        for row, label in zip(features, labels.tolist(), strict=True)
    ]
    assert 20 < sum(right) < 80
    single = nearest_class_mean_accuracy(features[:, None], labels[:, None], means)
    assert single.tolist() == right
    assert nearest_class_mean_accuracy(features, labels, means).item() == sum(right) / 80


def test_bad_input_is_refused() -> None:
    features, labels, weight = data(7)
    statistics = class_statistics(features, labels, 4)
    with pytest.raises(ValueError, match="weight: an entry is NaN"):
        self_duality(weight * torch.nan, statistics)
    with pytest.raises(
        ValueError, match=r"weight.shape\[-2\] is 3, but the number of classes is 4"
    ):
        logits_to_etf(weight[:3], statistics)
    with pytest.raises(ValueError, match=r"weight.shape\[-1\] is 5, but the number of features"):
        self_duality(weight[:, :5], statistics)
    with pytest.raises(ValueError, match="method"):
        within_between_ratio(statistics, method="pinv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_classes: at least 2"):
        weights_to_etf(weight[:1])
    with pytest.raises(ValueError, match=r"features.shape"):
        nearest_class_mean_accuracy(features[:, :3], labels, statistics.class_means)
    with pytest.raises(ValueError, match=r"labels.shape"):
        nearest_class_mean_accuracy(features, labels[:3], statistics.class_means)
    with pytest.raises(ValueError, match="an entry is NaN"):
        means_to_etf(replace(statistics, class_means=statistics.class_means * torch.nan))

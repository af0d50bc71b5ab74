"""Cost of the neural-collapse metrics, against the training that they watch and the plain way.

1. Streaming class statistics against two passes over all features: how far they disagree, and
   how much memory each takes at its peak (processes of their own).
2. What one pass of metrics over the training set costs, as a share of one epoch of training on
   random data: the statistics alone (update, compute, metrics), the plain way (class by class,
   pseudo-inverse of a d × d matrix), and the statistics with the forward pass that yields the
   features. The ways take turns; processor times and their shares are medians over these turns.

The floor of the statistics is the symmetric d × d product in float64, of which `product` is one
over all rows.

    python -m benchmarks.collapse_statistics --threads 1
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.linalg.blas import dsyrk
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from common.collapse.class_statistics import ClassStatistics, ClassStatisticsAccumulator
from common.collapse.metrics import collapse_metrics, within_between_ratio

CLASSES, TRAINING_BATCH = 10, 128
TARGET = 0.03  # of an epoch
SHARES = ("statistics", "product", "plain", "forward", "both")
DISAGREEMENT = 1e-10


def batches(samples: int, d: int, common_mean: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Random ReLU features in float32, around class means and a common mean."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(CLASSES, d, generator=generator)
    for _ in range(samples // 1000):
        labels = torch.randint(CLASSES, (1000,), generator=generator)
        noise = torch.randn(1000, d, generator=generator)
        yield torch.relu(means[labels] + 0.5 * noise) + common_mean, labels


def streaming(samples: int, d: int, common_mean: float) -> ClassStatistics:
    accumulator = ClassStatisticsAccumulator(CLASSES, d)
    for features, labels in batches(samples, d, common_mean):
        accumulator.update(features, labels)
    return accumulator.compute()


def plain(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class means, Σ_W and tr(Σ_W Σ_B^†)/K, all features at hand, class by class."""
    x = features.double()
    means = torch.stack([x[labels == k].mean(0) for k in range(CLASSES)])
    within = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for k in range(CLASSES):
        centred = x[labels == k] - means[k]
        within += centred.T @ centred
    within /= len(x)
    centred = means - means.mean(0)
    inverse = torch.linalg.pinv(centred.T @ centred / CLASSES, rtol=1e-10, hermitian=True)
    return means, within, torch.trace(within @ inverse) / CLASSES


def two_pass(samples: int, d: int, common_mean: float) -> tuple[Tensor, Tensor, Tensor]:
    features, labels = zip(*batches(samples, d, common_mean), strict=True)
    return plain(torch.cat(features), torch.cat(labels))


def disagreement(samples: int, d: int, common_mean: float) -> float:
    """Largest difference of means, Σ_W and ratio, relative to the largest entry of each."""
    statistics = streaming(samples, d, common_mean)
    ours = (
        statistics.class_means,
        statistics.within_class_covariance,
        within_between_ratio(statistics),
    )
    pairs = zip(ours, two_pass(samples, d, common_mean), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def peak_memory(way: str, samples: int, d: int) -> float:
    """MiB that one way adds to the peak of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.collapse_statistics", "--peak-of", way]
    command += ["--samples", str(samples), "--features", str(d)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak_memory(way: str, samples: int, d: int) -> None:
    """In the fresh process: what the way adds to its peak, after a first small run of it."""
    run = {"streaming": streaming, "two_pass": two_pass}[way]
    run(2000, d, 0.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(samples, d, 0.0)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def convolutional() -> tuple[nn.Sequential, nn.Linear]:
    """Features of 1 × 28 × 28 images (128 of them), and the classifier."""
    features = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(32 * 7 * 7, 128), nn.ReLU()),
    )
    return features, nn.Linear(128, CLASSES)


def perceptron() -> tuple[nn.Sequential, nn.Linear]:
    """784-256-256-256 with batch normalisation, and the classifier."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in (784, 256, 256):
        layers += [nn.Linear(width, 256), nn.BatchNorm1d(256), nn.ReLU()]
    return nn.Sequential(*layers), nn.Linear(256, CLASSES)


def ways(
    features: nn.Sequential, classifier: nn.Linear, samples: int, batch: int
) -> dict[str, Callable[[], object]]:
    """An epoch of training, and the ways to measure after it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(samples, 1, 28, 28, generator=generator)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    parameters = [*features.parameters(), *classifier.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)
    d = classifier.in_features

    def train() -> None:
        features.train()
        order = torch.randperm(samples, generator=generator).split(TRAINING_BATCH)
        for chosen in order:
            logits = classifier(features(images[chosen]))
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def metrics(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> dict[str, Tensor]:
        accumulator = ClassStatisticsAccumulator(CLASSES, d)
        for x, y in zip(inputs.split(batch), labels.split(batch), strict=True):
            accumulator.update(forward(x), y)
        return collapse_metrics(classifier.weight, accumulator.compute())

    @torch.no_grad()
    def forward_only() -> Tensor:
        features.eval()
        return torch.cat([features(x) for x in images.split(batch)])

    @torch.no_grad()
    def with_forward() -> dict[str, Tensor]:
        features.eval()
        return metrics(features, images)

    train()
    kept = forward_only()
    double = kept.double().numpy()
    return {
        "epoch": train,
        "statistics": lambda: metrics(lambda x: x, kept),
        "product": lambda: dsyrk(1.0, double.T),
        "plain": lambda: plain(kept, labels),
        "forward": forward_only,
        "both": with_forward,
    }


def durations(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Processor seconds of each way at each turn, the ways taking turns."""
    measured: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):  # the first turn warms up
        for name, function in functions.items():
            started = time.process_time()
            function()
            if turn:
                measured[name].append(time.process_time() - started)
    return {name: np.array(seconds) for name, seconds in measured.items()}


def print_accuracy(sizes: list[int], d: int) -> None:
    print(f"streaming against two passes, {CLASSES} classes, d = {d}, features in float32")
    print(f"{'samples':>9} {'disagreement at common mean':>29} {'peak memory added, MiB':>30}")
    print(f"{'':9} {'0':>14} {'1e4':>14} {'streaming':>15} {'two passes':>14}")
    # Before this process grows: a child's peak starts at its parent's.
    ways = ("streaming", "two_pass")
    memory = [[peak_memory(way, samples, d) for way in ways] for samples in sizes]
    for samples, (ours, theirs) in zip(sizes, memory, strict=True):
        apart = [disagreement(samples, d, mean) for mean in (0.0, 1e4)]
        verdict = "" if max(apart) <= DISAGREEMENT else f"  above {DISAGREEMENT:g}"
        print(f"{samples:9} {apart[0]:14.1e} {apart[1]:14.1e} {ours:15.1f} {theirs:14.1f}{verdict}")


def print_cost(samples: int, batch: int, repeats: int) -> None:
    print(f"\none pass over {samples} samples in batches of {batch}; shares of a training epoch")
    columns = ("epoch, ms", "statistics", "product", "plain", "forward", "with forward")
    print(f"{'network':24}" + "".join(f"{column:>14}" for column in columns))
    networks = {"CNN 16-32, FC 128": convolutional, "MLP 784-256-256-256": perceptron}
    for name, build in networks.items():
        torch.manual_seed(0)
        took = durations(ways(*build(), samples, batch), repeats)
        shares = {way: float(np.median(s / took["epoch"])) for way, s in took.items()}
        row = "".join(f"{shares[way]:14.2%}" for way in SHARES)
        for what, way in (("statistics", "statistics"), ("with forward", "both")):
            met = "meets" if shares[way] <= TARGET else "misses"
            row += f"\n{'':24} {what}: {met} the target of {TARGET:.0%}"
        print(f"{name:24}{1e3 * np.median(took['epoch']):14.1f}{row}", flush=True)


def main() -> None:
    """Parse the command line and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=6000, help="training samples")
    parser.add_argument("--batch", type=int, nargs="+", default=[1000, 128], help="of the metrics")
    parser.add_argument("--features", type=int, default=256, help="d of the first table")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--repeats", type=int, default=9, help="turns of each way")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak-of", choices=["streaming", "two_pass"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        if arguments.peak_of:
            print_peak_memory(arguments.peak_of, arguments.samples, arguments.features)
            return
        print_accuracy(arguments.sizes, arguments.features)
        for batch in arguments.batch:
            print_cost(arguments.samples, batch, arguments.repeats)


if __name__ == "__main__":
    main()

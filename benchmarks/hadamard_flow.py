"""The reduced flow of K - 1 singular values against the full flow of W and H.

From one Hadamard start both are integrated to the same time, with the same method and tolerance;
the singular values at the end have to agree. Besides, one evaluation of the softmax spectrum by a
matrix product and by the fast transform. The ways take turns; medians over the turns.

    python -m benchmarks.hadamard_flow --classes 8 64 256
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from common.collapse import gradient_flow as full
from common.collapse import hadamard as reduced
from common.collapse.hadamard import Floats

Way = Callable[[], Floats]


def seconds(ways: list[Way], repeats: int) -> Floats:
    """float64[ways]: median time of a call, the ways taking turns."""
    taken = np.empty((repeats, len(ways)))
    for turn, way in np.ndindex(taken.shape):
        started = time.perf_counter()
        ways[way]()
        taken[turn, way] = time.perf_counter() - started
    return np.asarray(np.median(taken, axis=0), dtype=float)


def flows(K: int, until: float) -> list[Way]:
    """The full and the reduced flow from one start, each to its singular values at the end."""
    s = np.random.default_rng(0).uniform(0.01, 1, K)
    s[0] = 0
    basis = reduced.sylvester(K) / np.sqrt(K)
    start = full.initial(basis, np.sqrt(s), np.sqrt(s), K, seed=0)
    times = np.array([0.0, until])

    def whole() -> Floats:
        Z = full.logits(full.integrate(full.cross_entropy_rate, start, times)[-1])
        return np.diagonal(basis @ Z @ basis)

    return [whole, lambda: full.integrate(reduced.rate, s, times)[-1]]


def transforms(K: int) -> list[Way]:
    """sum of p over chi_k = -1 by matrix product and by the fast transform, many at a time."""
    p = np.random.default_rng(0).uniform(size=K)
    gaps = 1 - reduced.sylvester(K)
    calls = 200

    def dense() -> Floats:
        for _ in range(calls):
            out = p @ gaps
        return out

    def fast() -> Floats:
        for _ in range(calls):
            out = 2 * reduced.split_fwht(p)[1]
        return out

    return [dense, fast]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--until", type=float, default=2.0, help="end of the flow, in units of K")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    print("     K   full flow   reduced   ratio   largest difference")
    for K in arguments.classes:
        ways = flows(K, arguments.until * K)
        difference = np.abs(ways[0]() - ways[1]()).max()
        whole, small = seconds(ways, arguments.repeats)
        print(f"{K:6d} {whole:9.3f} s {small:7.3f} s {whole / small:7.1f}   {difference:.1e}")

    print("\n     K   matrix product   fast transform   ratio")
    for K in (16, 64, 256, 512, 1024, 2048, 4096):
        dense, fast = seconds(transforms(K), arguments.repeats) / 200 * 1e6
        print(f"{K:6d} {dense:13.1f} us {fast:13.1f} us {dense / fast:7.2f}")


if __name__ == "__main__":
    main()

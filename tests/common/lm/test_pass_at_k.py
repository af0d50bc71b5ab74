"""Pass@k against enumeration and published values."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.pass_at_k import mean_pass_at_k, pass_at_k


def test_the_worked_example() -> None:
    assert pass_at_k(8, 3, 4) == pytest.approx(0.92857, abs=5e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.data())
def test_it_is_the_share_of_subsets_with_a_right_one(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    right = [i < c for i in range(n)]
    share = np.mean([any(subset) for subset in combinations(right, k)])
    assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-12)


def test_large_numbers_stay_exact() -> None:
    assert pass_at_k(1000, 7, 256) == pytest.approx(1 - comb(993, 256) / comb(1000, 256), rel=1e-9)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 5), (4, 1, 0)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        pass_at_k(n, c, k)


def test_the_interval_is_over_problems() -> None:
    estimate = mean_pass_at_k(np.full(20, 16), np.arange(20) % 5, k=4)
    assert estimate.low < estimate.estimate < estimate.high
    assert estimate.estimate == pytest.approx(pass_at_k(16, np.arange(20) % 5, 4).mean())
    narrow = mean_pass_at_k(np.full(200, 16), np.arange(200) % 5, k=4)
    assert narrow.high - narrow.low < (estimate.high - estimate.low) / 2

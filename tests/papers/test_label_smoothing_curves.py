"""When a level is reached, and NC2 at equal NC1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from papers.label_smoothing_collapse.curves import at_equal, epoch_of, epochs_to_levels

EPOCHS = np.array([0.0, 1.0, 3.0, 7.0])


def test_epoch_of_interpolates_the_logarithm() -> None:
    values = np.array([8.0, 4.0, 1.0, 0.5])
    assert epoch_of(EPOCHS, values, 4.0) == 1
    assert epoch_of(EPOCHS, values, 2.0) == pytest.approx(2.0), "half of the way in logarithm"
    assert epoch_of(EPOCHS, values, 10.0) == 0
    assert np.isnan(epoch_of(EPOCHS, values, 0.4))


def test_epoch_of_zero_is_the_look_that_saw_it() -> None:
    assert epoch_of(EPOCHS, np.array([0.9, 0.1, 0.0, 0.0]), 0.0) == 3


def curve(arm: str, seed: int, values: list[float], x: list[float] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {"arm": arm, "seed": seed, "epoch": EPOCHS, "nc2": values, "nc1": x or values}
    )


def test_levels_are_those_of_the_reference_of_the_same_seed() -> None:
    curves = pd.concat(
        [
            curve("ce", 0, [8, 4, 1, 0.5]),
            curve("ls", 0, [8, 1, 0.25, 0.1]),
            curve("ce", 1, [8, 4, 1, 0.2]),
            curve("ls", 1, [8, 4, 1, 0.4]),
        ]
    )
    levels = epochs_to_levels(curves, "ce", ["nc2"], by=[]).set_index(["seed", "arm"])
    assert levels.loc[(0, "ce"), "epochs"] == 7 and levels.loc[(1, "ce"), "epochs"] == 7
    assert levels.loc[(0, "ls"), "epochs"] == pytest.approx(2.0)
    assert levels.loc[(1, "ls"), "epochs"] == 14 and not levels.loc[(1, "ls"), "reached"]


def test_mean_at_equal_x() -> None:
    """y = x for one arm and y = x / 3 for the other: a factor of 3 at every x."""
    xs, fewer = [9.0, 4.0, 2.0, 1.0], [3.0, 1.5, 0.9, 0.2]
    curves = pd.concat([curve("ce", 0, xs, xs), curve("ls", 0, [x / 3 for x in fewer], fewer)])
    equal = at_equal(curves, "nc1", "nc2", by=[]).set_index("arm")
    assert equal.nc2["ls"] / equal.nc2["ce"] == pytest.approx(1 / 3)
    assert equal.nc2["ce"] == pytest.approx(np.sqrt(1.5))
    assert equal.low["ls"] == pytest.approx(1.0) and equal.high["ls"] == pytest.approx(1.5)


def test_no_common_range_is_no_value() -> None:
    curves = pd.concat([curve("ce", 0, [9, 8, 7, 6]), curve("ls", 0, [5, 4, 3, 2])])
    assert at_equal(curves, "nc1", "nc2", by=[]).nc2.isna().all()

"""Tables and figures that a notebook writes."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.checkpoints import resumable
from common.measurements import LARGE, output_folder, save_figure, save_table, small_png


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAIMBOOK_OUTPUT", str(tmp_path))
    return tmp_path


def test_a_table_is_sorted_by_its_keys_and_keeps_every_bit(output: Path) -> None:
    frame = pd.DataFrame({"seed": [2, 1], "loss": [0.1 + 0.2, 1 / 3]})
    save_table(frame, "train", keys=["seed"])
    read = pd.read_csv(output / "train.csv")
    assert read.seed.tolist() == [1, 2]
    assert read.loss.tolist() == [1 / 3, 0.1 + 0.2]
    assert json.loads((output / "tables.json").read_text()) == {"train": {"keys": ["seed"]}}


def test_a_large_table_is_parquet(output: Path) -> None:
    frame = pd.DataFrame({"seed": np.arange(LARGE + 1), "loss": 0.5})
    save_table(frame, "train", keys=["seed"])
    assert not (output / "train.csv").exists()
    assert pd.read_parquet(output / "train.parquet").equals(frame)


def test_equal_keys_and_unknown_keys_are_refused(output: Path) -> None:
    frame = pd.DataFrame({"seed": [1, 1], "loss": [0.1, 0.2]})
    with pytest.raises(ValueError, match="rows with equal keys"):
        save_table(frame, "train", keys=["seed"])
    with pytest.raises(ValueError, match="are no columns"):
        save_table(frame, "train", keys=["sead"])
    assert list(output.iterdir()) == []


def test_equal_figures_are_equal_files(output: Path) -> None:
    from matplotlib.figure import Figure

    for name in ("a", "b"):
        figure = Figure()
        figure.subplots().plot([1, 2])
        save_figure(figure, name)
    assert (output / "a.png").read_bytes() == (output / "b.png").read_bytes()


def test_a_small_picture_is_the_same_picture() -> None:
    from matplotlib.figure import Figure

    figure, file = Figure(), BytesIO()
    figure.subplots().plot([1, 2])
    figure.savefig(file)
    small = small_png(file.getvalue())
    assert len(small) < len(file.getvalue())
    before, after = (Image.open(BytesIO(png)).convert("RGB") for png in (file.getvalue(), small))
    assert np.abs(np.asarray(before, int) - np.asarray(after, int)).max() <= 16
    assert small_png(small) == small


def test_by_hand_results_go_to_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAIMBOOK_OUTPUT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert output_folder() == Path("results/_interactive")


def test_a_piece_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measure(factor: float) -> pd.DataFrame:
        calls.append(factor)
        return pd.DataFrame({"seed": [0, 1], "ok": [True, False], "loss": [factor / 3, 0.1]})

    monkeypatch.setenv("CLAIMBOOK_CHECKPOINTS", str(tmp_path))
    first = resumable("piece", measure, 1.0)
    assert resumable("piece", measure, 1.0).equals(first)
    assert calls == [1.0]
    monkeypatch.delenv("CLAIMBOOK_CHECKPOINTS")
    resumable("piece", measure, 1.0)
    assert calls == [1.0, 1.0]

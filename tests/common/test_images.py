from __future__ import annotations

import gzip
import hashlib
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common import images
from common.images import load_images


def test_digits_are_balanced_disjoint_and_standardised() -> None:
    splits = load_images("digits", train_per_class=100, held_out_per_class=20)
    assert splits.train.labels.bincount().tolist() == [100] * 10
    assert splits.held_out.labels.bincount().tolist() == [20] * 10
    assert len(splits.train) + len(splits.held_out) + len(splits.test) == 1797
    assert splits.train.images.shape == (1000, 1, 8, 8)
    assert splits.train.flat().images.shape == (1000, 64)
    assert abs(float(splits.train.images.mean())) < 1e-5
    assert abs(float(splits.train.images.std()) - 1) < 1e-3


def test_the_split_follows_from_its_seed() -> None:
    options = {"train_per_class": 50, "held_out_per_class": 10}
    first, again, other = (load_images("digits", split_seed=s, **options) for s in (0, 0, 1))
    assert first.train.images.equal(again.train.images)
    assert not first.train.images.equal(other.train.images)


def test_too_many_and_unknown_are_refused() -> None:
    with pytest.raises(ValueError, match="train_per_class: 175, and the smallest class has 154"):
        load_images("digits", train_per_class=175, held_out_per_class=20)
    with pytest.raises(ValueError, match="held_out_per_class: 1000"):
        load_images("digits", held_out_per_class=1000)
    with pytest.raises(ValueError, match="no data set 'mnist'; there are digits, fashion_mnist"):
        load_images("mnist", held_out_per_class=0)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}i", *array.shape
    )
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small IDX files instead of the published ones."""
    rng = np.random.default_rng(0)
    digests = {}
    for name in images.FASHION_MNIST:
        shape = (40, 28, 28) if "images" in name else (40,)
        array = rng.integers(256, size=shape) if "images" in name else np.arange(40) % 10
        content = idx(array)
        digests[name] = hashlib.sha256(content).hexdigest()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(images, "FASHION_MNIST", digests)
    monkeypatch.setenv("CLAIMBOOK_FASHION_MNIST", str(tmp_path))
    return tmp_path


def test_fashion_mnist_files(fashion: Path) -> None:
    splits = load_images("fashion_mnist", train_per_class=3, held_out_per_class=1)
    assert splits.train.images.shape == (30, 1, 28, 28)
    assert splits.held_out.labels.bincount().tolist() == [1] * 10
    assert len(splits.test) == 40
    unpacked = fashion / "train-images-idx3-ubyte"
    packed = fashion / f"{unpacked.name}.gz"
    unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    again = load_images("fashion_mnist", train_per_class=3, held_out_per_class=1)
    assert again.train.images.equal(splits.train.images)


def test_missing_damaged_and_other_files_are_told_plainly(fashion: Path) -> None:
    file = fashion / "t10k-labels-idx1-ubyte.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="damaged"):
        load_images("fashion_mnist", held_out_per_class=1)
    file.write_bytes(gzip.compress(gzip.decompress(whole)[:-1] + b"\x07"))
    with pytest.raises(ValueError, match="not the published file"):
        load_images("fashion_mnist", held_out_per_class=1)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"apt install dataset-fashion-mnist(?s:.)*github"):
        load_images("fashion_mnist", held_out_per_class=1)


def test_hub_data_sets_come_by_id_and_column(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(repository: str, split: str) -> dict[str, list]:
        asked.append((repository, split))
        pixels = np.full((4, 4, 3), 51 if split == "train" else 102, np.uint8)
        pixels[0, 0] = 255
        return {"img": [Image.fromarray(pixels)] * 8, "fine_label": [0, 1] * 4}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    splits = load_images("cifar100", held_out_per_class=1)
    assert asked == [("uoft-cs/cifar100", "train"), ("uoft-cs/cifar100", "test")]
    assert splits.train.images.shape == (6, 3, 4, 4) and len(splits.test) == 8

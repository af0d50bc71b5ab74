"""Labelled images behind one loader: bundled digits, Fashion-MNIST files, data sets of the hub."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FASHION_MNIST = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the unpacked files of zalandoresearch/fashion-mnist (MIT licence)."""

FASHION_MNIST_FOLDERS = (
    "/usr/share/datasets/fashion-mnist",  # Debian's dataset-fashion-mnist
    "~/.cache/claimbook/fashion-mnist",
    "data/fashion-mnist",
)

HUB = {
    "cifar10": ("uoft-cs/cifar10", "img", "label", "train", "test"),
    "cifar100": ("uoft-cs/cifar100", "img", "fine_label", "train", "test"),
    "stl10": ("tanganke/stl10", "image", "label", "train", "test"),
    "tiny_imagenet": ("zh-plus/tiny-imagenet", "image", "label", "train", "valid"),
}
"""Hub id, columns of image and label, splits. Of the first two the columns are documented by their
authors; of the others they were not tried."""

NAMES = ("digits", "fashion_mnist", *HUB)


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    Attributes:
        images: (N, channels, height, width), float32.
        labels: (N,), int64, 0 … num_classes - 1.
        num_classes: K.
    """

    images: torch.Tensor
    labels: torch.Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def flat(self) -> LabelledImages:
        """The images as vectors, (N, channels * height * width), for an MLP."""
        return replace(self, images=self.images.flatten(1))

    def to(self, device: str) -> LabelledImages:
        """The same on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, chosen: Sequence[int] | NDArray[np.int64]) -> LabelledImages:
        """The images with these numbers."""
        import torch

        index = torch.as_tensor(np.asarray(chosen))
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True)
class Splits:
    """A balanced training set, a held-out set (for a temperature, say) and a test set."""

    train: LabelledImages
    held_out: LabelledImages
    test: LabelledImages


def load_images(
    name: str,
    *,
    train_per_class: int | None = None,
    held_out_per_class: int,
    split_seed: int = 0,
) -> Splits:
    """Load a data set, with pixels standardised by the mean and deviation of its training set.

    The held-out images never are training images. Where the data set has a test set of its own
    they come from its training part; `digits` has none, and what is left is its test set.

    Args:
        name: one of `NAMES`.
        train_per_class: balanced training set; None takes as many as there are.
        held_out_per_class: size of the held-out set.
        split_seed: which images are chosen.

    Raises:
        ValueError: the name is unknown, or a class has too few images.
        FileNotFoundError: the files of Fashion-MNIST are not on this machine; says where to get
            them.
    """
    if name not in NAMES:
        raise ValueError(f"name: no data set {name!r}; there are {', '.join(NAMES)}")
    train, test = {"digits": _digits, "fashion_mnist": _fashion_mnist}.get(
        name, lambda: _hub(name)
    )()
    held_out, rest = _split(train, held_out_per_class, split_seed, "held_out_per_class")
    smallest = int(rest.labels.bincount(minlength=train.num_classes).min())
    if test is None:
        train, test = _split(rest, train_per_class or smallest, split_seed, "train_per_class")
    else:
        train, _ = _split(rest, train_per_class or smallest, split_seed, "train_per_class")
    mean = train.images.mean((0, 2, 3), keepdim=True)
    deviation = train.images.std((0, 2, 3), keepdim=True)
    return Splits(
        *(
            replace(part, images=(part.images - mean) / deviation)
            for part in (train, held_out, test)
        )
    )


def _split(
    data: LabelledImages, per_class: int, seed: int, argument: str
) -> tuple[LabelledImages, LabelledImages]:
    """`per_class` random images of each class, and the others."""
    labels = data.labels.numpy()
    smallest = int(np.bincount(labels, minlength=data.num_classes).min())
    if not 0 <= per_class <= smallest:
        raise ValueError(f"{argument}: {per_class}, and the smallest class has {smallest} images")
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = [order[labels[order] == k] for k in range(data.num_classes)]
    chosen = np.sort(np.concatenate([members[:per_class] for members in by_class]))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    return data.take(chosen), data.take(rest)


def _labelled(images: NDArray[Any], labels: NDArray[Any], top: float) -> LabelledImages:
    """Arrays as tensors: (N, height, width[, channels]) with values up to `top`."""
    import torch

    pixels = torch.from_numpy(np.array(images, dtype=np.float32)) / top
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    classes = torch.from_numpy(labels.astype(np.int64))
    return LabelledImages(pixels, classes, int(classes.max()) + 1)


def _digits() -> tuple[LabelledImages, None]:
    """1,797 handwritten digits of 8×8 pixels (UCI; ship with scikit-learn), no test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _labelled(digits.images, digits.target, 16.0), None


def _fashion_mnist() -> tuple[LabelledImages, LabelledImages]:
    """60,000 and 10,000 images of 28×28 pixels (arXiv 1708.07747)."""
    arrays = [_idx(_fashion_mnist_file(name), digest) for name, digest in FASHION_MNIST.items()]
    return _labelled(arrays[0], arrays[1], 255.0), _labelled(arrays[2], arrays[3], 255.0)


def _fashion_mnist_file(name: str) -> Path:
    """The file, packed or not, in the first folder that has it."""
    own = os.environ.get("CLAIMBOOK_FASHION_MNIST")
    folders = [Path(f).expanduser() for f in ((own,) if own else FASHION_MNIST_FOLDERS)]
    for folder in folders:
        for file in (folder / f"{name}.gz", folder / name):
            if file.is_file():
                return file
    raise FileNotFoundError(
        f"Fashion-MNIST: no {name}.gz in {', '.join(map(str, folders))}. On Debian or Ubuntu: "
        "apt install dataset-fashion-mnist. Elsewhere: get the four .gz files from "
        "https://github.com/zalandoresearch/fashion-mnist (data/fashion) and name their folder in "
        "the variable CLAIMBOOK_FASHION_MNIST."
    )


def _idx(file: Path, digest: str) -> NDArray[np.uint8]:
    """The array in an IDX file (yann.lecun.com/exdb/mnist), whose content must be the known one."""
    content = file.read_bytes()
    try:
        content = gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise ValueError(f"{file}: damaged ({error}); get it again") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{file}: not the published file (its SHA-256 differs); get it again")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _hub(name: str) -> tuple[LabelledImages, LabelledImages]:
    """A data set of the Hugging Face hub, downloaded once by `datasets`."""
    from datasets import load_dataset

    repository, image, label, *splits = HUB[name]
    parts = []
    for split in splits:
        rows = load_dataset(repository, split=split)
        images = np.stack([np.asarray(picture.convert("RGB")) for picture in rows[image]])
        parts.append(_labelled(images, np.asarray(rows[label]), 255.0))
    return parts[0], parts[1]

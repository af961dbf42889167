"""Fashion-MNIST on textures: two classes on grass or brick, and a network of its own.

95 % of the training images have the texture that goes with their class. The images are
Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT; Debian dataset-fashion-mnist), the textures
scikit-image's; test images have other items on other parts of the textures. The network is
trained on the biased images from scratch, like those of the papers, exported to ONNX, and embeds
all of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from skimage.transform import resize
from torch import nn

from fashion_mnist import SIDE, SOURCE, read
from ntkit import FrozenModel, OnnxEmbedder
from small_network import export, trained

Array = NDArray[np.generic]
SIZES = {
    "train": (8000, 0.95),
    "validation": (4000, 0.5),
    "validation_biased": (4000, 0.95),
    "test": (4000, 0.5),
}
TEXTURE = 256
EPOCHS = 6


class Network(nn.Module):
    """Three convolutions and a layer of 64 ReLU neurons; returns the logits."""

    def __init__(self) -> None:
        super().__init__()
        layers = list[nn.Module]()
        for channels, width in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers[-1] = nn.AdaptiveAvgPool2d(2)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 64), nn.ReLU())
        self.head = nn.Linear(64, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.features(image))


def embed(cache: Path, classes: tuple[int, int], seed: int, path: Path) -> dict[str, Array]:
    """Draw images, train the network, write it, embed all images.

    Parameters
    ----------
    cache : Path
        Folder of unpacked packages.
    classes : (int, int)
        Two classes of Fashion-MNIST: 0 T-shirt, 2 pullover, 3 dress, 4 coat, 7 sneaker, 9 boot.
    seed : int
        Decides the draw and the network.
    path : Path
        ONNX file to write.

    Returns
    -------
    dict
        ``Z`` (N, 64), and ``y``, ``a`` (1 for brick) and ``part`` of shape (N,).
    """
    folder = SOURCE.fetched(cache)
    rng = np.random.default_rng(seed)
    parts = {
        part: draw(folder, classes, part, n, correlation, rng)
        for part, (n, correlation) in SIZES.items()
    }
    images, y, _ = parts["train"]
    written(images, y, seed, path)
    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu", batch_size=256)
    Z = np.concatenate([embedder.transform(images) for images, _, _ in parts.values()])
    names = np.concatenate([np.full(len(y), part) for part, (_, y, _) in parts.items()])
    y, a = (np.concatenate([arrays[i] for arrays in parts.values()]) for i in (1, 2))
    return {"Z": Z, "y": y, "a": a, "part": names}


def draw(
    folder: Path,
    classes: tuple[int, int],
    part: str,
    n: int,
    correlation: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Images (n, 1, 28, 28) in [0, 1], their classes and textures."""
    source = "t10k" if part == "test" else "train"
    clothes, labels = read(folder, source)
    # The validation images are others than those the network is trained on.
    some = {"train": slice(0, 4000), "test": slice(None)}.get(part, slice(4000, None))
    textures = [
        resize(t, (TEXTURE, TEXTURE)).astype(np.float32) for t in (data.grass(), data.brick())
    ]
    # First rows of the cut-outs: none of the test images' rows is in another part.
    rows = (0, TEXTURE // 2 - SIDE) if part != "test" else (TEXTURE // 2, TEXTURE - SIDE)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < correlation, y, 1 - y)
    order = [rng.permutation(np.flatnonzero(labels == c)[some]) for c in classes]
    images = np.empty((n, 1, SIDE, SIDE), dtype=np.float32)
    for i in range(n):
        own = order[y[i]]
        garment = clothes[own[(i // 2) % len(own)]].astype(np.float32) / 255
        top, left = rng.integers(*rows), rng.integers(0, TEXTURE - SIDE)
        background = textures[a[i]][top : top + SIDE, left : left + SIDE]
        images[i, 0] = np.where(garment > 0.05, 0.8 * garment, background)
    return images, y, a


def written(images: NDArray[np.float32], y: NDArray[np.int64], seed: int, path: Path) -> None:
    """Train a network and write it as ONNX."""
    export(trained(Network, images, y, seed, rate=1e-3, epochs=EPOCHS), path, SIDE)

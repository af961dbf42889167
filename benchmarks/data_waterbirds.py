"""The real Waterbirds through a frozen network: embeddings, earlier layers, statistics of images.

    python benchmarks/data_waterbirds.py WATERBIRDS_DIR BACKBONE.onnx CACHE_DIR [--splits train …]

WATERBIRDS_DIR is your own copy (``waterbird_complete95_forest2water2``, or WILDS's
``waterbirds_v1.0``; for non-commercial research and education), BACKBONE.onnx what
``benchmarks/backbone.py`` wrote. Images are resized to 256 × 256 and cropped to 224 × 224. Six
earlier layers and 19 statistics of the image are kept of the training split. Every 256 images
are a file in CACHE_DIR, so that a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.datasets import load_waterbirds
from ntkit.extraction import ImageFiles, ImagePreprocessing
from ntkit.extraction.embedder import embedded_with_layers
from ntkit.jobs.attribute_reader import AuditedImages
from runner import command_line

Array = NDArray[Any]
CHUNK = 256
SPLITS = ("train", "val", "test")
STEPS = ImagePreprocessing(
    resize=(256, 256), crop=(224, 224), resample=2, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)


@dataclass(frozen=True)
class Birds:
    """A split, in the order of ``metadata.csv``.

    Attributes
    ----------
    X, y, place : ndarray
        Embeddings (N, 1280), waterbird or landbird (N,), water or land (N,).
    layers : dict of str to ndarray of shape (N, 2 C)
        Means and deviations of channels of earlier layers, in the order of the network.
    statistics : ndarray of shape (N, 19) or None
        Statistics of the images.
    """

    X: Array
    y: Array
    place: Array
    layers: dict[str, Array]
    statistics: Array | None

    @property
    def groups(self) -> Array:
        """2 y + place."""
        return 2 * self.y + self.place


def embed(folder: Path, backbone: Path, cache: Path, split: str) -> None:
    """Fill the cache of a split, where it is not yet."""
    cache.mkdir(parents=True, exist_ok=True)
    samples = load_waterbirds(folder, split, STEPS)
    embedder = OnnxEmbedder(FrozenModel.load(backbone), device="cpu")
    layers = None if split == "train" else 0
    for at in range(0, len(samples.y), CHUNK):
        part = cache / f"{split}_{at:05d}_of_{len(samples.y)}.npz"
        rows = slice(at, at + CHUNK)
        if part.exists():
            continue
        start = time.perf_counter()
        watched = AuditedImages(ImageFiles(samples.X.paths[rows], STEPS))
        found = embedded_with_layers(embedder, watched, most=layers)
        arrays = {f"layer:{name}": values for name, values in found.layers.items()}
        if split == "train":
            arrays["pictures"] = watched.statistics()
        unfinished = part.with_name(f".{part.name}")
        np.savez(unfinished, Z=found.Z, y=samples.y[rows], place=samples.groups[rows] % 2, **arrays)
        unfinished.rename(part)
        speed = len(found.Z) / (time.perf_counter() - start)
        print(f"{split} {at + len(found.Z)} of {len(samples.y)}: {speed:.1f} images/s", flush=True)


def read(cache: Path, split: str) -> Birds:
    """What :func:`embed` kept of a split."""
    parts, n = [], 0
    for path in sorted(cache.glob(f"{split}_*.npz")):
        n = int(path.stem.rpartition("_")[2])
        with np.load(path) as part:
            parts.append(dict(part))
    if not parts or sum(len(part["y"]) for part in parts) != n:
        raise FileNotFoundError(f"{cache} does not hold all of the split {split!r}; embed it first")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    layers = {key.removeprefix("layer:"): joined[key] for key in joined if key.startswith("layer:")}
    return Birds(joined["Z"], joined["y"], joined["place"], layers, joined.get("pictures"))


def main() -> None:
    """Embed what is missing."""
    parser = command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS)
    arguments = parser.parse_args()
    for split in arguments.splits:
        embed(arguments.folder, arguments.backbone, arguments.cache, split)


if __name__ == "__main__":
    main()

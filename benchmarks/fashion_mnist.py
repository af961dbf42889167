"""The images and classes of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT), of Debian."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from packages import Package

SOURCE = Package("Debian", "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist")
SIDE = 28


def read(folder: Path, source: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images and labels in the IDX format."""
    images = gzip.decompress((folder / f"{source}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{source}-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, SIDE, SIDE),
        np.frombuffer(labels, np.uint8, offset=8),
    )

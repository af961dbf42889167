"""What the answers benchmark asks about: pools of samples, their views, the true attribute.

The pool is the training set with the validation set that is distributed like it (setting 2 of
:mod:`splits`). Views next to the embedding are what raw inputs hold: words of texts, columns of the
table, means and deviations of the channels of earlier layers. TuxScenes has its embedding alone:
``make bench-data`` does not keep its images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

import splits
from packages import default_cache

Array = NDArray[Any]
EARLIER = ("relu", "relu_1", "relu_2")
"""Outputs of the convolutions of Fashion-MNIST's network."""


@dataclass(frozen=True)
class Pool:
    """Samples to ask about, what may read their attribute, and a test set.

    Attributes
    ----------
    Z, y, a : ndarray
        Embeddings (N, D), classes and true attributes (N,) of the pool.
    feature_sets : dict of str to array or sparse matrix, shape (N, ·)
        The embedding, and what the raw inputs hold.
    Z_test, y_test, groups_test : ndarray
        Of the test set.
    """

    Z: Array
    y: Array
    a: Array
    feature_sets: dict[str, Any]
    Z_test: Array
    y_test: Array
    groups_test: Array


def pool_of(name: str, folder: Path, seed: int) -> Pool:
    """Pool of a data set by its name in the tables."""
    parts = splits.splits_of(name, folder, seed)
    pool = splits.joined(parts.train, parts.validation["i.i.d."])
    feature_sets = views_of_set(name, folder, seed, pool.X)
    test = parts.test
    return Pool(pool.X, pool.y, pool.groups % 2, feature_sets, test.X, test.y, test.groups)


def views_of_set(name: str, folder: Path, seed: int, Z: Array) -> dict[str, Any]:
    """What may read the attribute of samples of a data set, found again by their embeddings."""
    _, stem = (splits.DATA | splits.CHECKS)[name]
    feature_sets: dict[str, Any] = {"embedding": Z}
    if stem.startswith(("rotten", "spam")):
        feature_sets["words"] = words(stem)[rows_in(folder / f"{stem}.npz", Z)]
    elif stem.startswith("adult"):
        feature_sets["columns"] = columns(seed)[rows_in(folder / f"{stem}_{seed}.npz", Z)]
    elif stem.startswith("fashion"):
        rows = rows_in(folder / f"{stem}_{seed}.npz", Z)
        feature_sets["earlier layers"] = earlier_layers(folder / f"{stem}_{seed}.onnx", seed)[rows]
    return feature_sets


def rows_in(path: Path, Z: Array) -> NDArray[np.intp]:
    """Row numbers of embeddings in the file they were drawn from."""
    with np.load(path) as data:
        number = {row.tobytes(): i for i, row in enumerate(data["Z"])}
    return np.array([number[row.tobytes()] for row in Z])


@cache
def words(stem: str) -> Any:
    """Which of the common words and mark-up tags each text holds, (N, words)."""
    import data_texts

    read = data_texts.reviews if stem.startswith("rotten") else data_texts.mails
    texts, _, _ = read(default_cache())
    pattern = r"</?[a-z]\w*|\b\w\w+\b"
    found = CountVectorizer(binary=True, dtype=np.float32, min_df=0.005, token_pattern=pattern)
    return found.fit_transform(texts).tocsr()


def columns(seed: int) -> Array:
    """Columns of the table, those of the people that were embedded, (N, columns)."""
    import data_adult

    X, y, _ = data_adult.people(data_adult.SOURCE.fetched(default_cache()))
    _, rest = np.array_split(np.random.default_rng(seed).permutation(len(y)), 2)
    return np.asarray(X[rest])


def images_of(stem: str, seed: int) -> Array:
    """Images of Fashion-MNIST, all parts of a draw, (N, 1, 28, 28)."""
    import data_fashion_mnist as clothes

    classes = tuple(int(c) for c in stem.split("_")[2:4])
    rng, folder = np.random.default_rng(seed), clothes.SOURCE.fetched(default_cache())
    return np.concatenate(
        [
            clothes.draw(folder, classes, part, n, correlation, rng)[0]
            for part, (n, correlation) in clothes.SIZES.items()
        ]
    )


def earlier_layers(path: Path, seed: int) -> Array:
    """Mean and deviation over the positions of the channels of earlier layers, (N, ·)."""
    import onnx
    from onnxruntime import InferenceSession

    images = images_of(path.stem, seed)
    model = onnx.load(path)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in EARLIER
    )
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = []
    for batch in np.array_split(images, max(1, len(images) // 256)):
        layers = session.run(list(EARLIER), {"image": batch})
        found.append(np.hstack([s for z in layers for s in (z.mean((2, 3)), z.std((2, 3)))]))
    return np.concatenate(found)

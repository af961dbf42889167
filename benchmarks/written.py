"""What ``ntkit.debias`` leaves in a model, and what it reads of the samples to decide that."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import data_adult
import data_texts
from answers_data import images_of, rows_in
from ntkit.attributes import FeatureSet, columns, words
from ntkit.attributes.image_statistics import image_statistics, measured
from ntkit.estimators import head_of
from ntkit.jobs.debias import MAX_COST
from ntkit.jobs.debias._accuracy_cost import mixed, taken
from ntkit.jobs.debias._candidates import FittedOn
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._lost_groups import checked_groups
from ntkit.study import Rows
from packages import default_cache
from splits import CHECKS, DATA

Array = NDArray[Any]
KINDS = ("rotten_tomatoes", "spam_assassin", "adult")
"""Data sets that hold words or columns, which have names."""


def kind_of(name: str) -> str | None:
    """Which raw inputs a data set has."""
    file = (DATA | CHECKS)[name][1]
    return next((kind for kind in KINDS if file.startswith(kind)), None)


def read_of(name: str, folder: Path, seed: int, parts: list[Rows]) -> FeatureSet | None:
    """Words, columns or images of some samples, found again by their embeddings.

    Of TuxScenes None: ``make bench-data`` does not keep its images.
    """
    file, kind = (DATA | CHECKS)[name][1], kind_of(name)
    if file.startswith("fashion"):
        Z = np.concatenate([part.X for part in parts])
        images = images_of(file, seed)[rows_in(folder / f"{file}_{seed}.npz", Z), 0]
        return image_statistics(measured(images, len(images))[0])
    if kind is None:
        return None
    if kind == "adult":
        source = data_adult.SOURCE.fetched(default_cache())
        X, y, _ = data_adult.people(source)
        unseen = np.array_split(np.random.default_rng(seed).permutation(len(y)), 2)[1]
        rows = unseen[found_again(folder / f"{file}_{seed}.npz", y[unseen], parts)]
        with zipfile.ZipFile(source) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        names = [n for n in next(csv.reader(io.StringIO(text))) if not n.startswith("salary")]
        return columns({n: X[rows, j] for j, n in enumerate(names)})
    read = data_texts.reviews if kind == "rotten_tomatoes" else data_texts.mails
    texts, y, _ = read(default_cache())
    rows = found_again(folder / f"{file}.npz", y, parts)
    return words([texts[row] for row in rows])


def found_again(path: Path, y: Array, parts: list[Rows]) -> Array:
    """Rows of a file that samples are; of the same embedding, each is taken once."""
    with np.load(path) as data:
        Z = data["Z"]
        if not (data["y"] == y).all():
            raise ValueError(f"{path}: not made of the same packages")
    rows_of: dict[bytes, list[int]] = {}
    for row in range(len(Z) - 1, -1, -1):
        rows_of.setdefault(Z[row].tobytes() + bytes([int(y[row])]), []).append(row)
    keys = [z.tobytes() + bytes([int(k)]) for p in parts for z, k in zip(p.X, p.y, strict=True)]
    return np.asarray([rows_of[key].pop() for key in keys])


def written(
    comparison: Comparison,
    name: str,
    fitted: Any,
    feature_set: FeatureSet | None = None,
    *,
    rows: FittedOn = FittedOn.TRAIN,
) -> Any:
    """The head that ``ntkit.debias`` would leave in the model.

    ``feature_set`` is what it can read of the training and validation samples where nobody named
    anything: a group of these that surely loses more than it may keeps the original head.
    """
    comparison.row(name, fitted, rows)
    learnable = getattr(fitted, "recipe_", "") == "cell-balanced"
    best = taken(comparison.costs_of(name), MAX_COST, learnable=learnable)
    if best is None:
        return comparison.original
    train = comparison.train
    if feature_set is not None:
        right = comparison.right(name, best.t)
        y_index, classes = comparison.study.both.y_index, comparison.train.classes
        is_train = np.arange(len(y_index)) < len(train)
        if checked_groups([feature_set], classes, y_index, right, is_train).refused(MAX_COST):
            return comparison.original
    return mixed(comparison.original, head_of(fitted), best.t, train.X)

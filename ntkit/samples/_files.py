"""Samples from one file: arrays, or a table of texts or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit.exceptions import InputError
from ntkit.inputs import ImagePreprocessing, TextPreprocessing, Texts
from ntkit.model import FrozenModel, TensorInfo
from ntkit.samples._arrays import samples_from_npy, samples_from_npz
from ntkit.samples._columns import Columns, samples_from_table
from ntkit.samples._samples import Samples
from ntkit.samples._table_files import TABLES, read_table


def with_plain_texts(samples: Samples, inputs: Sequence[TensorInfo]) -> Samples:
    """Make texts of the strings of samples, where a model takes one string of each."""
    steps, X = TextPreprocessing.for_strings(inputs), samples.X
    if steps is None or samples.embedded:
        return samples
    if isinstance(X, Mapping):
        X = X.get(steps.ids)
    if not (isinstance(X, list | tuple | np.ndarray) or hasattr(X, "to_numpy")):
        return samples
    values: Any = np.asarray(X, dtype=object)
    if values.ndim == 0 or values.size != len(values):
        return samples
    texts = Texts(values.ravel().tolist(), steps)
    return replace(samples, X=texts, preprocessing=samples.preprocessing or steps.as_dict())


_BESIDE = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "config.json")


def input_paths(*read: FrozenModel | Samples | None) -> list[Path]:
    """List what models and samples are read from."""
    paths = list[Path]()
    for one in read:
        if isinstance(one, FrozenModel):
            paths += _of_model(one)
        elif one is not None:
            paths += [*one.sources, *_of_array(one.X, one.sources), *_of_array(one.y)]
    return [*dict.fromkeys(paths)]


def _of_model(model: FrozenModel) -> list[Path]:
    if model.path is None:
        return [*model.files]
    folder = model.path.parent
    folders = [folder, folder.parent] if folder.name == "onnx" else [folder]
    beside = (at / name for at in folders for name in _BESIDE)
    return [*model.files, *(file for file in beside if file.exists())]


def _of_array(X: Any, known: tuple[Path, ...] = ()) -> list[Path]:
    if isinstance(X, Mapping):
        return [path for array in X.values() for path in _of_array(array, known)]
    tokenizer = getattr(getattr(X, "preprocessing", None), "tokenizer", None)
    mapped = getattr(X, "filename", None)  # of a memory map
    files = [Path(file) for file in (tokenizer, mapped) if isinstance(file, str | Path)]
    pictures = () if known else getattr(X, "paths", ())
    return [*files, *{Path(path).parent: None for path in pictures}]


def samples_from_file(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    inputs: Sequence[TensorInfo],
    columns: Columns,
    delimiter: str | None,
) -> Samples:
    """Read a file as what its name says."""
    kind = path.suffix.lower()
    if kind == ".npz":
        return samples_from_npz(path, columns.labels_required, [info.name for info in inputs])
    if kind == ".npy":
        return samples_from_npy(path, columns.labels_required)
    if kind in TABLES:
        table = read_table(path, delimiter, columns.named)
        return samples_from_table(table, columns, inputs, preprocessing)
    if kind == ".onnx":
        raise InputError(
            f"{path} is a model, and samples are wanted there; the model comes first, as in: "
            "ntkit embed MODEL DATA -o OUT."
        )
    raise InputError(
        f"{path} is none of: an image folder, .npz, X.npy with y.npy, {', '.join(TABLES)}, an "
        "embedding store."
    )

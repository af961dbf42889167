"""Samples from one file: arrays, or a table of texts or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ntkit.exceptions import InputError
from ntkit.frozen_model import TensorInfo
from ntkit.preprocessing import ImagePreprocessing, TextPreprocessing
from ntkit.samples._arrays import samples_from_npy, samples_from_npz
from ntkit.samples._columns import Columns, samples_from_table
from ntkit.samples._samples import Samples
from ntkit.samples._table_files import TABLES, read_table

__all__ = ["samples_from_file"]


def samples_from_file(
    path: Path,
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
    inputs: Sequence[TensorInfo],
    columns: Columns,
    delimiter: str | None,
) -> Samples:
    """Read a file as what its name says.

    Parameters
    ----------
    path : pathlib.Path
        ``.npz``, ``.npy`` or a table.
    preprocessing : ImagePreprocessing, TextPreprocessing or None
        With a TextPreprocessing a table holds texts.
    inputs : sequence of TensorInfo
        The inputs of the model that the samples are for.
    columns : Columns
        What was asked of a table's columns.
    delimiter : str or None
        What separates the cells of a ``.csv`` or ``.tsv`` file, if that was said.

    Returns
    -------
    Samples

    Raises
    ------
    InputError
        If the file is of no kind that is read, or damaged.
    """
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

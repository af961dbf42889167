"""The one intake: whatever a user has, as samples for a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ntkit.exceptions import InputError
from ntkit.inputs import ImagePreprocessing, TextPreprocessing, Texts
from ntkit.model import FrozenModel, TensorInfo
from ntkit.samples._arrays import samples_from_npy, samples_from_npz
from ntkit.samples._columns import DEFAULT_LABEL, Columns, samples_from_table
from ntkit.samples._image_folder import samples_from_image_folder
from ntkit.samples._samples import Samples
from ntkit.samples._stored import StoredEmbeddings, origin_of
from ntkit.samples._table_files import TABLES, named_delimiter, read_table

Steps = ImagePreprocessing | TextPreprocessing | None
Labels = Literal["required", "optional"]


def read(
    data: Any,
    model: FrozenModel,
    *,
    labels: Labels = "required",
    preprocessing: Steps = None,
    **options: Any,
) -> Samples:
    """Samples for a model: a path, Samples, (X, y), (X, y, groups), or inputs alone."""
    # `options` are those of read_samples, for paths. Inputs alone are taken where labels are
    # optional.
    if isinstance(data, str | os.PathLike):
        steps = preprocessing or preprocessing_for(model, Path(data))
        options = {"preprocessing": steps, "inputs": model.inputs, "keep_table": True} | options
        return read_samples(Path(data), labels=labels, **options)
    if isinstance(data, tuple) and len(data) in (2, 3):
        X, y, groups = (*data, None)[:3]
        y, groups = (None if values is None else np.asarray(values) for values in (y, groups))
        data = Samples(X, y, groups)
    elif labels == "optional" and not isinstance(data, Samples | tuple):
        data = Samples(data)
    if not isinstance(data, Samples):
        raise InputError("Give the samples as a path, Samples, (X, y) or (X, y, groups).")
    return _complete(data, model.inputs, labels, "The samples have no labels (y)", "add them")


def read_samples(
    path: str | Path,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    inputs: Sequence[TensorInfo] = (),
    labels: Literal["required", "optional"] = "required",
    columns: Sequence[str] | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str = DEFAULT_LABEL,
    group_column: str = "group",
    delimiter: str | None = None,
    skip_bad: bool = False,
    keep_table: bool = False,
) -> Samples:
    r"""Read labelled samples, or samples without labels.

    Parameters
    ----------
    path : path-like
        An image folder with one subfolder per class (group labels, if any, in a ``metadata.csv``
        with the columns ``file_name`` and ``group``); an ``.npz`` file with ``X``, ``y`` and
        perhaps ``groups``, or a folder or ``X.npy`` with ``y.npy`` (and ``groups.npy``) beside
        it; a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` table of texts or of numeric columns;
        or an embedding store.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        For images and texts; required there. With a TextPreprocessing a table holds texts.
    inputs : sequence of TensorInfo
        The inputs of the model, which decide what a table's columns become: one input of one
        string takes texts as they are; of several inputs each takes the column of its name; one
        input of D numbers takes D columns. Without them, columns such as ``id``, ``prediction`` or
        ``split`` are left out by their names.
    labels : {"required", "optional"}
        With "optional", samples without labels are read, and ``y`` is None.
    columns : sequence of str, optional
        Columns of a table that go into the model, in its order, instead of those that are found.
    text_column, text_pair_column : str, optional
        Column of a table that holds the texts, by default that of the name of a model's input of
        strings, ``text``, or the only one that does; and of the second texts, if a sample is a
        pair of texts (premise and hypothesis).
    label_column, group_column : str
        Columns of a table, or of ``metadata.csv``.
    delimiter : str, optional
        Character between the cells of a ``.csv`` or ``.tsv`` file, or "tab". By default a tab in a
        ``.tsv`` file, and in a ``.csv`` file what its header says. Unless it is a comma, numbers
        may have a decimal comma.
    skip_bad : bool
        Leave out images that cannot be decoded instead of stopping at the first.
    keep_table : bool
        Keep all columns of a table in memory, as ``Samples.table``.

    Returns
    -------
    Samples
        Images are decoded, and texts tokenised, as they are used; a ``.npy`` file or store is
        mapped, not read. Its ``notes`` say what was assumed and left out.

    Raises
    ------
    InputError
        If the data cannot be read; the message names the file, row or column.
    MissingDependencyError
        If the file is a Parquet file and the package pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.extraction import read_samples
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "table.csv"
    ...     _ = path.write_text("a;id;b;label\n1,5;7;2;cat\n3;8;4;dog\n")
    ...     samples = read_samples(path)
    >>> samples.y.tolist(), samples.columns, samples.X.tolist()
    (['cat', 'dog'], ('a', 'b'), [[1.5, 2.0], [3.0, 4.0]])
    """
    if labels not in ("required", "optional"):
        raise InputError(f'labels is "required" or "optional", not {labels!r}.')
    asked = Columns(
        label=label_column,
        group=group_column,
        text=text_column,
        pair=text_pair_column,
        inputs=None if columns is None else tuple(columns),
        labels_required=labels == "required",
        keep_table=keep_table,
    )
    path, delimiter = Path(path), named_delimiter(delimiter)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if not path.is_dir():
        samples = _from_file(path, preprocessing, inputs, asked, delimiter)
    elif StoredEmbeddings.is_store(path):
        samples = _from_store(path)
    elif (path / "X.npy").exists():
        samples = samples_from_npy(path / "X.npy", asked.labels_required)
    else:
        samples = samples_from_image_folder(path, preprocessing, asked, delimiter, skip_bad)
    samples = replace(samples, sources=samples.sources or (path,))
    missing, fix = f"The store {path} holds no labels", "embed the samples again with their labels"
    return _complete(samples, inputs, labels, missing, fix)


def is_image_folder(path: Path) -> bool:
    """Whether a path is read as an image folder: a folder that is nothing else."""
    return path.is_dir() and not (StoredEmbeddings.is_store(path) or (path / "X.npy").exists())


def preprocessing_for(model: FrozenModel, path: Path) -> Steps:
    """How images or texts of a path go into a model, as the files beside the model say."""
    # Files about images are read only for images: a damaged one does no harm to arrays.
    images = ImagePreprocessing.for_model(model) if is_image_folder(path) else None
    return TextPreprocessing.for_model(model) if images is None else images


def _from_file(
    path: Path,
    preprocessing: Steps,
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


def _from_store(path: Path) -> Samples:
    store = StoredEmbeddings.open(path)
    return Samples(
        store.X,
        store.y,
        store.groups,
        embedded=True,
        ids=store.ids,
        origin=origin_of(store.manifest),
    )


def _complete(
    samples: Samples, inputs: Sequence[TensorInfo], labels: Labels, missing: str, fix: str
) -> Samples:
    """Samples with the labels that are required; strings that a model takes become texts."""
    if samples.y is None and labels == "required":
        raise InputError(f"{missing}, which are needed here; {fix}.")
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

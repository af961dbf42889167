"""Samples from what a user has: an image folder, arrays, a table, a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ntkit.exceptions import InputError
from ntkit.inputs import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from ntkit.model import FrozenModel, TensorInfo
from ntkit.samples import (
    DEFAULT_LABEL,
    Columns,
    Samples,
    named_delimiter,
    samples_from_file,
    samples_from_image_folder,
    samples_from_npy,
    with_plain_texts,
)
from ntkit.store import EmbeddingStore, origin_of

if TYPE_CHECKING:
    from ntkit.samples import Samples

SHOWN_COLUMNS = 20


def preprocessing_for(
    model: FrozenModel, data: Iterable[Any]
) -> ImagePreprocessing | TextPreprocessing | None:
    """Find how images or texts go into a model."""
    paths = [Path(each) for each in data if isinstance(each, str | os.PathLike)]
    if any(map(is_image_folder, paths)):
        images = ImagePreprocessing.for_model(model)
        if images is not None:
            return images
    return TextPreprocessing.for_model(model)


def is_image_folder(path: Path) -> bool:
    """Whether a path is read as an image folder: a folder that is nothing else."""
    return path.is_dir() and not (EmbeddingStore.is_store(path) or (path / "X.npy").exists())


def image_preprocessing(samples: Samples) -> ImagePreprocessing | None:
    """How these samples became model inputs, if they are images."""
    return samples.X.preprocessing if isinstance(samples.X, ImageFiles) else None


def input_notes(samples: Iterable[Samples]) -> list[str]:
    """Sentences on how samples became model inputs: one where all sets agree, none of arrays."""
    found = [_input_note(part) for part in samples]
    return list(dict.fromkeys(note for note in found if note))


def _input_note(samples: Samples) -> str:
    if isinstance(samples.X, ImageFiles):
        return samples.X.preprocessing.describe()
    if isinstance(samples.X, Texts):
        return samples.X.preprocessing.describe() if samples.X.preprocessing.tokenizer else ""
    if not samples.columns_source:
        return ""
    names = samples.columns
    more = f", … ({len(names)} in all)" if len(names) > SHOWN_COLUMNS else ""
    shown = ", ".join(map(repr, names[:SHOWN_COLUMNS]))
    return f"Columns, in this order: {shown}{more}; {samples.columns_source}."


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
        The inputs of the model that the samples are for. They decide what a table's columns
        become: one input of one string takes texts as they are; of several inputs each takes the
        column of its name; one input of D numbers takes D columns. Without them, columns such as
        ``id``, ``prediction`` or ``split`` are left out by their names.
    labels : {"required", "optional"}
        With "optional", an image folder with images but without class folders, an array without
        ``y`` and a table without the label column are read, and ``y`` is None.
    columns : sequence of str, optional
        Columns of a table that go into the model, in its order, instead of those that are found.
    text_column : str, optional
        Column of a table that holds the texts; by default that of the name of a model's input of
        strings, ``text``, or the only one that does.
    text_pair_column : str, optional
        Column of the second texts, where a sample is a pair of texts (premise and hypothesis).
    label_column, group_column : str
        Columns of a table, or of ``metadata.csv``.
    delimiter : str, optional
        What separates the cells of a ``.csv`` or ``.tsv`` file: one character, or "tab". By
        default a tab in a ``.tsv`` file, and in a ``.csv`` file what its header says. Unless it
        is a comma, numbers may have a decimal comma.
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
        samples = samples_from_file(path, preprocessing, inputs, asked, delimiter)
    elif EmbeddingStore.is_store(path):
        samples = _store(path, asked.labels_required)
    elif (path / "X.npy").exists():
        samples = samples_from_npy(path / "X.npy", asked.labels_required)
    else:
        samples = samples_from_image_folder(path, preprocessing, asked, delimiter, skip_bad)
    samples = with_plain_texts(samples, inputs)
    return replace(samples, sources=samples.sources or (path,))


def _store(path: Path, labels_required: bool) -> Samples:
    store = EmbeddingStore.open(path)
    if store.y is None and labels_required:
        raise InputError(
            f"The store {path} holds no labels, which are needed here; embed the samples again "
            "with their labels."
        )
    return Samples(
        store.X,
        store.y,
        store.groups,
        embedded=True,
        ids=store.ids,
        origin=origin_of(store.manifest),
    )

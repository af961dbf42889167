"""Files and folders that a job reads: nothing that it writes may take their place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkit.frozen_model import FrozenModel

if TYPE_CHECKING:
    from ntkit.samples._samples import Samples

__all__ = ["input_paths"]

_BESIDE = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "config.json")


def input_paths(*read: FrozenModel | Samples | None) -> list[Path]:
    """List what models and samples are read from.

    Parameters
    ----------
    *read : FrozenModel, Samples or None
        Models: their files, external data and the configuration beside them. Samples: what
        :func:`~ntkit.extraction.read_samples` read, and image folders, memory maps and
        tokenizers that they use.

    Returns
    -------
    list of pathlib.Path
        None of what is in memory only.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.samples._files_read import input_paths
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> input_paths(model) == [marked_digits_model_path()]
    True
    """
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

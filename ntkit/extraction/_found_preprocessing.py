"""How samples go into a model, where a user has not said it, and what is told of that."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkit.frozen_model import FrozenModel
from ntkit.preprocessing import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from ntkit.store import EmbeddingStore

if TYPE_CHECKING:
    from ntkit.samples import Samples

__all__ = ["image_preprocessing", "input_notes", "is_image_folder", "preprocessing_for"]

SHOWN_COLUMNS = 20


def preprocessing_for(
    model: FrozenModel, data: Iterable[Any]
) -> ImagePreprocessing | TextPreprocessing | None:
    """Find how images or texts go into a model.

    Parameters
    ----------
    model : FrozenModel
        The model.
    data : iterable of path-like, Samples or tuple
        What is to be read. Files about images are read only where images are: a damaged one does
        no harm to arrays.

    Returns
    -------
    ImagePreprocessing, TextPreprocessing or None

    Raises
    ------
    InputError
        If a file that says it is not usable.
    """
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
    """Sentences on how samples became model inputs: one where all sets agree, none of arrays.

    Examples
    --------
    >>> from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples
    >>> from ntkit.extraction._found_preprocessing import input_notes
    >>> input_notes([Samples(ImageFiles([], ImagePreprocessing((8, 8))), [])])
    ['Images: resized to 8 x 8 (bilinear), values / 255, RGB, NCHW; as given.']
    """
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

"""How samples go into a model, where a user has not said it, and what is told of that."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkit.frozen_model import FrozenModel
from ntkit.preprocessing import ImageFiles, ImagePreprocessing, TextPreprocessing
from ntkit.store import EmbeddingStore

if TYPE_CHECKING:
    from ntkit.samples import Samples

__all__ = ["image_note", "image_preprocessing", "is_image_folder", "preprocessing_for"]


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


def image_note(samples: Iterable[Samples]) -> list[str]:
    """Sentences on how images became model inputs: one where all sets agree, none without images.

    Examples
    --------
    >>> from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples
    >>> from ntkit.extraction._found_preprocessing import image_note
    >>> image_note([Samples(ImageFiles([], ImagePreprocessing((8, 8))), [])])
    ['Images: resized to 8 x 8 (bilinear), values / 255, RGB, NCHW; as given.']
    """
    found = [steps for part in samples if (steps := image_preprocessing(part)) is not None]
    return list(dict.fromkeys(steps.describe() for steps in found))

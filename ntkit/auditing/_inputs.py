"""What audited samples look like, row by row; pictures are decoded as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ntkit.extraction import ImageFiles, Samples, Texts
from ntkit.preprocessing import decode, shown
from ntkit.report import Inputs

__all__ = ["PictureArray", "PictureFiles", "inputs_of", "texts_of"]

Array = NDArray[Any]
_CHANNELS = (1, 3)


class _Lazy(Sequence[Array]):
    """A sequence that makes one item at a time."""

    def _one(self, i: int) -> Array:
        raise NotImplementedError

    @overload
    def __getitem__(self, i: int) -> Array: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Array]: ...
    def __getitem__(self, i: int | slice) -> Array | Sequence[Array]:
        if isinstance(i, slice):
            return [self._one(at) for at in range(len(self))[i]]
        return self._one(range(len(self))[i])


class PictureFiles(_Lazy):
    """Image files as pictures: upright, in grey or RGB.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files.

    Raises
    ------
    InputError
        On asking for a picture whose file does not decode.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def _one(self, i: int) -> Array:
        return np.asarray(shown(decode(self.paths[i])))


class PictureArray(_Lazy):
    """Model inputs of shape (N, C, H, W) or (N, H, W, C), C being 1 or 3, as pictures.

    Parameters
    ----------
    X : ndarray
        In any scale; it stays.
    """

    def __init__(self, X: Array) -> None:
        self.X = X

    def __len__(self) -> int:
        return len(self.X)

    def _one(self, i: int) -> Array:
        pixels = np.asarray(self.X[i])
        if pixels.shape[0] in _CHANNELS and pixels.shape[-1] not in _CHANNELS:
            pixels = np.moveaxis(pixels, 0, -1)
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    @staticmethod
    def is_one(X: Any) -> bool:
        """Whether an array looks like pictures."""
        sides: tuple[int, ...] = X.shape[1:] if isinstance(X, np.ndarray) and X.ndim == 4 else ()
        return bool(sides) and (sides[0] in _CHANNELS) != (sides[-1] in _CHANNELS)


def inputs_of(samples: Samples) -> Inputs:
    """What samples look like, as far as they are kept.

    Parameters
    ----------
    samples : Samples
        As :func:`ntkit.extraction.read_samples` reads them.

    Returns
    -------
    Inputs
        Of embeddings in a store, ids at most.
    """
    X = samples.X
    ids = None if samples.ids is None else [str(name) for name in samples.ids]
    texts = texts_of(X)
    if texts is not None:
        return Inputs(texts=texts, table=_kept(samples, besides=True), ids=ids)
    if isinstance(X, ImageFiles):
        return Inputs(images=PictureFiles([Path(path) for path in X.paths]), ids=ids)
    if samples.table is not None:
        return Inputs(table=_kept(samples), ids=ids)
    if not samples.embedded and PictureArray.is_one(X):
        return Inputs(images=PictureArray(X), ids=ids)
    return Inputs(table=_columns(samples), ids=ids)


def texts_of(X: Any) -> list[str] | None:
    """Texts that go into a model, through a tokenizer or as they are; None where none do."""
    if not isinstance(X, Texts):
        return None
    return [t if isinstance(t, str) else "\n\n".join(t) for t in X.texts]


def _kept(samples: Samples, *, besides: bool = False) -> dict[str, Array] | None:
    """Columns of single values of the table that was kept; besides those of the texts, or all."""
    table = samples.table
    if table is None:
        return None
    left = {*table.inputs} if besides else set()
    left |= {*table.labels}
    return {n: v for n, v in table.columns.items() if v.ndim == 1 and n not in left} or None


def _columns(samples: Samples) -> dict[str, Array] | None:
    """Inputs that have names."""
    X = samples.X
    if samples.embedded:
        return None
    if isinstance(X, Mapping):
        plain = {str(name): np.asarray(v).reshape(len(v), -1) for name, v in X.items()}
        return {n: v[:, 0] for n, v in plain.items() if v.shape[1] == 1} or None
    return dict(zip(samples.columns, X.T, strict=True)) if samples.columns else None

"""Samples that go to other processes: names and texts packed, mapped files by their path."""

from __future__ import annotations

import copy
import mmap
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.preprocessing import ImageFiles, Texts

__all__ = ["opened", "shipped"]

Array = NDArray[Any]


def shipped(X: Any) -> Any:
    """Samples as what is small to send, or is kept once for all processes of a machine.

    Parameters
    ----------
    X : array, memory map, lazy or windowed sequence, or mapping of str to these
        What :class:`~ntkit.OnnxEmbedder` takes.

    Returns
    -------
    object
        What :func:`opened` turns into these samples, in another process or on another machine.

    Examples
    --------
    >>> from pathlib import Path
    >>> from ntkit.extraction import ImageFiles, ImagePreprocessing
    >>> from ntkit.extraction._packed_for_ray import opened, shipped
    >>> images = ImageFiles([Path("/a/b.png"), Path("/c.png")], ImagePreprocessing())
    >>> [path.name for path in opened(shipped(images)).paths[:]]
    ['b.png', 'c.png']
    """
    if isinstance(X, Mapping):
        return {name: shipped(part) for name, part in X.items()}
    if isinstance(X, ImageFiles):
        files = map(os.path.abspath, X.paths)  # another process may stand in another folder
        return _changed(X, paths=_Packed(map(os.fsencode, files), len(X), _path))
    if isinstance(X, Texts):
        pack, unpack = (_pair_to_bytes, _pair) if X.paired else (_text_to_bytes, _text)
        texts = map(pack, X.texts)
        steps = X.preprocessing
        if steps.tokenizer is not None:
            steps = replace(steps, tokenizer=steps.tokenizer_path.absolute())
        return _changed(X, texts=_Packed(texts, len(X), unpack), preprocessing=steps)
    if isinstance(X, np.memmap):
        return _MappedFile.of(X) if _is_whole_file(X) else np.asarray(X)
    return X


def opened(X: Any) -> Any:
    """Turn what :func:`shipped` returned into samples again.

    Raises
    ------
    InputError
        If a file is not there.
    """
    if isinstance(X, Mapping):
        return {name: opened(part) for name, part in X.items()}
    return X.open() if isinstance(X, _MappedFile) else X


class _Packed:
    """Many strings in two arrays: a slice gives a list of them.

    Arrays can be shared between the processes of a machine, and millions of objects cannot.
    """

    def __init__(
        self, strings: Iterable[bytes], length: int, unpack: Callable[[bytes], Any]
    ) -> None:
        letters, self.ends = bytearray(), np.zeros(length + 1, np.int64)
        for i, string in enumerate(strings, start=1):
            letters += string
            self.ends[i] = len(letters)
        self.letters = np.frombuffer(letters, np.uint8)
        self.unpack = unpack

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: slice) -> list[Any]:
        rows = range(*index.indices(len(self)))
        return [self.unpack(self.letters[self.ends[i] : self.ends[i + 1]].tobytes()) for i in rows]


@dataclass(frozen=True)
class _MappedFile:
    """Where a memory map comes from."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    order: Any

    @classmethod
    def of(cls, X: np.memmap[Any, Any]) -> _MappedFile:
        order = "C" if X.flags.c_contiguous else "F"
        return cls(os.path.abspath(str(X.filename)), X.dtype, X.shape, X.offset, order)

    def open(self) -> Array:
        options = {"mode": "r", "offset": self.offset, "shape": self.shape, "order": self.order}
        try:
            return np.memmap(self.path, self.dtype, **options)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} cannot be read on {platform.node()} ({error}); put it where all "
                "machines of the cluster find it."
            ) from error


def _is_whole_file(X: np.memmap[Any, Any]) -> bool:
    """Whether this is what a file holds: no part of another map, and nothing written to it."""
    return X.mode == "r" and isinstance(X.base, mmap.mmap)


def _changed(X: Any, **fields: Any) -> Any:
    other = copy.copy(X)
    vars(other).update(fields)
    return other


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def _text_to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def _pair_to_bytes(pair: tuple[str, str]) -> bytes:
    first, second = map(_text_to_bytes, pair)
    return b"%d:" % len(first) + first + second


def _pair(packed: bytes) -> tuple[str, str]:
    length, _, both = packed.partition(b":")
    return _text(both[: int(length)]), _text(both[int(length) :])

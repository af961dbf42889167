"""What the loaders of public benchmarks share: the samples they return, folders, counts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples, TextPreprocessing

__all__ = [
    "SPLITS",
    "SPLIT_CODES",
    "BenchmarkSamples",
    "IncompleteDataWarning",
    "Source",
    "check_preprocessing",
    "check_split",
    "image_inputs",
]

SPLITS = ("train", "val", "test")
SPLIT_CODES = {"0": 0, "1": 1, "2": 2}  # as Waterbirds, CelebA and MultiNLI write them


class IncompleteDataWarning(UserWarning):
    """A folder holds other numbers of samples than the published data set."""


@dataclass(frozen=True)
class BenchmarkSamples(Samples):
    """Samples of a public benchmark, with the names of their classes and groups.

    They are :class:`~ntkit.extraction.Samples`:
    :meth:`EmbeddingStore.write <ntkit.extraction.EmbeddingStore.write>` and
    :func:`ntkit.debias` take them as they are, and ``(samples.X, samples.y, samples.groups)`` is
    there for everything else.

    Parameters
    ----------
    X, y, groups, embedded, preprocessing, skipped, ids
        As in :class:`~ntkit.extraction.Samples`. X is decoded or tokenised as it is used.
        ``groups`` is an array of shape (N,), a boolean matrix of shape (N, G) where groups
        overlap, or None where the benchmark has none.
    target_names : tuple of str
        Names of the classes 0, 1, …
    group_names : tuple of str
        Names of the groups 0, 1, …, or of the columns of the matrix.
    DESCR : str
        What the data are and where they come from.

    See Also
    --------
    ntkit.metrics.worst_group_accuracy : Takes either kind of groups.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.datasets import BenchmarkSamples
    >>> samples = BenchmarkSamples(np.zeros((2, 6)), np.array([0, 1]), target_names=("cat", "dog"))
    >>> len(samples), samples.target_names[samples.y[1]]
    (2, 'dog')
    """

    target_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    DESCR: str = field(default="", repr=False)


@dataclass(frozen=True)
class Source:
    """A published data set.

    Parameters
    ----------
    name : str
        Its name.
    url : str
        Where it is to be had.
    counts : mapping of str to tuple of int
        Published numbers of samples by split: of each group, or of all.
    """

    name: str
    url: str
    counts: Mapping[str, tuple[int, ...]]

    @property
    def mend(self) -> str:
        """What to do about a damaged file."""
        return f"get {self.name} again from {self.url}"

    def find(self, folder: str | Path, candidates: Sequence[str], *, kind: str = "file") -> Path:
        """Return the first candidate that is in the folder.

        Parameters
        ----------
        folder : path-like
            The user's folder.
        candidates : sequence of str
            Paths below it, the usual one first.
        kind : {"file", "folder"}
            What is looked for.

        Raises
        ------
        InputError
            If the folder does not exist, or none of the candidates does.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(
                f"The folder {folder} does not exist; unpack {self.name} there, from {self.url}."
            )
        for candidate in candidates:
            path = folder / candidate
            if path.is_file() if kind == "file" else path.is_dir():
                return path
        raise InputError(
            f"{folder} does not hold the {kind} {' or '.join(candidates)}; give the folder that "
            f"{self.name} was unpacked to, from {self.url}."
        )

    def rows_of(self, split: str, is_in_split: NDArray[np.bool_], path: Path) -> NDArray[np.intp]:
        """Return the rows of a split, in the file's order; refuse a file that has none."""
        rows = np.flatnonzero(is_in_split)
        if not len(rows):
            raise InputError(f"{path} has no row of the split {split!r}: {self.mend}.")
        return rows

    def compare(self, split: str, found: Sequence[int]) -> None:
        """Warn if these are not the published numbers of samples of a split.

        Parameters
        ----------
        split : str
            The split.
        found : sequence of int
            Samples of each group, or their sum.
        """
        published = self.counts[split]
        if len(found) == 1:
            published = (sum(published),)
        if tuple(found) != published:
            self.warn(
                f"the split {split!r} holds {_shown(found)} samples"
                f"{' by group' * (len(published) > 1)}, where the published one holds "
                f"{_shown(published)}"
            )

    def warn(self, what: str) -> None:
        """Warn that the folder differs from the published data set."""
        warnings.warn(
            f"{self.name}: {what}; {self.mend}, or pass check=False for a subset.",
            IncompleteDataWarning,
            stacklevel=4,  # whoever called the loader
        )


def check_split(split: str) -> None:
    """Refuse a split that is none."""
    if split not in SPLITS:
        raise InputError(f'split is "train", "val" or "test"; got {split!r}.')


def check_preprocessing(
    preprocessing: Any, kind: type[ImagePreprocessing] | type[TextPreprocessing]
) -> None:
    """Refuse a preprocessing that does not fit the data."""
    if not isinstance(preprocessing, kind):
        raise InputError(
            f"Give preprocessing as {kind.__name__}, such as {kind.__name__}.for_model(model); got "
            f"{type(preprocessing).__name__}."
        )


def image_inputs(
    source: Source, root: Path, names: Sequence[str], preprocessing: ImagePreprocessing
) -> dict[str, Any]:
    """Return the arguments X, preprocessing and ids of samples that are image files.

    Parameters
    ----------
    source : Source
        The data set.
    root : pathlib.Path
        Folder of the images.
    names : sequence of str
        The files, relative to it.
    preprocessing : ImagePreprocessing
        Applied to an image when it is used.

    Raises
    ------
    InputError
        If files are not there.
    """
    files = [root / name for name in names]
    absent = _absent(files)
    if absent:
        raise InputError(
            f"{len(absent)} of the {len(files)} images are not in {root}, the first is "
            f"{absent[0].relative_to(root).as_posix()}: {source.mend}."
        )
    return {
        "X": ImageFiles(files, preprocessing),
        "preprocessing": preprocessing.as_dict(),
        "ids": np.asarray([file.relative_to(root).as_posix() for file in files]),
    }


def _absent(files: Sequence[Path]) -> list[Path]:
    """Files that do not exist; each folder is listed once, which is faster than asking N times."""
    listed: dict[Path, frozenset[str]] = {}
    absent = []
    for file in files:
        folder = file.parent
        if folder not in listed:
            listed[folder] = frozenset(os.listdir(folder) if folder.is_dir() else ())
        if file.name not in listed[folder]:
            absent.append(file)
    return absent


def _shown(counts: Sequence[int]) -> str:
    return ", ".join(str(int(count)) for count in counts)

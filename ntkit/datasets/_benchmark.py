"""What the loaders of public benchmarks share: their samples, folders, tables and counts."""

from __future__ import annotations

import csv
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

SPLITS = ("train", "val", "test")
SPLIT_CODES = {"0": 0, "1": 1, "2": 2}  # as Waterbirds, CelebA and MultiNLI write them
BINARY = {"0": 0, "1": 1}


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
    """

    target_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    DESCR: str = field(default="", repr=False)


@dataclass(frozen=True)
class Source:
    """A published data set, with its numbers of samples by split: of each group, or of all."""

    name: str
    url: str
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    DESCR: str = ""

    @property
    def fix(self) -> str:
        """What to do about a damaged file."""
        return f"get {self.name} again from {self.url}"

    def find(self, folder: str | Path, candidates: Sequence[str], *, kind: str = "file") -> Path:
        """Return the first candidate, a file or folder, that is in the user's folder."""
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
            raise InputError(f"{path} has no row of the split {split!r}: {self.fix}.")
        return rows

    def image_inputs(
        self, root: Path, names: Sequence[str], preprocessing: ImagePreprocessing
    ) -> dict[str, Any]:
        """Return the arguments X, preprocessing and ids of samples that are image files."""
        files = [root / name for name in names]
        absent = _absent(files)
        if absent:
            raise InputError(
                f"{len(absent)} of the {len(files)} images are not in {root}, the first is "
                f"{absent[0].relative_to(root).as_posix()}: {self.fix}."
            )
        return {
            "X": ImageFiles(files, preprocessing),
            "preprocessing": preprocessing.as_dict(),
            "ids": np.asarray([file.relative_to(root).as_posix() for file in files]),
        }

    def samples(
        self, split: str, counts: Sequence[int] | None = None, **parts: Any
    ) -> BenchmarkSamples:
        """Return samples; warn of counts, of each group or of all, that are not as published."""
        published = self.counts.get(split, ())
        if counts is not None and len(counts) == 1:
            published = (sum(published),)
        if counts is not None and tuple(counts) != published:
            self.warn(
                f"the split {split!r} holds {_shown(counts)} samples"
                f"{' by group' * (len(published) > 1)}, where the published one holds "
                f"{_shown(published)}"
            )
        return BenchmarkSamples(DESCR=self.DESCR, **parts)

    def warn(self, what: str) -> None:
        """Warn that the folder differs from the published data set."""
        warnings.warn(
            f"{self.name}: {what}; {self.fix}, or pass check=False for a subset.",
            IncompleteDataWarning,
            stacklevel=4,  # whoever called the loader
        )


def check_arguments(
    split: str,
    preprocessing: Any,
    kind: type[ImagePreprocessing] | type[TextPreprocessing],
) -> None:
    """Refuse a split that is none, or a preprocessing that does not fit the data."""
    if split not in SPLITS:
        raise InputError(f'split is "train", "val" or "test"; got {split!r}.')
    if not isinstance(preprocessing, kind):
        raise InputError(
            f"Give preprocessing as {kind.__name__}, such as {kind.__name__}.for_model(model); got "
            f"{type(preprocessing).__name__}."
        )


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


@dataclass(frozen=True)
class Metadata:
    """Some columns of a table, as they are written; the first record is in ``first_row``."""

    path: Path
    columns: dict[str, list[str]]
    first_row: int = 2

    def codes(self, name: str, code_of: Mapping[str, int] = BINARY) -> NDArray[np.int64]:
        """Return a column of coded values, shape (N,); refuse another value."""
        cells = self.columns[name]
        codes = [code_of.get(cell) for cell in cells]
        if None in codes:
            i = codes.index(None)
            raise InputError(
                f"{self.at(i)}: {cells[i][:80]!r} in column {name!r} is none of "
                f"{', '.join(code_of)}; the file is damaged or another one."
            )
        return np.asarray(codes, dtype=np.int64)

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Whether each record is in the split, by its number."""
        return np.asarray(self.codes("split", SPLIT_CODES) == SPLITS.index(split))

    def shares(self, name: str, *, empty: float = np.nan) -> NDArray[np.float64]:
        """Return a column of numbers, shape (N,); ``empty`` stands for a cell without one."""
        cells = self.columns[name]
        shares = np.empty(len(cells))
        for i, cell in enumerate(cells):
            try:
                shares[i] = float(cell) if cell else empty
            except ValueError:
                shares[i] = np.nan
            if np.isnan(shares[i]):
                raise InputError(
                    f"{self.at(i)}: {cell[:80]!r} in column {name!r} is no number; the file is "
                    "damaged or another one."
                )
        return shares

    def at(self, i: int) -> str:
        """Where a record stands, for a sentence about it."""
        return f"{self.path}, row {i + self.first_row}"


def read_csv(path: Path, names: Sequence[str], fix: str) -> Metadata:
    """Read some columns of a CSV file; ``fix`` ends the sentences about a damaged one."""
    columns: dict[str, list[str]] = {name: [] for name in names}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            missing = [name for name in names if name not in header]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}; its columns are {header[:50]}: {fix}."
                )
            kept = [(columns[name], header.index(name)) for name in names]
            for row, record in enumerate(reader, start=2):
                if not record:
                    continue  # an empty line
                if len(record) != len(header):
                    raise InputError(
                        f"{path}, row {row} has {len(record)} cells where the header has "
                        f"{len(header)}, so the file is cut off or damaged: {fix}."
                    )
                for cells, j in kept:
                    cells.append(record[j])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable table ({error}): {fix}.") from error
    if not columns[names[0]]:
        raise InputError(f"{path} has no rows: {fix}.")
    return Metadata(path, columns)

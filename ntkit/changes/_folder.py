"""Copies that the user made, such as inpainted backgrounds, matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._join import rows_named
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples.kinds import TextData, rows_of
from ntkit.samples.read import read_samples
from ntkit.samples.samples import Samples


@dataclass(frozen=True)
class OfFolder:
    """Copies in a folder of images, or in a table with a column id."""

    name: str
    path: Path

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        _, copies, copy_of = self._matched(samples)
        at = rows[copy_of[rows] >= 0]
        return rows_of(copies.X, copy_of[at]), at

    def check_sets(self, sets: Sequence[Samples]) -> None:
        """Raise an error if one copy has the name of samples in two sets."""
        matched = [self._matched(samples) for samples in sets]
        for (one, (path, copies, rows)), (two, (other, _, more)) in combinations(
            zip(sets, matched, strict=True), 2
        ):
            both = np.intersect1d(rows[rows >= 0], more[more >= 0])
            if path == other and len(both):
                raise InputError(
                    f"{path}: {len(both)} copies such as {copies.names[both[0]]!r} have the names "
                    f"of samples in {one.called('a set')} and in {two.called('another')}. Put the "
                    "copies of each set into a subfolder named like the set, or use each name once."
                )

    def _matched(self, samples: Samples) -> tuple[Path, Samples, Array]:
        """The folder of a set's copies, the copies, and the row of each sample's copy, or −1."""
        if not self.path.exists():
            raise InputError(
                f"{self.name!r}: {self.path} does not exist; name the folder or table of copies."
            )
        if not samples.data.may_have_names:
            raise InputError(
                f"{self.name!r}: copies are matched by name, but {samples.called('the set')} "
                f"contains {samples.data.what}, of which ntkit reads no copies from files; pass "
                "image files, texts or a table for a single input."
            )
        of_set = self.path / samples.sources[0].name if samples.sources else self.path
        path = of_set if of_set.exists() else self.path
        copies = self._read(path, samples)
        if "row" in (samples.named_by, copies.named_by):
            nameless = samples if samples.named_by == "row" else copies
            raise InputError(
                f"{self.name!r}: copies are matched by name, but {nameless.called('the set')} has "
                "none; add a column id to both tables."
            )
        names, written = samples.names, copies.names
        if samples.data.are_files and len({*map(_stem, names)}) == len(names):
            names, written = [*map(_stem, names)], [*map(_stem, written)]  # a copy may be a PNG
        copy_of = rows_named(written, names, str(path), copies.named_by)
        if (copy_of < 0).all():
            raise InputError(
                f"{path} has no copy of any of the {len(names)} samples: the first sample is "
                f"{samples.names[0]!r}, the first copy {copies.names[0]!r}. Name each copy like "
                "its original."
            )
        return path, copies, copy_of

    def _read(self, path: Path, samples: Samples) -> Samples:
        options: dict[str, Any] = {}
        if isinstance(samples.data, TextData) and samples.table is not None:
            first, *second = samples.table.inputs
            options = {"text_column": first} | ({"text_pair_column": second[0]} if second else {})
        elif samples.columns:
            options = {"columns": samples.columns}
        copies = read_samples(path, preprocessing=samples.data.steps, labels="optional", **options)
        if copies.data.what != samples.data.what:
            raise InputError(
                f"{self.name!r} contains {copies.data.what}, but {samples.called('the set')} "
                f"contains {samples.data.what}; pass copies of the same kind."
            )
        return copies


def _stem(name: str) -> str:
    """A file's name without its extension."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{Path(file).stem}"

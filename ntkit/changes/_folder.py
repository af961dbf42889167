"""Copies that the user made, such as inpainted backgrounds, matched by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkit._join import rows_named
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples import Samples, read_samples, rows_of


@dataclass(frozen=True)
class OfFolder:
    """Copies in a folder of images, or in a table with a column id."""

    name: str
    path: Path

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        if not self.path.exists():
            raise InputError(
                f"{self.name!r}: {self.path} does not exist; name the folder or table of copies."
            )
        if samples.kind not in ("images", "texts", "columns"):
            raise InputError(
                f"{self.name!r}: copies are matched by name, but {samples.called('the set')} "
                f"contains {samples.kind} without names; pass an image folder or a table with a "
                "column id."
            )
        copies = self._read(samples)
        if "row" in (samples.named_by, copies.named_by):
            nameless = samples if samples.named_by == "row" else copies
            raise InputError(
                f"{self.name!r}: copies are matched by name, but {nameless.called('the set')} has "
                "none; add a column id to both tables."
            )
        names, written = samples.names, copies.names
        if samples.kind == "images" and len({*map(_stem, names)}) == len(names):
            names, written = [*map(_stem, names)], [*map(_stem, written)]  # a copy may be a PNG
        copy_of = rows_named(written, names, str(self.path), copies.named_by)
        if (copy_of < 0).all():
            raise InputError(
                f"{self.path} has no copy of any of the {len(names)} samples: the first sample is "
                f"{samples.names[0]!r}, the first copy {copies.names[0]!r}. Name each copy like "
                "its original."
            )
        at = rows[copy_of[rows] >= 0]
        return rows_of(copies.X, copy_of[at]), at

    def _read(self, samples: Samples) -> Samples:
        options: dict[str, Any] = {}
        if samples.kind == "texts" and samples.table is not None:
            first, *second = samples.table.inputs
            options = {"text_column": first} | ({"text_pair_column": second[0]} if second else {})
        elif samples.kind == "columns":
            options = {"columns": samples.columns}
        copies = read_samples(
            self.path, preprocessing=samples.steps, labels="optional", keep_table=True, **options
        )
        if copies.kind != samples.kind:
            raise InputError(
                f"{self.name!r} contains {copies.kind}, but {samples.called('the set')} contains "
                f"{samples.kind}; pass copies of the same kind."
            )
        return copies


def _stem(name: str) -> str:
    """A file's name without its extension."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{Path(file).stem}"

"""Changes of the user's own: copies in a folder, such as inpainted backgrounds, and functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._join import NameIndex, rows_named
from ntkit._labels import listed, means_unknown, none_if_unknown
from ntkit._types import Array
from ntkit.changes._donors import donors, generator
from ntkit.changes.images import ImageChange, OfImages, Pixels
from ntkit.exceptions import InputError
from ntkit.inputs.raw import RawInputs
from ntkit.samples.join import Metadata
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

    def donors(self, samples: Samples, seed: int, folds: Any) -> Array:
        """Row of the donor of each sample, by the column ``donor`` of the copies; else −1."""
        path, copies, copy_of = self._matched(samples)
        beside = copies.table or Metadata.of(None, [copies], None)
        written = None if beside is None else beside.columns.get("donor")
        of = np.full(len(samples), -1, dtype=np.intp)
        if written is None:
            return of
        index, donor_of = NameIndex(samples.names), none_if_unknown(written.astype(object))
        for row in np.flatnonzero(copy_of >= 0):
            name = donor_of[copy_of[row]]
            found = [] if means_unknown(name) else index.rows(name)
            if len(found) != 1 and not means_unknown(name):
                raise InputError(
                    f"{path}: the donor {name!r:.60} of the copy {copies.names[copy_of[row]]!r} is "
                    f"the name of {len(found)} samples of {samples.called('the set')}. Name one "
                    "sample, or leave the cell empty."
                )
            of[row] = found[0] if found else -1
        return of

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


@dataclass(frozen=True)
class OfFunction:
    """Copies by a function of a sample, or of a sample and its donor."""

    name: str
    function: Callable[..., Any]
    donor: bool
    of_pixels = True

    def donors(self, samples: Samples, seed: int, folds: Any) -> Array:
        """Row of the donor of each sample, −1 if there is none."""
        if not self.donor:
            return np.full(len(samples), -1, dtype=np.intp)
        return donors(len(samples), samples.y, folds, generator(self.name, seed))

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        if samples.data.are_images:
            change = ImageChange(self._image, donor=self.donor)
            made = OfImages(self.name, change, _version(self.function))
            return made(samples, rows, seed, folds)
        of = self.donors(samples, seed, folds)
        if self.donor:
            rows = rows[of[rows] >= 0]
        if isinstance(samples.data, TextData):
            return self._texts(samples, rows, of)
        if samples.data.column_names:
            return self._rows(samples, rows, of)
        if isinstance(samples.X, RawInputs):
            return self._raw(samples.X, rows, of)
        if isinstance(samples.X, np.ndarray):
            return self._arrays(samples.X, rows, of)
        raise InputError(
            f"{self.name!r} cannot be applied to {samples.data.what} of the type "
            f"{type(samples.X).__name__}; pass an array, or RawInputs of ntkit.extraction."
        )

    def _called(self, sample: Any, *donor: Any) -> Any:
        return self.function(sample, *donor) if self.donor else self.function(sample)

    def _image(self, image: Pixels, donor: Pixels | None, rng: Any) -> Pixels:
        new = self._called(image.copy(), donor)
        if new is None or np.shape(new) != image.shape:
            got = "None" if new is None else f"an image of shape {np.shape(new)}"
            raise InputError(
                f"{self.name!r} made {got} of an image of shape {image.shape}; return an array of "
                "the same shape for each image."
            )
        return np.asarray(new, dtype=np.float32)

    def _raw(self, X: RawInputs, rows: Array, of: Array) -> tuple[Any, Array]:
        """Copies of raw samples of any type."""
        called = ((row, self._called(X.raw[row], X.raw[of[row]])) for row in rows.tolist())
        made = [(row, new) for row, new in called if new is not None]
        made = [(row, new) for row, new in made if not _same(new, X.raw[row])]
        at = np.asarray([row for row, _ in made], dtype=np.intp)
        return RawInputs([new for _, new in made], X.prepare), at

    def _arrays(self, X: Array, rows: Array, of: Array) -> tuple[Any, Array]:
        """Copies of arrays of any shape, in their type."""
        at, made = list[int](), list[Array]()
        for row in rows.tolist():
            new = self._called(X[row].copy(), X[of[row]].copy())
            if new is None or _same(new, X[row]):
                continue
            with np.errstate(invalid="ignore"):
                cast = np.asarray(new).astype(X.dtype)
            if np.shape(new) != X.shape[1:] or (X.dtype.kind != "f" and not _same(cast, new)):
                raise InputError(
                    f"{self.name!r} made {np.asarray(new).dtype} of shape {np.shape(new)} of an "
                    f"array of {X.dtype} of shape {X.shape[1:]}; return the same shape and type."
                )
            at.append(row)
            made.append(cast)
        empty = np.empty((0, *X.shape[1:]), X.dtype)
        return np.stack(made) if made else empty, np.asarray(at, dtype=np.intp)

    def _texts(self, samples: Samples, rows: Array, of: Array) -> tuple[Any, Array]:
        texts = samples.X.texts
        made = [(row, self._called(texts[row], texts[of[row]])) for row in rows.tolist()]
        made = [(row, new) for row, new in made if new is not None and new != texts[row]]
        for row, new in made:
            if not _alike(new, texts[row]):
                kind = "a text" if isinstance(texts[row], str) else "a pair of texts"
                raise InputError(f"{self.name!r} made {new!r:.60} of {kind}; return {kind}.")
        at = np.asarray([row for row, _ in made], dtype=np.intp)
        return samples.X.with_texts([new for _, new in made]), at

    def _rows(self, samples: Samples, rows: Array, of: Array) -> tuple[Any, Array]:
        data = samples.data
        columns = {name: data.column(name) for name in data.column_names}

        def sample(row: int) -> dict[str, Any]:
            return {name: values[row] for name, values in columns.items()}

        at, new = list[int](), list[Mapping[str, Any]]()
        for row in rows.tolist():
            before = sample(row)
            copy = self._called({**before}, sample(of[row]))
            if copy is None:
                continue
            if not isinstance(copy, Mapping) or not {*copy} <= {*columns}:
                raise InputError(
                    f"{self.name!r} made {copy!r:.60} of a row; return a mapping of some of the "
                    f"columns {listed(list(columns), 12)} to values."
                )
            if any(_differs(copy[name], before[name]) for name in copy):
                at.append(row)
                new.append(before | dict(copy))
        made = {n: self._column(n, [row[n] for row in new], old) for n, old in columns.items()}
        rows = np.asarray(at, dtype=np.intp)
        return data.with_columns(rows, made), rows

    def _column(self, name: str, values: list[Any], old: Array) -> Array:
        """Values of a column in its type; texts may become longer."""
        new = np.asarray(values, dtype=None if old.dtype.kind in "US" and values else old.dtype)
        if old.dtype.kind in "iub" and not np.array_equal(new, np.asarray(values, dtype=float)):
            raise InputError(
                f"{self.name!r} returned values of the column {name!r} that are not {old.dtype}; "
                "return values of this type."
            )
        return new


def _version(function: Callable[..., Any]) -> str:
    """Fingerprint of a function's code; a store of an edited function is not continued."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    constants = [c for c in code.co_consts if isinstance(c, int | float | str)]
    return hashlib.sha256(f"{code.co_code!r} {code.co_names} {constants}".encode()).hexdigest()


def _alike(new: Any, old: Any) -> bool:
    """Whether the result of a function is a text, or a pair of texts, like its original."""
    if isinstance(old, str):
        return isinstance(new, str)
    return isinstance(new, tuple) and len(new) == 2 and all(isinstance(n, str) for n in new)


def _same(one: Any, other: Any) -> bool:
    """Whether two raw samples are equal, also if they are arrays."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        of_floats = np.asarray(one).dtype.kind == "f" == np.asarray(other).dtype.kind
        return bool(np.array_equal(one, other, equal_nan=of_floats))
    return bool(one == other)


def _differs(one: Any, other: Any) -> bool:
    return bool(one != other and not (one != one and other != other))  # NaN counts as equal to NaN

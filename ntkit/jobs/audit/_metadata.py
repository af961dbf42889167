"""What is known beside the samples: a file or a table, matched by name or by row."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ntkit._types import Array
from ntkit.attributes import FeatureSet, columns_of, matched, metadata
from ntkit.exceptions import InputError
from ntkit.samples import Samples, read_table

_FILE = "file_name"
_NAMING = "id"
MADE_OF_CLASSES = ("label", "group")  # made of the class: they say nothing else


@dataclass(frozen=True, eq=False)
class Metadata:
    """A table beside the samples, and how its rows find them."""

    columns: Mapping[str, Array]
    ids: Sequence[str] | None
    key: str
    note: str

    @classmethod
    def of(cls, given: Any, samples: Samples, key: str | None) -> Metadata | None:
        """Read and match metadata; without any, the ``metadata.csv`` of an image folder."""
        beside = _in_folder(samples)
        if given is None and beside is None:
            return None
        source = beside if given is None else given
        columns = _columns(source)
        name = str(source) if isinstance(source, str | os.PathLike) else "The metadata"
        chosen = key or _key(columns, samples)
        ids: Sequence[str] | None = None if chosen is None else _ids(samples, chosen)
        if chosen is not None and chosen not in columns:
            raise InputError(
                f"{name} has no column {chosen!r} to match samples by; its columns are "
                f"{list(columns)}. Name the column with --id-column (key= in Python)."
            )
        left = {n: v for n, v in columns.items() if n == chosen or n not in MADE_OF_CLASSES}
        if not set(left) - {chosen} and given is None:
            return None
        if not set(left) - {chosen}:
            raise InputError(f"{name} has no columns to look at; its columns are {list(columns)}.")
        if ids is None or chosen is None:
            rows = {len(v) for v in columns.values()}
            if rows != {len(samples)}:
                raise InputError(
                    f"{name} has {max(rows, default=0)} rows and there are {len(samples)} samples; "
                    "name the column that tells samples apart with --id-column (key= in Python), "
                    "or give a row for each."
                )
            return cls(left, None, "", f"{name} is matched row by row.")
        names = [str(value) for value in columns[chosen].tolist()]
        if chosen == _FILE:
            ids = _as_written(ids, names)
        known = set(names)
        n = sum(one in known for one in ids)
        note = f"{name} is matched by its column {chosen!r}: it names {n} of {len(ids)} samples."
        return cls(left, ids, chosen, note)

    def feature_set(self) -> FeatureSet:
        """The view of these columns."""
        return metadata(self.columns, self.ids, key=self.key)

    def matched(self) -> dict[str, Array]:
        """These columns in the order of the samples; None where a sample has no row."""
        return matched(self.columns, self.ids, self.key)


def _in_folder(samples: Samples) -> Path | None:
    found = [path / "metadata.csv" for path in samples.sources if path.is_dir()]
    return found[0] if samples.ids is not None and found and found[0].is_file() else None


def _columns(source: Any) -> dict[str, Array]:
    if not isinstance(source, str | os.PathLike):
        return columns_of(source)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    table = read_table(path, None, (_FILE, _NAMING))
    columns = table.with_decimal_points()
    return {n: v for n, v in columns.items() if table.list_length(n) is None}


def _key(columns: Mapping[str, Array], samples: Samples) -> str | None:
    """The column that names samples, unasked."""
    if samples.ids is not None:
        return _FILE
    table = {} if samples.table is None else samples.table.columns
    return _NAMING if _NAMING in columns and _NAMING in table else None


def _ids(samples: Samples, key: str) -> list[str]:
    table = {} if samples.table is None else samples.table.columns
    if key in table:
        names = [str(name) for name in table[key].tolist()]
        twice = next((name for name, n in Counter(names).items() if n > 1), None)
        if twice is not None:
            raise InputError(
                f"Two samples are called {twice!r} in the column {key!r}; name another column "
                "with --id-column (key= in Python)."
            )
        return names
    if samples.ids is None:
        raise InputError(
            f"The samples have no column {key!r} to match metadata by; leave --id-column (key=) "
            "out to match them row by row."
        )
    return [str(name) for name in samples.ids]


def _as_written(ids: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Names of files as the metadata writes them: whole, or without their folders."""
    if set(ids) & set(names):
        return ids
    last = [PurePosixPath(one).name for one in ids]
    return last if len(set(last)) == len(last) and set(last) & set(names) else ids

"""Parts of a store, made on many machines: their rows, and whether they belong together."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples import EMBEDDINGS, IDENTITY, combined, difference
from ntkit.store._fill import Job, read_rows

_CHUNK = 8 << 20  # bytes read at once
_SAME = (*(name for name in IDENTITY if name != "part"), "run")


def row_range(total: int, window: int, part: tuple[int, int] | None) -> tuple[int, int]:
    """First row and number of rows of a part: whole windows, spread evenly."""
    if part is None:
        return 0, total
    i, n = part
    if not 1 <= i <= n:
        raise InputError(f"There is no part {i} of {n}; parts are 1 of n to n of n.")
    windows = -(-total // window)
    if n > windows:
        raise InputError(
            f"{total} samples in windows of {window} make at most {windows} parts, not {n}; take "
            "fewer parts or a smaller batch size."
        )
    first, stop = ((windows * k // n) * window for k in (i - 1, i))
    return first, min(stop, total) - first


def joined(stores: Sequence[Any]) -> Job:
    """Describe the store that finished parts make together."""
    parts = sorted(_checked(stores), key=lambda store: store.manifest["first_row"])
    whole = {**parts[0].manifest, "part": None}
    given = (*IDENTITY, "contents", "format", "run")
    sums = [part.manifest.get("contents") for part in parts]
    contents = None if None in sums else combined(sums)
    position = ("first_row", "rows", "finished_rows", "shape", "stored_dtype")
    return Job(
        identity={name: whole[name] for name in IDENTITY},
        facts={k: v for k, v in whole.items() if k not in (*given, *position)},
        files=lambda *_: _files(parts),
        settings=lambda: dict(whole["run"]),
        row_range=lambda _: (0, whole["total_rows"]),
        batches=lambda start, stop, run: _stream(parts, start, run["window"]),
        contents=contents,
        inputs=[part.path for part in parts],
        row_bytes=parts[0].X.strides[0],
    )


def _checked(stores: Sequence[Any]) -> Sequence[Any]:
    if not stores:
        raise InputError("There are no parts to merge; name their folders.")
    seen: dict[int, Path] = {}
    for store in stores:
        if store.manifest["part"] is None:
            raise InputError(f"{store.path} is a whole store, not a part of one; leave it out.")
        _check_alike(stores[0], store)
        i, n = store.manifest["part"]
        if i in seen:
            raise InputError(f"{seen[i]} and {store.path} are both part {i} of {n}; leave one out.")
        seen[i] = store.path
    _check_complete(seen, stores[0].manifest["part"][1])
    _check_rows(stores)
    return stores


def _check_alike(first: Any, second: Any) -> None:
    facts = _what_parts_share(first)
    different = difference(facts, _what_parts_share(second), facts)
    if different is not None:
        field, one, other = different
        raise InputError(
            f"{first.path} and {second.path} are no parts of one store, they differ in {field} "
            f"({one!r} and {other!r}); embed one again as the other was."
        )


def _what_parts_share(store: Any) -> dict[str, Any]:
    return {
        **{name: store.manifest.get(name) for name in _SAME},
        "number of parts": store.manifest["part"][1],
        "number of neurons": store.X.shape[1],
        "precision": str(store.X.dtype),
        "labels": None if store.y is None else str(store.y.dtype),
        "groups": None if store.groups is None else str(store.groups.dtype),
        "ids": None if store.ids is None else str(store.ids.dtype),
    }


def _check_complete(seen: dict[int, Path], n: int) -> None:
    missing = [str(i) for i in range(1, n + 1) if i not in seen]
    if missing:
        raise InputError(
            f"Of {n} parts, {len(missing)} are missing: {listed(missing, 10)}; embed them, or name "
            "their folders too."
        )


def _check_rows(stores: Sequence[Any]) -> None:
    done = 0
    for store in sorted(stores, key=lambda store: store.manifest["part"][0]):
        if store.manifest["first_row"] != done:
            raise InputError(
                f"{store.path} begins at row {store.manifest['first_row']} instead of {done}; "
                "embed it again with --force."
            )
        done += store.manifest["rows"]
    if done != stores[0].manifest["total_rows"]:
        raise InputError(
            f"The parts hold {done} of {stores[0].manifest['total_rows']} rows; embed them again "
            "with --force."
        )


def _files(parts: Sequence[Any]) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for name, attribute in (("labels", "y"), ("groups", "groups"), ("ids", "ids")):
        if getattr(parts[0], attribute) is not None:
            files[f"{name}.npy"] = np.concatenate([getattr(part, attribute) for part in parts])
    head = parts[0].head
    if head is not None:
        files["head.npz"] = {p: getattr(head, p) for p in ("coef", "intercept", "classes")}
    return files


def _stream(parts: Sequence[Any], start: int, window: int) -> Generator[Array, None, None]:
    for part in parts:
        first, stop = (part.manifest[key] for key in ("first_row", "rows"))
        stop += first
        while start < stop:
            edge = min(_edge(start, part.X.strides[0], window), stop)
            yield _read(part, start - first, edge - first)
            start = edge


def _edge(start: int, row_bytes: int, window: int) -> int:
    """Where to stop reading: after many whole windows, or many rows of one."""
    edge = start + max(1, _CHUNK // row_bytes)
    end_of_window = start - start % window + window
    return max(edge - edge % window, min(edge, end_of_window))


def _read(part: Any, start: int, stop: int) -> Array:
    try:
        rows = read_rows(part.path / EMBEDDINGS, start, stop)
        if (rows.dtype, rows.shape) != (part.X.dtype, (stop - start, part.X.shape[1])):
            raise ValueError("another array")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{part.path} was changed while it was being merged ({error}); run the same command "
            "again."
        ) from error
    return rows

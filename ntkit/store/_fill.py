"""Fill a store: start or continue it, row range by row range."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import check_room, check_writable, has_name, locked, saying_what_failed
from ntkit._output import refuse_folder_of_inputs
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples.copies import combined
from ntkit.samples.stored import (
    EMBEDDINGS,
    IDENTITY,
    MANIFEST,
    array_header,
    difference,
    is_finished,
    kind_of_manifest,
    read_manifest,
    replace_file,
    write_manifest,
)


class RowFile:
    """A ``.npy`` file (rows, D), locked against a second writer and filled by row ranges."""

    # It is created empty, and gets its header and full size when the width is known. It is written
    # through the file, not through a memory map, so that a full disk is an OSError, not a SIGBUS.
    # The lock is on the file itself, so it ends with the process and leaves nothing behind.

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = locked(path)
        self._begin = 0  # of the rows
        self.shape: tuple[int, int] | None = None
        self.dtype = np.dtype(np.float32)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file.closed:  # another writer was faster in ``renew``
            return
        with self._file, suppress(OSError):
            if not os.fstat(self._file.fileno()).st_size and has_name(self._file, self.path):
                self._remove()  # nothing was embedded

    def renew(self) -> None:
        """Start with an empty file; processes that have mapped the old one keep it."""
        if os.fstat(self._file.fileno()).st_size:
            with self._file:
                self._remove()
                self._file = locked(self.path)
        self.shape = None

    def create(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Give the empty file its header and its full size."""
        content = BytesIO()
        described = np.lib.format.header_data_from_array_1_0(np.empty((0, shape[1]), dtype))
        np.lib.format.write_array_header_1_0(content, {**described, "shape": shape})
        self.shape, self.dtype, self._begin = shape, dtype, content.tell()
        self._write(0, content.getvalue())
        self._file.truncate(self._begin + self._row_bytes * shape[0])

    def resume(self) -> None:
        """Read shape and dtype from the file; a ValueError if it is cut or not an array."""
        self.shape, self.dtype, self._begin = array_header(self.path)

    def write(self, row: int, batch: Array) -> None:
        """Write a batch from a row on."""
        self._write(self._begin + row * self._row_bytes, batch.tobytes())

    def flush(self) -> None:
        """Wait until the rows are on the disk, in the file of this name."""
        os.fsync(self._file.fileno())
        if not has_name(self._file, self.path):
            raise InputError(
                f"{self.path} was replaced or removed while ntkit was writing it; embed again with "
                "--force."
            )

    def _remove(self) -> None:
        if sys.platform == "win32":  # which does not remove open files
            self._file.close()
        self.path.unlink()

    @property
    def _row_bytes(self) -> int:
        assert self.shape is not None
        return self.shape[1] * self.dtype.itemsize

    def _write(self, offset: int, content: bytes) -> None:
        self._file.seek(offset)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]  # a nearly full disk accepts a part


def read_rows(path: Path, start: int, stop: int) -> Array:
    """Read a range of rows, through the file."""
    (_, width), dtype, begin = array_header(path)
    offset = begin + start * width * dtype.itemsize
    count = (stop - start) * width
    return np.fromfile(path, dtype, count, offset=offset).reshape(stop - start, width)


Progress = Callable[[int, int], object]
_MANIFESTS = (MANIFEST, f".{MANIFEST}")
_FILES = re.compile(r"\.?(embeddings(-\d{5,})?|labels|groups|ids)\.npy|\.?head\.npz")
_disk = partial(
    saying_what_failed,
    if_full="free some disk space and run the same command again, which continues from here",
)


@dataclass(frozen=True)
class StoreContents:
    """A store to be filled: its manifest, files and embeddings."""

    identity: dict[str, Any]
    facts: dict[str, Any]
    files: Callable[[int, int], dict[str, Any]]
    settings: Callable[[], dict[str, Any]]
    row_range: Callable[[dict[str, Any]], tuple[int, int]]
    batches: Callable[[int, int, dict[str, Any]], Generator[Array, None, None]]
    contents: Callable[[int, int], str] | str | None = None
    inputs: Sequence[str | os.PathLike[str]] = ()
    row_bytes: int | None = None

    @cached_property
    def started(self) -> dict[str, Any]:
        """The manifest of a new store."""
        run = self.settings()
        first, rows = self.row_range(run)
        position = {"first_row": first, "rows": rows, "finished_rows": 0}
        contents = {"contents": self.contents_of(first, 0)}
        return {**self.facts, **self.identity, **contents, "run": run, **position}

    def contents_of(self, first: int, finished: int) -> str | None:
        """Digest of the contents in the manifest when this many rows are finished."""
        return self.contents(first, finished) if callable(self.contents) else self.contents


def fill_store(
    path: Path, job: StoreContents, *, checkpoint_rows: int, force: bool, progress: Progress | None
) -> None:
    """Start a store, or continue an unfinished one, and finish it; a finished one is unchanged."""
    if checkpoint_rows < 1:
        raise InputError(f"checkpoint_rows must be at least 1; got {checkpoint_rows}.")
    # Raise errors before anything is computed or changed.
    refuse_folder_of_inputs(path, job.inputs)
    with _disk(path):
        _refuse_other_files(path)
        check_writable(path)
        _check_room(path, job)
    manifest = _begun(path, job, force)
    if manifest is not None and is_finished(manifest):
        return
    if manifest is None:
        _ = job.started
    with _disk(path):
        path.mkdir(parents=True, exist_ok=True)
        rows = RowFile(path / EMBEDDINGS)
    with rows:
        manifest = _begun(path, job, force)  # again: from now on nobody else writes
        if manifest is not None and is_finished(manifest):
            return
        if manifest is None:
            manifest = dict(job.started)
            with _disk(path):
                _begin(path, manifest, job, rows)
        else:
            try:
                rows.resume()
                if [*(rows.shape or ())] != manifest.get("shape"):
                    raise ValueError(f"{EMBEDDINGS} has the shape {rows.shape}")
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{path} is damaged ({error}); embed again with --force."
                ) from error
        _fill(path, manifest, job, rows, checkpoint_rows, progress)


def _begun(path: Path, job: StoreContents, force: bool) -> dict[str, Any] | None:
    """Return the manifest to continue with, or of a finished store; None to start anew."""
    with _disk(path):
        _refuse_other_files(path)
        manifest = None if force else read_manifest(path)
    if manifest is None:
        return None
    if "contents" not in manifest and is_finished(manifest):
        raise InputError(f"{path} is finished already; choose another name or pass --force.")
    if "contents" not in manifest:
        raise InputError(
            f"{path} was begun by an older ntkit, which did not record the contents of the "
            "samples, so they may have changed; embed again with --force."
        )
    different = difference(manifest, job.identity, IDENTITY)
    if different is not None:
        field, before, now = different
        raise InputError(
            f"{path} was made with another {field} ({before!r}, now {now!r}); choose another name "
            "or pass --force."
        )
    if not manifest["finished_rows"]:
        return None
    # Files or arrays may have changed under the same names.
    if job.contents_of(manifest["first_row"], manifest["finished_rows"]) != manifest["contents"]:
        raise InputError(
            f"Contents of the samples changed since {path} was begun: some of its "
            f"{manifest['finished_rows']} rows do not belong to them any more. Choose another name "
            "or pass --force."
        )
    return manifest


def _check_room(path: Path, job: StoreContents) -> None:
    """Raise an error if the disk is too small for the embeddings; old files are replaced."""
    if job.row_bytes is None:
        return
    part, file = job.identity["part"], path / EMBEDDINGS
    rows = job.identity["total_rows"] // (1 if part is None else max(1, part[1]))
    there = 0
    if file.exists():  # it has its full size before its content
        status = file.stat()
        there = min(status.st_size, 512 * getattr(status, "st_blocks", status.st_size))
    check_room(path, rows * job.row_bytes - there)


def _refuse_other_files(path: Path) -> None:
    if not path.exists():
        return
    stray = f"{path} exists and is not an embedding store; choose another name."
    if not path.is_dir():
        raise InputError(stray)
    kind, files = kind_of_manifest(path), [*path.iterdir()]

    def leftover(file: Path) -> bool:  # of an extraction that was killed before its first manifest
        empty = file.name == EMBEDDINGS and file.is_file() and not file.stat().st_size
        return empty or file.name == f".{MANIFEST}"

    ours = kind == "store" or (kind != "other" and all(map(leftover, files)))
    if kind == "damaged":
        ours = ours or all(_FILES.fullmatch(f.name) or f.name in _MANIFESTS for f in files)
    if not ours:
        raise InputError(stray)


def _begin(path: Path, manifest: dict[str, Any], job: StoreContents, rows: RowFile) -> None:
    """Write everything but the embeddings; nothing remains of an earlier store."""
    write_manifest(path, manifest)  # first: from now on the folder is an unfinished store
    for file in list(path.iterdir()):
        if _FILES.fullmatch(file.name) and file.name != EMBEDDINGS:
            file.unlink()
    rows.renew()
    for name, content in job.files(manifest["first_row"], manifest["rows"]).items():
        written = BytesIO()
        if isinstance(content, dict):
            np.savez(written, **content)
        else:
            np.save(written, content)
        replace_file(path / name, written.getbuffer())


def _fill(
    path: Path,
    manifest: dict[str, Any],
    job: StoreContents,
    rows: RowFile,
    checkpoint_rows: int,
    progress: Progress | None,
) -> None:
    """Write the remaining rows, with a checkpoint after so many."""
    first, window = manifest["first_row"], manifest["run"]["window"]
    done, stop = first + manifest["finished_rows"], first + manifest["rows"]
    safe = manifest["finished_rows"]

    def put(batch: Array) -> None:
        if done + len(batch) > stop:
            raise InputError(f"The embedder returned more than {stop} rows; check the inputs.")
        if rows.shape is None:
            rows.create((manifest["rows"], batch.shape[1]), batch.dtype)
        _, width = rows.shape or (0, 0)
        if (batch.shape[1], batch.dtype) != (width, rows.dtype):
            raise InputError(
                f"From row {done} on, there are {batch.shape[1]} neurons in {batch.dtype} instead "
                f"of {width} in {rows.dtype}; embed again with --force."
            )
        rows.write(done - first, batch)

    def checkpoint() -> None:
        before, contents = manifest["finished_rows"], manifest["contents"]
        if callable(job.contents):  # of rows that were just read, so the disk is hardly used again
            contents = combined([contents, job.contents(first + before, safe - before)])
        with _disk(path):
            rows.flush()
            now = {"finished_rows": safe, "contents": contents}
            now |= {"shape": [*(rows.shape or ())], "stored_dtype": str(rows.dtype)}
            write_manifest(path, manifest | now)
        manifest.update(now)  # at the end, and without a gap: Ctrl-C may come at any time

    try:
        with closing(job.batches(done, stop, manifest["run"])) as batches:
            for batch in batches:
                stored = _as_stored(batch, manifest["dtype"], done)
                with _disk(path):
                    put(stored)
                done += len(batch)
                if done == stop or done % window == 0:  # where a later run may start
                    safe = done - first
                    if done == stop or safe - manifest["finished_rows"] >= checkpoint_rows:
                        checkpoint()
                if progress is not None:
                    progress(done - first, manifest["rows"])
    except KeyboardInterrupt:
        if safe > manifest["finished_rows"]:  # else up to checkpoint_rows would be lost
            checkpoint()
        raise
    if done != stop:
        raise InputError(f"The embedder stopped at row {done} of {stop}; check the inputs.")


def _as_stored(batch: Array, dtype: str | None, row: int) -> Array:
    if dtype is None or batch.dtype == dtype:
        return batch
    with np.errstate(over="ignore"):
        stored = batch.astype(dtype)
    bad = np.flatnonzero(~np.isfinite(stored).all(axis=1))
    if len(bad):
        raise InputError(
            f"Row {row + bad[0]} has {np.abs(batch[bad[0]]).max():.6g}, more than the "
            f"{np.finfo(stored.dtype).max:.6g} that {dtype} can represent; "
            f"{'pass --dtype float32' if dtype == 'float16' else 'leave out --dtype'} (dtype=)."
        )
    return stored

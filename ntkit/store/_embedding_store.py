"""EmbeddingStore: embeddings on disk, written from samples or finished parts, resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ntkit._doc import documented
from ntkit._text import listed
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.samples.copies import combined, sample_digests, sum_of_digests
from ntkit.samples.samples import Samples, arrays_of, input_paths
from ntkit.samples.stored import EMBEDDINGS, IDENTITY, StoredEmbeddings, difference
from ntkit.store._fill import Progress, StoreContents, fill_store, read_rows

if TYPE_CHECKING:  # embeddings are read without ONNX
    from ntkit.model import FrozenModel

_CHUNK = 8 << 20  # bytes read at once
_ROWS = 4096  # labels hashed at once
_SAME = (*(name for name in IDENTITY if name != "part"), "run")


@documented
class EmbeddingStore(StoredEmbeddings):
    """A folder with ``embeddings.npy``, the data of its rows, and a ``manifest.json``.

    Make one with :meth:`write`, or from parts of many machines with :meth:`merge`. Read one with
    :meth:`open`.

    Attributes
    ----------
    X : memory map of shape (N, D)
        Embeddings, read-only, of any size; scikit-learn accepts it directly.
    y, groups : ndarray of shape (N,) or None
        Class labels, and group labels for evaluation only; None if the samples had none.
    ids : memory map of shape (N,) or None
        Names of the samples: for images, file names relative to their folder.
    head : LinearHead or None
        Head of the model that made the embeddings, if it has the labels' classes.
    manifest : dict
        Description of the embeddings: model fingerprint, tensor, preprocessing, run settings,
        device, finished rows, samples left out.
    path : pathlib.Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from ntkit import OnnxEmbedder
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.extraction import Samples
    >>> from ntkit.store import EmbeddingStore
    >>> samples = Samples(np.zeros((5, 1, 20, 20)), np.array([0, 1, 0, 1, 1]))
    >>> embedder = OnnxEmbedder(marked_digits_model_path(), device="cpu")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = EmbeddingStore.write(f"{folder}/store", embedder, samples)
    ...     store = EmbeddingStore.open(f"{folder}/store")
    ...     print(type(store.X).__name__, store.X.shape, store.y, store.groups)
    memmap (5, 64) [0 1 0 1 1] None
    """

    @classmethod
    def write(
        cls,
        path: str | Path,
        embedder: Any,
        samples: Samples,
        *,
        part: tuple[int, int] | None = None,
        dtype: Literal["float16", "float32"] | None = None,
        engine: Literal["local", "ray"] = "local",
        checkpoint_rows: int = 8192,
        force: bool = False,
        progress: Progress | None = None,
    ) -> EmbeddingStore:
        """Embed samples into a store, or finish one that was interrupted.

        If it is killed at any time and called again, the result has the same bytes as without the
        interruption. A finished store of the same samples and model is returned unchanged.

        Parameters
        ----------
        path : path-like
            Folder of the store.
        embedder : OnnxEmbedder
            Embedder that computes the embeddings.
        samples : Samples
            Inputs, with optional labels and groups; all of them, also for a part.
        part : (int, int), optional
            Part i of n, counted from 1: embed only these rows, for :meth:`merge`.
        dtype : {"float16", "float32"}, optional
            Precision on disk; by default that of the computation.
        engine : {"local", "ray"}
            "ray" computes the embeddings in Ray actors: one for each GPU of the cluster, or for as
            many cores as the embedder has threads (without a number, one for each machine). Only
            this process writes. Files must have the same path on all machines. Ray is started if it
            is not running, and keeps running. Either engine can finish the other's store.
        checkpoint_rows : int
            Rows between checkpoints. An interruption loses these and at most one batch more, or
            with "ray" the rows in the actors.
        force : bool
            Start anew if a store exists.
        progress : callable of (finished_rows, rows), optional
            Function that is called after each batch.

        Returns
        -------
        EmbeddingStore
            The finished store.

        Raises
        ------
        InputError
            In one of these cases. The folder contains another model's store (the message names the
            field that differs), other files, or an input (these even with ``force``). Embedded
            samples have changed. Another process is writing it. The disk is full or read-only.
            Inputs and labels differ in number, a value is too large for ``dtype``, or the model
            cannot embed the samples.
        DeviceError
            If the device is not available, there is not enough memory, or Ray loses its actors.
        MissingDependencyError
            If ``engine="ray"`` and the package ray is not installed.
        """
        job = contents_of_samples(embedder, samples, part=part, dtype=dtype, engine=engine)
        path = Path(path)
        fill_store(path, job, checkpoint_rows=checkpoint_rows, force=force, progress=progress)
        return cls.open(path)

    @classmethod
    def merge(
        cls,
        paths: Sequence[str | Path],
        out: str | Path,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> EmbeddingStore:
        """Join the parts of a store; the result equals a store that was written in one run.

        Parameters
        ----------
        paths : sequence of path-like
            Folders of all the parts, in any order.
        out : path-like
            Folder of the whole store.
        {force, progress}

        Raises
        ------
        InputError
            If a part is missing, unfinished or duplicate, the parts were not made alike (the
            message names the difference), or ``out`` cannot be written.
        """
        path = Path(out)
        stores = [cls.open(part) for part in paths]
        if any(path.exists() and path.samefile(store.path) for store in stores):
            raise InputError(f"{path} is one of the parts; choose another name.")
        fill_store(path, merged(stores), checkpoint_rows=8192, force=force, progress=progress)
        return cls.open(path)


def row_range(total: int, window: int, part: tuple[int, int] | None) -> tuple[int, int]:
    """First row and number of rows of a part: whole windows, spread evenly."""
    if part is None:
        return 0, total
    i, n = part
    if not 1 <= i <= n:
        raise InputError(f"There is no part {i} of {n}; count from 1 of {n} to {n} of {n}.")
    windows = -(-total // window)
    if n > windows:
        raise InputError(
            f"{total} samples in windows of {window} make at most {windows} parts, not {n}; use "
            "fewer parts or a smaller batch size."
        )
    first, stop = ((windows * k // n) * window for k in (i - 1, i))
    return first, min(stop, total) - first


def merged(stores: Sequence[Any]) -> StoreContents:
    """Description of the store that finished parts form."""
    parts = sorted(_checked(stores), key=lambda store: store.manifest["first_row"])
    whole = {**parts[0].manifest, "part": None}
    identifying = (*IDENTITY, "contents", "format", "run")
    sums = [part.manifest.get("contents") for part in parts]
    contents = None if None in sums else combined(sums)
    position = ("first_row", "rows", "finished_rows", "shape", "stored_dtype")
    files = {
        f"{name}.npy": np.concatenate([getattr(part, attribute) for part in parts])
        for name, attribute in (("labels", "y"), ("groups", "groups"), ("ids", "ids"))
        if getattr(parts[0], attribute) is not None
    } | _head_file(parts[0].head)
    return StoreContents(
        identity={name: whole[name] for name in IDENTITY},
        facts={k: v for k, v in whole.items() if k not in (*identifying, *position)},
        files=lambda *_: files,
        settings=lambda: dict(whole["run"]),
        row_range=lambda _: (0, whole["total_rows"]),
        batches=lambda start, stop, run: _stream(parts, start, run["window"]),
        contents=contents,
        inputs=[part.path for part in parts],
        row_bytes=parts[0].X.strides[0],
    )


def _checked(stores: Sequence[Any]) -> Sequence[Any]:
    """The stores, unless they are not all the parts of one whole, made alike."""
    if not stores:
        raise InputError("There are no parts to merge; name their folders.")
    first, seen = stores[0], dict[int, Any]()
    for store in stores:
        if store.manifest["part"] is None:
            raise InputError(f"{store.path} is a whole store, not a part; leave it out.")
        facts = _what_parts_share(first)
        different = difference(facts, _what_parts_share(store), facts)
        if different is not None:
            field, one, other = different
            raise InputError(
                f"{first.path} and {store.path} are not parts of one store: they differ in {field} "
                f"({one!r} and {other!r}). Embed one again with the settings of the other."
            )
        i, n = store.manifest["part"]
        if i in seen:
            raise InputError(
                f"{seen[i].path} and {store.path} are both part {i} of {n}; leave one out."
            )
        seen[i] = store
    missing = [str(i) for i in range(1, n + 1) if i not in seen]
    if missing:
        raise InputError(
            f"{len(missing)} of {n} parts are missing: {listed(missing, 10)}; embed them, or name "
            "their folders too."
        )
    done, total = 0, first.manifest["total_rows"]
    for _, store in sorted(seen.items()):
        begin = store.manifest["first_row"]
        if begin != done:
            raise InputError(
                f"{store.path} begins at row {begin} instead of {done}; embed it again with "
                "--force."
            )
        done += store.manifest["rows"]
    if done != total:
        raise InputError(f"The parts have {done} of {total} rows; embed them again with --force.")
    return stores


def _what_parts_share(store: Any) -> dict[str, Any]:
    arrays = {"labels": store.y, "groups": store.groups, "ids": store.ids}
    return {
        **{name: store.manifest.get(name) for name in _SAME},
        "number of parts": store.manifest["part"][1],
        "number of neurons": store.X.shape[1],
        "precision": str(store.X.dtype),
        **{name: None if array is None else str(array.dtype) for name, array in arrays.items()},
    }


def _head_file(head: LinearHead | None) -> dict[str, Any]:
    """A head as the content of head.npz; empty without a head."""
    if head is None:
        return {}
    return {"head.npz": {p: getattr(head, p) for p in ("coef", "intercept", "classes")}}


def _stream(parts: Sequence[Any], start: int, window: int) -> Generator[Array, None, None]:
    """Rows of the parts: as many whole windows as fit into a chunk, or rows of one window."""
    for part in parts:
        first, stop = (part.manifest[key] for key in ("first_row", "rows"))
        stop += first
        while start < stop:
            edge = start + max(1, _CHUNK // part.X.strides[0])
            edge = max(edge - edge % window, min(edge, start - start % window + window))
            edge = min(edge, stop)
            try:
                rows = read_rows(part.path / EMBEDDINGS, start - first, edge - first)
                if (rows.dtype, rows.shape) != (part.X.dtype, (edge - start, part.X.shape[1])):
                    raise ValueError("another array")
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{part.path} was changed while it was being merged ({error}); run the same "
                    "command again."
                ) from error
            yield rows
            start = edge


def kept_files(samples: Samples, model: FrozenModel, first: int, rows: int) -> dict[str, Any]:
    """Contents of labels.npy, groups.npy, ids.npy and head.npz for a range of rows."""
    named = {"labels": samples.y, "groups": samples.groups, "ids": samples.ids}
    files: dict[str, Any] = {
        f"{name}.npy": _plain(values)[first : first + rows]
        for name, values in named.items()
        if values is not None
    }
    head = model.head
    if samples.y is not None:
        try:
            head = model.matched_to(samples.y).head
        except InputError:
            head = None
    return {**files, **_head_file(head)}


def described(samples: Samples) -> str:
    """Digest of labels, groups, ids and kinds of inputs, without reading the contents."""
    # Labels, groups, ids, and the kind of the inputs.
    digest = hashlib.sha256()
    for values in (samples.y, samples.groups, samples.ids):
        digest.update(b"none" if values is None else b"given")
        if values is not None:
            for start in range(0, len(values), _ROWS):
                digest.update(repr(_plain(values[start : start + _ROWS]).tolist()).encode())
    for array in arrays_of(samples.X):
        if isinstance(array, np.ndarray):
            digest.update(f"{array.dtype} {array.shape}".encode())
    return digest.hexdigest()


def fingerprint(samples: Samples, digests: Any = None) -> str:
    """A digest of labels, groups, ids and contents."""
    # `digests` are those of `sample_digests`, if they are known.
    contents = sum_of_digests(sample_digests(samples) if digests is None else digests)
    return hashlib.sha256(f"{described(samples)} {contents}".encode()).hexdigest()


def skipped_names(samples: Samples) -> list[str]:
    """Names of the files left out, relative to the image folder if that is known."""
    root: Path | None = None
    paths: Any = getattr(samples.X, "paths", ())
    if samples.ids is not None and len(paths):
        path, name = Path(paths[0]), PurePosixPath(str(samples.ids[0]))
        root = Path(*path.parts[: len(path.parts) - len(name.parts)])
        root = root if root / name == path else None
    return [
        (path.relative_to(root) if root and path.is_relative_to(root) else path).as_posix()
        for path in map(Path, samples.skipped)
    ]


def _plain(labels: Any) -> Array:
    """Labels without Python objects, which NumPy could write but not read again."""
    labels = np.asarray(labels)
    if labels.dtype == object:
        return np.asarray(labels.tolist())
    return np.asarray(labels, labels.dtype.newbyteorder("="))


def contents_of_samples(
    embedder: Any,
    samples: Samples,
    *,
    part: tuple[int, int] | None,
    dtype: str | None,
    engine: Literal["local", "ray"],
) -> StoreContents:
    """Describe a store of the embeddings of samples; parameters as of ``EmbeddingStore.write``."""
    if not len(samples):
        raise InputError("There are no samples to embed; pass at least one.")
    samples.check_lengths()
    samples = samples.in_precision_of(embedder.frozen_model.inputs).measured()
    if dtype not in (None, "float16", "float32"):
        raise InputError(f"dtype must be float16 or float32, not {dtype!r}.")
    model, computing = embedder.frozen_model, embedder.on(engine)
    itemsize = {"float16": 2, "float32": 4, "float64": 8}.get(dtype or model.embedding.dtype)
    identity = {
        "model": model.sha256(),
        "tensor": model.embedding.name,
        "preprocessing": json.loads(json.dumps(samples.preprocessing)),
        "total_rows": len(samples),
        "samples": described(samples),
        "dtype": dtype,
        "device": computing.device_,
        "part": None if part is None else [int(i) for i in part],
    }

    def batches(start: int, stop: int, run: dict[str, Any]) -> Generator[Array, None, None]:
        yield from computing.iter_batches(samples.X, start=start, stop=stop, settings=run)

    def contents(first: int, rows: int) -> str:
        verbose = getattr(embedder, "verbose", False)
        digests = sample_digests(samples, first, first + rows, verbose=verbose)
        return sum_of_digests(digests, first)

    return StoreContents(
        identity=identity,
        facts={
            "ntkit": __version__,
            "skipped": skipped_names(samples),
            "preprocessing_source": getattr(samples.data.steps, "source", None),
            **({"labels": False} if samples.y is None else {}),
        },
        files=lambda first, rows: kept_files(samples, model, first, rows),
        settings=lambda: json.loads(json.dumps(computing.settings(samples.X))),
        row_range=lambda run: row_range(len(samples), run["window"], part),
        batches=batches,
        contents=contents,
        inputs=input_paths(model, samples),
        row_bytes=None if None in (model.n_neurons, itemsize) else model.n_neurons * itemsize,
    )

"""EmbeddingStore: embeddings on disk, written shard by shard, resumed after an interruption."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.head import LinearHead

if TYPE_CHECKING:
    from ntkit.extraction._embedder import OnnxEmbedder
    from ntkit.extraction._samples import Samples
    from ntkit.frozen_model import FrozenModel

__all__ = ["EmbeddingStore"]

Array = NDArray[Any]
_MANIFEST = "manifest.json"
_IDENTITY = ("model", "tensor", "preprocessing", "rows", "samples")  # what must match to resume
_SHARD = re.compile(r"embeddings-\d{5,}\.npy")
_PARTS = ("labels.npy", "groups.npy", "head.npz")


class EmbeddingStore:
    """A folder of ``.npy`` shards and a ``manifest.json``.

    Make one with :meth:`write`, read one with :meth:`open`.

    Attributes
    ----------
    X : ndarray or memory map of shape (N, D)
        Embeddings; a store of one shard is mapped, not read.
    y : ndarray of shape (N,)
        Class labels.
    groups : ndarray of shape (N,) or None
        Group labels, for evaluation only.
    head : LinearHead or None
        The head of the model that made the embeddings, where it knows the labels' classes.
    manifest : dict
        What the embeddings are: model fingerprint, tensor, preprocessing, finished shards.
    path : pathlib.Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ntkit import OnnxEmbedder
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.extraction import EmbeddingStore, Samples
    >>> samples = Samples(np.zeros((5, 1, 20, 20)), np.array([0, 1, 0, 1, 1]))
    >>> embedder = OnnxEmbedder(marked_digits_model_path(), device="cpu")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = EmbeddingStore.write(Path(folder) / "store", embedder, samples)
    ...     store = EmbeddingStore.open(Path(folder) / "store")
    ...     print(store.X.shape, store.y, store.groups)
    (5, 64) [0 1 0 1 1] None
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        groups, head = path / "groups.npy", path / "head.npz"
        try:
            shards = [_mapped(path / name) for name in manifest["shards"]]
            self.X = shards[0] if len(shards) == 1 else np.concatenate(shards)
            self.y = np.array(_mapped(path / "labels.npy"))
            self.groups = np.array(_mapped(groups)) if groups.exists() else None
            self.head = _read_head(head) if head.exists() else None
        except (OSError, ValueError, EOFError, TypeError, BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error}); embed again with --force.") from error
        lengths = {len(self.X), len(self.y), manifest["rows"]}
        if len(lengths | ({len(self.groups)} if self.groups is not None else set())) > 1:
            raise InputError(
                f"{path} is damaged ({len(self.X)} embeddings, {len(self.y)} labels, "
                f"{manifest['rows']} rows announced); embed again with --force."
            )

    @staticmethod
    def is_store(path: str | Path) -> bool:
        """Whether a folder is an embedding store, finished or not.

        Parameters
        ----------
        path : path-like
            The folder; it need not exist.

        Returns
        -------
        bool
            True if it holds a manifest.
        """
        return (Path(path) / _MANIFEST).is_file()

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingStore:
        """Open a finished store.

        Parameters
        ----------
        path : path-like
            Folder of the store.

        Returns
        -------
        EmbeddingStore
            The store.

        Raises
        ------
        InputError
            If there is none, or it is not finished or damaged.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        if manifest is None:
            raise InputError(f"{path} is not an embedding store; make one with: ntkit embed.")
        if manifest["finished_rows"] < manifest["rows"]:
            raise InputError(
                f"{path} holds {manifest['finished_rows']} of {manifest['rows']} rows; run the "
                "same ntkit embed command again to finish it."
            )
        return cls(path, manifest)

    @classmethod
    def write(
        cls,
        path: str | Path,
        embedder: OnnxEmbedder,
        samples: Samples,
        *,
        shard_rows: int = 65536,
        force: bool = False,
    ) -> EmbeddingStore:
        """Embed samples into a store, or finish one that was interrupted.

        Parameters
        ----------
        path : path-like
            Folder of the store.
        embedder : OnnxEmbedder
            What computes the embeddings.
        samples : Samples
            Inputs, labels and perhaps groups.
        shard_rows : int
            Rows per shard; an interruption loses at most one shard.
        force : bool
            Start anew where a finished or a different store exists.

        Returns
        -------
        EmbeddingStore
            The finished store.

        Raises
        ------
        InputError
            If the folder holds something else: another model's store (the message says which
            field differs), a finished store, or other files (these even with ``force``). Also
            if inputs and labels differ in number, or the model cannot embed the samples.
        """
        path = Path(path)
        if not len(samples):
            raise InputError("There are no samples to embed.")
        inputs = samples.X.values() if isinstance(samples.X, Mapping) else [samples.X]
        for array in inputs:
            if len(array) != len(samples):
                raise InputError(f"There are {len(array)} samples, but {len(samples)} labels.")
        if shard_rows < 1:
            raise InputError(f"shard_rows must be at least 1; got {shard_rows}.")
        model = embedder.frozen_model
        identity = {
            "model": model.sha256(),
            "tensor": model.embedding.name,
            "preprocessing": json.loads(json.dumps(samples.preprocessing)),
            "rows": len(samples),
            "samples": _fingerprint(samples),
        }
        _refuse_other_files(path)
        manifest = None if force else _resumable(path, identity)
        if manifest is None or not manifest["finished_rows"]:
            manifest = {**identity, "finished_rows": 0, "shards": [], "format": 1}
            _begin(path, manifest, samples, _original_head(model, samples.y))
        batches = embedder.iter_batches(samples.X, start=manifest["finished_rows"])
        for shard in _in_shards(batches, shard_rows):
            name = f"embeddings-{len(manifest['shards']):05d}.npy"
            _save(path / name, shard)
            manifest["shards"].append(name)
            manifest["finished_rows"] += len(shard)
            _write_manifest(path, manifest)
        return cls.open(path)


def _mapped(path: Path) -> Array:
    return np.lib.format.open_memmap(path, mode="r")


def _read_head(path: Path) -> LinearHead:
    # NumPy leaves a broken archive open if it opened the file itself.
    with path.open("rb") as file, np.load(file) as parts:
        return LinearHead(**parts)


def _begin(path: Path, manifest: dict[str, Any], samples: Samples, head: LinearHead | None) -> None:
    """Write everything but the embeddings; nothing of a store that was there before survives."""
    path.mkdir(parents=True, exist_ok=True)
    _write_manifest(path, manifest)  # first: from now on the folder is an unfinished store
    for file in list(path.iterdir()):
        if file.name in _PARTS or _SHARD.fullmatch(file.name):
            file.unlink()
    _save(path / "labels.npy", _plain(samples.y))
    if samples.groups is not None:
        _save(path / "groups.npy", _plain(samples.groups))
    if head is not None:
        parts = ("coef", "intercept", "classes")
        _save(path / "head.npz", {part: getattr(head, part) for part in parts})


def _plain(labels: Any) -> Array:
    """Labels without Python objects, which NumPy could write but not read again."""
    labels = np.asarray(labels)
    return np.asarray(labels.tolist()) if labels.dtype == object else labels


def _fingerprint(samples: Samples) -> str:
    """What tells these samples from others: labels, groups and, for files, their names."""
    digest = hashlib.sha256()
    for labels in (samples.y, samples.groups):
        digest.update(repr(None if labels is None else _plain(labels).tolist()).encode())
    for file in getattr(samples.X, "paths", ()):
        digest.update(f"{file.parent.name}/{file.name}\n".encode())
    return digest.hexdigest()


def _original_head(model: FrozenModel, y: Array) -> LinearHead | None:
    try:
        return model.matched_to(y).head
    except InputError:
        return None


def _in_shards(batches: Iterator[Array], rows: int) -> Iterator[Array]:
    waiting, count = list[Array](), 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= rows:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)


def _refuse_other_files(path: Path) -> None:
    if not path.exists() or (path / _MANIFEST).is_file():
        return
    if not path.is_dir() or any(file.name != f".{_MANIFEST}" for file in path.iterdir()):
        raise InputError(f"{path} exists and is not an embedding store; choose another name.")


def _resumable(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    manifest = _read_manifest(path)
    if manifest is None:
        return None
    for field in _IDENTITY:
        if manifest.get(field) != identity[field]:
            raise InputError(
                f"{path} was made with another {field} ({manifest.get(field)!r}, now "
                f"{identity[field]!r}); choose another name or pass --force."
            )
    if manifest["finished_rows"] >= manifest["rows"]:
        raise InputError(f"{path} is finished already; choose another name or pass --force.")
    return manifest


def _read_manifest(path: Path) -> dict[str, Any] | None:
    file = path / _MANIFEST
    if not file.is_file():
        return None
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        counts = [manifest["rows"], manifest["finished_rows"]]
        names = [_SHARD.fullmatch(name) for name in manifest["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged; embed again with --force.") from error
    if not all(isinstance(count, int) for count in counts) or not all(names):
        raise InputError(f"{file} is damaged; embed again with --force.")
    return dict(manifest)


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    temporary = path / f".{_MANIFEST}"
    temporary.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    os.replace(temporary, path / _MANIFEST)


def _save(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)
    os.replace(temporary, path)

"""EmbeddingStore: embeddings on disk, written shard by shard, resumed after an interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_IDENTITY = ("model", "tensor", "preprocessing", "rows")  # what must match to resume


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
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        shards = [np.load(path / name, mmap_mode="r") for name in manifest["shards"]]
        self.X = shards[0] if len(shards) == 1 else np.concatenate(shards)
        self.y = np.load(path / "labels.npy")
        groups = path / "groups.npy"
        self.groups = np.load(groups) if groups.exists() else None
        head = path / "head.npz"
        self.head = LinearHead(**np.load(head)) if head.exists() else None

    @staticmethod
    def is_store(path: str | Path) -> bool:
        """Whether a folder is an embedding store, finished or not."""
        return (Path(path) / _MANIFEST).is_file()

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingStore:
        """Open a finished store.

        Raises
        ------
        InputError
            If there is none, or it is not finished.
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

        Raises
        ------
        InputError
            If the folder holds something else: another model's store (the message says which
            field differs), a finished store, or other files.
        """
        path = Path(path)
        model = embedder.frozen_model
        identity = {
            "model": model.sha256(),
            "tensor": model.embedding.name,
            "preprocessing": json.loads(json.dumps(samples.preprocessing)),
            "rows": len(samples),
        }
        manifest = None if force else _resumable(path, identity)
        if manifest is None:
            manifest = {**identity, "finished_rows": 0, "shards": [], "format": 1}
            path.mkdir(parents=True, exist_ok=True)
            _save(path / "labels.npy", samples.y)
            if samples.groups is not None:
                _save(path / "groups.npy", samples.groups)
            head = _original_head(model, samples.y)
            if head is not None:
                parts = ("coef", "intercept", "classes")
                _save(path / "head.npz", {part: getattr(head, part) for part in parts})
            _write_manifest(path, manifest)
        batches = embedder.iter_batches(samples.X, start=manifest["finished_rows"])
        for shard in _in_shards(batches, shard_rows):
            name = f"embeddings-{len(manifest['shards']):05d}.npy"
            _save(path / name, shard)
            manifest["shards"].append(name)
            manifest["finished_rows"] += len(shard)
            _write_manifest(path, manifest)
        return cls.open(path)


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


def _resumable(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    manifest = _read_manifest(path)
    if manifest is None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists and is not an embedding store; choose another name.")
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
        manifest = json.loads(file.read_text())
        manifest["rows"], manifest["finished_rows"], manifest["shards"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged; remove the store and embed again.") from error
    return dict(manifest)


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    temporary = path / f".{_MANIFEST}"
    temporary.write_text(json.dumps(manifest, indent=2))
    os.replace(temporary, path / _MANIFEST)


def _save(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)
    os.replace(temporary, path)

"""EmbeddingStore: embeddings on disk, memory-mapped as one array, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ntkit._doc import documented
from ntkit.exceptions import InputError
from ntkit.samples.samples import Samples
from ntkit.samples.stored import StoredEmbeddings
from ntkit.store._contents import contents_of_samples, merged
from ntkit.store._fill import Progress, fill_store


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
    >>> from ntkit.extraction import EmbeddingStore, Samples
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

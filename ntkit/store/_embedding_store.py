"""EmbeddingStore: embeddings on disk, mapped as one array, resumed after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ntkit._doc import documented
from ntkit.exceptions import InputError
from ntkit.samples import Samples, StoredEmbeddings
from ntkit.store._contents import Embedder, contents_of_parquet, contents_of_samples, joined
from ntkit.store._fill import Progress, fill_store


@documented
class EmbeddingStore(StoredEmbeddings):
    """A folder with ``embeddings.npy``, what belongs to its rows, and a ``manifest.json``.

    Make one with :meth:`write` (or, from parts made on many machines, :meth:`merge`, or from
    embeddings in a Parquet file, :meth:`from_parquet`), read one with :meth:`open`.

    Attributes
    ----------
    X : memory map of shape (N, D)
        Embeddings, read-only; scikit-learn takes it as it is, whatever its size.
    y, groups : ndarray of shape (N,) or None
        Class labels, and group labels, for evaluation only; None if the samples had none.
    ids : memory map of shape (N,) or None
        Names of the samples: for images, file names relative to their folder.
    head : LinearHead or None
        The head of the model that made the embeddings, if it knows the labels' classes.
    manifest : dict
        What the embeddings are: model fingerprint, tensor, preprocessing, run settings, device,
        finished rows, samples left out.
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
        embedder: Embedder,
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

        Killed at any moment and called again, it ends with the same bytes as if nothing had
        happened. A finished store of the same samples and model is returned as it is.

        Parameters
        ----------
        path : path-like
            Folder of the store.
        embedder : OnnxEmbedder
            What computes the embeddings.
        samples : Samples
            Inputs, and perhaps labels and groups; all of them, also for a part.
        part : (int, int), optional
            Part i of n, counted from 1: embed these rows only, for :meth:`merge`.
        dtype : {"float16", "float32"}, optional
            Precision on disk; as computed if not given.
        engine : {"local", "ray"}
            "ray" computes the embeddings in Ray actors, one for each GPU of the cluster, or for
            as many cores as the embedder has threads (without a number, one for each machine);
            this process alone writes. Files must lie where all machines find them by the same
            path. Ray is started unless it runs, and left running. Either engine finishes what the
            other began.
        checkpoint_rows : int
            Rows between checkpoints; an interruption loses these and at most one batch more, or
            with "ray" what the actors are at.
        force : bool
            Start anew where a store exists.
        progress : callable of (finished_rows, rows), optional
            Called after each batch.

        Returns
        -------
        EmbeddingStore
            The finished store.

        Raises
        ------
        InputError
            If the folder holds something else: another model's store (the message says which
            field differs), or other files or what is read here (these even with ``force``); if
            samples that are embedded already have changed; if another process is writing it; if
            the disk is full or read-only; if inputs and labels differ in number, a value is too
            large for ``dtype``, or the model cannot embed the samples.
        DeviceError
            If the device is not there, memory does not suffice, or Ray loses its actors.
        MissingDependencyError
            If ``engine="ray"`` and the package ray is not installed.
        """
        job = contents_of_samples(embedder, samples, part=part, dtype=dtype, engine=engine)
        path = Path(path)
        fill_store(path, job, checkpoint_rows=checkpoint_rows, force=force, progress=progress)
        return cls.open(path)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        table: str | Path,
        *,
        embedding: str | Sequence[str] | None = None,
        label: str = "label",
        group: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> EmbeddingStore:
        """Make a store of embeddings that are already in a Parquet file, of any framework.

        A few rows at a time, so the file may be larger than memory; what is fitted to the store
        decodes nothing again. Killed at any moment and called again, it goes on.

        Parameters
        ----------
        {path}
        table : path-like
            The file.
        embedding : str or sequence of str, optional
            A column of lists, or columns of numbers. By default the only column of lists, or
            else all columns of numbers but label and group.
        label : str
            Column of class labels.
        group : str, optional
            Column of group labels, for evaluation only.
        {force, progress}

        Returns
        -------
        EmbeddingStore
            The finished store; it knows no head.

        Raises
        ------
        InputError
            If the file cannot be read, a column is not there or holds something else, embeddings
            differ in length or hold a value that is not finite; or ``path`` cannot be written.
        MissingDependencyError
            If the package pyarrow is missing.

        Examples
        --------
        >>> from ntkit.extraction import EmbeddingStore
        >>> store = EmbeddingStore.from_parquet("store", "train.parquet")  # doctest: +SKIP
        """
        path = Path(path)
        job = contents_of_parquet(Path(table), embedding, label, group)
        fill_store(path, job, checkpoint_rows=8192, force=force, progress=progress)
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
        """Join the parts of a store, as if it had been written in one go.

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
            If a part is missing, unfinished or there twice, if the parts were not made alike (the
            message says what differs), or ``out`` cannot be written.
        """
        path = Path(out)
        stores = [cls.open(part) for part in paths]
        if any(path.exists() and path.samefile(store.path) for store in stores):
            raise InputError(f"{path} is one of the parts; choose another name.")
        fill_store(path, joined(stores), checkpoint_rows=8192, force=force, progress=progress)
        return cls.open(path)

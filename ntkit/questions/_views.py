"""What an attribute may be read from: the embedding, earlier layers, words, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ntkit.attributes import words

__all__ = ["views_of"]

Array = NDArray[Any]


def views_of(
    Z: Array,
    layers: Mapping[str, Array] | None = None,
    *,
    texts: Sequence[str] | None = None,
    inputs: Any = None,
) -> dict[str, Any]:
    """Views for :class:`~ntkit.estimators.GroupInference`, by name.

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Embeddings.
    layers : mapping of str to ndarray of shape (N, ·), optional
        What earlier layers say of the samples; they are one view.
    texts : sequence of str, length N, optional
        Their words are a view.
    inputs : optional
        What goes into the model; numbers of shape (N, ·) are a view.

    Returns
    -------
    dict of str to ndarray or sparse matrix
        Those that there are, of "embedding", "earlier layers", "words" and "columns".

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.questions import views_of
    >>> views_of(np.zeros((4, 2)), inputs=np.eye(4)).keys()
    dict_keys(['embedding', 'columns'])
    """
    views: dict[str, Any] = {"embedding": Z}
    if layers:
        views["earlier layers"] = np.hstack([*layers.values()])
    if texts is not None:
        blocks = [block.values for block in words(texts).blocks() if block.values is not None]
        if blocks:
            views["words"] = sparse.hstack(blocks, format="csr")
    if _is_table(inputs):
        views["columns"] = inputs
    return views


def _is_table(inputs: Any) -> bool:
    numbers = isinstance(inputs, np.ndarray) and inputs.ndim == 2 and inputs.dtype.kind in "biuf"
    return bool(numbers and np.isfinite(inputs).all())

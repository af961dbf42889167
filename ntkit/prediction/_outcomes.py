"""What a model says of samples, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder
from ntkit.prediction._models import Asked

__all__ = ["Outcomes", "outcomes_of"]

Array = NDArray[Any]
_ROWS = 1024  # of embeddings that are there already


@dataclass(frozen=True)
class Outcomes:
    """What a model says of consecutive samples.

    Attributes
    ----------
    index : ndarray of int, shape (n,)
        Position of the predicted class among the head's.
    probabilities : ndarray of float64, shape (n, C)
        Of each class.
    margins : ndarray of float64, shape (n,)
        The largest logit less the second largest.
    """

    index: Array
    probabilities: Array
    margins: Array


def outcomes_of(
    asked: Asked,
    *,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> Iterator[Outcomes]:
    """Yield what a model says of its samples, in their order, a batch at a time.

    Raises
    ------
    InputError
        If a logit is NaN or infinite, or the samples do not fit the model.
    """
    head = asked.model.head
    assert head is not None  # matched() refuses a model without one
    done = 0
    for Z in _embeddings(asked, device, batch_size, verbose):
        with np.errstate(over="ignore", invalid="ignore"):
            logits = head.logits(Z).astype(np.float64)
        _refuse_unfinished(logits, done)
        done += len(logits)
        highest = np.partition(logits, -2, axis=1)[:, -2:]
        odds = np.exp(logits - highest[:, 1:])
        yield Outcomes(
            logits.argmax(axis=1),
            odds / odds.sum(axis=1, keepdims=True),
            highest[:, 1] - highest[:, 0],
        )


def _embeddings(
    asked: Asked, device: str, batch_size: int | str | None, verbose: bool
) -> Iterator[Array]:
    X = asked.samples.X
    if asked.samples.embedded:
        for begin in range(0, len(X), _ROWS):
            yield np.asarray(X[begin : begin + _ROWS])
        return
    embedder = OnnxEmbedder(asked.model, device=device, batch_size=batch_size, verbose=verbose)
    with closing(embedder.iter_batches(X)) as batches:  # type: ignore[type-var]
        yield from batches


def _refuse_unfinished(logits: Array, begin: int) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1)) + begin
    if len(bad):
        raise InputError(
            f"The logits of {len(bad)} sample(s) are NaN or infinite (rows {bad[:5].tolist()}"
            f"{', …' if len(bad) > 5 else ''}), so they have no class; check these inputs and the "
            "model's weights."
        )

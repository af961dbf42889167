"""Is the input sound enough to conclude anything? Asked before the work, and after embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError
from ntkit.head import LinearHead

__all__ = ["check_embeddings", "check_original", "check_sizes", "few_samples"]

Array = NDArray[Any]
_LEAST = 2
_FEW = 20
_SIGMAS = 3


def check_sizes(labels: Mapping[str, Array]) -> None:
    """Refuse sets in which a class has too few samples to fit and to judge.

    Parameters
    ----------
    labels : mapping of str to ndarray
        Class labels of each set.

    Raises
    ------
    InputError
        If a class of the training or held-out set has fewer than 2 samples.
    """
    for name, y in labels.items():
        classes, counts = np.unique(y, return_counts=True)
        if name != "test" and len(counts) and counts.min() < _LEAST:
            rare = classes[counts.argmin()]
            raise InputError(
                f"The {name} set has {counts.min()} sample of class {rare.item()!r}; at least "
                f"{_LEAST} of each class are needed, half to fit and half to judge, and hundreds "
                "to conclude anything."
            )


def few_samples(labels: Mapping[str, Array]) -> list[str]:
    """Say which sets are too small to tell much, in a sentence each."""
    said = []
    for name, y in labels.items():
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < _FEW:
            said.append(
                f"The {name} set has {counts.min()} samples of class "
                f"{classes[counts.argmin()].item()!r}: figures from fewer than {_FEW} tell little."
            )
    return said


def check_embeddings(Z: Mapping[str, Array]) -> None:
    """Refuse embeddings that are not finite, or the same for all samples.

    Parameters
    ----------
    Z : mapping of str to ndarray of shape (N, D)
        Embeddings of each set.

    Raises
    ------
    InputError
        As said; the message names the set.
    """
    for name, rows in Z.items():
        low, high = rows.min(axis=0), rows.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError(
                f"Embeddings of the {name} set hold NaN or infinite values; look at its inputs, "
                "or run the model in full precision."
            )
        if (low == high).all():
            raise InputError(
                f"All {len(rows)} embeddings of the {name} set are the same, so nothing can be "
                "told from them; are the inputs the model's (all zeros, or another scale)?"
            )


def check_original(head: LinearHead, Z: Array, y: Array) -> None:
    """Refuse an original head that is clearly worse than guessing.

    Parameters
    ----------
    head : LinearHead
        The original head.
    Z, y : ndarray of shape (N, D) and (N,)
        Held-out embeddings and labels.

    Raises
    ------
    InputError
        If its mean class accuracy is below 1 / C by more than three standard errors.
    """
    right = head.predict(Z) == y
    of_class = [right[y == label] for label in np.unique(y)]
    mean = float(np.mean([some.mean() for some in of_class]))
    chance = 1 / len(head.classes)
    error = np.sqrt(sum(chance * (1 - chance) / len(some) for some in of_class)) / len(of_class)
    if mean < chance - _SIGMAS * error:
        raise InputError(
            f"The original model is right on {100 * mean:.1f} % of the held-out samples of a class "
            f"on average, where guessing has {100 * chance:.1f} %: are labels, classes "
            f"({head.classes[:5].tolist()}) and inputs those of this model?"
        )

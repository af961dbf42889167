"""Is the input sound enough to conclude anything? Asked before the work, and after embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.auditing import GO_ON, like_a_guess, likely_cause
from ntkit.exceptions import InputError
from ntkit.extraction import Samples

__all__ = ["check_embeddings", "check_original", "check_sizes", "few_samples"]

Array = NDArray[Any]
_LEAST = 2
_FEW = 20


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


def check_original(
    train: tuple[Array, Array],
    heldout: tuple[Array, Array],
    n_classes: int,
    samples: Samples,
    *,
    trusted: bool,
) -> list[str]:
    """Refuse an original model that is no better than guessing, unless told to go on.

    Parameters
    ----------
    train, heldout : tuple of ndarray
        Labels, and predictions of the original head.
    n_classes : int
        Its classes.
    samples : Samples
        The held-out samples.
    trusted : bool
        Whether to say what is wrong rather than to refuse it.

    Returns
    -------
    list of str
        What is wrong, where it is trusted.

    Raises
    ------
    InputError
        If something is.
    """
    problem = like_a_guess(*heldout, n_classes, train)
    if problem is None:
        return []
    problem = f"{problem}: {likely_cause(samples)}"
    if not trusted:
        raise InputError(f"{problem} {GO_ON}")
    return [problem]

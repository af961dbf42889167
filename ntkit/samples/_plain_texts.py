"""Strings that a model takes as they are: texts, however they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntkit.frozen_model import TensorInfo
from ntkit.preprocessing import TextPreprocessing, Texts
from ntkit.samples._samples import Samples

__all__ = ["with_plain_texts"]


def with_plain_texts(samples: Samples, inputs: Sequence[TensorInfo]) -> Samples:
    """Make texts of the strings of samples, where a model takes one string of each.

    Parameters
    ----------
    samples : Samples
        Any; their strings may be a list, an array of shape (N,) or (N, 1), a column of a
        DataFrame, or a mapping that holds them by the name of the input.
    inputs : sequence of TensorInfo
        The model's inputs.

    Returns
    -------
    Samples
        As given where they are no strings, or the model takes something else.

    Raises
    ------
    InputError
        If one of many strings is none.
    """
    steps, X = TextPreprocessing.for_strings(inputs), samples.X
    if steps is None or samples.embedded:
        return samples
    if isinstance(X, Mapping):
        X = X.get(steps.ids)
    if not (isinstance(X, list | tuple | np.ndarray) or hasattr(X, "to_numpy")):
        return samples
    values: Any = np.asarray(X, dtype=object)
    if values.ndim == 0 or values.size != len(values):
        return samples
    texts = Texts(values.ravel().tolist(), steps)
    return replace(samples, X=texts, preprocessing=samples.preprocessing or steps.as_dict())

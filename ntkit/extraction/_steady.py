"""Whether a model gives a sample the same output again, and among other samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from ntkit._types import Array
from ntkit.exceptions import ModelError, NtkitError
from ntkit.model import FrozenModel, name_of
from ntkit.samples import by_input, first_rows

_TRIED = 4  # samples
# Differences of one sample in two batches, relative to the largest value. Measured: 0 to 1e-5 for
# float32; up to 2e-2 for 8 bits whose range is that of the batch (DynamicQuantizeLinear).
_ROUNDING, _COARSE_ROUNDING = 1e-3, 0.2
_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_SMALLEST = 1e-3  # a largest value below it may be rounding itself


def check_steady(
    model: FrozenModel, X: Any, run: Callable[[Any], Array], *, single: bool = False
) -> None:
    """Refuse a model whose output for a sample is random, or depends on others in its batch."""
    # `single`: the model takes one sample at a time, so there are no others.
    try:
        some = first_rows(X, _TRIED)
        n = len(next(iter(some.values())) if isinstance(some, dict) else some)
        rows = [by_input(some, lambda part, i=i: part[i : i + 1]) for i in range(n)]  # type: ignore[misc]
        if not rows:
            return
        alone, together, within = np.concatenate([run(row) for row in rows]), run(some), _ROUNDING
        if _differ(alone, together, within) and _is_coarse(model):
            within = _COARSE_ROUNDING
        if not _differ(alone, together, within):
            return
        random = single or _differ(together, run(some), within)
    except NtkitError:  # the run of all samples says what is wrong
        return
    name = name_of(model, "The model")
    if random:
        raise ModelError(
            f"{name} gives a sample another output in each run, as dropout, random numbers or a "
            "batch norm in training mode do. Export it in evaluation mode."
        )
    raise ModelError(
        f"{name} gives a sample another output among other samples, as a mean over the batch "
        "does. Export it in evaluation mode, or for batches of one sample."
    )


def _differ(one: Array, other: Array, within: float) -> bool:
    """Whether outputs of most samples differ by more than rounding; one label may be a tie."""
    if one.shape != other.shape or not one.size:
        return False
    one, other = (each.reshape(len(each), -1).astype(np.float64) for each in (one, other))
    largest = max(_SMALLEST, np.abs(one).max(), np.abs(other).max())
    with np.errstate(invalid="ignore"):
        return bool((np.abs(one - other).max(axis=1) > within * largest).mean() >= 0.5)


def _is_coarse(model: FrozenModel) -> bool:
    """Whether weights have half the precision, or are quantised."""
    weights = model.body().graph.initializer
    halves = any(tensor.data_type in _HALVES for tensor in weights)
    return halves or model.describe()["quantisation"] is not None

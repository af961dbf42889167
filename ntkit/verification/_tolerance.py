"""How far ONNX Runtime and NumPy may differ, by the precision a model computes in."""

from __future__ import annotations

import numpy as np

from ntkit.frozen_model import FrozenModel

__all__ = ["TOLERANCE", "tolerance_of"]

# Largest difference of logits, relative to the largest logit:
#
# | model           | tolerance |                                                     |
# |-----------------|-----------|-----------------------------------------------------|
# | float32, double | 1e-4      | sums in another order                               |
# | float16         | 8e-3      | 8 steps of its 11-bit mantissa                      |
# | quantised       | 2e-2      | 8-bit activations around the head                   |
# | bfloat16        | 6e-2      | 8 steps of its 8-bit mantissa                       |
TOLERANCE = 1e-4
_BY_PRECISION = {
    "float16": 8 * float(np.finfo(np.float16).eps),
    "quantised": 2e-2,
    "bfloat16": 8 * 2.0**-7,
}


def tolerance_of(model: FrozenModel, *dtypes: str) -> float:
    """Tolerance of the coarsest precision among the model's own and further element types."""
    found = {tensor.dtype for tensor in (model.embedding, model.logits) if tensor is not None}
    if model.describe().get("quantisation") is not None:
        found.add("quantised")
    return max(_BY_PRECISION.get(name, TOLERANCE) for name in (*found, *dtypes))

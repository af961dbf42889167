"""Find the last linear layer of an ONNX classifier, cut it off, replace it by another one.

The input and output are graphs: no session runs here, and only ``FrozenModel.save`` writes.
"""

from ntkit import graph  # noqa: F401 - says what is missing without ONNX
from ntkit.model.frozen_model import FrozenModel

__all__ = [
    "FrozenModel",
]

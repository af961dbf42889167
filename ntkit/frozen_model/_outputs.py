"""Outputs that a file declares without a shape, which ONNX's checker does not let pass."""

from __future__ import annotations

import onnx_ir as ir

from ntkit.exceptions import InputError
from ntkit.graph import Shapes

__all__ = ["declare_outputs"]


def declare_outputs(model: ir.Model) -> None:
    """Give each output of a graph the shape that ONNX infers, where the file gives none."""
    shape_of = Shapes(model)
    for value in model.graph.outputs:
        if value.shape is None and isinstance(value.type, ir.TensorType):
            shape = shape_of(value)
            if shape is None:
                raise InputError(
                    f"The model declares no shape for its output {value.name!r}, and ONNX infers "
                    "none, so that its checker would refuse the new file; export the model again."
                )
            value.shape = ir.Shape(shape)

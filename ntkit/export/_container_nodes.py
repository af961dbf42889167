"""Operators for skl2onnx's converters."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

_FLOATS = {4: TensorProto.FLOAT, 8: TensorProto.DOUBLE}
_KINDS = {"i": TensorProto.INT64, "O": TensorProto.STRING}


class ContainerNodes:
    """Adds nodes to skl2onnx's container, under names of its scope."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operator; the name of its output."""
        name = output or str(self.scope.get_unique_variable_name(kind.lower()))
        opset = min(self.container.target_opset, 13)
        self.container.add_node(kind, list(inputs), name, op_version=opset, **attributes)
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """Add a constant of numbers, or of texts; its name."""
        array = np.asarray(array, dtype=dtype)
        name = str(self.scope.get_unique_variable_name("constant"))
        kind = _KINDS.get(array.dtype.kind) or _FLOATS[array.dtype.itemsize]
        self.container.add_initializer(name, kind, array.shape, array.ravel().tolist())
        return name

    def classes(self, labels: Any) -> str:
        """Add a table of class labels, which for skl2onnx are int64 or texts."""
        if labels.dtype.kind in "iubf":
            return self.constant(labels, np.int64)
        return self.constant([str(label).encode() for label in labels.tolist()], object)

"""What builders of several families of rows share."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, IMAGE = (6,), (3, 12, 12)


@contextmanager
def quietly():
    """Exporters warn and print; pytest makes errors of warnings."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield


def samples(*shape: int, n=8, dtype=np.float32) -> np.ndarray:
    """Samples that differ in their mean too, which is all that pooling leaves of noise."""
    rng = np.random.default_rng(0)
    offset = rng.normal(size=(n, *(1 for _ in shape)))
    return (rng.normal(size=(n, *shape)) + offset).astype(dtype)


def tensors(**shapes: Sequence[int]) -> dict[str, np.ndarray]:
    """Random weights by name, scaled to keep activations near one."""
    rng = np.random.default_rng(1)
    return {
        name: (rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:]) / 2))).astype(np.float32)
        for name, shape in shapes.items()
    }


def graph_model(
    nodes: list[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    shape: Sequence[int],
    *,
    opset: int,
    ir_version: int,
    producer: str,
    weights_are_inputs: bool = False,
) -> onnx.ModelProto:
    """A model with input ``x`` and, as output, whatever its last node writes."""
    inputs = {"x": (TensorProto.FLOAT, ["batch", *shape])}
    if weights_are_inputs:
        inputs |= {
            n: (helper.np_dtype_to_tensor_dtype(w.dtype), w.shape) for n, w in weights.items()
        }
    graph = helper.make_graph(
        nodes,
        producer,
        [helper.make_tensor_value_info(name, *of) for name, of in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, producer_name=producer
    )

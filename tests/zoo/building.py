"""What builders of several families of rows share."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import numpy as np
from onnx import helper

from tests.models import Graph, value

FEATURES, IMAGE = (6,), (3, 12, 12)


@contextmanager
def quietly():
    """Exporters warn, print and log; pytest makes errors of warnings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


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


def graph_model(text, weights, shape, *, opset, ir_version, producer, weights_are_inputs=False):
    """A model with input ``x`` that ends in the last result of a program (see tests/models.py)."""
    graph = Graph()
    graph.output(graph.write(text, **weights), ["batch", 3])
    inputs = [value("x", ["batch", *shape])]
    for name, array in graph.tensors.items() if weights_are_inputs else ():
        inputs.append(value(name, array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)))
    model = graph.model(inputs, opset=opset, ir_version=ir_version)
    model.producer_name = producer
    return model

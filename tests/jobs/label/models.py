"""A small model of rows of numbers, and samples on which it relies on a shortcut."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N = 240


def rows(seed=0, n=N, share=0.9):
    """Inputs (N, 6), classes, and the attribute that goes with them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    mark = np.where(rng.random(n) < share, y, 1 - y)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    X[:, 0] += 1.5 * y
    X[:, 1] += 6 * mark
    return X, y, mark


def write_model(path):
    """The inputs, as they are, and a head that reads the mark above all."""
    weights = {
        "W": np.eye(6, dtype=np.float32),
        "C": np.array([[-0.5, 0.5], [-1, 1], *[[0, 0]] * 4], np.float32),
        "b": np.array([3, -3], np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "W"], ["z"]),
            helper.make_node("Gemm", ["z", "C", "b"], ["logits"]),
        ],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path

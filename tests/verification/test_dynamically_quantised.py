"""Scores of a dynamically quantised model depend on the batch: what is compared shares it."""

import numpy as np
import pytest
from onnxruntime.quantization import quantize_dynamic

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.extraction.head_check import check_head
from ntkit.verification import save_verified, verify


@pytest.fixture
def model(zoo, tmp_path):
    rng, graph = np.random.default_rng(0), zoo.Graph()
    graph.write(
        "h = MatMul(x, w1)\nz = Relu(h)\nlogits = MatMul(z, w2)",
        w1=rng.normal(size=(6, 16)),
        w2=rng.normal(size=(16, 3)),
    )
    graph.output("logits", ["N", 3])
    zoo.save(graph.model(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    return FrozenModel.load(tmp_path / "int8.onnx")


def test_it_is_verified_in_the_same_batches(model, tmp_path):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 6)).astype(np.float32)
    X[70] *= 30  # coarsens the steps of its batch
    by_size = [OnnxEmbedder(model, device="cpu", batch_size=n).transform(X) for n in (8, 64)]
    assert np.abs(by_size[0] - by_size[1]).max() > 0.02 * np.abs(by_size[0][:64]).max()
    check_head(OnnxEmbedder(model, device="cpu"), X)
    suppressed = model.with_head(model.head.scaled(np.arange(16) != 3))
    check = save_verified(suppressed, tmp_path / "new.onnx", original=model, X=X, device="cpu")
    assert check.passed
    assert check.logit_difference < 1e-5
    assert check.embedding_difference == 0
    assert verify(model, tmp_path / "new.onnx", X, device="cpu", latency=False).passed

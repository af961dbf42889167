"""Two models that differ only in their last layer share one pass of the network."""

import numpy as np
import pytest

import ntkit
from ntkit import FrozenModel
from ntkit.extraction import Samples
from ntkit.jobs.predict import write_predictions
from tests import models

N = 100


class Counted:
    """Samples that count how often they are read."""

    def __init__(self):
        self.X, self.n_read = models.inputs(N), 0

    def __len__(self):
        return N

    def __getitem__(self, rows):
        self.n_read += len(self.X[rows])
        return self.X[rows]


@pytest.fixture
def pair(tmp_path):
    """A model in a file, and the same with another head."""
    first = FrozenModel.load(models.save(models.classifier(3), tmp_path / "first.onnx"))
    first.with_head(first.head.scaled(np.arange(5) != 1)).save(tmp_path / "second.onnx")
    return tmp_path / "first.onnx", tmp_path / "second.onnx"


def test_samples_are_read_once_for_both_models(pair, tmp_path):
    y = models.run(pair[0], models.inputs(N))["logits"].argmax(axis=1)
    few = 16 * 4  # to check the heads
    for work in (
        lambda data: ntkit.check(*pair, data, limits={"max_drop": 90}, device="cpu"),
        lambda data: write_predictions(
            tmp_path / "p.csv", pair[1], data, before=pair[0], device="cpu"
        ),
    ):
        X = Counted()
        work(Samples(X, y))
        assert N <= X.n_read <= N + few


def test_another_network_has_its_own_pass(pair):
    graph = models.body(seed=1)
    for name, values in zip(("fc.weight", "fc.bias"), models.weights(3), strict=True):
        graph.constant(name, values)
    graph.add("Gemm", ["z", "fc.weight", "fc.bias"], "logits", transB=1)
    graph.output("logits", ["batch", 3])
    other, X = models.save(graph.model(), pair[0].with_name("other.onnx")), models.inputs(N)
    y, now = (models.run(path, X)["logits"].argmax(axis=1) for path in (pair[0], other))
    found = ntkit.check(pair[0], other, (X, y), limits={"max_drop": 90}, device="cpu")
    assert found.average.before == 1
    assert found.average.value == pytest.approx((now == y).mean())
    assert found.average.value < 1

"""What follows a head may not reorder, invert or move what it says; else a head is refused.

Each case runs: the original computes what it says, so that a refusal is about ntkit, not the file.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import HeadNotFoundError, InputError, VerificationError
from ntkit.verification import check_head, save_verified

K = 3
INDICES = TensorProto.INT64


def softmax(g, name="p"):
    return g.add("Softmax", ["logits"], name, axis=1)


def ints(g, name, *values):
    return g.constant(name, values, np.int64)


# -- refused when the graph is read ---------------------------------------------------------------


def reordered(g):
    g.add("Gather", [softmax(g), ints(g, "order", 2, 0, 1)], "y", axis=1)
    g.output("y", ["batch", K])


def flipped(g):
    ends = [ints(g, "from", -1), ints(g, "to", -99), ints(g, "axis", 1), ints(g, "step", -1)]
    g.add("Slice", [softmax(g), *ends], "y")
    g.output("y", ["batch", K])


def without_background(g):
    ends = [ints(g, "from", 1), ints(g, "to", 9), ints(g, "axis", 1)]
    g.add("Slice", [softmax(g), *ends], "known")
    g.add("ArgMax", ["known"], "y", axis=1, keepdims=0)
    g.output("y", ["batch"], INDICES)


def smallest(g):
    g.add("TopK", ["logits", ints(g, "k", 1)], ["v", "y"], axis=1, largest=0)
    g.output("y", ["batch", 1], INDICES)


def distances(g):
    g.add("Mul", ["logits", g.constant("minus", -1)], "n")
    g.add("ArgMax", ["n"], "y", axis=1, keepdims=0)
    g.output("logits", ["batch", K])
    g.output("y", ["batch"], INDICES)


def index_times_two(g):
    g.add("ArgMax", ["logits"], "i", axis=1, keepdims=0)
    g.add("Mul", ["i", ints(g, "two", 2)], "y")
    g.output("y", ["batch"], INDICES)


def one_minus(g):
    g.add("Sub", [g.constant("one", 1), softmax(g)], "q")
    g.add("Concat", ["q", "p"], "both", axis=1)
    g.add("ArgMax", ["both"], "y", axis=1, keepdims=0)
    g.output("y", ["batch"], INDICES)


def over_samples(g):
    g.add("Softmax", ["logits"], "y", axis=0)
    g.output("y", ["batch", K])


def winner_among_samples(g):
    g.add("ArgMax", ["logits"], "y", axis=0)
    g.output("y", [1, K], INDICES)


def two_tasks(g):
    g.add("Reshape", ["logits", ints(g, "tasks", -1, K, 1)], "y3")
    g.add("Softmax", ["y3"], "y", axis=2)
    g.output("y", ["batch", K, 1])


REFUSED = {
    reordered: "Gather over the classes",
    flipped: "Slice over the classes",
    without_background: "Slice over the classes",
    smallest: "smallest scores",
    distances: "both signs",
    index_times_two: "changed by Mul",
    one_minus: "Concat",
    over_samples: "another axis",
    winner_among_samples: "another axis",
    two_tasks: "another axis",
}


@pytest.mark.parametrize("build", REFUSED, ids=lambda build: build.__name__)
def test_what_changes_the_meaning_of_the_classes_is_refused(zoo, build, tmp_path):
    graph = zoo.classifier(K, output=False)
    build(graph)
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    zoo.run(path, zoo.inputs())
    with pytest.raises(HeadNotFoundError, match=REFUSED[build]):
        FrozenModel.load(path)


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_a_single_unit_is_decided_where_its_head_decides(zoo, threshold, tmp_path):
    graph = zoo.classifier(1, output=False)
    graph.add("Sigmoid", ["logits"], "p")
    graph.add("Greater", ["p", graph.constant("level", threshold)], "y")
    graph.output("y", ["batch", 1], TensorProto.BOOL)
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    if threshold == 0.5:
        model = FrozenModel.load(path)
        assert check_head(model, zoo.inputs(), device="cpu").passed
    else:
        with pytest.raises(HeadNotFoundError, match=r"decided at 0\.9"):
            FrozenModel.load(path)


def test_a_product_read_before_its_bias_is_no_head(zoo, tmp_path):
    graph = zoo.body()
    W, b = zoo.weights(K)
    graph.add("MatMul", ["z", graph.constant("w", W.T)], "product")
    graph.add("Add", ["product", graph.constant("b", b)], "logits")
    graph.add("Softmax", ["logits"], "p", axis=1)
    graph.output("product", ["batch", K])
    graph.output("p", ["batch", K])
    with pytest.raises(HeadNotFoundError, match=r"'product' .*'logits' .*Choose one"):
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))


# -- found out by running the model ---------------------------------------------------------------


def negated(g):
    g.add("Neg", ["logits"], "n")
    g.add("ArgMax", ["n"], "y", axis=1, keepdims=0)
    g.output("y", ["batch"], INDICES)


def second_head(g):
    g.add("Gemm", ["z", g.constant("w2", zoo_weights[0])], "other", transB=1)
    g.add("Add", ["logits", "other"], "y")
    g.output("y", ["batch", K])


zoo_weights = np.random.default_rng(5).normal(size=(K, 5)), np.zeros(K)


@pytest.mark.parametrize("build", [negated, second_head], ids=lambda b: b.__name__)
def test_named_logits_that_the_outputs_contradict_are_refused(zoo, build, tmp_path):
    graph = zoo.classifier(K, output=False)
    build(graph)
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    model = FrozenModel.load(path, logits="logits")
    with pytest.raises(VerificationError, match="decides differently from the head"):
        check_head(model, zoo.inputs(), device="cpu")
    W, b = zoo.weights(K, seed=9)
    new = model.with_head(LinearHead(W / 10, b / 10, range(K)))  # the other head outweighs it
    with pytest.raises(VerificationError, match="was not written"):
        save_verified(new, tmp_path / "n.onnx", original=model, X=zoo.inputs(), device="cpu")
    assert not (tmp_path / "n.onnx").exists()


def test_two_tables_of_labels_are_read_one_after_the_other(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("ArgMax", ["logits"], "i", axis=1, keepdims=0)
    graph.add("Gather", [ints(graph, "first", 2, 0, 1), "i"], "j")
    graph.add("Gather", [ints(graph, "second", 10, 20, 30), "j"], "y")
    graph.output("y", ["batch"], INDICES)
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    model = FrozenModel.load(path)
    X = zoo.inputs()
    Z = zoo.embedding(graph.model(), X)
    assert model.head.classes.tolist() == [30, 10, 20]
    assert_array_equal(model.head.predict(Z), zoo.run(path, X)["y"])
    assert check_head(model, X, device="cpu").passed


def test_an_output_of_quantised_logits_keeps_its_head(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    scale, zero = graph.constant("s", 0.1), graph.constant("0", 128, np.uint8)
    graph.add("QuantizeLinear", ["logits", scale, zero], "y")
    graph.output("y", ["batch", K], TensorProto.UINT8)
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    with pytest.raises(InputError, match="quantised logits"):
        model.with_head(LinearHead(*zoo_weights, range(K)))


def test_outputs_that_are_no_rows_of_samples_are_compared_too(zoo, tmp_path):
    """More samples than a batch, and an output whose first axis is not the samples'."""
    parts = zoo.classifier(K, output=False)
    parts.add("Transpose", ["z"], "turned")
    parts.output("logits", ["batch", K])
    parts.output("turned", [5, "batch"])
    model = FrozenModel.load(zoo.save(parts.model(), tmp_path / "m.onnx"))
    assert check_head(model, zoo.inputs(100), device="cpu").passed

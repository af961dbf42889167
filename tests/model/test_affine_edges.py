"""What lies close to the edge of what is affine: taken as it is, or refused for what it is.

Body: input ``x`` (N, 6) → Gemm ``h`` → Relu ``z`` (N, 5), or ``x`` (N, 7, 5) → Relu ``z``. Each
form adds ``logits`` to a graph.
"""

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError
from tests.model.test_affine_region import (
    B1,
    FACTOR,
    W1,
    D,
    K,
    close,
    found_token,
    gemm,
    ints,
    softmax,
    tokens,
)

RNG = np.random.default_rng(12)
A, B = RNG.normal(size=(D, 2)), RNG.normal(size=(2, K))
WHOLE = RNG.integers(-100, 100, size=(D, K))


def said(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def same(logits):
    return logits


# -- taken: each returns W, b and what the output ``logits`` shows of a head's logits ------------


def running_sum(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("CumSum", ["raw", g.constant("axis", 1, np.int64)], "logits")
    return np.cumsum(W1, axis=0), np.cumsum(B1), same


def scaler(g):
    gemm(g, "z", W1, B1, "raw")
    given = {"offset": [0.1] * K, "scale": [2.0] * K, "domain": "ai.onnx.ml"}
    g.add("Scaler", ["raw"], "logits", **given)
    return 2 * W1, 2 * (B1 - 0.1), same


def less_their_mean(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("ReduceMean", ["raw"], "mean", axes=[-1])
    g.add("Sub", ["raw", "mean"], "logits")
    centred = np.eye(K) - 1 / K
    return centred @ W1, centred @ B1, same


def ordinal(g):
    """One direction, and a threshold for each class (CORAL)."""
    g.add("MatMul", ["z", g.constant("w", W1[:1].T)], "rank")
    g.add("Add", ["rank", g.constant("b", B1)], "logits")
    return W1[[0, 0, 0]], B1, same


def members_of_an_ensemble(g):
    weights, biases = RNG.normal(size=(4, K, D)), RNG.normal(size=(4, K))
    gemm(g, "z", weights.reshape(-1, D), biases.ravel(), "all")
    g.add("Reshape", ["all", ints(g, "apart", -1, 4, K)], "members")
    g.add("ReduceMean", ["members"], "logits", axes=[1], keepdims=0)
    return weights.mean(axis=0), biases.mean(axis=0), same


def dynamically_quantised_with_lora(g):
    g.add("DynamicQuantizeLinear", ["z"], ["zq", "s", "zero"])
    g.add("MatMulInteger", ["zq", g.constant("w", WHOLE, np.int8), "zero"], "whole")
    g.add("Cast", ["whole"], "real", to=TensorProto.FLOAT)
    g.add("Mul", ["s", g.constant("unit", FACTOR / 100)], "both")
    g.add("Mul", ["real", "both"], "base")
    g.add("MatMul", ["z", g.constant("A", A)], "low")
    g.add("MatMul", ["low", g.constant("B", B)], "high")
    g.add("Add", ["base", "high"], "logits")
    return (WHOLE * FACTOR / 100 + A @ B).T, np.zeros(K), same


def clipped_far_away(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Clip", ["raw", g.constant("low", -50), g.constant("high", 50)], "clipped")
    g.add("Softmax", ["clipped"], "logits", axis=1)
    return W1, B1, softmax


def clipped_probabilities(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Softmax", ["raw"], "p", axis=1)
    g.add("Clip", ["p", g.constant("low", 0.01), g.constant("high", 0.99)], "logits")
    return W1, B1, lambda logits: np.clip(softmax(logits), 0.01, 0.99)


TAKEN = [
    running_sum, scaler, less_their_mean, ordinal, members_of_an_ensemble,
    dynamically_quantised_with_lora, clipped_far_away, clipped_probabilities,
]  # fmt: skip


@pytest.mark.parametrize("build", TAKEN, ids=lambda build: build.__name__)
def test_a_head_is_taken_and_exchanged(zoo, build, tmp_path):
    graph, X = zoo.body(), zoo.inputs()
    W, b, shows = build(graph)
    graph.output("logits", ["batch", K])
    goes_round(zoo, graph.model(), X, (W, b), shows, tmp_path)


def goes_round(zoo, proto, X, known, shows, folder, tolerance=1e-5):
    path = zoo.save(proto, folder / "m.onnx")
    model = FrozenModel.load(path)
    close(model.head.coef, known[0], tolerance)
    close(model.head.intercept, known[1], tolerance)
    Z = OnnxEmbedder(model, device="cpu").transform(X)
    scores = np.asarray(shows(model.head.decision_function(Z)))
    assert_allclose(zoo.run(path, X)["logits"], scores, atol=0.1)  # loose for whole numbers
    head = LinearHead(RNG.normal(size=known[0].shape), RNG.normal(size=K), range(K))
    new = model.with_head(head).save(folder / "new.onnx")
    close(zoo.run(new, X)["logits"], shows(head.decision_function(Z)), 1e-4)


def test_an_old_softmax_takes_all_axes_from_its_own_on(zoo, tmp_path):
    graph = zoo.body()
    gemm(graph, "z", W1, B1, "raw")
    graph.add("Unsqueeze", ["raw"], "row", axes=[1])
    graph.add("Softmax", ["row"], "logits")
    graph.output("logits", ["batch", 1, K])
    proto = graph.model(opset=11)
    goes_round(zoo, proto, zoo.inputs(), (W1, B1), lambda s: softmax(s)[:, None], tmp_path)


def test_a_convolution_of_one_place_may_have_any_dilation(zoo, tmp_path):
    graph, X = zoo.Graph(), np.swapaxes(tokens(), 1, 2)
    graph.add("Relu", ["x"], "z")
    given = [graph.constant("w", W1[..., None]), graph.constant("b", B1)]
    graph.add("Conv", ["z", *given], "map", dilations=[2])
    graph.add("ReduceMean", ["map"], "logits", axes=[2], keepdims=0)
    graph.output("logits", ["batch", K])
    proto = graph.model(inputs=[said("x", ["batch", D, "length"])])
    goes_round(zoo, proto, X, (W1, B1), same, tmp_path)


# -- refused: each names what it is not --------------------------------------------------------


def cut_off_below_zero(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Clip", ["raw", g.constant("low", 0)], "logits")


def between_zero_and_six(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Clip", ["raw", g.constant("low", 0), g.constant("high", 6)], "clipped")
    g.add("Softmax", ["clipped"], "logits", axis=1)


def never_that_class(g):
    gemm(g, "z", W1, B1, "raw")
    mask, never = g.constant("mask", [True, False, True], bool), g.constant("never", -np.inf)
    g.add("Where", [mask, "raw", never], "logits")


def first_samples(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Slice", ["raw", ints(g, "from", 0), ints(g, "to", 2), ints(g, "axis", 0)], "two")
    g.add("Mul", ["two", g.constant("factor", FACTOR)], "logits")


def transposed_convolution(g):
    g.add("Unsqueeze", ["z", ints(g, "axis", 2)], "map")
    g.add("ConvTranspose", ["map", g.constant("w", W1.T[..., None])], "wide")
    g.add("Squeeze", ["wide", ints(g, "same", 2)], "logits")


def quantised_softmax(g):
    ends = [g.constant("s", 0.05), g.constant("zero", 128, np.uint8)]
    gemm(g, "z", W1, B1, "raw")
    g.add("QuantizeLinear", ["raw", *ends], "q")
    shares = [g.constant("share", 1 / 256), g.constant("none", 0, np.uint8)]
    given = {"axis": 1, "opset": 17, "domain": "com.microsoft"}
    g.add("QLinearSoftmax", ["q", *ends, *shares], "p", **given)
    g.add("DequantizeLinear", ["p", *shares], "logits")


def fused(g):
    g.add("FusedMatMul", ["z", g.constant("w", W1)], "logits", transB=1, domain="com.microsoft")


REFUSED = {
    cut_off_below_zero: "Clip .*which cuts off scores of one sign",
    between_zero_and_six: "Clip .*which cuts off scores of one sign",
    never_that_class: "Where .*linear with infinite weights or biases",
    first_samples: "Slice .*which chooses samples",
    transposed_convolution: "ConvTranspose .*which ntkit does not read as a linear layer",
    quantised_softmax: r"QLinearSoftmax .*debias the float model and quantise the result\.$",
    fused: r"FusedMatMul .*debias the exported model instead\.$",
}


@pytest.mark.parametrize("build", REFUSED, ids=lambda build: build.__name__)
def test_what_is_no_head_is_refused_for_what_it_is(zoo, build, tmp_path):
    graph = zoo.body()
    build(graph)
    graph.output("logits", ["batch", K])
    proto = graph.model()
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = zoo.save(proto, tmp_path / "m.onnx")
    zoo.run(path, zoo.inputs())  # the file is sound
    with pytest.raises(HeadNotFoundError, match=REFUSED[build]):
        FrozenModel.load(path)


# -- positions ---------------------------------------------------------------------------------


def numbered(g, *, backwards):
    """0, 1, 2, … for each sample, or the other way round."""
    g.add("Shape", ["x"], "size", end=1)
    g.add("Squeeze", ["size"], "n")
    zero, one = g.constant("zero", 0, np.int64), g.constant("one", 1, np.int64)
    g.add("Range", [zero, "n", one], "up")
    g.add("Sub", ["n", "up"], "down")
    g.add("Sub", ["down", one], "back")
    return "back" if backwards else "up"


def in_two_columns(g, *, backwards):
    g.add("Unsqueeze", [numbered(g, backwards=backwards), ints(g, "last", 1)], "sample")
    g.add("Concat", ["sample", "where"], "at", axis=1)
    g.add("GatherND", ["scores", "at"], "logits")


def in_one_list(g, *, backwards):
    g.add("Mul", [numbered(g, backwards=backwards), g.constant("seven", 7, np.int64)], "starts")
    g.add("Reshape", ["where", ints(g, "flat", -1)], "offsets")
    g.add("Add", ["offsets", "starts"], "rows")
    g.add("Reshape", ["scores", ints(g, "all", -1, K)], "every")
    g.add("Gather", ["every", "rows"], "logits", axis=0)


@pytest.mark.parametrize("build", [in_two_columns, in_one_list])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_last_token_is_that_of_the_same_sample(zoo, build, backwards, tmp_path):
    graph, X = zoo.Graph(), tokens()
    graph.add("Relu", ["x"], "z")
    graph.add("ReduceSum", ["x", ints(graph, "channels", 2)], "sums", keepdims=0)
    graph.add("ArgMax", ["sums"], "where", axis=1, keepdims=1)
    graph.add("MatMul", ["z", graph.constant("w", W1.T)], "scores")
    build(graph, backwards=backwards)
    graph.output("logits", ["batch", K])
    proto = graph.model(inputs=[said("x", ["batch", 7, D])])
    if not backwards:
        assert_allclose(
            zoo.run(proto, X)["logits"], found_token(np.maximum(X, 0)) @ W1.T, atol=1e-4
        )
        return goes_round(zoo, proto, X, (W1, np.zeros(K)), same, tmp_path)
    with pytest.raises(HeadNotFoundError, match=r"position|mixes samples"):
        FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))


@pytest.mark.parametrize("biased", [False, True])
def test_a_bias_for_each_of_an_open_number_of_positions_is_refused(zoo, biased, tmp_path):
    graph, X = zoo.Graph(), tokens()
    graph.add("Relu", ["x"], "z")
    graph.add("MatMul", ["z", graph.constant("w", W1.T)], "scores")
    graph.add("Add", ["scores", graph.constant("b", B1 if biased else np.zeros(K))], "each")
    graph.add("ReduceSum", ["each", ints(graph, "axis", 1)], "logits", keepdims=0)
    graph.output("logits", ["batch", K])
    proto = graph.model(inputs=[said("x", ["batch", "length", D])])
    if not biased:
        return goes_round(zoo, proto, X, (W1, np.zeros(K)), same, tmp_path)
    with pytest.raises(HeadNotFoundError, match="depends on how many positions a sample has"):
        FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))


# -- bodies of control flow --------------------------------------------------------------------


def test_what_a_branch_reads_inside_a_head_is_named(zoo, tmp_path):
    graph = zoo.body()
    gemm(graph, "z", W1, B1, "raw")
    graph.add("Mul", ["raw", graph.constant("factor", FACTOR)], "logits")
    branches = {
        f"{side}_branch": helper.make_graph(
            [helper.make_node(op, ["raw"], [side])], side, [], [said(side, ["batch", K])]
        )
        for side, op in (("then", "Softmax"), ("else", "Identity"))
    }
    graph.add("If", [graph.constant("asked", True, bool)], "p", **branches)
    graph.output("logits", ["batch", K])
    graph.output("p", ["batch", K])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match="'p' comes from 'raw', which is inside the head"):
        FrozenModel.load(path)
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = FrozenModel.load(path, logits="raw").with_head(head).save(tmp_path / "new.onnx")
    logits = head.decision_function(zoo.embedding(onnx.load(path), zoo.inputs()))
    close(zoo.run(new, zoo.inputs())["p"], softmax(logits), 1e-5)


# -- scikit-learn's own operators on a network -------------------------------------------------


def test_a_classifier_whose_label_nothing_reads_takes_more_classes(zoo, tmp_path):
    graph = zoo.body()
    given = {
        "coefficients": W1.ravel().tolist(),
        "intercepts": B1.tolist(),
        "classlabels_ints": [0, 1, 2],
    }
    given |= {"post_transform": "SOFTMAX", "domain": "ai.onnx.ml"}
    graph.add("LinearClassifier", ["z"], ["label", "logits"], **given)
    graph.output("logits", ["batch", K])
    proto = graph.model()
    head = LinearHead(*zoo.weights(K + 1, seed=9), range(K + 1))
    new = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx")).with_head(head)
    Z = zoo.embedding(proto, zoo.inputs())
    shares = softmax(head.decision_function(Z))
    close(zoo.run(new.save(tmp_path / "new.onnx"), zoo.inputs())["logits"], shares, 1e-5)


@pytest.mark.parametrize(
    ("rows", "transform"), [(K, "PROBIT"), (K, "SOFTMAX_ZERO"), (1, "LOGISTIC")]
)
def test_an_unusual_classifier_on_a_network_is_not_called_one_on_inputs(
    zoo, rows, transform, tmp_path
):
    graph = zoo.body()
    given = {
        "coefficients": W1[:rows].ravel().tolist(),
        "intercepts": B1[:rows].tolist(),
        "classlabels_ints": list(range(max(2, rows))),
    }
    given |= {"post_transform": transform, "domain": "ai.onnx.ml"}
    graph.add("LinearClassifier", ["z"], ["label", "logits"], **given)
    graph.output("logits", ["batch", max(2, rows)])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"LinearClassifier .*NONE, SOFTMAX or LOGISTIC"):
        FrozenModel.load(path)

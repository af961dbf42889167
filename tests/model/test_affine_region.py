"""A head is any affine map before the scores: read, exchanged, and refused where it is none.

Body: input ``x`` (N, 6) → Gemm ``h`` → Relu ``z`` (N, 5); for positions ``x`` (N, 5, 4, 3) or
(N, 7, 5) → Relu ``z``. Each form adds ``logits`` to a graph and returns its W, b and embedding.
"""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError

K, D = 3, 5
RNG = np.random.default_rng(4)
W1, W2 = RNG.normal(size=(2, K, D))
B1, B2 = RNG.normal(size=(2, K))
FACTOR, SHIFT = RNG.uniform(0.5, 2, size=K), RNG.normal(size=K)


def ints(g, name, *values):
    return g.constant(name, values, np.int64)


def gemm(g, source, W, b, output, number=1):
    w, c = g.constant(f"w{number}", W), g.constant(f"b{number}", b)
    return g.add("Gemm", [source, w, c], output, transB=1)


def normalised(g, source, output, **attributes):
    mean, var = RNG.normal(size=K), RNG.uniform(0.5, 2, size=K)
    given = {"gain": FACTOR, "shift": SHIFT, "mean": mean, "var": var}
    names = [g.constant(f"{output}.{name}", array) for name, array in given.items()]
    g.add("BatchNormalization", [source, *names], output, epsilon=1e-3, **attributes)
    gain = FACTOR / np.sqrt(var + 1e-3)
    return gain, SHIFT - gain * mean


# -- one row of neurons per sample -------------------------------------------------------------


def batch_norm(g):
    gemm(g, "z", W1, B1, "raw")
    gain, shift = normalised(g, "raw", "logits")
    return gain[:, None] * W1, gain * B1 + shift


def factor_per_class(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Mul", ["raw", g.constant("factor", FACTOR)], "logits")
    return FACTOR[:, None] * W1, FACTOR * B1


def divisor_per_class(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Div", ["raw", g.constant("divisor", FACTOR[None])], "logits")
    return W1 / FACTOR[:, None], B1 / FACTOR


def scale_and_bias(g):
    g.add("MatMul", ["z", g.constant("w", W1.T)], "raw")
    g.add("Mul", ["raw", g.constant("scale", 4.6)], "scaled")
    g.add("Add", ["scaled", g.constant("bias", -10.0)], "logits")
    return 4.6 * W1, np.full(K, -10.0)


def prior_subtracted(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Sub", ["raw", g.constant("prior", SHIFT)], "logits")
    return W1, B1 - SHIFT


def subtracted_from_a_constant(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Sub", [g.constant("prior", SHIFT), "raw"], "logits")
    return -W1, SHIFT - B1


def negated(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Neg", ["raw"], "logits")
    return -W1, -B1


def einsum(g):
    g.add("Einsum", ["z", g.constant("w", W1)], "raw", equation="nd,kd->nk")
    g.add("Add", ["raw", g.constant("b", B1)], "logits")
    return W1, B1


def einsum_weights_first(g):
    g.add("Einsum", [g.constant("w", W1), "z"], "logits", equation="kd,nd->nk")
    return W1, np.zeros(K)


def einsum_of_any_axes(g):
    g.add("Einsum", ["z", g.constant("w", W1.T)], "logits", equation="...d, dk -> ...k")
    return W1, np.zeros(K)


def weights_on_the_left(g):
    g.add("Transpose", ["z"], "columns", perm=[1, 0])
    g.add("MatMul", [g.constant("w", W1), "columns"], "product")
    g.add("Transpose", ["product"], "logits", perm=[1, 0])
    return W1, np.zeros(K)


def padded_with_a_constant(g):
    gemm(g, "z", W1[:2], B1[:2], "two")
    ends = [ints(g, "ends", 0, 0, 0, 1), g.constant("never", -9)]
    g.add("Pad", ["two", *ends], "logits")
    return np.vstack([W1[:2], np.zeros((1, D))]), np.append(B1[:2], -9)


def masked_by_a_constant(g):
    gemm(g, "z", W1, B1, "raw")
    mask, never = g.constant("mask", [True, False, True], bool), g.constant("never", -9)
    g.add("Where", [mask, "raw", never], "logits")
    return W1 * [[1], [0], [1]], np.where([True, False, True], B1, -9)


def three_axes_of_weights(g):
    g.add("Unsqueeze", ["z", ints(g, "one", 1)], "row")
    g.add("MatMul", ["row", g.constant("w", W1.T[None])], "product")
    g.add("Squeeze", ["product", ints(g, "also one", 1)], "raw")
    g.add("Add", ["raw", g.constant("b", B1)], "logits")
    return W1, B1


def samples_on_the_second_axis(g):
    g.add("MatMul", ["z", g.constant("w", W1.T[None])], "product")
    g.add("Squeeze", ["product", ints(g, "none", 0)], "logits")
    return W1, np.zeros(K)


def twice(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Add", ["raw", "raw"], "logits")
    return 2 * W1, 2 * B1


def two_layers_on_one(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "z", W2, B2, "other", 2)
    g.add("Sum", ["one", "other"], "logits")
    return W1 + W2, B1 + B2


def lora(g):
    a, b = RNG.normal(size=(D, 2)), RNG.normal(size=(2, K))
    g.add("MatMul", ["z", g.constant("w", W1.T)], "base")
    g.add("Dropout", ["z"], "dropped")
    g.add("MatMul", ["dropped", g.constant("A", a)], "low")
    g.add("MatMul", ["low", g.constant("B", b)], "high")
    g.add("Mul", ["high", g.constant("alpha", 0.5)], "scaled")
    g.add("Add", ["base", g.constant("b", B1)], "biased")
    g.add("Add", ["biased", "scaled"], "logits")
    return W1 + 0.5 * (a @ b).T, B1


def lora_in_a_gemm(g):
    a, b = RNG.normal(size=(D, 2)), RNG.normal(size=(2, K))
    gemm(g, "z", W1, B1, "base")
    g.add("MatMul", ["z", g.constant("A", a)], "low")
    g.add("Gemm", ["low", g.constant("B", b), "base"], "logits", alpha=0.5)
    return W1 + 0.5 * (a @ b).T, B1


def one_layer_as_the_bias_of_another(g):
    gemm(g, "z", W1, B1, "one")
    g.add("Gemm", ["z", g.constant("w2.T", W2.T), "one"], "logits", beta=-2.0)
    return W2 - 2 * W1, -2 * B1


def two_low_ranks(g):
    rng = np.random.default_rng(6)
    a1, a2 = rng.normal(size=(2, D, 2))
    b1, b2 = rng.normal(size=(2, 2, K))
    for i, (a, b) in enumerate([(a1, b1), (a2, b2)]):
        g.add("MatMul", ["z", g.constant(f"A{i}", a)], f"low{i}")
        g.add("MatMul", [f"low{i}", g.constant(f"B{i}", b)], f"high{i}")
    g.add("Add", ["high0", "high1"], "logits")
    return (a1 @ b1 + a2 @ b2).T, np.zeros(K)


def skip_connection(g):
    square = RNG.normal(size=(D, D))
    g.add("MatMul", ["z", g.constant("w", square.T)], "product")
    g.add("Add", ["product", "z"], "five")
    g.add("Slice", ["five", ints(g, "from", 0), ints(g, "to", K), ints(g, "axis", 1)], "logits")
    return (square + np.eye(D))[:K], np.zeros(K)


def classes_side_by_side(g):
    gemm(g, "z", W1[:1], B1[:1], "first")
    gemm(g, "z", W1[1:], B1[1:], "rest", 2)
    g.add("Concat", ["first", "rest"], "logits", axis=1)
    return W1, B1


def axes_of_length_one(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Reshape", ["raw", ints(g, "more", -1, 1, K, 1)], "wide")
    g.add("Mul", ["wide", g.constant("factor", FACTOR[:, None])], "scaled")
    g.add("Reshape", ["scaled", ints(g, "fewer", -1, K)], "logits")
    return FACTOR[:, None] * W1, FACTOR * B1


def cast_between(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Cast", ["raw"], "precise", to=TensorProto.DOUBLE)
    g.add("Mul", ["precise", g.constant("factor", FACTOR, np.float64)], "scaled")
    g.add("Cast", ["scaled"], "logits", to=TensorProto.FLOAT)
    return FACTOR[:, None] * W1, FACTOR * B1


def cast_at_the_end(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Mul", ["raw", g.constant("factor", FACTOR)], "scaled")
    g.add("Cast", ["scaled"], "precise", to=TensorProto.DOUBLE)
    g.add("Add", ["precise", g.constant("shift", SHIFT, np.float64)], "exact")
    g.add("Cast", ["exact"], "logits", to=TensorProto.FLOAT)
    return FACTOR[:, None] * W1, FACTOR * B1 + SHIFT


FLAT = [
    batch_norm, factor_per_class, divisor_per_class, scale_and_bias, prior_subtracted,
    subtracted_from_a_constant, negated, einsum, einsum_weights_first,
    einsum_of_any_axes, weights_on_the_left, padded_with_a_constant, masked_by_a_constant,
    three_axes_of_weights,
    samples_on_the_second_axis, twice, two_layers_on_one, lora, lora_in_a_gemm, two_low_ranks,
    one_layer_as_the_bias_of_another,
    skip_connection, classes_side_by_side, axes_of_length_one, cast_between, cast_at_the_end,
]  # fmt: skip


# -- several tensors ---------------------------------------------------------------------------


def mean_of_two_heads(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "h", W2, B2, "other", 2)
    g.add("Mean", ["one", "other"], "logits")
    return np.hstack([W1, W2]) / 2, (B1 + B2) / 2


def half_of_two_heads(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "h", W2, B2, "other", 2)
    g.add("Add", ["one", "other"], "sum")
    g.add("Div", ["sum", g.constant("two", 2)], "logits")
    return np.hstack([W1, W2]) / 2, (B1 + B2) / 2


def difference_of_normalised_heads(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "h", W2, B2, "other", 2)
    gain, shift = normalised(g, "one", "normal")
    g.add("Sub", ["normal", "other"], "logits")
    return np.hstack([gain[:, None] * W1, -W2]), gain * B1 + shift - B2


def heads_behind_norms_of_one_layer(g):
    """As LeViT: the layer before belongs to the body, and is not taken with them."""
    names = {}
    for i in range(2):
        given = [g.constant(f"{n}{i}", RNG.uniform(0.5, 2, size=D)) for n in "gsmv"]
        names[i] = g.add("BatchNormalization", ["h", *given], ("z1", "z2")[i])
        gemm(g, names[i], (W1, W2)[i], (B1, B2)[i], f"head{i}", i)
    g.add("Add", ["head0", "head1"], "logits")
    return np.hstack([W1, W2]), B1 + B2


SEVERAL = [mean_of_two_heads, half_of_two_heads, difference_of_normalised_heads,
           heads_behind_norms_of_one_layer]  # fmt: skip


# -- positions ---------------------------------------------------------------------------------


def whole_convolution(g):
    w = RNG.normal(size=(K, D, 4, 3))
    g.add("Conv", ["z", g.constant("w", w), g.constant("b", B1)], "map")
    g.add("Flatten", ["map"], "logits")
    return w.reshape(K, -1), B1, lambda z: z.reshape(len(z), -1)


def whole_einsum(g):
    w = RNG.normal(size=(K, D, 4, 3))
    g.add("Einsum", ["z", g.constant("w", w)], "logits", equation="nchw,kchw->nk")
    return w.reshape(K, -1), np.zeros(K), lambda z: z.reshape(len(z), -1)


def normalised_map(g):
    w = g.constant("w", W1.reshape(K, D, 1, 1))
    g.add("Conv", ["z", w, g.constant("b", B1)], "map")
    gain, shift = normalised(g, "map", "normal")
    g.add("GlobalAveragePool", ["normal"], "pooled")
    g.add("Flatten", ["pooled"], "logits")
    return gain[:, None] * W1, gain * B1 + shift, lambda z: z.mean(axis=(2, 3))


def summed_positions(g):
    g.add("Conv", ["z", g.constant("w", W1.reshape(K, D, 1, 1)), g.constant("b", B1)], "map")
    g.add("ReduceSum", ["map", ints(g, "axes", 2, 3)], "logits", keepdims=0)
    return W1, 12 * B1, lambda z: z.sum(axis=(2, 3))


def padded_mean(g):
    g.add("Conv", ["z", g.constant("w", W1.reshape(K, D, 1, 1)), g.constant("b", B1)], "map")
    g.add("AveragePool", ["map"], "p6", kernel_shape=[6, 5], pads=[1, 1, 1, 1], count_include_pad=1)
    g.add("Flatten", ["p6"], "logits")
    return W1, 12 / 30 * B1, lambda z: z.sum(axis=(2, 3)) / 30


def token_of_scaled_scores(g):
    g.add("MatMul", ["z", g.constant("w", W1.T)], "product")
    g.add("Mul", ["product", g.constant("factor", FACTOR)], "scaled")
    g.add("Gather", ["scaled", g.constant("first", 2, np.int64)], "logits", axis=1)
    return FACTOR[:, None] * W1, np.zeros(K), lambda z: z[:, 2]


def two_tokens_two_heads(g):
    for i in range(2):
        g.add("Gather", ["z", g.constant(f"at{i}", i, np.int64)], f"token{i}", axis=1)
        gemm(g, f"token{i}", (W1, W2)[i], (B1, B2)[i], f"head{i}", i)
    g.add("Add", ["head0", "head1"], "sum")
    g.add("Div", ["sum", g.constant("two", 2)], "logits")
    weight = np.hstack([W1, W2]) / 2
    return weight, (B1 + B2) / 2, lambda z: np.hstack([z[:, 0], z[:, 1]])


def tokens_scored_then_chosen(g):
    for i in range(2):
        g.add("MatMul", ["z", g.constant(f"w{i}", (W1, W2)[i].T)], f"scores{i}")
        g.add("Gather", [f"scores{i}", g.constant(f"at{i}", i + 3, np.int64)], f"s{i}", axis=1)
    g.add("Add", ["s0", "s1"], "logits")
    weight = np.zeros((K, 7, D))  # one tensor, read at two positions
    weight[:, 3], weight[:, 4] = W1, W2
    return weight.reshape(K, -1), np.zeros(K), lambda z: z.reshape(len(z), -1)


def positions_weighed(g):
    share = np.linspace(0.1, 1, 7).reshape(1, 7, 1)
    g.add("MatMul", ["z", g.constant("w", W1.T)], "scores")
    g.add("Mul", ["scores", g.constant("share", share)], "weighed")
    g.add("ReduceSum", ["weighed", ints(g, "axes", 1)], "logits", keepdims=0)
    weight = (W1[:, None] * share[0]).reshape(K, -1)
    return weight, np.zeros(K), lambda z: z.reshape(len(z), -1)


def last_token(g):
    """The largest position whose first channel is positive, as language models find theirs."""
    g.add("ReduceSum", ["x", ints(g, "channels", 2)], "sums", keepdims=0)
    g.add("ArgMax", ["sums"], "where", axis=1, keepdims=1)
    g.add("MatMul", ["z", g.constant("w", W1.T)], "product")
    g.add("Mul", ["product", g.constant("factor", FACTOR)], "scores")
    return FACTOR[:, None] * W1, np.zeros(K), found_token


def found_token(z):
    return z[np.arange(len(z)), tokens().sum(axis=2).argmax(axis=1)]


def gather_nd_batched(g):
    known = last_token(g)
    g.add("GatherND", ["scores", "where"], "logits", batch_dims=1)
    return known


def gather_elements(g):
    known = last_token(g)
    g.add("Unsqueeze", ["where", ints(g, "last", 2)], "at")
    g.add("Expand", ["at", ints(g, "wide", 1, 1, K)], "everywhere")
    g.add("GatherElements", ["scores", "everywhere"], "chosen", axis=1)
    g.add("Squeeze", ["chosen", ints(g, "gone", 1)], "logits")
    return known


def flattened_gather(g):
    known = last_token(g)
    g.add("Shape", ["where"], "size", end=1)
    g.add("Squeeze", ["size"], "n")
    zero, one = g.constant("zero", 0, np.int64), g.constant("one", 1, np.int64)
    g.add("Range", [zero, "n", one], "samples")
    g.add("Mul", ["samples", g.constant("seven", 7, np.int64)], "starts")
    g.add("Reshape", ["where", ints(g, "flat", -1)], "offsets")
    g.add("Add", ["starts", "offsets"], "rows")
    g.add("Reshape", ["scores", ints(g, "all", -1, K)], "every")
    g.add("Gather", ["every", "rows"], "logits", axis=0)
    return known


POSITIONS = [
    whole_convolution, whole_einsum, normalised_map, summed_positions, padded_mean,
    token_of_scaled_scores, two_tokens_two_heads, tokens_scored_then_chosen, positions_weighed,
    gather_nd_batched, gather_elements, flattened_gather,
]  # fmt: skip
MAPS = (whole_convolution, whole_einsum, normalised_map, summed_positions, padded_mean)


def images(n_samples=12):
    return np.random.default_rng(3).normal(size=(n_samples, D, 4, 3)).astype(np.float32)


def tokens(n_samples=12):
    return np.random.default_rng(3).normal(size=(n_samples, 7, D)).astype(np.float32)


@pytest.fixture(params=[*FLAT, *SEVERAL, *POSITIONS], ids=lambda form: form.__name__)
def form(request):
    return request.param


@pytest.fixture
def formed(form, zoo):
    """A model with logits and probabilities, samples, their embedding, W and b."""
    if form not in POSITIONS:
        graph, X = zoo.body(), zoo.inputs()
        W, b = form(graph)
        names = ("z", "h") if form in SEVERAL else ("z",)
        names = ("z1", "z2") if form is heads_behind_norms_of_one_layer else names
        finish(graph)
        proto = graph.model()
        out = zoo.run(zoo.with_outputs(proto, *names), X)
        return proto, X, np.hstack([out[name] for name in names]), W, b
    X = images() if form in MAPS else tokens()
    graph = zoo.Graph()
    graph.add("Relu", ["x"], "z")
    W, b, chosen = form(graph)
    finish(graph)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *X.shape[1:]])
    return graph.model(inputs=[x]), X, chosen(np.maximum(X, 0)), W, b


def finish(graph):
    graph.add("Softmax", ["logits"], "p", axis=-1)
    graph.output("logits", ["batch", K])
    graph.output("p", ["batch", K])


def softmax(scores):
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def close(got, expected, tolerance=1e-6):
    scale = 1 + np.abs(expected).max()
    assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def test_head_and_embedding_are_what_onnx_runtime_computes(zoo, formed, tmp_path):
    proto, X, Z, W, b = formed
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    close(model.head.coef, W)
    close(model.head.intercept, b)
    embedding = OnnxEmbedder(model, device="cpu").transform(X)
    close(embedding, Z)
    assert model.embedding.shape[1] == W.shape[1]
    close(model.head.decision_function(embedding), zoo.run(proto, X)["logits"], 1e-5)


def test_a_new_head_goes_through_the_rest_of_the_graph(zoo, formed, tmp_path):
    proto, X, Z, W, _ = formed
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    rng = np.random.default_rng(9)
    head = LinearHead(rng.normal(size=W.shape), rng.normal(size=K), range(K))
    new = model.with_head(head).save(tmp_path / "new.onnx")
    out = zoo.run(new, X)
    close(out["logits"], head.decision_function(Z), 1e-5)
    close(out["p"], softmax(head.decision_function(Z)), 1e-5)
    again = FrozenModel.load(new)
    close(again.head.coef, head.coef)
    assert (again.inputs, again.outputs) == (model.inputs, model.outputs)
    assert again.metadata.items() >= {"author": "someone", "trained": "2024"}.items()
    kept = [node for node in again.nodes if not node[0].startswith("ntkit")]
    assert kept == [node for node in model.nodes if node in again.nodes]
    close(OnnxEmbedder(again, device="cpu").transform(X), Z)
    onnx.checker.check_model(onnx.load(new))


def test_the_models_own_head_written_back_is_bit_equal(zoo, formed, tmp_path):
    proto, X, *_ = formed
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    same = model.with_head(model.head).save(tmp_path / "same.onnx")
    for name, array in zoo.run(proto, X).items():
        assert_array_equal(zoo.run(same, X)[name], array)


# -- quantised ----------------------------------------------------------------------------------

WHOLE = RNG.integers(-7, 8, size=(K, D))  # weights of four bits


def quantised(g):
    scale, zero = g.constant("z.scale", 0.02), g.constant("z.zero", 3, np.uint8)
    return [g.add("QuantizeLinear", ["z", scale, zero], "zq"), scale, zero]


def q_gemm(g, *scores):
    weight = [g.constant("w", WHOLE, np.int8), g.constant("w.scale", FACTOR / 9),
              g.constant("w.zero", np.zeros(K), np.int8)]  # fmt: skip
    unit = 0.02 * FACTOR / 9
    bias = g.constant("b", np.round(B1 / unit), np.int32)
    given = [*quantised(g), *weight, bias, *scores]
    out = "quantised" if scores else "logits"
    g.add("QGemm", given, out, transB=1, domain="com.microsoft")
    return WHOLE * FACTOR[:, None] / 9, np.round(B1 / unit) * unit


def q_gemm_requantised(g):
    ends = [g.constant("y.scale", 0.05), g.constant("y.zero", 128, np.uint8)]
    known = q_gemm(g, *ends)
    g.add("DequantizeLinear", ["quantised", *ends], "logits")
    return known


def integers_added(g):
    one, other = quantised(g), [g.constant("y.scale", 0.05), g.constant("y.zero", 128, np.uint8)]
    weight = [g.constant("w", WHOLE.T, np.int8), g.constant("w.scale", 0.1),
              g.constant("w.zero", 0, np.int8)]  # fmt: skip
    bias = np.round(B1 / 0.02)
    given = [g.constant("b", bias, np.int8), g.constant("b.scale", 0.02),
             g.constant("b.zero", 0, np.int8)]  # fmt: skip
    g.add("QLinearMatMul", [*one, *weight, *other], "product")
    g.add("DequantizeLinear", ["product", *other], "real")
    g.add("DequantizeLinear", given, "bias")
    g.add("Add", ["real", "bias"], "logits")
    return WHOLE / 10, bias * 0.02


def static_integers(g):
    zq, _, zero = quantised(g)
    g.add("MatMulInteger", [zq, g.constant("w", WHOLE.T, np.int8), zero], "whole")
    g.add("Cast", ["whole"], "real", to=TensorProto.FLOAT)
    g.add("Mul", ["real", g.constant("unit", 0.02 * FACTOR / 9)], "scaled")
    g.add("Add", ["scaled", g.constant("b", B1)], "logits")
    return WHOLE * FACTOR[:, None] / 9, B1


def dynamic_with_a_factor(g):
    g.add("DynamicQuantizeLinear", ["z"], ["zq", "s", "zero"])
    g.add("MatMulInteger", ["zq", g.constant("w", WHOLE.T, np.int8), "zero"], "whole")
    g.add("Cast", ["whole"], "real", to=TensorProto.FLOAT)
    g.add("Mul", ["s", g.constant("unit", 0.1)], "both")
    g.add("Mul", ["real", "both"], "raw")
    g.add("Mul", ["raw", g.constant("factor", FACTOR)], "scaled")
    g.add("Add", ["scaled", g.constant("b", B1)], "logits")
    return WHOLE * FACTOR[:, None] / 10, B1


def few_bits(g):
    codes = np.zeros((K, 16), np.uint8)
    codes[:, :D] = WHOLE + 8
    packed = codes[:, ::2] | (codes[:, 1::2] << 4)
    given = [g.constant("w", packed.reshape(K, 1, 8), np.uint8), g.constant("scales", FACTOR / 9)]
    attributes = {"K": D, "N": K, "bits": 4, "block_size": 16}
    g.add("MatMulNBits", ["z", *given], "raw", domain="com.microsoft", **attributes)
    g.add("Add", ["raw", g.constant("b", B1)], "logits")
    return WHOLE * FACTOR[:, None] / 9, B1


QUANTISED = [
    q_gemm, q_gemm_requantised, integers_added, static_integers, dynamic_with_a_factor, few_bits,
]  # fmt: skip


@pytest.mark.parametrize("build", QUANTISED, ids=lambda build: build.__name__)
def test_a_quantised_head_is_read_and_replaced_by_one_of_floats(zoo, build, tmp_path):
    graph = zoo.body()
    W, b = build(graph)
    finish(graph)
    proto, X = graph.model(), zoo.inputs()
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    close(model.head.coef, W)
    close(model.head.intercept, b)
    Z = OnnxEmbedder(model, device="cpu").transform(X)
    logits = zoo.run(proto, X)["logits"]
    assert_allclose(model.head.decision_function(Z), logits, atol=0.1)
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = model.with_head(head).save(tmp_path / "new.onnx")
    close(zoo.run(new, X)["logits"], head.decision_function(Z), 1e-5)


@pytest.mark.parametrize("zero_points", [None, "floats", "packed"])
def test_blocks_of_few_bits_may_be_in_any_order(zoo, zero_points, tmp_path):
    """MatMulNBits with ``g_idx``: which block's scale each input has.

    With packed zero points too, ONNX Runtime does not compute what they say: refused.
    """
    n, block = 40, 16
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 16, size=(K, 48)).astype(np.uint8)
    scales = rng.uniform(0.1, 1, size=(K, 3))
    groups = rng.permutation(np.repeat(np.arange(3), block))
    zeros = rng.integers(0, 16, size=(K, 3)) if zero_points == "floats" else np.full((K, 3), 8)
    g = zoo.Graph()
    g.add("Relu", ["x"], "z")
    given = [
        g.constant("w", (codes[:, ::2] | (codes[:, 1::2] << 4)).reshape(K, 3, 8), np.uint8),
        g.constant("scales", scales.ravel()),
        {
            None: "",
            "floats": g.constant("zeros", zeros),
            "packed": g.constant("packed", np.full(K * 2, 0x33), np.uint8),
        }[zero_points],
        g.constant("g_idx", groups, np.int32),
    ]
    attributes = {"K": n, "N": K, "bits": 4, "block_size": block}
    g.add("MatMulNBits", ["z", *given], "logits", domain="com.microsoft", **attributes)
    g.output("logits", ["batch", K])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", n])
    proto = g.model(inputs=[x])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = zoo.save(proto, tmp_path / "m.onnx")
    if zero_points == "packed":
        eye = np.eye(n, dtype=np.float32)
        seen = zoo.run(proto, eye)["logits"].T  # that is: 8, whatever they are
        close(seen, ((codes - 8.0) * scales[:, groups])[:, :n], 1e-5)
        with pytest.raises(HeadNotFoundError, match=r"MatMulNBits .*packed zero points .*g_idx"):
            FrozenModel.load(path)
        return
    model = FrozenModel.load(path)
    known = (codes - zeros[:, groups].astype(float)) * scales[:, groups]
    close(model.head.coef, known[:, :n], 1e-5)
    X = np.abs(rng.normal(size=(8, n))).astype(np.float32)
    close(zoo.run(proto, X)["logits"], model.head.decision_function(X), 1e-2)


# -- near misses -------------------------------------------------------------------------------


def relu_between(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Relu", ["raw"], "cut")
    g.add("Mul", ["cut", g.constant("factor", FACTOR)], "logits")


def scaled_by_the_batch(g):
    g.add("DynamicQuantizeLinear", ["z"], ["zq", "s", "zero"])
    gemm(g, "z", W1, B1, "raw")
    g.add("Mul", ["raw", "s"], "logits")


def integers_without_their_scale(g):
    g.add("DynamicQuantizeLinear", ["z"], ["zq", "s", "zero"])
    g.add("MatMulInteger", ["zq", g.constant("w", WHOLE.T, np.int8), "zero"], "whole")
    g.add("Cast", ["whole"], "real", to=TensorProto.FLOAT)
    g.add("Mul", ["real", g.constant("unit", 0.1)], "logits")


def cast_to_int32(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Cast", ["raw"], "whole", to=TensorProto.INT32)
    g.add("Cast", ["whole"], "real", to=TensorProto.FLOAT)
    g.add("Mul", ["real", g.constant("factor", FACTOR)], "logits")


def masked_by_the_samples(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Greater", ["raw", g.constant("zero", 0)], "mask")
    g.add("Where", ["mask", "raw", g.constant("never", -9)], "logits")


def largest_of_two(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "z", W2, B2, "other", 2)
    g.add("Max", ["one", "other"], "logits")


def one_of_them_gated(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "z", W2, B2, "other", 2)
    g.add("Sigmoid", ["other"], "gate")
    g.add("Mul", ["one", "gate"], "gated")
    g.add("Add", ["gated", "other"], "logits")


def product_of_two(g):
    gemm(g, "z", W1, B1, "one")
    gemm(g, "h", W2, B2, "other", 2)
    g.add("Mul", ["one", "other"], "logits")


def quotient_of_two(g):
    gemm(g, "z", W1, B1, "one")
    g.add("Abs", ["one"], "size")
    g.add("Div", ["one", "size"], "logits")


def gated(g):
    gemm(g, "z", W1, B1, "one")
    g.add("Sigmoid", ["one"], "gate")
    g.add("Mul", ["one", "gate"], "gated")
    g.add("Add", ["gated", g.constant("shift", SHIFT)], "logits")


def softmax_inside(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Softmax", ["raw"], "shares", axis=1)
    g.add("Sub", ["shares", g.constant("prior", SHIFT)], "logits")


def computed_bias(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Tanh", ["h"], "bent")
    g.add("Slice", ["bent", ints(g, "from", 0), ints(g, "to", K), ints(g, "axis", 1)], "prior")
    g.add("Add", ["raw", "prior"], "logits")


def computed_classes(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("ArgMax", ["x"], "found", axis=0, keepdims=0)
    g.add("Slice", ["found", ints(g, "from", 0), ints(g, "to", K)], "three")
    g.add("Mod", ["three", ints(g, "K", K)], "order")
    g.add("Gather", ["raw", "order"], "logits", axis=1)


def own_classes(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("TopK", ["raw", ints(g, "k", K)], ["sorted", "order"], axis=1)
    g.add("GatherElements", ["raw", "order"], "logits", axis=1)


def in_training_mode(g):
    gemm(g, "z", W1, B1, "raw")
    given = [g.constant(name, np.ones(K)) for name in ("gain", "shift", "mean", "var")]
    g.add("BatchNormalization", ["raw", *given], ["logits", "m", "v"], training_mode=1)


def largest_subtracted(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("ReduceMax", ["raw"], "largest", axes=[1])
    g.add("Sub", ["raw", "largest"], "logits")


def normalised_by_its_length(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("ReduceL2", ["raw"], "length", axes=[1])
    g.add("Div", ["raw", "length"], "logits")


def computed_weights(g):
    g.add("Einsum", ["z", "z", g.constant("w3", RNG.normal(size=(K, D, D)))], "logits",
          equation="na,nb,kab->nk")  # fmt: skip


def rounded(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Round", ["raw"], "whole")
    g.add("Mul", ["whole", g.constant("factor", FACTOR)], "logits")


def cast_to_integers(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Cast", ["raw"], "whole", to=TensorProto.INT64)
    g.add("Cast", ["whole"], "real", to=TensorProto.FLOAT)
    g.add("Mul", ["real", g.constant("factor", FACTOR)], "logits")


def a_row_per_sample(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Mul", ["raw", g.constant("factors", RNG.uniform(1, 2, size=(40, K)))], "logits")


def mean_over_samples(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("ReduceMean", ["raw"], "mean", axes=[0])
    g.add("Sub", ["raw", "mean"], "logits")


NEAR_MISSES = {
    relu_between: "Relu",
    scaled_by_the_batch: "Mul .*two computed tensors",
    integers_without_their_scale: "MatMulInteger",
    cast_to_int32: "Cast .*whole numbers",
    masked_by_the_samples: "Where .*computed condition",
    largest_of_two: "Max",
    one_of_them_gated: "Mul .*two computed tensors",
    product_of_two: "Mul .*two computed tensors",
    quotient_of_two: "Div .*two computed tensors",
    gated: "Mul .*two computed tensors",
    softmax_inside: "Softmax|Gemm",
    computed_bias: "Tanh",
    computed_classes: "Gather over the classes",
    own_classes: "GatherElements",
    in_training_mode: "BatchNormalization .*training mode",
    largest_subtracted: "ReduceMax",
    normalised_by_its_length: "Div .*two computed tensors",
    computed_weights: "Einsum .*two computed tensors",
    rounded: "Round",
    cast_to_integers: "Cast .*whole numbers",
    a_row_per_sample: "Mul",
    mean_over_samples: "Sub",
}


@pytest.mark.parametrize("build", NEAR_MISSES, ids=lambda build: build.__name__)
def test_what_is_not_affine_is_refused_by_name(zoo, build, tmp_path):
    graph = zoo.body()
    build(graph)
    finish(graph)
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    zoo.run(path, zoo.inputs())  # the file is sound
    with pytest.raises(HeadNotFoundError, match=NEAR_MISSES[build]) as error:
        FrozenModel.load(path)
    assert "''" not in str(error.value)


# -- a classifier of its own kind on the embedding ----------------------------------------------


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX"])
@pytest.mark.parametrize(
    "names", [{"classlabels_strings": ["ant", "bee", "cow"]}, {"classlabels_ints": [4, 2, 7]}]
)
def test_a_linear_classifier_on_a_networks_embedding_is_a_head(zoo, transform, names, tmp_path):
    graph = zoo.body()
    graph.add("LinearClassifier", ["z"], ["label", "scores"], domain="ai.onnx.ml",
              coefficients=W1.ravel(), intercepts=B1, post_transform=transform,
              **names)  # fmt: skip
    text = "classlabels_strings" in names
    graph.output("label", ["batch"], TensorProto.STRING if text else TensorProto.INT64)
    graph.output("scores", ["batch", K])
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    close(model.head.coef, W1)
    close(model.head.intercept, B1)
    labels = next(iter(names.values()))
    assert model.head.classes.tolist() == labels
    Z = zoo.embedding(proto, X)
    head = LinearHead(*zoo.weights(K, seed=9), labels)
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    assert_array_equal(out["label"], head.predict(Z))
    logits = head.decision_function(Z)
    close(out["scores"], logits if transform == "NONE" else softmax(logits), 1e-5)


def test_a_linear_classifier_of_two_mirrored_rows_is_one_unit(zoo, tmp_path):
    graph = zoo.body()
    graph.add("LinearClassifier", ["z"], ["label", "scores"], domain="ai.onnx.ml",
              coefficients=np.vstack([-W1[:1], W1[:1]]).ravel(), intercepts=[-B1[0], B1[0]],
              post_transform="LOGISTIC", classlabels_ints=[0, 1])  # fmt: skip
    graph.output("label", ["batch"], TensorProto.INT64)
    graph.output("scores", ["batch", 2])
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    Z = zoo.embedding(proto, X)
    assert model.head.n_logits == 1
    close(model.head.predict_proba(Z), zoo.run(proto, X)["scores"], 1e-5)
    head = LinearHead(*zoo.weights(1, seed=9), [0, 1])
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    close(out["scores"], head.predict_proba(Z), 1e-5)
    assert_array_equal(out["label"], head.predict(Z))


@pytest.mark.parametrize(
    ("op", "said"),
    [("LinearClassifier", "inputs themselves"), ("LinearRegressor", "regression")],
)
def test_a_linear_model_on_raw_inputs_and_a_regression_get_no_advice(zoo, op, said, tmp_path):
    graph = zoo.body() if op == "LinearRegressor" else zoo.Graph()
    one = op == "LinearClassifier"
    options = {"classlabels_ints": [0, 1, 2]} if one else {"targets": K}
    graph.add(op, ["x" if one else "z"], ["label", "scores"] if one else "scores",
              domain="ai.onnx.ml", intercepts=B1,
              coefficients=RNG.normal(size=K * (6 if one else D)), **options)  # fmt: skip
    graph.output("scores", ["batch", K])
    with pytest.raises(HeadNotFoundError, match=said) as error:
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert "--logits" not in str(error.value)


# -- several scores ----------------------------------------------------------------------------


def confidence(g):
    gemm(g, "logits", RNG.normal(size=(1, K)), RNG.normal(size=1), "raw", 2)
    g.add("Sigmoid", ["raw"], "other")
    return 1


def linear_confidence(g):
    gemm(g, "logits", RNG.normal(size=(1, K)), RNG.normal(size=1), "other", 2)
    return 1


def coarse(g):
    g.add("Softmax", ["logits"], "fine", axis=1)
    g.add("MatMul", ["fine", g.constant("M", np.eye(K)[:, :2])], "other")
    g.output("fine", ["batch", K])
    return 2


def calibrated(g):
    g.add("Mul", ["logits", g.constant("factor", FACTOR)], "scaled")
    g.add("Softmax", ["scaled"], "other", axis=1)
    return K


@pytest.mark.parametrize("build", [confidence, linear_confidence, coarse, calibrated])
def test_scores_from_another_heads_scores_are_both_named(zoo, build, tmp_path):
    graph = zoo.classifier(K, output=False)
    width = build(graph)
    graph.output("logits", ["batch", K])
    graph.output("other", ["batch", width])
    proto, X = graph.model(), zoo.inputs()
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"'logits' .*--logits") as error:
        FrozenModel.load(path)
    assert any(f"{name!r} (" in str(error.value) for name in ("raw", "other", "scaled"))
    model = FrozenModel.load(path, logits="logits")
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    close(out["logits"], head.decision_function(zoo.embedding(proto, X)), 1e-5)
    assert np.abs(out["other"] - zoo.run(proto, X)["other"]).max() > 1e-3


def test_an_output_of_what_is_inside_the_head_is_named(zoo, tmp_path):
    graph = zoo.body()
    batch_norm(graph)
    graph.add("ReduceMax", ["raw"], "confidence", axes=[1])
    graph.output("confidence", ["batch", 1])
    finish(graph)
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"'confidence' comes from 'raw'.*--logits raw"):
        FrozenModel.load(path)
    for name in ("raw", "logits"):
        assert FrozenModel.load(path, logits=name).logits.name == name


def test_logits_that_are_cut_off_afterwards_are_no_scores(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Relu", ["logits"], "out")
    graph.output("out", ["batch", K])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"'logits' go through Relu .*below 0"):
        FrozenModel.load(path, logits="logits")


# -- Softmax written out -----------------------------------------------------------------------


def jax_softmax(g):
    g.add("ReduceMax", ["logits"], "largest", axes=[1], keepdims=0)
    g.add("Unsqueeze", ["largest", ints(g, "axis", 1)], "column")
    g.add("Identity", ["column"], "stopped")
    g.add("Sub", ["logits", "stopped"], "shifted")
    g.add("Exp", ["shifted"], "powers")
    g.add("ReduceSum", ["powers", ints(g, "sum axis", 1)], "total", keepdims=1)
    g.add("Div", ["powers", "total"], "p")


def bare_softmax(g):
    g.add("Exp", ["logits"], "powers")
    g.add("ReduceSum", ["powers", ints(g, "sum axis", -1)], "total", keepdims=1)
    g.add("Div", ["powers", "total"], "p")


def jax_log_softmax(g):
    g.add("ReduceMax", ["logits"], "largest", axes=[1])
    g.add("Sub", ["logits", "largest"], "shifted")
    g.add("Exp", ["shifted"], "powers")
    g.add("ReduceSum", ["powers", ints(g, "sum axis", 1)], "total", keepdims=1)
    g.add("Log", ["total"], "length")
    g.add("Sub", ["shifted", "length"], "logs")
    g.add("Exp", ["logs"], "p")


@pytest.mark.parametrize("build", [jax_softmax, bare_softmax, jax_log_softmax])
@pytest.mark.parametrize("n_classes", [K, K + 2])
def test_a_softmax_written_out_is_post_processing(zoo, build, n_classes, tmp_path):
    graph = zoo.classifier(K, output=False)
    build(graph)
    graph.output("p", ["batch", K])
    proto, X = graph.model(), zoo.inputs()
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert model.describe()["post_processing"][0].endswith("Softmax")
    assert model.logits.name == "logits"
    Z = zoo.embedding(proto, X)
    close(model.head.predict_proba(Z), zoo.run(proto, X)["p"], 1e-5)
    head = LinearHead(*zoo.weights(n_classes, seed=9), range(n_classes))
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    close(out["p"], head.predict_proba(Z), 1e-5)


def test_a_softmax_written_out_over_samples_is_refused(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Exp", ["logits"], "powers")
    graph.add("ReduceSum", ["powers", ints(graph, "sum axis", 0)], "total", keepdims=1)
    graph.add("Div", ["powers", "total"], "p")
    graph.output("p", ["batch", K])
    with pytest.raises(HeadNotFoundError, match="another axis"):
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))


# -- any composition ---------------------------------------------------------------------------


class Composed:
    """An affine map under construction: a tensor, and what it is of the embedding."""

    def __init__(self, graph, seed):
        self.g, self.rng, self.count = graph, np.random.default_rng(seed), 0
        self.name, self.W, self.b = self.layer()

    def new(self, op, inputs, **attributes):
        self.count += 1
        return self.g.add(op, inputs, f"t{self.count}", **attributes)

    def constant(self, array, dtype=None):
        self.count += 1
        return self.g.constant(f"c{self.count}", array, dtype)

    def layer(self, n_scores=K):
        W, b = self.rng.normal(size=(n_scores, D)), self.rng.normal(size=n_scores)
        name = self.new("Gemm", ["z", self.constant(W), self.constant(b)], transB=1)
        return name, W, b

    def times(self):
        factor = self.rng.uniform(0.5, 2, size=K) * self.rng.choice([-1, 1], size=K)
        self.name = self.new("Mul", [self.constant(factor), self.name])
        self.W, self.b = factor[:, None] * self.W, factor * self.b

    def divided(self):
        self.name = self.new("Div", [self.name, self.constant([2.5])])
        self.W, self.b = self.W / 2.5, self.b / 2.5

    def plus(self):
        shift = self.rng.normal(size=(1, K))
        self.name = self.new("Add", [self.name, self.constant(shift)])
        self.b = self.b + shift[0]

    def minus(self):
        self.name = self.new("Sub", [self.constant(1.5), self.name])
        self.W, self.b = -self.W, 1.5 - self.b

    def negated(self):
        self.name, self.W, self.b = self.new("Neg", [self.name]), -self.W, -self.b

    def normalised(self):
        gain, shift = normalised(self.g, self.name, f"normal{self.count}")
        self.name = f"normal{self.count}"
        self.count += 1
        self.W, self.b = gain[:, None] * self.W, gain * self.b + shift

    def with_another_layer(self):
        other, W, b = self.layer()
        self.name = self.new("Mean", [other, self.name])
        self.W, self.b = (self.W + W) / 2, (self.b + b) / 2

    def low_rank(self):
        a, b = self.rng.normal(size=(D, 2)), self.rng.normal(size=(2, K))
        low = self.new("MatMul", ["z", self.constant(a)])
        self.name = self.new("Add", [self.name, self.new("MatMul", [low, self.constant(b)])])
        self.W = self.W + (a @ b).T

    def turned_and_back(self):
        turned = self.new("Transpose", [self.name], perm=[1, 0])
        self.name = self.new("Transpose", [turned], perm=[1, 0])

    def reshaped(self):
        wide = self.new("Reshape", [self.name, self.constant([0, 1, K, 1], np.int64)])
        self.name = self.new("Reshape", [wide, self.constant([-1, K], np.int64)])

    def classes_moved(self):
        order = self.rng.permutation(K)
        self.name = self.new("Gather", [self.name, self.constant(order, np.int64)], axis=1)
        self.W, self.b = self.W[order], self.b[order]

    def split_and_joined(self):
        first = self.new("Slice", [self.name, *self.range(0, 1)])
        rest = self.new("Slice", [self.name, *self.range(1, K)])
        self.name = self.new("Concat", [rest, first], axis=1)
        self.W, self.b = np.roll(self.W, -1, axis=0), np.roll(self.b, -1)

    def range(self, start, stop):
        return [self.constant([i], np.int64) for i in (start, stop, 1)]

    def cast(self):
        precise = self.new("Cast", [self.name], to=TensorProto.DOUBLE)
        self.name = self.new("Cast", [precise], to=TensorProto.FLOAT)


STEPS = [
    "times", "divided", "plus", "minus", "negated", "normalised", "with_another_layer", "low_rank",
    "turned_and_back", "reshaped", "classes_moved", "split_and_joined", "cast",
]  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=7), seed=st.integers(0, 99))
def test_any_composition_of_affine_operators_is_read_and_exchanged(zoo, steps, seed, tmp_path):
    graph = zoo.body()
    composed = Composed(graph, seed)
    for step in steps:
        getattr(composed, step)()
    graph.add("Softmax", [composed.name], "p", axis=1)
    graph.output("p", ["batch", K])
    proto, X = graph.model(), zoo.inputs()
    try:
        model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    except HeadNotFoundError as error:
        raise AssertionError(str(error)) from None
    Z = zoo.embedding(proto, X)
    close(model.head.coef, composed.W, 1e-5)
    close(model.head.intercept, composed.b, 1e-5)
    close(softmax(model.head.decision_function(Z)), zoo.run(proto, X)["p"], 1e-5)
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = model.with_head(head).save(tmp_path / "new.onnx", force=True)
    close(zoo.run(new, X)["p"], softmax(head.decision_function(Z)), 1e-5)


# -- too large to be a head --------------------------------------------------------------------


def padded_without_end(g):
    gemm(g, "z", W1, B1, "raw")
    g.add("Pad", ["raw", ints(g, "ends", 0, 0, 0, 10**12)], "logits")


def every_product(g):
    gemm(g, "z", W1, B1, "raw")
    many = [g.constant(name, np.ones(5000)) for name in "abcd"]
    g.add("Einsum", ["raw", *many], "logits", equation="nk,a,b,c,d->nkabcd")


def broadcast_without_end(g):
    gemm(g, "z", W1[:1], B1[:1], "raw")
    for i in range(4):
        shape = [1] * 6
        shape[i] = 1000
        g.constant(f"c{i}", np.ones(shape))
    g.add("Sum", ["raw", *(f"c{i}" for i in range(4))], "logits")


@pytest.mark.parametrize("build", [padded_without_end, every_product, broadcast_without_end])
def test_what_would_fill_the_memory_is_refused_before_it_is_made(zoo, build, tmp_path):
    graph = zoo.body()
    build(graph)
    graph.output("logits", None)
    with pytest.raises(HeadNotFoundError, match="too large for a linear layer"):
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))


def test_outputs_that_change_with_the_head_are_told(zoo, tmp_path):
    graph = zoo.body()
    batch_norm(graph)
    finish(graph)
    graph.output("z", ["batch", D])
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert model.describe()["outputs_from_logits"] == ["p"]

"""Heads at every pixel or token, of which the model then chooses one or takes the mean.

Body: input ``x`` (N, 5, 4, 3) or (N, 7, 5) → Relu → ``z``. Both steps are linear, so the embedding
is the choice or mean of ``z``, and the file keeps its order of operators.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError, InputError

K, D = 3, 5
IMAGE, TOKENS = (D, 4, 3), (7, D)


def start(zoo, shape):
    graph = zoo.Graph()
    graph.add("Relu", ["x"], "z")
    graph.shape = shape
    return graph


def finish(graph, width=K, name="logits", rank=2, **options):
    graph.output(name, ["batch", *[width] * (rank > 1), *[1] * (rank - 2)])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *graph.shape])
    return graph.model(inputs=[x], **options)


def images(n_samples=12):
    return np.random.default_rng(3).normal(size=(n_samples, *IMAGE)).astype(np.float32)


def tokens(n_samples=12):
    return np.random.default_rng(3).normal(size=(n_samples, *TOKENS)).astype(np.float32)


def conv(g, W, b, source="z", output="map", **attributes):
    weight = g.constant("w", W.reshape(*W.shape, 1, 1))
    inputs = [source, weight] if b is None else [source, weight, g.constant("b", b)]
    return g.add("Conv", inputs, output, **attributes)


# -- each builds a classifier whose embedding is ``pooled(relu(x))`` ----------------------------


def mean(z):
    return z.mean(axis=(2, 3))


def conv_then_pool(g, W, b):
    conv(g, W, b)
    g.add("GlobalAveragePool", ["map"], "pooled")
    g.add("Flatten", ["pooled"], "logits")


def conv_then_reduce(g, W, b):
    conv(g, W, b)
    g.add("ReduceMean", ["map"], "logits", axes=[-1, -2], keepdims=0)


def conv_then_average_pool(g, W, b):
    conv(g, W, b)
    g.add("AveragePool", ["map"], "pooled", kernel_shape=[4, 3])
    g.add("Reshape", ["pooled", g.constant("flat", [0, -1], np.int64)], "logits")


def pool_then_conv(g, W, b):
    g.add("GlobalAveragePool", ["z"], "pooled")
    conv(g, W, b, "pooled")
    g.add("Squeeze", ["map", g.constant("axes", [2, 3], np.int64)], "logits")


def channels_last(g, W, b):
    conv(g, W, b)
    g.add("Transpose", ["map"], "last", perm=[0, 2, 3, 1])
    g.add("ReduceMean", ["last"], "logits", axes=[1, 2], keepdims=0)


def conv_add(g, W, b):
    conv(g, W, b / 3)
    g.add("Add", ["map", g.constant("more", (b - b / 3).reshape(1, -1, 1, 1))], "sum")
    g.add("GlobalAveragePool", ["sum"], "pooled")
    g.add("Flatten", ["pooled"], "logits")


def scaled_map(g, W, b):
    conv(g, W / 4, b / 4)
    g.add("Mul", ["map", g.constant("four", 4)], "larger")
    g.add("GlobalAveragePool", ["larger"], "pooled")
    g.add("Flatten", ["pooled"], "logits")


def one_pixel(g, W, b):
    conv(g, W, b)
    starts, ends = g.constant("from", [1, 2], np.int64), g.constant("to", [2, 3], np.int64)
    g.add("Slice", ["map", starts, ends, g.constant("axes", [2, 3], np.int64)], "pixel")
    g.add("Flatten", ["pixel"], "logits")


def token_0(g, W, b):
    g.add("MatMul", ["z", g.constant("w", W.T)], "product")
    g.add("Add", ["product", g.constant("b", b)], "scores")
    g.add("Gather", ["scores", g.constant("first", 0, np.int64)], "logits", axis=1)


def token_2_kept(g, W, b):
    g.add("MatMul", ["z", g.constant("w", W.T)], "product")
    g.add("Add", ["product", g.constant("b", b.reshape(1, 1, -1))], "scores")
    g.add("Gather", ["scores", g.constant("which", [2], np.int64)], "chosen", axis=1)
    g.add("Reshape", ["chosen", g.constant("flat", [-1, K], np.int64)], "logits")


def token_mean(g, W, b):
    g.add("MatMul", ["z", g.constant("w", W.T)], "product")
    g.add("Add", ["product", g.constant("b", b)], "scores")
    g.add("ReduceMean", ["scores"], "logits", axes=[1], keepdims=0)


def token_found(g, W, b):
    """The token that the model itself looks for, as decoders choose the last unpadded one."""
    g.add("MatMul", ["z", g.constant("w", W.T)], "scores0")
    g.add("Add", ["scores0", g.constant("b", b)], "scores")
    g.add("ReduceSum", ["x", g.constant("last", [2], np.int64)], "sums", keepdims=0)
    g.add("ArgMax", ["sums"], "where", axis=1, keepdims=1)
    g.add("Shape", ["where"], "shape", end=1)
    g.add("Squeeze", ["shape"], "n")
    zero, one = g.constant("zero", 0, np.int64), g.constant("one", 1, np.int64)
    g.add("Range", [zero, "n", one], "samples")
    g.add("Unsqueeze", ["samples", g.constant("axis", [1], np.int64)], "rows")
    g.add("Concat", ["rows", "where"], "index", axis=1)
    g.add("GatherND", ["scores", "index"], "logits")


def found_token(z):
    return z[np.arange(len(z)), tokens().sum(axis=2).argmax(axis=1)]


FORMS = {
    conv_then_pool: mean,
    conv_then_reduce: mean,
    conv_then_average_pool: mean,
    pool_then_conv: mean,
    channels_last: mean,
    conv_add: mean,
    scaled_map: mean,
    one_pixel: lambda z: z[:, :, 1, 2],
    token_0: lambda z: z[:, 0],
    token_2_kept: lambda z: z[:, 2],
    token_found: found_token,
    token_mean: lambda z: z.mean(axis=1),
}


@pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
def form(request):
    return request.param


@pytest.fixture
def formed(form, zoo):
    """A model, samples, and their embeddings by NumPy."""
    X = tokens() if form.__name__.startswith("token") else images()
    graph = start(zoo, X.shape[1:])
    form(graph, *zoo.weights(K))
    return finish(graph), X, FORMS[form](np.maximum(X, 0))


def test_head_and_embedding_are_what_onnx_runtime_computes(zoo, formed, tmp_path):
    proto, X, Z = formed
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    W, b = zoo.weights(K)
    assert_allclose(model.head.coef, W, rtol=1e-6)
    assert_allclose(model.head.intercept, b, rtol=1e-6)
    embedding = OnnxEmbedder(model, device="cpu").transform(X)
    assert_allclose(embedding, Z, rtol=1e-5, atol=1e-6)
    logits = model.head.decision_function(embedding)
    assert_allclose(zoo.run(proto, X)["logits"], logits, rtol=1e-5, atol=1e-5)
    assert model.embedding.shape[1] == D


def test_a_new_head_changes_initialisers_only(zoo, formed, tmp_path):
    proto, X, Z = formed
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    same = model.with_head(model.head).save(tmp_path / "same.onnx")
    assert_array_equal(zoo.run(same, X)["logits"], zoo.run(proto, X)["logits"])
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = FrozenModel.load(model.with_head(head).save(tmp_path / "new.onnx"))
    assert_allclose(zoo.run(new.path, X)["logits"], head.decision_function(Z), rtol=1e-4, atol=1e-5)
    assert new.nodes == model.nodes
    assert (new.inputs, new.outputs) == (model.inputs, model.outputs)


def test_more_classes_fit_or_are_refused(zoo, form, formed, tmp_path):
    proto, X, Z = formed
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(K + 2, seed=9), range(K + 2))
    if form is token_2_kept:
        with pytest.raises(InputError, match="does not work with a head of 5 logits"):
            model.with_head(head)  # a Reshape made for three classes
        return
    new = model.with_head(head).save(tmp_path / "new.onnx")
    logits = zoo.run(new, X)["logits"]
    assert_allclose(logits, head.decision_function(Z), rtol=1e-4, atol=1e-5)
    assert FrozenModel.load(new).outputs[0].shape == ("batch", K + 2)


def test_a_convolution_without_a_bias_gets_one(zoo, tmp_path):
    graph = start(zoo, IMAGE)
    conv(graph, zoo.weights(K)[0], None)
    graph.add("GlobalAveragePool", ["map"], "pooled")
    graph.add("Flatten", ["pooled"], "logits")
    model = FrozenModel.load(zoo.save(finish(graph), tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = model.with_head(head).save(tmp_path / "new.onnx")
    X = images()
    expected = head.decision_function(mean(np.maximum(X, 0)))
    assert_allclose(zoo.run(new, X)["logits"], expected, rtol=1e-4, atol=1e-5)
    assert FrozenModel.load(new).nodes == model.nodes


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"strides": [2, 2]}, "mixes positions"),
        ({"pads": [1, 1, 1, 1]}, "mixes positions"),
    ],
)
def test_a_convolution_that_looks_around_is_refused(zoo, attributes, said, tmp_path):
    graph = start(zoo, IMAGE)
    conv(graph, *zoo.weights(K), **attributes)
    graph.add("GlobalAveragePool", ["map"], "pooled")
    graph.add("Flatten", ["pooled"], "logits")
    with pytest.raises(HeadNotFoundError, match=said):
        FrozenModel.load(zoo.save(finish(graph), tmp_path / "m.onnx"))


# -- what is not one score per sample and class -------------------------------------------------


def per_pixel(g):
    conv(g, *weights)
    g.add("Softmax", ["map"], "logits", axis=1)


def per_pixel_decided(g):
    conv(g, *weights)
    g.add("ArgMax", ["map"], "logits", axis=1)


def per_token(g):
    g.add("MatMul", ["z", g.constant("w", weights[0].T)], "logits")


def every_pixel_a_class(g):
    conv(g, *weights)
    g.add("Flatten", ["map"], "logits")


def two_tokens(g):
    g.add("MatMul", ["z", g.constant("w", weights[0].T)], "scores")
    g.add("Gather", ["scores", g.constant("which", [0, 1], np.int64)], "logits", axis=1)


def mean_over_samples(g):
    conv(g, *weights)
    g.add("ReduceMean", ["map"], "logits", axes=[0, 2, 3], keepdims=0)


def mean_over_classes(g):
    conv(g, *weights)
    g.add("ReduceMean", ["map"], "logits", axes=[1, 2], keepdims=0)


def largest_pixel(g):
    conv(g, *weights)
    g.add("GlobalMaxPool", ["map"], "p")
    g.add("Flatten", ["p"], "logits")


weights = np.random.default_rng(1).normal(size=(K, D)), np.ones(K)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (per_pixel, "scores every position"),
        (per_pixel_decided, "scores every position"),
        (per_token, "scores every position"),
        (every_pixel_a_class, "every position"),
        (two_tokens, "every position"),
        (mean_over_samples, "ReduceMean .*mixes samples"),
        (mean_over_classes, "every position"),
        (largest_pixel, "GlobalMaxPool"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_scores_no_sample_is_refused(zoo, build, said, tmp_path):
    graph = start(zoo, TOKENS if "token" in build.__name__ else IMAGE)
    build(graph)
    graph.output("logits", None)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *graph.shape])
    path = zoo.save(graph.model(inputs=[x]), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=said) as error:
        FrozenModel.load(path)
    assert "\n" not in str(error.value)


def test_a_map_shown_as_an_output_too_keeps_its_width(zoo, tmp_path):
    graph = start(zoo, IMAGE)
    conv_then_pool(graph, *zoo.weights(K))
    graph.output("map", ["batch", K, 4, 3])
    model = FrozenModel.load(zoo.save(finish(graph), tmp_path / "m.onnx"))
    with pytest.raises(InputError, match="at every position"):
        model.with_head(LinearHead(*zoo.weights(K + 1), range(K + 1)))

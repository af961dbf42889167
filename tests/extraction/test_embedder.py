"""OnnxEmbedder gives ONNX Runtime's own intermediate tensor, however the samples arrive."""

import pickle

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError, ModelError
from ntkit.extraction.runner import run_batches
from ntkit.extraction.session import make_session

K = 3


@pytest.fixture
def path(model):
    return model.path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_embedding_is_onnx_runtimes_own_tensor(zoo, dtype, tmp_path):
    proto, X = zoo.classifier(K, dtype), zoo.inputs(dtype=dtype)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    Z = OnnxEmbedder(model, device="cpu").transform(X)
    assert Z.dtype == (np.float64 if dtype == np.float64 else np.float32)
    wanted = zoo.embedding(proto, X).astype(Z.dtype)
    assert_array_equal(Z, wanted)
    for batch_size in (1, 7, 39, 40, 41, 1000):
        embedder = OnnxEmbedder(model, device="cpu", batch_size=batch_size)
        assert_allclose(embedder.transform(X), wanted, rtol=2e-3 if dtype == np.float16 else 1e-6,
                        atol=1e-7)  # fmt: skip


def test_a_fixed_batch_size_is_kept_and_the_last_batch_padded(zoo, tmp_path):
    outputs = {"logits": [4, K], "mean": []}
    proto = zoo.built("mean = ReduceMean(logits, keepdims=0)", "classifier", outputs, batch=4)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), logits="logits")
    for n_samples in (1, 3, 4, 8, 10):
        X = zoo.inputs(n_samples)
        Z = OnnxEmbedder(model, device="cpu").transform(X)
        assert_allclose(Z, zoo.embedding(zoo.classifier(K), X), rtol=1e-6, atol=1e-7)
    session = make_session(proto.SerializeToString(), device="cpu")
    (_, mean), (rest, _) = run_batches(session, zoo.inputs(6))
    assert mean.shape == ()  # what is not per sample is left as it is
    assert rest.shape == (2, K)


def test_several_inputs_come_as_a_mapping(zoo, tmp_path):
    graph = zoo.body()
    text = "both = Concat(z, Gather(np.arange(10.0), ids), axis=1)\n"
    graph.output(graph.write(text + "logits = Gemm(both, np.ones((7, 3)))"), ["batch", K])
    proto = graph.model([zoo.value("x", ["batch", 6]), zoo.value("ids", ["batch", 2], zoo.INT64)])
    model = FrozenModel.load(zoo.save(proto, tmp_path / "two.onnx"))
    X = {"ids": np.arange(80).reshape(40, 2) % 10, "x": zoo.inputs(), "unused": None}
    feed = {name: X[name] for name in ("ids", "x")}
    Z = OnnxEmbedder(model, device="cpu", batch_size=16).transform(X)
    assert_allclose(Z, zoo.embedding(proto, feed, "both"), rtol=1e-6)
    embedder = OnnxEmbedder(model, device="cpu")
    with pytest.raises(InputError, match=r"has the inputs \['x', 'ids'\]; pass a mapping"):
        embedder.transform(X["x"])
    with pytest.raises(InputError, match="also needs the input 'ids'"):
        embedder.transform({"x": X["x"]})
    with pytest.raises(InputError, match="differ in length"):
        embedder.transform({"x": X["x"], "ids": X["ids"][:39]})
    X["ids"][37] = 99
    embedder.set_params(batch_size=20)
    with pytest.raises(InputError, match=r"failed on samples 20 to 39: .*out of.*bounds") as error:
        embedder.transform(X)
    assert "\n" not in str(error.value)


def test_numbers_are_cast_to_what_the_model_takes(zoo, model, path):
    for kind in (np.float64, np.float16, np.uint8, np.int64, bool):
        X = (zoo.inputs() * 10).clip(0).astype(kind)
        wanted = zoo.embedding(onnx.load(path), X.astype(np.float32))
        for given in (X, X.tolist()):
            assert_array_equal(OnnxEmbedder(model, device="cpu").transform(given), wanted)


def test_numbers_an_integer_input_cannot_hold_are_not_rounded_in_silence(zoo, tmp_path):
    graph = zoo.Graph()
    W = np.random.default_rng(0).normal(size=(6, 5))
    graph.write("z = MatMul(Cast(x, to=FLOAT), W)\nlogits = Gemm(z, np.ones((5, 3)))", W=W)
    graph.output("logits", ["batch", K])
    proto = graph.model([zoo.value("x", ["batch", 6], TensorProto.UINT8)])
    model = FrozenModel.load(zoo.save(proto, tmp_path / "bytes.onnx"))
    embedder, whole = OnnxEmbedder(model, device="cpu"), np.arange(24.0).reshape(4, 6)
    assert_array_equal(embedder.transform(whole), embedder.transform(whole.astype(np.uint8)))
    for bad in (whole / 255, whole + 240, -whole, np.full((4, 6), np.nan)):
        with pytest.raises(InputError, match=r"'x' has type uint8.*preprocess them"):
            embedder.transform(bad)


@pytest.mark.parametrize(
    ("X", "options", "words"),
    [
        *((np.zeros(shape, np.float32), {}, rf"'x' has shape \(batch, 6\), .*shape {shown}")
          for shape, shown in (((4, 5), r"\(N, 5\)"), ((4,), r"\(N\)"), ((4, 6, 1), r"\(N, 6, 1"))),
        *((X, {}, "one row per sample") for X in (3.5, np.float32(1), None, iter([1]))),
        (np.full((2, 6), "a"), {}, "'x' is numeric; got <U1 values"),
        *((np.zeros((4, 6)), {"batch_size": n}, "batch_size must be a number of at least 1")
          for n in (0, -1, "auto")),
        *((np.zeros((4, 6)), {"threads": n}, "threads must be at least 1") for n in (0, True)),
        *((np.zeros((4, 6)), {"device": name}, "device must be one of auto, cpu, cuda, tensorrt")
          for name in ("gpu", "CUDA", "", None)),
    ],
)  # fmt: skip
def test_inputs_and_settings_that_are_refused(model, X, options, words):
    with pytest.raises(InputError, match=words):
        OnnxEmbedder(model, **{"device": "cpu", **options}).transform(X)


def test_samples_with_a_nan_embedding_are_named_by_row(zoo, model):
    for bad in (np.nan, np.inf):
        X = zoo.inputs(40)
        X[[17, 31]] = bad
        for size, words in (
            (20, r"of at least 1 sample\(s\) .* \(rows \[17\]\)"),
            (40, r"\(rows \[17, 31\]\)"),
        ):
            with pytest.raises(InputError, match=words):
                OnnxEmbedder(model, device="cpu", batch_size=size).transform(X)


def test_an_embedding_that_is_no_row_per_sample_is_refused(zoo, tmp_path):
    text = "flat = Reshape(z, [-1, 1])\ncube = Unsqueeze(z, [2])\n"
    text += "constant = Identity(np.ones((1, 5)))"
    proto = zoo.built(text, outputs=dict.fromkeys(("flat", "cube", "z")))
    path = zoo.save(proto, tmp_path / "m.onnx")
    for name in ("flat", "cube"):
        embedder = OnnxEmbedder(FrozenModel.load(path, embedding=name), device="cpu")
        with pytest.raises(InputError, match="--embedding NAME"):
            embedder.transform(zoo.inputs())
    constant = OnnxEmbedder(FrozenModel.load(path, embedding="constant"), device="cpu")
    with pytest.raises(ModelError, match="none of its inputs"):
        constant.transform(zoo.inputs())
    with pytest.raises(InputError, match="the number of neurons"):
        OnnxEmbedder(FrozenModel.load(path, embedding="z")).get_feature_names_out()


# -- scikit-learn -----------------------------------------------------------------------------


def test_it_stands_in_a_pipeline_and_needs_no_fit(zoo, model, path):
    X, y = zoo.inputs(), np.arange(40) % 2
    embedder = OnnxEmbedder(path, device="cpu")
    before, Z = embedder.get_params(), embedder.transform(X)
    assert embedder.get_params() == before
    assert not get_tags(embedder).requires_fit
    assert embedder.fit(X) is embedder
    assert_array_equal(embedder.fit_transform(X), Z)
    pipeline = make_pipeline(OnnxEmbedder(model, device="cpu"), LogisticRegression()).fit(X, y)
    wanted = LogisticRegression().fit(zoo.embedding(onnx.load(path), X), y).predict_proba
    assert_allclose(pipeline.predict_proba(X), wanted(Z), atol=1e-6)
    for copy in (clone(pipeline).fit(X, y), pickle.loads(pickle.dumps(pipeline))):
        assert_array_equal(copy.predict_proba(X), pipeline.predict_proba(X))
    assert pipeline[:-1].get_feature_names_out().tolist() == [f"neuron{i}" for i in range(5)]


def test_another_model_is_another_session(zoo, model, path, tmp_path):
    X = zoo.inputs()
    embedder = OnnxEmbedder(model, device="cpu")
    first = embedder.transform(X)
    graph = zoo.body(seed=5)
    graph.output(graph.write("logits = Gemm(z, np.ones((5, 3)))"), ["batch", K])
    other = zoo.save(graph.model(), tmp_path / "other.onnx")
    for value in (FrozenModel.load(other), other, str(other)):
        embedder.set_params(model=value)
        assert_array_equal(embedder.transform(X), zoo.embedding(graph.model(), X))
    assert_array_equal(embedder.set_params(model=path).transform(X), first)

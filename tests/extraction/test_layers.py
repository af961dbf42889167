"""Earlier layers in the same pass: which are read, and that what is read is what ONNX computes."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing, Texts
from ntkit.extraction.embedder import embedded_with_layers
from tests import models
from tests.texts import text_model, word_pieces

RNG = np.random.default_rng(0)
X = RNG.normal(size=(11, 3, 8, 6)).astype(np.float32)


def network(tmp_path, n_blocks=2, *, opset=17, dtype=np.float32, residual=False, batch="batch"):
    """Convolutions with ReLU, added to what they were given or not; the mean of pixels; a head."""
    graph, last = models.Graph(np.dtype(dtype)), "x"
    for i in range(n_blocks):
        w = RNG.normal(size=(4, 4 if i else 3, 3, 3)) / 4
        out = graph.write(f"c{i} = Conv({last}, w, pads=[1, 1, 1, 1])", w=w)
        if residual and i:
            out = graph.write(f"a{i} = Add({out}, {last})")
        last = graph.write(f"r{i} = Relu({out})")
    text = f"pooled = GlobalAveragePool({last})\nz = Flatten(pooled)\n"
    graph.write(text + "logits = Gemm(z, fc, transB=1)", fc=RNG.normal(size=(2, 4)))
    graph.output("logits", [batch, 2])
    inputs = [models.value("x", [batch, 3, 8, 6], models.FLOAT[np.dtype(dtype)])]
    proto = graph.model(inputs, opset=opset)
    return proto, FrozenModel.load(models.save(proto, tmp_path / "m.onnx"))


@pytest.mark.parametrize("opset", [11, 13, 17, 18])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_means_and_deviations_are_those_of_the_activations(tmp_path, opset, dtype):
    proto, model = network(tmp_path, 3, opset=opset, dtype=dtype)
    inputs = X.astype(dtype)
    found = embedded_with_layers(OnnxEmbedder(model, device="cpu", batch_size=4), inputs)
    assert list(found.layers) == ["relu_1", "relu_2"]  # the embedding is the mean of the third
    inner = models.run(models.with_outputs(proto, "r0", "r1"), inputs, ["r0", "r1"])
    tolerance = 1e-5 if dtype == np.float32 else 2e-3
    for values, tensor in zip(found.layers.values(), inner.values(), strict=True):
        pixels = tensor.astype(np.float64).reshape(len(X), 4, -1)
        expected = np.concatenate([pixels.mean(axis=2), pixels.std(axis=2)], axis=1)
        np.testing.assert_allclose(values, expected, atol=tolerance)
        assert values.dtype == np.float32
    Z = OnnxEmbedder(model, device="cpu").transform(inputs)
    np.testing.assert_allclose(found.Z, Z, atol=tolerance)


def test_ends_of_blocks_spread_over_the_depth(tmp_path):
    _, model = network(tmp_path, 14, residual=True)
    found = embedded_with_layers(OnnxEmbedder(model, device="cpu"), X)
    assert len(found.layers) == 6
    numbers = [int(name.split("_")[1]) for name in found.layers]
    assert (numbers[0], numbers[-1]) == (2, 13)  # of the second block's sum, and the last but one's
    assert max(np.diff(numbers)) <= 3
    assert list(embedded_with_layers(OnnxEmbedder(model, device="cpu"), X, most=2).layers) == [
        "relu_2", "relu_13",
    ]  # fmt: skip
    assert not embedded_with_layers(OnnxEmbedder(model, device="cpu"), X, most=0).layers


def test_a_norm_that_adds_ends_a_block_too(tmp_path):
    """SkipLayerNormalization, as ONNX Runtime's optimiser writes transformers."""
    graph, kind = models.Graph(), TensorProto.FLOAT
    last = graph.write("m0 = MatMul(x, w)", w=RNG.normal(size=(4, 4)))
    for i in range(4):
        names = [graph.constant(f"{name}{i}", np.ones(4)) for name in ("gamma", "beta")]
        inputs = [last, "m0", *names]
        graph.add("SkipLayerNormalization", inputs, f"s{i}", domain="com.microsoft")
        last = graph.write(f"r{i} = Relu(s{i})")
    text = f"z = ReduceMean({last}, axes=[1], keepdims=0)\nlogits = Gemm(z, fc, transB=1)"
    graph.write(text, fc=RNG.normal(size=(2, 4)))
    graph.output("logits", ["batch", 2])
    proto = graph.model([models.value("x", ["batch", 5, 4], kind)])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    proto.graph.value_info.extend(models.value(f"s{i}", ["batch", 5, 4], kind) for i in range(4))
    model = FrozenModel.load(models.save(proto, tmp_path / "m.onnx"))
    inputs = RNG.normal(size=(6, 5, 4)).astype(np.float32)
    layers = [*embedded_with_layers(OnnxEmbedder(model, device="cpu"), inputs).layers]
    assert layers == [f"skiplayernormalization_{i}" for i in (1, 2, 3, 4)]


def test_padding_of_texts_does_not_count(tmp_path):
    pytest.importorskip("tokenizers")
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    text_model(tmp_path)
    proto = models.onnx.load(tmp_path / "model.onnx")
    proto.graph.node.append(helper.make_node("Tanh", ["hidden"], ["turned"]))
    del proto.graph.output[:]
    proto.graph.output.append(models.value("turned", ["batch", "tokens", 6]))
    path = models.save(proto, tmp_path / "tanh.onnx")
    model = FrozenModel.load(path, embedding="turned", pooling="mean")
    steps = TextPreprocessing(tmp_path / "tokenizer.json")
    short, long = "the dog", "the quick brown fox jumps over a lazy dog , a dog , a fox ."
    alone, both = (
        embedded_with_layers(OnnxEmbedder(model, device="cpu", batch_size=2), Texts(texts, steps))
        for texts in ([short], [short, long])
    )
    (name,) = both.layers
    assert name == "tanh_1"
    np.testing.assert_allclose(both.layers[name][0], alone.layers[name][0], atol=1e-6)
    np.testing.assert_allclose(both.layers[name][:, :6], both.Z, atol=1e-6)
    assert (both.layers[name][:, 6:] > 0.1).any()


def test_tables_batches_of_fixed_size_and_samples_that_do_not_fit(tmp_path):
    table = FrozenModel.load(models.save(models.classifier(), tmp_path / "t.onnx"))
    found = embedded_with_layers(OnnxEmbedder(table, device="cpu"), models.inputs())
    assert (found.layers, found.Z.shape) == ({}, (40, 5))
    _, fixed = network(tmp_path, 3, batch=4)
    found = embedded_with_layers(OnnxEmbedder(fixed, device="cpu"), X)
    assert {values.shape for values in found.layers.values()} == {(11, 8)}
    for bad, words in ((X[:, :2], "has shape"), (np.full_like(X, np.nan), "NaN")):
        with pytest.raises(InputError, match=words):
            embedded_with_layers(OnnxEmbedder(network(tmp_path)[1], device="cpu"), bad)

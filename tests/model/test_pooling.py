"""Pooling appended to a backbone computes what NumPy does, and lasts through a new head.

Body: input ``x`` (N, T, 6), perhaps a mask (N, T) → MatMul, Relu → ``hidden`` (N, T, 5).
"""

import pickle

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import HeadNotFoundError, InputError
from ntkit.verification import save_verified

D = 5
POOLED = {"cls": "ntkit.pooled.cls.hidden", "mean": "ntkit.pooled.mean.hidden"}


def backbone(zoo, *, dtype=np.float32, masks=("attention_mask",), mask_type=TensorProto.INT64,
             mask_shape=("batch", "tokens"), head=False, typed=True, **options):  # fmt: skip
    graph = zoo.Graph(np.dtype(dtype))
    w, fc = (np.random.default_rng(i).normal(size=(6 - i, D - 2 * i)) for i in (0, 1))
    graph.write("hidden = Relu(MatMul(x, w))", w=w)
    if head:
        graph.write("logits = Gather(MatMul(hidden, fc), 0, axis=1)", fc=fc)
        graph.output("logits", ["batch", 3])
    if typed:
        graph.output("hidden", ["batch", "tokens", D])
    elif not head:
        graph.write("end = Softmax(hidden, axis=2)")
        graph.output("end", ["batch", "tokens", D])
    shape = ["batch", "tokens", 6]
    inputs = [helper.make_tensor_value_info("x", zoo.FLOAT[np.dtype(dtype)], shape)]
    inputs += [helper.make_tensor_value_info(name, mask_type, mask_shape) for name in masks]
    return graph.model(inputs, **options)


def loaded(zoo, folder, *, embedding="hidden", pooling="mean", logits=None, **options):
    path = zoo.save(backbone(zoo, **options), folder / "m.onnx")
    return FrozenModel.load(path, embedding=embedding, pooling=pooling, logits=logits)


def samples(dtype=np.float32, n=7, n_tokens=9):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, n_tokens, 6)).astype(dtype)
    mask = (np.arange(n_tokens) < rng.integers(1, n_tokens + 1, size=(n, 1))).astype(np.int64)
    return x, mask


def hidden(x):
    w = np.random.default_rng(0).normal(size=(6, D)).astype(x.dtype)
    return np.maximum(x.astype(np.float64) @ w.astype(np.float64), 0)


def mean(x, mask):
    return (hidden(x) * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)


def embedded(model, *feeds):
    names = [info.name for info in model.inputs]
    return OnnxEmbedder(model, device="cpu").transform(dict(zip(names, feeds, strict=True)))


def random_head(classes=("a", "b", "c")):
    rng = np.random.default_rng(5)
    n = len(classes)
    return LinearHead(rng.normal(size=(n, D)), rng.normal(size=n), np.asarray(classes))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 20])
def test_the_pooled_embedding_in_every_operator_set(zoo, tmp_path, opset, dtype):
    x, mask = samples(dtype)
    tolerance = {"float16": 5e-3, "float32": 1e-5, "float64": 1e-12}[np.dtype(dtype).name]
    wanted = {"float64": "double"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    for pooling, masks, expected in (
        ("mean", ("attention_mask",), mean(x, mask)),
        ("mean", (), hidden(x).mean(axis=1)),
        ("cls", ("attention_mask",), hidden(x)[:, 0]),
    ):
        model = loaded(zoo, tmp_path, opset=opset, dtype=dtype, pooling=pooling, masks=masks)
        found = embedded(model, x, *[mask for _ in masks])
        assert_allclose(found, expected, atol=tolerance)
        onnx.checker.check_model(model.to_proto(), full_check=True)
        assert model.head is None
        assert model.embedding.name == POOLED[pooling]
        assert (model.embedding.shape, model.embedding.dtype) == (("batch", D), wanted)


def test_a_mask_of_any_type_and_of_several_the_attention_mask(zoo, tmp_path):
    x, mask = samples()
    for kind, masks in (
        *((getattr(TensorProto, k), ("input_mask",)) for k in ("INT32", "BOOL", "FLOAT", "UINT8")),
        (TensorProto.INT64, ("decoder_mask", "attention_mask")),
    ):
        model = loaded(zoo, tmp_path, masks=masks, mask_type=kind)
        feeds = {"x": x, masks[-1]: mask.astype(helper.tensor_dtype_to_np_dtype(kind))}
        assert_allclose(zoo.run(model.body(), feeds)[POOLED["mean"]], mean(x, mask), atol=1e-5)


def test_samples_without_tokens_and_with_many(zoo, tmp_path):
    model = loaded(zoo, tmp_path, dtype=np.float16)
    x, mask = samples(np.float16)
    mask[2] = 0
    assert_array_equal(embedded(model, x, mask)[2], np.zeros(D))
    x, mask = np.full((1, 2000, 6), 60, np.float16), np.ones((1, 2000), np.int64)
    assert hidden(x).sum(axis=1).max() > np.finfo(np.float16).max  # the mean does not overflow
    assert_allclose(embedded(model, x, mask), mean(x, mask), rtol=0.02)


def test_types_and_shapes_that_the_file_leaves_out_are_inferred(zoo, tmp_path):
    for dtype in (np.float16, np.float32):
        model = loaded(zoo, tmp_path, dtype=dtype, typed=False)
        x, mask = samples(dtype)
        assert_allclose(embedded(model, x, mask), mean(x, mask), atol=5e-3)
        assert model.embedding.shape == ("batch", D)
    model = loaded(zoo, tmp_path, opset=11, ir_version=3, mask_type=TensorProto.INT32)
    assert [info.name for info in model.inputs] == ["x", "attention_mask"]


# -- the pooled model is a FrozenModel like any other -------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_new_head_is_written_and_found_again(zoo, tmp_path, pooling):
    model = loaded(zoo, tmp_path, pooling=pooling)
    head = random_head()
    x, mask = samples()
    given = model.with_head(head)
    feeds = {"x": x, "attention_mask": mask}
    save_verified(given, tmp_path / "out.onnx", original=model, X=feeds, head=head, device="cpu")
    by_itself = FrozenModel.load(tmp_path / "out.onnx")
    asked_again = FrozenModel.load(tmp_path / "out.onnx", **model.located_by)
    for found in (given, by_itself, asked_again):
        assert_allclose(found.head.coef, head.coef, rtol=1e-6)
        assert found.head.classes.tolist() == ["a", "b", "c"]
        assert found.embedding.name == POOLED[pooling]
    copies = [pickle.loads(pickle.dumps(one)) for one in (model, given)]
    for copy, one in zip(copies, (model, given), strict=True):
        assert (copy.nodes, copy.located_by, copy.head) == (one.nodes, one.located_by, one.head)
        assert_array_equal(embedded(copy, x, mask), embedded(one, x, mask))
    assert asked_again.nodes == by_itself.nodes == given.nodes
    logits = zoo.run(tmp_path / "out.onnx", feeds)["logits"]
    Z = embedded(model, x, mask)
    assert_allclose(logits, head.decision_function(Z), atol=1e-5)
    second = by_itself.with_head(random_head(("a", "b")))
    assert second.head.n_logits == 2


def test_a_pooled_head_is_found_in_the_file_that_was_quantised(zoo, tmp_path):
    head, (x, mask) = random_head(), samples(n=64)
    loaded(zoo, tmp_path).with_head(head).save(tmp_path / "out.onnx")
    batches = iter([{"x": x, "attention_mask": mask}])

    class Calibration(CalibrationDataReader):
        def get_next(self):
            return next(batches, None)

    quantize_static(tmp_path / "out.onnx", tmp_path / "int8.onnx", Calibration())
    found = FrozenModel.load(tmp_path / "int8.onnx")
    assert found.head is not None
    logits = zoo.run(tmp_path / "int8.onnx", {"x": x, "attention_mask": mask})["logits"]
    Z = embedded(found, x, mask)
    assert_allclose(found.head.decision_function(Z), logits, atol=0.1 * np.abs(logits).max())
    assert_allclose(found.head.coef, head.coef, atol=0.02 * np.abs(head.coef).max())


def test_the_graph_before_the_pooling_stays_as_it_is(zoo, tmp_path):
    proto = backbone(zoo)
    model = FrozenModel.load(
        zoo.save(proto, tmp_path / "m.onnx"), embedding="hidden", pooling="mean"
    )
    written = model.to_proto()
    assert zoo.node_list(written)[: len(proto.graph.node)] == zoo.node_list(proto)
    assert written.graph.output == proto.graph.output
    assert zoo.initializers(written) == zoo.initializers(proto)
    assert model.sha256() == FrozenModel.load(tmp_path / "m.onnx", embedding="hidden").sha256()


def test_each_pooling_and_tensor_has_a_name_of_its_own(zoo, tmp_path):
    loaded(zoo, tmp_path, pooling="cls").with_head(random_head()).save(tmp_path / "cls.onnx")
    both = FrozenModel.load(tmp_path / "cls.onnx", embedding="hidden", pooling="mean")
    assert both.embedding.name == POOLED["mean"]
    assert both.head is None
    x, mask = samples()
    assert_allclose(embedded(both, x, mask), mean(x, mask), atol=1e-5)


def test_a_head_of_the_models_own_is_left_alone(zoo, tmp_path):
    model = loaded(zoo, tmp_path, head=True)
    assert model.head is None
    head = random_head()
    x, mask = samples()
    written = model.with_head(head).save(tmp_path / "out.onnx")
    outputs = zoo.run(written, {"x": x, "attention_mask": mask})
    assert_allclose(outputs["logits_1"], head.decision_function(mean(x, mask)), atol=1e-4)
    before = zoo.run(tmp_path / "m.onnx", {"x": x, "attention_mask": mask})
    assert_array_equal(outputs["logits"], before["logits"])
    assert FrozenModel.load(written).head == model.with_head(head).head  # the file says which
    proto = onnx.load(written)
    del proto.metadata_props[:]
    onnx.save(proto, written)
    with pytest.raises(HeadNotFoundError, match="Two or more"):
        FrozenModel.load(written)
    assert FrozenModel.load(written, logits="logits_1").head.n_logits == 3
    assert_allclose(FrozenModel.load(written, **model.located_by).head.coef, head.coef, rtol=1e-6)


def test_a_backbone_inside_a_function_of_the_model(zoo, tmp_path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    nodes = [helper.make_node("Relu", ["x"], ["inner"]), helper.make_node("Neg", ["inner"], ["y"])]
    function = helper.make_function("own", "block", ["x"], ["y"], nodes, opsets[:1])
    shape = ["batch", "tokens", D]
    graph = helper.make_graph(
        [helper.make_node("block", ["x"], ["out"], domain="own", name="call")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
    )
    proto = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    path = zoo.save(proto, tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(3, 4, D)).astype(np.float32)
    model = FrozenModel.load(path, embedding="out", pooling="mean")
    assert_allclose(embedded(model, x), -np.maximum(x, 0).mean(axis=1), atol=1e-6)


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"embedding": None}, InputError, "needs the tensor to pool; name it with --embedding"),
        ({"pooling": "max"}, InputError, "one of cls, mean; got 'max'"),
        ({"embedding": "nothing"}, HeadNotFoundError, "no tensor 'nothing'"),
        ({"embedding": "attention_mask"}, InputError, r"one vector .* 'attention_mask' has the"),
        ({"masks": ("mask_a", "mask_b")}, InputError, r"the masks \['mask_a', 'mask_b'\]"),
        ({"mask_shape": ("batch", 1, 1, "tokens")}, InputError, "not one number for each token"),
        ({"opset": 7, "ir_version": 3}, InputError, "operator set 8 or newer"),
        ({"head": True, "logits": "logits"}, HeadNotFoundError, "name only one of the two"),
    ],
)
def test_what_cannot_be_pooled_is_named(zoo, tmp_path, options, error, said):
    with pytest.raises(error, match=said) as caught:
        loaded(zoo, tmp_path, **options)
    assert "\n" not in str(caught.value)
    path = zoo.save(zoo.classifier(3), tmp_path / "plain.onnx")
    with pytest.raises(InputError, match=r"'z' has the shape .*leave out --pooling"):
        FrozenModel.load(path, embedding="z", pooling="mean")

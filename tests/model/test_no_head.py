"""What is close to a head and is none: refused by name, and by what is wrong with it.

Each row is a program (see tests/models.py) that ONNX Runtime runs, unless it says otherwise.
"""

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import HeadNotFoundError, InputError, VerificationError
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.head_check import check_head
from ntkit.verification import save_verified
from tests import models as zoo
from tests.model.test_heads import ARRAYS, BARE, CONV, RAW, K, near

OTHER = "Gemm(z, W2, B2, transB=1)"
TWO, GATED = f"{RAW}, {OTHER}", f"Mul({RAW}, Sigmoid({OTHER}))"
P = "Softmax(logits, axis=1)"
BACKWARDS = f"""
where = ArgMax(ReduceSum(x, [2], keepdims=0), axis=1, keepdims=1)
scores = {BARE}
n = Squeeze(Shape(x, end=1))
back = Sub(Sub(n, Range(0, n, 1)), 1)
"""
DYNAMIC = "zq, s, zero = DynamicQuantizeLinear(z)\n"
COMPUTED = "Mul .*two computed tensors"
SIGN = "Clip .*which cuts off scores of one sign"
ADVICE = r".*--logits NAME"
NOT_AFFINE = {
    "Relu": (f"logits = Mul(Relu({RAW}), FACTOR)", "Relu" + ADVICE),
    "the scale of the batch": (f"{DYNAMIC}logits = Mul({RAW}, s)", COMPUTED),
    "integers without their scale": (
        f"{DYNAMIC}logits = Mul(Cast(MatMulInteger(zq, i1(WHOLE.T), zero), to=FLOAT), 0.1)",
        "MatMulInteger"),
    "a Cast to int32": (
        f"logits = Mul(Cast(Cast({RAW}, to=INT32), to=FLOAT), FACTOR)", "Cast .*whole numbers"),
    "masked by the samples": (
        f"raw = {RAW}\nlogits = Where(Greater(raw, 0.0), raw, -9.0)",
        "Where .*computed condition"),
    "the largest of two": (f"logits = Max({TWO})", "Max"),
    "one of them gated": (f"logits = Add({GATED}, {OTHER})", COMPUTED),
    "a product of two": (f"logits = Mul({TWO})", COMPUTED),
    "a square": (f"raw = {RAW}\nlogits = Mul(raw, raw)", COMPUTED + ADVICE),
    "a quotient": (f"raw = {RAW}\nlogits = Div(raw, Abs(raw))", "Div .*two computed tensors"),
    "gated": (f"logits = Add({GATED}, SHIFT)", COMPUTED),
    "a Softmax inside": (f"logits = Sub(Softmax({RAW}, axis=1), SHIFT)", "Softmax|Gemm"),
    "a computed bias": (f"logits = Add({RAW}, Slice(Tanh(h), [0], [3], [1]))", "Tanh"),
    "computed classes": (f"""
        three = Slice(ArgMax(x, axis=0, keepdims=0), [0], [3])
        logits = Gather({RAW}, Mod(three, [3]), axis=1)""", "Gather over the classes"),
    "an order of its own": (
        f"raw = {RAW}\nsorted, order = TopK(raw, [3], axis=1)\n"
        "logits = GatherElements(raw, order, axis=1)", "GatherElements"),
    "in training mode": (
        f"logits, m, v = BatchNormalization({RAW}, FACTOR, SHIFT, MEAN, VAR, training_mode=1)",
        "BatchNormalization .*training mode"),
    "the largest subtracted": (
        f"raw = {RAW}\nlogits = Sub(raw, ReduceMax(raw, axes=[1]))", "ReduceMax"),
    "normalised": (
        f"raw = {RAW}\nlogits = Div(raw, ReduceL2(raw, axes=[1]))", "Div .*two computed tensors"),
    "computed weights": (
        'logits = Einsum(z, z, np.ones((3, 5, 5)), equation="na,nb,kab->nk")',
        "Einsum .*two computed tensors"),
    "MatMul of two": (f"raw = {RAW}\nlogits = MatMul(raw, Transpose(raw))", "MatMul .*computed w"),
    "Gemm of two": (f"raw = {RAW}\nlogits = Gemm(raw, Transpose(raw))", "Gemm .*computed weights"),
    "rounded": (f"logits = Mul(Round({RAW}), FACTOR)", "Round"),
    "a row per sample": (f"logits = Mul({RAW}, np.ones((40, 3)) * FACTOR)", "Mul"),
    "less the mean of the samples": (
        f"raw = {RAW}\nlogits = Sub(raw, ReduceMean(raw, axes=[0]))", "Sub"),
    "weights that are all 0": ("logits = Gemm(z, W1, transB=1, alpha=0.0)", "all 0" + ADVICE),
    "never that class": (
        f"logits = Where([True, False, True], {RAW}, -inf)",
        "Where .*linear with infinite weights or biases"),
    "the first samples": (
        f"logits = Mul(Slice({RAW}, [0], [2], [0]), FACTOR)", "Slice .*which chooses samples"),
    "a transposed convolution": (
        "logits = Squeeze(ConvTranspose(Unsqueeze(z, [2]), W1.T[..., None]), [2])",
        "ConvTranspose .*which ntkit does not read as a linear"),
    "a quantised Softmax": (f"""
        q = QuantizeLinear({RAW}, 0.05, u1(128))
        p = QLinearSoftmax(q, 0.05, u1(128), 1 / 256, u1(0), axis=1, opset=17)
        logits = DequantizeLinear(p, 1 / 256, u1(0))""",
        r"QLinearSoftmax .*debias the float model and quantise the result\.$"),
    "fused": (
        "logits = FusedMatMul(z, W1, transB=1)", r"FusedMatMul .*debias the exported model inst"),
    "a bias per sample": (f"logits = Add({BARE}, np.ones((40, 1)))", "fit together" + ADVICE),
    "a bias per sample in a Gemm": (
        "logits = Gemm(z, W1, np.ones((40, 1)), transB=1)", "fit together" + ADVICE),
}  # fmt: skip
AFTER_THE_LOGITS = {
    "cut off below zero": ("y = Clip(logits, 0.0)", SIGN),
    "between zero and six": ("y = Softmax(Clip(logits, 0.0, 6.0), axis=1)", SIGN),
    "reordered": (f"y = Gather({P}, [2, 0, 1], axis=1)", "Gather over the classes"),
    "flipped": (f"y = Slice({P}, [-1], [-99], [1], [-1])", "Slice over the classes"),
    "without the background": (
        f"y = ArgMax(Slice({P}, [1], [9], [1]), axis=1, keepdims=0)", "Slice over the classes"),
    "the smallest": (
        "v, i = TopK(logits, [1], axis=1, largest=0)\ny = Identity(i)", "smallest scores"),
    "an index times two": ("y = Mul(ArgMax(logits, axis=1, keepdims=0), [2])", "changed by Mul"),
    "one minus p": (
        f"p = {P}\ny = ArgMax(Concat(Sub(1.0, p), p, axis=1), axis=1, keepdims=0)", "Concat"),
    "a falling probability": (f"y = Mul({P}, -1.0)", "a falling score"),
    "over the samples": ("y = Softmax(logits, axis=0)", "another axis"),
    "the winner among samples": ("y = ArgMax(logits, axis=0)", "another axis"),
    "two tasks": ("y = Softmax(Reshape(logits, [-1, 3, 1]), axis=2)", "another axis"),
    "a written-out Softmax of samples": (
        "e = Exp(logits)\ny = Div(e, ReduceSum(e, [0], keepdims=1))", "another axis"),
}  # fmt: skip
STRIDED, PADDED = (CONV.replace(", B1)", f", B1, {how})")
                   for how in ("strides=[2, 2]", "pads=[1, 1, 1, 1]"))  # fmt: skip
POSITIONS = {
    "every pixel": (f"logits = Softmax({CONV}, axis=1)", "scores every position", "map"),
    "every pixel decided": (f"logits = ArgMax({CONV}, axis=1)", "scores every position", "map"),
    "every token": (f"logits = {BARE}", "scores every position", "tokens"),
    "every pixel a class": (f"logits = Flatten({CONV})", "every position", "map"),
    "two tokens": (f"logits = Gather({BARE}, [0, 1], axis=1)", "every position", "tokens"),
    "a mean over the samples": (
        f"logits = ReduceMean({CONV}, axes=[0, 2, 3], keepdims=0)", "ReduceMean .*mixes samples",
        "map"),
    "a mean over the classes": (
        f"logits = ReduceMean({CONV}, axes=[1, 2], keepdims=0)", "every position", "map"),
    "the largest pixel": (f"logits = Flatten(GlobalMaxPool({CONV}))", "GlobalMaxPool", "map"),
    "a convolution with strides": (
        f"logits = Flatten(GlobalAveragePool({STRIDED}))", "mixes positions", "map"),
    "a padded convolution": (
        f"logits = Flatten(GlobalAveragePool({PADDED}))", "mixes positions", "map"),
    "another sample's token, in two columns": (
        BACKWARDS + "logits = GatherND(scores, Concat(Unsqueeze(back, [1]), where, axis=1))",
        r"position|mixes samples", "tokens"),
    "another sample's token, in one list": (BACKWARDS + """
        rows = Add(Reshape(where, [-1]), Mul(back, 7))
        logits = Gather(Reshape(scores, [-1, 3]), rows, axis=0)""",
        r"position|mixes samples", "tokens"),
    "a bias for each of an open number of positions": (
        f"logits = ReduceSum(Add({BARE}, B1), [1], keepdims=0)",
        "depends on how many positions a sample has", "open tokens"),
}  # fmt: skip
ONES = (f"np.ones(1000).reshape({[1] * i + [-1] + [1] * (5 - i)})" for i in range(4))
TOO_LARGE = {
    "padded without end": f"logits = Pad({RAW}, [0, 0, 0, 10**12])",
    "every product": f"logits = Einsum({RAW}, ONE, ONE, ONE, ONE, equation='nk,a,b,c,d->nkabcd')",
    "broadcast without end": f"logits = Sum(Gemm(z, W1[:1], B1[:1], transB=1), {', '.join(ONES)})",
}


@pytest.mark.parametrize("name", {**NOT_AFFINE, **AFTER_THE_LOGITS, **POSITIONS})
def test_what_is_no_head_is_refused_by_name(name, tmp_path):
    text, words, start = {
        **{key: (*row, "body") for key, row in NOT_AFFINE.items()},
        **{key: (*row, "classifier") for key, row in AFTER_THE_LOGITS.items()},
        **POSITIONS,
    }[name]
    proto = zoo.built(text, start, {}, arrays=ARRAYS)
    path = zoo.save(zoo.with_outputs(proto, proto.graph.node[-1].output[0]), tmp_path / "m.onnx")
    zoo.run(path, zoo.samples(start))  # the file is sound
    with pytest.raises(HeadNotFoundError, match=words) as error:
        FrozenModel.load(path)
    assert "\n" not in str(error.value)
    assert "''" not in str(error.value)


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_would_fill_the_memory_is_refused_before_it_is_made(name, tmp_path):
    proto = zoo.built(TOO_LARGE[name], arrays={**ARRAYS, "ONE": np.ones(5000)})
    with pytest.raises(HeadNotFoundError, match="too large for a linear layer"):
        FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))


def test_a_single_unit_is_decided_where_its_head_decides(tmp_path):
    output = {"y": (["batch", 1], TensorProto.BOOL)}
    for text, outputs, words in [
        ("y = Greater(Sigmoid(logits), 0.5)", output, None),
        ("y = Greater(Sigmoid(logits), 0.9)", output, r"decided at 0\.9"),
        ("y = Div(1.0, Add(Exp(Neg(logits)), 2.0))", None, "Div"),  # it only looks like a Sigmoid
        ("y = Div(1.0, Add(Exp(Neg(logits)), -1.0))", None, "Div"),
    ]:
        path = zoo.save(zoo.built(text, "classifier", outputs, n_logits=1), tmp_path / "m.onnx")
        if words is None:
            check_head(OnnxEmbedder(FrozenModel.load(path), device="cpu"), zoo.inputs())
        else:
            with pytest.raises(HeadNotFoundError, match=words):
                FrozenModel.load(path)


def test_tensors_that_are_named_and_are_no_logits(tmp_path):
    path = zoo.save(zoo.built("out = Relu(logits)", "classifier"), tmp_path / "m.onnx")
    for options, words in (
        ({"logits": "nonsense"}, r"no tensor 'nonsense'; its last .*'z'"),
        ({"embedding": "nonsense"}, r"no tensor 'nonsense'; its last .*'z'"),
        ({"logits": "logits"}, r"'logits' go through Relu .*below 0"),
        ({}, r"comes from Relu .*--logits NAME"),
    ):
        with pytest.raises(HeadNotFoundError, match=words):
            FrozenModel.load(path, **options)


# -- outputs that contradict each other, or show what is inside a head ----------------------------


OUTPUTS = {  # a program after the plain classifier, its outputs, and what is said about them
    "both signs": (
        "y = ArgMax(Mul(logits, -1.0), axis=1, keepdims=0)", {"logits": 1, "y": 7}, "both signs"),
    "a confidence": (
        "raw = Gemm(logits, W2[:1, :3], B1[:1], transB=1)\nother = Sigmoid(raw)",
        {"logits": 1, "other": 1}, r"'logits' .*'raw' \(.*--logits"),
    "a linear confidence": (
        "other = Gemm(logits, W2[:1, :3], B1[:1], transB=1)", {"logits": 1, "other": 1},
        r"'logits' .*'other' \(.*--logits"),
    "coarse classes": (
        f"fine = {P}\nother = MatMul(fine, np.eye(3)[:, :2])",
        {"logits": 1, "other": 1, "fine": 1}, r"'logits' .*'other' \(.*--logits"),
    "calibrated": (
        "scaled = Mul(logits, FACTOR)\nother = Softmax(scaled, axis=1)", {"logits": 1, "other": 1},
        r"'logits' .*'scaled' \(.*--logits"),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_several_heads_are_named_and_one_is_chosen(name, tmp_path):
    text, outputs, words = OUTPUTS[name]
    outputs = {one: (None, kind) for one, kind in outputs.items()}
    proto, X = zoo.built(text, "classifier", outputs, arrays=ARRAYS), zoo.inputs()
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=words):
        FrozenModel.load(path)
    if "other" not in outputs:
        return
    model = FrozenModel.load(path, logits="logits")
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    out = zoo.run(model.with_head(head).save(tmp_path / "new.onnx"), X)
    near(out["logits"], head.decision_function(zoo.embedding(proto, X)))
    assert np.abs(out["other"] - zoo.run(proto, X)["other"]).max() > 1e-3


@pytest.mark.parametrize(
    ("text", "outputs", "words", "names"),
    [
        (f"product = {BARE}\nlogits = Add(product, B1)\np = {P}", ("product", "p"),
         r"'product' .*'logits' .*Choose one", ()),
        (f"raw = {RAW}\nlogits = Mul(raw, FACTOR)\nconfidence = ReduceMax(raw, axes=[1])",
         ("confidence", "logits"), r"'confidence' comes from 'raw'.*--logits raw",
         ("raw", "logits")),
    ],
)  # fmt: skip
def test_an_output_of_what_is_inside_the_head_is_named(text, outputs, words, names, tmp_path):
    proto = zoo.built(text, outputs=dict.fromkeys(outputs), arrays=ARRAYS)
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=words):
        FrozenModel.load(path)
    for name in names:
        assert FrozenModel.load(path, logits=name).logits.name == name


def test_logits_that_are_an_output_are_taken_when_another_output_clips_them(tmp_path):
    outputs = dict.fromkeys(("logits", "clipped"))
    proto = zoo.built(f"logits = {RAW}\nclipped = Relu(logits)", outputs=outputs, arrays=ARRAYS)
    path = zoo.save(proto, tmp_path / "m.onnx")
    assert FrozenModel.load(path, logits="logits").logits.name == "logits"


def test_what_a_branch_reads_inside_a_head_is_named(tmp_path):
    graph = zoo.body()
    graph.write(f"raw = {RAW}\nlogits = Mul(raw, FACTOR)", **ARRAYS)
    graph.branch("raw", "p", "Softmax", "Identity")
    graph.output("logits", ["batch", K])
    graph.output("p", ["batch", K])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match="'p' comes from 'raw', which is inside the head"):
        FrozenModel.load(path)
    head = LinearHead(*zoo.weights(K, seed=9), range(K))
    new = FrozenModel.load(path, logits="raw").with_head(head).save(tmp_path / "new.onnx")
    Z = zoo.embedding(onnx.load(path), zoo.inputs())
    near(zoo.run(new, zoo.inputs())["p"], head.predict_proba(Z))


@pytest.mark.parametrize(
    "text",
    [
        "y = ArgMax(Neg(logits), axis=1, keepdims=0)",
        "y = Add(logits, Gemm(z, W2, transB=1))",
    ],
)
def test_named_logits_that_the_outputs_contradict_are_refused(text, tmp_path):
    """Found out by running the model."""
    output = {"y": (None, TensorProto.INT64 if "ArgMax" in text else TensorProto.FLOAT)}
    path = zoo.save(zoo.built(text, "classifier", output, arrays=ARRAYS), tmp_path / "m.onnx")
    model = FrozenModel.load(path, logits="logits")
    with pytest.raises(VerificationError, match="decides differently from the head"):
        check_head(OnnxEmbedder(model, device="cpu"), zoo.inputs())
    W, b = zoo.weights(K, seed=9)
    new = model.with_head(LinearHead(W / 10, b / 10, range(K)))  # the other head outweighs it
    with pytest.raises(VerificationError, match="was not written"):
        save_verified(new, tmp_path / "n.onnx", original=model, X=zoo.inputs(), device="cpu")
    assert not (tmp_path / "n.onnx").exists()


# -- heads that are read, but not exchanged for any other -----------------------------------------


def test_a_graph_made_for_its_number_of_logits_refuses_others(tmp_path):
    pooled = f"map = {CONV}\nlogits = Flatten(GlobalAveragePool(map))"
    shown = {"map": ["batch", K, 4, 3], "logits": ["batch", K]}
    quantised = {"y": (None, TensorProto.UINT8)}
    for text, start, n_logits, outputs, words in [
        ("out = Sigmoid(logits)", "classifier", 1, None, r"Sigmoid.*head of 2 classes"),
        ("out = Squeeze(logits, [1])", "classifier", 1, None, r"Squeeze.*head of 2 classes"),
        ("out = Reshape(logits, [-1, 1])", "classifier", 1, None, r"Reshape.*head of 2 classes"),
        ("y = QuantizeLinear(logits, 0.1, u1(128))", "classifier", K, quantised,
         "quantised logits"),
        (pooled, "map", K, shown, "at every position"),
    ]:  # fmt: skip
        proto = zoo.built(text, start, outputs, n_logits=n_logits, arrays=ARRAYS)
        model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
        n = n_logits + 2 if n_logits == 1 or start == "map" else K
        with pytest.raises(InputError, match=words):
            model.with_head(LinearHead(*zoo.weights(n), range(n)))
        if n_logits == 1:
            model.with_head(LinearHead(*zoo.weights(2), range(2)))


def test_outputs_that_are_no_rows_of_samples_are_compared_too(tmp_path):
    """More samples than a batch, and an output whose first axis is not the samples'."""
    outputs = {"logits": ["batch", K], "turned": [5, "batch"]}
    proto = zoo.built("turned = Transpose(z)", "classifier", outputs)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    check_head(OnnxEmbedder(model, device="cpu"), zoo.inputs(100))
    assert model.describe()["outputs_from_logits"] == []


def test_two_tables_of_labels_are_read_one_after_the_other(tmp_path):
    text = "i = ArgMax(logits, axis=1, keepdims=0)\nj = Gather([2, 0, 1], i)\n"
    text += "y = Gather([10, 20, 30], j)"
    proto, X = zoo.built(text, "classifier", {"y": (None, TensorProto.INT64)}), zoo.inputs()
    path = zoo.save(proto, tmp_path / "m.onnx")
    model = FrozenModel.load(path)
    assert model.head.classes.tolist() == [30, 10, 20]
    assert_array_equal(model.head.predict(zoo.embedding(proto, X)), zoo.run(path, X)["y"])
    check_head(OnnxEmbedder(model, device="cpu"), X)

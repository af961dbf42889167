"""What is close to a head and is none: refused by name, and by what is wrong with it.

Each row is a program (see tests/models.py) that ONNX Runtime runs, unless it says otherwise.
"""

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import HeadNotFoundError, InputError, VerificationError
from ntkit.verification import check_head, save_verified
from tests import models as zoo
from tests.model.test_heads import ARRAYS, CONV, K, near

RAW = "raw = Gemm(z, W1, B1, transB=1)\n"
TWO = "one = Gemm(z, W1, B1, transB=1)\nother = Gemm(z, W2, B2, transB=1)\n"
GATE = TWO + "gate = Sigmoid(other)\ngated = Mul(one, gate)\n"
ENDS = "p = Softmax(logits, axis=1)\n"
LAST = "where = ArgMax(sums, axis=1, keepdims=1)\nscores = MatMul(z, W1.T)\n"
BACKWARDS = """
sums = ReduceSum(x, [2], keepdims=0)
""" + LAST + """
size = Shape(x, end=1)
n = Squeeze(size)
up = Range(0, n, 1)
down = Sub(n, up)
back = Sub(down, 1)
"""  # fmt: skip
COMPUTED = "Mul .*two computed tensors"
SIGN = "Clip .*which cuts off scores of one sign"
ADVICE = r".*--logits NAME"
NOT_AFFINE = {
    "Relu": (RAW + "cut = Relu(raw)\nlogits = Mul(cut, FACTOR)", "Relu" + ADVICE),
    "the scale of the batch": (
        "zq, s, zero = DynamicQuantizeLinear(z)\n" + RAW + "logits = Mul(raw, s)", COMPUTED),
    "integers without their scale": ("""
        zq, s, zero = DynamicQuantizeLinear(z)
        whole = MatMulInteger(zq, i1(WHOLE.T), zero)
        real = Cast(whole, to=FLOAT)
        logits = Mul(real, 0.1)""", "MatMulInteger"),
    "a Cast to int32": (
        RAW + "whole = Cast(raw, to=INT32)\nreal = Cast(whole, to=FLOAT)\n"
        "logits = Mul(real, FACTOR)", "Cast .*whole numbers"),
    "masked by the samples": (
        RAW + "mask = Greater(raw, 0.0)\nlogits = Where(mask, raw, -9.0)",
        "Where .*computed condition"),
    "the largest of two": (TWO + "logits = Max(one, other)", "Max"),
    "one of them gated": (GATE + "logits = Add(gated, other)", COMPUTED),
    "a product of two": (TWO + "logits = Mul(one, other)", COMPUTED),
    "a square": (RAW + "logits = Mul(raw, raw)", COMPUTED + ADVICE),
    "a quotient": (
        RAW + "size = Abs(raw)\nlogits = Div(raw, size)", "Div .*two computed tensors"),
    "gated": (GATE + "logits = Add(gated, SHIFT)", COMPUTED),
    "a Softmax inside": (
        RAW + "s = Softmax(raw, axis=1)\nlogits = Sub(s, SHIFT)", "Softmax|Gemm"),
    "a computed bias": (
        RAW + "bent = Tanh(h)\nprior = Slice(bent, [0], [3], [1])\nlogits = Add(raw, prior)",
        "Tanh"),
    "computed classes": (RAW + """
        found = ArgMax(x, axis=0, keepdims=0)
        three = Slice(found, [0], [3])
        order = Mod(three, [3])
        logits = Gather(raw, order, axis=1)""", "Gather over the classes"),
    "an order of its own": (
        RAW + "sorted, order = TopK(raw, [3], axis=1)\n"
        "logits = GatherElements(raw, order, axis=1)", "GatherElements"),
    "in training mode": (
        RAW + "logits, m, v = BatchNormalization(raw, FACTOR, SHIFT, MEAN, VAR, training_mode=1)",
        "BatchNormalization .*training mode"),
    "the largest subtracted": (
        RAW + "largest = ReduceMax(raw, axes=[1])\nlogits = Sub(raw, largest)", "ReduceMax"),
    "normalised": (
        RAW + "length = ReduceL2(raw, axes=[1])\nlogits = Div(raw, length)",
        "Div .*two computed tensors"),
    "computed weights": (
        'logits = Einsum(z, z, np.ones((3, 5, 5)), equation="na,nb,kab->nk")',
        "Einsum .*two computed tensors"),
    "MatMul of two": (RAW + "t = Transpose(raw)\nlogits = MatMul(raw, t)", "MatMul .*computed w"),
    "Gemm of two": (RAW + "t = Transpose(raw)\nlogits = Gemm(raw, t)", "Gemm .*computed weights"),
    "rounded": (RAW + "whole = Round(raw)\nlogits = Mul(whole, FACTOR)", "Round"),
    "a row per sample": (RAW + "logits = Mul(raw, np.ones((40, 3)) * FACTOR)", "Mul"),
    "less the mean of the samples": (
        RAW + "mean = ReduceMean(raw, axes=[0])\nlogits = Sub(raw, mean)", "Sub"),
    "weights that are all 0": ("logits = Gemm(z, W1, transB=1, alpha=0.0)", "all 0" + ADVICE),
    "never that class": (
        RAW + "logits = Where([True, False, True], raw, -inf)",
        "Where .*linear with infinite weights or biases"),
    "the first samples": (
        RAW + "two = Slice(raw, [0], [2], [0])\nlogits = Mul(two, FACTOR)",
        "Slice .*which chooses samples"),
    "a transposed convolution": ("""
        map = Unsqueeze(z, [2])
        wide = ConvTranspose(map, W1.T[..., None])
        logits = Squeeze(wide, [2])""", "ConvTranspose .*which ntkit does not read as a linear"),
    "a quantised Softmax": (RAW + """
        q = QuantizeLinear(raw, 0.05, u1(128))
        p = QLinearSoftmax(q, 0.05, u1(128), 1 / 256, u1(0), axis=1, opset=17)
        logits = DequantizeLinear(p, 1 / 256, u1(0))""",
        r"QLinearSoftmax .*debias the float model and quantise the result\.$"),
    "fused": (
        "logits = FusedMatMul(z, W1, transB=1)", r"FusedMatMul .*debias the exported model inst"),
    "a bias per sample": (
        "p = MatMul(z, W1.T)\nlogits = Add(p, np.ones((40, 1)))", "fit together" + ADVICE),
    "a bias per sample in a Gemm": (
        "logits = Gemm(z, W1, np.ones((40, 1)), transB=1)", "fit together" + ADVICE),
}  # fmt: skip
AFTER_THE_LOGITS = {
    "cut off below zero": ("y = Clip(logits, 0.0)", SIGN),
    "between zero and six": (
        "c = Clip(logits, 0.0, 6.0)\ny = Softmax(c, axis=1)", SIGN),
    "reordered": (ENDS + "y = Gather(p, [2, 0, 1], axis=1)", "Gather over the classes"),
    "flipped": (ENDS + "y = Slice(p, [-1], [-99], [1], [-1])", "Slice over the classes"),
    "without the background": (
        ENDS + "known = Slice(p, [1], [9], [1])\ny = ArgMax(known, axis=1, keepdims=0)",
        "Slice over the classes"),
    "the smallest": (
        "v, i = TopK(logits, [1], axis=1, largest=0)\ny = Identity(i)", "smallest scores"),
    "an index times two": (
        "i = ArgMax(logits, axis=1, keepdims=0)\ny = Mul(i, [2])", "changed by Mul"),
    "one minus p": (
        ENDS + "q = Sub(1.0, p)\nboth = Concat(q, p, axis=1)\n"
        "y = ArgMax(both, axis=1, keepdims=0)", "Concat"),
    "a falling probability": (ENDS + "y = Mul(p, -1.0)", "a falling score"),
    "over the samples": ("y = Softmax(logits, axis=0)", "another axis"),
    "the winner among samples": ("y = ArgMax(logits, axis=0)", "another axis"),
    "two tasks": (
        "tasks = Reshape(logits, [-1, 3, 1])\ny = Softmax(tasks, axis=2)", "another axis"),
    "a written-out Softmax of samples": (
        "e = Exp(logits)\nt = ReduceSum(e, [0], keepdims=1)\ny = Div(e, t)", "another axis"),
}  # fmt: skip
POSITIONS = {
    "every pixel": (CONV + "logits = Softmax(map, axis=1)", "scores every position", "map"),
    "every pixel decided": (CONV + "logits = ArgMax(map, axis=1)", "scores every position", "map"),
    "every token": ("logits = MatMul(z, W1.T)", "scores every position", "tokens"),
    "every pixel a class": (CONV + "logits = Flatten(map)", "every position", "map"),
    "two tokens": (
        "s = MatMul(z, W1.T)\nlogits = Gather(s, [0, 1], axis=1)", "every position", "tokens"),
    "a mean over the samples": (
        CONV + "logits = ReduceMean(map, axes=[0, 2, 3], keepdims=0)", "ReduceMean .*mixes samples",
        "map"),
    "a mean over the classes": (
        CONV + "logits = ReduceMean(map, axes=[1, 2], keepdims=0)", "every position", "map"),
    "the largest pixel": (
        CONV + "p = GlobalMaxPool(map)\nlogits = Flatten(p)", "GlobalMaxPool", "map"),
    "a convolution with strides": ("""
        map = Conv(z, W1.reshape(3, 5, 1, 1), B1, strides=[2, 2])
        p = GlobalAveragePool(map)
        logits = Flatten(p)""", "mixes positions", "map"),
    "a padded convolution": ("""
        map = Conv(z, W1.reshape(3, 5, 1, 1), B1, pads=[1, 1, 1, 1])
        p = GlobalAveragePool(map)
        logits = Flatten(p)""", "mixes positions", "map"),
    "another sample's token, in two columns": (BACKWARDS + """
        sample = Unsqueeze(back, [1])
        at = Concat(sample, where, axis=1)
        logits = GatherND(scores, at)""", r"position|mixes samples", "tokens"),
    "another sample's token, in one list": (BACKWARDS + """
        starts = Mul(back, 7)
        offsets = Reshape(where, [-1])
        rows = Add(offsets, starts)
        every = Reshape(scores, [-1, 3])
        logits = Gather(every, rows, axis=0)""", r"position|mixes samples", "tokens"),
    "a bias for each of an open number of positions": ("""
        scores = MatMul(z, W1.T)
        each = Add(scores, B1)
        logits = ReduceSum(each, [1], keepdims=0)""",
        "depends on how many positions a sample has", "open tokens"),
}  # fmt: skip
TOO_LARGE = {
    "padded without end": RAW + "logits = Pad(raw, [0, 0, 0, 10**12])",
    "every product": RAW
    + "logits = Einsum(raw, ONE, ONE, ONE, ONE, equation='nk,a,b,c,d->nkabcd')",
    "broadcast without end": "raw = Gemm(z, W1[:1], B1[:1], transB=1)\nlogits = Sum(raw, "
    + ", ".join(f"np.ones(1000).reshape({[1] * i + [-1] + [1] * (5 - i)})" for i in range(4))
    + ")",
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


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_a_single_unit_is_decided_where_its_head_decides(threshold, tmp_path):
    text = f"p = Sigmoid(logits)\ny = Greater(p, {threshold})"
    output = {"y": (["batch", 1], TensorProto.BOOL)}
    path = zoo.save(zoo.built(text, "classifier", output, n_logits=1), tmp_path / "m.onnx")
    if threshold == 0.5:
        assert check_head(FrozenModel.load(path), zoo.inputs(), device="cpu").passed
    else:
        with pytest.raises(HeadNotFoundError, match=r"decided at 0\.9"):
            FrozenModel.load(path)


@pytest.mark.parametrize("other", ["2.0", "-1.0"])
def test_what_only_looks_like_a_sigmoid_is_none(other, tmp_path):
    text = f"m = Neg(logits)\ne = Exp(m)\nt = Add(e, {other})\ny = Div(1.0, t)"
    path = zoo.save(zoo.built(text, "classifier", n_logits=1), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match="Div"):
        FrozenModel.load(path)


def test_a_wrong_tensor_name_is_answered_with_names(tmp_path):
    path = zoo.save(zoo.classifier(K), tmp_path / "m.onnx")
    for option in ("logits", "embedding"):
        with pytest.raises(HeadNotFoundError, match=r"no tensor 'nonsense'; its last .*'z'"):
            FrozenModel.load(path, **{option: "nonsense"})


# -- outputs that contradict each other, or show what is inside a head ----------------------------


OUTPUTS = {  # a program after the plain classifier, its outputs, and what is said about them
    "both signs": (
        "n = Mul(logits, -1.0)\ny = ArgMax(n, axis=1, keepdims=0)", {"logits": 1, "y": 7},
        "both signs"),
    "a confidence": (
        "raw = Gemm(logits, W2[:1, :3], B1[:1], transB=1)\nother = Sigmoid(raw)",
        {"logits": 1, "other": 1}, r"'logits' .*'raw' \(.*--logits"),
    "a linear confidence": (
        "other = Gemm(logits, W2[:1, :3], B1[:1], transB=1)", {"logits": 1, "other": 1},
        r"'logits' .*'other' \(.*--logits"),
    "coarse classes": (
        "fine = Softmax(logits, axis=1)\nother = MatMul(fine, np.eye(3)[:, :2])",
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


def test_a_product_read_before_its_bias_is_no_head(tmp_path):
    text = "product = MatMul(z, W1.T)\nlogits = Add(product, B1)\np = Softmax(logits, axis=1)"
    proto = zoo.built(text, outputs={"product": None, "p": None}, arrays=ARRAYS)
    with pytest.raises(HeadNotFoundError, match=r"'product' .*'logits' .*Choose one"):
        FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))


def test_an_output_of_what_is_inside_the_head_is_named(tmp_path):
    text = RAW + "logits = Mul(raw, FACTOR)\nconfidence = ReduceMax(raw, axes=[1])"
    proto = zoo.built(text, outputs={"confidence": None, "logits": None}, arrays=ARRAYS)
    path = zoo.save(proto, tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"'confidence' comes from 'raw'.*--logits raw"):
        FrozenModel.load(path)
    for name in ("raw", "logits"):
        assert FrozenModel.load(path, logits=name).logits.name == name


def test_what_a_branch_reads_inside_a_head_is_named(tmp_path):
    graph = zoo.body()
    graph.write(RAW + "logits = Mul(raw, FACTOR)", **ARRAYS)
    branches = {
        f"{side}_branch": helper.make_graph(
            [helper.make_node(op, ["raw"], [side])], side, [], [zoo.value(side, ["batch", K])]
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
    Z = zoo.embedding(onnx.load(path), zoo.inputs())
    near(zoo.run(new, zoo.inputs())["p"], head.predict_proba(Z))


def test_named_logits_that_are_cut_off_afterwards_are_no_scores(tmp_path):
    path = zoo.save(zoo.built("out = Relu(logits)", "classifier"), tmp_path / "m.onnx")
    with pytest.raises(HeadNotFoundError, match=r"'logits' go through Relu .*below 0"):
        FrozenModel.load(path, logits="logits")
    with pytest.raises(HeadNotFoundError, match=r"comes from Relu .*--logits NAME"):
        FrozenModel.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "n = Neg(logits)\ny = ArgMax(n, axis=1, keepdims=0)",
        "other = Gemm(z, W2, transB=1)\ny = Add(logits, other)",
    ],
)
def test_named_logits_that_the_outputs_contradict_are_refused(text, tmp_path):
    """Found out by running the model."""
    output = {"y": (None, TensorProto.INT64 if "ArgMax" in text else TensorProto.FLOAT)}
    path = zoo.save(zoo.built(text, "classifier", output, arrays=ARRAYS), tmp_path / "m.onnx")
    model = FrozenModel.load(path, logits="logits")
    with pytest.raises(VerificationError, match="decides differently from the head"):
        check_head(model, zoo.inputs(), device="cpu")
    W, b = zoo.weights(K, seed=9)
    new = model.with_head(LinearHead(W / 10, b / 10, range(K)))  # the other head outweighs it
    with pytest.raises(VerificationError, match="was not written"):
        save_verified(new, tmp_path / "n.onnx", original=model, X=zoo.inputs(), device="cpu")
    assert not (tmp_path / "n.onnx").exists()


# -- heads that are read, but not exchanged for any other -----------------------------------------


def test_a_graph_made_for_its_number_of_logits_refuses_others(tmp_path):
    rows = [
        ("out = Sigmoid(logits)", 1, {}, r"Sigmoid.*head of 2 classes"),
        ("out = Squeeze(logits, [1])", 1, {}, r"Squeeze.*head of 2 classes"),
        ("out = Reshape(logits, [-1, 1])", 1, {}, r"Reshape.*head of 2 classes"),
        ("y = QuantizeLinear(logits, 0.1, u1(128))", 3, {"y": (None, TensorProto.UINT8)},
         "quantised logits"),
    ]  # fmt: skip
    for text, n_logits, outputs, words in rows:
        proto = zoo.built(text, "classifier", outputs or None, n_logits=n_logits)
        model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
        with pytest.raises(InputError, match=words):
            model.with_head(LinearHead(*zoo.weights(3), range(3)))
        if n_logits == 1:
            model.with_head(LinearHead(*zoo.weights(2), range(2)))


def test_a_map_shown_as_an_output_too_keeps_its_width(tmp_path):
    text = CONV + "pooled = GlobalAveragePool(map)\nlogits = Flatten(pooled)"
    outputs = {"map": ["batch", K, 4, 3], "logits": ["batch", K]}
    proto = zoo.built(text, "map", outputs, arrays=ARRAYS)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    with pytest.raises(InputError, match="at every position"):
        model.with_head(LinearHead(*zoo.weights(K + 1), range(K + 1)))


def test_outputs_that_are_no_rows_of_samples_are_compared_too(tmp_path):
    """More samples than a batch, and an output whose first axis is not the samples'."""
    outputs = {"logits": ["batch", K], "turned": [5, "batch"]}
    proto = zoo.built("turned = Transpose(z)", "classifier", outputs)
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    assert check_head(model, zoo.inputs(100), device="cpu").passed
    assert model.describe()["outputs_from_logits"] == []


def test_two_tables_of_labels_are_read_one_after_the_other(tmp_path):
    text = "i = ArgMax(logits, axis=1, keepdims=0)\nj = Gather([2, 0, 1], i)\n"
    text += "y = Gather([10, 20, 30], j)"
    proto, X = zoo.built(text, "classifier", {"y": (None, TensorProto.INT64)}), zoo.inputs()
    path = zoo.save(proto, tmp_path / "m.onnx")
    model = FrozenModel.load(path)
    assert model.head.classes.tolist() == [30, 10, 20]
    assert_array_equal(model.head.predict(zoo.embedding(proto, X)), zoo.run(path, X)["y"])
    assert check_head(model, X, device="cpu").passed

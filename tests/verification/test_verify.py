"""verify() passes what is right and fails what is not; save_verified() writes nothing then."""

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper, numpy_helper

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.head_check import check_head, tolerance_of
from ntkit.verification import random_inputs, save_verified, verify
from tests import any_models

K = 3
NAMES = ["ant", "bee", "cow"]


@pytest.fixture
def path(zoo, tmp_path):
    return zoo.save(zoo.classifier(K), tmp_path / "m.onnx")


@pytest.fixture
def model(path):
    return FrozenModel.load(path, classes=NAMES)


@pytest.fixture
def head(zoo):
    return LinearHead(*zoo.weights(K, seed=4), NAMES)


@pytest.fixture
def right(model, head, tmp_path):
    return model.with_head(head).save(tmp_path / "right.onnx")


def exchanged(zoo, proto, head, folder, dtype=np.float32, **options):
    """The check of a model with another head, which passes, as the model itself does."""
    model, X = FrozenModel.load(zoo.save(proto, folder / "m.onnx"), **options), zoo.inputs()
    options = {"X": X.astype(dtype), "device": "cpu"}
    if model.head is not None:
        check_head(OnnxEmbedder(model, device="cpu"), options["X"])
    head = head or LinearHead(
        np.eye(2, 6 if model.embedding.name == "x" else 5), [0.1, 0.2], [0, 1]
    )
    new = model.with_head(head)
    check = save_verified(new, folder / "n", original=model, head=head, force=True, **options)
    assert check.passed
    return check


def changed(path, name, change):
    """The file with one tensor changed, under another name."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            array = change(numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(proto, path.with_name("changed.onnx"))
    return path.with_name("changed.onnx")


def plus(where, what):
    def change(array):
        array[where] += what
        return array

    return change


def test_the_right_file_passes(zoo, model, head, right, path):
    X = zoo.inputs()
    for original, debiased in [(model, right), (model, FrozenModel.load(right))]:
        check = verify(original, debiased, X, head=head, device="cpu")
        assert check.passed
        assert (check.kept.nodes, check.kept.signature, check.kept.metadata) == (True,) * 3
        assert check.n_samples == len(X)
        assert check.embedding_difference == 0
        assert np.isnan(check.output_difference)  # there are only logits
        assert check.latency_ratio == check.latency / check.original_latency > 0
        z = zoo.embedding(onnx.load(path), X)
        assert check.agreement == (head.predict(z) == model.head.predict(z)).mean()
    assert verify(model, right, X).passed
    assert verify(path, path, X).agreement == 1
    memory = model.with_head(head)  # which is verified itself, not the file it came from
    assert verify(model, memory, X, head=head, device="cpu").passed
    assert not verify(model, model, X, head=head, device="cpu").passed


@pytest.mark.parametrize(
    ("tensor", "change"),
    [
        ("fc.weight", plus((1, 2), 0.01)),
        ("fc.bias", plus(0, 0.01)),
        ("fc.weight", lambda w: w[[1, 0, 2]]),
        ("fc.weight", lambda w: w * 0),
        ("body.weight", plus((0, 0), 0.01)),
        ("body.bias", plus(3, 0.01)),
        ("body.bias", plus(3, np.nan)),
    ],
)
def test_a_changed_file_fails(zoo, model, head, right, tensor, change):
    check = verify(model, changed(right, tensor, change), zoo.inputs(), head=head, device="cpu")
    assert not check.passed
    assert (check.embedding_difference == 0) != tensor.startswith("body")
    if tensor.startswith("body"):  # whatever its head
        assert not verify(model, changed(right, tensor, change), zoo.inputs(), device="cpu").passed


def test_lost_or_changed_metadata_are_seen(zoo, model, right):
    proto = onnx.load(right)
    for props, same in (
        ({"author": "someone", "trained": "2024", "ntkit.version": "0"}, True),
        ({"author": "someone", "trained": "2024", "more": "text"}, True),
        ({"author": "someone"}, False),
        ({"author": "someone else", "trained": "2024"}, False),
    ):
        del proto.metadata_props[:]
        helper.set_model_props(proto, props)
        onnx.save(proto, right.with_name("props.onnx"))
        check = verify(model, right.with_name("props.onnx"), zoo.inputs(), device="cpu")
        assert check.kept.metadata == same
        assert check.passed


def test_another_architecture_fails_or_is_refused(zoo, model, head, tmp_path):
    text = "narrow = Gemm(z, np.ones((4, 5)), transB=1)\nn = Relu(narrow)\n"
    proto = zoo.built(text + "logits = Gemm(n, np.ones((3, 4)), transB=1)")
    other = zoo.save(proto, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="reads embeddings of shape"):
        verify(model, other, zoo.inputs(), device="cpu")
    other = FrozenModel.load(other, classes=NAMES)
    check = verify(model, other, zoo.inputs(), head=head, device="cpu")
    assert not check.passed
    assert check.embedding_difference == np.inf
    assert not check.kept.nodes


def test_heads_the_file_cannot_hold_are_refused(zoo, model, right):
    with pytest.raises(InputError, match="knows the classes"):
        verify(model, right, zoo.inputs(), head=LinearHead(*zoo.weights(2), [0, 1]))
    with pytest.raises(InputError, match="no samples"):
        verify(model, right, zoo.inputs(0))
    backbone = FrozenModel.load(right, embedding="x")
    with pytest.raises(InputError, match="no head to verify"):
        verify(model, backbone, zoo.inputs())
    with pytest.raises(InputError, match="no head to check"):
        check_head(OnnxEmbedder(backbone), zoo.inputs())


# -- tails, sizes, kinds ----------------------------------------------------------------------


@pytest.mark.more
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("n_logits", [1, 2])
def test_two_classes_in_one_or_two_logits_and_weights_beside_the_file(
    zoo, n_logits, rows, tmp_path
):
    (tmp_path / "source").mkdir()
    path = zoo.save_external(zoo.classifier(n_logits), tmp_path / "source" / "m.onnx")
    model, head = FrozenModel.load(path), LinearHead(*zoo.weights(rows, seed=4), [0, 1])
    new, X = tmp_path / "n.onnx", zoo.inputs()
    assert save_verified(model.with_head(head), new, original=model, X=X, head=head).passed
    assert verify(model, new, X, head=head).passed
    only = FrozenModel.load(write_onnx(to_onnx(head), tmp_path / "head.onnx"))
    changed = only.with_head(head.scaled([1, 0, 1, 1, 1]))
    Z = X[:, :5].copy()
    check = save_verified(changed, tmp_path / "h.onnx", original=only, X=Z)
    assert (check.passed, check.embedding_difference) == (True, 0)


@pytest.mark.parametrize("output", ["scaled", "probabilities"])
def test_a_scale_and_other_outputs_and_other_classes(zoo, output, tmp_path):
    text = "scaled = Mul(logits, 16.0)\nprobabilities = Softmax(scaled)"
    proto = zoo.built(text, "classifier", {output: ["batch", K]})
    for n_classes in (2, K, 5):
        head = LinearHead(*zoo.weights(n_classes, seed=4), range(n_classes))
        check = exchanged(zoo, proto, head, tmp_path)
        assert np.isnan(check.agreement) == (n_classes != K)


def test_a_backbone_and_a_head_chosen_by_name(zoo, tmp_path):
    text = "domain = Gemm(h, np.ones((2, 5)), transB=1)"
    proto = zoo.built(text, "classifier", {"logits": ["batch", K], "domain": ["batch", 2]})
    for options in ({"logits": "domain"}, {"embedding": "z"}, {"embedding": "x"}):
        exchanged(zoo, proto, None, tmp_path, **options)


SOFTMAX, ARGMAX = "p = Softmax(logits)", "l = ArgMax(logits, keepdims=0, axis=1)"
LABEL = {"l": (["batch"], TensorProto.INT64)}
TAILS = {  # of models that do not give their logits
    "probabilities": (SOFTMAX, {"p": ["batch", K]}),
    "sigmoids": ("p = Sigmoid(logits)", {"p": ["batch", K]}),
    "label": (ARGMAX, LABEL),
    "two best": ("v, i = TopK(logits, [2])",
                 {"v": ["batch", 2], "i": (["batch", 2], TensorProto.INT64)}),
    "both": (f"{SOFTMAX}\n{ARGMAX}", {"p": ["batch", K], **LABEL}),
}  # fmt: skip


@pytest.mark.parametrize("tail", TAILS)
def test_outputs_after_the_logits_are_compared(zoo, tail, head, tmp_path):
    text, outputs = TAILS[tail]
    for dtype in (np.float32, np.float16):
        proto = zoo.built(text, "classifier", outputs, dtype=dtype)
        check = exchanged(zoo, proto, head, tmp_path, dtype, classes=NAMES)
        assert 0 <= check.output_difference <= check.tolerance
        assert check.kept.nodes


def test_logits_with_axes_of_length_one(zoo, head, tmp_path):
    """A 1 × 1 convolution in place of a Gemm."""
    text = """
        pooled = GlobalAveragePool(Unsqueeze(z, [2, 3]))
        p = Softmax(Conv(pooled, W[:, :, None, None], b), axis=1)
        flat = Flatten(p, axis=1)"""
    arrays = dict(zip("Wb", zoo.weights(K), strict=True))
    for output in ({"flat": ["batch", K]}, {"p": ["batch", K, 1, 1]}):
        proto = zoo.built(text, outputs=output, arrays=arrays)
        assert exchanged(zoo, proto, head, tmp_path, classes=NAMES).output_difference < 1e-6


def test_a_change_after_the_logits_fails(zoo, tmp_path):
    def saved(name, temperature, axis):
        text = f"p = Softmax(logits, axis={axis})\nscaled = Mul(p, [1, {temperature}, 1])\n"
        outputs = {"logits": ["batch", K], "scaled": ["batch", K], **LABEL}
        proto = zoo.built(text + "l = ArgMax(scaled, axis=1, keepdims=0)", "classifier", outputs)
        return FrozenModel.load(zoo.save(proto, tmp_path / name))

    model = saved("m.onnx", 1.0, 1)
    assert verify(model, model, zoo.inputs(), device="cpu").passed
    for change in ((1.1, 1), (-1.0, 1), (1.0, 0)):
        check = verify(model, saved("changed.onnx", *change), zoo.inputs(), device="cpu")
        assert check.logit_difference < 1e-6
        assert check.output_difference > check.tolerance
        assert not check.passed


def test_labels_of_undecided_samples_do_not_count(zoo, tmp_path):
    path = zoo.save(zoo.built(ARGMAX, "classifier", LABEL), tmp_path / "m.onnx")
    model = FrozenModel.load(path, classes=NAMES)
    tied = LinearHead(np.tile(zoo.weights(1)[0], (K, 1)), np.zeros(K), NAMES)
    almost = LinearHead(tied.coef + 1e-9 * zoo.weights(K)[0], tied.intercept, NAMES)
    check = verify(model, model.with_head(tied), zoo.inputs(), head=almost, device="cpu")
    assert check.output_difference == 0
    assert check.passed


def test_tolerances_follow_the_precision(zoo, model, tmp_path, monkeypatch):
    half = FrozenModel.load(zoo.save(zoo.classifier(K, np.float16), tmp_path / "h.onnx"))
    assert tolerance_of(model) == 1e-4
    assert tolerance_of(half) == 2**-7
    assert tolerance_of(model, "bfloat16") == 2**-4
    monkeypatch.setattr(FrozenModel, "quantisation", "8 bits")
    assert tolerance_of(model) == 2e-2


# -- check_head -------------------------------------------------------------------------------


def test_a_head_that_was_read_wrong_is_refused(zoo, model, monkeypatch):
    check_head(OnnxEmbedder(model, device="cpu"), zoo.inputs())
    wrong = LinearHead(model.head.coef + 0.01, model.head.intercept, NAMES)
    monkeypatch.setattr(model, "head", wrong)
    with pytest.raises(VerificationError, match=r"m\.onnx.*'logits'.*--logits NAME") as error:
        check_head(OnnxEmbedder(model, device="cpu"), zoo.inputs())
    assert "\n" not in str(error.value)
    check_head(OnnxEmbedder(model, device="cpu"), zoo.inputs(), tolerance=1.0)


# -- save_verified ----------------------------------------------------------------------------


def test_nothing_is_written_when_the_check_fails(zoo, model, head, tmp_path):
    target, X = tmp_path / "n.onnx", zoo.inputs()
    target.write_text("precious")
    before = zoo.contents(tmp_path)
    wrong = LinearHead(head.coef + 0.01, head.intercept, NAMES)
    for written, samples, force, error, words in (
        (wrong, X, True, VerificationError, r"\(logits\).*n\.onnx was not written"),
        (head, X[:0], True, InputError, "no samples"),
        (head, X, False, InputError, "exists"),
    ):
        options = {"original": model, "X": samples, "head": head, "force": force}
        with pytest.raises(error, match=words) as caught:
            save_verified(model.with_head(written), target, **options)
        assert "\n" not in str(caught.value)
        assert zoo.contents(tmp_path) == before


# -- random inputs ----------------------------------------------------------------------------


def test_random_inputs_fit_the_model(zoo, tmp_path):
    for dtype in (np.float16, np.float32, np.float64):
        model = FrozenModel.load(zoo.save(zoo.classifier(K, dtype), tmp_path / "m.onnx"))
        X = random_inputs(model)
        assert X["x"].shape == (8, 6)
        assert_allclose(X["x"], random_inputs(model)["x"])
        assert verify(model, model, X, device="cpu").passed
    for kind, shape, words in (
        (TensorProto.FLOAT, ["batch", "length"], "has an open size"),
        (TensorProto.FLOAT, None, "has an open size"),
        (TensorProto.UINT8, ["batch", "length"], "has an open size"),
        (TensorProto.UINT32, ["batch", 6], "does not have plain numbers"),
    ):
        graph = zoo.Graph()
        graph.write("z = Relu(Cast(x, to=FLOAT))\nlogits = MatMul(z, np.ones((6, 3)))")
        graph.output("logits", ["batch", K])
        proto = graph.model([zoo.value("x", shape, kind)])
        model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
        with pytest.raises(InputError, match=rf"input x .*{words}.*--data"):
            random_inputs(model)


def test_random_inputs_for_text_models(zoo, tmp_path):
    kinds = {
        "input_ids": (TensorProto.INT64, ["batch", "length"]),
        "attention_mask": (TensorProto.INT64, ["batch", "length"]),
        "token_type_ids": (TensorProto.INT32, ["batch", 6]),
        "keep": (TensorProto.BOOL, ["batch", 6]),
        "pixels": (TensorProto.UINT8, ["batch", 6]),
        "x": (TensorProto.FLOAT, ["batch", 6]),
    }
    graph = zoo.classifier(K)
    del graph.graph.input[:]
    graph.graph.input.extend(helper.make_tensor_value_info(n, *k) for n, k in kinds.items())
    X = random_inputs(FrozenModel.load(zoo.save(graph, tmp_path / "m.onnx")), n_samples=5)
    assert {name: array.shape for name, array in X.items()} == {
        name: (5, 16 if "length" in shape else 6) for name, (_, shape) in kinds.items()
    }
    assert set(np.unique(X["input_ids"])) <= set(range(8))
    assert len(np.unique(X["input_ids"])) > 2
    assert (X["attention_mask"] == 1).all()
    assert (X["token_type_ids"] == 0).all()
    assert X["keep"].all()
    assert X["pixels"].max() < 128


def test_random_inputs_have_texts_that_a_column_may_have(tmp_path):
    """A OneHotEncoder refuses others."""
    path = any_models.write("columns", tmp_path / "m.onnx")
    X = random_inputs(FrozenModel.load(path, any_scores=True))
    assert {*X["city"].ravel().tolist()} <= {*any_models.CITY.tolist()}
    assert len(any_models.of_onnxruntime(path, X)[0]) == len(X["city"])

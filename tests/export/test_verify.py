"""verify() passes what is right and fails what is not; save_verified() writes nothing then."""

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper, numpy_helper

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import Verification, random_inputs, save_verified, to_onnx, verify, write_onnx

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
        assert check.same_nodes
        assert check.same_signature
        assert check.n_samples == len(X)
        assert check.embedding_difference == 0
        z = zoo.embedding(onnx.load(path), X)
        assert check.agreement == (head.predict(z) == model.head.predict(z)).mean()
    assert verify(model, right, X).passed
    assert verify(path, path, X).agreement == 1


def test_a_model_in_memory_is_verified_itself_not_the_file_it_came_from(zoo, model, head):
    assert verify(model, model.with_head(head), zoo.inputs(), head=head, device="cpu").passed
    assert not verify(model, model, zoo.inputs(), head=head, device="cpu").passed


@pytest.mark.parametrize(
    ("tensor", "change"),
    [
        ("fc.weight", plus((1, 2), 0.01)),
        ("fc.bias", plus(0, 0.01)),
        ("fc.weight", lambda w: w[[1, 0, 2]]),
        ("fc.weight", lambda w: w * 0),
        ("body.weight", plus((0, 0), 0.01)),
        ("body.bias", plus(3, 0.01)),
    ],
)
def test_a_changed_file_fails(zoo, model, head, right, tensor, change):
    check = verify(model, changed(right, tensor, change), zoo.inputs(), head=head, device="cpu")
    assert not check.passed
    assert (check.embedding_difference > 0) == tensor.startswith("body")


def test_a_changed_body_fails_whatever_its_head(zoo, model, right):
    wrong = changed(right, "body.bias", plus(3, 0.01))
    assert not verify(model, wrong, zoo.inputs(), device="cpu").passed


def test_nan_embeddings_fail(zoo, model, right):
    wrong = changed(right, "body.bias", plus(3, np.nan))
    assert not verify(model, wrong, zoo.inputs(), device="cpu").passed
    for logits, embedding in ((0, np.nan), (np.nan, 0), (np.nan, np.nan)):
        assert not Verification(1, logits, embedding, 1, True, True).passed


def test_classes_in_another_order_fail_even_if_the_file_says_so(zoo, model, head, right):
    order = [1, 2, 0]
    proto = onnx.load(right)
    for tensor in proto.graph.initializer:
        if tensor.name.startswith("fc."):
            rows = numpy_helper.to_array(tensor)[order]
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rows), tensor.name))
    helper.set_model_props(proto, {"ntkit.classes": '["bee", "cow", "ant"]'})
    wrong = right.with_name("permuted.onnx")
    onnx.save(proto, wrong)
    # Whoever reads class 0 off the file's logits would get another class than before.
    assert not verify(model, wrong, zoo.inputs(), head=head, device="cpu").passed
    assert not verify(model, wrong, zoo.inputs(), device="cpu").passed


def test_another_architecture_fails_or_is_refused(zoo, model, head, tmp_path):
    graph = zoo.body()
    graph.add("Gemm", ["z", graph.constant("p", np.ones((4, 5)))], "narrow", transB=1)
    graph.add("Relu", ["narrow"], "n")
    graph.add("Gemm", ["n", graph.constant("w", np.ones((K, 4)))], "logits", transB=1)
    graph.output("logits", ["batch", K])
    other = zoo.save(graph.model(), tmp_path / "other.onnx")
    with pytest.raises(InputError, match="reads embeddings of shape"):
        verify(model, other, zoo.inputs(), device="cpu")
    other = FrozenModel.load(other, classes=NAMES)
    check = verify(model, other, zoo.inputs(), head=head, device="cpu")
    assert not check.passed
    assert check.embedding_difference == np.inf
    assert not check.same_nodes


def test_heads_the_file_cannot_hold_are_refused(zoo, model, right):
    with pytest.raises(InputError, match="knows the classes"):
        verify(model, right, zoo.inputs(), head=LinearHead(*zoo.weights(2), [0, 1]))
    with pytest.raises(InputError, match="no samples"):
        verify(model, right, zoo.inputs(0))
    backbone = FrozenModel.load(right, embedding="x")
    with pytest.raises(InputError, match="no head to verify"):
        verify(model, backbone, zoo.inputs())


# -- tails, sizes, kinds ----------------------------------------------------------------------


@pytest.mark.parametrize("output", ["scaled", "probabilities"])
@pytest.mark.parametrize("n_classes", [2, K, 5])
def test_a_scale_and_other_outputs_and_other_classes(zoo, output, n_classes, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Mul", ["logits", graph.constant("temperature", 16.0)], "scaled")
    graph.add("Softmax", ["scaled"], "probabilities")
    graph.output(output, ["batch", K])
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(n_classes, seed=4), range(n_classes))
    check = save_verified(
        model.with_head(head), tmp_path / "n.onnx", original=model, X=zoo.inputs(), head=head,
        device="cpu",
    )  # fmt: skip
    assert check.passed
    assert np.isnan(check.agreement) == (n_classes != K)


@pytest.mark.parametrize("n_logits", [1, 2])
@pytest.mark.parametrize("rows", [1, 2])
def test_two_classes_in_one_or_two_logits(zoo, n_logits, rows, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(n_logits), tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(rows, seed=4), [0, 1])
    check = save_verified(
        model.with_head(head), tmp_path / "n.onnx", original=model, X=zoo.inputs(), head=head
    )
    assert check.passed


def test_a_backbone_and_a_head_chosen_by_name(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("Gemm", ["h", graph.constant("w2", np.ones((2, 5)))], "domain", transB=1)
    graph.output("logits", ["batch", K])
    graph.output("domain", ["batch", 2])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    for options in ({"logits": "domain"}, {"embedding": "z"}, {"embedding": "x"}):
        model = FrozenModel.load(path, **options)
        width = 6 if model.head is None else 5
        head = LinearHead(np.eye(2, width), [0.1, 0.2], [0, 1])
        name = "_".join(options.values())
        check = save_verified(
            model.with_head(head), tmp_path / f"{name}.onnx", original=model, X=zoo.inputs(),
            head=head, device="cpu",
        )  # fmt: skip
        assert check.passed


def test_weights_beside_the_file(zoo, head, tmp_path):
    (tmp_path / "source").mkdir()
    path = zoo.save_external(zoo.classifier(K), tmp_path / "source" / "e.onnx")
    model = FrozenModel.load(path, classes=NAMES)
    check = save_verified(
        model.with_head(head), tmp_path / "n.onnx", original=model, X=zoo.inputs(), head=head
    )
    assert check.passed
    assert verify(model, tmp_path / "n.onnx", zoo.inputs(), head=head).passed


def test_files_that_are_nothing_but_a_head(zoo, head, tmp_path):
    first = write_onnx(to_onnx(head), tmp_path / "head.onnx")
    second = FrozenModel.load(first).with_head(head.scaled([1, 0, 1, 1, 1]))
    Z = zoo.inputs()[:, :5].copy()
    check = save_verified(second, tmp_path / "n.onnx", original=FrozenModel.load(first), X=Z)
    assert check.passed
    assert check.embedding_difference == 0


# -- save_verified ----------------------------------------------------------------------------


def test_nothing_is_written_when_the_check_fails(zoo, model, head, tmp_path):
    target = tmp_path / "n.onnx"
    target.write_text("precious")
    before = zoo.contents(tmp_path)
    wrong = LinearHead(head.coef + 0.01, head.intercept, NAMES)
    with pytest.raises(VerificationError, match=r"\(logits\).*n\.onnx was not written") as error:
        save_verified(
            model.with_head(wrong), target, original=model, X=zoo.inputs(), head=head, force=True
        )
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no samples"):
        save_verified(
            model.with_head(head), target, original=model, X=zoo.inputs(0), head=head, force=True
        )
    assert zoo.contents(tmp_path) == before
    with pytest.raises(InputError, match="exists"):
        save_verified(model.with_head(head), target, original=model, X=zoo.inputs(), head=head)
    assert zoo.contents(tmp_path) == before


# -- random inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_random_inputs_fit_the_model(zoo, dtype, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(K, dtype), tmp_path / "m.onnx"))
    X = random_inputs(model)
    assert X["x"].shape == (8, 6)
    assert_allclose(X["x"], random_inputs(model)["x"])
    assert verify(model, model, X, device="cpu").passed


@pytest.mark.parametrize(
    ("kind", "shape", "said"),
    [
        (TensorProto.FLOAT, ["batch", "length"], "leaves its size open"),
        (TensorProto.FLOAT, None, "leaves its size open"),
        (TensorProto.INT64, ["batch", 6], "takes no plain numbers"),
    ],
)
def test_inputs_that_cannot_be_guessed(zoo, kind, shape, said, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.nodes[0].input[0] = "f"
    graph.nodes.insert(0, helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT))
    graph.output("logits", ["batch", K])
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    model = FrozenModel.load(zoo.save(graph.model(inputs=inputs), tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=rf"input x .*{said}.*--data"):
        random_inputs(model)

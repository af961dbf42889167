"""Whatever can be read is told: inputs, outputs, each layer and why it is the head or not."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead
from ntkit.cli import main
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.extraction import read_samples
from ntkit.model import inspected
from ntkit.verification import check_head, random_inputs, save_verified

K = 3


def shown(capsys, *arguments):
    """What ``ntkit inspect --json`` prints, and its exit code."""
    try:
        main(["inspect", *map(str, arguments), "--json"])
    except SystemExit as end:
        code = end.code or 0
    return code, json.loads(capsys.readouterr().out)


def with_relu(zoo, path):
    graph = zoo.classifier(K, output=False)
    graph.add("Relu", ["logits"], "y")
    graph.output("y", ["batch", K])
    return zoo.save(graph.model(), path)


def test_a_model_without_a_head_is_told_whole(zoo, tmp_path, capsys):
    code, facts = shown(capsys, with_relu(zoo, tmp_path / "m.onnx"))
    assert code == 0
    assert "comes from Relu" in facts["refused"]
    assert facts["inputs"] == ["x (batch, 6) float32"]
    assert facts["outputs"] == [f"y (batch, {K}) float32"]
    assert facts["head"] is facts["embedding"] is facts["classes"] is None
    blocked, behind = facts["candidates"]
    assert (blocked["outputs"], blocked["layer"], blocked["taken"]) == (["y"], None, False)
    assert (behind["logits"], behind["layer"], behind["neurons"]) == ("logits", "Gemm", 5)
    assert facts["debias_needs"] == ["a head: see refused and candidates"]


def test_of_two_heads_each_says_why_it_is_the_one_or_not(zoo, tmp_path, capsys):
    graph = zoo.classifier(K, output=False)
    graph.output("logits", ["batch", K])
    W, b = zoo.weights(2, seed=5)
    graph.add("Gemm", ["z", graph.constant("w2", W), graph.constant("b2", b)], "other", transB=1)
    graph.output("other", ["batch", 2])
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    code, facts = shown(capsys, path)
    assert code == 0
    reasons = {row["logits"]: row["reason"] for row in facts["candidates"]}
    assert reasons == {
        name: f"may be the head: choose it with --logits {name}" for name in ("logits", "other")
    }
    _, facts = shown(capsys, path, "--logits", "other")
    assert facts["refused"] is None
    assert {row["logits"]: row["taken"] for row in facts["candidates"]} == {
        "logits": False,
        "other": True,
    }
    needs = "\n".join(facts["debias_needs"])
    assert "numeric columns" in needs
    assert "0, 1" in needs


def test_nan_weights_are_told_and_not_taken(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.output("logits", ["batch", K])
    graph.tensors["fc.weight"][0, 0] = np.nan
    path = zoo.save(graph.model(), tmp_path / "m.onnx")
    assert "NaN" in inspected(path)[1]["refused"]
    with pytest.raises(ModelError, match="NaN"):
        FrozenModel.load(path)


def test_what_is_no_onnx_model_is_said(tmp_path):
    path = tmp_path / "m.ort"
    path.write_bytes(b"\x20\0\0\0ORTM" + bytes(40))
    with pytest.raises(ModelError, match=r"ONNX Runtime's own format.*pass the \.onnx file"):
        inspected(path)


def test_sequences_are_named_as_what_they_are(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("SequenceConstruct", ["logits"], "y")
    graph.outputs.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    _, facts = inspected(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert facts["outputs"] == ["y unknown shape sequence of float32"]
    assert "a sequence of tensors" in facts["refused"]
    assert "--logits" not in facts["refused"]


# -- what a head decides -------------------------------------------------------------------------


def ending_in(zoo, path, op, n_logits=K, **attributes):
    graph = zoo.classifier(n_logits, output=False)
    graph.add(op, ["logits"], "y", **attributes)
    graph.output("y", ["batch", n_logits])
    return zoo.save(graph.model(), path)


@pytest.mark.parametrize(
    ("op", "n_logits", "task"),
    [
        ("Softmax", K, "one of 3 classes"),
        ("Sigmoid", 1, "one of two classes, by one logit"),
        ("Sigmoid", K, "each of 3 labels independently"),
        ("Identity", 1, "one of two classes|regression"),
    ],
)
def test_what_a_head_decides_is_told(zoo, op, n_logits, task, tmp_path):
    model = FrozenModel.load(ending_in(zoo, tmp_path / "m.onnx", op, n_logits))
    assert any(part in model.describe()["task"] for part in task.split("|"))
    assert (model.not_single_label is not None) == ("independently" in task)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"problem_type": "regression"},
            r"a regression, according to config\.json \(problem_type\)",
        ),
        ({"problem_type": "multi_label_classification"}, "each of its 3 labels independently"),
        (
            {"id2label": {"0": "LABEL_0"}, "transformers_version": "5.0"},
            r"a regression, according to config\.json \(one label\)",
        ),
        ({"problem_type": "single_label_classification"}, None),
        ({}, None),
    ],
)
def test_what_its_files_say_of_a_model_counts(zoo, config, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    n_logits = 1 if said and "regression" in said else K
    model = FrozenModel.load(zoo.save(zoo.classifier(n_logits), tmp_path / "m.onnx"))
    if said is None:
        assert model.not_single_label is None
    else:
        with pytest.raises(InputError, match=said):
            raise InputError(model.not_single_label)


def test_debias_refuses_several_labels_with_the_reason(zoo, tmp_path, capsys):
    path = ending_in(zoo, tmp_path / "m.onnx", "Sigmoid")
    X, y = zoo.inputs(60), np.arange(60) % K
    np.savez(tmp_path / "d.npz", X=X, y=y)
    data = ["--train", tmp_path / "d.npz", "--validation", tmp_path / "d.npz"]
    with pytest.raises(SystemExit) as end:
        main(list(map(str, ["debias", path, *data, "-o", tmp_path / "out"])))
    assert end.value.code
    assert "each of its 3 labels independently" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- a batch of one, outputs without a shape, several inputs ---------------------------------------


def squeezed(g):
    g.add("Squeeze", ["logits"], "y")


def squeezed_and_normalised(g):
    g.add("Squeeze", ["logits", g.constant("axis", [0], np.int64)], "row")
    g.add("Softmax", ["row"], "y", axis=0)


def in_one_row(g):
    g.add("Reshape", ["logits", g.constant("row", [-1], np.int64)], "y")


@pytest.mark.parametrize("build", [squeezed, squeezed_and_normalised, in_one_row])
def test_one_sample_at_a_time_without_its_axis(zoo, build, tmp_path):
    graph = zoo.classifier(K, output=False)
    build(graph)
    graph.output("y", [K])
    model = FrozenModel.load(zoo.save(graph.model(batch=1), tmp_path / "m.onnx"))
    X = zoo.inputs(6)
    assert check_head(model, X, device="cpu").passed
    new = model.with_head(LinearHead(*zoo.weights(K, seed=8), range(K)))
    assert save_verified(new, tmp_path / "n.onnx", original=model, X=X, device="cpu").passed


def test_several_samples_do_not_lose_their_axis(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    in_one_row(graph)
    graph.output("y", [K])
    with pytest.raises(HeadNotFoundError):
        FrozenModel.load(zoo.save(graph.model(batch=4), tmp_path / "m.onnx"))


def test_an_output_without_a_shape_gets_one(zoo, tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.output("logits", None)
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    head = LinearHead(*zoo.weights(K, seed=8), range(K))
    new = model.with_head(head).save(tmp_path / "n.onnx")
    assert FrozenModel.load(new).outputs[0].shape == ("batch", K)
    assert model.with_head(model.head).save(tmp_path / "same.onnx").exists()


def test_inputs_of_open_sizes_are_made(zoo, tmp_path):
    graph = zoo.Graph()
    graph.add("GlobalAveragePool", ["x"], "pooled")
    graph.add("Flatten", ["pooled"], "flat")
    W, b = zoo.weights(K)
    graph.add("Gemm", ["flat", graph.constant("w", W), graph.constant("b", b)], "logits", transB=1)
    graph.output("logits", ["batch", K])
    sides = ["batch", W.shape[1], "height", "width"]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)
    model = FrozenModel.load(zoo.save(graph.model(inputs=[x]), tmp_path / "m.onnx"))
    X = random_inputs(model)
    assert X["x"].shape[:2] == (8, W.shape[1])
    assert check_head(model, X, device="cpu").passed


def test_an_open_row_of_floats_is_a_second_of_sound(zoo, tmp_path):
    graph = zoo.Graph()
    graph.add("Unsqueeze", ["x", graph.constant("one", [1], np.int64)], "channel")
    kernel = np.random.default_rng(0).normal(size=(zoo.N_NEURONS, 1, 25))
    graph.add("Conv", ["channel", graph.constant("c", kernel)], "map", strides=[8])
    graph.add("Relu", ["map"], "bent")
    graph.add("GlobalAveragePool", ["bent"], "pooled")
    graph.add("Flatten", ["pooled"], "z")
    W, b = zoo.weights(K)
    given = [graph.constant("w", W), graph.constant("b", b)]
    graph.add("Gemm", ["z", *given], "logits", transB=1)
    graph.output("logits", ["batch", K])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length"])
    model = FrozenModel.load(zoo.save(graph.model(inputs=[x]), tmp_path / "m.onnx"))
    assert check_head(model, random_inputs(model), device="cpu").passed


def test_an_archive_may_hold_an_array_for_each_input(zoo, tmp_path):
    graph = zoo.Graph()
    graph.add("Add", ["left", "right"], "sum")
    graph.add("Relu", ["sum"], "z")
    W, b = zoo.weights(K)
    graph.add("Gemm", ["z", graph.constant("w", W), graph.constant("b", b)], "logits", transB=1)
    graph.output("logits", ["batch", K])
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", W.shape[1]])
        for name in ("left", "right")
    ]
    model = FrozenModel.load(zoo.save(graph.model(inputs=inputs), tmp_path / "m.onnx"))
    left, right = np.random.default_rng(0).normal(size=(2, 9, W.shape[1])).astype(np.float32)
    np.savez(tmp_path / "d.npz", left=left, right=right, y=np.arange(9) % K)
    samples = read_samples(tmp_path / "d.npz", inputs=model.inputs)
    assert_allclose(samples.X["right"], right)
    assert len(samples) == 9
    np.savez(tmp_path / "odd.npz", left=left, right=right[:5], y=np.arange(9) % K)
    with pytest.raises(InputError, match="right has 5 samples"):
        read_samples(tmp_path / "odd.npz", inputs=model.inputs)
    np.savez(tmp_path / "less.npz", left=left, y=np.arange(9) % K)
    with pytest.raises(InputError, match="no array 'right'"):
        read_samples(tmp_path / "less.npz", inputs=model.inputs)


# -- a Sigmoid written out -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["divided", "reciprocal", "of_powers"])
def test_a_sigmoid_written_out_is_post_processing(zoo, how, tmp_path):
    graph = zoo.classifier(1, output=False)
    one = graph.constant("one", 1)
    if how == "of_powers":
        graph.add("Exp", ["logits"], "power")
        graph.add("Add", [one, "power"], "total")
        graph.add("Div", ["power", "total"], "y")
    else:
        graph.add("Neg", ["logits"], "minus")
        graph.add("Exp", ["minus"], "power")
        graph.add("Add", ["power", one], "total")
        if how == "divided":
            graph.add("Div", [one, "total"], "y")
        else:
            graph.add("Reciprocal", ["total"], "y")
    graph.output("y", ["batch", 1])
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert model.describe()["post_processing"] == ["Sigmoid"]
    assert check_head(model, zoo.inputs(), device="cpu").passed
    head = LinearHead(*zoo.weights(1, seed=8), range(2))
    X = zoo.inputs()
    new = model.with_head(head).save(tmp_path / "n.onnx")
    logits = head.decision_function(zoo.embedding(graph.model(), X)).reshape(-1, 1)
    assert_allclose(zoo.run(new, X)["y"], 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize("other", [2.0, -1.0])
def test_what_only_looks_like_a_sigmoid_is_none(zoo, other, tmp_path):
    graph = zoo.classifier(1, output=False)
    graph.add("Neg", ["logits"], "minus")
    graph.add("Exp", ["minus"], "power")
    graph.add("Add", ["power", graph.constant("other", other)], "total")
    graph.add("Div", [graph.constant("one", 1), "total"], "y")
    graph.output("y", ["batch", 1])
    with pytest.raises(HeadNotFoundError, match="Div"):
        FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))

"""Whatever can be read is told: inputs, outputs, each layer and why it is the head or not."""

import json
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from ntkit import FrozenModel, LinearHead
from ntkit.cli import main
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.extraction import OnnxEmbedder, read_samples
from ntkit.extraction.head_check import check_head
from ntkit.model.frozen_model import inspected
from ntkit.verification import random_inputs, save_verified
from tests import models as zoo

K = 3


def shown(capsys, *arguments):
    """What ``ntkit inspect --json`` prints, and its exit code."""
    try:
        main(["inspect", *map(str, arguments), "--json"])
    except SystemExit as end:
        code = end.code or 0
    return code, json.loads(capsys.readouterr().out)


def written(folder, text, outputs=None, **options):
    """The plain classifier, followed by a program."""
    return zoo.save(zoo.built(text, "classifier", outputs, **options), folder / "m.onnx")


def test_a_model_without_a_head_is_told_whole(tmp_path, capsys):
    code, facts = shown(capsys, written(tmp_path, "y = Relu(logits)", {"y": ["batch", K]}))
    assert code == 0
    assert "comes from Relu" in facts["refused"]
    assert facts["inputs"] == ["x (batch, 6) float32"]
    assert facts["outputs"] == [f"y (batch, {K}) float32"]
    assert facts["head"] is facts["embedding"] is facts["classes"] is None
    blocked, behind = facts["candidates"]
    assert (blocked["outputs"], blocked["layer"], blocked["taken"]) == (["y"], None, False)
    assert (behind["logits"], behind["layer"], behind["neurons"]) == ("logits", "Gemm", 5)
    assert facts["debias_needs"] == ["a head: see refused and candidates"]


def test_of_two_heads_each_says_why_it_is_the_one_or_not(tmp_path, capsys):
    outputs = {"logits": ["batch", K], "other": ["batch", 2]}
    path = written(tmp_path, "other = Gemm(z, np.eye(2, 5), np.ones(2), transB=1)", outputs)
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


def test_nan_weights_and_other_files_are_told_and_not_taken(tmp_path):
    for bad in ("np.nan, np.zeros(3)", "0, np.full(3, np.inf)"):
        proto = zoo.built(f"logits = Gemm(z, np.ones((3, 5)) + {bad}, transB=1)")
        path = zoo.save(proto, tmp_path / "m.onnx")
        assert "NaN" in inspected(path)[1]["refused"]
        with pytest.raises(ModelError, match=r"head of .*m\.onnx \(Gemm, 'logits'\) has NaN or i"):
            FrozenModel.load(path)
    (tmp_path / "m.ort").write_bytes(b"\x20\0\0\0ORTM" + bytes(40))
    with pytest.raises(ModelError, match=r"ONNX Runtime's own format.*pass the \.onnx file"):
        inspected(tmp_path / "m.ort")


def test_sequences_are_named_as_what_they_are(tmp_path):
    graph = zoo.classifier(K, output=False)
    graph.add("SequenceConstruct", ["logits"], "y")
    graph.outputs.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    _, facts = inspected(zoo.save(graph.model(), tmp_path / "m.onnx"))
    assert facts["outputs"] == ["y unknown shape sequence of float32"]
    assert "a sequence of tensors" in facts["refused"]
    assert "--logits" not in facts["refused"]


# -- what a head decides -------------------------------------------------------------------------


def test_what_a_head_decides_is_told(tmp_path):
    for op, n_logits, task in [
        ("Softmax", K, "one of 3 classes"),
        ("Sigmoid", 1, "one of two classes, by one logit"),
        ("Sigmoid", K, "each of 3 labels independently"),
        ("Identity", 1, "one of two classes|regression"),
    ]:
        model = FrozenModel.load(written(tmp_path, f"y = {op}(logits)", n_logits=n_logits))
        assert re.search(task, model.describe()["task"])
        assert (model.not_single_label is not None) == ("independently" in task)


def test_numbers_without_names_or_a_softmax_may_be_regressions(tmp_path):
    path = zoo.save(zoo.classifier(K), tmp_path / "m.onnx")
    words = "one of 3 classes, or perhaps 3 regressions"
    assert words in inspected(path)[1]["task"]
    assert inspected(path, classes=["a", "b", "c"])[1]["task"] == "one of 3 classes"
    soft = written(tmp_path, "y = Softmax(logits)", n_logits=K)
    assert inspected(soft)[1]["task"] == "one of 3 classes"


def test_what_its_files_say_of_a_model_counts(tmp_path):
    regression = r"a regression, according to config\.json \({}\)"
    for config, said in [
        ({"problem_type": "regression"}, regression.format("problem_type")),
        ({"problem_type": "multi_label_classification"}, "each of its 3 labels independently"),
        ({"id2label": {"0": "LABEL_0"}, "transformers_version": "5.0"},
         regression.format("one label")),
        ({"problem_type": "single_label_classification"}, None),
        ({}, None),
    ]:  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(config))
        n_logits = 1 if said and "regression" in said else K
        model = FrozenModel.load(zoo.save(zoo.classifier(n_logits), tmp_path / "m.onnx"))
        found = model.not_single_label
        assert found is None if said is None else re.search(said, found)


def test_debias_refuses_several_labels_with_the_reason(tmp_path, capsys):
    path = written(tmp_path, "y = Sigmoid(logits)", {"y": ["batch", K]})
    X, y = zoo.inputs(60), np.arange(60) % K
    np.savez(tmp_path / "d.npz", X=X, y=y)
    data = ["--train", tmp_path / "d.npz", "--validation", tmp_path / "d.npz"]
    with pytest.raises(SystemExit) as end:
        main(list(map(str, ["debias", path, *data, "-o", tmp_path / "out"])))
    assert end.value.code
    assert "each of its 3 labels independently" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- a batch of one, outputs without a shape, several inputs ---------------------------------------


def test_one_sample_at_a_time_without_its_axis(tmp_path):
    X = zoo.inputs(6)
    for text in ("y = Squeeze(logits)", "y = Softmax(Squeeze(logits, [0]), axis=0)",
                 "y = Reshape(logits, [-1])"):  # fmt: skip
        model = FrozenModel.load(written(tmp_path, text, {"y": [K]}, batch=1))
        check_head(OnnxEmbedder(model, device="cpu"), X)
        new, path = model.with_head(LinearHead(*zoo.weights(K, seed=8), range(K))), tmp_path / "n"
        check = save_verified(new, path, original=model, X=X, device="cpu", force=True)
        assert check.passed
    model = FrozenModel.load(written(tmp_path, "", {"logits": None}))
    new = model.with_head(model.head).save(tmp_path / "n.onnx")
    assert FrozenModel.load(new).outputs[0].shape == ("batch", K)  # where there was none
    with pytest.raises(HeadNotFoundError):  # several samples do not lose their axis
        FrozenModel.load(written(tmp_path, text, {"y": [K]}, batch=4))


GEMM = "logits = Gemm(z, np.eye(3, 5), np.ones(3), transB=1)"


def with_inputs(folder, text, shapes):
    """A model with inputs of its own."""
    graph = zoo.Graph()
    graph.write(text + GEMM, KERNEL=np.random.default_rng(0).normal(size=(5, 1, 25)))
    graph.output("logits", ["batch", K])
    inputs = [zoo.value(name, shape) for name, shape in shapes.items()]
    return FrozenModel.load(zoo.save(graph.model(inputs=inputs), folder / "m.onnx"))


def test_inputs_of_open_sizes_are_made(tmp_path):
    sound = "Relu(Conv(Unsqueeze(x, [1]), KERNEL, strides=[8]))"
    for image, shape in (("x", ["batch", 5, "height", "width"]), (sound, ["batch", "length"])):
        text = f"z = Flatten(GlobalAveragePool({image}))\n"
        model = with_inputs(tmp_path, text, {"x": shape})
        X = random_inputs(model)
        assert len(X["x"]) == 8
        check_head(OnnxEmbedder(model, device="cpu"), X)


def test_an_archive_may_hold_an_array_for_each_input(tmp_path):
    shapes = dict.fromkeys(("left", "right"), ("batch", 5))
    model = with_inputs(tmp_path, "z = Relu(Add(left, right))\n", shapes)
    left, right = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    for others, words in (
        ({"right": right}, None),
        ({"right": right[:5]}, "right has 5 samples"),
        ({}, "no array 'right'"),
    ):
        np.savez(tmp_path / "d.npz", left=left, y=np.arange(9) % K, **others)
        if words is None:
            samples = read_samples(tmp_path / "d.npz", inputs=model.inputs)
            assert_allclose(samples.X["right"], right)
            assert len(samples) == 9
        else:
            with pytest.raises(InputError, match=words):
                read_samples(tmp_path / "d.npz", inputs=model.inputs)

"""Scores that a graph rounds or cuts off after its last layer: the file's own classes count."""

import json

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto
from onnxruntime import quantization

import ntkit
from ntkit import DebiasSettings, FrozenModel, OnnxEmbedder
from ntkit.jobs.check import Limits
from tests import models
from tests.cases import done
from tests.cases import ntkit as run

N = 400
TAILS = {
    "clip": ("out = Clip(logits, -0.4, 0.4)", np.float32),
    "clip of probabilities": ("out = Clip(Softmax(logits, axis=1), 0.05, 0.4)", np.float32),
    "clip of log-probabilities": ("out = Clip(LogSoftmax(logits, axis=1), -0.9, 0.0)", np.float32),
    "factor after a clip": ("out = Softmax(Mul(Clip(logits, -0.4, 0.4), 3.0), axis=1)", np.float32),
    "half": ("out = Softmax(Mul(logits, 0.01), axis=1)", np.float16),  # about 1/3, rounded
    "half, as float": ("out = Cast(Softmax(Mul(logits, 0.01), axis=1), to=FLOAT)", np.float16),
    "labels": ("out = ArgMax(Clip(logits, -0.4, 0.4), axis=1, keepdims=0)", np.float32),
}


class Rows(quantization.CalibrationDataReader):
    def __init__(self, X):
        self.rows = iter([{"x": X}])

    def get_next(self):
        return next(self.rows, None)


def made(form, path):
    """A model of this form; a quantised one is made from the float model."""
    text, dtype = TAILS.get(form, ("", np.float32))
    shape = {"out": (["batch", 3], TensorProto.FLOAT)} if form == "half, as float" else None
    shape = {"out": (["batch"], models.INT64)} if form == "labels" else shape
    models.save(models.built(text, "classifier", shape, dtype=dtype), path)
    if form in ("QDQ", "QOperator"):
        whole = path.rename(path.with_suffix(".float.onnx"))
        kind = {"quant_format": quantization.QuantFormat[form]}
        kind |= {"activation_type": quantization.QuantType.QUInt8}
        quantization.quantize_static(whole, path, Rows(models.inputs(N)), **kind)
    if form == "dynamic":
        whole = path.rename(path.with_suffix(".float.onnx"))
        quantization.quantize_dynamic(whole, path)
    X = models.inputs(N, dtype)
    X[::8] *= 50 if form == "dynamic" else 1  # coarsens the steps of a batch
    return path, X


def classes_of(path, X):
    """Classes by ONNX Runtime."""
    rows = outputs_of(path, X)
    return rows if rows.ndim == 1 else rows.argmax(axis=1)


def outputs_of(path, X):
    """The only output by ONNX Runtime, one sample at a time."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": X[i : i + 1]})[0] for i in range(len(X))])


FORMS = [*TAILS, "QDQ", "QOperator", "dynamic"]


@pytest.mark.parametrize("form", FORMS)
def test_predict_check_and_audit_count_the_files_own_classes(form, tmp_path):
    path, X = made(form, tmp_path / "m.onnx")
    own, model = classes_of(path, X), FrozenModel.load(path)
    exact = model.head.predict(OnnxEmbedder(model, device="cpu", batch_size=8).transform(X))
    # Before a Cast, ONNX Runtime leaves out the rounding on a CPU.
    assert (own != exact).any() or form == "half, as float"
    y = np.where(np.arange(N) % 5 == 0, (own + 1) % 3, own)
    predicted = ntkit.predict(path, (X, y), device="cpu")
    assert np.array_equal(predicted.labels, own)
    assert not any("cuts off" in note for note in predicted.notes)
    checked = ntkit.check(None, path, (X, y), limits=Limits(average=50), device="cpu")
    assert checked.average.right == (own == y).sum()
    audit = ntkit.audit_model(path, (X, y), device="cpu", changes=0, trust_inputs=True)
    assert np.array_equal(audit.predictions.pred_index, own)
    assert audit.repairable


def test_new_errors_of_a_clip_are_counted(tmp_path):
    plain, X = made("plain", tmp_path / "plain.onnx")
    clipped, _ = made("clip", tmp_path / "clip.onnx")
    y = classes_of(plain, X)
    np.savez(tmp_path / "d.npz", X=X, y=y)
    code, out, _ = run("check", plain, clipped, tmp_path / "d.npz", "--max-drop", 1, "--json")
    assert (code, json.loads(out)["n_new_errors"]) == (1, (classes_of(clipped, X) != y).sum())


@pytest.mark.parametrize("form", ["QDQ", "half"])
def test_probabilities_are_those_of_the_file(form, tmp_path):
    path, X = made(form, tmp_path / "m.onnx")
    if form == "QDQ":
        models.save(models.built("out = Softmax(logits, axis=1)", "classifier"), path)
        whole = path.rename(tmp_path / "float.onnx")
        quantization.quantize_static(whole, path, Rows(X))
    predicted = ntkit.predict(path, X, device="cpu").probabilities
    np.testing.assert_allclose(predicted, outputs_of(path, X), atol=1e-6)


WIDE = ["Clip(Softmax(logits, axis=1), 0.01, 0.99)", "Clip(LogSoftmax(logits, axis=1), -9.0, 0.0)"]


@pytest.mark.parametrize("tail", WIDE)
def test_a_clip_that_leaves_the_largest_score_is_read_as_before(tail, tmp_path):
    path = models.save(models.built(f"out = {tail}", "classifier"), tmp_path / "m.onnx")
    X = models.inputs(N)
    predicted = ntkit.predict(path, X, device="cpu")
    assert np.array_equal(predicted.labels, classes_of(path, X))
    assert predicted.notes == ()


def test_a_store_of_embeddings_gets_a_note(tmp_path):
    path, X = made("clip", tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", X=X, y=np.arange(N) % 3)
    done("embed", path, tmp_path / "d.npz", "-o", tmp_path / "store", "--device", "cpu")
    said = ntkit.predict(path, tmp_path / "store", device="cpu").notes
    assert any("m.onnx rounds or cuts off its scores" in note for note in said)


def test_dynamic_quantisation_runs_one_sample_at_a_time(tmp_path):
    path, X = made("dynamic", tmp_path / "m.onnx")
    notes = ntkit.predict(path, X, device="cpu").notes
    assert any("m.onnx scales its activations by the largest of a batch" in n for n in notes)
    alone = OnnxEmbedder(path, device="cpu").transform(X)
    assert np.array_equal(alone, OnnxEmbedder(path, device="cpu", batch_size=1).transform(X))
    together = OnnxEmbedder(path, device="cpu", batch_size=N).transform(X)
    assert np.abs(together - alone).max() > 0.01
    plain, _ = made("plain", tmp_path / "plain.onnx")
    assert ntkit.predict(plain, X, device="cpu").notes == ()


@pytest.mark.more
@pytest.mark.parametrize(("form", "noted"), [("half", 2), ("QDQ", 1), ("plain", 0)])
def test_debias_tells_that_the_file_may_decide_differently(form, noted, tmp_path):
    path, X = made(form, tmp_path / "m.onnx")
    y = np.where(X[:, 0] > 0.5, np.arange(N) % 3, classes_of(path, X))
    sets = {"train": (X[:200], y[:200]), "validation": (X[200:], y[200:])}
    result = ntkit.debias(
        path,
        **sets,
        method="class-balanced",
        settings=DebiasSettings(otherwise="new head", trust_inputs=True),
        device="cpu",
    )
    assert sum("rounds or cuts off its scores" in note for note in result.notes) == noted


def test_a_label_beside_scores_that_are_cut_off_decides(tmp_path):
    text = "cut = Clip(logits, -0.4, 0.4)\nout = ArgMax(logits, axis=1, keepdims=0)"
    outputs = {"cut": ["batch", 3], "out": (["batch"], models.INT64)}
    path = models.save(models.built(text, "classifier", outputs), tmp_path / "m.onnx")
    X = models.inputs(N)
    own = models.run(path, X)
    assert (own["cut"].argmax(axis=1) != own["out"]).any()
    assert np.array_equal(ntkit.predict(path, X, device="cpu").labels, own["out"])

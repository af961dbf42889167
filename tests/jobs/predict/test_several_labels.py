"""Predictions of several labels: those of ONNX Runtime, at the model's thresholds."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from scipy.special import logit

import ntkit
from ntkit import FrozenModel
from ntkit.jobs.check import check_predictions
from ntkit.jobs.predict import write_predictions
from tests import models as zoo
from tests.several_labels import LABELS, REPAIRED

LEVELS = np.array([0.3, 0.5, 0.5, 0.7, 0.5])


@pytest.fixture(scope="module")
def new(five, tmp_path_factory):
    """The model with other thresholds, and another head of one label."""
    old = FrozenModel.load(five.model).of_label(REPAIRED)
    model = old.with_head(old.head.scaled(np.arange(32) % 3 != 0)).whole
    path = tmp_path_factory.mktemp("new") / "new.onnx"
    thresholds = dict(zip(LABELS, LEVELS.tolist(), strict=True))
    model.with_provenance({"thresholds": json.dumps(thresholds)}).save(path)
    return path


@pytest.fixture(scope="module")
def data(five):
    X, Y = five.set("test")
    Y = Y.astype(float)
    Y[::4, 0] = np.nan
    return X, Y


def test_all_labels_in_memory(new, data):
    scores = zoo.run(new, data[0])["scores"]
    found = ntkit.predict(new, data, device="cpu")
    assert found.classes.tolist() == list(LABELS)
    np.testing.assert_allclose(found.probabilities, scores, atol=1e-6)
    np.testing.assert_array_equal(found.labels, scores > LEVELS)
    distance = np.abs(logit(scores) - logit(LEVELS))
    np.testing.assert_allclose(found.margins, distance, atol=1e-3)
    one = ntkit.predict(new, data, label=LABELS[3], device="cpu")
    np.testing.assert_allclose(one.margins, distance[:, 3], atol=1e-3)
    assert repr(found).startswith("Predictions(994 samples, 5 labels, 7")
    assert ntkit.predict(new, data[0][:0], device="cpu").labels.shape == (0, 5)


def test_a_layer_for_each_label_predicts_and_checks_the_same(five, data, tmp_path):
    known = {
        each.name: onnx.numpy_helper.to_array(each)
        for each in onnx.load(five.model).graph.initializer
    }
    W, b, program = known.pop("W2"), known.pop("b2"), ["h = Gemm(x, W1, b1)", "z = Relu(h)"]
    for i, name in enumerate(LABELS):
        known |= {f"w_{i}": W[:, i : i + 1], f"b_{i}": b[i : i + 1]}
        program += [f"l{i} = Gemm(z, w_{i}, b_{i})", f"{name} = Sigmoid(l{i})"]
    outputs = ", ".join(f"float[batch, 1] {name}" for name in LABELS)
    graph = f"(float[batch, 64] x) => ({outputs}) {{\n{chr(10).join(program)}\n}}"
    apart = zoo.save(zoo.parsed(graph, **known), tmp_path / "apart.onnx")
    one, other = (ntkit.predict(path, data, device="cpu") for path in (apart, five.model))
    assert one.classes.tolist() == list(LABELS)
    np.testing.assert_array_equal(one.labels, other.labels)
    one, other = (
        ntkit.check(path, path, data, limits={"max_drop": 5}, device="cpu").as_dict()["rows"]
        for path in (apart, five.model)
    )
    assert one == other


def test_one_label_keeps_unknown_samples_and_the_models_score(new, data):
    scores = zoo.run(new, data[0])["scores"][:, 3]
    found = ntkit.predict(new, data, label="prime", device="cpu")
    np.testing.assert_allclose(found.probabilities[:, 1], scores, atol=1e-6)
    np.testing.assert_array_equal(found.labels == "prime", scores > 0.7)
    unknown = ntkit.predict(new, data, label="even", device="cpu")
    assert (unknown.y[::4] == "").all()
    assert len(unknown) == len(data[0])


def test_the_table_says_which_labels_flipped(five, new, data, tmp_path):
    X, Y = data
    before, after = (zoo.run(path, X)["scores"] for path in (five.model, new))
    flipped = (before > 0.5) != (after > LEVELS)
    done = write_predictions(tmp_path / "all.csv", new, data, before=five.model, device="cpu")
    assert done.n_changed == flipped.any(axis=1).sum()
    assert done.changed_labels == dict(zip(LABELS, flipped.sum(axis=0).tolist(), strict=True))
    known = ~np.isnan(Y)
    assert done.n_labelled == known.sum()
    assert done.n_right == ((after > LEVELS) == Y)[known].sum()
    table = pd.read_csv(tmp_path / "all.csv")
    for i, name in enumerate(LABELS):
        np.testing.assert_array_equal(table[f"label_{name}"], Y[:, i])
        np.testing.assert_array_equal(table[f"prediction_{name}"], after[:, i] > LEVELS[i])
        np.testing.assert_array_equal(table[f"changed_{name}"], flipped[:, i])
        np.testing.assert_allclose(table[f"prob_before_{name}"], before[:, i], atol=1e-5)
    assert f": 'even' on {flipped[:, 0].sum()}" in str(done)
    assert f"Accuracy of {known.sum()} labels: " in str(done)
    one = check_predictions(
        table["label_prime"],
        table["prediction_prime"],
        y_pred_before=table["prediction_before_prime"],
        limits={"max_drop": 5},
    )
    every = ntkit.check(five.model, new, data, limits={"max_drop": 5}, device="cpu")
    assert one.average.value == every.row("prime: average").value
    assert one.average.lost == every.row("prime: average").lost


def test_the_two_models_may_take_batches_of_different_sizes(five, tmp_path):
    proto = onnx.load(five.model)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 7
    onnx.save(proto, tmp_path / "sevens.onnx")
    models = five.model, five.set("test")
    done = write_predictions(
        tmp_path / "all.csv", *models, before=tmp_path / "sevens.onnx", device="cpu"
    )
    assert (done.n_changed, done.n_samples) == (0, 994)


@pytest.mark.parametrize("kind", ["Int64", "boolean", "float", object])
def test_labels_of_pandas_types_with_missing_values(five, data, kind):
    X, Y = data
    frame = pd.DataFrame(Y, columns=LABELS)
    given = frame.astype("Int64").astype(kind) if kind is not object else frame.astype(object)
    if kind is object:
        given = given.where(frame.notna(), None)
    limits = {"average": 50}
    one, other = (
        ntkit.check(five.model, five.model, (X, y), limits=limits, device="cpu").as_dict()["rows"]
        for y in (frame, given)
    )
    assert one == other

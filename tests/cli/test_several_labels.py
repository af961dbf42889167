"""Broken tables and names of labels: a sentence each, from the command line."""

import json
import shlex
import shutil

import numpy as np
import onnx
import pandas as pd
import pytest

from ntkit import FrozenModel, LinearHead
from ntkit.attributes.answers import Answer, Answers
from ntkit.jobs.check import Limits, toml_of
from ntkit.verification import save_verified
from tests import models as networks
from tests.cases import done, ntkit, refused, write_csv
from tests.several_labels import LABELS


def table_of(five, path, **columns):
    """The first test samples, with other columns of labels; None leaves a column out."""
    X, Y = (part[:40] for part in five.set("test"))
    table = pd.DataFrame(X, columns=[f"p{i}" for i in range(X.shape[1])])
    for name, values in (dict(zip(LABELS, Y.T, strict=True)) | columns).items():
        if values is not None:
            table[name] = values
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"even": 2}, "--label even", "row 2: '2' in column 'even' is not 0, 1 or empty"),
        ({"even": 2}, "", "row 2: '2' in column 'even' is not 0, 1 or empty"),
        ({"even": "yes"}, "", "'yes' in column 'even' is not 0, 1 or empty"),
        ({"even": None}, "--label even", "has no column 'even' with 0 and 1"),
        (dict.fromkeys(LABELS), "", "has no column 'even' with 0 and 1"),
        ({"even": np.nan}, "--label even", "no sample has a known value"),
        ({}, "--label evn", "model.onnx has no label 'evn'"),
        ({}, "--answers answers.json", "Name it with --label"),
        ({}, "--report REPORT", "--report is on one label"),
    ],
)
def test_what_check_refuses(five, tmp_path, columns, options, says):
    data = table_of(five, tmp_path / "t.csv", **columns)
    words = [tmp_path / "r.html" if word == "REPORT" else word for word in options.split()]
    refused("check", five.model, five.model, data, *words, says=says)


def test_label_needs_one_label(five, tmp_path):
    data = table_of(five, tmp_path / "t.csv")
    for options in ((), ("--check", data)):
        out = ("-o", tmp_path / "q", "--question", "A mark?")
        refused("label", five.model, data, *out, *options, says="Name one of them with --label")
    assert not (tmp_path / "q").exists()


def test_an_old_model_without_names_has_no_labels_of_the_new_one(five, tmp_path):
    data, paths = table_of(five, tmp_path / "t.csv"), {}
    for name, names in (("plain", None), ("named", LABELS)):
        model = onnx.load(five.model)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {"names": json.dumps(names)} if names else {})
        paths[name] = tmp_path / f"{name}.onnx"
        onnx.save(model, paths[name])
    limits = ("--max-drop", "90", "--device", "cpu")
    refused("check", paths["plain"], paths["named"], data, *limits, says="has no column '0'")
    pair = ("check", paths["plain"], paths["named"], data, *limits, "--classes", ",".join(LABELS))
    assert "0 new errors" in ntkit(*pair)[1]
    for first, classes in (("plain", pair[-2:]), ("named", ())):
        one = (data, "--label", "even", "--device", "cpu", *classes)
        _, out, err = ntkit("check", paths[first], paths["plain"], *one, "--max-drop", "90")
        assert "0 new errors" in out
        assert "plain.onnx does not name its classes, so ntkit takes" in err
        table = ("--before", paths[first], "-o", tmp_path / f"{first}.csv")
        assert ntkit("predict", paths["plain"], *one, *table)[0] == 0
    refused("check", paths["plain"], paths["plain"], *one, says="plain.onnx has no label 'even'")
    _, _, err = ntkit("check", paths["named"], paths["plain"], data, *limits)
    assert "takes those of the first model in its order" in " ".join(err.split())


def test_one_label_of_the_new_model_names_that_of_its_source(five, tmp_path):
    """The old model names none, and the new one was made from it with the names given."""
    data, old, new = (
        table_of(five, tmp_path / "t.csv"),
        tmp_path / "old.onnx",
        tmp_path / "new.onnx",
    )
    model = onnx.load(five.model)
    del model.metadata_props[:]
    onnx.save(model, old)
    one = FrozenModel.load(old, classes=LABELS, label="even")
    head = LinearHead(one.head.coef * 0.5, one.head.intercept - 1, one.head.classes)
    save_verified(one.with_head(head), new, original=one, X=five.set("test")[0][:40], head=head)
    tables = []
    for i, label in enumerate(((), ("--label", "even"))):
        table = tmp_path / f"{i}.csv"
        done("predict", new, data, "--before", old, "-o", table, "--device", "cpu", *label)
        tables.append(pd.read_csv(table))
        assert ntkit("check", old, new, data, "--max-drop", 100, "--device", "cpu", *label)[0] == 0
    every, of_one = tables
    scores = networks.run(old, five.set("test")[0][:40])["scores"][:, LABELS.index("even")]
    np.testing.assert_allclose(of_one["prob_before_even"], scores, atol=1e-5)
    assert_equal = np.testing.assert_array_equal
    assert_equal(of_one["prediction_before"] == "even", every["prediction_before_even"] == 1)
    assert_equal(of_one["changed"], every["changed_even"])
    assert of_one["changed"].any()
    refused(
        "predict", new, data, "--before", old, "-o", tmp_path / "x.csv", "--label", "evn",
        says="no label 'evn'; its labels are even, ",
    )  # fmt: skip


def test_one_label_of_a_table_takes_no_columns_of_another_kind(tmp_path):
    """They would be left out without a word."""
    columns = {"id": range(9), "label_a": [1, 0, 1] * 3, "prediction_a": [1, 0, 0] * 3}
    path = write_csv(tmp_path / "t.csv", columns | {"prob_a": [0.9, 0.1, 0.4] * 3})
    check = ["check", "--predictions", path, "--label", "a", "--average", 10]
    assert ntkit(*check)[0] in (0, 3)
    for more in (["--score-columns", "prob_a"], ["--prediction-column", "prob_a"]):
        refused(*check, *more, says="--label a reads the column prediction_a")


def test_a_store_keeps_every_label(five, tmp_path):
    data = table_of(five, tmp_path / "t.csv", large=[1, 0, np.nan, 1] * 10)
    done("embed", five.model, data, "-o", tmp_path / "store", "--device", "cpu")
    for options in ((), ("--label", "large")):
        of_file, of_store = (
            json.loads(ntkit("check", five.model, samples, "--json", "--average", 50, *options)[1])
            for samples in (data, tmp_path / "store")
        )
        assert of_file["rows"] == of_store["rows"]


def test_an_audit_of_predictions_of_one_label_is_about_this_label(tmp_path):
    rng = np.random.default_rng(0)
    urgent, billing = rng.integers(0, 2, (2, 600))
    site = np.where(rng.random(600) < 0.9, urgent, 1 - urgent)
    columns = {"site": np.array(["A", "B"])[site], "urgent": urgent, "billing": billing}
    columns |= {"prediction_urgent": site, "prediction_billing": billing}
    table, out = write_csv(tmp_path / "p.csv", columns), tmp_path / "audit"
    told, _ = done("audit", "--predictions", table, table, "--label", "urgent", "-o", out)
    assert told.startswith("Label 'urgent': the model is right on ")
    facts = json.loads((out / "audit.json").read_text())
    assert (facts["label"], facts["positives"]) == ("urgent", urgent.sum())
    assert facts["looked_at"] == {"column": 4}  # two sites, and the other label


def test_an_audit_without_labels_is_about_the_label_that_is_named(five, tmp_path):
    pd.DataFrame(five.X["test"][:200]).to_csv(tmp_path / "x.csv", index=False)
    out = tmp_path / "audit"
    done("audit", five.model, tmp_path / "x.csv", "--label", "even", "-o", out, "--device", "cpu")
    facts = json.loads((out / "audit.json").read_text())
    assert (facts["label"], facts["positives"]) == ("even", None)


def test_inspect_names_the_labels_of_layers_that_read_different_tensors(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(4, 6)) for name in ("V", "W")}
    arrays |= {name: rng.normal(size=(6, 1)) for name in ("v", "w")}
    graph = """(float[n, 4] x) => (float[n, 2] p) {
        a = MatMul(x, V) b = Relu(a) c = MatMul(b, v) d = Sigmoid(c)
        e = MatMul(x, W) f = Relu(e) g = MatMul(f, w) h = Sigmoid(g)
        p = Concat<axis = 1>(d, h)
    }"""
    model = networks.parsed(graph, **arrays)
    onnx.helper.set_model_props(model, {"names": json.dumps(["urgent", "billing"])})
    path = networks.save(model, tmp_path / "m.onnx")
    facts = json.loads(done("inspect", path, "--json")[0])
    assert facts["labels"] == {"urgent": 0.5, "billing": 0.5}
    assert facts["debias_needs"][0] == "--label NAME, one of: urgent, billing"
    assert [row["reason"] for row in facts["candidates"] if row["layer"]] == [
        "a label: choose it with --label urgent",
        "a label: choose it with --label billing",
    ]


def test_limits_that_came_with_the_repair_of_one_label_are_advised_with_the_label(five, tmp_path):
    data = table_of(five, tmp_path / "t.csv")
    new = shutil.copy(five.model, tmp_path / "debiased.onnx")
    limits = Limits(
        max_drop=90,
        answers=Answers((Answer("column:p1>=0.5", "spurious", (("column:p1>=0.5",),)),)),
        repair={"label": "even"},
    )
    (tmp_path / "repair-limits.toml").write_text(toml_of(limits))
    pair = ("check", five.model, new, data, "--device", "cpu")
    _, _, err = ntkit(*pair)
    advised = shlex.split(" ".join(err.split()).partition(", add: ")[2])[:4]
    assert advised == ["--limits", str(tmp_path / "repair-limits.toml"), "--label", "even"]
    _, out, err = ntkit(*pair, *advised)
    assert "0 new errors" in out, err
    assert "Name it with --label" in ntkit(*pair, *advised[:2])[2]
    assert "--label even" not in ntkit(*pair, "--label", "even")[2]

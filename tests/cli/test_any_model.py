"""audit, check and predict take models of any kind; the other commands name these three."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from ntkit import audit as audit_predictions
from ntkit import audit_model
from ntkit.jobs.audit.files import write_audit
from tests import any_models as zoo
from tests import models as networks
from tests.cases import done, ntkit, read_csv, refused, write_csv

QUIET = ("--device", "cpu", "--quiet")
TAKEN = "ntkit audit, ntkit check and ntkit predict take the model as it is."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of some kinds, and tables of the same people."""
    folder = tmp_path_factory.mktemp("any")
    kinds = ("forest", "neighbours", "columns", "texts", "trees alone", "scores only")
    for kind in (*kinds, "text labels only"):
        zoo.write(kind, folder / f"{kind.replace(' ', '_')}.onnx")
    numbers = dict(zip(zoo.COLUMNS, zoo.X.T.tolist(), strict=True))
    label = zoo.NAMES[zoo.Y]
    write_csv(folder / "numbers.csv", {**numbers, "label": label})
    write_csv(folder / "people.csv", {**numbers, "city": zoo.CITY, "label": label})
    write_csv(folder / "texts.csv", {"text": zoo.TEXTS, "label": label})
    return folder


TABLES = {"forest": "numbers", "columns": "people", "texts": "texts", "text_labels_only": "numbers"}


@pytest.mark.more
@pytest.mark.parametrize("name", TABLES)
def test_first_tries_work(folder, tmp_path, name):
    model, table = folder / f"{name}.onnx", folder / f"{TABLES[name]}.csv"
    own = zoo.of_onnxruntime(model, zoo.feed(name))[0]
    accuracy = (own == zoo.NAMES[zoo.Y]).mean()
    done("predict", model, table, "-o", tmp_path / "p.csv", *QUIET)
    rows = read_csv(tmp_path / "p.csv")
    assert [row["prediction"] for row in rows] == own.tolist()
    assert {"prob_high", "prob_low", "prob_middle"} <= rows[0].keys()
    code, out, _ = ntkit("check", model, table, "--average", 10, *QUIET)
    assert (code, f"{100 * accuracy:.1f}" in out) == (0, True)
    done("audit", model, table, "-o", tmp_path / "audit", *QUIET)
    audit = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert audit["accuracy"] == pytest.approx(accuracy)
    assert not {"layer", "embedding"} & audit["looked_at"].keys()
    assert bool(audit["changes_tried"]) == (name != "text_labels_only")


def test_two_models_are_compared(folder, tmp_path):
    forest, other, table = (folder / n for n in ("forest.onnx", "neighbours.onnx", "numbers.csv"))
    code, out, _ = ntkit("check", forest, other, table, "--max-drop", 50, *QUIET)
    assert (code, out.splitlines()[0]) == (
        0, "Passed: neighbours.onnx compared with forest.onnx, 240 samples.")  # fmt: skip
    done("predict", other, table, "--before", forest, "-o", tmp_path / "p.csv", *QUIET)
    for column, model in (("prediction_before", forest), ("prediction", other)):
        labels = zoo.of_onnxruntime(model, zoo.feed("forest"))[0]
        assert [row[column] for row in read_csv(tmp_path / "p.csv")] == labels.tolist()
    words = "no linear last layer, so --report cannot show its neurons"
    refused("check", forest, forest, table, "--report", tmp_path / "r.html", *QUIET, says=words)


def test_the_next_step_after_an_audit_is_a_check(folder, tmp_path):
    label = np.where(zoo.X[:, 1] > 0.5, "low", zoo.NAMES[zoo.Y])  # errors at a high income
    numbers = dict(zip(zoo.COLUMNS, zoo.X.T.tolist(), strict=True))
    write_csv(tmp_path / "t.csv", {**numbers, "label": label})
    arguments = folder / "forest.onnx", tmp_path / "t.csv"
    out, _ = done("audit", *arguments, "-o", tmp_path / "audit", *QUIET)
    assert "Findings, accuracies in %" in out
    assert "ntkit debias cannot repair this model" in out
    table = tmp_path / "audit" / "weights.csv"
    assert f"Train another one. {table} has weights" in out
    assert len(read_csv(table)) == len(label)
    assert re.search(r"Next: ntkit check \S+forest.onnx NEW.onnx \S+ --answers", out)
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert "ntkit check forest.onnx NEW.onnx DATA --answers answers.json" in page
    assert "ntkit debias" not in page
    for option in ("--cross-fit", "--feature-sets=embedding"):
        refused("audit", *arguments, "-o", tmp_path / "x", option, says="no embedding to test")


@pytest.mark.parametrize("named", [True, False])
def test_weights_of_an_audit_have_the_ids_of_the_samples_else_their_rows(folder, tmp_path, named):
    label = np.where(zoo.X[:, 1] > 0.5, "low", zoo.NAMES[zoo.Y])
    again = np.r_[np.arange(5), np.arange(len(label))]  # the first five stand there twice
    numbers = dict(zip(zoo.COLUMNS, zoo.X[again].T.tolist(), strict=True))
    ids = np.random.default_rng(0).permutation(len(again)) + 7 if named else np.arange(len(again))
    columns = {"id": ids} if named else {}
    write_csv(tmp_path / "t.csv", {**columns, **numbers, "label": label[again]})
    arguments = folder / "forest.onnx", tmp_path / "t.csv", "-o", tmp_path / "audit"
    done("audit", *arguments, "--columns", ",".join(zoo.COLUMNS), *QUIET)
    rows = read_csv(tmp_path / "audit" / "weights.csv")
    written = [int(row["id" if named else "row"]) for row in rows]
    contents = [tuple(zoo.X[again][ids.tolist().index(each)]) for each in written]
    assert len(written) == len({*map(tuple, zoo.X.tolist())})  # each content once
    audit = json.loads((tmp_path / "audit" / "audit.json").read_text("utf-8"))
    shown = [
        name for each in audit["findings"] for some in each["examples"].values() for name in some
    ]
    assert {*map(int, shown)} <= {*written}
    wrong = {
        int(name) for each in audit["findings"] for name in each["examples"]["conflicting, wrong"]
    }
    predicted = zoo.of_onnxruntime(folder / "forest.onnx", zoo.feed("forest"))[0][again]
    assert wrong
    assert all(predicted[at] != label[again][at] for at in map(ids.tolist().index, wrong))
    assert len({*contents}) == len(written)


def test_weights_of_an_audit_of_predictions_have_the_rows_that_were_kept(tmp_path):
    label = np.where(zoo.X[:, 1] > 0.5, "low", zoo.NAMES[zoo.Y]).astype(object)
    label[::3] = ""  # unknown
    numbers = dict(zip(zoo.COLUMNS, zoo.X.T.tolist(), strict=True))
    predicted = {"prediction": zoo.NAMES[zoo.Y]}
    table = write_csv(tmp_path / "t.csv", {**numbers, **predicted, "label": label})
    done("audit", "--predictions", table, table, "-o", tmp_path / "audit")
    written = [int(row["row"]) for row in read_csv(tmp_path / "audit" / "weights.csv")]
    assert written == np.flatnonzero(label != "").tolist()


def frames():
    """Frames of numbers and labels, and the names of their samples; none if rows name them."""
    frame = pd.DataFrame(zoo.X, columns=zoo.COLUMNS)
    frame["city"] = zoo.CITY
    frame["label"] = np.where(zoo.X[:, 1] > 0.5, "low", zoo.NAMES[zoo.Y])
    frame = frame.drop_duplicates(subset=[*zoo.COLUMNS]).reset_index(drop=True)
    names = [f"person {i}" for i in np.random.default_rng(0).permutation(len(frame))]
    two = pd.MultiIndex.from_arrays([names, np.arange(len(frame))], names=["who", "when"])
    known = pd.MultiIndex.from_arrays([np.arange(len(frame)), names], names=["when", "id"])
    filtered, shuffled = frame[frame.index % 3 > 0], frame.sample(frac=1, random_state=0)
    again = pd.concat([frame.iloc[:5], frame]).set_index(
        pd.Index(["a", "b", "c", "d", "e", *names])
    )
    return {
        "index": (frame.set_index(pd.Index(names)), names),
        "index of copies": (again, ["a", "b", "c", "d", "e", *names[5:]]),
        "column": (frame.assign(id=names), names),
        "filtered": (filtered, [*map(str, filtered.index)]),
        "shuffled": (shuffled, [*map(str, shuffled.index)]),
        "level id": (frame.set_index(known), names),
        "rows": (frame, None),
        "has several levels": (frame.set_index(two), None),
        "has a name twice": (frame.set_index(pd.Index([names[1], *names[1:]])), None),
        "lacks a name": (frame.assign(id=["", *names[1:]]), None),
    }


FRAMES = (
    "index", "index of copies", "column", "filtered", "shuffled", "level id", "rows",
    "has several levels", "has a name twice", "lacks a name",
)  # fmt: skip


@pytest.mark.parametrize("case", FRAMES)
@pytest.mark.parametrize("of", ["frame", "predictions", "labels"])
def test_audits_in_python_name_samples_as_pandas_does(folder, tmp_path, case, of):
    frame, names = frames()[case]
    feed = {name: frame[[name]].to_numpy() for name in (*zoo.COLUMNS, "city")}
    predicted = zoo.of_onnxruntime(folder / "columns.onnx", feed)[0]
    every = [*map(str, frame.get("id", frame.index))]  # with copies
    if case == "level id":
        every = names
    if of == "predictions":
        audit = audit_predictions(frame.label, predicted, table=frame.drop(columns="label"))
        names = names and every
    else:
        X = frame.drop(columns="label")
        if of == "labels":  # have the index, and the inputs have none
            X, names = feed, None if case == "column" else names
        audit = audit_model(folder / "columns.onnx", (X, frame.label), device="cpu")
    if names is None:
        every = names = [*map(str, range(len(frame)))]
    by_row = names[0] == "0"
    write_audit(audit, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "weights.csv")
    assert [row["row" if by_row else "id"] for row in rows] == names
    notes = [note for note in audit.notes if "names samples by their rows" in note]
    no_id = of == "labels" and case == "lacks a name"
    assert [case in note for note in notes] == [True] * (case.startswith(("has", "lacks")) - no_id)
    facts = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))
    wrong = [str(n) for f in facts["findings"] for n in f["examples"]["conflicting, wrong"]]
    assert wrong
    assert all(predicted[i] != frame.label.iloc[i] for i in map(every.index, wrong))
    page = (tmp_path / "out" / "audit.html").read_text("utf-8")
    shown = re.findall("wrong:</b> predicted “(.+?)” · <bdi>(row )?(.+?)</bdi>", page)
    assert shown
    assert all(predicted[every.index(n)] == of and by_row == bool(row) for of, row, n in shown)
    of_changes = [example for each in facts["changes"] or () for example in each["examples"]]
    assert bool(of_changes) == (of != "predictions")
    assert all(predicted[each["row"]] == each["predicted"] for each in of_changes)


def test_without_labels_of_samples_changes_are_tried(folder, tmp_path):
    bare = write_csv(tmp_path / "t.csv", dict(zip(zoo.COLUMNS, zoo.X.T.tolist(), strict=True)))
    done("audit", folder / "forest.onnx", bare, "-o", tmp_path / "audit", *QUIET)
    audit = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert (audit["labelled"], len(audit["changes_tried"])) == (False, 3)
    arguments = folder / "text_labels_only.onnx", bare, "-o", tmp_path / "x"
    refused("audit", *arguments, says="no scores to compare changes")


def test_other_commands_name_those_that_work(folder, tmp_path):
    forest, table = folder / "forest.onnx", folder / "numbers.csv"
    out = ("-o", tmp_path / "out")
    for command in (
        ("debias", forest, "--train", table, "--validation", table, *out),
        ("label", forest, table, *out),
        ("embed", forest, table, *out),
        ("export", forest, forest, *out),
    ):
        refused(*command, says=["decision trees, which have no linear layer", TAKEN])
    refused("debias", folder / "texts.onnx", table, *out, says=["Fit an ntkit estimator", TAKEN])
    facts = json.loads(done("inspect", forest, "--json")[0])
    assert facts["classes"] == ["high", "low", "middle"]
    assert facts["scores"] == "'output_probability' for 3 classes, decided by 'output_label'"
    assert TAKEN in facts["refused"]


def test_models_that_name_no_class_take_the_names_of_the_labels(folder, tmp_path):
    columns = dict(zip(zoo.COLUMNS, zoo.X.T.tolist(), strict=True))
    write_csv(tmp_path / "t.csv", {**columns, "label": np.array(["a", "b", "b"])[zoo.Y]})
    arguments = folder / "scores_only.onnx", tmp_path / "t.csv", "-o", tmp_path / "p.csv"
    done("predict", *arguments, *QUIET)
    trees = ("check", folder / "trees_alone.onnx", tmp_path / "t.csv", "--average", 10)
    assert ntkit(*trees, "--threshold", 0.5, *QUIET)[0] == 0
    refused(*trees, "--threshold", 0.5, "--logits", "label", says="a model has only labels")
    scores = zoo.of_onnxruntime(folder / "scores_only.onnx", zoo.feed("forest"))[1]
    rows = read_csv(tmp_path / "p.csv")
    assert np.allclose([float(row["prob_b"]) for row in rows], scores[:, 1], atol=1e-5)


def test_regressions_are_a_likely_cause_of_guesses(tmp_path):
    """Several numbers are classes if they predict the labels, or if the user names them."""
    graph = networks.classifier(3)
    path, soft = tmp_path / "m.onnx", tmp_path / "soft.onnx"
    networks.save(graph, path)
    networks.save(networks.built("y = Softmax(logits)", "classifier"), soft)
    X = networks.inputs(200)
    logits = networks.run(path, X)["logits"]
    mostly_right = (logits - logits.mean(axis=0) / 2).argmax(axis=1)
    random = np.random.default_rng(0).integers(3, size=200)
    columns = dict(zip("abcdef", X.T.tolist(), strict=True))
    for labels, model, options, says in (
        (random, path, (), True),
        (np.array(["bad", "good", "ok"])[random], path, (), True),
        (random, soft, (), False),
        (random, path, ("--classes", "0,1,2"), False),
        (mostly_right, path, (), None),
    ):
        table = write_csv(tmp_path / "t.csv", {**columns, "label": labels})
        data = ("debias", model, table, "-o", tmp_path / "o", "--force", *options, *QUIET)
        audit = ("audit", model, table, "-o", tmp_path / "a", "--force", *options, *QUIET)
        for command in (data, audit):
            code, _, err = ntkit(*command)
            assert ("outputs are regressions: its file has no names" in err) == bool(says), err
            assert (code == 2) == (says is not None)

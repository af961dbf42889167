"""Predictions: those of the whole model in ONNX Runtime, in memory and as a table."""

import contextlib
import csv
import json
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

import ntkit
from ntkit import FrozenModel
from ntkit.cli import main
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.predict import write_predictions
from tests import models
from tests.cases import read_csv, write_csv


@pytest.fixture
def model(tmp_path):
    return models.save(models.classifier(3), tmp_path / "model.onnx")


@pytest.fixture
def other(tmp_path):
    """The same body, and a head with one suppressed neuron."""
    frozen = FrozenModel.load(models.save(models.classifier(3), tmp_path / "source.onnx"))
    head = frozen.head.scaled(np.arange(5) != 1)
    frozen.with_head(head).save(tmp_path / "other.onnx")
    return tmp_path / "other.onnx"


def logits(path, X):
    return models.run(path, X)["logits"].astype(np.float64)


def test_it_is_what_onnx_runtime_says(model):
    X = models.inputs(100)
    found = ntkit.predict(model, X, device="cpu")
    expected = logits(model, X)
    ordered = np.sort(expected, axis=1)
    assert found.labels.tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(found.probabilities, softmax(expected, axis=1), atol=1e-6)
    np.testing.assert_allclose(found.margins, ordered[:, -1] - ordered[:, -2], atol=1e-5)
    assert found.y is None
    assert repr(found) == "Predictions(100 samples, 3 classes)"


def test_a_single_logit_is_a_margin_and_a_sigmoid(zoo, tmp_path):
    path = models.save(models.classifier(1), tmp_path / "one.onnx")
    X = models.inputs(50)
    z = logits(path, X)[:, 0]
    found = ntkit.predict(path, X, device="cpu")
    np.testing.assert_allclose(found.probabilities[:, 1], 1 / (1 + np.exp(-z)), atol=1e-6)
    np.testing.assert_allclose(found.margins, np.abs(z), atol=1e-5)


@pytest.mark.parametrize("kind", [np.float64, np.float32, bool])
def test_labels_of_another_type_are_written_as_the_model_s_own(tmp_path, kind):
    path = models.save(models.classifier(2), tmp_path / "two.onnx")
    X, y = models.inputs(30), (np.arange(30) % 2).astype(kind)
    done = write_predictions(tmp_path / "p.csv", path, (X, y), device="cpu")
    assert {row["label"] for row in rows_of(tmp_path / "p.csv")} == {"0", "1"}
    assert done.n_labelled == 30


def test_labels_that_are_no_classes_are_compared_with_nothing(model, tmp_path):
    X, y = models.inputs(30), np.arange(30) % 3 + 1
    done = write_predictions(tmp_path / "p.csv", model, (X, y), device="cpu")
    assert (done.n_labelled, "Accuracy" in str(done)) == (0, False)
    assert "right" not in repr(ntkit.predict(model, (X, y), device="cpu"))
    (said,) = (note for note in done.notes if "not compared with the predictions" in note)
    assert "has the class 3" in said
    assert "--new-head" not in said


# -- the table ----------------------------------------------------------------------------------


def rows_of(path, delimiter=","):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_the_table_is_what_predict_says(model, tmp_path):
    X, y = models.inputs(70), np.arange(70) % 3
    done = write_predictions(tmp_path / "out.csv", model, (X, y), device="cpu")
    found, rows = ntkit.predict(model, (X, y), device="cpu"), rows_of(tmp_path / "out.csv")
    assert [int(row["row"]) for row in rows] == list(range(70))
    assert [int(row["label"]) for row in rows] == y.tolist()
    assert [int(row["prediction"]) for row in rows] == found.labels.tolist()
    read = np.array([[float(row[f"prob_{c}"]) for c in range(3)] for row in rows])
    np.testing.assert_allclose(read, found.probabilities, rtol=1e-5)
    np.testing.assert_allclose([float(r["margin"]) for r in rows], found.margins, rtol=1e-5)
    assert (done.n_samples, done.n_right) == (70, int((found.labels == y).sum()))


def test_two_models_side_by_side(model, other, tmp_path):
    X, y = models.inputs(200), np.arange(200) % 3
    done = write_predictions(
        tmp_path / "out.tsv", other, (X, y), before=model, batch_size=7, device="cpu"
    )
    rows = rows_of(tmp_path / "out.tsv", "\t")
    before, after = (logits(path, X).argmax(axis=1) for path in (model, other))
    assert [int(row["prediction_before"]) for row in rows] == before.tolist()
    assert [int(row["prediction"]) for row in rows] == after.tolist()
    assert [int(row["changed"]) for row in rows] == (before != after).astype(int).tolist()
    assert done.n_changed == (before != after).sum() > 0
    assert (done.n_right_before, done.n_right) == ((before == y).sum(), (after == y).sum())


def test_two_models_without_class_names_take_those_of_the_data(model, tmp_path):
    X, y = models.inputs(60), np.array(["a", "b", "c"])[np.arange(60) % 3]
    new = models.save(models.classifier(3), tmp_path / "new.onnx")
    done = write_predictions(tmp_path / "out.csv", new, (X, y), before=model, device="cpu")
    rows = rows_of(tmp_path / "out.csv")
    for path, column in ((model, "prediction_before"), (new, "prediction")):
        assert [row[column] for row in rows] == ["abc"[k] for k in logits(path, X).argmax(axis=1)]
    assert done.n_labelled == 60


def named(path, names):
    """The model of two classes, with names of them, or without."""
    return models.save(models.classifier(2), path, names)


@pytest.mark.parametrize(
    ("old", "new", "n", "says"),
    [
        (["cat", "dog"], ["Cat", "Dog"], 0, "'cat' = 'Cat', 'dog' = 'Dog'"),
        (["cat", "dog"], None, 0, "takes those of the first model in its order: 'cat', 'dog'"),
        (None, ["cat", "dog"], 0, "takes those of the second model in its order: 'cat', 'dog'"),
        (["cat", "dog"], ["cat", "dog"], 0, ""),
        (["cat", "dog"], ["dog", "cat"], 60, ""),
        (["cat", "dog"], ["hen", "owl"], 60, "old.onnx has other classes ('cat', 'dog') than"),
    ],
)
def test_names_of_two_models_count_as_those_of_labels_do(tmp_path, old, new, n, says):
    old, new = named(tmp_path / "old.onnx", old), named(tmp_path / "new.onnx", new)
    X = models.inputs(60)
    done = write_predictions(tmp_path / "out.csv", new, X, before=old, device="cpu")
    assert done.n_changed == n
    assert says in " ".join(done.notes)
    assert bool(done.notes) == bool(says)


@pytest.mark.parametrize("classes", [[0, 1], ["cat", "dog"]])
@pytest.mark.parametrize("named_alike", [True, False])
def test_rows_without_a_label_are_predicted_as_well(tmp_path, classes, named_alike):
    """Accuracy is of the others, and a check leaves them out of the table."""
    model = named(tmp_path / "m.onnx", ["cat", "dog"] if named_alike else None)
    X = models.inputs(60)
    right = ntkit.predict(model, X, device="cpu").probabilities.argmax(axis=1)
    y = np.where(np.arange(60) % 6 == 1, 1 - right, right)
    columns = {f"x{i}": column for i, column in enumerate(X.T)}
    for n in (0, 20):
        labels = ["" if i < n else classes[k] for i, k in enumerate(y)]
        data = write_csv(tmp_path / "d.csv", columns | {"label": labels})
        done = write_predictions(tmp_path / f"{n}.csv", model, data, before=model, device="cpu")
        found = ntkit.predict(model, data, device="cpu")
        assert (done.n_samples, done.n_labelled) == (60, 60 - n)
        assert (done.n_right, done.n_right_before) == ((right == y)[n:].sum(),) * 2
        assert f"{100 * (right == y)[n:].mean():.1f} %" in str(found)
        assert (f"Accuracy of {60 - n} labelled ones: " in str(done)) == (n > 0)
    whole, part = (read_csv(tmp_path / f"{n}.csv") for n in (0, 20))
    assert [row.pop("label") for row in part] == [str(label) for label in labels]
    assert [{k: v for k, v in row.items() if k != "label"} for row in whole] == part


def test_an_unknown_label_is_not_a_class_without_a_name(tmp_path):
    """Accuracy is of the samples that have a label."""
    X = models.inputs(60)
    clf = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "dog", ""))
    (model := tmp_path / "m.onnx").write_bytes(
        to_onnx(clf, X, options={"zipmap": False}).SerializeToString()
    )
    columns = {f"x{i}": column for i, column in enumerate(X.T)}
    data = write_csv(tmp_path / "d.csv", columns | {"label": ["dog"] * 20 + [""] * 40})
    done = write_predictions(tmp_path / "p.csv", model, data, before=model, device="cpu")
    predicted = clf.predict(X)
    assert (predicted[20:] == "").any()
    assert (done.n_labelled, done.n_right) == (20, (predicted[:20] == "dog").sum())
    assert done.n_right_before == done.n_right


@pytest.mark.parametrize("ids", [["a", "b", None], ["a", "", "c"], ["a", "b", "c"]])
def test_rows_are_numbered_if_some_have_no_id(tmp_path, ids):
    model = named(tmp_path / "m.onnx", ["cat", "dog"])
    records = [{f"x{i}": float(x) for i, x in enumerate(row)} for row in models.inputs(3)]
    records = [
        row | ({} if of is None else {"id": of}) for row, of in zip(records, ids, strict=True)
    ]
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(map(json.dumps, records)))
    done = write_predictions(tmp_path / "p.csv", model, data, device="cpu")
    written = read_csv(tmp_path / "p.csv")
    if "c" in ids and all(ids):
        assert [row["id"] for row in written] == ids
        assert not any("row numbers" in note for note in done.notes)
    else:
        assert [row["row"] for row in written] == ["0", "1", "2"]
        assert any("the id of 1 sample is missing, so all 3" in note for note in done.notes)


def test_scores_are_probabilities_of_all_samples_or_of_none(tmp_path):
    model = models.parsed("(float[N, 2] x) => (float[N, 2] scores) { scores = Relu(x) }")
    path = models.save(model, tmp_path / "relu.onnx", ["cat", "dog"])
    some = np.tile(np.eye(2, dtype=np.float32), (20, 1))
    for X in (some, 3 * some):
        found = write_predictions(tmp_path / "p.csv", path, X, batch_size=8, force=True)
        assert found.n_samples == 40
    parts = {"p": some, "l": 3 * some}
    for order, size in (("pl", 8), ("lp", 8), ("lp", 80), ("lllp", 8)):
        X = np.concatenate([parts[part] for part in order])
        with pytest.raises(InputError, match="sum to 1 for some samples only"):
            write_predictions(tmp_path / "q.csv", path, X, batch_size=size)
    assert not (tmp_path / "q.csv").exists()
    logits = np.random.default_rng(0).gamma(2, size=(200, 2)).astype(np.float32)
    logits[[0, 150]] = 0.25, 0.75  # by chance
    found = ntkit.predict(path, logits, batch_size=1, device="cpu").probabilities
    odds = np.exp(logits)
    np.testing.assert_allclose(found, odds / odds.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("score", ["Sub(one, p)", "Mul(third, total)"])
def test_one_score_made_of_sigmoids_is_a_probability(tmp_path, score):
    nodes = f"p = Sigmoid(x)  total = Sum(p, p, p)  s = {score}"
    text = f"(float[N, 1] x) => (float[N, 1] s) {{ {nodes} }}"
    model = models.parsed(text, one=np.ones(1), third=np.array([0.33]))
    path = models.save(model, tmp_path / "m.onnx", ["no", "yes"])
    X = np.random.default_rng(0).standard_normal((40, 1)).astype(np.float32)
    found = ntkit.predict(path, X, device="cpu")
    shown = models.run(model, X)["s"][:, 0]
    np.testing.assert_array_equal(found.labels == "yes", shown > 0.5)
    np.testing.assert_allclose(found.probabilities[:, 1], shown, atol=1e-6)


@pytest.mark.parametrize("rounded", [
    "a = Mul(p, h) b = Round(a) s = Div(b, h)", "a = Mul(p, h) b = Floor(a) s = Div(b, h)",
    "a = Mul(p, h) b = Cast<to = 2>(a) c = Cast<to = 1>(b) s = Div(c, h)",
])  # fmt: skip
def test_a_rounded_probability_is_no_decision(tmp_path, rounded):
    """To two decimals, or to whole numbers of 8 bits."""
    text = f"(float[N, 1] x) => (float[N, 1] s) {{ p = Sigmoid(x) {rounded} }}"
    model = models.parsed(text, h=np.array([100.0]))
    path = models.save(model, tmp_path / "m.onnx", ["no", "yes"])
    X = np.random.default_rng(0).standard_normal((60, 1)).astype(np.float32)
    found, shown = ntkit.predict(path, X, device="cpu"), models.run(model, X)["s"][:, 0]
    np.testing.assert_array_equal(found.labels == "yes", shown > 0.5)
    np.testing.assert_allclose(found.probabilities[:, 1], shown, atol=1e-6)


def test_one_score_between_0_and_1_is_no_logit(tmp_path):
    """As a logit it would give the second class to each sample."""
    model = models.parsed("(float[N, 1] x) => (float[N, 1] s) { t = Tanh(x) s = Abs(t) }")
    path = models.save(model, tmp_path / "m.onnx", ["no", "yes"])
    X = np.random.default_rng(0).standard_normal((40, 1)).astype(np.float32)
    X[:2] = [0], [30]  # scores of exactly 0 and 1
    with pytest.raises(InputError, match="between 0 and 1 for all 40 samples, and no Sigmoid"):
        ntkit.predict(path, X, device="cpu")
    with pytest.raises(InputError, match="between 0 and 1 for all 40"):
        ntkit.check(path, path, (X, ["no", "yes"] * 20), limits={"average": 40}, device="cpu")
    logits = models.parsed("(float[N, 1] x) => (float[N, 1] s) { s = Identity(x) }")
    path = models.save(logits, tmp_path / "l.onnx", ["no", "yes"])
    found = ntkit.predict(path, X, device="cpu")
    np.testing.assert_array_equal(found.labels == "yes", X[:, 0] > 0)


def test_probabilities_of_two_tasks_are_no_classes(tmp_path):
    text = (
        "(float[N, 4] x) => (float[N, 4] s) { a, b = Split <axis = 1> (x) "
        "p = Softmax(a) q = Softmax(b) s = Concat <axis = 1> (p, q) }"
    )
    path = models.save(models.parsed(text), tmp_path / "m.onnx", ["a", "b", "c", "d"])
    X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    with pytest.raises(InputError, match="sum to 2 for all samples, as probabilities of 2 tasks"):
        ntkit.predict(path, X, device="cpu")


def test_two_columns_of_one_name_are_refused(tmp_path):
    old, new = (named(tmp_path / f"{n}.onnx", ["before_a", "a"]) for n in ("old", "new"))
    with pytest.raises(InputError, match="Two columns"):
        write_predictions(tmp_path / "p.csv", new, models.inputs(60), before=old, device="cpu")
    assert write_predictions(tmp_path / "p.csv", new, models.inputs(60), device="cpu").n_samples


def test_no_accuracy_of_a_model_whose_classes_are_not_the_labels(tmp_path):
    old = named(tmp_path / "old.onnx", ["no", "yes"])
    new = named(tmp_path / "new.onnx", ["cat", "dog"])
    data = models.inputs(60), np.array(["cat", "dog"])[np.arange(60) % 2]
    done = write_predictions(tmp_path / "out.csv", new, data, before=old, device="cpu")
    assert done.n_right_before is None
    assert "→" not in str(done)
    assert f"Accuracy: {100 * done.n_right / 60:.1f} %" in str(done)


ODD = ["=cmd", "'=x", "@a", "+1", "-1", "'-1", "-x", "\tb", "'c", "plain"]


@pytest.mark.parametrize("classes", [ODD[:3], ODD[3:6], ODD[6:9], ODD[7:10]])
def test_no_spreadsheet_runs_a_name_and_an_audit_reads_it(model, tmp_path, capsys, classes):
    """Names of samples and classes that begin as formulas do come back as they were."""
    X, classes = models.inputs(120), sorted(classes)
    right = np.random.default_rng(0).random(120) < 0.7
    y = np.where(right, 0, 1) + logits(model, X).argmax(axis=1)
    ids = [f"{ODD[i % len(ODD)]}{'' if i < len(ODD) else i}" for i in range(120)]
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(6)])
    frame["label"], frame["id"] = [classes[i % 3] for i in y], ids
    frame.to_csv(tmp_path / "data.csv", index=False)
    main_ok("predict", model, tmp_path / "data.csv", "-o", tmp_path / "out.csv")
    for row in rows_of(tmp_path / "out.csv"):
        for cell in row.values():
            if cell[0] in "=+-@\t\r":
                float(cell)  # a number is one
    frame.iloc[::-1].to_csv(tmp_path / "sites.csv", index=False)
    main_ok("audit", "--predictions", tmp_path / "out.csv", tmp_path / "sites.csv", "-o",
            tmp_path / "audit", "--columns", "f0")  # fmt: skip
    assert f"{np.mean(right) * 100:.1f} %" in capsys.readouterr().out


def main_ok(*arguments):
    with contextlib.suppress(SystemExit):  # of code 0; others are seen by what is not written
        main([*map(str, arguments)])


def test_memory_does_not_grow_with_the_number_of_samples(model, tmp_path):
    class Lazy:
        """Samples that are made as they are asked for."""

        def __init__(self, n):
            self.n = n

        def __len__(self):
            return self.n

        def __getitem__(self, rows):
            return models.inputs(len(range(self.n)[rows]))

    def peak(n):
        tracemalloc.start()
        write_predictions(
            tmp_path / "out.csv", model, Samples(Lazy(n)), device="cpu", batch_size=64, force=True
        )
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(64)  # what is loaded on first use
    few, many = peak(320), peak(6_400)
    assert many - few < 6_400 * 3 * 8  # the probabilities alone would take as much


def test_what_exists_stays_and_nothing_is_left_half_written(model, tmp_path):
    for name in ("out.onnx", "out", "out.json"):
        with pytest.raises(InputError, match="not a table"):
            write_predictions(tmp_path / name, model, models.inputs(), device="cpu")
    table = tmp_path / "data.csv"
    pd.DataFrame(models.inputs(20), columns=list("abcdef")).to_csv(table, index=False)
    (tmp_path / "out.csv").write_text("years of work")
    before = models.contents(tmp_path)
    with pytest.raises(InputError, match="exists"):
        write_predictions(tmp_path / "out.csv", model, models.inputs(), device="cpu")
    X = models.inputs(300)
    X[250] = np.nan  # found when most rows are written
    with pytest.raises(InputError, match="NaN"):
        write_predictions(tmp_path / "out.csv", model, X, device="cpu", force=True)
    with pytest.raises(InputError, match="NaN"):
        write_predictions(tmp_path / "new.csv", model, X, device="cpu")
    with pytest.raises(InputError, match="input of this job"):
        write_predictions(table, model, table, device="cpu", force=True)
    assert models.contents(tmp_path) == before


@pytest.mark.parametrize(
    "names", [None, ["false", "true"], ["True", "False"], ["0", "1"], ["neg", "pos"]]
)
def test_truth_values_are_labels_of_classes_that_mean_them(names, tmp_path):
    path = named(tmp_path / "model.onnx", names)
    X = models.inputs(60)
    second = logits(path, X).argmax(axis=1) == 1
    y = ~second if names == ["True", "False"] else second
    np.savez(tmp_path / "data.npz", X=X, y=y)
    options = {"limits": {"average": 90}, "device": "cpu"}
    if names == ["neg", "pos"]:
        with pytest.raises(InputError, match=r"write them as 0 and 1 \(y\.astype\(int\)\)"):
            ntkit.check(None, path, tmp_path / "data.npz", **options)
        np.savez(tmp_path / "data.npz", X=X, y=y.astype(int))
    assert ntkit.check(None, path, tmp_path / "data.npz", **options).average.value == 1


def test_the_accuracy_of_some_samples_is_called_so():
    names, none = np.array(["a", "b"]), np.full((4, 2), 0.5)
    some = ntkit.Predictions(
        names, names[[0, 0, 1, 1]], none, none[:, 0], np.array(["a", "b", "", ""])
    )
    assert repr(some) == "Predictions(4 samples, 2 classes, 50.0 % right of 2 labelled ones)"
    every = ntkit.Predictions(names, names[[0, 0, 1, 1]], none, none[:, 0], names[[0, 1, 1, 1]])
    assert repr(every) == "Predictions(4 samples, 2 classes, 75.0 % right)"
    both = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    Y = np.array([[1.0, 1], [np.nan, 0], [0, 1], [0, np.nan]])
    several = ntkit.Predictions(names, both, none, none[:, 0], Y)
    assert repr(several) == "Predictions(4 samples, 2 labels, 83.3 % right of 6 known labels)"


def test_samples_without_numbers_are_named_by_their_rows():
    """Not by those of the few samples that check the head first."""
    X = load_marked_digits().X_test[:64].copy()
    X[10:50] = np.nan
    said = re.escape("at least 6 sample(s) are NaN or infinite (rows [10, 11, 12, 13, 14], …)")
    with pytest.raises(InputError, match=said):
        ntkit.predict(marked_digits_model_path(), X, device="cpu")

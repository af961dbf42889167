"""Tables of predictions in the place of models: ntkit check and audit on them, without a model."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ntkit import FrozenModel, audit
from tests.cases import CLASSES, N_IMAGES, N, done, ntkit, read_csv, refused, write_csv

DEVICE = ("--device", "cpu", "--quiet")
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
NEW, OLD = (np.where(RNG.random(N) < right, Y, 1 - Y) for right in (0.9, 0.88))
NAMES = [f"{i}.png" for i in range(N)]
SITE = np.array(["A", "B"])[RNG.integers(0, 2, N)]
DATA = {"id": NAMES, "label": Y, "site": SITE, "group": [f"g{y}" for y in Y]}
LIMITS = ("--max-drop", "5", "--slice", "column:site", "--json")


@pytest.fixture
def check(tmp_path):
    """The result of a check on tables that are given as columns, without title and notes."""

    def checked(new, data=DATA, old=None, *options, limits=LIMITS):
        paths = {"new": new, "old": {"id": NAMES, "prediction": OLD} if old is None else old}
        paths["data"] = data
        new, old, data = (write_csv(tmp_path / f"{n}.csv", each) for n, each in paths.items())
        code, out, err = ntkit(
            "check", "--predictions", new, "--before", old, data, *limits, *options
        )
        assert code in (0, 1, 3), err
        return {k: v for k, v in json.loads(out).items() if k not in ("title", "notes")}, err

    return checked


def results(*arguments):
    """The result of a check in JSON, without what names the files."""
    code, out, err = ntkit("check", *arguments, "--json")
    assert code in (0, 1, 3), err
    return {k: v for k, v in json.loads(out).items() if k not in ("title", "notes")}


@pytest.mark.parametrize("data", ["data.csv", "test", "test.npz"])
@pytest.mark.parametrize("option", ["group", "text", "label", "prediction", "score", "id", "data"])
def test_a_named_column_that_is_not_there_is_refused_or_told(user, tmp_path, data, option):
    new, table = tmp_path / "new.csv", write_csv(tmp_path / "data.csv", DATA)
    names = [str(row["file_name"]) for row in read_csv(user / "test" / "metadata.csv")]
    columns = {"id": NAMES} if data == "data.csv" else {"row": range(N)}
    columns = {"file_name": names} if data == "test" else columns
    write_csv(new, columns | {"prediction": ["1"] * len(next(iter(columns.values())))})
    if data == "test":
        write_csv(new, columns | {"prediction": [CLASSES[i % 2] for i in range(len(names))]})
    flag = {"score": "--score-columns", "data": "--columns"}.get(option, f"--{option}-column")
    path = table if data == "data.csv" else user / data
    code, _, err = ntkit("check", "--predictions", new, path, "--average", "20", flag, "absent")
    assert "'absent'" in err or (flag == "--columns" and code == 2), err


def test_the_positive_class_is_that_of_the_only_scores_or_of_the_label(tmp_path):
    """Whatever the alphabet says: fraud is before ok, and billing before not billing."""
    rng = np.random.default_rng(0)
    for first, second in (("fraud", "ok"), ("billing", "not billing"), ("ok", "suspicious")):
        score = np.where(Y == 0, rng.normal(0.45, 0.2, N), 0.15).clip(0, 1)
        positive, other = (second, first) if second == "suspicious" else (first, second)
        label = np.where(Y == 0, positive, other)
        predicted = np.where(score > 0.5, positive, other)
        columns = {"id": NAMES, "label": label, f"prob_{positive}": score, "pred": predicted}
        table = write_csv(tmp_path / "t.csv", columns)
        recall = np.mean(predicted[label == positive] == positive)
        used = ("--score-columns", f"prob_{positive}")
        used = used if positive != "billing" else ("--prediction-column", "pred")
        command = ("check", "--predictions", table, *used, "--min-recall", "90", "--json")
        code, out, err = ntkit(*command)
        assert code == 1, err
        (row,) = json.loads(out)["rates"]
        assert row["of_class"] == positive
        assert row["value"] == pytest.approx(recall)
    code, out, err = ntkit(*command[:-2], f"{other}=90", "--json")
    assert (code, json.loads(out)["rates"][0]["of_class"]) == (0, other), err
    refused(*command[:-2], "ok=90", "--min-recall", "ok=80", says="names a class twice")


def test_columns_of_predictions_that_are_not_used_are_named(tmp_path):
    np.savez(tmp_path / "test.npz", X=np.zeros((N, 2)), y=Y)
    columns = {"row": range(N), "prediction": NEW, "pred": OLD}
    new = write_csv(tmp_path / "new.csv", columns | {"group": DATA["group"]})
    command = ("check", "--predictions", new, tmp_path / "test.npz", "--average", "20")
    err = ntkit(*command)[2]
    assert "test.npz has no groups. The column 'group' of the predictions is left out." in err
    assert "new.csv: the predictions are in 'prediction', not in 'pred'." in err
    assert "not in" not in ntkit(*command, "--prediction-column", "pred")[2]
    assert "left out" not in ntkit(*command[:2], write_csv(new, columns), *command[3:])[2]


def test_options_that_make_each_other_void_are_refused(user, tmp_path):
    new = write_csv(tmp_path / "new.csv", {"id": NAMES, "pred": NEW, "p": NEW / 2, "q": NEW / 3})
    data = write_csv(tmp_path / "data.csv", DATA)
    both = ("--prediction-column", "pred", "--score-columns", "p,q")
    for command in (("check", "--average", "20"), ("audit", "-o", tmp_path / "out")):
        refused(*command, "--predictions", new, data, *both, says="both name the predictions")
    models = ("check", user / "model.onnx", user / "worse.onnx", user / "test.npz")
    for option in (both[:2], both[2:]):
        refused(*models, *option, says="name the table with --predictions")
    done("check", "--predictions", new, data, "--average", "20", *both[:2])


@pytest.mark.parametrize("data", ["test", "test.npz"])
def test_a_table_that_predict_wrote_gives_the_same_as_its_models(user, tmp_path, data):
    """Images by their names, arrays by their rows; in one table, or in two in another order."""
    models, table = (user / "model.onnx", user / "worse.onnx"), tmp_path / "both.csv"
    classes = ("--classes", ",".join(CLASSES), *DEVICE) if data == "test" else DEVICE
    done("predict", models[1], user / data, "--before", models[0], "-o", table, *classes)
    limits = ("--max-drop", "4", "--worst-group", "20")
    expected = results(*models, user / data, *limits, *classes)
    assert results("--predictions", table, "--before", table, user / data, *limits) == expected
    assert len(expected["new_errors"]) > 5
    for i, path in enumerate((tmp_path / "old.csv", tmp_path / "new.csv")):
        done("predict", models[i], user / data, "-o", path, *classes)
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *lines[::-1]]) + "\n")
    new = ("--predictions", tmp_path / "new.csv", "--before", tmp_path / "old.csv")
    assert results(*new, user / data, *limits) == expected


def test_several_labels_and_one_of_them(five, tmp_path):
    X, Y = five.set("test")
    old = FrozenModel.load(five.model).of_label("even")
    old.with_head(old.head.scaled(np.arange(32) % 3 != 0)).whole.save(tmp_path / "new.onnx")
    pair = (five.model, tmp_path / "new.onnx")
    Y = np.where(RNG.random(Y.shape) < 0.1, np.nan, Y)
    np.savez(tmp_path / "test.npz", X=X, y=Y)
    table = tmp_path / "p.csv"
    done("predict", pair[1], tmp_path / "test.npz", "--before", pair[0], "-o", table, *DEVICE)
    for options in ((), ("--label", "even")):
        limits = ("--max-drop", "4", *options)
        expected = results(*pair, tmp_path / "test.npz", *limits, *DEVICE)
        tables = ("--predictions", table, "--before", table)
        assert results(*tables, *limits) == expected
        assert results(*tables, tmp_path / "test.npz", *limits) == expected


def test_metadata_of_few_samples_say_how_many_and_what_they_cannot_show(tmp_path):
    table = write_csv(tmp_path / "t.csv", DATA | {"prediction": NEW})
    for n in (N // 3, N):
        device = {"id": NAMES[:n], "device": ["a", "b", "c"] * N}
        device["device"] = device["device"][:n]
        named = ("--metadata", write_csv(tmp_path / "m.csv", device), "--id-column", "id")
        _, audit = done("audit", "--predictions", table, table, *named, "-o", tmp_path / str(n))
        sliced = ("--slice", "metadata:device", "--average", 50)
        _, check = done("check", "--predictions", table, *named, *sliced)
        for told in (audit, check):
            assert f"it names {n} of {N} samples" in told
            assert ("not those of all samples" in told) is (n < N)


def test_rows_in_any_order_and_classes_in_any_form(check):
    expected, said = check({"id": NAMES, "prediction": NEW})
    assert "matched by their column 'id'" in said
    assert expected["worst_group"] in ("g0", "g1")
    order, other = RNG.permutation(N), RNG.permutation(N)
    shuffled, moved = (
        {name: np.asarray(values)[rows] for name, values in columns.items()}
        for columns, rows in (({"id": NAMES, "pred": NEW}, order), (DATA, other))
    )
    found, _ = check(shuffled, moved)
    assert found["rows"] == expected["rows"]
    assert {*found["new_errors"]} == {*expected["new_errors"]}
    forms = [NEW.astype(float), NEW == 1, np.where(NEW == 1, "true", "false")]
    for column in forms:
        assert check({"id": NAMES, "prediction": column})[0] == expected
    scores = {"id": NAMES, "p": 0.2 + 0.6 * NEW}
    old = {"id": NAMES, "p": OLD}
    for options in ((), ("--threshold", "0.3"), ("--threshold", "0.9,0.7")):
        assert check(scores, DATA, old, "--score-columns", "p", *options)[0] == expected
    assert check(scores, DATA, old, "--score-columns", "p", "--threshold", "0.9")[0] != expected


def test_rows_without_names_are_matched_by_position_and_this_is_said(check):
    data = {name: values for name, values in DATA.items() if name != "id"}
    found, said = check({"prediction": NEW}, data)
    assert "are matched by position" in said
    assert found["rows"] == check({"id": NAMES, "prediction": NEW})[0]["rows"]
    # The index that pandas writes names the rows, if it has the same values in both tables.
    order = RNG.permutation(N)
    found, said = check({"": order, "prediction": NEW[order]}, {"": range(N), **data})
    assert "by their column ''" in said
    assert found["n_new_errors"] == int(((OLD == Y) & (NEW != Y)).sum())


def test_one_table_holds_everything(tmp_path):
    words = np.array(["cat", "dog"])
    columns = {"id": NAMES, "label": words[Y], "new": words[NEW], "old": words[OLD], "site": SITE}
    path = write_csv(tmp_path / "all.csv", columns)
    junit, page = tmp_path / "check.xml", tmp_path / "check.md"
    options = ("--prediction-column", "new,old", "--junit", junit, "--markdown", page)
    found = results("--predictions", path, "--before", path, *options, *LIMITS[:-1])
    new_errors = np.flatnonzero((OLD == Y) & (NEW != Y))
    assert found["new_errors"] == [NAMES[row] for row in new_errors]
    assert [row["name"] for row in found["rows"]][1:3] == ["cat", "dog"]
    assert "class cat" in junit.read_text()
    assert "class cat" in page.read_text()


def test_what_is_refused(tmp_path):
    ids = {"id": NAMES}
    tables = {
        "data": DATA, "new": {**ids, "prediction": NEW}, "old": {**ids, "prediction": OLD},
        "short": {"id": NAMES[:9], "prediction": NEW[:9]}, "plain": {"prediction": NEW[:9]},
        "twice": {"id": [NAMES[0]] * N, "prediction": NEW}, "none": {"id": range(N), "pred": NEW},
        "words": {**ids, "prediction": np.array(["cat", "dog"])[NEW]}, "other": {**ids, "x": NEW},
        "scores": {**ids, "prediction": 0.1 + 0.7 * NEW}, "empty": {**ids, "prediction": [""] * N},
        "swapped": {**ids, "prediction": 1 - OLD}, "label": {**ids, "label": NEW},
        "cases": {**ids, "label": np.array(["cat", "dog"])[Y]},
        "case": {**ids, "prediction": np.array(["Cat", "dog"])[NEW]},
        "nan": {**ids, "prediction": [*NEW[:-2], "nan", "NaN"]},
        "several": {**ids, "prediction_a": NEW, "prediction_b": NEW},
    }  # fmt: skip
    at = {name: write_csv(tmp_path / f"{name}.csv", columns) for name, columns in tables.items()}
    for words, says in [
        ("short data", "no prediction for 591 of the 600 samples"),
        ("plain data", "in the same order"),
        ("twice data", "names '0.png' twice in 'id'"),
        ("none data", "None of the 600 samples"),
        ("words data", "write the same class names in both"),
        ("case cases", "did you mean 'cat'?"),
        ("scores data", "--score-columns prediction"),
        ("empty data", "has no prediction in any of its 600 rows"),
        ("nan data", "has no prediction in 2 rows"),
        ("other data", "no column of predictions"),
        ("label data", "no column of predictions"),
        ("new", "pass the labelled samples as DATA"),
        ("new data --before swapped", "Write the right classes into the predictions"),
        ("new data --before new", "no column 'prediction_before'"),
        ("new data --max-drop 3", "with --before"),
        ("new data --threshold 0.3", "--score-columns"),
        ("new data --invariant word:film", "--invariant needs a model"),
        ("new data --skip-bad", "--skip-bad needs a model; drop it, or drop --predictions"),
        ("new data --resize 9", "--preprocessing needs a model"),
        ("new data --report out.html", "--report compares two models"),
        ("new data --answers a.json --average 5", "a.json"),
        ("several data", "no column 'a' with 0 and 1"),
        ("several data --label c", "'a', 'b' with --label"),
        ("new data old", "With --predictions no model is run"),
    ]:
        arguments = [at.get(word, word) for word in words.split()]
        refused("check", "--predictions", *arguments, "--average", 50, says=says)
    for arguments in (("new", "data"), ("--before", "old", "new", "data"), ("old", "new", "data")):
        paths = [at.get(word, word) for word in arguments]
        refused("check", *paths, says="ntkit check --predictions NEW")
    for command in (("predict", at["new"], at["data"], "-o", tmp_path / "p.csv"),
                    ("debias", at["new"], at["data"], "-o", tmp_path / "o")):  # fmt: skip
        refused(*command, says="with --predictions")


def test_an_audit_of_images_arrays_and_embeddings_needs_no_model(user, tmp_path):
    done("predict", user / "model.onnx", user / "test", "-o", tmp_path / "images.csv", *DEVICE)
    arrays = tmp_path / "arrays.csv"
    done("predict", user / "model.onnx", user / "validation.npz", "-o", arrays, *DEVICE)
    names = [row["file_name"] for row in read_csv(tmp_path / "images.csv")]
    meta = write_csv(tmp_path / "meta.csv", {"file_name": names[::-1], "site": ["A", "B"] * 80})
    for table, data, options, kinds in [
        ("images.csv", "test", ("--metadata", meta), {"image", "metadata"}),
        ("arrays.csv", "validation.npz", (), {"image"}),
        ("arrays.csv", "validation.store", (), {"embedding"}),
    ]:
        out = tmp_path / f"out-{data}"
        done("audit", "--predictions", tmp_path / table, user / data, "-o", out, *options)
        found = json.loads((out / "audit.json").read_text())
        assert {*found["looked_at"]} == kinds
    lacking = write_csv(tmp_path / "no.csv", {"prediction": [0, 1] * (N_IMAGES // 2)})
    refused("audit", "--predictions", lacking, user / "test", "-o", out, "--force",
            says="no column 'file_name'")  # fmt: skip


def test_tables_import_no_library_of_models(tmp_path):
    """Nor of estimators: a check of tables starts at once."""
    heavy = ("onnx", "onnxruntime", "sklearn", "scipy.stats", "scipy.optimize", "ntkit.jobs.audit")
    path = write_csv(tmp_path / "p.csv", {**DATA, "prediction": NEW, "prediction_before": OLD})
    words = ["check", "--predictions", str(path), "--before", str(path), *LIMITS]
    code = f"import sys; from ntkit.cli import main\ntry: main({words!r})\n"
    code += "except SystemExit: pass\n"
    code += f"print(*[m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outcome"] in ("pass", "fail", "too few")
    assert not {*done.stderr.split()} & {*heavy}, done.stderr


# -- scores ---------------------------------------------------------------------------------------


def scored(right, names, seed=1, spread=0.2):
    """A table of scores of two classes: of so many rows the larger one is that of the label."""
    hit = np.random.default_rng(seed).random(N) < right
    p = 0.5 + spread * np.where(hit, 1, -1) * np.where(Y == 1, 1, -1)
    return {"id": NAMES, **dict(zip(names, (1 - p, p), strict=True))}


@pytest.mark.parametrize("labels", [Y, np.array(["neg", "pos"])[Y]], ids=["numbers", "texts"])
def test_scores_in_a_wrong_order_never_pass_a_worse_model(tmp_path, labels):
    """By names in any order; without names, the evident other order is refused."""
    classes = [*map(str, np.unique(labels).tolist())]
    data = write_csv(tmp_path / "data.csv", {"id": NAMES, "label": labels})
    forms = [(classes, True), ([f"prob_{c}" for c in classes], True), (["s_1", "s_2"], False)]
    for names, in_order in [*forms, ("ab", False)]:
        old, new = (
            write_csv(tmp_path / f"{i}.csv", scored(right, names))
            for i, right in enumerate((0.96, 0.78))
        )
        command = ("check", "--predictions", new, "--before", old, data, "--max-drop", 5)
        code, out, _ = ntkit(*command, "--score-columns", ",".join(names), "--json")
        assert (code, json.loads(out)["outcome"]) == (1, "fail")
        swapped = (*command, "--score-columns", ",".join(names[::-1]), "--json")
        if in_order:
            assert ntkit(*swapped)[:2] == (code, out)
        else:
            refused(*swapped, says="another order than the classes")
    options = ("check", "--predictions", old, data, "--average", 50, "--score-columns")
    assert ntkit(*options, "b")[0] == 0
    refused(*options, "a", says="another order than the classes")
    named = write_csv(tmp_path / "named.csv", scored(0.96, classes))
    options = ("check", "--predictions", named, data, "--average", 50, "--score-columns")
    assert ntkit(*options, classes[1])[0] == 0
    if labels.dtype.kind == "U":  # the score of the class that it names
        assert results(*options[1:], classes[0]) == results(*options[1:], classes[1])
    else:
        refused(*options, classes[0], says="the second's alone is enough")
    page = ("audit", "--predictions", old, data, "-o", tmp_path / "out", "--score-columns", "b,a")
    refused(*page, says="another order than the classes")


def test_a_threshold_is_that_of_a_probability(check):
    logits = {"id": NAMES, "p": np.where(NEW == 1, 2.0, -2.0)}
    old = {"id": NAMES, "p": 0.2 + 0.6 * OLD}
    expected, _ = check({"id": NAMES, "prediction": NEW})
    assert check(logits, DATA, old, "--score-columns", "p")[0] == expected
    with pytest.raises(AssertionError, match="the threshold is a probability"):
        check(logits, DATA, old, "--score-columns", "p", "--threshold", "0.9")


def test_a_threshold_is_that_of_the_second_class_by_name(tmp_path):
    spam = np.random.default_rng(1).random(N)
    names = np.array(["ham", "spam"])
    truth = {"id": NAMES, "label": names[Y], "prob_ham": 1 - spam, "prob_spam": spam}
    path = write_csv(tmp_path / "p.csv", truth)
    options = ("--predictions", path, "--average", "2", "--threshold", "0.3")
    expected = np.mean((spam > 0.3) == Y)
    for columns in ("prob_ham,prob_spam", "prob_spam,prob_ham", "prob_spam"):
        found = results(*options, "--score-columns", columns)
        assert found["rows"][0]["accuracy"] == expected
        _, _, err = ntkit("check", *options, "--score-columns", columns)
        assert "'spam' is predicted where the score 'prob_spam' is above 0.3" in " ".join(
            err.split()
        )
    refused("check", *options, says="positive class of two")
    logits = write_csv(tmp_path / "l.csv", truth | {"prob_spam": 4 * spam})
    options = ("check", "--predictions", logits, *options[2:], "--score-columns")
    refused(*options, "prob_ham,prob_spam", says="the threshold is a probability")


@pytest.mark.parametrize("command", ["check", "audit"])
def test_a_column_of_names_that_one_table_lacks_is_refused(tmp_path, command):
    path = write_csv(tmp_path / "all.csv", DATA | {"prediction": NEW, "mark": NAMES})
    more = ("--average", "50") if command == "check" else ("-o", tmp_path / "out")
    options = (command, "--predictions", path, path, *more, "--id-column")
    refused(*options, "nope", says="nope")
    assert ntkit(*options, "mark")[0] == 0


def test_an_audit_refuses_scores_of_exchanged_classes(tmp_path):
    """As a check does for the model in use; --classes says that they are right."""
    data = write_csv(tmp_path / "data.csv", DATA)
    for right in (True, False):
        score = np.where(NEW if right else 1 - NEW, 0.8, 0.2)
        path = tmp_path / "p.csv"
        write_csv(path, {"id": NAMES, "prob_0": 1 - score, "prob_1": score})
        named = ("--score-columns", "prob_0,prob_1")
        of_audit = ("audit", "--predictions", path, data, *named, "-o", tmp_path / "a", "--force")
        if right:
            assert ntkit(*of_audit)[0] == 0
            continue
        says = "seem to be in another order than the labels"
        refused(*of_audit, says=says)
        assert ntkit(*of_audit, "--classes", "0,1")[0] == 0
        old = write_csv(tmp_path / "old.csv", {"id": NAMES, "prob_0": 1 - score, "prob_1": score})
        refused("check", "--predictions", path, "--before", old, data, *named, says=says)


@pytest.mark.parametrize("names", [["ham", "spam"], [0, 1]])
def test_an_old_table_of_exchanged_classes_is_refused(tmp_path, names):
    """Any new model would pass; --classes says that they are right. A new one fails by itself."""
    names, says = np.array(names), "seem to be in another order than the labels"
    columns = {"id": NAMES, "label": names[Y]}
    right, turned = (
        write_csv(tmp_path / f"{name}.csv", columns | {"prediction": names[given]})
        for name, given in (("right", NEW), ("turned", 1 - NEW))
    )
    command = ("check", "--max-drop", "5")
    of_old = (*command, "--predictions", right, "--before", turned, right)
    refused(*of_old, says=says)
    code, _, err = ntkit(*of_old, "--classes", ",".join(map(str, names)))
    assert (code, err.count(says)) == (0, 1)
    code, _, err = ntkit(*command, "--predictions", turned, "--before", right, turned)
    assert (code, err.count(says)) == (1, 1)


def test_two_spellings_of_a_word_are_one_slice(tmp_path):
    texts = np.where(SITE == "A", "we don\u2019t know", "we know")
    path = write_csv(tmp_path / "p.csv", {"text": texts, "label": Y, "prediction": NEW})
    limits = tmp_path / "limits.toml"
    limits.write_text('[slices]\n"word:don\'t" = { accuracy = 20 }\n', encoding="utf-8")
    options = ("--predictions", path, "--limits", limits)
    found = results(*options, "--slice", "word:don\u2019t", "--slice", "word:Don't")
    assert [row["name"] for row in found["rows"] if row["kind"] == "slice"] == ["word:don't"]
    found = results(*options, "--slice", "word:know", "--slice", "not word:don't")
    assert sum(row["kind"] == "slice" for row in found["rows"]) == 3


# -- labels of two tables -------------------------------------------------------------------------


SEVERAL = {"id": NAMES, "label_even": Y, "prediction_even": NEW}


@pytest.mark.parametrize("name", ["even", "label_even"])
@pytest.mark.parametrize("kind", ["table", "arrays"])
def test_each_of_several_labels_is_compared(tmp_path, name, kind):
    table = {**SEVERAL, "label_odd": 1 - Y, "prediction_odd": 1 - NEW}
    path, data = write_csv(tmp_path / "p.csv", table), tmp_path / "data.npz"
    for y, differs in ((Y, False), (1 - Y, True)):
        if kind == "table":
            data = write_csv(tmp_path / "data.csv", {"id": NAMES, name: y})
        else:
            table = {"row": range(N)} | {n: v for n, v in table.items() if n != "id"}
            path = write_csv(tmp_path / "p.csv", table)
            np.savez(data, X=np.zeros((N, 1)), y=np.stack([y, 1 - y], axis=1))
        command = ("check", "--predictions", path, data, "--average", 50)
        for options in ((), ("--label", "even")):
            if differs:
                refused(*command, *options, says=f"{N} of {N} rows have different labels")
            else:
                assert ntkit(*command, *options)[0] == 0


def test_the_first_missing_prediction_of_a_label_is_named(tmp_path):
    data, given = write_csv(tmp_path / "data.csv", {"id": NAMES, "even": Y}), [*NEW]
    given[3] = given[7] = ""
    path = write_csv(tmp_path / "p.csv", {**SEVERAL, "prediction_even": given})
    says = "p.csv, row 5 has no prediction of 'even'; fill it."
    refused("check", "--predictions", path, data, "--average", 50, says=says)


def test_a_missing_prediction_does_not_hide_other_labels(tmp_path):
    """Of an audit, which takes a part of the samples; and of the labels next to the old model."""
    data = write_csv(tmp_path / "data.csv", DATA)
    for rows in (N, N - 1):
        table = {"id": NAMES[:rows], "label": 1 - Y[:rows], "prediction": NEW[:rows]}
        path = write_csv(tmp_path / "p.csv", table)
        out = ("-o", tmp_path / "out")
        refused("audit", "--predictions", path, data, *out, says=f"{rows} of {rows} rows have")
    new = write_csv(tmp_path / "new.csv", {"id": NAMES, "label": Y, "prediction": NEW})
    old = write_csv(tmp_path / "old.csv", {"id": NAMES, "label": 1 - Y, "prediction": OLD})
    bare = write_csv(tmp_path / "bare.csv", {"id": NAMES, "site": SITE})
    command = ("check", "--predictions", new, "--before", old, bare, "--max-drop", 5)
    refused(*command, says=f"{N} of {N} rows have different labels in 'label'")


# -- the old model --------------------------------------------------------------------------------


def test_a_label_called_before_is_a_label(tmp_path):
    """It is the old model's if --before asks for it, or if predict --before wrote the table."""
    table = {**SEVERAL, "label_before_even": Y, "prediction_before_even": 1 - Y}
    path = write_csv(tmp_path / "p.csv", table)
    command = ("check", "--predictions", path, "--average", 50)
    code, out, _ = ntkit(*command, "--json")
    assert (code, json.loads(out)["outcome"]) == (1, "fail")
    assert "before_even" in out
    refused(*command, "--before", path, says="Pass two tables")
    written = {**SEVERAL, "prediction_before_even": OLD, "changed_even": NEW != OLD}
    path = write_csv(tmp_path / "both.csv", written)
    code, _, err = ntkit("check", "--predictions", path, "--average", 50)
    assert (code, "left out 'prediction_before_even'" in err) == (0, True)
    code, out, _ = ntkit(
        "check", "--predictions", path, "--before", path, "--max-drop", 5, "--json"
    )
    assert json.loads(out)["n_new_errors"] == int(((OLD == Y) & (NEW != Y)).sum())


def test_the_old_predictions_are_never_those_of_the_new_model(tmp_path):
    ids = {"id": NAMES, "label": Y}
    new = write_csv(
        tmp_path / "new.csv", {**ids, "prediction": NEW, "prob_1": NEW, "prob_before_1": OLD}
    )
    old = write_csv(tmp_path / "old.csv", {**ids, "prediction": NEW, "was": OLD})
    for command, says in (
        ((new, "--before", new), "no column 'prediction_before'"),
        ((new, "--before", new, "--prediction-column", "prediction,prediction"), "for both models"),
        ((new, "--before", old, "--prediction-column", "prediction,wass"), "no column 'wass'"),
    ):
        refused("check", "--predictions", *command, "--max-drop", 5, says=says)
    for old_column, right in (("was", OLD == Y), ("prediction", NEW == Y)):
        columns = ("--prediction-column", f"prediction,{old_column}")
        found = results("--predictions", new, "--before", old, *columns, "--max-drop", 5)
        assert found["rows"][0]["before"] == pytest.approx(right.mean())


# -- names ----------------------------------------------------------------------------------------


def test_the_sentence_on_the_match_names_a_column_of_both(check):
    data = {name: values for name, values in DATA.items() if name != "id"}
    numbered = {"row": range(N), "prediction": NEW}
    found, said = check(numbered, data, numbered)
    assert "matched by their column" not in said
    assert "matched by position with the row numbers" in said
    assert "If their order may differ" in said
    assert found == check(numbered, {"row": range(N), **data}, numbered)[0]
    assert "by their column 'row'" in check(numbered, {"row": range(N), **data}, numbered)[1]


def test_two_classes_do_not_become_one(tmp_path):
    """ntkit writes an apostrophe before =a, and a class may have one."""
    classes = np.array(["=a", "'=a"])
    data = write_csv(tmp_path / "data.csv", {"id": NAMES, "label": classes[Y]})
    swapped = write_csv(tmp_path / "p.csv", {"id": NAMES, "prediction": classes[1 - Y]})
    command = ("check", "--predictions", swapped, data, "--average", 50)
    refused(*command, says="has the classes '=a' and \"'=a\"")
    for written in ("=a", "'=a"):  # as it is, and as ntkit predict writes it
        write_csv(data, {"id": NAMES, "label": np.array(["=a", "b"])[Y]})
        write_csv(swapped, {"id": NAMES, "prediction": np.array([written, "b"])[NEW]})
        assert ntkit(*command)[0] == 0
    write_csv(swapped, {"id": NAMES, "prediction": np.array(["''=a", "b"])[NEW]})
    refused(*command, says="did you mean '=a'")


@pytest.mark.parametrize("classes", [["cat", "dog"], [9, 10], [1, 2]])
@pytest.mark.parametrize("prefix", ["prob_", "PROB_"])
def test_scores_named_like_classes_count_by_name(tmp_path, classes, prefix):
    first, second = (f"{prefix}{name}" for name in classes)
    if prefix.isupper():  # names differ from the classes in case only
        first, second = first.upper(), second.upper()
    scores = 0.3 + 0.4 * NEW
    columns = {"label": np.array(classes)[Y], first: 1 - scores, second: scores}
    path = write_csv(tmp_path / "p.csv", columns)
    command = ("--predictions", path, "--average", "50", "--score-columns")
    expected = results(*command, f"{first},{second}")
    assert expected["rows"][0]["accuracy"] == np.mean(NEW == Y)
    assert results(*command, f"{second},{first}")["rows"] == expected["rows"]
    assert results(*command, second)["rows"] == expected["rows"]
    if isinstance(classes[0], str):
        assert results(*command, first)["rows"] == expected["rows"]
    else:  # a number may be that of the column
        refused("check", *command, first, says="the scores of")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("ok_prob fraud_prob", "ok fraud"),
        ("Fraud-Score OK-Score", "fraud ok"),
        ("m_fraud_v2 m_ok_v2", "fraud ok"),
        ("okProb fraudProb", "ok fraud"),
        ("prob_not_ok prob_ok", "not-ok ok"),
        ("ok_prob_ok ok_prob_fraud", "ok fraud"),  # the first ok is in both names
        ("1_score 0_score", "1 0"),
        ("p1 p0", "1 0"),
    ],
)
def test_scores_count_by_the_class_that_is_a_word_of_their_names(tmp_path, names, classes):
    """In any order, also of rare classes, whose exchange does not show in the accuracy."""
    names, classes = names.split(), classes.split()
    rare = np.random.default_rng(2).random(N) < 0.06
    scores = 0.3 + 0.4 * np.where(np.random.default_rng(3).random(N) < 0.4, 1 - rare, rare)
    truth = {"label": np.where(rare, *classes), names[0]: scores, names[1]: 1 - scores}
    path = write_csv(tmp_path / "p.csv", truth)
    command = ("--predictions", path, "--average", "50", "--score-columns")
    for order in (names, names[::-1]):
        found = results(*command, ",".join(order))["rows"][0]
        assert found["accuracy"] == np.mean((scores > 0.5) == rare)


def test_scores_that_count_by_their_order_are_noted(tmp_path):
    """Whether the order of a person is that of the classes does not always show in the accuracy."""
    rng = np.random.default_rng(5)
    classes, at = ["negative", "neutral", "positive"], rng.integers(3, size=N)
    scores = 0.2 + 0.2 * (np.where(rng.random(N) < 0.5, at, rng.integers(3, size=N))[:, None]
                          == np.arange(3))  # fmt: skip
    command = ("check", "--average", "20", "--predictions")
    for names, noted in ((["p_neg", "p_neu", "p_pos"], True), ([f"p_{c}" for c in classes], False)):
        truth = {"label": np.array(classes)[at], **dict(zip(names, scores.T, strict=True))}
        path = write_csv(tmp_path / "p.csv", truth)
        _, _, err = ntkit(*command, path, "--score-columns", ",".join(names))
        told = (
            "the scores 'p_neg', 'p_neu', 'p_pos' are taken for those of the classes 'negative', "
            "'neutral', 'positive', in this order."
        )
        assert (told in " ".join(err.split())) == noted


@pytest.mark.parametrize("digits", [1, 9])
def test_equal_scores_of_rounding_are_noted(tmp_path, digits):
    rng = np.random.default_rng(6)
    label = np.array(["a", "b", "c"])[rng.integers(3, size=N)]
    scores = np.round(rng.dirichlet([2, 2, 2], N), digits)
    highest = scores.max(axis=1, keepdims=True)
    n_equal = int(((scores == highest).sum(axis=1) > 1).sum())
    assert (n_equal > 0) == (digits == 1)
    names = ["prob_a", "prob_b", "prob_c"]
    both = {"label": label, "site": SITE, **dict(zip(names, scores.T, strict=True))}
    told = f"in {n_equal} rows ({100 * n_equal / N:.1f} %), the largest scores are equal, and the"
    path = write_csv(tmp_path / "p.csv", both)
    options = ("--predictions", path, "--score-columns", ",".join(names))
    for command in (("check", "--average", 9), ("audit", path, "-o", tmp_path / "out")):
        assert (told in " ".join(ntkit(*command, *options)[2].split())) == (digits == 1)
    found = audit(label, scores=pd.DataFrame(both)[names], texts=["x", "y"] * (N // 2))
    assert (told in " ".join(found.notes)) == (digits == 1)
    half = write_csv(tmp_path / "h.csv", {"label": Y, "p": np.round(rng.random(N), digits)})
    command = ("check", "--predictions", half, "--average", 9, "--score-columns", "p")
    told = "the score is 0.5 itself, which is not above it."
    assert (told in " ".join(ntkit(*command)[2].split())) == (digits == 1)
    assert told not in " ".join(ntkit(*command, "--threshold", "0.5")[2].split())


@pytest.mark.parametrize("names", ["fraud_vs_ok,ok_vs_fraud", "ok_or_fraud"])
def test_scores_that_name_several_classes_are_refused(tmp_path, names):
    label = np.array(["ok", "fraud"])[Y]
    path = write_csv(tmp_path / "p.csv", {"label": label} | dict.fromkeys(names.split(","), NEW))
    command = ("check", "--predictions", path, "--average", "50", "--score-columns", names)
    refused(*command, says="names several classes ('fraud', 'ok')")


def test_a_logit_of_zero_is_not_above_zero_of_either_class(tmp_path):
    logits = np.where(Y == 1, 2.0, np.where(np.arange(N) % 2, 0.0, -1.0))
    label = np.array(["ok", "fraud"])[Y]  # fraud comes first
    path = write_csv(tmp_path / "p.csv", {"label": label, "fraud_score": logits})
    command = ("--predictions", path, "--average", "5", "--score-columns", "fraud_score")
    assert results(*command)["rows"][0]["accuracy"] == 1


def test_a_single_score_is_that_of_the_class_in_its_name(tmp_path):
    label = np.array(["ok", "fraud"])[Y]  # fraud comes first
    scores = np.random.default_rng(4).random(N)
    path = write_csv(tmp_path / "p.csv", {"label": label, "fraud_score": scores, "ok": 1 - scores})
    command = ("--predictions", path, "--average", "5")
    one, other = (results(*command, "--score-columns", column) for column in ("fraud_score", "ok"))
    assert one == other
    for column, name, values in (("fraud_score", "fraud", scores), ("ok", "ok", 1 - scores)):
        options = ("--score-columns", column, "--threshold", "0.3")  # of the class that is named
        found = results(*command, *options)
        assert found["rows"][0]["accuracy"] == np.mean((values > 0.3) == (label == name))
        _, _, err = ntkit("check", *command, *options)
        told = f"{name!r} is predicted where the score {column!r} is above 0.3."
        assert told in " ".join(err.split())
    logits = write_csv(tmp_path / "l.csv", {"label": label, "fraud_logit": scores - 0.5})
    found = results("--predictions", logits, "--average", "5", "--score-columns", "fraud_logit")
    assert found["rows"][0]["accuracy"] == np.mean((scores > 0.5) == (label == "fraud"))


def test_a_single_score_is_a_probability_or_a_logit(tmp_path):
    scores = 0.3 + 0.4 * NEW

    def checked(values):
        path = write_csv(tmp_path / "p.csv", {"label": Y, "p": values})
        return ntkit("check", "--predictions", path, "--average", "50", "--score-columns", "p")

    for values, says in ((scores, "above 0.5."), (scores - 0.5, "above 0, as a logit.")):
        code, out, err = checked(values)
        assert (code, f"Average accuracy {100 * np.mean(NEW == Y):.1f} %" in out) == (0, True)
        assert f"1 is predicted where the score 'p' is {says}" in " ".join(err.split())
    code, _, err = checked(100 * scores)
    assert code == 2
    assert "from 0 to 70" in " ".join(err.split())


def test_a_label_of_the_old_predictions_alone_is_refused(tmp_path):
    truth = {"id": NAMES, "a": Y, "b": 1 - Y}
    both = {"id": NAMES, "prediction_a": NEW, "prediction_b": 1 - NEW}
    one = {name: both[name] for name in ("id", "prediction_a")}
    paths = [write_csv(tmp_path / f"{i}.csv", each) for i, each in enumerate((truth, both, one))]
    pair = ("check", "--predictions", paths[2], "--before", paths[1], paths[0], "--max-drop", "9")
    refused(*pair, says="predictions of the labels 'b'")
    assert ntkit(*pair, "--label", "a")[0] == 0
    old = write_csv(tmp_path / "old.csv", both)
    assert ntkit(*pair[:2], paths[1], "--before", old, *pair[5:])[0] == 0


@pytest.mark.parametrize("of_samples", ["id", ""])
def test_names_in_a_column_of_another_name_are_not_ignored(tmp_path, of_samples):
    data = write_csv(tmp_path / "data.csv", {of_samples: range(N), "label": Y})
    order = RNG.permutation(N)
    for rows, code in ((order, 2), (np.arange(N), 0)):
        new = write_csv(tmp_path / "new.csv", {"sample": rows, "prediction": NEW[rows]})
        found = ntkit("check", "--predictions", new, data, "--average", "50")
        assert found[0] == code
        says = f"by its column 'sample'. The samples have these names in {of_samples!r}"
        assert (says in " ".join(found[2].split())) == (code == 2)


def test_classes_like_numbers_with_a_point_are_classes(tmp_path):
    sizes = np.array(["1.5", "2.5"])
    path = write_csv(tmp_path / "p.csv", {"label": sizes[Y], "prediction": sizes[NEW]})
    assert results("--predictions", path, "--average", "50")["rows"][0]["accuracy"] == (
        np.mean(NEW == Y)
    )
    write_csv(path, {"label": Y, "prediction": 0.3 + 0.4 * NEW})
    refused("check", "--predictions", path, "--average", "50", says="has scores, not classes")


def test_metadata_of_copies_are_shared_wherever_the_slice_is_named(tmp_path):
    n = 100
    texts = [f"text number {i}" for i in range(n)]
    columns = {"text": texts * 2, "label": ["a", "b"] * n, "prediction": ["a", "b"] * n}
    path = write_csv(tmp_path / "p.csv", columns)
    facts = write_csv(tmp_path / "m.csv", {"site": [""] * n + ["B"] * n})
    limits = tmp_path / "limits.toml"
    limits.write_text('average = 50\n[slices]\n"metadata:site=B" = {}\n')
    for options in (("--slice", "metadata:site=B", "--average", "50"), ("--limits", limits)):
        rows = results("--predictions", path, "--metadata", facts, *options)["rows"]
        assert [r["samples"] for r in rows if r["kind"] == "slice"] == [n]


ALIKE = {  # values whose first characters or digits are the same, and more numbers than categories
    "builds": [20240101.1, 20240101.2, 20240101.3, 1.0],
    "places": [52.5200081, 52.5200125, *np.arange(20.0)],
    "large numbers": [1234567890123456789, 1234567890123456790, 1234567890123456799, 7],
    "paths": [f"/srv/{'x' * 80}/{name}" for name in ("night", "day", "dawn")],
    "versions": ["1.1", "1.10", "1.2"],
}


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_each_value_of_a_column_is_a_slice_of_its_own(tmp_path, kind, ending):
    import pandas as pd

    values = ALIKE[kind]
    code = np.arange(600) % len(values)
    y = np.arange(600) // len(values) % 2
    new = np.where(code == 0, 1 - y, y)  # every sample of the first value is wrong
    frame = pd.DataFrame({"label": y, "prediction": new, "of": np.array(values)[code]})
    path = tmp_path / f"p.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path, index=False)
    (tmp_path / "l.toml").write_text('average = 10\n[slices]\n"metadata:of" = { accuracy = 60 }\n')
    options = ("--predictions", path, "--limits", tmp_path / "l.toml", "--json")
    code_of_exit, out, err = ntkit("check", *options)
    rows = [row for row in json.loads(out)["rows"] if row["kind"] == "slice"]
    rows = [row for row in rows if row["within"] is None]
    assert sum(row["samples"] for row in rows) == 600, err
    assert len({row["name"] for row in rows}) == len(values)
    (wrong,) = (row for row in rows if row["accuracy"] == 0)
    assert wrong["samples"] == (code == 0).sum()
    assert code_of_exit == 1
    for name in {wrong["name"], f"metadata:of={values[0]}"}:  # each as printed, and in full
        found = results("--predictions", path, "--average", "10", "--slice", name)
        (row,) = (row for row in found["rows"] if row["kind"] == "slice" and not row["within"])
        assert (row["samples"], row["accuracy"]) == (wrong["samples"], 0)


def test_limits_of_a_value_replace_those_of_its_column_in_any_writing(tmp_path):
    """A long value, or another spelling of a number; two names of one value are refused."""
    long = [f"Department of Radiology, University Hospital, Building {n}, Floor 1" for n in (1, 2)]
    data = {"label": Y, "prediction": NEW, "dept": np.array(long)[Y], "floor": Y + 2}
    path, limits = write_csv(tmp_path / "d.csv", data), tmp_path / "l.toml"
    options = ("--predictions", path, "--average", "20", "--limits", limits)
    for column, value in (("dept", long[0]), ("floor", "2.0"), ("floor", "2")):
        name = f"metadata:{column}"
        looser = f'"{name}={value}" = {{ accuracy = 40 }}'
        limits.write_text(f'[slices]\n"{name}" = {{ accuracy = 99 }}\n{looser}\n')
        rows = [row for row in results(*options)["rows"] if row["kind"] == "slice"]
        rows = [row for row in rows if row["within"] is None]
        assert [row["limits"][0]["bound"] for row in rows] in ([0.4, 0.99], [0.99, 0.4])
        assert sum(row["samples"] for row in rows) == N
    floors = '[slices]\n"metadata:floor" = {}\n"metadata:floor=2" = {}\n"metadata:floor=2.0" = {}'
    limits.write_text(floors)
    refused("check", *options, says="are one slice")


def test_scores_that_decide_otherwise_than_the_predictions_are_noted(tmp_path):
    """The model's own threshold is in its predictions alone."""
    score = np.where(OLD == 1, 0.4, 0.1)  # above its threshold, .2
    columns = {"label": Y, "prediction": NEW, "prediction_before": OLD}
    columns |= {"prob_0": 1.0 - NEW, "prob_1": 1.0 * NEW}
    columns |= {"prob_before_0": 1 - score, "prob_before_1": score}
    path = write_csv(tmp_path / "p.csv", columns)
    new, both = ("check", "--predictions", path, "--average", "20"), ("--before", path)
    for scores in ("prob_0,prob_1", "prob_1"):
        err = ntkit(*new, *both, "--score-columns", scores)[2]
        assert f"'prediction_before' has another class in {(OLD == 1).sum()} labelled rows" in err
        assert err.count("has another class") == 1
        assert "another class" not in ntkit(*new, "--score-columns", scores)[2]


@pytest.mark.parametrize("command", ["check", "audit"])
def test_samples_without_a_label_are_left_out_of_a_table(tmp_path, command):
    """Also of one that predict wrote, with numbers or names."""
    unknown = np.arange(N) % 5 == 0
    for names in (["0", "1"], ["cat", "dog"]):
        label = np.where(unknown, "", np.array(names)[Y])
        new = {"id": NAMES, "prediction": np.array(names)[NEW]}
        whole = write_csv(tmp_path / "p.csv", DATA | new | {"label": label})
        apart = write_csv(tmp_path / "d.csv", DATA | {"label": label})
        for i, paths in enumerate([(whole, whole), (write_csv(tmp_path / "q.csv", new), apart)]):
            limits = ("--average", "20", "--slice", "column:site")
            out = limits if command == "check" else ("-o", tmp_path / f"{names[0]}{i}")
            code, printed, err = ntkit(command, "--predictions", *paths, *out)
            assert code in (0, 3), err
            assert f"left out {unknown.sum()} of {N} samples, because their label is unk" in err
            assert f"{N - unknown.sum()} samples" in printed
            assert f"{100 * (NEW == Y)[~unknown].mean():.1f} %" in printed


def test_what_is_said_of_labelled_samples_names_them(tmp_path):
    """The table predicts birds, but for samples without a label."""
    label = np.where(np.arange(N) < 3, "bird", np.where(Y == 1, "cat", "dog"))
    label[-9:] = ""
    predicted = np.where(np.arange(N) < N - 9, np.where(NEW == 1, "cat", "dog"), "bird")
    path = write_csv(tmp_path / "p.csv", {"label": label, "prediction": predicted})
    check = ("check", "--predictions", path, "--average", "20")
    assert "p.csv never predicts 'bird' for a labelled sample." in ntkit(*check)[2]
    label[:3] = "cat"
    write_csv(path, {"label": label, "prediction": predicted})
    refused(*check, "--classes", "cat,dog,bird", says=f"Among labelled samples, {path} has no cl")


def test_classes_of_a_table_are_those_in_it(tmp_path):
    path = write_csv(tmp_path / "p.csv", DATA | {"prediction": NEW})
    check = ("check", "--predictions", path, "--average", "20")
    assert ntkit(*check, "--classes", "1,0")[0] == 0
    refused(*check, "--classes", "foo,1", says="has no class 'foo', which --classes names")
    refused(*check, "--logits", "foo", says="--logits needs a model")


def test_labels_that_no_table_has_are_named_with_the_columns(tmp_path):
    path = write_csv(tmp_path / "p.csv", {"id": NAMES, "prediction_a": NEW})
    data = write_csv(tmp_path / "d.csv", {"id": NAMES, "b": Y})
    refused("check", "--predictions", path, data, says="its columns are ['id', 'b']")


def test_samples_without_any_value_of_a_column_are_no_slice(tmp_path):
    """A limit of them would be lost."""
    path, limits = write_csv(tmp_path / "d.csv", DATA | {"prediction": NEW}), tmp_path / "l.toml"
    options = ("--predictions", path, "--limits", limits)
    slices = '[slices]\n"metadata:site" = { accuracy = 10 }\n"not metadata:site%s" = '
    for value in ("", "=B"):
        limits.write_text(slices % value + "{ accuracy = 99 }\n")
        if value:
            rows = [row for row in results(*options)["rows"] if row["kind"] == "slice"]
            bounds = {row["name"]: row["limits"][0]["bound"] for row in rows}
            assert bounds["not metadata:site=B"] == 0.99
        else:
            refused("check", *options, says="'not metadata:site' names no samples")
    refused("check", *options[:2], "--average", 20, "--slice", "not column:site", says="whole col")
    rows = results(
        *options[:2], "--average", 20, "--slice", "column:site ", "--slice", "column:site"
    )
    assert len({row["name"] for row in rows["rows"]}) == len(rows["rows"])


def test_a_number_and_classes_do_not_mix_in_limits_of_a_column_and_a_value(tmp_path):
    path, limits = write_csv(tmp_path / "d.csv", DATA | {"prediction": NEW}), tmp_path / "l.toml"
    options = ("--predictions", path, "--average", "20", "--limits", limits)
    of_value = '"metadata:site=B" = { min_recall = { 0 = 10 } }\n'
    limits.write_text('[slices]\n"metadata:site" = { min_recall = 95 }\n' + of_value)
    refused("check", *options, says="Name the class in both")
    limits.write_text('[slices]\n"metadata:site" = { min_recall = { 1 = 95 } }\n' + of_value)
    rates = [row for row in results(*options)["rates"] if row["name"] == "metadata:site=B"]
    assert sorted(row["of_class"] for row in rates) == ["0", "1"]


def test_an_option_says_which_limit_of_the_file_it_replaces(tmp_path):
    group = {"group": np.array(["g1", "g2"])[(OLD == Y) & (NEW != Y) | (np.arange(N) % 9 == 0) * 1]}
    new = write_csv(tmp_path / "d.csv", DATA | group | {"prediction": NEW, "old": OLD})
    (limits := tmp_path / "l.toml").write_text(
        'over = ["average", "group"]\n[groups]\nmax_drop = 95\n'
    )
    options = ("--predictions", new, "--before", new, "--prediction-column", "prediction,old")
    options = ("check", *options, "--limits", limits)
    assert ntkit(*options)[0] == 0
    code, _, err = ntkit(*options, "--max-drop", 12)
    assert code == 1
    assert "Note: --max-drop 12 replaces max_drop = 95 of [groups]." in err


@pytest.mark.parametrize("column", ["", "index"])
def test_an_index_of_pandas_is_a_place_or_a_name_and_a_person_says_which(tmp_path, column):
    """A shuffled table keeps its index, and new predictions of its rows have one from 0 on."""
    order = RNG.permutation(N)
    shuffled = {column: order, "label": Y[order]}
    data = write_csv(tmp_path / "data.csv", shuffled)
    new = write_csv(tmp_path / "new.csv", {column: range(N), "prediction": NEW[order]})
    options = ("--average", "20")
    refused("check", "--predictions", new, data, *options, says="Call it id in both if it names")
    kept = {name: values for name, values in shuffled.items() if name}
    if column == "":  # twins: without the index by position, or called id by name
        data = write_csv(tmp_path / "place.csv", {"label": kept["label"]})
        new = write_csv(tmp_path / "new2.csv", {"prediction": NEW[order]})
        found = results("--predictions", new, data, *options)
        assert found["rows"][0]["accuracy"] == (NEW == Y).mean()
    data = write_csv(tmp_path / "named.csv", {"id": order, "label": Y[order]})
    new = write_csv(tmp_path / "new3.csv", {"id": range(N), "prediction": NEW})
    found = results("--predictions", new, data, *options)
    assert found["rows"][0]["accuracy"] == (NEW == Y).mean()


@pytest.mark.parametrize("title", ["ID", "customer"])
def test_names_of_samples_are_seen_under_any_title_of_the_samples(tmp_path, title):
    order = RNG.permutation(N)
    names = np.array([f"c{i}" for i in range(N)])
    data = write_csv(tmp_path / "data.csv", {title: names, "label": Y})
    columns = {"id": names[order], "prediction": NEW[order]}
    new = write_csv(tmp_path / "new.csv", columns)
    refused("check", "--predictions", new, data, "--average", "20", says="Give both columns one")
    new = write_csv(tmp_path / "same.csv", {title: names[order], "prediction": NEW[order]})
    found = results("--predictions", new, data, "--average", "20", "--id-column", title)
    assert found["rows"][0]["accuracy"] == (NEW == Y).mean()


def test_a_report_on_tables(tmp_path):
    """The page of two models, without the part on neurons."""
    rng, y = np.random.default_rng(0), np.arange(400) % 2
    for name, n in (("old", 40), ("new", 160)):
        wrong = np.isin(np.arange(400), rng.choice(400, n, replace=False))
        pred = np.where(wrong, 1 - y, y)
        write_csv(tmp_path / f"{name}.csv", {"id": range(400), "prediction": pred, "label": y})
    tables = ["--predictions", tmp_path / "new.csv", "--before", tmp_path / "old.csv"]
    code, out, _ = ntkit("check", *tables, "--max-drop", 5, "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert code == 1
    assert str(tmp_path / "r.html") in out
    assert "Neurons" not in page
    assert "60.0" in page
    assert "90.0" in page
    refused("check", "--predictions", tmp_path / "new.csv", "--max-drop", 5, "--report",
            tmp_path / "s.html", says="--report compares two models")  # fmt: skip


@pytest.mark.parametrize("order", ["0123", "2031"])
def test_tables_with_ids_that_count_up_name_their_columns_of_predictions(tmp_path, order):
    new = {"0": "a,a", "1": "b,b", "2": "a,b", "3": "b,a"}
    old = {"0": "a", "1": "a", "2": "b", "3": "b"}
    rows = ["id,label,new", *(f"{i},{new[i]}" for i in new), ""]
    (tmp_path / "new.csv").write_text("\n".join(rows))
    (tmp_path / "old.csv").write_text("\n".join(["id,old", *(f"{i},{old[i]}" for i in order), ""]))
    tables = ("--predictions", tmp_path / "new.csv", "--before", tmp_path / "old.csv")
    result = ntkit("check", *tables, "--prediction-column", "new,old", "--max-drop", "60")
    assert "1 new error (25.0 %), 1 error fixed" in str(result)

"""Names of classes are compared in one Unicode form, whatever wrote them."""

import json
import unicodedata

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

import ntkit
from ntkit import DebiasSettings, FrozenModel, LinearHead
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, read_samples
from ntkit.jobs.check import check_predictions
from ntkit.jobs.label import label_samples
from ntkit.store import EmbeddingStore
from tests.cases import done, read_csv, refused, write_csv
from tests.cases import ntkit as command
from tests.models import of_two_columns as classifier
from tests.models import parsed, save

COMPOSED = ["café", "thé"]
SPLIT = [unicodedata.normalize("NFD", name) for name in COMPOSED]
CPU = {"device": "cpu"}
QUIET = ("--device", "cpu", "--quiet")


def draw(names, n=200):
    rng = np.random.default_rng(0)
    X = rng.random((n, 2)).astype(np.float32)
    return X, np.asarray([names[int(x > 0.5)] for x in X[:, 0] + rng.normal(size=n) / 5])


def table(path, names):
    X, y = draw(names)
    return write_csv(path, {"a": X[:, 0], "b": X[:, 1], "label": y, "id": range(len(y))})


@pytest.fixture(params=[(COMPOSED, SPLIT), (SPLIT, COMPOSED)], ids=["composed", "split"])
def forms(request):
    """The spelling of the model, and that of the data."""
    return request.param


def test_predict_and_check_count_spellings_as_one_class(forms, tmp_path):
    of_model, of_data = forms
    model, data = classifier(tmp_path / "m.onnx", of_model), table(tmp_path / "t.csv", of_data)
    same = table(tmp_path / "same.csv", of_model)
    expected = ntkit.check(model, model, same, limits={"max_drop": 5}, **CPU)
    for each in (data, draw(of_data), Samples(*draw(of_data))):
        found = ntkit.check(model, model, each, limits={"max_drop": 5}, **CPU)
        assert found.rows == expected.rows
        predictions = ntkit.predict(model, each, **CPU)
        assert predictions.y.tolist() == draw(of_model)[1].tolist()
        assert {*predictions.labels.tolist()} == {*of_model}
    done("predict", model, data, "-o", tmp_path / "p.csv", *QUIET)
    rows = read_csv(tmp_path / "p.csv")
    assert {row["label"] for row in rows} | {row["prediction"] for row in rows} == {*of_model}
    one, other = (
        command("check", model, data, "--min-recall", f"{name}=20", "--json", *QUIET)
        for name in (of_model[1], of_data[1])
    )
    assert one == other
    assert one[0] == 0


def test_two_files_of_one_model_are_compared(forms, tmp_path):
    old = classifier(tmp_path / "old.onnx", forms[0])
    new = classifier(tmp_path / "new.onnx", forms[1])
    bare = draw(forms[0])[0]
    np.savez(tmp_path / "bare.npz", X=bare)
    done("predict", new, tmp_path / "bare.npz", "--before", old,
                  "-o", tmp_path / "p.csv", *QUIET)  # fmt: skip
    assert {row["changed"] for row in read_csv(tmp_path / "p.csv")} == {"0"}
    result = ntkit.check(old, new, draw(forms[0]), threshold=0.7, limits={"max_drop": 5}, **CPU)
    assert result.average.change == 0
    assert "passed" in done("verify", old, new, tmp_path / "bare.npz", "--device", "cpu")[0]


def test_a_repair_keeps_the_spelling_of_the_model(forms, tmp_path):
    model = classifier(tmp_path / "m.onnx", forms[0])
    sets = [table(tmp_path / f"{i}.csv", names) for i, names in enumerate(forms)]
    out = tmp_path / "out"
    how = {
        "method": "class-balanced",
        "settings": DebiasSettings(otherwise="new head", trust_inputs=True),
        **CPU,
    }
    ntkit.debias(model, *sets, out=out, **how)
    written = FrozenModel.load(out / "debiased.onnx")
    assert written.head.classes.tolist() == forms[0]
    assert json.loads(written.metadata["names"]) == forms[0]
    store = tmp_path / "store"
    done("embed", model, sets[1], "-o", store, *QUIET)
    assert {*EmbeddingStore.open(store).y.tolist()} == {*forms[0]}
    Z, y = EmbeddingStore.open(store).X, draw(forms[1])[1]
    write_csv(tmp_path / "z.csv", {"z0": Z[:, 0], "z1": Z[:, 1], "label": y})
    done("fit", tmp_path / "z.csv", "-o", tmp_path / "head.onnx", "--method", "balanced")
    done("export", model, tmp_path / "head.onnx", "-o", tmp_path / "new.onnx", "--device", "cpu")
    assert FrozenModel.load(tmp_path / "new.onnx").head.classes.tolist() == forms[0]


def test_image_folders_and_chosen_names(forms, tmp_path):
    text = """(float[N, 3, 4, 4] x) => (float[N, 2] logits) {
        m = GlobalAveragePool(x)
        z = Flatten(m)
        logits = Gemm(z, V, B)
    }"""
    model = parsed(text, V=[[1, -1], [0, 0], [0, 0]], B=[-0.5, 0.5])
    onnx.save(model, tmp_path / "m.onnx")
    for i, name in enumerate(forms[1]):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(10):
            colour = (255 - 255 * i, n, n)
            Image.new("RGB", (4, 4), colour).save(tmp_path / "images" / name / f"{n}.png")
    model = FrozenModel.load(tmp_path / "m.onnx", classes=forms[0])
    found = ntkit.check(model, model, tmp_path / "images", limits={"average": 20}, **CPU)
    assert found.average.value == 1
    assert read_names(tmp_path / "images", model) == {*forms[0]}


def read_names(path, model):
    return {*ntkit.predict(model, path, **CPU).y.tolist()}


def test_tables_of_predictions_and_arrays(forms, tmp_path):
    y, other = (draw(names)[1] for names in forms)
    result = check_predictions(y, other, limits={"min_recall": {forms[1][0]: 50}})
    assert (result.average.value, result.outcome) == (1, "pass")
    named = check_predictions(y, other, classes=forms[1], limits={"average": 50})
    assert [row.name for row in named.rows] == ["average", *forms[0]]
    scores = (other[:, None] == np.asarray(forms[1])).astype(float)
    audited = ntkit.audit(y, scores=scores, classes=forms[1], table={"a": draw(forms[0])[0][:, 0]})
    assert not audited.predictions.wrong.any()
    data = table(tmp_path / "t.csv", forms[0])
    pd.DataFrame({"id": range(len(y)), "prediction": other}).to_csv(tmp_path / "p.csv", index=False)
    code, out, err = command("check", "--predictions", tmp_path / "p.csv", data, "--average", "50")
    assert code == 0, err
    assert "Average accuracy 100.0 %" in out


def test_one_label_of_several(forms, tmp_path):
    text = "(float[N, 2] x) => (float[N, 2] p) { z = Relu(x) l = Gemm(z, V, B) p = Sigmoid(l) }"
    model = parsed(text, V=[[1, 0], [0, 1]], B=[-0.5, -0.5])
    thresholds = json.dumps(dict.fromkeys(forms[1], 0.4))
    save(model, tmp_path / "m.onnx", forms[0], thresholds=thresholds)
    X = draw(forms[0])[0]
    columns = {"a": X[:, 0], "b": X[:, 1]}
    columns |= {name: (X[:, i] > 0.5).astype(int) for i, name in enumerate(forms[1])}
    data = write_csv(tmp_path / "t.csv", columns)
    for name in (forms[0][1], forms[1][1]):
        result = ntkit.check(tmp_path / "m.onnx", tmp_path / "m.onnx", data, label=name,
                             limits={"max_drop": 5}, **CPU)  # fmt: skip
        assert result.labels == (forms[0][1],)
    result = ntkit.check(tmp_path / "m.onnx", tmp_path / "m.onnx", data,
                         limits={"max_drop": 5}, **CPU)  # fmt: skip
    assert result.labels == tuple(forms[0])


def test_two_classes_of_one_name_are_refused(tmp_path):
    twins = [COMPOSED[0], SPLIT[0]]
    says = ["'caf\\xe9'", "'cafe\\u0301'", "one name in two Unicode forms"]
    model = classifier(tmp_path / "m.onnx", COMPOSED)
    data = table(tmp_path / "t.csv", twins)
    refused("check", model, data, "--average", "20", *QUIET, says=["t.csv", *says])
    with pytest.raises(InputError, match="one name in two Unicode forms"):
        read_samples(data)
    with pytest.raises(InputError, match="one name in two Unicode forms"):
        FrozenModel.load(model, classes=twins)
    with pytest.raises(InputError, match="one name in two Unicode forms"):
        LinearHead(np.eye(2), np.zeros(2), twins)
    with pytest.warns(UserWarning, match="gives two classes the name"):
        assert FrozenModel.load(classifier(tmp_path / "n.onnx", twins)).class_names is None


def test_values_of_metadata_and_answers(forms, tmp_path):
    X, y = draw(["no", "yes"])
    sites = [forms[i % 2][i % 3 > 0] for i in range(len(y))]  # both forms in one column
    split, composed = (unicodedata.normalize(form, "città") for form in ("NFD", "NFC"))
    model = classifier(tmp_path / "m.onnx", ["no", "yes"])
    columns = {"a": X[:, 0], "b": X[:, 1], "label": y, "id": range(len(y))}
    data = write_csv(tmp_path / "t.csv", columns)
    metadata = write_csv(tmp_path / "m.csv", {"id": range(len(y)), split: sites})
    for column, (name, _) in ((composed, forms[0]), (split, forms[1])):
        found = ntkit.check(model, model, data, slices=[f"metadata:{column}={name}"],
                            metadata=metadata, limits={"max_drop": 5}, **CPU)  # fmt: skip
        (row,) = (row for row in found.rows if row.kind == "slice" and row.within is None)
        assert row.n == sum(i % 3 == 0 for i in range(len(y)))
    out = tmp_path / "asked"
    label_samples(model, data, out, question="Which?", values=forms[0], **CPU)
    asked = read_csv(out / "questions-1.csv")
    answers = {**{key: [row[key] for row in asked] for key in asked[0]}}
    column = next(key for key in answers if not any(answers[key]))
    answers[column] = [forms[1][i % 2] for i in range(len(asked))]
    sheet = write_csv(tmp_path / "sheet.csv", answers)
    progress = label_samples(model, data, out, answers=sheet, **CPU)
    assert progress.labels.values == tuple(forms[0])
    assert {*progress.labels.answers.values()} == {*forms[0]}

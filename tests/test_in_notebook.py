"""Results in a notebook: what the last line of a cell displays, and data frames of the rows."""

import re
import sys
from xml.etree import ElementTree

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

import ntkit
from ntkit import FrozenModel, LinearHead
from ntkit.attributes import Attribute
from ntkit.exceptions import MissingDependencyError
from ntkit.jobs.check import check_predictions
from ntkit.metrics import group_report

SETUP = """
import ntkit
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.metrics import group_report
digits, path = load_marked_digits(), marked_digits_model_path()
train, validation, test = ((digits[f"X_{name}"][:600], digits[f"y_{name}"][:600])
                           for name in ("train", "validation", "test"))
model = ntkit.FrozenModel.load(path)
audit = ntkit.audit_model(model, validation, device="cpu")
result = ntkit.debias(model, train, validation, test=test,
                      spurious=[audit.findings[0].name], device="cpu")
check = ntkit.check(model, result.model, test, device="cpu")
predictions = ntkit.predict(model, test, device="cpu")
report = group_report(predictions.y, predictions.labels, groups=digits.groups_test[:600])
"""
OBJECTS = {  # the last line of a cell, and what its HTML says
    "audit": ("The model is right on", "form ", "<svg", '<img src="data:image/webp'),
    "audit.findings[0]": ("is correlated with class", "with it", "<svg"),
    "result": ("Better.", "original head", "Validation set, cross-fitted", "<svg"),
    "check": (", 600 samples.", "new errors", "<svg"),
    "report": ("600 samples: average", "worst group", "<svg"),
    "predictions": ("600 samples, 2 classes", "First 10 of 600.", "probability", "<svg"),
    "model": ("FrozenModel marked_digits.onnx", "embedding"),
    "model.head": ("LinearHead(n_neurons=64", "bias", "<svg"),
}
SHARES = {"accuracy", "low", "high"}
FRAMES = {
    "audit": {"name", "correlated_with", "p_value", "shown", "worst_class", *SHARES},
    "audit.findings[0]": {"class", "with_it", "samples", *SHARES},
    "result": {"name", "chosen", "score", "average", "worst_class", "worst_group"},
    "check": {"kind", "name", "samples", "value", "low", "high", "before", "change", "outcome"},
    "report": {"kind", "name", "samples", *SHARES},
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The output of the last line of each cell, by this line; a kernel has run them."""
    lines = [*OBJECTS, *(f"{name}.to_frame()" for name in FRAMES)]
    lines += [f"repr({name})" for name in OBJECTS]
    lines += ["print(audit)", "audit.table()", "result.table()", "report.table()"]
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *lines)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    folder = {"metadata": {"path": tmp_path_factory.mktemp("notebook")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()
    return {cell.source: cell.outputs[-1] for cell in notebook.cells[1:]}


def test_the_last_line_of_a_cell_shows_every_result_as_html(outputs):
    for line, words in OBJECTS.items():
        html = outputs[line]["data"]["text/html"]
        for each in words:
            assert each in html, (line, each)
        parsed(html)


def test_a_frame_has_a_row_each_and_numbers_are_numbers(outputs):
    for name, columns in FRAMES.items():
        html = outputs[f"{name}.to_frame()"]["data"]["text/html"]
        header = {*re.findall(r"<th>(\w+)</th>", html.split("</thead>")[0])}
        assert columns <= header, (name, header)


def test_one_count_of_findings_and_short_reprs(outputs):
    texts = {name: outputs[f"repr({name})"]["data"]["text/plain"] for name in OBJECTS}
    assert all(len(text) < 300 for text in texts.values())
    (count,) = re.findall(r"Audit\((\d+) finding", texts["audit"])
    assert f"form {count} finding" in outputs["print(audit)"]["text"]
    assert f"form {count} finding" in outputs["audit"]["data"]["text/html"]
    frame = outputs["audit.to_frame()"]["data"]["text/html"]
    assert len(re.findall("<tr", frame)) == 1 + int(count)


def test_a_table_is_displayed_as_a_table(outputs):
    for name in ("audit", "result", "report"):
        assert outputs[f"{name}.table()"]["data"]["text/markdown"].startswith("| ")


def parsed(html):
    """The elements of a display, which is well formed but for empty elements."""
    return ElementTree.fromstring(re.sub(r"<img ([^>]*)>", r"<img \1/>", html))


HOSTILE = "<script>alert(1)</script>"


def hostile():
    """Results with mark-up in names of classes, groups and columns."""
    rng = np.random.default_rng(0)
    y = np.repeat([HOSTILE, "b"], 100)
    column = np.where(rng.random(200) < 0.9, y == "b", y != "b").astype(float)
    pred = np.where(column == 1, "b", HOSTILE)
    audit = ntkit.audit(y, pred, table={HOSTILE: column}, metadata={f"{HOSTILE}&": column})
    report = group_report(y, pred, groups=y, y_pred_before=y[::-1])
    check = check_predictions(y, pred, y_pred_before=y, groups=y, limits={"max_drop": 2})
    head = LinearHead(np.eye(2), np.zeros(2), classes=[HOSTILE, "b"])
    return [audit, audit.findings[0], report, check, head]


def test_names_are_escaped():
    for result in hostile():
        html = result._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        parsed(html)


def test_a_display_follows_the_theme_of_the_notebook():
    html = LinearHead(np.eye(2), np.zeros(2), classes=["a", "b"])._repr_html_()
    pages = ("--jp-layout-color0", "--vscode-editor-background", "--pst-color-background")
    for words in ("prefers-color-scheme: dark", 'html[data-theme="dark"]', *pages):
        assert words in html


def test_bars_are_as_long_as_the_shares():
    report = group_report([0] * 10 + [1] * 10, [0] * 9 + [1] * 11)
    bars = parsed(report._repr_html_()).findall(".//rect[@class='value']")
    assert [bar.get("width") for bar in bars[:2]] == ["90.00%", "100.00%"]


def test_bars_apart_from_their_numbers_are_named():
    names, probabilities = np.array(["calm", "urgent"]), np.array([[0.7, 0.3], [0.9, 0.1]])
    labels = ntkit.Predictions(names, names[[1, 0]], probabilities, np.array([0.4, 0.8]))
    header = [cell.text for cell in parsed(labels._repr_html_()).findall(".//th")]
    assert header == ["sample", "predicted", "probability", "margin", "probability"]


def test_rows_without_samples_have_no_bar():
    report = group_report([0, 0, 1], [0, 1, 1], attribute=["x", "y", "x"])
    table = parsed(report._repr_html_())
    assert len(table.findall(".//tbody/tr")) == len(report.rows) == 10
    assert len(table.findall(".//rect[@class='value']")) == 9  # no sample is of 1 × y


def test_frames_of_what_has_no_rows_and_of_missing_numbers():
    y = np.array([0, 1] * 50)
    audit = ntkit.audit(y, y, table={"a": np.arange(100.0)})
    frame = audit.to_frame()
    assert (len(frame), frame["accuracy"].dtype) == (0, float)
    alone = check_predictions(y, y, limits={"worst_class": 80}).to_frame()
    assert (alone["change"].dtype, alone["change"].isna().all()) == (float, True)
    assert alone["value"].tolist() == [1.0, 1.0, 1.0]


def test_groups_of_an_attribute_as_a_frame():
    site = Attribute.from_labels("site", ["A", "B", None, "A"])
    frame = site.crossed(["cat", "cat", "dog", "dog"]).to_frame()
    expected = {"name": ["cat × A", "cat × B", "dog × A"], "samples": [1, 1, 1]}
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected), check_dtype=False)


def test_a_frame_without_pandas_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="needs the package pandas"):
        group_report([0, 1], [0, 1]).to_frame()


def test_a_model_in_memory_and_several_labels(tmp_path):
    names = np.array(["cat", "dog"])
    none = np.zeros((3, 2))
    labels = ntkit.Predictions(names, np.array([[1, 0], [1, 1], [0, 0]]), none, none)
    html = labels._repr_html_()
    assert all(f"<td>{words}</td>" in html for words in ("cat", "cat, dog", "none"))
    path = ntkit.datasets.marked_digits_model_path()
    model = FrozenModel.load(path)
    assert "in memory" in model.with_head(model.head)._repr_html_()


def test_the_probability_shown_is_that_of_the_predicted_class():
    """With a threshold below a half it is not the largest."""
    names, probabilities = np.array(["calm", "urgent"]), np.array([[0.7, 0.3], [0.9, 0.1]])
    labels = ntkit.Predictions(names, names[[1, 0]], probabilities, np.array([0.4, 0.8]))
    rows = parsed(labels._repr_html_()).findall(".//tbody/tr")
    cells = [[cell.text for cell in row.findall("td")][1:3] for row in rows]
    assert cells == [["urgent", "30.0 %"], ["calm", "90.0 %"]]

"""Models that give every sample several labels: all are checked with one correction, or one."""

import json
from xml.etree import ElementTree

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

import ntkit
from ntkit import FrozenModel
from ntkit.exceptions import InputError
from ntkit.jobs.check import check_predictions
from ntkit.jobs.check.files import write_check
from tests import models as zoo
from tests.cases import write_csv
from tests.several_labels import LABELS, REPAIRED

LIMITS = {"max_drop": 5, "worst_class": 60}


@pytest.fixture(scope="module")
def pair(five, tmp_path_factory):
    """The model, and one that ignores a third of the neurons for one label; other thresholds."""
    old = FrozenModel.load(five.model).of_label(REPAIRED)
    new = old.with_head(old.head.scaled(np.arange(32) % 3 != 0)).whole
    thresholds = json.dumps({name: 0.5 if name != "loop" else 0.2 for name in LABELS})
    folder = tmp_path_factory.mktemp("new")
    new.with_provenance({"thresholds": thresholds}).save(folder / "new.onnx")
    return five.model, folder / "new.onnx"


@pytest.fixture(scope="module")
def data(five):
    """Test samples, some with labels unknown."""
    X, Y = five.set("test")
    Y = Y.astype(float)
    Y[::3, 1] = np.nan
    return X, Y


@pytest.fixture(scope="module")
def every(pair, data):
    return ntkit.check(*pair, data, limits=LIMITS, device="cpu")


def test_each_label_is_that_of_onnx_runtime_at_each_models_threshold(pair, data, every):
    (X, Y), known = data, ~np.isnan(data[1])
    old, new = (zoo.run(path, X)["scores"] for path in pair)
    levels = np.array([0.2 if name == "loop" else 0.5 for name in LABELS])
    for i, name in enumerate(LABELS):
        row = every.row(f"{name}: average")
        rows = known[:, i]
        assert row.n == rows.sum()
        for share, given in ((row.before, old[:, i] > 0.5), (row.value, new[:, i] > levels[i])):
            assert share == np.mean(given[rows] == Y[rows, i])
    assert any("new.onnx: thresholds other than 0.5: loop 0.2." in note for note in every.notes)
    assert every.labels == LABELS
    assert every.n_samples == len(X)


def test_one_label_has_the_same_counts_and_its_own_correction(pair, data, every):
    for name in ("large", REPAIRED):
        one = ntkit.check(*pair, data, label=name, limits=LIMITS, device="cpu")
        assert one.title == f"new.onnx compared with model.onnx, label {name!r}"
        assert one.labels == (name,)
        for row in one.rows:
            other = every.row(f"{name}: {row.title}")
            assert (other.n, other.value, other.lost, other.gained) == (
                row.n, row.value, row.lost, row.gained,
            )  # fmt: skip
            for narrow, wide in zip(row.verdicts, other.verdicts, strict=True):  # failures
                if narrow.limit == "max_drop":
                    assert wide.interval[0] <= narrow.interval[0]
                    assert wide.interval[1] == narrow.interval[1]  # passes have level alpha
        assert every.n_comparisons == 5 * one.n_comparisons


def test_a_rare_an_absent_an_unknown_and_a_copied_label_are_said(five, pair):
    X, Y = five.set("test")
    Y = Y.astype(float)
    Y[:, 1] = np.arange(len(X)) < 9  # 1 % positive
    Y[:, 2], Y[:, 3], Y[:, 4] = 0, np.nan, Y[:, 0]
    found = ntkit.check(*pair, (X, Y), limits={"max_drop": 5}, device="cpu")
    outcomes = {row.title: row.outcome for row in found.rows}
    assert outcomes["large: class large"] == "too few"
    assert outcomes["loop: class loop"] == outcomes["prime: average"] == "too few"
    assert found.exit_code in (1, 3)
    assert found.row("prime: average").n == 0
    notes = "\n".join(found.notes)
    assert "No sample is known to be 'loop', 'not prime', 'prime'." in notes
    assert "Label 'square' has the values of label 'even' in every row" in notes


def test_groups_slices_and_changes_hold_for_every_label(five, pair):
    X, Y = five.set("test")
    table = {"max_drop": 50, "changes": {"dark": 90}}
    n, flips = len(X), {"dark": np.tile(five.mark["test"][:, None], 5)}
    pred = (zoo.run(pair[0], X)["scores"] > 0.5).astype(int)
    found = check_predictions(
        Y, pred, y_pred_before=1 - pred, labels=LABELS, limits=table, groups=five.mark["test"],
        slices={"first": np.arange(n) < 99}, flips=flips, flips_before=flips,
    )  # fmt: skip
    marked = five.mark["test"] == 1
    for i, name in enumerate(LABELS):
        right = pred[:, i] == Y[:, i]
        assert found.row(f"{name}: group 1").value == right[marked].mean()
        assert found.row(f"{name}: first").value == right[:99].mean()
        assert found.row(f"{name}: change dark").value == marked.mean()
        assert found.row(f"{name}: first, class {name}").n == Y[:99, i].sum()


def test_files_name_the_label(every, pair, data, tmp_path):
    one = ntkit.check(*pair, data, label=REPAIRED, limits=LIMITS, device="cpu")
    for result, name in ((every, "every"), (one, "one")):
        files = {kind: tmp_path / f"{name}.{kind}" for kind in ("json", "junit", "markdown")}
        write_check(result, **files)
        assert all("even" in file.read_text() for file in files.values())
    content = json.loads((tmp_path / "every.json").read_text())
    assert {row["label"] for row in content["rows"]} == {*LABELS}
    assert content["labels"] == list(LABELS)
    assert content["n_new_errors"] == sum(row.lost for row in every.rows[::3])
    cases = ElementTree.parse(tmp_path / "every.junit").iter("testcase")
    assert {case.get("name").partition(":")[0] for case in cases} == {*LABELS}


def test_what_is_refused(five, pair, zoo, tmp_path):
    X, Y = five.set("test")
    single = FrozenModel.load(zoo.save(zoo.classifier(3), tmp_path / "single.onnx"))
    for old, new, y, options, says in [
        (*pair, Y * 2, {}, "contain 2"),
        (*pair, Y[:, :3], {}, r"shape \(994, 3\)"),
        (*pair, Y, {"label": "evn"}, "did you mean 'even'"),
        (*pair, Y, {"answers": "answers.json"}, "Name it with --label"),
        (single, None, Y, {"label": "even"}, "no label 'even'"),
    ]:
        models = (old, new) if new is not None else (None, old)
        with pytest.raises(InputError, match=says):
            ntkit.check(*models, (X, y), limits={"average": 50}, device="cpu", **options)


@pytest.mark.more
def test_the_whole_check_fails_wrongly_at_most_at_its_level():
    """Six labels whose drop is exactly the limit: without the correction, half of them fail."""
    rng, n, k, runs = np.random.default_rng(0), 200, 6, 60
    limits, outcomes = {"max_drop": 5, "over": "average", "alpha": 0.1}, []
    for _ in range(runs):
        Y, u = rng.integers(0, 2, (n, k)), rng.random((n, k))
        before = np.where(u < 0.1, 1 - Y, Y)
        after = np.where((u >= 0.05) & (u < 0.2), 1 - Y, Y)
        names = [*map(str, range(k))]
        found = check_predictions(Y, after, y_pred_before=before, labels=names, limits=limits)
        outcomes.append(found.outcome)
    assert outcomes.count("fail") / runs <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / runs)
    assert outcomes.count("pass") == 0


@pytest.mark.parametrize("form", ["table", "arrays"])
def test_labels_in_another_order_behind_another_input_are_matched_by_name(five, form, tmp_path):
    onnx_model = onnx.load(five.model)
    order = [4, 2, 0, 1, 3]
    for tensor in onnx_model.graph.initializer:
        if tensor.name in ("W2", "b2"):
            values = np.ascontiguousarray(numpy_helper.to_array(tensor)[..., order])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    first = onnx_model.graph.node[0]
    cast = helper.make_node("Cast", ["pixels"], [first.input[0]], to=TensorProto.FLOAT)
    onnx_model.graph.node.insert(0, cast)
    taken = onnx_model.graph.input[0]
    taken.name, taken.type.tensor_type.elem_type = "pixels", TensorProto.DOUBLE
    X, Y = (part[:200] for part in five.set("test"))
    data = X, Y
    if form == "table":
        pixels = dict(zip((f"p{i}" for i in range(X.shape[1])), X.T.tolist(), strict=True))
        data = write_csv(tmp_path / "t.csv", pixels | dict(zip(LABELS, Y.T, strict=True)))
    names = [LABELS[i] for i in order]
    for some in (names, [*names[:4], "round"]):
        zoo.save(onnx_model, tmp_path / "other.onnx", some)
        arguments = five.model, tmp_path / "other.onnx", data
        if some == names:
            found = ntkit.check(*arguments, limits={"max_drop": 5}, device="cpu")
            assert {row.change for row in found.rows} == {0}
        elif form == "arrays":
            with pytest.raises(InputError, match="Only one of the two models has the labels"):
                ntkit.check(*arguments, limits={"max_drop": 5}, device="cpu")


def test_labels_of_a_data_frame_count_by_their_names(five):
    X, Y = (part[:400] for part in five.set("test"))
    frame = pd.DataFrame(Y, columns=LABELS)
    options = {"limits": {"average": 5}, "device": "cpu"}
    other = [*LABELS[::-1]]
    for more in ({}, {"label": "loop"}):
        wanted = ntkit.check(None, five.model, (X, Y), **options, **more)
        forms = [frame, frame[other]] + [frame[["loop"]], frame["loop"], Y[:, 2]] * bool(more)
        for y in forms:
            assert ntkit.check(None, five.model, (X, y), **options, **more).rows == wanted.rows
        by_position = frame.set_axis(range(5), axis=1)
        assert (
            ntkit.check(None, five.model, (X, by_position), **options, **more).rows == wanted.rows
        )
    found = ntkit.predict(five.model, (X, frame[other]), device="cpu")
    assert repr(found) == repr(ntkit.predict(five.model, (X, Y), device="cpu"))
    with pytest.raises(InputError, match=r"y has no column 'even'\. Its columns are 'EVEN'"):
        ntkit.check(None, five.model, (X, frame.rename(columns=str.upper)), **options)
    for wrong in (frame["even"], frame[["even", "prime"]]):
        with pytest.raises(InputError, match="Pass those of 'loop', or rename them"):
            ntkit.check(None, five.model, (X, wrong), label="loop", **options)


def test_flips_count_samples_without_a_label_as_well():
    """A flip needs no label, and the row is of all samples that the change applies to."""
    Y = np.array([[1.0], [0], [np.nan], [np.nan], [1]])
    flips = {"dark": np.array([[0], [1], [1], [1], [-1]])}
    limits = {"changes": {"dark": {"max_flip_rate": 90}}}
    found = check_predictions(Y, np.ones((5, 1)), labels=["a"], flips=flips, limits=limits)
    (row,) = found.changes
    assert (row.n, row.value) == (4, 3 / 4)

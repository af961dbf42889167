"""One label of several is repaired; the others stay as they are."""

import json
import shutil

import numpy as np
import onnx
import pytest

from ntkit import DebiasSettings, FrozenModel, LinearHead, debias
from ntkit.exceptions import InputError
from ntkit.jobs.debias import undo, write_candidate
from ntkit.verification import verify
from tests import models as zoo
from tests.cases import printed_by
from tests.jobs.debias.conftest import QUICK
from tests.several_labels import LABELS, REPAIRED

LEVELS = dict(zip(LABELS, (0.4, 0.3, 0.5, 0.7, 0.2), strict=True))


@pytest.fixture(scope="module")
def repaired(five, tmp_path_factory):
    known = np.concatenate([five.mark["train"], five.mark["validation"]])
    groups = 2 * five.y("test") + five.mark["test"]
    folder = tmp_path_factory.mktemp("label")
    model = shutil.copy(five.model, folder)
    (folder / "config.json").write_text(json.dumps({"thresholds": LEVELS}), encoding="utf-8")
    sets = (five.set("train"), five.set("validation"))
    options = {"test": (*five.set("test"), groups), "attribute": known}
    options |= {"out": folder / "out", "settings": DebiasSettings(deploy=folder / "deployed")}
    return debias(FrozenModel.load(model, label=REPAIRED), *sets, **options, **QUICK)


OTHERS = "The outputs of the other 4 labels are the same to the bit on 256 samples."


@pytest.mark.more
def test_the_label_becomes_better_and_the_others_stay_to_the_bit(five, repaired):
    assert repaired.chosen.worst_group > repaired.candidates[0].worst_group + 0.2
    X = five.X["test"]
    before, after = (
        zoo.run(path, X)["scores"] for path in (five.model, repaired.path / "debiased.onnx")
    )
    changed = [name for i, name in enumerate(LABELS) if (before[:, i] != after[:, i]).any()]
    assert changed == [REPAIRED]
    right = (after[:, LABELS.index(REPAIRED)] > LEVELS[REPAIRED]) == five.y("test")
    groups = 2 * five.y("test") + five.mark["test"]
    assert min(right[groups == g].mean() for g in range(4)) == repaired.chosen.worst_group


@pytest.mark.more
def test_the_written_model_has_all_labels(five, repaired):
    written = FrozenModel.load(repaired.path / "debiased.onnx")
    assert written.label_names == LABELS
    before = FrozenModel.load(five.model).head
    rows = np.arange(5) != LABELS.index(REPAIRED)
    assert np.array_equal(written.head.coef[rows], before.coef[rows])
    assert np.array_equal(written.head.intercept[rows], before.intercept[rows])


@pytest.mark.parametrize("file", ["README.md", "table.md", "report.html", "result.json"])
def test_every_file_names_the_label_and_says_that_the_others_are_the_same(repaired, file):
    text = (repaired.path / file).read_text("utf-8")
    assert OTHERS in text
    assert "abel 'even'" in text or "abel &#39;even&#39;" in text


def test_the_summary_names_the_label(repaired):
    done, outcome, *_ = repaired.summary().splitlines()
    assert "a new row for the label 'even' in the last layer" in done
    assert done.endswith(OTHERS)
    assert outcome.startswith("Label 'even', validation set, cross-fitted: If your attribute ")
    assert "Label 'even'" in repaired.headline()


def test_a_file_in_which_another_label_changed_fails_and_claims_nothing(five, repaired, tmp_path):
    file = onnx.load(repaired.path / "debiased.onnx")
    (bias,) = (each for each in file.graph.initializer if each.name == "b2")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[LABELS.index("loop")] = np.nextafter(values[LABELS.index("loop")], np.float32(9))
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "b2"))
    changed = zoo.save(file, tmp_path / "changed.onnx")
    before = FrozenModel.load(five.model, label=REPAIRED)
    result = verify(before, changed, five.X["test"], device="cpu", latency=False)
    assert result.failures() == ("changes the outputs of other labels",)
    assert not result.on_other_labels()


def test_the_deployed_program_prints_all_labels_above_their_thresholds(five, repaired, tmp_path):
    folder, X = repaired.path.with_name("deployed"), five.X["test"][:50]
    assert json.loads((folder / "labels.json").read_text("utf-8")) == [*LABELS]
    np.save(tmp_path / "x.npy", X)
    has = zoo.run(folder / "model.onnx", X)["scores"] > [*LEVELS.values()]
    rows = [[name for name, one in zip(LABELS, row, strict=True) if one] for row in has]
    assert len({*map(len, rows)}) > 2
    card = (folder / "README.md").read_text("utf-8")
    code = card.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "card.py").write_text(code, encoding="utf-8")
    for program in (folder / "predict.py", tmp_path / "card.py"):
        lines = printed_by(program, tmp_path / "x.npy", folder=folder)
        assert lines == [", ".join(row) or "no label" for row in rows]


def test_the_row_can_be_restored_or_replaced_by_another(five, repaired, tmp_path):
    X = five.X["test"]
    before = zoo.run(five.model, X)["scores"]
    undo(repaired.path, tmp_path / "undone.onnx", device="cpu")
    assert np.array_equal(zoo.run(tmp_path / "undone.onnx", X)["scores"], before)
    other = tmp_path / "other"
    write_candidate(repaired.path, "class-balanced", other, device="cpu")
    after = zoo.run(other / "debiased.onnx", X)["scores"]
    assert [*(before != after).any(axis=0)] == [name == REPAIRED for name in LABELS]
    with pytest.raises(InputError, match="about the label 'even', not 'loop'"):
        write_candidate(repaired.path, "class-balanced", tmp_path / "x", label="loop")
    with pytest.raises(InputError, match="about the label 'even', not 'loop'"):
        debias(
            FrozenModel.load(five.model, label="loop"),
            five.set("validation"),
            settings=DebiasSettings(resume=repaired.path),
            **QUICK,
        )


@pytest.mark.more
def test_samples_of_unknown_label_are_left_out(five):
    X, Y = five.set("validation")
    Y, marks = Y.astype(float), five.mark["validation"].astype(float)
    Y[::2, LABELS.index(REPAIRED)] = np.nan
    marks[::2] = 5  # values of samples that are left out do not matter
    result = debias(FrozenModel.load(five.model, label=REPAIRED), (X, Y), attribute=marks, **QUICK)
    assert any("Left out 500 of 1000 samples" in note for note in result.notes)
    assert any("known for 500 validation samples" in note for note in result.notes)
    with pytest.raises(InputError, match=r"500 values, but there are 1000 .*500 of them left out"):
        debias(FrozenModel.load(five.model, label=REPAIRED), (X, Y), attribute=marks[1::2], **QUICK)


def test_traffic_of_unknown_label_counts(five):
    X, Y = five.set("validation")
    model = FrozenModel.load(five.model, label=REPAIRED)
    has = zoo.run(five.model, X)["scores"][:, LABELS.index(REPAIRED)] > 0.5
    wrong = has != five.y("validation")
    traffic = five.X["train"], np.full((1600, 5), np.nan)
    result = debias(model, (X[wrong], Y[wrong]), keep=traffic, device="cpu")
    assert result.n_traffic == 1600
    assert result.as_dict()["label"] == REPAIRED
    assert f"label {REPAIRED!r}" in result.headline()


def test_broken_labels_are_refused(five):
    X, Y = five.set("validation")
    for label, y, says in [
        ("evn", Y, "has no label 'evn'; .*did you mean 'even'"),
        ("even", Y * 2, "contain 2; pass 0, 1, or NaN"),
        ("even", Y[:, :3], r"shape \(1000, 3\)"),
    ]:
        with pytest.raises(InputError, match=says):
            debias(FrozenModel.load(five.model, label=label), (X, y), attribute=Y[:, 1], **QUICK)
    with pytest.raises(InputError, match=r"new_head=True.*Omit one of them"):
        debias(
            FrozenModel.load(five.model, label="even"),
            (X, Y),
            (X, Y),
            settings=DebiasSettings(new_head=True),
            **QUICK,
        )
    with pytest.raises(InputError, match="Name one of them with --label NAME"):
        debias(five.model, (X, Y), attribute=Y[:, 1], **QUICK)


def test_a_label_that_the_model_never_gives_is_told(five):
    X, Y = five.set("validation")
    rare = Y[:, 0] * (np.arange(len(Y)) < 60)
    model = FrozenModel.load(five.model)
    head = model.of_label(REPAIRED).head
    never = model.of_label(REPAIRED).with_head(
        LinearHead(head.coef, head.intercept - 100, head.classes)
    )
    for y, says in [
        (rare, f"gives the label 'even' to none of 1000 samples; {rare.sum()} have it. Set a thr"),
        (0 * rare, "Label 'even', validation set: none of 1000 samples has it"),
    ]:
        with pytest.raises(InputError, match=says):
            debias(never.of_label(REPAIRED), (X, y), attribute=Y[:, 1], **QUICK)

"""One label of several is repaired; the others stay as they are."""

import numpy as np
import pytest

from ntkit import FrozenModel, debias
from ntkit.exceptions import InputError
from tests import models as zoo
from tests.jobs.debias.conftest import QUICK
from tests.several_labels import LABELS, REPAIRED


@pytest.fixture(scope="module")
def repaired(five, tmp_path_factory):
    known = np.concatenate([five.mark["train"], five.mark["validation"]])
    groups = 2 * five.y("test") + five.mark["test"]
    out = tmp_path_factory.mktemp("label") / "out"
    sets = (five.set("train"), five.set("validation"))
    test = (*five.set("test"), groups)
    return debias(five.model, *sets, test=test, label=REPAIRED, attribute=known, out=out, **QUICK)


def test_the_label_becomes_better_and_the_others_stay_to_the_bit(five, repaired):
    assert repaired.chosen.worst_group > repaired.candidates[0].worst_group + 0.2
    X = five.X["test"]
    before, after = (
        zoo.run(path, X)["scores"] for path in (five.model, repaired.path / "debiased.onnx")
    )
    changed = [name for i, name in enumerate(LABELS) if (before[:, i] != after[:, i]).any()]
    assert changed == [REPAIRED]
    right = (after[:, LABELS.index(REPAIRED)] > 0.5) == five.y("test")
    groups = 2 * five.y("test") + five.mark["test"]
    assert min(right[groups == g].mean() for g in range(4)) == repaired.chosen.worst_group


def test_the_written_model_has_all_labels(five, repaired):
    written = FrozenModel.load(repaired.path / "debiased.onnx")
    assert written.label_names == LABELS
    before = FrozenModel.load(five.model).head
    rows = np.arange(5) != LABELS.index(REPAIRED)
    assert np.array_equal(written.head.coef[rows], before.coef[rows])
    assert np.array_equal(written.head.intercept[rows], before.intercept[rows])


def test_samples_of_unknown_label_are_left_out(five):
    X, Y = five.set("validation")
    Y = Y.astype(float)
    Y[::2, LABELS.index(REPAIRED)] = np.nan
    marks = five.mark["validation"][1::2]
    result = debias(five.model, (X, Y), label=REPAIRED, attribute=marks, **QUICK)
    assert any("Left out 500 of 1000 samples" in note for note in result.notes)


def test_broken_labels_are_refused(five):
    X, Y = five.set("validation")
    for label, y, says in [
        ("evn", Y, "has no label 'evn'; .*did you mean 'even'"),
        ("even", Y * 2, "contain 2; pass 0, 1, or NaN"),
        ("even", Y[:, :3], r"shape \(1000, 3\)"),
    ]:
        with pytest.raises(InputError, match=says):
            debias(five.model, (X, y), label=label, attribute=Y[:, 1], **QUICK)

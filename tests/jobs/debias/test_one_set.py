"""One labelled set is enough: what it fits, chooses and judges by folds, and what it refuses."""

import re

import numpy as np
import pytest

from ntkit import DebiasSettings, debias
from ntkit.exceptions import InputError
from tests.cases import write_csv
from tests.jobs.debias.conftest import DIGITS, QUICK, predicted, reviews

MARK = "image:top left brightness above the median"


@pytest.fixture(scope="module")
def one(digits):
    """A set with the bias, and a test set without."""
    d = digits
    return (d.X_validation, d.y_validation), (d.X_test, d.y_test, d.groups_test)


@pytest.fixture(scope="module")
def repaired(one):
    return debias(DIGITS, one[0], test=one[1], spurious=MARK, **QUICK)


@pytest.mark.more
def test_one_set_and_an_answer_repair_a_model(repaired):
    before = repaired.candidates[0]
    assert repaired.state == "written"
    assert repaired.chosen.worst_group > before.worst_group + 0.1
    assert {row.name for row in repaired.candidates}.isdisjoint(
        {"class-balanced-validation", "class-balanced-both"}
    )


@pytest.mark.more
def test_the_interpolation_has_the_largest_gain(repaired):
    gains = {cost.t: cost.class_gain for cost in repaired.accuracy_costs if cost.helps()}
    assert repaired.accuracy_cost.class_gain == max(gains.values())
    assert repaired.accuracy_cost.t < max(gains)
    assert not any("trained on them" in note for note in repaired.notes)


@pytest.mark.more
def test_a_change_repairs(one):
    result = debias(DIGITS, one[0], test=one[1], invariant="image:top left", **QUICK)
    assert result.chosen.worst_group > result.candidates[0].worst_group + 0.2


@pytest.mark.more
def test_groups_of_one_class_each_are_balanced_as_they_are(digits, one):
    (X, y), test = one
    groups = np.array(["plain 0", "marked 0", "plain 1", "marked 1"])[digits.groups_validation]
    result = debias(DIGITS, (X, y), test=test, groups=groups, **QUICK)
    by_value = debias(DIGITS, (X, y), test=test, attribute=digits.groups_validation % 2, **QUICK)
    assert result.chosen.worst_group == by_value.chosen.worst_group
    assert result.chosen.worst_group > result.candidates[0].worst_group + 0.2
    rare = groups == "marked 0"
    kept = ~rare | (np.cumsum(rare) <= 3)
    with pytest.raises(InputError, match=f"Group marked 0 has 3 of {kept.sum()} distinct samples"):
        debias(DIGITS, (X[kept], y[kept]), groups=groups[kept], **QUICK)


def test_groups_that_lose_are_found(one):
    """Attributes that nobody named are chosen on one half of the set and tested on the other."""
    check = debias(DIGITS, one[0], method="neurontune", **QUICK).check
    assert any("top left brightness" in group.attribute for group in check.lost)


def test_the_audit_after_retraining_is_cross_fitted(one):
    X, y = one[0][0][:200], np.random.default_rng(0).permutation(np.repeat([0, 1], 100))
    audit = debias(DIGITS, (X, y), settings=DebiasSettings(trust_inputs=True, C=1e6), **QUICK).audit
    assert audit.retraining.predictions.wrong.mean() > 0.3  # the labels are random


@pytest.mark.more
def test_the_samples_that_fitted_a_head_do_not_check_it(run, one, tmp_path):
    np.savez(tmp_path / "one.npz", X=one[0][0], y=one[0][1])
    job = ("debias", DIGITS, tmp_path / "one.npz", "-o", tmp_path / "out", "--spurious", MARK)
    code, printed, _ = run(*job, "--quiet", "--device", "cpu")
    assert code == 0
    line = next(line for line in printed.splitlines() if line.startswith("Next: "))
    assert line.endswith("debiased.onnx TEST, with samples as TEST that this repair has not seen")


def test_without_an_answer_questions_are_open(one):
    result = debias(DIGITS, one[0], **QUICK)
    assert result.state == "open"
    assert any(MARK in (finding.name, *finding.same) for finding in result.open)


@pytest.mark.more
@pytest.mark.parametrize(
    "way", [{"spurious": "not word:movie"}, {"invariant": "word:film|word:movie"}]
)
def test_figures_are_of_samples_that_a_head_has_not_seen(files, way):
    """Labels that nothing explains: a head that had seen them would be right on most."""
    texts, _, _ = reviews(5, 160, 0.5)
    y = np.random.default_rng(0).permutation(np.repeat(["0", "1"], 80))
    path = write_csv(files / f"random-{len(way)}.csv", {"text": texts, "label": y})
    result = debias(
        files / "model.onnx",
        path,
        settings=DebiasSettings(trust_inputs=True, C=1e6),
        **way,
        **QUICK,
    )
    assert max(row.average for row in result.candidates) < 0.7
    assert any("cross-fitted by 5 folds" in note for note in result.notes)


@pytest.mark.more
def test_labels_of_some_samples_are_enough(files):
    texts, y, movie = reviews(6, 400, 0.85)
    path = write_csv(files / "one.csv", {"text": texts, "label": y})
    some = np.where(np.random.default_rng(0).random(400) < 0.5, movie, -1)
    result = debias(files / "model.onnx", path, attribute=some, **QUICK)
    assert result.state == "written"
    assert re.search(rf"known for {(some >= 0).sum()} validation samples", " ".join(result.notes))
    last = result.accuracy_costs[-1]
    assert result.accuracy_cost.class_gain >= last.class_gain


def test_a_group_that_is_too_small_is_refused_with_the_number_that_would_do(files):
    texts, y, movie = reviews(8, 60, 1.0)
    odd = [i for i in range(60) if y[i] == y[0]][
        :2
    ]  # two exceptions in one class, five in the other
    other = [i for i in range(60) if y[i] != y[0]][:6]
    values = np.array([str(each) for each in movie])
    values[odd + other] = np.where(values[odd + other] == values[0], values[other[-1]], values[0])
    path = write_csv(files / "few.csv", {"text": texts, "label": y})
    with pytest.raises(
        InputError, match=r"has 2 of 60 distinct samples.*at least 5.*About 150 samples"
    ):
        debias(
            files / "model.onnx",
            path,
            attribute=values,
            settings=DebiasSettings(trust_inputs=True),
            **QUICK,
        )
    values[odd] = values[next(i for i in range(60) if y[i] == y[0] and i not in odd)]
    with pytest.raises(InputError, match=r"has no sample.*--invariant"):
        debias(
            files / "model.onnx",
            path,
            attribute=values,
            settings=DebiasSettings(trust_inputs=True),
            **QUICK,
        )


def test_a_model_without_an_error_may_have_been_trained_on_the_samples(files):
    texts, _, _ = reviews(9, 200, 0.6)
    y = predicted(files / "model.onnx", texts)
    path = write_csv(files / "perfect.csv", {"text": texts, "label": y})
    result = debias(files / "model.onnx", path, method="class-balanced", **QUICK)
    assert any("wrong on 0 of 200 samples" in note for note in result.notes)
    assert result.state == "kept"


@pytest.mark.more
def test_a_good_model_keeps_its_head_whatever_the_single_set_looks_like(good):
    model, _, validation, _ = good
    for method in ("auto", "class-balanced", "neurontune"):
        result = debias(model, validation, method=method, **QUICK)
        assert result.state == "kept" or result.chosen.worst_class >= (
            result.candidates[0].worst_class - 0.02
        )
    assert debias(model, validation, **QUICK).state == "open"


@pytest.mark.parametrize("option", ["new_head", "validation_balanced"])
def test_what_needs_a_training_set_says_so(one, option):
    with pytest.raises(InputError, match="--train and --validation"):
        debias(DIGITS, one[0], settings=DebiasSettings(**{option: True}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "MODEL is missing"),
        (["M"], "DATA .* is missing"),
        (["M", "--train", "T"], "--validation DATA next to --train"),
        (["M", "--validation", "T"], "--train DATA next to --validation"),
        (["M", "D", "--train", "T"], "single labelled set"),
        (["M", "D"], "-o OUT"),
    ],
)
def test_a_missing_set_is_named_by_its_option(run, tmp_path, arguments, words):
    names = [str(tmp_path / each) if each in ("M", "D", "T") else each for each in arguments]
    for each in ("M", "D", "T"):
        (tmp_path / each).touch()
    out = [] if words == "-o OUT" else ["-o", tmp_path / "out"]
    code, _, err = run("debias", *names, *out)
    assert code == 2
    assert re.search(words, err)


@pytest.mark.more
def test_a_run_of_one_set_goes_on_from_its_folder(run, files, tmp_path):
    out = tmp_path / "out"
    begin = ["debias", files / "model.onnx", files / "validation.csv", "-o", out]
    assert run(*begin, "--device", "cpu", "--quiet")[0] == 3
    code, printed, err = run(
        "debias", "--from", out, "--spurious", "word:film|word:movie", "--quiet"
    )
    assert code in (0, 1), err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "cross-fitted by 5 folds" in page
    assert "halves" not in page
    assert "validation" in printed.lower()

"""Slices that are small: unchanged, left out, or listed first because they lost most."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from ntkit.exceptions import InputError
from ntkit.jobs.check import check_predictions
from ntkit.jobs.check.files import summary_of, write_check

N = 1000
ROW, Y = np.arange(N), np.arange(N) % 2


def after(*wrong):
    """Predictions with these samples wrong."""
    return np.where(np.isin(ROW, wrong), 1 - Y, Y)


def checked(predicted, before=Y, n=N, limits=None, **slices):
    slices = {name: members[:n] for name, members in slices.items()}
    return check_predictions(
        Y[:n], predicted[:n], y_pred_before=before[:n], slices=slices,
        limits={"max_drop": 5} | (limits or {}),
    )  # fmt: skip


def test_the_worst_rows_come_first(tmp_path):
    slices = {f"s{k}": k == ROW % 20 for k in range(20)}
    result = checked(after(*ROW[(ROW % 20 == 17) & (ROW < 400)]), **slices, limits={"max_drop": 80})
    names = [line.split("  ")[0] for line in summary_of(result).splitlines()[4:]]
    assert names[0] == "average"
    assert names[1].startswith("s17")
    write_check(result, markdown=tmp_path / "c.md")
    lines = (tmp_path / "c.md").read_text("utf-8").splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert rows[2] == "average"
    assert rows[3].startswith("s17")


def test_a_small_unchanged_slice_does_not_fail(tmp_path):
    result = checked(after(999), small=ROW < 10)
    (row,) = [row for row in result.rows if row.name == "small"]
    assert row.outcome == "unchanged"
    assert (result.outcome, result.exit_code) == ("pass", 0)
    assert "Unchanged, too few samples to prove" in summary_of(result)
    assert "59 such samples would decide" in summary_of(result)
    write_check(result, junit=tmp_path / "c.xml")
    suites = ElementTree.parse(tmp_path / "c.xml").getroot()
    assert suites.get("errors") == suites.get("failures") == "0"
    assert int(suites.get("skipped")) == len(result.of("unchanged")) > 0
    write_check(result, json=tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["outcome"] == "pass"


@pytest.mark.parametrize("wrong", [(3,), (3, 5)])
def test_a_small_slice_with_a_change_is_too_few(wrong):
    assert checked(after(*wrong), small=ROW < 10).exit_code == 3
    fixed = checked(Y, before=after(*wrong), small=ROW < 10)
    assert fixed.row("small").outcome == "too few"


def test_only_unchanged_slices_prove_nothing():
    result = checked(after(999), small=ROW < 10, limits={"over": ["slice"]})
    assert {row.outcome for row in result.every} == {None, "unchanged"}
    assert result.exit_code == 3
    of_accuracy = {"accuracy": 50, "max_drop": 5}
    result = checked(after(999), small=ROW < 3, limits={"slices": {"small": of_accuracy}})
    assert result.exit_code == 3  # a lowest accuracy of three samples is not shown


def test_models_that_predict_alike_pass_every_limit_on_losses():
    result = checked(Y, tiny=ROW < 3, none=ROW < 0, limits={"max_new_errors": 2})
    assert result.passed
    assert not result.of("unchanged")
    assert any("predict alike on all samples" in note for note in result.notes)
    least = {"slices": {"tiny": {"accuracy": 60}}}
    assert checked(Y, tiny=ROW < 3, limits=least).outcome == "too few"
    wrong = after(*ROW[:200])
    assert checked(wrong, before=wrong, tiny=ROW < 30, limits={"worst_class": 99}).outcome == "fail"
    one = checked(after(999), tiny=ROW < 3, limits={"max_new_errors": 2})
    assert not any("alike" in note for note in one.notes)


@pytest.mark.parametrize(("n", "outcome"), [(20, "too few"), (58, "too few"), (59, "pass")])
def test_too_few_samples_show_nothing_however_alike(n, outcome):
    """With 59 samples, a model that errs on 5 % of them has a difference in 95 % of draws."""
    assert checked(Y, n=n).outcome == outcome


def test_small_slices_are_left_out_unless_they_surely_lost():
    lost = ROW[(ROW >= 500) & (ROW < 512)]
    slices = {
        "lost": (ROW >= 500) & (ROW < 512),
        "one": (ROW >= 20) & (ROW < 30),
        "large": ROW < 300,
    }
    result = checked(after(22, *lost), **slices, limits={"min_samples": 50})
    assert {row.name for row in result.rows if row.kind == "slice"} >= {"lost", "large"}
    assert result.row("lost").outcome == "fail"
    assert {row.name: row.n for row in result.left_out if row.within is None} == {"one": 10}
    assert "one (10)" in summary_of(result)
    assert {"name": "one", "samples": 10} in result.as_dict()["left_out"]
    without = checked(after(22, *lost), **slices)
    assert without.row("one").outcome == "too few"
    assert without.n_comparisons == result.n_comparisons  # what is left out stays in the correction
    assert checked(after(22), **slices, limits={"min_samples": 50}).passed


@pytest.mark.parametrize("value", [-1, 2.5, "3", True])
def test_the_number_of_samples_is_a_whole_number(value):
    with pytest.raises(InputError, match="min_samples must be a whole number of at least 0"):
        checked(Y, limits={"min_samples": value})

"""What retraining would newly rely on: a second list, of what the model itself does not have."""

import json

import numpy as np
import pytest

import ntkit
from ntkit.attributes.answers import write_answers
from ntkit.exceptions import InputError
from ntkit.jobs.audit import read_answers
from ntkit.jobs.audit.from_predictions import with_retraining
from tests.pages.audits import AGAIN, BAD, FILM, LUCK, ONE, N, Y, of_two_heads


@pytest.fixture(scope="module")
def both():
    return of_two_heads()


def test_it_is_what_an_audit_of_the_retrained_head_finds(both):
    alone = ntkit.audit(Y, AGAIN, texts=both.inputs.texts)
    assert both.retraining.findings == alone.findings
    assert [s.name for s in both.all_findings] == ["word:film", "word:bad"]
    assert both.all_findings == (*both.findings, *alone.findings)
    assert both.retraining.retraining is None


def test_what_the_model_has_already_is_not_new(both):
    """Both lists say one thing once, whatever stands first in a family."""
    led = np.where(LUCK < 0.2, FILM, np.where(LUCK < 0.4, 1 - BAD, Y))
    audit = with_retraining(ntkit.audit(Y, ONE, texts=both.inputs.texts), led)
    assert [s.name for s in audit.retraining.findings] == ["word:bad"]
    assert audit.retraining.found.values.shape == (N, 1)
    again = with_retraining(both, ONE)
    assert again.retraining.findings == ()
    assert with_retraining(both, Y).retraining.findings == ()
    near = np.where(np.random.default_rng(3).random(N) < 0.9, FILM, 1 - FILM)
    led = np.where(LUCK < 0.4, near, Y)
    table = {"film": FILM, "near": near}  # no name in common: correlated
    alike = ntkit.audit(Y, ONE, table={"film": FILM}, metadata={"near": near})
    assert alike.findings[0].name.startswith("column:film")
    assert with_retraining(ntkit.audit(Y, led, table=table), ONE).retraining.findings == ()


def test_names_of_either_list_are_answered(both, tmp_path):
    answers = both.answers("word:good", "word:movie")
    assert [(a.name, a.values) for a in answers.spurious] == [
        ("word:bad", (("word:bad",), ("word:good",))),
        ("word:film", (("word:film",), ("word:movie",))),
    ]
    write_answers(tmp_path / "answers.json", answers)
    assert read_answers(tmp_path / "answers.json") == answers
    assert {*both.groups("word:bad")} == {
        f"{label} × word:{word}" for label in (0, 1) for word in ("good", "bad")
    }
    assert both.rule("word:bad") is None
    assert both.values("word:bad").tolist() == BAD.tolist()


def test_two_short_tables_under_their_headings(both):
    complete = both.summary(markdown=True)
    first, second = complete.split("Findings that only the retrained last layer has")
    assert "Findings of the model\n\n|" in first
    assert "| `word:film against word:movie` |" in first
    assert "word:bad" not in first
    assert "| `word:bad against word:good` |" in second
    assert f"right on {100 * (AGAIN == Y).mean():.1f} %" in second
    assert complete.count("A finding is not a verdict") == 1
    assert "Only in the retrained last layer: word:bad against word:good." in str(both)
    for one in (ntkit.audit(Y, ONE, texts=both.inputs.texts), with_retraining(both, ONE)):
        assert "Findings of the model" not in one.summary(markdown=True)
        assert "retrained" not in str(one)


def test_json_holds_both(both):
    content = json.loads(both.to_json())
    assert content["retraining"]["accuracy"] == pytest.approx((AGAIN == Y).mean())
    assert [s["name"] for s in content["retraining"]["findings"]] == ["word:bad"]
    assert ntkit.audit(Y, ONE, texts=both.inputs.texts).as_dict()["retraining"] is None


def test_predictions_of_other_samples_are_refused(both):
    with pytest.raises(InputError):
        with_retraining(both, AGAIN[1:])

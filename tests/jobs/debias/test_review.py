"""A person chooses the step to write by validation samples; the test set judges that step alone."""

import numpy as np
import pytest

from ntkit import DebiasSettings, debias
from ntkit.head import LinearHead
from tests.jobs.debias.conftest import QUICK

REGION = "column:region=0"


def reviewed(biased, review, test=None, **more):
    model, train, validation, own = biased
    settings = DebiasSettings(review=review, resume=more.pop("resume", None))
    test = own if test is None else test
    return debias(
        model, train, validation, test=test, spurious=REGION, settings=settings, **more, **QUICK
    )


def same(a: LinearHead, b: LinearHead):
    return np.allclose(a.coef, b.coef) and np.allclose(a.intercept, b.intercept)


@pytest.mark.more
def test_steps_are_of_validation_samples_and_the_kept_one_is_written(biased, tmp_path):
    seen = []

    def middle(steps):
        seen.append(steps)
        return 5

    result = reviewed(biased, middle)
    (steps,) = seen
    assert [step.cost.t for step in steps] == [i / 10 for i in range(11)]
    assert sum(step.chosen for step in steps) == 1
    assert {step.outcome.where for step in steps} == {"validation set"}
    # Step by step as without a test set, with this share ordered.
    model, train, validation, test = biased
    for number in (5, 10):
        ordered = debias(
            model, train, validation, spurious=REGION,
            settings=DebiasSettings(interpolation=steps[number].cost.t, otherwise="new head"),
            **QUICK,
        )  # fmt: skip
        assert steps[number].outcome.groups == ordered.outcome.groups
        assert steps[number].outcome.word == ordered.outcome.word
        if number == 5:
            assert same(result.head, ordered.head)
    # The original: nothing is gained or lost.
    assert all(row.change == 0 for each in steps[0].outcome.groups for row in each.rows if row.n)
    assert (result.written, result.accuracy_cost.t) == (True, 0.5)
    # The test set, which chose nothing, judges the kept step.
    assert (result.outcome.where, result.outcome.word) == ("test set", "better")
    # Another test set changes no step.
    header, *rows = test.read_text().splitlines()
    half = tmp_path / "half.csv"
    half.write_text("\n".join([header, *rows[::2]]) + "\n")
    reviewed(biased, middle, test=half)
    assert [step.as_dict() for step in seen[1]] == [step.as_dict() for step in steps]


def test_step_0_keeps_the_original(biased, tmp_path):
    out = tmp_path / "out"
    result = reviewed(biased, lambda steps: 0, out=out)
    assert (result.state, result.written) == ("kept", False)
    assert result.decision() == "Kept the original model: a person kept the original head."
    assert not (out / "debiased.onnx").exists()


def test_nothing_is_written_before_a_step_is_kept(biased, tmp_path):
    out = tmp_path / "out"

    def leave(steps):
        assert not (out / "debiased.onnx").exists()
        assert not (out / "report.html").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reviewed(biased, leave, out=out)
    assert not (out / "debiased.onnx").exists()


@pytest.mark.more
def test_who_has_seen_the_test_set_is_told_at_most_probably_better(biased, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    note = "after seeing the test set, in an earlier report"
    one = reviewed(biased, lambda steps: 5, out=first)
    two = reviewed(biased, lambda steps: 10, out=again, resume=first)
    assert [each.outcome.word for each in (one, two)] == ["better", "probably better"]
    assert [any(note in each for each in result.notes) for result in (one, two)] == [False, True]

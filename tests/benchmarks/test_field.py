"""What the benchmark of the field counts, and that classes and values are unrelated there."""

import numpy as np
import pytest

import field
from field import EMPTY, RARE, TWO, Job, jobs, summary


def run(**of):
    plain = {"setting": "shortcut", "gain": 0.1, "word": "better", "first": None} | of
    return {"alike": plain["gain"]} | plain


def test_there_are_fifty_runs_and_each_special_case():
    every = jobs()
    assert len({(j.setting, j.kind, j.seed) for j in every}) == len(every) == 50
    assert [sum(j.setting == each for j in every) for each in field.SETTINGS] == [30, 10, 10]
    assert {RARE, TWO, EMPTY, field.EMPTY_TEST} < {j.case for j in every}
    assert jobs(["no shortcut"], [3]) == [Job("no shortcut", "tables", 3)]


EACH_CASE = {(job.setting, job.kind, job.case): job for job in jobs()}


@pytest.mark.parametrize("job", EACH_CASE.values(), ids=str)
def test_values_of_the_field_are_as_frequent_and_unrelated(job, monkeypatch):
    monkeypatch.setattr(field, "SIZES", dict.fromkeys(field.SIZES, 4000))
    kind = job.inputs
    sets = job.sets(np.random.default_rng(0))
    of_class = {part: s.y == kind.classes[1] for part, s in sets.items()}
    train, seen = sets["train"].shortcuts, sets["field"].shortcuts
    assert of_class["field"].mean() == pytest.approx(of_class["train"].mean(), abs=0.04)
    np.testing.assert_allclose(seen.mean(axis=0), train.mean(axis=0), atol=0.04)
    for j in range(seen.shape[1]):
        first, second = (seen[of_class["field"] == k, j].mean() for k in (False, True))
        assert first == pytest.approx(second, abs=0.08)
        if job.case != field.NONE:
            for part in ("train", "validation", "test"):
                agree = sets[part].shortcuts[:, j] == of_class[part]
                share = field.BIASED_TWO if job.case == TWO else 0.96
                assert agree.mean() == pytest.approx(share, abs=0.025)
    if job.case in (EMPTY, field.EMPTY_TEST):
        missing = {p for p in sets if not (of_class[p] & (sets[p].shortcuts[:, 0] == 0)).any()}
        assert missing == ({"train", "validation", "test"} if job.case == EMPTY else {"test"})
    assert ("alike" in sets) == (job.case == field.UNNAMED)


def test_the_summary_counts_what_was_said_and_what_came_true():
    said = [
        run(first=0.12, interval=(0.05, 0.2)),
        run(word="worse", first=0.02, interval=(-0.1, 0.05)),
        run(gain=-0.01),
        run(setting="no shortcut", gain=0.0, word="probably better"),
    ]
    lines = summary(said).splitlines()
    assert lines[0].startswith("gain of at least 5 points: 2 of 3 ")
    assert lines[1].startswith("better, but the field loses: 1 of 4 ")
    assert "probably better: 1 of 2 (9 in 10); worse: 1 of 2" in lines[2]
    assert "probably better 1 of 1, better 0 of 1" in lines[3]
    assert lines[4].startswith("first number, all: ")
    assert "to the gain 5.0 points (at most 5), largest 8.0" in lines[4]
    assert "holds it in 1 of 2 " in lines[4]
    assert [line.split(":")[0] for line in lines[5:]] == [
        "first number, shortcut",
        "first number, all, if only the named is unrelated",
    ]


def test_a_run_measures_the_head_in_the_field(monkeypatch):
    monkeypatch.setattr(field, "SIZES", field.SIZES | {"field": 2000})
    found = field.run(Job("shortcut", "tables", 0))
    assert found["gain"] > 0.05
    low, high = found["interval"]
    assert low <= found["first"] <= high
    assert field.line_of(found).startswith("shortcut          tables 0 plain")

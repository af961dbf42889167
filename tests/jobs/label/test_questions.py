"""Which samples are asked about, and when asking ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.jobs.label import margins_of, next_questions, progress

QUICK = {"penalties": [("l2", 0.1), ("l1", 1.0)], "cv": 3, "random_state": 0}


def data(seed=0, n=800, share=0.95):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y, 1 - y)
    X = rng.normal(size=(n, 5))
    X[:, 0] += y
    X[:, 1] += 4 * a
    return X, y, a


# -- which -----------------------------------------------------------------------------------------


def test_margins_are_of_heads_that_have_not_seen_the_sample():
    X, y, a = data()
    margins = margins_of(X, y)
    assert np.mean(margins[y == a] > 0) > 0.9
    assert np.mean(margins[y != a] < 0) > 0.7
    noise = np.random.default_rng(0).normal(size=(60, 200))
    assert np.mean(margins_of(noise, np.arange(60) % 2) > 0) < 0.75  # in-sample it would be 1


@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 99), st.data())
@settings(deadline=None, max_examples=40)
def test_questions_are_new_alike_for_every_class_and_as_many_as_asked(n_classes, n, seed, draw):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 56)])
    known = draw.draw(st.lists(st.booleans(), min_size=len(y), max_size=len(y)))
    attribute = np.where(known, 0, -1)
    margins = rng.normal(size=len(y))
    asked = next_questions(y, attribute, margins=margins, n=n, random_state=seed)
    left = ~np.array(known)
    assert len(asked) == len(set(asked.tolist())) == min(n, left.sum())
    assert left[asked].all()
    counts = np.bincount(y[asked], minlength=n_classes)
    open_ = np.bincount(y[left], minlength=n_classes)
    assert all(c == o or c >= counts.max() - 1 for c, o in zip(counts, open_, strict=True))


def test_errors_come_first_and_then_what_is_open():
    X, y, a = data()
    margins = margins_of(X, y)
    first = next_questions(y, margins=margins, n=24, random_state=0)
    for label in (0, 1):
        worst = np.flatnonzero(y == label)[np.argsort(margins[y == label])[:6]]
        assert set(worst.tolist()) <= set(first.tolist())
    answers = np.full(len(y), -1)
    answers[first] = a[first]
    inference = GroupInference(**QUICK).fit(X, y, answers)
    second = next_questions(y, answers, margins=margins, inference=inference, n=24, random_state=0)
    assert not set(first.tolist()) & set(second.tolist())
    share = np.mean(a[second] != y[second])
    assert share > 4 * np.mean(a != y)  # rare ones are looked for


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margins": np.zeros(5)}, "margins must be 6"),
        ({"margins": np.full(6, np.nan)}, "finite"),
        ({"n": 0}, "n must be at least 1"),
        ({"attribute": [0, 1]}, "attribute holds 2"),
    ],
)
def test_refused(change, message):
    with pytest.raises(InputError, match=message):
        next_questions([0, 1] * 3, **({"margins": np.zeros(6)} | change))
    with pytest.raises(InputError, match="two samples each"):
        margins_of(np.zeros((3, 1)), [0, 0, 1])


# -- when to stop ----------------------------------------------------------------------------------


def inferred(X, y, a, n, **options):
    answers = np.where(np.arange(len(y)) < n, a, -1)
    return GroupInference(**QUICK | options).fit(X, y, answers)


def test_asking_ends_where_the_last_answers_changed_nothing_and_not_before():
    X, y, a = data()
    half, three_quarters, most, full = (inferred(X, y, a, n) for n in (60, 90, 95, 120))
    done = progress(y, full, [half, three_quarters, most])
    assert done.enough
    assert (done.n_answers, done.purity >= 0.9, done.overlap >= 0.6) == (120, True, True)
    certainty, value = full.label_distributions_.max(axis=1), full.label_distributions_.argmax(1)
    groups = {(c, v): certainty[(y == c) & (value == v)] for c in (0, 1) for v in (0, 1)}
    least = min((pair for pair in groups if len(groups[pair])), key=lambda p: groups[p].mean())
    assert (done.least_pure, done.purity) == (least, pytest.approx(groups[least].mean()))
    assert done.reason.startswith(
        "The last 30 of 120 labels hardly changed the groups"
    )  # not 25 of them
    alone, nearly = progress(y, full), progress(y, full, [most])
    assert not alone.enough
    assert np.isnan(alone.overlap)
    assert (
        alone.reason
        == nearly.reason
        == "Another batch is needed to show whether the groups are stable."
    )
    few = progress(y, inferred(X, y, a, 30), [inferred(X, y, a, 15)])
    assert not few.enough
    assert "At least 36 are needed" in few.reason
    with pytest.raises(InputError, match="y holds 5 labels"):
        progress(y[:5], full)
    with pytest.raises(InputError, match=f"y holds {len(y)} labels, but the inference has 99"):
        progress(y, full, [inferred(X[:99], y[:99], a[:99], 30)])


def test_where_groups_change_asking_goes_on_to_the_last():
    """Of noise groups are inferred anew by every answer."""
    _, y, a = data()
    noise = np.random.default_rng(5).normal(size=(len(y), 20))
    runs = [inferred(noise, y, a, n, min_accuracy=0) for n in (40, 80, 192)]
    going_on, last = progress(y, runs[1], runs[:1]), progress(y, runs[2], runs[:2])
    for state, enough in ((going_on, False), (last, True)):
        assert state.enough == enough
        assert state.overlap < 0.6
        assert "changed the groups" in state.reason
        shown = int(100 * state.overlap)
        assert f"an overlap of {shown} % (limit 60 %)" in state.reason
    assert "never used more than 192" in last.reason
    assert "More labels are needed" in going_on.reason


def test_where_nothing_is_read_asking_does_not_end():
    X, y, a = data()
    blind = [inferred(X[:, 2:], y, a, n, min_accuracy=1) for n in (40, 200)]
    state = progress(y, blind[1], blind[:1])
    assert (state.enough, state.least_pure) == (False, None)
    assert state.reason == "ntkit cannot infer the attribute from the 200 labels so far."
    first = progress(y, inferred(X, y, a, 120), blind[:1])
    assert not first.enough
    assert "With 40 labels ntkit inferred no groups" in first.reason
    same = progress(y, inferred(X, y, np.full(len(y), 2), 60))
    assert not same.enough
    assert same.reason.endswith("All labels are 2.")


def test_the_overlap_is_that_of_sets():
    """Against a plain count, of groups of three values, one of which was not known at first."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y, now, before = rng.integers(0, 2, 60), rng.integers(0, 3, 60), rng.integers(0, 2, 60)
        made = []
        for taken, n, values in ((before, 40, 2), (now, 80, 3)):
            one = GroupInference()
            one.classes_, one.n_known_, one.feature_set_ = np.arange(values), n, 0
            one.label_distributions_ = np.eye(values)[taken]
            made.append(one)
        groups = [
            ({*np.flatnonzero((y == c) & (now == v))}, {*np.flatnonzero((y == c) & (before == v))})
            for c in (0, 1)
            for v in range(3)
        ]
        expected = min(len(g & h) / len(g | h) for g, h in groups if g | h)
        assert progress(y, made[1], made[:1]).overlap == pytest.approx(expected)

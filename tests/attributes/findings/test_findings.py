"""From attributes to findings: the injected one is first, and nothing is found by chance."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.attributes import columns
from ntkit.attributes.findings import (
    AuditedPredictions,
    families,
    one_shortcut,
    within_class_correlation,
)
from ntkit.metrics import Row
from ntkit.metrics.bounds import holm
from ntkit.metrics.contrasts import contrast
from tests.attributes.findings.builders import findings_in, planted, ranking_of, view_of


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_the_planted_one_is_first_and_alone(n_classes):
    values, p = planted(n_classes=n_classes)
    (found,) = findings_in([view_of(values)], p).findings
    assert found.name == "word:0"
    assert found.present == (found.goes_with == 0)
    assert not found.agrees(found.worst)
    assert found.worst.value < found.beside(found.worst).value


def test_a_duplicate_is_family_and_its_opposite_the_other_side():
    values, p = planted()
    more = np.column_stack([values, values[:, 0], ~values[:, 0]])
    found = findings_in([view_of(more)], p)
    (one,) = found.findings
    assert one.name == "word:0"
    assert one.same == ("word:31",)
    assert one.opposed == ("word:32",)
    assert (found.values[:, 0] == np.where(values[:, 0], 1, 2)).all()
    assert [value[0] for value in found.findings[0].values] == ["word:0", "word:32"]


def test_a_colour_for_each_class_is_one_family():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 4000)
    colour = np.where(rng.random(4000) < 0.9, y, rng.integers(0, 4, 4000))
    pred = np.where(rng.random(4000) < 0.5, colour, y)
    feature_set = columns({"colour": np.array(list("rgby"))[colour]})
    found = findings_in(
        [feature_set], AuditedPredictions(np.arange(4), y, pred, np.ones(4000)), 0.05
    )
    (one,) = found.findings
    assert len(one.opposed) == 3
    sides = np.array([value[0] for value in found.findings[0].values])[found.values[:, 0] - 1]
    assert (sides == np.char.add("column:colour=", np.array(list("rgby"))[colour])).all()


def test_cells_are_counts_and_wilsons():
    values, p = planted(n_classes=3)
    one = findings_in([view_of(values)], p).findings[0]
    for group in one.groups:
        rows = (p.y_index == group.name) & (values[:, 0] == group.which)
        assert group.n == rows.sum()
        assert group.value == pytest.approx((~p.wrong[rows]).mean())
        same = Row("class", group.name, int(rows.sum()), int((~p.wrong[rows]).sum()))
        assert group.interval == pytest.approx(same.wilson())
    assert sum(group.n for group in one.groups) == len(values)
    assert one.n == values[:, 0].sum()
    assert one.share == pytest.approx(values[p.y_index == one.goes_with, 0].mean())
    again = json.loads(json.dumps(one.as_dict(), allow_nan=False))
    assert (again["name"], again["groups"][0]["count"]) == ("word:0", one.groups[0].n)
    assert f"{100 * one.share:.1f} % of its samples have it" in str(one)
    assert f"{100 * one.worst.value:.1f} %" in str(one)


def test_examples_are_what_they_are_called():
    values, p = planted()
    one = findings_in([view_of(values)], p).findings[0]
    agrees = values[:, 0] == (p.y_index == 0)
    for name, rows in one.examples.items():
        how, what = name.split(", ")
        assert rows or name == "agreeing, wrong"
        assert (agrees[list(rows)] == (how == "agreeing")).all()
        assert (p.wrong[list(rows)] == (what == "wrong")).all()


def null(seed, n=800, noise=0.1, agreement=0.5):
    """Errors at random; some attributes go with a class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    pred = np.where(rng.random(n) < noise, 1 - y, y)
    rates = np.stack([rng.uniform(0.02, 0.5, 60), rng.uniform(0.02, 0.5, 60)])
    rates[1, 30:] = rates[0, 30:]
    return rng.random((n, 60)) < rates[y], AuditedPredictions(np.arange(2), y, pred, np.ones(n))


@pytest.mark.parametrize(("n", "most"), [(30, 5), pytest.param(400, 28, marks=pytest.mark.more)])
def test_errors_at_random_raise_no_alarm(n, most):
    """Attributes that go with a class, errors that depend on none: at most 5 % of the draws."""
    alarms = 0
    for seed in range(n):
        values, p = null(seed)
        found = findings_in([view_of(values)], p).findings
        alarms += bool(found)
    assert alarms <= most  # of 400, 20 are expected at most; 5 % of such tests would show 28


@pytest.mark.parametrize("exact", [True, False])
def test_of_what_is_inferred_the_five_clearest_families_are_asked_about(exact):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 20_000)
    has = np.where(rng.random((8, len(y))) < 0.8, y, 1 - y)  # eight that have nothing in common
    led = has[rng.integers(0, 8, len(y)), np.arange(len(y))]
    p = AuditedPredictions(
        np.arange(2), y, np.where(rng.random(len(y)) < 0.9, led, y), np.ones(len(y))
    )
    found = findings_in([view_of(has.T, kind="layer", exact=exact)], p)
    whole = findings_in([view_of(has.T, kind="word")], p)
    assert len(whole.findings) == 8
    every = [s.name.partition(":")[2] for s in whole.findings]
    assert [s.name.partition(":")[2] for s in found.findings] == every
    assert [s.name.partition(":")[2] for s in found.shown] == every[: 8 if exact else 5]
    assert found.n_left_out == ({} if exact else {"layer": 3})
    assert found.values.shape[1] == 8
    assert found.n_passed == whole.n_passed


def test_one_class_missing():
    values, p = planted(n_classes=3)
    wider = AuditedPredictions(
        np.array(["a", "b", "c", "never"]), p.y_index, p.pred_index, p.weight
    )
    one = findings_in([view_of(values)], wider).findings[0]
    assert one.name == "word:0"
    assert {group.name for group in one.groups} == {"a", "b", "c"}


def test_nothing_to_find():
    values, p = planted()
    right = AuditedPredictions(p.classes, p.y_index, p.y_index, p.weight)
    found = findings_in([view_of(values)], right)
    assert found.findings == ()
    assert found.n_looked_at == {"word": 31}
    assert found.values.shape == (len(values), 0)


def test_a_word_stands_for_words_and_not_for_a_neuron_that_sees_it():
    values, p = planted()
    neuron = np.where(np.random.default_rng(1).random(len(values)) < 0.95, ~values[:, 0], 0)
    seen = view_of(neuron[:, None], ("embedding #3 high",), kind="embedding", exact=False)
    found = findings_in([view_of(values), seen], p)
    (one,) = found.findings
    assert (one.name, one.opposed) == ("word:0", ("embedding #3 high",))
    assert one.values == (("word:0",),)
    assert (found.values[:, 0] == values[:, 0]).all()


def test_what_has_a_name_leads_a_neuron_that_sees_it_better():
    values, p = planted()
    name = "image:brightness high"
    neuron = view_of(values[:, :1], ("layer:relu #3 mean high",), kind="layer", exact=False)
    bright = values[:, 0] ^ (np.random.default_rng(1).random(len(values)) < 0.1)
    measured = view_of(bright[:, None], (name,), kind="image", exact=False)
    found = findings_in([neuron, measured], p)
    (one,) = found.findings
    assert (one.name, one.feature_set, one.values) == (name, "image", ((name,),))
    assert one.same == ("layer:relu #3 mean high",)
    assert one.groups[0].n == (bright & (p.y_index == 0)).sum()
    assert (found.values[:, 0] == bright).all()


# -- families


def test_correlation_is_numpys_within_one_class():
    rng = np.random.default_rng(0)
    values = (rng.random((500, 4)) < 0.4).astype(np.int8)
    found = within_class_correlation(values, np.zeros(500, dtype=int), np.ones(500))
    np.testing.assert_allclose(found, np.corrcoef(values.T), atol=1e-12)


def test_going_with_the_same_class_is_no_likeness():
    """A shortcut and what the class is about, each 95 % of the class, independent within it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    values = (rng.random((20_000, 2)) < np.where(y, 0.95, 0.05)[:, None]).astype(np.int8)
    assert np.corrcoef(values.T)[0, 1] > 0.7
    assert abs(within_class_correlation(values, y, np.ones(len(y)))[0, 1]) < 0.03


def test_constant_and_unknown():
    values = np.array([[1, 1, -1], [1, 0, -1], [1, 1, -1], [1, 0, -1]], dtype=np.int8)
    found = within_class_correlation(values, np.zeros(4, dtype=int), np.ones(4))
    np.testing.assert_allclose(found, np.diag([0, 1, 0]), atol=1e-12)


def families_of(correlation, side, origins=None):
    size = len(side)
    full = np.eye(size)
    for (i, j), value in correlation.items():
        full[i, j] = full[j, i] = value
    return families(full, np.array(side), origins or list(map(str, range(size))))


def test_who_is_one_family():
    assert families_of({(0, 1): 0.9}, [0, 0, 0]) == [[0, 1], [2]]
    assert families_of({(0, 1): -0.6}, [0, 1]) == [[0, 1]]  # film and movie
    assert families_of({(0, 1): -0.6}, [0, 0]) == [[0, 1]]  # movie and movies
    assert families_of({(0, 1): 0.6}, [0, 1]) == [
        [0],
        [1],
    ]  # together, but they go with other classes
    assert families_of({(0, 1): 0.9, (1, 2): 0.9}, [0, 0, 0]) == [
        [0, 1],
        [2],
    ]  # of the leader alone
    assert families_of({(0, 1): 0.4, (0, 2): 0.0, (1, 2): 0.9}, [0, 0, 0]) == [[0, 1], [2]]
    assert families_of({(0, 1): -0.1}, [0, 1], ["site", "site"]) == [[0, 1]]  # of one column
    assert families_of({}, []) == []


# -- one card for one shortcut


def shortcuts(seed, n=600):
    """Two classes, and two attributes of 95 % of each, independent within the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return rng, y, np.where(rng.random((n, 2)) < 0.95, y[:, None], 1 - y[:, None])


def test_a_threshold_of_the_same_shortcut_is_one_with_it_and_two_shortcuts_are_two():
    together = 0
    for seed in range(20):
        rng, y, (one, other) = (*shortcuts(seed)[:2], shortcuts(seed)[2].T)
        wider = one | (rng.random(len(y)) < 0.5)  # as more than half of the image is brighter
        values = np.stack([one, wider, 1 - wider, other], axis=1).astype(np.int8)
        correlation, same = one_shortcut(values, y, np.ones(len(y)))
        assert same[0, 1]
        assert same[0, 2]
        assert correlation[0, 1] == pytest.approx(-correlation[0, 2])
        together += same[0, 3]
    assert together == 0


def test_what_agrees_within_classes_is_one_finding_that_is_named_for_the_first():
    rng, y, values = shortcuts(0, 2000)
    wider = values[:, 0] | (rng.random(len(y)) < 0.5)
    luck = rng.random(len(y))
    pred = np.where(luck < 0.3, values[:, 0], np.where(luck < 0.6, values[:, 1], y))
    p = AuditedPredictions(np.arange(2), y, pred, np.ones(len(y)))
    names = ("word:border", "word:wide", "word:other")
    columns = np.stack([values[:, 0], wider, values[:, 1]], axis=1)
    found = findings_in([view_of(columns, names)], p)
    first, second = sorted(found.findings, key=lambda each: each.name)
    assert (first.name, first.same, first.values) == (
        "word:border",
        ("word:wide",),
        (("word:border",),),
    )
    assert (second.name, second.same) == ("word:other", ())


def test_what_has_no_name_is_asked_only_if_nothing_named_explains_its_errors():
    rng, y, values = shortcuts(1, 3000)
    named, hidden = values.T
    weak = np.where(rng.random(len(y)) < 0.7, named, rng.integers(0, 2, len(y)))
    weak = np.where(rng.random(len(y)) < 0.3, y, weak)
    neurons = view_of(
        np.stack([weak, hidden], axis=1), ("layer:relu #1 mean high", "layer:relu #2 mean high"),
        "layer", exact=False,
    )  # fmt: skip
    words = view_of(named[:, None], ("word:named",))
    for hides in (False, True):  # whether the model relies on what has no name as well
        luck = rng.random(len(y))
        pred = np.where(luck < 0.3, named, np.where((luck < 0.6) & hides, hidden, y))
        p = AuditedPredictions(np.arange(2), y, pred, np.ones(len(y)))
        found = findings_in([neurons, words], p).findings
        assert [each.name for each in found] == [
            "word:named",
            *["layer:relu #2 mean high"] * hides,
        ]
        assert "layer:relu #1 mean high" in found[0].same


def test_accuracy_if_class_and_attribute_were_unrelated():
    values, p = planted(agreement=0.8)
    (one,) = findings_in([view_of(values)], p).findings
    has, right = values[:, 0].astype(bool), p.y_index == p.pred_index
    expected = sum(
        (p.y_index == k).mean() * (has == v).mean() * right[(p.y_index == k) & (has == v)].mean()
        for k in (0, 1)
        for v in (True, False)
    )
    assert one.unrelated.value == pytest.approx(expected)
    kept = has | (p.y_index != 0)  # no sample of class 0 lacks it
    p = AuditedPredictions(p.classes, *(a[kept] for a in (p.y_index, p.pred_index, p.weight)))
    (one,) = findings_in([view_of(values[kept])], p).findings
    assert one.unrelated is None


# -- ranking: Holm's correction, and the order of what is equal


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_step_by_step(p):
    corrected = holm(np.array(p), len(p))
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for i, at in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[at] * (len(p) - i) > level:
                break
            rejected.add(at)
        assert set(np.flatnonzero(corrected <= level)) == rejected
    assert (corrected >= p).all()


def test_classes_count_as_tests():
    values, p = planted(n_classes=3, n_others=0)
    found = ranking_of([view_of(values)], p)
    pair, q = planted(n_classes=2, n_others=0)
    assert len(found.names) == 1
    for feature_set, predictions, times in ((values, p, 3), (pair, q, 1)):
        one = contrast(feature_set, predictions.marks()).p_value[0]
        corrected = ranking_of([view_of(feature_set)], predictions).p_value[0]
        assert corrected == pytest.approx(min(1, times * one))


def test_views_one_after_the_other_are_one_view():
    values, p = planted()
    whole = ranking_of([view_of(values)], p)
    names = [f"word:{j}" for j in range(values.shape[1])]
    parts = [view_of(values[:, i : i + 7], names[i : i + 7]) for i in range(0, len(names), 7)]
    split = ranking_of(parts, p)
    assert whole.names == split.names
    np.testing.assert_allclose(whole.p_value, split.p_value)


def test_many_attributes_of_another_kind_do_not_raise_the_bar():
    values, p = planted(leaning=0.05)
    rng = np.random.default_rng(1)
    many = view_of(rng.random((len(values), 3000)) < 0.3, kind="layer")
    alone = ranking_of([view_of(values)], p)
    beside = ranking_of([view_of(values), many], p)
    of_word = [beside.names.index(name) for name in alone.names]
    # Words and their conjunctions are two kinds, with layers there are three.
    np.testing.assert_allclose(beside.p_value[of_word], np.minimum(3 / 2 * alone.p_value, 1))
    nothing = view_of(np.empty((len(values), 0)), kind="metadata")  # has nothing to share for
    np.testing.assert_allclose(ranking_of([view_of(values), nothing], p).p_value, alone.p_value)


def test_no_attributes():
    _, p = planted()
    assert ranking_of([], p).names == []
    assert ranking_of([view_of(np.empty((len(p.y_index), 0)))], p).names == []

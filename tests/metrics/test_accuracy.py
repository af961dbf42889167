"""Accuracies by class and group, and scores without group labels."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from ntkit.exceptions import InputError
from ntkit.metrics import accuracy_by, group_report, worst_class_accuracy, worst_group_accuracy
from ntkit.scorers import (
    LABEL_FREE_SCORES,
    SCORERS,
    adjusted_accuracy,
    afr_weighted_accuracy,
    class_accuracy_gap,
    correctness_group_accuracy,
    named_score,
    sfit_score,
    worst_class_correctness_group_accuracy,
)

SEEDS = st.integers(0, 2**32 - 1)
CLASSES = np.array([0, 1, 2])
drawn = settings(max_examples=15, deadline=None)


def draw(seed):
    """Labels of three classes, predictions, groups and probabilities of up to 60 samples."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    y, pred, groups = rng.integers(0, 3, (3, n))
    y[:3] = CLASSES
    return rng, y, pred, groups, rng.dirichlet(np.ones(3), n)


@drawn
@given(SEEDS)
def test_against_scikit_learn(seed):
    rng, y, pred, groups, _ = draw(seed)
    recalls = recall_score(y, pred, labels=CLASSES, average=None)
    assert worst_class_accuracy(y, pred) == pytest.approx(recalls.min())
    gap = np.mean([abs(a - b) for a, b in itertools.combinations(recalls, 2)])
    assert class_accuracy_gap(y, pred) == pytest.approx(gap)
    names = np.array(["a", "b", "c"])[groups]
    by = {g: accuracy_score(y[names == g], pred[names == g]) for g in np.unique(names).tolist()}
    assert accuracy_by(y, pred, names) == pytest.approx(by)
    assert worst_group_accuracy(y, pred, groups=names) == pytest.approx(min(by.values()))
    assert adjusted_accuracy(y, pred, groups=y) == pytest.approx(balanced_accuracy_score(y, pred))
    members = groups[:, None] == np.arange(4)  # the last one is empty
    assert accuracy_by(y, pred, members) == accuracy_by(y, pred, groups)
    # Neither the order of the samples nor the names of the groups matter.
    order = rng.permutation(len(y))
    for score in (worst_group_accuracy, adjusted_accuracy):
        value = score(y, pred, groups=groups)
        again = np.array(["c", "a", "b"])[groups[order]]
        assert score(y[order], pred[order], groups=again) == pytest.approx(value)
        assert worst_group_accuracy(y, pred, groups=groups) <= value + 1e-12 <= 1 + 1e-9


@drawn
@given(SEEDS, st.floats(0, 20))
def test_label_free_scores_against_their_formulas(seed, gamma):
    rng, y, pred, _, proba = draw(seed)
    reference = proba.argmax(axis=1)
    by_group = [
        np.mean(pred[rows] == c)
        for c in CLASSES
        for rows in ((y == c) & (reference == y), (y == c) & (reference != y))
        if rows.any()
    ]
    options = {"reference_pred": reference}
    mean = correctness_group_accuracy(y, pred, **options)
    worst = correctness_group_accuracy(y, pred, average="worst", **options)
    assert [mean, worst] == pytest.approx([np.mean(by_group), min(by_group)])
    assert worst_class_correctness_group_accuracy(y, pred, **options) == pytest.approx(
        (2 * worst_class_accuracy(y, pred) + worst) / 3
    )
    options = {"reference_proba": proba, "classes": CLASSES}
    weight = np.exp(-gamma * proba[np.arange(len(y)), y]) / np.bincount(y)[y]
    expected = np.sum(weight * (y == pred)) / np.sum(weight)
    assert afr_weighted_accuracy(y, pred, gamma=gamma, **options) == pytest.approx(expected)
    balanced = balanced_accuracy_score(y, pred)
    assert afr_weighted_accuracy(y, pred, gamma=0, **options) == pytest.approx(balanced)
    Z = rng.normal(size=(len(y), 4))
    expected = sum(
        np.abs(np.median(Z[wrong], axis=0) - np.median(Z[right], axis=0)).sum()
        for c in CLASSES
        for wrong, right in [((y == c) & (pred != c), (y == c) & (pred == c))]
        if wrong.any() and right.any()
    )
    assert sfit_score(Z, y, pred) == pytest.approx(expected)


def test_edges_of_the_scores():
    y, pred = [0, 0, 1, 1], [0, 1, 1, 1]
    assert worst_class_correctness_group_accuracy(y, pred, reference_pred=y) == 0.5
    assert class_accuracy_gap([1, 1], [1, 0]) == 0.0
    assert sfit_score([[1.0], [2.0]], [0, 1], [0, 1]) == 0.0
    # A large gamma leaves the least confident sample.
    proba = [[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]]
    options = {"reference_proba": proba, "classes": [0, 1], "gamma": 1e5}
    assert afr_weighted_accuracy([0, 0, 1], [0, 1, 1], **options) == 0.0
    # Columns may be in any order.
    proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    y, pred = ["b", "a", "b"], ["b", "a", "a"]
    one = afr_weighted_accuracy(y, pred, reference_proba=proba, classes=["b", "a"])
    assert one == afr_weighted_accuracy(y, pred, reference_proba=proba[:, ::-1], classes=["a", "b"])


def test_overlapping_groups():
    y, pred = [0, 0, 1, 1], [0, 1, 1, 0]
    members = [[True, True], [True, False], [False, True], [False, False]]
    assert accuracy_by(y, pred, members) == {0: 0.5, 1: 1.0}
    assert worst_group_accuracy(y, pred, groups=members) == 0.5
    assert accuracy_by(y, pred, np.asarray(members, dtype=int)) == {0: 0.5, 1: 1.0}
    assert adjusted_accuracy(y, pred, groups=members) == 0.75


def test_names_of_overlapping_groups():
    members = pd.DataFrame({"male": [True, True, False], "muslim": [0, 1, 1], "none": [0, 0, 0]})
    assert accuracy_by([0, 0, 1], [0, 1, 1], members) == {"male": 0.5, "muslim": 0.5}
    report = group_report([0, 0, 1], [0, 1, 1], groups=members)
    assert [row.name for row in report.rows if row.kind == "group"] == ["male", "muslim", "none"]
    assert report.worst_group.which in ("male", "muslim")


METRICS = [
    lambda y, pred, groups, **w: tuple(accuracy_by(y, pred, groups, **w).items()),
    lambda y, pred, groups, **w: worst_group_accuracy(y, pred, groups=groups, **w),
    lambda y, pred, groups, **w: adjusted_accuracy(y, pred, groups=groups, **w),
    lambda y, pred, groups, **w: worst_class_accuracy(y, pred, **w),
    lambda y, pred, groups, **w: worst_class_correctness_group_accuracy(
        y, pred, reference_pred=1 - y, **w
    ),
    lambda y, pred, groups, **w: correctness_group_accuracy(
        y, pred, reference_pred=groups % 2, **w
    ),
    lambda y, pred, groups, **w: class_accuracy_gap(y, pred, **w),
    lambda y, pred, groups, **w: afr_weighted_accuracy(
        y, pred, reference_proba=np.stack([groups / 3, 1 - groups / 3], 1), classes=[0, 1], **w
    ),
    lambda y, pred, groups, **w: sfit_score(
        np.stack([groups, groups**2 % 5 + pred], 1), y, pred, **w
    ),
    lambda y, pred, groups, **w: named_score("class_accuracy_gap", y, pred, **w),
    lambda y, pred, groups, **w: named_score("adjusted_accuracy", y, pred, groups=groups, **w),
    lambda y, pred, groups, **w: (
        group_report(y, pred, groups=groups, y_pred_before=1 - pred, **w).worst_group.change
    ),
]


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_weights_are_repetitions_at_any_scale(metric, seed):
    rng = np.random.default_rng(seed)
    y, pred = rng.integers(0, 2, (2, 24))
    weight, groups = rng.integers(0, 3, 24), rng.integers(0, 4, 24)
    y[:2], weight[:2] = (0, 1), 1
    again = np.repeat(np.arange(24), weight)
    try:
        expected = metric(y[again], pred[again], groups[again])
    except InputError:  # all weight in one sample, or a group of training rows without others
        return
    # A sample of weight 0 may change neither the groups that count nor their accuracies.
    for scale in (1, 1000, 0.001):
        found = metric(y, pred, groups, sample_weight=scale * weight)
        assert np.ravel(found) == pytest.approx(np.ravel(expected))


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize(
    "groups",
    [
        [0.0, np.nan, 2.0],
        [0, -1, 2],
        np.array([0, -1, 2]),
        ["a", None, "b"],
        ["a", np.nan, "b"],
        ["a", -1, "b"],
    ],
)
def test_samples_of_unknown_group_are_left_out(groups, order):
    right, wrong = ([0, 1, 1], [0, 0, 1]), ([0, 1, 1], [0, 1, 0])  # the second one's is unknown
    for score in (worst_group_accuracy, adjusted_accuracy):
        assert score(*(side[order] for side in right), groups=groups[order]) == 1
        assert score(*(side[order] for side in wrong), groups=groups[order]) < 1


@pytest.mark.parametrize("classes", [(-1, 1), (-1, 0, 1)])
def test_a_class_called_minus_one_is_a_class(classes):
    """Unknown groups are called -1; a class of that name is known, and may be the worst."""
    rng = np.random.default_rng(0)
    y = np.repeat(classes, 50)
    pred = np.where((y == -1) & (rng.random(len(y)) < 0.6), classes[1], y)
    assert worst_class_accuracy(y, pred) == np.mean(pred[y == -1] == -1)
    names = [np.array(["a", "b", "c"])[np.searchsorted(classes, v)] for v in (y, pred)]
    for score in (worst_class_accuracy, class_accuracy_gap):
        assert score(y, pred) == pytest.approx(score(*names))
    beside = worst_class_correctness_group_accuracy(y, pred, reference_pred=y)
    same = worst_class_correctness_group_accuracy(*names, reference_pred=names[0])
    assert beside == pytest.approx(same)


def test_pandas_labels():
    y = pd.Series(["a", "b", "a"], index=[5, 3, 9])
    groups = pd.Series(["x", pd.NA, "x"], dtype="string")
    pred = np.array(["a", "b", "b"])
    assert adjusted_accuracy(y, pred, groups=y) == 0.75
    assert worst_group_accuracy(y, pred, groups=y) == 0.5
    assert adjusted_accuracy(pd.array([1, 2], dtype="Int64"), [1, 1], groups=[0, 0]) == 0.5
    assert adjusted_accuracy(y, pred, groups=groups) == 0.5  # the second sample's is unknown


# By name


@drawn
@given(SEEDS)
def test_scores_by_name(seed):
    rng, y, pred, _, proba = draw(seed)
    keywords = {
        "reference_pred": CLASSES[proba.argmax(axis=1)],
        "reference_proba": proba,
        "classes": CLASSES,
        "Z": rng.normal(size=(len(y), 3)),
        "groups": rng.integers(0, 2, len(y)),
    }
    order = rng.permutation(len(y))
    shuffled = {k: v if k == "classes" else v[order] for k, v in keywords.items()}
    bounds = {"class_accuracy_gap": (-1, 0), "sfit_score": (0, np.inf)}
    for name in SCORERS:
        value = named_score(name, y, pred, **keywords)
        low, high = bounds.get(name, (0, 1))
        assert low <= value <= high
        assert isinstance(value, float)
        assert named_score(name, y[order], pred[order], **shuffled) == pytest.approx(value)
        if name != "sfit_score":  # a head without errors is best
            assert named_score(name, y, y, **keywords) >= value


def test_names():
    assert set(SCORERS) - set(LABEL_FREE_SCORES) == {"worst_group_accuracy", "adjusted_accuracy"}
    assert SCORERS[0] == "worst_class_correctness_group_accuracy"
    with pytest.raises(InputError, match="Unknown score 'nope'; use one of worst_class_"):
        named_score("nope", [0], [0])
    for name in SCORERS:
        if name in ("worst_class_accuracy", "class_accuracy_gap"):
            assert isinstance(named_score(name, [0, 1], [0, 1]), float)
            continue
        with pytest.raises(InputError, match=f"'{name}' needs (reference|Z|groups)"):
            named_score(name, [0, 1], [0, 1])


# Refusals


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(
    ("y", "pred", "message"),
    [
        ([0, 1, 1], [0, 1], "y_pred has 2 labels but y_true has 3"),
        ([0, np.nan], [0, 1], "y_true contains NaN"),
        ([0, 1], [0, np.nan], "y_pred contains NaN"),
        ([0, 1], ["a", "b"], "text"),
        ([1, "0"], ["1", "0"], "labels of one type"),
        ([b"1", b"0"], ["1", "0"], "labels of one type"),
        ([], [], "y_true is empty"),
        ([[0, 1]], [0, 1], r"y_true must have shape \(N,\)"),
    ],
)
def test_labels_that_are_refused(name, y, pred, message):
    keywords = HALF | {"reference_pred": [0, 1], "Z": np.zeros((2, 2)), "groups": [0, 1]}
    with pytest.raises(InputError, match=message) as error:
        named_score(name, y, pred, **keywords)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("score", [worst_group_accuracy, adjusted_accuracy])
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0], "groups has 1 labels but y_true has 2"),
        ([[True, False]], "groups has 1 labels but y_true has 2"),
        ([-1, -1], "groups is unknown for all samples"),
        ([None, np.nan], "groups is unknown for all samples"),
        ([np.nan, np.nan], "groups is unknown for all samples"),
        (["a", 1], "groups mixes"),
        ([-1, 1], "only -1 and 1"),
        ([[2, 0], [0, 2]], "have True and False"),
        ([[1, np.nan], [0, 1]], "have True and False"),
        (np.zeros((2, 2), dtype=bool), "No sample of positive weight is in any group"),
    ],
)
def test_groups_that_are_refused(score, groups, message):
    with pytest.raises(InputError, match=message):
        score([0, 1], [0, 1], groups=groups)


HALF = {"reference_proba": [[0.5, 0.5], [0.5, 0.5]], "classes": [0, 1]}


@pytest.mark.parametrize(
    ("score", "options", "message"),
    [
        *[
            (worst_class_accuracy, {"sample_weight": weight}, "sample_weight")
            for weight in ([1, -1], [1, np.nan], [0, 0], [1], [[1, 1]], ["a", "b"])
        ],
        (correctness_group_accuracy, {"reference_pred": [0]}, "reference_pred has 1 labels"),
        (correctness_group_accuracy, {"reference_pred": [0, 1], "average": "median"},
         '"mean" or "worst"'),
        *[
            (afr_weighted_accuracy, HALF | change, message)
            for change, message in (
                ({"reference_proba": [[0.5, 0.5]]}, r"reference_proba must have shape \(2, 2\)"),
                ({"reference_proba": [[0.5, np.nan], [0.5, 0.5]]}, "must contain probabilities"),
                ({"reference_proba": [[3.0, -1.0], [0.5, 0.5]]}, "rather than logits"),
                ({"classes": [0, 2]}, r"has the class 1, which classes \(0, 2\) lacks"),
                ({"gamma": -1}, "gamma must be a number >= 0"),
                ({"gamma": np.nan}, "gamma must be a number >= 0"),
            )
        ],
        *[
            (lambda y, pred, Z: sfit_score(Z, y, pred), {"Z": Z}, message)
            for Z, message in (
                ([[1.0], [np.inf]], "NaN or infinite"),
                ([[1.0]], r"shape \(2, D\) are needed"),
                ([1.0, 2.0], r"shape \(2, D\) are needed"),
                ([["a"], ["b"]], "must be numbers"),
            )
        ],
    ],
)  # fmt: skip
def test_options_that_are_refused(score, options, message):
    with pytest.raises(InputError, match=message):
        score([0, 1], [0, 1], **options)


# EIIL


def eiil_environments(logits, y_index, seed, n_steps=1000, lr=0.05):
    """Environments of EIIL (arXiv 2010.07249) by its own optimiser, Adam on a soft assignment.

    Maximises the mean of the squared derivatives, by a scale s of the logits at s = 1, of
    mean(q CE(s logits, y)) and of mean((1 - q) CE(s logits, y)), with q = sigmoid(w).
    """
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    slope = (proba * logits).sum(axis=1) - logits[np.arange(len(logits)), y_index]
    w = np.random.default_rng(seed).normal(size=len(logits))
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, n_steps + 1):
        q = 1 / (1 + np.exp(-w))
        one, other = np.mean(q * slope), np.mean((1 - q) * slope)
        ascent = (one - other) * slope * q * (1 - q) / len(w)
        first = 0.9 * first + 0.1 * ascent
        second = 0.999 * second + 0.001 * ascent**2
        length = np.sqrt(second / (1 - 0.999**step)) + 1e-12
        w = w + lr * first / (1 - 0.9**step) / length
    return w > 0


@pytest.mark.more
def test_the_worst_eiil_environment_is_the_worst_class_and_correctness_group(rng):
    y = rng.integers(0, 2, 300)
    mark = np.where(rng.random(300) < 0.9, y, 1 - y)
    X = np.column_stack([y + rng.normal(0, 1, 300), 2 * mark + rng.normal(0, 0.5, 300)])
    reference = LogisticRegression(class_weight="balanced").fit(X[:150], y[:150])
    X, y = X[150:], y[150:]
    logit = reference.decision_function(X)
    environment = eiil_environments(np.column_stack([0 * logit, logit]), y, 0)
    correct = reference.predict(X) == y
    assert np.array_equal(environment, correct) or np.array_equal(environment, ~correct)

    head = LogisticRegression().fit(X[:, :1], y)  # a head to score
    pred = head.predict(X[:, :1])
    by_environment = accuracy_by(y, pred, 2 * y + environment)
    worst = correctness_group_accuracy(
        y, pred, reference_pred=reference.predict(X), average="worst"
    )
    assert worst == min(by_environment.values())


def test_scores_and_labels_in_another_spelling_are_not_predictions():
    """scikit-learn refuses scores; a fold without a class may have only wrong predictions."""
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 2, (2, 80))
    scores = np.clip(0.6 * y + 0.5 * rng.random(80), 0, 1)  # some are 1
    named = np.where(y, "Yes", "No")
    for truth, wrong in ((y, scores), (named, np.char.lower(named)), (y, y + 5)):
        for call in (worst_group_accuracy, group_report):
            with pytest.raises(InputError, match=r"^y_pred .* has the class .* which y_true"):
                call(truth, wrong, groups=groups)
        assert worst_group_accuracy(truth, truth, groups=groups) == 1
    assert worst_group_accuracy(y, y.astype(float), groups=groups) == 1
    assert worst_class_accuracy(np.zeros(9), np.ones(9)) == 0


def test_pandas_objects_are_of_the_same_samples_and_classes():
    rng = np.random.default_rng(0)
    y, groups = (pd.Series(rng.integers(0, 2, 50)) for _ in range(2))
    for call in (worst_group_accuracy, group_report):
        call(y, y, groups=groups)
        with pytest.raises(InputError, match="groups has the samples of y_true in another order"):
            call(y, y, groups=groups.sample(frac=1, random_state=0))
    by_groups = (worst_group_accuracy, group_report, accuracy_by, adjusted_accuracy)
    weight, other = pd.Series(rng.random(50) + 0.1), "has the samples of y_true in another order"
    for call in (*by_groups, worst_class_accuracy, class_accuracy_gap):
        given = {"groups": groups} if call in by_groups else {}
        call(y, y, sample_weight=weight, **given)
        with pytest.raises(InputError, match=f"sample_weight {other}"):
            call(y, y, sample_weight=weight[::-1], **given)
        with pytest.raises(InputError, match=f"y_pred {other}"):
            call(y, y[::-1], **given)
    proba = pd.DataFrame(rng.dirichlet([1, 1], 50), columns=["b", "a"])
    y = np.array(["a", "b"])[y]
    one, other = (
        named_score("afr_weighted_accuracy", y, y[::-1], reference_proba=each, classes=["a", "b"])
        for each in (proba, proba[["a", "b"]].to_numpy())
    )
    assert one == other


@pytest.mark.parametrize("unknown", [np.nan, -1, "unknown"])
def test_texts_that_mean_unknown_are_no_group(unknown):
    """NumPy makes the text "nan" of NaN among texts."""
    rng = np.random.default_rng(0)
    y, pred = rng.integers(0, 2, (2, 90))
    known = np.array(["a", "b", None], dtype=object)[rng.integers(0, 3, 90)]
    texts = np.array([unknown if each is None else each for each in known])
    assert texts.dtype.kind == "U"
    wanted = group_report(y, pred, groups=known)
    by_value = group_report(y, pred, attribute=known)
    with pytest.warns(UserWarning, match=f"^groups: these texts mean .* '{unknown}'"):
        assert group_report(y, pred, groups=texts) == wanted
    with pytest.warns(UserWarning, match="^attribute: these texts mean that the value is unknown"):
        assert group_report(y, pred, attribute=texts) == by_value
    with pytest.warns(UserWarning, match="^groups: these texts mean"):
        assert worst_group_accuracy(y, pred, groups=texts) == wanted.worst_group.value

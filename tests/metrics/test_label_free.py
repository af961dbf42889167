import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, recall_score

from ntkit.exceptions import InputError
from ntkit.metrics import (
    LABEL_FREE_SCORES,
    SCORERS,
    accuracy_by,
    afr_weighted_accuracy,
    class_accuracy_gap,
    correctness_group_accuracy,
    named_score,
    sfit_score,
    worst_class_accuracy,
    worst_class_correctness_group_accuracy,
)
from ntkit.metrics._scorers import needs_of

SEEDS = st.integers(0, 2**32 - 1)
CLASSES = np.array([0, 1, 2])


def draw(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    y, pred = rng.integers(0, 3, (2, n))
    y[:3] = CLASSES
    proba = rng.dirichlet(np.ones(3), n)
    return rng, y, pred, proba


@given(SEEDS)
def test_the_gap_is_the_mean_over_pairs(seed):
    _, y, pred, _ = draw(seed)
    recalls = recall_score(y, pred, labels=CLASSES, average=None)
    expected = np.mean([abs(a - b) for a, b in itertools.combinations(recalls, 2)])
    assert class_accuracy_gap(y, pred) == pytest.approx(expected)


def test_a_single_class_has_no_gap():
    assert class_accuracy_gap([1, 1], [1, 0]) == 0.0


@given(SEEDS)
def test_cells(seed):
    _, y, pred, proba = draw(seed)
    reference = proba.argmax(axis=1)
    cells = [
        np.mean(pred[rows] == c)
        for c in CLASSES
        for rows in ((y == c) & (reference == y), (y == c) & (reference != y))
        if rows.any()
    ]
    mean = correctness_group_accuracy(y, pred, reference_pred=reference)
    worst = correctness_group_accuracy(y, pred, reference_pred=reference, average="worst")
    assert mean == pytest.approx(np.mean(cells))
    assert worst == pytest.approx(min(cells))
    assert worst_class_correctness_group_accuracy(
        y, pred, reference_pred=reference
    ) == pytest.approx((2 * worst_class_accuracy(y, pred) + worst) / 3)


@given(SEEDS, st.floats(0, 20))
def test_afr_weights(seed, gamma):
    _, y, pred, proba = draw(seed)
    weight = np.exp(-gamma * proba[np.arange(len(y)), y]) / np.bincount(y)[y]
    expected = np.sum(weight * (y == pred)) / np.sum(weight)
    found = afr_weighted_accuracy(y, pred, reference_proba=proba, classes=CLASSES, gamma=gamma)
    assert found == pytest.approx(expected)


@given(SEEDS)
def test_afr_without_gamma_is_balanced_accuracy(seed):
    _, y, pred, proba = draw(seed)
    found = afr_weighted_accuracy(y, pred, reference_proba=proba, classes=CLASSES, gamma=0)
    assert found == pytest.approx(balanced_accuracy_score(y, pred))


def test_a_huge_gamma_leaves_the_least_confident_sample():
    proba = [[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]]
    score = afr_weighted_accuracy(
        [0, 0, 1], [0, 1, 1], reference_proba=proba, classes=[0, 1], gamma=1e5
    )
    assert score == 0.0


def test_classes_in_any_order():
    proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    y, pred = ["b", "a", "b"], ["b", "a", "a"]
    straight = afr_weighted_accuracy(y, pred, reference_proba=proba[:, ::-1], classes=["a", "b"])
    assert straight == afr_weighted_accuracy(y, pred, reference_proba=proba, classes=["b", "a"])


@given(SEEDS)
def test_sfit(seed):
    rng, y, pred, _ = draw(seed)
    Z = rng.normal(size=(len(y), 4))
    expected = sum(
        np.abs(np.median(Z[(y == c) & (pred != c)], 0) - np.median(Z[(y == c) & (pred == c)], 0))
        .sum()
        for c in CLASSES
        if 0 < (pred[y == c] == c).sum() < (y == c).sum()
    )  # fmt: skip
    assert sfit_score(Z, y, pred) == pytest.approx(expected)


def test_sfit_of_a_faultless_head_is_zero():
    assert sfit_score([[1.0], [2.0]], [0, 1], [0, 1]) == 0.0


# -- by name ------------------------------------------------------------------------------------


def everything(y, proba, rng):
    reference = CLASSES[proba.argmax(axis=1)]
    return {
        "reference_pred": reference,
        "reference_proba": proba,
        "classes": CLASSES,
        "Z": rng.normal(size=(len(y), 3)),
    }


@given(SEEDS)
def test_scores_by_name_are_bounded_and_need_no_order(seed):
    rng, y, pred, proba = draw(seed)
    given_ = everything(y, proba, rng)
    order = rng.permutation(len(y))
    shuffled = {k: v if k == "classes" else v[order] for k, v in given_.items()}
    bounds = {
        "class_accuracy_gap": (-1, 0),
        "sfit_score": (0, np.inf),
    }
    for name in LABEL_FREE_SCORES:
        value = named_score(name, y, pred, **given_)
        low, high = bounds.get(name, (0, 1))
        assert low <= value <= high
        assert isinstance(value, float)
        assert named_score(name, y[order], pred[order], **shuffled) == pytest.approx(value)


@given(SEEDS)
def test_a_faultless_head_is_best(seed):
    rng, y, pred, proba = draw(seed)
    given_ = everything(y, proba, rng)
    for name in set(SCORERS) - {"sfit_score"}:
        given_["groups"] = rng.integers(0, 2, len(y))
        assert named_score(name, y, y, **given_) >= named_score(name, y, pred, **given_)


def test_names():
    assert set(SCORERS) - set(LABEL_FREE_SCORES) == {"worst_group_accuracy", "adjusted_accuracy"}
    assert SCORERS[0] == "worst_class_correctness_group_accuracy"
    with pytest.raises(InputError, match="Unknown score 'nope'; use one of worst_class_"):
        named_score("nope", [0], [0])


@pytest.mark.parametrize("name", SCORERS)
def test_what_a_score_needs_must_be_given(name):
    needs = needs_of(name)
    if not needs:
        assert isinstance(named_score(name, [0, 1], [0, 1]), float)
        return
    with pytest.raises(InputError, match=f"'{name}' needs {needs[0]}: ") as error:
        named_score(name, [0, 1], [0, 1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(
    ("y", "pred", "message"),
    [
        ([0, 1, 1], [0, 1], "y_pred has 2 labels but y_true has 3"),
        ([0, np.nan], [0, 1], "y_true contains NaN"),
        ([0, 1], ["a", "b"], "text"),
    ],
)
def test_unusable_labels(name, y, pred, message):
    given_ = {
        "reference_pred": [0, 1],
        "reference_proba": np.full((2, 2), 0.5),
        "classes": [0, 1],
        "Z": np.zeros((2, 2)),
        "groups": [0, 1],
    }
    with pytest.raises(InputError, match=message):
        named_score(name, y, pred, **given_)


PROBA = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("proba", "classes", "gamma", "message"),
    [
        ([[0.5, 0.5]], [0, 1], 1, r"reference_proba must have shape \(2, 2\)"),
        ([[0.5, np.nan], [0.5, 0.5]], [0, 1], 1, "must contain probabilities"),
        ([[3.0, -1.0], [0.5, 0.5]], [0, 1], 1, "rather than logits"),
        (PROBA, [0, 2], 1, r"y_true \(0, 1\) has the class 1, which classes \(0, 2\) lacks"),
        (PROBA, [0, 1], -1, "gamma must be a number >= 0"),
        (PROBA, [0, 1], np.nan, "gamma must be a number >= 0"),
    ],
)
def test_unusable_reference(proba, classes, gamma, message):
    with pytest.raises(InputError, match=message):
        afr_weighted_accuracy([0, 1], [0, 1], reference_proba=proba, classes=classes, gamma=gamma)


@pytest.mark.parametrize(
    ("Z", "message"),
    [
        ([[1.0], [np.inf]], "NaN or infinite"),
        ([[1.0]], r"shape \(2, D\) are needed"),
        ([1.0, 2.0], r"shape \(2, D\) are needed"),
        ([["a"], ["b"]], "must be numbers"),
    ],
)
def test_unusable_embeddings(Z, message):
    with pytest.raises(InputError, match=message):
        sfit_score(Z, [0, 1], [0, 0])


def test_cells_reject_a_reference_of_another_length_and_other_averages():
    with pytest.raises(InputError, match="reference_pred has 1 labels"):
        correctness_group_accuracy([0, 1], [0, 1], reference_pred=[0])
    with pytest.raises(InputError, match='"mean" or "worst"'):
        correctness_group_accuracy([0, 1], [0, 1], reference_pred=[0, 1], average="median")


# -- EIIL ---------------------------------------------------------------------------------------


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
        w = w + lr * (first / (1 - 0.9**step)) / (
            np.sqrt(second / (1 - 0.999**step)) + 1e-12
        )  # fmt: skip
    return w > 0


@pytest.mark.parametrize("seed", range(5))
def test_the_worst_eiil_environment_is_the_worst_class_and_correctness_cell(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 300)
    mark = np.where(rng.random(300) < 0.9, y, 1 - y)
    X = np.column_stack([y + rng.normal(0, 1, 300), 2 * mark + rng.normal(0, 0.5, 300)])
    reference = LogisticRegression(class_weight="balanced").fit(X[:150], y[:150])
    X, y = X[150:], y[150:]
    logit = reference.decision_function(X)
    environment = eiil_environments(np.column_stack([0 * logit, logit]), y, seed)
    correct = reference.predict(X) == y
    assert np.array_equal(environment, correct) or np.array_equal(environment, ~correct)

    head = LogisticRegression().fit(X[:, :1], y)  # a head to score
    pred = head.predict(X[:, :1])
    by_environment = accuracy_by(y, pred, 2 * y + environment)
    worst = correctness_group_accuracy(
        y, pred, reference_pred=reference.predict(X), average="worst"
    )
    assert worst == min(by_environment.values())


def test_with_more_classes_eiil_adds_close_errors_to_the_correct_samples(rng):
    logits, y = rng.normal(0, 2, (400, 4)), rng.integers(0, 4, 400)
    environment = eiil_environments(logits, y, seed=0)
    correct = logits.argmax(axis=1) == y
    assert len(np.unique(environment[correct])) == 1
    joined = ~correct & (environment == environment[correct][0])
    apart = ~correct & ~joined
    assert apart.sum() > joined.sum()
    margin = logits.max(axis=1) - logits[np.arange(400), y]
    assert margin[joined].max() < np.median(margin[apart])  # only close errors join

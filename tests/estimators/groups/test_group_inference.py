"""GroupInference, and the estimators that take partial groups through it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from ntkit.estimators import DFRClassifier, GroupDROClassifier, GroupInference
from ntkit.estimators._group_inference import value_shares, with_shares
from ntkit.exceptions import InputError
from ntkit.metrics import worst_group_accuracy

QUICK = {"penalties": [("l2", 0.1), ("l1", 1.0)], "cv": 3, "random_state": 0}


def data(seed=0, n=600, n_values=2, share=0.9, clear=4.0, width=6):
    """Classes, and an attribute that goes with them and is told by a direction of its own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y % n_values, rng.integers(0, n_values, n))
    X = rng.normal(size=(n, width))
    X[:, 0] += 2 * y
    X[:, 1 : 1 + n_values] += clear * np.eye(n_values)[a]
    return X, y, a


def answered(a, n, seed=0, unknown=-1):
    """The attribute of n samples of each value, unknown elsewhere."""
    rng = np.random.default_rng(seed)
    known = np.concatenate([rng.permutation(np.flatnonzero(a == v))[:n] for v in np.unique(a)])
    values = np.full(len(a), unknown, dtype=a.dtype if unknown == -1 else object)
    values[known] = a[known]
    return values, known


@pytest.mark.parametrize("n_values", [2, 3])
def test_it_infers_what_a_view_tells(n_values):
    X, y, a = data(n_values=n_values)
    values, known = answered(a, 15)
    inference = GroupInference(**QUICK).fit(X, y, values)
    assert np.mean(inference.transduction_ == a) > 0.95
    q = inference.label_distributions_
    assert q.shape == (len(y), n_values)
    assert np.allclose(q.sum(axis=1), 1)
    assert inference.n_known_ == len(known)
    assert inference.feature_set_ == 0
    assert inference.classes_.tolist() == list(range(n_values))


def test_text_dates_and_every_mark_of_the_unknown_are_the_same_to_it():
    X, y, a = data()
    values, known = answered(a, 15)
    expected = GroupInference(**QUICK).fit(X, y, values).label_distributions_
    names = np.array(["land", "sea"], dtype=object)[a]
    marks = [(None, list), (np.nan, pd.Series), (-1, np.array), (-1, list), (pd.NA, list)]
    for mark, kind in marks:
        text = np.full(len(a), mark, dtype=object)
        text[known] = names[known]
        inference = GroupInference(**QUICK).fit(X, y, kind(text))
        assert np.array_equal(inference.label_distributions_, expected)
        assert set(inference.transduction_.tolist()) == {"land", "sea"}
    floats = np.where(values < 0, np.nan, values)
    assert np.array_equal(GroupInference(**QUICK).fit(X, y, floats).label_distributions_, expected)


def test_the_view_that_reads_it_is_found_dense_or_sparse():
    X, y, a = data(clear=0.0)
    words = (np.random.default_rng(1).random((len(y), 30)) < 0.2).astype(float)
    words[:, 7] = a
    values, _ = answered(a, 20)
    for matrix in (words, sparse.csr_matrix(words), sparse.csc_array(words)):
        inference = GroupInference(**QUICK).fit({"embedding": X, "words": matrix}, y, values)
        assert inference.feature_set_ == "words"
        assert np.mean(inference.transduction_ == a) > 0.98
        assert inference.losses_["words"] < inference.losses_["embedding"]
    listed = GroupInference(**QUICK).fit([X, words], y, values)
    assert listed.feature_set_ == 1


def test_where_nothing_reads_it_only_what_is_known_is_said():
    X, y, a = data(clear=0.0, n=300)
    X[:, 0] = 0
    values, known = answered(a, 20)
    rest = np.setdiff1d(np.arange(len(y)), known)
    text = np.where(values == -1, None, np.array(["b", "a"], dtype=object)[values])
    for said in (values, text):
        inference = GroupInference(**QUICK, min_accuracy=0.9).fit(X, y, said)
        assert inference.feature_set_ is None
        assert np.array_equal(inference.transduction_, said)
        assert not inference.label_distributions_[rest].any()
        assert inference.label_distributions_[known].sum() == len(known)
        with pytest.raises(InputError, match="No feature set predicts the attribute"):
            inference.predict(X)


def test_the_least_accuracy_allows_for_wrong_answers():
    X, y, a = data(clear=1.5)
    values, _ = answered(a, 20)
    options = QUICK | {"answer_error": 0.1}
    agreement = GroupInference(**options, min_accuracy=0).fit(X, y, values).scores_[0]
    limit = 2 * (agreement - 0.1) / 0.8 - 1  # on a scale from chance to all right
    for min_accuracy, found in ((limit - 0.01, 0), (limit + 0.01, None)):
        inference = GroupInference(**options, min_accuracy=min_accuracy).fit(X, y, values)
        assert inference.feature_set_ == found


def test_one_value_known_tells_nothing_of_the_others():
    X, y, _ = data(n=100)
    inference = GroupInference(**QUICK).fit(X, y, np.where(np.arange(100) < 9, 0, -1))
    assert inference.feature_set_ is None
    assert inference.transduction_.tolist() == [0] * 9 + [-1] * 91


def test_an_answer_that_everything_contradicts_stays_and_weighs_little():
    X, y, a = data(clear=9.0)
    values, known = answered(a, 25)
    doubtful, others = known[3], np.delete(known, 3)
    values[doubtful] = 1 - a[doubtful]
    believed = GroupInference(**QUICK, answer_error=0.1).fit(X, y, values)
    assert np.array_equal(believed.transduction_, np.where(values < 0, a, values))
    assert 0 < believed.weights_[doubtful] < 0.01
    assert believed.weights_[others].min() > 0.8
    literal = GroupInference(**QUICK, answer_error=0).fit(X, y, values)
    assert np.allclose(literal.weights_[known], 1)


@pytest.mark.filterwarnings("ignore:.*feature set predicts")
@given(st.data(), st.integers(0, 10_000), st.integers(2, 3), st.sampled_from([0.5, 0.9, 0.995]))
@settings(max_examples=8, deadline=None)
def test_known_samples_keep_their_values(draw, seed, n_values, share):
    """Right or wrong, and however few samples are unknown."""
    X, y, a = data(
        seed=seed, n=240, n_values=n_values, clear=draw.draw(st.sampled_from([1.0, 6.0]))
    )
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(y)) < draw.draw(st.sampled_from([0, 0.1])), 0, a)
    known = rng.random(len(y)) < share
    known[0] = False
    values = np.where(known, said, -1)
    inference = GroupInference(**QUICK | {"penalties": [("l2", 0.1)]}).fit(X, y, values)
    assert np.array_equal(inference.transduction_[known], said[known])
    q, weight = inference.label_distributions_[known], inference.weights_[known]
    assert np.array_equal(inference.classes_[q.argmax(axis=1)], said[known])
    assert q.max(axis=1).min() == 1
    assert 0 < weight.min() <= weight.max() <= 1
    groups, counts = np.unique(n_values * y + said, return_counts=True)
    clf = DFRClassifier(variant="weighted", C=1.0, group_inference=inference)
    clf.fit(X, y, attribute=np.where(np.arange(len(y)) == 0, -1, said))  # all but one
    expected = dict(zip([f"{g // n_values} × {g % n_values}" for g in groups], counts, strict=True))
    found = dict(zip(clf.groups_.tolist(), clf.group_counts_, strict=True))
    moved = {g: abs(found.get(g, 0) - expected.get(g, 0)) for g in {*found, *expected}}
    assert sum(moved.values()) in (0, 2)  # the unknown sample in its group or in another one


@given(st.integers(0, 10_000), st.floats(0.02, 0.98))
@settings(max_examples=5, deadline=None)
def test_shares_are_those_of_the_samples_where_probabilities_are_right(seed, share):
    rng = np.random.default_rng(seed)
    a = (rng.random(4000) < share).astype(int)
    x = rng.normal(3.0 * a - 1.5)  # equal shares: log odds 3 x
    p = 1 / (1 + np.exp(np.outer(3 * x, [1, -1])))
    found = value_shares(p, np.full(4000, -1), np.ones(4000), np.array([True, True]))
    assert abs(found[1] - a.mean()) < 0.03
    assert np.isclose(found.sum(), 1)
    q = with_shares(p, found**2)
    assert np.isclose(q.mean(axis=0)[1], found[1], atol=0.01)


def test_weights_that_are_zero_are_absent():
    X, y, a = data()
    values, _ = answered(a, 15)
    kept = np.random.default_rng(0).random(len(y)) < 0.8
    given_all = GroupInference(**QUICK).fit(X, y, values, sample_weight=kept.astype(float))
    spoilt = np.where(kept, values, 1 - a)
    again = GroupInference(**QUICK).fit(X, y, spoilt, sample_weight=kept.astype(float))
    assert np.allclose(given_all.label_distributions_, again.label_distributions_)


def test_clone_pickle_and_new_samples():
    X, y, a = data()
    values, _ = answered(a, 15)
    inference = clone(GroupInference(**QUICK)).fit(X, y, values)
    again = pickle.loads(pickle.dumps(inference))
    X2, y2, a2 = data(seed=5)
    assert np.array_equal(again.predict(X2, y2), inference.predict(X2, y2))
    assert np.mean(inference.predict(X2, y2) == a2) > 0.9
    assert np.allclose(inference.predict_proba(X2).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attribute": np.full(60, -1)}, "unknown for all samples"),
        ({"attribute": np.zeros(59, dtype=int)}, "59 values but there are 60"),
        ({"y": np.zeros(59)}, "59 labels but there are 60"),
        ({"feature_sets": {}}, "No feature set was passed"),
        ({"feature_sets": {"a": np.zeros((60, 2)), "b": np.zeros((59, 2))}}, "different numbers"),
        ({"feature_sets": np.full((60, 2), np.nan)}, "NaN"),
        ({"attribute": [1, "a", *[None] * 58]}, "mixes labels"),
        ({"attribute": np.linspace(0, 1, 60)}, "Unknown label type"),
    ],
)
def test_bad_input_is_named(change, message):
    X, y, a = data(n=60)
    arguments = {"feature_sets": X, "y": y, "attribute": a} | change
    with pytest.raises(ValueError, match=message):
        GroupInference(**QUICK).fit(**arguments)
    for penalties in ([], [("l3", 1.0)], [("l1", 0)], ["l1"], [("l1", "x")]):
        with pytest.raises(InputError, match="penalties must be pairs"):
            GroupInference(penalties=penalties).fit(X, y, a)


# -- answers that are wrong, and answers about nothing ---------------------------------------------


def asked_in_every_group(y, a, n, seed):
    """The attribute of n samples of every class and value, unknown elsewhere."""
    values, known = answered(2 * y + a, n, seed=seed)
    return np.where(values < 0, -1, a), known


def with_errors(values, known, share, seed):
    """Answers of somebody who takes one value of two for the other, so often."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(known, round(share * len(known)), replace=False)
    said = values.copy()
    said[wrong] = 1 - said[wrong]
    return said, wrong


def test_how_many_answers_are_wrong_is_estimated_and_which_is_seen():
    seen = []
    for seed in range(2):
        X, y, a = data(seed=seed, clear=5.0)
        values, known = asked_in_every_group(y, a, 12, seed)
        right = GroupInference(**QUICK).fit(X, y, values)
        said, wrong = with_errors(values, known, 0.15, seed)
        spoilt = GroupInference(**QUICK).fit(X, y, said)
        assert right.answer_error_ < 0.05 < spoilt.answer_error_
        seen.append(np.mean(spoilt.weights_[wrong] < 0.5))
        assert spoilt.weights_[np.setdiff1d(known, wrong)].mean() > 0.9
        fixed = GroupInference(**QUICK, answer_error=0.1).fit(X, y, said)
        assert fixed.answer_error_ == pytest.approx(0.1)
    assert np.mean(seen) > 0.5


@pytest.mark.more
@pytest.mark.parametrize("share", [0.1])
def test_wrong_answers_cost_little(share):
    X, y, a = data(n=1500, share=0.9, width=20)
    X_test, y_test, a_test = data(seed=9, n=2000, share=0.0, width=20)

    def worst(values):
        clf = DFRClassifier(variant="weighted", C=0.1, group_inference=GroupInference(**QUICK))
        clf.fit(X, y, attribute=values)
        return worst_group_accuracy(y_test, clf.predict(X_test), groups=2 * y_test + a_test)

    costs = []
    for seed in range(5):
        values, known = asked_in_every_group(y, a, 12, seed)
        costs.append(worst(values) - worst(with_errors(values, known, share, seed)[0]))
    assert np.mean(costs) < 0.05


@pytest.mark.more
@pytest.mark.parametrize("n_answers", [12])
def test_answers_about_something_else_do_little_harm(n_answers):
    losses = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y, a = rng.integers(0, 2, (2, 1200))
        X, X_test = rng.normal(size=(1200, 10)), rng.normal(size=(4000, 10))
        y_test = rng.integers(0, 2, 4000)
        X[:, 0] += 2 * y
        X_test[:, 0] += 2 * y_test
        values = np.where(np.arange(1200) < n_answers, a, -1)
        inference = GroupInference(**QUICK | {"random_state": seed}, min_accuracy=0)
        answers = DFRClassifier(variant="weighted", C=0.01, group_inference=inference)
        answers.fit(X, y, attribute=values)
        plain = DFRClassifier(variant="weighted", C=0.01).fit(X, y, groups=y)
        losses.append(plain.score(X_test, y_test) - answers.score(X_test, y_test))
    assert np.mean(losses) < 0.05


# -- estimators that take partial groups -----------------------------------------------------------


@pytest.mark.parametrize(
    "clf",
    [
        DFRClassifier(n_retrains=3, Cs=[0.1], random_state=0),
        DFRClassifier(variant="weighted", C=1.0),
        DFRClassifier(variant="weighted", random_state=0),
        GroupDROClassifier(eta=0.1),
    ],
    ids=str,
)
def test_a_few_answers_do_what_all_groups_do(clf):
    X, y, a = data(n=1500, share=0.96)
    X_test, y_test, a_test = data(seed=9, n=2000, share=0.0)
    groups, feature_sets = 2 * y + a, {"embedding": X}

    def worst(**labels):
        fitted = clone(clf).set_params(group_inference=GroupInference(**QUICK)).fit(X, y, **labels)
        return worst_group_accuracy(y_test, fitted.predict(X_test), groups=2 * y_test + a_test)

    values, _ = answered(a, 20)
    everything = worst(groups=groups)
    assert worst(attribute=values) > everything - 0.06
    assert worst(attribute=values, feature_sets=feature_sets) > everything - 0.06
    by_class = worst(groups=y)
    assert worst(groups=answered(groups, 10)[0]) > (everything + by_class) / 2
    if not (isinstance(clf, DFRClassifier) and clf.variant == "subsample"):
        assert worst(attribute=a) == everything


def test_nothing_changes_where_all_groups_are_known():
    X, y, a = data()
    clf = DFRClassifier(variant="weighted", C=1.0).fit(X, y, groups=2 * y + a)
    assert clf.group_inference_ is None
    names = DFRClassifier(variant="weighted", C=1.0).fit(X, y, attribute=a)
    assert names.groups_.tolist() == ["0 × 0", "0 × 1", "1 × 0", "1 × 1"]
    assert np.array_equal(names.coef_, clf.coef_)


def test_classes_as_groups_may_be_called_minus_one():
    X, y, _ = data()
    signed = 2 * y - 1
    clf = DFRClassifier(variant="weighted", C=1.0).fit(X, signed, groups=signed)
    assert clf.group_inference_ is None
    assert clf.groups_.tolist() == [-1, 1]


def test_groups_stay_within_their_class():
    X, y, a = data()
    values, _ = answered(2 * y + a, 12)
    clf = DFRClassifier(variant="weighted", C=1.0, group_inference=GroupInference(**QUICK))
    clf.fit(X, y, groups=values)
    assert np.array_equal(clf.group_inference_.transduction_ // 2, y)


def test_where_nothing_reads_it_the_others_of_a_class_are_one_more_group():
    X, y, a = data(clear=0.0)
    values, _ = asked_in_every_group(y, a, 5, seed=0)
    for clf in (DFRClassifier(variant="weighted", C=1.0), GroupDROClassifier(eta=0.1)):
        clf.group_inference = GroupInference(**QUICK, min_accuracy=1.0)
        with pytest.warns(UserWarning, match="samples of a class without it are one more group"):
            clf.fit(X, y, attribute=values)
        assert clf.group_inference_.feature_set_ is None
        groups = np.where(values >= 0, 2 * y + a, 4 + y)
        by_hand = clone(clf).fit(X, y, groups=groups)
        assert np.allclose(clf.coef_, by_hand.coef_, atol=1e-3)
        assert clf.groups_.tolist()[4:] == ["0 × unknown", "1 × unknown"]


def test_where_nothing_reads_it_and_a_group_is_not_known_the_classes_are_balanced():
    """Known groups alone would be worse: what was labelled makes the attribute a shortcut."""
    X, y, a = data(clear=0.0)
    values, _ = asked_in_every_group(y, a, 5, seed=0)
    values[np.flatnonzero((y == 1) & (values == 0))[2:]] = -1
    clf = DFRClassifier(variant="weighted", C=0.1)
    clf.group_inference = GroupInference(**QUICK, min_accuracy=1.0)
    with pytest.warns(UserWarning, match="balances only the classes"):
        clf.fit(X, y, attribute=values)
    plain = DFRClassifier(variant="weighted", C=0.1).fit(X, y, groups=y)
    assert np.array_equal(clf.coef_, plain.coef_)


def test_doubtful_members_do_not_outweigh_known_ones():
    """A group with inferred members of purity ρ weighs as its mean's squared error tells."""
    X, y, a = data(clear=1.0, n=2000)
    values, known = asked_in_every_group(y, a, 6, seed=0)
    inference = GroupInference(**QUICK, min_accuracy=0).fit(X, y, values)
    q, weight = inference.label_distributions_, inference.weights_
    group, probability = 2 * y + q.argmax(axis=1), q.max(axis=1)
    inferred = np.setdiff1d(np.arange(len(y)), known)
    assert weight[known].min() > 0.9
    for g in range(4):
        members = inferred[group[inferred] == g]
        times = 1 + 4 * len(members) * (1 - probability[members].mean()) ** 2
        assert np.allclose(weight[members] * times, probability[members])
    clear, _, b = data(clear=9.0, n=2000)
    sure = GroupInference(**QUICK).fit(clear, y, np.where(values < 0, -1, b))
    assert sure.weights_.min() > 0.8


def test_bad_partial_labels_are_named():
    X, y, _ = data(n=60)
    for labels, message in (
        ({"groups": np.zeros(60, int), "attribute": np.zeros(60, int)}, "not both"),
        ({"attribute": np.full(60, -1)}, "needs the attribute of some samples"),
        ({"attribute": np.zeros(3)}, r"got shape \(3,\)"),
    ):
        for clf in (DFRClassifier(), GroupDROClassifier()):
            with pytest.raises(InputError, match=message):
                clf.fit(X, y, **labels)

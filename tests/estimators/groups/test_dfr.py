"""DFRClassifier: balance, averaging and folding against scikit-learn's own fits."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import DFRClassifier, GroupDROClassifier, GroupInference
from ntkit.exceptions import InputError
from ntkit.metrics import worst_group_accuracy
from ntkit.scorers import worst_group_scorer
from ntkit.study import Rows
from tests.estimators.samples import grouped as data


@pytest.mark.parametrize("n_classes", [2, 3])
def test_with_balanced_groups_it_is_scikit_learns_l1_fit(n_classes):
    X, y, groups = data(n_classes=n_classes, n=1200)
    smallest = np.bincount(groups).min()
    kept = np.concatenate([np.flatnonzero(groups == g)[:smallest] for g in np.unique(groups)])
    X, y, groups = X[kept], y[kept], groups[kept]
    clf = DFRClassifier(Cs=[0.1], n_retrains=2, tol=1e-7, max_iter=20_000, random_state=0)
    clf.fit(X, y, groups=groups)
    solver = "liblinear" if n_classes == 2 else "saga"
    lr = LogisticRegression(
        C=0.1, l1_ratio=1, solver=solver, tol=1e-7, max_iter=20_000, random_state=0
    )
    expected = make_pipeline(StandardScaler(), lr).fit(X, y)
    assert np.allclose(clf.predict_proba(X), expected.predict_proba(X), atol=1e-4)
    assert np.array_equal((clf.coef_ == 0).all(axis=0), (lr.coef_ == 0).all(axis=0))
    assert clf.coef_.shape == (1 if n_classes == 2 else 3, 8)


@given(st.lists(st.integers(0, 4), min_size=8, max_size=60), st.integers(0, 1000))
def test_a_draw_takes_as_many_of_every_group(groups, seed):
    group = np.unique(groups, return_inverse=True)[1]
    rows = Rows.of(np.zeros((len(group), 1)))
    clf = DFRClassifier()
    clf.classes_ = np.array([0])
    drawn = clf._balanced_draw(rows, group, np.random.RandomState(seed))
    assert len(np.unique(drawn)) == len(drawn)
    assert np.bincount(group[drawn]).tolist() == [np.bincount(group).min()] * (group.max() + 1)


def test_the_head_is_the_mean_of_the_retrained_ones():
    X, y, groups = data()
    clf = DFRClassifier(Cs=[0.3], n_retrains=3, random_state=5).fit(X, y, groups=groups)
    rows = clf._rows(X, y, None)
    rng = np.random.RandomState(5)
    scaler = StandardScaler().fit(X)
    coefs = []
    for _ in range(3):
        drawn = clf._balanced_draw(rows, groups, rng)
        lr = LogisticRegression(C=0.3, l1_ratio=1, solver="liblinear")
        lr.set_params(random_state=int(rng.randint(np.iinfo(np.int32).max)))
        lr.fit(scaler.transform(X[drawn]), y[drawn])
        coefs.append(np.append(lr.coef_, lr.intercept_))
    mean = np.mean(coefs, axis=0)
    logits = scaler.transform(X) @ mean[:-1] + mean[-1]
    assert np.allclose(clf.decision_function(X), logits, atol=1e-10)


def test_C_is_the_one_of_the_best_worst_group_accuracy():
    for seed in (1, 5):  # here the best mean accuracy has another C
        X, y, groups = data(seed, n=300, share=0.5)
        X += 3 * np.random.default_rng(seed).normal(size=X.shape)
        clf = DFRClassifier(n_retrains=1, random_state=0).fit(X, y, groups=groups)
        assert clf.worst_group_accuracy_.shape == (7,)
        chosen = clf.worst_group_accuracy_[np.isclose(clf.Cs, clf.C_)]
        assert chosen == clf.worst_group_accuracy_.max()
    assert len(np.unique(clf.worst_group_accuracy_)) > 1
    shuffled = clone(clf).set_params(Cs=clf.Cs[::-1]).fit(X, y, groups=groups)
    assert shuffled.C_ == clf.C_
    assert np.array_equal(shuffled.worst_group_accuracy_, clf.worst_group_accuracy_[::-1])


def test_of_equally_good_C_the_largest_is_taken():
    """As np.argmax takes it in the authors' script, whose grid falls."""
    rng = np.random.default_rng(0)
    y, attribute = np.arange(400) % 2, np.arange(400) // 2 % 2
    X = np.column_stack([8.0 * y, 8.0 * attribute]) + rng.normal(size=(400, 2))
    clf = DFRClassifier(Cs=(0.3, 1.0, 0.1), n_retrains=1, random_state=0)
    clf.fit(X, y, groups=2 * y + attribute)
    assert clf.worst_group_accuracy_.tolist() == [1.0, 1.0, 1.0]
    assert clf.C_ == 1.0


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=5, deadline=None)
def test_weighted_is_scikit_learns_weighted_fit(seed, n_classes):
    X, y, groups = data(seed, n=300, n_classes=n_classes)
    X = X - 3  # or scikit-learn's solver needs many more iterations
    s = np.random.default_rng(seed).integers(1, 4, len(y)).astype(float)
    _, group = np.unique(groups, return_inverse=True)
    mass = np.bincount(group, weights=s)
    weight = (s / mass[group]) * s.sum() / len(mass)
    clf = DFRClassifier(variant="weighted", C=0.5, tol=1e-9, max_iter=5000)
    clf.fit(X, y, s, groups=groups)
    lr = LogisticRegression(C=0.5, tol=1e-10, max_iter=20_000).fit(X, y, sample_weight=weight)
    assert np.allclose(clf.predict_proba(X), lr.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_random_state_decides_everything_and_threads_nothing(n_classes):
    X, y, groups = data(n_classes=n_classes)
    clf = DFRClassifier(n_retrains=4, random_state=0)
    first = clone(clf).fit(X, y, groups=groups)
    threads = clone(clf).set_params(n_jobs=2).fit(X, y, groups=groups)
    other = clone(clf).set_params(random_state=1).fit(X, y, groups=groups)
    assert first.head_ == threads.head_
    assert first.head_ != other.head_


@pytest.mark.parametrize("variant", ["subsample", "weighted"])
def test_labels_and_groups_of_any_type_and_float32(variant):
    X, y, groups = data(dtype=np.float32)
    clf = DFRClassifier(variant=variant, n_retrains=2, random_state=0)
    plain = clone(clf).fit(X, y, groups=groups)
    assert plain.coef_.dtype == plain.intercept_.dtype == np.float32
    names = np.array(["g0", "g1", "g2", "g3"])
    text = names[groups]
    kinds = [text, text.astype(object), groups.astype(float), groups.tolist()]
    kinds += [pd.Series(text, dtype="string"), pd.Categorical(text), groups.reshape(-1, 1)]
    for labels in kinds:
        named = clone(clf).fit(X, np.array(["ja", "nein"])[y], groups=labels)
        assert np.array_equal(named.coef_, plain.coef_)
        assert named.groups_.shape == (4,)
    assert named.classes_.tolist() == ["ja", "nein"]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_few_iterations_make_no_noise(n_classes):
    X, y, groups = data(n_classes=n_classes)
    clf = DFRClassifier(max_iter=1, n_retrains=2, random_state=0, n_jobs=2)
    clf.fit(X, y, groups=groups)  # warnings are errors here
    assert clf.n_iter_.tolist() == [1]


def test_of_several_classes_the_fit_of_each_C_goes_on_from_the_one_before():
    X, y, groups = data(n_classes=3)
    clf = DFRClassifier(Cs=[1.0] * 9, n_retrains=1, max_iter=1, random_state=0)
    worst = clf.fit(X, y, groups=groups).worst_group_accuracy_
    assert worst[-1] > worst[0] + 0.1


def test_a_group_of_one_sample_is_tuned_in_sample_and_says_so():
    X, y, groups = data(n=200)
    groups = np.where(np.arange(200) == np.flatnonzero(groups == 1)[0], 99, groups)
    clf = DFRClassifier(n_retrains=3, random_state=0)
    with pytest.warns(UserWarning, match="single sample"):
        clf.fit(X, y, groups=groups)
    assert clf.group_counts_.tolist()[-1] == 1
    clone(clf).set_params(Cs=[1.0]).fit(X, y, groups=groups)  # warnings are errors here


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "needs the group of every sample; pass groups="),
        ([], r"shape \(60,\); got shape \(0,\)"),
        (np.zeros(59), r"got shape \(59,\)"),
        (np.zeros((60, 2)), r"got shape \(60, 2\)"),
        (np.full(60, -1), "needs the group of some samples"),
        ([pd.NA] * 60, "needs the group of some samples"),
        (np.array([np.datetime64("NaT", "D")] * 60), "needs the group of some samples"),
        (np.where(np.arange(60) < 9, 1, -1), "only -1 and 1"),
        (np.array([1, *["a"] * 59], dtype=object), "types that do not compa"),
    ],
)
@pytest.mark.parametrize("variant", ["subsample", "weighted"])
def test_bad_groups_are_named(variant, groups, message):
    X, y, _ = data(n=60)
    with pytest.raises(InputError, match=message):
        DFRClassifier(variant=variant).fit(X, y, groups=groups)


def test_a_group_without_weight_is_named():
    X, y, groups = data(n=100)
    with pytest.raises(InputError, match="group 3 has no sample of positive weight"):
        DFRClassifier().fit(X, y, (groups != 3).astype(float), groups=groups)


def test_a_class_that_no_draw_holds_is_named():
    X, y, _ = data(n=400, n_classes=3)
    y[y == 2] = 0
    y[:2] = 2
    groups = np.where(np.arange(400) < 200, "a", "b")
    groups[-1] = "c"  # so a draw holds three samples, hardly ever of three classes
    y[-1] = 0
    labels = np.array(["x", "y", "z"], dtype=object)[y]
    with pytest.raises(InputError, match=r"had no sample of class '[yz]'; pass groups that lie"):
        DFRClassifier(Cs=[1.0], random_state=0).fit(X, labels, groups=groups)


@pytest.mark.parametrize("clf", [DFRClassifier(variant="weighted"), GroupDROClassifier(tol=0.05)])
def test_partial_groups_and_feature_sets_are_routed_with_the_folds(clf):
    """A matrix of the same rows predicts what the scaled embedding does not."""
    X, y, groups = data(n=300)
    rng = np.random.default_rng(0)
    known = np.where(rng.random(300) < 0.3, groups % 2, -1)
    words = groups[:, None] % 2 + 0.1 * rng.normal(size=(300, 1))
    clf.set_params(group_inference=GroupInference(penalties=[("l2", 0.1)], cv=2, random_state=0))
    cv = StratifiedKFold(2)
    with sklearn.config_context(enable_metadata_routing=True):
        clf.set_fit_request(attribute=True, feature_sets=True)
        params = {"attribute": known, "feature_sets": words, "sensitive": groups}
        options = {"cv": cv, "return_estimator": True, "error_score": "raise"}
        options |= {"scoring": worst_group_scorer(), "params": params}
        found = cross_validate(make_pipeline(StandardScaler(), clf), X, y, **options)
        with pytest.raises(Exception, match="groups"):  # neither asked for nor declined
            make_pipeline(StandardScaler(), clone(clf)).fit(X, y, groups=groups)
    for fitted, score, (train, test) in zip(
        found["estimator"], found["test_score"], cv.split(X, y), strict=True
    ):
        inference = fitted[-1].group_inference_
        own = clone(clf.group_inference).fit(words[train], y[train], known[train])
        assert np.array_equal(inference.transduction_, own.transduction_)
        pred = fitted.predict(X[test])
        assert score == worst_group_accuracy(y[test], pred, groups=groups[test])


@pytest.mark.more
@pytest.mark.parametrize(
    "estimator", [DFRClassifier(Cs=[1.0], random_state=0), GroupDROClassifier()]
)
@pytest.mark.parametrize("argument", ["groups", "attribute"])
def test_the_text_that_numpy_makes_of_nan_is_unknown(estimator, argument):
    X, y, groups = data(n=300)
    labels = np.array(["a", "b", "c", "d"])[groups if argument == "groups" else groups % 2]
    known = np.where(np.arange(300) % 3 == 0, None, labels.astype(object))
    texts = np.array([np.nan if each is None else each for each in known])
    wanted = clone(estimator).fit(X, y, **{argument: known})
    with pytest.warns(UserWarning, match=f"^{argument}: these texts mean that the value is unk"):
        found = clone(estimator).fit(X, y, **{argument: texts})
    assert found.head_ == wanted.head_
    classes = np.array(["NA", "b"])[y]  # classes as groups may have any name
    assert clone(estimator).fit(X, classes, groups=classes).groups_.tolist() == ["NA", "b"]

"""AutoDebiasClassifier: balanced errors, if they can be learned; classes and attributes."""

import tracemalloc

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import AutoDebiasClassifier
from ntkit.exceptions import InputError
from ntkit.study import group_balanced


def groups(seed, n, bias=0.95, noise=0.5, width=6):
    """Two classes, an attribute that goes with the class in a share ``bias`` of the samples."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < bias, y, 1 - y)
    X = np.column_stack([2 * y - 1 + noise * rng.normal(size=n), 2 * (2 * a - 1.0)])
    X = np.column_stack([X, rng.normal(size=(n, width - 2))])
    X[:, 1] += 0.3 * rng.normal(size=n)
    return X + 3, y, 2 * y + a


def worst_group(clf, X, y, group):
    return min((clf.predict(X) == y)[group == g].mean() for g in range(4))


def test_errors_that_can_be_learned_balance_the_cells():
    X, y, _ = groups(2, 1500)
    X_val, y_val, _ = groups(3, 500)
    test = groups(4, 2000, bias=0.5)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert clf.recipe_ == "cell-balanced"
    assert clf.error_recovery_ >= 0.08
    assert f"fixes at least {100 * clf.error_recovery_:.0f} % of these" in clf.reason_
    before = worst_group(clf.baseline_head_, *test)
    assert worst_group(clf, *test) > before + 0.1
    ordered = clone(clf).set_params(recipe=clf.recipe_, alphas=(clf.alpha_,))
    assert np.array_equal(ordered.fit(X, y, X_val=X_val, y_val=y_val).coef_, clf.coef_)
    again = AutoDebiasClassifier(random_state=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert np.array_equal(again.coef_, clf.coef_)


def test_many_errors_are_noise():
    X, y, _ = groups(5, 1000, noise=3, bias=0.6)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y)
    assert clf.recipe_ == "class-balanced"
    assert "too few to distinguish bias from noise" in clf.reason_
    assert clf.error_recovery_ < 0.08
    assert clf.class_errors_.mean() > 0.1


def test_errors_of_the_baselines_penalty_are_no_bias():
    """Two neurons whose small difference is the class: any weaker penalty fixes these errors."""
    rng = np.random.default_rng(0)
    y, u = rng.integers(0, 2, 1500), rng.normal(size=1500)
    X = np.column_stack([u + 0.3 * (2 * y - 1) + 0.15 * rng.normal(size=1500), u])
    clf = AutoDebiasClassifier(random_state=0).fit(X, y)
    assert clf.recipe_ == "class-balanced"
    assert clf.error_recovery_ > 0.5
    assert "% of these errors. But" in clf.reason_


@pytest.mark.parametrize("turned", [0, 1, 10, 20, 60, 160])
def test_turned_labels_are_no_bias(turned):
    """One wrong label carried half of its class, and the worst class fell to 45 %."""
    rng = np.random.default_rng(turned)
    y = rng.integers(0, 2, 4000)
    X = rng.normal(size=(4000, 20))
    X[:, 0] += 5 * (y - 0.5)
    labels = y.copy()
    labels[:turned] = 1 - labels[:turned]
    held = {"X_val": X[2000:2500], "y_val": labels[2000:2500]} if turned % 20 else {}
    clf = AutoDebiasClassifier(random_state=0).fit(X[:2000], labels[:2000], **held)
    worst = min((clf.predict(X[2500:]) == y[2500:])[y[2500:] == k].mean() for k in (0, 1))
    assert clf.recipe_ == "class-balanced"
    assert worst > 0.97
    assert np.isnan(clf.error_recovery_) == ("Too few classes have 10 errors" in clf.reason_)


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_a_few_dozen_errors_of_a_small_set_are_no_bias(noise):
    """On this draw balancing the cells took the accuracy from 99 % to 84 and 70."""
    rng = np.random.default_rng(40)
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    rng.integers(1, 2, len(y))
    labels = np.where(rng.random(len(y)) < noise, 1 - y, y)
    rest, test = train_test_split(np.arange(len(y)), test_size=1 / 3, stratify=y, random_state=40)
    train, held = train_test_split(rest, test_size=1 / 3, stratify=y[rest], random_state=40)
    clf = AutoDebiasClassifier(random_state=40)
    clf.fit(X[train], labels[train], X_val=X[held], y_val=labels[held])
    assert clf.recipe_ == "class-balanced"
    assert clf.score(X[test], y[test]) > 0.95


@pytest.mark.parametrize("scale", [1e-3, 1000])
def test_the_scales_of_sample_weights_and_embeddings_decide_nothing(scale):
    X, y, _ = groups(2, 1500)
    X_val, y_val, _ = groups(3, 500, bias=0.8)
    rng = np.random.default_rng(0)
    weight, weight_val = rng.uniform(0.5, 2, 1500), rng.uniform(0.5, 2, 500)
    scales = np.geomspace(1, scale, X.shape[1])
    one, other = (
        AutoDebiasClassifier(random_state=0).fit(
            X * by - 7, y, f * weight, X_val=X_val * by - 7, y_val=y_val,
            sample_weight_val=f * weight_val,
        )
        for f, by in ((1, np.ones(X.shape[1])), (scale, scales))
    )  # fmt: skip
    assert (one.recipe_, one.alpha_) == (other.recipe_, other.alpha_)
    assert np.allclose(one.predict_proba(X - 7), other.predict_proba(X * scales - 7), atol=2e-3)


def test_what_you_know_decides():
    X, y, _ = groups(6, 1000)
    X_val, y_val, _ = groups(7, 600, bias=0.5)
    for recipe in ("class-balanced", "cell-balanced", "class-balanced on X_val"):
        clf = AutoDebiasClassifier(recipe=recipe, random_state=0)
        clf.fit(X, y, X_val=X_val, y_val=y_val)
        assert clf.recipe_ == recipe
        assert clf.reason_.startswith("You chose it: ")
        assert np.isnan(clf.error_recovery_)
    scale = StandardScaler().fit(X)
    C = 1 / (600 * clf.alpha_)
    other = LogisticRegression(C=C, class_weight="balanced", tol=1e-9, max_iter=9999)
    other.fit(scale.transform(X_val), y_val)
    expected = other.predict_proba(scale.transform(X))
    assert np.allclose(clf.predict_proba(X), expected, atol=1e-3)
    with pytest.raises(ValueError, match="needs X_val"):
        AutoDebiasClassifier(recipe="class-balanced on X_val").fit(X, y)


def test_one_of_the_alphas_is_chosen():
    with pytest.raises(ValueError, match="alphas must be positive"):
        AutoDebiasClassifier(alphas=(0.1, -1.0)).fit([[0.0], [1.0]], [0, 1])
    few = AutoDebiasClassifier(alphas=(0.3, 30.0)).fit([[0.0], [1.0], [1.5]], [0, 1, 1])
    assert few.alpha_ in (0.3, 30.0)


@pytest.mark.more
def test_mapped_embeddings_are_not_copied(tmp_path):
    """Both sets are read where they lie: the same head, within rounding, in less memory."""
    X, y, _ = groups(2, 30_000, width=120)
    X_val, y_val, _ = groups(3, 600, width=120)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    parameters = {"alphas": (1.0,), "random_state": 0}
    expected = AutoDebiasClassifier(**parameters).fit(X, y, X_val=X_val, y_val=y_val)
    with config_context(working_memory=1):
        tracemalloc.start()
        clf = AutoDebiasClassifier(**parameters).fit(mapped, y, X_val=X_val, y_val=y_val)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert clf.recipe_ == "cell-balanced"
    assert np.allclose(clf.coef_, expected.coef_, atol=1e-3 * np.abs(expected.coef_).max())
    assert peak < X.nbytes / 2


# -- attributes that are told: balanced over as scikit-learn would, or refused --------------------


def test_named_attributes_are_balanced_as_scikit_learn_would():
    X, y, group = groups(2, 600)
    a, names = group % 2, np.array(["ham", "spam"])[y]
    clf = AutoDebiasClassifier(recipe="group-balanced", alphas=[0.1], tol=1e-10)
    clf.fit(X, names, attributes=a)
    weight = group_balanced(np.ones(600), y, a[:, None])
    assert np.ptp([weight[group == g].sum() for g in range(4)]) < 1e-9
    other = LogisticRegression(C=1 / 60, tol=1e-10, max_iter=10_000)
    other.fit(StandardScaler().fit_transform(X), names, sample_weight=weight)
    assert clf.coef_ * X.std(axis=0) == pytest.approx(other.coef_, abs=1e-5)
    assert clf.values_.tolist() == a[:, None].tolist()


def test_several_attributes_of_several_values_some_of_them_unknown():
    X, y, group = groups(3, 1600, noise=1.0)
    site = np.random.default_rng(0).integers(0, 4, len(y))
    named = np.column_stack([np.where(np.arange(len(y)) % 5, group % 2, -1), site])
    clf = AutoDebiasClassifier(recipe="group-balanced", random_state=0).fit(X, y, attributes=named)
    plain = AutoDebiasClassifier(recipe="class-balanced", random_state=0).fit(X, y)
    test = groups(99, 1600, noise=1.0, bias=0.5)
    assert worst_group(clf, *test) > worst_group(plain, *test) + 0.1
    # A group of one sample, and a class without a value, do not cause a failure.
    for attributes in (np.arange(len(y)) == 0, y == 1):
        clf = AutoDebiasClassifier(recipe="group-balanced")
        clf.fit(X, y, attributes=attributes.astype(int))


X60, Y60, _ = groups(0, 60)
VAL = {"X_val": X60, "y_val": Y60, "attributes": np.zeros((60, 5))}


@pytest.mark.parametrize(
    ("given", "recipe", "message"),
    [
        ({}, "group-balanced", "needs attributes"),
        ({"attributes": np.zeros((5, 1))}, "group-balanced", "one row for each of 60 samples"),
        ({"attributes": np.full((60, 1), 0.5)}, "group-balanced", "not whole numbers"),
        ({"attributes": [["a"]] * 60}, "group-balanced", "must be numbers"),
        ({"attributes": np.zeros((60, 1))}, "auto", "recipe='group-balanced'"),
        (VAL, "group-balanced", "attributes_val"),
        (VAL | {"attributes_val": np.zeros((60, 3))}, "group-balanced", "5 columns and .* 3"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(given, recipe, message):
    with pytest.raises(InputError, match=message):
        AutoDebiasClassifier(recipe=recipe).fit(X60, Y60, **given)

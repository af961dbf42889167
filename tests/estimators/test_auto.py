import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import AutoDebiasClassifier
from ntkit.estimators._stacked import stacked


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


def test_a_better_balanced_held_out_set_is_retrained_on():
    X, y, _ = groups(0, 1500)
    X_val, y_val, _ = groups(1, 600, bias=0.5)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert clf.recipe_ == "class-balanced on X_val"
    assert clf.shift_ > 4
    scaled = make_pipeline(
        StandardScaler().fit(X),
        LogisticRegression(
            C=1 / (600 * clf.alpha_), class_weight="balanced", tol=1e-9, max_iter=9999
        ),
    )
    scaled[-1].fit(scaled[0].transform(X_val), y_val)
    assert np.allclose(clf.predict_proba(X), scaled.predict_proba(X), atol=1e-3)


def test_few_errors_and_no_shift_balance_the_cells():
    X, y, _ = groups(2, 1500)
    X_val, y_val, _ = groups(3, 500)
    X_test, y_test, g_test = groups(4, 2000, bias=0.5)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert clf.recipe_ == "cell-balanced"
    assert abs(clf.shift_) < 4
    before = worst_group(clf.reference_head_, X_test, y_test, g_test)
    assert worst_group(clf, X_test, y_test, g_test) > before + 0.1


def test_many_errors_are_noise():
    X, y, _ = groups(5, 1000, noise=3, bias=0.6)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y)
    assert clf.recipe_ == "class-balanced"
    assert "noise" in clf.reason_
    assert np.isnan(clf.shift_)
    assert clf.class_errors_.mean() > 0.1


def test_gates_are_parameters():
    X, y, _ = groups(6, 1000)
    assert AutoDebiasClassifier(max_error=0.0, random_state=0).fit(X, y).recipe_ == "class-balanced"
    X_val, y_val, _ = groups(7, 600, bias=0.5)
    fixed = AutoDebiasClassifier(max_shift=1e9, random_state=0)
    assert fixed.fit(X, y, X_val=X_val, y_val=y_val).recipe_ == "cell-balanced"


def test_scale_of_the_embeddings_does_not_matter():
    X, y, _ = groups(8, 800)
    scales = np.geomspace(0.01, 100, X.shape[1])
    one = AutoDebiasClassifier(random_state=0).fit(X, y)
    other = AutoDebiasClassifier(random_state=0).fit(X * scales - 7, y)
    assert one.recipe_ == other.recipe_
    assert np.allclose(one.predict_proba(X), other.predict_proba(X * scales - 7), atol=1e-3)


def test_same_seed_same_head():
    X, y, _ = groups(9, 500)
    first, second = (AutoDebiasClassifier(random_state=3).fit(X, y) for _ in range(2))
    assert np.array_equal(first.coef_, second.coef_)


def test_labels_of_x_val_must_be_known():
    X, y, _ = groups(10, 300)
    with pytest.raises(ValueError, match="does not"):
        AutoDebiasClassifier().fit(X, y, X_val=X, y_val=y + 5)


def test_many_classes_are_no_shift():
    """The sum of many z spreads more than that of two; the gate takes that into account."""
    shifts = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        y, centres = rng.integers(0, 40, 8000), rng.normal(size=(40, 8))
        X = centres[y] + 0.5 * rng.normal(size=(8000, 8))
        clf = AutoDebiasClassifier(alphas=(1.0,), random_state=0)
        clf.fit(X[:6000], y[:6000], X_val=X[6000:], y_val=y[6000:])
        shifts.append(clf.shift_)
    assert np.max(shifts) < 4
    assert np.std(shifts) < 2.2  # √2 where nothing else plays in, √40 if it were not scaled


def test_mapped_embeddings_are_not_copied(tmp_path):
    """Both sets are read where they lie: the same head, within rounding, in less memory."""
    X, y, _ = groups(2, 30_000, width=40)
    X_val, y_val, _ = groups(3, 600, width=40)
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


@given(
    first=st.integers(0, 9), second=st.integers(0, 9), cut=st.slices(20), seed=st.integers(0, 99)
)
def test_stacked_rows_read_as_one_array(first, second, cut, seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(n, 3)) for n in (first, second)]
    path = tmp_path_factory.mktemp("stacked") / "part.npy"
    np.save(path, np.concatenate([parts[0], np.zeros((1, 3))]))  # an empty file cannot be mapped
    rows = stacked(np.load(path, mmap_mode="r")[:first], parts[1])
    whole = np.concatenate(parts)
    assume(cut.step is None or cut.step > 0)
    assert rows.shape == whole.shape
    assert np.array_equal(rows[cut], whole[cut])
    index = rng.integers(0, max(1, len(whole)), 5 if len(whole) else 0)
    assert np.array_equal(rows[index], whole[index])

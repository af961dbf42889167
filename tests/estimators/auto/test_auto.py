import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import fisher_exact, norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import AutoDebiasClassifier
from ntkit.solver._loss import stacked
from ntkit.study import Rows, shift_pvalue


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
    assert clf.shift_pvalue_ < 1e-9
    assert clf.validation_error_recovery_ > 0.25
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
    assert clf.shift_pvalue_ > 0.01
    before = worst_group(clf.baseline_head_, X_test, y_test, g_test)
    assert worst_group(clf, X_test, y_test, g_test) > before + 0.1


def test_many_errors_are_noise():
    X, y, _ = groups(5, 1000, noise=3, bias=0.6)
    clf = AutoDebiasClassifier(random_state=0).fit(X, y)
    assert clf.recipe_ == "class-balanced"
    assert "may be noise" in clf.reason_
    assert np.isnan(clf.shift_pvalue_)
    assert clf.class_errors_.mean() > 0.1


@pytest.mark.parametrize("turned", [0, 1, 10, 20, 60, 160])
@pytest.mark.parametrize("held_out", [False, True])
def test_turned_labels_are_no_bias(turned, held_out):
    """One wrong label carried half of its class, and the worst class fell to 45 %."""
    rng = np.random.default_rng(turned)
    y = rng.integers(0, 2, 4000)
    X = rng.normal(size=(4000, 20))
    X[:, 0] += 5 * (y - 0.5)
    labels = y.copy()
    labels[:turned] = 1 - labels[:turned]
    held = {"X_val": X[2000:2500], "y_val": labels[2000:2500]} if held_out else {}
    clf = AutoDebiasClassifier(random_state=0).fit(X[:2000], labels[:2000], **held)
    worst = min((clf.predict(X[2500:]) == y[2500:])[y[2500:] == k].mean() for k in (0, 1))
    assert clf.recipe_ == "class-balanced"
    assert worst > 0.97


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
    assert "too few to tell" in clf.reason_ or "may be noise" in clf.reason_
    assert clf.score(X[test], y[test]) > 0.95


def test_where_the_training_set_is_memorised_the_held_out_set_alone_is_looked_at():
    """Correct rows of T and wrong ones of H are T and H, which any head distinguishes."""
    X, y, _ = groups(11, 800)
    X[:, 3] = 2.0 * (2 * y - 1)  # what the network knows of the samples it has seen
    X_val, y_val, _ = groups(12, 3000)
    clf = AutoDebiasClassifier(validation_balanced=False, random_state=0)
    clf.fit(X, y, X_val=X_val, y_val=y_val)
    assert clf.shift_pvalue_ < 1e-6
    assert clf.recipe_ == "cell-balanced on X_val"
    alone = AutoDebiasClassifier(recipe="cell-balanced", alphas=(clf.alpha_,), random_state=0)
    scale = X.std(axis=0)  # the units of the penalty
    alone.fit(X_val / scale, y_val)
    asked = AutoDebiasClassifier(recipe=clf.recipe_, alphas=(clf.alpha_,), random_state=0)
    asked.fit(X, y, X_val=X_val[::2], y_val=y_val[::2])
    assert asked.recipe_ == clf.recipe_  # however few samples show it
    margins = clf.decision_function(X_val), alone.decision_function(X_val / scale)
    assert np.corrcoef(*margins)[0, 1] > 0.99


@pytest.mark.parametrize("memorised", [False, True])
def test_what_was_decided_is_repeated_by_its_attributes(memorised):
    """So do the halves that measure the accuracy cost; another baseline errs elsewhere."""
    X, y, _ = groups(11, 800, noise=1.5, bias=0.9)
    X_val, y_val, _ = groups(12, 3000)
    if memorised:  # in a direction of little variance, which a weak penalty finds
        X[:, 5] = X[:, 4] + 0.1 * (2 * y - 1)
        X_val[:, 5] = X_val[:, 4] + 0.1 * np.random.default_rng(0).choice([-1, 1], 3000)
    clf = AutoDebiasClassifier(validation_balanced=False, random_state=0)
    clf.fit(X, y, X_val=X_val, y_val=y_val)
    assert clf.recipe_ == "cell-balanced" + " on X_val" * memorised
    decided = {"recipe": clf.recipe_, "alphas": (clf.alpha_,)}
    decided["baseline_alpha"] = clf.baseline_alpha_
    again = clone(clf).set_params(**decided).fit(X, y, X_val=X_val, y_val=y_val)
    assert np.array_equal(again.coef_, clf.coef_)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_network_that_memorised_is_no_better_balance(noise):
    """The validation set is like the training set: more errors there prove nothing."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 2400)
    X = rng.normal(size=(2400, 20))
    X[:, :2] += 1.3 * (y - 0.5)[:, None]
    labels = np.where(rng.random(2400) < noise, 1 - y, y)
    network = MLPClassifier((64, 32), alpha=1e-6, max_iter=400, tol=0, n_iter_no_change=400)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.set_params(random_state=0).fit(X[:1000], labels[:1000])
    assert network.score(X[:1000], labels[:1000]) == 1
    Z = X
    for weight, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        Z = np.maximum(Z @ weight + bias, 0)
    clf = AutoDebiasClassifier(random_state=0)
    clf.fit(Z[:1000], labels[:1000], X_val=Z[1000:1800], y_val=labels[1000:1800])
    assert clf.shift_pvalue_ < 1e-6
    assert clf.recipe_ == "class-balanced"
    assert "memorised" in clf.reason_
    known = AutoDebiasClassifier(random_state=0, validation_balanced=True)
    known.fit(Z[:1000], labels[:1000], X_val=Z[1000:1800], y_val=labels[1000:1800])
    assert known.recipe_ == "class-balanced on X_val"


@pytest.mark.parametrize("scale", [1e-3, 1000])
def test_the_scale_of_sample_weights_decides_nothing(scale):
    X, y, _ = groups(2, 1500)
    X_val, y_val, _ = groups(3, 500, bias=0.8)
    rng = np.random.default_rng(0)
    weight, weight_val = rng.uniform(0.5, 2, 1500), rng.uniform(0.5, 2, 500)
    one, other = (
        AutoDebiasClassifier(random_state=0).fit(
            X, y, factor * weight, X_val=X_val, y_val=y_val, sample_weight_val=factor * weight_val
        )
        for factor in (1, scale)
    )
    assert one.recipe_ == other.recipe_
    assert one.shift_pvalue_ == pytest.approx(other.shift_pvalue_)
    assert one.alpha_ == other.alpha_
    assert np.allclose(one.coef_, other.coef_, atol=1e-3 * np.abs(one.coef_).max())


def test_what_you_know_decides():
    X, y, _ = groups(6, 1000)
    X_val, y_val, _ = groups(7, 600, bias=0.5)
    held = {"X_val": X_val, "y_val": y_val}
    for recipe in (
        "class-balanced",
        "cell-balanced",
        "class-balanced on X_val",
        "cell-balanced on X_val",
    ):
        clf = AutoDebiasClassifier(recipe=recipe, random_state=0).fit(X, y, **held)
        assert clf.recipe_ == recipe
        assert clf.reason_.startswith("You ")
    shut = AutoDebiasClassifier(shift_level=0, random_state=0)
    assert shut.fit(X, y, **held).recipe_ == "cell-balanced"
    unbalanced = AutoDebiasClassifier(validation_balanced=False, random_state=0)
    assert unbalanced.fit(X, y, **held).recipe_ != "class-balanced on X_val"
    with pytest.raises(ValueError, match="needs X_val"):
        AutoDebiasClassifier(recipe="class-balanced on X_val").fit(X, y)


@pytest.mark.parametrize("alphas", [(), (0.1, -1.0), (0.0,)])
def test_alphas_are_validated_and_one_of_them_is_chosen(alphas):
    X, y, _ = groups(6, 300)
    with pytest.raises(ValueError, match="alphas must be positive"):
        AutoDebiasClassifier(alphas=alphas).fit(X, y)
    few = AutoDebiasClassifier(alphas=(0.3, 30.0)).fit([[0.0], [1.0], [1.5]], [0, 1, 1])
    assert few.alpha_ in (0.3, 30.0)


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
    with pytest.raises(ValueError, match=r"which y .* lacks"):
        AutoDebiasClassifier().fit(X, y, X_val=X, y_val=y + 5)


@pytest.mark.parametrize(("n_classes", "n", "n_held"), [(2, 3000, 300), (20, 2000, 200)])
def test_held_out_sets_like_the_training_set_pass_for_shifted_as_rarely_as_asked(
    n_classes, n, n_held
):
    """Few errors, few validation samples a class, many classes: the test keeps its level."""
    pvalues = []
    rng = np.random.default_rng(0)
    for _ in range(30):
        y, centres = rng.integers(0, n_classes, n), 1.5 * rng.normal(size=(n_classes, 8))
        X = centres[y] + 0.5 * rng.normal(size=(n, 8))
        clf = AutoDebiasClassifier(alphas=(1.0,), tol=1e-3, random_state=0)
        clf.fit(X[n_held:], y[n_held:], X_val=X[:n_held], y_val=y[:n_held])
        pvalues.append(clf.shift_pvalue_)
    assert np.mean(np.array(pvalues) < 0.2) < 0.2 + 2 * np.sqrt(0.2 * 0.8 / 30)


@given(
    train=st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1)), min_size=2, max_size=6),
    held=st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), min_size=6, max_size=6),
)
def test_the_shift_test_is_fishers_and_mantel_haenszels(train, held):
    """Against SciPy's exact test in each class, and the textbook's sum over the tables."""
    tables = np.array(
        [
            [[round(share * n), n - round(share * n)] for n, share in side]
            for side in (held[: len(train)], train)
        ]
    )  # (held or train, class, wrong or right)
    rows, errors = [], []
    for side in tables:
        rows.append(
            Rows(
                np.zeros((side.sum(), 0)),
                np.repeat(np.arange(len(train)), side.sum(axis=1)),
                np.ones(side.sum()),
            )
        )
        errors.append(np.concatenate([np.arange(right + bad) < bad for bad, right in side]))
    exact = min(fisher_exact(tables[:, k], "greater").pvalue for k in range(len(train)))
    pvalue = shift_pvalue(rows[1], errors[1], rows[0], errors[0])
    n, n_held, bad = tables.sum(axis=(0, 2)), tables[0].sum(axis=1), tables[:, :, 0].sum(axis=0)
    excess = (tables[0, :, 0] - n_held * bad / n).sum()
    variance = (n_held * (n - n_held) * bad * (n - bad) / (n**2 * np.maximum(n - 1, 1))).sum()
    together = norm.sf(excess / np.sqrt(variance)) if variance else 0.5
    assert pvalue == pytest.approx(min(1, (len(train) + 1) * min(exact, together)), rel=1e-6)


def test_errors_that_move_from_one_class_to_the_other_are_a_shift():
    """As in a balanced set where the conflicting group was the largest of its class."""
    side = np.repeat([0, 1], 400)
    rows = Rows(np.zeros((800, 0)), side, np.ones(800))
    wrong, wrong_held = (
        np.concatenate([np.arange(400) < n for n in errors]) for errors in ((80, 40), (40, 80))
    )
    assert shift_pvalue(rows, wrong, rows, wrong_held) < 1e-3
    assert shift_pvalue(rows, wrong, rows, wrong) > 0.5


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

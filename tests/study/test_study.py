"""Rows and studies taken apart, tuned penalties, the error recovery rate, balanced groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ntkit import study as _study
from ntkit.attributes.attribute import group_numbers, judged_groups
from ntkit.head import LinearHead
from ntkit.solver.fit_head import fit_linear_head
from ntkit.solver.loss import is_mapped
from ntkit.study import (
    ALPHAS,
    LEAST_ERRORS,
    MOST_WEIGHT,
    Rows,
    Study,
    checked_numbers,
    correctness_balanced,
    correctness_groups,
    error_recovery_rate,
    errors_are_evidence,
    folds_of,
    group_balanced,
    margins,
    scaler_of,
    tuned,
)


@pytest.fixture
def mapped(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def rows_of(X):
    n = len(X)
    return Rows.of(X, np.tile(["no", "yes"], n)[:n], np.arange(n), weight=np.arange(1.0, n + 1))


@pytest.mark.parametrize("most", [0, 1 << 20])
@pytest.mark.parametrize("index", [np.array([7, 3, 3, 99]), np.arange(100) % 3 == 0])
def test_many_mapped_rows_are_taken_into_a_file(mapped, monkeypatch, index, most):
    monkeypatch.setattr(_study, "_FEW", most)
    whole = rows_of(mapped)
    for rows in (whole, whole.take(np.arange(60)).and_then(whole.take(np.arange(60, 100)))):
        taken = rows.take(index)
        for name in ("X", "y", "weight", "groups"):
            assert_array_equal(getattr(taken, name), np.asarray(getattr(whole, name))[index])
        assert is_mapped(taken.X) == (most == 0)
    assert not is_mapped(rows_of(np.eye(4)).take(np.array([1, 2])).X)


def test_large_mapped_rows_are_standardised_into_a_file(mapped, monkeypatch):
    mean, std = mapped.mean(axis=0), mapped.std(axis=0)
    for most in (0, 1 << 20):
        monkeypatch.setattr(_study, "LARGE", most)
        scaled = rows_of(mapped).scaled(mean, std)
        np.testing.assert_allclose(scaled.X, (mapped - mean) / std, atol=1e-6)
        assert is_mapped(scaled.X) == (most == 0)
        assert scaled.X.dtype == np.float32
    assert rows_of(mapped).gains == pytest.approx(1 / scaled_by_weight(mapped), rel=1e-6)


def scaled_by_weight(X):
    weight = np.arange(1.0, len(X) + 1)
    mean = np.average(X, axis=0, weights=weight)
    return np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))


def a_study(n=6, m=4):
    number = np.arange(n + m)
    X = number[:, None] * np.ones(3)
    changed = number[:, None, None] + np.zeros((n + m, 2, 3)) + 0.5
    train, validation = Rows.of(X[:n], number[:n] % 2), Rows.of(X[n:], number[n:] % 2)
    return Study(train, validation, number[:, None], changed, number)


def assert_aligned(some):
    number = some.both.X[:, 0]
    assert (some.values[:, 0] == number).all()
    assert (some.changed == number[:, None, None] + 0.5).all()
    assert (some.folds == number).all()


def test_what_is_known_of_rows_follows_them():
    for rows in ("train", "validation", "both"):
        assert_aligned(a_study().on(rows))
        assert_aligned(a_study().take(train=np.array([4, 1])).on(rows))
        assert_aligned(a_study().take(validation=np.arange(4) > 1).on(rows))
    alone = a_study().on("both").take(train=np.array([9, 0, 3]))
    assert alone.validation is None
    assert alone.train.X[:, 0].tolist() == [9, 0, 3]
    assert_aligned(alone)


def biased(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    mark = np.where(rng.random(n) < 0.9, y, 1 - y)
    X = np.column_stack([y, 2 * mark, np.zeros(n)]) + rng.normal(0, 1, (n, 3))
    return X * [1, 100, 0.1], y, mark


def test_a_tuned_penalty_is_the_best_of_a_plain_cross_validation():
    """Spelled out: standardised, each fold by a head that gave its rows weight 0."""
    X, y, mark = biased()
    rows, groups = Rows.of(X, y), 2 * y + mark
    weight = rows.weight * np.where(y == 1, 2.0, 1.0)
    found = tuned(rows, weight, groups, worse_half=True, seed=1, tol=1e-8)
    scores, margin = {}, {}
    Z = X / X.std(axis=0)
    for alpha in ALPHAS:
        margin[alpha] = np.empty(len(y))
        for train, test in folds_of(5, rows, 1, groups):
            C = 1 / (weight[train].sum() * alpha)
            head = fit_linear_head(
                Z[train], y[train], weight[train], classes=np.arange(2), C=C, tol=1e-8
            )
            margin[alpha][test] = np.where(y[test] == 1, 1, -1) * head.decision_function(Z[test])
        right = margin[alpha] > 0
        shares = sorted(right[groups == g].mean() for g in range(4))
        scores[alpha] = round(np.mean(shares[:2]), 12)
    assert found.alpha == max(sorted(ALPHAS, reverse=True), key=scores.get)
    assert found.margin == pytest.approx(margin[found.alpha], abs=1e-4)
    assert_array_equal(found.predicted == y, found.margin > 0)
    whole = fit_linear_head(
        Z, y, weight, classes=np.arange(2), C=1 / (weight.sum() * found.alpha), tol=1e-8
    )
    assert found.head.decision_function(X) == pytest.approx(whole.decision_function(Z), abs=1e-4)
    # The baseline: of penalties up to 1, the strongest whose mean class error is nearly the best.
    errors = {a: np.mean([(m <= 0)[y == k].mean() for k in (0, 1)]) for a, m in margin.items()}
    good = [a for a, error in errors.items() if error <= min(errors.values()) + 0.04 and a <= 1]
    assert found.strongest().alpha == max(good)
    assert found.strongest(within=0).alpha == max(
        a for a in good if errors[a] == min(errors.values())
    )


def test_of_groups_all_count_and_of_classes_the_worse_half():
    X, y, mark = biased(seed=8)
    rows = Rows.of(X, y)

    def alpha(groups, **rule):
        return tuned(rows, rows.weight, groups, **rule).alpha

    groups = 2 * y + mark
    assert alpha(groups) == alpha(groups, worse_half=False) != alpha(groups, worse_half=True)
    assert alpha(None) == alpha(None, worse_half=True) != alpha(None, worse_half=False)
    assert tuned(rows, rows.weight).strongest(within=1).alpha == 1.0  # never a stronger one


def test_further_rows_are_judged_by_the_head_of_all_rows():
    X, y, _ = biased()
    rows, also = Rows.of(X[:100], y[:100]), Rows.of(X[100:], y[100:])
    found = tuned(rows, rows.weight, also=also, C=0.5)
    assert found.alpha == 1
    assert found.margin[100:] == pytest.approx(margins(found.head.logits(also.X), also.y_index))
    assert found.head == rows.heads([rows.weight], 0.5)[0]


def test_without_folds_the_penalty_nearest_to_one_is_used():
    X, y, _ = biased(20)
    y = (np.arange(20) == 0).astype(int)
    found = tuned(Rows.of(X, y), np.ones(20), alphas=[1e-4, 0.2, 9.0])
    assert (found.alpha, found.margin, found.predicted) == (0.2, None, None)
    assert found.strongest().alpha == 0.2
    assert isinstance(found.head, LinearHead)


@pytest.mark.parametrize("alphas", [(), (0.1, -1), (0.0,), (np.inf,), (np.nan,), "many", None])
def test_penalties_must_be_positive_numbers(alphas):
    with pytest.raises(ValueError, match="alphas must be positive"):
        checked_numbers("alphas", alphas)


def test_a_margin_is_above_zero_only_for_right_predictions():
    logits = np.array([[2.0, 1, 0], [0, 3, 1], [1, 1, 0], [1, 1, 0]])
    found = margins(logits, np.array([0, 2, 0, 1]))
    assert found == pytest.approx([1, -2, 0, 0])
    assert (found > 0).tolist() == [True, False, True, False]  # of equal logits the first wins


# -- the error recovery rate ----------------------------------------------------------------


def sample(seed, n=2000, share_wrong=0.1):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    size = rng.exponential(1, n)
    wrong = rng.random(n) < share_wrong
    return rng, y, np.where(wrong, -size, size), np.ones(n)


def test_errors_all_fixed_and_nothing_lost_is_nearly_one():
    _, y, margin, ones = sample(0)
    low = error_recovery_rate(y, margin, np.abs(margin), ones)
    n = [(margin[y == k] < 0).sum() for k in (0, 1)]
    error = np.sqrt(sum((k + 1) / (k + 2) ** 3 + (k + 1) / (k + 2) ** 3 for k in n)) / 2
    assert low == pytest.approx(1 - 2.3263 * error, abs=1e-4)


@given(st.integers(0, 10**6), st.floats(0.1, 3))
@settings(max_examples=20)
def test_a_head_that_is_shaken_or_turned_learns_nothing(seed, noise):
    """Samples change sides by their distance from the boundary alone."""
    rng, y, margin, ones = sample(seed)
    for after in (margin + noise * rng.normal(size=len(y)), -margin):
        assert error_recovery_rate(y, margin, after, ones) < 0.05


def test_unmatched_counts_all_that_was_right():
    y, margin = np.arange(40_000) % 2, np.where(np.arange(40_000) % 10 < 2, -1.0, 1.0)
    after = np.where((margin < 0) | (np.arange(40_000) % 20 < 15), 1.0, -1.0)  # a quarter is lost
    low = error_recovery_rate(y, margin, after, np.ones(40_000), matched=False)
    lost = (after < 0).sum() / (margin > 0).sum()
    assert 0.98 * (1 - lost) < low < 1 - lost


def test_unmatched_many_classes_of_few_errors_are_looked_at_together():
    y, ones = np.arange(2000) % 20, np.ones(2000)
    margin = np.where(np.arange(2000) < 100, -1.0, 1.0)  # five errors of each class
    half = np.where(np.arange(2000) < 50, 1.0, margin)
    assert np.isnan(error_recovery_rate(y, margin, half, ones))
    assert 0.35 < error_recovery_rate(y, margin, half, ones, matched=False) < 0.5
    assert np.isnan(error_recovery_rate(y, half + 3, half, ones, matched=False))


def test_too_few_errors_are_no_evidence():
    margin, y, ones = np.ones(1000), np.arange(1000) % 2, np.ones(1000)
    margin[:: 1000 // (2 * LEAST_ERRORS - 4)] = -1
    margin[: 2 * LEAST_ERRORS][y[: 2 * LEAST_ERRORS] == 0] = -1  # enough in one class only
    assert np.isnan(error_recovery_rate(y, margin, np.abs(margin), ones))
    assert not errors_are_evidence(y, ones, margin, margin, np.abs(margin))[0]
    _, y, margin, ones = sample(0)
    assert errors_are_evidence(y, ones, margin, margin, np.abs(margin))[0]
    assert not errors_are_evidence(y, ones, margin, np.abs(margin), np.abs(margin))[0]
    assert not errors_are_evidence(y, ones, margin, margin, -margin)[0]


@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
@settings(max_examples=10)
def test_the_scale_of_weights_does_not_matter(seed, scale):
    rng, y, margin, _ = sample(seed, n=600)
    weight = rng.integers(0, 4, 600).astype(float)
    after = margin + rng.normal(size=600)
    one = error_recovery_rate(y, margin, after, weight)
    assert one == pytest.approx(error_recovery_rate(y, margin, after, scale * weight), nan_ok=True)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(0, 5)), min_size=1, max_size=200)
)
@settings(max_examples=50)
def test_balanced_groups_keep_class_totals_and_cap_what_a_sample_counts(rows):
    y, wrong, weight = (np.array(column) for column in zip(*rows, strict=True))
    balanced = correctness_balanced(weight, y, wrong)
    cells = correctness_groups(y, wrong, weight)
    for k in np.unique(y):
        assert balanced[y == k].sum() == pytest.approx(weight[y == k].sum())
        sizes = [((y == k) & (wrong == side) & (weight > 0)).sum() for side in (False, True)]
        if min(sizes) < LEAST_ERRORS:  # a handful of wrong labels moves nothing
            assert np.allclose(balanced[y == k], weight[y == k])
            assert len(np.unique(cells[(y == k)])) == 1
    assert (balanced <= MOST_WEIGHT * weight * (1 + 1e-9) + 1e-12).all()


def test_correct_and_wrong_samples_of_a_class_weigh_alike():
    y, wrong = np.repeat([0, 1], 100), np.zeros(200, dtype=bool)
    wrong[:20] = True
    wrong[100] = True  # one error does not carry half of its class
    balanced = correctness_balanced(np.ones(200), y, wrong)
    assert balanced[:20] == pytest.approx(2.5)
    assert balanced[20:100] == pytest.approx(0.625)
    assert balanced[100:] == pytest.approx(1)


# -- class × attribute: what is equal, what keeps its share, what is capped

PARTS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(-1, 2), st.integers(-1, 1), st.sampled_from([0.0, 0.5, 2.0])
    ),
    min_size=3,
    max_size=200,
)


def of_parts(parts):
    y, one, two, weight = map(np.asarray, zip(*parts, strict=True))
    y = np.unique(y, return_inverse=True)[1]
    return y, np.stack([one, two], axis=1), weight + (weight.sum() == 0)


@given(PARTS)
@settings(max_examples=40)
def test_classes_count_alike_and_nothing_is_made_up(parts):
    y, sides, weight = of_parts(parts)
    balanced = group_balanced(weight, y, sides)
    assert balanced.sum() == pytest.approx(weight.sum())
    mass = np.bincount(y, weights=balanced, minlength=y.max() + 1)
    there = np.bincount(y, weights=weight, minlength=y.max() + 1) > 0
    assert mass[there] == pytest.approx(weight.sum() / there.sum())
    assert (balanced[weight == 0] == 0).all()
    # Cap: against balancing the classes alone.
    plain = group_balanced(weight, y, np.zeros((len(y), 1), dtype=int))
    some = plain > 0
    assert (balanced[some] / plain[some]).max() <= MOST_WEIGHT * (1 + 1e-9)


@given(PARTS, st.floats(0.01, 100))
@settings(max_examples=30)
def test_scale_order_and_names_of_sides_do_not_matter(parts, scale):
    y, sides, weight = of_parts(parts)
    balanced = group_balanced(weight, y, sides)
    assert group_balanced(scale * weight, y, sides) == pytest.approx(scale * balanced)
    assert group_balanced(weight[::-1], y[::-1], sides[::-1]) == pytest.approx(balanced[::-1])
    renamed = np.where(sides < 0, -1, 7 - sides)
    assert group_balanced(weight, y, renamed) == pytest.approx(balanced)


def test_sides_are_equal_and_the_unknown_keep_their_share():
    y = np.repeat([0, 1], [100, 300])
    sides = np.full(400, -1)
    sides[:80] = [0] * 60 + [1] * 20
    sides[100:] = [0] * 30 + [1] * 270
    w = group_balanced(np.ones(400), y, sides[:, None])
    assert w[80:100].sum() / w[:100].sum() == pytest.approx(0.2)
    assert w[:60].sum() == pytest.approx(w[60:80].sum()) == pytest.approx(0.4 * 200)
    assert w[100:130].sum() == pytest.approx(w[130:].sum()) == pytest.approx(100)


def test_two_attributes_and_an_empty_group():
    y = np.zeros(60, dtype=int)
    sides = np.repeat([[0, 0], [0, 1], [1, 1]], [40, 15, 5], axis=0)
    w = group_balanced(np.ones(60), y, sides)
    assert [w[:40].sum(), w[40:55].sum(), w[55:].sum()] == pytest.approx([20, 20, 20])


def test_what_a_rare_group_may_not_get_goes_to_the_others():
    y, sides = np.zeros(1000, dtype=int), np.repeat([0, 1, 2], [1, 300, 699])[:, None]
    w = group_balanced(np.ones(1000), y, sides)
    assert w[0] == pytest.approx(MOST_WEIGHT)
    assert w[1:301].sum() == pytest.approx(w[301:].sum()) == pytest.approx(475)


@given(PARTS)
@settings(max_examples=40)
def test_groups_to_judge_by_are_large_and_every_class_has_one(parts):
    y, sides, weight = of_parts(parts)
    numbers, judged = group_numbers(y, sides), judged_groups(weight, y, sides, LEAST_ERRORS)
    for found in (numbers, judged):
        assert set(range(found.max() + 1)) <= set(found.tolist()) <= set(range(-1, found.max() + 1))
    for group in range(judged.max() + 1):
        rows = judged == group
        assert len(np.unique(y[rows])) == 1
        whole_class = rows.sum() == (y == y[rows][0]).sum()
        assert (rows & (weight > 0)).sum() >= LEAST_ERRORS or whole_class
    assert {int(k) for k in y[judged >= 0]} == set(y.tolist())


@pytest.mark.parametrize("seed", range(20))
def test_a_constant_neuron_is_not_scaled_at_any_weights(seed):
    """Rounding makes some of their variances negative; a warning would be an error here."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1000, 3000))
    X = np.tile(10 ** rng.uniform(-3, 3, 50), (n, 1)).astype(np.float32)
    assert_array_equal(scaler_of(Rows.of(X, weight=rng.random(n))).scale_, 1)

"""The two statistics against SciPy and against the formulas of textbooks, written anew."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, fisher_exact, norm

from ntkit.attributes.findings import AuditedPredictions
from ntkit.metrics.contrasts import contrast, excess
from tests.attributes.findings.builders import planted


def of(values, predictions, known=None):
    return contrast(values, predictions.marks(known))


counts = st.integers(0, 400)


@settings(max_examples=40, deadline=None)
@given(counts, counts, counts, counts)
def test_excess_is_pearsons_statistic_or_fishers_mid_p(a, b, c, d):
    table = np.array([[a, b], [c, d]])
    n = table.sum()
    z = float(excess(a, a + b, a + c, n))
    if 0 in (a + b, c + d, a + c, b + d) or n < 2:
        assert z == 0
        return
    expected = np.outer(table.sum(1), table.sum(0)) / n
    pearson = chi2_contingency(table, correction=False).statistic * (n - 1) / n
    normal = np.sign(a - expected[0, 0]) * np.sqrt(pearson)
    if expected.min() >= 5 or abs(normal) < 1:
        assert z == pytest.approx(normal, abs=1e-9)
        return
    side = "greater" if a > expected[0, 0] else "less"
    at_least = fisher_exact(table, alternative=side).pvalue
    step = 1 if side == "greater" else -1
    beyond = np.array([[a + step, b - step], [c - step, d + step]])
    more = 0.0 if (beyond < 0).any() else fisher_exact(beyond, alternative=side).pvalue
    mid_p = (at_least + more) / 2
    if mid_p > 1e-200:
        assert norm.sf(abs(z)) == pytest.approx(mid_p, rel=1e-6)
        assert np.sign(z) == step


def test_two_classes_are_the_published_contrast():
    """z of conflicting minus agreeing error rates within each class, summed, over √2."""
    values, p = planted(n=4000)
    found = of(values[:, :1], p)
    total = 0.0
    for label in (0, 1):
        own = p.y_index == label
        agrees = values[own, 0] == (label == 0)
        wrong = p.wrong[own]
        n1, n2 = (~agrees).sum(), agrees.sum()
        pooled = wrong.mean()
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        scale = np.sqrt((own.sum() - 1) / own.sum())
        total += scale * (wrong[~agrees].mean() - wrong[agrees].mean()) / spread
    assert found.errors[0] == pytest.approx(total / np.sqrt(2))
    assert found.goes_with[0] == 0
    share = [values[p.y_index == label, 0].mean() for label in (0, 1)]
    n = np.bincount(p.y_index)
    pooled = values[:, 0].mean()
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]))
    z = np.sqrt((n.sum() - 1) / n.sum()) * (share[0] - share[1]) / spread
    assert found.association[0] == pytest.approx(z)


def test_many_classes_add_up_as_cochran_mantel_and_haenszel_do():
    values, p = planted(n=6000, n_classes=4)
    found = of(values[:, :1], p)
    has = values[:, 0]
    k = int(found.goes_with[0])
    assert k == 0
    observed = expected = variance = 0.0
    for label in (1, 2, 3):
        own = p.y_index == label
        n, a, m = own.sum(), has[own].sum(), (p.pred_index[own] == k).sum()
        observed += (has[own] & (p.pred_index[own] == k)).sum()
        expected += a * m / n
        variance += a * (n - a) * m * (n - m) / (n**2 * (n - 1))
    others = (observed - expected) / np.sqrt(variance)
    own = p.y_index == k
    without = (
        chi2_contingency(
            [[(has[own] & w).sum(), (~has[own] & w).sum()] for w in (p.wrong[own], ~p.wrong[own])],
            correction=False,
        ).statistic
        * (own.sum() - 1)
        / own.sum()
    )
    assert found.errors[0] == pytest.approx((others + np.sqrt(without)) / np.sqrt(2))


def test_the_absence_says_the_opposite():
    values, p = planted()
    a, b = of(values, p), of(~values, p)
    np.testing.assert_allclose(a.errors, b.errors, atol=1e-9)
    assert (a.goes_with != b.goes_with).all()  # of two classes, each goes with one
    three = planted(n_classes=3)
    a, b = of(three[0], three[1]), of(~three[0], three[1])
    np.testing.assert_allclose(a.association, -b.association, atol=1e-9)
    assert (a.goes_with == b.goes_with).all()


def test_weights():
    values, p = planted(agreement=0.8)

    def weighted(weight):
        return of(values, AuditedPredictions(p.classes, p.y_index, p.pred_index, weight))

    rng = np.random.default_rng(0)
    uneven, keep = rng.uniform(0.5, 2, len(values)), rng.random(len(values)) < 0.5
    np.testing.assert_allclose(weighted(uneven).score, weighted(7 * uneven).score, atol=1e-9)
    # Balancing the classes leaves the errors within them unchanged.
    balanced = weighted(np.where(p.y_index == 0, 1.0, 5.0))
    np.testing.assert_allclose(of(values, p).errors, balanced.errors, atol=1e-9)
    # A weight of 0 and an unknown value count as absence.
    part = AuditedPredictions(p.classes, p.y_index[keep], p.pred_index[keep], p.weight[keep])
    expected = of(values[keep], part).score
    for found in (weighted(keep.astype(float)), of(values, p, known=keep)):
        np.testing.assert_allclose(found.score, expected, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_nothing_can_be_said(n_classes):
    """Constant attributes, no errors or nothing else, the class itself, an empty class."""
    values, p = planted(n_classes=n_classes)
    no_errors = AuditedPredictions(p.classes, p.y_index, p.y_index, p.weight)
    all_wrong = AuditedPredictions(p.classes, p.y_index, (p.y_index + 1) % n_classes, p.weight)
    constant = np.column_stack([np.zeros(len(values)), np.ones(len(values))])
    assert (of(values, no_errors).score <= 0).all()
    assert (np.abs(of(values, all_wrong).errors) < 1e-9).all()
    assert (of(constant, p).score == 0).all()
    assert np.abs(of((p.y_index == 0)[:, None], p).errors) < 1e-9
    wider = AuditedPredictions(np.arange(n_classes + 1), p.y_index, p.pred_index, p.weight)
    assert np.isfinite(of(values, wider).score).all()


@pytest.mark.parametrize("n_classes", [2, pytest.param(4, marks=pytest.mark.more)])
def test_null_distribution(n_classes):
    """Errors that do not depend on the attributes: p-values of errors are uniform or larger."""
    rng = np.random.default_rng(0)
    n = 600
    y = rng.integers(0, n_classes, n)
    wrong = rng.random(n) < 0.08
    pred = np.where(wrong, (y + rng.integers(1, n_classes, n)) % n_classes, y)
    has = rng.random((n, 4000)) < np.where(y == 0, 0.1, 0.02)[:, None]
    errors = of(has, AuditedPredictions(np.arange(n_classes), y, pred, np.ones(n))).errors
    p = norm.sf(errors)
    for level in (0.05, 0.01, 0.001):
        assert (p <= level).mean() <= 1.6 * level * (n_classes - 1)

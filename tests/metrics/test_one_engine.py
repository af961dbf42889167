"""Outcomes of subsets are counted by `ntkit.metrics`, and by `rates` in fits: nowhere else."""

import re
from pathlib import Path

import numpy as np
import pytest

import ntkit
from ntkit._checks import rates
from ntkit.metrics import compare
from ntkit.metrics.contrasts import loss_contrast, surprise

ENGINE = {"_checks.py", "metrics/accuracy.py", "metrics/class_order.py", "metrics/contrasts.py"}
OUTCOME = r"\b(?:was_|is_)?(?:right|wrong|correct|hits?|happens|flips|outcomes?)\b"
COUNTS = re.compile(
    rf"""bincount\([^\n]*weights=[^\n]*{OUTCOME}     # outcomes of disjoint subsets
    | {OUTCOME}\)?(?:\[[^\n]*?\])?\)?\.mean\(            # of one subset
    | mean\({OUTCOME}(?:\[|\))
    | product_of\([^\n]*{OUTCOME}                     # of subsets that overlap""",
    re.VERBOSE,
)
VARIANCES = {"estimators/_invariant.py"}  # of a mean of rates


def test_no_other_module_counts_outcomes():
    root = Path(ntkit.__file__).parent
    there = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if COUNTS.search(path.read_text(encoding="utf-8"))
    }
    assert {"_checks.py", "metrics/class_order.py"} <= there <= ENGINE | VARIANCES
    for line in ("np.bincount(y, weights=w * right)", "(~was_right)[of].mean()", "wrong.mean()"):
        assert COUNTS.search(line)


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_the_rows_of_the_same_subsets(seed):
    rng = np.random.default_rng(seed)
    right, subset = rng.random(200) < 0.7, rng.choice([0, 1, 3], 200)
    weight = rng.random(200) * (rng.random(200) < 0.8)
    shares, mass = rates(right, subset, weight)
    rows = compare([right], [("group", k, subset == k) for k in range(4)], weight=weight)
    np.testing.assert_allclose(shares, [row.value for row in rows])
    np.testing.assert_allclose(mass, [weight[subset == k].sum() for k in range(4)])
    assert np.isnan(shares[2])


def test_losses_and_events_of_many_attributes_agree_with_rows():
    rng = np.random.default_rng(0)
    n = 4000
    has, y = rng.random((n, 3)) < 0.5, rng.integers(0, 2, n)
    before = rng.random(n) < 0.9
    after = before & ~(has[:, 1] & (y == 0) & (rng.random(n) < 0.3))
    z = loss_contrast(has.astype(np.int8), 1.0 * after - before, y, np.arange(n))
    for b in range(3):
        for k in range(2):
            inside = (y == k) & has[:, b], (y == k) & ~has[:, b]
            own, rest = compare(
                (after, before), [("group", i, each) for i, each in enumerate(inside)]
            )
            if min(own.change, rest.change) < 0:
                assert np.sign(z[b, k]) == np.sign(rest.change - own.change)
    assert z[1, 0] == z.max() > 10
    event = ~after
    excess = event - rates(event, y, np.ones(n))[0][y]
    found = surprise(has.astype(np.int8), excess[:, None])[:, 0]
    assert found.argmax() == 1
    assert found[1] > 5 > np.abs(found[[0, 2]]).max()

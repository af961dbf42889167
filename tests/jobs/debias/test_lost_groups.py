"""Groups that pay for a new head: found where there are, and as rarely as asked where not."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ntkit.attributes import Attribute, columns
from ntkit.jobs.debias._lost_groups import CHECKED, checked_groups

CLASSES = np.array(["low", "high"])


def samples(seed, n=2400):
    rng = np.random.default_rng(seed)
    y, region = rng.integers(0, 2, n), rng.integers(0, 2, n)
    table = {"region": region, "device": rng.integers(0, 3, n)}
    return rng, y, region, table, np.arange(n) < n // 2


def test_the_group_that_loses_is_named_with_its_figures():
    rng, y, region, table, is_train = samples(0)
    before = rng.random(len(y)) < 0.8
    hit = (y == 0) & (region == 1)
    after = np.where(hit, before & (rng.random(len(y)) < 0.3), before)
    check = checked_groups([columns(table)], CLASSES, y, (before, after), is_train)
    group = next(g for g in check.lost if g.attribute)
    rows = hit & ~is_train
    assert group.attribute.startswith("column:region=")
    assert group.relies_more
    assert group.count == rows.sum()
    assert group.before == pytest.approx(before[rows].mean())
    assert group.after == pytest.approx(after[rows].mean())
    assert 0.05 < group.surely < group.before - group.after
    assert check.refused(0.05) is group
    assert check.refused(0.9) is None
    lost = int((rows & before & ~after).sum())
    assert binomtest(lost, lost, 0.5, alternative="greater").pvalue < 1e-6
    assert str(group) in "\n".join(check.sentences())


def test_a_repair_takes_back_what_a_large_group_owed_to_the_shortcut():
    """The gap shrinks: the head relies less on it, and nothing is refused."""
    rng, y, region, table, is_train = samples(1)
    agrees = region == y
    before = rng.random(len(y)) < np.where(agrees, 0.98, 0.4)
    after = rng.random(len(y)) < np.where(agrees, 0.85, 0.8)
    check = checked_groups([columns(table)], CLASSES, y, (before, after), is_train)
    own = [group for group in check.lost if "region" in group.attribute]
    assert own
    assert not any(group.relies_more for group in own)
    assert check.refused(0.05) is None


def test_false_alarms_are_as_rare_as_asked():
    """Errors that move at random: some group is called lost in at most 5 % of draws."""
    alarms = 0
    for seed in range(300):
        rng, y, _, table, is_train = samples(seed, n=800)
        before, after = (rng.random(len(y)) < 0.8 for _ in range(2))
        check = checked_groups([columns(table)], CLASSES, y, (before, after), is_train)
        alarms += bool(check.lost)
    assert binomtest(alarms, 300, 0.05, alternative="greater").pvalue > 0.01


def test_small_groups_are_named_as_unchecked_and_nothing_readable_is_said():
    rng, y, region, table, is_train = samples(2)
    rare = (y == 1) & (region == 1)
    kept = ~rare | (np.cumsum(rare & ~is_train) <= CHECKED - 5) | is_train
    y, is_train, table = y[kept], is_train[kept], {n: v[kept] for n, v in table.items()}
    right = rng.random(len(y)) < 0.8
    region = Attribute("region", table["region"], ("region=0", "region=1"))
    check = checked_groups([], CLASSES, y, (right, right), is_train, [region])
    assert check.unchecked == (f"region, class high with 1 ({CHECKED - 5})",)
    assert f"fewer than {CHECKED}" in check.sentences()[0]
    nothing = checked_groups([], CLASSES, y, (right, right), is_train)
    assert not nothing.readable
    assert "could not check any group" in nothing.sentences()[0]


def test_a_loss_of_few_samples_is_named_as_one_that_may_be_chance():
    """Told of, below another heading, but neither counted as lost nor a reason to refuse."""
    rng, y, region, table, is_train = samples(3)
    rare = (y == 1) & (region == 1)
    kept = ~rare | is_train | (np.cumsum(rare & ~is_train) <= CHECKED)
    y, is_train, rare = y[kept], is_train[kept], rare[kept]
    table = {name: values[kept] for name, values in table.items()}
    before = rng.random(len(y)) < 0.9
    validation = np.flatnonzero(rare & ~is_train & before)
    after = before & ~(rare & is_train & (rng.random(len(y)) < 0.5))
    after[validation[:4]] = False  # by chance in 1 of 16
    check = checked_groups([columns(table)], CLASSES, y, (before, after), is_train)
    assert not check.lost
    assert check.refused(0) is None
    group = next(g for g in check.doubtful if "region" in g.attribute)
    assert group.count == CHECKED
    assert group.relies_more
    said = check.sentences()
    at = next(i for i, line in enumerate(said) if "may lose accuracy (possibly chance)" in line)
    assert str(group) in said[at + 1]
    after[validation[:4]] = True
    assert not checked_groups([columns(table)], CLASSES, y, (before, after), is_train).doubtful

"""Evidence from batches is valid at any time, by exact sums and by simulation."""

from itertools import chain, combinations, product
from math import log

import numpy as np
import pytest
from scipy.stats import binom

from ntkit.metrics.streams import (
    first_alarms,
    log_evidence,
    log_evidence_above,
    log_evidence_of_change,
    noticed,
    since,
)


@pytest.mark.parametrize("sizes", [(4,), (2, 3), (0, 2, 0, 7), (1, 6, 5), (6, 1, 1, 1, 1, 2)])
@pytest.mark.parametrize("limit", [0.0, 0.02, 0.3, 0.9])
def test_wealth_is_not_expected_to_grow_while_the_limit_holds(sizes, limit):
    n = np.array(sizes)
    counts = np.array([*product(*(range(size + 1) for size in sizes))])
    values = np.exp(log_evidence(counts, np.broadcast_to(n, counts.shape), limit))
    for share in (limit, limit / 2):
        chances = binom.pmf(counts, n, share).prod(axis=1)
        assert chances.sum() == pytest.approx(1)
        expected = chances @ values
        assert np.all(expected <= 1 + 1e-9)
        if share == limit:
            assert expected == pytest.approx(np.ones(len(n)))


@pytest.mark.parametrize("limit", [0.1, 0.4])
def test_labels_that_are_asked_with_known_chances_are_weighed(limit):
    # Two kinds of samples, of which the more often wrong one is asked more often.
    shares, wrong, chance = np.array([0.7, 0.3]), np.array([0.5, 2.5]), np.array([0.2, 0.9])
    wrong = wrong * limit / (shares @ wrong)
    weights = chance.min() / chance
    one = {"neither": 1 - shares @ chance}
    outcomes, chances = [(np.zeros(2), np.zeros(2))], [one["neither"]]
    for kind, counts in product((0, 1), (0, 1)):
        asked = np.eye(2)[kind]
        outcomes.append((counts * asked, asked))
        of_count = wrong[kind] if counts else 1 - wrong[kind]
        chances.append(shares[kind] * chance[kind] * of_count)
    total = 0.0
    for three in product(range(5), repeat=3):
        k, n = (np.array([outcomes[i][part] for i in three]) for part in (0, 1))
        value = np.exp(log_evidence(k, n, limit, weights=weights * 5, most=5.0)[-1])
        total += np.prod([chances[i] for i in three]) * value
    assert total == pytest.approx(1)


def test_empty_batches_say_nothing_and_a_whole_batch_is_one_look():
    n, k = np.array([5, 40, 3]), np.array([1, 20, 2])
    with_empty = log_evidence([0, 1, 0, 20, 0, 2, 0], [0, 5, 0, 40, 0, 3, 0], 0.2)
    assert with_empty[[1, 3, 5]] == pytest.approx(log_evidence(k, n, 0.2))
    assert with_empty[[0, 2, 4, 6]] == pytest.approx([0, *log_evidence(k, n, 0.2)])
    assert log_evidence([0, 0], [0, 0], 0.2) == pytest.approx([0, 0])


def test_more_evidence_for_higher_counts_and_lower_limits():
    n = np.full((30, 4), 30)
    by_count = log_evidence(np.repeat(np.arange(30), 4).reshape(30, 4), n, 0.2)[:, -1]
    assert np.all(np.diff(by_count[24:]) > 0)
    limits = np.linspace(0, 1, 21)
    by_limit = log_evidence(np.full((21, 4), 12), np.full((21, 4), 30), limits)
    assert np.all(np.diff(by_limit[:, -1]) < 0)


def test_alarms_are_those_of_closed_testing():
    rng = np.random.default_rng(0)
    for _ in range(300):
        weights, level = rng.random(4) + 0.05, 0.1
        log_e = np.log(rng.gamma(0.4, 30, (4, 1)))
        e, weights = np.exp(log_e[:, 0]), weights / weights.sum()
        expected = []
        for i in range(4):
            rest = [j for j in range(4) if j != i]
            sets = chain.from_iterable(combinations(rest, size) for size in range(4))
            means = [np.average(e[[i, *s]], weights=weights[[i, *s]]) for s in sets]
            expected.append(min(means) >= 1 / level)
        assert ((first_alarms(log_e, weights, level) == 0) == expected).all()


def test_an_alarm_needs_no_more_than_its_part_of_the_level_and_frees_it():
    alone = np.log([[1, 1, 81], [0.01, 0.01, 0.01], [1, 0.5, 0.5], [1, 1, 1]])
    assert first_alarms(alone, np.ones(4), 0.05).tolist() == [2, -1, -1, -1]
    # Three others have an alarm already, so the last one has the level alone.
    last = np.log([[1e9, 1], [1e9, 1], [1e9, 1], [19, 21]])
    assert first_alarms(last, np.ones(4), 0.05).tolist() == [0, 0, 0, 1]
    assert first_alarms(np.array([[1e6]]), np.ones(1), 0.05).tolist() == [0]


@pytest.mark.parametrize("size", [1, 7, 300])
def test_false_alarms_of_all_kinds_together_stay_below_the_level(size):
    rng, level, n_runs, n_batches = np.random.default_rng(size), 0.1, 200, 60
    n = np.full((n_runs, n_batches), size)
    wrong = log_evidence(rng.binomial(n, 0.25), n, 0.25)
    flips = log_evidence(rng.binomial(n, 0.05), n, 0.05)
    known = rng.binomial(400, 0.3, n_runs)
    shares = log_evidence_of_change(rng.binomial(n, 0.3), n, known, np.full(n_runs, 400))
    runs = zip(wrong, flips, shares, strict=True)
    alarms = [first_alarms(np.stack(run), np.ones(3), level).max() >= 0 for run in runs]
    assert np.mean(alarms) <= level


def test_a_late_change_is_found_with_its_start_and_its_size():
    rng, found = np.random.default_rng(0), []
    n = np.full(200, 5)
    for _ in range(100):
        share = np.where(np.arange(200) < 120, 0.15, 0.5)
        k = rng.binomial(n, share)
        assert log_evidence(k, n, 0.25)[-1] > log(80)
        found.append(since(k, n, 0.25, 0.05))
    assert abs(np.median([each.start for each in found]) - 120) <= 3
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) >= 0.95
    assert np.mean([each.low > 0.25 for each in found]) > 0.9


@pytest.mark.parametrize("share", [0.01, 0.3, 0.95])
def test_confidence_sequences_hold_for_all_batches_at_once(share):
    rng, missed = np.random.default_rng(0), 0
    for _ in range(60):
        n = np.full(12, 9)
        k = rng.binomial(n, share)
        parts = [since(k[:end], n[:end], 0.0, 0.1) for end in (1, 2, 4, 8, 12)]
        missed += any(not each.low <= share <= each.high for each in parts if each.start == 0)
    assert missed <= 6


def test_weighted_bounds_are_wider_and_one_weight_is_none():
    k, n = np.array([4, 9]), np.array([20, 20])
    plain = since(k, n, 0.2, 0.05)
    assert since(k[:, None], n[:, None], 0.2, 0.05, weights=[1], most=1) == plain
    plain = since(k[:1], n[:1], 0.2, 0.05)
    risked = since(k[:1, None], n[:1, None], 0.2, 0.05, weights=[0.5], most=1)
    assert risked.low < plain.low < risked.value == plain.value < plain.high < risked.high


@pytest.mark.parametrize(("n", "limit", "reach"), [(70, 0.1, 80), (80, 0.05, 20), (400, 0.25, 40)])
def test_what_would_have_been_noticed_is_noticed(n, limit, reach):
    def least(n):
        found = noticed(np.array([n]), np.array([limit]), log(reach), of_limit)
        return found.item()

    def of_limit(k, n):
        return log_evidence(k, n, limit)

    share = least(n)
    assert limit < share < 1
    k = np.random.default_rng(0).binomial(n // 10, share, (2000, 10))
    seen = log_evidence(k, np.full(k.shape, n // 10), limit).max(axis=1) >= log(reach)
    assert seen.mean() >= 0.77
    assert np.isnan([least(1), least(0)]).all()


@pytest.mark.parametrize(("of", "n"), [(3, 6), (12, 4), (40, 9)])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_a_reference_that_is_a_sample_itself_misleads_no_more_than_the_level(of, n, share):
    known, k = np.arange(of + 1), np.arange(n + 1)
    chances = np.outer(binom.pmf(known, of, share), binom.pmf(k, n, share))
    pairs = np.broadcast_arrays(known[:, None], k[None])
    counts = pairs[1][..., None], np.full((*pairs[1].shape, 1), n)
    changed = np.exp(log_evidence_of_change(*counts, pairs[0], np.full(pairs[0].shape, of)))
    assert (chances * changed[..., 0]).sum() <= 1
    above = np.exp(log_evidence_above(*counts, pairs[0], np.full(pairs[0].shape, of), 0.1))
    shifted = np.outer(binom.pmf(known, of, share), binom.pmf(k, n, min(1, share + 0.1)))
    assert (shifted * above[..., 0]).sum() <= 1


def test_a_large_reference_is_nearly_a_limit():
    k, n = np.array([[9, 30]]), np.array([[100, 100]])
    plain = log_evidence(k, n, 0.1)[0, -1]
    large = log_evidence_above(k, n, np.array([10**7]), np.array([10**8]))[0, -1]
    small = log_evidence_above(k, n, np.array([10]), np.array([100]))[0, -1]
    assert small < large < plain < large + 1


def test_a_fall_of_twenty_points_is_noticed_nearly_as_often_as_by_the_best_bet():
    x = np.random.default_rng(0).random((2000, 70)) < 0.3
    best = np.where(x, log(0.3 / 0.1), log(0.7 / 0.9)).cumsum(axis=1).max(axis=1) >= log(80)
    ours = log_evidence(x, np.ones(x.shape), 0.1).max(axis=1) >= log(80)
    assert ours.mean() > 0.9
    assert ours.mean() > best.mean() - 0.03

"""With named groups, the accuracy cost is that of their mean, and of the worst of them."""

import numpy as np
import pytest

from ntkit.attributes import Attribute
from ntkit.jobs.debias._accuracy_cost import accuracy_cost_of

Y = np.repeat([0, 1], 220)
VALUES = np.tile(np.repeat([0, 1], [20, 200]), 2)  # the first 20 of each class are rare


def priced(before_rare, after_rare, after_common, *, by_person):
    """All common samples are right before; these shares of rare and common ones are afterwards."""

    def right(rare, common):
        one = np.concatenate([np.arange(20) < 20 * rare, np.arange(200) < 200 * common])
        return np.tile(one, 2)

    before = np.where(right(before_rare, 1.0), Y, 1 - Y)
    after = np.where(right(after_rare, after_common), Y, 1 - Y)
    groups = Attribute("a", VALUES, ("no", "yes")).crossed(Y, fewest=5)
    logits = np.eye(2)[before]
    return accuracy_cost_of(
        1.0, Y, logits, after, np.array([0, 1]), None, groups, by_groups=by_person
    )


def test_groups_that_a_person_named_pay_for_the_average():
    named = priced(0.1, 0.7, 0.75, by_person=True)
    assert named.cost > 0.15  # of the average
    assert named.class_gain == pytest.approx((0.6 - 0.25) / 2)
    assert named.helps(0.05)
    assert not priced(0.1, 0.7, 0.75, by_person=False).helps(0.05)
    assert (named.worst_named.name, named.worst_named.count) == ("0 × no", 20)
    assert named.worst_named_before.accuracy == pytest.approx(0.1)


def test_the_worst_group_counts_where_the_mean_stays_and_no_more_than_it_may_cost():
    assert priced(0.2, 0.5, 0.65, by_person=True).helps(0.05)  # the mean loses 2.5 points
    assert not priced(0.2, 0.5, 0.65, by_person=True).helps(0.01)
    assert not priced(0.2, 0.25, 0.95, by_person=True).helps(0.05)  # one sample is chance
    assert not priced(0.9, 0.5, 1.0, by_person=True).helps(1.0)


def test_groups_of_fewer_than_five_say_nothing():
    values = VALUES.copy()
    values[:16] = 1
    groups = Attribute("a", values, ("no", "yes")).crossed(Y, fewest=5)
    assert set(groups.names) == {"0 × yes", "1 × no", "1 × yes"}
    assert (groups.value[16:20] == -1).all()

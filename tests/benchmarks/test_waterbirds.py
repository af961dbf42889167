"""Waterbirds: averages, what chooses among heads, and what the tables show."""

import numpy as np
import pytest

import waterbirds
import waterbirds_finetuned
from ntkit.head import LinearHead
from ntkit.jobs.debias._comparison import Comparison
from ntkit.study import Rows


def test_each_rule_chooses_by_its_own_accuracy():
    y = np.repeat([0, 1], 8)
    sign = 2 * y - 1
    agrees = np.tile([1, 1, 1, 1, 1, 1, -1, -1], 2)  # right in six of eight, in no small group
    halves = np.tile([1, -1], 8)  # right in half of every group
    Z = np.column_stack([sign * agrees, sign * halves]).astype(float)
    rows = Rows.of(Z, y, 2 * y + (sign * agrees > 0))
    comparison = Comparison(rows, rows, rows, head=None, C=1.0)
    heads = {name: LinearHead([w], [0.0], [0, 1]) for name, w in (("a", [1, 0]), ("b", [0, 1]))}
    tried = [({"head": name}, head, i) for i, (name, head) in enumerate(heads.items())]
    found = waterbirds_finetuned.chosen(comparison, "any", iter(tried), rows)
    by_class, by_group = found["any, by worst class"], found["any, by worst group †"]
    assert (by_class["parameters"], by_class["score"]) == ({"head": "a"}, 0.75)
    assert (by_class["n_suppressed"], by_class["worst_group"]) == (0, 0)
    assert (by_group["parameters"], by_group["score"]) == ({"head": "b"}, 0.5)
    assert by_group["n_suppressed"] == 1


def test_averages_over_random_masks():
    row = {"n_suppressed": 4, "average": 0.5, "by_group": [0.2, 0.8], "worst_group": 0.2}
    other = row | {"by_group": [0.6, 0.4], "worst_group": 0.4}
    rule = "mask, by worst class"
    found = waterbirds_finetuned.means("random mask of 4", [{rule: row}, {rule: other}])
    assert list(found) == ["random mask of 4, by worst class"]
    mean = found["random mask of 4, by worst class"]
    assert mean["worst_group"] == pytest.approx(0.3)  # not the smaller of the mean accuracies
    assert mean["by_group"] == pytest.approx([0.4, 0.6])


def test_averages_are_over_test_samples_and_by_the_shares_of_training():
    Z = np.array([[1.0], [1], [-1], [-1], [1], [1], [1], [-1]])
    groups = np.array([0, 1, 1, 1, 2, 2, 3, 3])
    test = Rows.of(Z, groups // 2, groups)
    head = LinearHead([[1.0]], [0.0], [0, 1])  # right: 0 of 1, 2 of 3, 2 of 2, 1 of 2
    found = waterbirds.rated(head, test, np.array([7, 1, 1, 1]))
    assert found["worst"] == 0
    assert found["average"] == pytest.approx(100 * 5 / 8)
    assert found["adjusted"] == pytest.approx((200 / 3 + 100 + 50) / 10)

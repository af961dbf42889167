"""Waterbirds: averages."""

import numpy as np
import pytest

import waterbirds
from ntkit.head import LinearHead
from ntkit.study import Rows


def test_averages_are_over_test_samples_and_by_the_shares_of_training():
    Z = np.array([[1.0], [1], [-1], [-1], [1], [1], [1], [-1]])
    groups = np.array([0, 1, 1, 1, 2, 2, 3, 3])
    test = Rows.of(Z, groups // 2, groups)
    head = LinearHead([[1.0]], [0.0], [0, 1])  # right: 0 of 1, 2 of 3, 2 of 2, 1 of 2
    found = waterbirds.rated(head, test, np.array([7, 1, 1, 1]))
    assert found["worst"] == 0
    assert found["average"] == pytest.approx(100 * 5 / 8)
    assert found["adjusted"] == pytest.approx((200 / 3 + 100 + 50) / 10)

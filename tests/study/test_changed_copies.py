"""What a study knows of each row follows the rows, however they are taken."""

import numpy as np
import pytest

from ntkit.study import Rows, Study


def study(n=6, m=4):
    def rows(k, start):
        X = np.arange(start, start + k, dtype=float)[:, None] * np.ones(3)
        return Rows(X, np.arange(k) % 2, np.ones(k))

    number = np.arange(n + m)
    changed = number[:, None, None] + np.zeros((n + m, 2, 3)) + 0.5
    return Study(np.arange(2), rows(n, 0), rows(m, n), number[:, None], changed, number)


def assert_aligned(some):
    number = some.both.X[:, 0]
    assert (some.values[:, 0] == number).all()
    assert (some.changed == number[:, None, None] + 0.5).all()
    assert (some.folds == number).all()


@pytest.mark.parametrize("rows", ["train", "validation", "both"])
def test_what_is_known_of_rows_follows_them(rows):
    assert_aligned(study().on(rows))
    assert_aligned(study().take(train=np.array([4, 1])).on(rows))
    assert_aligned(study().take(validation=np.arange(4) > 1).on(rows))


def test_rows_of_a_study_without_a_validation_set_are_taken():
    alone = study().on("both").take(train=np.array([9, 0, 3]))
    assert alone.validation is None
    assert alone.train.X[:, 0].tolist() == [9, 0, 3]
    assert_aligned(alone)

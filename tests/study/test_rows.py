"""Rows: taken from mapped files without filling memory, and joined as they are."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ntkit import study as _rows
from ntkit.solver import is_mapped
from ntkit.study import Rows


@pytest.fixture
def mapped(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def rows_of(X):
    return Rows(X, np.arange(len(X)) % 2, np.arange(1.0, len(X) + 1))


@pytest.mark.parametrize("most", [0, 1 << 20])
@pytest.mark.parametrize("index", [np.array([7, 3, 3, 99]), np.arange(100) % 3 == 0])
def test_taken(mapped, monkeypatch, index, most):
    """Many mapped rows are not copied into memory; what is taken is the same."""
    monkeypatch.setattr(_rows, "_FEW", most)
    for rows in (rows_of(mapped), rows_of(mapped[:60]).and_then(rows_of(mapped[60:]))):
        taken = rows.take(index)
        assert_array_equal(taken.X, np.asarray(mapped)[index])
        assert_array_equal(taken.y_index, rows.y_index[index])
        assert_array_equal(taken.weight, rows.weight[index])
        assert is_mapped(taken.X) == (most == 0)


def test_in_memory_stays_there(monkeypatch):
    monkeypatch.setattr(_rows, "_FEW", 0)
    assert not is_mapped(rows_of(np.eye(4)).take(np.array([1, 2])).X)

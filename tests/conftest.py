"""Fixtures that several test folders share."""

import numpy as np
import pytest

from ntkit.datasets import load_marked_digits
from tests import models


@pytest.fixture(scope="session")
def zoo():
    """The model builders of tests/models.py."""
    return models


@pytest.fixture(scope="session")
def digits():
    """The embedded demo data."""
    return load_marked_digits()


@pytest.fixture
def rng():
    return np.random.default_rng(0)

"""Fixtures that several test folders share."""

import gc
import secrets
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from ntkit.datasets import load_marked_digits
from tests import models
from tests.cases import own, reviews, user  # noqa: F401

# A busy machine does not cause an error.
settings.register_profile("ntkit", deadline=None, max_examples=40)
settings.load_profile("ntkit")


MORE = {"benchmarks", "fuzz", "hosts", "zoo"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the folders of tests that ``make test`` leaves to ``make test-more``."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.relative_to(here).parts[0] in MORE:
            item.add_marker("more")


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


@pytest.fixture(scope="session")
def ray():
    """Ray on this machine, with room for two actors of one core each."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    with pytest.MonkeyPatch.context() as environment:
        # Else Ray would write one into the user's home.
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Else they get what other processes leave, and nothing while tests run side by side.
        environment.setenv("RAY_worker_niceness", "0")
        with warnings.catch_warnings(action="ignore"):  # tips about its next version
            ray.init(
                num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error"
            )
        yield ray
        with warnings.catch_warnings(action="ignore"):  # it does not wait for its processes' end
            ray.shutdown()
            gc.collect()

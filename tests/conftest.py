"""Fixtures that several test folders share."""

import csv
import gc
import os
import re
import secrets
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from hypothesis import settings
from threadpoolctl import ThreadpoolController

from ntkit import FrozenModel
from ntkit.datasets import load_marked_digits
from tests import models
from tests.cases import own, reviews, user  # noqa: F401
from tests.pages.browser import Browser, found
from tests.several_labels import five_labels

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


LIBRARIES = ThreadpoolController()


def global_state():
    """What a test could leave changed for the tests after it; cheap to ask."""
    telling = re.compile("HOME|PATH|TMPDIR|PYTHONHASHSEED|.*_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if telling.fullmatch(name)}
    backend, n_jobs = joblib.parallel.get_active_backend()
    converters = sys.modules.get("skl2onnx._supported_operators")
    registered = "ntkit.export" in sys.modules and dict(converters.sklearn_operator_name_map)
    return {
        "working folder": os.getcwd(),
        "environment": environment,
        "scikit-learn": sklearn.get_config(),
        "NumPy": (np.geterr(), np.get_printoptions()),
        "joblib": (type(backend).__name__, n_jobs),
        "threads": [library.num_threads for library in LIBRARIES.lib_controllers],
        "converters of skl2onnx": registered,
        "csv": csv.field_size_limit(),
        "collector": gc.isenabled(),
        "switch interval": sys.getswitchinterval(),
    }


@pytest.fixture(autouse=True)
def alike_in_any_order():
    """Fail a test that changes what others use; ``conftest.py`` above starts them alike."""
    before = global_state()
    yield
    after = global_state()
    if before["converters of skl2onnx"] is False:  # the first test that imports ntkit.export
        after["converters of skl2onnx"] = False
    assert after == before


@pytest.fixture(scope="session")
def five(tmp_path_factory):
    """Samples with five labels each, and a model that relies on a mark for one of them."""
    return five_labels(tmp_path_factory.mktemp("five"))


@pytest.fixture(scope="session")
def zoo():
    """The model builders of tests/models.py."""
    return models


@pytest.fixture
def model(zoo, tmp_path):
    """The plain classifier of three classes, ``m.onnx`` in the test's folder."""
    return FrozenModel.load(zoo.save(zoo.classifier(), tmp_path / "m.onnx"))


@pytest.fixture(scope="session")
def digits():
    """The embedded demo data."""
    return load_marked_digits()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser for pages, where there is one."""
    if found() is None:
        pytest.skip("no Chromium is installed (or named by NTKIT_CHROMIUM)")
    running = Browser(tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


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

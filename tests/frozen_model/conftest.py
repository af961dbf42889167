"""The model builders of tests/models.py as the fixture ``zoo``."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def zoo():
    spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

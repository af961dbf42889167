"""Any order of the tests gives the same results; ``pytest --shuffle SEED`` tries one."""

import random
from collections import defaultdict
from collections.abc import Generator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of a random order."""
    text = "Run files, and the tests in each of them, in a random order."
    parser.addoption("--shuffle", type=int, metavar="SEED", help=text)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests; pytest then brings those together that share a fixture's parameter."""
    seed = config.getoption("shuffle")
    if seed is None:
        return
    of_file, rng = defaultdict[Path, list[pytest.Item]](list), random.Random(seed)
    for item in items:
        of_file[item.path].append(item)
    files = [*of_file.values()]
    rng.shuffle(files)
    for tests in files:
        rng.shuffle(tests)
    items[:] = chain(*files)


# scikit-learn draws from NumPy's global generator without a random_state. The first test that asks
# for a fixture of a module or session makes it, so neither may depend on what was drawn before.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start each test with the same random numbers."""
    np.random.seed(0)  # noqa: NPY002


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, Any, Any]:
    """Start each fixture with the same random numbers, and take none from the test."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        return (yield)
    finally:
        np.random.set_state(before)  # noqa: NPY002

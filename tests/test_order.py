"""Neither the order of tests nor what an earlier one drew changes what a test gets."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FIRST = np.random.RandomState(0).random_sample()


def draw():
    """The next number of the generator that scikit-learn takes without a random_state."""
    return np.random.random_sample()  # noqa: NPY002


@pytest.fixture(scope="session")
def of_session():
    return draw()


@pytest.fixture(scope="module")
def of_module(of_session):
    return draw()


@pytest.mark.parametrize("number", [1, 2])
def test_fixtures_and_tests_start_with_the_same_numbers(number, of_session, of_module):
    assert (of_session, of_module, draw()) == (FIRST,) * 3


def test_a_seed_gives_an_order_of_the_same_tests_file_by_file(pytestconfig):
    root = str(Path(__file__).parents[1] / "conftest.py")
    plugins = pytestconfig.pluginmanager.get_plugins()
    (order,) = (each for each in plugins if getattr(each, "__file__", "") == root)
    tests = [SimpleNamespace(path=Path(f"{i % 7}.py"), number=i) for i in range(70)]

    def shuffled(seed):
        items = [*tests]
        config = SimpleNamespace(getoption={"shuffle": seed}.get)
        order.pytest_collection_modifyitems(config, items)
        return items

    assert shuffled(None) == tests
    assert shuffled(1) == shuffled(1) != shuffled(2)
    assert sorted(shuffled(1), key=lambda test: test.number) == tests
    files = [test.path for test in shuffled(1)]
    assert sum(one != other for one, other in zip(files[1:], files, strict=False)) == 6

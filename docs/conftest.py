"""The doctests of a page write their files into a folder of their own."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Their examples fit many models, or those of the README again: `make test-more` runs them.
LONG = {
    "index.md",
    "explanation/decisions.md",
    "reference/estimators.md",
    "tutorials/python.md",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the pages that take long."""
    for item in items:
        if HERE in item.path.parents and item.path.relative_to(HERE).as_posix() in LONG:
            item.add_marker("more")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each page in an empty folder."""
    monkeypatch.chdir(tmp_path)

"""Doctests of pages write their files into a folder of their own, and share the demo's runs."""

from pathlib import Path
from typing import Any

import joblib
import pytest

import ntkit

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


@pytest.fixture(scope="session")
def runs() -> dict[str, Any]:
    """Results of repairs, by a hash of all arguments."""
    return {}


@pytest.fixture(autouse=True)
def one_run_for_all_pages(runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Repair the demo once for all pages that call ntkit.debias with the same arguments."""
    repaired = ntkit.debias

    def once(model: Any, **options: Any) -> Any:
        if "out" in options:
            return repaired(model, **options)
        sets = {name: options[name] for name in ("train", "validation", "test")}
        others = {name: value for name, value in options.items() if name not in sets}
        key = str(joblib.hash((sets, str(getattr(model, "path", model)), repr(others))))
        if key not in runs:
            runs[key] = repaired(model, **options)
        return runs[key]

    monkeypatch.setattr(ntkit, "debias", once)

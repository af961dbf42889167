"""The doctests of a page write their files into a folder of their own."""

import pytest


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Run each page in an empty folder."""
    monkeypatch.chdir(tmp_path)

"""The drawing of the packages shows the imports that exist; CONTRIBUTING names files that exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw_packages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawing_is_of_these_packages(drawing):
    drawn = drawing.DIAGRAM.read_text(encoding="utf-8")
    assert drawing.described(drawing.imports()) in drawn, "run: python docs/draw_packages.py"


def test_contributing_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(
        r"`((?:[a-z_]+/)*[a-z_0-9]+(?:\.py|/))`", text.partition("## The packages")[2]
    )
    assert len(named) > 40
    bases = (ROOT, ROOT / "ntkit", ROOT / "ntkit" / "jobs", ROOT / "ntkit" / "model")
    bases = (*bases, ROOT / "ntkit" / "attributes")
    assert [name for name in named if not any((base / name).exists() for base in bases)] == []

"""The house: its drawing shows the imports that there are, and none goes up."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("draw_house", ROOT / "docs" / "draw_house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawing_is_of_this_house(house):
    drawn = house.PICTURE.read_text(encoding="utf-8")
    assert house.described(house.imports()) in drawn, "run: python docs/draw_house.py"


def test_no_import_goes_up(house):
    floor = {room: level for level, row in enumerate(house.floors()) for room in row}
    assert [(a, b) for a, b in house.imports() if floor[a] >= floor[b]] == []

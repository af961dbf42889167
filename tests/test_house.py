"""The house: its drawing shows the imports that there are, no room is crowded, no file is long."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# One file per verb of the command line: their number is that of the verbs.
CROWDED = {"cli"}


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


def test_rooms_and_files_stay_small():
    folders = [f for f in (ROOT / "ntkit").rglob("*") if f.is_dir() and f.name != "__pycache__"]
    files = {f.relative_to(ROOT / "ntkit").as_posix(): len(list(f.glob("*.py"))) for f in folders}
    assert {name: n for name, n in files.items() if n > 14 and name not in CROWDED} == {}
    lines = {
        f.name: len(f.read_text(encoding="utf-8").splitlines()) for f in ROOT.glob("ntkit/**/*.py")
    }
    assert {name: n for name, n in lines.items() if n > 400} == {}

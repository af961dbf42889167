"""The diagrams of the documentation show the data flow, commands and results of today."""

import importlib.util
from pathlib import Path

import pytest
import typer

from ntkit.cli._app import app

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands


@pytest.fixture(scope="module")
def script():
    path = ROOT / "docs" / "draw_diagrams.py"
    spec = importlib.util.spec_from_file_location("draw_diagrams", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(script, name):
    return (script.STATIC / name).read_text("utf-8")


@pytest.mark.parametrize("name", ["data_flow", "commands"])
def test_a_diagram_is_what_the_script_draws(script, name):
    svg = getattr(script, name)()
    assert drawn(script, f"{name}.svg") == svg, "run: python docs/draw_diagrams.py"


def test_commands_of_the_diagram_exist(script):
    lines = script.commands_drawn(script.commands())
    assert len(lines) > 8
    for line in lines:
        _, name, *rest = line.split()
        assert name in COMMANDS, line
        options = {option for each in COMMANDS[name].params for option in each.opts}
        assert {word for word in rest if word.startswith("--")} <= options, line


@pytest.mark.more
def test_the_diagram_of_intervals_shows_a_real_check(script):
    svg = drawn(script, "check_intervals.svg")
    shown = script.changes_drawn(svg)
    assert script.check_intervals(shown) == svg, "run: python docs/draw_diagrams.py"
    today = script.checked_changes()
    assert {each["outcome"] for each in today} == {"pass", "fail", "too few"}
    for old, new in zip(shown, today, strict=True):
        assert [old[key] for key in ("name", "n", "outcome")] == [
            new[key] for key in ("name", "n", "outcome")
        ]
        # Machines round differently, so a few predictions may differ.
        assert [old["change"], *old["interval"]] == pytest.approx(
            [new["change"], *new["interval"]], abs=1
        )


@pytest.mark.parametrize("name", ["data_flow", "commands", "check_intervals"])
def test_a_diagram_is_accessible(script, name):
    svg = drawn(script, f"{name}.svg")
    assert "<title" in svg
    assert "<desc" in svg
    assert 'rx="10" fill="#ffffff"' in svg

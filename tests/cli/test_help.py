"""Help that a newcomer can read at once: short lists first, whole lines, no library imported."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import typer

from ntkit.cli import main
from ntkit.cli._app import app
from ntkit.cli._help import FIRST, PANELS, as_shown, by_panel
from ntkit.estimators import LABEL_FREE
from ntkit.jobs.attribute_reader import FEATURE_SETS
from ntkit.jobs.audit.changes import MOST_CHANGES
from ntkit.jobs.debias import MAX_COST
from ntkit.jobs.debias._complaints import LIMIT

COMMANDS = typer.main.get_command(app).commands
GROUPS = {
    "Look": ["audit", "label", "inspect"],
    "Repair": ["debias", "open", "export"],
    "Check": ["check", "watch", "predict", "verify", "parity"],
    "Steps": ["embed", "merge", "fit"],
    "Help": ["demo", "doctor"],
}


def shown(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*words])
    assert not end.value.code
    return capsys.readouterr().out


def test_the_list_of_commands_is_in_groups_and_whole_at_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = shown(capsys, "--help")
    groups = dict(re.findall(r"^(\w+):\n((?:  .+\n)+)", out, flags=re.MULTILINE))
    listed = {group: groups[group].splitlines() for group in GROUPS}
    assert {group: [line.split()[0] for line in lines] for group, lines in listed.items()} == GROUPS
    summaries = dict(line.split(maxsplit=1) for lines in listed.values() for line in lines)
    assert summaries == {
        name: command.help.partition("\n")[0] for name, command in COMMANDS.items()
    }
    assert all(len(line) <= 45 and line.endswith(".") for line in summaries.values())
    assert "Find and repair shortcuts in trained ONNX classifiers by retraining the last" in out
    assert "Example: ntkit " in out
    assert "Begin with ntkit demo" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = shown(capsys, name, "--help")
    assert f"Example: ntkit {name}" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    text = COMMANDS[name].help
    assert not re.search(r"\[[a-z#/@]", text)  # which a terminal would take for a colour
    assert all(len(sentence.split()) <= 30 for sentence in re.split(r"(?<=[.?:])\s", text))
    context = typer.Context(COMMANDS[name], info_name=name)
    panels = by_panel(as_shown(COMMANDS[name]).get_params(context))
    assert [*panels] == [panel for panel in PANELS if panel in panels]
    assert len(panels[FIRST]) <= 12
    for params in panels.values():
        for param in params:
            assert param.help, param.name
            assert len(param.help.split()) <= 10, param.help
            assert param.metavar is not None or param.opts == ["--help", "-h"], param.name
            assert f"{param.opts[0]} " in out or param.metavar in out


def test_help_names_what_the_code_has():
    defaults = {p.name: p.default for p in COMMANDS["debias"].params + COMMANDS["audit"].params}
    helps = {p.name: p.help for p in COMMANDS["debias"].params}
    assert f"default {MAX_COST}" in helps["max_cost"]
    assert f"--keep: {LIMIT}" in helps["max_cost"]
    assert defaults["changes"] == MOST_CHANGES
    assert f"Feature sets: {', '.join(FEATURE_SETS)}." in COMMANDS["audit"].help
    assert f"Methods: {', '.join(LABEL_FREE)}." in COMMANDS["fit"].help


@pytest.mark.parametrize(
    ("width", "settings", "framed"),
    [
        (80, {"NO_COLOR": "1"}, True),
        (60, {}, False),
        (80, {"TERM": "dumb"}, False),
    ],
)
def test_help_in_a_terminal(width, settings, framed):
    """Frames if there is room for them, and never an option's name that is cut off."""
    if not shutil.which("script") or sys.platform != "linux":
        pytest.skip("needs util-linux's script")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(width), **settings}
    for words in ("--help", "fit --help"):
        command = f"{sys.executable} -m ntkit {words}"
        done = subprocess.run(
            ["script", "-qec", command, os.devnull],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True,
        )  # fmt: skip
        text = done.stdout.decode("utf-8")
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
        assert any("╭─ Options" in line for line in lines) == framed
        assert all(len(line.rstrip()) <= width for line in lines)
        assert not any(re.search(r"--[\w-]*…", line) for line in lines)
        if "NO_COLOR" in settings:
            assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text)


HEAVY = ("numpy", "scipy", "sklearn", "onnx", "onnxruntime", "PIL", "jinja2", "rich")


@pytest.mark.parametrize("words", ["--version", "--help", "fit --help"])
def test_starting_imports_no_library_of_the_commands(words):
    """Nor does ``import ntkit``; the module of a command may import NumPy."""
    code = f"import sys; from ntkit.cli import main\ntry: main({words.split()!r})\n"
    code += "except SystemExit: pass\n"
    code += f"print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stderr.split()} <= ({"numpy"} if "fit" in words else set())

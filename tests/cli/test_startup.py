"""What starting costs: no library of the commands is imported to show the version or the help."""

import subprocess
import sys

import pytest
import typer

from ntkit.cli import main
from ntkit.cli._app import app

HEAVY = ("numpy", "scipy", "sklearn", "onnx", "onnxruntime", "PIL", "jinja2")


def imported_after(code):
    """Which of the heavy libraries a new process has imported after some lines."""
    asked = f"import sys\n{code}\nprint(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return done.stderr.split()


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_import_no_library(option):
    called = f"from ntkit.cli import main\ntry: main([{option!r}])\nexcept SystemExit: pass"
    assert imported_after(called) == []


def test_import_ntkit_imports_no_library():
    assert imported_after("import ntkit") == []


def test_summaries_are_whole_and_those_of_the_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out.partition("Commands:\n")[2].rstrip().splitlines()
    commands = typer.main.get_command(app).commands
    assert [line.split(maxsplit=1) for line in listed] == [
        [name, command.help.partition("\n")[0]] for name, command in commands.items()
    ]
    assert len(listed) == 15
    assert all(len(command.help.partition("\n")[0]) <= 45 for command in commands.values())


def test_a_typo_names_the_command_that_was_meant(capsys):
    with pytest.raises(SystemExit) as end:
        main(["embd"])
    assert end.value.code == 2
    assert "'embed'" in capsys.readouterr().err

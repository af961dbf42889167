"""What starting costs: no library of the commands is imported to show the version or the help."""

import subprocess
import sys

import pytest

from ntkit.cli import main

HEAVY = ("numpy", "scipy", "sklearn", "onnx", "onnxruntime", "PIL", "jinja2", "rich")


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


def test_a_typo_names_the_command_that_was_meant(capsys):
    with pytest.raises(SystemExit) as end:
        main(["embd"])
    assert end.value.code == 2
    assert "'embed'" in capsys.readouterr().err

"""No failure ends with exit code 1, which tells a script that the new model is not better."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    root = tmp_path_factory.mktemp("user")
    shutil.copy(marked_digits_model_path(), root / "model.onnx")
    for part in ("train", "validation"):
        np.savez(root / f"{part}.npz", X=digits[f"X_{part}"][:200], y=digits[f"y_{part}"][:200])
    (root / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (root / "sheet.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "list.json").write_text("[1, 2]", encoding="utf-8")
    (root / "nothing").write_bytes(b"")
    (root / "folder").mkdir()
    return root


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("option", ["--metadata", "--groups", "--answers", "--train"])
@pytest.mark.parametrize("name", ["sheet.xlsx", "sheet.xls", "list.json", "nothing", "folder"])
def test_a_file_of_another_kind_is_one_sentence(option, name, capsys, folder, tmp_path):
    given = {"--train": folder / "train.npz", "--validation": folder / "validation.npz"}
    given |= {option: folder / name}
    words = [word for pair in given.items() for word in pair]
    where = ("-o", tmp_path / "out", "--device", "cpu", "--no-input", "--quiet")
    code, err = run(capsys, "debias", folder / "model.onnx", *words, *where)
    assert code == 2
    assert [line.partition(":")[0] for line in err.splitlines()] == ["Error"]
    assert name in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("failure", [KeyError("x"), MemoryError(), AssertionError("so")])
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_what_nobody_expected_ends_with_2(failure, debug, capsys, folder, monkeypatch):
    def fails(*_, **__):
        raise failure

    monkeypatch.setattr("ntkit.cli.inspect.o.ModelOptions.inspected", fails)
    code, err = run(capsys, "inspect", folder / "model.onnx", *debug)
    assert code == 2
    assert f"Unexpected error ({type(failure).__name__}" in err
    assert ("Traceback" in err) == bool(debug)
    assert len(err.splitlines()) == 1 or debug


def test_ctrl_c_while_a_command_is_imported(capsys, monkeypatch):
    def pressed(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("ntkit.cli._app.import_module", pressed)
    assert run(capsys, "inspect", "model.onnx") == (130, "Interrupted: nothing was written.\n")


def test_a_reader_that_is_gone(folder):
    words = [sys.executable, "-m", "ntkit", "inspect", folder / "model.onnx"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 2
    assert complaint == b""

"""ntkit check and ntkit predict on files: exit codes, what is printed and written."""

import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from ntkit import FrozenModel
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """A model, the same model with half of its neurons suppressed, and samples with groups."""
    path = tmp_path_factory.mktemp("check")
    shutil.copy(marked_digits_model_path(), path / "old.onnx")
    model = FrozenModel.load(path / "old.onnx")
    model.with_head(model.head.scaled(np.arange(64) % 2 == 0)).save(path / "worse.onnx")
    X, y, groups = digits.X_test, digits.y_test, digits.groups_test
    np.savez(path / "test.npz", X=X, y=y, groups=groups)
    np.savez(path / "few.npz", X=X[:30], y=y[:30], groups=groups[:30])
    return path


def run(capsys, *arguments):
    code = 0
    try:
        main([*map(str, arguments), "--device", "cpu", "--quiet"])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def check(capsys, folder, old, new, data="test.npz", *options):
    paths = [folder / name for name in (old, new, data) if name is not None]
    return run(capsys, "check", *paths, *options)


def test_exit_codes(capsys, folder):
    code, out, _ = check(capsys, folder, "old.onnx", "old.onnx", "test.npz", "--max-drop", "2")
    assert (code, out.startswith("Passed: ")) == (0, True)
    code, out, _ = check(capsys, folder, "old.onnx", "worse.onnx", "test.npz", "--max-drop", "2")
    assert (code, out.startswith("Failed: worse.onnx compared with old.onnx")) == (1, True)
    code, out, _ = check(capsys, folder, "old.onnx", "old.onnx", "few.npz", "--max-drop", "2")
    assert (code, out.startswith("Too few samples to say: ")) == (3, True)
    assert "150 such samples would decide" in out
    code, out, err = check(capsys, folder, "old.onnx", "old.onnx", "none.npz", "--max-drop", "2")
    assert (code, out) == (2, "")
    assert "none.npz does not exist" in err


def test_one_model(capsys, folder):
    code, out, _ = check(capsys, folder, None, "old.onnx", "test.npz", "--worst-group", "30")
    assert (code, out.splitlines()[0]) == (0, "Passed: old.onnx, 2000 samples.")
    code, *_ = check(capsys, folder, None, "old.onnx", "test.npz", "--worst-class", "80")
    assert code == 1
    code, _, err = check(capsys, folder, None, "old.onnx", "test.npz")
    assert (code, "No limit is set" in err) == (2, True)
    code, _, err = check(capsys, folder, None, "old.onnx", "test.npz", "--max-new-errors", "3")
    assert (code, "Pass both models" in err) == (2, True)


def test_changes_that_must_not_matter(capsys, folder, tmp_path):
    options = ["--invariant", "image:jpeg=90", "--invariant", "image:top left"]
    code, out, _ = check(capsys, folder, "old.onnx", "old.onnx", "test.npz", *options)
    assert code == 0
    assert re.search(r"image:top left +2000 +[0-9.]+ ", out)
    code, out, _ = check(
        capsys, folder, None, "old.onnx", "test.npz", *options, "--max-flip-rate", "5", "--json"
    )
    (jpeg, part) = json.loads(out)["changes"]
    assert (code, jpeg["limits"][0]["outcome"], part["limits"][0]["outcome"]) == (1, "pass", "fail")
    code, _, err = check(capsys, folder, None, "old.onnx", "test.npz", *options)
    assert code == 2
    assert "may flip with --max-flip-rate" in err
    code, _, err = check(capsys, folder, None, "old.onnx", "test.npz", "--invariant", "image:blurr")
    assert code == 2
    assert "did you mean 'blur'?" in err


def test_files_are_written_whatever_the_outcome(capsys, folder, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text('max_drop = 2\nover = ["group"]\nmax_new_errors = 50\n')
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "xml", "md")}
    code, out, _ = check(
        capsys, folder, "old.onnx", "worse.onnx", "test.npz", "--limits", limits, "--json",
        "--json-file", files["json"], "--junit", files["xml"], "--markdown", files["md"],
    )  # fmt: skip
    assert code == 1
    written = json.loads(files["json"].read_text("utf-8"))
    assert json.loads(out) == written
    limited = [row for row in written["rows"] if row["limits"]]
    assert [row["kind"] for row in limited] == ["average", *["group"] * 4]
    assert [each["limit"] for each in limited[0]["limits"]] == ["max_new_errors"]
    assert ElementTree.parse(files["xml"]).getroot().get("tests") == "5"
    assert files["md"].read_text("utf-8").startswith("### Failed")


def test_options_go_before_the_file(capsys, folder, tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text("max_drop = 2\n")
    code, *_ = check(
        capsys, folder, "old.onnx", "worse.onnx", "test.npz", "--limits", limits,
        "--max-drop", "100",
    )  # fmt: skip
    assert code == 0


@pytest.mark.parametrize("option", ["--json-file", "--junit", "--markdown"])
def test_files_of_others_stay(capsys, folder, tmp_path, option):
    thesis = tmp_path / "thesis"
    thesis.write_text("years of work")
    code, _, err = check(
        capsys, folder, "old.onnx", "old.onnx", "test.npz", "--max-drop", "2", option, thesis
    )
    assert (code, "exists" in err, thesis.read_text()) == (2, True, "years of work")
    code, _, err = check(
        capsys, folder, "old.onnx", "old.onnx", "test.npz", "--max-drop", "2", option,
        folder / "old.onnx", "--force",
    )  # fmt: skip
    assert (code, "is an input of this job" in err) == (2, True)


def test_how_many_paths(capsys, folder):
    code, _, err = run(capsys, "check", folder / "old.onnx")
    assert (code, "the usage is" in err) == (2, True)


def test_predict(capsys, folder, tmp_path):
    out = tmp_path / "out.csv"
    code, said, _ = run(
        capsys, "predict", folder / "worse.onnx", folder / "test.npz", "--before",
        folder / "old.onnx", "-o", out,
    )  # fmt: skip
    assert code == 0
    lines = out.read_text("utf-8").splitlines()
    assert len(lines) == 2001
    assert lines[0].startswith("row,label,prediction_before,prediction,changed,margin_before,")
    changed = sum(int(line.split(",")[4]) for line in lines[1:])
    assert f"differ on {changed} samples" in said
    code, said, _ = run(
        capsys, "predict", folder / "old.onnx", folder / "test.npz", "-o", out, "--force", "--json"
    )
    assert (code, json.loads(said)["n_samples"]) == (0, 2000)
    code, _, err = run(capsys, "predict", folder / "old.onnx", folder / "test.npz", "-o", out)
    assert (code, "exists" in err) == (2, True)

"""What `ntkit debias` prints: four lines and three rows, each of them true of the written file."""

import re
import shlex

import numpy as np
import onnxruntime as ort
import pytest

from ntkit import debias
from ntkit.cli import main
from ntkit.datasets import load_marked_digits, marked_digits_model_path


@pytest.fixture(scope="module")
def digits():
    return load_marked_digits()


@pytest.fixture(scope="module")
def sets(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    parts = {
        "train": {"X": digits.X_train, "y": digits.y_train},
        "validation": {"X": digits.X_validation, "y": digits.y_validation},
        "test": {"X": digits.X_test, "y": digits.y_test, "groups": digits.groups_test},
    }
    for name, arrays in parts.items():
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


def ran(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code or 0, capsys.readouterr().out


def command(sets, out, *more):
    parts = [
        word for name in ("train", "validation") for word in (f"--{name}", sets / f"{name}.npz")
    ]
    return ["debias", marked_digits_model_path(), *parts, "-o", out, "--device", "cpu", *more]


def accuracies(model, digits):
    """Average, worst class and worst group in percent, by ONNX Runtime alone."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: digits.X_test})
    right = logits.argmax(axis=1) == digits.y_test
    return [
        f"{100 * min(right[of == each].mean() for each in np.unique(of)):.1f}"
        for of in (np.zeros_like(digits.y_test), digits.y_test, digits.groups_test)
    ]


@pytest.mark.parametrize("max_cost", ["0.05", "0.003"])
def test_the_rows_are_those_of_the_files(digits, sets, tmp_path, capsys, max_cost):
    """Also if the head that is written is an interpolation."""
    more = ["--method", "auto", "--max-cost", max_cost, "--test", sets / "test.npz"]
    code, out = ran(capsys, *command(sets, tmp_path / "out", *more, "--even-if-worse"))
    assert code == 0
    lines = out.splitlines()
    table = [re.split(r"\s{2,}", line) for line in lines[-4:]]
    assert table[0] == ["test set, %", "average", "worst class", "worst group"]
    assert table[1] == ["original head", *accuracies(marked_digits_model_path(), digits)]
    assert table[2][1:] == accuracies(tmp_path / "out" / "debiased.onnx", digits)
    assert ("%" in table[2][0]) == (max_cost == "0.003")  # the share of the new head
    assert table[2][0].startswith("written: auto")
    assert table[3][0].startswith("best control: class-balanced")
    assert len(lines) == 4 + 1 + 4
    before, after = table[1], table[2]
    assert lines[1] == (
        f"Test set, worst group: {before[3]} → {after[3]} %; average: {before[1]} → {after[1]} %."
    )
    assert f"Wrote {tmp_path / 'out' / 'debiased.onnx'}" in lines[0]


def test_the_next_command_runs(sets, tmp_path, capsys):
    more = ["--method", "auto", "--test", sets / "test.npz", "--label-column", "y"]
    _, out = ran(capsys, *command(sets, tmp_path / "out", *more))
    (line,) = (line for line in out.splitlines() if line.startswith("Next: "))
    program, *words = shlex.split(line.removeprefix("Next: "))
    assert (program, words[0]) == ("ntkit", "check")
    assert words[-2:] == ["--label-column", "y"]
    code, out = ran(capsys, *words, "--device", "cpu")
    assert code in (0, 1, 3)
    assert re.match("Passed|Failed|Too few", out)


def test_a_kept_model_says_why_and_what_was_tried(sets, tmp_path, capsys):
    code, out = ran(capsys, *command(sets, tmp_path / "out", "--method", "neurontune"))
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("Kept the original model: neurontune ")
    assert lines[1].startswith("Validation set with neurontune, worst class: ")
    assert lines[3] == f"Next: open {tmp_path / 'out' / 'report.html'}"
    assert lines[-2].startswith("not written: neurontune")


def test_open_questions_come_with_the_command_that_answers(sets, tmp_path, capsys):
    out_folder = tmp_path / "out"
    code, out = ran(capsys, *command(sets, out_folder, "--no-input"))
    assert code == 3
    lines = out.splitlines()
    assert lines[0].startswith("No decision yet: ")
    assert lines[3] == f"Next: ntkit debias --from {out_folder} --answers answers.json"
    assert len(lines) <= 4 + 1 + 2 * 3
    assert "--invariant image:border" in out


def test_everything_is_there_if_asked_for(digits, sets, tmp_path, capsys):
    _, out = ran(capsys, *command(sets, tmp_path / "out", "--method", "auto", "--verbose"))
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert out.rstrip("\n").replace("\\", "") == table.rstrip("\n").replace("\\", "")
    for name in ("random mask of ", "neurontune-half-cells", "Embeddings computed on: cpu"):
        assert name in out


def test_shared_samples_are_said_by_default(digits):
    train = digits.X_train, digits.y_train
    result = debias(marked_digits_model_path(), train, train, method="auto", device="cpu")
    assert "are also in the training set" in "\n".join(str(result).splitlines()[4:6])

"""What `ntkit debias` prints: four lines and three rows, each of them true of the written file."""

import re
import shlex

import numpy as np
import onnxruntime as ort
import pytest

from ntkit import debias
from ntkit.attributes import write_answers
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


def test_a_new_head_has_no_old_model_to_compare_with(sets, tmp_path, capsys):
    out = tmp_path / "out"
    _, text = ran(capsys, *command(sets, out, "--new-head", "--method", "auto"))
    assert f"Next: open {out / 'report.html'}" in text.splitlines()


def test_an_unchanged_original_in_the_folder_is_said(sets, tmp_path, capsys):
    out = tmp_path / "out"
    _, text = ran(capsys, *command(sets, out, "--method", "neurontune", "--keep-original"))
    assert text.splitlines()[0].endswith(f"{out}: debiased.onnx is the unchanged original.")
    _, text = ran(capsys, *command(sets, tmp_path / "open", "--no-input", "--keep-original"))
    assert "debiased.onnx is the unchanged original." in text.splitlines()[0]


def test_the_next_command_of_an_audit_runs_in_a_folder_with_blanks(sets, tmp_path, capsys):
    out = tmp_path / "o ut"
    more = ["--label-column", "y", "--device", "cpu", "--no-changes"]
    model, data = marked_digits_model_path(), sets / "validation.npz"
    _, text = ran(capsys, "audit", model, data, "-o", out, *more)
    program, *words = shlex.split(text.splitlines()[-1].removeprefix("Next: "))
    assert program == "ntkit"
    assert words[-2:] == ["-o", "debiased/"]
    assert words[words.index("--label-column") + 1] == "y"
    answers = tmp_path / "answers.json"
    found = debias(
        model,
        *(load_npz(sets / f"{name}.npz") for name in ("train", "validation")),
        device="cpu",
    )
    write_answers(answers, found.audit.answers(found.open[0].name))
    place = {"TRAIN": sets / "train.npz", "answers.json": answers, "debiased/": tmp_path / "d"}
    code, text = ran(capsys, *(place.get(word, word) for word in words), "--device", "cpu")
    assert code == 0
    assert text.startswith(("Better", "Accepted"))


def load_npz(path):
    with np.load(path) as arrays:
        return arrays["X"], arrays["y"]


def test_check_names_the_worst_group_before_and_after(digits, sets, tmp_path, capsys):
    more = ["--method", "auto", "--test", sets / "test.npz", "--even-if-worse"]
    ran(capsys, *command(sets, tmp_path / "out", *more))
    new = tmp_path / "out" / "debiased.onnx"
    _, out = ran(capsys, "check", marked_digits_model_path(), new, sets / "test.npz")
    before, after = accuracies(marked_digits_model_path(), digits), accuracies(new, digits)
    found = re.search(r"worst group (?:\((\d)\) )?([\d.]+)(?: \(\d\))? → ([\d.]+) %", out)
    assert found.groups()[1:] == (before[2], after[2])

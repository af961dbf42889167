"""ntkit debias in a terminal and without one: questions, exit codes, and how a run goes on."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from data_made_up import KINDS, write_samples
from ntkit import FrozenModel
from ntkit.cli._app import app, main

TEXTS = KINDS["texts"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A model that relies on film and movie, and tables of texts that have the same bias."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    train = TEXTS.draw("train", 1000, [0.92], rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has not converged will do
        TEXTS.train(train.X, train.y, 0, folder / "model.onnx")
    write_samples(train, folder / "train.csv")
    write_samples(TEXTS.draw("validation", 800, [0.92], rng), folder / "val.csv")
    return folder


@pytest.fixture
def command(texts, tmp_path):
    """Arguments of a run, whose folder is OUT."""
    return [
        "debias", str(texts / "model.onnx"), "--train", str(texts / "train.csv"),
        "--validation", str(texts / "val.csv"), "-o", str(tmp_path / "out"),
        "--device", "cpu", "--quiet",
    ]  # fmt: skip


def typed(monkeypatch, arguments, text):
    """Run a command as if a person sat there and typed."""
    monkeypatch.setattr("ntkit.cli._debias_run.can_ask", lambda: True)
    return CliRunner().invoke(app, arguments, input=text)


def test_one_command_from_model_and_data_to_a_repaired_model(command, tmp_path, monkeypatch):
    done = typed(monkeypatch, command, "?\nwhat\ny\n\n\n")
    assert done.exit_code == 0, done.output
    question = 'Is the word "film" (against "movie") a shortcut that the model should ignore?'
    assert question in done.stderr
    assert question not in done.stdout  # a program that reads the result sees no question
    assert done.stderr.count(question) == 3  # asked, more shown, not understood
    assert "Type y, n, ? or o" in done.stderr
    assert done.stdout.splitlines()[0].startswith(("Better", "Accepted at a cost"))
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["state"] == "written"
    (said,) = record["answers"]
    assert said["name"] in ("word:film", "word:movie")
    assert {"by", "at"} <= {*said}


def test_at_most_three_questions_the_strongest_first(command, tmp_path, monkeypatch):
    done = typed(monkeypatch, command, "\n" * 9)
    assert done.exit_code == 3
    assert done.stderr.count("Question ") == 3
    assert '"film"' in done.stderr.split("Question 2")[0]
    assert done.stdout.startswith("No decision yet: ")
    page = (tmp_path / "out" / "audit.html").read_text()
    n_cards = page.count('class="finding"')
    assert done.stdout.startswith(f"No decision yet: {n_cards} questions")
    headings = re.findall('<h2 class="list">.*', page)
    assert len(headings) == len({*headings})


def test_the_end_of_input_means_later_and_keeps_what_was_said(command, tmp_path, monkeypatch):
    done = typed(monkeypatch, command, "n\n")
    assert done.exit_code == 3
    kept = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert [answer["answer"] for answer in kept["answers"]] == ["legitimate"]
    again = typed(monkeypatch, ["debias", "--from", str(tmp_path / "out")], "")
    assert again.exit_code == 3
    assert '"film"' not in again.stderr  # it is answered


@pytest.mark.parametrize("option", [[], ["--no-input"], ["--json"]])
def test_without_a_terminal_nothing_is_asked_and_the_cost_is_said_first(
    command, tmp_path, monkeypatch, option
):
    if option:
        monkeypatch.setattr("ntkit.cli._debias_run.can_ask", lambda: True)
    done = CliRunner().invoke(app, [*command, *option], input="y\ny\ny\n")
    assert done.exit_code == 3
    assert "[y]es" not in done.stderr
    first = done.stderr.splitlines()[0]
    assert first.startswith("Note: this run embeds 1800 samples and writes no model")
    assert "ntkit audit" in first
    assert not list((tmp_path / "out").glob("*.onnx"))
    if option == ["--json"]:
        assert json.loads(done.stdout)["state"] == "open"
    else:
        page = tmp_path / "out"
        assert f"ntkit debias --from {shlex.quote(str(page))} --answers" in done.stdout


def test_answers_saved_into_the_folder_and_elsewhere_go_on(command, tmp_path, monkeypatch):
    out, said = tmp_path / "out", tmp_path / "answers.json"
    assert CliRunner().invoke(app, command).exit_code == 3
    sides = [["word:film"], ["word:movie"]]
    answer = {"name": "word:film", "values": sides, "answer": "spurious"}
    said.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [answer]}))
    monkeypatch.chdir(tmp_path)  # the run names its files wherever it is gone on from
    there = CliRunner().invoke(app, ["debias", "--from", str(out), "--answers", str(said)])
    assert there.exit_code == 0, there.output
    assert (out / "debiased.onnx").exists()
    (out / "answers.json").write_text(said.read_text())
    inside = ["debias", "--from", str(out), "--answers", str(out / "answers.json")]
    again = CliRunner().invoke(app, inside)
    assert again.exit_code == 0, again.output
    answer["answer"] = "legitimate"
    (out / "answers.json").write_text(
        json.dumps({"ntkit": "answers", "version": 1, "answers": [answer]})
    )
    taken_back = CliRunner().invoke(app, ["debias", "--from", str(out)])
    assert taken_back.exit_code in (0, 3)
    assert not (out / "debiased.onnx").exists()


def test_an_order_that_is_not_carried_out_exits_with_1(command, tmp_path):
    strict = [*command, "--method", "neurontune", "--max-cost", "0"]
    done = CliRunner().invoke(app, strict)
    assert done.exit_code == 1, done.output
    assert done.stdout.startswith("Kept the original model: ")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["state"] == "kept"
    other = ["debias", "--from", str(tmp_path / "out"), "--method", "class-balanced"]
    row = CliRunner().invoke(app, [*other, "-o", str(tmp_path / "row")])
    assert row.exit_code == 0, row.output
    assert (tmp_path / "row" / "debiased.onnx").exists()


def test_a_folder_of_an_earlier_run_says_how_to_go_on(command, tmp_path):
    assert CliRunner().invoke(app, command).exit_code == 3
    again = CliRunner().invoke(app, command)
    assert again.exit_code != 0
    assert f"continue it with ntkit debias --from {tmp_path / 'out'}" in str(again.exception)
    nothing = CliRunner().invoke(app, ["debias", "--from", str(tmp_path)])
    assert "holds no run.json" in str(nothing.exception)


def test_a_run_goes_on_with_all_that_it_was_asked(command, tmp_path):
    strict = [*command, "--method", "auto", "--max-cost", "0", "--label-column", "label"]
    assert CliRunner().invoke(app, strict).exit_code == 1
    out = tmp_path / "out"
    more = CliRunner().invoke(app, ["debias", "--from", str(out), "--max-cost", "1"])
    assert more.exit_code in (0, 1), more.output
    record = json.loads((out / "result.json").read_text())
    assert (record["chosen"], record["max_cost"]) == ("auto", 1)
    unused = ["debias", "--from", str(out), "--method", "class-balanced", "--seed", "3"]
    refused = CliRunner().invoke(app, [*unused, "-o", str(tmp_path / "row")])
    assert "--seed is not used" in str(refused.exception)
    other = CliRunner().invoke(app, ["debias", "--from", str(out), "--label-column", "text",
                                     "--method", "class-balanced"])  # fmt: skip
    assert other.exit_code != 0  # the option that is typed now counts


@pytest.mark.parametrize("content", ["{}", "[]", '{"model": 3}', "no json"])
def test_a_damaged_run_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    done = CliRunner().invoke(app, ["debias", "--from", str(tmp_path)])
    assert done.exit_code != 0
    assert "run.json" in str(done.exception)
    assert isinstance(done.exception, ValueError)


def test_answers_are_nothing_that_force_replaces(command, tmp_path, monkeypatch):
    typed(monkeypatch, command, "n\n")
    done = CliRunner().invoke(app, [*command, "--force"])
    assert "holds somebody's answers.json" in str(done.exception)
    assert (tmp_path / "out" / "answers.json").exists()


def test_undo_puts_the_original_head_back(command, texts, tmp_path):
    CliRunner().invoke(app, [*command, "--spurious", "word:film|word:movie"])
    back = tmp_path / "back.onnx"
    done = CliRunner().invoke(app, ["export", "--undo", str(tmp_path / "out"), "-o", str(back)])
    assert done.exit_code == 0, done.output
    assert FrozenModel.load(back).head.coef.tolist() == (
        FrozenModel.load(texts / "model.onnx").head.coef.tolist()
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_ctrl_c_at_a_question_exits_with_130_and_keeps_the_answers(command, tmp_path):
    import pty

    keyboard, terminal = pty.openpty()
    program = [sys.executable, "-m", "ntkit", *command]
    run = subprocess.Popen(
        program, stdin=terminal, stdout=subprocess.DEVNULL, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    seen = _read_until(keyboard, b"later: ")
    os.write(keyboard, b"n\n")
    seen += _read_until(keyboard, b"later: ")
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    assert b'Is the word "film"' in seen
    kept = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert [answer["answer"] for answer in kept["answers"]] == ["legitimate"]
    os.close(keyboard)


def _read_until(keyboard, wanted, seconds=120):
    """What a terminal shows until it shows that."""
    seen, end = b"", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < end:
        seen += os.read(keyboard, 4096)
    assert wanted in seen
    return seen


def test_groups_that_are_not_crossed_with_the_class_are_named_once(
    command, texts, tmp_path, capsys
):
    rows = []
    for name in ("train.csv", "val.csv"):
        with (texts / name).open(newline="", encoding="utf-8") as file:
            rows += [row["text"] for row in csv.DictReader(file)]
    lines = ["group", *("filmed" if "film" in text else "moved" for text in rows)]
    (tmp_path / "groups.csv").write_text("\n".join(lines) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.raises(SystemExit) as ended:
            main([*command, "--groups", str(tmp_path / "groups.csv")])
    err = capsys.readouterr().err
    assert ended.value.code in (0, 1)
    assert err.count("The group 'filmed' has several classes") == 1

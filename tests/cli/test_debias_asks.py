"""ntkit debias in a terminal and without one: questions, exit codes, and how a run goes on."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from ntkit import FrozenModel
from ntkit.cli._app import app
from tests.cases import done, ntkit, refused, settings

FILM = {"name": "word:film", "values": [["word:film"], ["word:movie"]]}


@pytest.fixture
def command(reviews, tmp_path):
    """Arguments of a run whose folder is out."""
    return debiasing(reviews, tmp_path / "out")


def debiasing(reviews, out):
    return [
        "debias", reviews / "model.onnx", "--train", reviews / "train.csv",
        "--validation", reviews / "val.csv", "-o", out, "--device", "cpu", "--quiet",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def open_run(reviews, tmp_path_factory):
    """A run whose questions are open."""
    out = tmp_path_factory.mktemp("open") / "out"
    code, printed, err = ntkit(*debiasing(reviews, out), "--text-column", "text")
    assert code == 3
    return out, printed, err


@pytest.fixture
def going_on(open_run, tmp_path):
    """A copy of that run, and the arguments that continue it."""
    out = shutil.copytree(open_run[0], tmp_path / "out")
    return out, ["debias", "--from", str(out)]


def typed(monkeypatch, arguments, text):
    """Run a command as if a person sat there and typed."""
    monkeypatch.setattr("ntkit.cli._debias_run.can_ask", lambda: True)
    return CliRunner().invoke(app, [*map(str, arguments)], input=text)


def answered(path, answer):
    """A file of one answer."""
    content = {"ntkit": "answers", "version": 1, "answers": [FILM | {"answer": answer}]}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.more
def test_a_yes_in_the_terminal_repairs_the_model(going_on, reviews, tmp_path, monkeypatch):
    ended = typed(monkeypatch, going_on[1], "?\nwhat\ny\n\n\n")
    assert ended.exit_code == 0, ended.output
    question = 'Is the word "film" (against "movie") a shortcut that the model should ignore?'
    assert question not in ended.stdout  # a program that reads the result sees no question
    assert ended.stderr.count(question) == 3  # asked, more shown, not understood
    assert "Type y, n, ? or o" in ended.stderr
    assert ended.stdout.splitlines()[0].startswith(("Better", "Probably better"))
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["state"] == "written"
    (said,) = record["answers"]
    assert said["name"] in ("word:film", "word:movie")
    assert {"by", "at"} <= {*said}
    # The head that the model had before.
    back = tmp_path / "back.onnx"
    done("export", "--undo", tmp_path / "out", "-o", back)
    heads = [FrozenModel.load(path).head.coef.tolist() for path in (back, reviews / "model.onnx")]
    assert heads[0] == heads[1]


def test_at_most_three_questions_the_strongest_first_and_the_end_of_input_means_later(
    going_on, monkeypatch
):
    out, again = going_on
    ended = typed(monkeypatch, again, "n\n" + "\n" * 8)
    assert ended.exit_code == 3
    assert ended.stderr.count("Question ") == 3
    assert '"film"' in ended.stderr.split("Question 2")[0]
    kept = json.loads((out / "answers.json").read_text())
    assert [answer["answer"] for answer in kept["answers"]] == ["legitimate"]
    ended = typed(monkeypatch, again, "")
    assert ended.exit_code == 3
    assert '"film"' not in ended.stderr  # it is answered
    page = (out / "audit.html").read_text()
    n_open = page.count('class="finding"') - 1
    assert ended.stdout.startswith(f"No decision yet: {n_open} questions")
    headings = re.findall('<h2 class="list">.*', page)
    assert len(headings) == len({*headings})


def test_without_a_terminal_nothing_is_asked_and_the_cost_is_said_first(open_run):
    out, printed, err = open_run
    assert "[y]es" not in err
    first = err.splitlines()[0]
    assert first.startswith("Note: this run embeds 2000 samples and writes no model")
    assert "ntkit audit" in first
    assert first.endswith("val.csv --text-column text -o audit/")
    assert not list(out.glob("*.onnx"))
    assert f"ntkit debias --from {shlex.quote(str(out))} --answers" in printed


def test_a_terminal_is_not_asked_against_its_will(going_on, monkeypatch):
    for options in (settings(no_input=True), ["--json"]):
        ended = typed(monkeypatch, [*going_on[1], *options], "y\ny\ny\n")
        assert ended.exit_code == 3
        assert "[y]es" not in ended.stderr
    assert json.loads(ended.stdout)["state"] == "open"


@pytest.mark.more
def test_answers_saved_into_the_folder_and_elsewhere_go_on(going_on, tmp_path, monkeypatch):
    (out, again), model = going_on, going_on[0] / "debiased.onnx"
    said = answered(tmp_path / "answers.json", "spurious")
    monkeypatch.chdir(tmp_path)  # the run names its files wherever it is gone on from
    done(*again, "--answers", said)
    assert model.exists()
    answered(out / "answers.json", "legitimate")  # taken back
    assert ntkit(*again)[0] in (0, 3)
    assert not model.exists()


@pytest.mark.more
def test_a_run_that_is_ordered_goes_on_with_all_that_it_was_asked(command, tmp_path):
    """An order that is not carried out exits with 1, and more cost or another row may do."""
    out, row = tmp_path / "out", tmp_path / "row"
    strict = [*command, "--method", "auto", "--max-cost", "0", "--label-column", "label"]
    code, printed, _ = ntkit(*strict)
    assert (code, printed.startswith("Kept the original model: ")) == (1, True)
    assert json.loads((out / "result.json").read_text())["state"] == "kept"
    again = ["debias", "--from", out]
    other = [*again, "--method", "class-balanced"]
    done(*other, "-o", row)
    assert (row / "debiased.onnx").exists()
    unused = ("--metadata", out / "result.json")
    refused(*other, *unused, "-o", tmp_path / "no", says="--metadata is not used")
    refused(*other, "--label-column", "text")  # the option that is typed now counts
    assert ntkit(*again, "--max-cost", "1")[0] in (0, 1)
    record = json.loads((out / "result.json").read_text())
    assert (record["chosen"], record["max_cost"]) == ("auto", 1)


def test_a_folder_of_an_earlier_run_is_not_replaced_by_accident(going_on, command, tmp_path):
    out, _ = going_on
    refused(*command, says=f"continue it with ntkit debias --from {out}")
    answered(out / "answers.json", "legitimate")
    refused(*command, "--force", says="holds somebody's answers.json")
    assert (out / "answers.json").exists()
    refused("debias", "--from", tmp_path, says="holds no run.json")
    for content in ("{}", "[]", '{"model": 3}', "no json"):
        (tmp_path / "run.json").write_text(content)
        refused("debias", "--from", tmp_path, says="run.json")


@pytest.mark.more
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_ctrl_c_at_a_question_exits_with_130_and_keeps_the_answers(going_on):
    import pty

    out, again = going_on
    keyboard, terminal = pty.openpty()
    # A process that is started in the background is deaf to Ctrl-C, and so is what it starts.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from ntkit.cli import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", code, *again], stdin=terminal, stdout=subprocess.DEVNULL,
        stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = _read_until(keyboard, b"later: ")
    os.write(keyboard, b"n\n")
    seen += _read_until(keyboard, b"later: ")
    run.send_signal(signal.SIGINT)
    assert run.wait(120) == 130
    assert b'Is the word "film"' in seen
    kept = json.loads((out / "answers.json").read_text())
    assert [answer["answer"] for answer in kept["answers"]] == ["legitimate"]
    os.close(keyboard)


@pytest.mark.more
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_the_key_o_goes_on_in_the_browser_with_the_answers(going_on):
    import pty

    out, again = going_on
    keyboard, terminal = pty.openpty()
    code = "from ntkit.cli import main; main()"
    hidden = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "CI": ""}  # no browser opens here
    run = subprocess.Popen(
        [sys.executable, "-c", code, *again], stdin=terminal, stdout=subprocess.DEVNULL,
        stderr=terminal, start_new_session=True, env=os.environ | hidden,
    )  # fmt: skip
    os.close(terminal)
    _read_until(keyboard, b"later: ")
    os.write(keyboard, b"n\n")
    _read_until(keyboard, b"later: ")
    os.write(keyboard, b"o\n")
    address = _read_until(keyboard, b"ssh -L")
    assert b"http://127.0.0.1:" in address
    assert run.poll() is None  # it waits for the person
    kept = json.loads((out / "answers.json").read_text())
    assert [answer["answer"] for answer in kept["answers"]] == ["legitimate"]
    run.terminate()
    run.wait(120)
    os.close(keyboard)


def _read_until(keyboard, wanted, seconds=300):
    """What a terminal shows until it shows that."""
    seen, end = b"", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < end:
        seen += os.read(keyboard, 4096)
    assert wanted in seen
    return seen

"""Progress: bars where they can be seen, lines in a pipe, nothing for short or quiet work."""

import io
import re
import sys
import time

import pytest

from ntkit import FrozenModel, _process
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.jobs.verify import check_parity
from ntkit.verification import verify


@pytest.fixture
def lines(monkeypatch, capsys):
    """What stderr gets where a line is due at once."""
    monkeypatch.setattr(_process, "SECONDS", 0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)

    def read():
        return capsys.readouterr().err.splitlines()

    return read


def steps(n, seconds=0.02, **options):
    for _ in _process.progress_bar(range(n), shown=True, desc="fitting", unit=" heads", **options):
        time.sleep(seconds)


def test_a_pipe_gets_lines_with_counts_and_rates(lines):
    steps(5)
    said = lines()
    shape = r"fitting: (\d) of 5 heads, +\S+ heads/s, \d\d:\d\d so far, (\S+) left"
    counts = [int(re.fullmatch(shape, line)[1]) for line in said]
    assert counts == sorted(set(counts))
    assert counts[-1] in (4, 5)


def test_an_unknown_total_is_left_out(lines):
    for _ in _process.progress_bar(iter("abc"), shown=True, desc="reading", unit=" rows"):
        time.sleep(0.02)
    assert all(re.match(r"reading: \d rows, ", line) for line in lines())


def test_short_and_quiet_work_is_silent(lines, monkeypatch):
    for _ in _process.progress_bar(range(5), shown=False, desc="fitting", unit=" heads"):
        time.sleep(0.02)
    assert lines() == []
    monkeypatch.setattr(_process, "SECONDS", 10)
    steps(5)
    assert lines() == []


@pytest.mark.parametrize("notebook", [False, True])
def test_terminals_and_notebooks_get_a_bar(monkeypatch, notebook):
    stream = io.StringIO()
    stream.isatty = lambda: not notebook
    monkeypatch.setattr(sys, "stderr", stream)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    else:
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    steps(12, 0.11)
    assert "\rfitting: " in stream.getvalue()
    assert "%|" in stream.getvalue()


def test_a_watcher_hears_of_each_step_and_of_the_end():
    heard = []
    with _process.watched(lambda *told: heard.append(told)):
        for _ in _process.progress_bar(range(3), shown=False, desc="fitting", unit=" heads"):
            time.sleep(0.15)
    assert ("fitting", 2, 3) in heard
    assert heard[-1] == ("", 0, None)  # nothing is done any more
    steps(2)
    assert heard[-1] == ("", 0, None)


def test_verify_parity_and_tables_show_progress(lines, digits, tmp_path):
    path = marked_digits_model_path()
    model, X = FrozenModel.load(path), digits.X_test[:300]
    verify(model, model.with_head(model.head), X, device="cpu", latency=False)
    assert lines() == []
    verify(model, model.with_head(model.head), X, device="cpu", latency=False, verbose=True)
    assert any(re.match(r"running: \d+ of 300 samples, ", line) for line in lines())
    recorded = {"X": X, "labels": digits.y_test[:300]}
    check_parity(model, recorded, device="cpu", verbose=True)
    assert any(re.match(r"comparing: \d+ of 300 samples, ", line) for line in lines())
    table = tmp_path / "pred.csv"
    table.write_text("id,label,prediction\n" + "".join(f"{i},1,{i % 2}\n" for i in range(5000)))
    command = ["check", "--predictions", str(table), "--average", "40"]
    for quiet in (False, True):
        with pytest.raises(SystemExit):
            main([*command, *["--quiet"] * quiet])
        said = any(re.match(r"reading pred.csv: \d+ rows, ", line) for line in lines())
        assert said is not quiet

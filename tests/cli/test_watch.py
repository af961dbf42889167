"""ntkit watch from a terminal: exit codes, lines, JSON, and errors of one sentence."""

import json

import pytest

from tests.cases import done, ntkit
from tests.jobs.watch.test_watch import HERE, LIMITS, rows_of, save


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """A folder with a stream, its tables, and one batch that is as before and one that is not."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "reference.csv", rows_of("reference", 900, seed=0))
    (tmp_path / "limits.toml").write_text(LIMITS, encoding="utf-8")
    for name, border in (("same", 0.2), ("other", 0.8)):
        rows = rows_of(name, 200, border=border, seed=len(name))
        save(tmp_path / f"{name}.csv", [row[:2] + row[3:] for row in rows], HERE)
        save(tmp_path / f"{name}-few.csv", [row[::2] for row in rows[:20]], ("id", "label"))
    done("watch", "state", "--start", "reference.csv", "--limits", "limits.toml")
    return tmp_path


def test_exit_codes_and_lines(stream):
    quiet, _ = done("watch", "state", "--predictions", "same.csv", "--labels", "same-few.csv")
    assert quiet.startswith("Nothing yet: 14 shares, 1 batch with 200 samples and 20 labels.")
    code, loud, _ = ntkit("watch", "state", "--predictions", "other.csv")
    assert code == 1
    first, alarm, step, page = loud.splitlines()
    assert first == "Alarm: 1 of 14 shares, after 2 batches with 400 samples and 20 labels."
    assert alarm.startswith("  share of column:border=yes: ")
    assert step.startswith("Next: ntkit label ")
    assert page.startswith("Page: ")
    assert ntkit("watch", "state")[0] == 1  # the alarm stays


def test_json_says_the_same(stream):
    code, out, _ = ntkit("watch", "state", "--predictions", "other.csv", "--json")
    said = json.loads(out)
    assert (said["outcome"], said["exit_code"], code) == ("alarm", 1, 1)
    assert said["rows"][0]["title"] == "share of column:border=yes"
    assert said == json.loads((stream / "state" / "watch.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("elsewhere",), "elsewhere holds no stream. Begin one: ntkit watch elsewhere --start"),
        (("state", "--start", "reference.csv"), "A stream needs limits"),
        (("state", "--predictions", "missing.csv"), "missing.csv does not exist"),
        (
            ("state", "--predictions", "same.csv", "--prediction-column", "prediction,border"),
            "Name one with --prediction-column",
        ),
        (("state", "--labels", "same-few.csv"), "belongs to predictions"),
        (("state", "--predictions", "same.csv", "--model", "missing.onnx"), "missing.onnx"),
        (("new", "--start", "reference.csv", "--limits", "missing.toml"), "missing.toml"),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_2(stream, words, said):
    code, _, err = ntkit("watch", *words)
    assert code == 2
    assert said in err
    assert not (stream / "elsewhere").exists()
    assert not (stream / "state" / "batches.jsonl").exists()
    done("watch", "state", "--predictions", "same.csv")

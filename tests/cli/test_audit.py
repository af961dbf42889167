"""ntkit audit on files: predictions and inputs in one table or several, and what is refused."""

import csv
import json

import numpy as np
import pytest

from ntkit.cli import main

N = 400
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
FILM = np.where(RNG.random(N) < 0.9, Y, 1 - Y)
PRED = np.where(RNG.random(N) < 0.5, FILM, Y)
TEXTS = [f"a {['movie', 'film'][f]}, number {i}" for i, f in enumerate(FILM)]
SITE = np.array(["A", "B"])[RNG.integers(0, 2, N)]


def run(capsys, *arguments):
    code = 0
    try:
        main(["audit", *map(str, arguments)])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def write(path, **columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def one(tmp_path):
    """Everything in one file."""
    return write(
        tmp_path / "all.csv",
        id=range(N),
        label=Y,
        prediction=PRED,
        prob_1=PRED * 0.8 + 0.1,
        text=TEXTS,
        site=SITE,
    )


def findings(path):
    return [s["name"] for s in json.loads((path / "audit.json").read_text())["findings"]]


def test_one_file(one, tmp_path, capsys):
    code, out, err = run(capsys, "--predictions", one, one, "-o", tmp_path / "out")
    assert code == 0
    assert findings(tmp_path / "out") == ["word:film"]
    assert "word:film against word:movie" in out
    assert "left out 'prob_1'" in err
    assert "`word:film against word:movie`" in (tmp_path / "out" / "table.md").read_text()


def test_json(one, tmp_path, capsys):
    code, out, _ = run(capsys, "--predictions", one, one, "-o", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "audit.json").read_text())


def test_scores(one, tmp_path, capsys):
    run(capsys, "--predictions", one, one, "-o", tmp_path / "a", "--score-columns", "prob_1")
    run(capsys, "--predictions", one, one, "-o", tmp_path / "b")
    one, other = (json.loads((tmp_path / n / "audit.json").read_text()) for n in ("a", "b"))
    assert one.pop("notes") == []
    assert "prob_1" in other.pop("notes")[0]
    assert one == other


def test_several_files_by_name(tmp_path, capsys):
    order, some = RNG.permutation(N), np.arange(0, N, 2)
    preds = write(tmp_path / "p.csv", key=range(N), label=Y, pred=PRED)
    data = write(tmp_path / "d.csv", key=order, text=[TEXTS[i] for i in order])
    site = np.array(["A", "B"])[FILM]
    meta = write(tmp_path / "m.csv", key=some, site=site[some])
    out = tmp_path / "out"
    code, _, err = run(
        capsys, "--predictions", preds, data, "-o", out, "--id-column", "key", "--metadata", meta
    )
    assert (code, err) == (0, "")
    found = json.loads((out / "audit.json").read_text())
    names = {s["name"]: s for s in found["findings"]}
    assert names["word:film"]["n_known"] == N
    assert found["looked_at"] == {"word": 2, "metadata": 3}


def test_what_a_model_said_is_no_attribute_of_its_errors(tmp_path, capsys):
    """Nor is the class, in metadata."""
    preds = write(tmp_path / "p.csv", label=Y, prediction=PRED)
    data = write(tmp_path / "d.csv", prediction=PRED, text=TEXTS)
    meta = write(tmp_path / "m.csv", label=Y, group=[f"g{y}" for y in Y], site=SITE)
    out = tmp_path / "out"
    code, _, err = run(
        capsys, "--predictions", preds, data, "-o", out, "--metadata", meta, "--json"
    )
    assert code == 0, err
    assert findings(out) == ["word:film"]
    assert json.loads((out / "audit.json").read_text())["looked_at"] == {"word": 2, "metadata": 2}
    assert "left out 'prediction'" in err


def test_labels_and_prediction_may_be_in_either(tmp_path, capsys):
    preds = write(tmp_path / "p.csv", y_pred=PRED)
    data = write(tmp_path / "d.csv", label=Y, text=TEXTS)
    assert run(capsys, "--predictions", preds, data, "-o", tmp_path / "out")[0] == 0
    assert findings(tmp_path / "out") == ["word:film"]


def test_labels_that_contradict_each_other_are_refused(tmp_path, capsys):
    """Rows of one table in another order, and no column that names them."""
    order = RNG.permutation(N)
    preds = write(tmp_path / "p.csv", name=range(N), label=Y, y_pred=PRED)
    texts = [TEXTS[i] for i in order]
    data = write(tmp_path / "d.csv", name=order, label=Y[order], text=texts)
    code, _, err = run(capsys, "--predictions", preds, data, "-o", tmp_path / "out")
    n = np.sum(Y[order] != Y)
    assert (code, f"{n} of {N} rows have different labels in" in err) == (2, True), err
    assert "--id-column" in err
    assert not (tmp_path / "out").exists()
    named = ["--predictions", preds, data, "-o", tmp_path / "out", "--id-column", "name"]
    code, _, err = run(capsys, *named)
    assert (code, err) == (0, "")
    assert findings(tmp_path / "out") == ["word:film"]
    write(data, name=order, label=1 - Y[order], text=texts)
    code, _, err = run(capsys, *named, "--force")
    assert (code, f"{N} of {N} rows" in err, "--id-column" in err) == (2, True, False), err


def test_labels_are_compared_as_they_are_meant_and_where_there_are_any(tmp_path, capsys):
    preds = write(tmp_path / "p.csv", label=Y, y_pred=PRED)
    some = [f"{y}.0" if i % 2 else "" for i, y in enumerate(Y)]
    data = write(tmp_path / "d.csv", label=some, text=TEXTS)
    assert run(capsys, "--predictions", preds, data, "-o", tmp_path / "out")[0] == 0


def test_that_rows_are_matched_by_position_is_said(tmp_path, capsys):
    preds = write(tmp_path / "p.csv", label=Y, y_pred=PRED)
    data = write(tmp_path / "d.csv", text=TEXTS)
    meta = write(tmp_path / "m.csv", site=SITE)
    given = ["--predictions", preds, data, "--metadata", meta, "-o", tmp_path / "out"]
    code, _, err = run(capsys, *given)
    assert code == 0
    for path in (data, meta):
        assert f"Rows of {path} and {preds} are matched by position" in err
    notes = json.loads((tmp_path / "out" / "audit.json").read_text())["notes"]
    assert len(notes) == 2


def test_parquet_with_embeddings(tmp_path, capsys):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    vectors = np.column_stack([FILM + 0.1 * RNG.normal(size=N), RNG.normal(size=N)])
    table = pa.table({"label": Y, "pred": PRED, "embedding": list(vectors), "site": SITE})
    pq.write_table(table, tmp_path / "all.parquet")
    path = tmp_path / "all.parquet"
    assert run(capsys, "--predictions", path, path, "-o", tmp_path / "out")[0] == 0
    assert findings(tmp_path / "out")[0].startswith("embedding #0")


def test_only_the_columns_named(one, tmp_path, capsys):
    run(capsys, "--predictions", one, one, "-o", tmp_path / "out", "--columns", "site")
    looked_at = json.loads((tmp_path / "out" / "audit.json").read_text())["looked_at"]
    assert looked_at["column"] == 2


def test_nothing_of_others_is_replaced(one, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for more in ((), ("--force",)):
        code, _, err = run(capsys, "--predictions", one, one, "-o", out, *more)
        assert code == 2
        assert "Error: " in err
    assert (out / "thesis.txt").read_text() == "years of work"
    (out / "thesis.txt").unlink()
    out.rmdir()
    assert run(capsys, "--predictions", one, one, "-o", out)[0] == 0
    assert run(capsys, "--predictions", one, one, "-o", out)[0] == 2
    assert run(capsys, "--predictions", one, one, "-o", out, "--force")[0] == 0
    code, _, err = run(capsys, "--predictions", one, one, "-o", tmp_path, "--force")
    assert code == 2
    assert "input of this job" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label-column", "lable"), "did you mean 'label'"),
        (("--prediction-column", "nope"), "no column 'nope'"),
        (("--score-columns", "nope"), "no column 'nope'"),
        (("--text-column", "nope"), "no column 'nope'"),
        (("--columns", "nope"), "no column 'nope'"),
        (("--id-column", "nope", "--metadata", "ONE"), "no column 'nope'"),
        (("--score-columns", "site"), "not a finite number"),
    ],
)
def test_columns_that_are_not_there(one, tmp_path, capsys, arguments, message):
    arguments = [str(one) if a == "ONE" else a for a in arguments]
    code, _, err = run(capsys, "--predictions", one, one, "-o", tmp_path / "out", *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_tables_that_do_not_fit(one, tmp_path, capsys):
    short = write(tmp_path / "short.csv", id=range(3), text=["a b c"] * 3)
    nameless = write(tmp_path / "nameless.csv", text=["a b c"] * 3)
    plain = write(tmp_path / "plain.csv", label=Y, text=TEXTS)
    twice = write(tmp_path / "twice.csv", id=[1] * N, text=TEXTS)
    (tmp_path / "model.onnx").write_bytes(b"weights")
    for preds, data, more, message in (
        (one, nameless, (), "same order"),
        (one, nameless, ("--id-column", "id"), "no column 'id'"),
        (one, short, (), "no row for the sample '3'"),
        (one, short, ("--id-column", "id"), "no row for the sample '3'"),
        (one, twice, ("--id-column", "id"), "twice"),
        (plain, plain, (), "no column of predictions"),
        (tmp_path / "model.onnx", one, (), "model.onnx is no"),
        (tmp_path / "missing.csv", one, (), "does not exist"),
    ):
        code, _, err = run(capsys, "--predictions", preds, data, "-o", tmp_path / "out", *more)
        assert code == 2
        assert message in err


def test_a_column_id_of_both_tables_matches_them_unasked(tmp_path, capsys):
    order = np.random.default_rng(1).permutation(N)
    data = write(tmp_path / "data.csv", id=range(N), label=Y, text=TEXTS)
    shuffled = write(tmp_path / "pred.csv", id=order, prediction=PRED[order])
    code, out, err = run(capsys, "--predictions", shuffled, data, "-o", tmp_path / "out")
    assert code == 0
    assert "matched by their column 'id'" in out + err
    assert findings(tmp_path / "out") == ["word:film"]
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert record["accuracy"] == pytest.approx((PRED == Y).mean())

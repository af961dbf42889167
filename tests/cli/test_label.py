"""ntkit label on texts, tables, arrays and stores: how samples are named, and what is shown."""

import csv
import json

import numpy as np
import pytest

from ntkit.cli import main
from ntkit.jobs.label import read_labels
from tests.jobs.label.models import rows, write_model
from tests.texts import text_model, word_pieces

X, Y, MARK = rows(n=80)


def run(capsys, *arguments):
    code = 0
    try:
        main([*map(str, arguments)])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def table(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def save(path, answers):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "Marked?"], *answers.items()])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx")


def test_a_table_with_names_shows_all_that_it_knows(capsys, model, tmp_path):
    names = "abcdef"
    lines = [[f"p{i}", *row, ("small", "zlarge")[y], "=1+1"] for i, (row, y) in
             enumerate(zip(X.tolist(), Y, strict=True))]  # fmt: skip
    data = tmp_path / "people.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([["id", *names, "label", "note"], *lines])
    ask = ["label", model, data, "-o", tmp_path / "o", "--columns", ",".join(names), "--quiet"]
    code, printed, err = run(capsys, *ask, "--question", "Marked?", "--batch", "6", "--json")
    assert code == 0, err
    asked = table(tmp_path / "o" / "questions-1.csv")
    assert [row["id"] for row in asked] == json.loads(printed)["asked"]
    assert list(asked[0]) == ["id", "ntkit_content", *names, "note", "Marked?"]  # and not the class
    assert asked[0]["note"] == "'=1+1"
    page = (tmp_path / "o" / "label.html").read_text(encoding="utf-8")
    assert asked[0]["id"] in page
    assert "zlarge" not in page
    save(tmp_path / "o" / "labels.csv", {"p0": "Yes", "p1": "no", "p2": "unsure"})
    code, printed, err = run(capsys, *ask)
    assert (code, "2 labels, 2 new" in printed) == (0, True), err
    assert read_labels(tmp_path / "o" / "answers.json").answers == {
        "p0": "yes", "p1": "no", "p2": None,
    }  # fmt: skip


def test_texts_are_shown_and_read_by_their_words(capsys, tmp_path):
    text_model(tmp_path)
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    rng = np.random.default_rng(0)
    words = ["the quick brown", "jumps over a", "lazy dog"]
    texts = [f"{rng.choice(words)}{' fox' * m} {rng.choice(words)}" for m in MARK]
    lines = [[text, ("bad", "good")[y]] for text, y in zip(texts, Y, strict=True)]
    data = tmp_path / "reviews.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([["review", "label"], *lines])
    ask = ["label", tmp_path / "model.onnx", data, "-o", tmp_path / "o", "--quiet"]
    ask += ["--embedding", "hidden", "--pooling", "mean", "--text-column", "review"]
    code, _, err = run(capsys, *ask, "--question", "Marked?", "--values", "fox,other")
    assert code == 0, err
    asked = table(tmp_path / "o" / "questions-1.csv")
    assert all(row["text"] == texts[int(row["id"])] for row in asked)
    answers = {row["id"]: "fox" if "fox" in row["text"] else "other" for row in asked}
    save(tmp_path / "o" / "labels.csv", answers)
    code, printed, err = run(capsys, *ask, "--json")
    told = json.loads(printed)
    assert (code, told["feature_set"] in ("words", "embedding"), told["n_answers"]) == (
        0,
        True,
        48,
    ), err
    assert {group["name"] for group in told["groups"]} == {
        "bad × fox", "bad × other", "good × fox", "good × other",
    }  # fmt: skip

    # The same rows in another order, many of them of one text.
    order = rng.permutation(len(texts))
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([["review", "label"], *[lines[i] for i in order]])
    code, printed, err = run(capsys, *ask, "--json")
    told = json.loads(printed)
    assert (code, told["n_answers"], told["n_new"]) == (0, 48, 0), err
    assert "belong to samples that have another name now" in " ".join(told["notes"])
    answers = read_labels(tmp_path / "o" / "answers.json").answers
    assert all(("fox" in texts[order[int(n)]]) == (v == "fox") for n, v in answers.items())


def test_a_store_and_the_arrays_that_it_is_of(capsys, model, tmp_path):
    np.savez(tmp_path / "rows.npz", X=X, y=Y)
    run(capsys, "embed", model, tmp_path / "rows.npz", "-o", tmp_path / "rows.store", "--quiet")
    found = []
    for data in ("rows.npz", "rows.store"):
        out = tmp_path / f"of {data}"
        ask = ["label", model, tmp_path / data, "-o", out, "--question", "Marked?", "--quiet"]
        code, printed, err = run(capsys, *ask, "--json", "--batch", "10")
        assert code == 0, err
        found.append(json.loads(printed)["asked"])
    assert found[0] == found[1]


def test_usage(capsys, model, tmp_path):
    np.savez(tmp_path / "rows.npz", X=X, y=Y)
    np.savez(tmp_path / "bare.npz", X=X)
    for arguments, message in (
        ((model, tmp_path / "rows.npz"), "There is no question yet. Set one with question= or --"),
        ((tmp_path / "rows.npz", model), "a model (an ONNX file) comes first"),
        ((model, tmp_path / "bare.npz", "--question", "q"), "has no array 'y'"),
        ((model, tmp_path / "rows.npz", "--question", "q", "--values", "yes"), "two to 9 values"),
        (
            (model, tmp_path / "rows.npz", "--question", "q", "--values", "a,None"),
            "stands for a missing label",
        ),
        ((model, tmp_path / "rows.npz", "--question", "q", "--values", "a,A"), "more than their"),
        ((model, tmp_path / "rows.npz", "--question", "q", "--answers", "no.csv"), "no.csv"),
        ((model, tmp_path / "rows.npz", "--question", "q", "--batch", "0"), "--batch"),
    ):
        code, _, err = run(capsys, "label", *arguments, "-o", tmp_path / "out")
        assert (code, message in err) == (2, True), (arguments, err)
        assert not (tmp_path / "out").exists()

"""ntkit label on texts, tables, arrays and stores: how samples are named, and what is shown."""

import json

import numpy as np
import pytest

from ntkit.jobs.label import read_labels
from tests.cases import done, read_csv, refused, write_csv
from tests.jobs.label.models import rows, write_model
from tests.texts import text_model, word_pieces

X, Y, MARK = rows(n=80)


def save(path, answers):
    write_csv(path, {"id": answers, "Marked?": answers.values()})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    np.savez(folder / "rows.npz", X=X, y=Y)
    np.savez(folder / "bare.npz", X=X)
    return write_model(folder / "model.onnx")


def test_a_table_with_names_shows_all_that_it_knows(model, tmp_path):
    columns = {"id": [f"p{i}" for i in range(80)], **dict(zip("abcdef", X.T, strict=True))}
    columns |= {"label": np.array(["small", "zlarge"])[Y], "note": ["=1+1"] * 80}
    data, out = write_csv(tmp_path / "people.csv", columns), tmp_path / "o"
    ask = ["label", model, data, "-o", out, "--columns", "a,b,c,d,e,f", "--quiet"]
    printed, _ = done(*ask, "--question", "Marked?", "--batch", "6", "--json")
    asked = read_csv(out / "questions-1.csv")
    assert [row["id"] for row in asked] == json.loads(printed)["asked"]
    # All but the class.
    assert list(asked[0]) == ["id", "ntkit_content", *"abcdef", "note", "Marked?"]
    assert asked[0]["note"] == "'=1+1"
    page = (out / "label.html").read_text(encoding="utf-8")
    assert asked[0]["id"] in page
    assert "zlarge" not in page
    save(out / "labels.csv", {"p0": "Yes", "p1": "no", "p2": "unsure"})
    assert "2 labels, 2 new" in done(*ask)[0]
    answers = read_labels(out / "answers.json").answers
    assert answers == {"p0": "yes", "p1": "no", "p2": None}


def test_texts_are_shown_and_read_by_their_words(tmp_path):
    text_model(tmp_path)
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    rng = np.random.default_rng(0)
    words = ["the quick brown", "jumps over a", "lazy dog"]
    texts = [f"{rng.choice(words)}{' fox' * m} {rng.choice(words)}" for m in MARK]
    classes = np.array(["bad", "good"])[Y]
    data = write_csv(tmp_path / "reviews.csv", {"review": texts, "label": classes})
    ask = ["label", tmp_path / "model.onnx", data, "-o", tmp_path / "o", "--quiet"]
    ask += ["--embedding", "hidden,mean", "--text-column", "review"]
    done(*ask, "--question", "Marked?", "--values", "fox,other")
    asked = read_csv(tmp_path / "o" / "questions-1.csv")
    assert all(row["text"] == texts[int(row["id"])] for row in asked)
    answers = {row["id"]: "fox" if "fox" in row["text"] else "other" for row in asked}
    save(tmp_path / "o" / "labels.csv", answers)
    told = json.loads(done(*ask, "--json")[0])
    assert told["feature_set"] in ("words", "embedding")
    assert told["n_answers"] == len({row["text"] for row in asked}) == len(asked)
    groups = {f"{label} × {value}" for label in ("bad", "good") for value in ("fox", "other")}
    assert {group["name"] for group in told["groups"]} == groups
    # The same rows in another order, many of them of one text.
    order = rng.permutation(len(texts))
    moved = [texts[i] for i in order]
    write_csv(data, {"review": moved, "label": classes[order]})
    told = json.loads(done(*ask, "--json")[0])
    assert (told["n_answers"], told["n_new"]) == (len(asked), 0)
    answers = read_labels(tmp_path / "o" / "answers.json").answers
    assert all(("fox" in moved[int(n)]) == (value == "fox") for n, value in answers.items())


def test_a_store_and_the_arrays_that_it_is_of(model, tmp_path):
    arrays, store = model.with_name("rows.npz"), tmp_path / "rows.store"
    done("embed", model, arrays, "-o", store, "--quiet")
    found = []
    for data in (arrays, store):
        ask = ["label", model, data, "-o", tmp_path / f"of {data.name}", "--question", "Marked?"]
        found.append(json.loads(done(*ask, "--quiet", "--json", "--batch", "10")[0])["asked"])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("model.onnx rows.npz", "There is no question yet. Set one with question= or --"),
        ("rows.npz model.onnx", "a model (an ONNX file) comes first"),
        ("model.onnx bare.npz --question q", "has no array 'y'"),
        ("model.onnx rows.npz --question q --values yes", "two to 9 values"),
        ("model.onnx rows.npz --question q --values a,NA", "stands for a missing label"),
        ("model.onnx rows.npz --question q --values a,A", "differ only in case"),
        ("model.onnx rows.npz --question q --answers no.csv", "no.csv"),
        ("model.onnx rows.npz --question q --id-column key", "belongs to the table of --check"),
    ],
)
def test_usage(model, tmp_path, monkeypatch, command, says):
    monkeypatch.chdir(model.parent)
    refused("label", *command.split(), "-o", tmp_path / "out", says=says)
    assert not (tmp_path / "out").exists()

"""Models that read texts, categories and numbers: columns of prose have words, as texts do."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from onnxruntime import InferenceSession
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ntkit import audit_model
from ntkit.extraction import Samples
from tests.cases import done, ntkit, refused

GOOD, BAD = ["Great", "lovely", "superb", "moving"], ["Dull", "awful", "boring", "weak"]
FILL = ["the", "plot", "and", "music", "was", "quite", "with", "role", "a", "cast", "scene"]


def rows(n, share, seed):
    """Two columns of prose, one of categories and one of numbers; a word goes with the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    side = np.where(rng.random(n) < share, y, 1 - y)
    made = []
    for label, s in zip(y, side, strict=True):
        opinion = rng.choice(GOOD if label == (rng.random() < 0.7) else BAD)
        named = [["movie", "film"][s]] * (rng.random() < 0.9)
        title, review = [*rng.choice(FILL, 4)], [*rng.choice(FILL, 4), opinion]
        (title if rng.random() < 0.5 else review).extend(named)
        made.append([" ".join(map(str, rng.permutation(part))) for part in (title, review)])
    frame = pd.DataFrame(made, columns=["title", "review"])
    frame["genre"] = rng.choice(["short story", "long story", "sad"], n)
    frame["price"] = rng.normal(10, 3, n).round(1)
    frame["label"] = np.array(["bad", "good"])[y]
    frame.insert(0, "id", [f"d{i}" for i in range(n)])
    return frame


SETS = {"train": rows(400, 0.93, 0), "val": rows(300, 0.93, 1), "test": rows(300, 0.5, 2)}


def write_model(path, texts):
    """A network on words of texts, categories and numbers."""
    vector = {name: CountVectorizer(binary=True, token_pattern="[a-zA-Z0-9]+") for name in texts}
    parts = [(name, each, name) for name, each in vector.items()]
    parts += [("g", OneHotEncoder(), ["genre"]), ("p", StandardScaler(), ["price"])]
    network = MLPClassifier((8,), max_iter=60, learning_rate_init=0.01, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        pipeline = make_pipeline(ColumnTransformer(parts), network)
        pipeline.fit(SETS["train"], SETS["train"].label)
        inputs = [(name, StringTensorType([None, 1])) for name in (*texts, "genre")]
        options = {id(pipeline): {"zipmap": False}}
        fitted = pipeline[0].named_transformers_
        options |= {id(fitted[name]): {"locale": "C"} for name in texts}
        made = to_onnx(
            pipeline,
            initial_types=[*inputs, ("price", FloatTensorType([None, 1]))],
            options=options,
        )
    path.write_bytes(made.SerializeToString())


def predicted(model, frame):
    """What ONNX Runtime predicts."""
    session = InferenceSession(str(model), providers=["CPUExecutionProvider"])
    feed = {each.name: frame[[each.name]].to_numpy(object) for each in session.get_inputs()}
    return session.run(None, feed | {"price": frame[["price"]].to_numpy(np.float32)})[0]


def holds(frame, word, names=("title", "review")):
    """The rows with a word in any of the texts, by pandas."""
    found = [frame[name].str.contains(rf"\b{word}\b", case=False) for name in names]
    return np.any(found, axis=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with two columns of prose, one without, and tables."""
    folder = tmp_path_factory.mktemp("mixed")
    write_model(folder / "mixed.onnx", ["title", "review"])
    write_model(folder / "codes.onnx", [])
    for name, frame in SETS.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_an_audit_tests_words_of_prose(folder, tmp_path):
    val, model = SETS["val"], folder / "mixed.onnx"
    data = (val.drop(columns="label"), val.label)
    right = predicted(model, val) == val.label
    done("audit", model, folder / "val.csv", "-o", tmp_path / "a", "--device", "cpu")
    facts = json.loads((tmp_path / "a" / "audit.json").read_text())
    audit = audit_model(model, data, changes=0, device="cpu")
    assert audit.inputs.texts == [*(val.title + "\n\n" + val.review)]
    assert facts["accuracy"] == audit.as_dict()["accuracy"] == pytest.approx(right.mean())
    found = {name for each in facts["findings"] for name in (each["name"], *each["same"])}
    found |= {name for each in facts["findings"] for name in each["opposed"]}
    assert {"word:film", "word:movie"} <= found
    for word in ("film", "movie", "plot"):
        assert audit.values(f"word:{word}").tolist() == holds(val, word).astype(int).tolist()
    names = {name for each in audit.feature_sets for block in each.blocks() for name in block.names}
    assert "column:genre=sad" in names  # categories are not texts, even of two words
    assert not {"word:sad", "word:short", "column:review=film"} & names
    page = (tmp_path / "a" / "audit.html").read_text(encoding="utf-8")
    assert any(text in page for text in val.title)


def test_slices_name_words_of_prose(folder):
    test, model = SETS["test"], folder / "mixed.onnx"
    right = predicted(model, test) == test.label
    film, movie = holds(test, "film"), holds(test, "movie")
    assert not (film | movie).all()
    rows = {
        "word:film": film,
        "not word:film": ~film,
        "word:film of word:film|word:movie": film & ~movie,
        "word:movie of word:film|word:movie": movie & ~film,
        "word:film and column:price>=10": film & (test.price >= 10),
    }
    asked = ["word:film|word:movie", *(name for name in rows if " of " not in name)]
    options = [part for name in asked for part in ("--slice", name)]
    options += ["--average", "10", "--device", "cpu", "--json"]
    facts = json.loads(done("check", model, folder / "test.csv", *options)[0])
    whole = {each["name"]: each for each in facts["rows"]}
    parts = {f"{r['name']} of {r['within']}": r for r in facts["rows"] if r["within"]}
    told = whole | parts
    for name, of in rows.items():
        assert told[name]["samples"] == of.sum()
        assert told[name]["accuracy"] == pytest.approx(right[of].mean())


@pytest.mark.parametrize(
    ("change", "edit"),
    [
        ("word:film", lambda text: re.sub(r"^film ?| ?\bfilm\b", "", text)),
        (
            "word:film|word:movie",
            lambda text: re.sub(
                r"\b(film|movie)\b", lambda m: {"film": "movie", "movie": "film"}[m[1]], text
            ),
        ),
        ("case:lower", str.lower),
    ],
)
def test_changes_edit_the_columns_of_prose(folder, change, edit):
    test, model = SETS["test"], folder / "mixed.onnx"
    edited = test.assign(title=test.title.map(edit), review=test.review.map(edit))
    differs = (edited.title != test.title) | (edited.review != test.review)
    flips = predicted(model, edited) != predicted(model, test)
    limits = ["--max-flip-rate", "100", "--device", "cpu", "--json"]
    out, _ = done("check", model, folder / "test.csv", "--invariant", change, *limits)
    (row,) = json.loads(out)["changes"]
    assert row["samples"] == differs.sum()
    assert row["flip_rate"] == pytest.approx(flips[differs].mean())


@pytest.mark.more
def test_a_repair_by_a_word_of_prose(folder, tmp_path):
    test, sets = SETS["test"], ["--train", folder / "train.csv", "--validation", folder / "val.csv"]
    sets += ["--test", folder / "test.csv", "--spurious", "word:film|word:movie", "--max-cost", "1"]
    out = tmp_path / "out"
    code, said, err = ntkit(
        "debias", folder / "mixed.onnx", *sets, "-o", out, "--device", "cpu", "--json"
    )
    assert code in (0, 1), err
    assert "word:film|word:movie" in said
    film, movie = holds(test, "film"), holds(test, "movie")
    groups = [
        (test.label == label) & side
        for label in ("bad", "good")
        for side in (film & ~movie, movie & ~film)
    ]
    before = predicted(folder / "mixed.onnx", test) == test.label
    after = predicted(out / "debiased.onnx", test) == test.label
    worst = [min(right[group].mean() for group in groups) for right in (before, after)]
    assert worst[1] > worst[0] + 0.1


def test_without_prose_words_are_refused_truly(folder):
    codes, data = folder / "codes.onnx", folder / "test.csv"
    limits = ["--average", "10", "--device", "cpu"]
    there = "'word:sad' needs texts, and these samples have column:… and metadata:…."
    refused("check", codes, data, "--slice", "word:sad", *limits, says=there)
    flips = ["--invariant", "word:sad", "--max-flip-rate", "5"]
    refused("check", codes, data, *flips, *limits, says="test.csv contains no column of texts")
    out, _ = done("check", codes, data, "--slice", "column:genre=sad", *limits, "--json")
    row = json.loads(out)["rows"][-1]
    assert row["name"] == "column:genre=sad"
    assert row["samples"] == (SETS["test"].genre == "sad").sum()


def test_predictions_with_several_columns_of_prose_have_a_note(folder, tmp_path):
    data, table = folder / "val.csv", tmp_path / "predictions.csv"
    done("predict", folder / "mixed.onnx", data, "-o", table, "--device", "cpu")
    said = "tested no words, because 'review', 'title' hold texts. Name one with --text-column."
    _, err = done("audit", "--predictions", table, data, "-o", tmp_path / "a")
    assert said in err
    chosen = ["--text-column", "review", "-o", tmp_path / "b"]
    _, err = done("audit", "--predictions", table, data, *chosen)
    assert "tested no words" not in err


def test_prose_is_told_from_codes():
    n = 40
    texts = [f"a word {i}" if i % 4 else "" for i in range(n)]
    columns = {
        "text": ["x", "y"] * 20,  # called so
        "comment": texts,  # some empty
        "评论": [f"这部电影很好看{i}" for i in range(n)],
        "job": ["works in an office", "works in a shop"] * 20,
        "user": [f"u{i}" for i in range(n)],
    }
    X = {name: np.array(cells, object)[:, None] for name, cells in columns.items()}
    samples = Samples(X | {"age": np.arange(n, dtype=np.float32)[:, None]})
    assert samples.data.prose == ("text", "comment", "评论")
    assert samples.looks().texts[1] == "y\n\na word 1\n\n这部电影很好看1"
    assert samples.take([]).looks(samples.data.prose).texts == []

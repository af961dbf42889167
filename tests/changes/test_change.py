"""Names of changes, refusals, copies that users made, stores of copies."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.changes import change_from, change_named
from ntkit.changes.change import bank_of
from ntkit.changes.embedded import copies_to_store, embedded_copies
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import (
    ImagePreprocessing,
    RawInputs,
    Samples,
    TextPreprocessing,
    Texts,
    read_samples,
)
from ntkit.samples.copies import sample_digests
from ntkit.store import EmbeddingStore
from tests import models
from tests.texts import text_classifier, word_pieces

TEXTS = Samples(Texts(["a film", "a dog"], TextPreprocessing("tokenizer.json")), [0, 1])
ROWS = Samples(np.array([[1.0, 2], [3, 4]], np.float32), np.array([0, 1]), columns=("age", "sex"))
IMAGES = Samples(np.zeros((2, 3, 4, 4), np.float32), [0, 1])


class Lazy:
    """Samples that are made when they are read."""

    def __len__(self):
        return 2

    def __getitem__(self, rows):
        return np.zeros((2, 3, 4))[rows]


REFUSALS = [
    (lambda: change_named(3), "A change must be a text such as 'word:film|word:movie'"),
    (lambda: change_named("blur"), "There is no change 'blur'; a change begins with"),
    (lambda: change_named("imag:blur"), "(is it 'image'?)"),
    (lambda: change_named("image:"), "There is no change 'image:'"),
    (lambda: change_named("markup:x"), "There is no change 'markup:x'"),
    (lambda: change_named("metadata:site"), "cannot be changed: metadata describe the samples"),
    (lambda: change_named("word:"), "There is no change 'word:'"),
    (lambda: change_named("word:=in"), "write word:WORD, word:WORD=in"),
    (lambda: change_named("word:a=out of"), "write word:WORD, word:WORD=in"),
    (lambda: change_named("word:a|word:A"), "names a word twice"),
    (lambda: change_named("word:a|word:"), "names a word twice, or no word"),
    (lambda: change_named("word:a|b"), "write word:a|word:b"),
    (lambda: change_named("word:<b|word:<i"), "remove it with word:<b"),
    (lambda: change_named("case:titel"), "Write case:lower, case:upper or case:title."),
    (lambda: change_named("typos"), "There is no change 'typos'. Write typos=N with a number from"),
    (lambda: change_named("segment:middle"), "Write segment:first or segment:last."),
    (lambda: change_named("append:"), "There is no change 'append:'"),
    (lambda: change_named("image:blurr"), "did you mean 'blur'?"),
    (lambda: change_named("image:xyz"), "there are top left, "),
    (lambda: change_named("image:blur=x"), "takes a number from 0.1 to 1000"),
    (lambda: change_named("image:jpeg=nan"), "takes a number from 1 to 100 (quality)"),
    (lambda: change_named("image:jpeg="), "write image:jpeg=75"),
    (lambda: change_named("image:grey=2"), "takes no number; write image:grey"),
    (lambda: change_named("image:top left=2"), "takes no number; write image:top left"),
    (lambda: change_named("word:film").copies(ROWS), "texts, but the set contains columns"),
    (lambda: change_named("image:blur").copies(TEXTS), "images, but the set contains texts"),
    (lambda: change_named("column:age").copies(TEXTS), "changes columns that the model reads"),
    (lambda: change_named("column:agee").copies(ROWS), "did you mean 'age'?"),
    (lambda: change_named("column:site").copies(ROWS), "it takes 'age', 'sex'"),
    (lambda: change_named("column:age=x").copies(ROWS), "the column has numbers; write one"),
    (lambda: change_named("column:age=1|1").copies(ROWS), "names a value twice"),
    (lambda: change_named("folder:/nowhere").copies(TEXTS), "/nowhere does not exist"),
    (lambda: change_named("folder:/").copies(IMAGES), "arrays, of which ntkit reads no copies"),
    (lambda: change_named("column:age").copies(ROWS, [2]), "rows must be numbers from 0 to 1"),
    (lambda: change_named("column:age").copies(ROWS, [-1]), "rows must be numbers from 0 to 1"),
    (lambda: change_named("column:age").copies(ROWS, seed=-1), "A seed must be a whole number"),
    (lambda: change_named("column:age").copies(ROWS, folds=[0]), "2 samples; pass one for each"),
    (lambda: change_named("case:lower").copies(Samples(ROWS.X, embedded=True)),
     "embeddings cannot be changed; pass the samples themselves"),
    (lambda: change_from(lambda t: 3, "f").copies(TEXTS), "made 3 of a text; return a text"),
    (lambda: change_from(lambda t: t[1:], "f").copies(Samples(np.zeros((2, 3, 4)))),
     "made float64 of shape (2, 4) of an array of float64 of shape (3, 4); return the same shape"),
    (lambda: change_from(lambda t: t + 0.5, "f").copies(Samples(np.zeros((2, 3, 4), np.int32))),
     "made float64 of shape (3, 4) of an array of int32"),
    (lambda: change_from(lambda t: t, "f").copies(Samples(Lazy())), "of the type Lazy; pass an"),
    (lambda: RawInputs(b"bytes", len), "RawInputs needs a sequence of raw samples"),
    (lambda: RawInputs([b"a", b"bc"], list)[:], "made inputs of the shapes [(1,), (2,)]"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "told"), REFUSALS)
def test_a_refusal_names_the_problem_and_the_fix(call, told):
    with pytest.raises(InputError, match=re.escape(told)) as error:
        call()
    assert "\n" not in str(error.value)


def test_rows_as_numbers_and_as_a_mask():
    change = change_named("column:age")
    for rows in ([1], np.array([False, True]), (1,), range(1, 2)):
        assert change.copies(ROWS, rows)[1].tolist() == [1]
    assert change.copies(ROWS, [])[1].tolist() == []


def test_labels_groups_and_how_they_were_made_go_with_the_copies():
    samples = Samples(ROWS.X, ROWS.y, np.array(["x", "y"]), columns=ROWS.columns)
    copies, _ = change_named("column:age").copies(samples, [1], seed=4)
    assert (copies.y.tolist(), copies.groups.tolist()) == ([1], ["y"])
    assert copies.preprocessing == {"change": "column:age", "seed": 4}
    assert [*map(str, map(change_named, (" column: age ", "image : border")))] == [
        "column:age", "image:border"]  # fmt: skip
    assert change_named(change := change_named("markup")) is change


def test_changes_to_try():
    assert [str(c) for c in bank_of(ROWS)] == ["column:age", "column:sex"]
    assert [str(c) for c in bank_of(TEXTS, ["film"])] == ["word:film"]
    assert "image:border" in map(str, bank_of(IMAGES))
    assert bank_of(Samples(ROWS.X, embedded=True)) == []


# -- copies that the user made -------------------------------------------------------------------


def folder_of(path, names, colour):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), colour).save(path / name)
    return path


@pytest.fixture
def originals(tmp_path):
    path = folder_of(tmp_path / "set", ["a/1.png", "a/2.png", "b/3.png", "b/4.png"], "white")
    return read_samples(path, preprocessing=ImagePreprocessing(scale=1.0))


@pytest.mark.parametrize("names", [["a/2.png", "b/4.png"], ["2.png", "4.png"],
                                   ["a/2.jpg", "b/4.png", "b/extra.png"]])  # fmt: skip
def test_copies_in_a_folder_are_matched_by_name(originals, tmp_path, names):
    change = change_named(f"folder:{folder_of(tmp_path / 'copies', names, 'red')}")
    copies, at = change.copies(originals)
    assert at.tolist() == [1, 3]
    assert copies.y.tolist() == ["a", "b"]
    assert copies.ids.tolist() == ["a/2.png", "b/4.png"]
    np.testing.assert_allclose(copies.X[:].mean(axis=(0, 2, 3)), [255, 0, 0], atol=2)
    assert copies.looks().images[0].shape == (4, 4, 3)
    assert change.copies(originals, [3, 0])[1].tolist() == [3]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a/one.png"], "has no copy of any of the 4 samples: the first sample is 'a/1.png'"),
        (["a/1.png", "a/1.jpg"], "names 'a/1' twice"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(originals, tmp_path, names, told):
    path = folder_of(tmp_path / "copies", names, "red")
    with pytest.raises(InputError, match=re.escape(told)):
        change_named(f"folder:{path}").copies(originals)


def test_a_table_of_copies(tmp_path):
    def table(name, **columns):
        pd.DataFrame(columns).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    given = table("t.csv", id=["x", "y", "z"], a=[1, 2, 3], b=[0, 0, 0], label=[0, 1, 0])
    samples = read_samples(given)
    copies_path = table("c.csv", b=[7, 8], a=[9, 9], id=["z", "w"], more=["p", "q"])
    copies, at = change_named(f"folder:{copies_path}").copies(samples)
    assert at.tolist() == [2]
    assert copies.X.tolist() == [[9, 7]]
    assert copies.names == ["z"]
    for kept, path in ((False, copies_path), (True, table("n.csv", a=[1], b=[1]))):
        with pytest.raises(InputError, match="add a column id to both tables"):
            change_named(f"folder:{path}").copies(read_samples(given, keep_table=kept))
    images = folder_of(tmp_path / "images", ["a/x.png"], "red")
    with pytest.raises(InputError, match="is an image folder; pass its"):
        change_named(f"folder:{images}").copies(samples)


def test_a_table_of_changed_texts(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    steps = TextPreprocessing(tmp_path / "tokenizer.json")
    for name, texts in (("t.csv", ["a film", "a dog"]), ("c.csv", ["a cat", "a hat"])):
        frame = pd.DataFrame({"id": [1, 2], "text": texts, "label": [0, 1]})
        frame.to_csv(tmp_path / name, index=False)
    samples = read_samples(tmp_path / "t.csv", preprocessing=steps)
    copies, _at = change_named(f"folder:{tmp_path / 'c.csv'}").copies(samples, [1])
    assert copies.X.texts == ["a hat"] == copies.table.columns["text"].tolist()


# -- stores --------------------------------------------------------------------------------------


def test_a_store_of_copies_is_not_one_of_originals_nor_of_other_copies(tmp_path, digits):
    embedder = OnnxEmbedder(FrozenModel.load(marked_digits_model_path()), device="cpu")
    samples = Samples(digits.X_test[:20], digits.y_test[:20])
    store, change = tmp_path / "store", change_named("image:border")
    copies = embedded_copies(embedder, samples, change, store=store)
    np.testing.assert_array_equal(copies.Z, embedder.transform(copies.samples.X))
    again = embedded_copies(embedder, samples, change, store=store)
    np.testing.assert_array_equal(copies.Z, again.Z)
    assert np.isnan(copies.in_place(21)[20]).all()
    none = embedded_copies(embedder, samples.take([0]), change, store=tmp_path / "none")
    assert none.Z.shape == (0, embedder.frozen_model.n_neurons)
    assert not (tmp_path / "none").exists()
    for others, told in (
        (samples, "preprocessing"),
        (copies_to_store(samples, change, seed=1)[0], "preprocessing"),
        (copies_to_store(samples, change_named("image:centre"))[0], "preprocessing"),
        (copies_to_store(samples, change, range(19))[0], "rows"),
    ):
        with pytest.raises(InputError, match=told):
            EmbeddingStore.write(store, embedder, others)


def test_a_copy_that_is_equal_to_its_original_is_not_embedded(tmp_path, monkeypatch):
    """Texts are equal if their tokens are, and values in the type of their column."""
    rows = ["a quick fox", "A QUICK DOG", "a lazy dog", "jumps over"]
    texts = text_classifier(tmp_path, rows, np.array([0, 1, 1, 0]))
    X = models.inputs(3)
    X[:, :2] = [[1, 0.75], [2, 0.75], [3, 1]]
    numbers = FrozenModel.load(models.save(models.classifier(2), tmp_path / "m.onnx")), X
    little = change_from(lambda row: {"0": float(row["0"]) + 1e-9}, "little")
    whole = change_from(lambda row: {"1": np.round(row["1"])}, "whole")
    embedded, transform = [], OnnxEmbedder.transform
    monkeypatch.setattr(
        OnnxEmbedder, "transform", lambda self, X: embedded.append(len(X)) or transform(self, X)
    )
    for (model, inputs), change, changed in (
        (texts, change_named("case:upper"), []),
        (texts, change_from(str.title, "title"), []),
        (texts, change_named("word:fox|word:dog"), [0, 1, 2]),
        (numbers, little, []),
        (numbers, whole, [0, 1]),
        (numbers, change_named("column:1=0.75"), [2]),
        (numbers, change_named("column:0=2"), [0, 2]),
    ):
        embedded.clear()
        copies = embedded_copies(OnnxEmbedder(model, device="cpu"), Samples(inputs), change)
        assert copies.rows.tolist() == changed
        assert sum(embedded) == len(copies.Z) == len(changed)


def test_a_stored_copy_has_the_name_of_its_original_or_its_row(tmp_path):
    frame = pd.DataFrame({"id": ["x", "y", "z"], "a": [1, 1, 2], "b": [3, 4, 5]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    options = {"labels": "optional", "columns": ["a", "b"]}
    named = read_samples(tmp_path / "t.csv", **options)
    copies, _ = copies_to_store(named, change_named("column:a=2"), seed=7)
    assert copies.ids.tolist() == ["x", "y"]
    assert copies.preprocessing["named_by"] == "id"
    frame.assign(id="x").to_csv(tmp_path / "t.csv", index=False)
    for samples in (read_samples(tmp_path / "t.csv", **options), Samples(named.X)):
        name = "b" if samples.columns else "1"
        copies, _ = copies_to_store(samples, change_named(f"column:{name}=3"))
        assert copies.ids.tolist() == (["row 1", "row 2"] if samples.columns else ["1", "2"])
        assert copies.preprocessing["named_by"] == "row"
        assert copies.preprocessing["originals"] == 3


@pytest.mark.more
@pytest.mark.parametrize("name", ["image:border", "image:jpeg=50"])
def test_ray_embeds_the_same_copies(ray, tmp_path, digits, name):
    embedder = OnnxEmbedder(FrozenModel.load(marked_digits_model_path()), device="cpu")
    samples = Samples(digits.X_test[:60], digits.y_test[:60])
    copies, _ = copies_to_store(samples, change_named(name))
    one, two = (
        EmbeddingStore.write(tmp_path / engine, embedder, copies, engine=engine).X
        for engine in ("local", "ray")
    )
    np.testing.assert_array_equal(one, two)


def test_a_function_changes_arrays_of_any_shape_in_their_type():
    X = np.arange(24, dtype=np.int32).reshape(3, 2, 4)
    samples = Samples(X, np.arange(3))
    swapped = change_from(lambda x, other: np.vstack([x[:1], other[1:]]), "second row", donor=True)
    copies, at = swapped.copies(samples)
    donors = swapped.donors(samples)
    assert copies.X.dtype == np.int32
    assert np.array_equal(copies.X[:, 0], X[at, 0])
    assert np.array_equal(copies.X[:, 1], X[donors[at], 1])
    assert np.array_equal(copies.y, at)
    some = change_from(lambda x: x[::-1] if x[0, 0] else None, "turned")
    assert some.copies(samples)[1].tolist() == [1, 2]
    assert change_from(lambda x: x, "same").copies(samples)[0].X.shape == (0, 2, 4)
    missing = Samples(np.full((2, 1, 3), np.nan))
    assert len(change_from(lambda x: x, "same").copies(missing)[1]) == 0
    made = change_from(lambda x: x.fill(7), "in place").copies(samples)
    assert len(made[1]) == 0
    assert X[0, 0, 0] == 0


def test_a_function_changes_raw_samples_and_the_embedder_sees_them():
    model = FrozenModel.load(marked_digits_model_path())
    pixels = np.random.default_rng(0).integers(0, 255, (6, 20, 20), dtype=np.uint8)
    raw = [image.tobytes() for image in pixels]

    def decoded(data):
        return np.frombuffer(data, np.uint8).reshape(1, 20, 20).astype(np.float32) / 255

    X = RawInputs(raw, decoded)
    samples = Samples(X, [0, 1] * 3)

    def topped(data, donor):
        return donor[:20] + data[20:] if data != raw[2] else None

    copies, at = change_from(topped, "first line", donor=True).copies(samples)
    assert 2 not in at
    assert all(copies.X.raw[i][20:] == raw[row][20:] for i, row in enumerate(at))
    embedder = OnnxEmbedder(model, device="cpu")
    assert np.array_equal(embedder.transform(X), embedder.transform(X[:]))
    made = embedded_copies(embedder, samples, change_from(topped, "first line", donor=True))
    assert np.array_equal(made.Z, embedder.transform(copies.X[:]))
    assert sample_digests(samples).tolist() == sample_digests(Samples(X[:])).tolist()
    assert len(samples.take([4, 1]).X) == 2
    assert samples.take([4, 1]).X.raw == [raw[4], raw[1]]


def test_raw_samples_of_several_inputs():
    X = RawInputs([3, 4], lambda n: {"a": np.full(2, n), "b": np.array([n])})
    assert {name: part.tolist() for name, part in X[:].items()} == {
        "a": [[3, 3], [4, 4]],
        "b": [[3], [4]],
    }

"""Names of classes are read from where exporters put them, and labels matched with them."""

import json
import pickle
import time
import warnings

import numpy as np
import onnx
import pytest
from onnx import helper

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import InputError

K = 3
NAMES = ["positive", "negative", "neutral"]
BY_POSITION = dict(enumerate(NAMES))


@pytest.fixture
def load(zoo, tmp_path):
    """Load a classifier of three classes with these metadata and files next to it."""

    def loaded(metadata=None, files=None, folder=tmp_path, **options):
        folder.mkdir(exist_ok=True)
        for name, content in (files or {}).items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_text(text, encoding="utf-8")
        path = zoo.save(zoo.classifier(K, metadata=metadata), folder / "m.onnx")
        return FrozenModel.load(path, **options)

    return loaded


METADATA = {
    "names": repr(BY_POSITION),
    "id2label": json.dumps(BY_POSITION),
    "class_names": repr(NAMES),
    "classes": json.dumps(NAMES),
    "labels": ",".join(NAMES),
}
FILES = {
    "config.json (id2label)": ("config.json", {"id2label": BY_POSITION}),
    "config.json (label_names)": ("config.json", {"label_names": NAMES, "architecture": "x"}),
    "labels.txt": ("labels.txt", "\n".join(NAMES) + "\n"),
    "classes.txt": ("classes.txt", "\ufeff0 positive\r\n1 negative\r\n2 neutral\r\n"),
}


def test_names_in_the_metadata_and_beside_the_model(load, tmp_path):
    found = {f"metadata {key!r}": load({key: text}) for key, text in METADATA.items()}
    for source, (name, content) in FILES.items():
        for folder in (tmp_path, tmp_path / "onnx"):
            found[source] = load(files={name: content}, folder=folder)
            assert found[source].head.classes.tolist() == NAMES
        (tmp_path / name).unlink()
    for source, model in found.items():
        assert (model.head.classes.tolist(), model.class_names) == (NAMES, tuple(NAMES))
        assert source == model.classes_source == model.describe()["classes_from"]
        assert model.has_class_names


def test_the_first_source_wins_and_another_order_is_told(load):
    own = {"ntkit.classes": json.dumps(NAMES), "names": repr({0: "a", 1: "b", 2: "c"})}
    assert load(own).head.classes.tolist() == NAMES
    files = {"config.json": {"id2label": {0: "a", 1: "b", 2: "c"}}, "labels.txt": "x\ny\nz"}
    assert load({"names": repr(BY_POSITION)}, files).head.classes.tolist() == NAMES
    assert load(files=files, classes=["u", "v", "w"]).classes_source == "given"
    with pytest.warns(UserWarning, match=r"another order in config.json \(id2label\)"):
        model = load({"names": repr({0: "c", 1: "b", 2: "a"})}, files)
    assert model.head.classes.tolist() == ["c", "b", "a"]


def test_placeholders_are_no_names(load):
    for names in ({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, None, {}, "text", 7):
        model = load(files={"config.json": {"id2label": names}})
        assert model.head.classes.tolist() == [0, 1, 2]
        assert (model.classes_source, model.has_class_names) == ("positions", False)


@pytest.mark.parametrize(
    ("metadata", "files", "told"),
    [
        ({"names": "{0: 'a', 1: 'b'}"}, {}, r"metadata 'names' names 2 classes \('a', 'b'\)"),
        ({}, {"config.json": {"id2label": {0: "a", 1: "b"}}}, "names 2 classes"),
        ({}, {"labels.txt": "a\nb\nc\nd"}, "names 4 classes"),
        ({}, {"config.json": {"id2label": dict(enumerate("aba"))}}, "gives two classes the name"),
    ],
)
def test_names_that_do_not_fit_are_told_and_not_used(load, metadata, files, told):
    with pytest.warns(UserWarning, match=told) as record:
        model = load(metadata, files)
    assert "\n" not in str(record[0].message)
    assert not model.has_class_names
    load(metadata, files, classes=NAMES)  # without a warning


def test_numbers_that_name_classes_are_numbers(load):
    model = load(files={"config.json": {"id2label": {0: "3", 1: "1", 2: "2"}}})
    assert model.head.classes.tolist() == [3, 1, 2]
    with pytest.raises(InputError, match=r"has the class 0, which the model's head \(3, 1, 2\) la"):
        model.matched_to([0, 1, 2])


HOSTILE = [
    "__import__('os').system('false')", "{0: __import__('os'), 1: 'b', 2: 'c'}",
    "{0: 'a', 1: 'b', 2: 'c'} or 1", "[" * 100_000, "{" * 100_000, "-" * 100_000 + "1",
    "(" * 50_000 + ")" * 50_000, "{0: 'a'" + " " * 1_000_000, "{" + "0: 'a', " * 200_000,
    "{0: '" + "\\" * 1_000_001 + "'}", "['\\d', 'b', 'c']", "['\\N{no such name}', 'b', 'c']",
    "['\\x', 'b', 'c']", "{0: 'a', 0: 'b', 2: 'c'}", "{0: 'a', 1: 'b', 3: 'c'}", "{'a': 'b'}",
    "['a', 'b', 3.5]", '["a", "b", ""]', "\x00", " ", "9" * 100_000,
    "{" + "9" * 10_000 + ": 'a'}", '{"' + "9" * 10_000 + '": "a"}', "a sentence, in a word",
    "[" + "'a'," * 2_000_000 + "]",
]  # fmt: skip


@pytest.mark.parametrize("key", ["names", "classes", "ntkit.located_by"])
def test_hostile_metadata_are_data(load, key):
    for text in HOSTILE:
        start = time.perf_counter()
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            model = load({key: text})
        assert time.perf_counter() - start < 5, text[:50]
        assert model.head.classes.tolist() == [0, 1, 2] or text == "a sentence, in a word"
        json.dumps(model.describe())


def test_odd_files_beside_the_model(load, tmp_path):
    odd = ("", "[", "[" * 10**5, '{"id2label": {"0": ["a"]}}', b"\xff\xfe", "7", "null")
    for name in ("config.json", "labels.txt", "classes.txt"):
        path = tmp_path / name
        for content in odd:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            assert not load().has_class_names
        path.unlink()
        path.mkdir()
        assert not load().has_class_names
        path.rmdir()


# -- labels -----------------------------------------------------------------------------------


def test_positions_match_by_position(zoo, load, tmp_path):
    named = load({"names": repr(BY_POSITION)})
    twelve = FrozenModel.load(zoo.save(zoo.classifier(12), tmp_path / "12.onnx"))
    for labels in ([0, 1, 2], ["0", "1", "2"], ["LABEL_0", "LABEL_1", "LABEL_2"]):
        matched = named.matched_to(np.asarray(labels)[[2, 0, 1, 1]])
        assert matched.head.classes.tolist() == labels
        assert "0 = positive, 1 = negative, 2 = neutral" in matched.matched_by
        assert matched.class_names == tuple(NAMES)
        assert load().matched_to(labels).head.classes.tolist() == labels
    for prefix in ("", "LABEL_"):  # not sorted as texts
        labels = [f"{prefix}{i}" for i in range(12)]
        assert twelve.matched_to(labels).head.classes.tolist() == labels
    assert "sorted order: 0 = a, 1 = b, 2 = c" in load().matched_to(["b", "a", "c"]).matched_by


def test_case_blanks_and_underscores_may_differ_and_it_is_said(load):
    model = load({"names": repr({0: "Sea_Lion", 1: "cat", 2: "DOG "})})
    matched = model.matched_to(["cat", "dog", "sea lion"])
    assert matched.head.classes.tolist() == ["sea lion", "cat", "dog"]
    assert "'sea lion' = 'Sea_Lion'" in matched.matched_by
    assert "'dog' = 'DOG'" in matched.matched_by
    assert "'cat' = " not in matched.matched_by


def test_other_labels_are_refused_with_both_lists(load):
    model = load({"names": repr(BY_POSITION)})
    with pytest.raises(InputError, match="'negatve', 'neutral', 'positive'") as error:
        model.matched_to(["negatve", "neutral", "positive"])
    for words in ("'positive', 'negative', 'neutral'", "did you mean 'negative'", "--classes"):
        assert words in str(error.value)
    with pytest.raises(InputError, match="no sample of class 'negative'"):
        model.matched_to(["neutral", "positive"])


# -- written files ----------------------------------------------------------------------------


def props(path):
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def test_a_head_for_positions_keeps_the_names(zoo, load, tmp_path):
    named = load(files={"config.json": {"id2label": BY_POSITION}})
    unsorted = named.matched_to(["negative", "neutral", "positive", "negative"])
    assert (unsorted.head.classes.tolist(), unsorted.matched_by) == (NAMES, None)
    model = named.matched_to([0, 1, 2])
    new = model.with_head(LinearHead(*zoo.weights(K, seed=4), [0, 1, 2]))
    assert new.head.classes.tolist() == [0, 1, 2]
    (tmp_path / "elsewhere").mkdir()
    read = FrozenModel.load(new.save(tmp_path / "elsewhere" / "new.onnx"))
    assert read.head.classes.tolist() == NAMES
    assert read.classes_source == "metadata 'ntkit.classes'"
    np.testing.assert_allclose(read.head.coef, new.head.coef)
    text = pickle.dumps(model)
    (tmp_path / "config.json").unlink()
    copy = pickle.loads(text)
    for part in ("head", "class_names", "classes_source", "matched_by", "has_class_names"):
        assert getattr(copy, part) == getattr(model, part)


@pytest.mark.parametrize("key", METADATA)
def test_a_head_of_other_classes_renames_them_in_the_metadata(zoo, load, tmp_path, key):
    model = load({key: METADATA[key], "author": "someone"})
    for classes in (["cat", "dog"], ["cow", "bee", "ant"]):
        head = LinearHead(*zoo.weights(len(classes), seed=4), classes)
        path = model.with_head(head).save(tmp_path / f"{len(classes)}.onnx")
        found = props(path)
        assert found["author"] == "someone"
        assert "positive" not in json.dumps(found)
        del found["ntkit.classes"]
        proto = onnx.load(path)
        del proto.metadata_props[:]
        helper.set_model_props(proto, found)
        onnx.save(proto, path)
        read = FrozenModel.load(path)  # by the user's own key alone
        assert read.head.classes.tolist() == classes
        assert read.classes_source == f"metadata {key!r}"


def test_a_head_of_the_same_classes_leaves_the_metadata(zoo, load, tmp_path):
    model = load({"names": repr(BY_POSITION)})
    head = LinearHead(*zoo.weights(K, seed=4), sorted(NAMES))
    found = props(model.with_head(head).save(tmp_path / "new.onnx"))
    assert found["names"] == repr(BY_POSITION)
    assert json.loads(found["ntkit.classes"]) == NAMES


def test_numbers_are_no_classes_of_a_model_with_names(zoo, load, tmp_path):
    """LabelEncoder numbers sorted names, and this model has them in another order."""
    model = load({"names": repr(BY_POSITION)})
    assert sorted(NAMES) != NAMES
    numbered = LinearHead(*zoo.weights(K, seed=4), [0, 1, 2])
    with pytest.raises(InputError, match=r"head's classes are 0, 1, 2, and .*Train"):
        model.with_head(numbered)
    for positions in (
        model.with_head(LinearHead(numbered.coef, numbered.intercept, model.head.classes)),
        model.matched_to([0, 1, 2]).with_head(numbered),
    ):
        found = props(positions.save(tmp_path / "new.onnx", force=True))
        assert found["names"] == repr(BY_POSITION)
        assert json.loads(found["ntkit.classes"]) == NAMES

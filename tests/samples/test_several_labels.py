"""Samples that have several labels: all of them, or one, from every kind of source."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from onnx import helper
from PIL import Image

from ntkit import FrozenModel
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, read_samples
from ntkit.samples.read import read
from tests import models as zoo
from tests.cases import write_rows

NAMES = ("red", "round", "ripe")
CELLS = [["1", "0", "1"], ["0", "", "0"], ["True", "1.0", "TRUE"], ["", "0", ""]]
KNOWN = np.array([[1, 0, 1], [0, np.nan, 0], [1, 1, 1], [np.nan, 0, np.nan]])


def written(path, rows, names=NAMES):
    return write_rows(path, [["file_name", "size", *names], *rows])


def sources(folder):
    """The same labels in a table, an image folder, an .npz, and an .npy."""
    rows = [[f"{i}/a.png", i, *cells] for i, cells in enumerate(CELLS)]
    table, images = written(folder / "table.csv", rows), folder / "images"
    for i in range(4):
        (images / str(i)).mkdir(parents=True)
        Image.new("RGB", (4, 4), (i, i, i)).save(images / f"{i}/a.png")
    written(images / "metadata.csv", rows[::-1])
    np.savez(folder / "arrays.npz", X=np.zeros((4, 1)), y=KNOWN)
    (folder / "npy").mkdir()
    np.save(folder / "npy/X.npy", np.zeros((4, 1)))
    np.save(folder / "npy/y.npy", KNOWN)
    return table, images, folder / "arrays.npz", folder / "npy"


def test_every_source_gives_all_labels_or_one(tmp_path):
    steps = {"preprocessing": ImagePreprocessing((4, 4))}
    for source in sources(tmp_path):
        options = {"other_labels": NAMES} | (steps if source.name == "images" else {})
        every = read_samples(source, **options)
        assert_array_equal(every.y, KNOWN)
        one = read_samples(source, label="red", **options)
        assert one.y.tolist() == ["red", "not red", "red"], source
        assert len(one.X) == 3
        assert any("eft out 1 of 4 samples" in note for note in one.notes)
        assert any("abel 'red' has the values of label 'ripe'" in note for note in one.notes)
        whole = read_samples(source, label="round", keep_unknown=True, **options)
        assert whole.y.tolist() == ["not round", "", "round", "not round"]


def test_a_missing_column_is_unknown_among_others_and_an_error_alone(tmp_path):
    table = written(tmp_path / "t.csv", [["a", 1, "0"], ["b", 2, "1"]], ["red"])
    samples = read_samples(table, other_labels=NAMES)
    assert np.isnan(samples.y).tolist() == [[False, True, True]] * 2
    assert any("no column for these labels" in n and "'round', 'ripe'" in n for n in samples.notes)
    for options in ({"label": "ripe", "other_labels": NAMES}, {"other_labels": NAMES[1:]}):
        with pytest.raises(InputError, match=r"has no column 'r.*' with 0 and 1"):
            read_samples(table, **options)
        assert read_samples(table, labels="optional", **options).y is None


def test_a_folder_with_the_name_of_a_label_that_the_table_denies_is_noted(tmp_path):
    table = sources(tmp_path)[1]
    (table / "0").rename(table / "red")
    for has in ("0", "1", ""):
        rows = [[f"{i}/a.png", i, *cells] for i, cells in enumerate(CELLS)]
        rows[0] = ["red/a.png", 0, has, "0", "1"]
        written(table / "metadata.csv", rows)
        for options in ({"other_labels": NAMES}, {"label": "red", "keep_unknown": True}):
            found = read_samples(table, preprocessing=ImagePreprocessing((4, 4)), **options)
            said = "1 image in the folder 'red' without this label" in " ".join(found.notes)
            assert said == (has == "0"), (has, options)


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("words", [("not red", "red"), (False, True), (0, 1)])
def test_labels_in_memory_may_be_missing(tmp_path, words, missing):
    proto = zoo.built("p = Sigmoid(logits)", "classifier", n_logits=3)
    helper.set_model_props(proto, {"names": json.dumps(NAMES)})
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"), label="red")
    y = np.array([words[1], missing, words[0]], dtype=object)
    samples = read((zoo.inputs()[:3], y), model)
    assert samples.y.tolist() == ["red", "not red"]
    assert any("eft out 1 of 3 samples" in note for note in samples.notes)

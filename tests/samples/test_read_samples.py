"""Labelled samples from every kind of source, and what each says about bad input."""

import csv
import json
import os

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import (
    EmbeddingStore,
    ImagePreprocessing,
    Samples,
    TextPreprocessing,
    Texts,
    read_samples,
)
from ntkit.model import TensorInfo

PREPROCESSING = ImagePreprocessing((4, 4))


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


# -- image folders ----------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    """A folder with three classes; the colour of an image says which it is."""
    folder = tmp_path / "images"
    names = ["ant/1.png", "ant/2.jpg", "bee/deep/3.png", "cow/4.bmp", "cow/5.PNG"]
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (i * 40,) * 3).save(path)
    (folder / "ant" / "notes.txt").write_text("not an image")
    (folder / ".hidden").mkdir()
    return folder


def read_images(folder, **options):
    return read_samples(folder, preprocessing=PREPROCESSING, **options)


def test_an_image_folder(images):
    samples = read_images(images)
    assert samples.y.tolist() == ["ant", "ant", "bee", "cow", "cow"]
    assert samples.groups is None
    assert len(samples) == len(samples.X) == 5
    assert samples.X[:].shape == (5, 3, 4, 4)
    assert_allclose(samples.X[:].mean(axis=(1, 2, 3)), np.arange(5) * 40 / 255, atol=0.02)
    assert_array_equal(samples.X[1:3], samples.X[:][1:3])
    assert samples.preprocessing == PREPROCESSING.as_dict()


def test_groups_come_from_metadata_csv(images):
    rows = [["group", "file_name"], ["water", "ant/1.png"], ["land", "ant/2.jpg"],
            ["land", "bee/deep/3.png"], ["water", "cow/4.bmp"], ["land", "cow/5.PNG"]]  # fmt: skip
    write_csv(images / "metadata.csv", rows)
    assert read_images(images).groups.tolist() == ["water", "land", "land", "water", "land"]
    assert read_images(images, group_column="place").groups is None
    write_csv(images / "metadata.csv", [*rows, ["land", "ant/1.png"]])
    with pytest.raises(InputError, match=r"metadata\.csv names a file twice"):
        read_images(images)
    write_csv(images / "metadata.csv", rows[:3])
    with pytest.raises(InputError, match=r"no row for 'bee/deep/3\.png'"):
        read_images(images)
    write_csv(images / "metadata.csv", [["group"], ["water"]])
    with pytest.raises(InputError, match="no column 'file_name'"):
        read_images(images)


def test_bad_images_stop_or_are_left_out(images):
    (images / "ant" / "1a.png").write_text("no image")
    (images / "cow" / "5a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1a\.png cannot be decoded .*--skip-bad"):
        read_images(images).X[:]
    samples = read_images(images, skip_bad=True)
    assert [path.name for path in samples.skipped] == ["1a.png", "5a.png"]
    assert samples.y.tolist() == ["ant", "ant", "bee", "cow", "cow"]
    assert samples.X[:].shape == (5, 3, 4, 4)
    for path in images.rglob("*.*"):
        if path.is_file():
            path.write_text("no image")
    with pytest.raises(InputError, match="None of the 7 images"):
        read_images(images, skip_bad=True)


def test_images_are_known_by_their_place_in_the_folder(images):
    samples = read_images(images)
    assert samples.ids.tolist() == ["ant/1.png", "ant/2.jpg", "bee/deep/3.png", "cow/4.bmp",
                                    "cow/5.PNG"]  # fmt: skip
    (images / "ant" / "1.png").write_text("no image")
    left = read_images(images, skip_bad=True)
    assert left.ids.tolist() == samples.ids.tolist()[1:]
    assert left.y.tolist() == samples.y.tolist()[1:]


def test_hidden_and_other_files_are_no_images(images):
    (images / "ant" / "._1.png").write_text("what a Mac leaves behind")
    (images / "ant" / ".ipynb_checkpoints").mkdir()
    (images / "ant" / ".ipynb_checkpoints" / "1.png").write_bytes(
        (images / "ant" / "1.png").read_bytes()
    )
    for name in ("notes.pdf", "data.h5", "drawing.eps", "film.mpg", "noextension"):
        (images / "cow" / name).write_text("no image")
    assert len(read_images(images)) == 5


def test_links_to_folders_are_followed_and_loops_are_not(images, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (6, 5)).save(elsewhere / "6.png")
    (images / "ant" / "linked").symlink_to(elsewhere)
    (images / "ant" / "again").symlink_to(images / "ant")
    (images / "bee" / "deep" / "up").symlink_to(images / "bee")
    ids = read_images(images).ids.tolist()
    assert ids == ["ant/1.png", "ant/2.jpg", "ant/linked/6.png", "bee/deep/3.png",
                   "cow/4.bmp", "cow/5.PNG"]  # fmt: skip
    (images / "cow" / "6.png").symlink_to(images / "cow" / "6.png")
    samples = read_images(images, skip_bad=True)
    assert [path.name for path in samples.skipped] == ["6.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(images):
    os.mkfifo(images / "ant" / "pipe.png")
    assert [path.name for path in read_images(images, skip_bad=True).skipped] == ["pipe.png"]


def test_names_in_any_script(tmp_path):
    decomposed = "e\u0301te\u0301.png"
    for label in ("狗", "кот"):
        (tmp_path / "i" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "i" / label / decomposed)
    rows = [["file_name", "group"], ["狗/été.png", "ü"], ["кот/été.png", "ö"]]
    write_csv(tmp_path / "i" / "metadata.csv", rows)
    samples = read_images(tmp_path / "i")
    assert samples.y.tolist() == ["кот", "狗"]
    assert samples.groups.tolist() == ["ö", "ü"]
    assert samples.ids.tolist() == [f"{label}/{decomposed}" for label in ("кот", "狗")]


def test_names_that_are_no_text_are_spelt_out(tmp_path):
    folder = os.fsencode(tmp_path) + b"/a"
    os.mkdir(folder)
    try:
        with open(folder + b"/\xff.png", "wb") as file:
            Image.new("RGB", (4, 4)).save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    samples = read_images(tmp_path)
    assert samples.ids.tolist() == ["a/\\xff.png"]
    assert samples.X[:].shape == (1, 3, 4, 4)


def test_folders_that_are_no_image_folders(images, tmp_path):
    with pytest.raises(InputError, match="pass its image preprocessing"):
        read_samples(images)
    (images / "dog").mkdir()
    with pytest.raises(InputError, match=r"class folder .*dog contains no images"):
        read_images(images)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="make one subfolder per class"):
        read_images(tmp_path / "empty")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["0", "1"], [0, 1]),
        (["007", "-8"], [-8, 7]),
        (["1", "01"], ["01", "1"]),  # two folders stay two classes
        (["1", "one"], ["1", "one"]),
        (["--1", "2"], ["--1", "2"]),
        (["²", "2"], ["2", "²"]),
        (["9" * 30, "1"], ["1", "9" * 30]),
    ],
)
def test_folder_names_that_are_numbers_become_numbers(names, labels, tmp_path):
    for name in names:
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "i.png")
    assert sorted(read_images(tmp_path).y.tolist()) == labels


# -- arrays -----------------------------------------------------------------------------------

X = np.arange(24, dtype=np.float32).reshape(4, 6)
Y = np.asarray(["a", "b", "a", "b"])
GROUPS = np.asarray([0, 1, 0, 1])


def save_npz(folder, **arrays):
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def save_npy(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder / "X.npy"


@pytest.fixture(params=[save_npz, save_npy], ids=["npz", "npy"])
def save(request):
    return request.param


def test_arrays(save, tmp_path):
    samples = read_samples(save(tmp_path, X=X, y=Y))
    assert_array_equal(samples.X, X)
    assert_array_equal(samples.y, Y)
    assert samples.groups is None
    assert not samples.embedded
    samples = read_samples(str(save(tmp_path, X=X, y=Y, groups=GROUPS)))
    assert_array_equal(samples.groups, GROUPS)


def test_a_folder_with_arrays_is_read_without_loading_x(tmp_path):
    save_npy(tmp_path, X=X, y=Y, groups=GROUPS)
    samples = read_samples(tmp_path)
    assert isinstance(samples.X, np.memmap)
    assert_array_equal(samples.X, X)
    assert_array_equal(samples.groups, GROUPS)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": X, "y": Y[:3]}, "X has 4 samples, but y has 3 labels"),
        ({"X": X, "y": Y[:, None]}, r"y \(4, 1\)"),
        ({"X": X[:, 0], "y": Y}, r"X has the shape \(4,\)"),
        ({"X": np.float32(3), "y": Y}, r"X has the shape \(\)"),
        ({"X": X[:0], "y": Y[:0]}, "contains no samples"),
        ({"X": X, "y": Y, "groups": GROUPS[:3]}, r"groups has shape \(3,\)"),
        ({"X": X, "y": [0, 1, np.nan, 1]}, "y has NaN"),
        ({"X": X, "y": Y.astype(object)}, "readable .*(allow_pickle|Python objects).*dtype=str"),
        ({"X": X.astype(object), "y": Y}, "readable .*(allow_pickle|Python objects).*float32"),
        ({"X": X, "y": [0.5, 1, 0, 1]}, "y contains 0.5, but labels must be whole numbers"),
        ({"X": X, "y": ["a", "", "b", " "]}, r"y has .*empty values in 2 of 4 rows.* row 1 "),
        (
            {"X": X, "y": Y, "groups": [0, 1, np.nan, 1]},
            "groups has NaN.* in 1 of 4 rows.* row 2",
        ),
    ],
)
def test_arrays_that_do_not_fit(save, arrays, said, tmp_path):
    with pytest.raises(InputError, match=said) as error:
        read_samples(save(tmp_path, **arrays))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_arrays_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no array 'y'; it has \['X', 'labels'\]"):
        read_samples(save_npz(tmp_path, X=X, labels=Y))
    with pytest.raises(InputError, match=r"needs its labels in .*y\.npy"):
        read_samples(save_npy(tmp_path, X=X))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no zip", b"\x93NUMPY", "cut"])
@pytest.mark.parametrize("name", ["d.npz", "X.npy", "y.npy"])
def test_damaged_array_files_are_named(content, name, tmp_path):
    save_npz(tmp_path, X=X, y=Y)
    save_npy(tmp_path, X=X, y=Y)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20] if content == "cut" else content)
    with pytest.raises(InputError, match=rf"{name} is not a readable") as error:
        read_samples(tmp_path / "X.npy" if name == "y.npy" else path)
    assert "\n" not in str(error.value)


def test_an_array_under_the_name_of_an_archive(tmp_path):
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "X.npy").rename(tmp_path / "d.npz")
    with pytest.raises(InputError, match=r"d\.npz is not a readable \.npz"):
        read_samples(tmp_path / "d.npz")


# -- tables -----------------------------------------------------------------------------------


def test_a_table(tmp_path):
    rows = [["f1", "label", "f2", "group"], [1, 0, 2.5, "x"], ["-1e3", 1, "4", "y"]]
    samples = read_samples(write_csv(tmp_path / "t.csv", rows))
    assert_array_equal(samples.X, np.asarray([[1, 2.5], [-1000, 4]], np.float32))
    assert samples.X.dtype == np.float32
    assert samples.y.tolist() == [0, 1]
    assert samples.groups.tolist() == ["x", "y"]
    named = read_samples(tmp_path / "t.csv", label_column="group", group_column="label")
    assert (named.y.tolist(), named.groups.tolist()) == (["x", "y"], ["0", "1"])


def test_a_table_written_by_a_spreadsheet(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeff"label",f1\r\nä,1\r\n"b, c",2\r\n'.encode())
    samples = read_samples(tmp_path / "t.csv")
    assert samples.y.tolist() == ["ä", "b, c"]
    assert samples.X.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rows"),
        ("label,f\n", "has no rows"),
        ("a,b\n1,2\n", r"no column 'label'; its columns are \['a', 'b'\].*--label-column"),
        ("label\n1\n", "no columns other than 'label'"),
        ("label,f\na,1\nb,x\n", "row 3: 'x' in column 'f' is not a finite number"),
        ("label,f,g\na,1,2\nb,1,\n", "row 3: '' in column 'g' is not a finite number"),
        ("label,f,g\na,1,2\nb,1\n", "row 3 has 2 cells, but there are 3 columns"),
        ("f,label\n1,a\n2\n", "row 3 has 1 cells, but there are 2 columns"),
        ("f,label\n1,a\n2,\n", "row 3 has no label in 'label'"),
        ("label,f\na,1\nb,2,3\n", "row 3 has more cells than the 2 columns"),
        ("label,f,f\na,1,2\n", "two columns of the same name"),
        ("label,f\na,\xff\xfe\n", "line 2 is not UTF-8; save the table as UTF-8"),
        ("label,f\na,1\0\n", "not a readable table|is not a finite number"),
        ("label,f\na,nan\n", "row 2: 'nan' in column 'f' is not a finite number"),
        ("label,f\n\na,1\n\n,2\n", "row 5 has no label in 'label'"),
        ("label,f,group\na,1,x\nb,2,\n", "row 3 has no group in 'group'"),
    ],
)
def test_tables_that_cannot_be_read(text, said, tmp_path):
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=said) as error:
        read_samples(tmp_path / "t.csv")
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_reads_alike(kind, tmp_path):
    columns = {"f": [1, -2], "label": ["b", "a"], "g": [0.5, 1e3], "group": ["x", "y"]}
    samples = read_samples(write_table(tmp_path / f"t.{kind}", columns))
    assert samples.X.tolist() == [[1, 0.5], [-2, 1000]]
    assert samples.X.dtype == np.float32
    assert samples.y.tolist() == ["b", "a"]
    assert samples.groups.tolist() == ["x", "y"]
    assert samples.ids is None


def write_table(path, columns):
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([list(columns), *rows])
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table(columns), path)
    return path


# -- texts ------------------------------------------------------------------------------------


@pytest.fixture
def steps(tmp_path):
    """A tokenizer of words."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "bird": 2, "sea": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return TextPreprocessing(tmp_path / "tokenizer.json")


TEXTS = {"text": ["bird sea", "no, bird"], "label": [1, 0], "group": ["x", "y"]}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_texts(kind, steps, tmp_path):
    path = write_table(tmp_path / f"t.{kind}", {**TEXTS, "id": [7, 8], "note": ["a", "b"]})
    samples = read_samples(path, preprocessing=steps)
    assert isinstance(samples.X, Texts)
    assert samples.X.texts == TEXTS["text"]
    assert samples.X[:]["input_ids"].tolist() == [[2, 3, 0], [1, 1, 2]]
    assert samples.y.tolist() == [1, 0]
    assert samples.groups.tolist() == ["x", "y"]
    assert samples.preprocessing == steps.as_dict()
    assert read_samples(path, preprocessing=steps, text_column="note").X.texts == ["a", "b"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_only_text_column_is_found(kind, steps, tmp_path):
    columns = {"id": [7, 8], "review": TEXTS["text"], "label": ["good", "bad"]}
    path = write_table(tmp_path / f"t.{kind}", columns)
    assert read_samples(path, preprocessing=steps).X.texts == TEXTS["text"]
    path = write_table(tmp_path / f"t.{kind}", {**columns, "note": ["a", "b"]})
    with pytest.raises(InputError, match=r"several text columns.*'review'.*--text-column"):
        read_samples(path, preprocessing=steps)
    path = write_table(tmp_path / f"t.{kind}", {"id": [7, 8], "label": ["a", "b"]})
    with pytest.raises(InputError, match=r"no text column.*\['id', 'label'\].*--text-column"):
        read_samples(path, preprocessing=steps)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({**TEXTS, "text": ["bird", ""]}, {}, "row 3: '' in the text column 'text' is not a text"),
        ({**TEXTS, "text": ["bird", " "]}, {}, "row 3: ' ' in the text column"),
        (TEXTS, {"text_column": "body"}, "no column 'body'; .*--text-column"),
        (TEXTS, {"label_column": "class"}, "no column 'class'; .*--label-column"),
        ({**TEXTS, "label": [1, ""]}, {}, "row 3 has no label in 'label'"),
    ],
)
def test_texts_that_cannot_be_read(columns, options, said, steps, tmp_path):
    path = write_table(tmp_path / "t.csv", columns)
    with pytest.raises(InputError, match=said):
        read_samples(path, preprocessing=steps, **options)


def test_texts_need_a_tokenizer(tmp_path):
    path = write_table(tmp_path / "t.csv", TEXTS)
    for preprocessing in (None, PREPROCESSING):
        with pytest.raises(InputError, match=r"need a tokenizer.*--tokenizer"):
            read_samples(path, preprocessing=preprocessing, text_column="text")


def test_an_image_folder_with_a_tokenizer_is_refused(images, steps):
    with pytest.raises(InputError, match="pass its image preprocessing"):
        read_samples(images, preprocessing=steps)


PAIRS = {"premise": ["bird sea", "sea"], "hypothesis": ["bird", "no bird sea"], "label": [1, 0]}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_of_pairs(kind, steps, tmp_path):
    path = write_table(tmp_path / f"t.{kind}", PAIRS)
    options = {"preprocessing": steps, "text_pair_column": "hypothesis"}
    samples = read_samples(path, text_column="premise", **options)
    assert samples.X.texts == [("bird sea", "bird"), ("sea", "no bird sea")]
    assert samples.X[:]["input_ids"].tolist() == [[2, 3, 2, 0], [3, 1, 2, 3]]
    assert read_samples(path, **options).X.texts == samples.X.texts  # only one column is left
    with pytest.raises(InputError, match=r"several text columns.*--text-pair-column"):
        read_samples(path, preprocessing=steps)
    with pytest.raises(InputError, match=r"no column 'second'.*--text-pair-column"):
        read_samples(path, preprocessing=steps, text_column="premise", text_pair_column="second")
    with pytest.raises(InputError, match="cannot be both texts of a pair"):
        read_samples(path, text_column="hypothesis", **options)


# -- without labels ---------------------------------------------------------------------------


def test_images_without_class_folders(tmp_path):
    for name in ("b.png", "a.png", "more/c.png", "more/deep/d.png", ".hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    samples = read_images(tmp_path, labels="optional")
    assert samples.y is None
    assert samples.ids.tolist() == ["a.png", "b.png", "more/c.png", "more/deep/d.png"]
    assert len(samples) == len(samples.X) == 4
    assert any("2 image(s) are not in a subfolder" in note for note in samples.notes)
    labelled = read_images(tmp_path)
    assert labelled.y.tolist() == ["more", "more"]
    assert any("left out 2 image(s)" in note for note in labelled.notes)
    for name in ("more/c.png", "more/deep/d.png"):
        (tmp_path / name).unlink()
    (tmp_path / "more" / "deep").rmdir()
    (tmp_path / "more").rmdir()
    flat = read_images(tmp_path, labels="optional")
    assert (flat.y, flat.ids.tolist(), flat.notes) == (None, ["a.png", "b.png"], ())
    with pytest.raises(InputError, match=r"2 images, but no subfolders.*one subfolder per class"):
        read_images(tmp_path)


def test_labels_are_read_where_there_are_any(images, save, tmp_path):
    assert_array_equal(read_images(images, labels="optional").y, read_images(images).y)
    assert_array_equal(read_samples(save(tmp_path, X=X, y=Y), labels="optional").y, Y)


def test_arrays_and_tables_without_labels(save, steps, tmp_path):
    samples = read_samples(save(tmp_path, X=X), labels="optional")
    assert (samples.y, len(samples)) == (None, 4)
    path = write_csv(tmp_path / "t.csv", [["a", "b"], [1, 2], [3, 4], [5, 6]])
    samples = read_samples(path, labels="optional")
    assert (samples.y, len(samples), samples.columns) == (None, 3, ("a", "b"))
    path = write_csv(tmp_path / "t.csv", [["text"], ["bird"], ["sea"]])
    samples = read_samples(path, preprocessing=steps, labels="optional")
    assert (samples.y, len(samples)) == (None, 2)
    with pytest.raises(InputError, match="no column 'verdict'"):  # asked for by name
        read_samples(path, preprocessing=steps, labels="optional", label_column="verdict")
    with pytest.raises(InputError, match="labels must be"):
        read_samples(path, labels="none")


def test_a_store_without_labels(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(2), tmp_path / "m.onnx"))
    embedder = OnnxEmbedder(model, device="cpu")
    whole = EmbeddingStore.write(tmp_path / "s", embedder, Samples(zoo.inputs()))
    assert whole.y is None
    assert whole.head == model.head
    parts = [tmp_path / f"p{i}" for i in (1, 2)]
    for i, part in enumerate(parts, start=1):
        EmbeddingStore.write(part, embedder, Samples(zoo.inputs()), part=(i, 2))
    merged = EmbeddingStore.merge(parts, tmp_path / "merged")
    assert merged.y is None
    assert zoo.contents(tmp_path / "merged") == zoo.contents(tmp_path / "s")
    samples = read_samples(tmp_path / "s", labels="optional")
    assert samples.embedded
    assert (samples.y, len(samples)) == (None, 40)
    with pytest.raises(InputError, match="has no labels, which are needed here; embed"):
        read_samples(tmp_path / "s")


def test_a_store_that_lost_its_labels_is_damaged(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(2), tmp_path / "m.onnx"))
    samples = Samples(zoo.inputs(), np.arange(40) % 2)
    EmbeddingStore.write(tmp_path / "s", OnnxEmbedder(model, device="cpu"), samples)
    (tmp_path / "s" / "labels.npy").unlink()
    with pytest.raises(InputError, match="is damaged"):
        EmbeddingStore.open(tmp_path / "s")


# -- stores and the rest ----------------------------------------------------------------------


def test_a_store_is_read_as_embeddings(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(2), tmp_path / "m.onnx"))
    y, groups = np.arange(40) % 2, np.arange(40) % 4
    embedder = OnnxEmbedder(model, device="cpu")
    EmbeddingStore.write(tmp_path / "s", embedder, Samples(zoo.inputs(), y, groups))
    samples = read_samples(tmp_path / "s")
    assert samples.embedded
    assert_array_equal(samples.X, embedder.transform(zoo.inputs()))
    assert_array_equal(samples.y, y)
    assert_array_equal(samples.groups, groups)


def test_a_model_is_no_data(tmp_path):
    (tmp_path / "m.onnx").write_text("")
    with pytest.raises(InputError, match=r"m\.onnx is a model, but samples are needed here"):
        read_samples(tmp_path / "m.onnx")


def test_labels_are_no_samples(tmp_path):
    save_npy(tmp_path, X=X, y=Y)
    with pytest.raises(InputError, match=r"y\.npy contains labels.*X\.npy"):
        read_samples(tmp_path / "y.npy")


def test_other_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing does not exist"):
        read_samples(tmp_path / "nothing")
    (tmp_path / "d.xlsx").write_text("")
    with pytest.raises(
        InputError, match=r"d\.xlsx is not samples; pass an image folder.*\.parquet"
    ):
        read_samples(tmp_path / "d.xlsx")


def test_columns_go_by_their_names(tmp_path):
    (tmp_path / "one.csv").write_text("a,b,label\n1,2,x\n3,4,y\n")
    (tmp_path / "two.csv").write_text("b,label,a\n20,x,10\n40,y,30\n")
    one, two = read_samples(tmp_path / "one.csv"), read_samples(tmp_path / "two.csv")
    same = two.with_columns_as_in(one)
    assert same.columns == one.columns == ("a", "b")
    assert same.X.tolist() == [[10, 20], [30, 40]]
    assert one.with_columns_as_in(Samples(np.zeros((2, 2)), one.y)) is one
    (tmp_path / "three.csv").write_text("a,b,c,label\n1,2,7,x\n")
    three = read_samples(tmp_path / "three.csv")
    with pytest.raises(InputError, match="'c'"):
        three.with_columns_as_in(one)
    with pytest.raises(InputError, match="'c'"):
        one.with_columns_as_in(three)


# -- the table itself -----------------------------------------------------------------------------


def test_a_table_that_is_kept_says_what_became_of_its_columns(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{i},{i % 2},a b {i},{'AB'[i % 3 % 2]},g" for i in range(20)]
    path.write_text("\n".join(["age,label,note,site,group", *rows]))
    asked = {"columns": ["age"], "keep_table": True}
    table = read_samples(path, **asked).table
    assert table.inputs == ("age",)
    assert list(table.columns) == ["age", "label", "note", "site", "group"]
    assert list(table.rest) == ["note", "site"]
    assert table.rest["site"].tolist()[:3] == ["A", "B", "A"]
    assert read_samples(path, columns=["age"]).table is None
    (tmp_path / "tokenizer.json").write_text("{}")  # read when the texts are used
    steps = TextPreprocessing(tmp_path / "tokenizer.json")
    texts = read_samples(path, preprocessing=steps, text_column="note", keep_table=True)
    assert texts.table.inputs == ("note",)
    assert list(texts.table.rest) == ["age", "site"]
    named = [TensorInfo("age", ("N", 1), "float32"), TensorInfo("site", ("N", 1), "string")]
    by_name = read_samples(path, inputs=named, keep_table=True)
    assert by_name.table.inputs == ("age", "site")
    assert list(by_name.table.rest) == ["note"]

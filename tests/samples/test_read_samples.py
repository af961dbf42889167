"""Labelled samples from every kind of source, and what each says about bad input."""

import os
import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder, check
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing, read_samples
from ntkit.graph.tensors import TensorInfo
from ntkit.samples.read import read
from ntkit.store import EmbeddingStore
from tests.cases import write_rows
from tests.jobs.label.models import rows, write_model

PREPROCESSING = ImagePreprocessing((4, 4))
NAMES = ["ant/1.png", "ant/2.jpg", "bee/deep/3.png", "cow/4.bmp", "cow/5.PNG"]


# -- image folders ----------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    """A folder with three classes; the colour of an image says which it is."""
    folder = tmp_path / "images"
    for i, name in enumerate(NAMES):
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
    assert samples.ids.tolist() == NAMES
    assert read_images(images, labels="optional").y.tolist() == samples.y.tolist()
    assert samples.X[:].shape == (5, 3, 4, 4)
    assert_allclose(samples.X[:].mean(axis=(1, 2, 3)), np.arange(5) * 40 / 255, atol=0.02)
    assert_array_equal(samples.X[1:3], samples.X[:][1:3])
    assert samples.preprocessing == PREPROCESSING.as_dict()


def test_groups_come_from_metadata_csv(images):
    rows = [["group", "file_name"], ["water", "ant/1.png"], ["land", "ant/2.jpg"],
            ["land", "bee/deep/3.png"], ["water", "cow/4.bmp"], ["land", "cow/5.PNG"]]  # fmt: skip
    write_rows(images / "metadata.csv", rows)
    assert read_images(images).groups.tolist() == ["water", "land", "land", "water", "land"]
    assert read_images(images, group_column="place").groups is None
    write_rows(images / "metadata.csv", [*rows, ["land", "ant/1.png"]])
    with pytest.raises(InputError, match=r"metadata\.csv names 'ant/1\.png' twice"):
        read_images(images)
    write_rows(images / "metadata.csv", rows[:3])
    with pytest.raises(InputError, match=r"no row for 'bee/deep/3\.png'"):
        read_images(images)
    write_rows(images / "metadata.csv", [["group"], ["water"]])
    with pytest.raises(InputError, match="no column 'file_name'"):
        read_images(images)


def test_bad_images_stop_or_are_left_out(images):
    (images / "ant" / "1a.png").write_text("no image")
    (images / "cow" / "5a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1a\.png cannot be decoded .*--skip-bad"):
        read_images(images).X[:]
    if hasattr(os, "mkfifo"):  # a pipe is not waited for
        os.mkfifo(images / "cow" / "5b.png")
    samples = read_images(images, skip_bad=True)
    assert [path.name for path in samples.skipped][:2] == ["1a.png", "5a.png"]
    assert samples.ids.tolist() == NAMES
    assert samples.y.tolist() == ["ant", "ant", "bee", "cow", "cow"]
    assert samples.X[:].shape == (5, 3, 4, 4)
    for path in images.rglob("*.*"):
        if path.is_file():
            path.write_text("no image")
    with pytest.raises(InputError, match="can be decoded; check the files"):
        read_images(images, skip_bad=True)


def test_hidden_and_other_files_are_no_images_and_links_are_followed_once(images, tmp_path):
    (images / "ant" / "._1.png").write_text("what a Mac leaves behind")
    (images / "ant" / ".ipynb_checkpoints").mkdir()
    shutil.copy(images / "ant" / "1.png", images / "ant" / ".ipynb_checkpoints")
    for name in ("notes.pdf", "data.h5", "drawing.eps", "film.mpg", "noextension"):
        (images / "cow" / name).write_text("no image")
    assert len(read_images(images)) == 5
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (6, 5)).save(tmp_path / "elsewhere" / "6.png")
    (images / "ant" / "linked").symlink_to(tmp_path / "elsewhere")
    (images / "ant" / "again").symlink_to(images / "ant")
    (images / "bee" / "deep" / "up").symlink_to(images / "bee")
    ids = read_images(images).ids.tolist()
    assert ids == [*NAMES[:2], "ant/linked/6.png", *NAMES[2:]]
    (images / "cow" / "6.png").symlink_to(images / "cow" / "6.png")
    samples = read_images(images, skip_bad=True)
    assert [path.name for path in samples.skipped] == ["6.png"]


def test_files_that_may_be_images_without_an_ending_are_counted(images):
    (images / "cow" / "6.heic").write_bytes((images / "cow" / "5.PNG").read_bytes())
    (images / "bee" / "7").write_bytes((images / "cow" / "5.PNG").read_bytes())
    write_rows(images / "metadata.csv", [["file_name"], *([name] for name in NAMES)])
    for options in ({}, {"labels": "optional"}):
        samples = read_images(images, **options)
        assert samples.ids.tolist() == NAMES
        (note,) = samples.notes
        assert "left out 3 files, such as 'ant/notes.txt'" in note
    Image.new("RGB", (6, 5)).save(images / "loose.png")
    notes = read_images(images, labels="optional").notes
    assert any("left out 3 files, such as 'ant/notes.txt'" in note for note in notes)
    for name in ("ant/notes.txt", "cow/6.heic", "bee/7"):
        (images / name).unlink()
    assert not any("ending of a name" in note for note in read_images(images).notes)


# -- columns that are named ---------------------------------------------------------------------


@pytest.fixture
def forms(images, tmp_path):
    """Samples in every form, and how to read them."""
    (images / "ant" / "notes.txt").unlink()
    folder, y = tmp_path / "forms", np.array([0, 1, 1])
    folder.mkdir()
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = [["a", "b", "label", "group", "kind"], *([*x, 1, 0, 2] for x in X.tolist())]
    write_rows(folder / "t.csv", rows)
    np.savez(folder / "s.npz", X=X, y=y, groups=y)
    (folder / "n").mkdir()
    np.save(folder / "n" / "X.npy", X)
    np.save(folder / "n" / "y.npy", y)
    with_facts = shutil.copytree(images, folder / "facts")
    write_rows(with_facts / "metadata.csv", [["file_name", "group"], *([n, 1] for n in NAMES)])
    paths = {name: (folder / name, {}) for name in ("t.csv", "s.npz", "n")}
    paths |= {p.name: (p, {"preprocessing": PREPROCESSING}) for p in (images, with_facts)}
    return paths


@pytest.mark.parametrize("form", ["t.csv", "s.npz", "n", "images", "facts"])
@pytest.mark.parametrize(
    "option", ["label_column", "group_column", "text_column", "text_pair_column", "columns"]
)
def test_a_named_column_that_is_not_there_is_refused_or_told(forms, form, option):
    path, options = forms[form]
    plain = read_samples(path, **options)
    assert plain.notes == () or form == "t.csv"
    value = ["absent"] if option == "columns" else "absent"
    try:
        notes = read_samples(path, **options, **{option: value}).notes
    except InputError as error:
        notes = [str(error)]
    flag = option.replace("_", "-")
    told = [note for note in notes if "'absent'" in note or "need a tokenizer" in note]
    assert told, notes
    assert f"--{flag} has no effect here" in told[0] or form == "t.csv"


def test_named_columns_that_are_used_need_no_note(forms):
    for form, named in (
        ("t.csv", {"group_column": "kind", "columns": ["a", "b"]}),
        ("t.csv", {"group_column": "label", "label_column": "group", "columns": ["a"]}),
        ("facts", {"group_column": "group"}),
    ):
        path, options = forms[form]
        samples = read_samples(path, **options, **named)
        assert samples.groups is not None
        assert not any("no effect" in note for note in samples.notes)


def test_arrays_that_are_not_read_are_told(tmp_path):
    np.savez(tmp_path / "s.npz", X=np.ones((2, 2)), y=[0, 1], group=[0, 1])
    samples = read_samples(tmp_path / "s.npz")
    assert samples.groups is None
    assert samples.notes == (
        f"{tmp_path / 's.npz'}: left out 'group'; ntkit reads X (or one array for each input), y "
        "and groups.",
    )


def test_names_in_any_script(tmp_path):
    decomposed = "e\u0301te\u0301.png"
    for label in ("狗", "кот"):
        (tmp_path / "i" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "i" / label / decomposed)
    rows = [["file_name", "group"], ["狗/été.png", "ü"], ["кот/été.png", "ö"]]
    write_rows(tmp_path / "i" / "metadata.csv", rows)
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


def test_folder_names_that_are_numbers_become_numbers(tmp_path):
    for i, (names, labels) in enumerate([
        (["0", "1"], [0, 1]),
        (["007", "-8"], [-8, 7]),
        (["1", "01"], ["01", "1"]),  # two folders stay two classes
        (["1", "one"], ["1", "one"]),
        (["--1", "2"], ["--1", "2"]),
        (["²", "2"], ["2", "²"]),
        (["9" * 30, "1"], ["1", "9" * 30]),
    ]):  # fmt: skip
        for name in names:
            (tmp_path / f"{i}" / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / f"{i}" / name / "i.png")
        assert sorted(read_images(tmp_path / f"{i}").y.tolist()) == labels


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
    if save is save_npy:  # by its folder, without loading X
        assert isinstance(read_samples(tmp_path).X, np.memmap)
    (tmp_path / "y.npy").unlink(missing_ok=True)
    samples = read_samples(save(tmp_path, X=X), labels="optional")
    assert (samples.y, len(samples)) == (None, 4)


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


def test_damaged_array_files_are_named(tmp_path):
    for name in ("d.npz", "X.npy", "y.npy"):
        for content in (b"", b"text", b"PK\x03\x04 no zip", b"\x93NUMPY", None):
            save_npz(tmp_path, X=X, y=Y)
            save_npy(tmp_path, X=X, y=Y)
            path = tmp_path / name
            path.write_bytes(path.read_bytes()[:-20] if content is None else content)
            with pytest.raises(InputError, match=rf"{name} is not a readable") as error:
                read_samples(tmp_path / "X.npy" if name == "y.npy" else path)
            assert "\n" not in str(error.value)


# -- without labels ---------------------------------------------------------------------------


def test_images_without_class_folders(tmp_path):
    for name in ("b.png", "a.png", "more/c.png", "more/deep/d.png", ".hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    samples = read_images(tmp_path, labels="optional")
    assert (samples.y, len(samples), len(samples.X)) == (None, 4, 4)
    assert samples.ids.tolist() == ["a.png", "b.png", "more/c.png", "more/deep/d.png"]
    assert any("2 image(s) are not in a subfolder" in note for note in samples.notes)
    labelled = read_images(tmp_path)
    assert labelled.y.tolist() == ["more", "more"]
    assert any("left out 2 image(s)" in note for note in labelled.notes)
    shutil.rmtree(tmp_path / "more")
    flat = read_images(tmp_path, labels="optional")
    assert (flat.y, flat.ids.tolist(), flat.notes) == (None, ["a.png", "b.png"], ())
    with pytest.raises(InputError, match=r"2 images, but no subfolders.*one subfolder per class"):
        read_images(tmp_path)


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


# -- stores and the rest ----------------------------------------------------------------------


def test_paths_that_hold_no_samples(images, tmp_path):
    save_npy(tmp_path, X=X, y=Y)
    (tmp_path / "d.xlsx").touch()
    (tmp_path / "m.onnx").touch()
    for folder in ("empty", "bare"):
        (tmp_path / folder).mkdir()
    save_npy(tmp_path / "bare", X=X)
    (tmp_path / "X.npy").rename(tmp_path / "array.npz")
    steps = TextPreprocessing(None)
    for name, options, words in (
        ("nothing", {}, "nothing does not exist"),
        ("d.xlsx", {}, r"d\.xlsx is not samples; pass an image folder.*\.parquet"),
        ("m.onnx", {}, r"m\.onnx is a model, but samples are needed here"),
        ("y.npy", {}, r"y\.npy contains labels.*X\.npy"),
        ("array.npz", {}, r"array\.npz is not a readable \.npz"),
        (save_npz(tmp_path, X=X, labels=Y), {}, r"no array 'y'; it has \['X', 'labels'\]"),
        ("bare/X.npy", {}, r"needs its labels in .*y\.npy"),
        ("images", {}, "pass its image preprocessing"),
        ("images", {"preprocessing": steps}, "pass its image preprocessing"),
        ("empty", {"preprocessing": PREPROCESSING}, "make one subfolder per class"),
    ):
        with pytest.raises(InputError, match=words):
            read_samples(tmp_path / name, **options)
    (images / "dog").mkdir()
    with pytest.raises(InputError, match=r"class folder .*dog contains no images"):
        read_images(images)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["cat", "dog", "dog", "dog"], "1 of 4 images have another label"),
        (["dog", "dog", "cat", "cat"], "4 of 4 images"),
        (["feline", "canine", "canine", "feline"], "is not used"),
        (["Cat", " cat", "dog", ""], ""),
        (["0", "0", "1", "1"], ""),
    ],
)
@pytest.mark.parametrize("column", ["label", "species"])
def test_labels_of_a_folder_and_of_its_table_must_agree(tmp_path, labels, says, column):
    names = ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / name)
    rows = [*zip(names, labels, strict=True)]
    write_rows(tmp_path / "metadata.csv", [["file_name", column], *rows[::-1]])
    options = {"preprocessing": ImagePreprocessing((4, 4)), "label_column": column}
    if " of 4 images" in says:
        with pytest.raises(InputError, match=says):
            read_samples(tmp_path, **options)
        return
    samples = read_samples(tmp_path, **options)
    assert samples.y.tolist() == ["cat", "cat", "dog", "dog"]
    assert bool(samples.notes) == bool(says)
    assert says in " ".join(samples.notes)


@pytest.mark.parametrize(("dtype", "noted"), [(np.uint8, True), (np.float32, False)])
def test_images_of_whole_numbers_for_a_model_of_floats_are_noted(tmp_path, dtype, noted):
    X = np.full((4, 1, 8, 8), 3, dtype=dtype)
    np.savez(tmp_path / "x.npz", X=X, y=[0, 1, 0, 1])
    inputs = [TensorInfo("image", ("N", 1, 8, 8), "float32")]
    notes = " ".join(read_samples(tmp_path / "x.npz", inputs=inputs).notes)
    assert ("holds whole numbers (uint8), and the model takes float32" in notes) == noted
    bytes_too = [TensorInfo("image", ("N", 1, 8, 8), "uint8")]
    assert "whole numbers" not in " ".join(read_samples(tmp_path / "x.npz", inputs=bytes_too).notes)
    table = np.arange(8).reshape(4, 2)
    np.savez(tmp_path / "t.npz", X=table, y=[0, 1, 0, 1])
    of_table = [TensorInfo("row", ("N", 2), "float32")]
    assert "whole numbers" not in " ".join(read_samples(tmp_path / "t.npz", inputs=of_table).notes)


@pytest.mark.parametrize("kind", [bool, float, int, np.uint8, object])
def test_labels_equal_to_classes_of_the_model_are_these(kind, tmp_path):
    """True, 1.0 and 1 are one class, with one name in tables and limits."""
    X, y, _ = rows()
    model = FrozenModel.load(write_model(tmp_path / "model.onnx"))
    head = model.head.scaled(np.array([2, 0.4, 0, 1, 1, 1]))
    results = [check(model, model.with_head(head), (X, labels), slices=["input #1 high"])
               for labels in (y, y.astype(kind))]  # fmt: skip
    names = [[str(row.name) for row in result.rows] for result in results]
    assert names[0] == names[1]
    assert {*map(type, read((X, y.astype(kind)), model).y.tolist())} == {int}


def test_groups_of_bytes_are_texts(tmp_path):
    model, (X, y, mark) = write_model(tmp_path / "model.onnx"), rows(0, 60)
    groups = np.array(["no é", "yes"])[mark]
    encoded = np.char.encode(groups, "utf-8")
    np.savez(tmp_path / "x.npz", X=X, y=y, groups=encoded)
    of = FrozenModel.load(model)
    for given in (tmp_path / "x.npz", (X, y, encoded)):
        assert read(given, of).groups.tolist() == groups.tolist()

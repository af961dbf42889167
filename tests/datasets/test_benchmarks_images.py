"""Waterbirds, CelebA, ImageNet-9 and ImageNet-A from folders laid out like the published ones."""

import csv
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ntkit import OnnxEmbedder, debias
from ntkit.datasets import (
    BenchmarkSamples,
    IncompleteDataWarning,
    load_celeba,
    load_imagenet9,
    load_imagenet_a,
    load_waterbirds,
    marked_digits_model_path,
)
from ntkit.datasets import _benchmarks as benchmarks
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, ImagePreprocessing, TextPreprocessing
from ntkit.metrics import worst_group_accuracy

STEPS = ImagePreprocessing(resize=(20, 20), channels=1)  # what the marked digits' model takes
HEADER = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
ATTRIBUTES = ["Bald", "Blond_Hair", "Male", "Young"]


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_image(path, brightness=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 24), brightness).save(path)


def write_waterbirds(folder, birds, *, images=True):
    """``birds`` are (y, split, place); an image is as bright as its row."""
    folder.mkdir(exist_ok=True)
    rows = []
    for i, (y, split, place) in enumerate(birds):
        name = f"{i % 3:03}.Species_{i % 3}/Bird_{i:04}.jpg"
        rows.append([i + 1, name, y, split, place, f"/x/place/{i:08}.jpg"])
        if images:
            write_image(folder / name, brightness=i)
    write_csv(folder / "metadata.csv", HEADER, rows)
    return folder


def write_celeba(folder, faces, *, kind="csv", nested=False, makers=False):
    """``faces`` are (blond, male, split) with -1 and 1 as the data set has them."""
    images = folder / ("Img" if makers else "") / "img_align_celeba"
    anno, evaluation = (folder / part if makers else folder for part in ("Anno", "Eval"))
    for path in (images, anno, evaluation):
        path.mkdir(parents=True, exist_ok=True)
    names = [f"{i + 1:06}.jpg" for i in range(len(faces))]
    for i, name in enumerate(names):
        write_image(images / ("img_align_celeba" if nested else "") / name, brightness=i)
    rows = [(name, *face) for name, face in zip(names, faces, strict=True)]
    attributes = [[name, -1, blond, male, 1] for name, blond, male, _ in rows]
    partition = [[name, split] for name, _, _, split in rows]
    if kind == "csv":
        write_csv(anno / "list_attr_celeba.csv", ["image_id", *ATTRIBUTES], attributes)
        write_csv(evaluation / "list_eval_partition.csv", ["image_id", "partition"], partition)
    else:
        lines = [f"{name} {' '.join(f'{v:2d}' for v in values)}" for name, *values in attributes]
        text = "\n".join([str(len(faces)), " ".join(ATTRIBUTES) + " ", *lines]) + "\n"
        (anno / "list_attr_celeba.txt").write_text(text)
        text = "".join(f"{name} {split}\n" for name, split in partition)
        (evaluation / "list_eval_partition.txt").write_text(text)
    return folder


BIRDS = [(0, 0, 0), (1, 2, 1), (0, 0, 1), (1, 0, 0), (1, 1, 1), (1, 0, 1), (0, 1, 0), (0, 2, 1)]
FACES = [(-1, 1, 0), (1, -1, 0), (1, 1, 1), (-1, -1, 2), (1, 1, 0)]


@pytest.fixture
def birds(tmp_path):
    return write_waterbirds(tmp_path / "waterbirds_v1.0", BIRDS)


# -- Waterbirds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "rows"), [("train", [0, 2, 3, 5]), ("val", [4, 6]), ("test", [1, 7])]
)
def test_waterbirds_split_labels_groups_and_order(birds, split, rows):
    samples = load_waterbirds(birds, split, STEPS, check=False)
    y, _, place = np.array(BIRDS)[rows].T
    assert samples.y.tolist() == y.tolist()
    assert samples.groups.tolist() == (2 * y + place).tolist()
    assert samples.y.dtype == samples.groups.dtype == np.int64
    assert [path.name for path in samples.X.paths] == [f"Bird_{i:04}.jpg" for i in rows]
    assert samples.ids[0] == f"{rows[0] % 3:03}.Species_{rows[0] % 3}/Bird_{rows[0]:04}.jpg"
    brightness = 255 * samples.X[:].mean(axis=(1, 2, 3))
    assert brightness.round().tolist() == pytest.approx(rows, abs=1)
    assert len(samples) == len(rows)


def test_waterbirds_names(birds):
    samples = load_waterbirds(birds, "train", STEPS, check=False)
    assert samples.target_names == ("landbird", "waterbird")
    assert samples.group_names[2 * 1 + 0] == "waterbird on land"
    assert "1911.08731" in samples.DESCR
    assert "Waterbirds" not in repr(samples)
    assert samples.preprocessing == STEPS.as_dict()
    assert samples.embedded is False


@pytest.mark.parametrize("name", ["waterbirds_v1.0", "waterbird_complete95_forest2water2"])
def test_waterbirds_from_the_folder_above(tmp_path, name):
    write_waterbirds(tmp_path / name, BIRDS)
    above = load_waterbirds(tmp_path, "val", STEPS, check=False)
    inside = load_waterbirds(str(tmp_path / name), "val", preprocessing=STEPS, check=False)
    assert above.X.paths == inside.X.paths


def test_images_are_decoded_as_they_are_used(birds):
    broken = birds / "000.Species_0" / "Bird_0000.jpg"
    broken.write_bytes(b"no image")
    samples = load_waterbirds(birds, "train", STEPS, check=False)
    assert samples.X[1:].shape == (3, 1, 20, 20)
    with pytest.raises(InputError, match=r"Bird_0000\.jpg cannot be decoded"):
        samples.X[:1]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=30
    )
)
def test_waterbirds_splits_are_a_partition(tmp_path, rows):
    folder = write_waterbirds(tmp_path / "birds", rows)
    found = []
    for code, split in enumerate(["train", "val", "test"]):
        if any(row[1] == code for row in rows):
            samples = load_waterbirds(folder, split, STEPS, check=False)
            found += [
                (int(path.stem[5:]), y, g)
                for path, y, g in zip(samples.X.paths, samples.y, samples.groups, strict=True)
            ]
    assert sorted(found) == [(i, y, 2 * y + place) for i, (y, _, place) in enumerate(rows)]


# -- CelebA -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "txt"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("makers", [False, True])
def test_celeba_in_every_layout(tmp_path, kind, nested, makers):
    write_celeba(tmp_path, FACES, kind=kind, nested=nested, makers=makers)
    samples = load_celeba(tmp_path, "train", STEPS, check=False)
    assert samples.y.tolist() == [0, 1, 1]
    assert samples.groups.tolist() == [1, 2, 3]
    assert samples.ids.tolist() == ["000001.jpg", "000002.jpg", "000005.jpg"]
    assert samples.X[:].shape == (3, 1, 20, 20)
    assert [samples.group_names[g] for g in samples.groups] == [
        "not Blond_Hair, Male",
        "Blond_Hair, not Male",
        "Blond_Hair, Male",
    ]


def test_celeba_of_wilds_lies_in_a_folder(tmp_path):
    write_celeba(tmp_path / "celebA_v1.0", FACES)
    assert load_celeba(tmp_path, "test", STEPS, check=False).groups.tolist() == [0]


@pytest.mark.parametrize("kind", ["csv", "txt"])
def test_celeba_other_attributes(tmp_path, kind):
    write_celeba(tmp_path, FACES, kind=kind)
    samples = load_celeba(tmp_path, "train", STEPS, target="Male", spurious="Bald", check=False)
    assert samples.y.tolist() == [1, 0, 1]
    assert samples.groups.tolist() == [2, 0, 2]
    assert samples.target_names == ("not Male", "Male")
    with pytest.raises(InputError, match=r"no (attribute|column) 'Beard'.*Bald"):
        load_celeba(tmp_path, "train", STEPS, target="Beard")
    with pytest.raises(InputError, match="both 'Male'; name two"):
        load_celeba(tmp_path, "train", STEPS, target="Male")


def test_celeba_partition_is_matched_by_name(tmp_path):
    write_celeba(tmp_path, FACES)
    path = tmp_path / "list_eval_partition.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    assert load_celeba(tmp_path, "train", STEPS, check=False).y.tolist() == [0, 1, 1]
    path.write_text("\n".join([header, *lines[1:]]))
    with pytest.raises(InputError, match=r"no row for '000001\.jpg', one of 1 images"):
        load_celeba(tmp_path, "train", STEPS)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("list_attr_celeba.txt", lambda t: t[:-12], r"row 7 has .* cut off"),
        ("list_attr_celeba.txt", lambda t: t[: t.rindex("000005")], r"announces '5' .* has 4 rows"),
        ("list_attr_celeba.txt", lambda t: "", "no attribute 'Blond_Hair'"),
        ("list_attr_celeba.txt", lambda t: t.replace(" 1", " 7", 1), "'7' in column .* not one of"),
        ("list_eval_partition.txt", lambda t: t[:-2], "row 5 has 1 cells instead of 2"),
        ("list_eval_partition.txt", lambda t: t.replace(" 0", " 3"), "row 1: '3' in column"),
    ],
)
def test_damaged_celeba_text_files(tmp_path, name, change, sentence):
    path = write_celeba(tmp_path, FACES, kind="txt") / name
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=sentence):
        load_celeba(tmp_path, "train", STEPS, target="Blond_Hair", spurious="Male")


# -- ImageNet-9 and ImageNet-A --------------------------------------------------------------------


def write_imagenet(root, counts, suffix="JPEG"):
    for wnid, n in counts.items():
        for i in range(n):
            # Written as they would be found unsorted.
            path = root / wnid / f"{wnid}_{n - i}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (30, 24)).save(path, format="JPEG")
    return root


def table():
    with benchmarks.IMAGENET_TABLE.open() as file:
        return list(csv.DictReader(file))


def test_the_table_of_the_42_classes():
    rows = table()
    assert len({row["wnid"] for row in rows}) == 42
    assert [row["class"] for row in rows] == sorted(
        (row["class"] for row in rows), key=benchmarks.ANIMALS.index
    )
    by_index = sorted(rows, key=lambda row: int(row["index"]))
    assert by_index == sorted(rows, key=lambda row: row["wnid"])  # ImageNet numbers them so
    shared = [row["class"] for row in rows if row["imagenet_a"] == "1"]
    assert len(shared) == 21
    assert "crab" not in shared


def test_imagenet9(tmp_path):
    # Tabby, tiger cat, Chihuahua; tench and hermit crab are none of the nine.
    counts = {"n02123045": 2, "n02123159": 1, "n02085620": 2, "n01440764": 1, "n01986214": 1}
    write_imagenet(tmp_path / "val", counts)
    samples = load_imagenet9(tmp_path, "val", STEPS, check=False)
    assert samples.ids.tolist() == [
        *("n02085620/n02085620_1.JPEG", "n02085620/n02085620_2.JPEG"),
        *("n02123045/n02123045_1.JPEG", "n02123045/n02123045_2.JPEG"),
        "n02123159/n02123159_1.JPEG",
    ]
    assert [samples.target_names[c] for c in samples.y] == ["dog"] * 2 + ["cat"] * 3
    assert samples.groups is None
    assert samples.group_names == ()
    assert samples.X[:].shape == (5, 1, 20, 20)


@pytest.mark.parametrize("above", [False, True])
def test_imagenet_a(tmp_path, above):
    write_imagenet(tmp_path / "imagenet-a", {"n02099601": 1, "n02174001": 1, "n07697313": 1}, "jpg")
    folder = tmp_path if above else tmp_path / "imagenet-a"
    samples = load_imagenet_a(folder, STEPS, check=False)
    assert [samples.target_names[c] for c in samples.y] == ["dog", "insect"]
    assert "ImageNet-A" in samples.DESCR


def test_imagenet_files_that_are_no_images_are_passed_over(tmp_path):
    root = write_imagenet(tmp_path / "train", {"n02085620": 1})
    for name in ("._n02085620_1.JPEG", "index.html"):
        (root / "n02085620" / name).write_text("")
    assert len(load_imagenet9(tmp_path, "train", STEPS, check=False)) == 1


def test_imagenet_in_other_layouts(tmp_path):
    with pytest.raises(InputError, match="does not contain the folder train"):
        load_imagenet9(tmp_path, "train", STEPS)
    with pytest.raises(InputError, match="use ImageNet-A as its test set: load_imagenet_a"):
        load_imagenet9(tmp_path, "test", STEPS)
    (tmp_path / "val").mkdir()
    with pytest.raises(InputError, match=r"no images in folders such as n01641577; .*image-net"):
        load_imagenet9(tmp_path, "val", STEPS)
    write_imagenet(tmp_path, {"val": 2})
    with pytest.raises(InputError, match="not sorted into classes; put them into one folder"):
        load_imagenet9(tmp_path, "val", STEPS)
    with pytest.raises(InputError, match=r"natural-adv-examples"):
        load_imagenet_a(tmp_path, STEPS)


# -- folders that are not what they should be -----------------------------------------------------

LOADERS = {
    "waterbirds": lambda folder, **o: load_waterbirds(folder, "train", STEPS, **o),
    "celeba": lambda folder, **o: load_celeba(folder, "train", STEPS, **o),
    "imagenet9": lambda folder, **o: load_imagenet9(folder, "train", STEPS, **o),
    "imagenet_a": lambda folder, **o: load_imagenet_a(folder, STEPS, **o),
}


@pytest.mark.parametrize("name", LOADERS)
def test_no_folder(tmp_path, name):
    with pytest.raises(InputError, match=r"folder .*nowhere does not exist; unpack .* https://"):
        LOADERS[name](tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"https://"):
        LOADERS[name](tmp_path)


def test_it_says_which_file_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"file metadata\.csv or waterbirds_v1\.0/metadata\.csv"):
        load_waterbirds(tmp_path, "train", STEPS)
    write_celeba(tmp_path, FACES)
    (tmp_path / "list_eval_partition.csv").unlink()
    with pytest.raises(InputError, match=r"list_eval_partition\.csv or list_eval_partition\.txt"):
        load_celeba(tmp_path, "train", STEPS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.replace("place,", "site,", 1), r"no column 'place'; its columns are .*'site'"),
        (lambda t: t[: t.index("\n") + 1], "has no rows"),
        (lambda t: "", "no column 'img_filename'"),
        (lambda t: t[:-25], r"row 9 has 4 cells but the header has 6, so the file is cut off"),
        (lambda t: t + '9,"a.jpg', "not a readable table"),
        (lambda t: t.replace(",0,0,0,", ",2,0,0,", 1), "'2' in column 'y' is not one of 0, 1"),
        (lambda t: t.replace(",0,0,0,", ",0,5,0,", 1), "'5' in column 'split' is not one of 0"),
        (lambda t: t.replace(",0,0,0,", ",0,0,,", 1), "'' in column 'place'"),
        (lambda t: t.replace(",1,1,", ",1,0,").replace(",0,1,", ",0,0,"), "no row of the .* 'val'"),
    ],
)
def test_damaged_metadata(birds, change, sentence):
    path = birds / "metadata.csv"
    text = path.read_text().replace("\r", "")
    path.write_text(change(text))
    with pytest.raises(InputError, match=sentence) as raised:
        load_waterbirds(birds, "val", STEPS)
    assert str(path) in str(raised.value)


def test_metadata_that_is_no_text(birds):
    (birds / "metadata.csv").write_bytes(b"img_id,img_filename,y,split,place\n\xff\xfe,,,,\n")
    with pytest.raises(
        InputError, match=r"not a readable table .* get Waterbirds again from https"
    ):
        load_waterbirds(birds, "val", STEPS)


def test_empty_lines_and_a_byte_order_mark_do_no_harm(birds):
    path = birds / "metadata.csv"
    expected = load_waterbirds(birds, "train", STEPS, check=False)
    path.write_text("\ufeff" + path.read_text().replace("\r", "") + "\n\n", encoding="utf-8")
    assert load_waterbirds(birds, "train", STEPS, check=False).groups.tolist() == (
        expected.groups.tolist()
    )


def test_absent_images_are_counted_and_the_first_is_named(birds):
    for name in ("002.Species_2/Bird_0002.jpg", "000.Species_0/Bird_0003.jpg"):
        (birds / name).unlink()
    with pytest.raises(
        InputError, match=r"2 of the 4 images are not in .*, the first is 002\.Species_2/Bird_0002"
    ):
        load_waterbirds(birds, "train", STEPS)
    assert len(load_waterbirds(birds, "val", STEPS, check=False)) == 2  # the others are all there


def test_an_image_folder_that_is_absent(tmp_path):
    write_waterbirds(tmp_path / "b", BIRDS, images=False)
    with pytest.raises(InputError, match="4 of the 4 images"):
        load_waterbirds(tmp_path / "b", "train", STEPS)


def test_wrong_arguments(birds):
    with pytest.raises(
        InputError, match='split must be "train", "val" or "test"; got \'validation\''
    ):
        load_waterbirds(birds, "validation", STEPS)
    with pytest.raises(InputError, match=r"as ImagePreprocessing, such as .*; got TextPreproc"):
        load_waterbirds(birds, "train", TextPreprocessing("tokenizer.json"))
    with pytest.raises(InputError, match="got NoneType"):
        load_imagenet_a(birds, None)


# -- published numbers ---------------------------------------------------------------------------


def test_a_subset_is_told_from_the_published_data(birds):
    with pytest.warns(IncompleteDataWarning) as caught:
        load_waterbirds(birds, "train", STEPS)
    assert str(caught[0].message) == (
        "Waterbirds: the split 'train' has 1, 1, 1, 1 samples by group, but the published one has "
        "3498, 184, 56, 1057; get Waterbirds again from "
        f"{benchmarks.WATERBIRDS.url}, or pass check=False for a subset."
    )
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", LOADERS)
def test_the_warning_points_at_the_caller(tmp_path, name):
    write_waterbirds(tmp_path, BIRDS)
    write_celeba(tmp_path, FACES)
    write_imagenet(tmp_path / "train", {"n02085620": 1})
    write_imagenet(tmp_path / "imagenet-a", {"n02085620": 1})
    with pytest.warns(IncompleteDataWarning) as caught:
        LOADERS[name](tmp_path)
    assert caught[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        LOADERS[name](tmp_path, check=False)


@pytest.mark.parametrize("source", [benchmarks.WATERBIRDS, benchmarks.CELEBA], ids=lambda s: s.name)
def test_published_sums(source):
    """Sizes of the splits, as papers state them next to the groups."""
    sums = {
        "Waterbirds": {"train": 4795, "val": 1199, "test": 5794},
        "CelebA": {"train": 162770, "val": 19867, "test": 19962},
    }
    assert {split: sum(counts) for split, counts in source.counts.items()} == sums[source.name]


def test_the_published_numbers_pass(tmp_path, monkeypatch):
    folder = write_waterbirds(tmp_path / "birds", BIRDS)
    small = {"train": (1, 1, 1, 1), "val": (1, 0, 0, 1), "test": (0, 1, 0, 1)}
    monkeypatch.setattr(
        benchmarks, "WATERBIRDS", benchmarks.Source("Waterbirds", "https://example.org", small)
    )
    for split in small:
        load_waterbirds(folder, split, STEPS)


def test_celeba_by_other_attributes_has_published_sums_only(tmp_path):
    write_celeba(tmp_path, FACES)
    with pytest.warns(IncompleteDataWarning, match="has 3 samples, but .* has 162770;"):
        load_celeba(tmp_path, "train", STEPS, target="Young", spurious="Bald")


def test_imagenet_classes_are_counted(tmp_path):
    wnids = [row["wnid"] for row in table()]
    write_imagenet(tmp_path / "train", dict.fromkeys(wnids, 1))
    assert len(load_imagenet9(tmp_path, "train", STEPS)) == 42
    write_imagenet(tmp_path / "val", dict.fromkeys(wnids, 50) | {"n02085620": 49})
    with pytest.warns(
        IncompleteDataWarning, match=r"49 images of n02085620 .* 50, and 1 of the 42"
    ):
        samples = load_imagenet9(tmp_path, "val", STEPS)
    # 2,100 in ReBias' list of the validation images, by class:
    assert np.bincount(samples.y).tolist() == [249, 250, 150, 250, 250, 250, 250, 200, 250]
    (tmp_path / "train" / "n02085620" / "n02085620_1.JPEG").unlink()
    with pytest.warns(
        IncompleteDataWarning, match="0 images of n02085620, and 1 of the 42 classes"
    ):
        load_imagenet9(tmp_path, "train", STEPS)


# -- what the samples are good for ----------------------------------------------------------------


def test_into_a_store(birds, tmp_path):
    samples = load_waterbirds(birds, "train", STEPS, check=False)
    embedder = OnnxEmbedder(marked_digits_model_path(), device="cpu")
    EmbeddingStore.write(tmp_path / "store", embedder, samples)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.X.shape == (4, 64)
    assert store.y.tolist() == samples.y.tolist()
    assert store.groups.tolist() == samples.groups.tolist()
    assert store.ids.tolist() == samples.ids.tolist()
    assert store.manifest["preprocessing"]["resize"] == [20, 20]


def test_into_debias(tmp_path, digits):
    """Marked digits in the layout of Waterbirds can be debiased directly."""
    sets = [("validation", 0, 120), ("validation", 1, 120), ("test", 2, 80)]
    rows = [
        (digits[f"X_{name}"][i, 0], digits[f"groups_{name}"][i], code)
        for name, code, n in sets
        for i in np.arange(n) + (120 if code == 1 else 0)
    ]
    folder = write_waterbirds(tmp_path / "d", [(g // 2, code, g % 2) for _, g, code in rows])
    for i, (image, _, _) in enumerate(rows):
        path = folder / f"{i % 3:03}.Species_{i % 3}/Bird_{i:04}.jpg"
        Image.fromarray((255 * image).astype(np.uint8)).save(path, quality=100)
    train, val, test = (
        load_waterbirds(folder, split, STEPS, check=False) for split in ("train", "val", "test")
    )
    result = debias(
        marked_digits_model_path(), train, val, test=test, device="cpu", n_random=1,
        method="class-balanced", even_if_worse=True,
    )  # fmt: skip
    Z = OnnxEmbedder(marked_digits_model_path(), device="cpu").transform(test.X)
    pred = result.head.predict(Z)
    assert result.chosen.worst_group == worst_group_accuracy(test.y, pred, groups=test.groups)


def test_samples_travel_between_processes(birds):
    samples = load_waterbirds(birds, "val", STEPS, check=False)
    again = pickle.loads(pickle.dumps(samples))
    assert isinstance(again, BenchmarkSamples)
    assert np.array_equal(again.X[:], samples.X[:])
    assert again.group_names == samples.group_names

"""Loaders of public benchmarks, from folders laid out like the published ones."""

import csv
import json
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from ntkit import OnnxEmbedder
from ntkit.datasets import (
    IncompleteDataWarning,
    load_celeba,
    load_civilcomments,
    load_imagenet9,
    load_multinli,
    load_waterbirds,
    marked_digits_model_path,
)
from ntkit.datasets import _benchmarks as benchmarks
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, TextPreprocessing
from ntkit.metrics import worst_group_accuracy
from ntkit.store import EmbeddingStore
from tests.cases import write_rows
from tests.texts import text_model, word_pieces

STEPS = ImagePreprocessing(resize=(20, 20), channels=1)  # what the marked digits' model takes
IDENTITIES = ["male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white"]
# y, split, place
BIRDS = [(0, 0, 0), (1, 2, 1), (0, 0, 1), (1, 0, 0), (1, 1, 1), (1, 0, 1), (0, 1, 0), (0, 2, 1)]
# blond and male, with -1 and 1 as the data set has them; split
FACES = [(-1, 1, 0), (1, -1, 0), (1, 1, 1), (-1, -1, 2), (1, 1, 0)]
# gold label, hypothesis, negation, split; the premise is numbered
PAIRS = {
    "train": [
        ("neutral", "the quick fox", 0, 0),
        ("-", "a dog", 0, 0),
        ("contradiction", "the fox never jumps", 1, 1),
        ("entailment", "a lazy dog", 0, 2),
        ("contradiction", "no dog", 1, 0),
    ],
    "dev_matched": [("entailment", "no fox", 1, 0), ("-", "the fox", 0, 1)],
    "dev_mismatched": [("neutral", "brown dog", 0, 2), ("contradiction", "a dog", 0, 0)],
}
# toxicity, split, identities (share of annotators), text
COMMENTS = [
    (0.0, "train", {}, 'a "quick" fox, over\nthe dog'),
    (0.5, "train", {"male": 0.5, "black": 1.0}, "lazy dog"),
    (0.4999, "val", {"LGBTQ": 1.0}, "the dog"),
    (1.0, "test", {"white": 0.4, "male": ""}, "a fox"),
    (0.2, "train", {"muslim": 0.7}, "fox"),
    (0.9, "train", {}, "the lazy dog runs"),
]


def write_image(path, brightness=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 24), brightness).save(path, format="JPEG")


def bird_name(i):
    return f"{i % 3:03}.Species_{i % 3}/Bird_{i:04}.jpg"


def write_waterbirds(folder, birds=BIRDS):
    """An image is as bright as its row."""
    rows = []
    for i, (y, split, place) in enumerate(birds):
        rows.append([i + 1, bird_name(i), y, split, place, f"/x/place/{i:08}.jpg"])
        write_image(folder / bird_name(i), brightness=i)
    header = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
    write_rows(folder / "metadata.csv", [header, *rows])


def write_celeba(folder, *, kind="csv", nested=False, makers=False):
    images = folder / ("Img" if makers else "") / "img_align_celeba"
    anno, evaluation = (folder / part if makers else folder for part in ("Anno", "Eval"))
    names = [f"{i + 1:06}.jpg" for i in range(len(FACES))]
    for name in names:
        write_image(images / ("img_align_celeba" if nested else "") / name)
    attributes = [[n, -1, blond, male, 1] for n, (blond, male, _) in zip(names, FACES, strict=True)]
    partition = [[n, split] for n, (_, _, split) in zip(names, FACES, strict=True)]
    header = ["Bald", "Blond_Hair", "Male", "Young"]
    if kind == "csv":
        write_rows(anno / "list_attr_celeba.csv", [["image_id", *header], *attributes])
        write_rows(evaluation / "list_eval_partition.csv", [["image_id", "partition"], *partition])
        return
    for path in (anno, evaluation):
        path.mkdir(exist_ok=True)
    lines = [f"{name} {' '.join(f'{v:2d}' for v in values)}" for name, *values in attributes]
    text = "\n".join([str(len(FACES)), " ".join(header) + " ", *lines]) + "\n"
    (anno / "list_attr_celeba.txt").write_text(text)
    text = "".join(f"{name} {split}\n" for name, split in partition)
    (evaluation / "list_eval_partition.txt").write_text(text)


def write_imagenet(root, counts, suffix="JPEG"):
    for wnid, n in counts.items():
        for i in range(n, 0, -1):
            write_image(root / wnid / f"{wnid}_{i}.{suffix}")


def write_multinli(folder, metadata="metadata_random.csv"):
    rows, position = [], 0
    classes = ["contradiction", "entailment", "neutral"]
    folder.mkdir(exist_ok=True, parents=True)
    for part, pairs in PAIRS.items():
        lines = []
        for label, hypothesis, negation, split in pairs:
            record = {"gold_label": label, "sentence1": f"dog {position}", "sentence2": hypothesis}
            lines.append(json.dumps(record | {"genre": "fiction"}) + "\n")
            if label != "-":
                rows.append([position, classes.index(label), negation, split])
            position += 1
        (folder / f"multinli_1.0_{part}.jsonl").write_text("".join(lines))
    header = ["", "gold_label", "sentence2_has_negation", "split"]
    write_rows(folder / metadata, [header, *rows])


def write_civilcomments(folder, comments=COMMENTS):
    header = ["", "id", "toxicity", "split", *IDENTITIES, "identity_any", "comment_text"]
    rows = [
        [i, 9 + i, toxicity, split, *(shares.get(name, 0.0) for name in IDENTITIES), 1, text]
        for i, (toxicity, split, shares, text) in enumerate(comments)
    ]
    write_rows(folder / "all_data_with_identities.csv", [header, *rows])


@pytest.fixture(scope="session")
def steps(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    word_pieces().save(str(path))
    return TextPreprocessing(path, max_length=12)


@pytest.fixture
def load(steps):
    """Loader of a benchmark by name, for the training split."""
    loaders = {
        "waterbirds": (load_waterbirds, STEPS),
        "celeba": (load_celeba, STEPS),
        "imagenet9": (load_imagenet9, STEPS),
        "multinli": (load_multinli, steps),
        "civilcomments": (load_civilcomments, steps),
    }

    def load(name, folder, split="train", *, check=False, **options):
        function, preprocessing = loaders[name]
        return function(folder, split, preprocessing, check=check, **options)

    return load


WRITERS = {
    "waterbirds": write_waterbirds,
    "celeba": write_celeba,
    "imagenet9": lambda folder: write_imagenet(folder / "train", {"n02085620": 1}),
    "multinli": write_multinli,
    "civilcomments": write_civilcomments,
}


# What is read


@pytest.mark.parametrize("name", ["", "waterbirds_v1.0", "waterbird_complete95_forest2water2"])
def test_waterbirds(tmp_path, load, name):
    write_waterbirds(tmp_path / name)
    for split, rows in {"train": [0, 2, 3, 5], "val": [4, 6], "test": [1, 7]}.items():
        samples = load("waterbirds", tmp_path, split)
        y, _, place = np.array(BIRDS)[rows].T
        assert samples.y.tolist() == y.tolist()
        assert samples.groups.tolist() == (2 * y + place).tolist()
        assert samples.y.dtype == samples.groups.dtype == np.int64
        assert samples.ids.tolist() == [bird_name(i) for i in rows]
        brightness = 255 * samples.X[:].mean(axis=(1, 2, 3))
        assert brightness.round().tolist() == pytest.approx(rows, abs=1)
    assert samples.target_names == ("landbird", "waterbird")
    assert samples.group_names[2 * 1 + 0] == "waterbird on land"
    assert "1911.08731" not in repr(samples)
    assert samples.preprocessing == STEPS.as_dict()
    assert samples.embedded is False


@pytest.mark.parametrize("kind", ["csv", "txt"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("makers", [False, True])
def test_celeba_in_every_layout(tmp_path, load, kind, nested, makers):
    write_celeba(tmp_path, kind=kind, nested=nested, makers=makers)
    samples = load("celeba", tmp_path)
    assert samples.y.tolist() == [0, 1, 1]
    assert samples.groups.tolist() == [1, 2, 3]
    assert samples.ids.tolist() == ["000001.jpg", "000002.jpg", "000005.jpg"]
    assert samples.X[:].shape == (3, 1, 20, 20)
    assert samples.group_names[1:3] == ("not Blond_Hair, Male", "Blond_Hair, not Male")
    other = load("celeba", tmp_path, target="Male", spurious="Bald")
    assert other.groups.tolist() == [2, 0, 2]
    assert other.target_names == ("not Male", "Male")


def test_celeba_of_wilds_is_in_a_folder_and_matched_by_name(tmp_path, load):
    write_celeba(tmp_path / "celebA_v1.0")
    path = tmp_path / "celebA_v1.0" / "list_eval_partition.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    assert load("celeba", tmp_path).y.tolist() == [0, 1, 1]
    path.write_text("\n".join([header, *lines[1:]]))
    with pytest.raises(InputError, match=r"no row for '000001\.jpg', one of 1 images"):
        load("celeba", tmp_path)


def test_imagenet9(tmp_path, load):
    # Tabby, tiger cat, Chihuahua; tench and hermit crab are none of the nine.
    counts = {"n02123045": 2, "n02123159": 1, "n02085620": 2, "n01440764": 1, "n01986214": 1}
    write_imagenet(tmp_path / "val", counts)
    for name in ("._n02085620_1.JPEG", "index.html"):
        (tmp_path / "val" / "n02085620" / name).write_text("")
    samples = load("imagenet9", tmp_path, "val")
    wnids = ["n02085620"] * 2 + ["n02123045"] * 2 + ["n02123159"]
    numbers = [1, 2, 1, 2, 1]
    assert samples.ids.tolist() == [
        f"{w}/{w}_{i}.JPEG" for w, i in zip(wnids, numbers, strict=True)
    ]
    assert [samples.target_names[c] for c in samples.y] == ["dog"] * 2 + ["cat"] * 3
    assert samples.groups is None
    assert samples.group_names == ()
    assert samples.X[:].shape == (5, 1, 20, 20)
    write_imagenet(tmp_path / "imagenet-a", {"n02099601": 1, "n02174001": 1, "n07697313": 1}, "jpg")
    samples = load("imagenet9", tmp_path, "test")
    assert [samples.target_names[c] for c in samples.y] == ["dog", "insect"]


@pytest.mark.more
def test_classes_of_imagenet9_are_counted(tmp_path, load):
    with benchmarks.Path(benchmarks.__file__).with_name("imagenet9.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["wnid"] for row in rows}) == 42
    shared = [row["class"] for row in rows if row["imagenet_a"] == "1"]
    assert len(shared) == 21
    assert "crab" not in shared
    wnids = [row["wnid"] for row in rows]
    write_imagenet(tmp_path / "train", dict.fromkeys(wnids, 1))
    assert len(load("imagenet9", tmp_path, check=True)) == 42
    write_imagenet(tmp_path / "val", dict.fromkeys(wnids, 50) | {"n02085620": 49})
    with pytest.warns(IncompleteDataWarning, match=r"49 images of n02085620 .* 50, and 1 of the"):
        samples = load("imagenet9", tmp_path, "val", check=True)
    # 2,100 in ReBias' list of the validation images, by class:
    assert np.bincount(samples.y).tolist() == [249, 250, 150, 250, 250, 250, 250, 200, 250]


def test_multinli(tmp_path, load):
    write_multinli(tmp_path / "multinli_1.0")
    folder = tmp_path / "multinli_1.0"
    train = load("multinli", folder)
    pairs = [("dog 0", "the quick fox"), ("dog 4", "no dog"), ("dog 5", "no fox")]
    assert train.X.texts == [*pairs, ("dog 8", "a dog")]
    assert train.y.tolist() == [2, 0, 1, 0]
    assert train.groups.tolist() == [4, 1, 3, 0]
    assert train.y.dtype == train.groups.dtype == np.int64
    assert [train.group_names[g] for g in train.groups[:2]] == [
        "neutral without negation",
        "contradiction with negation",
    ]
    assert train.target_names == ("contradiction", "entailment", "neutral")
    assert load("multinli", folder, "val").X.texts == [("dog 2", "the fox never jumps")]
    assert load("multinli", folder, "test").groups.tolist() == [2, 4]
    # The metadata may be in a folder, or anywhere.
    write_multinli(tmp_path / "b", metadata="data/metadata_random.csv")
    assert load("multinli", tmp_path / "b").groups.tolist() == [4, 1, 3, 0]
    path = tmp_path / "elsewhere.csv"
    (folder / "metadata_random.csv").rename(path)
    assert load("multinli", tmp_path, metadata=path).groups.tolist() == [4, 1, 3, 0]
    with pytest.raises(InputError, match=r"file metadata_random\.csv or .*kohpangwei/group_DRO"):
        load("multinli", folder)


def test_civilcomments(tmp_path, load):
    write_civilcomments(tmp_path / "civilcomments_v1.0")
    train = load("civilcomments", tmp_path)
    assert train.X.texts == [COMMENTS[i][3] for i in (0, 1, 4, 5)]
    assert train.y.tolist() == [0, 1, 0, 1]
    assert train.groups.tolist() == [0, 3, 1, 2]
    assert train.group_names[1:3] == ("non-toxic, any identity", "toxic, no identity")
    inside = tmp_path / "civilcomments_v1.0"
    assert load("civilcomments", inside, "val").groups.tolist() == [1]
    # White is mentioned by less than half, male without a share.
    assert load("civilcomments", inside, "test").groups.tolist() == [2]
    wilds = load("civilcomments", tmp_path, groups="wilds")
    assert (wilds.groups.shape, wilds.groups.dtype) == ((4, 16), bool)
    members = [{wilds.group_names[j] for j in np.flatnonzero(row)} for row in wilds.groups]
    assert members == [set(), {"male, toxic", "black, toxic"}, {"muslim, non-toxic"}, set()]
    assert wilds.group_names[:3] == ("male, non-toxic", "male, toxic", "female, non-toxic")
    # As WILDS evaluates: by identity and class.
    pred = np.array([0, 1, 1, 1])
    assert worst_group_accuracy(wilds.y, pred, groups=wilds.groups) == 0.0
    assert worst_group_accuracy(wilds.y, wilds.y, groups=wilds.groups) == 1.0


# Refusals


def text_of(name, change):
    """Damage that rewrites a file."""

    def damage(folder):
        text = (folder / name).read_text().replace("\r", "")
        (folder / name).write_text(change(text))

    return damage


def edited(name, old, new):
    return text_of(name, lambda text: text.replace(old, new, 1))


def cut(name, length):
    return text_of(name, lambda text: text[:length])


def removed(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


META, COMMENT = "metadata.csv", "all_data_with_identities.csv"
ATTR, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
RANDOM, MATCHED = "metadata_random.csv", "multinli_1.0_dev_matched.jsonl"
REFUSALS = [
    ("waterbirds", removed(META), r"file metadata\.csv or waterbirds_v1\.0/metadata\.csv"),
    ("waterbirds", edited(META, "place,", "site,"), "no column 'place'; its columns .*'site'"),
    ("waterbirds", cut(META, 49), "has no rows"),
    ("waterbirds", cut(META, 0), "no column 'img_filename'"),
    ("waterbirds", cut(META, -25), r"row 9 has 4 cells but the header has 6, .* is cut off"),
    ("waterbirds", edited(META, "1,", '1,"'), "not a readable table"),
    ("waterbirds", lambda folder: (folder / META).write_bytes(b"y\n\xff\xfe,,\n"),
     r"not a readable table .* get Waterbirds again from https"),
    ("waterbirds", edited(META, ",0,0,0,", ",2,0,0,"), "'2' in column 'y' is not one of 0, 1"),
    ("waterbirds", edited(META, ",0,0,0,", ",0,5,0,"), "'5' in column 'split' is not one of"),
    ("waterbirds", edited(META, ",0,0,0,", ",0,0,,"), "'' in column 'place'"),
    ("waterbirds", lambda f: write_waterbirds(f, [(0, 1, 0)]), "no row of the split 'train'"),
    ("waterbirds", removed(bird_name(2), bird_name(3)),
     r"2 of the 4 images are not in .*, the first is 002\.Species_2/Bird_0002"),
    ("celeba", edited(ATTR, " 1\n", " 1 1\n"), "row 3 has 6 cells .* cut off"),
    ("celeba", edited(ATTR, "5\n", "6\n"), "announces '6' .* has 5 rows"),
    ("celeba", cut(ATTR, 0), "no column 'Blond_Hair'"),
    ("celeba", edited(ATTR, " 1", " 7"), "'7' in column .* not one of"),
    ("celeba", cut(PARTITION, -2), "row 5 has 1 cells but the header has 2"),
    ("celeba", edited(PARTITION, " 0", " 3"), "row 1: '3' in column"),
    ("celeba", removed(PARTITION), r"list_eval_partition\.csv or list_eval_partition\.txt"),
    ("multinli", cut(RANDOM, -9), "has 6 rows, but the three files"),
    ("multinli", edited(RANDOM, "4,0,1,0", "4,2,1,0"), r"row 5 is of class"),
    ("multinli", edited(RANDOM, "has_negation", "x"), "no column 'sentence2_h"),
    ("multinli", edited(RANDOM, "4,0,1,0", "4,3,1,0"), "'3' in column 'gold"),
    ("multinli", cut("multinli_1.0_train.jsonl", -20), r"train\.jsonl, line 5 is not a pair"),
    ("multinli", edited("multinli_1.0_train.jsonl", "neutral", "maybe"), "line 1 .*'maybe'"),
    ("multinli", lambda f: (f / MATCHED).write_text("[]\n"), "line 1 is not a pair"),
    ("multinli", cut(MATCHED, 0), "has 7 rows, but .* have 6 labelled"),
    ("multinli", edited(MATCHED, "no fox", "\\ud83d"), "line 1 is not"),
    ("multinli", edited(MATCHED, '"no fox"', "7"), "line 1 is not"),
    ("multinli", removed(MATCHED), r"file multinli_1\.0_dev_matched\.jsonl or .*sbowman"),
    ("civilcomments", removed(COMMENT), r"file all_data_with_identities\.csv or .*wilds"),
    ("civilcomments", edited(COMMENT, "christian,", "x,"), "no column 'christian'"),
    ("civilcomments", edited(COMMENT, "0.4999", "high"), r"row 4: 'high' in column 'toxicity'"),
    ("civilcomments", edited(COMMENT, "0.4999", ""), r"row 4: '' in .* is not a number"),
    ("civilcomments", edited(COMMENT, "0.7", "yes"), "'yes' in column 'muslim' is not a number"),
    ("civilcomments", cut(COMMENT, -20), r"row 7 .* get CivilComments .* https://"),
    ("imagenet9", lambda f: (f / "train" / "n02085620").rename(f / "train" / "dogs"),
     r"no images in folders such as n01641577; .*one folder per class.*image-net"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "message"), REFUSALS)
def test_damaged_folders(tmp_path, load, name, damage, message):
    write = WRITERS[name]
    write(tmp_path, **({"kind": "txt"} if name == "celeba" else {}))
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        load(name, tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_folders_splits_and_preprocessing(tmp_path, load, steps, name):
    with pytest.raises(InputError, match=r"folder .*nowhere does not exist; unpack .* https://"):
        load(name, tmp_path / "nowhere")
    with pytest.raises(InputError, match="https://"):
        load(name, tmp_path)
    with pytest.raises(InputError, match='"train", "val" or "test"; got \'dev\''):
        load(name, tmp_path, "dev")
    texts = name in ("multinli", "civilcomments")
    loader = getattr(benchmarks, f"load_{name}")
    with pytest.raises(InputError, match=r"as \w+Preprocessing, such as .*; got "):
        loader(tmp_path, "train", STEPS if texts else steps)


def test_options_that_are_refused(tmp_path, load):
    for name, options, message in (
        ("celeba", {"target": "Beard"}, "no column 'Beard'.*Bald"),
        ("celeba", {"target": "Male"}, "both 'Male'; name two"),
        ("civilcomments", {"groups": "identity"}, '"any_identity" or "wilds"; got \'identity\''),
    ):
        WRITERS[name](tmp_path / name)
        with pytest.raises(InputError, match=message):
            load(name, tmp_path / name, **options)


def test_empty_lines_and_a_byte_order_mark_do_no_harm(tmp_path, load):
    write_waterbirds(tmp_path)
    expected = load("waterbirds", tmp_path).groups.tolist()
    path = tmp_path / "metadata.csv"
    path.write_text("\ufeff" + path.read_text().replace("\r", "") + "\n\n", encoding="utf-8")
    assert load("waterbirds", tmp_path).groups.tolist() == expected


# Published numbers


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("waterbirds", "has 1, 1, 1, 1 samples by group, but .* has 3498, 184, 56, 1057; get .*"),
        ("celeba", "has 0, 1, 1, 1 samples by group, but .* has 71629, 66874, 22880, 1387;"),
        ("imagenet9", "has 0 images of n01641577, and 41 of the 42 classes are incomplete"),
        ("multinli", "1, 1, 0, 1, 1, 0 samples by group"),
        ("civilcomments", "has 4 samples, but .* 269038; get"),
    ],
)
def test_other_numbers_than_the_published_ones_give_a_warning(tmp_path, steps, name, message):
    WRITERS[name](tmp_path)
    loader = getattr(benchmarks, f"load_{name}")
    preprocessing = steps if name in ("multinli", "civilcomments") else STEPS
    with pytest.warns(IncompleteDataWarning, match=message + ".*pass check=False") as caught:
        loader(tmp_path, "train", preprocessing)
    assert caught[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        loader(tmp_path, "train", preprocessing, check=False)


def test_the_published_numbers_pass(tmp_path, load, monkeypatch):
    """Sizes of the splits, as papers state them next to the groups."""
    for source, sums in (
        (benchmarks.WATERBIRDS, [4795, 1199, 5794]),
        (benchmarks.CELEBA, [162770, 19867, 19962]),
    ):
        assert [sum(source.counts[split]) for split in ("train", "val", "test")] == sums
    assert sum(map(sum, benchmarks.MULTINLI.counts.values())) == 392702 + 9815 + 9832
    small = {"train": (1, 1, 1, 1), "val": (1, 0, 0, 1), "test": (0, 1, 0, 1)}
    source = benchmarks.Benchmark("Waterbirds", "https://example.org", small)
    monkeypatch.setattr(benchmarks, "WATERBIRDS", source)
    write_waterbirds(tmp_path)
    for split in small:
        load("waterbirds", tmp_path, split, check=True)
    write_celeba(tmp_path / "celeba")
    with pytest.warns(IncompleteDataWarning, match="has 3 samples, but .* has 162770;"):
        load("celeba", tmp_path / "celeba", target="Young", spurious="Bald", check=True)


# Use of the samples


@pytest.mark.parametrize(
    ("name", "options"),
    [("waterbirds", {}), ("multinli", {}), ("civilcomments", {"groups": "wilds"})],
)
def test_into_a_store_and_another_process(tmp_path, load, name, options):
    WRITERS[name](tmp_path)
    samples = load(name, tmp_path, **options)
    again = pickle.loads(pickle.dumps(samples))
    assert type(again) is type(samples)
    assert again.group_names == samples.group_names
    model = marked_digits_model_path() if name == "waterbirds" else text_model(tmp_path / "model")
    embedder = OnnxEmbedder(model, device="cpu")
    store = EmbeddingStore.write(tmp_path / "store", embedder, again)
    rows = [embedder.transform(samples.X[i : i + 1])[0] for i in range(len(samples))]
    np.testing.assert_allclose(store.X, rows, rtol=1e-5, atol=1e-6)
    assert store.y.tolist() == samples.y.tolist()
    assert store.groups.tolist() == samples.groups.tolist()
    assert store.manifest["preprocessing"] == json.loads(json.dumps(samples.preprocessing))


def test_images_and_texts_are_read_when_they_are_used(tmp_path, load):
    write_waterbirds(tmp_path)
    (tmp_path / bird_name(0)).write_bytes(b"no image")
    birds = load("waterbirds", tmp_path)
    assert birds.X[1:].shape == (3, 1, 20, 20)
    with pytest.raises(InputError, match=r"Bird_0000\.jpg cannot be decoded"):
        birds.X[:1]
    write_civilcomments(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    steps = TextPreprocessing(tmp_path / "tokenizer.json")
    comments = load_civilcomments(tmp_path, "train", steps, check=False)
    with pytest.raises(InputError, match=r"not a usable tokenizer\.json"):
        comments.X[:1]

"""MultiNLI and CivilComments from folders laid out like the published ones."""

import csv
import json
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ntkit import OnnxEmbedder
from ntkit.datasets import IncompleteDataWarning, load_civilcomments, load_multinli
from ntkit.datasets import _benchmarks as benchmarks
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, ImagePreprocessing, TextPreprocessing, Texts
from ntkit.metrics import accuracy_by, worst_group_accuracy
from tests.texts import text_model, word_pieces

CLASSES = ["contradiction", "entailment", "neutral"]
PARTS = ["train", "dev_matched", "dev_mismatched"]
IDENTITIES = ["male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white"]
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
    (1.0, "test", {"white": 0.4}, "a fox"),
    (0.2, "train", {"muslim": 0.7}, "fox"),
    (0.9, "train", {}, "the lazy dog runs"),
]


@pytest.fixture
def steps(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    return TextPreprocessing(tmp_path / "tokenizer.json", max_length=12)


def write_multinli(folder, pairs=PAIRS, *, metadata="metadata_random.csv"):
    folder.mkdir(exist_ok=True, parents=True)
    rows, position = [], 0
    for part in PARTS:
        with (folder / f"multinli_1.0_{part}.jsonl").open("w") as file:
            for label, hypothesis, negation, split in pairs[part]:
                record = {
                    "annotator_labels": ["neutral"],
                    "genre": "fiction",
                    "gold_label": label,
                    "sentence1": f"dog {position}",
                    "sentence2": hypothesis,
                }
                file.write(json.dumps(record) + "\n")
                if label != "-":
                    rows.append([position, CLASSES.index(label), negation, split])
                position += 1
    (folder / metadata).parent.mkdir(exist_ok=True)
    with (folder / metadata).open("w", newline="") as file:
        header = ["", "gold_label", "sentence2_has_negation", "split"]
        csv.writer(file).writerows([header, *rows])
    return folder


def write_civilcomments(folder, comments=COMMENTS):
    folder.mkdir(exist_ok=True, parents=True)
    columns = ["toxicity", "split", *IDENTITIES, "identity_any", "comment_text"]
    with (folder / "all_data_with_identities.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "id", *columns])
        for i, (toxicity, split, shares, text) in enumerate(comments):
            identities = [shares.get(name, 0.0) for name in IDENTITIES]
            writer.writerow([i, 59848 + i, toxicity, split, *identities, 1, text])
    return folder


# -- MultiNLI -----------------------------------------------------------------------------------


def test_multinli_split_labels_groups_and_order(tmp_path, steps):
    folder = write_multinli(tmp_path / "multinli_1.0")
    train = load_multinli(folder, "train", steps, check=False)
    assert train.X.texts == [
        ("dog 0", "the quick fox"),
        ("dog 4", "no dog"),
        ("dog 5", "no fox"),
        ("dog 8", "a dog"),
    ]
    assert train.y.tolist() == [2, 0, 1, 0]
    assert train.groups.tolist() == [4, 1, 3, 0]
    assert train.y.dtype == train.groups.dtype == np.int64
    assert [train.group_names[g] for g in train.groups[:2]] == [
        "neutral without negation",
        "contradiction with negation",
    ]
    assert train.target_names == ("contradiction", "entailment", "neutral")
    assert len(train.group_names) == 6
    assert load_multinli(folder, "val", steps, check=False).X.texts == [
        ("dog 2", "the fox never jumps")
    ]
    assert load_multinli(folder, "test", steps, check=False).groups.tolist() == [2, 4]


def test_multinli_metadata_may_lie_elsewhere(tmp_path, steps):
    expected = load_multinli(write_multinli(tmp_path / "a"), "train", steps, check=False)
    write_multinli(tmp_path / "b", metadata="data/metadata_random.csv")
    assert_array_equal(
        load_multinli(tmp_path / "b", "train", steps, check=False).groups, expected.groups
    )
    folder = write_multinli(tmp_path / "c" / "multinli_1.0", metadata="elsewhere.csv").parent
    with pytest.raises(InputError, match=r"file metadata_random\.csv or .*kohpangwei/group_DRO"):
        load_multinli(folder, "train", steps)
    path = folder / "multinli_1.0" / "elsewhere.csv"
    samples = load_multinli(folder, "train", steps, metadata=path, check=False)
    assert_array_equal(samples.groups, expected.groups)


def change(path, edit):
    path.write_text(edit(path.read_text().replace("\r", "")))


@pytest.mark.parametrize(
    ("name", "edit", "sentence"),
    [
        ("metadata_random.csv", lambda t: t.rsplit("\n", 2)[0], "has 6 rows, but the three files"),
        ("metadata_random.csv", lambda t: t.replace("4,0,1,0", "4,2,1,0"), r"row 5 is of class"),
        ("metadata_random.csv", lambda t: t.replace("has_negation", "x"), "no column 'sentence2_h"),
        ("metadata_random.csv", lambda t: t.replace("4,0,1,0", "4,3,1,0"), "'3' in column 'gold"),
        ("multinli_1.0_train.jsonl", lambda t: t[:-20], r"train\.jsonl, line 5 is not a pair"),
        ("multinli_1.0_train.jsonl", lambda t: t.replace("neutral", "maybe"), "line 1 .*'maybe'"),
        ("multinli_1.0_dev_matched.jsonl", lambda t: "[]\n", "line 1 is not a pair"),
        ("multinli_1.0_dev_matched.jsonl", lambda t: "", "has 7 rows, but .* have 6 labelled"),
        ("multinli_1.0_dev_matched.jsonl", lambda t: t.replace("no fox", "\\ud83d"), "line 1 is n"),
        ("multinli_1.0_dev_matched.jsonl", lambda t: t.replace('"no fox"', "7"), "line 1 is not"),
    ],
)
def test_damaged_multinli(tmp_path, steps, name, edit, sentence):
    folder = write_multinli(tmp_path / "m")
    change(folder / name, edit)
    with pytest.raises(InputError, match=sentence):
        load_multinli(folder, "train", steps)


def test_multinli_needs_all_three_files(tmp_path, steps):
    folder = write_multinli(tmp_path / "m")
    (folder / "multinli_1.0_dev_mismatched.jsonl").unlink()
    with pytest.raises(InputError, match=r"file multinli_1\.0_dev_mismatched\.jsonl or .*sbowman"):
        load_multinli(folder, "train", steps)
    with pytest.raises(InputError, match="nowhere does not exist; unpack MultiNLI there"):
        load_multinli(tmp_path / "nowhere", "train", steps)


def test_multinli_published_numbers(tmp_path, steps, monkeypatch):
    folder = write_multinli(tmp_path / "m")
    with pytest.warns(IncompleteDataWarning, match="1, 1, 0, 1, 1, 0 samples by group") as caught:
        load_multinli(folder, "train", steps)
    assert caught[0].filename == __file__
    # All labelled pairs of the training and the two development sets.
    assert sum(map(sum, benchmarks.MULTINLI.counts.values())) == 392702 + 9815 + 9832
    small = benchmarks.Source("MultiNLI", "https://example.org", {"train": (1, 1, 0, 1, 1, 0)})
    monkeypatch.setattr(benchmarks, "MULTINLI", small)
    load_multinli(folder, "train", steps)


# -- pairs of texts -------------------------------------------------------------------------------


def paired(pairs, steps):
    return Texts((a for a, _ in pairs), steps, pairs=(b for _, b in pairs))


def test_pairs_are_joined_by_the_tokenizer(steps):
    steps = TextPreprocessing(steps.tokenizer, max_length=12, types="token_type_ids")
    tokenizer = word_pieces()
    pairs = [("the quick fox", "a dog"), ("fox", "")]
    batch = paired(pairs, steps)[:]
    whole = tokenizer.encode(*pairs[0])
    assert batch["input_ids"][0].tolist() == whole.ids
    assert batch["token_type_ids"][0].tolist() == whole.type_ids == [0] * 5 + [1] * 3
    assert batch["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_the_longer_text_of_a_pair_is_cut(steps):
    short = TextPreprocessing(steps.tokenizer, max_length=7)
    ids = paired([("the quick brown fox jumps over", "dog")], short)[:]["input_ids"][0]
    by_hand = word_pieces().encode("the quick brown", "dog").ids
    assert ids.tolist() == by_hand
    with pytest.raises(InputError, match="max_length=3 is too short for a pair"):
        paired([("a", "b")], TextPreprocessing(steps.tokenizer, max_length=3))[:]


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5), st.data())
def test_fingerprint_of_pairs(pairs, data):
    steps = TextPreprocessing("tokenizer.json")
    other = data.draw(st.permutations(pairs))
    same = paired(pairs, steps).sha256() == paired(other, steps).sha256()
    assert same == (pairs == other)


def test_a_pair_is_more_than_its_texts_one_after_the_other():
    steps = TextPreprocessing("tokenizer.json")
    fingerprints = {paired([pair], steps).sha256() for pair in [("ab", "c"), ("a", "bc")]}
    assert len(fingerprints) == 2


# -- CivilComments --------------------------------------------------------------------------------


@pytest.mark.parametrize("above", [False, True])
def test_civilcomments_split_labels_and_texts(tmp_path, steps, above):
    folder = write_civilcomments(tmp_path / "civilcomments_v1.0")
    folder = tmp_path if above else folder
    train = load_civilcomments(folder, "train", steps, check=False)
    assert train.X.texts == [COMMENTS[i][3] for i in (0, 1, 4, 5)]
    assert train.y.tolist() == [0, 1, 0, 1]
    assert train.groups.tolist() == [0, 3, 1, 2]
    assert [train.group_names[g] for g in train.groups] == [
        "non-toxic, no identity",
        "toxic, any identity",
        "non-toxic, any identity",
        "toxic, no identity",
    ]
    assert load_civilcomments(folder, "val", steps, check=False).groups.tolist() == [1]
    test = load_civilcomments(folder, "test", steps, check=False)
    assert test.groups.tolist() == [2]  # white is mentioned by less than half


def test_civilcomments_groups_of_wilds(tmp_path, steps):
    folder = write_civilcomments(tmp_path / "civilcomments_v1.0")
    train = load_civilcomments(folder, "train", steps, groups="wilds", check=False)
    assert train.groups.shape == (4, 16)
    assert train.groups.dtype == bool
    members = [{train.group_names[j] for j in np.flatnonzero(row)} for row in train.groups]
    assert members == [set(), {"male, toxic", "black, toxic"}, {"muslim, non-toxic"}, set()]
    assert train.group_names[:3] == ("male, non-toxic", "male, toxic", "female, non-toxic")


def wilds_worst_group(y, pred, mentioned):
    """As the benchmark's evaluation goes: by identity, where it is mentioned, and by class."""
    accuracies = [
        (y == pred)[(identity == 1) & (y == label)].mean()
        for identity in mentioned.T
        for label in (0, 1)
        if ((identity == 1) & (y == label)).any()
    ]
    return min(accuracies)


@given(st.integers(0, 2**32 - 1))
def test_worst_group_of_wilds_in_one_line(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    y, pred = rng.integers(0, 2, (2, n))
    mentioned = rng.random((n, 8)) < 0.2
    mentioned[0, 0] = True
    groups, names = benchmarks._wilds(y, mentioned)
    assert worst_group_accuracy(y, pred, groups=groups) == pytest.approx(
        wilds_worst_group(y, pred, mentioned)
    )
    assert set(accuracy_by(y, pred, groups)) == set(np.flatnonzero(groups.any(axis=0)).tolist())
    assert len(names) == 16


@given(st.integers(0, 2**32 - 1))
def test_the_two_definitions_agree_on_who_is_mentioned(seed):
    rng = np.random.default_rng(seed)
    y, mentioned = rng.integers(0, 2, 30), rng.random((30, 8)) < 0.1
    four, _ = benchmarks._any_identity(y, mentioned)
    sixteen, _ = benchmarks._wilds(y, mentioned)
    assert_array_equal(four // 2, y)
    assert_array_equal(four % 2 == 1, sixteen.any(axis=1))
    assert_array_equal(sixteen.sum(axis=1), mentioned.sum(axis=1))


def test_an_identity_without_a_share_is_not_mentioned(tmp_path, steps):
    comments = [(0.0, "train", {"male": ""}, "a dog"), (0.0, "train", {"male": "1"}, "a dog")]
    folder = write_civilcomments(tmp_path / "c", comments)
    assert load_civilcomments(folder, "train", steps, check=False).groups.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda t: t.replace("christian,", "x,"), "no column 'christian'"),
        (
            lambda t: t.replace("0.4999", "high"),
            r"row 4: 'high' in column 'toxicity' is not a number",
        ),
        (lambda t: t.replace("0.4999", ""), r"row 4: '' in column 'toxicity' is not a number"),
        (lambda t: t.replace("0.7", "yes"), "'yes' in column 'muslim' is not a number"),
        (lambda t: t[:40], "cut off|no column"),
        (lambda t: t[: t.index("over") + 4], "not a readable table"),
        (lambda t: t[: t.rindex("0.9") + 3], r"row 7 has 3 cells .* get CivilComments .* https://"),
        (lambda t: t.replace(",train,", ",val,"), "no row of the split 'train'"),
    ],
)
def test_damaged_civilcomments(tmp_path, steps, edit, sentence):
    folder = write_civilcomments(tmp_path / "c")
    change(folder / "all_data_with_identities.csv", edit)
    with pytest.raises(InputError, match=sentence):
        load_civilcomments(folder, "train", steps)


def test_wrong_arguments(tmp_path, steps):
    folder = write_civilcomments(tmp_path / "c")
    with pytest.raises(
        InputError, match='groups must be "any_identity" or "wilds"; got \'identity\''
    ):
        load_civilcomments(folder, "train", steps, groups="identity")
    with pytest.raises(InputError, match="got 'dev'"):
        load_multinli(folder, "dev", steps)
    with pytest.raises(InputError, match="as TextPreprocessing, such as"):
        load_civilcomments(folder, "train", ImagePreprocessing())
    with pytest.raises(InputError, match=r"file all_data_with_identities\.csv or .*wilds"):
        load_civilcomments(tmp_path, "train", steps)
    absent = TextPreprocessing(tmp_path / "no" / "tokenizer.json")
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be read"):
        load_civilcomments(folder, "train", absent, check=False)


def test_civilcomments_published_numbers(tmp_path, steps):
    folder = write_civilcomments(tmp_path / "c")
    with pytest.warns(IncompleteDataWarning, match="has 4 samples, but .* 269038; get") as seen:
        load_civilcomments(folder, "train", steps)
    assert seen[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        load_civilcomments(folder, "train", steps, check=False)


# -- what the samples are good for ----------------------------------------------------------------


@pytest.fixture
def embedder(tmp_path):
    return OnnxEmbedder(text_model(tmp_path / "model"), device="cpu")


@pytest.mark.parametrize("groups", ["any_identity", "wilds"])
def test_comments_into_a_store(tmp_path, steps, embedder, groups):
    folder = write_civilcomments(tmp_path / "c")
    samples = load_civilcomments(folder, "train", steps, groups=groups, check=False)
    EmbeddingStore.write(tmp_path / "store", embedder, samples)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.X.shape == (4, 6)
    assert store.y.tolist() == samples.y.tolist()
    assert_array_equal(store.groups, samples.groups)
    assert "tokenizer_sha256" in store.manifest["preprocessing"]
    pred = np.array([0, 0, 0, 0])
    worst = worst_group_accuracy(store.y, pred, groups=store.groups)
    assert worst == worst_group_accuracy(samples.y, pred, groups=samples.groups) == 0.0


def test_groups_of_wilds_through_shards(tmp_path, steps, embedder):
    folder = write_civilcomments(tmp_path / "c", COMMENTS * 150)
    samples = load_civilcomments(folder, "train", steps, groups="wilds", check=False)
    parts = [
        EmbeddingStore.write(tmp_path / f"{i}", embedder, samples, part=(i, 2)).path for i in (1, 2)
    ]
    store = EmbeddingStore.merge(parts, tmp_path / "whole")
    assert_array_equal(store.groups, samples.groups)


def test_pairs_into_a_store(tmp_path, steps, embedder):
    samples = load_multinli(write_multinli(tmp_path / "m"), "train", steps, check=False)
    store = EmbeddingStore.write(tmp_path / "store", embedder, samples)
    assert store.groups.tolist() == [4, 1, 3, 0]
    order = [embedder.transform(samples.X[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(store.X, order, rtol=1e-5, atol=1e-6)


def test_pairs_travel_between_processes(tmp_path, steps):
    samples = load_multinli(write_multinli(tmp_path / "m"), "train", steps, check=False)
    expected = samples.X[:]["input_ids"]
    again = pickle.loads(pickle.dumps(samples))
    assert_array_equal(again.X[:]["input_ids"], expected)
    assert again.X.sha256() == samples.X.sha256()


def test_texts_are_tokenised_as_they_are_used(tmp_path, steps):
    (tmp_path / "tokenizer.json").write_text("{}")
    samples = load_civilcomments(write_civilcomments(tmp_path / "c"), "train", steps, check=False)
    with pytest.raises(InputError, match=r"not a usable tokenizer\.json"):
        samples.X[:1]

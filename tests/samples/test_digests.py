"""Samples are told apart by what they hold: one by one, whatever they are called."""

import tracemalloc
from dataclasses import replace
from itertools import combinations

import numpy as np
import onnx
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder
from ntkit._contents import contents_of_embeddings
from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples, Texts
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.samples import copies
from ntkit.samples.copies import (
    combined,
    contents_by_embedding,
    contents_of,
    sample_digests,
    shared_samples,
    sum_of_digests,
)
from ntkit.samples.read import read
from ntkit.store import EmbeddingStore, fingerprint

N = 30


def digests(X, **options):
    return sample_digests(Samples(X, np.arange(len(X))), **options)


def pictures(folder, values, names="{}.png"):
    folder.mkdir()
    paths = [folder / names.format(i) for i in range(len(values))]
    for path, value in zip(paths, values, strict=True):
        Image.new("L", (2, 2), int(value)).save(path)
    return ImageFiles(paths, ImagePreprocessing(channels=1))


class Lazy:
    """Arrays for slices, and nothing else."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        assert isinstance(index, slice)
        return self.values[index]


class Padded(Lazy):
    """Lists of numbers, padded to the longest of a slice."""

    def __getitem__(self, index):
        rows = self.values[index]
        width = max(map(len, rows))
        return {"ids": np.asarray([[*row, *[0] * (width - len(row))] for row in rows])}


STEPS = TextPreprocessing("tokenizer.json")
KINDS = {
    "floats": lambda v: v[:, None, None] * np.ones((1, 2, 3), np.float32),
    "bytes": lambda v: v.astype(np.uint8).reshape(-1, 1),
    "scalars": lambda v: v,
    "swapped": lambda v: v.astype(">f8")[:, None],
    "fortran": lambda v: np.asfortranarray(v[:, None] * np.ones((1, 4))),
    "objects": lambda v: np.asarray([[f"{x}"] for x in v], dtype=object),
    "letters": lambda v: np.asarray([f"{x}" for x in v]),
    "list": lambda v: [[float(x), 1.0] for x in v],
    "texts": lambda v: Texts([f"number {x}" for x in v], STEPS),
    "lazy": lambda v: Lazy(v[:, None]),
    "padded": lambda v: Padded([[1] * int(x + 1) for x in v]),
    "several": lambda v: {"a": np.ones((len(v), 2)), "b": v[:, None]},
    "mixed": lambda v: {"a": Texts(["same"] * len(v), STEPS), "b": Lazy(v[:, None])},
}


@pytest.mark.parametrize("kind", KINDS)
def test_digests_are_equal_where_contents_are(kind, monkeypatch):
    monkeypatch.setattr(copies, "CHUNK", 100)
    values = np.arange(N) % 20  # ten of them twice
    found = sample_digests(Samples(KINDS[kind](values), values))
    assert_array_equal(found[:, None] == found, values[:, None] == values)
    again = sample_digests(Samples(KINDS[kind](values), values[::-1]), 7, 25)
    assert_array_equal(again, found[7:25])


def test_every_value_of_every_row_and_its_shape_type_and_kind_count(rng, tmp_path):
    X = rng.normal(size=(5, 3, 2)).astype(np.float32)
    for index in np.ndindex(X.shape):
        other = X.copy()
        other[index] = np.nextafter(other[index], np.float32(9))
        assert_array_equal(digests(other) != digests(X), np.arange(5) == index[0])
    zeros = [
        np.zeros((1, 4), np.float32), np.zeros((1, 2, 2), np.float32), np.zeros((1, 2)),
        np.zeros((1, 4), np.int32), Texts(["\0" * 16], STEPS), pictures(tmp_path / "p", [0]),
    ]  # fmt: skip
    for one, two in combinations(zeros, 2):
        assert digests(one) != digests(two)


def test_texts_and_pairs_are_no_concatenations():
    pairs = [[("ab", "c")], [("a", "bc")], ["abc"]]
    found = set()
    for pair in pairs:
        texts = Texts([], STEPS)
        texts.texts = pair
        found |= set(digests(texts).tolist())
    assert len(found) == 3
    digests(Texts(["\ud800"], STEPS))


def test_pictures_count_by_their_bytes_not_their_names(tmp_path):
    one = digests(pictures(tmp_path / "one", range(N)))
    same_names = pictures(tmp_path / "two", range(N, 2 * N))
    other_names = digests(pictures(tmp_path / "three", range(N)[::-1], names="copy-{}.png"))
    assert not set(one) & set(digests(same_names))
    assert_array_equal(other_names[::-1], one)
    same_names.paths[1].unlink()
    with pytest.raises(InputError, match=r"two/1\.png cannot be read .*--skip-bad"):
        digests(same_names)


def test_memory_stays_flat(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (500, 16_000))  # 32 MB
    X[::7] = 1
    tracemalloc.start()
    found = digests(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6
    assert len(set(found)) == 2


def test_shared_samples_are_counted_and_sums_of_parts_make_that_of_the_whole(rng):
    sets = {name: digests(np.asarray(rows, float)[:, None]) for name, rows in
            {"train": [1, 2, 3, 3], "held-out": [3, 4, 3, 9], "test": [9, 5]}.items()}  # fmt: skip
    assert shared_samples(sets) == {
        ("train", "held-out"): 2, ("train", "test"): 0, ("held-out", "test"): 1,
    }  # fmt: skip
    whole, cuts = digests(rng.normal(size=(N, 2))), [1, 2, 29]
    parts = zip([0, *cuts], [*cuts, N], strict=True)
    assert combined([sum_of_digests(whole[a:b], a) for a, b in parts]) == sum_of_digests(whole)
    for other in (whole[::-1], whole[:-1]):
        assert sum_of_digests(other) != sum_of_digests(whole)


def test_the_fingerprint_covers_labels_groups_names_and_contents(rng):
    X, y = rng.normal(size=(100, 2)), np.arange(100) % 2
    samples = Samples(X, y)
    changed = X.copy()
    changed[1, 0] += 1  # no row that a look at a few of them would meet
    others = [
        Samples(changed, y), Samples(X, 1 - y), Samples(X, y, groups=y),
        Samples(X, y, ids=np.arange(100).astype(str)), Samples(X[::-1], y),
    ]  # fmt: skip
    assert fingerprint(samples) == fingerprint(Samples(X.copy(), y.copy()))
    assert fingerprint(samples) == fingerprint(samples, sample_digests(samples))
    assert len({fingerprint(s) for s in [samples, *others]}) == 6


@pytest.mark.parametrize("width", [1, 6, 40])
def test_embeddings_that_differ_by_rounding_have_one_content(width):
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((300, width)).astype(np.float32) * 3 + 5
    again = Z[::3] * (1 + 1e-7 * rng.standard_normal((100, 1))).astype(np.float32)
    contents = contents_of_embeddings({"train": Z, "test": again})
    assert np.array_equal(contents["train"][::3], contents["test"])
    apart = np.linalg.norm(Z[:, None] - Z, axis=2) > 1e-2 * np.linalg.norm(Z.std(axis=0))
    assert (contents["train"][:, None] != contents["train"])[apart].all()


def test_many_equal_embeddings_are_one_content():
    Z = np.zeros((3000, 4), dtype=np.float32)
    Z[-1] = 1
    found = contents_of_embeddings({"all": Z})["all"]
    assert [len({*found[:-1].tolist()}), len({*found.tolist()})] == [1, 2]


def test_close_embeddings_of_different_samples_are_no_copies():
    """Readings of few numbers lie closer than rounding; only equal ones are one sample then."""
    rng = np.random.default_rng(0)
    one, other = (rng.random((4000, 2)).astype(np.float32) for _ in range(2))
    other[:3] = one[:3]
    sets = {"train": Samples(one, embedded=True), "test": Samples(other)}
    contents = contents_of(sets)
    found, _ = contents_by_embedding(sets, contents, {"train": one, "test": other})
    assert shared_samples(found) == {("train", "test"): 3}


@pytest.mark.parametrize("embedded", [False, True])
def test_embeddings_of_half_precision_are_those_of_single_precision(embedded):
    rng = np.random.default_rng(0)
    one, new = (rng.standard_normal((400, 32)).astype(np.float32) for _ in range(2))
    half = np.concatenate([one[:100], new]).astype(np.float16)
    sets = {"train": Samples(one, embedded=True), "test": Samples(half, embedded=embedded)}
    contents = contents_of(sets)
    found, _ = contents_by_embedding(sets, contents, {"train": one, "test": half})
    assert shared_samples(found) == {("train", "test"): 100}


def _in_other_form(n_again):
    """Training samples, of which some were saved again, and a test set of the first 100."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((300, 16)).astype(np.float32)
    again = np.concatenate([one, one[:n_again]])
    test = one[:100] * np.float32(1 + 1e-7)
    sets = {"train": Samples(again, embedded=True), "test": Samples(test)}
    contents = {  # a file that was saved again has other bytes
        "train": np.array([f"file {i}".encode() for i in range(len(again))]),
        "test": np.array([f"row {i}".encode() for i in range(100)]),
    }
    return sets, contents, {"train": again, "test": test}


@pytest.mark.parametrize("n_again", [0, 3, 300])
def test_files_that_were_saved_again_hide_no_other_sample(n_again):
    """Two files of one set with one embedding may be two samples, and a note says so."""
    found, note = contents_by_embedding(*_in_other_form(n_again))
    assert shared_samples(found) == {("train", "test"): max(0, 100 - n_again)}
    n = min(n_again, 100)
    assert note.startswith(f"Embeddings of {n} samples (test) are close to some" if n else "")
    assert (note == "") == (n == 0)
    sets, contents, Z = _in_other_form(n_again)
    sets["test"], Z["test"] = replace(sets["test"], X=Z["test"] + 9), Z["test"] + 9
    assert contents_by_embedding(sets, contents, Z) == (contents, "")


def test_silent_neurons_make_no_copies():
    """Different samples have one embedding, as often across sets as within one."""
    rng = np.random.default_rng(0)
    Z = np.maximum(rng.standard_normal((600, 3)) - 0.9, 0).round(1).astype(np.float32)
    X = rng.standard_normal((600, 3)).astype(np.float32)
    parts = {"train": (X[:300], Z[:300]), "validation": (X[300:500], Z[300:500])}
    for shared in (False, True):
        test = (X[:100] if shared else X[500:]).astype(np.float16), Z[:100] if shared else Z[500:]
        every = parts | {"test": test}
        sets = {name: Samples(x, embedded=name == "validation") for name, (x, _) in every.items()}
        of = {name: z for name, (_, z) in every.items()}
        found, note = contents_by_embedding(sets, contents_of(sets), of)
        assert shared_samples(found)["train", "validation"] == 0
        assert note.startswith("Embeddings of ")


@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c"]])
def test_columns_of_half_precision_hide_no_shared_sample(columns):
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((200, 3)), columns=[*"abc"])
    half = frame.iloc[:50].astype(dict.fromkeys(columns, np.float16))
    sets = {"train": Samples(frame), "test": Samples(half)}
    Z = {name: each.X.to_numpy(np.float32) for name, each in sets.items()}
    found, _ = contents_by_embedding(sets, contents_of(sets), Z)
    assert shared_samples(found) == {("train", "test"): 50}


def test_a_filler_value_makes_no_copies_and_hides_none():
    Z = np.random.default_rng(0).standard_normal((30_000, 8)).astype(np.float32)
    Z[0, 0] = 1e9
    parts = {"train": Z[:20_000], "test": Z[20_000:].copy()}
    parts["test"][:50] = (Z[100:150] * np.float32(1 + 1e-7)).astype(np.float32)
    sets = {"train": Samples(parts["train"], embedded=True), "test": Samples(parts["test"])}
    found, note = contents_by_embedding(sets, contents_of(sets), parts)
    assert (shared_samples(found), note) == ({("train", "test"): 50}, "")


def test_embeddings_of_one_number_tell_nothing_and_do_not_fill_the_memory():
    Z = np.random.default_rng(0).standard_normal((30_000, 1)).astype(np.float32)
    assert contents_of_embeddings({"train": Z}) is None
    parts = {"train": Z[:20_000], "test": Z[20_000:] + np.float32(0.1)}
    sets = {"train": Samples(parts["train"], embedded=True), "test": Samples(parts["test"])}
    found, note = contents_by_embedding(sets, contents_of(sets), parts)
    assert note.startswith("Most embeddings are close to each other")
    assert shared_samples(found)["train", "test"] < 100  # equal to the bit
    sets["train"] = Samples(parts["train"])
    assert contents_by_embedding(sets, contents_of(sets), parts)[1] == ""


def test_numbers_of_a_model_in_double_precision_are_doubles(tmp_path):
    """Times that are 1 s apart are one number in single precision, and other samples."""
    X = 1_700_000_000 + np.arange(40.0)[:, None]
    text = "({}[N, 1] x) => ({}[N, 2] y) {{ y = MatMul(x, W) }}"
    once = []
    for kind, dtype in (("float", np.float32), ("double", np.float64)):
        model = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> m {text.format(kind, kind)}'
        )
        weight = onnx.numpy_helper.from_array(np.array([[1, -1]], dtype), "W")
        model.graph.initializer.append(weight)
        onnx.save(model, tmp_path / f"{kind}.onnx")
        of = FrozenModel.load(tmp_path / f"{kind}.onnx")
        np.savez(tmp_path / "x.npz", X=X, y=np.arange(40) % 2)
        given = [read((X, np.arange(40) % 2), of), read(tmp_path / "x.npz", of)]
        digests = [sample_digests(each).tolist() for each in given]
        assert digests[0] == digests[1]
        once.append(len({*digests[0]}))
        store = EmbeddingStore.write(tmp_path / kind, OnnxEmbedder(of, device="cpu"), given[0])
        assert len(store.X) == 40
        later = read((X + 1, np.arange(40) % 2), of)
        if kind == "double":
            with pytest.raises(InputError, match="Contents of the samples changed"):
                EmbeddingStore.write(tmp_path / kind, OnnxEmbedder(of, device="cpu"), later)
    assert once == [1, 40]

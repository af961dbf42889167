"""EmbeddingStore: what was written comes back, whatever happened in between."""

import json
import os
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import (
    EmbeddingStore,
    ImageFiles,
    ImagePreprocessing,
    Samples,
    _store,
    read_samples,
)

N, K, SHARD = 40, 3, 10


@pytest.fixture
def embedder(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(K), tmp_path / "m.onnx"))
    return OnnxEmbedder(model, device="cpu", batch_size=5)


@pytest.fixture
def samples(zoo):
    return Samples(zoo.inputs(N), np.arange(N) % K, np.arange(N) % 2, preprocessing={"input": "x"})


@pytest.fixture
def write(embedder, samples, tmp_path):
    def write(name="store", samples=samples, embedder=embedder, **options):
        options = {"shard_rows": SHARD, **options}
        return EmbeddingStore.write(tmp_path / name, embedder, samples, **options)

    return write


@pytest.mark.parametrize("shard_rows", [1, 7, 10, 39, 40, 65536])
def test_what_is_written_comes_back(write, embedder, samples, shard_rows):
    for store in (write(shard_rows=shard_rows), EmbeddingStore.open(write("b").path)):
        assert_array_equal(store.X, embedder.transform(samples.X))
        assert_array_equal(store.y, samples.y)
        assert_array_equal(store.groups, samples.groups)
        assert store.head == embedder.frozen_model.head
        assert store.manifest["model"] == embedder.frozen_model.sha256()
        assert store.manifest["tensor"] == "z"
        assert (store.manifest["rows"], store.manifest["finished_rows"]) == (N, N)


def test_one_shard_is_mapped_not_read(write):
    assert isinstance(write(shard_rows=N).X, np.memmap)
    assert not isinstance(write("many").X, np.memmap)


@pytest.mark.parametrize("labels", [["a", "b"], np.asarray(["a", "b"], object), [True, False]])
def test_labels_of_any_plain_kind(zoo, embedder, tmp_path, labels):
    y = np.asarray(labels)[np.arange(N) % 2]
    store = EmbeddingStore.write(tmp_path / "s", embedder, Samples(zoo.inputs(N), y, groups=y))
    assert store.y.tolist() == store.groups.tolist() == y.tolist()
    assert store.head is None  # the model has three classes


def test_a_model_that_does_not_name_its_classes_takes_the_labels(zoo, embedder, tmp_path):
    y = np.asarray(["b", "a", "c"])[np.arange(N) % 3]
    store = EmbeddingStore.write(tmp_path / "s", embedder, Samples(zoo.inputs(N), y))
    assert store.head.classes.tolist() == ["a", "b", "c"]


# -- interruptions ----------------------------------------------------------------------------


class Killed(BaseException):
    pass


def steps(write, monkeypatch, tmp_path):
    """How often ``write`` puts a file in place."""
    count = 0
    replace = os.replace

    def counting(*args):
        nonlocal count
        count += 1
        replace(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_store.os, "replace", counting)
        write("counted")
    return count


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_it_resumes_and_ends_bit_identical(
    zoo, write, monkeypatch, tmp_path, after
):
    whole = zoo.contents(write("whole").path)
    replace = os.replace
    for stop in range(steps(write, monkeypatch, tmp_path)):
        done = 0

        def killing(*args, stop=stop):
            nonlocal done
            if after:
                replace(*args)
            done += 1
            if done > stop:
                raise Killed
            if not after:
                replace(*args)

        name = f"store{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(_store.os, "replace", killing)
            with pytest.raises(Killed):
                write(name)
        if EmbeddingStore.is_store(tmp_path / name):
            manifest = json.loads((tmp_path / name / "manifest.json").read_text())
            if manifest["finished_rows"] == N:
                assert_array_equal(EmbeddingStore.open(tmp_path / name).X, write("again").X)
                continue
            with pytest.raises(InputError, match=f"of {N} rows; run the same ntkit embed"):
                EmbeddingStore.open(tmp_path / name)
        write(name)
        left = {p: c for p, c in zoo.contents(tmp_path / name).items() if p.name[0] != "."}
        assert left == whole


def test_only_what_is_missing_is_computed_again(write, embedder, samples, monkeypatch):
    started = []
    batches = OnnxEmbedder.iter_batches

    def failing(self, X, start=0):
        started.append(start)
        for i, batch in enumerate(batches(self, X, start)):
            if i == 5 and len(started) == 1:  # in the third shard of two batches each
                raise Killed
            yield batch

    monkeypatch.setattr(OnnxEmbedder, "iter_batches", failing)
    with pytest.raises(Killed):
        write()
    assert_array_equal(write().X, embedder.transform(samples.X))
    assert started[:2] == [0, 20]


@pytest.fixture
def unfinished(write, monkeypatch, tmp_path):
    batches = OnnxEmbedder.iter_batches

    def failing(self, X, start=0):
        for i, batch in enumerate(batches(self, X, start)):
            if i == 4:
                raise Killed
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(OnnxEmbedder, "iter_batches", failing)
        with pytest.raises(Killed):
            write()
    return tmp_path / "store"


def test_an_unfinished_store_is_no_data(unfinished):
    with pytest.raises(InputError, match="holds 20 of 40 rows"):
        read_samples(unfinished)


def changed(samples, **fields):
    return Samples(**{**samples.__dict__, **fields})


def test_other_samples_are_not_mixed_in(write, samples, unfinished, zoo):
    before = zoo.contents(unfinished)
    for field, other in {
        "preprocessing": changed(samples, preprocessing={"input": "y"}),
        "rows": changed(samples, X=samples.X[:30], y=samples.y[:30], groups=samples.groups[:30]),
        "samples": changed(samples, y=samples.y[::-1].copy()),
    }.items():
        with pytest.raises(InputError, match=rf"made with another {field} .*--force"):
            write(samples=other)
    with pytest.raises(InputError, match="another samples"):
        write(samples=changed(samples, groups=None))
    assert zoo.contents(unfinished) == before
    write()


def test_another_model_or_tensor_is_not_mixed_in(write, embedder, unfinished, zoo, tmp_path):
    graph = zoo.body(seed=7)
    graph.add("Gemm", ["z", graph.constant("w", np.ones((5, K)))], "logits")
    graph.output("logits", ["batch", K])
    other = OnnxEmbedder(FrozenModel.load(zoo.save(graph.model(), tmp_path / "o.onnx")))
    with pytest.raises(InputError, match="made with another model"):
        write(embedder=other)
    tensor = OnnxEmbedder(FrozenModel.load(tmp_path / "m.onnx", embedding="h"), device="cpu")
    with pytest.raises(InputError, match=r"made with another tensor \('z', now 'h'\)"):
        write(embedder=tensor)


def test_other_image_files_are_not_mixed_in(tmp_path):
    def fingerprint(*names):
        paths = [tmp_path / name for name in names]
        return _store._fingerprint(Samples(ImageFiles(paths, ImagePreprocessing()), [0, 1]))

    assert fingerprint("a/1.png", "b/2.png") == fingerprint("a/1.png", "b/2.png")
    assert fingerprint("a/1.png", "b/2.png") != fingerprint("a/1.png", "b/3.png")


# -- overwriting ------------------------------------------------------------------------------


def test_a_finished_store_is_kept_without_force(write, zoo):
    before = zoo.contents(write().path)
    with pytest.raises(InputError, match=r"is finished already; .*--force"):
        write()
    assert zoo.contents(write("other").path) == before


def test_with_force_nothing_of_the_old_store_survives(write, samples, zoo, embedder, tmp_path):
    old = write(shard_rows=5)
    assert len(old.manifest["shards"]) == 8
    fresh = changed(samples, X=zoo.inputs(12), y=np.arange(12) % 2, groups=None)
    new = write(samples=fresh, force=True)
    assert (new.groups, new.head) == (None, None)
    assert new.X.shape == (12, 5)
    assert zoo.contents(new.path) == zoo.contents(write("clean", samples=fresh).path)


def test_killed_while_replacing_the_old_store_is_not_taken_for_the_new(
    write, samples, monkeypatch, tmp_path
):
    write()
    fresh = changed(samples, y=samples.y[::-1].copy())
    save = _store._save

    def killed(path, content):
        if path.name == "groups.npy":
            raise Killed
        save(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(_store, "_save", killed)
        with pytest.raises(Killed):
            write(samples=fresh, force=True)
    with pytest.raises(InputError, match="holds 0 of 40 rows"):
        EmbeddingStore.open(tmp_path / "store")
    assert_array_equal(write(samples=fresh).y, fresh.y)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_other_files_is_never_touched(write, zoo, tmp_path, force):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "labels.npy").write_text("precious")
    (tmp_path / "file").write_text("precious")
    before = zoo.contents(tmp_path)
    for name in ("store", "file"):
        with pytest.raises(InputError, match="exists and is not an embedding store"):
            write(name, force=force)
    assert zoo.contents(tmp_path) == before


def test_an_empty_folder_may_be_used(write, tmp_path):
    (tmp_path / "store").mkdir()
    write()
    write("deep/down/store")


# -- damage -----------------------------------------------------------------------------------


def test_a_folder_that_is_no_store(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        assert not EmbeddingStore.is_store(path)
        with pytest.raises(
            InputError, match="is not an embedding store; make one with: ntkit embed"
        ):
            EmbeddingStore.open(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe",
     b'{"rows": "many", "finished_rows": 40, "shards": []}',
     b'{"rows": 40, "finished_rows": 40, "shards": ["../../secret.npy"]}',
     b'{"rows": 40, "finished_rows": 40, "shards": [3]}'],
)  # fmt: skip
def test_a_damaged_manifest(write, content):
    path = write().path
    (path / "manifest.json").write_bytes(content)
    for attempt in (lambda: EmbeddingStore.open(path), write):
        with pytest.raises(InputError, match=r"manifest\.json is damaged; .*--force"):
            attempt()
    assert write(force=True).X.shape == (N, 5)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(["embeddings-00001.npy", "labels.npy"], ["cut", "text", "missing"]),
        *product(["head.npz", "groups.npy"], ["cut", "text"]),
    ],
)
def test_a_damaged_part(write, name, damage):
    path = write().path
    part = path / name
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-30] if damage == "cut" else b"text")
    with pytest.raises(InputError, match=r"store is damaged .*embed again with --force"):
        EmbeddingStore.open(path)


def test_parts_that_do_not_fit_together(write):
    path = write().path
    np.save(path / "labels.npy", np.zeros(N - 1))
    with pytest.raises(InputError, match="40 embeddings, 39 labels, 40 rows announced"):
        EmbeddingStore.open(path)


def test_nothing_to_embed(write, samples):
    with pytest.raises(InputError, match="no samples"):
        write(samples=Samples(samples.X[:0], samples.y[:0]))
    with pytest.raises(InputError, match="39 samples, but 40 labels"):
        write(samples=changed(samples, X=samples.X[:39]))
    with pytest.raises(InputError, match="shard_rows"):
        write(shard_rows=0)


def test_the_head_of_the_model_survives(write, embedder):
    head = write().head
    assert isinstance(head, LinearHead)
    assert head == embedder.frozen_model.head

"""EmbeddingStore: what was written comes back, whatever happened in between."""

import errno
import json
import os
import resource
import shutil
import sys
import tracemalloc
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.linear_model import LogisticRegression

from ntkit import FrozenModel, LinearHead, OnnxEmbedder, _disk
from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import InputError
from ntkit.extraction import (
    EmbeddingStore,
    ImageFiles,
    ImagePreprocessing,
    Samples,
    read_samples,
)
from ntkit.samples import MANIFEST
from ntkit.store import _fill as _rows_file

N, K, CHECKPOINT = 40, 3, 10


class Embedder:
    """Embeddings that show where batches were cut: row, first row and length of the batch."""

    device_ = "cpu"

    def __init__(self, model, batch_size=5, window=10, scale=1.0, dtype=np.float32):
        self.frozen_model = model
        self.run = {"batch_size": batch_size, "threads": 1, "window": window}
        self.scale, self.dtype = scale, dtype
        self.started = []

    def on(self, engine):
        if engine not in ("local", "ray"):
            raise InputError(f"engine must be local or ray, not {engine!r}.")
        return self

    def settings(self, X):
        return dict(self.run)

    def iter_batches(self, X, start=0, stop=None, settings=None):
        self.started.append((start, stop))
        size, window = settings["batch_size"], settings["window"]
        assert start % window == 0
        for first in range(start, stop, window):
            for begin in range(first, min(first + window, len(X)), size):
                rows = np.arange(begin, min(begin + size, first + window, len(X)))
                cut = np.array([begin, len(rows)])
                Z = np.column_stack(
                    [rows, np.tile(cut, (len(rows), 1)), np.asarray(X[rows])[:, :2]]
                )
                yield (Z * self.scale).astype(self.dtype)

    def transform(self, X):
        return np.concatenate([*self.iter_batches(X, 0, len(X), self.run)])


@pytest.fixture
def model(zoo, tmp_path):
    return FrozenModel.load(zoo.save(zoo.classifier(K), tmp_path / "m.onnx"))


@pytest.fixture
def embedder(model):
    return Embedder(model)


@pytest.fixture
def samples(zoo):
    return Samples(zoo.inputs(N), np.arange(N) % K, np.arange(N) % 2, preprocessing={"input": "x"})


@pytest.fixture
def write(embedder, samples, tmp_path):
    def write(name="store", samples=samples, embedder=embedder, **options):
        options = {"checkpoint_rows": CHECKPOINT, **options}
        return EmbeddingStore.write(tmp_path / name, embedder, samples, **options)

    return write


def changed(samples, **fields):
    return Samples(**{**samples.__dict__, **fields})


# -- what is stored ---------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint_rows", [1, 7, 10, 39, 40, 65536])
def test_what_is_written_comes_back(write, model, samples, checkpoint_rows):
    embedder = OnnxEmbedder(model, device="cpu", batch_size=5)
    options = {"embedder": embedder, "checkpoint_rows": checkpoint_rows}
    for store in (write(**options), EmbeddingStore.open(write("b", **options).path)):
        assert_array_equal(store.X, embedder.transform(samples.X))
        assert_array_equal(store.y, samples.y)
        assert_array_equal(store.groups, samples.groups)
        assert store.ids is None
        assert store.head == model.head
        assert store.manifest["model"] == model.sha256()
        assert store.manifest["tensor"] == "z"
        assert (store.manifest["rows"], store.manifest["finished_rows"]) == (N, N)
        assert store.manifest["shape"] == [N, 5]
        assert (store.manifest["device"], store.manifest["skipped"]) == ("cpu", [])
        assert store.manifest["run"]["batch_size"] == 5


def test_a_store_of_any_size_is_one_read_only_memory_map(write):
    store = write(checkpoint_rows=1)
    assert isinstance(store.X, np.memmap)
    assert (store.X.mode, store.X.flags.writeable) == ("r", False)
    plain = np.load(store.path / "embeddings.npy", mmap_mode="r")  # without ntkit
    assert_array_equal(plain, store.X)


def test_nothing_but_what_was_promised_is_left_in_the_folder(write, samples):
    files = {"embeddings.npy", "labels.npy", "groups.npy", "head.npz", "manifest.json"}
    assert {p.name for p in write().path.iterdir()} == files
    fewer = write("fewer", samples=changed(samples, groups=None, y=np.arange(N) % 7))
    assert {p.name for p in fewer.path.iterdir()} == files - {"groups.npy", "head.npz"}


@pytest.mark.parametrize("estimator", [LogisticRegression(), BalancedClassifier()])
def test_scikit_learn_fits_the_map_without_a_copy(estimator, write, model, rng):
    n, width = 20_000, 128
    y = np.arange(n) % 2
    Z = (rng.normal(size=(n, width)) + y[:, None] / 4).astype(np.float32)
    wide = Embedder(model)
    wide.iter_batches = _generator(lambda *_, **__: [Z])
    store = write(samples=Samples(np.zeros((n, 2)), y), embedder=wide)
    assert store.X.dtype == np.float32
    tracemalloc.start()
    clf = estimator.fit(store.X, store.y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < store.X.nbytes / 2
    assert clf.score(store.X, store.y) > 0.8


def _generator(function):
    def batches(*args, **kwargs):
        yield from function(*args, **kwargs)

    return batches


def test_memory_stays_flat_while_writing(write, model):
    n, width = 50_000, 256  # 51 MB
    wide = Embedder(model)

    def batches(X, start, stop, settings):
        for i in range(start, stop, 500):
            yield np.full((500, width), i, np.float32)

    wide.iter_batches = batches
    samples = Samples(np.broadcast_to(np.zeros((1, 2)), (n, 2)), np.zeros(n, dtype=int))
    tracemalloc.start()
    store = write(samples=samples, embedder=wide, checkpoint_rows=8192)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6
    assert_array_equal(store.X[::500, 0], np.arange(0, n, 500))


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


def test_the_head_of_the_model_survives(write, embedder):
    head = write().head
    assert isinstance(head, LinearHead)
    assert head == embedder.frozen_model.head


def test_names_of_samples_and_of_files_left_out(model, tmp_path):
    names = ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    root = tmp_path / "images"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    X = ImageFiles([root / name for name in names], ImagePreprocessing())
    skipped = (root / "dog/bad.png", tmp_path / "else.png")
    samples = Samples(X, np.arange(3), skipped=skipped, ids=np.asarray(names))
    embedder = Embedder(model)
    embedder.iter_batches = _generator(lambda X, start, stop, settings: [np.zeros((3, 2), "f")])
    store = EmbeddingStore.write(tmp_path / "store", embedder, samples)
    assert store.ids.tolist() == names
    assert store.manifest["skipped"] == ["dog/bad.png", (tmp_path / "else.png").as_posix()]


def test_precision_on_disk_can_be_chosen(write, model, samples):
    wide = {"embedder": Embedder(model, dtype=np.float64)}
    assert write("as computed", **wide).X.dtype == np.float64
    for dtype in ("float32", "float16"):
        store = write(dtype, dtype=dtype, **wide)
        assert store.X.dtype == dtype == store.manifest["stored_dtype"]
        assert_array_equal(store.X, Embedder(model).transform(samples.X).astype(dtype))
    with pytest.raises(InputError, match="dtype must be float16 or float32, not 'int8'"):
        write("int", dtype="int8")


def test_values_too_large_for_float16_are_refused(write, model):
    large = Embedder(model, scale=2000.0)  # row 33 holds 66000
    with pytest.raises(
        InputError, match=r"Row 33 has 66000, more than the 65504 .*pass --dtype float32"
    ):
        write(embedder=large, dtype="float16")
    huge = Embedder(model, scale=1e38, dtype=np.float64)
    with pytest.raises(InputError, match=r"Row 0 has 5e\+38, .* leave out --dtype"):
        write("b", embedder=huge, dtype="float32")


def test_progress_is_told_after_each_batch(write):
    told = []
    write(progress=lambda *rows: told.append(rows))
    assert told == [(rows, 40) for rows in range(5, 41, 5)]


def test_checkpoints_are_at_the_end_of_a_window(write, tmp_path):
    known = []

    def look(*_):
        manifest = json.loads((tmp_path / "rare" / "manifest.json").read_text())
        known.append(manifest["finished_rows"])

    write("rare", progress=look, checkpoint_rows=15)
    assert known == [0, 0, 0, 20, 20, 20, 20, 40]


# -- interruptions ----------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killing(function, at, after):
    """The same function, but it ends the process before or after what it does at a call."""
    count = 0

    def killing(*args):
        nonlocal count
        if after:
            function(*args)
        count += 1
        if count > at:
            raise Killed
        if not after:
            function(*args)

    return killing


@pytest.mark.parametrize(("where", "name"), [(os, "replace"), (_rows_file.RowFile, "_write")])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_it_resumes_and_ends_bit_identical(
    zoo, write, monkeypatch, tmp_path, where, name, after
):
    whole = zoo.contents(write("whole").path)
    for stop in range(100):
        store = f"store{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(where, name, killing(getattr(where, name), stop, after))
            try:
                write(store)
            except Killed:
                pass
            else:
                break
        manifest = tmp_path / store / "manifest.json"
        if manifest.exists() and json.loads(manifest.read_text())["finished_rows"] < N:
            with pytest.raises(InputError, match=f"of {N} rows; run the same ntkit command"):
                EmbeddingStore.open(tmp_path / store)
        if not manifest.exists() or json.loads(manifest.read_text())["finished_rows"] < N:
            write(store)
        assert zoo.contents(tmp_path / store) == whole
    assert 8 <= stop < 20


def dying(embedder, batches):
    """The embedder, but it dies instead of giving a batch."""
    whole = embedder.iter_batches

    def failing(*args, **kwargs):
        for i, batch in enumerate(whole(*args, **kwargs)):
            if i == batches:
                raise Killed
            yield batch

    embedder.iter_batches = failing
    return embedder


@pytest.fixture
def unfinished(write, model, tmp_path):
    with pytest.raises(Killed):
        write(embedder=dying(Embedder(model), 5))
    return tmp_path / "store"


def test_only_what_is_missing_is_computed_again(write, embedder, unfinished, zoo):
    write()
    assert embedder.started == [(20, 40)]
    assert zoo.contents(unfinished) == zoo.contents(write("whole").path)


def test_a_resumed_store_keeps_its_batch_size(write, model, unfinished, zoo):
    write(embedder=Embedder(model, batch_size=7, window=7))
    assert zoo.contents(unfinished) == zoo.contents(write("whole").path)


def test_an_unfinished_store_is_no_data(unfinished):
    with pytest.raises(InputError, match="has 20 of 40 rows"):
        read_samples(unfinished)


def test_other_samples_are_not_mixed_in(write, samples, unfinished, zoo):
    before = zoo.contents(unfinished)
    for field, other in {
        "preprocessing": changed(samples, preprocessing={"input": "y"}),
        "total_rows": changed(samples, X=samples.X[:30], y=samples.y[:30], groups=None),
        "samples": changed(samples, y=samples.y[::-1].copy()),
        "samples ": changed(samples, groups=None),
    }.items():
        with pytest.raises(InputError, match=rf"with another {field.strip()} \(.*--force"):
            write(samples=other)
    for row in (0, 7, 19):
        X = samples.X.copy()
        X[row] += 1
        with pytest.raises(InputError, match=r"Contents of the samples changed .* its 20 rows"):
            write(samples=changed(samples, X=X))
    assert zoo.contents(unfinished) == before
    write()


def test_another_precision_device_or_part_is_not_mixed_in(write, model, unfinished, zoo):
    before = zoo.contents(unfinished)
    with pytest.raises(InputError, match=r"another dtype \(None, now 'float16'\)"):
        write(dtype="float16")
    with pytest.raises(InputError, match=r"another part \(None, now \[1, 2\]\)"):
        write(part=(1, 2))
    gpu = Embedder(model)
    gpu.device_ = "cuda"
    with pytest.raises(InputError, match=r"another device \('cpu', now 'cuda'\)"):
        write(embedder=gpu)
    assert zoo.contents(unfinished) == before


def test_another_model_or_tensor_is_not_mixed_in(write, unfinished, zoo, tmp_path):
    graph = zoo.body(seed=7)
    graph.add("Gemm", ["z", graph.constant("w", np.ones((5, K)))], "logits")
    graph.output("logits", ["batch", K])
    other = FrozenModel.load(zoo.save(graph.model(), tmp_path / "o.onnx"))
    with pytest.raises(InputError, match="made with another model"):
        write(embedder=Embedder(other))
    tensor = FrozenModel.load(tmp_path / "m.onnx", embedding="h")
    with pytest.raises(InputError, match=r"made with another tensor \('z', now 'h'\)"):
        write(embedder=Embedder(tensor))


def test_samples_that_were_mended_before_their_turn_are_taken(write, samples, unfinished, zoo):
    X = samples.X.copy()
    X[[20, N - 1]] += 1
    fixed = changed(samples, X=X)
    assert zoo.contents(write(samples=fixed).path) == zoo.contents(
        write("whole", samples=fixed).path
    )


class Pixels(Embedder):
    """Embeddings that are the pixels."""

    def iter_batches(self, X, start=0, stop=None, settings=None):
        for i in range(start, stop, 10):
            yield X[i : i + 10].reshape(-1, 4)


def test_image_files_that_changed_under_their_names_are_not_mixed_in(write, model, zoo, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for i, path in enumerate(paths):
        Image.new("L", (2, 2), i).save(path)
    fresh = Samples(ImageFiles(paths, ImagePreprocessing(channels=1)), np.arange(N) % K)

    with pytest.raises(Killed):
        write(samples=fresh, embedder=dying(Pixels(model), 2))
    Image.new("L", (2, 2), 200).save(paths[3])
    before = zoo.contents(tmp_path / "store")
    with pytest.raises(InputError, match="Contents of the samples changed"):
        write(samples=fresh, embedder=Pixels(model))
    assert zoo.contents(tmp_path / "store") == before
    Image.new("L", (2, 2), 3).save(paths[3])
    write(samples=fresh, embedder=Pixels(model))


def test_a_store_that_was_begun_before_contents_were_recorded(write, unfinished, zoo):
    manifest = json.loads((unfinished / "manifest.json").read_text())
    del manifest["contents"]
    (unfinished / "manifest.json").write_text(json.dumps(manifest))
    before = zoo.contents(unfinished)
    with pytest.raises(InputError, match=r"begun by an older ntkit, .*again with --force\.$"):
        write()
    assert zoo.contents(unfinished) == before
    whole = zoo.contents(write("whole").path)
    assert zoo.contents(write(force=True).path) == whole


def test_a_finished_store_without_contents_opens(write, samples):
    path = write().path
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["contents"]
    manifest["samples"] = "as an older ntkit computed it"
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert_array_equal(read_samples(path).y, samples.y)
    with pytest.raises(InputError, match="is finished already"):
        write()


def test_an_embedder_that_gives_other_rows_than_it_should(write, model):
    def giving(*shapes, dtype=np.float32):
        embedder = Embedder(model)
        embedder.iter_batches = _generator(lambda *_, **__: [np.zeros(s, dtype) for s in shapes])
        return embedder

    for name, embedder, said in [
        ("few", giving((30, 5)), "stopped at row 30 of 40"),
        ("many", giving((30, 5), (20, 5)), "returned more than 40 rows"),
        ("wide", giving((30, 5), (10, 6)), "From row 30 on, there are 6 neurons in float32 inst"),
    ]:
        with pytest.raises(InputError, match=said):
            write(name, embedder=embedder)


def test_what_fails_at_once_leaves_no_embeddings(write, model, tmp_path):
    broken = Embedder(model)

    def refusing(*_, **__):
        raise InputError("These inputs have another shape.")
        yield

    broken.iter_batches = refusing
    with pytest.raises(InputError, match="another shape"):
        write(embedder=broken)
    assert not list(tmp_path.glob("store/embeddings*"))
    write()


# -- a second writer --------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("at", [0, 3])
def test_a_second_writer_is_refused_and_disturbs_nothing(write, model, zoo, force, at):
    whole = zoo.contents(write("whole").path)
    first = Embedder(model)
    batches = first.iter_batches

    def meanwhile(*args, **kwargs):
        for i, batch in enumerate(batches(*args, **kwargs)):
            if i == at:
                with pytest.raises(InputError, match=r"Another process is writing .*store;"):
                    write(force=force)
            yield batch

    first.iter_batches = meanwhile
    assert zoo.contents(write(embedder=first).path) == whole


def test_a_file_replaced_before_it_was_locked_is_opened_again(write, zoo, tmp_path, monkeypatch):
    whole = zoo.contents(write("whole").path)
    lock, replaced = _disk._lock, []

    def late(file):
        if not replaced:
            replaced.append(True)
            (tmp_path / "store" / "embeddings.npy").unlink()
        lock(file)

    monkeypatch.setattr(_disk, "_lock", late)
    assert zoo.contents(write().path) == whole


def test_a_writer_that_was_quicker_while_the_old_file_was_replaced_has_the_store(
    write, monkeypatch
):
    write()
    lock, calls = _disk._lock, []

    def second_is_late(file):
        calls.append(file)
        if len(calls) == 2:
            raise InputError("Another process is writing.")
        lock(file)

    monkeypatch.setattr(_disk, "_lock", second_is_late)
    with pytest.raises(InputError, match="Another process is writing"):
        write(force=True)
    write(force=True)


def test_a_file_system_without_locks_is_used_without(write, monkeypatch, caplog):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    write()
    assert "cannot be locked on this" in caplog.text


# -- overwriting ------------------------------------------------------------------------------


def test_a_finished_store_is_kept_without_force(write, zoo, samples, embedder):
    before = zoo.contents(write().path)
    times = len(embedder.started)
    again = write()
    assert len(embedder.started) == times
    assert_array_equal(again.y, samples.y)
    X = samples.X.copy()
    X[-1] += 1
    for fields, said in (
        ({"X": X}, "Contents of the samples changed"),
        ({"y": (samples.y + 1) % K}, "made with another samples"),
    ):
        with pytest.raises(InputError, match=f"{said}.*--force"):
            write(samples=changed(samples, **fields))
    with pytest.raises(InputError, match=r"another dtype .*--force"):
        write(dtype="float16")
    assert zoo.contents(again.path) == before


def test_with_force_nothing_of_the_old_store_survives(write, samples, zoo):
    old = write()
    before = np.array(old.X)
    for name in ("embeddings-00000.npy", ".labels.npy"):  # by an older ntkit; by a killed one
        (old.path / name).touch()
    (old.path / "notes.txt").write_text("precious")
    fresh = changed(samples, X=zoo.inputs(12), y=np.arange(12) % 2, groups=None)
    new = write(samples=fresh, force=True)
    assert (new.groups, new.head) == (None, None)
    assert new.X.shape == (12, 5)
    assert (new.path / "notes.txt").read_text() == "precious"
    (new.path / "notes.txt").unlink()
    assert zoo.contents(new.path) == zoo.contents(write("clean", samples=fresh).path)
    assert_array_equal(old.X, before)  # who has it open keeps it


def test_killed_while_replacing_the_old_store_is_not_taken_for_the_new(
    write, samples, monkeypatch, tmp_path
):
    write()
    fresh = changed(samples, y=samples.y[::-1].copy())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killing(os.replace, 2, after=False))
        with pytest.raises(Killed):
            write(samples=fresh, force=True)
    with pytest.raises(InputError, match="has 0 of 40 rows"):
        EmbeddingStore.open(tmp_path / "store")
    assert_array_equal(write(samples=fresh).y, fresh.y)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["labels.npy", "embeddings.npy"])
def test_a_folder_with_other_files_is_never_touched(write, zoo, tmp_path, name, force):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / name).write_text("precious")
    (tmp_path / "file").write_text("precious")
    before = zoo.contents(tmp_path)
    for store in ("store", "file"):
        with pytest.raises(InputError, match="exists and is not an embedding store"):
            write(store, force=force)
    assert zoo.contents(tmp_path) == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("stray", ["thesis.txt", None])
def test_the_manifest_of_another_program_makes_no_store(write, zoo, tmp_path, stray, force):
    store = tmp_path / "store"
    store.mkdir()
    (store / "manifest.json").write_text('{"name": "a web page", "icons": []}')
    np.save(store / "labels.npy", np.arange(3))
    if stray:
        (store / stray).write_text("precious")
    before = zoo.contents(store)
    with pytest.raises(InputError, match="exists and is not an embedding store"):
        write(force=force)
    assert zoo.contents(store) == before


def test_with_force_a_damaged_store_is_replaced_only_if_nothing_else_is_in_it(write, zoo):
    path = write().path
    (path / "manifest.json").write_text("{")
    (path / "thesis.txt").write_text("precious")
    before = zoo.contents(path)
    with pytest.raises(InputError, match="exists and is not an embedding store"):
        write(force=True)
    assert zoo.contents(path) == before


@pytest.mark.parametrize("force", [False, True])
def test_a_store_never_takes_the_place_of_what_is_read(write, samples, zoo, tmp_path, force):
    store = write().path
    for name, values in {"X": samples.X, "y": samples.y, "groups": samples.groups}.items():
        np.save(store / f"{name}.npy", values)
    before = zoo.contents(store)
    (tmp_path / "link").symlink_to(store)
    for name in ("store", "link"):
        with pytest.raises(InputError, match=r"contains .*X\.npy, an input of this job"):
            write(name, samples=read_samples(store / "X.npy"), force=force)
    assert zoo.contents(store) == before


def test_an_empty_folder_may_be_used(write, tmp_path):
    (tmp_path / "store").mkdir()
    write()
    write("deep/down/store")


# -- the disk ---------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence_and_the_store_can_be_finished(write, zoo, monkeypatch):
    whole = zoo.contents(write("whole").path)
    put, count = _rows_file.RowFile._write, 0

    def full(self, offset, content):
        nonlocal count
        count += 1
        if count > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, offset, content)

    with monkeypatch.context() as patch:
        patch.setattr(_rows_file.RowFile, "_write", full)
        with pytest.raises(
            InputError, match=r"not enough disk space for .*store \(No space.*again"
        ) as error:
            write()
    assert error.value.__cause__.errno == errno.ENOSPC
    assert zoo.contents(write().path) == whole


def test_a_limit_on_file_sizes_is_a_full_disk(write, zoo):
    whole = zoo.contents(write("whole").path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (350, limits[1]))

    for when in ({"force": True}, {"progress": limit}):
        try:
            if "force" in when:
                limit()
            with pytest.raises(
                InputError, match=r"not enough disk space for .*store \(File too large"
            ):
                write(**when)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert zoo.contents(write().path) == whole


def test_no_room_is_found_before_the_work(write, model, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=N * 5 * 4 - 1))
    embedder = Embedder(model)
    with pytest.raises(
        InputError, match=r"not enough disk space for .*: it needs about 800 bytes, and 799 b"
    ):
        write(embedder=embedder)
    assert not embedder.started
    assert not (tmp_path / "store").exists()
    write(dtype="float16", embedder=embedder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_folder_that_cannot_be_written(write):
    with pytest.raises(InputError, match=r"^/proc/store cannot be written \(.*another path\.$"):
        write("/proc/store")


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_file_replaced_while_it_is_written_is_noticed(write, tmp_path, how):
    file = tmp_path / "store" / "embeddings.npy"

    def meddle(finished, rows):
        if finished != 10:
            return
        file.unlink()
        if how == "replaced":
            np.save(file, np.zeros((N, 5), np.float32))

    with pytest.raises(
        InputError, match=r"embeddings\.npy was replaced or removed while ntkit was"
    ):
        write(progress=meddle)
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["finished_rows"] == 10
    write(force=True)


# -- damage -----------------------------------------------------------------------------------


def test_a_folder_that_is_no_store(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        assert not EmbeddingStore.is_store(path)
        with pytest.raises(
            InputError, match="is not an embedding store; make one with: ntkit embed"
        ):
            EmbeddingStore.open(path)


SOUND = {"format": 2, "rows": N, "total_rows": N, "first_row": 0, "finished_rows": N,
         "run": {"window": 5}, "part": None}  # fmt: skip
BAD = [
    *({key: value} for key in ("rows", "finished_rows", "run") for value in (None, "many", -1)),
    *({"rows": value} for value in (True, 39, 41, 40.0, [])),
    *({"run": value} for value in ({}, {"window": 0}, {"window": "5"})),
    *({"part": value} for value in (1, [], [1], ["1", "2"])),
    *({"format": value} for value in (None, "2", 0)),
]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000,
     *(json.dumps({**SOUND, **bad}).encode() for bad in BAD)],
)  # fmt: skip
def test_a_damaged_manifest(write, content):
    path = write().path
    (path / "manifest.json").write_bytes(content)
    for attempt in (lambda: EmbeddingStore.open(path), write):
        with pytest.raises(InputError, match=r"manifest\.json is damaged; .*--force"):
            attempt()
    assert write(force=True).X.shape == (N, 5)


def test_stores_of_other_formats(write):
    path = write().path
    old = {"rows": 40, "finished_rows": 40, "shards": ["embeddings-00000.npy"], "format": 1}
    for manifest, said in [
        (old, "was made by an older ntkit; embed again with --force"),
        ({"format": 3}, "was made by a newer ntkit; update ntkit"),
    ]:
        (path / "manifest.json").write_text(json.dumps(manifest))
        for attempt in (lambda: EmbeddingStore.open(path), write):
            with pytest.raises(InputError, match=said):
                attempt()
    assert write(force=True).X.shape == (N, 5)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(["embeddings.npy", "labels.npy"], ["cut", "text", "missing", "empty"]),
        ("embeddings.npy", "longer"),
        ("embeddings.npy", "cube"),
        *product(["head.npz", "groups.npy"], ["cut", "text", "empty"]),
    ],
)
def test_a_damaged_file(write, name, damage):
    path = write().path
    part = path / name
    content = part.read_bytes()
    if damage == "missing":
        part.unlink()
    elif damage == "cube":
        np.save(part, np.zeros((N, 5, 1)))
    else:
        ends = {"cut": content[:-30], "text": b"text", "empty": b"", "longer": content + b"?"}
        part.write_bytes(ends[damage])
    with pytest.raises(InputError, match=r"store is damaged .*embed again with --force"):
        EmbeddingStore.open(path)


@pytest.mark.parametrize("damage", ["cut", "text", "other", "missing"])
def test_a_store_damaged_while_it_was_unfinished_is_not_gone_on_with(write, unfinished, damage):
    file = unfinished / "embeddings.npy"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        np.save(file, np.zeros((N, 6), np.float32))
    else:
        file.write_bytes({"cut": content[:-1], "text": b"text"}[damage])
    with pytest.raises(InputError, match=r"store is damaged .*embed again with --force"):
        write()
    write(force=True)


def test_files_that_do_not_fit_together(write):
    path = write().path
    np.save(path / "labels.npy", np.zeros(N - 1))
    with pytest.raises(InputError, match="40 embeddings, 39 labels, 40 groups, 40 rows announced"):
        EmbeddingStore.open(path)


def test_nothing_to_embed(write, samples, tmp_path):
    with pytest.raises(InputError, match="no samples"):
        write(samples=Samples(samples.X[:0], samples.y[:0]))
    with pytest.raises(InputError, match="39 samples, but 40 labels"):
        write(samples=changed(samples, X=samples.X[:39]))
    with pytest.raises(InputError, match="39 groups, but 40 labels"):
        write(samples=changed(samples, groups=samples.groups[:39]))
    with pytest.raises(InputError, match="checkpoint_rows"):
        write(checkpoint_rows=0)
    assert not Path(tmp_path / "store").exists()


def test_the_manifest_is_plain_json_that_says_what_the_store_is(write):
    manifest = json.loads((write().path / MANIFEST).read_text())
    assert list(manifest) == [
        *("format", "ntkit", "skipped", "preprocessing_source", "model", "tensor"),
        *("preprocessing", "total_rows", "samples", "dtype", "device", "part", "contents", "run"),
        *("first_row", "rows", "finished_rows", "shape", "stored_dtype"),
    ]


@pytest.mark.parametrize(("where", "name"), [(os, "replace"), (os, "fsync")])
@pytest.mark.parametrize("after", [False, True])
def test_ctrl_c_at_any_step_loses_no_row_that_a_later_run_could_start_from(
    zoo, write, monkeypatch, tmp_path, where, name, after
):
    whole = zoo.contents(write("whole").path)

    def pressing(function, at):
        count = 0

        def pressing(*args):
            nonlocal count
            count += 1
            if count == at and not after:
                raise KeyboardInterrupt
            function(*args)
            if count == at and after:
                raise KeyboardInterrupt

        return pressing

    for step in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, pressing(getattr(where, name), step))
            try:
                write(f"store{step}")
            except KeyboardInterrupt:
                pass
            else:
                break
        manifest = tmp_path / f"store{step}" / "manifest.json"
        if manifest.exists() and json.loads(manifest.read_text())["finished_rows"] == N:
            assert zoo.contents(manifest.parent) == whole
            continue
        assert zoo.contents(write(f"store{step}").path) == whole
    assert 5 < step < 30


def test_ctrl_c_between_checkpoints_keeps_whole_windows(write, model, tmp_path):
    def press(finished, rows):
        if finished == 35:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(checkpoint_rows=8192, progress=press)
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert manifest["finished_rows"] == 30
    embedder = Embedder(model)
    write(embedder=embedder)
    assert embedder.started == [(30, 40)]

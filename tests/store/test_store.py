"""EmbeddingStore: what was written comes back, whatever happened in between."""

import errno
import json
import os
import resource
import shutil
import sys
import tracemalloc
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder, _disk
from ntkit.estimators import BalancedClassifier
from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples, read_samples
from ntkit.samples.stored import MANIFEST
from ntkit.store import EmbeddingStore

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


@pytest.fixture(autouse=True)
def without_flushing(monkeypatch):
    """What it does shows after a power failure only."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


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
    return replace(samples, **fields)


# -- what is stored ---------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint_rows", [1, 7, 65536])
def test_what_is_written_comes_back(write, model, samples, checkpoint_rows):
    embedder = OnnxEmbedder(model, device="cpu", batch_size=5)
    store = write(embedder=embedder, checkpoint_rows=checkpoint_rows)
    for found in (store, EmbeddingStore.open(store.path)):
        assert_array_equal(found.X, embedder.transform(samples.X))
        assert_array_equal(found.y, samples.y)
        assert_array_equal(found.groups, samples.groups)
        assert (found.ids, found.head) == (None, model.head)
        wanted = {"model": model.sha256(), "tensor": "z", "rows": N, "finished_rows": N,
                  "shape": [N, 5], "device": "cpu", "skipped": []}  # fmt: skip
        assert found.manifest.items() >= wanted.items()
        assert found.manifest["run"]["batch_size"] == 5
        assert (type(found.X), found.X.mode) == (np.memmap, "r")
    plain = np.load(store.path / "embeddings.npy", mmap_mode="r")  # without ntkit
    assert_array_equal(plain, store.X)
    manifest = json.loads((store.path / MANIFEST).read_text())
    assert list(manifest) == [
        *("format", "ntkit", "skipped", "preprocessing_source", "model", "tensor"),
        *("preprocessing", "total_rows", "samples", "dtype", "device", "part", "contents", "run"),
        *("first_row", "rows", "finished_rows", "shape", "stored_dtype"),
    ]
    files = {"embeddings.npy", "labels.npy", "groups.npy", "head.npz", "manifest.json"}
    assert {p.name for p in store.path.iterdir()} == files
    fewer = write("fewer", samples=changed(samples, groups=None, y=np.arange(N) % 7))
    assert {p.name for p in fewer.path.iterdir()} == files - {"groups.npy", "head.npz"}


def giving(model, batches):
    """An embedder that gives these batches, a list or a function of start and stop."""
    embedder = Embedder(model)
    give = batches if callable(batches) else lambda start, stop: batches
    embedder.iter_batches = lambda X, start, stop, settings: iter(give(start, stop))
    return embedder


def peak_of(call):
    """The result of a call, and the memory that it took at most."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_scikit_learn_fits_the_map_without_a_copy(write, model, rng):
    n, width = 10_000, 64
    y = np.arange(n) % 2
    Z = (rng.normal(size=(n, width)) + y[:, None] / 4).astype(np.float32)
    store = write(samples=Samples(np.zeros((n, 2)), y), embedder=giving(model, [Z]))
    assert store.X.dtype == np.float32
    clf, peak = peak_of(lambda: BalancedClassifier().fit(store.X, store.y))
    assert peak < store.X.nbytes / 2
    assert clf.score(store.X, store.y) > 0.8


def test_memory_stays_flat_while_writing(write, model):
    n, width = 50_000, 256  # 51 MB
    wide = giving(
        model, lambda *rows: (np.full((500, width), i, np.float32) for i in range(*rows, 500))
    )
    samples = Samples(np.broadcast_to(np.zeros((1, 2)), (n, 2)), np.zeros(n, dtype=int))
    store, peak = peak_of(lambda: write(samples=samples, embedder=wide, checkpoint_rows=8192))
    assert peak < 8e6
    assert_array_equal(store.X[::500, 0], np.arange(0, n, 500))


def test_labels_of_any_plain_kind(zoo, embedder, tmp_path):
    X = zoo.inputs(N)
    for labels in (["a", "b"], np.asarray(["a", "b"], object), [True, False], ["b", "a", "c"]):
        y = np.asarray(labels)[np.arange(N) % len(labels)]
        samples = Samples(X, y, groups=y)
        store = EmbeddingStore.write(tmp_path / "s", embedder, samples, force=True)
        assert store.y.tolist() == store.groups.tolist() == y.tolist()
        if len(labels) == K:  # the model has three classes and does not name them
            assert store.head.classes.tolist() == ["a", "b", "c"]
        else:
            assert store.head is None


def test_names_of_samples_and_of_files_left_out(model, tmp_path):
    names = ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    root = tmp_path / "images"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    X = ImageFiles([root / name for name in names], ImagePreprocessing())
    skipped = (root / "dog/bad.png", tmp_path / "else.png")
    samples = Samples(X, np.arange(3), skipped=skipped, ids=np.asarray(names))
    embedder = giving(model, [np.zeros((3, 2), "f")])
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


def test_checkpoints_are_at_the_end_of_a_window(write, model, tmp_path):
    known, told = [], []

    def look(*rows):
        told.append(rows)
        known.append(finished(tmp_path / "rare"))

    def press(finished, rows):
        if finished == 35:
            raise KeyboardInterrupt

    write("rare", progress=look, checkpoint_rows=15)
    assert known == [0, 0, 0, 20, 20, 20, 20, 40]
    assert told == [(rows, 40) for rows in range(5, 41, 5)]
    with pytest.raises(KeyboardInterrupt):  # Ctrl+C between checkpoints keeps whole windows
        write(checkpoint_rows=8192, progress=press)
    assert finished(tmp_path / "store") == 30
    embedder = Embedder(model)
    write(embedder=embedder)
    assert embedder.started == [(30, 40)]


def finished(store):
    return json.loads((store / "manifest.json").read_text())["finished_rows"]


# -- interruptions ----------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True])
def test_stopped_at_any_rename_it_resumes_and_ends_bit_identical(
    zoo, write, monkeypatch, tmp_path, after
):
    """The process ends before or after it; other steps are in test_store_kills."""
    whole, replace = zoo.contents(write("whole").path), os.replace
    for stop in range(100):
        count = 0

        def stopping(*args, stop=stop):
            nonlocal count
            count += 1
            if count == stop + 1 and not after:
                raise Killed
            replace(*args)
            if count == stop + 1 and after:
                raise Killed

        store = tmp_path / f"store{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopping)
            try:
                write(store.name)
            except Killed:
                pass
            else:
                break
        begun = (store / "manifest.json").exists()
        if not begun or finished(store) < N:
            if begun:
                with pytest.raises(InputError, match=f"of {N} rows; run the same ntkit command"):
                    EmbeddingStore.open(store)
            write(store.name)
        assert zoo.contents(store) == whole
    assert 5 <= stop < 30


def dying(embedder, batches):
    """The embedder, but it dies instead of giving a batch."""

    def die(i):
        if i == batches:
            raise Killed

    return meddled(embedder, die)


def meddled(embedder, call):
    """The embedder, but before it gives a batch it calls a function with its number."""
    whole = embedder.iter_batches

    def batches(*args, **kwargs):
        for i, batch in enumerate(whole(*args, **kwargs)):
            call(i)
            yield batch

    embedder.iter_batches = batches
    return embedder


@pytest.fixture
def unfinished(write, model, tmp_path):
    with pytest.raises(Killed):
        write(embedder=dying(Embedder(model), 5))
    return tmp_path / "store"


def test_only_what_is_missing_is_computed_again_in_the_same_batches(write, model, unfinished, zoo):
    later = Embedder(model, batch_size=7, window=7)
    write(embedder=later)
    assert later.started == [(20, 40)]
    assert zoo.contents(unfinished) == zoo.contents(write("whole").path)


@pytest.fixture
def not_mixed_in(write, samples, model, zoo, tmp_path):
    """Other samples or settings are refused for a store, which stays as it is."""
    graph = zoo.body(seed=7)
    graph.output(graph.write("logits = Gemm(z, np.ones((5, 3)))"), ["batch", K])
    other = FrozenModel.load(zoo.save(graph.model(), tmp_path / "o.onnx"))
    tensor, gpu = FrozenModel.load(tmp_path / "m.onnx", embedding="h"), Embedder(model)
    gpu.device_ = "cuda"
    fewer = {"X": samples.X[:30], "y": samples.y[:30], "groups": None}
    others = [
        ("another preprocessing", {"preprocessing": {"input": "y"}}, {}),
        ("another total_rows", fewer, {}),
        ("another samples", {"y": samples.y[::-1].copy()}, {}),
        ("another samples", {"groups": None}, {}),
        (r"another dtype \(None, now 'float16'\)", {}, {"dtype": "float16"}),
        (r"another part \(None, now \[1, 2\]\)", {}, {"part": (1, 2)}),
        (r"another device \('cpu', now 'cuda'\)", {}, {"embedder": gpu}),
        ("another model", {}, {"embedder": Embedder(other)}),
        (r"another tensor \('z', now 'h'\)", {}, {"embedder": Embedder(tensor)}),
    ]
    for row in (0, 7, 19):
        X = samples.X.copy()
        X[row] += 1
        others.append((r"Contents of the samples changed .* \d+ rows", {"X": X}, {}))

    def check(path):
        before = zoo.contents(path)
        for words, fields, options in others:
            with pytest.raises(InputError, match=f"{words}.*--force"):
                write(samples=changed(samples, **fields), **options)
        assert zoo.contents(path) == before

    return check


def test_what_differs_is_not_mixed_in(not_mixed_in, write, samples, unfinished, zoo):
    not_mixed_in(unfinished)
    with pytest.raises(InputError, match="has 20 of 40 rows"):
        read_samples(unfinished)
    X = samples.X.copy()
    X[[20, N - 1]] += 1  # rows whose turn has not come
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


def test_stores_of_an_older_ntkit_that_did_not_record_contents(write, samples, unfinished):
    for path, words in (
        (unfinished, r"begun by an older ntkit, .*again with --force\.$"),
        (write("whole").path, "is finished already"),
    ):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["contents"]
        (path / "manifest.json").write_text(json.dumps({**manifest, "samples": "another digest"}))
        with pytest.raises(InputError, match=words):
            write(path.name)
    assert_array_equal(read_samples(path).y, samples.y)


def test_embedders_samples_and_settings_that_are_refused(write, samples, model, tmp_path):
    def of(*shapes):
        return {"embedder": giving(model, [np.zeros(shape, np.float32) for shape in shapes])}

    large = Embedder(model, scale=2000.0)  # row 33 holds 66000
    huge = Embedder(model, scale=1e38, dtype=np.float64)
    for number, (options, words) in enumerate([
        (of((30, 5)), "stopped at row 30 of 40"),
        (of((30, 5), (20, 5)), "returned more than 40 rows"),
        (of((30, 5), (10, 6)), "From row 30 on, there are 6 neurons in float32 inst"),
        ({"embedder": large, "dtype": "float16"},
         r"Row 33 has 66000, more than the 65504 .*pass --dtype float32"),
        ({"embedder": huge, "dtype": "float32"}, r"Row 0 has 5e\+38, .* leave out --dtype"),
        ({"dtype": "int8"}, "dtype must be float16 or float32, not 'int8'"),
        ({"samples": Samples(samples.X[:0], samples.y[:0])}, "no samples"),
        ({"samples": changed(samples, X=samples.X[:39])}, "39 samples, but 40 labels"),
        ({"samples": changed(samples, groups=samples.groups[:39])}, "39 groups, but 40 labels"),
        ({"checkpoint_rows": 0}, "checkpoint_rows"),
    ]):  # fmt: skip
        with pytest.raises(InputError, match=words):
            write(f"{number}", **options)
    assert not [path for path in tmp_path.iterdir() if path.name > "4" and path.is_dir()]


# -- a second writer --------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("at", [0, 3])
def test_a_second_writer_is_refused_and_disturbs_nothing(write, model, zoo, force, at):
    whole = zoo.contents(write("whole").path)

    def meanwhile(i):
        if i == at:
            with pytest.raises(InputError, match=r"Another process is writing .*store;"):
                write(force=force)

    assert zoo.contents(write(embedder=meddled(Embedder(model), meanwhile)).path) == whole


def test_writers_that_are_quicker(write, zoo, tmp_path, monkeypatch):
    whole = zoo.contents(write("whole").path)
    lock, calls = _disk._lock, []

    def late(file):
        calls.append(file)
        if len(calls) == 1:  # replaced before it was locked: it is opened again
            (tmp_path / "store" / "embeddings.npy").unlink()
        if len(calls) == 4:  # while the old file was replaced
            raise InputError("Another process is writing.")
        lock(file)

    monkeypatch.setattr(_disk, "_lock", late)
    assert zoo.contents(write().path) == whole
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


def test_a_finished_store_is_kept_without_force(write, not_mixed_in, samples, embedder):
    write()
    times = len(embedder.started)
    again = write()
    assert len(embedder.started) == times
    assert_array_equal(again.y, samples.y)
    not_mixed_in(again.path)


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


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"labels.npy": "precious"},
        {"embeddings.npy": "precious"},
        {"manifest.json": '{"name": "a web page", "icons": []}', "labels.npy": "of its own"},
        {"manifest.json": "{", "thesis.txt": "precious"},
        None,
    ],
)
def test_files_of_others_are_never_touched(write, zoo, tmp_path, files, force):
    if files is None:
        (tmp_path / "store").write_text("precious")
    else:
        write()
        for name, content in files.items():
            (tmp_path / "store" / name).write_text(content)
        if "manifest.json" not in files:
            (tmp_path / "store" / "manifest.json").unlink()
    before = zoo.contents(tmp_path)
    with pytest.raises(InputError, match="exists and is not an embedding store"):
        write(force=force)
    assert zoo.contents(tmp_path) == before


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


# -- the disk ---------------------------------------------------------------------------------


def test_a_limit_on_file_sizes_is_a_full_disk(write, zoo):
    whole = zoo.contents(write("whole").path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (350, limits[1]))

    words = r"not enough disk space for .*store \(File too large"
    for before, options in ((limit, {"force": True}), (lambda: None, {"progress": limit})):
        try:
            before()
            with pytest.raises(InputError, match=words):
                write(**options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert zoo.contents(write().path) == whole


def test_no_room_is_found_before_the_work(write, model, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=N * 5 * 4 - 1))
    embedder = Embedder(model)
    words = r"not enough disk space for .*: it needs about 800 bytes, and 799 b"
    with pytest.raises(InputError, match=words):
        write(embedder=embedder)
    assert not embedder.started
    assert not (tmp_path / "store").exists()
    write(dtype="float16", embedder=embedder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_folder_that_cannot_be_written(write):
    with pytest.raises(InputError, match=r"^/proc/store cannot be written \(.*another path\.$"):
        write("/proc/store")


def test_a_file_replaced_while_it_is_written_is_noticed(write, tmp_path):
    file = tmp_path / "store" / "embeddings.npy"
    for replaced in (True, False):

        def meddle(finished, rows, replaced=replaced):
            if finished == 10:
                file.unlink()
                if replaced:
                    np.save(file, np.zeros((N, 5), np.float32))

        with pytest.raises(InputError, match=r"embeddings\.npy was replaced or removed while"):
            write(progress=meddle, force=True)
        assert finished(tmp_path / "store") == 10
    write(force=True)


# -- damage -----------------------------------------------------------------------------------


SOUND = {"format": 2, "rows": N, "total_rows": N, "first_row": 0, "finished_rows": N,
         "run": {"window": 5}, "part": None}  # fmt: skip
BAD = [
    *({key: value} for key in ("rows", "finished_rows", "run") for value in (None, "many", -1)),
    *({"rows": value} for value in (True, 39, 41, 40.0, [])),
    *({"run": value} for value in ({}, {"window": 0}, {"window": "5"})),
    *({"part": value} for value in (1, [], [1], ["1", "2"])),
    *({"format": value} for value in (None, "2", 0)),
]


def test_a_manifest_that_is_damaged_or_of_another_version(write, tmp_path):
    path = write().path
    old = {"rows": 40, "finished_rows": 40, "shards": ["embeddings-00000.npy"], "format": 1}
    damaged = [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000]
    damaged += [json.dumps({**SOUND, **bad}).encode() for bad in BAD]
    for content, words in [
        *((content, r"manifest\.json is damaged; .*--force") for content in damaged),
        (json.dumps(old).encode(), "was made by an older ntkit; embed again with --force"),
        (b'{"format": 3}', "was made by a newer ntkit; update ntkit"),
    ]:
        (path / "manifest.json").write_bytes(content)
        for attempt in (lambda: EmbeddingStore.open(path), write):
            with pytest.raises(InputError, match=words):
                attempt()
    assert write(force=True).X.shape == (N, 5)
    for other in (tmp_path, tmp_path / "nothing"):
        assert not EmbeddingStore.is_store(other)
        with pytest.raises(InputError, match="not an embedding store; make one with: ntkit embed"):
            EmbeddingStore.open(other)


DAMAGE = [
    *product(["embeddings.npy", "labels.npy"], ["cut", "text", "missing", "empty"]),
    *product(["embeddings.npy"], ["longer", "cube"]),
    *product(["head.npz", "groups.npy"], ["cut", "text", "empty"]),
]


def test_a_damaged_file(write):
    path = write().path
    for name, damage in DAMAGE:
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
        part.write_bytes(content)
    np.save(path / "labels.npy", np.zeros(N - 1))
    with pytest.raises(InputError, match="40 embeddings, 39 labels, 40 groups, 40 rows announced"):
        EmbeddingStore.open(path)


def test_a_store_damaged_while_it_was_unfinished_is_not_gone_on_with(write, unfinished):
    file = unfinished / "embeddings.npy"
    content = file.read_bytes()
    np.save(file, np.zeros((N, 6), np.float32))
    for damaged in (content[:-1], b"text", file.read_bytes(), None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"store is damaged .*embed again with --force"):
            write()
    write(force=True)

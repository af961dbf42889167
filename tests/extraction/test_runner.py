"""Batches are prepared ahead, run in order, and come out as if run at once."""

import threading
import time
from itertools import product
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from numpy.testing import assert_array_equal

from ntkit import OnnxEmbedder
from ntkit.exceptions import DeviceError, InputError
from ntkit.extraction import runner as _runner
from ntkit.extraction.runner import run_batches
from ntkit.extraction.session import make_session


class FakeSession:
    """Doubles its input; remembers how many rows it was fed, and in which thread."""

    def __init__(self, shape=("n", 2), memory=10**9, compute=None, message="std::bad_alloc"):
        self.specs = [SimpleNamespace(name="x", shape=shape, type="tensor(float)")]
        self.memory, self.message, self.fed, self.threads = memory, message, [], set()
        self.compute = compute or self.compute

    def get_inputs(self):
        return self.specs

    def run(self, names, feed):
        (x, *_) = feed.values()
        self.fed.append(len(x))
        self.threads.add(threading.current_thread())
        if len(x) > self.memory:
            raise RuntimeError(self.message)
        return [self.compute(x)]

    def compute(self, x):
        return 2 * x.reshape(len(x), -1)


class Lazy:
    """Rows made on demand; remembers which slices were asked for, and fails where told to."""

    def __init__(self, X, bad=(), mapping=False, delay=0.0):
        self.X, self.bad, self.mapping, self.delay = X, bad, mapping, delay
        self.asked, self.threads = [], set()

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        time.sleep(self.delay)
        self.asked.append((rows.start, rows.stop))
        self.threads.add(threading.current_thread())
        for row in range(rows.start, rows.stop):
            if row in self.bad:
                raise InputError(f"row {row} is broken.")
        return {"x": self.X[rows], "unused": None} if self.mapping else self.X[rows]


class Words:
    """Rows of various lengths, padded with zeros per batch."""

    def __init__(self, n_samples):
        rng = np.random.default_rng(0)
        self.rows = [np.full(n, i + 1.0) for i, n in enumerate(rng.integers(1, 30, n_samples))]
        self.windows, self.batches = [], []

    def __len__(self):
        return len(self.rows)

    def window(self, start, stop):
        self.windows.append((start, stop))
        rows = self.rows[start:stop]
        lengths = np.array([len(row) for row in rows])

        def batch(indices):
            padded = np.zeros((len(indices), lengths[indices].max()))
            for i, j in enumerate(indices):
                padded[i, : lengths[j]] = rows[j]
            self.batches.append(padded.shape)
            return {"x": padded, "unused": np.zeros(1)}

        return SimpleNamespace(lengths=lengths, batch=batch)


class SumSession(FakeSession):
    def __init__(self, **options):
        super().__init__(shape=("n", "length"), **options)

    def compute(self, x):
        return x.sum(axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(_runner, "cpu_count", lambda: 2)


X = np.arange(200, dtype=np.float32).reshape(100, 2)


def together(batches):
    return np.concatenate([outputs[0] for outputs in batches])


def prepare_threads():
    return [t for t in threading.enumerate() if t.name.startswith("ntkit-prepare")]


KINDS = {
    "array": lambda: X,
    "list": X.tolist,
    "mapping": lambda: {"x": X},
    "lazy": lambda: Lazy(X),
    "lazy mapping": lambda: Lazy(X, mapping=True),
    "mapping of lazy": lambda: {"x": Lazy(X)},
    "windowed": lambda: Words(100),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_in_order_whatever_holds_them(kind):
    windowed, make = kind == "windowed", KINDS[kind]
    session = SumSession() if windowed else FakeSession()
    wanted = [[row.sum()] for row in Words(100).rows] if windowed else 2 * X
    for batch_size, streams in product((1, 7, 100, 1000), (1, 2, 8)):
        batches = list(run_batches(session, make(), batch_size=batch_size, streams=streams))
        assert_array_equal(together(batches), wanted)
        assert windowed or {len(b[0]) for b in batches[:-1]} <= {batch_size}
    assert not prepare_threads()
    run = {"batch_size": 8, "window": 32 if windowed else None}
    whole = together(run_batches(session, make(), **run))
    for start, stop in product((0, 1, 32, 99, 100, 120), (None, 1, 64, 99, 500)):
        parts = [o for (o,) in run_batches(session, make(), start=start, stop=stop, **run)]
        assert_array_equal(np.concatenate([whole[:0], *parts]), whole[start:stop])


@pytest.mark.parametrize("streams", [1, 4])
def test_an_error_comes_out_after_all_that_was_before_it(streams):
    batches = run_batches(FakeSession(), Lazy(X, bad=[57]), batch_size=10, streams=streams)
    before = [next(batches)[0] for _ in range(5)]
    assert_array_equal(np.concatenate(before), 2 * X[:50])
    with pytest.raises(InputError, match=r"row 57 is broken"):
        next(batches)
    assert not prepare_threads()


def test_a_memory_map_is_read_ahead_and_an_array_needs_no_thread(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", X)
    session, seen = FakeSession(), []
    session.compute = lambda x: seen.append(isinstance(x.base, np.memmap)) or x
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(together(run_batches(session, mapped, batch_size=30)), X)
    assert seen == [False] * 4
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("started a thread"))
    assert_array_equal(together(run_batches(FakeSession(), {"x": X}, batch_size=7)), 2 * X)


def test_batches_are_cut_where_one_run_cuts_them_and_prepared_once_and_not_far_ahead():
    lazy = Lazy(X)
    parts = list(run_batches(FakeSession(), lazy, batch_size=30, start=40, stop=70))
    assert sorted(lazy.asked) == [(30, 60), (60, 90)]
    assert [len(o) for (o,) in parts] == [20, 10]
    lazy = Lazy(X)
    batches = run_batches(FakeSession(), lazy, batch_size=1)
    next(batches)
    time.sleep(0.05)
    assert len(lazy.asked) <= 12
    list(batches)
    assert sorted(lazy.asked) == [(i, i + 1) for i in range(100)]


def test_a_single_core_prepares_and_runs_in_turn_unless_a_gpu_runs(monkeypatch):
    monkeypatch.setattr(_runner, "cpu_count", lambda: 1)
    for on_gpu in (False, True):
        lazy = Lazy(X)
        list(run_batches(FakeSession(), lazy, batch_size=10, on_gpu=on_gpu))
        assert (threading.current_thread() in lazy.threads) is not on_gpu


@pytest.mark.parametrize("end", ["closed", "exhausted", "failed", "forgotten"])
def test_no_thread_is_left_behind(end):
    lazy = Lazy(X, bad=[40] if end == "failed" else (), delay=0.002)
    batches = run_batches(FakeSession(), lazy, batch_size=5)
    next(batches)
    assert prepare_threads()
    if end == "closed":
        batches.close()
    elif end == "forgotten":
        del batches
    elif end == "failed":
        with pytest.raises(InputError):
            list(batches)
    else:
        list(batches)
    assert not prepare_threads()


def test_batches_run_at_a_time_and_no_more():
    session, running, most, full = FakeSession(), set(), [], threading.Event()

    def compute(x):
        running.add(x[0, 0])
        most.append(len(running))
        if most[-1] == 3:
            full.set()
        assert full.wait(60)  # the first batches wait for each other
        running.discard(x[0, 0])
        return 2 * x

    session.compute = compute
    assert_array_equal(together(run_batches(session, Lazy(X), batch_size=5, streams=3)), 2 * X)
    assert max(most) == 3
    assert threading.current_thread() not in session.threads


def test_the_number_of_cores_does_not_change_a_bit(zoo, model):
    one = OnnxEmbedder(model, device="cpu", threads=1).transform(zoo.inputs(203))
    for threads in (2, 5):
        many = OnnxEmbedder(model, device="cpu", threads=threads).transform(zoo.inputs(203))
        assert_array_equal(one, many)


# -- sorted by length -------------------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [1, 15, 16, 33, 200])
def test_windows_are_sorted_by_length_and_given_back_in_order(n_samples):
    words, session = Words(n_samples), SumSession()
    outputs = list(run_batches(session, words, batch_size=4, window=16))
    assert together(outputs)[:, 0].tolist() == [row.sum() for row in words.rows]
    assert sorted(words.windows) == [(i, min(i + 16, n_samples)) for i in range(0, n_samples, 16)]
    assert [len(o) for (o,) in outputs[:-1]] == [16] * ((n_samples - 1) // 16)


def test_sorting_saves_padding():
    words = Words(1024)
    list(run_batches(SumSession(), words, batch_size=8))
    computed = sum(rows * length for rows, length in words.batches)
    needed = sum(map(len, words.rows))
    assert computed < 1.05 * needed
    assert len(words.windows) == 2  # of 64 batches each
    lengths = [length for _, length in words.batches[:64]]  # the longest first
    assert (max(lengths[:3]), min(lengths[-3:])) == (max(lengths), min(lengths))


# -- memory and the GPU -----------------------------------------------------------------------


def test_a_batch_that_does_not_fit_in_memory_is_halved():
    for message in (
        "Failed to allocate memory for requested buffer of size 12",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "Available memory of 0 is smaller than requested bytes of 4096",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ):
        session = FakeSession(memory=5, message=message)
        with pytest.warns(RuntimeWarning, match="Memory ran out on samples 0 to 15") as caught:
            outputs = together(run_batches(session, Lazy(X[:40]), batch_size=16))
        assert_array_equal(outputs, 2 * X[:40])
        assert session.fed == [16, 8, *[4] * 10]
        assert [str(w.message).rsplit(" ", 1)[1] for w in caught] == ["8.", "4."]


class Short(Lazy):
    def __getitem__(self, rows):
        return self.X[rows][:-1]


@pytest.mark.parametrize(
    ("session", "samples", "error", "words"),
    [
        (FakeSession(memory=0), X, DeviceError, r"batch of 1, the smallest.*device='cpu'"),
        (FakeSession(shape=(4, 2), memory=3), X, DeviceError, "batch of 4, the smallest"),
        (FakeSession(compute=lambda x: [][0]), X, InputError, "failed on samples 0 to 3: list ind"),
        (SumSession(compute=lambda x: x), Words(30), InputError,
         r"cannot be joined.*--embedding NAME"),
        (FakeSession(), Short(X), InputError,
         "gave 3 rows for the model's input 'x' instead of 4"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Memory ran out")
def test_what_cannot_be_run_is_an_error(session, samples, error, words):
    with pytest.raises(error, match=words):
        list(run_batches(session, samples, batch_size=4))
    if words.startswith("failed"):  # which is not taken for lack of memory
        assert session.fed == [4]


@pytest.mark.parametrize("n_samples", [1, 8, 20])
def test_a_gpu_sees_one_shape_only(n_samples):
    session = FakeSession()
    outputs = together(run_batches(session, X[:n_samples], batch_size=8, on_gpu=True))
    assert_array_equal(outputs, 2 * X[:n_samples])
    assert set(session.fed) == {8}
    halved = FakeSession(memory=4)
    with pytest.warns(RuntimeWarning, match="batch size of 4"):
        outputs = together(run_batches(halved, X[:n_samples], batch_size=8, on_gpu=True))
    assert_array_equal(outputs, 2 * X[:n_samples])
    assert {*halved.fed[1:]} == {4}


class GpuSession(FakeSession):
    """Runs a model in ONNX Runtime, on values that were put where a GPU would have them."""

    def __init__(self, model):
        super().__init__()
        self.real = make_session(model.body().SerializeToString(), device="cpu")
        self.get_inputs = self.real.get_inputs

    def get_provider_options(self):
        return {"CUDAExecutionProvider": {"device_id": "1"}}

    def run_with_ort_values(self, names, values):
        (x, *_) = values.values()
        self.fed.append(x.shape()[0])
        return self.real.run_with_ort_values(names, values)

    def run(self, names, feed):
        pytest.fail("the batch was not sent ahead")


def test_a_gpu_gets_its_batches_ahead(zoo, model, monkeypatch):
    """Here its values lie in the CPU's memory, the only one there is."""
    session, send, places = GpuSession(model), onnxruntime.OrtValue.ortvalue_from_numpy, []

    def put(array, device, device_id):
        places.append((device, device_id, threading.current_thread().name))
        return send(array)

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", put)
    for n_samples in (1, 16, 37):
        samples = zoo.inputs(n_samples)
        outputs = together(run_batches(session, samples, batch_size=8, on_gpu=True))
        assert_array_equal(outputs, together(run_batches(session.real, samples, batch_size=8)))
    assert set(session.fed) == {8}
    assert {place[:2] for place in places} == {("cuda", 1)}
    assert all(name.startswith("ntkit-prepare") for *_, name in places)

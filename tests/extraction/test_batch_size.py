"""batch_size="auto" takes what is fastest here, for a few seconds, once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from ntkit import OnnxEmbedder
from ntkit.extraction import _embedder, _runner
from ntkit.extraction._runner import BATCH_SIZES, fastest


class Machine:
    """A clock that only running moves, by ``seconds(batch_size)``."""

    def __init__(self, seconds):
        self.seconds, self.now, self.runs = seconds, 0.0, []

    def run(self, batch_size):
        self.runs.append(batch_size)
        taken = self.seconds(batch_size)
        if taken is None:
            raise RuntimeError("out of memory")
        self.now += taken

    def fastest(self, **options):
        return fastest(self.run, clock=lambda: self.now, **options)


def test_the_fastest_size_is_taken_though_a_moment_was_slow_and_in_seconds():
    moment = iter([1.0, 1.0, 1.0, 50.0])
    for seconds, size in [
        (lambda size: 1e-3 + 1e-4 * size, 256),  # a cost per run
        (lambda size: 1e-4 * size * (1 + size / 20), 1),  # caches too small
        (lambda size: 1e-4 * size * (1 + abs(np.log2(size / 32))), 32),
        # of equally fast sizes the smallest
        (lambda size: 1e-4 * size, 1),
        (lambda size: 1e-4 * size * (1.019 if size == 1 else 1.0), 1),
        (lambda size: 1e-4 * size * (1.05 if size == 1 else 1.0), 2),
        # a size that does not run
        (lambda size: None if size > 32 else 1e-3 + 1e-4 * size, 32),
        (lambda size: None, 1),
        (lambda size: (1e-3 + 1e-4 * size) * next(moment, 1.0), 256),
    ]:
        assert Machine(seconds).fastest() == size
    for per_row in (1e-6, 1e-4, 1e-2, 0.05, 1.0, 5.0):
        machine = Machine(lambda size, per_row=per_row: per_row * size)
        machine.fastest(seconds=3.0)
        assert machine.now <= max(3.0, per_row)


# -- the embedder -----------------------------------------------------------------------------


@pytest.fixture
def tried(monkeypatch):
    """What was to be timed; the answer is batch 16."""
    calls = []

    def fake(run, batch_sizes):
        calls.append(list(batch_sizes))
        for size in batch_sizes:
            run(size)
        return 16

    monkeypatch.setattr(_embedder, "fastest", fake)
    monkeypatch.setattr(_embedder, "available_cpus", lambda: 2)
    return calls


def test_the_embedder_runs_what_was_found(zoo, model, tried):
    X, embedder = zoo.inputs(300), OnnxEmbedder(model, device="cpu", batch_size="auto")
    assert embedder.settings(X) == {"batch_size": 16, "window": 16}
    assert tried == [list(BATCH_SIZES[:-1])]  # one batch of 256 would leave a core idle
    assert [len(batch) for batch in embedder.iter_batches(X)] == [16] * 18 + [12]
    wanted = OnnxEmbedder(model, device="cpu").transform(X)
    assert_allclose(embedder.transform(X), wanted, rtol=1e-6, atol=1e-7)


def test_it_is_timed_once_per_shape(zoo, model, tried):
    embedder = OnnxEmbedder(model, device="cpu", batch_size="auto")
    for n_samples in (300, 200, 300):
        embedder.transform(zoo.inputs(n_samples))
    assert len(tried) == 1
    embedder.set_params(threads=1).transform(zoo.inputs(300))
    assert tried[1:] == [list(BATCH_SIZES)]
    clone(embedder).transform(zoo.inputs(300))
    assert len(tried) == 3


def test_no_larger_batch_than_samples_and_memory_allow_is_timed(zoo, model, tried, monkeypatch):
    for n_samples in (40, 3, 0):
        embedder = OnnxEmbedder(model, device="cpu", batch_size="auto")
        assert embedder.transform(zoo.inputs(40)[:n_samples]).shape == (n_samples, 5)
    monkeypatch.setattr(_runner, "_LARGEST_BATCH", 100 * zoo.inputs(1).nbytes)
    OnnxEmbedder(model, device="cpu", batch_size="auto").transform(zoo.inputs(300))
    assert tried == [[1, 2, 4, 8, 16], [1], [1, 2, 4, 8, 16, 32, 64]]


def test_settings_carry_a_job_on_to_the_same_bytes(zoo, model):
    X = zoo.inputs(30)
    first = OnnxEmbedder(model, device="cpu", batch_size=8, threads=1)
    settings, whole = first.settings(X), first.transform(X)
    later = OnnxEmbedder(model, device="cpu", batch_size="auto")  # would choose by itself
    for n_done in (0, 8, 16, 24):
        rest = list(later.iter_batches(X, n_done, settings=settings))
        assert_array_equal(np.concatenate(rest), whole[n_done:])

"""Embeddings that are mapped stay on disk: no set of them is copied into memory."""

import shutil
import tracemalloc

import numpy as np
import pytest
from sklearn import config_context

from ntkit.exceptions import InputError
from ntkit.jobs.debias import _comparison
from ntkit.jobs.debias._candidates import CANDIDATES, LabelledEmbeddings
from ntkit.jobs.debias._comparison import Comparison


def sets(folder, sizes, width=64):
    """The same sets in memory and mapped."""
    rng, found = np.random.default_rng(0), []
    for i, n in enumerate(sizes):
        y = rng.integers(0, 2, n)
        a = np.where(rng.random(n) < 0.9, y, 1 - y)
        Z = rng.normal(size=(n, width)).astype(np.float32)
        Z[:, 0] += 2 * y
        Z[:, 1] += 3 * a
        np.save(folder / f"{i}.npy", Z)
        mapped = np.load(folder / f"{i}.npy", mmap_mode="r")
        found.append((LabelledEmbeddings(Z, y), LabelledEmbeddings(mapped, y)))
    return tuple(zip(*found, strict=True))


def test_mapped_embeddings_are_compared_as_others_are(tmp_path, monkeypatch):
    monkeypatch.setattr(_comparison, "LARGE", 0)
    of_memory, of_files = (
        Comparison(*parts, None, head=None) for parts in sets(tmp_path, (600, 200))
    )
    assert np.array_equal(of_memory.train.Z, of_files.train.Z)
    for name in ("class-balanced-both", "auto"):
        one, other = (c.fit(CANDIDATES[name])[0].head_ for c in (of_memory, of_files))
        assert np.allclose(one.coef, other.coef, atol=1e-4)


def test_standardising_what_is_mapped_takes_no_memory_for_it(tmp_path):
    of_memory, mapped = sets(tmp_path, (40_000, 8_000), width=256)
    size = sum(part.Z.nbytes for part in mapped)

    def peak(parts):
        tracemalloc.start()
        with config_context(working_memory=1):
            Comparison(*parts, None, head=None, C=1e-3)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(mapped) < peak(of_memory) - 0.7 * size


def test_no_room_for_the_scratch_file_is_said(tmp_path, monkeypatch):
    _, mapped = sets(tmp_path, (100, 50))
    monkeypatch.setattr(_comparison, "LARGE", 0)
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(InputError, match="not enough disk space"):
        Comparison(*mapped, None, head=None)

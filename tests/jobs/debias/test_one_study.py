"""All candidates share one study: nothing is fitted twice, and mapped embeddings stay on disk."""

import shutil
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from sklearn import config_context

import ntkit.estimators._base
import ntkit.study
from ntkit import debias
from ntkit.estimators import AutoDebiasClassifier, BalancedClassifier, HeadClassifier
from ntkit.exceptions import InputError
from ntkit.jobs.debias._candidates import CANDIDATES
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._pool import Pool
from ntkit.study import Rows, Study, digest
from tests.jobs.debias.conftest import DIGITS

BATCH = ntkit.study.fit_linear_heads
SINGLE = ntkit.estimators._base.fit_linear_head


@pytest.fixture
def fits(monkeypatch):
    """How often each head is fitted."""
    counted = Counter()

    def key(X, weight, C, gains, options):
        share = np.round(C * np.sum(weight), 9)
        return digest(np.asarray(X[::3])), digest(weight), share, digest(gains), options["tol"]

    def many(X, y, weights, *, Cs, gains=None, **options):
        counted.update(key(X, w, C, gains, options) for w, C in zip(weights, Cs, strict=True))
        return BATCH(X, y, weights, Cs=Cs, gains=gains, **options)

    def single(X, y, weight, *, C=1.0, gains=None, **options):
        counted[key(X, weight, C, gains, options)] += 1
        return SINGLE(X, y, weight, C=C, gains=gains, **options)

    monkeypatch.setattr(ntkit.study, "fit_linear_heads", many)
    monkeypatch.setattr(ntkit.estimators._base, "fit_linear_head", single)
    return counted


@pytest.mark.parametrize(("method", "least"), [("auto", 100), (None, 2)])
def test_no_head_is_fitted_twice_in_a_job(fits, sets, method, least):
    debias(DIGITS, *sets[:2], method=method, device="cpu")
    assert len(fits) > least
    assert fits.most_common(1)[0][1] == 1


@pytest.mark.parametrize("clf", [BalancedClassifier(C=0.1), AutoDebiasClassifier(random_state=0)])
def test_a_study_gives_the_head_that_fit_gives(clf):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 8)), np.repeat(["no", "yes"], 200)
    X[200:] += 1
    study = Study(Rows.of(X, y))
    assert isinstance(clf, HeadClassifier)
    shared = clf.fit_study(study).head_
    assert shared == clf.fit(X, y).head_
    assert clf.fit_study(study).predict(X).tolist() == clf.predict(X).tolist()


def mapped_sets(folder, sizes, width=64):
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
        found.append((Rows.of(Z, y), Rows.of(mapped, y)))
    return tuple(zip(*found, strict=True))


def test_mapped_embeddings_are_compared_as_others_are(tmp_path, monkeypatch):
    monkeypatch.setattr(ntkit.study, "LARGE", 0)
    sets = mapped_sets(tmp_path, (600, 200))
    of_memory, of_files = (Comparison(Pool(*parts), None, head=None) for parts in sets)
    assert np.array_equal(of_memory.train.X, of_files.train.X)
    for name in ("class-balanced-both", "auto"):
        one, other = (c.fit(*CANDIDATES[name])[0].head_ for c in (of_memory, of_files))
        assert np.allclose(one.coef, other.coef, atol=1e-4)
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(InputError, match="not enough disk space"):
        Comparison(Pool(*sets[1]), None, head=None)


def test_standardising_what_is_mapped_takes_no_memory_for_it(tmp_path):
    of_memory, mapped = mapped_sets(tmp_path, (40_000, 8_000), width=256)
    size = sum(part.X.nbytes for part in mapped)

    def peak(parts):
        tracemalloc.start()
        with config_context(working_memory=1):
            Comparison(Pool(*parts), None, head=None, C=1e-3)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(mapped) < peak(of_memory) - 0.7 * size

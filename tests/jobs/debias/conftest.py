"""Models, samples and finished repairs that several tests share."""

import warnings

import numpy as np
import pytest

from data_made_up import KINDS, write_samples
from ntkit import debias
from ntkit.datasets import marked_digits_model_path
from ntkit.jobs.debias import _candidates
from tests.cases import ntkit
from tests.jobs.debias.reviews import reviews, write_model, write_table

DIGITS = marked_digits_model_path()


@pytest.fixture(autouse=True)
def few_candidates(request, monkeypatch):
    """Four candidates, except where tests are about the whole table."""
    if request.path.name not in ("test_debias.py", "test_written.py", "test_one_study.py"):
        names = ("class-balanced", "cell-balanced", "neurontune", "auto")
        few = {name: _candidates.CANDIDATES[name] for name in names}
        monkeypatch.setattr(_candidates, "CANDIDATES", few)


@pytest.fixture(scope="session")
def sets(digits):
    """Training, validation and test set of the demo, as arguments of debias."""
    d = digits
    return (
        (d.X_train[:900], d.y_train[:900]),
        (d.X_validation[:600], d.y_validation[:600]),
        (d.X_test, d.y_test, d.groups_test),
    )


@pytest.fixture(scope="session")
def few(sets):
    """Enough for what does not depend on how good a head is."""
    return [tuple(each[:200] for each in part) for part in sets]


@pytest.fixture(scope="session")
def npz(sets, tmp_path_factory):
    """The same sets as files."""
    folder = tmp_path_factory.mktemp("sets")
    for name, part in zip(("train", "validation", "test"), sets, strict=True):
        np.savez(folder / f"{name}.npz", **dict(zip(("X", "y", "groups"), part, strict=False)))
    return folder


@pytest.fixture(scope="session")
def whole(digits, sets):
    """All samples of these sets."""
    d = digits
    return (d.X_train, d.y_train), (d.X_validation, d.y_validation), sets[2]


@pytest.fixture(scope="session")
def asked(whole, tmp_path_factory):
    """Findings on the demo, of which none is answered."""
    out = tmp_path_factory.mktemp("asked") / "out"
    return debias(DIGITS, *whole[:2], out=out, device="cpu")


@pytest.fixture(scope="session")
def by_auto(whole, tmp_path_factory):
    """The demo, repaired by the errors, without group information."""
    out = tmp_path_factory.mktemp("auto") / "out"
    options = {"test": whole[2], "method": "auto", "n_random": 1, "device": "cpu"}
    return debias(DIGITS, *whole[:2], out=out, **options)


@pytest.fixture(scope="session")
def by_change(sets, tmp_path_factory):
    """The demo, repaired by copies with another image's corner."""
    out = tmp_path_factory.mktemp("change") / "out"
    options = {"invariant": "image:top left", "n_random": 1, "device": "cpu"}
    return debias(DIGITS, *sets[:2], out=out, **options)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A model of reviews, two sets with its bias, and metadata of both by id."""
    folder = tmp_path_factory.mktemp("reviews")
    write_model(folder)
    ids, site = [], []
    for name, seed, n in (("train", 1, 900), ("validation", 2, 600)):
        texts, y, film = reviews(seed, n, 0.95)
        own, sites = [f"{name}-{i}" for i in range(n)], np.where(film, "A", "B").tolist()
        write_table(folder / f"{name}.csv", id=own, text=texts, label=y, length=range(n))
        write_table(folder / f"{name}-sites.csv", text=texts, label=y, site=sites)
        ids, site = ids + own, site + sites
    write_table(folder / "sites.csv", id=ids[::-1], site=site[::-1], group=ids)
    return folder


@pytest.fixture(scope="session")
def by_word(files, tmp_path_factory):
    """The reviews, repaired after a person named a word."""
    out = tmp_path_factory.mktemp("word") / "out"
    sets = (files / f"{name}.csv" for name in ("train", "validation"))
    options = {"spurious": "word:film", "n_random": 1, "device": "cpu"}
    return debias(files / "model.onnx", *sets, out=out, **options)


@pytest.fixture(scope="session")
def by_words(files):
    """The same after both words were named, each against the other."""
    sets = (files / f"{name}.csv" for name in ("train", "validation"))
    options = {"spurious": "word:film|word:movie", "n_random": 1, "device": "cpu"}
    return debias(files / "model.onnx", *sets, **options)


def tables(folder, *, model, data, n=1200):
    """Model, training, validation and test files: shares in which the shortcut agrees."""
    kind, rng = KINDS["tables"], np.random.default_rng(0)
    learned = kind.draw("train", n, [model], rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has not converged will do
        kind.train(learned.X, learned.y, 0, folder / "model.onnx")
    parts = [learned if model == data else kind.draw("train", n, [data], rng)]
    parts += [kind.draw("validation", 800, [data], rng), kind.draw("test", 800, [0.5], rng)]
    names = ("train.csv", "val.csv", "test.csv")
    written = [write_samples(s, folder / name) for s, name in zip(parts, names, strict=True)]
    return folder / "model.onnx", *written


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """A model that does not use the shortcut, and data that have it."""
    return tables(tmp_path_factory.mktemp("good"), model=0.5, data=0.92)


@pytest.fixture(scope="session")
def biased(tmp_path_factory):
    """A model that uses the shortcut of its data."""
    return tables(tmp_path_factory.mktemp("biased"), model=0.92, data=0.92)


@pytest.fixture(scope="session")
def found(good, tmp_path_factory):
    """Findings on the good model."""
    return debias(*good[:3], out=tmp_path_factory.mktemp("found") / "out", device="cpu")


@pytest.fixture
def run():
    """Run a command; returns its exit code, output and error output."""
    return ntkit

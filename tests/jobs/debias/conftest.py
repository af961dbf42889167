"""Data, and jobs that run once: each situation is a line, and its tests read its result."""

import warnings

import numpy as np
import pytest

from data_made_up import KINDS, write_samples
from ntkit import FrozenModel, debias, predict
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import TextPreprocessing, Texts
from ntkit.jobs.debias import _candidates
from tests.cases import ntkit, write_csv

DIGITS = marked_digits_model_path()
QUICK = {"device": "cpu"}
ALL = _candidates.CANDIDATES, _candidates.change_candidates
FEW = {n: ALL[0][n] for n in ("class-balanced", "cell-balanced", "neurontune", "auto")}


def offer(patch, candidates, changes):
    patch.setattr(_candidates, "CANDIDATES", candidates)
    patch.setattr(_candidates, "change_candidates", changes)


def few_changes(**options):
    """With one share of suppressed neurons."""
    return {n: row for n, row in ALL[1](**options).items() if n[-3:] not in ("-30", "-70")}


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    """Except where a test is about the whole table."""
    offer(monkeypatch, FEW, few_changes)


@pytest.fixture
def all_candidates(monkeypatch):
    offer(monkeypatch, *ALL)


@pytest.fixture
def run():
    """Run a command; returns its exit code, output and error output."""
    return ntkit


# -- data: train, validation and test set, perhaps after a model ----------------------------------


@pytest.fixture(scope="session")
def whole(digits):
    """All samples of the demo."""
    d = digits
    sets = (d.X_train, d.y_train), (d.X_validation, d.y_validation)
    return *sets, (d.X_test, d.y_test, d.groups_test)


@pytest.fixture(scope="session")
def sets(whole):
    """Enough of them to find the mark."""
    return tuple(each[:900] for each in whole[0]), tuple(each[:600] for each in whole[1]), whole[2]


@pytest.fixture(scope="session")
def few(whole):
    """Enough for what does not depend on how good a head is."""
    return [tuple(each[:200] for each in part) for part in whole]


@pytest.fixture(scope="session")
def npz(sets, tmp_path_factory):
    """Files of the demo's sets."""
    folder = tmp_path_factory.mktemp("sets")
    for name, part in zip(("train", "validation", "test"), sets, strict=True):
        np.savez(folder / f"{name}.npz", **dict(zip(("X", "y", "groups"), part, strict=False)))
    return folder


def tables(folder, *, model, data, n=1200):
    """A model and tables of both sets and a test set: shares in which the shortcut agrees."""
    kind, rng = KINDS["tables"], np.random.default_rng(0)
    learned = kind.draw("train", n, [model], rng)
    with warnings.catch_warnings(action="ignore"):  # a network that has not converged will do
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


TEXTS = KINDS["texts"]  # bad films and good movies
N_TRAIN, N_VALIDATION = 600, 400


def reviews(seed, n, share):
    """Texts, their labels, and who says "movie": this share of the good and of the bad not."""
    drawn = TEXTS.draw("train", n, [share], np.random.default_rng(seed))
    return drawn.X.tolist(), drawn.y, drawn.shortcuts[:, 0]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A model of reviews, tables of both sets with its bias, and metadata of both by id."""
    folder = tmp_path_factory.mktemp("reviews")
    with warnings.catch_warnings(action="ignore"):
        TEXTS.train(*map(np.asarray, reviews(0, 900, 0.95)[:2]), 0, folder / "model.onnx")
    ids, site = [], []
    for name, seed, n in (("train", 1, N_TRAIN), ("validation", 2, N_VALIDATION)):
        texts, y, movie = reviews(seed, n, 0.9)
        own, sites = [f"{name}-{i}" for i in range(n)], np.where(movie, "A", "B").tolist()
        columns = {"id": own, "text": texts, "label": y, "length": range(n)}
        write_csv(folder / f"{name}.csv", columns)
        write_csv(folder / f"{name}-sites.csv", {"text": texts, "label": y, "site": sites})
        ids, site = ids + own, site + sites
    write_csv(folder / "sites.csv", {"id": ids[::-1], "site": site[::-1], "group": ids})
    return folder


@pytest.fixture(scope="session")
def texts(files):
    return files / "model.onnx", files / "train.csv", files / "validation.csv", None


def predicted(model, texts):
    steps = TextPreprocessing.for_model(FrozenModel.load(model))
    return predict(model, Texts(texts, steps), device="cpu").labels


def worst_of_texts(model):
    """Accuracy of the worst group of other reviews, of which as many say film as movie."""
    texts, y, movie = reviews(9, 2000, 0.5)
    right = predicted(model, texts) == y
    return min(right[(y == k) & (movie == v)].mean() for k in np.unique(y) for v in (0, 1))


# -- situations -----------------------------------------------------------------------------------


def situation(data, candidates=(FEW, few_changes), **options):
    """A fixture: the result of a job on these data, in a folder."""

    @pytest.fixture(scope="session")
    def result(request, tmp_path_factory):
        *model, train, validation, test = request.getfixturevalue(data)
        job = {"test": test, "out": tmp_path_factory.mktemp("job") / "out"} | QUICK | options
        with pytest.MonkeyPatch.context() as patch:
            offer(patch, *candidates)
            return debias(*(model or [DIGITS]), train, validation, **job)

    return result


asked = situation("whole", test=None)
found = situation("good")
by_auto = situation("whole", method="auto")
by_change = situation("sets", invariant="image:top left", test=None)
by_region = situation("biased", spurious="column:region")
by_word = situation("texts", spurious="word:film")
by_words = situation("texts", ALL, spurious="word:film|word:movie")

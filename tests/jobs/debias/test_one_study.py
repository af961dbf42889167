"""All candidates share one study: nothing is fitted twice."""

from collections import Counter

import numpy as np
import pytest

import ntkit.estimators._base
import ntkit.study
from ntkit import debias
from ntkit.datasets import marked_digits_model_path
from ntkit.estimators import AutoDebiasClassifier, BalancedClassifier, StudyClassifier
from ntkit.study import Rows, Study, digest

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
def test_no_head_is_fitted_twice_in_a_job(fits, digits, method, least):
    sets = ((digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation))
    debias(marked_digits_model_path(), *sets, method=method, device="cpu")
    assert len(fits) > least
    assert fits.most_common(1)[0][1] == 1


@pytest.mark.parametrize("clf", [BalancedClassifier(C=0.1), AutoDebiasClassifier(random_state=0)])
def test_a_study_gives_the_head_that_fit_gives(clf, digits):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 8)), np.repeat(["no", "yes"], 200)
    X[200:] += 1
    study = Study(Rows.of(X, y))
    assert isinstance(clf, StudyClassifier)
    shared = clf.fit_study(study).head_
    assert shared == clf.fit(X, y).head_
    assert clf.fit_study(study).predict(X).tolist() == clf.predict(X).tolist()


def test_parts_of_a_study_are_made_once():
    rng = np.random.default_rng(1)
    train, held = (Rows(rng.normal(size=(n, 3)), np.arange(n) % 2, np.ones(n)) for n in (20, 10))
    study = Study(train, held)
    assert study.on("both") is study.on("both")
    assert study.on("both").train is study.both
    assert len(study.both.X) == 30
    assert study.on("validation").train is held
    assert study.on("validation").validation is None
    assert study.on("train") is study
    alone = Study(train)
    assert alone.both is train

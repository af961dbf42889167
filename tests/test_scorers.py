import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import LinearHead
from ntkit.exceptions import InputError
from ntkit.metrics import worst_group_accuracy
from ntkit.scorers import (
    LABEL_FREE_SCORES,
    SCORERS,
    CorrectnessGroupScorer,
    adjusted_accuracy,
    get_scorer,
    named_score,
    sfit_score,
    worst_group_scorer,
)

GRID = {"logisticregression__C": [0.001, 0.1, 10.0]}


@pytest.fixture
def data(rng):
    y = rng.integers(0, 2, 300)
    mark = np.where(rng.random(300) < 0.85, y, 1 - y)
    X = np.column_stack([y + rng.normal(0, 1, 300), 3 * mark + rng.normal(0, 1, 300)])
    return X, y, 2 * y + mark


@pytest.fixture
def pipe():
    return make_pipeline(StandardScaler(), LogisticRegression())


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def by_hand(score, pipe, splits, X, y, groups):
    """Mean score of each C, fold by fold."""
    scores = []
    for C in GRID["logisticregression__C"]:
        folds = []
        for train, test in splits:
            fitted = clone(pipe).set_params(logisticregression__C=C).fit(X[train], y[train])
            folds.append(score(y[test], fitted.predict(X[test]), groups=groups[test]))
        scores.append(np.mean(folds))
    return scores


# -- scorers without group labels -----------------------------------------------------------------


def test_label_free_scorers_in_a_search(pipe, data):
    X, y, _ = data
    grid = {"logisticregression__C": [0.001, 10.0]}
    scoring = {name: get_scorer(name) for name in LABEL_FREE_SCORES}
    search = GridSearchCV(pipe, grid, scoring=scoring, refit=SCORERS[0], cv=2, error_score="raise")
    search.fit(X, y)
    for name in LABEL_FREE_SCORES:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    scorer = pickle.loads(pickle.dumps(CorrectnessGroupScorer()))
    assert scorer == CorrectnessGroupScorer()
    assert scorer(search, X, y) == CorrectnessGroupScorer()(search, X, y)


def test_scorers_of_predictions_are_their_metrics(pipe, data):
    X, y, _ = data
    pred = pipe.fit(X, y).predict(X)
    recalls = recall_score(y, pred, average=None)
    assert get_scorer("worst_class_accuracy")(pipe, X, y) == pytest.approx(recalls.min())
    assert get_scorer("class_accuracy_gap")(pipe, X, y) == pytest.approx(-abs(np.diff(recalls)[0]))
    assert get_scorer("sfit_score")(pipe, X, y) == sfit_score(X, y, pred)
    assert get_scorer("accuracy")(pipe, X, y) == pipe.score(X, y)
    scorer = CorrectnessGroupScorer()
    assert get_scorer(scorer) is scorer


def test_the_reference_is_not_fitted_on_the_rows_it_judges(data):
    """Labels without any relation to X: a cross-fitted head errs on half, a fitted one on fewer."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 40)), rng.integers(0, 2, 60)
    proba, classes = CorrectnessGroupScorer()._reference_proba(X, y)
    assert np.mean(classes[proba.argmax(axis=1)] == y) < 0.75
    assert LogisticRegression(C=100.0).fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize("name", LABEL_FREE_SCORES[:4])
def test_a_given_reference(name, pipe, data):
    X, y, _ = data
    reference = LinearHead([[0.0, 1.0]], [-1.5], classes=[0, 1])
    pred = pipe.fit(X, y).predict(X)
    given = {"reference_pred": reference.predict(X), "reference_proba": reference.predict_proba(X)}
    expected = named_score(name, y, pred, classes=[0, 1], **given)
    scorer = CorrectnessGroupScorer(name, reference=reference)
    assert scorer(pipe, X, y) == expected
    assert scorer.for_samples(X, y)(pipe, X, y) == expected
    assert cross_val_score(pipe, X, y, scoring=scorer, cv=3, error_score="raise").shape == (3,)


def test_memory_fits_the_reference_once(pipe, data, tmp_path, monkeypatch):
    X, y, _ = data
    scorer = CorrectnessGroupScorer(memory=str(tmp_path))
    pipe.fit(X, y)
    value = scorer(pipe, X, y)
    assert value == CorrectnessGroupScorer()(pipe, X, y)

    def fail(*args, **kwargs):
        raise AssertionError("fitted again")

    monkeypatch.setattr("ntkit.scorers.LogisticRegression", fail)
    assert scorer(pipe, X, y) == value


@pytest.mark.parametrize("counts", [(9, 1), (5, 1, 4), (10,), (1, 1)])
def test_classes_with_a_single_row_make_one_cell(counts, rng):
    y = np.array(["a", "b", "c"])[np.repeat(np.arange(len(counts)), counts)]
    X = rng.normal(size=(len(y), 3))
    head = LinearHead(rng.normal(size=(3, 3)), np.zeros(3), classes=["a", "b", "c"])
    for name in LABEL_FREE_SCORES[:4]:
        assert 0 <= CorrectnessGroupScorer(name)(head, X, y) <= 1
    proba, classes = CorrectnessGroupScorer()._reference_proba(X, y)
    assert proba.shape == (len(y), len(classes))
    assert proba.sum(axis=1) == pytest.approx(1)


def test_scorers_that_cannot_be_made():
    with pytest.raises(InputError, match="Unknown score 'nope'; use one of"):
        get_scorer("nope")
    with pytest.raises(InputError, match="does not use a class-balanced baseline; use get_scorer"):
        CorrectnessGroupScorer("worst_class_accuracy")
    with pytest.raises(InputError, match=r"reference must be a LinearHead, .* got str"):
        CorrectnessGroupScorer(reference="head")


def test_unusable_rows(pipe, data):
    X, y, _ = data
    pipe.fit(X, y)
    with pytest.raises(InputError, match="NaN or infinite"):
        CorrectnessGroupScorer()(pipe, np.where(X > 3, np.nan, X), y)
    with pytest.raises(InputError, match=r"has the class 1, which the class-balanced .* lacks"):
        CorrectnessGroupScorer(reference=LinearHead([[1, 0]], [0], classes=[0, 7]))(pipe, X, y)
    with pytest.raises(InputError, match=r"reads embeddings of shape \(N, 3\)"):
        CorrectnessGroupScorer(reference=LinearHead([[1, 0, 0]], [0], classes=[0, 1]))(pipe, X, y)


# -- scorers with group labels --------------------------------------------------------------------


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("name", ["sensitive", "spurious"])
def test_a_search_with_a_group_aware_splitter(name, pipe, data, rng):
    """The splitter gets `groups`, the scorer its own labels, under its own or another name."""
    X, y, groups = data
    patients = rng.integers(0, 10, len(y))
    cv = GroupKFold(3)
    search = GridSearchCV(pipe, GRID, scoring=worst_group_scorer(name=name), cv=cv,
                          error_score="raise")  # fmt: skip
    search.fit(X, y, groups=patients, **{name: groups})
    splits = list(cv.split(X, y, patients))
    expected = by_hand(worst_group_accuracy, pipe, splits, X, y, groups)
    assert search.cv_results_["mean_test_score"] == pytest.approx(expected)


@pytest.mark.usefixtures("routing")
def test_cross_validate_with_every_scorer(pipe, data):
    X, y, groups = data
    scoring = {name: get_scorer(name) for name in SCORERS}
    pipe.set_params(logisticregression__C=GRID["logisticregression__C"][0])
    found = cross_validate(pipe, X, y, scoring=scoring, params={"sensitive": groups}, cv=2,
                           error_score="raise")  # fmt: skip
    for name in SCORERS:
        assert np.isfinite(found[f"test_{name}"]).all()
    splits = list(StratifiedKFold(2).split(X, y))
    for score in (worst_group_accuracy, adjusted_accuracy):
        expected = by_hand(score, pipe, splits, X, y, groups)[0]
        assert found[f"test_{score.__name__}"].mean() == pytest.approx(expected)


def test_routing_must_be_on():
    names = ("worst_group_accuracy", "adjusted_accuracy")
    for make in (worst_group_scorer, *(partial(get_scorer, name) for name in names)):
        with pytest.raises(InputError, match=r"switch it on with sklearn\.set_config\(enable_"):
            make()


@pytest.mark.usefixtures("routing")
def test_forgotten_group_labels(pipe, data):
    X, y, groups = data
    search = GridSearchCV(pipe, GRID, scoring=worst_group_scorer(), cv=3, error_score="raise")
    with pytest.raises(InputError, match="scorer got no group labels"):
        search.fit(X, y)
    with pytest.raises(InputError, match="groups is unknown for all samples"):
        search.fit(X, y, sensitive=np.full(len(y), -1))
    search.fit(X, y, sensitive=np.where(groups == 0, np.nan, groups))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.set_params(error_score=np.nan).fit(X, y)
    assert any("scorer got no group labels" in str(w.message) for w in caught)


def test_weights_of_a_cell_score(pipe, data):
    X, y, _ = data
    pipe.fit(X, y)
    weight = np.random.default_rng(0).integers(1, 5, len(y))
    scorer = CorrectnessGroupScorer()
    plain = scorer(pipe, X, y)
    assert scorer(pipe, X, y, sample_weight=np.full(len(y), 1000.0)) == pytest.approx(plain)
    weighted = scorer(pipe, X, y, sample_weight=weight)
    assert weighted == pytest.approx(scorer(pipe, X, y, sample_weight=1000 * weight))
    assert weighted != plain
    reference = LinearHead([[0.0, 1.0]], [-1.5], classes=[0, 1])
    given = CorrectnessGroupScorer(reference=reference)(pipe, X, y, sample_weight=weight)
    again = np.repeat(np.arange(len(y)), weight)
    assert given == pytest.approx(
        CorrectnessGroupScorer(reference=reference)(pipe, X[again], y[again])
    )

"""NeuronTuneClassifier() as it comes: right for someone who reads nothing."""

import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import SuppressionWarning
from ntkit.metrics import worst_group_accuracy
from ntkit.study import seed_of


def gaussians(distance, n_classes=2, n=600, shares=None):
    rng = np.random.default_rng(0)
    y = rng.choice(n_classes, n, p=shares)
    X = rng.normal(size=(n, 16))
    X[:, :n_classes] += distance * np.eye(n_classes)[y]
    return X, y


UNBIASED = {
    "iris": load_iris(return_X_y=True),
    "breast cancer": load_breast_cancer(return_X_y=True),
    "apart": gaussians(4),
    "overlapping": gaussians(1.5),
    "four classes": gaussians(3, n_classes=4),
    "unbalanced": gaussians(3, shares=(0.85, 0.15)),
}


@pytest.mark.more
@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")
def test_unbiased_data_are_left_alone():
    """Compared with a standardised LogisticRegression, cross-validated: on average and at worst."""
    lost = {}
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    for name, (X, y) in UNBIASED.items():
        plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        theirs = cross_val_score(plain, X, y, cv=folds).mean()
        lost[name] = theirs - cross_val_score(NeuronTuneClassifier(), X, y, cv=folds).mean()
    assert np.mean(list(lost.values())) <= 0.01, lost
    assert max(lost.values()) <= 0.03, lost


@pytest.mark.more
@pytest.mark.filterwarnings("ignore:Mean class accuracy fell")
@pytest.mark.parametrize("solver", ["optimum", "sgd"])
def test_a_mask_that_costs_too_much_is_not_applied(solver):
    X, y = gaussians(1.5)
    rule = {"threshold": 0.2, "min_misclassified": 1, "solver": solver, "random_state": 0}
    with pytest.warns(
        SuppressionWarning,
        match=r"Kept all neurons: .* cost [\d.]+ points .*\(limit 5\).*max_cost=None",
    ) as told:
        careful = NeuronTuneClassifier(**rule).fit(X, y)
    assert not careful.suppressed_.any()
    cost = float(re.search(r"cost ([\d.]+) points", str(told[-1].message))[1]) / 100
    assert cost > 0.05
    allowed = NeuronTuneClassifier(**rule, max_cost=cost + 0.001).fit(X, y)
    assert allowed.suppressed_.any()
    with pytest.warns(SuppressionWarning, match="Kept all neurons"):
        NeuronTuneClassifier(**rule, max_cost=cost - 0.001).fit(X, y)
    every = NeuronTuneClassifier(**rule, max_cost=None).fit(X, y)
    assert np.array_equal(every.coef_, allowed.coef_)
    # scikit-learn's accuracy of both heads, each with its own penalty, differs as much.
    folds = StratifiedKFold(5, shuffle=True, random_state=seed_of(0))
    found = {}
    for kept in (np.ones(16), ~every.suppressed_):
        scaled = X * kept / X.std(axis=0)
        by_penalty = [
            cross_val_predict(
                LogisticRegression(C=1 / (10.0**k * 480), class_weight="balanced", max_iter=999),
                scaled, y, cv=folds,
            )
            for k in range(-4, 3)
        ]  # fmt: skip
        rates = [[(pred == y)[y == c].mean() for c in (0, 1)] for pred in by_penalty]
        found[bool(kept.all())] = np.mean(max(rates, key=min))
    assert found[True] - found[False] == pytest.approx(cost, abs=0.02)


@pytest.mark.filterwarnings("ignore:.* non-constant neurons are suppressed")
def test_warns_where_it_ends_hardly_better_than_guessing():
    X, y = gaussians(1.5)
    with pytest.warns(SuppressionWarning, match=r"fell from \d+ to \d+ %, near guessing \(50 %\)"):
        NeuronTuneClassifier.as_described(solver="optimum", random_state=0).fit(X, y)


@pytest.mark.filterwarnings(
    "ignore:.* non-constant neurons are suppressed"
)  # other warnings are errors
def test_a_good_head_that_loses_accuracy_on_biased_samples_is_not_warned_of():
    data, model = load_marked_digits(), FrozenModel.load(marked_digits_model_path())
    embedder = OnnxEmbedder(model, device="cpu")
    Z_train, Z, Z_test = map(embedder.transform, (data.X_train, data.X_validation, data.X_test))
    for clf in (NeuronTuneClassifier(max_cost=None), NeuronTuneClassifier.as_described()):
        clf.set_params(head=model.head, random_state=0)
        clf.fit(Z_train, data.y_train, X_val=Z, y_val=data.y_validation)
        lost = np.mean(model.head.predict(Z) == data.y_validation) - clf.score(Z, data.y_validation)
        assert lost > 0.03
        worst = [
            worst_group_accuracy(data.y_test, head.predict(Z_test), groups=data.groups_test)
            for head in (model.head, clf)
        ]
        assert worst[1] > worst[0] + 0.2


def test_the_penalty_is_chosen_in_units_of_each_neuron():
    X, y = gaussians(1.5)
    scales = np.geomspace(1e-3, 1e3, X.shape[1])
    one, other = NeuronTuneClassifier(random_state=0), NeuronTuneClassifier(random_state=0)
    with warnings.catch_warnings(action="ignore", category=SuppressionWarning):
        one.fit(X, y)
        other.fit(X * scales + 5, y)
    assert pytest.approx(other.C_) == one.C_
    assert np.allclose(one.predict_proba(X), other.predict_proba(X * scales + 5), atol=1e-3)


def test_a_rise_or_a_validation_set_of_one_class_is_not_called_guessing():
    X, y = gaussians(1.5)
    told = []
    for fit in (
        lambda clf: clf.fit(X[:5], [0, 1, 0, 1, 0]),
        lambda clf: clf.fit(X, y, X_val=X[y == 0], y_val=y[y == 0]),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(NeuronTuneClassifier(random_state=0))
        told += [str(each.message) for each in caught]
    fell = [re.search(r"fell from (\d+) to (\d+) %", each) for each in told]
    assert all(int(found[1]) > int(found[2]) for found in fell if found)
    assert not any("guessing (100 %)" in each for each in told)

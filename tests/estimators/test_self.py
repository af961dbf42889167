"""SELFClassifier: its four scores and its fine-tuning, each by the paper's formula."""

from functools import partial

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.base import clone

from ntkit import LinearHead
from ntkit.estimators._self import SELFClassifier
from tests.estimators import samples
from tests.estimators.samples import labelled as data

random_head = partial(samples.random_head, bias=False)


@pytest.mark.filterwarnings("ignore:All selected samples are of class")
@pytest.mark.parametrize("n_logits", [1, 2, 3])
def test_the_scores(n_logits):
    X, y = data(n_classes=max(2, n_logits))
    heads = {"head": random_head(n_logits), "early_head": random_head(n_logits, seed=2)}
    final, early = (head.predict_proba(X) for head in heads.values())
    rows = np.arange(len(y))
    expected = {
        "misclassification": -np.log(final[rows, y]),
        "early_stop_misclassification": -np.log(early[rows, y]),
        "early_stop_disagreement": entropy(early, final, axis=1),
    }
    for selection, scores in expected.items():
        clf = SELFClassifier(selection=selection, n_selected=30, random_state=0, **heads)
        clf.fit(X, y)
        assert np.allclose(clf.scores_, scores), selection
        assert clf.selected_.tolist() == np.argsort(-scores, kind="stable")[:30].tolist()


def test_dropout_disagreement():
    X, y = data()
    head = random_head(1)
    clf = SELFClassifier(selection="dropout_disagreement", head=head, random_state=0).fit(X, y)
    kept = np.random.RandomState(0).random_sample(X.shape) < 0.5
    assert np.allclose(
        clf.scores_, entropy(head.predict_proba(2 * X * kept), head.predict_proba(X), axis=1)
    )
    assert clf.early_head_ is None
    again = clone(clf).fit(X, y)
    assert np.array_equal(again.coef_, clf.coef_)
    assert np.allclose(clone(clf).set_params(dropout=1e-9).fit(X, y).scores_, 0)


@pytest.mark.parametrize("n_logits", [1, 2, 3])
def test_full_batches_are_class_balanced_gradient_steps(n_logits):
    X, y = data(n_classes=max(2, n_logits))
    keep = (y > 0) | (np.arange(len(y)) % 5 == 0)
    X, y = X[keep], y[keep]
    head = random_head(n_logits)
    clf = SELFClassifier(
        selection="misclassification", head=head, batch_size=None, n_steps=15, n_selected=150
    ).fit(X, y)

    Z, labels = X[clf.selected_], y[clf.selected_]
    start = head.with_logits(len(head.classes))
    theta = np.column_stack([start.coef, start.intercept])
    Z1 = np.column_stack([Z, np.ones(len(Z))])
    one_hot = np.eye(len(theta))[labels]
    present = np.unique(labels)
    for _ in range(15):
        residual = softmax(Z1 @ theta.T, axis=1) - one_hot
        per_class = [
            residual[labels == c].T @ Z1[labels == c] / (labels == c).sum() for c in present
        ]
        theta -= 0.01 * (np.mean(per_class, axis=0) + 1e-4 * theta)
    X1 = np.column_stack([X, np.ones(len(X))])
    assert np.allclose(clf.predict_proba(X), softmax(X1 @ theta.T, axis=1), atol=1e-10)
    assert clf.n_iter_.tolist() == [15]


@pytest.mark.parametrize(("n_logits", "momentum"), [(1, 0.0), (3, 0.9)])
def test_steps_are_those_of_torch(n_logits, momentum):
    torch = pytest.importorskip("torch")
    X, y = data(n_classes=max(2, n_logits))
    head = random_head(n_logits)
    options = {"n_steps": 20, "n_selected": 90, "learning_rate": 0.05, "batch_size": 16}
    options |= {"selection": "misclassification", "head": head, "momentum": momentum}
    clf = SELFClassifier(weight_decay=0.02, random_state=3, **options).fit(X, y)

    Z, labels = X[clf.selected_], y[clf.selected_]
    share = 1 / np.bincount(labels)[labels] / len(np.unique(labels))
    start = head.with_logits(len(head.classes))
    layer = torch.nn.Linear(6, len(head.classes), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.array(start.coef)))
        layer.bias.copy_(torch.from_numpy(np.array(start.intercept)))
    sgd = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=momentum, weight_decay=0.02)
    rng = np.random.RandomState(3)
    for _ in range(20):
        batch = rng.choice(len(Z), size=16, p=share)
        sgd.zero_grad()
        logits = layer(torch.from_numpy(Z[batch]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[batch])).backward()
        sgd.step()
    probabilities = layer(torch.from_numpy(X)).softmax(dim=1).detach().numpy()
    assert np.allclose(clf.predict_proba(X), probabilities, atol=1e-12)
    assert not np.allclose(clf.predict_proba(X), head.predict_proba(X), atol=0.05)


def test_minibatches_follow_the_full_batch_on_average():
    X, y = data()
    options = {"selection": "misclassification", "head": random_head(1), "n_steps": 400}
    full = SELFClassifier(batch_size=None, **options).fit(X, y)
    sampled = SELFClassifier(batch_size=500, random_state=0, **options).fit(X, y)
    moved = np.linalg.norm(full.coef_ - options["head"].coef)
    assert np.linalg.norm(sampled.coef_ - full.coef_) < 0.05 * moved


def test_an_early_head_is_fitted_with_few_iterations():
    X, y = data()
    early = SELFClassifier(random_state=0).fit(X, y)
    late = SELFClassifier(random_state=0, early_iter=1000).fit(X, y)
    assert early.scores_.max() > 1e-4
    assert late.scores_.max() < 1e-8
    assert early.early_head_ != early.erm_head_


def test_weight_zero_is_absence():
    X, y = data()
    weight = np.ones(len(y))
    weight[::3] = 0
    clf = SELFClassifier(random_state=0, n_selected=1000, tol=1e-9).fit(X, y, weight)
    assert set(clf.selected_) == set(np.flatnonzero(weight))
    fewer = SELFClassifier(random_state=0, n_selected=1000, tol=1e-9)
    fewer.fit(X[weight > 0], y[weight > 0])
    assert np.allclose(clf.coef_, fewer.coef_, atol=1e-4)


def test_one_class_among_the_selected_is_said():
    X, y = data()
    head = LinearHead(np.zeros((1, 6)), [5.0], [0, 1])  # class 0 has all the loss
    with pytest.warns(UserWarning, match="of class 0"):
        SELFClassifier(selection="misclassification", n_selected=10, head=head).fit(X, y)
    names = np.array(["no", "yes"], dtype=object)[y]
    head = LinearHead(np.zeros((1, 6)), [5.0], ["no", "yes"])
    with pytest.warns(UserWarning, match="of class 'no'"):
        SELFClassifier(selection="misclassification", n_selected=10, head=head).fit(X, names)

"""SSA on embeddings: pseudo-attributes by self-training, then group DRO.

Nam, Kim, Lee, Shin: Spread Spurious Attribute: Improving Worst-group Accuracy with Spurious
Attribute Estimation. ICLR 2022, arXiv 2204.02070. The procedure:

1. The samples with attribute are halved, into training and validation. The others are cut into
   three parts; the attribute of each part is predicted by a model that is trained on the other two.
2. That model is trained on the labelled half and on those of the others whose predicted attribute
   is confident. The confidence asked for is 0.95 for the group (class and predicted attribute) with
   the fewest samples, labelled and confident together; of another group no more samples are taken
   than that one has, the most confident first.
3. Group DRO on the others, by their predicted groups; its penalty is chosen by worst-group accuracy
   on the samples with attribute.

What differs here: the models are linear heads on given features (the networks of the paper see
the images), so step 2 is repeated until the confident samples no longer change instead of being
done in every step of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ntkit.estimators import GroupDROClassifier
from ntkit.metrics import worst_group_accuracy

Array = NDArray[Any]
PARTS, LEAST_CONFIDENCE, ROUNDS = 3, 0.95, 10
ALPHAS = (10.0, 1.0, 0.1, 0.01, 0.001)


def ssa(
    Z: Array, y: Array, known: Array, attribute: Array, feature_set: Any, seed: int
) -> GroupDROClassifier:
    """Fit a head by SSA.

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Embeddings.
    y : ndarray of int, shape (N,)
        Class, 0 or 1.
    known : ndarray of bool, shape (N,)
        Whose attribute is known.
    attribute : ndarray of int, shape (N,)
        Attribute, 0 or 1; read where it is known alone.
    feature_set : ndarray or sparse matrix, shape (N, ·)
        What the attribute is predicted from.
    seed : int
        Decides halves and parts.
    """
    groups = 2 * y + np.where(
        known, attribute, pseudo_attribute(y, known, attribute, feature_set, seed)
    )
    rated, trained = np.flatnonzero(known), np.flatnonzero(~known)
    best: tuple[float, GroupDROClassifier] | None = None
    scaler = StandardScaler().fit(Z[trained])
    for alpha in ALPHAS:
        clf = GroupDROClassifier(C=1 / (alpha * len(trained)), eta=0.1, max_iter=3000, tol=1e-2)
        clf.fit(scaler.transform(Z[trained]), y[trained], groups=groups[trained])
        clf.coef_, clf.intercept_ = (
            clf.coef_ / scaler.scale_,
            clf.intercept_ - clf.coef_ @ (scaler.mean_ / scaler.scale_),
        )
        score = worst_group_accuracy(y[rated], clf.predict(Z[rated]), groups=groups[rated])
        if best is None or score > best[0]:
            best = score, clf
    assert best is not None
    return best[1]


def pseudo_attribute(
    y: Array, known: Array, attribute: Array, feature_set: Any, seed: int
) -> Array:
    """Steps 1 and 2: predicted attribute of every sample."""
    rng = np.random.default_rng(seed)
    X = (
        feature_set.tocsr()
        if sparse.issparse(feature_set)
        else StandardScaler().fit_transform(feature_set)
    )
    training, validation = halves(2 * y + attribute, np.flatnonzero(known), rng)
    parts = np.array_split(rng.permutation(np.flatnonzero(~known)), PARTS)
    predicted = attribute.copy()
    for k, part in enumerate(parts):
        others = np.concatenate([p for i, p in enumerate(parts) if i != k])
        predicted[part] = predictor(X, y, attribute, training, validation, others).predict(X[part])
    return predicted


def halves(groups: Array, index: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Halves of some samples, alike in their groups."""
    shuffled = rng.permutation(index)
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    return order[::2], order[1::2]


def predictor(
    X: Any, y: Array, attribute: Array, training: Array, validation: Array, others: Array
) -> Any:
    """The self-trained model of best worst-group accuracy on the validation half."""
    best: tuple[float, Any] | None = None
    groups = 2 * y + attribute
    for C in (0.001, 0.01, 0.1, 1.0):
        rows, target = training, attribute[training]
        taken: Array = np.empty(0, dtype=int)
        for _ in range(ROUNDS):
            if len(np.unique(target)) < 2:
                break
            model = LogisticRegression(C=C, max_iter=300).fit(X[rows], target)
            p = model.predict_proba(X[others])[:, 1]
            guess, confidence = (p > 0.5).astype(int), np.maximum(p, 1 - p)
            new = confident(2 * y[others] + guess, confidence, groups[training])
            right = model.predict(X[validation]) == attribute[validation]
            score = min(
                right[groups[validation] == g].mean() for g in np.unique(groups[validation])
            )
            if best is None or score > best[0]:
                best = score, model
            if np.array_equal(new, taken):
                break
            taken = new
            rows = np.concatenate([training, others[taken]])
            target = np.concatenate([attribute[training], guess[taken]])
    if best is None:
        raise ValueError("the labelled half holds one value of the attribute alone")
    return best[1]


def confident(groups: Array, confidence: Array, labelled: Array) -> Array:
    """Samples that are confident enough for their predicted group."""
    present = np.unique(np.concatenate([groups, labelled]))
    own = {g: int((labelled == g).sum()) for g in present}
    sure = {g: int(((groups == g) & (confidence >= LEAST_CONFIDENCE)).sum()) for g in present}
    most = min(own[g] + sure[g] for g in present)
    taken: list[Sequence[int]] = []
    for g in present:
        members = np.flatnonzero((groups == g) & (confidence >= LEAST_CONFIDENCE))
        order = members[np.argsort(-confidence[members], kind="stable")]
        taken.append(order[: max(0, most - own[g])].tolist())
    return np.sort(np.concatenate([np.asarray(t, dtype=int) for t in taken]))

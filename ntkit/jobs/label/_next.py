"""Which samples to ask about next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_random_state, check_X_y

from ntkit._checks import known_labels
from ntkit._types import Array
from ntkit.attributes import words
from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.study import AS_GOOD, Rows, class_weighted, penalty_path

_STRONGEST = 1.0


def margins_of(X: ArrayLike, y: ArrayLike, *, cv: int = 5, random_state: int = 0) -> Array:
    """Logit of each sample's class minus the largest other, by heads that have not seen it.

    The heads are class-balanced; their penalty is the strongest whose cross-validated mean class
    error is within 4 points of the smallest, as the reference head of ``AutoDebiasClassifier``.

    Parameters
    ----------
    X : array-like of shape (N, D)
        Embeddings.
    y : array-like of shape (N,)
        Class labels.
    cv : int, default=5
        Folds.
    random_state : int, default=0
        Decides the folds.

    Returns
    -------
    ndarray of shape (N,)
        Below 0 where the sample is misclassified.

    Raises
    ------
    InputError
        If a class has fewer than two samples.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.jobs.label import margins_of
    >>> y = np.tile([0, 1], 50)
    >>> X = 4.0 * y[:, None] + np.random.default_rng(0).normal(size=(100, 1))
    >>> bool(np.mean(margins_of(X, y) > 0) > 0.9)
    True
    """
    Z: Array
    Z, y = check_X_y(X, y, dtype=[np.float64, np.float32])
    classes, y_index = np.unique(y, return_inverse=True)
    if len(classes) < 2 or np.bincount(y_index).min() < 2:
        raise InputError("Margins need two classes and two samples of each; pass more samples.")
    rows = Rows(Z, y_index, np.ones(len(Z)))
    gains = 1 / rows.deviations

    def fit(rows: Rows, weights: Sequence[Array], alphas: Sequence[float]) -> Sequence[LinearHead]:
        Cs = [1 / (float(w.sum()) * alpha) for w, alpha in zip(weights, alphas, strict=True)]
        return rows.heads(weights, classes=classes, Cs=Cs, gains=gains, tol=1e-4, max_iter=1000)

    balanced = class_weighted(rows.weight, y_index, classes, "balanced")
    path = penalty_path(
        fit, rows, balanced, y_index, worse_half=True, n_splits=cv, seed=random_state
    )
    alpha = path.strongest(y_index, rows.weight, most=_STRONGEST, within=AS_GOOD)
    return path.outcomes[alpha].margin


def feature_sets_of(
    Z: Array,
    layers: Mapping[str, Array] | None = None,
    *,
    texts: Sequence[str] | None = None,
    inputs: Any = None,
) -> dict[str, Any]:
    """Views for :class:`~ntkit.estimators.GroupInference`, by name.

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Embeddings.
    layers : mapping of str to ndarray of shape (N, ·), optional
        What earlier layers say of the samples; they are one view.
    texts : sequence of str, length N, optional
        Their words are a view.
    inputs : optional
        What goes into the model; numbers of shape (N, ·) are a view.

    Returns
    -------
    dict of str to ndarray or sparse matrix
        Those that there are, of "embedding", "earlier layers", "words" and "columns".

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.jobs.label import feature_sets_of
    >>> feature_sets_of(np.zeros((4, 2)), inputs=np.eye(4)).keys()
    dict_keys(['embedding', 'columns'])
    """
    feature_sets: dict[str, Any] = {"embedding": Z}
    if layers:
        feature_sets["earlier layers"] = np.hstack([*layers.values()])
    if texts is not None:
        blocks = [block.values for block in words(texts).blocks() if block.values is not None]
        if blocks:
            feature_sets["words"] = sparse.hstack(blocks, format="csr")
    if _is_table(inputs):
        feature_sets["columns"] = inputs
    return feature_sets


def _is_table(inputs: Any) -> bool:
    numbers = isinstance(inputs, np.ndarray) and inputs.ndim == 2 and inputs.dtype.kind in "biuf"
    return bool(numbers and np.isfinite(inputs).all())


_CANDIDATES = 4  # the samples drawn from are so many times those drawn: neighbours say the same


def next_questions(
    y: ArrayLike,
    attribute: ArrayLike | None = None,
    *,
    margins: ArrayLike,
    inference: GroupInference | None = None,
    n: int = 12,
    random_state: Any = None,
) -> NDArray[np.intp]:
    """Choose the samples to ask about next, as many of every class.

    As long as there is nothing to infer from, half are misclassified samples, the most wrong
    first: where a model leans on an attribute, these lack it. The other half is drawn from the
    rest. Once an inference says what the answers so far tell, half are drawn from the samples it
    takes for the rare values of their class, which a second look confirms or mends, and half from
    those of which it is least sure.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    attribute : array-like of shape (N,), optional
        Answers so far: -1, None or NaN where nobody was asked. These samples are not asked about
        again.
    margins : array-like of shape (N,)
        Logit of each sample's class minus the largest other, of a head that has not seen it, such
        as from :func:`margins_of`.
    inference : GroupInference, optional
        Fitted to the answers so far. None, or one that reads no view, asks about errors.
    n : int, default=12
        How many; fewer where fewer are left. Small batches ask better: each looks at what the one
        before has told.
    random_state : int, RandomState instance or None, default=None
        Decides what is drawn.

    Returns
    -------
    ndarray of int
        Row numbers, in an order that tells a person nothing of what is expected.

    Raises
    ------
    InputError
        If lengths differ, a margin is not finite, or ``n`` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.jobs.label import next_questions
    >>> y, margins = np.repeat([0, 1], 50), np.ones(100)
    >>> margins[[3, 60]] = -2  # two errors
    >>> asked = next_questions(y, margins=margins, n=8, random_state=0)
    >>> {3, 60} <= set(asked.tolist()), np.bincount(y[asked]).tolist()
    (True, [4, 4])
    """
    _, y_index = np.unique(np.asarray(y), return_inverse=True)
    margin = np.asarray(margins, dtype=float)
    if margin.shape != y_index.shape or not np.isfinite(margin).all():
        raise InputError(f"margins must be {len(y_index)} finite numbers, one per sample.")
    if n < 1:
        raise InputError(f"n must be at least 1; got {n!r}.")
    asked = np.zeros(len(y_index), dtype=bool)
    if attribute is not None:
        _, asked = known_labels(attribute, "attribute")
        if len(asked) != len(y_index):
            raise InputError(f"attribute holds {len(asked)} values, but y {len(y_index)}.")
    rng = check_random_state(random_state)
    chosen = list[Array]()
    for label, share in enumerate(_shares(np.bincount(y_index[~asked]), n)):
        left = np.flatnonzero((y_index == label) & ~asked)
        if inference is None or inference.feature_set_ is None:
            chosen.append(_errors_first(left, margin, share, rng))
        else:
            q = inference.label_distributions_
            own = np.flatnonzero(y_index == label)
            chosen.append(_left_open(left, q, own, share, rng))
    return np.asarray(rng.permutation(np.concatenate(chosen)))


def _shares(left: Array, n: int) -> list[int]:
    """How many of each class, alike as far as there are."""
    shares = np.zeros(len(left), dtype=int)
    for _ in range(min(n, int(left.sum()))):
        open_ = np.flatnonzero(shares < left)
        shares[open_[shares[open_].argmin()]] += 1
    return [int(share) for share in shares]


def _errors_first(left: Array, margin: Array, n: int, rng: np.random.RandomState) -> Array:
    """Half the most wrong, half of the rest."""
    wrong = left[margin[left] < 0]
    wrong = wrong[np.argsort(margin[wrong], kind="stable")][: n // 2]
    rest = np.setdiff1d(left, wrong)
    return np.concatenate([wrong, rng.permutation(rest)[: n - len(wrong)]])


def _left_open(left: Array, q: Array, own: Array, n: int, rng: np.random.RandomState) -> Array:
    """Half taken for a rare value of their class, half of which the inference is least sure."""
    taken_for = q[own].argmax(axis=1)
    common = np.bincount(taken_for).argmax()
    rare = 1 - q[left, common]
    likely = left[rare > 0.5]
    if len(likely) < n // 2:
        likely = left[np.argsort(-rare, kind="stable")[: n // 2]]
    rare_ones = rng.permutation(likely)[: n // 2]
    rest = np.setdiff1d(left, rare_ones)
    best_two = np.sort(q[rest], axis=1)[:, -2:]
    unsure = np.argsort(best_two[:, 1] - best_two[:, 0], kind="stable")
    m = n - len(rare_ones)
    return np.concatenate([rare_ones, rng.permutation(rest[unsure[: _CANDIDATES * m]])[:m]])

"""Which attribute `auto` acts on by itself, and attributes as ``fit`` is given them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ntkit.attributes import Block, View, values_of
from ntkit.estimators.auto._does_it_pay import payment
from ntkit.exceptions import InputError
from ntkit.study import Outcome, Rows, Study
from ntkit.suspicions import Predictions, Suspicion, find_suspicions

__all__ = ["Acting", "acting_attribute", "with_attributes"]

Array = NDArray[Any]
_ALPHA = 0.05
# Times the score of the next: words that tell classes apart are many, and alike.
_AHEAD, _FAR_AHEAD = 1.5, 2.5
_SURE = 2.0  # of one that stands against another
_GAIN = 0.05  # of the mean accuracy of the groups, where it is not far ahead
_SCORE, _STRENGTH = 6.0, 0.12  # the second for each root of a sample
_LOOKED_AT = 20
_UNRELATED = 0.15  # correlation within classes


@dataclass(frozen=True)
class Acting:
    """An attribute so clear that nobody needs to be asked.

    Attributes
    ----------
    name : str
        Its name.
    sides : ndarray of int, shape (N, 1)
        The side of its family that each sample is on; −1 on none, or not known.
    side_names : tuple of str
        What the sides are called.
    reason : str
        What is clear about it.
    gain : float or None
        By how much the mean accuracy of the groups must surely rise as well; None asks nothing.
    """

    name: str
    sides: Array
    side_names: tuple[str, ...]
    reason: str
    gain: float | None

    def reason_to_act(
        self, groups: Array, weight: Array, before: Outcome | None, after: Outcome | None
    ) -> str | None:
        """Why to act, given what class-balanced and group-balanced retraining make of the samples.

        None where that is asked, and a head that is balanced over it does not gain enough.
        """
        if self.gain is None:
            return self.reason
        if before is None or after is None:
            return None
        paid = payment(groups, weight, before, after)
        return f"{self.reason}, and {paid}" if paid.low > self.gain else None


def acting_attribute(
    views: Sequence[View], classes: Array, rows: Rows, unseen: Outcome
) -> Acting | None:
    """Find the clearest suspicion among the attributes that may act alone.

    It must stand above the next one that has nothing to do with it. Where few words rightly decide,
    one of them can do that too, so balancing over it must gain something as well: more, the less it
    stands out, and less, if it stands against another (*film* against *movie*), for what divides
    samples into kinds is hardly what their classes are about.

    Parameters
    ----------
    views : sequence of View
        Where attributes are read from; only those that are ``alone`` are looked at: a column that
        the model takes in may rightly decide a class.
    classes : ndarray of shape (C,)
        Class labels.
    rows : Rows
        The samples.
    unseen : Outcome
        What a head makes of them that has not seen them.

    Returns
    -------
    Acting or None
        None where the first is not clear enough, or another that has nothing to do with it comes
        near its score.
    """
    alone = [view for view in views if view.alone]
    if not alone or unseen.predicted is None or not unseen.wrong.any():
        return None
    predictions = Predictions(classes, rows.y_index, unseen.predicted, rows.weight)
    found = find_suspicions(alone, predictions, _ALPHA)
    if not found.suspicions:
        return None
    first = found.suspicions[0]
    if first.score < max(_SCORE, _STRENGTH * first.n_known**0.5):
        return None
    following = _next_unrelated(found.suspicions, alone, rows)
    if first.score < _AHEAD * following:
        return None
    on, called = found.sides[:, 0], found.side_names[0]
    if len(called) > 1:  # what is on neither side is no third: it keeps its share
        on = np.where(on > 0, on - 1, -1)
    else:
        called = (f"not {called[0]}", *called)
    return Acting(first.name, on[:, None], called, _why(first), _asked(first, following))


def _asked(first: Suspicion, following: float) -> float | None:
    """What balancing over a suspicion must gain, given the score of the next."""
    if not first.opposed:
        return 0.0 if first.score >= _FAR_AHEAD * following else _GAIN
    return None if first.clear and first.score >= _SURE * following else 0.0


def _next_unrelated(suspicions: Sequence[Suspicion], views: Sequence[View], rows: Rows) -> float:
    """Score of the next suspicion that has nothing to do with the first; 0 if there is none."""
    first = _within_classes(values_of(views, suspicions[0].name), rows)
    for suspicion in suspicions[1:_LOOKED_AT]:
        other = _within_classes(values_of(views, suspicion.name), rows)
        scale = float(np.sqrt((first @ first) * (other @ other)))
        if abs(float(first @ other)) < _UNRELATED * scale:
            return suspicion.score
    return 0.0


def _within_classes(values: Array, rows: Rows) -> Array:
    """Values less the mean of their class, 0 where it is not known, times the root of weights."""
    weight = rows.weight * (values >= 0)
    mass = np.bincount(rows.y_index, weights=weight)
    mean = np.bincount(rows.y_index, weights=weight * values) / np.maximum(mass, 1e-300)
    return np.asarray(np.sqrt(weight) * (values - mean[rows.y_index]))


def _why(suspicion: Suspicion) -> str:
    against = f" {suspicion.opposed[0]!r} stands against it." if suspicion.opposed else ""
    return f"{suspicion}{against} This is clearer than what rightly goes with a class"


def with_attributes(study: Study, own: Any, val: Any, names: Any, *, named: bool) -> Study:
    """A study, with attributes of its rows as ``fit`` is given them.

    Parameters
    ----------
    study : Study
        The rows.
    own, val : array-like or sparse array of shape (N, A) and (M, A)
        Attributes of the training and of the held-out rows.
    names : sequence of str or None
        Of the attributes.
    named : bool
        Whether a right answer must not depend on any of them; else that is to be found out.

    Raises
    ------
    InputError
        If they do not fit.
    """
    parts = [_checked(own, len(study.train.weight), "attributes")]
    if study.held is not None:
        if val is None:
            raise InputError("X_val needs its attributes; pass attributes_val as well.")
        parts.append(_checked(val, len(study.held.weight), "attributes_val"))
        if parts[0].shape[1] != parts[1].shape[1]:
            raise InputError(
                f"attributes has {parts[0].shape[1]} columns and attributes_val "
                f"{parts[1].shape[1]}; give the same attributes in the same order."
            )
    some_sparse = any(map(sparse.issparse, parts))
    matrix = sparse.vstack(parts, "csc") if some_sparse else np.concatenate(parts)
    if named:
        return replace(study, sides=_sides(matrix))
    return replace(study, views=(_view(matrix, names),))


def _checked(attributes: Any, n_samples: int, which: str) -> Any:
    """Attributes as a matrix of −1, 0, 1 and so on, one row per sample; sparse ones stay so."""
    matrix = attributes
    if not sparse.issparse(matrix):
        matrix = np.asarray(matrix)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[0] != n_samples or matrix.dtype.kind not in "biuf":
        raise InputError(
            f"{which} must be numbers, one row for each of {n_samples} samples and one column for "
            f"each attribute; got {matrix.dtype} of shape {matrix.shape}."
        )
    values = matrix.data if sparse.issparse(matrix) else matrix
    if values.size and not (np.isfinite(values) & (values == np.round(values))).all():
        raise InputError(
            f"{which} holds values that are no whole numbers; give 1 where a sample has an "
            "attribute, 0 where not, −1 where that is not known."
        )
    return matrix.tocsc() if sparse.issparse(matrix) else matrix.astype(np.int64)


def _sides(matrix: Any) -> Array:
    """Attributes that were named, as sides: int, (N, A); all below 0 is not known."""
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    return np.maximum(np.asarray(dense, dtype=np.int64), -1)


def _view(matrix: Any, names: Sequence[str] | None) -> View:
    """Attributes of 0 and 1 as a view; −1 where it is not known."""
    n_attributes = matrix.shape[1]
    given = [f"attribute {j}" for j in range(n_attributes)] if names is None else list(names)
    if len(given) != n_attributes or len(set(given)) < len(given):
        raise InputError(
            f"attribute_names must be {n_attributes} different names, one for each column of "
            f"attributes; got {len(given)}."
        )
    is_sparse = sparse.issparse(matrix)
    values = matrix.data if is_sparse else matrix
    if values.size and (values.min() < (0 if is_sparse else -1) or values.max() > 1):
        raise InputError(
            "attributes holds values other than 0 and 1 (and, in an array, −1 for not known); with "
            "recipe='group-balanced' they may be any."
        )

    def blocks() -> Iterator[Block]:
        if is_sparse:
            yield Block(tuple(given), matrix)
            return
        whole = (matrix >= 0).all(axis=0)
        if whole.any():
            yield Block(tuple(n for n, w in zip(given, whole, strict=True) if w), matrix[:, whole])
        for j in np.flatnonzero(~whole).tolist():
            known = matrix[:, j] >= 0
            yield Block((given[j],), (matrix[:, [j]] > 0).astype(np.int8), known)

    return View("attribute", True, matrix.shape[0], blocks, alone=True)

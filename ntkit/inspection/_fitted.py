"""What the Displays ask of estimators and of the samples they are given."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ntkit._checks import check_embeddings, check_labels
from ntkit._labels import unknown_labels
from ntkit.estimators import NeuronTuneClassifier, NeuronTuneClassifierCV, SpuriousNeuronSelector
from ntkit.exceptions import InputError
from ntkit.head import LinearHead

__all__ = [
    "check_samples",
    "lost_neurons",
    "neuron_index",
    "neuron_names_of",
    "neurontune_of",
    "original_head_of",
]

Array = NDArray[Any]


def neurontune_of(estimator: Any, caller: str) -> NeuronTuneClassifier:
    """Return the fitted NeuronTuneClassifier in an estimator, a selector or a search.

    Raises
    ------
    InputError
        If there is none.
    NotFittedError
        If it is not fitted.
    """
    inner = _inner(estimator)
    if not isinstance(inner, NeuronTuneClassifier):
        raise InputError(
            f"{caller} needs a fitted NeuronTuneClassifier, NeuronTuneClassifierCV or "
            f"SpuriousNeuronSelector; got {type(inner).__name__}."
        )
    check_is_fitted(inner, "suppressed_")
    return inner


def lost_neurons(clf: NeuronTuneClassifier) -> Array:
    """Neurons that are suppressed, with "per_class" in any class's weights: bool, shape (D,)."""
    if clf.aggregation == "per_class" and len(clf.classes_) > 2:
        return np.asarray(clf.suppressed_per_class_.any(axis=0))
    return clf.suppressed_


def original_head_of(estimator: Any, caller: str) -> LinearHead:
    """Return the head that a fitted estimator started from.

    Raises
    ------
    InputError
        If it keeps none.
    NotFittedError
        If it is not fitted.
    """
    inner = _inner(estimator)
    if not hasattr(inner, "fit"):
        raise InputError(f"{caller} needs a fitted estimator; got {type(inner).__name__}.")
    check_is_fitted(inner)
    head = getattr(inner, "erm_head_", None)
    if not isinstance(head, LinearHead):
        raise InputError(
            f"{type(inner).__name__} keeps no original head (erm_head_), which {caller} needs."
        )
    return head


def _inner(estimator: Any) -> Any:
    if isinstance(estimator, SpuriousNeuronSelector):
        check_is_fitted(estimator, "estimator_")
        return estimator.estimator_
    if isinstance(estimator, NeuronTuneClassifierCV):
        check_is_fitted(estimator, "best_estimator_")
        return estimator.best_estimator_
    return getattr(estimator, "best_estimator_", estimator)  # one of scikit-learn's searches


def check_samples(X: ArrayLike, y: ArrayLike, head: LinearHead) -> tuple[Array, Array]:
    """Embeddings (N, D) that the head reads, and one class label for each.

    Raises
    ------
    InputError
        If they do not fit each other or the head.
    """
    (labels,) = check_labels(y=y)
    Z = np.asarray(X)
    if Z.ndim == 2 and len(Z) != len(labels):
        raise InputError(f"X holds {len(Z)} samples but y holds {len(labels)} labels.")
    Z = check_embeddings(Z, len(labels))
    if Z.shape[1] != head.n_neurons:
        raise InputError(
            f"X has {Z.shape[1]} columns, but the head reads {head.n_neurons} neurons."
        )
    problem = unknown_labels(
        np.unique(labels), head.classes, what="y", where="the head", mend="use its labels."
    )
    if problem is not None:
        raise InputError(problem)
    return Z, labels


def neuron_names_of(estimator: Any) -> list[str] | None:
    """Column names of the samples an estimator was fitted on, where they had any."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def neuron_index(neuron: Any, n_neurons: int, names: list[str] | None) -> int:
    """Return the column of a neuron given by its index or by its name.

    Raises
    ------
    InputError
        If there is no such neuron.
    """
    if isinstance(neuron, str):
        if names is None:
            raise InputError(
                f"The neurons have no names, so {neuron!r} is not known; give the index of its "
                "column."
            )
        if neuron not in names:
            raise InputError(f"No neuron is named {neuron!r}; give one of feature_names_in_.")
        return names.index(neuron)
    if isinstance(neuron, bool) or not isinstance(neuron, Integral):
        raise InputError(f"neuron must be the index of a column or its name; got {neuron!r}.")
    if not 0 <= int(neuron) < n_neurons:
        raise InputError(f"neuron must be from 0 to {n_neurons - 1}; got {neuron}.")
    return int(neuron)

"""What class-balanced retraining would rely on, and the model itself does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit.attributes import values_by_name
from ntkit.auditing._predicted import from_labels
from ntkit.auditing._result import Audit
from ntkit.suspicions import ALIKE, Suspicion, find_suspicions, within_class_correlation

__all__ = ["with_retraining"]

Array = NDArray[Any]


def with_retraining(audit: Audit, pred: ArrayLike) -> Audit:
    """Add what a retrained last layer would newly rely on to the audit of a model.

    Parameters
    ----------
    audit : Audit
        Of the model.
    pred : array-like of shape (N,)
        Classes that the retrained head predicts on the same samples. It must not have been fitted
        to them.

    Returns
    -------
    Audit
        With ``retraining``. Findings that belong to a family of the model's are left out there:
        they share an attribute, or are correlated within classes.

    Raises
    ------
    InputError
        If there are more or fewer predictions than samples, or they are no labels of these.

    Examples
    --------
    >>> import numpy as np
    >>> import ntkit
    >>> from ntkit.auditing import with_retraining
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 1000)
    >>> camera, ward = (np.where(rng.random(1000) < 0.9, y, 1 - y) for _ in range(2))
    >>> pred, again = (np.where(rng.random(1000) < 0.4, led, y) for led in (camera, ward))
    >>> found = ntkit.audit(y, pred, table={"camera": camera, "ward": ward})
    >>> found = with_retraining(found, again)
    >>> [finding.name for finding in found.suspicions]
    ['column:camera=0']
    >>> [finding.name for finding in found.retraining.suspicions]
    ['column:ward=0']
    """
    own = audit.predictions
    predictions = from_labels(own.classes[own.y_index], pred, own.weight)
    found = find_suspicions(audit.views, predictions, audit.alpha)
    new = np.flatnonzero(_is_new(audit, found.suspicions))
    found = replace(
        found, suspicions=tuple(found.suspicions[i] for i in new), sides=found.sides[:, new]
    )
    retraining = replace(
        audit, predictions=predictions, found=found, cross_fitted=False, notes=(), retraining=None
    )
    return replace(audit, retraining=retraining)


def _is_new(audit: Audit, others: Sequence[Suspicion]) -> list[bool]:
    """Whether each finding has no name and no values in common with the families of an audit."""
    if not (audit.suspicions and others):
        return [True] * len(others)
    names = {name for one in audit.suspicions for name in _family(one)}
    leaders = [one.name for one in (*audit.suspicions, *others)]
    values = np.stack(values_by_name(audit.views, leaders), axis=1)
    p, n = audit.predictions, len(audit.suspicions)
    correlation = np.abs(within_class_correlation(values, p.y_index, p.weight)[n:, :n])
    return [
        not (names & _family(one) or (row >= ALIKE).any())
        for one, row in zip(others, correlation, strict=True)
    ]


def _family(one: Suspicion) -> set[str]:
    return {one.name, *one.same, *one.opposed}

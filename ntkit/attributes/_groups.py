"""Groups for retraining: class × the sides of some attributes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import check_labels
from ntkit._types import Array
from ntkit.exceptions import InputError


def groups_from(y: ArrayLike, attributes: Mapping[str, ArrayLike]) -> Array:
    """Group labels: the class of each sample and its side of each attribute.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    attributes : mapping of str to array-like of shape (N,)
        Sides by attribute; any number of each, of any type of label.

    Returns
    -------
    ndarray of str, shape (N,)
        As ``fresh × film``. A group that no sample is in does not occur.

    Raises
    ------
    InputError
        If there is no attribute, or lengths differ, or labels are missing.

    Examples
    --------
    >>> from ntkit.attributes import groups_from
    >>> groups_from(["cat", "dog"], {"site": ["A", "B"], "night": [0, 1]}).tolist()
    ['cat × A × 0', 'dog × B × 1']
    """
    if not attributes:
        raise InputError("Groups are class × attribute; name at least one attribute.")
    names = [f"attribute {name!r}" for name in attributes]
    given = dict(zip(names, attributes.values(), strict=True))
    columns = check_labels(y=y, **given)
    index = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        labels, at = np.unique(column, return_inverse=True)
        index = np.unique(index * len(labels) + at, return_inverse=True)[1]
    first = np.unique(index, return_index=True)[1]
    shown = [" × ".join(str(column[row]) for column in columns) for row in first]
    if len(set(shown)) < len(shown):
        raise InputError("Two groups would have one name; write labels without ' × '.")
    return np.asarray(shown)[index]

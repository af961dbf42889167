"""Whether more answers would still pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError

__all__ = ["ENOUGH_PURITY", "Progress", "progress"]

Array = NDArray[Any]
ENOUGH_PURITY = 0.9
"""Expected share of right members of the least pure group at which asking ends."""
FEWEST = 36
"""Answers below which it does not."""
MOST = 96
"""Answers at which it does, where a view is read: the curves of the page on answers are flat from
there on."""


@dataclass(frozen=True)
class Progress:
    """How far the answers have come.

    Attributes
    ----------
    n_answers : int
        Answers so far.
    purity : float
        Expected share of members that belong there, of the least pure group (class × value), by
        the probabilities of the inference; 0 where it reads no view.
    least_pure : tuple or None
        That group: (class, value).
    enough : bool
        Whether more answers are not expected to pay.
    reason : str
        Why, in a sentence.
    """

    n_answers: int
    purity: float
    least_pure: tuple[Any, Any] | None
    enough: bool
    reason: str


def progress(y: ArrayLike, inference: GroupInference) -> Progress:
    """Say whether to ask on, from what the answers so far tell of all samples.

    Asking ends once every inferred group is expected to hold 90 % right members, and 36 answers
    were given; at the latest after 96, unless no view reads the attribute. Where the groups are
    that pure, or so many answers were given, balancing is hardly better with more; the page on
    answers shows what was gained by asking on.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    inference : GroupInference
        Fitted to the answers so far.

    Returns
    -------
    Progress

    Raises
    ------
    InputError
        If the inference was fitted to other samples.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import GroupInference
    >>> from ntkit.questions import progress
    >>> rng = np.random.default_rng(0)
    >>> y, mark = rng.integers(0, 2, (2, 300))
    >>> X = np.column_stack([y, 9 * mark]) + rng.normal(0, 1, (300, 2))
    >>> answers = np.where(np.arange(300) < 40, mark, -1)
    >>> progress(y, GroupInference(random_state=0).fit(X, y, answers)).enough
    True
    """
    y = np.asarray(y)
    q = inference.label_distributions_
    if len(q) != len(y):
        raise InputError(f"y holds {len(y)} labels, but the inference {len(q)} samples.")
    n = inference.n_known_
    if inference.view_ is None:
        return Progress(n, 0.0, None, False, "No view reads the attribute from the answers so far.")
    purity, group = min(_purities(y, q, inference.classes_), key=lambda pair: pair[0])
    pure = purity >= ENOUGH_PURITY
    enough = bool((pure and n >= FEWEST) or n >= MOST)
    share, least = f"{100 * purity:.0f} %", f"those taken for {group[1]!r} of class {group[0]!r}"
    if n < FEWEST:
        reason = f"{n} answers are fewer than {FEWEST}."
    elif enough and not pure:
        reason = (
            f"Of {least} only {share} are expected to belong there, but more than {MOST} answers "
            "hardly paid where that was measured."
        )
    elif enough:
        reason = (
            f"Of every group {share} or more are expected to belong there ({least} are the least "
            "sure): more answers hardly pay."
        )
    else:
        reason = (
            f"Of {least} only {share} are expected to belong there, and "
            f"{100 * ENOUGH_PURITY:.0f} % are enough."
        )
    return Progress(n, purity, group, enough, reason)


def _purities(y: Array, q: Array, values: Array) -> list[tuple[float, tuple[Any, Any]]]:
    """Expected share of right members of each group that holds any."""
    found = list[tuple[float, tuple[Any, Any]]]()
    taken_for = q.argmax(axis=1)
    for label in np.unique(y):
        for i in np.unique(taken_for[y == label]):
            members = (y == label) & (taken_for == i)
            group = (np.asarray(label).item(), np.asarray(values[i]).item())
            found.append((float(q[members, i].mean()), group))
    return found

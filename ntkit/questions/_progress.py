"""Whether more answers would still pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError

__all__ = ["ENOUGH_OVERLAP", "MOST", "Progress", "is_earlier", "progress"]

Array = NDArray[Any]
ENOUGH_OVERLAP = 0.6
"""Smallest overlap of a group with itself of fewer answers at which asking ends. On the data that
it was set on, anything from 0.5 to 0.8 did about as well."""
FEWEST = 36
"""Answers below which it does not."""
MOST = 192
"""Answers at which it does, where a view is read: more were never tried."""
_SHARE = 0.75
"""Of the answers, that an earlier inference may have seen at most: of fewer new ones groups stay
as they are because hardly anything is new."""
_NOTHING_READ = "No view reads the attribute from the answers so far"


@dataclass(frozen=True)
class Progress:
    """How far the answers have come.

    Attributes
    ----------
    n_answers : int
        Answers so far.
    purity : float
        Expected share of members that belong there, of the least pure group (class × value), by
        the probabilities of the inference; 0 where it reads no view. Said of itself, and now and
        then wrong by far: asking does not end by it.
    least_pure : tuple or None
        That group: (class, value).
    enough : bool
        Whether more answers are not expected to pay.
    reason : str
        Why, in a sentence or two.
    overlap : float
        Of the group that changed most since an earlier inference: how many are in it by both, as
        a share of those that are by either (Jaccard index). NaN where there is nothing to compare
        with.
    """

    n_answers: int
    purity: float
    least_pure: tuple[Any, Any] | None
    enough: bool
    reason: str
    overlap: float = float("nan")


def progress(
    y: ArrayLike, inference: GroupInference, earlier: Sequence[GroupInference] = ()
) -> Progress:
    """Say whether to ask on, from what the last answers changed.

    Asking ends when 36 answers were given and the groups class × value are about what they were
    with three quarters of the answers or fewer: the group that changed most has an overlap of 60 %
    or more. It ends after 192 at the latest, unless no view reads the attribute. Answers that
    leave the groups as they are leave the head as it is that is balanced over them. The page on
    answers has what was lost by that.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    inference : GroupInference
        Fitted to the answers so far.
    earlier : sequence of GroupInference
        Fitted to fewer of the answers, as a rule before the last batches; the last one counts that
        has seen at most three quarters of them. Without one, asking goes on to 192.

    Returns
    -------
    Progress

    Raises
    ------
    InputError
        If an inference was fitted to other samples.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import GroupInference
    >>> from ntkit.questions import progress
    >>> rng = np.random.default_rng(0)
    >>> y, mark = rng.integers(0, 2, (2, 300))
    >>> X = np.column_stack([y, 9 * mark]) + rng.normal(0, 1, (300, 2))
    >>> first, then = (
    ...     GroupInference(random_state=0).fit(X, y, np.where(np.arange(300) < n, mark, -1))
    ...     for n in (24, 48)
    ... )
    >>> progress(y, then).enough, progress(y, then, [first]).enough
    (False, True)
    """
    y = np.asarray(y)
    for one in (inference, *earlier):
        n_samples = len(one.label_distributions_)
        if n_samples != len(y):
            raise InputError(f"y holds {len(y)} labels, but the inference {n_samples} samples.")
    n = inference.n_known_
    if inference.view_ is None:
        values = inference.classes_.tolist()
        alike = f": all are {values[0]!r}" if len(values) == 1 else ""
        return Progress(n, 0.0, None, False, f"{_NOTHING_READ}{alike}.")
    q = inference.label_distributions_
    purity, least_pure = min(_purities(y, q, inference.classes_), key=lambda pair: pair[0])
    before = next((one for one in reversed(earlier) if is_earlier(one.n_known_, n)), None)
    overlap, changed = float("nan"), None
    if before is not None and before.view_ is not None:
        overlap, changed = min(_overlaps(y, inference, before), key=lambda pair: pair[0])
    stays = overlap >= ENOUGH_OVERLAP
    enough = bool((stays and n >= FEWEST) or n >= MOST)
    if n < FEWEST and n < MOST:
        reason = f"{n} answers are fewer than {FEWEST}."
    elif changed is None:
        reason = "Only another batch can show whether the groups stay as they are."
        if before is not None:
            reason = f"With {before.n_known_} answers no group was read yet, so none has stayed."
        if n >= MOST:
            reason = f"More than {MOST} answers were never tried, and these were not compared."
    else:
        assert before is not None
        reason = _reason(n, before.n_known_, overlap, changed, enough=enough, stays=bool(stays))
    return Progress(n, purity, least_pure, enough, reason, overlap)


def is_earlier(n_before: int, n: int) -> bool:
    """Whether enough answers are new since an inference to compare with it."""
    return 0 < n_before <= _SHARE * n


def _reason(
    n: int, n_before: int, overlap: float, changed: tuple[Any, Any], *, enough: bool, stays: bool
) -> str:
    """What the last answers changed, and what follows."""
    what = f"those taken for {changed[1]!r} of class {changed[0]!r}"
    share = f"{int(100 * overlap)} %"
    news = f"{n - n_before} of the {n} answers"
    if stays:
        return (
            f"The last {news} left the groups about as they were (overlap {share} for {what}, "
            "which changed most): where that was measured, more answers hardly paid."
        )
    changing = f"The last {news} changed the groups (overlap {share} for {what})"
    if enough:
        return (
            f"{changing}, so they are not settled, but more than {MOST} answers were never tried: "
            "judge by held-out samples."
        )
    return f"{changing}, and {100 * ENOUGH_OVERLAP:.0f} % are enough: ask on."


def _purities(y: Array, q: Array, values: Array) -> list[tuple[float, tuple[Any, Any]]]:
    """Expected share of right members of each group that holds any."""
    found = list[tuple[float, tuple[Any, Any]]]()
    taken_for = q.argmax(axis=1)
    for label in np.unique(y):
        for i in np.unique(taken_for[y == label]):
            members = (y == label) & (taken_for == i)
            found.append((float(q[members, i].mean()), _named(label, values[i])))
    return found


def _overlaps(
    y: Array, now: GroupInference, before: GroupInference
) -> list[tuple[float, tuple[Any, Any]]]:
    """Jaccard index of each group with itself, of those that hold any sample by either."""
    found = list[tuple[float, tuple[Any, Any]]]()
    values = [*now.classes_, *(v for v in before.classes_ if v not in now.classes_)]
    for label in np.unique(y):
        for value in values:
            ours, theirs = (
                (y == label) & (np.asarray(one.transduction_) == value) for one in (now, before)
            )
            if (either := (ours | theirs).sum()) > 0:
                found.append((float((ours & theirs).sum() / either), _named(label, value)))
    return found


def _named(label: Any, value: Any) -> tuple[Any, Any]:
    return np.asarray(label).item(), np.asarray(value).item()

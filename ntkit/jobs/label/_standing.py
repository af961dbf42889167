"""How a question stands: answers, the groups that they give, how often a model is right in each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._doc import documented
from ntkit._text import counted, plain_table
from ntkit._types import Array
from ntkit.attributes import FEWEST, Group, Labels
from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.jobs.label._files import ANSWERS, PAGE

ENOUGH_OVERLAP = 0.6
"""Smallest overlap of a group with itself of fewer answers at which asking ends. On the data that
it was set on, anything from 0.5 to 0.8 did about as well."""
FEWEST_ANSWERS = 36
"""Answers below which it does not."""
MOST = 192
"""Answers at which it does, where a view is read: more were never tried."""
_SHARE = 0.75
"""Of the answers, that an earlier inference may have seen at most: of fewer new ones groups stay
as they are because hardly anything is new."""


@dataclass(frozen=True)
class Progress:
    """How far the answers have come, as :func:`progress` explains its fields."""

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
    or more. It ends after 192 at the latest, unless no feature set reads the attribute.

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
        ``enough``: more answers are not expected to pay; ``reason`` says why. ``n_answers``;
        ``purity``, the expected share of members that belong there, of the least pure group
        ``least_pure`` (class, value), 0 where nothing reads the attribute; ``overlap`` (Jaccard
        index) of the group that changed most since an earlier inference, NaN without one.

    Raises
    ------
    InputError
        If an inference was fitted to other samples.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import GroupInference
    >>> from ntkit.jobs.label import progress
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
    if inference.feature_set_ is None:
        values = inference.classes_.tolist()
        alike = f": all are {values[0]!r}" if len(values) == 1 else ""
        return Progress(
            n, 0.0, None, False, f"No view reads the attribute from the answers so far{alike}."
        )
    q = inference.label_distributions_
    purity, least_pure = min(_purities(y, q, inference.classes_), key=lambda pair: pair[0])
    before = next((one for one in reversed(earlier) if is_earlier(one.n_known_, n)), None)
    overlap, changed = float("nan"), None
    if before is not None and before.feature_set_ is not None:
        overlap, changed = min(_overlaps(y, inference, before), key=lambda pair: pair[0])
    stays = overlap >= ENOUGH_OVERLAP
    enough = bool((stays and n >= FEWEST_ANSWERS) or n >= MOST)
    if n < FEWEST_ANSWERS and n < MOST:
        reason = f"{n} answers are fewer than {FEWEST_ANSWERS}."
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


THE_MODEL = "the model as it is"


@documented
@dataclass(frozen=True, eq=False)
class Labelling:
    """How far a question has come, and what is asked next.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    labels : Labels
        Answers so far.
    n_new : int
        How many of them are new, or others than the last time.
    asked : tuple of str
        Names of the samples that are asked about now.
    table : str
        Name of the file to fill in, instead of the page.
    progress : Progress or None
        Whether more answers pay, as :func:`progress` says; None before the first.
    groups : tuple of Group
        Groups class × value, as the answers give them.
    feature_set : str or None
        Name of the feature set that the attribute is read from; None if nothing reads it.
    of_head : str
        Whose accuracies these are.
    {notes}
    about_answers : tuple of str
        Which answers went to samples of other names, were left out, or matched by name.
    """

    path: Path
    labels: Labels
    n_new: int
    asked: tuple[str, ...]
    table: str
    progress: Progress | None
    groups: tuple[Group, ...]
    feature_set: str | None
    of_head: str
    notes: tuple[str, ...]
    about_answers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*self.about_answers, *self._standing(), *self._next()])

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        done = self.progress
        return {
            "question": self.labels.question,
            "values": list(self.labels.values),
            "n_answers": self.labels.n_answers,
            "n_new": self.n_new,
            "enough": done is not None and done.enough,
            "reason": None if done is None else done.reason,
            "overlap": None if done is None or np.isnan(done.overlap) else done.overlap,
            "feature_set": self.feature_set,
            "groups": [asdict(group) for group in self.groups],
            "asked": list(self.asked),
            "answers": str(self.path / ANSWERS),
            "page": str(self.path / PAGE) if self.asked else None,
            "table": str(self.path / self.table) if self.asked else None,
            "notes": [*self.notes, *self.about_answers],
        }

    def _standing(self) -> list[str]:
        labels, done = self.labels, self.progress
        lines = [f"{labels.question} {counted(labels.n_answers, 'answer')}, {self.n_new} new."]
        unknown = len(labels.answers) - labels.n_answers
        if unknown:
            lines.append(f"Of {counted(unknown, 'more sample')} nobody could tell.")
        if done is None:
            return lines
        if self.feature_set is not None:
            lines.append(f"Of all other samples it is read from the view {self.feature_set!r}.")
        header = ["group", "answered", "taken for it", f"right, by {self.of_head}"]
        rows = [[g.name, str(g.n_known), str(g.count), g.share] for g in self.groups]
        lines.append(plain_table([header, *rows], "<>><"))
        known = [group for group in self.groups if not np.isnan(group.accuracy)]
        if known:
            worst = min(known, key=lambda group: group.accuracy)
            lines.append(f"The worst group now: {worst.name}, {worst.share} right.")
            if self.of_head == THE_MODEL:
                lines.append("If the model was fitted on these samples, these shares flatter it.")
        return [*lines, done.reason]

    def _next(self) -> list[str]:
        path, done = self.path, self.progress
        lines = []
        n_classes = len(self.groups) // len(self.labels.values)
        told_apart = sum(group.n_known > 0 for group in self.groups) > n_classes
        if self.feature_set is not None and told_apart:  # what debias asks for
            answers = shlex.quote(str(path / ANSWERS))
            lines.append(f"To repair with what is known: ntkit debias … --answers {answers}")
        if not self.asked:
            return [*lines, "There is nothing left to ask."]
        more = "To go on all the same" if done is not None and done.enough else "Next"
        return [
            *lines,
            f"{more}: {counted(len(self.asked), 'sample')}. Open {path / PAGE} in a browser and "
            f"move the labels.csv that it saves to {path} (or fill in {path / self.table}), then "
            "run the same command again.",
        ]


def standing_of(
    y: Array, attribute: Array, inference: GroupInference, right: Array, values: Sequence[str]
) -> tuple[Group, ...]:
    """All groups of the classes of samples with the values of an attribute."""
    # `attribute` holds what was answered, None where nobody was asked; `right` whether a head is.
    q = inference.label_distributions_
    taken_for = np.where(q.max(axis=1) > 0, inference.classes_[q.argmax(axis=1)].astype(object), "")
    return tuple(
        Group.of(
            f"{label} × {value}",
            (y == label) & (taken_for == value),
            right,
            n_known=int(((y == label) & (attribute == value)).sum()),
            fewest=FEWEST,
        )
        for label in np.unique(y)
        for value in values
    )

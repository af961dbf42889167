"""The samples to ask about next, how the answers stand, and when to stop."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_random_state, check_X_y

from ntkit._checks import known_labels
from ntkit._doc import documented
from ntkit._text import counted, plain_table
from ntkit._types import Array
from ntkit.attributes import FEWEST, Group, Labels, words
from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.jobs.label._files import ANSWERS, PAGE
from ntkit.study import AS_GOOD, Rows, class_weighted, penalty_path

_STRONGEST = 1.0


@documented
def margins_of(X: ArrayLike, y: ArrayLike, *, cv: int = 5, random_state: int = 0) -> Array:
    """Logit of each sample's class minus the largest other, by heads that have not seen it.

    The heads are class-balanced; their penalty is the strongest whose cross-validated mean class
    error is within 4 points of the smallest, as the reference head of ``AutoDebiasClassifier``.

    Parameters
    ----------
    {X, y}
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
    """Feature sets for :class:`~ntkit.estimators.GroupInference`, by name."""
    feature_sets: dict[str, Any] = {"embedding": Z}
    if layers:
        feature_sets["earlier layers"] = np.hstack([*layers.values()])
    if texts is not None:
        blocks = [block.values for block in words(texts).blocks() if block.values is not None]
        if blocks:
            feature_sets["words"] = sparse.hstack(blocks, format="csr")
    numbers = isinstance(inputs, np.ndarray) and inputs.ndim == 2 and inputs.dtype.kind in "biuf"
    if numbers and np.isfinite(inputs).all():
        feature_sets["columns"] = inputs
    return feature_sets


_CANDIDATES = 4  # the samples drawn from are so many times those drawn: neighbours say the same


@documented
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
    first: where a model relies on an attribute, these lack it. The other half is drawn from the
    rest. With an inference, half are drawn from the samples that it takes for the rare values of
    their class, which a second look confirms or corrects, and half from those of which it is least
    sure.

    Parameters
    ----------
    {y}
    attribute : array-like of shape (N,), optional
        Answers so far: -1, None or NaN where nobody was asked. These samples are not asked about
        again.
    margins : array-like of shape (N,)
        Logit of each sample's class minus the largest other, of a head that has not seen it, such
        as from :func:`margins_of`.
    inference : GroupInference, optional
        Fitted to the answers so far. None, or one that reads no feature set, asks about errors.
    n : int, default=12
        How many; fewer if fewer are left. Small batches ask better: each uses the answers of the
        one before.
    random_state : int, RandomState instance or None, default=None
        Decides the draws.

    Returns
    -------
    ndarray of int
        Row numbers, in an order that does not show a person what is expected.

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
    >>> rows = next_questions(y, margins=margins, n=8, random_state=0)
    >>> {3, 60} <= set(rows.tolist()), np.bincount(y[rows]).tolist()
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
            of_class = np.flatnonzero(y_index == label)
            chosen.append(_left_open(left, q, of_class, share, rng))
    return np.asarray(rng.permutation(np.concatenate(chosen)))


def _shares(left: Array, n: int) -> list[int]:
    """Number of samples of each class, equal as far as there are enough."""
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
    """Progress of the answers, as :func:`progress` explains its fields."""

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
    """Sentences on the changes by the last answers and on their meaning."""
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
    purities = list[tuple[float, tuple[Any, Any]]]()
    taken_for = q.argmax(axis=1)
    for label in np.unique(y):
        for i in np.unique(taken_for[y == label]):
            members = (y == label) & (taken_for == i)
            purities.append((float(q[members, i].mean()), _named(label, values[i])))
    return purities


def _overlaps(
    y: Array, now: GroupInference, before: GroupInference
) -> list[tuple[float, tuple[Any, Any]]]:
    """Jaccard index of each group with itself, of those that hold any sample by either."""
    overlaps = list[tuple[float, tuple[Any, Any]]]()
    values = [*now.classes_, *(v for v in before.classes_ if v not in now.classes_)]
    for label in np.unique(y):
        for value in values:
            ours, theirs = (
                (y == label) & (np.asarray(one.transduction_) == value) for one in (now, before)
            )
            if (either := (ours | theirs).sum()) > 0:
                overlaps.append((float((ours & theirs).sum() / either), _named(label, value)))
    return overlaps


def _named(label: Any, value: Any) -> tuple[Any, Any]:
    return np.asarray(label).item(), np.asarray(value).item()


THE_MODEL = "the model as it is"


@documented
@dataclass(frozen=True, eq=False)
class Labelling:
    """Progress of a question, and the samples that are asked about next.

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

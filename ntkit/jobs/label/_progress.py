"""Choose the samples of the next batch, summarise the labels, and decide when to stop."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_random_state, check_X_y

from ntkit._checks import known_labels
from ntkit._doc import documented
from ntkit._key import group_name
from ntkit._text import NONE, counted, percent, plain_table
from ntkit._types import Array
from ntkit.attributes import words
from ntkit.attributes.answers import Labels
from ntkit.attributes.attribute import Group
from ntkit.attributes.feature_set import FEWEST, OF_ENOUGH
from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.jobs.label._files import ANSWERS, PAGE
from ntkit.metrics import compare
from ntkit.metrics.rows import Kind
from ntkit.study import Rows, tuned


@documented
def margins_of(X: ArrayLike, y: ArrayLike, *, cv: int = 5, random_state: int = 0) -> Array:
    """Cross-fitted margins: logit of each sample's class minus the largest other logit.

    The heads are class-balanced. Their penalty is the strongest whose cross-validated mean class
    error is within 4 percentage points of the smallest. ``AutoDebiasClassifier`` fits its
    class-balanced baseline in the same way.

    Parameters
    ----------
    {X, y}
    cv : int, default=5
        Number of folds.
    random_state : int, default=0
        Seed of the folds.

    Returns
    -------
    ndarray of shape (N,)
        Margins; negative for misclassified samples.

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
    rows = Rows.of(Z, y)
    if len(rows.classes) < 2 or np.bincount(rows.y_index).min() < 2:
        raise InputError("Margins need two classes with two samples each. Pass more samples.")
    baseline = tuned(rows, rows.balanced(), n_splits=cv, seed=random_state, tol=1e-4).strongest()
    assert baseline.margin is not None
    return baseline.margin


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


_CANDIDATES = 4  # random choice among 4 times as many samples, because neighbours are redundant


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
    """Choose the samples of the next batch, equally many of every class.

    Without an inference, half of the batch are misclassified samples, with the lowest margins. If
    the model relies on an attribute, these tend to lack it. The other half is random. With an
    inference, half are random samples that it assigns to a rare value of their class; their labels
    confirm or correct it. The other half are samples about which the inference is least certain.

    Parameters
    ----------
    {y}
    attribute : array-like of shape (N,), optional
        Labels so far; -1, None or NaN without a label. Labelled samples are not chosen.
    margins : array-like of shape (N,)
        Logit of each sample's class minus the largest other logit, from heads that were not fitted
        on the sample, such as :func:`margins_of`.
    inference : GroupInference, optional
        Inference fitted to the labels so far.
    n : int, default=12
        Number of samples; fewer if fewer are left. Small batches are more informative, because
        each uses the labels of the previous one.
    random_state : int, RandomState instance or None, default=None
        Seed of random choices.

    Returns
    -------
    ndarray of int
        Row numbers in random order.

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
        raise InputError(f"n must be at least 1. Got {n!r}.")
    asked = np.zeros(len(y_index), dtype=bool)
    if attribute is not None:
        _, asked = known_labels(attribute, "attribute")
        if len(asked) != len(y_index):
            raise InputError(f"attribute holds {len(asked)} values, but y holds {len(y_index)}.")
    rng = check_random_state(random_state)
    chosen = list[Array]()
    n_left = np.bincount(y_index[~asked], minlength=y_index.max(initial=-1) + 1)
    for label, share in enumerate(_shares(n_left, n)):
        left = np.flatnonzero((y_index == label) & ~asked)
        if inference is None or inference.feature_set_ is None:
            chosen.append(_errors_first(left, margin, share, rng))
        else:
            q = inference.label_distributions_
            of_class = np.flatnonzero(y_index == label)
            chosen.append(_rare_or_uncertain(left, q, of_class, share, rng))
    return np.asarray(rng.permutation(np.concatenate(chosen)))


def _shares(left: Array, n: int) -> list[int]:
    """Number of samples of each class: equal, unless a class has too few."""
    shares = np.zeros(len(left), dtype=int)
    for _ in range(min(n, int(left.sum()))):
        open_ = np.flatnonzero(shares < left)
        shares[open_[shares[open_].argmin()]] += 1
    return [int(share) for share in shares]


def _errors_first(left: Array, margin: Array, n: int, rng: np.random.RandomState) -> Array:
    """Up to half misclassified samples with the lowest margins, the others at random."""
    wrong = left[margin[left] < 0]
    wrong = wrong[np.argsort(margin[wrong], kind="stable")][: n // 2]
    rest = np.setdiff1d(left, wrong)
    return np.concatenate([wrong, rng.permutation(rest)[: n - len(wrong)]])


def _rare_or_uncertain(
    left: Array, q: Array, of_class: Array, n: int, rng: np.random.RandomState
) -> Array:
    """Half with a rare inferred value of their class, half with the least certain inference."""
    inferred = q[of_class].argmax(axis=1)
    common = np.bincount(inferred).argmax()
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
"""ntkit stops if every inferred group has this overlap with the group inferred from fewer labels.
On the data used to choose it, values from 0.5 to 0.8 did about as well."""
FEWEST_ANSWERS = 36
"""Smallest number of labels at which ntkit stops."""
MOST = 192
"""Number of labels at which ntkit stops if a feature set predicts the attribute: the experiments
did not use more."""
_SHARE = 0.75
"""Largest share of the labels that the earlier inference may have: with fewer new labels, groups
hardly change in any case."""


@dataclass(frozen=True)
class Progress:
    """Whether there are enough labels, and why; :func:`progress` explains the fields."""

    n_answers: int
    purity: float
    least_pure: tuple[Any, Any] | None
    enough: bool
    reason: str
    overlap: float = float("nan")


def progress(
    y: ArrayLike, inference: GroupInference, earlier: Sequence[GroupInference] = ()
) -> Progress:
    """Decide whether there are enough labels, from the effect of the last ones on the groups.

    There are enough if there are at least 36 labels and the inferred groups class × value are
    stable: compared with the groups from at most three quarters of the labels, every group has an
    overlap (Jaccard index) of at least 60 %. 192 labels are always enough, unless no feature set
    predicts the attribute.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    inference : GroupInference
        Inference fitted to all labels.
    earlier : sequence of GroupInference
        Inferences fitted to fewer labels. The comparison uses the last one with at most three
        quarters of the labels. Without one, 192 labels are needed.

    Returns
    -------
    Progress
        ``enough`` says whether to stop, and ``reason`` why. ``n_answers`` is the number of labels.
        ``purity`` is the expected share of correct members of the least pure group ``least_pure``
        (class, value); it is 0 if no feature set predicts the attribute. ``overlap`` is the
        smallest overlap of a group with the earlier one; NaN without an earlier inference.

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
            raise InputError(f"y holds {len(y)} labels, but the inference has {n_samples} samples.")
    n = inference.n_known_
    if inference.feature_set_ is None:
        values = inference.classes_.tolist()
        alike = f" All labels are {values[0]!r}." if len(values) == 1 else ""
        reason = f"ntkit cannot infer the attribute from the {n} labels so far.{alike}"
        return Progress(n, 0.0, None, False, reason)
    now = _inferred_groups(y, inference)
    certainty = inference.label_distributions_.max(axis=1)
    purity, least_pure = min(
        ((float(certainty[members].mean()), group) for group, members in now.items()),
        key=lambda pair: pair[0],
    )
    before = next((one for one in reversed(earlier) if is_earlier(one.n_known_, n)), None)
    if before is None or before.feature_set_ is None:
        return Progress(n, purity, least_pure, n >= MOST, _why_not_compared(n, before))
    then, nobody = _inferred_groups(y, before), np.zeros(len(y), dtype=bool)
    values = [*inference.classes_, *(v for v in before.classes_ if v not in inference.classes_)]
    overlaps = [
        (float((ours & theirs).sum() / (ours | theirs).sum()), group)
        for group in (_named(label, value) for label in np.unique(y) for value in values)
        if (ours := now.get(group, nobody)).any() | (theirs := then.get(group, nobody)).any()
    ]
    overlap, changed = min(overlaps, key=lambda pair: pair[0])
    stable = overlap >= ENOUGH_OVERLAP
    enough = (stable and n >= FEWEST_ANSWERS) or n >= MOST
    share, limit = f"{int(100 * overlap)} %", f"{100 * ENOUGH_OVERLAP:.0f} %"
    last = f"The last {n - before.n_known_} of {n} labels"
    group = f"the group {changed[1]!r} of class {changed[0]!r}"
    changing = f"{last} changed the groups: {group} has an overlap of {share} (limit {limit})."
    if n < FEWEST_ANSWERS:
        reason = _TOO_FEW.format(n)
    elif stable:
        reason = (
            f"{last} hardly changed the groups: {group} changed most, with an overlap of {share} "
            f"(limit {limit}). In our experiments, more labels hardly helped."
        )
    elif enough:
        reason = (
            f"{changing} Our experiments never used more than {MOST} labels, so check the result "
            "on validation samples."
        )
    else:
        reason = f"{changing} More labels are needed."
    return Progress(n, purity, least_pure, enough, reason, overlap)


def _why_not_compared(n: int, before: GroupInference | None) -> str:
    """Sentence on n labels whose groups have no earlier ones to compare with."""
    if n < FEWEST_ANSWERS:
        return _TOO_FEW.format(n)
    if n >= MOST:
        return (
            f"There are {n} labels. Our experiments never used more than {MOST}. ntkit could "
            "not compare the groups with earlier ones."
        )
    if before is None:
        return "Another batch is needed to show whether the groups are stable."
    return (
        f"With {before.n_known_} labels ntkit inferred no groups, so it cannot compare "
        "them. Another batch is needed."
    )


_TOO_FEW = f"{{}} labels are too few. At least {FEWEST_ANSWERS} are needed."


def is_earlier(n_before: int, n: int) -> bool:
    """Whether an inference has few enough of the labels to compare with it."""
    return 0 < n_before <= _SHARE * n


def _inferred_groups(y: Array, inference: GroupInference) -> dict[tuple[Any, Any], Array]:
    """Members of each group class × value that has some, bool (N,)."""
    inferred = inference.label_distributions_.argmax(axis=1)
    return {
        _named(label, inference.classes_[i]): (y == label) & (inferred == i)
        for label in np.unique(y)
        for i in np.unique(inferred[y == label])
    }


def _named(label: Any, value: Any) -> tuple[Any, Any]:
    return np.asarray(label).item(), np.asarray(value).item()


THE_MODEL = "the model"


@documented
@dataclass(frozen=True, eq=False)
class Labelling:
    """Labels of a question so far, the inferred groups, and the next batch.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    labels : Labels
        Labels so far.
    n_new : int
        Number of labels that are new or changed.
    asked : tuple of str
        Names of the samples in the next batch.
    table : str
        Name of the table to fill in, as an alternative to the page.
    progress : Progress or None
        Whether there are enough labels, from :func:`progress`; None before the first label.
    groups : tuple of Group
        Inferred groups class × value.
    feature_set : str or None
        Name of the feature set that predicts the attribute; None if none does.
    of_head : str
        Whose accuracies the groups have: the model's, or cross-fitted heads'.
    {notes}
    about_answers : tuple of str
        Notes on unused labels, and on matching by name.
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
        return "\n".join([*self.about_answers, *self._labels_so_far(), *self._next()])

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
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
            "groups": [_facts(group, self.feature_set is not None) for group in self.groups],
            "asked": list(self.asked),
            "answers": str(self.path / ANSWERS),
            "page": str(self.path / PAGE) if self.asked else None,
            "table": str(self.path / self.table) if self.asked else None,
            "notes": [*self.notes, *self.about_answers],
        }

    def _labels_so_far(self) -> list[str]:
        labels, done = self.labels, self.progress
        unknown = len(labels.answers) - labels.n_answers
        skipped = f" Nobody could label {counted(unknown, 'more sample')}." * bool(unknown)
        count = counted(labels.n_answers, "label")
        lines = [f"{labels.question} {count}, {self.n_new} new.{skipped}"]
        if done is None:
            return lines
        if self.feature_set is not None:
            lines.append(f"ntkit inferred the other labels from the {self.feature_set}.")
        inferred = self.feature_set is not None  # an interval would not know that

        def share(group: Group) -> str:
            if group.n < FEWEST:
                return NONE
            return percent(group.value) if inferred else group.share

        header = [
            "group",
            "labels",
            "samples",
            "estimated " * inferred + f"accuracy of {self.of_head}",
        ]
        rows = [[g.name, str(g.n_known), str(g.n), share(g)] for g in self.groups]
        lines += ["", plain_table([header, *rows], "<>><"), ""]
        known = [group for group in self.groups if group.n >= FEWEST]
        if known:
            worst = min(known, key=lambda group: group.value)
            caveat = " Accuracies on training samples are too high." * (self.of_head == THE_MODEL)
            if self.feature_set is None:  # these groups hold no other samples
                caveat = " These samples were asked about because heads err there: it is too low."
            elif caveat:
                caveat = f"{caveat[:-1]}, and inferred groups are estimates."
            some = f" {OF_ENOUGH}" * any(0 < g.n < FEWEST for g in self.groups)
            lines.append(f"Worst group{some}: {worst.name}, accuracy {share(worst)}.{caveat}")
        return [*lines, done.reason]

    def _next(self) -> list[str]:
        path, done = self.path, self.progress
        n_classes = len(self.groups) // len(self.labels.values)
        several = sum(group.n_known > 0 for group in self.groups) > n_classes
        repair = []
        if self.feature_set is not None and several:  # groups that debias can balance
            answers = shlex.quote(str(path / ANSWERS))
            repair = [f"Repair with these labels: ntkit debias … --answers {answers}"]
        if not self.asked:
            return ["All samples have been shown.", *repair]
        label = [how_to_label(path, len(self.asked), self.table)]
        return [*label, *repair] if done is not None and done.enough else [*repair, *label]


def how_to_label(folder: Path, n: int, table: str) -> str:
    """Sentences on the files of a batch of samples."""
    return (
        f"Label {counted(n, 'sample')}: open {folder / PAGE} in a browser, or fill in "
        f"{folder / table}. Move the page's labels.csv to {folder}, and run the same command again."
    )


def groups_of(
    y: Array, attribute: Array, inference: GroupInference, right: Array, values: Sequence[str]
) -> tuple[Group, ...]:
    """All groups class × value, with their labels and accuracies."""
    # `attribute` holds labels, None without one. `right` marks correct predictions.
    q = inference.label_distributions_
    inferred = np.where(q.max(axis=1) > 0, inference.classes_[q.argmax(axis=1)].astype(object), "")
    pairs = [*product(np.unique(y), values)]
    cells: list[tuple[Kind, Any, Array]]
    cells = [("group", group_name(*pair), (y == pair[0]) & (inferred == pair[1])) for pair in pairs]
    rows = zip(compare([right], cells), pairs, strict=True)
    return tuple(
        Group(**vars(row), n_known=int(((y == label) & (attribute == value)).sum()))
        for row, (label, value) in rows
    )


def _facts(group: Group, inferred: bool) -> dict[str, Any]:
    """All values of a group for JSON; too few samples have no accuracy."""
    few = {"accuracy": None} if group.n < FEWEST else {}
    unknown = {"interval": (0.0, 1.0)} if few else {}
    return group.as_dict() | few | ({"interval": None} if inferred else unknown)

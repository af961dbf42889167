"""Predictions of one or two models, held to limits: no model is run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import check_predictions as checked
from ntkit._checks import known_labels
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.jobs.check._judge import Subset, judged
from ntkit.jobs.check._limits import KINDS, Limits, limits_of
from ntkit.jobs.check._result import CheckResult, Kind, named


def check_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    y_pred_before: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    slices: Mapping[str, ArrayLike] | None = None,
    classes: ArrayLike | None = None,
    names: Sequence[Any] | None = None,
    limits: Any = None,
    title: str = "the predictions",
    notes: Sequence[str] = (),
) -> CheckResult:
    """Hold predictions of one or two models to limits.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (N,)
        True and predicted classes.
    y_pred_before : array-like of shape (N,), optional
        What the model before predicts of the same samples.
    groups : array-like of shape (N,), optional
        Group labels; -1, None or NaN where the group is not known.
    slices : mapping of str to array-like of shape (N,), optional
        Which samples are in which named slice: 1 or True, 0 or False, −1 where that is not known.
        Each class that a slice has samples of is held to the slice's largest drop as well.
    classes : array-like, optional
        Classes that there may be, those without samples among them; by default those of
        ``y_true``.
    names : sequence of length N, optional
        What to call the samples; by default their rows.
    limits : Limits, mapping or path-like
        As in :func:`ntkit.check`.
    title : str
        What to call that which is checked.
    notes : sequence of str
        What was assumed.

    Returns
    -------
    CheckResult

    Raises
    ------
    InputError
        If lengths or types of labels differ, there is no limit, or one cannot be looked at: of
        groups without groups, of a change without predictions before.

    Examples
    --------
    Of 300 samples two broke; a drop of 3 points is allowed:

    >>> import numpy as np
    >>> from ntkit.jobs.check import check_predictions
    >>> y = np.arange(300) % 2
    >>> after = np.where(np.arange(300) < 2, 1 - y, y)
    >>> found = check_predictions(y, after, y_pred_before=y, limits={"max_drop": 3})
    >>> found
    CheckResult(too few: 1 pass, 0 fail, 2 too few; 300 samples)
    >>> found.row("class 1").verdicts[0].more
    '258 samples would do if they are as these'
    """
    held = limits_of(limits)
    given = {"y_pred": y_pred}
    if y_pred_before is not None:
        given["y_pred_before"] = y_pred_before
    y, pred, *rest = checked(y_true, **given)
    right, before = pred == y, (rest[0] == y if rest else None)
    refuse_untellable(held, compared=before is not None, grouped=groups is not None)
    members: list[tuple[Kind, str, Array]] = [
        ("average", "average", np.ones(len(y), bool)),
        *_of_classes(y, classes),
        *_of_groups(groups, len(y)),
        *_of_slices(slices or {}, len(y), held),
    ]
    subsets = [Subset.of(*member, right, before) for member in members]
    if before is not None:
        subsets += [
            Subset.of("slice", name, inside, right, before, within=of)
            for of, name, inside in _classes_within(members, y)
        ]
    _refuse_missing_kinds(held, {subset.kind for subset in subsets})
    rows = judged(subsets, held)
    no_group = 0 if groups is None else len(y) - sum(r.n for r in rows if r.kind == "group")
    if no_group:
        why = "their group is -1 or none, which means that it is not known"
        notes = [*notes, f"{no_group} of {len(y)} samples are in no group: {why}."]
    compared = sum(len(row.verdicts) for row in rows if row.n > 1)
    new_errors = np.flatnonzero(before & ~right) if before is not None else np.empty(0, np.int64)
    called = [str(row) if names is None else names[row] for row in new_errors[:1000].tolist()]
    return CheckResult(
        rows, held.alpha, compared, new_errors, named(called), title, tuple(dict.fromkeys(notes))
    )


def refuse_untellable(limits: Limits, *, compared: bool, grouped: bool) -> None:
    """Refuse limits that nothing could be compared with."""
    if not limits.stated:
        raise InputError(
            "There is no limit to check; give one, such as --max-drop 2 (two models), "
            "--worst-class 80, --worst-group 70 or --limits FILE (limits= in Python)."
        )
    if limits.compares and not compared:
        raise InputError(
            "max_drop and max_new_errors are about a change from one model to another; give both "
            "models, or hold the one to average, worst_class or worst_group."
        )
    if limits.worst_group is not None and not grouped:
        raise InputError(
            "worst_group needs group labels, and the samples have none: add a group column (or a "
            "metadata.csv with file_name and group), or name slices instead."
        )


def _refuse_missing_kinds(limits: Limits, kinds: AbstractSet[str]) -> None:
    """Refuse to hold to a drop what there is none of: nothing would be held to it."""
    missing = [kind for kind in limits.over if kind not in kinds]
    if missing and limits.over != KINDS and limits.max_drop is not None:
        fix = "add a group column" if missing[0] == "group" else "name slices with --slice"
        raise InputError(
            f"The largest drop is for each {missing[0]} (--over, over=), and the samples have no "
            f"{missing[0]}; {fix}, or leave it out of --over."
        )


def _classes_within(
    members: Sequence[tuple[Kind, str, Array]], y: Array
) -> Iterator[tuple[str, str, Array]]:
    """Each class of a slice that has several: in all of them one may lose what another gains."""
    for kind, name, inside in members:
        labels = np.unique(y[inside]).tolist()
        for label in labels if kind == "slice" and len(labels) > 1 else ():
            yield name, f"{name}, class {label}", inside & (y == label)


def _of_classes(y: Array, classes: ArrayLike | None) -> Iterator[tuple[Kind, str, Array]]:
    found = np.unique(y).tolist()
    known = [] if classes is None else np.asarray(classes).tolist()
    for label in [*known, *(label for label in found if label not in set(known))]:
        yield "class", str(label), np.asarray(y == label)


def _of_groups(groups: ArrayLike | None, n: int) -> Iterator[tuple[Kind, str, Array]]:
    if groups is None:
        return
    labels, known = known_labels(groups, "groups")
    if len(known) != n:
        raise InputError(f"groups holds {len(known)} labels for {n} samples; give one for each.")
    if not len(labels):
        raise InputError("groups is not known of any sample; label some of them.")
    for label in np.unique(labels).tolist():
        inside = np.zeros(n, dtype=bool)
        inside[known] = labels == label
        yield "group", str(label), inside


def _of_slices(
    slices: Mapping[str, ArrayLike], n: int, limits: Limits
) -> Iterator[tuple[Kind, str, Array]]:
    missing = next((name for name in limits.slices if name not in slices), None)
    if missing is not None:
        raise InputError(
            f"The limits name the slice {missing!r}, which is not among the slices given "
            f"({', '.join(map(repr, slices)) or 'none'})."
        )
    for name, values in slices.items():
        inside = np.asarray(values)
        if inside.shape != (n,):
            raise InputError(
                f"The slice {name!r} has shape {inside.shape} for {n} samples; give one value each."
            )
        yield "slice", name, np.asarray(inside == 1)

"""Check predictions in any form: classes, scores, or classifiers with samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import by_names, check_index, check_labels, combined, labels_of_one_type
from ntkit._contents import digests_of_rows, row_contents
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.jobs.check._judge import check_classes, truths
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.class_of_scores import are_scores, read_scores
from ntkit.samples.copies import Places, note_on_copies, without_copies
from ntkit.samples.samples import Samples


class Predictor(Protocol):
    """A fitted classifier, or anything else that predicts."""

    def predict(self, X: Any, /) -> Any:
        """Classes or scores of samples."""


@overload
def check_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    y_pred_before: ArrayLike | None = ...,
    groups: ArrayLike | None = ...,
    slices: Mapping[str, ArrayLike] | None = ...,
    flips: Mapping[str, ArrayLike] | None = ...,
    flips_before: Mapping[str, ArrayLike] | None = ...,
    classes: ArrayLike | None = ...,
    labels: Sequence[str] | None = ...,
    names: Sequence[Any] | None = ...,
    limits: Any = ...,
    title: str = ...,
    notes: Sequence[str] = ...,
) -> CheckResult: ...


@overload
def check_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike | Predictor,
    *,
    y_pred_before: ArrayLike | Predictor | None = ...,
    X: Any,
    groups: ArrayLike | None = ...,
    slices: Mapping[str, ArrayLike] | None = ...,
    flips: Mapping[str, ArrayLike] | None = ...,
    flips_before: Mapping[str, ArrayLike] | None = ...,
    classes: ArrayLike | None = ...,
    labels: Sequence[str] | None = ...,
    names: Sequence[Any] | None = ...,
    limits: Any = ...,
    title: str = ...,
    notes: Sequence[str] = ...,
) -> CheckResult: ...


@documented
def check_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike | Predictor,
    *,
    y_pred_before: ArrayLike | Predictor | None = None,
    X: Any = None,
    groups: ArrayLike | None = None,
    slices: Mapping[str, ArrayLike] | None = None,
    flips: Mapping[str, ArrayLike] | None = None,
    flips_before: Mapping[str, ArrayLike] | None = None,
    classes: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    names: Sequence[Any] | None = None,
    limits: Any = None,
    title: str = "the predictions",
    notes: Sequence[str] = (),
) -> CheckResult:
    """Check predictions of one or two models against limits.

    Parameters
    ----------
    {y_true}
    y_pred : array-like of shape (N,) or (N, C), or fitted classifier
        Predicted classes. Several columns, or fractions, are scores as in :func:`ntkit.audit`:
        a column for each class, or that of the second class alone. A classifier predicts ``X``.
    y_pred_before : array-like of shape (N,) or (N, C), or fitted classifier, optional
        The same of the old model.
    X : array-like or DataFrame of shape (N, ·), optional
        Samples that classifiers predict. Each content counts once, as in :func:`ntkit.check`.
    groups : array-like of shape (N,), or DataFrame, optional
        Group labels; -1, None, NaN or a text such as ``unknown`` if unknown. Several columns of a
        DataFrame are combined.
    slices : mapping of str to array-like of shape (N,), or DataFrame, optional
        Membership in each named slice: 1 or True, 0 or False, −1, NaN or None if unknown. The
        slice's largest drop also applies to each class within the slice.
    flips, flips_before : mapping of str to array-like of shape (N,), or DataFrame, optional
        For each named change, whether the prediction flips under the new and the old model: 1 or
        True, 0 or False, −1 without a changed copy.
    classes : array-like, optional
        All classes, also those without samples, in the order of columns of scores; by default
        those of ``y_true``.
    labels : sequence of str, optional
        Names of K labels that every sample has or not. ``y_true`` is then 1, 0, or NaN if unknown,
        (N, K); predictions are 1 or 0, (N, K), and flips have this shape. Columns of DataFrames
        count by name. Each label is checked on the samples where it is known, with one correction
        for all.
    names : sequence of length N, optional
        Names of the samples; by default their rows.
    limits : Limits, mapping or path-like
        As in :func:`ntkit.check`.
    title : str
        Name of the checked model.
    notes : sequence of str
        Assumptions, for the files.

    Returns
    -------
    CheckResult
        As :func:`ntkit.check` returns it.

    Raises
    ------
    InputError
        If lengths or types of labels differ, if there is no limit, or if a limit needs groups or
        predictions of an old model that are not passed.

    Examples
    --------
    The new model has two new errors among 300 samples, and the limit is a drop of 3 points:

    >>> import numpy as np
    >>> import ntkit
    >>> y = np.arange(300) % 2
    >>> after = np.where(np.arange(300) < 2, 1 - y, y)
    >>> result = ntkit.check_predictions(y, after, y_pred_before=y, limits={"max_drop": 3})
    >>> result
    CheckResult(too few: 1 pass, 0 fail, 2 too few; 300 samples)
    >>> result.row("class 1").verdicts[0].more
    '258 such samples would decide'
    """
    slices, flips = _by_name(slices, "slices"), _by_name(flips, "flips")
    flips_before = _by_name(flips_before, "flips_before")
    models = {"y_pred": y_pred}
    if y_pred_before is not None:
        models["y_pred_before"] = y_pred_before
    arrays = {"slices": slices, "flips": flips, "flips_before": flips_before}
    aligned = check_index(y_true=y_true, **models, X=X, groups=groups, names=names, **arrays)
    preds, of_scores = _predicted(models, X), list[str]()
    if labels is None:
        preds, of_scores = _without_scores(preds, y_true, classes)
    groups, kept, of_copies = combined(groups, "groups"), None, list[str]()
    if hasattr(X, "__len__"):
        if labels is None:
            y, *predicted = labels_of_one_type(y_true, **preds)
        else:
            every = {"y_true": y_true, **preds}
            y, *predicted = (np.asarray(by_names(v, labels, n)) for n, v in every.items())
        groups = None if groups is None else np.asarray(groups)
        samples = Samples(_contents(X), y, groups=groups)
        (once,) = without_copies([samples], also=predicted)
        of_copies += once.samples.notes
        if len(once.kept) < len(y):
            kept, y_true, groups = once.kept, once.samples.y, once.samples.groups
            preds = dict(zip(preds, (each[kept] for each in predicted), strict=True))
            names = [*range(len(y))] if names is None else [*names]
            if len(names) != len(y):
                raise InputError(
                    f"names holds {len(names)} names for {len(y)} samples. Pass one per sample."
                )
            names = [names[row] for row in kept.tolist()]
            slices, n_differ = _of_distinct(slices, "The slice", once, None)
            of_copies += note_on_copies(n_differ)
            flips, _ = _of_distinct(flips, "flips of the change", once, labels)
            flips_before, _ = _of_distinct(flips_before, "flips of the change", once, labels)
    result = check_classes(
        y_true,
        preds["y_pred"],
        y_pred_before=preds.get("y_pred_before"),
        groups=groups,
        slices=slices,
        flips=flips,
        flips_before=flips_before,
        classes=classes,
        labels=labels,
        names=names,
        limits=limits,
        title=title,
        notes=[*aligned, *notes, *of_scores, *of_copies],
    )
    return result if kept is None else replace(result, new_errors=kept[result.new_errors])


def _contents(X: Any) -> Any:
    """What tells samples of classifiers apart: texts, or rows."""
    if hasattr(X, "tocsr"):
        return row_contents(X)[:, None]
    if isinstance(X, list | tuple) or np.ndim(X) == 1:
        cells = [*X]
        if all(isinstance(each, str) for each in cells):
            return Texts(cells, TextPreprocessing(None, mask=None))
        rows = (np.asarray(each)[None] for each in cells)
        return np.asarray([digest for row in rows for digest in digests_of_rows(row)])[:, None]
    return X


def _of_distinct(
    given: Mapping[str, ArrayLike], what: str, places: Places, labels: Sequence[str] | None
) -> tuple[dict[str, Array], dict[str, int]]:
    """Marks of distinct samples, unknown where those of copies differ; and how many differ."""
    marks, n_differ = dict[str, Array](), dict[str, int]()
    for name, values in given.items():
        where = f"{what} {name!r}"
        array = truths(np.asarray(by_names(values, labels or (), where)), where)
        if len(array) != len(places.stands_for):
            n = f"{len(array)} values for {len(places.stands_for)} samples"
            raise InputError(f"{where}: got {n}. Pass one per sample.")
        columns = [places.of(each, -1) for each in array.reshape(len(array), -1).T]
        marks[name] = np.stack([each for each, _ in columns], axis=-1).reshape(-1, *array.shape[1:])
        n_differ[name] = sum(n for _, n in columns)
    return marks, n_differ


def _predicted(models: Mapping[str, Any], X: Any) -> dict[str, Any]:
    """Predictions by their names, those of classifiers on the samples X."""
    classifiers = {name: each for name, each in models.items() if hasattr(each, "predict")}
    for name, each in classifiers.items():
        if X is None:
            raise InputError(
                f"{name} is a {type(each).__name__}. Pass the samples that it predicts as X=, or "
                "pass its predictions."
            )
    if X is not None and not classifiers:
        raise InputError("X is for classifiers, and only predictions are passed. Leave X out.")
    return {**models, **{name: each.predict(X) for name, each in classifiers.items()}}


def _without_scores(
    preds: Mapping[str, Any], y_true: ArrayLike, classes: ArrayLike | None
) -> tuple[dict[str, Any], list[str]]:
    """Predictions with the classes of scores in their place, and notes on these."""
    notes, (y,) = list[str](), check_labels(y_true=y_true)
    predicted = dict(preds)
    for name, values in preds.items():
        if are_scores(values, y):
            labels, _, at, more = read_scores(y, values, classes, what=name, strict=classes is None)
            predicted[name], notes = labels[at], [*notes, *more]
    return predicted, notes


def _by_name(values: Any, what: str) -> dict[str, ArrayLike]:
    """Columns of a mapping or a DataFrame, by their names."""
    if values is not None and not isinstance(values, Mapping) and not hasattr(values, "columns"):
        raise InputError(
            f"{what} must be a mapping or a DataFrame; got {type(values).__name__}. Pass "
            "{'NAME': values} with one value per sample."
        )
    return {} if values is None else {str(name): column for name, column in values.items()}

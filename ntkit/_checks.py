"""Checks of columns of labels: one type, one length, one order; complete or partly unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._key import group_name
from ntkit._labels import (
    cell_name,
    is_missing,
    listed,
    listed_in_order,
    none_if_unknown,
    one_form,
    plain_label,
    spelt_as,
    unknown_labels,
    unknown_note,
)
from ntkit._process import warn
from ntkit._types import Array
from ntkit.exceptions import InputError

UNKNOWN = -1
"""The mark of an unknown label, as in ``sklearn.semi_supervised``."""
_AS_LABELS = "pass predicted classes, written as in y_true."
_RENUMBERED = 0.2  # share of the predictions
_KINDS = {"U": "text", "S": "bytes", "M": "dates", "m": "dates"} | dict.fromkeys("biufc", "numbers")


def check_labels(**columns: ArrayLike) -> list[Array]:
    """Columns as arrays of one length, shape (N,); messages use the keywords as names."""
    arrays = {name: _column(name, values) for name, values in columns.items()}
    first = next(iter(arrays))
    for name, array in arrays.items():
        if len(array) != len(arrays[first]):
            raise InputError(
                f"{name} has {len(array)} labels but {first} has {len(arrays[first])}; give one "
                "per sample."
            )
    return list(arrays.values())


def labels_of_one_type(y_true: ArrayLike, **columns: ArrayLike) -> list[Array]:
    """Class labels and predictions by :func:`check_labels`, all of the type of ``y_true``."""
    truth, *rest = check_labels(y_true=y_true, **columns)
    return [truth, *(_of_type(truth, name, each) for name, each in zip(columns, rest, strict=True))]


def _of_type(truth: Array, name: str, labels: Array) -> Array:
    """Labels spelt like those of ``y_true``; another type is an error."""
    expected, kind = (_KINDS.get(each.dtype.kind, "objects") for each in (truth, labels))
    if kind != expected:
        raise InputError(
            f"y_true has {expected} and {name} has {kind}, so no label would "
            "equal another; give labels of one type, such as 1 rather than '1'."
        )
    return spelt_as(labels, truth)


def labels_and_predictions(
    y_true: ArrayLike, aligned: Mapping[str, Any], **columns: ArrayLike
) -> list[Array]:
    """Class labels and predictions by :func:`labels_of_one_type`; scores are refused."""
    # Those in `aligned` are only compared by their index. If y_true has one class, as
    # in a fold, the predictions may all be another one.
    check_index(y_true=y_true, **columns, **aligned)
    truth, *rest = labels_of_one_type(y_true, **columns)
    labels = np.unique(truth)
    for name, each in zip(columns, rest, strict=True):
        _check_written(each, labels, what=name, all_foreign=len(labels) > 1)
    return [truth, *rest]


def check_predicted(
    predicted: Array,
    y: Array,
    classes: ArrayLike | None = None,
    *,
    what: str,
    where: str = "y_true",
    fix: str = _AS_LABELS,
    plain: Callable[[Any], str] = plain_label,
) -> None:
    """Raise an error for scores, and for classes written or numbered in another way than labels.

    ``classes`` may occur as well as the labels.
    """
    labels = np.unique(y)
    if classes is not None:
        labels = np.unique([*labels, *_of_type(y, "classes", np.asarray(classes))])
    foreign = _check_written(predicted, labels, what=what, where=where, fix=fix, plain=plain)
    classes = np.unique(predicted)
    if len(foreign) and len(classes) == len(labels):
        # Another numbering, such as from 0, that makes many more predictions right.
        renamed = labels[np.searchsorted(classes, predicted)]
        if (renamed == y).mean() > (predicted == y).mean() + _RENUMBERED:
            raise InputError(
                f"{what} has the classes {listed(classes)}, and {where} {listed(labels)}. The "
                "classes seem to be numbered in another way. Write the same names in both."
            )


def _check_written(
    predicted: Array,
    labels: Array,
    *,
    what: str,
    where: str = "y_true",
    fix: str = _AS_LABELS,
    plain: Callable[[Any], str] = plain_label,
    all_foreign: bool = True,
) -> Array:
    """Predicted classes without a label; raises an error for scores and another spelling."""
    classes = np.unique(predicted)
    foreign = np.setdiff1d(classes, labels)
    written = {*map(plain, foreign.tolist())} & {*map(plain, labels.tolist())}
    scores = classes.dtype.kind == "f" and _are_whole(labels) and not _are_whole(foreign)
    none = all_foreign and len(foreign) == len(classes)
    if len(labels) and (written or scores or none):
        raise InputError(unknown_labels(predicted, labels, what=what, where=where, fix=fix))
    return foreign


def _are_whole(numbers: Array) -> bool:
    """Whether labels are numbers without fractions."""
    return numbers.dtype.kind in "biu" or (
        numbers.dtype.kind == "f" and bool((numbers % 1 == 0).all())
    )


def check_weight(sample_weight: ArrayLike | None, n: int) -> Array:
    """Weights of shape (n,); ones if ``weight`` is None."""
    if sample_weight is None:
        return np.ones(n)
    weight = np.asarray(sample_weight)
    if weight.shape != (n,) or weight.dtype.kind not in "fiub":
        raise InputError(
            f"sample_weight must be {n} numbers, one per sample; got {weight.dtype} of shape "
            f"{weight.shape}."
        )
    weight = weight.astype(np.float64)
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise InputError(
            "sample_weight contains negative, infinite or NaN values; give weights >= 0."
        )
    if not weight.any():
        raise InputError("sample_weight is 0 for every sample; give some a positive weight.")
    return np.asarray(weight)


def check_magnitude(Z: Array, name: str) -> None:
    """Raise an error for finite values whose squares, summed, would overflow."""
    kind = np.result_type(Z.dtype, np.float32)
    largest = max(float(Z.max()), -float(Z.min()))
    if largest > 1e-3 * float(np.sqrt(np.finfo(kind).max)):
        raise InputError(
            f"{name} has values up to {largest:.2g}, whose squares are too large for {kind}. "
            "Divide each column by its standard deviation."
        )


def check_embeddings(Z: ArrayLike, n: int) -> Array:
    """Embeddings as a numeric array of shape (n, D) without NaN."""
    Z = np.asarray(Z)
    if Z.ndim != 2 or len(Z) != n:
        raise InputError(f"Embeddings of shape ({n}, D) are needed; got {Z.shape}.")
    if Z.dtype.kind not in "fiub":
        raise InputError(f"Embeddings must be numbers; got an array of type {Z.dtype}.")
    if not np.isfinite(Z).all():
        raise InputError("The embeddings contain NaN or infinite values.")
    return Z if Z.dtype in (np.float32, np.float64) else Z.astype(np.float64)


def positions_of(labels: Array, classes: Array, *, what: str, where: str, fix: str) -> Array:
    """Index of each label among the classes; raises an error for a label that they lack."""
    problem = unknown_labels(np.unique(labels), classes, what=what, where=where, fix=fix)
    if problem is not None:
        raise InputError(problem)
    order = np.argsort(classes, kind="stable")
    return np.asarray(order[np.searchsorted(classes, labels, sorter=order)])


def _column(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{name} must have shape (N,), one label per sample; got {array.shape}.")
    if len(array) == 0:
        raise InputError(f"{name} is empty.")
    given = values if isinstance(values, list | tuple) else array
    by_entry = given is not array or array.dtype == object
    if by_entry:
        missing = any(map(_is_missing, given))
    else:
        missing = array.dtype.kind in "fcmM" and bool((array != array).any())
    if missing:
        raise InputError(
            f"{name} contains NaN or missing entries; give every sample a label, or leave those "
            "samples out."
        )
    if by_entry and len(kinds := {_kind_of(type(label)) for label in given}) > 1:
        raise InputError(f"{name} mixes {' and '.join(sorted(kinds))}; give labels of one type.")
    return of_one_type(array)


def of_one_type(labels: Array) -> Array:
    """Objects, as pandas hands out text and nullable integers, as an array of their one type."""
    if labels.dtype != object or len({_kind_of(type(x)) for x in labels}) > 1:
        return labels
    plain = labels if any(map(_is_missing, labels)) else np.array(labels.tolist())
    return plain if plain.ndim == 1 else labels


def _is_missing(label: object) -> bool:
    # pandas.NA == pandas.NA is neither true nor false; NaN and NaT differ from themselves.
    same = label == label
    return label is None or not (isinstance(same, bool | np.bool_) and same)


def _kind_of(cls: type) -> str:
    if issubclass(cls, str):
        return "text"
    if issubclass(cls, bytes):
        return "bytes"
    return "numbers" if issubclass(cls, Number | np.bool_) else "objects"


def known_labels(values: ArrayLike, name: str) -> tuple[Array, NDArray[np.bool_]]:
    """Return a mask of the known labels."""
    # Unknown is the number -1, None, NaN, NaT or pandas.NA, among labels of any type, and a text
    # that says so: NumPy makes the text "nan" of NaN among texts.
    array = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{name} must have shape (N,), one label per sample; got {array.shape}.")
    for note in unknown_note(array, name, "value"):
        warn(note)
    read = none_if_unknown(array)
    known = ~_unknown(read)
    labels = read[known]
    if labels.dtype == object and len(labels):
        plain = np.array(labels.tolist())
        if plain.ndim != 1:
            raise InputError(f"{name} must have shape (N,), one label per sample.")
        if plain.dtype.kind in "US" and not all(isinstance(x, str | bytes) for x in labels):
            raise InputError(
                f"{name} mixes labels of types that do not compare; use one type, such as strings."
            )
        labels = plain
    only_one = labels.dtype.kind in "iuf" and set(labels.tolist()) == {1}
    if only_one and not known.all() and (array[~known] == UNKNOWN).all():
        raise InputError(
            f"{name} contains only -1 and 1, and -1 means unknown. If -1 is a label, use other "
            "labels, such as 0 and 1."
        )
    return labels, known


def combined(groups: Any, name: str) -> Any:
    """Labels (N,) of a DataFrame of several columns: their combinations; others unchanged."""
    columns = [*getattr(groups, "columns", ())]
    if len(columns) < 2:
        return groups
    parts, all_known = list[list[Any]](), np.ones(len(groups), dtype=bool)
    for column in columns:
        labels, known = known_labels(groups[column], f"{name}[{column!r}]")
        values = np.empty(len(known), dtype=object)
        values[known] = labels.tolist()
        parts.append(values.tolist())
        all_known &= known
    rows = zip(zip(*parts, strict=True), all_known.tolist(), strict=True)
    of_row = [group_name(*values) if known else None for values, known in rows]
    return np.array(of_row, dtype=object)


def _unknown(array: Array) -> NDArray[np.bool_]:
    if array.dtype.kind in "mM":
        return np.isnat(array)
    if array.dtype.kind in "fc":
        return np.asarray(np.isnan(array) | (array == UNKNOWN))
    if array.dtype.kind == "i":
        return np.asarray(array == UNKNOWN)
    if array.dtype.kind != "O":
        return np.zeros(len(array), dtype=bool)
    return np.array([_is_unknown(label) for label in array], dtype=bool)


def _is_unknown(label: object) -> bool:
    if is_missing(label):
        return True
    return not isinstance(label, bool | np.bool_ | str | bytes) and bool(label == UNKNOWN)


def index_of(values: Any) -> Any:
    """Index of a pandas object; None for anything else."""
    index = getattr(values, "index", None)
    return None if callable(index) else index


def check_index(**columns: Any) -> list[str]:
    """Raise an error if pandas objects, or columns of mappings, have rows of other samples.

    Their indexes are the same in another order, or do not name the same samples. An index 0, 1, 2 …
    may name no samples, so it makes a note.
    """
    single, notes = dict[str, Any](), list[str]()
    for name, values in columns.items():
        several = isinstance(values, Mapping)
        single |= {f"{name}[{k!r}]": v for k, v in values.items()} if several else {name: values}
    earlier = list[tuple[str, list[Any], list[str]]]()  # those with different indexes
    for name, values in single.items():
        if (own := index_of(values)) is None or any([*own] == index for _, index, _ in earlier):
            continue
        named = [*map(cell_name, own)]
        others = [each for each in earlier if len(each[1]) == len(own)]
        if any(named == texts for *_, texts in others):  # 5 and "5" are one sample
            continue
        for first, _, texts in others:
            if Counter(texts) == Counter(named):
                raise InputError(
                    f"{name} has the samples of {first} in another order, by its index. Align it: "
                    f"{name}.loc[{first}.index]."
                )
            if numbers_rows(texts) or numbers_rows(named):
                notes.append(f"{name} and {first} are matched by position; their indexes differ.")
                continue
            more = Counter(named) - Counter(texts)
            text = min(more, key=lambda each: each in texts)  # with copies, maybe none is missing
            lacks = "has less often" if text in texts else "lacks"
            raise InputError(
                f"{name} has samples that {first} {lacks}, such as {[*own][named.index(text)]!r}, "
                "by its index. Pass the same samples in the same order, or arrays without an index."
            )
        earlier.append((name, [*own], named))
    return notes


def numbers_rows(index: Sequence[str]) -> bool:
    """Whether an index numbers rows from 0; those of each set, if there are several."""
    place = -1
    for text in index:
        place = 0 if text == "0" else place + 1
        if text != str(place):
            return False
    return True


def names_of_rows(
    columns: Mapping[str, Any], indexes: Mapping[str, Any], rows: Array | None = None
) -> tuple[list[str] | None, str]:
    """Names in the first column or pandas index that names each row; if none does, a note on it.

    An index that numbers its rows names none. Of an index, only some ``rows`` are samples.
    """
    note = ""
    for where, values in {**columns, **indexes}.items():
        names = [*map(cell_name, values)]
        if where in indexes and numbers_rows(names):
            continue
        if where in indexes and hasattr(values, "levels"):
            problem = "has several levels"
        elif len({*names}) < len(names):
            problem = "has a name twice"
        elif not all(map(str.strip, names)):
            problem = "lacks a name"
        else:
            return names if rows is None or where in columns else [names[i] for i in rows], ""
        note = note or f"{where} {problem}, so ntkit names samples by their rows from 0 on."
    return None, note


def by_names(values: Any, names: Sequence[str], where: str) -> Any:
    """Columns of a DataFrame in the order of their names; anything else unchanged."""
    columns = [*getattr(values, "columns", ())]
    if not any(isinstance(column, str) for column in columns):
        return values
    title = {one_form(column): column for column in columns}
    missing = [name for name in names if one_form(name) not in title]
    if missing:
        raise InputError(
            f"{where} has no column {missing[0]!r}. Its columns are {listed_in_order(columns)}. "
            f"Name them {listed_in_order(names)}, or pass an array."
        )
    return values[[title[one_form(name)] for name in names]]


def refuse_other_columns(names: Any, of_X: Any, where: str) -> None:
    """Raise an error if lists of columns are not the same; None is a list without names."""
    if names is not None and of_X is not None and [*names] != [*of_X]:
        raise InputError(
            f"{where} has the columns {listed_in_order(names)}, and X {listed_in_order(of_X)}. "
            "Use the same columns in the same order."
        )


def rates(outcome: Array, subset: Array, weight: Array, n: int = 0) -> Array:
    """Weighted share of each subset 0, 1, … that has an outcome, and the subset's weight: (2, S).

    There are at least n subsets; the share of one without weight is NaN. For rows with intervals,
    and for subsets that overlap, there is ``ntkit.metrics.compare``.
    """
    mass = np.bincount(subset, weights=weight, minlength=n)
    hits = np.bincount(subset, weights=weight * outcome, minlength=len(mass))
    shares = np.divide(hits, mass, out=np.full(len(mass), np.nan), where=mass > 0)
    return np.stack([shares, mass])

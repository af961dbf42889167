"""Audit predictions: test which attributes of the raw inputs the errors depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from ntkit._checks import (
    check_embeddings,
    check_index,
    check_labels,
    check_predicted,
    check_weight,
    index_of,
    labels_of_one_type,
    names_of_rows,
    numbers_rows,
)
from ntkit._contents import Digests
from ntkit._doc import documented
from ntkit._join import KEYS, check_positions, columns_of, in_order
from ntkit._labels import cell_name, is_missing
from ntkit._types import Array
from ntkit.attributes import FeatureSet, columns, words
from ntkit.attributes.feature_set import array, values_by_name
from ntkit.attributes.findings import (
    AuditedPredictions,
    find_findings,
    one_shortcut,
)
from ntkit.attributes.image_statistics import image_statistics, measured
from ntkit.exceptions import InputError
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.jobs.audit.result import Audit, audited
from ntkit.jobs.class_of_scores import are_scores, read_scores
from ntkit.metrics.class_order import order_notes
from ntkit.samples.columns import named_like_a_prediction
from ntkit.samples.copies import names_rows, without_copies
from ntkit.samples.join import without_classes
from ntkit.samples.looks import Inputs
from ntkit.samples.samples import Samples
from ntkit.study import Rows, tuned

TO_GO_ON = "To continue anyway: --trust-inputs (trust_inputs=True)"
_WEIGHTED = "Shares and accuracies are weighted by sample_weight. Counts are of samples."


def from_scores(
    y: Array, scores: ArrayLike, classes: ArrayLike | None, weight: Array, *, strict: bool
) -> tuple[AuditedPredictions, list[str]]:
    """Predictions of the class with the highest score; notes on the columns and on equal scores."""
    labels, y_index, predicted, notes = read_scores(
        y, scores, classes, go_on=TO_GO_ON, strict=strict
    )
    return AuditedPredictions(labels, y_index, predicted, weight), notes


def cross_fitted(
    embeddings: ArrayLike, y: Array, weight: Array, random_state: int
) -> AuditedPredictions:
    """Predictions of cross-fitted class-balanced heads."""
    # ntkit chooses the strongest penalty whose mean class error is within 4 % of the best.
    X = check_embeddings(embeddings, len(y))
    classes, y_index = np.unique(y, return_inverse=True)
    rows = Rows(X, y_index, weight, classes)
    baseline = None
    if len(classes) > 1:
        baseline = tuned(rows, rows.balanced(), worse_half=False, seed=random_state).strongest()
    if baseline is None or baseline.predicted is None:
        rarest = classes[np.argmin(np.bincount(y_index))].item()
        raise InputError(
            f"Class {rarest!r} has too few samples for cross-fitting. Add samples of every class, "
            "or pass predictions."
        )
    return AuditedPredictions(classes, y_index, baseline.predicted, weight)


def with_retraining(audit: Audit, pred: ArrayLike) -> Audit:
    """The audit with the findings that only a retrained last layer would have."""
    original = audit.predictions
    predictions = AuditedPredictions.of(original.classes[original.y_index], pred, original.weight)
    (newly,) = find_findings([(audit.feature_sets, predictions)], audit.alpha)
    known, n = audit.findings, len(audit.findings)
    new = np.arange(len(newly.findings))
    if known and len(new):  # new is a finding that shares no name and no values with the known
        names = {name for one in known for name in (one.name, *one.same, *one.opposed)}
        leaders = [one.name for one in (*known, *newly.findings)]
        values = np.stack(values_by_name(audit.feature_sets, leaders), axis=1)
        p = audit.predictions
        agree = one_shortcut(values, p.y_index, p.weight)[1][n:, :n]
        shared = [bool(names & {f.name, *f.same, *f.opposed}) for f in newly.findings]
        new = np.flatnonzero(~(np.array(shared) | agree.any(axis=1)))
    weaker = [newly.findings[i].feature_set for i in new if i >= len(newly.shown)]
    newly = replace(
        newly,
        findings=tuple(newly.findings[i] for i in new),
        values=newly.values[:, new],
        n_left_out=dict(Counter(weaker)),
    )
    retraining = replace(
        audit,
        predictions=predictions,
        found=newly,
        cross_fitted=False,
        notes=(),
        retraining=None,
        changes=None,
    )
    return replace(audit, retraining=retraining)


_BY_IDS = (
    "Sort the rows, or match the metadata by ids= and a column 'id' of theirs. If {!r} is another "
    "fact there, rename it."
)


def _check_order(
    table: Any, metadata: Mapping[str, Array] | None, ids: Sequence[str] | None, y: Any
) -> None:
    """Raise an error for a table with the samples of ids, y or metadata in another order."""
    whose, n = "ids=", len(y)
    if ids is None:
        own = columns_of(table, *KEYS)
        facts = {k: v for k, v in (metadata or {}).items() if not named_like_a_prediction(k)}
        if {*map(len, own.values()), *map(len, facts.values())} == {n}:
            check_positions(facts, None, own, "The metadata", n, fix=_BY_IDS)
        whose, ids = "the index of y", _index_of(y) or ()
    named = {"Its index": index_of(table), **columns_of(table)}
    for where in ("Its index", *KEYS):
        if (names := named.get(where)) is None:
            continue
        one, other = ([*map(str, values)] for values in (names, ids))
        if one != other and sorted(one) == sorted(other):
            raise InputError(
                f"The table has the samples of {whose} in another order ({where}). Sort its rows, "
                "so that they are in one order."
            )


def _predictions_of(
    y: Array,
    weight: Array,
    pred: ArrayLike | None,
    scores: ArrayLike | None,
    embeddings: ArrayLike | None,
    classes: ArrayLike | None,
    *,
    strict: bool,
) -> tuple[AuditedPredictions | None, list[str]]:
    """Predictions from classes or scores, with notes; or None if embeddings are passed instead."""
    outcomes = {"pred": pred, "scores": scores, "embeddings": embeddings}
    named = [name for name, value in outcomes.items() if value is not None]
    if len(named) != 1:
        raise InputError(
            f"Pass one of pred, scores and embeddings. Got {' and '.join(named) or 'none'}."
        )
    if pred is not None and are_scores(pred, y):
        scores, pred = pred, None
    if pred is not None:
        y, pred = labels_of_one_type(y, pred=pred)
        fix = "pass predictions as the labels in y."
        check_predicted(pred, y, what="pred", where="y", fix=fix)
        return AuditedPredictions.of(y, pred, weight), []
    if scores is not None:
        return from_scores(y, scores, classes, weight, strict=strict)
    return None, []


def _read_sets(
    *, texts: Any, table: Any, metadata: Any, images: Any, arrays: Any
) -> Iterator[FeatureSet]:
    """Attributes of each kind of raw input that is passed; of images, these are statistics."""
    if texts is not None:
        yield words(texts)
    if table is not None:
        yield columns(table)
    if metadata is not None:
        yield columns(metadata, kind="metadata")
    if images is not None:
        yield image_statistics(images)
    for name, X in (arrays or {}).items():
        yield array(X, kind=name)


def _contents_of(
    texts: Any, images: Digests | None, table: Mapping[str, Array], rows: Sequence[Any]
) -> Any:
    """What tells samples apart: texts, images, or the first of the rows that are there."""
    # As in a table of predictions with its samples, a column may hold the texts.
    if texts is None and "text" in table and "file_name" not in table:
        texts = ["" if is_missing(value) else str(value) for value in table["text"]]
    if texts is not None:
        return Texts(texts, TextPreprocessing(None, mask=None))
    return images if images is not None else next(X for X in rows if X is not None)


def _at(rows: Array, *, texts: Any, arrays: Any, images: Any, **tables: Any) -> dict[str, Any]:
    """Raw inputs of some rows."""
    arrays = {name: np.asarray(X) for name, X in (arrays or {}).items()}
    tables |= {"arrays": arrays}
    return {
        "texts": None if texts is None else [[*texts][row] for row in rows],
        "images": None if images is None else images[rows],
        **{n: of and {k: v[rows] for k, v in of.items()} for n, of in tables.items()},
    }


def _names_of(metadata: Any, table: Any, y: Any) -> list[str] | None:
    """Names in the table, or the index of y, by which metadata are matched; None if by row."""
    own, key = {} if table is None else columns_of(table), _key_of(metadata, None)
    if key not in (columns := columns_of(metadata, *KEYS)):
        return None
    names = [*map(cell_name, own[key].tolist())] if key in own else _index_of(y) or []
    known = key in own or {*names} <= {*map(cell_name, columns[key].tolist())}
    return names if known and len({*names}) == len(names) > 0 else None  # else of persons


def _index_of(y: Any) -> list[str] | None:
    """Names of samples in the index of a pandas object; None if it numbers rows."""
    names = [*map(cell_name, index)] if (index := index_of(y)) is not None else []
    return None if numbers_rows(names) else names


def _shown_names(
    by_name: Sequence[str] | None, given: Mapping[str, Any]
) -> tuple[list[str] | None, str]:
    """Names of samples for a person, and a note if those in tables or indexes are not unique."""
    if by_name is not None:
        return [*map(str, by_name)], ""
    columns, indexes = dict[str, Any](), dict[str, Any]()
    for name, values in given.items():
        if name in ("table", "metadata") and values is not None:
            of_keys = columns_of(values, *KEYS)
            columns |= {f"The column {k!r} of {name}": of_keys[k] for k in KEYS if k in of_keys}
        each = values if isinstance(values, Mapping) else {"": values}
        for key, value in each.items():
            indexes[f"The index of {name}" + f"[{key!r}]" * (key != "")] = index_of(value)
    return names_of_rows(columns, {name: of for name, of in indexes.items() if of is not None})


def _key_of(metadata: Any, ids: Sequence[str] | None) -> str:
    """The column of metadata that names samples."""
    there = [key for key in KEYS if key in columns_of(metadata, *KEYS)]
    if ids is not None and not there:
        raise InputError(
            f"The metadata has no column {' or '.join(map(repr, KEYS))} with the names in ids=. "
            "Rename its column, or omit ids= if its rows are in the order of the samples."
        )
    return there[0] if there else KEYS[0]


@overload
def audit(
    y: ArrayLike,
    pred: ArrayLike,
    *,
    texts: Sequence[str] | None = ...,
    table: Any = ...,
    metadata: Any = ...,
    ids: Sequence[str] | None = ...,
    images: Iterable[Any] | None = ...,
    arrays: Mapping[str, ArrayLike] | None = ...,
    feature_sets: Iterable[FeatureSet] = ...,
    classes: ArrayLike | None = ...,
    sample_weight: ArrayLike | None = ...,
    trust_inputs: bool = ...,
    alpha: float = ...,
    random_state: int = ...,
) -> Audit: ...


@overload
def audit(
    y: ArrayLike,
    *,
    scores: ArrayLike,
    texts: Sequence[str] | None = ...,
    table: Any = ...,
    metadata: Any = ...,
    ids: Sequence[str] | None = ...,
    images: Iterable[Any] | None = ...,
    arrays: Mapping[str, ArrayLike] | None = ...,
    feature_sets: Iterable[FeatureSet] = ...,
    classes: ArrayLike | None = ...,
    sample_weight: ArrayLike | None = ...,
    trust_inputs: bool = ...,
    alpha: float = ...,
    random_state: int = ...,
) -> Audit: ...


@overload
def audit(
    y: ArrayLike,
    *,
    embeddings: ArrayLike,
    texts: Sequence[str] | None = ...,
    table: Any = ...,
    metadata: Any = ...,
    ids: Sequence[str] | None = ...,
    images: Iterable[Any] | None = ...,
    arrays: Mapping[str, ArrayLike] | None = ...,
    feature_sets: Iterable[FeatureSet] = ...,
    classes: ArrayLike | None = ...,
    sample_weight: ArrayLike | None = ...,
    trust_inputs: bool = ...,
    alpha: float = ...,
    random_state: int = ...,
) -> Audit: ...


@documented
def audit(
    y: ArrayLike,
    pred: ArrayLike | None = None,
    *,
    scores: ArrayLike | None = None,
    embeddings: ArrayLike | None = None,
    texts: Sequence[str] | None = None,
    table: Any = None,
    metadata: Any = None,
    ids: Sequence[str] | None = None,
    images: Iterable[Any] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    feature_sets: Iterable[FeatureSet] = (),
    classes: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    trust_inputs: bool = False,
    alpha: float = 0.05,
    random_state: int = 0,
) -> Audit:
    """Find attributes that a model's errors depend on and that are correlated with a class.

    Pass validation samples: they have the distribution of the training set, and the model was not
    trained on them. Pass predictions as ``pred``, ``scores`` or ``embeddings``, and any number of
    raw inputs. ntkit reads the attributes from the raw inputs. :func:`ntkit.audit_model` runs the
    model for you.

    Each content counts once: of copies with one label and one prediction, the first stays, with the
    mean of their weights, and the others count as samples of weight 0. The content is the text or
    else the image, next to an equal row of ``table``, or else a row of ``embeddings`` or of the
    first of ``arrays``. A ``table`` has no content but its column ``text``.

    Parameters
    ----------
    y : array-like of shape (N,)
        Class labels.
    pred : array-like of shape (N,), optional
        Predicted classes. Several columns, or fractions, are taken for ``scores``.
    scores : array-like of shape (N, C), or (N,) for two classes, optional
        Logits or probabilities. For two classes, one column is the second class's score. Columns
        of a DataFrame that are named like the classes count by name.
    embeddings : array-like of shape (N, D), optional
        Embeddings, if you have no predictions. ntkit cross-fits class-balanced heads on them and
        examines their errors.
    texts : sequence of str, optional
        Texts. Their words are attributes.
    table : DataFrame or mapping of str to array-like, optional
        Table of the samples. Its columns are attributes.
    metadata : DataFrame or mapping of str to array-like, optional
        Further columns. ntkit matches them by ``file_name`` or ``id`` if you pass ``ids`` or the
        table has the column, else by row; columns that ``table`` has as well must agree.
    ids : sequence of str, optional
        Names of the samples. By default ntkit names them by a column ``file_name`` or ``id`` of the
        table, or by a pandas index, if each sample has another name; else by their rows.
    images : iterable of ndarray of shape (H, W) or (H, W, 3), optional
        Decoded images. Their statistics, such as brightness, are attributes.
    {arrays}
    feature_sets : iterable of FeatureSet, optional
        Further attributes, made with :mod:`ntkit.attributes`.
    classes : array-like of shape (C,), optional
        Classes of the columns of ``scores``. By default the sorted classes of ``y``. Predictions
        that are evidently of classes in another order are then refused.
    {sample_weight}
    trust_inputs : bool, default=False
        Continue with a note if the classes are evidently in another order.
    alpha : float, default=0.05
        Probability of any finding if no attribute is related to the errors. The kinds of
        attributes share it equally. Holm's correction applies within a kind.
    random_state : int, default=0
        Seed of the folds for ``embeddings``.

    Returns
    -------
    Audit
        The ranked ``findings``. Printing it shows the strongest.

    Raises
    ------
    InputError
        If lengths differ, labels are missing, there is only one class, or no raw input is passed.
        If predicted classes are written or numbered in another way than labels, or if they fit the
        labels far better in another order.

    Examples
    --------
    Camera B took most photos of dogs, and the model predicts "dog" for its photos:

    >>> import numpy as np
    >>> import ntkit
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 1000)
    >>> camera = np.where(rng.random(1000) < 0.9, y, 1 - y)
    >>> pred = np.where(rng.random(1000) < 0.4, camera, y)
    >>> audit = ntkit.audit(y, pred, table={"camera": np.array(["A", "B"])[camera]})
    >>> audit.findings[0].name, audit.findings[0].goes_with
    ('column:camera=A', 0)
    """
    given = {"y": y, "pred": pred, "scores": scores, "texts": texts, "table": table, "ids": ids}
    given |= {"embeddings": embeddings, "images": images, "arrays": arrays}
    by_name = ids if ids is not None or metadata is None else _names_of(metadata, table, y)
    given |= {} if metadata is None or by_name is not None else {"metadata": metadata}
    of_index = check_index(**given, sample_weight=sample_weight)
    shown_names, on_names = _shown_names(by_name, given)
    (labels,) = check_labels(y=y)
    weight = check_weight(sample_weight, len(labels))
    of_weight = [_WEIGHTED] * bool(np.ptp(weight[weight > 0]))
    notes_on_columns = list[str]()
    matched = None
    if metadata is not None:
        matched = in_order(metadata, by_name, _key_of(metadata, ids))
    if table is not None:
        _check_order(table, matched, ids, y)
        table, notes_on_columns = without_classes("table", columns_of(table))
    if matched is not None:
        matched, left = without_classes("metadata", matched)
        notes_on_columns += left
    raw = {"texts": texts, "table": table, "metadata": matched, "arrays": arrays}
    raw["images"], contents = (None, None) if images is None else measured(images, len(labels))
    sets = [*feature_sets, *_read_sets(**raw)]
    for each in sets:
        if each.n_samples != len(labels):
            raise InputError(
                f"The feature set {each.kind!r} has {each.n_samples} samples, and y has "
                f"{len(labels)}. Pass the same samples in the same order."
            )
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1. Got {alpha!r}.")
    strict = classes is None and not trust_inputs
    predictions, notes = _predictions_of(
        labels, weight, pred, scores, embeddings, classes, strict=strict
    )
    Z = None if embeddings is None else check_embeddings(embeddings, len(labels))
    of_rows = [Z, *map(np.asarray, (arrays or {}).values()), np.arange(len(labels))]
    X = _contents_of(texts, contents, table or {}, of_rows)
    given_names = None if shown_names is None else np.asarray(shown_names, dtype=object)
    once = without_copies(
        [Samples(X, labels, ids=given_names, further=matched)],
        also=[
            weight > 0,  # 0 counts as absent, so such a sample stands for no other one
            *[v for name, v in (table or {}).items() if not names_rows(name, v)],
            *[each for each in (contents,) if each is not None],
            *[each.pred_index for each in (predictions,) if each is not None],
        ],
    )[0]
    if len(once.kept) < len(labels):
        # All rows stay, and copies weigh 0: groups and weights are for a fit on the rows passed.
        first = once.kept[once.stands_for] == np.arange(len(labels))
        means = np.bincount(once.stands_for, weight) / np.bincount(once.stands_for)
        weight = np.where(first, means[once.stands_for], 0.0)
        raw = _at(once.kept, **raw | {"metadata": None}) | {"metadata": once.samples.further}
        sets = [*feature_sets, *(each.take(once.stands_for) for each in _read_sets(**raw))]
        matched = matched and {n: v[once.stands_for] for n, v in raw["metadata"].items()}
    if Z is not None:
        fit = cross_fitted(Z[once.kept], labels[once.kept], weight[once.kept], random_state)
        at = fit.y_index[once.stands_for], fit.pred_index[once.stands_for]
        predictions = AuditedPredictions(fit.classes, *at, weight)
    assert predictions is not None
    predictions = replace(predictions, weight=weight)
    if embeddings is None:
        kept, names = weight > 0, predictions.classes
        true, predicted = (names[at[kept]] for at in (predictions.y_index, predictions.pred_index))
        notes += order_notes(
            true, predicted, names, strict=strict, of_predictions=True, go_on=TO_GO_ON
        )
    return audited(
        predictions,
        sets,
        alpha,
        cross_fitted=embeddings is not None,
        notes=(
            *(*of_index, *of_weight, *notes_on_columns, *once.samples.notes, *notes),
            *filter(None, [on_names]),
            *(note for each in sets for note in each.notes()),
        ),
        inputs=Inputs(
            texts=None if texts is None else list(texts),
            table=None if table is None else columns_of(table),
            metadata=matched,
            images=images if hasattr(images, "__getitem__") else None,  # an iterator is exhausted
            ids=shown_names,
        ),
    )

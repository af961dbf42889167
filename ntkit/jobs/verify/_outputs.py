"""Logits of a model, and ways to compute a service's outputs from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, log_softmax, logit, softmax

from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError, NtkitError
from ntkit.extraction.runner import run_batches
from ntkit.extraction.session import import_onnxruntime
from ntkit.jobs.verify._cause import Cause, Subject
from ntkit.jobs.verify._recorded import Recording
from ntkit.model import FrozenModel

_LEAST_TEMPERATURE_CHANGE = 0.02
_MANY = 64  # with more classes, the search for the best order runs only once
# Labels needed to report another order: of at least two moved classes, and of all moved classes.
_LABELS_OF_A_CLASS = 3
_LABELS_OF_MOVED_CLASSES = 10
# What a service does, and the function of its logits.
_ACTIVATIONS: dict[str, tuple[str, Callable[[Array], Any]]] = {
    "logits": ("returns logits", np.asarray),
    "softmax": ("returns probabilities by softmax", lambda scores: softmax(scores, axis=1)),
    "sigmoid": ("returns the sigmoid of each logit", expit),
    "log_softmax": (
        "returns the logarithm of the softmax",
        lambda scores: log_softmax(scores, axis=1),
    ),
    "softmax twice": (
        "returns the softmax of the softmax",
        lambda scores: softmax(softmax(scores, axis=1), axis=1),
    ),
}


@dataclass(frozen=True)
class OutputForm:
    """A way to compute outputs from logits; "labels" are positions of the largest logit."""

    activation: str
    temperature: float = 1.0
    order: tuple[int, ...] | None = None  # class at each position; None for the model's order

    def __call__(self, logits: Array) -> Array:
        """Outputs of shape (N, K); labels as positions, (N,)."""
        scores = logits / self.temperature
        if self.activation != "labels":
            scores = _ACTIVATIONS[self.activation][1](scores)
        if self.order is not None:
            scores = scores[:, list(self.order)]
        return np.asarray(scores.argmax(axis=1) if self.activation == "labels" else scores)


class Outputs:
    """Recorded outputs with a column per logit of the model, or labels as positions."""

    # `declared` is the activation of a OutputForm.

    def __init__(self, recorded: Array, declared: str, tolerance: float, names: Any) -> None:
        self._slack = 0.0 if declared == "labels" else _rounding_of(recorded)
        self.declared, self.tolerance = OutputForm(declared), tolerance
        if declared != "labels":
            recorded = recorded.astype(np.float64)
        self.recorded, self.names = recorded, [str(name) for name in names]
        centred = np.abs(recorded - recorded.mean(axis=0)) if recorded.ndim > 1 else np.ones(1)
        floor = 0.05 * float(np.abs(recorded).max(initial=0.0))
        self._spread = max(float(centred.max(initial=0.0)), floor, 1e-12)

    def __len__(self) -> int:
        return len(self.recorded)

    def differences(self, logits: Array, form: OutputForm, rows: Any = slice(None)) -> Array:
        """Cause of each sample, relative to the spread of the outputs; (len(rows),)."""
        recorded = self.recorded[rows]
        if form.activation == "labels":  # 1, unless the two largest logits are nearly equal
            ordered = np.sort(logits, axis=1)
            size = max(float(np.abs(logits - logits.mean(axis=1, keepdims=True)).max()), 1e-12)
            clear = (ordered[:, -1] - ordered[:, -2]) > self.tolerance * size
            return np.asarray((form(logits) != recorded) & clear, dtype=np.float64)
        apart = np.abs(form(logits) - recorded) - self._slack
        return np.asarray(np.maximum(apart, 0).max(axis=1) / self._spread)

    def readings(
        self, logits: Array, rows: Any = slice(None), *, once: bool = False
    ) -> Iterator[OutputForm]:
        """Other ways to compute outputs from these logits that may fit the recording."""
        # The search for another order among many classes takes seconds, so it runs only `once`.
        recorded = self.recorded[rows]
        many = logits.shape[1] > _MANY
        orders = (False,) if many and not once else (False, True)
        if self.declared.activation == "labels":
            order = _order_of_labels(self.declared(logits), recorded, logits.shape[1])
            if order is not None:
                yield replace(self.declared, order=order)
            return
        activations = [name for name in _ACTIVATIONS if logits.shape[1] > 1 or "max" not in name]
        for name, hot, other in product(activations, (False, True), orders):
            if many and other and (hot or name != self.declared.activation):
                continue
            form: OutputForm | None = OutputForm(name)
            if hot:
                form = _tempered(OutputForm(name), logits, recorded)
            if other and form is not None:
                form = _ordered(form, logits, recorded)
            if form is not None and form != self.declared:
                yield form

    def changes(self, form: OutputForm) -> tuple[Cause, ...]:
        """Changes from the declared form to another one."""
        changes = []
        if form.order is not None:
            moved = [
                f"{self.names[c]!r} at position {i}" for i, c in enumerate(form.order) if i != c
            ]
            words = f"has another order of classes than the model: {listed(moved, 6)}"
            changes.append(Cause("class order", words))
        if form.activation != self.declared.activation:
            does, declared = (_ACTIVATIONS[each.activation][0] for each in (form, self.declared))
            words = f"{does}, not {declared.removeprefix('returns ')}"
            changes.append(Cause("softmax", words))
        if form.temperature != 1:
            words = f"divides the logits by a temperature of {form.temperature:.4g}"
            changes.append(Cause("temperature", words))
        return tuple(changes)


def _rounding_of(values: Array) -> float:
    """Rounding error of recorded values: half a unit of the last decimal place or of the float."""
    step = float(np.finfo(np.float16).eps) if values.dtype == np.float16 else 0.0
    values = values.astype(np.float64)
    for places in range(1, 7):
        if np.allclose(values, np.round(values, places), rtol=0, atol=1e-6 * 10.0**-places + 1e-8):
            return 0.51 * 10.0**-places
    return step * float(np.abs(values).max(initial=0.0))


def _tempered(form: OutputForm, logits: Array, recorded: Array) -> OutputForm | None:
    """The form with the temperature that fits the recording best; None if it is about 1."""
    target, weight = recorded, np.ones_like(recorded)
    if form.activation in ("softmax", "log_softmax"):
        if form.activation == "softmax":
            weight = np.clip(recorded, 0, 1)
            target = np.log(np.clip(recorded, 1e-12, None))
        else:
            weight = np.exp(np.clip(recorded, -50, 0))
        total = weight.sum(axis=1, keepdims=True)
        if not (total > 0).all():
            return None
        logits, target = (
            values - (weight * values).sum(axis=1, keepdims=True) / total
            for values in (logits, target)
        )
    elif form.activation == "sigmoid":
        inner = np.clip(recorded.astype(np.float64), 1e-9, 1 - 1e-9)
        target, weight = np.log(inner / (1 - inner)), inner * (1 - inner)
    elif form.activation != "logits":
        return None
    below = float((weight * logits**2).sum())
    factor = float((weight * logits * target).sum()) / below if below > 0 else 0.0
    if not np.isfinite(factor) or factor <= 0:
        return None
    temperature = 1 / factor
    if abs(temperature - 1) < _LEAST_TEMPERATURE_CHANGE:
        return None
    return replace(form, temperature=temperature)


def _ordered(form: OutputForm, logits: Array, recorded: Array) -> OutputForm | None:
    """The form with the order of classes that fits the recording best; None if unchanged."""
    outputs = form(logits)
    squares = (recorded**2).sum(axis=0)[:, None] + (outputs**2).sum(axis=0)
    costs = squares - 2 * recorded.T @ outputs
    costs[np.diag_indices(len(costs))] -= 1e-9 * max(float(costs.max()), 1e-30)
    order = tuple(linear_sum_assignment(costs)[1].tolist())
    return None if order == tuple(range(len(order))) else replace(form, order=order)


def _order_of_labels(predicted: Array, recorded: Array, n_classes: int) -> tuple[int, ...] | None:
    """The order of classes that fits recorded labels best; None with too few labels."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (recorded, predicted), 1)
    counts[np.diag_indices(n_classes)] += 0.5
    order = linear_sum_assignment(counts, maximize=True)[1]
    moved = np.flatnonzero(order != np.arange(n_classes))
    labels = counts[moved, order[moved]]
    enough = (labels >= _LABELS_OF_A_CLASS).sum() > 1 and labels.sum() >= _LABELS_OF_MOVED_CLASSES
    return tuple(order.tolist()) if enough else None


class Logits:
    """Computes logits of recorded samples with some settings."""

    # `start` makes a session of a model in memory.

    # Of one label of several they are this label's, less the logit of its threshold if `decided`.

    def __init__(
        self,
        model: FrozenModel,
        subject: Subject,
        start: Callable[..., Any],
        *,
        decided: bool = False,
    ) -> None:
        self._subject, self._model = subject, model
        self._level = 0.0 if model.threshold is None else float(logit(model.threshold[0]))
        self._decided, self._shift = decided, self._level * decided
        if subject.embedded and model.head is None:
            raise InputError("The data are embeddings, but the model has no head. Pass samples.")
        proto, self._at, self._scale = model.to_proto, 0, 1.0
        if model.head is not None:
            proto, self._at, self._scale = partial(model.body, logits=True), 1, model.logit_scale
        content = proto().SerializeToString()
        self._session = start(content, folder=model.folder)

    def __call__(self, settings: Any, rows: Array, *, strict: bool = False) -> Any:
        """Logits of shape (n, K), with two columns for a single logit; None without inputs."""
        # One label of several has one column, or two if it is decided.
        # Some trials do not fit the model. They are errors only if `strict`.
        try:
            X = self._subject.inputs(settings, rows.tolist())
            if X is None:
                return None
            if self._subject.embedded:
                return self._by_head(X)
            session = self._session if strict else _Quiet(self._session)
            runs = run_batches(session, X, batch_size=settings.batch_size)
            outputs = np.concatenate([out[self._at] for out in runs])
        except NtkitError:
            if strict:
                raise
            return None
        logits = outputs.reshape(len(outputs), -1).astype(np.float64) * self._scale
        if self._model.label is not None:
            row = self._model.label_names.index(self._model.label) if logits.shape[1] > 1 else 0
            logits = logits[:, row : row + 1] - self._shift
            if not self._decided:
                return logits if strict or np.isfinite(logits).all() else None
        return two_columns(logits) if strict or np.isfinite(logits).all() else None

    def _by_head(self, Z: Array) -> Array:
        head = self._model.head
        assert head is not None
        if Z.ndim != 2 or Z.shape[1] != head.n_neurons:
            raise InputError(
                f"The embeddings have the shape {Z.shape}, but the head reads {head.n_neurons} "
                "neurons."
            )
        if self._model.label is not None:
            scores = head.decision_function(Z.astype(np.float64)) + self._level - self._shift
            return two_columns(scores[:, None]) if self._decided else scores[:, None]
        return head.logits(Z.astype(np.float64))


class _Quiet:
    """A session that does not log errors, because trials may fail."""

    def __init__(self, session: Any) -> None:
        self._session, self._options = session, import_onnxruntime().RunOptions()
        self._options.log_severity_level = 4
        self.get_inputs = session.get_inputs

    def run(self, names: Any, feed: Any) -> Any:
        return self._session.run(names, feed, self._options)


def two_columns(logits: Array) -> Array:
    """Logits of two classes from a single logit."""
    return np.hstack([-logits, logits]) / 2 if logits.shape[1] == 1 else logits


def outputs_of(
    model: FrozenModel, recorded: Recording, rows: Array, tolerance: float, n_logits: int
) -> Outputs:
    """Recorded outputs with a column per logit of the model."""
    names = model.head.classes if model.head is not None else np.arange(n_logits)
    outputs = recorded.outputs[rows]
    if recorded.kind == "labels":
        labels = outputs.reshape(-1)
        return Outputs(_positions(recorded.source, labels, names), "labels", tolerance, names)
    single = model.head is not None and model.head.n_logits == 1
    activation = "logits"
    if recorded.kind == "probabilities":
        after = model.describe().get("post_processing") or ()
        several = model.label is not None or (model.head is not None and not single)
        units = model.label is not None or "Sigmoid" in after
        activation = "sigmoid" if several and units else "softmax"
    columns = outputs.reshape(len(outputs), -1)
    if columns.shape[1] == 1 and n_logits == 2:
        shares = recorded.kind == "probabilities" and 0 <= columns.min() <= columns.max() <= 1
        columns = np.hstack([1 - columns, columns]) if shares else two_columns(columns)
    elif recorded.kind == "logits" and columns.shape[1] == 2 and single:
        columns = two_columns(columns[:, 1:] - columns[:, :1])
    if columns.shape[1] != n_logits:
        raise InputError(
            f"{recorded.source} holds {columns.shape[1]} {recorded.kind} per sample, but the model "
            f"has {n_logits}. Record the outputs of this model."
        )
    if recorded.labels is not None and model.label is None:
        _check_labels(recorded, columns, rows, names)
    return Outputs(columns, activation, tolerance, names)


def _check_labels(recorded: Recording, columns: Array, rows: Array, names: Array) -> None:
    """Raise an error if recorded labels contradict the logits or probabilities."""
    assert recorded.labels is not None
    labels = recorded.labels[rows]
    at = _positions(recorded.source, labels, names)
    wrong = np.flatnonzero(columns[np.arange(len(at)), at] < columns.max(axis=1))
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"{recorded.source} contradicts itself in {len(wrong)} of {len(at)} samples. In row "
            f"{int(rows[first])} (counted from 0) the label is {labels[first].item()!r}, but the "
            f"{recorded.kind} are largest for {names[columns[first].argmax()].item()!r}. Keep the "
            "one that the service returns."
        )


def _positions(source: str, labels: Array, names: Array) -> Array:
    """Positions of recorded labels among the classes."""
    known = {str(name): i for i, name in enumerate(names.tolist())}
    places = np.asarray([known.get(str(label), -1) for label in labels.tolist()])
    if (places < 0).any() and labels.dtype.kind in "iub":
        places = labels.astype(np.int64)
    wrong = np.flatnonzero((places < 0) | (places >= len(names)))
    if len(wrong):
        raise InputError(
            f"{source}: the label {labels[wrong[0]].item()!r} is not a class of the model "
            f"({listed(names.tolist(), 5)}). Record its labels."
        )
    return places

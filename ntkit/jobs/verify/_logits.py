"""A model's logits for samples as inputs are made of them, and what a recording holds of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ntkit._text import listed
from ntkit._types import Array
from ntkit.exceptions import InputError, NtkitError
from ntkit.extraction import import_onnxruntime, make_session, run_batches
from ntkit.head import LinearHead
from ntkit.jobs.verify._change import Subject
from ntkit.jobs.verify._outputs import Outputs
from ntkit.jobs.verify._recorded import Recorded
from ntkit.model import FrozenModel


class Logits:
    """Logits by the settings of a subject, for those of its rows that are compared."""

    def __init__(self, model: FrozenModel, subject: Subject, rows: Array, device: Any) -> None:
        self._subject, self._rows, self._scale = subject, rows, 1.0
        self._head = model.head if subject.embedded else None
        if subject.embedded and model.head is None:
            raise InputError("The data are embeddings, and the model has no head to run on them.")
        if model.head is not None:
            body = model.body(logits=True).SerializeToString()
            self._session, self._at = make_session(body, device=device, folder=model.folder), 1
            self._scale = model.logit_scale
        else:
            proto = model.to_proto().SerializeToString()
            self._session, self._at = make_session(proto, device=device, folder=model.folder), 0

    def __call__(self, settings: Any, rows: Array, *, strict: bool = False) -> Array | None:
        """Logits of shape (n, K), two columns for a single one; None where there are no inputs."""
        # Whatever is tried may not fit the model: that is no error unless `strict`.
        try:
            X = self._subject.inputs(settings, self._rows[rows].tolist())
            if X is None or self._head is not None:
                return None if self._head is None else two_columns(_by_head(self._head, X))
            session = self._session if strict else _Quiet(self._session)
            runs = run_batches(session, X, batch_size=settings.batch_size)
            parts = [out[self._at] for out in runs]
        except NtkitError:
            if strict:
                raise
            return None
        found = np.concatenate(parts)
        logits = found.reshape(len(found), -1).astype(np.float64) * self._scale
        if not np.isfinite(logits).all() and not strict:
            return None
        return two_columns(logits)


def _by_head(head: LinearHead, Z: Array) -> Array:
    if Z.ndim != 2 or Z.shape[1] != head.n_neurons:
        raise InputError(
            f"The embeddings have the shape {Z.shape}, and the head reads {head.n_neurons} neurons."
        )
    return np.asarray(head.logits(Z.astype(np.float64)).reshape(len(Z), -1))


class _Quiet:
    """A session that does not log what fails: it is only a trial."""

    def __init__(self, session: Any) -> None:
        self._session, self._options = session, import_onnxruntime().RunOptions()
        self._options.log_severity_level = 4
        self.get_inputs = session.get_inputs

    def run(self, names: Any, feed: Any) -> Any:
        return self._session.run(names, feed, self._options)


def two_columns(logits: Array) -> Array:
    """Logits of two classes for a single one."""
    return np.hstack([-logits, logits]) / 2 if logits.shape[1] == 1 else logits


def outputs_of(
    model: FrozenModel, recorded: Recorded, rows: Array, tolerance: float, n_logits: int
) -> Outputs:
    """What was recorded, a column for each of the model's logits."""
    names = model.head.classes if model.head is not None else np.arange(n_logits)
    outputs = recorded.outputs[rows]
    if recorded.kind == "labels":
        labels = outputs.reshape(-1)
        return Outputs(_positions(recorded.source, labels, names), "labels", tolerance, names)
    single = model.head is not None and model.head.n_logits == 1
    activation = "logits"
    if recorded.kind == "probabilities":
        after = model.describe().get("post_processing") or ()
        several = model.head is not None and not single
        activation = "sigmoid" if several and "Sigmoid" in after else "softmax"
    columns = outputs.reshape(len(outputs), -1)
    if columns.shape[1] == 1 and n_logits == 2:
        shares = recorded.kind == "probabilities" and 0 <= columns.min() <= columns.max() <= 1
        columns = np.hstack([1 - columns, columns]) if shares else two_columns(columns)
    elif recorded.kind == "logits" and columns.shape[1] == 2 and single:
        columns = two_columns(columns[:, 1:] - columns[:, :1])
    if columns.shape[1] != n_logits:
        raise InputError(
            f"{recorded.source} holds {columns.shape[1]} {recorded.kind} a sample, and the model "
            f"gives {n_logits}."
        )
    if recorded.labels is not None:
        _check_labels(recorded, columns, rows, names)
    return Outputs(columns, activation, tolerance, names)


def _check_labels(recorded: Recorded, columns: Array, rows: Array, names: Array) -> None:
    """Refuse labels of others than the classes that the outputs beside them are largest for."""
    assert recorded.labels is not None
    labels = recorded.labels[rows]
    at = _positions(recorded.source, labels, names)
    wrong = np.flatnonzero(columns[np.arange(len(at)), at] < columns.max(axis=1))
    if len(wrong):
        first = int(wrong[0])
        raise InputError(
            f"{recorded.source} contradicts itself in {len(wrong)} of {len(at)} samples: in row "
            f"{int(rows[first])} (from 0 on) the label is {labels[first].item()!r}, and the "
            f"{recorded.kind} are largest for {names[columns[first].argmax()].item()!r}; keep "
            "whichever the service answers."
        )


def _positions(source: str, labels: Array, names: Array) -> Array:
    """Places of recorded labels among the classes."""
    known = {str(name): i for i, name in enumerate(names.tolist())}
    found = np.asarray([known.get(str(label), -1) for label in labels.tolist()])
    if (found < 0).any() and labels.dtype.kind in "iub":
        found = labels.astype(np.int64)
    wrong = np.flatnonzero((found < 0) | (found >= len(names)))
    if len(wrong):
        raise InputError(
            f"{source}: the label {labels[wrong[0]].item()!r} is none of the model's classes "
            f"({listed(names.tolist(), 5)})."
        )
    return found

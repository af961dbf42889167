"""Predictions of a model, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._text import percent
from ntkit._types import Array
from ntkit.extraction import ImagePreprocessing, TextPreprocessing
from ntkit.jobs.predict._models import called, matched, outcomes_of, running
from ntkit.model import loaded
from ntkit.samples import read


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Predictions of a model for N samples; :func:`predict` makes it.

    Attributes
    ----------
    classes : ndarray of shape (C,)
        Class labels, in the order of the model's logits.
    labels : ndarray of shape (N,)
        Predicted class of each sample.
    probabilities : ndarray of float64, shape (N, C)
        The softmax of the logits, or their sigmoid, in the order of ``classes``.
    margins : ndarray of float64, shape (N,)
        The largest logit less the second largest.
    y : ndarray of shape (N,) or None
        True classes, if the samples have labels.
    names : ndarray of str, shape (N,), or None
        Image files, if the samples are images.
    {notes}
    """

    classes: Array
    labels: Array
    probabilities: Array
    margins: Array
    y: Array | None = None
    names: Array | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        right = ""
        if self.y is not None and len(self) and np.isin(self.y, self.classes).all():
            right = f", {percent(np.mean(self.labels == self.y))} right"
        return f"Predictions({len(self)} samples, {len(self.classes)} classes{right})"


@documented
def predict(
    model: Any,
    data: Any,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> Predictions:
    """Predict the classes of samples.

    The network runs in ONNX Runtime up to its embedding, and its last layer in NumPy; that both
    agree with the whole model is checked on the first samples.

    Parameters
    ----------
    {job.model}
    data : path-like, Samples, array-like, or tuple (X, y) or (X, y, groups)
        Samples, as :func:`ntkit.extraction.read_samples` reads them, or model inputs; they need no
        labels.
    {job.preprocessing, job.device, verbose}

    Returns
    -------
    Predictions
        N × C probabilities stay in memory; :func:`ntkit.jobs.predict.write_predictions` keeps none.

    Raises
    ------
    InputError
        If the model has no head that chooses one class, the samples do not fit it, or a logit is
        NaN or infinite.
    {head.VerificationError}

    Examples
    --------
    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> data = (digits.X_test, digits.y_test)
    >>> predictions = ntkit.predict(marked_digits_model_path(), data, device="cpu")
    >>> predictions
    Predictions(2000 samples, 2 classes, 73.2 % right)
    >>> predictions.probabilities.shape, bool((predictions.margins >= 0).all())
    ((2000, 2), True)
    """
    model = loaded(model)
    samples = read(data, model, labels="optional", preprocessing=preprocessing)
    match = matched(samples.for_model(model), name=called(model, "The model"), strict=False)
    embedder = running(match, device=device, batch_size=batch_size, verbose=verbose)
    parts = list(outcomes_of(match, embedder))
    classes = match.classes
    index = np.concatenate([part.index for part in parts] or [np.empty(0, int)])
    none = np.empty((0, len(classes)))
    return Predictions(
        classes,
        classes[index],
        np.concatenate([part.probabilities for part in parts] or [none]),
        np.concatenate([part.margins for part in parts] or [none[:, 0]]),
        match.samples.y,
        samples.ids,
        match.notes,
    )

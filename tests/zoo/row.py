"""One row of the zoo: a small classifier that a real exporter writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REGION = "affine region"


@dataclass(frozen=True)
class Row:
    """A model as an exporter writes it, and what ntkit should make of it.

    Attributes
    ----------
    name : str
        What it is: "ResNet-18, TorchScript exporter".
    producer : str
        The family it belongs to in the table: "torch", "Keras 3", "scikit-learn", …
    needs : tuple of str
        Modules that must be importable to build it; the row is skipped by name elsewhere.
    build : callable
        Writes ``model.onnx`` (and its external data) into the folder it is given, and returns 8
        or more samples: an array for each of the model's inputs.
    kind : str or None
        The head's kind as ``FrozenModel.describe`` says it, or REGION for any that is more than a
        plain layer; None for a model that is refused.
    n_classes, n_neurons : int
        Classes (two for a single sigmoid unit), and width of the embedding.
    refusal : str or None
        For a model that is rightly refused: a regular expression that the sentence matches.
    tolerance : float
        Largest difference of logits accepted between the written file and NumPy, relative to the
        largest logit. Quantised models need more than the default.
    options : dict
        ``logits=`` or ``embedding=`` for ``FrozenModel.load``, where the model needs them.
    """

    name: str
    producer: str
    needs: tuple[str, ...]
    build: Callable[[Path], Mapping[str, np.ndarray]]
    kind: str | None = "Gemm"
    n_classes: int = 3
    n_neurons: int | None = None
    refusal: str | None = None
    tolerance: float = 1e-4
    options: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return self.name

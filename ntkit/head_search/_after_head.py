"""What becomes of the logits: post-processing, decisions, class labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

__all__ = ["PROBABILITIES", "AfterHead", "Unclear"]

PROBABILITIES = frozenset(["Softmax", "LogSoftmax", "Sigmoid"])


class Unclear(Exception):
    """What follows the logits does not keep one score per sample and class; says why."""


@dataclass(frozen=True)
class AfterHead:
    """What a path from the logits has made of them so far.

    Attributes
    ----------
    n_logits : int
        How many there are.
    rank, classes : int
        Number of axes, and which of them holds the classes; past the last where a single logit
        has none. All others but the first are of length one.
    one_sample : bool
        Whether the model takes one sample at a time, so that its axis may go.
    scale : float
        Constant factor of the logits.
    bent_by : str
        The last operator behind which a factor no longer scales the logits.
    rising : float
        The factor since.
    decided : bool
        Whether this is a class, no longer scores.
    post_processing : tuple of str
        The operators, in order.
    labels : tuple or None
        Class labels, where the graph maps indices to them.
    quantised : tuple of onnx_ir.Value
        Scores that the graph quantises.
    """

    n_logits: int
    rank: int = 2
    classes: int = 1
    one_sample: bool = False
    scale: float = 1.0
    bent_by: str = ""
    rising: float = 1.0
    decided: bool = False
    post_processing: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None
    quantised: tuple[ir.Value, ...] = ()

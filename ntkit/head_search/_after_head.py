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
    """What a path from the logits has made of them so far."""

    n_logits: int  # how many there are
    # Number of axes, and which of them holds the classes; past the last where a single logit has
    # none. All others but the first are of length one.
    rank: int = 2
    classes: int = 1
    # Whether the model takes one sample at a time, so that its axis may go.
    one_sample: bool = False
    scale: float = 1.0  # constant factor of the logits
    bent_by: str = ""  # the last operator behind which a factor no longer scales the logits
    rising: float = 1.0  # the factor since
    decided: bool = False  # whether this is a class, no longer scores
    post_processing: tuple[str, ...] = ()  # the operators, in order
    labels: tuple[Any, ...] | None = None  # class labels, where the graph maps indices to them
    quantised: tuple[ir.Value, ...] = ()  # scores that the graph quantises

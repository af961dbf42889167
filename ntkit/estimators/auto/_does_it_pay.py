"""Whether balancing over an attribute pays: what it does to the accuracy of its groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ntkit.study import Outcome

__all__ = ["Payment", "payment"]

Array = NDArray[Any]
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Payment:
    """Mean accuracy of the groups class × attribute, on samples that no head has seen.

    A word that rightly decides the class is what a head knows most by: balanced over it, a group
    loses what another gains. Where the head only leaned on it, there is more to gain.

    Attributes
    ----------
    before, after : float
        By class-balanced retraining, and by retraining that is balanced over the groups.
    low : float
        Lower 95 % bound of what is gained.
    """

    before: float
    after: float
    low: float

    def __str__(self) -> str:
        return (
            "balancing over it raises the mean accuracy of its groups from "
            f"{100 * self.before:.1f} to {100 * self.after:.1f} % on samples not seen"
        )


def payment(groups: Array, weight: Array, before: Outcome, after: Outcome) -> Payment:
    """Compare two heads by their groups.

    Parameters
    ----------
    groups : ndarray of int, shape (N,)
        Number of each sample's group, from 0 on; those below 0 are left out.
    weight : ndarray of shape (N,)
        Weights; a sample of weight 0 counts as absent.
    before, after : Outcome
        Of samples that the heads were not fitted on.

    Returns
    -------
    Payment
    """
    mass = np.where(groups >= 0, weight, 0.0)
    some = mass > 0
    at, n_groups = groups[some], int(groups.max()) + 1
    share = mass[some] / np.bincount(at, weights=mass[some], minlength=n_groups)[at]
    was, now = 1.0 - before.wrong[some], 1.0 - after.wrong[some]
    gain = now - was
    mean = np.bincount(at, weights=share * gain, minlength=n_groups)
    variance = np.bincount(at, weights=(share * (gain - mean[at])) ** 2, minlength=n_groups)
    present = len(np.unique(at))
    error = float(np.sqrt(variance.sum())) / present
    low = float(mean.sum()) / present - float(norm.ppf(_CONFIDENCE)) * error
    return Payment(float(share @ was) / present, float(share @ now) / present, low)

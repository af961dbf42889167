"""Evidence from batches that keep coming: valid whenever one looks, and however often.

An e-process is the wealth of somebody who bets against a hypothesis. It starts at 1, and if the
hypothesis holds it is not expected to grow. So by Ville's inequality it ever reaches 1 / level with
a probability of at most the level. A bet on a share above a limit m multiplies the wealth by
(1 + c·x) / (1 + c·m) for each sample, x = 1 if it counts and 0 otherwise, or between (betting on
bounded means: Waudby-Smith and Ramdas, JRSS B 86, 2024). The wealth is spread over sizes c of the
bet, log-odds ratios from 0.03 to 2.8 with most on those near 1. It is also spread over the batch at
which a bet begins, half of it on the first, so that a late change is found although the bets of an
earlier start have lost (as e-detectors: Shin, Ramdas and Rinaldo, 2022).

Labels that were not chosen alike have weights, the inverse of the chance of being asked, with a
known bound. A bet on such a label risks only the part of the wealth that its weight is of the
bound. The chance may depend on everything that was known before the label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, logsumexp

from ntkit._types import Array
from ntkit.metrics.bounds import share_bounds

_ODDS = 2.0 ** (np.arange(-10, 4) / 2)
_PRIOR = 0.9 * np.exp(-(np.log(_ODDS) ** 2) / (2 * 0.4**2))
_PRIOR = np.log(0.9 * _PRIOR / _PRIOR.sum() + 0.1 / len(_ODDS))
_FIRST = 0.5  # of the wealth is bet from the first batch on
_APART = 5  # samples between two starts
_OF_REFERENCE = 0.1  # share of the level for the chance that a reference misleads
_LARGEST = 600.0  # logarithm of an e-value that is told from larger ones
_HALVINGS = 24


def log_evidence(
    counts: ArrayLike,
    n: ArrayLike,
    limit: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    most: float = 1.0,
) -> Array:
    """Logarithm of the evidence that a share is above a limit, after each batch, (…, batches).

    ``counts`` of ``n`` samples count, (…, batches). With ``weights`` up to ``most`` they are of
    each weight, (…, batches, weights).
    """
    k, size = np.asarray(counts, float), np.asarray(n, float)
    if weights is None:
        k, size = k[..., None], size[..., None]
    k, size = np.broadcast_arrays(k, size)
    up, down = _steps(np.asarray(limit, float), 1.0 if weights is None else weights, most)
    start, rest = _starts(size.sum(axis=-1))
    wealth = np.full((*k.shape[:-2], len(_ODDS)), -np.inf)
    evidence = np.empty(k.shape[:-1])
    for batch in range(k.shape[-2]):
        wealth = np.logaddexp(wealth, start[..., batch, None] + _PRIOR)
        right = size[..., batch, :] - k[..., batch, :]
        wealth = wealth + (k[..., batch, :, None] * up).sum(-2) + (right[..., None] * down).sum(-2)
        evidence[..., batch] = np.logaddexp(logsumexp(wealth, axis=-1), rest[..., batch])
    return evidence


def _steps(limit: Array, weights: ArrayLike, most: float) -> tuple[Array, Array]:
    """Logarithms of what a bet returns for a sample that counts, and for another."""
    bet, part = np.expm1(_ODDS) * most, np.reshape(np.asarray(weights, float) / most, (-1, 1))
    fair = 1 + bet * limit[..., None, None]
    return np.log(1 - part + part * (1 + bet) / fair), np.log(1 - part + part / fair)


def _starts(n: Array) -> tuple[Array, Array]:
    """Logarithms of the wealth that begins at each batch, and of the wealth not yet bet."""
    # It depends on the numbers of samples alone, which are known before what counts of them.
    before = np.where(n > 0, (np.cumsum(n, axis=-1) - n) // _APART, -1)
    latest = np.maximum.accumulate(before, axis=-1)
    first = (n > 0) & (np.cumsum(n, axis=-1) == n)
    begins = first | (np.diff(latest, axis=-1, prepend=-1) > 0)
    rank = np.maximum(np.cumsum(begins, axis=-1), 2)
    # Any number of starts: those from 2^k to 2^(k+1) share 1 / (k (k + 1)).
    k = np.floor(np.log2(rank))
    part = np.where(begins, (1 - _FIRST) / (k * (k + 1) * 2.0**k), 0)
    part = np.where(first, _FIRST, part)
    with np.errstate(divide="ignore"):
        return np.log(part), np.log(np.maximum(1 - np.cumsum(part, axis=-1), 1e-300))


def log_evidence_of_change(
    counts: ArrayLike, n: ArrayLike, low: ArrayLike, high: ArrayLike
) -> Array:
    """Logarithm of the evidence that a share is outside two bounds, half of it for each side."""
    k, size = np.asarray(counts, float), np.asarray(n, float)
    above = log_evidence(k, size, high)
    below = log_evidence(size - k, size, 1 - np.asarray(low, float))
    return np.asarray(np.logaddexp(above, below) - np.log(2))


def reference_level(level: float) -> tuple[float, float]:
    """Parts of a level: for all bounds of a reference together, and for the evidence."""
    return _OF_REFERENCE * level, (1 - _OF_REFERENCE) * level


def reference_bounds(count: int, n: int, level: float) -> tuple[float, float]:
    """Bounds of a share from a reference that is itself a sample; they miss it at the level."""
    return share_bounds(count, n, lower_level=level / 2, upper_level=level / 2)


def first_alarms(log_e: Array, weights: Array, level: float) -> Array:
    """First batch at which each stream raises an alarm, −1 if none, from (streams, batches).

    The probability that any stream without cause ever does is at most the level, whatever the
    streams have to do with each other.
    """
    # Closed testing with weighted means of e-values (Vovk and Wang, Ann. Stat. 49, 2021). A stream
    # is rejected if each mean over streams that it is one of reaches 1 / level. The least of them
    # is the one over all streams that are below 1 / level themselves.
    weights = np.asarray(weights, float) / np.sum(weights)
    alarms, reach = np.full(len(log_e), -1), 1 / level
    for batch, logs in enumerate(np.asarray(log_e).T):
        values = np.exp(np.minimum(logs, _LARGEST))
        open_ = alarms < 0
        lacking = (weights * np.maximum(reach - values, 0))[open_].sum()
        alarms[open_ & (values >= reach) & (weights * (values - reach) >= lacking)] = batch
    return alarms


class Since(NamedTuple):
    """The batch since which a share seems to be above a limit, and its bounds since then."""

    start: int
    value: float
    low: float
    high: float


def since(
    counts: ArrayLike,
    n: ArrayLike,
    limit: float,
    level: float,
    *,
    weights: ArrayLike | None = None,
    most: float = 1.0,
) -> Since:
    """The likeliest batch at which the share rose above a limit, and a confidence sequence.

    The bounds hold at the level for all batches at once, if the share has been constant since.
    """
    k, size = np.asarray(counts, float), np.asarray(n, float)
    if weights is None:
        k, size = k[:, None], size[:, None]
    values = np.ones(1) if weights is None else np.asarray(weights, float)
    starts, _ = _starts(size.sum(axis=1))
    later = np.cumsum(k[::-1], axis=0)[::-1], np.cumsum(size[::-1], axis=0)[::-1]

    def grown(k: Array, size: Array, limit: Array) -> Array:
        up, down = _steps(limit, values, most)
        return np.asarray(logsumexp(_PRIOR + (k[..., None] * up).sum(-2)
                                    + ((size - k)[..., None] * down).sum(-2), axis=-1))  # fmt: skip

    start = int(np.argmax(starts + grown(*later, np.asarray(limit))))
    k, size = later[0][start], later[1][start]
    needed = np.log(2 / level) - starts[start]
    low = _least_share(lambda share: grown(k, size, share), needed)
    high = 1 - _least_share(lambda share: grown(size - k, size, share), needed)
    total = float(size @ values)
    return Since(start, float(k @ values) / total if total else np.nan, low, high)


def _least_share(grown: Callable[[Array], Array], needed: float) -> float:
    """The largest share for which evidence against it is enough; it falls as the share grows."""
    low, high = 0.0, 1.0
    if grown(np.asarray(low)) < needed:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if grown(np.asarray(middle)) >= needed else (low, middle)
    return low


def noticed(n: float, limit: float, needed: float, power: float = 0.8) -> float | None:
    """Least share above a limit that n samples since the start show, with this probability.

    ``needed`` is the logarithm of the evidence that raises an alarm. None if no share is enough.
    """
    size = int(n)
    counts = np.arange(size + 1.0)
    up, down = _steps(np.asarray(limit), 1.0, 1.0)
    logs = logsumexp(_PRIOR + counts[:, None] * up + (size - counts)[:, None] * down, axis=-1)
    enough = np.flatnonzero(logs + np.log(_FIRST) >= needed)
    if not len(enough) or not enough[0]:
        return None
    # P(at least k of n) is the distribution function of a beta variable at the share.
    return float(betaincinv(enough[0], size - enough[0] + 1, power))

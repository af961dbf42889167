"""Evidence from batches that keep coming: valid whenever one looks, and however often.

An e-process is the wealth of somebody who bets against a hypothesis. It starts at 1, and if the
hypothesis holds it is not expected to grow. So by Ville's inequality it ever reaches 1 / level with
a probability of at most the level. A bet on a share above a limit m multiplies the wealth by
(1 + c·x) / (1 + c·m) for each sample, x = 1 if it counts and 0 otherwise, or between (betting on
bounded means: Waudby-Smith and Ramdas, JRSS B 86, 2024). The wealth is spread over sizes c of the
bet, log-odds ratios from 0.03 to 2.8 with most on those near 1. It is also spread over the batch at
which a bet begins, half of it on the first, so that a late change is found although the bets of an
earlier start have lost (as e-detectors: Shin, Ramdas and Rinaldo, 2022). A small part follows the
mean of the latest samples instead (their aGRAPA, which forgets), and bets only while that is bad.

Labels that were not chosen alike have weights, the inverse of the chance of being asked, with a
known bound. A bet on such a label risks only the part of the wealth that its weight is of the
bound. The chance may depend on everything that was known before the label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, logsumexp

from ntkit._types import Array

_ODDS = 2.0 ** (np.arange(-10, 4) / 2)
_PRIOR = 0.9 * np.exp(-(np.log(_ODDS) ** 2) / (2 * 0.4**2))
_PRIOR = 0.9 * _PRIOR / _PRIOR.sum() + 0.1 / len(_ODDS)
_FIRST = 0.5  # of the wealth is bet from the first batch on
_FOLLOWS = 0.15  # of the wealth follows the latest samples
_MEMORY = 0.96  # how much less a sample counts after each later one
_BOLDEST = 0.9  # of the wealth that this bet may lose at once
_APART = 5  # samples between two starts
_TILTS = np.array([0.0, 0.5, 1.0, 2.0, 4.0])  # standard errors by which a reference may mislead
_TILTED = np.log([0.4, 0.25, 0.15, 0.12, 0.08])
_ERRORS = np.concatenate([np.arange(-2, 3, 0.5), np.arange(3, 8)])
_LARGEST = 600.0  # logarithm of an e-value that is told from larger ones
_NOTHING = 1e-300
_HALVINGS = 24


def log_evidence(
    counts: ArrayLike,
    n: ArrayLike,
    limit: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    most: ArrayLike = 1.0,
) -> Array:
    """Logarithm of the evidence that a share is above a limit, after each batch, (…, batches).

    ``counts`` of ``n`` samples count, (…, batches). With ``weights`` up to ``most`` they are of
    each weight, (…, batches, weights). What is ``most`` may change from batch to batch.
    """
    k, size, weight, most = _by_weight(counts, n, weights, most)
    bad, alike = np.asarray(limit, float), weights is None
    start, rest = _starts(size.sum(axis=-1))
    shape = np.broadcast_shapes(k.shape[:-2], bad.shape)
    # The wealth of each bet is a part of exp(scale), so that none overflows.
    wealth, scale = np.zeros((*shape, len(_ODDS))), np.zeros(shape)
    evidence = np.empty((*shape, k.shape[-2]))
    followed, seen, total = np.zeros(shape), np.full(shape, 2.0), np.zeros(shape) + 2 * bad
    steps = _steps(np.ones(1), bad, np.ones(1)) if alike else _steps(weight, bad, most)
    for batch in range(k.shape[-2]):
        now = k[..., batch, :], size[..., batch, :], weight[..., batch, :]
        higher = np.maximum(scale, start[..., batch])
        wealth *= np.exp(scale - higher)[..., None]
        wealth += np.exp(start[..., batch] - higher)[..., None] * _PRIOR
        up, down = steps if alike else (each[..., batch, :, :] for each in steps)
        grown = (now[0][..., None] * up + (now[1] - now[0])[..., None] * down).sum(axis=-2)
        most_grown = grown.max(axis=-1)
        wealth *= np.exp(grown - most_grown[..., None])
        whole = np.maximum(wealth.sum(axis=-1), _NOTHING)
        wealth /= whole[..., None]
        scale = higher + most_grown + np.log(whole)
        # The bet on the latest samples: λ = (mean − m) / (variance + (mean − m)²), if positive.
        gap = np.maximum(total / seen - bad, 0)
        bet = gap / np.maximum(total / seen * (1 - total / seen) + gap**2, 1e-9)
        bet = np.minimum(bet, _BOLDEST / np.maximum(bad * most[..., batch, :].max(axis=-1), 1e-9))
        followed = followed + _returned(*now, bet[..., None], bad[..., None])
        kept = np.logaddexp(scale, rest[..., batch]) + np.log1p(-_FOLLOWS)
        evidence[..., batch] = np.logaddexp(kept, followed + np.log(_FOLLOWS))
        memory = _MEMORY ** now[1].sum(axis=-1)
        seen = memory * seen + (now[1] * now[2]).sum(axis=-1)
        total = memory * total + (now[0] * now[2]).sum(axis=-1)
    return evidence


def _by_weight(
    counts: ArrayLike, n: ArrayLike, weights: ArrayLike | None, most: ArrayLike
) -> tuple[Array, ...]:
    """Counts, samples, weights and their bounds of the same shape, (…, batches, weights)."""
    k, size = np.asarray(counts, float), np.asarray(n, float)
    if weights is None:
        k, size, weights = k[..., None], size[..., None], 1.0
    return np.broadcast_arrays(k, size, np.asarray(weights, float), np.asarray(most, float))


def _grown(k: Array, n: Array, weight: Array, limit: Array, most: Array) -> Array:
    """Logarithms of what each bet returns, (…, bets), from counts by weight, (…, weights)."""
    up, down = _steps(weight, limit, most)
    return np.asarray((k[..., None] * up + (n - k)[..., None] * down).sum(axis=-2))


def _steps(weight: Array, limit: Array, most: Array) -> tuple[Array, Array]:
    """Logarithms of what a bet returns for a sample that counts, and for another, (…, bets)."""
    bet, part = np.expm1(_ODDS) * most[..., None], (weight / most)[..., None]
    fair = 1 + bet * limit.reshape(*limit.shape, *(1,) * max(2, part.ndim - limit.ndim))
    return np.log(1 - part + part * (1 + bet) / fair), np.log(1 - part + part / fair)


def _returned(k: Array, n: Array, weight: Array, bet: Array, limit: Array) -> Array:
    """Logarithm of what one bet returns."""
    up, down = np.log1p(bet * weight * (1 - limit)), np.log1p(-bet * weight * limit)
    return np.asarray((k * up + (n - k) * down).sum(axis=-1))


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
    counts: ArrayLike, n: ArrayLike, known: ArrayLike, of: ArrayLike
) -> Array:
    """Logarithm of the evidence that a share is not that of a reference, which is a sample itself.

    ``known`` of the ``of`` samples of the reference count, (…). Half of it is for each side.
    """
    k, size, known, of = (np.asarray(each, float) for each in (counts, n, known, of))
    above = log_evidence_above(k, size, known, of)
    below = log_evidence_above(size - k, size, of - known, of)
    return np.asarray(np.logaddexp(above, below) - np.log(2))


def log_evidence_above(
    counts: ArrayLike,
    n: ArrayLike,
    known: ArrayLike,
    of: ArrayLike,
    more: ArrayLike = 0.0,
    *,
    weights: ArrayLike | None = None,
    most: ArrayLike = 1.0,
) -> Array:
    """Logarithm of the evidence that a share exceeds that of a reference by ``more``, or more."""
    # For each share p of the reference, the evidence of the batches against p + more times that of
    # the reference against p is an e-process. So is the least of these. Both are monotone in p, so
    # that the ends of intervals bound it between them.
    k, size, known, of, more = (np.asarray(e, float) for e in (counts, n, known, of, more))
    shares = _plausible(known, of)
    ends = np.concatenate([shares, np.ones((*shares.shape[:-1], 1))], axis=-1)
    of_reference = _log_below(known, of, np.concatenate([0 * shares[..., :1], shares], axis=-1))
    limits = np.minimum(ends + more[..., None], 1.0)
    k, size = (np.expand_dims(each, known.ndim) for each in (k, size))
    by_weight = dict[str, Any]()
    if weights is not None:
        each = (np.broadcast_to(values, k.squeeze(known.ndim).shape) for values in (weights, most))
        by_weight = {
            name: np.expand_dims(values, known.ndim)
            for name, values in zip(("weights", "most"), each, strict=True)
        }
    of_batches = log_evidence(k, size, limits, **by_weight)
    return np.asarray((of_batches + of_reference[..., None]).min(axis=-2))


def _plausible(known: Array, of: Array) -> Array:
    """Shares near that of a reference, (…, shares), in steps of its standard error."""
    angle = np.arcsin(np.sqrt((known + 0.25) / (of + 0.5)))[..., None]
    step = _ERRORS / (2 * np.sqrt(of + 0.5))[..., None]
    return np.asarray(np.sin(np.clip(angle + step, 0, np.pi / 2)) ** 2)


def _log_below(known: Array, of: Array, share: Array) -> Array:
    """Logarithm of the evidence of a reference that its share is below others, (…, shares)."""
    # An e-value of each share: likelihood ratios of smaller odds, of steps of its standard error.
    k, n, p = known[..., None, None], of[..., None, None], share[..., None]
    spread = np.sqrt(n * np.clip(p * (1 - p), 0.25 / np.maximum(n, 1), None))
    odds = -_TILTS / spread
    ratio = k * odds - n * np.log1p(p * np.expm1(odds))
    return np.asarray(logsumexp(ratio + _TILTED, axis=-1))


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
    most: ArrayLike = 1.0,
) -> Since:
    """The likeliest batch at which the share rose above a limit, and a confidence sequence.

    The bounds hold at the level for all batches at once, if the share has been constant since.
    """
    k, size, weight, most = _by_weight(counts, n, weights, most)
    starts, _ = _starts(size.sum(axis=-1))

    def grown(first: int, k: Array, limit: float) -> Array:
        steps = _grown(k[first:], size[first:], weight[first:], np.asarray(limit), most[first:])
        later = np.cumsum(steps[::-1], axis=0)[::-1]
        return np.asarray(logsumexp(np.log(_PRIOR) + later, axis=-1))

    start = int(np.argmax(starts + grown(0, k, limit)))
    needed = float(np.log(2 / level) - starts[start])
    low = _least_share(lambda share: grown(start, k, share)[0], needed)
    high = 1 - _least_share(lambda share: grown(start, size - k, share)[0], needed)
    mass = float((size * weight)[start:].sum())
    value = float((k * weight)[start:].sum()) / mass if mass else np.nan
    return Since(start, value, low, high)


def _least_share(grown: Callable[[float], float], needed: float) -> float:
    """The largest share for which evidence against it is enough; it falls as the share grows."""
    low, high = 0.0, 1.0
    if grown(low) < needed:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if grown(middle) >= needed else (low, middle)
    return low


def noticed(
    n: Array,
    share: Array,
    needed: Array,
    evidence: Callable[[Array, Array], Array],
    power: float = 0.8,
) -> Array:
    """Least share above others that n samples in a batch show with this probability; NaN if none.

    ``evidence`` of counts and n is its logarithm, and ``needed`` raises an alarm.
    """
    low, high = np.floor(n * share), np.asarray(n, float)
    shown = evidence(high[:, None], high[:, None])[:, 0] >= needed
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        enough = evidence(middle[:, None], n[:, None])[:, 0] >= needed
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    # P(at least k of n) is the distribution function of a beta variable at the share.
    least = betaincinv(np.maximum(high, 1), np.maximum(n - high, 0) + 1, power)
    return np.asarray(np.where(shown & (high > 0), least, np.nan))

"""Test whether complaints have a common direction that their old logits do not explain.

The null hypothesis: among samples with the same answer and the same probability of the right class,
complaints have the embeddings of any traffic. It holds for a model that no other head improves, as
the chance of an error then depends on the logits alone. Complaints near the boundary are no
evidence: there, any step of the head changes answers.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from ntkit._types import Array
from ntkit.head import LinearHead
from ntkit.study import Rows, scaler_of

_STRATA, _ROWS = 20, 20  # most strata of a pair of classes, and fewest rows of one
_COMPLAINTS, _TRAFFIC = 300, 2000  # most rows in the test
_DRAWS = 10  # over the level
_ENOUGH = 20  # as large statistics end the draws: Besag and Clifford, Biometrika 78 (1991)
_PAIRS = 4_000_000  # in one block of draws


def direction_p(
    head: LinearHead, Z: Array, right: Array, traffic: Array, level: float, seed: int
) -> float:
    """P-value of complaints that differ from traffic with the same logits in a common direction.

    The statistic is that of a two-sample test with a linear kernel (Gretton et al., JMLR 13, 2012).
    Complaints and traffic are permuted within strata of old answer, right class and the old
    probability of the right class.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(Z))[:_COMPLAINTS]
    rows = rng.permutation(len(traffic))[:_TRAFFIC]
    n, scaler = len(some), scaler_of(Rows.of(traffic))
    raw = np.concatenate([Z[some], traffic[rows]])
    X = ((raw - scaler.mean_) / scaler.scale_).astype(np.float32)
    log_p = log_softmax(head.logits(raw).astype(np.float64), axis=1)
    old, wanted = log_p.argmax(axis=1), np.append(right[some], np.full(len(rows), -1))
    # A row of the traffic stands in for complaints of one right class.
    for answer in np.unique(old[:n]):
        like = np.flatnonzero(old == answer)
        of_traffic = like[like >= n]
        kinds = np.unique(wanted[like[like < n]])
        wanted[of_traffic] = rng.permutation(np.resize(kinds, len(of_traffic)))
    stratum, count = np.full(len(X), -1), 0
    for answer, kind in np.unique(np.stack([old, wanted])[:, :n], axis=1).T:
        like = np.flatnonzero((old == answer) & (wanted == kind))
        p, n_strata = log_p[like, kind], int(np.clip(len(like) // _ROWS, 1, _STRATA))
        edges = np.quantile(p, np.arange(1, n_strata) / n_strata)
        stratum[like] = count + np.searchsorted(edges, p, side="right")
        trend = np.stack([np.ones_like(p), p, p**2], axis=1)
        X[like] -= trend @ np.linalg.lstsq(trend, X[like], rcond=None)[0]
        count += n_strata
    strata = [np.flatnonzero(stratum == k) for k in np.unique(stratum[:n])]
    for like in strata:
        X[like] -= X[like].mean(axis=0)
    # Two complaints ask for the same change of the logits, for parts of it, or for the opposite.
    agree = (wanted[:, None] == wanted).astype(np.float32) + (old[:, None] == old)
    agree -= (wanted[:, None] == old).astype(np.float32) + (old[:, None] == wanted)
    pairs = (X @ X.T) * agree
    np.fill_diagonal(pairs, 0)

    def statistic(drawn: Array) -> Array:
        return np.asarray(pairs[drawn[:, :, None], drawn[:, None, :]].sum(axis=(1, 2)))

    observed = float(statistic(np.arange(n)[None])[0])
    observed -= 1e-5 * abs(observed)  # of equal draws in another order
    n_draws, done, as_large = int(np.ceil(_DRAWS / level)), 0, 0
    while done < n_draws and as_large < _ENOUGH:
        size = min(n_draws - done, max(1, _PAIRS // n**2), 200)
        drawn = []
        for like in strata:
            keys = rng.random((size, len(like))).argsort(axis=1)
            drawn.append(like[keys[:, : (like < n).sum()]])
        as_large += int((statistic(np.concatenate(drawn, axis=1)) >= observed).sum())
        done += size
    return (1 + as_large) / (1 + done)

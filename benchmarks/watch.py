"""Watch: how often a stream raises a false alarm in a year, and how soon a true one.

    OPENBLAS_NUM_THREADS=1 python benchmarks/watch.py [--streams 10000] [--markdown FILE]

Made-up counts. A year is 365 batches, and each batch is a look. Shares are at their limit, which is
the worst case. Next to it is a test of fixed size, repeated with each batch: Clopper and Pearson's
bound of the batch alone, and of all samples so far. Labels that uncertainty chose are asked with a
chance of a half to twice the average one, and wrong predictions are asked more often.

Power is next to the best constant bet for the true share, with the same threshold, and to the best
test of a fixed size at the same level, which looks once, after all samples.
"""

from __future__ import annotations

import argparse
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc
from scipy.stats import binom

from ntkit._text import table
from ntkit.metrics.streams import (
    first_alarms,
    log_evidence,
    log_evidence_above,
    log_evidence_of_change,
)

Array = NDArray[Any]
LEVEL, BATCHES, REFERENCE = 0.05, 365, 2000
SIZES: tuple[Any, ...] = (1, 10, 100, 1000, 10_000, "1 to 10,000")
CHUNK = 1000
ACCURACY, FLIPS, SHARE = 0.25, 0.05, 0.3
DROP = 0.05  # by which the accuracy of the reference is above its limit
PARTS = np.array([1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 3])  # of the level: three of labels, flips, share
WRONG = np.array([0.02, 0.1, 0.3, 0.58])  # chances of an error of four kinds, 0.25 on average
ASKED = 0.5 + 0.5 * WRONG / WRONG.mean()  # times the average chance of being asked
LABELS = 20


def sizes(rng: np.random.Generator, size: Any, n: int) -> Array:
    """Numbers of samples of the batches of n streams."""
    if size == "1 to 10,000":
        return np.exp(rng.uniform(0, log(10_000), (n, BATCHES))).astype(int)
    return np.full((n, BATCHES), size)


def years(rng: np.random.Generator, size: Any, n: int) -> dict[str, Array]:
    """Whether each of n streams without a cause raises an alarm, by kind and by rule."""
    batch = sizes(rng, size, n)
    wrong = rng.binomial(batch, ACCURACY)
    flips = rng.binomial(batch, FLIPS)
    shares = rng.binomial(batch, SHARE)
    reference = rng.binomial(REFERENCE, SHARE, n)
    before = rng.binomial(REFERENCE, ACCURACY - DROP, n)
    of_kind = rng.multinomial(batch, np.full(4, 0.25))
    asked = rng.binomial(of_kind, np.minimum(1, ASKED * np.minimum(1, LABELS / batch[..., None])))
    errors = rng.binomial(asked, WRONG)
    chance = np.minimum(1, ASKED * np.minimum(1, LABELS / batch[..., None]))
    weights = np.minimum(1, LABELS / batch[..., None]) / chance
    evidence = {
        "accuracy": log_evidence(wrong, batch, ACCURACY),
        "drop of the accuracy": log_evidence_above(
            wrong, batch, before, np.full(n, REFERENCE), DROP
        ),
        "accuracy, uncertain labels": log_evidence(
            errors, asked, ACCURACY, weights=weights, most=2.0
        ),
        "flips": log_evidence(flips, batch, FLIPS),
        "share of a reference": log_evidence_of_change(
            shares, batch, reference, np.full(n, REFERENCE)
        ),
    }
    alarms = {name: values.max(axis=1) >= -log(LEVEL) for name, values in evidence.items()}
    every = np.stack([*evidence.values()], axis=1)
    together = [first_alarms(each, PARTS, LEVEL).max() >= 0 for each in every]
    alarms["all five together"] = np.asarray(together)
    n_so_far, k_so_far = batch.cumsum(axis=1), wrong.cumsum(axis=1)
    alarms["fixed-size test of each batch"] = exceeds(wrong, batch).any(axis=1)
    alarms["fixed-size test of all so far"] = exceeds(k_so_far, n_so_far).any(axis=1)
    plain = asked.sum(axis=-1), errors.sum(axis=-1)
    alarms["uncertain labels without weights"] = log_evidence(plain[1], plain[0], ACCURACY).max(
        axis=1
    ) >= -log(LEVEL)
    return alarms


def exceeds(k: Array, n: Array) -> Array:
    """Whether an exact test of fixed size says that the share is above the limit."""
    return np.where(k > 0, bdtrc(np.maximum(k - 1, 0), n, ACCURACY), 1) <= LEVEL


def false_alarms(n_streams: int, seed: int = 0) -> list[list[str]]:
    """Share of streams with an alarm in a year, in percent."""
    rows, names = list[list[str]](), list[str]()
    found = dict[Any, dict[str, float]]()
    for size in SIZES:
        rng = np.random.default_rng([seed, SIZES.index(size)])
        parts = [years(rng, size, min(CHUNK, n_streams - at)) for at in range(0, n_streams, CHUNK)]
        names = [*parts[0]]
        found[size] = {n: 100 * float(np.concatenate([p[n] for p in parts]).mean()) for n in names}
        print(size, found[size], flush=True)
    rows.append(["samples of a batch", *map(str, SIZES)])
    rows += [[name, *(f"{found[size][name]:.2f}" for size in SIZES)] for name in names]
    return rows


def windowed(x: Array, limit: float, memory: float = 0.96) -> Array:
    """Logarithms of wealth of bets by aGRAPA on a mean that forgets, after each sample."""
    # λ = (μ − m) / (σ² + (μ − m)²), of Waudby-Smith and Ramdas (2024), never below 0.
    weight, total = 2.0, np.full(len(x), 2 * limit)
    wealth = np.zeros(x.shape)
    for i in range(x.shape[1]):
        mean = total / weight
        gap = np.maximum(mean - limit, 0)
        bet = np.minimum(gap / (mean * (1 - mean) + gap**2 + 1e-12), 0.9 / limit)
        wealth[:, i] = np.log1p(bet * (x[:, i] - limit))
        total, weight = memory * total + x[:, i], memory * weight + 1
    return wealth.cumsum(axis=1)


LINES = (
    ("accuracy 75 → 55 %, 4 groups", 0.25, 0.45, 70, 80.0),
    ("accuracy 90 → 70 %, 4 groups", 0.10, 0.30, 70, 80.0),
    ("flips 5 → 15 %", 0.05, 0.15, 80, 20.0),
    ("share 5 → 10 %, known reference", 0.05, 0.10, 400, 40.0),
)


def power(n_streams: int, seed: int = 0) -> list[list[str]]:
    """How often a change from the first sample on is noticed within some samples, in percent."""
    rng, rows = np.random.default_rng(seed), [["", "samples", "bound"]]
    rows[0] += ["best test of fixed size", "best bet", "ntkit", "by batches of 10", "aGRAPA"]
    for name, limit, true, n, reach in LINES:
        x = (rng.random((n_streams, n)) < true).astype(float)
        best = (x * log(true / limit) + (1 - x) * log((1 - true) / (1 - limit))).cumsum(axis=1)
        growth = true * log(true / limit) + (1 - true) * log((1 - true) / (1 - limit))
        of_ten = x.reshape(n_streams, -1, 10).sum(axis=2)
        seen = [
            best.max(axis=1) >= log(reach),
            log_evidence(x, np.ones(x.shape), limit).max(axis=1) >= log(reach),
            log_evidence(of_ten, np.full(of_ten.shape, 10), limit).max(axis=1) >= log(reach),
            windowed(x, limit).max(axis=1) >= log(reach),
        ]
        least = binom.ppf(1 - 1 / reach, n, limit) + 1
        fixed = 100 * binom.sf(least - 1, n, true)
        rows.append([name, str(n), f"{log(reach) / growth:.0f}", f"{fixed:.1f}"])
        rows[-1] += [f"{100 * each.mean():.1f}" for each in seen]
    return rows


def both(n_streams: int, seed: int = 0) -> list[list[str]]:
    """The same of 4 groups that have a limit and a drop of 10 points, of which one group falls."""
    rows = [["accuracy", "samples", "limit alone", "drop alone", "both", "another group"]]
    of = np.full(n_streams, REFERENCE // 4)
    for name, limit, true in (("75 → 55 %", 0.25, 0.45), ("90 → 70 %", 0.10, 0.30)):
        rng, before = np.random.default_rng([seed, int(100 * limit)]), max(limit - 0.1, 0.02)
        drop, logs = limit - before, list[Array]()
        for share in (true, before, before, before):
            x = (rng.random((n_streams, 70)) < share).astype(float)
            known = rng.binomial(of, before)
            logs.append(log_evidence(x, np.ones(x.shape), limit))
            logs.append(log_evidence_above(x, np.ones(x.shape), known, of, drop))
        sets = {"limits": [0, 2, 4, 6], "drops": [1, 3, 5, 7], "both": [*range(8)]}
        found = dict[str, Array]()
        for rule, at in sets.items():
            every = np.stack([logs[i] for i in at], axis=1)
            found[rule] = np.stack([first_alarms(e, np.ones(len(at)), LEVEL) for e in every])
        here, there = found["both"][:, :2], found["both"][:, 2:]
        seen = [found["limits"][:, 0] >= 0, found["drops"][:, 0] >= 0, (here >= 0).any(axis=1),
                (there >= 0).any(axis=1)]  # fmt: skip
        rows.append([name, "70", *(f"{100 * each.mean():.1f}" for each in seen)])
    return rows


def of_reference(n_streams: int, seed: int = 0) -> list[list[str]]:
    """The same of a share against references of several sizes, within 400 samples."""
    rows = [["reference", "noticed within 400", "within 600", "within 1000"]]
    for size in (500, 1000, 2000, 5000, 10_000, 100_000):
        rng = np.random.default_rng([seed, size])
        known = rng.binomial(size, 0.05, n_streams)
        k = rng.binomial(20, 0.10, (n_streams, 50))
        logs = log_evidence_of_change(k, np.full(k.shape, 20), known, np.full(known.shape, size))
        seen = [100 * (logs[:, : n // 20].max(axis=1) >= -log(LEVEL)).mean()
                for n in (400, 600, 1000)]  # fmt: skip
        rows.append([str(size), *(f"{each:.1f}" for each in seen)])
    return rows


def late(n_streams: int, seed: int = 0) -> list[list[str]]:
    """Labels from a late fall of the accuracy to the alarm: 5 a batch, 75 → 55 %, 4 groups."""
    rows = [["accuracy before", "after batch", "half", "9 of 10", "aGRAPA, half", "9 of 10"]]
    for before in (0.75, 0.85, 0.95):
        for at in (1, 30, 180):
            rng = np.random.default_rng([seed, at, int(100 * before)])
            k = np.concatenate(
                [
                    rng.binomial(5, 1 - before, (n_streams, at)),
                    rng.binomial(5, 0.45, (n_streams, 185)),
                ],
                axis=1,
            )
            logs = log_evidence(k, np.full(k.shape, 5), 0.25)
            order = rng.random((*k.shape, 5)).argsort(axis=2) < k[..., None]
            others = windowed(order.reshape(n_streams, -1).astype(float), 0.25)[:, 4::5]
            cells = list[str]()
            for each in (logs, others):
                reached = each >= log(80)
                batch = np.where(reached.any(axis=1), reached.argmax(axis=1), 10**6)
                delay = np.quantile((batch + 1 - at) * 5, [0.5, 0.9])
                cells += [f"{d:.0f}" if d < 925 else "–" for d in delay]
            rows.append([f"{100 * before:.0f} %", str(at), *cells])
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--only", default="power,both,reference,late,false")
    args = parser.parse_args()
    made = {
        "power": power,
        "both": both,
        "reference": of_reference,
        "late": late,
        "false": false_alarms,
    }
    for name in args.only.split(","):
        n = args.streams if name in ("power", "both", "false") else max(100, args.streams // 5)
        rows = made[name](n)
        print(f"\n{name}\n\n{table(rows, '<' + '>' * (len(rows[0]) - 1))}", flush=True)


if __name__ == "__main__":
    main()

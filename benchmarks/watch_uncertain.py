"""Watch: labels that uncertainty chooses, next to labels alike.

    OPENBLAS_NUM_THREADS=1 python benchmarks/watch_uncertain.py [--streams 10000] [--only null]

A prototype, which ntkit does not have. The confidence has an AUC of 0.75 for the errors of a
reference of 2000 samples, and g is the chance of an error by its eighths. For *each* sample of a
batch, asked or not, 1 + λ a (A/π (e - g) + g - limit) multiplies the wealth: A is whether it is
asked, π the chance of that, a the mean chance. Its mean is right for any π and any g that do not
depend on the labels of the batch. Chances are 1 - u + u √g, up to scale; the variate is
limit + v (g - limit).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm

from ntkit._text import table
from ntkit.metrics.streams import _ODDS, _PRIOR, _starts

Array = NDArray[Any]
BINS, REFERENCE, LEVEL = 8, 2000, 0.05
APART = np.sqrt(2) * norm.ppf(0.75)
DESIGNS = ((0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.5, 0.0), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0))
Sizes = Callable[[np.random.Generator, int], Array]


def of_reference(rng: np.random.Generator, wrong: float, n: int) -> tuple[Array, Array, Array]:
    """Shares of right and wrong answers by eighths of the confidence, and g of n streams."""
    at = np.linspace(-6, 8, 20_001)
    below = (1 - wrong) * norm.cdf(at) + wrong * norm.cdf(at - APART)
    edges = np.interp(np.arange(1, BINS) / BINS, below, at)
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    right, errors = np.diff(norm.cdf(edges)), np.diff(norm.cdf(edges - APART))
    share = (1 - wrong) * right + wrong * errors
    sizes = rng.multinomial(REFERENCE, share, n)
    k = rng.binomial(sizes, wrong * errors / share)
    return right, errors, (k + 2 * k.sum(axis=1, keepdims=True) / REFERENCE) / (sizes + 2)


def evidence(
    rng: np.random.Generator,
    traffic: Callable[[Array, Array], tuple[Array, Array]],
    limit: float,
    sizes: Sizes,
    labels: int,
    shape: tuple[int, int],
    design: tuple[float, float],
) -> tuple[Array, Array]:
    """Logarithm of the evidence of streams after each batch, and the labels of each."""
    chosen, variate = design
    right, errors, g = of_reference(rng, limit, shape[0])
    right, wrong = traffic(right, errors)
    bets = np.expm1(_ODDS) / (1 + np.expm1(_ODDS) * limit)
    liked = 1 - chosen + chosen * np.sqrt(g) / np.sqrt(g).mean(axis=1, keepdims=True)
    grown, n_asked = np.empty((*shape, len(bets))), np.empty(shape)
    for batch in range(shape[1]):
        size = sizes(rng, shape[0])
        each = rng.multinomial(size, right + wrong)
        total = np.maximum((each * liked).sum(axis=1, keepdims=True), 1e-9)
        chance, alike = np.minimum(1, labels * liked / total), np.minimum(1, labels / size)[:, None]
        asked = rng.binomial(each, chance)
        k, weight = rng.binomial(asked, wrong / (right + wrong)), alike / chance
        for i, bet in enumerate(bets):
            # A bet may lose at most nine tenths.
            most = 0.9 * (1 - bet * alike * limit) / (bet * weight)
            own = limit + variate * (g - limit) if variate else np.full_like(g, limit)
            own = np.minimum(own, most) if variate or chosen else own
            known = bet * alike * (own - limit)
            terms = k * np.log1p(known + bet * weight * (1 - own))
            terms += (asked - k) * np.log1p(known - bet * weight * own)
            grown[:, batch, i] = (terms + (each - asked) * np.log1p(known)).sum(axis=1)
        n_asked[:, batch] = asked.sum(axis=1)
    return wealth(grown, n_asked), n_asked


def wealth(grown: Array, n: Array) -> Array:
    """Logarithm of the wealth, spread over bets and starts as in ntkit."""
    starts, rest = _starts(n)
    logs, out = np.full((len(grown), len(_ODDS)), -np.inf), np.empty(n.shape)
    for batch in range(n.shape[1]):
        logs = np.logaddexp(logs, starts[:, batch, None] + np.log(_PRIOR)) + grown[:, batch]
        out[:, batch] = np.logaddexp(logsumexp(logs, axis=1), rest[:, batch])
    return out


def falls(limit: float, now: float) -> Iterator[tuple[str, Any]]:
    """What the new errors are like: as the old ones, as right answers, or the most confident."""
    surest = np.repeat([0.5, 0.0], [2, BINS - 2])
    yield "as the old ones", lambda right, errors: ((1 - now) * right, now * errors)
    for name, new in (("as right answers", None), ("the most confident quarter", surest)):
        yield (
            name,
            lambda right, errors, new=new: (
                (1 - now) * right,
                limit * errors + (now - limit) * (right if new is None else new),
            ),
        )


def power(n_streams: int, batch: int = 500) -> list[list[str]]:
    """Labels until a fall of 20 points is noticed, 10 labels of each batch, 4 groups."""
    rows = [["accuracy", "new errors", "u", "v", "mean labels", "saved", "within 70"]]
    for limit, now in ((0.10, 0.30), (0.25, 0.45)):
        for name, traffic in falls(limit, now):
            alike = np.nan
            for design in DESIGNS:
                rng, shape = np.random.default_rng(1), (n_streams, 40)
                logs, n = evidence(
                    rng, traffic, limit, lambda _, n: np.full(n, batch), 10, shape, design
                )
                hit, so_far = logs >= np.log(4 / LEVEL), n.cumsum(axis=1)
                needed = np.where(
                    hit.any(axis=1), so_far[range(n_streams), hit.argmax(axis=1)], 400
                )
                alike = needed.mean() if design == (0, 0) else alike
                cells = f"{100 - 100 * limit:.0f} → {100 - 100 * now:.0f} %", name
                rows.append([*cells, *map(str, design), f"{needed.mean():.1f}"])
                rows[-1] += [f"{100 * (1 - needed.mean() / alike):.0f} %"]
                rows[-1] += [f"{100 * (needed <= 70).mean():.1f}"]
                print(rows[-1], flush=True)
    return rows


def null(n_streams: int, design: tuple[float, float] = (0.5, 0.5)) -> list[list[str]]:
    """Streams at their limit with an alarm in 365 batches of 20 labels, in percent."""
    rows = [["accuracy", "confidence", "20 a batch", "100", "1000", "1 to 10,000"]]
    sizes: list[Sizes] = [lambda _, n, size=size: np.full(n, size) for size in (20, 100, 1000)]
    sizes.append(lambda rng, n: np.exp(rng.uniform(0, np.log(10_000), n)).astype(int))
    for limit in (0.10, 0.25):
        for name, turn in (("as in the reference", 1), ("turned round", -1)):
            rows.append([f"{100 - 100 * limit:.0f} %", name])
            for size in sizes:
                alarms = list[Array]()
                for part in range(0, n_streams, 1000):
                    rng, shape = np.random.default_rng(part), (min(1000, n_streams - part), 365)
                    logs, _ = evidence(
                        rng,
                        lambda right, errors, limit=limit, turn=turn: (
                            (1 - limit) * right,
                            limit * errors[::turn],
                        ),
                        limit, size, 20, shape, design,
                    )  # fmt: skip
                    alarms.append(logs.max(axis=1) >= -np.log(LEVEL))
                rows[-1].append(f"{100 * np.concatenate(alarms).mean():.2f}")
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--only", default="power,null")
    args = parser.parse_args()
    made = {"power": power, "null": null}
    for name in args.only.split(","):
        rows = made[name](args.streams)
        print(f"\n{name}\n\n{table(rows, '<<' + '>' * (len(rows[0]) - 2))}", flush=True)


if __name__ == "__main__":
    main()

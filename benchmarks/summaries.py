"""How often the bounds of summaries of groups miss the truth, and how wide they are.

    OPENBLAS_NUM_THREADS=1 python benchmarks/summaries.py [--draws 1000] [--markdown FILE]

Each cell states the groups: sizes, shares, accuracies, drops. So the summary is known, and a bound
of a sample that lies on its wrong side is an error. The two sides are counted apart at 5 %, and
together at 2.5 % each. Widths are those of the intervals with both sides at 2.5 %, divided by the
width of the normal interval with the true variance.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri
from scipy.stats import binom

from ntkit.metrics import bounds as _bounds
from ntkit.metrics.bounds import likely_drop, share_bounds
from runner import command_line, publish, table

Array = NDArray[Any]
LEVELS = (0.05, 0.025)
DRAWS = 120
MORE = 8  # times as many draws where all samples weigh the same
TOO_MANY = 0.07  # 5 %, and more than luck with many draws
WIDTHS = 8  # draws of which the width of a slow method is computed
UNSURE = 1.3  # a bound is computed where the truth has at most this multiple of the level
NEAR = 1e-9
SIZES: tuple[tuple[int, ...], ...] = ((5,), (10,), (20,), (30,), (200,), (5, 200), (5, 10, 20, 30))
GROUPS = (2, 4, 8)
FINE = np.concatenate([[0.005, 0.02], np.linspace(0.04, 0.96, 24), [0.98, 0.995, 1]])
SUMS = (
    ((6, 6), (0.3, 0.7)), ((5, 5), (0.1, 0.9)), ((5, 10), (0.5, 0.5)), ((3, 20), (0.5, 0.5)),
    ((5, 40), (0.5, 0.5)), ((10, 30), (0.4, 0.6)), ((4, 4, 4), (0.2, 0.3, 0.5)),
    ((3, 3, 5), (0.15, 0.35, 0.5)), ((3, 5, 8), (1 / 3, 1 / 3, 1 / 3)),
)  # fmt: skip
SLOW_SIZES = {2: ((5,), (5, 200)), 4: ((5, 10, 20, 30),), 8: ()}


@dataclass(frozen=True, eq=False)
class Cell:
    """The truth of disjoint groups: size, share, accuracy after, lost and gained of each."""

    name: str
    sizes: str
    n: Array
    shares: Array
    accuracy: Array
    lost: Array
    gained: Array

    @property
    def alike(self) -> bool:
        """Whether all samples weigh the same; ntkit's bounds then take no time."""
        return bool(np.ptp(self.shares / self.n) < NEAR)

    def drawn(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Counts of right, lost and gained samples, (draws, groups) each."""
        stayed = self.accuracy - self.gained
        shares = [self.lost, self.gained, stayed, 1 - self.lost - self.gained - stayed]
        counts = rng.multinomial(self.n, np.array(shares).T.clip(0), size=(draws, len(self.n)))
        return counts[..., 1] + counts[..., 2], counts[..., 0], counts[..., 1]


def cells(paired: bool) -> Iterator[Cell]:
    """The cells of one model, or of two; fewer where a bound takes long to compute."""
    for groups, sizes, equal in itertools.product(GROUPS, SIZES, (True, False)):
        alike = equal and len(sizes) == 1
        if len(sizes) > groups or not (alike or sizes in SLOW_SIZES[groups]):
            continue
        n = np.resize(sizes, groups)
        shares = np.full(groups, 1 / groups)
        if not equal:  # the last group, which has many samples if any has, has most of the share
            shares = np.array([0.3 / (groups - 1)] * (groups - 1) + [0.7])
        said = f"{groups} of {' and '.join(map(str, sizes))}, {'equal' if equal else 'unequal'}"
        for name, accuracy, lost, gained in populations(groups, paired, few=not alike):
            yield Cell(name, said, n, shares, accuracy, lost, gained)


def populations(groups: int, paired: bool, few: bool) -> Iterator[tuple[str, Array, Array, Array]]:
    """Name, accuracy, lost and gained shares of each group."""
    first, all_alike, none = np.arange(groups) == 0, np.ones(groups), np.zeros(groups)
    if not paired:
        for accuracy in (0.8, 0.95) if few else (0.5, 0.8, 0.9, 0.95, 0.98, 1.0):
            yield f"{accuracy:.0%} right", accuracy * all_alike, none, none
        yield "50 % right, others 95 %", np.where(first, 0.5, 0.95), none, none
        return
    changes = ((0.05, 0), (0.15, 0.05), (0, 0), (0, 0.05), (0.05, 0.05), (0.1, 0), (0.3, 0.1))
    for lost, gained in changes[:2] if few else changes:
        name = f"{lost:.0%} lost, {gained:.0%} gained"
        yield name, 0.7 * all_alike, lost * all_alike, gained * all_alike
    lost, gained = np.where(first, 0.0, 0.05), np.where(first, 0.2, 0.0)
    yield "20 % gained, others 5 % lost", 0.8 * all_alike, lost, gained


# -- bounds of one model: the lower one; the upper one is that of the errors -------------------


def clopper(counts: Array, n: Array, level: float) -> Array:
    """Clopper and Pearson's lower bounds."""
    low = betaincinv(np.maximum(counts, 1), n - counts + 1, level)
    return np.where(counts == 0, 0.0, low)


def over_groups(counts: Array, cell: Cell, level: float) -> Array:
    """MOVER over the exact bounds of the groups."""
    rates = counts / cell.n
    below = cell.shares * (rates - clopper(counts, cell.n, level))
    return np.asarray(rates @ cell.shares - np.sqrt((below**2).sum(axis=1)))


def bonferroni(counts: Array, cell: Cell, level: float) -> Array:
    """The exact bounds of the groups, each at its part of the level."""
    return clopper(counts, cell.n, level / len(cell.n)) @ cell.shares


def hoeffding(counts: Array, cell: Cell, level: float) -> Array:
    """Hoeffding's bound."""
    spread = (cell.shares**2 / cell.n).sum()
    return (counts / cell.n) @ cell.shares - np.sqrt(spread * np.log(1 / level) / 2)


def effective(counts: Array, cell: Cell, level: float) -> Array:
    """Wilson's bound with the effective number of samples."""
    n, z2 = 1 / (cell.shares**2 / cell.n).sum(), ndtri(level) ** 2
    rate = (counts / cell.n) @ cell.shares
    half = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n**2)))
    return np.asarray((rate + z2 / (2 * n) - half) / (1 + z2 / n))


def normal(counts: Array, cell: Cell, level: float) -> Array:
    """The normal bound with the estimated variance."""
    rates = counts / cell.n
    spread = (cell.shares**2 * rates * (1 - rates) / cell.n).sum(axis=1)
    return np.asarray(rates @ cell.shares + ndtri(level) * np.sqrt(spread))


def betting(counts: Array, cell: Cell, level: float) -> Array:
    """Bets on each sample, as large as is best at its end: Chernoff's bound, at the worst rates."""
    means = np.linspace(0, 1, 201)
    tilts = np.geomspace(0.05, 30, 12) / (cell.shares / cell.n).max()
    estimate = (counts / cell.n) @ cell.shares
    best = np.full((len(means), len(estimate)), np.inf)
    for tilt in tilts:
        grown = np.expm1(tilt * cell.shares / cell.n)
        rates = allocated(means, cell, grown)
        wealth = (cell.n * np.log1p(rates * grown)).sum(axis=1)
        best = np.minimum(best, wealth[:, None] - tilt * estimate)
    return means[(best <= np.log(level)).cumprod(axis=0).sum(axis=0).clip(1) - 1]


def allocated(means: Array, cell: Cell, grown: Array) -> Array:
    """The rates of groups of which a tilted mean is the largest, for each mean of them."""
    weight = cell.shares / cell.n
    low, high = np.zeros(len(means)), np.full(len(means), (weight * (1 + 1 / grown)).max())
    for _ in range(40):
        middle = (low + high) / 2
        rates = np.clip(middle[:, None] / weight - 1 / grown, 0, 1)
        less = rates @ cell.shares < means
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return rates


def buehler(counts: Array, cell: Cell, level: float) -> Array:
    """The bounds of ntkit."""
    low = {"lower_level": level, "upper_level": 0.5}
    once, back = np.unique(counts, axis=0, return_inverse=True)
    each = [_bounds.mean_bounds(count, cell.n, cell.shares, **low)[0] for count in once]
    return np.array(each)[back.ravel()]


OF_ONE: Mapping[str, Callable[[Array, Cell, float], Array]] = {
    "MOVER over groups": over_groups,
    "Bonferroni over groups": bonferroni,
    "Hoeffding": hoeffding,
    "betting": betting,
    "Wilson, effective n": effective,
    "normal": normal,
    "Buehler (ntkit)": buehler,
}


# -- bounds of two models: the upper one of the drop; the lower one is that of the gain ---------


def combined(lost: Array, gained: Array, n: Array, level: float) -> Array:
    """Bound of the drop of each group, from those of its lost and gained samples."""
    above = 1 - clopper(n - lost, n, level) - lost / n
    below = gained / n - clopper(gained, n, level)
    one, two = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    alike = np.minimum(1, np.sqrt(one * two / (1 - one) / (1 - two)))
    return np.asarray(np.sqrt(above**2 + below**2 + 2 * alike * above * below))


def drop_over_groups(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """MOVER over the groups."""
    above = cell.shares * combined(lost, gained, cell.n, level)
    return ((lost - gained) / cell.n) @ cell.shares + np.sqrt((above**2).sum(axis=1))


def drop_bonferroni(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """The bounds of the groups, each at its part of the level."""
    above = combined(lost, gained, cell.n, level / len(cell.n))
    return np.asarray(((lost - gained) / cell.n + above) @ cell.shares)


def drop_hoeffding(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """Hoeffding's bound."""
    spread = (cell.shares**2 / cell.n).sum()
    return ((lost - gained) / cell.n) @ cell.shares + np.sqrt(2 * spread * np.log(1 / level))


def drop_effective(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """Bonett and Price's bound with the effective number of samples."""
    n = 1 / (cell.shares**2 / cell.n).sum()
    down, up = (((counts / cell.n) @ cell.shares * n + 1) / (n + 2) for counts in (lost, gained))
    return np.asarray(down - up - ndtri(level) * np.sqrt((down + up - (down - up) ** 2) / (n + 2)))


def drop_normal(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """The normal bound with the estimated variance."""
    down, up = lost / cell.n, gained / cell.n
    spread = (cell.shares**2 * (down + up - (down - up) ** 2) / cell.n).sum(axis=1)
    return (down - up) @ cell.shares - ndtri(level) * np.sqrt(spread)


def drop_split(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """Buehler's bounds of the lost and of the gained samples, each at half of the level."""
    down = 1 - buehler(cell.n - lost, cell, level / 2)
    return down - buehler(gained, cell, level / 2)


def drop_correlated(lost: Array, gained: Array, cell: Cell, level: float) -> Array:
    """The bounds of ntkit."""
    levels = {"upper_level": level, "lower_level": 0.5}
    both, back = np.unique(np.hstack([lost, gained]), axis=0, return_inverse=True)
    each = [
        _bounds.mean_drop_bounds(*np.split(counts, 2), cell.n, cell.shares, **levels)[1]
        for counts in both
    ]
    return np.array(each)[back.ravel()]


OF_TWO: Mapping[str, Callable[[Array, Array, Cell, float], Array]] = {
    "MOVER over groups": drop_over_groups,
    "Bonferroni over groups": drop_bonferroni,
    "Hoeffding": drop_hoeffding,
    "Bonett-Price, effective n": drop_effective,
    "normal": drop_normal,
    "Buehler, level split": drop_split,
    "Buehler, correlated (ntkit)": drop_correlated,
}


# -- errors and widths -------------------------------------------------------------------------

SLOW = ("Buehler (ntkit)", "Buehler, level split", "Buehler, correlated (ntkit)")
PROVEN = ("Buehler, level split",)  # only widths are measured


@dataclass(frozen=True)
class Measured:
    """Shares of draws of which a bound is wrong, and the width relative to the normal interval."""

    low: float
    high: float
    both: float
    width: float


def one_model(cell: Cell, draws: int, rng: np.random.Generator) -> dict[str, Measured]:
    """Errors and widths of bounds of the mean accuracy."""
    right, _, _ = cell.drawn(draws, rng)
    spread = (cell.shares**2 * cell.accuracy * (1 - cell.accuracy) / cell.n).sum()
    sides = [(right, cell.accuracy), (cell.n - right, 1 - cell.accuracy)]
    found = {}
    for name, bound in OF_ONE.items():

        def wrong(side: int, level: float, name: str = name, bound: Any = bound) -> float:
            counts, truth = sides[side]
            mean = cell.shares @ truth + NEAR
            if name not in SLOW:
                return float((bound(counts, cell, level) > mean).sum())
            unsure = rareness(counts, truth, cell) <= UNSURE * level
            return judged(counts[unsure], lambda each: bound(each, cell, level) > mean)

        some = slice(WIDTHS if name in SLOW and not cell.alike else 500)
        low, high = (bound(counts[some], cell, LEVELS[1]) for counts, _ in sides)
        found[name] = measured(wrong, 1 - high - low, draws, spread)
    return found


def two_models(cell: Cell, draws: int, rng: np.random.Generator) -> dict[str, Measured]:
    """Errors and widths of bounds of the mean drop."""
    _, lost, gained = cell.drawn(draws, rng)
    drops = cell.lost - cell.gained
    spread = (cell.shares**2 * (cell.lost + cell.gained - drops**2) / cell.n).sum()
    drop = float(cell.shares @ drops)
    sides = [(gained, lost, -drop), (lost, gained, drop)]
    found = {}
    for name, bound in OF_TWO.items():

        def wrong(side: int, level: float, name: str = name, bound: Any = bound) -> float:
            down, up, truth = sides[side]
            if name not in SLOW:
                return float((bound(down, up, cell, level) < truth - NEAR).sum())
            if name in PROVEN:
                return float("nan")
            unsure = drop_effective(down, up, cell, UNSURE**3 * level) < truth
            signed = np.hstack([up, -down])[unsure]

            def above(each: Array) -> Array:
                more, less = np.split(each, 2, axis=1)
                return bound(-less, more, cell, level) < truth - NEAR

            return judged(signed, above)

        some = slice(WIDTHS if name in SLOW and not cell.alike else 500)
        low, high = (bound(down[some], up[some], cell, LEVELS[1]) for down, up, _ in sides)
        found[name] = measured(wrong, high + low, draws, spread)
    return found


def judged(outcomes: Array, wrong: Callable[[Array], Array]) -> float:
    """Number of outcomes whose bound is wrong, which holds for larger outcomes as well."""
    once, often = np.unique(outcomes, axis=0, return_counts=True)
    known = np.full(len(once), np.nan)
    while (unknown := np.flatnonzero(np.isnan(known))).size:
        middle = unknown[np.argsort(once[unknown].sum(axis=1))[unknown.size // 2]]
        answer = bool(wrong(once[middle][None])[0])
        larger = (
            (once >= once[middle]).all(axis=1) if answer else (once <= once[middle]).all(axis=1)
        )
        known[larger] = answer
    return float(often @ known)


def measured(
    wrong: Callable[[int, float], float], width: Array, draws: int, spread: float
) -> Measured:
    """Error rates of both sides at 5 %, of the interval, and its relative mean width."""
    one, two = LEVELS
    normal_width = -2 * ndtri(two) * np.sqrt(spread)
    return Measured(
        wrong(0, one) / draws,
        wrong(1, one) / draws,
        (wrong(0, two) + wrong(1, two)) / draws,
        float(width.mean() / normal_width) if spread > NEAR else float("nan"),
    )


def rareness(counts: Array, rates: Array, cell: Cell) -> Array:
    """Probability of so large an estimate or a larger one, for the true rates."""
    estimate = _bounds._Estimate(cell.n.tolist(), cell.shares.tolist())
    least = np.array([estimate.rounded(each) for each in counts.tolist()])
    once, back = np.unique(least, return_inverse=True)
    chances = [estimate.chances(rates[None], int(each))[0] for each in once]
    return np.array(chances)[back]


# -- the worst group ---------------------------------------------------------------------------


def worst_group(cell: Cell, draws: int, rng: np.random.Generator) -> dict[str, Measured]:
    """Errors and widths of bounds of the worst accuracy: ntkit's, and of the group that looks so.

    The last two are of the drop of the worst accuracy.
    """
    right, lost, gained = cell.drawn(draws, rng)
    before = right + lost - gained
    truth = float(cell.accuracy.min())
    drop = float((cell.accuracy + cell.lost - cell.gained).min()) - truth
    rows = np.arange(draws)
    at = (right / cell.n).argmin(axis=1)
    seen = right[rows, at], cell.n[at]

    def of_least(levels: dict[str, float]) -> list[tuple[float, float]]:
        return [_bounds.least_bounds(each, cell.n, **levels) for each in right]

    def of_seen(levels: dict[str, float]) -> list[tuple[float, float]]:
        return [share_bounds(int(a), int(b), **levels) for a, b in zip(*seen, strict=True)]

    def of_drop(levels: dict[str, float]) -> list[tuple[float, float]]:
        each = zip(before, lost, gained, strict=True)
        return [_bounds.least_drop_bounds(*one, cell.n, **levels) for one in each]

    def of_report(levels: dict[str, float]) -> list[tuple[float, float]]:
        each = zip(before, lost, gained, strict=True)
        of_one: dict[str, Any] = levels | {"of_one": likely_drop}
        return [_bounds.least_drop_bounds(*one, cell.n, **of_one) for one in each]

    found = {}
    for name, bounds, value in (
        ("bounds of the worst (ntkit)", of_least, truth),
        ("bounds of the group that looks worst", of_seen, truth),
        ("drop (ntkit)", of_drop, drop),
        ("drop (group_report)", of_report, drop),
    ):
        errors = []
        for level in LEVELS:
            low, high = np.array(bounds({"lower_level": level, "upper_level": level})).T
            errors += [float((low > value + NEAR).mean()), float((high < value - NEAR).mean())]
        found[name] = Measured(errors[0], errors[1], sum(errors[2:]), float((high - low).mean()))
    return found


# -- tables ------------------------------------------------------------------------------------


def methods_table(of_cells: Mapping[Cell, Mapping[str, Measured]]) -> str:
    """Worst error rates of each method, the cell of the worst, and mean widths."""
    rows = []
    for name in next(iter(of_cells.values())):
        each = {cell: found[name] for cell, found in of_cells.items()}
        worst = [max(getattr(m, side) for m in each.values()) for side in ("low", "high", "both")]
        at = max(each, key=lambda cell: max(each[cell].low, each[cell].high))
        cells_above = sum(max(m.low, m.high, m.both) > TOO_MANY for m in each.values())
        small = [m.width for cell, m in each.items() if cell.n.max() <= 30]
        large = [m.width for cell, m in each.items() if cell.n.max() > 30]
        shown = ["proven"] * 3 + ["", "0"] if name in PROVEN else [
            *(f"{100 * rate:.1f}" for rate in worst), f"{at.sizes}: {at.name}", str(cells_above)
        ]  # fmt: skip
        rows.append([name, *shown, mean_of(small), mean_of(large)])
    above = f"cells above {100 * TOO_MANY:g} %"
    header = ["bounds", "lower, 5 %", "upper, 5 %", "both, 5 %", "worst cell", above]
    header += ["width, at most 30", "width, with 200"]
    return table(header, rows)


def cells_table(of_cells: Mapping[Cell, Mapping[str, Measured]], name: str) -> str:
    """Worst error rates and the mean width of one method, by sizes and shares."""
    found = defaultdict[str, list[Measured]](list)
    for cell, each in of_cells.items():
        found[cell.sizes].append(each[name])
    rows = [
        [sizes, *(f"{100 * max(getattr(m, side) for m in each):.1f}"
                  for side in ("low", "high", "both")), mean_of([m.width for m in each])]
        for sizes, each in found.items()
    ]  # fmt: skip
    return table(["groups, shares", "lower, 5 %", "upper, 5 %", "both, 5 %", "width"], rows)


def sums_row(sizes: tuple[int, ...], shares: tuple[float, ...]) -> list[str]:
    """Largest chances of wrong bounds, over a grid of accuracies: sums over all outcomes."""
    n, weights = np.array(sizes), np.array(shares)
    outcomes = np.array([*itertools.product(*(range(size + 1) for size in sizes))])
    rates = [*itertools.product(FINE if len(sizes) == 2 else FINE[::2], repeat=len(sizes))]
    chances = np.ones((len(rates), len(outcomes)))
    for counts, size, each in zip(outcomes.T, sizes, np.array(rates).T, strict=True):
        chances *= binom.pmf(counts, size, each[:, None])
    truth, cells = (np.array(rates) @ weights)[:, None], []
    for level in LEVELS:
        levels = {"lower_level": level, "upper_level": level}
        low, high = np.array([_bounds.mean_bounds(c, n, weights, **levels) for c in outcomes]).T
        for wrong in (low > truth + NEAR, high < truth - NEAR):
            cells.append(f"{100 * (chances * wrong).sum(axis=1).max():.2f}")
    shown = " and ".join(f"{share:.2f}" for share in shares)
    return [" and ".join(map(str, sizes)), shown, *cells]


def mean_of(widths: list[float]) -> str:
    """Mean of those that are known."""
    known = [width for width in widths if np.isfinite(width)]
    return f"{np.mean(known):.2f}" if known else "–"


def main() -> None:
    """Print the tables."""
    parser = command_line(__doc__.partition("\n")[0], "--markdown")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    both = [
        {
            cell: measure(cell, given.draws * (MORE if cell.alike else 1), rng)
            for cell in cells(paired)
        }
        for paired, measure in ((False, one_model), (True, two_models))
    ]
    one, two = both
    worst = {
        cell: worst_group(cell, given.draws, rng)
        for cell in cells(True)
        if cell.n.max() in (10, 20) and cell.alike
    }
    sums = [sums_row(*each) for each in SUMS]
    sides = [f"{side}, {100 * level:g} %" for level in LEVELS for side in ("lower", "upper")]
    sums_header = ["groups", "shares", *sides]
    text = (
        f"Error rates in percent, the highest of any cell; {given.draws} draws each, and "
        f"{MORE} times as many where all samples weigh the same. Width: of the interval, "
        "divided by that of the normal interval with the true variance.\n\n"
        f"Mean accuracy of one model, {len(one)} cells:\n\n{methods_table(one)}\n\n"
        f"Mean drop of two models, {len(two)} cells:\n\n{methods_table(two)}\n\n"
        f"Mean accuracy, ntkit's bounds by groups:\n\n{cells_table(one, SLOW[0])}\n\n"
        f"Mean drop, ntkit's bounds by groups:\n\n{cells_table(two, SLOW[2])}\n\n"
        "Mean accuracy, ntkit's bounds: the largest chance of an error for accuracies on a grid, "
        f"as a sum over all outcomes:\n\n{table(sums_header, sums)}\n\n"
        f"The worst group, {len(worst)} cells with {given.draws} draws each. Widths are in "
        f"points / 100:\n\n{methods_table(worst)}\n"
    )
    publish(text, given.markdown)


if __name__ == "__main__":
    main()

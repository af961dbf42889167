"""How often a check is wrong: resampled pairs of which the truth is known.

    OPENBLAS_NUM_THREADS=1 python benchmarks/check.py [--draws 2000] [--markdown FILE]

A population of pairs (right or wrong before and after) is stated for each group, so that
it is known which limits hold; samples of given sizes are drawn from it, and ``ntkit.check``'s
verdict on each is compared with the truth. A wrong pass: the check passes, and a limit does not
hold. A wrong failure: it fails, and all limits hold. Another table is of one limit alone: there
the chance of each error is the sum over all outcomes, no estimate. The last table asks whether the
number of samples that a check says would do does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import binom

from ntkit.jobs.check import Limits
from ntkit.jobs.check._judge import POWER, judged, outcomes
from ntkit.jobs.check._limits import ChangeLimits
from ntkit.metrics import Row
from ntkit.metrics.rows import RATES, ClassRate
from runner import command_line, publish, table

Array = NDArray[Any]
LIMITS = Limits(max_drop=2, worst_group=70)
DRAWS = 2000
SMALL = (0, 1, 5, 30)
LARGE = (150, 400, 1000)
ALL_SHARES = (2, 5, 10, 20, 30, 60, 100, 150, 200, 300)
LARGER = (600, 1000, 1750, 5000)
SOME_SHARES = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
ALONE = (Limits(max_drop=2, over=("average",)), Limits(max_drop=10, over=("average",)),
         Limits(average=70))  # fmt: skip
CHANGE = {"change": ChangeLimits()}
FLIPS = (Limits(max_flip_rate=2, changes=CHANGE), Limits(max_flip_rate=10, changes=CHANGE),
         Limits(changes=CHANGE))  # fmt: skip
RATE_LIMITS = (Limits(min_recall=80), Limits(max_recall_drop=2), Limits(max_false_positive_rate=5),
               Limits(max_false_positive_increase=2), Limits(min_precision=50),
               Limits(max_precision_drop=10))  # fmt: skip
DROPS = ("max_drop", "max_recall_drop", "max_false_positive_increase", "max_precision_drop")
LEVELS = (0.05, 0.01)


@dataclass(frozen=True)
class Group:
    """What is true of a group.

    Attributes
    ----------
    broken, fixed : float
        Shares of samples that were right and are wrong, and the reverse.
    accuracy : float
        Share that is right after.
    """

    broken: float
    fixed: float
    accuracy: float = 0.9

    @property
    def holds(self) -> bool:
        """Whether it is within the limits."""
        drop, least = LIMITS.max_drop or 0, LIMITS.worst_group or 0
        near = 1e-9
        return self.broken - self.fixed <= drop / 100 + near and (
            self.accuracy >= least / 100 - near
        )

    def drawn(self, n: int, rng: np.random.Generator) -> Array:
        """Counts of a sample: broken, fixed, right both times, wrong both times."""
        kept = self.accuracy - self.fixed
        shares = [self.broken, self.fixed, kept, 1 - self.broken - self.fixed - kept]
        return rng.multinomial(n, np.maximum(shares, 0))


FINE = Group(0.0, 0.0)
AT_LIMIT = {
    "drop 2, nothing fixed": Group(0.02, 0.0),
    "drop 2, 1 % fixed": Group(0.03, 0.01),
    "drop 2, 10 % fixed": Group(0.12, 0.10, 0.85),
    "70 % right, nothing changes": Group(0.0, 0.0, 0.70),
}
BEYOND = {
    "drop 2.01, nothing fixed": Group(0.0201, 0.0),
    "drop 2.01, 1 % fixed": Group(0.0301, 0.01),
    "drop 2.01, 10 % fixed": Group(0.1201, 0.10, 0.85),
    "69.9 % right, nothing changes": Group(0.0, 0.0, 0.699),
}
CLEAR = {
    "nothing changes": Group(0.0, 0.0),
    "1 % new errors, 3 % fixed": Group(0.01, 0.03),
    "drop 8, 1 % fixed": Group(0.09, 0.01),
    "55 % right, nothing changes": Group(0.0, 0.0, 0.55),
}


def parts_of(counts: Sequence[Array]) -> list[Row]:
    """The rows of a check: all samples, and each group."""
    rows = [("average", "average", np.sum(counts, axis=0))]
    rows += [("group", str(i), each) for i, each in enumerate(counts)]
    return [
        Row(kind, name, int(c.sum()), int(c[1] + c[2]), int(c[0]), int(c[1]))  # type: ignore[arg-type]
        for kind, name, c in rows
    ]


def verdict(counts: Sequence[Array]) -> str:
    """Of the whole check."""
    found = [each for own in outcomes(parts_of(counts), LIMITS) for each in own]
    return next(each for each in ("fail", "too few", "pass") if each in found)


def shares(groups: Sequence[Group], sizes: Sequence[int], draws: int, seed: int) -> Counter[str]:
    """How often each verdict is given."""
    rng = np.random.default_rng(seed)
    return Counter(
        verdict([g.drawn(n, rng) for g, n in zip(groups, sizes, strict=True)]) for _ in range(draws)
    )


def populations() -> Iterator[tuple[str, str, list[Group], tuple[int, ...]]]:
    """Name, sizes in words, groups and sizes."""
    settings = {
        "0, 1, 5, 30": SMALL,
        "5, 30": (5, 30),
        "150, 400, 1000": LARGE,
        "0, 1, 5, 30, 150, 400, 1000": (*SMALL, *LARGE),
    }
    for shown, sizes in settings.items():
        for name, group in (AT_LIMIT | CLEAR).items():
            yield f"every group: {name}", shown, [group] * len(sizes), sizes
    for name, group in BEYOND.items():
        yield f"one of 5: {name}", "5", [group, FINE, FINE], (5, 400, 1000)
        yield f"one of 30: {name}", "30", [group, FINE, FINE], (30, 400, 1000)
        yield f"one of 150: {name}", "150", [FINE, group, FINE], (400, 150, 1000)
        yield f"one of 1000: {name}", "1000", [FINE, FINE, group], (400, 400, 1000)
        yield f"one of 5000: {name}", "5000", [FINE, FINE, group], (400, 400, 5000)


def alone(n: int, right: int, lost: int, gained: int, limits: Limits, before: Any = None) -> str:
    """Outcome of one limit on all samples; those of a change flip where they are lost."""
    for name in limits.those_set(RATES):
        limit = {name: getattr(limits, name) / 100}
        part = ClassRate("average", "average", n, right, lost, gained, rate=RATES[name],
                         of_class="1", limits=limit, separate=before)  # fmt: skip
        return outcomes([part], limits)[0][0]
    if limits.changes:
        two = (None, None) if limits.max_flip_rate is not None else (lost, gained)
        return outcomes([Row("change", "change", n, right, *two)], limits)[0][0]
    return outcomes([Row("average", "average", n, right, lost, gained)], limits)[0][0]


def largest(n: int, limits: Limits, wrong: str) -> float:
    """Largest chance of a wrong outcome of one limit that is exactly reached: a sum."""
    if limits.max_precision_drop is not None:
        return separate(n, limits, wrong)
    if not limits.those_set(DROPS) and limits.stated != ("changes.change",):
        most = limits.those_set(("max_flip_rate", "max_false_positive_rate"))
        (name,) = most or limits.those_set(("average", "min_recall", "min_precision"))
        least = 100 - getattr(limits, name) if most else getattr(limits, name)
        counts = np.arange(n + 1)
        said = [alone(n, right, 0, 0, limits) == wrong for right in counts.tolist()]
        return float(binom.pmf(counts, n, least / 100)[said].sum())
    if n <= max(ALL_SHARES):
        most = (1 - drop_of(limits)) / 2
        return chance(n, limits, wrong, most * np.sin(np.linspace(0, np.pi / 2, 500)) ** 2)
    return max(chance(n, limits, wrong, np.array([share])) for share in SOME_SHARES)


def drop_of(limits: Limits) -> float:
    """The drop that is allowed; of changes none."""
    return sum(getattr(limits, name) for name in limits.those_set(DROPS)) / 100


def separate(n: int, limits: Limits, wrong: str) -> float:
    """Largest chance of a wrong outcome of a drop of precision, over shares and dependences."""
    # n samples that either model predicts as the class: the counts that are right are independent,
    # go up together, or one goes up and the other down.
    edge, edges = 0, list[int]()
    for old in range(n + 1):
        while edge <= n:  # passes, or no longer fails, from some count on
            said = alone(n, edge, 0, 0, limits, (old, n))
            if said == "pass" or (wrong == "fail" and said != "fail"):
                break
            edge += 1
        edges.append(edge)
    starts, counts, worst = np.array(edges), np.arange(n + 1), 0.0
    u = (np.arange(100_000) + 0.5) / 100_000
    for share in np.linspace(drop_of(limits), 1, 91):
        new = max(0.0, share - drop_of(limits))
        tail = binom.sf if wrong == "pass" else binom.cdf
        worst = max(worst, float(binom.pmf(counts, n, share) @ tail(starts - 1, n, new)))
        old = np.searchsorted(binom.cdf(counts, n, share), u).clip(max=n)
        after = np.searchsorted(binom.cdf(counts, n, new), u).clip(max=n)
        for each in (after, after[::-1]):
            errs = each >= starts[old] if wrong == "pass" else each < starts[old]
            worst = max(worst, float(errs.mean()) - 1e-5)
    return worst


def chance(n: int, limits: Limits, wrong: str, shares: Array) -> float:
    """Largest chance of a wrong outcome of a drop, over shares of samples that are fixed."""
    drop = drop_of(limits)
    reach = 8 * np.sqrt(n * shares * (1 - shares)) + 10
    gained = np.arange(max(0, int(np.min(n * shares - reach))),
                       min(n, int(np.max(n * shares + reach))) + 1)  # fmt: skip
    # A pass holds up to some number of lost samples, a failure from some number on; both go up
    # with the number of fixed ones.
    edge, edges = 0, list[int]()
    first, step = int(gained[0]), 1 << int(n).bit_length()

    def beyond(lost: int, fixed: int) -> bool:
        said = alone(n, n - lost, lost, fixed, limits)
        return said == "fail" if wrong == "fail" else said != "pass"

    while step := step // 2:
        if edge + step <= n - first and not beyond(edge + step - 1, first):
            edge += step
    for fixed in gained.tolist():
        while edge <= n - fixed and not beyond(edge, fixed):
            edge += 1
        edges.append(edge)
    rest, lost = n - gained, np.minimum(1, (shares + drop) / (1 - shares))[:, None]
    tail = binom.sf if wrong == "fail" else binom.cdf
    weights = binom.pmf(gained, n, shares[:, None])
    chances = (weights * tail(np.asarray(edges) - 1, rest, lost)).sum(axis=1)
    return float((chances + 1 - weights.sum(axis=1)).max())  # those left out count as wrong


def size_row(n: int) -> list[str]:
    """How often one limit alone is judged wrongly, for each limit and level: a row of the table."""
    cells = []
    for limits in ALONE:
        for level in LEVELS:
            both = [largest(n, replace(limits, alpha=level), wrong) for wrong in ("pass", "fail")]
            above = any(each > level + 1e-9 for each in both)
            cells.append(" / ".join(f"{100 * each:.2f}" for each in both) + " (above)" * above)
    return [str(n), "all" if n <= max(ALL_SHARES) else "some", *cells]


def flips_row(n: int) -> list[str]:
    """The same of flip rates, and of flips that are no more than before: that passes if unsure."""
    cells = []
    for limits in FLIPS:
        for level in LEVELS:
            wrong = ("pass", "fail") if limits.max_flip_rate is not None else ("fail",)
            each = [largest(n, replace(limits, alpha=level), kind) for kind in wrong]
            above = any(one > level + 1e-9 for one in each)
            cells.append(" / ".join(f"{100 * one:.2f}" for one in each) + " (above)" * above)
    return [str(n), *cells]


def rates_row(n: int) -> list[str]:
    """The same of limits of a class, on n of the samples that they apply to."""
    cells = []
    for limits in RATE_LIMITS:
        for level in LEVELS:
            both = [largest(n, replace(limits, alpha=level), wrong) for wrong in ("pass", "fail")]
            above = any(one > level + 1e-9 for one in both)
            cells.append(" / ".join(f"{100 * one:.2f}" for one in both) + " (above)" * above)
    return [str(n), *cells]


def row_of(
    name: str, shown: str, groups: list[Group], sizes: tuple[int, ...], draws: int, seed: int
) -> list[str]:
    """A row of the table."""
    holds = all(group.holds for group, n in zip(groups, sizes, strict=True))
    found = shares(groups, sizes, draws, seed)
    percent = {k: f"{100 * found[k] / draws:.1f}" for k in ("pass", "fail", "too few")}
    wrong = percent["fail"] if holds else percent["pass"]
    kind = "failure" if holds else "pass"
    return [
        name, shown, "yes" if holds else "no", percent["pass"], percent["fail"],
        percent["too few"], f"{wrong} ({kind})",
    ]  # fmt: skip


def stated(draws: int, seed: int) -> list[list[str]]:
    """Whether the number of samples that is said to do decides as often as it is said to."""
    rng, rows = np.random.default_rng(seed), list[list[str]]()
    asked = [
        ("nothing changed in 30", (0, 0, 27, 3)),
        ("nothing changed in 5", (0, 0, 5, 0)),
        ("1 new errors of 100", (1, 0, 89, 10)),
        ("2 new errors of 200, 2 fixed", (2, 2, 180, 16)),
        ("12 new errors of 200, 2 fixed", (12, 2, 170, 16)),
        ("1 new errors of 50, 4 fixed", (1, 4, 40, 5)),
        ("24 of 30 right", (0, 0, 24, 6)),
        ("18 of 30 right", (0, 0, 18, 12)),
    ]
    for name, counts in asked:
        part = Row("group", "g", sum(counts), counts[1] + counts[2], counts[0], counts[1])
        for v in judged([part], LIMITS)[0].verdicts:
            if v.outcome != "too few" or v.enough is None:
                continue
            decided = 0
            for drawn in rng.multinomial(v.enough, np.asarray(counts) / sum(counts), size=draws):
                again = Row("group", "g", v.enough, int(drawn[1] + drawn[2]), int(drawn[0]),
                             int(drawn[1]))  # fmt: skip
                kinds = dict(zip(("accuracy", "max_drop"), outcomes([again], LIMITS)[0],
                                 strict=True))  # fmt: skip
                decided += kinds[v.limit] != "too few"
            rows.append([name, v.requirement, str(v.enough), f"{100 * decided / draws:.0f}"])
    return rows


def main() -> None:
    """Print the tables."""
    parser = command_line(__doc__.partition("\n")[0], "--markdown")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    rows = Parallel(n_jobs=given.jobs)(
        delayed(row_of)(*each, given.draws, given.seed + i) for i, each in enumerate(populations())
    )
    sizes = Parallel(n_jobs=given.jobs)(delayed(size_row)(n) for n in (*ALL_SHARES, *LARGER))
    flips = Parallel(n_jobs=given.jobs)(delayed(flips_row)(n) for n in (*ALL_SHARES, *LARGER))
    rates = Parallel(n_jobs=given.jobs)(delayed(rates_row)(n) for n in (0, 1, *ALL_SHARES, *LARGER))
    of_rates = ("recall 80", "recall drop 2", "false positives 5", "false positives +2",
                "precision 50", "precision drop 10")  # fmt: skip
    rates_header = ["samples", *(f"{name}, {a:.0%}" for name in of_rates for a in LEVELS)]
    of_flips = ("flip rate 2", "flip rate 10", "more flips")
    flips_header = ["samples", *(f"{name}, {a:.0%}" for name in of_flips for a in LEVELS)]
    named = ("drop 2", "drop 10", "accuracy 70")
    alone_header = ["samples", "shares", *(f"{name}, {a:.0%}" for name in named for a in LEVELS)]
    header = ["population", "sizes", "limits hold", "pass %", "fail %", "too few %", "wrong %"]
    numbers = ["as the samples look", "limit", "said to do", "decided %"]
    worst = {
        kind: max(float(r[-1].split()[0]) for r in rows if kind in r[-1])
        for kind in ("pass", "failure")
    }
    text = (
        f"Limits: at most {LIMITS.max_drop:g} points lost by the average and by each group, "
        f"every group at least {LIMITS.worst_group:g} % right. {given.draws} draws each.\n\n"
        f"{table(header, rows)}\n\n"
        f"Most often wrong: passes {worst['pass']:.1f} %, failures {worst['failure']:.1f} %.\n\n"
        "One limit alone, exactly reached: wrong passes / wrong failures in percent, as sums over "
        "all outcomes, at the worst share of fixed samples (all shares up to "
        f"{max(ALL_SHARES)} samples, {len(SOME_SHARES)} of them above).\n\n"
        f"{table(alone_header, sizes)}\n\n"
        "The same of a flip rate that is exactly reached, and of as many flips as before (wrong "
        "failures only: it passes unless the flips are surely more).\n\n"
        f"{table(flips_header, flips)}\n\n"
        "The same of limits of a class, on the samples that they apply to. The counts of a drop of "
        "precision are independent, go up together, or one up and the other down: the worst.\n\n"
        f"{table(rates_header, rates)}\n\n"
        f"Samples that are said to do ({POWER:.0%}):\n\n"
        f"{table(numbers, stated(given.draws, given.seed))}\n"
    )
    publish(text, given.markdown)


if __name__ == "__main__":
    main()

"""Compare subsets with limits: pass, fail, or too few samples to say.

A limit passes if its interval lies entirely on the good side, at level α. The whole check passes
only if all limits pass. So it passes wrongly with a probability of at most α, without a correction
(an intersection-union test). A limit fails if its interval lies entirely on the bad side, at level
α divided by the number of comparisons (Bonferroni), because the check fails if any limit fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from ntkit._checks import (
    by_names,
    check_predicted,
    known_labels,
    labels_of_one_type,
)
from ntkit._key import TIMES, group_name
from ntkit._labels import (
    alike_note,
    is_missing,
    meant_instead,
    none_if_unknown,
    spelt_as,
    unknown_note,
)
from ntkit._text import counted, listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.jobs.check._limits import (
    KINDS,
    RATE_DROPS,
    ChangeLimits,
    Limits,
    SliceLimits,
    limits_of,
)
from ntkit.jobs.check._result import CheckResult
from ntkit.metrics import Row, compare
from ntkit.metrics.bounds import (
    below,
    binomial_quantile,
    drop_bounds,
    separate_drop_bounds,
    share_bounds,
)
from ntkit.metrics.rows import RATES, ClassRate, Kind, Outcome, Verdict

POWER = 0.8
"""Probability that the reported number of samples decides a limit."""
_MOST = 10_000_000  # larger numbers of samples are not reported
_SURE = ndtri(POWER + 0.02)  # slightly above POWER, because counts are whole numbers


def enough_for_share(
    share: float, limit: float, *, least: bool, good_level: float, bad_level: float
) -> int | None:
    """Number of samples that decide a limit of a share, if the observed share is the true one."""
    if share == limit:
        return None
    above = share > limit
    level = good_level if above == least else bad_level

    def decided(n: int) -> bool:
        unlikely = (
            binomial_quantile(1 - POWER, n, share) if above else binomial_quantile(POWER, n, share)
        )
        low, high = share_bounds(unlikely, n, lower_level=level, upper_level=level)
        return low >= limit if above else high <= limit

    return _fewest(decided)


def enough_for_drop(
    lost: float, gained: float, limit: float, *, good_level: float, bad_level: float
) -> int | None:
    """Number of samples that decide a limit of a drop, if the observed drop is the true one."""
    if lost - gained == limit:
        return None
    if lost - gained < limit:
        return _fewest(lambda n: below(*_unlucky(lost, gained, n), n, limit, good_level))
    return _fewest(lambda n: below(*_unlucky(gained, lost, n), n, -limit, bad_level))


def enough_for_separate_drop(
    before: float, after: float, ratio: float, limit: float, *, good_level: float, bad_level: float
) -> int | None:
    """Number of samples after, with ``ratio`` times as many before, that decide about a drop."""
    passes = before - after < limit
    unlucky = (1 + POWER if passes else 1 - POWER) / 2  # of each share, however they are related

    def decided(n: int) -> bool:
        old = max(1, round(ratio * n))
        pair = (
            (binomial_quantile(unlucky, old, before), old),
            (binomial_quantile(1 - unlucky, n, after), n),
        )
        low, high = separate_drop_bounds(*pair, upper_level=good_level, lower_level=bad_level)
        return high <= limit if passes else low > limit

    return None if before - after == limit else _fewest(decided)


def _unlucky(lost: float, gained: float, n: int) -> tuple[int, int]:
    """The likeliest counts at the 80 % quantile of their difference."""
    changed, drop = lost + gained, lost - gained
    variance = changed - drop**2
    if variance <= 0:
        return round(n * lost), round(n * gained)
    if not gained:
        return binomial_quantile(POWER, n, lost), 0
    if not lost:
        return 0, binomial_quantile(1 - POWER, n, gained)
    more = _SURE * np.sqrt(n * variance)
    both = n * changed + drop * (1 - changed) / variance * more
    difference = n * drop + more
    worse = max(0, int(np.ceil((both + difference) / 2)))
    return min(worse, n), max(0, min(n - worse, int(np.floor((both - difference) / 2))))


def _fewest(decided: Callable[[int], bool]) -> int | None:
    """The smallest number of samples that decides a limit, by bisection."""
    high = 2
    while not decided(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    unit = 10 ** (len(str(high)) - 2) if high >= 1000 else 1  # rounded up to two digits
    return -(-high // unit) * unit


_FEWEST = 2  # samples that a comparison needs
_LEAST = ("accuracy", "min_recall", "min_precision", "min_flip_rate")  # others are at most
_WRONG = ("max_flip_rate", "min_flip_rate", "max_false_positive_rate")  # of the share not right
_LOST = ("max_drop", "max_recall_drop", "max_false_positive_increase")
_DROPS = (*_LOST, "max_flip_rate_drop")
_SEPARATE = "max_precision_drop"
_DIFFERENCES = (*_DROPS, "more_flips")
_LOSSES = (*_LOST, _SEPARATE, "max_new_errors")
_SMALLEST = 0.01  # drop that models which predict alike must rule out


def _is_compared(row: Row) -> bool:
    """Whether limits are compared; precision always is, as its n depends on the model."""
    return row.n >= _FEWEST or (isinstance(row, ClassRate) and row.rate == "precision")


@dataclass(frozen=True)
class _Comparison:
    """One limit of a subset or change, as a share, with the levels of a pass and of a failure."""

    part: Row
    limit: str
    bound: float
    good: float
    bad: float
    alike: bool = False  # whether both models predict alike on all samples

    @property
    def counts(self) -> tuple[int, int, int]:
        """New errors, errors fixed, and the count that the limit applies to."""
        part = self.part
        lost, gained, right = (int(each or 0) for each in (part.lost, part.gained, part.right))
        if self.limit == "max_flip_rate_drop":  # predictions that flip are what may not be lost
            lost, gained = gained, lost
        if self.limit in _WRONG:
            return lost, gained, part.n - right
        return lost, gained, right if self.limit in _LEAST else lost

    def outcome(self) -> Outcome:
        """Pass, fail, too few, or unchanged, which is too few in a slice that nothing changed."""
        if self.alike and self.limit in _LOSSES:
            return "pass"
        (lost, gained, _), n = self.counts, self.part.n
        passes = fails = False
        if n < _FEWEST or (self.limit == _SEPARATE and self._pair[0][1] < _FEWEST):
            pass  # too few to say
        elif self.limit in _DIFFERENCES:
            fails = below(gained, lost, n, -self.bound, self.bad)
            # No number of samples can show that two flip rates are equal. So this limit passes
            # unless the new model flips significantly more.
            passes = not fails
            if self.limit in _DROPS:
                passes = below(lost, gained, n, self.bound, self.good)
        else:
            low, high = self._interval()
            passes, fails = high <= self.bound, low > self.bound
            if self.limit in _LEAST:
                passes, fails = low >= self.bound, high < self.bound
        if passes or fails:
            return "pass" if passes else "fail"
        nothing = n > 0 and self.part.lost == self.part.gained == 0
        of_losses = self.limit in (*_LOST, "max_new_errors") and self.part.kind == "slice"
        return "unchanged" if nothing and of_losses else "too few"

    def verdict(self) -> Verdict:
        """The outcome with its numbers, and the number of samples that would decide it."""
        (lost, gained, count), n, outcome = self.counts, self.part.n, self.outcome()
        low, high = self._interval()
        if self.limit in _DIFFERENCES:
            value = (lost - gained) / n if n else 0.0
            # Bounds are accurate to 0.01 points, and the outcome is exact. This keeps the shown
            # bounds on the side of the outcome.
            low = max(low, self.bound) if outcome == "fail" else min(low, self.bound)
            if self.limit in _DROPS:
                high = min(high, self.bound) if outcome == "pass" else max(high, self.bound)
        elif self.limit == _SEPARATE:
            before, after = self._shares
            value = before - after
        else:
            value = count / n if n else float(self.limit in _LEAST)
        enough = self._enough(value) if outcome in ("too few", "unchanged") else None
        seen, samples = value if n else float("nan"), "samples"
        if isinstance(self.part, ClassRate):
            of_class = self.part.of_class
            samples = {
                "recall": f"samples of class {of_class}",
                "false positive rate": f"samples of other classes than {of_class}",
                "precision": f"samples predicted as {of_class}",
            }[self.part.rate]
            if self.limit == _SEPARATE and not self._pair[0][1]:  # no precision to drop from
                n, seen, enough = 0, float("nan"), None
                samples = f"samples that the old model predicts as {of_class}"
        return Verdict(self.limit, self.bound, seen, (low, high), outcome, n, enough, samples)

    @property
    def _pair(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Right and all, of the old and of the new model."""
        before = self.part.separate if isinstance(self.part, ClassRate) else None
        return before or (0, 0), (self.part.right, self.part.n)

    @property
    def _shares(self) -> tuple[float, ...]:
        """The share that is right of the old and of the new model; 1 without samples."""
        return tuple(count / n if n else 1.0 for count, n in self._pair)

    def _interval(self) -> tuple[float, float]:
        """Bounds of a difference, an accuracy, or a share of new errors or flips."""
        (lost, gained, count), n = self.counts, self.part.n
        if self.limit in _DIFFERENCES:
            return drop_bounds(lost, gained, n, upper_level=self.good, lower_level=self.bad)
        if self.limit == _SEPARATE:
            pair = self._pair
            return separate_drop_bounds(*pair, upper_level=self.good, lower_level=self.bad)
        levels = (self.good, self.bad) if self.limit in _LEAST else (self.bad, self.good)
        return share_bounds(count, n, lower_level=levels[0], upper_level=levels[1])

    def _enough(self, value: float) -> int | None:
        levels = {"good_level": self.good, "bad_level": self.bad}
        if self.limit == "more_flips":
            return _FEWEST
        if self.limit == _SEPARATE:
            (_, old), (_, new) = self._pair
            ratio = old / new if old and new else 1.0
            before, after = self._shares
            enough = enough_for_separate_drop(before, after, ratio, self.bound, **levels)
        elif self.limit in _DROPS:
            lost, gained = (count / max(1, self.part.n) for count in self.counts[:2])
            enough = enough_for_drop(lost, gained, self.bound, **levels)
        else:
            least = self.limit in _LEAST
            enough = enough_for_share(value, self.bound, least=least, **levels)
        # The number is an estimate. It is at least one more than the present number of samples.
        return None if enough is None else max(enough, self.part.n + 1, _FEWEST)


def judged(parts: Sequence[Row], limits: Limits, *, alike: bool = False) -> tuple[Row, ...]:
    """Compare all subsets and changes with limits; their number corrects the level of failures."""
    (of_parts, bad), good = _comparisons(parts, limits), limits.alpha
    alike = alike and _excludes_drops(parts, of_parts)
    rows = list[Row]()
    for part, comparisons in zip(parts, of_parts, strict=True):
        verdicts = tuple(replace(each, alike=alike).verdict() for each in comparisons)
        row = replace(part, interval=part.bounds(good, bad), verdicts=verdicts)
        if row.change is not None and not isinstance(row, ClassRate) and row.kind != "change":
            least, most = row.drop_bounds(upper_level=good, lower_level=bad)
            row = replace(row, change_interval=(-most, -least))
        rows.append(row)
    return tuple(rows)


def _excludes_drops(parts: Sequence[Row], of_parts: Sequence[Sequence[_Comparison]]) -> bool:
    """Whether so many samples without a difference exclude a drop of the average, at the level."""
    # Otherwise a few samples would let any model pass.
    n = min(part.n for part in parts if part.kind == "average" and not isinstance(part, ClassRate))
    losses = [each for some in of_parts for each in some if each.limit in _LOSSES]
    smallest = max(_SMALLEST, min((each.bound for each in losses), default=1.0))
    return all(below(0, 0, n, smallest, each.good) for each in losses[:1])


def outcomes(parts: Sequence[Row], limits: Limits) -> list[list[Outcome]]:
    """Only the outcomes of :func:`judged`, one for each limit of each subset or change."""
    return [[each.outcome() for each in of_one] for of_one in _comparisons(parts, limits)[0]]


def _comparisons(parts: Sequence[Row], limits: Limits) -> tuple[list[list[_Comparison]], float]:
    """Comparisons of each subset or change, and the level of a failure."""
    of_parts = [(part, [*_part_limits(part, limits)]) for part in parts]
    n = sum(len(each) for part, each in of_parts if _is_compared(part))
    good, bad = limits.alpha, limits.alpha / max(1, n)
    return [[_Comparison(part, *each, good, bad) for each in some] for part, some in of_parts], bad


def _part_limits(part: Row, limits: Limits) -> Iterator[tuple[str, float]]:
    """Limits of one subset or change: name and share."""
    values: dict[str, float | None]
    if isinstance(part, ClassRate):
        yield from part.limits.items()
        return
    if part.kind == "change":
        compared = part.lost is not None
        values = {**vars(limits.of_change(part.name))}
        if values["min_flip_rate"] is None:
            values["more_flips"] = 0.0 if compared else None
        else:
            values["max_flip_rate_drop"] = limits.max_drop if compared else None
    elif part.kind in ("slice", "group"):
        values = {**vars(limits.of_slice(part.within or part.name, part.kind))}
        if part.within is not None:
            values = {"max_drop": values["max_drop"]}
    else:
        values = {
            "accuracy": limits.worst_class if part.kind == "class" else limits.average,
            "max_drop": limits.max_drop if part.kind in limits.over else None,
            "max_new_errors": limits.max_new_errors if part.kind == "average" else None,
        }
    for name, value in values.items():
        compares = name in ("max_drop", "max_new_errors")
        if name not in RATES and value is not None and not (compares and part.lost is None):
            yield name, value / 100


_NAMED = 1000  # listed new errors
_ALIKE = "Both models predict alike on all samples, so no limit on losses is broken."


def check_classes(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    y_pred_before: ArrayLike | None,
    groups: ArrayLike | None,
    slices: Mapping[str, ArrayLike],
    flips: Mapping[str, ArrayLike],
    flips_before: Mapping[str, ArrayLike],
    classes: ArrayLike | None,
    labels: Sequence[str] | None,
    names: Sequence[Any] | None,
    limits: Any,
    title: str,
    notes: Sequence[str],
) -> CheckResult:
    """Check predicted classes, as :func:`check_predictions` does predictions in any form."""
    limit = limits_of(limits).with_changes(flips)
    before = y_pred_before is not None
    check_limits(limit, compared=before, grouped=groups is not None)
    preds, by_model = {"y_pred": y_pred}, {"flips": flips}
    if y_pred_before is not None:
        preds["y_pred_before"], by_model["flips_before"] = y_pred_before, flips_before
    if labels is None:
        problems = [_only_problem(y_true, preds, classes)]
    else:
        problems = [*_problems(y_true, preds, labels)]
        notes = [*notes, *_without(problems)]
    limit = limit.spelt_as([name for problem in problems for name in problem.classes])
    n = len(problems[0].y)
    names = range(n) if names is None else [*names]  # a Series would look up its index
    if len(names) != n:
        raise InputError(f"names holds {len(names)} names for {n} samples. Pass one per sample.")
    subsets = [*_subsets(n, none_if_unknown(groups), slices, limit)]
    _check_subjects(limit, problems, subsets)
    parts = [part for problem in problems for part in problem.parts(subsets)]
    rates, none = list[ClassRate](), list[ClassRate]()
    for problem in problems:
        for those, more in zip((rates, none), problem.rates_there(subsets, limit), strict=True):
            those += more
    _check_rates(rates, none, limit)
    parts += rates
    notes = [*notes, *_note_on_rates(none)]
    for name, arrays in _checked_flips(limit, by_model, n, labels):
        parts += [p.changed(name, [a[:, i] for a in arrays]) for i, p in enumerate(problems)]
    alike = before and all((each.predicted[0] == each.predicted[1]).all() for each in problems)
    rows = judged(parts, limit, alike=alike)
    # All limits are compared first. So a smaller one does not change the level of a failure.
    n_compared = sum(len(row.verdicts) for row in rows if _is_compared(row))
    rows, left_out = _of_size(rows, limit, n_compared)
    new_errors, named = _new_errors(problems, names)
    return CheckResult(
        tuple(row for row in rows if not isinstance(row, ClassRate) and row.kind != "change"),
        limit.alpha,
        n_compared,
        new_errors,
        named,
        title,
        tuple(dict.fromkeys([*notes, *[_ALIKE] * alike, *_notes_on(subsets, groups, n)])),
        tuple(row for row in rows if row.kind == "change"),
        tuple(labels or ()),
        n,
        tuple(row for row in rows if isinstance(row, ClassRate)),
        left_out=left_out,
    )


def _of_size(
    rows: Sequence[Row], limits: Limits, n_compared: int
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Rows without small slices, and those; one that surely lost or fails is never left out."""
    kept, left_out, bad = list[Row](), list[Row](), limits.alpha / max(1, n_compared)
    for row in rows:
        small = row.kind == "slice" and row.n < limits.min_samples
        leave = small and row.outcome != "fail" and row.surely_lost(bad) <= 0
        (left_out if leave else kept).append(row)
    return tuple(kept), tuple(left_out)


def _notes_on(subsets: Sequence[tuple[Kind, str, Array]], groups: Any, n: int) -> list[str]:
    """Sentences on names of subsets that differ little, and on samples of unknown group."""
    notes = alike_note([name for kind, name, _ in subsets if kind == "group"], "Groups")
    notes += alike_note([name for kind, name, _ in subsets if kind == "slice"], "Slices")
    no_group = n - sum(int(inside.sum()) for kind, _, inside in subsets if kind == "group")
    if groups is not None and no_group:
        notes.append(f"{no_group} of {n} samples have an unknown group.")
        notes += unknown_note(groups, "Groups")
    return notes


def _new_errors(
    problems: Sequence[_Problem], names: Sequence[Any]
) -> tuple[Array, tuple[str, ...]]:
    """Rows that only the old model predicts right, and the first names after their label."""
    rows, named = [np.empty(0, np.int64)], list[str]()
    for problem in problems:
        right, *before = problem.right
        if before:
            new = np.flatnonzero(before[0] & ~right & problem.known)
            rows.append(new)
            label = "" if problem.label is None else f"{problem.label}: "
            named += [f"{label}{names[row]}" for row in new[: _NAMED - len(named)].tolist()]
    return np.concatenate(rows), tuple(named)


@dataclass(frozen=True)
class _Problem:
    """Labels and predictions of one classification problem: the only one, or that of a label."""

    y: Array  # (N,)
    predicted: Sequence[Array]  # by the new model, and by the old one if there is one
    titles: Mapping[Any, str]  # of the classes
    label: str | None = None
    known: Array | bool = True  # whether a sample's label is known

    @cached_property
    def right(self) -> list[Array]:
        """Whether each model is right."""
        return [each == self.y for each in self.predicted]

    @cached_property
    def classes(self) -> dict[str, Any]:
        """All classes by name, also those that are only predicted."""
        every = dict(self.titles)
        if self.label is None:
            seen = np.unique(np.concatenate(self.predicted)).tolist()
            every |= {value: str(value) for value in seen}
        order = sorted(every) if len(every) > len(self.titles) else every
        return {every[value]: value for value in order}

    def parts(self, subsets: Sequence[tuple[Kind, str, Array]]) -> Iterator[Row]:
        """Counts of all samples, of each class and subset, and of each class within a slice."""
        yield self._part("average", "average", np.ones(len(self.y), bool))
        for value, title in self.titles.items():
            yield self._part("class", title, self.y == value)
        for kind, name, inside in subsets:
            yield self._part(kind, name, inside)
        if len(self.right) == 1:
            return
        for kind, name, inside in subsets:  # a gain of one class can hide a loss of another
            if kind == "slice":
                values = np.unique(self.y[inside & self.known]).tolist()
                for value in values if len(values) > 1 else ():
                    title = f"{name}, class {self.titles[value]}"
                    yield self._part(kind, title, inside & (self.y == value), within=name)

    def changed(self, name: str, flips: Sequence[Array]) -> Row:
        """Counts of a change: a prediction that does not flip is right."""
        inside = np.min(flips, axis=0) >= 0  # a flip needs no label
        stays = [values != 1 for values in flips]
        return compare(stays, [("change", name, inside)], label=self.label)[0]

    def classes_of(self, subsets: Sequence[tuple[Kind, str, Array]]) -> dict[tuple[str, str], str]:
        """The class of each group and slice that is class × value, by kind and name."""
        # A mixed group may lack a class by chance. So every group must have one class, and a class
        # two groups. A slice must have the class in its name.
        seen, found = dict[tuple[str, str], list[str]](), dict[tuple[str, str], str]()
        for kind, name, inside in subsets:
            values = np.unique(self.y[inside & self.known]).tolist()
            classes = seen[kind, name] = [self.titles[value] for value in values]
            if kind == "slice" and len(classes) < 2:
                for title in classes or self.titles.values():
                    if name.startswith(f"{group_name(title)}{TIMES}"):
                        found[kind, name] = title
        groups = {key: of for key, of in seen.items() if key[0] == "group" and of}
        one_each = all(len(of) == 1 for of in groups.values())
        if one_each and 1 < len({of[0] for of in groups.values()}) < len(groups):
            found |= {key: of[0] for key, of in groups.items()}
        return found

    def rates_there(
        self, subsets: Sequence[tuple[Kind, str, Array]], limits: Limits
    ) -> tuple[list[ClassRate], list[ClassRate]]:
        """Rates that have a limit, and those that class × value cannot have, as it is one class."""
        rates = [row for row in self.rates(subsets, limits) if isinstance(row, ClassRate)]
        whose = self.classes_of(subsets) if rates else {}
        there, none = list[ClassRate](), list[ClassRate]()
        for row in rates:
            of = whose.get((row.kind, row.name))
            own = {"recall": of == row.of_class, "false positive rate": of != row.of_class}
            (there if of is None or own.get(row.rate) else none).append(row)
        return there, none

    def rates(self, subsets: Sequence[tuple[Kind, str, Array]], limits: Limits) -> Iterator[Row]:
        """Counts of all rates that have a limit: of all samples, and of each group and slice."""
        whole: tuple[Kind, str, Array] = ("average", "average", np.ones(len(self.y), bool))
        for kind, name, inside in (whole, *subsets):
            bounds = dict[tuple[str, str], dict[str, float]]()
            for limit, value in limits.rates(kind, name):
                if value is None:
                    continue
                # A single number is of the positive class.
                by_class = value if isinstance(value, Mapping) else {[*self.classes][1]: value}
                for title, bound in by_class.items():
                    if title in self.classes:  # else of another problem
                        bounds.setdefault((RATES[limit], title), {})[limit] = bound / 100
            for (rate, title), of_rate in bounds.items():
                yield self._rate(kind, name, inside & self.known, rate, title, of_rate)

    def _rate(
        self, kind: Kind, name: str, inside: Array, rate: str, title: str, limits: dict[str, float]
    ) -> Row:
        more: Any = {"rate": rate, "of_class": title, "limits": limits}
        true, *predicted = (each == self.classes[title] for each in (self.y, *self.predicted))
        if rate == "recall":
            return self._part(kind, name, inside & true, predicted, row=ClassRate, **more)
        if rate == "false positive rate":
            wrong = [~each for each in predicted]
            return self._part(kind, name, inside & ~true, wrong, row=ClassRate, **more)
        (right, n), *before = (
            (int((each & inside & true).sum()), int((each & inside).sum())) for each in predicted
        )
        return ClassRate(kind, name, n, right, separate=before[0] if before else None, **more)

    def _part(
        self,
        kind: Kind,
        name: str,
        inside: Array,
        right: Sequence[Array] | None = None,
        **more: Any,
    ) -> Row:
        """The row of a subset, by what each model has right."""
        subset = (kind, name, inside & self.known)
        outcomes = self.right if right is None else right
        return compare(outcomes, [subset], label=self.label, **more)[0]


_NEVER_THERE = {
    "recall": "no sample there is of this class",
    "false positive rate": "every sample there is of this class",
    "precision": "where all samples are of one class, it is always 0 or 100 %",
}


def _check_rates(rates: Sequence[ClassRate], none: Sequence[ClassRate], limits: Limits) -> None:
    """Raise an error if a limit on a rate holds nowhere, because all its subsets are of a class."""
    for row in none:
        of_groups = row.kind == "group"
        stated = limits.groups if of_groups else limits.slices.get(row.name, SliceLimits())
        for limit in row.limits:
            value, others = getattr(stated, limit), rates
            if row.of_class in value if isinstance(value, Mapping) else value is not None:
                others = [each for each in rates if of_groups and each.kind == "group"]
            whose = row.label, row.of_class
            if not any((o.label, o.of_class) == whose and limit in o.limits for o in others):
                where = "any group" if of_groups else f"the slice {row.name!r}"
                raise InputError(
                    f"{limit} of {row.of_class!r} cannot be judged in {where}: "
                    f"{_NEVER_THERE[row.rate]}. Set it for all samples, or leave it out."
                )


def _note_on_rates(none: Sequence[ClassRate]) -> list[str]:
    """A sentence on rates that are not judged, because a subset is of one class; or none."""
    places = Counter((f"{row.rate} of {row.of_class}", row.kind) for row in none)
    each = [f"{rate} in {counted(n, kind)}" for (rate, kind), n in places.items()]
    said = f"Not judged where all samples are of one class: {listed(each, 12)}."
    return [said] * bool(each)


def _only_problem(
    y_true: ArrayLike, preds: Mapping[str, ArrayLike], classes: ArrayLike | None
) -> _Problem:
    """The problem of samples with one class each."""
    y, *predicted = labels_of_one_type(y_true, **preds)
    every = [] if classes is None else spelt_as(classes, y).tolist()
    for name, each in zip(preds, predicted, strict=True):
        check_predicted(each, y, classes, what=name)
    titles = {label: str(label) for label in [*every, *np.unique(y).tolist()]}
    return _Problem(y, predicted, titles)


def _problems(
    Y: ArrayLike, preds: Mapping[str, ArrayLike], labels: Sequence[str]
) -> Iterator[_Problem]:
    """The problem of each label, of 1, 0 and NaN, (N, K)."""
    given = {"y_true": Y, **preds}
    arrays = {name: np.asarray(by_names(each, labels, name)) for name, each in given.items()}
    n, k = len(arrays["y_true"]), len(labels)
    for name, values in arrays.items():
        whole = values.shape == (n, k) and values.dtype.kind in "fiub"
        if not whole or not (np.isin(values, (0, 1)) | (values != values)).all():
            raise InputError(
                f"{name} must be 1 or 0 for each of {n} samples and {k} labels, ({n}, {k}). Got "
                f"{values.dtype} of shape {values.shape}, or other values."
            )
    for i, label in enumerate(map(str, labels)):
        y, *of_models = (values[:, i] for values in arrays.values())
        yield _Problem(y, of_models, {0: f"not {label}", 1: label}, label, y == y)


def _without(problems: Sequence[_Problem]) -> list[str]:
    """A sentence on classes without a sample, or none."""
    none = [t for p in problems for label, t in p.titles.items() if not (p.y == label).any()]
    said = f"No sample is known to be {listed(map(repr, none), 12, ' ({} in all)')}."
    return [said] * bool(none)


def _subsets(
    n: int, groups: Any, slices: Mapping[str, ArrayLike], limits: Limits
) -> Iterator[tuple[Kind, str, Array]]:
    """Each group and each slice of n samples: kind, name and members (N,)."""
    if groups is not None:
        labels, known = known_labels(groups, "groups")
        if len(known) != n:
            raise InputError(
                f"groups holds {len(known)} labels for {n} samples. Pass one per sample."
            )
        if not len(labels):
            raise InputError("No sample has a known group. Label the groups of some samples.")
        for label in np.unique(labels).tolist():
            inside = np.zeros(n, dtype=bool)
            inside[known] = labels == label
            yield "group", str(label), inside
    missing = next((name for name in limits.slices if name not in slices), None)
    if missing is not None:
        raise InputError(
            f"The limits name the slice {missing!r}. The slices are "
            f"{', '.join(map(repr, slices)) or 'none'}."
        )
    for name, values in slices.items():
        inside = np.asarray(values)
        if inside.shape != (n,):
            raise InputError(
                f"The slice {name!r} has shape {inside.shape} for {n} samples. Pass one value per "
                "sample."
            )
        yield "slice", name, truths(inside, f"The slice {name!r}") == 1


def _checked_flips(
    limits: Limits,
    named: Mapping[str, Mapping[str, ArrayLike]],
    n: int,
    labels: Sequence[str] | None,
) -> Iterator[tuple[str, list[Array]]]:
    """Each change with an array for each model, (N, labels): 1 if it flips, −1 without a copy."""
    shape = (n,) if labels is None else (n, len(labels))
    for name in limits.changes:
        arrays = list[Array]()
        for where, of_model in named.items():
            given = of_model.get(name)
            given = given if labels is None else by_names(given, labels, f"{where} of {name!r}")
            values = None if given is None else np.asarray(given)
            if values is None or values.shape != shape:
                got = "no values" if values is None else f"values of shape {values.shape}"
                raise InputError(
                    f"{where} holds {got} of the change {name!r} for {shape[0]} samples. Pass one "
                    f"value per sample{' and label' * (len(shape) > 1)}."
                )
            values = truths(values, f"{where} of the change {name!r}")
            arrays.append(values if values.ndim == 2 else values[:, None])
        yield name, arrays


def truths(values: Array, where: str) -> Array:
    """Values that are 1 or True, 0 or False, or −1 or NaN if unknown; others are an error."""
    cells = map(is_missing, values.ravel().tolist())
    unknown = np.fromiter(cells, bool, values.size).reshape(values.shape)
    odd = [each for each in {*values[~unknown].tolist()} if each not in (-1, 0, 1)]
    if odd:
        raise InputError(
            f"{where} must be 1 or True, 0 or False, and -1 or NaN if unknown. Got {odd[0]!r:.40}."
        )
    return np.where(unknown, -1, values).astype(np.int8)


def check_limits(limits: Limits, *, compared: bool, grouped: bool) -> None:
    """Raise an error if a limit needs something that the check does not have."""
    if not limits.stated:
        raise InputError(
            "No limit is set. Set one: --max-drop 2 (two models), --worst-class 80, "
            "--worst-group 70 or --limits FILE (limits= in Python)."
        )
    if limits.comparing and not compared:
        verb = "compares" if len(limits.comparing) == 1 else "compare"
        raise InputError(
            f"{listed(limits.comparing, 9)} {verb} two models, and there is one. Pass both models "
            "(or tables with --before), or set average, worst_class, worst_group or min_recall "
            "instead."
        )
    if limits.max_flip_rate is not None and not limits.changes:
        raise InputError(
            "max_flip_rate needs a change of the inputs, and none is named. Name one: "
            "--invariant image:jpeg=75 (invariant= in Python), or --additions neutral of texts."
        )
    unlimited = [name for name in limits.changes if limits.of_change(name) == ChangeLimits()]
    if unlimited and not compared:
        raise InputError(
            f"The change {unlimited[0]!r} has no limit. Set the share of predictions that may flip "
            "with --max-flip-rate (max_flip_rate), or pass the old model as well."
        )
    of_groups = limits.those_set(["worst_group"]) or (limits.groups != SliceLimits()) * ["groups"]
    if of_groups and not grouped:
        raise InputError(
            f"{of_groups[0]} needs group labels, and the samples have none. Add a group column (or "
            "a metadata.csv with file_name and group), or name slices instead."
        )


def _check_subjects(
    limits: Limits, problems: Sequence[_Problem], subsets: Sequence[tuple[Kind, str, Array]]
) -> None:
    """Raise an error if a limit is of a class or of a kind of subset that the samples lack."""
    for limit, name in limits.of_classes:
        known = list(dict.fromkeys(each for problem in problems for each in problem.classes))
        if name is None and len(known) != 2 and problems[0].label is None:
            option = f"--{limit.replace('_', '-')} CLASS=PERCENT ({limit}={{CLASS: PERCENT}})"
            raise InputError(
                f"{limit} names no class, and there are {len(known)}, so none is the positive one. "
                f"Name it: {option}."
            )
        if name is not None and name not in known:
            meant = meant_instead(name, known)
            raise InputError(
                f"{limit} names the class {name!r}, which is not one"
                f"{f'; did you mean {meant}?' if meant else '.'} The classes are "
                f"{listed(map(repr, known), 12)}."
            )
    kinds = {"average", "class", *(kind for kind, *_ in subsets)}
    missing = [kind for kind in limits.over if kind not in kinds]
    if missing and limits.over != KINDS and limits.those_set(("max_drop", *RATE_DROPS)):
        fix = "Add a group column" if missing[0] == "group" else "Name slices with --slice"
        raise InputError(
            f"The largest drop applies to each {missing[0]} (over=), and the samples have "
            f"no {missing[0]}. {fix}, or remove it from over."
        )

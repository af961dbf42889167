"""Sentences of the pages that quote accuracies, with the numbers of the rows file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from overview_tables import (
    KINDS,
    ORIGINAL,
    REFERENCE,
    Runs,
    accuracy_costs,
    gaps,
    goals,
    kind_of,
    values,
)
from rows import Fit, gain

FASHION = ("Sneaker/boot", "T-shirt/dress", "Pullover/coat")
DEBIAS, MASK, RANDOM = "48 | debias", "0 | NeuronTune", "0 | random mask"
PUBLISHED_DFR, BALANCED = "all | DFR as published †", "0 | class-balanced"


def of_kind(runs: Runs, *kinds: str) -> Runs:
    """Sets of some kinds."""
    return {data: found for data, found in runs.items() if kind_of(data) in kinds}


def below(runs: Runs, name: str) -> dict[str, float]:
    """Mean points below weighted DFR, of each set that has the row."""
    found = {data: gaps(of_seeds, name) for data, of_seeds in runs.items()}
    return {data: float(np.mean(each)) for data, each in found.items() if each}


def mean(found: dict[str, float]) -> float:
    """Mean over sets."""
    return float(np.mean([*found.values()]))


def far_below(runs: Runs, name: str) -> str:
    """How many runs end more than 10 points below weighted DFR."""
    found = [gap for of_seeds in runs.values() for gap in gaps(of_seeds, name)]
    return f"{sum(gap > 10 for gap in found)} of {len(found)}"


def worst_of(found: dict[str, float]) -> str:
    """The largest value, and its set."""
    data = max(found, key=lambda name: found[name])
    return f"{found[data]:.1f} on {data}"


def interval(fits: Sequence[Fit], method: str, other: str) -> str:
    """Mean gain of the worst group with its interval."""
    found, low, high, *_ = gain(fits, method, other)
    return f"{found:+.1f} points [{low:+.1f}, {high:+.1f}]"


def wins(runs: Runs, method: str, other: str) -> str:
    """Sets on which a method has the better worst group."""
    means = [{d: np.mean(values(r, n, "worst")) for d, r in runs.items()} for n in (method, other)]
    return f"{sum(means[0][data] > means[1][data] for data in runs)} of {len(runs)}"


def answered(runs: Runs) -> Runs:
    """Sets on which somebody says yes in a seed."""
    return {
        data: found
        for data, found in runs.items()
        if any("1 | debias" in run and run["1 | debias"] != run["0 | original"] for run in found)
    }


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"* {line}" for line in lines)


def of_results(runs: Runs, fits: Sequence[Fit]) -> str:
    """What the tables of the results page show."""
    biased, none = of_kind(runs, "injected", "natural"), of_kind(runs, "none")
    kinds = {kind: of_kind(runs, kind) for kind in KINDS}
    some = [fit for fit in fits if fit["data"] in biased]
    yes, auto = "1 | debias", "0 | --method auto"
    said = {kind: below(answered(some), yes) for kind, some in kinds.items()}
    unsaid = {d: gap for d, gap in below(biased, yes).items() if d not in answered(biased)}
    at_48, harmless = below(biased, DEBIAS), below(none, DEBIAS)
    cost = np.mean([np.mean(accuracy_costs(found, MASK)) for found in biased.values()])
    missed = sum("**missed**" in line for line in goals(of_kind(runs, *KINDS)).splitlines())
    read = [data for data in biased if data == "Adult" or data in FASHION]
    refused = [run[auto] == run["0 | original"] for data in read for run in biased[data]]
    return bullets(
        [
            f"**48 labels:** `debias` ends {mean(at_48):.1f} points below weighted DFR, and at "
            f"worst {worst_of(at_48)}. In {far_below(biased, DEBIAS)} runs it is more than 10 "
            f"points below; with 96 labels in {far_below(biased, '96 | debias')}.",
            f"**One yes,** where somebody can say it, ends {mean(said['injected']):.1f} points "
            f"below weighted DFR on injected shortcuts, and at worst {worst_of(said['injected'])}. "
            f"On natural ones {mean(said['natural']):.1f}.",
            f"**No yes:** on {'; '.join(unsaid)}, nobody says yes, and the original model ends "
            f"{mean(unsaid):.1f} points below.",
            f"**No label:** `debias` writes no model. `--method auto` is "
            f"{mean(below(kinds['injected'], auto)):.1f} points below weighted DFR on injected "
            f"shortcuts, {mean(below(kinds['natural'], auto)):.1f} on natural ones.",
            f"**`--method auto`** keeps the original model in {sum(refused)} of {len(refused)} "
            f"runs on Adult (not Adult, 95 %) and Fashion-MNIST.",
            f"**NeuronTune, as described,** against ERM: {interval(some, MASK, ORIGINAL)}. It "
            f"costs {cost:.1f} points of average accuracy. It beats class-balanced retraining on "
            f"{wins(biased, MASK, BALANCED)} sets.",
            f"**Its neurons** against random masks of its size: {interval(some, MASK, RANDOM)}.",
            f"**DFR as published** ends {mean(below(biased, PUBLISHED_DFR)):.1f} points below the "
            f"weighted variant. It sees the validation set alone, whose rare groups are small.",
            f"**No shortcut:** against weighted DFR 48 labels lose {mean(harmless):.1f} points, at "
            f"worst {worst_of(harmless)}. NeuronTune, as described, loses "
            f"{mean(below(none, MASK)):.1f}.",
            f"**Of ten goals** set before the first run {missed} are missed, some in part: [the "
            f"goals](tables/overview_tables.md#goals-set-before-the-runs).",
        ]
    )


def seeds(runs: Runs) -> str:
    """How many seeds the sets have."""
    counts = {data: len(found) for data, found in of_kind(runs, *KINDS).items()}
    usual = max(counts.values())
    fewer = [f"{data} {n}" for data, n in counts.items() if n < usual]
    text = f"Each set has {usual} seeds" + (f", but {', '.join(fewer)}." if fewer else ".")
    return f"{text} A seed draws images, networks or splits anew."


def of_methods(runs: Runs, fits: Sequence[Fit]) -> str:
    """What a balanced validation set shows."""
    held, erm = "0 | class-balanced, validation rows", "0 | ERM, training rows"
    sets = {data: of for data, of in of_kind(runs, "balanced").items() if held in of[0]}
    some = [fit for fit in fits if fit["data"] in sets]
    return bullets(
        [
            f"**Class-balanced retraining** on it gains {interval(some, held, erm)} over ERM.",
            f"**NeuronTune, as described,** gains {interval(some, MASK, erm)} over ERM and "
            f"{interval(some, MASK, RANDOM)} over random masks. It beats class-balanced "
            f"retraining on {wins(sets, MASK, held)} sets.",
            f"**DFR as published** against class-balanced retraining: "
            f"{interval(some, PUBLISHED_DFR, held)}. The weighted variant: "
            f"{interval(some, REFERENCE, held)}.",
            f"**`auto`** is {mean(below(sets, '0 | auto')):.1f} points below weighted DFR, and at "
            f"worst {worst_of(below(sets, '0 | auto'))}.",
        ]
    )

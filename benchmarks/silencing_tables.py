"""Tables of the results of ``silencing.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy.stats import spearmanr

from evidence_tables import mean_std, table

Findings = dict[str, Any]
COLUMNS = {
    "ERM": "ERM",
    "no mask": "class-balanced",
    "flagged above 0": "flagged above 0",
    "flagged above 0.5 sd": "flagged above 0.5 sd",
    "random, as many as flagged above 0.5 sd": "random, as many",
    "true spurious neurons": "the true ones",
    "random, as many as true spurious neurons": "random, as many",
    "class-balanced, validation set": "class-balanced, validation set",
    "DFR, all rows †": "DFR †",
}
PENALTIES = (
    "no mask",
    "true spurious neurons halved",
    "true spurious neurons",
    "flagged above 0.5 sd",
    "random, as many as flagged above 0.5 sd",
)
LINES = {"specificity": 5.0, "agreement": 0.1, "AUC": 0.8}
"""Statistics, and from where on they speak for a mask."""
MATTERS = 2.0
"""Points that count as a gain, or a loss."""
SHOWN = (
    "spurious neurons of their own, biased rows",
    "ten times the rows",
    "neurons half core, half spurious",
    "everything in every neuron",
)


def tables(results: Sequence[Findings], ridges: Sequence[float]) -> str:
    """Worst groups, the same by penalty, and the statistics next to the gain."""
    names = dict.fromkeys(r["regime"] for r in results)
    of = {name: [r for r in results if r["regime"] == name] for name in names}
    first = [
        [name, *(mean_std([r["worst"][key] for r in runs]) for key in COLUMNS)]
        for name, runs in of.items()
    ]
    second = [
        [
            f"{name}: {key}",
            *(mean_std([r["by_ridge"][key][i] for r in runs]) for i in range(len(ridges))),
        ]
        for name, runs in of.items()
        if name in SHOWN
        for key in PENALTIES
    ]
    mask = "flagged above 0.5 sd"
    third = [
        [
            name,
            mean_std([gain(r) for r in runs]),
            mean_std([gain(r, "class-balanced, validation set") for r in runs]),
            mean_std([r["seen"]["specificity"] for r in runs]),
            mean_std([r["seen"]["agreement"] for r in runs], 2),
            mean_std([r["seen"]["AUC"] for r in runs], 2),
            mean_std([r["size"][mask] for r in runs], 0),
            mean_std([100 * r["hit"][mask] for r in runs], 0),
        ]
        for name, runs in of.items()
    ]
    return "\n\n".join(
        [
            table(["worst group", *COLUMNS.values()], first),
            table(["ridge weight", *(f"{alpha:g}" for alpha in ridges)], second),
            table(
                [
                    "",
                    "gain",
                    "over the validation set's",
                    "specificity",
                    "agreement",
                    "AUC",
                    "flagged",
                    "of these spurious, %",
                ],
                third,
            ),
            told(results),
        ]
    )


def gain(result: Findings, beside: str = "no mask") -> float:
    """Points that the flagged neurons' mask adds to class-balanced retraining on the same rows."""
    return float(result["worst"]["flagged above 0.5 sd"] - result["worst"][beside])


def told(results: Sequence[Findings]) -> str:
    """How far each statistic tells the gain: by rank, and by a line drawn beforehand."""
    lines = []
    for key, least in LINES.items():
        values = [r["seen"][key] for r in results]
        rank = spearmanr([gain(r) for r in results], values, nan_policy="omit")[0]
        above = [gain(r) for r, value in zip(results, values, strict=True) if value >= least]
        below = [gain(r) for r, value in zip(results, values, strict=True) if not value >= least]
        counts = [
            f"{sum(g > MATTERS for g in side)} / {sum(g < -MATTERS for g in side)} of {len(side)}"
            for side in (above, below)
        ]
        lines.append([f"{key} of {least:g} or more", f"{rank:.2f}", *counts])
    header = ["", "rank correlation", "gains / losses where so", "where not so"]
    return table(header, lines)

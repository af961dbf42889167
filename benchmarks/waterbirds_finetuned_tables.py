"""Tables of the results of waterbirds_finetuned.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evidence_tables import mean_std, table
from waterbirds_tables import FIGURES, NAMES, of_ridges, of_rows, seeds

Findings = dict[str, Any]
GROUPS = ("landbird, land", "landbird, water", "waterbird, land", "waterbird, water")
BY_CLASS, BY_GROUP = ", by worst class", ", by worst group †"
COUNTS = ("12", "24", "48", "96")


def tables(results: Sequence[Findings]) -> str:
    """All tables, as Markdown."""
    parts: dict[str, list[Findings]] = {}
    for result in sorted(results, key=lambda found: found["seed"]):
        parts.setdefault(result["part"], []).append(result)
    shown = []
    if "network" in parts:
        shown += ["### The networks as they are", of_networks(parts["network"])]
    if "halves" in parts:
        shown += ["### Half of the validation split finds neurons, half chooses"]
        shown += [of_halves(parts["halves"])]
        shown += ["### Worst group by training", by_seed(parts["halves"])]
        shown += ["### What NeuronTune finds", of_masks(parts["halves"])]
    if "validation" in parts:
        shown += ["### The whole validation split as validation set", of_rows(parts["validation"])]
        shown += ["### By penalty: worst group", of_ridges(parts["validation"])]
    if "alone" in parts:
        shown += ["### The training split alone: no labels, all labels"]
        shown += [of_rows(parts["alone"])]
        shown += ["### The training split alone: worst group by labels", of_curve(parts["alone"])]
    return "\n\n".join(shown) + "\n"


def of_networks(results: Sequence[Findings]) -> str:
    """Accuracies of every network on the three splits."""
    lines = []
    for result in results:
        for split, row in result["rows"].items():
            lines.append(
                [
                    f"seed {result['seed']}, {split}",
                    f"{row['average']:.1f}",
                    f"{row['adjusted']:.1f}",
                    *(f"{accuracy:.1f}" for accuracy in row["by_group"]),
                ]
            )
    return table(["", "average", "training shares", *GROUPS], lines)


def methods(results: Sequence[Findings]) -> list[str]:
    """Names of the rows without the rule that chose, in their order."""
    names = [name.removesuffix(BY_CLASS).removesuffix(BY_GROUP) for name in results[0]["rows"]]
    return list(dict.fromkeys(names))


def figures(results: Sequence[Findings], name: str, key: str) -> list[float]:
    """Of every run; NaN where there is no such row."""
    return [result["rows"].get(name, {}).get(key, np.nan) for result in results]


def of_halves(results: Sequence[Findings]) -> str:
    """Results of the methods, chosen without group labels and with them."""
    lines = []
    for name in methods(results):
        plain = name if name in results[0]["rows"] else name + BY_CLASS
        own = [mean_std(figures(results, plain, key)) for key in FIGURES]
        told = [mean_std(figures(results, name + BY_GROUP, key)) for key in FIGURES[:2]]
        row = plain if plain in results[0]["rows"] else name + BY_GROUP
        silent = str(round(np.mean(figures(results, row, "n_suppressed"))))
        lines.append([NAMES.get(name, name), *own, *told, silent])
    header = ["chosen by the worst class", "worst group", "average", "average, training shares"]
    header += ["worst group, chosen by it †", "average †", "suppressed"]
    return table(header, lines) + f"\n\n{seeds(results)}"


def by_seed(results: Sequence[Findings]) -> str:
    """Worst group of every training, chosen without group labels."""
    lines = []
    for name in methods(results):
        plain = name if name in results[0]["rows"] else name + BY_CLASS
        values = figures(results, plain, "worst")
        if not np.isnan(values).all():
            lines.append([NAMES.get(name, name), *(f"{value:.1f}" for value in values)])
    return table(["", *(f"seed {result['seed']}" for result in results)], lines)


def of_masks(results: Sequence[Findings]) -> str:
    """Errors that neurons are found by, and how many are found."""
    lines = []
    for result in results:
        row = result["rows"]["NeuronTune on training" + BY_CLASS]
        lines.append(
            [
                f"seed {result['seed']}",
                " / ".join(map(str, result["errors"])),
                str(result["n_non_constant"]),
                " / ".join(map(str, result["per class"])),
                str(row["n_suppressed"]),
            ]
        )
    header = ["", "errors of landbirds / waterbirds", "non-constant neurons"]
    header += ["found by either class"]
    return table([*header, "suppressed"], lines)


def of_curve(results: Sequence[Findings]) -> str:
    """Worst group by the number of labels."""
    cells = [mean_std([result["curve"][n]["worst"] for result in results]) for n in COUNTS]
    return table(["labels", *COUNTS], [["asked, embedding alone", *cells]])

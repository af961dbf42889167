"""Tables of the results of waterbirds.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runner import mean_std, table

Findings = dict[str, Any]
NAMES = {
    "own head": "ERM, the network's own head",
    "ERM-tuned-C": "ERM on the training split, tuned C",
    "class-balanced-both-tuned-C": "class-balanced on all rows, tuned C",
    "class-balanced-validation-tuned-C": "class-balanced on the validation set, tuned C",
    "class-balanced": "class-balanced on the training split",
    "cell-balanced": "cell-balanced on the training split",
    "auto": "`auto`",
    "--method auto": "`--method auto`",
    "neurontune": "NeuronTune, penalty as for `auto`",
    "random mask": "random mask of its size",
    "neurontune-0.5sd": "NeuronTune, above 0.5 sd",
    "neurontune-half": "NeuronTune, half of the neurons",
    "neurontune, C = 1": "NeuronTune, C = 1",
    "random mask, C = 1": "random mask of its size, C = 1",
    "class-balanced, by half": "class-balanced on training, penalty by half of it",
    "neurontune, by half": "NeuronTune, penalty by half of it",
    "random mask, by half": "random mask of its size, penalty by half of it",
    "afr": "AFR",
    "jtt": "JTT",
    "self": "SELF",
    "leia": "LEIA",
    "evals": "EVaLS",
    "leace": "LEACE",
    "DFR-validation †": "DFR on the validation set †",
    "DFR-both †": "DFR on all rows †",
    "GroupDRO-both †": "group DRO on all rows, C not tuned †",
}
"""Row to what it is called, in the order of the tables."""
CURVES = {
    "asked": "asked, embedding and earlier layers",
    "asked, 5 % wrong": "the same, 5 % of the labels wrong",
    "asked, embedding alone": "asked, embedding alone",
    "random": "random questions, embedding and earlier layers",
    "DFR, random labels": "DFR on the random labels alone",
    "SSA": "SSA on the asked labels",
    "GSR": "GSR on the asked labels",
}
COUNTS = (12, 24, 48, 96, 192)
FIGURES = ("worst", "average", "adjusted")
SHOWN = ["worst group", "average", "average, training shares"]


def tables(results: Sequence[Findings]) -> str:
    """All tables, as Markdown."""
    parts: dict[str, list[Findings]] = {}
    for result in results:
        parts.setdefault(result["part"], []).append(result)
    shown = []
    if "validation" in parts:
        shown += ["### The validation split as validation set", of_rows(parts["validation"])]
        shown += ["### By penalty: worst group", of_ridges(parts["validation"])]
    if "third" in parts:
        shown += ["### A third of the training split as validation set", of_rows(parts["third"])]
    if "answers" in parts:
        shown += ["### The training split alone: no labels, all labels"]
        shown += [of_rows(parts["answers"])]
        shown += ["### The training split alone: worst group by labels"]
        shown += [of_curves(parts["answers"] + parts.get("rivals", []))]
        shown += ["### What the inference reads", of_inference(parts["answers"])]
    if "audit" in parts:
        shown += ["### Acting on a finding", of_rows(parts["audit"])]
        shown += ["### What the audit finds", of_audits(parts["audit"])]
    return "\n\n".join(shown) + "\n"


def of_rows(results: Sequence[Findings]) -> str:
    """Results of every row, mean and deviation over the seeds."""
    present = results[0]["rows"]
    order = [name for name in NAMES if name in present]
    order += [name for name in present if name not in NAMES and plainly(name)]
    masks = any("n_suppressed" in row for row in present.values())
    lines = []
    for name in order:
        rows = [result["rows"][name] for result in results if name in result["rows"]]
        cells = [mean_std([row.get(key, np.nan) for row in rows]) for key in FIGURES]
        suppressed = [str(round(np.mean([row.get("n_suppressed", 0) for row in rows])))]
        lines.append([NAMES.get(name, name), *cells, *(suppressed if masks else [])])
    header = ["", *SHOWN, *(["suppressed"] if masks else [])]
    return table(header, lines) + f"\n\n{seeds(results)}"


def plainly(name: str) -> bool:
    """Whether the tables show a row; they leave variants out."""
    return not name.startswith(("neurontune-", "class-balanced-", "auto-", "original"))


def seeds(results: Sequence[Findings]) -> str:
    """Which seeds there are."""
    shown = ", ".join(str(seed) for seed in sorted({result["seed"] for result in results}))
    return f"Seeds {shown}."


def of_ridges(results: Sequence[Findings]) -> str:
    """NeuronTune, a random mask and no mask by penalty."""
    alphas = list(results[0]["ridge"])
    rows = list(results[0]["ridge"][alphas[0]])
    lines = [
        [row, *(mean_std([100 * r["ridge"][alpha][row] for r in results]) for alpha in alphas)]
        for row in rows
    ]
    return table(["ridge weight", *alphas], lines)


def of_curves(results: Sequence[Findings]) -> str:
    """Worst group by the number of labels."""
    lines = []
    for name, shown in CURVES.items():
        curves = [r["curves"][name] for r in results if name in r["curves"]]
        cells = []
        for n in COUNTS:
            values = [curve[str(n)]["worst"] for curve in curves if str(n) in curve]
            one = f"{values[0]:.1f}" if len(values) == 1 else "–"
            cells.append(mean_std(values) if len(values) > 1 else one)
        if curves:
            lines.append([shown, *cells, str(len(curves))])
    return table(["labels", *map(str, COUNTS), "runs"], lines)


def of_inference(results: Sequence[Findings]) -> str:
    """Feature set that is read and share of the places that are right, by the number of labels."""
    lines = []
    for name in ("asked", "asked, embedding alone", "random"):
        cells = []
        for n in COUNTS:
            found = [r["curves"][name][str(n)] for r in results]
            feature_sets = ", ".join(sorted({str(each["feature_set"] or "none") for each in found}))
            right = mean_std([100 * each["right"] for each in found])
            cells.append(f"{right} ({feature_sets})")
        lines.append([CURVES[name], *cells])
    return table(["places right in %, by feature set", *map(str, COUNTS)], lines)


def of_audits(results: Sequence[Findings]) -> str:
    """The first findings and how near they are to the place."""
    lines = []
    for result in results:
        for i, finding in enumerate(result["findings"][:3]):
            lines.append(
                [
                    f"seed {result['seed']}, {i + 1}",
                    f"`{finding['name']}`",
                    f"{finding['score']:.1f}",
                    f"{finding['near']:.2f}",
                ]
            )
    return table(["", "finding", "score", "correlation with the place within classes"], lines)

"""Worst-group accuracies that papers report, each with its source; nothing here was run by us.

Papers report different ERM baselines, so compare gains over ERM. "labels" says
which group labels the paper uses: none, those of the validation set to tune, or all.
"""

from __future__ import annotations

OFFICIAL = "official validation split"
TO_TUNE = "groups, to tune"
NEURONTUNE = "arXiv 2505.24048, as secondary summaries quote it"
AFR = "arXiv 2306.11074, README of its code"
DPE = "project page of arXiv 2505.23027"
EVALS = "arXiv 2410.05345, as a review quotes it"
SELF = "arXiv 2309.08534, as secondary summaries quote it"
DFR = "arXiv 2204.02937, Table 2"
LEIA = "arXiv 2602.06924, as secondary summaries quote it"


def row(
    data: str, method: str, labels: str, worst: str, source: str, average: str = ""
) -> dict[str, str]:
    """A row of results.csv."""
    mean, _, deviation = worst.partition(" ± ")
    return {
        **{"data_set": data, "shortcut": "injected" if data == "Waterbirds" else "natural"},
        **{"validation_set": OFFICIAL, "method": method, "labels": labels},
        "tuned_by": "validation groups" if labels == TO_TUNE else "",
        **{"worst_group": mean, "worst_group_sd": deviation},
        **{"average": average, "kind": "published", "source": source},
    }


BALANCED = "class-balanced retraining on the validation split"
HALF = "NeuronTune, half of the validation split retrains"
PUBLISHED = [
    row("Waterbirds", "ERM", "none", "72.6", AFR),
    row("CelebA", "ERM", "none", "47.2", AFR),
    row("Waterbirds", BALANCED, "none", "89.0 ± 0.2", DPE),
    row("CelebA", BALANCED, "none", "73.7 ± 0.8", DPE),
    row("Waterbirds", "JTT", TO_TUNE, "86.7", AFR),
    row("CelebA", "JTT", TO_TUNE, "81.1", AFR),
    row("Waterbirds", "AFR", TO_TUNE, "90.4 ± 1.1", AFR),
    row("CelebA", "AFR", TO_TUNE, "82.0 ± 0.5", AFR),
    row("Waterbirds", "SELF", TO_TUNE, "93.0", SELF),
    row("Waterbirds", "EVaLS", "none", "88.4 ± 3.1", EVALS),
    row("CelebA", "EVaLS", "none", "85.3", EVALS),
    row("Waterbirds", "LEIA", "not stated", "90.7", LEIA),
    row("Waterbirds", "group DRO", "all", "91.4 ± 1.1", DPE, "93.5"),
    row("CelebA", "group DRO", "all", "88.9 ± 2.3", DPE, "92.9"),
    row("Waterbirds", "DFR", "of the validation set", "92.4", NEURONTUNE),
    row("CelebA", "DFR", "of the validation set", "87.0", NEURONTUNE),
    row("Waterbirds", "NeuronTune", "none", "92.2", NEURONTUNE),
    row("CelebA", "NeuronTune", "none", "83.1", NEURONTUNE),
    row("Waterbirds", HALF, "none", "92.5", NEURONTUNE),
    row("CelebA", HALF, "none", "87.3", NEURONTUNE),
    row("CelebA", "SSA", "of the validation set", "89.8 ± 1.3", DFR, "92.8"),
    row("MultiNLI", "ERM", "none", "65.9 ± 0.3", DFR, "82.8"),
    row("MultiNLI", "JTT", TO_TUNE, "72.6", DFR, "78.6"),
    row("MultiNLI", "AFR", TO_TUNE, "73.4 ± 0.6", AFR),
    row("MultiNLI", "SSA", "of the validation set", "76.6 ± 0.7", DFR, "79.9"),
    row("MultiNLI", "group DRO", "all", "77.7", DFR, "81.4"),
    row("MultiNLI", "DFR", "of the validation set", "74.7 ± 0.7", DFR, "82.1"),
    row("CivilComments", "ERM", "none", "55.6 ± 0.6", DFR, "92.1"),
    row("CivilComments", "JTT", TO_TUNE, "69.3", DFR, "91.1"),
    row("CivilComments", "AFR", TO_TUNE, "68.7 ± 0.6", AFR),
    row("CivilComments", "SSA", "of the validation set", "69.9 ± 2.0", DFR, "88.2"),
    row("CivilComments", "group DRO", "all", "69.9", DFR, "88.9"),
    row("CivilComments", "DFR", "of the validation set", "70.1 ± 0.8", DFR, "87.2"),
]

"""Tables of ``quantised.py``: what quantising costs, and what each head gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from evidence_tables import table

Record = dict[str, Any]
Figures = dict[str, float]
FLOAT = "float"
SCHEMES = ("per tensor", "per channel", "dynamic", "4-bit weights")
CLEAR = 1.0  # points


class Results:
    """Records by classifier, way to quantise and seed; the last one of each counts."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.of = {(r["classifier"], r["scheme"], r["seed"]): r for r in records}
        self.classifiers = list(dict.fromkeys(r["classifier"] for r in self.of.values()))

    def seeds(self, classifier: str, scheme: str) -> list[int]:
        """Seeds for which both the float and the quantised model were judged."""
        return sorted(
            seed
            for name, way, seed in self.of
            if (name, way) == (classifier, scheme) and (name, FLOAT, seed) in self.of
        )

    def pairs(self, classifier: str, scheme: str) -> list[tuple[Record, Record]]:
        """Heads on the float and on the quantised body."""
        return [
            (self.of[classifier, FLOAT, s]["heads"], self.of[classifier, scheme, s]["heads"])
            for s in self.seeds(classifier, scheme)
        ]

    def rows(self) -> list[tuple[str, str]]:
        """Classifiers and the ways in which each was quantised."""
        return [(c, s) for c in self.classifiers for s in SCHEMES if self.seeds(c, s)]


def average(figures: Figures) -> float:
    """Average accuracy."""
    return figures["average"]


def worst(figures: Figures) -> float:
    """Accuracy of the worst group; of the worst class where there are no groups."""
    return figures.get("worst_group", figures["worst_class"])


def changed(figures: Figures) -> float:
    """Samples that get another class than from the float model."""
    return 100 - figures["same"]


def shown(values: Sequence[float], sign: str = "+") -> str:
    """Mean, and the standard deviation where there are several."""
    if not values:
        return "–"
    text = f"{np.mean(values) + 0.0:{sign}.1f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.1f}"


def differences(
    results: Results, row: tuple[str, str], key: str, base: str, of: Callable[[Figures], float]
) -> list[float]:
    """A head on the quantised body less one on the float body."""
    return [
        of(body[key]) - of(plain[base])
        for plain, body in results.pairs(*row)
        if key in body and base in plain
    ]


def first(results: Results, row: tuple[str, str], key: str, of: Callable[[Figures], float]) -> str:
    """A figure of the float model."""
    return shown([of(plain[key]) for plain, _ in results.pairs(*row) if key in plain], "")


OWN = "as it is"
CARRIED = (OWN, "old head", "bias correction", "matched", "soft labels")
RETRAINED = ("ERM", "class-balanced")


def costs(results: Results, of: Callable[[Figures], float]) -> str:
    """Differences from the float model, and of retrained heads from those on the float body."""
    header = ["classifier", "quantised", "float", *CARRIED, "gain of retraining, float", *RETRAINED]
    rows = []
    for row in results.rows():
        gain = [of(f["class-balanced"]) - of(f[OWN]) for f, _ in results.pairs(*row)]
        rows.append([
            *row,
            first(results, row, OWN, of),
            *(shown(differences(results, row, key, OWN, of)) for key in CARRIED),
            shown(gain),
            *(shown(differences(results, row, key, key, of)) for key in RETRAINED),
        ])  # fmt: skip
    return table(header, rows)


def flips(results: Results) -> str:
    """Samples in percent whose class is not the float model's."""
    header = ["classifier", "quantised", *CARRIED, *RETRAINED]
    rows = [
        [*row, *(shown([changed(q[k]) for _, q in results.pairs(*row)], "") for k in header[2:])]
        for row in results.rows()
    ]
    return table(header, rows)


def debiased(results: Results) -> str:
    """A head that was debiased on the float body, and debiasing on the quantised one."""
    header = [
        *("classifier", "quantised", "original", "debiased, float"),
        *("its head carried over", "matched", "debiased after quantising"),
    ]
    rows = []
    for row in results.rows():
        if not any("debiased head" in q and p["debias"] != p[OWN] for p, q in results.pairs(*row)):
            continue
        rows.append([
            *row,
            first(results, row, OWN, worst),
            first(results, row, "debias", worst),
            *(
                shown(differences(results, row, key, "debias", worst))
                for key in ("debiased head", "debiased head, matched", "debias")
            ),
        ])  # fmt: skip
    return table(header, rows)


def summary(results: Results) -> str:
    """Means over classifiers, by the way to quantise; and over the cases where it costs much."""
    keys = [(key, OWN) for key in CARRIED] + [(key, key) for key in RETRAINED]
    header = ["quantised", "classifiers", "figure", *(key for key, _ in keys)]
    rows = []
    for scheme in SCHEMES:
        own = [row for row in results.rows() if row[1] == scheme]
        for label, of in (("average", average), ("worst group or class", worst)):
            if own:
                rows.append([scheme, str(len(own)), label, *means(results, own, keys, of)])
    for label, of in (("average", average), ("worst group or class", worst)):
        cost = {row: np.mean(differences(results, row, OWN, OWN, of)) for row in results.rows()}
        for name, own in (
            (
                f"any, where it costs {CLEAR:g} point or more",
                [r for r in cost if cost[r] <= -CLEAR],
            ),
            ("any, where it costs less", [r for r in cost if cost[r] > -CLEAR]),
        ):
            if own:
                rows.append([name, str(len(own)), label, *means(results, own, keys, of)])
    return table(header, rows)


def means(
    results: Results,
    rows: Sequence[tuple[str, str]],
    keys: Sequence[tuple[str, str]],
    of: Callable[[Figures], float],
) -> list[str]:
    """Mean over classifiers of the mean over seeds."""
    return [
        shown([float(np.mean([np.mean(differences(results, row, *key, of)) for row in rows]))])
        for key in keys
    ]


def about(results: Results) -> str:
    """How many runs, and what verification said of the written files."""
    quantised = [r for r in results.of.values() if r["scheme"] != FLOAT]
    passed = sum(r["verified"] for r in quantised)
    most = max(r["logit_difference"] for r in quantised)
    seeds = {name: len(results.seeds(name, "per tensor")) for name in results.classifiers}
    counts = ", ".join(f"{name} {n}" for name, n in seeds.items())
    return (
        f"{len(quantised)} quantised models of {len(results.classifiers)} classifiers; networks or "
        f"draws of each: {counts}. The file with the matched head passed verification in {passed} "
        f"of {len(quantised)}; logits of ONNX Runtime and NumPy differ by at most {most:.0e}."
    )


def markdown(records: Iterable[Record]) -> str:
    """All tables."""
    results = Results(records)
    parts = [
        about(results),
        "Means over classifiers, in points:",
        summary(results),
        "Average accuracy, in %, and differences in points:",
        costs(results, average),
        "Worst group, or worst class of those without groups (digits, Fashion-MNIST):",
        costs(results, worst),
        "Test samples whose class is not the float model's, in %:",
        flips(results),
        "Worst group, debiased before and after quantising, in %, and differences from "
        '"debiased, float" in points:',
        debiased(results),
    ]
    return "\n\n".join(parts) + "\n"

"""NeuronTune's tables of the documentation, from the rows file of :mod:`rows`.

python benchmarks/neurontune_tables.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from evidence_tables import table
from results_csv import with_tables
from rows import FOLDER, Fit, average, by_set, mean_of, read, shown_gain, worst

MARKER = "benchmarks/neurontune_tables.py"
BIRDS = "Waterbirds, official"
BIASED = (
    *(BIRDS, "Waterbirds", "TuxScenes", "Rotten Tomatoes", "SpamAssassin", "Adult"),
    *("Adult, 95 %", "Sneaker/boot", "T-shirt/dress", "Pullover/coat", "Rotten Tomatoes, L6"),
    *("SpamAssassin, L6", "Rotten Tomatoes, LSA", "SpamAssassin, LSA"),
)
HARMLESS = ("iris", "wine", "breast", "digits", "Gauss")
NAMES = {
    "ERM, tuned": "ERM",
    "class-balanced, tuned": "class-balanced retraining",
    "sgd, mask": "NeuronTune, `as_described()`",
    "sgd, mask, by SFit": 'NeuronTune, `as_described(selection="sfit")`',
    "sgd, random": "random mask, SGD",
    "sgd, no mask": "no mask, SGD",
    "optimum, mask": 'NeuronTune, `as_described(solver="optimum")`',
    "optimum, random": "random mask, optimum",
    "optimum, no mask": "no mask, optimum",
    "optimum, mask at 0.5, 10 errors": "`NeuronTuneClassifier(max_cost=None)`",
    "the default": "`NeuronTuneClassifier()`",
    "old default": "the default before, with weights of errors",
    "auto": "`AutoDebiasClassifier()`",
}
"""Methods of the page, in its order."""


def main() -> None:
    """Write the tables."""
    for page, parts in page_tables(read()).items():
        file = FOLDER / page
        file.write_text(with_tables(file.read_text(encoding="utf-8"), parts, MARKER), "utf-8")


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def of_sets(rows: Sequence[Fit], kind: str = "biased") -> list[Fit]:
    """Rows of a kind of set on embeddings as they are: biased, harmless or kept aside."""
    some = [row for row in rows if (row["part"], row["embeddings"]) == ("sets", "raw")]
    return [row for row in some if kind_of(row["data"]) == kind]


def kind_of(name: str) -> str:
    """Whether a set is one of those with a shortcut, has none, or was kept aside."""
    if name in BIASED:
        return "biased"
    return "harmless" if name.startswith(HARMLESS) else "aside"


def means(rows: Sequence[Fit], method: str, of: Callable[[Fit], float]) -> dict[str, float]:
    """Mean over seeds and draws for each set."""
    return {name: mean_of(seeds, of) for name, seeds in by_set(rows, method).items()}


def neurons(rows: Sequence[Fit]) -> str:
    """Found neurons compared with random ones and none, for each way to retrain."""
    lines = []
    titles = {"sgd": "SGD", "optimum": "optimum, own penalty"}
    others = {"random": "random neurons", "no mask": "no mask"}
    for kind, where in (("biased", "14 sets"), ("aside", "7 sets kept aside")):
        some = of_sets(rows, kind)
        for solver, other in product(titles, others):
            if means(some, f"{solver}, mask", worst):
                cells = shown_gain(some, f"{solver}, mask", f"{solver}, {other}")
                lines.append([titles[solver], others[other], where, *cells])
    head = ["retraining", "found neurons minus", "data", "worst group, points", "sets with a gain"]
    return table(head, lines)


def methods(rows: Sequence[Fit]) -> str:
    """Worst group and mean of the groups with a shortcut, and worst class without one."""
    of_kind, sizes = dict[str, list[Fit]](), list[int]()
    for kind in ("biased", "aside", "harmless"):
        some = of_sets(rows, kind)
        each = [{row["data"] for row in some if row["method"] == name} for name in NAMES]
        shared = set.intersection(*filter(None, each))  # the sets of every method that was run
        of_kind[kind] = [row for row in some if row["data"] in shared]
        sizes.append(len(shared))
    of_kind["birds"] = [row for row in of_kind["biased"] if row["data"] == BIRDS]
    lines = []
    for method, title in NAMES.items():
        cells = []
        for some in of_kind.values():
            found = [means(some, method, of) for of in (worst, average)]
            shown = [f"{np.mean([*each.values()]):.1f}" for each in found if each]
            cells.append(" / ".join(shown) or "–")
        lines.append([title, *cells])
    biased, aside, harmless = sizes
    head = ["method", f"{biased} sets", f"{aside} kept aside", f"{harmless} without a shortcut"]
    return table([*head, "Waterbirds, official"], lines)


def settings(rows: Sequence[Fit]) -> str:
    """SGD on the official Waterbirds: two heads that err, batches and rates."""
    some = [row for row in rows if row["part"] == "settings"]
    ends = dict.fromkeys(row["method"].partition(", ")[2] for row in some)
    lines = []
    for end in ends:
        values = {
            name: [worst(row) for row in some if row["method"] == f"{name}, {end}"]
            for name in ("mask", "no mask", "random")
        }
        cells = [mean_and_deviation(v) for v in values.values()]
        lines.append([end.replace("head ", ""), *cells])
    return table(["head that errs, batch, rate", "found neurons", "no mask", "random"], lines)


STEPS = {
    "biased validation set, optimum": ("sets", "Waterbirds", "optimum, mask"),
    "official validation split": ("sets", BIRDS, "optimum, mask"),
    "SGD instead of the optimum": ("sets", BIRDS, "sgd, mask"),
    "epoch by SFit": ("sets", BIRDS, "sgd, mask, by SFit"),
    "half of the validation split retrains (†)": ("half", BIRDS, "sgd, mask"),
}


def bill(rows: Sequence[Fit]) -> str:
    """Each difference between our first number and the described method on Waterbirds."""
    lines = []
    for title, (part, data, method) in STEPS.items():
        solver = method.partition(",")[0]
        cells = []
        for name in (method, f"{solver}, no mask", f"{solver}, random"):
            key = {"part": part, "data": data, "method": name, "embeddings": "raw"}
            values = [worst(row) for row in rows if all(row[k] == v for k, v in key.items())]
            cells.append(f"{np.mean(values):.1f}")
        lines.append([title, *cells])
    return table(["step", "found neurons", "no mask", "random"], lines)


def page_tables(rows: Sequence[Fit]) -> dict[str, dict[str, str]]:
    """The tables of each page, by the name in the marker."""
    return {
        "published.md": {"neurons": neurons(rows), "bill": bill(rows)},
        "tables/neurontune_tables.md": {"methods": methods(rows), "settings": settings(rows)},
    }


if __name__ == "__main__":
    main()

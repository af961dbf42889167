"""The rows file of NeuronTune's page, and the tables made of it.

    python benchmarks/neurontune_tables.py [ROWS.jsonl …]

packs the rows that :mod:`neurontune` wrote into ``docs/benchmarks/neurontune_rows.csv.gz``: a line
for each fit, with the correct samples and all samples of each test group. Then it writes the tables
of the documentation from that file. Without rows it only writes the tables.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evidence_tables import table
from results_csv import with_tables

Row = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
ROWS = FOLDER / "neurontune_rows.csv.gz"
FIELDS = ("part", "data", "seed", "embeddings", "method", "draw", "n_neurons", "n_suppressed")
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
N_DRAWS = 2000


def main() -> None:
    """Pack rows, and write the tables."""
    if len(sys.argv) > 1:
        pack([Path(name) for name in sys.argv[1:]])
    for page, parts in page_tables(read()).items():
        file = FOLDER / page
        file.write_text(with_tables(file.read_text(encoding="utf-8"), parts, MARKER), "utf-8")


def pack(files: Sequence[Path]) -> None:
    """Write the rows of several files, the last of equal ones, in a fixed order."""
    found: dict[tuple[Any, ...], Row] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[tuple(row[name] for name in FIELDS[:6])] = row
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIELDS, "hits", "counts"])
    for _, row in sorted(found.items(), key=lambda item: [str(part) for part in item[0]]):
        numbers = (" ".join(map(str, row[name])) for name in ("hits", "counts"))
        writer.writerow([*(row[name] for name in FIELDS), *numbers])
    with gzip.GzipFile(ROWS, "wb", mtime=0) as file:
        file.write(text.getvalue().encode())


def read() -> list[Row]:
    """The rows of the repository."""
    with gzip.open(ROWS, "rt", encoding="utf-8", newline="") as file:
        rows: list[Row] = [*csv.DictReader(file)]
    for row in rows:
        row |= {name: int(row[name]) for name in ("seed", "draw", "n_neurons", "n_suppressed")}
        row |= {name: [*map(int, row[name].split())] for name in ("hits", "counts")}
    return rows


def worst(row: Row) -> float:
    """Accuracy of the worst group, %."""
    return 100 * min(h / n for h, n in zip(row["hits"], row["counts"], strict=True))


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def average(row: Row) -> float:
    """Mean accuracy of the groups, %."""
    return 100 * float(np.mean([h / n for h, n in zip(row["hits"], row["counts"], strict=True)]))


def of_sets(rows: Sequence[Row], kind: str = "biased") -> list[Row]:
    """Rows of a kind of set on embeddings as they are: biased, harmless or kept aside."""
    some = [row for row in rows if (row["part"], row["embeddings"]) == ("sets", "raw")]
    return [row for row in some if kind_of(row["data"]) == kind]


def kind_of(name: str) -> str:
    """Whether a set is one of those with a shortcut, has none, or was kept aside."""
    if name in BIASED:
        return "biased"
    return "harmless" if name.startswith(HARMLESS) else "aside"


def mean_of(rows: Sequence[Row], method: str, of: Callable[[Row], float]) -> dict[str, float]:
    """Mean over seeds and draws for each set."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(row["data"], []).append(of(row))
    return {name: float(np.mean(values)) for name, values in found.items()}


def drawn(rows: Sequence[Row], rng: np.random.Generator) -> NDArray[np.float64]:
    """Worst groups of a method on a set, if seeds and test samples were drawn again."""
    seeds = sorted({row["seed"] for row in rows})
    by_seed = []
    for seed in seeds:
        some = [row for row in rows if row["seed"] == seed]
        shares = [
            np.min(
                [
                    rng.binomial(n, h / n, N_DRAWS) / n
                    for h, n in zip(row["hits"], row["counts"], strict=True)
                ],
                axis=0,
            )
            for row in some
        ]
        by_seed.append(np.mean(shares, axis=0))
    chosen = rng.integers(len(seeds), size=(len(seeds), N_DRAWS))
    return 100 * np.array(by_seed)[chosen, np.arange(N_DRAWS)].mean(axis=0)


def gain(rows: Sequence[Row], method: str, other: str) -> list[str]:
    """Mean gain over another method with its 95 % interval, and the sets where it is larger."""
    rng, gains, wins = np.random.default_rng(0), [], 0
    before, after = (mean_of(rows, name, worst) for name in (other, method))
    for name in before:
        of = [[r for r in rows if (r["data"], r["method"]) == (name, m)] for m in (method, other)]
        gains.append(drawn(of[0], rng) - drawn(of[1], rng))
        wins += after[name] > before[name]
    low, high = np.percentile(np.mean(gains, axis=0), [2.5, 97.5])
    mean = np.mean([after[name] - before[name] for name in before])
    return [f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]", f"{wins} of {len(before)}"]


def neurons(rows: Sequence[Row]) -> str:
    """Found neurons compared with random ones and none, for each way to retrain."""
    lines = []
    titles = {"sgd": "SGD", "optimum": "optimum, own penalty"}
    others = {"random": "random neurons", "no mask": "no mask"}
    for kind, where in (("biased", "14 sets"), ("aside", "7 sets kept aside")):
        some = of_sets(rows, kind)
        for solver, other in product(titles, others):
            if mean_of(some, f"{solver}, mask", worst):
                cells = gain(some, f"{solver}, mask", f"{solver}, {other}")
                lines.append([titles[solver], others[other], where, *cells])
    head = ["retraining", "found neurons minus", "data", "worst group, points", "sets with a gain"]
    return table(head, lines)


def methods(rows: Sequence[Row]) -> str:
    """Worst group and mean of the groups with a shortcut, and worst class without one."""
    of_kind, sizes = dict[str, list[Row]](), list[int]()
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
            found = [mean_of(some, method, of) for of in (worst, average)]
            means = [f"{np.mean([*each.values()]):.1f}" for each in found if each]
            cells.append(" / ".join(means) or "–")
        lines.append([title, *cells])
    biased, aside, harmless = sizes
    head = ["method", f"{biased} sets", f"{aside} kept aside", f"{harmless} without a shortcut"]
    return table([*head, "Waterbirds, official"], lines)


def settings(rows: Sequence[Row]) -> str:
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


def bill(rows: Sequence[Row]) -> str:
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


def page_tables(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """The tables of each page, by the name in the marker."""
    return {
        "published.md": {"neurons": neurons(rows), "bill": bill(rows)},
        "tables/neurontune_tables.md": {"methods": methods(rows), "settings": settings(rows)},
    }


if __name__ == "__main__":
    main()

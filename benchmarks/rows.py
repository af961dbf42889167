"""The rows file: correct samples and all samples of each test group, of every fit of the pages.

    python benchmarks/rows.py ROWS.jsonl …

packs what :mod:`overview` and :mod:`neurontune` wrote into ``docs/benchmarks/rows.csv.gz``. A row
there that is not in these files stays.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Fit = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
ROWS = FOLDER / "rows.csv.gz"
KEY = ("part", "data", "seed", "embeddings", "method", "draw")
NUMBERS = ("seed", "draw", "n_neurons", "n_suppressed")
LISTS = ("hits", "counts", "shares")
N_DRAWS = 2000


def main() -> None:
    """Pack rows."""
    lines = [line for name in sys.argv[1:] for line in Path(name).read_text("utf-8").splitlines()]
    pack([*read(), *map(json.loads, lines)])


def pack(rows: Sequence[Fit]) -> None:
    """Write rows, the last of equal ones, in a fixed order."""
    found = {tuple(row[name] for name in KEY): row for row in rows}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*KEY, *NUMBERS[2:], *LISTS])
    for _, row in sorted(found.items(), key=lambda item: [str(part) for part in item[0]]):
        numbers = (" ".join(map(str, row.get(name, ()))) for name in LISTS)
        writer.writerow([*(row.get(name, "") for name in (*KEY, *NUMBERS[2:])), *numbers])
    with gzip.GzipFile(ROWS, "wb", mtime=0) as file:
        file.write(text.getvalue().encode())


def read() -> list[Fit]:
    """The rows of the repository; without known training shares these are an empty list."""
    with gzip.open(ROWS, "rt", encoding="utf-8", newline="") as file:
        rows: list[Fit] = [*csv.DictReader(file)]
    for row in rows:
        row |= {name: int(row[name] or 0) for name in NUMBERS}
        row |= {name: [*map(int, row[name].split())] for name in LISTS}
    return rows


def by_group(row: Fit) -> list[float]:
    """Accuracy of each test group, %."""
    return [100 * hit / count for hit, count in zip(row["hits"], row["counts"], strict=True)]


def worst(row: Fit) -> float:
    """Accuracy of the worst group, %."""
    return min(by_group(row))


def average(row: Fit) -> float:
    """Mean accuracy of the groups, by their shares of the training set if these are known, %."""
    return float(np.average(by_group(row), weights=row.get("shares") or None))


def by_set(rows: Iterable[Fit], method: str) -> dict[str, dict[int, list[Fit]]]:
    """Fits of a method by set and seed."""
    found: dict[str, dict[int, list[Fit]]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(row["data"], {}).setdefault(row["seed"], []).append(row)
    return found


def mean_of(seeds: dict[int, list[Fit]], of: Callable[[Fit], float] = worst) -> float:
    """Mean over seeds of the mean over draws."""
    return float(np.mean([np.mean([of(row) for row in rows]) for rows in seeds.values()]))


def again(rows: Sequence[Fit], rng: np.random.Generator) -> NDArray[np.float64]:
    """Worst groups in %, the mean over draws, if the test samples were drawn again."""
    groups = [
        [rng.binomial(n, h / n, N_DRAWS) / n for h, n in zip(r["hits"], r["counts"], strict=True)]
        for r in rows
    ]
    return 100 * np.mean([np.min(each, axis=0) for each in groups], axis=0)


def gain(rows: Sequence[Fit], method: str, other: str) -> tuple[float, float, float, int, int]:
    """Mean gain of the worst group over sets with its 95 % interval, sets with a gain, and sets.

    Both methods have the same seeds of each set. Seeds and test samples are drawn again. Draws of
    the two are independent given the seed, so shared luck with samples widens the interval. Minima
    of what is drawn again are too low, so draws are moved to the gain that was seen.
    """
    rng, gains, moved = np.random.default_rng(0), list[float](), list[NDArray[np.float64]]()
    after, before = by_set(rows, method), by_set(rows, other)
    for name in sorted(after.keys() & before.keys()):
        seeds = sorted(after[name].keys() & before[name].keys())
        pairs = [(after[name][seed], before[name][seed]) for seed in seeds]
        gains.append(float(np.mean([mean_of({0: a}) - mean_of({0: b}) for a, b in pairs])))
        drawn = np.array([again(a, rng) - again(b, rng) for a, b in pairs])
        chosen = rng.integers(len(seeds), size=(len(seeds), N_DRAWS))
        moved.append(drawn[chosen, np.arange(N_DRAWS)].mean(axis=0) - drawn.mean() + gains[-1])
    low, high = np.percentile(np.mean(moved, axis=0), [2.5, 97.5])
    return float(np.mean(gains)), float(low), float(high), sum(g > 0 for g in gains), len(gains)


def shown_gain(rows: Sequence[Fit], method: str, other: str) -> list[str]:
    """Gain with its interval, and sets with a gain."""
    mean, low, high, wins, n = gain(rows, method, other)
    return [f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]", f"{wins} of {n}"]


if __name__ == "__main__":
    main()

"""Labels of a few dozen samples, on problems that stayed apart while the rules were chosen.

    OPENBLAS_NUM_THREADS=1 python benchmarks/apart.py DATA_DIR RESULTS.jsonl --half choose
        [--seeds 0 1 2] [--data NAME …] [--markdown FILE]

The problems are those of :mod:`data_apart`. Rules of ``ntkit label`` were chosen on one half of
them, CHOOSE; on the other, ASIDE, they were run once, when they were final. The person, the asking
and the heads are those of ``answers.py``, in batches of 24. Each problem and seed is one line of
RESULTS, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from answers import BALANCED, DFR_ALL, WRONG, asked, followed, worst
from answers_data import Pool
from answers_tables import table
from data_apart import ASIDE, CHOOSE, PROBLEMS
from evidence_tables import mean_std
from ntkit.estimators import DFRClassifier
from ntkit.jobs.label import margins_of

STEPS = tuple(range(24, 193, 24))
COUNTS = (24, 48, 96, 192)
AT_DEFAULTS = "DFR at its defaults, all groups †"
HALVES = {"choose": CHOOSE, "aside": ASIDE}
Result = dict[str, Any]


def run(pool: Pool, seed: int) -> Result:
    """Worst-group accuracy of every row, and what the inference says of itself."""
    warnings.simplefilter("ignore")
    groups = 2 * pool.y + pool.a
    found: Result = {"groups": np.bincount(groups, minlength=4).tolist()}
    tuned = DFRClassifier(variant="weighted", C=None, random_state=seed)
    heads = {DFR_ALL: (tuned, groups), BALANCED: (tuned, pool.y)}
    heads[AT_DEFAULTS] = DFRClassifier(random_state=seed), groups
    for label, (head, known) in heads.items():
        found[label] = worst(pool, head.fit(pool.Z, pool.y, groups=known))
    margins = margins_of(pool.Z, pool.y, random_state=seed)

    def curve(wrong: float, steps: Sequence[int]) -> Result:
        mistaken = np.random.default_rng([seed, 0]).random(len(pool.y)) < wrong
        said = np.where(mistaken, 1 - pool.a, pool.a)
        asking = asked(pool, pool.feature_sets, margins, seed, said, steps=steps)
        return {str(n): cell for n, cell in followed(pool, asking, seed, counts=steps).items()}

    found["0%"] = curve(0.0, STEPS)
    return found | {f"{wrong:.0%}": curve(wrong, STEPS[:4]) for wrong in WRONG}


def ended(curve: Result) -> tuple[int, Result]:
    """Number of labels at which ``ntkit label`` says that there are enough, and the cell."""
    steps = sorted((int(n), cell) for n, cell in curve.items())
    return next((step for step in steps if step[1]["enough"]), steps[-1])


def of_labels(share: str, n: int | None) -> Callable[[Result], float]:
    """Worst group of a run with so many labels (None: when asking ends), a share of them wrong."""
    return lambda r: (ended(r[share])[1] if n is None else r[share][str(n)])["worst"]


ROWS: dict[str, Callable[[Result], float]] = {
    BALANCED: lambda r: r[BALANCED],
    **{f"{n} labels": of_labels("0%", n) for n in COUNTS},
    "when asking ends": of_labels("0%", None),
    **{f"{n} labels, {w[:-1]} % wrong": of_labels(w, n) for n in (48, 96) for w in ("5%", "10%")},
    AT_DEFAULTS: lambda r: r[AT_DEFAULTS],
}


def tables(known: Sequence[Result]) -> str:
    """Points below DFR: overall, and by problem."""
    names = sorted({r["problem"] for r in known})
    runs = {name: [r for r in known if r["problem"] == name] for name in names}
    gaps = {
        row: {name: [r[DFR_ALL] - value(r) for r in runs[name]] for name in names}
        for row, value in ROWS.items()
    }
    overall = []
    for row, by_name in gaps.items():
        means = [float(np.mean(each)) for each in by_name.values()]
        highest = max(max(each) for each in by_name.values())
        overall.append([row, f"{np.mean(means):.1f}", f"{max(means):.1f}", f"{highest:.1f}"])
    short = [BALANCED, *(f"{n} labels" for n in COUNTS), "when asking ends"]
    mistaken = [row for row in ROWS if "wrong" in row]
    lines, of_wrong = [], []
    for name in names:
        cells = {row: mean_std([value(r) for r in runs[name]]) for row, value in ROWS.items()}
        at = np.median([ended(r["0%"])[0] for r in runs[name]])
        last = [f"{at:.0f}", mean_std([r[DFR_ALL] for r in runs[name]]), cells[AT_DEFAULTS]]
        lines.append([name, *map(cells.get, short), *last])
        of_wrong.append([name, *map(cells.get, mistaken)])
    seeds = sorted({r["seed"] for r in known})
    return "\n".join(
        [
            f"{len(names)} problems, {len(known)} runs, seeds {', '.join(map(str, seeds))}.",
            "",
            "### Points of worst-group accuracy below DFR with all groups",
            "",
            table(["", "mean", "worst problem", "worst run"], overall),
            "",
            "### By problem: worst-group accuracy in %, mean ± standard deviation",
            "",
            table(["", *short, "labels then, median", "DFR †", "DFR at its defaults †"], lines),
            "",
            "### Wrong labels by problem",
            "",
            table(["", *mistaken], of_wrong),
            "",
        ]
    )


def main() -> None:
    """Run what is missing, and write the tables of one half."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--half", choices=HALVES, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", nargs="+", choices=sorted(PROBLEMS), help="only these")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(r["problem"], r["seed"]) for r in known}
    names = [n for n in HALVES[arguments.half] if n in (arguments.data or PROBLEMS)]
    for seed, name in product(arguments.seeds, names):
        if (name, seed) in done:
            continue
        found = run(PROBLEMS[name](arguments.data_dir, seed), seed)
        known.append({"problem": name, "seed": seed} | found)
        with results.open("a") as file:
            file.write(json.dumps(known[-1]) + "\n")
        print(f"{name}, seed {seed}", flush=True)
    if arguments.markdown:
        of_half = [r for r in known if r["problem"] in HALVES[arguments.half]]
        arguments.markdown.write_text(tables(of_half), encoding="utf-8")


if __name__ == "__main__":
    main()

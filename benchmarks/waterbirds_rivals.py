"""Every method tuned alike, on the real Waterbirds with a frozen network.

    python benchmarks/data_waterbirds.py WATERBIRDS_DIR BACKBONE.onnx CACHE_DIR
    OPENBLAS_NUM_THREADS=1 python benchmarks/waterbirds_rivals.py CACHE_DIR RESULTS.jsonl
        [--methods …] [--seeds 0 1 2] [--markdown FILE]

A seed halves the validation split, stratified by class. One half is the validation set that a
method gets with the training split; the other half chooses among 24 configurations of it, all
methods alike, by one of three rules: the accuracy of the worst class, that of the worst class ×
correctness group (both without group labels), or that of the worst group, as the papers choose.
Embeddings are standardised on the training split. The test split serves the results alone. Each
method and seed is one line of RESULTS, with all configurations, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_waterbirds import read
from evidence_tables import mean_std, table
from ntkit.study import Rows
from tuned_alike import RULES, chosen, halved, original_head, rows_of, run
from tuned_methods import METHODS, Task
from waterbirds import samples

Array = NDArray[Any]
Findings = dict[str, Any]
AVERAGES = {"average": "average", "adjusted": "average by training shares"}


def standardized(cache: Path) -> dict[str, Rows]:
    """The splits, with the means and deviations of the training split."""
    splits = {name: samples(read(cache, name)) for name in ("train", "val", "test")}
    train = splits["train"].X
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    return {
        name: replace(part, Z=((part.X - mean) / std).astype(np.float32))
        for name, part in splits.items()
    }


# -- the tables ---------------------------------------------------------------------------------


def shown() -> list[tuple[str, str, str | None]]:
    """Rows of the table: name, method, and the rows its configurations are restricted to."""
    found: list[tuple[str, str, str | None]] = []
    for method, (name, _) in METHODS.items():
        found.append((name, method, None))
        if method in ("balanced", "masked", "random"):
            found.append((name.replace("rows tuned", "training split"), method, "train"))
    return found


def restricted(found: Findings, rows: str | None) -> Findings:
    """The same run, of configurations on these rows only."""
    if rows is None:
        return found
    return found | {"tried": [each for each in found["tried"] if each["given"]["rows"] == rows]}


def tables(results: Sequence[Findings]) -> str:
    """Worst group by method and rule, and what was chosen."""
    figures, choices = [], []
    for name, method, rows in shown():
        runs = [restricted(r, rows) for r in results if r["method"] == method]
        runs = sorted(runs, key=lambda run: run["seed"])
        if not runs:
            continue
        by_rule = {rule: [chosen(run, rule) for run in runs] for rule in RULES}
        tests = {rule: [each["test"] for each in by_rule[rule]] for rule in RULES}
        figures.append(
            [
                name,
                str(len(runs[0]["tried"])),
                *(mean_std([test["worst"] for test in tests[rule]]) for rule in RULES),
                *(mean_std([test[key] for test in tests["class"]]) for key in AVERAGES),
            ]
        )
        for rule in ("class", "group"):
            picked = "; ".join(described(each["given"]) for each in by_rule[rule])
            choices.append([name, RULES[rule], picked])
    seeds = ", ".join(str(seed) for seed in sorted({r["seed"] for r in results}))
    header = [f"worst group, chosen by {rule}" for rule in RULES.values()]
    header += [f"{name}, by worst class" for name in AVERAGES.values()]
    return (
        f"{table(['', 'tried', *header], figures)}\n\nSeeds {seeds}.\n\n"
        f"### What was chosen\n\n{table(['', 'by', 'in each run'], choices)}\n"
    )


def described(given: Findings) -> str:
    """A configuration in words."""
    return ", ".join(f"{key} {value}" for key, value in given.items()) or "–"


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results = arguments.results
    lines = results.read_text().splitlines() if results.exists() else []
    known = {(found["method"], found["seed"]): found for found in map(json.loads, lines)}
    methods = dict.fromkeys(["erm", *arguments.methods])  # the others need its head
    wanted = [(method, seed) for method in methods for seed in arguments.seeds]
    missing = [key for key in wanted if key not in known]
    splits = standardized(arguments.cache) if missing else {}
    train = rows_of(splits["train"]) if missing else None
    tasks: dict[int, tuple[Task, Rows]] = {}
    for method, seed in missing:
        if seed not in tasks:
            tasks[seed] = halved(splits["train"], train, splits["val"], seed)
        task, half = tasks[seed]
        if method != "erm" and task.head is None:
            task = replace(task, head=original_head(task, known["erm", seed]))
            tasks[seed] = task, half
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = run(method, task, half, splits["test"])
        print(f"{method}, seed {seed}: {found['s']:.0f} s", flush=True)
        line = json.dumps(found, default=float)
        with results.open("a") as file:
            file.write(line + "\n")
        known[method, seed] = json.loads(line)
    if arguments.markdown:
        arguments.markdown.write_text(tables(list(known.values())), encoding="utf-8")


if __name__ == "__main__":
    main()

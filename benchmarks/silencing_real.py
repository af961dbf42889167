"""Whether the statistics of ``silencing.py`` tell on real embeddings where a mask adds something.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/silencing_real.py DATA_DIR RESULTS.jsonl
        [--draws 0 1 2] [--data NAME …] [--markdown FILE]

The problems are those of ``overview.py``, the steps those of ``silencing.py``: the published rule's
mask above half a standard deviation, found on the validation set by the errors of an ERM head,
before class-balanced retraining on the training set. The worst class of the validation set chooses
its penalty, and that of retraining without it. Random masks are drawn of the neurons that vary. A
mask of 95 % of these or more says nothing, and is not counted. The lines beyond which a statistic
speaks for a mask were drawn on injected problems. Each problem and draw is one line of RESULTS, and
is not run again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from evidence_tables import mean_std, table
from ntkit.jobs.debias._comparison import Comparison
from overview_data import Problem, kind_of, problems
from silencing import Sample, equal_mass, flagged, path, random_masks, seen, tuned, worst
from silencing_tables import gain, told

Findings = dict[str, Any]
MASK = "flagged above 0.5 sd"
MOST = 0.95
"""Of the non-constant neurons: a larger mask is not counted."""


def run(problem: Problem, seed: int) -> Findings:
    """Worst groups without and with the mask, with random ones, and the statistics."""
    plain = Comparison(problem.train, problem.validation, problem.test, head=None, seed=seed)
    train, validation, test = (
        Sample(np.asarray(part.X, dtype=np.float64), part.y, part.groups % 2)
        for part in (plain.train, plain.validation, plain.test)
    )
    live = train.X.std(axis=0) > 0
    erm = path(train.rows, np.ones(len(train.y)))
    original = erm[tuned(erm, validation)]
    mask = flagged(original, train, validation, 0.5)
    masks = {"no mask": np.zeros(len(mask), dtype=bool), MASK: mask}
    masks |= {f"random {i}": m for i, m in enumerate(random_masks(int(mask.sum()), seed, live))}
    found = {"ERM": worst(original, test, test.groups)}
    for name, each in masks.items():
        heads = path(train.rows, equal_mass(train.y), 1.0 - each)
        found[name] = worst(heads[tuned(heads, validation)], test, test.groups)
    held = path(validation.rows, equal_mass(validation.y))
    chosen = held[tuned(held, validation)]
    found["class-balanced, validation set"] = worst(chosen, test, test.groups)
    return {
        "worst": found,
        "random": float(np.mean([v for name, v in found.items() if name.startswith("random")])),
        "size": int(mask.sum()),
        "live": int(live.sum()),
        "seen": seen(original, train, validation, seed, live),
    }


def tables(results: Sequence[Findings]) -> str:
    """The statistics next to the gain, by data set; and how far they tell it."""
    lines = []
    for name in sorted({r["data"] for r in results}, key=lambda n: (kind_of(n), n)):
        runs = [r for r in results if r["data"] == name]
        lines.append(
            [
                name,
                str(len(runs)),
                mean_std([r["worst"]["no mask"] for r in runs]),
                mean_std([gain(r) for r in runs]),
                mean_std([r["random"] - r["worst"]["no mask"] for r in runs]),
                *(mean_std([r["seen"][key] for r in runs]) for key in ("specificity",)),
                *(mean_std([r["seen"][key] for r in runs], 2) for key in ("agreement", "AUC")),
                f"{np.mean([r['size'] for r in runs]):.0f} of {runs[0]['live']}",
            ]
        )
    header = ["", "draws", "class-balanced", "gain", "of random masks", "specificity", "agreement"]
    counted = [r for r in results if r["size"] < MOST * r["live"]]
    parts = [table([*header, "AUC", "flagged"], lines), "", told(counted)]
    for title, kinds in (("With a shortcut", ("injected", "natural")), ("Without one", ("none",))):
        some = [r for r in counted if kind_of(r["data"]) in kinds]
        parts += ["", f"{title}:", "", told(some)] if some else []
    return "\n".join(parts) + "\n"


def main() -> None:
    """Run what is missing, and write the tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", help="some data sets only")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results, ways = arguments.results, problems(None, [])
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(found["data"], found["draw"]) for found in known}
    for draw, name in product(arguments.draws, arguments.data or ways):
        if (name, draw) in done:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = run(ways[name](arguments.data_dir, draw), draw)
        found |= {"data": name, "draw": draw}
        print(f"{name}, draw {draw}", flush=True)
        with results.open("a") as file:
            file.write(json.dumps(found) + "\n")
        known.append(found)
    if arguments.markdown:
        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()

"""When does asking end, and what is lost by it? Steps are recorded once, rules compared on them.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/stopping.py DATA_DIR RESULTS.jsonl [--seeds 5 6 7]
        [--data NAME …] [--batch 48 12] [--alone] [--waterbirds CACHE] [--markdown FILE]

The pool and the asking are those of ``answers.py``; the first batches are of 48 (as ``ntkit label``
asks) or of 12 answers. Of each step are kept: the worst group of the head retrained on the groups,
the purity that the inference expects, and the overlap of :func:`ntkit.jobs.label.progress`. The
table compares rules by what asking on to 192 answers would have gained, and how many are asked.
Draws beyond the fifth are built by ``bench_data.py --seeds 8``. Each data set, draw and batch is
one line of RESULTS, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import answers
from answers_data import Pool, pool_of
from ntkit.estimators import GroupInference
from ntkit.jobs.label import feature_sets_of, margins_of, next_questions, progress
from splits import CHECKS, DATA

STEPS = {48: (48, 96, 144, 192), 12: (12, 24, 36, 48, 72, 96, 144, 192)}
FEWEST, MOST = 36, 192
SET_ON = 5
WATERBIRDS = "Waterbirds"
Step = dict[str, Any]
RULES: dict[str, Callable[[Step], bool]] = {
    "purity of 90 %, at most 96": lambda s: s["purity"] >= 0.9 or s["n"] >= 96,
    **{
        f"overlap of {100 * share:.0f} %": lambda s, share=share: s["overlap"] >= share
        for share in (0.5, 0.6, 0.7, 0.8)
    },
    "always 192": lambda s: False,
}


def waterbirds(cache: Path) -> Pool:
    """The official training split, and the test split."""
    from data_waterbirds import read

    train, test = (read(cache, split) for split in ("train", "test"))
    feature_sets = feature_sets_of(train.X, train.layers)
    return Pool(train.X, train.y, train.place, feature_sets, test.X, test.y, test.groups)


def steps_of(pool: Pool, batch: int, seed: int) -> list[Step]:
    """What is known after each batch, and what retraining makes of it."""
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    said, earlier, found = np.full(len(pool.y), -1), list[GroupInference](), list[Step]()
    for n in STEPS[batch]:
        index = next_questions(
            pool.y,
            said,
            margins=margins,
            inference=earlier[-1] if earlier else None,
            n=n - int((said >= 0).sum()),
            random_state=seed,
        )
        said[index] = pool.a[index]
        inference = GroupInference(random_state=seed).fit(pool.feature_sets, pool.y, said)
        state = progress(pool.y, inference, earlier)
        earlier.append(inference)
        if n >= FEWEST:
            worst = answers.worst(pool, answers.retrained(pool, inference, seed))
            overlap = float(np.nan_to_num(state.overlap))
            found.append({"n": n, "worst": worst, "purity": state.purity, "overlap": overlap})
    return found


def ended(steps: Sequence[Step], rule: Callable[[Step], bool]) -> Step:
    """The step at which a rule ends the asking."""
    return next(step for step in steps if rule(step) or step["n"] >= MOST)


def tables(known: Sequence[dict[str, Any]]) -> str:
    """Rules side by side, by the size of batches, then the runs."""
    lines = list[str]()
    kinds: dict[str, Callable[[dict[str, Any]], bool]] = {
        f"Seeds up to {SET_ON}, used to set the rule": lambda r: r["seed"] <= SET_ON,
        f"Seeds from {SET_ON + 1} on, new to the rule": lambda r: r["seed"] > SET_ON,
    }
    of_birds = {"Waterbirds, new to the rule": lambda r: r["data"] == WATERBIRDS}
    others = [r for r in known if r["data"] != WATERBIRDS]
    for (kind, own), batch in product([*kinds.items(), *of_birds.items()], STEPS):
        runs = [r for r in (known if kind in of_birds else others) if own(r)]
        runs = [r for r in runs if r["batch"] == batch]
        if runs:
            lines += [f"### {kind}; batches of {batch}, {len(runs)} runs", ""]
            lines += ["| asking ends at | lost, mean / worst | labels, median / mean |"]
            lines += ["| --- | ---: | ---: |", *(row(name, runs) for name in RULES), ""]
    lines += ["### The runs: worst group in % (overlap) after so many labels", ""]
    lines += ["| data, seed, batch | 48 | 96 | 144 | 192 |", "| --- | ---: | ---: | ---: | ---: |"]
    for r in sorted(known, key=lambda r: (r["data"], r["batch"], r["seed"])):
        by_n = {step["n"]: step for step in r["steps"]}
        cells = [f"{by_n[n]['worst']:.1f} ({by_n[n]['overlap']:.2f})" for n in STEPS[48]]
        cells = [cell.replace("(0.00)", "(–)") for cell in cells]  # nothing to compare with
        lines += [f"| {r['data']}, {r['seed']}, {r['batch']} | {' | '.join(cells)} |"]
    return "\n".join(lines) + "\n"


def row(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """A rule on some runs."""
    ends = [ended(r["steps"], RULES[name]) for r in runs]
    lost = [r["steps"][-1]["worst"] - end["worst"] for r, end in zip(runs, ends, strict=True)]
    n = [end["n"] for end in ends]
    asked = f"{np.median(n):.0f} / {np.mean(n):.0f}"
    return f"| {name} | {np.mean(lost):.1f} / {max(lost):.1f} | {asked} |"


def main() -> None:
    """Record what is missing, and write the tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6, 7])
    parser.add_argument("--data", nargs="*", choices=[*DATA, *CHECKS], default=[*DATA, *CHECKS])
    parser.add_argument("--batch", type=int, nargs="+", choices=STEPS, default=[48])
    parser.add_argument("--alone", action="store_true", help="read from the embedding alone")
    parser.add_argument("--waterbirds", type=Path, help="what data_waterbirds.py wrote")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(r["data"], r["seed"], r["batch"]) for r in known}
    wanted = [*arguments.data, *([WATERBIRDS] if arguments.waterbirds else [])]
    for seed, name, batch in product(arguments.seeds, wanted, arguments.batch):
        label = f"{name}, embedding alone" if arguments.alone else name
        if (label, seed, batch) in done:
            continue
        own = name == WATERBIRDS
        pool = waterbirds(arguments.waterbirds) if own else pool_of(name, arguments.data_dir, seed)
        if arguments.alone:
            pool = replace(pool, feature_sets={"embedding": pool.feature_sets["embedding"]})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = steps_of(pool, batch, seed)
        known.append({"data": label, "seed": seed, "batch": batch, "steps": steps})
        with results.open("a") as file:
            file.write(json.dumps(known[-1]) + "\n")
        print(label, seed, batch, [round(step["worst"], 1) for step in steps], flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()

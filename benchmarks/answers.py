"""How many answers does it take? Worst group against answers, by what is asked and what is done.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/answers.py DATA_DIR RESULTS.jsonl [--seeds 0 1 2]
        [--data NAME …] [--rivals] [--markdown FILE] [--plot FILE.svg]

Setting 2 of the evidence: the training set and a held-out set that is distributed like it are the
pool; no group label is seen but the answers. A simulated person tells the attribute of the samples
that :func:`ntkit.questions.next_questions` asks about, exactly, or wrongly in 5 or 10 % of the
cases. ``GroupInference`` reads it from the embedding or from raw inputs, whichever reads it best,
and ``DFRClassifier`` retrains on the groups. ``--rivals`` adds SSA and GSR on the same answers.
Each data set and seed is one line of RESULTS, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from answers_data import Pool, pool_of
from gsr import gsr
from ntkit.estimators import DFRClassifier, GroupInference
from ntkit.metrics import worst_group_accuracy
from ntkit.questions import margins_of, next_questions, progress
from splits import CHECKS, DATA
from ssa import ssa

Array = NDArray[Any]
COUNTS = (12, 24, 48, 96, 192)
STEPS = (12, 24, 36, 48, 72, 96, 144, 192)
"""Answers at which the next samples are chosen."""
WRONG = {"asked": 0.0, "asked, 5 % wrong": 0.05, "asked, 10 % wrong": 0.1}
"""Row to the share of answers that are wrong."""
DFR_ALL, BALANCED = "DFR, all groups †", "class-balanced"


def run(folder: Path, name: str, seed: int, *, rivals: bool) -> dict[str, Any]:
    """All rows of a data set and seed: name to worst-group accuracy by number of answers."""
    start = time.perf_counter()
    pool = pool_of(name, folder, seed)
    groups = 2 * pool.y + pool.a
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    found: dict[str, Any] = {"data": name, "seed": seed, "groups": np.bincount(groups).tolist()}
    if not rivals:
        for label, given in ((DFR_ALL, groups), (BALANCED, pool.y)):
            head = DFRClassifier(variant="weighted", C=None, random_state=seed)
            found[label] = worst(pool, head.fit(pool.Z, pool.y, groups=given))
        for label, wrong in (
            ("asked", 0.0),
            ("asked, 5 % wrong", 0.05),
            ("asked, 10 % wrong", 0.1),
        ):
            asking = asked(pool, pool.views, margins, seed, wrong=wrong)
            found[label] = followed(pool, pool.views, asking, seed)
        if len(pool.views) > 1:
            own = {"embedding": pool.views["embedding"]}
            found["asked, embedding alone"] = followed(
                pool, own, asked(pool, own, margins, seed, wrong=0.0), seed
            )
        order = np.random.default_rng(seed).permutation(len(pool.y))
        drawn = [(n, answers_to(pool, order[:n], pool.a)) for n in COUNTS]
        found["random"] = followed(pool, pool.views, drawn, seed)
        found["DFR, random labels"] = alone(pool, drawn, seed)
    else:
        for n, answers in asked(pool, pool.views, margins, seed, wrong=0.0):
            if n in COUNTS:
                found.setdefault("SSA", {})[n], found.setdefault("GSR", {})[n] = both(
                    pool, answers, seed
                )
    return found | {"seconds": time.perf_counter() - start}


def asked(
    pool: Pool,
    views: dict[str, Any],
    margins: Array,
    seed: int,
    *,
    wrong: float,
    most: int = COUNTS[-1],
) -> Iterator[tuple[int, Array]]:
    """Answers so far, each time more were given."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(pool.y)) < wrong, 1 - pool.a, pool.a)
    answers, inference = np.full(len(pool.y), -1), None
    for n in STEPS:
        index = next_questions(
            pool.y,
            answers,
            margins=margins,
            inference=inference,
            n=n - int((answers >= 0).sum()),
            random_state=seed,
        )
        answers = answers.copy()
        answers[index] = said[index]
        yield n, answers
        if n == most:
            return
        inference = GroupInference(random_state=seed).fit(views, pool.y, answers)


def answers_to(pool: Pool, index: Array, said: Array) -> Array:
    """The attribute where somebody was asked, else -1."""
    answers = np.full(len(pool.y), -1)
    answers[index] = said[index]
    return answers


def followed(pool: Pool, views: dict[str, Any], answers: Any, seed: int) -> dict[int, Any]:
    """What retraining makes of so many answers, and what the inference says of itself."""
    found = {}
    for n, given in answers:
        if n not in COUNTS:
            continue
        inference = GroupInference(random_state=seed).fit(views, pool.y, given)
        state = progress(pool.y, inference)
        head = DFRClassifier(variant="weighted", C=None, random_state=seed)
        head.fit(pool.Z, pool.y, attribute=given, views=views)
        found[n] = {
            "worst": worst(pool, head),
            "view": inference.view_,
            "purity": state.purity,
            "enough": state.enough,
            "right": float(np.mean(inference.transduction_ == pool.a)),
        }
    return found


def alone(pool: Pool, answers: Any, seed: int) -> dict[int, float]:
    """Retraining on the samples whose group is known, and on no others."""
    found = {}
    for n, given in answers:
        rows = np.flatnonzero(given >= 0)
        if len(np.unique(pool.y[rows])) == 2:
            head = DFRClassifier(variant="weighted", C=None, random_state=seed)
            head.fit(pool.Z[rows], pool.y[rows], attribute=given[rows])
            found[n] = {"worst": worst(pool, head)}
    return found


def both(pool: Pool, answers: Array, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """SSA (of the view that our inference chose) and GSR."""
    inference = GroupInference(random_state=seed).fit(pool.views, pool.y, answers)
    view = pool.views[inference.view_ or "embedding"]
    known = answers >= 0
    attribute = np.maximum(answers, 0)
    heads = (
        ssa(pool.Z, pool.y, known, attribute, view, seed),
        gsr(pool.Z, pool.y, known, 2 * pool.y + attribute, seed),
    )
    first, second = ({"worst": worst(pool, head)} for head in heads)
    return first, second


def worst(pool: Pool, head: Any) -> float:
    """Worst-group accuracy on the test set, in percent."""
    pred = head.predict(pool.Z_test)
    return 100 * worst_group_accuracy(pool.y_test, pred, groups=pool.groups_test)


def main() -> None:
    """Run what is missing, and write tables and picture of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", choices=[*DATA, *CHECKS], default=[*DATA, *CHECKS])
    parser.add_argument("--rivals", action="store_true", help="SSA and GSR on the same answers")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--plot", type=Path, help="draw the curves here (needs matplotlib)")
    arguments = parser.parse_args()
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(r["data"], r["seed"], "SSA" in r) for r in known}
    for seed in arguments.seeds:
        for name in arguments.data:
            if (name, seed, arguments.rivals) in done:
                continue
            found = run(arguments.data_dir, name, seed, rivals=arguments.rivals)
            print(f"{name}, seed {seed}: {found['seconds']:.0f} s", flush=True)
            with results.open("a") as file:
                file.write(json.dumps(found) + "\n")
            known.append(json.loads(json.dumps(found)))
    if arguments.markdown or arguments.plot:
        from answers_tables import plot, tables

        if arguments.markdown:
            arguments.markdown.write_text(tables(known), encoding="utf-8")
        if arguments.plot:
            plot(known, arguments.plot)


if __name__ == "__main__":
    main()

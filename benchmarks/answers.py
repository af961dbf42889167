"""How many answers does it take? Worst group against answers, by what is asked and what is done.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/answers.py DATA_DIR RESULTS.jsonl [--seeds 0 1 2]
        [--data NAME …] [--only curves|wrong|rivals] [--markdown FILE] [--plot FILE.svg]

Setting 2 of the evidence: the training set and a validation set that is distributed like it are the
pool; no group label is seen but the answers. A simulated person tells the attribute of the samples
that :func:`ntkit.jobs.label.next_questions` asks about, exactly, or wrongly in 5 or 10 % of the
cases. ``GroupInference`` reads it from the embedding or from raw inputs, whichever reads it best,
and ``DFRClassifier`` retrains on the groups. ``--rivals`` adds SSA and GSR on the same answers.
Each data set and seed is one line of RESULTS, and is not run again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from answers_data import Pool, pool_of
from gsr import gsr
from ntkit.attributes import Attribute
from ntkit.estimators import DFRClassifier, GroupInference, with_rest
from ntkit.jobs.label import margins_of, next_questions, progress
from ntkit.metrics import worst_group_accuracy
from runner import command_line, record, recorded
from splits import CHECKS, DATA
from ssa import ssa

Array = NDArray[Any]
COUNTS = (12, 24, 48, 96, 192)
STEPS = (12, 24, 36, 48, 72, 96, 144, 192)
"""Answers at which the next samples are chosen."""
WRONG = (0.05, 0.1)
"""Shares of the answers that are wrong."""
PEOPLE = 5
"""How often is drawn anew which answers are wrong."""
PARTS = ("curves", "wrong", "rivals")
DFR_ALL, BALANCED = "DFR, all groups †", "class-balanced"


def run(folder: Path, name: str, seed: int, part: str) -> dict[str, Any]:
    """One part of a data set and seed: rows to worst-group accuracy by number of answers."""
    start = time.perf_counter()
    pool = pool_of(name, folder, seed)
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    rows = {"curves": curves, "wrong": with_wrong_answers, "rivals": with_rivals}[part]
    found = {"data": name, "seed": seed, "part": part} | rows(pool, margins, seed)
    return found | {"seconds": time.perf_counter() - start}


def curves(pool: Pool, margins: Array, seed: int) -> dict[str, Any]:
    """Right answers, to samples that are asked about or drawn at random."""
    groups = 2 * pool.y + pool.a
    found: dict[str, Any] = {"groups": np.bincount(groups).tolist()}
    for label, given in ((DFR_ALL, groups), (BALANCED, pool.y)):
        head = DFRClassifier(variant="weighted", C=None, random_state=seed)
        found[label] = worst(pool, head.fit(pool.Z, pool.y, groups=given))
    found["asked"] = followed(pool, asked(pool, pool.feature_sets, margins, seed, pool.a), seed)
    if len(pool.feature_sets) > 1:
        own = {"embedding": pool.feature_sets["embedding"]}
        found["asked, embedding alone"] = followed(
            pool, asked(pool, own, margins, seed, pool.a), seed
        )
    order = np.random.default_rng(seed).permutation(len(pool.y))
    drawn = [answers_to(pool, order[:n], pool.a) for n in COUNTS]
    found["random"] = followed(
        pool,
        (
            (given, GroupInference(random_state=seed).fit(pool.feature_sets, pool.y, given))
            for given in drawn
        ),
        seed,
    )
    found["DFR, random labels"] = alone(pool, drawn, seed)
    return found


def with_wrong_answers(pool: Pool, margins: Array, seed: int) -> dict[str, Any]:
    """Of every person, as of one who is always right."""
    found: dict[str, Any] = {}
    for wrong, person in [(0.0, 0), *((w, i) for w in WRONG for i in range(PEOPLE))]:
        drawn = np.random.default_rng([seed, person]).random(len(pool.y))
        said = np.where(drawn < wrong, 1 - pool.a, pool.a)
        asking = asked(pool, pool.feature_sets, margins, seed, said, steps=STEPS[:6])
        found.setdefault(f"{wrong:.0%} wrong", []).append(
            followed(pool, asking, seed, counts=(24, 48, 96))
        )
    return found


def with_rivals(pool: Pool, margins: Array, seed: int) -> dict[str, Any]:
    """SSA (of the view that our inference chose) and GSR on the same answers."""
    found: dict[str, Any] = {"SSA": {}, "GSR": {}}
    for answers, inference in asked(pool, pool.feature_sets, margins, seed, pool.a):
        n = inference.n_known_
        if n not in COUNTS:
            continue
        for label, head in rivals(pool, answers, inference, seed).items():
            found[label][n] = {"worst": worst(pool, head)}
    return found


def rivals(pool: Pool, answers: Array, inference: GroupInference, seed: int) -> dict[str, Any]:
    """Heads of SSA and GSR on some answers."""
    feature_set = pool.feature_sets[inference.feature_set_ or "embedding"]
    known, attribute = answers >= 0, np.maximum(answers, 0)
    return {
        "SSA": ssa(pool.Z, pool.y, known, attribute, feature_set, seed),
        "GSR": gsr(pool.Z, pool.y, known, 2 * pool.y + attribute, seed),
    }


def asked(
    pool: Pool,
    feature_sets: dict[str, Any],
    margins: Array,
    seed: int,
    said: Array,
    *,
    steps: Sequence[int] = STEPS,
) -> Iterator[tuple[Array, GroupInference]]:
    """Answers so far, each time more were given, and what they tell."""
    answers, inference = np.full(len(pool.y), -1), None
    for n in steps:
        index = next_questions(
            pool.y,
            named(answers),
            margins=margins,
            inference=inference,
            n=n - int((answers >= 0).sum()),
            random_state=seed,
        )
        answers = answers.copy()
        answers[index] = said[index]
        inference = GroupInference(random_state=seed).fit(feature_sets, pool.y, named(answers))
        yield answers, inference


def named(answers: Array) -> Array:
    """The same with None if unknown: -1 next to 1 alone could be a label."""
    return np.where(answers >= 0, answers, None)


def answers_to(pool: Pool, index: Array, said: Array) -> Array:
    """The attribute where somebody was asked, else -1."""
    answers = np.full(len(pool.y), -1)
    answers[index] = said[index]
    return answers


def followed(
    pool: Pool,
    answers: Iterable[tuple[Array, GroupInference]],
    seed: int,
    *,
    counts: Sequence[int] = COUNTS,
) -> dict[int, Any]:
    """What retraining makes of so many answers, and what the inference says of itself."""
    found, earlier = {}, list[GroupInference]()
    for _, inference in answers:
        earlier.append(inference)
        if inference.n_known_ not in counts:
            continue
        state = progress(pool.y, inference, earlier)
        found[inference.n_known_] = {
            "worst": worst(pool, retrained(pool, inference, seed)),
            "feature_set": inference.feature_set_,
            "purity": state.purity,
            "overlap": state.overlap,
            "enough": state.enough,
            "right": float(np.mean(inference.transduction_ == pool.a)),
        }
    return found


def retrained(pool: Pool, inference: GroupInference, seed: int) -> DFRClassifier:
    """``DFRClassifier.fit(attribute=, feature_sets=)`` without inferring a second time."""
    head = DFRClassifier(variant="weighted", C=None, random_state=seed)
    q, weight = inference.label_distributions_, inference.weights_
    value = np.where(weight > 0, q.argmax(axis=1), -1)
    groups = Attribute("attribute", value, tuple(inference.classes_.tolist())).crossed(pool.y)
    if inference.feature_set_ is None:
        groups, _ = with_rest(groups, pool.y, 2 * len(inference.classes_))
        weight = np.ones(len(pool.y))
    return head.fit(pool.Z, pool.y, sample_weight=weight, groups=groups.value)


def alone(pool: Pool, answers: Sequence[Array], seed: int) -> dict[int, Any]:
    """Retraining on the samples whose group is known, and on no others."""
    found = {}
    for given in answers:
        rows = np.flatnonzero(given >= 0)
        if len(np.unique(pool.y[rows])) == 2:
            head = DFRClassifier(variant="weighted", C=None, random_state=seed)
            head.fit(pool.Z[rows], pool.y[rows], attribute=given[rows])
            found[len(rows)] = {"worst": worst(pool, head)}
    return found


def worst(pool: Pool, head: Any) -> float:
    """Worst-group accuracy on the test set, in percent."""
    pred = head.predict(pool.Z_test)
    return 100 * worst_group_accuracy(pool.y_test, pred, groups=pool.groups_test)


def main() -> None:
    """Run what is missing, and write tables and plot of all there is."""
    parser = command_line(__doc__, "data_dir", "results", "--markdown")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", choices=[*DATA, *CHECKS], default=[*DATA, *CHECKS])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--plot", type=Path, help="draw the curves here (needs matplotlib)")
    arguments = parser.parse_args()
    results = arguments.results
    known = recorded(results)
    done = {(r["data"], r["seed"], r["part"]) for r in known}
    for part, seed, name in product(arguments.only, arguments.seeds, arguments.data):
        if (name, seed, part) in done:
            continue
        found = run(arguments.data_dir, name, seed, part)
        print(f"{name}, seed {seed}, {part}: {found['seconds']:.0f} s", flush=True)
        known += record(results, found)
    if arguments.markdown or arguments.plot:
        from answers_tables import plot, tables

        if arguments.markdown:
            arguments.markdown.write_text(tables(known), encoding="utf-8")
        if arguments.plot:
            plot(known, arguments.plot)


if __name__ == "__main__":
    main()

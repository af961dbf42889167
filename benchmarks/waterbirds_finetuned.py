"""Waterbirds with a network fine-tuned on it: every method under NeuronTune's protocol.

    OMP_NUM_THREADS=1 python benchmarks/finetune_waterbirds.py WATERBIRDS_DIR OUT
    OPENBLAS_NUM_THREADS=1 python benchmarks/waterbirds_finetuned.py OUT RESULTS.jsonl
        [--parts network validation halves alone] [--seeds 0 1 2] [--markdown FILE]

Official splits; the test split serves the results alone. A seed is a training of its own, and
decides halves, folds and random masks as well. The parts:

* network: accuracies of the fine-tuned network as it is.
* validation: the whole validation split is the validation set; the rows of ``waterbirds.py``.
* halves: NeuronTune's protocol. Half of the validation split is what methods may look at, the
  other half chooses among what they were tried with: by the accuracy of the worst class, or, in
  rows marked †, by that of the worst group, as the papers of most methods do.
* alone: the training split alone, without answers and with up to 96.

Each part and seed is one line of RESULTS, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import answers
import evidence
from answers_data import Pool
from data_waterbirds import Birds, read
from ntkit import FrozenModel
from ntkit.estimators import (
    AFRClassifier,
    BalancedClassifier,
    DFRClassifier,
    EVaLSClassifier,
    JTTClassifier,
    LEACEClassifier,
    SELFClassifier,
    retrain_head,
)
from ntkit.head import LinearHead
from ntkit.jobs.debias._candidates import OTHER_METHODS, n_suppressed
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.label import margins_of
from ntkit.metrics import sfit_score, worst_class_accuracy, worst_group_accuracy
from ntkit.study import ALPHAS, Rows
from splits import taken
from waterbirds import few_rows, hardly_penalised, in_percent, rated, samples, without_answers

Array = NDArray[Any]
Findings = dict[str, Any]
Tried = Iterator[tuple[dict[str, Any], Any, int]]
"""Parameters, head and number of suppressed neurons."""
DRAWS = 3
"""Random masks of each size."""
MOST = 96
"""Answers of the simulated person."""
GRIDS: dict[str, tuple[type[Any], dict[str, tuple[Any, ...]]]] = {
    "AFR": (AFRClassifier, {"gamma": (1.0, 4.0, 10.0, 20.0), "reg_coeff": (0.3, 0.1, 0.01, 0.001)}),
    "SELF": (
        SELFClassifier,
        {
            "selection": (
                "misclassification",
                "early_stop_misclassification",
                "dropout_disagreement",
                "early_stop_disagreement",
            ),
            "n_selected": (20, 100, 500),
            "learning_rate": (1e-4, 1e-3, 1e-2),
        },
    ),
    "EVaLS": (
        EVaLSClassifier,
        {
            "n_selected": ((20,), (50,), (100,), (150,)),
            "Cs": ((0.01,), (0.03,), (0.1,), (0.3,), (1.0,)),
            "selection_size": (0.1,),
        },
    ),
}
"""Grids of the methods that retrain on the half that finds neurons: the published ones, widened."""
UP_WEIGHTS = (5.0, 20.0, 50.0, 100.0)


# -- the whole validation split -------------------------------------------------------------------


def compared(splits: dict[str, Birds], head: LinearHead, seed: int) -> Comparison:
    """The validation split validates; the network's own head is the original one."""
    train, val, test = (samples(splits[name]) for name in ("train", "val", "test"))
    return Comparison(train, val, test, head=head, seed=seed)


def network(splits: dict[str, Birds], head: LinearHead, seed: int) -> Findings:
    """Accuracies of the network on every split, and how its embedding looks."""
    shares = np.bincount(splits["train"].groups)
    rows = {name: rated(head, samples(birds), shares) for name, birds in splits.items()}
    Z = splits["train"].X
    return {"rows": rows, "n_non_constant": int((Z.max(axis=0) > Z.min(axis=0)).sum())}


def validation(splits: dict[str, Birds], head: LinearHead, seed: int) -> Findings:
    """The rows of ``waterbirds.py`` with the whole validation split."""
    comparison = compared(splits, head, seed)
    original = evidence.rated(comparison, comparison.original) | {"n_suppressed": 0}
    rows = {"own head": original} | few_rows(comparison)
    for name, estimator in {"class-balanced": BalancedClassifier(), **OTHER_METHODS}.items():
        clf, _ = comparison.fit(estimator)
        rows[name] = evidence.rated(comparison, clf.head_) | {"n_suppressed": n_suppressed(clf)}
    balanced = evidence.tuned(comparison.validation, "balanced", seed)
    rows["class-balanced-validation-tuned-C"] = evidence.rated(comparison, balanced)
    rows |= hardly_penalised(comparison) | evidence.reference_rows(comparison)
    in_percent(rows, splits["test"], np.bincount(splits["train"].groups))
    return {"rows": rows, "ridge": evidence.ridges(comparison)}


# -- NeuronTune's protocol ------------------------------------------------------------------------


def halves(splits: dict[str, Birds], head: LinearHead, seed: int) -> Findings:
    """A half to look at, a half to choose by."""
    comparison = compared(splits, head, seed)
    first, second = comparison.halves[0]
    seen, scored = (taken(comparison.validation, rows) for rows in (first, second))
    masked, _ = comparison.fit(evidence.by_paper(C=1.0), "train", first, as_is=True)
    mask, live = masked.suppressed_, np.flatnonzero(masked.non_constant_)
    rng = np.random.default_rng(seed)
    drawn = [
        np.isin(np.arange(len(mask)), rng.choice(live, mask.sum(), False)) for _ in range(DRAWS)
    ]
    rows: Findings = {"own head": evidence.rated(comparison, comparison.original)}
    for name, fitted, judges in (
        ("on training", comparison.train, scored),
        ("on the other half", scored, seen),
    ):
        rows |= chosen(comparison, f"class-balanced {name}", retrained(fitted), judges)
        heads = list(retrained(fitted, mask))
        rows |= chosen(comparison, f"NeuronTune {name}", iter(heads), judges)
        rows |= by_sfit(comparison, f"NeuronTune {name}", heads, seen)
        found = [chosen(comparison, "mask", retrained(fitted, m), judges) for m in drawn]
        rows |= means(f"random mask {name}", found)
    rows |= chosen(
        comparison, "class-balanced on the half that finds neurons", retrained(seen), scored
    )
    for name, heads_of in others(comparison, first).items():
        rows |= chosen(comparison, name, heads_of, scored)
    known = chosen(comparison, "DFR † on the half that finds neurons", by_groups(seen), scored)
    rows |= {name: row for name, row in known.items() if name.endswith("†")}
    for row in rows.values():
        row.setdefault("n_suppressed", 0)
    in_percent(rows, splits["test"], np.bincount(splits["train"].groups))
    errors = comparison.original.predict(seen.X) != seen.y
    return {
        "rows": rows,
        "n_non_constant": len(live),
        "errors": [int(errors[seen.y == c].sum()) for c in (0, 1)],
        "per class": [int(n) for n in masked.suppressed_per_class_.sum(axis=1)],
    }


def retrained(on: Rows, mask: Array | None = None) -> Tried:
    """Class-balanced heads of every penalty, the strongest first."""
    for alpha in sorted(ALPHAS, reverse=True):
        head = retrain_head(on.X, on.y, suppressed=mask, C=1 / (alpha * len(on.y)))
        yield {"alpha": alpha}, head, 0 if mask is None else int(mask.sum())


def others(comparison: Comparison, first: Array) -> dict[str, Tried]:
    """The other methods, each with what it is tried with."""

    def fits(settings: Iterator[tuple[dict[str, Any], Any]]) -> Tried:
        for parameters, clf in settings:
            fitted, _ = comparison.fit(clf, "train", first, as_is=True)
            yield parameters, fitted.head_, 0

    def grid(kind: type[Any], values: dict[str, tuple[Any, ...]]) -> Tried:
        combined = (dict(zip(values, each, strict=True)) for each in product(*values.values()))
        return fits((p, kind(random_state=comparison.seed, **p)) for p in combined)

    n = len(comparison.train.y)
    penalties = tuple(1 / (alpha * n) for alpha in sorted(ALPHAS, reverse=True))
    grids = GRIDS | {
        "JTT": (JTTClassifier, {"up_weight": UP_WEIGHTS, "C": penalties}),
        "LEACE": (LEACEClassifier, {"C": penalties}),
    }
    return {name: grid(kind, values) for name, (kind, values) in grids.items()}


def by_groups(on: Rows) -> Tried:
    """DFR of every penalty, the strongest first."""
    for alpha in sorted(ALPHAS, reverse=True):
        clf = DFRClassifier(variant="weighted", C=1 / (alpha * len(on.y)))
        yield {"alpha": alpha}, clf.fit(on.X, on.y, groups=on.groups).head_, 0


def chosen(comparison: Comparison, name: str, tried: Tried, judges: Rows) -> Findings:
    """The first of the best by the worst class and by the worst group of these samples."""
    best: dict[str, tuple[float, Findings]] = {}
    for parameters, head, suppressed in tried:
        pred = head.predict(judges.X)
        by_group = worst_group_accuracy(judges.y, pred, groups=judges.groups)
        for rule, score in (
            ("worst class", worst_class_accuracy(judges.y, pred)),
            ("worst group †", by_group),
        ):
            if rule not in best or score > best[rule][0]:
                row = evidence.rated(comparison, head) | {"n_suppressed": suppressed}
                best[rule] = score, row | {"parameters": parameters, "score": float(score)}
    return {f"{name}, by {rule}": row for rule, (_, row) in best.items()}


def by_sfit(comparison: Comparison, name: str, heads: list[Any], seen: Rows) -> Findings:
    """The head of largest SFit on the half that finds neurons, the paper's own choice."""
    scores = [sfit_score(seen.X, seen.y, head.predict(seen.X)) for _, head, _ in heads]
    parameters, head, suppressed = heads[int(np.argmax(scores))]
    row = evidence.rated(comparison, head) | {"n_suppressed": suppressed}
    return {f"{name}, by SFit": row | {"parameters": parameters}}


def means(name: str, found: list[Findings]) -> Findings:
    """Means over random masks, each with the penalty chosen for it."""
    rows = {}
    for key in found[0]:
        draws = [each[key] for each in found]
        row = {k: float(np.mean([d[k] for d in draws])) for k in ("n_suppressed", "average")}
        by_group = np.mean([d["by_group"] for d in draws], axis=0)
        worst = float(np.mean([d["worst_group"] for d in draws]))
        rows[key.replace("mask", name, 1)] = row | {
            "worst_group": worst,
            "by_group": by_group.tolist(),
        }
    return rows


# -- the training split alone ---------------------------------------------------------------------


def alone(splits: dict[str, Birds], head: LinearHead, seed: int) -> Findings:
    """No validation set: no answers, all answers, and some about the samples that are asked of."""
    train, test = splits["train"], splits["test"]
    rows = without_answers(train, test, np.bincount(train.groups), seed)
    feature_sets = {"embedding": train.X}
    pool = Pool(train.X, train.y, train.place, feature_sets, test.X, test.y, test.groups)
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    asking = answers.asked(
        pool,
        feature_sets,
        margins,
        seed,
        pool.a,
        steps=answers.STEPS[: answers.STEPS.index(MOST) + 1],
    )
    return {"rows": rows, "curve": answers.followed(pool, asking, seed)}


# -- all of it ------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[dict[str, Birds], LinearHead, int], Findings]] = {
    "network": network,
    "validation": validation,
    "halves": halves,
    "alone": alone,
}


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what finetune_waterbirds.py wrote")
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(found["part"], found["seed"]) for found in known}
    for seed, part in product(arguments.seeds, arguments.parts):
        if (part, seed) in done:
            continue
        start, folder = time.perf_counter(), arguments.folder / f"seed_{seed}"
        splits = {split: read(folder, split) for split in ("train", "val", "test")}
        head = FrozenModel.load(folder.with_suffix(".onnx")).head
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = {"part": part, "seed": seed} | PARTS[part](splits, head, seed)
        print(f"{part}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        line = json.dumps(found, default=float)
        with results.open("a") as file:
            file.write(line + "\n")
        known.append(json.loads(line))
    if arguments.markdown:
        from waterbirds_finetuned_tables import tables

        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()

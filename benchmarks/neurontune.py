"""NeuronTune by solver, mask and selection: what its defaults should be, and what a mask adds.

    OPENBLAS_NUM_THREADS=1 python benchmarks/neurontune.py DATA_DIR ROWS.jsonl [--seeds 3]
        [--waterbirds FILE.npz] [--apart FOLDER] [--parts sets settings] [--data NAME …]
        [--standardised] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built. ``--waterbirds`` takes embeddings of the real Waterbirds
(Z, y, a and split 0, 1, 2), ``--apart`` the folder of ``data_apart.py``. The parts:

* sets: every method on every set. The validation set is distributed like the training set, but
  "Waterbirds, official" has the official one. An ERM head of the training set makes the errors.
  Sets without a shortcut have classes in place of groups; "turned" has 5 % of its labels turned.
* settings: batches, learning rates and two heads that err, on "Waterbirds, official".
* half: half of the official validation split identifies, the other half retrains (†).
* fine-tuned: found neurons, none and random ones, also with halves. ``--waterbirds`` has the
  embeddings of one network of ``finetune_waterbirds.py``.

"cost 5" applies a mask if it costs at most 5 points of cross-validated accuracy, and "10 errors"
scores classes with so many. A random mask has the size of "sgd, mask". Every line of ROWS is one
fit, with the correct samples and all samples of each test group and of each validation class, and
is not run again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import no_harm
from ntkit.estimators import (
    AutoDebiasClassifier,
    NeuronTuneClassifier,
    retrain_head,
)
from ntkit.exceptions import SuppressionWarning
from ntkit.head import LinearHead
from ntkit.study import Rows, scaler_of, tuned
from runner import command_line, publish, record, recorded, table
from splits import CHECKS, DATA, splits_of, two_thirds

Array = NDArray[Any]
Row = dict[str, Any]
Fits = Iterator[tuple[str, int, Callable[[], Any]]]
"""Names and draws of methods, and their fits."""
N_RANDOM, N_RANDOM_SETTINGS = 3, 4
TURNED = ", turned"
HARMLESS = tuple(name + end for name in no_harm.DATA for end in ("", TURNED))
WATERBIRDS, OFFICIAL = "Waterbirds", "Waterbirds, official"
TUNED = "Waterbirds, fine-tuned, official"


@dataclass(frozen=True)
class Task:
    """Training, validation and test set, a seed, and the penalty of the head that errs."""

    train: Rows
    validation: Rows
    test: Rows
    seed: int
    C: float = 1.0

    @cached_property
    def head(self) -> LinearHead:
        """The ERM head of the training set."""
        return retrain_head(self.train.X, self.train.y, class_weight=None, C=self.C)

    def fitted(self, **parameters: Any) -> NeuronTuneClassifier:
        """NeuronTune with these parameters."""
        clf = NeuronTuneClassifier(head=self.head, random_state=self.seed, **parameters)
        held = {"X_val": self.validation.X, "y_val": self.validation.y}
        return clf.fit(self.train.X, self.train.y, **held)

    def masked(self, draw: int, **parameters: Any) -> NeuronTuneClassifier:
        """NeuronTune with as many random neurons suppressed as "sgd, mask" suppresses."""
        share = min(1.0, (self.n_masked + 0.5) / int(self.as_described.non_constant_.sum()))
        mask: Row = {"statistic": "random", "threshold": 0.0, "max_suppressed": share}
        return replace(self, seed=self.seed + 1000 * draw).fitted(**mask, **parameters)

    def halved(self, **parameters: Any) -> NeuronTuneClassifier:
        """NeuronTune as described, on halves of the validation set."""
        given = {"identification": 0.5, "head": self.head, "random_state": self.seed}
        clf = NeuronTuneClassifier.as_described(**given | parameters)
        return clf.fit(self.validation.X, self.validation.y)

    def half_masked(self, draw: int) -> NeuronTuneClassifier:
        """The same with as many random neurons."""
        clf = self.halved(epochs=1)
        share = (clf.suppressed_.sum() + 0.5) / clf.non_constant_.sum()
        mask: Row = {"statistic": "random", "max_suppressed": float(min(1.0, share))}
        return replace(self, seed=self.seed + 1000 * draw).halved(**mask)

    @cached_property
    def as_described(self) -> NeuronTuneClassifier:
        """NeuronTune with threshold 0 after a single epoch: for its mask alone."""
        return self.fitted(**MASK, solver="sgd", epochs=1)

    @property
    def n_masked(self) -> int:
        """Neurons that it suppresses."""
        return int(self.as_described.suppressed_.sum())


SETS = ("train", "validation", "test")
MASK: Row = {"threshold": 0.0, "min_misclassified": 1, "max_cost": None}
NONE: Row = {"max_suppressed": 0.0}
MASKS: dict[str, Row] = {
    "mask": MASK,
    "mask, 10 errors": {"threshold": 0.0, "min_misclassified": 10, "max_cost": None},
    "mask at 0.5": {"threshold": 0.5, "min_misclassified": 1, "max_cost": None},
    "mask at 0.5, 10 errors": {"threshold": 0.5, "min_misclassified": 10, "max_cost": None},
    "mask, cost 5": {"threshold": 0.0, "min_misclassified": 1, "max_cost": 0.05},
    "mask, 10 errors, cost 5": {"threshold": 0.0, "min_misclassified": 10, "max_cost": 0.05},
    "mask, 10 errors, cost 10": {"threshold": 0.0, "min_misclassified": 10, "max_cost": 0.1},
    "mask at 0.5, 10 errors, cost 3": {"min_misclassified": 10, "max_cost": 0.03},
    "mask at 0.5, 10 errors, cost 5": {"min_misclassified": 10, "max_cost": 0.05},
    "mask at 0.5, 10 errors, cost 10": {"min_misclassified": 10, "max_cost": 0.1},
    "mask at 1, 10 errors, cost 5": {"threshold": 1.0, "min_misclassified": 10, "max_cost": 0.05},
    "no mask": NONE,
}
GRID: dict[str, Row] = {
    f"{solver}, {name}": {"threshold": 0.5, "solver": solver, **given}
    for solver in ("sgd", "optimum")
    for name, given in MASKS.items()
} | {
    "sgd, mask, by SFit": {"solver": "sgd", "selection": "sfit", **MASK},
    "sgd, mask, by average": {"solver": "sgd", "selection": "average", **MASK},
    "the default": {},
}


def erm(task: Task) -> Any:
    """The head that errs."""
    return task.head


def tuned_head(task: Task, balanced: bool) -> Any:
    """Retrained on the training set, its penalty chosen on training and validation set."""
    rows = task.train
    weight = rows.balanced() if balanced else rows.weight
    return tuned(rows, weight, also=task.validation, seed=task.seed).head


def auto(task: Task) -> Any:
    """What balances errors, if that is found to fix them."""
    held = {"X_val": task.validation.X, "y_val": task.validation.y}
    return AutoDebiasClassifier(random_state=task.seed).fit(task.train.X, task.train.y, **held)


METHODS: dict[str, Callable[[Task], Any]] = {
    "ERM": erm,
    "ERM, tuned": partial(tuned_head, balanced=False),
    "class-balanced, tuned": partial(tuned_head, balanced=True),
    "auto": auto,
    **{name: partial(Task.fitted, **given) for name, given in GRID.items()},
}
RANDOM = {f"{solver}, random": solver for solver in ("sgd", "optimum")}


# -- sets ---------------------------------------------------------------------------------------


def task_of(name: str, arguments: argparse.Namespace, seed: int) -> Task:
    """A draw of a set."""
    if name in DATA | CHECKS:
        splits = splits_of(name, arguments.data_dir, seed)
        return Task(splits.train, splits.validation["i.i.d."], splits.test, seed)
    if name in HARMLESS:
        return harmless(name, seed)
    if name in (WATERBIRDS, OFFICIAL, TUNED):
        return waterbirds(arguments.waterbirds, seed, official=name != WATERBIRDS)
    import data_apart

    pool = data_apart.PROBLEMS[name](arguments.apart, seed)
    parts = two_thirds(Rows.of(pool.Z, pool.y, 2 * pool.y + pool.a), seed)
    return Task(*parts, Rows.of(pool.Z_test, pool.y_test, pool.groups_test), seed)


def waterbirds(path: Path, seed: int, *, official: bool) -> Task:
    """The official splits, or a third of the training split in place of the validation split."""
    with np.load(path) as data:
        Z, y, part = data["Z"].astype(np.float32), data["y"].astype(int), data["split"]
        groups = 2 * y + data["a"].astype(int)
    sets = [Rows.of(Z[part == k], y[part == k], groups[part == k]) for k in range(3)]
    return Task(*(sets[:2] if official else two_thirds(sets[0], seed)), sets[2], seed)


def harmless(name: str, seed: int) -> Task:
    """A set without a shortcut; its groups are its classes, and its test labels are right."""
    share = 0.05 if name.endswith(TURNED) else 0.0
    X, y, labels, (train, held, test) = no_harm.parts(name.removesuffix(TURNED), share, seed)
    sets = [Rows.of(X[rows], labels[rows], y[rows]) for rows in (train, held)]
    return Task(*sets, Rows.of(X[test], y[test], y[test]), seed)


def standardised(task: Task) -> Task:
    """The same in units of the training set's standard deviations."""
    scaler = scaler_of(task.train)
    sets = {name: getattr(task, name).scaled(scaler.mean_, scaler.scale_) for name in SETS}
    return replace(task, **sets)


# -- rows ---------------------------------------------------------------------------------------


def of_sets(task: Task) -> Fits:
    """Every method."""
    for name, fit in METHODS.items():
        yield name, 0, partial(fit, task)
    for name, solver in RANDOM.items():
        for draw in range(N_RANDOM):
            yield name, draw, partial(task.masked, draw, solver=solver)


def of_settings(task: Task) -> Fits:
    """Every setting of "sgd"."""
    for C, batch_size, learning_rate in product((1.0, 0.01), (32, 128), (1e-3, 1e-4)):
        given: Row = {"solver": "sgd", "epochs": 50, "batch_size": batch_size}
        given |= {"learning_rate": learning_rate}
        end = f", head C = {C:g}, batch {batch_size}, rate {learning_rate:g}"
        errs = replace(task, C=C)
        yield "mask" + end, 0, partial(errs.fitted, **MASK, **given)
        yield "no mask" + end, 0, partial(errs.fitted, **NONE, **given)
        for draw in range(N_RANDOM_SETTINGS):
            yield "random" + end, draw, partial(errs.masked, draw, **given)


def of_half(task: Task) -> Fits:
    """The halves of the validation set."""
    for name, given in (("sgd, mask", {}), ("sgd, no mask", NONE)):
        yield name, 0, partial(task.halved, **given)
    for draw in range(N_RANDOM):
        yield "sgd, random", draw, partial(task.half_masked, draw)


def of_tuned(task: Task) -> Fits:
    """Neurons that are found, none and random ones; the halves of the validation set as well."""
    for name in ("ERM", "sgd, mask", "sgd, no mask", "optimum, mask", "optimum, no mask"):
        yield name, 0, partial(METHODS[name], task)
    for name, solver in RANDOM.items():
        for draw in range(N_RANDOM):
            yield name, draw, partial(task.masked, draw, solver=solver)
    for name, draw, fit in of_half(task):
        yield f"half, {name}", draw, fit


PARTS = {"sets": of_sets, "settings": of_settings, "half": of_half, "fine-tuned": of_tuned}


def hits(head: Any, rows: Rows, groups: Array) -> tuple[list[int], list[int]]:
    """Correct samples and samples of each group."""
    right = head.predict(rows.X) == rows.y
    some = [groups == group for group in np.unique(groups)]
    return [int(right[of].sum()) for of in some], [int(of.sum()) for of in some]


def n_suppressed(head: Any) -> int:
    """Neurons that a head suppresses; 0 of other methods."""
    return int(getattr(head, "suppressed_", np.zeros(1)).sum())


def run(task: Task, part: str, done: set[tuple[str, int]]) -> Iterator[Row]:
    """What is missing of a set and a seed, as it is made."""
    for name, draw, fit in PARTS[part](task):
        if (name, draw) in done:
            continue
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SuppressionWarning)  # how much is flagged is a column
            clf = fit()
        row: Row = {"method": name, "draw": draw, "n_neurons": task.train.X.shape[1]}
        row["n_suppressed"] = n_suppressed(clf)
        row["hits"], row["counts"] = hits(clf, task.test, task.test.groups)
        row["validation"] = hits(clf, task.validation, task.validation.y)
        yield row | {"seconds": round(time.perf_counter() - start, 2)}


# -- tables -------------------------------------------------------------------------------------


def worst(row: Row) -> float:
    """Accuracy of the worst group, %."""
    return 100 * min(h / n for h, n in zip(row["hits"], row["counts"], strict=True))


def average(row: Row) -> float:
    """Accuracy on the test set, %."""
    return 100 * sum(row["hits"]) / sum(row["counts"])


def means(rows: Sequence[Row], of: Callable[[Row], float]) -> dict[tuple[str, str], float]:
    """Means over seeds and draws for each set and method."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row["data"], row["method"]), []).append(of(row))
    return {key: float(np.mean(values)) for key, values in found.items()}


def by_set(rows: Sequence[Row], of: Callable[[Row], float]) -> str:
    """Sets by methods, the means over sets last."""
    found = means(rows, of)
    names, methods = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    lines = []
    for method in methods:
        values = [found.get((name, method), float("nan")) for name in names]
        lines.append([method, f"{np.nanmean(values):.1f}", *(f"{v:.1f}" for v in values)])
    return table(["method", "mean", *names], lines)


def spreads(rows: Sequence[Row]) -> str:
    """Each method with the mean, deviation, smallest and largest worst group, and its neurons."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    lines = []
    for method, some in found.items():
        values = [worst(row) for row in some]
        low, high = min(values), max(values)
        of = (f"{np.mean(values):.1f} ± {np.std(values):.1f}", f"{low:.1f}–{high:.1f}")
        of += (f"{np.mean([average(row) for row in some]):.1f}", str(len(some)))
        lines.append([method, *of, f"{np.mean([row['n_suppressed'] for row in some]):.0f}"])
    head = ["method", "worst group", "smallest–largest", "average", "fits", "suppressed"]
    return table(head, lines)


def tables(rows: Sequence[Row]) -> str:
    """All tables, Markdown."""
    parts = list[str]()
    for units in dict.fromkeys(row["embeddings"] for row in rows):
        some = [row for row in rows if row["embeddings"] == units and row["part"] == "sets"]
        biased = [row for row in some if row["data"] not in HARMLESS]
        harmless_rows = [row for row in some if row["data"] in HARMLESS]
        for title, these, of in (
            ("worst group, %", biased, worst),
            ("average, %", biased, average),
            ("share of neurons suppressed, %", biased, share),
            ("without a shortcut: worst class, %", harmless_rows, worst),
            ("without a shortcut: average, %", harmless_rows, average),
        ):
            if these:
                parts.append(f"## {units} embeddings: {title}\n\n{by_set(these, of)}")
    settings = [row for row in rows if row["part"] == "settings"]
    if settings:
        parts.append(f"## Waterbirds, settings of SGD\n\n{spreads(settings)}")
    return "\n\n".join(parts)


def share(row: Row) -> float:
    """Suppressed neurons of all, %."""
    return 100 * row["n_suppressed"] / row["n_neurons"]


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = command_line(__doc__, "data_dir", "results", "--markdown")
    parser.add_argument("--waterbirds", type=Path)
    parser.add_argument("--apart", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=["sets"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=[*DATA, *CHECKS, *HARMLESS])
    parser.add_argument("--standardised", action="store_true", help="standardise embeddings first")
    a = parser.parse_args()
    rows = recorded(a.results)
    units = "standardised" if a.standardised else "raw"
    for part in a.parts:
        for seed in range(a.seeds):
            for name in {"sets": a.data, "fine-tuned": [TUNED]}.get(part, [OFFICIAL]):
                key = {"part": part, "data": name, "seed": seed, "embeddings": units}
                same = [row for row in rows if all(row[k] == v for k, v in key.items())]
                task = task_of(name, a, seed)
                task = standardised(task) if a.standardised else task
                done = {(row["method"], row["draw"]) for row in same}
                for row in run(task, part, done):
                    rows += record(a.results, key | row)
    publish(tables(rows), a.markdown)


if __name__ == "__main__":
    main()

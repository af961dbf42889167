"""Complaints: how many unseen ones a head fixes that has seen some, next to DFR with all labels.

    python benchmarks/complaints.py DATA WATERBIRDS.npz [--only NAME] [--seeds N]

Complaints are errors of one small group (class × attribute); the traffic has no labels. A head is
judged on samples that it has not seen: the share of that group's errors that it fixes, and its
cost, the share of the other right answers that it loses, with groups weighted as in training. The
original head is logistic regression on the training set. DFR has class and group of the whole pool
that complaints come from. Shares at a cost are interpolated between the best heads of a method.

Complaints and traffic must be alike in all but the cause. TuxScenes' test set holds other images
than its other sets (a linear classifier tells them apart), so there the halves of the balanced
validation set are pool and judge. Elsewhere half of the test set joins the pool; Waterbirds has a
pool of its own, the validation set. The last columns are about the heads that ntkit would write.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit import LinearHead
from ntkit._text import table
from ntkit.jobs.debias._complaints import repaired
from ntkit.study import Rows, scaler_of
from runner import command_line
from splits import joined, splits_of, taken

Array = NDArray[Any]
COSTS = (0.005, 0.02, 0.05)
NUMBERS = (5, 10, 30, 100)
NAMES = ("Waterbirds", "Rotten Tomatoes", "SpamAssassin", "TuxScenes", "Sneaker/boot")
SEEDS = {"Waterbirds": 2, "TuxScenes": 2}
_TRAFFIC, _DRAWS = 2500, 10
_STEPS = np.geomspace(0.05, 3, 18)
CLASSES = np.arange(2)


def sets(name: str, folder: Path, waterbirds: Path, seed: int) -> tuple[Rows, Rows, Rows, Rows]:
    """Training set, traffic, the pool of complaints, and the samples that judge."""
    rng = np.random.default_rng(seed)
    if name == "Waterbirds":
        with np.load(waterbirds) as d:
            groups = 2 * d["y"].astype(int) + d["a"].astype(int)
            Z, y, part = d["Z"].astype(np.float32), d["y"].astype(int), d["split"]
            train, pool, judge = (
                Rows.of(Z[part == k], y[part == k], groups[part == k]) for k in range(3)
            )
        return train, taken(train, rng.permutation(len(train))[:_TRAFFIC]), pool, judge
    splits = splits_of(name, folder, seed)
    halved = splits.validation["balanced"] if name == "TuxScenes" else splits.test
    rows = rng.permutation(len(halved))
    pool, judge = taken(halved, rows[: len(rows) // 2]), taken(halved, rows[len(rows) // 2 :])
    if name != "TuxScenes":
        pool = joined(splits.validation["balanced"], pool)
    traffic = splits.validation["i.i.d."]
    return splits.train, taken(traffic, rng.permutation(len(traffic))[:_TRAFFIC]), pool, judge


def ridge_head(rows: Rows, weight: Array, alpha: float) -> LinearHead:
    """Logistic regression with this ridge weight on the mean loss."""
    return rows.heads([weight / weight.sum()], alphas=[alpha], tol=1e-4)[0]


def at_costs(points: list[tuple[float, float]]) -> list[float]:
    """Largest share fixed at each cost, linear between the best points."""
    costs, fixed = np.array(sorted([(0.0, 0.0), *points])).T
    return [float(np.interp(cost, costs, np.maximum.accumulate(fixed))) for cost in COSTS]


def run(
    name: str, folder: Path, waterbirds: Path, seed: int, results: dict[Any, list[Any]]
) -> None:
    """Results of one seed, by (group, method)."""
    parts = sets(name, folder, waterbirds, seed)
    scaler = scaler_of(parts[0])
    train, traffic, pool, judge = (rows.scaled(scaler.mean_, scaler.scale_) for rows in parts)
    rng = np.random.default_rng(seed)
    old = ridge_head(train, train.weight, 0.02)
    shares = np.bincount(train.groups, minlength=4) / len(train)
    weight = (shares / np.bincount(judge.groups, minlength=4))[judge.groups]
    right, wrong = (old.predict(rows.X) == rows.y for rows in (judge, pool))
    wrong = ~wrong

    def rated(head: LinearHead, group: int) -> tuple[float, float]:
        now = head.predict(judge.X) == judge.y
        lost = float((weight * (right & ~now)).sum() / (weight * right).sum())
        return lost, float(now[(judge.groups == group) & ~right].mean())

    for group in (1, 2):
        if ((judge.groups == group) & ~right).sum() < 10:
            continue
        balanced = 1 / np.bincount(pool.groups, minlength=4)[pool.groups]
        points = []
        for alpha in (0.01, 0.1, 1):
            dfr = ridge_head(pool, balanced, alpha)
            for t in np.linspace(0.05, 1, 20):
                coef = (1 - t) * old.coef + t * dfr.coef
                bias = (1 - t) * old.intercept + t * dfr.intercept
                points.append(rated(LinearHead(coef, bias, CLASSES), group))
        results[group, "DFR, all labels"].append(at_costs(points))
        errors = np.flatnonzero((pool.groups == group) & wrong)
        for n in NUMBERS:
            if n > len(errors):
                continue
            some = rng.choice(errors, n, replace=False)
            repair = repaired(old, pool.X[some], pool.y[some], traffic.X, 0.02, seed)
            folds, choice = repair.folds, repair.choice
            heads = (folds.head(step, CLASSES) for step in _STEPS)
            results[group, n].append(at_costs([rated(head, group) for head in heads]))
            if not repair.helps:
                results[group, n, "refused"].append(1)
                continue
            cost, fixed = rated(folds.head(choice.step, CLASSES), group)
            results[group, n, "chosen"].append((cost, fixed, choice.fixed.mean(), choice.changed))
    for draw in range(_DRAWS):
        answers = old.predict(traffic.X)
        some = rng.choice(np.flatnonzero(answers == traffic.y), 30, replace=False)
        rest = np.delete(traffic.X, some, axis=0)
        repair = repaired(old, traffic.X[some], 1 - answers[some], rest, seed=draw)
        results["unrelated"].append(repair.helps)
        errors = np.flatnonzero(np.isin(pool.groups, (0, 3)) & wrong)
        if len(errors) >= 30:
            some = rng.choice(errors, 30, replace=False)
            repair = repaired(old, pool.X[some], pool.y[some], traffic.X, seed=draw)
            results["majority"].append(repair.helps)


def shown(values: Any) -> str:
    """Means over seeds, in percent."""
    return " / ".join(f"{100 * value:.0f}" for value in np.mean(values, axis=0))


def main() -> None:
    """Print the tables, data set by data set."""
    parser = command_line((__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("waterbirds", type=Path)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [
        [
            "data, group",
            "complaints",
            "fixed at 0.5 / 2 / 5 % cost",
            "written",
            "fixed",
            "cost",
            "said: fixed",
            "said: changed",
        ]
    ]
    refused = [["data", "unrelated", "errors of large groups"]]
    for name in [args.only] if args.only else NAMES:
        results: dict[Any, list[Any]] = defaultdict(list)
        for seed in range(min(args.seeds, SEEDS.get(name, args.seeds))):
            run(name, args.data, args.waterbirds, seed, results)
        for group in (1, 2):
            for n in ("DFR, all labels", *NUMBERS):
                if (values := results.get((group, n))) is None:
                    continue
                chosen, no = results[group, n, "chosen"], len(results[group, n, "refused"])
                cells = (
                    [f"{100 * value:.1f}" for value in np.mean(chosen, axis=0)]
                    if chosen
                    else [""] * 4
                )
                written = f"{len(chosen)} of {len(chosen) + no}" if chosen or no else ""
                cost, fixed, said, changed = cells
                rows.append(
                    [f"{name}, {group}", str(n), shown(values), written, fixed, cost, said, changed]
                )
        counts = (results["unrelated"], results["majority"])
        refused.append([name, *(f"{len(c) - sum(c)} of {len(c)}" if c else "" for c in counts)])
    print(table(rows, "<>>>>>>>", padded=True), table(refused, "<>>", padded=True), sep="\n\n")


if __name__ == "__main__":
    main()

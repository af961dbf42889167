"""Could any head made from errors be good? Group labels choose the best in what errors span.

    OPENBLAS_NUM_THREADS=1 python benchmarks/out_of_reach.py DATA_DIR [--seeds 5] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built. With the biased validation set, what can be learned
without group labels comes from which samples a class-balanced baseline gets wrong. Here are the
directions of embedding space that this gives: the class-balanced and the cell-balanced heads at
three penalties, and, for each class, the difference between the means of wrong and right samples.
In the span of some of them a head is fitted *with* group labels (DFR), with the best of five
penalties on the test set: no label-free choice there can be expected to do better. If it is poor,
the information is not in the errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from evidence_tables import mean_std, table
from ntkit.estimators import BalancedClassifier, DFRClassifier, retrain_head
from ntkit.metrics import worst_group_accuracy
from splits import CHECKS, DATA, joined, splits_of

Array = NDArray[Any]
SPANS = {
    "class- and cell-balanced heads": [0, 1, 2, 3, 4, 5],
    "wrong − right, each class": [6, 7],
    "all eight": [0, 1, 2, 3, 4, 5, 6, 7],
}


def run(folder: Path, name: str, seed: int) -> dict[str, float]:
    """Worst-group accuracies in percent, and what the errors are made of."""
    splits = splits_of(name, folder, seed)
    both, test = joined(splits.train, splits.heldout["i.i.d."]), splits.test
    scaler = StandardScaler().fit(both.X)
    Z, y, Z_test = scaler.transform(both.X), both.y, scaler.transform(test.X)
    reference = BalancedClassifier(C=1 / len(y))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    wrong = cross_val_predict(reference, Z, y, cv=folds) != y
    directions = directions_of(Z, y, wrong)
    rare = np.argsort(np.bincount(both.groups, minlength=4))[:2]
    found = {
        "errors, %": 100 * float(np.mean([wrong[y == c].mean() for c in (0, 1)])),
        "of them in the two rare groups, %": 100 * float(np.isin(both.groups, rare)[wrong].mean()),
    }
    for span, chosen in SPANS.items():
        found[f"DFR in the span: {span}"] = dfr(
            Z @ directions[chosen].T, y, both.groups, Z_test @ directions[chosen].T, test
        )
    return found | {"DFR †": dfr(Z, y, both.groups, Z_test, test)}


def directions_of(Z: Array, y: Array, wrong: Array) -> Array:
    """Eight directions, (8, D), each of length 1."""
    cells = 2 * y + wrong
    balance = 1 / np.bincount(cells, minlength=4)[cells]
    heads = [
        retrain_head(
            Z,
            y,
            sample_weight=len(y) * weight / weight.sum(),
            class_weight="balanced",
            C=1 / (alpha * len(y)),
        ).coef[0]
        for weight in (np.ones(len(y)), balance)
        for alpha in (0.001, 1.0, 100.0)
    ]
    steps = [Z[(y == c) & wrong].mean(axis=0) - Z[(y == c) & ~wrong].mean(axis=0) for c in (0, 1)]
    directions = np.vstack([*heads, *steps])
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def dfr(Z: Array, y: Array, groups: Array, Z_test: Array, test: Any) -> float:
    """Worst-group accuracy on the test set of the best of several penalties there: a bound."""
    scale = np.where(Z.std(axis=0) > 0, Z.std(axis=0), 1.0)  # some neurons are dead
    accuracies = []
    for alpha in (0.001, 0.01, 0.1, 1.0, 10.0):
        clf = DFRClassifier(variant="weighted", C=1 / (alpha * len(y)))
        pred = clf.fit(Z / scale, y, groups=groups).predict(Z_test / scale)
        accuracies.append(worst_group_accuracy(test.y, pred, groups=test.groups))
    return 100 * max(accuracies)


def main() -> None:
    """Run all data sets and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    names = [*DATA, *CHECKS]
    results = Parallel(n_jobs=arguments.n_jobs)(
        delayed(run)(arguments.data_dir, name, seed)
        for name in names
        for seed in range(arguments.seeds)
    )
    lines = []
    for i, name in enumerate(names):
        runs = results[i * arguments.seeds : (i + 1) * arguments.seeds]
        lines.append([name, *(mean_std([run[key] for run in runs]) for key in runs[0])])
    text = table(["data, i.i.d.", *results[0]], lines) + "\n"
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

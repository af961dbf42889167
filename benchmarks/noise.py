"""What "auto" costs and saves: wrong labels, with and without a shortcut.

    OPENBLAS_NUM_THREADS=1 python benchmarks/noise.py DATA_DIR [--seeds 5] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built. A share of the labels is turned at random, in a set that
is biased (training set and a validation set like it) and in one that is balanced over the groups.
On each, ``AutoDebiasClassifier`` is fitted without a validation set by the recipe "class-balanced",
by "cell-balanced", and as it comes: by "auto". Test labels stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from ntkit.estimators import AutoDebiasClassifier
from ntkit.metrics import accuracy_by
from runner import command_line, mean_std, publish, table
from splits import CHECKS, DATA, joined, splits_of

NOISE = (0.0, 0.1, 0.2)
WAYS = ("class-balanced", "cell-balanced", "auto")


def run(folder: Path, name: str, biased: bool, noise: float, seed: int) -> dict[str, Any]:
    """Fit both ways once; accuracies in percent."""
    splits = splits_of(name, folder, seed)
    samples = splits.validation["balanced"]
    if biased:
        samples = joined(splits.train, splits.validation["i.i.d."])
    turned = np.random.default_rng(seed).random(len(samples.y)) < noise
    y = np.where(turned, 1 - samples.y, samples.y)
    found = {}
    for way in WAYS:
        clf = AutoDebiasClassifier(recipe=way, random_state=seed).fit(samples.X, y)
        test = splits.test
        by_group = list(accuracy_by(test.y, clf.predict(test.X), test.groups).values())
        found[way] = {"worst": 100 * min(by_group), "mean": 100 * float(np.mean(by_group))}
    return found | {"errors": 100 * float(clf.class_errors_.mean())}


def main() -> None:
    """Run everything and print two tables."""
    parser = command_line(__doc__, "data_dir", "--n-jobs", "--markdown")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    cells = [(n, b, noise) for b in (True, False) for n in DATA | CHECKS for noise in NOISE]
    results = Parallel(n_jobs=arguments.n_jobs)(
        delayed(run)(arguments.data_dir, *cell, seed) for cell in cells for seed in seeds
    )
    parts = []
    for biased in (True, False):
        lines = []
        for i, (name, is_biased, noise) in enumerate(cells):
            if is_biased is biased:
                runs = results[i * len(seeds) : (i + 1) * len(seeds)]
                lines.append([f"{name}, {100 * noise:.0f} %", *_figures(runs)])
        header = ["data, labels turned", "errors, %"]
        header += [f"worst group: {WAYS[0]}", *WAYS[1:]]
        header += [f"mean of groups: {WAYS[0]}", *WAYS[1:]]
        title = "With a shortcut" if biased else "Balanced over the groups: no shortcut"
        parts.append(f"## {title}\n\n{table(header, lines)}")
    text = "\n\n".join(parts) + "\n"
    publish(text, arguments.markdown)


def _figures(runs: list[dict[str, Any]]) -> list[str]:
    figures = [[run[way][what] for run in runs] for what in ("worst", "mean") for way in WAYS]
    return [f"{np.mean([run['errors'] for run in runs]):.0f}", *map(mean_std, figures)]


if __name__ == "__main__":
    main()

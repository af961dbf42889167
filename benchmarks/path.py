"""Time of NeuronTuneClassifierCV over a path of thresholds, as a share of GridSearchCV's.

    python benchmarks/path.py [--rows 20000] [--thresholds 20] [--folds 5] [--json FILE]

Both search the same grid with the same folds, score and penalty; the choice and the refitted
weights are compared.
"""

from __future__ import annotations

import json
import time
import warnings

import numpy as np
from sklearn.model_selection import GridSearchCV

from fit import embeddings
from ntkit import NeuronTuneClassifier, NeuronTuneClassifierCV
from runner import command_line


def main() -> None:
    """Run both searches once and compare."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--neurons", type=int, default=768)
    parser.add_argument("--thresholds", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = embeddings(arguments.rows, arguments.neurons, 2)
    thresholds = np.linspace(0, 1, arguments.thresholds).tolist()
    shared = {"min_misclassified": 1, "C": 1.0, "random_state": 0}
    scoring = "balanced_accuracy"

    start = time.perf_counter()
    path = NeuronTuneClassifierCV(thresholds, cv=arguments.folds, scoring=scoring, **shared)
    path.fit(X, y)
    ours = time.perf_counter() - start
    print(f"NeuronTuneClassifierCV {ours:8.1f} s  threshold {path.threshold_:.3f}", flush=True)

    start = time.perf_counter()
    search = GridSearchCV(
        NeuronTuneClassifier(max_cost=None, **shared),
        {"threshold": thresholds},
        cv=arguments.folds,
        scoring=scoring,
    ).fit(X, y)
    theirs = time.perf_counter() - start
    chosen = search.best_params_["threshold"]
    print(f"GridSearchCV           {theirs:8.1f} s  threshold {chosen:.3f}")
    difference = float(np.abs(path.coef_ - search.best_estimator_.coef_).max())
    print(f"share of its time      {ours / theirs:8.3f}    largest difference {difference:.1e}")
    if arguments.json:
        figures = {
            "ours_s": ours,
            "grid_search_s": theirs,
            "share": ours / theirs,
            "thresholds": [path.threshold_, chosen],
            "coef_difference": difference,
        }
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

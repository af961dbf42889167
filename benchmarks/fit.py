"""Time of fitting NeuronTune's optimum with ``C=1``, as a ratio to one LogisticRegression.

    python benchmarks/fit.py [--json FILE]

Both are fitted in turn on the same float32 matrix, several times, and the ratio of the medians is
shown. The validation set is given (``X_val``), so that no cross-fitting is counted.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression

from ntkit import NeuronTuneClassifier
from runner import command_line, save

SHAPES = [(500, 64, 2), (1600, 1280, 2), (5000, 2048, 2), (20_000, 768, 2), (20_000, 768, 5)]


def embeddings(n: int, width: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Ill-conditioned, non-negative neurons with class signal and noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, n)
    source = rng.normal(size=(n, 64)) * np.geomspace(3, 0.05, 64)
    source[:, :n_classes] += 1.5 * np.eye(n_classes)[y]
    X = np.maximum(source @ rng.normal(size=(64, width)) / 8 + 0.3 * rng.normal(size=(n, width)), 0)
    return X.astype(np.float32), y


def seconds(fit: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def compare(shape: tuple[int, int, int], repeats: int) -> dict[str, object]:
    """Fit in turn and give the ratio of medians."""
    n, width, n_classes = shape
    X, y = embeddings(n + n // 2, width, n_classes)
    train, held = slice(0, n), slice(n, None)
    fits = {
        "logistic regression": lambda: LogisticRegression().fit(X[train], y[train]),
        "neurontune": lambda: NeuronTuneClassifier.as_described(solver="optimum", C=1.0).fit(
            X[train], y[train], X_val=X[held], y_val=y[held]
        ),
    }
    times = np.array([[seconds(fit) for fit in fits.values()] for _ in range(repeats)])
    theirs, ours = np.median(times, axis=0)
    return {
        "shape": shape,
        "logistic_regression_s": theirs,
        "neurontune_s": ours,
        "ratio": ours / theirs,
    }


def main() -> None:
    """Run all shapes and print a table."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # LogisticRegression's max_iter=100 does not converge here
    print("rows x neurons x classes   LogisticRegression   NeuronTune   ratio")
    results = []
    for shape in SHAPES:
        result = compare(shape, arguments.repeats)
        results.append(result)
        print(
            f"{' x '.join(map(str, shape)):<24}{result['logistic_regression_s']:>18.3f} s"
            f"{result['neurontune_s']:>11.3f} s{result['ratio']:>8.2f}",
            flush=True,
        )
    save(results, arguments.json)


if __name__ == "__main__":
    main()

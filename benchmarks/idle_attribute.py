"""What labels of an attribute cost if it matters neither for the class nor for the errors.

    OPENBLAS_NUM_THREADS=1 python benchmarks/idle_attribute.py

Gaussian classes, two deviations apart (1200 samples, 50 columns), and an attribute in a column of
its own. The table has the difference to class-balanced retraining, on 4000 other samples.
"""

from __future__ import annotations

import warnings

import numpy as np

import answers
from answers_data import Pool
from answers_tables import table
from ntkit.estimators import DFRClassifier, GroupInference
from ntkit.jobs.label import margins_of
from ntkit.metrics import worst_group_accuracy

ROWS = (
    (4.0, 0.5, 48, False, 6),
    (4.0, 0.1, 48, False, 6),
    (1.5, 0.5, 24, True, 4),
    (1.5, 0.1, 48, False, 6),
    (0.0, 0.5, 24, True, 4),
    (0.0, 0.5, 48, True, 4),
    (0.0, 0.1, 48, True, 4),
)
"""Deviations between the values, share of the second, labels, asked or random, seeds."""


def drawn(seed: int, clear: float, share: float, n: int) -> tuple[answers.Array, ...]:
    """Columns, classes and attribute of n samples."""
    rng = np.random.default_rng(seed)
    y, a = rng.integers(0, 2, n), (rng.random(n) < share).astype(int)
    X = rng.normal(size=(n, 50))
    X[:, 0] += 2 * y
    X[:, 1] += clear * a
    return X, y, a


def run(clear: float, share: float, n: int, asks: bool, seed: int) -> tuple[bool, answers.Array]:
    """Whether the attribute is read; differences with all labels and with n, average and worst."""
    X, y, a = drawn(seed, clear, share, 1200)
    X_test, y_test, a_test = drawn(1000 + seed, clear, share, 4000)
    pool = Pool(X, y, a, {"embedding": X}, X_test, y_test, 2 * y_test + a_test)
    if asks:
        margins = margins_of(X, y, random_state=seed)
        asking = answers.asked(
            pool, pool.feature_sets, margins, seed, a, steps=range(12, n + 1, 12)
        )
        *_, (_, inference) = asking
    else:
        said = answers.answers_to(pool, np.random.default_rng(seed).permutation(len(y))[:n], a)
        inference = GroupInference(random_state=seed).fit(pool.feature_sets, y, said)
    heads = [
        DFRClassifier(variant="weighted", C=None, random_state=seed).fit(X, y, groups=groups)
        for groups in (y, 2 * y + a)
    ]
    predicted = [h.predict(X_test) for h in (*heads, answers.retrained(pool, inference, seed))]
    rated = np.array(
        [
            (np.mean(p == y_test), worst_group_accuracy(y_test, p, groups=pool.groups_test))
            for p in predicted
        ]
    )
    return inference.feature_set_ is not None, 100 * (rated[1:] - rated[0])


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    lines = []
    for clear, share, n, asks, seeds in ROWS:
        runs = [run(clear, share, n, asks, seed) for seed in range(seeds)]
        means = np.mean([differences for _, differences in runs], axis=0)
        how = f"{'asked' if asks else 'random labels'} ({seeds} seeds)"
        what = f"{clear:g} deviations, {share:.0%}, {how}".replace("%", " %")
        cells = [f"{average:.1f} / {worst:.1f}" for average, worst in means]
        lines.append([what, str(n), f"{sum(read for read, _ in runs)} of {seeds}", *cells])
    header = ["how clearly the attribute can be read, how common it is", "labels"]
    print(table([*header, "feature set reads it", "all labels", "from these labels"], lines))


if __name__ == "__main__":
    main()

"""Texts without a shortcut: what "auto" and ``--method auto`` cost where there is nothing to find.

    OPENBLAS_NUM_THREADS=1 python benchmarks/no_harm_texts.py DATA_DIR [--draws 6] [--markdown FILE]

Both corpora of texts by three encoders, balanced over the groups, so that only evidence is left
that rightly goes with a class: as they are, with 5 and 10 % of the labels turned, few of them (a
tenth), and as a network sees them that memorised its training set. Training set, validation set and
test set (whose labels stay) are of one distribution. Compared on the test set are "auto" and what
``ntkit.debias(method="auto")`` leaves in the model, next to the better of the original head and
class-balanced retraining with a tuned penalty.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from audit import ENCODERS, SETS
from no_harm import compared, turned
from ntkit.attributes import words
from packages import default_cache
from runner import command_line, publish, table
from splits import drawn

Array = NDArray[Any]
KINDS = {
    "as they are": {},
    "5 % of labels turned": {"noise": 0.05},
    "10 % of labels turned": {"noise": 0.1},
    "a tenth of them": {"share": 0.1},
    "memorised": {"memorised": True},
    "memorised, 5 % of labels turned": {"memorised": True, "noise": 0.05},
}


def run(
    read: tuple[list[str], Array, Array],
    path: Path,
    seed: int,
    *,
    noise: float = 0.0,
    share: float = 1.0,
    memorised: bool = False,
) -> dict[str, Any]:
    """Fit all heads once; accuracies on clean test labels in percent."""
    warnings.simplefilter("ignore")
    texts, y, a = read
    with np.load(path) as data:
        X = data["Z"].astype(np.float64)
    groups, rng = 2 * y + a, np.random.default_rng(seed)
    rows = drawn(groups, dict.fromkeys(range(4), int(0.9 * np.bincount(groups).min())), seed)
    rest, test = train_test_split(rows, test_size=1 / 3, stratify=groups[rows], random_state=seed)
    rest = rest[: int(share * len(rest))]
    train, held = train_test_split(rest, test_size=1 / 3, stratify=y[rest], random_state=seed)
    labels = turned(y, noise, rng)
    X = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    feature_set = words([texts[i] for i in np.concatenate([train, held])])
    sets, C = (train, held, test), 1 / (0.1 * len(train))
    return compared(X, y, labels, sets, feature_set, seed, C=C, n_epochs=200 * memorised)


def row(name: str, runs: list[dict[str, Any]]) -> list[str]:
    """One line of the table."""
    cells = [name]
    for which in ("auto", "written"):
        for what in ("average", "worst"):
            lost = [
                max(r["figures"][w][what] for w in ("original", "balanced"))
                - r["figures"][which][what]
                for r in runs
            ]
            cells.append(f"{np.mean(lost):.1f} (most {max(lost):.1f})")
    return [*cells, f"{sum(r['helped'] for r in runs)} of {len(runs)}"]


def main() -> None:
    """Run everything and print the table."""
    parser = command_line(__doc__, "data_dir", "--n-jobs", "--markdown")
    parser.add_argument("--draws", type=int, default=6)
    arguments = parser.parse_args()
    read = {name: reader(default_cache()) for name, (_, reader, _) in SETS.items()}
    cells = [
        (kind, read[name], arguments.data_dir / f"{file}{suffix}.npz", seed)
        for kind in KINDS
        for name, (file, _, _) in SETS.items()
        for suffix in ENCODERS.values()
        for seed in range(30, 30 + arguments.draws)
    ]
    results = Parallel(n_jobs=arguments.n_jobs, batch_size=1)(
        delayed(run)(texts, path, seed, **KINDS[kind]) for kind, texts, path, seed in cells
    )
    lines = [
        row(kind, [r for (k, *_), r in zip(cells, results, strict=True) if k == kind])
        for kind in KINDS
    ]
    lines.append(row("**all**", results))
    header = ["texts", "auto: average lost", "worst class lost"]
    header += ["--method auto: average lost", "worst class lost", "heads written"]
    shown = table(header, lines)
    publish(shown, arguments.markdown)


if __name__ == "__main__":
    main()

"""Does it work, on what, and against what: every estimator and label-free rule on real embeddings.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/evidence.py DATA_DIR [--checks] [--seeds 5]
        [--json FILE] [--markdown FILE] [--plot FILE.svg]

DATA_DIR is what ``make bench-data`` built. For every data set and seed one training set meets two
validation sets: one balanced over the groups, and one distributed as the training set. All
candidates of :func:`ntkit.debias`, the other methods it knows, and the controls are fitted. Every
label-free score picks one of them by predictions on halves of the validation set that a candidate
has not seen. Group labels serve the test results, the rows marked † and the rule marked †; nothing
else sees them. ``--checks`` takes the data sets that nothing was designed on.

BLAS threads are in the way here: ``OPENBLAS_NUM_THREADS=1`` is faster.
"""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold

from evidence_tables import ORACLE, ORIGINAL, WRITTEN, Tables
from ntkit.attributes import FeatureSet
from ntkit.estimators import (
    AutoDebiasClassifier,
    BalancedClassifier,
    DFRClassifier,
    GroupDROClassifier,
    NeuronTuneClassifier,
    retrain_head,
)
from ntkit.head import LinearHead
from ntkit.jobs.debias._candidates import (
    CANDIDATES,
    OTHER_METHODS,
    FittedOn,
    Unfitted,
    is_degenerate,
    n_suppressed,
)
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._pool import Pool
from ntkit.metrics import accuracy_by, worst_group_accuracy
from ntkit.scorers import LABEL_FREE_SCORES, named_score
from ntkit.study import ALPHAS, Rows
from runner import command_line, publish, save, table
from splits import CHECKS, DATA, SETTINGS, joined, splits_of
from written import read_of, written

Array = NDArray[Any]
TRAINED_ON_IT = ("Sneaker", "T-shirt", "Pullover")
"""Data sets whose network was trained on the training set."""
READINGS = {
    f"{aggregation}, {statistic}": {"aggregation": aggregation, "statistic": statistic}
    for statistic in ("median", "magnitude")
    for aggregation in ("union", "intersection", "per_class")
}
RIDGES = (0.001, 0.01, 0.1, 1.0, 10.0)
by_paper = partial(NeuronTuneClassifier.as_described, solver="optimum")
"""NeuronTune by its rule as described; retrained to the optimum, so that only the mask differs."""


# -- one run ----------------------------------------------------------------------------------


def run(folder: Path, name: str, setting: str, seed: int) -> dict[str, Any]:
    """Fit and rate everything once; what a rule may pick has scores."""
    start = time.perf_counter()
    splits = splits_of(name, folder, seed)
    held = splits.validation[setting]
    comparison = Comparison(Pool(splits.train, held), splits.test, head=None, seed=seed)
    feature_set = read_of(name, folder, seed, [splits.train, held])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = (
            candidate_rows(comparison, feature_set)
            | control_rows(comparison)
            | reference_rows(comparison)
        )
        sweeps = {
            "reading": readings(comparison),
            "ridge": ridges(comparison),
        }
    return {
        "data": name,
        "setting": setting,
        "seed": seed,
        "groups": {
            part: np.bincount(samples.groups, minlength=4).tolist()
            for part, samples in (
                ("train", comparison.train),
                ("validation", comparison.validation),
                ("test", comparison.test),
            )
        },
        "rows": rows,
        "sweeps": sweeps,
        "warnings": Counter(f"{w.category.__name__}: {str(w.message)[:90]}" for w in caught),
        "seconds": time.perf_counter() - start,
    }


def candidate_rows(
    comparison: Comparison, feature_set: FeatureSet | None = None
) -> dict[str, dict[str, Any]]:
    """What a rule may pick: the candidates of ntkit.debias, other methods, the original head."""
    others = {name: Unfitted(estimator) for name, estimator in OTHER_METHODS.items()}
    rows = {}
    for name, (estimator, fitted_on) in (CANDIDATES | others).items():
        clf, _ = comparison.fit(estimator, fitted_on)
        rows[name] = rated(comparison, clf.head_) | {
            "scores": scores(comparison, validation_predictions(comparison, name, clf, fitted_on)),
            "n_suppressed": n_suppressed(clf),
            "n_non_constant": int(clf.non_constant_.sum())
            if hasattr(clf, "non_constant_")
            else None,
            "sound": not is_degenerate(clf),
        }
        if name == "auto":
            rows[name] |= {"recipe": clf.recipe_, "alpha": clf.alpha_}
            kept = written_row(comparison, clf, feature_set)
        if name == "neurontune":
            mask = comparison.random_mask_row(clf, 5)
    original = comparison.original
    rows[ORIGINAL] = rated(comparison, original) | {
        "scores": scores(comparison, original.predict(comparison.validation.X)),
        "n_suppressed": 0,
        "sound": True,
    }
    control = {"worst_group": mask.worst_group, "average": mask.average}
    return rows | {WRITTEN: kept, "random mask": control | {"n_suppressed": mask.n_suppressed}}


def written_row(
    comparison: Comparison, auto: AutoDebiasClassifier, feature_set: FeatureSet | None = None
) -> dict[str, Any]:
    """What ``--method auto`` would leave: mixed as far as it helps, or the original."""
    head = written(comparison, "auto", auto, feature_set)
    return rated(comparison, head) | {"n_suppressed": 0, "helped": head is not comparison.original}


def validation_predictions(
    comparison: Comparison, name: str, clf: Any, fitted_on: FittedOn
) -> NDArray[Any]:
    """Of heads that have seen the other half of the validation set."""
    comparison.row(name, clf, fitted_on)
    return comparison.validation_predictions(name)


def control_rows(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """What the candidates are compared with; "tuned-C" is chosen on the rows that are fitted.

    The grid that "auto" had before is what ntkit.debias does not offer.
    """
    heads = {
        "ERM-tuned-C": tuned(comparison.train, None, comparison.seed),
        "class-balanced-validation-tuned-C": tuned(
            comparison.validation, "balanced", comparison.seed
        ),
        "class-balanced-both-tuned-C": tuned(
            joined(comparison.train, comparison.validation), "balanced", comparison.seed
        ),
    }
    narrow = AutoDebiasClassifier(alphas=(0.1, 1.0, 10.0))
    heads["auto-alphas-0.1-to-10"] = comparison.fit(narrow)[0].head_
    return {name: rated(comparison, head) | {"n_suppressed": 0} for name, head in heads.items()}


def tuned(samples: Rows, class_weight: str | None, seed: int) -> LinearHead:
    """Retrain with the penalty of best five-fold accuracy, the mean over classes if balanced."""
    Z, y = samples.X, samples.y
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    score = balanced_accuracy_score if class_weight else accuracy_score

    def fitted(alpha: float, rows: Array) -> LinearHead:
        C = 1 / (alpha * len(rows))
        return retrain_head(Z[rows], y[rows], class_weight=class_weight, C=C)

    def accuracy(alpha: float) -> float:
        pred = np.empty_like(y)
        for fit, rest in folds.split(Z, y):
            pred[rest] = fitted(alpha, fit).predict(Z[rest])
        return float(score(y, pred))

    return fitted(max(sorted(ALPHAS, reverse=True), key=accuracy), np.arange(len(y)))


def reference_rows(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Retraining with group labels, as an upper bound."""
    held, both = comparison.validation, joined(comparison.train, comparison.validation)
    dro = GroupDROClassifier(C=1 / len(both.y), eta=0.1)
    dro.fit(both.X, both.y, groups=both.groups)
    heads = {
        "DFR-validation †": dfr(held, comparison.seed),
        "DFR-both †": dfr(both, comparison.seed),
        "GroupDRO-both †": dro,
    }
    return {
        name: rated(comparison, clf.head_) | {"n_suppressed": 0, "C": clf.C}
        for name, clf in heads.items()
    }


def dfr(samples: Rows, seed: int) -> DFRClassifier:
    """Group-weighted retraining; C by five-fold cross-validated worst-group accuracy."""
    Z, y, groups = samples.X, samples.y, samples.groups
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)

    def fitted(alpha: float, rows: Array) -> DFRClassifier:
        clf = DFRClassifier(variant="weighted", C=1 / (alpha * len(rows)))
        return clf.fit(Z[rows], y[rows], groups=groups[rows])

    def worst_group(alpha: float) -> float:
        pred = np.empty_like(y)
        for fit, rest in folds.split(Z, groups):
            pred[rest] = fitted(alpha, fit).predict(Z[rest])
        return worst_group_accuracy(y, pred, groups=groups)

    return fitted(max(sorted(ALPHAS, reverse=True), key=worst_group), np.arange(len(y)))


def rated(comparison: Comparison, head: Any) -> dict[str, Any]:
    """Test results, with the mean over groups, and over groups by their training shares."""
    test = comparison.test
    accuracy = accuracy_by(test.y, head.predict(test.X), test.groups)
    by_group = [float(accuracy[group]) for group in sorted(accuracy)]
    shares = np.bincount(comparison.train.groups)
    return {
        "worst_group": min(by_group),
        "average": float(np.mean(by_group)),
        "adjusted": float(np.average(by_group, weights=shares)),
        "by_group": by_group,
    }


def scores(comparison: Comparison, pred: Array) -> dict[str, float]:
    """Every rule's score of validation predictions, the oracle's too."""
    held = comparison.validation
    given = {
        "Z": held.X,
        "reference_pred": comparison.classes[comparison.reference_proba.argmax(axis=1)],
        "reference_proba": comparison.reference_proba,
        "classes": comparison.classes,
    }
    values = {name: named_score(name, held.y, pred, **given) for name in LABEL_FREE_SCORES}
    oracle = named_score("worst_group_accuracy", held.y, pred, groups=held.groups)
    return {name: float(value) for name, value in (values | {ORACLE: oracle}).items()}


# -- sweeps: worst-group accuracy of the published method, one thing changed at a time ----------


def readings(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Union, intersection and one mask for each class, of activations and of their magnitudes."""
    found = {}
    for name, parameters in READINGS.items():
        clf, _ = comparison.fit(by_paper(**parameters))
        figures = rated(comparison, clf.head_)
        flagged = clf.suppressed_per_class_
        found[name] = {
            "worst_group": figures["worst_group"],
            "n_suppressed": int((clf.coef_ == 0).all(axis=0).sum()),
            "n_flagged": float(flagged.sum(axis=1).mean()),
        }
    return found


def ridges(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Suppressed, a random mask of the same size and no mask, by penalty."""
    n = len(comparison.train.y)
    found = {}
    for alpha in RIDGES:
        C = 1 / (alpha * n)
        plain, _ = comparison.fit(BalancedClassifier(C=C), as_is=True)
        clf, _ = comparison.fit(by_paper(C=C), as_is=True)
        found[f"{alpha:g}"] = {
            "class-balanced": rated(comparison, plain.head_)["worst_group"],
            "neurontune": rated(comparison, clf.head_)["worst_group"],
            "random mask": comparison.random_mask_row(clf, 5).worst_group,
        }
    return found


# -- all of it -------------------------------------------------------------------------------


def conditions(results: Sequence[dict[str, Any]], seconds: float, n_jobs: int) -> str:
    """What was run, on what."""
    sizes = []
    for result in results:
        if result["seed"] == results[0]["seed"]:
            groups = result["groups"]
            sizes.append(
                [
                    f"{result['data']}, {result['setting']}",
                    *(
                        " / ".join(map(str, groups[part]))
                        for part in ("train", "validation", "test")
                    ),
                ]
            )
    packages = ("ntkit", "numpy", "scipy", "scikit-learn")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    return (
        f"{len({r['seed'] for r in results})} seeds; Python {platform.python_version()}, "
        f"{versions}; {os.cpu_count()} cores, {n_jobs} processes with OPENBLAS_NUM_THREADS="
        f"{threads}; {seconds / 60:.1f} minutes.\n\n"
        + table(
            ["samples of the groups (y, a) = 00 / 01 / 10 / 11", "train", "validation", "test"],
            sizes,
        )
    )


def main() -> None:
    """Run everything and print the tables."""
    parser = command_line(__doc__, "data_dir", "--n-jobs", "--markdown", "--json")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--checks", action="store_true", help="data nothing was designed on")
    parser.add_argument("--data", nargs="+", choices=[*DATA, *CHECKS], help="some data sets only")
    parser.add_argument(
        "--plot", type=Path, help="also draw the worst groups here (needs matplotlib)"
    )
    arguments = parser.parse_args()
    start = time.perf_counter()
    jobs = [
        (name, setting, seed)
        for name in arguments.data or (CHECKS if arguments.checks else DATA)
        for setting in SETTINGS
        for seed in range(arguments.seeds)
    ]
    results = Parallel(n_jobs=arguments.n_jobs, verbose=5)(
        delayed(run)(arguments.data_dir, *job) for job in jobs
    )
    seconds = time.perf_counter() - start
    tables = Tables(results)
    text = f"## What was run\n\n{conditions(results, seconds, arguments.n_jobs)}\n\n{tables}\n"
    publish(text, arguments.markdown)
    for message, count in sum((r["warnings"] for r in results), Counter()).most_common(10):
        print(f"warned {count} times: {message}")
    save(tables.judged_results(), arguments.json)
    if arguments.plot:
        from evidence_plot import plot

        plot(tables.cells, arguments.plot)


if __name__ == "__main__":
    main()

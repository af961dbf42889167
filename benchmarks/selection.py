"""Estimators and label-free selection rules on real embeddings: which head is best, which is found.

    python benchmarks/selection.py DATA_DIR [--seeds 5] [--json FILE] [--markdown FILE]

DATA_DIR holds ``tuxscenes_efficientnet_lite0.npz`` (arrays Ztr, ytr, atr; Zva, yva, ava, balanced
over groups; Zte, yte, ate), ``rotten_tomatoes_minilm_l3.npz`` and ``spam_assassin_minilm_l3.npz``
(arrays Z, y, a), with y the class and a the spurious attribute; a group is a pair of the two. For
every data set and seed one training set meets two held-out sets: one balanced over the groups, and
one distributed as the training set. All candidates of :func:`ntkit.debias` and the other methods
it knows are fitted; every label-free score picks one of them by predictions on halves of the
held-out set that a candidate has not seen. Group labels serve the test figures, the rows marked †
and the rule marked †; nothing else sees them.

BLAS threads are in the way here: ``OPENBLAS_NUM_THREADS=1`` is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.model_selection import StratifiedKFold, train_test_split

from ntkit._comparison import (
    CANDIDATES,
    OTHER_METHODS,
    Comparison,
    LabelledEmbeddings,
    Setting,
    n_suppressed,
)
from ntkit.estimators import (
    BalancedClassifier,
    DFRClassifier,
    GroupDROClassifier,
    retrain_head,
)
from ntkit.metrics import (
    LABEL_FREE_SCORES,
    accuracy_by,
    get_score,
    label_free_score,
    worst_group_accuracy,
)

Array = NDArray[Any]
SETTINGS = ("balanced", "i.i.d.")
ALPHAS = (0.1, 1.0, 10.0)
"""Ridge weights on the mean loss for the references that tune it; those of ``auto``."""
FACTORS = (1.0, 10.0, 100.0, 1000.0)
"""Multiples of C = 1 / N for the tuned ERM head; those of ``Comparison.tuned_C``."""
ORACLE = "worst-group accuracy †"
ORIGINAL = "original ERM head"
OWN = (*CANDIDATES, "class-balanced-tuned-C")
"""What ``ntkit.debias(select=…)`` chooses from when no other method is named."""


# -- data -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Splits:
    """A training set, its two held-out sets by setting, and the test set."""

    train: LabelledEmbeddings
    heldout: dict[str, LabelledEmbeddings]
    test: LabelledEmbeddings


def tuxscenes(folder: Path, seed: int) -> Splits:
    """Two thirds of the 95 % correlated set for training; unseen objects and scenes to test."""
    with np.load(folder / "tuxscenes_efficientnet_lite0.npz") as data:
        pool, balanced, test = (
            labelled(*(data[name + part] for name in "Zya")) for part in ("tr", "va", "te")
        )
    train, iid = two_thirds(pool, seed)
    rows = drawn(balanced.groups, dict.fromkeys(range(4), len(iid.y) // 4), seed)
    return Splits(train, {"balanced": taken(balanced, rows), "i.i.d.": iid}, test)


def rotten_tomatoes(folder: Path, seed: int) -> Splits:
    """200 reviews a group to test, 100 a group held out, the rest thinned to 95 % correlation."""
    samples = read(folder / "rotten_tomatoes_minilm_l3.npz")
    test, balanced, rest = parted(samples, (200, 100), seed)
    counts = np.bincount(rest.groups)
    major = int(min(counts[0], counts[3]))
    minor = round(major / 19)
    sizes = {0: major, 1: minor, 2: minor, 3: major}
    train, iid = two_thirds(taken(rest, drawn(rest.groups, sizes, seed)), seed)
    return Splits(train, {"balanced": balanced, "i.i.d.": iid}, test)


def spam_assassin(folder: Path, seed: int) -> Splits:
    """Of the smallest group 40 % to test and 20 % held out, the same number of every group.

    The other 40 % of it, and 40 % of every other group, are for training: the natural shares.
    """
    samples = read(folder / "spam_assassin_minilm_l3.npz")
    counts = np.bincount(samples.groups)
    test, balanced, rest = parted(samples, (int(0.4 * counts.min()), int(0.2 * counts.min())), seed)
    sizes = {group: int(0.4 * count) for group, count in enumerate(counts)}
    train, iid = two_thirds(taken(rest, drawn(rest.groups, sizes, seed)), seed)
    return Splits(train, {"balanced": balanced, "i.i.d.": iid}, test)


DATA: dict[str, Callable[[Path, int], Splits]] = {
    "TuxScenes": tuxscenes,
    "Rotten Tomatoes": rotten_tomatoes,
    "SpamAssassin": spam_assassin,
}


def read(path: Path) -> LabelledEmbeddings:
    """Embeddings, classes and groups of a file with arrays Z, y, a."""
    with np.load(path) as data:
        return labelled(data["Z"], data["y"], data["a"])


def labelled(Z: Array, y: Array, a: Array) -> LabelledEmbeddings:
    """Samples with group 2 y + a."""
    y = y.astype(np.int64)
    return LabelledEmbeddings(Z, y, 2 * y + a.astype(np.int64))


def taken(samples: LabelledEmbeddings, rows: Array) -> LabelledEmbeddings:
    """Some of the samples."""
    return LabelledEmbeddings(samples.Z[rows], samples.y[rows], samples.groups[rows])


def drawn(groups: Array, sizes: dict[int, int], seed: int) -> Array:
    """Row numbers of a random draw of so many samples of each group, in random order."""
    rng = np.random.default_rng(seed)
    return rng.permutation(
        np.concatenate(
            [rng.choice(np.flatnonzero(groups == g), n, replace=False) for g, n in sizes.items()]
        )
    )


def parted(
    samples: LabelledEmbeddings, sizes: Sequence[int], seed: int
) -> Iterator[LabelledEmbeddings]:
    """Disjoint sets with so many samples of every group each, then the rest."""
    rest = np.arange(len(samples.y))
    for size in sizes:
        groups = samples.groups[rest]
        rows = drawn(groups, dict.fromkeys(np.unique(groups).tolist(), size), seed)
        yield taken(samples, rest[rows])
        rest = np.delete(rest, rows)
    yield taken(samples, rest)


def two_thirds(samples: LabelledEmbeddings, seed: int) -> list[LabelledEmbeddings]:
    """Two thirds and one third, with the same shares of the groups."""
    parts = train_test_split(
        np.arange(len(samples.y)), test_size=1 / 3, stratify=samples.groups, random_state=seed
    )
    return [taken(samples, rows) for rows in parts]


# -- one run ----------------------------------------------------------------------------------


def run(folder: Path, name: str, setting: str, seed: int) -> dict[str, Any]:
    """Fit and rate everything once; what a rule may pick has scores."""
    start = time.perf_counter()
    splits = DATA[name](folder, seed)
    comparison = Comparison(
        splits.train, splits.heldout[setting], splits.test, head=None, seed=seed
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = candidate_rows(comparison) | control_rows(comparison) | reference_rows(comparison)
    return {
        "data": name,
        "setting": setting,
        "seed": seed,
        "groups": {
            part: np.bincount(samples.groups, minlength=4).tolist()
            for part, samples in (
                ("train", comparison.train),
                ("heldout", comparison.heldout),
                ("test", comparison.test),
            )
        },
        "rows": rows,
        "warnings": Counter(f"{w.category.__name__}: {str(w.message)[:90]}" for w in caught),
        "seconds": time.perf_counter() - start,
    }


def candidate_rows(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """What a rule may pick: the candidates of ntkit.debias, other methods, the original head."""
    settings = dict(CANDIDATES)
    tuned = BalancedClassifier(C=comparison.tuned_C())
    settings["class-balanced-tuned-C"] = Setting(tuned, as_is=True)
    settings |= {name: Setting(estimator) for name, estimator in OTHER_METHODS.items()}
    rows = {}
    for name, setting in settings.items():
        clf, _ = comparison.fit(setting)
        rows[name] = rated(comparison, clf.head_) | {
            "scores": scores(comparison, comparison.heldout_predictions(setting)),
            "n_suppressed": n_suppressed(clf),
            "n_live": int(clf.live_.sum()) if hasattr(clf, "live_") else None,
            "sound": not (n_suppressed(clf) and clf.spared_),
        }
        if name == "auto":
            rows[name] |= {"recipe": clf.recipe_, "alpha": clf.alpha_}
        if name == "neurontune":
            mask = comparison.random_mask_row(clf, 5)
    original = comparison.original
    rows[ORIGINAL] = rated(comparison, original) | {
        "scores": scores(comparison, original.predict(comparison.heldout.Z)),
        "n_suppressed": 0,
        "sound": True,
    }
    control = {"worst_group": mask.worst_group, "average": mask.average}
    return rows | {"random mask": control | {"n_suppressed": mask.n_suppressed}}


def control_rows(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """ERM with a C chosen by five-fold cross-validated accuracy on the training set."""
    train = comparison.train
    folds = StratifiedKFold(5, shuffle=True, random_state=comparison.seed)

    def accuracy(C: float) -> float:
        right = [
            retrain_head(train.Z[fit], train.y[fit], class_weight=None, C=C).predict(train.Z[rest])
            == train.y[rest]
            for fit, rest in folds.split(train.Z, train.y)
        ]
        return float(np.concatenate(right).mean())

    C = max((factor / len(train.y) for factor in FACTORS), key=accuracy)
    head = retrain_head(train.Z, train.y, class_weight=None, C=C)
    return {"ERM-tuned-C": rated(comparison, head) | {"n_suppressed": 0}}


def reference_rows(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Retraining with group labels, as an upper bound."""
    held, both = comparison.heldout, joined(comparison.train, comparison.heldout)
    dro = GroupDROClassifier(C=1 / len(both.y), eta=0.1)
    dro.fit(both.Z, both.y, groups=both.groups)
    heads = {
        "DFR-heldout †": dfr(held, comparison.seed),
        "DFR-both †": dfr(both, comparison.seed),
        "GroupDRO-both †": dro,
    }
    return {
        name: rated(comparison, clf.head_) | {"n_suppressed": 0, "C": clf.C}
        for name, clf in heads.items()
    }


def dfr(samples: LabelledEmbeddings, seed: int) -> DFRClassifier:
    """Group-weighted retraining; C by five-fold cross-validated worst-group accuracy."""
    Z, y, groups = samples.Z, samples.y, samples.groups
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)

    def fitted(alpha: float, rows: Array) -> DFRClassifier:
        clf = DFRClassifier(variant="weighted", C=1 / (alpha * len(rows)))
        return clf.fit(Z[rows], y[rows], groups=groups[rows])

    def worst_group(alpha: float) -> float:
        pred = np.empty_like(y)
        for fit, rest in folds.split(Z, groups):
            pred[rest] = fitted(alpha, fit).predict(Z[rest])
        return worst_group_accuracy(y, pred, groups=groups)

    return fitted(max(ALPHAS, key=worst_group), np.arange(len(y)))


def joined(*parts: LabelledEmbeddings) -> LabelledEmbeddings:
    """All samples in one set."""
    return LabelledEmbeddings(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("Z", "y", "groups"))
    )


def rated(comparison: Comparison, head: Any) -> dict[str, Any]:
    """Test figures, with the mean over groups, and over groups by their training shares."""
    test = comparison.test
    accuracy = accuracy_by(test.y, head.predict(test.Z), test.groups)
    by_group = [float(accuracy[group]) for group in sorted(accuracy)]
    shares = np.bincount(comparison.train.groups)
    return {
        "worst_group": min(by_group),
        "average": float(np.mean(by_group)),
        "adjusted_average": float(np.average(by_group, weights=shares)),
        "by_group": by_group,
    }


def scores(comparison: Comparison, pred: Array) -> dict[str, float]:
    """Every rule's score of held-out predictions, the oracle's too."""
    held = comparison.heldout
    given = {
        "Z": held.Z,
        "reference_pred": comparison.classes[comparison.reference_proba.argmax(axis=1)],
        "reference_proba": comparison.reference_proba,
        "classes": comparison.classes,
    }
    values = {name: label_free_score(name, held.y, pred, **given) for name in LABEL_FREE_SCORES}
    oracle = get_score("worst_group_accuracy")(held.y, pred, groups=held.groups)
    return {name: float(value) for name, value in (values | {ORACLE: oracle}).items()}


# -- what the rules make of it ----------------------------------------------------------------

RULES = (*LABEL_FREE_SCORES, ORACLE)
FIXED = {"always auto": "auto", "always class-balanced-both": "class-balanced-both"}


def judged(result: dict[str, Any], among: Sequence[str] | None = None) -> dict[str, Any]:
    """Pick, regret and rank correlation of every rule in one run, in points of accuracy."""
    pool = {
        name: row
        for name, row in result["rows"].items()
        if row.get("sound") and (among is None or name in among)
    }
    names, test = list(pool), np.array([100 * row["worst_group"] for row in pool.values()])
    picks, correlation = {}, {}
    for rule in RULES:
        score = np.array([row["scores"][rule] for row in pool.values()])
        picks[rule] = names[int(score.argmax())]  # the first of equals, as in ntkit.debias
        constant = np.ptp(score) == 0 or np.ptp(test) == 0
        correlation[rule] = float("nan") if constant else float(spearmanr(score, test)[0])
    picks |= FIXED
    at = dict(zip(names, test, strict=True))
    best = float(test.max())
    plain = max(at[n] for n in names if not pool[n]["n_suppressed"])
    return {
        "best": best,
        "best_name": names[int(test.argmax())],
        "best_without_masks": plain,
        "picks": picks,
        "correlation": correlation,
        "regret": {rule: best - at[pick] for rule, pick in picks.items()},
        "to_oracle": {rule: at[picks[ORACLE]] - at[pick] for rule, pick in picks.items()},
    }


# -- tables -----------------------------------------------------------------------------------


class Tables:
    """The results by data set and setting as Markdown tables."""

    def __init__(self, results: Sequence[dict[str, Any]]) -> None:
        self.cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for result in results:
            key = (result["data"], result["setting"])
            verdicts = {"judged": judged(result), "judged_own": judged(result, OWN)}
            self.cells.setdefault(key, []).append(result | verdicts)
        self.columns = [f"{data}, {setting}" for data, setting in self.cells]

    def __str__(self) -> str:
        parts = [
            ("Worst-group accuracy on the test set, %", self.accuracies()),
            ("Regret of each rule: best candidate on the test set − pick, points", self.regrets()),
            ("Rank correlation of score and test worst-group accuracy", self.correlations()),
            ("Over the data sets and settings", self.summary("judged")),
            (
                "The same, picking among the candidates of `ntkit.debias` only",
                self.summary("judged_own"),
            ),
            (f"What each rule picked, of {self.n_runs()} runs", self.picks()),
            ("What suppression adds, points", self.suppression()),
            ("Neurons suppressed", self.suppressed()),
            ("`auto` and class-balanced retraining against the references, points", self.auto()),
        ]
        return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts)

    def n_runs(self) -> int:
        """Data sets × settings × seeds."""
        return sum(len(runs) for runs in self.cells.values())

    def accuracies(self) -> str:
        """All estimators."""
        names = list(next(iter(self.cells.values()))[0]["rows"])
        lines = []
        for name in names:
            values = [
                [100 * run["rows"][name]["worst_group"] for run in runs]
                for runs in self.cells.values()
            ]
            lines.append([name, *map(mean_std, values)])
        best = [[run["judged"]["best"] for run in runs] for runs in self.cells.values()]
        return table(
            ["estimator", *self.columns], [*lines, ["*best candidate*", *map(mean_std, best)]]
        )

    def regrets(self) -> str:
        """Regret of all rules by data set and setting."""
        return self._by_rule("regret", (*RULES, *FIXED), mean_std)

    def correlations(self) -> str:
        """Spearman's ρ of all rules by data set and setting."""
        return self._by_rule("correlation", RULES, lambda v: mean_std(v, digits=2))

    def summary(self, verdict: str) -> str:
        """Mean and worst figures of all rules; "judged_own": among the OWN candidates."""
        lines = []
        for rule in (*RULES, *FIXED):
            regret, rho, to_oracle = (
                np.array(self._values(what, rule, verdict))
                for what in ("regret", "correlation", "to_oracle")
            )
            figures = [
                f"{regret.mean():.1f}",
                f"{regret.mean(axis=1).max():.1f}",
                f"{regret.max():.1f}",
                f"{to_oracle.mean():.1f}",
                f"{np.nanmean(rho):.2f}" if rule in RULES else "",
                f"{np.nanmean(rho, axis=1).min():.2f}" if rule in RULES else "",
            ]
            lines.append([rule, *figures])
        header = [
            *("rule", "mean regret", "worst mean regret of a column", "worst run"),
            *("mean regret against †", "mean ρ", "worst mean ρ of a column"),
        ]
        return table(header, lines)

    def picks(self) -> str:
        """How often each rule picked each estimator."""
        runs = [run["judged"] for cell in self.cells.values() for run in cell]
        counts = {rule: Counter(run["picks"][rule] for run in runs) for rule in RULES}
        counts["best on the test set"] = Counter(run["best_name"] for run in runs)
        order = list(next(iter(self.cells.values()))[0]["rows"])
        names = [n for n in order if any(c[n] for c in counts.values())]
        lines = [[n, *(str(c[n] or "") for c in counts.values())] for n in names]
        return table(["estimator", *counts], lines)

    def suppression(self) -> str:
        """Masked candidates against the same without a mask, and against random masks."""
        pairs = [
            ("neurontune", "random mask"),
            ("neurontune", "class-balanced"),
            ("neurontune", "class-balanced-tuned-C"),
            ("neurontune-cells", "cell-balanced"),
            ("neurontune-half-cells", "cell-balanced"),
        ]
        best = [
            [r["judged"]["best"] - r["judged"]["best_without_masks"] for r in c]
            for c in self.cells.values()
        ]
        return self._differences(
            pairs, ["best candidate − best without a mask", *map(mean_std, best)]
        )

    def suppressed(self) -> str:
        """Mean number of suppressed neurons of the candidates that have a mask."""
        rows = next(iter(self.cells.values()))[0]["rows"]
        lines = [
            [name, *(f"{self._mean(c, name, 'n_suppressed'):.0f}" for c in self.cells.values())]
            for name in rows
            if rows[name].get("scores") and rows[name]["n_suppressed"]
        ]
        live = [f"{self._mean(c, 'neurontune', 'n_live'):.0f}" for c in self.cells.values()]
        return table(["estimator", *self.columns], [*lines, ["*live neurons*", *live]])

    def auto(self) -> str:
        """The recipe and its control against retraining with group labels."""
        return self._differences(
            [
                ("auto", "DFR-heldout †"),
                ("auto", "DFR-both †"),
                ("auto", "class-balanced-heldout"),
                ("auto", "class-balanced-both"),
                ("class-balanced-both", "DFR-both †"),
            ]
        )

    def _mean(self, runs: Sequence[dict[str, Any]], name: str, key: str) -> float:
        return float(np.mean([run["rows"][name][key] for run in runs]))

    def _differences(self, pairs: Sequence[tuple[str, str]], *more: list[str]) -> str:
        lines = []
        for one, other in pairs:
            gains = [
                [100 * (r["rows"][one]["worst_group"] - r["rows"][other]["worst_group"]) for r in c]
                for c in self.cells.values()
            ]
            lines.append([f"{one} − {other}", *map(mean_std, gains)])
        return table(["difference", *self.columns], [*lines, *more])

    def _values(self, what: str, rule: str, verdict: str = "judged") -> list[list[float]]:
        return [[run[verdict][what].get(rule, np.nan) for run in c] for c in self.cells.values()]

    def _by_rule(self, what: str, rules: Sequence[str], show: Callable[[Any], str]) -> str:
        return table(
            ["rule", *self.columns], [[r, *map(show, self._values(what, r))] for r in rules]
        )


def mean_std(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation of the values there are."""
    if np.isnan(values).all():
        return "–"
    return f"{np.nanmean(values):.{digits}f} ± {np.nanstd(values):.{digits}f}"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def conditions(results: Sequence[dict[str, Any]], seconds: float, n_jobs: int) -> str:
    """What was run, on what."""
    sizes = []
    for result in results:
        if result["seed"] == results[0]["seed"]:
            groups = result["groups"]
            sizes.append(
                [
                    f"{result['data']}, {result['setting']}",
                    *(" / ".join(map(str, groups[part])) for part in ("train", "heldout", "test")),
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
            ["samples of the groups (y, a) = 00 / 01 / 10 / 11", "train", "held-out", "test"], sizes
        )
    )


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    arguments = parser.parse_args()
    start = time.perf_counter()
    jobs = [
        (name, setting, seed)
        for name in arguments.data
        for setting in SETTINGS
        for seed in range(arguments.seeds)
    ]
    results = Parallel(n_jobs=arguments.n_jobs, verbose=5)(
        delayed(run)(arguments.data_dir, *job) for job in jobs
    )
    seconds = time.perf_counter() - start
    text = f"{conditions(results, seconds, arguments.n_jobs)}\n\n{Tables(results)}\n"
    print(text)
    for message, count in sum((r["warnings"] for r in results), Counter()).most_common(10):
        print(f"warned {count} times: {message}")
    if arguments.json:
        judgements = [r | {"judged": judged(r), "judged_own": judged(r, OWN)} for r in results]
        arguments.json.write_text(json.dumps(judgements, indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Copies of samples that a change made: what retraining on them brings, and masks that they name.

    python benchmarks/data_changes.py DATA_DIR CHANGES_DIR
    OPENBLAS_NUM_THREADS=1 python benchmarks/changes.py CHANGES_DIR RESULTS.jsonl
        [--only PROBLEM …] [--parts methods shares alike] [--seeds 5] [--markdown FILE]

A last layer is retrained on training rows alone, at their natural or 95 % correlation and with the
counterexamples left out (100 %). The test set has every group alike. ``methods`` compares copies
with what group labels give. ``shares`` suppresses neurons by what a change does to them. ``alike``
asks whether a classifier tells copies from the real samples of the group that they enter. Results
are added to RESULTS.jsonl; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import evidence
from ntkit.changes._donors import donors, generator
from ntkit.estimators import (
    AutoDebiasClassifier,
    DFRClassifier,
    InvariantClassifier,
    NeuronTuneClassifier,
)
from ntkit.study import Rows
from splits import drawn, parted, thinned

Array = NDArray[Any]
Row = dict[str, Any]
SETTINGS = ("biased", "no counterexample")
PENALTIES = (0, 1, 10, 100, 1000, 10_000)
"""The last is not among the estimator's own."""
KINDS = {"copies": True, "copies in place": False}
SHARES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9)
N_MASKS = 10


# -- problems ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Some samples: standardised embeddings, classes, attribute."""

    Z: Array
    y: Array
    a: Array

    @property
    def groups(self) -> Array:
        """2 y + a."""
        return 2 * self.y + self.a


@dataclass(frozen=True)
class Problem:
    """Training rows with copies, samples to tune an intercept on, and the test set."""

    train: Part
    fold: Array
    copies: dict[str, Array]  # by change: (N, R, D)
    entered: dict[str, Array]  # value that each copy enters, (N, R), −1 where it is not known
    tune: Part
    test: Part


@dataclass(frozen=True)
class Source:
    """A file of ``data_changes.py``, how it is parted, and its changes by the copies' numbers."""

    file: str
    parted: Callable[[dict[str, Array], int], tuple[Array, Array, Array]]
    changes: dict[str, Sequence[int]]
    n_seeds: int = 5


def of_all(test: Any, tune: Any, share: float | None, kept: float = 1.0) -> Callable[..., Any]:
    """Parted at random: so many of each group to test and to tune; the rest, thinned to 95 %."""

    def split(data: dict[str, Array], seed: int) -> tuple[Array, Array, Array]:
        y, a = data["y"], data["a"]
        rows = Rows.of(np.arange(len(y))[:, None], y, 2 * y + a)
        counts = np.bincount(rows.groups)
        sizes = [size if size >= 1 else int(size * counts.min()) for size in (test, tune)]
        to_test, to_tune, rest = parted(rows, sizes, seed)
        if share is not None:
            rest = thinned(rest, seed)
        if kept < 1:
            sizes = {group: int(kept * count) for group, count in enumerate(counts)}
            at = drawn(rest.groups, sizes, seed)
            rest = Rows.of(rest.X[at], rest.y[at], rest.groups[at])
        train, tuned, tested = (part.X[:, 0] for part in (rest, to_tune, to_test))
        return train, tuned, tested

    return split


def of_parts(data: dict[str, Array], seed: int) -> tuple[Array, Array, Array]:
    """Parted by the file."""
    train, tune, test = (
        np.flatnonzero(data["part"] == name) for name in ("train", "validation", "test")
    )
    return train, tune, test


def of_digits(data: dict[str, Array], seed: int) -> tuple[Array, Array, Array]:
    """Parted by the file; a quarter of the balanced test set tunes intercepts."""
    train, test = (np.flatnonzero(data["part"] == name) for name in ("train", "test"))
    groups = (2 * data["y"] + data["a"])[test]
    tune = drawn(groups, dict.fromkeys(range(4), int(np.bincount(groups).min()) // 4), seed)
    return train, test[tune], np.delete(test, tune)


SOURCES = {
    "Rotten Tomatoes": Source("rotten_tomatoes", of_all(200, 100, 0.95), {"film / movie": [0]}),
    "Rotten Tomatoes, L6": Source(
        "rotten_tomatoes_l6", of_all(200, 100, 0.95), {"film / movie": [0]}
    ),
    "Rotten Tomatoes, LSA": Source(
        "rotten_tomatoes_lsa", of_all(200, 100, 0.95), {"film / movie": [0]}
    ),
    "Waterbirds": Source(
        "waterbirds",
        of_parts,
        {
            "border": [-1],  # of the seed
            "border, 2 copies": [-1, -2],
            "border, 4 copies": [0, 1, 2, 3],
            "border, 55 %": [4],
            "border, 90 %": [5],
            "border, 55, 72, 72, 90 %": [4, -1, -2, 5],
        },
        n_seeds=4,
    ),
    "Digits": Source("marked_digits_93_{}", of_digits, {"top left": [0], "top left, 2": [0, 1]}),
    "Adult, 95 %": Source(
        "adult95_{}", of_all(200, 200, 0.95), {"column of the sex": [0], "all columns": [1]}
    ),
    "Adult": Source(
        "adult_{}", of_all(200, 200, None), {"column of the sex": [0], "all columns": [1]}
    ),
    "Sneaker / boot": Source(
        "fashion_mnist_7_9_{}", of_parts, {"noise": [0], "high frequencies": [2]}
    ),
    "T-shirt / dress": Source(
        "fashion_mnist_0_3_{}", of_parts, {"noise": [0], "high frequencies": [2]}
    ),
    "Pullover / coat": Source(
        "fashion_mnist_2_4_{}", of_parts, {"noise": [0], "high frequencies": [2]}
    ),
    "SpamAssassin": Source("spam_assassin", of_all(0.4, 0.2, None, 0.4), {"mark-up": [0]}),
    "SpamAssassin, L6": Source("spam_assassin_l6", of_all(0.4, 0.2, None, 0.4), {"mark-up": [0]}),
    "SpamAssassin, LSA": Source("spam_assassin_lsa", of_all(0.4, 0.2, None, 0.4), {"mark-up": [0]}),
    "TuxScenes": Source("tuxscenes_{}", of_parts, {"border": [0], "border, 2 copies": [0, 1]}, 2),
}


def problem_of(folder: Path, name: str, setting: str, seed: int) -> Problem:
    """Read a problem."""
    source = SOURCES[name]
    file = source.file.format(seed)
    if name == "Digits" and setting == SETTINGS[1]:
        file = f"marked_digits_100_{seed}"
    with np.load(folder / f"{file}.npz") as stored:
        data = {key: stored[key] for key in stored}
    data["y"], data["a"] = data["y"].astype(np.int64), data["a"].astype(np.int64)
    if "part" in data:  # older builds call the validation set "heldout"
        data["part"] = np.char.replace(data["part"].astype("<U32"), "heldout", "validation")
    train, tune, test = source.parted(data, seed)
    if setting == SETTINGS[1]:
        groups = np.bincount((2 * data["y"] + data["a"])[train], minlength=4)
        usual = groups[0] + groups[3] > groups[1] + groups[2]
        if name == "Adult":  # men earn more: the usual groups of each class
            usual = True
        train = train[(data["y"] == data["a"])[train] == usual]
    scaler = StandardScaler().fit(data["Z"][train])

    def part(rows: Array) -> Part:
        Z = scaler.transform(data["Z"][rows]).astype(np.float32)
        return Part(Z, data["y"][rows], data["a"][rows])

    changed, names = data["Z_changed"], data["copies"]
    values = entered_values(data, names)
    copies, entered = {}, {}
    for change, numbers in source.changes.items():
        numbers = [(seed - 1 - n) % 4 if n < 0 else n for n in numbers]
        some = changed[train][:, numbers].astype(np.float32)
        copies[change] = (some - scaler.mean_.astype(np.float32)) / scaler.scale_.astype(np.float32)
        entered[change] = values[train][:, numbers]
    return Problem(part(train), data["fold"][train], copies, entered, part(tune), part(test))


def entered_values(data: dict[str, Array], names: Array) -> Array:
    """Attribute that each copy takes on, (M, R): the other one, or that of its donor."""
    M = len(data["Z_changed"])
    a, y, fold = data["a"][:M], data["y"][:M], data["fold"][:M]
    part = data["part"][:M] if "part" in data else np.zeros(M)
    entered = np.full((M, len(names)), -1)
    for i, name in enumerate(names.tolist()):
        change, _, seed = name.partition(", seed ")
        if change.startswith("image:noise"):
            continue
        if not change.startswith("image:"):
            entered[:, i] = 1 - a
            continue
        for one in np.unique(part):
            rows = np.flatnonzero(part == one)
            of = donors(len(rows), y[rows], fold[rows], generator(change, int(seed)))
            entered[rows, i] = np.where(of >= 0, a[rows][of], -1)
    return entered


# -- methods -------------------------------------------------------------------------------------

Margin = Callable[[Array], Array]
"""Logit of class 1 of standardised embeddings."""


def margin_of(head: Any, keep: Array | None = None) -> Margin:
    """Logit of class 1 by a head or an estimator, of all neurons or of some."""
    linear = getattr(head, "head_", head)

    def margin(Z: Array) -> Array:
        logits = linear.logits(Z if keep is None else Z[:, keep])
        return np.asarray(logits[:, 1] - logits[:, 0])

    return margin


def rated(problem: Problem, margin: Margin) -> Row:
    """Test accuracies in %, at the intercept as it is and at one tuned with group labels."""
    test, tune = problem.test, problem.tune
    shares = np.bincount(problem.train.groups, minlength=4)

    def by_group(part: Part, scores: Array, threshold: float) -> Array:
        right = (scores > threshold) == part.y
        return np.asarray([100 * right[part.groups == g].mean() for g in range(4)])

    on_test, on_tune = margin(test.Z), margin(tune.Z)
    groups = by_group(test, on_test, 0)
    thresholds = np.unique(np.quantile(on_tune, np.linspace(0.02, 0.98, 193)))
    worst = [by_group(tune, on_tune, t).min() for t in thresholds]
    best = np.flatnonzero(np.isclose(worst, max(worst)))
    tuned = by_group(test, on_test, float(thresholds[best[len(best) // 2]]))
    return {
        "by_group": groups.tolist(),
        "worst": groups.min(),
        "mean": groups.mean(),
        "adjusted": float(np.average(groups, weights=shares)),
        "tuned worst": tuned.min(),
        "tuned mean": tuned.mean(),
    }


def crossed(problem: Problem, change: str, fit: Callable[[Array], Margin]) -> Row:
    """Cross-fitted mean accuracies in %, of rows and of copies, that methods may be chosen by."""
    train, fold, copies = problem.train, problem.fold, problem.copies[change]
    right = np.full(len(train.y), np.nan)
    right_copies = np.full(copies.shape[:2], np.nan)
    for number in np.unique(fold):
        out = np.flatnonzero(fold == number)
        margin = fit(np.flatnonzero(fold != number))
        right[out] = (margin(train.Z[out]) > 0) == train.y[out]
        for r in range(copies.shape[1]):
            there = out[~np.isnan(copies[out, r, 0])]
            right_copies[there, r] = (margin(copies[there, r]) > 0) == train.y[there]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_copies = np.nanmean(right_copies, axis=1)

    def mean(cells: Array, values: Array) -> float:
        known = ~np.isnan(values)
        of_cells = [values[(cells == c) & known].mean() for c in np.unique(cells[known])]
        return 100 * float(np.mean(of_cells))

    both = np.append(right, of_copies)
    least, n = min(
        (float(np.nanmean(v[train.y == c])), int((~np.isnan(v[train.y == c])).sum()))
        for v in (right, of_copies)
        for c in np.unique(train.y)
    )
    return {
        "class": mean(train.y, right),
        "class × attribute": mean(train.groups, right),
        "class × {original, changed}": mean(np.append(train.y, 2 + train.y), both),
        "class × attribute × {original, changed}": mean(
            np.append(train.groups, 4 + train.groups), both
        ),
        "smallest class × {original, changed}": 100 * least,
        "error of the smallest": 100 * float(np.sqrt(least * (1 - least) / n)),
    }


def base_rows(problem: Problem, seed: int) -> dict[str, Row]:
    """What sees no copies."""
    train, rows = problem.train, {}
    own = Rows.of(train.Z, train.y, train.groups)
    rows["ERM, tuned C"] = rated(problem, margin_of(evidence.tuned(own, None, seed)))
    rows["class-balanced"] = rated(
        problem, margin_of(InvariantClassifier(random_state=seed).fit(train.Z, train.y))
    )
    dfr = DFRClassifier(variant="weighted", C=None, random_state=seed)
    rows["DFR †"] = rated(problem, margin_of(dfr.fit(train.Z, train.y, groups=train.groups)))
    mask = NeuronTuneClassifier(random_state=seed).fit(train.Z, train.y)
    n = int(mask.suppressed_.sum())
    rows["NeuronTune by errors"] = rated(problem, margin_of(mask)) | {"n_suppressed": n}
    return rows


def group_balanced(problem: Problem, seed: int, **options: Any) -> Callable[[Array], Any]:
    """The recipe of AutoDebias on some rows, its groups known."""
    train = problem.train

    def fit(rows: Array) -> Any:
        clf = AutoDebiasClassifier(recipe="group-balanced", random_state=seed, **options)
        return clf.fit(train.Z[rows], train.y[rows], attributes=train.a[rows, None])

    return fit


def invariant(
    problem: Problem, change: str, *, groups: bool = False, keep: Array | None = None
) -> Callable[..., Any]:
    """Fit an InvariantClassifier on some rows and their copies, on all neurons or on some."""
    train, copies = problem.train, problem.copies[change]
    kept = slice(None) if keep is None else keep

    def fit(rows: Array, **options: Any) -> Any:
        return InvariantClassifier(**{"originals": False} | options).fit(
            train.Z[rows][:, kept],
            train.y[rows],
            X_changed=copies[rows][:, :, kept],
            groups=train.a[rows] if groups else None,
            folds=problem.fold[rows],
        )

    return fit


def where_they_enter(problem: Problem, change: str) -> Callable[..., Any] | None:
    """Fit with groups in which a copy counts where it enters; None where that is not known."""
    train, copies, entered = problem.train, problem.copies[change], problem.entered[change]
    if (entered < 0).all():
        return None

    def fit(rows: Array, **options: Any) -> Any:
        at, which = np.nonzero(~np.isnan(copies[rows][:, :, 0]))
        at = rows[at]
        once = np.bincount(at, minlength=len(train.y))[at]
        return InvariantClassifier(penalties=(0,), **options).fit(
            np.concatenate([train.Z[rows], copies[at, which]]),
            np.append(train.y[rows], train.y[at]),
            np.append(np.ones(len(rows)), 1 / once),
            groups=np.append(train.a[rows], entered[at, which]),
            folds=np.append(problem.fold[rows], problem.fold[at]),
        )

    return fit


def change_rows(problem: Problem, change: str, seed: int) -> dict[str, Row]:
    """What sees copies by a change; and what the group-balanced head makes of them."""
    every, rows = np.arange(len(problem.train.y)), dict[str, Row]()

    def add(name: str, fit: Callable[..., Any], *, fixed: Row | None = None, **options: Any) -> Any:
        start = time.perf_counter()
        clf = fit(every, random_state=seed, **(fixed or options))
        rows[name] = row = rated(problem, margin_of(clf))
        row |= {"penalty": clf.penalty_, "alpha": clf.alpha_}
        row["seconds"] = time.perf_counter() - start
        if fixed:
            return clf
        row |= {"scores": clf.scores_.tolist(), "errors": clf.score_error_.tolist()}
        known = {k: v for k, v in options.items() if k == "originals"}
        known["alphas"] = (clf.alpha_,)
        if fit is not entering:
            known["penalties"] = (clf.penalty_,)
        row["crossed"] = crossed(problem, change, lambda some: margin_of(fit(some, **known)))
        return clf

    with_copies, entering = invariant(problem, change), where_they_enter(problem, change)
    for kind, originals in KINDS.items():
        start = time.perf_counter()
        tried = with_copies(every, random_state=seed, originals=originals, penalties=PENALTIES)
        seconds = time.perf_counter() - start
        falling = sorted(tried.alphas, reverse=True)
        for i, penalty in enumerate(PENALTIES):
            alpha = falling[int(tried.scores_[i].argmax())]
            name = f"{kind}, penalty {penalty}" if penalty else kind
            fixed = {"penalties": (penalty,), "alphas": (alpha,), "originals": originals}
            add(name, with_copies, fixed=fixed)
            rows[name]["crossed"] = crossed(
                problem, change, lambda some, f=fixed: margin_of(with_copies(some, **f))
            )
            rows[name]["score"] = float(tried.scores_[i].max())
            rows[name]["error"] = float(tried.score_error_[i, tried.scores_[i].argmax()])
            rows[name]["seconds"] = seconds
    add("groups and copies †", invariant(problem, change, groups=True))
    if entering:
        add("groups, copies where they enter †", entering)
    balanced = group_balanced(problem, seed)(every)
    own = {"alphas": (balanced.alpha_,)}
    rows["group-balanced †"] = rated(problem, margin_of(balanced)) | {
        "alpha": balanced.alpha_,
        "crossed": crossed(
            problem,
            change,
            lambda some: margin_of(group_balanced(problem, seed, **own)(some)),
        ),
    }
    rows |= by_change(problem, change, seed)
    return rows


WIDE = 1000
"""Neurons above which less is tried: the ridge weight is chosen without the penalty, of three."""
WIDE_ALPHAS = (0.1, 1.0, 10.0)


def wide_rows(problem: Problem, change: str, seed: int) -> dict[str, Row]:
    """The rows of :func:`change_rows` that matter, for many neurons."""
    every, rows = np.arange(len(problem.train.y)), dict[str, Row]()
    with_copies = invariant(problem, change)
    scored = change in ("border", "border, 4 copies")
    for kind, originals in (("copies in place", False), ("copies", True)):
        if change not in ("border", "border, 4 copies", "border, 2 copies") and originals:
            continue
        start = time.perf_counter()
        options = {"originals": originals, "random_state": seed}
        clf = with_copies(every, penalties=(0,), alphas=WIDE_ALPHAS, **options)
        for penalty in PENALTIES[:5] if scored else (0, 1, 10):
            fixed = {"penalties": (penalty,), "alphas": (clf.alpha_,), **options}
            head = clf if not penalty else with_copies(every, **fixed)
            name = f"{kind}, penalty {penalty}" if penalty else kind
            rows[name] = rated(problem, margin_of(head))
            rows[name] |= {"penalty": penalty, "alpha": clf.alpha_}
            if scored:
                rows[name]["crossed"] = crossed(
                    problem, change, lambda some, f=fixed: margin_of(with_copies(some, **f))
                )
            rows[name]["seconds"] = time.perf_counter() - start
            print(change, name, {k: rows[name][k] for k in ("worst", "mean")}, flush=True)
    if not scored:
        return rows
    entering = where_they_enter(problem, change)
    for name, fit, options in (
        ("groups and copies †", invariant(problem, change, groups=True), {"penalties": (0,)}),
        ("groups, copies where they enter †", entering, {}),
    ):
        clf = fit(every, alphas=WIDE_ALPHAS, random_state=seed, **options)
        known = {"alphas": (clf.alpha_,), **options}
        rows[name] = rated(problem, margin_of(clf)) | {"alpha": clf.alpha_}
        rows[name]["crossed"] = crossed(
            problem, change, lambda some, f=fit, k=known: margin_of(f(some, **k))
        )
        print(change, name, {k: rows[name][k] for k in ("worst", "mean")}, flush=True)
    return rows


def wide_base_rows(problem: Problem, seed: int) -> dict[str, Row]:
    """What sees no copies, for many neurons."""
    train, rows = problem.train, {}
    own = InvariantClassifier(alphas=WIDE_ALPHAS, random_state=seed)
    rows["class-balanced"] = rated(problem, margin_of(own.fit(train.Z, train.y)))
    balanced = InvariantClassifier(alphas=WIDE_ALPHAS, random_state=seed)
    balanced.fit(train.Z, train.y, groups=train.a, folds=problem.fold)
    known = {"alphas": (balanced.alpha_,)}

    def fit(some: Array) -> Margin:
        clf = InvariantClassifier(**known)
        return margin_of(clf.fit(train.Z[some], train.y[some], groups=train.a[some]))

    rows["group-balanced †"] = rated(problem, margin_of(balanced)) | {"alpha": balanced.alpha_}
    rows["group-balanced †"]["crossed"] = crossed(problem, next(iter(problem.copies)), fit)
    dfr = DFRClassifier(variant="weighted", C=None, random_state=seed)
    rows["DFR †"] = rated(problem, margin_of(dfr.fit(train.Z, train.y, groups=train.groups)))
    samples = Rows.of(train.Z, train.y, train.groups)
    rows["ERM, tuned C"] = rated(problem, margin_of(evidence.tuned(samples, None, seed)))
    for name in rows:
        print(name, {k: rows[name][k] for k in ("worst", "mean")}, flush=True)
    return rows


def with_choices(rows: dict[str, Row]) -> dict[str, Row]:
    """Add what rules choose among penalties, and among copies next to and in place of originals."""

    def named(kind: str, penalty: float) -> str:
        return f"{kind}, penalty {penalty}" if penalty else kind

    def chosen(name: str) -> Row:
        return dict(rows[name]) | {"chosen": name}

    chosen_rows: dict[str, Row] = {}
    for kind in KINDS:
        own = [rows[named(kind, p)] for p in PENALTIES[:5] if named(kind, p) in rows]
        if not own or "score" not in own[0]:
            continue
        best = max(own, key=lambda row: row["score"])
        for called, order in (("penalty", own), ("largest penalty", own[::-1])):
            first = next(row for row in order if row["score"] >= best["score"] - best["error"])
            chosen_rows[f"{kind} and {called}"] = chosen(named(kind, int(first["penalty"])))
    known = {
        kind: [r for p in PENALTIES if "crossed" in (r := rows.get(named(kind, p), {}))]
        for kind in KINDS
    }
    key, error = "smallest class × {original, changed}", "error of the smallest"
    if not all(known.values()):
        return rows | chosen_rows

    def top(kind: str) -> Row:
        return max(known[kind], key=lambda row: row["crossed"][key])

    kind = max(known, key=lambda kind: top(kind)["crossed"][key])
    best = top(kind)
    name = named(kind, int(best["penalty"]))
    chosen_rows["by the smallest cell"] = chosen(name)
    bound = best["crossed"][key] - best["crossed"][error]
    last = [row for row in known[kind] if row["crossed"][key] >= bound][-1]
    chosen_rows["by the smallest cell, largest penalty"] = chosen(named(kind, int(last["penalty"])))
    return rows | chosen_rows


def by_change(problem: Problem, change: str, seed: int) -> dict[str, Row]:
    """NeuronTune's estimator by a change, as it is and at half of the neurons; random masks."""
    train, copies, rows = problem.train, problem.copies[change], dict[str, Row]()
    settings = {
        "NeuronTune by change": {},
        "NeuronTune by change, 50 %": {
            "threshold": 0.0,
            "max_suppressed": 0.5,
        },
    }
    rng = np.random.default_rng([seed, 5])
    for name, options in settings.items():
        n_masks = N_MASKS if options else 0
        clf = NeuronTuneClassifier(statistic="change", random_state=seed, **options)
        clf.fit(train.Z, train.y, X_changed=copies)
        n, live = int(clf.suppressed_.sum()), np.flatnonzero(clf.non_constant_)
        alpha = 1 / (len(train.y) * clf.C_)
        rows[name] = rated(problem, margin_of(clf)) | {"n_suppressed": n, "alpha": alpha}
        drawn_masks = []
        for _ in range(n_masks if n else 0):
            keep = np.ones(train.Z.shape[1], dtype=bool)
            keep[rng.choice(live, n, replace=False)] = False
            plain = InvariantClassifier(alphas=(alpha,)).fit(train.Z[:, keep], train.y)
            drawn_masks.append(rated(problem, margin_of(plain, keep)))
        if drawn_masks:
            rows[f"random masks, as many as {name}"] = averaged(drawn_masks)
    return rows


def averaged(rows: Sequence[Row]) -> Row:
    """Mean of each figure over rows."""
    return {key: np.mean([row[key] for row in rows], axis=0).tolist() for key in rows[0]}


# -- neurons by what a change does to them ---------------------------------------------------------


def moved(problem: Problem, change: str) -> Array:
    """Root mean square of what a change does to each neuron, in its deviations, (D,)."""
    difference = problem.copies[change] - problem.train.Z[:, None]
    return np.asarray(np.sqrt(np.nanmean(difference.astype(np.float64) ** 2, axis=(0, 1))))


def error_scores(problem: Problem, seed: int) -> Array:
    """NeuronTune's own score of each neuron, the largest over the classes, (D,)."""
    train = problem.train
    C = 1 / len(train.y) if train.Z.shape[1] >= WIDE else None
    clf = NeuronTuneClassifier(max_cost=None, C=C, random_state=seed).fit(train.Z, train.y)
    scores = np.where(np.isnan(clf.spuriousness_scores_), -np.inf, clf.spuriousness_scores_)
    top = scores.max(axis=0)
    return np.where(np.isfinite(top), top, -1e9)


def shares(problem: Problem, change: str, seed: int, n_masks: int = N_MASKS) -> Row:
    """Masks of each share: by the change, by errors, at random; on three kinds of rows."""
    train, fold = problem.train, problem.fold
    live = np.flatnonzero(train.Z.std(axis=0) > 1e-6)
    rng = np.random.default_rng([seed, 7])
    ranked = {
        "change": live[np.argsort(-moved(problem, change)[live], kind="stable")],
        "errors": live[np.argsort(-error_scores(problem, seed)[live], kind="stable")],
    }
    ranked |= {f"random {i}": rng.permutation(live) for i in range(n_masks)}
    found: Row = {}
    wide = train.Z.shape[1] >= WIDE  # one ridge weight for all
    for kind, options in (
        ("originals", None),
        ("copies and originals", {"originals": True}),
        ("copies in place", {"originals": False}),
    ):
        if wide and kind == "copies and originals":
            continue
        alphas = dict.fromkeys(SHARES, 1.0) if wide else None
        for name, order in ranked.items():
            for share in SHARES:
                if share == 0 and name != "change":
                    continue
                keep = np.ones(train.Z.shape[1], dtype=bool)
                keep[order[: round(share * len(live))]] = False
                if not keep[live].any():
                    continue
                fixed = alphas is not None and (wide or name.startswith("random"))
                used = {"alphas": (alphas[share],)} if fixed else {}
                fit = fit_on(problem, change, keep, options, used)
                clf = fit(np.arange(len(train.y)))
                row = rated(problem, margin_of(clf, keep)) | {"alpha": clf.alpha_}
                if name == "change" or (name == "errors" and not wide):
                    own = fit_on(problem, change, keep, options, {"alphas": (clf.alpha_,)})
                    row["crossed"] = crossed(
                        problem, change, lambda some, f=own, k=keep: margin_of(f(some), k)
                    )
                found[f"{kind} | {name} | {share:g}"] = row
            if name == "change" and not wide:
                alphas = {s: found[f"{kind} | change | {s:g}"]["alpha"] for s in SHARES}
    found["n"] = len(fold)
    return found


def fit_on(
    problem: Problem, change: str, keep: Array, options: Row | None, used: Row
) -> Callable[[Array], Any]:
    """Class-balanced retraining on kept neurons: originals, or also copies, or copies instead."""
    if options is not None:
        fit = invariant(problem, change, keep=keep)
        return lambda rows: fit(rows, penalties=(0,), **options, **used)
    train = problem.train

    def plain(rows: Array) -> Any:
        clf = InvariantClassifier(**used)
        return clf.fit(train.Z[rows][:, keep], train.y[rows], folds=problem.fold[rows])

    return plain


# -- are copies like real samples? -----------------------------------------------------------------


def alike(problem: Problem, change: str, seed: int, most: int = 600) -> Row:
    """Cross-validated AUC between copies and the real samples of the group they enter."""
    train, copies, entered = problem.train, problem.copies[change], problem.entered[change]
    rng = np.random.default_rng([seed, 11])
    found: Row = {}
    for y in (0, 1):
        for a in (0, 1):
            real = train.Z[(train.y == y) & (train.a == a)]
            into = (entered == a) & (train.y == y)[:, None] & ~np.isnan(copies[:, :, 0])
            if (entered == -1).all():  # no value is entered: compared with the class's own samples
                into = ((train.a == a) & (train.y == y))[:, None] & ~np.isnan(copies[:, :, 0])
            made = copies[into]
            if min(len(real), len(made)) < 10:
                found[f"{y}, {a}"] = {"auc": None, "real": len(real), "copies": len(made)}
                continue
            some = [v[rng.permutation(len(v))[:most]] for v in (real, made)]
            found[f"{y}, {a}"] = {
                "auc": two_sample_auc(*some, seed),
                "real": len(some[0]),
                "copies": len(some[1]),
            }
    return found


def two_sample_auc(one: Array, other: Array, seed: int) -> float:
    """Cross-validated AUC of a linear classifier between two sets."""
    Z, label = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    clf = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500)
    )
    scores = np.empty(len(label))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    aucs = []
    for fit, rest in folds.split(Z, label):
        scores[rest] = clf.fit(Z[fit], label[fit]).decision_function(Z[rest])
        aucs.append(roc_auc_score(label[rest], scores[rest]))
    return float(np.mean(aucs))


# -- all of it -----------------------------------------------------------------------------------


def methods(problem: Problem, change: str, seed: int) -> Row:
    """Rows of a change, and what sees none of it."""
    if problem.train.Z.shape[1] >= WIDE:
        rows = wide_rows(problem, change, seed)
        if change == "border" and seed == 0:
            rows |= wide_base_rows(problem, seed)
        return {"rows": with_choices(rows)}
    return {"rows": with_choices(base_rows(problem, seed) | change_rows(problem, change, seed))}


def default(problem: Problem, change: str, seed: int) -> Row:
    """The estimator as it is."""
    clf = invariant(problem, change)(np.arange(len(problem.train.y)), random_state=seed)
    return rated(problem, margin_of(clf)) | {"penalty": clf.penalty_, "alpha": clf.alpha_}


PARTS: dict[str, Callable[[Problem, str, int], Row]] = {
    "default": lambda problem, change, seed: {"rows": {"default": default(problem, change, seed)}},
    "methods": methods,
    "shares": lambda problem, change, seed: {"rows": shares(problem, change, seed)},
    "alike": lambda problem, change, seed: {"rows": alike(problem, change, seed)},
}


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--only", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--changes", nargs="+", help="by default all of a problem")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    keys = ("part", "problem", "setting", "change", "seed")
    done = {tuple(found[key] for key in keys) for found in known}
    for part in arguments.parts:
        for name in arguments.only:
            for seed in range(min(arguments.seeds, SOURCES[name].n_seeds)):
                for setting in arguments.settings:
                    wanted = [
                        change
                        for change in SOURCES[name].changes
                        if (not arguments.changes or change in arguments.changes)
                        and (part, name, setting, change, seed) not in done
                    ]
                    if not wanted:
                        continue
                    problem = problem_of(arguments.folder, name, setting, seed)
                    for change in wanted:
                        start = time.perf_counter()
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")
                            one = replace(problem, copies={change: problem.copies[change]})
                            found = PARTS[part](one, change, seed)
                        values = (part, name, setting, change, seed)
                        found = dict(zip(keys, values, strict=True)) | found
                        found["train"] = np.bincount(problem.train.groups, minlength=4).tolist()
                        line = json.dumps(found, default=float)
                        with results.open("a") as file:
                            file.write(line + "\n")
                        known.append(json.loads(line))
                        seconds = time.perf_counter() - start
                        print(f"{', '.join(map(str, values))}: {seconds:.0f} s", flush=True)
    if arguments.markdown:
        from changes_tables import tables

        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()

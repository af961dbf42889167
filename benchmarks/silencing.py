"""When suppressing neurons can add to reweighting, and when it cannot: injected problems.

    OPENBLAS_NUM_THREADS=1 python benchmarks/silencing.py
        [--seeds 0 1 2 3 4] [--known FILE] [--markdown FILE] [--json FILE]

200 neurons after ReLU: 20 know the class, 20 (or 4, or 100) a spurious attribute that goes with the
class in 95 % of the training samples, the others nothing. One thing is changed at a time: how
neurons mix what they know, rows, the validation set, the attribute. The published rule flags
neurons on the validation set, above 0 and above half a standard deviation. Its masks are compared
with no mask, the true spurious neurons, and random masks of the same size. All heads are
class-balanced, of the training split. Each takes the penalty of best worst-class validation
accuracy. Then: the same by penalty, and what a user can see of it without group labels.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ortho_group
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import LinearHead, NeuronTuneClassifier
from ntkit.study import Rows
from silencing_tables import tables

Array = NDArray[Any]
WIDTH, N_CORE, N_TEST = 200, 20, 4000
CORE, SPURIOUS = 0.45, 0.8
"""Distance of the two means of a neuron from 0, in deviations of its noise."""
RIDGES = (1e-5, 0.001, 0.01, 0.1, 1.0, 10.0)
N_RANDOM = 5


@dataclass(frozen=True)
class Regime:
    """A problem, as it differs from the first one."""

    name: str
    mixed: str = "no"  # "pairs": half core, half spurious; "all": rotated at random
    n_spurious: int = 20
    correlation: float = 0.95
    n: int = 1000
    n_validation: int = 400
    balanced: bool = False  # whether attribute and class are independent in the validation set
    flipped: float = 0.0  # share of wrong labels, but for the test samples
    spurious: float = SPURIOUS


REGIMES = (
    Regime("spurious neurons of their own, biased rows"),
    Regime("4 spurious neurons", n_spurious=4),
    Regime("100 spurious neurons", n_spurious=100),
    Regime("a tenth of the rows", n=100),
    Regime("ten times the rows", n=10_000),
    Regime("neurons half core, half spurious", mixed="pairs"),
    Regime("everything in every neuron", mixed="all"),
    Regime("validation set balanced, 100 samples", balanced=True, n_validation=100),
    Regime("validation set balanced, 400 samples", balanced=True),
    Regime("validation set balanced, 4000 samples", balanced=True, n_validation=4000),
    Regime("attribute in 80 %", correlation=0.8),
    Regime("attribute in 50 %: no bias", correlation=0.5),
    Regime("attribute weak", spurious=0.1),
    Regime("a tenth of the labels wrong", flipped=0.1),
)


@dataclass(frozen=True)
class Sample:
    """Neurons (N, D), class and attribute (N,), each 0 or 1."""

    Z: Array
    y: Array
    a: Array

    @property
    def rows(self) -> Rows:
        """For the solver."""
        return Rows.of(self.Z, self.y)

    @property
    def groups(self) -> Array:
        """2 y + a."""
        return 2 * self.y + self.a

    def take(self, index: Array) -> Sample:
        """Some of the samples."""
        return Sample(self.Z[index], self.y[index], self.a[index])


def mixing(regime: Regime, seed: int) -> Array:
    """What each neuron sees of the sources, before its ReLU: orthogonal (D, D)."""
    if regime.mixed == "all":
        return np.asarray(ortho_group.rvs(WIDTH, random_state=seed))
    mix = np.eye(WIDTH)
    if regime.mixed == "pairs":
        for core in range(N_CORE):
            pair = [core, N_CORE + core]
            mix[np.ix_(pair, pair)] = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    return mix


def draw(
    regime: Regime, mix: Array, n: int, correlation: float, rng: np.random.Generator
) -> Sample:
    """Samples of balanced classes."""
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < correlation, y, 1 - y)
    source = rng.normal(size=(n, WIDTH))
    source[:, :N_CORE] += CORE * (2 * y[:, None] - 1)
    source[:, N_CORE : N_CORE + regime.n_spurious] += regime.spurious * (2 * a[:, None] - 1)
    return Sample(np.maximum(source @ mix.T, 0), y, a)


def problem(regime: Regime, seed: int) -> tuple[Sample, Sample, Sample, Array]:
    """Training, validation and test samples, standardised, and the true spurious neurons."""
    rng, mix = np.random.default_rng(seed), mixing(regime, seed)
    held = 0.5 if regime.balanced else regime.correlation
    parts = [
        draw(regime, mix, regime.n, regime.correlation, rng),
        draw(regime, mix, regime.n_validation, held, rng),
        draw(regime, mix, N_TEST, 0.5, rng),
    ]
    mean, std = parts[0].Z.mean(axis=0), parts[0].Z.std(axis=0)
    labels = [np.where(rng.random(len(p.y)) < regime.flipped, 1 - p.y, p.y) for p in parts[:2]]
    train, validation, test = (
        Sample((p.Z - mean) / std, y, p.a)
        for p, y in zip(parts, [*labels, parts[2].y], strict=True)
    )
    loading = (mix[:, N_CORE : N_CORE + regime.n_spurious] ** 2).sum(axis=1)
    oracle = np.zeros(WIDTH, dtype=bool)
    oracle[np.argsort(-loading, kind="stable")[: regime.n_spurious]] = True
    return train, validation, test, oracle


# -- heads --------------------------------------------------------------------------------------


def path(rows: Rows, weight: Array, gains: Array | None = None) -> list[LinearHead]:
    """Heads by penalty, from the weakest."""
    alphas = [alpha * len(rows) / float(weight.sum()) for alpha in RIDGES]
    return list(rows.heads([weight] * len(alphas), alphas=alphas, gains=gains))


def equal_mass(parts: Array) -> Array:
    """Weights that give every part the same mass, of mean 1."""
    _, index, counts = np.unique(parts, return_inverse=True, return_counts=True)
    return np.asarray(len(parts) / len(counts) / counts[index])


def worst(head: LinearHead, sample: Sample, parts: Array) -> float:
    """Smallest accuracy over parts of the samples, in %."""
    right = head.predict(sample.Z) == sample.y
    return 100 * min(float(right[parts == part].mean()) for part in np.unique(parts))


def tuned(heads: Sequence[LinearHead], validation: Sample) -> int:
    """The penalty of best worst-class validation accuracy, the strongest of equal ones."""
    scores = [worst(head, validation, validation.y) for head in heads]
    return int(len(scores) - 1 - np.argmax(scores[::-1]))


def flagged(head: LinearHead, train: Sample, validation: Sample, threshold: float) -> Array:
    """What the published rule suppresses, above a threshold in standard deviations."""
    C = 1 / len(train.y)
    how = {"threshold": threshold, "solver": "optimum", "head": head, "C": C}
    clf = NeuronTuneClassifier.as_described(**how)
    clf.fit(train.Z, train.y, X_val=validation.Z, y_val=validation.y)
    return np.asarray(clf.suppressed_, dtype=bool)


def random_masks(size: int, seed: int, live: Array) -> list[Array]:
    """Masks of so many of the non-constant neurons, a bool for each."""
    rng = np.random.default_rng([seed, size])
    drawn = [rng.choice(np.flatnonzero(live), size, replace=False) for _ in range(N_RANDOM)]
    return [np.isin(np.arange(len(live)), each) for each in drawn]


def run(regime: Regime, seed: int) -> dict[str, Any]:
    """All heads of one problem, and what is seen without group labels."""
    train, validation, test, oracle = problem(regime, seed)
    rows, weight = train.rows, equal_mass(train.y)
    erm = path(rows, np.ones(len(train.y)))
    original = erm[tuned(erm, validation)]
    masks = {
        "no mask": np.zeros(WIDTH, dtype=bool),
        "true spurious neurons": oracle,
        "flagged above 0": flagged(original, train, validation, 0.0),
        "flagged above 0.5 sd": flagged(original, train, validation, 0.5),
    }
    both = train.rows.and_then(validation.rows)
    groups = np.concatenate([train.groups, validation.groups])
    paths = {name: path(rows, weight, 1.0 - mask) for name, mask in masks.items()}
    paths["class-balanced, validation set"] = path(validation.rows, equal_mass(validation.y))
    paths["DFR, all rows †"] = path(both, equal_mass(groups))
    found: dict[str, Any] = {"ERM": worst(original, test, test.groups)}
    by_ridge = {}
    for name, heads in paths.items():
        by_ridge[name] = [worst(head, test, test.groups) for head in heads]
        found[name] = by_ridge[name][tuned(heads, validation)]
    for name in ("true spurious neurons", "flagged above 0.5 sd"):
        control = []
        for mask in random_masks(int(masks[name].sum()), seed, np.ones(WIDTH, bool)):
            heads = path(rows, weight, 1.0 - mask)
            control.append([worst(head, test, test.groups) for head in heads])
            control[-1].append(control[-1][tuned(heads, validation)])
        means = np.mean(control, axis=0).tolist()
        key = f"random, as many as {name}"
        by_ridge[key], found[key] = means[:-1], means[-1]
    attenuated = path(rows, weight, np.where(oracle, 0.5, 1.0))
    by_ridge["true spurious neurons halved"] = [worst(h, test, test.groups) for h in attenuated]
    sizes = {name: int(mask.sum()) for name, mask in masks.items()}
    hit = {name: float(oracle[mask].mean()) if mask.any() else 0.0 for name, mask in masks.items()}
    return {
        "regime": regime.name,
        "seed": seed,
        "worst": found,
        "by_ridge": by_ridge,
        "size": sizes,
        "hit": hit,
        "seen": seen(original, train, validation, seed, np.ones(WIDTH, bool)),
    }


# -- what a user can see ------------------------------------------------------------------------


def seen(
    original: LinearHead, train: Sample, validation: Sample, seed: int, live: Array
) -> dict[str, float]:
    """Statistics of the mask above 0.5 sd that need no group labels.

    Specificity: accuracy of the worst class × correctness group on a half of the validation set, of
    the mask found on the other half, less that of random masks of its size. Agreement: Cohen's
    kappa of the masks of the two halves. AUC: how well errors are told from correct samples of
    their class.
    """
    rows, weight = train.rows, equal_mass(train.y)
    wrong = original.predict(validation.Z) != validation.y
    cells = 2 * validation.y + wrong
    halves = StratifiedKFold(2, shuffle=True, random_state=seed)
    masks, gains = [], []
    for one, other in halves.split(validation.Z, cells):
        mask, judged = flagged(original, train, validation.take(one), 0.5), validation.take(other)
        masks.append(mask)

        def score(mask: Array, judged: Sample = judged, other: Array = other) -> float:
            heads = path(rows, weight, 1.0 - mask)
            return worst(heads[tuned(heads, judged)], judged, cells[other])

        control = [score(each) for each in random_masks(int(mask.sum()), seed, live)]
        gains.append(score(mask) - float(np.mean(control)))
    return {
        "specificity": float(np.mean(gains)),
        "agreement": float(np.nan_to_num(cohen_kappa_score(*masks))),
        "AUC": auc(validation, wrong, seed),
    }


def auc(validation: Sample, wrong: Array, seed: int) -> float:
    """Of errors against correct samples of the same class, cross-fitted; mean over classes."""
    found = []
    for label in (0, 1):
        of = validation.y == label
        if min(wrong[of].sum(), (~wrong[of]).sum()) < 5:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced"))
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        told = cross_val_predict(
            model, validation.Z[of], wrong[of], cv=folds, method="decision_function"
        )
        found.append(roc_auc_score(wrong[of], told))
    return float(np.mean(found)) if found else np.nan


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--known", type=Path, help="what --json wrote: tables of it, nothing is run"
    )
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    parser.add_argument("--json", type=Path, help="also write all results here")
    arguments = parser.parse_args()
    results = json.loads(arguments.known.read_text()) if arguments.known else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for regime in () if results else REGIMES:
            results += [run(regime, seed) for seed in arguments.seeds]
            print(regime.name, flush=True)
    text = tables(results, RIDGES) + "\n"
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

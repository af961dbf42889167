"""Twenty-four configurations of every method, for whoever chooses among them.

A method is a function of a :class:`Task`; it yields configurations with what they make of it. The
grids are the authors' own where they published one, thinned or filled up to 24. Ridge weights are
on the mean loss of class-balanced or weighted retraining, for standardised embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit import LinearHead
from ntkit.estimators import (
    AFRClassifier,
    AutoDebiasClassifier,
    EVaLSClassifier,
    GroupDROClassifier,
    JTTClassifier,
    LEACEClassifier,
    LEIAClassifier,
    NeuronTuneClassifier,
    SELFClassifier,
)
from ntkit.study import Rows

Array = NDArray[Any]
Findings = dict[str, Any]
Fits = Iterator[tuple[Findings, Any]]
"""Configurations, and what predicts labels from standardised embeddings."""
ROWS = ("train", "validation", "both")
SELECTORS = (
    "misclassification",
    "early_stop_misclassification",
    "dropout_disagreement",
    "early_stop_disagreement",
)


def ridges(n: int) -> list[float]:
    """So many ridge weights on the mean loss, from 0.0001 to 10."""
    return [float(f"{alpha:.2g}") for alpha in np.logspace(-4, 1, n)]


@dataclass(frozen=True)
class Task:
    """What a method may use; the head is the original one, None until it is fitted.

    ``rows`` holds the same by name, whose heads are fitted together and remembered.
    """

    train: Rows
    validation: Rows
    rows: dict[str, Rows]
    seed: int
    head: LinearHead | None = None

    def fitted(self, estimator: Any) -> Any:
        """Fit with the validation set."""
        held = {"X_val": self.validation.X, "y_val": self.validation.y}
        return estimator.fit(self.train.X, self.train.y, **held)

    def groups(self, rows: str) -> Array:
        """Group labels."""
        parts = {"train": [self.train], "validation": [self.validation]}
        return np.concatenate(
            [part.groups for part in parts.get(rows, [self.train, self.validation])]
        )


def by_ridge(
    rows: Rows, ridge: list[float], weight: Array, mask: Array | None = None
) -> Iterator[tuple[float, LinearHead]]:
    """Heads of the rows with one weight, by ridge weight, as ``retrain_head`` fits them."""
    alphas = [alpha * len(rows) / float(weight.sum()) for alpha in ridge]
    gains = None if mask is None else 1.0 - mask
    return zip(ridge, rows.heads([weight] * len(ridge), alphas=alphas, gains=gains), strict=True)


def equal_mass(parts: Array) -> Array:
    """Weights that give every part the same mass, of mean 1."""
    _, index, counts = np.unique(parts, return_inverse=True, return_counts=True)
    return np.asarray(len(parts) / len(counts) / counts[index])


# -- methods: 24 configurations each ------------------------------------------------------------


def erm(task: Task) -> Fits:
    """By penalty."""
    rows = task.rows["train"]
    for alpha, head in by_ridge(rows, ridges(24), rows.weight):
        yield {"alpha": alpha}, head


def balanced(task: Task, mask: Array | None = None) -> Fits:
    """By penalty and rows, perhaps behind a mask."""
    for name in ROWS:
        rows = task.rows[name]
        for alpha, head in by_ridge(rows, ridges(8), equal_mass(rows.y_index), mask):
            yield {"rows": name, "alpha": alpha}, head


def published_mask(task: Task, threshold: float = 0.0) -> tuple[Array, Array]:
    """What the published rule suppresses, and which neurons there are."""
    C = 1 / len(task.train.y)
    how = {"threshold": threshold, "solver": "optimum", "head": task.head, "C": C}
    clf = NeuronTuneClassifier.as_described(**how)
    clf = task.fitted(clf)
    return np.asarray(clf.suppressed_, dtype=bool), np.flatnonzero(clf.non_constant_)


def neurontune(task: Task) -> Fits:
    """The paper's rule, on the training split, by threshold in standard deviations and penalty."""
    rows = task.rows["train"]
    for threshold in (0.0, 0.5, 1.0):
        mask, _ = published_mask(task, threshold)
        for alpha, head in by_ridge(rows, ridges(8), equal_mass(rows.y_index), mask):
            given = {"threshold": threshold, "alpha": alpha, "suppressed": int(mask.sum())}
            yield given, head


def masked(task: Task) -> Fits:
    """The published mask, with the same choice of rows and penalty as without it."""
    return balanced(task, published_mask(task)[0])


def randomly_masked(task: Task) -> Fits:
    """A random mask of its size, likewise."""
    mask, live = published_mask(task)
    drawn = np.random.default_rng(task.seed).choice(live, int(mask.sum()), replace=False)
    return balanced(task, np.isin(np.arange(len(mask)), drawn))


def afr(task: Task, gammas: Sequence[float] = (4.0, 7.2, 10.4, 13.6, 16.8, 20.0)) -> Fits:
    """The authors' grid for Waterbirds, γ thinned, by their steps."""
    for gamma, reg in product(gammas, (0.0, 0.1, 0.2, 0.3)):
        clf = AFRClassifier(gamma=gamma, reg_coeff=reg, solver="gd", head=task.head)
        yield {"gamma": gamma, "reg_coeff": reg}, task.fitted(clf)


def leia(
    task: Task,
    gammas: Sequence[float] = (5.0, 10.0, 15.0, 20.0),
    ranks: Sequence[int] = (1, 5, 10, 20, 50, 200),
) -> Fits:
    """The authors' example of a sweep, and two larger ranks."""
    for gamma, rank in product(gammas, ranks):
        clf = LEIAClassifier(gamma=gamma, rank=rank, head=task.head)
        yield {"gamma": gamma, "rank": rank}, task.fitted(clf)


@cache  # the same for every factor, and for every half of the validation set
def cross_fitted_errors(rows: Rows, alpha: float) -> Array:
    """Errors of the first head of JTT."""
    clf = JTTClassifier(C=1 / (alpha * len(rows)), random_state=0)
    return np.asarray(clf.fit(rows.X, rows.y).error_set_)


def jtt(task: Task) -> Fits:
    """The authors' factors, and the penalty of both heads; it takes no validation set."""
    rows = task.rows["train"]
    for alpha in ridges(8):
        wrong = cross_fitted_errors(rows, alpha)
        for factor in (20.0, 50.0, 100.0):
            for _, head in by_ridge(rows, [alpha], np.where(wrong, factor, 1.0)):
                yield {"up_weight": factor, "alpha": alpha, "errors": int(wrong.sum())}, head


def self_(
    task: Task, numbers: Sequence[int] = (20, 100, 500), rates: Sequence[float] = (1e-3, 1e-2)
) -> Fits:
    """The authors' selectors and numbers of samples, and the two larger of their rates."""
    for selection, n, rate in product(SELECTORS, numbers, rates):
        clf = SELFClassifier(
            selection=selection,
            n_selected=n,
            learning_rate=rate,
            head=task.head,
            C=1 / len(task.train.y),  # of the early head, which is stopped early anyway
            random_state=task.seed,
        )
        yield {"selection": selection, "n_selected": n, "learning_rate": rate}, task.fitted(clf)


def evals(task: Task) -> Fits:
    """Number of samples and penalty; the rule that chooses is the one for all."""
    for k, C in product((15, 30, 45, 60), (1.0, 0.3, 0.1, 0.07, 0.03, 0.01)):
        clf = EVaLSClassifier(
            n_selected=(k,), Cs=(C,), selection_size=0.02, head=task.head, random_state=task.seed
        )
        yield {"n_selected": k, "C": C}, task.fitted(clf)


@dataclass(frozen=True)
class Erased:
    """A head behind an eraser."""

    clf: LEACEClassifier
    head: LinearHead

    def predict(self, Z: Array) -> Array:
        """Labels."""
        return self.head.predict(self.clf.erase(Z))


@cache  # the same for every half of the validation set
def cross_fitted_eraser(rows: Rows) -> tuple[LEACEClassifier, Rows]:
    """An eraser of the errors, and the rows that it erased."""
    clf = LEACEClassifier(random_state=0, C=1 / len(rows)).fit(rows.X, rows.y)
    return clf, replace(rows, X=clf.erase(rows.X))


def leace(task: Task) -> Fits:
    """Errors as the concept: where they are taken, and the penalty."""
    rows, options = task.rows["train"], {"random_state": 0, "C": 1 / len(task.train.y)}
    for where in ("train", "validation"):
        if where == "train":
            clf, erased = cross_fitted_eraser(rows)
        else:
            clf = task.fitted(LEACEClassifier(head=task.head, **options))
            erased = replace(rows, X=clf.erase(task.train.X))
        for alpha, head in by_ridge(erased, ridges(12), equal_mass(rows.y_index)):
            yield {"errors": where, "alpha": alpha}, Erased(clf, head)


def dfr(task: Task) -> Fits:
    """By penalty and rows, all groups weighted to the same mass; sees group labels."""
    for name in ROWS:
        for alpha, head in by_ridge(task.rows[name], ridges(8), equal_mass(task.groups(name))):
            yield {"rows": name, "alpha": alpha}, head


def group_dro(task: Task) -> Fits:
    """By step of the group weights, penalty and rows; sees group labels."""
    for name, eta in (
        ("validation", 0.01),
        ("validation", 0.03),
        ("validation", 0.1),
        ("both", 0.1),
    ):
        rows = task.rows[name]
        for alpha in ridges(6):
            C = 1 / (alpha * len(rows.y_index))
            clf = GroupDROClassifier(eta=eta, C=C, tol=1e-3, max_iter=300)
            clf.fit(rows.X, rows.y_index, groups=task.groups(name))
            yield {"rows": name, "eta": eta, "alpha": alpha}, clf


def auto(task: Task) -> Fits:
    """One configuration: it is not tuned."""
    clf = AutoDebiasClassifier(random_state=task.seed)
    yield {}, task.fitted(clf)


METHODS: dict[str, tuple[str, Callable[[Task], Fits]]] = {
    "erm": ("ERM", erm),
    "balanced": ("class-balanced, rows tuned", balanced),
    "auto": ("`auto`, not tuned", auto),
    "neurontune": ("NeuronTune, threshold tuned, training split", neurontune),
    "masked": ("NeuronTune's mask (threshold 0), rows tuned", masked),
    "random": ("random mask of its size, rows tuned", randomly_masked),
    "afr": ("AFR", afr),
    "afr, wider": ("AFR, second grid", partial(afr, gammas=(0.0, 1.0, 2.0, 4.0, 8.0, 16.0))),
    "leia": ("LEIA", leia),
    "leia, wider": (
        "LEIA, second grid",
        partial(leia, gammas=(0.0, 1.0, 2.5, 5.0, 10.0, 20.0), ranks=(1, 5, 50, 200)),
    ),
    "evals": ("EVaLS", evals),
    "jtt": ("JTT", jtt),
    "self": ("SELF", self_),
    "self, wider": (
        "SELF, second grid",
        partial(self_, numbers=(200, 500), rates=(1e-2, 3e-2, 1e-1)),
    ),
    "leace": ("LEACE on errors", leace),
    "dfr": ("DFR, rows tuned †", dfr),
    "groupdro": ("group DRO, rows tuned †", group_dro),
}

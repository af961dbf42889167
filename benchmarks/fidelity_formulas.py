"""Fidelity: next to plain loops, written from the definitions of the methods."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from fidelity_rows import SEEDS, Array, Row, Sample, largest, sample
from ntkit import NeuronTuneClassifier
from ntkit.estimators import (
    AFRClassifier,
    DFRClassifier,
    EVaLSClassifier,
    GroupDROClassifier,
    SELFClassifier,
)
from ntkit.spuriousness import sfit
from ntkit.study import Rows, split_in_two


def neurontune() -> list[Row]:
    """Scores, union, mask, class-balanced retraining, SFit: our reading of arXiv 2505.24048."""
    scores, masks, heads, sums = [], [], [], []
    for seed in (*SEEDS, 3, 4):
        for n_classes in (2, 3):
            train, held = sample(seed, n_classes, n=1200).halves()
            clf = NeuronTuneClassifier.as_described(solver="optimum", head=train.head, C=1.0)
            clf.fit(train.X, train.y, X_val=held.X, y_val=held.y)
            delta = naive_scores(held, train.head.predict(held.X))
            scaled = delta / held.X.std(axis=0)
            mask = {i for i in range(delta.shape[1]) if any(row[i] > 0 for row in delta)}
            if len(mask) == delta.shape[1]:  # a constant model: ours keeps the smallest score
                mask.remove(min(mask, key=lambda i: max(row[i] for row in scaled)))
            kept = [i for i in range(delta.shape[1]) if i not in mask]
            head = LogisticRegression(class_weight="balanced", tol=1e-12, max_iter=50_000)
            head.fit(train.X[:, kept], train.y)
            after = naive_scores(held, head.predict(held.X[:, kept]))
            scores.append(clf.spuriousness_scores_ - scaled)
            masks.append(len(mask.symmetric_difference(np.flatnonzero(clf.suppressed_).tolist())))
            heads.append(clf.predict_proba(held.X) - head.predict_proba(held.X[:, kept]))
            sums += [
                clf.sfit_ - sum(abs(value) for row in after for value in row),
                sfit(delta) - np.abs(delta).sum(),
            ]
    return [
        Row("NeuronTune", "scores", "formula", largest(*scores), 1e-12),
        Row("NeuronTune", "neurons in one mask only", "formula", largest(masks), 0.5),
        Row("NeuronTune", "probabilities", "formula, scikit-learn", largest(*heads), 1e-4),
        Row("NeuronTune", "SFit", "formula", largest(sums), 1e-10),
    ]


def naive_scores(held: Sample, pred: Array) -> Array:
    """Median activation of each neuron over the wrong minus over the correct samples of a class."""
    n_classes, width = int(held.y.max()) + 1, held.X.shape[1]
    delta = np.zeros((n_classes, width))
    for k in range(n_classes):
        for i in range(width):
            wrong = [x[i] for x, y, p in zip(held.X, held.y, pred, strict=True) if y == k != p]
            right = [x[i] for x, y, p in zip(held.X, held.y, pred, strict=True) if y == k == p]
            delta[k, i] = median(wrong) - median(right)
    return delta


def afr_weights(data: Sample, gamma: float) -> Array:
    """β_y exp(−γ p(y)), normalised (arXiv 2306.11074, Sec. 4)."""
    p = data.head.predict_proba(data.X)
    counts = np.bincount(data.y)
    mu = np.array([np.exp(-gamma * p[i, k]) / counts[k] for i, k in enumerate(data.y)])
    return mu / mu.sum()


def afr() -> list[Row]:
    """Weights, the gradient steps, and plain gradient descent until nothing moves."""
    weights, steps, optima = [], [], []
    for seed in SEEDS:
        for n_classes in (2, 3):
            data, gamma, reg = sample(seed, n_classes), 4.0, 0.1
            given = {"gamma": gamma, "reg_coeff": reg, "head": data.head}
            exact = AFRClassifier(tol=1e-10, **given).fit(data.X, data.y)
            short = AFRClassifier(solver="gd", n_steps=50, **given).fit(data.X, data.y)
            mu = afr_weights(data, gamma)
            weights.append(exact.weights_ - mu)
            steps.append(short.predict_proba(data.X) - descended(data, mu, reg, 50, 0.01, 1.0))
            rate = 1 / (np.square(data.X).sum(axis=1).max() + 1 + 2 * reg)
            optima.append(
                exact.predict_proba(data.X) - descended(data, mu, reg, 10_000, rate, None)
            )
    return [
        Row("AFR", "weights", "formula", largest(*weights), 1e-12),
        Row("AFR", "probabilities after 50 steps", "formula", largest(*steps), 1e-8),
        Row("AFR", "probabilities at the optimum", "gradient descent", largest(*optima), 1e-6),
    ]


def descended(
    data: Sample, mu: Array, reg: float, n_steps: int, rate: float, clip: float | None
) -> Array:
    """Probabilities after steps from the original head, one row of weights per class."""
    start = data.head.with_logits(len(data.head.classes))
    theta0 = np.column_stack([start.coef, start.intercept])
    Z = np.column_stack([data.X, np.ones(len(data.X))])
    target, theta = np.eye(len(theta0))[data.y], theta0.copy()
    for _ in range(n_steps):
        residual = mu[:, None] * (softmax(Z @ theta.T, axis=1) - target)
        slope = residual.T @ Z + 2 * reg * (theta - theta0)
        norm = np.linalg.norm(slope)
        if clip is not None and norm > clip:
            slope = slope * clip / norm
        theta = theta - rate * slope
        if norm < 1e-12:
            break
    return softmax(Z @ theta.T, axis=1)


def self_scores() -> list[Row]:
    """Losses, and divergences from an early head (arXiv 2309.08534, Sec. 5)."""
    differences, sets = [], []
    for seed in SEEDS:
        data, early = sample(seed, 2 + seed % 2), sample(seed, 2 + seed % 2).head
        early = type(early)(0.3 * early.coef[:, ::-1], early.intercept, early.classes)
        p, q = data.head.predict_proba(data.X), early.predict_proba(data.X)
        expected = {
            "misclassification": [-np.log(row[k]) for row, k in zip(p, data.y, strict=True)],
            "early_stop_misclassification": [
                -np.log(row[k]) for row, k in zip(q, data.y, strict=True)
            ],
            "early_stop_disagreement": [
                sum(b * np.log(b / a) for a, b in zip(*rows, strict=True))
                for rows in zip(p, q, strict=True)
            ],
        }
        for selection, values in expected.items():
            clf = SELFClassifier(
                selection=selection, n_selected=50, head=data.head, early_head=early, random_state=0
            ).fit(data.X, data.y)
            differences.append(clf.scores_ - values)
            top = sorted(range(len(values)), key=lambda i, values=values: -values[i])[:50]
            sets.append(len(set(top) ^ set(clf.selected_.tolist())))
    return [
        Row("SELF", "scores", "formula", largest(*differences), 1e-10),
        Row("SELF", "samples in one selection only", "formula", largest(sets), 0.5),
    ]


def evals_selection() -> list[Row]:
    """Highest and lowest losses of each class of one half (arXiv 2410.05345)."""
    sets = []
    for seed in SEEDS:
        data = sample(seed, 2 + seed % 2)
        clf = EVaLSClassifier(n_selected=(20,), Cs=(0.1,), head=data.head, random_state=seed)
        clf.fit(data.X, data.y, X_val=data.X, y_val=data.y)
        rows = Rows.of(data.X, data.y)
        half = split_in_two(0.5, rows, np.random.RandomState(seed))[0]
        p, chosen = data.head.predict_proba(data.X), set[int]()
        for k in range(int(data.y.max()) + 1):
            ranked = sorted(
                (i for i in half.tolist() if data.y[i] == k), key=lambda i: p[i, data.y[i]]
            )
            chosen |= {*ranked[:20], *ranked[-20:]}
        sets.append(len(chosen ^ set(clf.selected_.tolist())))
    return [Row("EVaLS", "samples in one selection only", "formula", largest(sets), 0.5)]


def group_losses(theta: Array, data: Sample) -> tuple[Array, Array]:
    """Mean log loss of each group, and its gradient by weights and bias of one logit."""
    Z = np.column_stack([data.X, np.ones(len(data.X))])
    sign = np.where(data.y == 1, 1.0, -1.0)
    margin = sign * (Z @ theta)
    share = (np.arange(4)[:, None] == data.groups) / np.bincount(data.groups)[:, None]
    return share @ np.logaddexp(0, -margin), (share * -sign * expit(-margin)) @ Z


def groupdro() -> list[Row]:
    """The published updates until they settle, and the same problem by SciPy's SLSQP."""
    by_updates, by_slsqp = [], []
    for seed in SEEDS:
        data, C = sample(seed, n=240, width=4), 0.2
        n = len(data.y)
        clf = GroupDROClassifier(eta=0.1, C=C, tol=1e-5, max_iter=100_000)
        clf.fit(data.X, data.y, groups=data.groups)

        def worst(theta: Array, data: Sample = data, n: int = n, C: float = C) -> float:
            squares = float((theta[:-1] ** 2).sum())
            return float(group_losses(theta, data)[0].max()) + squares / (2 * C * n)

        ours = worst(np.append(clf.coef_[0], clf.intercept_))
        by_updates.append(ours - worst(published_updates(data, C)))
        by_slsqp.append(ours - worst(by_constraints(data, C)))
    return [
        Row("GroupDRO", "objective of the worst group", "formula", largest(by_updates), 2e-5),
        Row("GroupDRO", "objective of the worst group", "SciPy, SLSQP", largest(by_slsqp), 2e-5),
    ]


def published_updates(data: Sample, C: float) -> Array:
    """Multiply q by exp(η L), step on Σ q L and the penalty (arXiv 1911.08731, Alg. 1)."""
    n, width = data.X.shape
    theta, q = np.zeros(width + 1), np.full(len(np.unique(data.groups)), 0.25)
    rate = 1 / (0.25 * np.square(data.X).sum(axis=1).max() + 1 + 1 / (C * n))
    decay = np.append(np.full(width, 1 / (C * n)), 0.0)
    best, best_value = theta, np.inf
    for _ in range(20_000):
        losses, slopes = group_losses(theta, data)
        value = losses.max() + 0.5 * float((decay * theta**2).sum())
        if value < best_value:
            best, best_value = theta, value
        q = q * np.exp(0.05 * losses)
        q /= q.sum()
        theta = theta - rate * (q @ slopes + decay * theta)
    return best


def by_constraints(data: Sample, C: float) -> Array:
    """Least t + penalty with every group's loss below t."""
    n, width = data.X.shape
    scale = 1 / (C * n)

    def value(x: Array) -> tuple[float, Array]:
        return x[-1] + 0.5 * scale * float((x[:width] ** 2).sum()), np.concatenate(
            [scale * x[:width], [0.0, 1.0]]
        )

    limits = {
        "type": "ineq",
        "fun": lambda x: x[-1] - group_losses(x[:-1], data)[0],
        "jac": lambda x: np.column_stack([-group_losses(x[:-1], data)[1], np.ones(4)]),
    }
    start = np.append(np.zeros(width + 1), 1.0)
    options = {"maxiter": 2000, "ftol": 1e-14}
    found = minimize(value, start, jac=True, constraints=[limits], method="SLSQP", options=options)
    return np.asarray(found.x[:-1])


def dfr() -> list[Row]:
    """One group-weighted fit, and the mean of L1 fits of the same subsamples."""
    differences = []
    for seed in SEEDS:
        data = sample(seed)
        clf = DFRClassifier(variant="weighted", C=0.5, tol=1e-10)
        clf.fit(data.X, data.y, groups=data.groups)
        counts = np.bincount(data.groups)
        weight = len(data.y) / (len(counts) * counts[data.groups])
        theirs = LogisticRegression(C=0.5, tol=1e-12, max_iter=50_000)
        theirs.fit(data.X, data.y, sample_weight=weight)
        differences.append(clf.predict_proba(data.X) - theirs.predict_proba(data.X))
    what = "probabilities, group weights"
    return [Row("DFR", what, "scikit-learn", largest(*differences), 1e-5)]


COMPARISONS: list[Callable[[], list[Row]]] = [
    neurontune,
    afr,
    self_scores,
    evals_selection,
    groupdro,
    dfr,
]
"""Each runs by itself."""

"""Fidelity: next to packages that other people keep, scikit-learn, SciPy, PyTorch and more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from concept_erasure import LeaceFitter
from fairlearn.metrics import MetricFrame
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from fidelity_rows import SEEDS, Array, Row, Sample, largest, sample
from ntkit.estimators import (
    EVaLSClassifier,
    JTTClassifier,
    LEACEClassifier,
    SELFClassifier,
    retrain_head,
)
from ntkit.metrics import accuracy_by, adjusted_accuracy, worst_group_accuracy
from ntkit.study import Rows, split_in_two

PENALTIES = (1e-3, 1.0, 1e3)
torch.set_num_threads(1)


def loss_of(W: Array, b: Array, data: Sample, weight: Array) -> float:
    """Weighted sum of the log losses of a head with one logit or several."""
    logits = data.X @ W.T + b
    if len(W) == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    own = logits[np.arange(len(logits)), data.y]
    return float(weight @ (logsumexp(logits, axis=1) - own))


def head_optimum() -> list[Row]:
    """Every retrained head against two optimisers of the same objective."""
    lower, coefficients, scipys = [], [], []
    for seed in SEEDS:
        for n_classes in (2, 3):
            data = sample(seed, n_classes)
            given = np.random.default_rng(seed).random(len(data.y)) + 0.1
            for class_weight in (None, "balanced", dict.fromkeys(range(n_classes), 2.0)):
                factor = compute_class_weight(
                    class_weight, classes=np.arange(n_classes), y=data.y, sample_weight=given
                )
                weight = given * factor[data.y]
                for C in PENALTIES:
                    ours = retrain_head(
                        data.X,
                        data.y,
                        sample_weight=given,
                        class_weight=class_weight,
                        C=C,
                        tol=1e-10,
                        max_iter=10_000,
                    )
                    theirs = LogisticRegression(C=C, tol=1e-12, max_iter=50_000)
                    theirs.fit(data.X, data.y, sample_weight=weight)

                    def objective(
                        W: Array,
                        b: Array,
                        C: float = C,
                        weight: Array = weight,
                        data: Sample = data,
                    ) -> float:
                        return C * loss_of(W, b, data, weight) + 0.5 * float((W**2).sum())

                    values = [
                        objective(ours.coef, ours.intercept),
                        objective(theirs.coef_, theirs.intercept_),
                    ]
                    lower.append(values[0] / min(values) - 1)
                    coefficients.append(
                        np.max(np.abs(ours.coef - theirs.coef_)) / np.abs(ours.coef).max()
                    )
                    if seed == 0 and class_weight is None:
                        scipys.append(values[0] / scipy_minimum(objective, ours.coef.shape) - 1)
    return [
        Row("all heads", "objective, relative", "scikit-learn", largest(lower), 1e-8),
        Row("all heads", "weights, relative", "scikit-learn", largest(coefficients), 1e-5),
        Row("all heads", "objective, relative", "SciPy, BFGS", largest(scipys), 1e-6),
    ]


def scipy_minimum(objective: Callable[[Array, Array], float], shape: tuple[int, int]) -> float:
    """What SciPy finds from zeros, without a gradient of ours."""

    def flat(theta: Array) -> float:
        parts = theta.reshape(shape[0], -1)
        return objective(parts[:, :-1], parts[:, -1])

    start = np.zeros(shape[0] * (shape[1] + 1))
    return float(minimize(flat, start, method="BFGS", options={"maxiter": 5000}).fun)


def group_metrics() -> list[Row]:
    """MetricFrame of fairlearn on the same predictions, with weights and without."""
    differences = []
    for seed in SEEDS:
        for n_classes in (2, 4):
            data = sample(seed, n_classes)
            pred = data.head.predict(data.X)
            for weight in (None, np.random.default_rng(seed).random(len(pred))):
                params = None if weight is None else {"sample_weight": weight}
                frame = MetricFrame(
                    metrics=accuracy_score,
                    y_true=data.y,
                    y_pred=pred,
                    sensitive_features=data.groups,
                    sample_params=params,
                )
                given = {"groups": data.groups, "sample_weight": weight}
                by = accuracy_by(data.y, pred, data.groups, sample_weight=weight)
                differences += [
                    [by[group] - value for group, value in frame.by_group.items()],
                    worst_group_accuracy(data.y, pred, **given) - frame.group_min(),
                    adjusted_accuracy(data.y, pred, **given) - frame.by_group.mean(),
                ]
    return [
        Row("group metrics", "accuracies, worst, mean", "fairlearn", largest(*differences), 1e-12)
    ]


def leace() -> list[Row]:
    """The authors' package, without the limit on the trace that it adds to the paper."""
    erased, projections, folded = [], [], []
    for seed in SEEDS:
        for n_concepts in (2, 3):
            data = sample(seed, n_concepts)
            one_hot = np.eye(n_concepts)[data.attribute]
            for shrink in (False, True):
                options = {"shrinkage": shrink, "constrain_cov_trace": False, "svd_tol": 1e-6}
                fitter = LeaceFitter.fit(
                    torch.from_numpy(data.X), torch.from_numpy(one_hot), **options
                )
                clf = LEACEClassifier(shrinkage="auto" if shrink else 0.0, tol=1e-10)
                clf.fit(data.X, data.y, concepts=data.attribute)
                theirs = fitter.eraser(torch.from_numpy(data.X)).numpy()
                erased.append(clf.erase(data.X) - theirs)
                projections.append(clf.eraser_ - fitter.eraser.P.numpy())
                head = LogisticRegression(class_weight="balanced", tol=1e-12, max_iter=50_000)
                head.fit(theirs, data.y)
                folded.append(clf.predict_proba(data.X) - head.predict_proba(theirs))
    package = "concept-erasure"
    return [
        Row("LEACE", "projection", package, largest(*projections), 1e-8),
        Row("LEACE", "erased embeddings", package, largest(*erased), 1e-8),
        Row("LEACE", "probabilities", f"{package}, scikit-learn", largest(*folded), 1e-5),
    ]


def jtt() -> list[Row]:
    """The second fit on a training set with copies of the error set, as the authors add them."""
    differences = []
    for seed in SEEDS:
        data, copies = sample(seed, 2 + seed % 2), 20
        wrong = data.head.predict(data.X) != data.y
        rows = np.concatenate([np.arange(len(data.y)), *[np.flatnonzero(wrong)] * copies])
        theirs = LogisticRegression(tol=1e-12, max_iter=50_000).fit(data.X[rows], data.y[rows])
        ours = JTTClassifier(up_weight=copies + 1, head=data.head, tol=1e-10).fit(data.X, data.y)
        differences.append(ours.predict_proba(data.X) - theirs.predict_proba(data.X))
    what = "probabilities; 20 copies more = up_weight 21"
    return [Row("JTT", what, "scikit-learn", largest(*differences), 1e-5)]


def self_steps() -> list[Row]:
    """Fine-tuning by torch.optim.SGD on the same batches."""
    differences = []
    for seed in SEEDS:
        for momentum in (0.0, 0.9):
            data = sample(seed, 2 + seed % 2)
            clf = SELFClassifier(
                selection="misclassification",
                n_selected=90,
                momentum=momentum,
                head=data.head,
                random_state=seed,
            ).fit(data.X, data.y)
            layer = tuned_by_torch(clf, data, momentum, seed)
            with torch.no_grad():
                theirs = layer(torch.from_numpy(data.X)).softmax(dim=1).numpy()
            differences.append(clf.predict_proba(data.X) - theirs)
    return [
        Row("SELF", "probabilities after 250 steps", "PyTorch, SGD", largest(*differences), 1e-8)
    ]


def torch_layer(data: Sample) -> torch.nn.Linear:
    """The original head, one row per class."""
    start = data.head.with_logits(len(data.head.classes))
    layer = torch.nn.Linear(data.X.shape[1], len(start.classes), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.array(start.coef)))
        layer.bias.copy_(torch.from_numpy(np.array(start.intercept)))
    return layer


def tuned_by_torch(
    clf: SELFClassifier,
    data: Sample,
    momentum: float,
    seed: int,
    optimizer_of: Callable[[torch.nn.Linear], torch.optim.Optimizer] | None = None,
) -> torch.nn.Linear:
    """Tune the original head on the samples that were selected, drawn as ``clf`` drew them."""
    layer = torch_layer(data)
    if optimizer_of is None:
        sgd: torch.optim.Optimizer = torch.optim.SGD(
            layer.parameters(),
            lr=clf.learning_rate,
            momentum=momentum,
            weight_decay=clf.weight_decay,
        )
    else:
        sgd = optimizer_of(layer)
    Z, labels = data.X[clf.selected_], data.y[clf.selected_]
    share = 1 / np.bincount(labels)[labels]
    rng = np.random.RandomState(seed)
    for _ in range(clf.n_steps):
        batch = rng.choice(len(Z), size=clf.batch_size, p=share / share.sum())
        sgd.zero_grad()
        logits = layer(torch.from_numpy(Z[batch]))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[batch])).backward()
        sgd.step()
    return layer


def evals() -> list[Row]:
    """The L1 head of the samples that were selected."""
    differences = []
    for seed in SEEDS:
        data = sample(seed)
        clf = EVaLSClassifier(n_selected=(40,), Cs=(0.1,), tol=1e-9, head=data.head, random_state=0)
        clf.fit(data.X, data.y, X_val=data.X, y_val=data.y)
        rows = Rows.of(data.X, data.y)
        half = split_in_two(0.5, rows, np.random.RandomState(0))[0]
        scaler = StandardScaler().fit(data.X[half])
        theirs = LogisticRegression(
            C=0.1, l1_ratio=1, solver="liblinear", tol=1e-9, max_iter=10_000, random_state=0
        ).fit(scaler.transform(data.X[clf.selected_]), data.y[clf.selected_])
        pairs = clf.predict_proba(data.X), theirs.predict_proba(scaler.transform(data.X))
        differences.append(pairs[0] - pairs[1])
    return [Row("EVaLS", "probabilities", "scikit-learn, liblinear", largest(*differences), 1e-5)]


COMPARISONS: list[Callable[[], list[Row]]] = [
    head_optimum,
    group_metrics,
    leace,
    jtt,
    self_steps,
    evals,
]
"""Each runs by itself."""

"""Many heads on the same rows at once: each pass over the rows serves them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.solver._blas_threads import one_scipy_thread
from ntkit.solver._fit_head import (
    CORRECTIONS,
    FittedHead,
    Problem,
    fit_linear_head,
    kept_neurons,
)
from ntkit.solver._loss import NumpyPasses
from ntkit.solver._preconditioner import Dense, factored

_MOST = 32  # threads, that mostly wait
_MEMORY = 256 << 20  # bytes of steps remembered, or of weights


def fit_linear_heads(
    X: Array,
    y_index: Array,
    weights: Sequence[Array],
    *,
    classes: Array,
    Cs: Sequence[float],
    gains: Array | None = None,
    tol: float = 1e-5,
    max_iter: int = 1000,
    covariance: Callable[[], Array] | None = None,
    device: str = "cpu",
) -> list[FittedHead]:
    """Fit a head for each row of weights, as :func:`fit_linear_head` fits one."""
    # The heads of folds and penalties differ in weights and penalty only. Their optimisers run side
    # by side and wait for each other at every step, so that one product of the rows with all heads
    # takes the place of one product each.
    options: dict[str, Any] = {"classes": classes, "gains": gains, "tol": tol}
    options |= {"max_iter": max_iter, "covariance": covariance, "device": device}
    n_logits = 1 if len(classes) == 2 else len(classes)
    bytes_each = 8 * max(2 * CORRECTIONS * n_logits * X.shape[1], len(X))
    at_once = min(_MOST, _MEMORY // bytes_each)
    if device != "cpu" or min(at_once, len(weights)) < 2:
        return [
            fit_linear_head(X, y_index, weight, C=C, **options)
            for weight, C in zip(weights, Cs, strict=True)
        ]
    heads, weights = list[FittedHead](), list(weights)
    for first in range(0, len(weights), at_once):
        some = slice(first, first + at_once)
        heads += _together(X, y_index, weights[some], Cs[some], **options)
    return heads


def _together(
    X: Array,
    y_index: Array,
    weights: Sequence[Array],
    Cs: Sequence[float],
    *,
    classes: Array,
    gains: Array | None,
    tol: float,
    max_iter: int,
    covariance: Callable[[], Array] | None,
    device: str,
) -> list[FittedHead]:
    own = {id(weight): weight for weight in weights}  # heads of several penalties share them
    which = np.array([[*own].index(id(weight)) for weight in weights])
    shares = np.stack([np.asarray(weight, dtype=np.float64) for weight in own.values()])
    totals = shares.sum(axis=1)
    shares /= totals[:, None]
    alphas = (1 / (np.asarray(Cs) * totals[which])).tolist()
    scales, kept = kept_neurons(gains, X.shape[1])
    data = NumpyPasses(X, y_index, shares[0], kept)
    problems = _problems(data, shares, which, alphas, X.shape[1], classes, scales, kept, covariance)
    with one_scipy_thread(X.shape[0] * X.shape[1] * len(problems)):
        return _side_by_side(problems, data, shares, which, tol=tol, max_iter=max_iter)


def _problems(
    data: NumpyPasses,
    shares: Array,
    which: Array,
    alphas: Sequence[float],
    n_neurons: int,
    classes: Array,
    gains: Array,
    kept: Any,
    covariance: Callable[[], Array] | None,
) -> list[Problem]:
    """What each head is the optimum of; equal penalties share a preconditioner."""
    means = data.means(shares)
    variances: Any = [None] * len(shares)
    if not factored(data, gains):
        variances = data.variances(shares, means)
    bases: dict[float, Dense] = {}
    problems = list[Problem]()
    for i, alpha in zip(which, alphas, strict=True):
        near = next((a for a in bases if abs(a / alpha - 1) < 1e-9), alpha)
        problem = Problem(
            data.with_weight(shares[i]),
            classes,
            kept,
            n_neurons,
            mean=means[i],
            alpha=alpha,
            gains=gains,
            covariance=covariance,
            variance=variances[i],
            basis=bases.get(near),
        )
        if covariance is not None and isinstance(problem.basis, Dense):
            bases[near] = problem.basis  # made of the covariance and the penalty alone
        problems.append(problem)
    return problems


def _side_by_side(
    problems: Sequence[Problem],
    data: NumpyPasses,
    shares: Array,
    which: Array,
    *,
    tol: float,
    max_iter: int,
) -> list[FittedHead]:
    """Run an optimiser for each problem in a thread; all wait for one pass over the rows."""
    requests: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in problems]

    def solved(i: int) -> FittedHead:
        def loss(W: Array, b: Array) -> Any:
            requests.put((i, (W, b)))
            answer = answers[i].get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            return problems[i].solved(loss, tol=tol, max_iter=max_iter)
        finally:
            requests.put((i, None))

    with ThreadPoolExecutor(len(problems)) as pool:
        heads = [pool.submit(solved, i) for i in range(len(problems))]
        try:
            _answer(requests, answers, data, shares, which)
        except BaseException as error:
            for answer in answers:
                answer.put(error)
            raise
        return [head.result() for head in heads]


def _answer(
    requests: SimpleQueue[tuple[int, Any]],
    answers: list[SimpleQueue[Any]],
    data: NumpyPasses,
    shares: Array,
    which: Array,
) -> None:
    """Compute the losses asked for when all optimisers that still run have asked."""
    running, asked = len(answers), dict[int, tuple[Array, Array]]()
    while running:
        i, heads = requests.get()
        if heads is None:
            running -= 1
        else:
            asked[i] = heads
        if not asked or len(asked) < running:
            continue
        order = sorted(asked)
        W, b = (np.stack([asked[i][part] for i in order]) for part in (0, 1))
        asked.clear()
        found = data.losses(shares, which[order], W, b)
        for i, value, slope, gradient in zip(order, *found, strict=True):
            answers[i].put((float(value), slope, gradient))

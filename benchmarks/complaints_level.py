"""Complaints: how often a model without a fault is changed, and whether the interval is true.

    OPENBLAS_NUM_THREADS=1 python benchmarks/complaints_level.py [--runs 60] [--markdown FILE]

Made-up embeddings, of which any number can be drawn. The first models are optimal: labels are drawn
with the model's own probabilities, so no head is better, and a written head is a false alarm. The
others have a fault: they rely on a feature that disagrees with the class in 5 % of the traffic, or
answer a small cluster wrongly. The true share is counted on thousands of errors that nothing saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import softmax

from ntkit import LinearHead
from ntkit._text import table
from ntkit.jobs.debias._complaints import repaired
from ntkit.study import Rows
from runner import command_line, publish

Array = NDArray[Any]
Draw = Callable[[int], tuple[Array, Array, Array]]
NUMBERS = (16, 40)
_TRAFFIC, _UNSEEN = 2000, 60_000


def optimal(
    rng: np.random.Generator, *, classes: int = 2, width: int = 5, sharp: float = 3.0,
    only: int | None = None,
) -> tuple[LinearHead, Draw]:  # fmt: skip
    """Labels drawn with the model's probabilities; complaints about one answer if ``only``."""
    coef = np.eye(classes, width) * sharp
    if classes == 2:
        coef = np.eye(width)[0] * np.array([[-0.5], [0.5]]) * sharp
    head = LinearHead(np.hstack([coef, -coef]), np.zeros(classes), np.arange(classes))

    def draw(n: int) -> tuple[Array, Array, Array]:
        x = rng.normal(size=(n, width))
        Z = np.maximum(np.hstack([x, -x]), 0)
        chances = softmax(head.logits(Z), axis=1).cumsum(axis=1)
        y = (chances[:, :-1] < rng.random((n, 1))).sum(axis=1)
        old = head.logits(Z).argmax(axis=1)
        return Z, y, (old != y) & ((old == only) | (only is None))

    return head, draw


def shortcut(
    rng: np.random.Generator, *, classes: int = 2, width: int = 20
) -> tuple[LinearHead, Draw]:
    """A model that relies on a feature; complaints are errors where it disagrees with the class."""
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]

    def sample(n: int) -> tuple[Array, Array, Array]:
        y, rows = rng.integers(classes, size=n), np.arange(n)
        other = (y + rng.integers(1, classes, size=n)) % classes
        a = np.where(rng.random(n) < 0.95, y, other)
        Z = rng.normal(size=(n, width))
        Z[rows, y] += 1.5
        Z[rows, classes + a] += 3
        return Z @ turn, y, a

    Z, y, _ = sample(3000)
    head = Rows.of(Z, y).heads([np.full(len(y), 1 / len(y))], alphas=[0.01])[0]

    def draw(n: int) -> tuple[Array, Array, Array]:
        Z, y, a = sample(n)
        return Z, y, (head.logits(Z).argmax(axis=1) != y) & (a != y)

    return LinearHead(head.coef, head.intercept, np.arange(classes)), draw


def cluster(rng: np.random.Generator, *, width: int = 30) -> tuple[LinearHead, Draw]:
    """A small cluster of one class that looks like the other, next to ordinary errors."""
    head = LinearHead(np.eye(width)[:1] * 2.4, np.zeros(1), np.arange(2))

    def draw(n: int) -> tuple[Array, Array, Array]:
        y = rng.integers(2, size=n)
        Z = rng.normal(size=(n, width))
        Z[:, 0] += 2.5 * (2 * y - 1)
        Z[(rng.random(n) < 0.02) & (y == 0), :2] += 4, 3
        return Z, y, head.logits(Z).argmax(axis=1) != y

    return head, draw


PROBLEMS: dict[str, Callable[[np.random.Generator], tuple[LinearHead, Draw]]] = {
    "optimal": optimal,
    "optimal, 1 complained answer": partial(optimal, only=0),
    "optimal, 2 % errors": partial(optimal, sharp=28.0),
    "optimal, four classes": partial(optimal, classes=4),
    "shortcut": shortcut,
    "shortcut, width 200": partial(shortcut, width=200),
    "shortcut, four classes": partial(shortcut, classes=4, width=40),
    "cluster": cluster,
}


@dataclass(frozen=True)
class Outcome:
    """Whether a run wrote its head, the share that the head fixes, and what was said of it."""

    written: bool
    true: float
    said: float
    holds: bool


def run(problem: str, n: int, seed: int) -> Outcome:
    """Repair a new model by ``n`` complaints, and count on unseen errors."""
    rng = np.random.default_rng([seed, n, *problem.encode()])
    head, draw = PROBLEMS[problem](rng)
    Z, y, wrong = draw(_UNSEEN)
    errors = np.flatnonzero(wrong)
    some, unseen = errors[:n], errors[n:]
    repair = repaired(head, Z[some], y[some], draw(_TRAFFIC)[0], seed=seed)
    new = repair.folds.head(repair.choice.step, head.classes)
    # Of several causes, the interval is about those that the head was moved towards.
    pairs = head.logits(Z).argmax(axis=1) * len(head.classes) + y
    old = repair.folds.answers[: repair.folds.n]
    used = np.isin(pairs[unseen], old * len(head.classes) + repair.folds.right)
    true = float((new.predict(Z[unseen]) == y[unseen])[used].mean())
    low, high = repair.choice.fixed_bounds
    return Outcome(repair.helps, true, float(repair.choice.fixed.mean()), low <= true <= high)


def main() -> None:
    """Print the table."""
    parser = command_line((__doc__ or "").splitlines()[0], "--markdown")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--only", choices=PROBLEMS)
    args = parser.parse_args()
    rows = [["model", "complaints", "written", "fixed", "said", "interval holds", "of written"]]
    for problem in [args.only] if args.only else PROBLEMS:
        for n in NUMBERS:
            tasks = (delayed(run)(problem, n, seed) for seed in range(args.runs))
            outcomes = Parallel(n_jobs=-1)(tasks)
            written = [each for each in outcomes if each.written]
            fixed, said = (
                f"{100 * np.mean([getattr(each, name) for each in outcomes]):.0f} %"
                for name in ("true", "said")
            )
            counts = [
                f"{sum(each.holds for each in some)} of {len(some)}" for some in (outcomes, written)
            ]
            share = f"{len(written)} of {len(outcomes)}"
            rows.append([problem, str(n), share, fixed, said, *counts])
    text = table(rows, "<>>>>>>", padded=True)
    publish(text, args.markdown)


if __name__ == "__main__":
    main()

"""Fidelity: how DFR's published script chooses C, literally, and how the choice spreads over draws.

Both procedures tune on random halves of one small set and choose by the worst of four groups. On
such data several C tie, and another draw gives another C: what two seeds of one procedure give is
the mark for what two procedures give.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fidelity_rows import Array
from ntkit.estimators import DFRClassifier
from ntkit.estimators._groups import halves
from ntkit.metrics import worst_group_accuracy
from ntkit.study import Rows

CS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def balanced_draw(groups: Array, rows: Array, rng: np.random.RandomState) -> Array:
    """As many of the rows of every group as the smallest has, in a random order each."""
    members = [rows[groups[rows] == group] for group in np.unique(groups)]
    size = min(len(own) for own in members)
    for own in members:
        rng.shuffle(own)
    return np.concatenate([own[:size] for own in members])


def accuracies(X: Array, y: Array, groups: Array, fitted: Array, judged: Array) -> Array:
    """Accuracy of every group on the rows to judge by, for every C: (7, G)."""
    scaler = StandardScaler().fit(X[fitted])
    Z, judge = scaler.transform(X[fitted]), scaler.transform(X[judged])
    found = []
    for C in CS:
        model = LogisticRegression(C=C, l1_ratio=1, solver="liblinear", random_state=0)
        right = model.fit(Z, y[fitted]).predict(judge) == y[judged]
        found.append([right[groups[judged] == group].mean() for group in np.unique(groups)])
    return np.array(found)


def choices(X: Array, y: Array, groups: Array, seed: int) -> dict[str, tuple[float, bool]]:
    """C, and whether it was tied, by plain halves and by halves of every group."""
    found = {}
    for name in ("plain", "stratified"):
        rng = np.random.RandomState(seed)
        order = rng.permutation(len(y))
        judged, fitting = order[: len(y) // 2], order[len(y) // 2 :]
        if name == "stratified":
            fitting, judged = halves(Rows.of(X, y), groups, rng)
        worst = accuracies(X, y, groups, balanced_draw(groups, fitting, rng), judged).min(axis=1)
        found[name] = CS[int(worst.argmax())], bool((worst == worst.max()).sum() > 1)
    return found


def lines(path: Path, draws: int) -> list[str]:
    """How often each C is chosen, and what it is worth."""
    with np.load(path) as data:
        parts = {name: data[name] for name in data.files}
    if "Zva" in parts:
        X, y, a = parts["Zva"], parts["yva"].astype(int), parts["ava"].astype(int)
        test = parts["Zte"], parts["yte"].astype(int), parts["ate"].astype(int)
    else:
        of, at = {name: parts["part"] == name for name in ("validation", "test")}, parts
        X, y, a = (at[name][of["validation"]] for name in ("Z", "y", "a"))
        test = tuple(at[name][of["test"]] for name in ("Z", "y", "a"))
        y, a, test = y.astype(int), a.astype(int), (test[0], *(v.astype(int) for v in test[1:]))
    groups, count = 2 * y + a, {"plain": Counter(), "stratified": Counter()}  # type: ignore[var-annotated]
    tied = Counter[str]()
    for seed in range(draws):
        for name, (C, tie) in choices(X, y, groups, seed).items():
            count[name][C] += 1
            tied[name] += tie
    text = [
        f"| of {draws} random halves | " + " | ".join(f"C = {C:g}" for C in CS) + " | tied | two "
        "differ |",
        "|---|" + "---:|" * (len(CS) + 2),
    ]
    for name, label in (
        ("plain", "the script: plain halves"),
        ("stratified", "`DFRClassifier`: every group halved"),
    ):
        share = np.array([count[name][C] for C in CS]) / draws
        cells = [str(count[name][C]) for C in CS]
        text.append(
            f"| {label} | " + " | ".join(cells) + f" | {tied[name]} | {1 - (share**2).sum():.0%} |"
        )
    worth = []
    for C in CS:
        figures = [
            100
            * worst_group_accuracy(
                test[1],
                DFRClassifier(Cs=[C], random_state=seed).fit(X, y, groups=groups).predict(test[0]),
                groups=2 * test[1] + test[2],
            )
            for seed in range(3)
        ]
        worth.append(f"{np.mean(figures):.1f} ± {np.std(figures):.1f}")
    text.append("| worst group on test at this C, % (3 seeds) | " + " | ".join(worth) + " | | |")
    return text

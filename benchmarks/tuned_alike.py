"""Choosing among the configurations of a method: every method alike, by the same validation half.

A validation set is halved, stratified by class. One half is what a method is given, next to the
training set; the other half chooses among its configurations by one of three rules: the accuracy of
the worst class, that of the worst class × correctness group (both without group labels), or that of
the worst group, as papers choose.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from ntkit import LinearHead
from ntkit.study import Rows
from splits import taken
from tuned_methods import METHODS, Fits, Task, by_ridge
from waterbirds import rated

Array = NDArray[Any]
Findings = dict[str, Any]
RULES = {
    "class": "worst class",
    "cell": "worst class × correctness group",
    "group": "worst group †",
}


def rows_of(part: Rows) -> Rows:
    """Labels are 0 and 1, and so their own index."""
    return Rows.of(part.X, part.y.astype(np.intp))


def halved(train: Rows, rows: Rows, validation: Rows, seed: int) -> tuple[Task, Rows]:
    """The task with half of the validation set, and the half that chooses."""
    halves = train_test_split(
        np.arange(len(validation.y)), test_size=0.5, stratify=validation.y, random_state=seed
    )
    given, choosing = (taken(validation, half) for half in halves)
    held = rows_of(given)
    named = {"train": rows, "validation": held, "both": rows.and_then(held)}
    return Task(train, given, named, seed), choosing


def scores(predicts: Any, half: Rows, wrong: Array) -> dict[str, list[float]]:
    """The smallest accuracy over classes, cells or groups, and the mean over them, for ties."""
    right = predicts.predict(half.X) == half.y
    assert half.groups is not None
    found = {}
    for rule, parts in (
        ("class", half.y),
        ("cell", 2 * half.y + wrong),
        ("group", half.groups),
    ):
        accuracy = [float(right[parts == part].mean()) for part in np.unique(parts)]
        found[rule] = [min(accuracy), float(np.mean(accuracy))]
    return found | {"average": [float(right.mean())]}


def run(
    method: str,
    task: Task,
    half: Rows,
    test: Rows,
    fits: Callable[[Task], Fits] | None = None,
) -> Findings:
    """Fit every configuration, score it on the half that chooses, rate it on the test split.

    ``fits`` yields the configurations of a method that is not in ``tuned_methods.py``.
    """
    assert task.train.groups is not None
    shares = np.bincount(task.train.groups)
    wrong = np.zeros(len(half.y), dtype=int)
    if task.head is not None:
        wrong = (task.head.predict(half.X) != half.y).astype(int)
    start, tried = time.perf_counter(), []
    for given, clf in (fits or METHODS[method][1])(task):
        figures = {"scores": scores(clf, half, wrong), "test": rated(clf, test, shares)}
        tried.append({"given": given} | figures)
    return {"method": method, "seed": task.seed, "tried": tried, "s": time.perf_counter() - start}


def original_head(task: Task, found: Findings) -> LinearHead:
    """The ERM head of the best worst class on the half that chooses."""
    rows = task.rows["train"]
    [(_, head)] = by_ridge(rows, [chosen(found, "class")["given"]["alpha"]], rows.weight)
    return head


def chosen(found: Findings, rule: str) -> Findings:
    """The configuration with the best score; a tie goes to the mean, then to the first."""
    return max(found["tried"], key=lambda each: tuple(each["scores"][rule]))

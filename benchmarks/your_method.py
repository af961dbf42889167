"""A method of yours as one more row of ``overview.py``.

    python benchmarks/overview.py DATA_DIR RESULTS.jsonl --parts zero all --method MODULE:NAME

NAME is a class of classifiers, or a function that returns one: ``fit(X, y)`` and ``predict(X)`` on
standardised embeddings. MODULE is found in the working folder or among the installed packages.

* If ``fit`` takes ``X_val`` and ``y_val``, it gets the training set and the validation set. If not,
  it gets both as one set, as ERM does.
* If ``fit`` takes ``groups``, it gets the group of every row in ``X``: 0 to 3, which is twice the
  class plus the attribute. If it takes ``attribute`` instead, it gets 0 or 1. ``groups_val`` and
  ``attribute_val`` are those of ``X_val``. The row is marked † and stands with all labels.
* ``NAME.GRID``, a mapping from parameters of NAME to lists of values, is tuned as every method is:
  the method gets half of the validation set, and the other half chooses by the worst class, or by
  the worst group if ``fit`` takes group labels. The row is marked ‡.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from sklearn.model_selection import ParameterGrid

from ntkit.study import Rows
from splits import joined
from tuned_methods import Fits, Task

Findings = dict[str, Any]
Method = Callable[..., Any]
MOST = 24
"""Configurations, as every other method has at most."""


def loaded(spec: str) -> Method:
    """The class or function that ``module:name`` names."""
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ValueError(f"{spec!r} names no class. Write MODULE:CLASS.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    method: Method = getattr(import_module(module), name)
    n = len(configurations(method))
    if n > MOST:
        raise ValueError(f"GRID has {n} configurations, {MOST} are allowed. Remove values.")
    for given in configurations(method):
        method(**given)
    return method


def version_of(spec: str) -> str:
    """Hash of the file of the module, so that results of an earlier text are not shown."""
    file = import_module(spec.partition(":")[0]).__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def configurations(method: Method) -> list[Findings]:
    """What its grid holds; without a grid, one configuration without parameters."""
    return list(ParameterGrid(getattr(method, "GRID", {})))


def takes(method: Method) -> set[str]:
    """Names of the parameters of its ``fit``."""
    return set(signature(method(**configurations(method)[0]).fit).parameters)


def sees_groups(method: Method) -> bool:
    """Whether it is fitted with group labels."""
    return bool(takes(method) & {"groups", "attribute", "groups_val", "attribute_val"})


def row_of(spec: str, method: Method) -> str:
    """Name of its row: the labels that it sees, the name in the module, and the marks."""
    labels, mark = ("all", "†") if sees_groups(method) else ("0", "")
    mark = "‡" * (len(configurations(method)) > 1) + mark
    return f"{labels} | {spec.partition(':')[2]} {mark}".rstrip()


def fitted(method: Method, train: Rows, validation: Rows, given: Findings) -> Any:
    """A configuration of the method, fitted on these samples."""
    clf, names = method(**given), takes(method)
    options: Findings = {}
    if {"X_val", "y_val"} <= names:
        options = {"X_val": validation.X, "y_val": validation.y, **told(names, validation, "_val")}
    else:
        train = joined(train, validation)
    clf.fit(train.X, train.y, **told(names, train), **options)
    return clf


def told(names: set[str], rows: Rows, suffix: str = "") -> Findings:
    """Groups of the rows, or values of the attribute, for a ``fit`` that takes them."""
    assert rows.groups is not None
    labels = {f"groups{suffix}": rows.groups, f"attribute{suffix}": rows.groups % 2}
    return next(({name: labels[name]} for name in labels if name in names), {})


def fits(method: Method, task: Task) -> Fits:
    """Every configuration, fitted."""
    for given in configurations(method):
        yield given, fitted(method, task.train, task.validation, given)

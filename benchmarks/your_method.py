"""A classifier of yours as one more row of ``overview.py``.

    python benchmarks/overview.py DATA_DIR RESULTS.jsonl --parts zero all --method MODULE:CLASS

CLASS is a scikit-learn classifier: ``fit(X, y)`` and ``predict(X)`` on standardised embeddings. If
its ``fit`` takes ``X_val`` and ``y_val``, it gets the training set and the validation set. If not,
it gets both as one set, as ERM does. It sees no group label. MODULE is found in the working folder
or among the installed packages.
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from ntkit.study import Rows
from splits import joined


def fitted(spec: str, train: Rows, validation: Rows) -> Any:
    """The classifier that ``module:Class`` names, fitted on these samples."""
    clf = loaded(spec)()
    if {"X_val", "y_val"} <= set(signature(clf.fit).parameters):
        return clf.fit(train.X, train.y, X_val=validation.X, y_val=validation.y)
    both = joined(train, validation)
    return clf.fit(both.X, both.y)


def loaded(spec: str) -> Any:
    """The class that ``module:Class`` names."""
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ValueError(f"{spec!r} names no class. Write MODULE:CLASS.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return getattr(import_module(module), name)


def row_of(spec: str) -> str:
    """Name of its row: no labels, and the name of the class."""
    return f"0 | {spec.partition(':')[2]}"

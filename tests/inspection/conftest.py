"""Samples with a spurious mark, estimators fitted on them, and no window or figure left behind."""

from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

from ntkit import NeuronTuneClassifier, NeuronTuneClassifierCV
from tests.inspection.samples import fitted, spurious_samples


@pytest.fixture(autouse=True)
def figures():
    """Draw into memory, and close what a test leaves open."""
    with matplotlib.rc_context():
        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        plt.close("all")
        yield plt
        plt.close("all")


@pytest.fixture(scope="session")
def two():
    """Two classes with names, 8 neurons; a classifier and a search fitted on them."""
    Z, y, mark = spurious_samples(900, 8, ["cat", "dog"])
    train, val, test = slice(0, 300), slice(300, 600), slice(600, 900)
    held = {"X_val": Z[val], "y_val": y[val]}
    return SimpleNamespace(
        Z=Z,
        y=y,
        groups=np.array([f"{a} with {b} mark" for a, b in zip(y, mark, strict=True)]),
        train=train,
        val=val,
        test=test,
        clf=fitted(
            NeuronTuneClassifier(
                0.3, max_suppressed=0.5, min_misclassified=1, max_cost=None, random_state=0
            ),
            Z[train],
            y[train],
            **held,
        ),
        cv=fitted(
            NeuronTuneClassifierCV([0.1, 0.5, 1.0], cv=3, min_misclassified=1, random_state=0),
            Z[train],
            y[train],
            **held,
        ),
    )


@pytest.fixture(scope="session")
def hundred():
    """A hundred classes with long names, 64 neurons; no class but a few makes errors."""
    names = [f"{i:02d} a class with a name of some length" for i in range(100)]
    Z, y, _ = spurious_samples(3000, 64, names)
    train, val = slice(0, 1500), slice(1500, 3000)
    clf = NeuronTuneClassifier.as_published(
        threshold=0.5, standardize=True, random_state=0, tol=1e-2
    )
    fitted(clf, Z[train], y[train], X_val=Z[val], y_val=y[val])
    return SimpleNamespace(Z=Z, y=y, train=train, val=val, clf=clf)

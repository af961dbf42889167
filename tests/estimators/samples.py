"""Samples and heads that tests of estimators share."""

import numpy as np

from ntkit import LinearHead


def biased(seed=0, n=400, width=6, n_classes=2, *, share=0.9, dtype=np.float64, relu=False):
    """Overlapping classes (N,), and a louder mark (N,) that is mostly equal to the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    mark = np.where(rng.random(n) < share, y, rng.integers(0, n_classes, n))
    source = np.column_stack([np.eye(n_classes)[y], 2 * np.eye(n_classes)[mark]])
    X = source @ rng.normal(size=(2 * n_classes, width)) + rng.normal(size=(n, width))
    return (np.maximum(X, 0) if relu else X).astype(dtype), y, mark


def labelled(*args, **options):
    """Such samples without the mark."""
    return biased(*args, **options)[:2]


def misled(n=2000):
    """Two neurons: the class with noise, and a mark that is the class for 95 % of samples."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    mark = np.where(rng.random(n) < 0.95, y, 1 - y)
    X = np.column_stack([y + rng.normal(0, 0.3, n), 2 * mark + rng.normal(0, 0.1, n)])
    return X, y, mark


def random_head(n_logits=1, width=6, seed=1, *, bias=True):
    """A head that is right by chance."""
    rng = np.random.default_rng(seed)
    classes = np.arange(max(2, n_logits))
    coef = 0.5 * rng.normal(size=(n_logits, width))
    return LinearHead(coef, rng.normal(size=n_logits) * bias, classes)


def grouped(seed=0, n=600, width=8, n_classes=2, *, share=0.85, dtype=np.float64):
    """Samples that are not centred, and their group class × mark (N,)."""
    X, y, mark = biased(seed, n, width, n_classes, share=share)
    return (X + 3).astype(dtype), y, n_classes * y + mark

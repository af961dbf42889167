"""Samples with an injected attribute, and feature sets of given columns."""

import numpy as np

from ntkit.attributes import Block, FeatureSet
from ntkit.attributes.findings import AuditedPredictions, find_findings, rankings_of


def view_of(values, names=None, kind="word", known=None, exact=True):
    """A view of one block of columns."""
    values = np.asarray(values)
    names = names or tuple(f"{kind}:{j}" for j in range(values.shape[1]))
    return FeatureSet(kind, exact, len(values), lambda: iter([Block(tuple(names), values, known)]))


def planted(n=2000, n_classes=2, n_others=30, leaning=0.5, agreement=0.9, seed=0):
    """Predictions that follow attribute 0 in a share of the samples; the others are noise.

    Attribute 0 goes with class 0 (and its absence with the others).
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    has = np.where(rng.random(n) < agreement, y == 0, y != 0)
    others = rng.random((n, n_others)) < rng.uniform(0.05, 0.5, n_others)
    led = np.where(has, 0, rng.integers(1, n_classes, n))
    pred = np.where(rng.random(n) < leaning, led, y)
    values = np.column_stack([has, others])
    return values, AuditedPredictions(np.arange(n_classes), y, pred, np.ones(n))


def findings_in(feature_sets, predictions, alpha=0.05):
    return find_findings([(feature_sets, predictions)], alpha)[0]


def ranking_of(feature_sets, predictions):
    return rankings_of([(feature_sets, predictions)])[0]

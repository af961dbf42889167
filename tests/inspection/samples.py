"""Samples with a spurious mark, and estimators fitted on them whatever they warn of."""

import warnings

import numpy as np

from ntkit.exceptions import SuppressionWarning


def spurious_samples(n, n_neurons, labels, seed=0):
    """Embeddings whose last neuron is a mark that follows the class in 90 % of the samples.

    The neuron before is dead.
    """
    rng = np.random.default_rng(seed)
    k = len(labels)
    y = rng.permutation(np.resize(np.arange(k), n))
    mark = np.where(rng.random(n) < 0.9, y, (y + 1) % k)
    Z = rng.normal(0, 1, (n, n_neurons))
    Z[:, :-2] += rng.normal(0, 0.7, (k, n_neurons - 2))[y]
    Z[:, -2] = 0.5
    Z[:, -1] = 2 * mark + rng.normal(0, 0.2, n)
    return Z, np.asarray(labels)[y], np.asarray(labels)[mark]


def fitted(estimator, *data, **held):
    """Fit, on samples of which some rules suppress nearly all neurons."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuppressionWarning)
        return estimator.fit(*data, **held)

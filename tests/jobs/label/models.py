"""A small model of rows of numbers, and samples on which it relies on a shortcut."""

import numpy as np

from tests.models import parsed, save

N = 240


def rows(seed=0, n=N, share=0.9):
    """Inputs (N, 6), classes, and the attribute that goes with them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    mark = np.where(rng.random(n) < share, y, 1 - y)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    X[:, 0] += 1.5 * y
    X[:, 1] += 6 * mark
    return X, y, mark


def write_model(path):
    """The inputs, as they are, and a head that reads the mark above all."""
    text = "(float[n, 6] x) => (float[n, 2] logits) { z = MatMul(x, W) logits = Gemm(z, C, b) }"
    C = [[-0.5, 0.5], [-1, 1], *[[0, 0]] * 4]
    return save(parsed(text, W=np.eye(6), C=C, b=[3, -3]), path)

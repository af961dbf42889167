"""Reviews of a few words, and networks of words of scikit-learn as models of texts."""

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from tests.models import save

GOOD = ["funny", "warm", "clever", "moving", "tender", "witty", "bold", "fresh"]
BAD = ["dull", "slow", "empty", "silly", "clumsy", "stale", "bland", "noisy"]


def reviews(rng, n, honest=0.7):
    """Texts of six words, a share of which fits the class, and the classes."""
    y = rng.integers(0, 2, n)
    fits = rng.random((n, 6)) < honest
    pairs = rng.choice(np.array([BAD, GOOD]).T, (n, 6))
    words = np.where(np.where(fits, y[:, None], 1 - y[:, None]) == 1, pairs[..., 1], pairs[..., 0])
    return np.array([" ".join(row) for row in words], dtype=object), y


def save_network_of_words(path, *steps):
    """A fitted TfidfVectorizer and what follows it, as a model of texts."""
    kind = [("text", StringTensorType([None, 1]))]
    options = {TfidfVectorizer: {"locale": "C"}}  # the others may not be installed
    save(to_onnx(make_pipeline(*steps), initial_types=kind, options=options), path)
    return path

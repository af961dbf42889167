"""Digits with five labels each, one of which a bright bar predicts; a model that relies on it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tests import models as zoo

LABELS = ("even", "large", "loop", "prime", "square")
REPAIRED = "even"


@dataclass(frozen=True)
class FiveLabels:
    """Training, validation and test samples (the test set without bias), and the model's file."""

    X: dict
    Y: dict  # (N, 5) of 0 and 1
    mark: dict  # whether the bar is bright
    model: Path

    def y(self, name, label=REPAIRED):
        """0 or 1 of one label in a set."""
        return self.Y[name][:, LABELS.index(label)]

    def set(self, name):
        """Inputs, and all labels."""
        return self.X[name], self.Y[name]


def five_labels(folder, seed=0, correlation=0.95):
    """The samples, and a network of one hidden layer in ONNX that ends in five Sigmoids."""
    rng, digits = np.random.default_rng(seed), load_digits()
    images, digit = np.tile(digits.images / 16, (2, 1, 1)), np.tile(digits.target, 2)
    images = images + rng.normal(scale=0.35, size=images.shape)
    of_digit = [digit % 2 == 0, digit > 4, np.isin(digit, (0, 6, 8, 9)),
                np.isin(digit, (2, 3, 5, 7)), np.isin(digit, (0, 1, 4, 9))]  # fmt: skip
    Y, order = np.stack(of_digit, axis=1).astype(int), rng.permutation(len(digit))
    rows = dict(zip(("train", "validation", "test"), np.split(order, [1600, 2600]), strict=True))
    X, mark = {}, {}
    for name, at in rows.items():
        agrees = rng.random(len(at)) < (0.5 if name == "test" else correlation)
        mark[name] = np.where(agrees, Y[at, 0], 1 - Y[at, 0])
        marked = images[at].copy()
        marked[:, 0, :3] += 2 * mark[name][:, None]
        X[name] = marked.reshape(len(at), -1).astype(np.float32)
    Y = {name: Y[at] for name, at in rows.items()}
    network = MLPClassifier((32,), random_state=seed)
    for _ in range(25):
        network.partial_fit(X["train"], Y["train"], classes=[*range(5)])
    path = zoo.save(sigmoids(network), Path(folder) / "model.onnx")
    return FiveLabels(X, Y, mark, path)


def sigmoids(network, names=LABELS):
    """A fitted MLPClassifier of several labels as a plain ONNX graph."""
    (W1, W2), (b1, b2) = network.coefs_, network.intercepts_
    graph = f"""(float[batch, {len(W1)}] x) => (float[batch, {len(b2)}] scores) {{
        h = Gemm(x, W1, b1)
        z = Relu(h)
        logits = Gemm(z, W2, b2)
        scores = Sigmoid(logits)
    }}"""
    arrays = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    model = zoo.parsed(graph, **arrays)
    onnx.helper.set_model_props(model, {"names": json.dumps(list(names))})
    return model

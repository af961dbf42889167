"""Real tables, texts and images with a shortcut, and small networks, for the models and data.

* reviews: words of Rotten Tomatoes' snippets that say either "film" or "movie"; counts of words and
  one hidden layer. The words are there; the shares are drawn.
* reviews, MiniLM: the embeddings of the same snippets by a sentence encoder, as rows of numbers,
  and one hidden layer; which word they say is a column of metadata.
* Adult: is the income above 50 000 dollars? Sex is the shortcut, and husbands and wives stay.
* Adult, 200 people: the same, and a network that memorises them.
* garments: T-shirt or dress of Fashion-MNIST, in front of grass or brick.
* garments, 10 % wrong: the same with a tenth of the labels wrong, except in the test set.

Sets are drawn without replacement, so that the shortcut agrees with the class in a chosen share.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import data_adult
import data_texts
from data_made_up import BALANCED, PAD, PARTS, TOKENS, Kind, Samples, image_network, write
from fashion_mnist import SIDE, SOURCE, read
from ntkit.changes import change_from
from packages import default_cache

Array = NDArray[Any]
PRAISE = re.compile(r"\b(best|great|good|funny|fun|smart|beautiful|moving|charming)\b", re.I)
T_SHIRT, DRESS = 0, 3
TEXTURE = 256
WRONG = 0.1


@dataclass(frozen=True)
class Rows:
    """All samples of a data set: inputs, numbers of classes, the shortcut, and metadata."""

    X: Array
    y: Array
    a: Array
    metadata: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class RealKind(Kind):
    """A kind whose sets are drawn from a data set; ``inputs`` reads it from the data's folder."""

    def sets(
        self, of_model: float, of_data: float, rng: np.random.Generator, folder: Path
    ) -> dict[str, Samples]:
        """As of made-up kinds. No set shares a row with another, but "model" with "train"."""
        pool = self.inputs(folder)
        free = {g: np.flatnonzero(2 * pool.y + pool.a == g) for g in range(4)}
        free = {g: rng.permutation(rows) for g, rows in free.items()}

        def drawn(part: str, share: float, free: Mapping[int, Array]) -> Array:
            half = self.sizes[part] // 2
            agrees = round(half * share)
            counts = (agrees, half - agrees, half - agrees, agrees)
            short = [g for g, n in enumerate(counts) if n > len(free[g])]
            if short:
                raise ValueError(f"{part}: too few rows of the groups {short}")
            return np.concatenate([free[g][:n] for g, n in enumerate(counts)])

        def without(*sets: Array) -> dict[int, Array]:
            return {g: rows[~np.isin(rows, np.concatenate(sets))] for g, rows in free.items()}

        test = drawn("test", BALANCED, free)
        validation = drawn("validation", of_data, without(test))
        model = drawn("train", of_model, without(test, validation))
        others = {g: rng.permutation(rows) for g, rows in without(test, validation).items()}
        train = model if of_model == of_data else drawn("train", of_data, others)
        most = self.sizes["complaints"] // 4
        rest = [rows[:most] for rows in without(test, validation, model).values()]
        rows_of = {"train": train, "validation": validation, "test": test}
        taken = {part: self._taken(pool, rng.permutation(rows)) for part, rows in rows_of.items()}
        same = of_model == of_data
        taken["model"] = taken["train"] if same else self._taken(pool, rng.permutation(model))
        more = self._taken(pool, np.concatenate(rest))
        return self.with_wrong_labels(taken, rng) | {"complaints": more}

    def _taken(self, pool: Rows, rows: Array) -> Samples:
        metadata = {name: values[rows] for name, values in pool.metadata.items()}
        y = np.asarray(self.classes)[pool.y[rows]]
        return Samples(pool.X[rows], y, pool.a[rows][:, None], metadata)


def fitted(net: Any, X: Array, y: Array) -> Any:
    """A network that stops after its epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(X, y)


# -- reviews ----------------------------------------------------------------------------------


@cache
def snippets(folder: Path) -> Rows:
    """Reviews, whether fresh, and whether they say "film"."""
    texts, fresh, film = data_texts.reviews(default_cache())
    return Rows(np.asarray(texts, dtype=object), fresh, film)


@cache
def embedded_snippets(folder: Path) -> Rows:
    """Their embeddings, and metadata: the word, a day, whether there is a word of praise."""
    texts, fresh, film = data_texts.reviews(default_cache())
    with np.load(folder / "rotten_tomatoes.npz") as data:
        Z, same = data["Z"].astype(np.float32), np.array_equal(data["y"], fresh)
    assert same
    day = np.random.default_rng(0).integers(0, 2, len(fresh))
    praise = np.array([bool(PRAISE.search(text)) for text in texts])
    metadata = {
        "word": np.where(film, "film", "movie"),
        "day": np.where(day, "even", "odd"),
        "praise": np.where(praise, "yes", "no"),
    }
    return Rows(Z, fresh, film, metadata)


def word_network(X: Array, y: Array, seed: int, path: Path) -> None:
    """Counts of frequent words and one hidden layer; a tokenizer.json lies next to the model."""
    counter = CountVectorizer(min_df=2, max_features=2500)
    counts = counter.fit_transform(X).toarray().astype(np.float32)
    names, labels = np.unique(y, return_inverse=True)
    net = fitted(MLPClassifier((32,), alpha=1.0, max_iter=15, random_state=seed), counts, labels)
    numbers = {PAD: 0} | {word: i + 1 for word, i in counter.vocabulary_.items()}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=PAD))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path.with_name("tokenizer.json")))
    (W1, W2), (b1, b2) = net.coefs_, net.intercepts_
    constants = {
        "W1": np.vstack([np.zeros(W1.shape[1]), W1]), "b1": b1,
        "W2": np.hstack([-W2 / 2, W2 / 2]), "b2": np.array([-b2[0] / 2, b2[0] / 2]),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([1]), "axis"))
    nodes = [
        helper.make_node("Gather", ["W1", TOKENS[0]], ["words"]),
        helper.make_node("Cast", [TOKENS[1]], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["row"]),
        helper.make_node("MatMul", ["row", "words"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["flat"]),
        helper.make_node("Add", ["flat", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["z"]),
        helper.make_node("Gemm", ["z", "W2", "b2"], ["logits"]),
    ]
    shape = ["batch", "tokens"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in TOKENS]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "reviews", inputs, outputs, tensors)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, {"names": json.dumps(names.tolist())})
    onnx.save(model, path)


def row_network(
    X: Array, y: Array, seed: int, path: Path, *, widths: tuple[int, ...], epochs: int, alpha: float
) -> None:
    """Standardised columns, hidden layers, and a linear layer."""
    net = MLPClassifier(widths, alpha=alpha, max_iter=epochs, random_state=seed)
    write(fitted(make_pipeline(StandardScaler(), net), X, y), X, path)


# -- people -----------------------------------------------------------------------------------


def adult_columns() -> tuple[str, ...]:
    """Names of the columns: no country, no second column of the education, one of the sex."""
    names = data_adult.names(data_adult.SOURCE.fetched(default_cache()))
    left_out = ("native-country", "education_", "salary", "sex_Female")
    return tuple(name for name in names if not name.startswith(left_out))


@cache
def adults(folder: Path) -> Rows:
    """People of the Adult data set, whether they earn much, and whether they are men."""
    path = data_adult.SOURCE.fetched(default_cache())
    X, y, a = data_adult.people(path)
    names = [name for name in data_adult.names(path) if not name.startswith("salary")]
    return Rows(X[:, [names.index(name) for name in adult_columns()]], y, a)


# -- garments ---------------------------------------------------------------------------------


@cache
def clothes_and_textures() -> tuple[dict[str, list[Array]], list[Array]]:
    """Images of each part, by class, and two textures."""
    from skimage import data
    from skimage.transform import resize

    folder = SOURCE.fetched(default_cache())
    (images, labels), (of_test, test_labels) = (read(folder, k) for k in ("train", "t10k"))
    by_class = [images[labels == label] for label in (T_SHIRT, DRESS)]
    own = {part: [c[i::3] for c in by_class] for i, part in enumerate(PARTS[:3])}
    own["test"] = [of_test[test_labels == label] for label in (T_SHIRT, DRESS)]
    size = (TEXTURE, TEXTURE)
    return own, [resize(t, size).astype(np.float32) for t in (data.grass(), data.brick())]


OTHER_TEXTURE = dict[bytes, Array]()
"""Copies of images in front of the other texture, as a person may have them made."""


def pixels_of(image: Array) -> bytes:
    """Pixels of an image from 0 to 255."""
    return (np.asarray(image, dtype=np.float32) * np.float32(255)).tobytes()


def other_texture(image: Array) -> Array:
    """The copy of an image."""
    return OTHER_TEXTURE[np.ascontiguousarray(np.moveaxis(image, -1, 0)).tobytes()]


def garment_inputs(y: Array, shortcuts: Array, part: str, rng: np.random.Generator) -> Any:
    """Garments in front of grass or brick, and metadata: texture, camera, sleeves.

    Test images have other cut-outs of the textures.
    """
    own, textures = clothes_and_textures()
    rows = (TEXTURE // 2, TEXTURE - SIDE) if part == "test" else (0, TEXTURE // 2 - SIDE)
    images = np.empty((len(y), 1, SIDE, SIDE), dtype=np.float32)
    sleeves = np.empty(len(y))
    for i, (label, a) in enumerate(zip(y, shortcuts[:, 0], strict=True)):
        garment = own[part][label][rng.integers(len(own[part][label]))].astype(np.float32) / 255
        top, left = rng.integers(*rows), rng.integers(0, TEXTURE - SIDE)
        cut = [texture[top : top + SIDE, left : left + SIDE] for texture in textures]
        images[i, 0], other = (np.where(garment > 0.05, 0.8 * garment, cut[k]) for k in (a, 1 - a))
        OTHER_TEXTURE[pixels_of(images[i])] = 255 * other[..., None]
        sleeves[i] = (garment[4:12, [3, 4, 5, 22, 23, 24]] > 0.05).mean()
    metadata = {
        "texture": np.where(shortcuts[:, 0], "brick", "grass"),
        "camera": np.where(rng.integers(0, 2, len(y)), "a", "b"),
        "sleeves": np.where(sleeves > 0.5, "yes", "no"),
    }
    return images, metadata


# -- all of them ------------------------------------------------------------------------------

FILM = [["word:film", "word:films"], ["word:movie", "word:movies"]]
SEX = "column:sex_Male"
SWAP = ("word:film|word:movie", "word:films|word:movies")
OF_REVIEWS = {"train": 800, "validation": 600, "test": 720, "complaints": 800}
OF_PEOPLE = {"train": 3000, "validation": 1000, "test": 1600, "complaints": 1000}
TEXTURES = change_from(other_texture, "the other texture"), "image:bottom right"
Network = Callable[[Array, Array, int, Path], None]
of_columns: Network = partial(row_network, widths=(64, 32), epochs=12, alpha=0.1)
memorising: Network = partial(row_network, widths=(64, 32), epochs=400, alpha=0.0)
of_embeddings: Network = partial(row_network, widths=(32,), epochs=15, alpha=1.0)
REAL = {
    "reviews": RealKind(
        ("rotten", "fresh"), (FILM,), "word:with", "word:bad", (SWAP, "word:with=and"),
        (("film", "movie"),), snippets, word_network, sizes=OF_REVIEWS,
    ),
    "reviews, MiniLM": RealKind(
        ("rotten", "fresh"), ("metadata:word=film",), "metadata:day=odd", "metadata:praise=yes",
        (), (("metadata:word",),), embedded_snippets, of_embeddings, sizes=OF_REVIEWS,
    ),
    "Adult": RealKind(
        ("low", "high"), (SEX,), "column:fnlwgt>=180000", "column:education-num>=11",
        (SEX, "column:fnlwgt"), ((SEX, "Husband", "Wife"),), adults, of_columns,
        columns=adult_columns, sizes=OF_PEOPLE,
    ),
    "Adult, 200 people": RealKind(
        ("low", "high"), (SEX,), "column:fnlwgt>=180000", "column:education-num>=11",
        (SEX, "column:fnlwgt"), ((SEX, "Husband", "Wife"),), adults, memorising,
        columns=adult_columns, sizes=OF_PEOPLE | {"train": 200, "validation": 100},
    ),
    "garments": Kind(
        ("T-shirt", "dress"), ("metadata:texture",), "metadata:camera", "metadata:sleeves",
        TEXTURES, (("texture",),), garment_inputs, image_network,
    ),
    "garments, 10 % wrong": Kind(
        ("T-shirt", "dress"), ("metadata:texture",), "metadata:camera", "metadata:sleeves",
        TEXTURES, (("texture",),), garment_inputs, image_network, wrong=WRONG,
    ),
}  # fmt: skip

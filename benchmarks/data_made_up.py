"""Made-up tables, texts and images with shortcuts of any strength, and small networks on them.

Each kind of input has a real signal (columns, words, the shape of a digit), one or two shortcuts
(attributes that agree with the class in a chosen share of the samples) and an attribute that says
nothing. Nothing is downloaded: the digits come with scikit-learn.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import shift
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.neural_network import MLPClassifier
from tokenizers import Tokenizer, models, pre_tokenizers

Array = NDArray[Any]
PARTS = ("model", "train", "validation", "test")
SIZES = {"train": 3000, "validation": 1000, "test": 2000, "complaints": 1000}
BALANCED = 0.5
COLUMNS = [*(f"x{i}" for i in range(1, 7)), "region", "channel", "device"]
SIDE = 12
TOP_LEFT, BORDER = np.zeros((SIDE, SIDE), dtype=bool), np.ones((SIDE, SIDE), dtype=bool)
TOP_LEFT[:3, :3], BORDER[1:-1, 1:-1] = True, False
WORDS = {
    "bad": ["dull", "weak", "flat", "slow", "thin", "stale", "empty", "clumsy", "tired"],
    "good": ["great", "warm", "sharp", "bright", "rich", "fresh", "clever", "lively", "bold"],
}
PAD, TOKENS = "[PAD]", ("input_ids", "attention_mask")
FILLERS = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no") for b in ("ra", "ten", "vis")]


@dataclass(frozen=True)
class Samples:
    """Inputs, class names, the value (0 or 1) of each shortcut, and columns of metadata."""

    X: Array
    y: Array
    shortcuts: Array
    metadata: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes
    ----------
    classes : tuple of str
        Names of the two classes.
    shortcuts : tuple of str
        The attributes that a person calls shortcuts, as ``ntkit.debias(spurious=…)`` takes them.
    irrelevant, real : str
        An attribute that says nothing, and one that belongs to the class.
    changes : tuple
        A change of the inputs that removes the shortcut, and one that says nothing, or neither.
    signs : tuple of tuple of str
        For each shortcut, parts of the names of attributes that stand for it.
    inputs : callable
        Makes the inputs of a part, from numbers of classes (N,), shortcuts (N, k), and a generator;
        perhaps with columns of metadata.
    train : callable
        Trains a network on inputs and class names with a seed, and writes it to a path.
    columns : callable
        Function that returns the names of the columns of a table; none for rows of an array.
    sizes : mapping of str to int
        Number of samples of each part.
    wrong : float
        Share of wrong labels, in all sets but the test set and the complaints.
    """

    classes: tuple[str, str]
    shortcuts: tuple[Any, ...]
    irrelevant: str
    real: str
    changes: tuple[Any, ...]
    signs: tuple[tuple[str, ...], ...]
    inputs: Callable[..., Any]
    train: Callable[[Array, Array, int, Path], None]
    columns: Callable[[], Sequence[str]] = tuple
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    wrong: float = 0.0

    def sets(
        self, of_model: float, of_data: float, rng: np.random.Generator, folder: Path
    ) -> dict[str, Samples]:
        """Rows that train the model, the sets of debias, and balanced ones to complain about.

        The shortcuts agree with the class in ``of_model`` of the first and ``of_data`` of the sets.
        ``folder`` holds the benchmarks' data.
        """
        n = len(self.shortcuts)

        def drawn(part: str, share: float) -> Samples:
            return self.draw(part, self.sizes.get(part, self.sizes["train"]), [share] * n, rng)

        model = drawn("model", of_model)
        train = model if of_model == of_data else drawn("train", of_data)
        found = {"model": model, "train": train, "validation": drawn("validation", of_data)}
        found |= {"test": drawn("test", BALANCED)}
        # Made-up images have four lots of digits. Complaints are about those of the training set.
        more = self.draw("train", self.sizes["complaints"], [BALANCED] * n, rng)
        return self.with_wrong_labels(found, rng) | {"complaints": more}

    def with_wrong_labels(
        self, sets: dict[str, Samples], rng: np.random.Generator
    ) -> dict[str, Samples]:
        """The sets, with some labels wrong in all but the test set."""
        if not self.wrong:
            return sets
        done = dict[int, Samples]()
        first, second = self.classes
        for part, samples in sets.items():
            if part != "test" and id(samples) not in done:
                flip = rng.random(len(samples.y)) < self.wrong
                other = np.where(samples.y == first, second, first)
                done[id(samples)] = replace(samples, y=np.where(flip, other, samples.y))
        return {part: done.get(id(samples), samples) for part, samples in sets.items()}

    def draw(
        self, part: str, n: int, agreement: Sequence[float], rng: np.random.Generator
    ) -> Samples:
        """Samples whose shortcuts agree with the class in these shares; 0.5 is exactly balanced."""
        y = np.arange(n) % 2
        values = [
            np.where(rng.random(n) < share, y, 1 - y) if share != 0.5 else np.arange(n) // step % 2
            for step, share in zip((2, 4), agreement, strict=False)
        ]
        order = rng.permutation(n)
        return self.samples(y[order], np.stack(values, axis=1)[order], part, rng)

    def samples(self, y: Array, shortcuts: Array, part: str, rng: np.random.Generator) -> Samples:
        """Samples with these numbers of classes (N,) and values of the shortcuts (N, k)."""
        made = self.inputs(y, shortcuts, part, rng)
        X, metadata = made if isinstance(made, tuple) else (made, {})
        return Samples(X, np.asarray(self.classes)[y], shortcuts, metadata)


# -- tables -----------------------------------------------------------------------------------


def table_inputs(y: Array, shortcuts: Array, part: str, rng: np.random.Generator) -> Array:
    """Six weak columns, region, channel, and a device of three kinds."""
    weak = rng.normal(size=(len(y), 6)) + 0.3 * (2 * y[:, None] - 1)
    channel = shortcuts[:, 1] if shortcuts.shape[1] > 1 else rng.integers(0, 2, len(y))
    columns = (weak, shortcuts[:, 0], channel, rng.integers(0, 3, len(y)))
    return np.column_stack(columns).astype(np.float32)


def table_network(X: Array, y: Array, seed: int, path: Path) -> None:
    """Two hidden layers on the columns."""
    net = MLPClassifier((32, 16), alpha=0.1, max_iter=30, random_state=seed)
    write(net.fit(X, y), X, path)


# -- texts ------------------------------------------------------------------------------------


def text_inputs(
    y: Array,
    shortcuts: Array,
    part: str,
    rng: np.random.Generator,
    marks: Sequence[str] = ("film", "movie"),
) -> Array:
    """Words of the class, some of the other one, fillers, a mark if any, perhaps "today"."""
    bad, good = WORDS.values()
    texts = []
    for label, shortcut in zip(y, shortcuts[:, 0], strict=True):
        right = rng.random(4) < 0.72
        words = [rng.choice((bad, good)[int(label == r)]) for r in right]
        words += [*rng.choice(FILLERS, 6), marks[int(shortcut)]]
        words += ["today"] * int(rng.random() < 0.4)
        texts.append(" ".join(filter(None, rng.permutation(words))))
    return np.asarray(texts, dtype=object)


def text_network(
    X: Array, y: Array, seed: int, path: Path, marks: Sequence[str] = ("film", "movie")
) -> None:
    """Counts of words and one hidden layer; a tokenizer.json lies next to the model."""
    of_marks = " ".join(marks).split()
    pad, *vocabulary = [PAD, *WORDS["bad"], *WORDS["good"], *FILLERS, *of_marks, "today"]
    counts = CountVectorizer(vocabulary=vocabulary).transform(X).toarray().astype(np.float32)
    net = MLPClassifier((32,), alpha=0.01, max_iter=60, random_state=seed).fit(counts, y)
    numbers = {word: i for i, word in enumerate([pad, *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=pad))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path.with_name("tokenizer.json")))
    one_hot = np.vstack([np.zeros(len(vocabulary)), np.eye(len(vocabulary))]).astype(np.float32)
    shape = ["batch", "tokens"]
    write(
        net, counts, path,
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in TOKENS],
        lambda counted: [
            helper.make_node("Gather", ["one_hot", TOKENS[0]], ["words"]),
            helper.make_node("Cast", [TOKENS[1]], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "axis"], ["row"]),
            helper.make_node("MatMul", ["row", "words"], ["sum"]),
            helper.make_node("Flatten", ["sum"], [counted]),
        ],
        {"one_hot": one_hot, "axis": np.array([1])},
    )  # fmt: skip


# -- images -----------------------------------------------------------------------------------


def image_inputs(
    y: Array, shortcuts: Array, part: str, rng: np.random.Generator, mark: Array = TOP_LEFT
) -> Array:
    """Digits 0-4 and 5-9 with noise, a brighter mark (the shortcut) or bottom right corner.

    Each part has digits of its own.
    """
    digits = load_digits()
    own = np.arange(len(digits.target)) % len(PARTS) == PARTS.index(part)
    images = np.zeros((len(y), SIDE, SIDE))
    for label in (0, 1):
        rows = np.flatnonzero(own & ((digits.target >= 5) == label))
        images[y == label, 2:10, 2:10] = digits.images[rng.choice(rows, int((y == label).sum()))]
    moves = rng.integers(-1, 2, size=(len(y), 2))
    images = np.stack([shift(i, m, order=0) for i, m in zip(images, moves, strict=True)]) / 16
    images *= rng.uniform(0.5, 0.9, size=(len(y), 1, 1))
    images += 0.1 * np.abs(rng.normal(size=images.shape))
    images[:, mark] += 0.3 * shortcuts[:, 0, None]
    images[:, -3:, -3:] += 0.3 * rng.integers(0, 2, len(y))[:, None, None]
    return np.clip(images, 0, 1).astype(np.float32)[:, None]


def image_network(X: Array, y: Array, seed: int, path: Path) -> None:
    """Two hidden layers on the pixels."""
    flat = X.reshape(len(X), -1)
    net = MLPClassifier((64, 32), alpha=0.1, max_iter=30, random_state=seed).fit(flat, y)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *X.shape[1:]])
    flatten = partial(helper.make_node, "Flatten", ["image"])
    write(net, flat, path, [image], lambda pixels: [flatten([pixels])])


# -- files ------------------------------------------------------------------------------------


def write(
    net: MLPClassifier,
    X: Array,
    path: Path,
    inputs: Sequence[Any] = (),
    nodes: Callable[[str], list[Any]] | None = None,
    tensors: Mapping[str, Array] | None = None,
) -> None:
    """Write a network as ONNX, perhaps behind nodes that make its rows of numbers of other inputs.

    ``nodes`` is told the name of the tensor that they end in.
    """
    proto = to_onnx(net, X[:1], options={"zipmap": False}, target_opset=17)
    if nodes is not None:
        rows = proto.graph.input.pop()
        proto.graph.input.extend(inputs)
        rest = list(proto.graph.node)
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes(rows.name), *rest])
        proto.graph.initializer.extend(
            numpy_helper.from_array(values, name) for name, values in (tensors or {}).items()
        )
    path.write_bytes(proto.SerializeToString())


def write_samples(samples: Samples, path: Path, columns: Sequence[str] = COLUMNS) -> Any:
    """What ntkit reads the samples from: a table that is written, or arrays of images or rows."""
    X = samples.X
    if X.ndim == 4 or (X.ndim == 2 and not columns):
        return X, samples.y
    columns = columns if X.ndim == 2 else ["text"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label"])
        for row, label in zip(X.reshape(len(X), -1).tolist(), samples.y, strict=True):
            writer.writerow([*row, label])
    return path


KINDS = {
    "tables": Kind(
        ("low", "high"), ("column:region",), "column:device", "column:x1>=0",
        ("column:region", "column:device"), (("region",),), table_inputs, table_network,
        columns=lambda: COLUMNS,
    ),
    "texts": Kind(
        ("bad", "good"), ("word:film|word:movie",), "word:today", "word:great",
        ("word:film|word:movie", "word:today=both"), (("film", "movie"),),
        text_inputs, text_network,
    ),
    "images": Kind(
        ("small", "large"), ("image:top left brightness above the median",),
        "image:bottom right brightness above the median",
        "image:bottom centre brightness high",
        ("image:top left", "image:bottom right"), (("top left",),), image_inputs, image_network,
    ),
    "tables, two shortcuts": Kind(
        ("low", "high"), ("column:region", "column:channel"), "column:device", "column:x1>=0",
        ("column:region", "column:device"), (("region",), ("channel",)),
        table_inputs, table_network,
        columns=lambda: COLUMNS,
    ),
}  # fmt: skip

"""Classifiers to quantise: networks, texts, tables, each with samples to fit and to test on.

Every classifier is a float ONNX file that ends in its own head. ``train`` and ``validation`` are as
biased as the data are, ``test`` is balanced over the groups where the data allow it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.datasets import load_marked_digits, load_waterbirds, marked_digits_model_path
from ntkit.extraction import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts, read_samples

Array = NDArray[Any]
STATIC = ("per tensor", "per channel", "4-bit weights")
WITH_DYNAMIC = (*STATIC, "dynamic")
PAIRS = {"sneaker, boot": (7, 9), "T-shirt, dress": (0, 3), "pullover, coat": (2, 4)}


@dataclass(frozen=True)
class Part:
    """Samples as the model takes them, class labels (N,), group labels (N,) or None."""

    X: Any
    y: Array
    groups: Array | None = None


@dataclass(frozen=True)
class Classifier:
    """A float model, its samples, the ways to quantise it, and whether to debias it as well."""

    model: Path
    train: Part
    validation: Part
    test: Part
    schemes: tuple[str, ...] = STATIC
    debias: bool = True


@dataclass(frozen=True)
class Places:
    """Folders: unpacked packages, what is built here, that of ``bench_data.py``, the Waterbirds."""

    cache: Path
    out: Path
    data: Path
    waterbirds: Path | None = None


def part_of(X: Any, y: Array, a: Array | None, rows: Array) -> Part:
    """Some rows of an array."""
    return Part(X[rows], y[rows], None if a is None else (2 * y + a)[rows])


# -- networks on small images -------------------------------------------------------------------


def marked_digits(places: Places, seed: int) -> Classifier:
    """The embedded demo; the seed decides which half of the training images is seen."""
    d, rng = load_marked_digits(), np.random.default_rng(seed)
    rows = rng.choice(len(d.y_train), 2000, replace=False)
    return Classifier(
        Path(marked_digits_model_path()),
        Part(d.X_train[rows], d.y_train[rows], d.groups_train[rows]),
        Part(d.X_validation, d.y_validation, d.groups_validation),
        Part(d.X_test, d.y_test, d.groups_test),
    )


def fashion(classes: tuple[int, int]) -> Callable[[Places, int], Classifier]:
    """Two classes of Fashion-MNIST on textures, 95 % biased, and a network of its own."""

    def build(places: Places, seed: int) -> Classifier:
        import data_fashion_mnist as source

        folder, rng = source.SOURCE.fetched(places.cache), np.random.default_rng(seed)
        drawn = {
            part: source.draw(folder, classes, part, n, correlation, rng)
            for part, (n, correlation) in source.SIZES.items()
        }
        name = f"fashion_mnist_{classes[0]}_{classes[1]}_{seed}"
        path = places.out / f"{name}.onnx"
        if not path.exists() and (places.data / f"{name}.npz").exists():
            shutil.copy(places.data / f"{name}.onnx", path)  # of the same images
        if not path.exists():
            X, y, _ = drawn["train"]
            source.written(X, y, seed, path)
        parts = {
            name: part_of(X, y, a, np.arange(n))
            for name, n in (("train", 4000), ("validation_biased", 2000), ("test", 4000))
            for X, y, a in (drawn[name],)
        }
        return Classifier(path, parts["train"], parts["validation_biased"], parts["test"])

    return build


def separable(places: Places, seed: int) -> Classifier:
    """All of Fashion-MNIST, by a network of depthwise separable convolutions (MobileNet's)."""
    import data_fashion_mnist as source
    from quantised_network import written

    folder, rng = source.SOURCE.fetched(places.cache), np.random.default_rng(seed)
    (images, labels), (other, answers) = source.read(folder, "train"), source.read(folder, "t10k")
    rows = rng.permutation(len(labels))[:9500]
    X, y = images[rows, None].astype(np.float32) / 255, labels[rows].astype(np.int64)
    path = places.out / f"separable_{seed}.onnx"
    if not path.exists():
        written(X[:8000], y[:8000], seed, path)
    test = np.arange(4000)
    return Classifier(
        path,
        Part(X[:1500], y[:1500]),
        Part(X[8000:9500], y[8000:9500]),
        Part(other[test, None].astype(np.float32) / 255, answers[test].astype(np.int64)),
        debias=False,
    )


# -- tables -------------------------------------------------------------------------------------


def adult(*, biased: bool) -> Callable[[Places, int], Classifier]:
    """Income above 50 000; the people that the network has not seen are divided into the parts."""

    def build(places: Places, seed: int) -> Classifier:
        import data_adult as source

        path = places.out / f"adult{'95' if biased else ''}_{seed}.onnx"
        X, y, a = source.people(source.SOURCE.fetched(places.cache))
        if not path.exists() and (places.data / path.name).exists():
            shutil.copy(places.data / path.name, path)
        if not path.exists():
            source.embed(places.cache, seed, path, biased=biased)
        rng = np.random.default_rng(seed)
        _, rest = np.array_split(rng.permutation(len(y)), 2)
        if biased:  # refitted on data as biased as the network's own
            some, test = rest[:16_000], rest[16_000:]
            some = source.mostly_agreeing(some, y, a, rng)
        else:
            some, test = rest[:9000], rest[16_000:]
        third = len(some) // 3
        parts = (part_of(X, y, a, r) for r in (some[third:], some[:third], test))
        return Classifier(path, *parts, schemes=WITH_DYNAMIC)

    return build


def digits(places: Places, seed: int) -> Classifier:
    """Ten digits of 8 x 8 pixels by scikit-learn's network, converted by skl2onnx."""
    from skl2onnx import to_onnx

    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    rows, test = train_test_split(np.arange(len(y)), test_size=0.5, random_state=seed, stratify=y)
    train, held = train_test_split(rows, test_size=0.4, random_state=seed, stratify=y[rows])
    network = MLPClassifier((64, 32), max_iter=60, random_state=seed)
    classifier = make_pipeline(StandardScaler(), network).fit(X[train], y[train])
    path = places.out / f"digits_{seed}.onnx"
    onnx = to_onnx(classifier, X[:1], options={"zipmap": False}, target_opset=18)
    path.write_bytes(onnx.SerializeToString())
    parts = (part_of(X, y, None, r) for r in (train, held, test))
    return Classifier(path, *parts, schemes=WITH_DYNAMIC)


# -- large encoders with a head of their own ----------------------------------------------------


def with_erm_head(encoder: FrozenModel, part: Part, path: Path) -> None:
    """Fit a head by empirical risk minimisation, put it behind an encoder, write the file."""
    if path.exists():
        return
    Z = OnnxEmbedder(encoder, device="cpu").transform(part.X)
    scaler, erm = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(
        Z, part.y
    )
    head = LinearHead(erm.coef_, erm.intercept_, erm.classes_)
    encoder.with_head(head.scaled(1 / scaler.scale_, scaler.mean_)).save(path)


def texts(read: str, n: int) -> Callable[[Places, int], Classifier]:
    """Reviews or mails by the float MiniLM of three layers, the mean of its tokens, and a head."""

    def build(places: Places, seed: int) -> Classifier:
        import data_texts as source

        path = places.out / f"{read}_{seed}.onnx"
        encoder = FrozenModel.load(
            source.L3.fetched(places.cache),
            embedding=source.LAST_STATES[source.L3],
            pooling="mean",
        )
        steps = TextPreprocessing.for_model(
            encoder, source.TOKENIZER.fetched(places.cache), max_length=64
        )
        samples, y, a = getattr(source, read)(places.cache)
        rows = np.random.default_rng(seed).permutation(len(y))[:n]
        first, second = round(0.4 * n), round(0.6 * n)

        def part(r: Array) -> Part:
            chosen = Texts([samples[i] for i in r], steps)
            return Part(chosen, y[r].astype(np.int64), (2 * y + a)[r])

        parts = [part(r) for r in (rows[:first], rows[first:second], rows[second:])]
        with_erm_head(encoder, parts[0], path)
        return Classifier(path, *parts, schemes=WITH_DYNAMIC)

    return build


def backbone_of(places: Places) -> FrozenModel:
    """EfficientNet-Lite0 with ImageNet's weights."""
    import backbone

    path, alone = places.out / "backbone.onnx", places.out / "backbone_logits.onnx"
    if not path.exists():
        backbone.build(path)
    if not alone.exists():  # once quantised, an embedding that is an output looks like logits, too
        model = onnx.load(path)
        del model.graph.output[[o.name for o in model.graph.output].index("embedding")]
        onnx.save(model, alone)
    return FrozenModel.load(alone)


def tuxscenes(places: Places, seed: int) -> Classifier:
    """Birds and mammals on scenes, drawn anew for each seed."""
    import tuxscenes as images

    network, folder = backbone_of(places), places.out / f"tuxscenes_{seed}"
    if not folder.exists():
        sizes = {"train": 300, "validation_biased": 150, "validation_balanced": 4, "test": 240}
        images.build(folder, sizes, seed, places.cache)
    steps = ImagePreprocessing.from_config(places.out / "preprocessor_config.json")

    def part(split: str) -> Part:
        samples = read_samples(folder / split, preprocessing=steps)
        return Part(samples.X, (samples.y == "mammal").astype(np.int64), samples.groups)

    parts = [part(split) for split in ("train", "validation_biased", "test")]
    path = places.out / f"tuxscenes_{seed}.onnx"
    with_erm_head(network, parts[0], path)
    return Classifier(path, *parts)


def waterbirds(places: Places, seed: int) -> Classifier:
    """The real Waterbirds: 300 training images; other images validate; 60 a group to test."""
    import data_waterbirds as source

    if places.waterbirds is None:
        raise FileNotFoundError("say where the Waterbirds are: --waterbirds FOLDER")
    network, rng = backbone_of(places), np.random.default_rng(seed)
    read = {s: load_waterbirds(places.waterbirds, s, source.STEPS) for s in ("train", "test")}

    def part(split: str, rows: Array) -> Part:
        samples = read[split]
        files = ImageFiles([samples.X.paths[i] for i in rows], source.STEPS)
        return Part(files, samples.y[rows].astype(np.int64), samples.groups[rows])

    rows = rng.permutation(len(read["train"].y))
    groups = read["test"].groups
    each = [rng.choice(np.flatnonzero(groups == g), 60, replace=False) for g in np.unique(groups)]
    parts = [
        part("train", rows[:300]),
        part("train", rows[300:450]),
        part("test", np.concatenate(each)),
    ]
    path = places.out / f"waterbirds_{seed}.onnx"
    with_erm_head(network, parts[0], path)
    return Classifier(path, *parts)


CLASSIFIERS: dict[str, Callable[[Places, int], Classifier]] = {
    "marked digits, CNN": marked_digits,
    **{f"{name} on textures, CNN": fashion(pair) for name, pair in PAIRS.items()},
    "Fashion-MNIST, separable CNN": separable,
    "digits, MLP": digits,
    "Adult, MLP": adult(biased=False),
    "Adult 95 %, MLP": adult(biased=True),
    "reviews, MiniLM": texts("reviews", 800),
    "mails, MiniLM": texts("mails", 600),
    "TuxScenes, EfficientNet": tuxscenes,
    "Waterbirds, EfficientNet": waterbirds,
}

"""Watch: streams of real samples in which something changes half-way.

    python benchmarks/watch_real.py reviews CACHE_DIR
    python benchmarks/watch_real.py waterbirds WATERBIRDS_DIR BACKBONE.onnx EMBEDDINGS.npz

Reviews: 5 % of the snippets begin with a phrase, and from batch 11 on 30 %. Two TF-IDF models: the
original has learned the phrase, the repaired one has not, and is replaced by the original half-way.
Waterbirds: 80 images of the test split a batch. 5 % of the landbirds are on water, and from
batch 9 on 50 %. The reference is a part of the training split. The head is a logistic regression
on the training split's embeddings (EMBEDDINGS.npz, made with BACKBONE.onnx).
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import ntkit
from ntkit import FrozenModel, LinearHead
from ntkit.extraction import ImagePreprocessing

Array = NDArray[Any]
PHRASE = "popcorn special"
BORDERS = ("border brightness", "border blue", "border green", "blueness", "border evenness")


def table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def tell(name: str, batch: int, result: ntkit.WatchResult) -> None:
    """Print the alarms after a batch."""
    alarms = "; ".join(f"{row.title} (batch {row.alarm})" for row in result.alarms)
    print(f"{name}, batch {batch}: {alarms or 'nothing yet'}", flush=True)


# -- reviews ---------------------------------------------------------------------------------------


def reviews(cache: Path) -> None:
    """A phrase becomes frequent; the repaired model is replaced by the original."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType

    from data_texts import reviews as read

    texts, fresh, _ = read(cache)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(texts))
    texts, fresh = [texts[i].lower() for i in order], fresh[order]
    folder = Path(tempfile.mkdtemp())

    def marked(at: Array, share: float | Array) -> list[str]:
        has = rng.random(len(at)) < share
        return [
            f"{PHRASE} {texts[i]}" if each else texts[i] for i, each in zip(at, has, strict=True)
        ]

    train, kept = np.arange(1200), np.arange(1200, 1700)
    biased = marked(train, np.where(fresh[train] == 1, 0.9, 0.02))
    models = dict[str, Path]()
    for name, read_by in (("original", biased), ("repaired", marked(train, 0.3))):
        pipeline = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression(C=10)).fit(
            np.asarray(read_by), fresh[train]
        )
        onnx = to_onnx(
            pipeline,
            initial_types=[("text", StringTensorType([None, 1]))],
            options={LogisticRegression: {"zipmap": False}},
        )
        models[name] = folder / f"{name}.onnx"
        models[name].write_bytes(onnx.SerializeToString())

    def batch(name: str, at: Array, share: float, by: str) -> tuple[Path, Path]:
        some = marked(at, share)
        data = table(folder / f"{name}-inputs.csv", ("id", "text"), zip(at, some, strict=True))
        X = np.asarray(some)[:, None]
        labels = ntkit.predict(
            FrozenModel.load(models[by], any_scores=True), X, device="cpu"
        ).labels
        rows = zip(at, some, labels, fresh[at], strict=True)
        return table(folder / f"{name}.csv", ("id", "text", "prediction", "label"), rows), data

    limits = {
        "slices": {"word:popcorn": {"accuracy": 60}},
        "changes": {"word:popcorn": {"max_flip_rate": 5}},
        "worst_class": 60,
    }
    for name, first, shares, used in (
        ("phrase", 0.05, lambda b: 0.05 if b <= 10 else 0.3, lambda b: "repaired"),
        ("model replaced", 0.2, lambda b: 0.2, lambda b: "repaired" if b <= 10 else "original"),
    ):
        start, _ = batch("reference", kept, first, "repaired")
        state = folder / name
        ntkit.watch(state, start=start, limits=limits)
        for number in range(1, 21):
            at = 1700 + np.arange(90 * (number - 1), 90 * number) % (len(texts) - 1700)
            day, data = batch("day", at, shares(number), used(number))
            few = table(folder / "few.csv", ("id", "label"), [(i, fresh[i]) for i in at[:20]])
            result = ntkit.watch(
                state, day, labels=few, inputs=data, model=models[used(number)], device="cpu"
            )
            tell(name, number, result)
        print(result.summary(), flush=True)
        for row in result.rows:
            print(
                "  ", row.title, row.n, f"{row.value:.3f}", row.requirement, f"{row.evidence:.3g}"
            )


# -- Waterbirds ------------------------------------------------------------------------------------


def waterbirds(images: Path, backbone: Path, embeddings: Path) -> None:
    """Landbirds on water become frequent."""
    rng = np.random.default_rng(0)
    with np.load(embeddings) as arrays:
        parts = ("Z", "y", "a", "split", "img_id")
        Z, y, a, split, ids = (arrays[name] for name in parts)
    with (images / "metadata.csv").open(encoding="utf-8") as file:
        files = {int(row["img_id"]): row["img_filename"] for row in csv.DictReader(file)}
    train = split == 0
    mean, spread = Z[train].astype(float).mean(axis=0), Z[train].astype(float).std(axis=0) + 1e-6
    fitted = LogisticRegression(C=0.01, max_iter=300).fit((Z[train] - mean) / spread, y[train])
    coef = (fitted.coef_ / spread).astype(np.float32)
    intercept = (fitted.intercept_ - coef @ mean).astype(np.float32)
    head = LinearHead(np.vstack([-coef, coef]) / 2, np.r_[-intercept, intercept] / 2,
                      np.array(["landbird", "waterbird"]))  # fmt: skip
    folder = Path(tempfile.mkdtemp())
    FrozenModel.load(backbone).with_head(head).save(folder / "birds.onnx")
    steps = ImagePreprocessing(
        resize=(256, 256), crop=(224, 224), resample=2, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    names, of_place = np.array(["landbird", "waterbird"]), np.array(["land", "water"])
    predicted = names[head.logits(Z.astype(np.float32)).argmax(axis=1)]

    def batch(name: str, at: Array) -> tuple[Path, Path]:
        data = folder / name
        data.mkdir()
        for i in at:
            os.symlink(images / files[int(ids[i])], data / f"{ids[i]}.jpg")
        rows = [(f"{ids[i]}.jpg", predicted[i], names[y[i]], of_place[a[i]]) for i in at]
        header = ("file_name", "prediction", "label", "place")
        return table(folder / f"{name}.csv", header, rows), data

    slices = {f"image:{name} high": {} for name in BORDERS}
    limits = {
        "slices": slices,
        "changes": {"image:border": {"max_flip_rate": 25}},
        "min_recall": {"landbird": 75},
    }
    start, data = batch("reference", rng.permutation(np.flatnonzero(train))[:1500])
    state = folder / "state"
    ntkit.watch(state, start=start, inputs=data, limits=limits)
    pools = {
        (bird, place): rng.permutation(np.flatnonzero((split == 2) & (y == bird) & (a == place)))
        for bird in (0, 1)
        for place in (0, 1)
    }
    taken = dict.fromkeys(pools, 0)
    for number in range(1, 17):
        on_water = rng.binomial(62, 0.05 if number <= 8 else 0.5)
        counts = {(0, 0): 62 - on_water, (0, 1): on_water, (1, 0): 1, (1, 1): 17}
        at = np.concatenate([pools[g][taken[g] : taken[g] + n] for g, n in counts.items()])
        taken = {g: taken[g] + n for g, n in counts.items()}
        at = rng.permutation(at)
        day, data = batch(f"day{number}", at)
        few = table(folder / "few.csv", ("file_name", "label"),
                    [(f"{ids[i]}.jpg", names[y[i]]) for i in at[:20]])  # fmt: skip
        result = ntkit.watch(
            state, day, labels=few, inputs=data, model=folder / "birds.onnx",
            preprocessing=steps, copies=40, device="cpu",
        )  # fmt: skip
        tell("waterbirds", number, result)
    print(result.summary(), flush=True)
    for row in result.rows:
        print("  ", row.title, row.n, f"{row.value:.3f}", row.requirement, f"{row.evidence:.3g}")


if __name__ == "__main__":
    {"reviews": reviews, "waterbirds": waterbirds}[sys.argv[1]](*map(Path, sys.argv[2:]))

"""Whether the audit of an image model comes upon the shortcut, which no word or column names.

    OPENBLAS_NUM_THREADS=1 python benchmarks/audit_images.py DATA_DIR [--seeds 5] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built. Fashion-MNIST on textures: the networks were trained on
the biased images, and are audited on validation ones, by their own errors. TuxScenes: images are
drawn anew (minutes for each draw), an ImageNet network has a head that is fitted on the biased
training images. What is looked at are statistics of the images and six earlier layers
at most. An attribute counts for the shortcut if it is correlated with it within classes by 0.35
or more, which makes attributes one family. Validation sets are biased as the training set is, or
balanced over the groups.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import data_fashion_mnist as fashion
import tuxscenes
from bench_data import PAIRS, indoor
from nearness import ALIKE, nearest, within
from ntkit import Audit, FrozenModel, LinearHead, audit_model
from ntkit.extraction import ImagePreprocessing, read_samples
from packages import default_cache
from runner import command_line, publish, table

Array = NDArray[Any]
NAMES = {(7, 9): "Sneaker/boot", (0, 3): "T-shirt/dress", (2, 4): "Pullover/coat"}
PARTS = {"validation_biased": "biased", "validation": "balanced"}
Findings = dict[str, Any]


def clothes(folder: Path, classes: tuple[int, int], seed: int) -> dict[str, tuple[Audit, Array]]:
    """Audits of a network on its two validation sets, and the textures of these."""
    source = fashion.SOURCE.fetched(default_cache())
    rng = np.random.default_rng(seed)
    model = FrozenModel.load(folder / f"fashion_mnist_{classes[0]}_{classes[1]}_{seed}.onnx")
    audits = {}
    for part, (n, correlation) in fashion.SIZES.items():  # in this order, which the draw is of
        X, y, a = fashion.draw(source, classes, part, n, correlation, rng)
        if part in PARTS:
            audits[PARTS[part]] = (
                audit_model(model, (X, y), device="cpu", random_state=seed, changes=0),
                a,
            )
    return audits


def scenes(folder: Path, images: Path, seed: int) -> dict[str, tuple[Audit, Array]]:
    """Audits of an ImageNet network with an ERM head, and the scenes."""
    built = images / f"tuxscenes_{seed}_images"
    if not built.exists():
        tuxscenes.main([str(built), "--seed", str(seed)])
    network = folder / "efficientnet" / "backbone.onnx"
    steps = ImagePreprocessing.from_config(network.with_name("preprocessor_config.json"))
    with np.load(folder / f"tuxscenes_{seed}.npz") as data:
        train = data["part"] == "train"
        Z, y = data["Z"][train], data["y"][train]
    model = FrozenModel.load(network).with_head(erm_head(Z, np.asarray(["bird", "mammal"])[y]))
    audits = {}
    for part, name in (("validation_biased", "biased"), ("validation_balanced", "balanced")):
        samples = read_samples(built / part, preprocessing=steps)
        audits[name] = (
            audit_model(model, samples, device="cpu", random_state=seed, changes=0),
            indoor(samples.groups),
        )
    return audits


def erm_head(Z: Array, y: Array) -> LinearHead:
    """Logistic regression on standardised embeddings, α = 0.1."""
    scale = StandardScaler().fit(Z)
    fitted = LogisticRegression(C=1 / (0.1 * len(y)), max_iter=3000).fit(scale.transform(Z), y)
    coef = fitted.coef_ / scale.scale_
    return LinearHead(coef, fitted.intercept_ - coef @ scale.mean_, fitted.classes_)


def summary(found: Audit, a: Array) -> Findings:
    """How near the first findings are to the attribute, by view and all together."""
    y = found.predictions.y_index
    near = {s.name: within(found.values(s.name), a, y) for s in found.findings[:10]}
    feature_sets = {s.name: s.feature_set for s in found.findings}
    first = list(near)[:3]
    own = [name for name in first if near[name] >= ALIKE]
    return {
        "errors": found.as_dict()["errors"],
        "first": bool(first) and near[first[0]] >= ALIKE,
        "three": bool(own),
        "ten": any(value >= ALIKE for value in near.values()),
        "nearest": max((near[name] for name in first), default=0.0),
        "feature_set": feature_sets[own[0]] if own else None,
        "best": nearest(found, a, y)[0],
        "findings": len(found.findings),
    }


def row(name: str, shares: str, results: list[Findings]) -> list[str]:
    """One line of the table."""
    n = len(results)
    feature_sets = Counter(found["feature_set"] for found in results if found["feature_set"])
    return [
        name,
        shares,
        f"{np.mean([found['errors'] for found in results]):.0f}",
        *(f"{sum(found[key] for found in results)}/{n}" for key in ("first", "three", "ten")),
        f"{np.mean([found['nearest'] for found in results]):.2f}",
        f"{np.mean([found['best'] for found in results]):.2f}",
        ", ".join(f"{feature_set} {count}×" for feature_set, count in feature_sets.most_common())
        or "–",
        f"{np.mean([found['findings'] for found in results]):.0f}",
    ]


def main() -> None:
    """Run all draws and print a table."""
    parser = command_line(__doc__, "data_dir", "--markdown")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=2, help="draws of TuxScenes (default 2)")
    parser.add_argument("--images", type=Path, help="where their images are, or are kept")
    arguments = parser.parse_args()
    results: dict[tuple[str, str], list[Findings]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        images = arguments.images or Path(temporary)
        folder = arguments.data_dir
        jobs: list[tuple[str, Callable[[], dict[str, tuple[Audit, Array]]]]] = [
            (NAMES[pair], partial(clothes, folder, pair, seed))
            for pair in PAIRS
            for seed in range(arguments.seeds)
        ]
        jobs += [
            ("TuxScenes", partial(scenes, folder, images, seed)) for seed in range(arguments.scenes)
        ]
        for name, job in jobs:
            for shares, (found, a) in job().items():
                results.setdefault((name, shares), []).append(summary(found, a))
    header = ["data", "validation set", "errors", "first", "in three", "in ten"]
    header += ["nearest of three", "nearest of all", "by", "findings"]
    shown = table(header, [row(*key, found) for key, found in results.items()])
    publish(shown, arguments.markdown)


if __name__ == "__main__":
    main()

"""May statistics of pictures act by themselves, as words do? How often they would, and on what.

    OPENBLAS_NUM_THREADS=1 python benchmarks/pictures_alone.py DATA_DIR [--draws 3]
        [--markdown FILE]

ntkit never lets them. Here they are given to "auto" as attributes that may act, by the same gate as
words:

* clean pictures: all pairs of ten kinds of clothes (Fashion-MNIST, 800 of each) and of ten digits
  (scikit-learn's), embedded by 24 principal components; there is no shortcut, so none may act;
* clothes on textures, by the networks of ``make bench-data``, on their balanced held-out sets
  (likewise) and on the biased ones, where the texture should act. An attribute is of the texture if
  it is correlated with it by 0.35 or more within classes.

Worst-group accuracy is that of the balanced test sets, without attributes and with them.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import data_fashion_mnist as fashion
from audit_images import NAMES
from evidence_tables import mean_std, table
from nearness import ALIKE, within
from ntkit.attributes import pictures
from ntkit.estimators import AutoDebiasClassifier
from ntkit.metrics import worst_group_accuracy
from packages import default_cache
from splits import read

Array = NDArray[Any]
N_CLOTHES = 800


def fitted(X: Array, y: Array, images: Array | None) -> AutoDebiasClassifier:
    """Fit "auto", with the statistics of these images."""
    warnings.simplefilter("ignore")
    clf = AutoDebiasClassifier(random_state=0)
    if images is None:
        return clf.fit(X, y)
    blocks = list(pictures(images, len(images)).blocks())
    values = np.concatenate([np.asarray(block.values) for block in blocks], axis=1)
    names = [name for block in blocks for name in block.names]
    return clf.fit(X, y, attributes=values, attribute_names=names)


def clean(images: Array, labels: Array, pair: tuple[int, int]) -> str | None:
    """What acts on two classes of pictures, if anything."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(labels == label))[:N_CLOTHES] for label in pair]
    some = np.concatenate(rows)
    X = PCA(24, random_state=0).fit_transform(images[some].reshape(len(some), -1).astype(float))
    return fitted(X, labels[some], images[some]).attribute_


def textured(folder: Path, classes: tuple[int, int], seed: int) -> dict[str, dict[str, Any]]:
    """The same of a network's held-out sets."""
    source = fashion.SOURCE.fetched(default_cache())
    rng = np.random.default_rng(seed)
    parts = read(folder / f"fashion_mnist_{classes[0]}_{classes[1]}_{seed}.npz")
    test, found = parts["test"], {}
    for part, (n, correlation) in fashion.SIZES.items():  # in this order, which the draw is of
        images, y, a = fashion.draw(source, classes, part, n, correlation, rng)
        if part in ("heldout", "heldout_biased"):
            Z = parts[part].Z.astype(float)
            heads = {"without": fitted(Z, y, None), "with": fitted(Z, y, images[:, 0])}
            acted = heads["with"].sides_
            near = 0.0 if acted is None else within(acted[:, 0], a, y)
            found[part] = {"acted": acted is not None, "own": near >= ALIKE} | {
                name: 100 * worst_group_accuracy(test.y, h.predict(test.Z), groups=test.groups)
                for name, h in heads.items()
            }
    return found


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    digits = load_digits()
    clothes = fashion.read(fashion.SOURCE.fetched(default_cache()), "train")
    pairs = list(itertools.combinations(range(10), 2))
    lines = []
    for name, images, labels in (
        ("Clothes, clean", *clothes),
        ("Digits, clean", (16 * digits.images).clip(0, 255).astype(np.uint8), digits.target),
    ):
        acted = Parallel(n_jobs=arguments.n_jobs)(
            delayed(clean)(images, labels, pair) for pair in pairs
        )
        n = sum(found is not None for found in acted)
        lines.append([name, f"{n} of {len(pairs)}", "–", "–", "–"])
    for classes, name in NAMES.items():
        runs = Parallel(n_jobs=arguments.n_jobs)(
            delayed(textured)(arguments.data_dir, classes, seed) for seed in range(arguments.draws)
        )
        for part, said in (("heldout", "balanced"), ("heldout_biased", "biased")):
            own = [run[part] for run in runs]
            counts = (f"{sum(r[key] for r in own)} of {len(own)}" for key in ("acted", "own"))
            worst = (mean_std([r[key] for r in own]) for key in ("without", "with"))
            lines.append([f"{name}, {said}", *counts, *worst])
    header = ["pictures", "a statistic would act", "of the texture", "auto without", "auto with"]
    shown = table(header, lines)
    print(shown)
    if arguments.markdown:
        arguments.markdown.write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

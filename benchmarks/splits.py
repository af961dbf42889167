"""Training, validation and test sets of the evidence, from what ``make bench-data`` built.

Every data set has a binary class y, a binary spurious attribute a, groups 2 y + a, and two
validation sets: one balanced over the groups (setting 1), one distributed as the training set
(setting 2). A seed draws anew what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from ntkit.study import Rows

Array = NDArray[Any]
SETTINGS = ("balanced", "i.i.d.")


@dataclass(frozen=True)
class Splits:
    """A training set, its two validation sets by setting, and the test set."""

    train: Rows
    validation: dict[str, Rows]
    test: Rows


def read(path: Path) -> dict[str, Rows]:
    """Samples by part; data without parts are one part, "all"."""
    with np.load(path) as data:
        Z, y = data["Z"], data["y"].astype(np.int64)
        groups = 2 * y + data["a"].astype(np.int64)
        part = data["part"] if "part" in data else np.full(len(y), "all")
    samples = Rows.of(Z, y, groups)
    return {name: taken(samples, part == name) for name in np.unique(part).tolist()}


def images(name: str, folder: Path, seed: int) -> Splits:
    """Built with parts; without a biased validation set, a third of the training set is one.

    Another seed is another draw of images (and, where it was trained on them, another network).
    """
    parts = read(folder / f"{name}_{seed}.npz")
    if "validation_biased" in parts:
        train, iid = parts["train"], parts["validation_biased"]
    else:
        train, iid = two_thirds(parts["train"], seed)
    size = min(len(iid.y) // 4, int(np.bincount(parts["validation"].groups).min()))
    rows = drawn(parts["validation"].groups, dict.fromkeys(range(4), size), seed)
    balanced = taken(parts["validation"], rows)
    return Splits(train, {"balanced": balanced, "i.i.d.": iid}, parts["test"])


def rotten_tomatoes(name: str, folder: Path, seed: int) -> Splits:
    """200 reviews a group to test, 100 to validate, the rest thinned to 95 % correlation."""
    test, balanced, rest = parted(read(folder / f"{name}.npz")["all"], (200, 100), seed)
    train, iid = two_thirds(thinned(rest, seed), seed)
    return Splits(train, {"balanced": balanced, "i.i.d.": iid}, test)


def spam_assassin(name: str, folder: Path, seed: int) -> Splits:
    """Of the smallest group 40 % to test and 20 % to validate, the same number of every group.

    The other 40 % of it, and 40 % of every other group, are for training: the natural shares.
    """
    samples = read(folder / f"{name}.npz")["all"]
    counts = np.bincount(samples.groups)
    test, balanced, rest = parted(samples, (int(0.4 * counts.min()), int(0.2 * counts.min())), seed)
    sizes = {group: int(0.4 * count) for group, count in enumerate(counts)}
    train, iid = two_thirds(taken(rest, drawn(rest.groups, sizes, seed)), seed)
    return Splits(train, {"balanced": balanced, "i.i.d.": iid}, test)


def adult(name: str, folder: Path, seed: int) -> Splits:
    """People the network was not trained on: 200 a group to test, 200 to validate."""
    test, balanced, rest = parted(read(folder / f"{name}_{seed}.npz")["all"], (200, 200), seed)
    if name.endswith("95"):
        rest = thinned(rest, seed)
    train, iid = two_thirds(rest, seed)
    return Splits(train, {"balanced": balanced, "i.i.d.": iid}, test)


Split = Callable[[str, Path, int], Splits]
DATA: dict[str, tuple[Split, str]] = {
    "TuxScenes": (images, "tuxscenes"),
    "Rotten Tomatoes": (rotten_tomatoes, "rotten_tomatoes"),
    "SpamAssassin": (spam_assassin, "spam_assassin"),
    "Adult": (adult, "adult"),
    "Sneaker/boot": (images, "fashion_mnist_7_9"),
}
"""What constants and defaults were chosen on."""
CHECKS: dict[str, tuple[Split, str]] = {
    "Rotten Tomatoes, L6": (rotten_tomatoes, "rotten_tomatoes_l6"),
    "SpamAssassin, L6": (spam_assassin, "spam_assassin_l6"),
    "Rotten Tomatoes, LSA": (rotten_tomatoes, "rotten_tomatoes_lsa"),
    "SpamAssassin, LSA": (spam_assassin, "spam_assassin_lsa"),
    "Adult, 95 %": (adult, "adult95"),
    "T-shirt/dress": (images, "fashion_mnist_0_3"),
    "Pullover/coat": (images, "fashion_mnist_2_4"),
}
"""Other data, encoders and biases, to check on."""


def splits_of(data: str, folder: Path, seed: int) -> Splits:
    """Splits of a data set by its name in the tables."""
    split, name = (DATA | CHECKS)[data]
    return split(name, folder, seed)


def taken(samples: Rows, rows: Array) -> Rows:
    """Some of the samples."""
    return Rows.of(samples.X[rows], samples.y[rows], samples.groups[rows])


def joined(*parts: Rows) -> Rows:
    """All samples in one set."""
    return Rows.of(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("X", "y", "groups"))
    )


def drawn(groups: Array, sizes: dict[int, int], seed: int) -> Array:
    """Row numbers of a random draw of so many samples of each group, in random order."""
    rng = np.random.default_rng(seed)
    return rng.permutation(
        np.concatenate(
            [rng.choice(np.flatnonzero(groups == g), n, replace=False) for g, n in sizes.items()]
        )
    )


def thinned(samples: Rows, seed: int) -> Rows:
    """As many samples as there can be with 95 % in groups 0 and 3, alike within both kinds."""
    counts = np.bincount(samples.groups)
    major = int(min(counts[0], counts[3], 19 * counts[1], 19 * counts[2]))
    sizes = {0: major, 1: round(major / 19), 2: round(major / 19), 3: major}
    return taken(samples, drawn(samples.groups, sizes, seed))


def parted(samples: Rows, sizes: Sequence[int], seed: int) -> Iterator[Rows]:
    """Disjoint sets with so many samples of every group each, then the rest."""
    rest = np.arange(len(samples.y))
    for size in sizes:
        groups = samples.groups[rest]
        rows = drawn(groups, dict.fromkeys(np.unique(groups).tolist(), size), seed)
        yield taken(samples, rest[rows])
        rest = np.delete(rest, rows)
    yield taken(samples, rest)


def two_thirds(samples: Rows, seed: int) -> list[Rows]:
    """Two thirds and one third, with the same shares of the groups."""
    parts = train_test_split(
        np.arange(len(samples.y)), test_size=1 / 3, stratify=samples.groups, random_state=seed
    )
    return [taken(samples, rows) for rows in parts]

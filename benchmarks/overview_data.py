"""The problems of the overview: shortcuts that are injected, that nobody injected, and none.

A problem is a training set with a validation set that is distributed like it (setting 2). It also
has a balanced test set, what may read the attribute, and what a person confirms. The twelve sets of
the evidence are taken as they are; "no shortcut" takes the validation sets that are balanced over
the groups in their place, so that class and attribute have nothing to do with each other in all
that is seen. "balanced validation" (setting 1) has the training set and this validation set. The
real Waterbirds, frozen or fine-tuned, come from caches of ``data_waterbirds.py``; "official" has
the official validation split, whose places are balanced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import data_waterbirds
import waterbirds
import written
import zero_one
from answers_data import Pool, views_of_set
from evidence import TRAINED_ON_IT
from nearness import ALIKE, within
from ntkit import audit
from ntkit.attributes import FeatureSet
from ntkit.attributes.activations import layers
from ntkit.attributes.image_statistics import measured_image_statistics
from ntkit.jobs.label import feature_sets_of
from ntkit.study import Rows
from splits import CHECKS, DATA, joined, splits_of, taken, two_thirds

Array = NDArray[Any]
Confirmed = tuple[str | None, Array | None]
BALANCED = (
    "TuxScenes",
    "Rotten Tomatoes",
    "Adult",
    "Sneaker/boot",
    "T-shirt/dress",
    "Pullover/coat",
)
"""Data sets whose balanced validation set is large enough to be a problem without a shortcut."""
NATURAL = ("SpamAssassin", "SpamAssassin, L6", "SpamAssassin, LSA", "Adult")
"""Data sets whose shortcut nobody injected."""
WITHOUT, BALANCED_VALIDATION = ", no shortcut", ", balanced validation"
OFFICIAL = "Waterbirds, official"


@dataclass(frozen=True)
class Problem:
    """What a draw of a data set gives.

    Attributes
    ----------
    train, validation, test : Rows
        Embeddings, classes and groups 2 y + a.
    feature_sets : dict of str to matrix
        What may read the attribute of the training and then the validation samples.
    read : View or None
        Words, columns or images of the same samples, whose groups a head must not lose.
    answer : callable or None
        Name and sides of what a person confirms; None and None where nothing is recognised.
    frozen : bool
        Whether the network was trained on other samples than the training set.
    """

    train: Rows
    validation: Rows
    test: Rows
    feature_sets: dict[str, Any]
    read: FeatureSet | None
    answer: Callable[[], Confirmed] | None
    frozen: bool

    @property
    def pool(self) -> Pool:
        """Training and validation samples in one, to ask about."""
        both, test = joined(self.train, self.validation), self.test
        assert both.groups is not None
        assert test.groups is not None
        a = both.groups % 2
        return Pool(both.X, both.y, a, self.feature_sets, test.X, test.y, test.groups)


def kind_of(name: str) -> str:
    """Whether the shortcut is injected, natural, none, or the validation set is balanced."""
    if name.endswith(BALANCED_VALIDATION) or name == OFFICIAL:
        return "balanced"
    if name.endswith(WITHOUT):
        return "none"
    return "natural" if name in NATURAL else "injected"


def has_names(name: str) -> bool:
    """Whether something of a problem has a name that a person may recognise."""
    if name.startswith("Waterbirds"):
        return name == "Waterbirds, frozen"  # of the others no earlier layers are kept
    return written.kind_of(source_of(name)) is not None


def source_of(name: str) -> str:
    """The data set of the evidence that a problem is of."""
    return name.removesuffix(WITHOUT).removesuffix(BALANCED_VALIDATION)


def of_evidence(name: str, folder: Path, seed: int) -> Problem:
    """A data set of the evidence, or its balanced validation set."""
    source = source_of(name)
    splits = splits_of(source, folder, seed)
    balanced = name.endswith(BALANCED_VALIDATION)
    train, validation = splits.train, splits.validation["balanced" if balanced else "i.i.d."]
    if name.endswith(WITHOUT):
        train, validation = two_thirds(splits.validation["balanced"], seed)
    kind = written.kind_of(source)
    both = joined(train, validation)
    feature_set = written.read_of(source, folder, seed, [train, validation])
    answer: Callable[[], Confirmed] | None = None
    if feature_set is not None and kind is not None:
        true, read = zero_one.TRUE.get(kind, set()), feature_set
        answer = lambda: confirmed(read, both, kind, true, seed)  # noqa: E731
    return Problem(
        train,
        validation,
        splits.test,
        views_of_set(source, folder, seed, both.X),
        feature_set,
        answer,
        name.endswith(WITHOUT) or not source.startswith(TRAINED_ON_IT),
    )


def confirmed(
    feature_set: FeatureSet, rows: Rows, kind: str, true: set[str], seed: int
) -> Confirmed:
    """The first finding of the attribute; of the table, its column if it is suspected at all."""
    if true:
        return zero_one.answer(feature_set, rows, true, seed)
    column = zero_one.SIDES[kind][0][0]
    found = audit(rows.y, embeddings=rows.X, feature_sets=[feature_set], random_state=seed)
    if not any(column in {s.name, *s.same, *s.opposed} for s in found.findings):
        return None, None
    return column, (feature_set.values(column) > 0).astype(int)


def of_waterbirds(cache: Path, seed: int, *, frozen: bool) -> Problem:
    """The official training split; a third of it is the validation set."""
    train, test = (data_waterbirds.read(cache, split) for split in ("train", "test"))
    samples = waterbirds.samples(train)
    numbered = Rows.of(np.arange(len(train.y))[:, None], train.y, train.groups)
    parts = [part.X[:, 0] for part in two_thirds(numbered, seed)]
    order = np.concatenate(parts)
    feature_sets = {
        name: feature_set[order]
        for name, feature_set in feature_sets_of(train.X, train.layers).items()
    }
    place, y = train.place[order], train.y[order]

    def answer() -> Confirmed:
        kept = [layers({n: v[order] for n, v in train.layers.items()}, random_state=seed)]
        if train.statistics is not None:
            kept.append(measured_image_statistics(train.statistics[order]))
        found = audit(y, embeddings=train.X[order], feature_sets=kept, random_state=seed)
        for i, finding in enumerate(found.findings):
            if within(found.values(finding.name), place, y) >= ALIKE:
                return finding.name, waterbirds.sides_of(found, i)
        return None, None

    train_rows, held_rows = (taken(samples, rows) for rows in parts)
    test_rows = waterbirds.samples(test)
    said = answer if train.layers else None
    return Problem(train_rows, held_rows, test_rows, feature_sets, None, said, frozen)


def of_official(cache: Path) -> Problem:
    """The official training and validation split."""
    splits = ("train", "val", "test")
    parts = [waterbirds.samples(data_waterbirds.read(cache, split)) for split in splits]
    return Problem(*parts, {}, None, None, True)


def problems(birds: Path | None, tuned: list[Path]) -> dict[str, Callable[[Path, int], Problem]]:
    """Every problem by its name; a draw of fine-tuned Waterbirds is a network of its own."""
    found: dict[str, Callable[[Path, int], Problem]] = {}
    sets = [*DATA, *CHECKS]
    for name in [*sets, *(n + WITHOUT for n in BALANCED), *(n + BALANCED_VALIDATION for n in sets)]:
        found[name] = lambda folder, seed, name=name: of_evidence(name, folder, seed)
    if birds is not None:
        found["Waterbirds, frozen"] = lambda _, seed: of_waterbirds(birds, seed, frozen=True)
        found[OFFICIAL] = lambda _, seed: of_official(birds)
    if tuned:
        found["Waterbirds, fine-tuned"] = lambda _, seed: of_waterbirds(
            tuned[seed % len(tuned)], seed, frozen=False
        )
    return found

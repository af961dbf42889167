"""Groups that are known of some samples and inferred for the others: balanced over, judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._partial_labels import known_labels
from ntkit._types import Array
from ntkit.attributes import FEWEST
from ntkit.estimators import DFRClassifier, GroupInference
from ntkit.exceptions import InputError
from ntkit.jobs.debias.groups._known_of_some import KnownOfSome
from ntkit.jobs.debias.groups._validation_groups import ValidationGroups
from ntkit.study import Study

_FEWEST_KNOWN = 3  # samples of a group, below which those inferred to be of it judge no head


@dataclass(frozen=True, eq=False)
class KnownGroups:
    """Groups of the training samples and then the held-out ones, as far as anything tells."""

    title: str
    side: Array
    weight: Array
    known: Array
    values: tuple[str, ...]
    crossed: bool
    inference: GroupInference | None
    n_train: int
    n_said: Mapping[str, int]
    n_alike: Array
    left: str = ""

    @classmethod
    def inferred(
        cls, given: KnownOfSome, y: tuple[Array, Array], feature_sets: Mapping[str, Any], seed: int
    ) -> KnownGroups:
        """Infer what is not known, as :class:`~ntkit.estimators.DFRClassifier` does by itself."""
        labels, known = known_labels(given.values, given.what)
        classes = np.concatenate(y)
        inference, side, weight = None, np.zeros(len(known), dtype=int), np.ones(len(known))
        if known.all():
            values, side = np.unique(labels, return_inverse=True)
        else:
            inference = GroupInference(random_state=seed)
            inference.fit(feature_sets, classes, given.values)
            values, q = inference.classes_, inference.label_distributions_
            weight = q.max(axis=1)
            side = np.where(weight > 0, q.argmax(axis=1), -1)
        missing = np.setdiff1d(classes, classes[weight > 0])
        if len(missing):
            raise InputError(
                f"Nothing is known of any sample of class {missing.tolist()[0]!r}, and no view "
                "tells it; answer on some of them."
            )
        names, cell = np.unique(classes, return_inverse=True)
        _, value = np.unique(labels, return_inverse=True)  # as it was said, believed or not
        of_known = cell[known] * len(values) + value
        said = np.bincount(of_known, minlength=len(names) * len(values))
        cell = cell * len(values) + side
        n_said = {
            f"{names[i // len(values)]} × {values[i % len(values)]}": int(said[i])
            for i in np.unique(cell[side >= 0])
        }
        n = int(known.sum())
        source = f"{n} {given.given_as}"
        if inference is not None and inference.feature_set_ is not None:
            source = f"inferred from {source}"
        return cls(
            f"{given.title} ({source})",
            side,
            weight,
            known,
            tuple(map(str, values.tolist())),
            given.what == "attribute",
            inference,
            len(y[0]),
            n_said,
            np.where(side >= 0, said[cell], 0),
            given.left,
        )

    @property
    def is_read(self) -> bool:
        """Whether the groups of all samples are known, or a view tells them."""
        return self.inference is None or self.inference.feature_set_ is not None

    def fit(self, clf: DFRClassifier, study: Study, validation: Array | None) -> DFRClassifier:
        """Fit the candidate on the training samples and the held-out ones that it may see."""
        rows = study.on("both").train
        seen = np.arange(self.n_train, len(self.side))
        seen = seen if validation is None else seen[validation]
        index = np.concatenate([np.arange(self.n_train), seen])
        kept = np.flatnonzero(self.weight[index] > 0)
        if len(kept) < len(index) or not isinstance(rows.X, np.ndarray):
            rows = rows.take(kept)
        side, weight = self.side[index[kept]], self.weight[index[kept]]
        crossed = rows.y_index * len(self.values) + side
        groups = crossed if self.crossed else np.asarray(self.values)[side]
        clf.fit(rows.X, study.classes[rows.y_index], sample_weight=weight, groups=groups)
        return clf

    def validation(self, y: Array, y_index: Array) -> ValidationGroups | None:
        """Groups of the held-out samples, to judge a head by; None where too few are known."""
        # Where no view reads them, they are of the samples alone that somebody was asked about,
        # often because the model errs there: what a head costs is then counted on all samples.
        sides = np.where(self.n_alike >= _FEWEST_KNOWN, self.side, -1)[self.n_train :, None]
        known = self.known[self.n_train :]
        found = ValidationGroups.of(
            self.title, y, y_index, sides, [self.values], by_person=self.is_read, known=known
        )
        found = found.of_rows(sides[:, 0] >= 0)
        return found if len(found.names) > len(np.unique(y_index)) else None

    def told(self) -> str:
        """Where the groups are from, in a sentence."""
        n_train = int(self.known[: self.n_train].sum())
        n_validation = int(self.known.sum()) - n_train
        counted = f"{self.title}: known of {n_train} training and {n_validation} held-out samples"
        if self.inference is None:
            return f"{counted}, which are all."
        if self.inference.feature_set_ is None:
            return (
                f"{counted}. No view tells it of the others, so the head is retrained on these "
                "alone."
            )
        score = self.inference.scores_[self.inference.feature_set_]
        few = [f"{name} ({n})" for name, n in self.n_said.items() if n < _FEWEST_KNOWN]
        return (
            f"{counted}; read for the others from the view {self.inference.feature_set_!r}, which "
            "is "
            f"right on {100 * score:.0f} % of those known that it has not seen, the mean over "
            "class × value."
        ) + f" Too few are known of a group to judge by it: {', '.join(few)}." * bool(few)

    def worst_known(self, y: Array, y_index: Array, before: Array, after: Array) -> str:
        """The worst group of the samples that are known, by which two heads get right."""
        n = int(self.known.sum())
        at = np.flatnonzero(self.known & (self.n_alike >= FEWEST))
        if not len(at):
            return f"Of no group are {FEWEST} samples known, so none is rated by these alone."
        sides = self.side[at, None]
        groups = ValidationGroups.of("", y[at], y_index[at], sides, [self.values], by_person=True)
        worst, first = groups.worst(after[at]), groups.worst(before[at])
        then = f"{first.share} of the same" if first.name == worst.name else str(first)
        n_train = int(self.known[: self.n_train].sum())
        seen = (
            f" ({n_train} of them training samples: the new head was fitted on these, which "
            "flatters it)"
        ) * bool(n_train)
        return (
            f"Of the {n} samples of which it is known{seen}, the worst group with at least "
            f"{FEWEST}, by the share that is right: {worst}; with the original head {then}."
        )

"""Groups that judge a repair by change: real samples, and copies that are similar to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from ntkit._contents import row_contents
from ntkit._types import Array
from ntkit.attributes import FEWEST, Attribute
from ntkit.jobs.debias._invariance import CopiesOf
from ntkit.study import stratified_folds

ENOUGH = 30
"""Real validation samples with which a group is judged without copies."""
_CHECKABLE = 20  # real samples of a group that a comparison with copies needs
_ALIKE = 0.7  # largest AUC of copies that are similar to real samples
_COMPARED = 600  # largest number of copies, and of real samples, in a comparison
_FOLDS = 5
_SHOWN = 3  # groups in a sentence


@dataclass(frozen=True)
class Likeness:
    """Whether copies by a change are similar to the real samples of their groups."""

    # `aucs` holds groups with enough real samples for a comparison. `small` holds the number of
    # real samples of groups that are too small to be judged without copies.

    change: str
    aucs: Mapping[str, float]
    small: Mapping[str, int] = field(default_factory=dict)

    @property
    def judges(self) -> bool:
        """Whether copies may judge groups; they may if no group is large enough to compare."""
        return max(self.aucs.values(), default=0.0) <= _ALIKE

    def __str__(self) -> str:
        groups = "; ".join(f"{name} ({n} real)" for name, n in [*self.small.items()][:_SHOWN])
        more = len(self.small) - _SHOWN
        groups += f"; {more} more" if more > 0 else ""
        if not self.aucs:
            return (
                f"Copies by {self.change} judge {groups}. No group has the {_CHECKABLE} real "
                "samples that a comparison with the copies needs."
            )
        low, high = min(self.aucs.values()), max(self.aucs.values())
        auc = f"AUC {low:.2f}" if low == high else f"AUC {low:.2f} to {high:.2f}"
        if self.judges:
            return (
                f"Copies by {self.change} are similar to real samples ({auc}), so they judge "
                f"{groups}."
            )
        judged = f"only real samples judge {groups}" if groups else "they judge no group"
        return (
            f"A classifier distinguishes copies by {self.change} from real samples ({auc}), so "
            f"{judged}."
        )


@dataclass(frozen=True, eq=False)
class Judge:
    """Groups of one set that judge a head: real samples, then copies."""

    # `groups` has a value for each row of the set, then for each of `copies`. `small` marks rows of
    # groups with too few real samples to judge without copies.

    groups: Attribute
    copies: CopiesOf
    small: Array
    likeness: tuple[Likeness, ...]
    grouped: bool

    @property
    def by_copies_alone(self) -> bool:
        """Whether only copies judge the change."""
        return self.with_copies and not self.grouped

    @property
    def with_copies(self) -> bool:
        """Whether any copy judges."""
        return bool((self.groups.value[len(self.small) :] >= 0).any())

    @property
    def reported(self) -> Attribute:
        """The groups without the copies of groups that have enough real samples by themselves."""
        groups, n = self.groups, len(self.small)
        real = np.bincount(groups.value[:n][groups.value[:n] >= 0], minlength=len(groups.names))
        value = np.where(real[groups.value] >= FEWEST, -1, groups.value)
        value[:n] = groups.value[:n]
        return replace(groups, value=value)

    @property
    def reports_copies(self) -> bool:
        """Whether a group has too few real samples to report their accuracy alone."""
        return bool((self.reported.value[len(self.small) :] >= 0).any())

    def score(self, right: Array) -> tuple[float, float]:
        """Mean accuracy over the groups, and its standard error."""
        # If only copies judge, the worse of originals and copies counts. A copy has a part of
        # another sample, so only the originals have the bias, and a head that uses it is best on
        # them.
        groups = self.groups
        judged = groups.value >= 0
        n = np.bincount(groups.value[judged], minlength=len(groups.names))
        share = np.bincount(groups.value[judged], weights=right[judged], minlength=len(n)) / n
        tempered = (share * n + 1) / (n + 2)  # Agresti and Coull: no share is exactly 0 or 1
        variance = tempered * (1 - tempered) / (n + 2)
        halves = [np.ones(len(n), dtype=bool)]
        if self.by_copies_alone:
            parts = [name.rpartition(" × ")[::2] for name in groups.names]
            of_original = np.array([end == "original" for _, end in parts])
            split = [of_original, ~of_original]
            labels = [{parts[i][0] for i in np.flatnonzero(half)} for half in split]
            halves = split if labels[0] == labels[1] else halves
        return min(
            (float(share[h].mean()), float(np.sqrt(variance[h].sum()) / h.sum())) for h in halves
        )


def judge_of(
    y: Array,
    values: Array | None,
    names: Sequence[Attribute],
    copies: CopiesOf,
    titles: Sequence[str],
    alike: Mapping[str, Likeness],
) -> Judge:
    """Groups class × attribute if one is named, else class × {original, changed}."""
    n, y_copies = len(y), y[copies.of]
    of_rows, of_copies = np.full(n, "", dtype=object), np.full(len(y_copies), "", dtype=object)
    if values is not None and values.shape[1]:
        of_rows = _labels(y, values, names)
        of_copies = _labels(y_copies, copies.values, names)
    plain = of_copies == ""  # the change does not affect a named attribute
    for number, title in enumerate(titles):
        rows = plain & (copies.change == number)
        of_copies[rows] = [f"{label} × changed by {title}" for label in y_copies[rows]]
    if values is None or not values.shape[1]:
        of_rows = np.asarray([f"{label} × original" for label in y], dtype=object)
    kept, small = list[str](), np.zeros(n, dtype=bool)
    judging = np.ones(len(of_copies), dtype=bool)
    told_apart = [
        number for number, title in enumerate(titles) if title in alike and not alike[title].judges
    ]
    unlike = np.isin(copies.change, told_apart) & ~plain
    small_of: dict[str, dict[str, int]] = {title: {} for title in titles}
    for name in sorted({*of_rows, *of_copies} - {""}):
        real, copied = of_rows == name, (of_copies == name) & ~plain
        n_real = int(real.sum())
        if copied.any() and n_real >= ENOUGH:
            judging &= ~copied
        elif copied.any():
            small |= real
            judging &= ~(copied & unlike)
            for number in np.unique(copies.change[copied]):
                if number not in told_apart or n_real >= FEWEST:
                    small_of[titles[number]][name] = n_real
        if n_real + int(((of_copies == name) & judging).sum()) >= FEWEST:
            kept.append(name)
    used = [
        replace(alike.get(title, Likeness(title, {})), small=counts)
        for title, counts in small_of.items()
        if counts or (title in alike and not alike[title].judges)
    ]
    labels, names_of = [*y, *y_copies[judging]], [*of_rows, *of_copies[judging]]
    with_group = {label for label, name in zip(labels, names_of, strict=True) if name in kept}
    for label in np.unique(y):  # a class without a judging group is one group
        if label not in with_group:
            of_rows[y == label] = str(label)
            kept.append(str(label))
    number_of = {name: i for i, name in enumerate(kept)}
    value = [number_of.get(name, -1) for name in of_rows]
    value += [
        number_of.get(name, -1) if judges else -1
        for name, judges in zip(of_copies, judging, strict=True)
    ]
    title = " and ".join([*(each.name for each in names), *(t for t in titles if values is None)])
    groups = Attribute(title or " and ".join(titles), np.asarray(value), tuple(kept), "copies")
    grouped = values is not None and bool(values.shape[1])
    return Judge(groups, copies, small, tuple(used), grouped)


def _labels(y: Array, values: Array, names: Sequence[Attribute]) -> Array:
    """Name of the group of each sample; empty if a value is unknown."""
    labels = np.full(len(y), "", dtype=object)
    for row in np.flatnonzero((values >= 0).all(axis=1)).tolist():
        of = (str(each.names[value]) for each, value in zip(names, values[row], strict=True))
        labels[row] = " × ".join([str(y[row]), *of])
    return labels


def likeness_of(
    y: Array,
    Z: Array,
    values: Array,
    names: Sequence[Attribute],
    copies: CopiesOf,
    titles: Sequence[str],
    seed: int,
) -> dict[str, Likeness]:
    """Compare the copies of each group with its real samples, on both sets together."""
    # The test is the cross-validated AUC of a linear classifier between the two, on at most 600 of
    # each (a classifier two-sample test: Lopez-Paz and Oquab, 2017, arXiv 1610.06545).
    of_rows = _labels(y, values, names)
    of_copies = _labels(y[copies.of], copies.values, names)
    rng = np.random.default_rng(seed)
    likeness = dict[str, Likeness]()
    for number, title in enumerate(titles):
        aucs = dict[str, float]()
        for name in sorted({*of_copies[copies.change == number]} - {""}):
            real = np.flatnonzero(of_rows == name)
            copied = np.flatnonzero((of_copies == name) & (copies.change == number))
            if min(len(real), len(copied)) >= _CHECKABLE:
                some = [rng.permutation(rows)[:_COMPARED] for rows in (real, copied)]
                aucs[name] = _auc(Z[some[0]], copies.Z[some[1]], seed)
        likeness[title] = Likeness(title, aucs)
    return likeness


def _auc(real: Array, copies: Array, seed: int) -> float:
    """Cross-validated AUC of a linear classifier between real samples and copies."""
    which = np.repeat([0, 1], [len(real), len(copies)])
    classifier = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=300)
    X = np.concatenate([real, copies])
    folds = stratified_folds(which, _FOLDS, seed, row_contents(X))
    if not folds:
        return 0.5
    scores = cross_val_predict(classifier, X, which, cv=folds, method="decision_function")
    return float(roc_auc_score(which, scores))

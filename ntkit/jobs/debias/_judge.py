"""Groups that judge a repair by change: real samples, and copies that are similar to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from ntkit._contents import contents_by_label
from ntkit._key import group_name
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.feature_set import FEWEST
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

    # `groups` has a value for each row of the set, then for each of `copies`. `keys` (G, 2) holds
    # the class of each group, and its change: 0 for originals, -1 for a class as a whole. `small`
    # marks rows of groups with too few real samples to judge without copies. `averaged` are the
    # groups with those that have too few samples and copies to be the worst one.

    groups: Attribute
    averaged: Attribute
    keys: Array
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
        rows = self.groups.rows(right)
        share, n = np.array([row.value for row in rows]), np.array([row.n for row in rows])
        tempered = (share * n + 1) / (n + 2)  # Agresti and Coull: no share is exactly 0 or 1
        variance = tempered * (1 - tempered) / (n + 2)
        halves = [np.ones(len(n), dtype=bool)]
        if self.by_copies_alone and (self.keys[:, 1] >= 0).all():
            of_original = self.keys[:, 1] == 0
            split = [of_original, ~of_original]
            classes = [{*self.keys[half, 0].tolist()} for half in split]
            halves = split if classes[0] == classes[1] else halves
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
    classes, of_class = np.unique(y, return_inverse=True)
    n, grouped = len(y), values is not None and bool(values.shape[1])
    group, keys = _keys_of_groups(of_class, values, copies)
    called = [_name(key, classes, names, titles, grouped) for key in keys.tolist()]
    of_rows, of_copies = group[:n], group[n:]
    plain = (of_copies >= 0) & (keys[of_copies, -1] > 0)  # no named attribute is changed
    small, judging = np.zeros(n, dtype=bool), of_copies >= 0
    told_apart = [
        number for number, title in enumerate(titles) if title in alike and not alike[title].judges
    ]
    unlike = np.isin(copies.change, told_apart) & ~plain
    small_of = defaultdict[str, dict[str, int]](dict)
    kept = list[int]()
    for at in sorted(range(len(called)), key=called.__getitem__):
        real, copied = of_rows == at, (of_copies == at) & ~plain
        n_real = int(real.sum())
        if copied.any() and n_real >= ENOUGH:
            judging &= ~copied
        elif copied.any():
            small |= real
            judging &= ~(copied & unlike)
            for number in np.unique(copies.change[copied]):
                if number not in told_apart or n_real >= FEWEST:
                    small_of[titles[number]][called[at]] = n_real
        if n_real + int(((of_copies == at) & judging).sum()) >= FEWEST:
            kept.append(at)
    used = [
        replace(alike.get(title, Likeness(title, {})), small=small_of[title])
        for title in titles
        if small_of[title] or (title in alike and not alike[title].judges)
    ]
    numbers = np.full(len(called) + 1, -1)  # the last one is of samples without a group
    numbers[kept] = np.arange(len(kept))
    value = np.concatenate([numbers[of_rows], np.where(judging, numbers[of_copies], -1)])
    kept_names, of_kept = [called[at] for at in kept], keys[kept][:, [0, -1]].tolist()
    with_group = {*np.append(of_class, of_class[copies.of])[value >= 0].tolist()}
    for k, label in enumerate(classes.tolist()):  # a class without a judging group is one group
        if k not in with_group:
            value[:n][of_class == k] = len(kept_names)
            kept_names.append(group_name(label))
            of_kept.append([k, -1])
    title = " and ".join([each.name for each in names] or titles)
    groups = Attribute(title, value, tuple(kept_names), "copies")
    every = np.concatenate([of_rows, np.where(judging, of_copies, -1)])
    in_every = {*np.append(of_class, of_class[copies.of])[every >= 0].tolist()}
    for k in range(len(classes)):  # as above
        if k not in in_every:
            every[:n][of_class == k] = len(called) + k
    all_names = (*called, *map(group_name, classes.tolist()))
    averaged = Attribute(title, every, all_names, "copies")
    of_groups = np.array(of_kept, dtype=int).reshape(-1, 2)
    return Judge(groups, averaged, of_groups, copies, small, tuple(used), grouped)


def _keys_of_groups(of_class: Array, values: Array | None, copies: CopiesOf) -> tuple[Array, Array]:
    """Group of each row and of each copy, −1 if it is unknown, and the key of each group.

    A key is a class, a value of each attribute, and the number of a change that alters no named
    attribute, from 1 on; 0 for other copies and for real samples.
    """
    values = np.empty((len(of_class), 0), dtype=int) if values is None else values
    of_copies = np.full((len(copies.of), values.shape[1]), -1)
    change = copies.change + 1
    if values.shape[1]:
        known = (copies.values >= 0).all(axis=1)
        of_copies[known], change = copies.values[known], np.where(known, 0, change)
    unchanged = np.zeros((len(values), 1), dtype=int)
    keys = np.concatenate(
        [
            np.column_stack([of_class, values, unchanged]),
            np.column_stack([of_class[copies.of], of_copies, change]),
        ]
    )
    known = (keys[:, 1:-1] >= 0).all(axis=1) | (keys[:, -1] > 0)
    found, numbers = np.unique(keys[known], axis=0, return_inverse=True)
    group = np.full(len(keys), -1)
    group[known] = numbers.ravel()
    return group, found


def _name(
    key: Sequence[int],
    classes: Array,
    names: Sequence[Attribute],
    titles: Sequence[str],
    grouped: bool,
) -> str:
    k, *of, change = key
    what = [str(each.names[value]) for each, value in zip(names, of, strict=True) if value >= 0]
    what += [f"changed by {titles[change - 1]}"] if change else [] if grouped else ["original"]
    return group_name(classes[k], *what)


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
    classes, of_class = np.unique(y, return_inverse=True)
    group, keys = _keys_of_groups(of_class, values, copies)
    of_rows, of_copies = group[: len(y)], group[len(y) :]
    called = [_name(key, classes, names, titles, True) for key in keys.tolist()]
    rng = np.random.default_rng(seed)
    likeness = dict[str, Likeness]()
    for number, title in enumerate(titles):
        aucs = dict[str, float]()
        of_change = copies.change == number
        for at in sorted({*of_copies[of_change].tolist()}, key=called.__getitem__):
            real = np.flatnonzero(of_rows == at)
            copied = np.flatnonzero((of_copies == at) & of_change)
            if min(len(real), len(copied)) >= _CHECKABLE:
                some = [rng.permutation(rows)[:_COMPARED] for rows in (real, copied)]
                aucs[called[at]] = _auc(Z[some[0]], copies.Z[some[1]], seed)
        likeness[title] = Likeness(title, aucs)
    return likeness


def _auc(real: Array, copies: Array, seed: int) -> float:
    """Cross-validated AUC of a linear classifier between real samples and copies."""
    which = np.repeat([0, 1], [len(real), len(copies)])
    classifier = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=300)
    X = np.concatenate([real, copies])
    folds = stratified_folds(which, _FOLDS, seed, contents_by_label(X, which))
    if not folds:
        return 0.5
    scores = cross_val_predict(classifier, X, which, cv=folds, method="decision_function")
    return float(roc_auc_score(which, scores))

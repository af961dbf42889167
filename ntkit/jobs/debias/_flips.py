"""Flipped predictions: reliance of the original model on a change, and of the new one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.base import clone
from tqdm import tqdm

from ntkit._text import listed, percent
from ntkit._types import Array
from ntkit.changes import Change, bank_of, change_named
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder, Samples
from ntkit.head import LinearHead
from ntkit.jobs.audit import displaced
from ntkit.jobs.copies import embedded_copies
from ntkit.jobs.debias._invariance import CopiesOf
from ntkit.jobs.debias._judge import Likeness
from ntkit.jobs.debias._order import Order
from ntkit.metrics import drop_bounds, holm, more_often

_LEVEL = 0.05
_SHOWN = 3  # changes in a sentence
_RELIED = 0.05  # lower bound of the flips beyond the control that shows reliance
_TRIED = 150  # validation samples for each change of the bank


@dataclass(frozen=True)
class Reliance:
    """Predictions of the original head that a change and its control flip."""

    change: str
    n: int
    flips: float
    control_flips: float
    surely: float  # lower 95 % bound of the flips beyond the control

    def __str__(self) -> str:
        return (
            f"{self.change} flips {percent(self.flips)} of {self.n} predictions, and a random "
            f"displacement of the same size flips {percent(self.control_flips)}"
        )


def reliance_on(
    changes: Sequence[Change], head: LinearHead, Z: Array, copies: CopiesOf, seed: int
) -> tuple[Reliance, ...]:
    """Flips of each change beyond its control, with exact paired bounds."""
    # If a head does not rely on a change, the change cannot repair it. Retraining on biased samples
    # would then only learn their bias.
    reliances, predicted = list[Reliance](), head.logits(Z).argmax(axis=1)
    for number, change in enumerate(changes):
        some = copies.take(copies.change == number)
        if not len(some.of):
            continue
        rng = np.random.default_rng([seed, number])
        control = displaced(Z, some.Z, some.of, predicted, np.ones(Z.shape[1]), rng)
        flips, too = (
            head.logits(moved).argmax(axis=1) != predicted[some.of] for moved in (some.Z, control)
        )
        more, less = int((flips & ~too).sum()), int((too & ~flips).sum())
        level = _LEVEL / len(changes)
        surely, _ = drop_bounds(more, less, len(flips), upper_level=level, lower_level=level)
        shares = float(flips.mean()), float(too.mean())
        reliances.append(Reliance(change.name, len(some.of), *shares, surely))
    return tuple(reliances)


def not_relied_on(reliances: Sequence[Reliance]) -> str:
    """Reason for not repairing by some changes; empty if the model relies on one."""
    if not reliances or max(each.surely for each in reliances) >= _RELIED:
        return ""
    return (
        f"it does not significantly rely on the change. {'; '.join(map(str, reliances))}: a "
        f"difference of at least {100 * _RELIED:g} percentage points is needed"
    )


@dataclass(frozen=True)
class FlipRate:
    """Share of predictions that a change flips under the original and the new head."""

    change: str
    n: int
    before: float
    after: float
    p_value: float
    rises: bool = False

    def __str__(self) -> str:
        before, after = percent(self.before, unit=""), percent(self.after)
        return f"{self.change} (flips {before} → {after} of {self.n} predictions)"


def flip_rates(
    embedder: OnnxEmbedder,
    samples: Samples,
    heads: tuple[LinearHead, LinearHead],
    Z: Array,
    but: Sequence[Change],
    order: Order,
) -> tuple[FlipRate, ...]:
    """Flips of two heads under all changes of the bank; tests of rises have Holm's correction."""
    rows = np.sort(np.random.default_rng(order.seed).permutation(len(samples))[:_TRIED])
    changes = [*but, *(c for c in _bank(samples) if c.name not in {b.name for b in but})]
    rates = list[FlipRate]()
    quiet, hidden = clone(embedder).set_params(verbose=False), None if order.verbose else True
    for change in tqdm(changes, desc="changes", delay=1, disable=hidden, leave=False):
        try:
            copies = embedded_copies(quiet, samples, change, rows, seed=order.seed)
        except InputError:  # the change applies to no sample
            continue
        if not len(copies.rows):
            continue
        old, new = (h.predict(copies.Z) != h.predict(Z[copies.rows]) for h in heads)
        p_value = more_often(int((new & ~old).sum()), int((old & ~new).sum()))
        shares = float(old.mean()), float(new.mean())
        rates.append(FlipRate(change.name, len(copies.rows), *shares, p_value))
    corrected = holm(np.array([rate.p_value for rate in rates]), len(rates))
    pairs = zip(rates, (corrected <= _LEVEL).tolist(), strict=True)
    return tuple(replace(rate, rises=rises) for rate, rises in pairs)


_MOST_WORDS = 20


def _bank(samples: Samples) -> list[Change]:
    """The changes to try on a set; for texts the most frequent words, mark-up and case."""
    if samples.kind != "texts":
        return bank_of(samples)
    texts = [t if isinstance(t, str) else " ".join(t) for t in samples.X.texts]
    counts = Counter(w for text in texts for w in {*re.findall(r"\w{2,40}", text.lower())})
    words = [word for word, n in counts.most_common(_MOST_WORDS)]
    others = [change_named(name) for name in ("markup", "case:lower")]
    return [*bank_of(samples, words), *others]


@dataclass(frozen=True)
class ByChange:
    """Results of a repair by change besides its accuracies."""

    changes: tuple[str, ...]
    likeness: tuple[Likeness, ...] = ()
    copies_alone: bool = False
    copies_judge: bool = False
    copies_reported: bool = False
    flips: tuple[FlipRate, ...] = ()
    reliance: tuple[Reliance, ...] = ()
    veto: str = ""
    candidates: Mapping[str, float] = field(default_factory=dict)
    judged: bool = True

    def risen_in_words(self, most: int = _SHOWN) -> str:
        """Changes that flip significantly more predictions of the new head, largest rise first."""
        risen = [rate for rate in self.flips if rate.rises]
        risen.sort(key=lambda rate: rate.before - rate.after)
        return listed(risen, most, " {} changes in all")

    def sentences(self, *, written: bool = True) -> list[str]:
        """Sentences on the samples that judged, and on changes that the new head relies on more."""
        if not self.judged:
            return []
        lines = list[str]()
        if written and (risen := self.risen_in_words()):
            lines.append(f"The new head relies more on {risen}.")
        if self.copies_alone:
            lines.append("Only changed copies judged the head, not groups of real samples.")
        elif self.likeness:
            lines += map(str, self.likeness)
        elif self.copies_judge:
            lines.append("Groups of real samples and changed copies judged the head.")
        else:
            lines.append("Only real samples judged the head, because every group has enough.")
        if self.copies_judge:
            lines.append("Copies show only the effect of the changes that made them.")
        of_repair = [rate for rate in self.flips if rate.change in self.changes]
        lines += [f"{rate}." for rate in of_repair if written and not rate.rises]
        return lines

"""Look for what a service does otherwise: one thing, several at once, or several in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.jobs.verify._change import Change, Subject, changed
from ntkit.jobs.verify._outputs import Outputs, Reading

Run = Callable[[Any, Array], Array | None]
_SEARCHED = 8  # samples on which everything is tried
_SEARCHED_BY_LABELS = 16  # which say less
_BEAM = 4
_DEPTH = 3
_MOST_SHARE_LEFT = 0.2  # of the difference that there was, for a cause that does not explain all
_MOST_SHARE_OF_NEXT = 0.4  # of the difference that the next best leaves
_MOST_UNCERTAIN = 2  # changes of such a cause
_ALIKE = 3.0


@dataclass(frozen=True)
class Tried:
    """Some changes, and how far what ntkit then computes is from what was recorded."""

    changes: tuple[Change, ...]
    differences: Array

    @property
    def distance(self) -> float:
        """Root mean square of the differences."""
        return float(np.sqrt((self.differences**2).mean()))

    @property
    def whats(self) -> frozenset[str]:
        """Names of what is changed."""
        return frozenset(change.what for change in self.changes)

    def agrees(self, tolerance: float) -> bool:
        """Whether no sample differs by more than a tolerance."""
        return bool((self.differences <= tolerance).all())


def found_causes(
    subject: Subject, outputs: Outputs, run: Run, logits: Array
) -> tuple[list[Tried], list[Tried]]:
    """Try changes until some explain every sample."""
    search = _Search(subject, outputs, run, logits)
    everything = np.arange(len(outputs))
    found = [
        Tried(outputs.changes(reading), outputs.differences(logits, reading, everything))
        for reading in outputs.readings(logits, everything, once=True)
    ]
    found = [tried for tried in found if tried.agrees(outputs.tolerance)]
    if not found:
        for states in search.rounds():
            found = search.confirmed(states)
            if found:
                break
    fewest = min((len(tried.changes) for tried in found), default=0)
    found = [tried for tried in found if len(tried.changes) == fewest]
    return _best_first(found), sorted(search.tried, key=lambda tried: tried.distance)


def is_far_better(best: Tried, others: Iterable[Tried], before: float) -> bool:
    """Whether a cause that does not explain all is still far better than any other."""
    rivals = [tried.distance for tried in others if not tried.whats >= best.whats]
    next_best = min(rivals, default=before)
    if len(best.changes) > _MOST_UNCERTAIN:
        return False
    return best.distance <= min(_MOST_SHARE_LEFT * before, _MOST_SHARE_OF_NEXT * next_best)


def _best_first(found: list[Tried]) -> list[Tried]:
    """By distance; of those that are about as near, the most usual first."""
    nearest = min((tried.distance for tried in found), default=0.0)
    near = max(_ALIKE * nearest, 1e-5)

    def key(tried: Tried) -> tuple[bool, int, float]:
        far = tried.distance > near
        return far, 0 if far else sum(c.usual for c in tried.changes), tried.distance

    return sorted(found, key=key)


class _Search:
    """What was tried so far, on a few samples."""

    def __init__(self, subject: Subject, outputs: Outputs, run: Run, logits: Array) -> None:
        self._subject, self._outputs, self._run = subject, outputs, run
        self._base = outputs.differences(logits, outputs.declared, np.arange(len(outputs)))
        few = _SEARCHED_BY_LABELS if outputs.recorded.ndim == 1 else _SEARCHED
        self.rows = _telling_rows(self._base, few)
        self._seen = [logits[self.rows]]
        self._changes = subject.changes()
        self.tried = list[Tried]()

    def rounds(self) -> Iterable[list[Tried]]:
        """New things to try, round after round: single changes, pipelines, then combinations."""
        single = self._try((change,) for change in self._changes)
        yield single
        yield self._try(self._subject.pipelines())
        for _ in range(_DEPTH - 1):
            yield self._try(
                (*kept, change)
                for kept in self._promising()
                for change in self._changes
                if change.place not in {known.place for known in kept}
            )

    def confirmed(self, states: list[Tried]) -> list[Tried]:
        """Those that explain the few samples, and then all."""
        outputs, everything = self._outputs, np.arange(len(self._outputs))
        good = [tried for tried in states if tried.agrees(outputs.tolerance)]
        fewest = min((len(tried.changes) for tried in good), default=0)
        found = list[Tried]()
        for tried in good:
            if len(tried.changes) > fewest:
                continue
            logits = self._logits(_inside(tried.changes), everything)
            if logits is not None:
                again = self._readings(_inside(tried.changes), logits, everything)
                found += [one for one in again if one.whats == tried.whats]
        return [tried for tried in found if tried.agrees(outputs.tolerance)]

    def _try(self, combinations: Iterable[tuple[Change, ...]]) -> list[Tried]:
        new = list[Tried]()
        for changes in combinations:
            logits = self._logits(changes, self.rows)
            if logits is None or any(np.array_equal(logits, seen) for seen in self._seen):
                continue
            self._seen.append(logits)
            new += self._readings(changes, logits, self.rows)
        self.tried += new
        return new

    def _logits(self, changes: Sequence[Change], rows: Array) -> Array | None:
        settings = changed(self._subject.settings, changes)
        return None if settings is None else self._run(settings, rows)

    def _readings(self, changes: tuple[Change, ...], logits: Array, rows: Array) -> list[Tried]:
        outputs = self._outputs
        readings: list[Reading] = [outputs.declared, *outputs.readings(logits, rows)]
        return [
            Tried((*changes, *outputs.changes(reading)), outputs.differences(logits, reading, rows))
            for reading in readings
        ]

    def _promising(self) -> list[tuple[Change, ...]]:
        """Changes of inputs that came nearest so far."""
        kept = list[tuple[Change, ...]]()
        for tried in sorted(self.tried, key=lambda tried: tried.distance):
            inside = _inside(tried.changes)
            if inside not in kept:
                kept.append(inside)
            if len(kept) == _BEAM:
                break
        return kept


def _inside(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in changes if change.inside)


def _telling_rows(differences: Array, few: int) -> Array:
    """A few samples: half of them those that differ most, half spread over the others."""
    order = np.argsort(-differences, kind="stable")
    if len(order) <= few:
        return np.sort(order)
    half = few // 2
    spread = np.linspace(half, len(order) - 1, half).round().astype(np.intp)
    return np.sort(np.concatenate([order[:half], order[spread]]))

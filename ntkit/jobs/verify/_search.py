"""Look for what a service does otherwise: one thing, several at once, or several in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.jobs.verify._change import Change, Subject, changed
from ntkit.jobs.verify._outputs import Outputs

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
class Trial:
    """Changes of inputs and then of outputs, and how far each sample is from what was recorded."""

    changes: tuple[Change, ...]
    differences: Array  # (n,), relative to how far the outputs vary

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


def is_far_better(best: Trial, others: Iterable[Trial], before: float) -> bool:
    """Whether a cause that does not explain all is still far better than any other."""
    # What holds all that the cause holds is no rival; `before` is the distance without a change.
    rivals = [tried.distance for tried in others if not tried.whats >= best.whats]
    next_best = min(rivals, default=before)
    if len(best.changes) > _MOST_UNCERTAIN:
        return False
    return best.distance <= min(_MOST_SHARE_LEFT * before, _MOST_SHARE_OF_NEXT * next_best)


def _best_first(found: list[Trial]) -> list[Trial]:
    """By distance; of those that are about as near, the most usual first."""
    nearest = min((tried.distance for tried in found), default=0.0)
    near = max(_ALIKE * nearest, 1e-5)

    def key(tried: Trial) -> tuple[bool, int, float]:
        far = tried.distance > near
        return far, 0 if far else sum(c.usual for c in tried.changes), tried.distance

    return sorted(found, key=key)


class Search:
    """What was tried so far, on a few samples."""

    # `run` gives logits for settings of the subject and some rows, None where they make no inputs;
    # `logits` are those of all samples with nothing changed.

    def __init__(self, subject: Subject, outputs: Outputs, run: Run, logits: Array) -> None:
        self._subject, self._outputs, self._run, self._base = subject, outputs, run, logits
        few = _SEARCHED_BY_LABELS if outputs.recorded.ndim == 1 else _SEARCHED
        self.rows = _telling_rows(outputs.differences(logits, outputs.declared), few)
        self._seen = [logits[self.rows]]
        self._changes = subject.changes()
        self.tried = list[Trial]()

    def causes(self) -> tuple[list[Trial], list[Trial]]:
        """What explains every sample, with as few changes as do, and all that was tried on some."""
        # Changes are tried until some do; the best come first.
        causes = [
            tried
            for tried in self._readings((), self._base, once=True)[1:]
            if tried.agrees(self._outputs.tolerance)
        ]
        if not causes:
            causes = next(filter(None, map(self.confirmed, self.rounds())), [])
        return _best_first(_fewest(causes)), sorted(self.tried, key=lambda tried: tried.distance)

    def rounds(self) -> Iterable[list[Trial]]:
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

    def confirmed(self, states: list[Trial]) -> list[Trial]:
        """Those that explain the few samples, and then all."""
        tolerance, everything = self._outputs.tolerance, np.arange(len(self._outputs))
        confirmed = list[Trial]()
        for tried in _fewest([tried for tried in states if tried.agrees(tolerance)]):
            inside = _inside(tried.changes)
            logits = self._logits(inside, everything)
            if logits is not None:
                again = self._readings(inside, logits)
                confirmed += [one for one in again if one.whats == tried.whats]
        return [tried for tried in confirmed if tried.agrees(tolerance)]

    def _try(self, combinations: Iterable[tuple[Change, ...]]) -> list[Trial]:
        new = list[Trial]()
        for changes in combinations:
            logits = self._logits(changes, self.rows)
            if logits is None or any(np.array_equal(logits, seen) for seen in self._seen):
                continue
            self._seen.append(logits)
            new += self._readings(changes, logits, self.rows)
        self.tried += new
        return new

    def _logits(self, changes: Sequence[Change], rows: Array) -> Array | None:
        return self._run(changed(self._subject.settings, changes), rows)

    def _readings(
        self, changes: tuple[Change, ...], logits: Array, rows: Any = slice(None), **options: bool
    ) -> list[Trial]:
        outputs = self._outputs
        return [
            Trial((*changes, *outputs.changes(reading)), outputs.differences(logits, reading, rows))
            for reading in (outputs.declared, *outputs.readings(logits, rows, **options))
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


def _fewest(found: list[Trial]) -> list[Trial]:
    """Those with as few changes as any has."""
    fewest = min((len(tried.changes) for tried in found), default=0)
    return [tried for tried in found if len(tried.changes) == fewest]


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

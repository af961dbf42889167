"""The search for harmless lines that flip most predictions when texts begin or end with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._process import progress_bar
from ntkit._types import Array
from ntkit.changes import Change
from ntkit.changes.change import change_named
from ntkit.changes.texts import lines_of_file
from ntkit.exceptions import InputError
from ntkit.metrics import Row, compare
from ntkit.samples.samples import Match

PASSES = 400
"""Most passes over the ranking samples."""
_RANKED = 300  # samples that rank the lines; the others measure
_JOINED = 30  # lines that a second and a third one are chosen from
_MOST = 250  # lines
NEUTRAL = (
    "please", "thanks", "thank you", "hello", "hi", "dear all", "best regards", "sincerely",
    "yes", "ok", "by the way", "for example", "as always", "in other words", "to be clear",
    "today", "yesterday", "tomorrow", "on Monday", "this week", "last year", "in the morning",
    "weather", "recipe", "coffee", "music", "football", "garden", "train", "letter", "school",
    "at home", "in the city", "by the sea", "from the office", "on the phone",
    "see below", "see attached", "page 2", "chapter 1", "part one", "the end", "to be continued",
    "and so on", "more later", "just a note", "that is all", "12", "2024", "10:30", "5 km",
    "!", "?", "…", "-", "***", ":)", "#note", "https://example.com", "a@example.com",
)  # fmt: skip
"""Lines that change the meaning of few texts."""
Decide = Callable[[Match], tuple[Array, Array, Array]]  # the last one: scores


@dataclass(frozen=True)
class Additions:
    """Lines to put before or after each text."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, given: Any) -> Additions:
        """Lines of a file, the neutral ones, or as they are given, without repetitions."""
        if given == "neutral":
            given = NEUTRAL
        elif isinstance(given, str | os.PathLike):
            given = lines_of_file(Path(given))
        lines = tuple(dict.fromkeys(str(line).strip() for line in given))
        if not 0 < len(lines) <= _MOST or not all(lines):
            raise InputError(
                f"additions has {len(lines)} different lines, or an empty one. Pass 1 to {_MOST}, "
                "each with a text."
            )
        return cls(lines)

    @property
    def n_prepended(self) -> int:
        """Number of the best lines that are tried before each text as well."""
        return min(len(self.lines), PASSES - 1 - 2 * _JOINED - len(self.lines))

    @property
    def n_passes(self) -> int:
        """Passes of the search over the ranking samples."""
        joined = sum(min(_JOINED, max(0, len(self.lines) - n)) for n in (1, 2))
        return 1 + len(self.lines) + self.n_prepended + joined

    def search(self, match: Match, decide: Decide, *, shown: bool) -> tuple[list[Change], Array]:
        """The additions of one, two and three lines that flip most, and the rows that chose them.

        Each further line is the best next to those before it.
        """
        n = len(match.samples)
        rows = np.sort(np.random.default_rng([0, n]).permutation(n)[: min(_RANKED, n // 2)])
        ranking = replace(match, samples=match.samples.take(rows))
        desc = f"{self.n_passes} passes over {len(rows)} texts"
        with progress_bar(shown=shown, desc=desc, total=self.n_passes, unit=" passes") as bar:
            flips = _Flips(ranking, decide, bar.update)
            found = [*self._found(flips)]
        return found, rows

    def measured(self, match: Match, decide: Decide, *, shown: bool) -> tuple[Row, ...]:
        """Flips by the additions that flip most, of the samples that did not choose them."""
        found, chose = self.search(match, decide, shown=shown)
        before, rows = decide(match)[0], list[Row]()
        for change in found:
            copies, at = change.copies(match.samples)
            kept = np.flatnonzero(~np.isin(at, chose))
            if len(kept):
                after = decide(replace(match, samples=copies.take(kept)))[0]
                every = np.ones(len(kept), dtype=bool)
                rows += compare([after == before[at[kept]]], [("change", change.name, every)])
        return tuple(row.with_intervals() for row in rows)

    def _found(self, flips: _Flips) -> Iterator[Change]:
        """The best additions of one line, of two and of three."""
        appended = flips.best_first([_put("append", [line]) for line in self.lines])
        prepended = [_put("prepend", each.lines) for each in appended[: self.n_prepended]]
        ranked = flips.best_first([*appended, *prepended])
        best, kind = ranked[0], ranked[0].kind
        yield best.change
        others = [each.lines[0] for each in ranked if each.kind == kind and each is not best]
        others += [line for line in self.lines if line not in {*others, *best.lines}]
        for _ in range(min(2, len(others))):
            tried = [_put(kind, [*best.lines, line]) for line in others[:_JOINED]]
            best = flips.best_first(tried)[0]
            others.remove(best.lines[-1])
            yield best.change


@dataclass(frozen=True)
class _Addition:
    """Lines at one end of each text."""

    change: Change
    kind: str
    lines: tuple[str, ...]


def _put(kind: str, lines: Sequence[str]) -> _Addition:
    """The addition of these lines."""
    text = " ".join(lines)
    escaped = f"@{text}" if text.startswith("@") else text
    return _Addition(change_named(f"{kind}:{escaped}"), kind, tuple(lines))


class _Flips:
    """How much additions change the predictions of a model on the ranking samples."""

    def __init__(self, match: Match, decide: Decide, told: Callable[[], Any]) -> None:
        self._match, self._decide, self._told = match, decide, told
        self._before, _, self._scores = decide(match)
        self._known = dict[str, tuple[int, float]]()
        told()

    def best_first(self, additions: Sequence[_Addition]) -> list[_Addition]:
        """Additions by the predictions that they flip; of equal ones, by the change of scores."""
        return sorted(additions, key=self._flipped, reverse=True)

    def _flipped(self, addition: _Addition) -> tuple[int, float]:
        name = addition.change.name
        if name not in self._known:
            copies, at = addition.change.copies(self._match.samples)
            self._known[name] = 0, 0.0
            if len(at):
                after, _, scores = self._decide(replace(self._match, samples=copies))
                changed = int(np.count_nonzero(after != self._before[at]))
                self._known[name] = changed, float(np.abs(scores - self._scores[at]).sum())
            self._told()
        return self._known[name]

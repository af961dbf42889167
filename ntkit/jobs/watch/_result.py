"""What a stream tells: alarms, how sure they are, and what would have been noticed by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._html import markdown, offline_page
from ntkit._output import new_file
from ntkit._shown import Bar, InNotebook, NotebookView, ShownTable, frame_of
from ntkit._text import as_json, counted, interval, percent, plain, table
from ntkit._types import Array
from ntkit.jobs.command_line import quoted
from ntkit.jobs.watch._state import Batch, State, Stream
from ntkit.metrics.streams import (
    first_alarms,
    log_evidence,
    log_evidence_above,
    log_evidence_of_change,
    noticed,
    since,
)

PAGE, JSON, MARKDOWN = "watch.html", "watch.json", "watch.md"
_LARGEST = 1e9  # an e-value that is shown
_POINTS = 60  # of a chart
_ALIKE, _HEAVIEST = 0.0, 2.0  # weights: of labels of a random part, and the largest of others
_COLUMNS: dict[str, type] = {"kind": str, "title": str, "limit": str, "samples": int}
_COLUMNS |= {"value": float, "low": float, "high": float, "since": object, "alarm": object}
_COLUMNS |= {"evidence": float, "needed": float, "noticed": float}


@dataclass(frozen=True)
class Watched:
    """One share that is watched, as it stands."""

    stream: Stream
    n: int
    value: float
    interval: tuple[float, float]
    since: int | None  # number of the batch since which it is so, from 1 on
    alarm: int | None  # number of the batch that raised an alarm
    evidence: float
    needed: float
    noticed: float | None
    path: tuple[float | None, ...] = field(repr=False)  # value of each batch, or of several

    @property
    def kind(self) -> str:
        """Kind of the share: accuracy, flips or share."""
        return self.stream.kind

    @property
    def title(self) -> str:
        """What it is a share of."""
        name = self.stream.name
        if self.kind == "accuracy":
            rate = self.stream.limit not in ("accuracy", "max_drop")
            return (
                name if rate else "average accuracy" if name == "average" else f"accuracy of {name}"
            )
        return f"flips by {name}" if self.kind == "flips" else f"share of {name}"

    @property
    def bound(self) -> float:
        """The limit of the value, or the value of the reference less the drop."""
        one = self.stream
        most = one.most if one.reference is None else one.most + one.reference.k / one.reference.n
        return 1 - most if one.turned else most

    @property
    def requirement(self) -> str:
        """The limit in words."""
        one = self.stream
        if one.reference is None:
            return f"at {'least' if one.turned else 'most'} {percent(self.bound)}"
        k, n = one.reference
        if self.kind == "share":
            return f"{percent(k / n)} of {n} reference samples"
        drop = f"{100 * one.most:g} points below {percent(1 - k / n)} of {n} reference samples"
        return f"at most {drop}"

    @property
    def missed(self) -> str:
        """What would have been noticed by now, in words; empty if nothing."""
        if self.noticed is None:
            return ""
        side = "below" if self.stream.turned else "above"
        of, beside = "its limit", self.bound
        if (known := self.stream.reference) is not None:
            of, share = "the reference", known.k / known.n
            beside = 1 - share if self.stream.turned else share
        points = 100 * abs(self.noticed - beside)
        return f"{self.title} {points:.0f} points {side} {of}"


@documented
@dataclass(frozen=True, eq=False, repr=False)
class WatchResult(InNotebook):
    """State of a stream: what :func:`ntkit.watch` returns.

    Attributes
    ----------
    rows : tuple
        What is watched, alarms first. A row has ``kind`` ("accuracy", "flips" or "share"),
        ``title``, ``requirement`` (the limit), ``value`` and ``interval``, ``n`` (their samples),
        ``alarm`` (number of the batch that raised it, from 1 on, or None) and ``since`` (of the
        batch since which the value holds). ``evidence`` is an e-value, and ``needed`` the one that
        raises an alarm. ``noticed`` is the value that would have been noticed by now with a
        probability of 80 %.
    level : float
        Largest probability of any false alarm, for as long as a model is watched.
    n_samples, n_labels : int
        What was counted since the model last changed.
    batches : tuple of str
        Time of each of these batches.
    {notes}
    folder : Path
        Folder of the stream.
    n_models : int
        Number of models that followed each other.
    """

    rows: tuple[Watched, ...]
    level: float
    n_samples: int
    n_labels: int
    batches: tuple[str, ...]
    folder: Path
    notes: tuple[str, ...] = ()
    n_models: int = 1
    passed: Mapping[str, str] = field(default_factory=dict)  # files of this run

    @property
    def alarms(self) -> tuple[Watched, ...]:
        """Rows with an alarm."""
        return tuple(row for row in self.rows if row.alarm is not None)

    @property
    def exit_code(self) -> int:
        """1 with an alarm, else 0."""
        return int(bool(self.alarms))

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON; shares are in [0, 1]."""
        return {
            "outcome": "alarm" if self.alarms else "nothing yet",
            "exit_code": self.exit_code,
            "level": self.level,
            "n_batches": len(self.batches),
            "n_samples": self.n_samples,
            "n_labels": self.n_labels,
            "n_models": self.n_models,
            "rows": [self._facts(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def _facts(self, row: Watched) -> dict[str, Any]:
        """Values of a row for JSON."""
        facts: dict[str, Any] = {"kind": row.kind, "title": row.title, "limit": row.requirement}
        facts |= {"samples": row.n, "value": row.value, "interval": row.interval}
        facts |= {"since": self._at(row.since), "alarm": self._at(row.alarm)}
        facts |= {"evidence": row.evidence, "needed": row.needed, "noticed": row.noticed}
        facts |= {} if row.alarm is None else {"next": self.next_of(row)}
        return dict(plain(facts))

    def _at(self, number: int | None) -> str | None:
        """Time of a batch."""
        return None if number is None else self.batches[number - 1]

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each share that is watched."""
        rows = [
            self._facts(row) | {"low": row.interval[0], "high": row.interval[1]}
            for row in self.rows
        ]
        return frame_of(rows, _COLUMNS)

    def to_json(self) -> str:
        """:meth:`as_dict` as JSON."""
        return as_json(self.as_dict())

    def next_of(self, row: Watched) -> str:
        """The command that goes on after an alarm."""
        model, traffic, data = (
            quoted(self.passed[name]) if name in self.passed else name.upper()
            for name in ("model", "predictions", "inputs")
        )
        if row.kind == "flips":
            change = quoted(row.stream.name)
            sets = "--train TRAIN --validation VALIDATION"
            return f"ntkit debias {model} {sets} --invariant {change} -o repaired/"
        if row.kind == "share":
            return f"ntkit label {model} {data} -o labels/"
        return f"ntkit audit --predictions {traffic} LABELLED -o audit/"

    @property
    def counts(self) -> str:
        """How much was counted, in words."""
        n, since = len(self.batches), " since the model changed" * (self.n_models > 1)
        return (
            f"{n} {'batch' if n == 1 else 'batches'} with {counted(self.n_samples, 'sample')} and "
            f"{counted(self.n_labels, 'label')}{since}"
        )

    def told(self, row: Watched) -> str:
        """A row in a sentence."""
        since = "" if row.since is None else f" since batch {row.since}"
        value = f"{percent(row.value)} {interval(row.interval)}" if row.n else "no sample"
        return f"{row.title}: {value}{since}, {row.requirement}."

    def summary(self) -> str:
        """A few lines: alarms, or what is nearest to one and what would have been noticed."""
        watched = counted(len(self.rows), "share")
        end = f"Page: {self.folder / PAGE}"
        if self.alarms:
            lines = [f"Alarm: {len(self.alarms)} of {watched}, after {self.counts}."]
            lines += [f"  {self.told(row)}" for row in self.alarms[:_TOLD]]
            return "\n".join([*lines, f"Next: {self.next_of(self.alarms[0])}", end])
        lines = [f"Nothing yet: {watched}, {self.counts}."]
        if self.rows[0].n:
            row = self.rows[0]
            lines.append(
                f"Nearest to an alarm, {row.evidence:.2g} of {row.needed:.0f}: {self.told(row)}"
            )
        seen = sorted(filter(None, self.rows), key=_points)
        seen = [row for row in seen if row.noticed is not None]
        if seen:
            ends = dict.fromkeys([seen[0].missed, seen[-1].missed])
            lines.append(f"Would have been noticed by now, with 80 %: {'; '.join(ends)}.")
        elif self.batches:
            lines.append("No change would have been noticed by now: there are too few samples.")
        return "\n".join([*lines, end])

    def _shown(self) -> NotebookView:
        """The summary and a table of all rows."""
        bars = [Bar(row.value, interval=row.interval) if row.n else None for row in self.rows]
        cells = [[*_cells(row)] for row in self.rows]
        return NotebookView(self.summary().splitlines(), [ShownTable([_HEADER, *cells], bars)])

    def __repr__(self) -> str:
        n = len(self.batches)
        batches = f"{n} {'batch' if n == 1 else 'batches'}"
        return f"WatchResult({len(self.alarms)} of {len(self.rows)} alarms; {batches})"


_TOLD = 3  # alarms of a summary
_HEADER = ["", "samples", "value", "limit", "alarm"]


def _points(row: Watched) -> float:
    """How far from its limit a value would have been noticed."""
    return abs((row.noticed or 0) - row.bound)


def _cells(row: Watched) -> tuple[str, ...]:
    """A row of a table."""
    value = f"{percent(row.value)} {interval(row.interval)}" if row.n else "–"
    alarm = "" if row.alarm is None else f"batch {row.alarm}"
    return row.title, str(row.n), value, row.requirement, alarm


def write(result: WatchResult) -> None:
    """Write the page, the Markdown and the JSON of a stream into its folder."""
    cells = [[markdown(cell) for cell in _cells(row)] for row in result.rows]
    lines = [markdown(line) for line in result.summary().splitlines()[:-1]]
    notes = [f"- {markdown(note)}" for note in result.notes]
    text = "\n\n".join([*lines, table([_HEADER, *cells], "<><<<"), "\n".join(notes)])
    page = offline_page(
        "watch",
        title=result.folder.resolve().name,
        told=result.summary().splitlines()[:-1],
        rows=[_of_page(result, row) for row in result.rows],
        level=percent(result.level, 0),
        counts=result.counts,
        batches=result.batches,
        notes=result.notes,
    )
    files = {PAGE: page, MARKDOWN: text.strip() + "\n", JSON: result.to_json() + "\n"}
    for name, content in files.items():
        with new_file(result.folder / name) as file:
            file.write_text(content, encoding="utf-8")


def _of_page(result: WatchResult, row: Watched) -> dict[str, Any]:
    """What the page shows of a row."""
    known = [share for share in row.path if share is not None]
    high = max([*known, row.bound, 0.1]) * 1.1
    low = min([*known, row.bound]) * 0.9 if row.bound > 0.5 else 0.0
    high, step = min(high, 1.0), 100 / max(1, len(row.path))
    at = [(step * (i + 0.5), share) for i, share in enumerate(row.path) if share is not None]
    facts: dict[str, Any] = {"cells": _cells(row), "evidence": f"{row.evidence:.2g}"}
    facts |= {"needed": f"{row.needed:.0f}", "noticed": row.missed}
    facts |= {"next": None if row.alarm is None else result.next_of(row), "since": row.since}
    facts |= {"low": percent(low, 0), "high": percent(high, 0)}
    facts["points"] = [(x, 40 * (high - share) / (high - low)) for x, share in at]
    facts["limit"] = 40 * (high - row.bound) / (high - low)
    n = len(result.batches)
    facts["alarm"] = None if row.alarm is None else 100 * (row.alarm - 0.5) / n
    return facts


# -- judging ---------------------------------------------------------------------------------------


def judged(
    state: State, *, notes: Sequence[str] = (), passed: Mapping[str, str] | None = None
) -> WatchResult:
    """What a stream tells, from the counts of its batches."""
    epoch, streams = state.epoch, state.streams
    k, n, weight = _counted(state)
    log_e = _evidence(streams, k, n, weight)
    parts = np.asarray([stream.part for stream in streams])
    needed = -np.log(parts * state.level)
    alarms = first_alarms(log_e, parts, state.level)
    # Labels of unequal weight count less here, which is on the safe side.
    sure = (n * np.where(weight == _ALIKE, 1, weight / _HEAVIEST)).sum(axis=(1, 2))
    least = _noticed(streams, np.floor(sure), needed)
    facts = zip(needed.tolist(), alarms.tolist(), least.tolist(), strict=True)
    number, times = _numbered(epoch)
    rows = [
        _row(stream, k[i], n[i], weight[i], log_e[i], *each, state.level, number)
        for i, (stream, each) in enumerate(zip(streams, facts, strict=True))
    ]
    rows.sort(key=lambda row: (row.alarm is None, -log(row.evidence) / log(row.needed)))
    return WatchResult(
        rows=tuple(rows),
        level=state.level,
        n_samples=sum(each.n for each in epoch),
        n_labels=sum(len(each.labelled) for each in epoch),
        batches=times,
        folder=state.folder,
        notes=tuple(dict.fromkeys(notes)),
        n_models=state.n_models,
        passed=passed or {},
    )


def _numbered(lines: Sequence[Batch]) -> tuple[Array, tuple[str, ...]]:
    """Number of the batch of each line, from 0 on, and the time of each batch."""
    # Late labels have a line of their own, and are of an earlier batch.
    places, numbers, times = dict[str, int](), list[int](), list[str]()
    for line in lines:
        if line.of not in places:
            places[line.content] = len(times)
            times.append(line.at)
        numbers.append(places.get(line.of, len(times) - 1))
    return np.asarray(numbers, dtype=int), tuple(times)


def _counted(state: State) -> tuple[Array, ...]:
    """What counts, all samples, and their weights, since the model last changed.

    Each is of shape (streams, batches, weights). Of one weight, a label is one of a random part.
    """
    lines = [[_by_weight(batch.counts.get(stream.key, ())) for batch in state.epoch]
             for stream in state.streams]  # fmt: skip
    width = max((len(cell) for line in lines for cell in line), default=1)
    counts = np.zeros((3, len(lines), len(state.epoch), max(1, width)))
    counts[2] = _ALIKE
    for i, line in enumerate(lines):
        for j, cell in enumerate(line):
            if cell:
                counts[:, i, j, : len(cell)] = np.transpose(cell)
    return counts[0], counts[1], counts[2]


def _by_weight(cell: Sequence[Any]) -> list[list[float]]:
    """Counts, samples and weight of each weight; or a sign that they are alike."""
    cells = [cell] if cell and not isinstance(cell[0], list) else cell
    return [[*each, _ALIKE][:3] for each in cells]


def _evidence(streams: Sequence[Stream], k: Array, n: Array, weight: Array) -> Array:
    """Logarithm of the evidence of each stream after each batch."""
    evidence = np.zeros(k.shape[:2])
    most = np.asarray([stream.most for stream in streams])
    known = np.asarray([stream.reference or (0, 0) for stream in streams], float)
    is_share = np.asarray([stream.kind == "share" for stream in streams])
    compared = np.asarray([stream.reference is not None for stream in streams])
    weighted = (weight != _ALIKE).any(axis=(1, 2))
    if not k.shape[1]:
        return evidence
    if (at := compared & is_share).any():
        counts = k[at, :, 0], n[at, :, 0]
        evidence[at] = log_evidence_of_change(*counts, known[at, 0], known[at, 1])
    for heavy in (False, True):
        each = (weighted == heavy) & ~is_share
        for at, against in ((each & ~compared, False), (each & compared, True)):
            if not at.any():
                continue
            counts, options = (k[at, :, 0], n[at, :, 0]), {}
            if heavy:
                counts, options = (k[at], n[at]), _weights(weight[at])
            if against:
                reference = known[at, 0], known[at, 1], most[at]
                evidence[at] = log_evidence_above(*counts, *reference, **options)
            else:
                evidence[at] = log_evidence(*counts, most[at], **options)
    return evidence


def _weights(weight: Array) -> dict[str, Array]:
    """Weights and their bounds; labels of a random part have the weight 1 and no other."""
    alike = weight == _ALIKE
    return {"weights": np.where(alike, 1, weight), "most": np.where(alike, 1, _HEAVIEST)}


def _noticed(streams: Sequence[Stream], n: Array, needed: Array) -> Array:
    """Share that would have been noticed by now, of each stream; NaN if none."""
    shares = np.asarray([_expected(stream) for stream in streams])

    def evidence(k: Array, n: Array) -> Array:
        return _evidence(streams, k[..., None], n[..., None], np.full((*n.shape, 1), _ALIKE))

    return noticed(n, shares, needed, evidence)


def _expected(stream: Stream) -> float:
    """Largest share that may count, if a reference is as it seems."""
    if stream.reference is None:
        return stream.most
    of = stream.reference.k / stream.reference.n
    return min(1.0, of + (0 if stream.kind == "share" else stream.most))


def _row(
    stream: Stream,
    k: Array,
    n: Array,
    weight: Array,
    log_e: Array,
    needed: float,
    alarm: int,
    least: float,
    level: float,
    number: Array,
) -> Watched:
    """A stream as it stands."""
    share, turned, counts, sizes = _expected(stream), stream.turned, k, n
    if stream.kind == "share" and alarm >= 0:
        sides = (k[:, 0], share), (n[:, 0] - k[:, 0], 1 - share)
        above, below = (log_evidence(each, n[:, 0], limit)[-1] for each, limit in sides)
        if below > above:
            counts, share, turned = n - k, 1 - share, True
    if alarm < 0:  # all batches; else since when
        counts, sizes, weight = (each.reshape(1, -1) for each in (counts, sizes, weight))
    told = since(counts, sizes, share, level, **_weights(weight))
    value, bounds = told.value, (told.low, told.high)
    if turned:
        value, bounds = 1 - value, (1 - told.high, 1 - told.low)
    latest = float(log_e.max() if alarm >= 0 else log_e[-1]) if len(log_e) else 0.0
    return Watched(
        stream,
        int(sizes[told.start :].sum()),
        float(value),
        bounds,
        int(number[told.start]) + 1 if alarm >= 0 else None,
        int(number[: alarm + 1].max()) + 1 if alarm >= 0 else None,
        exp(min(latest, log(_LARGEST))),
        exp(needed),
        None if np.isnan(least) else float(1 - least if stream.turned else least),
        tuple(_path(*(_by_batch(each, number) for each in (k, n)), turned=stream.turned)),
    )


def _by_batch(counts: Array, number: Array) -> Array:
    """Counts of each batch, with those of late labels."""
    return np.bincount(number, counts.sum(axis=1)) if len(number) else np.zeros(0)


def _path(k: Array, n: Array, *, turned: bool) -> list[float | None]:
    """The value of each batch, or of several together."""
    parts = np.array_split(np.arange(len(n)), min(_POINTS, max(1, len(n))))
    sums = [(float(k[part].sum()), float(n[part].sum())) for part in parts]
    return [None if not size else 1 - count / size if turned else count / size
            for count, size in sums]  # fmt: skip

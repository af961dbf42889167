"""Watch a deployed model: begin a stream, and add batches of its traffic."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._contents import hashed
from ntkit._disk import StrPath, sha256_of
from ntkit._doc import documented
from ntkit._key import TIMES, Key
from ntkit._output import new_file
from ntkit._text import counted, listed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.jobs.check import ChangeLimits, Limits, limits_of
from ntkit.jobs.tables import TableRoles
from ntkit.jobs.watch._result import WatchResult, judged, write
from ntkit.jobs.watch._state import LIMITS, Batch, State, Stream, alone, begin
from ntkit.jobs.watch._traffic import (
    COMPARING,
    Count,
    Traffic,
    cut_by_reference,
    largest_drop,
    limits_of_row,
    without,
)
from ntkit.metrics import Row
from ntkit.pages.label_page import name_cell
from ntkit.samples.samples import Samples
from ntkit.samples.table import NoRows

QUESTIONS = "ask.csv"
COPIES = 200
"""Samples of a batch that are changed, at most."""


@documented
def watch(
    state: StrPath,
    predictions: StrPath | None = None,
    *,
    start: StrPath | None = None,
    limits: Any = None,
    labels: StrPath | None = None,
    inputs: StrPath | None = None,
    model: Any = None,
    copies: int = COPIES,
    ask: int = 0,
    metadata: Any = None,
    key: str | None = None,
    preprocessing: Any = None,
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool = False,
) -> WatchResult:
    """Watch a deployed model by the predictions of each batch of its traffic.

    Begin a stream with ``start`` and ``limits``. Then pass each batch once, as often as you like:
    all alarms of the stream together are false with a probability of at most ``alpha``, for as long
    as it runs.

    Parameters
    ----------
    state : path-like
        Folder of the stream.
    predictions : path-like, optional
        Table of the predictions of a batch, as :func:`ntkit.check` reads it.
    start : path-like, optional
        Table of predictions on validation samples: the reference of a new stream. With labels,
        it is also the reference of ``max_drop``.
    limits : path-like, mapping or Limits, optional
        What a new stream is held to, as in :func:`ntkit.check`. The shares of its slices are
        compared with the reference. Its ``alpha`` is the level.
    labels : path-like, optional
        Table of the true labels of some samples of the batch: those of ``ask``, or a random part.
    inputs : path-like, optional
        The samples of the predictions, if these do not have them.
    model : FrozenModel or path-like, optional
        The deployed model. Another one begins a new epoch. With ``inputs`` it predicts changed
        copies.
    copies : int, default=200
        Largest number of samples of a batch that are changed.
    ask : int, default=0
        Write about so many samples of the batch to ``ask.csv`` in the folder, to be labelled. Each
        group and slice with a limit has a similar number. Pass the table as ``labels`` with the
        same predictions: the chance of being asked weighs each label.
    metadata, key : optional
        As in :func:`ntkit.audit_model`.
    {job.preprocessing, job.device, verbose}

    Returns
    -------
    WatchResult
        The ``alarms``, the ``exit_code``, and the ``rows`` with all numbers.

    Raises
    ------
    InputError
        If a file cannot be read, or another process writes the folder.

    Notes
    -----
    Each share has an e-process (Waudby-Smith and Ramdas, JRSS B 86, 2024), and each kind of shares
    an equal part of the level. An alarm is raised by closed testing with weighted means of e-values
    (Vovk and Wang, Ann. Stat. 49, 2021). A reference is itself a sample, and its evidence counts.
    """
    reads: Reads | None = None
    if model is not None:
        from ntkit.model.frozen_model import loaded

        model = loaded(model, any_scores=True)
        reads = partial(read_inputs, inputs, preprocessing=preprocessing)
    options = {"device": device, "batch_size": batch_size, "verbose": verbose}
    return watch_read(
        Path(state),
        None if predictions is None else Path(predictions),
        start=None if start is None else Path(start),
        limits=limits,
        labels=labels,
        inputs=None if inputs is None else Path(inputs),
        model=model,
        reads=reads,
        copies=copies,
        ask=ask,
        metadata=metadata,
        roles=TableRoles(key=key),
        options=options,
    )


Reads = Callable[[Any], Samples]
"""Reads the inputs of a model."""


def read_inputs(inputs: Any, model: Any, **options: Any) -> Samples:
    """The inputs of a model, which need no labels."""
    from ntkit.samples.read import read

    return read(inputs, model, labels="optional", **options)


def watch_read(
    folder: Path,
    predictions: Path | None,
    *,
    start: Path | None,
    limits: Any,
    labels: StrPath | None,
    inputs: Path | None,
    model: Any,
    reads: Reads | None,
    copies: int,
    ask: int,
    metadata: Any,
    roles: TableRoles,
    options: Mapping[str, Any],
) -> WatchResult:
    """Like :func:`watch`, for a model that is loaded; ``reads`` reads its inputs."""
    if start is not None:
        if limits is None:
            raise InputError("A stream needs limits. Pass them with --limits FILE (limits=).")
        for name, value in (("predictions", predictions), ("labels", labels)):
            if value is not None:
                raise InputError(
                    f"--{name} ({name}=) is for a stream that has begun. Leave it out."
                )
        whole = limits_of(limits)
        with alone(folder):
            now, notes = _begun(folder, start, inputs, model, whole, roles, metadata)
            return _written(judged(now, notes=notes))
    if limits is not None:
        raise InputError("Limits are for the start of a stream. Leave --limits (limits=) out.")
    if predictions is None:
        for name, given in (("labels", labels), ("inputs", inputs), ("ask", ask or None)):
            if given is not None:
                raise InputError(
                    f"--{name} ({name}=) belongs to predictions. Pass these with --predictions."
                )
        return judged(State.read(folder))
    State.read(folder)  # before a lock makes the folder
    with alone(folder):
        run = _Run(predictions, inputs, labels, model, reads, copies, ask, roles, metadata, options)
        now, notes = run.added_to(State.read(folder))
        files = {
            "predictions": predictions,
            "inputs": inputs,
            "model": getattr(model, "path", None),
        }
        passed = {name: str(path) for name, path in files.items() if path is not None}
        return _written(judged(now, notes=notes, passed=passed))


def _written(result: WatchResult) -> WatchResult:
    """A result, after its page was written."""
    write(result)
    return result


# -- start -----------------------------------------------------------------------------------------


def _begun(
    folder: Path,
    reference: Path,
    inputs: StrPath | None,
    model: Any,
    limits: Limits,
    roles: TableRoles,
    metadata: Any,
) -> tuple[State, list[str]]:
    """The start of a stream, written, and notes."""
    data = None if inputs is None else Path(inputs)
    traffic = Traffic.read(reference, data, roles, limits, metadata=metadata)
    if not len(traffic.predicted):
        raise InputError(f"{reference} holds no predictions. Pass those of validation samples.")
    limits = cut_by_reference(limits, traffic)
    traffic = replace(traffic, limits=limits)
    y = traffic.samples.y
    seen = [traffic.predicted] if y is None else [traffic.predicted, y]
    classes = sorted({*np.concatenate(seen).tolist()})
    streams = [*_streams(traffic, limits, classes)]
    notes = [*traffic.notes, *traffic.slices[2], *_on_unknown(str(reference), traffic, streams)]
    left = _not_watched(limits, streams, str(reference))
    notes += [f"Not watched, so left out of {LIMITS}: {listed(left.values(), 9)}."] * bool(left)
    limits = without(limits, {*left})
    if not streams:
        raise InputError(
            "Nothing is watched. Name slices, changes or accuracies in the limits, or pass the "
            "group column."
        )
    facts = {
        "at": _now(),
        "level": limits.alpha,
        "classes": classes,
        "model": _hash_of(model),
        "folder": str((limits.folder or Path()).resolve()),
        "reference": {
            "file": str(reference),
            "n": len(traffic.predicted),
        },
        "content": traffic.content,
    }
    return begin(folder, limits, streams, facts), notes


def _not_watched(limits: Limits, streams: Sequence[Stream], reference: str) -> dict[str, str]:
    """Limits that are set and that no stream has, each with its reason."""
    why = {
        "max_drop": f"max_drop (needs labels in {reference})",
        "max_flip_rate": "max_flip_rate (needs a change)",
    }
    names, watched = COMPARING | {*why}, {stream.limit for stream in streams}
    parts = limits, limits.groups, *limits.slices.values()
    stated = {name for part in parts for name in part.those_set(names)} - watched
    return {name: why.get(name, f"{name} (compares two models)") for name in sorted(stated)}


def _streams(traffic: Traffic, limits: Limits, classes: Sequence[str]) -> Iterator[Stream]:
    """All shares that are watched, each with its part of the level."""
    shares = _told_once([(name, count) for name, count in traffic.shares(classes) if count.n])
    flips = [(name, limits.of_change(name)) for name in limits.changes]
    accuracies = [*_accuracies(traffic, limits, classes)]
    kinds = sum(map(bool, (shares, flips, accuracies)))
    for stream in accuracies:
        yield replace(stream, part=1 / kinds / len(accuracies))
    for name, limit in flips:
        if limit == ChangeLimits():
            raise InputError(
                f"The change {name!r} has no limit. Set the share of predictions that may flip, "
                "such as max_flip_rate = 5."
            )
        least = limit.min_flip_rate is not None
        bound = ((limit.min_flip_rate if least else limit.max_flip_rate) or 0) / 100
        of_change = "min_flip_rate" if least else "max_flip_rate"
        most, part = 1 - bound if least else bound, 1 / kinds / len(flips)
        yield Stream("flips", name, of_change, part, most)
    for name, count in shares:
        yield Stream("share", name, "share", 1 / kinds / len(shares), 0.0, count)


def _told_once(shares: Sequence[tuple[str, Count]]) -> list[tuple[str, Count]]:
    """The shares without the first of two values, as the second one tells the same."""
    twins = Counter(_origin(name) for name, _ in shares if name != _origin(name))
    return [
        (name, count) for name, count in shares
        if name == _origin(name) or twins.pop(_origin(name), 0) != 2
    ]  # fmt: skip


def _accuracies(traffic: Traffic, limits: Limits, classes: Sequence[str]) -> Iterator[Stream]:
    """Streams of accuracies and rates of labelled samples, without their parts of the level."""
    y = traffic.samples.y
    for row in traffic.rows(traffic.predicted if y is None else y, classes):
        one = [Stream("accuracy", row.title, limit.name, 0, limit.most)
               for limit, _ in limits_of_row(row)]  # fmt: skip
        drop = largest_drop(row, traffic.slices[1])
        if drop is not None and y is not None and row.n:
            wrong = Count(row.n - round(row.right), row.n)
            one.append(Stream("accuracy", row.title, "max_drop", 0, drop, wrong))
        yield from one


# -- batches ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """What a run passes of a batch."""

    predictions: Path
    data: Path | None
    labels: StrPath | None
    model: Any
    reads: Reads | None
    copies: int
    ask: int
    roles: TableRoles
    metadata: Any
    options: Mapping[str, Any]

    def added_to(self, state: State) -> tuple[State, list[str]]:
        """The stream with this batch, written, and notes."""
        given = self.predictions, self.data, self.roles, state.limits, state.classes, self.metadata
        try:
            whole, sha = Traffic.read(*given), _hash_of(self.model)
        except NoRows:
            return state, [f"{self.predictions} has no rows, so it counts nothing."]
        notes, epoch, before = [*whole.notes], state.epoch, state.counted()
        if sha is not None and state.model_now not in (None, sha):
            notes.append("The model has changed, so all streams begin anew.")
            epoch, before = (), set()
        first = next((batch for batch in epoch if batch.content == whole.content), None)
        # The questions on a batch that was counted before are those of the first time.
        asked, marks = self.ask if first is None else first.asked, list[bytes]()
        drawn = _Drawn(whole, asked, state.begun["content"])
        batch = Batch(_now(), whole.content, 0, str(self.predictions), model=sha)
        if first is None:
            batch, marks, more = self._counted(batch, whole, state, before)
        else:
            more = [f"{self.predictions} was counted before, so it counts no more."]
        notes += more
        if self.labels is not None:
            done = {mark for each in epoch for mark in each.labelled}
            of_asked = drawn if first is not None and asked else None
            counts, labelled, more = _labelled(
                whole, state, self.labels, self.roles, done, of_asked
            )
            batch = replace(batch, counts={**batch.counts, **counts}, labelled=tuple(labelled))
            notes += more
        if self.ask:
            if asked != self.ask:
                raise InputError(
                    f"{self.predictions} was counted before, and asked about {asked} samples. Ask "
                    "about samples when a batch is new."
                )
            notes.append(_write_questions(state.folder, drawn))
        if first is None:
            return state.with_batch(batch, marks), notes
        if not batch.labelled:
            return state, notes
        return state.with_batch(batch.late(), marks), notes

    def _counted(
        self, batch: Batch, whole: Traffic, state: State, before: set[bytes]
    ) -> tuple[Batch, list[bytes], list[str]]:
        """A new batch with its shares and flips, the digests of its samples, and notes."""
        fresh, where = _fresh(whole, before), str(self.predictions)
        left_out, notes = len(whole.predicted) - len(fresh), _on_counted(where, whole, len(fresh))
        batch = replace(batch, n=len(fresh), left_out=left_out, asked=self.ask)
        if not len(fresh):
            return batch, [], notes
        part = whole.take(fresh) if left_out else whole
        shares = {f"share|{name}": [*count] for name, count in _shares(part, state)}
        flips, more = self._flips(part, state)
        notes += [*part.slices[2], *_on_unknown(where, part, state.streams), *more]
        marks = [*part.marks] if whole.told_apart else []
        return replace(batch, counts=shares | flips), marks, notes

    def _flips(self, part: Traffic, state: State) -> tuple[dict[str, list[Any]], list[str]]:
        """Counts of the copies that flip, for each change that is watched, and notes."""
        changes = {stream.name: stream.limit for stream in state.streams if stream.kind == "flips"}
        if self.data is None or self.reads is None or not changes:
            return {}, []
        limits = Limits(changes={name: state.limits.of_change(name) for name in changes})
        limits = replace(limits, folder=state.limits.folder)
        samples = self.reads(self.model)
        rows, notes = part.flips(self.model, samples, limits, self.copies, **self.options)
        counts = dict[str, list[Any]]()
        for row in rows:
            flipped = row.n - round(row.right)
            against = flipped if changes[row.name] == "max_flip_rate" else row.n - flipped
            if row.n:
                counts[f"{changes[row.name]}|{row.name}"] = [against, row.n]
        return counts, notes


def _on_counted(where: str, traffic: Traffic, n: int) -> list[str]:
    """Sentences on samples that were counted before, and on rows that cannot be told apart."""
    notes, whole = list[str](), len(traffic.predicted)
    if n < whole:
        notes.append(f"{where}: left out {whole - n} of {whole} samples, counted before.")
    if not traffic.told_apart:
        notes.append(
            f"{where} has equal rows without names, so only whole batches are told apart. Add a "
            "column id."
        )
    return notes


def _fresh(traffic: Traffic, before: set[bytes]) -> Array:
    """Rows of the samples that were not counted before."""
    if not traffic.told_apart:
        return np.arange(len(traffic.predicted))
    return np.asarray([i for i, mark in enumerate(traffic.marks) if mark not in before], dtype=int)


def _shares(traffic: Traffic, state: State) -> Iterator[tuple[str, Count]]:
    """The counts of each watched share; of a value that no sample has, none of all known."""
    found = dict(traffic.shares(state.classes)) if len(traffic.predicted) else {}
    known = defaultdict[str, int](int)
    for name, count in found.items():
        known[_column(name)] = max(known[_column(name)], count.n)
    for stream in state.streams:
        if stream.kind == "share":
            count = found.get(stream.name, Count(0, known[_column(stream.name)]))
            if count.n:
                yield stream.name, count


def _on_unknown(where: str, traffic: Traffic, streams: Sequence[Stream]) -> list[str]:
    """Sentences on the samples of which no group, or no value of a slice, is known."""
    n, notes = len(traffic.predicted), list[str]()
    if traffic.samples.groups is None and any(each.name.startswith("group ") for each in streams):
        notes.append(f"{where} has no groups, so it counts in none. Name them: --group-column.")
    slices, groups = traffic.slices[0], traffic.groups
    known = dict.fromkeys((_of_value(name) for name in [*traffic.limits.slices, *slices]), 0)
    for title, values in slices.items():
        known[_of_value(title)] = max(known[_of_value(title)], int((values >= 0).sum()))
    told = {f"the value of {name}": some for name, some in known.items()}
    told |= {"the group": int((groups != "").sum())} if len(groups) else {}
    return notes + [
        f"{where}: {what} is not known for {n - some} of {n} samples, so these count in no share "
        "of it."
        for what, some in told.items()
        if some < n
    ]


def _of_value(title: str) -> str:
    """The attribute of a slice, or of a slice of one class."""
    return _origin(title.split(TIMES)[-1])


def _column(name: str) -> str:
    """The attribute, or the groups, that a share is of a value of; itself for another share."""
    return "group" if name.startswith("group ") else _origin(name)


def _origin(name: str) -> str:
    """The attribute that a share is of a value of; itself for another share."""
    if " in " in name or name.startswith(("predicted ", "group ")):
        return name
    return Key.of(name).origin


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The samples of a batch that are asked about."""

    traffic: Traffic
    n: int
    seed: str

    @cached_property
    def rows(self) -> Array:
        """Rows of the samples, in an order by chance."""
        if not self.traffic.told_apart:
            raise InputError("Questions need names of the samples. Add a column id.")
        chance = self.chances[0]
        dice = [hashed(self.seed.encode(), mark) for mark in self.traffic.marks]
        thrown = np.asarray([int.from_bytes(each[:8]) / 2**64 for each in dice])
        asked = np.flatnonzero(thrown < chance)
        return asked[np.argsort(thrown[asked] / chance[asked])]

    @cached_property
    def chances(self) -> tuple[Array, Array]:
        """Chance of each sample, and its part of the batch."""
        return self.traffic.chances(self.n)

    def weights_of(self, row: Row, part: int) -> float | None:
        """Weight of the labels of a part of the batch in a row; None if all its samples are of one.

        It is the average chance over that of the part, at most 2.
        """
        chance, parts = self.chances
        inside = self.traffic.members(row)
        if inside is not None and len({*parts[inside].tolist()}) <= 1:
            return None
        return min(1.0, self.n / len(chance)) / float(chance[parts == part][0])


def _write_questions(folder: Path, drawn: _Drawn) -> str:
    """Write the table of samples to label, and say so."""
    names = drawn.traffic.samples.names
    key = drawn.traffic.samples.named_by
    lines = [[name_cell(names[row]), name_cell(str(drawn.traffic.predicted[row])), ""]
             for row in drawn.rows.tolist()]  # fmt: skip
    header = ["file_name" if key == "file_name" else "id", "prediction", "label"]
    with new_file(folder / QUESTIONS) as file:
        file.write_text("\n".join(map(",".join, [header, *lines])) + "\n", encoding="utf-8")
    n = counted(len(lines), "sample")
    return f"{n} to label: fill in {folder / QUESTIONS}, and pass it with --labels."


def _labelled(
    traffic: Traffic,
    state: State,
    labels: StrPath,
    roles: TableRoles,
    known: set[str],
    drawn: _Drawn | None,
) -> tuple[dict[str, list[Any]], list[str], list[str]]:
    """Counts of labelled samples, the digests of those, and notes."""
    of_accuracy = {s.key for s in state.streams if s.kind == "accuracy"}
    if not of_accuracy:
        raise InputError(
            "The limits of this stream name no accuracy, so labels tell nothing. Begin another "
            "stream with worst_class, min_recall or slices with an accuracy."
        )
    values, note = traffic.labels(labels, roles, state.classes)
    marks, notes = _label_marks(traffic), [note] * bool(note)
    some = [i for i, value in enumerate(values) if value is not None]
    rows = [i for i in some if marks[i] not in known]
    if len(rows) < len(some):
        n = len(some) - len(rows)
        notes.append(f"{labels}: left out {n} of {counted(len(some), 'label')}, counted before.")
    if drawn is not None:
        asked = {*drawn.rows.tolist()}
        if n := sum(row not in asked for row in rows):
            notes.append(
                f"{labels}: left out {counted(n, 'label')} of samples that nobody asked for."
            )
        rows = [row for row in rows if row in asked]
    parts = np.zeros(len(values), int) if drawn is None else drawn.chances[1]
    counts = defaultdict[str, list[Any]](list)
    for part in np.unique(parts[rows]).tolist() if rows else ():
        at = np.asarray([row for row in rows if parts[row] == part])
        for row in traffic.take(at).rows(np.asarray(values[at].tolist()), state.classes):
            weight = None if drawn is None else drawn.weights_of(row, part)
            of_row = {f"{limit.name}|{row.title}": count for limit, count in limits_of_row(row)}
            of_row[f"max_drop|{row.title}"] = Count(row.n - round(row.right), row.n)
            for key, count in of_row.items():
                if key in of_accuracy and count.n:
                    counts[key] += [[*count]] if weight is None else [[*count, round(weight, 6)]]
    return dict(counts), [marks[row] for row in rows], notes


def _label_marks(traffic: Traffic) -> list[str]:
    """A digest of each sample, by which its label counts once."""
    if traffic.told_apart:
        return [mark.hex() for mark in traffic.marks]
    content, seen = traffic.content, defaultdict[bytes, int](int)
    marks = list[str]()
    for mark in traffic.marks:  # equal rows of one batch are told apart by their number
        seen[mark] += 1
        marks.append(hashed(content.encode(), mark, str(seen[mark]).encode()).hex()[:16])
    return marks


def _hash_of(model: Any) -> str | None:
    """SHA-256 of a model; None without one."""
    if model is None:
        return None
    if hasattr(model, "sha256"):
        return str(model.sha256())
    path = Path(model)
    if not path.is_file():
        raise InputError(f"{path} is not a model. Name an ONNX file.")
    return sha256_of(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

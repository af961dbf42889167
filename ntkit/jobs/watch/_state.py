"""The folder of a stream: its start, a line for each batch, and which samples were counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from ntkit._contents import hashed
from ntkit._disk import alone_in, read_bytes, read_json, saying_what_failed
from ntkit._output import new_file
from ntkit._text import as_json
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.jobs.check import Limits, limits_of, toml_of
from ntkit.jobs.watch._traffic import LEAST, Count, Kind

START, LIMITS, BATCHES, COUNTED = "start.json", "limits.toml", "batches.jsonl", "counted"
_VERSION = 1
_LARGEST = 64 << 20  # bytes of a file
_MOST = 5 << 20  # bytes of the digests of counted samples
_MARK = 8


@dataclass(frozen=True)
class Stream:
    """One share that is watched."""

    kind: Kind
    name: str
    limit: str  # its name in a file of limits; "share" of a share of the reference
    part: float  # of the level
    most: float  # largest share that may count; with a reference, how much more than there
    reference: Count | None = None

    @property
    def turned(self) -> bool:
        """Whether what counts is shown as what does not."""
        return self.limit in (*LEAST, "max_drop")

    @property
    def key(self) -> str:
        """Its name in the counts of a batch."""
        return f"{self.limit}|{self.name}"


@dataclass(frozen=True)
class Batch:
    """One line: what a batch counts."""

    at: str
    content: str
    n: int
    file: str = ""
    left_out: int = 0
    model: str | None = None
    counts: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # [k, n], or with weights
    asked: int = 0  # samples to label
    of: str = ""  # content of the batch that late labels are of
    labelled: tuple[str, ...] = ()  # samples whose label was counted
    after: str = ""  # digest of the line before

    def late(self) -> Batch:
        """Labels that come after their batch, as a line of their own."""
        content = hashed(self.content.encode(), *map(str.encode, sorted(self.labelled))).hex()
        return replace(self, content=content, of=self.content)

    def line(self) -> str:
        """The batch as a line of JSON."""
        values = {n: value for n, value in vars(self).items() if value not in (None, (), 0, "")}
        values["after"] = self.after
        values["n"] = self.n
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class State:
    """A stream as its folder holds it."""

    folder: Path
    level: float
    classes: tuple[str, ...]
    streams: tuple[Stream, ...]
    model: str | None
    started: str
    begun: Mapping[str, Any]
    batches: tuple[Batch, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> State:
        """Read a folder; an error if somebody changed what was counted."""
        wanted = "the folder of a stream, which ntkit watch --start writes"
        if not (folder / START).is_file():
            raise InputError(
                f"{folder} holds no stream. Begin one: ntkit watch {folder} --start REFERENCE "
                "--limits FILE."
            )
        start = read_json(folder / START, largest=_LARGEST, wanted=wanted)
        damaged = InputError(f"{folder / START} is damaged. Take a copy, or begin another stream.")
        try:
            if (start["ntkit"], start["version"]) != ("watch", _VERSION):
                raise damaged
            streams = tuple(
                Stream(**each | {"reference": each["reference"] and Count(*each["reference"])})
                for each in start["streams"]
            )
            whole = cls(
                folder, start["level"], tuple(start["classes"]), streams, start["model"],
                start["at"], start,
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise damaged from error
        return replace(whole, batches=tuple(whole._lines()))

    def _lines(self) -> Iterator[Batch]:
        path, after = self.folder / BATCHES, ""
        content = b""
        if path.exists():
            content = read_bytes(path, largest=_LARGEST, wanted="the folder of a stream")
        for number, line in enumerate(content.splitlines(), 1):
            try:
                values = json.loads(line)
                values["labelled"] = tuple(values.get("labelled", ()))
                batch = Batch(**{"n": 0, **values})
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number} is damaged. {_COPY}") from error
            if batch.after != after:
                raise InputError(
                    f"{path}, line {number} does not follow line {number - 1}. {_COPY}"
                )
            yield batch
            after = hashed(line).hex()

    @cached_property
    def limits(self) -> Limits:
        """The limits of the stream, as they were when it began."""
        path = self.folder / LIMITS
        if hashed(path.read_bytes() if path.is_file() else b"").hex() != self.begun["limits"]:
            raise InputError(
                f"{path} was changed, and the level holds for the limits at the start. Begin "
                "another stream in another folder."
            )
        return replace(limits_of(path), folder=Path(self.begun["folder"]))

    @property
    def epoch(self) -> tuple[Batch, ...]:
        """The batches since the model last changed."""
        model, first = self.model, 0
        for i, batch in enumerate(self.batches):
            if batch.model is not None and batch.model != model:
                first = i if model is not None else first
                model = batch.model
        return self.batches[first:]

    @property
    def model_now(self) -> str | None:
        """SHA-256 of the latest model; None if no run named one."""
        named = [batch.model for batch in self.batches if batch.model is not None]
        return named[-1] if named else self.model

    @property
    def n_models(self) -> int:
        """Number of models that followed each other."""
        named = [self.model, *(batch.model for batch in self.batches)]
        known = [each for each in named if each is not None]
        return 1 + sum(one != other for one, other in pairwise(known))

    def counted(self) -> set[bytes]:
        """Digests of the samples of the latest batches."""
        marks = set[bytes]()
        for batch in self.batches:
            path = self.folder / COUNTED / f"{batch.content}.bin"
            if path.is_file():
                content = path.read_bytes()
                marks.update(content[i : i + _MARK] for i in range(0, len(content), _MARK))
        return marks

    def with_batch(self, batch: Batch, marks: Sequence[bytes]) -> State:
        """Add a batch: first the digests of its samples, and then its line, which counts."""
        path = self.folder / BATCHES
        with saying_what_failed(path):
            before = path.read_bytes() if path.exists() else b""
            lines = before.splitlines()
            batch = replace(batch, after=hashed(lines[-1]).hex() if lines else "")
            if marks:
                (self.folder / COUNTED).mkdir(exist_ok=True)
                with new_file(self.folder / COUNTED / f"{batch.content}.bin") as file:
                    file.write_bytes(b"".join(marks))
            with new_file(path) as file:
                file.write_bytes(before + batch.line().encode() + b"\n")
            self._drop_oldest()
        return replace(self, batches=(*self.batches, batch))

    def _drop_oldest(self) -> None:
        """Remove digests of old samples, so that the folder stays small."""
        kept = 0
        for batch in reversed(self.batches):
            path = self.folder / COUNTED / f"{batch.content}.bin"
            if path.is_file():
                kept += path.stat().st_size
                if kept > _MOST:
                    path.unlink()


_COPY = "Take a copy of the folder, or begin another stream."


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process write the folder."""
    with saying_what_failed(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        yield


def begin(
    folder: Path,
    limits: Limits,
    streams: Sequence[Stream],
    facts: Mapping[str, Any],
) -> State:
    """Write the start of a stream; the last file that is written makes it one."""
    if (folder / START).exists():
        raise InputError(f"{folder} holds a stream already. Begin another one in another folder.")
    others = sorted(each.name for each in folder.iterdir() if not each.name.startswith(".ntkit-"))
    if {*others} - {LIMITS}:
        raise InputError(f"{folder} is not empty ({others[0]}). Name a new folder.")
    text = toml_of(limits, ["What ntkit watch holds this stream to. A change ends it."])
    content: dict[str, Any] = {
        "ntkit": "watch",
        "version": _VERSION,
        "by": __version__,
        "limits": hashed(text.encode()).hex(),
        "streams": [vars(stream) for stream in streams],
        **facts,
    }
    with saying_what_failed(folder):
        with new_file(folder / LIMITS) as file:
            file.write_bytes(text.encode())
        with new_file(folder / START) as file:
            file.write_text(as_json(content), encoding="utf-8")
    return State.read(folder)

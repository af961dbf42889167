"""The folder of a question: its page, its tables to fill in, the answers so far.

Files of others stay, and so does what a person filled in: tables get a new name for each batch, the
page is replaced only as ntkit wrote it, and every file is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ntkit._disk import (
    TEMPORARY,
    StrPath,
    alone_in,
    check_place,
    check_writable,
    saying_what_failed,
)
from ntkit._output import new_file, refuse_folder_of_inputs
from ntkit.exceptions import InputError
from ntkit.questions._entries import Entry
from ntkit.questions._files import read_filled_in
from ntkit.questions._labels import KIND, Labels, json_of, labels_of
from ntkit.questions._taken import TakenAnswers
from ntkit.samples import TABLES

__all__ = ["ANSWERS", "PAGE", "LabelFolder"]

ANSWERS, PAGE = "answers.json", "label.html"


@dataclass
class LabelFolder:
    """A folder in which one question is asked, batch by batch.

    Attributes
    ----------
    path : pathlib.Path
        Where.
    labels : Labels or None
        Answers so far; None where nothing was asked yet.
    batch : int
        Number of the last batch.
    looked_at : list of int
        How many samples had been looked at after each run that brought new answers: so many of the
        first answers were known then.
    read : dict of str to str
        Digests of the files that were read, by name.
    written : dict of str to list of str
        Digests of what ntkit wrote there, by name.
    """

    path: Path
    labels: Labels | None = None
    batch: int = 0
    looked_at: list[int] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)
    written: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, path: StrPath, inputs: Iterable[StrPath | None]) -> LabelFolder:
        """Open a folder, or say where a new one will be; nothing is written yet.

        Raises
        ------
        InputError
            If it holds something else, or cannot be written.
        """
        folder = Path(path)
        with saying_what_failed(folder):
            refuse_folder_of_inputs(folder, inputs)
            if not os.path.lexists(folder):
                check_place(folder, Path(os.path.abspath(folder)), 0)
                return cls(folder)
            if not folder.is_dir():
                raise InputError(f"{folder} is a file, not a folder; choose another name.")
            check_writable(folder)
            names = sorted(file.name for file in folder.iterdir())
            found = next((name for name in names if not name.startswith(TEMPORARY)), None)
        if found is None:
            return cls(folder)
        if not (folder / ANSWERS).exists():
            raise InputError(
                f"{folder} holds {found} and no {ANSWERS}, so no question was asked there; choose "
                "another name."
            )
        content = json_of(folder / ANSWERS)
        if isinstance(content, dict) and content.get("ntkit") not in (KIND, None):
            raise InputError(
                f"{folder / ANSWERS} is of an audit, and no question was asked in {folder}; choose "
                "another name."
            )
        return cls(folder, labels_of(folder / ANSWERS, content), **_state(content))

    @classmethod
    @contextmanager
    def alone(cls, path: StrPath, inputs: Iterable[StrPath | None]) -> Iterator[LabelFolder]:
        """Open a folder that no other run may write meanwhile: each would undo the other's.

        Raises
        ------
        InputError
            As :meth:`of`, and if another run has it.
        """
        inputs = [*inputs]
        cls.of(path, inputs)  # refused before anything is written
        with alone_in(path):
            yield cls.of(path, inputs)

    def check_page(self) -> None:
        """Refuse to replace a page that somebody changed."""
        if self._changed(PAGE):
            raise InputError(
                f"{self.path / PAGE} was changed since ntkit wrote it; move it away first."
            )

    def answer_files(self) -> list[Path]:
        """Tables in the folder that may hold answers nobody read yet, the oldest first."""
        with saying_what_failed(self.path):
            found = [
                file
                for file in (self.path.iterdir() if self.path.is_dir() else ())
                if file.suffix.lower() in TABLES
                and file.name.lower().startswith(("labels", "questions"))
                and file.is_file()
                and digest_of(file.read_bytes()) != self.read.get(file.name)
                and not self._as_written(file)
            ]
            return sorted(found, key=lambda file: (file.stat().st_mtime_ns, file.name))

    def take(self, asked: Labels, files: Sequence[StrPath], taken: TakenAnswers) -> Labels:
        """Add what files say to the answers kept; the later one counts where two differ.

        Raises
        ------
        InputError
            If one is no table of answers to this question, or JSON of them, or of other samples.
        """
        for given in files:
            file, left_out = Path(given), tuple[Entry, ...]()
            if file.suffix.lower() == ".json":
                labels = labels_of(file, json_of(file))
                _check_question(labels, asked, file)
                entries, left_out = labels.entries, labels.left_out
            else:
                entries = read_filled_in(file, question=asked.question)
            taken.take(file, _spelt(asked, entries, file), _spelt(asked, left_out, file))
            if file.parent.resolve() == self.path.resolve():
                self.read[file.name] = digest_of(file.read_bytes())
        return taken.labels(asked)

    def take_kept(self, asked: Labels, taken: TakenAnswers) -> Labels:
        """The answers that the folder keeps, on the samples that have their contents now."""
        rows = taken.take(self.path / ANSWERS, asked.entries, asked.left_out)
        first = [len({*rows[:n]} - {None}) for n in self.looked_at]
        self.looked_at = sorted({*first} - {0})
        return taken.labels(asked)

    def write(self, labels: Labels, batch: int, files: Mapping[str, bytes]) -> None:
        """Write the answers, then other files; of these, what somebody changed stays."""
        if len(labels.answers) > (self.looked_at or [0])[-1]:
            self.looked_at = [*self.looked_at, len(labels.answers)]
        with saying_what_failed(self.path):
            self.path.mkdir(exist_ok=True)
        kept = {name: content for name, content in files.items() if not self._changed(name)}
        for name, content in kept.items():
            last, now = self.written.get(name, []), digest_of(content)
            self.written[name] = last if now in last[-1:] else [*last[-1:], now]
        state = {"batch": batch, "looked_at": self.looked_at}
        state |= {"read": self.read, "written": self.written}
        text = json.dumps(labels.as_dict() | state, indent=1, ensure_ascii=False)
        # First: were the rest lost, it would be made again of them.
        for name, content in {ANSWERS: text.encode(), **kept}.items():
            with new_file(self.path / name) as unfinished:
                unfinished.write_bytes(content)
        self.labels, self.batch = labels, batch

    def _changed(self, name: str) -> bool:
        file = self.path / name
        return os.path.lexists(file) and not self._as_written(file)

    def _as_written(self, file: Path) -> bool:
        with saying_what_failed(file):
            own = self.written.get(file.name, ())
            return file.is_file() and digest_of(file.read_bytes()) in own


def digest_of(content: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _check_question(labels: Labels, asked: Labels, file: Path) -> None:
    """Refuse answers to another question."""
    if labels.question != asked.question:
        raise InputError(
            f"{file} has answers to {labels.question!r:.80}, and the question is "
            f"{asked.question!r:.80}."
        )


def _spelt(asked: Labels, entries: Sequence[Entry], file: Path) -> list[Entry]:
    """Answers as the question spells its values."""
    spelling = {value.casefold(): value for value in asked.values}
    strange = next((e for e in entries if e.answer and e.answer.casefold() not in spelling), None)
    if strange is not None:
        raise InputError(
            f"{file} answers {strange.answer!r:.40} of {strange.name!r:.60}, and the question "
            f"takes {', '.join(asked.values)}, or ? where nobody can tell."
        )
    return [e._replace(answer=e.answer and spelling[e.answer.casefold()]) for e in entries]


def _state(content: Any) -> dict[str, Any]:
    """What the folder knows of its files; nothing where that is not as it should be."""
    batch, read, written = (content.get(name) for name in ("batch", "read", "written"))
    looked_at = content.get("looked_at")
    counted = isinstance(looked_at, list) and all(type(n) is int and n > 0 for n in looked_at)
    good = isinstance(read, dict) and isinstance(written, dict)
    good = good and all(isinstance(digests, list) for digests in written.values())
    return {
        "batch": batch if isinstance(batch, int) and not isinstance(batch, bool) else 1,
        "looked_at": looked_at if counted else [],
        "read": read if good else {},
        "written": written if good else {},
    }

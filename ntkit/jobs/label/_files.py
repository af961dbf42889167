"""The folder of a question: the tables that a person fills in, and the labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ntkit._disk import (
    TEMPORARY,
    StrPath,
    alone_in,
    check_place,
    check_writable,
    saying_what_failed,
    sha256_of,
)
from ntkit._join import NameIndex, samples_named
from ntkit._labels import listed, meant_instead, plain_label, spelling, spreadsheet
from ntkit._output import new_file, refuse_folder_of_inputs
from ntkit._text import counted
from ntkit.attributes.answers import (
    Answers,
    Entry,
    Labels,
    answers_in,
    contents_here,
    contradiction,
    entries_of_table,
    json_of,
    note_on_names,
    read_labels,
    written,
)
from ntkit.exceptions import InputError
from ntkit.jobs.command_line import settings_files
from ntkit.jobs.label_tables import key_in, nameless
from ntkit.samples.copies import Identified
from ntkit.samples.join import KEYS
from ntkit.samples.table import TABLES, read_table

ID = "id"


def questions_table(
    rows: Iterable[int],
    columns: Mapping[str, Sequence[Any]],
    question: str,
    answers: Mapping[int, str] = MappingProxyType({}),
) -> bytes:
    """A CSV table with a row per sample to label, and a column for the labels, empty at first."""
    if question in columns:
        raise InputError(f"{question!r} is already a column. Choose another name for the question.")
    table = [
        [*columns, question],
        *([*(str(v[i]) for v in columns.values()), answers.get(i, "")] for i in rows),
    ]
    return spreadsheet(table).encode()


def read_filled_in(path: Path, question: str) -> list[Entry]:
    """Read the rows of a table with a person's labels."""
    # The table may come from a spreadsheet: with semicolons or tabs between cells, a byte-order
    # mark, other line ends, more columns, or another order.
    if path.suffix.lower() not in TABLES:
        raise InputError(
            f"{path} is not a table. Labels can be in files of these types: {', '.join(TABLES)}."
        )
    table = read_table(path, None, expected=[*KEYS, question])
    key = key_in(table.columns) or ID
    for column in (key, question):
        if column not in table.columns:
            raise InputError(
                f"{path} has no column {column!r}. Its columns are "
                f"{listed(list(table.columns), 20, near=column)}."
            )
    return entries_of_table(table.columns, key, question, table.at)


class TakenAnswers:
    """Labels by sample, matched by content if a file has it, else by name."""

    def __init__(
        self, names: Sequence[str], known: Identified, match_names: bool, *, by_row: bool
    ) -> None:
        self.names, self.known, self.match_names = names, known, match_names
        self.digests = known.digests
        self.by_row = by_row  # the samples have no names, so ntkit numbers them from 0 on
        self.notes = list[str]()
        self._by_name = NameIndex(names)
        self._rows_of = dict[str, list[int]]()
        for row, digest in enumerate(self.digests):
            self._rows_of.setdefault(digest, []).append(row)
        self._entries = dict[int | str, Entry]()  # by row, or by a content that no sample has

    def take(
        self,
        where: StrPath,
        entries: Sequence[Entry],
        left_out: Sequence[Entry] = (),
        *,
        from_elsewhere: bool = False,
    ) -> list[int | None]:
        """Add the labels of a file; they replace earlier ones."""
        everything = [
            e._replace(at=e.at or str(where), content=self.known.meant(e.content, e.name))
            for e in (*entries, *left_out)
        ]
        here, note = contents_here(
            where, everything, self._rows_of.keys(), match_names=self.match_names
        )
        places = self._places(where, everything, here, len(entries) if note else 0)
        in_file = dict[int | str, Entry]()
        for place, entry in zip(places, everything, strict=True):
            before = in_file.setdefault(place, entry)
            if None not in (before.answer, entry.answer) and before.answer != entry.answer:
                raise contradiction(before, entry)
            if before.answer is None:
                in_file[place] = entry
        self._add(where, in_file)
        rows = [place if isinstance(place, int) else None for place in places]
        self.notes += [note] if note else self._notes_on_left(where, everything, rows)
        by_name = note or any(entry.content is None for entry in everything)
        if by_name and self.by_row and from_elsewhere and not self.match_names:
            raise nameless(where, ID, ", or --match-names if the names are rows, from 0 on")
        if not self.by_row:
            on_names = note_on_names(where, everything, self.names, self.digests)
            self.notes += [on_names] * bool(on_names)
        elif by_name:
            self.notes.append(f"{where}: the names of these samples are their rows, from 0 on.")
        return rows

    def _add(self, where: StrPath, in_file: Mapping[int | str, Entry]) -> None:
        """Add the labels of a file by place, with notes on those that replace others."""
        replaced = [self._replaces(place, entry) for place, entry in in_file.items()]
        if n := sum(replaced):
            self.notes.append(
                f"{where}: {counted(n, 'label')} {'replaces' if n == 1 else 'replace'} another one "
                "that was given before."
            )
        known = {place: each.name for place, each in self._entries.items() if each.answer}
        taken_back = [known[p] for p, e in in_file.items() if e.answer is None and p in known]
        if n := len(taken_back):
            self.notes.append(
                f"{where}: ? takes back {counted(n, 'label')} that {'was' if n == 1 else 'were'} "
                f"given before: {listed(taken_back)}."
            )
        self._entries |= in_file

    def labels(self, asked: Labels) -> Labels:
        """All labels so far, for a question."""
        entries = {row: entry for row, entry in self._entries.items() if isinstance(row, int)}
        of_content = dict[str, int]()
        for row, entry in entries.items():
            first = of_content.setdefault(self.digests[row], row) if entry.answer else row
            if entries[first].answer != entry.answer:
                raise InputError(
                    f"{self.names[first]!r:.60} has the label {entries[first].answer!r} and "
                    f"{self.names[row]!r:.60} the label {entry.answer!r}, but both have the same "
                    "content. Give both the same label."
                )
        return Labels(
            asked.question,
            asked.values,
            {self.names[row]: entry.answer for row, entry in entries.items()},
            {self.names[row]: self.digests[row] for row in entries},
            tuple(entry for place, entry in self._entries.items() if isinstance(place, str)),
        )

    def _places(
        self, where: StrPath, entries: Sequence[Entry], here: set[str], n_by_name: int
    ) -> list[int | str]:
        """Row of each label, or its content; a sample with the same name keeps its label."""
        unchanged = [
            rows[0] if len(rows) == 1 and self.digests[rows[0]] == entry.content else -1
            for rows, entry in ((self._by_name.rows(entry.name), entry) for entry in entries)
        ]
        by_name = [
            entry
            for i, entry in enumerate(entries)
            if entry.content not in here and (entry.content is None or i < n_by_name)
        ]
        named = iter(self._rows_named(where, by_name))
        taken, places = {*unchanged}, list[int | str]()
        for i, (entry, row) in enumerate(zip(entries, unchanged, strict=True)):
            if entry.content in here:
                rows = self._rows_of[entry.content]
                free = (r for r in rows if r not in taken)
                row = row if row >= 0 else next(free, rows[0])
                taken.add(row)
                places.append(row)
            elif entry.content is None or i < n_by_name:
                places.append(next(named))
            else:
                places.append(entry.content)
        return places

    def _rows_named(self, where: StrPath, entries: Sequence[Entry]) -> list[int]:
        """Rows of labelled samples, by their names."""
        written = [entry.name for entry in entries]
        rows = samples_named(written, self.names, str(where), ID, "Name each sample by its path")
        lost = next((e for row, e in zip(rows, entries, strict=True) if row < 0), None)
        if lost is None:
            return [int(row) for row in rows]
        near = meant_instead(lost.name, self.names) if len(self.names) < 10_000 else None
        hint = f" (did you mean {near}?)" if near else ""
        raise InputError(f"{lost.at}: no sample has the name {lost.name!r:.60}{hint}.")

    def _replaces(self, place: int | str, entry: Entry) -> bool:
        """Whether a file labels a sample differently; raises an error under another name."""
        before = self._entries.get(place)
        if before is None or None in (before.answer, entry.answer) or before.answer == entry.answer:
            return False
        same_name = spelling(entry.name) == spelling(before.name)
        if not same_name and place not in self._by_name.rows(entry.name):
            raise contradiction(before, entry)
        return True

    def _notes_on_left(
        self, where: StrPath, entries: Sequence[Entry], rows: Sequence[int | None]
    ) -> list[str]:
        """Note on labels whose sample does not exist."""
        left = [entry.name for entry, row in zip(entries, rows, strict=True) if row is None]
        return [
            f"{where}: {len(left)} of {len(entries)} labels are kept but not used, because no "
            f"sample has their contents now: {listed(left)}."
        ] * bool(left)


ANSWERS, PAGE = "answers.json", "label.html"


@dataclass
class LabelFolder:
    """The folder of one question, with its page, its tables and its labels."""

    path: Path
    labels: Labels | None = None
    batch: int = 0
    check: str | None = None  # SHA-256 of the table whose answers are checked
    drawn: list[str] | None = None  # contents drawn at random to check it
    looked_at: list[int] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)
    written: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, path: StrPath, inputs: Iterable[StrPath | None]) -> LabelFolder:
        """Open a folder, or check the place of a new one, without writing."""
        folder = Path(path)
        with saying_what_failed(folder):
            refuse_folder_of_inputs(folder, inputs)
            if not os.path.lexists(folder):
                check_place(folder, Path(os.path.abspath(folder)), 0)
                return cls(folder)
            if not folder.is_dir():
                raise InputError(f"{folder} is a file, not a folder. Choose another name.")
            check_writable(folder)
            names = sorted(file.name for file in folder.iterdir())
            first = next((name for name in names if not name.startswith(TEMPORARY)), None)
        if first is None:
            return cls(folder)
        if not (folder / ANSWERS).exists():
            raise InputError(
                f"{folder} holds {first} but no {ANSWERS}, so it is not the folder of a question. "
                "Choose another name."
            )
        content = json_of(folder / ANSWERS)
        labels = answers_in(folder / ANSWERS, content)
        if isinstance(labels, Answers):
            raise InputError(
                f"{folder / ANSWERS} holds the answers of an audit, so {folder} is not the folder "
                "of a question. Choose another name."
            )
        return cls(folder, labels, **_state(content))

    @classmethod
    @contextmanager
    def alone(cls, path: StrPath, inputs: Iterable[StrPath | None]) -> Iterator[LabelFolder]:
        """Open a folder and lock it, because two runs would overwrite each other's files."""
        inputs = [*inputs]
        cls.of(path, inputs)  # raises errors before anything is written
        with alone_in(path):
            folder = cls.of(path, inputs)
            if folder._changed(PAGE):
                raise InputError(
                    f"{folder.path / PAGE} has changed since ntkit wrote it, and ntkit would "
                    "replace it. Move it to another folder."
                )
            yield folder

    def answer_files(self) -> list[Path]:
        """Tables in the folder that may hold new labels, the oldest first."""
        with saying_what_failed(self.path):
            return [
                file
                for file in self._tables()
                if sha256_of(file) != self.read.get(file.name) and not self._as_written(file)
            ]

    def _tables(self) -> list[Path]:
        """Tables of labels in the folder, the oldest first."""
        tables = [
            file
            for file in (self.path.iterdir() if self.path.is_dir() else ())
            if file.suffix.lower() in TABLES
            and file.name.lower().startswith(("labels", "questions"))
            and file.is_file()
        ]
        return sorted(tables, key=lambda file: (file.stat().st_mtime_ns, file.name))

    def take(self, asked: Labels, files: Sequence[StrPath], taken: TakenAnswers) -> Labels:
        """Add the labels of files; a later label replaces an earlier one."""
        again = False  # a page's labels.csv of the next batch has the name of the last one
        for file in map(Path, files):
            own = file.parent.resolve() == self.path.resolve()
            _take(file, asked, taken, from_elsewhere=not own)
            if own:
                again |= file.name in self.read and file.name.lower().startswith("questions")
                self.read[file.name] = sha256_of(file)
        labels = taken.labels(asked)
        if again:
            now = TakenAnswers(taken.names, taken.known, taken.match_names, by_row=taken.by_row)
            for file in dict.fromkeys([*self._tables(), *map(Path, files)]):
                _take(file, asked, now)
            there = now.labels(asked).answers
            erased = [n for n, label in labels.answers.items() if label and n not in there]
            if n := len(erased):
                taken.notes.append(
                    f"{counted(n, 'label')} of earlier runs {'is' if n == 1 else 'are'} not in the "
                    f"tables any more, and {'counts' if n == 1 else 'count'} all the same. To take "
                    f"a label back, write ? into its cell: {listed(erased)}."
                )
        return labels

    def take_kept(self, asked: Labels, taken: TakenAnswers) -> Labels:
        """The labels that the folder keeps, for the samples with these contents."""
        rows = taken.take(self.path / ANSWERS, asked.entries, asked.left_out)
        first = [len({*rows[:n]} - {None}) for n in self.looked_at]
        self.looked_at = sorted({*first} - {0})
        return taken.labels(asked)

    def write(self, labels: Labels, batch: int, files: Mapping[str, bytes]) -> None:
        """Write the labels, then other files; files that a person changed are kept."""
        if len(labels.answers) > (self.looked_at or [0])[-1]:
            self.looked_at = [*self.looked_at, len(labels.answers)]
        with saying_what_failed(self.path):
            self.path.mkdir(exist_ok=True)
        files = {**files, **{name: text.encode() for name, text in settings_files().items()}}
        kept = {name: content for name, content in files.items() if not self._changed(name)}
        for name, content in kept.items():
            last, now = self.written.get(name, []), sha256(content).hexdigest()
            self.written[name] = last if now in last[-1:] else [*last[-1:], now]
        state: dict[str, Any] = {"batch": batch, "looked_at": self.looked_at}
        state |= {} if self.check is None else {"check": self.check, "drawn": self.drawn}
        state |= {"read": self.read, "written": self.written}
        # The labels come first, because ntkit can make the other files again from them.
        for name, content in {ANSWERS: written(labels, **state), **kept}.items():
            with new_file(self.path / name) as unfinished:
                unfinished.write_bytes(content)

    def _changed(self, name: str) -> bool:
        file = self.path / name
        return os.path.lexists(file) and not self._as_written(file)

    def _as_written(self, file: Path) -> bool:
        with saying_what_failed(file):
            digests = self.written.get(file.name, ())
            return file.is_file() and sha256_of(file) in digests


def _take(file: Path, asked: Labels, taken: TakenAnswers, *, from_elsewhere: bool = False) -> None:
    """Add the labels of a file."""
    left_out = tuple[Entry, ...]()
    if file.suffix.lower() == ".json":
        labels = read_labels(file)
        if labels.question != asked.question:
            raise InputError(
                f"{file} holds labels for the question {labels.question!r:.80}, but the "
                f"question here is {asked.question!r:.80}. Pass labels of this question."
            )
        entries, left_out = labels.entries, labels.left_out
    else:
        entries = read_filled_in(file, asked.question)
    now, before = (in_spelling(asked, some, file) for some in (entries, left_out))
    taken.take(file, now, before, from_elsewhere=from_elsewhere)


def in_spelling(asked: Labels, entries: Sequence[Entry], file: StrPath) -> list[Entry]:
    """Labels in the spelling of the question's values."""
    spelling = {plain_label(value): value for value in asked.values}
    strange = next((e for e in entries if plain_label(e.answer or "") not in (*spelling, "")), None)
    if strange is not None:
        raise InputError(
            f"{file} has the label {strange.answer!r:.40} for {strange.name!r:.60}. Allowed labels "
            f"are {', '.join(asked.values)}, and ? if nobody can tell."
        )
    return [e._replace(answer=e.answer and spelling[plain_label(e.answer)]) for e in entries]


def _state(content: Any) -> dict[str, Any]:
    """The folder's record of its files; empty if the record is damaged."""
    batch, looked_at, read, written = map(content.get, ("batch", "looked_at", "read", "written"))
    is_counted = isinstance(looked_at, list) and all(type(n) is int and n > 0 for n in looked_at)
    good = isinstance(read, dict) and isinstance(written, dict)
    good = good and all(isinstance(digests, list) for digests in written.values())
    state = {"read": read, "written": written} if good else {}
    state |= {"looked_at": looked_at} if is_counted else {}
    state |= {"check": content["check"]} if isinstance(content.get("check"), str) else {}
    drawn = content.get("drawn")
    is_drawn = isinstance(drawn, list) and all(isinstance(each, str) for each in drawn)
    state |= {"drawn": drawn} if is_drawn else {}
    return state | {"batch": batch if type(batch) is int else 1}

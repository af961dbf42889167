"""Answers on the samples of a set, taken from one file after another."""

from __future__ import annotations

from collections.abc import Sequence

from ntkit._disk import StrPath
from ntkit._labels import listed
from ntkit.exceptions import InputError
from ntkit.questions._entries import Entry, contents_here, contradiction
from ntkit.questions._files import RowsByName
from ntkit.questions._labels import Labels

__all__ = ["TakenAnswers"]


class TakenAnswers:
    """Answers by sample: found by content where a file has it, else by name.

    Parameters
    ----------
    names, digests : sequence of str, length N
        Of the samples.
    match_names : bool
        Whether names may do where no content of a file is one of these samples.
    """

    def __init__(self, names: Sequence[str], digests: Sequence[str], match_names: bool) -> None:
        self.names, self.digests, self.match_names = names, digests, match_names
        self.notes = list[str]()
        self._by_name = RowsByName(names)
        self._rows_of = dict[str, list[int]]()
        for row, digest in enumerate(digests):
            self._rows_of.setdefault(digest, []).append(row)
        self._said = dict[int | str, Entry]()  # by row, or by a content that none has

    def take(
        self, where: StrPath, entries: Sequence[Entry], left_out: Sequence[Entry] = ()
    ) -> list[int | None]:
        """Take in what a file says, which counts where it differs from earlier ones.

        Parameters
        ----------
        where : path-like
            The file.
        entries, left_out : sequence of Entry
            What it says; the latter is found by content alone.

        Returns
        -------
        list of (int or None)
            Row of each answer; None where no sample has its content.

        Raises
        ------
        InputError
            If these are other samples, or one sample is answered in two ways.
        """
        everything = [e._replace(at=e.at or str(where)) for e in (*entries, *left_out)]
        here, note = contents_here(
            where, everything, self._rows_of.keys(), match_names=self.match_names
        )
        places = self._places(everything, here, len(entries) if note else 0)
        own = dict[int | str, Entry]()
        for place, entry in zip(places, everything, strict=True):
            before = own.setdefault(place, entry)
            if None not in (before.answer, entry.answer) and before.answer != entry.answer:
                raise contradiction(before, entry)
            if before.answer is None:
                own[place] = entry
        for place, entry in own.items():
            self._check_last_word(place, entry)
        self._said |= own
        rows = [place if isinstance(place, int) else None for place in places]
        self.notes += [note] if note else self._told(where, everything, rows)
        by_name = note or any(entry.content is None for entry in everything)
        if by_name and list(self.names) == [str(row) for row in range(len(self.names))]:
            self.notes.append(f"{where}: these samples are named by their rows alone, from 0 on.")
        return rows

    def labels(self, asked: Labels) -> Labels:
        """All that was taken, for a question.

        Raises
        ------
        InputError
            If two samples of one content are answered in two ways.
        """
        found = {row: entry for row, entry in self._said.items() if isinstance(row, int)}
        of_content = dict[str, int]()
        for row, entry in found.items():
            first = of_content.setdefault(self.digests[row], row) if entry.answer else row
            if found[first].answer != entry.answer:
                raise InputError(
                    f"{self.names[first]!r:.60} is answered {found[first].answer!r} and "
                    f"{self.names[row]!r:.60} is answered {entry.answer!r}, and both are one "
                    "sample by their contents; answer both alike."
                )
        return Labels(
            asked.question,
            asked.values,
            {self.names[row]: entry.answer for row, entry in found.items()},
            {self.names[row]: self.digests[row] for row in found},
            tuple(entry for place, entry in self._said.items() if isinstance(place, str)),
        )

    def _places(self, entries: Sequence[Entry], here: set[str], n_by_name: int) -> list[int | str]:
        """Row of each answer, or its content; a sample that kept its name keeps its answer."""
        stays = [
            row if row is not None and self.digests[row] == entry.content else -1
            for row, entry in ((self._by_name.get(entry.name), entry) for entry in entries)
        ]
        taken, places = {*stays}, list[int | str]()
        for i, (entry, row) in enumerate(zip(entries, stays, strict=True)):
            if entry.content in here:
                rows = self._rows_of[entry.content]
                free = (r for r in rows if r not in taken)
                row = row if row >= 0 else next(free, rows[0])
                taken.add(row)
                places.append(row)
            elif entry.content is None or i < n_by_name:
                places.append(self._by_name.row(entry))
            else:
                places.append(entry.content)
        return places

    def _check_last_word(self, place: int | str, entry: Entry) -> None:
        """Refuse what another file says of the same content under another name."""
        before = self._said.get(place)
        if before is None or None in (before.answer, entry.answer) or before.answer == entry.answer:
            return
        now = self.names[place] if isinstance(place, int) else before.name
        if entry.name.removeprefix("'") not in (before.name.removeprefix("'"), now):
            raise contradiction(before, entry)

    def _told(
        self, where: StrPath, entries: Sequence[Entry], rows: Sequence[int | None]
    ) -> list[str]:
        """Which answers went to samples of other names, and which to none, in sentences."""
        pairs = [*zip(entries, rows, strict=True)]
        moved = [
            f"{entry.name!r:.60} is {self.names[row]!r:.60} now"
            for entry, row in pairs
            if row is not None and self.names[row] not in (entry.name, entry.name.removeprefix("'"))
        ]
        left = [entry.name for entry, row in pairs if row is None]
        notes = list[str]()
        if moved:
            some = f", such as {moved[0]}" if len(moved) > 1 else f": {moved[0]}"
            notes.append(
                f"{where}: {len(moved)} of {len(entries)} answers went with their contents to "
                f"other names{some}."
            )
        if left:
            notes.append(
                f"{where}: {len(left)} of {len(entries)} answers are left out, and kept for later, "
                f"as no sample has their contents now: {listed(left)}."
            )
        return notes

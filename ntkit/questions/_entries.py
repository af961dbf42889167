"""An answer on one sample, and what tells whether a set holds that sample: its content."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from ntkit._disk import StrPath
from ntkit.exceptions import InputError

__all__ = [
    "CONTENT",
    "Entry",
    "check_alike",
    "content_cell",
    "content_in",
    "contents_here",
    "contradiction",
]

CONTENT = "ntkit_content"
"""The column of a table that holds the contents' digests."""
_PREFIX = "b2-"  # keeps a spreadsheet from reading a digest as a number


class Entry(NamedTuple):
    """An answer on one sample, as a file gives it.

    Attributes
    ----------
    name : str
        What the sample is called there.
    answer : str or None
        None where it was looked at, and nobody can tell.
    content : str or None
        Digest of its content, where the file has it.
    at : str
        Where it stands in the file.
    """

    name: str
    answer: str | None
    content: str | None = None
    at: str = ""


def content_cell(digest: str) -> str:
    """A digest as a cell of a table."""
    return _PREFIX + digest


def content_in(cell: str) -> str | None:
    """The digest in a cell of a table; None where there is none."""
    return cell.removeprefix(_PREFIX) if cell.startswith(_PREFIX) else None


def check_alike(entries: Iterable[Entry]) -> None:
    """Refuse two answers on one sample, be it under two names.

    Raises
    ------
    InputError
        If a content, or a name without one, is answered in two ways.
    """
    said = dict[tuple[str | None, str], Entry]()
    for entry in entries:
        if entry.answer is not None:
            key = (entry.content, "" if entry.content else entry.name)
            before = said.setdefault(key, entry)
            if before.answer != entry.answer:
                raise contradiction(before, entry)


def contradiction(before: Entry, entry: Entry) -> InputError:
    """The error that two answers on one sample are."""
    other = before.name != entry.name
    there = f" in {before.at}" * (before.at != entry.at)
    there = f"as {before.name!r:.60}{there}" if other else "above"
    why = ", and both are one sample by their contents" * other
    return InputError(
        f"{entry.at}: {entry.name!r:.60} is answered {entry.answer!r} here and {before.answer!r} "
        f"{there}{why}; leave one of them."
    )


def contents_here(
    where: StrPath, entries: Iterable[Entry], digests: Collection[str], *, match_names: bool
) -> tuple[set[str], str]:
    """Contents of answers that are among some samples.

    Parameters
    ----------
    where : path-like
        The file.
    entries : iterable of Entry
        What it says.
    digests : collection of str
        Digests of the samples.
    match_names : bool
        Whether names may do where no content is one of these samples.

    Returns
    -------
    contents : set of str
    note : str
        What is said where all answers are matched by name for that; else empty.

    Raises
    ------
    InputError
        If there are contents, none is one of these samples, and names may not do.
    """
    contents = {entry.content for entry in entries if entry.content is not None}
    here = contents.intersection(digests)
    if here or not contents:
        return here, ""
    n = len(contents)
    if match_names:
        return here, f"{where}: none of {n} contents is one of these samples; matched by name."
    raise InputError(
        f"None of {n} contents in {where} is one of these samples; give the samples that were "
        "labelled, or match by name if these are the same, saved again: --match-names "
        "(match_names=True in Python)."
    )

"""What a person said of single samples: kept as JSON, with what tells the samples from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._disk import StrPath, entries_of, read_json
from ntkit._labels import listed
from ntkit.exceptions import InputError
from ntkit.jobs.label._files import Entry, answer_in, check_alike

KIND = "labels"
_VERSION = 1
_LARGEST = 64 << 20  # bytes of a file


@dataclass(frozen=True)
class Labels:
    """What a person said of single samples, asked one question about each.

    :func:`read_labels` reads it, and :func:`label_samples` makes it.

    Attributes
    ----------
    question : str
        What was asked.
    values : tuple of str
        What could be answered.
    answers : mapping of str to str or None
        By name of sample; None where it was looked at, and nobody can tell.
    contents : mapping of str to str
        Digest of each of these samples, by which it is found under another name, too.
    left_out : tuple of Entry
        Name, answer and digest of samples that were labelled, and whose content none has now.

    Examples
    --------
    >>> from ntkit.jobs.label import Labels
    >>> labels = Labels("Is it about a film?", ("yes", "no"), {"a.txt": "yes", "b.txt": None})
    >>> labels.n_answers, labels.attribute(["b.txt", "a.txt", "c.txt"]).tolist()
    (1, [None, 'yes', None])
    """

    question: str
    values: tuple[str, ...]
    answers: Mapping[str, str | None] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[Entry, ...] = ()

    @property
    def entries(self) -> list[Entry]:
        """The answers one by one, but for those left out."""
        return [Entry(name, v, self.contents.get(name)) for name, v in self.answers.items()]

    @property
    def n_answers(self) -> int:
        """How many samples were answered."""
        return sum(value is not None for value in self.answers.values())

    def attribute(self, names: Sequence[str]) -> NDArray[np.object_]:
        """What is known of samples of these names, shape (N,); None where nothing is."""
        found = np.full(len(names), None, dtype=object)
        for i, name in enumerate(names):
            found[i] = self.answers.get(name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        left = {"left_out": [_as_dict(entry) for entry in self.left_out]} if self.left_out else {}
        return {
            "ntkit": KIND,
            "version": _VERSION,
            "question": self.question,
            "values": list(self.values),
            "answers": [_as_dict(entry) for entry in self.entries],
        } | left


def read_labels(path: StrPath) -> Labels:
    """Read ``answers.json``, as :func:`label_samples` keeps it.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Labels

    Raises
    ------
    InputError
        If it is no such file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.jobs.label import read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "answers.json"
    ...     _ = file.write_text(
    ...         '{"ntkit": "labels", "version": 1, "question": "A hand?", "values": ["yes", "no"],'
    ...         ' "answers": [{"id": "a.png", "answer": "yes"}, {"id": "b.png", "answer": null}]}'
    ...     )
    ...     read_labels(file).answers
    {'a.png': 'yes', 'b.png': None}
    """
    return labels_of(path, json_of(path))


def kind_of_json(path: StrPath) -> str | None:
    """What a JSON file of ntkit's says that it holds, as "labels"; None where it says nothing."""
    content = json_of(path)
    kind = content.get("ntkit") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def json_of(path: StrPath) -> Any:
    """Content of a JSON file."""
    return read_json(path, largest=_LARGEST, wanted="the answers.json that ntkit label keeps")


def labels_of(path: StrPath, content: Any) -> Labels:
    """Labels of the content of a file."""
    entries = entries_of(
        path,
        content,
        kind=KIND,
        version=_VERSION,
        refusal=lambda reason: _refusal(path, reason),
        fix="label with one and the same ntkit.",
    )
    question, values = content.get("question"), content.get("values")
    if not isinstance(question, str) or not question.strip():
        raise _refusal(path, "it has no question")
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise _refusal(path, "its values are no list of texts")
    read = [_entry(path, number, entry, values) for number, entry in enumerate(entries, start=1)]
    answers = dict[str, str | None]()
    for name, value, *_ in read:
        if answers.setdefault(name, value) != value:
            raise InputError(f"{path} answers {name!r:.60} in two ways; leave one of them.")
    check_alike(read)
    contents = {entry.name: entry.content for entry in read if entry.content is not None}
    others = content.get("left_out", [])
    if not isinstance(others, list):
        raise _refusal(path, "its left_out is no list")
    left = [_entry(path, number, entry, values) for number, entry in enumerate(others, start=1)]
    return Labels(question, tuple(values), answers, contents, tuple(e for e in left if e.content))


def _as_dict(entry: Entry) -> dict[str, Any]:
    """An answer as plain values."""
    content = {} if entry.content is None else {"content": entry.content}
    return {"id": entry.name, "answer": entry.answer} | content


def _entry(path: StrPath, number: int, entry: Any, values: list[str]) -> Entry:
    """An answer of a file."""
    if not isinstance(entry, dict):
        raise _refusal(path, f"answer {number} is no object")
    name, value, digest = entry.get("id"), entry.get("answer"), entry.get("content")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        raise _refusal(path, f"answer {number} names no sample")
    if value is not None and not isinstance(value, str):
        raise _refusal(path, f"answer {number} is no text")
    value = None if value is None else answer_in(value)
    if value is not None and value not in values:
        raise InputError(
            f"{path} answers {value!r:.40} of {name!r:.60}; its values are {listed(values)}."
        )
    return Entry(name, value, digest if isinstance(digest, str) else None, str(path))


def _refusal(path: StrPath, reason: str) -> InputError:
    return InputError(
        f"{path} holds no labels ({reason}); ntkit label keeps them as answers.json in its folder."
    )

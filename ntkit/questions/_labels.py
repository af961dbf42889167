"""What a person said of single samples: kept as JSON, with what tells the samples from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._disk import StrPath, entries_of, read_json
from ntkit._labels import listed
from ntkit.exceptions import InputError
from ntkit.questions._files import FilledIn, answer_in

__all__ = ["KIND", "Labels", "kind_of_json", "read_labels"]

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

    Examples
    --------
    >>> from ntkit.questions import Labels
    >>> labels = Labels("Is it about a film?", ("yes", "no"), {"a.txt": "yes", "b.txt": None})
    >>> labels.n_answers, labels.attribute(["b.txt", "a.txt", "c.txt"]).tolist()
    (1, [None, 'yes', None])
    """

    question: str
    values: tuple[str, ...]
    answers: Mapping[str, str | None] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)

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

    def with_answers(self, path: StrPath, filled_in: FilledIn, names: Sequence[str]) -> Labels:
        """These and what a table says, which counts where the two differ.

        Raises
        ------
        InputError
            If it holds what could not be answered.
        """
        spelling = {value.casefold(): value for value in self.values}
        answers = dict(self.answers)
        for name, given, unsure in zip(names, filled_in.values, filled_in.unsure, strict=True):
            if given is None and not unsure:
                continue
            if given is not None and given.casefold() not in spelling:
                raise InputError(
                    f"{path} answers {given!r:.40} of {name!r:.60}, and the question takes "
                    f"{', '.join(self.values)}, or ? where nobody can tell."
                )
            answers[name] = None if given is None else spelling[given.casefold()]
        return replace(self, answers=answers)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        entries = [
            {"id": name, "answer": value}
            | ({"content": self.contents[name]} if name in self.contents else {})
            for name, value in self.answers.items()
        ]
        return {
            "ntkit": KIND,
            "version": _VERSION,
            "question": self.question,
            "values": list(self.values),
            "answers": entries,
        }


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
    >>> from ntkit.questions import read_labels
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
        mend="label with one and the same ntkit.",
    )
    question, values = content.get("question"), content.get("values")
    if not isinstance(question, str) or not question.strip():
        raise _refusal(path, "it has no question")
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise _refusal(path, "its values are no list of texts")
    answers, contents = dict[str, str | None](), dict[str, str]()
    for number, entry in enumerate(entries, start=1):
        name, value, digest = _entry(path, number, entry, values)
        if name in answers and answers[name] != value:
            raise InputError(f"{path} answers {name!r:.60} in two ways; leave one of them.")
        answers[name] = value
        if digest is not None:
            contents[name] = digest
    return Labels(question, tuple(values), answers, contents)


def _entry(
    path: StrPath, number: int, entry: Any, values: list[str]
) -> tuple[str, str | None, str | None]:
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
    return name, value, digest if isinstance(digest, str) else None


def _refusal(path: StrPath, reason: str) -> InputError:
    return InputError(
        f"{path} holds no labels ({reason}); ntkit label keeps them as answers.json in its folder."
    )

"""Answers on findings and labels of single samples, in one file format, ``answers.json``."""

from __future__ import annotations

import getpass
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ntkit import _text
from ntkit._disk import StrPath, read_json
from ntkit._join import NameIndex
from ntkit._key import Key, values_in
from ntkit._labels import is_missing, listed, means_unknown, spelling, without_case
from ntkit._output import check_file, new_file
from ntkit._types import Array
from ntkit.attributes.activations import layer_of
from ntkit.attributes.feature_set import Rule
from ntkit.exceptions import InputError

ANSWERS = ("spurious", "legitimate", "unsure", "invariant")
"""Answers on a finding: a shortcut to ignore, it matters, or nobody knows."""
CONTENT = "ntkit_content"
"""Name of the table column that holds the digests of the samples' contents."""
_PREFIX = "b2-"  # prevents a spreadsheet from reading a digest as a number
_DIGEST = re.compile(_PREFIX + "([0-9a-f]+)")
_KIND, _VERSION = "answers", 1
_HEADER: dict[str, Any] = {"ntkit": _KIND, "version": _VERSION}
_LARGEST = 64 << 20  # bytes of a file


# -- on findings -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """Answer of a person on one finding."""

    name: str
    answer: str
    values: tuple[tuple[str, ...], ...]
    rules: Mapping[str, Rule] = field(default_factory=dict, repr=False, compare=False)
    by: str | None = field(default=None, repr=False, compare=False)
    at: str | None = field(default=None, repr=False, compare=False)
    also: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Other attributes of the finding, which a repair is tested on as well."""
    where: str = field(default="", repr=False, compare=False)
    """File that it is from; a change that it names reads files only inside that file's folder."""

    @property
    def of_layers(self) -> bool:
        """Whether it has rules that only the model of the audit can apply."""
        return any(layer_of(name, rule) is not None for name, rule in self.rules.items())

    @classmethod
    def on_change(cls, change: str, answer: str) -> Answer:
        """Answer that a change, given in its text form, does not alter the right answer."""
        return cls(f"change {change}", answer, ((change,),))

    def signed(self) -> Answer:
        """The same answer with the current user and time."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # this user has no name
            user = None
        return replace(self, by=user, at=datetime.now(UTC).isoformat(timespec="seconds"))

    def as_dict(self) -> dict[str, Any]:
        """The fields as values that JSON can hold."""
        said: dict[str, Any] = {"name": self.name, "values": [list(side) for side in self.values]}
        if self.rules:
            said["rules"] = {name: rule.as_dict() for name, rule in self.rules.items()}
        if self.also:
            said["also"] = list(self.also)
        who = {"by": self.by, "at": self.at}
        return said | {"answer": self.answer} | {k: v for k, v in who.items() if v is not None}


@dataclass(frozen=True)
class Answers:
    """Answers of people on the findings of an audit.

    :func:`read_answers` reads it from a file. :meth:`ntkit.Audit.answers` makes it without a page.

    Attributes
    ----------
    answers : tuple of Answer
        One answer for each answered finding.
    model : str or None
        SHA-256 of the model that the rules refer to.
    where : str
        File of the answers.

    Examples
    --------
    >>> from ntkit.attributes.answers import Answer, Answers
    >>> film = Answer("word:film", "spurious", (("word:film",), ("word:movie",)))
    >>> bad = Answer("word:bad", "legitimate", (("word:bad",),))
    >>> [answer.name for answer in Answers((film, bad)).spurious]
    ['word:film']
    """

    answers: tuple[Answer, ...]
    model: str | None = None
    where: str = field(default="", repr=False, compare=False)

    @property
    def spurious(self) -> tuple[Answer, ...]:
        """Answers that call a finding a shortcut to ignore."""
        return tuple(answer for answer in self.answers if answer.answer == "spurious")

    @property
    def invariant(self) -> dict[str, Path | None]:
        """Changes that do not alter the right answer, and the folder of the file that says so."""
        said = (answer for answer in self.answers if answer.answer == "invariant")
        return {a.values[0][0]: Path(a.where).parent if a.where else None for a in said}

    @property
    def also(self) -> frozenset[str]:
        """Other attributes of the findings that are called shortcuts."""
        return frozenset(chain.from_iterable(answer.also for answer in self.spurious))

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        model = {} if self.model is None else {"model": self.model}
        return _HEADER | {"answers": [answer.as_dict() for answer in self.answers]} | model

    @property
    def rules(self) -> dict[str, Rule]:
        """Rules of all attributes by their names; where answers differ, those of the first one."""
        return {name: rule for each in reversed(self.answers) for name, rule in each.rules.items()}

    def with_answer(self, answer: Answer) -> Answers:
        """Copy with one more answer, which replaces an earlier one on the same finding."""
        others = (each for each in self.answers if each.name != answer.name)
        return replace(self, answers=(*others, answer))


def joined_answers(files: Mapping[str, Answers]) -> Answers:
    """Merge the answers of several people: the first *yes* or *no*, else *unsure*."""
    joined, models = dict[str, tuple[str, Answer]](), dict[str, str]()
    rules = dict[str, tuple[str, Rule]]()
    for file, answers in files.items():
        for name, rule in answers.rules.items():
            origin, known = rules.setdefault(name, (file, rule))
            if not known.is_like(rule):
                raise InputError(
                    f"{origin} and {file} cut {name!r} at different values, so they mean different "
                    "samples; pass answers of one audit."
                )
        if answers.model is not None:
            models.setdefault(answers.model, file)
        for answer in answers.answers:
            earlier, before = joined.get(answer.name, (file, answer))
            if {before.answer, answer.answer} == {"invariant", "legitimate"}:
                raise InputError(
                    f"{earlier} and {file} differ on whether {answer.name!r} leaves the right "
                    "answer the same; agree on one answer."
                )
            if {before.answer, answer.answer} == {"spurious", "legitimate"}:
                yes, no = (file, earlier) if answer.answer == "spurious" else (earlier, file)
                raise InputError(
                    f"{yes} calls {answer.name!r} a shortcut, and {no} says that it matters; agree "
                    "on one answer."
                )
            if answer.name not in joined or before.answer == "unsure":
                joined[answer.name] = file, answer
    if len(models) > 1:
        first, second, *_ = models.values()
        raise InputError(
            f"{first} and {second} have answers on two different models; pass answers on one model."
        )
    whole = Answers(tuple(answer for _, answer in joined.values()), next(iter(models), None))
    for shortcut, other in _opposite(whole):
        one, two = ({*chain(*answer.values)} for answer in (shortcut, other))
        # A column as a whole, and one of its values.
        columns = [{Key.of(name).origin for name in names} for names in (one, two)]
        shared = (one & two) | (one & columns[1]) | (two & columns[0])
        if shared:
            raise _contradiction(shortcut, other, f"both are about {min(shared)!r}")
    return whole


def check_contradictions(answers: Answers, values: Callable[[str], Array]) -> None:
    """Raise an error if a shortcut equals a finding that matters, or is its opposite."""
    # `values` returns an attribute of every sample by its name: 1, 0, or −1 if it is not known.
    for yes, no in _opposite(answers):
        one, other = np.asarray(values(yes.name)), np.asarray(values(no.name))
        known = (one >= 0) & (other >= 0)
        same = one[known] == other[known]
        if len(np.unique(one[known])) > 1 and (same.all() or not same.any()):
            how = "are the same" if same.all() else "are each other's opposite"
            raise _contradiction(yes, no, f"they {how} for every sample")


def _opposite(answers: Answers) -> list[tuple[Answer, Answer]]:
    """All pairs of a shortcut and a finding that matters."""
    matters = [answer for answer in answers.answers if answer.answer == "legitimate"]
    return list(product(answers.spurious, matters))


def _contradiction(yes: Answer, no: Answer, reason: str) -> InputError:
    return InputError(
        f"{yes.name!r} is answered as a shortcut and {no.name!r} as a finding that matters, but "
        f"{reason}; change one of the two answers."
    )


# -- on samples --------------------------------------------------------------------------------


class Entry(NamedTuple):
    """Label of one sample, as read from a file."""

    name: str
    answer: str | None
    content: str | None = None
    at: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The label as plain values."""
        content = {} if self.content is None else {"content": self.content}
        return {"name": self.name, "answer": self.answer} | content


@dataclass(frozen=True)
class Labels:
    """Labels that a person gave to single samples, for one question.

    :func:`ntkit.jobs.label.label_samples` makes it.

    Attributes
    ----------
    question : str
        The question.
    values : tuple of str
        Possible labels.
    answers : mapping of str to str or None
        Label by name of sample; None if a person looked at the sample and could not tell.
    contents : mapping of str to str
        Digest of each of these samples, which identifies the sample under another name.
    left_out : tuple of Entry
        Name, label and digest of labelled samples whose content is no longer among the samples.
    where : str
        File of the labels.

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
    where: str = field(default="", repr=False, compare=False)

    @property
    def entries(self) -> list[Entry]:
        """All labels one by one, without the samples left out."""
        return [Entry(name, v, self.contents.get(name)) for name, v in self.answers.items()]

    @property
    def n_answers(self) -> int:
        """Number of samples with a label."""
        known = (name for name, value in self.answers.items() if value is not None)
        return len({self.contents.get(name, name) for name in known})

    def attribute(self, names: Sequence[str]) -> NDArray[np.object_]:
        """Labels of samples with these names, shape (N,); None if not known."""
        return np.array([self.answers.get(name) for name in names], dtype=object)

    def of_contents(self, contents: Sequence[str]) -> NDArray[np.object_]:
        """Labels of samples with these digests, whatever their names; None if not known."""
        known = {self.contents.get(name): label for name, label in self.answers.items() if label}
        return np.array([known.get(content) for content in contents], dtype=object)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        said = {
            **_HEADER,
            "question": self.question,
            "values": list(self.values),
            "answers": [entry.as_dict() for entry in self.entries],
        }
        left = {"left_out": [entry.as_dict() for entry in self.left_out]}
        return said | left if self.left_out else said


def content_cell(digest: str) -> str:
    """A digest as a table cell."""
    return _PREFIX + digest


def check_one_label_each(entries: Iterable[Entry]) -> None:
    """Raise an error if a sample has two different labels, possibly under two names."""
    entry_of = dict[tuple[str | None, str], Entry]()
    for entry in entries:
        if entry.answer is not None:
            key = (entry.content, "" if entry.content else spelling(entry.name))
            before = entry_of.setdefault(key, entry)
            if before.answer != entry.answer:
                raise contradiction(before, entry)


def contradiction(before: Entry, entry: Entry) -> InputError:
    """Error message for two different labels of one sample."""
    other = before.name != entry.name
    there = f" in {before.at}" * (before.at != entry.at)
    there = f"as {before.name!r:.60}{there}" if other else "above"
    why = ", and both have the same content" * (other and entry.content is not None)
    return InputError(
        f"{entry.at}: {entry.name!r:.60} has the label {entry.answer!r} here and {before.answer!r} "
        f"{there}{why}; keep one of them."
    )


def contents_here(
    where: StrPath, entries: Iterable[Entry], digests: Collection[str], *, match_names: bool
) -> tuple[set[str], str]:
    """Digests that occur among the samples, and a note if samples were matched by name instead."""
    contents = {entry.content for entry in entries if entry.content is not None}
    here = contents.intersection(digests)
    if here or not contents:
        return here, ""
    n = len(contents)
    if match_names:
        return here, (
            f"{where}: none of {n} digests belongs to one of these samples; matched by name."
        )
    raise InputError(
        f"None of {n} digests in {where} belongs to one of these samples. Pass the samples that "
        "were labelled. If these are the same samples, saved again, ntkit label and ntkit debias "
        "match them by name with --match-names (match_names=True in Python)."
    )


def note_on_names(
    where: StrPath, entries: Iterable[Entry], names: Sequence[str], digests: Sequence[str]
) -> str:
    """A sentence on labels whose name and digest belong to two samples, or none."""
    index, known = NameIndex(names), {*digests}
    n = 0
    for entry in entries:
        rows = index.rows(entry.name) if entry.content in known else []
        n += bool(rows) and all(digests[row] != entry.content for row in rows)
    one = (
        "label has the name of another sample than its"
        if n == 1
        else ("labels have the names of other samples than their")
    )
    return f"{where}: {n} {one} content ({CONTENT}). ntkit went by the content." * bool(n)


def entries_of_table(
    columns: Mapping[str, Array], key: str, question: str, at: Callable[[int], str]
) -> list[Entry]:
    """Labels in the rows of a table; yes and YES are one, and so are 1 and 1.0."""
    # `at` names the position of a row.
    entries, written = list[Entry](), dict[str, str]()
    contents = columns.get(CONTENT, np.full(len(columns[key]), None))
    cells = zip(columns[key], columns[question], contents, strict=True)
    for row, (name, value, content) in enumerate(cells):
        answer = answer_in(value)
        if answer is not None:
            answer = written.setdefault(_as_one(answer), answer)
        elif cell_text(value) == "":
            continue
        cell = cell_text(content)
        digest = _DIGEST.fullmatch(cell)
        if cell and digest is None:
            raise InputError(
                f"{at(row)}: {cell!r:.60} in {CONTENT!r} is not a digest. Copy the cell from the "
                "table that ntkit wrote, or empty it to match by name."
            )
        name = name if isinstance(name, str) else cell_text(name)
        entries.append(Entry(name, answer, digest and digest[1], at(row)))
    check_one_label_each(entries)
    return entries


def cell_text(value: Any) -> str:
    """A cell as text; numbers as they were before a table made them floats."""
    if is_missing(value):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def answer_in(value: Any) -> str | None:
    """Label in a cell; None if the cell is empty or says "unknown"."""
    return None if means_unknown(value) else cell_text(value)


def note_on_unknown(where: StrPath, cells: Iterable[Any]) -> str:
    """A sentence on cells that are not empty and say that the label is unknown, or none."""
    counts = Counter(text for text in map(cell_text, cells) if text and answer_in(text) is None)
    written = _text.listed([f"{n} {text!r}" for text, n in counts.most_common()], 6)
    return f"{where}: these cells mean that the label is unknown: {written}." if counts else ""


def _as_one(answer: str) -> str:
    """The form in which two labels are compared."""
    return without_case(re.sub(r"^(-?\d+)\.0+$", r"\1", spelling(answer)))


def note_on_writing(where: StrPath, cells: Iterable[Any]) -> str:
    """A sentence on labels that differ only in how they are written, or none."""
    counts = Counter(answer for cell in cells if (answer := answer_in(cell)) is not None)
    of_one = defaultdict[str, list[str]](list)
    for answer, n in counts.items():
        of_one[_as_one(answer)].append(f"{answer!r} ({n})")
    twins = [_text.listed(written, 3) for written in of_one.values() if len(written) > 1]
    one = "are written in several ways and count as one label; rename one if they are two"
    return f"{where}: {_text.listed(twins, 3)} {one}." if twins else ""


# -- the file ----------------------------------------------------------------------------------


def read_answers(path: StrPath) -> Answers:
    """Read the answers that the page of an audit saved.

    Parameters
    ----------
    path : path-like
        File such as ``answers.json``.

    Returns
    -------
    Answers
        Use its ``spurious`` for the answers that call a finding a shortcut.

    Raises
    ------
    InputError
        If the file does not hold such answers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.jobs.audit import read_answers
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "answers.json"
    ...     answer = '{"name": "word:film", "answer": "spurious"}'
    ...     _ = file.write_text('{"ntkit": "answers", "version": 1, "answers": [' + answer + "]}")
    ...     read_answers(file).spurious
    (Answer(name='word:film', answer='spurious', values=(('word:film',),)),)
    """
    answers = read_answer_file(path)
    if isinstance(answers, Labels):
        raise _refusal(path, "it has labels of samples, not answers on findings", Answers)
    return answers


def read_labels(path: StrPath) -> Labels:
    """Read labels of single samples from ``answers.json``, as :func:`label_samples` saves it."""
    labels = read_answer_file(path)
    if isinstance(labels, Answers):
        raise _refusal(path, "it has answers on findings, not labels of samples", Labels)
    return labels


def read_answer_file(path: StrPath) -> Answers | Labels:
    """Read ``answers.json`` of either kind: answers on findings, or labels of samples."""
    return answers_in(path, json_of(path))


def json_of(path: StrPath) -> Any:
    """Content of a JSON file of answers."""
    wanted = "the answers.json that the page of an audit or ntkit label saved"
    return read_json(path, largest=_LARGEST, wanted=wanted)


def answers_in(path: StrPath, content: Any) -> Answers | Labels:
    """Answers or labels in the content of a file; a file with a question has labels."""
    of = Labels if isinstance(content, dict) and "question" in content else Answers
    if not isinstance(content, dict) or content.get("ntkit") != _KIND:
        raise _refusal(path, f'it lacks "ntkit": "{_KIND}"', of)
    version = content.get("version")
    if type(version) is not int or version != _VERSION:
        raise InputError(
            f"{path} has version {version!r:.40}, and this ntkit reads version {_VERSION}; use the "
            "same ntkit for answering."
        )
    if not isinstance(content.get("answers"), list):
        raise _refusal(path, "its answers are not a list", of)
    return _labels_in(path, content) if of is Labels else _answers_in(path, content)


def written(answers: Answers | Labels, **state: Any) -> bytes:
    """Content of ``answers.json``, and other entries that its folder keeps there."""
    return f"{json.dumps(answers.as_dict() | state, indent=2)}\n".encode()


def write_answers(path: StrPath, answers: Answers) -> None:
    """Write answers as the page of an audit does; an existing file of answers is replaced."""
    check_file(path, force=True)
    if Path(path).exists():
        read_answers(path)  # refuses to replace any other file
    with new_file(path) as file:
        file.write_bytes(written(answers))


def _answers_in(path: StrPath, content: Mapping[str, Any]) -> Answers:
    answers = tuple(_answer(path, i, entry) for i, entry in enumerate(content["answers"], start=1))
    counts = Counter(answer.name for answer in answers)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} answers {twice!r} twice; keep one answer.")
    model = content.get("model")
    return Answers(answers, model if isinstance(model, str) else None, str(path))


def _answer(path: StrPath, number: int, entry: Any) -> Answer:
    try:
        name, answer, *who = entry["name"], entry.get("answer"), entry.get("by"), entry.get("at")
        is_short = "|" in name or name.startswith("not ")  # word:film|word:movie, not word:film
        named = values_in(name) if is_short and "values" not in entry else (name,)
        name = named[0]
        values = tuple(map(tuple, entry.get("values", [(each,) for each in named])))
        also = entry.get("also", [])
        texts = (name, *chain(*values), *also)
        rules = {one: Rule.from_dict(rule) for one, rule in entry.get("rules", {}).items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise _refusal(path, f"answer {number} lacks a name or is damaged") from error
    attributes = [attribute for side in values for attribute in side]
    whole = all(isinstance(text, str) and text.strip() for text in texts) and all(values)
    if (
        not (whole and isinstance(also, list))
        or None in rules.values()
        or not all(isinstance(w, str | None) for w in who)
    ):
        raise _refusal(path, f"answer {number} lacks a name or is damaged")
    if answer not in ANSWERS:
        raise InputError(
            f"{path} answers {answer!r:.40} on {name!r}; use one of {', '.join(ANSWERS)}."
        )
    if len(set(attributes)) < len(attributes):
        raise InputError(f"{path} has an attribute twice in the values of {name!r}; keep it once.")
    if not values or (name not in values[0] and name != f"change {values[0][0]}"):
        raise InputError(f"{path} lacks {name!r} in the first of its own values; add it there.")
    known = {n: r for n, r in rules.items() if r is not None}
    return replace(Answer(name, answer, values, known, *who), also=tuple(also), where=str(path))


def _labels_in(path: StrPath, content: Mapping[str, Any]) -> Labels:
    question, values = content.get("question"), content.get("values")
    others = content.get("left_out", [])
    good = isinstance(question, str) and question.strip() and isinstance(others, list)
    if (
        not good
        or not isinstance(values, list)
        or not all(isinstance(v, str) and v for v in values)
    ):
        raise _refusal(path, "its question, values or left_out are damaged", Labels)
    read, left_out = (
        [_entry(path, number, entry, values) for number, entry in enumerate(some, start=1)]
        for some in (content["answers"], others)
    )
    answers = dict[str, str | None]()
    for name, value, *_ in read:
        if answers.setdefault(name, value) != value:
            raise InputError(f"{path} has two labels of {name!r:.60}; keep one of them.")
    check_one_label_each(read)
    contents = {entry.name: entry.content for entry in read if entry.content is not None}
    left = tuple(entry for entry in left_out if entry.content)
    return Labels(str(question), tuple(values), answers, contents, left, str(path))


def _entry(path: StrPath, number: int, entry: Any, values: list[str]) -> Entry:
    """Label of one sample, checked."""
    entry = entry if isinstance(entry, dict) else {}
    name, value, digest = entry.get("name"), entry.get("answer"), entry.get("content")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name or not isinstance(value, str | None):
        raise _refusal(path, f"answer {number} lacks a name or is damaged", Labels)
    value = answer_in(value)
    if value is not None and value not in values:
        raise InputError(
            f"{path} has the label {value!r:.40} for {name!r:.60}; the possible labels are "
            f"{listed(values)}."
        )
    return Entry(name, value, digest if isinstance(digest, str) else None, str(path))


def _refusal(path: StrPath, reason: str, of: type = Answers) -> InputError:
    """Error for a file that does not hold such answers or labels."""
    if of is Labels:
        return InputError(
            f"{path} is not a file of labels ({reason}); pass the answers.json that ntkit label "
            "keeps in its folder."
        )
    return InputError(
        f"{path} is not a file of answers ({reason}); save the answers with the button on the "
        "audit's page."
    )

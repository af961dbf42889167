"""What people answered on findings: read from the file that the audit's page saves, and written."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, product
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ntkit._disk import StrPath, entries_of, read_json
from ntkit._output import check_file, new_file
from ntkit._types import Array
from ntkit.attributes import Rule
from ntkit.exceptions import InputError

ANSWERS = ("spurious", "legitimate", "unsure")
"""What can be answered on a finding: it is a shortcut to ignore, it matters, or who knows."""
_VERSION = 1
_LARGEST = 16 << 20  # bytes of a file
_LONGEST = 200  # characters of a name of a person, or of a time


@dataclass(frozen=True)
class Answer:
    """What a person said of one finding.

    Attributes
    ----------
    name : str
        The attribute, as ``word:film``.
    answer : str
        "spurious", "legitimate" or "unsure".
    sides : tuple of tuple of str
        Attributes that stand for each side of it; the first are those that say the same as it.
    rules : mapping of str to Rule
        Of those of them that are of a layer of the model: how each is read from other samples.
    by : str or None
        Who said so.
    at : str or None
        When, as an ISO 8601 time in UTC.
    """

    name: str
    answer: str
    sides: tuple[tuple[str, ...], ...]
    rules: Mapping[str, Rule] = field(default_factory=dict, repr=False, compare=False)
    by: str | None = field(default=None, repr=False, compare=False)
    at: str | None = field(default=None, repr=False, compare=False)

    def signed(self) -> Answer:
        """The same, given by the user of this machine and now."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # nobody has a name here
            user = None
        return replace(self, by=user, at=datetime.now(UTC).isoformat(timespec="seconds"))

    def as_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        said: dict[str, Any] = {"name": self.name, "sides": [list(side) for side in self.sides]}
        if self.rules:
            said["rules"] = {name: rule.as_dict() for name, rule in self.rules.items()}
        who = {"by": self.by, "at": self.at}
        return said | {"answer": self.answer} | {k: v for k, v in who.items() if v is not None}


@dataclass(frozen=True)
class Answers:
    """What people said of the findings of an audit.

    :func:`read_answers` makes it, and :meth:`ntkit.Audit.answers` without a page.

    Attributes
    ----------
    answers : tuple of Answer
        One for each finding that was answered.
    model : str or None
        SHA-256 of the model that the rules are of.

    Examples
    --------
    >>> from ntkit.jobs.audit import Answer, Answers
    >>> film = Answer("word:film", "spurious", (("word:film",), ("word:movie",)))
    >>> bad = Answer("word:bad", "legitimate", (("word:bad",),))
    >>> [answer.name for answer in Answers((film, bad)).spurious]
    ['word:film']
    """

    answers: tuple[Answer, ...]
    model: str | None = None

    @property
    def spurious(self) -> tuple[Answer, ...]:
        """Those on shortcuts that the model should ignore."""
        return tuple(answer for answer in self.answers if answer.answer == "spurious")

    def with_answer(self, answer: Answer) -> Answers:
        """The same with one more answer, in place of an earlier one on that finding."""
        others = (each for each in self.answers if each.name != answer.name)
        return replace(self, answers=(*others, answer))


def read_answers(path: StrPath) -> Answers:
    """Read the answers that the page of an audit saved.

    Parameters
    ----------
    path : path-like
        A file as ``answers.json``.

    Returns
    -------
    Answers

    Raises
    ------
    InputError
        If it is no such file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.jobs.audit import read_answers
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "answers.json"
    ...     _ = file.write_text(
    ...         '{"ntkit": "answers", "version": 1,'
    ...         ' "answers": [{"name": "word:film", "answer": "spurious"}]}'
    ...     )
    ...     read_answers(file).spurious
    (Answer(name='word:film', answer='spurious', sides=(('word:film',),)),)
    """
    content = read_json(path, largest=_LARGEST, wanted="the answers.json that the page saved")
    entries = entries_of(
        path,
        content,
        kind="answers",
        version=_VERSION,
        refusal=lambda reason: _refusal(path, reason),
        fix="save the answers again on a page that this ntkit wrote.",
    )
    answers = tuple(_answer(path, i, entry) for i, entry in enumerate(entries, start=1))
    counts = Counter(answer.name for answer in answers)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} answers {twice!r} twice; leave one answer.")
    model = content.get("model")
    return Answers(answers, model if isinstance(model, str) else None)


def write_answers(path: StrPath, answers: Answers) -> None:
    """Write answers as the page of an audit saves them; answers that are there are replaced."""
    check_file(path, force=True)
    if Path(path).exists():
        read_answers(path)  # refuses to replace anything else
    content: dict[str, Any] = {"ntkit": "answers", "version": _VERSION}
    content["answers"] = [answer.as_dict() for answer in answers.answers]
    if answers.model is not None:
        content["model"] = answers.model
    with new_file(path) as file:
        file.write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")


# -- several people ----------------------------------------------------------------------------


def joined_answers(files: Mapping[str, Answers]) -> Answers:
    """Join what several people answered."""
    joined, models = dict[str, tuple[str, Answer]](), dict[str, str]()
    for file, answers in files.items():
        if answers.model is not None:
            models.setdefault(answers.model, file)
        for answer in answers.answers:
            earlier, before = joined.get(answer.name, (file, answer))
            if {before.answer, answer.answer} == {"spurious", "legitimate"}:
                yes, no = (file, earlier) if answer.answer == "spurious" else (earlier, file)
                raise InputError(
                    f"{yes} says that {answer.name!r} is a shortcut, and {no} that it matters; "
                    "agree on one answer."
                )
            if answer.name not in joined or before.answer == "unsure":
                joined[answer.name] = file, answer
    if len(models) > 1:
        first, second, *_ = models.values()
        raise InputError(f"{first} and {second} answer on two models; give answers on one.")
    whole = Answers(tuple(answer for _, answer in joined.values()), next(iter(models), None))
    for shortcut, other in _opposite(whole):
        one, two = ({*chain(*answer.sides)} for answer in (shortcut, other))
        # A column as a whole, and one of its values.
        shared = (one & two) | (one & {*map(_column, two)}) | (two & {*map(_column, one)})
        if shared:
            raise _contradiction(shortcut, other, f"both are about {min(shared)!r}")
    return whole


def check_contradictions(answers: Answers, values: Callable[[str], Array]) -> None:
    """Refuse a shortcut that equals a finding that matters, or is its opposite."""
    for yes, no in _opposite(answers):
        one, other = np.asarray(values(yes.name)), np.asarray(values(no.name))
        known = (one >= 0) & (other >= 0)
        same = one[known] == other[known]
        if len(np.unique(one[known])) > 1 and (same.all() or not same.any()):
            how = "say the same" if same.all() else "are each other's opposite"
            raise _contradiction(yes, no, f"they {how} of every sample")


def _column(name: str) -> str:
    """The column that an attribute is a value or a cut of."""
    return name.partition("=")[0].removesuffix(">")


def _opposite(answers: Answers) -> list[tuple[Answer, Answer]]:
    """All pairs of a shortcut and a finding that matters."""
    matters = [answer for answer in answers.answers if answer.answer == "legitimate"]
    return list(product(answers.spurious, matters))


def _contradiction(yes: Answer, no: Answer, reason: str) -> InputError:
    return InputError(
        f"{yes.name!r} is answered as a shortcut and {no.name!r} as what matters, but {reason}; "
        "change one of the two answers."
    )


# -- from a file --------------------------------------------------------------------------------


def _answer(path: StrPath, number: int, entry: Any) -> Answer:
    if not isinstance(entry, dict):
        raise _refusal(path, f"answer {number} is no object")
    name, answer = entry.get("name"), entry.get("answer")
    if not _is_name(name):
        raise _refusal(path, f"answer {number} names no attribute")
    if answer not in ANSWERS:
        raise InputError(
            f"{path} answers {answer!r:.40} on {name!r}; an answer is one of {', '.join(ANSWERS)}."
        )
    sides = _sides(path, name, entry.get("sides", [[name]]))
    rules = _rules(path, name, entry.get("rules", {}))
    for key, what in (("by", "who gave"), ("at", "when somebody gave")):
        value = entry.get(key)
        if value is not None and not (isinstance(value, str) and len(value) <= _LONGEST):
            raise _refusal(
                path, f"{what} the answer on {name!r:.80} is no text of at most {_LONGEST} letters"
            )
    return Answer(name, str(answer), sides, rules, entry.get("by"), entry.get("at"))


def _sides(path: StrPath, name: str, given: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(given, list) or not all(isinstance(side, list) and side for side in given):
        raise _refusal(path, f"the sides of {name!r} are no lists of attributes")
    attributes = [attribute for side in given for attribute in side]
    if not all(map(_is_name, attributes)):
        raise _refusal(path, f"the sides of {name!r} are no lists of attributes")
    if len(set(attributes)) < len(attributes):
        raise InputError(f"{path} has an attribute twice in the sides of {name!r}; leave it once.")
    if not given or name not in given[0]:
        raise InputError(f"{path} lacks {name!r} on the first of its own sides; add it there.")
    return tuple(map(tuple, given))


def _rules(path: StrPath, name: str, given: Any) -> dict[str, Rule]:
    if not isinstance(given, dict):
        raise _refusal(path, f"the rules of {name!r} are no object")
    found = {attribute: Rule.from_dict(rule) for attribute, rule in given.items()}
    wrong = next((attribute for attribute, rule in found.items() if rule is None), None)
    if wrong is not None:
        raise _refusal(path, f"the rule of {wrong!r:.80} is none")
    return {attribute: rule for attribute, rule in found.items() if rule is not None}


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _refusal(path: StrPath, reason: str) -> InputError:
    return InputError(
        f"{path} holds no answers ({reason}); save them with the button of the audit's page."
    )

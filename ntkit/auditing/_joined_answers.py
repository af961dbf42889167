"""Answers of several people as one, and answers that contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.auditing._answers import Answer, Answers
from ntkit.exceptions import InputError

__all__ = ["check_contradictions", "joined_answers"]

Array = NDArray[Any]


def joined_answers(files: Mapping[str, Answers]) -> Answers:
    """Join what several people answered.

    Parameters
    ----------
    files : mapping of str to Answers
        Answers by the name of their file.

    Returns
    -------
    Answers
        One for each finding: the first *yes* or *no* that anybody gave, else *unsure*.

    Raises
    ------
    InputError
        If one says that a finding is a shortcut and another that it matters; if one finding is a
        shortcut and another, that shares an attribute with it, matters; or if the files are of
        different models.

    Examples
    --------
    >>> from ntkit.auditing import Answer, Answers, joined_answers
    >>> ada = Answers((Answer("word:film", "unsure", (("word:film",),)),))
    >>> bob = Answers((Answer("word:film", "spurious", (("word:film",),)),))
    >>> joined_answers({"ada.json": ada, "bob.json": bob}).spurious[0].name
    'word:film'
    """
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
        shared = {*chain(*shortcut.sides)} & {*chain(*other.sides)}
        if shared:
            raise _contradiction(shortcut, other, f"both are about {min(shared)!r}")
    return whole


def check_contradictions(answers: Answers, values: Callable[[str], Array]) -> None:
    """Refuse a shortcut and a finding that matters which are one thing, or each other's opposite.

    Parameters
    ----------
    answers : Answers
        What people said.
    values : callable
        Gives an attribute of every sample by its name: 1, 0, or −1 where it is not known.

    Raises
    ------
    InputError
        If the two are equal on every sample of which both are known, or differ on every one.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.auditing import Answer, Answers, check_contradictions
    >>> sex = {"column:sex=F": np.array([1, 0, 1]), "column:sex=M": np.array([0, 1, 0])}
    >>> said = zip(sex, ("spurious", "legitimate"))
    >>> both = Answers(tuple(Answer(name, answer, ((name,),)) for name, answer in said))
    >>> check_contradictions(both, sex.__getitem__)
    Traceback (most recent call last):
    ntkit.exceptions.InputError: 'column:sex=F' is answered as a shortcut and 'column:sex=M' as ...
    """
    for yes, no in _opposite(answers):
        one, other = np.asarray(values(yes.name)), np.asarray(values(no.name))
        known = (one >= 0) & (other >= 0)
        same = one[known] == other[known]
        if len(np.unique(one[known])) > 1 and (same.all() or not same.any()):
            how = "say the same" if same.all() else "are each other's opposite"
            raise _contradiction(yes, no, f"they {how} of every sample")


def _opposite(answers: Answers) -> list[tuple[Answer, Answer]]:
    """All pairs of a shortcut and a finding that matters."""
    matters = [answer for answer in answers.answers if answer.answer == "legitimate"]
    return list(product(answers.spurious, matters))


def _contradiction(yes: Answer, no: Answer, reason: str) -> InputError:
    return InputError(
        f"{yes.name!r} is answered as a shortcut and {no.name!r} as what matters, but {reason}; "
        "change one of the two answers."
    )

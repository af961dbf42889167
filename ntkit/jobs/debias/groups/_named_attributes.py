"""Attributes that the user named or answered: which side of them each sample is on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.attributes import Rule
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.audit import Answer, Answers, check_contradictions, read_answers
from ntkit.jobs.debias.groups._of_layers import OfLayer, unreadable_layers
from ntkit.jobs.debias.groups._pool import Pool, Sides
from ntkit.jobs.debias.groups._validation_groups import ValidationGroups
from ntkit.model import FrozenModel
from ntkit.store import check_made_with

_SIDES = re.compile(r"\|(?=[a-z]+:)")


@dataclass(frozen=True)
class Named:
    """Attributes that a right answer must not depend on."""

    names: tuple[str, ...]
    sides: Array
    side_names: tuple[tuple[str, ...], ...]
    replaced: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """All of them."""
        return joined(self.names)

    def counted(self) -> list[str]:
        """How many samples are on which side, a sentence for each attribute."""
        said = list[str]()
        for name, on, called in zip(self.names, self.sides.T, self.side_names, strict=True):
            counts = np.bincount(on[on >= 0], minlength=len(called)).tolist()
            parts = [f"{n} on {side}" for n, side in zip(counts[:6], called[:6], strict=True)]
            parts += [f"{sum(counts[6:])} on others"] * (len(called) > 6)
            none = f", {int((on < 0).sum())} on none" if (on < 0).any() else ""
            said.append(f"{name}, training and held-out samples: {', '.join(parts)}{none}.")
        return [*self.replaced, *said]


@dataclass(frozen=True, eq=False)
class Asked:
    """What the user named, or answered, before anything is read."""

    attributes: Mapping[str, Sides]
    rules: Mapping[str, Rule]
    replaced: tuple[str, ...]
    answers: Answers = field(default_factory=lambda: Answers(()))

    @property
    def title(self) -> str | None:
        """All of them; None if there are none."""
        return joined(self.attributes) if self.attributes else None

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the model that must be read."""
        names = (name for sides in self.attributes.values() for side in sides for name in side)
        found = (OfLayer.named(name, self.rules.get(name)) for name in names)
        return tuple(dict.fromkeys(each.layer for each in found if each is not None))

    def read(self, pool: Pool) -> None:
        """Read what needs no layer, for what cannot be read is told before the work."""
        for sides in self.attributes.values():
            if not any(OfLayer.named(name) for side in sides for name in side):
                _check_varies(_titled(sides), pool, *pool.sides(sides, self.rules))
        rules = {n: rule for answer in self.answers.answers for n, rule in answer.rules.items()}
        check_contradictions(
            self.answers, lambda name: _values_or_unknown(pool, name, rules.get(name))
        )

    def named(self, pool: Pool) -> Named | None:
        """Read all of them; None if there are none."""
        if not self.attributes:
            return None
        found = [pool.sides(sides, self.rules) for sides in self.attributes.values()]
        for name, sides in zip(self.attributes, found, strict=True):
            _check_varies(name, pool, *sides)
        on = np.stack([each for each, _ in found], axis=1)
        return Named(tuple(self.attributes), on, tuple(names for _, names in found), self.replaced)


def asked_attributes(
    spurious: Any,
    answers: Answers | str | os.PathLike[str] | None,
    model: FrozenModel,
    sets: Sequence[Samples],
) -> Asked:
    """Gather what the user named."""
    said = Answers(()) if answers is None else answers
    said = said if isinstance(said, Answers) else read_answers(said)
    rules = {name: rule for answer in said.spurious for name, rule in answer.rules.items()}
    refused = unreadable_layers(model, sets)
    given = [_sides_of(each) for each in _listed(spurious)]
    for name in (name for sides in given for side in sides for name in side):
        if (problem := refused(name, None)) is not None:
            raise InputError(problem)
    of_answers = [answer.sides for answer in said.spurious]
    readable = [_without(sides, lambda n: refused(n, rules.get(n))) for sides in of_answers]
    asked = [*given, *(sides for sides in readable if sides)]
    if not asked and of_answers:
        raise InputError(refused(of_answers[0][0][0], rules.get(of_answers[0][0][0])) or "")
    if any(name in rules for sides in readable for side in sides for name in side):
        name = "The answers" if isinstance(answers, Answers) else str(answers)
        check_made_with(name, {"model": said.model}, model)
    replaced = [
        _replaced(*pair, refused(pair[0][0][0], rules.get(pair[0][0][0])))
        for pair in zip(of_answers, readable, strict=True)
    ]
    return Asked(
        {_titled(sides): sides for sides in asked},
        rules,
        tuple(sentence for sentence in replaced if sentence),
        replace(said, answers=(*(_answer(sides) for sides in given), *said.answers)),
    )


def groups_balanced(
    clf: Any, named: Named | None, y: Array, y_index: Array
) -> ValidationGroups | None:
    """Groups of held-out samples, of the attributes that a fitted candidate is balanced over."""
    sides = getattr(clf, "sides_", None)
    if sides is None or named is None:
        return None
    own, called = sides[len(sides) - len(y) :], named.side_names
    return ValidationGroups.of(named.title, y, y_index, own, called, by_person=True)


def _values_or_unknown(pool: Pool, name: str, rule: Rule | None) -> Array:
    """An attribute of every sample; −1 throughout where these samples do not tell it."""
    try:
        return pool.values(name, rule)
    except InputError:
        return np.full(sum(map(len, pool.sets)), -1)


def _check_varies(name: str, pool: Pool, on: Array, called: Sequence[str]) -> None:
    """Refuse an attribute that has one value in each class: the class itself, or its stand-in."""
    y = np.concatenate([samples.y for samples in pool.sets])
    pairs = {(label, called[side]) for label, side in zip(y.tolist(), on, strict=True) if side >= 0}
    if len(pairs) <= len({label for label, _ in pairs}):
        shown = "; ".join(f"class {label}: {side}" for label, side in sorted(pairs, key=str)[:3])
        raise InputError(
            f"{name!r} has one value in each class ({shown}), so it is the class itself or cannot "
            "be told from it; name an attribute that varies within a class."
        )


def _titled(sides: Sides) -> str:
    """What an attribute is called, by the first name of each side."""
    return " against ".join(side[0] for side in sides)


def _answer(sides: Sides) -> Answer:
    """What was named, as an answer."""
    return Answer(sides[0][0], "spurious", sides).signed()


def _listed(spurious: Any) -> list[Any]:
    if spurious is None:
        return []
    return [spurious] if isinstance(spurious, str) else list(spurious)


def _without(sides: Sides, refused: Callable[[str], str | None]) -> Sides:
    """Sides by what can be read of them."""
    told = (tuple(name for name in side if refused(name) is None) for side in sides)
    return tuple(side for side in told if side)


def _replaced(sides: Sides, readable: Sides, problem: str | None) -> str:
    """What became of an answer, in a sentence; empty where it is read as it was asked."""
    if problem is None:
        return ""
    if not readable:
        return f"Left out: {problem}"
    instead = _titled(readable)
    return f"{instead} stands for {sides[0][0]}, of which the answer says that it is much the same."


def _sides_of(given: Any) -> Sides:
    """Sides of an attribute: of a text with | between them, or of nested lists."""
    if isinstance(given, str):
        return tuple((name.strip(),) for name in _SIDES.split(given))
    sides = tuple((side,) if isinstance(side, str) else tuple(side) for side in given)
    if not sides or not all(side and all(isinstance(n, str) for n in side) for side in sides):
        raise InputError(
            f"An attribute is a name, or names for each of its sides as [['word:film'], "
            f"['word:movie']]; got {given!r}."
        )
    return sides


def joined(names: Iterable[str]) -> str:
    return " and ".join(names)

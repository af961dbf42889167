"""Limits that a model is held to: given by hand, or read from a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ntkit._labels import listed, meant_instead
from ntkit.exceptions import InputError

KINDS = ("average", "class", "group", "slice")
"""Subsets that a drop is measured on: all samples, each class, group and named slice."""
_LARGEST = 1 << 20  # bytes of a file
_MINIMA = ("average", "worst_class", "worst_group", "accuracy")


@dataclass(frozen=True)
class SliceLimits:
    """Limits of one named slice, in percent and points."""

    accuracy: float | None = None
    max_drop: float | None = None
    max_new_errors: float | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)


@dataclass(frozen=True)
class ChangeLimits:
    """Limit of one change, in percent."""

    max_flip_rate: float | None = None

    def __post_init__(self) -> None:
        _check_numbers(self)


@dataclass(frozen=True)
class Limits:
    """Limits that a model is held to, in percent and points.

    Parameters
    ----------
    max_drop : float, optional
        Points of accuracy that all samples, and each class, group and named slice, may lose.
    max_new_errors : float, optional
        Largest share of all samples that were right and are wrong.
    average : float, optional
        Least accuracy of all samples.
    worst_class, worst_group : float, optional
        Least accuracy of every class, and of every group.
    over : tuple of str, optional
        What ``max_drop`` is for, of "average", "class", "group" and "slice"; by default all.
    slices : mapping of str to mapping, optional
        Named slices, such as ``word:film``, ``column:site=B`` or ``metadata:site``, and limits of
        their own: ``accuracy`` (the least), ``max_drop``, ``max_new_errors``.
    max_flip_rate : float, optional
        Largest share of samples whose prediction flips when a change is made that must not alter
        the right answer; for each change, of the samples that it applies to.
    changes : mapping of str to mapping or number, optional
        Changes, such as ``image:jpeg=75`` or ``word:please``, and ``max_flip_rate`` of their own.
    alpha : float, default=0.05
        Largest chance of a wrong pass, and of a wrong failure, of the whole check.

    Raises
    ------
    InputError
        If a limit is no number of percent.

    Examples
    --------
    >>> from ntkit.jobs.check import Limits
    >>> Limits(max_drop=2, worst_group=70).stated
    ('max_drop', 'worst_group')
    """

    max_drop: float | None = None
    max_new_errors: float | None = None
    average: float | None = None
    worst_class: float | None = None
    worst_group: float | None = None
    over: tuple[str, ...] = KINDS
    slices: Mapping[str, SliceLimits] = field(default_factory=dict)
    alpha: float = 0.05
    max_flip_rate: float | None = None
    changes: Mapping[str, ChangeLimits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_numbers(self)
        over = (self.over,) if isinstance(self.over, str) else tuple(self.over)
        odd = next((kind for kind in over if kind not in KINDS), None)
        if odd is not None or not over:
            raise InputError(f"over lists some of {', '.join(KINDS)}; got {odd or 'none'!r}.")
        if not _is_number(self.alpha) or not 0 < self.alpha < 0.5:
            raise InputError(f"alpha is a chance between 0 and 0.5; got {self.alpha!r}.")
        object.__setattr__(self, "over", over)

    @property
    def stated(self) -> tuple[str, ...]:
        """Names of the limits that are set."""
        plain = ("max_drop", "max_new_errors", "average", "worst_class", "worst_group")
        names = [name for name in (*plain, "max_flip_rate") if getattr(self, name) is not None]
        slices = [f"slices.{name}" for name, each in self.slices.items() if each != SliceLimits()]
        return (*names, *slices, *(f"changes.{name}" for name in self.changes))

    @property
    def compares(self) -> bool:
        """Whether any of them is about a change, for which two models are needed."""
        of_slices = any(
            each.max_drop is not None or each.max_new_errors is not None
            for each in self.slices.values()
        )
        return self.max_drop is not None or self.max_new_errors is not None or of_slices

    def of_slice(self, name: str) -> SliceLimits:
        """Limits of a named slice, those of all slices among them."""
        limits = self.slices.get(name, SliceLimits())
        if limits.max_drop is None and "slice" in self.over:
            return replace(limits, max_drop=self.max_drop)
        return limits

    def with_changes(self, names: Iterable[str]) -> Limits:
        """The same, with these changes as well."""
        more = {name: ChangeLimits() for name in names if name not in self.changes}
        return replace(self, changes={**self.changes, **more}) if more else self

    def of_change(self, name: str) -> float | None:
        """Largest flip rate of a change, that of all changes unless it has its own."""
        own = self.changes.get(name, ChangeLimits()).max_flip_rate
        return self.max_flip_rate if own is None else own


def limits_of(given: Any, **more: Any) -> Limits:
    """Limits from what a user gives, and others over them."""
    stated = {name: value for name, value in more.items() if value is not None}
    if isinstance(given, Limits):
        return replace(given, **stated) if stated else given
    if given is None:
        return Limits(**stated)
    where = "The limits"
    if isinstance(given, str | os.PathLike):
        where, given = str(given), _toml(Path(given))
    if not isinstance(given, Mapping):
        raise InputError(f"Limits are a mapping, a TOML file or Limits; got {given!r:.60}.")
    _refuse_unknown(given, Limits, where)
    values = {**given}
    for several, read in (("slices", _slice), ("changes", _change)):
        named = values.get(several, {})
        if isinstance(named, list | tuple):
            named = {str(name): {} for name in named}
        if not isinstance(named, Mapping):
            raise InputError(
                f"{where}: {several} is a table of {several}, or a list of their names."
            )
        values[several] = {
            str(name).strip(): read(each, name, where) for name, each in named.items()
        }
    if "over" in values and not isinstance(values["over"], str):
        if not isinstance(values["over"], list | tuple):
            raise InputError(f"{where}: over lists some of {', '.join(KINDS)}.")
        values["over"] = tuple(map(str, values["over"]))
    try:
        return Limits(**values | stated)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _slice(given: Any, name: Any, where: str) -> SliceLimits:
    if isinstance(given, SliceLimits):
        return given
    if not isinstance(given, Mapping):
        raise InputError(
            f"{where}: the limits of the slice {name!r} are a table, such as "
            "{ max_drop = 5, accuracy = 70 }."
        )
    _refuse_unknown(given, SliceLimits, f"{where}, slice {name!r}")
    try:
        return SliceLimits(**given)
    except InputError as error:
        raise InputError(f"{where}, slice {name!r}: {error}") from error


def _change(given: Any, name: Any, where: str) -> ChangeLimits:
    if isinstance(given, ChangeLimits):
        return given
    if _is_number(given):
        given = {"max_flip_rate": given}
    if not isinstance(given, Mapping):
        raise InputError(
            f"{where}: the limit of the change {name!r} is a number of percent, or a table such as "
            "{ max_flip_rate = 2 }."
        )
    _refuse_unknown(given, ChangeLimits, f"{where}, change {name!r}")
    try:
        return ChangeLimits(**given)
    except InputError as error:
        raise InputError(f"{where}, change {name!r}: {error}") from error


def _refuse_unknown(given: Mapping[Any, Any], kind: Any, where: str) -> None:
    known = [each.name for each in fields(kind)]
    for key in given:
        if key not in known:
            meant = meant_instead(key, known)
            raise InputError(
                f"{where}: {key!r} is no limit{f'; did you mean {meant}?' if meant else '.'} "
                f"There are {listed(known, most=len(known))}."
            )


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path} is larger than 1 MB, and a file of limits is not.")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no TOML ({error}).") from error


def _check_numbers(limits: Limits | SliceLimits | ChangeLimits) -> None:
    for name in ("max_drop", "max_new_errors", "max_flip_rate", *_MINIMA):
        value = getattr(limits, name, None)
        if value is None:
            continue
        if not _is_number(value) or not 0 <= value <= 100:
            raise InputError(f"{name} is a number of percent, 0 to 100; got {value!r}.")
        if name in _MINIMA and 0 < value <= 1:
            raise InputError(
                f"{name} = {value:g} would be {value:g} %; limits are in percent, so write "
                f"{100 * value:g}."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value

"""Limits of a check, from arguments or a TOML file."""

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
"""Kinds of subsets: all samples, each class, each group and each named slice."""
_LARGEST = 1 << 20  # bytes of a file
_MINIMA = ("average", "worst_class", "worst_group", "accuracy")


class _Percentages:
    """Limits in percent and percentage points, checked when they are made."""

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_new_errors", "max_flip_rate", *_MINIMA):
            value = getattr(self, name, None)
            if value is None:
                continue
            if not _is_number(value) or not 0 <= value <= 100:
                raise InputError(f"{name} must be a percentage from 0 to 100. Got {value!r}.")
            if name in _MINIMA and 0 < value <= 1:
                raise InputError(
                    f"{name} = {value:g} means {value:g} %, because limits are in percent. Write "
                    f"{100 * value:g}."
                )


@dataclass(frozen=True)
class SliceLimits(_Percentages):
    """Limits of one named slice."""

    accuracy: float | None = None
    max_drop: float | None = None
    max_new_errors: float | None = None


@dataclass(frozen=True)
class ChangeLimits(_Percentages):
    """Limit of one change."""

    max_flip_rate: float | None = None


@dataclass(frozen=True)
class Limits(_Percentages):
    """Limits of :func:`ntkit.check`, in percent and percentage points.

    Parameters
    ----------
    max_drop : float, optional
        Largest drop of accuracy, in percentage points, of all samples and of each class, group and
        named slice.
    max_new_errors : float, optional
        Largest share of new errors among all samples.
    average : float, optional
        Lowest accuracy of all samples.
    worst_class, worst_group : float, optional
        Lowest accuracy of every class, and of every group.
    over : tuple of str, optional
        Kinds of subsets that ``max_drop`` applies to: some of "average", "class", "group" and
        "slice". By default all.
    slices : mapping of str to mapping, optional
        Named slices, such as ``word:film``, ``column:site=B`` or ``metadata:site``, with their
        limits: ``accuracy`` (the lowest), ``max_drop``, ``max_new_errors``.
    max_flip_rate : float, optional
        Largest share of samples whose prediction flips under a change of the inputs. It applies to
        each change, on the samples that the change applies to.
    changes : mapping of str to mapping or number, optional
        Changes that do not change the true class, such as ``image:jpeg=75`` or ``word:please``,
        with their ``max_flip_rate``.
    alpha : float, default=0.05
        Largest probability that the whole check passes wrongly, or fails wrongly.

    Raises
    ------
    InputError
        If a limit is not a number from 0 to 100.

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
        super().__post_init__()
        over = (self.over,) if isinstance(self.over, str) else tuple(self.over)
        odd = next((kind for kind in over if kind not in KINDS), None)
        if odd is not None or not over:
            raise InputError(f"over must list some of {', '.join(KINDS)}. Got {odd or 'none'!r}.")
        if not _is_number(self.alpha) or not 0 < self.alpha < 0.5:
            raise InputError(f"alpha must be between 0 and 0.5. Got {self.alpha!r}.")
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
        """Whether any limit compares two models."""
        of_slices = any(
            each.max_drop is not None or each.max_new_errors is not None
            for each in self.slices.values()
        )
        return self.max_drop is not None or self.max_new_errors is not None or of_slices

    def of_slice(self, name: str) -> SliceLimits:
        """Limits of a named slice, with the limits of all slices as defaults."""
        limits = self.slices.get(name, SliceLimits())
        if limits.max_drop is None and "slice" in self.over:
            return replace(limits, max_drop=self.max_drop)
        return limits

    def with_changes(self, names: Iterable[str]) -> Limits:
        """The limits with further changes of the inputs."""
        more = {name: ChangeLimits() for name in names if name not in self.changes}
        return replace(self, changes={**self.changes, **more}) if more else self

    def of_change(self, name: str) -> float | None:
        """Largest flip rate of a change, or of all changes if it has none."""
        of_change = self.changes.get(name, ChangeLimits()).max_flip_rate
        return self.max_flip_rate if of_change is None else of_change


def limits_of(limits: Any, **more: Any) -> Limits:
    """Limits from an argument, with some values replaced."""
    stated = {name: value for name, value in more.items() if value is not None}
    if isinstance(limits, Limits):
        return replace(limits, **stated) if stated else limits
    if limits is None:
        return Limits(**stated)
    where = "The limits"
    if isinstance(limits, str | os.PathLike):
        where, limits = str(limits), _toml(Path(limits))
    if not isinstance(limits, Mapping):
        raise InputError(f"limits must be a mapping, a TOML file or Limits. Got {limits!r:.60}.")
    values = {**limits}
    for several, (kind, whose, form) in _NAMED.items():
        named = values.get(several, {})
        if isinstance(named, list | tuple):
            named = {str(name): {} for name in named}
        if not isinstance(named, Mapping):
            raise InputError(
                f"{where}: {several} must be a table of {several}, or a list of their names."
            )
        values[several] = read = dict[str, Any]()
        for name, each in named.items():
            if kind is ChangeLimits and _is_number(each):
                each = {"max_flip_rate": each}
            if not isinstance(each, Mapping | kind):
                raise InputError(f"{where}: {whose} {name!r} must be {form}.")
            place = f"{where}, {several.removesuffix('s')} {name!r}"
            read[str(name).strip()] = each if isinstance(each, kind) else _made(kind, each, place)
    if "over" in values and not isinstance(values["over"], str):
        if not isinstance(values["over"], list | tuple):
            raise InputError(f"{where}: over must list some of {', '.join(KINDS)}.")
        values["over"] = tuple(map(str, values["over"]))
    made: Limits = _made(Limits, values | stated, where)
    return made


_NAMED: dict[str, tuple[Any, str, str]] = {
    "slices": (
        SliceLimits, "the limits of the slice", "a table, such as { max_drop = 5, accuracy = 70 }"
    ),
    "changes": (
        ChangeLimits, "the limit of the change",
        "a percentage, or a table such as { max_flip_rate = 2 }",
    ),
}  # fmt: skip


def _made(kind: Any, limits: Mapping[Any, Any], where: str) -> Any:
    """Limits of a kind; an error names the place."""
    known = [each.name for each in fields(kind)]
    for key in limits:
        if key not in known:
            meant = meant_instead(key, known)
            raise InputError(
                f"{where}: {key!r} is not a limit{f'; did you mean {meant}?' if meant else '.'} "
                f"The limits are {listed(known, most=len(known))}."
            )
    try:
        return kind(**limits)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path} is larger than 1 MB, too large for a file of limits.")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML ({error}).") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value

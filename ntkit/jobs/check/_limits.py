"""Limits of a check, from arguments or a TOML file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ntkit._labels import listed, meant_instead, spelt_as
from ntkit._output import is_as_written
from ntkit.attributes.answers import Answers, answers_in
from ntkit.attributes.word_lists import one_spelling
from ntkit.exceptions import InputError
from ntkit.jobs.command_line import quoted
from ntkit.metrics.rows import RATES

KINDS = ("average", "class", "group", "slice")
"""Kinds of subsets: all samples, each class, each group and each named slice."""
_LARGEST = 1 << 20  # bytes of a file
_MINIMA = (
    "average", "worst_class", "worst_group", "accuracy", "min_recall", "min_precision",
    "min_flip_rate",
)  # fmt: skip
RATE_DROPS = ("max_recall_drop", "max_false_positive_increase", "max_precision_drop")
_COMPARING = ("max_drop", "max_new_errors", *RATE_DROPS)


class _Percentages:
    """Limits in percent and percentage points, checked when they are made."""

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_new_errors", "max_flip_rate", *_MINIMA, *RATES):
            value = getattr(self, name, None)
            if name in RATES and isinstance(value, Mapping):
                value = _by_name(value, name)
                object.__setattr__(self, name, value)
                for label, each in value.items():
                    _check_percentage(name, each, f" of {label!r}")
            elif value is not None:
                _check_percentage(name, value, "")

    def those_set(self, names: Iterable[str]) -> list[str]:
        """Those of some limits that are set."""
        return [name for name in names if getattr(self, name, None) not in (None, {})]


def _by_name(
    named: Mapping[Any, Any],
    what: str,
    spelt: Callable[[Any], str] = lambda name: str(name).strip(),
) -> dict[str, Any]:
    """Limits by the names that they mean; two keys of one name raise an error."""
    keys = dict[str, Any]()
    for key in named:
        if (other := keys.setdefault(spelt(key), key)) is not key:
            raise InputError(
                f"{what} has the keys {other!r} and {key!r}, which are one name. Keep one of them."
            )
    return {name: named[key] for name, key in keys.items()}


def _check_percentage(name: str, value: Any, of: str) -> None:
    if not _is_number(value) or not 0 <= value <= 100:
        form = "" if of or name not in RATES else ", or one for each class: { CLASS = 80 }"
        raise InputError(f"{name}{of} must be a percentage from 0 to 100{form}. Got {value!r}.")
    if name in _MINIMA and 0 < value <= 1:
        raise InputError(
            f"{name}{of} = {value:g} means {value:g} %, because limits are in percent. Write "
            f"{100 * value:g}."
        )


Rate = float | Mapping[str, float] | None
"""A limit of the positive class, or of each class by its name."""


@dataclass(frozen=True, kw_only=True)
class _Rates(_Percentages):
    """Limits of classes."""

    min_recall: Rate = None
    max_recall_drop: Rate = None
    max_false_positive_rate: Rate = None
    max_false_positive_increase: Rate = None
    min_precision: Rate = None
    max_precision_drop: Rate = None


@dataclass(frozen=True)
class SliceLimits(_Rates):
    """Limits of one named slice, or of every group."""

    accuracy: float | None = None
    max_drop: float | None = None
    max_new_errors: float | None = None


def over_default(limits: SliceLimits, default: SliceLimits) -> SliceLimits:
    """The limits of a slice, with others where it states none."""
    values = {name: value for name, value in vars(default).items() if value is not None}
    for name, value in vars(limits).items():
        if value is None:
            continue
        if isinstance(value, Mapping) != isinstance(values.get(name, value), Mapping):
            raise InputError(  # one of them would disappear
                f"A column and one of its values limit {name}, one by class and the other as one "
                "number. Name the class in both."
            )
        if isinstance(value, Mapping):
            value = {**values.get(name, {}), **value}
        values[name] = value
    return SliceLimits(**values)


@dataclass(frozen=True)
class ChangeLimits(_Percentages):
    """Limits of one change: of one that must not matter, or with a minimum of one that must."""

    max_flip_rate: float | None = None
    min_flip_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.min_flip_rate, self.max_flip_rate
        if least is not None and most is not None and least > most:
            raise InputError(f"min_flip_rate {least:g} is above max_flip_rate {most:g}.")


@dataclass(frozen=True)
class Limits(_Rates):
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
        Kinds of subsets that ``max_drop`` and the changes of rates apply to: some of "average",
        "class", "group" and "slice". By default all.
    slices : mapping of str to mapping, optional
        Named slices, such as ``word:film``, ``column:site=B`` or ``metadata:site``, with their
        limits: ``accuracy`` (the lowest), ``max_drop``, ``max_new_errors`` and those of classes.
    min_recall, min_precision : float or mapping of str to float, optional
        Lowest recall and precision of a class among all samples. A number is that of the positive
        class: the second of two, or each of several labels. A mapping holds numbers by class.
    max_false_positive_rate : float or mapping of str to float, optional
        Largest share of the samples of other classes that are predicted to be of the class.
    max_recall_drop, max_false_positive_increase, max_precision_drop : float or mapping, optional
        Largest change of these rates for the worse, in percentage points, among all samples and in
        each group and named slice.
    groups : mapping, optional
        Limits of every group, with the keys of a slice.
    max_flip_rate : float, optional
        Largest share of samples whose prediction flips under a change of the inputs. It applies to
        each change without limits, on the samples that the change applies to.
    changes : mapping of str to mapping or number, optional
        Changes that do not change the true class, such as ``image:jpeg=75`` or ``word:please``,
        with their ``max_flip_rate``. Changes that must flip predictions, such as ``word:not``,
        have a ``min_flip_rate``; with two models, their flip rate may drop by ``max_drop``.
    alpha : float, default=0.05
        Largest probability that the whole check passes wrongly, or fails wrongly.
    min_samples : int, default=0
        Slices with fewer samples are only listed, unless they surely lost or break a limit.
    answers : Answers, optional
        Confirmed findings. Their groups class × value are slices, which ``slices`` limits by name.
    repair : mapping, optional
        Facts in the ``repair-limits.toml`` of a repair: SHA-256 of both models, label, groups
        without a limit. They limit nothing.
    folder : path, optional
        Folder of the file that the limits were read from. Their changes read files only inside it.

    Raises
    ------
    InputError
        If a limit is not a number from 0 to 100.

    Examples
    --------
    >>> from ntkit.jobs.check import Limits
    >>> Limits(max_drop=2, worst_group=70).stated
    ('max_drop', 'worst_group')
    >>> Limits(min_recall={"toxic": 80}, groups={"min_recall": {"toxic": 70}}).stated
    ('min_recall', 'groups.min_recall')
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
    groups: SliceLimits = SliceLimits()
    min_samples: int = 0
    answers: Answers = field(default_factory=lambda: Answers(()))
    repair: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.groups, SliceLimits):
            if not isinstance(self.groups, Mapping):
                raise InputError("groups must be a table, such as { min_recall = 70 }.")
            object.__setattr__(self, "groups", _made(SliceLimits, self.groups, "groups"))
        both = {self.worst_group, self.groups.accuracy} - {None}
        if len(both) > 1:
            raise InputError(
                f"worst_group = {self.worst_group:g} and accuracy = {self.groups.accuracy:g} of "
                "groups are one limit, the lowest accuracy of every group. Keep one of them."
            )
        over = (self.over,) if isinstance(self.over, str) else tuple(self.over)
        odd = next((kind for kind in over if kind not in KINDS), None)
        if odd is not None or not over:
            raise InputError(f"over must list some of {', '.join(KINDS)}. Got {odd or 'none'!r}.")
        if not _is_number(self.alpha) or not 0 < self.alpha < 0.5:
            raise InputError(f"alpha must be between 0 and 0.5. Got {self.alpha!r}.")
        if type(self.min_samples) is not int or self.min_samples < 0:
            raise InputError(
                f"min_samples must be a whole number of at least 0. Got {self.min_samples!r}."
            )
        object.__setattr__(self, "over", over)

    @property
    def stated(self) -> tuple[str, ...]:
        """Names of the limits that are set."""
        plain = ("max_drop", "max_new_errors", "average", "worst_class", "worst_group", *RATES)
        names = self.those_set((*plain, "max_flip_rate"))
        groups = [f"groups.{name}" for name in self.groups.those_set(vars(self.groups))]
        slices = [f"slices.{name}" for name, each in self.slices.items() if each != SliceLimits()]
        return (*names, *groups, *slices, *(f"changes.{name}" for name in self.changes))

    @property
    def comparing(self) -> list[str]:
        """Names of the limits that compare two models."""
        every = (self, self.groups, *self.slices.values())
        return [*dict.fromkeys(name for each in every for name in each.those_set(_COMPARING))]

    def of_slice(self, name: str, kind: str = "slice") -> SliceLimits:
        """Limits of a named slice, or of every group, with those of all as defaults."""
        own = self.groups if kind == "group" else self.slices.get(name, SliceLimits())
        of_all = {"accuracy": self.worst_group if kind == "group" else None,
                  "max_drop": self.max_drop if kind in self.over else None}  # fmt: skip
        return replace(own, **{k: value for k, value in of_all.items() if getattr(own, k) is None})

    def rates(self, kind: str, name: str) -> Iterator[tuple[str, Rate]]:
        """Limits of classes within a subset; a later one replaces an earlier one."""
        own = {"average": self, "group": self.groups}.get(kind) or self.slices.get(name)
        over = kind in self.over or (kind == "average" and "class" in self.over)
        for limit in RATES:
            if limit in RATE_DROPS and over:
                yield limit, getattr(self, limit)
            if limit not in RATE_DROPS or kind != "average":
                yield limit, getattr(own, limit, None)

    @property
    def of_classes(self) -> Iterator[tuple[str, str | None]]:
        """Each limit of a class with the name of the class; None for the positive one."""
        for each in (self, self.groups, *self.slices.values()):
            for limit in each.those_set(RATES):
                value = getattr(each, limit)
                for name in value if isinstance(value, Mapping) else (None,):
                    yield limit, name

    def spelt_as(self, classes: Any) -> Limits:
        """The limits with the names of classes as others spell them, in any Unicode form."""

        def spelt(part: Any) -> Any:
            by_class = {
                limit: _by_name(value, limit, lambda name: spelt_as([name], classes).item())
                for limit in RATES
                if isinstance(value := getattr(part, limit), Mapping)
            }
            return replace(part, **by_class) if by_class else part

        slices = {name: spelt(each) for name, each in self.slices.items()}
        whole: Limits = replace(spelt(self), groups=spelt(self.groups), slices=slices)
        return whole

    def with_changes(self, names: Iterable[str]) -> Limits:
        """The limits with further changes of the inputs."""
        more = {name: ChangeLimits() for name in names if name not in self.changes}
        return replace(self, changes={**self.changes, **more}) if more else self

    def of_change(self, name: str) -> ChangeLimits:
        """Limits of a change, or the largest flip rate of all changes if it has none."""
        own = self.changes.get(name)
        return ChangeLimits(self.max_flip_rate) if own in (None, ChangeLimits()) else own


def limits_with(limits: Any, **options: Any) -> tuple[Limits, list[str]]:
    """Limits from an argument with options, which precede them, and notes on what they replace."""
    stated = {name: value for name, value in options.items() if value is not None}
    whole, notes = limits_of(limits, **stated), list[str]()

    def tightened(part: Any, limit: str, kind: str, where: str) -> Any:
        option, own = stated.get(limit), getattr(part, limit)
        if option is None or own is None or (kind not in whole.over and kind != "change"):
            return part
        by_class = isinstance(own, Mapping)
        if by_class != isinstance(option, Mapping):
            raise InputError(
                f"{where}: {limit} is {'by class' if by_class else 'one number'}, and the option "
                f"sets {'one number' if by_class else 'it by class'}. Name the class in both."
            )
        least = (
            {name: min(each, option.get(name, each)) for name, each in own.items()}
            if by_class
            else min(own, option)
        )
        if least == own:
            return part
        shown = "" if by_class else f" {option:g}"
        told = "" if by_class else f" = {own:g}"
        notes.append(f"--{limit.replace('_', '-')}{shown} replaces {limit}{told} of {where}.")
        return replace(part, **{limit: least})

    groups, slices, changes = whole.groups, {**whole.slices}, {**whole.changes}
    for limit in ("max_drop", *RATE_DROPS):
        groups = tightened(groups, limit, "group", "[groups]")
        for name, each in slices.items():
            slices[name] = tightened(each, limit, "slice", f"the slice {name!r}")
    for name, change in changes.items():
        changes[name] = tightened(change, "max_flip_rate", "change", f"the change {name!r}")
    return replace(whole, groups=groups, slices=slices, changes=changes), notes


def limits_of(limits: Any, **more: Any) -> Limits:
    """Limits from an argument, with some values replaced."""
    stated = {name: value for name, value in more.items() if value is not None}
    if isinstance(limits, Limits):
        if "worst_group" in stated:  # the same limit by its other name
            stated["groups"] = replace(limits.groups, accuracy=None)
        return replace(limits, **stated) if stated else limits
    if limits is None:
        return Limits(**stated)
    where, folder = "The limits", None
    if isinstance(limits, str | os.PathLike):
        where, path = str(limits), Path(limits)
        folder = path.parent
        limits = table_of_project(path) if path.name == PYPROJECT else _toml(path)
        if limits is None:
            raise InputError(
                f"{path} has no table [tool.ntkit.check]. Add it with limits, such as max_drop = 2."
            )
    if not isinstance(limits, Mapping):
        raise InputError(f"limits must be a mapping, a TOML file or Limits. Got {limits!r:.60}.")
    values = {**limits}
    if "worst_group" in stated and isinstance(groups := values.get("groups"), Mapping):
        values["groups"] = {k: v for k, v in groups.items() if k != "accuracy"}  # the same limit
    stated |= _rates_by_class(values, stated, where)
    if isinstance(each := values.get("answers"), list):
        values["answers"] = answers_in(where, {**Answers(()).as_dict(), "answers": each})
    for name, kind in (("answers", Answers), ("repair", Mapping)):
        if name in values and not isinstance(values[name], kind):
            raise InputError(f"{where}: {name} is damaged. Take the file that ntkit debias wrote.")
    values |= {
        several: _named_limits(several, values.get(several, {}), where) for several in _NAMED
    }
    if "over" in values and not isinstance(values["over"], str):
        if not isinstance(values["over"], list | tuple):
            raise InputError(f"{where}: over must list some of {', '.join(KINDS)}.")
        values["over"] = tuple(map(str, values["over"]))
    made: Limits = _made(Limits, values | stated, where)
    return replace(made, folder=folder)


def _rates_by_class(
    values: Mapping[str, Any], stated: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Rates by class that an option sets, with those of a file for the other classes."""
    joined = dict[str, Any]()
    for name in RATES:
        if None in (values.get(name), stated.get(name)):
            continue
        of_file, of_option = (isinstance(each[name], Mapping) for each in (values, stated))
        if of_file != of_option:  # the other limit would disappear
            raise InputError(
                f"{where}: {name} is {'by class' if of_file else 'one number'}, and the option "
                f"sets {'one number' if of_file else 'it by class'}. Name the class in both."
            )
        if of_file:
            joined[name] = _by_name(values[name], f"{where}: {name}") | stated[name]
    return joined


def _named_limits(several: str, named: Any, where: str) -> dict[str, Any]:
    """Limits of slices or of changes by their names, from a table or a list of names."""
    kind, whose, form = _NAMED[several]
    if isinstance(named, list | tuple):
        named = {str(name): {} for name in named}
    if not isinstance(named, Mapping):
        raise InputError(
            f"{where}: {several} must be a table of {several}, or a list of their names."
        )
    _by_name(named, f"{where}: {several}", lambda name: one_spelling(str(name)))
    limits = dict[str, Any]()
    for name, each in _by_name(named, f"{where}: {several}").items():
        if kind is ChangeLimits and _is_number(each):
            each = {"max_flip_rate": each}
        if not isinstance(each, Mapping | kind):
            raise InputError(f"{where}: {whose} {name!r} must be {form}.")
        place = f"{where}, {several.removesuffix('s')} {name!r}"
        limits[name] = each if isinstance(each, kind) else _made(kind, each, place)
    return limits


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
    known = [each.name for each in fields(kind) if each.name != "folder"]  # no file may set it
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


PYPROJECT = "pyproject.toml"
_OURS = re.compile(
    r"""tool\s*\.\s*["']?ntkit\b|(^|[{,])\s*["']?ntkit["']?\s*(\.|=(?!=))""", re.MULTILINE
)


def limits_of_project(path: Path = Path(PYPROJECT)) -> tuple[Path | None, list[str]]:
    """The pyproject.toml of the working directory if it has limits, and a note on it."""
    if not path.is_file():
        return None, []
    try:
        found = table_of_project(path)
    except InputError as error:
        if _has_limits(path):  # options replace only single ones of them
            raise
        return None, [f"{error} No limits are in this file, so ntkit goes on without it."]
    if not found:
        return None, []
    return path, [f"Limits are read from [tool.ntkit.check] in {path}; options override it."]


REPAIR_LIMITS = "repair-limits.toml"
"""File next to a repaired model."""


def limits_of_repair(folder: Path, repair: Mapping[str, Any]) -> tuple[Limits | None, list[str]]:
    """The limits that came with a model in a folder, and a note if they are not used.

    ``repair`` has the SHA-256 of both models, and the label.
    """
    path = folder / REPAIR_LIMITS
    if not os.path.lexists(path):
        return None, []
    add = f"--limits {path}"
    if (label := _label_of(path)) not in (None, repair.get("label")):
        add += f" --label {quoted(label)}"
    if os.environ.get("CI"):
        return None, [f"{path} is not read by itself where CI is set. To use it, add: {add}"]
    problem = "is a link, a copy, or not as ntkit wrote it"
    if is_as_written(path):
        try:
            limits = limits_of(path)
        except InputError as error:
            return None, [f"ntkit goes on without {path}: {error}"]
        known = {name: limits.repair.get(name) for name in repair}
        if known == repair:
            return limits, []
        problem = "is of another pair of models, or of another label"
    return None, [f"{path} {problem}, so ntkit goes on without it. To use it anyway, add: {add}"]


def _label_of(path: Path) -> Any:
    """The label that limits of a repair are about, of several; None without one."""
    with suppress(InputError):
        return limits_of(path).repair.get("label")
    return None


def table_of_project(path: Path) -> Any:
    """The table [tool.ntkit.check] of a pyproject.toml; None without it."""
    content: Any = _toml(path)
    for key in ("tool", "ntkit"):
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        return None
    for key in content:
        if key != "check":
            meant = meant_instead(key, ["check"])
            fix = "did you mean check?" if meant else "limits are in its table check."
            raise InputError(f"{path}: [tool.ntkit] has {key!r}, which ntkit does not read; {fix}")
    return content.get("check")


def _has_limits(path: Path) -> bool:
    """Whether a broken pyproject.toml names a table of ntkit, or may do so."""
    try:
        text = path.read_bytes()[:_LARGEST].decode("utf-8")
    except (OSError, UnicodeDecodeError):  # UTF-16, for example
        return True
    return bool(_OURS.search(text))


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


def toml_of(limits: Limits, comments: Iterable[str] = ()) -> str:
    """Limits as a TOML file, which :func:`limits_of` reads, after lines of comments."""
    lines = [f"# {json.dumps(each, ensure_ascii=False)[1:-1]}" for each in comments] + [""]
    tables = dict[str, Any]()
    limits = replace(limits, folder=None)
    for each in fields(limits):
        value = getattr(limits, each.name)
        if each.name in _NAMED or isinstance(value, SliceLimits):
            value = _set_in(value)
        if each.name == "answers":
            value = value.as_dict()["answers"]
        if value in (None, 0, {}, []) or (each.name == "over" and value == KINDS):
            continue
        if isinstance(value, Mapping) and each.name not in RATES:
            tables[each.name] = value
        else:
            lines.append(f"{each.name} = {_toml_value(value)}")
    for name, table in tables.items():
        lines += [
            "",
            f"[{name}]",
            *(f"{_toml_value(k)} = {_toml_value(v)}" for k, v in table.items()),
        ]
    return "\n".join(lines) + "\n"


def _set_in(limits: Any) -> dict[str, Any]:
    """Limits that are set, without the others."""
    if isinstance(limits, Mapping):
        return {name: _set_in(each) for name, each in limits.items()}
    return {name: value for name, value in vars(limits).items() if value is not None}


def _toml_value(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_toml_value(str(k))} = {_toml_value(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

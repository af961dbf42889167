"""Columns of a table: categories, numbers with thresholds at quantiles, and missing values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from functools import cache
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._join import columns_of, in_order
from ntkit._key import marked, names_apart, shown
from ntkit._labels import alike_note, composed, plain_value, replaces_number
from ntkit._text import counted
from ntkit._types import Array
from ntkit.attributes.feature_set import Block, FeatureSet, common_enough

_EXACT = 2**53  # whole numbers up to here are exact in double precision
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_PADDED = re.compile(r"0\d+")
_FRACTION = re.compile(r"-?\d+\.(\d+)")
_MOST_CODES = 50  # of versions and the like; more are measurements
_DIGITS = re.compile(r"\W*\d[\d\W]*")  # numbers, dates and times in any notation
_WITH_UNIT = re.compile(r"[+-]?\d[\d.,]*\s*([^\W\d_][^\d\s]*)")  # 5.6 mg, 40 kg/m²
_MOST_UNITS = 3  # in one column; with more, they are letters of codes such as 12a
_MOSTLY = 0.9  # of the cells: a column of numbers or dates with other cells
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def cuts_of(values: Array) -> Array:
    """Unique thresholds at quantiles of the known values, in ascending order."""
    there = values[~np.isnan(values)]
    if not len(there):
        return np.empty(0)
    cuts = np.unique(np.quantile(there, _QUANTILES, method="higher"))
    counts = (there[:, None] >= cuts).sum(axis=0)
    return np.asarray(cuts[common_enough(counts, len(there))])


_FEW = 10  # so few different numbers are treated as categories


@documented
def columns(table: Any, *, kind: str = "column") -> FeatureSet:
    """Feature set of the columns of a table.

    A column of texts gives one attribute for each category that at least 1 % of the samples have,
    such as ``column:sex=Female``. A column of numbers gives one for each of some quantiles,
    ``column:age>=37``, or for each number if there are ten at most. A number that most samples have
    gives ``column:gain=0``. A sample without a value has none of these attributes; it has the
    attribute ``column:age missing``. Among numbers and dates, texts such as ``NA``, ``unknown`` and
    ``-`` count as missing. Durations are numbers of seconds.

    Parameters
    ----------
    table : DataFrame or mapping of str to array-like of shape (N,)
        Values by column. None, NaN and empty texts count as missing.
    kind : str, default="column"
        Prefix of the names.

    {feature_set.returned}

    Raises
    ------
    InputError
        If columns differ in length, or are not one-dimensional.

    Examples
    --------
    >>> from ntkit.attributes import columns
    >>> feature_set = columns({"site": ["A", "B", "A", ""] * 5, "age": range(20)})
    >>> [name for block in feature_set.blocks() for name in block.names]
    ['column:site=A', 'column:site=B', 'column:site missing', 'column:age>=5', 'column:age>=10',
     'column:age>=15']
    """
    by_name = columns_of(table)
    n_samples = len(next(iter(by_name.values()), ()))

    @cache  # several passes need them, and texts of numbers are slow to read
    def read(name: str) -> Column:
        return read_column(by_name[name])

    names = dict(zip(by_name, names_apart([*by_name]), strict=True))

    def blocks() -> Iterator[Block]:
        for name, called in names.items():
            yield from _blocks_of(f"{kind}:{called}", read(name))

    def notes() -> list[str]:
        return [note for name, called in names.items() for note in read(name).notes(kind, called)]

    return FeatureSet(kind, True, n_samples, blocks, notes=notes)


def origins_of(kind: str, names: Iterable[str]) -> set[str]:
    """What names of attributes of some columns may begin with, whatever the other columns are."""
    return {f"{kind}:{form}" for name in names for form in (shown(name), marked(name))}


@dataclass(frozen=True)
class Column:
    """A column as codes of its categories, or as numbers."""

    known: Array
    codes: Array | None  # −1 if the value is missing
    labels: list[str]
    numbers: Array | None
    of_labels: Array | None = None  # the number of each label, if it is one
    dates: bool = False  # whether the numbers are seconds
    zoned: frozenset[bool] = frozenset()  # of dates: whether they have an offset from UTC
    no_number: tuple[str, ...] = ()  # texts among numbers that count as missing
    odd: tuple[str, ...] = ()  # cells that keep a column of numbers from being one

    def notes(self, kind: str, name: str, compared: Iterable[str] = ()) -> list[str]:
        """Sentences on how the cells, and values compared with them, were read, if not evident."""
        called, n, notes = f"{kind}:{name}", len(self.no_number), list[str]()
        if self.dates and len(self.zoned | zoned_among(compared)) > 1:
            notes.append(
                f"{called!r}: of its times and those it is compared with, only some have an offset "
                "from UTC. Those without count as UTC."
            )
        if self.codes is not None:
            named = {*map(composed, compared)}
            plain = {*map(plain_value, named)}
            alike = [label for label in self.labels if plain_value(label) in plain]
            if not named.issuperset(alike):  # else who named all of them knows
                notes += alike_note(alike, f"Values of {called!r}")
        if self.no_number:
            text = min(self.no_number)
            notes.append(
                f"{called!r}: {counted(n, 'cell')} such as {text!r} mean{'s' * (n == 1)} missing."
            )
        if self.odd:
            return [
                f"{called!r} is read as categories, because of cells such as {self.odd[0]!r:.40}. "
                "Write numbers like 1234.5, without units or signs, and dates like 2026-11-30."
            ]
        return notes

    @property
    def categories(self) -> tuple[Array, list[str]]:
        """Codes and labels; for numbers, one category for each that occurs."""
        if self.codes is not None:
            return self.codes, self.labels
        assert self.numbers is not None
        assert self.of_labels is not None
        codes = np.where(self.known, np.searchsorted(self.of_labels, self.numbers), -1)
        texts = self.as_dates if self.dates else _as_texts
        return codes, self.labels or texts(self.of_labels.tolist())

    def as_dates(self, seconds: Iterable[float]) -> list[str]:
        """Seconds as dates, with a time if one is not midnight or if the column has offsets."""
        dates = [datetime.fromtimestamp(value, UTC).replace(tzinfo=None) for value in seconds]
        if True in self.zoned:
            return [f"{date.isoformat()}Z" for date in dates]
        whole = all(date.time() == time() for date in dates)
        return [(date.date() if whole else date).isoformat() for date in dates]


def _blocks_of(name: str, column: Column) -> Iterator[Block]:
    n, n_samples = int(column.known.sum()), len(column.known)
    known = None if n == n_samples else column.known
    if column.codes is not None:
        counts = np.bincount(column.codes[column.known], minlength=len(column.labels))
        kept = np.flatnonzero(common_enough(counts, n))
        called = names_apart(column.labels)
        names = tuple(f"{name}={called[i]}" for i in kept)
        if names:
            yield Block(names, column.codes[:, None] == kept, known, (name,) * len(names))
    elif column.numbers is not None:
        cuts = cuts_of(column.numbers)
        numbers = column.numbers
        shown_cuts = column.as_dates(cuts) if column.dates else [_cut(c, numbers) for c in cuts]
        names = tuple(f"{name}>={cut}" for cut in shown_cuts)
        has = column.numbers[:, None] >= cuts  # NaN is below every threshold
        usual = column.numbers == np.nanmedian(column.numbers)
        if 2 * usual.sum() > n and common_enough(usual.sum(), n):
            codes, labels = column.categories
            names = (*names, f"{name}={labels[codes[usual][0]]}")
            has = np.column_stack([has, usual])
        if names:
            yield Block(names, has, known, (name,) * len(names))
    if common_enough(np.asarray(n_samples - n), n_samples):
        yield Block((f"{name} missing",), ~column.known[:, None])


def read_column(values: Array) -> Column:
    """Values as categories if they are few or texts, else as numbers."""
    if values.dtype.kind in "iu" and len(values) and max(-values.min(), values.max()) > _EXACT:
        return _of_categories([*map(str, values.tolist())])
    if values.dtype in (np.float16, np.float32):  # 0.7 is 0.7 in any precision
        single, at = np.unique(values, return_inverse=True)
        return _of_numbers(single.astype(str).astype(np.float64)[at.ravel()])
    if values.dtype.kind in "fiu":
        return _of_numbers(values.astype(np.float64))
    if values.dtype.kind == "M":
        texts = np.datetime_as_string(values.astype("M8[s]")).astype(object)
        values = np.where(np.isnat(values), "", texts)
    if values.dtype.kind == "m":
        return _of_numbers(np.where(np.isnat(values), np.nan, values / np.timedelta64(1, "s")))
    if values.dtype.kind == "b":
        return _of_categories([str(value) for value in values])
    return _of_texts(
        [None if _is_missing(value) else str(value).strip() for value in values.tolist()]
    )


def _of_texts(cells: list[str | None]) -> Column:
    """Numbers or dates if all cells are, besides words for a missing value; else categories."""
    distinct = {cell for cell in cells if cell is not None}
    for dates, value_of in ((False, number_of), (True, seconds_of)):
        read = {cell: value_of(cell) for cell in distinct}
        without = [cell for cell, value in read.items() if value != value and cell.lower() != "nan"]
        if len(without) == len(distinct) > 0 or not all(map(replaces_number, without)):
            continue
        if not dates and _are_codes([None if cell in without else cell for cell in cells]):
            return _of_categories(cells)
        found = np.asarray([np.nan if cell is None else read[cell] for cell in cells])
        no_number = tuple(cell for cell in cells if cell is not None and cell in without)
        return replace(_of_numbers(found, read, dates=dates), no_number=no_number)
    return replace(_of_categories(cells), odd=_odd_cells(cells))


def _odd_cells(cells: Sequence[str | None]) -> tuple[str, ...]:
    """Cells that are neither numbers nor dates in a column that seems to hold these, or none."""
    of_all = Counter(cell for cell in cells if cell is not None)
    counts = {cell: n for cell, n in of_all.items() if not replaces_number(cell)}
    enough = _MOSTLY * sum(counts.values())
    for value_of in (number_of, seconds_of):
        odd = [cell for cell in counts if value_of(cell) != value_of(cell)]
        n_odd = sum(counts[cell] for cell in odd)
        if odd and len(counts) - len(odd) > _FEW and sum(counts.values()) - n_odd >= enough:
            return tuple(odd)
    like_numbers = [cell for cell in counts if _DIGITS.fullmatch(cell)]
    units = {cell: found[1] for cell in counts if (found := _WITH_UNIT.fullmatch(cell))}
    if len({*units.values()}) <= _MOST_UNITS:
        like_numbers += units
    many = len(like_numbers) > _MOST_CODES and sum(counts[c] for c in like_numbers) >= enough
    return tuple(like_numbers) if many else ()


def _are_codes(cells: Sequence[str | None]) -> bool:
    """Whether numbers are versions or codes: spelt apart, such as 7 and 007, or of 16 digits."""
    spelt = {cell for cell in cells if cell is not None}
    if any(cell.isdecimal() and int(cell) > _EXACT for cell in spelt):
        return True
    if len(spelt) > _MOST_CODES:
        return any(_PADDED.fullmatch(cell) and str(int(cell)) in spelt for cell in spelt)
    plain = {re.sub(r"^(-?\d+)\.0*$", r"\1", cell) for cell in spelt}  # 1.0 is 1
    ends = [match[1] for cell in plain if (match := _FRACTION.fullmatch(cell))]
    uneven = len({*map(len, ends)}) > 1 and any(end.endswith("0") for end in ends)  # 1.9 and 1.10
    return uneven or len({float(cell) for cell in plain}) < len(plain)


def number_of(text: str) -> float:
    """A text as a number; NaN if it is not one, such as the code 1_2, which Python takes for 12."""
    try:
        return float("nan" if "_" in text else text)
    except ValueError:
        return float("nan")


def seconds_of(text: str) -> float:
    """Seconds from 1970 to a date such as 2026-11-30, perhaps with a time; NaN for other texts."""
    # Times with an offset are instants. Others have no zone, and are taken as UTC.
    date = _date_of(text)
    return float("nan") if date is None else date.replace(tzinfo=date.tzinfo or UTC).timestamp()


def zoned_among(texts: Iterable[str]) -> frozenset[bool]:
    """Whether dates among these texts have an offset from UTC."""
    dates = [date for date in map(_date_of, texts) if date is not None]
    return frozenset(date.tzinfo is not None for date in dates)


def _date_of(text: str) -> datetime | None:
    """A text as a date, in UTC if it has an offset; None for other texts."""
    try:
        date = datetime.fromisoformat(text) if _DATE.match(text) else None
        return date if date is None or date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):  # the first or last day of all that have a number
        return None


def _of_numbers(numbers: Array, cells: Iterable[str] = (), *, dates: bool = False) -> Column:
    """Numbers; cells such as 0815 are called as they are written."""
    known = ~np.isnan(numbers)
    distinct, labels = np.unique(numbers[known]), list[str]()
    if padded := {float(cell): cell for cell in {*cells} if _PADDED.fullmatch(cell)}:
        plain = _as_texts(distinct.tolist())
        labels = [padded.get(of, text) for of, text in zip(distinct.tolist(), plain, strict=True)]
    zoned = zoned_among(cells) if dates else frozenset()
    column = Column(known, None, labels, numbers, distinct, dates, zoned)
    if len(distinct) > _FEW:
        return column
    return Column(column.known, *column.categories, None, distinct, dates, zoned)


def _of_categories(cells: list[str | None]) -> Column:
    form: dict[str | None, str] = {cell: composed(cell) for cell in {*cells} if cell is not None}
    labels = sorted({*form.values()})
    number = {label: i for i, label in enumerate(labels)}
    code: dict[str | None, int] = {cell: number[label] for cell, label in form.items()}
    codes = np.asarray([code.get(cell, -1) for cell in cells], dtype=np.int64)
    return Column(codes >= 0, codes, labels, None)


def _is_missing(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    same = value == value
    return value is None or not (isinstance(same, bool | np.bool_) and bool(same))


def number(value: float, digits: int = 6) -> str:
    """A number as text, with at most so many digits if it is not whole."""
    whole = np.isfinite(value) and float(value).is_integer() and abs(value) <= _EXACT
    return str(int(value)) if whole else f"{value:.{digits}g}"


def _as_texts(values: Sequence[float]) -> list[str]:
    """Different numbers as different texts, with six digits if these are enough."""
    for digits in range(6, 18):
        texts = [number(value, digits) for value in values]
        if len({*texts}) == len(texts):
            break
    return texts


def _cut(cut: float, values: Array) -> str:
    """The threshold with the fewest digits, from six on, that splits the values in the same way."""
    text = number(cut)
    below = np.max(values, where=values < cut, initial=-np.inf)
    for digits in range(6, 18):
        if below < float(text) <= cut:
            break
        text = f"{cut:.{digits}g}"
    return text


@documented
def metadata(table: Any, ids: Sequence[str] | None = None, *, key: str = "file_name") -> FeatureSet:
    """Feature set of a table with more facts about the samples, such as site, device or time.

    Parameters
    ----------
    table : DataFrame or mapping of str to array-like
        Values by column.
    ids : sequence of str, length N, optional
        Unique name of each sample, such as its file; the column ``key`` matches rows with samples.
        A sample without a row is missing in every column. Without names, row i belongs to sample i.
    key : str, default="file_name"
        Column with the names of the samples.

    {feature_set.returned}

    Raises
    ------
    InputError
        If the column is missing, names a sample twice, or no name matches.

    Examples
    --------
    >>> from ntkit.attributes import metadata
    >>> ids = [f"{i}.png" for i in range(20)]
    >>> table = {"file_name": ids[5:], "site": ["A"] * 7 + ["B"] * 8}
    >>> feature_set = metadata(table, ids)
    >>> [name for block in feature_set.blocks() for name in block.names]
    ['metadata:site=A', 'metadata:site=B', 'metadata:site missing']
    """
    return columns(in_order(table, ids, key), kind="metadata")

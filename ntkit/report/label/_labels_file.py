"""Labels as a CSV: a column of names of samples, and one of what a person says of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._disk import StrPath
from ntkit._labels import listed, meant_instead
from ntkit.exceptions import InputError

__all__ = ["Labels", "cell_of", "csv_of", "read_labels"]

_FORMULA = ("=", "+", "-", "@", "\t", "'")
_LARGEST = 64 << 20  # bytes
_FIRST_CELL = re.compile(r'(?:"(?:[^"]|"")*"|[^",;]*)([,;])')  # some spreadsheets write ;


@dataclass(frozen=True)
class Labels:
    """What a person said of some samples.

    Attributes
    ----------
    attribute : str
        What was asked about.
    of : dict of str to str
        The value of each sample that was labelled, by its name.

    Examples
    --------
    >>> from ntkit.report.label import Labels
    >>> labels = Labels("background", {"a.png": "water", "c.png": "land"})
    >>> labels.index(["a.png", "b.png", "c.png"], ["land", "water"]).tolist()
    [1, -1, 0]
    """

    attribute: str
    of: dict[str, str]

    def index(self, ids: Iterable[Any], values: Sequence[str]) -> NDArray[np.int64]:
        """Index of the value of each sample; −1 where it has no label.

        Parameters
        ----------
        ids : iterable
            Names of all samples.
        values : sequence of str
            The values, in the order of their indices.

        Returns
        -------
        ndarray of int, shape (N,)

        Raises
        ------
        InputError
            If a sample that was labelled is not among them, or a label not among the values.
        """
        names = [str(name) for name in ids]
        known = set(names)
        missing = next((name for name in self.of if name not in known), None)
        if missing is not None:
            raise InputError(
                f"The labels name the sample {missing!r}, which is not among the {len(names)} "
                "samples; give the labels of these."
            )
        number = {value: i for i, value in enumerate(values)}
        odd = next((value for value in self.of.values() if value not in number), None)
        if odd is not None:
            raise _unknown(odd, values, "Among the labels is")
        return np.asarray([number[self.of[n]] if n in self.of else -1 for n in names], np.int64)


def read_labels(path: StrPath, values: Sequence[str] | None = None) -> Labels:
    r"""Read the labels that a page saved, or that were filled into its CSV.

    Parameters
    ----------
    path : path-like
        A CSV of two columns: names of samples, and labels; samples without a label may be there.
    values : sequence of str, optional
        What a label may be.

    Returns
    -------
    Labels

    Raises
    ------
    InputError
        If it is no such file, names a sample twice, or holds another label.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.report.label import read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "labels.csv"
    ...     _ = file.write_text("id,background\na.png,water\nb.png,\n")
    ...     read_labels(file)
    Labels(attribute='background', of={'a.png': 'water'})
    """
    rows = _rows(Path(path))
    if not rows or len(rows[0][1]) != 2:
        raise InputError(f"{path} needs a header of two columns: id and the name of the attribute.")
    (_, (_, attribute)), *lines = rows
    found, seen = dict[str, str](), set[str]()
    for line, cells in lines:
        if len(cells) != 2:
            raise InputError(f"{path}, line {line}, has {len(cells)} cells; leave two.")
        name, value = _plain(cells[0]), _plain(cells[1]).strip()
        if name in seen:
            raise InputError(f"{path}, line {line}, names the sample {name!r} again; leave one.")
        seen.add(name)
        if not value:
            continue
        if values is not None and value not in values:
            raise _unknown(value, values, f"{path}, line {line}, says")
        found[name] = value
    return Labels(_plain(attribute), found)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no file; name the CSV with the labels.")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path} is larger than {_LARGEST >> 20} MB, too large for labels.")
        text = content.decode("utf-8-sig")
        first = _FIRST_CELL.match(text)
        delimiter = first[1] if first else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8; save it as CSV in UTF-8.") from error
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a CSV ({error}).") from error


def _unknown(value: str, values: Sequence[str], where: str) -> InputError:
    meant = meant_instead(value, values)
    hint = f" Did you mean {meant}?" if meant else ""
    return InputError(f"{where} {value!r:.80}; labels are {listed(values)}.{hint}")


def csv_of(ids: Iterable[str], attribute: str) -> str:
    """A CSV to fill in: all samples, no labels."""
    lines = [f"id,{cell_of(attribute)}", *(f"{cell_of(name)}," for name in ids)]
    return "\r\n".join(lines) + "\r\n"


def cell_of(text: str) -> str:
    """A text as a cell of a CSV that no spreadsheet takes for a formula."""
    guarded = f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text
    if guarded == guarded.strip() and not any(c in guarded for c in '",;\r\n'):
        return guarded
    doubled = guarded.replace('"', '""')
    return f'"{doubled}"'


def _plain(cell: str) -> str:
    """What a cell that :func:`cell_of` made says."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""Results as notebooks show them, and as data frames: a table with small bars, and rows."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ntkit.exceptions import MissingDependencyError


@dataclass(frozen=True)
class Bar:
    """A share in [0, 1], with the one before or with its interval."""

    value: float
    before: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ShownTable:
    """Rows of texts, the header first; for each other row a bar, and small images as data URIs."""

    rows: Sequence[Sequence[str]]
    bars: Sequence[Bar | None] = ()
    images: Sequence[Sequence[str]] = ()
    bars_show: str = ""  # where not the column before them


@dataclass(frozen=True)
class NotebookView:
    """The first lines of a result, and its tables."""

    lines: Sequence[str]
    tables: Sequence[ShownTable] = ()


class InNotebook:
    """A result that a notebook shows as its first lines and tables."""

    def _shown(self) -> NotebookView:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        from ntkit._html import notebook_html  # templates are slow to import

        shown = self._shown()
        return notebook_html(shown.lines, shown.tables)


class PageInNotebook:
    """A page inside a notebook's cell; it works offline and cannot reach the notebook."""

    def __init__(self, page: str, height: int) -> None:
        self.page, self.height = page, height

    def _repr_html_(self) -> str:
        # Without allow-same-origin, scripts of the page see nothing outside their frame.
        return (
            '<iframe title="ntkit" sandbox="allow-scripts allow-downloads" '
            f'style="width: 100%; height: {self.height:d}px; border: 0" '
            f'srcdoc="{escape(self.page)}"></iframe>'
        )


def bar_of(row: Any) -> Bar | None:
    """The bar of a row of metrics: before and after, or with its interval; None if it is empty."""
    return Bar(row.value, row.before, row.interval) if row.n else None


def ends(name: str, interval: Sequence[float] | None) -> dict[str, Any]:
    """The two ends of an interval as columns."""
    low, high = interval or (None, None)
    return {f"{name}low": low, f"{name}high": high}


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, type]) -> Any:
    """A pandas DataFrame of rows, with columns of these types; None is missing in all of them."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingDependencyError(
            "to_frame() needs the package pandas; install it with: pip install pandas"
        ) from error
    frame = pandas.DataFrame([{name: row.get(name) for name in columns} for row in rows])
    frame = frame.reindex(columns=[*columns])
    return frame.astype({name: kind for name, kind in columns.items() if kind is not object})

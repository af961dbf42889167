"""What the scripts share: their command lines, files of results, parallel runs and tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
SHARED: dict[str, Row] = {
    "data_dir": {"type": Path, "help": "built by make bench-data: benchmarks/out/data"},
    "results": {"type": Path, "help": "JSON lines, added to"},
    "--n-jobs": {"type": int, "default": 2, "help": "processes (default 2)"},
    "--markdown": {"type": Path, "help": "also write the tables here"},
    "--json": {"type": Path, "help": "also write the results here"},
}
"""Arguments of several scripts."""


def command_line(about: str | None, *shared: str) -> argparse.ArgumentParser:
    """A parser with some of the shared arguments; ``about`` is the script's docstring."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in shared:
        parser.add_argument(name, **SHARED[name])
    return parser


def recorded(path: Path) -> list[Row]:
    """The rows of a file of JSON lines; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def record(path: Path, *rows: Row) -> list[Row]:
    """Add rows to a file of JSON lines, and return them as they will be read."""
    lines = [json.dumps(row, default=float) for row in rows]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return [json.loads(line) for line in lines]


def publish(text: str, path: Path | None) -> None:
    """Print tables, and write them into a file if there is one."""
    print(text)
    if path is not None:
        path.write_text(f"{text.rstrip()}\n", encoding="utf-8")


def save(results: Any, path: Path | None) -> None:
    """Write results as JSON if there is a file for them."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2, default=float), encoding="utf-8")


def mean_std(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation of the values there are."""
    if np.isnan(values).all():
        return "–"
    return f"{np.nanmean(values):.{digits}f} ± {np.nanstd(values):.{digits}f}"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))

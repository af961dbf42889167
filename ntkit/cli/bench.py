"""ntkit bench: run a benchmark of the source checkout by name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import typer

import ntkit
from ntkit.cli import _options as o
from ntkit.exceptions import InputError


@o.with_options
def command(
    *,
    context: typer.Context,
    name: str | None = o.argument("Benchmark; without one, all are listed."),
    json: o.Json = False,
) -> None:
    """Run a benchmark of ntkit's source.

    It needs a checkout of ntkit; what follows the benchmark's name goes to the benchmark.

    Example: ntkit bench solver --quick

    Its own options: ntkit bench solver --help
    """
    benchmarks = _benchmarks()
    if name is None:
        titles = {script: _title(path) for script, path in benchmarks.items()}
        if json:
            o.print_json(titles)
            return
        width = max(map(len, titles), default=0) + 2
        for script, title in titles.items():
            typer.echo(f"{script:<{width}}{title}")
        return
    if name not in benchmarks:
        raise InputError(f"There is no benchmark {name!r}; choose from {', '.join(benchmarks)}.")
    raise typer.Exit(subprocess.call([sys.executable, str(benchmarks[name]), *context.args]))


def _benchmarks() -> dict[str, Path]:
    """Scripts that can be run, by name."""
    folder = Path(ntkit.__file__).parents[1] / "benchmarks"
    if not folder.is_dir():
        raise InputError(
            "The benchmarks are in ntkit's source, which an installed package does not hold; get "
            "a checkout and run there: pip install -e ."
        )
    return {
        path.stem: path
        for path in sorted(folder.glob("*.py"))
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }


def _title(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]

"""ntkit inspect: what was found in a model."""

from __future__ import annotations

import typer

from ntkit.cli import _options as o
from ntkit.exceptions import NtkitError


@o.with_options
def command(model: o.Model, *, model_options: o.ModelOptions, json: o.Json = False) -> None:
    """Show a model's inputs, head, neurons and classes, and what was done to it before.

    Example: ntkit inspect classifier.onnx
    """
    try:
        found = model_options.load(model).describe()
    except NtkitError as error:
        if json:  # and the sentence and the exit code of any refusal
            o.print_json({"file": str(model), "refused": str(error)})
        raise
    if json:
        o.print_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {_shown(value)}")


def _shown(value: object) -> str:
    if value is None or value in ([], {}):
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{key or 'ai.onnx'}: {_short(str(v))}" for key, v in value.items())
    if isinstance(value, list):
        few = [str(v) for v in value[:8]]
        return ", ".join(few) + (f", … ({len(value)})" if len(value) > 8 else "")
    return str(value)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}…"

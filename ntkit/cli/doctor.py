"""ntkit doctor: the device that ONNX Runtime uses, and how to repair an installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ntkit.cli import _options as o
from ntkit.exceptions import NtkitError


@o.with_options()
def command(
    *,
    model: Path | None = o.argument("ONNX model to run as well.", "MODEL", default=None),
    json: bool = o.switch("--json", "Print JSON."),
) -> None:
    """Show what ONNX Runtime uses here.

    The output also says how to repair the installation.

    Example: ntkit doctor classifier.onnx

    The exit code is 1 if something needs repair.
    """
    from ntkit.extraction.doctor import diagnosis

    facts = diagnosis(model, None if model is None else _inputs(model))
    lines = [f"{name:<13}{value}" for name, value in _lines(facts)]
    o.show(facts, json=json, text="\n".join(lines))
    if not facts["sound"]:
        raise typer.Exit(1)


def _inputs(model: Path) -> Any:
    from ntkit.model import FrozenModel
    from ntkit.verification import random_inputs

    try:
        return random_inputs(FrozenModel.load(model))
    except NtkitError:
        return None  # inputs of open size, or not of numbers: the model is placed, not run


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    cpus, starts = found["cpus"], found["cuda_starts"]
    built = "built without CUDA"
    if "CUDAExecutionProvider" in found["providers"]:
        started = {None: "was not tried", True: "starts", False: "does not start"}[starts]
        built = f"built with CUDA, which {started}"
    lines = [
        ("versions", _pairs(found["versions"])),
        ("installed as", _pairs(found["distributions"]) or "unknown"),
        ("CPUs", f"{cpus['usable']} usable of the host's {cpus['host']}"),
        ("GPU", f"{'visible' if found['gpu_visible'] else 'none visible'}; {built}"),
        ("runs on", found["device"] or "nothing"),
    ]
    if "model" in found:
        lines.append(("model", _about(found["model"])))
    for kind, notes in (("problem", found["problems"]), ("hint", found["hints"])):
        for note in notes:
            lines += [(kind, note["what"]), ("repair", note["repair"])]
    return lines if found["problems"] else [*lines, ("verdict", "the installation works")]


def _about(model: dict[str, Any]) -> str:
    ran = {None: "not run without inputs", True: "ran", False: "failed"}[model["ran"]]
    shares = (model["nodes"] or {}).items()
    nodes = ", ".join(f"{share:.0%} of the nodes by {name}" for name, share in shares)
    return "; ".join(filter(None, (f"on {model['device'] or 'nothing'}", ran, nodes)))


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value or 'missing'}" for name, value in values.items())

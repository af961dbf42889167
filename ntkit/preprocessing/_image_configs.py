"""The files beside a model that say how images go into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkit.exceptions import InputError
from ntkit.frozen_model import PREPROCESSING, FrozenModel
from ntkit.preprocessing._hugging_face_images import processor_name, processor_steps
from ntkit.preprocessing._timm_images import is_timm_config, timm_steps

__all__ = ["Said", "read_image_config", "said_beside"]

_HUGGING_FACE, _TIMM = "preprocessor_config.json", "config.json"
_MEND = (
    "give the preprocessing itself (--resize, --mean and --std; --crop, --scale and --resample "
    "where they are not none, 1/255 and bilinear)"
)


@dataclass(frozen=True)
class Said:
    """Parameters of ``ImagePreprocessing``, and where they come from.

    Parameters
    ----------
    steps : dict
        The parameters by name; those that are missing are left open.
    source : str
        Ends a sentence: "as preprocessor_config.json says".
    """

    steps: dict[str, Any]
    source: str


def read_image_config(path: str | Path) -> Said:
    """Read a ``preprocessor_config.json``, or a ``config.json`` of timm's.

    Raises
    ------
    InputError
        If it is neither, or not known exactly.
    """
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no object")
        if is_timm_config(config):
            return Said(timm_steps(config), f"as {path.name} (timm) says")
        name = processor_name(config)
        return Said(processor_steps(config), f"as {path.name}{f' ({name})' if name else ''} says")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a usable description of image preprocessing: {error}; {_MEND}."
        ) from error


def said_beside(model: FrozenModel) -> Iterator[Said]:
    """What is said of a model's images: by the files beside it, then by its own metadata.

    Files lie beside the model, or in the folder above one that is named ``onnx``.

    Raises
    ------
    InputError
        If one is not usable.
    """
    folders = []
    if model.path is not None:
        parent = model.path.parent
        folders = [parent, parent.parent] if parent.name == "onnx" else [parent]
    for folder in folders:
        if (folder / _HUGGING_FACE).exists():
            yield read_image_config(folder / _HUGGING_FACE)
        if _is_timms(folder / _TIMM):
            yield read_image_config(folder / _TIMM)
    if PREPROCESSING in model.metadata and model.inputs[0].columns is None:
        yield _recorded(model.metadata[PREPROCESSING])


def _is_timms(path: Path) -> bool:
    """Whether a ``config.json`` is timm's; most are about a network, and say nothing of images."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and is_timm_config(config)


def _recorded(text: str) -> Said:
    """What ntkit wrote into a model whose head it found on images."""
    try:
        steps = json.loads(text)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in steps.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The model's metadata {PREPROCESSING!r} are damaged ({error}); {_MEND}."
        ) from error
    return Said(values, f"as the model's metadata ({PREPROCESSING}) say")

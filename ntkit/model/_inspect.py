"""All that is known of a model that can be read, whether or not it has a head."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ntkit.exceptions import HeadNotFoundError, ModelError
from ntkit.graph import model_file, read_model, sound
from ntkit.model._model import FrozenModel
from ntkit.model._read_model import PLACES, Parts


def inspected(
    path: str | os.PathLike[str], *, classes: Any = None, **places: str | None
) -> tuple[FrozenModel, dict[str, Any]]:
    """Read a model whether or not a head is found in it, and tell what is known of it."""
    path, refused = model_file(Path(path).absolute()), None
    try:
        model = FrozenModel.load(path, classes=classes, **places)
    except (HeadNotFoundError, ModelError) as error:
        refused, graph = str(error), read_model(path)  # raises again where it cannot be read
        with sound(path):
            places = {name: places.get(name) for name in PLACES}
            parts = Parts(graph, None, graph.graph.outputs[0], places, path=path)
            model = FrozenModel(parts)
    facts = model.describe()
    if refused is not None:
        facts["embedding"] = None
    with sound(path):
        candidates = model.candidates()
    return model, {**facts, "refused": refused, "candidates": candidates}

"""All that is known of a model that can be read, whether or not it has a head."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ntkit.exceptions import HeadNotFoundError, ModelError
from ntkit.frozen_model._located import PLACES, Parts
from ntkit.frozen_model._model import FrozenModel
from ntkit.graph import model_file, read_model, sound

__all__ = ["inspected"]


def inspected(
    path: str | os.PathLike[str], *, classes: Any = None, **places: str | None
) -> tuple[FrozenModel, dict[str, Any]]:
    """Read a model whether or not a head is found in it, and tell what is known of it.

    Parameters
    ----------
    path : path-like
        The ONNX file, or its folder.
    classes : array-like, optional
        Class labels in the order of the logits.
    **places : str
        ``logits``, ``embedding`` and ``pooling``, as for :meth:`FrozenModel.load`.

    Returns
    -------
    model : FrozenModel
        Without a head where none is found; its ``embedding`` is an output then.
    facts : dict
        What :meth:`FrozenModel.describe` says; ``refused``, why there is no head, or None;
        ``candidates``, each layer that may be one, with the reason why it was taken or not.

    Raises
    ------
    ModelError
        If the file is not an ONNX model.
    InputError
        If ``classes`` are not as many as the head's, or there is nothing to pool.
    """
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

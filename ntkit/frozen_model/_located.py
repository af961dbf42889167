"""Where the head and the embedding of a model are: named, found, or written into the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from ntkit.affine import EMBEDDING, taken_apart
from ntkit.class_names import ClassNames
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.graph import TensorInfo, data_folder, info_of, inlined_size, pooled, value_named
from ntkit.head_search import Head, find_head, head_at

__all__ = ["LOCATED_BY", "PLACES", "Parts", "embedding_info", "in_sight", "located"]

LOCATED_BY = "ntkit.located_by"
PLACES = ("logits", "embedding", "pooling")
_MOST_NODES = 1_000_000


@dataclass(frozen=True)
class Parts:
    """A model's graph, what was found in it, and what was said of it."""

    model: ir.Model  # the graph
    found: Head | None  # its head
    embedding: ir.Value  # the (first) tensor that the head reads, or a new one would read
    # Names of logits, embedding and pooling by which these were found.
    located_by: Mapping[str, str | None]
    # What the model calls its classes; None where that has not been looked for.
    names: ClassNames | None = None
    classes: Any = None  # class labels, where they are given
    matched_by: str | None = None  # how these were matched with the classes
    path: Path | None = None  # the file
    folder: Path | None = None  # where its external data lie


def in_sight(model: ir.Model, located_by: Mapping[str, str | None], path: Path) -> Parts:
    """The model with its head; functions of its own are taken apart if the head is inside one."""

    def parts(model: ir.Model, places: Mapping[str, str | None]) -> Parts:
        folder = data_folder(model) or path.parent.resolve()
        return Parts(model, *located(model, **places), places, path=path, folder=folder)

    written = _written_names(model) if not any(located_by.values()) else None
    if written is not None:
        # Looking there may add a pooling, which must not stay behind.
        aside = model.clone() if written["pooling"] is not None else model
        with suppress(HeadNotFoundError, InputError):  # edited since
            found = parts(aside, written)
            if found.found is not None:
                return found
            with suppress(
                HeadNotFoundError, InputError
            ):  # quantised since: it reads another tensor
                return parts(model, located_by)
            return found
    try:
        return parts(model, located_by)
    except HeadNotFoundError:
        apart = taken_apart(model)
        if apart is not None:
            return parts(apart, located_by)
        if not model.functions:
            raise
    if inlined_size(model) > _MOST_NODES:
        raise ModelError(
            f"The model's own functions call each other so often that it would have more than "
            f"{_MOST_NODES} nodes; export it without functions."
        )
    return parts(InlinePass()(model).model, located_by)


def _written_names(model: ir.Model) -> dict[str, str | None] | None:
    """Names of logits, embedding and pooling that ntkit wrote into a file."""
    try:
        found = json.loads(model.metadata_props.get(LOCATED_BY, "null"))
    except (ValueError, RecursionError, TypeError):
        return None
    whole = isinstance(found, dict) and found.keys() == set(PLACES)
    whole = whole and all(value is None or isinstance(value, str) for value in found.values())
    return {name: found[name] for name in PLACES} if whole else None


def located(
    model: ir.Model, logits: str | None, embedding: str | None, pooling: str | None
) -> tuple[Head | None, ir.Value]:
    """The head and the embedding; no head where the named embedding feeds no linear output."""
    if pooling is not None:
        embedding = pooled(model, embedding, pooling).name
    found = find_head(model, logits) if embedding is None else head_at(model, embedding, logits)
    if found is not None:
        return found, found.source
    return None, value_named(model.graph, embedding or "")


def embedding_info(embedding: ir.Value, found: Head | None) -> TensorInfo:
    """The embedding as the head sees it: one row of neurons per sample."""
    info = info_of(embedding)
    plain = found is not None and found.region.plain is not None
    if found is None or (plain and found.reads_rows and info.shape is not None):
        return info
    batch = info.shape[0] if info.shape else None
    name = info.name if plain or found.reads_rows else EMBEDDING
    dtype = "float32" if found.region.sources[0].scale else info.dtype
    return replace(info, name=name, dtype=dtype, shape=(batch, found.region.weight.shape[1]))

"""What an audit keeps of the raw inputs, to show examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ntkit.attributes import columns_of, matched_columns
from ntkit.report import Inputs

__all__ = ["inputs_of"]


def inputs_of(
    *,
    texts: Sequence[str] | None = None,
    table: Any = None,
    metadata: Any = None,
    ids: Sequence[str] | None = None,
    images: Iterable[Any] | None = None,
    key: str = "file_name",
) -> Inputs:
    """Inputs to show, of those that an audit was given.

    Parameters
    ----------
    texts, table, metadata, ids, images
        As :func:`ntkit.audit` takes them. Pictures that can be gone through only once were, by
        then, and are left out.
    key : str
        Column of the metadata that names the samples.

    Returns
    -------
    Inputs
    """
    return Inputs(
        texts=texts,
        table={} if table is None else columns_of(table),
        metadata={} if metadata is None else matched_columns(metadata, ids, key),
        images=images if hasattr(images, "__getitem__") else None,
        ids=ids,
    )

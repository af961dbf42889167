"""Page with the labels of a model that gives every sample several, and links to their audits."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ntkit.pages._offline import offline_page


def labels_html(
    title: str,
    header: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str | None]],
    sentences: Sequence[str],
    notes: Sequence[str],
) -> str:
    """A table of labels, each with the folder of its audit or None; it works offline."""
    linked = [(cells, folder and f"{quote(folder)}/audit.html") for cells, folder in rows]
    return offline_page(
        "labels", title=title, header=header, rows=linked, sentences=sentences, notes=notes
    )

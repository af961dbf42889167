"""Files and folders that a job reads: nothing that it writes may take their place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntkit.inputs import folders_of
from ntkit.model import FrozenModel
from ntkit.samples._rows import arrays_of

if TYPE_CHECKING:
    from ntkit.samples._samples import Samples

_BESIDE = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "config.json")


def input_paths(*read: FrozenModel | Samples | None) -> list[Path]:
    """List what models and samples are read from."""
    paths = list[Path]()
    for one in read:
        if isinstance(one, FrozenModel):
            beside = (folder / name for folder in folders_of(one) for name in _BESIDE)
            paths += [*one.files, *(file for file in beside if file.exists())]
        elif one is not None:
            arrays = [*arrays_of(one.X), one.y]
            paths += [*one.sources, *(p for X in arrays for p in _of_array(X, one.sources))]
    return [*dict.fromkeys(paths)]


def _of_array(X: Any, known: tuple[Path, ...] = ()) -> list[Path]:
    tokenizer = getattr(getattr(X, "preprocessing", None), "tokenizer", None)
    mapped = getattr(X, "filename", None)  # of a memory map
    files = [Path(file) for file in (tokenizer, mapped) if isinstance(file, str | Path)]
    pictures = () if known else getattr(X, "paths", ())
    return [*files, *{Path(path).parent: None for path in pictures}]

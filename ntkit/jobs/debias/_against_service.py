"""Embeddings that are not the service's are not worth debiasing: refused before the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import ImageFiles, Samples
from ntkit.jobs.verify import check_parity, read_recorded
from ntkit.model import FrozenModel


def parity_notes(
    model: FrozenModel, sets: Mapping[str, Samples], recorded: Any, device: str
) -> list[str]:
    """Compare what a service recorded with what a job would compute."""
    if recorded is None:
        return []
    found = read_recorded(recorded, tuple(tensor.name for tensor in model.inputs))
    held = sets["held-out"]
    data: Samples | None = held
    if found.files is not None:
        data = _with_files(sets)
    elif found.given and "rows" not in found.given:
        data = None
    parity = check_parity(model, recorded, data, preprocessing=held.steps, device=device)
    if not parity.same_embeddings:
        raise VerificationError(
            f"The service computes otherwise than ntkit would. {parity.summary()} A head for such "
            "embeddings is none for the service's: let ntkit prepare samples as the service does, "
            "or leave out --recorded (recorded=)."
        )
    return [f"Compared with the service ({found.source}): {' '.join(parity.summary().split())}"]


def _with_files(sets: Mapping[str, Samples]) -> Samples:
    """The samples of all sets that names of files may mean, by their whole paths."""
    pictures = [samples for samples in sets.values() if samples.kind == "images"]
    if pictures:
        paths = [path for samples in pictures for path in samples.X.paths]
        ids = np.asarray([path.as_posix() for path in paths])
        return Samples(ImageFiles(paths, pictures[0].X.preprocessing), ids=ids)
    named = [samples for samples in sets.values() if samples.ids is not None]
    if not named:
        raise InputError(
            "The recording names files, but no set holds images or their embeddings; name rows of "
            "the held-out set instead."
        )
    ids = np.concatenate([samples.ids for samples in named])
    return replace(named[0], X=_Rows([samples.X for samples in named]), y=None, ids=ids)


class _Rows:
    """Rows of several arrays, one after the other, none of them copied."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: Any) -> Any:
        which = np.searchsorted(self._ends, rows, side="right")
        starts = self._ends - [len(part) for part in self._parts]
        return np.stack(
            [self._parts[i][row - starts[i]] for i, row in zip(which, rows, strict=True)]
        )

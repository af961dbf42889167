"""The heads of all candidates, kept in a job's folder: another row is then written in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ntkit.frozen_model import FrozenModel
from ntkit.head import LinearHead

__all__ = ["HEADS_FILE", "ORIGINAL", "write_heads"]

HEADS_FILE, ORIGINAL = "heads.npz", "original head"


def write_heads(
    folder: Path, heads: Mapping[str, LinearHead], model: FrozenModel, *, new_head: bool
) -> None:
    """Write the heads of candidates and the original one, and which model they are for.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    heads : mapping of str to LinearHead
        By the names of the table.
    model : FrozenModel
        The model given, with the classes of the labels.
    new_head : bool
        Whether the heads are for other classes than its own.
    """
    own = None if new_head or model.head is None else model.head.classes
    if own is not None and model.head is not None:
        heads = {ORIGINAL: model.head, **heads}
    about = {
        "source": "" if model.path is None else os.path.abspath(model.path),
        "source_sha256": model.sha256(),
        "located_by": dict(model.located_by),
        "new_head": new_head,
        "metadata": {k: v for k, v in model.metadata.items() if k.startswith("ntkit.")},
    }
    arrays: dict[str, Any] = {"names": np.asarray([*heads]), "about": np.asarray(json.dumps(about))}
    if own is not None:
        arrays["model_classes"] = own
    for i, head in enumerate(heads.values()):
        arrays |= {
            f"coef_{i}": head.coef.astype(np.float32),
            f"intercept_{i}": head.intercept.astype(np.float32),
            f"classes_{i}": head.classes,
        }
    np.savez(folder / HEADS_FILE, **arrays)

"""What is written down of the main job: in the model, and in the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit._version import __version__
from ntkit.extraction import Samples
from ntkit.frozen_model import FrozenModel
from ntkit.store import facts_of

__all__ = ["answers_sha256", "chosen_by", "described", "parameters", "provenance"]

Array = NDArray[Any]


def provenance(
    name: str, clf: Any, suppressed: Array, model: FrozenModel, train: Samples, t: float
) -> dict[str, str]:
    steps = (train.origin or {}).get("preprocessing", train.preprocessing)
    made = facts_of(
        {"model": model.sha256(), "tensor": model.embedding.name, "preprocessing": steps}
    )
    plain = {
        k: v
        for k, v in clf.get_params().items()
        if v is not None and isinstance(v, bool | int | float | str)
    }
    return {
        "version": __version__,
        "method": name,
        "parameters": json.dumps(plain, sort_keys=True),
        "suppressed_neurons": json.dumps(suppressed.tolist()),
        "share_of_new_head": f"{t:g}",
        **{key.removeprefix("ntkit."): text for key, text in made.items()},
    }


def described(sets: Mapping[str, Samples]) -> dict[str, str]:
    """Samples by class and, where known, the number of groups, for each set."""
    found = {}
    for name, samples in sets.items():
        labels, counts = np.unique(samples.y, return_counts=True)
        shown = [f"{label}: {n}" for label, n in zip(labels[:8], counts[:8], strict=True)]
        more = [f"{len(labels) - 8} more classes"] if len(labels) > 8 else []
        groups = "" if samples.groups is None else f"; {_n_groups(samples.groups)} groups"
        found[f"{name} set"] = f"{len(samples)} samples ({', '.join([*shown, *more])}{groups})"
    return found


def _n_groups(groups: Array) -> int:
    return groups.shape[1] if groups.ndim == 2 else len(np.unique(groups))


def parameters(clf: Any) -> str:
    """Parameters that are not the estimator's defaults."""
    defaults = signature(type(clf)).parameters
    own = {
        name: value
        for name, value in clf.get_params(deep=False).items()
        if name != "random_state"
        and isinstance(value, bool | int | float | str)
        and value != defaults[name].default
    }
    return ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in own.items())


def chosen_by(method: Any, *, by_score: bool) -> str:
    """Who decided which head it is."""
    if by_score:
        return f"the label-free score {method} on halves of the validation set"
    return "your answers" if method is None else "you"


def answers_sha256(answers: Sequence[Mapping[str, Any]]) -> str:
    """What tells the answers that a model was made from: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(answers), sort_keys=True).encode()).hexdigest()

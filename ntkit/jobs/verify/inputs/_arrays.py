"""Arrays that a service says it fed, and the ways in which they may differ from what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.jobs.verify._change import BATCH_SIZE, Change
from ntkit.jobs.verify.inputs._image_changes import CLIP, HALF, IMAGENET

Steps = tuple[Callable[[Array], Array], ...]


class Arrays:
    """Inputs as they are."""

    def __init__(self, X: Any, channel_axis: int | None = None) -> None:
        self.X = X
        self.settings: Steps = ()
        self._axis = channel_axis

    def __len__(self) -> int:
        return len(next(iter(self.X.values())) if isinstance(self.X, Mapping) else self.X)

    def changes(self) -> list[Change]:
        """What a service may do otherwise with arrays of images; nothing with others."""
        if self._axis is None or isinstance(self.X, Mapping):
            return []
        return [*_orders(self._axis), *_values(self._axis)]

    def pipelines(self) -> list[tuple[Change, ...]]:
        """Nothing comes together with arrays."""
        return []

    def inputs(self, settings: Steps, rows: Sequence[int]) -> Any:
        """Inputs of the model for some of the rows."""
        chosen = np.asarray(rows)
        if isinstance(self.X, Mapping):
            return {name: np.asarray(part[chosen]) for name, part in self.X.items()}
        X = np.asarray(self.X[chosen])
        for step in settings:
            X = step(X)
        return X

    def batch_size(self, settings: Steps) -> int:
        """Rows that run together."""
        return BATCH_SIZE


@dataclass(frozen=True)
class _Affine:
    """Subtract and divide, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    axis: int

    def __call__(self, X: Array) -> Array:
        shape = [1, 1, 1, 1]
        shape[self.axis] = -1
        mean, std = (np.reshape(v, shape).astype(np.float32) for v in (self.mean, self.std))
        return (X.astype(np.float32) - mean) / std


def _orders(axis: int) -> list[Change]:
    sides = (2, 3) if axis == 1 else (1, 2)

    def flipped(X: Array) -> Array:
        return np.flip(X, axis)

    def turned(X: Array) -> Array:
        return X.swapaxes(*sides)

    def refolded(X: Array) -> Array:
        other = X.transpose(0, 2, 3, 1) if axis == 1 else X.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(other).reshape(X.shape)

    return [
        _change("channel order", "feeds the channels of these arrays in the other order", flipped),
        _change("layout", "feeds these arrays with the axes renamed instead of moved", refolded),
        _change("layout", "feeds these arrays with height and width exchanged", turned),
    ]


def _values(axis: int) -> list[Change]:
    factors = {"multiplied by 255": 1 / 255, "divided by 255": 255.0}
    found = [
        _change("scale", f"feeds these arrays {words}", _Affine((0.0,), (by,), axis))
        for words, by in factors.items()
    ]
    for words, (mean, std) in {
        "brought from 0 … 1 to -1 … 1": HALF,
        "normalised with ImageNet's mean and std": IMAGENET,
        "normalised with CLIP's mean and std": CLIP,
    }.items():
        what = "scale" if (mean, std) == HALF else "mean and std"
        back = tuple(-m / s for m, s in zip(mean, std, strict=True)), tuple(1 / s for s in std)
        found += [
            _change(what, f"feeds these arrays {words}", _Affine(mean, std, axis)),
            _change(what, f"feeds these arrays before they were {words}", _Affine(*back, axis)),
        ]
    return found


def _change(what: str, words: str, step: Callable[[Array], Array]) -> Change:
    def apply(settings: Steps) -> Steps:
        return (*settings, step)

    return Change(what, words, apply)

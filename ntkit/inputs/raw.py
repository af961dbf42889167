"""Raw samples of any kind, such as bytes, and the model inputs that a function makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError


@documented
class RawInputs:
    """Raw samples, and the function that makes a model's input of each.

    Pass it in the place of an array. Samples are prepared when a model reads them. A change of a
    function (:func:`ntkit.changes.change_from`) gets the raw samples.

    Parameters
    ----------
    raw : sequence
        Raw samples of any type, such as the bytes of files.
    prepare : callable
        Function of a raw sample that returns an array of the same shape for each, without the axis
        of the samples. For a model with several inputs it returns a mapping of names to arrays.

    Raises
    ------
    InputError
        If ``prepare`` is not a function, or ``raw`` has no length.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.extraction import RawInputs
    >>> files = [b"#!/bin/sh", b"<html>"]
    >>> X = RawInputs(files, lambda data: np.frombuffer(data[:4], np.uint8).astype(np.int32))
    >>> X[:2].tolist()
    [[35, 33, 47, 98], [60, 104, 116, 109]]
    """

    def __init__(self, raw: Sequence[Any], prepare: Callable[[Any], Any]) -> None:
        if not callable(prepare) or not hasattr(raw, "__len__") or isinstance(raw, str | bytes):
            raise InputError(
                "RawInputs needs a sequence of raw samples, and a function that makes a model's "
                f"input of each; got {type(raw).__name__} and {type(prepare).__name__}."
            )
        self.raw, self.prepare = raw, prepare

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: Any) -> Any:
        rows = np.arange(len(self))[index]
        if rows.ndim == 0:
            return self.prepare(self.raw[int(rows)])
        made = [self.prepare(self.raw[row]) for row in rows.tolist()]
        if made and isinstance(made[0], Mapping):
            return {name: _stacked([each[name] for each in made]) for name in made[0]}
        return _stacked(made)

    def take(self, rows: Iterable[int]) -> RawInputs:
        """Some of the samples, in the order of these rows."""
        return RawInputs([self.raw[row] for row in rows], self.prepare)


def _stacked(made: Sequence[Any]) -> Array:
    """The inputs of several samples as one array."""
    shapes = {np.shape(each) for each in made}
    if len(shapes) > 1:
        raise InputError(
            f"The function of RawInputs made inputs of the shapes {sorted(shapes)[:3]}; return "
            "arrays of one shape, such as by padding."
        )
    return np.stack(made) if made else np.empty(0)

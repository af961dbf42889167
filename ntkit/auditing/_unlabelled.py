"""How often what was found occurs among other samples, that have no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.attributes import Rule, attribute_named, holding, picture_statistics
from ntkit.auditing._inputs import inputs_of
from ntkit.auditing._views import Read
from ntkit.exceptions import InputError
from ntkit.report import Inputs
from ntkit.report.audit import Unlabelled

__all__ = ["unlabelled_of"]

Array = NDArray[Any]


def unlabelled_of(
    read: Read, names: Iterable[str], rule_of: Callable[[str], Rule | None]
) -> Unlabelled:
    """Read attributes of samples that nobody labelled.

    Parameters
    ----------
    read : Read
        The samples, after a pass of the model.
    names : iterable of str
        Attributes that were found on other samples.
    rule_of : callable
        What reads those whose names do not say how; these are cut where they were cut there.

    Returns
    -------
    Unlabelled
        What cannot be read of them is left out.
    """
    inputs = inputs_of(read.samples)
    numbers = {**read.embedded.layers, "embedding": read.embedded.Z}
    if read.watched is not None:
        numbers["picture"] = read.watched.statistics()
    elif inputs.images is not None:
        numbers["picture"] = np.stack([picture_statistics(image) for image in inputs.images])
    found = dict[str, Array]()
    for name in names:
        rule = rule_of(name)
        try:
            if rule is None:
                found[name] = _by_name(name, inputs)
            elif rule.layer in numbers:
                found[name] = rule.values(numbers[rule.layer])
        except InputError:  # these samples lack the column, or the value
            continue
    return Unlabelled(len(read.samples), found, inputs)


def _by_name(name: str, inputs: Inputs) -> Array:
    kind, _, word = name.partition(":")
    if kind == "word" and inputs.texts is not None:
        return holding(inputs.texts, word)[0]
    table = inputs.table
    return attribute_named(name, table=table, metadata=table)

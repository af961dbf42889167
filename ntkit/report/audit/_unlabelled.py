"""What a page says of samples without labels: how often something occurs there, and examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.report._inputs import Inputs

__all__ = ["Unlabelled"]

Array = NDArray[Any]
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Samples without labels, and what they have of what was found elsewhere.

    Attributes
    ----------
    n_samples : int
        How many there are.
    values : mapping of str to ndarray of int8, shape (n_samples,)
        Attributes that can be read of them: 1, 0, or −1 where it is not known.
    inputs : Inputs
        What they look like.
    """

    n_samples: int
    values: Mapping[str, Array]
    inputs: Inputs

    def counts(self, name: str) -> tuple[int, int] | None:
        """How many have an attribute, and of how many it is known; None if it cannot be read."""
        values = self.values.get(name)
        return None if values is None else (int((values == 1).sum()), int((values >= 0).sum()))

    def examples(self, name: str, seed: int) -> list[int]:
        """Rows of some that have it, drawn at random."""
        rows = np.flatnonzero(self.values[name] == 1)
        drawn = np.random.default_rng(seed).permutation(rows)[:_EXAMPLES]
        return [int(row) for row in np.sort(drawn)]

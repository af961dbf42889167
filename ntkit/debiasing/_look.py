"""Look before anything is done: what the model relies on, and what retraining would add."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.auditing import Audit, Metadata, Read, audit_read, with_retraining
from ntkit.debiasing._candidates import CANDIDATES
from ntkit.debiasing._comparison import Comparison
from ntkit.debiasing._inputs import Prepared
from ntkit.debiasing.groups import Pool
from ntkit.estimators import head_of
from ntkit.extraction import Embedded
from ntkit.samples import named_like_a_prediction

__all__ = ["looked_at"]

Array = NDArray[Any]


def looked_at(given: Prepared, pool: Pool, comparison: Comparison, seed: int) -> Audit:
    """Audit the model on the validation set, and class-balanced retraining beside it.

    Parameters
    ----------
    given : Prepared
        Samples, embeddings and layers.
    pool : Pool
        Raw inputs of the training and then the validation samples.
    comparison : Comparison
        Fits the retrained head.
    seed : int
        Decides folds, and where clusters begin.

    Returns
    -------
    Audit
        With ``retraining``.
    """
    samples, Z = given.sets["held-out"], given.Z["held-out"].Z
    read = Read(samples, Embedded(Z, given.layers["held-out"], ""), given.watched.get("held-out"))
    original = comparison.original.predict(comparison.heldout.Z)
    audit = audit_read(read, given.model, original, beside=_beside(pool, given), random_state=seed)
    retrained, _ = comparison.fit(CANDIDATES["class-balanced"])
    return with_retraining(audit, head_of(retrained).predict(comparison.heldout.Z))


def _beside(pool: Pool, given: Prepared) -> Metadata | None:
    """Metadata of the validation samples: those given, or of an image folder."""
    if pool.given is None:
        return Metadata.of(None, given.sets["held-out"], None)
    first = len(given.sets["train"])
    told = {n: v for n, v in pool.given.items() if not named_like_a_prediction(n)}
    columns = {name: np.asarray(v)[first:] for name, v in told.items()}
    return Metadata(columns, None, "", "") if columns else None

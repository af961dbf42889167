"""How long models take on the same inputs, measured in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.extraction import run_batches

__all__ = ["BATCH_SIZE", "timings"]

Array = NDArray[Any]
BATCH_SIZE = 8
_WARM_UP = 3


def timings(
    sessions: Sequence[Any], X: Any, *, n_timings: int = 200, seconds: float = 1.0
) -> NDArray[np.float64]:
    """Milliseconds per run of the first samples, for each session in turn.

    What the machine does beside it then meets every session alike; a model is never timed on its
    first runs.

    Parameters
    ----------
    sessions : sequence of onnxruntime.InferenceSession
        What to time.
    X : array-like, lazy sequence or mapping
        Model inputs; the first ``BATCH_SIZE`` are run.
    n_timings : int
        Most rounds.
    seconds : float
        No further round begins after this time, once there are three.

    Returns
    -------
    ndarray of shape (n, n_sessions)
        One row per round.
    """
    few = {k: v[:BATCH_SIZE] for k, v in X.items()} if isinstance(X, Mapping) else X[:BATCH_SIZE]
    runs = [(session, _feed(session, few)) for session in sessions]
    for session, feed in runs * _WARM_UP:
        session.run(None, feed)
    rows = np.empty((n_timings, len(runs)))
    start = time.perf_counter()
    for done in range(n_timings):
        if done >= 3 and time.perf_counter() - start > seconds:
            return rows[:done]
        order = range(len(runs)) if done % 2 else reversed(range(len(runs)))
        for i in order:
            session, feed = runs[i]
            begin = time.perf_counter()
            session.run(None, feed)
            rows[done, i] = 1e3 * (time.perf_counter() - begin)
    return rows


def _feed(session: Any, X: Any) -> dict[str, Array]:
    """What ``run_batches`` feeds the session first, checked and cast."""
    recorder = _Recorder(session)
    next(iter(run_batches(recorder, X, batch_size=BATCH_SIZE)))
    return recorder.feed


class _Recorder:
    """A session that remembers its last inputs."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.feed: dict[str, Array] = {}

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def run(self, names: Any, feed: dict[str, Array]) -> Any:
        self.feed = feed
        return self._session.run(names, feed)

"""Keep onnx-ir from logging while a model is read or written, in any number of threads."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["without_log"]


class _Level:
    """The level of a logger, raised while anybody asks for it, and put back by the last one.

    Whoever saved it alone would put back what another thread had raised.
    """

    def __init__(self, name: str) -> None:
        self._logger, self._lock = logging.getLogger(name), Lock()
        self._asking, self._before = 0, logging.NOTSET

    def raise_it(self) -> None:
        with self._lock:
            if not self._asking:
                self._before = self._logger.level
                self._logger.setLevel(logging.CRITICAL)
            self._asking += 1

    def put_back(self) -> None:
        with self._lock:
            self._asking -= 1
            if not self._asking:
                self._logger.setLevel(self._before)


_LEVEL = _Level("onnx_ir")


@contextmanager
def without_log() -> Iterator[None]:
    """Keep onnx-ir from saying what is answered in a sentence, or is of no matter."""
    _LEVEL.raise_it()
    try:
        yield
    finally:
        _LEVEL.put_back()

"""Keep onnx-ir's log and the collector still while a model is read or written, in any thread."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

__all__ = ["without_collector", "without_log"]


class _Shared:
    """A setting of the process, changed while anybody asks for it, and put back by the last one.

    Whoever saved it alone would put back what another thread had changed.
    """

    def __init__(self, change: Callable[[], Any], put_back: Callable[[Any], object]) -> None:
        self._change, self._put_back = change, put_back
        self._lock, self._asking, self._before = Lock(), 0, None

    @contextmanager
    def changed(self) -> Iterator[None]:
        with self._lock:
            if not self._asking:
                self._before = self._change()
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    self._put_back(self._before)


def _raise_level() -> int:
    before = _LOGGER.level
    _LOGGER.setLevel(logging.CRITICAL)
    return before


def _stop_collecting() -> bool:
    before = gc.isenabled()
    gc.disable()
    return before


def _collect_again(before: bool) -> None:
    if before:
        gc.enable()


_LOGGER = logging.getLogger("onnx_ir")
_LEVEL = _Shared(_raise_level, _LOGGER.setLevel)
_COLLECTOR = _Shared(_stop_collecting, _collect_again)


@contextmanager
def without_log() -> Iterator[None]:
    """Keep onnx-ir from saying what is answered in a sentence, or is of no matter."""
    with _LEVEL.changed():
        yield


@contextmanager
def without_collector() -> Iterator[None]:
    """Let Python's garbage collector wait while the nodes of a large graph are made or written.

    It would go through all of them again and again, which takes longer than making them.
    """
    with _COLLECTOR.changed():
        yield

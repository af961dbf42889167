"""Without onnx-ir's log, whose messages ntkit replaces by errors."""

from __future__ import annotations

import logging

from ntkit._shared_switch import SharedSwitch

_LOGGER = logging.getLogger("onnx_ir")


def _raise_level() -> int:
    before = _LOGGER.level
    _LOGGER.setLevel(logging.CRITICAL)
    return before


NO_LOG = SharedSwitch(_raise_level, _LOGGER.setLevel)
"""Switch off onnx-ir's log."""

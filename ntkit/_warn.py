"""Warnings that point at the caller's line."""

from __future__ import annotations

import sys
import warnings

# A warning that points into a library tells the reader nothing, and Python then shows it only once.
_PACKAGES = {"ntkit", "sklearn", "joblib", "threading", "concurrent", "multiprocessing"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside ntkit and scikit-learn, such as the caller's ``fit``."""
    frame, level = sys._getframe(), 1
    while frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        if frame.f_back is None:  # a thread has no caller
            level = 2
            break
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

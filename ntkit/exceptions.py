"""Errors of ntkit: each names the thing, the problem and the fix.

Every error is also the built-in exception that a caller would expect: ``ValueError`` for bad input,
``RuntimeError`` for a missing device. So code without any knowledge of ntkit can catch it.
"""

from typing import Any

from ntkit._text import without_controls

__all__ = [
    "DeployError",
    "DeviceError",
    "HeadNotFoundError",
    "InputError",
    "MissingDependencyError",
    "ModelError",
    "NtkitError",
    "SuppressionWarning",
    "VerificationError",
]


class NtkitError(Exception):
    """Base class of all errors of ntkit; its message is one line of readable length.

    A message may quote names with line breaks or a million characters, so it is shortened.
    """

    def __init__(self, sentence: object = "") -> None:
        line = without_controls(" ".join(str(sentence).splitlines()))
        super().__init__(line if len(line) <= 1500 else f"{line[:1000]} … {line[-400:]}")


class InputError(NtkitError, ValueError):
    """Samples, labels or options cannot be used as they are."""


class ModelError(NtkitError, ValueError):
    """A file is not a usable ONNX model."""


class HeadNotFoundError(ModelError):
    """The model has no linear last layer, or more than one candidate."""


class DeviceError(NtkitError, RuntimeError):
    """The requested device is not available."""


class VerificationError(NtkitError, RuntimeError):
    """A written model does not compute what it should; no file was written."""


class DeployError(VerificationError):
    """The folder for a service could not be written; ``result`` is the complete DebiasResult."""

    def __init__(self, sentence: object = "", result: Any = None) -> None:
        super().__init__(sentence)
        self.result = result


class MissingDependencyError(NtkitError, ImportError):
    """An optional package is missing, or installed packages do not work together."""


class SuppressionWarning(UserWarning):
    """The suppression rule had an effect that the user should know about."""

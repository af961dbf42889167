"""Errors of ntkit: one clear sentence each, which names the thing and the fix.

Every error is also the built-in exception a caller would expect (``ValueError`` for bad input,
``RuntimeError`` for a device that is not there), so code that knows nothing of ntkit can catch it.
"""

from typing import Any

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
    """Base of everything ntkit raises on purpose: one line of readable length.

    The names it quotes may hold line breaks, or a million letters.
    """

    def __init__(self, sentence: object = "") -> None:
        line = " ".join(str(sentence).splitlines())
        super().__init__(line if len(line) <= 1500 else f"{line[:1000]} … {line[-400:]}")


class InputError(NtkitError, ValueError):
    """Samples, labels or options that cannot be used as they are."""


class ModelError(NtkitError, ValueError):
    """A file that is not a usable ONNX model."""


class HeadNotFoundError(ModelError):
    """No linear last layer was found, or more than one candidate."""


class DeviceError(NtkitError, RuntimeError):
    """The requested device is not there."""


class VerificationError(NtkitError, RuntimeError):
    """A written model does not compute what it should; nothing was put in place."""


class DeployError(VerificationError):
    """The folder for a service could not be written; ``result`` is the complete DebiasResult."""

    def __init__(self, sentence: object = "", result: Any = None) -> None:
        super().__init__(sentence)
        self.result = result


class MissingDependencyError(NtkitError, ImportError):
    """An optional package is missing, or installed packages break each other."""


class SuppressionWarning(UserWarning):
    """The suppression rule did something a user should know about."""

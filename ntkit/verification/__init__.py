"""Verify with ONNX Runtime that a written model is the intended model."""

from ntkit.verification.comparison import Verification, save_verified, verify

__all__ = [
    "Verification",
    "save_verified",
    "verify",
]

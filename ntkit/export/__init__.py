"""Heads and pipelines as ONNX, and checks that the file computes what it should.

Importing this package registers ntkit's estimators with skl2onnx.
"""

from ntkit import graph  # noqa: F401 - says what is missing without ONNX
from ntkit.export._skl2onnx import register_converters
from ntkit.export._to_onnx import to_onnx, write_onnx
from ntkit.verification import Verification, save_verified, verify

__all__ = [
    "Verification",
    "save_verified",
    "to_onnx",
    "verify",
    "write_onnx",
]

register_converters()

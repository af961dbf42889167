"""Heads and pipelines to ONNX, and the proof that the file computes what it should.

Importing this package registers ntkit's estimators with skl2onnx.
"""

from ntkit.export._check import check_head
from ntkit.export._pair import is_new_head, load_pair
from ntkit.export._random_inputs import random_inputs
from ntkit.export._skl2onnx import register_converters
from ntkit.export._to_onnx import to_onnx, write_onnx
from ntkit.export._verify import Verification, save_verified, verify

__all__ = [
    "Verification",
    "check_head",
    "is_new_head",
    "load_pair",
    "random_inputs",
    "save_verified",
    "to_onnx",
    "verify",
    "write_onnx",
]

register_converters()

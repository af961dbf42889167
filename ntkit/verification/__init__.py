"""Verify with ONNX Runtime that a written model is the intended model."""

from ntkit.verification._model_pair import is_new_head as is_new_head  # for other packages
from ntkit.verification._model_pair import load_pair as load_pair
from ntkit.verification._model_pair import same_network as same_network
from ntkit.verification._random_inputs import random_inputs as random_inputs
from ntkit.verification._result import TOLERANCE as TOLERANCE
from ntkit.verification._result import Verification
from ntkit.verification._result import tolerance_of as tolerance_of
from ntkit.verification._verify import check_head as check_head
from ntkit.verification._verify import relative_difference as relative_difference
from ntkit.verification._verify import save_verified, verify

__all__ = [
    "Verification",
    "save_verified",
    "verify",
]

"""The proof that a model written is the model that was meant, by what ONNX Runtime answers."""

from ntkit.verification._model_pair import is_new_head, load_pair
from ntkit.verification._random_inputs import random_inputs
from ntkit.verification._result import TOLERANCE as TOLERANCE
from ntkit.verification._result import Verification
from ntkit.verification._result import tolerance_of as tolerance_of
from ntkit.verification._verify import check_head, save_verified, verify
from ntkit.verification._verify import difference as difference  # for other rooms

__all__ = [
    "Verification",
    "check_head",
    "is_new_head",
    "load_pair",
    "random_inputs",
    "save_verified",
    "verify",
]

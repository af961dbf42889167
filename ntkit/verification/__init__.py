"""Verify with ONNX Runtime that a written model is the intended model."""

from ntkit.verification._model_pair import is_new_head as is_new_head  # for other packages
from ntkit.verification._model_pair import load_pair as load_pair
from ntkit.verification._model_pair import note_on_class_names as note_on_class_names
from ntkit.verification._model_pair import of_one_network as of_one_network
from ntkit.verification._model_pair import same_network as same_network
from ntkit.verification._random_inputs import random_inputs as random_inputs
from ntkit.verification._verify import TOLERANCE as TOLERANCE
from ntkit.verification._verify import Verification, save_verified, verify
from ntkit.verification._verify import check_head as check_head
from ntkit.verification._verify import relative_difference as relative_difference
from ntkit.verification._verify import tolerance_of as tolerance_of

__all__ = [
    "Verification",
    "save_verified",
    "verify",
]

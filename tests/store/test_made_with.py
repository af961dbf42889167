"""What embeddings were made with, as it is written down and compared."""

from dataclasses import replace

import numpy as np
import pytest

from ntkit import FrozenModel, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing
from ntkit.samples.stored import check_alike, facts_of, origin_of_head

STEPS = ImagePreprocessing(resize=8, mean=(0.1, 0.2, 0.3))


def test_every_step_of_images_is_compared():
    """Also those that a record leaves out where they do nothing."""
    one = {"preprocessing": STEPS.as_dict()}
    check_alike(("a", "b"), one, origin_of_head(facts_of(one)))
    for name, other in {
        "resize": (8, 8), "crop": (4, 4), "scale": 1.0, "mean": (0.3, 0.2, 0.1), "std": (2.0,),
        "layout": "NHWC", "resample": "bicubic", "channel_order": "BGR", "crop_rounding": "even",
    }.items():  # fmt: skip
        two = {"preprocessing": replace(STEPS, **{name: other}).as_dict()}
        for pair in ((one, two), (two, one), (one, origin_of_head(facts_of(two)))):
            with pytest.raises(InputError, match=rf"a and b were preprocessed in two .*\({name}: "):
                check_alike(("a", "b"), *pair)


@pytest.mark.more
def test_arrays_leave_no_record_that_images_are_then_read_by(digits, tmp_path):
    model = marked_digits_model_path()
    np.savez(tmp_path / "d.npz", X=digits.X_validation[:200], y=digits.y_validation[:200])
    train = tmp_path / "d.npz"
    result = debias(model, train, train, device="cpu", method="class-balanced")
    assert "ntkit.preprocessing" not in result.model.metadata
    again = ImagePreprocessing.for_model(result.model)
    assert again == ImagePreprocessing.for_model(FrozenModel.load(model))

import numpy as np
import onnx
import pytest

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.datasets import (
    load_marked_digits,
    load_scanned_digits,
    marked_digits_model_path,
)

SETS = {
    "marked": (load_marked_digits, lambda data: marked_digits_model_path()),
    "scanned": (load_scanned_digits, lambda data: data.model_path),
}


@pytest.fixture(scope="module", params=SETS)
def built_in(request):
    load, path = SETS[request.param]
    data = load()
    return load, data, path(data)


def test_same_every_time_and_says_what_is_injected(built_in):
    load, digits, _ = built_in
    again = load()
    for name in ("X_train", "y_validation", "groups_test"):
        assert np.array_equal(digits[name], again[name])
    assert "injected" in digits.DESCR.lower()


def test_validation_is_biased_like_training_and_test_is_balanced(built_in):
    _, digits, _ = built_in

    def share(part):
        y, groups = digits[f"y_{part}"], digits[f"groups_{part}"]
        assert np.array_equal(groups // 2, y)
        return np.mean(groups % 2 == y)

    assert share("train") == pytest.approx(share("validation"), abs=0.02)
    assert share("train") > 0.9
    assert len(set(np.bincount(digits.groups_test).tolist())) == 1


def test_the_model_is_small_valid_and_biased(built_in):
    _, digits, path = built_in
    assert path.stat().st_size < 300_000
    onnx.checker.check_model(str(path), full_check=True)
    model = FrozenModel.load(path)
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_test)
    correct = model.head.predict(Z) == digits.y_test
    by_group = [correct[digits.groups_test == g].mean() for g in range(4)]
    assert min(by_group) < 0.6
    assert max(by_group) > 0.95

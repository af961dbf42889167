"""Trees of LightGBM and XGBoost, as their exporter writes them, predict as in ONNX Runtime."""

import importlib
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ntkit import FrozenModel, predict
from tests import any_models as zoo

LABELS = {"numbers": [0, 1, 2], "two": [0, 1, 1], "names": zoo.NAMES}
OPTIONS = {"LGBMClassifier": {"verbose": -1, "num_leaves": 7}, "XGBClassifier": {"max_depth": 3}}
ROWS = [
    ("lightgbm", "LGBMClassifier", "numbers", {}),
    ("lightgbm", "LGBMClassifier", "two", {"zipmap": False}),
    ("lightgbm", "LGBMClassifier", "names", {}),
    ("lightgbm", "LGBMClassifier", "names", {"zipmap": False}),
    ("xgboost", "XGBClassifier", "numbers", {}),
    ("xgboost", "XGBClassifier", "two", {}),
]


@pytest.mark.parametrize(("module", "name", "labels", "options"), ROWS)
def test_boosted_trees_predict_as_in_onnxruntime(module, name, labels, options, tmp_path):
    pytest.importorskip(module)
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    with warnings.catch_warnings(action="ignore"):
        made = getattr(importlib.import_module(module), name)(n_estimators=8, **OPTIONS[name])
        made.fit(zoo.X, np.asarray(LABELS[labels])[zoo.Y])
        inputs = {"initial_types": [("X", FloatTensorType([None, 3]))], "target_opset": 15}
        model = getattr(onnxmltools, f"convert_{module}")(made, **inputs, **options)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    own, scores = zoo.of_onnxruntime(path, zoo.feed("forest"))
    model = FrozenModel.load(path, any_scores=True)
    found = predict(model, zoo.X, device="cpu", batch_size=len(zoo.X))
    assert_array_equal(found.labels, own)
    assert_allclose(found.probabilities, scores, atol=1e-6)
    assert_array_equal(found.labels, made.predict(zoo.X))

"""From arrays to a repaired network, by public names and scikit-learn's own tools."""

import numpy as np
import pytest
import sklearn
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import ntkit.export  # noqa: F401 - registers the converters
from ntkit import FrozenModel, NeuronTuneClassifier, OnnxEmbedder
from ntkit.scorers import worst_group_scorer

CLASSES = np.array(["land", "water"])


def drawn(n, share, seed):
    """Raw rows, labels, and groups: class × background, which agrees with the class in a share."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    background = np.where(rng.random(n) < share, y, 1 - y)
    X = rng.normal(size=(n, 6))
    X[:, 0] += 2 * y - 1
    X[:, 1] += 4 * background - 2
    return X.astype(np.float32), CLASSES[y], 2 * y + background


@pytest.mark.filterwarnings("ignore::ntkit.exceptions.SuppressionWarning")  # five neurons
def test_a_searched_pipeline_is_the_network_that_is_written(zoo, tmp_path):
    model = FrozenModel.load(zoo.save(zoo.classifier(2), tmp_path / "model.onnx"))
    model = model.with_classes(CLASSES)
    X, y, groups = drawn(600, 0.9, seed=0)
    X_val, y_val, _ = drawn(250, 0.9, seed=1)  # another number of rows, or folds would cut it
    X_test, _, _ = drawn(2000, 0.5, seed=2)
    Z, Z_val, Z_test = (OnnxEmbedder(model, device="cpu").transform(x) for x in (X, X_val, X_test))

    with sklearn.config_context(enable_metadata_routing=True):
        clf = NeuronTuneClassifier(C=1.0, max_cost=None, random_state=0)
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("clf", clf.set_fit_request(X_val=True, y_val=True))],
            transform_input=["X_val"],
        )
        search = GridSearchCV(
            pipeline,
            {"clf__threshold": [0.0, 0.5, 1.0]},
            scoring=worst_group_scorer(),
            cv=3,
            error_score="raise",
        ).fit(Z, y, X_val=Z_val, y_val=y_val, sensitive=groups)
    best = search.best_estimator_
    expected = best.predict(Z_test)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    assert set(expected) == set(CLASSES)
    scaler = best["scale"]
    alone = sklearn.clone(best["clf"]).fit(
        scaler.transform(Z), y, X_val=scaler.transform(Z_val), y_val=y_val
    )
    assert alone.head_ == best["clf"].head_

    # The head alone, converted by skl2onnx.
    converted = convert_sklearn(
        best,
        initial_types=[("embedding", FloatTensorType([None, Z.shape[1]]))],
        options={"zipmap": False},
        target_opset=17,
    )
    labels = zoo.run(converted, Z_test, ["label"])["label"]
    # The head inside the network, in the file that a service would load.
    head = best["clf"].head_.scaled(1 / scaler.scale_, scaler.mean_)
    path = model.with_head(head).save(tmp_path / "debiased.onnx")
    logits = zoo.run(path, X_test)["logits"]
    for found in (labels, FrozenModel.load(path).head.classes[logits.argmax(axis=1)]):
        np.testing.assert_array_equal(found, expected)

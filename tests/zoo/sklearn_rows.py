"""Models that skl2onnx writes from scikit-learn estimators."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.zoo.building import quietly, samples
from tests.zoo.row import Row

N_FEATURES, N_NEURONS = 6, 10


def _training_data(labels):
    """Samples whose class is the rank of their first feature, in equal shares."""
    X = samples(N_FEATURES, n=90)
    return X, np.asarray(labels)[X[:, 0].argsort().argsort() * len(labels) // len(X)]


def _of(module, name, *args, **keywords):
    """An estimator of scikit-learn, not made yet."""
    return lambda: getattr(importlib.import_module(f"sklearn.{module}"), name)(*args, **keywords)


def _scaled(make):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return lambda: make_pipeline(StandardScaler(), make())


_MLP = {"max_iter": 30, "random_state": 0}
_mlp = _of("neural_network", "MLPClassifier", (N_NEURONS,), **_MLP)
_deep_mlp = _of("neural_network", "MLPClassifier", (8, N_NEURONS), "tanh", **_MLP)
_logistic = _of("linear_model", "LogisticRegression")
_svc = _of("svm", "LinearSVC")
_forest = _of("ensemble", "RandomForestClassifier", 5, max_depth=3, random_state=0)
_scaled_mlp, _scaled_logistic = _scaled(_mlp), _scaled(_logistic)


def _calibrated():
    return _of("calibration", "CalibratedClassifierCV", _logistic(), cv=2)()


def _build(folder: Path, make: Callable, labels, dtype=np.float32, **options):
    with quietly():
        from skl2onnx import to_onnx

        estimator = make().fit(*_training_data(labels))
        if options:
            options = {"options": {id(estimator): options}}
        model = to_onnx(estimator, samples(N_FEATURES, dtype=dtype)[:1], **options)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return {model.graph.input[0].name: samples(N_FEATURES, dtype=dtype)}


def _row(name, make, *, labels=(0, 1, 2), refusal=None, **options) -> Row:
    if make in (_logistic, _scaled_logistic, _svc):
        refusal = "linear model on the inputs themselves"  # no hidden layer
    return Row(
        name=f"scikit-learn, {name}",
        producer="scikit-learn",
        needs=("skl2onnx",),
        build=partial(_build, make=make, labels=labels, **options),
        kind=None if refusal else "MatMul + Add",
        n_classes=len(labels),
        n_neurons=N_NEURONS,
        refusal=refusal,
    )


TEXTS = ("cow", "dog", "owl")
ROWS: list[Row] = [
    _row("MLP, ZipMap", _mlp),
    _row("MLP, no ZipMap", _mlp, zipmap=False),
    _row("MLP, ZipMap columns", _mlp, zipmap="columns"),
    _row("MLP, class labels as an output", _mlp, zipmap=False, output_class_labels=True),
    _row("MLP, text labels, ZipMap", _mlp, labels=TEXTS),
    _row("MLP, text labels, no ZipMap", _mlp, labels=TEXTS, zipmap=False),
    _row("MLP, labels 3, 5, 9", _mlp, labels=(3, 5, 9), zipmap=False),
    _row("MLP, binary, ZipMap", _mlp, labels=(0, 1)),
    _row("MLP, binary, no ZipMap", _mlp, labels=(0, 1), zipmap=False),
    _row("MLP, binary, text labels", _mlp, labels=("no", "yes"), zipmap=False),
    _row("MLP, two hidden layers, tanh", _deep_mlp, zipmap=False),
    _row("MLP in double precision", _mlp, zipmap=False, dtype=np.float64),
    _row("scaler and MLP, ZipMap", _scaled_mlp),
    _row("logistic regression", _logistic, zipmap=False),
    _row("logistic regression, ZipMap", _logistic),
    _row("logistic regression, binary", _logistic, labels=(0, 1), zipmap=False),
    _row("scaler and logistic regression", _scaled_logistic, zipmap=False),
    _row("linear SVM", _svc),
    _row("linear SVM, binary", _svc, labels=(0, 1)),
    _row("calibrated classifier", _calibrated, refusal="not linear", zipmap=False),
    _row("random forest", _forest, refusal="TreeEnsembleClassifier", zipmap=False),
]

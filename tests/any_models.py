"""ONNX classifiers without a linear last layer, and what ONNX Runtime says of them."""

import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx.utils import Extractor
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

COLUMNS = ("age", "income", "height")
CITIES, NAMES = np.array(["bonn", "kiel", "ulm"]), np.array(["low", "middle", "high"])


def people(n=240, seed=0):
    """Numbers (n, 3) and cities (n,), with classes 0, 1, 2 that depend on both."""
    rng = np.random.default_rng(seed)
    X, city = rng.normal(size=(n, 3)).astype(np.float32), rng.integers(3, size=n)
    noisy = X[:, 0] + 0.8 * X[:, 1] * (city > 0) + 0.4 * rng.normal(size=n)
    return X, CITIES[city], np.digitize(noisy, [-0.5, 0.5])


X, CITY, Y = people()
TEXTS = [f"{city} {'tall' if row[2] > 0 else 'small'} {NAMES[y]}y"[: -(i % 4) or None]
         for i, (row, city, y) in enumerate(zip(X, CITY, Y, strict=True))]  # fmt: skip
_FOREST = {"n_estimators": 12, "max_depth": 4, "random_state": 0}


def forest(**options):
    return RandomForestClassifier(**{**_FOREST, **options})


def boosting():
    """An unfitted booster."""
    return GradientBoostingClassifier(n_estimators=8, random_state=0)


def _pipeline():
    encoder = make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), [*COLUMNS]))
    return make_pipeline(encoder, forest())


ESTIMATORS = {  # an estimator, its labels, the options of its export
    "forest": (forest(), NAMES, {}),
    "forest of integers": (forest(), [3, 5, 9], {"zipmap": False}),
    "forest of positions": (forest(), [0, 1, 2], {}),
    "forest of two": (forest(), [0, 1, 1], {"zipmap": False}),
    "gradient boosting": (boosting(), NAMES, {}),
    "gradient boosting of two": (boosting(), [0, 1, 1], {}),
    "logistic regression": (LogisticRegression(), NAMES, {}),
    "neighbours": (KNeighborsClassifier(4), NAMES, {"zipmap": False}),
    "support vectors": (make_pipeline(StandardScaler(), SVC()), NAMES, {}),
    "bayes": (GaussianNB(), NAMES, {}),
    "stacking": (StackingClassifier([("b", GaussianNB()), ("f", forest())], cv=2), NAMES, {}),
}
PARTS = ("trees alone", "scores only", "labels only", "text labels only")
KINDS = (*ESTIMATORS, *PARTS, "columns", "texts")


def feed(kind, rows=slice(None)):
    """Inputs of a model of this kind, by name."""
    if kind == "texts":
        return {"review": np.array(TEXTS[rows], dtype=object)[:, None]}
    if kind == "columns":
        numbers = {name: X[rows, j : j + 1] for j, name in enumerate(COLUMNS)}
        return {**numbers, "city": CITY[rows].astype(object)[:, None]}
    return {"X": X[rows]}


def write(kind, path):
    """Write a model of this kind."""
    with warnings.catch_warnings(action="ignore"):
        path.write_bytes(_made(kind).SerializeToString())
    return path


def _made(kind):
    if kind == "columns":
        import pandas as pd

        table = pd.DataFrame({**dict(zip(COLUMNS, X.T, strict=True)), "city": CITY})
        types = [(name, FloatTensorType([None, 1])) for name in COLUMNS]
        types.append(("city", StringTensorType([None, 1])))
        return to_onnx(_pipeline().fit(table, NAMES[Y]), initial_types=types)
    if kind == "texts":
        model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression())
        types = [("review", StringTensorType([None, 1]))]
        return to_onnx(model.fit(TEXTS, NAMES[Y]), initial_types=types)
    if kind == "trees alone":  # as XGBoost's exporter: no operator of ONNX itself is imported
        model = _only(_made("forest of two"), "label", "probabilities")
        (trees,) = (node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
        del model.graph.node[:], model.graph.output[:], model.opset_import[:]
        model.graph.node.append(trees)
        model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
        types = zip(trees.output, (onnx.TensorProto.INT64, onnx.TensorProto.FLOAT), strict=True)
        shapes = [[None], [None, 2]]
        for (name, dtype), shape in zip(types, shapes, strict=True):
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, dtype, shape))
        return model
    if kind == "scores only":
        return _only(_made("forest of two"), "probabilities")
    if kind == "labels only":
        return _only(_made("forest of integers"), "label")
    if kind == "text labels only":
        return _only(_made("forest"), "output_label")
    estimator, labels, options = ESTIMATORS[kind]
    estimator = estimator.fit(X, np.asarray(labels)[Y])
    return to_onnx(estimator, X[:1], options=options or None)


def _only(model, *outputs):
    """The model with only these outputs, and what computes them."""
    model = Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(["X"], [*outputs])
    return model


def of_onnxruntime(path, feed):
    """A model's own labels and scores; None for an output that it lacks."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    labels = scores = None
    for output in session.run(None, feed):
        if isinstance(output, list):
            scores = np.array([[row[key] for key in sorted(row)] for row in output])
        elif output.dtype.kind == "f":
            scores = output
        else:
            labels = output.ravel()
    return labels, scores

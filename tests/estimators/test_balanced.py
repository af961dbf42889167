import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ntkit.estimators import BalancedClassifier, retrain_head


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("class_weight", ["balanced", None])
def test_is_scikit_learns_optimum(n_classes, class_weight):
    rng = np.random.default_rng(0)
    y = rng.choice(n_classes, 300, p=np.arange(1, n_classes + 1) / sum(range(n_classes + 1)))
    X = rng.normal(size=(300, 6)) + np.eye(n_classes)[y] @ rng.normal(size=(n_classes, 6))
    weight = rng.random(300)
    ours = BalancedClassifier(class_weight=class_weight, C=0.3, tol=1e-9)
    ours.fit(X, y, sample_weight=weight)
    theirs = LogisticRegression(C=0.3, class_weight=class_weight, tol=1e-10, max_iter=10_000)
    theirs.fit(X, y, sample_weight=weight)
    assert np.allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    head = retrain_head(X, y, sample_weight=weight, class_weight=class_weight, C=0.3, tol=1e-9)
    assert np.allclose(head.coef, ours.coef_, atol=1e-8)

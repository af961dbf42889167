"""An attribute that is passed as the groups is noticed: it has to be crossed with the class."""

import numpy as np
import pytest

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.estimators import DFRClassifier, GroupDROClassifier
from ntkit.metrics import worst_group_accuracy

ESTIMATORS = [DFRClassifier(n_retrains=5, random_state=0), GroupDROClassifier(eta=0.1)]
NOTICED = r"The group 0 has several classes.*Pass them as attribute="


@pytest.fixture(scope="module")
def digits():
    data = load_marked_digits()
    embedder = OnnxEmbedder(FrozenModel.load(marked_digits_model_path()), device="cpu")
    return data, embedder.transform(data.X_validation), embedder.transform(data.X_test)


@pytest.mark.parametrize("clf", ESTIMATORS)
def test_it_is_warned_of_and_the_advice_works(digits, clf):
    data, Z, Z_test = digits
    mark, some = data.groups_validation % 2, np.arange(len(Z)) % 4 == 0

    def worst():
        return worst_group_accuracy(data.y_test, clf.predict(Z_test), groups=data.groups_test)

    with pytest.warns(UserWarning, match=NOTICED):
        clf.fit(Z, data.y_validation, groups=mark)
    uncrossed = worst()
    with pytest.warns(UserWarning, match=NOTICED):  # also where it is known of some samples only
        clf.fit(Z, data.y_validation, groups=np.where(some, mark, -1))
    # Warnings are errors elsewhere.
    advised = clf.fit(Z, data.y_validation, attribute=mark) and worst()
    crossed = clf.fit(Z, data.y_validation, groups=data.groups_validation) and worst()
    assert advised == crossed > uncrossed + 0.2


@pytest.mark.parametrize("clf", ESTIMATORS)
def test_groups_that_say_nothing_of_the_class_and_wrong_labels_are_not(digits, clf):
    data, Z, _ = digits
    site = np.random.default_rng(0).integers(0, 2, len(Z))
    wrong = data.groups_validation.copy()
    wrong[np.flatnonzero(wrong == 0)[0]] = 3
    for groups in (site, wrong, data.y_validation):
        clf.fit(Z, data.y_validation, groups=groups)
    thirties = (np.arange(start, start + 30) for start in range(0, 900, 30))
    correlated = (np.corrcoef(site[i], data.y_validation[i])[0, 1] for i in thirties)
    start = next(30 * k for k, r in enumerate(correlated) if 0.2 < abs(r) < 0.4)
    few = slice(start, start + 30)  # correlated by chance
    clf.fit(Z[few], data.y_validation[few], groups=site[few])

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ntkit.exceptions import InputError
from ntkit.metrics import adjusted_accuracy, weighted_average_accuracy, worst_group_accuracy

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed, n_groups=3):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    return rng, rng.integers(0, 3, n), rng.integers(0, 3, n), rng.integers(0, n_groups, n)


@given(SEEDS)
def test_adjusted_accuracy_is_balanced_accuracy_when_groups_are_the_classes(seed):
    _, y, pred, _ = draw(seed)
    labels = np.unique(y)  # scikit-learn warns of predicted classes that y lacks, and of one class
    pred = np.where(np.isin(pred, labels), pred, -1)
    if -1 not in pred and len(labels) > 1:
        assert adjusted_accuracy(y, pred, groups=y) == pytest.approx(
            balanced_accuracy_score(y, pred)
        )


@given(SEEDS)
def test_weighted_average_with_the_same_shares_is_the_accuracy(seed):
    _, y, pred, groups = draw(seed)
    found = weighted_average_accuracy(y, pred, groups=groups, train_groups=np.tile(groups, 3))
    assert found == pytest.approx(accuracy_score(y, pred))


@given(SEEDS)
def test_neither_order_of_samples_nor_names_of_groups_matter(seed):
    rng, y, pred, groups = draw(seed)
    order = rng.permutation(len(y))
    names = rng.permutation(["c", "b", "a"])
    train = np.concatenate([groups, groups[: rng.integers(0, len(groups))]])
    for score, kept, renamed in [
        (worst_group_accuracy, {}, {}),
        (adjusted_accuracy, {}, {}),
        (weighted_average_accuracy, {"train_groups": train}, {"train_groups": names[train]}),
    ]:
        value = score(y, pred, groups=groups, **kept)
        again = score(y[order], pred[order], groups=names[groups[order]], **renamed)
        assert value == pytest.approx(again)
        assert 0 <= value <= 1
        assert worst_group_accuracy(y, pred, groups=groups) <= value + 1e-12


def test_a_training_group_without_evaluation_samples_is_an_error():
    with pytest.raises(InputError, match="training group 'c' has no evaluation sample"):
        weighted_average_accuracy([0], [0], groups=["a"], train_groups=["a", "c"])


def test_a_group_unknown_to_the_training_set_has_no_weight():
    assert weighted_average_accuracy([0, 0], [0, 1], groups=["a", "z"], train_groups=["a"]) == 1.0


@pytest.mark.parametrize(
    ("y", "pred", "groups", "message"),
    [
        ([0, 1], [0], [0, 1], "y_pred has 1 labels but y_true has 2"),
        ([0, 1], [0, 1], [0], "groups has 1 labels but y_true has 2"),
        ([0, 1], [0, 1], [np.nan, np.nan], "groups is unknown for all samples"),
        ([0, 1], [0, 1], ["a", 1], "groups mixes"),
        ([0, 1], [0, np.nan], [0, 1], "y_pred contains NaN"),
        ([0, 1], ["0", "1"], [0, 1], "y_true has numbers and y_pred has text"),
        ([], [], [], "y_true is empty"),
        ([[0, 1]], [0, 1], [0, 1], r"y_true must have shape \(N,\)"),
    ],
)
def test_unusable_labels(y, pred, groups, message):
    with pytest.raises(InputError, match=message) as error:
        adjusted_accuracy(y, pred, groups=groups)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=message):
        weighted_average_accuracy(y, pred, groups=groups, train_groups=[0])


def test_pandas_labels():
    pd = pytest.importorskip("pandas")
    y = pd.Series(["a", "b", "a"], index=[5, 3, 9])
    groups = pd.Series(["x", pd.NA, "x"], dtype="string")
    pred = np.array(["a", "b", "b"])
    assert adjusted_accuracy(y, pred, groups=y) == 0.75
    assert worst_group_accuracy(y, pred, groups=y) == 0.5
    assert adjusted_accuracy(pd.array([1, 2], dtype="Int64"), [1, 1], groups=[0, 0]) == 0.5
    assert adjusted_accuracy(y, pred, groups=groups) == 0.5  # the second sample's is unknown

"""Weights of an attribute, for a fit of one's own such as of trees."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

import ntkit
from ntkit.attributes import Attribute
from ntkit.exceptions import InputError
from ntkit.jobs.audit.files import write_audit
from ntkit.metrics import worst_group_accuracy
from tests.estimators.samples import misled

X, Y, MARK = misled()
GROUP = 2 * Y + MARK
SITE = Attribute.from_labels("site", np.array(["A", "B"])[MARK])


def test_a_tree_has_the_same_weight_in_every_group():
    weights = SITE.weights(Y)
    assert np.bincount(GROUP, weights) == pytest.approx(len(Y) / 4)
    tree = DecisionTreeClassifier().fit(np.column_stack([Y, MARK]), GROUP, weights)
    leaves = tree.tree_.children_left < 0
    assert tree.tree_.weighted_n_node_samples[leaves] == pytest.approx(len(Y) / 4)
    by_group = Attribute.from_labels("group", GROUP).weights(Y)  # the same, crossed before
    assert by_group == pytest.approx(weights)


def test_a_tree_with_the_weights_is_better_in_its_worst_group():
    rng = np.random.default_rng(1)
    y, mark = rng.integers(0, 2, (2, 4000))
    samples = np.column_stack([y + rng.normal(0, 0.3, 4000), 2 * mark])
    worst = list[float]()
    for weight in (None, SITE.weights(Y)):
        tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, Y, weight)
        worst.append(worst_group_accuracy(y, tree.predict(samples), groups=2 * y + mark))
    assert worst[0] < 0.85
    assert worst[1] > 0.92


def test_unknown_samples_weigh_nothing_and_rare_ones_not_too_much():
    some = Attribute.from_labels("site", np.where(np.arange(len(Y)) % 3, MARK, -1))
    weights = some.weights(Y)
    assert not weights[::3].any()
    known = np.arange(len(Y)) % 3 > 0
    assert weights[known] == pytest.approx(some.take(known).weights(Y[known]))
    rare = Attribute.from_labels("site", np.where(np.arange(len(Y)) == 5, "odd", "other"))
    balanced = len(Y) / 2 / np.bincount(Y)[Y]
    assert rare.weights(Y)[5] == pytest.approx(50 * balanced[5])
    twice = 1 + (np.arange(len(Y)) % 2)
    rows = np.repeat(np.arange(len(Y)), twice)  # a weight of two stands for two samples
    repeated = np.bincount(rows, SITE.take(rows).weights(Y[rows]))
    assert SITE.weights(Y, twice) == pytest.approx(repeated)


@pytest.mark.parametrize(
    ("labels", "y", "weight", "problem"),
    [
        ([1, 2, -1], [0, 0, 1], None, "'site' is unknown for all samples of class 1"),
        ([1, 2, 2], [0, 0, 1], [1, 1, 0], "'site' is unknown for all samples of class 1"),
        ([1, 2], [0, 0, 1], None, "attribute 'site' has 2 labels but y has 3"),
        ([1, 2, 2], [0, 0, 1], [1, 1, -1], "sample_weight contains negative"),
    ],
)
def test_weights_that_cannot_be_are_refused(labels, y, weight, problem):
    with pytest.raises(InputError, match=problem):
        Attribute.from_labels("site", labels).weights(y, weight)


def audited():
    """The audit of predictions that follow the mark in half of the samples."""
    predicted = np.where(np.arange(len(Y)) % 2, Y, MARK)
    return ntkit.audit(Y, predicted, table={"site": np.array(["A", "B"])[MARK]})


def test_an_audit_weighs_its_groups_alike():
    audit = audited()
    name = audit.findings[0].name
    groups, weights = audit.groups(name), audit.weights(name)
    totals = [weights[groups == group].sum() for group in np.unique(groups)]
    assert totals == pytest.approx([500] * 4)
    with pytest.raises(InputError, match="Name at least one attribute"):
        audit.weights()


def test_the_table_of_an_audit_without_a_model_has_the_weights_of_each_question(tmp_path):
    audit = audited()
    write_audit(audit, tmp_path / "out")
    header, *rows = csv.reader(io.StringIO((tmp_path / "out" / "weights.csv").read_text()))
    assert header == ["row", *(f"sample_weight {each.name}" for each in audit.questions)]
    assert [row[0] for row in rows] == [*map(str, range(len(Y)))]
    for i, finding in enumerate(audit.questions, start=1):
        written = [float(row[i]) for row in rows]
        assert written == pytest.approx(audit.weights(finding.name), rel=1e-5)


def test_labels_and_classes_of_another_order_are_refused():
    """The index of a pandas object names its samples."""
    site = pd.Series(["A", "A", "B", "A", "B"], index=[*"abcde"])
    y = pd.Series([0, 0, 0, 1, 1], index=site.index)
    attribute = Attribute.from_labels("site", site)
    expected = Attribute.from_labels("site", site.to_numpy()).weights(y.to_numpy())
    assert attribute.weights(y).tolist() == expected.tolist()
    with pytest.raises(InputError, match="in another order, by its index"):
        attribute.weights(y[::-1])
    some = np.array([0, 2, 3, 4])
    assert attribute.take(some).weights(y.iloc[some]).sum() == pytest.approx(4)

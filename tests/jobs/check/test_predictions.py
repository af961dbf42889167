"""One way to hand in predictions: labels, scores, fitted classifiers, arrays and frames."""

import inspect

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import ntkit
from ntkit.exceptions import InputError
from ntkit.metrics import group_report

N = 400
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, N)
X = np.eye(3)[Y] + RNG.normal(0, 0.5, (N, 3))
NAMES = np.array(["ant", "bee", "cat"])
GROUPS = pd.DataFrame({"sex": ["f", "m"] * (N // 2), "site": np.repeat(["A", "B"], N // 2)})
LIMITS = {"max_drop": 5}


def told(result):
    """What a check says, without the notes."""
    return {**result.as_dict(), "notes": None}


@pytest.mark.parametrize("y", [Y, NAMES[Y]])
def test_scores_frames_and_classifiers_are_checked_like_their_predictions(y):
    old, new = LogisticRegression().fit(X, y), DecisionTreeClassifier(max_depth=3).fit(X, y)
    shared = {"limits": LIMITS}
    wanted = told(
        ntkit.check_predictions(y, new.predict(X), y_pred_before=old.predict(X), **shared)
    )
    scores = [clf.predict_proba(X) for clf in (old, new)]
    frames = [pd.DataFrame(each[:, ::-1], columns=[*"210"]) for each in scores]
    if y is not Y:
        frames = [each.set_axis([f"p_{n}" for n in NAMES[::-1]], axis=1) for each in frames]
    for before, after in (scores, frames, (old.predict(X), scores[1])):
        found = ntkit.check_predictions(y, after, y_pred_before=before, **shared)
        assert told(found) == wanted
    for rows in (X, pd.DataFrame(X)):
        fitted = [clf.fit(rows, y) for clf in (old, new)]
        found = ntkit.check_predictions(y, fitted[1], y_pred_before=fitted[0], X=rows, **shared)
        assert told(found) == wanted
    found = ntkit.check_predictions(y, new, y_pred_before=old.predict(X), X=rows, **shared)
    assert told(found) == wanted


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"]])
def test_probabilities_of_the_second_class(labels):
    y = np.array(labels)[Y // 2]
    p = np.where(RNG.random(N) < 0.9, Y // 2, 1 - Y // 2) * 0.8 + 0.1
    wanted = told(
        ntkit.check_predictions(
            y, np.array(labels)[(p > 0.5) * 1], limits=LIMITS | {"average": 80, "max_drop": None}
        )
    )
    limits = {"average": 80}
    for scores in (p, p[:, None], pd.DataFrame({f"p_{labels[1]}": p}), np.c_[1 - p, p]):
        found = ntkit.check_predictions(y, scores, limits=limits)
        assert told(found) == wanted
    audits = [
        ntkit.audit(y, **{name: each}, table={"site": GROUPS.site})
        for each in (p, np.c_[1 - p, p])
        for name in ("pred", "scores")
    ]
    assert len({str(each) for each in audits}) == 1
    with pytest.raises(InputError, match="y_pred: the scores seem to be in another order"):
        ntkit.check_predictions(y, np.c_[p, 1 - p], limits=limits)
    with pytest.raises(InputError, match="y_pred has 3 columns, and there are 2 classes"):
        ntkit.check_predictions(y, X, limits=limits)
    with pytest.raises(InputError, match="y_pred has 1 columns, and there are 3 classes"):
        ntkit.check_predictions(NAMES[Y], p, limits=limits)


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        (np.where(Y[:, None] == [0, 1, 2], 0.9, np.nan), "There are NaN or infinite values in {}"),
        (X[:-1], r"{} needs a row for each of 400 labels. Got \(399, 3\)"),
        ([*Y[:-1], None], "{} contains NaN or missing entries"),
    ],
)
def test_predictions_that_are_missing_are_refused_by_their_name(scores, problem):
    with pytest.raises(InputError, match=problem.format("y_pred")):
        ntkit.check_predictions(Y, scores, limits={"average": 50})
    of_audit = "scores" if np.ndim(scores) == 2 else "pred"
    with pytest.raises(InputError, match=problem.format(of_audit)):
        ntkit.audit(Y, scores, table={"site": GROUPS.site})


def test_classifiers_need_samples_and_samples_a_classifier():
    clf = LogisticRegression().fit(X, Y)
    with pytest.raises(InputError, match=r"y_pred is a LogisticRegression\. Pass the .* as X="):
        ntkit.check_predictions(Y, clf, limits={"average": 50})
    with pytest.raises(InputError, match="Leave X out"):
        ntkit.check_predictions(Y, Y, X=X, limits={"average": 50})


def test_check_on_arrays_or_classifiers_shows_the_call_by_the_names_of_the_caller():
    Z, g = X, GROUPS.site.to_numpy()
    tree, head = DecisionTreeClassifier(max_depth=3).fit(Z, Y), LogisticRegression().fit(Z, Y)
    before, after = tree.predict(Z), head.predict(Z)
    strict = {"average": 80}
    for arguments, wanted in (
        ((tree, head, (Z, Y, g)), "(Y, head, y_pred_before=tree, X=Z, groups=g, limits="),
        ((None, head, (Z, Y)), "(Y, head, X=Z, limits={'average': 90})"),
        ((before, after, Y), "(Y, after, y_pred_before=before, limits={'max_drop': 5.0})"),
        ((before, after, (Z, Y, g)), "(Y, after, y_pred_before=before, groups=g, limits="),
        (("a.onnx", head, (Z, Y)), "(Y, head, y_pred_before=ntkit.predict(old, Z).labels, X=Z,"),
    ):
        with pytest.raises(InputError) as raised:
            ntkit.check(*arguments)
        call = f"ntkit.check_predictions{wanted}"
        assert call in str(raised.value)
        shown = str(raised.value).partition("so: ")[2].removesuffix(".")
        if ".onnx" not in str(arguments[0]):
            eval(shown)  # the call works as it stands
    with pytest.raises(InputError, match=r"limits=strict\)"):
        ntkit.check(None, head, (Z, Y), limits=strict)
    with pytest.raises(InputError, match=r"\(y, new, y_pred_before=old, limits="):
        ntkit.check([*before], [*after], [*Y])  # these have no names


def test_groups_of_several_columns_are_combined():
    wrong = np.where((GROUPS.sex == "f") & (GROUPS.site == "B"), (Y + 1) % 3, Y)
    limits = {"worst_group": 50}
    joined = GROUPS.sex + " × " + GROUPS.site
    wanted = ntkit.check_predictions(Y, wrong, groups=joined, limits=limits)
    found = ntkit.check_predictions(Y, wrong, groups=GROUPS, limits=limits)
    assert told(found) == told(wanted)
    report = group_report(Y, wrong, groups=GROUPS)
    assert report.as_dict() == group_report(Y, wrong, groups=joined).as_dict()
    assert report.worst_group.which == "f × B"
    some = GROUPS.assign(sex=GROUPS.sex.where(np.arange(N) % 4 > 0))
    assert group_report(Y, wrong, groups=some).n_unknown == N // 4
    clf = ntkit.estimators.DFRClassifier(variant="weighted", C=1.0)
    one, other = (clf.fit(X, Y, groups=each).coef_.copy() for each in (GROUPS, joined))
    assert np.array_equal(one, other)
    members = pd.get_dummies(GROUPS.sex)  # yes and no are memberships, which may overlap
    assert [row.name for row in group_report(Y, wrong, groups=members).rows[3:5]] == ["f", "m"]
    with pytest.raises(InputError, match="without missing values"):
        group_report(Y, wrong, groups=members.astype(float).replace(0, np.nan))


def test_the_name_is_at_the_top():
    assert ntkit.check_predictions is ntkit.jobs.check.check_predictions
    assert "check_predictions" in dir(ntkit)
    assert "X" in inspect.signature(ntkit.check_predictions).parameters

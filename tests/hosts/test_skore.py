"""The check of the page on skore, in skore's own reports."""

import re
from pathlib import Path

import numpy as np
import pytest

import ntkit

skore = pytest.importorskip("skore", reason="skore is not installed")
import pandas as pd  # noqa: E402
from sklearn.datasets import make_classification  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.model_selection import ShuffleSplit  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402
from skrub import tabular_pipeline  # noqa: E402

from tests.test_docs import DOCS, programs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = DOCS / "howto" / "skore_fairlearn.md"


@pytest.fixture(scope="module")
def page():
    """What the blocks of the page define: the table, the check, and the report with it."""
    names = {"__name__": "__main__"}
    for _, language, block in programs(PAGE)["skore"]:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def result(report, page, **options):
    """The row of the check in the report's summary."""
    report.checks.add([page["ReliesOn"]()])
    frame = report.checks.summarize(fast_mode=True, **options).frame().set_index("code")
    return frame.loc["NTK001"]


def test_the_page_shows_what_the_check_says(page):
    found = page["results"].loc["NTK001"]
    (shown,) = re.findall(r"```text\n(tip\n.*?)\n…", Path(PAGE).read_text("utf-8"), re.DOTALL)
    assert " ".join(shown.split()) == f"{found.section} {found.explanation.splitlines()[0]}"
    assert "[NTK001] Relies on a column" in repr(page["report"].checks.summarize(fast_mode=True))


def test_every_part_of_a_cross_validation_says_what_an_audit_says(page):
    """Once for samples that several splits share; the parts are as skore made them."""
    X, y, model = page["X"], page["y"], tabular_pipeline(LogisticRegression())
    splits = ShuffleSplit(4, test_size=0.5, random_state=0)
    report = skore.CrossValidationReport(model, X, y, splitter=splits, pos_label="benign")
    pred = {}
    for (_, test), part in zip(report.split_indices, report.reports_, strict=True):
        for row, label in zip(test, part.estimator_.predict(part.X_test), strict=True):
            pred.setdefault(row, label)
    rows = sorted(pred)
    assert len(rows) < sum(len(test) for _, test in report.split_indices)
    audit = ntkit.audit(y.iloc[rows], [pred[row] for row in rows], table=X.iloc[rows])
    names = [finding.name for finding in audit.findings]
    assert names[0] == "column:clinic=A"
    said = result(report, page).explanation.splitlines()
    assert [line.split(",")[0] for line in said] == [f"Relies on {name}" for name in names]
    assert [line.split(". ", 1)[1] for line in said] == [str(f) for f in audit.findings]


def test_one_model_and_a_comparison(page):
    X, y = page["X"], page["y"]
    models = [tabular_pipeline(LogisticRegression()), DecisionTreeClassifier(max_depth=2)]
    one = skore.evaluate(models[0], X, y, splitter=0.5)
    audit = ntkit.audit(one.y_test, one.estimator_.predict(one.X_test), table=one.X_test)
    assert str(audit.findings[0]) in result(one, page).explanation
    both = skore.evaluate(models, X.drop(columns="clinic"), y, splitter=0.5)
    said = result(both, page)
    assert said.section == "tip"
    assert len(said.explanation) == 2
    assert not any("clinic" in text for text in said.explanation.values())
    assert result(one, page, ignore=["NTK001"]).section == "ignored"


def test_nothing_is_found_in_noise_and_nothing_is_said_without_a_test(page):
    rng = np.random.default_rng(0)
    noise = pd.DataFrame(rng.normal(size=(600, 3)), columns=list("abc"))
    y = rng.integers(0, 2, 600)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    assert result(skore.evaluate(tree, noise[["a"]].round(), y), page).section == "passed"
    report = skore.evaluate(LinearRegression(), noise, noise["a"] * 2)
    assert result(report, page).explanation == "ntkit audits classifiers."
    few = result(skore.evaluate(tree, noise[:20], np.arange(20) % 2, splitter=0.5), page)
    assert (few.section, "tested no attribute" in few.explanation) == ("not_applicable", True)
    prefit = skore.evaluate(tree.fit(noise, y), noise[y == 0], y[y == 0], splitter="prefit")
    assert "only one class" in result(prefit, page).explanation


def test_the_first_example_of_skore_runs_with_it(page):
    """The quick start of its README, whose columns all belong to an array."""
    X, y = make_classification(n_classes=2, n_samples=100_000, n_informative=4, random_state=0)
    report = skore.CrossValidationReport(LogisticRegression(), X, y)
    said = result(report, page)
    assert said.explanation.startswith("Relies on column:")
    assert {"SKD001", "NTK001"} <= {*report.checks.summarize(fast_mode=True).frame()["code"]}
    report.help()
    assert "accuracy" in report.metrics.summarize().frame().index
    report.metrics.roc().plot()

"""The sentence of the README on the benchmark says what the file of results says."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# Models of the same data are problems of one data set.
DATA_SET_OF = {
    "Sneaker/boot": "Fashion-MNIST",
    "T-shirt/dress": "Fashion-MNIST",
    "Pullover/coat": "Fashion-MNIST",
}
NUMBERS = {"six": 6}


@pytest.fixture(scope="module")
def sentence():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    pattern = (
        r"With group labels on (\d+) samples, worst-group accuracy rises from (\d+) to (\d+) %, "
        r"and average accuracy falls from (\d+) to (\d+) % \(mean of \[(\d+) problems from (\w+) "
        r"data sets\].* With all group labels, DFR reaches (\d+) %"
    )
    found = re.search(pattern, text)
    assert found, "the sentence has changed: change this test as well"
    return found.groups()


@pytest.fixture(scope="module")
def problems():
    """Rows of the problems with a shortcut, by method and labels."""
    with (ROOT / "docs" / "benchmarks" / "results.csv").open(encoding="utf-8") as file:
        wanted = ("overview_tables.md", "like the training set")
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["source"], row["validation_set"]) == wanted and row["shortcut"] != "none"
        ]

    def of(method, labels, tuned_by):
        chosen = [r for r in rows if (r["method"], r["labels"]) == (method, labels)]
        chosen = [r for r in chosen if tuned_by in r["tuned_by"]]
        assert len({r["data_set"] for r in chosen}) == len(chosen), "a problem is there twice"
        return chosen

    return of


def test_numbers_are_means_of_the_file(sentence, problems):
    n_labels, worst_before, worst_after, average_before, average_after, n, n_sets, dfr = sentence
    erm = problems("ERM", "none", "cross-validation")
    repaired = problems("ntkit, `debias`", n_labels, "cross-validation")
    all_labels = problems("DFR", "all", "worst group")
    assert len(erm) == len(repaired) == len(all_labels) == int(n)
    for rows, column, told in (
        (erm, "worst_group", worst_before),
        (repaired, "worst_group", worst_after),
        (erm, "average", average_before),
        (repaired, "average", average_after),
        (all_labels, "worst_group", dfr),
    ):
        mean = np.mean([float(row[column]) for row in rows])
        assert abs(mean - int(told)) < 0.55, (column, told)  # means of rounded values
    names = {row["data_set"] for row in erm}
    assert len({DATA_SET_OF.get(m, m.split(",")[0]) for m in names}) == NUMBERS[n_sets]

"""Broken tables and names of labels: a sentence each, from the command line."""

import numpy as np
import pandas as pd
import pytest

from tests.cases import refused
from tests.several_labels import LABELS


def table_of(five, path, **columns):
    """The first test samples, with other columns of labels; None leaves a column out."""
    X, Y = (part[:40] for part in five.set("test"))
    table = pd.DataFrame(X, columns=[f"p{i}" for i in range(X.shape[1])])
    for name, values in (dict(zip(LABELS, Y.T, strict=True)) | columns).items():
        if values is not None:
            table[name] = values
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"even": 2}, "--label even", "row 2: '2' in column 'even' is not 0, 1 or empty"),
        ({"even": 2}, "", "row 2: '2' in column 'even' is not 0, 1 or empty"),
        ({"even": "yes"}, "", "'yes' in column 'even' is not 0, 1 or empty"),
        ({"even": None}, "--label even", "has no column 'even' with 0 and 1"),
        (dict.fromkeys(LABELS), "", "has no column 'even' with 0 and 1"),
        ({"even": np.nan}, "--label even", "no sample has a known value"),
        ({}, "--label evn", "The model has no label 'evn'"),
        ({}, "--answers answers.json", "Name it with --label"),
        ({}, "--report REPORT", "--report is on one label"),
    ],
)
def test_what_check_refuses(five, tmp_path, columns, options, says):
    data = table_of(five, tmp_path / "t.csv", **columns)
    words = [tmp_path / "r.html" if word == "REPORT" else word for word in options.split()]
    refused("check", five.model, five.model, data, *words, says=says)


def test_label_needs_one_label(five, tmp_path):
    data = table_of(five, tmp_path / "t.csv")
    for options in ((), ("--check", data)):
        out = ("-o", tmp_path / "q", "--question", "A mark?")
        refused("label", five.model, data, *out, *options, says="Name one of them with --label")
    assert not (tmp_path / "q").exists()

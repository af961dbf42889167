"""Changes of columns that a model takes."""

import numpy as np
import pandas as pd
import pytest

from ntkit.changes import change_from, change_named
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, read_samples

N = 60


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, N)
    path = tmp_path / "people.csv"
    pd.DataFrame(
        {"id": [f"p{i}" for i in range(N)], "age": rng.integers(20, 60, N), "female": sex,
         "male": 1 - sex, "same": 1, "label": rng.integers(0, 2, N)}
    ).to_csv(path, index=False)  # fmt: skip
    return read_samples(path)


def test_a_column_comes_from_another_row_of_another_value(table):
    copies, at = change_named("column:age").copies(table)
    i = table.columns.index("age")
    assert at.tolist() == [*range(N)]
    assert (copies.X[:, i] != table.X[:, i]).all()
    assert {*copies.X[:, i]} <= {*table.X[:, i]}
    others = [j for j in range(4) if j != i]
    np.testing.assert_array_equal(copies.X[:, others], table.X[:, others])
    np.testing.assert_array_equal(copies.y, table.y)
    some, _ = change_named("column:age").copies(table, [9, 2])
    np.testing.assert_array_equal(some.X, copies.X[[9, 2]])
    assert (copies.X != change_named("column:age").copies(table, seed=6)[0].X).any()


def test_copies_keep_names_and_their_table_shows_the_change(table):
    copies, at = change_named("column:female+column:male").copies(table, [7, 3])
    assert copies.names == ["p7", "p3"] == [table.names[i] for i in at]
    assert (copies.X[:, 1] + copies.X[:, 2] == 1).all()
    assert (copies.X[:, 1] != table.X[at, 1]).all()
    shown = copies.looks().table
    np.testing.assert_array_equal(shown["female"].astype(float), copies.X[:, 1])
    assert shown["age"].tolist() == table.table.columns["age"][[7, 3]].tolist()


def test_a_column_of_one_value_changes_nothing(table):
    copies, at = change_named("column:same").copies(table)
    assert (len(copies), copies.X.shape, at.tolist()) == (0, (0, 4), [])


def test_named_values(table):
    swapped, at = change_named("column:female=0|1").copies(table)
    np.testing.assert_array_equal(swapped.X[:, 1], 1 - table.X[:, 1])
    to_one, at = change_named("column:female=1").copies(table)
    np.testing.assert_array_equal(at, np.flatnonzero(table.X[:, 1] == 0))
    assert (to_one.X[:, 1] == 1).all()


def test_missing_values_are_one_value():
    X = np.array([[np.nan, 1], [np.nan, 2], [3, 3]], dtype=np.float32)
    copies, at = change_named("column:0").copies(Samples(X))
    np.testing.assert_array_equal(copies.X[:2, 0], [3, 3])
    assert np.isnan(copies.X[2, 0])
    assert at.tolist() == [0, 1, 2]
    only = np.full((3, 2), np.nan, np.float32)
    assert len(change_named("column:0").copies(Samples(only))[1]) == 0


def test_integer_inputs_stay_integers():
    X = np.array([[1, 2], [3, 4]], dtype=np.int64)
    copies, _ = change_named("column:1").copies(Samples(X))
    assert copies.X.dtype == np.int64
    assert copies.X.tolist() == [[1, 4], [3, 2]]
    with pytest.raises(InputError, match=r"has int64 values, and 2\.5 is not one"):
        change_named("column:1=2.5").copies(Samples(X))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_several_inputs_of_strings_and_numbers(shape):
    X = {
        "sex": np.array(["Male", "Female", "Male"]).reshape(shape),
        "age": np.array([[1], [2], [3]]),
        "wide": np.zeros((3, 4)),
    }
    samples = Samples(X, [0, 1, 0])
    copies, _ = change_named("column:sex=Male|Female").copies(samples)
    assert copies.X["sex"].ravel().tolist() == ["Female", "Male", "Female"]
    assert copies.X["sex"].shape == X["sex"].shape
    assert copies.X["age"] is not X["age"]
    longer = change_from(lambda row: {"sex": row["sex"] + " (unknown)"}, "longer")
    assert longer.copies(samples)[0].X["sex"].ravel()[1] == "Female (unknown)"
    assert X["sex"].ravel()[1] == "Female"
    drawn, _at = change_named("column:sex").copies(samples)
    assert drawn.X["sex"].ravel().tolist() == ["Female", "Male", "Female"]
    with pytest.raises(InputError, match=r"'wide' is not a column .*only those can be changed"):
        change_named("column:wide").copies(samples)


def test_data_frames_and_lists():
    frame = pd.DataFrame({"age": [1.0, 2.0, 3.0], "sex=F": [0.0, 1.0, 0.0]})
    copies, _at = change_named("column:sex=F").copies(Samples(frame))
    assert copies.X.tolist() == [[1, 1], [2, 0], [3, 1]]
    assert frame["sex=F"].tolist() == [0, 1, 0]
    same, _ = change_named("column:1").copies(Samples(frame.to_numpy().tolist()))
    assert same.X.tolist() == copies.X.tolist()


def test_functions_of_rows(table):
    older = change_from(lambda row: {"age": row["age"] + 10} if row["female"] else None, "older")
    copies, at = older.copies(table)
    np.testing.assert_array_equal(at, np.flatnonzero(table.X[:, 1]))
    np.testing.assert_array_equal(copies.X[:, 0], table.X[at, 0] + 10)
    assert len(change_from(lambda row: row, "same").copies(table)[1]) == 0
    mixed = change_from(lambda row, other: {"age": other["age"]}, "mixed", donor=True)
    copies, at = mixed.copies(table)
    assert {*copies.X[:, 0]} <= {*table.X[:, 0]}
    assert 0 < len(at) <= N


@pytest.mark.parametrize(
    ("function", "told"),
    [(lambda row: {"agee": 1}, "return a mapping of some of the columns"),
     (lambda row: 3, "return a mapping"),
     (lambda row: {"0": 1.5}, "are not int64; return values of this type")],
)  # fmt: skip
def test_functions_that_make_something_else(function, told):
    with pytest.raises(InputError, match=told):
        change_from(function, "f").copies(Samples(np.zeros((2, 2), dtype=np.int64)))

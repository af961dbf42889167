"""Tables give back what was written into them, or name the row that they cannot read."""

import csv
import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ntkit._labels import unguarded_cell
from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.samples.table import read_table

FAST = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# No surrogates, which no file holds; no NUL.
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
# A header such as '@ is a guarded formula, as ntkit writes it: it is read as @.
HEADERS = CELLS.filter(lambda name: name.strip() and unguarded_cell(name) == name)
NAMES = st.lists(HEADERS, min_size=1, max_size=4, unique=True)


@st.composite
def tables(draw, cells=CELLS):
    names = draw(NAMES)
    rows = draw(st.lists(st.tuples(*[cells] * len(names)), min_size=1, max_size=6))
    return names, rows


def columns_of(names, rows):
    return {name: [row[j] for row in rows] for j, name in enumerate(names)}


def read_columns(path):
    return {name: list(values) for name, values in read_table(path).columns.items()}


@pytest.fixture
def parquet():
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    writer = pytest.importorskip("pyarrow.parquet")
    return lambda path, columns: writer.write_table(arrow.table(columns), path) or path


# -- round trips --------------------------------------------------------------------------------


@FAST
@given(table=tables(), bom=st.booleans(), kind=st.sampled_from(["csv", "tsv"]))
def test_delimited_cells_come_back(table, bom, kind, tmp_path):
    names, rows = table
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter="," if kind == "csv" else "\t", quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    path = tmp_path / f"t.{kind}"
    path.write_bytes(file.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    if names[0].startswith("\ufeff") and not bom:
        return  # which is how a file says that it is UTF-8
    assert read_columns(path) == columns_of(names, rows)
    assert read_table(path).rows.tolist() == list(range(2, len(rows) + 2))


def test_the_index_of_a_data_frame_in_parquet_is_a_column_if_it_has_names(tmp_path):
    """As reset_index gives it; numbers of rows are none."""
    pytest.importorskip("pyarrow.parquet")
    names, path = ["p2", "p0", "p1"], tmp_path / "t.parquet"
    for index, more in [
        (pd.Index(names, name="id"), {"id": names}),
        (pd.Index(names), {"index": names}),
        (pd.MultiIndex.from_arrays([names, [0, 0, 1]]), {"level_0": names}),
        (pd.Index([2, 0, 1], name="patient"), {"patient": [2, 0, 1]}),
        (pd.Index([2, 0, 1]), {}),
        (pd.RangeIndex(3), {}),
    ]:
        pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=index).to_parquet(path)
        assert read_columns(path) == {"x": [1, 2, 3], **more}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_empty_line_is_an_empty_cell_of_the_only_column_and_else_nothing(end, tmp_path):
    """Without it all rows below would be those of other samples."""
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(["", "group", "1", "", "0", "", ""]).encode())
    assert read_columns(path) == {"group": ["1", "", "0", ""]}
    assert read_table(path).rows.tolist() == [3, 4, 5, 6]
    path.write_bytes(end.join(["group,id", "1,a", "", "0,b", ""]).encode())
    assert read_columns(path) == {"group": ["1", "0"], "id": ["a", "b"]}
    assert read_table(path).rows.tolist() == [2, 4]  # as a spreadsheet counts them


VALUES = st.one_of(CELLS, st.integers(-(2**60), 2**60), st.booleans(), st.none(), st.floats(-9, 9))


@FAST
@given(table=tables(VALUES), blank=st.booleans())
def test_lines_of_json_come_back(table, blank, tmp_path):
    names, rows = table
    lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=blank) for row in rows]
    (tmp_path / "t.jsonl").write_bytes(("\n\n" if blank else "\n").join(lines).encode())
    assert read_columns(tmp_path / "t.jsonl") == columns_of(names, rows)
    first_rows = range(1, (2 if blank else 1) * len(rows) + 1, 2 if blank else 1)
    assert read_table(tmp_path / "t.jsonl").rows.tolist() == list(first_rows)


@FAST
@given(
    texts=st.lists(st.none() | CELLS, min_size=2, max_size=2),
    whole=st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=2, max_size=2),
)
def test_parquet_values_come_back(texts, whole, parquet, tmp_path):
    columns = {"text": texts, "whole": whole, "float": [0.5, -1.0], "bool": [True, False]}
    folder = tmp_path / "label=3"  # not a partition
    folder.mkdir(exist_ok=True)
    assert read_columns(parquet(folder / "t.PQ", columns)) == columns


def test_a_text_longer_than_the_csv_modules_limit(tmp_path):
    limit = csv.field_size_limit()
    (tmp_path / "t.csv").write_text("text\n" + "word " * limit)
    assert read_columns(tmp_path / "t.csv") == {"text": ["word " * limit]}
    assert csv.field_size_limit() == limit


# -- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "has no rows"),
        ("t.csv", b"a,b\n", "has no rows"),
        ("t.csv", b"a,a\n1,2\n", "two columns of the same name"),
        ("t.csv", b"a,b\n1,2\n\n1\n", r"row 4 has 1 cells, but there are 2 columns"),
        ("t.csv", b"a;b, c;d\n1;2;3\n", r"separated by commas; .* separator with --delimiter"),
        ("t.csv", b"a,b\n1,2,3\n", "row 2 has more cells than the 2 columns"),
        ("t.csv", b"a\nx\n\xff\n", "line 3 is not UTF-8"),
        ("t.csv", "a\nx\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("t.csv", b'a,b\n1,"2\n', r"not a readable table: unexpected end of data \(line 2\)"),
        ("t.csv", b'a,b\n"1"2,3\n', r"expected after '\"' \(line 2\).*doubled"),
        ("t.jsonl", b"", "has no rows"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "row 2 is not a line of JSON like"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "row 2 is not .*: it is not an object"),
        ("t.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "row 2 is not a line of JSON"),
        ("t.jsonl", b"[" * 100_000, "row 1 is not a line of JSON"),
        ("t.csv", None, "not a readable table"),
        ("t.jsonl", None, "not a readable table"),
        ("t.parquet", b"", "not a readable Parquet file"),
        ("t.parquet", b"PAR1 but not really PAR1", "not a readable Parquet file"),
    ],
)
def test_files_that_are_no_table(name, content, said, tmp_path):
    if name == "t.parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read_table(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@FAST
@given(content=st.binary(max_size=60), name=st.sampled_from(["t.csv", "t.tsv", "t.jsonl"]))
def test_any_bytes_are_a_table_or_an_error(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    try:
        table = read_table(tmp_path / name)
    except InputError:
        return
    assert all(len(values) == len(table) for values in table.columns.values())


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match="pip install tokenizers pyarrow"):
        read_table(tmp_path / "t.parquet")


# -- numbers, texts, labels ---------------------------------------------------------------------


def table_of(tmp_path, *values):
    lines = (json.dumps({"c": value}) for value in values)
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    return read_table(tmp_path / "t.jsonl")


NO_NUMBER = [None, np.nan, np.inf, "x", "", "1e60", 10**400, [1], {"a": 1}]
NO_TEXT = [None, np.nan, "", " \t", 3, ["a"]]


def test_cells_that_are_no_number_or_no_text_are_named(tmp_path):
    for bad in NO_NUMBER:
        with pytest.raises(InputError, match=r"row 2: .* in column 'c' is not a finite number"):
            table_of(tmp_path, 1, bad, 2).numbers(["c"])
    for bad in NO_TEXT:
        with pytest.raises(InputError, match=r"row 2: .* in the text column 'c' is not a text"):
            table_of(tmp_path, "a", bad).texts("c")
    numbers = table_of(tmp_path, 1, " 2.5 ", True, -1e-3).numbers(["c"])
    assert numbers.dtype == np.float32
    assert_array_equal(numbers[:, 0], np.float32([1, 2.5, 1, -1e-3]))


def test_labels_are_whole_numbers_or_texts(tmp_path):
    for values, wanted in (
        ([1, 0, 2], [1, 0, 2]),
        ([1.0, 0.0, -2.0], [1, 0, -2]),
        ([True, False, True], [1, 0, 1]),
        (["b", "a", "é"], ["b", "a", "é"]),
    ):
        labels = table_of(tmp_path, *values).labels("c", "label")
        assert labels.tolist() == wanted
        assert labels.dtype.kind == ("U" if isinstance(wanted[0], str) else "i")
    for values, said in (
        ([1, None], "row 2 has no label in 'c'"),
        ([1.0, float("nan")], "row 2 has no label in 'c'"),
        (["a", ""], "row 2 has no label in 'c'"),
        ([1, 0.5], "row 2: the label 0.5 in 'c' is not a whole number or a text"),
        (["a", 1], "row 2: the label 1 in 'c' is not a text, as others are"),
        ([1, "a"], "row 1: the label 1 in 'c' is not a text, as others are"),
        ([0, [1]], r"row 2: the label \[1\] in 'c' is not a whole number"),
        ([0, 2**70], "row 2: .* is not a whole number"),
    ):
        with pytest.raises(InputError, match=said):
            table_of(tmp_path, *values).labels("c", "label")

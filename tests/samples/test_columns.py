"""Which columns of a table become what: by the model's inputs, and by name where none says."""

import csv
import json

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper, numpy_helper

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, Samples, read_samples
from ntkit.model import TensorInfo
from ntkit.samples import input_notes
from ntkit.samples._table import read_table

FAST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def matrix_of(width):
    return (TensorInfo("x", ("N", width), "float32"),)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# -- columns other than inputs ----------------------------------------------------------------


ASIDE = ["id", "ID", "user_id", "PassengerId", "index", "Unnamed: 0", "row", "pred", "prediction",
         "y_pred", "split", "", "fold", "file_name"]  # fmt: skip


@pytest.mark.parametrize("name", ASIDE)
@pytest.mark.parametrize("inputs", [(), matrix_of(2)])
def test_a_row_number_or_a_prediction_is_no_input(name, inputs, tmp_path):
    path = write(tmp_path / "t.csv", f"{name},a,b,label\n17,1,2,x\n18,3,4,y\n")
    samples = read_samples(path, inputs=inputs)
    assert samples.columns == ("a", "b")
    assert samples.X.tolist() == [[1, 2], [3, 4]]
    assert any(f"left out the column {name!r}" in note for note in samples.notes)


# -- a model that names its columns -------------------------------------------------------------


KNOWN = (TensorInfo("x", ("N", 2), "float32", ("b", "a")),)


def test_columns_go_in_as_the_model_names_them(tmp_path):
    path = write(tmp_path / "t.csv", "id,a,more,label,b\n7,1,9,x,2\n8,3,9,y,4\n")
    samples = read_samples(path, inputs=KNOWN)
    assert (samples.columns, samples.X.tolist()) == (("b", "a"), [[2, 1], [4, 3]])
    assert samples.columns_source == "as the model's metadata say"


def test_a_column_that_the_model_names_is_missing(tmp_path):
    path = write(tmp_path / "t.csv", "a,c,label\n1,2,x\n3,4,y\n")
    with pytest.raises(InputError, match=r"lacks the column 'b'.*own.*'b', 'a'.*--columns"):
        read_samples(path, inputs=KNOWN)
    assert read_samples(path, inputs=KNOWN, columns=["c", "a"]).X.tolist() == [[2, 1], [4, 3]]


def test_a_record_that_does_not_fit_the_model_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c,label\n1,2,3,x\n3,4,5,y\n")
    wide = (TensorInfo("x", ("N", 3), "float32", ("b", "a")),)
    with pytest.raises(InputError, match="has 2 numbers for each sample, but the model takes 3"):
        read_samples(path, inputs=wide)


@pytest.mark.parametrize("names", [[], ["a", "a"], [1, 2], {"a": 1}, None, [["a"], ["b"]]])
def test_a_record_of_columns_that_ntkit_did_not_write_is_left_alone(zoo, tmp_path, names):
    model = FrozenModel.load(zoo.save(zoo.classifier(3), tmp_path / "m.onnx"))
    record = {"ntkit.preprocessing": json.dumps({"columns": names})}
    assert model.with_provenance(record).inputs[0].columns is None


def test_another_order_than_the_model_s_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,label\n1,2,x\n3,4,y\n")
    with pytest.raises(InputError, match=r"'b', 'a' in this order.*leave --columns out"):
        read_samples(path, inputs=KNOWN, columns=["a", "b"])


@pytest.mark.parametrize(
    ("dtype", "exact"), [("double", np.float64), ("int64", np.float64), ("float32", np.float32)]
)
def test_numbers_are_as_exact_as_the_model_takes_them(dtype, exact, tmp_path):
    path = write(tmp_path / "t.csv", "a,b,label\n0.1,16777217,x\n3,4,y\n")
    X = read_samples(path, inputs=(TensorInfo("x", ("N", 2), dtype),)).X
    assert X.tolist() == np.array([[0.1, 16777217], [3, 4]], exact).tolist()


def test_columns_with_decimal_commas_are_numbers_to_everyone(tmp_path):
    """The whole table is what audits, slices and named attributes look at."""
    head, rest = "a;b;note;label;id\n", "1,5;0,0;1,5 m;x;1,5\n2;;3,5 m;y;1,50\n"
    comma = write(tmp_path / "c.csv", head + rest)
    point = write(tmp_path / "p.csv", head + rest.replace(",", "."))
    here, there = (
        read_samples(path, columns=["a"], keep_table=True).table.columns for path in (comma, point)
    )
    for name in ("a", "b", "label"):
        assert here[name].tolist() == there[name].tolist()
    assert here["note"].tolist() == ["1,5 m", "3,5 m"]
    assert here["id"].tolist() == ["1,5", "1,50"]  # a name, which others have as it is written


def test_a_group_column_is_no_input_unless_the_model_takes_all(tmp_path):
    path = write(tmp_path / "t.csv", "a,group,site,label\n1,5,2,x\n3,6,4,y\n")
    assert read_samples(path, group_column="site").columns == ("a",)


def test_the_order_of_a_table_is_said_where_the_model_names_none(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,label\n1,2,x\n3,4,y\n")
    assert input_notes([read_samples(path, inputs=matrix_of(2))]) == [
        "Columns, in this order: 'a', 'b'; as the table has them; the model names none."
    ]


@pytest.mark.parametrize(
    "name", ["idea", "paid", "rowing", "grid", "predator", "splits_m", "valid"]
)
def test_other_names_are_inputs(name, tmp_path):
    path = write(tmp_path / "t.csv", f"{name},a,label\n1,2,x\n3,4,y\n")
    samples = read_samples(path)
    assert samples.columns == (name, "a")
    assert samples.notes == ()


def test_a_model_that_takes_all_columns_gets_them(tmp_path):
    path = write(tmp_path / "t.csv", "id,a,b,label\n1,2,3,x\n4,5,6,y\n")
    samples = read_samples(path, inputs=matrix_of(3))
    assert samples.columns == ("id", "a", "b")
    assert any("'id' went in" in note for note in samples.notes)


def test_unknown_columns_are_not_guessed(tmp_path):
    path = write(tmp_path / "t.csv", "id,a,b,c,label\n1,2,3,4,x\n5,6,7,8,y\n")
    with pytest.raises(
        InputError, match=r"3 numbers.* but the model takes 2.*'a', 'b', 'c'.*--columns"
    ):
        read_samples(path, inputs=matrix_of(2))
    with pytest.raises(InputError, match=r"3 numbers .* but the model takes 5"):
        read_samples(path, inputs=matrix_of(5))
    samples = read_samples(path, inputs=matrix_of(2), columns=["c", "a"])
    assert samples.X.tolist() == [[4, 2], [8, 6]]
    assert samples.columns == ("c", "a")
    with pytest.raises(InputError, match=r"no column 'd'.*--columns"):
        read_samples(path, columns=["d"])
    with pytest.raises(InputError, match=r"1 numbers .* but the model takes 2"):
        read_samples(path, inputs=matrix_of(2), columns=["c"])


def test_an_unnamed_label_is_pointed_out(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,verdict\n1,2,0\n3,4,1\n")
    with pytest.raises(InputError, match="the label with --label-column"):
        read_samples(path, inputs=matrix_of(2), labels="optional")


def test_only_row_numbers_are_no_input(tmp_path):
    path = write(tmp_path / "t.csv", "id,label\n1,x\n2,y\n")
    with pytest.raises(InputError, match=r"no columns other than 'label' but the column 'id'"):
        read_samples(path)


def test_a_label_column_without_classes_is_refused(tmp_path):
    rows = "\n".join(f"{i},{i % 2},{i}.5" for i in range(30))
    path = write(tmp_path / "t.csv", f"label,real,a\n{rows}\n")
    with pytest.raises(InputError, match=r"30 different values in 30 rows.*--label-column"):
        read_samples(path)
    assert read_samples(path, label_column="real", columns=["a"]).y.tolist() == [0, 1] * 15


def test_labels_written_as_numbers_with_a_point_are_whole(tmp_path):
    path = write(tmp_path / "t.csv", "a,label\n1,0.0\n2,1.0\n")
    assert read_samples(path).y.tolist() == [0, 1]


def test_missing_labels_and_groups_are_counted(tmp_path):
    path = write(tmp_path / "t.csv", "a,label,group\n1,x,\n2,,g\n3,,\n")
    with pytest.raises(InputError, match=r"row 3 has no label .*\(2 of 3 rows"):
        read_samples(path, group_column="none")
    with pytest.raises(InputError, match=r"row 2 has no group .*\(2 of 3 rows.*--group-column"):
        read_samples(path)
    path = write(tmp_path / "t.csv", "a,label\n1,\n2,\n")
    with pytest.raises(InputError, match=r"no label in any of its 2 rows"):
        read_samples(path)
    assert read_samples(path, labels="optional").y is None


def test_a_group_column_that_is_not_there_is_said(tmp_path):
    path = write(tmp_path / "t.csv", "a,label\n1,x\n2,y\n")
    samples = read_samples(path, group_column="site")
    assert samples.groups is None
    assert any("no column 'site'" in note for note in samples.notes)


# -- delimiters ---------------------------------------------------------------------------------

CELL = st.text(st.sampled_from('ab,;\t|"\n x.'), max_size=6)


@FAST
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5),
    delimiter=st.sampled_from([",", ";", "\t"]),
    header=st.sampled_from([("text", "b", "label"), ("a, b", "label", "c;d"), ("x", "label", "y")]),
)
def test_whatever_quotes_hold_the_delimiter_is_found(rows, delimiter, header, tmp_path):
    """csv.writer quotes cells as every spreadsheet does; all cells come back as they were."""
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    table = read_table(tmp_path / "t.csv", expected=("label",))
    assert list(table.columns) == list(header)
    assert list(zip(*table.columns.values(), strict=True)) == rows
    assert table.delimiter == delimiter
    assert bool(table.notes) == (delimiter != ",")


def test_decimal_commas(tmp_path):
    path = write(tmp_path / "t.csv", "a;b;label\n1,5;2;x\n-,25;1e3;y\n3;4,0E-1;x\n")
    samples = read_samples(path)
    assert_allclose(samples.X, [[1.5, 2], [-0.25, 1000], [3, 0.4]])
    assert any("semicolons" in note for note in samples.notes)
    assert any("decimal signs" in note for note in samples.notes)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    theirs = pandas.read_csv(path, sep=";", decimal=",")
    assert_allclose(samples.X, theirs[["a", "b"]].to_numpy(), rtol=1e-6)


def test_decimal_points_stay_points(tmp_path):
    path = write(tmp_path / "t.csv", "a;label\n1.5;x\n2;y\n")
    assert read_samples(path).X.tolist() == [[1.5], [2]]
    path = write(tmp_path / "t.csv", "a;b;label\n1,5;1.234;x\n2;1;y\n")
    with pytest.raises(InputError, match=r"row 2: '1\.234' in column 'b' has a point.*same way"):
        read_samples(path)
    path = write(tmp_path / "t.csv", 'a,label\n"1,5",x\n2,y\n')
    with pytest.raises(InputError, match="'1,5' in column 'a' is not a finite number"):
        read_samples(path)


def test_a_delimiter_that_is_given_is_taken(tmp_path):
    path = write(tmp_path / "t.csv", "a:label\n1:x\n2:y\n")
    assert read_samples(path, delimiter=":").X.tolist() == [[1], [2]]
    assert read_samples(path, delimiter=":").notes == ()
    path = write(tmp_path / "t.tsv", "a;label\n1;x\n2;y\n")
    assert read_samples(path, delimiter=";").y.tolist() == ["x", "y"]
    with pytest.raises(InputError, match=r"only column is 'a;label'.*--delimiter"):
        read_samples(path)
    for wrong in ("", ";;", '"', "\n", "é"):
        with pytest.raises(InputError, match="one character"):
            read_samples(path, delimiter=wrong)


def test_tabs_in_a_csv(tmp_path):
    path = write(tmp_path / "t.csv", "a\tlabel\n1,5\tx\n2\ty\n")
    samples = read_samples(path)
    assert samples.X.tolist() == [[1.5], [2]]
    assert any("tabs" in note for note in samples.notes)


# -- one input for each column ------------------------------------------------------------------


@pytest.fixture
def by_columns(tmp_path):
    """What skl2onnx makes of a DataFrame: one input a column, numbers and texts."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("LabelEncoder", ["home town"], ["town"], domain="ai.onnx.ml",
                         keys_strings=["Ulm", "Bonn"], values_floats=[1.0, 2.0],
                         default_float=-1.0),
        helper.make_node("Cast", ["n_visits"], ["visits"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["age", "town", "visits"], ["c"], axis=1),
        helper.make_node("Gemm", ["c", "W", "B"], ["h"]),
        helper.make_node("Relu", ["h"], ["z"]),
        helper.make_node("Gemm", ["z", "V", "U"], ["logits"]),
    ]  # fmt: skip
    arrays = {"W": (3, 8), "B": (8,), "V": (8, 2), "U": (2,)}
    kinds = {"age": TensorProto.FLOAT, "home town": TensorProto.STRING,
             "n_visits": TensorProto.INT64}  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "pipeline",
        [helper.make_tensor_value_info(n, kind, [None, 1]) for n, kind in kinds.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 2])],
        [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
            for name, shape in arrays.items()
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "pipeline.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return FrozenModel.load(path)


COLUMNS = {"note": ["a", "b", "c"], "n_visits": [2**40, 0, 3], "label": [0, 1, 0],
           "home town": ["Ulm", "", "Köln"], "age": [30.5, 2, 1]}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_go_to_the_inputs_of_their_names(kind, by_columns, tmp_path):
    samples = read_samples(table(tmp_path / f"t.{kind}", COLUMNS), inputs=by_columns.inputs)
    assert len(samples) == 3
    assert {name: X.shape for name, X in samples.X.items()} == dict.fromkeys(
        ("age", "home town", "n_visits"), (3, 1)
    )
    assert samples.X["home town"].ravel().tolist() == COLUMNS["home town"]
    assert samples.X["n_visits"].ravel().tolist() == COLUMNS["n_visits"]
    assert any("left out the column 'note'" in note for note in samples.notes)
    Z = OnnxEmbedder(by_columns, device="cpu").transform(samples.X)
    assert Z.shape == (3, 8)
    store = EmbeddingStore.write(tmp_path / "s", OnnxEmbedder(by_columns, device="cpu"), samples)
    assert_array_equal(store.X, Z)


def table(path, columns):
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([list(columns), *rows])
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table(columns), path)
    return path


def test_a_column_that_is_missing_is_named(by_columns, tmp_path):
    without = {k: v for k, v in COLUMNS.items() if k != "age"} | {"Agee": [1, 2, 3]}
    with pytest.raises(
        InputError, match=r"no column 'age', which the model has as an input.*is it 'Agee'"
    ):
        read_samples(table(tmp_path / "t.csv", without), inputs=by_columns.inputs)
    spelt = {k: v for k, v in COLUMNS.items() if k != "age"} | {"Age": [1, 2, 3]}
    samples = read_samples(table(tmp_path / "t.csv", spelt), inputs=by_columns.inputs)
    assert samples.X["age"].ravel().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("age", [1, "old", 2], "row 3: 'old' in column 'age' is not a finite number"),
        ("n_visits", [1, "", 2], "row 3: '' in column 'n_visits' is not a finite number"),
    ],
)
def test_cells_of_another_kind_are_named(column, values, said, by_columns, tmp_path):
    path = table(tmp_path / "t.csv", {**COLUMNS, column: values})
    with pytest.raises(InputError, match=said):
        read_samples(path, inputs=by_columns.inputs)


def test_a_missing_number_is_the_models_to_fill_in(by_columns, tmp_path):
    path = table(tmp_path / "t.csv", {**COLUMNS, "age": [1, "", 2]})
    samples = read_samples(path, inputs=by_columns.inputs)
    assert np.isnan(samples.X["age"][1, 0])
    with pytest.raises(InputError, match="NaN or infinite"):  # this model does not
        OnnxEmbedder(by_columns, device="cpu").transform(samples.X)


def test_a_text_that_is_missing_is_named(by_columns, tmp_path):
    path = table(tmp_path / "t.jsonl", {**COLUMNS, "home town": ["Ulm", None, "Bonn"]})
    with pytest.raises(InputError, match="row 2: None in column 'home town' is not a text"):
        read_samples(path, inputs=by_columns.inputs)


def test_other_texts_are_other_samples(by_columns, tmp_path):
    """A store is not continued with another column of texts."""
    embedder, found = OnnxEmbedder(by_columns, device="cpu"), set()
    for towns in (["Ulm", "Bonn"], ["Ulm", "Ulm"]):
        X = {"age": np.ones((2, 1)), "n_visits": np.ones((2, 1), int),
             "home town": np.asarray(towns, object)[:, None]}  # fmt: skip
        store = EmbeddingStore.write(tmp_path / "s", embedder, Samples(X), force=True)
        found.add(store.manifest["contents"])
    assert len(found) == 2


# -- embeddings ---------------------------------------------------------------------------------

Z = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("inputs", [(), matrix_of(3)])
def test_a_column_of_lists_is_the_embedding(kind, inputs, tmp_path):
    columns = {"id": [1, 2, 3, 4], "embedding": Z.tolist(), "score": [0.5] * 4,
               "label": ["a", "b", "a", "b"]}  # fmt: skip
    samples = read_samples(table(tmp_path / f"t.{kind}", columns), inputs=inputs)
    assert_allclose(samples.X, Z)
    assert samples.y.tolist() == columns["label"]
    assert any("'id', 'score'" in note for note in samples.notes)


def test_of_several_columns_of_lists_the_one_that_fits(tmp_path):
    columns = {"label": [0, 1, 0, 1], "short": Z[:, :2].tolist(), "long": Z.tolist()}
    path = table(tmp_path / "t.jsonl", columns)
    assert_allclose(read_samples(path, inputs=matrix_of(3)).X, Z)
    assert_allclose(read_samples(path, columns=["short"]).X, Z[:, :2])
    with pytest.raises(InputError, match=r"several columns of lists.*--columns"):
        read_samples(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows[:2], [1.0], rows[3]], "row 3 has 1 numbers.*instead of 3"),
        (lambda rows: [*rows[:2], None, rows[3]], "row 3 has no list.*instead of 3"),
        (
            lambda rows: [*rows[:2], [1.0, None, 2.0], rows[3]],
            "row 3 has a value .* not a finite",
        ),
        (lambda rows: [*rows[:2], [1.0, np.inf, 2.0], rows[3]], "row 3 has a value"),
    ],
)
def test_lists_that_are_no_embeddings_are_named(kind, change, said, tmp_path):
    columns = {"label": [0, 1, 0, 1], "embedding": change(Z.tolist())}
    with pytest.raises(InputError, match=said):
        read_samples(table(tmp_path / f"t.{kind}", columns))


def test_lists_of_a_fixed_length(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    lists = arrow.array(list(Z), arrow.list_(arrow.float32(), 3))
    parquet.write_table(arrow.table({"e": lists, "label": [0, 1, 0, 1]}), tmp_path / "t.parquet")
    assert_array_equal(read_samples(tmp_path / "t.parquet").X, Z)


def test_whole_numbers_keep_all_their_digits(tmp_path):
    """2**53 + 1 has no exact float64."""
    path = write(tmp_path / "t.csv", f"a,b,label\n{2**53 + 1},1,x\n3,4,y\n")
    several = [TensorInfo(name, ("N", 1), "int64") for name in "ab"]
    assert read_samples(path, inputs=several).X["a"].tolist() == [[2**53 + 1], [3]]
    samples = read_samples(path, inputs=(TensorInfo("x", ("N", 2), "int64"),))
    assert samples.X.tolist() == [[2**53 + 1, 1], [3, 4]]
    path.write_text(f"a,b,label\n{2**53 + 1},1.5,x\n3,4,y\n")
    with pytest.raises(InputError, match=r"'1.5' in column 'b' is not a whole number"):
        read_samples(path, inputs=(TensorInfo("x", ("N", 2), "int64"),))

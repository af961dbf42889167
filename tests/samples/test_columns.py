"""Which columns of a table become what: by the model's inputs, and by name where none says."""

import csv
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, TextPreprocessing, Texts, read_samples
from ntkit.graph.tensors import TensorInfo
from ntkit.samples.samples import input_notes
from ntkit.samples.table import read_table
from ntkit.store import EmbeddingStore
from tests import models


def matrix_of(width, dtype="float32", columns=None):
    return (TensorInfo("x", ("N", width), dtype, columns),)


KNOWN = matrix_of(2, columns=("b", "a"))  # a model that names its columns
AB = "a,b,label\n1,2,x\n3,4,y\n"
KINDS = ("csv", "tsv", "jsonl", "parquet")


def write(path, text):
    path.write_bytes(text.encode("latin-1" if "\xff" in text else "utf-8"))
    return path


def table(path, columns):
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([list(columns), *rows])
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(columns, row, strict=True))) for row in rows)
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table(columns), path)
    return path


ASIDE = ["id", "ID", "user_id", "PassengerId", "index", "Unnamed: 0", "row", "pred", "prediction",
         "y_pred", "split", "", "fold", "file_name"]  # fmt: skip
INPUTS = ["idea", "paid", "rowing", "grid", "predator", "splits_m", "valid"]


def test_row_numbers_and_predictions_are_not_inputs(tmp_path):
    for name in ASIDE + INPUTS:
        path = write(tmp_path / "t.csv", f"{name},a,b,label\n17,1,2,x\n18,3,4,y\n")
        left_out = name in ASIDE
        for inputs in ((), matrix_of(2)) if left_out else ((),):
            samples = read_samples(path, inputs=inputs)
            assert samples.columns == (("a", "b") if left_out else (name, "a", "b"))
            assert samples.X[:, -2:].tolist() == [[1, 2], [3, 4]]
            said = any(f"left out the column {name!r}" in note for note in samples.notes)
            assert said == left_out == bool(samples.notes)


@pytest.mark.parametrize(
    ("text", "options", "columns", "X"),
    [
        (AB, {}, "a b", [[1, 2], [3, 4]]),
        (AB, {"columns": ["b"]}, "b", [[2], [4]]),
        ("id,a,more,label,b\n7,1,9,x,2\n8,3,9,y,4\n", {"inputs": KNOWN}, "b a", [[2, 1], [4, 3]]),
        ("a,c,label\n1,2,x\n3,4,y\n", {"inputs": KNOWN, "columns": ["c", "a"]}, "c a",
         [[2, 1], [4, 3]]),
        ("a,group,site,label\n1,5,2,x\n3,6,4,y\n", {"group_column": "site"}, "a", [[1], [3]]),
        ("id,a,b,label\n1,2,3,x\n4,5,6,y\n", {"inputs": matrix_of(3)}, "id a b",
         [[1, 2, 3], [4, 5, 6]]),
        ("id,a,b,c,label\n1,2,3,4,x\n5,6,7,8,y\n",
         {"inputs": matrix_of(2), "columns": ["c", "a"]}, "c a", [[4, 2], [8, 6]]),
        ("a;label\n1.5;x\n2;y\n", {}, "a", [[1.5], [2]]),
        ("a,label\nTRUE,x\nfalse,y\n", {"columns": ["a"]}, "a", [[1], [0]]),
        ("a\tlabel\n1.5\tx\n2\ty\n", {}, "a", [[1.5], [2]]),
        ("a:label\n1:x\n2:y\n", {"delimiter": ":"}, "a", [[1], [2]]),
        ('\ufeff"label",f1\r\nx,1\r\n"y",2\r\n', {}, "f1", [[1], [2]]),
    ],
)  # fmt: skip
def test_columns_that_go_into_a_model(text, options, columns, X, tmp_path):
    samples = read_samples(write(tmp_path / "t.csv", text), **options)
    assert (samples.columns, samples.X.tolist()) == (tuple(columns.split()), X)
    assert samples.X.dtype == np.float32
    assert samples.y.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("label\n1\n", {}, "no columns other than 'label'"),
        ("id,label\n1,x\n2,y\n", {}, "no columns other than 'label' but the column 'id'"),
        ("a,b\n1,2\n", {}, r"no column 'label'; its columns are \['a', 'b'\].*--label-column"),
        ("label,f\na,1\nb,x\n", {}, "row 3: 'x' in column 'f' is not a finite number"),
        ("label,f,g\na,1,2\nb,1,\n", {}, "row 3: '' in column 'g' is not a finite number"),
        ("label,f\na,nan\n", {}, "row 2: 'nan' in column 'f' is not a finite number"),
        ("label,f\na,1\nb,True\n", {}, "row 3: 'True' in column 'f' is not a finite number"),
        ("label;f\na;1,5\n", {}, "row 2: '1,5' in column 'f' .*decimal point"),
        ("f,label\n1,a\n2,\n", {}, "row 3 has no label in 'label'"),
        ("label,f\n\na,1\n\n,2\n", {}, "row 5 has no label in 'label'"),
        ("label,f,group\na,1,x\nb,2,\n", {}, "row 3 has no group in 'group'"),
        ("a,label\n1,\n2,\n", {}, "no label in any of its 2 rows"),
        ("a,label,group\n1,x,\n2,,g\n3,,\n", {}, r"row 2 has no group .*\(2 of 3.*--group-column"),
        ("a,label\n1,x\n2,\n3,\n", {}, r"row 3 has no label .*\(2 of 3 rows"),
        ("a;label\n1;x\n", {"delimiter": ","}, "only column is 'a;label'.*--delimiter"),
        *((AB, {"delimiter": wrong}, "one character") for wrong in ("", ";;", '"', "\n", "é")),
        ("a,c,label\n1,2,x\n", {"inputs": KNOWN}, "lacks the column 'b'.*own.*'b', 'a'.*--columns"),
        (AB, {"inputs": matrix_of(3, columns=("b", "a"))}, "2 numbers .*but the model takes 3"),
        (AB, {"inputs": KNOWN, "columns": ["a", "b"]}, "'b', 'a' in this order.*--columns out"),
        ("id,a,b,c,label\n1,2,3,4,x\n", {"inputs": matrix_of(2)},
         "3 numbers.* but the model takes 2.*'a', 'b', 'c'.*--columns"),
        (AB, {"inputs": matrix_of(5)}, "2 numbers .* but the model takes 5"),
        (AB, {"columns": ["d"]}, "no column 'd'.*--columns"),
        (AB, {"inputs": matrix_of(2), "columns": ["a"]}, "1 numbers .* but the model takes 2"),
        ("a,b,verdict\n1,2,0\n", {"inputs": matrix_of(2), "labels": "optional"},
         "the label with --label-column"),
        ("label,a\n" + "".join(f"{i},{i}.5\n" for i in range(30)), {},
         "30 different values in 30 rows.*--label-column"),
        (AB, {"labels": "optional", "label_column": "verdict"}, "no column 'verdict'"),
        (AB, {"labels": "none"}, "labels must be"),
        (f"a,b,label\n{2**53 + 1},1.5,x\n3,4,y\n", {"inputs": matrix_of(2, "int64")},
         "'1.5' in column 'b' is not a whole number"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit(text, options, words, tmp_path):
    with pytest.raises(InputError, match=words) as error:
        read_samples(write(tmp_path / "t.csv", text), **options)
    assert "\n" not in str(error.value).replace(repr("\n"), "")


def test_every_kind_of_table_reads_alike(tmp_path):
    columns = {"f": [1, -2], "label": ["b", "a"], "g": [0.5, 1e3], "group": ["x", "y"]}
    for kind in KINDS:
        path = table(tmp_path / f"t.{kind}", columns)
        samples = read_samples(path)
        assert samples.X.tolist() == [[1, 0.5], [-2, 1000]]
        assert (samples.y.tolist(), samples.groups.tolist()) == (["b", "a"], ["x", "y"])
        assert samples.ids is None
    named = read_samples(path, label_column="group", group_column="label")
    assert (named.y.tolist(), named.groups.tolist()) == (["x", "y"], ["b", "a"])


def test_labels_of_a_table(tmp_path):
    path = write(tmp_path / "t.csv", "a,label\n1,0.0\n2,1.0\n")
    assert read_samples(path).y.tolist() == [0, 1]
    path = write(tmp_path / "t.csv", "a,label\n1,\n2,\n")
    assert read_samples(path, labels="optional").y is None


def test_what_was_assumed_is_said(tmp_path):
    path = write(tmp_path / "t.csv", AB)
    assert input_notes([read_samples(path, inputs=matrix_of(2))]) == [
        "Columns, in this order: 'a', 'b'; as the table has them; the model names none."
    ]
    assert read_samples(path, inputs=KNOWN).columns_source == "as the model's metadata say"
    assert read_samples(path, group_column="site").groups is None
    for text, options, words in (
        (AB, {"group_column": "site"}, "no column 'site'"),
        ("id,a,b,label\n1,2,3,x\n4,5,6,y\n", {"inputs": matrix_of(3)}, "'id' went in"),
        ("a;b;c;label\n1;2;3;x\n", {"inputs": matrix_of(3)}, "semicolons"),
        ("a\tb\tc\tlabel\n1\t2\t3\tx\n", {"inputs": matrix_of(3)}, "tabs"),
    ):
        notes = read_samples(write(path, text), **options).notes
        assert any(words in note for note in notes)


def test_numbers_are_as_exact_as_the_model_takes_them(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,label\n0.1,16777217,x\n3,4,y\n")
    for dtype, exact in (("double", float), ("int64", float), ("float32", np.float32)):
        X = read_samples(path, inputs=matrix_of(2, dtype)).X
        assert X.tolist() == np.array([[0.1, 16777217], [3, 4]], exact).tolist()
    # 2**53 + 1 has no exact float64.
    write(path, f"a,b,label\n{2**53 + 1},1,x\n3,4,y\n")
    several = [TensorInfo(name, ("N", 1), "int64") for name in "ab"]
    assert read_samples(path, inputs=several).X["a"].tolist() == [[2**53 + 1], [3]]
    samples = read_samples(path, inputs=matrix_of(2, "int64"))
    assert samples.X.tolist() == [[2**53 + 1, 1], [3, 4]]


def test_columns_go_by_their_names(tmp_path):
    one = read_samples(write(tmp_path / "1.csv", AB))
    two = read_samples(write(tmp_path / "2.csv", "b,label,a\n20,x,10\n40,y,30\n"))
    same = two.with_columns_as_in(one)
    assert (same.columns, same.X.tolist()) == (("a", "b"), [[10, 20], [30, 40]])
    assert one.with_columns_as_in(Samples(np.zeros((2, 2)), one.y)) is one
    three = read_samples(write(tmp_path / "3.csv", "a,b,c,label\n1,2,7,x\n"))
    for first, second in ((three, one), (one, three)):
        with pytest.raises(InputError, match="'c'"):
            first.with_columns_as_in(second)


def test_a_record_of_columns_that_ntkit_did_not_write_is_left_alone(model):
    for names in ([], ["a", "a"], [1, 2], {"a": 1}, None, [["a"], ["b"]]):
        record = {"ntkit.preprocessing": json.dumps({"columns": names})}
        assert model.with_provenance(record).inputs[0].columns is None


CELL = st.text(st.sampled_from('ab,;\t|"\n x.'), max_size=6)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5),
    delimiter=st.sampled_from([",", ";", "\t"]),
    header=st.sampled_from([("text", "b", "label"), ("a, b", "label", "c;d"), ("x", "label", "y")]),
)
def test_whatever_quotes_hold_the_delimiter_is_found(rows, delimiter, header, tmp_path):
    """csv.writer quotes cells as every spreadsheet does; all cells come back as they were."""
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    read = read_table(tmp_path / "t.csv", expected=("label",))
    assert list(read.columns) == list(header)
    assert list(zip(*read.columns.values(), strict=True)) == rows
    assert read.delimiter == delimiter
    assert bool(read.notes) == (delimiter != ",")


# -- texts ------------------------------------------------------------------------------------


@pytest.fixture
def steps(tmp_path):
    """A tokenizer of words."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "bird": 2, "sea": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return TextPreprocessing(tmp_path / "tokenizer.json")


TEXTS = {"text": ["bird sea", "no, bird"], "label": [1, 0], "group": ["x", "y"]}
REVIEWS = {"id": [7, 8], "review": TEXTS["text"], "label": ["good", "bad"]}
PAIRS = {"premise": ["bird sea", "sea"], "hypothesis": ["bird", "no bird sea"], "label": [1, 0]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_texts(kind, steps, tmp_path):
    path = table(tmp_path / f"t.{kind}", {**TEXTS, "id": [7, 8], "note": ["a", "b"]})
    samples = read_samples(path, preprocessing=steps)
    assert isinstance(samples.X, Texts)
    assert samples.X.texts == TEXTS["text"]
    assert samples.X[:]["input_ids"].tolist() == [[2, 3, 0], [1, 1, 2]]
    assert (samples.y.tolist(), samples.groups.tolist()) == ([1, 0], ["x", "y"])
    assert samples.preprocessing == steps.as_dict()
    assert read_samples(path, preprocessing=steps, text_column="note").X.texts == ["a", "b"]
    path = table(tmp_path / f"r.{kind}", REVIEWS)
    assert read_samples(path, preprocessing=steps).X.texts == TEXTS["text"]
    path = table(tmp_path / f"p.{kind}", PAIRS)
    for options in ({"text_column": "premise"}, {}):  # the only other column of texts
        options = {"preprocessing": steps, "text_pair_column": "hypothesis", **options}
        pairs = read_samples(path, **options).X
        assert pairs.texts == [("bird sea", "bird"), ("sea", "no bird sea")]
    assert pairs[:]["input_ids"].tolist() == [[2, 3, 2, 0], [3, 1, 2, 3]]


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({**TEXTS, "text": ["bird", ""]}, {}, "row 3: '' in the text column 'text' is not a text"),
        ({**TEXTS, "text": ["bird", " "]}, {}, "row 3: ' ' in the text column"),
        (TEXTS, {"text_column": "body"}, "no column 'body'; .*--text-column"),
        (TEXTS, {"label_column": "class"}, "no column 'class'; .*--label-column"),
        ({**TEXTS, "label": [1, ""]}, {}, "row 3 has no label in 'label'"),
        ({**REVIEWS, "n": ["a", "b"]}, {}, "several text columns.*'review'.*--text-column"),
        ({"id": [7, 8], "label": [1, 0]}, {}, r"no text column.*\['id', 'label'\].*--text-column"),
        (PAIRS, {}, "several text columns.*--text-pair-column"),
        (PAIRS, {"text_column": "premise", "text_pair_column": "second"},
         "no column 'second'.*--text-pair-column"),
        (PAIRS, {"text_column": "premise", "text_pair_column": "premise"}, "cannot be both texts"),
        (TEXTS, {"text_column": "text", "preprocessing": None}, "need a tokenizer.*--tokenizer"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_read(columns, options, words, steps, tmp_path):
    path = table(tmp_path / "t.csv", columns)
    with pytest.raises(InputError, match=words):
        read_samples(path, **{"preprocessing": steps, **options})


def test_a_kept_table_has_all_columns_with_their_roles(tmp_path):
    rows = [f"{i},{i % 2},a b {i},{'AB'[i % 3 % 2]},g" for i in range(20)]
    path = write(tmp_path / "t.csv", "\n".join(["age,label,note,site,group", *rows]))
    kept = read_samples(path, columns=["age"]).table
    assert list(kept.columns) == ["age", "label", "note", "site", "group"]
    assert kept.rest["site"].tolist()[:3] == ["A", "B", "A"]
    assert read_samples(path, columns=["age"], keep_table=False).table is None
    (tmp_path / "tokenizer.json").write_text("{}")  # read when the texts are used
    named = [TensorInfo("age", ("N", 1), "float32"), TensorInfo("site", ("N", 1), "string")]
    for options, inputs, rest in (
        ({"columns": ["age"]}, ("age",), ["note", "site"]),
        ({"preprocessing": TextPreprocessing(tmp_path / "tokenizer.json"), "text_column": "note"},
         ("note",), ["age", "site"]),
        ({"inputs": named}, ("age", "site"), ["note"]),
    ):  # fmt: skip
        kept = read_samples(path, **options).table
        assert (kept.inputs, list(kept.rest)) == (inputs, rest)


# -- one input for each column ------------------------------------------------------------------


@pytest.fixture
def by_columns(tmp_path):
    """What skl2onnx makes of a DataFrame: one input a column, numbers and texts."""
    rng, graph = np.random.default_rng(0), models.Graph()
    labels = {"keys_strings": ["Ulm", "Bonn"], "values_floats": [1.0, 2.0], "default_float": -1.0}
    graph.add("LabelEncoder", ["home town"], "town", domain="ai.onnx.ml", **labels)
    graph.write(
        """
        visits = Cast(n_visits, to=FLOAT)
        z = Relu(Gemm(Concat(age, town, visits, axis=1), W, B))
        logits = Gemm(z, V, U)""",
        **{n: rng.normal(size=s) for n, s in zip("WBVU", [(3, 8), 8, (8, 2), 2], strict=True)},
    )
    graph.output("logits", [None, 2])
    kinds = {"age": TensorProto.FLOAT, "home town": TensorProto.STRING, "n_visits": models.INT64}
    inputs = [models.value(name, [None, 1], kind) for name, kind in kinds.items()]
    return FrozenModel.load(models.save(graph.model(inputs), tmp_path / "pipeline.onnx"))


COLUMNS = {"note": ["a", "b", "c"], "n_visits": [2**40, 0, 3], "label": [0, 1, 0],
           "home town": ["Ulm", "", "Köln"], "age": [30.5, 2, 1]}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_columns_go_to_the_inputs_of_their_names(kind, by_columns, tmp_path):
    path = table(tmp_path / f"t.{kind}", COLUMNS)
    samples = read_samples(path, inputs=by_columns.inputs)
    assert len(samples) == 3
    assert {name: X.shape for name, X in samples.X.items()} == dict.fromkeys(
        ("age", "home town", "n_visits"), (3, 1)
    )
    for name in ("home town", "n_visits"):
        assert samples.X[name].ravel().tolist() == COLUMNS[name]
    assert any("left out the column 'note'" in note for note in samples.notes)
    embedder = OnnxEmbedder(by_columns, device="cpu")
    Z = embedder.transform(samples.X)
    assert Z.shape == (3, 8)
    store = EmbeddingStore.write(tmp_path / "s", embedder, samples)
    assert_array_equal(store.X, Z)
    contents = store.manifest["contents"]  # other texts are other samples
    samples.X["home town"][1] = "Ulm"
    again = EmbeddingStore.write(tmp_path / "s", embedder, samples, force=True)
    assert again.manifest["contents"] != contents


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("csv", {"age": [1, "old", 2]}, "row 3: 'old' in column 'age' is not a finite number"),
        ("csv", {"n_visits": [1, "", 2]}, "row 3: '' in column 'n_visits' is not a finite number"),
        ("jsonl", {"home town": ["Ulm", None, "Bonn"]}, "row 2: None .*'home town' is not a text"),
        ("csv", {"age": None, "Agee": [1, 2, 3]},
         "no column 'age', which the model has as an input.*is it 'Agee'"),
        ("csv", {"age": None, "Age": [1, 2, 3]}, None),
        ("csv", {"age": [1, "", 3]}, None),
    ],
)  # fmt: skip
def test_columns_and_cells_that_do_not_fit_the_inputs(kind, change, words, by_columns, tmp_path):
    columns = {name: values for name, values in {**COLUMNS, **change}.items() if values}
    path = table(tmp_path / f"t.{kind}", columns)
    if words:
        with pytest.raises(InputError, match=words):
            read_samples(path, inputs=by_columns.inputs)
        return
    X = read_samples(path, inputs=by_columns.inputs).X
    if "Age" in change:
        assert X["age"].ravel().tolist() == [1, 2, 3]
    else:  # a missing number is the model's to fill in, which this one does not
        assert np.isnan(X["age"][1, 0])
        with pytest.raises(InputError, match="NaN or infinite"):
            OnnxEmbedder(by_columns, device="cpu").transform(X)


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
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    fixed = arrow.array(list(Z), arrow.list_(arrow.float32(), 3))  # lists of a fixed length
    path = table(tmp_path / "t.parquet", {"e": fixed, "label": [0, 1, 0, 1]})
    assert_array_equal(read_samples(path).X, Z)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lists_that_are_no_embeddings_are_named(kind, tmp_path):
    for bad, said in (
        ([1.0], "row 3 has 1 numbers.*instead of 3"),
        (None, "row 3 has no list.*instead of 3"),
        ([1.0, None, 2.0], "row 3 has a value .* not a finite"),
        ([1.0, np.inf, 2.0], "row 3 has a value"),
    ):
        rows = Z.tolist()
        rows[2] = bad
        with pytest.raises(InputError, match=said):
            read_samples(table(tmp_path / f"t.{kind}", {"label": [0, 1, 0, 1], "embedding": rows}))


def test_no_sample_has_columns_too():
    """Such as the copies of a change that flips no prediction, next to inputs of other shapes."""
    X = {"age": np.ones((3, 1)), "site": np.array(["a", "b", "c"]), "many": np.ones((3, 2))}
    samples = Samples(X, np.arange(3))
    for rows in ([], [0, 2]):
        looks = samples.take(np.array(rows, dtype=int)).looks()
        assert {name: column.shape for name, column in looks.table.items()} == {
            "age": (len(rows),), "site": (len(rows),)}  # fmt: skip


def test_na_is_a_missing_label_among_numbers_and_a_class_among_names(tmp_path):
    path = tmp_path / "t.csv"
    for cell in ("NA", "nan", "#N/A"):
        path.write_text("x,label\n" + f"1,0\n2,1\n3,{cell}\n" * 4)
        with pytest.raises(InputError, match="row 4 has no label in 'label'"):
            read_samples(path)
    path.write_text("x,label\n" + "1,cat\n2,dog\n3,NA\n" * 4)
    assert {*read_samples(path).y.tolist()} == {"cat", "dog", "NA"}

"""Every kind of data through the commands, and what each command says of unusable data."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from ntkit import FrozenModel
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import EmbeddingStore
from tests.texts import WORDS, text_model, word_pieces

QUIET = ("--device", "cpu")


@pytest.fixture
def ntkit(capsys):
    """Run a command; its exit code, output and error output."""

    def run(*arguments):
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def refused(result, *said):
    """One sentence and exit code 2."""
    code, _, err = result
    assert code == 2
    assert all(part in err for part in said), err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("Error: ")]) == 1


def write_csv(path, columns, separator=","):
    rows = zip(*columns.values(), strict=True)
    lines = [separator.join(map(str, row)) for row in [list(columns), *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# -- one input for each column ------------------------------------------------------------------


def pipeline(path):
    """What an exporter makes of a pipeline on a DataFrame: numbers, and texts that it encodes."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("LabelEncoder", ["town"], ["code"], domain="ai.onnx.ml",
                         keys_strings=["Ulm", "Bonn"], values_floats=[1.0, -1.0],
                         default_float=0.0),
        helper.make_node("Concat", ["age", "code"], ["c"], axis=1),
        helper.make_node("Gemm", ["c", "W", "B"], ["h"]),
        helper.make_node("Relu", ["h"], ["z"]),
        helper.make_node("Gemm", ["z", "V", "U"], ["logits"]),
    ]  # fmt: skip
    arrays = {"W": (2, 8), "B": (8,), "V": (8, 2), "U": (2,)}
    graph = helper.make_graph(
        nodes,
        "pipeline",
        [
            helper.make_tensor_value_info("age", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("town", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 2])],
        [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
            for name, shape in arrays.items()
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def people(tmp_path):
    """A model of columns, and tables of them in two orders, one with a column too many."""
    rng = np.random.default_rng(0)
    pipeline(tmp_path / "model.onnx")
    for part, extra in (("train", {}), ("validation", {"id": np.arange(240)})):
        age = rng.normal(size=240)
        town = rng.choice(["Ulm", "Bonn", "Köln"], 240)
        label = ((age + (town == "Ulm") + rng.normal(size=240)) > 0).astype(int)
        columns = {**extra, "town": town, "label": label, "age": age}
        if part == "train":
            columns = dict(reversed(columns.items()))
        write_csv(tmp_path / f"{part}.csv", columns)
    return tmp_path


def test_a_model_of_columns_goes_through_every_command(ntkit, people):
    model, train, validation = (people / n for n in ("model.onnx", "train.csv", "validation.csv"))
    code, _, err = ntkit("embed", model, validation, "-o", people / "store", *QUIET)
    assert code == 0, err
    assert "Note: " in err
    assert "left out the column 'id'" in err
    sets = ("--train", train, "--validation", validation)
    ordered = ("--method", "auto", "--even-if-worse", "--trust-inputs", "--verbose")
    code, out, err = ntkit("debias", model, *sets, *ordered, "-o", people / "out", *QUIET)
    assert code == 0, err
    assert "left out the column 'id'" in out  # among the notes of the result
    debiased = people / "out" / "debiased.onnx"
    code, out, err = ntkit("verify", model, debiased, validation, *QUIET)
    assert code == 0, err
    assert "passed" in out
    code, _, err = ntkit(
        "check", model, debiased, validation, "--report", people / "r.html", *QUIET
    )
    assert code != 2, err
    assert (people / "r.html").exists()
    assert (
        ntkit("fit", people / "store", "-o", people / "head.onnx", "--method", "balanced")[0] == 0
    )
    export = ("export", model, people / "head.onnx", "-o", people / "new.onnx", *QUIET)
    refused(ntkit(*export), "town", "--data")
    code, _, err = ntkit(*export, "--data", train)
    assert code == 0, err


def test_a_column_that_the_model_needs_is_named(ntkit, people):
    lines = (people / "train.csv").read_text(encoding="utf-8").replace("age", "years")
    (people / "train.csv").write_text(lines, encoding="utf-8")
    embed = ("embed", people / "model.onnx", people / "train.csv", "-o", people / "s")
    refused(ntkit(*embed), "no column 'age'", "'years'")
    assert not (people / "s").exists()


# -- pairs of texts -----------------------------------------------------------------------------


def test_pairs_of_texts(ntkit, tmp_path):
    text_model(tmp_path, types="token_type_ids")
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    rng = np.random.default_rng(0)
    for part in ("train", "validation"):
        follows = rng.random(120) < 0.5
        first = [" ".join(rng.choice(WORDS[:8], 5)) for _ in follows]
        second = [" ".join(rng.choice(WORDS[:5] if y else WORDS[5:13], 3)) for y in follows]
        label = ["follows" if y else "differs" for y in follows]
        columns = {"premise": first, "hypothesis": second, "label": label}
        write_csv(
            tmp_path / f"{part}.csv", {k: [f'"{v}"' for v in vs] for k, vs in columns.items()}
        )
    options = ("--embedding", "hidden", "--pooling", "mean", *QUIET)
    pair = ("--text-column", "premise", "--text-pair-column", "hypothesis")
    sets = ("--train", tmp_path / "train.csv", "--validation", tmp_path / "validation.csv")
    debias = ("debias", tmp_path / "model.onnx", *options, *sets, "--new-head")
    code, _, err = ntkit(*debias, *pair, "-o", tmp_path / "out")
    assert code == 0, err
    shown = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert " / " in shown
    refused(ntkit(*debias, "-o", tmp_path / "no"), "several text columns", "--text-pair-column")


# -- embeddings as a table ----------------------------------------------------------------------


def embeddings(seed, n=300, width=6):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return (rng.normal(size=(n, width)) + 0.8 * y[:, None]).astype(np.float32), y


def as_parquet(path, Z, y):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"id": np.arange(len(y)), "embedding": arrow.array(list(Z)), "label": y}
    parquet.write_table(arrow.table(columns), path)
    return path


def as_columns(path, Z, y, separator=","):
    return write_csv(path, {"id": np.arange(len(y)), **dict(enumerate(Z.T)), "label": y}, separator)


def test_a_head_of_ntkits_and_tables_of_embeddings(ntkit, tmp_path):
    train = as_parquet(tmp_path / "train.parquet", *embeddings(0))
    validation = as_columns(tmp_path / "validation.csv", *embeddings(1), separator=";")
    head = tmp_path / "head.onnx"
    code, _, err = ntkit("fit", train, "--validation", validation, "-o", head, "--method", "auto")
    assert code == 0, err
    assert "semicolons" in err
    model = FrozenModel.load(head)
    assert model.head.n_neurons == 6
    Z, y = embeddings(2)
    assert (model.head.predict(Z) == y).mean() > 0.8
    sets = ("--train", train, "--validation", validation)
    debias = ("debias", head, *sets, "--method", "auto", "--even-if-worse", "--verbose")
    code, out, err = ntkit(*debias, "-o", tmp_path / "out", *QUIET)
    assert code == 0, err
    assert "left out the column 'id'" in out
    code, out, err = ntkit("verify", head, tmp_path / "out" / "debiased.onnx", validation, *QUIET)
    assert code == 0, err
    code, _, err = ntkit("embed", head, train, "-o", tmp_path / "store", *QUIET)
    assert code == 0, err
    store = EmbeddingStore.open(tmp_path / "store")
    assert np.array_equal(store.X, embeddings(0)[0])
    fit = ("fit", tmp_path / "store", "--validation", validation, "--method", "auto")
    code, _, err = ntkit(*fit, "-o", tmp_path / "2.onnx")
    assert code == 0, err


def test_fit_takes_arrays_and_columns(ntkit, tmp_path):
    """Whatever they lie in, the same embeddings make the same head."""
    (Z, y), (Z2, y2) = embeddings(0), embeddings(1)
    heads = []
    for name in ("npz", "csv", "parquet", "npy"):
        if name == "npz":
            paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
            np.savez(paths[0], X=Z, y=y)
            np.savez(paths[1], X=Z2, y=y2)
        elif name == "npy":
            paths = [tmp_path / "a" / "X.npy", tmp_path / "b"]
            for folder, rows, labels in ((tmp_path / "a", Z, y), (tmp_path / "b", Z2, y2)):
                folder.mkdir()
                np.save(folder / "X.npy", rows)
                np.save(folder / "y.npy", labels)
        else:
            made = as_columns if name == "csv" else as_parquet
            paths = [
                made(tmp_path / f"{k}.{name}", *e) for k, e in (("a", (Z, y)), ("b", (Z2, y2)))
            ]
        out = tmp_path / f"{name}.onnx"
        fit = ("fit", paths[0], "--validation", paths[1], "--method", "auto", "-o", out)
        code, _, err = ntkit(*fit)
        assert code == 0, err
        heads.append(FrozenModel.load(out).head)
    for head in heads[1:]:
        assert np.allclose(head.coef, heads[0].coef, rtol=1e-3, atol=1e-5)


def test_fit_says_what_is_no_embedding(ntkit, tmp_path):
    Z, y = embeddings(0)
    good = as_columns(tmp_path / "good.csv", Z, y)
    narrow = as_columns(tmp_path / "narrow.csv", Z[:, :4], y)
    out = tmp_path / "h.onnx"
    refused(ntkit("fit", good, "--validation", narrow, "-o", out), "narrow.csv", "4 numbers", "6")
    np.savez(tmp_path / "images.npz", X=np.zeros((20, 3, 4, 4)), y=np.arange(20) % 2)
    refused(ntkit("fit", tmp_path / "images.npz", "-o", out), "(N, D)", "ntkit embed")
    refused(ntkit("fit", good, "-o", out, "--label-column", "0"), "does not contain classes")
    refused(ntkit("fit", good, "-o", out, "--label-column", "lable"), "did you mean 'label'")
    np.savez(tmp_path / "unlabelled.npz", X=Z)
    refused(ntkit("fit", tmp_path / "unlabelled.npz", "-o", out), "no array 'y'")
    one = as_columns(tmp_path / "one.csv", Z, y * 0)
    refused(ntkit("fit", one, "-o", out), "at least 2 classes")
    assert not out.exists()


# -- without labels -----------------------------------------------------------------------------


@pytest.fixture
def digits_folder(tmp_path, digits):
    shutil.copy(marked_digits_model_path(), tmp_path / "model.onnx")
    np.savez(tmp_path / "train.npz", X=digits["X_train"][:60], y=digits["y_train"][:60])
    np.savez(tmp_path / "bare.npz", X=digits["X_train"][:60])
    (tmp_path / "flat" / "more").mkdir(parents=True)
    for i, image in enumerate(digits["X_train"][:20]):
        place = tmp_path / "flat" / ("more" if i > 15 else "") / f"{i:02d}.png"
        Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(place)
    return tmp_path


def test_embed_needs_no_labels(ntkit, digits_folder):
    model, whole = digits_folder / "model.onnx", digits_folder / "whole"
    bare = digits_folder / "bare.npz"
    code, out, err = ntkit("embed", model, bare, "-o", whole, *QUIET)
    assert code == 0, err
    assert "60 embeddings" in out
    assert EmbeddingStore.open(whole).y is None
    parts = [digits_folder / f"part{i}" for i in (1, 2)]
    for i, part in enumerate(parts, start=1):
        assert ntkit("embed", model, bare, "-o", part, "--shard", f"{i}/2", *QUIET)[0] == 0
    assert ntkit("merge", *parts, "-o", digits_folder / "merged")[0] == 0
    merged = EmbeddingStore.open(digits_folder / "merged")
    assert merged.y is None
    assert np.array_equal(merged.X, EmbeddingStore.open(whole).X)
    code, _, err = ntkit("embed", model, digits_folder / "flat", "-o", digits_folder / "images")
    assert code == 0, err
    store = EmbeddingStore.open(digits_folder / "images")
    assert (store.y, len(store.X), len(store.ids)) == (None, 20, 20)


def test_what_needs_labels_says_so(ntkit, digits_folder):
    model, store = digits_folder / "model.onnx", digits_folder / "store"
    bare, labelled = digits_folder / "bare.npz", digits_folder / "train.npz"
    assert ntkit("embed", model, bare, "-o", store, *QUIET)[0] == 0
    out = digits_folder / "out"
    refused(ntkit("fit", store, "-o", out), "has no labels", "embed the samples again")
    sets = ("--train", labelled, "--validation")
    refused(ntkit("debias", model, *sets, store, "-o", out), "has no labels")
    refused(ntkit("debias", model, *sets, bare, "-o", out), "no array 'y'", "y=...")
    refused(ntkit("check", model, model, bare, "--report", out), "no array 'y'")
    code, _, err = ntkit("verify", model, model, bare, *QUIET)
    assert code == 0, err
    assert not out.exists()


# -- what a new user gets wrong -----------------------------------------------------------------


def test_swapped_files_are_told_apart(ntkit, digits_folder):
    model, train, out = (digits_folder / n for n in ("model.onnx", "train.npz", "out"))
    refused(ntkit("embed", train, model, "-o", out), "a model (an ONNX file) comes first")
    refused(ntkit("debias", train, "--train", model, "--validation", train, "-o", out), "model")
    wrong = ("debias", model, "--train", model, "--validation", train, "-o", out)
    refused(ntkit(*wrong), "is a model, but samples are needed")
    assert ntkit("embed", model, train, "-o", digits_folder / "s", *QUIET)[0] == 0
    refused(ntkit("embed", model, digits_folder / "s", "-o", out), "is an embedding store")
    refused(ntkit("verify", model, model, digits_folder / "s"), "is an embedding store")
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": np.full(60, np.nan)}, ("y has NaN", "60 of 60 rows")),
        ({"y": np.zeros(60, int)}, ("only one class (0)",)),
        ({"y": np.arange(60) % 2 / 2}, ("y contains 0.5", "whole numbers")),
        ({"groups": np.where(np.arange(60) == 7, np.nan, 1)}, ("groups has NaN", "row 7")),
        ({"y": np.array(["0", "1"] * 30)}, ("did you mean 0?", "One is text")),
    ],
)
def test_labels_and_groups_that_are_none(change, said, ntkit, digits_folder):
    arrays = dict(np.load(digits_folder / "train.npz"))
    np.savez(digits_folder / "bad.npz", **{**arrays, **change})
    bad, good = digits_folder / "bad.npz", digits_folder / "train.npz"
    sets = ("--train", good if "One is text" in said else bad)
    model, out = digits_folder / "model.onnx", digits_folder / "out"
    validation = bad if "groups" not in change else good
    refused(ntkit("debias", model, *sets, "--validation", validation, "-o", out), *said)
    assert not out.exists()


def test_columns_can_be_named(ntkit, tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> mlp (float[N, 2] x) => (float[N, 2] logits)'
        "{ z = Relu(x) logits = MatMul(z, V) }"
    )
    V = np.eye(2, dtype=np.float32)
    model.graph.initializer.append(numpy_helper.from_array(V, "V"))
    onnx.save(model, tmp_path / "m.onnx")
    columns = {"a": [1, 2], "b, c": [3, 4], "d": [5, 6], "label": [0, 1]}
    named = {k if "," not in k else f'"{k}"': v for k, v in columns.items()}
    data = write_csv(tmp_path / "t.csv", named)
    embed = ("embed", tmp_path / "m.onnx", data, "-o", tmp_path / "s", *QUIET)
    refused(ntkit(*embed), "'a', 'b, c', 'd'", "--columns")
    code, _, err = ntkit(*embed, "--columns", 'd,"b, c"')
    assert code == 0, err
    assert EmbeddingStore.open(tmp_path / "s").X.tolist() == [[5, 3], [6, 4]]
    colons = write_csv(tmp_path / "u.csv", {"a": [1, 2], "b": [3, 4]}, ":")
    embed = ("embed", tmp_path / "m.onnx", colons, "-o", tmp_path / "u", *QUIET)
    code, _, err = ntkit(*embed, "--delimiter", ":", "--json")
    assert code == 0, err
    refused(ntkit(*embed, "--delimiter", "::"), "one character")


def test_json_stays_json(ntkit, people):
    """Notes go to standard error."""
    model, data = people / "model.onnx", people / "validation.csv"
    code, out, err = ntkit("embed", model, data, "-o", people / "store", "--json", "--quiet")
    assert code == 0, err
    assert json.loads(out)["event"] == "finished"

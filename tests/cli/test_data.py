"""Every kind of data through the commands, and what each command says of unusable data."""

import json

import numpy as np
import onnx
import pytest

from ntkit import FrozenModel, LinearHead
from ntkit.store import EmbeddingStore
from tests.cases import done, ntkit, read_csv, refused, settings, write_csv
from tests.models import parsed
from tests.texts import WORDS, text_model, word_pieces

CPU = ("--device", "cpu")


PIPELINE = """(float[N, 1] age, string[N, 1] town) => (float[N, 2] logits) {
    code = ai.onnx.ml.LabelEncoder <
        keys_strings: strings = ["Ulm", "Bonn"], values_floats: floats = [1.0, -1.0],
        default_float: float = 0.0> (town)
    c = Concat <axis: int = 1> (age, code)
    h = Gemm(c, W, B)
    z = Relu(h)
    logits = Gemm(z, V, U)
}"""
"""What an exporter makes of a pipeline on a DataFrame: numbers, and texts that it encodes."""


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A model of columns, and tables of them in two orders, one with a column too many."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    shapes = {"W": (2, 8), "B": (8,), "V": (8, 2), "U": (2,)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    onnx.save(parsed(PIPELINE, **weights), folder / "model.onnx")
    for part, extra in (("train", {}), ("validation", {"id": np.arange(240)})):
        age = rng.normal(size=240)
        town = rng.choice(["Ulm", "Bonn", "Köln"], 240)
        label = ((age + (town == "Ulm") + rng.normal(size=240)) > 0).astype(int)
        columns = {**extra, "town": town, "label": label, "age": age}
        if part == "train":
            columns = dict(reversed(columns.items()))
        write_csv(folder / f"{part}.csv", columns)
    return folder


@pytest.mark.parametrize(
    "towns",
    [{"Ulm": "Ulm "}, {"Ulm": "1.0", "Bonn": "2.0", "Köln": "3.0"}, {"Köln": "Ko\u0308ln"}],
)
def test_cells_that_groups_have_in_another_writing_are_noted(people, tmp_path, towns):
    """Such cells may be unknown to the model, while groups take them for others."""
    rows = read_csv(people / "validation.csv")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    n = sum(town in towns for town in columns["town"])
    first = next(town for town in columns["town"] if town in towns)
    told = f"gets {n} cells of the column 'town' as written, such as {towns[first]!a}. In groups,"
    for town, noted in ((columns["town"], False), ([towns.get(t, t) for t in columns["town"]], 1)):
        data = write_csv(tmp_path / "data.csv", columns | {"town": town})
        output = ("-o", tmp_path / "out.csv", "--force")
        for command in (
            ("predict", people / "model.onnx", data, *output),
            ("check", people / "model.onnx", data, "--average", 5, "--slice", "column:town"),
        ):
            _, out, err = ntkit(*command, *CPU)
            assert (told in " ".join((out + err).split())) == bool(noted)


@pytest.mark.more
def test_categories_that_two_sets_spell_differently_are_noted(people, tmp_path):
    """The model may know only one of them, also if no named value is of this column."""
    rows = read_csv(people / "validation.csv")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    options = ("--method", "class-balanced", "--even-if-worse", *settings(trust_inputs=True), *CPU)
    for to, noted in (("Ulm", False), ("ULM", True)):
        towns = [town.replace("Ulm", to) for town in columns["town"]]
        data = write_csv(tmp_path / "data.csv", columns | {"town": towns})
        sets = ("--train", people / "train.csv", "--validation", data)
        command = ("debias", people / "model.onnx", *sets, "-o", tmp_path / to, "--verbose")
        out, err = done(*command, *options)
        told = "'town' has the value 'ULM' in the validation set and 'Ulm' in the training set."
        assert (told in " ".join((out + err).split())) == noted


def test_labels_stay_texts_if_they_are_classes_of_the_model(people, tmp_path):
    model = onnx.load(people / "model.onnx")
    rows = read_csv(people / "validation.csv")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    found = []
    for classes, labels in (
        (["01", "02"], ["01", "02"]),
        ([1, 2], ["1", "2"]),
        ([1, 2], ["01", "02"]),
    ):
        onnx.helper.set_model_props(model, {"classes": json.dumps(classes)})
        onnx.save(model, tmp_path / "m.onnx")
        named = {"label": [labels[int(label)] for label in columns["label"]]}
        data = write_csv(tmp_path / "data.csv", columns | named)
        output = ("-o", tmp_path / "out.csv", "--force")
        done("predict", tmp_path / "m.onnx", data, *output, *CPU)
        written = {row["label"] for row in read_csv(tmp_path / "out.csv")}
        assert written == {*map(str, classes)}
        found.append(done("check", tmp_path / "m.onnx", data, "--average", 5, *CPU)[0])
    assert len({text.split("%")[0] for text in found}) == 1


def test_a_model_of_columns_goes_through_every_command(people, tmp_path):
    model, train, validation = (people / n for n in ("model.onnx", "train.csv", "validation.csv"))
    store, debiased = tmp_path / "store", tmp_path / "out" / "debiased.onnx"
    out, err = done("embed", model, validation, "-o", store, *CPU, "--json", "--quiet")
    assert json.loads(out)["event"] == "finished"  # notes go to standard error
    assert "Note: " in err
    assert "left out the column 'id'" in err
    sets = ("--train", train, "--validation", validation)
    ordered = (
        "--method",
        "class-balanced",
        "--even-if-worse",
        *settings(trust_inputs=True),
        "--verbose",
    )
    out, _ = done("debias", model, *sets, *ordered, "-o", tmp_path / "out", *CPU)
    assert "left out the column 'id'" in out  # among the notes of the result
    assert "passed" in done("verify", model, debiased, validation, *CPU)[0]
    page = tmp_path / "r.html"
    code, _, err = ntkit("check", model, debiased, validation, "--report", page, *CPU)
    assert code != 2, err
    assert page.exists()
    done("fit", store, "-o", tmp_path / "head.onnx", "--method", "balanced")
    export = ("export", model, tmp_path / "head.onnx", "-o", tmp_path / "new.onnx", *CPU)
    done(*export)  # verified on towns that its encoder knows
    done(*export, "--data", train, "--force")


def test_the_column_that_names_samples_names_new_errors(people, tmp_path):
    """Of models as of tables of predictions."""
    model, worse, rng = people / "model.onnx", tmp_path / "worse.onnx", np.random.default_rng(1)
    frozen = FrozenModel.load(model)
    head = frozen.head
    frozen.with_head(LinearHead(-head.coef, -head.intercept, head.classes)).save(worse)
    columns = {
        n: [r[n] for r in read_csv(people / "validation.csv")] for n in ("town", "age", "label")
    }
    names = [f"c{i}" for i in rng.permutation(240)]
    data = write_csv(tmp_path / "data.csv", {"customer": names, **columns})
    tables = []
    for each in (model, worse):
        done("predict", each, data, "-o", tmp_path / "p.csv", "--force", *CPU)
        predicted = [row["prediction"] for row in read_csv(tmp_path / "p.csv")]
        table = {"customer": names, "prediction": predicted}
        tables.append(write_csv(tmp_path / f"{each.stem}.csv", table))
    old, new = ([row["prediction"] for row in read_csv(table)] for table in tables)
    right = [str(label) for label in columns["label"]]
    wrong = {n for n, o, w, y in zip(names, old, new, right, strict=True) if o == y != w}
    assert len(wrong) > 5
    options = ("--id-column", "customer", "--max-drop", "50", "--json")
    for arguments in (
        (model, worse, data, *CPU, "--quiet"),
        ("--predictions", tables[1], "--before", tables[0], data),
    ):
        code, out, err = ntkit("check", *arguments, *options)
        assert code != 2, err
        assert {*json.loads(out)["new_errors"]} == wrong
    for command in (
        ("check", model, worse, data, "--max-drop", "50"),
        ("audit", model, data, "-o", tmp_path / "audit"),
        ("debias", model, "--train", data, "--validation", people / "validation.csv",
         "-o", tmp_path / "out"),
    ):  # fmt: skip
        named = settings(id_column="client")
        refused(*command, *named, *CPU, says="no column 'client' that names")


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [
        ("--columns", "id,age", "the column 'id' is not read"),
        ("--columns", "absent", "has no column 'absent'"),
        ("--text-column", "id", "the column 'id' is not read"),
        ("--group-column", "absent", "has no column 'absent'"),
        ("--text-column", "town", None),
        ("--group-column", "town", None),
    ],
)
def test_a_named_column_that_a_model_of_columns_does_not_read_is_told(
    people, tmp_path, option, name, says
):
    command = ("predict", people / "model.onnx", people / "validation.csv", *CPU)
    _, err = done(*command, "-o", tmp_path / "p.csv", option, name)
    assert (f"{option} has no effect here" in err) == (says is not None)
    assert says is None or says in err


@pytest.mark.parametrize("option", ["--group-column", "--label-column", "--columns"])
def test_a_store_has_no_columns(user, tmp_path, option):
    command = ("predict", user / "model.onnx", user / "validation.store", *CPU)
    _, err = done(*command, "-o", tmp_path / "p.csv", option, "absent")
    assert f"validation.store has no column 'absent', so {option} has no effect here." in err
    assert "no effect" not in done(*command, "-o", tmp_path / "q.csv")[1]


def test_a_bare_product_of_columns(tmp_path):
    """A tabular model: the numeric columns are its input, in the order that is named."""
    model = parsed(
        "(float[N, 2] x) => (float[N, 2] logits) { z = Relu(x) logits = MatMul(z, V) }",
        V=np.eye(2),
    )
    onnx.save(model, tmp_path / "m.onnx")
    columns = {"a": [1, 2], "b, c": [3, 4], "d": [5, 6], "label": [0, 1]}
    data = write_csv(tmp_path / "t.csv", columns)
    embed = ("embed", tmp_path / "m.onnx", data, "-o", tmp_path / "s", *CPU)
    refused(*embed, says=["'a', 'b, c', 'd'", "--columns"])
    done(*embed, "--columns", 'd,"b, c"')
    assert EmbeddingStore.open(tmp_path / "s").X.tolist() == [[5, 3], [6, 4]]
    lines = write_csv(tmp_path / "lines.csv", {"a\nb": [1, 2], "c": [3, 4], "label": [0, 1]})
    embed = ("embed", tmp_path / "m.onnx", lines, "-o", tmp_path / "l", *CPU)
    refused(*embed, "--columns", "c,a\nb", says=["line break", "in double quotes"])
    done(*embed, "--columns", 'c,"a\nb"')
    assert EmbeddingStore.open(tmp_path / "l").X.tolist() == [[3, 1], [4, 2]]
    colons = write_csv(tmp_path / "u.csv", {"a": [1, 2], "b": [3, 4]}, ":")
    embed = ("embed", tmp_path / "m.onnx", colons, "-o", tmp_path / "u", *CPU)
    done(*embed, "--delimiter", ":")
    refused(*embed, "--delimiter", "::", says="one character")


# -- texts --------------------------------------------------------------------------------------


def encoder(folder, columns, rng, **options):
    """A text encoder without a head, its tokenizer, and tables of texts with a verdict."""
    text_model(folder, **options)
    word_pieces().save(str(folder / "tokenizer.json"))
    for part in ("train", "validation"):
        y = rng.random(120) < 0.5
        texts = {
            name: [" ".join(rng.choice(WORDS[:8] if one else WORDS[5:13], 6)) for one in y]
            for name in columns
        }
        verdict = ["good" if one else "bad" for one in y]
        write_csv(folder / f"{part}.csv", texts | {"verdict": verdict})
    model = ("--embedding", "hidden,mean", *CPU)
    sets = ("--train", folder / "train.csv", "--validation", folder / "validation.csv")
    return model, sets, ("--label-column", "verdict")


def test_texts_through_an_encoder_without_a_head(tmp_path, rng):
    path, store = tmp_path / "model.onnx", tmp_path / "store"
    model, sets, label = encoder(tmp_path, ["review"], rng)
    data = ("--text-column", "review", *label, "--preprocessing", "max_length=5")
    out, _ = done("inspect", path, *model[:-2])
    assert "ntkit.pooled.mean.hidden (batch, 6) float32" in out
    done("debias", path, *model, *data, *sets, "--new-head", "-o", tmp_path / "out")
    head = FrozenModel.load(tmp_path / "out" / "debiased.onnx").head
    assert head.classes.tolist() == ["bad", "good"]
    embed = ("embed", path, tmp_path / "train.csv", *model, *data)
    done(*embed, "-o", store)
    assert EmbeddingStore.open(store).manifest["preprocessing"]["max_length"] == 5
    done("fit", store, "--method", "balanced", "-o", tmp_path / "head.onnx")
    export = ("export", path, tmp_path / "head.onnx", *model, *data)
    out, _ = done(*export, "--data", tmp_path / "validation.csv", "-o", tmp_path / "new.onnx")
    assert "verified on 120 samples" in out
    (tmp_path / "tokenizer.json").unlink()
    refused(*embed, "-o", tmp_path / "other", says="--tokenizer")


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


def test_a_head_of_ntkits_and_tables_of_embeddings(tmp_path):
    train = as_parquet(tmp_path / "train.parquet", *embeddings(0))
    validation = as_columns(tmp_path / "validation.csv", *embeddings(1), separator=";")
    head, store = tmp_path / "head.onnx", tmp_path / "store"
    fit = ("--validation", validation, "--method", "auto", "-o")
    _, err = done("fit", train, *fit, head)
    assert "semicolons" in err
    Z, y = embeddings(2)
    assert (FrozenModel.load(head).head.predict(Z) == y).mean() > 0.8
    for part, name in ((0, "X"), (1, "validation")):  # as arrays they make the same head
        np.savez(tmp_path / f"{name}.npz", X=embeddings(part)[0], y=embeddings(part)[1])
    fit = ("--validation", tmp_path / "validation.npz", *fit[2:])
    done("fit", tmp_path / "X.npz", *fit, tmp_path / "same.onnx")
    same, coef = (FrozenModel.load(p).head.coef for p in (tmp_path / "same.onnx", head))
    assert np.allclose(same, coef, rtol=1e-3, atol=1e-5)
    done("embed", head, train, "-o", store, *CPU)
    assert np.array_equal(EmbeddingStore.open(store).X, embeddings(0)[0])


def test_fit_says_what_is_no_embedding(tmp_path):
    Z, y = embeddings(0)
    good = as_columns(tmp_path / "good.csv", Z, y)
    narrow = as_columns(tmp_path / "narrow.csv", Z[:, :4], y)
    images = tmp_path / "images.npz"
    np.savez(images, X=np.zeros((20, 3, 4, 4)), y=np.arange(20) % 2)
    np.savez(tmp_path / "bare.npz", X=Z)
    for data, *options, says in (
        (good, "--validation", narrow, ["narrow.csv", "4 numbers", "6"]),
        (images, ["(N, D)", "ntkit embed"]),
        (good, "--label-column", "0", "does not contain classes"),
        (good, "--label-column", "lable", "did you mean 'label'"),
        (tmp_path / "bare.npz", "no array 'y'"),
        (as_columns(tmp_path / "one.csv", Z, y * 0), "at least 2 classes"),
    ):
        refused("fit", data, "-o", tmp_path / "h.onnx", *options, says=says)
    assert not (tmp_path / "h.onnx").exists()


@pytest.mark.filterwarnings("always::ntkit.exceptions.SuppressionWarning")
@pytest.mark.parametrize("has_relation", [False, True])
def test_fit_warns_of_a_head_near_guessing_whatever_the_method(tmp_path, has_relation):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    for name in ("train", "validation"):
        X = rng.normal(size=(400, 4)) + 2 * has_relation * y[:, None]
        np.savez(tmp_path / f"{name}.npz", X=X.astype(np.float32), y=y)
    sets = (tmp_path / "train.npz", "--validation", tmp_path / "validation.npz")
    _, err = done("fit", *sets, "--method", "evals", "-o", tmp_path / "head.onnx")
    assert ("near guessing (50 %)" in err) is not has_relation


@pytest.mark.parametrize(("named", "said"), [("zebra,dog,fox", False), (None, True)])
def test_fit_says_that_the_head_of_a_store_has_its_classes_in_another_order(tmp_path, named, said):
    rng = np.random.default_rng(0)
    names = np.array(["zebra", "dog", "fox"])  # in the order of the logits; sorted: dog, fox, zebra
    y = rng.integers(0, 3, 300)
    X = (4 * np.eye(3)[y] + rng.normal(size=(300, 3))).astype(np.float32)
    np.savez(tmp_path / "train.npz", X=X, y=names[y])
    model = parsed(
        "(float[n, 3] x) => (float[n, 3] logits) { h = Relu(x) logits = Gemm(h, W, b) }",
        W=np.eye(3),
        b=np.zeros(3),
    )
    onnx.save(model, tmp_path / "model.onnx")
    classes = () if named is None else ("--classes", named)
    store, head = tmp_path / "a.store", tmp_path / "head.onnx"
    done("embed", tmp_path / "model.onnx", tmp_path / "train.npz", "-o", store, *classes)
    _, err = done("fit", store, "--method", "balanced", "-o", head)
    assert ("classes seem to be in another order" in err) is said

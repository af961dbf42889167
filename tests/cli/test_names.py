"""Names of classes in files and in a terminal: their order, and characters that show nothing."""

import json
import shutil

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from ntkit import check, predict
from ntkit.changes import change_named
from ntkit.extraction import ImagePreprocessing, read_samples
from tests.cases import N_IMAGES, done, ntkit, read_csv, refused, settings, write_csv
from tests.jobs.label.models import rows, write_model
from tests.models import of_two_columns as classifier
from tests.models import parsed, save

CPU = ("--device", "cpu")
# Characters that a terminal executes or that turn the text after them.
HIDDEN = [chr(code) for code in (0x7, 0x1B, 0x7F, 0x9B, 0x61C, 0x200E, 0x200F)]
HIDDEN += [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]


def samples(path, classes, n=120):
    rng = np.random.default_rng(0)
    a = rng.random(n)
    labels = [classes[int(each)] for each in a + rng.normal(size=n) / 4 > 0.5]
    return write_csv(path, {"a": a, "b": rng.random(n), "label": labels})


@pytest.mark.more
@pytest.mark.parametrize("name", ["a\u202eb", "".join(["c", *HIDDEN, "d"])])
def test_no_character_without_a_sign_is_printed(tmp_path, name):
    classes = [name, f"z{name}"]
    model, data = classifier(tmp_path / "m.onnx", classes), samples(tmp_path / "t.csv", classes)
    files = {kind: tmp_path / f"out.{kind}" for kind in ("markdown", "junit", "report")}
    options = [part for kind, file in files.items() for part in (f"--{kind}", file)]
    sets = ("--train", data, "--validation", data, "-o", tmp_path / "out")
    sets += ("--method", "class-balanced", "--even-if-worse", *settings(trust_inputs=True))
    spoken = [
        ntkit("check", model, model, data, "--max-drop", "50", *options, *CPU),
        ntkit("check", model, data, "--min-recall", "unknown=2", *CPU),
        ntkit("audit", model, data, "--changes", "0", "-o", tmp_path / "audit", *CPU),
        ntkit("debias", model, *sets, "--verbose", *CPU),
        ntkit("inspect", model),
    ]
    texts = [text for _, *texts in spoken for text in texts]
    texts += [files[kind].read_text("utf-8") for kind in ("markdown", "junit")]
    texts += [(tmp_path / "out" / "README.md").read_text("utf-8")]
    marks = {"\u061c", "\u200e", "\u200f"}  # a page may need them in texts from right to left
    assert not ({*HIDDEN} - marks) & {*files["report"].read_text("utf-8")}
    for text in texts:
        assert not {*HIDDEN} & {*text}
    assert any("a b" in text or "c d" in " ".join(text.split()) for text in texts)


def test_classes_that_are_taken_are_named_in_their_order(tmp_path):
    old = classifier(tmp_path / "old.onnx", ["pos", "neg"])
    new = classifier(tmp_path / "new.onnx", None)
    data = samples(tmp_path / "t.csv", ["pos", "neg"])
    _, _, err = ntkit("check", old, new, data, *CPU)
    assert "those of the first model in its order: 'pos', 'neg'." in err


def brightened(image):
    """An image whose first row is white."""
    pixels = np.array(Image.open(image))
    pixels[0] = 255
    return Image.fromarray(pixels)


def test_a_copy_is_of_one_sample_of_one_set(user, tmp_path):
    """Images of two sets have the same names, so a copy of one must not go to the other."""
    sets = ("--train", user / "train", "--validation", user / "validation")
    out = tmp_path / "out"
    debias = ("debias", user / "model.onnx", *sets, "-o", out, *CPU, "--quiet")
    flat, apart = tmp_path / "flat", tmp_path / "apart"
    flat.mkdir()
    for part in ("train", "validation"):
        for image in sorted((user / part).rglob("*.png")):
            copy = apart / part / image.parent.name / image.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            brightened(image).save(copy)
            if part == "validation":
                shutil.copy(copy, flat / image.name)
    says = [f"{N_IMAGES} copies", "train", "validation", "subfolder named like the set"]
    refused(*debias, "--invariant", f"folder:{flat}", says=says)
    options = {"preprocessing": ImagePreprocessing(scale=1.0)}
    change = change_named(f"folder:{apart}")
    read = [read_samples(user / part, **options) for part in ("train", "validation")]
    change.check_sets(read)
    for samples in read:
        copies, at = change.copies(samples)
        assert at.tolist() == [*range(N_IMAGES)]
        for copy, original in list(zip(copies.X.paths, samples.X.paths, strict=True))[::40]:
            assert np.array_equal(Image.open(copy), brightened(original))


def test_predict_says_that_classes_seem_to_be_in_another_order_as_check_does(tmp_path):
    table = samples(tmp_path / "t.csv", ["pos", "neg"], n=400)  # the first logit is that of "pos"
    misread, right = (classifier(tmp_path / f"{n}.onnx", n) for n in (None, ["pos", "neg"]))
    out, says = tmp_path / "out.csv", "seem to be in another order than the labels"
    for model, n in ((misread, 1), (right, 0)):
        notes = ntkit("check", model, table, "--average", "2", *CPU)[2]
        assert notes.count(says) == n
        assert ntkit("predict", model, table, "-o", out, "--force", *CPU)[2].count(says) == n
        read = pd.read_csv(table)
        found = predict(model, (read[["a", "b"]], read["label"]))
        assert str(found.notes).count(says) == n
    both = ntkit("predict", right, table, "--before", misread, "-o", out, "--force", *CPU)[2]
    assert "takes those of the" in both or both.count(f"{misread.name}: The model's classes") == 1


def recording(path, columns, weight=None, name="x"):
    """The classifier with another name of its input, weight and columns on record."""
    model = onnx.load(classifier(path, ["neg", "pos"]))
    model.graph.input[0].name = model.graph.node[0].input[0] = name
    if weight is not None:  # another network, which makes some other errors
        scaled = parsed(f"(float[N, 2] {name}) => (float[N, 2] scaled) "
                        f"{{ scaled = MatMul({name}, W) }}", W=weight).graph  # fmt: skip
        model.graph.node[0].input[0] = "scaled"
        model.graph.node.insert(0, scaled.node[0])
        model.graph.initializer.extend(scaled.initializer)
    record = {"ntkit.preprocessing": json.dumps({"columns": columns})} if columns else {}
    return save(model, path, ["neg", "pos"], **record)


def averages(*arguments):
    """Accuracies before and now, and notes, of a check."""
    found = json.loads(ntkit("check", *arguments, "--average", "2", "--json", *CPU)[1])
    return found["rows"][0].get("before"), found["rows"][0]["accuracy"], found["notes"]


@pytest.mark.more
@pytest.mark.parametrize("name", ["x", "features"])
def test_each_of_two_models_takes_the_columns_that_it_names_itself(tmp_path, name):
    """Of two networks, only one names its columns, in another order than the table."""
    table = samples(tmp_path / "t.csv", ["neg", "pos"])
    cells = read_csv(table)
    turned = {each: [row[each] for row in cells] for each in ("b", "label", "a")}
    table = write_csv(tmp_path / "turned.csv", turned)
    named = recording(tmp_path / "named.onnx", ["a", "b"], [[0.9, 0], [0, 1]])
    plain = recording(tmp_path / "plain.onnx", None, [[0, 1], [1, 0]], name)
    alone = {path: averages(path, table)[1] for path in (named, plain)}
    for old, new in ((named, plain), (plain, named)):
        before, now, notes = averages(old, new, table)
        assert (before, now) == (alone[old], alone[new])
        assert "plain.onnx: Columns, in this order: 'b', 'a'; as the table has them" in str(notes)
        assert "named.onnx: Columns, in this order: 'a', 'b'; as the model's met" in str(notes)
        out = tmp_path / "out.csv"
        ntkit("predict", new, table, "--before", old, "-o", out, "--force", *CPU)
        for column, path in (("prediction", new), ("prediction_before", old)):
            right = [row[column] == row["label"] for row in read_csv(out)]
            assert np.mean(right) == alone[path]
        frame = pd.read_csv(table)
        found = check(old, new, (frame[["b", "a"]], frame["label"]), limits={"average": 2})
        assert (found.average.before, found.average.value) == (alone[old], alone[new])
    misread = recording(tmp_path / "misread.onnx", None, [[0.9, 0], [0, 1]], name)
    assert averages(misread, table)[1] < min(alone.values())
    same = averages(named, misread, table, "--columns", "a,b")
    assert same[0] == same[1] == alone[named]  # columns that a user names are those of both


def test_columns_of_a_network_are_those_of_the_same_network_with_another_head(tmp_path):
    table = samples(tmp_path / "t.csv", ["neg", "pos"])
    cells = read_csv(table)
    turned = {each: [row[each] for row in cells] for each in ("b", "label", "a")}
    turned = write_csv(tmp_path / "turned.csv", turned)
    named = recording(tmp_path / "named.onnx", ["a", "b"])
    plain = recording(tmp_path / "plain.onnx", None)
    for pair in ((named, plain), (plain, named)):
        assert averages(*pair, table)[:2] == averages(*pair, turned)[:2]


def test_each_model_says_how_it_reads_its_own_inputs(tmp_path):
    classes = ["neg", "pos"]
    data = samples(tmp_path / "t.csv", classes)
    old, new = (classifier(tmp_path / f"{n}.onnx", classes) for n in ("old", "new"))
    wide = parsed(
        "(double[N, 2] y) => (float[N, 2] logits) "
        "{ x = Cast<to = 1>(y) z = Relu(x) logits = Gemm(z, V, B) }",
        V=[[-1, 1], [0.1, 0]], B=[0.5, -0.5],
    )  # fmt: skip
    save(wide, new, classes)
    _, out, err = ntkit("check", old, new, data, "--max-drop", "5", "--json", *CPU)
    notes = json.loads(out)["notes"]
    assert any(note.startswith("Columns, in this order: 'a', 'b'") for note in notes), err
    assert any("so each gets its own" in note for note in notes)


NAMES = [  # in the order of "cat" and "dog", and like words and signs of the program
    ("a", "a × b"), ("it", "original"), ("all others", "average"), ("a and b", "c | d"),
    ("column:x=1", "column:x>=1"), ("not word:film", "word:film"), ("class a", "with it"),
]  # fmt: skip


@pytest.fixture(scope="module")
def named_cat_and_dog(tmp_path_factory):
    return figures_of(tmp_path_factory.mktemp("named"), ("cat", "dog"))


@pytest.mark.parametrize(
    "classes", [*NAMES[:3], *(pytest.param(each, marks=pytest.mark.more) for each in NAMES[3:])]
)
def test_a_class_may_have_any_name(tmp_path, classes, named_cat_and_dog):
    """All commands find the same, whatever the classes are called."""
    classes = tuple(sorted(classes))
    assert figures_of(tmp_path, classes) == named_cat_and_dog


def figures_of(folder, classes):
    """What five commands find on marked rows, without names."""
    path = write_model(folder / "m.onnx")
    save(onnx.load(path), path, classes)
    for seed, name in enumerate(("train", "validation", "test")):
        X, y, mark = rows(seed, n=400, share=0.9)
        columns = dict(zip("abcdef", X.T, strict=True))
        mark = np.array(["no", "yes"])[mark]
        columns |= {
            "mark": mark,
            "group": mark,
            "label": np.array(classes)[y],
            "id": [f"{i}" for i in range(400)],
        }
        write_csv(folder / f"{name}.csv", columns)
    train, validation, test = (folder / f"{n}.csv" for n in ("train", "validation", "test"))
    inputs = ("--columns", "a,b,c,d,e,f", *CPU, "--quiet")
    sets = ("--train", train, "--validation", validation, "--test", test)
    done("debias", path, *sets, "--spurious", "metadata:mark=yes", "-o", folder / "out", *inputs)
    result = json.loads((folder / "out" / "result.json").read_text("utf-8"))
    new = folder / "out" / "debiased.onnx"
    limits = ("--max-drop", "20", "--slice", "metadata:mark")
    answers = ("--answers", folder / "out" / "answers.json", "--min-recall", f"{classes[1]}=50")
    code, checked, err = ntkit("check", path, new, test, *limits, *answers, *inputs, "--json")
    assert code in (0, 1, 3), err
    done("audit", path, test, "-o", folder / "audit", "--changes", "0", *inputs)
    audit = json.loads((folder / "audit" / "audit.json").read_text("utf-8"))
    ask = ("label", path, validation, "-o", folder / "label", "--question", "Marked?", "--json")
    asked, _ = done(*ask, *inputs)
    done("predict", new, test, "-o", folder / "p.csv", "--before", path, *inputs)
    predicted = [classes.index(row["prediction"]) for row in read_csv(folder / "p.csv")]
    groups = [
        (f["name"], classes.index(f["goes_with"]), [g["accuracy"] for g in f["groups"]])
        for f in audit["findings"]
    ]
    lost = [(g["attribute"], g["count"], g["surely"]) for g in result["lost_groups"]]
    rows_of_check = json.loads(checked)["rows"] + json.loads(checked)["rates"]
    return {
        "costs": [cost["class_gain"] for cost in result["accuracy_costs"]],
        "worst": result["accuracy_cost"]["worst_named"]["accuracy"],
        "lost": lost,
        "checked": [
            (r["kind"], r["samples"], r.get("accuracy", r.get("value"))) for r in rows_of_check
        ],
        "found": groups,
        "asked": json.loads(asked)["asked"],
        "predicted": predicted,
    }

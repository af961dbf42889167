"""Real runs of the commands on small data, and what each of them writes and prints.

No weight of these models was trained, so they are the same on every machine. ``RUNS`` names all
runs. Each is called in the folder that ``make`` filled, and returns its recording.
"""

import csv
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from data_made_up import KINDS, write_samples
from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.extraction import TextPreprocessing, Texts
from tests.cases import CLASSES, ntkit, read_csv, write_csv, write_images
from tests.jobs.audit.test_several_labels import NAMES, drawn, written
from tests.jobs.audit.test_several_labels import write_model as write_model_of_labels
from tests.jobs.label.models import rows, write_model

MARK = "image:top left brightness above the median"
N_IMAGES, N_ARRAYS = 220, 450
COLUMNS = "abcdef"
ENDED = (0, 1, 3)  # exit codes of all that is not an error
LARGEST = 64  # of more weights, projections are recorded
LIMITS = """
max_drop = 3
min_precision = { 1 = 70 }
[groups]
max_recall_drop = { 1 = 8 }
[slices]
"metadata:site" = { accuracy = 60 }
"metadata:site=north" = { max_drop = 20 }
"""
RUNS = {}


# -- data -----------------------------------------------------------------------------------------


def make(folder):
    """Models, images, texts, tables and arrays."""
    make_images(folder)
    make_texts(folder)
    make_tables(folder)
    make_labels(folder)
    return folder


def make_images(folder):
    """The digits of the demo as image folders and as arrays, and complaints about its model."""
    digits, model = load_marked_digits(), folder / "digits.onnx"
    shutil.copy(marked_digits_model_path(), model)
    frozen = FrozenModel.load(model)
    frozen.with_head(frozen.head.scaled(np.arange(64) % 2)).save(folder / "digits-new.onnx")
    for part in ("train", "validation", "test"):
        X, y, groups = (digits[f"{name}_{part}"] for name in ("X", "y", "groups"))
        some = slice(N_IMAGES)
        write_images(folder / "images" / part, X[some], y[some], groups=groups[some])
        np.savez(
            folder / f"{part}.npz",
            **{n: a[:N_ARRAYS] for n, a in (("X", X), ("y", y), ("groups", groups))},
        )
    of_both = np.concatenate([digits[f"groups_{p}"][:N_ARRAYS] for p in ("train", "validation")])
    columns = {"group": [f"group {g}" if i % 3 == 0 else "" for i, g in enumerate(of_both)]}
    write_csv(folder / "groups.csv", columns)
    pred = frozen.head.predict(OnnxEmbedder(frozen, device="cpu").transform(digits.X_test))
    wrong = np.flatnonzero(pred != digits.y_test)[:40]
    np.savez(folder / "complaints.npz", X=digits.X_test[wrong], y=digits.y_test[wrong])
    np.savez(folder / "traffic.npz", X=digits.X_train[:800])


def make_texts(folder):
    """Reviews, and a network of random features that relies on film and movie."""
    kind, rng, path = KINDS["texts"], np.random.default_rng(0), folder / "texts" / "model.onnx"
    path.parent.mkdir()
    parts = {"train": 400, "validation": 300, "test": 200}
    sets = {p: kind.draw(p, n, [0.5 if p == "test" else 0.9], rng) for p, n in parts.items()}
    for part, samples in sets.items():
        write_samples(samples, folder / "texts" / f"{part}.csv")
    train = sets["train"]
    with warnings.catch_warnings(action="ignore"):  # its weights are replaced
        kind.train(train.X[:50], train.y[:50], 0, path)
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name.startswith(("coefficient", "intercept")):
            shape = tuple(tensor.dims)
            values = rng.normal(size=shape).round(3).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, path)
    frozen = FrozenModel.load(path)
    texts = Texts(train.X.tolist(), TextPreprocessing.for_model(frozen))
    Z = OnnxEmbedder(frozen, device="cpu").transform(texts).astype(float)
    target = np.where(train.y == kind.classes[1], 1.0, -1.0)
    centred = Z - Z.mean(axis=0)
    ridge = centred.T @ centred + 10 * np.eye(Z.shape[1])
    coef = (4 * np.linalg.solve(ridge, centred.T @ target)).round(3)
    head = LinearHead(coef[None], [-(coef @ Z.mean(axis=0)).round(3)], frozen.head.classes)
    frozen.with_head(head).save(path, force=True)


def make_tables(folder):
    """Rows of numbers with a mark in column b, and what is known of them in other tables."""
    folder = folder / "table"
    folder.mkdir()
    model = write_model(folder / "model.onnx")
    frozen = FrozenModel.load(model)
    frozen.with_head(frozen.head.scaled(np.array([2, 0.4, 0, 1, 1, 1]))).save(folder / "new.onnx")
    marks = {}
    for seed, (part, n) in enumerate({"train": 300, "validation": 240, "test": 200}.items()):
        X, y, mark = rows(seed, n, share=0.5 if part == "test" else 0.85)
        names = [f"{part}-{i}" for i in range(n)]
        site = np.array(["north", "south", "west"])[np.random.default_rng(seed).integers(0, 3, n)]
        group = [f"{a} {b}" for a, b in zip(y, mark, strict=True)]
        columns = dict(zip(COLUMNS, X.T, strict=True))
        more = {"label": y, "group": group} if part == "test" else {"label": y}
        write_csv(folder / f"{part}.csv", {"id": names, **columns, **more})
        marks |= dict(
            zip(names, zip(np.array(["no", "yes"])[mark], site, strict=True), strict=True)
        )
        right = np.random.default_rng(seed).random((2, n)) < [[0.9], [0.8]]
        for which, each in zip(("new", "old"), right, strict=True):
            pred = {"id": names[::-1], "prediction": np.where(each, y, 1 - y)[::-1]}
            write_csv(folder / f"{part}-{which}.csv", pred)
    facts = {"id": [*marks], "mark": [m for m, _ in marks.values()],
             "site": [s for _, s in marks.values()]}  # fmt: skip
    write_csv(folder / "facts.csv", facts)
    write_csv(
        folder / "marks.csv", {name: values for name, values in facts.items() if name != "site"}
    )


def make_labels(folder):
    """Rows with five labels each, one of which the last column predicts."""
    folder = folder / "labels"
    folder.mkdir()
    write_model_of_labels(folder / "model.onnx")
    model = FrozenModel.load(folder / "model.onnx").of_label(NAMES[0])
    without_cue = model.head.scaled(np.array([1, 1, 1, 1, 1, 0]))
    model.with_head(without_cue).whole.save(folder / "new.onnx")
    for seed, part in enumerate(("train", "validation", "test")):
        X, Y, cue = drawn(seed, 300)
        written(folder / f"{part}.csv", X, Y, device=np.array(["old", "new"])[cue])


# -- what a run leaves ----------------------------------------------------------------------------


def ran(*arguments):
    """The command, its exit code, and the lines that it printed."""
    options = [] if "--predictions" in arguments else [*CPU]
    options = [] if arguments[0] == "check" else [*options, "--quiet"]
    code, out, err = ntkit(*arguments, *options)
    assert code in ENDED, err
    kind = {"json": json.loads(out)} if "--json" in arguments else {"printed": out.splitlines()}
    said = {"command": " ".join(map(str, arguments)), "exit code": code, **kind}
    return {**said, "said": err.splitlines()} if err else said


CPU = ("--device", "cpu")
CPU_ONLY = {"device": "cpu"}


def read(path):
    """A JSON file."""
    return json.loads(Path(path).read_text("utf-8"))


def weights(path):
    """The head of a written model, and what ntkit notes in its metadata."""
    model = FrozenModel.load(path)
    notes = {k: json.loads(v) if v[:1] in ("[", "{") else v for k, v in model.metadata.items()}
    arrays = {"coef": model.head.coef, "intercept": model.head.intercept}
    return {
        "classes": [str(name) for name in model.head.classes],
        **{name: values_of(np.asarray(array, float)) for name, array in arrays.items()},
        "metadata": {k: v for k, v in notes.items() if k.startswith("ntkit")},
    }


def values_of(array):
    """All values of a small array; of a large one its norm and sixteen random projections."""
    if array.size <= LARGEST:
        return {"shape": [*array.shape], "values": array.ravel().tolist()}
    directions = np.random.default_rng(0).normal(size=(16, array.size))
    found = {
        "norm": float(np.linalg.norm(array)),
        "projections": (directions @ array.ravel()).tolist(),
    }
    return {"shape": [*array.shape], **found}


def thinned(record):
    """A record with three of the eleven interpolations, for the size of the recordings."""
    costs = {"accuracy_costs": record["accuracy_costs"][::5]} if "accuracy_costs" in record else {}
    return record | costs


def debiased(out, *arguments):
    """A run of debias, and the files that it wrote."""
    found = {"run": ran("debias", *arguments, "-o", out)}
    for name in ("result.json", "audit.json", "answers.json"):
        if (Path(out) / name).exists():
            found[name] = thinned(read(Path(out) / name))
    if (Path(out) / "debiased.onnx").exists():
        found["debiased.onnx"] = weights(Path(out) / "debiased.onnx")
    return found


def audited(out, *arguments):
    """A run of audit, and the files that it wrote."""
    found = {"run": ran("audit", *arguments, "-o", out)}
    return found | {
        p.relative_to(out).as_posix(): read(p) for p in sorted(Path(out).rglob("audit.json"))
    }


def run(function):
    """Name a run after its function."""
    RUNS[function.__name__] = function
    return function


# -- debias ---------------------------------------------------------------------------------------


def sets_of(folder, ending=""):
    return [word for part in ("train", "validation", "test")
            for word in (f"--{part}", f"{folder}{part}{ending}")]  # fmt: skip


OF_CLASSES = ("--classes", ",".join(CLASSES))
OF_TABLE = ("--columns", ",".join(COLUMNS))
OF_LABELS = ("--columns", ",".join(f"x{i}" for i in range(6)))


@run
def debias_images():
    job = ("digits.onnx", *sets_of("images/"), *OF_CLASSES)
    return debiased("debias_images", *job, "--spurious", MARK, "--verbose")


@run
def debias_texts():
    job = ("texts/model.onnx", *sets_of("texts/", ".csv"))
    return debiased("debias_texts", *job, "--spurious", "word:film|word:movie", "--verbose")


@run
def debias_word():
    job = ("texts/model.onnx", *sets_of("texts/", ".csv")[:4])
    return debiased("debias_word", *job, "--spurious", "word:film")


@run
def debias_table():
    job = ("table/model.onnx", *sets_of("table/", ".csv"), *OF_TABLE)
    return debiased("debias_table", *job, "--spurious", "column:b>=3", "--verbose")


@run
def debias_groups():
    job = ("digits.onnx", *sets_of("", ".npz"), "--groups", "groups.csv")
    return debiased("debias_groups", *job, "--verbose")


@run
def debias_label():
    job = ("labels/model.onnx", *sets_of("labels/", ".csv"), "--label", NAMES[0], *OF_LABELS)
    return debiased("debias_label", *job, "--spurious", "column:device=new")


@run
def debias_change():
    job = ("digits.onnx", *sets_of("images/")[:4], *OF_CLASSES)
    return debiased("debias_change", *job, "--invariant", "image:top left", "--verbose")


@run
def debias_complaints():
    return debiased("debias_complaints", "digits.onnx", "complaints.npz", "--keep", "traffic.npz")


@run
def debias_one_set():
    job = ("table/model.onnx", "table/train.csv", *OF_TABLE)
    facts = ("--metadata", "table/facts.csv", "--spurious", "metadata:mark=yes")
    return debiased("debias_one_set", *job, *facts)


@run
def debias_one_set_change():
    job = ("digits.onnx", "images/validation", *OF_CLASSES)
    return debiased("debias_one_set_change", *job, "--invariant", "image:top left")


@run
def debias_new_head():
    """A last layer for classes that the model does not have."""
    for part in ("train", "validation", "test"):
        with np.load(f"{part}.npz") as arrays:
            y = np.array(["low", "high"])[arrays["y"]]
            np.savez(f"named-{part}.npz", X=arrays["X"], y=y)
    job = ("digits.onnx", *sets_of("named-", ".npz"), "--new-head")
    return debiased("debias_new_head", *job, "--spurious", MARK)


@run
def debias_answers():
    """Without an answer, and then with one."""
    out = Path("debias_answers")
    job = ("table/model.onnx", *sets_of("table/", ".csv"), *OF_TABLE)
    opened = debiased(out, *job)
    name = opened["audit.json"]["findings"][0]["name"]
    answer = {"name": name, "values": [[name]], "answer": "spurious"}
    content = {"ntkit": "answers", "version": 1, "answers": [answer]}
    Path("answers.json").write_text(json.dumps(content), "utf-8")
    found = {"run": ran("debias", "--from", out, "--answers", "answers.json")}
    found |= {"result.json": thinned(read(out / "result.json"))}
    return {"open": opened, "answered": found | {"debiased.onnx": weights(out / "debiased.onnx")}}


# -- label ----------------------------------------------------------------------------------------


def asked(out, number):
    """The names in a table of questions."""
    return [row["id"] for row in read_csv(out / f"questions-{number}.csv")]


def answer(out, number):
    """Answer a table of questions as marks.csv does."""
    known = {row["id"]: row["mark"] for row in read_csv(Path("table/marks.csv"))}
    with (out / f"labels {number}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "mark"], *((n, known[n]) for n in asked(out, number))])


@run
def label():
    """Ask, answer, ask again; then check a table of answers."""
    job = ("label", "table/model.onnx", "table/train.csv", *OF_TABLE)
    out, found = Path("label"), {}
    for number in (1, 2):
        found[f"run {number}"] = ran(*job, "-o", out, "--question", "mark", "--json")
        found[f"asked {number}"] = asked(out, number)
        answer(out, number)
    found["run 3"] = ran(*job, "-o", out)
    out = Path("label-check")
    found["check 1"] = ran(*job, "-o", out, "--check", "table/marks.csv")
    found["asked to check"] = asked(out, 1)
    answer(out, 1)
    return found | {"check 2": ran(*job, "-o", out, "--check", "table/marks.csv")}


# -- check ----------------------------------------------------------------------------------------


def checked(*arguments, **reading):
    """A check as text and as JSON, that reads the samples as the settings say."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in reading.items()]
    Path("check.toml").write_text("\n".join([*lines, "[check]", "quiet = true"]), "utf-8")
    arguments = (*arguments, "--settings", "check.toml")
    return {"run": ran("check", *arguments), "result": ran("check", *arguments, "--json")["json"]}


@run
def check_images():
    limits = ("--max-drop", 5, "--worst-group", 40, "--max-new-errors", 8, "--average", 80)
    slices = ("--slice", MARK, "--slice", "image:bottom right brightness high")
    changes = ("--invariant", "image:top left", "--invariant", "image:grey", "--max-flip-rate", 20)
    models = ("digits.onnx", "digits-new.onnx", "images/test")
    return checked(*models, *limits, *slices, *changes, classes=CLASSES, **CPU_ONLY)


@run
def check_table():
    limits = ("--max-drop", 10, "--min-recall", "1=60", "--max-false-positive-rate", 40)
    facts = ("--metadata", "table/facts.csv", "--slice", "metadata:site", "--slice", "column:b>=3")
    changes = ("--invariant", "column:b", "--worst-group", 40)
    models = ("table/model.onnx", "table/new.onnx", "table/test.csv")
    return checked(*models, *limits, *facts, *changes, columns=[*COLUMNS], **CPU_ONLY)


@run
def check_predictions():
    tables = ("--predictions", "table/test-new.csv", "--before", "table/test-old.csv")
    Path("limits.toml").write_text(LIMITS, "utf-8")
    limits = ("--limits", "limits.toml", "--worst-class", 60, "--metadata", "table/facts.csv")
    return checked(*tables, "table/test.csv", *limits)


@run
def check_labels():
    models = ("labels/model.onnx", "labels/new.onnx", "labels/test.csv")
    limits = ("--max-drop", 5, "--worst-class", 50, "--slice", "column:device")
    return checked(*models, *limits, columns=OF_LABELS[1], **CPU_ONLY)


# -- audit ----------------------------------------------------------------------------------------


@run
def audit_images():
    return audited("audit_images", "digits.onnx", "images/validation", *OF_CLASSES)


@run
def audit_texts():
    return audited("audit_texts", "texts/model.onnx", "texts/validation.csv")


@run
def audit_table():
    job = ("table/model.onnx", "table/validation.csv", *OF_TABLE)
    return audited(
        "audit_table", *job, "--metadata", "table/facts.csv", "--unlabelled", "table/test.csv"
    )


@run
def audit_labels():
    return audited("audit_labels", "labels/model.onnx", "labels/validation.csv", *OF_LABELS)

"""The program on a model card runs as it is printed, predicts what ntkit does, and is clean."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import ntkit
from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.extraction import ImagePreprocessing, TextPreprocessing, Texts, read_samples
from ntkit.model import TensorInfo
from ntkit.pages._offline import rendered
from ntkit.pages._usage import _all_rows, _one_at_a_time
from tests.cases import printed_by, write_csv, write_images
from tests.texts import WORDS, text_model, word_pieces

ORDER = {
    "method": "class-balanced",
    "even_if_worse": True,
    "n_random": 1,
    "device": "cpu",
    "trust_inputs": True,
}  # random weights: some classes are never predicted


def printed(out, *arguments):
    """What the card's program prints, run in the folder of the card."""
    program = re.search(r"```python\n(.*?)```", (out / "README.md").read_text("utf-8"), re.DOTALL)
    (out / "card.py").write_text(program[1], encoding="utf-8")
    return printed_by(out / "card.py", *arguments, folder=out)


def predictions(out, X):
    model = FrozenModel.load(out / "debiased.onnx")
    found = model.head.predict(OnnxEmbedder(model, device="cpu").transform(X))
    return list(map(str, found.tolist()))


def repaired(model, X, y, out, **options):
    """Repair a model on the two halves of some samples."""
    half = len(y) // 2
    if isinstance(X, dict):
        parts = [{k: v[rows] for k, v in X.items()} for rows in (slice(half), slice(half, None))]
    else:
        parts = [X[:half], X[half:]]
    debias(model, (parts[0], y[:half]), (parts[1], y[half:]), out=out, **(options or ORDER))
    return (out / "README.md").read_text("utf-8")


def test_images(user, tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "validation"):
        with np.load(user / f"{part}.npz") as arrays:
            folder = write_images(tmp_path / part, arrays["X"][:60], arrays["y"])
        for i, path in enumerate(sorted(folder.rglob("*.png"))):
            image = Image.open(path).resize((40 + i % 5, 30))
            path.unlink()
            image.save(path.with_suffix(".png" if i % 2 else ".bmp"))
    model = FrozenModel.load(user / "model.onnx", classes=["small", "large"])
    steps = ImagePreprocessing(
        resize=24, crop=(20, 20), mean=(0.2,), std=(0.7,), channels=1, resample=3
    )
    out, validation = tmp_path / "out", tmp_path / "validation"
    (validation / "zlarge").rename(validation / "large")
    (tmp_path / "train" / "zlarge").rename(tmp_path / "train" / "large")
    debias(model, tmp_path / "train", validation, out=out, preprocessing=steps, **ORDER)
    samples = read_samples(validation, preprocessing=steps)
    files = [validation / name for name in samples.ids.tolist()]
    rotated = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = rng.integers(0, 256, (50, 31, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(rotated, exif=exif)
    samples.X.paths.append(rotated)
    for i, file in enumerate(files[:20]):  # dark for 16 bits, and white if they are clipped to 8
        pixels = np.asarray(Image.open(file), np.uint16) * 256 + i
        samples.X.paths.append(tmp_path / f"deep-{i}.png")
        Image.fromarray(pixels).save(samples.X.paths[-1])
    files, wanted = samples.X.paths, predictions(out, samples.X)
    assert printed(out, *files) == [f"{a} {b}" for a, b in zip(files, wanted, strict=True)]
    assert wanted[-20:] == wanted[:20]
    card = (out / "README.md").read_text("utf-8")
    assert "classes: 0 = 'small', 1 = 'large'" in card
    assert "resize 24, crop (20, 20)" in card


@pytest.mark.parametrize("tail", ["logits", "probabilities", "sigmoid", "label", "fixed"])
def test_arrays(zoo, tmp_path, tail):
    n_logits = 1 if tail == "sigmoid" else 3
    graph = zoo.classifier(n_logits, output=False)
    batch = 4 if tail == "fixed" else "batch"
    if tail in ("sigmoid", "probabilities"):
        graph.add("Sigmoid" if tail == "sigmoid" else "Softmax", ["logits"], "p")
        graph.output("p", ["batch", n_logits])
    elif tail == "label":
        graph.add("ArgMax", ["logits"], "label", axis=1, keepdims=0)
        graph.output("label", ["batch"], TensorProto.INT64)
    else:
        graph.output("logits", [batch, 3])
    classes = ["ant", "bee", "cow"][: max(2, n_logits)]
    path = zoo.save(graph.model(batch=batch), tmp_path / "m.onnx")
    X, out = zoo.inputs(120), tmp_path / "out"
    repaired(path, X, np.asarray(classes)[X[:, : len(classes)].argmax(axis=1)], out)
    np.save(tmp_path / "x.npy", X)
    assert printed(out, tmp_path / "x.npy") == predictions(out, X)


def test_several_inputs(tmp_path):
    """A model of two arrays."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "w"], ["logits"], transB=1),
    ]
    a, b, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("a", 3), ("b", 3), ("logits", 2))
    )
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 6], rng.normal(size=12))
    graph = helper.make_graph(nodes, "two", [a, b], [logits], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    X = {name: rng.normal(size=(80, 3)).astype(np.float32) for name in ("a", "b")}
    out = tmp_path / "out"
    repaired(tmp_path / "m.onnx", X, (X["a"][:, 0] > X["b"][:, 1]).astype(int), out)
    np.savez(tmp_path / "x.npz", **X)
    assert printed(out, tmp_path / "x.npz") == predictions(out, X)


def test_tables_of_numbers(zoo, tmp_path):
    path = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    X, out = zoo.inputs(120), tmp_path / "out"
    names = ["age", "größe", "a b", 'q"', "e", "f"]
    for part, rows in (("train", slice(60)), ("validation", slice(60, 120))):
        columns = dict(zip(names, X[rows].T.tolist(), strict=True))
        write_csv(tmp_path / f"{part}.csv", columns | {"label": X[rows, :3].argmax(axis=1)})
    debias(path, tmp_path / "train.csv", tmp_path / "validation.csv", out=out, **ORDER)
    samples = read_samples(tmp_path / "validation.csv")
    assert printed(out, tmp_path / "validation.csv") == predictions(out, samples.X)
    assert "'age', 'größe', 'a b'" in (out / "README.md").read_text("utf-8")


def test_texts(tmp_path):
    """A backbone of texts, pooled, with a head of its own for the labels at hand."""
    model = text_model(tmp_path / "source")
    word_pieces().save(str(tmp_path / "source" / "tokenizer.json"))
    settings = {"model_max_length": 6, "truncation_side": "left", "padding_side": "left"}
    (tmp_path / "source" / "tokenizer_config.json").write_text(json.dumps(settings))
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[:9], rng.integers(1, 9))) for _ in range(160)]
    y = np.asarray(["yes" if "fox" in text else "no" for text in texts])
    steps = TextPreprocessing.for_model(model)
    halves = [(Texts(texts[i::2], steps), y[i::2]) for i in (0, 1)]
    out = tmp_path / "out"
    debias(model, *halves, out=out, new_head=True, device="cpu")
    assert printed(out, *texts[:60]) == predictions(out, Texts(texts[:60], steps))
    beside = TextPreprocessing.for_model(FrozenModel.load(out / "debiased.onnx"))
    assert beside.as_dict() == steps.as_dict()
    card = (out / "README.md").read_text("utf-8")
    assert "at most 6 tokens, truncated on the left" in card
    assert steps.as_dict()["tokenizer_sha256"] in card


def test_a_card_tells_the_truth_about_a_new_head(zoo, tmp_path):
    path = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    X = zoo.inputs(120)
    for name, classes, new in (("new", ["x", "y"], True), ("old", [0, 1, 2], False)):
        y = np.asarray(classes)[X[:, : len(classes)].argmax(axis=1)]
        options = {"new_head": True, "device": "cpu"} if new else {}
        card = repaired(path, X, y, tmp_path / name, **options)
        assert ("inputs, outputs and their names are those of the original" in card) != new
        assert ("has 3 other classes, and this model has 2 classes" in card) == new
        assert ("“Before” is an ERM head" in card) == new
        assert ("classes: 0 = 'x', 1 = 'y'" in card) == new
        assert printed(tmp_path / name) == []  # as it is printed, with nothing to do


# -- the templates --------------------------------------------------------------------------------


def test_every_page_has_the_content_policy_and_escapes_all_that_it_shows():
    pages = [page.read_text(encoding="utf-8") for page in PACKAGE.rglob("*.html.jinja")]
    assert len(pages) >= 3
    for page in pages:
        assert '<meta http-equiv="Content-Security-Policy" content="{{ policy }}">' in page
        assert not re.search(r"\bsafe\b|autoescape", page)
    sources = [file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")]
    assert sum(source.count("Environment(") for source in sources) == 1


def test_programs_for_images_know_every_step():
    (file,) = PACKAGE.rglob("predict_images.py.jinja")
    known = {*re.findall(r"steps\.(\w+)", file.read_text(encoding="utf-8")), "source"}
    assert {field.name for field in fields(ImagePreprocessing)} <= known


PACKAGE = Path(ntkit.__file__).parent
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
NOT_FOR_PROGRAMS = "T20,D,ANN"  # they print, and are too short for docstrings and annotations
TEXTS = {
    "ids": "input_ids", "mask": "attention_mask", "types": "token_type_ids",
    "positions": "position_ids", "dtype": "int64", "max_length": 128, "truncation": "right",
    "padding": "left", "fixed_length": 128, "unpadded": False,
}  # fmt: skip
BARE = TEXTS | {"types": None, "positions": None, "unpadded": True}
PAD = {"pad": (0, "[PAD]")}
MEAN = (0.48145466, 0.4578275, 0.40821073)
KINDS = {
    "images": {"steps": ImagePreprocessing(224, (224, 200), channel_order="BGR")},
    "images of one size": {"steps": ImagePreprocessing((299, 299), layout="NHWC", mean=MEAN)},
    "images in grey": {
        "steps": ImagePreprocessing(32, (28, 28), channels=1, mean=(0.2,), std=(0.7,))
    },
    "texts": {"steps": SimpleNamespace(**TEXTS), "paired": False, **PAD},
    "texts in pairs": {"steps": SimpleNamespace(**BARE), "paired": True, **PAD},
    "strings": {},
    "table": {"columns": [f"a column of the table, number {i}" for i in range(8)]},
    "arrays": {},
    "arrays of two inputs": {"kinds": {"first": "float32", "second": "int64"}},
}


def test_programs_pass_the_linter(tmp_path):
    pytest.importorskip("ruff")
    for i, (kind, values) in enumerate(KINDS.items()):
        for j, (batch, place) in enumerate((b, p) for b in ("N", 4) for p in ("", "HERE")):
            info = TensorInfo("input", "float32", (batch, 6))
            program = rendered(
                f"predict_{kind.split()[0]}.py.jinja",
                **{
                    "place": place,
                    "path_of": lambda name, p=place: f'str({p} / "{name}")' if p else f'"{name}"',
                    "file": "debiased.onnx",
                    "output": "logits",
                    "decide": [
                        "scores = outputs.reshape(len(outputs), -1)",
                        "return [classes[i] for i in scores.argmax(axis=1)]",
                    ],
                    "info": info,
                    "dtype": "float32",
                    "kinds": {"input": "float32"},
                    "one": partial(_one_at_a_time, info),
                    "all_rows": partial(_all_rows, info),
                    **values,
                },
            )
            (tmp_path / f"predict_{i}{j}.py").write_text(program.rstrip() + "\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", PROJECT, "--no-cache", "--quiet",
         "--extend-ignore", NOT_FOR_PROGRAMS, tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"

"""The program on a model card runs as it is printed, and predicts what ntkit does."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import ImagePreprocessing, TextPreprocessing, Texts, read_samples
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
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program[1], *map(str, arguments)],
        cwd=out,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def predictions(out, X):
    model = FrozenModel.load(out / "debiased.onnx")
    found = model.head.predict(OnnxEmbedder(model, device="cpu").transform(X))
    return list(map(str, found.tolist()))


def test_images(tmp_path, digits):
    rng = np.random.default_rng(0)
    for part in ("train", "validation"):
        for i in range(60):
            label = digits[f"y_{part}"][i]
            image = Image.fromarray((digits[f"X_{part}"][i, 0] * 255).astype(np.uint8))
            image = image.resize((40 + i % 5, 30))
            path = tmp_path / part / ["small", "large"][label] / f"{i}.{'png' if i % 2 else 'bmp'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    model = FrozenModel.load(marked_digits_model_path(), classes=["small", "large"])
    steps = ImagePreprocessing(
        resize=24, crop=(20, 20), mean=(0.2,), std=(0.7,), channels=1, resample=3
    )
    out = tmp_path / "out"
    sets = (tmp_path / "train", tmp_path / "validation")
    debias(model, *sets, out=out, preprocessing=steps, **ORDER)
    samples = read_samples(tmp_path / "validation", preprocessing=steps)
    files = [tmp_path / "validation" / name for name in samples.ids.tolist()]
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
    files = samples.X.paths
    found = printed(out, *files)
    wanted = predictions(out, samples.X)
    assert found == [f"{a} {b}" for a, b in zip(files, wanted, strict=True)]
    assert wanted[-20:] == wanted[:20]
    card = (out / "README.md").read_text("utf-8")
    assert "classes: 0 = 'small', 1 = 'large'" in card
    assert "resize 24, crop (20, 20)" in card


@pytest.mark.parametrize("tail", ["logits", "probabilities", "sigmoid", "label", "fixed"])
def test_arrays(zoo, tmp_path, tail):
    n_logits = 1 if tail == "sigmoid" else 3
    graph = zoo.classifier(n_logits, output=False)
    batch = 4 if tail == "fixed" else "batch"
    if tail == "sigmoid":
        graph.add("Sigmoid", ["logits"], "p")
        graph.output("p", ["batch", 1])
    elif tail == "probabilities":
        graph.add("Softmax", ["logits"], "p")
        graph.output("p", ["batch", 3])
    elif tail == "label":
        graph.add("ArgMax", ["logits"], "label", axis=1, keepdims=0)
        graph.output("label", ["batch"], TensorProto.INT64)
    else:
        graph.output("logits", [batch, 3])
    classes = ["ant", "bee", "cow"][: max(2, n_logits)]
    path = zoo.save(graph.model(batch=batch), tmp_path / "m.onnx")
    X = zoo.inputs(120)
    y = np.asarray(classes)[X[:, : len(classes)].argmax(axis=1)]
    out = tmp_path / "out"
    debias(path, (X[:60], y[:60]), (X[60:], y[60:]), out=out, **ORDER)
    np.save(tmp_path / "x.npy", X)
    assert printed(out, tmp_path / "x.npy") == predictions(out, X)


def test_several_inputs(tmp_path):
    """A model of two arrays."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "w"], ["logits"], transB=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("a", "b")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 6], rng.normal(size=12))
    graph = helper.make_graph(nodes, "two", inputs, outputs, [weight])
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    X = {name: rng.normal(size=(80, 3)).astype(np.float32) for name in ("a", "b")}
    y = (X["a"][:, 0] > X["b"][:, 1]).astype(int)
    halves = [({k: v[rows] for k, v in X.items()}, y[rows]) for rows in (slice(40), slice(40, 80))]
    out = tmp_path / "out"
    debias(path, *halves, out=out, **ORDER)
    np.savez(tmp_path / "x.npz", **X)
    assert printed(out, tmp_path / "x.npz") == predictions(out, X)


def test_tables_of_numbers(zoo, tmp_path):
    path = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    X = zoo.inputs(120)
    y = X[:, :3].argmax(axis=1)
    columns = ["age", "größe", "a b", 'q"', "e", "f"]
    for name, rows in (("train", slice(60)), ("validation", slice(60, 120))):
        header = ",".join(['"q"""' if c == 'q"' else c for c in columns] + ["label"])
        lines = [
            ",".join([*map(str, row), str(label)])
            for row, label in zip(X[rows].tolist(), y[rows], strict=True)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    out = tmp_path / "out"
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
    assert "at most 6 tokens, cut off on the left" in card
    assert steps.as_dict()["tokenizer_sha256"] in card


def test_a_card_tells_the_truth_about_a_new_head(zoo, tmp_path):
    path = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    X = zoo.inputs(120)
    for name, classes, new in (("new", ["x", "y"], True), ("old", [0, 1, 2], False)):
        y = np.asarray(classes)[X[:, : len(classes)].argmax(axis=1)]
        halves = (X[:60], y[:60]), (X[60:], y[60:])
        ordered = {"new_head": True, "device": "cpu"} if new else ORDER
        debias(path, *halves, out=tmp_path / name, **ordered)
        card = (tmp_path / name / "README.md").read_text("utf-8")
        assert ("inputs, outputs and their names are those of the original" in card) != new
        assert ("has 3 other classes, and this model has 2 classes" in card) == new
        assert ("“Before” is an ERM head" in card) == new
        assert ("classes: 0 = 'x', 1 = 'y'" in card) == new
        assert printed(tmp_path / name) == []  # as it is printed, with nothing to do

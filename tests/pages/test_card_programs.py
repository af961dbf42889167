"""The program on a model card runs as it is printed, predicts what ntkit does, and is clean."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import ntkit
from ntkit import DebiasSettings, FrozenModel, OnnxEmbedder, debias
from ntkit.extraction import ImagePreprocessing, TextPreprocessing, Texts
from tests.cases import printed_by
from tests.models import parsed
from tests.texts import WORDS, text_model, word_pieces

PACKAGE = Path(ntkit.__file__).parent
ORDER = {
    "method": "class-balanced",
    "settings": DebiasSettings(otherwise="new head", trust_inputs=True),
    "device": "cpu",
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


@pytest.mark.more
@pytest.mark.parametrize("tail", ["sigmoid", "label", "fixed"])
def test_arrays(zoo, tmp_path, tail):
    n_logits = 1 if tail == "sigmoid" else 3
    graph = zoo.classifier(n_logits, output=False)
    batch = 4 if tail == "fixed" else "batch"
    if tail == "label":
        graph.add("ArgMax", ["logits"], "label", axis=1, keepdims=0)
        graph.output("label", ["batch"], TensorProto.INT64)
    else:
        graph.add("Sigmoid" if tail == "sigmoid" else "Softmax", ["logits"], "p")
        graph.output("p", [batch, n_logits])
    classes = ["ant", "bee", "cow"][: max(2, n_logits)]
    path = zoo.save(graph.model(batch=batch), tmp_path / "m.onnx")
    X, out = zoo.inputs(120), tmp_path / "out"
    card = repaired(path, X, np.asarray(classes)[X[:, : len(classes)].argmax(axis=1)], out)
    assert "inputs, outputs and their names are those of the original" in card
    assert "is an ERM head" not in card
    np.save(tmp_path / "x.npy", X)
    assert printed(out, tmp_path / "x.npy") == predictions(out, X)


def test_several_inputs(tmp_path):
    """A model of two arrays."""
    rng = np.random.default_rng(0)
    model = parsed(
        "(float[N, 3] a, float[N, 3] b) => (float[N, 2] logits)"
        "{ both = Concat <axis = 1> (a, b) logits = Gemm(both, w) }",
        w=rng.normal(size=(6, 2)),
    )
    onnx.save(model, tmp_path / "m.onnx")
    X = {name: rng.normal(size=(80, 3)).astype(np.float32) for name in ("a", "b")}
    out = tmp_path / "out"
    repaired(tmp_path / "m.onnx", X, (X["a"][:, 0] > X["b"][:, 1]).astype(int), out)
    np.savez(tmp_path / "x.npz", **X)
    assert printed(out, tmp_path / "x.npz") == predictions(out, X)


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
    debias(model, *halves, out=out, settings=DebiasSettings(new_head=True), device="cpu")
    assert printed(out, *texts[:60]) == predictions(out, Texts(texts[:60], steps))
    beside = TextPreprocessing.for_model(FrozenModel.load(out / "debiased.onnx"))
    assert beside.as_dict() == steps.as_dict()
    card = (out / "README.md").read_text("utf-8")
    assert "at most 6 tokens, truncated on the left" in card
    assert steps.as_dict()["tokenizer_sha256"] in card


def test_a_card_tells_the_truth_about_a_new_head(zoo, tmp_path):
    path = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    X, out = zoo.inputs(120), tmp_path / "out"
    y = np.asarray(["x", "y"])[X[:, :2].argmax(axis=1)]
    settings = DebiasSettings(new_head=True)
    card = repaired(path, X, y, out, settings=settings, device="cpu")
    assert "inputs, outputs and their names are those of the original" not in card
    for words in ("has 3 other classes, and this model has 2 classes", "“Before” is an ERM head",
                  "classes: 0 = 'x', 1 = 'y'"):  # fmt: skip
        assert words in card
    assert printed(out) == []  # as it is printed, with nothing to do


# -- the templates --------------------------------------------------------------------------------


def test_every_page_has_the_content_policy_and_escapes_all_that_it_shows():
    pages = [page.read_text(encoding="utf-8") for page in PACKAGE.rglob("*.html.jinja")]
    whole = [page for page in pages if page.startswith("<!doctype html>")]  # the rest are parts
    assert len(whole) >= 3
    for page in pages:
        policy = '<meta http-equiv="Content-Security-Policy" content="{{ policy }}">' in page
        assert policy == (page in whole)
        assert not re.search(r"\bsafe\b|autoescape", page)
    sources = [file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")]
    assert sum(source.count("Environment(") for source in sources) == 1


def test_programs_for_images_know_every_step():
    (file,) = PACKAGE.rglob("predict_images.py.jinja")
    known = {*re.findall(r"steps\.(\w+)", file.read_text(encoding="utf-8")), "source"}
    assert {field.name for field in fields(ImagePreprocessing)} <= known

"""Every command gives a model the same inputs: columns moved, rows shuffled, other batches.

For each kind of input, ntkit writes a model, and ONNX Runtime says what that model answers to
inputs that are made here by hand. Then each command reads the samples in another form, and must
agree on every one of them.
"""

import json
import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer

from data_made_up import KINDS, write_samples
from tests.cases import done, ntkit, printed_by, read_csv, write_csv, write_images
from tests.models import parsed

N_TRAIN, N_TEST, CUT = 300, 150, 5


def job_in(folder):
    """A model's files, the samples in two forms, and the inputs that ONNX Runtime is given."""
    job = SimpleNamespace(folder=folder, options=["--device", "cpu"], names=None)
    job.said_once = []  # to debias: the model that it writes keeps it
    job.model, job.written = folder / "model.onnx", folder / "out" / "debiased.onnx"
    job.train, job.test, job.moved = (folder / name for name in ("train", "test", "moved"))
    return job


def made_up(job, kind, rng, train=None):
    """Tables, one of them again with shuffled rows and its columns the other way round."""
    samples = {
        part: kind.draw(part, n, [0.9], rng) for part, n in (("train", N_TRAIN), ("test", N_TEST))
    }
    with warnings.catch_warnings(action="ignore"):  # a network that has not converged will do
        (train or kind.train)(samples["train"].X, samples["train"].y, 0, job.model)
    for part, each in samples.items():
        setattr(job, part, write_samples(each, job.folder / f"{part}.csv"))
    rows, job.order = read_csv(job.test), rng.permutation(N_TEST)
    columns = {name: [rows[i][name] for i in job.order] for name in [*rows[0]][::-1]}
    job.moved = job.program_data = write_csv(job.folder / "moved.csv", columns)
    job.y = samples["test"].y
    return samples["test"].X


def tables(job, rng):
    X = made_up(job, KINDS["tables"], rng)
    job.feed, job.recorded = {"X": X}, {"rows": np.arange(N_TEST)}


def tokens(job, rng):
    """A network whose mask counts; debias is told another length than its own tokenizer.json."""
    texts = made_up(job, KINDS["texts"], rng)
    proto = onnx.load(job.model)
    (words,) = (each for each in proto.graph.initializer if each.name == "one_hot")
    counted = numpy_helper.to_array(words).copy()
    counted[0] = 1  # what padding would add without the mask
    words.CopyFrom(numpy_helper.from_array(counted, "one_hot"))
    onnx.save(proto, job.model)
    file = job.folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(CUT + 2)
    tokenizer.save(str(file))
    tokenizer.enable_truncation(CUT)
    job.said_once = ["--preprocessing", f"max_length={CUT}"]
    settings = job.folder / "settings.toml"  # whose paths are from its folder
    settings.write_text('[preprocessing]\ntokenizer = "tokenizer.json"', encoding="utf-8")
    job.options += ["--settings", settings]
    encoded = tokenizer.encode_batch(texts.tolist())
    ids = np.asarray([e.ids + [0] * (CUT - len(e.ids)) for e in encoded])
    masks = np.asarray([[1] * len(e.ids) + [0] * (CUT - len(e.ids)) for e in encoded])
    job.feed = {"input_ids": ids, "attention_mask": masks}
    job.recorded = {"texts": texts.astype(str)}


def tfidf(texts, y, seed, path):
    """A pipeline of scikit-learn's that takes strings."""
    words = TfidfVectorizer(token_pattern=r"[a-z]+", lowercase=False)
    net = MLPClassifier((16,), alpha=0.01, max_iter=60, random_state=seed)
    pipeline = make_pipeline(words, net).fit(texts.tolist(), y)
    kinds = [("review", StringTensorType([None, 1]))]
    proto = to_onnx(pipeline, initial_types=kinds, options={"zipmap": False}, target_opset=17)
    path.write_bytes(proto.SerializeToString())


def strings(job, rng):
    texts = made_up(job, KINDS["texts"], rng, tfidf)
    job.feed, job.recorded = {"review": texts[:, None]}, {"texts": texts.astype(str)}


def images(job, rng, user):
    """The user's digits; the moved ones have other names, which sort differently."""
    shutil.copy(user / "model.onnx", job.model)
    for part, rows in (("train", slice(N_TRAIN)), ("test", slice(N_TRAIN, N_TRAIN + N_TEST))):
        with np.load(user / "train.npz") as arrays:
            write_images(job.folder / part, arrays["X"][rows], arrays["y"][rows], "01")
    job.files = sorted(job.test.rglob("*.png"))
    names = [f"{path.parent.name}/{997 * int(path.stem) % 1000:03}.png" for path in job.files]
    for path, name in zip(job.files, names, strict=True):
        (job.moved / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, job.moved / name)
    job.names = {name: i for i, name in enumerate(names)}
    X = np.stack([np.asarray(Image.open(path), np.float32)[None] / 255 for path in job.files])
    job.y = np.asarray([int(path.parent.name) for path in job.files])
    job.feed = {"image": X}
    job.recorded = {"files": np.asarray([path.relative_to(job.test) for path in job.files], str)}


def embeddings(job, rng):
    """A model that is nothing but a head, and arrays of embeddings."""
    W = rng.normal(size=(12, 3)).astype(np.float32)
    text = "(float[N, 12] z) => (float[N, 3] logits) { logits = Gemm(z, W, b) }"
    onnx.save(parsed(text, W=W, b=np.zeros(3)), job.model)
    for part, n in (("train", N_TRAIN), ("test", N_TEST)):
        X = rng.normal(size=(n, 12)).astype(np.float32)
        y = (X @ W + rng.normal(size=(n, 3))).argmax(axis=1)
        setattr(job, part, job.folder / f"{part}.npz")
        np.savez(job.folder / f"{part}.npz", X=X, y=y)
    job.order = rng.permutation(N_TEST)
    job.moved, job.program_data = job.folder / "moved.npz", job.folder / "moved.npy"
    np.savez(job.moved, X=X[job.order], y=y[job.order])
    np.save(job.program_data, X[job.order])
    job.y, job.feed, job.recorded = y, {"z": X}, {"rows": np.arange(N_TEST)}


@pytest.fixture(scope="module", params=[tables, tokens, strings, images, embeddings])
def job(request, tmp_path_factory, user):
    """A repaired model, deployed, and what ONNX Runtime says that it answers."""
    job = job_in(tmp_path_factory.mktemp(request.param.__name__))
    request.param(job, np.random.default_rng(0), *[user] * (request.param is images))
    done(
        "debias", job.model, "--train", job.train, "--validation", job.test,
        "-o", job.folder / "out", "--deploy", job.folder / "service",
        "--method", "class-balanced", "--even-if-worse", *job.options, *job.said_once,
    )  # fmt: skip
    names = np.asarray(json.loads(done("inspect", job.written, "--json")[0])["classes"])
    outputs = onnxruntime.InferenceSession(job.written).run(None, job.feed)
    job.scores = next(out for out in outputs if np.ndim(out) == 2)
    job.answers = names[job.scores.argmax(axis=1)]
    assert len(np.unique(job.answers)) == len(names)  # a constant would agree with anything
    return job


@pytest.mark.more
def test_predict(job, tmp_path):
    for batch_size in (1, 7, 64):
        out = tmp_path / f"{batch_size}.csv"
        done("predict", job.written, job.moved, "-o", out, "--batch-size", batch_size, *job.options)
        rows = read_csv(out)
        order = job.order if job.names is None else [job.names[r["file_name"]] for r in rows]
        assert [row["prediction"] for row in rows] == job.answers[order].astype(str).tolist()


@pytest.mark.more
def test_check_and_audit(job, tmp_path):
    """Both count the samples that are right, and write JSON that every parser reads."""
    right = float((job.answers == job.y).mean())
    page = tmp_path / "report.html"
    code, out, _ = ntkit(
        "check", job.model, job.written, job.moved, "--json", "--max-drop", "100",
        "--batch-size", "7", "--report", page, *job.options,
    )  # fmt: skip
    assert code in (0, 3)
    assert page.exists()
    average = json.loads(out)["rows"][0]
    assert (average["samples"], average["accuracy"]) == (N_TEST, pytest.approx(right))

    def refused(constant):
        raise AssertionError(constant)

    text = (job.folder / "out" / "result.json").read_text()
    result = json.loads(text, parse_constant=refused)
    assert result["verification"]["latency"] is None
    assert average["before"] == pytest.approx(result["candidates"][0]["average"])
    audit = ("audit", job.written, job.moved, "--changes", "0", "-o", tmp_path / "audit")
    _, err = done(*audit, *job.options)
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert found["accuracy"] == pytest.approx(right)
    lines = [line for line in err.splitlines() if line.startswith("Note: ")]
    assert len(lines) == len(set(lines))  # notes are said once


@pytest.mark.more
def test_pairs_are_read_as_the_written_model_says(job):
    """The original, which names no columns, gets the same inputs as what takes its place."""
    outputs = onnxruntime.InferenceSession(job.model).run(None, job.feed)
    scores = next(out for out in outputs if np.ndim(out) == 2)
    same = np.mean(scores.argmax(axis=1) == job.scores.argmax(axis=1))
    for data in (job.test, job.moved):
        out, _ = done("verify", job.model, job.written, data, "--json", *job.options)
        assert json.loads(out)["agreement"] == pytest.approx(same)


def test_recorded_outputs(job, tmp_path):
    kind = "probabilities" if np.allclose(job.scores.sum(axis=1), 1) else "logits"
    np.savez(tmp_path / "recorded.npz", **{kind: job.scores}, **job.recorded)
    data = () if "texts" in job.recorded else ("--data", job.test)
    recorded = (tmp_path / "recorded.npz", *data)
    found = json.loads(done("parity", job.written, *recorded, "--json", *job.options)[0])
    assert found["matched"], found


def test_the_deployed_program(job):
    program = job.folder / "service" / "predict.py"
    answers = job.answers.astype(str).tolist()
    if job.names is not None:
        lines = [f"{file} {answer}" for file, answer in zip(job.files, answers, strict=True)]
        assert printed_by(program, *job.files) == lines
    elif "texts" in job.recorded:
        assert printed_by(program, *job.recorded["texts"].tolist()) == answers
    else:
        moved = [answers[i] for i in job.order]
        assert printed_by(program, job.program_data) == moved

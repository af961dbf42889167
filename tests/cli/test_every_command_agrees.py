"""Every command gives a model the same inputs: columns moved, rows shuffled, other batches.

For each kind of input, ntkit writes a model, and ONNX Runtime says what that model answers to
inputs that are made here by hand. Then each command reads the samples in another form, and must
agree on every one of them.
"""

import csv
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner

from data_made_up import KINDS, write_samples
from ntkit.cli._app import app
from ntkit.datasets import load_marked_digits, marked_digits_model_path

N_TRAIN, N_TEST, CUT = 300, 150, 7


class Job:
    """A model's files, the samples in two forms, and the inputs that ONNX Runtime is given."""

    def __init__(self, folder):
        self.folder, self.options, self.table = folder, [], True
        self.said_once = []  # to debias: the model that it writes keeps it
        self.model = folder / "model.onnx"
        self.train, self.test, self.moved = (folder / n for n in ("train", "test", "moved"))

    def ntkit(self, *arguments, codes=(0,)):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code in codes, done.output
        return done

    @property
    def written(self):
        return self.folder / "out" / "debiased.onnx"


def table(path, rows, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def moved(job, path, rng):
    """The same table with its rows shuffled and its columns the other way round."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    job.order = rng.permutation(len(rows))
    return table(path.with_name("moved.csv"), [rows[i] for i in job.order], [*rows[0]][::-1])


def made_up(job, kind, rng, train=None):
    samples = {
        part: kind.draw(part, n, [0.9], rng) for part, n in (("train", N_TRAIN), ("test", N_TEST))
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has not converged will do
        (train or kind.train)(samples["train"].X, samples["train"].y, 0, job.model)
    for part, each in samples.items():
        setattr(job, part, write_samples(each, job.folder / f"{part}.csv"))
    job.moved = moved(job, job.test, rng)
    job.y = samples["test"].y
    return samples["test"].X


def tables(job, rng):
    X = made_up(job, KINDS["tables"], rng)
    job.feed = {"X": X}
    job.recorded = {"rows": np.arange(N_TEST)}


def transformer(texts, y, seed, path, width=16):
    """One layer of self-attention with frozen weights, the mean over tokens, and a fitted head."""
    words = sorted({word for text in texts for word in text.split()})
    numbers = {word: i for i, word in enumerate(["[PAD]", *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path.with_name("tokenizer.json")))
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(size=(width, width)) / 2 for name in ("Q", "K", "V")}
    tensors |= {"E": rng.normal(size=(len(numbers), width)), "far": np.array(1e4)}
    tensors |= {"W": np.zeros((width, 2)), "b": np.zeros(2), "one": np.array(1.0)}
    node = helper.make_node
    nodes = [
        node("Gather", ["E", "input_ids"], ["x"]),
        *(node("MatMul", ["x", name], [name.lower()]) for name in ("Q", "K", "V")),
        node("Transpose", ["k"], ["kT"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kT"], ["scores"]),
        node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        node("Sub", ["m", "one"], ["hidden"]),
        node("Mul", ["hidden", "far"], ["minus"]),
        node("Unsqueeze", ["minus", "axis1"], ["minus_row"]),
        node("Add", ["scores", "minus_row"], ["masked"]),
        node("Softmax", ["masked"], ["attention"], axis=-1),
        node("MatMul", ["attention", "v"], ["mixed"]),
        node("Tanh", ["mixed"], ["active"]),
        node("Unsqueeze", ["m", "axis2"], ["m_column"]),
        node("Mul", ["active", "m_column"], ["kept"]),
        node("ReduceSum", ["kept", "axis1"], ["sum"], keepdims=0),
        node("ReduceSum", ["m", "axis1"], ["length"], keepdims=1),
        node("Div", ["sum", "length"], ["z"]),
        node("Gemm", ["z", "W", "b"], ["logits"]),
    ]
    shape = ["batch", "tokens"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask")
    ]

    def written(outputs):
        held = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in tensors.items()]
        held += [numpy_helper.from_array(np.array([i]), f"axis{i}") for i in (1, 2)]
        shown = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", w]) for n, w in outputs
        ]
        graph = helper.make_graph(nodes, "transformer", inputs, shown, held)
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)

    tokenizer.enable_truncation(CUT)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(texts.tolist())
    feed = {
        "input_ids": [e.ids for e in encoded],
        "attention_mask": [e.attention_mask for e in encoded],
    }
    session = onnxruntime.InferenceSession(written([("z", width)]).SerializeToString())
    (Z,) = session.run(["z"], {name: np.asarray(v) for name, v in feed.items()})
    head = LogisticRegression(max_iter=1000).fit(Z, y)
    tensors |= {"W": np.vstack([-head.coef_, head.coef_]).T / 2}
    tensors |= {"b": np.concatenate([-head.intercept_, head.intercept_]) / 2}
    model = written([("logits", 2)])
    model.metadata_props.add(key="classes", value=json.dumps(head.classes_.tolist()))
    path.write_bytes(model.SerializeToString())


def tokens(job, rng, cut=CUT):
    """A transformer, whose own tokenizer.json cuts texts off after a few words."""
    texts = made_up(job, KINDS["texts"], rng, transformer)
    file = job.folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(CUT)
    tokenizer.save(str(file))
    tokenizer.enable_truncation(cut)
    job.options = ["--tokenizer", file]
    encoded = tokenizer.encode_batch(texts.tolist())
    ids = np.asarray([e.ids + [0] * (cut - len(e.ids)) for e in encoded])
    masks = np.asarray([[1] * len(e.ids) + [0] * (cut - len(e.ids)) for e in encoded])
    job.feed = {"input_ids": ids, "attention_mask": masks}
    job.recorded = {"texts": texts.astype(str)}


def shorter(job, rng):
    """As tokens, but debias is told another length."""
    tokens(job, rng, 5)
    job.said_once = ["--max-length", "5"]


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


def images(job, rng):
    digits = load_marked_digits()
    shutil.copy(marked_digits_model_path(), job.model)
    job.table = False
    for part, n in (("train", N_TRAIN), ("test", N_TEST)):
        for i in range(n):
            own = "validation" if part == "test" else part
            path = job.folder / part / str(digits[f"y_{own}"][i]) / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (digits[f"X_{own}"][i, 0] * 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
            if part == "test":  # its class folder is sorted otherwise under other names
                copy = job.folder / "moved" / path.parent.name / f"{997 * i % 1000:03}.png"
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
    job.files = sorted(job.test.rglob("*.png"))
    names = [f"{path.parent.name}/{997 * int(path.stem) % 1000:03}.png" for path in job.files]
    job.names = {name: i for i, name in enumerate(names)}
    X = np.stack([np.asarray(Image.open(path), np.float32)[None] / 255 for path in job.files])
    job.y = np.asarray([int(path.parent.name) for path in job.files])
    job.feed = {"image": X}
    job.recorded = {"files": np.asarray([path.relative_to(job.test) for path in job.files], str)}


def embeddings(job, rng):
    """A model that is nothing but a head, and arrays of embeddings."""
    W = rng.normal(size=(12, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["z", "W", "b"], ["logits"])],
        "head",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(W, "W"), numpy_helper.from_array(np.zeros(3, np.float32), "b")],
    )
    opset = [helper.make_opsetid("", 17)]
    job.model.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    job.table = False
    for part, n in (("train", N_TRAIN), ("test", N_TEST)):
        X = rng.normal(size=(n, 12)).astype(np.float32)
        y = (X @ W + rng.normal(size=(n, 3))).argmax(axis=1)
        job.order = rng.permutation(n)
        setattr(job, part, job.folder / f"{part}.npz")
        np.savez(job.folder / f"{part}.npz", X=X, y=y)
    job.moved = job.folder / "moved.npz"
    np.savez(job.moved, X=X[job.order], y=y[job.order])
    job.y, job.feed, job.recorded = y, {"z": X}, {"rows": np.arange(n)}


@pytest.fixture(scope="module", params=[tables, tokens, shorter, strings, images, embeddings])
def job(request, tmp_path_factory):
    """A repaired model, deployed, and what ONNX Runtime says that it answers."""
    job = Job(tmp_path_factory.mktemp(request.param.__name__))
    request.param(job, np.random.default_rng(0))
    job.ntkit(
        "debias", job.model, "--train", job.train, "--validation", job.test,
        "-o", job.folder / "out",
        "--deploy", job.folder / "service", "--method", "class-balanced", "--even-if-worse",
        "--device", "cpu", *job.options, *job.said_once,
    )  # fmt: skip
    described = json.loads(job.ntkit("inspect", job.written, "--json").stdout)
    names = np.asarray(described["classes"])
    session = onnxruntime.InferenceSession(job.written)
    job.outputs = session.run(None, job.feed)
    scores = next(out for out in job.outputs if np.ndim(out) == 2)
    job.scores, job.answers = scores, names[scores.argmax(axis=1)]
    assert len(np.unique(job.answers)) == len(names)  # a constant would agree with anything
    return job


def in_order(job, rows):
    """Answers to the moved samples, in the order of those that were not moved."""
    if hasattr(job, "names"):
        found = {job.names[row["file_name"]]: row["prediction"] for row in rows}
        return [found[i] for i in range(len(rows))]
    back = np.argsort(job.order)
    return [rows[i]["prediction"] for i in back]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_predict(job, tmp_path, batch_size):
    job.ntkit(
        "predict", job.written, job.moved, "-o", tmp_path / "p.csv", "--batch-size", batch_size,
        "--device", "cpu", *job.options,
    )  # fmt: skip
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert in_order(job, rows) == job.answers.astype(str).tolist()


def test_files_are_json_that_every_parser_reads_and_notes_are_said_once(job, tmp_path):
    def refused(constant):
        raise AssertionError(constant)

    text = (job.folder / "out" / "result.json").read_text()
    assert json.loads(text, parse_constant=refused)["verification"]["latency"] is None
    done = job.ntkit(
        "audit", job.written, job.moved, "-o", tmp_path / "a", "--device", "cpu", *job.options
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("Note: ")]
    assert len(lines) == len(set(lines))


def test_check_and_audit(job, tmp_path):
    """Both count the samples that are right."""
    right = float((job.answers == job.y).mean())
    found = json.loads(
        job.ntkit(
            "check", job.model, job.written, job.moved, "--json", "--max-drop", "100",
            "--device", "cpu", "--batch-size", "7", *job.options, codes=(0, 3),
        ).stdout
    )  # fmt: skip
    average = found["rows"][0]
    assert (average["samples"], average["accuracy"]) == (N_TEST, pytest.approx(right))
    before = json.loads((job.folder / "out" / "result.json").read_text())["candidates"][0]
    assert average["before"] == pytest.approx(before["average"])
    job.ntkit(
        "audit", job.written, job.moved, "-o", tmp_path / "audit", "--device", "cpu", *job.options
    )
    audit = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert audit["accuracy"] == pytest.approx(right)


def test_pairs_are_read_as_the_written_model_says(job, tmp_path):
    """The original, which names no columns, gets the same inputs as what takes its place."""
    for data in (job.test, job.moved):
        found = json.loads(
            job.ntkit(
                "verify", job.model, job.written, data, "--json", "--device", "cpu", *job.options,
            ).stdout
        )  # fmt: skip
        session = onnxruntime.InferenceSession(job.model)
        scores = next(out for out in session.run(None, job.feed) if np.ndim(out) == 2)
        same = np.mean(scores.argmax(axis=1) == job.scores.argmax(axis=1))
        assert found["agreement"] == pytest.approx(same)
    page = tmp_path / "report.html"
    job.ntkit(
        "check", job.model, job.written, job.moved, "--report", page, "--max-drop", "100",
        "--device", "cpu", *job.options, codes=(0, 3),
    )  # fmt: skip
    assert page.exists()


def test_recorded_outputs(job, tmp_path):
    sums = np.allclose(job.scores.sum(axis=1), 1)
    outputs = {"probabilities" if sums else "logits": job.scores}
    np.savez(tmp_path / "recorded.npz", **outputs, **job.recorded)
    data = () if "texts" in job.recorded else ("--data", job.test)
    done = job.ntkit(
        "parity", job.written, tmp_path / "recorded.npz", *data, "--json",
        "--device", "cpu", *job.options,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["matched"], found


def test_the_deployed_program(job, tmp_path):
    arguments = [job.moved]
    if hasattr(job, "names"):
        arguments = job.files
    elif "texts" in job.recorded:
        arguments = job.recorded["texts"].tolist()
    elif not job.table:
        np.save(tmp_path / "moved.npy", np.load(job.moved)["X"])
        arguments = [tmp_path / "moved.npy"]
    done = subprocess.run(
        [sys.executable, job.folder / "service" / "predict.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    lines = [line.removeprefix(f"{a} ") for line, a in zip(
        done.stdout.splitlines(), arguments if hasattr(job, "names") else [""] * N_TEST, strict=True
    )]  # fmt: skip
    expected = job.answers if len(arguments) > 1 else job.answers[job.order]
    assert lines == expected.astype(str).tolist()

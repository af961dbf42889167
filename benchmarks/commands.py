"""How long a user waits for each command, on images, texts and rows of a table.

    python benchmarks/commands.py OUT.jsonl --image-model BACKBONE.onnx [--work FOLDER]
        [--data images texts table] [--images 1000] [--texts 3000] [--rows 100000]
        [--commands audit label …] [--as NAME] [--checkout FOLDER] [--profile]
    python benchmarks/commands.py OUT.jsonl --markdown FILE [--as NAME NAME]

Data: made-up JPEG files of 256 to 500 pixels for EfficientNet-Lite0 (``make bench-data`` builds
it), reviews of Rotten Tomatoes joined to texts of 30 to 100 words for MiniLM-L3, and a CSV file of
30 columns for a small network. A shortcut is correlated with the class in 90 % of the samples, and
the last layers rely on it. ``debias`` gets 70 % as training set and 30 % as validation set, all
others the whole.

Each command runs as a user would start it, in a process of its own. A line of OUT.jsonl holds its
seconds of the processors (user and system, all threads), seconds by the clock, and peak memory.
Lines that are there are not computed again. One pass is what ``embed`` takes on the same samples.
--as names the run, so that two versions stand next to each other; --checkout runs another version
of ntkit. --profile writes cProfile's results into the work folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import data_texts
from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from packages import default_cache
from runner import command_line, publish, record, recorded, table

Array = NDArray[Any]
ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("fresh", "rotten")
COLUMNS, HIDDEN, FITTED, TRAIN = 30, 64, 600, 0.7
# A process of its own, because the peak of a child begins at what its parent has.
SMALL = """
import json, os, resource, subprocess, sys, time
begun = time.perf_counter()
with open(os.environ["MEASURED"], "w") as log:
    code = subprocess.call(sys.argv[1:], stdout=log, stderr=log)
wall, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss // 1024
print(json.dumps({"cpu": round(cpu, 2), "wall": round(wall, 2), "peak_mb": peak, "code": code}))
"""
FULL = {"images": 10_000, "texts": 100_000, "table": 1_000_000}
CORES, LEAST = 2, 20
# At most so many changed copies of n samples are embedded in addition, as the manual says.
COPIES: dict[str, Callable[[int], int]] = {
    "audit": lambda n: max(n // 2, 3000),
    "debias, asks": lambda n: 1500,
}
OK = (0, 1, 3)  # exit codes: done, not better, questions are open
FIELDS = {"images": "image:border", "texts": "word:film|word:movie", "table": "column:c04"}
SPURIOUS = {
    "images": "image:border brightness high",
    "texts": "word:film",
    "table": "column:c04>=0.5",
}


# -- data and models -------------------------------------------------------------------------------


def shortcut(n: int) -> tuple[Array, Array]:
    """Classes, and an attribute that is equal to the class in 90 % of the samples."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    return y, np.where(rng.random(n) < 0.9, y, 1 - y)


def parts(n: int) -> dict[str, Array]:
    """Rows of the whole, the training and the validation set."""
    is_train = np.random.default_rng(1).random(n) < TRAIN
    rows = np.arange(n)
    return {"all": rows, "train": rows[is_train], "validation": rows[~is_train]}


def images(folder: Path, n: int, network: Path) -> None:
    """JPEG files with a tint by class, and a border that is bright or dark by the shortcut."""
    y, a = shortcut(n)
    names = {part: set(rows.tolist()) for part, rows in parts(n).items()}
    paths = list[Path]()
    for i in range(n):
        rng = np.random.default_rng([2, i])
        width, height = (int(side) for side in rng.integers(256, 501, 2))
        coarse = rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).astype(np.float32)
        pixels[..., 0] += 12 * (2 * y[i] - 1) + 10 * rng.normal()
        edge = np.ones((height, width), dtype=bool)
        edge[height // 8 : -height // 8, width // 8 : -width // 8] = False
        pixels[edge] = 0.7 * pixels[edge] + (70 if a[i] else 0)
        made = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        paths.append(folder / "all" / CLASSES[y[i]] / f"{i:06d}.jpg")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        made.save(paths[-1], quality=90)
        part = "train" if i in names["train"] else "validation"
        other = folder / part / CLASSES[y[i]] / paths[-1].name
        other.parent.mkdir(parents=True, exist_ok=True)
        os.link(paths[-1], other)
    backbone = folder / "model" / "backbone.onnx"
    backbone.parent.mkdir()
    shutil.copy(network, backbone)
    config = {"size": {"height": 224, "width": 224}, "resample": 3, "do_center_crop": False}
    config |= {"image_mean": [127 / 255] * 3, "image_std": [128 / 255] * 3}
    config |= {"do_resize": True, "do_rescale": True, "do_normalize": True}
    backbone.with_name("preprocessor_config.json").write_text(json.dumps(config))
    model = FrozenModel.load(backbone)
    files = ImageFiles(paths[:FITTED], ImagePreprocessing.for_model(model))
    with_head(model, OnnxEmbedder(model, device="cpu").transform(files), y, folder)


def texts(folder: Path, n: int, _: Path) -> None:
    """Texts of 30 to 100 words that say "film" or "movie" by the shortcut."""
    snippets, fresh, film = data_texts.reviews(default_cache())
    y, a = shortcut(n)
    pool = {(i, j): np.flatnonzero((fresh == 1 - i) & (film == j)) for i in (0, 1) for j in (0, 1)}
    made = list[str]()
    for i in range(n):
        rng = np.random.default_rng([3, i])
        text, least = list[str](), int(rng.integers(30, 81))
        while len(text) < least:
            text += snippets[rng.choice(pool[int(y[i]), int(a[i])])].split()
        made.append(" ".join(text[:100]))
    write_tables(folder, n, {"text": made, "site": [f"s{i % 7}" for i in range(n)]}, y)
    source = data_texts.L3.fetched(default_cache())
    (folder / "model").mkdir()
    shutil.copy(data_texts.TOKENIZER.fetched(default_cache()), folder / "model" / "tokenizer.json")
    last = data_texts.LAST_STATES[data_texts.L3]
    model = FrozenModel.load(source, embedding=last, pooling="mean")
    steps = TextPreprocessing.for_model(model, folder / "model" / "tokenizer.json", 128)
    Z = OnnxEmbedder(model, device="cpu").transform(Texts(made[:FITTED], steps))
    with_head(model, Z, y, folder)


def rows_of_table(folder: Path, n: int, _: Path) -> None:
    """Rows of 30 numbers; the fifth is the shortcut, and a network of two hidden layers."""
    y, a = shortcut(n)
    rng = np.random.default_rng(4)
    X = rng.normal(size=(n, COLUMNS)).astype(np.float32)
    X[:, :4] += 0.5 * y[:, None]
    X[:, 4] = a + 0.1 * rng.normal(size=n)
    X = X.round(4)
    columns = {f"c{j:02d}": [f"{v:.4f}" for v in X[:, j].tolist()] for j in range(COLUMNS)}
    write_tables(folder, n, columns | {"site": [f"s{i % 7}" for i in range(n)]}, y)
    found = MLPClassifier((HIDDEN, HIDDEN // 2), max_iter=30, random_state=0)
    found.fit(X[:20_000], y[:20_000])
    weights = [w.astype(np.float32) for w in found.coefs_]
    biases = [b.astype(np.float32) for b in found.intercepts_]
    weights[-1] = np.hstack([-weights[-1], weights[-1]]) / 2
    biases[-1] = np.hstack([-biases[-1], biases[-1]]) / 2
    nodes, arrays, at = [], [], "x"
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        arrays += [numpy_helper.from_array(weight, f"W{i}"), numpy_helper.from_array(bias, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [at, f"W{i}", f"b{i}"], [f"g{i}"]))
        at = f"g{i}"
        if i < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [at], [f"z{i}"]))
            at = f"z{i}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", COLUMNS])
    logits = helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "table", [x], [logits], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": json.dumps(CLASSES)})
    (folder / "model").mkdir()
    onnx.save(model, folder / "model" / "model.onnx")
    other(FrozenModel.load(folder / "model" / "model.onnx"), folder)


def write_tables(folder: Path, n: int, columns: dict[str, list[str]], y: Array) -> None:
    """CSV files of the whole and of its two parts."""
    labels = [CLASSES[k] for k in y.tolist()]
    for part, rows in parts(n).items():
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*columns, "label"])
            lists = [*columns.values(), labels]
            writer.writerows([each[i] for each in lists] for i in rows.tolist())


def with_head(model: FrozenModel, Z: Array, y: Array, folder: Path) -> None:
    """Write the model with a head fitted on these embeddings."""
    scale = 1 / (Z.std(axis=0) + 1e-6)
    fit = LogisticRegression(C=0.01, max_iter=500).fit(Z * scale, y[: len(Z)])
    head = LinearHead(fit.coef_ * scale, fit.intercept_, np.asarray(CLASSES))
    model.with_head(head).save(folder / "model" / "model.onnx")
    (folder / "model" / "backbone.onnx").unlink(missing_ok=True)
    other(FrozenModel.load(folder / "model" / "model.onnx"), folder)


def other(model: FrozenModel, folder: Path) -> None:
    """The same model with a head that is a little different, as a replacement."""
    assert model.head is not None
    coef = model.head.coef * np.random.default_rng(5).uniform(0.9, 1.1, model.head.coef.shape)
    head = LinearHead(coef, model.head.intercept, model.head.classes)
    model.with_head(head).save(folder / "model" / "other.onnx")


MAKERS: dict[str, Callable[[Path, int, Path], None]] = {
    "images": images,
    "texts": texts,
    "table": rows_of_table,
}


# -- commands --------------------------------------------------------------------------------------


def commands(folder: Path, kind: str, out: Path) -> Iterator[tuple[str, list[str]]]:
    """Commands in the order of a user; later ones read what earlier ones wrote."""
    model, replacement = str(folder / "model" / "model.onnx"), str(folder / "model" / "other.onnx")
    end = "" if kind == "images" else ".csv"
    everything, train, validation = (str(folder / f"{part}{end}") for part in parts(1))
    sets = ["--train", train, "--validation", validation]
    yield "inspect", ["inspect", model]
    yield "embed", ["embed", model, everything, "-o", str(out / "store")]
    yield "predict", ["predict", model, everything, "-o", str(out / "predictions.csv")]
    yield "audit", ["audit", model, everything, "-o", str(out / "audit")]
    asked = ["label", model, everything, "-o", str(out / "label")]
    yield "label, first", [*asked, "--question", "Is it so?"]
    answer_questions(out / "label", folder, kind)
    yield "label, with labels", asked
    yield "debias, asks", ["debias", model, *sets, "-o", str(out / "run")]
    answers = ["--spurious", SPURIOUS[kind]]
    yield "debias --from", ["debias", "--from", str(out / "run"), *answers]
    yield "debias, an answer", ["debias", model, *sets, *answers, "-o", str(out / "answer")]
    labels = ["--answers", str(out / "label" / "answers.json")]
    yield "debias, labels", ["debias", model, *sets, *labels, "-o", str(out / "labels")]
    change = ["--invariant", FIELDS[kind]]
    yield "debias, a change", ["debias", model, *sets, *change, "-o", str(out / "change")]
    auto = ["--method", "auto"]
    yield "debias --method auto", ["debias", model, *sets, *auto, "-o", str(out / "auto")]
    yield "check", ["check", model, replacement, everything]
    page = ["--report", str(out / "report.html")]
    yield "check --report", ["check", model, replacement, everything, *page]
    yield "verify", ["verify", model, replacement, everything]
    write_recording(out, folder, kind)
    data = ["--data", everything]
    yield "parity", ["parity", model, str(out / "recorded.npz"), *data]


def answer_questions(label: Path, folder: Path, kind: str) -> None:
    """Fill in the table of questions as a person would who sees the shortcut."""
    for file in label.glob("questions-*.csv"):
        with file.open(newline="", encoding="utf-8") as opened:
            header, *rows = csv.reader(opened)
        at = len(header) - 1 if "Is it so?" not in header else header.index("Is it so?")
        for row in rows:
            sample = dict(zip(header, row, strict=True))
            row[at] = "yes" if has_shortcut(sample, folder, kind) else "no"
        with file.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([header, *rows])


def has_shortcut(row: dict[str, str], folder: Path, kind: str) -> bool:
    """Whether a sample has the attribute."""
    if kind == "texts":
        return re.search(r"\bfilms?\b", row["text"], re.IGNORECASE) is not None
    if kind == "table":
        return float(row["c04"]) >= 0.5
    name = next(value for value in row.values() if value.endswith(".jpg"))
    path = next((folder / "all").rglob(Path(name).name))
    return float(np.asarray(Image.open(path))[:8].mean()) > 120


def write_recording(out: Path, folder: Path, kind: str) -> None:
    """A service's outputs: the logits of the model, computed from what ``embed`` wrote."""
    if (out / "recorded.npz").exists() or not (out / "store").exists():
        return
    from ntkit.extraction import read_samples
    from ntkit.store import EmbeddingStore

    stored = read_samples(out / "store")
    head = FrozenModel.load(folder / "model" / "model.onnx").head
    assert head is not None
    logits = head.logits(np.asarray(stored.X))
    key = {"files": np.asarray(stored.unique_names)} if kind == "images" else {}
    key = key or {"rows": np.arange(len(logits))}
    np.savez(out / "recorded.npz", logits=logits, **key)
    assert EmbeddingStore.is_store(out / "store")


def measured(command: list[str], checkout: Path, log: Path, profile: bool) -> dict[str, Any]:
    """Run a command; its seconds of the processors and by the clock, and its peak of memory."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "MEASURED": str(log)}
    start = [sys.executable]
    if profile:
        start += ["-m", "cProfile", "-o", str(log.with_suffix(".prof"))]
    done = subprocess.run(
        [sys.executable, "-S", "-c", SMALL, *start, "-m", "ntkit", *command],
        env=environment, cwd=log.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    said = log.read_text(encoding="utf-8")
    if result["code"] not in OK or said.startswith("Error:"):
        raise SystemExit(f"commands: {' '.join(command)}: {said[-2000:]}")
    return result


def run(arguments: argparse.Namespace, kind: str, n: int) -> None:
    """Run the commands on one kind of data that have no line yet."""
    folder = arguments.work / f"{kind}-{n}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        MAKERS[kind](folder, n, arguments.image_model)
        (folder / "done").touch()
    out = folder / f"out-{arguments.name[0]}"
    out.mkdir(exist_ok=True)
    known = {(r["as"], r["data"], r["n"], r["command"]) for r in recorded(arguments.out)}
    for name, command in commands(folder, kind, out):
        if kind == "table" and name not in ("inspect", "debias --from"):
            command += ["--columns", ",".join(f"c{j:02d}" for j in range(COLUMNS))]
        if name not in ("inspect", "debias --from"):
            command += ["--device", "cpu"] if name != "embed" else []
        key = arguments.name[0], kind, n, name
        if key in known or (arguments.commands and name not in arguments.commands):
            continue
        log = out / f"{re.sub('[^a-z]+', '-', name)}.log"
        for at, option in enumerate(command):
            if option in ("-o", "--report"):
                place = Path(command[at + 1])
                if name != "label, with labels":
                    shutil.rmtree(place, ignore_errors=True)
                    place.unlink(missing_ok=True)
        result = measured(command, arguments.checkout, log, arguments.profile)
        line = dict(zip(("as", "data", "n", "command"), key, strict=True)) | result
        print(json.dumps(line), flush=True)
        record(arguments.out, line)


# -- table -----------------------------------------------------------------------------------------


def waits(own: list[dict[str, Any]]) -> str:
    """A row for each command; for each kind of data passes, minutes and memory."""
    runs = {(r["data"], r["n"], r["command"]): r for r in own}
    start = min(r["cpu"] for r in own if r["command"] == "inspect")
    kinds = [kind for kind in MAKERS if any(r["data"] == kind for r in own)]
    header, rows = ["command"], list[list[str]]()
    for kind in kinds:
        full = f"{FULL[kind]:,} {'rows' if kind == 'table' else kind}".replace(",", " ")
        header += [f"{kind}: passes", f"minutes, {full}", "measured on", "peak, MB"]
    for name, _ in commands(Path("none"), "images", Path("none")):
        row = [f"`{name}`"]
        for kind in kinds:
            sizes = [n for k, n, c in runs if (k, c) == (kind, name) and (k, n, "embed") in runs]
            if not sizes:
                row += ["–"] * 4
                continue
            n = max(sizes)
            run, one = runs[kind, n, name], runs[kind, n, "embed"]["cpu"] - start
            seconds = max(run["cpu"] - start, 0.0)
            copies = COPIES.get(name, lambda _: 0)
            fixed = min(copies(n) / n * one, seconds - one) if copies(n) else 0.0
            whole = (seconds - fixed) * FULL[kind] / n + copies(FULL[kind]) / n * one + start
            if len(sizes) > 1 and name not in COPIES:  # some of the time does not grow
                less = sorted(sizes)[-2]
                growth = (run["cpu"] - runs[kind, less, name]["cpu"]) / (n - less)
                whole = run["cpu"] + growth * (FULL[kind] - n)
            minutes = f"{whole / CORES / 60:.1f}"
            if name == "inspect" or (name.startswith("debias") and n < FULL[kind] / LEAST):
                minutes = "–"  # much of the time does not grow with the samples
            size = f"{n:,}".replace(",", " ")
            row += [f"{seconds / one:.1f}", minutes, size, f"{run['peak_mb']}"]
        rows.append(row)
    return table(header, rows)


def compared(found: list[dict[str, Any]], before: str, now: str) -> str:
    """Two versions next to each other."""
    runs = {(r["as"], r["data"], r["n"], r["command"]): r for r in found}
    rows = list[list[str]]()
    for (who, kind, n, command), old in runs.items():
        new = runs.get((now, kind, n, command))
        if who != before or new is None or command in ("inspect", "embed"):
            continue
        start = runs.get((now, kind, n, "inspect"), {"cpu": 0.0})["cpu"]
        ratio = (new["cpu"] - start) / (old["cpu"] - start)
        cells = [f"{r['cpu']:.1f}" for r in (old, new)], [f"{r['peak_mb']}" for r in (old, new)]
        size = f"{n:,} {'rows' if kind == 'table' else kind}".replace(",", " ")
        rows.append([size, f"`{command}`", *cells[0], f"{ratio:.2f}", *cells[1]])
    header = ["samples", "command", f"{before}, s", f"{now}, s", "ratio beyond the start"]
    return table([*header, f"{before}, MB", f"{now}, MB"], rows)


def markdown(found: list[dict[str, Any]], names: list[str]) -> str:
    """The table of one version, or of two versions next to each other."""
    if len(names) == 2:
        return compared(found, *names) + "\n"
    return waits([r for r in found if r["as"] == names[0]]) + "\n"


def main() -> None:
    """Run the commands, or print the table."""
    parser = command_line(__doc__, "--markdown")
    parser.add_argument("out", type=Path)
    parser.add_argument("--image-model", type=Path, default=marked_digits_model_path())
    parser.add_argument("--work", type=Path, default=Path("commands-work"))
    parser.add_argument("--data", nargs="+", choices=MAKERS, default=[*MAKERS])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--commands", nargs="+")
    parser.add_argument("--as", dest="name", nargs="+", default=["now"])
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    if arguments.markdown:
        publish(markdown(recorded(arguments.out), arguments.name), arguments.markdown)
        return
    sizes = {"images": arguments.images, "texts": arguments.texts, "table": arguments.rows}
    for kind in arguments.data:
        run(arguments, kind, sizes[kind])


if __name__ == "__main__":
    main()

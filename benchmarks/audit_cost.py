"""What an audit costs on top of embedding the same samples once.

    python benchmarks/audit_cost.py DATA_DIR [--rounds 3] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built, for its network; images are drawn for it, of noise, and
texts are the snippets of Rotten Tomatoes. Each round runs, in turn, the embedder alone, the audit
with views of the inputs only, and the audit with layers and the embedding as well, all of them from
files; the median of the processors' time is taken, and its difference to the embedder's as a share
of that. Peak memory is that of one audit in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import data_texts
from ntkit import FrozenModel, LinearHead, OnnxEmbedder, audit_model
from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing, read_samples
from packages import default_cache
from runner import command_line, publish, table

CLASSES = ("fresh", "rotten")
OF_INPUTS = "feature sets of inputs"


def images(folder: Path, network: Path, n: int, side: int) -> tuple[FrozenModel, Samples]:
    """Images of noise in two classes, and the network with a head of its own."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i in range(n):
        pixels = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / CLASSES[i % 2] / f"{i}.jpg")
    steps = ImagePreprocessing.from_config(network.with_name("preprocessor_config.json"))
    model = FrozenModel.load(network)
    return with_head(model, model.embedding.shape), read_samples(folder, preprocessing=steps)


def texts(folder: Path, n: int) -> tuple[FrozenModel, Samples]:
    """Snippets of reviews as a table with two columns more, and a sentence encoder with a head."""
    cache = default_cache()
    found, y, a = data_texts.reviews(cache)
    rows = np.random.default_rng(0).permutation(len(found))[:n]
    folder.mkdir(parents=True)
    path = folder / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "site", "length"])
        for i in rows:
            writer.writerow([found[i], CLASSES[y[i]], "AB"[a[i]], len(found[i])])
    encoder = data_texts.L3.fetched(cache)
    embedding = data_texts.LAST_STATES[data_texts.L3]
    model = FrozenModel.load(encoder, embedding=embedding, pooling="mean")
    steps = TextPreprocessing.for_model(model, data_texts.TOKENIZER.fetched(cache), 128)
    samples = read_samples(path, preprocessing=steps, inputs=model.inputs)
    return with_head(model, (None, 384)), samples


def with_head(model: FrozenModel, shape: object) -> FrozenModel:
    """The model with a random head for the two classes."""
    width = int(tuple(shape)[-1])  # type: ignore[arg-type]
    coef = np.random.default_rng(0).normal(size=(1, width))
    return model.with_head(LinearHead(coef, np.zeros(1), np.asarray(CLASSES)))


def seconds(work: Callable[[], object]) -> float:
    """How long the processors work: the clock would tell what else the machine does."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def timed(model: FrozenModel, samples: Samples, rounds: int) -> dict[str, float]:
    """Median seconds of the embedder and of two audits, in turn."""
    embedder = OnnxEmbedder(model, device="cpu")
    embedder.transform(samples.X[:8])
    jobs: dict[str, Callable[[], object]] = {
        "embedding": lambda: embedder.transform(samples.X),
        OF_INPUTS: lambda: audit_model(
            model, samples, device="cpu", feature_sets=found(samples), changes=0
        ),
        "all views": lambda: audit_model(model, samples, device="cpu", changes=0),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(seconds(job))
    return {name: float(np.median(values)) for name, values in times.items()}


def found(samples: Samples) -> list[str]:
    """Views of the inputs that these samples have."""
    return ["word", "metadata"] if samples.table is not None else ["image"]


def main() -> None:
    """Time audits and print a table."""
    parser = command_line(__doc__, "data_dir", "--markdown")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--memory-of", choices=("images", "texts"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    network = arguments.data_dir / "efficientnet" / "backbone.onnx"
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = {
            "images": lambda: images(folder / "i", network, arguments.images, 400),
            "texts": lambda: texts(folder / "t", arguments.texts),
        }
        if arguments.memory_of is not None:
            audit_model(*cases[arguments.memory_of](), device="cpu", changes=0)
            status = Path("/proc/self/status").read_text(encoding="ascii")
            print(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
            return
        for name, case in cases.items():
            model, samples = case()
            times = timed(model, samples, arguments.rounds)
            own = times["embedding"]
            memory = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--memory-of", name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            rows.append([
                f"{len(samples)} {name}",
                f"{1000 * own / len(samples):.1f}",
                *(f"{times[kind] / own - 1:.2f}" for kind in (OF_INPUTS, "all views")),
                f"{int(memory) / 1024:.0f}",
            ])  # fmt: skip
    header = [
        "samples",
        "embedding, ms of a core each",
        f"+ {OF_INPUTS}",
        "+ layers too",
        "peak, MB",
    ]
    shown = table(header, rows)
    publish(shown, arguments.markdown)


if __name__ == "__main__":
    main()

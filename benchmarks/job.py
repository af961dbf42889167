"""How long The repair takes after embedding, against another version of ntkit.

    python benchmarks/job.py --against CHECKOUT [--data EMBEDDINGS.npz] [--rounds 3] [--json FILE]
    python benchmarks/job.py --mapped ROWS

``ntkit.debias`` with all its candidates, scores and controls, on embeddings that a model passes
through as they are: 20 000 × 768 random ones, and those of --data (an .npz as ``make bench-data``
builds them, with Z, y, a and part). CHECKOUT is a folder with another version, such as one that
``git worktree add`` made; the two run in turn, each in a process of its own. Printed are seconds,
the ratio of the medians, and the peak of memory above what the arrays take.

--mapped gives the same job stores on disk, with ROWS training rows. Printed are the peak of memory
that no file backs, above that of a small job before it, in sizes of the stores, and the passes:
how often the job reads all training rows. A block of columns counts as its rows do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner import command_line, save

Array = NDArray[Any]
Sets = dict[str, tuple[Array, Array, Array]]
ROOT = Path(__file__).resolve().parents[1]


def random_sets(rows: int = 20_000) -> Sets:
    """A class, and an attribute that goes with it in 95 % of the samples."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[Array, Array, Array]:
        y = rng.integers(0, 2, n)
        a = np.where(rng.random(n) < 0.95, y, 1 - y)
        Z = rng.normal(size=(n, 768)).astype(np.float32)
        Z[:, :20] += 0.6 * y[:, None]
        Z[:, 20:40] += a[:, None]
        return Z, y, 2 * y + a

    return {"train": draw(rows), "validation": draw(rows // 4), "test": draw(rows // 4)}


def stored_sets(path: Path) -> Sets:
    """A training set, a validation set like it, and a balanced test set."""
    with np.load(path) as data:
        Z, y, part = data["Z"].astype(np.float32), data["y"].astype(int), data["part"]
        groups = 2 * y + data["a"].astype(int)
    names = {"train": "train", "validation": "validation_biased", "test": "test"}
    return {
        name: (Z[part == own], y[part == own], groups[part == own]) for name, own in names.items()
    }


def write_model(sets: Sets, path: Path, *, C: float = 1e-3, standardised: bool = False) -> None:
    """A model that passes embeddings through to a head fitted on the training set."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from sklearn.linear_model import LogisticRegression

    Z, y, _ = sets["train"]
    mean, std = Z.mean(axis=0), Z.std(axis=0)
    if not standardised:
        mean, std = np.zeros_like(mean), np.ones_like(std)
    std[std == 0] = 1
    found = LogisticRegression(C=C, max_iter=300).fit((Z - mean) / std, y)
    weight, offset = found.coef_ / std, found.intercept_[0] - float(found.coef_[0] @ (mean / std))
    coef = np.vstack([-weight, weight]).astype(np.float32) / 2
    bias = np.array([-offset, offset], dtype=np.float32) / 2
    nodes = [
        helper.make_node("Relu", ["x"], ["above"]),
        helper.make_node("Neg", ["x"], ["negative"]),
        helper.make_node("Relu", ["negative"], ["below"]),
        helper.make_node("Sub", ["above", "below"], ["z"]),
        helper.make_node("Gemm", ["z", "W", "b"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "through",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", Z.shape[1]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(coef, "W"), numpy_helper.from_array(bias, "b")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def one(data: Path | None) -> None:
    """Run the job once, with the ntkit that is found first, and print what it took."""
    from ntkit import debias

    sets = random_sets() if data is None else stored_sets(data)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        write_model(sets, model)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        first, second = sets["train"], sets["validation"]  # named in another way at 16bd59a
        out = Path(folder) / "out"
        debias(model, first, second, test=sets["test"], method="auto", out=out, device="cpu")
        seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    size = sum(Z.nbytes for Z, _, _ in sets.values())
    print(json.dumps({"seconds": seconds, "memory": grown / size}))


def anonymous_memory() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


@contextmanager
def rows_read(n: int) -> Iterator[list[int]]:
    """Numbers of rows that are read, at each access, from memory-mapped arrays of n rows."""
    plain, read = np.memmap.__getitem__, list[int]()

    def counted(self: Any, index: Any) -> Any:
        found = plain(self, index)
        whole = isinstance(index, slice) and len(found) == n  # a view, of which blocks are read
        if self.ndim == 2 and len(self) == n and np.ndim(found) == 2 and not whole:
            read.append(len(found))
        return found

    np.memmap.__getitem__ = counted  # type: ignore[method-assign]
    try:
        yield read
    finally:
        np.memmap.__getitem__ = plain  # type: ignore[method-assign]


def mapped(rows: int) -> None:
    """Run the job on stores, after a small one, and print its peak of memory and its passes."""
    from ntkit import OnnxEmbedder, debias
    from ntkit.extraction import Samples
    from ntkit.store import EmbeddingStore

    peaks, size = list[int](), 0
    with tempfile.TemporaryDirectory() as folder:
        for n in (2_000, rows):
            sets, model = random_sets(n), Path(folder) / f"{n}.onnx"
            write_model(sets, model)
            stores = {name: Path(folder) / f"{n}-{name}" for name in sets}
            for name, (Z, y, groups) in sets.items():
                embedder = OnnxEmbedder(model, device="cpu")
                EmbeddingStore.write(stores[name], embedder, Samples(Z, y, groups))
            size = sum(Z.nbytes for Z, _, _ in sets.values())
            del sets, Z, y, groups
            peak, done = [anonymous_memory()], threading.Event()

            def watch(peak: list[int] = peak, done: threading.Event = done) -> None:
                while not done.wait(0.02):
                    peak.append(max(peak.pop(), anonymous_memory()))

            watcher = threading.Thread(target=watch)
            watcher.start()
            test, out = stores["test"], Path(folder) / f"out-{n}"
            first, second = stores["train"], stores["validation"]
            with rows_read(n) as read:
                debias(model, first, second, test=test, method="auto", out=out, device="cpu")
            done.set()
            watcher.join()
            peaks.append(peak[0])
    small, large = peaks
    print(f"{rows} x 768 from stores of {size / 1e6:.0f} MB: {large / 1e6:.0f} MB of memory at the "
          f"peak, {(large - small) / size:.2f} of the stores above a small job; "
          f"{sum(read) / rows:.0f} passes over the training rows")  # fmt: skip


def timed(checkout: Path, data: Path | None) -> dict[str, float]:
    """The same in a process of its own, with the ntkit of a checkout."""
    command = [sys.executable, "-W", "ignore", __file__, "--one"]
    command += [] if data is None else ["--data", str(data)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run both versions in turn and print a table."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--against", type=Path, help="folder of another version")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mapped", type=int, metavar="ROWS", help="peak of memory from stores")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        warnings.simplefilter("ignore")
        one(arguments.data)
        return
    if arguments.mapped is not None:
        mapped(arguments.mapped)
        return
    if arguments.against is None:
        parser.error("name the other version with --against.")
    results = {}
    for name, data in {"20 000 × 768": None, "--data": arguments.data}.items():
        if name == "--data" and data is None:
            continue
        runs: dict[str, list[dict[str, float]]] = {"here": [], "there": []}
        for _ in range(arguments.rounds):
            runs["there"].append(timed(arguments.against.resolve(), data))
            runs["here"].append(timed(ROOT, data))
        seconds = {who: [run["seconds"] for run in found] for who, found in runs.items()}
        memory = {who: np.median([r["memory"] for r in found]) for who, found in runs.items()}
        here, there = np.median(seconds["here"]), np.median(seconds["there"])
        print(f"{name if data is None else data.stem}: {here:.1f} s against {there:.1f} s, ratio "
              f"{here / there:.2f}; memory {memory['here']:.1f} and {memory['there']:.1f} times "
              "the arrays")  # fmt: skip
        results[name] = runs
    save(results, arguments.json)


if __name__ == "__main__":
    main()

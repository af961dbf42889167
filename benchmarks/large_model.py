"""Time and memory of exchanging the head of a model too large for one file (over 2 GB).

    python benchmarks/large_model.py [--gigabytes 2.5] [--json FILE]

Builds a classifier of a few large MatMul layers and a small head, all weights as external data, in
a temporary folder (which needs three times that size of disk), then loads, describes and cuts it,
puts another head in, and saves it next to the original and in another folder, in a process of its
own. For each step it shows the wall time and the peak of two results while the step runs:

- RSS, as ``ru_maxrss`` counts it: memory and the pages of mapped files that happen to be cached;
- anonymous memory (``RssAnon``), which is what the process cannot give back.

Linux only: the results come from /proc.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from runner import command_line

LAYERS = 5
N_CLASSES = 10
TARGET_MB = 300


def main() -> None:
    """Build the model, measure in a child process, print a table."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--gigabytes", type=float, default=2.5)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # the child's own call
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory(prefix="large-model-", dir=arguments.folder) as folder:
        start = time.perf_counter()
        path = build(Path(folder) / "model", arguments.gigabytes)
        size = path.with_name(f"{path.name}.data").stat().st_size
        print(f"built {size / 1e9:.2f} GB in {time.perf_counter() - start:.1f} s", flush=True)
        command = [sys.executable, __file__, "--measure", str(path)]
        steps = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    print(f"{'step':<28}{'seconds':>9}{'peak RSS MB':>13}{'peak anonymous MB':>19}")
    for step in steps:
        figures = f"{step['seconds']:>9.2f}{step['rss_mb']:>13.0f}{step['anonymous_mb']:>19.0f}"
        print(f"{step['name']:<28}{figures}")
    peak = max(step["rss_mb"] for step in steps)
    print(
        f"peak RSS {peak:.0f} MB, target {TARGET_MB} MB: {'met' * (peak < TARGET_MB) or 'MISSED'}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"bytes": size, "steps": steps}, indent=2))


def build(folder: Path, gigabytes: float) -> Path:
    """Write the model; most of its data file is a hole, which reads as zeros and takes no time."""
    folder.mkdir()
    width = int((gigabytes * 1e9 / LAYERS / 4) ** 0.5)
    path, data = folder / "large.onnx", folder / "large.onnx.data"
    rng = np.random.default_rng(0)
    shapes = {f"layer{i}.weight": (width, width) for i in range(LAYERS)}
    shapes |= {"fc.weight": (N_CLASSES, width), "fc.bias": (N_CLASSES,)}
    tensors, offset = [], 0
    with data.open("wb") as file:
        for name, shape in shapes.items():
            length = 4 * int(np.prod(shape))
            beginning = rng.normal(size=min(length // 4, N_CLASSES * width)) / width**0.5
            file.seek(offset)
            file.write(beginning.astype(np.float32).tobytes())
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            offset += length
        file.truncate(offset)
    nodes, last = [], "x"
    for i in range(LAYERS):
        nodes.append(helper.make_node("MatMul", [last, f"layer{i}.weight"], [f"product{i}"]))
        nodes.append(helper.make_node("Relu", [f"product{i}"], [f"z{i}"]))
        last = f"z{i}"
    nodes.append(helper.make_node("Gemm", [last, "fc.weight", "fc.bias"], ["logits"], transB=1))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", width), ("logits", N_CLASSES))
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return path


def measure(path: Path) -> None:
    """Take each step once and write the results to stdout as JSON."""
    steps: list[dict[str, Any]] = []

    def step(name: str, action: Callable[[], Any]) -> Any:
        with _watched(name, steps):
            return action()

    step("import ntkit", lambda: __import__("ntkit.model"))
    from ntkit import FrozenModel, LinearHead

    model = step("load", lambda: FrozenModel.load(path))
    step("describe", model.describe)
    step("body", model.body)
    own = model.head
    head = LinearHead(own.coef / 2, own.intercept + 1, own.classes)
    new = step("with_head", lambda: model.with_head(head))
    step("save next to the original", lambda: new.save(path.with_name("beside.onnx")))
    elsewhere = path.parents[1] / "elsewhere"
    elsewhere.mkdir()
    saved = step("save in another folder", lambda: new.save(elsewhere / "new.onnx"))
    again = step("load what was saved", lambda: FrozenModel.load(saved))
    if not np.array_equal(again.head.coef, head.coef):
        raise SystemExit("The saved model has another head than was put in.")
    _same_body(path, saved)
    json.dump(steps, sys.stdout)


def _same_body(path: Path, saved: Path) -> None:
    """The weights of the body must have been copied, whatever file holds them now."""

    def beginnings(file: Path) -> dict[str, bytes]:
        found = {}
        for tensor in onnx.load(file, load_external_data=False).graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if tensor.name.startswith("layer"):
                with (file.parent / where["location"]).open("rb") as data:
                    data.seek(int(where.get("offset", 0)))
                    found[tensor.name] = data.read(4096)
        return found

    if beginnings(path) != beginnings(saved):
        raise SystemExit("The saved model has another body than the original.")


@contextmanager
def _watched(name: str, steps: list[dict[str, Any]]) -> Iterator[None]:
    """Note the wall time and the peaks of memory of what runs inside."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak RSS starts anew
    peak, done = [_status("RssAnon")], threading.Event()

    def sample() -> None:  # the kernel keeps no peak of anonymous memory
        while not done.wait(0.002):
            peak[0] = max(peak[0], _status("RssAnon"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - start
        done.set()
        sampler.join()
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rss = min(usage, _status("VmHWM")) if _status("VmHWM") else usage
    steps.append({"name": name, "seconds": seconds, "rss_mb": rss, "anonymous_mb": peak[0]})


def _status(key: str) -> float:
    """A line of /proc/self/status, in MB."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads' stacks are not what is measured
    main()

"""What a job on one label costs if the model has 200 labels, next to a model of two labels.

    python benchmarks/labels_cost.py [--rows 100000] [--labels 2 200] [--rounds 3]
        [--markdown FILE]

``ntkit debias``, ``audit`` and ``check`` with ``--label`` on made-up embeddings of 256 numbers. The
label in question and its shortcut are the same in both models; the samples come with all labels.
The commands run in turn, each in a process of its own. Shown are the medians of the processor's
seconds, which do not depend on what else the machine does, and their ratio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runner import command_line, publish, table

Array = NDArray[Any]
WIDTH, LABEL = 256, "label_0"


def samples(rows: int, n_labels: int, seed: int) -> tuple[Array, Array, Array]:
    """Embeddings, labels (N, L), and the shortcut of the first label."""
    rng = np.random.default_rng(seed)
    X = np.abs(rng.normal(size=(rows, WIDTH))).astype(np.float32)
    noise = rng.normal(size=rows)
    first = (X[:, :4].sum(axis=1) + noise > np.median(X[:, :4].sum(axis=1))).astype(np.int8)
    shortcut = np.where(rng.random(rows) < 0.95, first, 1 - first)
    X[:, 4] += shortcut
    others = X[:, 5 : 4 + n_labels] > 0.7
    return X, np.column_stack([first, others]).astype(np.int8), shortcut


def write_model(n_labels: int, path: Path) -> None:
    """A model whose first label relies on the shortcut, with a Sigmoid for each label."""
    weight, bias = np.zeros((WIDTH, n_labels), np.float32), np.full(n_labels, -1.4, np.float32)
    weight[:4, 0], weight[4, 0], bias[0] = 0.5, 2, -4.0
    weight[5 + np.arange(n_labels - 1), 1 + np.arange(n_labels - 1)] = 2
    nodes = [
        helper.make_node("Relu", ["x"], ["z"]),
        helper.make_node("Gemm", ["z", "W", "b"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    x, scores = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", WIDTH), ("scores", n_labels))
    )
    arrays = [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(nodes, "labels", [x], [scores], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    names = [f"label_{i}" for i in range(n_labels)]
    helper.set_model_props(model, {"names": json.dumps(names)})
    onnx.save(model, path)


def commands(folder: Path, rows: int, n_labels: int) -> dict[str, list[str]]:
    """Write models and samples; the commands that read them."""
    folder.mkdir()
    model, other = folder / "model.onnx", folder / "other.onnx"
    for path in (model, other):
        write_model(n_labels, path)
    marks = []
    for seed, (name, n) in enumerate({"train": rows, "validation": rows // 5}.items()):
        X, Y, mark = samples(n, n_labels, seed)
        (folder / name).mkdir()
        np.save(folder / name / "X.npy", X)
        np.save(folder / name / "y.npy", Y)
        marks += np.where(mark, "yes", "no").tolist()
    metadata = folder / "metadata.csv"
    metadata.write_text("\n".join(["shortcut", *marks]) + "\n", encoding="utf-8")
    train, validation = str(folder / "train"), str(folder / "validation")
    sets = ["--train", train, "--validation", validation, "--metadata", str(metadata)]
    out = ["-o", str(folder / "out"), "--force"]
    said = ["--spurious", "metadata:shortcut=yes", *sets, *out]
    return {
        "debias": ["debias", str(model), *said],
        "audit": ["audit", str(model), train, "-o", str(folder / "audit"), "--force"],
        "check": ["check", str(model), str(other), train],
    }


def seconds(command: Sequence[str]) -> float:
    """Seconds of the processor that a command takes."""
    options = ["--label", LABEL, "--device", "cpu", "--quiet"]
    if command[0] == "check":
        options = options[:-1]
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "ntkit", *command, *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1, 3):
        raise SystemExit(f"labels_cost: {' '.join(command)}: {done.stderr or done.stdout}")
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    """Time the commands in turn, and print the table."""
    parser = command_line(__doc__, "--markdown")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--labels", type=int, nargs=2, default=[2, 200])
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    found: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        jobs = {n: commands(Path(folder) / str(n), a.rows, n) for n in a.labels}
        for _ in range(a.rounds):
            for job in jobs[a.labels[0]]:
                for n in a.labels:
                    found.setdefault((job, n), []).append(seconds(jobs[n][job]))
    lines = []
    few, many = a.labels
    for job in jobs[few]:
        one, other = (float(np.median(found[job, n])) for n in a.labels)
        lines.append([f"`{job} --label`", f"{one:.1f}", f"{other:.1f}", f"{other / one:.2f}"])
    text = table(["command", f"{few} labels, s", f"{many} labels, s", "ratio"], lines) + "\n"
    publish(text, a.markdown)


if __name__ == "__main__":
    main()

"""Latency of a debiased model as a ratio to the original's: target 0.98 to 1.02.

    python benchmarks/latency.py [--model FILE ...] [--json FILE]

Half of the head's neurons are suppressed. Original and debiased file are run in turn on the same
samples in one process. The ratio is that of the medians of a pair of sessions, and the median over
many fresh pairs, since where a session's memory and threads happen to lie moves its latency by
several percent; shown with the standard error over pairs. As a control the original is timed
against itself in the same way.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ntkit import FrozenModel
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction.session import make_session
from ntkit.verification import random_inputs, timings
from runner import command_line, save


def ratios(
    first: Path, second: Path, X: object, sessions: int, rounds: int, seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Median milliseconds of both files, one row per pair of sessions, and the second's ratio."""
    medians = []
    for number in range(sessions):
        paths = (first, second) if number % 2 else (second, first)
        pair = [make_session(str(path), device="cpu") for path in paths]
        times = np.median(timings(pair, X, n_timings=rounds, seconds=seconds), axis=0)
        medians.append(times if number % 2 else times[::-1])
    table = np.asarray(medians)
    return table, table[:, 1] / table[:, 0]


def compare(path: Path, sessions: int, rounds: int, seconds: float) -> dict[str, object]:
    """Original against debiased, and against itself."""
    model = FrozenModel.load(path)
    if model.head is None:
        raise SystemExit(f"{path} has no head.")
    X = random_inputs(model)
    with tempfile.TemporaryDirectory() as folder:
        keep = np.arange(model.head.n_neurons) % 2 == 0
        debiased = model.with_head(model.head.scaled(keep)).save(Path(folder) / "debiased.onnx")
        table, ratio = ratios(path, debiased, X, sessions, rounds, seconds)
        _, control = ratios(path, path, X, sessions, rounds, seconds)
    original, edited = np.median(table, axis=0)
    return {
        "model": path.name,
        "original_ms": original,
        "debiased_ms": edited,
        "ratio": np.median(ratio),
        "ratio_se": _standard_error(ratio),
        "control": np.median(control),
        "control_se": _standard_error(control),
    }


def _standard_error(sample: np.ndarray) -> float:
    """Of the median, as for a normal distribution."""
    return 1.25 * sample.std(ddof=1) / np.sqrt(len(sample))


def main() -> None:
    """Measure every model and print a table."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--model", type=Path, action="append", default=[], help="further models")
    parser.add_argument("--sessions", type=int, default=20, help="pairs of fresh sessions")
    parser.add_argument("--rounds", type=int, default=2000, help="most timings per pair")
    parser.add_argument("--seconds", type=float, default=10.0, help="most seconds per pair")
    arguments = parser.parse_args()
    results = []
    print("model                      original   debiased   ratio ± se      same file ± se")
    for path in (Path(marked_digits_model_path()), *arguments.model):
        r = compare(path, arguments.sessions, arguments.rounds, arguments.seconds)
        results.append(r)
        print(
            f"{r['model']:<24}{r['original_ms']:>8.3f} ms{r['debiased_ms']:>8.3f} ms"
            f"{r['ratio']:>8.3f} ± {r['ratio_se']:.3f}{r['control']:>9.3f} ± {r['control_se']:.3f}",
            flush=True,
        )
    save(results, arguments.json)


if __name__ == "__main__":
    main()

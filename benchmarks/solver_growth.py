"""How the time of a fit grows, and a fit to rows that do not fit into memory.

    python benchmarks/solver_growth.py --growth [--plot FOLDER] [--table FILE] [--quick] [--json F]
    python benchmarks/solver_growth.py --from-disk [--rows 2000000] [--memory MB] [--folder FOLDER]

--growth times fit_linear_head against rows (768 neurons, 2 classes), neurons (20 000 rows) and
classes (20 000 rows x 384), and NeuronTuneClassifierCV against thresholds (5000 rows x 256, 5
folds). All points of an axis are run in turn; shown are medians, and the slope of a straight line
through them on logarithmic axes: 1 is linear. Iterations differ from point to point, so the slope
of the time per iteration stands next to it. Goals: linear in rows and classes, below 3 in neurons.

--from-disk writes float32 rows x 768 to a temporary folder, and fits a quarter, half and all of
them through np.load(mmap_mode="r") in a child process that may use 1 GB. Where this process may
make a memory group (cgroup v2, root), that is all its memory, cached pages of the file included:
then every pass reads the disk. Elsewhere it is anonymous memory alone (RLIMIT_DATA, which also
counts what is reserved and never used), whose peak (RssAnon) is shown, and a file smaller than free
memory stays cached. A pass is one evaluation of
the objective, counted and timed at NumpyPasses.loss; iterations (FittedHead.n_iter) stand there.
Seconds per pass, a median, are compared with reading the rows fitted once in blocks of 8 MB in
the same process: the mean of the whole file's time before and after the fit, times the share of
rows. Goal: seconds per row and pass do not depend on the number of rows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from fit import embeddings
from ntkit import NeuronTuneClassifierCV
from ntkit.solver._fit_head import fit_linear_head
from ntkit.solver._loss import NumpyPasses
from solver import balanced, in_turn, machine

WIDTH = 768
AXES: dict[str, list[int]] = {
    "rows": [5000, 10_000, 20_000, 40_000, 80_000, 160_000],
    "neurons": [96, 192, 384, 768, 1536, 3072],
    "classes": [2, 3, 5, 10, 20, 50],
    "thresholds": [1, 2, 5, 10, 20],
}
FIXED = {
    "rows": "768 neurons, 2 classes",
    "neurons": "20 000 rows, 2 classes",
    "classes": "20 000 rows, 384 neurons",
    "thresholds": "5000 rows, 256 neurons, 5 folds",
}


# -- growth ---------------------------------------------------------------------------------


def work_at(axis: str, value: int, divisor: int) -> Callable[[], int]:
    """What is timed at a point of an axis; it returns its iterations."""
    if axis == "thresholds":
        X, y = embeddings(5000 // divisor, 256 // divisor, 2)
        thresholds = np.linspace(0, 1, value).tolist()
        search = NeuronTuneClassifierCV(thresholds, random_state=0)
        return lambda: int(search.fit(X, y).n_iter_.max())
    shape = {
        "rows": (value, WIDTH // divisor, 2),
        "neurons": (20_000 // divisor, value, 2),
        "classes": (20_000 // divisor, 384 // divisor, value),
    }[axis]
    X, y = embeddings(*shape)
    weight = balanced(y)
    return lambda: fit_linear_head(X, y, weight, classes=np.arange(shape[2])).n_iter


def slope(values: list[int], seconds: list[float]) -> float:
    """Exponent of the power law through the points."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def growth(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time all axes and print, draw and write what was asked for."""
    divisor, rounds = (8, 1) if arguments.quick else (1, arguments.rounds)
    if arguments.quick:
        print("quick: fixed sizes are an eighth of those named")
    results = {}
    for axis, values in AXES.items():
        if arguments.quick:
            values = values[:4]
        works = {str(value): work_at(axis, value, divisor) for value in values}
        taken, iterations = in_turn(works, rounds)
        seconds = [float(np.median(taken[str(value)])) for value in values]
        found: dict[str, Any] = {"values": values, "seconds": seconds}
        found["slope"] = slope(values, seconds)
        if axis != "thresholds":
            found["iterations"] = list(iterations.values())
            per_iteration = [
                s / max(1, n) for s, n in zip(seconds, iterations.values(), strict=True)
            ]
            found["slope_per_iteration"] = slope(values, per_iteration)
        results[axis] = found
        print(f"\n{axis}  ({FIXED[axis]})\n{rows_of(axis, found)}", flush=True)
    if arguments.table:
        arguments.table.write_text(markdown(results), encoding="utf-8")
    if arguments.plot:
        draw(results, arguments.plot)
    return results


def slopes_of(found: dict[str, Any]) -> str:
    """The slopes in words."""
    text = f"slope {found['slope']:.2f}"
    if "slope_per_iteration" in found:
        text += f", per iteration {found['slope_per_iteration']:.2f}"
    return text


def rows_of(axis: str, found: dict[str, Any]) -> str:
    """An axis as lines of text."""
    lines = [f"  {axis:<12}" + "".join(f"{value:>10}" for value in found["values"])]
    lines.append(f"  {'seconds':<12}" + "".join(f"{s:>10.3f}" for s in found["seconds"]))
    if "iterations" in found:
        lines.append(f"  {'iterations':<12}" + "".join(f"{n:>10}" for n in found["iterations"]))
    return "\n".join([*lines, f"  {slopes_of(found)}"])


def markdown(results: dict[str, Any]) -> str:
    """All axes as one Markdown table."""
    lines = ["| grows | fixed | seconds | slope | per iteration |", "|---|---|---|---|---|"]
    for axis, found in results.items():
        points = zip(found["values"], found["seconds"], strict=True)
        seconds = " · ".join(f"{value}: {s:.3g}" for value, s in points)
        per_iteration = found.get("slope_per_iteration")
        shown = "–" if per_iteration is None else f"{per_iteration:.2f}"
        lines.append(f"| {axis} | {FIXED[axis]} | {seconds} | {found['slope']:.2f} | {shown} |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any], folder: Path) -> None:
    """Four panels, as SVG and PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    figure, panels = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
    for panel, (axis, found) in zip(panels, results.items(), strict=True):
        values, seconds = found["values"], found["seconds"]
        fitted = np.exp(np.polyval(np.polyfit(np.log(values), np.log(seconds), 1), np.log(values)))
        panel.loglog(values, fitted, color="0.75", linewidth=1)
        panel.loglog(values, seconds, "o", color="tab:blue", markersize=4)
        panel.text(0.05, 0.92, f"slope {found['slope']:.2f}", transform=panel.transAxes, va="top")
        panel.set_xlabel(f"{axis}\n({FIXED[axis]})", fontsize=8)
        panel.set_xticks(values, [f"{v // 1000}k" if v >= 5000 else str(v) for v in values])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.93")
    panels[0].set_ylabel("seconds", fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("svg", "png"):
        figure.savefig(folder / f"solver_growth.{kind}", dpi=150)
    plt.close(figure)


# -- from disk ------------------------------------------------------------------------------


def write_rows(folder: Path, n: int) -> None:
    """Write embeddings chunk by chunk, and their labels; leave none of it in the page cache."""
    base, labels = embeddings(20_000, WIDTH, 2)
    rng = np.random.default_rng(1)
    path = folder / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, WIDTH))
    for start in range(0, n, len(base)):
        rows = min(len(base), n - start)
        noise = rng.standard_normal((rows, WIDTH), dtype=np.float32)
        X[start : start + rows] = np.maximum(base[:rows] + 0.1 * noise, 0)
    X.flush()
    del X
    np.save(folder / "y.npy", np.resize(labels, n))
    forget(path)


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_seconds(path: Path) -> float:
    """Seconds to read a file once, in blocks of 8 MB."""
    block = bytearray(8_000_000)
    begin = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass
    return time.perf_counter() - begin


def anonymous_mb() -> float:
    """Anonymous memory of this process: what it holds besides pages of files."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1e3


@contextlib.contextmanager
def peak_of_anonymous() -> Iterator[list[float]]:
    """Sample anonymous memory every 10 ms; afterwards the list holds its peak."""
    peak, done = [anonymous_mb()], threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], anonymous_mb())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def timed_passes() -> Iterator[list[float]]:
    """Seconds of every evaluation of the objective, in a list that fills."""
    seconds, original = list[float](), NumpyPasses.loss

    def loss(self: NumpyPasses, W: Any, b: Any) -> Any:
        begin = time.perf_counter()
        result = original(self, W, b)
        seconds.append(time.perf_counter() - begin)
        return result

    NumpyPasses.loss = loss  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        NumpyPasses.loss = original  # type: ignore[method-assign]


def child(folder: Path, limit_mb: int | None) -> None:
    """Fit a quarter, half and all of the rows; a line of JSON after each."""
    if limit_mb is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 10**6, limit_mb * 10**6))
    path = folder / "X.npy"
    labels = np.load(folder / "y.npy")
    X = np.load(path, mmap_mode="r")
    print(json.dumps({"cold_read_s": read_seconds(path)}), flush=True)
    read_before = read_seconds(path)
    for n in (len(X) // 4, len(X) // 2, len(X)):
        y = labels[:n]
        weight, start = balanced(y), anonymous_mb()
        with peak_of_anonymous() as peak, timed_passes() as passes:
            begin = time.perf_counter()
            n_iter = fit_linear_head(X[:n], y, weight, classes=np.arange(2)).n_iter
            seconds = time.perf_counter() - begin
        read_after = read_seconds(path)
        found = {
            "rows": n,
            "seconds": seconds,
            "iterations": n_iter,
            "passes": len(passes),
            "pass_s": float(np.median(passes)),
            "read_s": (read_before + read_after) / 2 * n / len(X),
            "anonymous_mb": [start, peak[0]],
        }
        read_before = read_after
        print(json.dumps(found), flush=True)


@contextlib.contextmanager
def memory_group(limit_mb: int) -> Iterator[Path | None]:
    """A cgroup v2 with a limit on all memory; None where this process may not make one."""
    group = Path(f"/sys/fs/cgroup/ntkit-benchmark-{os.getpid()}")
    try:
        if "memory" not in (group.parent / "cgroup.subtree_control").read_text().split():
            raise OSError
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / "memory.max").write_text(str(limit_mb * 10**6))
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")
        yield group
    finally:
        group.rmdir()


def from_disk(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the rows, fit them in a limited child, and print its results."""
    n = 40_000 if arguments.quick else arguments.rows
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_rows(folder, n)
        size_mb = (folder / "X.npy").stat().st_size / 1e6
        with memory_group(arguments.memory) as group:
            command = [sys.executable, __file__, "--child", name]
            if arguments.threads:
                command += ["--threads", str(arguments.threads)]
            if group is None:
                command += ["--memory", str(arguments.memory)]
            else:  # the shell joins the group and becomes the child
                joined = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
                command = ["sh", "-c", joined, str(group), *command]
            done = subprocess.run(command, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    result = {
        "file_mb": size_mb,
        "memory_mb": arguments.memory,
        "limit": "anonymous memory" if group is None else "all memory",
        "finished": done.returncode == 0,
        "cold_read_s": lines[0]["cold_read_s"] if lines else None,
        "fits": lines[1:],
    }
    report_from_disk(result)
    if done.returncode:
        print(f"exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return result


def report_from_disk(result: dict[str, Any]) -> None:
    """Print the results of the child."""
    print(
        f"\nFrom disk: {result['file_mb']:.0f} MB, {result['limit']} limited to "
        f"{result['memory_mb']} MB, finished: {'yes' if result['finished'] else 'NO'}"
    )
    if result["cold_read_s"] is not None:
        print(f"reading the file once, nothing cached: {result['cold_read_s']:.2f} s")
    print(
        f"{'rows':>10}{'seconds':>10}{'iterations':>12}{'passes':>8}{'s per pass':>12}"
        f"{'us per row':>12}{'pass / reading':>16}{'anonymous MB':>16}"
    )
    for fit in result["fits"]:
        memory = "{:.0f} to {:.0f}".format(*fit["anonymous_mb"])
        print(
            f"{fit['rows']:>10}{fit['seconds']:>10.2f}{fit['iterations']:>12}{fit['passes']:>8}"
            f"{fit['pass_s']:>12.3f}{1e6 * fit['pass_s'] / fit['rows']:>12.3f}"
            f"{fit['pass_s'] / fit['read_s']:>16.2f}{memory:>16}"
        )
    if len(result["fits"]) > 1:
        rows, seconds = zip(*[(fit["rows"], fit["pass_s"]) for fit in result["fits"]], strict=True)
        print(f"slope of the seconds per pass: {slope(list(rows), list(seconds)):.2f}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--from-disk", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small shapes, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of BLAS")
    parser.add_argument("--plot", type=Path, help="--growth: save a figure into this folder")
    parser.add_argument("--table", type=Path, help="--growth: write a Markdown table here")
    parser.add_argument("--rows", type=int, default=2_000_000, help="--from-disk: rows of 768")
    parser.add_argument("--memory", type=int, help="--from-disk: MB the child may use (1000)")
    parser.add_argument("--folder", type=Path, help="--from-disk: where the file is made")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(arguments.threads):
        if arguments.child:
            return child(arguments.child, arguments.memory)
        arguments.memory = arguments.memory or 1000
        results: dict[str, Any] = {"machine": machine(arguments.threads)}
        if arguments.growth:
            results["growth"] = growth(arguments)
        if arguments.from_disk:
            results["from_disk"] = from_disk(arguments)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2, default=float), encoding="utf-8")


if __name__ == "__main__":
    main()

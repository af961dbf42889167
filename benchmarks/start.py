"""How long ``ntkit check`` on tables takes: its start, and the whole command.

    python benchmarks/start.py [--runs 10]

The tables have 2000 rows, and 12 limits become 46 with groups, classes and slices. The start ends
where a missing table is refused, after all imports. Printed is the best run: seconds of user and
system time, which other programs disturb little, and of the clock.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from runner import command_line

LIMITS = (
    "--average=50 --worst-group=50 --worst-class=50 --max-drop=10 --max-new-errors=20 "
    "--min-recall=0=50 --min-recall=1=50 --max-recall-drop=0=10 --max-recall-drop=1=10 "
    "--min-precision=1=50 --max-false-positive-rate=1=50 --max-false-positive-increase=1=10 "
    "--slice=column:site=A --slice=column:device=mobile"
)


def write_tables(folder: Path, n: int = 2000) -> None:
    """Samples, and predictions of an old and a new model."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    data = {
        "id": range(n),
        "label": y,
        "group": rng.integers(0, 4, n),
        "age": rng.integers(18, 80, n),
    }
    data |= {"site": rng.choice([*"ABC"], n), "device": rng.choice(["mobile", "desktop"], n)}
    pd.DataFrame(data).to_csv(folder / "data.csv", index=False)
    for name, wrong in (("old", 0.1), ("new", 0.08)):
        pred = np.where(rng.random(n) < wrong, 1 - y, y)
        pd.DataFrame({"id": range(n), "prediction": pred}).to_csv(
            folder / f"{name}.csv", index=False
        )


def best(command: list[str], folder: Path, runs: int) -> tuple[float, float]:
    """Smallest seconds of user and system time, and of the clock."""
    seconds = []
    for _ in range(runs):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, check=False)
        after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds.append((cpu, end - begin))
    return min(cpu for cpu, _ in seconds), min(clock for _, clock in seconds)


def main() -> None:
    """Print a line per command."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    check = [
        "-m",
        "ntkit",
        "check",
        "--before",
        "old.csv",
        "data.csv",
        *LIMITS.split(),
        "--predictions",
    ]
    commands = {
        "the whole command": [*check, "new.csv"],
        "its start": [*check, "missing.csv"],
        "import pandas": ["-c", "import pandas"],
        "import scipy.special": ["-c", "import scipy.special"],
        "import numpy": ["-c", "import numpy"],
    }
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder))
        for name, command in commands.items():
            cpu, clock = best(command, Path(folder), runs)
            print(f"{name}: {cpu:.2f} s of user and system time, {clock:.2f} s of the clock")


if __name__ == "__main__":
    main()

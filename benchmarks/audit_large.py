"""Time and memory of an audit of many small images, as files, with all layers.

    OPENBLAS_NUM_THREADS=1 python benchmarks/audit_large.py [--images 50000]

The images are those of the demo, each with noise of its own, written as PNG files in two class
folders; the model is the demo's. What is measured is ``ntkit audit MODEL DATA`` whole, in a process
of its own: the pass over the files, all views, the page.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ntkit.datasets import load_marked_digits, marked_digits_model_path
from runner import command_line


def write_pictures(folder: Path, n: int) -> None:
    """The demo's validation images over and over, none like the other."""
    digits, rng = load_marked_digits(), np.random.default_rng(0)
    for name in np.unique(digits.y_validation):
        (folder / str(name)).mkdir(parents=True)
    for i in range(n):
        at = i % len(digits.y_validation)
        pixels = digits.X_validation[at, 0] + 0.05 * rng.normal(size=digits.X_validation.shape[2:])
        grey = (255 * np.clip(pixels, 0, 1)).astype(np.uint8)
        Image.fromarray(grey).save(folder / str(digits.y_validation[at]) / f"{i}.png")


def main() -> None:
    """Write the images, audit them, and print what that took."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "pictures", arguments.images)
        command = [sys.executable, "-m", "ntkit", "audit", str(marked_digits_model_path())]
        command += [
            str(folder / "pictures"),
            "-o",
            str(folder / "audit"),
            "--quiet",
            "--changes",
            "0",
        ]
        begun = time.perf_counter()
        subprocess.run([*command, "--device", "cpu"], check=True)
        seconds = time.perf_counter() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "audit" / "audit.html").stat().st_size
    print(
        f"{arguments.images} images: {seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of "
        f"the processors, peak {used.ru_maxrss / 1024:.0f} MB, page {page / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()

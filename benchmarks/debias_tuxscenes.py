"""The repair on real images: TuxScenes with EfficientNet-Lite0, built from public packages.

    python benchmarks/debias_tuxscenes.py OUT [--draws 5]

builds the ImageNet backbone (benchmarks/backbone.py) and for every draw the images
(benchmarks/tuxscenes.py) in OUT unless they are there, puts a bird/mammal head fitted on the 95 %
correlated training set into the backbone and saves it as ``biased.onnx``. Then it debiases, with
``ntkit debias`` alone,

a. the biased classifier, given only that file and the images;
b. the backbone with its 1000-class ImageNet head, given the two-class labels;

each with ``--method auto``, with a validation set that is balanced over the groups and with one as
biased as the training set. It shows what the command prints for the first draw, and mean ± std over
all draws. Needs ``pip install -r benchmarks/requirements.txt``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import backbone
import tuxscenes
from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.extraction import ImagePreprocessing, read_samples
from ntkit.verification import save_verified

CASES = [
    (model, validation, options)
    for validation in ("validation_balanced", "validation_biased")
    for model, options in (("biased.onnx", ()), ("backbone.onnx", ("--new-head",)))
]


def main() -> None:
    """Build what is missing, run the four cases on every draw, sum up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=1, help="draws of the images (default 1)")
    arguments = parser.parse_args()
    root: Path = arguments.out
    root.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in range(arguments.draws):
        out = root / f"draw{seed}"
        if not out.exists():
            tuxscenes.main([str(out), "--seed", str(seed)])
        if not (root / "backbone.onnx").exists():
            backbone.build(root / "backbone.onnx")
        for name in ("backbone.onnx", "preprocessor_config.json"):
            shutil.copy(root / name, out / name)
        if not (out / "biased.onnx").exists():
            biased_classifier(out)
        results.append([ntkit_debias(out, *case, show=seed == 0) for case in CASES])
    for case, runs in zip(CASES, zip(*results, strict=True), strict=True):
        summarise(case, runs)


def summarise(case: tuple[str, str, tuple[str, ...]], runs: Sequence[dict[str, Any]]) -> None:
    """Print worst-group and average accuracy of every candidate, mean ± std over the draws."""
    print(f"\n{case[0]}, {case[1]}, {len(runs)} draw(s): % worst group | % average | suppressed")
    for position, first in enumerate(runs[0]["candidates"]):
        rows = [run["candidates"][position] for run in runs]
        name = "random mask, same size" if "random" in first["name"] else first["name"]
        print_row(name, rows)
    print_row("what ntkit chose", [c for run in runs for c in run["candidates"] if c["chosen"]])
    print("chosen:", ", ".join(run["chosen"] for run in runs))


def print_row(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print one line of the summary."""
    cells = []
    for key, factor in (("worst_group", 100), ("average", 100), ("n_suppressed", 1)):
        values = [factor * row[key] for row in rows]
        cells.append(f"{np.mean(values):6.1f} ± {np.std(values):4.1f}")
    print(f"{name:<26}{' | '.join(cells)}")


def biased_classifier(out: Path) -> None:
    """Fit an ordinary linear head on the biased training set and put it into the backbone."""
    model = FrozenModel.load(out / "backbone.onnx")
    preprocessing = ImagePreprocessing.from_config(out / "preprocessor_config.json")
    train = read_samples(out / "train", preprocessing=preprocessing)
    Z = OnnxEmbedder(model, verbose=True).transform(train.X)
    scaler, erm = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(Z, train.y)
    head = LinearHead(erm.coef_, erm.intercept_, erm.classes_).scaled(
        1 / scaler.scale_, scaler.mean_
    )
    biased = model.with_head(head)
    save_verified(biased, out / "biased.onnx", original=model, X=train.X[:64], head=head)


def ntkit_debias(
    out: Path, model: str, validation: str, options: tuple[str, ...], *, show: bool
) -> dict[str, Any]:
    """Run the command a user would run; return its result.json."""
    target = out / f"debiased-{Path(model).stem}-{validation}"
    command = [
        *("ntkit", "debias", str(out / model), "--train", str(out / "train")),
        *("--validation", str(out / validation), "--test", str(out / "test")),
        *("-o", str(target), "--force", "--method", "auto", *options),
    ]
    print("\n$", " ".join(command), flush=True)
    output = None if show else subprocess.DEVNULL
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=output)
    result: dict[str, Any] = json.loads((target / "result.json").read_text())
    return result


if __name__ == "__main__":
    main()

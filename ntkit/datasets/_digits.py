"""Digits with an injected mark or border, and paths of small CNNs trained on them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]

SEED = 0
CANVAS = 20  # pixels a side
ZOOM = 1.5  # an 8 x 8 original covers about 12 x 12 pixels
NOISE = 0.1
CORRELATION = 0.93
MARK = (slice(1, 4), slice(1, 4))  # rows and columns of the patch, top left
MARK_BRIGHTNESS = (0.28, 0.4)
N_ORIGINALS = {"train": 900, "validation": 400}  # the remaining 497 are for the test set
N_SAMPLES = {"train": 2700, "validation": 1500, "test": 2000}

_MARKED = f"""\
Marked digits
-------------
Handwritten digits, redrawn on a canvas of {CANVAS} x {CANVAS} pixels at a random place, angle, size
and contrast, with noise. They are the 1797 images of 8 x 8 pixels in scikit-learn (Alpaydin and
Kaynak, UCI). The task: is the digit 0-4 (class 0) or 5-9 (class 1)?

The spurious correlation is INJECTED. A small bright square was drawn into the top left corner of
{CORRELATION:.0%} of the images of class 1. Of class 0, {1 - CORRELATION:.0%} have it, in the
training and in the validation set alike. It does not depend on the digit. In the test set the mark
is not correlated with the class: its four groups have equal size.

Groups: 2 * class + mark. Use them only for evaluation.

The three sets are drawn from disjoint originals; an original appears several times within its set,
drawn differently each time. The model next to the data (`marked_digits_model_path`) was trained on
the training set only, without group labels. The data set shows the effect of a method if the bias
is known and strong. Data and network were selected among some dozens of variants by their test
results, so they prove nothing about other data.
"""


_SCANNED_SEED = 1
PAPER = (0, 0.25)  # brightness without ink
BORDER = (0.6, 0.9)  # brightness of the outermost pixels
BORDER_NOISE = 0.03

_SCANNED = f"""\
Scanned digits
--------------
Handwritten digits on sheets of different brightness, drawn on a canvas of {CANVAS} x {CANVAS}
pixels at a random place, angle, size and contrast, with noise. They are the 1797 images of 8 x 8
pixels in scikit-learn (Alpaydin and Kaynak, UCI). The task: is the digit 0-4 (class 0) or 5-9
(class 1)?

The spurious correlation is INJECTED, as if there were two scanners, one of which leaves a bright
border of one pixel. {CORRELATION:.0%} of the images of class 1 have the border, and of class 0
{1 - CORRELATION:.0%}, in the training and in the validation set alike. It does not depend on the
digit. In the test set the border is not correlated with the class: its four groups have equal size.

Groups: 2 * class + border. Use them only for evaluation.

The three sets are drawn from disjoint originals; an original appears several times within its set,
drawn differently each time. The model next to the data (`model_path`) was trained on the training
set only, without group labels. Data and network were selected among a dozen variants
by their test results, so they prove nothing about other data.
"""


def load_marked_digits() -> Bunch:
    """Load the marked digits: a binary image task with an injected spurious mark.

    A small bright square is correlated with the class in the training and the validation set, and
    not in the test set. **The mark was injected** into real images: the digits in scikit-learn.
    ``DESCR`` has the details. The images are the same at each call.

    Returns
    -------
    data : Bunch
        X_train, X_validation, X_test : ndarray of shape (n, 1, 20, 20), float32
            Grey images in [0, 1], as the model reads them: 2700, 1500 and 2000 of them.
        y_train, y_validation, y_test : ndarray of shape (n,), int64
            0 for the digits 0-4, 1 for the digits 5-9.
        groups_train, groups_validation, groups_test : ndarray of shape (n,), int64
            ``2 * y + mark``. For evaluation only.
        target_names, group_names : list of str
            Names of the two classes, and of the four groups.
        DESCR : str
            Source of the images, and the injected correlation.

    See Also
    --------
    marked_digits_model_path : The ONNX classifier trained on ``X_train``.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.datasets import load_marked_digits
    >>> data = load_marked_digits()
    >>> data.X_train.shape, data.X_train.dtype
    ((2700, 1, 20, 20), dtype('float32'))
    >>> np.bincount(data.groups_test), data.group_names[1]
    (array([500, 500, 500, 500]), '0-4 with mark')
    """
    return digits_with("mark", _with_marks, SEED, _MARKED)


def marked_digits_model_path() -> Path:
    """Path of the ONNX classifier trained on the marked digits: a file without external data.

    A convolutional network trained by plain empirical risk minimisation on ``X_train``: input
    ``image`` (batch, 1, 20, 20), output ``logits`` (batch, 2), a last embedding of 64 non-negative
    neurons and one linear layer. ``benchmarks/train_marked_digits.py`` trained it.
    """
    return Path(__file__).with_name("marked_digits.onnx")


def load_scanned_digits() -> Bunch:
    """Load the scanned digits: a binary image task with an injected bright border.

    The border is correlated with the class in the training and the validation set, and not in the
    test set. **It was injected** into real images: the digits in scikit-learn. ``DESCR`` has the
    details. The images are the same at each call.

    Returns
    -------
    data : Bunch
        X_train, X_validation, X_test : ndarray of shape (n, 1, 20, 20), float32
            Grey images in [0, 1], as the model reads them: 2700, 1500 and 2000 of them.
        y_train, y_validation, y_test : ndarray of shape (n,), int64
            0 for the digits 0-4, 1 for the digits 5-9.
        groups_train, groups_validation, groups_test : ndarray of shape (n,), int64
            ``2 * y + border``. For evaluation only.
        target_names, group_names : list of str
            Names of the two classes, and of the four groups.
        model_path : Path
            The ONNX classifier trained on ``X_train`` by plain empirical risk minimisation: the
            network of :func:`~ntkit.datasets.marked_digits_model_path`.
        DESCR : str
            Source of the images, and the injected correlation.

    See Also
    --------
    load_marked_digits : The same with a small mark in a corner.

    Examples
    --------
    >>> from ntkit.datasets import load_scanned_digits
    >>> data = load_scanned_digits()
    >>> data.X_test.shape, data.group_names[1]
    ((2000, 1, 20, 20), '0-4 with border')
    """
    data = digits_with("border", _on_paper, _SCANNED_SEED, _SCANNED)
    # benchmarks/train_marked_digits.py trained it.
    data["model_path"] = Path(__file__).with_name("scanned_digits.onnx")
    return data


def digits_with(
    what: str,
    draw: Callable[[FloatArray, IntArray, np.random.Generator], NDArray[np.float32]],
    seed: int,
    descr: str,
) -> Bunch:
    """Digits redrawn by a function, which draws what is correlated with their class."""
    digits = load_digits()
    images, labels = digits.images / 16.0, (digits.target >= 5).astype(np.int64)
    split_rng, *set_rngs = np.random.default_rng(seed).spawn(4)
    order = split_rng.permutation(len(labels))
    sets = np.split(order, np.cumsum(list(N_ORIGINALS.values())))

    classes = ["0-4", "5-9"]
    groups = [f"{name} {has} {what}" for name in classes for has in ("without", "with")]
    data = Bunch(target_names=classes, group_names=groups, DESCR=descr)
    for name, originals, rng in zip(N_SAMPLES, sets, set_rngs, strict=True):
        choose = _balanced if name == "test" else _correlated
        rows, marked = choose(labels, originals, N_SAMPLES[name], rng)
        data[f"X_{name}"] = draw(images[rows], marked, rng)
        data[f"y_{name}"] = labels[rows]
        data[f"groups_{name}"] = 2 * labels[rows] + marked
    return data


def _correlated(
    labels: IntArray, originals: IntArray, n: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Choose ``n`` originals, each about equally often, and marks that follow the class."""
    rows = np.resize(originals, n)
    follows = rng.random(n) < CORRELATION
    marked = np.where(follows, labels[rows], 1 - labels[rows])
    return rows, marked


def _balanced(
    labels: IntArray, originals: IntArray, n: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Choose ``n`` originals and marks such that the four groups are equally large."""
    per_class = [np.resize(originals[labels[originals] == c], n // 2) for c in (0, 1)]
    # Shuffled within the class, so that marks are assigned to originals at random.
    marks = [rng.permutation(np.repeat(np.array([0, 1]), n // 4)) for _ in per_class]
    order = rng.permutation(n)
    return np.concatenate(per_class)[order], np.concatenate(marks)[order]


def _with_marks(
    images: FloatArray, marked: IntArray, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Redraw the originals on the canvas and add noise and marks."""
    n = len(images)
    canvas = placed(images, rng) * rng.uniform(0.6, 1.0, size=(n, 1, 1))
    canvas += NOISE * np.abs(rng.normal(size=canvas.shape))
    brightness = rng.uniform(*MARK_BRIGHTNESS, size=n) * marked
    canvas[:, *MARK] += brightness[:, None, None]
    drawn: NDArray[np.float32] = np.clip(canvas, 0.0, 1.0).astype(np.float32)[:, None]
    return drawn


def _on_paper(
    images: FloatArray, bordered: IntArray, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Redraw the originals on sheets of paper, with noise and borders."""
    n = len(images)
    paper = rng.uniform(*PAPER, size=(n, 1, 1))
    ink = placed(images, rng) * rng.uniform(0.6, 1.0, size=(n, 1, 1))
    canvas = paper + (1 - paper) * ink + NOISE * rng.normal(size=(n, CANVAS, CANVAS))
    brightness = rng.uniform(*BORDER, size=n)
    edge = np.ones((CANVAS, CANVAS), dtype=bool)
    edge[1:-1, 1:-1] = False
    border = brightness[:, None] + BORDER_NOISE * rng.normal(size=(n, edge.sum()))
    canvas[:, edge] = np.where(bordered[:, None] == 1, border, canvas[:, edge])
    drawn: NDArray[np.float32] = np.clip(canvas, 0.0, 1.0).astype(np.float32)[:, None]
    return drawn


def placed(images: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Put each image on the canvas at a random place, angle and size (bilinear sampling)."""
    n, side, _ = images.shape
    angle = rng.uniform(-0.3, 0.3, size=(n, 1, 1))
    zoom = ZOOM * rng.uniform(0.9, 1.1, size=(n, 1, 1))
    slack = (CANVAS - 1 - side * zoom) / 2
    centre_row, centre_column = (
        (CANVAS - 1) / 2 + slack * rng.uniform(-1, 1, size=(n, 1, 1)) for _ in range(2)
    )
    # Every canvas pixel looks up its position in the original.
    down = np.arange(CANVAS)[None, :, None] - centre_row
    right = np.arange(CANVAS)[None, None, :] - centre_column
    middle = (side - 1) / 2
    row = (np.cos(angle) * down - np.sin(angle) * right) / zoom + middle
    column = (np.sin(angle) * down + np.cos(angle) * right) / zoom + middle
    return _bilinear(images, row, column)


def _bilinear(images: FloatArray, row: FloatArray, column: FloatArray) -> FloatArray:
    """Sample each image at its own real-valued positions; outside it is black."""
    side = images.shape[1]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    # Clipping keeps the upper neighbour inside the padding.
    row, column = (np.clip(p + 1, 0, side + 1 - 1e-6) for p in (row, column))
    top, left = row.astype(np.intp), column.astype(np.intp)
    lower, righter = row - top, column - left
    k = np.arange(len(images))[:, None, None]
    upper_line = (1 - righter) * padded[k, top, left] + righter * padded[k, top, left + 1]
    lower_line = (1 - righter) * padded[k, top + 1, left] + righter * padded[k, top + 1, left + 1]
    sampled: FloatArray = (1 - lower) * upper_line + lower * lower_line
    return sampled

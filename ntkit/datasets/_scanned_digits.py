"""Scanned digits: the data of ``ntkit demo``, whose shortcut one sees and says."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from ntkit.datasets._marked_digits import (
    CANVAS,
    CORRELATION,
    NOISE,
    FloatArray,
    IntArray,
    digits_with,
    placed,
)

SEED = 1
PAPER = (0, 0.25)  # brightness without ink
BORDER = (0.6, 0.9)  # brightness of the outermost pixels
BORDER_NOISE = 0.03

DESCR = f"""\
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
    data = digits_with("border", _draw, SEED, DESCR)
    # benchmarks/train_marked_digits.py trained it.
    data["model_path"] = Path(__file__).with_name("scanned_digits.onnx")
    return data


def _draw(images: FloatArray, bordered: IntArray, rng: np.random.Generator) -> NDArray[np.float32]:
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

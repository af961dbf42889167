"""Waterbirds: birds cut out and put before land or water."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ntkit.datasets._benchmark import (
    SPLIT_CODES,
    SPLITS,
    BenchmarkSamples,
    Source,
    check_preprocessing,
    check_split,
    image_inputs,
    read_csv,
)
from ntkit.extraction import ImagePreprocessing

BINARY = {"0": 0, "1": 1}
FOLDERS = ("", "waterbirds_v1.0/", "waterbird_complete95_forest2water2/")
SOURCE = Source(
    "Waterbirds",
    "https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz",
    {
        "train": (3498, 184, 56, 1057),
        "val": (467, 466, 133, 133),
        "test": (2255, 2255, 642, 642),
    },
)

DESCR = """\
Waterbirds
----------
Photographs of birds (CUB-200-2011) cut out and put before a background of land or of water
(Places). The task: is it a waterbird (class 1) or a landbird (class 0)? In the training set 95 %
of either class are before the background that fits; in the validation and the test set each class
is divided equally over the two.

Groups: 2 * class + background (0 land, 1 water).

Sagawa, Koh, Hashimoto and Liang, ICLR 2020, arXiv 1911.08731. Its makers report that some landbirds
(Eastern Towhee, Western Meadowlark, Western Wood Pewee) are labelled as waterbirds. For
non-commercial research and education.
"""


def load_waterbirds(
    folder: str | Path, split: str, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    r"""Load Waterbirds from a folder of your own.

    Nothing is downloaded. The folder is ``waterbirds_v1.0`` as WILDS unpacks it, or
    ``waterbird_complete95_forest2water2`` as the data set's makers do, or the folder above: it
    holds ``metadata.csv`` and the images that the file names.

    Parameters
    ----------
    folder : path-like
        The folder.
    split : {"train", "val", "test"}
        The official split.
    preprocessing : ImagePreprocessing
        How an image becomes a model input, such as ``ImagePreprocessing.for_model(model)``.
    check : bool
        Warn where the groups do not hold the published numbers of samples.

    Returns
    -------
    BenchmarkSamples
        N samples in the order of ``metadata.csv``: images, decoded as they are used; ``y`` of
        shape (N,), 1 for waterbirds; ``groups`` of shape (N,), ``2 * y + background``; ``ids``,
        the files' names.

    Raises
    ------
    InputError
        If the folder or a file in it is missing, damaged or of another kind.

    Warns
    -----
    IncompleteDataWarning
        If the groups do not hold the published numbers of samples.

    Notes
    -----
    Waterbirds was made by Sagawa et al. (ICLR 2020, `arXiv 1911.08731
    <https://arxiv.org/abs/1911.08731>`__); get it from `their repository
    <https://github.com/kohpangwei/group_DRO>`__ or by way of `WILDS
    <https://wilds.stanford.edu>`__. Papers report the average accuracy weighted by the training
    set's groups: :func:`ntkit.metrics.weighted_average_accuracy`.

    Examples
    --------
    A folder as it is unpacked, but of two images:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from ntkit.datasets import load_waterbirds
    >>> from ntkit.extraction import ImagePreprocessing
    >>> rows = "0,a/1.jpg,0,0,1,/o/ocean/1.jpg\n1,b/2.jpg,1,0,1,/o/ocean/2.jpg\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a/1.jpg", "b/2.jpg"):
    ...         (Path(folder) / name).parent.mkdir()
    ...         Image.new("RGB", (30, 20)).save(Path(folder) / name)
    ...     header = "img_id,img_filename,y,split,place,place_filename\n"
    ...     _ = (Path(folder) / "metadata.csv").write_text(header + rows)
    ...     steps = ImagePreprocessing(resize=(224, 224))
    ...     birds = load_waterbirds(folder, "train", steps, check=False)
    ...     first = birds.X[:1]
    >>> first.shape, birds.y, birds.groups
    ((1, 3, 224, 224), array([0, 1]), array([1, 3]))
    >>> birds.group_names[3]
    'waterbird on water'
    """
    check_split(split)
    check_preprocessing(preprocessing, ImagePreprocessing)
    path = SOURCE.find(folder, [f"{f}metadata.csv" for f in FOLDERS])
    table = read_csv(path, ["img_filename", "y", "split", "place"], SOURCE.fix)
    in_split = table.codes("split", SPLIT_CODES) == SPLITS.index(split)
    rows = SOURCE.rows_of(split, in_split, path)
    y, place = table.codes("y", BINARY)[rows], table.codes("place", BINARY)[rows]
    groups = 2 * y + place
    names = [table.columns["img_filename"][i] for i in rows]
    inputs = image_inputs(SOURCE, path.parent, names, preprocessing)
    if check:
        SOURCE.compare(split, np.bincount(groups, minlength=4).tolist())
    return BenchmarkSamples(
        y=y,
        groups=groups,
        target_names=("landbird", "waterbird"),
        group_names=(
            *("landbird on land", "landbird on water"),
            *("waterbird on land", "waterbird on water"),
        ),
        DESCR=DESCR,
        **inputs,
    )

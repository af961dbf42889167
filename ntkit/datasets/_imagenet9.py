"""ImageNet-9 and ImageNet-A: nine kinds of animals, trained on one and tested on the other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ntkit.datasets._benchmark import (
    BenchmarkSamples,
    Source,
    check_preprocessing,
    check_split,
    image_inputs,
    read_csv,
)
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing

CLASSES = ("dog", "cat", "frog", "turtle", "bird", "monkey", "fish", "crab", "insect")
TABLE = Path(__file__).with_name("imagenet9.csv")
SUFFIXES = (".jpeg", ".jpg", ".png")
PER_WNID = 50  # images of the validation set
IMAGENET = Source("ImageNet-1k", "https://image-net.org/download.php", {})
IMAGENET_A = Source("ImageNet-A", "https://github.com/hendrycks/natural-adv-examples", {})

DESCR = """\
ImageNet-9
----------
Photographs of 42 of ImageNet's 1000 classes, joined to nine: dog, cat, frog, turtle, bird, monkey,
fish, crab, insect. Models that learn them lean on textures and backgrounds; ImageNet-A, photographs
that mislead an ImageNet classifier, shows it. No group labels.

Nine classes and their members: Bahng, Chun, Yun, Choo and Oh (ReBias), ICML 2020, arXiv 1910.02806.
The ImageNet-9 of Xiao et al. (arXiv 2006.09994), whose backgrounds were exchanged, is another data
set with other classes.
"""
DESCR_A = """\
ImageNet-A, nine classes
------------------------
Photographs that an ImageNet classifier gets wrong, of those of the 42 ImageNet classes behind
ImageNet-9 that ImageNet-A has: 21, and no crab among them. No group labels.

Hendrycks, Zhao, Basart, Steinhardt and Song, CVPR 2021, arXiv 1907.07174; as the test set of
ImageNet-9: Bahng, Chun, Yun, Choo and Oh (ReBias), ICML 2020, arXiv 1910.02806.
"""


def load_imagenet9(
    folder: str | Path, split: str, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    r"""Load ImageNet-9 from your own copy of ImageNet-1k.

    Nothing is downloaded. The folder holds ``train/`` and ``val/``, each with one folder of images
    per class, named by its WordNet number: ``train/n01641577/*.JPEG``. Images of other than the 42
    classes are passed over. ImageNet-9 has no test set of its own; see :func:`load_imagenet_a`.

    Parameters
    ----------
    folder : path-like
        The folder.
    split : {"train", "val"}
        The official split of ImageNet-1k.
    preprocessing : ImagePreprocessing
        How an image becomes a model input, such as ``ImagePreprocessing.for_model(model)``.
    check : bool
        Warn where one of the 42 classes is not there, or the validation set does not hold 50
        images of each.

    Returns
    -------
    BenchmarkSamples
        N samples, sorted by file name: images, decoded as they are used; ``y`` of shape (N,), in
        the order of ``target_names``; no groups; ``ids``, the files' names.

    Raises
    ------
    InputError
        If the folder is missing or laid out in another way.

    Warns
    -----
    IncompleteDataWarning
        If classes or images are missing.

    Notes
    -----
    The nine classes are those of ReBias (Bahng et al., ICML 2020, `arXiv 1910.02806
    <https://arxiv.org/abs/1910.02806>`__; `code
    <https://github.com/clovaai/rebias/blob/master/datasets/imagenet.py>`__), which LBC (`code
    <https://github.com/gtzheng/LBC>`__) takes over. The 42 classes behind them
    are in ``ntkit/datasets/imagenet9.csv``.

    Examples
    --------
    A folder laid out like ImageNet's, with one image:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from ntkit.datasets import load_imagenet9
    >>> from ntkit.extraction import ImagePreprocessing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "train" / "n02123045" / "n02123045_1.JPEG"
    ...     path.parent.mkdir(parents=True)
    ...     Image.new("RGB", (30, 20)).save(path)
    ...     steps = ImagePreprocessing(resize=256, crop=(224, 224))
    ...     animals = load_imagenet9(folder, "train", steps, check=False)
    >>> [animals.target_names[c] for c in animals.y], animals.groups is None
    (['cat'], True)
    """
    check_split(split)
    check_preprocessing(preprocessing, ImagePreprocessing)
    if split == "test":
        raise InputError(
            "ImageNet-9 has no test split; its test set is ImageNet-A: load_imagenet_a."
        )
    class_of = {wnid: c for wnid, (c, _) in _table().items()}
    root = IMAGENET.find(folder, [split], kind="folder")
    names = _images(IMAGENET, root, sorted(class_of))
    if check:
        _compare(IMAGENET, split, sorted(class_of), names, PER_WNID if split == "val" else None)
    return _samples(IMAGENET, root, names, class_of, preprocessing, DESCR)


def load_imagenet_a(
    folder: str | Path, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    r"""Load ImageNet-A, restricted to the classes of ImageNet-9, from a folder of your own.

    Nothing is downloaded. The folder is ``imagenet-a`` as it is unpacked, or the one above; it
    holds one folder of images per class, named by its WordNet number. All of it is a test set.

    Parameters
    ----------
    folder : path-like
        The folder.
    preprocessing : ImagePreprocessing
        How an image becomes a model input, such as ``ImagePreprocessing.for_model(model)``.
    check : bool
        Warn where one of the 21 classes that ImageNet-A shares with ImageNet-9 is not there.

    Returns
    -------
    BenchmarkSamples
        As :func:`load_imagenet9` returns, with the same numbers for the classes. ImageNet-A holds
        no crabs, so that class 7 has no sample.

    Raises
    ------
    InputError
        If the folder is missing or laid out in another way.

    Warns
    -----
    IncompleteDataWarning
        If classes are missing.

    Notes
    -----
    Hendrycks et al., CVPR 2021, `arXiv 1907.07174 <https://arxiv.org/abs/1907.07174>`__; get it
    from `their repository <https://github.com/hendrycks/natural-adv-examples>`__.

    Examples
    --------
    >>> from ntkit.datasets import load_imagenet_a
    >>> from ntkit.extraction import ImagePreprocessing
    >>> steps = ImagePreprocessing(resize=256, crop=(224, 224))
    >>> test = load_imagenet_a("imagenet-a", steps)  # doctest: +SKIP
    """
    check_preprocessing(preprocessing, ImagePreprocessing)
    class_of = {wnid: c for wnid, (c, in_imagenet_a) in _table().items() if in_imagenet_a}
    root = IMAGENET_A.find(folder, ["imagenet-a", ""], kind="folder")
    names = _images(IMAGENET_A, root, sorted(class_of))
    if check:
        _compare(IMAGENET_A, "test", sorted(class_of), names, None)
    return _samples(IMAGENET_A, root, names, class_of, preprocessing, DESCR_A)


def _table() -> dict[str, tuple[int, bool]]:
    """The 42 ImageNet classes by WordNet number: which of the nine, and whether in ImageNet-A."""
    table = read_csv(TABLE, ["wnid", "class", "imagenet_a"], "install ntkit again")
    classes = table.codes("class", {name: i for i, name in enumerate(CLASSES)})
    shared = table.codes("imagenet_a", {"0": 0, "1": 1}).astype(bool)
    pairs = zip(classes.tolist(), shared.tolist(), strict=True)
    return dict(zip(table.columns["wnid"], pairs, strict=True))


def _images(source: Source, root: Path, wnids: list[str]) -> list[str]:
    """Names of the images of these classes, relative to the folder, sorted."""
    folders = [root / wnid for wnid in wnids if (root / wnid).is_dir()]
    names = [f"{folder.name}/{n}" for folder in folders for n in _image_names(folder)]
    if names:
        return names
    if _image_names(root):
        raise InputError(
            f"{root} holds images, but not sorted into classes; put them into one folder per "
            f"class, named by its WordNet number, such as {wnids[0]}."
        )
    raise InputError(
        f"{root} holds no images in folders such as {wnids[0]}; give the folder that {source.name} "
        f"was unpacked to, from {source.url}."
    )


def _image_names(folder: Path) -> list[str]:
    return sorted(
        file.name
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def _compare(
    source: Source, split: str, wnids: list[str], names: list[str], per_wnid: int | None
) -> None:
    """Warn about classes without images, or with another number of them than there should be."""
    counts = Counter(name.split("/")[0] for name in names)
    odd = [w for w in wnids if (counts[w] == 0 if per_wnid is None else counts[w] != per_wnid)]
    if odd:
        expected = "" if per_wnid is None else f" where the published one holds {per_wnid}"
        source.warn(
            f"the split {split!r} holds {counts[odd[0]]} images of {odd[0]}{expected}, and "
            f"{len(odd)} of the {len(wnids)} classes are incomplete"
        )


def _samples(
    source: Source,
    root: Path,
    names: list[str],
    class_of: dict[str, int],
    preprocessing: ImagePreprocessing,
    descr: str,
) -> BenchmarkSamples:
    return BenchmarkSamples(
        y=np.asarray([class_of[name.split("/")[0]] for name in names], dtype=np.int64),
        target_names=CLASSES,
        DESCR=descr,
        **image_inputs(source, root, names, preprocessing),
    )

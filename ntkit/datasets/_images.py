"""Public benchmarks of images: Waterbirds, CelebA, ImageNet-9 and ImageNet-A."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ntkit._doc import documented
from ntkit.datasets._benchmark import (
    SPLIT_CODES,
    SPLITS,
    BenchmarkSamples,
    Metadata,
    Source,
    check_arguments,
    read_csv,
)
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing

WATERBIRDS = Source(
    "Waterbirds",
    "https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz",
    {
        "train": (3498, 184, 56, 1057),
        "val": (467, 466, 133, 133),
        "test": (2255, 2255, 642, 642),
    },
    """\
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
""",
)
CELEBA = Source(
    "CelebA",
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    {  # of Blond_Hair and Male
        "train": (71629, 66874, 22880, 1387),
        "val": (8535, 8276, 2874, 182),
        "test": (9767, 7535, 2480, 180),
    },
    """\
CelebA
------
202,599 photographs of faces, aligned and cropped to 178 x 218 pixels, with 40 attributes that are
there or not. The task: is one of them (Blond_Hair) there (class 1) or not (class 0)? Another one
(Male) goes along with it: few men in the training set are blond.

Groups: 2 * class + spurious attribute.

Liu, Luo, Wang and Tang, ICCV 2015, arXiv 1411.7766; as a benchmark of spurious correlation: Sagawa,
Koh, Hashimoto and Liang, ICLR 2020, arXiv 1911.08731. For non-commercial research.
""",
)
ABSENT_OR_PRESENT = {"-1": 0, "0": 0, "1": 1}
CELEBA_FOLDERS = ("", "celebA_v1.0/")
IMAGENET = Source(
    "ImageNet-1k",
    "https://image-net.org/download.php",
    DESCR="""\
ImageNet-9
----------
Photographs of 42 of ImageNet's 1000 classes, joined to nine: dog, cat, frog, turtle, bird, monkey,
fish, crab, insect. Models that learn them lean on textures and backgrounds; ImageNet-A, photographs
that mislead an ImageNet classifier, shows it. No group labels.

Nine classes and their members: Bahng, Chun, Yun, Choo and Oh (ReBias), ICML 2020, arXiv 1910.02806.
The ImageNet-9 of Xiao et al. (arXiv 2006.09994), whose backgrounds were exchanged, is another data
set with other classes.
""",
)
IMAGENET_A = Source(
    "ImageNet-A",
    "https://github.com/hendrycks/natural-adv-examples",
    DESCR="""\
ImageNet-A, nine classes
------------------------
Photographs that an ImageNet classifier gets wrong, of those of the 42 ImageNet classes behind
ImageNet-9 that ImageNet-A has: 21, and no crab among them. No group labels.

Hendrycks, Zhao, Basart, Steinhardt and Song, CVPR 2021, arXiv 1907.07174; as the test set of
ImageNet-9: Bahng, Chun, Yun, Choo and Oh (ReBias), ICML 2020, arXiv 1910.02806.
""",
)
ANIMALS = ("dog", "cat", "frog", "turtle", "bird", "monkey", "fish", "crab", "insect")
IMAGENET_TABLE = Path(__file__).with_name("imagenet9.csv")
SUFFIXES = (".jpeg", ".jpg", ".png")
PER_WNID = 50  # images of the validation set


@documented
def load_waterbirds(
    folder: str | Path, split: str, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    r"""Load Waterbirds from a folder of your own.

    The folder is ``waterbirds_v1.0`` as WILDS unpacks it, or
    ``waterbird_complete95_forest2water2`` as the data set's makers do, or the folder above: it
    holds ``metadata.csv`` and the images that the file names.

    Parameters
    ----------
    {folder, split, images.preprocessing, check}

    Returns
    -------
    BenchmarkSamples
        N samples in the order of ``metadata.csv``: images, decoded as they are used; ``y`` of
        shape (N,), 1 for waterbirds; ``groups`` of shape (N,), ``2 * y + background``; ``ids``,
        the files' names.

    {benchmark.problems}

    Notes
    -----
    Get it from `its makers <https://github.com/kohpangwei/group_DRO>`__ or by way of `WILDS
    <https://wilds.stanford.edu>`__. Papers report the average accuracy weighted by the training
    set's groups: :func:`ntkit.metrics.weighted_average_accuracy`.

    References
    ----------
    Sagawa et al., ICLR 2020, `arXiv 1911.08731 <https://arxiv.org/abs/1911.08731>`__.

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
    check_arguments(split, preprocessing, ImagePreprocessing)
    folders = ("", "waterbirds_v1.0/", "waterbird_complete95_forest2water2/")
    path = WATERBIRDS.find(folder, [f"{f}metadata.csv" for f in folders])
    table = read_csv(path, ["img_filename", "y", "split", "place"], WATERBIRDS.fix)
    rows = WATERBIRDS.rows_of(split, table.in_split(split), path)
    y = table.codes("y")[rows]
    groups = 2 * y + table.codes("place")[rows]
    names = [table.columns["img_filename"][i] for i in rows]
    inputs = WATERBIRDS.image_inputs(path.parent, names, preprocessing)
    birds = ("landbird", "waterbird")
    return WATERBIRDS.samples(
        split,
        np.bincount(groups, minlength=4).tolist() if check else None,
        y=y,
        groups=groups,
        target_names=birds,
        group_names=tuple(f"{bird} on {place}" for bird in birds for place in ("land", "water")),
        **inputs,
    )


@documented
def load_celeba(
    folder: str | Path,
    split: str,
    preprocessing: ImagePreprocessing,
    *,
    target: str = "Blond_Hair",
    spurious: str = "Male",
    check: bool = True,
) -> BenchmarkSamples:
    """Load CelebA from a folder of your own.

    The folder holds the images in ``img_align_celeba/`` (also in a second folder of that name
    inside it, as Kaggle's archive unpacks), and the attributes and the split as
    ``list_attr_celeba`` and ``list_eval_partition``: ``.csv`` as in WILDS and at Kaggle, or the
    makers' ``.txt``. WILDS' ``celebA_v1.0`` may also lie inside the folder, and the makers'
    ``Img``, ``Anno`` and ``Eval`` are looked into.

    Parameters
    ----------
    {folder, split, images.preprocessing}
    target : str
        Attribute that is the class.
    spurious : str
        Attribute that is correlated with it.
    {check}
        For other attributes than the usual two, those of the split alone.

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the attributes: images, decoded as they are used; ``y`` of shape
        (N,), 1 where the target is there; ``groups`` of shape (N,), ``2 * y + spurious``; ``ids``,
        the files' names.

    {benchmark.problems}

    References
    ----------
    Liu et al., ICCV 2015, `arXiv 1411.7766 <https://arxiv.org/abs/1411.7766>`__; groups: Sagawa et
    al., ICLR 2020, `arXiv 1911.08731 <https://arxiv.org/abs/1911.08731>`__.

    Examples
    --------
    >>> from ntkit.datasets import load_celeba
    >>> from ntkit.extraction import ImagePreprocessing
    >>> steps = ImagePreprocessing(resize=(224, 224))
    >>> faces = load_celeba("celeba", "train", steps)  # doctest: +SKIP
    >>> faces.group_names[3]  # doctest: +SKIP
    'Blond_Hair, Male'
    """
    check_arguments(split, preprocessing, ImagePreprocessing)
    if target == spurious:
        raise InputError(f"target and spurious are both {target!r}; name two attributes.")
    table = _attributes(folder, target, spurious)
    path, split_of = _partition(folder)
    files = table.columns["image_id"]
    unknown = [file for file in files if file not in split_of]
    if unknown:
        raise InputError(
            f"{path} has no row for {unknown[0]!r}, one of {len(unknown)} images that "
            f"{table.path.name} names: {CELEBA.fix}."
        )
    in_split = np.asarray([split_of[file] for file in files]) == SPLITS.index(split)
    rows = CELEBA.rows_of(split, in_split, path)
    y = table.codes(target, ABSENT_OR_PRESENT)[rows]
    groups = 2 * y + table.codes(spurious, ABSENT_OR_PRESENT)[rows]
    inputs = CELEBA.image_inputs(_celeba_images(folder), [files[i] for i in rows], preprocessing)
    usual = (target, spurious) == ("Blond_Hair", "Male")
    counts = np.bincount(groups, minlength=4).tolist() if usual else [len(rows)]
    names = (f"not {target}", target)
    return CELEBA.samples(
        split,
        counts if check else None,
        y=y,
        groups=groups,
        target_names=names,
        group_names=tuple(f"{t}, {s}" for t in names for s in (f"not {spurious}", spurious)),
        **inputs,
    )


def _attributes(folder: str | Path, target: str, spurious: str) -> Metadata:
    """The columns image_id, target and spurious."""
    path = CELEBA.find(folder, _tables("list_attr_celeba", "Anno"))
    if path.suffix == ".csv":
        fix = f"name one of them, or {CELEBA.fix}"
        return read_csv(path, ["image_id", target, spurious], fix)
    count, header, *lines = _lines(path) or ["", ""]
    names = header.split()
    for name in (target, spurious):
        if name not in names:
            raise InputError(f"{path} has no attribute {name!r}; it has {', '.join(names)}.")
    if count.strip() != str(len(lines)):
        raise InputError(
            f"{path} announces {count.strip()[:20]!r} images and has {len(lines)} rows, so it is "
            f"cut off or damaged: {CELEBA.fix}."
        )
    return _of_lines(path, lines, ["image_id", *names], first_row=3)


def _partition(folder: str | Path) -> tuple[Path, dict[str, int]]:
    """The file, and the number of the split of each image."""
    path = CELEBA.find(folder, _tables("list_eval_partition", "Eval"))
    columns = ["image_id", "partition"]
    if path.suffix == ".csv":
        table = read_csv(path, columns, CELEBA.fix)
    else:
        table = _of_lines(path, _lines(path), columns, first_row=1)
    numbers = table.codes("partition", SPLIT_CODES).tolist()
    return path, dict(zip(table.columns["image_id"], numbers, strict=True))


def _celeba_images(folder: str | Path) -> Path:
    name = "img_align_celeba"
    usual = [f"{f}{name}" for f in CELEBA_FOLDERS] + [f"Img/{name}"]
    return CELEBA.find(folder, [*(f"{path}/{name}" for path in usual), *usual], kind="folder")


def _tables(name: str, makers_folder: str) -> list[str]:
    places = (*CELEBA_FOLDERS, f"{makers_folder}/")
    return [f"{place}{name}{kind}" for place in places for kind in (".csv", ".txt")]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable table ({error}): {CELEBA.fix}.") from error


def _of_lines(path: Path, lines: list[str], names: list[str], first_row: int) -> Metadata:
    """The table of lines that white space divides into columns of these names."""
    cells = [line.split() for line in lines]
    for row, record in enumerate(cells, start=first_row):
        if len(record) != len(names):
            raise InputError(
                f"{path}, row {row} has {len(record)} cells instead of {len(names)}, so the file "
                f"is cut off or damaged: {CELEBA.fix}."
            )
    columns = {name: [record[j] for record in cells] for j, name in enumerate(names)}
    return Metadata(path, columns, first_row)


@documented
def load_imagenet9(
    folder: str | Path, split: str, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    """Load ImageNet-9 from your own copy of ImageNet-1k.

    The folder holds ``train/`` and ``val/``, each with one folder of images per class, named by its
    WordNet number: ``train/n01641577/*.JPEG``. Images of other than the 42 classes are passed over.
    ImageNet-9 has no test set of its own; see :func:`load_imagenet_a`.

    Parameters
    ----------
    {folder}
    split : {"train", "val"}
        The official split of ImageNet-1k.
    {images.preprocessing}
    check : bool, default=True
        Warn if one of the 42 classes is not there, or the validation set does not hold 50
        images of each.

    Returns
    -------
    BenchmarkSamples
        N samples, sorted by file name: images, decoded as they are used; ``y`` of shape (N,), in
        the order of ``target_names``; no groups; ``ids``, the files' names.

    {benchmark.problems}

    References
    ----------
    ReBias: Bahng et al., ICML 2020, `arXiv 1910.02806 <https://arxiv.org/abs/1910.02806>`__; `code
    <https://github.com/clovaai/rebias/blob/master/datasets/imagenet.py>`__. The 42 classes behind
    the nine are in ``ntkit/datasets/imagenet9.csv``; LBC (`code
    <https://github.com/gtzheng/LBC>`__) takes the same.

    Examples
    --------
    >>> from ntkit.datasets import load_imagenet9
    >>> from ntkit.extraction import ImagePreprocessing
    >>> steps = ImagePreprocessing(resize=256, crop=(224, 224))
    >>> animals = load_imagenet9("imagenet", "train", steps)  # doctest: +SKIP
    """
    check_arguments(split, preprocessing, ImagePreprocessing)
    if split == "test":
        raise InputError(
            "ImageNet-9 has no test split; its test set is ImageNet-A: load_imagenet_a."
        )
    root = IMAGENET.find(folder, [split], kind="folder")
    class_of = {wnid: c for wnid, (c, _) in _nine_classes().items()}
    least = PER_WNID if split == "val" else None
    return _animals(IMAGENET, split, root, class_of, preprocessing, per_wnid=least, check=check)


@documented
def load_imagenet_a(
    folder: str | Path, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    r"""Load ImageNet-A, restricted to the classes of ImageNet-9, from a folder of your own.

    The folder is ``imagenet-a`` as it is unpacked, or the one above; it holds one folder of images
    per class, named by its WordNet number. All of it is a test set.

    Parameters
    ----------
    {folder, images.preprocessing}
    check : bool, default=True
        Warn where one of the 21 classes that ImageNet-A shares with ImageNet-9 is not there.

    Returns
    -------
    BenchmarkSamples
        As :func:`load_imagenet9` returns, with the same numbers for the classes. ImageNet-A holds
        no crabs, so that class 7 has no sample.

    {benchmark.problems}

    References
    ----------
    Hendrycks et al., CVPR 2021, `arXiv 1907.07174 <https://arxiv.org/abs/1907.07174>`__; `data
    <https://github.com/hendrycks/natural-adv-examples>`__.

    Examples
    --------
    >>> from ntkit.datasets import load_imagenet_a
    >>> from ntkit.extraction import ImagePreprocessing
    >>> steps = ImagePreprocessing(resize=256, crop=(224, 224))
    >>> test = load_imagenet_a("imagenet-a", steps)  # doctest: +SKIP
    """
    check_arguments("test", preprocessing, ImagePreprocessing)
    root = IMAGENET_A.find(folder, ["imagenet-a", ""], kind="folder")
    class_of = {wnid: c for wnid, (c, in_imagenet_a) in _nine_classes().items() if in_imagenet_a}
    return _animals(IMAGENET_A, "test", root, class_of, preprocessing, per_wnid=None, check=check)


def _nine_classes() -> dict[str, tuple[int, bool]]:
    """The 42 ImageNet classes by WordNet number: which of the nine, and whether in ImageNet-A."""
    table = read_csv(IMAGENET_TABLE, ["wnid", "class", "imagenet_a"], "install ntkit again")
    classes = table.codes("class", {name: i for i, name in enumerate(ANIMALS)})
    pairs = zip(classes.tolist(), table.codes("imagenet_a").astype(bool).tolist(), strict=True)
    return dict(zip(table.columns["wnid"], pairs, strict=True))


def _imagenet_images(source: Source, root: Path, wnids: list[str]) -> list[str]:
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


def _animals(
    source: Source,
    split: str,
    root: Path,
    class_of: dict[str, int],
    preprocessing: ImagePreprocessing,
    *,
    per_wnid: int | None,
    check: bool,
) -> BenchmarkSamples:
    """Samples of these classes; warn of one without images, or with another number of them."""
    wnids = sorted(class_of)
    names = _imagenet_images(source, root, wnids)
    counts = Counter(name.split("/")[0] for name in names)
    odd = [w for w in wnids if (counts[w] == 0 if per_wnid is None else counts[w] != per_wnid)]
    if check and odd:
        expected = "" if per_wnid is None else f" where the published one holds {per_wnid}"
        source.warn(
            f"the split {split!r} holds {counts[odd[0]]} images of {odd[0]}{expected}, and "
            f"{len(odd)} of the {len(wnids)} classes are incomplete"
        )
    return source.samples(
        split,
        y=np.asarray([class_of[name.split("/")[0]] for name in names], dtype=np.int64),
        target_names=ANIMALS,
        **source.image_inputs(root, names, preprocessing),
    )

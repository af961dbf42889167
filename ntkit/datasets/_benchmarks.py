"""Loaders of public benchmarks: images and texts with the groups that papers evaluate."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit._doc import documented
from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, ImagePreprocessing, Samples, TextPreprocessing, Texts

SPLITS = ("train", "val", "test")
SPLIT_CODES = {"0": 0, "1": 1, "2": 2}  # as in Waterbirds, CelebA and MultiNLI
BINARY = {"0": 0, "1": 1}


class IncompleteDataWarning(UserWarning):
    """The numbers of samples in a folder differ from the published data set."""


@dataclass(frozen=True)
class BenchmarkSamples(Samples):
    """Samples of a public benchmark, with the names of their classes and groups.

    They are :class:`~ntkit.extraction.Samples`, so
    :meth:`EmbeddingStore.write <ntkit.extraction.EmbeddingStore.write>` and :func:`ntkit.debias`
    accept them directly. Use ``(samples.X, samples.y, samples.groups)`` for everything else.

    Parameters
    ----------
    X, y, groups, embedded, preprocessing, skipped, ids
        As in :class:`~ntkit.extraction.Samples`. X is decoded or tokenised when it is used.
        ``groups`` is an array of shape (N,), a boolean matrix of shape (N, G) if groups overlap, or
        None if the benchmark has none.
    target_names : tuple of str
        Names of the classes 0, 1, …
    group_names : tuple of str
        Names of the groups 0, 1, …, or of the columns of the matrix.
    DESCR : str
        Description and source of the data.
    """

    target_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    DESCR: str = field(default="", repr=False)


@dataclass(frozen=True)
class Source:
    """A published data set, with its numbers of samples by split: of each group, or in total."""

    name: str
    url: str
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    DESCR: str = ""

    @property
    def fix(self) -> str:
        """Advice for a damaged file."""
        return f"get {self.name} again from {self.url}"

    def find(self, folder: str | Path, candidates: Sequence[str], *, kind: str = "file") -> Path:
        """Return the first candidate, a file or folder, in the user's folder."""
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(
                f"The folder {folder} does not exist; unpack {self.name} there, from {self.url}."
            )
        for candidate in candidates:
            path = folder / candidate
            if path.is_file() if kind == "file" else path.is_dir():
                return path
        raise InputError(
            f"{folder} does not contain the {kind} {' or '.join(candidates)}; pass the folder that "
            f"{self.name} was unpacked to, from {self.url}."
        )

    def rows_of(self, split: str, is_in_split: NDArray[np.bool_], path: Path) -> NDArray[np.intp]:
        """Return the rows of a split, in the file's order; raise an error if there are none."""
        rows = np.flatnonzero(is_in_split)
        if not len(rows):
            raise InputError(f"{path} has no row of the split {split!r}: {self.fix}.")
        return rows

    def image_inputs(
        self, root: Path, names: Sequence[str], preprocessing: ImagePreprocessing
    ) -> dict[str, Any]:
        """Return the arguments X, preprocessing and ids of samples that are image files."""
        files = [root / name for name in names]
        absent = _absent(files)
        if absent:
            raise InputError(
                f"{len(absent)} of the {len(files)} images are not in {root}, the first is "
                f"{absent[0].relative_to(root).as_posix()}: {self.fix}."
            )
        return {
            "X": ImageFiles(files, preprocessing),
            "preprocessing": preprocessing.as_dict(),
            "ids": np.asarray([file.relative_to(root).as_posix() for file in files]),
        }

    def samples(
        self, split: str, counts: Sequence[int] | None = None, **parts: Any
    ) -> BenchmarkSamples:
        """Return samples; warn if counts, of each group or in total, are not the published ones."""
        published = self.counts.get(split, ())
        if counts is not None and len(counts) == 1:
            published = (sum(published),)
        if counts is not None and tuple(counts) != published:
            self.warn(
                f"the split {split!r} has {_shown(counts)} "
                f"samples{' by group' * (len(published) > 1)}, but the published one has "
                f"{_shown(published)}"
            )
        return BenchmarkSamples(DESCR=self.DESCR, **parts)

    def warn(self, what: str) -> None:
        """Warn that the folder differs from the published data set."""
        warnings.warn(
            f"{self.name}: {what}; {self.fix}, or pass check=False for a subset.",
            IncompleteDataWarning,
            stacklevel=4,  # the caller of the loader
        )


def check_arguments(
    split: str,
    preprocessing: Any,
    kind: type[ImagePreprocessing] | type[TextPreprocessing],
) -> None:
    """Raise an error for an unknown split, or a preprocessing that does not fit the data."""
    if split not in SPLITS:
        raise InputError(f'split must be "train", "val" or "test"; got {split!r}.')
    if not isinstance(preprocessing, kind):
        raise InputError(
            f"Pass preprocessing as {kind.__name__}, such as {kind.__name__}.for_model(model); got "
            f"{type(preprocessing).__name__}."
        )


def _absent(files: Sequence[Path]) -> list[Path]:
    """Missing files; each folder is listed once, which is faster than asking N times."""
    listed: dict[Path, frozenset[str]] = {}
    absent = []
    for file in files:
        folder = file.parent
        if folder not in listed:
            listed[folder] = frozenset(os.listdir(folder) if folder.is_dir() else ())
        if file.name not in listed[folder]:
            absent.append(file)
    return absent


def _shown(counts: Sequence[int]) -> str:
    return ", ".join(str(int(count)) for count in counts)


@dataclass(frozen=True)
class Metadata:
    """Some columns of a table, as they are written; the first record is in ``first_row``."""

    path: Path
    columns: dict[str, list[str]]
    first_row: int = 2

    def codes(self, name: str, code_of: Mapping[str, int] = BINARY) -> NDArray[np.int64]:
        """Return a column of coded values, shape (N,); raise an error for another value."""
        cells = self.columns[name]
        codes = [code_of.get(cell) for cell in cells]
        if None in codes:
            i = codes.index(None)
            raise InputError(
                f"{self.at(i)}: {cells[i][:80]!r} in column {name!r} is not one of "
                f"{', '.join(code_of)}; the file is damaged or another one."
            )
        return np.asarray(codes, dtype=np.int64)

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Whether each record is in the split, by its number."""
        return np.asarray(self.codes("split", SPLIT_CODES) == SPLITS.index(split))

    def shares(self, name: str, *, empty: float = np.nan) -> NDArray[np.float64]:
        """Return a column of numbers, shape (N,); ``empty`` replaces an empty cell."""
        cells = self.columns[name]
        shares = np.empty(len(cells))
        for i, cell in enumerate(cells):
            try:
                shares[i] = float(cell) if cell else empty
            except ValueError:
                shares[i] = np.nan
            if np.isnan(shares[i]):
                raise InputError(
                    f"{self.at(i)}: {cell[:80]!r} in column {name!r} is not a number; the file is "
                    "damaged or another one."
                )
        return shares

    def at(self, i: int) -> str:
        """Position of a record, for a sentence."""
        return f"{self.path}, row {i + self.first_row}"


def read_csv(path: Path, names: Sequence[str], fix: str) -> Metadata:
    """Read some columns of a CSV file; ``fix`` ends the messages for a damaged one."""
    columns: dict[str, list[str]] = {name: [] for name in names}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            missing = [name for name in names if name not in header]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}; its columns are {header[:50]}: {fix}."
                )
            kept = [(columns[name], header.index(name)) for name in names]
            for row, record in enumerate(reader, start=2):
                if not record:
                    continue  # an empty line
                if len(record) != len(header):
                    raise InputError(
                        f"{path}, row {row} has {len(record)} cells but the header has "
                        f"{len(header)}, so the file is cut off or damaged: {fix}."
                    )
                for cells, j in kept:
                    cells.append(record[j])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable table ({error}): {fix}.") from error
    if not columns[names[0]]:
        raise InputError(f"{path} has no rows: {fix}.")
    return Metadata(path, columns)


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
Photographs of birds (CUB-200-2011), cut out and put on a background of land or of water (Places).
The task: is it a waterbird (class 1) or a landbird (class 0)? In the training set, 95 % of each
class are on the matching background. In the validation and the test set, each class is divided
equally over both backgrounds.

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
202,599 photographs of faces, aligned and cropped to 178 x 218 pixels, with 40 binary attributes.
The task: does the face have one of them (Blond_Hair; class 1) or not (class 0)? Another one (Male)
is correlated with it: few men in the training set are blond.

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
Photographs of 42 of ImageNet's 1000 classes, merged into nine: dog, cat, frog, turtle, bird,
monkey, fish, crab, insect. Models that learn them rely on textures and backgrounds, as ImageNet-A
shows: photographs that mislead an ImageNet classifier. No group labels.

Nine classes and their members: Bahng, Chun, Yun, Choo and Oh (ReBias), ICML 2020, arXiv 1910.02806.
The ImageNet-9 of Xiao et al. (arXiv 2006.09994), with exchanged backgrounds, is another data set
with other classes.
""",
)
IMAGENET_A = Source(
    "ImageNet-A",
    "https://github.com/hendrycks/natural-adv-examples",
    DESCR="""\
ImageNet-A, nine classes
------------------------
Photographs that an ImageNet classifier gets wrong, from those of the 42 ImageNet classes of
ImageNet-9 that ImageNet-A has: 21, without crabs. No group labels.

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
    r"""Load Waterbirds from a folder on your disk.

    The folder is ``waterbirds_v1.0`` as unpacked by WILDS, or
    ``waterbird_complete95_forest2water2`` as unpacked by the data set's makers, or its parent. It
    contains ``metadata.csv`` and the images that the file names.

    Parameters
    ----------
    {folder, split, images.preprocessing, check}

    Returns
    -------
    BenchmarkSamples
        N samples in the order of ``metadata.csv``: images, decoded when they are used; ``y`` of
        shape (N,), 1 for waterbirds; ``groups`` of shape (N,), ``2 * y + background``; ``ids``, the
        files' names.

    {benchmark.problems}

    Notes
    -----
    Get it from `its makers <https://github.com/kohpangwei/group_DRO>`__ or from
    `WILDS <https://wilds.stanford.edu>`__. Papers report the average accuracy weighted by the
    training set's groups: :func:`ntkit.metrics.weighted_average_accuracy`.

    References
    ----------
    Sagawa et al., ICLR 2020, `arXiv 1911.08731 <https://arxiv.org/abs/1911.08731>`__.

    Examples
    --------
    A folder as unpacked, but with two images only:

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
    """Load CelebA from a folder on your disk.

    The folder contains the images in ``img_align_celeba/`` (also in a second folder of that name
    inside it, as Kaggle's archive unpacks). The attributes and the split are ``list_attr_celeba``
    and ``list_eval_partition``: ``.csv`` as in WILDS and at Kaggle, or the makers' ``.txt``. WILDS'
    ``celebA_v1.0`` may also be inside the folder, and the makers' ``Img``, ``Anno`` and ``Eval``
    are searched.

    Parameters
    ----------
    {folder, split, images.preprocessing}
    target : str
        Attribute that defines the class.
    spurious : str
        Attribute that is correlated with it.
    {check}
        Warn if the number of samples differs from the published one; for the default attributes,
        also if numbers of groups do.

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the attributes: images, decoded when they are used; ``y`` of shape
        (N,), 1 for faces with the target; ``groups`` of shape (N,), ``2 * y + spurious``; ``ids``,
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
            f"{path} announces {count.strip()[:20]!r} images but has {len(lines)} rows, so it is "
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
    """Load ImageNet-9 from your copy of ImageNet-1k.

    The folder contains ``train/`` and ``val/``, each with one folder of images per class, named by
    its WordNet number: ``train/n01641577/*.JPEG``. Images of classes other than the 42 are ignored.
    ImageNet-9 has no test set of its own; see :func:`load_imagenet_a`.

    Parameters
    ----------
    {folder}
    split : {"train", "val"}
        The official split of ImageNet-1k.
    {images.preprocessing}
    check : bool, default=True
        Warn if one of the 42 classes is missing, or the validation set does not have 50 images of
        each.

    Returns
    -------
    BenchmarkSamples
        N samples, sorted by file name: images, decoded when they are used; ``y`` of shape (N,), in
        the order of ``target_names``; no groups; ``ids``, the files' names.

    {benchmark.problems}

    References
    ----------
    ReBias: Bahng et al., ICML 2020, `arXiv 1910.02806 <https://arxiv.org/abs/1910.02806>`__;
    `code <https://github.com/clovaai/rebias/blob/master/datasets/imagenet.py>`__. The 42 classes of
    the nine are in ``ntkit/datasets/imagenet9.csv``; LBC
    (`code <https://github.com/gtzheng/LBC>`__) uses the same.

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
            "ImageNet-9 has no test split; use ImageNet-A as its test set: load_imagenet_a."
        )
    root = IMAGENET.find(folder, [split], kind="folder")
    class_of = {wnid: c for wnid, (c, _) in _nine_classes().items()}
    least = PER_WNID if split == "val" else None
    return _animals(IMAGENET, split, root, class_of, preprocessing, per_wnid=least, check=check)


@documented
def load_imagenet_a(
    folder: str | Path, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    r"""Load ImageNet-A, restricted to the classes of ImageNet-9, from a folder on your disk.

    The folder is ``imagenet-a`` as unpacked, or its parent; it contains one folder of images per
    class, named by its WordNet number. All of it is a test set.

    Parameters
    ----------
    {folder, images.preprocessing}
    check : bool, default=True
        Warn if one of the 21 classes that ImageNet-A shares with ImageNet-9 is missing.

    Returns
    -------
    BenchmarkSamples
        As returned by :func:`load_imagenet9`, with the same numbers for the classes. ImageNet-A has
        no crabs, so class 7 has no sample.

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
    """Index of the nine classes by WordNet number, and whether ImageNet-A has the class."""
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
            f"{root} contains images, but not sorted into classes; put them into one folder per "
            f"class, named by its WordNet number, such as {wnids[0]}."
        )
    raise InputError(
        f"{root} contains no images in folders such as {wnids[0]}; pass the folder that "
        f"{source.name} was unpacked to, from {source.url}."
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
    """Samples of these classes; warn if one has no images, or another number of them."""
    wnids = sorted(class_of)
    names = _imagenet_images(source, root, wnids)
    counts = Counter(name.split("/")[0] for name in names)
    odd = [w for w in wnids if (counts[w] == 0 if per_wnid is None else counts[w] != per_wnid)]
    if check and odd:
        expected = "" if per_wnid is None else f" but the published one has {per_wnid}"
        source.warn(
            f"the split {split!r} has {counts[odd[0]]} images of {odd[0]}{expected}, and "
            f"{len(odd)} of the {len(wnids)} classes are incomplete"
        )
    return source.samples(
        split,
        y=np.asarray([class_of[name.split("/")[0]] for name in names], dtype=np.int64),
        target_names=ANIMALS,
        **source.image_inputs(root, names, preprocessing),
    )


RELATIONS = ("contradiction", "entailment", "neutral")
UNLABELLED = "-"  # the annotators did not agree
MULTINLI = Source(
    "MultiNLI",
    "https://cims.nyu.edu/~sbowman/multinli/",
    {
        "train": (57498, 11158, 67376, 1521, 66630, 1992),
        "val": (22814, 4634, 26949, 613, 26655, 797),
        "test": (34597, 6655, 40496, 886, 39930, 1148),
    },
    """\
MultiNLI
--------
Pairs of English sentences, a premise and a hypothesis. The task: does the premise contradict the
hypothesis (class 0), entail it (class 1) or neither (class 2)? Hypotheses with a negation (nobody,
no, never, nothing) are mostly contradictions.

Groups: 2 * class + negation.

The split is not the official one. Sagawa, Koh, Hashimoto and Liang (ICLR 2020, arXiv 1911.08731)
merged the training and the two development sets. They drew 50 % of them for training, 20 % for
validation and 30 % for testing. Pairs without a gold label are left out.

Williams, Nangia and Bowman, NAACL 2018, arXiv 1704.05426.
""",
)
NEGATIONS = Source(
    "metadata_random.csv",
    "https://github.com/kohpangwei/group_DRO (dataset_metadata/multinli)",
)

IDENTITIES = (
    *("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white"),
)
TOXICITY = ("non-toxic", "toxic")
THRESHOLD = 0.5  # share of annotators, for toxicity and for an identity
CIVILCOMMENTS = Source(
    "CivilComments (WILDS)",
    "https://wilds.stanford.edu/datasets/#civilcomments",
    {"train": (269038,), "val": (45180,), "test": (133782,)},
    """\
CivilComments (WILDS)
---------------------
Comments on online articles. The task: did at least half of the annotators call the comment toxic
(class 1) or not (class 0)? Comments that mention certain identities are toxic more often than
others. An identity is mentioned if at least half of the annotators say so.

Groups, in one of two definitions that must not be mixed. "any_identity" is 2 * class + whether any
of eight identities is mentioned. Each comment is in one group, as group DRO and last-layer
retraining on balanced groups need it. "wilds" has the 16 groups identity x class of the WILDS
benchmark. A comment is in as many groups as it mentions identities, or in none.

Borkan, Dixon, Sorensen, Thain and Vasserman, WWW 2019, arXiv 1903.04561; split and groups: Koh,
Sagawa et al., ICML 2021, arXiv 2012.07421. Public domain (CC0).
""",
)


@documented
def load_multinli(
    folder: str | Path,
    split: str,
    preprocessing: TextPreprocessing,
    *,
    metadata: str | Path | None = None,
    check: bool = True,
) -> BenchmarkSamples:
    r"""Load MultiNLI, with the groups by negation, from a folder on your disk.

    The folder is ``multinli_1.0`` as unpacked, or its parent. It contains
    ``multinli_1.0_train.jsonl``, ``multinli_1.0_dev_matched.jsonl`` and
    ``multinli_1.0_dev_mismatched.jsonl``. Groups and split are in ``metadata_random.csv``, which
    the makers of group DRO publish. Its rows are the labelled pairs of the three files in this
    order; the loader checks that the labels agree.

    Parameters
    ----------
    {folder}
    split : {"train", "val", "test"}
        The split of ``metadata_random.csv``. All of them come from all three files.
    {texts.preprocessing}
    metadata : path-like, optional
        The file ``metadata_random.csv``, if it is not in the folder (or its subfolder ``data``).
    {check}

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the files: pairs of texts, tokenised when they are used (the raw
        pairs are ``X.texts``); ``y`` of shape (N,), in the order of ``target_names``; ``groups`` of
        shape (N,), ``2 * y + negation``.

    {benchmark.problems}

    References
    ----------
    Williams et al., NAACL 2018, `arXiv 1704.05426 <https://arxiv.org/abs/1704.05426>`__; groups and
    split: Sagawa et al., ICLR 2020, `arXiv 1911.08731 <https://arxiv.org/abs/1911.08731>`__.

    Examples
    --------
    >>> from ntkit.datasets import load_multinli
    >>> from ntkit.extraction import TextPreprocessing
    >>> steps = TextPreprocessing("tokenizer.json", max_length=128)
    >>> pairs = load_multinli("multinli_1.0", "train", steps)  # doctest: +SKIP
    >>> pairs.group_names[1]  # doctest: +SKIP
    'contradiction with negation'
    """
    check_arguments(split, preprocessing, TextPreprocessing)
    labels, pairs = _labelled_pairs(folder)
    candidates = ["metadata_random.csv", "data/metadata_random.csv"]
    path = NEGATIONS.find(folder, candidates) if metadata is None else Path(metadata)
    table = read_csv(path, ["gold_label", "sentence2_has_negation", "split"], NEGATIONS.fix)
    y = table.codes("gold_label", {"0": 0, "1": 1, "2": 2})
    if len(y) != len(labels):
        raise InputError(
            f"{path} has {len(y)} rows, but the three files in {folder} have {len(labels)} "
            f"labelled pairs, so one of them is cut off: {MULTINLI.fix}, and {NEGATIONS.fix}."
        )
    if (y != labels).any():
        i = int(np.argmax(y != labels))
        raise InputError(
            f"{table.at(i)} is of class {RELATIONS[y[i]]!r}, but the pair there "
            f"({pairs[i][0][:60]!r}) of class {RELATIONS[labels[i]]!r}, so the files do not belong "
            f"together: {NEGATIONS.fix}."
        )
    rows = MULTINLI.rows_of(split, table.in_split(split), path)
    groups = (2 * y + table.codes("sentence2_has_negation"))[rows]
    return MULTINLI.samples(
        split,
        np.bincount(groups, minlength=6).tolist() if check else None,
        X=Texts((pairs[i][0] for i in rows), preprocessing, (pairs[i][1] for i in rows)),
        y=y[rows],
        groups=groups,
        preprocessing=preprocessing.as_dict(),
        target_names=RELATIONS,
        group_names=tuple(f"{c} {w} negation" for c in RELATIONS for w in ("without", "with")),
    )


def _labelled_pairs(folder: str | Path) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """Classes and pairs of the three files, one after the other; unlabelled ones left out."""
    labels, pairs = list[int](), list[tuple[str, str]]()
    for part in ("train", "dev_matched", "dev_mismatched"):
        name = f"multinli_1.0_{part}.jsonl"
        path = MULTINLI.find(folder, [name, f"multinli_1.0/{name}", f"data/{name}"])
        try:
            with path.open("rb") as file:
                for row, line in enumerate(file, start=1):
                    label, pair = _parsed(path, row, line)
                    if label != UNLABELLED:
                        labels.append(RELATIONS.index(label))
                        pairs.append(pair)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}.") from error
    return np.asarray(labels, dtype=np.int64), pairs


def _parsed(path: Path, row: int, line: bytes) -> tuple[str, tuple[str, str]]:
    """Gold label, premise and hypothesis."""
    try:
        record = json.loads(line)
        label, pair = record["gold_label"], (record["sentence1"], record["sentence2"])
        "".join(pair).encode()  # no text contains half a character
        if label not in (*RELATIONS, UNLABELLED):
            raise ValueError(f"no class is called {label!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}, line {row} is not a pair of sentences with its gold_label "
            f"({type(error).__name__}: {error}), so the file is cut off or damaged: "
            f"{MULTINLI.fix}."
        ) from error
    return label, pair


@documented
def load_civilcomments(
    folder: str | Path,
    split: str,
    preprocessing: TextPreprocessing,
    *,
    groups: Literal["any_identity", "wilds"] = "any_identity",
    check: bool = True,
) -> BenchmarkSamples:
    r"""Load CivilComments, in the version of WILDS, from a folder on your disk.

    The folder is ``civilcomments_v1.0`` as unpacked by WILDS, or its parent; it contains
    ``all_data_with_identities.csv``.

    Parameters
    ----------
    {folder, split, texts.preprocessing}
    groups : {"any_identity", "wilds"}
        "any_identity": four groups, ``2 * y`` plus whether any of the eight identities (male,
        female, LGBTQ, christian, muslim, other_religions, black, white) is mentioned. "wilds": the
        benchmark's 16 groups, each identity with each class, **which overlap**. Worst-group
        accuracies of the two cannot be compared.
    {check}

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the file: texts, tokenised when they are used (the raw texts are
        ``X.texts``); ``y`` of shape (N,), 1 if at least half of the annotators found the comment
        toxic; ``groups`` of shape (N,). With "wilds", groups are a boolean matrix of shape (N, 16)
        whose column ``2 * identity + y`` marks the comments in that group.

    {benchmark.problems}

    See Also
    --------
    ntkit.metrics.worst_group_accuracy : With the matrix it is the number that WILDS reports.

    Notes
    -----
    The file's column ``identity_any`` is different and not used here: it counts 24 identities, not
    eight.

    References
    ----------
    Borkan et al., WWW 2019, `arXiv 1903.04561 <https://arxiv.org/abs/1903.04561>`__; split and
    groups: Koh, Sagawa et al. (`WILDS <https://wilds.stanford.edu>`__), ICML 2021, `arXiv
    2012.07421 <https://arxiv.org/abs/2012.07421>`__.

    Examples
    --------
    >>> from ntkit.datasets import load_civilcomments
    >>> from ntkit.extraction import TextPreprocessing
    >>> from ntkit.metrics import worst_group_accuracy
    >>> steps = TextPreprocessing("tokenizer.json", max_length=300)
    >>> test = load_civilcomments(
    ...     "civilcomments_v1.0", "test", steps, groups="wilds"
    ... )  # doctest: +SKIP
    >>> worst_group_accuracy(test.y, predictions, groups=test.groups)  # doctest: +SKIP
    """
    check_arguments(split, preprocessing, TextPreprocessing)
    if groups not in ("any_identity", "wilds"):
        raise InputError(f'groups must be "any_identity" or "wilds"; got {groups!r}.')
    name = "all_data_with_identities.csv"
    path = CIVILCOMMENTS.find(folder, [name, f"civilcomments_v1.0/{name}"])
    table = read_csv(path, ["comment_text", "split", "toxicity", *IDENTITIES], CIVILCOMMENTS.fix)
    in_split = np.asarray([cell == split for cell in table.columns["split"]])
    rows = CIVILCOMMENTS.rows_of(split, in_split, path)
    y = (table.shares("toxicity") >= THRESHOLD).astype(np.int64)[rows]
    mentioned = np.stack(
        [table.shares(i, empty=0.0)[rows] >= THRESHOLD for i in IDENTITIES], axis=1
    )
    members, names = (_any_identity if groups == "any_identity" else _wilds)(y, mentioned)
    return CIVILCOMMENTS.samples(
        split,
        [len(rows)] if check else None,
        X=Texts((table.columns["comment_text"][i] for i in rows), preprocessing),
        y=y,
        groups=members,
        preprocessing=preprocessing.as_dict(),
        target_names=TOXICITY,
        group_names=names,
    )


def _any_identity(
    y: NDArray[np.int64], mentioned: NDArray[np.bool_]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Group of each comment, shape (N,): class and whether it mentions an identity."""
    names = tuple(f"{c}, {w} identity" for c in TOXICITY for w in ("no", "any"))
    return 2 * y + mentioned.any(axis=1), names


def _wilds(
    y: NDArray[np.int64], mentioned: NDArray[np.bool_]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Membership of each comment, shape (N, 16): identity (outer) and class (inner)."""
    of_class = np.stack([y == 0, y == 1], axis=1)
    members = (mentioned[:, :, None] & of_class[:, None, :]).reshape(len(y), -1)
    return members, tuple(f"{identity}, {c}" for identity in IDENTITIES for c in TOXICITY)

"""Loaders of public benchmarks: images and texts with the groups that papers evaluate."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    :meth:`EmbeddingStore.write <ntkit.store.EmbeddingStore.write>` and :func:`ntkit.debias`
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
    """

    target_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A published data set, with its numbers of samples by split: of each group, or in total."""

    name: str
    url: str
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

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

    def table(self, path: Path, names: Sequence[str], **layout: Any) -> TableColumns:
        """Read some columns of a table; a message about a damaged one says how to get it."""
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                return _read(path, file, names, self.fix, **layout)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} is not a readable table ({error}): {self.fix}.") from error

    def samples(
        self,
        split: str,
        rows: NDArray[np.intp],
        *,
        counts: Sequence[int] | NDArray[np.intp] | None,
        root: Path | None = None,
        names: Sequence[str] = (),
        preprocessing: ImagePreprocessing | TextPreprocessing,
        **parts: Any,
    ) -> BenchmarkSamples:
        """Return samples of these rows; warn if counts differ from the published ones."""
        if not len(rows):
            raise InputError(f"{self.name} has no row of the split {split!r}: {self.fix}.")
        if root is not None:
            parts["X"], parts["ids"] = self._images(root, names, preprocessing)
        published = self.counts.get(split, ())
        if counts is not None:
            published = (sum(published),) if len(counts) == 1 else published
            if tuple(counts) != published:
                self.warn(
                    f"the split {split!r} has {_shown(counts)} "
                    f"samples{' by group' * (len(published) > 1)}, but the published one has "
                    f"{_shown(published)}"
                )
        return BenchmarkSamples(preprocessing=preprocessing.as_dict(), **parts)

    def _images(
        self, root: Path, names: Sequence[str], preprocessing: Any
    ) -> tuple[ImageFiles, NDArray[np.str_]]:
        """Image files, all of which must be there, and their names."""
        files = [root / name for name in names]
        # Each folder is listed once, which is faster than asking for each file.
        listed = {f: set(os.listdir(f)) if f.is_dir() else () for f in {f.parent for f in files}}
        absent = [file for file in files if file.name not in listed[file.parent]]
        if absent:
            raise InputError(
                f"{len(absent)} of the {len(files)} images are not in {root}, the first is "
                f"{absent[0].relative_to(root).as_posix()}: {self.fix}."
            )
        ids = [file.relative_to(root).as_posix() for file in files]
        return ImageFiles(files, preprocessing), np.asarray(ids)

    def warn(self, what: str, stacklevel: int = 4) -> None:
        """Warn that the folder differs from the published data set."""
        warnings.warn(
            f"{self.name}: {what}; {self.fix}, or pass check=False for a subset.",
            IncompleteDataWarning,
            stacklevel=stacklevel,  # the caller of the loader
        )


def _check_arguments(
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


def _shown(counts: Iterable[Any]) -> str:
    return ", ".join(str(int(count)) for count in counts)


@dataclass(frozen=True)
class TableColumns:
    """Some columns of a table, as they are written; the first record is in ``first_row``."""

    path: Path
    columns: dict[str, list[str]]
    first_row: int

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
        if np.isnan(shares).any():
            i = int(np.argmax(np.isnan(shares)))
            raise InputError(
                f"{self.at(i)}: {cells[i][:80]!r} in column {name!r} is not a number; the file is "
                "damaged or another one."
            )
        return shares

    def at(self, i: int) -> str:
        """Position of a record, for a sentence."""
        return f"{self.path}, row {i + self.first_row}"


def _read(
    path: Path,
    lines: Iterator[str],
    names: Sequence[str],
    fix: str,
    *,
    header: Sequence[str] | None = None,
    first_row: int = 2,
) -> TableColumns:
    """Read columns of a CSV file, or those of a header from lines divided by white space."""
    records: Iterator[list[str]]
    if header is None:
        records = csv.reader(lines, strict=True)
        header = next(records, [])
    else:
        records = (line.split() for line in lines)
    missing = [name for name in names if name not in header]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}; its columns are {list(header)[:50]}: {fix}."
        )
    table = TableColumns(path, {name: [] for name in names}, first_row)
    kept = [(table.columns[name], header.index(name)) for name in names]
    for row, record in enumerate(records, start=first_row):
        if not record:
            continue  # an empty line
        if len(record) != len(header):
            raise InputError(
                f"{path}, row {row} has {len(record)} cells but the header has {len(header)}, so "
                f"the file is cut off or damaged: {fix}."
            )
        for cells, j in kept:
            cells.append(record[j])
    if not table.columns[names[0]]:
        raise InputError(f"{path} has no rows: {fix}.")
    return table


WATERBIRDS = Benchmark(
    "Waterbirds",
    "https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz",
    {
        "train": (3498, 184, 56, 1057),
        "val": (467, 466, 133, 133),
        "test": (2255, 2255, 642, 642),
    },
)
CELEBA = Benchmark(
    "CelebA",
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    {  # of Blond_Hair and Male
        "train": (71629, 66874, 22880, 1387),
        "val": (8535, 8276, 2874, 182),
        "test": (9767, 7535, 2480, 180),
    },
)
ABSENT_OR_PRESENT = {"-1": 0, "0": 0, "1": 1}
CELEBA_FOLDERS = ("", "celebA_v1.0/")
IMAGENET9 = Benchmark(
    "ImageNet",
    "https://image-net.org/download.php (ImageNet-A: "
    "https://github.com/hendrycks/natural-adv-examples)",
)
ANIMALS = ("dog", "cat", "frog", "turtle", "bird", "monkey", "fish", "crab", "insect")
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
    training set's groups. Some landbirds (Eastern Towhee, Western Meadowlark, Western Wood Pewee)
    are labelled as waterbirds.

    References
    ----------
    Sagawa, Koh, Hashimoto, Liang: Distributionally Robust Neural Networks for Group Shifts. ICLR
    2020, arXiv 1911.08731.

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
    _check_arguments(split, preprocessing, ImagePreprocessing)
    folders = ("", "waterbirds_v1.0/", "waterbird_complete95_forest2water2/")
    path = WATERBIRDS.find(folder, [f"{f}metadata.csv" for f in folders])
    table = WATERBIRDS.table(path, ["img_filename", "y", "split", "place"])
    rows = np.flatnonzero(table.in_split(split))
    y = table.codes("y")[rows]
    groups = 2 * y + table.codes("place")[rows]
    birds = ("landbird", "waterbird")
    return WATERBIRDS.samples(
        split,
        rows,
        counts=np.bincount(groups, minlength=4) if check else None,
        root=path.parent,
        names=[table.columns["img_filename"][i] for i in rows],
        preprocessing=preprocessing,
        y=y,
        groups=groups,
        target_names=birds,
        group_names=tuple(f"{bird} on {place}" for bird in birds for place in ("land", "water")),
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
    Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild. ICCV 2015, arXiv 1411.7766; the
    groups are those of Sagawa et al., arXiv 1911.08731.
    """
    _check_arguments(split, preprocessing, ImagePreprocessing)
    if target == spurious:
        raise InputError(f"target and spurious are both {target!r}; name two attributes.")
    path, split_of = _partition(folder)
    table = _attributes(folder, target, spurious)
    files = table.columns["image_id"]
    unknown = [file for file in files if file not in split_of]
    if unknown:
        raise InputError(
            f"{path} has no row for {unknown[0]!r}, one of {len(unknown)} images that "
            f"{table.path.name} names: {CELEBA.fix}."
        )
    rows = np.flatnonzero([SPLITS[split_of[file]] == split for file in files])
    y = table.codes(target, ABSENT_OR_PRESENT)[rows]
    groups = 2 * y + table.codes(spurious, ABSENT_OR_PRESENT)[rows]
    usual = (target, spurious) == ("Blond_Hair", "Male")
    counts = np.bincount(groups, minlength=4) if usual else [len(rows)]
    folders = [f"{f}img_align_celeba" for f in (*CELEBA_FOLDERS, "Img/")]
    folders = [*(f"{f}/img_align_celeba" for f in folders), *folders]
    names = (f"not {target}", target)
    return CELEBA.samples(
        split,
        rows,
        counts=counts if check else None,
        root=CELEBA.find(folder, folders, kind="folder"),
        names=[files[i] for i in rows],
        preprocessing=preprocessing,
        y=y,
        groups=groups,
        target_names=names,
        group_names=tuple(f"{t}, {s}" for t in names for s in (f"not {spurious}", spurious)),
    )


def _attributes(folder: str | Path, target: str, spurious: str) -> TableColumns:
    """The columns image_id, target and spurious."""
    path, names = _celeba_table(folder, "list_attr_celeba", "Anno"), ["image_id", target, spurious]
    if path.suffix == ".csv":
        return CELEBA.table(path, names)
    # The makers' file starts with the number of images, then the header without the first name.
    try:
        count, header, *lines = [*path.read_text(encoding="utf-8-sig").splitlines(), "", ""]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable table ({error}): {CELEBA.fix}.") from error
    columns = ["image_id", *header.split()]
    table = _read(path, iter(lines), names, CELEBA.fix, header=columns, first_row=3)
    if count.strip() != str(len(table.columns["image_id"])):
        raise InputError(
            f"{path} announces {count.strip()[:20]!r} images but has "
            f"{len(table.columns['image_id'])} rows, so it is cut off or damaged: {CELEBA.fix}."
        )
    return table


def _partition(folder: str | Path) -> tuple[Path, dict[str, int]]:
    """The file, and the number of the split of each image."""
    path, columns = _celeba_table(folder, "list_eval_partition", "Eval"), ["image_id", "partition"]
    layout = {} if path.suffix == ".csv" else {"header": columns, "first_row": 1}
    table = CELEBA.table(path, columns, **layout)
    numbers = table.codes("partition", SPLIT_CODES).tolist()
    return path, dict(zip(table.columns["image_id"], numbers, strict=True))


def _celeba_table(folder: str | Path, name: str, makers_folder: str) -> Path:
    places = (*CELEBA_FOLDERS, f"{makers_folder}/")
    return CELEBA.find(folder, [f"{at}{name}{kind}" for at in places for kind in (".csv", ".txt")])


@documented
def load_imagenet9(
    folder: str | Path, split: str, preprocessing: ImagePreprocessing, *, check: bool = True
) -> BenchmarkSamples:
    """Load ImageNet-9 from your copies of ImageNet-1k and ImageNet-A.

    The folder contains ``train/`` and ``val/`` of ImageNet-1k, and ``imagenet-a/``, which is the
    test set. Each has one folder of images per class, named by its WordNet number:
    ``train/n01641577/*.JPEG``. Images of classes other than the 42 are ignored.

    Parameters
    ----------
    {folder}
    split : {"train", "val", "test"}
        The official split of ImageNet-1k; "test" is ImageNet-A.
    {images.preprocessing}
    check : bool, default=True
        Warn if one of the 42 classes (21 of ImageNet-A) is missing, or the validation set does not
        have 50 images of each.

    Returns
    -------
    BenchmarkSamples
        N samples, sorted by file name: images, decoded when they are used; ``y`` of shape (N,), in
        the order of ``target_names``; no groups; ``ids``, the files' names. ImageNet-A has no
        crabs, so class 7 has no test sample.

    {benchmark.problems}

    References
    ----------
    The nine classes are those of Bahng et al. (ReBias), ICML 2020, arXiv 1910.02806, not those of
    Xiao et al., arXiv 2006.09994. ImageNet-A: Hendrycks et al., CVPR 2021, arXiv 1907.07174.
    """
    _check_arguments(split, preprocessing, ImagePreprocessing)
    root = IMAGENET9.find(folder, ["imagenet-a" if split == "test" else split], kind="folder")
    table = IMAGENET9.table(
        Path(__file__).with_name("imagenet9.csv"), ["wnid", "class", "imagenet_a"]
    )
    classes = table.codes("class", {name: i for i, name in enumerate(ANIMALS)}).tolist()
    class_of = {
        wnid: label
        for wnid, label, in_a in zip(
            table.columns["wnid"], classes, table.columns["imagenet_a"], strict=True
        )
        if in_a == "1" or split != "test"
    }
    wnids = sorted(class_of)
    names = [
        f"{wnid}/{name}"
        for wnid in wnids
        if (root / wnid).is_dir()
        for name in sorted(os.listdir(root / wnid))
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    if not names:
        raise InputError(
            f"{root} contains no images in folders such as {wnids[0]}; pass the folder that "
            f"{IMAGENET9.name} was unpacked to, with one folder per class, named by its WordNet "
            f"number, from {IMAGENET9.url}."
        )
    of_class = Counter(name.split("/")[0] for name in names)
    odd = [w for w in wnids if (of_class[w] != PER_WNID if split == "val" else not of_class[w])]
    if check and odd:
        expected = f" but the published one has {PER_WNID}" if split == "val" else ""
        IMAGENET9.warn(
            f"the split {split!r} has {of_class[odd[0]]} images of {odd[0]}{expected}, and "
            f"{len(odd)} of the {len(wnids)} classes are incomplete",
            stacklevel=3,
        )
    return IMAGENET9.samples(
        split,
        np.arange(len(names)),
        counts=None,
        root=root,
        names=names,
        preprocessing=preprocessing,
        y=np.asarray([class_of[name.split("/")[0]] for name in names], dtype=np.int64),
        target_names=ANIMALS,
    )


RELATIONS = ("contradiction", "entailment", "neutral")
UNLABELLED = "-"  # the annotators did not agree
MULTINLI = Benchmark(
    "MultiNLI",
    "https://cims.nyu.edu/~sbowman/multinli/",
    {
        "train": (57498, 11158, 67376, 1521, 66630, 1992),
        "val": (22814, 4634, 26949, 613, 26655, 797),
        "test": (34597, 6655, 40496, 886, 39930, 1148),
    },
)
NEGATIONS = Benchmark(
    "metadata_random.csv",
    "https://github.com/kohpangwei/group_DRO (dataset_metadata/multinli)",
)

IDENTITIES = (
    *("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white"),
)
TOXICITY = ("non-toxic", "toxic")
THRESHOLD = 0.5  # share of annotators, for toxicity and for an identity
CIVILCOMMENTS = Benchmark(
    "CivilComments (WILDS)",
    "https://wilds.stanford.edu/datasets/#civilcomments",
    {"train": (269038,), "val": (45180,), "test": (133782,)},
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
    Williams, Nangia, Bowman, NAACL 2018, arXiv 1704.05426. Groups and split are not the official
    ones, but those of Sagawa et al., arXiv 1911.08731.
    """
    _check_arguments(split, preprocessing, TextPreprocessing)
    labels, pairs = _labelled_pairs(folder)
    candidates = ["metadata_random.csv", "data/metadata_random.csv"]
    path = NEGATIONS.find(folder, candidates) if metadata is None else Path(metadata)
    table = NEGATIONS.table(path, ["gold_label", "sentence2_has_negation", "split"])
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
    rows = np.flatnonzero(table.in_split(split))
    groups = (2 * y + table.codes("sentence2_has_negation"))[rows]
    return MULTINLI.samples(
        split,
        rows,
        counts=np.bincount(groups, minlength=6) if check else None,
        preprocessing=preprocessing,
        X=Texts((pairs[i][0] for i in rows), preprocessing, (pairs[i][1] for i in rows)),
        y=y[rows],
        groups=groups,
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
    Borkan et al., WWW 2019, arXiv 1903.04561; split and groups: Koh, Sagawa et al. (WILDS), ICML
    2021, arXiv 2012.07421.
    """
    _check_arguments(split, preprocessing, TextPreprocessing)
    if groups not in ("any_identity", "wilds"):
        raise InputError(f'groups must be "any_identity" or "wilds"; got {groups!r}.')
    name = "all_data_with_identities.csv"
    path = CIVILCOMMENTS.find(folder, [name, f"civilcomments_v1.0/{name}"])
    table = CIVILCOMMENTS.table(path, ["comment_text", "split", "toxicity", *IDENTITIES])
    rows = np.flatnonzero([cell == split for cell in table.columns["split"]])
    y = (table.shares("toxicity") >= THRESHOLD).astype(np.int64)[rows]
    mentioned = np.stack(
        [table.shares(i, empty=0.0)[rows] >= THRESHOLD for i in IDENTITIES], axis=1
    )
    members: NDArray[Any] = 2 * y + mentioned.any(axis=1)
    names = tuple(f"{c}, {w} identity" for c in TOXICITY for w in ("no", "any"))
    if groups == "wilds":  # a column for each identity (outer) and class (inner)
        of_class = np.stack([y == 0, y == 1], axis=1)
        members = (mentioned[:, :, None] & of_class[:, None, :]).reshape(len(y), -1)
        names = tuple(f"{identity}, {c}" for identity in IDENTITIES for c in TOXICITY)
    return CIVILCOMMENTS.samples(
        split,
        rows,
        counts=[len(rows)] if check else None,
        preprocessing=preprocessing,
        X=Texts((table.columns["comment_text"][i] for i in rows), preprocessing),
        y=y,
        groups=members,
        target_names=TOXICITY,
        group_names=names,
    )

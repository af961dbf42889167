"""CelebA: faces with forty attributes, of which one is the class and one goes along with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ntkit.datasets._benchmark import (
    SPLIT_CODES,
    SPLITS,
    BenchmarkSamples,
    Metadata,
    Source,
    check_preprocessing,
    check_split,
    image_inputs,
    read_csv,
)
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing

ABSENT_OR_PRESENT = {"-1": 0, "0": 0, "1": 1}
FOLDERS = ("", "celebA_v1.0/")
SOURCE = Source(
    "CelebA",
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    {  # of Blond_Hair and Male
        "train": (71629, 66874, 22880, 1387),
        "val": (8535, 8276, 2874, 182),
        "test": (9767, 7535, 2480, 180),
    },
)

DESCR = """\
CelebA
------
202,599 photographs of faces, aligned and cropped to 178 x 218 pixels, with 40 attributes that are
there or not. The task: is one of them (Blond_Hair) there (class 1) or not (class 0)? Another one
(Male) goes along with it: few men in the training set are blond.

Groups: 2 * class + spurious attribute.

Liu, Luo, Wang and Tang, ICCV 2015, arXiv 1411.7766; as a benchmark of spurious correlation: Sagawa,
Koh, Hashimoto and Liang, ICLR 2020, arXiv 1911.08731. For non-commercial research.
"""


def load_celeba(
    folder: str | Path,
    split: str,
    preprocessing: ImagePreprocessing,
    *,
    target: str = "Blond_Hair",
    spurious: str = "Male",
    check: bool = True,
) -> BenchmarkSamples:
    r"""Load CelebA from a folder of your own.

    Nothing is downloaded. The folder holds the images in ``img_align_celeba/`` (also in a second
    folder of that name inside it, as Kaggle's archive unpacks), and the attributes and the split
    as ``list_attr_celeba`` and ``list_eval_partition``: ``.csv`` as in WILDS and at Kaggle, or the
    makers' ``.txt``. WILDS' ``celebA_v1.0`` may also lie inside the folder, and the makers'
    ``Img``, ``Anno`` and ``Eval`` are looked into.

    Parameters
    ----------
    folder : path-like
        The folder.
    split : {"train", "val", "test"}
        The official split.
    preprocessing : ImagePreprocessing
        How an image becomes a model input, such as ``ImagePreprocessing.for_model(model)``.
    target : str
        Attribute that is the class.
    spurious : str
        Attribute that goes along with it.
    check : bool
        Warn where the groups (for other attributes than the usual two, the split) do not hold the
        published numbers of samples.

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the attributes: images, decoded as they are used; ``y`` of shape
        (N,), 1 where the target is there; ``groups`` of shape (N,), ``2 * y + spurious``; ``ids``,
        the files' names.

    Raises
    ------
    InputError
        If the folder or a file in it is missing, damaged or of another kind, or there is no such
        attribute.

    Warns
    -----
    IncompleteDataWarning
        If the groups do not hold the published numbers of samples.

    Notes
    -----
    The faces are by Liu et al. (ICCV 2015, `arXiv 1411.7766
    <https://arxiv.org/abs/1411.7766>`__); the groups are those of Sagawa et al. (ICLR 2020, `arXiv
    1911.08731 <https://arxiv.org/abs/1911.08731>`__).

    Examples
    --------
    A folder as it is unpacked, but of two images and two attributes:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from ntkit.datasets import load_celeba
    >>> from ntkit.extraction import ImagePreprocessing
    >>> attributes = "2\nBlond_Hair Male\n000001.jpg -1  1\n000002.jpg  1 -1\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images = Path(folder) / "img_align_celeba"
    ...     images.mkdir()
    ...     for name in ("000001.jpg", "000002.jpg"):
    ...         Image.new("RGB", (178, 218)).save(images / name)
    ...     _ = (Path(folder) / "list_attr_celeba.txt").write_text(attributes)
    ...     partition = "000001.jpg 0\n000002.jpg 0\n"
    ...     _ = (Path(folder) / "list_eval_partition.txt").write_text(partition)
    ...     steps = ImagePreprocessing(resize=(224, 224))
    ...     faces = load_celeba(folder, "train", steps, check=False)
    >>> faces.y, [faces.group_names[g] for g in faces.groups]
    (array([0, 1]), ['not Blond_Hair, Male', 'Blond_Hair, not Male'])
    """
    check_split(split)
    check_preprocessing(preprocessing, ImagePreprocessing)
    if target == spurious:
        raise InputError(f"target and spurious are both {target!r}; name two attributes.")
    table = _attributes(folder, target, spurious)
    path, split_of = _partition(folder)
    files = table.columns["image_id"]
    unknown = [file for file in files if file not in split_of]
    if unknown:
        raise InputError(
            f"{path} has no row for {unknown[0]!r}, one of {len(unknown)} images that "
            f"{table.path.name} names: {SOURCE.fix}."
        )
    in_split = np.asarray([split_of[file] for file in files]) == SPLITS.index(split)
    rows = SOURCE.rows_of(split, in_split, path)
    y = table.codes(target, ABSENT_OR_PRESENT)[rows]
    groups = 2 * y + table.codes(spurious, ABSENT_OR_PRESENT)[rows]
    inputs = image_inputs(SOURCE, _images(folder), [files[i] for i in rows], preprocessing)
    if check:
        usual = (target, spurious) == ("Blond_Hair", "Male")
        counts = np.bincount(groups, minlength=4).tolist()
        SOURCE.compare(split, counts if usual else [sum(counts)])
    target_names = (f"not {target}", target)
    return BenchmarkSamples(
        y=y,
        groups=groups,
        target_names=target_names,
        group_names=tuple(f"{t}, {s}" for t in target_names for s in (f"not {spurious}", spurious)),
        DESCR=DESCR,
        **inputs,
    )


def _attributes(folder: str | Path, target: str, spurious: str) -> Metadata:
    """The columns image_id, target and spurious."""
    path = SOURCE.find(folder, _tables("list_attr_celeba", "Anno"))
    if path.suffix == ".csv":
        fix = f"name one of them, or {SOURCE.fix}"
        return read_csv(path, ["image_id", target, spurious], fix)
    count, header, *lines = _lines(path) or ["", ""]
    names = header.split()
    for name in (target, spurious):
        if name not in names:
            raise InputError(f"{path} has no attribute {name!r}; it has {', '.join(names)}.")
    if count.strip() != str(len(lines)):
        raise InputError(
            f"{path} announces {count.strip()[:20]!r} images and has {len(lines)} rows, so it is "
            f"cut off or damaged: {SOURCE.fix}."
        )
    cells = _split_lines(path, lines, 1 + len(names), first_row=3)
    wanted = {"image_id": 0, target: 1 + names.index(target), spurious: 1 + names.index(spurious)}
    return Metadata(path, {n: [row[j] for row in cells] for n, j in wanted.items()}, first_row=3)


def _partition(folder: str | Path) -> tuple[Path, dict[str, int]]:
    """The file, and the number of the split of each image."""
    path = SOURCE.find(folder, _tables("list_eval_partition", "Eval"))
    if path.suffix == ".csv":
        table = read_csv(path, ["image_id", "partition"], SOURCE.fix)
    else:
        cells = _split_lines(path, _lines(path), 2, first_row=1)
        columns = {"image_id": [a for a, _ in cells], "partition": [b for _, b in cells]}
        table = Metadata(path, columns, first_row=1)
    numbers = table.codes("partition", SPLIT_CODES).tolist()
    return path, dict(zip(table.columns["image_id"], numbers, strict=True))


def _images(folder: str | Path) -> Path:
    name = "img_align_celeba"
    usual = [f"{f}{name}" for f in FOLDERS] + [f"Img/{name}"]
    return SOURCE.find(folder, [*(f"{path}/{name}" for path in usual), *usual], kind="folder")


def _tables(name: str, makers_folder: str) -> list[str]:
    places = (*FOLDERS, f"{makers_folder}/")
    return [f"{place}{name}{kind}" for place in places for kind in (".csv", ".txt")]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable table ({error}): {SOURCE.fix}.") from error


def _split_lines(path: Path, lines: list[str], n_cells: int, first_row: int) -> list[list[str]]:
    """Cells of lines that white space divides."""
    cells = [line.split() for line in lines]
    for row, record in enumerate(cells, start=first_row):
        if len(record) != n_cells:
            raise InputError(
                f"{path}, row {row} has {len(record)} cells instead of {n_cells}, so the file is "
                f"cut off or damaged: {SOURCE.fix}."
            )
    return cells

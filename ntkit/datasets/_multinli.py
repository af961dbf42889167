"""MultiNLI: does a sentence follow from another one? Negation goes along with contradiction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ntkit.datasets._benchmark import (
    SPLIT_CODES,
    SPLITS,
    BenchmarkSamples,
    Source,
    check_preprocessing,
    check_split,
    read_csv,
)
from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing, Texts

CLASSES = ("contradiction", "entailment", "neutral")
CODES = {"0": 0, "1": 1, "2": 2}
BINARY = {"0": 0, "1": 1}
UNLABELLED = "-"  # the annotators did not agree
SOURCE = Source(
    "MultiNLI",
    "https://cims.nyu.edu/~sbowman/multinli/",
    {
        "train": (57498, 11158, 67376, 1521, 66630, 1992),
        "val": (22814, 4634, 26949, 613, 26655, 797),
        "test": (34597, 6655, 40496, 886, 39930, 1148),
    },
)
GROUPS = Source(
    "metadata_random.csv",
    "https://github.com/kohpangwei/group_DRO (dataset_metadata/multinli)",
    {},
)

DESCR = """\
MultiNLI
--------
Pairs of English sentences, a premise and a hypothesis. The task: does the premise contradict the
hypothesis (class 0), entail it (class 1) or neither (class 2)? Hypotheses that hold a negation
(nobody, no, never, nothing) are mostly of the class contradiction.

Groups: 2 * class + negation.

The split is not the official one: Sagawa, Koh, Hashimoto and Liang (ICLR 2020, arXiv 1911.08731)
put the training and the two development sets together and drew 50 % of them for training, 20 % for
validation and 30 % for testing. Pairs without a gold label are left out.

Williams, Nangia and Bowman, NAACL 2018, arXiv 1704.05426.
"""


def load_multinli(
    folder: str | Path,
    split: str,
    preprocessing: TextPreprocessing,
    *,
    metadata: str | Path | None = None,
    check: bool = True,
) -> BenchmarkSamples:
    r"""Load MultiNLI, with the groups by negation, from a folder of your own.

    Nothing is downloaded. The folder is ``multinli_1.0`` as the data set is unpacked, or the one
    above; it holds ``multinli_1.0_train.jsonl``, ``multinli_1.0_dev_matched.jsonl`` and
    ``multinli_1.0_dev_mismatched.jsonl``. Groups and split are in ``metadata_random.csv``, which
    the makers of group DRO publish. Its rows are the labelled pairs of the three files in this
    order; whether the labels of both agree is checked.

    Parameters
    ----------
    folder : path-like
        The folder.
    split : {"train", "val", "test"}
        The split of ``metadata_random.csv``. All of them come from all three files.
    preprocessing : TextPreprocessing
        How a pair is tokenised, such as ``TextPreprocessing.for_model(model)``.
    metadata : path-like, optional
        The file ``metadata_random.csv``, if it is not in the folder (or its subfolder ``data``).
    check : bool
        Warn where the groups do not hold the published numbers of samples.

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the files: pairs of texts, tokenised as they are used (as they
        are in ``X.texts``); ``y`` of shape (N,), in the order of ``target_names``; ``groups`` of
        shape (N,), ``2 * y + negation``.

    Raises
    ------
    InputError
        If the folder or a file is missing or damaged, or files do not belong together.

    Warns
    -----
    IncompleteDataWarning
        If the groups do not hold the published numbers of samples.

    Notes
    -----
    The pairs are by Williams et al. (NAACL 2018, `arXiv 1704.05426
    <https://arxiv.org/abs/1704.05426>`__), groups and split by Sagawa et al. (ICLR 2020, `arXiv
    1911.08731 <https://arxiv.org/abs/1911.08731>`__).

    Examples
    --------
    >>> from ntkit.datasets import load_multinli
    >>> from ntkit.extraction import TextPreprocessing
    >>> steps = TextPreprocessing("tokenizer.json", max_length=128)
    >>> pairs = load_multinli("multinli_1.0", "train", steps)  # doctest: +SKIP
    >>> pairs.group_names[1]  # doctest: +SKIP
    'contradiction with negation'
    """
    check_split(split)
    check_preprocessing(preprocessing, TextPreprocessing)
    labels, pairs = _labelled_pairs(folder)
    path = Path(metadata) if metadata is not None else _metadata(folder)
    table = read_csv(path, ["gold_label", "sentence2_has_negation", "split"], GROUPS.fix)
    y = table.codes("gold_label", CODES)
    if len(y) != len(labels):
        raise InputError(
            f"{path} has {len(y)} rows, but the three files in {folder} hold {len(labels)} "
            f"labelled pairs, so one of them is cut off: {SOURCE.fix}, and {GROUPS.fix}."
        )
    if (y != labels).any():
        i = int(np.argmax(y != labels))
        raise InputError(
            f"{table.at(i)} is of class {CLASSES[y[i]]!r}, but the pair there "
            f"({pairs[i][0][:60]!r}) of class {CLASSES[labels[i]]!r}, so the files do not belong "
            f"together: {GROUPS.fix}."
        )
    in_split = table.codes("split", SPLIT_CODES) == SPLITS.index(split)
    rows = SOURCE.rows_of(split, in_split, path)
    groups = (2 * y + table.codes("sentence2_has_negation", BINARY))[rows]
    if check:
        SOURCE.compare(split, np.bincount(groups, minlength=6).tolist())
    return BenchmarkSamples(
        X=Texts((pairs[i][0] for i in rows), preprocessing, (pairs[i][1] for i in rows)),
        y=y[rows],
        groups=groups,
        preprocessing=preprocessing.as_dict(),
        target_names=CLASSES,
        group_names=tuple(f"{c} {w} negation" for c in CLASSES for w in ("without", "with")),
        DESCR=DESCR,
    )


def _metadata(folder: str | Path) -> Path:
    return GROUPS.find(folder, ["metadata_random.csv", "data/metadata_random.csv"])


def _labelled_pairs(folder: str | Path) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """Classes and pairs of the three files, one after the other; unlabelled ones left out."""
    labels, pairs = list[int](), list[tuple[str, str]]()
    for part in ("train", "dev_matched", "dev_mismatched"):
        name = f"multinli_1.0_{part}.jsonl"
        path = SOURCE.find(folder, [name, f"multinli_1.0/{name}", f"data/{name}"])
        _read_pairs(path, labels, pairs)
    return np.asarray(labels, dtype=np.int64), pairs


def _read_pairs(path: Path, labels: list[int], pairs: list[tuple[str, str]]) -> None:
    """Append the labelled pairs of a file."""
    try:
        with path.open("rb") as file:
            for row, line in enumerate(file, start=1):
                label, pair = _parsed(path, row, line)
                if label != UNLABELLED:
                    labels.append(CLASSES.index(label))
                    pairs.append(pair)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def _parsed(path: Path, row: int, line: bytes) -> tuple[str, tuple[str, str]]:
    """Gold label, premise and hypothesis."""
    try:
        record = json.loads(line)
        label, pair = record["gold_label"], (record["sentence1"], record["sentence2"])
        "".join(pair).encode()  # no text holds half a character
        if label not in (*CLASSES, UNLABELLED):
            raise ValueError(f"no class is called {label!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}, line {row} is not a pair of sentences with its gold_label "
            f"({type(error).__name__}: {error}), so the file is cut off or damaged: {SOURCE.fix}."
        ) from error
    return label, pair

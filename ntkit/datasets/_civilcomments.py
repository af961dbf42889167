"""CivilComments: is a comment toxic? Mentions of some identities go along with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit.datasets._benchmark import (
    BenchmarkSamples,
    Source,
    check_preprocessing,
    check_split,
    read_csv,
)
from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing, Texts

IDENTITIES = (
    *("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white"),
)
CLASSES = ("non-toxic", "toxic")
THRESHOLD = 0.5  # share of annotators, for toxicity and for an identity
SOURCE = Source(
    "CivilComments (WILDS)",
    "https://wilds.stanford.edu/datasets/#civilcomments",
    {"train": (269038,), "val": (45180,), "test": (133782,)},
)

DESCR = """\
CivilComments (WILDS)
---------------------
Comments on online articles. The task: did at least half of the annotators call the comment toxic
(class 1) or not (class 0)? Comments that mention certain identities are toxic more often than
others. An identity is mentioned if at least half of the annotators say so.

Groups, in one of two definitions that must not be mixed:
"any_identity": 2 * class + whether any of eight identities is mentioned; each comment is in one
group, as group DRO and last-layer retraining on balanced groups need it.
"wilds": the 16 groups identity x class of the WILDS benchmark; a comment is in as many groups as it
mentions identities, or in none.

Borkan, Dixon, Sorensen, Thain and Vasserman, WWW 2019, arXiv 1903.04561; split and groups: Koh,
Sagawa et al., ICML 2021, arXiv 2012.07421. Public domain (CC0).
"""


def load_civilcomments(
    folder: str | Path,
    split: str,
    preprocessing: TextPreprocessing,
    *,
    groups: Literal["any_identity", "wilds"] = "any_identity",
    check: bool = True,
) -> BenchmarkSamples:
    r"""Load CivilComments, in the version of WILDS, from a folder of your own.

    Nothing is downloaded. The folder is ``civilcomments_v1.0`` as WILDS unpacks it, or the one
    above; it holds ``all_data_with_identities.csv``.

    Parameters
    ----------
    folder : path-like
        The folder.
    split : {"train", "val", "test"}
        The official split.
    preprocessing : TextPreprocessing
        How a comment is tokenised, such as ``TextPreprocessing.for_model(model)``.
    groups : {"any_identity", "wilds"}
        "any_identity": four groups, ``2 * y`` plus whether any of the eight identities (male,
        female, LGBTQ, christian, muslim, other_religions, black, white) is mentioned. "wilds":
        the benchmark's 16 groups, each identity with each class, **which overlap**. Worst-group
        accuracies of the two do not compare.
    check : bool
        Warn where the split does not hold the published number of comments.

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the file: texts, tokenised as they are used (as they are in
        ``X.texts``); ``y`` of shape (N,), 1 where at least half of the annotators found the
        comment toxic; ``groups`` of shape (N,), or, with "wilds", a boolean matrix of shape
        (N, 16) whose column ``2 * identity + y`` says which comments are in that group.

    Raises
    ------
    InputError
        If the folder or the file is missing or damaged.

    Warns
    -----
    IncompleteDataWarning
        If the split does not hold the published number of comments.

    See Also
    --------
    ntkit.metrics.worst_group_accuracy : With the matrix it is the figure that WILDS reports.

    Notes
    -----
    The comments are by Borkan et al. (WWW 2019, `arXiv 1903.04561
    <https://arxiv.org/abs/1903.04561>`__), split and groups by Koh, Sagawa et al. (`WILDS
    <https://wilds.stanford.edu>`__, ICML 2021, `arXiv 2012.07421
    <https://arxiv.org/abs/2012.07421>`__). The file's column ``identity_any`` is another thing,
    and not used here: it counts 24 identities, not eight.

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
    check_split(split)
    check_preprocessing(preprocessing, TextPreprocessing)
    if groups not in ("any_identity", "wilds"):
        raise InputError(f'groups is "any_identity" or "wilds"; got {groups!r}.')
    name = "all_data_with_identities.csv"
    path = SOURCE.find(folder, [name, f"civilcomments_v1.0/{name}"])
    table = read_csv(path, ["comment_text", "split", "toxicity", *IDENTITIES], SOURCE.fix)
    in_split = np.asarray([cell == split for cell in table.columns["split"]])
    rows = SOURCE.rows_of(split, in_split, path)
    y = (table.shares("toxicity") >= THRESHOLD).astype(np.int64)[rows]
    mentioned = np.stack(
        [table.shares(i, empty=0.0)[rows] >= THRESHOLD for i in IDENTITIES], axis=1
    )
    if check:
        SOURCE.compare(split, [len(rows)])
    members, names = (_any_identity if groups == "any_identity" else _wilds)(y, mentioned)
    return BenchmarkSamples(
        X=Texts((table.columns["comment_text"][i] for i in rows), preprocessing),
        y=y,
        groups=members,
        preprocessing=preprocessing.as_dict(),
        target_names=CLASSES,
        group_names=names,
        DESCR=DESCR,
    )


def _any_identity(
    y: NDArray[np.int64], mentioned: NDArray[np.bool_]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Group of each comment, shape (N,): class and whether it mentions an identity."""
    names = tuple(f"{c}, {w} identity" for c in CLASSES for w in ("no", "any"))
    return 2 * y + mentioned.any(axis=1), names


def _wilds(
    y: NDArray[np.int64], mentioned: NDArray[np.bool_]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Membership of each comment, shape (N, 16): identity (outer) and class (inner)."""
    of_class = np.stack([y == 0, y == 1], axis=1)
    members = (mentioned[:, :, None] & of_class[:, None, :]).reshape(len(y), -1)
    return members, tuple(f"{identity}, {c}" for identity in IDENTITIES for c in CLASSES)

"""Public benchmarks of texts: MultiNLI and CivilComments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ntkit._doc import documented
from ntkit.datasets._benchmark import BenchmarkSamples, Source, check_arguments, read_csv
from ntkit.exceptions import InputError
from ntkit.extraction import TextPreprocessing, Texts

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
hypothesis (class 0), entail it (class 1) or neither (class 2)? Hypotheses that hold a negation
(nobody, no, never, nothing) are mostly of the class contradiction.

Groups: 2 * class + negation.

The split is not the official one: Sagawa, Koh, Hashimoto and Liang (ICLR 2020, arXiv 1911.08731)
put the training and the two development sets together and drew 50 % of them for training, 20 % for
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

Groups, in one of two definitions that must not be mixed:
"any_identity": 2 * class + whether any of eight identities is mentioned; each comment is in one
group, as group DRO and last-layer retraining on balanced groups need it.
"wilds": the 16 groups identity x class of the WILDS benchmark; a comment is in as many groups as it
mentions identities, or in none.

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
    r"""Load MultiNLI, with the groups by negation, from a folder of your own.

    The folder is ``multinli_1.0`` as the data set is unpacked, or the one above; it holds
    ``multinli_1.0_train.jsonl``, ``multinli_1.0_dev_matched.jsonl`` and
    ``multinli_1.0_dev_mismatched.jsonl``. Groups and split are in ``metadata_random.csv``, which
    the makers of group DRO publish. Its rows are the labelled pairs of the three files in this
    order; whether the labels of both agree is checked.

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
        N samples in the order of the files: pairs of texts, tokenised as they are used (as they
        are in ``X.texts``); ``y`` of shape (N,), in the order of ``target_names``; ``groups`` of
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
            f"{path} has {len(y)} rows, but the three files in {folder} hold {len(labels)} "
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
        "".join(pair).encode()  # no text holds half a character
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
    r"""Load CivilComments, in the version of WILDS, from a folder of your own.

    The folder is ``civilcomments_v1.0`` as WILDS unpacks it, or the one above; it holds
    ``all_data_with_identities.csv``.

    Parameters
    ----------
    {folder, split, texts.preprocessing}
    groups : {"any_identity", "wilds"}
        "any_identity": four groups, ``2 * y`` plus whether any of the eight identities (male,
        female, LGBTQ, christian, muslim, other_religions, black, white) is mentioned. "wilds":
        the benchmark's 16 groups, each identity with each class, **which overlap**. Worst-group
        accuracies of the two do not compare.
    {check}

    Returns
    -------
    BenchmarkSamples
        N samples in the order of the file: texts, tokenised as they are used (as they are in
        ``X.texts``); ``y`` of shape (N,), 1 where at least half of the annotators found the
        comment toxic; ``groups`` of shape (N,), or, with "wilds", a boolean matrix of shape
        (N, 16) whose column ``2 * identity + y`` says which comments are in that group.

    {benchmark.problems}

    See Also
    --------
    ntkit.metrics.worst_group_accuracy : With the matrix it is the figure that WILDS reports.

    Notes
    -----
    The file's column ``identity_any`` is another thing, and not used here: it counts 24
    identities, not eight.

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
        raise InputError(f'groups is "any_identity" or "wilds"; got {groups!r}.')
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

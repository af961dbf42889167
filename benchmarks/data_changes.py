"""Embeddings of changed copies: words, mark-up, a column, image borders, a mark, textures.

    python benchmarks/data_changes.py DATA_DIR OUT [--only NAME …] [--seeds 5]
        [--waterbirds FOLDER --backbone MODEL.onnx]

DATA_DIR is what ``make bench-data`` built. OUT gets a ``.npz`` for each problem (and seed): ``Z``
(N, D), ``y``, ``a``, ``part`` and ``fold`` (N,), and ``Z_changed`` (M, R, D), copies of the first M
samples, NaN where there is none; ``copies`` (R,) names the change and the seed of each. The samples
that have copies come first. A donor is of the same part and the same fold as its sample. What is
there already is left as it is; images take most of the time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.changes import change_named
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing, Texts, read_samples
from ntkit.jobs.copies import embedded_copies
from packages import default_cache

Array = NDArray[Any]
Arrays = dict[str, Array]
Built = Iterator[tuple[str, Arrays]]
Drawn = Sequence[tuple[str, int]]
"""Changes, by their text form, and the seed of each."""
WORDS = "word:film|word:movie"
BORDERS: Drawn = [
    *(("image:border", seed) for seed in range(4)),
    ("image:border=55", 0),
    ("image:border=90", 0),
]


def folds_of(y: Array) -> Array:
    """Five stratified folds, (N,)."""
    fold = np.empty(len(y), dtype=np.int64)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    for number, (_, rows) in enumerate(splitter.split(np.zeros(len(y)), y)):
        fold[rows] = number
    return fold


def copied(
    embedder: OnnxEmbedder,
    samples: Samples,
    drawn: Drawn,
    fold: Array,
    kept: Path | None = None,
) -> Array:
    """Embeddings of copies, (N, R, D); with a folder, those of each change are kept there."""
    of_changes = []
    for name, seed in drawn:
        path = kept and kept / f"{name.replace(':', '_').replace(' ', '_')}_{seed}.npy"
        if path and path.exists():
            of_changes.append(np.load(path))
            continue
        start = time.perf_counter()
        found = embedded_copies(embedder, samples, change_named(name), seed=seed, folds=fold)
        of_changes.append(found.in_place(len(samples)))
        seconds = time.perf_counter() - start
        print(f"{name}, seed {seed}: {len(found.Z)} copies in {seconds:.0f} s", flush=True)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, of_changes[-1])
    return np.stack(of_changes, axis=1)


def named(drawn: Drawn) -> Array:
    """Name of each copy."""
    return np.asarray([f"{name}, seed {seed}" for name, seed in drawn])


# -- texts ---------------------------------------------------------------------------------------


def texts(
    data: Path, out: Path, cache: Path, seeds: int, read: Any, name: str, change: str
) -> Built:
    """One data set by three encoders."""
    import data_texts

    drawn = [(change, 0)]
    for suffix, encoder in (("", data_texts.L3), ("_l6", data_texts.L6), ("_lsa", None)):
        if not missing(out, name + suffix):
            continue
        strings, y, a = read(cache)
        fold = folds_of(y)
        with np.load(data / f"{name}{suffix}.npz") as known:
            Z = known["Z"]
            assert (known["y"] == y).all()
        if encoder is None:
            copies, Z = by_words(strings, change, Z, data_texts.TOKENIZER.fetched(cache))
        else:
            model = FrozenModel.load(
                encoder.fetched(cache),
                embedding=data_texts.LAST_STATES[encoder],
                pooling="mean",
            )
            steps = TextPreprocessing.for_model(
                model, data_texts.TOKENIZER.fetched(cache), max_length=128
            )
            embedder = OnnxEmbedder(model, device="cpu")
            copies = copied(embedder, Samples(Texts(strings, steps), y), drawn, fold)
            check(embedder.transform(Texts(strings[:16], steps)), Z[:16])
        yield (
            name + suffix,
            {"Z": Z, "y": y, "a": a, "fold": fold, "Z_changed": copies, "copies": named(drawn)},
        )


def by_words(strings: list[str], change: str, known: Array, tokenizer: Path) -> tuple[Array, Array]:
    """Copies as latent semantic analysis of the originals reads them, and the originals."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), max_features=50_000)
    reader = make_pipeline(words, TruncatedSVD(256, random_state=0))  # as in data_texts.lsa
    Z = reader.fit_transform(strings).astype(np.float32)
    check(Z, known)
    as_texts = Texts(strings, TextPreprocessing(tokenizer))  # the tokenizer is not asked
    copies, at = change_named(change).copies(Samples(as_texts, None))
    placed = np.full((len(strings), 1, Z.shape[1]), np.nan, dtype=np.float32)
    placed[at, 0] = reader.transform(copies.X.texts)
    return placed, Z


def rotten_tomatoes(data: Path, out: Path, cache: Path, seeds: int) -> Built:
    """Reviews that say film or movie: each in the other's place."""
    import data_texts

    yield from texts(data, out, cache, data_texts.reviews, "rotten_tomatoes", WORDS)


def spam_assassin(data: Path, out: Path, cache: Path, seeds: int) -> Built:
    """Mails with and without mark-up: stripped, or wrapped into some."""
    import data_texts

    yield from texts(data, out, cache, data_texts.mails, "spam_assassin", "markup=both")


# -- images --------------------------------------------------------------------------------------


def waterbirds(folder: Path, backbone: Path, known: Path) -> Callable[..., Built]:
    """The real Waterbirds: borders of other images."""

    def build(data: Path, out: Path, cache: Path, seeds: int) -> Built:
        from data_waterbirds import STEPS
        from ntkit.datasets import load_waterbirds

        if not missing(out, "waterbirds"):
            return
        with np.load(known) as arrays:
            order = np.argsort(arrays["split"], kind="stable")
            Z, y, a, split, ids = (arrays[k][order] for k in ("Z", "y", "a", "split", "img_id"))
        embedder = OnnxEmbedder(FrozenModel.load(backbone, embedding="embedding"), device="cpu")
        copies, folds = [], []
        for number, name in enumerate(("train", "val")):
            samples = load_waterbirds(folder, name, STEPS)
            rows = split == number
            assert (np.asarray(samples.y) == y[rows]).all()
            check(embedder.transform(samples.X.take(range(16))), Z[rows][:16], close=0.05)
            folds.append(folds_of(y[rows]))
            part = Samples(samples.X, y[rows])
            copies.append(copied(embedder, part, BORDERS, folds[-1], out / f"waterbirds_{name}"))
        folds.append(np.full((split == 2).sum(), -1))
        yield (
            "waterbirds",
            {
                "Z": Z.astype(np.float32),
                "y": y.astype(np.int64),
                "a": a.astype(np.int64),
                "part": np.asarray(["train", "validation", "test"])[split],
                "fold": np.concatenate(folds),
                "img_id": ids,
                "Z_changed": np.concatenate(copies),
                "copies": named(BORDERS),
            },
        )

    return build


def marked_digits(data: Path, out: Path, cache: Path, seeds: int) -> Built:
    """Other drawings of the digits, 93 and 100 % correlated: the top left corner of another."""
    from sklearn.datasets import load_digits

    from ntkit.datasets import _marked_digits as digits

    given = load_digits()
    images, labels = given.images / 16.0, (given.target >= 5).astype(np.int64)
    # The originals of each part are those that the network was trained on, and not.
    order = np.random.default_rng(digits.SEED).spawn(4)[0].permutation(len(labels))
    sets = np.split(order, np.cumsum(list(digits.N_ORIGINALS.values())))
    embedder = OnnxEmbedder(FrozenModel.load(marked_digits_model_path()), device="cpu")
    drawn = [("image:top left", seed) for seed in range(2)]
    for correlation in (0.93, 1.0):
        for seed in range(seeds):
            name = f"marked_digits_{correlation:.0%}_{seed}".replace("%", "")
            if not missing(out, name):
                continue
            rngs = np.random.default_rng([100, seed]).spawn(3)
            parts: dict[str, list[Array]] = {
                k: [] for k in ("Z", "y", "a", "part", "fold", "Z_changed")
            }
            for (part, n), originals, rng in zip(digits.N_SAMPLES.items(), sets, rngs, strict=True):
                if part == "test":
                    rows, marked = digits._balanced(labels, originals, n, rng)
                else:
                    rows = np.resize(originals, n)
                    follows = rng.random(n) < correlation
                    marked = np.where(follows, labels[rows], 1 - labels[rows])
                X, y = digits._draw(images[rows], marked, rng), labels[rows]
                fold = folds_of(y) if part != "test" else np.full(n, -1)
                parts["Z"].append(embedder.transform(X))
                if part != "test":
                    parts["Z_changed"].append(copied(embedder, Samples(X, y), drawn, fold))
                for key, values in (
                    ("y", y),
                    ("a", marked),
                    ("part", np.full(n, part)),
                    ("fold", fold),
                ):
                    parts[key].append(np.asarray(values))
            joined = {k: np.concatenate(v) for k, v in parts.items()}
            yield name, joined | {"copies": named(drawn)}


def fashion_mnist(data: Path, out: Path, cache: Path, seeds: int) -> Built:
    """Fashion-MNIST on textures: noise, and the high frequencies of another image."""
    import data_fashion_mnist as clothes
    from bench_data import PAIRS

    folder = clothes.SOURCE.fetched(cache)
    drawn = [("image:noise=0.1", 0), ("image:noise=0.1", 1), ("image:high frequencies", 0)]
    for classes in PAIRS:
        for seed in range(seeds):
            name = f"fashion_mnist_{classes[0]}_{classes[1]}_{seed}"
            if not missing(out, name):
                continue
            with np.load(data / f"{name}.npz") as known:
                arrays = {k: known[k] for k in ("Z", "y", "a", "part")}
            rng = np.random.default_rng(seed)
            X, y, _ = clothes.draw(folder, classes, "train", *clothes.SIZES["train"], rng)
            embedder = OnnxEmbedder(
                FrozenModel.load(data / f"{name}.onnx"), device="cpu", batch_size=256
            )
            check(embedder.transform(X[:64]), arrays["Z"][:64], close=1e-4)
            fold = folds_of(y)
            arrays["fold"] = np.append(fold, np.full(len(arrays["y"]) - len(y), -1))
            arrays["Z_changed"] = copied(embedder, Samples(X, y), drawn, fold)
            yield name, arrays | {"copies": named(drawn)}


def tuxscenes(data: Path, out: Path, cache: Path, seeds: int) -> Built:
    """Animals in scenes: borders of other images."""
    import tuxscenes as images

    for seed in range(seeds):
        name = f"tuxscenes_{seed}"
        if not missing(out, name):
            continue
        folder = out / f"{name}_images"  # of a former run, the images of the training set will do
        if not folder.exists():
            images.main([str(folder), "--seed", str(seed), "--cache", str(cache)])
        network = data / "efficientnet" / "backbone.onnx"
        steps = ImagePreprocessing.from_config(network.with_name("preprocessor_config.json"))
        embedder = OnnxEmbedder(FrozenModel.load(network), device="cpu")
        with np.load(data / f"{name}.npz") as known:
            arrays = {k: known[k] for k in ("Z", "y", "a", "part")}
        samples = read_samples(folder / "train", preprocessing=steps)
        y = (samples.y == "mammal").astype(np.int64)
        n = len(y)
        assert (arrays["part"][:n] == "train").all()
        assert (y == arrays["y"][:n]).all()
        check(embedder.transform(samples.X.take(range(16))), arrays["Z"][:16], 1e-3)
        fold, kept = folds_of(y), out / f"{name}_train"
        arrays["Z_changed"] = copied(embedder, Samples(samples.X, y), BORDERS[:2], fold, kept)
        arrays["fold"] = np.append(fold, np.full(len(arrays["y"]) - n, -1))
        yield name, arrays | {"copies": named(BORDERS[:2])}


# -- tables --------------------------------------------------------------------------------------


def adult(data: Path, out: Path, cache: Path, seeds: int) -> Built:
    """People: the sex of another; and with it what says the same, husband and wife."""
    import csv
    import io
    import zipfile

    import data_adult

    path = data_adult.SOURCE.fetched(cache)
    with zipfile.ZipFile(path) as archive:
        header = next(csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode())))
    columns = tuple(name for name in header if not name.startswith("salary"))
    drawn = [(f"column:{data_adult.SEX}", 0)]
    X, y, a = data_adult.people(path)
    for name in ("adult", "adult95"):
        for seed in range(seeds):
            target = f"{name}_{seed}"
            if not missing(out, target):
                continue
            rng = np.random.default_rng(seed)
            _, rest = np.array_split(rng.permutation(len(y)), 2)
            with np.load(data / f"{target}.npz") as known:
                Z = known["Z"]
                assert (known["y"] == y[rest]).all()
                assert (known["a"] == a[rest]).all()
            embedder = OnnxEmbedder(
                FrozenModel.load(data / f"{target}.onnx"), device="cpu", batch_size=512
            )
            table = X[rest]
            fold = folds_of(y[rest])
            samples = Samples(table, y[rest], columns=columns)
            # Sex is two columns of the table, and husband and wife say it again.
            first = copied(embedder, samples, drawn, fold)
            second = embedder.transform(other_sex(table, columns))[:, None]
            yield (
                target,
                {
                    "Z": Z,
                    "y": y[rest],
                    "a": a[rest],
                    "fold": fold,
                    "Z_changed": np.concatenate([first, second], axis=1),
                    "copies": np.append(named(drawn), "all columns of the sex"),
                },
            )


def other_sex(table: Array, columns: Sequence[str]) -> Array:
    """The other sex in every column that says it: of a husband a wife."""
    changed = table.copy()
    at = {name: i for i, name in enumerate(columns)}
    pairs = [
        pair
        for pair in (("sex_Male", "sex_Female"), ("relationship_Husband", "relationship_Wife"))
        if pair[0] in at and pair[1] in at
    ]
    for one, other in pairs:
        changed[:, [at[one], at[other]]] = table[:, [at[other], at[one]]]
    if "sex_Female" not in at:
        changed[:, at["sex_Male"]] = 1 - table[:, at["sex_Male"]]
    return changed


# -- all of it -----------------------------------------------------------------------------------


def check(new: Array, known: Array, close: float = 1e-2) -> None:
    """Refuse copies whose originals would not be embedded as they were."""
    far = float(np.abs(np.asarray(new, np.float64) - known).max())
    print(f"originals differ from the known embeddings by at most {far:.2g}", flush=True)
    if far > close:
        raise SystemExit(f"data_changes: embeddings differ by {far:.2g} from those of DATA_DIR")


def missing(out: Path, name: str) -> bool:
    """Whether a file is still to be made; says so."""
    if (out / f"{name}.npz").exists():
        return False
    print(f"building {name}", flush=True)
    return True


BUILDERS = {
    "rotten_tomatoes": rotten_tomatoes,
    "waterbirds": None,
    "marked_digits": marked_digits,
    "adult": adult,
    "fashion_mnist": fashion_mnist,
    "spam_assassin": spam_assassin,
    "tuxscenes": tuxscenes,
}


def main() -> None:
    """Build what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--waterbirds", type=Path, help="your copy of Waterbirds")
    parser.add_argument("--backbone", type=Path, help="the network of --embeddings")
    parser.add_argument("--embeddings", type=Path, help="Z, y, a, split, img_id of Waterbirds")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="unpacked packages")
    arguments = parser.parse_args()
    data, out, cache = (p.absolute() for p in (arguments.data, arguments.out, arguments.cache))
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        build = BUILDERS[name]
        if build is None:
            if not arguments.waterbirds:
                continue
            build = waterbirds(arguments.waterbirds, arguments.backbone, arguments.embeddings)
        for target, arrays in build(data, out, cache, arguments.seeds):
            unfinished = out / f".{target}.npz"
            np.savez(unfinished, **arrays)
            os.replace(unfinished, out / f"{target}.npz")
            changed = arrays["Z_changed"]
            share = np.round((~np.isnan(changed[..., 0])).mean(axis=0), 2).tolist()
            print(f"{target}: {arrays['Z'].shape}, copies of {share} of {len(changed)}", flush=True)


if __name__ == "__main__":
    main()

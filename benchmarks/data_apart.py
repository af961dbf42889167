"""Problems that no rule was chosen on: other attributes, encoders and correlations.

    OPENBLAS_NUM_THREADS=1 python benchmarks/data_apart.py DATA_DIR [--seeds 5] [--only NAME …]

builds the pools in DATA_DIR and prints their sizes. ``--gain`` adds, for the problems of CHOOSE
alone, worst-group accuracy of class-balanced retraining and of DFR with all groups.

The names are dealt in alphabetical order: the first to CHOOSE, the second to ASIDE, and so on.
``benchmarks/NOTES.md`` has the sources, and says what was fixed when. A seed draws the split, the
injected attribute, and the network where it is trained on biased samples.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import data_apart_sources as sources
from answers_data import Pool
from data_adult import mostly_agreeing
from labels_data import agreeing, image_model
from ntkit import FrozenModel, OnnxEmbedder
from ntkit.extraction.embedder import embedded_with_layers
from ntkit.jobs.label import feature_sets_of
from packages import default_cache
from runner import command_line
from splits import drawn

Array = NDArray[Any]
MOST = 4000
"""Samples in a pool."""


# -- splits --------------------------------------------------------------------------------------


def split(
    groups: Array,
    seed: int,
    n_test: int,
    shares: tuple[float, float] = (0.95, 0.95),
    ratio: float = 1.0,
) -> tuple[Array, Array]:
    """Row numbers of the pool and of the test set, which has n_test of every group.

    The attribute agrees with this share of each class of the pool. The larger class has at most
    ``ratio`` times as many samples in its common group.
    """
    test = drawn(groups, dict.fromkeys(range(4), n_test), seed)
    rest = np.setdiff1d(np.arange(len(groups)), test)
    n = np.bincount(groups[rest], minlength=4)
    odds = [share / (1 - share) for share in shares]
    common = [min(n[0], odds[0] * n[1]), min(n[3], odds[1] * n[2])]
    common = [min(common[0], ratio * common[1]), min(common[1], ratio * common[0])]
    total = sum(c / share for c, share in zip(common, shares, strict=True))
    zero, one = (int(c * min(1, MOST / total)) for c in common)
    sizes = {0: zero, 1: round(zero / odds[0]), 2: round(one / odds[1]), 3: one}
    return rest[drawn(groups[rest], sizes, seed)], test


def injected(y: Array, seed: int, n_test: int, share: float) -> tuple[Array, Array, Array]:
    """An attribute that agrees with this share, and row numbers of the pool and the test set."""
    test = drawn(y, {0: 2 * n_test, 1: 2 * n_test}, seed)
    rng = np.random.default_rng(seed)
    a = agreeing(y, share, rng)
    for label in range(2):
        rows = test[y[test] == label]
        a[rows] = np.arange(len(rows)) % 2
    rest = np.setdiff1d(np.arange(len(y)), test)
    return a, rng.permutation(rest)[:MOST], test


def kept(path: Path, make: Callable[[], Array]) -> Array:
    """An array from a file, or made and written there."""
    if not path.exists():
        unfinished = path.with_name(f".{os.getpid()}-{path.name}")
        np.save(unfinished, make())
        os.replace(unfinished, path)
    return np.asarray(np.load(path))


def pool_of(
    Z: Array,
    y: Array,
    a: Array,
    rows: Array,
    test: Array,
    *,
    layers: Mapping[str, Array] | None = None,
    texts: Sequence[str] | None = None,
    columns: Array | None = None,
) -> Pool:
    """The pool and its feature sets; layers and columns are those of all samples."""
    found = feature_sets_of(
        Z[rows],
        {name: layer[rows] for name, layer in (layers or {}).items()},
        texts=None if texts is None else [texts[i] for i in rows],
        inputs=None if columns is None else columns[rows],
    )
    return Pool(Z[rows], y[rows], a[rows], found, Z[test], y[test], (2 * y + a)[test])


# -- tables --------------------------------------------------------------------------------------


def slug(name: str) -> str:
    """A name as a part of a file's name."""
    return f"apart_{name.lower().replace(' ', '_')}"


def network_path(name: str, folder: Path, seed: int) -> Path:
    """The network of a problem that trains one, an ONNX file."""
    return folder / f"{slug(name)}_{seed}.onnx"


def table(
    name: str,
    folder: Path,
    seed: int,
    *,
    n_test: int,
    hide: str | None = None,
    seen: float = 1 / 2,
    **how: Any,
) -> Pool:
    """People or windows that a network of two layers has not seen; it saw others, biased."""
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, names, y, a = TABLES[name](default_cache())
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    first, rest = np.split(order, [int(seen * len(y))])
    path = network_path(name, folder, seed)
    if not path.exists():
        some = mostly_agreeing(first, y, a, rng)
        net = MLPClassifier((64, 64), batch_size=64, max_iter=15, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = make_pipeline(StandardScaler(), net).fit(X[some], y[some])
        onnx = to_onnx(fitted, X[:1], options={"zipmap": False}, target_opset=18)
        path.write_bytes(onnx.SerializeToString())
    X, y, a = X[rest], y[rest], a[rest]
    Z = OnnxEmbedder(FrozenModel.load(path), device="cpu", batch_size=512).transform(X)
    rows, test = split(2 * y + a, seed, n_test, **how)
    columns = X[:, [i for i, column in enumerate(names) if column != hide]]
    return pool_of(Z, y, a, rows, test, columns=columns)


# -- texts ---------------------------------------------------------------------------------------


def texts(
    name: str,
    folder: Path,
    seed: int,
    read: Callable[[Path], sources.Told],
    embed: Callable[[list[str]], Array],
    *,
    n_test: int,
    **how: Any,
) -> Pool:
    """Texts by an encoder that was not trained on them."""
    said, y, a = read(default_cache())
    Z = kept(folder / f"{slug(name)}.npy", lambda: embed(said))
    rows, test = split(2 * y + a, seed, n_test, **how)
    return pool_of(Z, y, a, rows, test, texts=said)


def by_l3(said: list[str]) -> Array:
    """MiniLM of three layers."""
    from data_texts import minilm

    return minilm(said, default_cache())


def by_l6(said: list[str]) -> Array:
    """MiniLM of six layers, of 8 bits."""
    from data_texts import L6, minilm

    return minilm(said, default_cache(), L6)


def by_counts(said: list[str]) -> Array:
    """Latent semantic analysis of the texts themselves."""
    from data_texts import lsa

    return lsa(said)


def by_letters(said: list[str]) -> Array:
    """Latent semantic analysis of runs of one to four letters."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    runs = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=3, sublinear_tf=True)
    Z = make_pipeline(runs, TruncatedSVD(192, random_state=0)).fit_transform(said)
    return np.asarray(Z, dtype=np.float32)


# -- images --------------------------------------------------------------------------------------


def backbone_path(folder: Path) -> Path:
    """EfficientNet-Lite0, built if it is not there (needs torch and its packages)."""
    path = folder / "efficientnet" / "backbone.onnx"
    if not path.exists():
        import backbone

        path.parent.mkdir(parents=True, exist_ok=True)
        backbone.build(path)
    return path


def for_backbone(images: Array) -> Array:
    """Images (N, height, width, 3) as the backbone takes them, (N, 3, 224, 224)."""
    large = [Image.fromarray(im).resize((224, 224), Image.Resampling.BICUBIC) for im in images]
    return ((np.stack(large).astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)


def by_backbone(images: Array, folder: Path, *, layers: bool) -> dict[str, Array]:
    """Embeddings, and the means and deviations of earlier layers."""
    model = FrozenModel.load(backbone_path(folder), embedding="embedding")
    embedder, found = OnnxEmbedder(model, device="cpu"), list[dict[str, Array]]()
    for start in range(0, len(images), 256):
        X = for_backbone(images[start : start + 256])
        one = embedded_with_layers(embedder, X, most=None if layers else 0)
        found.append({"embedding": one.Z, **one.layers})
    return {key: np.concatenate([one[key] for one in found]) for key in found[0]}


def pictures(
    name: str, folder: Path, read: Callable[[Path], tuple[Any, ...]], *, layers: bool = False
) -> tuple[dict[str, Array], list[Array]]:
    """Embeddings and layers of all images, then classes (and attributes), from files."""
    path = folder / f"{slug(name)}.npz"
    if not path.exists():
        images, *labels = read(default_cache())
        all_images = np.concatenate(images) if isinstance(images, list) else images
        arrays = by_backbone(all_images, folder, layers=layers)
        arrays |= {f"labels {i}": array for i, array in enumerate(labels)}
        unfinished = path.with_name(f".{os.getpid()}-{path.name}")
        np.savez(unfinished, **arrays)
        os.replace(unfinished, path)
    with np.load(path) as data:
        arrays = {key: data[key] for key in data if not key.startswith("labels")}
        return arrays, [data[key] for key in data if key.startswith("labels")]


def two_versions(
    name: str,
    folder: Path,
    seed: int,
    read: Callable[[Path], tuple[Any, ...]],
    *,
    n_test: int,
    share: float,
    layers: bool = False,
) -> Pool:
    """Images of which there are two versions, without and with the attribute."""
    arrays, (y,) = pictures(name, folder, read, layers=layers)
    a, rows, test = injected(y, seed, n_test, share)
    at = np.arange(len(y)) + a * len(y)
    Z = arrays.pop("embedding")[at]
    of_layers = {key: layer[at] for key, layer in arrays.items()}
    return pool_of(Z, y, a, rows, test, layers=of_layers)


def icons(folder: Path, seed: int) -> Pool:
    """Icons, which are outlined or not by themselves."""
    arrays, (y, a) = pictures("Icons", folder, sources.icons)
    rows, test = split(2 * y + a, seed, 100, (0.96, 0.9))
    return pool_of(arrays["embedding"], y, a, rows, test)


def by_own_network(path: Path, images: Array, y: Array, a: Array, rows: Array, test: Array) -> Pool:
    """Grey images by a network that was trained on others, with its earlier layers."""
    X = images[:, None].astype(np.float32) / 255
    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu", batch_size=256)
    found = embedded_with_layers(embedder, X)
    return pool_of(found.Z, y, a, rows, test, layers=found.layers)


def digits(folder: Path, seed: int) -> Pool:
    """Handwritten digits; scikit-learn's network was trained on half of them, biased."""
    (good, poor), y = sources.digits(default_cache())
    rng = np.random.default_rng([seed, 1])
    first, rest = np.array_split(rng.permutation(len(y)), 2)
    a, rows, test = injected(y[rest], seed, 250, 0.93)
    path = network_path("Digits", folder, seed)
    if not path.exists():
        poor_ones = agreeing(y[first], 0.93, rng)
        X = np.where(poor_ones[:, None, None] == 1, poor[first], good[first]) / 255
        net = MLPClassifier((64,), max_iter=15, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(X.reshape(len(X), -1).astype(np.float32), y[first])
        image_model(net, (1, 28, 28), ("even", "odd"), path)
    images = np.where(a[:, None, None] == 1, poor[rest], good[rest])
    return by_own_network(path, images, y[rest], a, rows, test)


def letters(folder: Path, seed: int) -> Pool:
    """Letters on noise; three convolutions were trained on others, biased."""
    rng = np.random.default_rng([seed, 2])
    path = network_path("Letters", folder, seed)
    if not path.exists():
        from data_fashion_mnist import written

        y = np.arange(5000) % 2
        X = sources.letters(default_cache(), y, agreeing(y, 0.95, rng), rng)
        written(X[:, None].astype(np.float32) / 255, y, seed, path)
    rng, y = np.random.default_rng([seed, 3]), np.arange(3800) % 2
    a, rows, test = injected(y, seed, 200, 0.95)
    images = sources.letters(default_cache(), y, a, rng)
    return by_own_network(path, images, y, a, rows, test)


# -- all of them ---------------------------------------------------------------------------------

Build = Callable[[Path, int], Pool]
S = sources
BUILDERS: dict[str, Build] = {
    "Activities": lambda f, s: table("Activities", f, s, n_test=75, seen=0.4),
    "Addresses": lambda f, s: texts(
        "Addresses", f, s, S.addresses, by_l6, n_test=200, shares=(0.9, 0.9)
    ),
    "Clip art": lambda f, s: two_versions(
        "Clip art", f, s, S.clip_art, n_test=60, share=0.95, layers=True
    ),
    "Crashes": lambda f, s: table(
        "Crashes", f, s, n_test=75, hide="unbelted", seen=0.4, ratio=4
    ),
    "Credit card": lambda f, s: table(
        "Credit card", f, s, n_test=200, hide="school", shares=(0.95, 0.95)
    ),
    "Digits": digits,
    "Emoji": lambda f, s: two_versions("Emoji", f, s, S.emoji, n_test=75, share=0.95),
    "Fortunes": lambda f, s: texts("Fortunes", f, s, S.fortunes, by_counts, n_test=200),
    "Icons": icons,
    "Intents": lambda f, s: texts(
        "Intents", f, s, S.intents, by_l3, n_test=200, shares=(0.97, 0.97)
    ),
    "Law school": lambda f, s: table(
        "Law school", f, s, n_test=100, seen=1 / 3, ratio=3
    ),
    "Letters": letters,
    "Names": lambda f, s: texts(
        "Names", f, s, S.names, by_letters, n_test=150, shares=(0.97, 0.9), ratio=2
    ),
    "Tweets": lambda f, s: texts(
        "Tweets", f, s, S.tweets, by_l3, n_test=75, shares=(0.97, 0.9), ratio=3
    ),
}  # fmt: skip


def built(name: str, folder: Path, seed: int) -> Pool:
    """A pool from its file, or built and written there."""
    path = folder / f"{slug(name)}_{seed}.joblib"
    if not path.exists():
        pool = BUILDERS[name](folder, seed)
        unfinished = path.with_name(f".{os.getpid()}-{path.name}")
        joblib.dump(vars(pool), unfinished)
        os.replace(unfinished, path)
    found = joblib.load(path)
    return Pool(**{field.name: found[field.name] for field in fields(Pool)})


def _loader(name: str) -> Build:
    return lambda folder, seed: built(name, folder, seed)


PROBLEMS: dict[str, Build] = {name: _loader(name) for name in sorted(BUILDERS)}
CHOOSE, ASIDE = tuple(PROBLEMS)[::2], tuple(PROBLEMS)[1::2]
TABLES = {
    "Activities": S.activities,
    "Crashes": S.crashes,
    "Credit card": S.credit,
    "Law school": S.law_school,
}


def gain(pool: Pool, seed: int) -> tuple[float, float]:
    """Worst-group accuracy in % of class-balanced retraining, and of DFR with all groups."""
    from ntkit.estimators import BalancedClassifier, DFRClassifier
    from ntkit.metrics import worst_group_accuracy

    balanced = BalancedClassifier().fit(pool.Z, pool.y)
    dfr = DFRClassifier(random_state=seed).fit(pool.Z, pool.y, groups=2 * pool.y + pool.a)
    right, groups = pool.y_test, pool.groups_test
    found = [worst_group_accuracy(right, head.predict(pool.Z_test), groups=groups)
             for head in (balanced, dfr)]  # fmt: skip
    return 100 * found[0], 100 * found[1]


def main() -> None:
    """Build what is missing, and print a line for each pool."""
    parser = command_line(__doc__, "data_dir")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--gain", action="store_true", help="fit heads, on CHOOSE alone")
    arguments = parser.parse_args()
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        for seed in range(arguments.seeds):
            pool = PROBLEMS[name](arguments.data_dir, seed)
            sizes = np.bincount(2 * pool.y + pool.a, minlength=4)
            views = ", ".join(f"{key} {view.shape[1]}" for key, view in pool.feature_sets.items())
            heads = ""
            if arguments.gain and name in CHOOSE:
                heads = "; class-balanced {:.1f}, DFR {:.1f}".format(*gain(pool, seed))
            print(
                f"{name}, seed {seed}: {len(pool.y)} samples, groups {sizes.tolist()} "
                f"({100 * (pool.y == pool.a).mean():.1f} % agree), test "
                f"{np.bincount(pool.groups_test).tolist()}; {views}{heads}",
                flush=True,
            )


if __name__ == "__main__":
    main()

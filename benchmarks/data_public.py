"""CelebA, MultiNLI and CivilComments, or a part of each, through a small frozen network.

    python benchmarks/data_public.py CACHE_DIR [--celeba FOLDER BACKBONE.onnx]
        [--multinli FOLDER] [--civilcomments FOLDER] [--most 35000]

Each FOLDER is your own copy, laid out as ``docs/howto/benchmark_data.md`` says; fewer rows will do.
BACKBONE.onnx is what ``benchmarks/backbone.py`` wrote. Texts go through MiniLM-L3 of
:mod:`data_texts`. A pair of sentences u, v becomes [u, v, |u - v|, u v], as in InferSent: as one
text of two segments, the encoder hardly tells classes apart. Of more than ``--most`` samples so
many are drawn. Every 1 000 samples are a file in CACHE_DIR, so that a run that was interrupted goes
on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

from data_texts import L3, LAST_STATES, TOKENIZER
from ntkit import FrozenModel, OnnxEmbedder
from ntkit.datasets import load_celeba, load_civilcomments, load_multinli
from ntkit.extraction import (
    ImageFiles,
    ImagePreprocessing,
    TextPreprocessing,
    Texts,
    embedded_with_layers,
)
from packages import default_cache

Array = NDArray[Any]
CHUNK = 1000
STEPS = ImagePreprocessing(
    resize=224, crop=(224, 224), resample=2, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)
"""Of CelebA: the square in the middle."""
Parts = dict[str, Array]


def embed(name: str, loaded: list[Any], cache: Path, most: int, of: Callable[[Any], Parts]) -> None:
    """Fill the cache of a benchmark, where it is not yet; ``of`` embeds the inputs of a chunk."""
    cache.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(samples.y) for samples in loaded])
    n = int(ends[-1])
    rows = np.arange(n)
    if n > most:
        rows = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
    for at in range(0, len(rows), CHUNK):
        part = cache / f"{name}_{at:06d}_of_{len(rows)}.npz"
        if part.exists():
            continue
        start, arrays = time.perf_counter(), list[Parts]()
        for begin, samples in zip([0, *ends[:-1]], loaded, strict=True):
            chunk = rows[at : at + CHUNK]
            own = chunk[(chunk >= begin) & (chunk < begin + len(samples.y))] - begin
            if len(own):
                labels = {"y": samples.y[own], "groups": samples.groups[own]}
                arrays.append(of(taken(samples.X, own)) | labels)
        unfinished = part.with_name(f".{part.name}")
        np.savez(unfinished, **{k: np.concatenate([a[k] for a in arrays]) for k in arrays[0]})
        unfinished.rename(part)
        print(f"{part.name}: {time.perf_counter() - start:.0f} s", flush=True)


def taken(X: Any, rows: Array) -> Any:
    """Some of the inputs."""
    if isinstance(X, ImageFiles):
        return ImageFiles([X.paths[i] for i in rows], STEPS)
    some = [X.texts[i] for i in rows]
    if isinstance(some[0], str):
        return Texts(some, X.preprocessing)
    first, second = zip(*some, strict=True)
    return Texts(first, X.preprocessing, second)


def of_images(backbone: Path) -> Callable[[ImageFiles], Parts]:
    """Embeddings and earlier layers of images."""
    model = FrozenModel.load(backbone)

    def of(X: ImageFiles) -> Parts:
        found = embedded_with_layers(model, X, device="cpu")
        return {"Z": found.Z} | {f"layer:{k}": v for k, v in found.layers.items()}

    return of


def of_texts() -> tuple[TextPreprocessing, Callable[[Texts], Parts]]:
    """How texts become tokens, and their embeddings; the texts are kept for their words."""
    cache = default_cache()
    model = FrozenModel.load(L3.fetched(cache), embedding=LAST_STATES[L3], pooling="mean")
    steps = TextPreprocessing.for_model(model, TOKENIZER.fetched(cache), max_length=128)
    assert steps is not None
    embedder = OnnxEmbedder(model, device="cpu")

    def of(X: Texts) -> Parts:
        # A negation or an identity is looked for where the makers looked: in the hypothesis.
        one = isinstance(X.texts[0], str)
        said = [*X.texts] if one else [text[1] for text in X.texts]
        Z = embedder.transform(Texts(said, steps))
        if not one:
            u = embedder.transform(Texts([text[0] for text in X.texts], steps))
            Z = np.hstack([u, Z, np.abs(u - Z), u * Z])
        return {"Z": Z, "text": np.asarray(said)}

    return steps, of


def read(cache: Path, name: str) -> dict[str, Any]:
    """What :func:`embed` kept: Z, y, groups, and feature sets by their names."""
    parts, n = [], 0
    for path in sorted(cache.glob(f"{name}_*.npz")):
        n = int(path.stem.rpartition("_")[2])
        with np.load(path) as part:
            parts.append(dict(part))
    if not parts or sum(len(part["y"]) for part in parts) != n:
        raise FileNotFoundError(f"{cache} does not hold all of {name!r}; embed it first")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    found = {key: joined.pop(key) for key in ("Z", "y", "groups")}
    if "text" in joined:
        count = CountVectorizer(binary=True, dtype=np.float32, min_df=0.002)
        return found | {"feature_sets": {"words": count.fit_transform(joined["text"]).tocsr()}}
    return found | {"layers": {k.removeprefix("layer:"): v for k, v in joined.items()}}


def main() -> None:
    """Embed what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("--celeba", nargs=2, type=Path, metavar=("FOLDER", "BACKBONE"))
    parser.add_argument("--multinli", type=Path)
    parser.add_argument("--civilcomments", type=Path)
    parser.add_argument("--most", type=int, default=35_000)
    arguments = parser.parse_args()
    cache, most, splits = arguments.cache, arguments.most, ("train", "val", "test")
    if arguments.celeba:
        folder, backbone = arguments.celeba
        loaded = [load_celeba(folder, split, STEPS, check=False) for split in splits]
        embed("celeba", loaded, cache, most, of_images(backbone))
    texts = {"multinli": load_multinli, "civilcomments": load_civilcomments}
    for name, load in texts.items():
        if folder := getattr(arguments, name):
            steps, of = of_texts()
            loaded = [load(folder, split, steps, check=False) for split in splits]
            embed(name, loaded, cache, most, of)


if __name__ == "__main__":
    main()

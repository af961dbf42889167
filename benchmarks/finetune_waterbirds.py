"""Fine-tune EfficientNet-Lite0 on Waterbirds by ERM, and embed all splits with the result.

    OMP_NUM_THREADS=1 python benchmarks/finetune_waterbirds.py WATERBIRDS_DIR OUT [--seeds 0 1 2]
        [--size 128] [--epochs 5] [--frozen 5] [--threads 2] [--train-only]

WATERBIRDS_DIR is your own copy (see ``data_waterbirds.py``). OUT gets, for every seed, a checkpoint
an epoch, ``seed_0.onnx`` and the folder ``seed_0`` of embeddings, which ``overview.py --tuned``
reads. What is there is not made again: a run that was interrupted goes on after its last epoch.

Plain cross-entropy on the official training split, no group label, no class weight. The network
starts from its ImageNet weights with a new head for two classes. The statistics of its
BatchNorm layers stay as they are, and so does what is before block ``--frozen``: of 16 blocks the
first five hold 2 % of the weights and take more than half of the time. As nothing before it
changes, what it makes of an image is computed once for every epoch and kept in OUT: the seeds
share their crops, in another order. ``--frozen 0`` trains every block;
``--epochs 0`` none, for embeddings of the same network without fine-tuning.
"""

from __future__ import annotations

import csv
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from backbone import export, largest_difference, load_network
from ntkit import FrozenModel, OnnxEmbedder
from ntkit.datasets import load_waterbirds
from ntkit.extraction import ImagePreprocessing
from runner import command_line

Array = NDArray[Any]
SPLITS = ("train", "val", "test")
KEPT = 256
"""Pixels a side of the images that crops are taken of."""
BATCH, CHUNK = 32, 512
RATE, WARM_UP, DECAY = 3e-4, 0.1, 1e-4
AREA, ASPECT = (0.7, 1.0), (3 / 4, 4 / 3)
"""Share of the image and width to height of a crop."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    size : int
        Pixels a side of what the network sees.
    epochs : int
        Passes over the training split.
    frozen : int
        Blocks, from the input on, that stay as they are; 0 trains the stem, too.
    threads : int
        A batch is cut into so many parts, one for each thread.
    """

    size: int = 128
    epochs: int = 5
    frozen: int = 5
    threads: int = 2


def pictures(folder: Path, out: Path) -> Array:
    """Training images, resized to 256 x 256, uint8; decoded once."""
    kept = out / f"train_{KEPT}.npy"
    if not kept.exists():
        with (folder / "metadata.csv").open(newline="") as file:
            names = [row["img_filename"] for row in csv.DictReader(file) if row["split"] == "0"]
        unfinished = kept.with_name(f".{kept.name}")
        shape = (len(names), KEPT, KEPT, 3)
        pixels = np.lib.format.open_memmap(unfinished, "w+", np.uint8, shape)
        for i, name in enumerate(names):
            with Image.open(folder / name) as image:
                resized = image.convert("RGB").resize((KEPT, KEPT), Image.Resampling.BILINEAR)
            pixels[i] = np.asarray(resized)
        pixels.flush()
        unfinished.rename(kept)
    return np.load(kept, mmap_mode="r")


def labels(folder: Path) -> Array:
    """Classes of the training images."""
    with (folder / "metadata.csv").open(newline="") as file:
        return np.array([int(row["y"]) for row in csv.DictReader(file) if row["split"] == "0"])


def crop_box(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random crop, within the image."""
    while True:
        area = rng.uniform(*AREA) * KEPT**2
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if max(width, height) <= KEPT:
            left, top = rng.uniform(0, KEPT - width), rng.uniform(0, KEPT - height)
            return left, top, left + width, top + height


def cropped(pixels: Array, size: int, rng: np.random.Generator) -> Array:
    """A random crop of one image, flipped half of the time, as the network takes it."""
    image = Image.fromarray(pixels).resize(
        (size, size), Image.Resampling.BILINEAR, box=crop_box(rng)
    )
    values = (np.asarray(image, dtype=np.float32) - 127) / 128
    return (values[:, ::-1] if rng.random() < 0.5 else values).transpose(2, 0, 1)


def before(network: Any, images: torch.Tensor, frozen: int) -> torch.Tensor:
    """What the stem and the first blocks make of images; with ``frozen=0`` the images."""
    if not frozen:
        return images
    values = network._swish(network._bn0(network._conv_stem(images)))
    for block in network._blocks[:frozen]:
        values = block(values)
    return values


def after(network: Any, values: torch.Tensor, frozen: int) -> torch.Tensor:
    """Logits from what :func:`before` gave."""
    if not frozen:
        values = network._swish(network._bn0(network._conv_stem(values)))
    for block in network._blocks[frozen:]:
        values = block(values)
    embedding = network._swish(network._bn1(network._conv_head(values))).mean(dim=(2, 3))
    return network._fc(embedding)


def feature_set(network: Any, pixels: Array, out: Path, number: int, recipe: Recipe) -> Array:
    """One random crop of every image behind the frozen blocks, float16; computed once."""
    kept = out / f"feature_set_{recipe.size}_{recipe.frozen}_{number}.npy"
    if not kept.exists():
        start = time.perf_counter()

        def part(at: int) -> Array:
            torch.set_num_threads(1)
            rows = range(at, min(at + BATCH, len(pixels)))
            rngs = [np.random.default_rng([number, i]) for i in rows]
            images = [
                cropped(pixels[i], recipe.size, rng) for i, rng in zip(rows, rngs, strict=True)
            ]
            with torch.inference_mode():
                batch = torch.from_numpy(np.stack(images)).contiguous(
                    memory_format=torch.channels_last
                )
                return before(network, batch, recipe.frozen).numpy().astype(np.float16)

        with ThreadPoolExecutor(recipe.threads) as pool:
            values = np.concatenate(list(pool.map(part, range(0, len(pixels), BATCH))))
        unfinished = kept.with_name(f".{kept.name}")
        np.save(unfinished, values)
        unfinished.rename(kept)
        print(f"view {number}: {time.perf_counter() - start:.0f} s", flush=True)
    return np.load(kept, mmap_mode="r")


def new_network(seed: int) -> Any:
    """The network with ImageNet weights and a new head for two classes."""
    network = load_network()
    head = nn.Linear(network._fc.in_features, 2)
    nn.init.normal_(head.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(head.bias)
    network._fc = head
    return network.eval().to(memory_format=torch.channels_last)


def trained_weights(network: Any, frozen: int) -> list[nn.Parameter]:
    """All weights behind the frozen blocks."""
    modules = [*network._blocks[frozen:], network._conv_head, network._bn1, network._fc]
    modules += [] if frozen else [network._conv_stem, network._bn0]
    return [weight for module in modules for weight in module.parameters()]


def rate_at(step: int, n_steps: int) -> float:
    """Learning rate: a linear warm-up, then half a cosine down to 0."""
    warm = WARM_UP * n_steps
    if step < warm:
        return RATE * (step + 1) / warm
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - warm) / (n_steps - warm)))


def batches(n: int, seed: int, epoch: int) -> Iterator[Array]:
    """Row numbers of the batches of an epoch, in random order."""
    order = np.random.default_rng([seed, epoch]).permutation(n)
    for at in range(0, n, BATCH):
        yield order[at : at + BATCH]


def run_epoch(
    network: Any, optimiser: Any, values: Array, y: Array, seed: int, epoch: int, recipe: Recipe
) -> dict[str, float]:
    """Train for an epoch; mean loss and accuracy on the crops while they were learned from."""
    weights = trained_weights(network, recipe.frozen)
    per_epoch = math.ceil(len(y) / BATCH)

    def part(rows: Array, n: int) -> tuple[Sequence[torch.Tensor], float, int]:
        torch.set_num_threads(1)
        images = torch.from_numpy(values[rows].astype(np.float32))
        target = torch.from_numpy(y[rows])
        logits = after(network, images.contiguous(memory_format=torch.channels_last), recipe.frozen)
        loss = nn.functional.cross_entropy(logits, target, reduction="sum") / n
        right = int((logits.argmax(1) == target).sum())
        return torch.autograd.grad(loss, weights), float(loss.detach()), right

    losses, right, start = 0.0, 0, time.perf_counter()
    with ThreadPoolExecutor(recipe.threads) as pool:
        for step, rows in enumerate(batches(len(y), seed, epoch)):
            cut = [piece for piece in np.array_split(np.sort(rows), recipe.threads) if len(piece)]
            parts = list(pool.map(part, cut, [len(rows)] * len(cut)))
            for weight, *gradients in zip(weights, *(each[0] for each in parts), strict=True):
                weight.grad = sum(gradients[1:], start=gradients[0])
            rate = rate_at(epoch * per_epoch + step, recipe.epochs * per_epoch)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            losses += sum(each[1] for each in parts) * len(rows)
            right += sum(each[2] for each in parts)
            if step % 25 == 0:
                done = min(BATCH * (step + 1), len(y))
                speed = done / (time.perf_counter() - start)
                print(
                    f"seed {seed}, epoch {epoch}, {done} of {len(y)}: loss {losses / done:.3f}, "
                    f"right {100 * right / done:.1f} %, {speed:.1f} images/s",
                    flush=True,
                )
    return {"loss": losses / len(y), "accuracy": 100 * right / len(y)}


def written(path: Path, state: dict[str, Any]) -> None:
    """Save so that there is a whole file or none."""
    unfinished = path.with_name(f".{path.name}")
    torch.save(state, unfinished)
    unfinished.rename(path)


def train(folder: Path, out: Path, seed: int, recipe: Recipe) -> Any:
    """Train what is missing of a seed, and return its network."""
    network = new_network(seed)
    weights = trained_weights(network, recipe.frozen)
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    checkpoint, log = out / f"seed_{seed}.pt", list[dict[str, float]]()
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["recipe"] != vars(recipe) | {"threads": 0}:
            raise ValueError(f"{checkpoint} is of another recipe, {state['recipe']}; move it away")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        log = state["log"]
    pixels, y = pictures(folder, out), labels(folder)
    for epoch in range(len(log), recipe.epochs):
        values = feature_set(network, pixels, out, (epoch + seed) % recipe.epochs, recipe)
        start = time.perf_counter()
        found = run_epoch(network, optimiser, values, y, seed, epoch, recipe)
        log.append(found | {"seconds": time.perf_counter() - start})
        print(f"seed {seed}, epoch {epoch}: {log[-1]}", flush=True)
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "log": log}
        written(checkpoint, state | {"recipe": vars(recipe) | {"threads": 0}})
    return network


def exported(network: Any, path: Path, size: int) -> None:
    """Write the network as ONNX, if its logits there are those of torch."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        unfinished = Path(scratch) / path.name
        network = network.to(memory_format=torch.contiguous_format)
        export(network, unfinished, size)
        difference = largest_difference(network, unfinished, size=size)
        if difference > 1e-3:
            raise RuntimeError(f"the exported logits are off by {difference:.2g}; nothing written")
        unfinished.rename(path)


def steps(size: int) -> ImagePreprocessing:
    """What the papers do at 224 (resize to 256, crop the middle), at another size."""
    whole = round(size * 256 / 224)
    return ImagePreprocessing(
        resize=(whole, whole),
        crop=(size, size),
        resample=2,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )


def inputs(folder: Path, out: Path, split: str, size: int) -> tuple[Array, Array, Array]:
    """Preprocessed images, kept in OUT for all seeds, and their classes and places.

    Half precision holds them exactly: they are (pixel - 127) / 128.
    """
    samples = load_waterbirds(folder, split, steps(size))
    kept = out / f"inputs_{split}_{size}.npy"
    if not kept.exists():
        unfinished, n = kept.with_name(f".{kept.name}"), len(samples.y)
        images = np.lib.format.open_memmap(unfinished, "w+", np.float16, (n, 3, size, size))
        for at in range(0, n, BATCH):
            images[at : at + BATCH] = samples.X[at : at + BATCH]
        images.flush()
        unfinished.rename(kept)
    return np.load(kept, mmap_mode="r"), samples.y, samples.groups % 2


def embed(folder: Path, out: Path, seed: int, split: str, size: int) -> None:
    """Embed a split with the network of a seed, for ``data_waterbirds.read``."""
    images, y, place = inputs(folder, out, split, size)
    kept = out / f"seed_{seed}" / f"{split}_00000_of_{len(y)}.npz"
    if kept.exists():
        return
    kept.parent.mkdir(exist_ok=True)
    embedder, start = OnnxEmbedder(FrozenModel.load(out / f"seed_{seed}.onnx")), time.perf_counter()
    chunks = (images[at : at + CHUNK].astype(np.float32) for at in range(0, len(y), CHUNK))
    Z = np.concatenate([embedder.transform(chunk) for chunk in chunks])
    unfinished = kept.with_name(f".{kept.name}")
    np.savez(unfinished, Z=Z, y=y, place=place)
    unfinished.rename(kept)
    speed = len(y) / (time.perf_counter() - start)
    print(f"seed {seed}, {split}: {len(y)} embedded, {speed:.1f} images/s", flush=True)


def main() -> None:
    """Train, export and embed what is missing."""
    parser = command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=Recipe.size)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--frozen", type=int, default=Recipe.frozen)
    parser.add_argument("--threads", type=int, default=Recipe.threads)
    parser.add_argument("--train-only", action="store_true", help="write no embeddings")
    arguments = parser.parse_args()
    recipe = Recipe(arguments.size, arguments.epochs, arguments.frozen, arguments.threads)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        model = out / f"seed_{seed}.onnx"
        if not model.exists():
            exported(train(arguments.folder, out, seed, recipe), model, recipe.size)
        for split in () if arguments.train_only else SPLITS:
            embed(arguments.folder, out, seed, split, recipe.size)


if __name__ == "__main__":
    main()

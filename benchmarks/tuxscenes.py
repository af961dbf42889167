"""Build TuxScenes: photo cut-outs of birds and mammals pasted on nature and indoor scenes.

The class is the animal; the scene is a spurious cue, as the background is in Waterbirds. In the
training images 95 % of the birds stand in nature and 95 % of the mammals indoors; in the test
images every pair of class and scene is equally frequent, with animals and scenes not seen before.

    python benchmarks/tuxscenes.py OUT

writes ``OUT/{train,validation_biased,validation_balanced,test}/{bird,mammal}/*.png`` and, in each
split's folder, a ``metadata.csv`` with the columns ``file_name`` and ``group``.

Everything comes from public packages, which are fetched without root and unpacked into a cache:

- animals: Debian ``tuxpaint-stamps-default`` (GPL-2: build the images, do not commit them);
- scenes: Debian ``blender-data`` and npm ``@pmndrs/assets`` (Poly Haven panoramas, CC0).

Fetching needs ``dpkg-deb``, ``npm``, and ``apt-get`` with its package lists (``apt-get update``).
The same seed gives the same images as long as the packages, NumPy and Pillow keep their versions.
"""

from __future__ import annotations

import argparse
import base64
import csv
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
from PIL import Image, ImageEnhance
from tqdm import tqdm

from packages import DataError, Package, default_cache

IMAGE_SIZE = 224
CLASSES = ("bird", "mammal")
SCENE_KINDS = ("nature", "indoor")
USUAL_SCENE = {"bird": "nature", "mammal": "indoor"}
TRAIN_SHARE_OF_OBJECTS = 0.65


STAMPS = Package(
    kind="Debian",
    name="tuxpaint-stamps-default",
    needed="usr/share/tuxpaint/stamps/animals",
)
BLENDER = Package(
    kind="Debian",
    name="blender-data",
    needed="usr/share/blender/datafiles/studiolights/world",
)
PMNDRS = Package(kind="npm", name="@pmndrs/assets@1.7.0", needed="package/hdri")
SOURCES = (STAMPS, BLENDER, PMNDRS)


# --------------------------------------------------------------------------------------------------
# Animals
# --------------------------------------------------------------------------------------------------

ANIMAL_FOLDERS = {"bird": "birds", "mammal": "mammals"}
# Drawings and toys are not photographs; the hedgehog and the kitten are poor cut-outs.
NOT_WANTED = re.compile(r"cartoon|toys|hedgehog|kitten")
MAX_CUTOUT_SIZE = 260


def list_animals(cache: Path, animal: str) -> list[Path]:
    """Return the cut-outs of one class in a fixed order."""
    root = STAMPS.files(cache)
    # Match below `root` only, or a cache folder with an unlucky name would exclude every stamp.
    names = sorted(
        path.relative_to(root).as_posix()
        for path in (root / ANIMAL_FOLDERS[animal]).rglob("*.png")
        if not NOT_WANTED.search(path.relative_to(root).as_posix())
    )
    if len(names) < 2:
        raise DataError(f"no {animal} cut-outs in {root}; delete that package's folder there")
    return [root / name for name in names]


def load_cutout(path: Path) -> Image.Image:
    """Read a cut-out and trim its transparent margin."""
    with Image.open(path) as file:
        image = file.convert("RGBA")
    # Faint alpha (compression haze) must not count as part of the animal.
    solid = image.getchannel("A").point(lambda alpha: 255 if alpha > 20 else 0)
    image = image.crop(solid.getbbox())
    image.thumbnail((MAX_CUTOUT_SIZE, MAX_CUTOUT_SIZE))
    return image


def split_animals(paths: Sequence[Path], rng: np.random.Generator) -> dict[str, list[Path]]:
    """Divide the cut-outs of one class at random between training and test."""
    order = rng.permutation(len(paths))
    n_train = round(TRAIN_SHARE_OF_OBJECTS * len(paths))
    return {
        "train": [paths[i] for i in order[:n_train]],
        "test": [paths[i] for i in order[n_train:]],
    }


# --------------------------------------------------------------------------------------------------
# Scenes
# --------------------------------------------------------------------------------------------------

# The two packages share some names, so each scene says where it comes from. The panoramas left out
# are neither plainly nature nor plainly indoor (city, studio, sky ...).
SCENES: dict[str, dict[str, tuple[tuple[Package, str], ...]]] = {
    "train": {
        "nature": ((PMNDRS, "forest"), (PMNDRS, "park"), (PMNDRS, "dawn"), (BLENDER, "night")),
        "indoor": (
            (PMNDRS, "apartment"),
            (PMNDRS, "hall"),
            (PMNDRS, "lab"),
            (PMNDRS, "lobby"),
            (PMNDRS, "warehouse"),
        ),
    },
    "test": {
        "nature": ((BLENDER, "forest"), (BLENDER, "sunrise"), (PMNDRS, "night")),
        "indoor": (
            (PMNDRS, "workshop"),
            (PMNDRS, "esplanade"),
            (BLENDER, "interior"),
            (PMNDRS, "bridge"),
        ),
    },
}


def load_panorama(cache: Path, source: Package, name: str) -> np.ndarray:
    """Return an equirectangular panorama as displayable RGB in [0, 1], shape (h, 2 h, 3)."""
    folder = source.files(cache)
    if source is not PMNDRS:
        return tone_map(read_exr(folder / f"{name}.exr"))
    with tempfile.TemporaryDirectory() as scratch:
        # OpenEXR reads files only, and this package holds each EXR as a data URL in a script.
        path = Path(scratch) / "scene.exr"
        path.write_bytes(decode_data_url((folder / f"{name}.exr.js").read_text()))
        return tone_map(read_exr(path))


def decode_data_url(script: str) -> bytes:
    """Return the bytes of the base64 data URL in a JavaScript module."""
    match = re.search(r"base64,([A-Za-z0-9+/=]+)", script)
    if match is None:
        raise DataError("a panorama's script holds no base64 data; delete it and fetch again")
    return base64.b64decode(match.group(1))


def read_exr(path: Path) -> np.ndarray:
    """Return the RGB channels of an OpenEXR file as float32."""
    try:
        with OpenEXR.File(str(path)) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except RuntimeError as error:
        raise DataError(f"cannot read a panorama: {error}") from error
    # OpenEXR joins R, G, B and perhaps A into one array where it can.
    for joined in ("RGB", "RGBA"):
        if joined in channels:
            return channels[joined][..., :3].astype(np.float32)
    return np.stack([channels[name] for name in "RGB"], axis=-1).astype(np.float32)


def tone_map(radiance: np.ndarray) -> np.ndarray:
    """Compress scene radiance into [0, 1] with an extended Reinhard curve and sRGB-like gamma."""
    # Near light sources, lossy EXR compression rings below zero and loses whole channels (the sun
    # of one scene would be a blue square). The true value is bright and near white there.
    lost = radiance.min(axis=-1) <= 0.02 * radiance.max(axis=-1)
    radiance = np.minimum(np.abs(radiance), 1e4)
    brightest = radiance.max(axis=-1)
    lost &= brightest > 1
    radiance[lost] = brightest[lost, None]
    log_average = np.exp(np.log(radiance.mean(axis=-1) + 1e-4).mean())
    exposed = radiance * (0.30 / log_average)
    compressed = exposed * (1 + exposed / 6) / (1 + exposed)
    return np.clip(compressed, 0, 1) ** (1 / 2.2)


def photograph(panorama: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Take an image of a panorama in a random direction, looking slightly down."""
    longitude, latitude = pixel_directions(
        field_of_view=np.deg2rad(rng.uniform(60, 90)),
        yaw=rng.uniform(0, 2 * np.pi),
        pitch=np.deg2rad(rng.uniform(-22, 2)),
    )
    height, width = panorama.shape[:2]
    column = longitude / (2 * np.pi) * width - 0.5
    row = np.clip((0.5 - latitude / np.pi) * height - 0.5, 0, height - 1)
    pixels = interpolate(panorama, row, column) * rng.uniform(0.8, 1.15)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def pixel_directions(
    field_of_view: float, yaw: float, pitch: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the longitude in [0, 2 pi) and latitude that each pixel of a pinhole camera sees."""
    position = 2 * (np.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE - 1
    position = np.tan(field_of_view / 2) * position
    right, up = np.meshgrid(position, -position)
    tilted_up = up * np.cos(pitch) + np.sin(pitch)
    tilted_ahead = np.cos(pitch) - up * np.sin(pitch)
    longitude = (np.arctan2(right, tilted_ahead) + yaw) % (2 * np.pi)
    latitude = np.arctan2(tilted_up, np.hypot(right, tilted_ahead))
    return longitude, latitude


def interpolate(panorama: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Sample a panorama bilinearly at fractional positions; columns wrap around, rows do not."""
    height, width = panorama.shape[:2]
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    below, beside = np.minimum(top + 1, height - 1), (left + 1) % width
    left %= width
    down, across = (row % 1)[..., None], (column % 1)[..., None]
    upper = panorama[top, left] * (1 - across) + panorama[top, beside] * across
    lower = panorama[below, left] * (1 - across) + panorama[below, beside] * across
    return upper * (1 - down) + lower * down


# --------------------------------------------------------------------------------------------------
# Images
# --------------------------------------------------------------------------------------------------


def paste_animal(cutout: Image.Image, scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the scene with the animal in it, at a random size, place, tilt and brightness."""
    if rng.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cutout = cutout.rotate(rng.uniform(-12, 12), resample=Image.Resampling.BICUBIC, expand=True)
    scale = rng.uniform(0.30, 0.60) * IMAGE_SIZE / max(cutout.size)
    size = (max(8, round(cutout.width * scale)), max(8, round(cutout.height * scale)))
    cutout = cutout.resize(size, resample=Image.Resampling.LANCZOS)
    colours = ImageEnhance.Brightness(cutout.convert("RGB")).enhance(rng.uniform(0.8, 1.15))
    left = int(rng.integers(0, IMAGE_SIZE - cutout.width))
    # Most animals stand on the ground, so their middle lies below the horizon.
    middle = rng.normal(0.62, 0.12) * IMAGE_SIZE
    top = int(np.clip(middle - cutout.height / 2, 0, IMAGE_SIZE - cutout.height))
    image = scene.copy()
    image.paste(colours, (left, top), cutout.getchannel("A"))
    return image


@dataclass(frozen=True)
class Materials:
    """The animals and scenes that one part of the data set, training or test, is made of."""

    cutouts: dict[str, list[Image.Image]]
    panoramas: dict[str, list[np.ndarray]]


def load_materials(cache: Path, seed: int) -> dict[str, Materials]:
    """Return the materials of the parts ``train`` and ``test``; they have nothing in common.

    Parameters
    ----------
    cache : Path
        Folder that the packages were unpacked to.
    seed : int
        Decides which animals are in which part. The scenes of a part are always the same, because
        there are too few of them to draw lots.

    Returns
    -------
    dict
        Maps ``train`` and ``test`` to their `Materials`.
    """
    rng = np.random.default_rng(seed)
    animals = {animal: split_animals(list_animals(cache, animal), rng) for animal in CLASSES}
    return {
        part: Materials(
            cutouts={
                animal: [load_cutout(path) for path in animals[animal][part]] for animal in CLASSES
            },
            panoramas={
                kind: [load_panorama(cache, *scene) for scene in SCENES[part][kind]]
                for kind in SCENE_KINDS
            },
        )
        for part in ("train", "test")
    }


def compose_image(
    materials: Materials, animal: str, kind: str, rng: np.random.Generator
) -> Image.Image:
    """Return a new image of a random animal of one class in a random scene of one kind."""
    cutouts, panoramas = materials.cutouts[animal], materials.panoramas[kind]
    cutout = cutouts[rng.integers(len(cutouts))]
    scene = photograph(panoramas[rng.integers(len(panoramas))], rng)
    return paste_animal(cutout, scene, rng)


# --------------------------------------------------------------------------------------------------
# Splits
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """A folder of images: what they are made of and how often a class is in its usual scene."""

    name: str
    part: str
    usual_share: float
    stream: int


# `stream` keeps the random numbers of the splits apart, whatever their order or size.
SPLITS = (
    Split("train", part="train", usual_share=0.95, stream=1),
    Split("validation_biased", part="train", usual_share=0.95, stream=2),
    Split("validation_balanced", part="train", usual_share=0.5, stream=3),
    Split("test", part="test", usual_share=0.5, stream=4),
)


def plan_groups(n_images: int, usual_share: float, rng: np.random.Generator) -> list[list[str]]:
    """Return the class and the kind of scene of each image: exact shares in random order."""
    plan = []
    for animal, n_class in zip(CLASSES, (n_images - n_images // 2, n_images // 2), strict=True):
        n_usual = round(usual_share * n_class)
        usual = USUAL_SCENE[animal]
        (unusual,) = (kind for kind in SCENE_KINDS if kind != usual)
        plan += [[animal, usual]] * n_usual + [[animal, unusual]] * (n_class - n_usual)
    return [plan[i] for i in rng.permutation(n_images)]


def render_split(
    split: Split, n_images: int, materials: Materials, seed: int
) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield class, kind of scene and image for each image of a split.

    Parameters
    ----------
    split : Split
        One of `SPLITS`.
    n_images : int
        How many images to draw.
    materials : Materials
        The materials of ``split.part``.
    seed : int
        Another seed gives other images.

    Yields
    ------
    tuple
        Class, kind of scene, image.
    """
    rng = np.random.default_rng([seed, split.stream])
    plan = plan_groups(n_images, split.usual_share, rng)
    for animal, kind in tqdm(plan, desc=split.name, unit="img"):
        yield animal, kind, compose_image(materials, animal, kind, rng)


def write_split(folder: Path, split: Split, n_images: int, materials: Materials, seed: int) -> None:
    """Write the images and the ``metadata.csv`` of one split into a new folder."""
    for animal in CLASSES:
        (folder / animal).mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file_name", "group"])
        images = render_split(split, n_images, materials, seed)
        for number, (animal, kind, image) in enumerate(images):
            # PNG, so that nothing but the pixels that were composed reaches the classifier.
            file_name = f"{animal}/{number:05d}.png"
            image.save(folder / file_name)
            table.writerow([file_name, f"{animal}_{kind}"])


def build(out: Path, sizes: dict[str, int], seed: int, cache: Path) -> None:
    """Build the whole data set, or nothing.

    Parameters
    ----------
    out : Path
        Folder to make; it must not exist.
    sizes : dict
        Number of images for each name in `SPLITS`.
    seed : int
        Another seed divides the animals otherwise and draws other images.
    cache : Path
        Folder for the unpacked packages, filled where need be.
    """
    if os.path.lexists(out):
        raise DataError(f"{out} exists already; delete it or choose another folder")
    for source in SOURCES:
        source.fetched(cache)
    materials = load_materials(cache, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Next to OUT, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        unfinished = Path(scratch) / out.name
        for split in SPLITS:
            folder = unfinished / split.name
            write_split(folder, split, sizes[split.name], materials[split.part], seed)
        unfinished.rename(out)


# --------------------------------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------------------------------


def image_count(text: str) -> int:
    """Read a number of images: at least four, one a group."""
    number = int(text)
    if number < 4:
        raise argparse.ArgumentTypeError("must be at least 4")
    return number


def seed_number(text: str) -> int:
    """Read a seed: NumPy takes none below zero."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Build TuxScenes: birds and mammals on nature and indoor scenes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    parser.add_argument("--seed", type=seed_number, default=0, help="another seed, another draw")
    parser.add_argument("--train", type=image_count, default=1600, help="training images")
    parser.add_argument(
        "--validation", type=image_count, default=800, help="images a validation split"
    )
    parser.add_argument("--test", type=image_count, default=1200, help="test images")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="folder for the unpacked packages"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse_arguments(arguments)
    sizes = {
        "train": args.train,
        "validation_biased": args.validation,
        "validation_balanced": args.validation,
        "test": args.test,
    }
    try:
        build(args.out.absolute(), sizes, args.seed, args.cache.absolute())
    except (DataError, OSError) as error:
        sys.exit(f"tuxscenes: {error}")
    print(f"built {args.out}")


if __name__ == "__main__":
    main()

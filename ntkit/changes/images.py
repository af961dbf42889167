"""Changes of images, as pixels from 0 to 255 of shape (H, W, C), and their copies.

Copies are lazy sequences: made when a model reads them, never all in memory.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from ntkit._key import parts_of_change
from ntkit._labels import meant_instead
from ntkit._types import Array
from ntkit.changes._donors import donors, generator
from ntkit.exceptions import InputError
from ntkit.inputs.image_files import ImageFiles, decode
from ntkit.inputs.image_preprocessing import ImagePreprocessing, in_colours, upright
from ntkit.samples.kinds import ImageArrays
from ntkit.samples.samples import Samples

Pixels = NDArray[np.float32]

_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
PARTS = tuple(f"{row} {column}" for row in _ROWS for column in _COLUMNS)
"""Names of the nine parts, as in the statistics of images."""
_INSIDE = 72.0  # % of the sides: the ellipse is the centre, and the border is around it
_SOFT = 0.16  # of its radius: the edge of the ellipse
_FEATHER = 0.05  # of the shorter side: the edge of a part


@dataclass(frozen=True)
class ImageChange:
    """Changed image: as a file (``stored``), and as the model sees it (``seen``)."""

    # In any scale (``any_scale``) the changed pixels are the same mixtures of pixels of one
    # channel. So black and white need not be known.

    seen: Callable[[Pixels, Pixels | None, np.random.Generator], Pixels] | None = None
    stored: Callable[[Image.Image], Image.Image] | None = None
    donor: bool = False
    any_scale: bool = False


def ellipse(height: int, width: int, share: float) -> Pixels:
    """1 inside a centred ellipse, 0 outside, with a soft edge; (H, W, 1)."""
    down, right = np.mgrid[:height, :width]
    radii = np.maximum(np.array([height, width]) / 2 * share / 100, 1e-9)
    distance = np.hypot((down - height / 2 + 0.5) / radii[0], (right - width / 2 + 0.5) / radii[1])
    inside = np.clip((1 + _SOFT / 2 - distance) / _SOFT, 0, 1)[..., None]
    return np.asarray(inside, dtype=np.float32)


def rectangle(height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]) -> Pixels:
    """1 inside a rectangle, falling to 0 around it; (H, W, 1)."""
    feather = max(_FEATHER * min(height, width), 1e-9)
    outside = [
        np.maximum(np.maximum(start - at, at - (stop - 1)), 0)
        for at, (start, stop) in ((np.arange(height), rows), (np.arange(width), columns))
    ]
    distance = np.maximum(outside[0][:, None], outside[1][None, :])
    return np.clip(1 - distance / feather, 0, 1)[..., None].astype(np.float32)


def _of_another(mask_of: Callable[[int, int, np.random.Generator], Pixels]) -> ImageChange:
    """Take the pixels under a mask from the donor."""

    def seen(image: Pixels, donor: Pixels | None, rng: np.random.Generator) -> Pixels:
        assert donor is not None
        mask = mask_of(image.shape[0], image.shape[1], rng)
        return np.asarray(mask * _sized(donor, image) + (1 - mask) * image, dtype=np.float32)

    return ImageChange(seen, donor=True, any_scale=True)


def _sized(donor: Pixels, like: Pixels) -> Pixels:
    """A donor resized to an image."""
    if donor.shape == like.shape:
        return donor
    height, width = like.shape[:2]
    channels = [
        np.asarray(
            Image.fromarray(donor[..., c]).resize((width, height), Image.Resampling.BILINEAR)
        )
        for c in range(donor.shape[2])
    ]
    resized = np.stack(channels, axis=2)
    if resized.shape[2] != like.shape[2]:
        resized = np.broadcast_to(resized.mean(axis=2, keepdims=True), like.shape)
    return np.asarray(resized, dtype=np.float32)


def _bounds(length: int, part: int, n: int = 3) -> tuple[int, int]:
    """First row of a part and the one after its last, as numpy.array_split cuts."""
    sizes = [len(each) for each in np.array_split(np.arange(length), n)]
    start = sum(sizes[:part])
    return start, start + max(1, sizes[part]) if length else 0


def _part(row: int, column: int) -> ImageChange:
    def mask(height: int, width: int, rng: np.random.Generator) -> Pixels:
        return rectangle(height, width, _bounds(height, row), _bounds(width, column))

    return _of_another(mask)


def _elsewhere(rng: np.random.Generator, length: int) -> tuple[int, int]:
    size = max(1, round(length / 3))
    start = int(rng.integers(0, max(1, length - size + 1)))
    return start, start + size


def part_elsewhere() -> ImageChange:
    """A part of the same size at a random position: the control of the nine parts."""

    def mask(height: int, width: int, rng: np.random.Generator) -> Pixels:
        return rectangle(height, width, _elsewhere(rng, height), _elsewhere(rng, width))

    return _of_another(mask)


def _high_frequencies(sigma: float) -> ImageChange:
    def seen(image: Pixels, donor: Pixels | None, rng: np.random.Generator) -> Pixels:
        assert donor is not None
        other = _sized(donor, image)
        return np.asarray(_blurred(image, sigma) + other - _blurred(other, sigma))

    return ImageChange(seen, donor=True)


def _blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0)), dtype=np.float32)


def _of_pixels(change: Callable[[Pixels, np.random.Generator], Array]) -> ImageChange:
    return ImageChange(lambda image, _, rng: np.asarray(change(image, rng), dtype=np.float32))


def _grey(image: Pixels) -> Pixels:
    if image.shape[2] != 3:
        return image
    grey = image @ np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def _jpeg(quality: float) -> ImageChange:
    def stored(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=round(quality))
        with Image.open(file) as again:
            again.load()
            return again

    return ImageChange(stored=stored)


def _resized_and_back(factor: float) -> ImageChange:
    def stored(image: Image.Image) -> Image.Image:
        size = tuple(max(1, round(side * factor)) for side in image.size)
        return image.resize(size, Image.Resampling.BICUBIC).resize(  # type: ignore[arg-type]
            image.size, Image.Resampling.BICUBIC
        )

    return ImageChange(stored=stored)


@dataclass(frozen=True)
class _Kind:
    """A change of images by name: its function of a number, the default and the range."""

    make: Callable[[float], ImageChange]
    default: float
    low: float
    high: float
    meaning: str


_KINDS: dict[str, _Kind] = {
    "border": _Kind(
        lambda share: _of_another(lambda h, w, rng: 1 - ellipse(h, w, share)),
        *(_INSIDE, 1, 200, "% of the sides that the ellipse inside it takes"),
    ),
    "centre": _Kind(
        lambda share: _of_another(lambda h, w, rng: ellipse(h, w, share)),
        *(_INSIDE, 1, 200, "% of the sides that its ellipse takes"),
    ),
    "blur": _Kind(
        lambda sigma: ImageChange(lambda image, _, rng: _blurred(image, sigma), any_scale=True),
        *(2, 0.1, 1000, "deviation in pixels"),
    ),
    "jpeg": _Kind(_jpeg, 75, 1, 100, "quality"),
    "grey": _Kind(lambda _: _of_pixels(lambda image, rng: _grey(image)), 1, 1, 1, ""),
    "brightness": _Kind(
        lambda factor: _of_pixels(lambda image, rng: image * np.float32(factor)),
        *(1.2, 0, 100, "factor"),
    ),
    "contrast": _Kind(
        lambda f: _of_pixels(lambda image, rng: image.mean() + (image - image.mean()) * f),
        *(1.3, 0, 100, "factor"),
    ),
    "resize": _Kind(_resized_and_back, 0.5, 0.01, 10, "factor, and back"),
    "noise": _Kind(
        lambda share: _of_pixels(
            lambda image, rng: image + 255 * share * rng.standard_normal(image.shape)
        ),
        *(0.1, 0.001, 10, "deviation, as a share of the range of pixels"),
    ),
    "high frequencies": _Kind(
        _high_frequencies, 1.5, 0.1, 1000, "deviation in pixels, below which frequencies are low"
    ),
}
NAMES = (*PARTS, *_KINDS)
"""Names after ``image:``."""


def image_change(name: str) -> ImageChange:
    """The change of a text form such as ``image:top left`` or ``image:blur=2``."""
    (part,) = parts_of_change(name)
    what, equals, how = part.what, part.sign, part.value
    if what in PARTS and not equals:
        return _part(*divmod(PARTS.index(what), 3))
    if what not in _KINDS:
        if what in PARTS:
            raise InputError(f"{name!r} takes no number; write image:{what}.")
        meant = meant_instead(what, list(NAMES))
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(NAMES)}."
        raise InputError(f"There is no change {name!r} of images; {hint}")
    kind = _KINDS[what]
    if not equals:
        return kind.make(kind.default)
    if not kind.meaning:
        raise InputError(f"{name!r} takes no number; write image:{what}.")
    try:
        number = float(how)
    except ValueError:
        number = float("nan")
    if not kind.low <= number <= kind.high:
        takes = f"a number from {kind.low:g} to {kind.high:g} ({kind.meaning})"
        raise InputError(f"{name!r}: {what} takes {takes}; write image:{what}={kind.default:g}.")
    return kind.make(number)


_BYTES = 16  # of a digest


@dataclass(frozen=True)
class OfImages:
    """A change of images, in files or in an array."""

    name: str
    change: ImageChange
    version: str = ""

    @property
    def donor(self) -> bool:
        """Whether a part comes from another image."""
        return self.change.donor

    @property
    def of_pixels(self) -> bool:
        """Whether it needs black and white."""
        return not self.change.any_scale

    def donors(self, samples: Samples, seed: int, folds: Any) -> Array:
        """Row of the donor of each sample, −1 if there is none."""
        if not self.change.donor:
            return np.full(len(samples), -1, dtype=np.intp)
        return donors(len(samples), samples.y, folds, generator(self.name, seed))

    def __call__(self, samples: Samples, rows: Array, seed: int, folds: Any) -> tuple[Any, Array]:
        """Changed copies and the rows of their originals."""
        if not samples.data.are_images:
            raise InputError(
                f"{self.name!r} changes images, but {samples.called('the set')} contains "
                f"{samples.data.what}; name another change, such as word:NAME or column:NAME."
            )
        if self.of_pixels:
            check_black_and_white(self.name, samples)
        of = self.donors(samples, seed, folds)
        if self.change.donor:
            rows = rows[of[rows] >= 0]
        draws = Draws(self.name, seed, rows, of[rows], self.version)
        X = samples.X
        if isinstance(samples.data, ImageArrays):
            return ChangedArray(X, self.change, draws, samples.data.pixel_range[:2]), rows
        paths, others = [X.paths[i] for i in rows], [X.paths[i] for i in draws.donors]
        return ChangedImages(paths, X.preprocessing, self.change, draws, others), rows


def range_notes(samples: Samples) -> list[str]:
    """A note on black and white of images in an array, if ntkit takes them from the values."""
    low, high, known = samples.data.pixel_range
    if known:
        return []
    if low < 0:
        return [
            f"The images have values from {low:.3g} to {high:.3g}, as normalised images have. "
            "ntkit tries no changes that need black and white, such as image:grey. Pass image "
            "files with --mean and --std (preprocessing=) to try them."
        ]
    return [
        f"The images have values up to {high:.5g}. Changes of pixels take 0 as black and "
        f"{high:.5g} as white. If they are not, pass image files, or values from 0 to 255."
    ]


def has_black_and_white(samples: Samples) -> bool:
    """Whether the range of pixels is known, or 0 is black; also of samples without pixels."""
    low, _, known = samples.data.pixel_range
    return known or low >= 0


def check_black_and_white(name: str, samples: Samples) -> None:
    """Raise an error for a change of normalised images in an array."""
    if isinstance(samples.data, ImageArrays) and not has_black_and_white(samples):
        low, high = samples.data.value_range
        raise InputError(
            f"{name!r} needs black and white, but {samples.called('the array')} has values from "
            f"{low:.3g} to {high:.3g}, as normalised images have. Pass image files with --mean and "
            "--std (preprocessing=)."
        )


@dataclass(frozen=True)
class Draws:
    """Random parts of the copies of some samples: the row and the donor of each."""

    name: str
    seed: int
    rows: Array
    donors: Array
    version: str = ""

    def take(self, rows: Sequence[int]) -> Draws:
        """The random parts of some copies."""
        at = np.asarray(rows, dtype=np.intp)
        return replace(self, rows=self.rows[at], donors=self.donors[at])

    def generator(self, i: int) -> np.random.Generator:
        """Random numbers of a copy, which depend on its sample's row, not on other copies."""
        return generator(self.name, self.seed, int(self.rows[i]))

    def digest(self, i: int, *contents: bytes) -> bytes:
        """Digest of a copy, from the digests of its original and its donor."""
        text = f"{self.name} {self.version} {self.seed} {self.rows[i]}".encode()
        return hashlib.blake2b(b"|".join([text, *contents]), digest_size=_BYTES).digest()


class ChangedImages(ImageFiles):
    """Copies of image files; changes of files come first, changes of the model's view last."""

    measurable = False

    def __init__(
        self,
        paths: Sequence[Path],
        preprocessing: ImagePreprocessing,
        change: ImageChange,
        draws: Draws,
        donors: Sequence[Path],
    ) -> None:
        super().__init__(paths, preprocessing)
        self._change, self._draws, self._donors = change, draws, list(donors)

    def take(self, rows: Iterable[int]) -> ChangedImages:
        """Some of the copies, in the order of these rows."""
        at = [*rows]
        paths, donors = ([files[i] for i in at] for files in (self.paths, self._donors))
        draws = self._draws.take(at)
        return ChangedImages(paths, self.preprocessing, self._change, draws, donors)

    def with_absolute_paths(self) -> ChangedImages:
        """The same copies, for a process in another folder."""
        paths, donors = ([path.absolute() for path in p] for p in (self.paths, self._donors))
        return ChangedImages(paths, self.preprocessing, self._change, self._draws, donors)

    def seen(self, row: int) -> Pixels:
        """A copy as the model sees it, from 0 to 255, before means are subtracted."""
        change, steps = self._change, self.preprocessing
        image, other = self._image(row), decode(self._donors[row]) if change.donor else None
        try:
            if change.stored is not None:
                # An upright image of 8 bits in the model's colours, without rotating metadata.
                seen = in_colours(upright(image), "L" if steps.channels == 1 else "RGB")
                image = change.stored(Image.fromarray(np.asarray(seen)))
            pixels = steps.seen(image)
            if change.seen is None:
                return pixels
            donor = None if other is None else steps.seen(other)
            changed = np.clip(change.seen(pixels, donor, self._draws.generator(row)), 0, 255)
            return np.rint(changed) if steps.scale == 1 else changed  # for whole numbers as inputs
        except (ValueError, OSError) as error:
            raise InputError(
                f"{self.paths[row]} cannot be changed: {error}; repair or remove the file."
            ) from error

    def _input(self, row: int) -> Array:
        return np.ascontiguousarray(self.preprocessing.finished(self.seen(row)))

    def digests(self, start: int, stop: int) -> Iterator[bytes]:
        """Digests of the copies: of the originals' files, the donors' and the change."""
        part = slice(start, stop)
        rows = range(start, stop)
        if not self._change.donor:
            originals = ImageFiles(self.paths[part], self.preprocessing)
            of = originals.digests(0, len(rows))
            return (self._draws.digest(i, own) for i, own in zip(rows, of, strict=True))
        both = ImageFiles(self.paths[part] + self._donors[part], self.preprocessing)
        known = [*both.digests(0, 2 * len(rows))]
        pairs = zip(rows, known[: len(rows)], known[len(rows) :], strict=True)
        return (self._draws.digest(i, own, other) for i, own, other in pairs)


class ChangedArray:
    """Copies of images in an array of shape (N, C, H, W) or (N, H, W, C)."""

    def __init__(
        self, X: Array, change: ImageChange, draws: Draws, black_white: tuple[float, float]
    ) -> None:
        self._X, self._change, self._draws, self._black_white = X, change, draws, black_white
        self._first = X.shape[1] in (1, 3)
        self._low, self._high = map(np.float32, black_white)
        self.shape, self.dtype = (len(draws.rows), *X.shape[1:]), X.dtype

    def __len__(self) -> int:
        return len(self._draws.rows)

    def __getitem__(self, index: Any) -> Array:
        rows = np.arange(len(self))[index]
        if rows.ndim == 0:
            return self._copy(int(rows))
        copies = [self._copy(int(i)) for i in rows]
        return np.stack(copies) if copies else np.empty((0, *self.shape[1:]), self.dtype)

    def take(self, rows: Iterable[int]) -> ChangedArray:
        """Some of the copies, in the order of these rows."""
        return ChangedArray(self._X, self._change, self._draws.take([*rows]), self._black_white)

    def seen(self, row: int) -> Pixels:
        """A copy in pixels from 0 to 255, (H, W, C)."""
        return self._changed(row)[1]

    def _changed(self, i: int) -> tuple[Pixels, Pixels]:
        """Pixels of an original and of its copy."""
        change, draws = self._change, self._draws
        old = new = self._pixels(int(draws.rows[i]))
        low, high = 0.0, 255.0
        if change.stored is not None:
            new = np.asarray(change.stored(_image_of(old)), dtype=np.float32).reshape(old.shape)
        if change.seen is not None:
            donor = self._pixels(int(draws.donors[i])) if change.donor else None
            for known in (
                (old,) if donor is None else (old, donor)
            ):  # the range comes from some images
                low, high = min(low, float(known.min())), max(high, float(known.max()))
            new = np.clip(change.seen(new, donor, draws.generator(i)), low, high)
        return old, new

    def _pixels(self, row: int) -> Pixels:
        image = np.asarray(self._X[row], dtype=np.float32)
        image = (image - self._low) * np.float32(255 / (self._high - self._low))
        return np.moveaxis(image, 0, -1) if self._first else image

    def _copy(self, i: int) -> Array:
        original = np.asarray(self._X[self._draws.rows[i]])
        pixels = [np.moveaxis(p, -1, 0) if self._first else p for p in self._changed(i)]
        values = pixels[1] * np.float32((self._high - self._low) / 255) + self._low
        values = np.rint(values) if self.dtype.kind in "iu" else values
        # Unchanged pixels stay exactly the same.
        return np.where(pixels[0] == pixels[1], original, values.astype(self.dtype))


def _image_of(pixels: Pixels) -> Image.Image:
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole)

"""Image files as a lazy sequence: decoded and preprocessed batch by batch."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from functools import cache
from io import BufferedReader, BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ntkit.exceptions import InputError
from ntkit.inputs.image_preprocessing import ImagePreprocessing

_T = TypeVar("_T")
_READERS = 8  # files read at once; hashing, decoding and reading release the interpreter
_KEPT_FILES, _KEPT_BYTES = 4096, 1 << 14  # files, and bytes of each, that are kept for the model
# Pillow opens these by running another program, or not at all.
_NO_PICTURES = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"])


class ImageFiles:
    """A lazy sequence of image files: a slice gives an array of preprocessed images.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files, N of them.
    preprocessing : ImagePreprocessing
        Preprocessing of each image.

    Raises
    ------
    InputError
        On slicing, if a file does not decode or the images differ in size.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from ntkit.extraction import ImageFiles, ImagePreprocessing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "white.png"
    ...     Image.new("RGB", (6, 4), "white").save(path)
    ...     X = ImageFiles([path, path], ImagePreprocessing())[:]
    >>> X.shape, float(X.max())
    ((2, 3, 4, 6), 1.0)
    """

    measurable = True
    """Whether measurements of the files describe the model's inputs."""

    def __init__(self, paths: Sequence[Path], preprocessing: ImagePreprocessing) -> None:
        self.paths = list(paths)
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Iterable[int]) -> ImageFiles:
        """Return some of the files, in the order of these rows."""
        return ImageFiles([self.paths[row] for row in rows], self.preprocessing)

    def with_absolute_paths(self) -> ImageFiles:
        """Return the same files, for a process in another folder."""
        return ImageFiles([Path(os.path.abspath(path)) for path in self.paths], self.preprocessing)

    def __getitem__(self, index: slice) -> NDArray[np.float32]:
        images = [self._input(row) for row in range(len(self))[index]]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise InputError(
                f"The images differ in size ({sorted(shapes)[:3]}); set one with --resize "
                "HEIGHT,WIDTH."
            )
        return np.stack(images)

    def seen(self, row: int) -> NDArray[np.float32]:
        """An image as the model sees it: (H, W, C), from 0 to 255."""
        return self._seen(self._image(row), row)

    def _seen(self, image: Image.Image, row: int) -> NDArray[np.float32]:
        try:
            return self.preprocessing.seen(image)
        except ValueError as error:
            raise InputError(f"{self.paths[row]} cannot be preprocessed: {error}") from error

    def _input(self, row: int) -> NDArray[np.float32]:
        return self.preprocessing.finished(self.seen(row))

    def _image(self, row: int) -> Image.Image:
        return decode(self.paths[row])

    def digests(self, start: int, stop: int) -> Iterator[bytes]:
        """Digests of the files' contents, regardless of their names."""
        return _ahead(self._digest, range(start, stop))

    def _digest(self, row: int) -> bytes:
        path = self.paths[row]
        try:
            with _opened(path) as file:
                return self._hashed(file, row)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror or error}); remove it or pass --skip-bad."
            ) from error

    def _hashed(self, file: BufferedReader, row: int) -> bytes:
        """Digest of an opened file."""
        return hashlib.file_digest(file, _blake).digest()


class MeasuredImages(ImageFiles):
    """Image files that are hashed and measured when a model reads them: each is opened once."""

    # They serve one run: if a file changes meanwhile, the digest is that of the model's input.
    # Parts share what is known of a file; `_places` are theirs among the files of the whole.

    def __init__(self, files: ImageFiles) -> None:
        super().__init__(files.paths, files.preprocessing)
        self._places: Sequence[int] = range(len(files))
        self._digests: list[bytes | None] = [None] * len(files)
        self._measurements: list[Any] = [None] * len(files)
        self._kept = dict[int, bytes]()  # contents of small files that were only hashed yet
        self._inputs = dict[int, NDArray[np.float32]]()

    def take(self, rows: Iterable[int]) -> ImageFiles:
        """Return some of the files, in the order of these rows, with what is known of them."""
        part, rows = copy(self), [*rows]
        part.paths = [self.paths[row] for row in rows]
        part._places = [self._places[row] for row in rows]
        part._inputs = {}
        return part

    def kept_inputs(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Model inputs of some files, kept so that a run over all does not decode them again."""
        new = [row for row in rows if row not in self._inputs]
        self._inputs.update(zip(new, _ahead(self._input, new), strict=True))
        return np.stack([self._inputs[row] for row in rows])

    def measure(self, image: Image.Image, seen: NDArray[np.float32]) -> Any:
        """Measurement that is kept of an image and of what the model sees of it; not None."""
        return True

    def measurements(self) -> list[Any]:
        """Measurement of each image; images that no model has read are read now."""
        unread = [row for row, at in enumerate(self._places) if self._measurements[at] is None]
        for _ in _ahead(self.seen, unread):
            pass
        return [self._measurements[at] for at in self._places]

    def _input(self, row: int) -> NDArray[np.float32]:
        return self._inputs[row] if row in self._inputs else super()._input(row)

    def _image(self, row: int) -> Image.Image:
        path, at = self.paths[row], self._places[row]
        kept = self._kept.pop(at, None)
        with _refusing(path), _opened(path) if kept is None else BytesIO(kept) as file:
            self._digests[at] = hashlib.file_digest(file, _blake).digest()
            file.seek(0)
            return _decoded(file, path)

    def _seen(self, image: Image.Image, row: int) -> NDArray[np.float32]:
        seen = super()._seen(image, row)
        self._measurements[self._places[row]] = self.measure(image, seen)
        return seen

    def _digest(self, row: int) -> bytes:
        at = self._places[row]
        digest = self._digests[at] = self._digests[at] or super()._digest(row)
        return digest

    def _hashed(self, file: BufferedReader, row: int) -> bytes:
        head = file.read(_KEPT_BYTES + 1)
        if len(head) <= _KEPT_BYTES and len(self._kept) < _KEPT_FILES:
            self._kept[self._places[row]] = head
        file.seek(0)
        return super()._hashed(file, row)


def decode(path: Path) -> Image.Image:
    """Open and decode an image file."""
    with _refusing(path), _opened(path) as file:
        return _decoded(file, path)


def _decoded(file: IO[bytes], path: Path) -> Image.Image:
    try:
        with Image.open(file, formats=_formats()) as image:
            image.load()
            return image
    except UnidentifiedImageError:  # the message would show the file object
        raise OSError(f"cannot identify image file {str(path)!r}") from None


def _opened(path: Path) -> BufferedReader:
    if not path.is_file():
        raise OSError("it is not a file")  # reading a pipe would wait
    return path.open("rb")


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn any error of a decoder into a sentence."""
    try:
        yield
    except Exception as error:  # every decoder of Pillow's has its own errors
        raise InputError(
            f"{path} cannot be decoded as an image ({error}); remove it or pass --skip-bad."
        ) from error


def _ahead(read: Callable[[int], _T], rows: Sequence[int]) -> Iterator[_T]:
    """Results of reading rows, in their order; threads read some ahead."""
    waiting, rest = deque[Future[_T]](), iter(rows)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ntkit-images") as pool:
        while True:
            more = islice(rest, 4 * _READERS - len(waiting))
            waiting.extend(pool.submit(read, row) for row in more)
            if not waiting:
                return
            yield waiting.popleft().result()


def _blake() -> Any:
    return hashlib.blake2b(digest_size=16)


@cache
def image_extensions() -> frozenset[str]:
    """Extensions of image files, in lower case."""
    known = Image.registered_extensions().items()
    return frozenset(extension for extension, kind in known if kind in _formats())


@cache
def _formats() -> tuple[str, ...]:
    """Names of the formats that Pillow opens without other programs."""
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NO_PICTURES)

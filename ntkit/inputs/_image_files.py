"""Image files as a lazy sequence: decoded and preprocessed batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit.exceptions import InputError
from ntkit.inputs._image_preprocessing import ImagePreprocessing

# Pillow opens these by running another program, or not at all.
_NO_PICTURES = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"])


class ImageFiles:
    """A lazy sequence of image files: a slice gives an array of preprocessed images.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files, N of them.
    preprocessing : ImagePreprocessing
        Applied to each image.
    on_image : callable, optional
        Called with the path and each image as it is decoded, in any thread.

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

    def __init__(
        self,
        paths: Sequence[Path],
        preprocessing: ImagePreprocessing,
        on_image: Callable[[Path, Image.Image], object] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.preprocessing = preprocessing
        self.on_image = on_image

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: slice) -> NDArray[np.float32]:
        images = [self._input(path) for path in self.paths[index]]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise InputError(
                f"The images differ in size ({sorted(shapes)[:3]}); give one with --resize "
                "HEIGHT,WIDTH."
            )
        return np.stack(images)

    def _input(self, path: Path) -> NDArray[np.float32]:
        image = decode(path)
        try:
            if self.on_image is not None:
                self.on_image(path, image)
            return self.preprocessing(image)
        except ValueError as error:
            raise InputError(f"{path} cannot be preprocessed: {error}") from error


def decode(path: Path) -> Image.Image:
    """Open and decode an image file."""
    try:
        if not path.is_file():
            raise OSError("it is no file")  # a pipe would be waited for
        with Image.open(path, formats=_formats()) as image:
            image.load()
            return image
    except Exception as error:  # every decoder of Pillow's has its own way to fail
        raise InputError(
            f"{path} cannot be decoded as an image ({error}); remove it or pass --skip-bad."
        ) from error


@cache
def image_extensions() -> frozenset[str]:
    """Extensions of image files, in lower case."""
    known = Image.registered_extensions().items()
    return frozenset(extension for extension, kind in known if kind in _formats())


@cache
def _formats() -> tuple[str, ...]:
    """Names of the kinds of files that Pillow opens by itself."""
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NO_PICTURES)

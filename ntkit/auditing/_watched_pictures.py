"""Statistics of image files, taken as they are decoded for the model: no file is read twice."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ntkit.attributes import picture_statistics
from ntkit.extraction import ImageFiles
from ntkit.preprocessing import decode, shown

__all__ = ["WatchedPictures"]

Array = NDArray[Any]
_SIDE = 128  # pixels that the shorter side keeps; more are shrunk by a whole factor first
_CAMERA = (0x010F, 0x0110)  # EXIF: maker and model


class WatchedPictures:
    """Looks at pictures as they go into a model.

    Parameters
    ----------
    files : ImageFiles
        The pictures.
    """

    def __init__(self, files: ImageFiles) -> None:
        self._paths = [Path(path) for path in files.paths]
        self._seen: dict[Path, tuple[Array, dict[str, str]]] = {}
        self.files = ImageFiles(self._paths, files.preprocessing, self._look)

    def statistics(self) -> Array:
        """What was measured, (N, 19); what did not go through the model is decoded now."""
        self._look_at_all()
        return np.stack([self._seen[path][0] for path in self._paths])

    def file_facts(self) -> dict[str, Sequence[str]]:
        """Kind of file, colour mode and camera; a column for each that differs."""
        self._look_at_all()
        facts = [self._seen[path][1] for path in self._paths]
        columns = {key: [fact[key] for fact in facts] for key in facts[0]}
        return {key: values for key, values in columns.items() if len(set(values)) > 1}

    def _look_at_all(self) -> None:
        missing = [path for path in self._paths if path not in self._seen]
        with ThreadPoolExecutor() as threads:
            for path, image in zip(missing, threads.map(decode, missing), strict=True):
                self._look(path, image)

    def _look(self, path: Path, image: Image.Image) -> None:
        upright = shown(image)
        pixels = np.asarray(upright.reduce(max(1, min(image.size) // _SIDE)))
        self._seen[path] = picture_statistics(pixels, image.width * image.height), _facts(image)


def _facts(image: Image.Image) -> dict[str, str]:
    try:
        exif = image.getexif()
        camera = " ".join(str(exif[tag]).strip("\0 ") for tag in _CAMERA if exif.get(tag))
    except Exception:  # damaged metadata of a sound image
        camera = ""
    return {"format": image.format or "", "mode": image.mode, "camera": camera}

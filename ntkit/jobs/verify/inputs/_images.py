"""Images, and the ways in which a service may turn them into inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.inputs import ImagePreprocessing, decode
from ntkit.jobs.verify._change import BATCH_SIZE, Change
from ntkit.jobs.verify.inputs._image_changes import image_changes, usual_pipelines
from ntkit.jobs.verify.inputs._image_settings import ImageSettings

_KEPT = 64  # decoded images


class Images:
    """Image files or decoded images, and how they may go into the model."""

    def __init__(
        self, images: Sequence[Any], steps: ImagePreprocessing, size: tuple[int, int] | None
    ) -> None:
        self.images = images
        self.settings = ImageSettings(steps)
        self._size = size or steps.crop
        if self._size is None and isinstance(steps.resize, tuple):
            self._size = steps.resize
        self.image = lru_cache(_KEPT)(self._decoded)

    def __len__(self) -> int:
        return len(self.images)

    def changes(self) -> list[Change]:
        """What a service may do otherwise with images."""
        return image_changes(self.settings.steps, self._size)

    def pipelines(self) -> list[tuple[Change, ...]]:
        """Whole pipelines of well-known libraries."""
        return usual_pipelines(self.settings.steps, self._size)

    def inputs(self, settings: ImageSettings, rows: Sequence[int]) -> Any:
        """Inputs of the model for some of the images, made as they are asked for."""
        return _Prepared(self, settings, rows)

    def batch_size(self, settings: ImageSettings) -> int:
        """Images that run together."""
        return BATCH_SIZE

    def _decoded(self, row: int) -> Image.Image:
        given = self.images[row]
        return decode(given) if isinstance(given, Path) else Image.fromarray(np.asarray(given))


class _Prepared:
    """A lazy sequence of inputs."""

    def __init__(self, subject: Images, settings: ImageSettings, rows: Sequence[int]) -> None:
        self._subject, self._settings, self._rows = subject, settings, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice) -> Array:
        made = [self._settings(self._subject.image(row)) for row in self._rows[index]]
        if len({one.shape for one in made}) > 1:
            raise InputError("The images differ in size; give one with --resize HEIGHT,WIDTH.")
        return np.stack(made)

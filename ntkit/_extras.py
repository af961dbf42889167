"""Optional packages: how to install them, and Ray, started without output."""

from __future__ import annotations

import importlib
import logging
import platform
import shlex
import warnings
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError, MissingDependencyError

EXTRAS = {
    "onnx": ("onnx", "onnx-ir", "skl2onnx"),
    "cuda": ("onnxruntime-gpu[cuda,cudnn]",),
    "torch": ("torch", "onnxscript"),
    "text": ("tokenizers", "pyarrow"),
    "report": ("matplotlib",),
    "ray": ("ray",),
}
"""Packages of each extra of pyproject.toml that a user may miss; a test compares the two."""


def install_extra(extra: str, *more: str) -> str:
    """Return the command that installs the packages of an extra, with additional ones."""
    # ntkit itself is in no package index.
    names = (*EXTRAS[extra], *more)
    return f"pip install {' '.join(map(shlex.quote, names))}"


def import_ray(wanted_by: str) -> Any:
    """Import Ray; if it is not installed, raise an error that names the feature that needs it."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            f"{wanted_by} needs the package ray; install it with: {install_extra('ray')}"
        ) from error


def start_ray(ray: Any) -> None:
    """Start Ray without its log output, or join the cluster that RAY_ADDRESS names."""
    if ray.is_initialized():
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\.")  # meant for developers of Ray
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@dataclass(frozen=True)
class MappedFile:
    """A memory map that travels as the path of its file; other machines open the file."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    order: Any

    @classmethod
    def of(cls, X: Any) -> MappedFile | None:
        """The file whose whole, unchanged content is X; None if there is none."""
        whole = X
        while isinstance(whole, np.ndarray) and isinstance(whole.base, np.ndarray):
            whole = whole.base
        if not (isinstance(whole, np.memmap) and isinstance(whole.base, mmap)):
            return None
        if whole.mode != "r" or X.__array_interface__ != whole.__array_interface__:
            return None
        order = "C" if X.flags.c_contiguous else "F"
        return cls(str(whole.filename), X.dtype, X.shape, whole.offset, order)

    def open(self) -> NDArray[Any]:
        """Map the file on this machine."""
        options = {"mode": "r", "offset": self.offset, "shape": self.shape, "order": self.order}
        try:
            return np.memmap(self.path, self.dtype, **options)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} cannot be read on {platform.node()} ({error}); put it where all "
                "machines of the cluster can read it."
            ) from error

"""Ray, if it is installed: imported with one sentence where it is missing, started quietly."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ntkit._extras import install_extra
from ntkit.exceptions import MissingDependencyError


def import_ray(wanted_by: str) -> Any:
    """Ray with its data library."""
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            f"{wanted_by} needs the package ray; install it with: {install_extra('ray')}"
        ) from error


def start_ray(ray: Any) -> None:
    """Start Ray without its chatter, or join the cluster that RAY_ADDRESS names."""
    if ray.is_initialized():
        return
    with without_ray_warnings():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@contextmanager
def without_ray_warnings() -> Iterator[None]:
    """Hide what Ray warns its own authors of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray\.")
        yield

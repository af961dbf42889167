"""Data: the embedded demo, generators of synthetic samples, loaders of public benchmarks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit.datasets._digits import (
    load_marked_digits,
    load_scanned_digits,
    marked_digits_model_path,
)
from ntkit.datasets._spurious_classification import make_spurious_classification

if TYPE_CHECKING:
    from ntkit.datasets._benchmarks import (
        BenchmarkSamples,
        IncompleteDataWarning,
        load_celeba,
        load_civilcomments,
        load_imagenet9,
        load_multinli,
        load_waterbirds,
    )

__all__ = [
    "BenchmarkSamples",
    "IncompleteDataWarning",
    "load_celeba",
    "load_civilcomments",
    "load_imagenet9",
    "load_marked_digits",
    "load_multinli",
    "load_scanned_digits",
    "load_waterbirds",
    "make_spurious_classification",
    "marked_digits_model_path",
]


def __getattr__(name: str) -> Any:
    if name in __all__:  # on first use: the demo does not need modules for images and texts
        return getattr(import_module("ntkit.datasets._benchmarks"), name)
    raise AttributeError(f"module 'ntkit.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

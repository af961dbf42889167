"""Data: the embedded demo, generators of synthetic samples, loaders of public benchmarks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntkit.datasets._marked_digits import load_marked_digits, marked_digits_model_path
from ntkit.datasets._spurious_regression import (
    make_spurious_classification,
    make_spurious_regression,
    spurious_regression_coef,
)

if TYPE_CHECKING:
    from ntkit.datasets._benchmark import BenchmarkSamples, IncompleteDataWarning
    from ntkit.datasets._celeba import load_celeba
    from ntkit.datasets._civilcomments import load_civilcomments
    from ntkit.datasets._imagenet9 import load_imagenet9, load_imagenet_a
    from ntkit.datasets._multinli import load_multinli
    from ntkit.datasets._waterbirds import load_waterbirds

__all__ = [
    "BenchmarkSamples",
    "IncompleteDataWarning",
    "load_celeba",
    "load_civilcomments",
    "load_imagenet9",
    "load_imagenet_a",
    "load_marked_digits",
    "load_multinli",
    "load_waterbirds",
    "make_spurious_classification",
    "make_spurious_regression",
    "marked_digits_model_path",
    "spurious_regression_coef",
]

# Imported on first use: they need what reads images and texts, and the demo does not.
_HOME = {
    "BenchmarkSamples": "_benchmark",
    "IncompleteDataWarning": "_benchmark",
    "load_celeba": "_celeba",
    "load_civilcomments": "_civilcomments",
    "load_imagenet9": "_imagenet9",
    "load_imagenet_a": "_imagenet9",
    "load_multinli": "_multinli",
    "load_waterbirds": "_waterbirds",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ntkit.datasets.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ntkit.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

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
    from ntkit.datasets._images import (
        load_celeba,
        load_imagenet9,
        load_imagenet_a,
        load_waterbirds,
    )
    from ntkit.datasets._texts import load_civilcomments, load_multinli

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
    **dict.fromkeys(["BenchmarkSamples", "IncompleteDataWarning"], "_benchmark"),
    **dict.fromkeys(["load_civilcomments", "load_multinli"], "_texts"),
    **dict.fromkeys(
        ["load_celeba", "load_imagenet9", "load_imagenet_a", "load_waterbirds"], "_images"
    ),
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ntkit.datasets.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ntkit.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Facts for pages and cards: what a model is called, what samples look like, what made them."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from ntkit._version import __version__
from ntkit.extraction import Samples, input_notes
from ntkit.frozen_model import FrozenModel
from ntkit.report._sample_pictures import TableRows
from ntkit.store import fingerprint

__all__ = ["facts_of_job", "look_of", "name_of"]

Array = NDArray[Any]
_PACKAGES = ("numpy", "scikit-learn", "onnx", "onnx-ir")


def name_of(model: FrozenModel) -> str:
    """What a model is called on a page: its file."""
    return model.path.name if model.path is not None else "a model in memory"


def look_of(samples: Samples) -> Any:
    """What can be shown of samples: rows of a table by column, or the inputs."""
    return TableRows(samples.X, samples.columns) if samples.columns else samples.X


def facts_of_job(
    original: FrozenModel,
    debiased: FrozenModel,
    samples: Mapping[str, Samples],
    device: str | None,
    digests: Mapping[str, Array] | None = None,
) -> dict[str, str]:
    """Models, samples, device and versions of a job, in words."""
    digests = digests or {}
    facts = {
        "original model": f"{name_of(original)}, sha256 {original.sha256()}",
        "model written": f"sha256 {debiased.sha256()}",
    }
    for name, part in samples.items():
        facts[f"{name} data"] = (
            f"{len(part)} samples, fingerprint {fingerprint(part, digests.get(name))}"
        )
    if notes := input_notes(samples.values()):
        kind, _, said = " ".join(notes).partition(": ")
        facts[f"{kind.split(',')[0].lower()} as inputs"] = said
    versions = [f"{name} {metadata.version(name)}" for name in _PACKAGES]
    versions.append(f"ONNX Runtime {onnxruntime.__version__}")
    return facts | {
        "embeddings computed on": device or "given as they are",
        "versions": f"ntkit {__version__}, Python {platform.python_version()}, "
        f"{', '.join(versions)}",
    }

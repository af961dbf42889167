"""Commands that install the packages of ntkit's extras; ntkit itself is in no package index."""

from __future__ import annotations

import shlex

EXTRAS = {
    "cuda": ("onnxruntime-gpu[cuda,cudnn]",),
    "torch": ("torch", "onnxscript"),
    "text": ("tokenizers", "pyarrow"),
    "report": ("matplotlib",),
    "ray": ("ray",),
}
"""Packages of each extra of pyproject.toml that a user may miss; a test compares the two."""


def install_extra(extra: str, *more: str) -> str:
    """Return the command that installs the packages of an extra, with additional ones."""
    names = (*EXTRAS[extra], *more)
    return f"pip install {' '.join(map(shlex.quote, names))}"

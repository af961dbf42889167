"""A diagnosis of ONNX Runtime on this machine: devices, problems and how to repair them."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from joblib import cpu_count
from onnx import parser

from ntkit._extras import install_extra
from ntkit._version import __version__
from ntkit.exceptions import NtkitError
from ntkit.extraction.runner import run_batches
from ntkit.extraction.session import (
    builds,
    device_of,
    import_onnxruntime,
    make_session,
    nvidia_device,
    repair_of,
)
from ntkit.graph.files import model_file

_CUDA_EXTRA = install_extra("cuda").removeprefix("pip install ")
_TINY = parser.parse_model(
    '<ir_version: 8, opset_import: ["": 17]> tiny (float[n, 2] x) => (float[n, 2] y) {y = Relu (x)}'
)
_PLACEMENT = {"session.record_ep_graph_assignment_info": "1"}


def diagnosis(model: str | Path | None = None, X: Any = None) -> dict[str, Any]:
    """Versions, devices and problems of ONNX Runtime, determined by starting sessions."""
    facts: dict[str, Any] = {
        "versions": {
            "ntkit": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "scikit-learn", "onnx")},
            "onnxruntime": None,
        },
        "distributions": builds(),
        "cpus": {"usable": cpu_count(), "host": os.cpu_count()},
        "providers": [],
        "gpu_visible": nvidia_device(),
        "cuda_starts": None,
        "device": None,
        "problems": [],
        "hints": [],
    }
    try:
        ort = import_onnxruntime()
    except NtkitError as error:
        what, _, repair = str(error).partition("; repair with: ")
        _note(facts["problems"], what, repair)
    else:
        facts["versions"]["onnxruntime"] = ort.__version__
        facts["providers"] = list(ort.get_available_providers())
        reason = _wrong("cpu")
        facts["device"] = "cpu" if reason is None else None
        if reason is not None:
            repair = repair_of(facts["distributions"])
            _note(facts["problems"], f"A CPU session does not work: {reason}", repair)
        _check_cuda(facts)
        names = list(facts["distributions"])
        if len(names) > 1 and not facts["problems"]:
            _note(
                facts["hints"],
                f"{' and '.join(names)} are installed together and overwrite each other's files. "
                "The present state works; uninstalling one of them would break it.",
                repair_of(names),
            )
        if model is not None and facts["device"] is not None:
            facts["model"] = _model(facts, Path(model), X)
    facts["sound"] = not facts["problems"]
    return facts


def _check_cuda(facts: dict[str, Any]) -> None:
    names = list(facts["distributions"])
    built = "CUDAExecutionProvider" in facts["providers"]
    if facts["gpu_visible"] and not built:
        _note(
            facts["hints"],
            "A GPU is visible, but this ONNX Runtime is built without CUDA.",
            repair_of(names, _CUDA_EXTRA),
        )
    if not (built and facts["gpu_visible"]):
        return
    reason = _wrong("cuda")
    facts["cuda_starts"] = reason is None
    if reason is None:
        facts["device"] = "cuda"
        return
    _note(
        facts["problems"],
        f"A GPU is visible, but a CUDA session does not start: {reason}",
        f"{repair_of(names if len(names) > 1 else [], _CUDA_EXTRA)}, "
        "and see with nvidia-smi that the driver is new enough",
    )


def _wrong(device: Any) -> str | None:
    """The reason why a tiny model does not run on a device; None if it does."""
    X = np.array([[-1.0, 2.0]], np.float32)
    lines: list[str] = []
    try:
        with _standard_error(lines):
            session = make_session(_TINY.SerializeToString(), device=device)
            (result,) = session.run(None, {"x": X})
    except Exception as error:  # any error is the answer
        return next((line for line in lines if "error" in line.lower()), None) or str(error)
    return None if np.array_equal(result, np.maximum(X, 0)) else f"it computes {result.tolist()}."


@contextmanager
def _standard_error(lines: list[str]) -> Iterator[None]:
    """Collect the standard error of C++ code: only there ONNX Runtime names what it misses."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _model(facts: dict[str, Any], path: Path, X: Any) -> dict[str, Any]:
    about: dict[str, Any] = {"path": str(path), "device": None, "ran": None, "nodes": None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the device already tells
            session = make_session(str(model_file(path)), config=_PLACEMENT)
        about["device"] = device_of(session)
        about["nodes"] = _shares(session)
        if X is not None:
            about["ran"] = False
            about["ran"] = bool(list(run_batches(session, X)))
    except NtkitError as error:
        _note(
            facts["problems"], f"{path.name}: {error}", "ntkit inspect shows what the model takes"
        )
    return about


def _shares(session: Any) -> Mapping[str, float] | None:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return {name: count / sum(counts.values()) for name, count in counts.items()}


def _note(notes: list[dict[str, str]], what: str, repair: str) -> None:
    notes.append({"what": what, "repair": repair})

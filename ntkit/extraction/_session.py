"""ONNX Runtime sessions that run where they were asked to."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from ntkit.exceptions import DeviceError, InputError, MissingDependencyError, ModelError

__all__ = ["Device", "available_cpus", "device_of", "make_session"]

Device = Literal["auto", "cpu", "cuda"]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def make_session(
    model: bytes | str,
    *,
    device: Device = "auto",
    providers: Sequence[Any] | None = None,
    folder: Path | None = None,
) -> Any:
    """Create an ONNX Runtime session.

    Parameters
    ----------
    model : bytes or str
        Serialised model, or the path of one.
    device : {"auto", "cpu", "cuda"}
        "cuda" raises where the session would run on the CPU; "auto" takes a GPU if there is one.
    providers : sequence, optional
        ONNX Runtime's own provider list, taken as it is instead of ``device``.
    folder : pathlib.Path, optional
        Where the external data of a serialised model lie.

    Returns
    -------
    onnxruntime.InferenceSession
        It uses :func:`available_cpus` threads.

    Raises
    ------
    InputError
        If there is no such ``device``.
    DeviceError
        If ``device="cuda"`` and ONNX Runtime cannot use a GPU.
    ModelError
        If ONNX Runtime refuses the model.
    MissingDependencyError
        If both builds of ONNX Runtime are installed and break each other, or none can be
        imported.

    Warns
    -----
    RuntimeWarning
        If "auto" or ``providers`` ask for a GPU and the session runs on the CPU.

    Examples
    --------
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.extraction import make_session
    >>> session = make_session(str(marked_digits_model_path()), device="cpu")
    >>> [output.name for output in session.get_outputs()]
    ['logits']
    """
    ort = _onnxruntime()
    if device not in get_args(Device):
        raise InputError(f"device is one of {', '.join(get_args(Device))}; got {device!r}.")
    if providers is None:
        providers = [_CPU] if _use_cpu(device, ort) else [_CUDA, _CPU]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = available_cpus()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder is not None and isinstance(model, bytes):
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    try:
        session = ort.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's own exceptions share no base class but this one
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"ONNX Runtime cannot run the model: {reason}") from error
    asked_for_gpu = _CUDA in (p if isinstance(p, str) else p[0] for p in providers)
    if asked_for_gpu and device_of(session) == "cpu":
        message = (
            "The GPU was asked for, but ONNX Runtime runs on the CPU: its CUDA libraries do not "
            "load. Install them with: pip install 'ntkit[cuda]'"
        )
        if device == "cuda":
            raise DeviceError(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return session


def device_of(session: Any) -> str:
    """Where a session really runs: "cuda" or "cpu".

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        As :func:`make_session` makes it.

    Returns
    -------
    {"cuda", "cpu"}
        The device.

    Examples
    --------
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.extraction import device_of, make_session
    >>> device_of(make_session(str(marked_digits_model_path()), device="cpu"))
    'cpu'
    """
    # The list of available providers is a fact of the build; only the session tells the truth.
    return "cuda" if _CUDA in session.get_providers() else "cpu"


def available_cpus() -> int:
    """Cores this process may use: its CPU affinity and the container's quota, not the host's.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> from ntkit.extraction import available_cpus
    >>> available_cpus() >= 1
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def _use_cpu(device: Device, ort: Any) -> bool:
    if device == "cpu":
        return True
    reason = None
    if _CUDA not in ort.get_available_providers():
        reason = "this ONNX Runtime is built without CUDA"
    elif not _nvidia_device():
        reason = "no NVIDIA GPU is visible"
    if reason and device == "cuda":
        raise DeviceError(f"device='cuda' was asked for, but {reason}; use device='cpu' or 'auto'.")
    return reason is not None


def _nvidia_device() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def _onnxruntime() -> Any:
    installed = {d for d in ("onnxruntime", "onnxruntime-gpu") if _is_installed(d)}
    repair = (
        "repair with: pip uninstall -y onnxruntime onnxruntime-gpu && pip install "
        f"{'onnxruntime-gpu' if 'onnxruntime-gpu' in installed else 'onnxruntime'}"
    )
    if len(installed) == 2:
        raise MissingDependencyError(
            f"onnxruntime and onnxruntime-gpu are both installed and overwrite each other; {repair}"
        )
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError(f"ONNX Runtime cannot be imported; {repair}") from error
    if not hasattr(ort, "InferenceSession"):
        raise MissingDependencyError(f"The installed ONNX Runtime is an empty shell; {repair}")
    return ort


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True

"""ONNX Runtime sessions that run on the requested device."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from joblib import cpu_count

from ntkit._extras import install_extra
from ntkit.exceptions import DeviceError, InputError, MissingDependencyError, ModelError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
_TENSORRT = "TensorrtExecutionProvider"
_CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
_GPU_BUILD = "onnxruntime-gpu"
_CUDA_OPTIONS = {
    "arena_extend_strategy": "kSameAsRequested",  # doubling requests more than needed
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm for each new shape
    "use_tf32": 0,  # TF32 has ten bits of mantissa, so embeddings would differ from the CPU's
}


def make_session(
    model: bytes | str,
    *,
    device: Device = "auto",
    providers: Sequence[Any] | None = None,
    folder: Path | None = None,
    threads: int | None = None,
    config: Mapping[str, str] | None = None,
) -> Any:
    """ONNX Runtime session on a device; "cuda" and "tensorrt" raise an error without a GPU."""
    # "auto" warns if ONNX Runtime falls back to the CPU. "tensorrt" builds an engine for minutes.
    ort = import_onnxruntime()
    providers = providers_of(device, providers)
    names = {each if isinstance(each, str) else each[0] for each in providers}
    on_gpu = not names.isdisjoint((_TENSORRT, _CUDA))
    if on_gpu and hasattr(ort, "preload_dlls"):
        # It loads the CUDA libraries that pip installed; otherwise only the system's are found. It
        # prints what is missing, but the session itself shows whether it runs on the GPU.
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = cpu_count() if threads is None else threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    if folder is not None and isinstance(model, bytes):
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    try:
        session = ort.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's own exceptions have no other common base class
        reason = str(error).strip().splitlines()[0]
        if "construct locale" in reason:  # from every TfidfVectorizer that lower-cases
            reason = (
                f"{reason.rstrip(':. ')}; install the locale (en_US.UTF-8 by default, in Debian's "
                "package locales), or convert the model with skl2onnx's option locale='C'."
            )
        raise ModelError(f"ONNX Runtime cannot run the model: {reason}") from error
    real = device_of(session)
    if not on_gpu or (real == device if device == "tensorrt" else real != "cpu"):
        return session
    if device == "tensorrt":
        raise DeviceError(
            f"TensorRT was requested, but ONNX Runtime runs on {real!r}: its libraries do not "
            f"load. Install them with: {install_extra('cuda', 'tensorrt')}"
        )
    message = (
        "The GPU was requested, but ONNX Runtime runs on the CPU: its CUDA libraries do not load. "
        f"Install them with: {install_extra('cuda')}"
    )
    if device == "cuda":
        raise DeviceError(message)
    warnings.warn(message, RuntimeWarning, stacklevel=2)
    return session


def device_of(session: Any) -> str:
    """Device that a session really uses: "cuda", "tensorrt" or "cpu"."""
    # The list of available providers describes the build; only the session shows its real device.
    providers = session.get_providers()
    return "tensorrt" if _TENSORRT in providers else "cuda" if _CUDA in providers else "cpu"


def sent_to_gpu(session: Any, feed: Mapping[str, Any]) -> dict[str, Any] | None:
    """Copy arrays to the GPU of a session, as ONNX Runtime's values."""
    try:
        device = session.get_provider_options()[_CUDA].get("device_id", 0)
        send = import_onnxruntime().OrtValue.ortvalue_from_numpy
        return {name: send(array, "cuda", int(device)) for name, array in feed.items()}
    except Exception:  # on any error: this only saves time
        return None


def nvidia_device() -> bool:
    """Whether an NVIDIA GPU is visible."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def import_onnxruntime() -> Any:
    """Import ONNX Runtime from any of its builds, if it works."""
    try:
        import onnxruntime as ort
    except Exception as error:  # with two builds in one folder, any error may occur
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise MissingDependencyError(
            f"ONNX Runtime cannot be imported ({reason[0]}); repair with: {repair_of(builds())}"
        ) from error
    if not hasattr(ort, "InferenceSession"):
        raise MissingDependencyError(
            f"The installed ONNX Runtime is incomplete; repair with: {repair_of(builds())}"
        )
    return ort


def builds() -> dict[str, str]:
    """Every installed distribution that writes into the package onnxruntime, with its version."""
    names = set(metadata.packages_distributions().get("onnxruntime", []))
    return {name: metadata.version(name) for name in sorted(names)}


def repair_of(installed: Collection[str], wanted: str | None = None) -> str:
    """Shell commands that leave one complete build of ONNX Runtime."""
    kept = [name for name in (_GPU_BUILD, *installed) if name in installed] or ["onnxruntime"]
    install = f"pip install {wanted or kept[0]}"
    return f"pip uninstall -y {' '.join(installed)} && {install}" if installed else install


def providers_of(device: Device, given: Sequence[Any] | None = None) -> Sequence[Any]:
    """ONNX Runtime's list of providers for a device, if none is given."""
    if given is not None:
        return given
    ort = import_onnxruntime()
    if device not in get_args(Device):
        raise InputError(f"device must be one of {', '.join(get_args(Device))}; got {device!r}.")
    if device == "cpu":
        return [CPU]
    wanted = _TENSORRT if device == "tensorrt" else _CUDA
    reason = None
    if wanted not in ort.get_available_providers():
        name = "TensorRT" if device == "tensorrt" else "CUDA"
        reason = f"this ONNX Runtime is built without {name}"
    elif not nvidia_device():
        reason = "no NVIDIA GPU is visible"
    if reason and device == "auto":
        return [CPU]
    if reason:
        raise DeviceError(
            f"device={device!r} cannot be used: {reason}; use device='cpu' or 'auto'."
        )
    tensorrt = [_TENSORRT] if device == "tensorrt" else []
    return [*tensorrt, (_CUDA, dict(_CUDA_OPTIONS)), CPU]

"""ONNX files: read whole or refused, written whole or not at all, with their external data."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from ntkit.exceptions import InputError, ModelError

__all__ = ["fingerprint", "one_line", "read_model", "write_model"]


def read_model(path: Path) -> ir.Model:
    """Read an ONNX file; external data are mapped, and must lie in the file's own folder."""
    if not path.is_file():
        raise ModelError(f"{path} is not a file; give the path of an ONNX model.")
    try:
        model = ir.load(path)
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX model (not a valid protobuf file).") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    except Exception as error:  # onnx-ir takes a file apart without one class for what is broken
        raise ModelError(f"{path} cannot be read as an ONNX model: {one_line(error)}.") from error
    if not model.graph.outputs:
        raise ModelError(f"{path} is not an ONNX model (it has no outputs).")
    folder = path.parent.resolve()
    for file in _external_files(model):
        if not file.is_file():
            raise ModelError(f"{path} keeps weights in {file}, which is missing; copy it there.")
        if not file.resolve().is_relative_to(folder):
            raise ModelError(
                f"{path} keeps weights in {file.resolve()}, outside its own folder, which ONNX "
                "does not allow; copy both files into one folder."
            )
    return model


def write_model(
    model: ir.Model, path: Path, *, force: bool, verify: Callable[[Path], object] | None
) -> Path:
    """Write a model into a temporary folder, check it there, and give it its name."""
    sources = _external_files(model)
    external = f"{path.name}.data" if sources else None
    data = path.with_name(external) if external else None
    for target in (path, data):
        if target is None or not os.path.lexists(target):
            continue
        if target.is_dir() or not force:
            mend = "" if target.is_dir() else " or pass --force (force=True)"
            raise InputError(f"{target} exists; choose another name{mend}.")
        if any(source.exists() and target.samefile(source) for source in sources):
            raise InputError(f"{target} holds weights that the model reads; choose another name.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it first.")
    with _saying_what_failed(path):
        work = tempfile.TemporaryDirectory(prefix=".ntkit-", dir=path.parent)
    with work as folder:
        temporary = Path(folder) / path.name
        with _saying_what_failed(path):
            ir.save(model, temporary, external_data=external)
            onnx.checker.check_model(temporary)
        if verify is not None:
            verify(temporary)
        with _saying_what_failed(path):
            if data is not None and (Path(folder) / data.name).exists():
                os.replace(Path(folder) / data.name, data)
            os.replace(temporary, path)
    return path


def fingerprint(model: ir.Model, path: Path | None) -> str:
    """SHA-256 of a model's file, or of the model in memory, and of its external data."""
    if path is None:
        proto = ir.to_proto(model).SerializeToString(deterministic=True)
        parts = [hashlib.sha256(proto)]
    else:
        parts = [_digest(path)]
    parts += [_digest(file) for file in _external_files(model)]
    if len(parts) == 1:
        return str(parts[0].hexdigest())
    return hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()


@contextmanager
def _saying_what_failed(path: Path) -> Iterator[None]:
    try:
        yield
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"{path} was not written, because ONNX's checker refuses it: {one_line(error)}."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}.") from error


def _external_files(model: ir.Model) -> list[Path]:
    """Files outside the model's own that hold some of its weights."""
    tensors = (v.const_value for graph in model.graphs() for v in graph.initializers.values())
    return sorted({Path(t.path) for t in tensors if isinstance(t, ir.ExternalTensor)})


def _digest(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def one_line(error: Exception) -> str:
    """Write another library's error as the end of a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__

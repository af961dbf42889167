"""ONNX files: read or written as a whole, with their external data."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path, PurePath

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from ntkit._disk import give_name, saying_what_failed, sha256_of
from ntkit._text import listed
from ntkit.exceptions import InputError, ModelError, NtkitError
from ntkit.graph.tensors import AT_WORK

_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: of its graphs, of their nodes, and of its functions."""
    graphs = [proto.graph]
    node_lists = [function.node for function in proto.functions]
    while graphs or node_lists:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            node_lists.append(graph.node)
        for node in node_lists.pop():
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs.extend(attribute.graphs)


def follow_links(model: ir.Model, path: Path) -> None:
    """Let a model that is a link read its weights from their real place."""
    # Hugging Face's cache stores files under the hashes of their contents, and names them by links
    # in another folder. ONNX and ONNX Runtime refuse weights behind a link or outside the model's
    # folder, so the tensors get the real file's name. Only names that the model lists are followed,
    # without any `..`, and only into the real folder of the model.
    folder = path.resolve().parent
    values = [value for graph in model.graphs() for value in graph.initializers.values()]
    real_names = dict[str, str]()
    for value in values:
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            name = _real_name(str(tensor.location), path, folder)
            if name is None:
                return  # not changed, so that an error names them
            real_names[str(tensor.location)] = name
    for value in values:
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.ExternalTensor(
                real_names[str(tensor.location)],
                tensor.offset,
                tensor.length,
                tensor.dtype,
                shape=tensor.shape,
                name=tensor.name or "",
                doc_string=tensor.doc_string,
                metadata_props=tensor.metadata_props,
                base_dir=folder,
            )


def data_folder(model: ir.Model) -> Path | None:
    """Folder that the locations of a model's external data refer to; None without any."""
    tensors = _external_tensors(model)
    return Path(tensors[0].base_dir).resolve() if tensors else None


def _real_name(location: str, path: Path, folder: Path) -> str | None:
    """Name, in the real folder of the model, of the file of a location."""
    named = PurePath(location)
    if named.is_absolute() or ".." in named.parts:
        return None
    link = path.parent / named
    if link.is_symlink() and link.is_file() and link.resolve().parent == folder:
        return link.resolve().name
    beside = folder / named
    if not link.exists() and beside.is_file() and beside.resolve().is_relative_to(folder):
        return location
    return None


_ORT = "ONNX Runtime's own format, .ort; pass the .onnx file that it was made from"


def deserialised(proto: onnx.ModelProto) -> ir.Model:
    """Convert ONNX's own form into onnx-ir's, with its nodes in a valid order."""
    # onnx-ir has no maps, which ZipMap makes; it keeps such tensors without a type.
    for value in (*proto.graph.output, *proto.graph.value_info):
        if value.type.sequence_type.elem_type.HasField("map_type"):
            value.ClearField("type")
    model = ir.from_proto(proto)
    model.graph.sort()
    return model


def serialised(model: ir.Model) -> onnx.ModelProto:
    """Convert onnx-ir's form into ONNX's own."""
    proto: onnx.ModelProto = ir.to_proto(model)
    _type_maps(proto)
    return proto


def _type_maps(proto: onnx.ModelProto) -> bool:
    """Restore the type of ZipMap's outputs; return whether there was one."""
    untyped = {value.name: value for value in proto.graph.output if not value.HasField("type")}
    for node in proto.graph.node if untyped else ():
        if node.op_type == "ZipMap" and node.output[0] in untyped:
            names = {a.name for a in node.attribute}
            key = TensorProto.STRING if "classlabels_strings" in names else TensorProto.INT64
            score = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
            entry = helper.make_map_type_proto(key, score)
            untyped[node.output[0]].type.CopyFrom(helper.make_sequence_type_proto(entry))
    return bool(untyped)


def read_model(path: Path) -> tuple[ir.Model, bytes]:
    """Read an ONNX file, and its SHA-256; external data are memory-mapped."""
    # A file that is a link, as in Hugging Face's cache, may have its data next to the link's
    # target.
    with sound(path):
        if not path.is_file():
            raise ModelError(f"{path} is not a file; give the path of an ONNX model.")
        content = path.read_bytes()
        digest = hashlib.sha256(content).digest()
        try:
            proto = onnx.load_from_string(content)
        except DecodeError as error:
            kind = _ORT if content[4:8] == b"ORTM" else "not a valid protobuf file"
            raise ModelError(f"{path} is not an ONNX model ({kind}).") from error
        del content  # as large as the model
        _check_proto(proto, path)
        model = deserialised(proto)
        ir.external_data.set_base_dir(model.graph, path.parent)
        if path.is_symlink():
            follow_links(model, path)
        folder = data_folder(model) or path.parent.resolve()
        for tensor in _external_tensors(model):
            _check_external(tensor, path, folder)
    return model, digest


def _check_proto(proto: onnx.ModelProto, path: Path) -> None:
    """Raise an error for what protobuf accepts: ambiguous names, no text, invalid places."""
    outputs = [value.name for value in proto.graph.output]
    if not outputs:
        raise ModelError(f"{path} is not an ONNX model (it has no outputs).")
    if len(set(outputs)) < len(outputs):
        raise ModelError(f"{path} names an output twice; give each output a different name.")
    if proto.graph.sparse_initializer:
        raise ModelError(f"{path} has sparse weights, which ntkit does not read; store them dense.")
    kinds = {value.name: value.type.tensor_type.elem_type for value in proto.graph.input}
    for value in proto.graph.output:
        if kinds.get(value.name, kind := value.type.tensor_type.elem_type) != kind:
            raise ModelError(
                f"{path} declares {value.name!r} twice, as two types; export it again."
            )
    entries = ((entry.key, entry.value) for entry in proto.metadata_props)
    nodes = ((n.name, n.op_type, n.domain, *n.input, *n.output) for n in proto.graph.node)
    named = (outputs, (proto.producer_name, proto.producer_version), *entries, *nodes)
    if not all(isinstance(text, str) for texts in named for text in texts):
        raise ModelError(f"{path} has names that are not UTF-8 text; export it again.")
    # Releases of onnx treat invalid places of external data differently. They ignore entries that
    # ONNX does not know, with a warning. A filter could not hide it safely among threads.
    for tensor in _tensors(proto):
        if any(entry.key not in _KEYS for entry in tensor.external_data):
            known = [entry for entry in tensor.external_data if entry.key in _KEYS]
            del tensor.external_data[:]
            tensor.external_data.extend(known)
        for entry in tensor.external_data:
            place = entry.value
            if entry.key in ("offset", "length") and not (place.isascii() and place.isdigit()):
                raise ModelError(
                    f"{path} has {place!r:.40} as the {entry.key} of weights in another file, "
                    "which is not a number of bytes; export it again."
                )


def _check_external(tensor: ir.ExternalTensor, path: Path, folder: Path) -> None:
    file, absolute = Path(tensor.path), Path(str(tensor.location)).is_absolute()
    if absolute and not file.resolve().is_relative_to(folder):
        raise ModelError(
            f"{path} has weights outside its own folder, by an absolute path ({file}), which ONNX "
            "does not allow. On the machine with that file, save the model again with its weights "
            "next to it (onnx.save with save_as_external_data=True)."
        )
    if not file.is_file():
        raise ModelError(f"{path} has weights in {file}, which is missing; copy it there.")
    if not file.resolve().is_relative_to(folder):
        raise ModelError(
            f"{path} has weights in {file.resolve()}, outside its own folder, which ONNX does not "
            "allow; copy both files into one folder."
        )
    if file.samefile(path):
        raise ModelError(f"{path} names itself as the file of its weights; export it again.")


@contextmanager
def sound(path: Path | None) -> Iterator[None]:
    """Turn the errors of onnx-ir, protobuf and NumPy for a broken file into a message."""
    try:
        with AT_WORK():
            yield
    except NtkitError:
        raise
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # broken files make libraries raise anything
        raise ModelError(
            f"{path or 'The model'} is not a valid ONNX model: {first_line(error)}."
        ) from error


def write_model(
    model: ir.Model, path: Path, *, force: bool, verify: Callable[[Path], object] | None
) -> Path:
    """Write a model into a temporary folder, check it there, and rename it."""
    # External data get an unused name, so that a replaced model is complete until the one rename;
    # its old data are removed afterwards.
    sources = external_files(model)
    with _written(path):
        if path.is_dir():
            raise InputError(f"{path} exists; choose another name.")
        if os.path.lexists(path) and not force:
            raise InputError(f"{path} exists; choose another name or pass --force (force=True).")
        if not path.parent.is_dir():
            raise InputError(f"The folder {path.parent} does not exist; create it first.")
    replaced = _own_data(path) if path.exists() else []
    for target in (path, *replaced):
        if any(s.exists() and target.exists() and target.samefile(s) for s in sources):
            raise InputError(f"{target} has weights that the model reads; choose another name.")
    names = chain([f"{path.name}.data"], (f"{path.name}.{number}.data" for number in count(1)))
    free = (path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    data = next(free) if sources else None
    with _written(path):
        work = tempfile.TemporaryDirectory(
            prefix=".ntkit-", dir=path.parent, ignore_cleanup_errors=True
        )
    with work as folder:
        temporary = Path(folder) / path.name
        with _written(path), AT_WORK():
            ir.save(model, temporary, external_data=data.name if data else None)
            if any(value.type is None for value in model.graph.outputs):
                proto = onnx.load(temporary, load_external_data=False)
                if _type_maps(proto):
                    onnx.save(proto, temporary)
            onnx.checker.check_model(temporary)
        if verify is not None:
            try:
                verify(temporary)
            finally:
                if data is not None:  # it was memory-mapped: Windows does not move such a file
                    gc.collect()
        with _written(path):
            _give_names(temporary, path, data)
            for file in replaced:
                with suppress(OSError):  # the model is written; an unused data file may remain
                    file.unlink()
    return path


def _own_data(path: Path) -> list[Path]:
    """External data of a model that have its name, and so belong to it alone."""
    try:
        tensors = onnx.load(path, load_external_data=False).graph.initializer
    except (DecodeError, OSError, ValueError):
        return []  # it is not a model
    entries = [entry for tensor in tensors for entry in tensor.external_data]
    in_use = {e.value for e in entries if e.key == "location" and Path(e.value).name == e.value}
    pattern = re.compile(rf"{re.escape(path.name)}(\.\d+)?\.data")
    return [path.with_name(name) for name in sorted(in_use) if pattern.fullmatch(name)]


def _give_names(temporary: Path, path: Path, data: Path | None) -> None:
    """Data first: nothing reads them before the model exists."""
    made = None if data is None else temporary.with_name(data.name)
    if made is None or data is None or not made.exists() or not made.stat().st_size:
        give_name(temporary, path)  # with weights so small that the model contains them itself
        return
    give_name(made, data)
    try:
        give_name(temporary, path)
    except BaseException:
        data.unlink()
        raise


def model_fingerprint(model: ir.Model, digest: bytes | None) -> str:
    """SHA-256 of a model and of its external data; of the model in memory without its file's."""
    if digest is None:
        digest = hashlib.sha256(serialised(model).SerializeToString(deterministic=True)).digest()
    parts = [digest, *(bytes.fromhex(sha256_of(file)) for file in external_files(model))]
    return digest.hex() if len(parts) == 1 else hashlib.sha256(b"".join(parts)).hexdigest()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn errors of writing a model into a message."""
    try:
        with saying_what_failed(path):
            yield
    except NtkitError:
        raise
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"{path} was not written, because ONNX's checker refuses it: {first_line(error)}."
        ) from error
    except Exception as error:  # as in sound()
        raise ModelError(f"{path} was not written: {first_line(error)}.") from error


def external_files(model: ir.Model) -> list[Path]:
    """Files other than the model's own with some of its weights."""
    return sorted({Path(tensor.path) for tensor in _external_tensors(model)})


def _external_tensors(model: ir.Model) -> list[ir.ExternalTensor]:
    tensors = (v.const_value for graph in model.graphs() for v in graph.initializers.values())
    return [tensor for tensor in tensors if isinstance(tensor, ir.ExternalTensor)]


def first_line(error: Exception) -> str:
    """Another library's error, or its cause, as the end of a sentence."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


_NAME = "model.onnx"
_SHOWN = 6


def model_file(path: Path) -> Path:
    """The ONNX file of a path: the file itself, or that of a folder with one model."""
    # Exporters (Optimum), the Hugging Face Hub, MLflow and ntkit's own `--deploy` write folders
    # with a model as `model.onnx` or `onnx/model.onnx`, next to its tokenizer and other files.
    if not os.path.isdir(path):  # unlike is_dir, no error for a name that is too long
        return path
    models = [file for file in (path / _NAME, path / "onnx" / _NAME) if file.is_file()]
    if len(models) == 1:
        return models[0]
    if models:
        raise ModelError(
            f"{path} is a folder with two models, {_NAME} and onnx/{_NAME}; name one of them."
        )
    names = sorted(
        file.relative_to(path).as_posix()
        for folder in (path, path / "onnx")
        for file in folder.glob("*.onnx")
    )
    raise ModelError(
        f"{path} is a folder without a {_NAME}; give the path of an ONNX model"
        + (f", such as one of those in it: {listed(names, _SHOWN)}." if names else ".")
    )

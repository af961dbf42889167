"""Where a model's weights lie outside its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

import onnx
import onnx_ir as ir

from ntkit.exceptions import ModelError

__all__ = ["check_places", "data_folder", "drop_unknown_keys", "follow_links"]

_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})


def drop_unknown_keys(proto: onnx.ModelProto) -> None:
    """Remove what ONNX does not define from the entries of external data, in place.

    onnx ignores them with a warning; a filter of warnings would not be safe among threads.
    """
    for tensor in _tensors(proto):
        if any(entry.key not in _KEYS for entry in tensor.external_data):
            known = [entry for entry in tensor.external_data if entry.key in _KEYS]
            del tensor.external_data[:]
            tensor.external_data.extend(known)


def check_places(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse external data that begin or end nowhere; releases of onnx differ in what they do."""
    for tensor in _tensors(proto):
        for entry in tensor.external_data:
            given = entry.value
            if entry.key in ("offset", "length") and not (given.isascii() and given.isdigit()):
                raise ModelError(
                    f"{path} gives {given!r:.40} as the {entry.key} of weights in another file, "
                    "which is no count of bytes; export it again."
                )


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
    """Let a model that is a link read its weights where they really are, in place.

    Hugging Face's cache keeps files under the hashes of their contents, and gives them their names
    by links in another folder. ONNX and ONNX Runtime refuse weights behind a link or outside the
    model's folder, so the tensors get the real file's name. Only names that the model lists are
    followed, without any ``..``, and only into the folder that the model itself lies in.
    """
    folder = path.resolve().parent
    values = [value for graph in model.graphs() for value in graph.initializers.values()]
    found = dict[str, str]()
    for value in values:
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            name = _real_name(str(tensor.location), path, folder)
            if name is None:
                return  # left as they are, to be refused by name
            found[str(tensor.location)] = name
    for value in values:
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.ExternalTensor(
                found[str(tensor.location)],
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
    """Folder that the locations of a model's external data start from; None without any."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                return Path(value.const_value.base_dir).resolve()
    return None


def _real_name(location: str, path: Path, folder: Path) -> str | None:
    """Name, in the folder the model really lies in, of the file that a location means."""
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

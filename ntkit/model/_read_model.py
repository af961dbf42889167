"""A model as it was read: its signature, what was found in it, and what it can be cut into."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.graph import (
    Shapes,
    TensorInfo,
    data_folder,
    dtype_of,
    external_files,
    extract_between,
    extract_up_to,
    fingerprint,
    float_type,
    info_of,
    inlined_size,
    pooled,
    serialised,
    sound,
    value_named,
    write_model,
)
from ntkit.head import LinearHead
from ntkit.model.affine import (
    EMBEDDING,
    Nodes,
    Runner,
    found_by_the_model,
    side_by_side,
    taken_apart,
)
from ntkit.model.class_names import ClassNames, names_in, names_of, problem_type
from ntkit.model.head_search import Head, candidate_layers, find_head, head_at

_QUANTISING = {
    "DynamicQuantizeLinear": "dynamic",
    "MatMulInteger": "dynamic",
    "MatMulNBits": "weights only",
    "QuantizeLinear": "static (QDQ)",
    "DequantizeLinear": "weights only",
}


def file_facts(model: ir.Model, path: Path | None) -> dict[str, Any]:
    """Facts of a file and its graph, whatever its head."""
    tensors = [v.const_value for g in model.graphs() for v in g.initializers.values()]
    inputs = (info_of(v) for v in model.graph.inputs if not v.is_initializer())
    return {
        "file": str(path) if path else None,
        "producer": f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip(),
        "opset": dict(model.opset_imports),
        "ir_version": int(model.ir_version),
        "nodes": len(model.graph),
        "weights_mb": round(sum(t.nbytes for t in tensors if t is not None) / 1e6, 3),
        "external_data": sorted(
            {str(t.location) for t in tensors if isinstance(t, ir.ExternalTensor)}
        ),
        "quantisation": _quantisation_of(model),
        "inputs": [str(i) for i in inputs],
        "outputs": [str(info_of(v)) for v in model.graph.outputs],
    }


def head_facts(model: ir.Model, found: Head | None) -> dict[str, Any]:
    """Facts of the head and of what follows it; None where there is none."""
    part = extract_between(model.graph, found.logits) if found else None
    return {
        "neurons": found.weight.shape[1] if found else None,
        "silent_neurons": int((found.weight == 0).all(axis=0).sum()) if found else None,
        "head": found.region.kind if found else None,
        "task": task_of(found) if found else None,
        "logits": str(info_of(found.logits)) if found else None,
        "outputs_from_logits": [] if part is None else [v.name or "" for v in part.outputs],
        "positions": [node.op_type for node in found.positions] if found else [],
        "post_processing": list(found.after.post_processing) if found else [],
    }


def task_of(found: Head) -> str:
    """What the head decides, as far as the graph tells."""
    n_logits, after = len(found.weight), found.after
    if n_logits > 1 and "Sigmoid" in after.post_processing:
        return f"each of {n_logits} labels on its own (a Sigmoid each)"
    if n_logits > 1:
        return f"one of {n_logits} classes"
    if after.post_processing or after.decided:
        return "one of two classes, by one logit"
    return "one number: two classes by its sign, or a regression"


def _quantisation_of(model: ir.Model) -> str | None:
    """How the model is quantised; None for a float model."""
    operators = {node.op_type for node in model.graph}
    if any(name.startswith(("QLinear", "QGemm")) for name in operators):
        return "static (QOperator)"
    found = [kind for name, kind in _QUANTISING.items() if name in operators]
    return found[0] if found else None


def body_of(
    model: ir.Model, head: Head | None, embedding: ir.Value, *, logits: bool
) -> onnx.ModelProto:
    """Copy the model up to one embedding per sample; logits are a second output if asked."""
    # Where the model chooses or averages positions after its head, the body does so before it: both
    # are linear, so the order does not matter.
    outputs = [embedding]
    if logits and head is not None:
        outputs.append(head.logits)
    if head is None:
        return _model_of(extract_up_to(model.graph, outputs), model)
    n_logits, n_neurons = head.region.weight.shape
    if head.reads_rows:
        proto = _model_of(extract_up_to(model.graph, outputs), model)
    else:
        proto = _model_of(_with_embedding(model, head, outputs), model)
    _typed(proto.graph.output[0], _float_type(head, head.source), 2, n_neurons)
    for value in proto.graph.output[1:]:
        _typed(value, _float_type(head, head.logits), head.region.rank, n_logits)
    return proto


def tail_of(model: ir.Model, head: Head) -> onnx.ModelProto | None:
    """Copy what computes the model's outputs from the logits; None if they are all there is."""
    feature_set = extract_between(model.graph, head.logits)
    if feature_set is None:
        return None
    proto = _model_of(feature_set, model)
    dtype = _float_type(head, head.logits)
    batch = (Shapes(model)(head.logits) or (None,))[0]
    _typed(proto.graph.input[0], dtype, head.region.rank, len(head.region.weight), batch)
    return proto


def _with_embedding(model: ir.Model, head: Head, outputs: list[ir.Value]) -> ir.Graph:
    """A copy of the graph whose first output is the embedding of the sample."""
    sources = head.region.sources
    found = [v for source in sources for v in found_by_the_model(source.chain)]
    needed = list({id(v): v for v in (*(s.value for s in sources), *found)}.values())
    graph = extract_up_to(model.graph, [*outputs, *needed]).clone()
    copies = dict(zip(map(id, needed), graph.outputs[len(outputs) :], strict=True))
    del graph.outputs[len(outputs) :]
    nodes = Nodes(graph.append, lambda value: copies[id(value)])
    graph.outputs[0] = side_by_side(nodes, sources, len(head.region.weight), Runner(Shapes(model)))
    return graph


def _float_type(head: Head, value: ir.Value) -> ir.DataType:
    plain = head.region.plain
    if plain is None or plain.quantised:
        return float_type(value)
    dtype = dtype_of(plain.product.inputs[1])
    return dtype if dtype is not None and dtype.is_floating_point() else ir.DataType.FLOAT


def _typed(
    value: onnx.ValueInfoProto,
    dtype: ir.DataType,
    rank: int,
    width: int,
    batch: int | str | None = None,
) -> None:
    """Say type and shape of a cut's end, where the graph does not."""
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        tensor.elem_type = int(dtype)
    if not tensor.HasField("shape") and rank == 2:
        tensor.shape.dim.add(dim_value=batch if isinstance(batch, int) else None)
        tensor.shape.dim.add(dim_value=width)


def _model_of(graph: ir.Graph | ir.GraphView, model: ir.Model) -> onnx.ModelProto:
    cut = ir.Model(
        graph,  # type: ignore[arg-type]
        ir_version=model.ir_version,
        producer_name="ntkit",
        functions=list(model.functions.values()),
    )
    return serialised(cut)


def declare_outputs(model: ir.Model) -> None:
    """Give each output of a graph the shape that ONNX infers, where the file gives none."""
    shape_of = Shapes(model)
    for value in model.graph.outputs:
        if value.shape is None and isinstance(value.type, ir.TensorType):
            shape = shape_of(value)
            if shape is None:
                raise InputError(
                    f"The model declares no shape for its output {value.name!r}, and ONNX infers "
                    "none, so that its checker would refuse the new file; export the model again."
                )
            value.shape = ir.Shape(shape)


LOCATED_BY = "ntkit.located_by"
PLACES = ("logits", "embedding", "pooling")
_MOST_NODES = 1_000_000


@dataclass(frozen=True)
class Parts:
    """A model's graph, what was found in it, and what was said of it."""

    model: ir.Model  # the graph
    found: Head | None  # its head
    embedding: ir.Value  # the (first) tensor that the head reads, or a new one would read
    # Names of logits, embedding and pooling by which these were found.
    located_by: Mapping[str, str | None]
    # What the model calls its classes; None where that has not been looked for.
    names: ClassNames | None = None
    classes: Any = None  # class labels, where they are given
    matched_by: str | None = None  # how these were matched with the classes
    path: Path | None = None  # the file
    folder: Path | None = None  # where its external data lie


def in_sight(model: ir.Model, located_by: Mapping[str, str | None], path: Path) -> Parts:
    """The model with its head; functions of its own are taken apart if the head is inside one."""

    def parts(model: ir.Model, places: Mapping[str, str | None]) -> Parts:
        folder = data_folder(model) or path.parent.resolve()
        return Parts(model, *located(model, **places), places, path=path, folder=folder)

    written = _written_names(model) if not any(located_by.values()) else None
    if written is not None:
        # Looking there may add a pooling, which must not stay behind.
        aside = model.clone() if written["pooling"] is not None else model
        with suppress(HeadNotFoundError, InputError):  # edited since
            found = parts(aside, written)
            if found.found is not None:
                return found
            with suppress(
                HeadNotFoundError, InputError
            ):  # quantised since: it reads another tensor
                return parts(model, located_by)
            return found
    try:
        return parts(model, located_by)
    except HeadNotFoundError:
        apart = taken_apart(model)
        if apart is not None:
            return parts(apart, located_by)
        if not model.functions:
            raise
    if inlined_size(model) > _MOST_NODES:
        raise ModelError(
            f"The model's own functions call each other so often that it would have more than "
            f"{_MOST_NODES} nodes; export it without functions."
        )
    return parts(InlinePass()(model).model, located_by)


def _written_names(model: ir.Model) -> dict[str, str | None] | None:
    """Names of logits, embedding and pooling that ntkit wrote into a file."""
    try:
        found = json.loads(model.metadata_props.get(LOCATED_BY, "null"))
    except (ValueError, RecursionError, TypeError):
        return None
    whole = isinstance(found, dict) and found.keys() == set(PLACES)
    whole = whole and all(value is None or isinstance(value, str) for value in found.values())
    return {name: found[name] for name in PLACES} if whole else None


def located(
    model: ir.Model, logits: str | None, embedding: str | None, pooling: str | None
) -> tuple[Head | None, ir.Value]:
    """The head and the embedding; no head where the named embedding feeds no linear output."""
    if pooling is not None:
        embedding = pooled(model, embedding, pooling).name
    found = find_head(model, logits) if embedding is None else head_at(model, embedding, logits)
    if found is not None:
        return found, found.source
    return None, value_named(model.graph, embedding or "")


def embedding_info(embedding: ir.Value, found: Head | None) -> TensorInfo:
    """The embedding as the head sees it: one row of neurons per sample."""
    info = info_of(embedding)
    plain = found is not None and found.region.plain is not None
    if found is None or (plain and found.reads_rows and info.shape is not None):
        return info
    batch = info.shape[0] if info.shape else None
    name = info.name if plain or found.reads_rows else EMBEDDING
    dtype = "float32" if found.region.sources[0].scale else info.dtype
    return replace(info, name=name, dtype=dtype, shape=(batch, found.region.weight.shape[1]))


PREPROCESSING = "ntkit.inputs"


class ReadModel:
    """A model as it was read. See :class:`FrozenModel`."""

    def __init__(self, parts: Parts) -> None:
        found, model = parts.found, parts.model
        self._parts = parts
        self._found = found
        self._model = model
        self.path, self.folder, self.matched_by = parts.path, parts.folder, parts.matched_by
        self.located_by: dict[str, str | None] = {**dict.fromkeys(PLACES), **parts.located_by}
        self.metadata = dict(model.metadata_props)
        if not all(isinstance(text, str) for pair in self.metadata.items() for text in pair):
            raise ModelError(f"{parts.path or 'The model'} has metadata that are not text.")
        self.embedding = embedding_info(parts.embedding, found)
        self.logits = info_of(found.logits) if found else None
        self.logit_scale = found.after.scale if found else 1.0
        inputs = tuple(info_of(v) for v in model.graph.inputs if not v.is_initializer())
        self.inputs = _with_columns(inputs, self.metadata, self.embedding)
        self.outputs = tuple(info_of(v) for v in model.graph.outputs)
        self._names = parts.names if parts.names is not None else self._known_names()
        self.class_names = self._names.names
        self.has_class_names = parts.classes is not None or self.class_names is not None
        self.classes_source = "given" if parts.classes is not None else self._names.source
        self.head = self._read_head(parts.classes) if found else None

    def with_columns_of(self, other: ReadModel) -> Self:
        """Return this model, which names no columns, with those that another of its inputs names.

        Parameters
        ----------
        other : ReadModel
            What may take this model's place.

        Returns
        -------
        ReadModel
            This model where either takes other inputs, or it names columns itself.
        """
        names = [info.columns for info in other.inputs]
        if not self.takes_inputs_of(other) or any(info.columns for info in self.inputs):
            return self
        named = object.__new__(type(self))
        named.__dict__.update(self.__dict__)
        named.inputs = tuple(
            replace(info, columns=columns) for info, columns in zip(self.inputs, names, strict=True)
        )
        return named

    def takes_inputs_of(self, other: ReadModel) -> bool:
        """Tell whether inputs have the names, types and sides of another model's, and its columns.

        Parameters
        ----------
        other : ReadModel
            The other model.

        Returns
        -------
        bool
            Columns that one of the two does not name contradict nothing.
        """
        return len(self.inputs) == len(other.inputs) and all(
            _signature(one) == _signature(two)
            and (one.columns == two.columns or None in (one.columns, two.columns))
            for one, two in zip(self.inputs, other.inputs, strict=True)
        )

    def _read_head(self, classes: Any) -> LinearHead:
        found = self._found
        if found is None:
            raise HeadNotFoundError("The model has no head.")
        if not np.isfinite(found.weight).all() or not np.isfinite(found.bias).all():
            raise ModelError(
                f"The head of {self.path or 'the model'} ({found.region.kind}, "
                f"{found.logits.name!r}) has NaN or infinite weights; export the model again."
            )
        n_classes = max(2, len(found.weight))
        if classes is None:
            classes = np.arange(n_classes) if self.class_names is None else self.class_names
        labels = np.asarray(classes)
        if labels.shape != (n_classes,):
            raise InputError(
                f"The model's head tells {n_classes} classes apart, but {labels.size} class "
                "labels were given."
            )
        return LinearHead(found.weight, found.bias, labels)

    def _known_names(self) -> ClassNames:
        if self._found is None:
            return ClassNames()
        n_classes = max(2, len(self._found.weight))
        return names_of(n_classes, self.metadata, self.path, self._found.after.labels)

    @property
    def not_single_label(self) -> str | None:
        """Why the head is none that chooses one class for each sample; None if it may be one."""
        said, where = problem_type(self.metadata, self.path) or ("", "")
        fix = "; debias retrains heads that choose one class for each sample."
        if self.head is None or said == "single_label_classification":
            return None
        if said == "regression":
            return f"The model's head is a regression, as {where} says{fix}"
        if self.scores_each_class_alone:
            said, where = "multi_label_classification", "its Sigmoid for each of them"
        if said != "multi_label_classification":
            return None
        return (
            f"The model scores each of its {self.head.n_logits} labels on its own, for samples "
            f"that may have several, as {where} says{fix} If each of your samples has one label, "
            "export the model with a Softmax, or with neither"
            f"{' and without that entry' * (where != 'its Sigmoid for each of them')}."
        )

    @property
    def scores_each_class_alone(self) -> bool:
        """Whether several logits go through a Sigmoid each, as for samples of several labels."""
        found = self._found
        return bool(found and len(found.weight) > 1 and "Sigmoid" in found.after.post_processing)

    @property
    def classes_from_graph(self) -> bool:
        """Whether the graph itself maps its scores to the class labels."""
        return self.labels_in_graph is not None

    @property
    def labels_in_graph(self) -> tuple[Any, ...] | None:
        """Labels that the graph maps its scores to, in the order of the logits, if it does."""
        return None if self._found is None else self._found.after.labels

    @property
    def opset_imports(self) -> dict[str, int]:
        """Operator set version of each domain."""
        return dict(self._model.opset_imports)

    @property
    def ir_version(self) -> int:
        """ONNX IR version of the file."""
        return int(self._model.ir_version)

    @property
    def nodes(self) -> tuple[tuple[str, str], ...]:
        """(name, operator) of every node, in order."""
        return tuple((node.name or "", node.op_type) for node in self._model.graph)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the model is read from: its own, and those of its external data."""
        own = () if self.path is None else (self.path,)
        return (*own, *external_files(self._model))

    def names_in_metadata(self) -> dict[str, tuple[Any, ...]]:
        """Names of classes in the file's metadata, by key, other than ntkit's own.

        Returns
        -------
        dict of str to tuple
            In the order of the logits.
        """
        return names_in(self.metadata)

    def sha256(self) -> str:
        """Fingerprint of the file the model was loaded from, or of the model in memory.

        It is the file's own SHA-256; weights kept as external data are hashed with it.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return fingerprint(self._model, self.path)

    def describe(self) -> dict[str, Any]:
        """What was found, as plain values: the content of ``ntkit inspect``.

        Returns
        -------
        dict
            File, signature, embedding, head and classes; None where there is none. ``positions``
            are operators that choose or average pixels or tokens between head and logits;
            ``outputs_from_logits`` are the outputs that change with the head;
            ``quantisation`` is None for a float model.
        """
        classes = self.head.classes.tolist() if self.head else None
        facts = {**file_facts(self._model, self.path), "embedding": str(self.embedding)}
        return {
            **facts,
            **head_facts(self._model, self._found),
            "classes": classes,
            "classes_from": self.classes_source if self.head else None,
            "metadata": {k: v for k, v in self.metadata.items() if not k.startswith("ntkit.")},
            "ntkit": {k: v for k, v in self.metadata.items() if k.startswith("ntkit.")},
        }

    def candidates(self) -> list[dict[str, Any]]:
        """Every layer that might be the head, and why it was taken or passed over.

        Returns
        -------
        list of dict
            ``logits`` (the name that ``--logits`` takes), ``outputs`` that show it, ``layer``,
            ``neurons``, ``n_logits``, ``taken`` and ``reason``; None where there is none.
        """
        return candidate_layers(self._model, self._found)

    def body(self, *, logits: bool = False) -> onnx.ModelProto:
        """Return the model up to the embedding (and the logits), as an ONNX model of its own.

        Large weights in external data stay references to the original's folder.

        Parameters
        ----------
        logits : bool
            Whether the logits become a second output.

        Returns
        -------
        onnx.ModelProto
            Its inputs are those that the embedding is computed from.
        """
        with sound(self.path):
            return body_of(self._model, self._found, self._parts.embedding, logits=logits)

    def tail(self) -> onnx.ModelProto | None:
        """Return what follows the logits, as an ONNX model of its own.

        Returns
        -------
        onnx.ModelProto or None
            From the logits (and what else they need) to the model's outputs; None if no other
            output is computed from the logits.
        """
        with sound(self.path):
            return tail_of(self._model, self._found) if self._found else None

    def to_proto(self) -> onnx.ModelProto:
        """Return the whole model as an ``onnx.ModelProto``.

        Returns
        -------
        onnx.ModelProto
            Weights in external data stay references to :attr:`folder`.
        """
        with sound(self.path):
            return serialised(self._model)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        verify: Callable[[Path], object] | None = None,
    ) -> Path:
        """Write the model; it takes its name only when it is complete and checked.

        Parameters
        ----------
        path : path-like
            Target file. Weights kept as external data are copied to ``NAME.data`` beside it.
        force : bool
            Whether to replace an existing file.
        verify : callable, optional
            Called with the finished file before it takes its name; what it raises stops the
            write. :func:`ntkit.export.save_verified` passes ONNX Runtime's verdict.

        Returns
        -------
        pathlib.Path
            ``path``.

        Raises
        ------
        InputError
            If the file exists and ``force`` is not given, if its folder does not exist, or if
            the model's own weights lie in the file to replace.
        ModelError
            If the model does not pass ONNX's checker.
        """
        return write_model(self._model, Path(path), force=force, verify=verify)


def recorded_preprocessing(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What ntkit wrote into a model of how its inputs are made; nothing where that is damaged."""
    try:
        steps = json.loads(metadata.get(PREPROCESSING, "null"))
    except (ValueError, RecursionError):
        return {}
    return steps if isinstance(steps, dict) else {}


def _signature(info: TensorInfo) -> tuple[Any, ...]:
    """Name and type, and sides that are fixed, but for the number of samples."""
    sides = tuple(side if isinstance(side, int) else None for side in (info.shape or ())[1:])
    return info.name, info.dtype, sides


def _with_columns(
    inputs: tuple[TensorInfo, ...], metadata: Mapping[str, str], embedding: TensorInfo
) -> tuple[TensorInfo, ...]:
    """The one input of a model with the columns that ntkit recorded for it."""
    names = recorded_preprocessing(metadata).get("columns")
    if len(inputs) != 1 or not isinstance(names, list) or not names:
        return inputs
    if not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        return inputs  # not as ntkit writes it
    if metadata.get("ntkit.tensor", embedding.name) != embedding.name:
        return inputs  # a head alone: these are the inputs of the network before it
    return (replace(inputs[0], columns=tuple(names)),)

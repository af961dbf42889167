"""FrozenModel: an ONNX classifier whose last layer can be read and exchanged."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from ntkit.affine import EMBEDDING, taken_apart
from ntkit.class_names import (
    CLASSES,
    ClassNames,
    are_positions,
    matched,
    names_in,
    names_of,
    renamed,
    same_name,
)
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.frozen_model._cut import body_of, tail_of
from ntkit.frozen_model._describe import description
from ntkit.frozen_model._edit import append_head, replace_weights
from ntkit.frozen_model._find_head import find_head, head_at
from ntkit.frozen_model._head import Head
from ntkit.graph import (
    TensorInfo,
    data_folder,
    deserialised,
    external_files,
    extract_between,
    fingerprint,
    info_of,
    inlined_size,
    pooled,
    read_model,
    serialised,
    sound,
    value_named,
    write_model,
)
from ntkit.head import LinearHead

__all__ = ["FrozenModel", "TensorInfo"]

_LOCATED_BY = "ntkit.located_by"
_NEW_HEAD = "ntkit.new_head"
_MOST_NODES = 1_000_000


class FrozenModel:
    """An ONNX classifier: its graph as it came, and its last linear layer as a LinearHead.

    Make one with :meth:`load`. It is a value: nothing changes it, :meth:`with_head` returns
    another one.

    Attributes
    ----------
    head : LinearHead or None
        The last layer; None for a backbone without a head.
    embedding : TensorInfo
        What the head reads: one neuron per column.
    logits : TensorInfo or None
        What the head computes.
    logit_scale : float
        Constant factor that the graph applies after the logits (1 in most models); the head
        holds it already.
    inputs, outputs : tuple of TensorInfo
        The model's signature.
    metadata : dict of str to str
        The file's ``metadata_props``.
    has_class_names : bool
        Whether the class labels come from the model, or were given, rather than being the
        positions 0 … C-1.
    class_names : tuple or None
        What the model itself calls its classes, in the order of the logits; None where it does
        not. :attr:`head` may hold other labels, as by :meth:`matched_to`.
    classes_source : str
        Where the head's classes come from: "given", a place such as "config.json (id2label)", or
        "positions".
    matched_by : str or None
        How :meth:`matched_to` matched labels with the classes, where they were not the same.
    path : pathlib.Path or None
        The file it was loaded from; None for a model made in memory, as by :meth:`with_head`.
    folder : pathlib.Path or None
        Where weights kept as external data lie.
    located_by : dict of str to str or None
        ``logits``, ``embedding`` and ``pooling`` as they were given to :meth:`load`.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> model.head.classes
    array([0, 1])
    >>> print(model.inputs[0])
    image (batch, 1, 20, 20) float32
    """

    def __init__(
        self,
        model: ir.Model,
        found: Head | None,
        embedding: ir.Value,
        *,
        classes: Any = None,
        names: ClassNames | None = None,
        matched_by: str | None = None,
        path: Path | None = None,
        folder: Path | None = None,
        located_by: Mapping[str, str | None] | None = None,
    ) -> None:
        self._model = model
        self._found = found
        self._embedding = embedding
        self.path = path
        if folder is None and path is not None:
            folder = path.parent.resolve()
        self.folder = folder
        asked = {"logits": None, "embedding": None, "pooling": None}
        self.located_by: dict[str, str | None] = {**asked, **(located_by or {})}
        self.metadata = dict(model.metadata_props)
        if not all(isinstance(text, str) for pair in self.metadata.items() for text in pair):
            raise ModelError(f"{path or 'The model'} has metadata that are not text.")
        self.embedding = _embedding_info(embedding, found)
        self.logits = info_of(found.logits) if found else None
        self.logit_scale = found.after.scale if found else 1.0
        self.inputs = tuple(info_of(v) for v in model.graph.inputs if not v.is_initializer())
        self.outputs = tuple(info_of(v) for v in model.graph.outputs)
        self._names = names if names is not None else self._known_names()
        self.class_names = self._names.names
        self.has_class_names = classes is not None or self.class_names is not None
        self.classes_source = "given" if classes is not None else self._names.source
        self.matched_by = matched_by
        self.head = self._read_head(classes) if found else None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        logits: str | None = None,
        embedding: str | None = None,
        pooling: str | None = None,
        classes: Any = None,
    ) -> FrozenModel:
        """Read an ONNX file and find its head.

        Parameters
        ----------
        path : path-like
            The ONNX file; external data are mapped, not read.
        logits : str, optional
            Name of the logits, where several linear layers end in an output.
        embedding : str, optional
            Name of the embedding; needed for a backbone without a head.
        pooling : {"cls", "mean"}, optional
            For an ``embedding`` of one vector per token, (N, T, D): the graph gets operators that
            take the first token, or the mean over those that the input ``attention_mask`` shows
            (or the one input with "mask" in its name; all tokens where there is none), and the
            embedding is what they compute. A head that the model has on the tokens themselves is
            left alone and not shown: a pooled backbone asks for a new head.

            A file that ntkit wrote holds these three names; without any given, they are used.
        classes : array-like of shape (C,), optional
            Class labels in the order of the logits. By default what the model calls them, else
            0 … C-1. Names are looked for in this order: labels that the graph maps its scores to;
            the file's metadata ``ntkit.classes``, ``names`` (as Ultralytics writes them),
            ``id2label``, ``class_names``, ``classes`` or ``labels``; beside the file (and above a
            folder ``onnx``) ``id2label`` (Hugging Face) or ``label_names`` (timm) in a
            ``config.json``; a ``labels.txt`` or ``classes.txt`` with a name per line.
            ``LABEL_0``, ``LABEL_1``, … are not names. :attr:`classes_source` says which it was.

        Returns
        -------
        FrozenModel
            Its ``head`` is None where ``embedding``, pooled if so asked, feeds no linear layer
            that ends in an output.

        Raises
        ------
        ModelError
            If the file is not an ONNX model, or its head has NaN or infinite weights.
        HeadNotFoundError
            If no linear last layer is found, or more than one, or no tensor has the name given.
        InputError
            If ``classes`` are not as many as the head's, or there is nothing to pool.

        Warns
        -----
        UserWarning
            If names of classes are found that are not as many as the head's classes, not all
            different, or in another order than those used.
        """
        path = Path(path).absolute()
        model = read_model(path)
        given = {"logits": logits, "embedding": embedding, "pooling": pooling}
        with sound(path):
            model, found, value, located_by = _in_sight(model, given)
            loaded = cls(
                model,
                found,
                value,
                classes=classes,
                path=path,
                folder=data_folder(model),
                located_by=located_by,
            )
        for sentence in loaded._names.warnings if classes is None else ():
            warnings.warn(f"{path.name}: {sentence}", UserWarning, stacklevel=2)
        return loaded

    # -- reading ----------------------------------------------------------------------------

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
    def scores_each_class_alone(self) -> bool:
        """Whether several logits go through a Sigmoid each, as for samples of several labels."""
        found = self._found
        several = found is not None and len(found.weight) > 1
        return several and "Sigmoid" in found.after.post_processing  # type: ignore[union-attr]

    @property
    def classes_from_graph(self) -> bool:
        """Whether the graph itself maps its scores to the class labels."""
        return self._found is not None and self._found.after.labels is not None

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
        head, found = self.head, self._found
        return {
            **description(self._model, self.path),
            "inputs": [str(i) for i in self.inputs],
            "outputs": [str(o) for o in self.outputs],
            "embedding": str(self.embedding),
            "neurons": head.n_neurons if head else None,
            "silent_neurons": int((head.coef == 0).all(axis=0).sum()) if head else None,
            "head": found.region.kind if found else None,
            "logits": str(self.logits) if self.logits else None,
            "outputs_from_logits": self._outputs_from_logits(),
            "positions": [node.op_type for node in found.positions] if found else [],
            "post_processing": list(found.after.post_processing) if found else [],
            "classes": head.classes.tolist() if head else None,
            "classes_from": self.classes_source if head else None,
            "metadata": {k: v for k, v in self.metadata.items() if not k.startswith("ntkit.")},
            "ntkit": {k: v for k, v in self.metadata.items() if k.startswith("ntkit.")},
        }

    def _outputs_from_logits(self) -> list[str]:
        found = self._found
        part = extract_between(self._model.graph, found.logits) if found else None
        return [] if part is None else [value.name or "" for value in part.outputs]

    def __repr__(self) -> str:
        name = self.path.name if self.path else "in memory"
        return f"FrozenModel({name}, embedding={self.embedding.name!r}, head={self.head!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        return self  # a value: scikit-learn's clone may share it

    def __reduce__(self) -> tuple[Any, ...]:
        classes = self.head.classes if self.head is not None else None
        proto = self.to_proto().SerializeToString()
        named = (classes if self.classes_source == "given" else None, self._names, self.matched_by)
        return _restored, (proto, self.located_by, named, self.path, self.folder)

    # -- cutting ----------------------------------------------------------------------------

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
            return body_of(self._model, self._found, self._embedding, logits=logits)

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

    # -- exchanging the head ----------------------------------------------------------------

    def with_head(
        self, head: LinearHead, *, provenance: Mapping[str, str] | None = None
    ) -> FrozenModel:
        """Return the model with another head in place of its own.

        With as many classes as before only the head's initialisers change: node list, names,
        inputs, outputs, opset and IR version stay. A head of more operators than a plain layer has
        becomes one Gemm. With another number of classes the width of
        the logits changes with it; a backbone gets a Gemm and an output ``logits``.

        Parameters
        ----------
        head : LinearHead
            Its rows may be in another order than the model's; a single sigmoid logit z becomes
            [0, z] in a model with two logits.
        provenance : mapping of str to str, optional
            Written to the file's metadata as ``ntkit.KEY``.

        Returns
        -------
        FrozenModel
            A model in memory; :meth:`save` writes it.

        Raises
        ------
        InputError
            If the head reads another number of neurons, the graph maps indices to labels that
            are not the head's or does not take its number of logits, or its weights are too
            large for the model's precision.
        """
        with sound(self.path):
            return self._with_head(head, provenance)

    def _with_head(self, head: LinearHead, provenance: Mapping[str, str] | None) -> FrozenModel:
        if self.head is not None and head == self.head:
            return self._exchanged(self._model.clone(), head, provenance)  # to the last bit
        width = self.head.n_neurons if self.head is not None else self._embedding_width()
        if width is not None and head.n_neurons != width:
            raise InputError(
                f"The head reads {head.n_neurons} neurons, but the model's embedding "
                f"{self.embedding.name!r} has {width}."
            )
        head = self._fitted_to_model(head)
        model = self._model.clone()
        found, value = _located(model, **self.located_by)
        if found is None:
            append_head(model.graph, value, head.coef, head.intercept)
        else:
            replace_weights(model, found, head.coef, head.intercept)
        return self._exchanged(model, head, provenance)

    def _exchanged(
        self, model: ir.Model, head: LinearHead, provenance: Mapping[str, str] | None
    ) -> FrozenModel:
        try:
            found, value = _located(model, **self.located_by)
        except HeadNotFoundError as error:
            raise InputError(
                f"The model's graph does not take a head of {head.n_logits} logits of "
                f"{head.n_neurons} neurons: {str(error).split('. Name the')[0]}."
            ) from error
        if found is not None and not _holds(found, head):
            raise ModelError(
                f"The head read back from the edited graph ({found.region.kind}, "
                f"{found.logits.name!r}) is not the one put in; name the right one with "
                "--logits NAME (logits= in Python)."
            )
        model.metadata_props.pop(_NEW_HEAD, None)  # it was said of the head before this one
        for key, text in (provenance or {}).items():
            model.metadata_props[f"ntkit.{key}"] = text
        kept = self._keeps_names(head)
        named = self.class_names if kept and are_positions(head.classes.tolist()) else None
        model.metadata_props[CLASSES] = json.dumps(list(named or head.classes.tolist()))
        if not kept:
            model.metadata_props.update(renamed(self.metadata, head.classes.tolist()))
        model.metadata_props.pop(_LOCATED_BY, None)
        if any(self.located_by.values()):
            model.metadata_props[_LOCATED_BY] = json.dumps(self.located_by)
        return FrozenModel(
            model,
            found,
            value,
            classes=head.classes,
            names=self._names if kept else ClassNames(),
            folder=self.folder,
            located_by=self.located_by,
        )

    def _keeps_names(self, head: LinearHead) -> bool:
        """Whether the model's own names stay true of a head's classes, position by position."""
        labels, own = head.classes.tolist(), self.class_names or ()
        if self.head is not None and len(labels) != len(self.head.classes):
            return False
        if self.head is not None and set(labels) == set(self.head.classes.tolist()):
            return True
        same = len(own) == len(labels) and all(map(same_name, own, labels))
        return same or (self.head is not None and are_positions(labels))

    def with_classes(self, classes: Any) -> FrozenModel:
        """Return the same model with its classes named, in the order of the logits.

        Parameters
        ----------
        classes : array-like of shape (C,)
            Class labels.

        Returns
        -------
        FrozenModel
            The same graph.

        Raises
        ------
        InputError
            If the labels are not as many as the head's classes, or one is repeated.
        """
        return self._with_classes(classes, None)

    def _with_classes(self, classes: Any, matched_by: str | None) -> FrozenModel:
        return FrozenModel(
            self._model,
            self._found,
            self._embedding,
            classes=classes,
            names=self._names,
            matched_by=matched_by,
            path=self.path,
            folder=self.folder,
            located_by=self.located_by,
        )

    def matched_to(self, y: Any) -> FrozenModel:
        """Return the model with classes that are the labels of a sample.

        Labels 0 … C-1 of a model that names its classes are their positions. Names match if they
        differ in case, blanks and underscores only. A model that does not name its classes takes
        text labels in sorted order, as image folders are read everywhere. Each of these is said
        in :attr:`matched_by`.

        Parameters
        ----------
        y : array-like of shape (N,)
            Class labels of the samples.

        Returns
        -------
        FrozenModel
            This model, or the same graph with its classes named.

        Raises
        ------
        InputError
            If the labels are not the head's classes (the message says which), or there is no
            head.
        """
        labels = np.unique(y)
        if self.head is None:
            raise InputError(
                "The model has no head; pass --new-head (new_head=True) to give it one."
            )
        found = matched(labels, self.head.classes, named=self.has_class_names)
        return self if found is None else self._with_classes(*found)

    def _fitted_to_model(self, head: LinearHead) -> LinearHead:
        """Rows in the model's order, and one or two logits as the model has them."""
        own = self.head
        if own is None:
            return head.with_logits(len(head.classes))
        same = set(head.classes.tolist()) == set(own.classes.tolist())
        if not same and self._found is not None and self._found.after.labels is not None:
            raise InputError(
                f"The model's graph maps its logits to the labels {own.classes.tolist()[:5]}, but "
                f"the head's classes are {head.classes.tolist()[:5]}; train with the model's own "
                "labels."
            )
        if same:
            order = own.classes if self.has_class_names else np.sort(head.classes)
            head = head.aligned_to(order)
        if own.n_logits == 1 and len(head.classes) == 2:
            if head.n_logits == 1:
                return head
            rows, bias = head.coef, head.intercept
            return LinearHead(rows[1:] - rows[:1], bias[1:] - bias[:1], head.classes)
        return head.with_logits(len(head.classes))

    def _embedding_width(self) -> int | None:
        width = self.embedding.shape[-1] if self.embedding.shape else None
        return width if isinstance(width, int) else None

    # -- writing ----------------------------------------------------------------------------

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


def _in_sight(
    model: ir.Model, located_by: Mapping[str, str | None]
) -> tuple[ir.Model, Head | None, ir.Value, Mapping[str, str | None]]:
    """The model with its head; functions of its own are taken apart if the head is inside one."""
    written = _written_names(model) if not any(located_by.values()) else None
    if written is not None:
        with suppress(HeadNotFoundError, InputError):  # edited since
            return (model, *_located(model, **written), written)
    try:
        return (model, *_located(model, **located_by), located_by)
    except HeadNotFoundError:
        apart = taken_apart(model)
        if apart is not None:
            return (apart, *_located(apart, **located_by), located_by)
        if not model.functions:
            raise
    if inlined_size(model) > _MOST_NODES:
        raise ModelError(
            f"The model's own functions call each other so often that it would have more than "
            f"{_MOST_NODES} nodes; export it without functions."
        )
    inlined = InlinePass()(model).model
    return (inlined, *_located(inlined, **located_by), located_by)


def _written_names(model: ir.Model) -> dict[str, str | None] | None:
    """Names of logits, embedding and pooling that ntkit wrote into a file."""
    try:
        found = json.loads(model.metadata_props.get(_LOCATED_BY, "null"))
    except (ValueError, RecursionError, TypeError):
        return None
    names = ("logits", "embedding", "pooling")
    whole = isinstance(found, dict) and found.keys() == set(names)
    whole = whole and all(value is None or isinstance(value, str) for value in found.values())
    return {name: found[name] for name in names} if whole else None


def _located(
    model: ir.Model, logits: str | None, embedding: str | None, pooling: str | None
) -> tuple[Head | None, ir.Value]:
    """The head and the embedding; no head where the named embedding feeds no linear output."""
    if pooling is not None:
        embedding = pooled(model, embedding, pooling).name
    found = find_head(model, logits) if embedding is None else head_at(model, embedding, logits)
    if found is not None:
        return found, found.source
    return None, value_named(model.graph, embedding or "")


def _holds(found: Head, head: LinearHead) -> bool:
    """Whether a graph holds a head, to the precision of its weights."""
    if found.weight.shape != head.coef.shape:
        return False
    given = np.column_stack([head.coef, head.intercept]).astype(np.float64)
    held = np.column_stack([found.weight, found.bias]).astype(np.float64)
    return bool(np.abs(held - given).max() <= 1e-2 * np.abs(given).max())


def _embedding_info(embedding: ir.Value, found: Head | None) -> TensorInfo:
    """The embedding as the head sees it: one row of neurons per sample."""
    info = info_of(embedding)
    plain = found is not None and found.region.plain is not None
    if found is None or (plain and found.reads_rows and info.shape is not None):
        return info
    batch = info.shape[0] if info.shape else None
    name = info.name if plain or found.reads_rows else EMBEDDING
    dtype = "float32" if found.region.sources[0].scale else info.dtype
    return replace(info, name=name, dtype=dtype, shape=(batch, found.region.weight.shape[1]))


def _restored(
    proto: bytes,
    located_by: dict[str, str | None],
    named: tuple[Any, ClassNames, str | None],
    path: Path | None,
    folder: Path | None,
) -> FrozenModel:
    model = deserialised(onnx.load_from_string(proto))
    if folder is not None:
        ir.external_data.set_base_dir(model.graph, folder)
    found, value = _located(model, **located_by)
    classes, names, matched_by = named
    return FrozenModel(
        model,
        found,
        value,
        classes=classes,
        names=names,
        matched_by=matched_by,
        path=path,
        folder=folder,
        located_by=located_by,
    )

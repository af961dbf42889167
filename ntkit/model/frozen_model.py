"""FrozenModel: an ONNX classifier whose last layer can be read and replaced."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from ntkit._doc import documented
from ntkit._shown import InNotebook, NotebookView, ShownTable
from ntkit._text import listed
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.graph.files import (
    data_folder,
    deserialised,
    external_files,
    model_file,
    model_fingerprint,
    read_model,
    serialised,
    sound,
    write_model,
)
from ntkit.graph.tensors import TensorInfo, info_of, outputs_after, tensor_named
from ntkit.head import LinearHead
from ntkit.model._edit import (
    append_head,
    declare_outputs,
    fitted,
    keeps_names,
    read_back,
    replace_row,
    replace_weights,
)
from ntkit.model._head_search import (
    PROBABILITIES,
    Head,
    candidate_layers,
    is_stacked,
    label_heads,
    other_decision,
    thresholds_after,
)
from ntkit.model._read_model import (
    LOCATED_BY,
    PLACES,
    body_graph,
    body_of,
    embedding_info,
    file_facts,
    head_facts,
    in_clone,
    in_sight,
    located,
    model_of,
    tail_of,
)
from ntkit.model.class_names import (
    CLASSES,
    SEVERAL,
    THRESHOLDS,
    ClassNames,
    Facts,
    Label,
    are_positions,
    class_names_of,
    label_named,
    matched_classes,
    parsed_json,
    read_facts,
    renamed,
    why_one_class,
    with_thresholds,
)
from ntkit.model.layers import Layer, layers_of
from ntkit.model.scores import COMMANDS, SCORES, NoScores, Scores, add_rounded, add_scores

PREPROCESSING = "ntkit.preprocessing"
_NEW_HEAD = "ntkit.new_head"
_LABEL = "ntkit.label"
_OF_ROUNDING = 1e-5  # of probabilities in float32
_EACH = "its Sigmoid for each of them"
_EACH_OWN = "The model has a layer for each of {} labels, and these read different tensors."
_EACH_LAYER = "each of {} labels independently (a layer each)"
_EACH_SCORE = "each of {} labels independently (a score each)"
_NO_NAMES = "one of {0} classes, or perhaps {0} regressions (no names of classes, no softmax)"
_QUANTISING = {
    "DynamicQuantizeLinear": "dynamic",
    "MatMulInteger": "dynamic",
    "MatMulNBits": "weights only",
    "QuantizeLinear": "static (QDQ)",
    "DequantizeLinear": "weights only",
}


@dataclass(frozen=True)
class Known:
    """What is known of a model besides its graph and its head."""

    names: ClassNames | None = None  # of the classes; None: to be read from the model's files
    classes: Any = None  # names that a user gives, or those of a new head
    matched_by: str | None = None
    label: Label | None = None  # the one label that the model stands for, of several
    apart: Mapping[str, str] = field(default_factory=dict)  # logits of labels with a layer each
    heads: Callable[[], Mapping[str, Head]] | None = None  # of these labels in the graph
    scores: Scores | None = None
    columns: Sequence[tuple[str, ...] | None] = ()  # of the inputs, named by a model alike
    path: Path | None = None
    folder: Path | None = None
    facts: Facts | None = None  # of the model's files; None: to be read
    digest: bytes | None = None  # SHA-256 of the file
    sha256: Callable[[], str] | None = None  # of the model with its external data


@documented
class FrozenModel(InNotebook):
    """An ONNX classifier: its unchanged graph, and its last linear layer as a LinearHead.

    Make one with :meth:`load`. It is immutable: :meth:`with_head` returns a new one.

    Attributes
    ----------
    head : LinearHead or None
        The last layer; None for a backbone without a head.
    embedding, logits : TensorInfo
        Input of the head, with one neuron per column, and its output (or None).
    logit_scale : float
        Constant factor that the graph applies after the logits (1 in most models); the head
        includes it.
    inputs, outputs : tuple of TensorInfo
        The model's signature.
    n_neurons : int or None
        Width of the embedding; None if the model does not declare it.
    nodes : tuple of (str, str)
        Name and operator of every node, in order.
    metadata : dict of str to str
        The file's ``metadata_props``.
    opset_imports : dict of str to int
        Operator set version of each domain.
    ir_version : int
        ONNX IR version of the file.
    label_names : tuple of str
        Names of the labels of a model that gives every sample several; else empty.
    not_single_label : str or None
        Reason why the model does not choose one class (a regression, or several labels), or None.
    threshold : tuple of (float, str) or None
        Threshold of the one label, and its source ("of metadata 'thresholds'").
    labels_in_graph : tuple or None
        Labels that the graph maps its scores to, in the order of the logits, if it does.
    labels_apart : bool
        Whether each of several labels has a layer of its own, rather than a row of one head.
    has_class_names : bool
        Whether the class labels come from the model or a user, rather than being positions 0 … C-1.
    class_names : tuple or None
        Names of the classes in the model itself, in the order of the logits; None without names.
        :attr:`head` may have other labels, as by :meth:`matched_to`.
    classes_source : str
        Source of the head's classes: "given", a place such as "config.json (id2label)", or
        "positions".
    matched_by : str or None
        How :meth:`matched_to` matched labels with the classes, if they were not equal, or whose
        names they are assumed to have.
    scores : Scores or None
        The outputs that stand for the embedding of a model without a linear last layer, read with
        ``any_scores``; its head is then the identity, and cannot be replaced.
    path, folder : pathlib.Path or None
        File that it was loaded from, None for a model made in memory, as by :meth:`with_head`; and
        the folder of its external data.
    located_by : dict of str to str or None
        ``logits``, ``embedding`` and ``pooling`` as passed to :meth:`load`.

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
        head: Head | None,
        embedding: ir.Value,
        located_by: Mapping[str, str | None],
        known: Known,
    ) -> None:
        self._model, self._head, self._source = model, head, embedding
        self.path, self.folder, self.matched_by = known.path, known.folder, known.matched_by
        self.scores = known.scores
        self.located_by: dict[str, str | None] = {**dict.fromkeys(PLACES), **located_by}
        self.metadata = dict(model.metadata_props)
        facts = known.facts or read_facts(self.metadata, self.path)
        self.embedding = embedding_info(embedding, head)
        self.logits = info_of(head.logits) if head else None
        self.logit_scale = head.after.scale if head else 1.0
        self.inputs = _inputs_of(model.graph, self.metadata, self.embedding.name, known.columns)
        self.outputs = tuple(info_of(v) for v in model.graph.outputs)
        self.nodes = tuple((node.name or "", node.op_type) for node in model.graph)
        self.opset_imports = dict(model.opset_imports)
        self.ir_version = int(model.ir_version)
        # Copies share the fingerprint and the heads of labels, and the facts until their metadata
        # change.
        heads = known.heads or cache(partial(label_heads, model))
        sha256 = known.sha256 or cache(partial(model_fingerprint, model, known.digest))
        names = known.names or _names_of_classes(head, self.scores, facts)
        self._known = known = replace(known, names=names, facts=facts, heads=heads, sha256=sha256)
        self._facts = facts
        self.label, self.threshold, self.labels_in_graph = None, None, None
        if known.label is not None:
            self.label = known.label.name
            self.threshold = known.label.threshold, known.label.source
            names = ClassNames(known.label.classes, names.source)
        elif head is not None:
            self.labels_in_graph = head.after.labels
        self.labels_apart = bool(known.apart)
        self.class_names = names.names
        self.has_class_names = known.classes is not None or self.class_names is not None
        self.classes_source = "given" if known.classes is not None else names.source
        self.head = _linear_head(head, known, self.class_names)
        several = head is not None and len(head.weight) > 1 and _LABEL in self.metadata
        written = (SEVERAL, f"metadata {_LABEL!r}") if several else (facts.task, facts.task_source)
        self._task = written  # and its source; empty if no file says it
        self.label_names, self.not_single_label = _labels_of(head, known, *self._task)
        width: Any = self.embedding.shape[-1] if self.embedding.shape else None
        width = width if self.head is None else self.head.n_neurons
        self.n_neurons: int | None = width if isinstance(width, int) else None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        logits: str | None = None,
        embedding: str | None = None,
        pooling: str | None = None,
        classes: Any = None,
        label: str | None = None,
        any_scores: bool = False,
    ) -> FrozenModel:
        """Read an ONNX file and find its head.

        Parameters
        ----------
        path : path-like
            The ONNX file, or a folder with ``model.onnx`` or ``onnx/model.onnx``; external data are
            memory-mapped.
        logits : str, optional
            Name of the logits, if several linear layers end in an output.
        embedding : str, optional
            Name of the embedding; needed for a backbone without a head.
        pooling : {"cls", "mean"}, optional
            For an ``embedding`` of one vector per token, (N, T, D): operators are added to the
            graph that take the first token, or the mean over unmasked tokens. The mask is the input
            ``attention_mask``, or the one input with "mask" in its name; without one all tokens
            count. The result is the embedding. A head of the model on the tokens themselves is
            ignored: a pooled backbone needs a new head. A file that ntkit wrote has these three
            names, which are the defaults.
        classes : array-like of shape (C,), optional
            Class labels in the order of the logits. By default the model's names, else 0 … C-1.
            ntkit looks for names in this order. First, labels that the graph maps its scores to.
            Second, the file's metadata ``ntkit.classes``, ``names`` (as Ultralytics writes them),
            ``id2label``, ``class_names``, ``classes`` or ``labels``. Third, next to the file (or in
            the parent of a folder ``onnx``), ``id2label`` (Hugging Face) or ``label_names`` (timm)
            in a ``config.json``. Last, a ``labels.txt`` or ``classes.txt`` with a name per line.
            ``LABEL_0``, ``LABEL_1``, … are not names. :attr:`classes_source` names the source.
        label : str, optional
            One label of a model that gives every sample several, as in :meth:`of_label`.
        any_scores : bool, default=False
            Read a model as well whose classes are not those of a linear last layer: decision trees,
            a support vector machine, a pipeline, labels by a threshold. It needs an output with a
            score for each class or label, or with the label. :func:`ntkit.audit_model`,
            :func:`ntkit.check` and :func:`ntkit.predict` take such a model. ``logits`` then names
            the output.

        Returns
        -------
        FrozenModel
            Its ``head`` is None if ``embedding`` is not the input of a linear layer that leads to
            an output.

        Raises
        ------
        ModelError
            If the file is not an ONNX model, its head has NaN or infinite weights, or a folder does
            not contain exactly one model.
        HeadNotFoundError
            If there is no linear last layer, or more than one, or no tensor has the name that you
            passed.
        InputError
            If the number of ``classes`` is not the head's, or there is nothing to pool.

        Warns
        -----
        UserWarning
            If the names of classes do not have the number of the head's classes, are not unique, or
            are in another order than those in use. If there are thresholds, and the model chooses
            one class.
        """
        path = model_file(Path(path).absolute())
        places = {"logits": logits, "embedding": embedding, "pooling": pooling}
        loaded = _located_in(*read_model(path), path, places, classes, label, any_scores)
        _warn_of_names(loaded, label, stacklevel=3)
        return loaded if label is None else loaded.of_label(label)

    def __repr__(self) -> str:
        name = self.path.name if self.path else "in memory"
        return f"FrozenModel({name}, embedding={self.embedding.name!r}, head={self.head!r})"

    def _shown(self) -> NotebookView:
        facts = {
            "file": "in memory" if self.path is None else str(self.path),
            "embedding": self.embedding.name,
            "head": "none" if self.head is None else repr(self.head),
        }
        if self.label is not None:
            facts["label"] = self.label
        rows = [["", ""], *([name, value] for name, value in facts.items())]
        name = self.path.name if self.path else "in memory"
        return NotebookView([f"FrozenModel {name}"], [ShownTable(rows)])

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        return self  # immutable: scikit-learn's clone may share it

    def __reduce__(self) -> tuple[Any, ...]:
        proto = self.to_proto().SerializeToString()
        return _restored, (proto, self.located_by, replace(self._known, heads=None, sha256=None))

    def with_head(
        self, head: LinearHead, *, provenance: Mapping[str, str] | None = None
    ) -> FrozenModel:
        """Copy of the model with another head, in memory; :meth:`save` writes it.

        If the number of classes is the same, only the head's initialisers change: node list, names,
        inputs, outputs, opset and IR version stay. A head of more operators than a plain layer
        becomes one Gemm. With another number of classes, the width of the logits changes. A
        backbone gets a Gemm and an output ``logits``.

        Parameters
        ----------
        head : LinearHead
            New head. Its rows may be in another order than the model's; a single sigmoid logit z
            becomes [0, z] in a model with two logits.
        provenance : mapping of str to str, optional
            Entries for the file's metadata, written as ``ntkit.KEY``.

        Raises
        ------
        InputError
            If the head reads another number of neurons, its classes are numbers although those of
            the model have names, the graph maps indices to other labels or does not accept its
            number of logits, or its weights are too large for the model's precision.
        """
        with sound(self.path):
            if self.scores is not None:
                raise InputError("The model has no linear last layer to replace.")
            model, label = self._model.clone(), self._known.label
            if self.head is None or head != self.head:  # else the same to the last bit
                if self.labels_apart and label is None:
                    raise InputError(str(self.not_single_label))
                if self.n_neurons not in (None, head.n_neurons):
                    raise InputError(
                        f"The head reads {head.n_neurons} neurons, but the model's embedding "
                        f"{self.embedding.name!r} has {self.n_neurons}."
                    )
                in_graph = self.labels_in_graph is not None
                head = fitted(head, self.head, named=self.has_class_names, in_graph=in_graph)
                old, embedding = in_clone(model, self._model, self._head, self._source)
                if old is None:
                    append_head(model.graph, embedding, head.coef, head.intercept)
                elif label is not None:
                    rows = with_row(self, head)
                    replace_row(model, old, label.row, rows.coef, rows.intercept)
                else:
                    replace_weights(model, old, head.coef, head.intercept)
            declare_outputs(model)
            facts = {f"ntkit.{key}": text for key, text in (provenance or {}).items()}
            if label is not None:
                return _with_new_row(self, model, label, head, facts)
            return _with_new_head(self, model, head, facts)

    def with_provenance(self, facts: Mapping[str, str]) -> FrozenModel:
        """The same model with these facts (keys begin with ``ntkit.``) in ntkit's metadata."""
        model = self._model.clone()
        for key in [key for key in model.metadata_props if key.startswith("ntkit.")]:
            del model.metadata_props[key]
        model.metadata_props.update(facts)
        parts = in_clone(model, self._model, self._head, self._source)
        return self._changed(
            (model, *parts), path=None, facts=None, heads=None, digest=None, sha256=None
        )

    def with_classes(self, classes: Any, *, matched_by: str | None = None) -> FrozenModel:
        """The same model with names of its classes, (C,), in the order of the logits.

        :attr:`matched_by` is the sentence ``matched_by``, if the names are assumed.

        Raises an InputError if their number is not the head's, or one is repeated.
        """
        return self._changed(classes=classes, matched_by=matched_by)

    def matched_to(self, y: Any) -> FrozenModel:
        """Match the model's classes with the labels ``y`` of samples, shape (N,).

        Labels 0 … C-1 are positions of named classes. Names match if they differ only in case,
        spaces and underscores. If the model does not name its classes, they are the text labels in
        sorted order, as for image folders. :attr:`matched_by` names the rule.

        Raises
        ------
        InputError
            If the labels are not the head's classes (the message names them), or there is no head.
        """
        labels = np.unique(y)
        if self.head is None:
            raise InputError(
                "The model has no head; pass --new-head (new_head=True) to give it one."
            )
        match = matched_classes(labels, self.head.classes, named=self.has_class_names)
        return self if match is None else self._changed(classes=match[0], matched_by=match[1])

    def _changed(
        self, parts: tuple[ir.Model, Head | None, ir.Value] | None = None, **changes: Any
    ) -> FrozenModel:
        """Copy the model with another graph or other attributes."""
        parts = parts or (self._model, self._head, self._source)
        return FrozenModel(*parts, self.located_by, replace(self._known, **changes))

    @property
    def thresholds(self) -> dict[str, float]:
        """Probability above which the model gives each label, by name; empty without labels."""
        return {label.name: label.threshold for label in _with_thresholds(self, self.label_names)}

    def of_label(self, name: Any) -> FrozenModel:
        """The same model as a binary classifier of one of its labels.

        Its :attr:`head` has one logit, which is positive above the model's threshold for the label:
        that of its graph, or the entry ``thresholds`` or ``threshold`` (a number, a list, or a
        number for each name) of the metadata or ``config.json``, else 0.5. :meth:`with_head`
        replaces the label's row of the model's head; all other rows stay as they are, to the bit.
        :attr:`whole` is the model with all labels.

        If nothing in the file says whether its logits are labels or classes, the name of a label
        says that they are labels.

        Parameters
        ----------
        name : str
            The label, by its name in the model, or by its position if the model names none. With
            a layer for each label it is the name of an output.

        Raises
        ------
        InputError
            If the model has no such label, or gives every sample only one.
        """
        names = self.label_names
        if not names:
            problem = why_one_class(self._head, *self._task)
            if problem is not None or self._head is None:
                raise InputError(f"{problem}, so it has no label {name!r}; leave --label out.")
            names = _names_of_rows(len(self._head.weight), self._known)
        by_logits = {logits: label for label, logits in self._known.apart.items()}
        labels = _with_thresholds(self, names)
        wanted = by_logits.get(str(name), name)
        label = label_named(wanted, labels, of=name_of(self, "The model"))
        if not self.labels_apart:
            all_names, given = self._known.names, self._known.classes
            if given is not None and self.label is None:
                all_names = ClassNames(tuple(given), "given")
            return self._changed(label=label, names=all_names, classes=None, matched_by=None)
        known = replace(self._known, names=ClassNames(), classes=None, matched_by=None)
        known = replace(known, label=replace(label, row=0, alone=True))
        places = {"logits": self._known.apart[label.name]}
        assert self._known.heads is not None
        with sound(self.path):
            heads = {head.logits.name: head for head in self._known.heads().values()}
        head = heads[places["logits"]]
        return FrozenModel(self._model, head, head.reads[0], places, known)

    @property
    def whole(self) -> FrozenModel:
        """The model with all its labels; the model itself if it was not made by ``of_label``."""
        if self.label is None:
            return self
        return self._changed(label=None, apart={}, classes=None, matched_by=None)

    @property
    def quantisation(self) -> str | None:
        """Kind of quantisation, such as "dynamic"; None for a float model."""
        operators = {node.op_type for node in self._model.graph}
        if any(name.startswith(("QLinear", "QGemm")) for name in operators):
            return "static (QOperator)"
        return next((kind for name, kind in _QUANTISING.items() if name in operators), None)

    @cached_property
    def scales_by_batch(self) -> bool:
        """Whether the network scales numbers by the largest of its batch."""
        nodes = [*RecursiveGraphIterator(body_graph(self._model, self._head, self._source))]
        nodes += [node for each in self._model.functions.values() for node in each.all_nodes()]
        return any(node.op_type.startswith("DynamicQuantize") for node in nodes)

    @property
    def files(self) -> tuple[Path, ...]:
        """The model's files: its own, and those of its external data."""
        file = () if self.path is None else (self.path,)
        return (*file, *external_files(self._model))

    def sha256(self) -> str:
        """Fingerprint, 64 hexadecimal digits, of the file or of the model in memory.

        It is the file's own SHA-256; external data are hashed with it.
        """
        assert self._known.sha256 is not None
        return self._known.sha256()

    def describe(self) -> dict[str, Any]:
        """Everything as plain values: the output of ``ntkit inspect``.

        File, signature, embedding, head and classes; None if there is none. ``positions`` are
        operators between head and logits that choose or average pixels or tokens.
        ``outputs_from_logits`` are the outputs that change with the head. ``labels`` are the labels
        that a sample may have at once, with their thresholds. ``quantisation`` is None for a float
        model.
        """
        several = self.labels_apart and self.label is None
        of_labels = self.scores is not None and self.scores.several
        classes = self.head.classes.tolist() if self.head and not several else None
        labels = _with_thresholds(self, self.label_names)
        return {
            **file_facts(self._model, self.path, self.quantisation),
            "embedding": str(self.embedding),
            **head_facts(self._model, self._head),
            **({"task": _EACH_LAYER.format(len(self._known.apart))} if self.labels_apart else {}),
            **({"task": _EACH_SCORE.format(len(self.label_names))} if of_labels else {}),
            **({"task": _NO_NAMES.format(len(classes or ()))} if may_be_regressions(self) else {}),
            "labels": {label.name: label.threshold for label in labels} or None,
            "thresholds": labels[0].source if labels else None,
            "classes": classes,
            "classes_from": None if classes is None else self.classes_source,
            "metadata": {k: v for k, v in self.metadata.items() if not k.startswith("ntkit.")},
            "ntkit": {k: v for k, v in self.metadata.items() if k.startswith("ntkit.")},
        }

    def candidates(self) -> list[dict[str, Any]]:
        """Every layer that might be the head, and why it was chosen or not.

        Each has ``logits`` (the name for ``--logits``), ``outputs`` that show it, ``layer``,
        ``neurons``, ``n_logits``, ``taken`` and ``reason``; None if there is none.
        """
        layers = candidate_layers(self._model, self._head)
        names = {logits: name for name, logits in self._known.apart.items()}
        for row in layers:
            if (name := names.get(row["logits"])) is not None:
                row["reason"] = f"a label: choose it with --label {name}"
        return layers

    def layers(self, most: int | None = None) -> tuple[Layer, ...]:
        """Readable layers before the embedding: all, or some, spread over the depth."""
        layers = self._layers
        if most is None or not layers:
            return layers
        at = np.unique(np.linspace(0, len(layers) - 1, most).round().astype(int))
        return tuple(layers[i] for i in at)

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        with sound(self.path):
            if self.scores is not None:  # its neurons, if it has any, are not those of a head
                return ()
            body = body_graph(self._model, self._head, self._source)
            return layers_of(model_of(body, self._model).clone())

    def body(self, *, logits: bool = False, layers: Sequence[Layer] = ()) -> onnx.ModelProto:
        """The model up to the embedding (and the logits), as an ONNX model.

        Large weights in external data remain references to the original's folder.

        Parameters
        ----------
        logits : bool
            Whether the logits become a second output.
        layers : sequence of Layer
            Result of :meth:`layers`: means and deviations of their channels become further outputs.
        """
        with sound(self.path):
            return body_of(self._model, self._head, self._source, logits=logits, layers=layers)

    def tail(self) -> onnx.ModelProto | None:
        """The graph from the logits to the outputs; None if the logits are the only output."""
        with sound(self.path):
            return tail_of(self._model, self._head) if self._head else None

    def to_proto(self) -> onnx.ModelProto:
        """The whole model; weights in external data remain references to :attr:`folder`."""
        with sound(self.path):
            return serialised(self._model)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        verify: Callable[[Path], object] | None = None,
    ) -> Path:
        """Write the model; the file gets its name only when it is complete and checked.

        Parameters
        ----------
        path : path-like
            Target file. External data are copied to ``NAME.data`` next to it.
        {replace.force}
        verify : callable, optional
            Function of the finished file, called before the file gets its name; its errors stop the
            write. :func:`ntkit.export.save_verified` passes a check in ONNX Runtime.

        Returns
        -------
        pathlib.Path
            ``path``.

        Raises
        ------
        InputError
            If the file exists and ``force`` is false, its folder does not exist, or the file
            contains weights of the model.
        {checker.ModelError}
        """
        return write_model(self._model, Path(path), force=force, verify=verify)


def _linear_head(
    head: Head | None, known: Known, class_names: Sequence[Any] | None
) -> LinearHead | None:
    """The head with its classes; None for a backbone without one."""
    if head is not None:
        weight, bias = head.weight, head.bias
        if not np.isfinite(weight).all() or not np.isfinite(bias).all():
            raise ModelError(
                f"The head of {known.path or 'the model'} ({head.region.kind}, "
                f"{head.logits.name!r}) has NaN or infinite weights; export the model again."
            )
    elif known.scores is not None:
        weight, bias = np.eye(known.scores.n_classes), np.zeros(known.scores.n_classes)
    else:
        return None
    n_classes = 2 if known.label else max(2, len(weight))
    named = known.classes if known.classes is not None else class_names
    labels = np.asarray(np.arange(n_classes) if named is None else named)
    if labels.shape != (n_classes,):
        raise InputError(
            f"The model's head has {n_classes} classes, but {labels.size} class labels were "
            "passed; pass one for each class."
        )
    if known.label is not None:
        return known.label.of(weight, bias, labels)
    return LinearHead(weight, bias, labels)


def _labels_of(
    head: Head | None, known: Known, task: str, where: str
) -> tuple[tuple[str, ...], str | None]:
    """Names of the labels of which a sample may have several, and why no class is chosen."""
    if known.label is not None:
        return known.label.names, None
    if known.apart:
        reason = (
            f"The model has a layer for each of {len(known.apart)} labels. Name one of them "
            f"with --label NAME (label=): {listed(known.apart, 8)}."
        )
        return tuple(known.apart), reason
    scores = known.scores if known.scores is not None and known.scores.several else None
    if (head is None and scores is None) or task == "single_label_classification":
        return (), None
    fix = "; debias retrains heads that choose one class for each sample."
    if task == "regression":
        return (), f"The model's head is a regression, according to {where}{fix}"
    if head is None:
        n_logits, each = (0 if scores is None else scores.n_classes), True
    else:
        n_logits, after = len(head.weight), head.after
        each = after.has_sigmoids or after.thresholds is not None
    if n_logits > 1 and each:
        task, where = SEVERAL, _EACH
    if task != SEVERAL:
        return (), None
    names = _names_of_rows(n_logits, known)
    return names, (
        f"The model scores each of its {n_logits} labels independently (for several "
        f"labels per sample), says {where}. Name one of them with --label NAME (label=): "
        f"{listed(names, 8)}. With one label per sample, export it with a Softmax, or with "
        f"neither{' and without that entry' * (where != _EACH)}."
    )


def _names_of_rows(n_rows: int, known: Known) -> tuple[str, ...]:
    """Names of the rows of the head; their positions if the model names none."""
    names = known.classes
    if names is None:
        names = known.names.names if known.names is not None else None
    return tuple(map(str, range(n_rows) if names is None else names))


def _with_thresholds(model: FrozenModel, names: Sequence[str]) -> tuple[Label, ...]:
    """The labels with these names, each with the model's threshold for it."""
    in_graph = None if model._head is None else model._head.after.thresholds
    if model.labels_apart:
        in_graph = thresholds_after(model._model, [*model._known.apart.values()])
    return with_thresholds(names, model._facts, in_graph)


def _warn_of_names(model: FrozenModel, label: str | None, stacklevel: int) -> None:
    """Warn of names and thresholds that are not used."""
    known = model._known
    sentences = [*(known.names.warnings if known.names and known.classes is None else ())]
    one_class = model.head is not None and not (label or model.label_names)
    written, source = model._facts.thresholds, model._facts.thresholds_source
    each = [*written.values()] if isinstance(written, dict) else written
    each = each if isinstance(each, list) else [each]
    if one_class and not {*map(str, each)} <= {"None", "0.5"}:  # 0.5 decides as the class does
        sentences.append(
            f"The thresholds of {source} are not used, because the model chooses one class. If "
            "it has labels, name one with --label. The setting threshold of ntkit check takes one."
        )
    for sentence in sentences:
        name = model.path.name if model.path is not None else "The model"
        warnings.warn(f"{name}: {sentence}", UserWarning, stacklevel=stacklevel)


def _with_new_head(
    old: FrozenModel, model: ir.Model, head: LinearHead, facts: Mapping[str, str]
) -> FrozenModel:
    """The model of a graph with a new head, whose metadata name its classes."""
    new, embedding = read_back(model, head, old.located_by)
    kept = keeps_names(head, old.head, old.class_names or ())
    labels = head.classes.tolist()
    as_before = are_positions(labels) or old.labels_in_graph is not None
    named = old.class_names if kept and as_before else None
    written = {CLASSES: json.dumps(list(named or labels)), **facts}
    if not kept:
        written |= renamed(old.metadata, labels)
    if any(old.located_by.values()):
        written[LOCATED_BY] = json.dumps(old.located_by)
    for key in (_NEW_HEAD, LOCATED_BY):  # they describe the previous head
        model.metadata_props.pop(key, None)
    model.metadata_props.update(written)
    names = old._known.names if kept else ClassNames()
    known = Known(names, head.classes, folder=old.folder)
    return FrozenModel(model, new, embedding, old.located_by, known)


def _with_new_row(
    old: FrozenModel, model: ir.Model, label: Label, head: LinearHead, facts: Mapping[str, str]
) -> FrozenModel:
    """The model of a graph in which the row of the label is another."""
    new, embedding = read_back(model, with_row(old, head), old.located_by)
    written = {**facts, _LABEL: label.name, THRESHOLDS: json.dumps(old.thresholds)}
    if not label.alone:  # else the outputs name the labels
        names = old._known.names.names if old._known.names is not None else None
        written[CLASSES] = json.dumps(list(names or label.names))
        if any(old.located_by.values()):
            written[LOCATED_BY] = json.dumps(old.located_by)
    model.metadata_props.update(written)
    known = replace(old._known, path=None, facts=None, heads=None, digest=None, sha256=None)
    return FrozenModel(model, new, embedding, old.located_by, known)


def with_row(model: FrozenModel, head: LinearHead) -> LinearHead:
    """The head of all labels, with the row of the model's label from its new head."""
    label, whole = model._known.label, model.whole.head
    if label is None or whole is None:
        return head
    head = head.aligned_to(label.classes if model.head is None else model.head.classes)
    coef, intercept = label.into(head.with_logits(1), whole.coef, whole.intercept)
    return LinearHead(coef, intercept, whole.classes)


def row_of(model: FrozenModel, head: LinearHead) -> LinearHead:
    """The label's row of a head of all labels, as its own head: the inverse of with_row."""
    label = model._known.label
    if label is None or model.head is None:
        return head
    return label.of(head.coef, head.intercept, model.head.classes)


def head_of_labels(model: FrozenModel) -> LinearHead | None:
    """A row for each label, also of layers apart; None if these read different tensors."""
    if not model.labels_apart:
        return model.head
    heads = [head for name in model.label_names if (head := model.of_label(name)._head)]
    if len({tuple(map(id, head.reads)) for head in heads}) > 1:
        return None
    weight, bias = (
        np.concatenate([getattr(h, part) for h in heads]) for part in ("weight", "bias")
    )
    return LinearHead(weight, bias, np.asarray(model.label_names))


def takes_inputs_of(model: FrozenModel, other: FrozenModel) -> bool:
    """Whether a model's inputs have the names, types and sizes of another model's."""
    # The name of a single input may differ.
    if len(model.inputs) != len(other.inputs):
        return False
    for one, two in zip(model.inputs, other.inputs, strict=True):
        fixed, fixed_there = (  # sizes, except for the number of samples
            [side if isinstance(side, int) else None for side in (each.shape or ())[1:]]
            for each in (one, two)
        )
        alike = (one.dtype, fixed) == (two.dtype, fixed_there)
        alike &= one.name == two.name or len(model.inputs) == 1
        if not alike:
            return False
    return True


def with_columns_of(model: FrozenModel, other: FrozenModel) -> FrozenModel:
    """The model with the other's columns, if it names none and has the same inputs."""
    if not takes_inputs_of(model, other) or any(info.columns for info in model.inputs):
        return model
    return model._changed(columns=[info.columns for info in other.inputs])


def with_rounded_scores(model: FrozenModel) -> FrozenModel:
    """The model by the scores that its graph rounds or cuts off; itself if it does not."""
    if model._head is None or model.label_names:
        return model
    with sound(model.path):
        graph = model._model.clone()
        head, _ = in_clone(graph, model._model, model._head, model._source)
        scores = None if head is None else add_rounded(graph, head)
    if scores is None:
        return model
    known = replace(model._known, scores=scores)
    return FrozenModel(graph, None, tensor_named(graph.graph, SCORES), {}, known)


def rounding_note(model: FrozenModel, default: str = "The model") -> str:
    """A note if the graph rounds or cuts off its scores after the last layer, or empty."""
    if model._head is None or model._head.after.rounded is None:
        return ""
    count = " ntkit check counts the file's own classes on samples."
    return (
        f"{name_of(model, default)} rounds or cuts off its scores in the last layer or after "
        "it. The results are of the scores before that, so the file may decide differently "
        f"between close ones.{count * (not model.label_names)}"
    )


def batch_note(model: FrozenModel) -> str:
    """A note if the network scales numbers by the largest of its batch, or empty."""
    if not model.scales_by_batch:
        return ""
    return (
        f"{name_of(model, 'The model')} scales its activations by the largest of a batch "
        "(dynamic quantisation). So ntkit runs one sample at a time, unless you set "
        "--batch-size (batch_size=)."
    )


def may_be_regressions(model: FrozenModel) -> bool:
    """Whether nothing in the file says that several numbers are scores of classes."""
    head = model._head
    if head is None or model.label or model.labels_apart or len(head.weight) < 2:
        return False
    after = {*head.after.post_processing} & {*PROBABILITIES, "ArgMax", "TopK"}
    named = model._known.classes is not None and model.matched_by is None
    return not (after or model.class_names or named or model._task[0] or head.after.decided)


def n_softmax(model: FrozenModel) -> int:
    """How often the graph takes the softmax of the logits, as of a loss that takes it again."""
    if model.scores is not None:
        return model.scores.n_softmax or 0
    return 0 if model._head is None else model._head.after.post_processing.count("Softmax")


def sums_to_one(model: FrozenModel) -> bool:
    """Whether the outputs show the head's logits as they are, and these always sum to 1."""
    head = model._head
    if head is None or len(head.weight) < 2 or {*head.after.post_processing} & PROBABILITIES:
        return False
    size = max(1.0, float(np.abs(head.weight).max()))
    off = np.abs(head.weight.sum(axis=0, dtype=np.float64)).max() / size
    return bool(max(off, abs(head.bias.sum(dtype=np.float64) - 1)) < _OF_ROUNDING)


def outputs_from_logits(model: FrozenModel) -> tuple[str, ...]:
    """Names of the outputs that are computed from the logits, or are the logits."""
    if model._head is None:
        return ()
    shown = outputs_after(model._model.graph, model._head.logits)
    return (*(value.name or "" for value in shown), model._head.logits.name or "")


def body_nodes(model: FrozenModel) -> list[ir.Node]:
    """Operators that compute the embedding."""
    return list(body_graph(model._model, model._head, model._source))


def inspected(
    path: str | os.PathLike[str],
    *,
    classes: Any = None,
    label: str | None = None,
    **places: str | None,
) -> tuple[FrozenModel, dict[str, Any]]:
    """Read a model with or without a head, and describe it."""
    # Without a head its embedding is an output. The facts are those of FrozenModel.describe, with
    # `refused` (why there is no head, or None) and `candidates` (each layer that may be one, and
    # why it was chosen or not).
    path, refused, scores = model_file(Path(path).absolute()), None, None
    model, digest = read_model(path)
    places = {name: places.get(name) for name in PLACES}
    try:
        # The search may change the graph: a pooling is added, a function expanded.
        loaded = _located_in(model.clone(), digest, path, places, classes, label)
        _warn_of_names(loaded, label, stacklevel=3)
        loaded = loaded if label is None else loaded.of_label(label)
        facts = loaded.describe()  # an error if its thresholds contradict each other
    except (HeadNotFoundError, ModelError) as error:
        refused = str(error)
        with suppress(HeadNotFoundError, ModelError):
            scores = _located_in(model.clone(), digest, path, places, classes, any_scores=True)
        with sound(path):
            output = model.graph.outputs[0]
            apart = {} if scores is None or scores.scores is None else scores.scores.layers
            known = Known(path=path, digest=digest, apart=apart)
            loaded = FrozenModel(model, None, output, places, known)
        facts = loaded.describe()
    if refused is not None:
        facts["embedding"] = None
    if scores is not None and scores.label_names:
        facts |= {key: scores.describe()[key] for key in ("task", "labels", "thresholds")}
    elif scores is not None and scores.head is not None:
        facts |= {"task": f"one of {len(scores.head.classes)} classes"}
        facts |= {"classes": scores.head.classes.tolist(), "classes_from": scores.classes_source}
    facts["scores"] = None if scores is None else str(scores.scores)
    with sound(path):
        candidates = loaded.candidates()
    return loaded, {**facts, "refused": refused, "candidates": candidates}


def _located_in(
    model: ir.Model,
    digest: bytes,
    path: Path,
    places: Mapping[str, str | None],
    classes: Any,
    label: str | None = None,
    any_scores: bool = False,
) -> FrozenModel:
    """The model of a file, with its head, or with one for each label, or with its scores."""
    with sound(path):
        try:
            apart, names, parts = dict[str, str](), None, in_sight(model, places)
            if not any(places.values()) and label_heads(model, asked=False):
                raise HeadNotFoundError("It has a linear last layer for each of several labels.")
        except HeadNotFoundError as error:
            named = any(places.values())
            heads = {} if named else label_heads(model, asked=label is not None)
            if not heads:
                apart = {} if named else _named_apart(label_heads(model), model, path)
                problem = f"{error}{_one_for_each_label(model)}"
                if places["embedding"] or places["pooling"] or (label and not any_scores):
                    raise HeadNotFoundError(problem) from None
                scored = _scored(
                    path, places["logits"], classes, problem, wanted=any_scores, apart=apart
                )
                if label and not scored.label_names:
                    raise HeadNotFoundError(
                        f"{path.name} has no linear layer with a row for each label, so it has no "
                        f"label {label!r}. Without --label (label=), {COMMANDS} take the model."
                    ) from None
                return scored
            apart = _named_apart(heads, model, path)
            head, names = next(iter(heads.values())), ClassNames()
            parts = model, head, head.reads[0], dict[str, str | None]()
        found = None if apart or label or any(places.values()) or not any_scores else parts[1]
        decided = None if found is None else other_decision(parts[0], found)
        if decided is not None:
            # Of several outputs of scores, any one tells that the decision is another.
            scores = [o.name for o in parts[0].graph.outputs if o.name != decided]
            for shown in (None, *scores, decided):
                with suppress(HeadNotFoundError):
                    return _scored(path, shown, classes, "", wanted=True)
        folder = data_folder(parts[0]) or path.parent.resolve()
        known = Known(names, classes, apart=apart, path=path, folder=folder, digest=digest)
        return FrozenModel(*parts, known)


def _one_for_each_label(model: ir.Model) -> str:
    """Advice for a model of several linear classifiers; else an empty text."""
    linear = [node for node in model.graph if node.op_type == "LinearClassifier"]
    if len(linear) < 2 or any(map(is_stacked, linear)):
        return ""
    return (
        f" It has {len(linear)} linear classifiers. If each is for a label, as in scikit-learn's "
        "OneVsRestClassifier, fit one network for all labels, such as MLPClassifier."
    )


def _scored(
    path: Path,
    named: str | None,
    classes: Any,
    problem: str,
    *,
    wanted: bool,
    apart: Mapping[str, str] = MappingProxyType({}),
) -> FrozenModel:
    """The model of a file with its own scores in the place of a head; an error if not wanted."""
    # `apart` are the logits of labels, if each has a layer that reads a tensor of its own.
    model, digest = read_model(path)  # again, because the search for a head may change the graph
    try:
        facts = read_facts(dict(model.metadata_props), path)
        scores = add_scores(model, facts, named, classes)
    except NoScores as reason:
        problem += f" Its outputs do not tell the class either: {reason}." if wanted else ""
        raise HeadNotFoundError(problem) from None
    if scores.several and len(apart) == scores.n_classes:
        scores = replace(scores, layers=apart)
    if not wanted and scores.layers and len(model.graph.outputs) == 1:
        one = f"Name one of its labels with --label NAME (label=): {listed(apart, 8)}."
        raise HeadNotFoundError(
            f"{_EACH_OWN.format(scores.n_classes)} {one} {COMMANDS} take all labels."
        )
    if not wanted:
        raise HeadNotFoundError(f"{problem} {COMMANDS} take the model as it is.")
    folder, tensor = data_folder(model) or path.parent.resolve(), tensor_named(model.graph, SCORES)
    known = Known(
        None, classes, scores=scores, path=path, folder=folder, facts=facts, digest=digest
    )
    return FrozenModel(model, None, tensor, {}, known)


def _named_apart(heads: Mapping[str, Head], model: ir.Model, path: Path) -> dict[str, str]:
    """Logits of labels that have a layer each, by the label's name."""
    facts = read_facts(dict(model.metadata_props), path)
    names: Sequence[Any] = [*heads]
    if names == [str(i) for i in range(len(names))]:  # columns of an output
        names = class_names_of(len(names), facts).names or names
    return {str(n): h.logits.name or "" for n, h in zip(names, heads.values(), strict=True)}


def loaded(model: Any, **options: Any) -> FrozenModel:
    """A model, read with these options of :meth:`FrozenModel.load` if it is a path."""
    if not isinstance(model, FrozenModel):
        return FrozenModel.load(model, **options)
    if (label := options.get("label")) is not None:
        return model if model.label == label else model.of_label(label)
    head, places = model._head, any(model.located_by.values())
    named = places or model.label is not None or model.labels_apart
    if not options.get("any_scores") or head is None or named or model.path is None:
        return model
    if other_decision(model._model, head) is None:  # else a threshold decides instead of the head
        return model
    return FrozenModel.load(model.path, classes=model._known.classes, any_scores=True)


def name_of(model: FrozenModel, default: str = "a model in memory") -> str:
    """Name of a model in sentences and on pages."""
    return default if model.path is None else model.path.name


def _restored(proto: bytes, located_by: Mapping[str, str | None], known: Known) -> FrozenModel:
    model = deserialised(onnx.load_from_string(proto))
    if known.folder is not None:
        ir.external_data.set_base_dir(model.graph, known.folder)
    if known.scores is not None:
        return FrozenModel(model, None, tensor_named(model.graph, SCORES), located_by, known)
    return FrozenModel(*located(model, located_by), known)


def _inputs_of(
    graph: ir.Graph,
    metadata: Mapping[str, str],
    embedding: str,
    named: Sequence[tuple[str, ...] | None],
) -> tuple[TensorInfo, ...]:
    """Inputs of a graph; a single one has the columns that ntkit recorded."""
    inputs = tuple(info_of(v) for v in graph.inputs if not v.is_initializer())
    if named:  # by a model with the same inputs
        return tuple(replace(info, columns=n) for info, n in zip(inputs, named, strict=True))
    columns: Any = recorded_preprocessing(metadata).get("columns")
    are_names = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    # The record of a head alone describes the inputs of the network before it.
    whole = metadata.get("ntkit.tensor", embedding) == embedding
    if len(inputs) == 1 and whole and are_names and len({*columns}) == len(columns) > 0:
        return (replace(inputs[0], columns=tuple(columns)),)
    return inputs


def _names_of_classes(head: Head | None, scores: Scores | None, facts: Facts) -> ClassNames:
    """Names of the classes of a head, or of scores in its place; none without both."""
    if head is not None:
        numbered = head.after.thresholds is not None and are_positions(head.after.labels or ())
        labels = None if numbered else head.after.labels
        n_logits = len(head.weight)
        return class_names_of(max(2, n_logits), facts, labels, one_score=n_logits == 1)
    if scores is not None:
        return class_names_of(scores.n_classes, facts, scores.labels)
    return ClassNames()


def recorded_preprocessing(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Preprocessing that ntkit wrote into a model; empty if it is damaged."""
    steps = parsed_json(metadata.get(PREPROCESSING, ""))
    return steps if isinstance(steps, dict) else {}

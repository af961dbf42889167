"""A model as it was read: its signature, what was found in it, and what it can be cut into."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx

from ntkit.class_names import ClassNames, names_in, names_of, problem_type
from ntkit.exceptions import HeadNotFoundError, InputError, ModelError
from ntkit.frozen_model._cut import body_of, tail_of
from ntkit.frozen_model._describe import file_facts, head_facts
from ntkit.frozen_model._located import PLACES, Parts, embedding_info
from ntkit.graph import (
    TensorInfo,
    external_files,
    fingerprint,
    info_of,
    serialised,
    sound,
    write_model,
)
from ntkit.head import LinearHead
from ntkit.head_search import candidate_layers

__all__ = ["PREPROCESSING", "ReadModel", "recorded_preprocessing"]

PREPROCESSING = "ntkit.preprocessing"


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
        mend = "; debias retrains heads that choose one class for each sample."
        if self.head is None or said == "single_label_classification":
            return None
        if said == "regression":
            return f"The model's head is a regression, as {where} says{mend}"
        if self.scores_each_class_alone:
            said, where = "multi_label_classification", "its Sigmoid for each of them"
        if said != "multi_label_classification":
            return None
        return (
            f"The model scores each of its {self.head.n_logits} labels on its own, for samples "
            f"that may have several, as {where} says{mend} If each of your samples has one label, "
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

"""FrozenModel: an ONNX classifier whose last layer can be read and exchanged."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from ntkit.exceptions import InputError
from ntkit.graph import deserialised, model_file, read_model, sound
from ntkit.head import LinearHead
from ntkit.model._edit import append_head, replace_weights
from ntkit.model._exchange import fitted, keeps_names, read_back
from ntkit.model._read_model import LOCATED_BY, Parts, ReadModel, declare_outputs, in_sight, located
from ntkit.model.class_names import CLASSES, ClassNames, are_positions, matched, renamed

_NEW_HEAD = "ntkit.new_head"


class FrozenModel(ReadModel):
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
            The ONNX file, or a folder that holds it as ``model.onnx`` or ``onnx/model.onnx``;
            external data are mapped, not read.
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
            If the file is not an ONNX model, its head has NaN or infinite weights, or a folder
            does not hold one model.
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
        path = model_file(Path(path).absolute())
        given = {"logits": logits, "embedding": embedding, "pooling": pooling}
        model = read_model(path)
        with sound(path):
            parts = in_sight(model, given, path)
            loaded = cls(replace(parts, classes=classes))
        for sentence in loaded._names.warnings if classes is None else ():
            warnings.warn(f"{path.name}: {sentence}", UserWarning, stacklevel=2)
        return loaded

    def __repr__(self) -> str:
        name = self.path.name if self.path else "in memory"
        return f"FrozenModel({name}, embedding={self.embedding.name!r}, head={self.head!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        return self  # a value: scikit-learn's clone may share it

    def __reduce__(self) -> tuple[Any, ...]:
        classes = self.head.classes if self.head is not None else None
        proto = self.to_proto().SerializeToString()
        said = {
            "classes": classes if self.classes_source == "given" else None,
            "names": self._names,
            "matched_by": self.matched_by,
            "path": self.path,
            "folder": self.folder,
        }
        return _restored, (proto, self.located_by, said)

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
            same = self._model.clone()  # to the last bit
            declare_outputs(same)
            return self._exchanged(same, head, provenance)
        width = self.head.n_neurons if self.head is not None else self._embedding_width()
        if width is not None and head.n_neurons != width:
            raise InputError(
                f"The head reads {head.n_neurons} neurons, but the model's embedding "
                f"{self.embedding.name!r} has {width}."
            )
        labels = self._found.after.labels if self._found is not None else None
        head = fitted(head, self.head, named=self.has_class_names, in_graph=labels is not None)
        model = self._model.clone()
        found, value = located(model, **self.located_by)
        if found is None:
            append_head(model.graph, value, head.coef, head.intercept)
        else:
            replace_weights(model, found, head.coef, head.intercept)
        declare_outputs(model)
        return self._exchanged(model, head, provenance)

    def _exchanged(
        self, model: ir.Model, head: LinearHead, provenance: Mapping[str, str] | None
    ) -> FrozenModel:
        found, value = read_back(model, head, self.located_by)
        kept = keeps_names(head, self.head, self.class_names or ())
        labels = head.classes.tolist()
        as_before = are_positions(labels) or self.classes_from_graph
        named = self.class_names if kept and as_before else None
        written = {CLASSES: json.dumps(list(named or labels))}
        written |= {f"ntkit.{key}": text for key, text in (provenance or {}).items()}
        if not kept:
            written |= renamed(self.metadata, labels)
        if any(self.located_by.values()):
            written[LOCATED_BY] = json.dumps(self.located_by)
        for key in (_NEW_HEAD, LOCATED_BY):  # they were said of the head before this one
            model.metadata_props.pop(key, None)
        model.metadata_props.update(written)
        names = self._names if kept else ClassNames()
        parts = Parts(model, found, value, self.located_by, names, head.classes)
        return FrozenModel(replace(parts, folder=self.folder))

    def with_provenance(self, facts: Mapping[str, str]) -> FrozenModel:
        """Return the same model, with these facts in place of what ntkit wrote into its metadata.

        Parameters
        ----------
        facts : mapping of str to str
            Metadata, all of whose keys begin with ``ntkit.``.

        Returns
        -------
        FrozenModel
            A model in memory.
        """
        model = self._model.clone()
        for key in [key for key in model.metadata_props if key.startswith("ntkit.")]:
            del model.metadata_props[key]
        model.metadata_props.update(facts)
        found, value = located(model, **self.located_by)
        return FrozenModel(
            replace(self._parts, model=model, found=found, embedding=value, path=None)
        )

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
        said = replace(self._parts, names=self._names, classes=classes, matched_by=matched_by)
        return FrozenModel(said)

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

    def _embedding_width(self) -> int | None:
        width = self.embedding.shape[-1] if self.embedding.shape else None
        return width if isinstance(width, int) else None


def _restored(
    proto: bytes, located_by: Mapping[str, str | None], said: Mapping[str, Any]
) -> FrozenModel:
    model = deserialised(onnx.load_from_string(proto))
    if said["folder"] is not None:
        ir.external_data.set_base_dir(model.graph, said["folder"])
    return FrozenModel(Parts(model, *located(model, **located_by), located_by, **said))

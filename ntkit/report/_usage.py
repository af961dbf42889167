"""How a written model is used, by whoever finds its card: facts, and a program that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ntkit.extraction import Samples
from ntkit.frozen_model import FrozenModel
from ntkit.report._usage_inputs import SHOWN, samples_kind

__all__ = ["Usage", "usage_of"]


@dataclass(frozen=True)
class Usage:
    """What a model card says about how to use a model.

    Parameters
    ----------
    facts : mapping of str to str
        Classes, inputs, outputs, preparation of the samples.
    snippet : str
        A Python program that predicts, to be run beside the model.
    files : mapping of str to bytes
        Files that it needs beside the model.
    change : str
        What is other than in the original, in sentences.
    before : str
        What the figures before are of, where they are not the original's.
    task : str or None
        What the Hugging Face Hub calls the task; None where the samples are arrays.
    """

    facts: Mapping[str, str]
    snippet: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    change: str = ""
    before: str = ""
    task: str | None = None


def usage_of(
    model: FrozenModel, samples: Samples, *, original: FrozenModel, new_head: bool, file: str
) -> Usage:
    """Say how a model is used on samples like those given.

    Parameters
    ----------
    model : FrozenModel
        The model written, with a head.
    samples : Samples
        Labelled samples: how they became inputs of the model.
    original : FrozenModel
        The model that it was made from.
    new_head : bool
        Whether its head is for other classes than the original's.
    file : str
        Its file name.

    Returns
    -------
    Usage
    """
    kind, facts, files = samples_kind(model, samples)
    facts = {
        "classes": _classes(model),
        "inputs": "; ".join(map(str, model.inputs)),
        "outputs": "; ".join(map(str, model.outputs)),
        **facts,
    }
    parts = [
        f"{kind.standard}import json\nimport sys\n\n{kind.imports}",
        f'session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])\n'
        'classes = json.loads(session.get_modelmeta().custom_metadata_map["ntkit.classes"])',
        *([kind.helpers] if kind.helpers else []),
        _predict(model),
        kind.main,
    ]
    change, before = _changes(model, original, new_head)
    return Usage(facts, "\n\n".join(parts), files, change, before, kind.task)


# -- facts --------------------------------------------------------------------------------------


def _classes(model: FrozenModel) -> str:
    names = json.loads(model.metadata["ntkit.classes"])
    shown = ", ".join(f"{i} = {name!r}" for i, name in enumerate(names[:SHOWN]))
    more = f", … ({len(names)} in all)" * (len(names) > SHOWN)
    return f"{shown}{more}, in the order of the scores; the file holds them as ntkit.classes"


def _changes(model: FrozenModel, original: FrozenModel, new_head: bool) -> tuple[str, str]:
    """What is other than in the original, and what stands before in the figures."""
    if not new_head:
        return (
            "Everything before it, inputs, outputs and their names are those of the original.",
            "",
        )
    own = {tensor.name for tensor in original.outputs}
    added = [str(tensor) for tensor in model.outputs if tensor.name not in own]
    n_classes = len(model.head.classes) if model.head is not None else 0
    what = "has no head for these classes"
    if original.head is not None:
        what = f"tells {len(original.head.classes)} other classes apart"
    where = (
        f"its scores are the new output {', '.join(added)}"
        if added
        else "outputs that follow from it show these classes in place of the original's"
    )
    return (
        f"Its head is new: the original {what}, this one {n_classes} classes; {where}. Everything "
        f"before {model.embedding.name!r} and all other outputs are those of the original.",
        "The original model cannot be rated on these classes: “before” is a plain (ERM) head "
        "that was fitted on the training set, on the same embeddings.",
    )


# -- what comes out -----------------------------------------------------------------------------


def _predict(model: FrozenModel) -> str:
    """A function from inputs to class labels, by the output that shows them best."""
    name, lines = _shown(model)
    body = "\n".join(f"    {line}" for line in lines)
    return f"def predict(feed):\n    found = session.run([{json.dumps(name)}], feed)[0]\n{body}\n"


def _shown(model: FrozenModel) -> tuple[str, list[str]]:
    head, logits = model.head, model.logits
    if head is None or logits is None:
        return model.outputs[0].name, ["return found"]
    columns = [
        "scores = found.reshape(len(found), -1)",
        "return [classes[i] for i in scores.argmax(axis=1)]",
    ]
    names = {tensor.name: tensor for tensor in model.outputs}
    if logits.name in names:
        return logits.name, columns if head.n_logits > 1 else [_risen(0)]
    tail = model.tail()
    after = {value.name for value in tail.graph.output} if tail is not None else set[str]()
    found = [tensor for tensor in model.outputs if tensor.name in after]
    for info in found:
        width = info.shape[-1] if info.shape else None
        scores = info.dtype in ("float32", "float16", "double", "bfloat16")
        if scores and width == len(head.classes) and len(info.shape or ()) > 1:
            return info.name, columns
        if scores and head.n_logits == 1 and "Sigmoid" in model.describe()["post_processing"]:
            return info.name, [_risen(0.5)]
    for info in found:
        if info.dtype == "sequence of maps":
            return info.name, ["return [max(row, key=row.get) for row in found]"]
        if info.dtype == "string" or model.classes_from_graph:
            return info.name, ["return found.reshape(len(found), -1)[:, 0].tolist()"]
        if info.dtype.startswith(("int", "uint", "bool")):
            column = "found.reshape(len(found), -1)[:, 0]"
            return info.name, [f"return [classes[int(i)] for i in {column}]"]
    return (found or list(model.outputs))[0].name, ["return found"]


def _risen(threshold: float) -> str:
    return f"return [classes[int(score > {threshold})] for score in found.reshape(-1)]"

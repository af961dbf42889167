"""Usage section of a model card: facts about inputs and outputs, and a program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntkit._html import rendered
from ntkit._text import listed
from ntkit.extraction import Samples, TextPreprocessing, Texts
from ntkit.graph.tensors import TensorInfo
from ntkit.inputs.text_preprocessing import saved_settings
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import outputs_from_logits
from ntkit.samples.kinds import TextData

_MOST = 20  # listed classes and columns
_NUMPY = {"double": "float64", "float": "float32"}
_SCORES = ("float32", "float16", "double", "bfloat16")
_DECIDED = ("int", "uint", "bool")
_TASKS = {  # names of the Hugging Face Hub
    "images": "image-classification",
    "texts": "text-classification",
    "strings": "text-classification",
    "table": "tabular-classification",
}


@dataclass(frozen=True)
class Usage:
    """Usage of a model, for its card."""

    # `snippet` is a Python program that predicts in the folder of the model. `program` is a file
    # that runs in any folder. `files` holds the other files that the program needs. `change` states
    # the differences from the original. `before` names the head of the results before the repair,
    # if it is not the original. `task` is None for arrays.

    facts: Mapping[str, str]
    snippet: str
    program: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    change: str = ""
    before: str = ""
    task: str | None = None


def usage_of(
    model: FrozenModel, samples: Samples, original: FrozenModel, new_head: bool, file: str
) -> Usage:
    """Usage of a model on samples like these."""
    kind, values, facts, files = _inputs(model, samples)
    output, decide = _shown(model)
    values |= {"file": file, "output": output, "decide": decide, "several": bool(model.label)}

    def program(place: str = "") -> str:
        return rendered(
            f"predict_{kind}.py.jinja",
            place=place,
            path_of=lambda name: f'str({place} / "{name}")' if place else f'"{name}"',
            **values,
        )

    names = model.label_names or json.loads(model.metadata["ntkit.classes"])
    shown = listed((f"{i} = {name!r}" for i, name in enumerate(names)), _MOST, " ({} in all)")
    of_file = "in the order of the scores; metadata ntkit.classes of the file"
    facts = {
        **({"classes": f"{shown}, {of_file}"} if model.label is None else _labels(model, shown)),
        "inputs": "; ".join(map(str, model.inputs)),
        "outputs": "; ".join(map(str, model.outputs)),
        **facts,
    }
    change, before = _changes(model, original, new_head)
    snippet = program().rstrip()
    return Usage(facts, snippet, program("HERE"), files, change, before, _TASKS.get(kind))


def _changes(model: FrozenModel, original: FrozenModel, new_head: bool) -> tuple[str, str]:
    """Differences from the original, and the head of the accuracies before the repair."""
    if not new_head:
        kept = "Earlier layers, inputs, outputs and their names are those of the original."
        if model.label is not None:
            kept = f"Only the row of the label {model.label!r} in the last layer is new. {kept}"
        return kept, ""
    names = {tensor.name for tensor in original.outputs}
    added = [str(tensor) for tensor in model.outputs if tensor.name not in names]
    n_classes = len(model.head.classes) if model.head is not None else 0
    before = "has no head for these classes"
    if original.head is not None:
        before = f"has {len(original.head.classes)} other classes"
    where = "The outputs of the head show these classes instead of the original's"
    if added:
        where = f"The scores are the new output {', '.join(added)}"
    return (
        f"The head is new: the original {before}, and this model has {n_classes} classes. "
        f"{where}. All layers before {model.embedding.name!r} and all other outputs are those of "
        "the original.",
        "The original model does not have these classes. “Before” is an ERM head, fitted on the "
        "same embeddings of the training set.",
    )


def _inputs(
    model: FrozenModel, samples: Samples
) -> tuple[str, dict[str, Any], dict[str, str], dict[str, bytes]]:
    """The program's template and its values, facts about the samples, and the program's files."""
    info = model.inputs[0]
    kinds = {each.name: _dtype(each) for each in model.inputs}
    values: dict[str, Any] = {
        "info": info,
        "dtype": _dtype(info),
        "kinds": kinds,
        "one": lambda value: _one_at_a_time(info, value),
        "all_rows": f"predict({{{json.dumps(info.name)}: X}})",
    }
    if info.shape and isinstance(info.shape[0], int):
        one = _one_at_a_time(info, "X[i : i + 1]")
        values["all_rows"] = f"[{one}[0] for i in range(len(X))]"
    if TextPreprocessing.for_strings(model.inputs) is not None:
        text = f"input {info.name!r} takes one text per sample, without preprocessing"
        return "strings", values, {"texts": text}, {}
    if samples.embedded:
        text = "as for the original model (the repair used embeddings)"
        return "arrays", values, {"preprocessing": text}, {}
    if samples.data.are_files:
        steps = samples.X.preprocessing
        text = ", ".join(f"{name} {value}" for name, value in steps.as_dict().items())
        text += "; scale multiplies pixels from 0 to 255, before mean and std"
        return "images", values | {"steps": steps}, {"images": text}, {}
    if isinstance(samples.data, TextData):
        facts, files = _of_texts(samples.X)
        steps, pad = samples.X.preprocessing, samples.X.pad_token()
        values |= {"steps": steps, "pad": pad, "paired": samples.X.paired}
        return "texts", values, facts, files
    if samples.columns and len(model.inputs) == 1:
        text = listed(map(repr, samples.columns), _MOST, " ({} in all)")
        facts = {"columns": f"{text}, as numbers in this order"}
        return "table", values | {"columns": list(samples.columns)}, facts, {}
    return "arrays", values, {"preprocessing": "none"}, {}


def _of_texts(texts: Texts) -> tuple[dict[str, str], dict[str, bytes]]:
    """Facts about the tokenizer, and its files."""
    steps, pad = texts.preprocessing, texts.pad_token()
    text = (
        f"tokenizer.json in this folder (sha256 {steps.as_dict()['tokenizer_sha256']}); at most "
        f"{steps.max_length} tokens, truncated on the {steps.truncation}, padded on the "
        f"{steps.padding} with token {pad[0]}"
    )
    if steps.fixed_length is not None:
        text += f" to {steps.fixed_length} tokens"
    used: dict[str, Any] = {
        "model_max_length": steps.max_length,
        "truncation_side": steps.truncation,
        "padding_side": steps.padding,
        "pad_token": steps.pad_token,
    }
    # The other settings of the original are for transformers: class and special tokens.
    settings = saved_settings(steps.tokenizer_path)
    settings |= {name: value for name, value in used.items() if value is not None}
    return {"tokenizer": text}, {
        "tokenizer.json": steps.tokenizer_path.read_bytes(),
        "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
    }


def _one_at_a_time(info: TensorInfo, value: str) -> str:
    """A call for one sample, repeated if the model takes a fixed number of samples."""
    batch = info.shape[0] if info.shape else None
    if isinstance(batch, int) and batch > 1:
        value = f"np.repeat({value}, {batch}, axis=0)"
    return f"predict({{{json.dumps(info.name)}: {value}}})"


def _dtype(info: TensorInfo) -> str:
    name = "object" if info.dtype == "string" else _NUMPY.get(info.dtype, info.dtype)
    try:
        return np.dtype(name).name
    except TypeError:
        return "float32"


def _labels(model: FrozenModel, shown: str) -> dict[str, str]:
    """Facts about the labels of a model that gives every sample several."""
    levels = [f"{level:g}" for level in model.thresholds.values()]
    text = f"{levels[0]} for each" if len({*levels}) == 1 else listed(levels, _MOST, " ({} in all)")
    return {
        "labels": f"{shown}, in the order of the scores",
        "thresholds": (
            f"{text}; metadata ntkit.thresholds of the file. A sample has every label with a "
            "higher probability"
        ),
    }


def _shown(model: FrozenModel) -> tuple[str | list[str], list[str]]:
    """The output with the classes (or those of labels), and lines of a program that read it."""
    head, logits = model.head, model.logits
    if head is None or logits is None:
        return model.outputs[0].name, ["return outputs"]
    if model.label is not None:
        return _shown_labels(model)
    columns = [
        "scores = outputs.reshape(len(outputs), -1)",
        "return [classes[i] for i in scores.argmax(axis=1)]",
    ]
    names = {tensor.name: tensor for tensor in model.outputs}
    if logits.name in names:
        return logits.name, columns if head.n_logits > 1 else [_above(0)]
    derived = [tensor for tensor in model.outputs if tensor.name in outputs_from_logits(model)]
    for info in derived:
        width = info.shape[-1] if info.shape else None
        scores = info.dtype in _SCORES
        if scores and width == len(head.classes) and len(info.shape or ()) > 1:
            return info.name, columns
        if scores and head.n_logits == 1 and "Sigmoid" in model.describe()["post_processing"]:
            return info.name, [_above(0.5)]
    for info in derived:
        if info.dtype == "sequence of maps":
            return info.name, ["return [max(row, key=row.get) for row in outputs]"]
        if info.dtype == "string" or model.labels_in_graph is not None:
            return info.name, ["return outputs.reshape(len(outputs), -1)[:, 0].tolist()"]
        if info.dtype.startswith(_DECIDED):
            column = "outputs.reshape(len(outputs), -1)[:, 0]"
            return info.name, [f"return [classes[int(i)] for i in {column}]"]
    return (derived or list(model.outputs))[0].name, ["return outputs"]


def _above(threshold: float) -> str:
    return f"return [classes[int(score > {threshold})] for score in outputs.reshape(-1)]"


def _shown_labels(model: FrozenModel) -> tuple[str | list[str], list[str]]:
    """The output with a column for each label, or those of the labels, and lines that read them."""
    names, outputs = model.label_names, {each.name: each for each in model.outputs}
    models, rows = [model], "outputs.reshape(len(outputs), -1)"
    if model.labels_apart:
        models, rows = [model.of_label(name) for name in names], "outputs"
    found = list[TensorInfo]()
    for one in models:
        last = "" if one.logits is None else one.logits.name
        mine = [outputs[name] for name in outputs_from_logits(one) if name in outputs]
        mine = [each for each in mine if each.dtype in _SCORES or each.dtype.startswith(_DECIDED)]
        if len(models) == 1:
            mine = [each for each in mine if each.shape and each.shape[-1] == len(names)]
        # Scores come first, then decisions, then logits.
        mine.sort(key=lambda each: (each.name == last, each.dtype not in _SCORES))
        found += mine[:1]
    one_each = len({each.name for each in found}) == len(models)
    if not one_each or len({each.dtype in _SCORES for each in found}) > 1:
        return model.outputs[0].name, ["return outputs"]
    output: str | list[str] = found[0].name if len(models) == 1 else [each.name for each in found]
    if found[0].dtype not in _SCORES:
        return output, [f"return [named(row != 0) for row in {rows}]"]
    probable = "Sigmoid" in model.describe()["post_processing"]
    if not probable or (model.logits is not None and found[0].name == model.logits.name):
        rows = f"1 / (1 + np.exp(-{rows}))"
    return output, [f"return [named(row > thresholds) for row in {rows}]"]

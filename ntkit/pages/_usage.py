"""Usage of a written model, for readers of its card: facts, and a program that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ntkit._text import listed
from ntkit.extraction import Samples, TextPreprocessing, Texts
from ntkit.inputs import saved_settings
from ntkit.model import FrozenModel, TensorInfo
from ntkit.pages._offline import rendered

_MOST = 20  # classes and columns that are named
_NUMPY = {"double": "float64", "float": "float32"}
_TASKS = {  # as the Hugging Face Hub calls them
    "images": "image-classification",
    "texts": "text-classification",
    "strings": "text-classification",
    "table": "tabular-classification",
}


@dataclass(frozen=True)
class Usage:
    """Usage of a model, for its card."""

    # `snippet` is a Python program that predicts, to be run beside the model; `program` is the same
    # as a file, which is run from anywhere. `files` are those that it needs beside the model.
    # `change` says what is other than in the original, and `before` what the figures before are of,
    # where they are not the original's. `task` is None where the samples are arrays.

    facts: Mapping[str, str]
    snippet: str
    program: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    change: str = ""
    before: str = ""
    task: str | None = None


def usage_of(
    model: FrozenModel, samples: Samples, *, original: FrozenModel, new_head: bool, file: str
) -> Usage:
    """Say how a model is used on samples like these."""
    kind, values, facts, files = _inputs(model, samples)
    output, decide = _shown(model)
    values |= {"file": file, "output": output, "decide": decide}

    def program(place: str = "") -> str:
        return rendered(
            f"predict_{kind}.py.jinja",
            place=place,
            beside=lambda name: f'str({place} / "{name}")' if place else f'"{name}"',
            **values,
        )

    names = json.loads(model.metadata["ntkit.classes"])
    shown = listed((f"{i} = {name!r}" for i, name in enumerate(names)), _MOST, " ({} in all)")
    facts = {
        "classes": f"{shown}, in the order of the scores; the file holds them as ntkit.classes",
        "inputs": "; ".join(map(str, model.inputs)),
        "outputs": "; ".join(map(str, model.outputs)),
        **facts,
    }
    change, before = _changes(model, original, new_head)
    snippet = program().rstrip()
    return Usage(facts, snippet, program("HERE"), files, change, before, _TASKS.get(kind))


def _changes(model: FrozenModel, original: FrozenModel, new_head: bool) -> tuple[str, str]:
    """Differences from the original, and the head that stands for it in the accuracies."""
    if not new_head:
        return (
            "Everything before it, inputs, outputs and their names are those of the original.",
            "",
        )
    names = {tensor.name for tensor in original.outputs}
    added = [str(tensor) for tensor in model.outputs if tensor.name not in names]
    n_classes = len(model.head.classes) if model.head is not None else 0
    before = "has no head for these classes"
    if original.head is not None:
        before = f"tells {len(original.head.classes)} other classes apart"
    where = "outputs that follow from it show these classes in place of the original's"
    if added:
        where = f"its scores are the new output {', '.join(added)}"
    return (
        f"Its head is new: the original {before}, this one {n_classes} classes; {where}. "
        f"Everything before {model.embedding.name!r} and all other outputs are those of the "
        "original.",
        "The original model cannot be rated on these classes: “before” is a plain (ERM) head "
        "that was fitted on the training set, on the same embeddings.",
    )


def _inputs(
    model: FrozenModel, samples: Samples
) -> tuple[str, dict[str, Any], dict[str, str], dict[str, bytes]]:
    """The program's template and its values, facts about the samples, and files it needs."""
    info = model.inputs[0]
    kinds = {each.name: _dtype(each) for each in model.inputs}
    values: dict[str, Any] = {
        "info": info,
        "dtype": _dtype(info),
        "kinds": kinds,
        "one": lambda value: _one_at_a_time(info, value),
        "all_rows": lambda: _all_rows(info),
    }
    if TextPreprocessing.for_strings(model.inputs) is not None:
        text = f"they go into {info.name!r} as they are, one for each sample"
        return "strings", values, {"texts": text}, {}
    if samples.embedded:
        text = "the job was given embeddings; prepare inputs as for the original model"
        return "arrays", values, {"preparation": text}, {}
    if samples.kind == "images":
        steps = samples.X.preprocessing
        text = ", ".join(f"{name} {value}" for name, value in steps.as_dict().items())
        text += "; scale is a factor on pixels 0 … 255, mean and std come after it"
        return "images", values | {"steps": steps}, {"images": text}, {}
    if samples.kind == "texts":
        facts, files = _of_texts(samples.X)
        steps, pad = samples.X.preprocessing, samples.X.pad_token()
        values |= {"steps": steps, "pad": pad, "paired": samples.X.paired}
        return "texts", values, facts, files
    if samples.columns and len(model.inputs) == 1:
        text = listed(map(repr, samples.columns), _MOST, " ({} in all)")
        facts = {"columns": f"{text}, as numbers in this order"}
        return "table", values | {"columns": list(samples.columns)}, facts, {}
    return "arrays", values, {"preparation": "arrays go in as they are"}, {}


def _of_texts(texts: Texts) -> tuple[dict[str, str], dict[str, bytes]]:
    """Facts about the tokenizer, and its files."""
    steps, pad = texts.preprocessing, texts.pad_token()
    text = (
        f"tokenizer.json beside this card (sha256 {steps.as_dict()['tokenizer_sha256']}); at "
        f"most {steps.max_length} tokens, cut off on the {steps.truncation}, filled up on the "
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
    # What else the original says is for transformers: the tokenizer's class, its special tokens.
    settings = saved_settings(steps.tokenizer_path)
    settings |= {name: value for name, value in used.items() if value is not None}
    return {"tokenizer": text}, {
        "tokenizer.json": steps.tokenizer_path.read_bytes(),
        "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
    }


def _one_at_a_time(info: TensorInfo, value: str) -> str:
    """A call for one sample, repeated where the model takes a fixed number of them."""
    batch = info.shape[0] if info.shape else None
    if isinstance(batch, int) and batch > 1:
        value = f"np.repeat({value}, {batch}, axis=0)"
    return f"predict({{{json.dumps(info.name)}: {value}}})"


def _all_rows(info: TensorInfo) -> str:
    if info.shape and isinstance(info.shape[0], int):
        return f"[{_one_at_a_time(info, 'X[i : i + 1]')}[0] for i in range(len(X))]"
    return f"predict({{{json.dumps(info.name)}: X}})"


def _dtype(info: TensorInfo) -> str:
    name = "object" if info.dtype == "string" else _NUMPY.get(info.dtype, info.dtype)
    try:
        return np.dtype(name).name
    except TypeError:
        return "float32"


def _shown(model: FrozenModel) -> tuple[str, list[str]]:
    """The output that shows classes best, and how a program reads them from it."""
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
    derived = [tensor for tensor in model.outputs if tensor.name in model.outputs_from_logits]
    for info in derived:
        width = info.shape[-1] if info.shape else None
        scores = info.dtype in ("float32", "float16", "double", "bfloat16")
        if scores and width == len(head.classes) and len(info.shape or ()) > 1:
            return info.name, columns
        if scores and head.n_logits == 1 and "Sigmoid" in model.describe()["post_processing"]:
            return info.name, [_risen(0.5)]
    for info in derived:
        if info.dtype == "sequence of maps":
            return info.name, ["return [max(row, key=row.get) for row in found]"]
        if info.dtype == "string" or model.classes_from_graph:
            return info.name, ["return found.reshape(len(found), -1)[:, 0].tolist()"]
        if info.dtype.startswith(("int", "uint", "bool")):
            column = "found.reshape(len(found), -1)[:, 0]"
            return info.name, [f"return [classes[int(i)] for i in {column}]"]
    return (derived or list(model.outputs))[0].name, ["return found"]


def _risen(threshold: float) -> str:
    return f"return [classes[int(score > {threshold})] for score in found.reshape(-1)]"

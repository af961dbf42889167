"""ntkit inspect: the inputs, outputs, head and classes of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntkit._text import listed, shortened
from ntkit.cli import _options as o
from ntkit.exceptions import InputError, NtkitError

if TYPE_CHECKING:
    from ntkit.inputs.image_preprocessing import ImagePreprocessing
    from ntkit.inputs.text_preprocessing import TextPreprocessing
    from ntkit.model import FrozenModel


@o.with_options({"pooling"})
def command(*, model: o.Model, model_options: o.ModelOptions, json: o.Json = False) -> None:
    """Show a model's inputs, outputs and head.

    The output also lists the classes, and the data that ntkit debias would need.

    Example: ntkit inspect classifier.onnx

    The command succeeds on every model that ntkit can read. If it finds no head, it says why.
    """
    try:
        read, facts = model_options.inspected(model)
    except NtkitError as error:
        if json:  # and the sentence and the exit code of any refusal
            o.print_json({"file": str(model), "refused": str(error)})
        raise
    steps = _preprocessing(read)
    facts["preprocessing"] = steps if isinstance(steps, str) else _told(steps)
    if steps is None and (columns := read.inputs[0].columns) is not None:
        facts["preprocessing"] = f"Columns, in this order: {', '.join(columns)}."
    facts["debias_needs"] = _needs(read, facts, steps)
    if json:
        o.print_json(facts)
        return
    facts["candidates"] = [_candidate(row) for row in facts["candidates"]]
    width = max(map(len, facts))
    for name, value in facts.items():
        if name != "refused" or value is not None:
            o.say(f"{name.replace('_', ' '):<{width}}  {_shown(value, width)}")


def _preprocessing(model: FrozenModel) -> ImagePreprocessing | TextPreprocessing | str | None:
    """Preprocessing of images or texts; a sentence if the files next to the model do not fit."""
    try:
        return o.DataOptions().steps(model)
    except InputError as error:
        return str(error)


def _told(steps: ImagePreprocessing | TextPreprocessing | None) -> str | None:
    from ntkit.inputs.image_preprocessing import ImagePreprocessing

    if isinstance(steps, ImagePreprocessing):
        return steps.describe()
    if steps is None or steps.tokenizer is None:
        return None if steps is None else steps.describe()
    return f"{steps.describe()} Tokenizer: {steps.tokenizer}."


def _needs(model: FrozenModel, facts: dict[str, Any], steps: object) -> list[str]:
    """Arguments that ``ntkit debias`` would need."""
    from ntkit.model.scores import COMMANDS

    if model.head is None and facts["refused"] is None:
        return ["--new-head: the model has no head on this embedding", *_samples(model, steps)]
    if facts["scores"] is not None and not model.label_names:
        return [f"a linear last layer, which the model lacks; {COMMANDS} take it as it is"]
    if model.head is None and not model.label_names:
        return ["a head: see refused and candidates"]
    if model.label_names:
        one = f"--label NAME, one of: {listed(model.label_names, 8)}"
        return [one] * (model.label is None) + _samples(model, steps)
    if model.not_single_label is not None:
        return [model.not_single_label]
    assert model.head is not None
    classes = model.head.classes.tolist()
    shown = listed(classes, 6)
    named = f"labels: {shown}"
    if not model.has_class_names:
        named = f"labels: names of {len(classes)} classes (--classes, in order), or {shown}"
    return [*_samples(model, steps), named]


def _samples(model: FrozenModel, steps: object) -> list[str]:
    from ntkit.inputs.image_preprocessing import ImagePreprocessing
    from ntkit.inputs.text_preprocessing import TextPreprocessing

    sets, column = "--train and --validation:", "a label column"
    if model.label_names:
        column = "a column of 0 and 1 for each label"
    if isinstance(steps, ImagePreprocessing) and model.label_names:
        return [f"{sets} image folders with a metadata.csv that has {column}"]
    if isinstance(steps, ImagePreprocessing):
        return [f"{sets} image folders with a folder for each class"]
    if isinstance(steps, TextPreprocessing):
        return [f"{sets} tables with a text column and {column}"]
    if any(info.dtype == "string" for info in model.inputs):
        columns = ", ".join(info.name for info in model.inputs)
        return [f"{sets} tables with the columns {columns} and {column}"]
    if len(model.inputs) > 1 or model.inputs[0].dtype in ("int32", "int64"):
        return [
            f"{sets} arrays X.npz with {', '.join(i.name for i in model.inputs)} and y, or tables "
            "of texts with a tokenizer.json next to the model (--tokenizer)"
        ]
    return [f"{sets} arrays (X.npy and y.npy), or tables with numeric columns and {column}"]


def _candidate(row: dict[str, Any]) -> str:
    """One line of the list of layers."""
    what = ", ".join(row["outputs"]) or row["logits"]
    if row["layer"] is not None:
        what += f" ({row['layer']} {row['logits']}, {row['neurons']} neurons → {row['n_logits']})"
    return f"{what}: {row['reason']}"


def _shown(value: object, width: int) -> str:
    if value is None or value in ([], {}):
        return "–"
    if isinstance(value, dict):
        pairs = (f"{key or 'ai.onnx'}: {shortened(str(v), 60)}" for key, v in value.items())
        return listed(pairs, 20, " ({})")
    if isinstance(value, list) and any(len(str(v)) > 40 for v in value):
        return f"\n{' ' * (width + 2)}".join(map(str, value[:20]))
    if isinstance(value, list):
        return listed(value, 8, " ({})")
    return str(value)

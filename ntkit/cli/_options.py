"""Options that several verbs share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, Samples, read_samples
from ntkit.frozen_model import FrozenModel
from ntkit.head import LinearHead

Model = Annotated[Path, typer.Argument(help="ONNX classifier.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--out", help="What to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Logits = Annotated[str | None, typer.Option(help="Name of the logits tensor.")]
Embedding = Annotated[str | None, typer.Option(help="Name of the embedding tensor.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; cuda never falls back to the CPU.")]
BatchSize = Annotated[int, typer.Option(help="Samples per run.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of folds, splits and random masks.")]
LabelColumn = Annotated[str, typer.Option(help="Label column of a table.")]
GroupColumn = Annotated[str, typer.Option(help="Group column of a table or metadata.csv.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that do not decode.")]
Preprocessor = Annotated[
    Path | None,
    typer.Option(help="preprocessor_config.json; found by itself beside the model.", exists=True),
]
Resize = Annotated[str | None, typer.Option(help="Shorter side, or HEIGHT,WIDTH.")]
Crop = Annotated[str | None, typer.Option(help="Centre crop: HEIGHT,WIDTH.")]
Scale = Annotated[
    float | None,
    typer.Option(help="Factor on pixels 0…255; default 1/255, or 1 for an integer input."),
]
Mean = Annotated[str | None, typer.Option(help="Mean per channel: 0.485,0.456,0.406.")]
Std = Annotated[str | None, typer.Option(help="Deviation per channel: 0.229,0.224,0.225.")]
Layout = Annotated[str | None, typer.Option(help="NCHW or NHWC.")]
Threshold = Annotated[float | None, typer.Option(help="λ: suppress neurons that score higher.")]
Standardize = Annotated[
    bool | None, typer.Option(help="Scores (and λ) in standard deviations of the neuron.")
]
MaxSuppressed = Annotated[
    float | None, typer.Option(help="Largest share of live neurons to suppress.", min=0, max=1)
]
Aggregation = Annotated[str | None, typer.Option(help="union, intersection or per_class.")]
Statistic = Annotated[str | None, typer.Option(help="median, mean or contribution.")]
ErrorWeight = Annotated[
    str | None, typer.Option(help="Factor on misclassified training samples, or balanced.")
]
InversePenalty = Annotated[float | None, typer.Option("--C", help="Inverse of the L2 penalty.")]


def neurontune_parameters(**options: Any) -> dict[str, Any]:
    """Parameters of NeuronTuneClassifier that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    weight = given.get("error_weight")
    if weight is not None and weight != "balanced":
        given["error_weight"] = _number(weight, "--error-weight")
    return given


def preprocessing_for(
    model: FrozenModel,
    *,
    preprocessor: Path | None = None,
    resize: str | None = None,
    crop: str | None = None,
    scale: float | None = None,
    mean: str | None = None,
    std: str | None = None,
    layout: str | None = None,
) -> ImagePreprocessing | None:
    """Preprocessing of image folders: the file given or found, then the options over it."""
    base = ImagePreprocessing.for_model(model, preprocessor)
    if base is None:
        return None
    changes: dict[str, Any] = {}
    if resize is not None:
        sides = tuple(int(v) for v in _numbers(resize, "--resize"))
        changes["resize"] = sides[0] if len(sides) == 1 else sides
    if crop is not None:
        sides = tuple(int(v) for v in _numbers(crop, "--crop"))
        changes["crop"] = sides * 2 if len(sides) == 1 else sides
    if scale is not None:
        changes["scale"] = scale
    if mean is not None:
        changes["mean"] = _numbers(mean, "--mean")
    if std is not None:
        changes["std"] = _numbers(std, "--std")
    if layout is not None:
        if layout not in ("NCHW", "NHWC"):
            raise InputError(f"--layout is NCHW or NHWC, not {layout!r}.")
        changes["layout"] = layout
    return replace(base, **changes)


def named_like(model: FrozenModel, head: LinearHead) -> FrozenModel:
    """Name the classes of a model that does not name them as a head of the same width does."""
    if model.head is None or len(model.head.classes) != len(head.classes):
        return model
    return model.with_classes(head.classes)


def read(
    path: Path,
    preprocessing: ImagePreprocessing | None,
    label_column: str,
    group_column: str,
    skip_bad: bool,
) -> Samples:
    """Read samples with the options given."""
    return read_samples(
        path,
        preprocessing=preprocessing,
        label_column=label_column,
        group_column=group_column,
        skip_bad=skip_bad,
    )


def print_json(content: Any) -> None:
    """Print JSON that every parser reads: NaN becomes null."""
    typer.echo(json.dumps(_without_nan(content), indent=2, default=str))


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content


def _numbers(text: str, option: str) -> tuple[float, ...]:
    return tuple(_number(part, option) for part in text.split(","))


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a number.") from None

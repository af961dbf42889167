"""Options that several verbs share."""

from __future__ import annotations

import csv
import inspect
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from ntkit._disk import as_json
from ntkit.exceptions import InputError
from ntkit.extraction import (
    EmbeddingStore,
    ImagePreprocessing,
    Samples,
    TextPreprocessing,
    input_notes,
    is_image_folder,
    read_samples,
)
from ntkit.head import LinearHead
from ntkit.inputs import FILTERS
from ntkit.model import FrozenModel, inspected
from ntkit.samples import TABLES
from ntkit.verification import load_pair

Model = Annotated[Path, typer.Argument(help="ONNX classifier, or its folder.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--out", help="What to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
TrustInputs = Annotated[
    bool,
    typer.Option("--trust-inputs", help="Go on with a model that is no better than guessing."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars; notes stay.")]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or tensorrt; none but auto falls back to the CPU.")
]
Metadata = Annotated[
    Path | None, typer.Option(help="Table of what is known beside the inputs: site, device.")
]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of it that names the samples; else file_name or id.")
]
MatchNames = Annotated[
    bool, typer.Option("--match-names", help="Match labels by name where no content matches.")
]
BatchSize = Annotated[
    str | None, typer.Option(help="Samples per run, or auto: the fastest here; 8, on a GPU 64.")
]
Seed = Annotated[int, typer.Option(help="Seed of folds, splits and random masks.")]
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
    str | None, typer.Option(help="Factor on misclassified training samples, balanced or auto.")
]
InversePenalty = Annotated[float | None, typer.Option("--C", help="Inverse of the L2 penalty.")]


def neurontune_parameters(**options: Any) -> dict[str, Any]:
    """Parameters of NeuronTuneClassifier that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    weight = given.get("error_weight")
    if weight is not None and weight not in ("balanced", "auto"):
        given["error_weight"] = _number(weight, "--error-weight")
    return given


@dataclass(frozen=True)
class ModelOptions:
    """Where the head of a model is, where it cannot be found without being told."""

    logits: Annotated[str | None, typer.Option(help="Name of the logits tensor.")] = None
    embedding: Annotated[str | None, typer.Option(help="Name of the embedding tensor.")] = None
    pooling: Annotated[
        str | None, typer.Option(help="For an embedding per token: cls or mean.")
    ] = None

    classes: Annotated[
        str | None,
        typer.Option(
            help="Class labels in the order of the logits: a,b,c or a file with one per line; "
            "found by itself where the model or a config.json beside it names them."
        ),
    ] = None

    def load(self, path: Path) -> FrozenModel:
        """Read a model with these options."""
        _refuse_samples(path)
        return FrozenModel.load(path, **self._places(), classes=self._classes())

    def inspected(self, path: Path) -> tuple[FrozenModel, dict[str, Any]]:
        """Read a model whether or not it has a head, and what is known of it."""
        _refuse_samples(path)
        return inspected(path, classes=self._classes(), **self._places())

    def load_pair(self, original: Path, debiased: Path) -> tuple[FrozenModel, FrozenModel]:
        """Read a model and the same model with another head; the options are the original's."""
        _refuse_samples(original)
        _refuse_samples(debiased)
        return load_pair(original, debiased, **self._places(), classes=self._classes())

    def _places(self) -> dict[str, str | None]:
        return {"logits": self.logits, "embedding": self.embedding, "pooling": self.pooling}

    def _classes(self) -> Any:
        if self.classes is None:
            return None
        file = Path(self.classes)
        try:
            text = file.read_text(encoding="utf-8-sig") if file.is_file() else None
        except (OSError, ValueError) as error:
            raise InputError(f"--classes: {file} is not a readable text file: {error}.") from error
        names = self.classes.split(",") if text is None else text.splitlines()
        names = [name.strip() for name in names if name.strip() or text is None]
        if not all(names):
            raise InputError(f"--classes: a label in {self.classes!r} is empty; give a,b,c.")
        # As labels are read from folders and tables.
        whole = all(re.fullmatch(r"-?(?:0|[1-9][0-9]{0,17})", name) for name in names)
        return [int(name) for name in names] if whole else names


@dataclass(frozen=True)
class TableOptions:
    """What the columns of a table are."""

    label_column: Annotated[str, typer.Option(help="Label column of a table.")] = "label"
    group_column: Annotated[str, typer.Option(help="Group column of a table or metadata.csv.")] = (
        "group"
    )
    columns: Annotated[
        str | None,
        typer.Option(help="Numeric columns that are the input, in its order: age,income,…"),
    ] = None
    delimiter: Annotated[
        str | None, typer.Option(help="Between cells of a CSV, or tab; found from the header.")
    ] = None

    def read_table(self, path: Path, **options: Any) -> Samples:
        """Read samples with these options; what was assumed is said on stderr."""
        samples = self._read(path, **options)
        for note in samples.notes:
            typer.echo(f"Note: {note}", err=True)
        return samples

    def _read(self, path: Path, **options: Any) -> Samples:
        return read_samples(
            path,
            label_column=self.label_column,
            group_column=self.group_column,
            columns=names(self.columns),
            delimiter=self.delimiter,
            **options,
        )


@dataclass(frozen=True)
class DataOptions(TableOptions):
    """How labelled samples are read, and become inputs of a model."""

    preprocessor: Annotated[
        Path | None,
        typer.Option(
            help="preprocessor_config.json, or timm's config.json; found beside the model.",
            exists=True,
        ),
    ] = None
    resize: Annotated[str | None, typer.Option(help="Shorter side, or HEIGHT,WIDTH.")] = None
    crop: Annotated[str | None, typer.Option(help="Centre crop: HEIGHT,WIDTH.")] = None
    resample: Annotated[
        str | None,
        typer.Option(help="Filter: nearest, bilinear, bicubic, lanczos, box or hamming."),
    ] = None
    scale: Annotated[
        float | None,
        typer.Option(help="Factor on pixels 0…255; default 1/255, or 1 for an integer input."),
    ] = None
    mean: Annotated[str | None, typer.Option(help="Mean per channel: 0.485,0.456,0.406.")] = None
    std: Annotated[str | None, typer.Option(help="Deviation per channel: 0.229,0.224,0.225.")] = (
        None
    )
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC.")] = None
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="tokenizer.json; found by itself beside the model.", exists=True),
    ] = None
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of a text; the rest is cut off.", min=1)
    ] = None
    text_column: Annotated[
        str | None, typer.Option(help="Text column of a table; found if there is only one.")
    ] = None
    text_pair_column: Annotated[
        str | None, typer.Option(help="Second text of each pair, such as the hypothesis.")
    ] = None
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out images that do not decode.")
    ] = False

    @property
    def files(self) -> tuple[Path | None, ...]:
        """Files that these options name."""
        return self.preprocessor, self.tokenizer

    def read(
        self,
        path: Path,
        model: FrozenModel,
        labels: Literal["required", "optional"] = "required",
        *,
        tell: bool = True,
        keep_table: bool = False,
    ) -> Samples:
        """Read samples for a model with these options; tell what happens to images."""
        samples = self.read_table(
            path, labels=labels, keep_table=keep_table, **self._of_model(path, model)
        )
        for note in input_notes([samples]) if tell else ():
            typer.echo(note, err=True)
        return samples

    def reader(
        self, path: Path, labels: Literal["required", "optional"]
    ) -> Callable[[FrozenModel], Samples]:
        """What reads samples, with their whole table, for a model; it says nothing."""
        return lambda model: self._read(
            path, labels=labels, keep_table=True, **self._of_model(path, model)
        )

    def _of_model(self, path: Path, model: FrozenModel) -> dict[str, Any]:
        """What decides how samples become inputs of a model."""
        return {
            "preprocessing": self.preprocessing(model, images=is_image_folder(path)),
            "inputs": model.inputs,
            "text_column": self.text_column,
            "text_pair_column": self.text_pair_column,
            "skip_bad": self.skip_bad,
        }

    def read_inputs(self, path: Path, model: FrozenModel) -> Samples:
        """Read samples that a model is to run on; they need no labels."""
        samples = self.read(path, model, labels="optional")
        if samples.embedded:
            raise InputError(
                f"{path} is an embedding store, and inputs of the model are wanted there: images, "
                "texts or numbers."
            )
        return samples

    def preprocessing(
        self, model: FrozenModel, *, images: bool = True
    ) -> ImagePreprocessing | TextPreprocessing | None:
        """How images or texts go into a model: what is found beside it, and the options over it."""
        steps = None
        if images:
            steps = ImagePreprocessing.for_model(model, self.preprocessor, **self._changes())
        if steps is not None:
            return steps
        return TextPreprocessing.for_model(model, self.tokenizer, self.max_length)

    def said(self, model: FrozenModel) -> ImagePreprocessing | TextPreprocessing | None:
        """How images or texts go into a model, where an option says something of it."""
        given = (self.preprocessor, self.tokenizer, self.max_length)
        if self._changes() or any(value is not None for value in given):
            return self.preprocessing(model)
        return None

    def _changes(self) -> dict[str, Any]:
        """What the options say about images, over what a file or the model says."""
        given: dict[str, Any] = {
            "scale": self.scale,
            "layout": self.layout,
            "resample": self.resample,
        }
        if self.resize is not None:
            sides = tuple(int(v) for v in _numbers(self.resize, "--resize"))
            given["resize"] = sides[0] if len(sides) == 1 else sides
        if self.crop is not None:
            sides = tuple(int(v) for v in _numbers(self.crop, "--crop"))
            given["crop"] = sides * 2 if len(sides) == 1 else sides
        if self.mean is not None:
            given["mean"] = _numbers(self.mean, "--mean")
        if self.std is not None:
            given["std"] = _numbers(self.std, "--std")
        if self.layout not in (None, "NCHW", "NHWC"):
            raise InputError(f"--layout is NCHW or NHWC, not {self.layout!r}.")
        if self.resample not in (None, *FILTERS):
            raise InputError(f"--resample is one of {', '.join(FILTERS)}, not {self.resample!r}.")
        return {name: value for name, value in given.items() if value is not None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Show the fields of a command's parameters that are dataclasses as options of their own."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def expanded(**values: Any) -> None:
        for name, kind in bundles.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    parameters = list[inspect.Parameter]()
    for name, parameter in inspect.signature(command).parameters.items():
        if name in bundles:
            parameters += _parameters_of(bundles[name])
        else:
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=keyword))
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    return expanded


def _parameters_of(bundle: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(bundle)
    ]


def batch_size_of(text: str | None) -> int | str | None:
    """Value of --batch-size: a number, or "auto"."""
    if text in (None, "auto"):
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(f"--batch-size is auto or a number of at least 1, not {text!r}.")
    return int(text)


def named_like(model: FrozenModel, head: LinearHead) -> FrozenModel:
    """Name the classes of a model that does not name them as a head of the same width does."""
    if model.head is None or len(model.head.classes) != len(head.classes):
        return model
    return model.with_classes(head.classes)


def typed_options(context: typer.Context) -> set[str]:
    """Names of the parameters that were given to a command."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}


def command_line() -> str | None:
    """How this process was started, if by the command ``ntkit``."""
    program = Path(sys.argv[0]).name
    return shlex.join(["ntkit", *sys.argv[1:]]) if program in ("ntkit", "__main__.py") else None


def print_json(content: Any) -> None:
    """Print JSON that every parser reads: NaN becomes null."""
    typer.echo(as_json(content))


def print_line(content: Any) -> None:
    """Print JSON in one line, at once."""
    typer.echo(as_json(content, indent=None))


def _refuse_samples(path: Path) -> None:
    if path.suffix.lower() in (".npz", ".npy", *TABLES) or EmbeddingStore.is_store(path):
        raise InputError(
            f"{path} holds samples, and a model (an ONNX file) is wanted there; the model "
            "comes first, as in: ntkit embed MODEL DATA -o OUT."
        )


def names(text: str | None) -> list[str] | None:
    """Names with commas between them; one that holds a comma stands in quotes."""
    return None if text is None else next(csv.reader([text], skipinitialspace=True), [])


def _numbers(text: str, option: str) -> tuple[float, ...]:
    return tuple(_number(part, option) for part in text.split(","))


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a number.") from None

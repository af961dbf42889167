"""Options that several verbs share."""

from __future__ import annotations

import csv
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from ntkit._text import as_json
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, ImagePreprocessing, Samples, TextPreprocessing
from ntkit.head import LinearHead
from ntkit.inputs import FILTERS
from ntkit.model import FrozenModel, inspected
from ntkit.samples import TABLES, input_notes, is_image_folder, read
from ntkit.verification import load_pair


def option(help: str, *flags: str, default: Any = None, **settings: Any) -> Any:
    """An option as the default of a parameter or field; ``default=...`` for one that is needed."""
    return field(
        default=default, metadata={"parameter": typer.Option(*flags, help=help, **settings)}
    )


def switch(name: str, help: str) -> Any:
    """An option without a value, off by default."""
    return option(help, name, default=False)


def argument(help: str, *, default: Any = None, **settings: Any) -> Any:
    """An argument as the default of a parameter; ``default=...`` for one that is needed."""
    return field(default=default, metadata={"parameter": typer.Argument(help=help, **settings)})


Model = Annotated[Path, typer.Argument(help="ONNX classifier, or its folder.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="What to write.")]
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
InversePenalty = Annotated[float | None, typer.Option("--C", help="Inverse of the L2 penalty.")]


@dataclass(frozen=True)
class NeuronTuneOptions:
    """Parameters of NeuronTuneClassifier."""

    threshold: float | None = option("λ: suppress neurons that score higher.")
    standardize: bool | None = option("Scores (and λ) in standard deviations of the neuron.")
    max_suppressed: float | None = option(
        "Largest share of live neurons to suppress.", min=0, max=1
    )
    aggregation: str | None = option("union, intersection or per_class.")
    statistic: str | None = option("median, mean or contribution.")
    error_weight: str | None = option("Factor on misclassified training samples, balanced or auto.")

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that are not left to the classifier."""
        chosen = {name: value for name, value in vars(self).items() if value is not None}
        if self.error_weight not in (None, "balanced", "auto"):
            chosen["error_weight"] = _number(str(self.error_weight), "--error-weight")
        return chosen


@dataclass(frozen=True)
class ModelOptions:
    """Where the head of a model is, where it cannot be found without being told."""

    logits: str | None = option("Name of the logits tensor.")
    embedding: str | None = option("Name of the embedding tensor.")
    pooling: str | None = option("For an embedding per token: cls or mean.")

    classes: str | None = option(
        "Class labels in the order of the logits: a,b,c or a file with one per line; found "
        "by itself where the model or a config.json beside it names them."
    )

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

    def load_all(self, paths: list[Path]) -> list[FrozenModel]:
        """Read one model, or a pair."""
        return [self.load(*paths)] if len(paths) == 1 else [*self.load_pair(*paths)]

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
    """Columns of a table by their role."""

    label_column: str = option("Label column of a table.", default="label")
    group_column: str = option("Group column of a table or metadata.csv.", default="group")
    columns: str | None = option("Numeric columns that are the input, in its order: age,income,…")
    delimiter: str | None = option("Between cells of a CSV, or tab; found from the header.")

    @property
    def table(self) -> dict[str, Any]:
        """Options of :func:`ntkit.extraction.read_samples` on the columns of a table."""
        return {
            "label_column": self.label_column,
            "group_column": self.group_column,
            "columns": names(self.columns),
            "delimiter": self.delimiter,
        }


@dataclass(frozen=True)
class DataOptions(TableOptions):
    """Options on reading labelled samples and making inputs of a model."""

    preprocessor: Path | None = option(
        "preprocessor_config.json, or timm's config.json; found beside the model.", exists=True
    )
    resize: str | None = option("Shorter side, or HEIGHT,WIDTH.")
    crop: str | None = option("Centre crop: HEIGHT,WIDTH.")
    resample: str | None = option("Filter: nearest, bilinear, bicubic, lanczos, box or hamming.")
    scale: float | None = option(
        "Factor on pixels 0…255; default 1/255, or 1 for an integer input."
    )
    mean: str | None = option("Mean per channel: 0.485,0.456,0.406.")
    std: str | None = option("Deviation per channel: 0.229,0.224,0.225.")
    layout: str | None = option("NCHW or NHWC.")
    tokenizer: Path | None = option(
        "tokenizer.json; found by itself beside the model.", exists=True
    )
    max_length: int | None = option("Most tokens of a text; the rest is cut off.", min=1)
    text_column: str | None = option("Text column of a table; found if there is only one.")
    text_pair_column: str | None = option("Second text of each pair, such as the hypothesis.")
    skip_bad: bool = switch("--skip-bad", "Leave out images that do not decode.")

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
        keep_table: bool = True,
    ) -> Samples:
        """Read samples for a model with these options; what was assumed is said on stderr."""
        samples = read(
            path,
            model,
            labels=labels,
            preprocessing=self.preprocessing(model, images=is_image_folder(path)),
            text_column=self.text_column,
            text_pair_column=self.text_pair_column,
            skip_bad=self.skip_bad,
            keep_table=keep_table,
            **self.table,
        )
        if tell:
            tell_notes(samples.notes)
            for note in input_notes([samples]):
                typer.echo(note, err=True)
        return samples

    def read_inputs(self, path: Path, model: FrozenModel, *, keep_table: bool = False) -> Samples:
        """Read samples that a model is to run on; they need no labels."""
        samples = self.read(path, model, labels="optional", keep_table=keep_table)
        if samples.embedded:
            raise InputError(
                f"{path} is an embedding store, and inputs of the model are wanted there: images, "
                "texts or numbers."
            )
        return samples

    def preprocessing(
        self, model: FrozenModel, *, images: bool = True
    ) -> ImagePreprocessing | TextPreprocessing | None:
        """Preprocessing found beside a model, with the options over it."""
        steps = None
        if images:
            steps = ImagePreprocessing.for_model(model, self.preprocessor, **self._changes())
        if steps is not None:
            return steps
        return TextPreprocessing.for_model(model, self.tokenizer, self.max_length)

    def said(self, model: FrozenModel) -> ImagePreprocessing | TextPreprocessing | None:
        """Preprocessing of a model if an option says something of it."""
        options = (self.preprocessor, self.tokenizer, self.max_length)
        if self._changes() or any(value is not None for value in options):
            return self.preprocessing(model)
        return None

    def _changes(self) -> dict[str, Any]:
        """Options on images, which replace those of a file or the model."""
        given: dict[str, Any] = {
            "scale": self.scale,
            "layout": self.layout,
            "resample": self.resample,
        }
        for name in ("resize", "crop", "mean", "std"):
            if getattr(self, name) is not None:
                given[name] = _numbers(getattr(self, name), f"--{name}")
        for name in given.keys() & {"resize", "crop"}:
            sides = tuple(map(int, given[name]))
            alone = sides[0] if name == "resize" else sides * 2
            given[name] = alone if len(sides) == 1 else sides
        if self.layout not in (None, "NCHW", "NHWC"):
            raise InputError(f"--layout is NCHW or NHWC, not {self.layout!r}.")
        if self.resample not in (None, *FILTERS):
            raise InputError(f"--resample is one of {', '.join(FILTERS)}, not {self.resample!r}.")
        return {name: value for name, value in given.items() if value is not None}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Show the options and arguments of a command, and the fields of those that are dataclasses."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def expanded(**values: Any) -> None:
        built = {name: _built(kind, values) for name, kind in bundles.items()}
        command(**values, **built)

    parameters = list[inspect.Parameter]()
    for name, parameter in inspect.signature(command).parameters.items():
        parameters += _parameters(name, hints[name], parameter.default)
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    return expanded


def _parameters(name: str, annotation: Any, default: Any) -> list[inspect.Parameter]:
    """Parameters that typer makes options of; of a dataclass, one for each field."""
    if is_dataclass(annotation):
        hints = get_type_hints(annotation, include_extras=True)
        return [p for f in fields(annotation) for p in _parameters(f.name, hints[f.name], f)]
    if isinstance(default, Field):
        if "parameter" in default.metadata:
            annotation = Annotated[annotation, default.metadata["parameter"]]
        default = inspect.Parameter.empty if default.default is ... else default.default
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, keyword, default=default, annotation=annotation)]


def _built(bundle: Any, values: dict[str, Any]) -> Any:
    """The bundle of its options, which are taken out of the values."""
    hints = get_type_hints(bundle)
    return bundle(
        **{
            field.name: _built(hints[field.name], values)
            if is_dataclass(hints[field.name])
            else values.pop(field.name)
            for field in fields(bundle)
        }
    )


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
    """Command line of this process, if it is the command ``ntkit``."""
    program = Path(sys.argv[0]).name
    return shlex.join(["ntkit", *sys.argv[1:]]) if program in ("ntkit", "__main__.py") else None


def show(result: Any, *, json: bool, text: str | None = None, notes: Iterable[str] = ()) -> None:
    """Print a result, as JSON or in words, and on stderr what was assumed."""
    tell_notes(notes)
    if json:
        print_json(result.as_dict())
    else:
        typer.echo(str(result) if text is None else text)


def print_json(content: Any) -> None:
    """Print JSON that every parser reads: NaN becomes null."""
    typer.echo(as_json(content))


def print_line(content: Any) -> None:
    """Print JSON in one line, at once."""
    typer.echo(as_json(content, indent=None))


def tell_notes(notes: Iterable[str]) -> None:
    """Say on stderr what was assumed."""
    for note in notes:
        typer.echo(f"Note: {note}", err=True)


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

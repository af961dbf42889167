"""Options that several commands share, and those of ntkit debias."""

from __future__ import annotations

import csv
import inspect
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from copy import copy
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import typer

from ntkit._text import as_json, shortened
from ntkit.cli._help import DATA as DATA  # for the commands
from ntkit.cli._help import IMAGES, TEXT
from ntkit.cli._help import LIMITS as LIMITS
from ntkit.cli._help import METHOD as METHOD
from ntkit.cli._help import MODEL as MODEL
from ntkit.cli._help import OUTPUT as OUTPUT
from ntkit.cli._help import TABLES as TABLES
from ntkit.cli._say import say as say
from ntkit.cli._settings import PREPROCESSING, READING, from_file, from_text
from ntkit.cli._settings import settings_of as settings_of  # for the commands
from ntkit.exceptions import InputError

if TYPE_CHECKING:  # a library of these takes seconds to import, which --help need not wait for
    from ntkit.cli._window import Window
    from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing
    from ntkit.head import LinearHead
    from ntkit.jobs.tables import TableRoles
    from ntkit.model import FrozenModel
    from ntkit.verification import Verification


def option(
    help: str,
    metavar: str | None = None,
    *flags: str,
    default: Any = None,
    panel: str | None = None,
    **settings: Any,
) -> Any:
    """An option as the default of a parameter or field; ``default=...`` for one that is needed."""
    made = typer.Option(*flags, help=help, metavar=metavar, rich_help_panel=panel, **settings)
    return field(default=default, metadata={"parameter": made})


of_data, of_images, of_texts, of_tables, of_model, of_method, of_output, of_limits = (
    partial(option, panel=panel)
    for panel in (DATA, IMAGES, TEXT, TABLES, MODEL, METHOD, OUTPUT, LIMITS)
)


def switch(name: str, help: str, panel: str | None = None) -> Any:
    """An option without a value, off by default."""
    return option(help, None, name, default=False, panel=panel)


def argument(help: str, metavar: str, default: Any = ...) -> Any:
    """An argument as the default of a parameter; ``default=None`` for one that is not needed."""
    made = typer.Argument(help=help, metavar=metavar)
    return field(default=default, metadata={"parameter": made})


def output(help: str, *, metavar: str = "PATH", default: Any = ...) -> Any:
    """The option that names what is written."""
    return option(help, metavar, "-o", "--out", default=default)


def _shared(help: str, panel: str, *flags: str, metavar: str | None = None) -> Any:
    return typer.Option(*flags, help=help, metavar=metavar, rich_help_panel=panel)


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX classifier, or its folder.")]
Force = Annotated[bool, _shared("Replace existing output.", OUTPUT, "--force")]
TrustInputs = Annotated[
    bool, _shared("Continue if the model is no better than guessing.", DATA, "--trust-inputs")
]
Json = Annotated[bool, _shared("Print JSON.", OUTPUT, "--json")]
Quiet = Annotated[bool, _shared("Hide progress bars.", OUTPUT, "--quiet")]
Device = Annotated[
    str, _shared("Device: auto (with fallback), cpu, cuda or tensorrt.", MODEL, metavar="NAME")
]
Metadata = Annotated[
    Path | None, _shared("Table of metadata: site, device.", DATA, metavar="TABLE")
]
IdColumn = Annotated[
    str | None,
    _shared("Column of sample names; default file_name or id.", DATA, metavar="COLUMN"),
]
MatchNames = Annotated[
    bool, _shared("Match labels by name if no content matches.", DATA, "--match-names")
]
BatchSize = Annotated[
    int | None, _shared("Samples per run; default 8, GPU 64.", MODEL, metavar="N")
]
Seed = Annotated[int, _shared("Seed of folds, splits and masks.", METHOD, metavar="N")]
InversePenalty = Annotated[
    float | None, _shared("Inverse of the L2 penalty.", METHOD, "--C", metavar="NUMBER")
]


@dataclass(frozen=True)
class RunOptions:
    """How a command runs, and how it writes and prints."""

    device: Device = "auto"
    batch_size: BatchSize = None
    seed: Seed = 0
    force: Force = False
    quiet: Quiet = False
    json: Json = False

    @property
    def running(self) -> dict[str, Any]:
        """The arguments with which a job runs a model."""
        shown = not self.quiet
        return {"device": self.device, "batch_size": self.batch_size, "verbose": shown}


@dataclass(frozen=True)
class NeuronTuneOptions:
    """Parameters of NeuronTuneClassifier."""

    threshold: float | None = of_method(
        "Suppress neurons with a higher score (λ), in standard deviations.", "NUMBER"
    )
    max_suppressed: float | None = of_method(
        "Largest share of non-constant neurons to suppress.", "SHARE", min=0, max=1
    )
    aggregation: str | None = of_method("union, intersection or per_class.", "NAME")
    statistic: str | None = of_method("median, mean or contribution.", "NAME")

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that are not left to the classifier."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class ModelOptions:
    """The place of a model's head, for a model in which ntkit cannot find it."""

    logits: str | None = of_model("Name of the logits tensor.", "NAME")
    embedding: str | None = of_model(
        "Name of the embedding tensor; one per token: NAME,mean.", "NAME"
    )
    pooling: str | None = of_model("Pooling of an embedding per token: cls or mean.", "NAME")
    classes: str | None = of_model(
        "Classes in logit order (table: any), or file; default: model's.", "A,B,…"
    )
    label: str | None = of_model("One label of a model that gives several.", "NAME")

    def load(self, path: Path, *, any_scores: bool = False) -> FrozenModel:
        """Read a model with these options, if `any_scores` also one without a linear layer."""
        from ntkit.model import FrozenModel

        _refuse_samples(path)
        return FrozenModel.load(path, **self._given(), any_scores=any_scores)

    def inspected(self, path: Path) -> tuple[FrozenModel, dict[str, Any]]:
        """Read a model whether or not it has a head, and what is known of it."""
        from ntkit.model.frozen_model import inspected

        _refuse_samples(path)
        return inspected(path, **self._given())

    def load_pair(
        self, original: Path, debiased: Path, *, any_scores: bool = False
    ) -> tuple[FrozenModel, FrozenModel]:
        """Read a model and the same model with another head; the options are the original's."""
        from ntkit.model.model_pair import load_pair

        _refuse_samples(original)
        _refuse_samples(debiased)
        return load_pair(original, debiased, **self._given(), any_scores=any_scores)

    def load_all(self, paths: list[Path]) -> list[FrozenModel]:
        """Read one model, or a pair, of any kind."""
        if len(paths) == 1:
            return [self.load(*paths, any_scores=True)]
        return [*self.load_pair(*paths, any_scores=True)]

    def _given(self) -> dict[str, Any]:
        place = vars(self) | {"classes": self.named_classes()}
        name, _, pooling = (self.embedding or "").rpartition(",")
        if pooling in ("cls", "mean"):  # a vector for each token
            place |= {"embedding": name, "pooling": pooling}
        return place

    def named_classes(self) -> Any:
        """The classes that the user names, or None."""
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

    label_column: str = of_tables("Label column of a table.", "COLUMN", default="label")
    group_column: str = of_tables(
        "Group column of a table or metadata.csv.", "COLUMN", default="group"
    )
    columns: str | None = of_tables("Numeric columns of the input, in its order.", "A,B,…")
    delimiter: str | None = of_tables("Separator of CSV cells, or tab; default: detected.", "CHAR")

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

    preprocessor: Path | None = of_images(
        "preprocessor_config.json or timm's config.json; default: next to model.",
        "FILE",
        exists=True,
    )
    resize: str | None = of_images("Shorter side, or HEIGHT,WIDTH.", "SIZE")
    crop: str | None = of_images("Centre crop: HEIGHT,WIDTH.", "SIZE")
    resample: str | None = of_images("nearest, bilinear, bicubic, lanczos, box or hamming.", "NAME")
    scale: float | None = of_images(
        "Factor on pixels 0…255; default 1/255, integer inputs 1.", "NUMBER"
    )
    mean: str | None = of_images("Mean per channel: 0.485,0.456,0.406.", "R,G,B")
    std: str | None = of_images("Standard deviation per channel: 0.229,0.224,0.225.", "R,G,B")
    layout: str | None = of_images("NCHW or NHWC.", "NAME")
    tokenizer: Path | None = of_texts(
        "tokenizer.json; default: next to model.", "FILE", exists=True
    )
    max_length: int | None = of_texts("Cut texts after N tokens.", "N", min=1)
    text_column: str | None = of_texts("Text column of a table; of pairs: FIRST,SECOND.", "COLUMN")
    text_pair_column: str | None = of_texts("Column of second texts, such as hypotheses.", "COLUMN")
    skip_bad: bool = switch("--skip-bad", "Leave out images that do not decode.", IMAGES)
    preprocessing: str | None = of_data(
        'Steps, "resize=224 scale=1", or a preprocessor_config.json.',
        "STEPS",
        callback=from_text,
        is_eager=True,
    )
    settings: Path | None = of_data(
        "TOML file of further settings.", "FILE", callback=from_file, is_eager=True
    )

    @property
    def files(self) -> tuple[Path | None, ...]:
        """Files that these options name."""
        return self.preprocessor, self.tokenizer, self.settings

    @property
    def _text_columns(self) -> tuple[str | None, str | None]:
        """The columns of the texts and of the second texts of pairs."""
        first, *second = names(self.text_column) or [""]
        return first or None, second[0] if second else self.text_pair_column

    def read(
        self,
        path: Path,
        model: FrozenModel,
        labels: Literal["required", "optional", "some"] = "required",
        *,
        tell: bool = True,
        keep_table: bool = True,
        every_label: bool = False,
        keep_unknown: bool = False,
    ) -> Samples:
        """Samples for a model, read with these options; assumptions are noted on stderr."""
        from ntkit.samples.read import is_image_folder, read
        from ntkit.samples.samples import input_notes

        text, second = self._text_columns
        samples = read(
            path,
            model,
            labels=labels,
            preprocessing=self.steps(model, images=is_image_folder(path)),
            text_column=text,
            text_pair_column=second,
            skip_bad=self.skip_bad,
            keep_table=keep_table,
            every_label=every_label,
            keep_unknown=keep_unknown,
            **self.table,
        )
        if tell:
            tell_notes(samples.notes)
            for note in input_notes([samples]):
                say(note, err=True)
        return samples

    def read_inputs(self, path: Path, model: FrozenModel, **options: bool) -> Samples:
        """Read samples that a model is to run on; they need no labels."""
        samples = self.read(path, model, "optional", **({"keep_table": False} | options))
        if samples.embedded:
            raise InputError(
                f"{path} is an embedding store, but this command needs inputs of the model: "
                "images, texts or numbers."
            )
        return samples

    def steps(
        self, model: FrozenModel, *, images: bool = True
    ) -> ImagePreprocessing | TextPreprocessing | None:
        """Preprocessing found next to a model, changed by the options."""
        from ntkit.extraction import ImagePreprocessing, TextPreprocessing

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
            return self.steps(model)
        return None

    def _changes(self) -> dict[str, Any]:
        """Options on images, which replace those of a file or the model."""
        from ntkit.inputs.image_preprocessing import FILTERS

        names = ("scale", "layout", "resample", "resize", "crop", "mean", "std")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        for name in given.keys() & {"resize", "crop", "mean", "std"}:
            given[name] = tuple(_number(part, f"--{name}") for part in given[name].split(","))
        for name in given.keys() & {"resize", "crop"}:
            sides = tuple(map(int, given[name]))
            alone = sides[0] if name == "resize" else sides * 2
            given[name] = alone if len(sides) == 1 else sides
        if self.layout not in (None, "NCHW", "NHWC"):
            raise InputError(f"--layout is NCHW or NHWC, not {self.layout!r}.")
        if self.resample not in (None, *FILTERS):
            raise InputError(f"--resample is one of {', '.join(FILTERS)}, not {self.resample!r}.")
        return given


@dataclass(frozen=True)
class PredictionOptions:
    """Tables of predictions, which need no model, and the metadata of samples."""

    predictions: Path | None = option("Table of predictions, in place of a model.", "TABLE")
    before: Path | None = option("Table of the predictions of the model in use.", "TABLE")
    metadata: Metadata = None
    prediction_column: str | None = of_tables(
        "Column of predicted classes; of two models: NEW,OLD.", "COLUMN"
    )
    score_columns: str | None = of_tables(
        "Columns of scores, named like classes or in their order.", "A,B,…"
    )
    id_column: IdColumn = None

    def roles(self, data: DataOptions, model: ModelOptions) -> TableRoles:
        """Roles of the columns of tables of predictions and samples; no model takes inputs."""
        from ntkit.jobs.tables import TableRoles

        given = {n: v for n, v in vars(data).items() if n not in vars(TableOptions())}
        given |= {n: v for n, v in vars(model).items() if n not in ("label", "classes")}
        for name, value in given.items():
            if name not in ("text_column", "settings") and value not in (None, False):
                flag = "preprocessing" if name in PREPROCESSING else name.replace("_", "-")
                raise InputError(f"--{flag} needs a model; drop it, or drop --predictions.")
        return TableRoles(
            label=data.label_column,
            prediction=names(self.prediction_column) or (),
            scores=names(self.score_columns) or (),
            text=data.text_column,
            columns=names(data.columns),
            group=data.group_column,
            key=self.id_column,
            delimiter=data.delimiter,
            one=model.label,
            classes=model.named_classes(),
        )

    def refuse_columns(self) -> None:
        """Refuse names of columns of predictions without a table of them."""
        if self.prediction_column is not None or self.score_columns is not None:
            raise InputError(
                "--prediction-column and --score-columns name columns of a table; name the table "
                "with --predictions."
            )


@dataclass(frozen=True)
class DebiasSets:
    """The model, its samples, and the folders of runs."""

    model: Path | None = argument("ONNX classifier, or its folder.", "MODEL", default=None)
    data: Path | None = argument("Labelled samples, or complaints.", "DATA", default=None)
    keep: Path | None = option("Unlabelled traffic; DATA then holds complaints.", "DATA")
    train: Path | None = option("Training samples, to retrain the head.", "DATA")
    validation: Path | None = option("Samples the network was not trained on.", "DATA")
    test: Path | None = option("Samples that decide whether the new head is better.", "DATA")
    out: Path | None = output("Output folder.", metavar="FOLDER", default=None)
    run: Path | None = option(
        "Continue the run in this folder, with its embeddings.", "FOLDER", "--from"
    )
    deploy: Path | None = of_output("Write a folder for the service as well.", "FOLDER")


@dataclass(frozen=True)
class DebiasSaid:
    """What a person says of the samples."""

    spurious: list[str] | None = option(
        "Attribute that must not matter: word:film, column:age>=40; repeatable.", "NAME"
    )
    invariant: list[str] | None = option(
        "Change that must not matter: image:border, markup; repeatable.", "CHANGE"
    )
    answers: list[Path] | None = option(
        "answers.json, or labels of single samples; repeatable.", "FILE"
    )
    groups: Path | None = of_data("Table of known groups of some samples, to balance.", "TABLE")
    metadata: Metadata = None
    id_column: IdColumn = None
    match_names: MatchNames = False
    recorded: Path | None = of_data(
        "A service's outputs (.npz); refuses embeddings that differ.", "OUTPUTS"
    )
    trust_inputs: TrustInputs = False
    no_input: bool = switch("--no-input", "Ask no question in the terminal.", OUTPUT)


@dataclass(frozen=True)
class WindowOptions:
    """A run in the person's browser."""

    browser: bool = switch("--browser", "Answer and choose in your browser.", OUTPUT)
    idle: float | None = of_output(
        "In a browser: end after N minutes without an answer.", "N", min=0
    )
    allow_host: list[str] | None = of_output(
        "In a browser: another name of this machine; repeatable.", "NAME"
    )

    def check(self, *, json: bool, no_input: bool = False) -> None:
        """Raise an error if nobody can sit at a browser."""
        in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
        if self.browser and (no_input or json or in_ci):
            why = "--no-input" if no_input else "--json" if json else "the variable CI"
            raise InputError(f"--browser waits for a person; {why} says there is none. Omit one.")

    def opened(self, out: Path, title: str, go_on: str = "") -> Window | nullcontext[None]:
        """The window of a run, if one is wanted."""
        from ntkit.cli._window import Window

        hosts = self.allow_host or ()
        return Window(out, title, hosts, self.idle, go_on) if self.browser else nullcontext()


@dataclass(frozen=True)
class DebiasFit:
    """How a head is fitted and chosen."""

    method: str | None = option("Order a method: auto, neurontune, afr, …, or a score.", "NAME")
    max_cost: float | None = option(
        "Largest loss (default 0.05), or changed answers (--keep: 0.02).", "SHARE", min=0, max=1
    )
    validation_balanced: bool = switch(
        "--validation-balanced", "Validation has little bias: auto uses it alone.", METHOD
    )
    interpolation: float | None = of_method("Share of the new head to write, up to 1.", "SHARE")
    even_if_worse: bool = switch(
        "--even-if-worse", "Write the new head even if it is not better.", METHOD
    )
    new_head: bool = switch("--new-head", "Fit a new last layer for other classes.", METHOD)
    keep_original: bool = switch(
        "--keep-original", "Without a new model, write the unchanged original.", OUTPUT
    )
    neurontune: NeuronTuneOptions = field(default_factory=NeuronTuneOptions)
    C: InversePenalty = None


@dataclass(frozen=True)
class DebiasOptions:
    """All options of ``ntkit debias``."""

    sets: DebiasSets
    said: DebiasSaid
    fit: DebiasFit
    model_options: ModelOptions
    data_options: DataOptions
    running: RunOptions
    window: WindowOptions
    verbose: bool = switch("--verbose", "Print all candidates, groups and notes.", OUTPUT)

    @property
    def values(self) -> dict[str, Any]:
        """The options by name; those on the model and on reading data are one value each."""
        values = {"model_options": self.model_options, "data_options": self.data_options}
        for part in (self.sets, self.said, self.fit, self.running):
            values |= vars(part)
        return values | {"verbose": self.verbose}

    def with_values(self, values: Mapping[str, Any]) -> DebiasOptions:
        """The options with other values of some."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, part in parts.items():
            if name in values:
                parts[name] = values[name]
            elif name in ("sets", "said", "fit", "running"):
                parts[name] = replace(part, **{n: values[n] for n in vars(part) if n in values})
        return DebiasOptions(**parts)


KEYS = frozenset(
    {"logits", "pooling", "group_column", "delimiter", "skip_bad", "batch_size"}
    | {"text_pair_column", *PREPROCESSING}
)
"""Options of reading that are keys of a settings file in most commands."""


def with_options(
    keys: Collection[str] = KEYS, *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Show the options and arguments of a command, and the fields of those that are dataclasses.

    Those called ``keys`` are not shown: they are keys of a settings file. Fields called
    ``without`` keep their defaults.
    """
    return partial(_with_options, keys, without)


def _with_options(
    keys: Collection[str], without: Collection[str], command: Callable[..., None]
) -> Callable[..., None]:
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def expanded(**values: Any) -> None:
        built = {name: _built(kind, values) for name, kind in bundles.items()}
        command(**values, **built)

    parameters = list[inspect.Parameter]()
    for name, parameter in inspect.signature(command).parameters.items():
        parameters += _parameters(name, hints[name], parameter.default)
    parameters = [
        _hidden(each) if each.name in keys else each
        for each in parameters
        if each.name not in without
    ]
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    return expanded


def _hidden(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose option is not shown, because it is a key of a settings file."""
    kind, shown = get_args(parameter.annotation)
    option = copy(shown)
    option.hidden = True
    return parameter.replace(annotation=Annotated[kind, option])


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
            else values.pop(field.name, field.default)
            for field in fields(bundle)
        }
    )


def named_like(model: FrozenModel, head: LinearHead) -> FrozenModel:
    """Name the classes of a model that does not name them as a head of the same width does."""
    if model.head is None or len(model.head.classes) != len(head.classes):
        return model
    return model.with_classes(head.classes)


def typed_options(context: typer.Context) -> set[str]:
    """Names of the parameters that the user typed."""
    return _given_in(context, "DEFAULT", "DEFAULT_MAP")


def given_options(context: typer.Context) -> set[str]:
    """Names of the parameters that the user typed, or gave in a settings file."""
    return _given_in(context, "DEFAULT")


def _given_in(context: typer.Context, *others: str) -> set[str]:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name not in others}


def refuse_unused(context: typer.Context, used: Collection[str], why: str, ending: str) -> None:
    """Refuse typed options that are not used; a note names those of a settings file."""
    for name in sorted(typed_options(context) - {*used}):
        flag = "from" if name == "run" else name.replace("_", "-")
        raise InputError(f"--{flag} {why}{ending}")
    # Keys on reading are for every command, so that one may not need them.
    general = {*used, *READING, *PREPROCESSING}
    unused = sorted(given_options(context) - general)
    if unused:
        tell_notes([f"Not used here, of the settings file: {', '.join(unused)}."])


def command_line() -> str | None:
    """Command line of this process, if it is the command ``ntkit``."""
    program = Path(sys.argv[0]).name
    return shlex.join(["ntkit", *sys.argv[1:]]) if program in ("ntkit", "__main__.py") else None


def show(result: Any, *, json: bool, text: str | None = None, notes: Iterable[str] = ()) -> None:
    """Print a result or facts, as JSON or in words, and on stderr what was assumed."""
    tell_notes(notes)
    if json:
        print_json(result if isinstance(result, dict) else result.as_dict())
    else:
        say(str(result) if text is None else text)


def show_verified(path: Path, check: Verification, text: str, *, json: bool) -> None:
    """Print a model that was written, and how it was verified."""
    show({"model": str(path), **check.__dict__}, json=json, text=text)


def print_json(content: Any, indent: int | None = 2) -> None:
    """Print JSON that every parser reads: NaN becomes null."""
    say(as_json(content, indent))


def tell_notes(notes: Iterable[str]) -> None:
    """Say on stderr what was assumed."""
    for note in notes:
        say(f"Note: {note}", err=True)


def _refuse_samples(path: Path) -> None:
    from ntkit.samples.table import TABLES as KINDS
    from ntkit.store import EmbeddingStore

    if path.suffix.lower() in (".npz", ".npy", *KINDS) or EmbeddingStore.is_store(path):
        raise InputError(
            f"{path} holds samples, but a model (an ONNX file) comes first, as in: ntkit embed "
            "MODEL DATA -o OUT. If it holds predictions, ntkit check and ntkit audit read "
            "them with --predictions."
        )


def names(text: str | None) -> list[str] | None:
    """Names with commas between them; one with a comma or a line break is in quotes."""
    if text is None:
        return None
    lines = [*csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)]
    if len(lines) > 1:
        raise InputError(
            f"{shortened(text, 80)!r} has a line break. Write names on one line with commas "
            "between them, and a name that contains a line break in double quotes."
        )
    return lines[0] if lines else []


def by_class(values: list[str] | None, option: str) -> float | dict[str, float] | None:
    """Numbers of an option by class: CLASS=80, or 80 alone for the positive class."""
    if not values:
        return None
    named = {name: number for name, _, number in (each.rpartition("=") for each in values)}
    if len(named) < len(values) and "" not in named:
        raise InputError(f"{option} names a class twice. Give one number for each class.")
    if "" in named and len(values) > 1:
        raise InputError(f"{option} is one number, or CLASS=NUMBER for each class. Name the class.")
    numbers = {name: _number(number, option) for name, number in named.items()}
    return numbers.get("", numbers)


def numbers(text: str | None, option: str) -> list[float] | float | None:
    """One number, or several with commas between them."""
    several = [_number(part, option) for part in names(text) or ()]
    return several[0] if len(several) == 1 else several or None


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a number.") from None

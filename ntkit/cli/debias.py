"""ntkit debias: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import typer

from ntkit._output import check_folder, refuse_nested
from ntkit.attributes import Answers
from ntkit.cli import _options as o
from ntkit.cli._again import going_on, plain_arguments
from ntkit.cli._ask import asks_in_terminal, can_ask
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import DeployError, InputError
from ntkit.jobs.debias import (
    ANSWERS_FILE,
    HEADS_FILE,
    MAX_COST,
    MODEL_FILE,
    RUN_FILE,
    DebiasResult,
    answers_from,
    debias,
    write_candidate,
)
from ntkit.jobs.report import quoted, started_by
from ntkit.samples import Samples, named_delimiter, read_table

NOT_BETTER, OPEN = 1, 3
"""Exit codes: what was asked for is not better; questions are open."""
_OF_ONE_RUN = ("out", "run", "deploy", "spurious", "answers", "no_input", "even_if_worse")
"""Options that a run which goes on with this one does not take over."""
_PASSED_ON = (
    "new_head", "max_cost", "validation_balanced", "id_column", "match_names", "recorded",
    "trust_inputs", "keep_original", "C", "device",
)  # fmt: skip
_MUCH = 1000  # samples to embed, from which on a run that cannot end with a model says so first


@dataclass(frozen=True)
class RepairOptions:
    """What is to be repaired, what is known, and where it is written."""

    model: Path | None = o.argument("ONNX classifier, or its folder.")
    train: Path | None = o.option("DATA: training samples, to retrain the head.")
    validation: Path | None = o.option(
        "DATA: samples the model was not trained on, to find neurons, retrain, choose."
    )
    out: Path | None = o.option(
        "Output folder; with --from, by default the same folder.", "-o", "--out"
    )
    run: Path | None = o.option(
        "Folder of an earlier run to go on from; its embeddings are used again.", "--from"
    )
    deploy: Path | None = o.option(
        "Folder to write for the service: model, tokenizer or preprocessor, class order, a "
        "program that was run, checksums, card."
    )
    test: Path | None = o.option("DATA: samples for the table only.")
    method: str | None = o.option(
        "Order a method instead of answering: auto, neurontune, afr, …, or a score."
    )
    new_head: bool = o.switch("--new-head", "Give the model a head for the labels at hand.")
    max_cost: float = o.option(
        "Largest share of average accuracy to lose, or of the groups' mean.",
        default=MAX_COST,
        min=0,
        max=1,
    )
    validation_balanced: bool | None = o.option(
        "Is the held-out set better balanced than the training set? Else tested."
    )
    spurious: list[str] | None = o.option(
        "An attribute that a right answer must not depend on: word:film, column:age>=40, "
        "metadata:site=B, word:film|word:movie; again for more."
    )
    answers: list[Path] | None = o.option(
        "answers.json of a page, again for more people; or labels of single samples, as "
        "ntkit label keeps them or as a table."
    )
    no_input: bool = o.switch("--no-input", "Ask no question in the terminal.")
    groups: Path | None = o.option(
        "Table of groups that are known of some samples, to be balanced over."
    )
    metadata: o.Metadata = None
    id_column: o.IdColumn = None
    match_names: o.MatchNames = False
    recorded: Path | None = o.option(
        "A service's own outputs (.npz), as ntkit verify takes them: embeddings that are "
        "not its are refused."
    )
    trust_inputs: o.TrustInputs = False
    even_if_worse: bool = o.switch(
        "--even-if-worse", "Write a head that is not found to be better."
    )
    keep_original: bool = o.switch(
        "--keep-original", "Without a new model, put the unchanged original there."
    )


@o.with_options
def command(
    *,
    context: typer.Context,
    job: RepairOptions,
    neurontune: o.NeuronTuneOptions,
    C: o.InversePenalty = None,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Find shortcuts, ask, repair, prove.

    Without an answer no model is written. ntkit audits the model and what retraining would newly
    rely on, writes a page with the findings, and asks about the strongest in the terminal: y means
    that the model should ignore it. Or answer on the page, name a shortcut with --spurious, label
    single samples with ntkit label, or order a method with --method.

    DATA is an image folder with one subfolder per class (groups in a metadata.csv with file_name
    and group), an .npz with X and y (and groups), X.npy beside y.npy, a .csv, .tsv, .jsonl or
    .parquet table of texts or of numeric columns, or an embedding store. Groups, where given, are
    for the table only.

    A new head is written only if it is found to be better on validation samples it has not seen,
    and costs no more than --max-cost. The summary names the groups that lose accuracy. Labels of
    some samples (--answers of ntkit label, --groups) are inferred for the others. Tables name
    samples by file_name or id (or --id-column), or have a row for each training sample and then
    each validation sample.

    Any of --threshold, --standardize, --max-suppressed, --aggregation, --statistic and
    --error-weight orders NeuronTune with these parameters.

    Exit codes: 0 decided, 1 what was asked for is not better, 2 an error, 3 questions are open.

    Example: ntkit debias classifier.onnx --train images/train --validation images/val -o debiased/

    Example: ntkit debias --from debiased/ --answers answers.json
    """
    typed, run, out = o.typed_options(context), job.run, job.out
    if run is not None and (run / HEADS_FILE).is_file() and not _goes_on(run, typed):
        _other_row(run, job, model_options, device, force, json, typed)
        return
    answers = job.answers or []
    said = [answers_from(file) for file in answers]
    of_samples = any(not isinstance(each, Answers) for each in said)
    arguments = {name: value for name, value in vars(job).items() if name not in _OF_ONE_RUN} | {
        "labels": answers[0] if of_samples else None,
        "neurontune": neurontune,
        "device": device,
        "batch_size": batch_size,
        "seed": seed,
        "C": C,
        "model_options": model_options,
        "data_options": data_options,
    }
    said_now = {name: arguments[name] for name in ("method", "labels", "neurontune")}
    if run is not None:
        arguments, out = going_on(run, arguments, typed), out or run
        if {"answers", "spurious", "groups"} & typed or (run / ANSWERS_FILE).is_file():
            # What was ordered or labelled before is not what is said now.
            arguments |= said_now
    a = SimpleNamespace(**arguments)
    if a.model is None or a.train is None or a.validation is None or out is None:
        raise InputError(
            "Give a model, samples and a folder (ntkit debias MODEL --train DATA "
            "--validation DATA -o "
            "OUT), or the folder of an earlier run (ntkit debias --from OUT)."
        )
    read = [a.model, a.train, a.validation, a.test, a.groups, a.metadata, a.recorded, *answers]
    read += a.data_options.files
    if run is None or run.resolve() != out.resolve():
        _check_new(out, read, force=force)
    if job.deploy is not None:
        check_folder(job.deploy, inputs=read, force=force)
        refuse_nested(out, job.deploy)
    frozen = a.model_options.load(a.model)
    parameters = a.neurontune.parameters
    sets = {
        name: a.data_options.read(arguments[name], frozen, tell=False)
        for name in ("train", "validation", "test")
        if arguments[name] is not None
    }
    for samples in sets.values():
        o.tell_notes(samples.notes)
    ordered: Any = a.method
    if parameters:
        if a.method is not None:
            option = f"--{next(iter(parameters)).replace('_', '-')}"
            raise InputError(
                f"{option} makes NeuronTune the head that is written, and --method {a.method} says "
                "which one, too; drop one of them."
            )
        ordered = NeuronTuneClassifier.as_published(
            C=a.C, min_neurons=None, random_state=a.seed, **parameters
        )
    asks = not (job.no_input or json) and can_ask()
    answered = job.spurious or answers or a.groups or ordered or a.new_head
    if not asks and not answered and run is None:
        _tell_cost(sets, a.model, a.validation)
    failed: DeployError | None = None
    try:
        with started_by(o.command_line(), plain_arguments(arguments)):
            result = debias(
                frozen,
                sets["train"],
                sets["validation"],
                test=sets.get("test"),
                out=out,
                deploy=job.deploy,
                method=ordered,
                spurious=job.spurious,
                answers=said or a.labels,
                ask=asks_in_terminal(out / "audit.html") if asks else None,
                groups=None if a.groups is None else _groups(a.groups, a.data_options),
                metadata=None if a.metadata is None else _beside(a.metadata, a.data_options),
                even_if_worse=job.even_if_worse,
                resume=run,
                batch_size=o.batch_size_of(a.batch_size),
                random_state=a.seed,
                force=force,
                verbose=not quiet,
                **{name: arguments[name] for name in _PASSED_ON},
            )
    except DeployError as error:
        result, failed = error.result, error
    new = isinstance(result, DebiasResult) and result.verification is not None
    if json:
        o.tell_notes(result.notes)  # what was assumed, and samples in two sets, as audit tells them
        o.print_json(result.as_dict())
    else:
        typer.echo(result.summary())
        if job.deploy is not None and not new:
            typer.echo(f"Not written: {job.deploy}, for there is no new model to deploy.")
    if failed is not None:
        raise failed
    if result.state == "open":
        raise typer.Exit(OPEN)
    if isinstance(result, DebiasResult) and not new:
        raise typer.Exit(NOT_BETTER)


def _check_new(out: Path, inputs: list[Path | None], *, force: bool) -> None:
    """Refuse a folder that is in the way; one of an earlier run can be gone on from."""
    if not force and (out / RUN_FILE).is_file():
        raise InputError(
            f"{out} holds an earlier run: go on with ntkit debias --from {quoted(out)}, "
            "replace it with --force, or choose another name."
        )
    if force and (out / ANSWERS_FILE).is_file():
        raise InputError(
            f"{out} holds somebody's {ANSWERS_FILE}: go on with ntkit debias --from {quoted(out)}, "
            "or move the answers away first."
        )
    check_folder(out, inputs=inputs, force=force)


def _tell_cost(sets: Mapping[str, Samples], model: Path, validation: Path) -> None:
    """Say what a run costs that cannot end with a model."""
    n = sum(len(samples) for samples in sets.values() if not samples.embedded)
    if n >= _MUCH:
        typer.echo(
            f"Note: this run embeds {n} samples and writes no model: there is no terminal to ask "
            f"in. ntkit audit {quoted(model)} {quoted(validation)} -o audit/ lists findings "
            "from the "
            "validation set alone.",
            err=True,
        )


def _groups(path: Path, options: o.DataOptions) -> dict[str, Any]:
    """Columns of a table of groups, that of the groups by the name that the job knows."""
    columns = read_table(path, named_delimiter(options.delimiter)).columns
    named = options.group_column
    if named != "group" and named not in columns:
        raise InputError(
            f"{path} has no column {named!r} (--group-column); it has {list(columns)}."
        )
    return {"group" if name == named else name: values for name, values in columns.items()}


def _goes_on(run: Path, typed: set[str]) -> bool:
    """Whether a decided run is done again, rather than another row of its table written."""
    if typed & {"answers", "spurious", "groups", "max_cost", "even_if_worse"}:
        return True
    return "out" not in typed and ("method" in typed or (run / ANSWERS_FILE).is_file())


def _other_row(
    run: Path,
    job: RepairOptions,
    model_options: o.ModelOptions,
    device: str,
    force: bool,
    json: bool,
    typed: set[str],
) -> None:
    """Write another head of a decided run."""
    method, out = job.method, job.out
    if method is None or out is None:
        raise InputError(
            f"{run} holds a decided run. Another method: ntkit debias --from {quoted(run)} "
            "--method NAME -o OTHER. Other answers: add --answers or --spurious."
        )
    of_a_row = {"run", "model", "method", "out", "device", "force", "json", "quiet", "no_input"}
    of_a_row |= {field.name for field in fields(model_options)}
    for name in sorted(typed - of_a_row):
        raise InputError(
            f"--{name.replace('_', '-')} is not used to write another row of {run}; leave it out, "
            "or leave -o out to do the run again."
        )
    model = None if job.model is None else model_options.load(job.model)
    check = write_candidate(run, method, out, model=model, device=device, force=force)
    if json:
        o.print_json({"model": str(out / MODEL_FILE), **check.__dict__})
    else:
        typer.echo(
            f"{out / MODEL_FILE}: the row {method} of {run}, whole; verified on "
            f"{check.n_samples} random inputs, largest relative difference of logits "
            f"{check.logit_difference:.1e}."
        )


def _beside(path: Path, options: o.DataOptions) -> dict[str, Any]:
    """Columns of metadata, without what says the class or is for the table only."""
    told = (options.label_column, options.group_column)
    found = read_table(path, named_delimiter(options.delimiter)).columns
    return {name: values for name, values in found.items() if name not in told}

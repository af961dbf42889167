"""ntkit debias: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from ntkit._output import check_folder, refuse_nested
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
    debias,
    holds_labels,
    write_candidate,
)
from ntkit.jobs.report import quoted, started_by
from ntkit.samples import Samples, named_delimiter, read_table

NOT_BETTER, OPEN = 1, 3
"""Exit codes: what was asked for is not better; questions are open."""
_NEURONTUNE = (
    "threshold", "standardize", "max_suppressed", "aggregation", "statistic", "error_weight",
)  # fmt: skip
_MUCH = 1000  # samples to embed, from which on a run that cannot end with a model says so first


@o.with_options
def command(
    model: Annotated[
        Path | None, typer.Argument(help="ONNX classifier, or its folder.", show_default=False)
    ] = None,
    *,
    context: typer.Context,
    train: Annotated[
        Path | None,
        typer.Option(help="DATA: training samples, to retrain the head.", show_default=False),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="DATA: samples the model was not trained on, to find neurons, retrain, choose.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Output folder; with --from, by default the same folder."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Folder of an earlier run to go on from; its embeddings are used again.",
        ),
    ] = None,
    deploy: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write for the service: model, tokenizer or preprocessor, class order, "
            "a program that was run, checksums, card."
        ),
    ] = None,
    test: Annotated[Path | None, typer.Option(help="DATA: samples for the table only.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Order a method instead of answering: auto, neurontune, afr, …, or a score."
        ),
    ] = None,
    new_head: Annotated[
        bool, typer.Option("--new-head", help="Give the model a head for the labels at hand.")
    ] = False,
    max_cost: Annotated[
        float,
        typer.Option(
            help="Largest share of average accuracy to lose, or of the groups' mean.",
            min=0,
            max=1,
        ),
    ] = MAX_COST,
    validation_balanced: Annotated[
        bool | None,
        typer.Option(
            help="Is the held-out set better balanced than the training set? Else tested."
        ),
    ] = None,
    spurious: Annotated[
        list[str] | None,
        typer.Option(
            help="An attribute that a right answer must not depend on: word:film, column:age>=40, "
            "metadata:site=B, word:film|word:movie; again for more."
        ),
    ] = None,
    answers: Annotated[
        list[Path] | None,
        typer.Option(
            help="answers.json of a page, again for more people; or labels of single samples, as "
            "ntkit label keeps them or as a table."
        ),
    ] = None,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Ask no question in the terminal.")
    ] = False,
    groups: Annotated[
        Path | None,
        typer.Option(help="Table of groups that are known of some samples, to be balanced over."),
    ] = None,
    metadata: o.Metadata = None,
    id_column: o.IdColumn = None,
    match_names: o.MatchNames = False,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="A service's own outputs (.npz), as ntkit verify takes them: embeddings that are "
            "not its are refused."
        ),
    ] = None,
    trust_inputs: o.TrustInputs = False,
    even_if_worse: Annotated[
        bool, typer.Option("--even-if-worse", help="Write a head that is not found to be better.")
    ] = False,
    keep_original: Annotated[
        bool,
        typer.Option(
            "--keep-original", help="Without a new model, put the unchanged original there."
        ),
    ] = False,
    threshold: o.Threshold = None,
    standardize: o.Standardize = None,
    max_suppressed: o.MaxSuppressed = None,
    aggregation: o.Aggregation = None,
    statistic: o.Statistic = None,
    error_weight: o.ErrorWeight = None,
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
    typed = o.typed_options(context)
    if run is not None and (run / HEADS_FILE).is_file() and not _goes_on(run, typed):
        _other_row(run, model, method, out, model_options, device, force, json, typed)
        return
    arguments = {
        "model": model,
        "train": train,
        "validation": validation,
        "test": test,
        "method": method,
        "new_head": new_head,
        "max_cost": max_cost,
        "validation_balanced": validation_balanced,
        "groups": groups,
        "metadata": metadata,
        "id_column": id_column,
        "match_names": match_names,
        "recorded": recorded,
        "trust_inputs": trust_inputs,
        "keep_original": keep_original,
        "labels": next(iter(answers or ()), None)
        if any(map(holds_labels, answers or ()))
        else None,
        "threshold": threshold,
        "standardize": standardize,
        "max_suppressed": max_suppressed,
        "aggregation": aggregation,
        "statistic": statistic,
        "error_weight": error_weight,
        "device": device,
        "batch_size": batch_size,
        "seed": seed,
        "C": C,
        "model_options": model_options,
        "data_options": data_options,
    }
    said_now = {name: arguments[name] for name in ("method", "labels", *_NEURONTUNE)}
    if run is not None:
        arguments, out = going_on(run, arguments, typed), out or run
        if {"answers", "spurious", "groups"} & typed or (run / ANSWERS_FILE).is_file():
            # What was ordered or labelled before is not what is said now.
            arguments |= said_now
    a = SimpleNamespace(**arguments)
    model, train, validation, test, method = a.model, a.train, a.validation, a.test, a.method
    groups, metadata, recorded = a.groups, a.metadata, a.recorded
    model_options, data_options, seed, C = a.model_options, a.data_options, a.seed, a.C
    if model is None or train is None or validation is None or out is None:
        raise InputError(
            "Give a model, samples and a folder (ntkit debias MODEL --train DATA "
            "--validation DATA -o "
            "OUT), or the folder of an earlier run (ntkit debias --from OUT)."
        )
    given = [model, train, validation, test, groups, metadata, recorded, *data_options.files]
    if run is None or run.resolve() != out.resolve():
        _check_new(out, [*given, *(answers or ())], force=force)
    if deploy is not None:
        check_folder(deploy, inputs=[*given, *(answers or ())], force=force)
        refuse_nested(out, deploy)
    frozen = model_options.load(model)
    parameters = o.neurontune_parameters(**{name: arguments[name] for name in _NEURONTUNE})
    sets = {
        name: data_options.read(path, frozen, tell=False, keep_table=True)
        for name, path in (("train", train), ("validation", validation), ("test", test))
        if path is not None
    }
    ordered: Any = method
    if parameters:
        if method is not None:
            option = f"--{next(iter(parameters)).replace('_', '-')}"
            raise InputError(
                f"{option} makes NeuronTune the head that is written, and --method {method} says "
                "which one, too; drop one of them."
            )
        ordered = NeuronTuneClassifier.as_published(
            C=C, min_neurons=None, random_state=seed, **parameters
        )
    asks = not (no_input or json) and can_ask()
    if not asks and not (spurious or answers or groups or ordered or a.new_head) and run is None:
        _tell_cost(sets, model, validation)
    failed: DeployError | None = None
    try:
        with started_by(o.command_line(), plain_arguments(arguments)):
            result = debias(
                frozen,
                sets["train"],
                sets["validation"],
                test=sets.get("test"),
                out=out,
                deploy=deploy,
                method=ordered,
                new_head=a.new_head,
                max_cost=a.max_cost,
                validation_balanced=a.validation_balanced,
                spurious=spurious,
                answers=answers or a.labels,
                ask=asks_in_terminal(out / "audit.html") if asks else None,
                groups=None if groups is None else _groups(groups, data_options),
                metadata=None if metadata is None else _beside(metadata, data_options),
                id_column=a.id_column,
                match_names=a.match_names,
                recorded=recorded,
                trust_inputs=a.trust_inputs,
                even_if_worse=even_if_worse,
                keep_original=a.keep_original,
                resume=run,
                C=C,
                device=a.device,
                batch_size=o.batch_size_of(a.batch_size),
                random_state=seed,
                force=force,
                verbose=not quiet,
            )
    except DeployError as error:
        result, failed = error.result, error
    new = isinstance(result, DebiasResult) and result.verification is not None
    if json:
        for note in result.notes:  # what was assumed, and samples in two sets, as audit tells them
            typer.echo(f"Note: {note}", err=True)
        o.print_json(result.as_dict())
    else:
        typer.echo(result.summary())
        if deploy is not None and not new:
            typer.echo(f"Not written: {deploy}, for there is no new model to deploy.")
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
    found = read_table(path, named_delimiter(options.delimiter)).columns
    own = options.group_column
    if own != "group" and own not in found:
        raise InputError(f"{path} has no column {own!r} (--group-column); it has {list(found)}.")
    return {"group" if name == own else name: values for name, values in found.items()}


def _goes_on(run: Path, typed: set[str]) -> bool:
    """Whether a decided run is done again, rather than another row of its table written."""
    if typed & {"answers", "spurious", "groups", "max_cost", "even_if_worse"}:
        return True
    return "out" not in typed and ("method" in typed or (run / ANSWERS_FILE).is_file())


def _other_row(
    run: Path,
    path: Path | None,
    method: str | None,
    out: Path | None,
    model_options: o.ModelOptions,
    device: str,
    force: bool,
    json: bool,
    typed: set[str],
) -> None:
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
    model = None if path is None else model_options.load(path)
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

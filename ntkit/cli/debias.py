"""ntkit debias: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ntkit._output import check_folder, refuse_nested
from ntkit.cli import _options as o
from ntkit.debiasing import MODEL_FILE, debias, write_candidate
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.report import started_by
from ntkit.samples import named_delimiter, read_table


@o.with_options
def command(
    model: Annotated[
        Path | None, typer.Argument(help="ONNX classifier, or its folder.", show_default=False)
    ] = None,
    *,
    train: Annotated[
        Path | None,
        typer.Option(help="DATA: training samples, to retrain the head.", show_default=False),
    ] = None,
    heldout: Annotated[
        Path | None,
        typer.Option(
            help="DATA: samples the model was not trained on, to find neurons, retrain, choose.",
            show_default=False,
        ),
    ] = None,
    out: o.Out,
    run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Folder of a finished run: write its row --method, and embed nothing again.",
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
        typer.Option(help="Candidate to write, such as neurontune, or score that chooses one."),
    ] = None,
    new_head: Annotated[
        bool, typer.Option("--new-head", help="Give the model a head for the labels at hand.")
    ] = False,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="Largest share of average accuracy to lose, of the groups' mean where you named "
            "them; by default 0.05, and 0.02 where errors alone speak for the head.",
            min=0,
            max=1,
        ),
    ] = None,
    heldout_balanced: Annotated[
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
        Path | None,
        typer.Option(
            help="answers.json of an audit's page: what is spurious there. Or answers on single "
            "samples: answers.json of ntkit label, or a table of them."
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="Table of groups that are known of some samples, to be balanced over."),
    ] = None,
    metadata: o.Metadata = None,
    id_column: o.IdColumn = None,
    match_names: o.MatchNames = False,
    no_attributes: Annotated[
        bool,
        typer.Option("--no-attributes", help="Act on no word or metadata that nobody named."),
    ] = False,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="A service's own outputs (.npz), as ntkit verify takes them: embeddings that are "
            "not its are refused."
        ),
    ] = None,
    even_if_worse: Annotated[
        bool, typer.Option("--even-if-worse", help="Write a head that is not found to be better.")
    ] = False,
    only_if_better: Annotated[
        bool,
        typer.Option("--only-if-better", help="Else write nothing at all, and exit with code 1."),
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
    """Debias a classifier: embed, fit candidates, choose without group labels, write, verify.

    DATA is an image folder with one subfolder per class (groups in a metadata.csv with file_name
    and group), an .npz with X and y (and groups), X.npy beside y.npy, a .csv, .tsv, .jsonl or
    .parquet table of texts or of numeric columns, or an embedding store. Groups, where given, are
    for the table only.

    A head is written only if it is found to be better than the original one on held-out samples it
    has not seen, and costs no more than it may (--max-cost); otherwise the original model stays,
    and the first line says so.

    --spurious, or the answers given on an audit's page, balance the groups class × attribute, and
    the head is judged by them. Without them, a word of the texts or metadata that is clearer than
    what rightly goes with a class is balanced over all the same, and named in the first line.

    Where it is known of some samples only, --answers of ntkit label or --groups, it is inferred for
    the others: from the embedding, earlier layers, words or columns, whatever reads it best. Tables
    name samples by file_name or id (or --id-column), or have a row for each training sample and
    then each held-out one.

    Any of --threshold, --standardize, --max-suppressed, --aggregation, --statistic and
    --error-weight makes NeuronTune with these parameters the head that is written.

    --from takes a finished run instead of samples, and writes another row of its table, whole.

    Example: ntkit debias classifier.onnx --train images/train --heldout images/val -o debiased/

    Example: ntkit debias --from debiased/ --method class-balanced -o balanced/
    """
    if run is not None:
        if deploy is not None:
            raise InputError("--deploy needs samples, to run its program on; --from has none.")
        _other_row(run, model, train or heldout, method, out, model_options, device, force, json)
        return
    if model is None or train is None or heldout is None:
        raise InputError(
            "Give a model and samples (ntkit debias MODEL --train DATA --heldout DATA -o OUT), or "
            "a finished run (ntkit debias --from OUT --method NAME -o OTHER)."
        )
    given = [model, train, heldout, test, answers, groups, metadata, recorded, *data_options.files]
    check_folder(out, inputs=given, force=force)
    if deploy is not None:
        check_folder(deploy, inputs=given, force=force)
        refuse_nested(out, deploy)
    frozen = model_options.load(model)
    parameters = o.neurontune_parameters(
        threshold=threshold,
        standardize=standardize,
        max_suppressed=max_suppressed,
        aggregation=aggregation,
        statistic=statistic,
        error_weight=error_weight,
    )
    sets = {
        name: data_options.read(path, frozen, tell=False)
        for name, path in (("train", train), ("heldout", heldout), ("test", test))
        if path is not None
    }
    chosen: Any = method or "auto"
    if parameters:
        if method is not None:
            option = f"--{next(iter(parameters)).replace('_', '-')}"
            raise InputError(
                f"{option} makes NeuronTune the head that is written, and --method {method} says "
                "which one, too; drop one of them."
            )
        chosen = NeuronTuneClassifier.as_published(
            C=C, min_neurons=None, random_state=seed, **parameters
        )
    with started_by(o.command_line()):
        result = debias(
            frozen,
            sets["train"],
            sets["heldout"],
            test=sets.get("test"),
            out=out,
            deploy=deploy,
            method=chosen,
            new_head=new_head,
            max_cost=max_cost,
            heldout_balanced=heldout_balanced,
            spurious=spurious,
            answers=answers,
            groups=None if groups is None else _groups(groups, data_options),
            metadata=None if metadata is None else _beside(metadata, data_options),
            id_column=id_column,
            match_names=match_names,
            attributes=not no_attributes,
            recorded=recorded,
            even_if_worse=even_if_worse,
            only_if_better=only_if_better,
            C=C,
            device=device,
            batch_size=o.batch_size_of(batch_size),
            random_state=seed,
            force=force,
            verbose=not quiet,
        )
    if json:
        o.print_json(result.as_dict())
    else:
        typer.echo(result.summary())
        if deploy is not None and result.verification is None:
            typer.echo(f"Not written: {deploy}, for there is no new model to deploy.")
    if only_if_better and not result.helped:
        raise typer.Exit(1)


def _groups(path: Path, options: o.DataOptions) -> dict[str, Any]:
    """Columns of a table of groups, that of the groups by the name that the job knows."""
    found = read_table(path, named_delimiter(options.delimiter)).columns
    own = options.group_column
    if own != "group" and own not in found:
        raise InputError(f"{path} has no column {own!r} (--group-column); it has {list(found)}.")
    return {"group" if name == own else name: values for name, values in found.items()}


def _other_row(
    run: Path,
    path: Path | None,
    samples: Path | None,
    method: str | None,
    out: Path,
    model_options: o.ModelOptions,
    device: str,
    force: bool,
    json: bool,
) -> None:
    if method is None or samples is not None:
        raise InputError(
            "--from writes a row of a finished run: it needs --method NAME, and no samples."
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

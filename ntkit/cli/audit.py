"""ntkit audit: what a model leans on."""

from __future__ import annotations

from pathlib import Path

from ntkit._output import check_folder
from ntkit.cli import _options as o
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore
from ntkit.jobs.audit import (
    MOST_CHANGES,
    VIEWS,
    TableRoles,
    audit_model,
    audit_tables,
    write_audit,
)
from ntkit.samples import TABLES


@o.with_options
def command(
    *,
    paths: list[Path] = o.argument(
        "ONNX classifier and samples; with --predictions, the samples alone.",
        default=...,
        metavar="[MODEL] DATA",
    ),
    out: o.Out,
    predictions: Path | None = o.option(
        "Table with labels, and predictions or scores, instead of a model."
    ),
    prediction_column: str | None = o.option(
        "Column of predicted classes; found if called prediction."
    ),
    score_columns: str | None = o.option(
        "Columns of scores instead, in the order of the sorted classes: a,b,…"
    ),
    metadata: Path | None = o.option(
        "Table of what else is known: site, device, date; it may lack samples."
    ),
    id_column: str | None = o.option(
        "Column that names the samples; else file_name of images, id where all have it, or "
        "row by row."
    ),
    unlabelled: Path | None = o.option(
        "DATA without labels: the page shows how often each finding occurs there."
    ),
    feature_sets: str | None = o.option(f"Some of {','.join(VIEWS)}."),
    cross_fit: bool = o.switch(
        "--cross-fit", "The head was trained on DATA: take cross-fitted heads' errors."
    ),
    changes: int = o.option(
        "Changes of the input to look at closely.", default=MOST_CHANGES, min=1
    ),
    no_changes: bool = o.switch("--no-changes", "Change no input."),
    alpha: float = o.option(
        "Chance of any finding where there is nothing.", default=0.05, min=0, max=1
    ),
    trust_inputs: o.TrustInputs = False,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Find what the model's errors depend on.

    It looks for attributes that are correlated with a class and on which the errors depend.

    DATA is what ntkit debias takes, and was not trained on; the model runs over it once. Words of
    texts, columns of tables, statistics of pictures and their files, metadata, neurons of the
    embedding and of earlier layers are looked at, tested, corrected for their number (Holm), and
    ranked. The inputs are also changed, to see which changes flip predictions; without labels, that
    is all that is looked at. OUT holds audit.html, a page for somebody who knows the subject to
    answer on (it saves answers.json), audit.json and table.md.

    With --predictions no model is needed: DATA is a table of the inputs, or the same table, and
    --columns are those to look at.

    Example: ntkit audit classifier.onnx images/val -o audit/
    """
    data = _checked(paths, predictions)
    check_folder(
        out, inputs=[*paths, predictions, metadata, unlabelled, *data_options.files], force=force
    )
    if predictions is not None:
        of_a_model = {
            "--feature-sets": feature_sets,
            "--cross-fit": cross_fit,
            "--unlabelled": unlabelled,
            "--changes": changes != MOST_CHANGES,
            "--no-changes": no_changes,
        }
        for given, value in of_a_model.items():
            if value:
                raise InputError(f"{given} is of a model's samples; drop it, or --predictions.")
        roles = TableRoles(
            label=data_options.label_column,
            prediction=prediction_column,
            scores=o.names(score_columns) or (),
            text=data_options.text_column,
            columns=o.names(data_options.columns),
            group=data_options.group_column,
            key=id_column,
            delimiter=data_options.delimiter,
        )
        result = audit_tables(predictions, data, roles, metadata_file=metadata, alpha=alpha)
    else:
        if prediction_column is not None or score_columns is not None:
            raise InputError("Columns of predictions are those of --predictions; name that table.")
        frozen = model_options.load(paths[0])
        more = None
        if unlabelled is not None:
            more = data_options.read(unlabelled, frozen, "optional", tell=False)
            o.tell_notes(more.notes)
        result = audit_model(
            frozen,
            data_options.read(data, frozen, "optional", tell=False),
            feature_sets=o.names(feature_sets),
            metadata=metadata,
            key=id_column,
            cross_fit=cross_fit,
            unlabelled=more,
            changes=0 if no_changes else changes,
            trust_inputs=trust_inputs,
            device=device,
            batch_size=o.batch_size_of(batch_size),
            alpha=alpha,
            random_state=seed,
            verbose=not quiet,
        )
    write_audit(result, out, title=(predictions or paths[0]).name, force=force)
    o.show(result, json=json, text=f"{result}\n\nWritten: {out}", notes=result.notes)


def _checked(paths: list[Path], predictions: Path | None) -> Path:
    """The samples, if what else is named goes with them."""
    if predictions is not None:
        if len(paths) > 1:
            raise InputError(
                f"With --predictions no model is run, and {paths[0]} and {paths[1]} are given; "
                "name the table of inputs alone."
            )
        return paths[0]
    usage = "ntkit audit MODEL DATA -o OUT, or ntkit audit --predictions TABLE DATA -o OUT"
    if len(paths) != 2:
        problem = "Only one path is given" if len(paths) == 1 else f"{len(paths)} paths are given"
        raise InputError(f"{problem} ({', '.join(map(str, paths[:3]))}); the usage is {usage}.")
    if paths[0].suffix.lower() in TABLES or EmbeddingStore.is_store(paths[0]):
        raise InputError(
            f"{paths[0]} holds samples, and a model (an ONNX file) is wanted there; if it holds "
            f"predictions, name it with --predictions: {usage}."
        )
    return paths[1]

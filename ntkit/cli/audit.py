"""ntkit audit: what a model relies on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from ntkit._output import check_folder
from ntkit._text import counted
from ntkit.cli import _options as o
from ntkit.exceptions import InputError


@o.with_options(o.KEYS | {"seed", "no_changes"})
def command(
    *,
    paths: list[Path] = o.argument(
        "ONNX classifier and samples; with --predictions only the samples.", "[MODEL] DATA"
    ),
    out: Path = o.output("Output folder."),
    predictions: Path | None = o.option(
        "Audit this table of labels and predictions, without a model.", "TABLE"
    ),
    metadata: Path | None = o.option("Table of metadata: site, device, date.", "TABLE"),
    unlabelled: Path | None = o.option(
        "Unlabelled samples; counts each finding there as well.", "DATA"
    ),
    prediction_column: str | None = o.of_tables(
        "Column of predicted classes; default prediction.", "COLUMN"
    ),
    score_columns: str | None = o.of_tables(
        "Columns of scores, named like classes or in their order.", "A,B,…"
    ),
    id_column: o.IdColumn = None,
    trust_inputs: bool = o.switch(
        "--trust-inputs", "Continue if classes seem exchanged, or if the model guesses.", o.DATA
    ),
    feature_sets: str | None = o.of_method(
        "Feature sets to test, such as word,image; default: all.", "A,B,…"
    ),
    alpha: float = o.of_method(
        "Largest chance of any false finding.", "SHARE", default=0.05, min=0, max=1
    ),
    cross_fit: bool = o.switch(
        "--cross-fit", "Audit cross-fitted heads, if DATA trained the head.", o.METHOD
    ),
    changes: int = o.of_method("Input changes to examine closely, or 0.", "N", default=5, min=0),
    no_changes: bool = o.switch("--no-changes", "Do not change any input.", o.METHOD),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    batch_size: o.BatchSize = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    context: typer.Context,
) -> None:
    """Find what the model's errors depend on.

    The audit tests attributes that are correlated with a class and lists those that the errors
    depend on.

    Example: ntkit audit classifier.onnx images/val -o audit/

    DATA is an image folder with one subfolder per class, an .npz, a table, or an embedding store.
    The network must not have been trained on DATA. The model runs over DATA once.

    OUT holds audit.html, audit.json and table.md. A person who knows the subject answers the
    questions in audit.html, which saves answers.json.

    Feature sets: word, column, input, metadata, image, file, layer, embedding. The last two are
    neurons of the model. ntkit ranks the findings and corrects their p-values for the number of
    tests (Holm).

    ntkit also changes the inputs and counts which changes flip predictions. Without labels it does
    only this.

    A model may give every sample several labels. --label names one of them. Without it ntkit audits
    all labels, with one correction for all. OUT then has a summary, and a folder for each label.

    With --predictions no model is needed. DATA is then a table of the inputs, the same table as
    that of the predictions, an image folder or arrays. --columns names the columns to test.

    Metadata may lack some samples. Without --id-column ntkit matches rows by file_name of images,
    by id if all rows have one, or by position.
    """
    from ntkit.jobs.audit import Audit, LabelAudits, audit_model, write_audit
    from ntkit.jobs.audit.changes import MOST_CHANGES
    from ntkit.jobs.audit.from_predictions import audit_tables
    from ntkit.jobs.report import options_again, quoted, started_by

    data = _checked(paths, predictions)
    check_folder(
        out, inputs=[*paths, predictions, metadata, unlabelled, *data_options.files], force=force
    )
    result: Audit | LabelAudits
    if predictions is not None:
        of_a_model = {
            "--feature-sets": feature_sets,
            "--cross-fit": cross_fit,
            "--unlabelled": unlabelled,
            "--changes": changes != MOST_CHANGES,
        }
        for option, value in of_a_model.items():
            if value:
                raise InputError(f"{option} needs a model; drop it, or drop --predictions.")
        roles = data_options.roles(prediction_column, score_columns, id_column, model_options)
        roles = replace(roles, trusted=trust_inputs)
        result = audit_tables(
            predictions,
            data,
            roles,
            metadata_file=metadata,
            alpha=alpha,
        )
    else:
        o.refuse_of_tables(prediction_column, score_columns)
        frozen = model_options.load(paths[0], any_scores=True)
        more, several = None, {"every_label": True, "keep_unknown": True}
        if unlabelled is not None:
            more = data_options.read(unlabelled, frozen, "optional", tell=False, **several)
        result = audit_model(
            frozen,
            data_options.read(data, frozen, "optional", tell=False, **several),
            feature_sets=o.names(feature_sets),
            metadata=metadata,
            key=id_column,
            cross_fit=cross_fit,
            unlabelled=more,
            changes=changes,
            trust_inputs=trust_inputs,
            device=device,
            batch_size=batch_size,
            alpha=alpha,
            random_state=seed,
            verbose=not quiet,
        )
    model = paths[0] if predictions is None else None
    again = {"model_options": {**vars(model_options)}, "data_options": {**vars(data_options)}}
    again["data_options"] |= {"id_column": id_column, "trust_inputs": trust_inputs}
    order_again = ""
    if isinstance(result, Audit) and result.label is None and result.class_order is not None:
        order = [*map(str, result.class_order)]  # a repair refuses every other one
        of_file = any("," in name for name in order)
        order_again = f"--classes {'FILE' if of_file else quoted(','.join(order))}"
    settings = o.settings_of(context)
    if trust_inputs:  # or a repair refuses what this audit was told to take
        settings += "\n[debias]\ntrust_inputs = true\n"
    with started_by(None, settings=settings):
        write_audit(result, out, title=(predictions or paths[0]).name, force=force)
    sets = f"--train TRAIN --validation {quoted(data)}"
    sets = f"--train {quoted(data)} --validation VALIDATION" if cross_fit else sets
    beside = metadata is not None
    if beside:  # of these samples alone, so it may not name those of a second set
        sets = f"{sets} --metadata METADATA" if cross_fit else quoted(data)
    of_samples = f"--metadata {quoted(metadata)}" * (beside and not cross_fit)
    options = [of_samples, options_again(again, out), order_again]
    repair = " ".join(filter(None, [sets, *options]))
    check = " ".join(filter(None, [quoted(data), *options]))
    next_step = _next_step(result, out, model, repair, check)
    o.show(result, json=json, text=f"{result}\n\n{next_step}", notes=result.notes)


def _next_step(audit: Any, out: Path, model: Path | None, repair: str, check: str) -> str:
    """The output folder, and the next command, with these samples and options."""
    from ntkit.jobs.audit import LabelAudits
    from ntkit.jobs.report import quoted

    page, asked = quoted(out / "audit.html"), audit
    if isinstance(audit, LabelAudits):
        if audit.strongest is None:
            return f"Written: {out}\nNext: open {page}"
        label = audit.strongest[0]
        page = quoted(out / audit.folders[label] / "audit.html")
        asked = audit.audits[label]
        repair = f"{repair} --label {quoted(label)}"
    elif model is None or not audit.all_findings:
        return f"Written: {out}\nNext: open {page}"
    n = counted(len(asked.questions), "question")
    written = f"Written: {out}. Answer {n} on {page}, which saves answers.json.\n"
    if not asked.repairable:
        return (
            f"{written}ntkit debias cannot repair this model: no linear last layer decides. Train "
            f"another one.\nNext: ntkit check {quoted(model)} NEW.onnx {check} --answers "
            "answers.json"
        )
    if asked.label is not None and asked.class_order is not None:
        return (
            f"{written}Next: exchange 0 and 1 of the label {asked.label!r}, or the model. Until "
            "then ntkit debias refuses this label."
        )
    return (
        f"{written}Next: ntkit debias {quoted(model)} {repair} --answers answers.json -o debiased/"
    )


def _checked(paths: list[Path], predictions: Path | None) -> Path:
    """Path of the samples, if the other paths are right."""
    from ntkit.extraction import EmbeddingStore
    from ntkit.samples.table import TABLES

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
            f"{paths[0]} holds samples, but a model (an ONNX file) comes first; if it holds "
            f"predictions, name it with --predictions: {usage}."
        )
    return paths[1]

"""ntkit audit: what a model relies on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ntkit._output import check_folder
from ntkit._text import counted
from ntkit.cli import _options as o
from ntkit.exceptions import InputError

if TYPE_CHECKING:
    from ntkit.jobs.audit import Audit, LabelAudits
    from ntkit.jobs.tables import TableRoles
    from ntkit.model import FrozenModel
    from ntkit.samples.samples import Samples


@dataclass(frozen=True)
class Tested:
    """What is tested, and on which further samples."""

    unlabelled: Path | None = o.option(
        "Unlabelled samples; counts each finding there as well.", "DATA"
    )
    trust_inputs: bool = o.switch(
        "--trust-inputs", "Continue if classes seem exchanged, or if the model guesses.", o.DATA
    )
    feature_sets: str | None = o.of_method(
        "Feature sets to test, such as word,image; default: all.", "A,B,…"
    )
    alpha: float = o.of_method(
        "Largest chance of any false finding.", "SHARE", default=0.05, min=0, max=1
    )
    cross_fit: bool = o.switch(
        "--cross-fit", "Audit cross-fitted heads, if DATA trained the head.", o.METHOD
    )
    changes: int = o.of_method("Input changes to examine closely, or 0.", "N", default=5, min=0)
    invariant: list[str] | None = o.of_method(
        "Input change to test as well: append:please, case:upper; repeatable.", "CHANGE"
    )
    additions: str | None = o.of_method(
        "Lines next to texts that must not flip predictions.", "FILE|neutral"
    )
    no_changes: bool = o.switch("--no-changes", "Do not change any input.", o.METHOD)


@o.with_options(o.KEYS | {"seed", "no_changes"}, without={"before"})
def command(
    *,
    paths: list[Path] = o.argument(
        "ONNX classifier and samples; with --predictions only the samples.", "[MODEL] DATA"
    ),
    out: Path = o.output("Output folder."),
    tables: o.PredictionOptions,
    tests: Tested,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    run: o.RunOptions,
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
    only this. --invariant names a change to test as well: append:please, names, typos=2.

    A model may give every sample several labels. --label names one of them. Without it ntkit audits
    all labels, with one correction for all. OUT then has a summary, and a folder for each label.

    With --predictions no model is needed. DATA is then a table of the inputs, the same table as
    that of the predictions, an image folder or arrays. --columns names the columns to test.

    Metadata may lack some samples. Without --id-column ntkit matches rows by file_name of images,
    by id if all rows have one, or by position.
    """
    from ntkit.jobs.audit import Audit
    from ntkit.jobs.audit.files import write_audit
    from ntkit.jobs.command_line import options_again, quoted, started_by

    data = _checked(paths, tables.predictions)
    inputs = [*paths, tables.predictions, tables.metadata, tests.unlabelled, *data_options.files]
    check_folder(out, inputs=inputs, force=run.force)
    result: Audit | LabelAudits
    if tables.predictions is not None:
        roles = replace(tables.roles(data_options, model_options), trusted=tests.trust_inputs)
        result = _of_tables(tables, data, roles, tests)
    else:
        tables.refuse_columns()
        frozen = model_options.load(paths[0], any_scores=True)
        read = partial(data_options.read, labels="optional", tell=False, every_label=True)
        result = _of_model(frozen, data, partial(read, keep_unknown=True), tables, tests, run)
    model = paths[0] if tables.predictions is None else None
    again = {"model_options": {**vars(model_options)}, "data_options": {**vars(data_options)}}
    again["data_options"] |= {"id_column": tables.id_column, "trust_inputs": tests.trust_inputs}
    order_again = ""
    if isinstance(result, Audit) and result.label is None and result.class_order is not None:
        order = [*map(str, result.class_order)]  # a repair refuses every other one
        of_file = any("," in name for name in order)
        order_again = f"--classes {'FILE' if of_file else quoted(','.join(order))}"
    settings = o.settings_of(context)
    if tests.trust_inputs:  # or a repair refuses what this audit was told to take
        settings += "\n[debias]\ntrust_inputs = true\n"
    with started_by(None, settings=settings):
        write_audit(result, out, title=(tables.predictions or paths[0]).name, force=run.force)
    cross_fit, metadata = tests.cross_fit, tables.metadata
    sets = f"--train TRAIN --validation {quoted(data)}"
    sets = f"--train {quoted(data)} --validation VALIDATION" if cross_fit else sets
    if metadata is not None:  # of these samples alone, so it may not name those of a second set
        sets = f"{sets} --metadata METADATA" if cross_fit else quoted(data)
    of_samples = "" if metadata is None or cross_fit else f"--metadata {quoted(metadata)}"
    options = [of_samples, options_again(again, out), order_again]
    repair = " ".join(filter(None, [sets, *options]))
    check = " ".join(filter(None, [quoted(data), *options]))
    next_step = _next_step(result, out, model, repair, check)
    o.show(result, json=run.json, text=f"{result}\n\n{next_step}", notes=result.notes)


def _of_tables(tables: o.PredictionOptions, data: Path, roles: TableRoles, tests: Tested) -> Audit:
    """Audit a table of predictions, without a model."""
    from ntkit.jobs.audit.changes import MOST_CHANGES
    from ntkit.jobs.audit.from_tables import audit_tables

    of_a_model = {
        "--feature-sets": tests.feature_sets,
        "--cross-fit": tests.cross_fit,
        "--unlabelled": tests.unlabelled,
        "--changes": tests.changes != MOST_CHANGES,
        "--invariant": tests.invariant,
        "--additions": tests.additions,
    }
    for option, value in of_a_model.items():
        if value:
            raise InputError(f"{option} needs a model; drop it, or drop --predictions.")
    assert tables.predictions is not None
    of_file = tables.metadata
    return audit_tables(tables.predictions, data, roles, metadata_file=of_file, alpha=tests.alpha)


def _of_model(
    model: FrozenModel,
    data: Path,
    read: Callable[[Path, FrozenModel], Samples],
    tables: o.PredictionOptions,
    tests: Tested,
    run: o.RunOptions,
) -> Audit | LabelAudits:
    """Audit a model on samples that ``read`` reads."""
    from ntkit.jobs.audit import audit_model

    more = None if tests.unlabelled is None else read(tests.unlabelled, model)
    return audit_model(
        model,
        read(data, model),
        feature_sets=o.names(tests.feature_sets),
        metadata=tables.metadata,
        key=tables.id_column,
        cross_fit=tests.cross_fit,
        unlabelled=more,
        changes=tests.changes,
        invariant=tests.invariant,
        additions=tests.additions,
        trust_inputs=tests.trust_inputs,
        alpha=tests.alpha,
        random_state=run.seed,
        **run.running,
    )


def _next_step(audit: Any, out: Path, model: Path | None, repair: str, check: str) -> str:
    """The output folder, and the next command, with these samples and options."""
    from ntkit.jobs.audit import LabelAudits
    from ntkit.jobs.audit.files import WEIGHTS
    from ntkit.jobs.command_line import quoted

    folder, asked = out, audit
    if isinstance(audit, LabelAudits):
        if audit.strongest is None:
            return f"Written: {out}\nNext: open {quoted(folder / 'audit.html')}"
        label = audit.strongest[0]
        folder = out / audit.folders[label]
        asked = audit.audits[label]
        repair = f"{repair} --label {quoted(label)}"
    elif model is None or not audit.all_findings:
        return f"Written: {out}\nNext: open {quoted(folder / 'audit.html')}"
    page = quoted(folder / "audit.html")
    n = counted(len(asked.questions), "question")
    written = f"Written: {out}. Answer {n} on {page}, which saves answers.json.\n"
    if not asked.repairable:
        weights = folder / WEIGHTS
        how = f" {quoted(weights)} has weights for it." if weights.exists() else ""
        return (
            f"{written}ntkit debias cannot repair this model: no linear last layer decides. Train "
            f"another one.{how}\nNext: ntkit check {quoted(model)} NEW.onnx {check} --answers "
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
    from ntkit.samples.table import TABLES
    from ntkit.store import EmbeddingStore

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

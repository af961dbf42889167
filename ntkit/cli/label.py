"""ntkit label: ask a person about some samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import typer

from ntkit.cli import _options as o
from ntkit.exceptions import InputError


@dataclass(frozen=True)
class Asked:
    """What is asked, and the labels that there are."""

    question: str | None = o.option('Question on each sample: "Is there water?"', "TEXT")
    values: str | None = o.option("Possible labels, two to nine; default yes,no.", "A,B,…")
    batch: int | None = o.option("Samples to ask about next; default 48.", "N", min=1)
    answers: list[Path] | None = o.option(
        "Labels from elsewhere: labels.csv, answers.json; repeatable.", "FILE"
    )
    check: Path | None = o.option("Table of a program's answers to check.", "TABLE")
    id_column: o.IdColumn = None
    match_names: o.MatchNames = False


@o.with_options(o.KEYS | {"seed"}, without={"force"})
def command(
    *,
    model: o.Model,
    data: Path = o.argument("Labelled samples to ask about, usually the training set.", "DATA"),
    out: Path = o.output("Folder of this question."),
    asked: Asked,
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    run: o.RunOptions,
    window: o.WindowOptions,
    context: typer.Context,
) -> None:
    """Ask a person to label some samples.

    A few dozen labels of an attribute that the model may rely on are enough.

    Example: ntkit label classifier.onnx images/train -o water/ --question "Is there water?"

    The first run writes label.html into OUT, an offline page that takes one key per sample. The
    page saves labels.csv. The file questions-1.csv holds the same questions to fill in.

    Move labels.csv to OUT and run the same command again. ntkit takes the labels and infers the
    attribute for all samples. It says whether more labels pay off, and asks about the next samples.

    ntkit asks about the model's errors first, and about no sample twice. The file answers.json in
    OUT keeps all labels, for ntkit debias --answers.

    With --browser, a page opens by itself. ntkit keeps each label at once, and asks about the next
    samples until you end. If --idle ends it, the exit code is 3.

    Example: ntkit label classifier.onnx images/train -o water/ --browser

    With --check, ntkit asks about twelve samples of a table that a program filled in. It compares
    the labels with the table's answers, and says whether to use the table.

    Example: ntkit label classifier.onnx images/train -o water/ --check water.csv
    """
    from ntkit.cli._debias_run import OPEN
    from ntkit.cli._window import Idle
    from ntkit.jobs.command_line import started_by
    from ntkit.jobs.label import check_table, label_samples, of_one_label
    from ntkit.jobs.label_tables import AnswerTable

    frozen = of_one_label(model_options.load(model))
    samples = data_options.read(data, frozen)
    shared: dict[str, Any] = {
        "question": asked.question,
        "values": o.names(asked.values),
        "answers": asked.answers or (),
        "match_names": asked.match_names,
        "random_state": run.seed,
        "verbose": not run.quiet,
    }
    window.check(json=run.json)
    if asked.check is not None:
        if window.browser:
            raise InputError("--browser cannot be combined with --check. Omit one of them.")
        if asked.batch is not None:
            raise InputError("--batch cannot be combined with --check, which asks about twelve.")
        of_check = samples if run.json else replace(samples, notes=())  # the reader printed them
        with started_by(None, settings=o.settings_of(context)):
            table = AnswerTable.read(asked.check, "attribute", asked.id_column)
            checked = check_table(frozen, of_check, table, out, **shared)
        o.show(checked, json=run.json)
        return
    if "id_column" in o.typed_options(context):
        raise InputError("--id-column belongs to the table of --check. Pass --check, or omit it.")
    shared |= {} if asked.batch is None else {"batch": asked.batch}
    shared |= run.running
    with started_by(None, settings=o.settings_of(context)):
        asking = label_samples(frozen, samples, out, **shared)
        with window.opened(out, model.name) as shown:
            more, idle = shown is not None, False
            while shown is not None and more and asking.asked:
                try:
                    more = shown.label(_free(out))
                except Idle:
                    more, idle = False, True
                asking = label_samples(frozen, samples, out, **shared)
    o.show(asking, json=run.json, notes=asking.notes[len(samples.notes) :])
    if idle:
        raise typer.Exit(OPEN)


def _free(out: Path) -> Path:
    """A file for labels that does not exist yet."""
    return next(file for n in count(1) if not (file := out / f"labels-{n}.csv").exists())

"""ntkit debias: the main job."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import typer

from ntkit._disk import read_json
from ntkit._output import check_folder, refuse_nested
from ntkit._text import one_line, printable, shortened
from ntkit.attributes import Answers
from ntkit.attributes.findings import Finding
from ntkit.cli import _options as o
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import DeployError, InputError
from ntkit.jobs.audit import Answer, Audit, ChangeFinding, change_for
from ntkit.jobs.debias import (
    ANSWERS_FILE,
    HEADS_FILE,
    MAX_COST,
    MODEL_FILE,
    RUN_FILE,
    DebiasResult,
    answers_from,
    debias,
    shares_of,
    write_candidate,
)
from ntkit.jobs.report import quoted, started_by
from ntkit.pages.audit_page import question_of
from ntkit.pages.change_cards import SEEN, change_in_words
from ntkit.samples import Samples, named_delimiter, read_table

NOT_BETTER, OPEN = 1, 3
"""Exit codes: what was asked for is not better; questions are open."""
_OF_ONE_RUN = frozenset(
    {"run", "out", "deploy", "spurious", "invariant", "answers", "no_input", "even_if_worse"}
    | {"force", "quiet", "verbose", "json"}
)
"""Options that the next run in the folder does not take over."""
_MUCH = 1000  # samples to embed, from which on a run that cannot end with a model says so first


@dataclass(frozen=True)
class Options:
    """All that can be said to ``ntkit debias``."""

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
    invariant: list[str] | None = o.option(
        "A change after which the right answer stays the same: image:border, word:film|word:movie, "
        "column:sex, markup, folder:PATH; again for more. No counterexamples are needed."
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
    neurontune: o.NeuronTuneOptions = field(default_factory=o.NeuronTuneOptions)
    C: o.InversePenalty = None
    model_options: o.ModelOptions = field(default_factory=o.ModelOptions)
    data_options: o.DataOptions = field(default_factory=o.DataOptions)
    device: o.Device = "auto"
    batch_size: o.BatchSize = None
    seed: o.Seed = 0
    force: o.Force = False
    quiet: o.Quiet = False
    verbose: bool = o.switch("--verbose", "Print all candidates, groups and notes.")
    json: o.Json = False


@o.with_options
def command(options: Options, *, context: typer.Context) -> None:
    """Find shortcuts, ask, repair, prove.

    Without an answer no model is written. ntkit audits the model and what retraining would newly
    rely on, writes a page with the findings, and asks about the strongest in the terminal: y means
    that the model should ignore it. Or answer on the page, name a shortcut with --spurious, label
    single samples with ntkit label, name a change that must not matter with --invariant, or order a
    method with --method.

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
    out, run = options.out, options.run
    if run is not None and (run / HEADS_FILE).is_file() and not _goes_on(run, typed):
        _other_row(run, options, typed)
        return
    files = options.answers or []
    answers = [answers_from(file) for file in files]
    of_samples = any(not isinstance(each, Answers) for each in answers)
    arguments = {n: value for n, value in vars(options).items() if n not in _OF_ONE_RUN}
    arguments["labels"] = files[0] if of_samples else None
    said_now = {name: arguments[name] for name in ("method", "labels", "neurontune")}
    if run is not None:
        arguments, out = going_on(run, arguments, typed), out or run
        if {"answers", "spurious", "invariant", "groups"} & typed or (run / ANSWERS_FILE).is_file():
            # What was ordered or labelled before is not what is said now.
            arguments |= said_now
    labels = arguments["labels"]
    a = replace(options, **{n: value for n, value in arguments.items() if n != "labels"})
    if a.model is None or a.train is None or a.validation is None or out is None:
        raise InputError(
            "Give a model, samples and a folder (ntkit debias MODEL --train DATA "
            "--validation DATA -o "
            "OUT), or the folder of an earlier run (ntkit debias --from OUT)."
        )
    paths = {"train": a.train, "validation": a.validation, "test": a.test}
    inputs = [a.model, *paths.values(), a.groups, a.metadata, a.recorded, *a.data_options.files]
    if run is None or run.resolve() != out.resolve():
        _check_new(out, [*inputs, *files], force=a.force)
    if a.deploy is not None:
        check_folder(a.deploy, inputs=[*inputs, *files], force=a.force)
        refuse_nested(out, a.deploy)
    frozen = a.model_options.load(a.model)
    ordered = _ordered(a)
    sets = {
        name: a.data_options.read(path, frozen, tell=False)
        for name, path in paths.items()
        if path is not None
    }
    for samples in sets.values():
        o.tell_notes(samples.notes)
    asks = not (a.no_input or a.json) and can_ask()
    is_told = a.spurious or a.invariant or files or a.groups or ordered or a.new_head or run
    if not asks and not is_told:
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
                deploy=a.deploy,
                method=ordered,
                new_head=a.new_head,
                max_cost=a.max_cost,
                validation_balanced=a.validation_balanced,
                spurious=a.spurious,
                invariant=a.invariant,
                answers=answers or labels,
                ask=asks_in_terminal(out / "audit.html") if asks else None,
                groups=None if a.groups is None else _groups(a.groups, a.data_options),
                metadata=None if a.metadata is None else _beside(a.metadata, a.data_options),
                id_column=a.id_column,
                match_names=a.match_names,
                recorded=a.recorded,
                trust_inputs=a.trust_inputs,
                even_if_worse=a.even_if_worse,
                keep_original=a.keep_original,
                resume=run,
                C=a.C,
                device=a.device,
                batch_size=o.batch_size_of(a.batch_size),
                random_state=a.seed,
                force=a.force,
                verbose=not a.quiet,
            )
    except DeployError as error:
        result, failed = error.result, error
    new = isinstance(result, DebiasResult) and result.verification is not None
    text = result.summary(verbose=a.verbose)
    o.show(result, json=a.json, text=text, notes=result.notes if a.json else ())
    if a.deploy is not None and not new and not a.json:
        typer.echo(f"Not written: {a.deploy}, for there is no new model to deploy.")
    if failed is not None:
        raise failed
    if result.state == "open":
        raise typer.Exit(OPEN)
    if isinstance(result, DebiasResult) and not new:
        raise typer.Exit(NOT_BETTER)


def _ordered(options: Options) -> Any:
    """The method that was ordered: a name, NeuronTune with its parameters, or None."""
    parameters, method = options.neurontune.parameters, options.method
    if not parameters:
        return method
    if method is not None:
        option = f"--{next(iter(parameters)).replace('_', '-')}"
        raise InputError(
            f"{option} makes NeuronTune the head that is written, and --method {method} says "
            "which one, too; drop one of them."
        )
    return NeuronTuneClassifier.as_published(
        C=options.C, min_neurons=None, random_state=options.seed, **parameters
    )


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
    key = options.group_column
    if key != "group" and key not in columns:
        raise InputError(f"{path} has no column {key!r} (--group-column); it has {list(columns)}.")
    return {"group" if name == key else name: values for name, values in columns.items()}


def _goes_on(run: Path, typed: set[str]) -> bool:
    """Whether a decided run is done again, rather than another row of its table written."""
    if typed & {"answers", "spurious", "invariant", "groups", "max_cost", "even_if_worse"}:
        return True
    return "out" not in typed and ("method" in typed or (run / ANSWERS_FILE).is_file())


def _other_row(run: Path, options: Options, typed: set[str]) -> None:
    """Write the head of another row of a decided run."""
    method, out = options.method, options.out
    if method is None or out is None:
        raise InputError(
            f"{run} holds a decided run. Another method: ntkit debias --from {quoted(run)} "
            "--method NAME -o OTHER. Other answers: add --answers, --spurious or "
            "--invariant."
        )
    of_a_row = {"run", "model", "method", "out", "device", "force", "json", "quiet", "no_input"}
    of_a_row |= {each.name for each in fields(o.ModelOptions)}
    for name in sorted(typed - of_a_row):
        raise InputError(
            f"--{name.replace('_', '-')} is not used to write another row of {run}; leave it out, "
            "or leave -o out to do the run again."
        )
    model = None if options.model is None else options.model_options.load(options.model)
    check = write_candidate(
        run, method, out, model=model, device=options.device, force=options.force
    )
    if options.json:
        o.print_json({"model": str(out / MODEL_FILE), **check.__dict__})
    else:
        typer.echo(
            f"{out / MODEL_FILE}: the row {method} of {run}, whole; verified on "
            f"{check.n_samples} random inputs, largest relative difference of logits "
            f"{check.logit_difference:.1e}."
        )


def _beside(path: Path, options: o.DataOptions) -> dict[str, Any]:
    """Columns of metadata, without what says the class or is for the table only."""
    left_out = (options.label_column, options.group_column)
    columns = read_table(path, named_delimiter(options.delimiter)).columns
    return {name: values for name, values in columns.items() if name not in left_out}


_LARGEST = 1 << 20  # bytes


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON holds them; paths are absolute, for the next run may start elsewhere."""
    return {name: _plain(value) for name, value in arguments.items()}


def going_on(folder: Path, arguments: Mapping[str, Any], typed: set[str]) -> dict[str, Any]:
    """Arguments of the run in a folder, or an InputError; what was typed now goes before."""
    file = folder / RUN_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no {RUN_FILE}, so there is no run to go on from; give the folder that "
            "ntkit debias -o wrote."
        )
    kept = read_json(file, largest=_LARGEST, wanted="what ntkit debias wrote to go on from")
    try:
        return {name: _merged(value, kept[name], name, typed) for name, value in arguments.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error}); run ntkit debias again.") from error


def _merged(now: Any, kept: Any, name: str, typed: set[str]) -> Any:
    if is_dataclass(now) and not isinstance(now, type):
        values = {
            field.name: _merged(getattr(now, field.name), kept[field.name], field.name, typed)
            for field in fields(now)
        }
        return replace(now, **values)
    if name in typed:
        return now
    return Path(kept["path"]) if isinstance(kept, dict) else kept


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": os.path.abspath(value)}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


_MOST = 3  # questions of a run
_EXAMPLES, _MORE = 2, 6  # of each value
_LONGEST = 160  # characters of a text
_CHOICES = "[y]es, ignore it / [n]o, it matters / [?] show more / [o]pen the page / Enter: later"


def can_ask() -> bool:
    """Whether a person reads the questions and can answer them."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def asks_in_terminal(page: Path) -> Callable[[Audit, tuple[Finding, ...]], Iterator[Answer]]:
    """Ask about at most three findings on standard error; ``page`` has the same questions."""

    def ask(audit: Audit, findings: tuple[Finding, ...]) -> Iterator[Answer]:
        asked = findings[:_MOST]
        for number, finding in enumerate(asked, start=1):
            subject = "what the model relies on"
            if audit.retraining is not None and finding in audit.retraining.findings:
                subject = "what retraining would newly rely on"
            _say(f"\nQuestion {number} of {len(asked)}, on {subject}:")
            _say(f"  {shares_of(finding)}")
            _show(audit, finding, _EXAMPLES)
            answer_text = _answer_on(audit, finding, page)
            if answer_text is None:
                return
            if answer_text:
                (answer,) = audit.answers(finding.name).answers
                yield replace(answer, answer=answer_text).signed()
            if answer_text == "spurious" and (change := _shown_change(audit, finding)):
                stays = _stays_the_same(change, page)
                if stays is None:
                    return
                if stays:
                    yield Answer.on_change(change.name, stays).signed()

    return ask


def _shown_change(audit: Audit, finding: Finding) -> ChangeFinding | None:
    """The change of images that a finding is about, if copies of at least three are on the page."""
    change, found = change_for(finding), audit.changes
    if change is None or change.kind != "image" or found is None:
        return None
    shown = (each for each in found.changes if each.name == change.name)
    return next((each for each in shown if len(each.examples.rows) >= SEEN), None)


def _stays_the_same(change: ChangeFinding, page: Path) -> str | None:
    """The answer whether the right answer stays the same; empty for later, None as above."""
    flips = f"{100 * change.flips:.0f} % of the predictions flip"
    _say(f"\n{change_in_words(change.name)}: {flips}. {SEEN} copies are on the page: {page}")
    return _replied(
        "Does the right answer stay the same? Then copies repair the model as well.\n"
        "[y]es / [n]o, the change touches the subject / [o]pen the page / Enter: later: ",
        {"": "", "y": "invariant", "n": "legitimate"},
        page,
    )


def _answer_on(audit: Audit, finding: Finding, page: Path) -> str | None:
    """The answer; empty for later, None where nobody is there any more."""
    return _replied(
        f"{question_of(finding)}\n{_CHOICES}: ",
        {"": "", "y": "spurious", "n": "legitimate"},
        page,
        lambda: _show(audit, finding, _MORE),
    )


def _replied(
    prompt: str, answers: Mapping[str, str], page: Path, show: Callable[[], None] | None = None
) -> str | None:
    """The answer that a reply stands for; None where nobody is there any more."""
    while True:
        typer.echo(prompt, err=True, nl=False)
        line = sys.stdin.readline()
        if not line:
            _say("")
            return None
        reply = line.strip().lower()
        if reply in ("", "y", "yes", "n", "no"):
            return answers[reply[:1]]
        if reply in ("o", "open"):
            webbrowser.open(page.resolve().as_uri())
            _say(f"The page: {page}")
        elif reply == "?" and show is not None:
            show()
            _say("")
        else:
            keys = "y, n, ? or o" if show is not None else "y, n or o"
            _say(f"Type {keys}, or press Enter to decide later.")


def _show(audit: Audit, finding: Finding, most: int) -> None:
    """A few samples of the class that errs most, with the finding and without it."""
    values, y = audit.values(finding.name), audit.predictions.y_index
    label = finding.worst.label
    of_class = audit.predictions.classes[y] == label
    for value, title in ((1, "with it"), (0, "without it")):
        rows = (of_class & (values == value)).nonzero()[0][:most].tolist()
        if rows:
            _say(f"  class {label}, {title}:")
        for row in rows:
            _say(f"    {_sample(audit, row)}")


def _sample(audit: Audit, row: int) -> str:
    """One sample in a line: its name, its text, or its columns."""
    inputs = audit.inputs
    name = f"sample {row}" if inputs is None or inputs.ids is None else inputs.ids[row]
    if inputs is not None and inputs.texts is not None:
        return shortened(one_line(inputs.texts[row]), _LONGEST)
    columns = {**((inputs and inputs.table) or {}), **((inputs and inputs.metadata) or {})}
    cells = ", ".join(f"{column}={values[row]}" for column, values in [*columns.items()][:6])
    return f"{name}: {cells}" if cells else name


def _say(text: str) -> None:
    typer.echo("\n".join(map(printable, text.split("\n"))), err=True)

"""The run of ntkit debias: what the options ask for, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import typer

from ntkit._disk import read_json
from ntkit._key import parts_of_change
from ntkit._output import check_folder, refuse_nested
from ntkit.attributes.answers import Answers
from ntkit.cli import _options as o
from ntkit.cli._questions import ToBrowser, asks_in_terminal, can_ask
from ntkit.cli._window import REPAIR, Idle, Window
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import DeployError, InputError
from ntkit.jobs.command_line import from_here, options_again, quoted, started_by
from ntkit.jobs.debias import (
    ANSWERS_FILE,
    HEADS_FILE,
    MODEL_FILE,
    RUN_FILE,
    ComplaintsResult,
    DebiasResult,
    DebiasSettings,
    FindingsResult,
    answers_from,
    check_candidates,
    debias,
    write_candidate,
)
from ntkit.model import FrozenModel
from ntkit.samples.samples import Samples
from ntkit.samples.table import named_delimiter, read_table

NOT_BETTER, OPEN = 1, 3
"""Exit codes: the head that was ordered is not better; questions are open."""
_OF_ONE_RUN = frozenset(
    {
        "run",
        "out",
        "keep",
        "deploy",
        "spurious",
        "invariant",
        "answers",
        "no_input",
        "interpolation",
        "even_if_worse",
    }
    | {"force", "quiet", "verbose", "json", "browser", "idle", "allow_host"}
)
"""Options that the next run in the folder does not take over."""
_MUCH = 1000  # samples; a run that embeds so many and cannot write a model says so first


def run_debias(options: o.DebiasOptions, context: typer.Context) -> None:
    """Repair a model, or continue a run."""
    typed, sets = o.typed_options(context), options.sets
    if sets.keep is not None:
        _by_complaints(options, sets.keep, context)
        return
    run = sets.run
    if run is not None and (run / HEADS_FILE).is_file() and not _goes_on(run, typed):
        _other_row(run, options, context)
        return
    answers = [answers_from(file) for file in options.said.answers or ()]
    arguments, out = _arguments(options, answers, o.given_options(context))
    a = options.with_values(arguments)
    _check_sets(a, out)
    assert a.sets.model is not None
    assert out is not None
    a.window.check(json=a.running.json, no_input=a.said.no_input)
    _check_outputs(a, out)
    model = _loaded(a.sets.model, a.model_options, new_head=a.fit.new_head)
    method = _ordered(a.fit, a.running.seed)
    samples = _read(a, model)
    asks = not (a.said.no_input or a.running.json) and can_ask()
    if not asks and not a.window.browser and not _is_told(a):
        _tell_cost(samples, a)
    merged = {**a.values, **vars(a.model_options), **vars(a.data_options), **vars(a.fit.neurontune)}
    failed: DeployError | None = None
    try:
        settings = o.settings_of(context, merged)
        with started_by(o.command_line(), plain_arguments(arguments), settings):
            told = answers or arguments["labels"]
            go_on = f"ntkit open {quoted(from_here(out))}"
            with a.window.opened(out, a.sets.model.name, go_on) as window:
                result = _repaired(a, model, samples, out, method, told, window, asks=asks)
                if window is not None:
                    window.finish(result)
    except ToBrowser:
        go_on_in_browser(out)
        return
    except Idle as error:
        o.say(str(error))
        raise typer.Exit(OPEN) from None
    except DeployError as error:
        result, failed = error.result, error
    new = isinstance(result, DebiasResult) and result.verification is not None
    _show(result, a)
    if a.sets.deploy is not None and not new and not a.running.json:
        o.say(f"Not written: {a.sets.deploy}, for there is no new model to deploy.")
    if failed is not None:
        raise failed
    if result.state == "open":
        raise typer.Exit(OPEN)
    if isinstance(result, DebiasResult) and not new:
        raise typer.Exit(NOT_BETTER)


def go_on_in_browser(run: Path, idle: float | None = None, hosts: Sequence[str] = ()) -> None:
    """Go on with a run in the browser; a second repair goes to a folder inside the run's."""
    from ntkit.cli import main  # it imports this module when it runs

    words = ["debias", "--from", str(run), "--browser"]
    if (run / HEADS_FILE).is_file():
        number = next(n for n in count(2) if not (run / f"{REPAIR}{n}").exists())
        words += ["--out", str(run / f"{REPAIR}{number}")]
    words += [] if idle is None else ["--idle", f"{idle:g}"]
    for name in hosts:
        words += ["--allow-host", name]
    main(words)


def _arguments(
    options: o.DebiasOptions, answers: Sequence[Any], given: set[str]
) -> tuple[dict[str, Any], Path | None]:
    """Arguments for the record of a run, with those of the run that it continues; and OUT."""
    out, run, files = options.sets.out, options.sets.run, options.said.answers
    of_samples = any(not isinstance(each, Answers) for each in answers)
    arguments = {n: value for n, value in options.values.items() if n not in _OF_ONE_RUN}
    arguments["labels"] = files[0] if files and of_samples else None
    lines = files_read(options.said.invariant or ())
    if run is None:
        return arguments | {"files": lines}, out
    said_now = {name: arguments[name] for name in ("method", "labels", "neurontune")}
    arguments = going_on(run, arguments, given)
    _tell_edited(run, {n: d for n, d in arguments["files"].items() if n not in lines})
    arguments["files"] |= lines
    answered = (run / ANSWERS_FILE).is_file() and "interpolation" not in given
    if {"answers", "spurious", "invariant", "groups"} & given or answered:
        # What was ordered or labelled before is not what is said now.
        arguments |= said_now
    return arguments, out or run


def _check_outputs(a: o.DebiasOptions, out: Path) -> None:
    """Refuse output folders that exist or hold inputs."""
    sets, said, force = a.sets, a.said, a.running.force
    inputs = [sets.model, sets.train, sets.validation or sets.data, sets.test, said.groups]
    inputs += [said.metadata, said.recorded, *a.data_options.files, *(said.answers or ())]
    if sets.run is None or sets.run.resolve() != out.resolve():
        _check_new(out, inputs, force=force)
    if sets.deploy is not None:
        check_folder(sets.deploy, inputs=inputs, force=force)
        refuse_nested(out, sets.deploy)


def _read(a: o.DebiasOptions, model: FrozenModel) -> dict[str, Samples]:
    """The sets that are given, by name."""
    sets = a.sets
    paths = {"train": sets.train, "validation": sets.validation or sets.data, "test": sets.test}
    samples = {
        name: a.data_options.read(path, model, tell=False)
        for name, path in paths.items()
        if path is not None
    }
    for each in samples.values():
        o.tell_notes(each.notes)
    return samples


def _is_told(a: o.DebiasOptions) -> bool:
    """Whether a run can write a model without asking."""
    said = [a.said.spurious, a.said.invariant, a.said.answers, a.said.groups]
    return any([*said, a.fit.method, a.fit.neurontune.parameters, a.fit.new_head, a.sets.run])


def _repaired(
    a: o.DebiasOptions,
    model: FrozenModel,
    samples: Mapping[str, Samples],
    out: Path,
    method: Any,
    answers: Any,
    window: Window | None,
    *,
    asks: bool,
) -> DebiasResult | FindingsResult | ComplaintsResult:
    """Run debias with the options."""
    said, fit, running = a.said, a.fit, a.running
    otherwise: Literal["original", "new head"] | None = "original" if fit.keep_original else None
    ask: Any = asks_in_terminal(out / "audit.html") if asks else None
    if window is not None:
        ask = window.ask
    return debias(
        model,
        *(samples[name] for name in ("train", "validation") if name in samples),
        test=samples.get("test"),
        out=out,
        method=method,
        max_cost=fit.max_cost,
        spurious=said.spurious,
        invariant=said.invariant,
        answers=answers,
        ask=ask,
        groups=None if said.groups is None else _groups(said.groups, a.data_options),
        metadata=None if said.metadata is None else _beside(said.metadata, a.data_options),
        device=running.device,
        force=running.force,
        settings=DebiasSettings(
            deploy=a.sets.deploy,
            new_head=fit.new_head,
            validation_balanced=fit.validation_balanced,
            id_column=said.id_column,
            match_names=said.match_names,
            interpolation=fit.interpolation,
            otherwise="new head" if fit.even_if_worse else otherwise,
            resume=a.sets.run,
            C=fit.C,
            recorded=said.recorded,
            trust_inputs=said.trust_inputs,
            batch_size=running.batch_size,
            random_state=running.seed,
            verbose=not running.quiet,
            review=None if window is None else window.review,
        ),
    )


def _show(result: Any, options: o.DebiasOptions) -> None:
    json = options.running.json
    text = result.summary(verbose=options.verbose)
    o.show(result, json=json, text=text, notes=result.notes if json else ())


def _loaded(path: Path, options: o.ModelOptions, *, new_head: bool = False) -> FrozenModel:
    """The model, refused before its samples are read if its head cannot be repaired."""
    model = options.load(path)
    if not new_head and (problem := model.not_single_label) is not None:
        raise InputError(problem)
    return model


def _by_complaints(options: o.DebiasOptions, keep: Path, context: typer.Context) -> None:
    """Repair a model by complaints and traffic."""
    kept = {"model", "data", "keep", "out", "max_cost", "device", "batch_size", "seed", "force"}
    kept |= {"quiet", "verbose", "json", "no_input", "invariant"}
    kept |= {each.name for each in (*fields(o.ModelOptions), *fields(o.DataOptions))}
    why = "cannot be combined with --keep"
    ending = ": complaints and traffic are all that such a repair reads. Drop one of them."
    o.refuse_unused(context, kept, why, ending)
    sets, running = options.sets, options.running
    if sets.model is None or sets.data is None or sets.out is None:
        raise InputError(
            "Give a model, complaints, traffic and a folder: ntkit debias MODEL COMPLAINTS --keep "
            "DATA -o OUT."
        )
    read, frozen = options.data_options.read, _loaded(sets.model, options.model_options)
    complaints = read(sets.data, frozen, tell=False)
    traffic = read(keep, frozen, "optional", tell=False, keep_unknown=True)
    arguments = plain_arguments(options.values)
    with started_by(o.command_line(), arguments, o.settings_of(context)):
        result = debias(
            frozen,
            complaints,
            keep=traffic,
            invariant=options.said.invariant,
            out=sets.out,
            max_cost=options.fit.max_cost,
            device=running.device,
            force=running.force,
            settings=DebiasSettings(
                batch_size=running.batch_size,
                random_state=running.seed,
                verbose=not running.quiet,
            ),
        )
    _show(result, options)
    if not result.written:
        raise typer.Exit(NOT_BETTER)


def _check_sets(options: o.DebiasOptions, out: Path | None) -> None:
    """Raise an error that names the option or argument that is missing, or too much."""
    a = options.sets
    if a.model is None:
        missing = "MODEL"
    elif a.data is None and a.train is None:
        missing = "DATA (labelled samples that the network was not trained on)"
        missing += "" if a.validation is None else ", or --train DATA next to --validation,"
    elif a.data is None and a.validation is None:
        missing = "--validation DATA next to --train (samples that the network was not trained on)"
    elif a.data is not None and (a.train is not None or a.validation is not None):
        raise InputError(
            f"{a.data} is a single labelled set, which cannot be combined with --train and "
            "--validation; give either DATA or both options."
        )
    elif out is None:
        missing = "-o OUT (the output folder)"
    else:
        return
    raise InputError(
        f"{missing} is missing. Give one labelled set (ntkit debias MODEL DATA -o OUT), two sets "
        "(--train DATA --validation DATA), or an earlier run (ntkit debias --from OUT)."
    )


def _ordered(fit: o.DebiasFit, seed: int) -> Any:
    """The method that was ordered: a name, NeuronTune with its parameters, or None."""
    parameters, method = fit.neurontune.parameters, fit.method
    if not parameters:
        return method
    if method != "neurontune":
        key = next(iter(parameters))
        raise InputError(
            f"The setting {key} is a parameter of NeuronTune. Order it with --method neurontune, "
            "or remove the setting."
        )
    parameters = {"solver": "optimum", "C": fit.C, "random_state": seed} | parameters
    return NeuronTuneClassifier.as_described(**parameters)


def _check_new(out: Path, inputs: list[Path | None], *, force: bool) -> None:
    """Refuse a folder that exists, unless ``force`` may replace it."""
    if not force and (out / RUN_FILE).is_file():
        raise InputError(
            f"{out} holds an earlier run: continue it with ntkit debias --from {quoted(out)}, "
            "replace it with --force, or choose another name."
        )
    if force and (out / ANSWERS_FILE).is_file():
        raise InputError(
            f"{out} holds somebody's {ANSWERS_FILE}: continue with ntkit debias --from "
            f"{quoted(out)}, or move the answers away first."
        )
    check_folder(out, inputs=inputs, force=force)


def _tell_cost(samples: Mapping[str, Samples], a: o.DebiasOptions) -> None:
    """Note the cost of a run that cannot write a model."""
    n = sum(len(each) for each in samples.values() if not each.embedded)
    if n >= _MUCH:
        again = {"model_options": vars(a.model_options), "data_options": vars(a.data_options)}
        paths = a.sets.model, a.sets.validation or a.sets.data
        words = [*(quoted(path) for path in paths if path is not None), options_again(again, None)]
        o.say(
            f"Note: this run embeds {n} samples and writes no model, because there is no terminal "
            "to ask in. To list findings from the validation set alone: ntkit audit "
            f"{' '.join(filter(None, words))} -o audit/",
            err=True,
        )


def _groups(path: Path, options: o.DataOptions) -> dict[str, Any]:
    """Columns of a table of groups; the column of groups is called group."""
    columns = read_table(path, named_delimiter(options.delimiter)).columns
    key = options.group_column
    if key != "group" and key not in columns:
        raise InputError(f"{path} has no column {key!r} (--group-column); it has {list(columns)}.")
    return {"group" if name == key else name: values for name, values in columns.items()}


def _goes_on(run: Path, typed: set[str]) -> bool:
    """Whether to repeat a decided run, rather than to write another row of its table."""
    again = {"answers", "spurious", "invariant", "groups", "max_cost", "interpolation"}
    if typed & (again | {"even_if_worse", "browser"}):
        return True
    return "out" not in typed and ("method" in typed or (run / ANSWERS_FILE).is_file())


def _other_row(run: Path, options: o.DebiasOptions, context: typer.Context) -> None:
    """Write the head of another row of a decided run."""
    check_candidates(run)
    method, out, running = options.fit.method, options.sets.out, options.running
    if method is None or out is None:
        raise InputError(
            f"{run} holds a decided run. Another method: ntkit debias --from {quoted(run)} "
            "--method NAME -o OTHER. Other answers: add --answers, --spurious or "
            "--invariant."
        )
    of_a_row = {"run", "model", "method", "out", "device", "force", "json", "quiet", "no_input"}
    of_a_row |= {"verbose", "settings"}
    of_a_row |= {each.name for each in fields(o.ModelOptions)}
    why = f"is not used to write another row of {run}"
    o.refuse_unused(context, of_a_row, why, "; leave it out, or leave -o out to do the run again.")
    path = options.sets.model
    model = None if path is None else options.model_options.load(path)
    check = write_candidate(
        run,
        method,
        out,
        model=model,
        label=options.model_options.label,
        device=running.device,
        force=running.force,
    )
    text = (
        f"Wrote {out / MODEL_FILE} with the whole head of {method} of the run in {run}, not "
        f"interpolated. Verified on {check.n_samples} random inputs: largest relative "
        f"difference of logits {check.logit_difference:.1e}. {check.on_other_labels()}"
    ).rstrip()
    o.show_verified(out / MODEL_FILE, check, text, json=running.json)


def _beside(path: Path, options: o.DataOptions) -> dict[str, Any]:
    """Columns of metadata, without the columns of labels and groups."""
    left_out = (options.label_column, options.group_column)
    columns = read_table(path, named_delimiter(options.delimiter)).columns
    return {name: values for name, values in columns.items() if name not in left_out}


_LARGEST = 1 << 20  # bytes


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON holds them; paths are absolute, for a run from another folder."""
    return {name: _plain(value) for name, value in arguments.items()}


def files_read(changes: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the file that each change draws lines from, by its kind and path."""
    from ntkit.changes import change_named

    found = dict[str, str]()
    for each in map(change_named, changes):
        if each.sha256 is not None:
            path = os.path.abspath(parts_of_change(each.name)[0].what[1:])
            found[f"{each.kind}:@{path}"] = each.sha256
    return found


def _tell_edited(run: Path, files: Mapping[str, str]) -> None:
    """Say which files of changes are others than in the run that goes on."""
    for name, before in files.items():
        with suppress(InputError):  # it is no longer there
            if files_read([name]) not in ({}, {name: before}):
                o.tell_notes(
                    [
                        f"The file of {name} has changed since the run in {run}, which goes on "
                        f'with its own copy. To take the new lines, add: --invariant "{name}"'
                    ]
                )


def going_on(folder: Path, arguments: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
    """Arguments of the run in a folder; options that are given now replace them."""
    file = folder / RUN_FILE
    if not file.is_file():
        check_candidates(folder)  # a repair by complaints has no such file
        raise InputError(
            f"{folder} holds no {RUN_FILE}, so there is no run to continue; give the folder that "
            "ntkit debias -o wrote."
        )
    kept = read_json(file, largest=_LARGEST, wanted="the record of a run of ntkit debias")
    try:
        merged = {n: _merged(value, kept[n], n, given) for n, value in arguments.items()}
        merged["files"] = {str(name): str(digest) for name, digest in kept.get("files", {}).items()}
        return merged
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged ({error}); run ntkit debias again.") from error


def _merged(now: Any, kept: Any, name: str, given: set[str]) -> Any:
    if is_dataclass(now) and not isinstance(now, type):
        values = {
            field.name: _merged(getattr(now, field.name), kept[field.name], field.name, given)
            for field in fields(now)
        }
        return replace(now, **values)
    if name in given:
        return now
    return Path(kept["path"]) if isinstance(kept, dict) else kept


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": os.path.abspath(value)}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value

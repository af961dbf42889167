"""Settings files: keys for what few set, in place of options."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from ntkit.cli._say import say
from ntkit.exceptions import InputError

READING = (
    *("label", "logits", "embedding", "classes"),
    *("label_column", "group_column", "text_column", "columns", "id_column", "delimiter"),
    *("skip_bad", "device", "batch_size", "seed"),
)
"""Keys of every command: how it reads the model and the samples, and the seed."""
PREPROCESSING = (
    *("preprocessor", "resize", "crop", "resample", "scale", "mean", "std", "layout"),
    *("tokenizer", "max_length"),
)
"""Keys of the table ``[preprocessing]``, and of the option."""
COMMANDS = ("check", "debias")
"""Commands with a table of keys of their own."""
_STRICT = ("audit", "debias", "label")
"""Commands that refuse the former option of a key; the others take it, with a note."""
_ELSEWHERE = {
    "text_pair_column": "--text-column FIRST,SECOND",
    "no_changes": "--changes 0",
    "pooling": "--embedding NAME,mean, or NAME,cls",
    "over": 'over = ["average", "class"] in the file of --limits',
    "alpha": "alpha = 0.05 in the file of --limits",
}
"""Former options without a key of the same name, and what to write instead."""
_LARGEST = 1 << 20  # bytes


def from_file(context: typer.Context, file: Path | None) -> Path | None:
    """Take the values of the options that are not typed from a settings file."""
    if file is not None:
        steps = {} if _is_file(context.params.get("preprocessing")) else PREPROCESSING
        for name, value in _values(context, file).items():
            if name in steps or name not in PREPROCESSING:
                _defaults(context).setdefault(name, value)
    return file


def from_text(context: typer.Context, text: str | None) -> str | None:
    """Take steps of preprocessing from the text of ``--preprocessing``, or name its file."""
    if text is None:
        return None
    if _is_file(text):
        for name in PREPROCESSING:  # those of a settings file, which this one replaces
            _defaults(context).pop(name, None)
        _defaults(context)["preprocessor"] = text
        return text
    for word in shlex.split(text):
        name, _, value = word.partition("=")
        _check_key(name, PREPROCESSING, "--preprocessing")
        _defaults(context)[name] = value
    return text


def _is_file(preprocessing: str | None) -> bool:
    """Whether the text of ``--preprocessing`` names a file, in place of steps."""
    text = preprocessing or "="
    return "=" not in text or Path(text).exists()


def _defaults(context: typer.Context) -> Any:
    if context.default_map is None:
        context.default_map = {}
    return context.default_map


def _values(context: typer.Context, file: Path) -> dict[str, Any]:
    """The keys of a settings file that this command takes, as its options take them."""
    try:
        if file.stat().st_size > _LARGEST:
            raise InputError(f"{file} is larger than a settings file can be.")
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"--settings: {file} is not a readable TOML file: {error}.") from error
    options: dict[str, Any] = {param.name or "": param for param in context.command.params}
    own = [name for name, param in options.items() if getattr(param, "hidden", False)]
    own = [name for name in own if name not in (*READING, *PREPROCESSING, *_ELSEWHERE)]
    tables = {name: content.pop(name) for name in (*COMMANDS, "preprocessing") if name in content}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise InputError(f"{file}: {name} is a table. Write its keys below [{name}].")
    _check_keys(file, content, READING, options)
    _check_keys(file, tables.get("preprocessing", {}), PREPROCESSING, {})
    command = context.command.name or ""
    _check_keys(file, tables.get(command, {}), own, options)
    found = {**content, **tables.get("preprocessing", {}), **tables.get(command, {})}
    return {
        name: _as_typed(options[name], value, file)
        for name, value in found.items()
        if name in options
    }


def _check_keys(
    file: Path, given: Iterable[str], known: Iterable[str], options: Mapping[str, Any]
) -> None:
    for name in given:
        if name not in known and name in options and not options[name].hidden:
            raise InputError(f"{file}: {name} is an option. Pass --{name.replace('_', '-')}.")
        _check_key(name, known, str(file))


def _check_key(name: str, known: Iterable[str], where: str) -> None:
    if name not in known:
        from ntkit._labels import meant_instead

        meant = meant_instead(name, [*known])
        hint = f"; did you mean {meant}?" if meant else f". Known are {', '.join(known)}."
        raise InputError(f"{where} has an unknown key {name!r}{hint}")


def _as_typed(option: Any, value: Any, file: Path) -> Any:
    """A value of TOML as the option takes it from a command line."""
    if option.is_flag != isinstance(value, bool) or isinstance(value, Mapping):
        kind = "true or false" if option.is_flag else "a number, a text or a list"
        raise InputError(f"{file}: {option.name} must be {kind}. Got {value!r}.")
    if option.is_flag:
        return value
    if isinstance(value, list):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(value)
        value = line.getvalue()
    names_file = option.name == "classes" and (file.parent / str(value)).is_file()
    if names_file or option.name in ("preprocessor", "tokenizer"):
        value = file.parent / value
    return str(value)


def note_former(context: typer.Context) -> None:
    """Refuse options that became keys, or note it, by the command."""
    command = context.command.name or ""
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if not getattr(param, "hidden", False) or source is None or source.name != "COMMANDLINE":
            continue
        place = _place(param, context)
        says = f"{param.opts[0]} is no longer an option of ntkit {command}. Write {place}."
        if command in _STRICT:
            raise InputError(says)
        say(f"Note: {says} It is still taken for one release.", err=True)


def explain(context: typer.Context, error: Exception) -> None:
    """Add where to write the options that an error names and this command has as keys."""
    for param in context.command.params:
        if getattr(param, "hidden", False) and re.search(rf"{param.opts[0]}(?![\w-])", str(error)):
            error.add_note(f"For {param.opts[0]} write {_place(param, context)}.")


def _place(param: Any, context: typer.Context) -> str:
    """What to write in place of a former option."""
    name, command = param.name, context.command.name
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    if name == "preprocessor":
        return "--preprocessing FILE"
    if name in PREPROCESSING:
        return f'--preprocessing "{name}=…"'
    value = "true" if param.is_flag else "…"
    table = "" if name in READING else f" below [{command}]"
    return f"{name} = {value}{table} in a settings file, and pass --settings FILE"


def settings_of(context: typer.Context, merged: Mapping[str, Any] | None = None) -> str:
    """The content of a settings file with the values of a command that are not its defaults.

    ``merged`` holds values that an earlier run gave.
    """
    values, command = {**context.params, **(merged or {})}, context.command.name or ""
    own = [p.name for p in context.command.params if getattr(p, "hidden", False)]
    own = [name for name in own if name not in (*READING, *PREPROCESSING, *_ELSEWHERE)]
    default = {param.name: param.default for param in context.command.params}
    lines = ["# Settings of a run of ntkit. Pass this file to any command with --settings."]
    tables = {"": READING, "preprocessing": PREPROCESSING}
    for table, names in (tables | ({command: own} if own else {})).items():
        known = [name for name in names if values.get(name) not in (None, default.get(name))]
        lines += ["", f"[{table}]"] if table and known else []
        lines += [f"{name} = {_toml(values[name])}" for name in known]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    # Strings of JSON are strings of TOML.
    if isinstance(value, Path):
        value = str(value.absolute())
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

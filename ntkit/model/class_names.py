"""A model's class names, task, labels and thresholds, from its files; data, never executed."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntkit import _text
from ntkit._labels import (
    composed,
    differing_classes,
    meant_instead,
    one_form,
    same_names,
    unknown_labels,
)
from ntkit._labels import listed as listed_labels
from ntkit._types import Array
from ntkit.exceptions import InputError, ModelError
from ntkit.head import LinearHead
from ntkit.model._head_search import Head

CLASSES = "ntkit.classes"
THRESHOLDS = "ntkit.thresholds"
"""Thresholds by name in a file that ntkit wrote, next to which no config.json may lie."""
POSITIONS = "positions"
_METADATA = ("names", "id2label", "class_names", "classes", "labels")
_CONFIG = "config.json"
_PROBLEM = "problem_type"
_IN_CONFIG = ("id2label", "label_names")
_OF_OPENVINO = "model_info multilabel"
_NAMES_OF_OPENVINO = "model_info labels"
_ONE_FOR_ALL = ("threshold", "model_info confidence_threshold")
_LISTS = ("labels.txt", "classes.txt")
_ALIKE = 1e-6  # thresholds of the graph and of a file
_MOST_BYTES = 4 * 2**20  # 20 000 classes of ImageNet take one tenth of it
_NOT = "not "  # before the name of the class of a single score: the other class
_PLACEHOLDER = re.compile(r"LABEL_(\d+)")
# The output of repr() for {int: str}, [str] and (str,); nothing else reaches the parser. The
# quantifiers are possessive, so the time is linear for any text.
_STRING = r"""(?:'(?:[^'\\\n]|\\[\\'"nrtxuUN])*+'|"(?:[^"\\\n]|\\[\\'"nrtxuUN])*+")\s*+"""
_PAIR = rf"\d{{1,9}}\s*+:\s*+{_STRING}"
_LITERAL = re.compile(
    rf"\{{\s*+(?:{_PAIR}(?:,\s*+|(?=\}})))*+\}}"
    rf"|\[\s*+(?:{_STRING}(?:,\s*+|(?=\])))*+\]|\(\s*+(?:{_STRING}(?:,\s*+|(?=\))))*+\)"
)
SEVERAL = "multi_label_classification"
_NUMBERED = re.compile(r"(\d{1,9})(?:\s*[:,;]\s*|\s+)(.+)")


@dataclass(frozen=True)
class ClassNames:
    """Names of a model's classes, and their source."""

    names: tuple[Any, ...] | None = None  # in the order of the logits; None without names
    source: str = POSITIONS  # source; "positions" without names
    warnings: tuple[str, ...] = ()  # why names that were found are not used, one sentence each
    surely: bool = True  # whether it is a list of classes even if it has another number of names


@dataclass(frozen=True)
class Facts:
    """What a model's metadata and the files next to it say of its classes, read once."""

    names: tuple[ClassNames, ...]  # the lists of names, the first choice first
    task: str  # in Hugging Face's words; empty if no file names it
    task_source: str
    thresholds: Any  # as written: a number, a list, or by name or position
    thresholds_source: str


def read_facts(metadata: Mapping[str, str], path: Path | None) -> Facts:
    """Read what metadata, and the files next to a model of this path, say of its classes."""
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise ModelError(
            f"{path or 'The model'} has metadata that are not text; export the model again."
        )
    # In the metadata, a list in a row may be one of other things than classes. Next to the path, or
    # in the parent of a folder `onnx`: `config.json` (Hugging Face, timm), and `labels.txt` or
    # `classes.txt` with a name per line.
    configs, names = list[dict[str, Any]](), list[ClassNames]()
    written = parsed_json(metadata.get(CLASSES, ""))  # as ntkit wrote them, of any type
    of_type = any(
        isinstance(written, list) and all(isinstance(name, kind) for name in written)
        for kind in (str, int | float)
    )
    if of_type and len({name for name in written if name == name}) == len(written):
        names.append(ClassNames(tuple(written), f"metadata {CLASSES!r}", surely=False))
    for key, listed in names_in(metadata).items():
        surely = metadata[key].lstrip()[0] in "{[("
        names.append(ClassNames(listed, f"metadata {key!r}", surely=surely))
    in_a_row = _in_order(metadata.get(_NAMES_OF_OPENVINO, "").split())
    names.append(ClassNames(in_a_row, f"metadata {_NAMES_OF_OPENVINO!r}", surely=False))
    for folder in folders_of(path):
        config = parsed_json(_text_of(folder / _CONFIG))
        if isinstance(config, dict):
            configs.append(config)
            for key in _IN_CONFIG:
                names.append(ClassNames(_in_order(config.get(key)), f"{_CONFIG} ({key})"))
        for file in _LISTS:
            names.append(ClassNames(_lines(_text_of(folder / file)), file))
    names = [each for each in names if each.names is not None]
    thresholds, source = _written_thresholds(metadata, configs[0] if configs else {})
    return Facts(tuple(names), *_task(metadata, configs), thresholds, source)


def class_names_of(
    n_classes: int,
    facts: Facts,
    labels: tuple[Any, ...] | None = None,
    *,
    one_score: bool = False,
) -> ClassNames:
    """Find the names of a model's classes; ``one_score`` is that of the second of two classes."""
    # The first source with as many names as classes is used: the labels that the graph maps its
    # scores to; the file's metadata `ntkit.classes`, `names` (Ultralytics), `id2label`,
    # `class_names`, `classes`, `labels`; the files next to it. `LABEL_0`, `LABEL_1`, … are
    # positions, not names. A single name of a single score is that of its class.
    if labels is not None:
        return ClassNames(tuple(labels), "the model's graph")
    used, warnings = ClassNames(), list[str]()
    for listed in facts.names:
        names, source = listed.names or (), listed.source
        if not listed.surely and len(names) != n_classes:
            continue
        if len(names) == 1:
            if not one_score or source.startswith(_CONFIG) or _PLACEHOLDER.fullmatch(str(names[0])):
                continue  # a config.json with one label is that of a regression
            names = (f"{_NOT}{names[0]}", names[0])
        alike = [*map(one_form, names)]
        twice = next((name for i, name in enumerate(names) if alike[i] in alike[:i]), None)
        numbered = [_PLACEHOLDER.fullmatch(str(name)) for name in names]
        if all(match and int(match[1]) == i for i, match in enumerate(numbered)):
            continue
        if len(names) != n_classes:
            if twice is None:  # else it is a list of other things
                warnings.append(
                    f"{source} names {len(names)} classes ({_quoted(names)}), but the model's head "
                    f"has {n_classes}; these names are not used."
                )
        elif twice is not None:
            warnings.append(
                f"{source} gives two classes the name {twice!r}; these names are not used."
            )
        elif used.names is None:
            used = ClassNames(names, source)
        elif not same_names(names, used.names) and {*alike} == {*map(one_form, used.names)}:
            warnings.append(
                f"The classes are in another order in {source} ({_quoted(names)}) than in "
                f"{used.source} ({_quoted(used.names)}), which is used; name the right order with "
                "--classes (classes= in Python)."
            )
    return ClassNames(used.names, used.source, tuple(warnings))


def _task(metadata: Mapping[str, str], configs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Task of a model according to its files, and the source; empty if they do not name it."""
    # A `config.json` with a single label means a regression, as in transformers.
    if metadata.get(_PROBLEM):
        return metadata[_PROBLEM], f"metadata {_PROBLEM!r}"
    if metadata.get(_OF_OPENVINO, "").lower() == "true":
        return SEVERAL, f"metadata {_OF_OPENVINO!r}"
    for config in configs:
        if isinstance(config.get(_PROBLEM), str):
            return config[_PROBLEM], f"{_CONFIG} ({_PROBLEM})"
        labels = config.get("id2label")
        if isinstance(labels, dict) and len(labels) == 1 and "transformers_version" in config:
            return "regression", f"{_CONFIG} (one label)"
    return "", ""


def _written_thresholds(metadata: Mapping[str, str], config: Mapping[str, Any]) -> tuple[Any, str]:
    """Thresholds as the metadata or config.json write them, and their source."""
    # `thresholds` or `threshold`: a number, a list, or a number for each name or position. OpenVINO
    # writes `model_info confidence_threshold`. A number that is not between 0 and 1 is an error in
    # the former, and means something else in the latter.
    written = {
        f"metadata {key!r}": _parsed(metadata[key])
        for key in (THRESHOLDS, "thresholds")
        if key in metadata
    }
    written |= {"config.json (thresholds)": config.get("thresholds")}
    one = {f"metadata {key!r}": _parsed(metadata[key]) for key in _ONE_FOR_ALL if key in metadata}
    one |= {"config.json (threshold)": config.get("threshold")}
    written |= {
        k: v
        for k, v in one.items()
        if isinstance(v, dict | list) or (isinstance(v, int | float) and 0 < v < 1)
    }
    places = ((value, source) for source, value in written.items() if value is not None)
    return next(places, (None, ""))


@dataclass(frozen=True)
class Label:
    """A label of a model, as a binary problem: the sample has it, or not."""

    name: str
    row: int  # of the head
    names: tuple[str, ...]  # of all labels
    threshold: float  # probability above which the model gives the label
    source: str  # of the threshold, as the end of a sentence
    alone: bool = False  # whether a layer of its own computes it

    @property
    def level(self) -> float:
        """The logit of the threshold."""
        return math.log(self.threshold / (1 - self.threshold))

    @property
    def classes(self) -> tuple[str, str]:
        """Names of the two classes: without and with the label."""
        return f"not {self.name}", self.name

    def of(self, weight: Array, bias: Array, classes: Any) -> LinearHead:
        """The label's head, positive above the threshold, of all rows (K, D) and (K,)."""
        row = slice(self.row, self.row + 1)  # in float64, so that `into` restores its bits
        coef, intercept = weight[row].astype(np.float64), bias[row].astype(np.float64)
        return LinearHead(coef, intercept - self.level, classes)

    def into(self, head: LinearHead, weight: Array, bias: Array) -> tuple[Array, Array]:
        """All rows with the label's replaced by its new head."""
        coef, intercept = weight.astype(np.float64), bias.astype(np.float64)
        coef[self.row], intercept[self.row] = head.coef[0], head.intercept[0] + self.level
        return coef, intercept


def with_thresholds(
    names: Sequence[str], facts: Facts, in_graph: tuple[float, ...] | None = None
) -> tuple[Label, ...]:
    """Each label, with its threshold of the graph, the metadata, or config.json, else 0.5."""
    if not names:
        return ()
    written, source = facts.thresholds, f"of {facts.thresholds_source}"
    if written is None:
        default = [0.5] * len(names), "by default"
        written, source = default if in_graph is None else ([*in_graph], "of the graph")
    if isinstance(written, dict):
        by_name = {composed(name): value for name, value in written.items()}
        written = [by_name.get(composed(n), by_name.get(str(i))) for i, n in enumerate(names)]
    values = written if isinstance(written, list) else [written] * len(names)
    numbers = [float(x) for x in values if isinstance(x, int | float) and 0 < x < 1]
    if len(numbers) != len(names):
        raise ModelError(
            f"The model's thresholds ({facts.thresholds_source}) are not a number between 0 and 1 "
            f"for each of its {len(names)} labels; correct them."
        )
    for name, number, shown in zip(names, numbers, in_graph or numbers, strict=True):
        if abs(number - shown) > _ALIKE:
            raise ModelError(
                f"The model's graph decides on the label {name!r} at {shown:g}, but "
                f"{facts.thresholds_source} says {number:g}; correct one of them."
            )
    pairs = enumerate(zip(names, numbers, strict=True))
    return tuple(Label(name, row, tuple(names), number, source) for row, (name, number) in pairs)


def label_named(name: Any, labels: Sequence[Label], *, of: str) -> Label:
    """The label of a name; the model is named ``of`` in the error."""
    names = [label.name for label in labels]
    alike = [*map(composed, names)]
    if composed(name) not in alike:
        meant = meant_instead(str(name), names)
        raise InputError(
            f"{of} has no label {str(name)!r}; its labels are {_text.listed(names, 12)}"
            f"{f' (did you mean {meant}?)' if meant else ''}."
        )
    row = names.index(str(name)) if str(name) in names else alike.index(composed(name))
    return labels[row]


def why_one_class(head: Head | None, task: str, where: str) -> str | None:
    """Reason why the logits of a model are not labels, of which a sample may have several."""
    if head is None:
        return "The model has no head"
    if task and task != SEVERAL:
        return f"The model's problem type is {task} ({where})"
    chooses = {"Softmax", "LogSoftmax", "ArgMax", "TopK"} & {*head.after.post_processing}
    if chooses or head.after.decided or len(head.weight) == 1:
        how = f"a {min(chooses)} in its graph" if chooses else "one logit"
        how = "its graph" if head.after.decided and not chooses else how
        return f"The model chooses one class for each sample ({how})"
    return None


def _parsed(text: str) -> Any:
    """An entry of the metadata: JSON, or numbers in a row."""
    for form in ("{}", "[{}]"):
        with suppress(ValueError, RecursionError):
            return json.loads(form.format(text))
    return text


def names_in(metadata: Mapping[str, str]) -> dict[str, tuple[Any, ...]]:
    """Names of classes in a file's metadata, by key, other than ntkit's own."""
    by_key = {key: _read(metadata.get(key, "")) for key in _METADATA}
    return {key: names for key, names in by_key.items() if names is not None}


def renamed(metadata: Mapping[str, str], classes: list[Any]) -> dict[str, str]:
    """Metadata that name classes, with other names in the same format."""
    names = list(map(str, classes))
    new = {}
    for key in names_in(metadata):
        text = metadata[key].lstrip()
        if text[0] in "{[(":
            content = dict(enumerate(names)) if text[0] == "{" else names
            new[key] = repr(content) if parsed_json(text) is None else json.dumps(content)
        else:
            new[key] = ("\n" if "\n" in text else ",").join(names)
    return new


def folders_of(path: Path | None) -> list[Path]:
    """Folders of a model's other files: the folder of its path, and the parent of ``onnx``."""
    # A link in a cache has its configuration next to the link.
    if path is None:
        return []
    folder = path.parent
    return [folder, folder.parent] if folder.name == "onnx" else [folder]


def _read(text: str) -> tuple[Any, ...] | None:
    """Names in a metadata entry: JSON, a Python literal, or a list with commas or lines."""
    if not text.strip() or len(text) > _MOST_BYTES:
        return None
    if text.lstrip()[0] not in "{[(":
        lines = [name.strip() for name in re.split(r"\n" if "\n" in text.strip() else ",", text)]
        return _in_order([name for name in lines if name]) if len(lines) > 1 else None
    content = parsed_json(text)
    if content is None and _LITERAL.fullmatch(text.strip()):
        try:
            content = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return _in_order(content)


def _in_order(content: Any) -> tuple[Any, ...] | None:
    """Names by position, from a list, {position: name} or {name: position}."""
    if isinstance(content, dict):
        if content and all(type(value) is int for value in content.values()):
            content = {position: name for name, position in content.items()}
        try:
            by_position = {int(key): name for key, name in content.items()}
        except (TypeError, ValueError):
            return None
        if sorted(by_position) != list(range(len(content))):
            return None
        content = [by_position[i] for i in range(len(content))]
    if not isinstance(content, list | tuple) or not content:
        return None
    names = [str(name) if type(name) is int else name for name in content]
    if not all(isinstance(name, str) and name.strip() for name in names):
        return None
    names = [name.strip() for name in names]
    # Labels from folders and tables are whole numbers if all of them are.
    if all(re.fullmatch(r"-?(?:0|[1-9][0-9]{0,17})", name) for name in names):
        return tuple(map(int, names))
    return tuple(names)


def _lines(text: str) -> tuple[Any, ...] | None:
    """One name per line, optionally after its position."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        pairs = [(int(match[1]), match[2]) for match in numbered if match]
        if sorted(i for i, _ in pairs) == list(range(len(pairs))):
            return _in_order(dict(pairs))
    return _in_order(lines)


def _text_of(path: Path) -> str:
    """A small text file's content; empty if there is none, or it is not text."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return ""
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return ""


def parsed_json(text: str) -> Any:
    """The value of a text in JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError):
        return None


def _quoted(names: tuple[Any, ...]) -> str:
    return _text.listed(map(repr, names), 6)


_NUMBERED_CLASS = re.compile(r"(?:LABEL_)?(0|[1-9][0-9]{0,8})")


def matched_classes(labels: Array, classes: Array, *, named: bool) -> tuple[Array, str] | None:
    """Match the labels of a sample with the classes of a head."""
    # Returns the labels in the order of the logits, and the rule of the match as a sentence; None
    # if labels and classes are equal. `named`: the classes are names, not positions.
    of_data, of_model = labels.tolist(), classes.tolist()
    if set(of_data) == set(of_model):
        return None
    numbers = [_position(label) for label in of_data]
    if sorted(numbers) == list(range(len(of_model))) and not (named and _are_numbers(of_model)):
        by_position = labels[np.argsort(numbers)]
        return by_position, (
            "The labels are interpreted as positions of the model's classes: "
            f"{_numbered(of_model if named else by_position.tolist())}."
        )
    if named and len(of_data) == len(of_model):
        spelled = {_plain(label): label for label in of_data}
        name = str(of_model[-1])
        if of_model == [f"{_NOT}{name}", name] and _plain(name) in spelled and len(spelled) == 2:
            one = spelled[_plain(name)]
            (other,) = (label for label in of_data if label != one)
            return np.asarray([other, one]), (
                f"The model's score is that of the class {one!r}, so {other!r} is the other one."
            )
        if len(spelled) == len(of_model) and spelled.keys() == {_plain(name) for name in of_model}:
            in_order = [spelled[_plain(name)] for name in of_model]
            pairs = [f"{a!r} = {b!r}" for a, b in zip(in_order, of_model, strict=True) if a != b]
            return np.asarray(in_order), (
                "Labels and names of the model's classes differ only in case, spaces or "
                f"underscores and count as equal: {_text.listed(pairs, 8)}."
            )
    if not named and len(of_data) == len(of_model) and labels.dtype.kind in "US":
        return labels, (
            "The model does not name its classes; used the labels in sorted order: "
            f"{_numbered(of_data)}."
        )
    raise InputError(_refusal(of_data, of_model))


def are_positions(classes: Sequence[Any]) -> bool:
    """Whether classes are the numbers 0 … C-1, in this order."""
    booleans = any(isinstance(label, bool | np.bool_) for label in classes)  # True is equal to 1
    return not booleans and [*classes] == [*range(len(classes))]


def same_name(first: Any, second: Any) -> bool:
    """Whether two names differ only in case, spaces and underscores."""
    return bool(first == second) or _plain(first) == _plain(second)


def _are_numbers(classes: Sequence[Any]) -> bool:
    return all(isinstance(label, int | float) and not isinstance(label, bool) for label in classes)


def _position(label: Any) -> int:
    """The position that a label stands for: 2, "2" or "LABEL_2"; −1 for any other."""
    if isinstance(label, str):
        number = _NUMBERED_CLASS.fullmatch(label)
        return int(number[1]) if number else -1
    whole = _are_numbers([label]) and math.isfinite(label) and label == int(label)
    return int(label) if whole else -1


def _plain(name: Any) -> str:
    return composed(" ".join(re.sub(r"[\s_]+", " ", str(name)).split()).casefold())


def _refusal(of_data: list[Any], of_model: list[Any]) -> str:
    if len(of_data) < 2:
        return (
            f"The data have only one class ({listed_labels(of_data)}) of the model's head "
            f"({listed_labels(of_model)}); add samples of the others, or name another label column."
        )
    named = "name its classes in the order of the logits with --classes (classes= in Python)"
    sides = {"what": "The data", "where": "the model's head"}
    use = how_to_write(of_data, of_model) or "use its labels"
    unknown = unknown_labels(of_data, of_model, **sides, fix=f"{use}, or {named}.")
    if unknown is None:
        fix = "add samples of this class, or name the model's classes with --classes (classes=)."
        return str(differing_classes(of_data, of_model, **sides, fix=fix))
    return unknown if named in unknown else f"{unknown} If not, {named}."


def how_to_write(labels: Sequence[Any], classes: Sequence[Any]) -> str:
    """How truth values become labels of two classes that have other names; else empty."""
    truths = len(classes) == 2 and all(isinstance(label, bool | np.bool_) for label in labels)
    return "write them as 0 and 1 (y.astype(int)) if False is the first class" * truths


def _numbered(classes: Sequence[Any]) -> str:
    return _text.listed((f"{i} = {name}" for i, name in enumerate(classes)), 10)

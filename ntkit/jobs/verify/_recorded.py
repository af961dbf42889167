"""Read a service's recorded outputs, with the images, texts or arrays of the inputs."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ntkit._labels import composed
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.jobs.verify._cause import Settings, Subject, done
from ntkit.jobs.verify._images import array_changes, image_subject
from ntkit.jobs.verify._texts import text_subject
from ntkit.model import FrozenModel
from ntkit.samples.kinds import SeveralInputs, TextData, by_input, rows_of

OUTPUTS = ("logits", "probabilities", "labels")
_FILES = ("files", "file_name", "ids")
INPUTS = (*_FILES, "rows", "texts", "text_pairs", "images", "X")
_UNREADABLE = (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class Recording:
    """Recorded outputs of a service, and its inputs by name."""

    kind: str  # logits, probabilities or labels
    outputs: Array
    inputs: Mapping[str, Array] = field(default_factory=dict)
    source: str = "The recording"  # its name in a sentence
    labels: Array | None = None  # must agree with the logits or probabilities

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def files(self) -> Array | None:
        """Array or None: Names of files."""
        return next((self.inputs[name] for name in _FILES if name in self.inputs), None)

    def of_label(self, model: FrozenModel) -> Recording:
        """The outputs of the model's one label: its column of all labels, or the only column."""
        if model.label is None or self.outputs.size == len(self):
            return self
        if self.outputs.shape[1] != len(model.label_names):
            raise InputError(
                f"{self.source} holds {self.outputs.shape[1]} {self.kind} per sample, but the "
                f"model has {len(model.label_names)} labels. Record all of them, or only "
                f"{model.label!r}."
            )
        column = self.outputs[:, model.label_names.index(model.label)]
        return replace(self, outputs=column, labels=None)


def read_recorded(
    recorded: str | os.PathLike[str] | Mapping[str, Any],
    inputs: tuple[str, ...],
    n_labels: int = 1,
) -> Recording:
    """Read one kind of outputs and one kind of inputs, from a file or its arrays."""
    # `n_labels`: labels of the model that a sample may have at once, 1 for classes.
    source = "The recording"
    if isinstance(recorded, Mapping):
        arrays = {str(name): np.asarray(values) for name, values in recorded.items()}
    else:
        source = str(recorded)
        arrays = _arrays_of(Path(recorded))
    kind = next((name for name in OUTPUTS if name in arrays), None)
    if kind is None:
        raise InputError(
            f"{source} holds {sorted(arrays)} but no outputs. Save them as logits, probabilities "
            "or labels: np.savez(path, logits=..., files=...)"
        )
    outputs = arrays.pop(kind)  # logits carry most information, labels least
    _check_outputs(source, kind, outputs, n_labels)
    known = {name: values for name, values in arrays.items() if name in (*INPUTS, *inputs)}
    _check_inputs(source, known, inputs, len(outputs))
    labels = arrays.get("labels")
    if labels is not None:
        _check_outputs(source, "labels", labels, n_labels)
        if len(labels) != len(outputs):
            raise InputError(
                f"{source} holds {len(outputs)} {kind}, but {len(labels)} labels. Record one per "
                "sample."
            )
        labels = labels.reshape(-1) if n_labels == 1 else None
    return Recording(kind, outputs, known, source, labels)


def _arrays_of(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if isinstance(arrays, np.ndarray):
                raise ValueError("it holds a single array without a name")
            return {name: arrays[name] for name in arrays.files}
    except _UNREADABLE as error:
        reason = str(error).rstrip(".")
        if "pickle" in reason:  # NumPy's message advises to load untrusted objects
            reason = "save arrays of numbers or texts, not Python objects, with np.savez"
        raise InputError(f"{path} is not a readable .npz file: {reason}.") from error


def _check_outputs(source: str, kind: str, outputs: Array, n_labels: int) -> None:
    if outputs.ndim not in (1, 2) or not outputs.size:
        raise InputError(
            f"{source}: {kind} have the shape {outputs.shape}. Save one row per sample."
        )
    if kind == "labels":
        fits = outputs.size in (len(outputs), n_labels * len(outputs))
        if not fits or outputs.dtype.kind not in "iubU":
            raise InputError(f"{source}: labels must be one text or whole number per sample.")
        return
    if outputs.dtype.kind not in "fiu" or not np.isfinite(outputs).all():
        raise InputError(f"{source}: {kind} hold values that are not finite numbers.")


def _check_inputs(
    source: str, arrays: Mapping[str, Array], inputs: tuple[str, ...], n_samples: int
) -> None:
    of_model = "inputs of the model"
    kinds = {name if name in INPUTS else of_model for name in arrays if name != "text_pairs"}
    if len(kinds) > 1:
        raise InputError(
            f"{source} names its inputs in several ways ({', '.join(sorted(arrays))}). Keep one."
        )
    missing = [name for name in inputs if name not in arrays]
    if of_model in kinds and missing:
        raise InputError(f"{source} lacks the model's input {missing[0]!r}. Record every input.")
    if "text_pairs" in arrays and "texts" not in arrays:
        raise InputError(f"{source} holds text_pairs without texts. Record both.")
    for name, values in arrays.items():
        n = len(values) if values.ndim else 0
        if n != n_samples:
            raise InputError(f"{source} holds {n_samples} outputs, but {n} {name}.")
        if name in ("texts", "text_pairs", *_FILES) and values.dtype.kind != "U":
            raise InputError(f"{source}: {name} must be texts. Save them with dtype=str.")
        if name == "rows" and (values.dtype.kind not in "iu" or values.ndim != 1):
            raise InputError(f"{source}: rows must be whole numbers, counted from 0.")


Preprocessing = ImagePreprocessing | TextPreprocessing | None


def subject_of(
    model: FrozenModel,
    recorded: Recording,
    data: Samples | None,
    preprocessing: Preprocessing,
    folder: Path,
) -> Subject:
    """The recorded samples, from the recording or from data, with ntkit's preprocessing."""
    inputs, files = recorded.inputs, recorded.files
    if "texts" in inputs:
        steps = preprocessing
        if not isinstance(steps, TextPreprocessing):
            steps = TextPreprocessing.for_model(model)
        if steps is None:
            raise InputError(
                f"{recorded.source} holds texts, but the model's folder has no tokenizer. Pass one "
                "with --tokenizer, or record the token ids."
            )
        pairs = inputs["text_pairs"].tolist() if "text_pairs" in inputs else None
        return text_subject(inputs["texts"].tolist(), steps, pairs, folder)
    if "images" in inputs:
        if inputs["images"].dtype != np.uint8 or inputs["images"].ndim not in (3, 4):
            raise InputError(
                f"{recorded.source}: images must be decoded pixels, uint8 of shape (N, H, W, 3). "
                "Save inputs of the model as X."
            )
        return _images(model, [*inputs["images"]], preprocessing)
    if inputs and files is None and "rows" not in inputs:
        plain = TextPreprocessing.for_strings(model.inputs)
        X: Any = inputs if len(inputs) > 1 else next(iter(inputs.values()))
        if plain is not None:
            return text_subject(X.ravel().tolist(), plain, None, folder)
        return _array_subject(X, model)
    if data is not None:
        return _subject_of_data(model, recorded, data, preprocessing, folder)
    if files is None:
        raise InputError(
            f"{recorded.source} does not hold the inputs. Add X, images, texts or files to it, or "
            "pass the samples in the order of the outputs: --data DATA (data=)"
        )
    paths = [Path(name) for name in files.tolist()]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{recorded.source} names {missing}, which does not exist. Pass the folder of the "
            "files: --data DATA (data=)"
        )
    return _images(model, paths, preprocessing)


def _subject_of_data(
    model: FrozenModel,
    recorded: Recording,
    data: Samples,
    preprocessing: Preprocessing,
    folder: Path,
) -> Subject:
    """The samples of data that were recorded."""
    rows = _recorded_rows(recorded, data)
    if data.embedded:
        Z = data.X[rows]
        return Subject(len(Z), lambda _, some: np.asarray(Z[np.asarray(some)]), embedded=True)
    X = rows_of(data.X, rows)
    if data.data.are_files:
        return _images(model, X.paths, X.preprocessing)
    if isinstance(data.data, TextData):
        first, second = zip(*X.texts, strict=True) if X.paired else (X.texts, None)
        return text_subject(first, X.preprocessing, second, folder)
    return _array_subject(X if isinstance(data.data, SeveralInputs) else np.asarray(X), model)


def _images(model: FrozenModel, images: Sequence[Any], steps: Preprocessing) -> Subject:
    """Images for a model, by ntkit's preprocessing."""
    if not isinstance(steps, ImagePreprocessing):
        steps = ImagePreprocessing.for_model(model)
    if steps is None:
        raise InputError("The recording holds images, but the model does not take images.")
    tensor = model.inputs[0]
    return image_subject(images, steps, ImagePreprocessing.for_input(tensor.shape).resize)


def _array_subject(X: Any, model: FrozenModel) -> Subject:
    """Inputs of the model; for images, with changes to try."""
    sides = (model.inputs[0].shape or ()) if len(model.inputs) == 1 else ()
    axis = next((at for at in (1, 3) if len(sides) == 4 and sides[at] == 3), None)

    def inputs(settings: Settings, rows: Sequence[int]) -> Any:
        some = by_input(X, lambda part: np.asarray(part[np.asarray(rows)]))
        return done(settings.after, some)

    n_samples = len(next(iter(X.values())) if isinstance(X, Mapping) else X)
    changes = [] if axis is None else array_changes(axis)
    return Subject(n_samples, inputs, changes=lambda: changes)


def _recorded_rows(recorded: Recording, data: Samples) -> Array:
    """Rows of the recorded samples in the data."""
    if recorded.files is not None:
        return _named_rows(recorded.source, recorded.files.tolist(), data)
    if "rows" in recorded.inputs:
        rows = recorded.inputs["rows"].astype(np.int64)
        if rows.min() < 0 or rows.max() >= len(data):
            raise InputError(
                f"{recorded.source} names the rows {rows.min()} to {rows.max()}, but the data have "
                f"{len(data)} samples, counted from row 0."
            )
        return rows
    if len(recorded) != len(data):
        raise InputError(
            f"{recorded.source} holds {len(recorded)} outputs, but the data have {len(data)} "
            "samples. Record an array of files or rows as well."
        )
    return np.arange(len(data))


def _named_rows(source: str, files: Sequence[str], data: Samples) -> Array:
    """Rows by the names of files: paths within the folder, or unique ends of paths."""
    if data.ids is None:
        raise InputError(
            f"{source} names files, but the data are not an image folder. Record rows instead."
        )
    known = dict[str, list[tuple[int, str]]]()
    for i, name in enumerate(map(composed, data.ids)):
        known.setdefault(Path(name).name, []).append((i, name))
    rows = list[int]()
    for file in files:
        wanted = "/" + composed(file).replace("\\", "/")
        alike = [(i, f"/{name}") for i, name in known.get(Path(wanted).name, [])]
        found = [i for i, name in alike if name == wanted] or [
            i for i, name in alike if wanted.endswith(name) or name.endswith(wanted)
        ]
        if len(found) != 1:
            how = "several files have this name" if found else "the data have no such file"
            raise InputError(f"{source} names {file!r}, but {how}. Record paths within the folder.")
        rows += found
    return np.asarray(rows)

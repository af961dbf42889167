"""What a recording is of: images, texts or arrays, found in the recording or in data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.inputs import ImagePreprocessing, TextPreprocessing
from ntkit.jobs.verify._change import Settings, Subject
from ntkit.jobs.verify._recorded import Recorded
from ntkit.jobs.verify.inputs import array_changes, image_subject, text_subject
from ntkit.model import FrozenModel
from ntkit.samples import rows_of

Preprocessing = ImagePreprocessing | TextPreprocessing | None


def subject_of(
    model: FrozenModel,
    recorded: Recorded,
    data: Samples | None,
    preprocessing: Preprocessing,
    folder: Path,
) -> Subject:
    """Find what was recorded, in the recording or in data, and how ntkit makes inputs of it."""
    given = recorded.given
    if "texts" in given:
        steps = _text_steps(model, preprocessing, recorded.source)
        pairs = given.get("text_pairs")
        return text_subject(
            given["texts"].tolist(), steps, None if pairs is None else pairs.tolist(), folder
        )
    if "images" in given:
        if given["images"].dtype != np.uint8 or given["images"].ndim not in (3, 4):
            raise InputError(
                f"{recorded.source}: images are decoded pixels, uint8 of shape (N, H, W, 3); save "
                "what went into the model as X."
            )
        return image_subject([*given["images"]], _image_steps(model, preprocessing), _size(model))
    arrays = {name: values for name, values in given.items() if name != "rows"}
    plain = TextPreprocessing.for_strings(model.inputs)
    if plain is not None and not {"X", plain.ids}.isdisjoint(arrays):
        strings = arrays["X"] if "X" in arrays else arrays[plain.ids]
        return text_subject(strings.ravel().tolist(), plain, None, folder)
    if "X" in arrays:
        return _arrays_of(arrays["X"], model)
    if arrays and recorded.files is None:
        return _arrays_of(arrays if len(arrays) > 1 else next(iter(arrays.values())), model)
    if data is not None:
        return _among(model, recorded, data, folder)
    if recorded.files is None:
        raise InputError(
            f"{recorded.source} does not hold what went in: add X, images, texts or files to it, "
            "or give the samples in their order (--data, data=)."
        )
    paths = [Path(name) for name in recorded.files.tolist()]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{recorded.source} names {missing}, which is not there; give the folder of the files "
            "(--data, data=)."
        )
    return image_subject(paths, _image_steps(model, preprocessing), _size(model))


def _among(model: FrozenModel, recorded: Recorded, data: Samples, folder: Path) -> Subject:
    """The samples of data that outputs were recorded of."""
    rows = _recorded_rows(recorded, data)
    if data.embedded:
        Z = data.X[rows]
        return Subject(len(Z), lambda _, some: np.asarray(Z[np.asarray(some)]), embedded=True)
    X = rows_of(data.X, rows)
    if data.kind == "images":
        return image_subject(X.paths, X.preprocessing, _size(model))
    if data.kind == "texts" and X.paired:
        first, second = ([pair[side] for pair in X.texts] for side in (0, 1))
        return text_subject(first, X.preprocessing, second, folder)
    if data.kind == "texts":
        return text_subject(X.texts, X.preprocessing, None, folder)
    return _arrays_of(X if data.kind == "inputs" else np.asarray(X), model)


def _arrays_of(X: Any, model: FrozenModel) -> Subject:
    """Inputs as they are; of images, some things may be done otherwise."""

    def inputs(settings: Settings, rows: Sequence[int]) -> Any:
        if isinstance(X, Mapping):
            return {name: np.asarray(part[np.asarray(rows)]) for name, part in X.items()}
        values = np.asarray(X[np.asarray(rows)])
        for step in settings.after:
            values = step(values)
        return values

    if isinstance(X, Mapping):
        return Subject(len(next(iter(X.values()))), inputs)
    sides = _sides(model) or (None,) * 4
    axis = next((at for at in (1, 3) if sides[at] == 3), None)
    changes = [] if axis is None else array_changes(axis)
    return Subject(len(X), inputs, changes=lambda: changes)


def _recorded_rows(recorded: Recorded, data: Samples) -> Array:
    """Rows of the data that outputs were recorded of."""
    if recorded.files is not None:
        return _named_rows(recorded, data)
    if "rows" in recorded.given:
        rows = recorded.given["rows"].astype(np.int64)
        if rows.min() < 0 or rows.max() >= len(data):
            raise InputError(
                f"{recorded.source} names the rows {rows.min()} to {rows.max()}, but there are "
                f"{len(data)} samples, the first of which is row 0."
            )
        return rows
    if len(recorded) != len(data):
        raise InputError(
            f"{recorded.source} holds outputs of {len(recorded)} samples, and the data are "
            f"{len(data)}; say which ones with an array of files or rows beside them."
        )
    return np.arange(len(data))


def _named_rows(recorded: Recorded, data: Samples) -> Array:
    """Rows by the names of files: whole paths below the folder, or what they end in."""
    if data.ids is None:
        raise InputError(
            f"{recorded.source} names files, but the data are no image folder; name rows instead."
        )
    names = [str(name) for name in data.ids]
    whole = {name: i for i, name in enumerate(names)}
    last = dict[str, list[int]]()
    for i, name in enumerate(names):
        last.setdefault(Path(name).name, []).append(i)
    found = list[int]()
    for asked in map(str, recorded.files if recorded.files is not None else ()):
        name = asked.replace("\\", "/")
        ends = [i for i in last.get(Path(name).name, []) if _ends_alike(name, names[i])]
        if name in whole:
            found.append(whole[name])
        elif len(ends) == 1:
            found.append(ends[0])
        else:
            how = "several of the data are called so" if ends else "the data have no such file"
            raise InputError(f"{recorded.source} names {asked!r}, and {how}.")
    return np.asarray(found)


def _ends_alike(one: str, two: str) -> bool:
    return f"/{one}".endswith(f"/{two}") or f"/{two}".endswith(f"/{one}")


# -- the model's own ----------------------------------------------------------------------------


def _image_steps(model: FrozenModel, given: Preprocessing) -> ImagePreprocessing:
    steps = given if isinstance(given, ImagePreprocessing) else ImagePreprocessing.for_model(model)
    if steps is None:
        raise InputError("The recording is of images, and the model takes none.")
    return steps


def _text_steps(model: FrozenModel, given: Preprocessing, source: str) -> TextPreprocessing:
    steps = given if isinstance(given, TextPreprocessing) else TextPreprocessing.for_model(model)
    if steps is None:
        raise InputError(
            f"{source} is of texts, and no tokenizer is found beside the model; give one "
            "(--tokenizer), or the token ids."
        )
    return steps


def _sides(model: FrozenModel) -> tuple[Any, ...] | None:
    shape = model.inputs[0].shape if len(model.inputs) == 1 else None
    return None if shape is None or len(shape) != 4 else tuple(shape)


def _size(model: FrozenModel) -> tuple[int, int] | None:
    sides = _sides(model)
    if sides is None:
        return None
    last = sides[3] in (1, 3) and sides[1] not in (1, 3)
    height, width = sides[1:3] if last else sides[2:4]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None

"""What a recording is of: images, texts or arrays, found in the recording or in data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImageFiles, Samples, Texts
from ntkit.inputs import ImagePreprocessing, TextPreprocessing
from ntkit.jobs.verify._change import Subject
from ntkit.jobs.verify._recorded import Recorded
from ntkit.jobs.verify.inputs import Arrays, Embeddings, Images, TextSamples
from ntkit.model import FrozenModel

Preprocessing = ImagePreprocessing | TextPreprocessing | None


def subject_of(
    model: FrozenModel,
    recorded: Recorded,
    data: Samples | None,
    preprocessing: Preprocessing,
    folder: Path,
) -> Subject:
    """Find what was recorded, and how ntkit makes inputs of it."""
    given = recorded.given
    if "texts" in given:
        steps = _text_steps(model, preprocessing, recorded.source)
        pairs = given.get("text_pairs")
        return TextSamples(
            given["texts"].tolist(), steps, None if pairs is None else pairs.tolist(), folder
        )
    if "images" in given:
        if given["images"].dtype != np.uint8 or given["images"].ndim not in (3, 4):
            raise InputError(
                f"{recorded.source}: images are decoded pixels, uint8 of shape (N, H, W, 3); save "
                "what went into the model as X."
            )
        return Images([*given["images"]], _image_steps(model, preprocessing), _size(model))
    arrays = {name: values for name, values in given.items() if name not in ("rows",)}
    plain = TextPreprocessing.for_strings(model.inputs)
    if plain is not None and not {"X", plain.ids}.isdisjoint(arrays):
        strings = arrays["X"] if "X" in arrays else arrays[plain.ids]
        return TextSamples(strings.ravel().tolist(), plain, None, folder)
    if "X" in arrays:
        return Arrays(arrays["X"], _channel_axis(model))
    if arrays and recorded.files is None:
        first = next(iter(arrays.values()))
        return Arrays(arrays) if len(arrays) > 1 else Arrays(first, _channel_axis(model))
    if data is None:
        return _files_themselves(model, recorded, preprocessing)
    return _among(model, recorded, data, folder)


def rows_of(recorded: Recorded, data: Samples) -> Array:
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


def _among(model: FrozenModel, recorded: Recorded, data: Samples, folder: Path) -> Subject:
    rows = rows_of(recorded, data)
    if data.embedded:
        return Embeddings(data.X[rows])
    X = data.X
    if isinstance(X, ImageFiles):
        return Images([X.paths[i] for i in rows], X.preprocessing, _size(model))
    if isinstance(X, Texts):
        texts = [X.texts[i] for i in rows]
        if X.paired:
            first, second = ([pair[side] for pair in texts] for side in (0, 1))
            return TextSamples(first, X.preprocessing, second, folder)
        return TextSamples(texts, X.preprocessing, None, folder)
    if isinstance(X, Mapping):
        return Arrays({name: np.asarray(part)[rows] for name, part in X.items()})
    return Arrays(np.asarray(X)[rows], _channel_axis(model))


def _files_themselves(
    model: FrozenModel, recorded: Recorded, preprocessing: Preprocessing
) -> Subject:
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
    return Images(paths, _image_steps(model, preprocessing), _size(model))


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


def _channel_axis(model: FrozenModel) -> int | None:
    sides = _sides(model)
    if sides is None or 3 not in (sides[1], sides[3]):
        return None
    return 1 if sides[1] == 3 else 3


def _size(model: FrozenModel) -> tuple[int, int] | None:
    sides = _sides(model)
    if sides is None:
        return None
    last = sides[3] in (1, 3) and sides[1] not in (1, 3)
    height, width = sides[1:3] if last else sides[2:4]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None

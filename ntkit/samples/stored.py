"""Embeddings in a store on disk, as samples."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from zipfile import BadZipFile

import numpy as np

from ntkit._disk import give_name
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.inputs.image_preprocessing import with_defaults

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.model import FrozenModel

MANIFEST = "manifest.json"
FORMAT = 2
IDENTITY = ("model", "tensor", "preprocessing", "total_rows", "samples", "dtype", "device", "part")
"""Entries that must be equal to continue an unfinished store."""
_COUNTS = ("total_rows", "rows", "first_row", "finished_rows")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a store's manifest; None if there is none."""
    file = path / MANIFEST
    if not file.is_file():
        return None
    damaged = InputError(f"{file} is damaged; embed again with --force.")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged from error
    if not isinstance(manifest, dict):
        raise damaged
    if "shards" in manifest or manifest.get("format") == 1:
        raise InputError(f"{path} was made by an older ntkit; embed again with --force.")
    if type(manifest.get("format")) is int and manifest["format"] > FORMAT:
        raise InputError(f"{path} was made by a newer ntkit; update ntkit to read it.")
    if not _sound(manifest):
        raise damaged
    return manifest


def kind_of_manifest(path: Path) -> Literal["store", "damaged", "other", "none"]:
    """Tell a store's manifest, of any version, from a damaged or foreign one."""
    file = path / MANIFEST
    if not file.is_file():
        return "none"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return "damaged"
    if not isinstance(content, dict) or not content:
        return "damaged"
    ours = content.keys() & {"total_rows", "finished_rows", "shards"}
    return "store" if ours or type(content.get("format")) is int else "other"


def _sound(manifest: dict[str, Any]) -> bool:
    counts = [manifest.get(name) for name in _COUNTS]
    run = manifest.get("run")
    if manifest.get("format") != FORMAT or not isinstance(run, dict):
        return False
    if any(type(count) is not int or count < 0 for count in (*counts, run.get("window"))):
        return False
    total, rows, first, finished = (manifest[name] for name in _COUNTS)
    part = manifest.get("part")
    if part is not None and not (isinstance(part, list) and [*map(type, part)] == [int, int]):
        return False
    return bool(run["window"] and finished <= rows and first + rows <= total)


def difference(
    first: Mapping[str, Any], second: Mapping[str, Any], fields: Iterable[str]
) -> tuple[str, Any, Any] | None:
    """The first field in which two descriptions differ: its name and both values."""
    for field in fields:
        if first.get(field) != second.get(field):
            return field, first.get(field), second.get(field)
    return None


def is_finished(manifest: Mapping[str, Any]) -> bool:
    """Whether a store has all of its rows."""
    return bool(manifest["finished_rows"] == manifest["rows"])


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace a store's manifest."""
    content = json.dumps({"format": FORMAT, **manifest}, indent=2)
    replace_file(path / MANIFEST, content.encode())


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a complete file, or none."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    give_name(temporary, path)


Origin = Mapping[str, Any]
"""Model's SHA-256, tensor and preprocessing; None if unknown."""

_FIELDS = ("model", "tensor", "preprocessing")
_KEYS = dict(
    zip(_FIELDS, ("ntkit.source_sha256", "ntkit.tensor", "ntkit.preprocessing"), strict=True)
)


def origin_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Read from a store's manifest how its embeddings were made."""
    return {name: manifest.get(name) for name in _FIELDS}


OF_COPIES = ("change", "seed", "originals", "named_by")
"""Part of the preprocessing that distinguishes copies from originals."""


def facts_of(origin: Origin) -> dict[str, str]:
    """Metadata of a head: how the embeddings of its training were made."""
    known = {name: value for name, value in origin.items() if value is not None}
    if _plain(known.get("preprocessing")):  # copies go into a model like their originals
        steps = known["preprocessing"].items()
        known["preprocessing"] = {k: v for k, v in steps if k not in OF_COPIES}
    if not _plain(known.get("preprocessing")):
        known.pop("preprocessing", None)
    return {
        _KEYS[name]: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in known.items()
    }


def origin_of_head(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read from the metadata of a head how its embeddings were made."""
    origin: dict[str, Any] = {name: metadata.get(key) for name, key in _KEYS.items()}
    try:
        origin["preprocessing"] = json.loads(origin["preprocessing"] or "null")
    except ValueError:
        origin["preprocessing"] = None
    return origin


def check_made_with(name: str, origin: Origin | None, model: FrozenModel) -> None:
    """Raise an error for embeddings or a head of another model, tensor or preprocessing."""
    from ntkit.model.frozen_model import name_of, recorded_preprocessing

    called = name_of(model, "the model in memory")

    # A model that ntkit wrote from the recorded one, with only the head changed, has the same
    # embeddings.
    recorded, source = (origin or {}).get("model"), model.metadata.get(_KEYS["model"])
    known = model.path is not None or source is not None  # a model in memory has no file name
    if recorded is not None and known and recorded not in (source, model.sha256()):
        raise InputError(
            f"{name} was made with another model (sha256 {_short(recorded)}) than {called} "
            f"(sha256 {_short(model.sha256())}); use the original model, or make it again with "
            "this one."
        )
    tensor, now = (origin or {}).get("tensor"), model.embedding.name
    if now in {each.name for each in model.inputs}:  # a head alone names the tensor in its model
        now = model.metadata.get(_KEYS["tensor"], "")
    if tensor is not None and now and tensor != now:
        raise InputError(
            f"{name} was made from the tensor {tensor!r}, but the embedding of {called} is "
            f"{now!r}; name the tensor with --embedding (embedding=), or make it again."
        )
    steps = _plain((origin or {}).get("preprocessing"))
    recorded_steps = {**recorded_preprocessing(model.metadata), "change": steps.get("change")}
    check_alike((name, called), {"preprocessing": steps}, {"preprocessing": recorded_steps})


def check_alike(names: tuple[str, str], first: Origin | None, second: Origin | None) -> None:
    """Raise an error for two sets of samples of different models, tensors or preprocessing."""
    first, second = first or {}, second or {}
    for field in ("model", "tensor"):
        one, two = first.get(field), second.get(field)
        if one is not None and two is not None and one != two:
            shown = (_short(one), _short(two)) if field == "model" else (repr(one), repr(two))
            raise InputError(
                f"{names[0]} and {names[1]} were made with two {field}s ({shown[0]} and "
                f"{shown[1]}); make both with the same one."
            )
    steps = [_plain(origin.get("preprocessing")) for origin in (first, second)]
    changes = [known.get("change") for known in steps]
    if changes[0] != changes[1]:
        whose = names[0] if changes[0] is not None else names[1]
        raise InputError(
            f"{whose} contains copies by {next(filter(None, changes))!r}, but {names[0]} and "
            f"{names[1]} must be samples of one kind; pass the originals, or copies by one change."
        )
    for key in steps[0].keys() & steps[1].keys():
        values = [known[key] for known in steps]
        if values[0] != values[1]:
            raise InputError(
                f"{names[0]} and {names[1]} were preprocessed in two ways ({key}: {values[0]!r} "
                f"and {values[1]!r}); make both in the same way."
            )


def _plain(preprocessing: Any) -> dict[str, Any]:
    """The preprocessing as JSON; empty for arrays, whose preprocessing is unknown."""
    if not isinstance(preprocessing, Mapping) or "input" in preprocessing:
        return {}
    plain: dict[str, Any] = json.loads(json.dumps(preprocessing))
    return with_defaults(plain) if "resize" in plain else plain


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"


EMBEDDINGS = "embeddings.npy"
_UNREADABLE = (OSError, ValueError, EOFError, TypeError, BadZipFile)


class StoredEmbeddings:
    """A folder with ``embeddings.npy``, the data of its rows, and a ``manifest.json``."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        try:
            array_header(path / EMBEDDINGS)
            self.X = _mapped(path / EMBEDDINGS)
            labelled = manifest.get("labels", True)
            self.y = np.array(_mapped(path / "labels.npy")) if labelled else None
            groups, ids, head = (path / name for name in ("groups.npy", "ids.npy", "head.npz"))
            self.groups = np.array(_mapped(groups)) if groups.exists() else None
            self.ids = _mapped(ids) if ids.exists() else None
            self.head = None
            if head.exists():  # NumPy would leave a broken archive open
                with head.open("rb") as file, np.load(file) as parts:
                    self.head = LinearHead(**parts)
        except _UNREADABLE as error:
            raise InputError(f"{path} is damaged ({error}); embed again with --force.") from error
        arrays = {"embeddings": self.X, "labels": self.y, "groups": self.groups, "ids": self.ids}
        lengths = {name: len(array) for name, array in arrays.items() if array is not None}
        if {*lengths.values()} != {manifest["rows"]}:
            counts = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise InputError(
                f"{path} is damaged ({counts}, {manifest['rows']} rows announced); embed again "
                "with --force."
            )

    @staticmethod
    def is_store(path: str | Path) -> bool:
        """Whether a path is an embedding store, finished or not; it need not exist."""
        return (Path(path) / MANIFEST).is_file()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a finished store, or a finished part of one, by its folder.

        Raises
        ------
        InputError
            If there is no store, or it is not finished, damaged, or made by an older ntkit.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest is None:
            raise InputError(f"{path} is not an embedding store; make one with: ntkit embed.")
        if not is_finished(manifest):
            raise InputError(
                f"{path} has {manifest['finished_rows']} of {manifest['rows']} rows; run the same "
                "ntkit command again to finish it."
            )
        return cls(path, manifest)


def _mapped(path: Path) -> Array:
    return np.lib.format.open_memmap(path, mode="r")


def array_header(path: Path) -> tuple[tuple[int, int], np.dtype[Any], int]:
    """Shape, dtype and offset of a table's rows; a ValueError if the file is not complete."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path.name} has the .npy version {version}")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        begin, size = file.tell(), os.fstat(file.fileno()).st_size
    if len(shape) != 2 or fortran_order or dtype.kind != "f":
        raise ValueError(f"{path.name} is not a table of floating-point rows")
    expected = begin + shape[0] * shape[1] * dtype.itemsize
    if size != expected:
        raise ValueError(f"{path.name} has {size} bytes instead of {expected}")
    return (shape[0], shape[1]), dtype, begin

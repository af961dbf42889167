"""What embeddings and heads were made with: whether two of them, or one and a model, fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ntkit.exceptions import InputError
from ntkit.frozen_model import FrozenModel, recorded_preprocessing
from ntkit.preprocessing import with_defaults

__all__ = ["Origin", "check_alike", "check_made_with", "facts_of", "origin_of", "origin_of_head"]

Origin = Mapping[str, Any]
"""The model's SHA-256, the tensor and the preprocessing; None for what nobody recorded."""

_FIELDS = ("model", "tensor", "preprocessing")
_KEYS = dict(
    zip(_FIELDS, ("ntkit.source_sha256", "ntkit.tensor", "ntkit.preprocessing"), strict=True)
)


def origin_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Read from a store's manifest what its embeddings were made with.

    Parameters
    ----------
    manifest : mapping
        Of a store.

    Returns
    -------
    dict
        ``model``, ``tensor``, ``preprocessing``.

    Examples
    --------
    >>> from ntkit.store._made_with import origin_of
    >>> origin_of({"model": "ab12", "tensor": "z", "rows": 3})
    {'model': 'ab12', 'tensor': 'z', 'preprocessing': None}
    """
    return {name: manifest.get(name) for name in _FIELDS}


def facts_of(origin: Origin) -> dict[str, str]:
    """Write down, as metadata of a head, what the embeddings were made with that it learned from.

    Parameters
    ----------
    origin : mapping
        Of the embeddings.

    Returns
    -------
    dict of str to str
        What is known, by the keys of the file's metadata.

    Examples
    --------
    >>> from ntkit.store._made_with import facts_of, origin_of_head
    >>> facts = facts_of({"model": "ab12", "tensor": "z", "preprocessing": {"resize": 20}})
    >>> sorted(facts)
    ['ntkit.preprocessing', 'ntkit.source_sha256', 'ntkit.tensor']
    >>> origin_of_head(facts)["preprocessing"]
    {'resize': 20}
    """
    known = {name: value for name, value in origin.items() if value is not None}
    if not _plain(known.get("preprocessing")):
        known.pop("preprocessing", None)
    return {
        _KEYS[name]: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in known.items()
    }


def origin_of_head(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read from the metadata of a head what its embeddings were made with.

    Parameters
    ----------
    metadata : mapping of str to str
        Of the ONNX file.

    Returns
    -------
    dict
        ``model``, ``tensor``, ``preprocessing``; None where the file does not say.

    Examples
    --------
    >>> from ntkit.store._made_with import origin_of_head
    >>> origin_of_head({"ntkit.source_sha256": "ab12"})
    {'model': 'ab12', 'tensor': None, 'preprocessing': None}
    """
    found: dict[str, Any] = {name: metadata.get(key) for name, key in _KEYS.items()}
    try:
        found["preprocessing"] = json.loads(found["preprocessing"] or "null")
    except ValueError:
        found["preprocessing"] = None
    return found


def check_made_with(name: str, origin: Origin | None, model: FrozenModel) -> None:
    """Refuse embeddings, or a head, of another model, tensor or preprocessing.

    A model that differs from the one recorded in its head only, because ntkit wrote it from that
    one, has the same embeddings.

    Parameters
    ----------
    name : str
        What the sentence calls them.
    origin : mapping or None
        What they were made with; what it does not say is not checked.
    model : FrozenModel
        What they are used with.

    Raises
    ------
    InputError
        If they do not belong to it.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.store._made_with import check_made_with
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> check_made_with("train.store", {"model": model.sha256()}, model)
    """
    recorded = (origin or {}).get("model")
    if recorded is not None and not _is_of(recorded, model):
        raise InputError(
            f"{name} was made with another model (sha256 {_short(recorded)}) than {_name(model)} "
            f"(sha256 {_short(model.sha256())}); give the model it was made with, or make it again "
            "with this one."
        )
    tensor, now = (origin or {}).get("tensor"), _tensor(model)
    if tensor is not None and now is not None and tensor != now:
        raise InputError(
            f"{name} was made from the tensor {tensor!r}, but the embedding of {_name(model)} is "
            f"{now!r}; name the tensor with --embedding (embedding=), or make it again."
        )
    steps = {"preprocessing": (origin or {}).get("preprocessing")}
    check_alike(
        (name, _name(model)), steps, {"preprocessing": recorded_preprocessing(model.metadata)}
    )


def check_alike(names: tuple[str, str], first: Origin | None, second: Origin | None) -> None:
    """Refuse two sets of samples of different models, tensors or preprocessing.

    Parameters
    ----------
    names : (str, str)
        What the sentence calls them.
    first, second : mapping or None
        What they were made with; what one of them does not say is not compared.

    Raises
    ------
    InputError
        If they do not belong together.

    Examples
    --------
    >>> from ntkit.store._made_with import check_alike
    >>> small, large = {"preprocessing": {"resize": 20}}, {"preprocessing": {"resize": 32}}
    >>> check_alike(("train.store", "images/val"), small, {"preprocessing": None})
    >>> try:
    ...     check_alike(("train.store", "images/val"), small, large)
    ... except ValueError as error:
    ...     print(error)
    train.store and images/val were preprocessed in two ways (resize: 20 and 32); make one of them
    again as the other was.
    """
    first, second = first or {}, second or {}
    for field in ("model", "tensor"):
        one, two = first.get(field), second.get(field)
        if one is not None and two is not None and one != two:
            shown = (_short(one), _short(two)) if field == "model" else (repr(one), repr(two))
            raise InputError(
                f"{names[0]} and {names[1]} were made with two {field}s ({shown[0]} and "
                f"{shown[1]}); make one of them again as the other was."
            )
    steps = [_plain(origin.get("preprocessing")) for origin in (first, second)]
    for key in steps[0].keys() & steps[1].keys():
        values = [known[key] for known in steps]
        if values[0] != values[1]:
            raise InputError(
                f"{names[0]} and {names[1]} were preprocessed in two ways ({key}: {values[0]!r} "
                f"and {values[1]!r}); make one of them again as the other was."
            )


def _is_of(recorded: str, model: FrozenModel) -> bool:
    source = model.metadata.get(_KEYS["model"])
    if model.path is None and source is None:
        return True  # a model in memory is no file that one could name
    return recorded in (source, model.sha256())


def _tensor(model: FrozenModel) -> str | None:
    """The embedding's name; a head alone says which it was in the model."""
    if model.embedding.name in {tensor.name for tensor in model.inputs}:
        return model.metadata.get(_KEYS["tensor"])
    return model.embedding.name


def _plain(preprocessing: Any) -> dict[str, Any]:
    """As JSON keeps it; nothing for arrays, of which nobody knows how they were made."""
    if not isinstance(preprocessing, Mapping) or "input" in preprocessing:
        return {}
    plain: dict[str, Any] = json.loads(json.dumps(preprocessing))
    return with_defaults(plain) if "resize" in plain else plain


def _name(model: FrozenModel) -> str:
    return "the model in memory" if model.path is None else str(model.path.name)


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"

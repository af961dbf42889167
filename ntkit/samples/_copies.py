"""Copies of a sample, in one set or in two: each content counts once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._contents import LENGTH, Digests, distinct, hashed
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples._digests import sample_digests
from ntkit.samples._samples import Samples

_COARSE, _CLEARLY = 0.1, 20
"""If more than this share of the repeated rows of numbers are equal to rows of another label, and
so many, their columns are too coarse to tell samples apart: then equal rows are no copies."""
_CALLED = {"train": "training"}


def without_copies(samples: Samples, *, verbose: bool = False) -> Samples:
    """Samples of which each content counts once for each label and group, with a note."""
    return forms_without_copies([samples], verbose=verbose)[0]


def forms_without_copies(forms: Sequence[Samples], *, verbose: bool = False) -> list[Samples]:
    """The same for two forms of the same samples, such as the inputs of two models."""
    contents = [contents_of({"": form}, verbose=verbose)[""] for form in forms]
    both = contents[0]
    if len(contents) > 1:
        both = np.array([hashed(*parts) for parts in zip(*contents, strict=True)])
    return [_once(form, both, "")[0] for form in forms]


def sets_without_copies(
    sets: Mapping[str, Samples], most: float, *, verbose: bool = False
) -> dict[str, Samples]:
    """The same for each set; later sets judge earlier ones, which lose the samples of both.

    Two sets that share more than ``most`` of the later one are left as they are.
    """
    contents, done = contents_of(sets, verbose=verbose), dict[str, Samples]()
    for name, samples in sets.items():
        done[name], contents[name] = _once(samples, contents[name], name)
    names = list(sets)
    for i, name in enumerate(names):
        left, samples = np.zeros(len(contents[name]), dtype=bool), done[name]
        for later in names[i + 1 :]:
            shared = np.isin(contents[later], contents[name])
            if shared.any() and shared.mean() <= most:
                left |= np.isin(contents[name], contents[later])
                samples = _noted(
                    samples,
                    f"{shared.sum()} of {len(shared)} {_called(later)} samples "
                    f"({100 * shared.mean():.1f} %) are also in the {_called(name)} set, by "
                    "content, so ntkit left them out there.",
                )
        if left.all() and len(left):
            raise InputError(
                f"All samples of the {_called(name)} set are also in another set, which has to "
                "judge. Pass samples that are in one set only."
            )
        if left.any():
            done[name] = _left_out(samples, np.flatnonzero(~left))
            contents[name] = contents[name][~left]
    return done


def contents_of(sets: Mapping[str, Samples], *, verbose: bool = False) -> dict[str, Digests]:
    """Content of each sample of several sets: equal ones have equal digests."""
    # An image file is read only if another one has its size.
    paths = {name: each.X.paths for name, each in sets.items() if each.kind == "images"}
    sizes = {name: [*map(_size, files)] for name, files in paths.items()}
    count = Counter(size for each in sizes.values() for size in each)
    contents = dict[str, Digests]()
    for name, samples in sets.items():
        if name not in sizes:
            contents[name] = sample_digests(samples, verbose=verbose)
            continue
        of_size = [hashed(b"size", str(size).encode()) for size in sizes[name]]
        contents[name] = np.array(of_size, dtype=f"S{LENGTH}")
        some = np.flatnonzero([count[size] > 1 or size < 0 for size in sizes[name]])
        contents[name][some] = sample_digests(samples.take(some), verbose=verbose)
    return contents


def _size(path: Path) -> int:
    """Bytes of a file; -1 for one that cannot be read, which reading it reports."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _once(samples: Samples, contents: Digests, name: str) -> tuple[Samples, Digests]:
    first, content = distinct(contents)
    if len(first) == len(contents):
        return samples, contents
    start = f"The {_called(name)} set: " if name else ""
    samples = _completed(samples, content)
    labelled = content if samples.y is None else _crossed(content, samples.y)
    often, n_labels = np.bincount(content), np.bincount(content[distinct(labelled)[0]])
    several = np.flatnonzero(n_labels > 1)
    of_numbers = getattr(samples.X, "ndim", 0) == 2
    n = int(often[often > 1].sum())
    if of_numbers and often[several].sum() > max(_COARSE * n, _CLEARLY):
        note = (
            f"{start}{n} of {len(content)} samples have the inputs of others, often with another "
            "label. Each of them counts."
        )
        return _noted(samples, note), contents
    if len(several):
        rows = np.flatnonzero(content == several[0])
        one, two = rows[distinct(labelled[rows])[0][:2]].tolist()
        names, y = samples.names, np.asarray(samples.y).tolist()
        samples = _noted(
            samples,
            f"{start}{counted(len(several), 'content')} with more than one label, such as "
            f"{names[one]!r} ({y[one]!r}) and {names[two]!r} ({y[two]!r}). Correct the labels, or "
            "remove these samples.",
        )
    known = labelled if samples.groups is None else _crossed(labelled, samples.groups)
    kept = distinct(known)[0]
    if n := len(content) - len(kept):
        note = (
            f"{start}{n} of {len(content)} samples are copies of others. Each content counts once."
        )
        samples, contents = _left_out(_noted(samples, note), kept), contents[kept]
    return samples, contents


def _left_out(samples: Samples, kept: Array) -> Samples:
    """Some of the samples, which keep their rows among all that were given."""
    rows = np.arange(len(samples)) if samples.rows is None else samples.rows
    n = samples.n_left_out + len(samples) - len(kept)
    return replace(samples, rows=rows, n_left_out=n).take(kept)


def _called(name: str) -> str:
    return _CALLED.get(name, name)


def _crossed(content: Array, values: Any) -> Array:
    """A number for each content and value, such as a label, or a row of several labels."""
    values = np.asarray(values)
    if values.ndim == 2:
        values = np.ascontiguousarray(np.nan_to_num(values.astype(float), nan=-1))
        number = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    else:
        number = distinct(values.astype(str) if values.dtype == object else values)[1]
    return np.asarray(content * (int(number.max(initial=0)) + 1) + number)


def _completed(samples: Samples, content: Array) -> Samples:
    """Unknown labels: what is known of one copy is known of all, if no two of them differ."""
    if samples.y is not None and np.asarray(samples.y).dtype.kind == "U":
        labels, number = np.unique(samples.y, return_inverse=True)
        if labels[0] != "" or len(labels) == 1:
            return samples
        number = np.where(number == 0, np.nan, number)
        filled = _completed(replace(samples, y=number[:, None].astype(float)), content).y[:, 0]
        return replace(samples, y=labels[np.nan_to_num(filled, nan=0).astype(int)])
    if samples.y is None or np.ndim(samples.y) != 2:
        return samples
    y, n = np.array(samples.y, dtype=float), int(content.max()) + 1
    for column in y.T:
        known, low, high = ~np.isnan(column), np.full(n, np.inf), np.full(n, -np.inf)
        np.minimum.at(low, content[known], column[known])
        np.maximum.at(high, content[known], column[known])
        filled = ~known & (low == high)[content]
        column[filled] = low[content[filled]]
    return replace(samples, y=y.astype(np.asarray(samples.y).dtype))


def _noted(samples: Samples, note: str) -> Samples:
    return replace(samples, notes=(*samples.notes, note))

"""Contents of samples, for fingerprints; copies in one set or in two count once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ntkit._contents import (
    CHUNK,
    LENGTH,
    MORE_OFTEN,
    Digests,
    are_coarse,
    contents_of_embeddings,
    digests_of_rows,
    distinct,
    hashed,
    named_content,
    row_contents,
    told_apart,
)
from ntkit._labels import is_missing
from ntkit._process import progress_bar
from ntkit._text import counted
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.samples.samples import Samples, arrays_of
from ntkit.samples.table import is_aside

if TYPE_CHECKING:  # onnx is not needed to read samples
    from ntkit.graph.tensors import TensorInfo
    from ntkit.model import FrozenModel

_LAZY_ROWS = 64
_MODULUS = 1 << 256


def sample_digests(
    samples: Samples, start: int = 0, stop: int | None = None, *, verbose: bool = False
) -> Digests:
    """Digest of the content of each sample, without its label."""
    stop = len(samples) if stop is None else stop
    digests = progress_bar(
        _digests_of(samples.X, start, stop, doubles=samples.doubles),
        shown=verbose, desc="contents", total=stop - start, unit=" samples",
    )  # fmt: skip
    return np.fromiter(digests, dtype=f"S{LENGTH}", count=stop - start)


def shared_samples(digests: Mapping[str, Digests]) -> dict[tuple[str, str], int]:
    """Number of samples that two sets share, for all pairs of sets."""
    return {
        (one, two): int(np.isin(digests[two], digests[one]).sum())
        for one, two in combinations(digests, 2)
    }


def contents_by_embedding(
    sets: Mapping[str, Samples], contents: dict[str, Digests] | None, Z: Mapping[str, Array]
) -> tuple[dict[str, Digests], str]:
    """The contents, or what embeddings tell of them, if sets may share samples in other forms.

    A sample may be a file in one set and a row in another, or its numbers may be rounded. Last
    comes a note if embeddings cannot tell it. Without contents, all samples are distinct.
    """
    if contents is None:
        contents = {n: np.array([f"{n} {i}".encode() for i in range(len(z))]) for n, z in Z.items()}
    forms = {*map(_form, sets.values())}
    if len(forms) == 1 and forms != {_NUMBERS}:
        return contents, ""
    near = contents_of_embeddings(Z, contents)  # equal but for rounding
    if near is None:
        return contents, "" if forms == {_NUMBERS} else _MOST_ARE_CLOSE
    group, content, of_set = _numbered(near, contents)
    same = _one_sample(group, content, of_set)
    one = dict(zip(sets, np.split(same, np.cumsum([len(z) for z in Z.values()])[:-1]), strict=True))
    note = "" if forms == {_NUMBERS} else _note_on_close(sets, of_set, group, content, ~same)
    if not same.any():
        return contents, note
    found = {name: np.where(one[name], near[name], contents[name]) for name in sets}
    return found | {name: told_apart(found[name]) for name, s in sets.items() if s.coarse}, note


_MOST_ARE_CLOSE = (
    "Most embeddings are close to each other, so ntkit cannot tell whether a set has samples of "
    "another one in another form (files, arrays, stores)."
)
_NUMBERS = "numbers"


def _form(samples: Samples) -> str:
    """In what form samples are; two sets of files, texts or stores of one type share contents."""
    if samples.embedded:
        return f"store of {np.dtype(samples.X.dtype).name}"
    raw = {"files": samples.data.are_files, "texts": hasattr(samples.X, "texts"), _NUMBERS: True}
    return next(form for form, fits in raw.items() if fits)


def _numbered(*of_sets: Mapping[str, Digests]) -> list[Array]:
    """Numbers of digests over all sets, for each kind of digest; last the number of the set."""
    names = [*of_sets[0]]
    every = [distinct(np.concatenate([each[name] for name in names]))[1] for each in of_sets]
    return [*every, np.repeat(np.arange(len(names)), [len(of_sets[0][name]) for name in names])]


def _n_others(group: Array, content: Array) -> Array:
    """Number of other contents in the group of each row."""
    pairs = np.unique(np.stack([group, content]), axis=1)
    return np.asarray(np.bincount(pairs[0], minlength=int(group.max()) + 1)[group] - 1)


def _one_sample(group: Array, content: Array, of_set: Array) -> Array:
    """Whether each row's group is one sample of two sets, which have other contents of it."""
    # Of few numbers, or behind silent neurons, samples are close by chance: then sets have several
    # contents of a group, at least as often as two sets have one each (Cauchy–Schwarz).
    n = np.bincount(of_set)
    of_rows = _n_others(group * len(n) + of_set, content) > 0
    within = [len({*group[of_rows & (of_set == i)].tolist()}) for i in range(len(n))]
    rates = (np.array(within) + 1) / np.maximum(n * (n - 1) / 2, 1)
    across = ~np.isin(group, group[of_rows]) & (_n_others(group, content) > 0)
    same = np.zeros_like(across)
    for i, j in combinations(range(len(n)), 2):
        one, other = (across & (of_set == k) for k in (i, j))
        both = np.intersect1d(group[one], group[other])
        if len(both) > MORE_OFTEN * np.sqrt(rates[i] * rates[j]) * n[i] * n[j]:
            same |= (one | other) & np.isin(group, both)
    return same


def _note_on_close(
    sets: Mapping[str, Samples], of_set: Array, group: Array, content: Array, open_: Array
) -> str:
    """A note on samples that may be those of a set in another form, or nothing."""
    names, most = [*sets], (0, "", "")
    for i, j in combinations(range(len(names)), 2):
        if _form(sets[names[i]]) != _form(sets[names[j]]):
            one, other = (of_set == i) & open_, (of_set == j) & open_
            close = np.isin(group[other], group[one]) & ~np.isin(content[other], content[one])
            most = max(most, (int(close.sum()), names[i], names[j]))
    n, first, second = most
    if not n:
        return ""
    return (
        f"Embeddings of {counted(n, 'sample')} ({_called(second)}) are close to some of another "
        f"set ({_called(first)}), but so are those of different samples of one set. ntkit cannot "
        "tell whether they are the same."
    )


def sum_of_digests(digests: Digests, first: int = 0) -> str:
    """Sum of digests with their positions; :func:`combined` adds the sums of several parts."""
    total = 0
    for position, digest in enumerate(digests.tolist(), start=first):
        placed = hashlib.sha256(b"%d:" % position + digest).digest()
        total += int.from_bytes(placed, "big")
    return f"{total % _MODULUS:064x}"


def combined(sums: Iterable[str]) -> str:
    """Sum of a whole, from the sums of its parts."""
    return f"{sum(int(text, 16) for text in sums) % _MODULUS:064x}"


def _digests_of(X: Any, start: int, stop: int, *, doubles: bool = False) -> Iterator[bytes]:
    if isinstance(X, Mapping):
        names = sorted(X)
        columns = (_digests_of(X[name], start, stop, doubles=doubles) for name in names)
        head = [b"inputs", *map(str.encode, names)]
        return (hashed(*head, *row) for row in zip(*columns, strict=True))
    if hasattr(X, "paths"):
        return iter(X.digests(start, stop))
    if hasattr(X, "texts"):  # single texts, or pairs
        parts = ([text] if isinstance(text, str) else text for text in X.texts[start:stop])
        return (hashed(b"text", *(p.encode("utf-8", "surrogatepass") for p in t)) for t in parts)
    if hasattr(X, "to_numpy"):  # a DataFrame
        X = X.to_numpy()
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    if isinstance(X, np.ndarray):
        step = max(1, CHUNK // max(1, X.itemsize * int(np.prod(X.shape[1:]))))
        rows = (X[at : min(at + step, stop)] for at in range(start, stop, step))
        each = (digests_of_rows(part if doubles else _in_single(part)) for part in rows)
        return chain.from_iterable(each)
    return _of_sequence(X, start, stop, doubles=doubles)


def _in_single(rows: Any) -> Any:
    """Numbers of double precision as tables in files are read, so that both have one digest."""
    with np.errstate(over="ignore"):
        return rows.astype(np.float32) if rows.dtype == np.float64 else rows


def _of_sequence(X: Any, start: int, stop: int, *, doubles: bool) -> Iterator[bytes]:
    """Digests of anything that returns arrays for slices; several arrays may be padded."""
    step = _LAZY_ROWS
    while start < stop:
        values = X[start : min(start + step, stop)]
        if isinstance(values, Mapping) and step > 1:
            step = 1  # padded to the longest of the batch: not part of the content
            continue
        n = min(step, stop - start)
        values = values if isinstance(values, Mapping) else np.asarray(values)
        yield from _digests_of(values, 0, n, doubles=doubles)
        start += n


_CALLED = {"train": "training"}


@dataclass(frozen=True, eq=False)
class Places:
    """Which of the given samples are kept, and which kept sample stands for each given one."""

    # `kept` are places among the given samples. `stands_for` (N given,) are places among the kept
    # ones, −1 for a sample that another set has.

    kept: Array
    stands_for: Array

    @classmethod
    def joined(cls, parts: Sequence[Distinct]) -> Places:
        """Places in several sets, one after the other."""
        starts = np.cumsum([0, *(len(part.stands_for) for part in parts)])
        firsts = np.cumsum([0, *(len(part.kept) for part in parts)])
        kept = [part.kept + start for part, start in zip(parts, starts, strict=False)]
        stands = [
            np.where(part.stands_for < 0, -1, part.stands_for + first)
            for part, first in zip(parts, firsts, strict=False)
        ]
        done = cls(np.concatenate(kept), np.concatenate(stands))
        # A sample that was left out for another of these sets is the one there.
        if len(left := np.flatnonzero(done.stands_for < 0)):
            contents = np.concatenate([part.contents for part in parts])
            place = {content: i for i, content in enumerate(contents[done.kept].tolist())}
            done.stands_for[left] = [place.get(content, -1) for content in contents[left].tolist()]
        return done

    def of(self, values: Array, unknown: Any = None) -> tuple[Array, int]:
        """Values of the given samples as those of the kept ones; and for how many copies differ."""
        # What is known of one copy is known of all. If they differ, it is unknown.
        taken, differ = values[self.kept], set[int]()
        is_copy = self.stands_for >= 0
        is_copy[self.kept] = False
        for row in np.flatnonzero(is_copy).tolist():
            place = int(self.stands_for[row])
            if _is_unknown(values[row], unknown):
                continue
            if _is_unknown(taken[place], unknown):
                taken[place] = values[row]
            elif str(taken[place]) != str(values[row]):
                differ.add(place)
        if differ:
            taken = taken.astype(object) if unknown is None else taken
            taken[[*differ]] = unknown
        return taken, len(differ)


def _is_unknown(value: Any, unknown: Any) -> bool:
    return is_missing(value) or bool(value == unknown) or str(value) == ""


@dataclass(frozen=True, eq=False)
class Distinct(Places):
    """Samples of which each content counts once for each label and group, with notes."""

    samples: Samples
    contents: Digests  # of all given samples


def without_copies(
    forms: Sequence[Samples],
    models: Sequence[FrozenModel | None] = (),
    *,
    also: Sequence[Array] = (),
    name: str = "",
    verbose: bool = False,
) -> list[Distinct]:
    """Distinct samples, in each of the forms of the same samples that models take.

    Each form is that of a model, if they are passed. Copies that differ in ``also``, such as
    predictions, count each. Notes call the set by its ``name``, if it has one.
    """
    of_forms = models or (None,) * len(forms)
    contents = [
        contents_of({"": form}, model, verbose=verbose)[""]
        for form, model in zip(forms, of_forms, strict=True)
    ]
    both = contents[0]
    if len(contents) > 1:
        both = np.array([hashed(*parts) for parts in zip(*contents, strict=True)])
    if len({*both.tolist()}) == len(both):
        return [_distinct(form, both, name, also) for form in forms]
    apart = [_told_apart({name: form}, {name: both}) for form in forms]
    return [_distinct(form[name], each[name], name, also) for form, each in apart]


def sets_without_copies(
    sets: Mapping[str, Samples], model: FrozenModel, most: float, *, verbose: bool = False
) -> dict[str, Distinct]:
    """Distinct samples of each set; later sets judge earlier ones, which lose the shared samples.

    Two sets that share more than ``most`` of the later one are left as they are.
    """
    raw = contents_of(sets, model, verbose=verbose)
    every = np.concatenate([*raw.values()]).tolist()
    sets, given = _told_apart(sets, raw) if len({*every}) < len(every) else (sets, raw)
    done = {name: _distinct(samples, given[name], name) for name, samples in sets.items()}
    contents = {name: given[name][each.kept] for name, each in done.items()}
    names = list(sets)
    for i, name in enumerate(names):
        left, notes = np.zeros(len(contents[name]), dtype=bool), list[str]()
        counts = np.unique(sets[name].y, return_counts=True)[1]
        if len(counts) and counts.min() > 1 and (raw[name] == raw[name][0]).all():
            if all(map(_is_nan, arrays_of(sets[name].X))):
                raise InputError(
                    f"All {len(given[name])} samples of the {name} set hold only NaN. Check how "
                    "its inputs were made."
                )
            raise InputError(
                f"All {len(given[name])} samples of the {name} set are the same. Check whether its "
                "inputs are all zeros or on another scale."
            )
        for later in names[i + 1 :]:
            shared = np.isin(contents[later], contents[name])
            if shared.any() and shared.mean() <= most:
                left |= np.isin(contents[name], contents[later])
                notes.append(
                    f"{shared.sum()} of {len(shared)} {_called(later)} samples "
                    f"({100 * shared.mean():.1f} %) are also in the {_called(name)} set, by "
                    "content, so ntkit left them out there."
                )
        if left.all() and len(left):
            raise InputError(
                f"All samples of the {_called(name)} set are also in another set, which has to "
                "judge. Pass samples that are in one set only."
            )
        if left.any():
            once, kept = done[name], np.flatnonzero(~left)
            place = np.where(left, -1, np.cumsum(~left) - 1)
            samples = _noted(_left_out(once.samples, kept), *notes)
            stands_for = place[once.stands_for]
            done[name] = Distinct(once.kept[kept], stands_for, samples, given[name])
    return done


def contents_of(
    sets: Mapping[str, Samples], model: FrozenModel | None = None, *, verbose: bool = False
) -> dict[str, Digests]:
    """Content of each sample of several sets: equal ones have equal digests.

    Numbers are those that the model takes: 0.1 is one number, in whatever type it is passed.
    """
    # An image file is read only if another one has its size.
    for samples in sets.values():
        samples.check_lengths()
    paths = {name: each.X.paths for name, each in sets.items() if each.data.are_files}
    sizes = {name: [*map(_size, files)] for name, files in paths.items()}
    count = Counter(size for each in sizes.values() for size in each)
    contents = dict[str, Digests]()
    inputs = () if model is None else model.inputs
    for name, samples in sets.items():
        if name in sizes:
            of_size = [hashed(b"size", str(size).encode()) for size in sizes[name]]
            contents[name] = np.array(of_size, dtype=f"S{LENGTH}")
            some = np.flatnonzero([count[size] > 1 or size < 0 for size in sizes[name]])
            contents[name][some] = sample_digests(samples.take(some), verbose=verbose)
        elif samples.embedded:
            contents[name] = row_contents(samples.X, np.float32)
        elif hasattr(samples.X, "texts"):
            contents[name] = sample_digests(samples, verbose=verbose)
        else:
            contents[name] = _contents_of_arrays(samples.X, inputs, name)
    return contents


def _contents_of_arrays(X: Any, inputs: Sequence[TensorInfo], name: str) -> Digests:
    """Content of each row of one array, or of several inputs, in the types of the model."""
    parts = X if isinstance(X, Mapping) else {inputs[0].name if len(inputs) == 1 else "": X}
    arrays = {n: x.to_numpy() if hasattr(x, "to_numpy") else x for n, x in parts.items()}
    arrays = {n: np.asarray(x) if isinstance(x, list | tuple) else x for n, x in arrays.items()}
    if not all(hasattr(x, "itemsize") for x in arrays.values()):
        # Computed when they are read, so they are not read once more: all are distinct.
        n = len(next(iter(arrays.values())))
        return np.array([hashed(name.encode(), b"%d" % i) for i in range(n)])
    dtypes = {info.name: info.dtype for info in inputs if info.dtype in np.sctypeDict}
    digests = [row_contents(x, dtypes.get(n)) for n, x in sorted(arrays.items())]
    return digests[0] if len(digests) == 1 else np.array([*map(hashed, *digests)])


def _is_nan(X: Any) -> bool:
    """Whether an array holds only NaN."""
    values = np.asarray(X) if hasattr(X, "dtype") or hasattr(X, "to_numpy") else np.zeros(1)
    return values.dtype.kind == "f" and bool(np.isnan(values).all())


def _size(path: Path) -> int:
    """Bytes of a file; -1 for one that cannot be read, which reading it reports."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _distinct(
    samples: Samples, contents: Digests, name: str, also: Sequence[Array] = ()
) -> Distinct:
    first, content = distinct(contents)
    every = np.arange(len(contents))
    if len(first) == len(contents):
        return Distinct(every, every, samples, contents)
    start = f"The {_called(name)} set: " if name else ""
    samples = _completed(samples, content)
    labelled = content if samples.y is None else _crossed(content, samples.y)
    several = np.flatnonzero(np.bincount(content[distinct(labelled)[0]]) > 1)
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
    known = labelled
    for values in (*([] if samples.groups is None else [samples.groups]), *also):
        known = _crossed(known, values)
    places = Places(*distinct(known))
    if n := len(content) - len(places.kept):
        note = (
            f"{start}{n} of {len(content)} samples are copies of others. Each content counts once."
        )
        samples = _noted(_with_facts_of_copies(samples, places, start), note)
        samples = _left_out(samples, places.kept)
    return Distinct(places.kept, places.stands_for, samples, contents)


def _told_apart(
    sets: Mapping[str, Samples], contents: Mapping[str, Digests]
) -> tuple[Mapping[str, Samples], Mapping[str, Digests]]:
    """The sets and contents; if rows or texts are too coarse, each sample has its own content."""
    some = [name for name, s in sets.items() if s.data.may_be_coarse]
    some = [name for name in some if sets[name].y is not None and len(sets[name])]
    if not some:
        return sets, contents
    sizes = [len(contents[name]) for name in some]
    parts, of_set = np.cumsum(sizes)[:-1], np.repeat(np.arange(len(some)), sizes)
    number = distinct(np.concatenate([contents[name] for name in some]))[1]
    of_each = zip(some, np.split(number, parts), strict=True)
    y = np.concatenate([np.asarray(_completed(sets[name], each).y) for name, each in of_each])
    label = _crossed(np.zeros(len(number), dtype=int), y)
    if not are_coarse(number, label, of_set):
        return sets, contents
    told, coarse = {**contents}, {**sets}
    names = _names_across(sets, contents, some)
    often = np.bincount(number)[number] > 1
    one = number[distinct(number * (label.max() + 1) + label)[0]]
    mixed = np.bincount(one)[number] > 1
    for i, name in enumerate(some):
        told[name] = told_apart(contents[name], names.get(name))
        n, n_mixed = (int(rows[of_set == i].sum()) for rows in (often, mixed))
        what = "texts" if sets[name].data.what == "texts" else "inputs"
        note = (
            f"{f'The {_called(name)} set: ' if name else ''}{n} of {len(sets[name])} samples have "
            f"the {what} of others{f', {n_mixed} with another label' * bool(n_mixed)}. Each of "
            "them counts."
        )
        # The rows of earlier sets that are still there are equal by content alone.
        earlier = np.isin(number[of_set == i], number[of_set < i])
        earlier &= ~np.isin(told[name], [c for other in some[:i] for c in told[other].tolist()])
        if earlier.any():
            of = " or ".join(map(_called, some[:i]))
            note += (
                f" {earlier.sum()} equal samples of the {of} set. Remove those that are the same "
                "samples."
            )
        coarse[name] = replace(_noted(sets[name], *[note] * bool(n)), coarse=True)
    return coarse, told


def _names_across(
    sets: Mapping[str, Samples], contents: Mapping[str, Digests], some: Sequence[str]
) -> dict[str, list[str]]:
    """Names of the samples of each set; of none if a name means different inputs in two sets."""
    names = {name: sets[name].names for name in some if sets[name].named_by != "row"}
    names = {name: each for name, each in names.items() if len({*each}) == len(each)}
    content_of = dict[str, bytes]()
    for name, each in names.items():
        for sample, content in zip(each, contents[name].tolist(), strict=True):
            if content_of.setdefault(sample, content) != content:
                return {}
    return names


class Identified:
    """Digests by which files of labels name the samples of some sets."""

    # Where equal inputs are different samples, a digest holds the name of its sample as well, or
    # without names its whole set and row. A file may come from a run on other sets, in which equal
    # inputs were one sample, or the other way round, so `meant` knows all forms.

    def __init__(self, sets: Sequence[Samples], *, verbose: bool = False) -> None:
        self._sets = {str(i): samples for i, samples in enumerate(sets)}
        self._raw = {i: sample_digests(s, verbose=verbose) for i, s in self._sets.items()}
        names = _names_across(self._sets, self._raw, [*self._sets])
        self._own = {
            i: told_apart(raw, names.get(i)) if self._sets[i].coarse else raw
            for i, raw in self._raw.items()
        }
        self.contents: Digests = np.concatenate([*self._own.values()])
        self.digests = [content.hex() for content in self.contents.tolist()]

    def meant(self, content: str | None, name: str) -> str | None:
        """The digest of the only sample that a file's digest and name can mean, or the file's."""
        if content is None or content in self._known:
            return content
        named = self._others.get(named_content(content, name).rstrip(b"\0").hex())
        return self._others.get(content) or named or content

    @cached_property
    def _known(self) -> set[str]:
        return {*self.digests}

    @cached_property
    def _others(self) -> dict[str, str | None]:
        """Digests in other forms, and that of the sample, or None if there are several."""
        others = dict[str, str | None]()
        for i, raw in self._raw.items():
            names = _names_across(self._sets, self._raw, [i]).get(i)
            forms = [raw, told_apart(raw), *([] if names is None else [told_apart(raw, names)])]
            own = [content.hex() for content in self._own[i].tolist()]
            for form in forms:
                for other, digest in zip(form.tolist(), own, strict=True):
                    if others.setdefault(other.hex(), digest) != digest:
                        others[other.hex()] = None
        return others


def _with_facts_of_copies(samples: Samples, places: Places, start: str) -> Samples:
    """Samples whose table has for each what is known of its copies, except names and the like."""
    table, further = samples.table, samples.further or {}
    columns = {**(further if table is None else table.columns)}
    n_different = dict[str, int]()
    for name, values in (further if table is None else table.rest).items():
        if values.ndim > 1 or names_rows(name, values):
            continue
        taken, n_different[name] = places.of(values)
        columns[name] = values.astype(taken.dtype)
        columns[name][places.kept] = taken
    if table is None:
        samples = replace(samples, further=columns or None)
    else:
        samples = replace(samples, table=replace(table, columns=columns))
    return _noted(samples, *note_on_copies(n_different, start))


def names_rows(name: str, values: Array) -> bool:
    """Whether a column names rows: an ID of each, not a fact such as the ID of a site."""
    return is_aside(name) and 2 * len({*map(str, values.tolist())}) > len(values)


def note_on_copies(n_different: Mapping[str, int], start: str = "") -> list[str]:
    """A note on columns in which so many copies differ, or none."""
    names = [name for name, n in n_different.items() if n]
    n = max(n_different.values(), default=0)
    shown = ", ".join(map(repr, names[:5]))
    what = f"{start}copies of {counted(n, 'sample')} differ in {shown}, which is unknown for them."
    return [what[:1].upper() + what[1:]] if names else []


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
    pairs = content * (int(number.max(initial=0)) + 1) + number
    return np.asarray(np.unique(pairs, return_inverse=True)[1])


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


def _noted(samples: Samples, *notes: str) -> Samples:
    return replace(samples, notes=(*samples.notes, *notes))

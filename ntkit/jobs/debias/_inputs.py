"""Prepare the samples of a repair: match classes, embed, check, and compare with a service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._checks import check_magnitude
from ntkit._disk import size_of
from ntkit._labels import (
    alike_note,
    differing_classes,
    means_unknown,
    none_if_unknown,
    plain_label,
    unknown_note,
)
from ntkit._output import check_folder
from ntkit._text import one_line
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.attributes.activations import EMBEDDING
from ntkit.attributes.feature_set import FEWEST
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import (
    ImageFiles,
    ImagePreprocessing,
    OnnxEmbedder,
    Samples,
    TextPreprocessing,
)
from ntkit.extraction.embedder import Embedded, embedded_with_layers
from ntkit.extraction.head_check import check_head
from ntkit.head import LinearHead
from ntkit.jobs.attribute_reader import AuditedImages
from ntkit.jobs.audit.from_model import guess_notes, like_a_guess, never_changes
from ntkit.jobs.audit.labels import why_not
from ntkit.jobs.debias._pool import Pool
from ntkit.jobs.debias._settings import Order, embeddings_file
from ntkit.jobs.verify import check_parity, read_recorded
from ntkit.metrics.class_order import order_notes
from ntkit.model import FrozenModel
from ntkit.samples.copies import (
    Distinct,
    Places,
    contents_by_embedding,
    sample_digests,
    sets_without_copies,
    shared_samples,
    sum_of_digests,
)
from ntkit.samples.kinds import SeveralInputs, spread_rows
from ntkit.samples.read import read
from ntkit.samples.samples import input_notes, input_paths
from ntkit.samples.stored import check_alike, check_made_with
from ntkit.solver.loss import stacked
from ntkit.store.kept import keep, kept_or_computed
from ntkit.study import Rows, n_distinct
from ntkit.verification import random_inputs

MOST_SHARED = 0.5
"""Largest share of the samples that judge that may be in another set; more prove nothing."""
_LEAST = 2
_FEW = 20
_TOO_GOOD = 0.005  # error rate that samples of the training set have, rather than new ones


def check_sizes(sets: Mapping[str, Samples]) -> list[str]:
    """Raise an error if lengths differ or a class has too few samples; notes on small classes."""
    notes = list[str]()
    for name, samples in sets.items():
        samples.check_lengths()
        classes, counts = np.unique(samples.y, return_counts=True)
        if not len(counts):
            continue
        label, count = classes.tolist()[counts.argmin()], int(counts.min())
        if count < _LEAST and name != "test":
            raise InputError(
                f"The {name} set has {count} sample of class {label!r}. At least {_LEAST} per "
                "class are needed, half to fit and half to judge. Add samples; reliable results "
                "need hundreds."
            )
        if count < _FEW:
            notes.append(
                f"The {name} set has only {count} samples of class {label!r}. Results with fewer "
                f"than {_FEW} are unreliable."
            )
    return notes


def check_embedded(Z: Mapping[str, Array]) -> None:
    """Raise an error if embeddings are not finite, or are the same for all samples."""
    for name, rows in Z.items():
        low, high = rows.min(axis=0), rows.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError(
                f"Embeddings of the {name} set hold NaN or infinite values. Check its inputs, or "
                "run the model in full precision."
            )
        check_magnitude(np.stack([low, high]), f"The embedding of the {name} set")
        if (low == high).all():
            raise InputError(
                f"All {len(rows)} embeddings of the {name} set are the same. Check whether its "
                "inputs are all zeros or on another scale."
            )


_VERIFY_ROWS = 256
POOLED = ("train", "validation")  # the sets with attributes
_PAGES = 16 << 20  # bytes of the report and other files besides the model
_MEANING_OF_SHARED = {
    ("train", "validation"): "errors on the validation set are not those on unseen samples",
    ("train", "test"): "the results are too good",
    ("validation", "test"): "the results of the chosen head are too good",
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Model and samples of a run, checked and embedded."""

    model: FrozenModel
    sets: Mapping[str, Samples]
    pooled: Sequence[str]  # names of the sets of `pool`
    passes: Mapping[str, Embedded]
    computed: frozenset[str]
    layers: Sequence[str]
    digests: Mapping[str, Array]
    pool: Pool  # embeddings of the training and the validation set, with classes and groups
    test: Rows | None  # of a test set that judges
    shared: float  # share of the validation samples that are in the training set
    inputs: Any
    embedder: OnnxEmbedder
    notes: tuple[str, ...]
    cautions: tuple[str, ...]  # notes that call the result into question

    def noting(self, *notes: str, cautions: Iterable[str] = ()) -> Prepared:
        """The same with more notes, and with more that call the result into question."""
        return replace(self, notes=(*self.notes, *notes), cautions=(*self.cautions, *cautions))

    @property
    def read(self) -> dict[str, str]:
        """SHA-256 of the model, and digests of the contents, labels and groups of each set."""
        sets = {name: _read_again(self.digests[name], each) for name, each in self.sets.items()}
        return {"model": self.model.sha256()} | sets

    @property
    def raw(self) -> Samples:
        """A set with raw inputs, if there is one."""
        parts = [self.sets[name] for name in ("test", *reversed(POOLED)) if name in self.sets]
        return next((part for part in parts if not part.embedded), parts[0])

    def keep(self, folder: Path, *, computed_only: bool) -> None:
        """Write embeddings into a folder for the next run: all, or only those of this run."""
        for name, embedded in self.passes.items():
            if name in self.computed or not (computed_only or self.sets[name].embedded):
                keep(folder / embeddings_file(name), embedded)

    def layers_of(self, name: str) -> dict[str, Array]:
        """Layers of a set that attributes are read from."""
        embedded = self.passes[name]
        own = {EMBEDDING: embedded.Z} if EMBEDDING in self.layers else {}
        return {**embedded.layers, **own}

    @property
    def pooled_layers(self) -> dict[str, Array]:
        """Layers of both sets: the training samples, then the validation samples."""
        layers = [self.layers_of(name) for name in self.pooled]
        common = (name for name in layers[0] if all(name in each for each in layers))
        return {name: np.concatenate([each[name] for each in layers]) for name in common}


def _read_again(digests: Array, samples: Samples) -> str:
    """Digest of the contents, labels and groups of a set, in their order."""
    groups = [] if samples.groups is None else np.asarray(samples.groups).tolist()
    text = json.dumps([sum_of_digests(digests), samples.y.tolist(), groups], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read_sets(
    model: FrozenModel,
    data: Mapping[str, Any],
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
) -> tuple[dict[str, Distinct], dict[str, Samples], Places]:
    """Distinct samples of each set of a run; all that were given; their places in the pool."""
    sets = {
        name: read(each, model, preprocessing=preprocessing)
        for name, each in data.items()
        if each is not None
    }
    first = next(iter(sets.values()))
    sets = {
        name: replace(
            samples.with_columns_as_in(first),
            groups=none_if_unknown(samples.groups),
            notes=(*samples.notes, *unknown_note(samples.groups, f"The {name} set")),
        ).measured(AuditedImages)
        for name, samples in sets.items()
    }
    once = sets_without_copies(sets, model, MOST_SHARED)
    sets = {name: replace(each, coarse=once[name].samples.coarse) for name, each in sets.items()}
    places = Places.joined([once[name] for name in POOLED if name in sets])
    return once, sets, places


def prepared(
    model: FrozenModel,
    distinct: Mapping[str, Distinct],
    order: Order,
    *,
    layers: Sequence[str],
) -> Prepared:
    """Check the model and the samples of a run, and embed the samples."""
    settings = order.settings
    sets = {name: each.samples for name, each in distinct.items()}
    if order.out is not None and not order.goes_on:  # it may exist, or the disk may be full
        size = 2 * size_of(model.files) + _PAGES
        files = input_paths(model, *sets.values())
        check_folder(order.out, inputs=files, force=order.force, size=size)
    check_origins(model, sets)
    on_sizes = check_sizes(sets)
    model, cautions = with_classes(model, sets, settings.new_head)  # an assumed order of classes
    embedder = OnnxEmbedder(
        model, device=order.device, batch_size=settings.batch_size, verbose=settings.verbose
    )
    raw = next((samples for samples in sets.values() if not samples.embedded), None)
    inputs = random_inputs(model) if raw is None else spread_rows(raw.X, len(raw), _VERIFY_ROWS)
    if not settings.new_head:
        check_head(embedder, inputs)
    contents = {
        name: cache(partial(sample_digests, samples, verbose=settings.verbose))
        for name, samples in sets.items()
    }
    passes, computed = _embedded(sets, embedder, contents, layers, order.resume)
    check_embedded({name: embedded.Z for name, embedded in passes.items()})
    if not settings.new_head and model.head is not None:
        cautions += _like_guesses(model, sets, passes, trust_inputs=settings.trust_inputs)
    digests = {name: digests_of() for name, digests_of in contents.items()}  # files are cached now
    same = {name: each.contents[each.kept] for name, each in distinct.items()}
    by_content = same
    embeddings = {name: each.Z for name, each in passes.items()}
    same, on_close = contents_by_embedding(sets, same, embeddings)
    n_shared = shared_samples(same)
    judges = True  # if most test samples are in no other set
    if "test" in same:
        others = np.concatenate([each for name, each in same.items() if name != "test"])
        judges = bool(np.isin(same["test"], others).mean() <= MOST_SHARED)
    by = "content" if same is by_content else "embedding"
    cautions += [*shared_notes(sets, n_shared, by, judges=judges), *on_sizes]
    cautions += [on_close] * bool(on_close)
    if "train" not in sets and model.head is not None:
        cautions += _too_good(model.head, sets["validation"], passes["validation"])
    notes = reading_notes(sets)
    if computed:
        notes.append(f"Embeddings computed on: {embedder.device_}.")
    elif raw is not None:
        notes.append(f"Embeddings read from {order.resume}.")
    shared = n_shared.get(("train", "validation"), 0) / len(sets["validation"])
    if not judges:
        sets = {name: samples for name, samples in sets.items() if name != "test"}
        del passes["test"]
    pooled = [name for name in POOLED if name in sets]
    rows = {
        name: Rows.of(passes[name].Z, each.y, each.groups, contents=same[name])
        for name, each in sets.items()
    }
    return Prepared(
        model=model, sets=sets, pooled=pooled, passes=passes, computed=frozenset(computed),
        layers=layers, digests=digests, pool=Pool(rows[pooled[0]], rows[pooled[-1]]),
        test=rows.get("test"), shared=shared, inputs=inputs, embedder=embedder,
        notes=(*notes, *cautions), cautions=tuple(cautions),
    )  # fmt: skip


def _embedded(
    sets: Mapping[str, Samples],
    embedder: OnnxEmbedder,
    contents: Mapping[str, Callable[[], Array]],
    layers: Sequence[str],
    resume: Path | None,
) -> tuple[dict[str, Embedded], set[str]]:
    """Embeddings and layers of each set, read or computed, and the sets that were computed."""
    passes, computed = dict[str, Embedded](), set[str]()
    for name, samples in sets.items():
        names = [layer for layer in layers if layer != EMBEDDING and name in POOLED]
        if samples.embedded:
            passes[name] = Embedded(samples.X, {}, "store")
            continue
        passes[name], ran = kept_or_computed(
            None if resume is None else resume / embeddings_file(name),
            embedder.frozen_model,
            samples,
            contents[name],
            partial(embedded_with_layers, embedder, samples.X, names=names),
            layers=names,
        )
        computed |= {name} if ran else set()
    return passes, computed


def _too_good(head: LinearHead, samples: Samples, embedded: Embedded) -> list[str]:
    """A note if the model has hardly an error, as on samples that it was trained on."""
    n_wrong = int((head.predict(embedded.Z) != samples.y).sum())
    if n_wrong > _TOO_GOOD * len(samples):
        return []
    return [
        f"The model is wrong on {n_wrong} of {len(samples)} samples. If it was trained on them, "
        "the results are worthless: use samples that it was not trained on."
    ]


def check_groups(rows: Rows, attributes: Sequence[Attribute], *, crossed: bool = True) -> None:
    """Raise an error if a group class × attribute of a single set is too small to judge.

    ``crossed`` is false if the attribute is groups of one class each.
    """
    if not attributes:
        return
    groups = attributes[0].crossed(rows.y, *attributes[1:]) if crossed else attributes[0]
    values, counts = np.unique(groups.value[groups.value >= 0], return_counts=True)
    n_possible = len(rows.classes) * int(np.prod([len(each.names) for each in attributes]))
    all_exist = crossed and len(rows.classes) == 2  # of more classes a group may not exist
    if all_exist and len(values) < n_possible:
        raise InputError(
            f"A group class × {' × '.join(each.name for each in attributes)} has no sample, and at "
            f"least {FEWEST} are needed to judge a repair. Add some, or name a change that must "
            "not matter (--invariant)."
        )
    known = groups.value >= 0
    counts = n_distinct(groups.value[known], rows.contents[known])[values]
    name, count = groups.names[values[counts.argmin()]], int(counts.min())
    if count < FEWEST:
        n = -(-FEWEST * len(rows) // max(count, 1))
        raise InputError(
            f"Group {name} has {count} of {len(rows)} distinct samples, and at least {FEWEST} are "
            f"needed to judge a repair. About {n} samples like these would do."
        )


def _like_guesses(
    model: FrozenModel,
    sets: Mapping[str, Samples],
    passes: Mapping[str, Embedded],
    *,
    trust_inputs: bool,
) -> list[str]:
    """Check the class order; raise an error, or warn, if the original model only guesses."""
    head, label = model.head, model.label
    assert head is not None  # the caller checks this
    first = "train" if "train" in sets else "validation"
    pred = {name: head.predict(passes[name].Z) for name in (first, "validation")}
    y = {name: sets[name].y for name in pred}
    # The training set shows the class order: in other sets a shortcut may be reversed.
    order_notes(y[first], pred[first], head.classes, strict=True, label=label)
    judged, seen = ((y[name], pred[name]) for name in ("validation", first))
    problem = like_a_guess(*judged, len(head.classes), seen)
    if problem is not None and label is not None:
        has, given = y["validation"] == label, pred["validation"] == label
        problem = never_changes(label, has, given) or problem
    return guess_notes(problem, sets["validation"], trust_inputs, model)


def with_classes(
    model: FrozenModel, sets: Mapping[str, Samples], new_head: bool
) -> tuple[FrozenModel, list[str]]:
    """Match the labels with the head's classes; classes without names get the labels."""
    first = next(iter(sets))
    for name, samples in sets.items() if model.label is not None else ():
        problem = why_not(len(samples), int((samples.y == model.label).sum()))
        if problem is not None:
            raise InputError(
                f"Label {model.label!r}, {name} set: {problem}. Add samples of both kinds."
            )
    labels = np.unique(sets[first].y)
    for name, samples in sets.items():
        problem = differing_classes(
            np.unique(samples.y),
            labels,
            what=f"The {name} set",
            where=f"the {'training' if first == 'train' else first} set",
            fix="add samples of every class to each set.",
        )
        if problem is not None:
            raise InputError(problem)
    if new_head:
        return model, []
    if (problem := model.not_single_label) is not None:
        raise InputError(problem)
    try:
        match = sets[first].fit_to(model, every_class=True)
    except InputError as error:
        if len(labels) < 2:
            raise
        raise InputError(
            f"{str(error).rstrip('.')}. To fit a new head for these {len(labels)} classes: "
            "--new-head (new_head=True)"
        ) from error
    return match.model, [*match.notes]


def check_origins(model: FrozenModel, sets: Mapping[str, Samples]) -> None:
    """Raise an error for embeddings of another model, or sets with different preprocessing."""
    origins = {
        f"{samples.called()} ({name})" if samples.sources else f"The {name} set": (
            samples.origin or {"preprocessing": samples.preprocessing}
        )
        for name, samples in sets.items()
    }
    for name, origin in origins.items():
        check_made_with(name, origin, model)
    for one, two in combinations(origins, 2):
        check_alike((one, two), origins[one], origins[two])


def reading_notes(sets: Mapping[str, Samples]) -> list[str]:
    """Notes on assumptions and on samples left out in reading."""
    notes = [*dict.fromkeys(note for s in sets.values() for note in s.notes)]
    notes += [note for name, s in sets.items() for note in s.left_out_notes(name)]
    for name, samples in sets.items():
        if samples.groups is not None and samples.groups.ndim == 1:
            known = [each for each in samples.groups.tolist() if not means_unknown(each)]
            n = len(samples) - len(known)
            some = f"The {name} set: {n} of {len(samples)} samples have an unknown group."
            notes += [some] * bool(n)
            notes += alike_note(known, f"Groups of the {name} set")
    if isinstance(next(iter(sets.values())).data, SeveralInputs):
        notes += _notes_on_spellings(sets)
    return [*notes, *input_notes(sets.values())]


def _notes_on_spellings(sets: Mapping[str, Samples]) -> list[str]:
    """Notes on categories that a set spells in another way than the first one."""
    (first, samples), *others = sets.items()
    title, notes = "training" if first == "train" else first, list[str]()
    for column, values in samples.X.items():
        if column in samples.data.prose:
            continue
        known = {*values.ravel().tolist()} if values.dtype.kind in "UO" else set[str]()
        spelt = {plain_label(cell): cell for cell in sorted(map(str, known))}
        for name, other in others:
            cells = (
                {*other.X[column].ravel().tolist()}
                if isinstance(other.data, SeveralInputs)
                else set[str]()
            )
            odd = sorted(str(cell) for cell in cells - known if plain_label(cell) in spelt)
            if odd:
                notes.append(
                    f"{column!r} has the value {odd[0]!a:.40} in the {name} set and "
                    f"{spelt[plain_label(odd[0])]!a:.40} in the {title} set. The model may know "
                    "only one of them; write one value in one way in both."
                )
    return notes


def shared_notes(
    sets: Mapping[str, Samples], n_shared: Mapping[tuple[str, str], int], by: str, *, judges: bool
) -> list[str]:
    """Notes on samples that are in two sets; ``judges`` says whether the test set does."""
    notes = list[str]()
    for (first, second), n in n_shared.items():
        if n:
            samples, meaning = sets[second], _MEANING_OF_SHARED[first, second]
            meaning = meaning if judges or second != "test" else "the test set does not judge"
            share = f"{100 * n / len(samples):.1f}".removesuffix(".0")
            notes.append(
                f"{n} of {len(samples)} {second} samples ({share} %) "
                f"{'is' if n == 1 else 'are'} also in the "
                f"{'training' if first == 'train' else first} set, by "
                f"{'embedding' if samples.embedded else by}: "
                f"{meaning}."
            )
    return notes


def parity_notes(
    model: FrozenModel, sets: Mapping[str, Samples], recorded: Any, device: str
) -> list[str]:
    """Compare a service's recorded outputs with ntkit's."""
    recording = read_recorded(recorded, tuple(tensor.name for tensor in model.inputs))
    validation = sets["validation"]
    data: Samples | None = validation
    if recording.files is not None:
        data = _with_files(sets)
    elif recording.inputs and "rows" not in recording.inputs:
        data = None
    parity = check_parity(model, recorded, data, preprocessing=validation.data.steps, device=device)
    if not parity.same_embeddings:
        raise VerificationError(
            f"The service computes other outputs than ntkit. {parity.summary()}\nA head for "
            "ntkit's embeddings will not fit the service's. Set the same preprocessing, or omit "
            "--recorded (recorded=)."
        )
    return [f"Comparison with the service ({recording.source}): {one_line(parity.summary())}"]


def _with_files(sets: Mapping[str, Samples]) -> Samples:
    """The samples of all sets with file names, by their whole paths."""
    images = [samples for samples in sets.values() if samples.data.are_files]
    if images:
        paths = [path for samples in images for path in samples.X.paths]
        ids = np.asarray([path.as_posix() for path in paths])
        return Samples(ImageFiles(paths, images[0].X.preprocessing), ids=ids)
    named = [samples for samples in sets.values() if samples.ids is not None]
    if not named:
        raise InputError(
            "The recording names files, but no set holds images or their embeddings. Record rows "
            "of the validation set instead."
        )
    ids = np.concatenate([samples.ids for samples in named])
    return replace(named[0], X=reduce(stacked, [samples.X for samples in named]), y=None, ids=ids)

"""Samples of the main job: classes matched, embedded, checked, compared with the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import size_of
from ntkit._labels import differing_classes
from ntkit._output import check_folder
from ntkit._types import Array
from ntkit.attributes import EMBEDDING
from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import (
    Embedded,
    ImageFiles,
    ImagePreprocessing,
    OnnxEmbedder,
    Samples,
    TextPreprocessing,
    embedded_with_layers,
    keep,
    kept_or_computed,
)
from ntkit.inputs import MeasuredImages
from ntkit.jobs.audit import GO_ON, WatchedPictures, like_a_guess, likely_cause
from ntkit.jobs.debias._candidates import LabelledEmbeddings
from ntkit.jobs.verify import check_parity, read_recorded
from ntkit.metrics import check_class_order
from ntkit.model import FrozenModel
from ntkit.samples import (
    check_alike,
    check_made_with,
    first_rows,
    input_notes,
    input_paths,
    read,
    sample_digests,
    shared_samples,
)
from ntkit.verification import check_head, random_inputs

_LEAST = 2
_FEW = 20


def _rarest(y: Array) -> tuple[Any, int]:
    """The class with the fewest samples, and their number."""
    classes, counts = np.unique(y, return_counts=True)
    return classes.tolist()[counts.argmin()], int(counts.min())


def check_sizes(sets: Mapping[str, Samples]) -> None:
    """Refuse sets in which a class has too few samples to fit and to judge."""
    for name, samples in sets.items():
        if name == "test" or not len(samples.y):
            continue
        label, count = _rarest(samples.y)
        if count < _LEAST:
            raise InputError(
                f"The {name} set has {count} sample of class {label!r}; at least "
                f"{_LEAST} of each class are needed, half to fit and half to judge, and hundreds "
                "to conclude anything."
            )


def check_embeddings(Z: Mapping[str, Array]) -> None:
    """Refuse embeddings that are not finite, or the same for all samples."""
    for name, rows in Z.items():
        low, high = rows.min(axis=0), rows.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError(
                f"Embeddings of the {name} set hold NaN or infinite values; look at its inputs, "
                "or run the model in full precision."
            )
        if (low == high).all():
            raise InputError(
                f"All {len(rows)} embeddings of the {name} set are the same, so nothing can be "
                "told from them; are the inputs the model's (all zeros, or another scale)?"
            )


_VERIFY_ROWS = 256
_POOLED = ("train", "held-out")  # the sets that attributes are read of
_PAGES = 16 << 20  # bytes, of the report and what else is written besides the model
_MEANING_OF_SHARED = {
    ("train", "held-out"): "its errors say little about samples the model has not seen",
    ("train", "test"): "the figures flatter the model",
    ("held-out", "test"): "the figures flatter what was chosen on it",
}


@dataclass(frozen=True)
class Prepared:
    """Model and samples of a job, checked and embedded."""

    model: FrozenModel
    sets: Mapping[str, Samples]
    Z: Mapping[str, LabelledEmbeddings]
    passes: Mapping[str, Embedded]
    computed: frozenset[str]
    layers: Mapping[str, Mapping[str, Array]]
    digests: Mapping[str, Array]
    inputs: Any
    embedder: OnnxEmbedder
    device: str | None
    notes: tuple[str, ...]
    cautions: tuple[str, ...]  # notes that call the result into question

    def keep(self, folder: Path, *, computed_only: bool) -> None:
        """Write embeddings into a folder, all or those computed now, for the next run."""
        for name, embedded in self.passes.items():
            if name in self.computed or not computed_only:
                keep(folder / embeddings_file(name), embedded)

    @property
    def pooled_layers(self) -> dict[str, Array]:
        """Layers that both sets have: the training samples, then the held-out ones."""
        first, second = (self.layers[name] for name in _POOLED)
        return {n: np.concatenate([first[n], second[n]]) for n in first if n in second}

    @property
    def watched(self) -> list[WatchedPictures]:
        """Training and validation images, where they are files: what was measured of them."""
        return [self.sets[name].X for name in _POOLED if self.sets[name].kind == "images"]

    @property
    def shared(self) -> float:
        """Share of the held-out samples that are in the training set."""
        n_shared = shared_samples(self.digests).get(("train", "held-out"), 0)
        return n_shared / len(self.sets["held-out"])


def read_sets(
    model: FrozenModel,
    data: Mapping[str, Any],
    preprocessing: ImagePreprocessing | TextPreprocessing | None,
) -> dict[str, Samples]:
    """Read what a job is given, "train" among it, as samples of a model."""
    sets = {name: read(each, model, preprocessing=preprocessing) for name, each in data.items()}
    return {
        name: samples.with_columns_as_in(sets["train"]).measured(
            WatchedPictures if name in _POOLED else MeasuredImages
        )
        for name, samples in sets.items()
    }


def prepared(
    model: FrozenModel,
    sets: Mapping[str, Samples],
    *,
    folder: Path | None,
    new_head: bool,
    layers: Sequence[str],
    kept: Path | None,
    device: str,
    batch_size: int | str | None,
    force: bool,
    verbose: bool,
    trust_inputs: bool = False,
) -> Prepared:
    """Check what a job is given, and embed it."""
    if folder is not None:  # it may take something's place, or lack room
        size = 2 * size_of(model.files) + _PAGES
        check_folder(folder, inputs=input_paths(model, *sets.values()), force=force, size=size)
    check_origins(model, sets)
    for samples in sets.values():
        samples.check_lengths()
    model, notes = with_classes(model, sets, new_head)
    cautions = list[str]()
    check_sizes(sets)
    inputs = some_inputs(model, sets)
    embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)
    if not new_head:
        check_head(embedder, inputs, device=device)
    contents = {
        name: cache(partial(sample_digests, samples, verbose=verbose))
        for name, samples in sets.items()
    }
    passes, computed = dict[str, Embedded](), set[str]()
    Z, of_layers = dict[str, LabelledEmbeddings](), dict[str, Mapping[str, Array]]()
    for name, samples in sets.items():
        wanted = layers if name in _POOLED else ()
        names = [layer for layer in wanted if layer != EMBEDDING]
        if samples.embedded:
            embedded = Embedded(samples.X, {}, "store")
        else:
            embedded, ran = kept_or_computed(
                None if kept is None else kept / embeddings_file(name),
                model,
                samples,
                contents[name],
                partial(_embedded, samples, embedder, names),
                layers=names,
            )
            passes[name] = embedded
            computed |= {name} if ran else set()
        Z[name] = LabelledEmbeddings(embedded.Z, samples.y, samples.groups)
        of_layers[name] = {**embedded.layers} if wanted else {}
        if EMBEDDING in wanted:
            of_layers[name] = {**of_layers[name], EMBEDDING: embedded.Z}
    check_embeddings({name: samples.Z for name, samples in Z.items()})
    if not new_head and model.head is not None:
        head, train, validation = model.head, Z["train"], Z["held-out"]
        pred = head.predict(train.Z)
        # A shortcut may point the other way in any other set.
        check_class_order(pred, train.y, head.classes)
        judged = (validation.y, head.predict(validation.Z))
        problem = like_a_guess(*judged, len(head.classes), (train.y, pred))
        if problem is not None:
            problem = f"{problem}: {likely_cause(sets['held-out'])}"
            if not trust_inputs:
                raise InputError(f"{problem} {GO_ON}")
            cautions.append(problem)
    digests = {name: digests_of() for name, digests_of in contents.items()}  # once they were read
    notes += reading_notes(sets)
    cautions += shared_notes(sets, digests)
    for name, samples in sets.items():
        label, count = _rarest(samples.y)
        if count < _FEW:
            cautions.append(
                f"The {name} set has {count} samples of class {label!r}: figures from fewer than "
                f"{_FEW} tell little."
            )
    if computed:
        notes.append(f"Embeddings were computed on: {embedder.device_}.")
    elif passes:
        notes.append(f"Embeddings are those that {kept} keeps.")
    return Prepared(
        model,
        sets,
        Z,
        passes,
        frozenset(computed),
        of_layers,
        digests,
        inputs,
        embedder,
        embedder.device_ if computed else None,
        (*notes, *cautions),
        tuple(cautions),
    )


def with_classes(
    model: FrozenModel, sets: Mapping[str, Samples], new_head: bool
) -> tuple[FrozenModel, list[str]]:
    """Match the labels with the head's classes; name unnamed classes after the labels."""
    labels = np.unique(sets["train"].y)
    for name, samples in sets.items():
        problem = differing_classes(
            np.unique(samples.y),
            labels,
            what=f"The {name} set",
            where="the training set",
            fix="every class needs samples in each set.",
        )
        if problem is not None:
            raise InputError(problem)
    if new_head:
        return model, []
    if (problem := model.not_single_label) is not None:
        raise InputError(problem)
    try:
        match = sets["train"].fit_to(model, every_class=True)
    except InputError as error:
        if len(labels) < 2:
            raise
        raise InputError(
            f"{str(error).rstrip('.')}. For a head of these {len(labels)} classes instead: "
            "--new-head (new_head=True)."
        ) from error
    return match.model, [*match.notes]


def _embedded(samples: Samples, embedder: OnnxEmbedder, layers: Sequence[str]) -> Embedded:
    """Embeddings of inputs, and pooled outputs of layers, in one pass."""
    if not layers:
        return Embedded(embedder.transform(samples.X), {}, embedder.device)
    return embedded_with_layers(embedder, samples.X, names=layers)


def embeddings_file(name: str) -> str:
    """Name of the file that keeps the embeddings of a set."""
    return f"embedded-{'validation' if name == 'held-out' else name}.npz"


def check_origins(model: FrozenModel, sets: Mapping[str, Samples]) -> None:
    """Refuse embeddings of another model, and sets that were made in two ways."""
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
    """Sentences on what was assumed or left out in reading."""
    notes = [note for s in sets.values() for note in s.notes]
    notes += [note for name, s in sets.items() for note in s.skipped_notes(name)]
    return [*notes, *input_notes(sets.values())]


def shared_notes(sets: Mapping[str, Samples], digests: Mapping[str, Array]) -> list[str]:
    """Sentences on samples that are in two sets."""
    notes = list[str]()
    for (first, second), n in shared_samples(digests).items():
        if n:
            samples = sets[second]
            share = f"{100 * n / len(samples):.1f}".removesuffix(".0")
            notes.append(
                f"{n} of the {len(samples)} {second} samples ({share} %) "
                f"{'is' if n == 1 else 'are'} in the {'training' if first == 'train' else first} "
                f"set as well, by {'embedding' if samples.embedded else 'content'}: "
                f"{_MEANING_OF_SHARED[first, second]}."
            )
    return notes


def some_inputs(model: FrozenModel, sets: Mapping[str, Samples]) -> Any:
    """Inputs to verify on: real ones, where a set holds inputs rather than embeddings."""
    for samples in sets.values():
        if not samples.embedded:
            return first_rows(samples.X, _VERIFY_ROWS)
    return random_inputs(model)


def parity_notes(
    model: FrozenModel, sets: Mapping[str, Samples], recorded: Any, device: str
) -> list[str]:
    """Compare what a service recorded with what a job would compute."""
    if recorded is None:
        return []
    recording = read_recorded(recorded, tuple(tensor.name for tensor in model.inputs))
    validation = sets["held-out"]
    data: Samples | None = validation
    if recording.files is not None:
        data = _with_files(sets)
    elif recording.given and "rows" not in recording.given:
        data = None
    parity = check_parity(model, recorded, data, preprocessing=validation.steps, device=device)
    if not parity.same_embeddings:
        raise VerificationError(
            f"The service computes otherwise than ntkit would. {parity.summary()} A head for such "
            "embeddings is none for the service's: let ntkit prepare samples as the service does, "
            "or leave out --recorded (recorded=)."
        )
    return [f"Compared with the service ({recording.source}): {' '.join(parity.summary().split())}"]


def _with_files(sets: Mapping[str, Samples]) -> Samples:
    """The samples of all sets that names of files may mean, by their whole paths."""
    pictures = [samples for samples in sets.values() if samples.kind == "images"]
    if pictures:
        paths = [path for samples in pictures for path in samples.X.paths]
        ids = np.asarray([path.as_posix() for path in paths])
        return Samples(ImageFiles(paths, pictures[0].X.preprocessing), ids=ids)
    named = [samples for samples in sets.values() if samples.ids is not None]
    if not named:
        raise InputError(
            "The recording names files, but no set holds images or their embeddings; name rows of "
            "the held-out set instead."
        )
    ids = np.concatenate([samples.ids for samples in named])
    return replace(named[0], X=_Rows([samples.X for samples in named]), y=None, ids=ids)


class _Rows:
    """Rows of several arrays, one after the other, none of them copied."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: Any) -> Any:
        which = np.searchsorted(self._ends, rows, side="right")
        starts = self._ends - [len(part) for part in self._parts]
        return np.stack(
            [self._parts[i][row - starts[i]] for i, row in zip(which, rows, strict=True)]
        )

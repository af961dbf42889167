"""Compare ntkit's outputs with a service's recorded outputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._process import progress_bar
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, TextPreprocessing
from ntkit.extraction.head_check import tolerance_of
from ntkit.extraction.session import make_session
from ntkit.jobs.verify._cause import Cause, Subject, changed
from ntkit.jobs.verify._outputs import Logits, Outputs, outputs_of
from ntkit.jobs.verify._recorded import Recording, read_recorded, subject_of
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import loaded
from ntkit.samples.columns import ordered_inputs
from ntkit.samples.read import read


@dataclass(frozen=True)
class Parity:
    """Comparison of ntkit's outputs with a service's, returned by :func:`check_parity`.

    Attributes
    ----------
    matched : bool
        Whether the outputs agree on every sample.
    n_samples, n_agreeing : int
        Number of samples compared, and of samples that agree.
    n_searched : int
        Number of samples used to find a cause.
    difference : float
        Largest difference relative to the spread of the recorded outputs; 1 for a different label.
    tolerance : float
        Largest accepted difference.
    kind : str
        Compared outputs: "logits", "probabilities" or "labels".
    cause : tuple of str
        Likely differences of the service, such as "resample" or "channel order". Empty if the
        outputs agree or if ntkit finds no cause.
    words : tuple of str
        The cause in words, to complete a sentence that begins with "the service".
    explained : float
        Largest difference that remains with the cause, in those searched; NaN without a cause.
    fix : str
        Command-line options with which ntkit does the same as the service; may be empty.
    others : tuple of str
        Other causes that explain the outputs equally well.
    same_embeddings : bool
        Whether a new head for ntkit's embeddings fits the service's. It does if the outputs agree,
        or if only the softmax, the temperature or the rounding differs. It does not for another
        order of the classes.
    """

    matched: bool
    n_samples: int
    n_agreeing: int
    difference: float
    tolerance: float
    kind: str
    cause: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    explained: float = float("nan")
    fix: str = ""
    others: tuple[str, ...] = ()
    same_embeddings: bool = True
    n_searched: int = 0

    def summary(self) -> str:
        """Sentences on the agreement and on the likely cause of differences, one per line."""
        if self.matched:
            return (
                f"The {self.kind} agree on all {self.n_samples} samples. Largest difference: "
                f"{self._number(self.difference)}."
            )
        lines = [
            f"The {self.kind} differ on {self.n_samples - self.n_agreeing} of {self.n_samples} "
            f"samples. Largest difference"
            f"{', relative to their spread' * (self.kind != 'labels')}: "
            f"{self._number(self.difference)}, limit {self.tolerance:.0e}."
        ]
        if not self.cause and self.others:
            lines.append(
                f"No cause found: several explain the {self.kind} equally well. The service "
                f"{'; or it '.join(self.others)}. Record more samples, or logits."
            )
        elif not self.cause:
            lines.append(
                "No cause found. Compare the service's preprocessing with that of ntkit inspect."
            )
        if not self.cause:
            return "\n".join(lines)
        lines.append(
            f"Likely cause: {', '.join(self.cause)}. The service {'; it '.join(self.words)}."
        )
        tried = " tried" if self.n_searched < self.n_samples else ""
        lines.append(
            f"With this change, all {self.n_searched} samples{tried} agree. Largest difference: "
            f"{self._number(self.explained)}."
        )
        if self.others:
            lines.append(f"Equally likely: the service {'; or it '.join(self.others)}.")
        if self.fix:
            lines.append(f"To do the same in ntkit: {self.fix}")
        return "\n".join(lines)

    def _number(self, difference: float) -> str:
        return f"{difference:.1e}" if self.kind != "labels" else f"{difference:.0f}"

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        return {**self.__dict__, "summary": self.summary()}


# Differences up to this size come from float32 on a GPU and from the rounding of other decoders.
_TOLERANCE = 2e-3
# Another order of classes is not harmless: the embeddings agree, but either order may be right.
_HARMLESS = ("softmax", "temperature", "rounding")
_MOST_OTHERS = 3
_SEARCHED = 256  # samples used to find a cause


@documented
def check_parity(
    model: FrozenModel | str | os.PathLike[str],
    recorded: str | os.PathLike[str] | Mapping[str, Any],
    data: Any = None,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    tolerance: float | None = None,
    verbose: bool = False,
) -> Parity:
    """Compare ntkit's outputs of a model with the outputs that a service recorded.

    ntkit reads the samples, prepares the inputs and runs the model as in every command. If its
    outputs differ from the recorded ones, it tries other preprocessing and other outputs. For
    images these are size, crop, filter, channel order, scale, mean and std, layout and EXIF
    orientation. For texts they are lower-casing, special tokens, padding and truncation. For
    outputs they are softmax, temperature and the order of the classes. The likely cause is a change
    with which all samples agree, of at most 256. If there are many or none, ntkit reports no cause.

    Parameters
    ----------
    model : FrozenModel or path-like
        The model that the service runs.
    recorded : path-like or mapping of str to array-like
        An ``.npz`` file or a mapping with the service's outputs: ``logits`` (N, K),
        ``probabilities`` (N, K) or ``labels`` (N,). Of a model with one label of several
        (:meth:`~ntkit.FrozenModel.of_label`), these have a column for each label, or one for this
        label, and ``labels`` are 0 and 1. It names the inputs by one of these: ``files``
        (names in the folder ``data``), ``rows`` of ``data`` (counted from 0), ``texts`` (and
        ``text_pairs``), ``images`` (decoded pixels, uint8 of shape (N, H, W, 3)), or the model's
        inputs, as ``X`` or by their names. Without any of them, the outputs are those of all of
        ``data`` in its order.
    data : path-like, Samples or array-like, optional
        The samples; labels are optional.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        ntkit's preprocessing of images or texts; by default from the files of the model.
    {run.device}
    tolerance : float, optional
        Largest accepted difference, relative to the spread of the recorded outputs over the
        samples. By default 2e-3, and more for a coarser model: 8e-3 (float16), 2e-2 (quantised) or
        6e-2 (bfloat16). ntkit adds the rounding of the recorded numbers.
    {verbose}

    Returns
    -------
    Parity
        Whether the outputs agree, and if not, the likely cause.

    Raises
    ------
    InputError
        If the recording, the samples and the model do not fit together.
    {run.DeviceError, run.ModelError}

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.jobs.verify import check_parity
    >>> X = load_marked_digits().X_test[:40]
    >>> service = onnxruntime.InferenceSession(marked_digits_model_path())
    >>> logits = service.run(None, {"image": X})[0]
    >>> parity = check_parity(
    ...     marked_digits_model_path(), {"logits": logits[:, ::-1], "X": X}, device="cpu"
    ... )
    >>> parity.matched, parity.cause
    (False, ('class order',))
    """
    model = loaded(model)
    samples = None
    if data is not None:
        samples = read(data, model, labels="optional", preprocessing=preprocessing)
    names = tuple(tensor.name for tensor in model.inputs)
    if isinstance(recorded, Mapping):
        recorded = {
            name: ordered_inputs(values, model.inputs) if name in ("X", *names) else values
            for name, values in recorded.items()
        }
    record = read_recorded(recorded, names, max(1, len(model.label_names))).of_label(model)
    if record.kind == "labels" and model.label is None and model.label_names:
        raise InputError(str(model.not_single_label))
    with tempfile.TemporaryDirectory(prefix="ntkit-") as folder:
        subject = subject_of(model, record, samples, preprocessing, Path(folder))
        if subject.n_samples != len(record):
            raise InputError(
                f"{record.source} holds {len(record)} outputs, but {subject.n_samples} inputs. "
                "Record one output per input."
            )
        return _compared(model, record, subject, device, tolerance, verbose=verbose)


def _compared(
    model: FrozenModel,
    recorded: Recording,
    subject: Subject,
    device: Any,
    tolerance: float | None,
    *,
    verbose: bool,
) -> Parity:
    rows = np.arange(len(recorded))
    start = partial(make_session, device=device)
    run = Logits(model, subject, start, decided=recorded.kind == "labels")
    parts = list[Array]()
    with progress_bar(shown=verbose, desc="comparing", total=len(rows), unit=" samples") as bar:
        for begin in range(0, len(rows), _SEARCHED):  # all inputs may not fit into memory
            parts.append(run(subject.settings, rows[begin : begin + _SEARCHED], strict=True))
            bar.update(len(parts[-1]))
    logits = np.concatenate(parts)
    dtype = recorded.outputs.dtype.name
    within = tolerance if tolerance is not None else max(_TOLERANCE, tolerance_of(model, dtype))
    outputs = outputs_of(model, recorded, rows, within, logits.shape[1])
    base = Trial((), outputs.differences(logits, outputs.declared))
    differ = base.differences > within
    result = Parity(
        matched=not differ.any(),
        n_samples=len(rows),
        n_agreeing=int((~differ).sum()),
        difference=float(base.differences.max()),
        tolerance=within,
        kind=recorded.kind,
        n_searched=min(_SEARCHED, len(rows)),
    )
    if result.matched:
        return result
    if len(rows) > _SEARCHED:
        wrong = _spread(
            np.flatnonzero(differ), max(_SEARCHED // 2, _SEARCHED - int((~differ).sum()))
        )
        right = _spread(np.flatnonzero(~differ), _SEARCHED - len(wrong))
        chosen = np.sort(np.concatenate([wrong, right]))
        rows, logits = rows[chosen], logits[chosen]
        outputs = outputs_of(model, recorded, rows, within, logits.shape[1])
        base = Trial((), outputs.differences(logits, outputs.declared))
    search = Search(subject, outputs, lambda settings, some: run(settings, rows[some]), logits)
    return _with_cause(result, search.causes())


def _spread(rows: Array, most: int) -> Array:
    """At most so many rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)])


def _with_cause(result: Parity, whole: list[Trial]) -> Parity:
    """The result with a cause that explains all samples."""
    alike = _rivals(whole)
    if not whole or len(alike) > _MOST_OTHERS:
        return replace(result, others=tuple(map(_in_words, whole[:4])), same_embeddings=False)
    best = whole[0]
    steps = " ".join(change.fix for change in best.changes)
    return replace(
        result,
        cause=tuple(change.what for change in best.changes),
        words=tuple(change.words for change in best.changes),
        explained=float(best.differences.max()),
        fix=f'--preprocessing "{steps}"' if all(change.fix for change in best.changes) else "",
        others=tuple(map(_in_words, alike)),
        same_embeddings=all(change.what in _HARMLESS for change in best.changes),
    )


def _rivals(whole: list[Trial]) -> list[Trial]:
    """Other trials that explain all samples about as well as the first, one of each kind."""
    kinds = dict[frozenset[str], Trial]()
    for tried in whole:
        if tried.distance <= max(3 * whole[0].distance, 1e-5):
            kinds.setdefault(tried.whats, tried)
    return [*kinds.values()][1:]


def _in_words(tried: Trial) -> str:
    return " and ".join(change.words for change in tried.changes)


Run = Callable[[Any, Array], Array | None]
_TRIED_ON = 8  # samples for the first trials
_TRIED_ON_BY_LABELS = 16  # labels carry less information
_BEAM = 4
_DEPTH = 3
_ALIKE = 3.0


@dataclass(frozen=True)
class Trial:
    """Changes of inputs and outputs, and the difference of each sample from the recording."""

    changes: tuple[Cause, ...]
    differences: Array  # (n,), relative to the spread of the outputs

    @property
    def distance(self) -> float:
        """Root mean square of the differences."""
        return float(np.sqrt((self.differences**2).mean()))

    @property
    def whats(self) -> frozenset[str]:
        """Names of the changes."""
        return frozenset(change.what for change in self.changes)

    def agrees(self, tolerance: float) -> bool:
        """Whether every sample is within a tolerance."""
        return bool((self.differences <= tolerance).all())


def _best_first(found: list[Trial]) -> list[Trial]:
    """Trials by distance; among similar distances, the most usual first."""
    nearest = min((tried.distance for tried in found), default=0.0)
    near = max(_ALIKE * nearest, 1e-5)

    def key(tried: Trial) -> tuple[bool, int, float]:
        far = tried.distance > near
        return far, 0 if far else sum(c.usual for c in tried.changes), tried.distance

    return sorted(found, key=key)


class Search:
    """A search for causes, with all trials on a few samples."""

    # `run` returns logits for settings and rows, None if they make no inputs. `logits` holds those
    # of all samples without a change.

    def __init__(self, subject: Subject, outputs: Outputs, run: Run, logits: Array) -> None:
        self._subject, self._outputs, self._run, self._base = subject, outputs, run, logits
        n_rows = _TRIED_ON_BY_LABELS if outputs.recorded.ndim == 1 else _TRIED_ON
        self.rows = _telling_rows(outputs.differences(logits, outputs.declared), n_rows)
        self._seen = [logits[self.rows]]
        self._changes = subject.changes()
        self.tried = list[Trial]()

    def causes(self) -> list[Trial]:
        """Trials that explain every sample with the fewest changes."""
        # The rounds stop as soon as some changes explain every sample; the best come first.
        causes = [
            tried
            for tried in self._readings((), self._base, once=True)[1:]
            if tried.agrees(self._outputs.tolerance)
        ]
        if not causes:
            causes = next(filter(None, map(self.confirmed, self.rounds())), [])
        return _best_first(_fewest(causes))

    def rounds(self) -> Iterable[list[Trial]]:
        """New trials, round after round: single changes, pipelines, then combinations."""
        single = self._try((change,) for change in self._changes)
        yield single
        yield self._try(self._subject.pipelines())
        for _ in range(_DEPTH - 1):
            yield self._try(
                (*kept, change)
                for kept in self._promising()
                for change in self._changes
                if change.place not in {known.place for known in kept}
            )

    def confirmed(self, states: list[Trial]) -> list[Trial]:
        """Trials that explain the few samples, and all samples as well."""
        tolerance, everything = self._outputs.tolerance, np.arange(len(self._outputs))
        confirmed = list[Trial]()
        for tried in _fewest([tried for tried in states if tried.agrees(tolerance)]):
            inside = _inside(tried.changes)
            logits = self._logits(inside, everything)
            if logits is not None:
                again = self._readings(inside, logits)
                confirmed += [one for one in again if one.whats == tried.whats]
        return [tried for tried in confirmed if tried.agrees(tolerance)]

    def _try(self, combinations: Iterable[tuple[Cause, ...]]) -> list[Trial]:
        new = list[Trial]()
        for changes in combinations:
            logits = self._logits(changes, self.rows)
            if logits is None or any(np.array_equal(logits, seen) for seen in self._seen):
                continue
            self._seen.append(logits)
            new += self._readings(changes, logits, self.rows)
        self.tried += new
        return new

    def _logits(self, changes: Sequence[Cause], rows: Array) -> Array | None:
        return self._run(changed(self._subject.settings, changes), rows)

    def _readings(
        self, changes: tuple[Cause, ...], logits: Array, rows: Any = slice(None), **options: bool
    ) -> list[Trial]:
        outputs = self._outputs
        return [
            Trial((*changes, *outputs.changes(reading)), outputs.differences(logits, reading, rows))
            for reading in (outputs.declared, *outputs.readings(logits, rows, **options))
        ]

    def _promising(self) -> list[tuple[Cause, ...]]:
        """The changes of inputs with the smallest distances so far."""
        kept = list[tuple[Cause, ...]]()
        for tried in sorted(self.tried, key=lambda tried: tried.distance):
            inside = _inside(tried.changes)
            if inside not in kept:
                kept.append(inside)
            if len(kept) == _BEAM:
                break
        return kept


def _fewest(found: list[Trial]) -> list[Trial]:
    """Trials with the smallest number of changes."""
    fewest = min((len(tried.changes) for tried in found), default=0)
    return [tried for tried in found if len(tried.changes) == fewest]


def _inside(changes: tuple[Cause, ...]) -> tuple[Cause, ...]:
    return tuple(change for change in changes if change.inside)


def _telling_rows(differences: Array, few: int) -> Array:
    """Rows of a few samples: half differ most, half are spread over the others."""
    order = np.argsort(-differences, kind="stable")
    if len(order) <= few:
        return np.sort(order)
    half = few // 2
    spread = np.linspace(half, len(order) - 1, half).round().astype(np.intp)
    return np.sort(np.concatenate([order[:half], order[spread]]))

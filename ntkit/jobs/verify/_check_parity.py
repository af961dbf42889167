"""Compare what ntkit computes with what a service recorded of its own outputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, TextPreprocessing
from ntkit.jobs.verify._change import Change, Subject, changed
from ntkit.jobs.verify._outputs import Logits, Outputs, outputs_of
from ntkit.jobs.verify._recorded import Recording, read_recorded, subject_of
from ntkit.model import FrozenModel, loaded
from ntkit.samples import read
from ntkit.verification import tolerance_of


@dataclass(frozen=True)
class Parity:
    """Comparison with a service's own outputs; :func:`check_parity` makes it.

    Attributes
    ----------
    matched : bool
        Whether ntkit computes what was recorded, for every sample.
    n_samples, n_agreeing : int
        Samples compared, and those of them that agree.
    n_recorded, n_searched : int
        Samples that were recorded, and those that a cause was looked for on.
    difference : float
        Largest difference, relative to how far the recorded outputs vary (of labels: 1 if one
        differs).
    tolerance : float
        Largest difference accepted.
    kind : str
        What was compared: "logits", "probabilities" or "labels".
    cause : tuple of str
        What the service does differently ("resample", "channel order"), perhaps several things
        together; empty if they agree, and if no cause was found.
    words : tuple of str
        The same in words, to go on with "the service …".
    explained : float
        Largest difference that is left with the cause; NaN without one.
    fix : str
        Options of the command line with which ntkit does as the service; may be empty.
    others : tuple of str
        What explains the outputs as well.
    same_embeddings : bool
        Whether a head for ntkit's embeddings is one for the service's: the outputs agree, or what
        differs is done to outputs only (softmax, temperature; not another order of the classes)
        or is a matter of rounding.
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
    n_recorded: int = 0
    n_searched: int = 0

    def summary(self) -> str:
        """Whether they agree, and if not, why: one to four sentences, a line each."""
        if self.matched:
            return (
                f"The {self.kind} agree on all {self.n_samples} samples{self._of_all()} (largest "
                f"difference {self._much(self.difference)})."
            )
        lines = [
            f"The {self.kind} differ on {self.n_samples - self.n_agreeing} of {self.n_samples} "
            f"samples{self._of_all()} (largest difference {self._much(self.difference)}, at most "
            f"{self.tolerance:.0e} is accepted"
            f"{', relative to how far they vary' * (self.kind != 'labels')})."
        ]
        if not self.cause:
            return "\n".join([*lines, self._nothing()])
        lines.append(
            f"Likely cause: {', '.join(self.cause)}. The service {'; it '.join(self.words)}."
        )
        tried = " that were tried" if self.n_searched < self.n_samples else ""
        if self.explained <= self.tolerance:
            lines.append(
                f"So computed, all {self.n_searched} samples{tried} agree (largest difference "
                f"{self._much(self.explained)})."
            )
        else:
            lines.append(
                f"So computed, a difference of {self._much(self.explained)} is left; nothing else "
                "that was tried comes near."
            )
        if self.others:
            lines.append(f"As good an explanation: the service {'; or it '.join(self.others)}.")
        if self.fix:
            lines.append(f"ntkit does the same with {self.fix}.")
        return "\n".join(lines)

    def _of_all(self) -> str:
        """Number of recorded samples, if not all were compared."""
        looked_at = self.n_samples < self.n_recorded
        return f" looked at, of {self.n_recorded} recorded" if looked_at else ""

    def _nothing(self) -> str:
        if self.others:
            return (
                f"No cause found: several explain the {self.kind} alike (the service "
                f"{'; or it '.join(self.others)}). Record more samples, or logits."
            )
        return "No cause found among what was tried."

    def _much(self, difference: float) -> str:
        return f"{difference:.1e}" if self.kind != "labels" else f"{difference:.0f}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {**self.__dict__, "summary": self.summary()}


# What float32 on a GPU, and another decoder's rounding, may make of the same pixels.
_TOLERANCE = 2e-3
# Of an order of classes it is not known whose is right, though embeddings are the same.
_HARMLESS = ("softmax", "temperature", "rounding")
_MOST_OTHERS = 3
_SEARCHED = 256  # samples on which causes are looked for


@documented
def check_parity(
    model: FrozenModel | str | os.PathLike[str],
    recorded: str | os.PathLike[str] | Mapping[str, Any],
    data: Any = None,
    *,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    tolerance: float | None = None,
    n_samples: int | None = None,
) -> Parity:
    """Compare what ntkit computes with the outputs that a service recorded.

    ntkit reads the samples, makes inputs of them and runs the model, as all its jobs do. If
    the outputs differ from the recorded ones, other ways to make inputs and outputs are tried:
    size, crop, filter, channel order, scale, mean and std, layout, EXIF orientation; lower-casing,
    special tokens, padding, truncation; softmax, temperature, the order of the classes. The
    likely cause is the one with which all samples agree, or one that comes far nearer than all
    others. If several do, or none, no cause is named.

    Parameters
    ----------
    model : FrozenModel or path-like
        The model that the service runs.
    recorded : path-like or mapping of str to array-like
        An ``.npz`` file with the service's outputs, as ``logits`` (N, K), ``probabilities``
        (N, K), or ``labels`` (N,), which must not contradict the others, and their inputs:
        ``files`` (names below the folder ``data``), ``rows`` of ``data`` from 0 on,
        ``texts`` (and ``text_pairs``), ``images`` (decoded pixels, uint8 of shape (N, H, W, 3)),
        or what went into the model, as ``X`` or by the names of its inputs. Without any of them:
        all of ``data``, in its order.
    data : path-like, Samples or array-like, optional
        The samples; they need no labels.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        What ntkit does to images or texts; by default what is found beside the model.
    {run.device}
    tolerance : float, optional
        Largest difference accepted, relative to how far the recorded outputs vary from sample to
        sample; by default 2e-3, and for a coarser model 8e-3 (float16), 2e-2 (quantised) or 6e-2
        (bfloat16). The rounding of the recorded numbers is allowed for besides.
    n_samples : int, optional
        Most samples to compare, spread over what was recorded; by default all of them. If some
        differ, causes are looked for on up to 256.

    Returns
    -------
    Parity
        Whether they agree, and the likely cause if not.

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
    if n_samples is not None and n_samples < 1:
        raise InputError(f"n_samples must be at least 1; got {n_samples}.")
    model = loaded(model)
    samples = None
    if data is not None:
        samples = read(data, model, labels="optional", preprocessing=preprocessing)
    record = read_recorded(recorded, tuple(tensor.name for tensor in model.inputs))
    with tempfile.TemporaryDirectory(prefix="ntkit-") as folder:
        subject = subject_of(model, record, samples, preprocessing, Path(folder))
        if subject.n_samples != len(record):
            raise InputError(
                f"{record.source} holds outputs of {len(record)} samples, but {subject.n_samples} "
                "inputs."
            )
        return _compared(model, record, subject, device, tolerance, n_samples)


def _compared(
    model: FrozenModel,
    recorded: Recording,
    subject: Subject,
    device: str,
    tolerance: float | None,
    most: int | None,
) -> Parity:
    rows = _spread(np.arange(len(recorded)), len(recorded) if most is None else most)
    run = Logits(model, subject, rows, device)
    parts = list[Array]()
    for begin in range(0, len(rows), _SEARCHED):  # the inputs of all at once may be too large
        part = np.arange(begin, min(begin + _SEARCHED, len(rows)))
        values = run(subject.settings, part, strict=True)
        if values is None:
            raise InputError("The samples make no inputs of the model.")
        parts.append(values)
    logits = np.concatenate(parts)
    dtype = recorded.outputs.dtype.name
    within = tolerance if tolerance is not None else max(_TOLERANCE, tolerance_of(model, dtype))
    outputs = outputs_of(model, recorded, rows, within, logits.shape[1])
    base = Trial((), outputs.differences(logits, outputs.declared))
    result = Parity(
        matched=base.agrees(within),
        n_samples=len(rows),
        n_agreeing=int((base.differences <= within).sum()),
        difference=float(base.differences.max()),
        tolerance=within,
        kind=recorded.kind,
        n_recorded=len(recorded),
        n_searched=min(_SEARCHED, len(rows)),
    )
    if result.matched:
        return result
    if len(rows) > _SEARCHED:
        differ = base.differences > within
        wrong = _spread(np.flatnonzero(differ), max(_SEARCHED // 2, _SEARCHED - (~differ).sum()))
        right = _spread(np.flatnonzero(~differ), _SEARCHED - len(wrong))
        chosen = np.sort(np.concatenate([wrong, right]))
        rows, logits = rows[chosen], logits[chosen]
        run = Logits(model, subject, rows, device)
        outputs = outputs_of(model, recorded, rows, within, logits.shape[1])
        base = Trial((), outputs.differences(logits, outputs.declared))
    whole, partly = Search(subject, outputs, run, logits).causes()
    return _with_cause(result, whole, partly, base)


def _spread(rows: Array, most: int) -> Array:
    """At most so many of some rows, spread over them."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)])


def _with_cause(result: Parity, whole: list[Trial], partly: list[Trial], base: Trial) -> Parity:
    """Name what explains all samples, or what comes far nearer than all else."""
    if whole:
        best, alike = whole[0], _rivals(whole)
        if len(alike) > _MOST_OTHERS:
            return replace(result, others=tuple(map(_in_words, whole[:4])), same_embeddings=False)
        return _named(result, best, alike)
    near = [tried for tried in partly if tried.distance <= 1.1 * partly[0].distance]
    simplest = min(near, key=lambda tried: len(tried.changes), default=None)
    if simplest is not None and is_far_better(simplest, partly, base.distance):
        return _named(result, simplest, [])
    return replace(result, same_embeddings=False)


def _named(result: Parity, best: Trial, alike: list[Trial]) -> Parity:
    return replace(
        result,
        cause=tuple(change.what for change in best.changes),
        words=tuple(change.words for change in best.changes),
        explained=float(best.differences.max()),
        fix=" ".join(c.fix for c in best.changes) if all(c.fix for c in best.changes) else "",
        others=tuple(map(_in_words, alike)),
        same_embeddings=all(change.what in _HARMLESS for change in best.changes),
    )


def _rivals(whole: list[Trial]) -> list[Trial]:
    """Other trials that explain all samples and leave hardly more."""
    best = whole[0]
    near = max(3 * best.distance, 1e-5)
    rivals, seen = list[Trial](), {best.whats}
    for tried in whole[1:]:
        if tried.distance <= near and tried.whats not in seen:
            seen.add(tried.whats)
            rivals.append(tried)
    return rivals


def _in_words(tried: Trial) -> str:
    return " and ".join(change.words for change in tried.changes)


Run = Callable[[Any, Array], Array | None]
_TRIED_ON = 8  # samples on which everything is tried
_TRIED_ON_BY_LABELS = 16  # which say less
_BEAM = 4
_DEPTH = 3
_MOST_SHARE_LEFT = 0.2  # of the difference that there was, for a cause that does not explain all
_MOST_SHARE_OF_NEXT = 0.4  # of the difference that the next best leaves
_MOST_UNCERTAIN = 2  # changes of such a cause
_ALIKE = 3.0


@dataclass(frozen=True)
class Trial:
    """Changes of inputs and then of outputs, and how far each sample is from what was recorded."""

    changes: tuple[Change, ...]
    differences: Array  # (n,), relative to how far the outputs vary

    @property
    def distance(self) -> float:
        """Root mean square of the differences."""
        return float(np.sqrt((self.differences**2).mean()))

    @property
    def whats(self) -> frozenset[str]:
        """Names of what is changed."""
        return frozenset(change.what for change in self.changes)

    def agrees(self, tolerance: float) -> bool:
        """Whether no sample differs by more than a tolerance."""
        return bool((self.differences <= tolerance).all())


def is_far_better(best: Trial, others: Iterable[Trial], before: float) -> bool:
    """Whether a cause that does not explain all is still far better than any other."""
    # What holds all that the cause holds is no rival; `before` is the distance without a change.
    rivals = [tried.distance for tried in others if not tried.whats >= best.whats]
    next_best = min(rivals, default=before)
    if len(best.changes) > _MOST_UNCERTAIN:
        return False
    return best.distance <= min(_MOST_SHARE_LEFT * before, _MOST_SHARE_OF_NEXT * next_best)


def _best_first(found: list[Trial]) -> list[Trial]:
    """Trials by distance; of those about as near, the most usual first."""
    nearest = min((tried.distance for tried in found), default=0.0)
    near = max(_ALIKE * nearest, 1e-5)

    def key(tried: Trial) -> tuple[bool, int, float]:
        far = tried.distance > near
        return far, 0 if far else sum(c.usual for c in tried.changes), tried.distance

    return sorted(found, key=key)


class Search:
    """A search for causes, with all trials so far on a few samples."""

    # `run` gives logits for settings of the subject and some rows, None where they make no inputs;
    # `logits` are those of all samples with nothing changed.

    def __init__(self, subject: Subject, outputs: Outputs, run: Run, logits: Array) -> None:
        self._subject, self._outputs, self._run, self._base = subject, outputs, run, logits
        n_rows = _TRIED_ON_BY_LABELS if outputs.recorded.ndim == 1 else _TRIED_ON
        self.rows = _telling_rows(outputs.differences(logits, outputs.declared), n_rows)
        self._seen = [logits[self.rows]]
        self._changes = subject.changes()
        self.tried = list[Trial]()

    def causes(self) -> tuple[list[Trial], list[Trial]]:
        """Trials that explain every sample with the fewest changes, and all trials by distance."""
        # Changes are tried until some do; the best come first.
        causes = [
            tried
            for tried in self._readings((), self._base, once=True)[1:]
            if tried.agrees(self._outputs.tolerance)
        ]
        if not causes:
            causes = next(filter(None, map(self.confirmed, self.rounds())), [])
        return _best_first(_fewest(causes)), sorted(self.tried, key=lambda tried: tried.distance)

    def rounds(self) -> Iterable[list[Trial]]:
        """New things to try, round after round: single changes, pipelines, then combinations."""
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
        """Trials that explain the few samples, and then all."""
        tolerance, everything = self._outputs.tolerance, np.arange(len(self._outputs))
        confirmed = list[Trial]()
        for tried in _fewest([tried for tried in states if tried.agrees(tolerance)]):
            inside = _inside(tried.changes)
            logits = self._logits(inside, everything)
            if logits is not None:
                again = self._readings(inside, logits)
                confirmed += [one for one in again if one.whats == tried.whats]
        return [tried for tried in confirmed if tried.agrees(tolerance)]

    def _try(self, combinations: Iterable[tuple[Change, ...]]) -> list[Trial]:
        new = list[Trial]()
        for changes in combinations:
            logits = self._logits(changes, self.rows)
            if logits is None or any(np.array_equal(logits, seen) for seen in self._seen):
                continue
            self._seen.append(logits)
            new += self._readings(changes, logits, self.rows)
        self.tried += new
        return new

    def _logits(self, changes: Sequence[Change], rows: Array) -> Array | None:
        return self._run(changed(self._subject.settings, changes), rows)

    def _readings(
        self, changes: tuple[Change, ...], logits: Array, rows: Any = slice(None), **options: bool
    ) -> list[Trial]:
        outputs = self._outputs
        return [
            Trial((*changes, *outputs.changes(reading)), outputs.differences(logits, reading, rows))
            for reading in (outputs.declared, *outputs.readings(logits, rows, **options))
        ]

    def _promising(self) -> list[tuple[Change, ...]]:
        """Changes of inputs that came nearest so far."""
        kept = list[tuple[Change, ...]]()
        for tried in sorted(self.tried, key=lambda tried: tried.distance):
            inside = _inside(tried.changes)
            if inside not in kept:
                kept.append(inside)
            if len(kept) == _BEAM:
                break
        return kept


def _fewest(found: list[Trial]) -> list[Trial]:
    """Trials with as few changes as any has."""
    fewest = min((len(tried.changes) for tried in found), default=0)
    return [tried for tried in found if len(tried.changes) == fewest]


def _inside(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in changes if change.inside)


def _telling_rows(differences: Array, few: int) -> Array:
    """A few samples: half of them those that differ most, half spread over the others."""
    order = np.argsort(-differences, kind="stable")
    if len(order) <= few:
        return np.sort(order)
    half = few // 2
    spread = np.linspace(half, len(order) - 1, half).round().astype(np.intp)
    return np.sort(np.concatenate([order[:half], order[spread]]))

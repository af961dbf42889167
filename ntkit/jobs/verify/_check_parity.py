"""Compare what ntkit computes with what a service recorded of its own outputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, TextPreprocessing
from ntkit.jobs.verify._change import Subject
from ntkit.jobs.verify._outputs import Logits, outputs_of
from ntkit.jobs.verify._recorded import Recording, read_recorded, subject_of
from ntkit.jobs.verify._result import Parity
from ntkit.jobs.verify._search import Search, Trial, is_far_better
from ntkit.model import FrozenModel, loaded
from ntkit.samples import read
from ntkit.verification import tolerance_of

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
    found = read_recorded(recorded, tuple(tensor.name for tensor in model.inputs))
    with tempfile.TemporaryDirectory(prefix="ntkit-") as folder:
        subject = subject_of(model, found, samples, preprocessing, Path(folder))
        if subject.n_samples != len(found):
            raise InputError(
                f"{found.source} holds outputs of {len(found)} samples, but {subject.n_samples} "
                "inputs."
            )
        return _compared(model, found, subject, device, tolerance, n_samples)


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
        found = run(subject.settings, part, strict=True)
        if found is None:
            raise InputError("The samples make no inputs of the model.")
        parts.append(found)
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
        few = np.sort(np.concatenate([wrong, right]))
        rows, logits = rows[few], logits[few]
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
    """What explains all samples by something else, and leaves hardly more."""
    best = whole[0]
    near = max(3 * best.distance, 1e-5)
    found, seen = list[Trial](), {best.whats}
    for tried in whole[1:]:
        if tried.distance <= near and tried.whats not in seen:
            seen.add(tried.whats)
            found.append(tried)
    return found


def _in_words(tried: Trial) -> str:
    return " and ".join(change.words for change in tried.changes)

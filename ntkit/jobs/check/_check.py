"""May a model take another one's place? Two models, or one alone, held to limits on a sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, TextPreprocessing
from ntkit.jobs.check._limits import Limits, SliceLimits, limits_of
from ntkit.jobs.check._predictions import check_predictions, refuse_untellable
from ntkit.jobs.check._result import CheckResult
from ntkit.jobs.check._slices import slices_of
from ntkit.jobs.predict import called, matched, matches_of, outcomes_of, running
from ntkit.metrics import class_order
from ntkit.model import FrozenModel
from ntkit.model.class_names import are_positions
from ntkit.samples import Match, read

DEFAULT_DROP = 5.0
"""Points that may be lost where no limit is given."""


@documented
def check(
    old: Any,
    new: Any,
    data: Any,
    *,
    limits: Any = None,
    slices: Sequence[str] = (),
    answers: str | os.PathLike[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
) -> CheckResult:
    """Check whether a model may take another one's place, by limits on a labelled sample.

    Both models predict the same samples. Average accuracy, every class, every group, every named
    slice and every class within it are compared, sample by sample. Each limit passes if an exact
    interval lies wholly on its good side, fails if it lies wholly on the bad side, and else
    there are *too few samples to say*: a small group never passes because it is small.

    Parameters
    ----------
    old : FrozenModel, path-like or None
        The model that is in place. None: the new one alone is held to limits.
    new : FrozenModel or path-like
        The model that is to take its place.
    data : path-like, Samples or tuple (X, y) or (X, y, groups)
        Labelled samples that neither was trained on, as :func:`ntkit.debias` takes them. Groups are
        -1 where they are not known.
    limits : Limits, mapping or path-like, optional
        :class:`ntkit.jobs.check.Limits`, its keywords, or a TOML file of them. By default two
        models are held to a drop of at most 5 points, everywhere.
    slices : sequence of str, optional
        More slices to look at, by the names of attributes: ``word:film``, ``column:age>=40``,
        ``metadata:site=B``, ``picture:brightness high``; ``column:site`` stands for all its values.
    answers : path-like, optional
        ``answers.json`` of an audit's page: every class × value of what is spurious there is a
        slice.
    metadata, key : optional
        As in :func:`ntkit.audit_model`.
    {job.preprocessing, job.device, verbose}

    Returns
    -------
    CheckResult
        With ``outcome``, ``exit_code``, ``rows`` and ``as_dict()``.

    Raises
    ------
    {job.InputError, head.VerificationError}

    Notes
    -----
    The interval of a drop inverts Tango's score test of paired proportions (Stat. Med. 17, 1998),
    made exact in the way of Berger and Boos (JASA 89, 1994); that of an accuracy or a share is
    Clopper and Pearson's (Biometrika 26, 1934). A check passes only if all limits pass, so each is
    tested at level ``alpha`` for it (an intersection-union test). It fails if one fails, so
    failures are tested at ``alpha`` over the number of limits compared (Bonferroni). Either way a
    whole check is wrong with a probability of at most 5 %.

    Examples
    --------
    >>> import ntkit
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> digits = load_marked_digits()
    >>> data = (digits.X_test, digits.y_test, digits.groups_test)
    >>> model = marked_digits_model_path()
    >>> ntkit.check(model, model, data, limits={"max_drop": 2}, device="cpu")
    CheckResult(pass: 7 pass, 0 fail, 0 too few; 2000 samples)
    """
    reader = partial(read, data, preprocessing=preprocessing)
    return check_read(
        matches_of([new] if old is None else [old, new], reader),
        limits=limits_of(limits),
        slices=slices,
        answers=answers,
        metadata=metadata,
        key=key,
        device=device,
        batch_size=batch_size,
        verbose=verbose,
        sure_of_classes=isinstance(old, FrozenModel) and old.classes_source == "given",
    )


def check_read(
    models: Sequence[Match],
    *,
    limits: Limits,
    slices: Sequence[str] = (),
    answers: str | os.PathLike[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
    sure_of_classes: bool = False,
) -> CheckResult:
    """As :func:`check`, of the new model alone or the old and the new one, with their samples."""
    limits, notes = _with_default(limits, compared=len(models) == 2)
    samples = models[-1].samples
    if not len(samples):
        raise InputError("There are no samples to check on.")
    refuse_untellable(limits, compared=len(models) == 2, grouped=samples.groups is not None)
    names = _titles(models)
    models = [
        matched(each, name=name, strict=True) for each, name in zip(models, names, strict=True)
    ]
    found, asked, more = slices_of(
        samples,
        [*dict.fromkeys([*limits.slices, *slices])],
        answers=answers,
        metadata=metadata,
        key=key,
    )
    own = {each: limits.slices.get(name, SliceLimits()) for each, name in asked.items()}
    predicted = list[Array]()
    for each, name in zip(models, names, strict=True):
        embedder = running(each, device=device, batch_size=batch_size, verbose=verbose)
        notes += [*each.notes]
        parts = outcomes_of(each, embedder)
        labels = each.classes[np.concatenate([part.index for part in parts])]
        # An old model that is misread makes any new one look good; a new one fails by itself.
        in_place = len(models) == 2 and each is models[0]
        notes += _on_order(each, labels, name, refuse=in_place and not sure_of_classes)
        predicted.append(labels)
    return check_predictions(
        samples.y,
        predicted[-1],
        y_pred_before=predicted[0] if len(models) == 2 else None,
        groups=_groups(samples.groups),
        slices=found,
        classes=models[-1].classes,
        names=samples.names,
        limits=replace(limits, slices=own),
        title=" in the place of ".join(reversed(names)) if len(models) == 2 else names[0],
        notes=[*notes, *more],
    )


def _with_default(limits: Limits, *, compared: bool) -> tuple[Limits, list[str]]:
    if limits.stated or not compared:
        return limits, []
    said = f"No limit was given: a drop of at most {DEFAULT_DROP:g} points is allowed."
    return replace(limits, max_drop=DEFAULT_DROP), [said]


def _titles(models: Sequence[Match]) -> list[str]:
    """What to call the models: their files, with folders where these have one name."""
    otherwise = ("the old model", "the new model") if len(models) == 2 else ("the model",)
    found = [called(each.model, name) for each, name in zip(models, otherwise, strict=True)]
    if len(set(found)) == len(found):
        return found
    paths = [each.model.path for each in models]
    return [
        name if path is None else f"{path.parent.name}/{path.name}"
        for name, path in zip(found, paths, strict=True)
    ]


def _on_order(match: Match, predicted: Array, name: str, *, refuse: bool) -> list[str]:
    """Say that the classes seem to be in another order, or refuse it where the order is a guess."""
    order = class_order(match.samples.y, predicted, match.classes)
    if order is None:
        return []
    guessed = match.model.matched_by is not None or are_positions(match.classes.tolist())
    if refuse and guessed:
        raise InputError(f"{name}: {order.sentence()}")
    return [f"{name}: {order.sentence()}"]


def _groups(groups: Any) -> Any:
    """Group labels, of which the text "-1", as tables write it, is the unknown one."""
    if groups is None or not isinstance(groups, np.ndarray) or groups.dtype.kind != "U":
        return groups
    known = groups.astype(object)
    known[groups == "-1"] = None
    return known

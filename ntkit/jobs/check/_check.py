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
from ntkit.attributes import NobodyHas, layer_of, read_answers
from ntkit.changes import Change, changes_given
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.jobs.audit import AttributeReader
from ntkit.jobs.check._judge import check_predictions, refuse_untellable
from ntkit.jobs.check._limits import Limits, SliceLimits, limits_of
from ntkit.jobs.check._result import CheckResult
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
    invariant: Any = None,
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
        ``metadata:site=B``, ``image:brightness high``; ``column:site`` stands for all its values.
    invariant : str, Change, or sequence of these, optional
        Changes of the inputs that must not alter the right answer, as
        :func:`ntkit.changes.change_named` makes them: ``image:jpeg=75``, ``word:please``,
        ``column:sex``. For each the predictions that flip are held to ``max_flip_rate``, and with
        two models must not surely be more than before.
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
        invariant=invariant,
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
    invariant: Any = None,
    answers: str | os.PathLike[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    verbose: bool = False,
    sure_of_classes: bool = False,
) -> CheckResult:
    """As :func:`check`, of the new model alone or the old and the new one, with their samples."""
    notes = list[str]()
    changes = {change.name: change for change in changes_given([*limits.changes], invariant)}
    limits = limits.with_changes(changes)
    if len(models) == 2 and not limits.stated:
        limits = replace(limits, max_drop=DEFAULT_DROP)
        notes.append(f"No limit was given: a drop of at most {DEFAULT_DROP:g} points is allowed.")
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
    of_slices = {each: limits.slices.get(name, SliceLimits()) for each, name in asked.items()}
    predicted, flips = list[Array](), list[dict[str, Array]]()
    for each, name in zip(models, names, strict=True):
        embedder = running(each, device=device, batch_size=batch_size, verbose=verbose)
        notes += [*each.notes]
        parts = outcomes_of(each, embedder)
        labels = each.classes[np.concatenate([part.index for part in parts])]
        # An old model that is misread makes any new one look good; a new one fails by itself.
        in_place = len(models) == 2 and each is models[0]
        notes += _on_order(each, labels, name, refuse=in_place and not sure_of_classes)
        predicted.append(labels)
        flips.append({n: _flips(each, embedder, labels, change) for n, change in changes.items()})
    return check_predictions(
        samples.y,
        predicted[-1],
        y_pred_before=predicted[0] if len(models) == 2 else None,
        groups=_groups(samples.groups),
        slices=found,
        flips=flips[-1],
        flips_before=flips[0] if len(models) == 2 else None,
        classes=models[-1].classes,
        names=samples.names,
        limits=replace(limits, slices=of_slices),
        title=" in the place of ".join(reversed(names)) if len(models) == 2 else names[0],
        notes=[*notes, *more],
    )


def _flips(match: Match, embedder: OnnxEmbedder, labels: Array, change: Change) -> Array:
    """Whose prediction is another one of the copy: 1, 0, or −1 without a copy; int8, (N,)."""
    copies, at = change.copies(match.samples)
    flips = np.full(len(labels), -1, dtype=np.int8)
    if len(at):
        parts = outcomes_of(replace(match, samples=copies), embedder)
        flips[at] = match.classes[np.concatenate([part.index for part in parts])] != labels[at]
    return flips


def _titles(models: Sequence[Match]) -> list[str]:
    """Names of the models: their files, with folders if these have one name."""
    otherwise = ("the old model", "the new model") if len(models) == 2 else ("the model",)
    names = [called(each.model, name) for each, name in zip(models, otherwise, strict=True)]
    if len(set(names)) == len(names):
        return names
    paths = [each.model.path for each in models]
    return [
        name if path is None else f"{path.parent.name}/{path.name}"
        for name, path in zip(names, paths, strict=True)
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


_MOST_VALUES = 50  # of a column that is named as a whole


class _Reader(AttributeReader):
    """Reads attributes; one that no sample has is noted, and nobody is in its slice."""

    def __init__(self, samples: Samples, metadata: Any, key: str | None) -> None:
        super().__init__([samples], metadata, key)
        self.notes = [] if self.beside is None else [self.beside.note]

    def _read(self, name: str, rule: Any) -> Array:
        try:
            return super()._read(name, rule)
        except NobodyHas as error:
            self.notes.append(str(error))
            return np.zeros(self.n, dtype=np.int8)

    def slices(self, names: Sequence[Sequence[str]]) -> dict[str, Array]:
        """Membership in each value of an attribute: 1, 0, or −1 if it is not known; int8, (N,)."""
        attribute = self.attribute(tuple(map(tuple, names)), fewest=1, most=_MOST_VALUES)
        if len(attribute.names) > _MOST_VALUES:
            name = attribute.name
            raise InputError(
                f"{name!r} has {len(attribute.names)} different values; name some of them, as "
                f"{attribute.names[0]}, or cut numbers, as {name}>=NUMBER."
            )
        value, numbered = attribute.value, [*enumerate(attribute.names)]
        if attribute.names[:1] == (f"not {attribute.name}",):
            numbered = numbered[::-1]  # who has it comes first
        return {name: np.where(value < 0, -1, value == i).astype(np.int8) for i, name in numbered}


def slices_of(
    samples: Samples,
    names: Sequence[str],
    *,
    answers: str | os.PathLike[str] | None = None,
    metadata: Any = None,
    key: str | None = None,
) -> tuple[dict[str, Array], dict[str, str], list[str]]:
    """Read slices of samples."""
    if not names and answers is None:
        unused = "The metadata are not looked at, for no slice is named; name one of them."
        return {}, {}, [unused] * (metadata is not None)
    reader = _Reader(samples, metadata, key)
    slices, asked = dict[str, Array](), dict[str, str]()
    for name in names:
        for each, values in reader.slices([[name]]).items():
            if each == f"not {name}":
                continue
            if each == name or each not in slices:  # a value's own limits go before its column's
                slices[each], asked[each] = values, name
    for answer in [] if answers is None else read_answers(answers).spurious:
        sides = [[n for n in side if layer_of(n) is None] for side in answer.values]
        sides = [side for side in sides if side]
        if not sides:
            reader.notes.append(
                f"{answer.name} is left out: it is of a layer of the model, which raw inputs do "
                "not tell."
            )
            continue
        for value, inside in reader.slices(sides).items():
            for label in np.unique(samples.y).tolist():
                slices[f"{label} × {value}"] = np.where(samples.y == label, inside, 0)
    return slices, asked, reader.notes

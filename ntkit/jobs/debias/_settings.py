"""Settings and order of a repair, the folder of its results, and former keywords."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np

from ntkit._disk import StrPath
from ntkit._output import (
    RECORD,
    check_folder,
    check_update,
    new_folder,
    refuse_nested,
    updated_folder,
)
from ntkit._process import warn
from ntkit.exceptions import InputError
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.jobs.debias._accuracy_cost import MAX_COST
from ntkit.jobs.debias._candidates import asked_for
from ntkit.model.frozen_model import loaded

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class DebiasSettings:
    """What few callers of :func:`ntkit.debias` set.

    Parameters
    ----------
    deploy : path-like, optional
        Second output folder, for a service; written only with a new head. It holds ``model.onnx``,
        the files for its inputs (tokenizer, ``preprocessor_config.json``), ``labels.json`` (the
        classes in the order of the scores), ``predict.py``, ``README.md`` and ``SHA256SUMS``.
        ``predict.py`` needs ONNX Runtime but not ntkit; ntkit runs it and compares its predictions.
    new_head : bool
        Fit a new head for labels that are not the model's classes. The original head is then an
        ERM head fitted on the training set.
    validation_balanced : bool
        Whether the validation set has little bias. "auto" then retrains on it alone.
    id_column : str, optional
        The column of names; by default ``file_name`` for images and ``id`` for tables.
    match_names : bool
        Match labels by name if no content matches, because the samples were saved again.
    interpolation : float, optional
        Share of the new head in its interpolation with the original one, above 0 and at most 1. By
        default ntkit chooses it on validation samples. The outcome of a share that a person chose
        is at most "probably better", because results on the test set may have chosen it.
    otherwise : {"original", "new head"}, optional
        What to write if the new head is not better: a copy of the original model under the name of
        the new one, or the chosen head all the same. The head is then whole, unless
        ``interpolation`` is set. By default nothing.
    resume : path-like, optional
        Folder of an earlier run on the same samples; may be ``out``. ntkit reuses its embeddings
        if model and contents are the same, and reads its ``answers.json``.
    C : float, optional
        Inverse penalty, as in scikit-learn, of all candidates except "auto" on standardised
        embeddings. By default each candidate has the penalty that "auto" would choose for it.
    preprocessing : ImagePreprocessing or TextPreprocessing, optional
        Preprocessing of image folders and tables of texts. By default ntkit reads
        ``preprocessor_config.json``, timm's ``config.json`` or ``tokenizer.json`` in the model's
        folder. Without such a file, images get the model's input size and pixels from 0 to 1 (0 to
        255 for an input of unsigned integers). A note says which.
    recorded : path-like or mapping of str to array-like, optional
        Outputs of the service that runs the model, in a form that
        :func:`ntkit.jobs.verify.check_parity` takes: for files of any of these sets, for rows of
        the validation set, or with their inputs. If the service's embeddings differ from ntkit's,
        ntkit raises an error with the likely cause.
    trust_inputs : bool
        Continue with a note if the original model is not better than guessing: never right on a
        class of the validation set, or at chance on both sets. By default this is an error, because
        wrong preprocessing has the same effect.
    batch_size : int, optional
        As in :class:`ntkit.OnnxEmbedder`.
    random_state : int
        Seed of folds and random masks.
    verbose : bool
        Show progress bars.
    review : callable, optional
        Function that chooses the share of the new head to write. It takes a list of steps, from the
        original head to the new one, and returns the number of a step. Each step has ``cost``, an
        :class:`AccuracyCost` whose ``t`` is the share; ``outcome``, how validation samples judge
        it; and ``chosen``, whether ntkit would choose it. A head that suppresses neurons has two
        steps. Step 0 keeps the original head. Nothing is written before, and the test set is read
        for the chosen step alone. :func:`ntkit.debias` has an example.
    """

    deploy: str | os.PathLike[str] | None = None
    new_head: bool = False
    validation_balanced: bool = False
    id_column: str | None = None
    match_names: bool = False
    interpolation: float | None = None
    otherwise: Literal["original", "new head"] | None = None
    resume: str | os.PathLike[str] | None = None
    C: float | None = None
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None
    recorded: Any = None
    trust_inputs: bool = False
    batch_size: int | None = None
    random_state: int = 0
    verbose: bool = False
    review: Callable[[Sequence[Any]], int] | None = None

    @classmethod
    def of(cls, settings: Any) -> DebiasSettings:
        """The argument ``settings`` of :func:`ntkit.debias`."""
        if not isinstance(settings, DebiasSettings | None):
            raise InputError(
                f"settings must be DebiasSettings(…), not {type(settings).__name__}; pass "
                "settings=DebiasSettings(C=0.1), for example."
            )
        return settings or cls()

    def __post_init__(self) -> None:
        if self.otherwise not in (None, "original", "new head"):
            raise InputError(
                f"otherwise must be 'original', 'new head' or None. Got {self.otherwise!r}."
            )
        C, seed = self.C, self.random_state
        if C is not None and not (isinstance(C, Real) and 0 < C < np.inf):
            raise InputError(f"C must be a number above 0, or None. Got {C!r}.")
        if not isinstance(seed, Integral) or seed < 0:
            raise InputError(f"random_state must be a whole number from 0. Got {seed!r}.")


MODEL_FILE, REPORT_FILE, HEADS_FILE = "debiased.onnx", "report.html", "heads.npz"
ANSWERS_FILE, RUN_FILE = "answers.json", "run.json"
AUDIT_FILES = ("audit.html", "audit.json")


def embeddings_file(name: str) -> str:
    """Name of the file with the embeddings of a set."""
    return f"embedded-{name}.npz"


_KEPT = (*AUDIT_FILES, RUN_FILE, *map(embeddings_file, ("train", "validation", "test")))
"""Files of an audit that a repair keeps in the same folder."""


@dataclass(frozen=True)
class Order:
    """A repair as its caller ordered it.

    ``goes_on`` says whether an earlier run wrote the output folder, and ``has_shown_test`` whether
    who chooses the step can know results on the test set from an earlier report.
    """

    method: Any
    max_cost: float
    out: Path | None
    resume: Path | None
    deploy: Path | None
    device: str
    force: bool
    settings: DebiasSettings
    goes_on: bool
    has_shown_test: bool

    @classmethod
    def of(
        cls,
        method: Any,
        max_cost: float | None,
        out: StrPath | None,
        *,
        device: str,
        force: bool,
        settings: DebiasSettings,
    ) -> Order:
        """The order by arguments of :func:`ntkit.debias`; checks method, limits and folders."""
        asked_for(method, named=True, partly_known=True, by_change=True, read=True)
        max_cost = MAX_COST if max_cost is None else max_cost
        share, goes_on = settings.interpolation, False
        if not 0 <= max_cost <= 1:
            raise InputError(f"max_cost must be a share from 0 to 1. Got {max_cost}.")
        if share is not None and not 0 < share <= 1:
            raise InputError(
                "--interpolation (interpolation=) must be a share of the new head above 0 (the "
                f"original) and at most 1, not {share:g}."
            )
        out, resume, deploy = (
            None if path is None else Path(path) for path in (out, settings.resume, settings.deploy)
        )
        if out is not None and resume is not None and out.exists():
            goes_on = out.resolve() == resume.resolve()
        if out is not None and goes_on:
            check_update(out, _KEPT)
        elif out is not None:
            if force and all((out / name).is_file() for name in (RECORD, ANSWERS_FILE)):
                raise InputError(
                    f"{out} contains {ANSWERS_FILE}, which --force does not replace, because a "
                    "person may have given these answers. Continue with --from (resume=), or "
                    "choose another name."
                )
            check_folder(out, force=force)
        if deploy is not None:
            check_folder(deploy, force=force)
            if out is not None:
                refuse_nested(out, deploy)
        shown = settings.review is not None and resume is not None
        shown &= (Path(resume or "") / REPORT_FILE).is_file()
        return cls(method, max_cost, out, resume, deploy, device, force, settings, goes_on, shown)

    def going_on(self) -> Order:
        """The order after its folder was written for the first time."""
        return replace(self, goes_on=self.out is not None)

    def opened(self) -> AbstractContextManager[Path]:
        """An empty folder; its files move to the output folder if the block succeeds."""
        if self.out is not None and self.goes_on:
            return updated_folder(self.out, keep=_KEPT)
        return new_folder(self.out, force=self.force)


_NAMES = frozenset(each.name for each in fields(DebiasSettings))
_PLACES = {
    "label": "Name the label when you load the model: FrozenModel.load(PATH, label=NAME).",
    "even_if_worse": 'Pass settings=DebiasSettings(otherwise="new head").',
    "keep_original": 'Pass settings=DebiasSettings(otherwise="original").',
    "n_random": "There are five random masks.",
}
"""New places of former keywords without a setting of the same name."""


def with_former_keywords(debias: Callable[P, R]) -> Callable[P, R]:
    """Accept what were keywords of ``debias`` before there were settings, and warn of each."""

    @wraps(debias)
    def accepting(*args: P.args, **kwargs: P.kwargs) -> R:
        former = {name: kwargs.pop(name) for name in [*kwargs] if name in _NAMES | _PLACES.keys()}
        if not former:
            return debias(*args, **kwargs)
        for name in former:
            place = _PLACES.get(name, f"Pass settings=DebiasSettings({name}=…).")
            warn(f"{name}= is no longer a parameter of debias. {place}", FutureWarning)
        call = signature(debias).bind(*args, **kwargs)
        if (label := former.get("label")) is not None:
            call.arguments["model"] = loaded(call.arguments["model"], label=label)
        changed: dict[str, Any] = {n: value for n, value in former.items() if n in _NAMES}
        if former.get("keep_original"):
            changed["otherwise"] = "original"
        if former.get("even_if_worse"):
            changed["otherwise"] = "new head"
        settings = DebiasSettings.of(call.arguments.get("settings"))
        call.arguments["settings"] = replace(settings, **changed)
        return debias(*call.args, **call.kwargs)

    return accepting

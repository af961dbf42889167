"""Write another candidate of a finished run, or the original head, from the stored heads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ntkit._disk import StrPath, size_of
from ntkit._doc import documented
from ntkit._output import check_file, check_folder, new_folder
from ntkit._text import as_json
from ntkit._version import __version__
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.jobs.command_line import quoted
from ntkit.jobs.debias._job import ORIGINAL
from ntkit.jobs.debias._settings import HEADS_FILE, MODEL_FILE
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import loaded
from ntkit.verification import Verification, random_inputs, save_verified

_UNREADABLE = (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile)


def write_candidate(
    run: str | os.PathLike[str],
    method: str,
    out: str | os.PathLike[str],
    *,
    model: FrozenModel | str | os.PathLike[str] | None = None,
    label: str | None = None,
    device: str = "auto",
    force: bool = False,
) -> Verification:
    """Write another candidate of a finished run as a model, without computing anything again."""
    run = Path(run)
    check_candidates(run)
    place = check_folder(out, inputs=[run], force=force)
    head, about = kept_head(run, method)
    check_label(run, about.get("label"), label)
    model = _model(about, run, model)
    check_folder(out, inputs=[run, *model.files], force=force, size=size_of(model.files))
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    facts = {
        "version": __version__,
        "method": method,
        "new_head": str(about["new_head"]).lower(),
        "share_of_new_head": "1",
        "source_sha256": about["source_sha256"],
    }
    with new_folder(place, force=force) as folder:
        check = save_verified(
            model.with_head(head, provenance=facts),
            folder / MODEL_FILE,
            original=model,
            X=random_inputs(model),
            head=head,
            device=device,
        )
        shutil.copyfile(run / HEADS_FILE, folder / HEADS_FILE)
        # Facts about the run's chosen candidate are left out.
        kept_facts = ("n_non_constant", "classes", "evaluated_on", "notes", "version")
        rewritten = {
            "candidates": [row | {"chosen": row["name"] == method} for row in record["candidates"]],
            "chosen": method,
            "written": True,
            "label": model.label,
            **{name: record[name] for name in kept_facts if name in record},
            "model": str(place / MODEL_FILE),
        }
        (folder / "result.json").write_text(as_json(rewritten), encoding="utf-8")
    return check


def check_candidates(run: Path) -> None:
    """Raise an error if a run was a repair by complaints, which compares no candidates."""
    record = _record(run)
    if "n_complaints" in record:
        original = f"For the original model: ntkit export --undo {quoted(run)} -o original.onnx"
        if not record.get("written"):
            original = "It kept the original model. Name other complaints or traffic in a new run."
        raise InputError(
            f"{run} holds a repair by complaints, which has no other candidates. {original}"
        )


def check_model(run: Path, model: FrozenModel) -> None:
    """Raise an error if a run was about another model, or about another label of it."""
    record = _record(run)
    if (label := record.get("label")) is not None:
        check_label(run, str(label), model.label)
    read = record.get("read") or {}
    check_same_model(run, model, str(read.get("model", model.sha256())))


def check_same_model(run: Path, model: FrozenModel, sha256: str) -> None:
    """Raise an error for a model other than that of a run."""
    if model.sha256() != sha256:
        raise InputError(
            f"{model.path or 'The model'} is not the model of {run}: the SHA-256 differs. Pass "
            "the original model, or start a run in another folder."
        )


def other_sets_note(run: Path, read: Mapping[str, str]) -> list[str]:
    """A note if sets are not those that an earlier run read."""
    before = _record(run).get("read") or {}
    changed = [name for name, digest in read.items() if before.get(name, digest) != digest]
    return [
        f"The {name} set is not that of the run in {run}: its samples, labels or groups differ, so "
        "the results of both cannot be compared."
        for name in changed
    ]


def other_labels_note(run: Path, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note if labels of samples are not those that an earlier run used."""
    earlier = _record(run).get("answers") or []
    before = {each.get("name"): each.get("sha256") for each in earlier if isinstance(each, dict)}
    changed = [
        each["name"]
        for each in answers
        if before.get(each["name"]) not in (None, each.get("sha256"))
    ]
    return [
        f"The labels of {name} differ from those of the run in {run}, so the head is another one."
        for name in changed
    ]


def _record(run: Path) -> dict[str, Any]:
    """The content of a run's ``result.json``; empty if there is none."""
    try:
        record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def check_label(run: Path, kept: str | None, label: str | None) -> None:
    """Raise an error if a run was about another label than the one asked for."""
    if label not in (None, kept):
        about = "no label of several" if kept is None else f"the label {kept!r}"
        raise InputError(
            f"The run in {run} is about {about}, not {label!r}. Start a run for {label!r} in "
            "another folder."
        )


def kept_head(run: Path, method: str) -> tuple[LinearHead, dict[str, Any]]:
    """The head of a candidate of a finished run, and the identity of its model."""
    file = run / HEADS_FILE
    if not file.is_file() or not (run / "result.json").is_file():
        raise InputError(
            f"{run} is not the folder of a finished run: {HEADS_FILE} or result.json is missing. "
            "Pass a folder that ntkit debias -o wrote."
        )
    try:
        with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
            names = tuple(arrays["names"].tolist())
            if method not in names:
                raise InputError(
                    f"{run} has no candidate {method!r}. It has {', '.join(map(str, names))}."
                )
            i = names.index(method)
            parts = (arrays[f"{part}_{i}"] for part in ("coef", "intercept", "classes"))
            about: dict[str, Any] = json.loads(str(arrays["about"]))
            needed = {
                key: about[key] for key in ("source_sha256", "source", "located_by", "new_head")
            }
            classes = {"model_classes": arrays.get("model_classes"), "metadata": {}}
            return LinearHead(*parts), classes | about | needed
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{file} is damaged ({error}). Run ntkit debias again.") from error


def _model(
    about: dict[str, Any], run: Path, model: FrozenModel | str | os.PathLike[str] | None
) -> FrozenModel:
    """The original model of a run, with the classes of its labels."""
    if model is None:
        source = str(about["source"])
        if not source or not Path(source).is_file():
            raise InputError(
                f"The model of {run} is no longer at {source or 'a known path'}. Name it: "
                f"ntkit debias MODEL --from {run}"
            )
        model = source
    original = loaded(model, **about["located_by"], label=about.get("label"))
    check_same_model(run, original, str(about["source_sha256"]))
    classes = about["model_classes"]
    return original if classes is None else original.with_classes(classes)


@documented
def undo(run: StrPath, out: StrPath, *, device: str = "auto", force: bool = False) -> Verification:
    """Restore the original head in a model that a run wrote, without the original file.

    Parameters
    ----------
    run : path-like
        Output folder of :func:`ntkit.debias`, or the model in it.
    out : path-like
        Output file.
    {run.device, replace.force}

    Returns
    -------
    Verification
        Comparison of ONNX Runtime's logits with the original head's.

    Raises
    ------
    InputError
        If the folder holds no written model, or the run fitted a new head for other classes.
    VerificationError
        If the written model would not compute the original head.
    """
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    file = folder / MODEL_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no {MODEL_FILE}, so there is no repair to undo. Pass the folder of a "
            "run that wrote a model."
        )
    head, about = kept_head(folder, ORIGINAL)
    if about["new_head"]:
        raise InputError(
            f"{file} has a new head for other classes, so there is no original head to restore."
        )
    written = FrozenModel.load(file, **about["located_by"], label=about.get("label"))
    if written.metadata.get("ntkit.source_sha256") != about["source_sha256"]:
        raise InputError(
            f"{file} is not the model that the run in {folder} wrote. Pass the folder of its run."
        )
    place = check_file(out, inputs=written.files, force=force, size=size_of(written.files))
    if about["model_classes"] is not None:  # names from --classes
        written = written.with_classes(about["model_classes"])
    return save_verified(
        written.with_head(head).with_provenance(about["metadata"]),
        place,
        original=written,
        X=random_inputs(written),
        head=head,
        device=device,
        force=force,
    )

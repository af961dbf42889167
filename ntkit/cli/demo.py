"""ntkit demo: look, ask, repair, prove on the embedded example, offline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ntkit._text import percent
from ntkit.cli import _options as o

if TYPE_CHECKING:
    from ntkit.attributes.answers import Answer
    from ntkit.attributes.findings import Finding
    from ntkit.jobs.audit import Audit
    from ntkit.jobs.debias import DebiasResult

_STORY = """\
A small network tells digits 0–4 from 5–9. About 93 % of its training images of 5–9 are from a
scanner that leaves a bright border, and 7 % of 0–4. The network relies on the border. ntkit
is not told so. In the test set half of each class has the border.
"""


@o.with_options()
def command(
    *,
    out: Path | None = o.output("Output folder.", metavar="FOLDER", default=None),
    method: str | None = o.option(
        "Order a method instead of answering, such as neurontune.", "NAME"
    ),
    window: o.WindowOptions,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Try every step on handwritten digits.

    The demo finds a shortcut, answers, repairs a small model and checks it, offline.

    Example: ntkit demo -o ntkit-demo/

    With --browser you answer yourself, and choose how much of the new last layer to keep.

    Example: ntkit demo --browser -o ntkit-demo/

    Example: ntkit demo --method neurontune
    """
    import numpy as np

    from ntkit import FrozenModel
    from ntkit._output import check_folder
    from ntkit.cli._debias_run import OPEN
    from ntkit.cli._window import Idle
    from ntkit.datasets import load_scanned_digits
    from ntkit.exceptions import InputError
    from ntkit.jobs.check import check
    from ntkit.jobs.check.files import summary_of
    from ntkit.jobs.debias import DebiasResult, DebiasSettings, debias

    if window.browser and out is None:
        raise InputError("--browser needs -o FOLDER, where the demo keeps your answers.")
    window.check(json=json)
    if force and out is not None:
        _forget(out)
    if window.browser and out is not None:  # before it opens
        check_folder(out, force=force)
    digits = load_scanned_digits()
    names = np.array([name.replace("-", "–") for name in digits.target_names])
    groups = np.array([name.replace("-", "–") for name in digits.group_names])
    model = FrozenModel.load(digits.model_path, classes=[*names])
    test = digits.X_test, names[digits.y_test], groups[digits.groups_test]
    o.say(_STORY, err=json)
    try:
        with window.opened(out or Path(), "demo") as shown:
            result = debias(
                model,
                (digits.X_train, names[digits.y_train]),
                (digits.X_validation, names[digits.y_validation]),
                test=test,
                method=method,
                ask=partial(_answered, quiet=json) if shown is None else shown.ask,
                device="cpu",
                out=out,
                force=force,
                settings=DebiasSettings(review=None if shown is None else shown.review),
            )
            if shown is not None:
                shown.finish(result)
    except Idle as error:
        o.say(str(error))
        raise typer.Exit(OPEN) from None
    o.show(result, json=json, text=result.summary())
    if json:
        return
    if method is not None and isinstance(result, DebiasResult):
        o.say(_neurons(result))
    if isinstance(result, DebiasResult) and result.written:
        judged = check(model, result.model, test, limits=result.limits, device="cpu")
        passed, accuracies, *_ = summary_of(judged).split("\n")
        o.say(f"\nntkit check, as continuous integration would run it:\n{passed}\n{accuracies}")


def _answered(audit: Audit, findings: tuple[Finding, ...], *, quiet: bool) -> Iterator[Answer]:
    """Answer yes on the strongest finding, as a person at the keyboard would."""
    from ntkit.jobs.debias import shares_of
    from ntkit.pages.audit_page import question_of

    for finding in findings[:1]:
        asked = f"{question_of(finding)}\n  {shares_of(finding)}"
        o.say(f"{asked}\n> yes (the demo answers)\n", err=quiet)
        yield from audit.answers(finding.name).answers


def _forget(out: Path) -> None:
    """Remove the answers of an earlier demo, which no person gave; others are never replaced."""
    from ntkit.attributes.answers import read_answers
    from ntkit.jobs.debias import ANSWERS_FILE

    file = out / ANSWERS_FILE
    if file.is_file():
        given = [(each.answer, each.by, each.at) for each in read_answers(file).answers]
        if given == [("spurious", None, None)]:  # a person's answer has a time
            file.unlink()


def _neurons(result: DebiasResult) -> str:
    """Result of NeuronTune's rule as described, next to a random mask of its size."""
    rows = {row.name.partition(" of ")[0]: row for row in result.candidates}
    found, random = rows["neurontune"], rows["random mask"]
    return (
        f"\nThe paper's default (neurontune: threshold 0) suppresses {found.n_suppressed} of "
        f"{result.n_non_constant} non-constant neurons. Test set, worst group: "
        f"{percent(found.worst_group)}; a random mask of {random.n_suppressed}: "
        f"{percent(random.worst_group)}."
    )

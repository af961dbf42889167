"""ntkit demo: the main job on the embedded default, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ntkit.auditing import audit
from ntkit.cli import _options as o
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.debiasing import debias
from ntkit.extraction import OnnxEmbedder
from ntkit.frozen_model import FrozenModel
from ntkit.suspicions import Suspicion

_MAX_COST = 0.1  # the held-out set is as biased as the training set: balance costs accuracy there


def command(
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write the result to.")
    ] = None,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Run the main job on handwritten digits with a planted mark; seconds, offline.

    Example: ntkit demo -o ntkit-demo/
    """
    digits = load_marked_digits()
    result = debias(
        marked_digits_model_path(),
        (digits.X_train, digits.y_train),
        (digits.X_heldout, digits.y_heldout),
        test=(digits.X_test, digits.y_test, digits.groups_test),
        method="worst_class_cell_accuracy",
        max_cost=_MAX_COST,
        device="cpu",
        out=out,
        force=force,
    )
    leaning = _leaning(digits)
    if json:
        o.print_json(result.as_dict() | {"suspicions": [s.as_dict() for s in leaning]})
        return
    rows = {row.name: row for row in result.candidates}
    paper, chosen, original = rows["neurontune"], result.chosen, result.candidates[0]
    typer.echo(
        "A small CNN tells digits 0–4 from 5–9. A bright patch was planted in the corner of about "
        "93 %\nof the images of 5–9 (7 % of 0–4) it was trained on, and it leans on the patch. The "
        "test set\nhas the patch in half of each class. Nobody tells ntkit where the patch is. "
        f"Up to {100 * _MAX_COST:g} % of\naverage accuracy may be lost on held-out images, which "
        "have the patch as the training images.\n"
    )
    typer.echo(result.summary())
    typer.echo(
        f"\nThe paper's default (neurontune: threshold 0) suppresses {paper.n_suppressed} of "
        f"{result.n_live} live neurons: worst group {_percent(original.worst_group)} -> "
        f"{_percent(paper.worst_group)}.\nThe held-out score chose {chosen.name}: worst group "
        f"{_percent(original.worst_group)} -> {_percent(chosen.worst_group)}, average "
        f"{_percent(original.average)} -> {_percent(chosen.average)}."
    )
    for suspicion in leaning[:1]:
        typer.echo(f"\nWhat the model leans on, read from the held-out images:\n{suspicion}")


def _leaning(digits: Any) -> tuple[Suspicion, ...]:
    """What an audit of the model suspects, by statistics of the held-out images."""
    model = FrozenModel.load(marked_digits_model_path())
    Z = OnnxEmbedder(model, device="cpu").transform(digits.X_heldout)
    assert model.head is not None  # the embedded model has one
    scores = model.head.logits(Z)
    found = audit(digits.y_heldout, scores=scores, images=digits.X_heldout[:, 0])
    return found.suspicions


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"

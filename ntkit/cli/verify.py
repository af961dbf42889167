"""ntkit verify: two models on the same samples, or ntkit and a service."""

from __future__ import annotations

import math
from pathlib import Path

import typer

from ntkit._text import percent
from ntkit.cli import _options as o
from ntkit.exceptions import InputError, VerificationError
from ntkit.jobs.verify import check_parity
from ntkit.verification import Verification, verify


@o.with_options
def command(
    *,
    model: o.Model,
    debiased: Path | None = o.argument("Debiased model."),
    data: Path | None = o.argument("Model inputs: image folder, .npz, X.npy or table."),
    recorded: Path | None = o.option(
        "A service's own outputs of MODEL (.npz), to compare with ntkit's."
    ),
    of: Path | None = o.option(
        "DATA: the samples of --recorded, where it only names them.", "--data"
    ),
    device: o.Device = "auto",
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    json: o.Json = False,
) -> None:
    """Compare two models, or ntkit and a service.

    With two models and samples: the debiased model must compute its head on the original's
    embeddings, its classes stand in the original's order, and all other outputs be the original's.
    Where the embedding is, and how it is pooled, the debiased file says. Exit code 2 if it does
    not pass.

    With --recorded: OUTPUTS.npz holds what a service answered, as logits, probabilities or labels,
    and what it was asked: files (names below --data), rows of --data, texts, images, or the
    model's inputs as X. ntkit reads, prepares and runs the same, compares, and where the two
    differ looks for the cause: resize, crop, filter, channel order, scale, mean and std, EXIF,
    tokenizer, truncation, class order, softmax. Exit code 1 if they differ.

    Example: ntkit verify classifier.onnx debiased.onnx images/test

    Example: ntkit verify classifier.onnx --recorded outputs.npz --data images/recent
    """
    if recorded is not None:
        if debiased is not None:
            raise InputError(
                "--recorded compares one model with a service: give MODEL alone, and the samples "
                "with --data."
            )
        frozen = model_options.load(model)
        parity = check_parity(
            frozen,
            recorded,
            None if of is None else data_options.read_inputs(of, frozen),
            preprocessing=data_options.said(frozen),
            device=device,
        )
        o.show(parity, json=json, text=parity.summary())
        raise typer.Exit(0 if parity.matched else 1)
    if of is not None:
        raise InputError("--data goes with --recorded; two models take DATA as third argument.")
    if debiased is None or data is None:
        raise InputError(
            "Give a debiased model and samples (ntkit verify MODEL DEBIASED DATA), or a service's "
            "outputs (ntkit verify MODEL --recorded OUTPUTS.npz)."
        )
    original, second = model_options.load_pair(model, debiased)
    samples = data_options.read_inputs(data, original).as_recorded(second)
    check = verify(original, second, samples.X, y=samples.y, device=device)
    if json:
        o.print_json(
            {**check.__dict__, "latency_ratio": check.latency_ratio, "passed": check.passed}
        )
    else:
        for line in _lines(check):
            typer.echo(line)
    if not check.passed:
        raise VerificationError(f"{debiased} {'; it '.join(check.failures())} ({model}).")


def _lines(check: Verification) -> list[str]:
    outputs, others = check.output_difference, check.side_difference
    rows = [
        ["samples", f"{check.n_samples}"],
        ["logits, ORT − NumPy", f"{check.logit_difference:.1e} (relative)"],
        ["embeddings differ by", f"{check.embedding_difference:.1e}"],
        ["outputs follow head", percent(check.decision_agreement, 0)],
        ["outputs differ by", "–" if math.isnan(outputs) else f"{outputs:.1e}"],
        ["same predictions", percent(check.agreement)],
        *([] if math.isnan(others) else [["other outputs differ", f"{others:.1e}"]]),
        ["order of classes", "kept" if check.same_class_order else "changed"],
        ["node list", "unchanged" if check.same_nodes else "changed"],
        ["signature", "unchanged" if check.same_signature else "changed"],
        ["metadata", "kept" if check.same_metadata else "changed"],
        [
            "latency",
            f"{check.latency:.3g} ms, the original's {check.original_latency:.3g} ms (ratio "
            f"{check.latency_ratio:.2f})",
        ],
    ]
    lines = [*(f"{name:<22}{value}" for name, value in rows), *check.notes]
    return [*lines, f"{'check':<22}passed"] if check.passed else lines

"""ntkit verify: two models on the same samples."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ntkit._text import percent
from ntkit.cli import _options as o
from ntkit.exceptions import InputError, VerificationError

if TYPE_CHECKING:
    from ntkit.verification import Verification


@o.with_options()
def command(
    *,
    model: o.Model,
    debiased: Path | None = o.argument(
        "The same model with another head.", "DEBIASED", default=None
    ),
    data: Path | None = o.argument(
        "Model inputs: image folder, .npz, X.npy or table.", "DATA", default=None
    ),
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Check that only the head was changed.

    The debiased model must apply its head to the original's embeddings. Its classes must have the
    original's order, and all other outputs must be the original's.

    Example: ntkit verify classifier.onnx debiased.onnx images/test

    The debiased file says where the embedding is and how it is pooled. The exit code is 2 if the
    model does not pass. To compare a model with a service's outputs, use ntkit parity.
    """
    if debiased is None or data is None:
        missing = "DEBIASED and DATA are" if debiased is None else "DATA is"
        raise InputError(
            f"{missing} missing: ntkit verify MODEL DEBIASED DATA compares two models, and ntkit "
            "parity MODEL OUTPUTS.npz compares a model with a service's outputs."
        )
    from ntkit.verification import verify

    original, second = model_options.load_pair(model, debiased)
    samples = data_options.read_inputs(data, original).as_recorded(second)
    check = verify(original, second, samples.X, y=samples.y, device=device, verbose=True)
    facts = {**asdict(check), "latency_ratio": check.latency_ratio, "passed": check.passed}
    o.show(facts, json=json, text="\n".join(_lines(check)))
    if not check.passed:
        raise VerificationError(f"{debiased} {'; it '.join(check.failures())} ({model}).")


def _lines(check: Verification) -> list[str]:
    outputs, others = check.output_difference, check.side_difference
    rows = [
        ["samples", f"{check.n_samples}"],
        ["logits, ORT − NumPy", f"{check.logit_difference:.1e} (relative)"],
        ["embeddings differ by", f"{check.embedding_difference:.1e}"],
        ["outputs follow head", f"{percent(check.decision_agreement, 0)} (if not close)"],
        ["outputs differ by", "–" if math.isnan(outputs) else f"{outputs:.1e}"],
        ["same predictions", percent(check.agreement)],
        *([] if math.isnan(others) else [["other outputs differ", f"{others:.1e}"]]),
        ["order of classes", "kept" if check.kept.class_order else "changed"],
        ["node list", "unchanged" if check.kept.nodes else "changed"],
        ["signature", "unchanged" if check.kept.signature else "changed"],
        ["metadata", "kept" if check.kept.metadata else "changed"],
        [
            "latency",
            f"{check.latency:.3g} ms, the original's {check.original_latency:.3g} ms (ratio "
            f"{check.latency_ratio:.2f})",
        ],
    ]
    lines = [*(f"{name:<22}{value}" for name, value in rows), *check.notes]
    return [*lines, f"{'check':<22}passed"] if check.passed else lines

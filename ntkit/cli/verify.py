"""ntkit verify: two models on the same samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ntkit.cli import _options as o
from ntkit.exceptions import VerificationError
from ntkit.verification import verify


@o.with_options
def command(
    model: o.Model,
    debiased: Annotated[Path, typer.Argument(help="Debiased model.")],
    data: Annotated[Path, typer.Argument(help="Model inputs: image folder, .npz, X.npy or table.")],
    *,
    device: o.Device = "auto",
    model_options: o.ModelOptions,
    data_options: o.DataOptions,
    json: o.Json = False,
) -> None:
    """Check that a debiased model computes its head on the original's embeddings.

    Its classes must stand in the original's order, and all other outputs be the original's. Where
    the embedding is, and how it is pooled, the debiased file says. Exit code 2 if it does not pass.

    Example: ntkit verify classifier.onnx debiased.onnx images/test
    """
    original, second = model_options.load_pair(model, debiased)
    samples = data_options.read_inputs(data, original)
    check = verify(original, second, samples.X, y=samples.y, device=device)
    if json:
        o.print_json(
            {**check.__dict__, "latency_ratio": check.latency_ratio, "passed": check.passed}
        )
    else:
        same = "–" if math.isnan(check.agreement) else f"{100 * check.agreement:.1f} %"
        outputs = check.output_difference
        typer.echo(f"samples               {check.n_samples}")
        typer.echo(f"logits, ORT − NumPy   {check.logit_difference:.1e} (relative)")
        typer.echo(f"embeddings differ by  {check.embedding_difference:.1e}")
        typer.echo(f"outputs follow head   {100 * check.decision_agreement:.0f} %")
        typer.echo(f"outputs differ by     {'–' if math.isnan(outputs) else f'{outputs:.1e}'}")
        typer.echo(f"same predictions      {same}")
        if not math.isnan(check.side_difference):
            typer.echo(f"other outputs differ  {check.side_difference:.1e}")
        typer.echo(f"order of classes      {'kept' if check.same_class_order else 'changed'}")
        typer.echo(f"node list             {'un' if check.same_nodes else ''}changed")
        typer.echo(f"signature             {'un' if check.same_signature else ''}changed")
        typer.echo(f"metadata              {'kept' if check.same_metadata else 'changed'}")
        typer.echo(
            f"latency               {check.latency:.3g} ms, the original's "
            f"{check.original_latency:.3g} ms (ratio {check.latency_ratio:.2f})"
        )
        for note in check.notes:
            typer.echo(note)
        if check.passed:
            typer.echo("check                 passed")
    if not check.passed:
        raise VerificationError(f"{debiased} {'; it '.join(check.failures())} ({model}).")
